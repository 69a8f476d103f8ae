//! One node: its machine, disk, clock, application, and what the rules remember of it.

use std::collections::VecDeque;
use std::rc::Rc;

use wrs_raft::{Config, Entries, HardState, Index, Raft, Record, Role, SnapshotMeta};

use super::app::App;
use super::history::{Mark, Shadow};
use super::transfer::Transfers;
use super::wal::Wal;
use super::world::Event;
use crate::sim::{Clock, Disk};

/// Whether a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has never run.
    Unborn,
    /// It runs.
    Up,
    /// It runs and does nothing: events wait.
    Paused,
    /// It crashed or was stopped; its disk is there.
    Down,
    /// It lost its disk. It must be removed from the group and added anew before it may run (study id R5).
    Lost {
        /// Whether the group has removed it since.
        removed: bool,
    },
}

/// A snapshot of the application, durable.
#[derive(Clone, Debug)]
pub struct Saved {
    /// What it stands for.
    pub meta: SnapshotMeta,
    /// The application's state.
    pub app: App,
    /// Whether this node took it, so that recovery may use it without a record that names it.
    pub own: bool,
}

/// What the rules saw of a machine after the last event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub term: u64,
    pub vote: Option<u64>,
    pub leads: bool,
    pub commit: Index,
    pub applied: Index,
    pub first: Index,
    pub conf_from: Index,
}

/// One node.
pub struct Node {
    pub id: u64,
    pub state: State,
    pub machine: Option<Raft>,
    pub config: Config,
    /// The incarnation that it has when its next disk is written.
    pub reborn: u64,
    /// How often it has started: events of an earlier life are void.
    pub life: u32,
    pub clock: Clock,
    pub disk: Disk,
    pub wal: Wal,
    pub snapshots: Vec<Rc<Saved>>,
    /// Snapshots on their way to others and here, where they go in chunks.
    pub transfers: Transfers,
    pub app: App,
    pub applying: VecDeque<Entries>,
    pub apply_due: bool,
    /// Records written and not known to be durable.
    pub unsynced: VecDeque<Record>,
    pub syncing: bool,
    pub sync_wanted: bool,
    pub saving: bool,
    /// The machine wants a snapshot that could not be taken yet.
    pub snapshot_wanted: bool,
    /// When the next timer event comes.
    pub timer_at: u64,
    /// Events that wait while it is paused.
    pub inbox: Vec<Event>,
    /// Crash after this many more actions.
    pub crash_in: Option<u32>,
    /// Inputs were taken that are not flushed yet.
    pub dirty: bool,
    /// Reads that wait for the application: token and index.
    pub reads: Vec<(u64, Index)>,
    /// A write has failed: the machine may stop.
    pub write_failed: bool,
    /// Its durable bytes were damaged: recovery may refuse.
    pub rotten: bool,
    /// It lost its disk and runs on an empty one, as a member that the group knows by another name: nothing that it promises may
    /// count.
    pub stranger: bool,
    /// It began anew with an empty memory and is no voter yet.
    pub returned: bool,
    /// What its disk had held when it was lost: it counted when it was acknowledged.
    pub former: Shadow,
    /// The last index of the group when this node lost its disk: what was known of it before is void.
    pub lost_at: Index,

    pub written: Shadow,
    pub durable: Shadow,
    pub durable_hard: HardState,
    pub view: View,
}

impl Node {
    /// A node that has never run.
    pub fn unborn(id: u64, config: Config, clock: Clock, disk: Disk, store: Disk) -> Node {
        Node {
            id,
            state: State::Unborn,
            machine: None,
            config,
            reborn: 0,
            life: 0,
            clock,
            disk,
            wal: Wal::default(),
            snapshots: Vec::new(),
            transfers: Transfers::new(store),
            app: App::default(),
            applying: VecDeque::new(),
            apply_due: false,
            unsynced: VecDeque::new(),
            syncing: false,
            sync_wanted: false,
            saving: false,
            snapshot_wanted: false,
            timer_at: u64::MAX,
            inbox: Vec::new(),
            crash_in: None,
            dirty: false,
            reads: Vec::new(),
            write_failed: false,
            rotten: false,
            stranger: false,
            returned: false,
            former: Shadow::default(),
            lost_at: 0,
            written: Shadow::default(),
            durable: Shadow::default(),
            durable_hard: HardState::default(),
            view: View::default(),
        }
    }

    /// Whether it runs, paused or not.
    pub fn is_alive(&self) -> bool {
        self.machine.is_some()
    }

    /// Whether its machine runs and leads.
    pub fn leads(&self) -> bool {
        self.machine.as_ref().is_some_and(|machine| machine.role() == Role::Leader && machine.fatal().is_none())
    }

    /// Whether its disk is whole.
    pub fn is_intact(&self) -> bool {
        matches!(self.state, State::Up | State::Paused | State::Down) && !self.rotten && !self.stranger
    }

    /// Whether it can be of those who elect a leader: one that was made a voter again before it was brought up cannot, nor can one
    /// that is down and whose disk holds nothing yet.
    pub fn can_vote(&self) -> bool {
        let kept = !self.config.in_memory && self.durable.last() > 0;
        self.is_intact() && self.machine.as_ref().map_or(kept, Raft::grants_votes)
    }

    /// The entry at `index`, if it counts when it is acknowledged: on disk once it is durable. In memory also as a part of a snapshot
    /// that is here whole and that the application still takes in, behind an earlier one or behind what was acknowledged at once.
    pub fn holds(&self, index: Index) -> Option<Mark> {
        let arrived = self.config.in_memory && index <= self.durable_hard.commit;
        if arrived { self.written.at(index) } else { self.durable.at(index) }
    }

    /// The saved snapshot at `index`, or the newest one after it.
    pub fn saved(&self, index: Index) -> Option<Rc<Saved>> {
        let exact = self.snapshots.iter().find(|saved| saved.meta.index == index);
        let newest =
            || self.snapshots.iter().filter(|saved| saved.meta.index > index).max_by_key(|saved| saved.meta.index);
        exact.or_else(newest).cloned()
    }

    /// Forgets everything that a crash takes.
    pub fn forget(&mut self) {
        self.machine = None;
        self.applying.clear();
        self.apply_due = false;
        self.syncing = false;
        self.sync_wanted = false;
        self.saving = false;
        self.snapshot_wanted = false;
        self.timer_at = u64::MAX;
        self.inbox.clear();
        self.crash_in = None;
        self.dirty = false;
        self.reads.clear();
        self.write_failed = false;
        self.life += 1;
    }
}

//! How nodes begin, crash, come back, lose their disks, and begin anew.

use std::rc::Rc;

use wrs_raft::{Boot, Conf, HardState, Incarnation, NodeId, Raft, Stay, Time};

use super::app::App;
use super::history::Shadow;
use super::node::{Saved, State, View};
use super::plan::NODES;
use super::wal::Wal;
use super::world::{Event, World};
use crate::sim::Crash;

impl World {
    /// Starts a founder.
    pub(super) fn found(&mut self, slot: usize) {
        let boot = Boot::found((1..=self.plan.founders as u64).map(NodeId));
        let app = self.history.app.clone();
        let saved = Saved { meta: boot.snapshot.clone(), app: app.clone(), own: true };
        self.new_disk(slot);
        let node = &mut self.nodes[slot];
        node.snapshots.push(Rc::new(saved));
        node.app = app;
        node.written = Shadow::founded();
        node.durable = Shadow::founded();
        node.durable_hard = boot.hard;
        self.start(slot, boot);
        let node = &mut self.nodes[slot];
        // A founder knows who founds the group only from its disk.
        if let Some(checkpoint) = node.machine.as_ref().filter(|_| !node.config.in_memory).and_then(Raft::checkpoint) {
            node.wal.append(&mut node.disk, &checkpoint);
            node.wal.sync_now(&mut node.disk);
        }
    }

    /// Gives a node an empty disk, and with it a new incarnation.
    pub(super) fn new_disk(&mut self, slot: usize) {
        let node = &mut self.nodes[slot];
        node.config.incarnation = Incarnation(node.reborn);
        node.disk.wipe();
        node.wal = Wal::found(&mut node.disk, node.id, node.reborn);
    }

    /// The name under which a node's next disk will be known is drawn ahead, so that the operator can tell it.
    pub(super) fn name(&mut self, slot: usize) {
        self.next_incarnation += 1;
        self.nodes[slot].reborn = self.next_incarnation;
    }

    /// Starts a machine with what its disk holds.
    pub(super) fn start(&mut self, slot: usize, boot: Boot) {
        let now = self.agenda.now();
        let node = &mut self.nodes[slot];
        node.config.seed = self.random.bits();
        let base = boot.snapshot.index;
        match Raft::new(node.config.clone(), boot, Time::from_nanos(node.clock.local(now))) {
            Ok(machine) => {
                node.view = View {
                    term: machine.term(),
                    vote: machine.vote().map(|vote| vote.0),
                    leads: false,
                    commit: machine.log().committed(),
                    applied: machine.log().applied(),
                    first: machine.log().first_index(),
                    conf_from: base,
                };
                node.machine = Some(machine);
                node.state = State::Up;
                let last = node.written.last();
                let held = node.machine.as_ref().map_or(0, |machine| machine.log().last_index());
                self.coverage.hit("starts");
                if held != last {
                    self.fail("recovery", format!("node {} starts with {held} of {last} entries", slot + 1));
                }
                self.flush(slot);
            }
            Err(error) => self.fail("recovery", format!("node {} cannot start: {error}", slot + 1)),
        }
    }

    /// Whether a node may crash: one that keeps nothing is lost by that, and a group promises nothing to who loses most of it.
    pub(super) fn may_crash(&self, slot: usize) -> bool {
        let node = &self.nodes[slot];
        !node.config.in_memory || node.stranger || self.may_lose(slot)
    }

    /// Crashes a node, if it may. It restarts by itself after a while, if `restarts`; one that keeps nothing begins anew.
    pub(super) fn crash(&mut self, slot: usize, restarts: bool) {
        if !self.nodes[slot].is_alive() || !self.may_crash(slot) {
            return;
        }
        if self.nodes[slot].config.in_memory {
            self.coverage.hit("memories lost");
            return self.lose(slot);
        }
        self.stop(slot);
        if restarts {
            let delay = self.random.exponential(self.plan.downtime_mean);
            let life = self.nodes[slot].life;
            self.agenda.after(delay, Event::Restart { node: slot, life });
        }
    }

    /// Ends a node's process, if it runs.
    fn stop(&mut self, slot: usize) {
        let node = &mut self.nodes[slot];
        if !node.is_alive() {
            return;
        }
        self.coverage.hit("crashes");
        let crash = match self.random.below(4) {
            0 => Crash::LoseAll,
            1 => Crash::KeepAll,
            2 => Crash::Prefix,
            _ => Crash::Sectors,
        };
        node.disk.crash(crash);
        node.transfers.crash(crash);
        node.forget();
        node.state = State::Down;
    }

    /// Starts a node from its disk.
    pub(super) fn restart(&mut self, slot: usize) {
        match self.nodes[slot].state {
            State::Down => {}
            State::Lost { removed: true } => return self.join(slot),
            State::Lost { removed: false } if self.is_known_otherwise(slot) => return self.join_as_stranger(slot),
            State::Unborn | State::Up | State::Paused | State::Lost { removed: false } => return,
        }
        if self.plan.flip && self.random.coin() && !self.healing {
            let config = &mut self.nodes[slot].config;
            config.pre_vote = self.random.coin();
            config.check_quorum = self.random.coin();
        }
        let node = &mut self.nodes[slot];
        let founding = node.durable_hard.term > 0;
        let mut boot = match node.wal.recover(&mut node.disk) {
            // The founding record has no number that a mark could name: a disk that held something and is empty is damaged.
            Ok(found) if node.rotten && founding && found.boot.hard.term == 0 => {
                self.coverage.hit("rot found");
                return self.lose(slot);
            }
            Ok(found) => found.boot,
            Err(_) if node.rotten => {
                self.coverage.hit("rot found");
                return self.lose(slot);
            }
            Err(error) => return self.fail("recovery", format!("node {}: {error}", slot + 1)),
        };
        // Records that survived although they were not known to be durable.
        while let Some(record) = self.nodes[slot].unsynced.pop_front() {
            if record.id <= boot.record {
                self.note_durable(slot, &record);
            }
        }
        self.check_recovered(slot, &boot);
        let node = &mut self.nodes[slot];
        let last = boot.entries.last().map_or(boot.snapshot.index, |entry| entry.index);
        // The state that the records name, or a newer one of its own. Not where the state may be ahead of the log.
        let newer = !node.config.apply_before_persisted && self.random.coin();
        let usable = |saved: &&Rc<Saved>| {
            saved.meta.index == boot.snapshot.index
                || (newer && saved.own && (boot.snapshot.index..=last).contains(&saved.meta.index))
        };
        let newest = node.snapshots.iter().filter(usable).max_by_key(|saved| saved.meta.index).cloned();
        if newest.is_none() && boot.snapshot.index > 0 {
            return self.fail("snapshots exist", format!("node {} has none at {}", slot + 1, boot.snapshot.index));
        }
        node.app = newest.map(|saved| saved.app.clone()).unwrap_or_default();
        boot.applied = node.app.applied;
        node.written = node.durable.clone();
        node.durable_hard = boot.hard;
        self.start(slot, boot);
    }

    /// Starts a node with an empty disk: it has never run, or has lost its disk and was added anew.
    pub(super) fn join(&mut self, slot: usize) {
        self.coverage.hit("joins");
        self.new_disk(slot);
        let node = &mut self.nodes[slot];
        node.snapshots.clear();
        node.transfers.wipe();
        node.app = App::default();
        node.unsynced.clear();
        node.written = Shadow::default();
        let former = std::mem::take(&mut node.durable);
        node.durable_hard = HardState::default();
        node.rotten = false;
        node.returned = node.config.in_memory && node.lost_at > 0;
        if !std::mem::take(&mut node.stranger) {
            node.former = former;
        }
        self.start(slot, Boot::empty());
    }

    /// Whether the group knows this node by a name that it has lost with its disk.
    pub(super) fn is_known_otherwise(&self, slot: usize) -> bool {
        let (id, reborn) = (NodeId(slot as u64 + 1), self.nodes[slot].reborn);
        let known = |conf: &Conf| conf.stay(id).is_none_or(|stay| ![0, reborn].contains(&stay.incarnation.0));
        let member = self.history.confs.last().is_some_and(|(_, conf)| conf.contains(id));
        // Where a name is not in force yet, nobody can tell.
        member && self.confs_in_force().iter().all(known)
    }

    /// Starts a node that has lost its disk before the group has removed it: what an operator in a hurry does.
    pub(super) fn join_as_stranger(&mut self, slot: usize) {
        self.coverage.hit("strangers");
        self.join(slot);
        self.nodes[slot].stranger = true;
    }

    /// A node's disk is gone, or its memory.
    pub(super) fn lose(&mut self, slot: usize) {
        self.stop(slot);
        self.coverage.hit("disks lost");
        let removed = !self.history.confs.last().is_some_and(|(_, conf)| conf.contains(NodeId(slot as u64 + 1)));
        let newest = self.nodes.iter().map(|node| node.written.last()).max().unwrap_or(0);
        self.name(slot);
        let node = &mut self.nodes[slot];
        node.forget();
        node.state = State::Lost { removed };
        node.lost_at = newest.max(self.history.committed.last());
        // What it had made durable counted when it was acknowledged; it is void only once the node joins anew.
        node.unsynced.clear();
        if !removed && self.is_known_otherwise(slot) && self.random.coin() {
            let delay = self.random.exponential(self.plan.downtime_mean);
            let life = self.nodes[slot].life;
            self.agenda.after(delay, Event::Restart { node: slot, life });
        }
    }

    pub(super) fn resume(&mut self, slot: usize) {
        let node = &mut self.nodes[slot];
        if node.state != State::Paused {
            return;
        }
        node.state = State::Up;
        for event in std::mem::take(&mut node.inbox) {
            if self.violation.is_none() {
                self.happen(event);
                self.drain();
            }
        }
    }

    /// Marks lost nodes that the group has removed since, and starts those that it has added anew.
    pub(super) fn after_conf(&mut self) {
        let Some((_, conf)) = self.history.confs.last() else { return };
        for slot in 0..NODES {
            let id = NodeId(slot as u64 + 1);
            let stay = conf.stay(id);
            let node = &mut self.nodes[slot];
            if node.returned && node.is_alive() && !node.stranger && conf.is_voter(id) {
                node.returned = false;
                self.coverage.hit("voters again after losing all");
            }
            match (node.state, stay) {
                (State::Up | State::Paused | State::Down, stay) if node.stranger => {
                    let own = |stay: Stay| [Incarnation(0), node.config.incarnation].contains(&stay.incarnation);
                    node.stranger = !stay.is_none_or(own);
                }
                (State::Lost { removed: false }, None) => node.state = State::Lost { removed: true },
                // It was added under a name that it had before it lost its disk again.
                (State::Lost { removed: true }, Some(stay)) if ![0, node.reborn].contains(&stay.incarnation.0) => {
                    node.state = State::Lost { removed: false };
                }
                (State::Lost { removed: true }, Some(_)) => {
                    let life = node.life;
                    self.agenda.after(self.plan.election / 8, Event::Restart { node: slot, life });
                }
                _ => {}
            }
        }
    }
}

//! The liveness phase: a random core heals, and must elect, commit and converge; then everybody heals.
//!
//! Safety checks alone do not find a cluster that stands still. The core is a random set of nodes that holds a majority in
//! every configuration that may be in force; the others are cut off, or half cut off.

use wrs_raft::{Conf, NodeId, Raft};

use super::check::holds_quorum;
use super::client::NOBODY;
use super::history::Fate;
use super::node::{Node, State};
use super::plan::NODES;
use super::world::{Event, World};
use crate::sim::{DiskFaults, LinkFaults, MICRO};

/// Election timeouts within which something must move.
const STILL_TIMEOUTS: u64 = 40;
/// Election timeouts altogether, however slowly a far peer catches up.
const ALL_TIMEOUTS: u64 = 2_000;
/// Events in the liveness phase beyond which messages breed messages.
const EVENTS_MAX: u64 = 600_000;

/// How long to wait: a peer that is far behind takes as long as it takes, but something must move.
#[derive(Default)]
struct Patience {
    all: u64,
    still: u64,
    held: u64,
}

impl Patience {
    /// Asked once in each election timeout.
    fn lasts(&mut self, world: &World) -> bool {
        let logs: u64 = world.nodes.iter().map(|node| node.durable.last() + node.app.applied).sum();
        self.still = if logs > self.held { 0 } else { self.still + 1 };
        self.held = self.held.max(logs);
        self.all += 1;
        world.violation.is_none() && self.still <= STILL_TIMEOUTS && self.all <= ALL_TIMEOUTS
    }
}

impl World {
    /// Heals a core, then everything.
    pub(super) fn live(&mut self) {
        let Some(core) = self.draw_core() else {
            self.coverage.hit("liveness not owed");
            return;
        };
        self.coverage.hit("liveness checked");
        self.heal(&core);
        if !self.core_commits() {
            return self.fail("a healed core commits", self.picture(&core));
        }
        // Everybody heals; who was removed is switched off.
        let all: Vec<bool> = self.nodes.iter().map(|node| node.is_intact()).collect();
        self.network.mend();
        self.wake_all(&all);
        self.quiet = true;
        if !self.run_on(|world| world.joint_is_left() && world.settled()) {
            return self.fail("everybody converges", self.picture(&all));
        }
        self.check_idle();
    }

    /// An idle group speaks no more than its heartbeats need.
    fn check_idle(&mut self) {
        // What was on its way arrives first.
        let until = self.agenda.now() + 10 * self.plan.election;
        while self.agenda.next_at().is_some_and(|at| at < until) && self.violation.is_none() {
            self.turn();
        }
        let from = self.events;
        let until = self.agenda.now() + 4 * self.plan.election;
        while self.agenda.next_at().is_some_and(|at| at < until) && self.violation.is_none() {
            self.turn();
        }
        let beats = 4 * self.plan.election / self.plan.config.heartbeat_interval.as_nanos() as u64;
        let bound = 500 + beats * NODES as u64 * 6;
        if self.events - from > bound {
            self.fail("an idle group is quiet", format!("{} events, at most {bound}", self.events - from));
        }
    }

    /// Proposes at the newest leader, once in each election timeout, until one proposal is told to be committed.
    fn core_commits(&mut self) -> bool {
        let first = self.history.attempts.len();
        let told = |world: &World| {
            let probes = world.history.attempts.get(first..).unwrap_or_default();
            probes.iter().any(|attempt| attempt.client == NOBODY && attempt.fate == Fate::Committed)
        };
        let mut patience = Patience::default();
        while patience.lasts(self) {
            if self.run_until(1, told) {
                return true;
            }
            if let Some(leader) = self.led(&[true; NODES]) {
                self.burst(leader, 1, 20);
                self.drain();
            }
        }
        false
    }

    /// Runs until `done`, as long as anything moves. Proposes where need be: what was cut from a log is decided only when something
    /// else is committed in its place.
    fn run_on(&mut self, done: impl Fn(&World) -> bool + Copy) -> bool {
        let mut patience = Patience::default();
        while patience.lasts(self) {
            if self.run_until(1, done) {
                return true;
            }
            let open = self.history.attempts.iter().filter(|attempt| attempt.fate == Fate::Open);
            let highest = open.map(|attempt| attempt.accepted).max().unwrap_or(0);
            if let (true, Some((leader, _))) = (highest > self.history.committed.last(), self.conf_now()) {
                self.burst(leader, 1, 20);
                self.drain();
            }
        }
        false
    }

    /// Runs for at most `timeouts` election timeouts until `done`. False if it never was.
    fn run_until(&mut self, timeouts: u64, done: impl Fn(&World) -> bool) -> bool {
        let until = self.agenda.now() + timeouts * self.plan.election;
        let limit = self.spec.events + EVENTS_MAX;
        while self.violation.is_none() {
            if self.events.is_multiple_of(32) || self.agenda.len() < 8 {
                if done(self) {
                    return true;
                }
                if self.agenda.now() > until {
                    return false;
                }
            }
            if self.events > limit {
                self.fail("messages do not breed", self.picture(&[true; NODES]));
            }
            if !self.turn() {
                return done(self);
            }
        }
        true
    }

    /// Nodes that hold a majority wherever one may be needed; `None` if too many disks are lost.
    fn draw_core(&mut self) -> Option<Vec<bool>> {
        let confs = self.confs_in_force();
        // One that is down may have been made a voter again before its disk told it of its own stay: it comes back as a stranger.
        let knows_itself = |node: &Node| {
            let stay = self.history.conf_at(node.durable_hard.commit).stay(NodeId(node.id));
            node.is_alive() || stay.is_none_or(|stay| [0, node.config.incarnation.0].contains(&stay.incarnation.0))
        };
        let intact: Vec<bool> = self.nodes.iter().map(|node| node.can_vote() && knows_itself(node)).collect();
        let enough = |core: &[bool]| confs.iter().all(|conf| holds_quorum(conf, |id: NodeId| core[id.0 as usize - 1]));
        if !enough(&intact) {
            return None;
        }
        let mut order: Vec<usize> = (0..NODES).filter(|slot| intact[*slot]).collect();
        self.random.shuffle(&mut order);
        let mut core = vec![false; NODES];
        for slot in order {
            if !enough(&core) {
                core[slot] = true;
            }
        }
        // Sometimes more than is needed.
        for slot in 0..NODES {
            core[slot] |= intact[slot] && self.random.below(4) == 0;
        }
        Some(core)
    }

    fn heal(&mut self, core: &[bool]) {
        self.healing = true;
        let delay = self.plan.link.delay_min.max(20 * MICRO);
        self.network.faults = LinkFaults { ordered: false, delay_mean: delay, ..LinkFaults::none(delay) };
        self.network.mend_core(core);
        self.leak(core);
        for node in &mut self.nodes {
            let sync = node.disk.faults.sync_min;
            node.disk.faults = DiskFaults { sync_mean: sync, ..DiskFaults::none(sync) };
            node.crash_in = None;
        }
        self.plan.batch_ppm = 0;
        self.plan.think_mean = self.plan.think_mean.max(self.plan.election / 8);
        self.wake_all(core);
    }

    /// Leaves some of those outside half connected, so that they hear or are heard by one of the core (study id E5): where nodes
    /// ask before they raise the term, and leaders look for their quorum, that must not hold the core up.
    fn leak(&mut self, core: &[bool]) {
        let careful = self.plan.config.pre_vote && self.plan.config.check_quorum && !self.plan.flip;
        if !careful || self.random.coin() {
            return;
        }
        let inside: Vec<usize> = (0..NODES).filter(|slot| core[*slot]).collect();
        for outside in (0..NODES).filter(|slot| !core[*slot]) {
            let Some(bridge) = self.random.pick(&inside).copied() else { return };
            let (hears, heard) = (self.random.coin(), self.random.coin());
            self.network.set_broken(bridge, outside, !hears);
            self.network.set_broken(outside, bridge, !heard);
            self.coverage.hit("half connected");
        }
    }

    /// Starts and resumes every node of `core`.
    fn wake_all(&mut self, core: &[bool]) {
        for slot in (0..NODES).filter(|slot| core[*slot]) {
            match self.nodes[slot].state {
                State::Down => self.restart(slot),
                State::Paused => {
                    let life = self.nodes[slot].life;
                    self.happen(Event::Resume { node: slot, life });
                }
                State::Unborn | State::Up | State::Lost { .. } => {}
            }
        }
    }

    /// The leader of the newest term in `core`, if one leads.
    fn led(&self, core: &[bool]) -> Option<usize> {
        let leaders = (0..NODES).filter(|slot| core[*slot] && self.nodes[*slot].leads());
        leaders.max_by_key(|slot| self.nodes[*slot].view.term)
    }

    /// The configuration in force at the newest leader.
    fn conf_now(&self) -> Option<(usize, &Conf)> {
        let leader = self.led(&[true; NODES])?;
        Some((leader, self.nodes[leader].machine.as_ref()?.conf()))
    }

    /// No joint configuration remains: those that nobody leaves by itself, the operator leaves.
    fn joint_is_left(&self) -> bool {
        self.conf_now().is_some_and(|(_, conf)| !conf.is_joint() || !conf.auto_leave)
    }

    /// Every intact member has applied what is committed, and every proposal and read has been told its fate.
    fn settled(&self) -> bool {
        let Some((leader, conf)) = self.conf_now() else { return false };
        let committed = self.nodes[leader].view.commit;
        let mut members = conf.members().into_iter().map(|id| &self.nodes[id.0 as usize - 1]);
        if !members.all(|node| !node.is_alive() || node.stranger || node.app.applied >= committed) {
            return false;
        }
        let told = |node: (usize, u32)| {
            let place = &self.nodes[node.0];
            // Only a member is sure to hear what became of its proposals.
            place.life != node.1 || !place.is_alive() || place.stranger || !conf.contains(NodeId(place.id))
        };
        let open = self.history.attempts.iter().any(|attempt| attempt.fate == Fate::Open && !told(attempt.node));
        let reads = |machine: &Raft| machine.status().reads_pending > 0;
        let asked = self.nodes.iter().any(|node| {
            conf.contains(NodeId(node.id))
                && !node.stranger
                && (!node.reads.is_empty() || node.machine.as_ref().is_some_and(reads))
        });
        !open && !asked
    }

    fn picture(&self, core: &[bool]) -> String {
        let mut text = format!("committed {}", self.history.committed.last());
        for (slot, node) in self.nodes.iter().enumerate() {
            let Some(machine) = &node.machine else { continue };
            let status = machine.status();
            text += &format!(
                "; {}{}: {:?} term {} leader {:?} last {} commit {} applied {}/{} held {} records {} proposals {} reads {} {}",
                slot + 1,
                if core[slot] { "*" } else { "" },
                status.role,
                status.term,
                status.leader.map(|leader| leader.0),
                status.last_index,
                status.commit,
                status.applied,
                node.app.applied,
                status.messages_held,
                status.records_pending,
                status.proposals_pending,
                status.reads_pending,
                status.conf
            );
            for (id, progress) in status.progress.iter().filter(|(_, progress)| progress.matched < status.commit) {
                text += &format!(" [{id}: {progress}, session {}, snapshot {}]", progress.session, status.snapshot);
            }
        }
        text
    }
}

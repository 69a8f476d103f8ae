//! Fault actions, membership changes and operators: what happens to the cluster beside its load.
//!
//! Each action draws from a sequence of its own, so that the shrinker can take one away without changing the others.

use wrs_raft::{Change, ChangeKind, Conf, ConfChange, Incarnation, Input, NodeId, Raft, Ticket, Transition};

use super::client::OPERATOR;
use super::node::State;
use super::plan::{NODES, VOTERS_MAX};
use super::world::{Event, World};
use crate::sim::{Partition, Random};

/// The kinds of actions, and the most weight that a seed gives them.
pub const KINDS: &[(&str, u64)] = &[
    ("crash", 8),
    ("pause", 5),
    ("partition", 7),
    ("bridge", 3),
    ("clog", 3),
    ("clock", 2),
    ("transfer", 5),
    ("campaign", 3),
    ("members", 16),
    ("compact", 5),
    ("burst", 4),
    ("wipe", 2),
    ("rot", 1),
    ("rejoin", 3),
    ("report", 3),
    ("lease", 1),
];

impl World {
    /// The next fault action.
    pub(super) fn act(&mut self) {
        if self.healing {
            return;
        }
        let next = self.nemesis.exponential(self.plan.nemesis_mean);
        self.agenda.after(next, Event::Nemesis);
        let number = self.actions;
        self.actions += 1;
        let mut random = self.nemesis.branch(u64::from(number));
        let Some((kind, _)) = KINDS.get(random.weighted(&self.plan.weights)) else { return };
        if self.spec.skips(number) || self.spec.is_off(kind) {
            return;
        }
        if self.trace {
            println!("---- action {number}: {kind}");
        }
        self.coverage.hit(kind);
        self.act_kind(kind, &mut random);
    }

    fn act_kind(&mut self, kind: &str, random: &mut Random) {
        let Some(slot) = self.some_alive(random) else { return };
        match kind {
            "crash" => self.act_crash(slot, random),
            "pause" => self.act_pause(slot, random),
            "partition" => self.act_partition(random),
            "bridge" => self.act_bridge(random),
            "clog" => {
                let until = self.agenda.now() + random.below(self.plan.election * 5);
                let to = random.below(NODES as u64) as usize;
                self.network.clog(slot, to, until);
            }
            "clock" => self.act_clock(slot, random),
            "transfer" => {
                let from = if random.below(5) > 0 { self.some_leader(random).unwrap_or(slot) } else { slot };
                self.give(from, Input::TransferLeader { to: NodeId(1 + random.below(NODES as u64)) });
            }
            "campaign" => {
                let input = if random.coin() { Input::Campaign } else { Input::ForgetLeader };
                self.give(slot, input);
            }
            "members" => self.act_members(random),
            "lease" => self.act_lease(random),
            "compact" => self.act_compact(slot, random),
            "burst" => {
                let at = self.some_leader(random).unwrap_or(slot);
                let bytes = random.below(self.plan.payload_max + 1);
                self.burst(at, 1 + random.below(12) as u32, bytes);
            }
            "wipe" if self.may_lose(slot) => self.lose(slot),
            "rot" => self.act_rot(slot),
            "rejoin" => self.act_rejoin(random),
            "report" => {
                let at = self.some_leader(random).unwrap_or(slot);
                self.give(at, Input::Unreachable { peer: NodeId(1 + random.below(NODES as u64)) });
            }
            _ => {}
        }
    }

    fn some_alive(&self, random: &mut Random) -> Option<usize> {
        let alive: Vec<usize> = (0..NODES).filter(|slot| self.nodes[*slot].is_alive()).collect();
        random.pick(&alive).copied()
    }

    fn some_leader(&self, random: &mut Random) -> Option<usize> {
        let leaders: Vec<usize> = (0..NODES).filter(|slot| self.nodes[*slot].leads()).collect();
        random.pick(&leaders).copied()
    }

    fn act_crash(&mut self, slot: usize, random: &mut Random) {
        let slot = match random.below(3) {
            0 => self.some_leader(random).unwrap_or(slot),
            1 => (0..NODES).find(|slot| self.nodes[*slot].transfers.is_receiving()).unwrap_or(slot),
            _ => slot,
        };
        if random.below(10) == 0 {
            // Everybody at once.
            for slot in 0..NODES {
                self.crash(slot, true);
            }
        } else if random.coin() {
            self.nodes[slot].crash_in = Some(random.below(24) as u32);
        } else {
            self.crash(slot, true);
        }
    }

    fn act_pause(&mut self, slot: usize, random: &mut Random) {
        let slot = if random.coin() { self.some_leader(random).unwrap_or(slot) } else { slot };
        let node = &mut self.nodes[slot];
        if node.state != State::Up {
            return;
        }
        node.state = State::Paused;
        let life = node.life;
        let span = random.below(self.plan.election * 10);
        self.agenda.after(span, Event::Resume { node: slot, life });
    }

    fn act_partition(&mut self, random: &mut Random) {
        let place = match random.coin() {
            true => self.some_leader(random),
            false => self.some_alive(random),
        };
        let place = place.unwrap_or(0);
        let partition = match random.below(7) {
            0 | 1 => Partition::Split((0..NODES).map(|_| random.coin()).collect()),
            2 => Partition::Isolate(place),
            3 => Partition::Mute(place),
            4 => Partition::Deafen(place),
            5 => Partition::Ring,
            _ => Partition::Link { from: place, to: random.below(NODES as u64) as usize },
        };
        self.break_links(&partition, random);
    }

    fn act_bridge(&mut self, random: &mut Random) {
        let sides = (0..NODES).map(|_| random.coin()).collect();
        let through = self.some_alive(random).unwrap_or(0);
        self.break_links(&Partition::Bridge { sides, through }, random);
    }

    fn break_links(&mut self, partition: &Partition, random: &mut Random) {
        if random.coin() {
            self.network.mend();
        }
        self.network.partition(partition);
        self.mend_later(random.below(self.plan.election * 12));
    }

    fn act_clock(&mut self, slot: usize, random: &mut Random) {
        let now = self.agenda.now();
        let bound = self.plan.drift_ppm;
        if self.plan.jumps && random.coin() {
            let span = random.below(self.plan.election * 3);
            self.nodes[slot].clock.jump(now, span);
        } else if bound > 0 {
            let drift = random.below(2 * bound as u64 + 1) as i32 - bound;
            self.nodes[slot].clock.drift(now, drift);
        }
        // The timer was set by the old clock.
        self.nodes[slot].timer_at = now;
        let life = self.nodes[slot].life;
        self.agenda.at(now, Event::Timer { node: slot, life });
    }

    /// What a lease must survive: it is handed over, or what it rests on is late, and then its leader hears nothing more.
    fn act_lease(&mut self, random: &mut Random) {
        let Some(leader) = self.some_leader(random) else { return };
        let now = self.agenda.now();
        if random.coin() {
            let voters = self.nodes[leader].machine.as_ref().map(|machine| machine.conf().voters.clone());
            let others: Vec<NodeId> = voters.into_iter().flatten().filter(|id| id.0 as usize != leader + 1).collect();
            let Some(to) = random.pick(&others).copied() else { return };
            self.give(leader, Input::TransferLeader { to });
            self.network.partition(&Partition::Deafen(leader));
            self.mend_later(self.plan.election * 3);
        } else {
            let until = now + self.plan.election + random.below(self.plan.election);
            for from in (0..NODES).filter(|from| *from != leader) {
                self.network.clog(from, leader, until);
            }
            let beat = self.plan.config.heartbeat_interval.as_nanos() as u64;
            self.agenda.after(beat * (1 + random.below(3)), Event::CutOff { node: leader });
        }
    }

    /// Nobody hears a node, and it hears nobody; what is on its way arrives.
    pub(super) fn cut_off(&mut self, slot: usize) {
        if !self.healing {
            self.network.partition(&Partition::Isolate(slot));
            self.mend_later(self.plan.election * 3);
        }
    }

    fn mend_later(&mut self, span: u64) {
        self.partition += 1;
        self.agenda.after(span, Event::Mend { partition: self.partition });
    }

    fn act_compact(&mut self, slot: usize, random: &mut Random) {
        if random.coin() {
            self.take_snapshot(slot);
        } else if let Some(machine) = &self.nodes[slot].machine {
            let upto = machine.log().applied();
            self.give(slot, Input::Compact { upto });
        }
    }

    fn act_rot(&mut self, slot: usize) {
        if !self.may_lose(slot) || self.nodes[slot].config.in_memory {
            return;
        }
        self.crash(slot, true);
        let node = &mut self.nodes[slot];
        let files: Vec<u64> = node.disk.files().collect();
        if let Some(file) = files.first()
            && node.disk.rot(*file).is_some()
        {
            node.rotten = true;
        }
    }

    /// A removed node's disk is replaced, so that it may come back as another under its old id.
    fn act_rejoin(&mut self, random: &mut Random) {
        let Some((_, conf)) = self.history.confs.last() else { return };
        let outside = |slot: &usize| self.nodes[*slot].is_intact() && !conf.contains(NodeId(*slot as u64 + 1));
        let outside: Vec<usize> = (0..NODES).filter(outside).collect();
        if let Some(slot) = random.pick(&outside).copied()
            && self.may_lose(slot)
        {
            self.lose(slot);
        }
    }

    // Membership.

    /// Every configuration that may be in force somewhere.
    pub(super) fn confs_in_force(&self) -> Vec<Conf> {
        // Who knows nothing lives in no configuration yet, and will learn of none from before its stay.
        let intact = self.nodes.iter().filter(|node| node.is_intact() && node.written.last() > 0);
        let oldest = intact.clone().map(|node| node.durable_hard.commit.min(node.view.applied)).min().unwrap_or(0);
        let base = self.history.confs.iter().rposition(|(from, _)| *from <= oldest).unwrap_or(0);
        let mut confs: Vec<Conf> = self.history.confs[base..].iter().map(|(_, conf)| conf.clone()).collect();
        let Some((_, newest)) = self.history.confs.last() else { return confs };
        for node in intact {
            let own = node.machine.iter().map(|machine| machine.conf().clone());
            confs.extend(own.filter(|conf| !conf.voters.is_empty()));
            // Who is down may bring back what it holds.
            let open = self.history.open_changes(&node.written);
            confs.extend(open.filter_map(|(at, change)| newest.after(change, at).ok()).map(|changed| changed.conf));
            let log =
                node.machine.as_ref().map(Raft::log).filter(|log| node.dirty && log.last_index() > node.written.last());
            let unwritten = log.map(|log| (node.written.last() + 1..=log.last_index()).filter_map(|at| log.entry(at)));
            for entry in unwritten.into_iter().flatten().filter(|entry| entry.kind == wrs_raft::EntryKind::Conf) {
                let change = ConfChange::decode(&entry.payload);
                confs.extend(
                    change.and_then(|change| newest.after(&change, entry.index).ok()).map(|changed| changed.conf),
                );
            }
        }
        confs
    }

    /// Whether the group could go on without this node's disk.
    pub(super) fn may_lose(&self, slot: usize) -> bool {
        let keeps = |id: NodeId| id.0 as usize != slot + 1 && self.nodes[id.0 as usize - 1].is_intact();
        self.nodes[slot].is_intact() && self.confs_in_force().iter().all(|conf| super::check::holds_quorum(conf, keeps))
    }

    fn act_members(&mut self, random: &mut Random) {
        let Some(leader) = self.some_leader(random) else { return };
        let Some(conf) = self.nodes[leader].machine.as_ref().map(|machine| machine.conf().clone()) else { return };
        let Some(change) = self.draw_change(&conf, random) else { return };
        let Ok(after) = conf.after(&change, 0) else { return };
        let intact = |id: NodeId| self.nodes[id.0 as usize - 1].is_intact();
        // One that is being added may be one that only starts once it is.
        if after.conf.voters.len() > VOTERS_MAX || !super::check::holds_quorum(&after.conf, intact) {
            return;
        }
        for change in &change.changes {
            self.wake(change, random);
        }
        self.give(leader, Input::ProposeConf { ticket: Ticket(OPERATOR), change });
        if self.plan.read_ppm > 0 && random.coin() {
            // So that reads wait while the configuration changes under them.
            self.ask_for_nobody(leader);
        }
    }

    /// Starts a node that is about to be added, if it may start now.
    fn wake(&mut self, change: &Change, random: &mut Random) {
        let slot = change.node.0 as usize - 1;
        if !matches!(change.kind, ChangeKind::AddVoter | ChangeKind::AddLearner) {
            return;
        }
        match self.nodes[slot].state {
            State::Unborn => self.join(slot),
            State::Down => {
                let life = self.nodes[slot].life;
                let delay = random.below(self.plan.election);
                self.agenda.after(delay, Event::Restart { node: slot, life });
            }
            State::Up | State::Paused | State::Lost { .. } => {}
        }
    }

    /// The name under which a node that is added runs, or will run; none where the seed's operator tells no names.
    fn name_of(&self, node: NodeId) -> Incarnation {
        let place = &self.nodes[node.0 as usize - 1];
        match place.state {
            _ if !self.plan.names => Incarnation(0),
            State::Unborn | State::Lost { .. } => Incarnation(place.reborn),
            State::Up | State::Paused | State::Down => place.config.incarnation,
        }
    }

    fn is_unnamed(&self, conf: &Conf, node: NodeId) -> bool {
        conf.stay(node).is_some_and(|stay| stay.incarnation == Incarnation(0))
    }

    fn draw_change(&self, conf: &Conf, random: &mut Random) -> Option<ConfChange> {
        if conf.is_joint() {
            return (!conf.auto_leave || random.below(4) == 0).then(ConfChange::leave_joint);
        }
        let one = |kind, node: NodeId| Change::new(kind, node).named(self.name_of(node));
        let members = conf.members();
        let lost = |id: &NodeId| {
            let place = &self.nodes[id.0 as usize - 1];
            place.stranger || matches!(place.state, State::Lost { removed: false })
        };
        let lost: Vec<NodeId> = members.iter().copied().filter(lost).collect();
        if let Some(node) = random.pick(&lost).copied()
            && random.below(4) > 0
        {
            return Some(ConfChange { changes: vec![one(ChangeKind::Remove, node)], ..ConfChange::default() });
        }
        if let Some(change) = self.draw_return(conf, random) {
            return Some(change);
        }
        let addable = |id: &NodeId| {
            let state = self.nodes[id.0 as usize - 1].state;
            !conf.contains(*id) && !matches!(state, State::Lost { removed: false })
        };
        let outside: Vec<NodeId> = (1..=NODES as u64).map(NodeId).filter(addable).collect();
        let intact = |id: &NodeId| self.nodes[id.0 as usize - 1].is_intact();
        // A member that knows nothing votes for nobody: it must be brought up first.
        let knows = |id: &NodeId| self.nodes[id.0 as usize - 1].durable.last() > 0;
        let unnamed: Vec<NodeId> =
            members.iter().copied().filter(|id| intact(id) && self.plan.names && self.is_unnamed(conf, *id)).collect();
        if let Some(node) = random.pick(&unnamed).copied()
            && random.below(3) == 0
        {
            // A founder's name, or one that was not told when it was added.
            return Some(ConfChange::of(one(ChangeKind::Update, node)));
        }
        let learners: Vec<NodeId> = conf.learners.iter().copied().filter(|id| intact(id) && knows(id)).collect();
        let count = if random.below(3) > 0 { 1 } else { 1 + random.below(4) };
        let mut changes: Vec<Change> = Vec::new();
        for _ in 0..count {
            let drawn = match random.below(10) {
                0..=2 => random.pick(&outside).map(|node| one(ChangeKind::AddLearner, *node)),
                3..=5 => random.pick(&learners).map(|node| one(ChangeKind::AddVoter, *node)),
                6 => {
                    // Straight to voter: only one that was a member before, and has its disk.
                    let fresh: Vec<NodeId> = outside.iter().copied().filter(|id| intact(id) && knows(id)).collect();
                    random.pick(&fresh).map(|node| one(ChangeKind::AddVoter, *node))
                }
                7 => random.pick(&conf.voters).map(|node| one(ChangeKind::AddLearner, *node)),
                _ => random.pick(&members).map(|node| one(ChangeKind::Remove, *node)),
            };
            changes.extend(drawn.filter(|drawn| changes.iter().all(|change| change.node != drawn.node)));
        }
        let transition = match (random.chance(self.plan.explicit_joint_ppm), changes.len()) {
            (_, 0) => return None,
            (true, _) => Transition::JointExplicit,
            (false, 1) if random.below(4) > 0 => Transition::Auto,
            (false, _) => Transition::JointImplicit,
        };
        Some(ConfChange { transition, changes, ..ConfChange::default() })
    }

    /// A node that has lost all it held in memory is added anew as a learner, or made a voter again once it holds something: what an
    /// operator of such nodes does most.
    fn draw_return(&self, conf: &Conf, random: &mut Random) -> Option<ConfChange> {
        if !self.plan.memory.contains(&true) || random.below(3) == 0 {
            return None;
        }
        let due = |id: &NodeId| {
            let node = &self.nodes[id.0 as usize - 1];
            match node.state {
                State::Lost { removed: true } => node.config.in_memory && !conf.contains(*id),
                _ => node.returned && node.is_intact() && node.durable.last() > 0 && conf.is_learner(*id),
            }
        };
        let due: Vec<NodeId> = (1..=NODES as u64).map(NodeId).filter(due).collect();
        let node = *random.pick(&due)?;
        let kind = if conf.contains(node) { ChangeKind::AddVoter } else { ChangeKind::AddLearner };
        Some(ConfChange::of(Change::new(kind, node).named(self.name_of(node))))
    }
}

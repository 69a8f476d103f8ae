//! The cluster and its driver: takes events, gives them to machines as inputs, performs their actions.
//!
//! This is the whole duty of a driver as the raft crate's manual tells it, with faults at every step.

use std::collections::VecDeque;
use std::rc::Rc;

use wrs_raft::{
    Action, Body, Boot, Conf, DropReason, Entries, EntryKind, HardState, Incarnation, Input, Message, NodeId, Raft,
    Record, RecordId, SnapshotMeta, Stay, Time,
};

use super::app::{App, Command};
use super::client::{Client, Question};
use super::history::{Fate, History, Shadow};
use super::node::{Node, Saved, State, View};
use super::plan::{NODES, Plan};
use super::wal::Wal;
use crate::sim::{
    Agenda, Clock, Coverage, Crash, Digest, Disk, MICRO, Network, Outcome, Random, Spec, SyncResult, Violation,
};

/// Entries that a checkpoint may hold.
const CHECKPOINT_ENTRIES: u64 = 300;

/// A message on its way, with the snapshot that it speaks of.
#[derive(Clone, Debug)]
pub struct Packet {
    pub message: Message,
    pub snapshot: Option<Rc<Saved>>,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message arrives.
    Arrive { to: usize, packet: Box<Packet> },
    /// A node's deadline may have come.
    Timer { node: usize, life: u32 },
    /// A sync ends that covers records up to `record`, in segments up to `segment`.
    Synced { node: usize, life: u32, record: RecordId, segment: u64 },
    /// The application is done with the oldest run of entries.
    Applied { node: usize, life: u32 },
    /// A snapshot of the application is durable.
    Saved { node: usize, life: u32, saved: Rc<Saved> },
    /// What became of a snapshot on its way is known.
    Reported { node: usize, life: u32, to: u64, delivered: bool },
    /// Inputs that waited are flushed.
    Flush { node: usize, life: u32 },
    /// A pause ends.
    Resume { node: usize, life: u32 },
    /// A node starts again.
    Restart { node: usize, life: u32 },
    /// A client thinks of something, or loses patience.
    Client { client: usize, turn: u64 },
    /// The next fault action.
    Nemesis,
    /// Partitions end.
    Mend { partition: u32 },
}

impl Event {
    /// The node that it happens to.
    fn node(&self) -> Option<usize> {
        match self {
            Event::Arrive { to, .. } => Some(*to),
            Event::Timer { node, .. }
            | Event::Synced { node, .. }
            | Event::Applied { node, .. }
            | Event::Saved { node, .. }
            | Event::Reported { node, .. }
            | Event::Flush { node, .. } => Some(*node),
            Event::Resume { .. }
            | Event::Restart { .. }
            | Event::Client { .. }
            | Event::Nemesis
            | Event::Mend { .. } => None,
        }
    }

    fn code(&self) -> u64 {
        match self {
            Event::Arrive { to, packet } => 16 * (*to as u64 + 1) + packet.message.from.0,
            Event::Timer { .. } => 1,
            Event::Synced { .. } => 2,
            Event::Applied { .. } => 3,
            Event::Saved { .. } => 4,
            Event::Reported { .. } => 5,
            Event::Flush { .. } => 6,
            Event::Resume { .. } => 7,
            Event::Restart { .. } => 8,
            Event::Client { .. } => 9,
            Event::Nemesis => 10,
            Event::Mend { .. } => 11,
        }
    }
}

/// A cluster under a plan.
pub struct World {
    pub(super) spec: Spec,
    pub(super) plan: Plan,
    pub(super) trace: bool,
    pub(super) agenda: Agenda<Event>,
    pub(super) network: Network,
    pub(super) nodes: Vec<Node>,
    pub(super) history: History,
    pub(super) clients: Vec<Client>,
    pub(super) questions: Vec<Question>,
    /// Decides what the driver does.
    pub(super) random: Random,
    pub(super) load: Random,
    pub(super) nemesis: Random,
    pub(super) actions: u32,
    pub(super) partition: u32,
    pub(super) healing: bool,
    /// Clients ask for nothing new.
    pub(super) quiet: bool,
    pub(super) events: u64,
    pub(super) digest: Digest,
    pub(super) violation: Option<Violation>,
    pub(super) coverage: Coverage,
    pub(super) next_incarnation: u64,
    /// Inputs that follow from actions within the same event.
    pub(super) inputs: VecDeque<(usize, u32, Input)>,
    buffer: Vec<Action>,
}

impl World {
    /// The cluster that `spec` draws.
    #[must_use]
    pub fn new(spec: &Spec, trace: bool) -> World {
        let plan = Plan::draw(spec);
        let root = Random::new(spec.seed);
        let conf = Conf::of_voters((1..=plan.founders as u64).map(NodeId));
        let mut world = World {
            network: Network::new(NODES, plan.link.clone(), root.branch(2)),
            nodes: Vec::new(),
            history: History::founded(conf),
            clients: (0..plan.clients).map(|_| Client::default()).collect(),
            questions: Vec::new(),
            random: root.branch(3),
            load: root.branch(4),
            nemesis: root.branch(5),
            agenda: Agenda::default(),
            actions: 0,
            partition: 0,
            healing: false,
            quiet: false,
            events: 0,
            digest: Digest::default(),
            violation: None,
            coverage: Coverage::default(),
            next_incarnation: 100,
            inputs: VecDeque::new(),
            buffer: Vec::new(),
            spec: spec.clone(),
            plan,
            trace,
        };
        let mut clocks = root.branch(6);
        for slot in 0..NODES {
            let id = slot as u64 + 1;
            let mut config = world.plan.config.clone();
            config.id = NodeId(id);
            let drift = world.plan.drift_ppm;
            let drift = if drift == 0 { 0 } else { clocks.below(2 * drift as u64 + 1) as i32 - drift };
            let clock = Clock::new(1 + clocks.below(1 << 40), drift);
            let disk = Disk::new(world.plan.disk.clone(), root.branch(100 + id));
            world.nodes.push(Node::unborn(id, config, clock, disk));
            world.name(slot);
        }
        for slot in 0..world.plan.founders {
            world.found(slot);
        }
        for client in 0..world.clients.len() {
            let at = world.load.below(world.plan.election * 3);
            world.agenda.at(at, Event::Client { client, turn: 0 });
        }
        let first = world.plan.election * 2;
        world.agenda.at(first, Event::Nemesis);
        world
    }

    /// Starts a founder.
    fn found(&mut self, slot: usize) {
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
        if let Some(checkpoint) = node.machine.as_ref().and_then(Raft::checkpoint) {
            node.wal.append(&mut node.disk, &checkpoint);
            node.wal.sync_now(&mut node.disk);
        }
    }

    /// Gives a node an empty disk, and with it a new incarnation.
    fn new_disk(&mut self, slot: usize) {
        let node = &mut self.nodes[slot];
        node.config.incarnation = Incarnation(node.reborn);
        node.disk.wipe();
        node.wal = Wal::found(&mut node.disk, node.id, node.reborn);
    }

    /// The name under which a node's next disk will be known is drawn ahead, so that the operator can tell it.
    fn name(&mut self, slot: usize) {
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

    /// Notes a broken rule; the first one counts.
    pub(super) fn fail(&mut self, rule: &'static str, detail: String) {
        if self.violation.is_none() {
            if self.trace {
                println!("VIOLATION {rule}: {detail}");
            }
            self.violation = Some(Violation { rule, detail, event: self.events });
        }
    }

    /// Runs both phases.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        while self.events < self.spec.events && self.violation.is_none() {
            if !self.turn() {
                break;
            }
        }
        if self.violation.is_none() {
            self.live();
        }
        self.count_coverage();
        Outcome {
            events: self.events,
            digest: self.digest.value(),
            actions: self.actions,
            violation: self.violation,
            coverage: self.coverage,
        }
    }

    fn count_coverage(&mut self) {
        let terms = self.nodes.iter().map(|node| node.view.term).max().unwrap_or(0);
        self.coverage.add("terms", terms);
        self.coverage.add("committed", self.history.committed.last());
        self.coverage.add("membership changes", self.history.conf_changes);
    }

    /// Takes the next event. False if there is none.
    pub(super) fn turn(&mut self) -> bool {
        let Some(event) = self.agenda.take() else { return false };
        self.events += 1;
        self.digest.add(self.agenda.now());
        self.digest.add(event.code());
        if let Some(slot) = event.node()
            && self.nodes[slot].state == State::Paused
        {
            self.nodes[slot].inbox.push(event);
            return true;
        }
        self.happen(event);
        self.drain();
        true
    }

    pub(super) fn drain(&mut self) {
        while let Some((slot, life, input)) = self.inputs.pop_front() {
            if self.nodes[slot].life == life {
                self.give(slot, input);
            }
        }
    }

    fn lives(&self, node: usize, life: u32) -> bool {
        self.nodes[node].life == life && self.nodes[node].is_alive()
    }

    pub(super) fn happen(&mut self, event: Event) {
        if self.trace {
            self.tell(&event);
        }
        match event {
            Event::Arrive { to, packet } => self.arrive(to, *packet),
            Event::Timer { node, life } if self.lives(node, life) => self.timer(node),
            Event::Synced { node, life, record, segment } if self.lives(node, life) => {
                self.synced(node, record, segment)
            }
            Event::Applied { node, life } if self.lives(node, life) => {
                self.nodes[node].apply_due = false;
                self.apply_next(node);
            }
            Event::Saved { node, life, saved } if self.lives(node, life) => self.saved(node, saved),
            Event::Reported { node, life, to, delivered } if self.lives(node, life) => {
                self.give(node, Input::SnapshotSent { to: NodeId(to), delivered });
            }
            Event::Flush { node, life } if self.lives(node, life) => {
                self.nodes[node].dirty = false;
                self.flush(node);
            }
            Event::Resume { node, life } if self.nodes[node].life == life => self.resume(node),
            Event::Restart { node, life } if self.nodes[node].life == life => self.restart(node),
            Event::Client { client, turn } => self.client(client, turn),
            Event::Nemesis => self.act(),
            Event::Mend { partition } if self.partition == partition && !self.healing => self.network.mend(),
            _ => {}
        }
    }

    fn tell(&self, event: &Event) {
        let now = self.agenda.now() / MICRO;
        match event {
            Event::Arrive { to, packet } => {
                println!("{} {now}us  {}: arrives {:?}", self.events, to + 1, packet.message);
            }
            Event::Client { .. } => {}
            event => println!("{} {now}us  {event:?}", self.events),
        }
    }

    // Inputs.

    fn arrive(&mut self, to: usize, packet: Packet) {
        if !self.nodes[to].is_alive() {
            return;
        }
        if let Some(saved) = packet.snapshot {
            let saved = Saved { own: false, ..(*saved).clone() };
            self.nodes[to].snapshots.push(Rc::new(saved));
        }
        let from = packet.message.from.0;
        let answer = packet.message.body.is_answer();
        self.give(to, Input::Receive(packet.message));
        if answer {
            self.check_peer(to, from);
        }
    }

    fn timer(&mut self, slot: usize) {
        let now = self.agenda.now();
        let node = &mut self.nodes[slot];
        if node.timer_at > now {
            // An earlier one took its place; were it heeded, timers would breed.
            return;
        }
        node.timer_at = u64::MAX;
        let local = Time::from_nanos(node.clock.local(now));
        let due = node.machine.as_ref().and_then(Raft::deadline).is_some_and(|at| at <= local);
        if due {
            self.give(slot, Input::Timeout);
        } else {
            self.set_timer(slot);
        }
    }

    fn set_timer(&mut self, slot: usize) {
        let now = self.agenda.now();
        let node = &mut self.nodes[slot];
        let Some(at) = node.machine.as_ref().and_then(Raft::deadline) else { return };
        // At least a microsecond ahead: a deadline that has passed must not stop time.
        let at = node.clock.true_at(at.as_nanos()).max(now + MICRO);
        if at < node.timer_at {
            node.timer_at = at;
            let life = node.life;
            self.agenda.at(at, Event::Timer { node: slot, life });
        }
    }

    /// Gives an input to a machine, and performs what it asks, now or together with later inputs.
    pub(super) fn give(&mut self, slot: usize, input: Input) {
        let now = self.agenda.now();
        let batch = self.plan.batch_ppm;
        let node = &mut self.nodes[slot];
        let Some(machine) = node.machine.as_mut() else { return };
        // What has no effect needs nothing.
        let _ = machine.step(Time::from_nanos(node.clock.local(now)), input);
        if node.dirty {
            return;
        }
        if self.random.chance(batch) {
            node.dirty = true;
            let life = node.life;
            let delay = self.random.below(200 * MICRO);
            self.agenda.after(delay, Event::Flush { node: slot, life });
            return;
        }
        self.flush(slot);
    }

    /// Draws and performs the machine's actions; a crash may come between any two.
    pub(super) fn flush(&mut self, slot: usize) {
        let mut actions = std::mem::take(&mut self.buffer);
        let Some(machine) = self.nodes[slot].machine.as_mut() else { return };
        machine.flush(&mut actions);
        self.check_written(slot, &actions);
        self.check_node(slot, &actions);
        let mut crashed = false;
        for action in actions.drain(..) {
            if self.violation.is_some() {
                break;
            }
            if let Some(left) = self.nodes[slot].crash_in {
                if left == 0 {
                    crashed = true;
                    break;
                }
                self.nodes[slot].crash_in = Some(left - 1);
            }
            if self.trace {
                println!("      {}: {action:?}", slot + 1);
            }
            self.check_action(slot, &action);
            self.perform(slot, action);
            if !self.nodes[slot].is_alive() {
                break;
            }
        }
        actions.clear();
        self.buffer = actions;
        if crashed {
            self.coverage.hit("crashes between actions");
            self.crash(slot, true);
        } else if self.nodes[slot].is_alive() {
            self.set_timer(slot);
            self.checkpoint(slot);
            if self.nodes[slot].snapshot_wanted {
                self.take_snapshot(slot);
            }
        }
    }

    /// Begins a new segment, if the present one is long and the machine has something to begin it with.
    fn checkpoint(&mut self, slot: usize) {
        let node = &mut self.nodes[slot];
        let Some(machine) = node.machine.as_ref().filter(|_| node.wal.is_full()) else { return };
        if machine.log().last_index() > machine.snapshot().index + CHECKPOINT_ENTRIES {
            // It would say too much: first a snapshot.
            return self.take_snapshot(slot);
        }
        if let Some(record) = machine.checkpoint() {
            let salt = self.random.bits();
            node.wal.begin_segment(&mut node.disk, &record, salt);
            node.sync_wanted = true;
            self.coverage.hit("segments");
            self.sync(slot);
        }
    }

    // Actions.

    fn perform(&mut self, slot: usize, action: Action) {
        match action {
            Action::Role(change) => {
                self.digest.add(change.term * 4 + change.role as u64);
            }
            Action::Send(message) => self.send(slot, Packet { message, snapshot: None }),
            Action::Persist(record) => self.persist(slot, record),
            Action::SendSnapshot { to, message } => self.send_snapshot(slot, to, message),
            Action::Apply(entries) => self.apply(slot, entries),
            Action::Configured { .. } => self.coverage.hit("configured"),
            Action::Accepted { ticket, first, .. } => {
                if let Some(attempt) = self.history.attempts.get_mut(ticket.0 as usize) {
                    attempt.accepted = first;
                }
            }
            Action::Committed { ticket, first, last, .. } => self.answer_commit(slot, ticket.0, first, last),
            Action::Dropped { ticket, reason } => self.answer_drop(ticket.0, reason),
            Action::ReadReady { token, index } => {
                self.nodes[slot].reads.push((token.0, index));
                self.serve_reads(slot);
            }
            Action::ReadFailed { token, .. } => self.answer_read_failed(token.0),
            Action::SnapshotWanted { .. } => {
                self.coverage.hit("snapshots wanted");
                self.nodes[slot].snapshot_wanted = true;
                self.take_snapshot(slot);
            }
            Action::Compacted { .. } => self.coverage.hit("compactions"),
            Action::Fatal(fatal) => {
                if self.nodes[slot].stranger {
                    // It was sent what its former self was owed.
                    self.coverage.hit("strangers stopped");
                    return self.lose(slot);
                }
                if !self.nodes[slot].write_failed {
                    return self.fail("no fatal error", format!("node {}: {fatal}", slot + 1));
                }
                self.coverage.hit("failed writes");
                self.crash(slot, true);
            }
        }
    }

    fn send(&mut self, slot: usize, packet: Packet) {
        let to = packet.message.to.0 as usize - 1;
        let now = self.agenda.now();
        let mut arrivals = [None; 2];
        self.network.carry(now, slot, to, |at| arrivals[usize::from(arrivals[0].is_some())] = Some(at));
        self.digest.add(packet.message.term << 8 | to as u64);
        if let Body::Propose { payloads } = &packet.message.body {
            // From now on the network may double it.
            for command in payloads.iter().filter_map(|payload| Command::decode(payload)) {
                if let Some(attempt) = self.history.attempts.get_mut(command.attempt as usize) {
                    attempt.forwarded = true;
                }
            }
        }
        if let Some(at) = arrivals[1] {
            self.agenda.at(at, Event::Arrive { to, packet: Box::new(packet.clone()) });
        }
        if let Some(at) = arrivals[0] {
            self.agenda.at(at, Event::Arrive { to, packet: Box::new(packet) });
        }
    }

    fn send_snapshot(&mut self, slot: usize, to: NodeId, mut message: Message) {
        self.coverage.hit("snapshots sent");
        let life = self.nodes[slot].life;
        let Body::Snapshot { meta } = &mut message.body else { return };
        let Some(saved) = self.nodes[slot].saved(meta.index) else {
            return self.fail("snapshots exist", format!("node {} has no snapshot at {}", slot + 1, meta.index));
        };
        **meta = saved.meta.clone();
        let now = self.agenda.now();
        let (from, place) = (slot, to.0 as usize - 1);
        let mut at = None;
        self.network.carry(now, from, place, |arrival| at = at.or(Some(arrival)));
        let slow = self.random.exponential(self.plan.election / 4);
        let report = now + slow + self.plan.link.delay_min;
        if let Some(at) = at {
            let packet = Packet { message, snapshot: Some(saved) };
            self.agenda.at(at + slow, Event::Arrive { to: place, packet: Box::new(packet) });
        }
        // A report of failure may be wrong; one of success is not.
        let delivered = at.is_some() && !self.random.chance(100_000);
        let report = report.max(at.unwrap_or(0) + slow + 1);
        self.agenda.at(report, Event::Reported { node: slot, life, to: to.0, delivered });
    }

    fn persist(&mut self, slot: usize, record: Record) {
        let node = &mut self.nodes[slot];
        let sync = record.sync;
        self.digest.add(record.entries.last().map_or(0, |entry| entry.index));
        node.wal.append(&mut node.disk, &record);
        node.unsynced.push_back(record);
        if sync || self.random.chance(50_000) {
            self.nodes[slot].sync_wanted = true;
            self.sync(slot);
        }
    }

    fn sync(&mut self, slot: usize) {
        let node = &mut self.nodes[slot];
        if node.syncing || !node.sync_wanted {
            return;
        }
        node.syncing = true;
        node.sync_wanted = false;
        let record = node.wal.sync_begin(&mut node.disk);
        let (segment, life, delay) = (node.wal.number(), node.life, node.disk.sync_delay());
        self.agenda.after(delay, Event::Synced { node: slot, life, record, segment });
    }

    fn synced(&mut self, slot: usize, record: RecordId, segment: u64) {
        let life = self.nodes[slot].life;
        let node = &mut self.nodes[slot];
        node.syncing = false;
        if node.wal.sync_end(&mut node.disk, record) == SyncResult::Failed {
            let record = node.unsynced.front().map_or(record, |record| record.id);
            node.write_failed = true;
            self.inputs.push_back((slot, life, Input::PersistFailed { record }));
            return;
        }
        node.wal.retire(&mut node.disk, segment == node.wal.number());
        let mut newest = None;
        while self.nodes[slot].unsynced.front().is_some_and(|oldest| oldest.id <= record) {
            let Some(record) = self.nodes[slot].unsynced.pop_front() else { break };
            let id = record.id;
            self.settle(slot, &record);
            newest = Some(id);
            if self.plan.report_each {
                self.inputs.push_back((slot, life, Input::Persisted { record: id }));
            }
        }
        if let (Some(record), false) = (newest, self.plan.report_each) {
            self.inputs.push_back((slot, life, Input::Persisted { record }));
        }
        self.sync(slot);
    }

    /// A record is durable.
    fn settle(&mut self, slot: usize, record: &Record) {
        self.note_durable(slot, record);
        if let Some(meta) = &record.snapshot {
            self.install(slot, meta);
        }
    }

    /// Puts a received snapshot in the place of the application's state.
    fn install(&mut self, slot: usize, meta: &SnapshotMeta) {
        self.coverage.hit("snapshots installed");
        let node = &mut self.nodes[slot];
        let found = node.snapshots.iter().find(|saved| saved.meta.index == meta.index).cloned();
        let Some(saved) = found else {
            return self.fail("snapshots exist", format!("node {} installs {} from nowhere", slot + 1, meta.index));
        };
        if saved.meta.index < node.app.applied {
            let applied = node.app.applied;
            return self
                .fail("applied never falls", format!("node {} goes from {applied} to {}", slot + 1, meta.index));
        }
        node.app = saved.app.clone();
        node.applying.clear();
    }

    fn apply(&mut self, slot: usize, entries: Entries) {
        let mean = self.plan.apply_mean;
        let node = &mut self.nodes[slot];
        node.applying.push_back(entries);
        if mean == 0 || self.healing {
            self.apply_next(slot);
        } else if !node.apply_due {
            self.schedule_apply(slot);
        }
    }

    fn schedule_apply(&mut self, slot: usize) {
        let delay = self.random.exponential(self.plan.apply_mean);
        let node = &mut self.nodes[slot];
        node.apply_due = true;
        let life = node.life;
        self.agenda.after(delay, Event::Applied { node: slot, life });
    }

    /// Applies the oldest run of entries.
    fn apply_next(&mut self, slot: usize) {
        let activate = self.random.chance(200_000);
        let node = &mut self.nodes[slot];
        let Some(entries) = node.applying.pop_front() else { return };
        let life = node.life;
        for entry in &entries {
            if entry.index <= node.app.applied {
                // A snapshot overtook it.
                continue;
            }
            let conf = entry.kind == EntryKind::Conf;
            let chain = super::app::chain_after(node.app.chain, entry.term, conf, &entry.payload);
            let command = if conf { None } else { Command::decode(&entry.payload) };
            node.app.apply(entry.index, chain, command);
            if conf && activate {
                self.inputs.push_back((slot, life, Input::Activate { index: entry.index }));
            }
        }
        let (applied, chain) = (node.app.applied, node.app.chain);
        let more = !node.applying.is_empty();
        self.check_applied(slot, applied, chain);
        self.inputs.push_back((slot, life, Input::Applied { index: applied }));
        self.serve_reads(slot);
        if more {
            self.schedule_apply(slot);
        }
        let every = self.plan.snapshot_every;
        let since = self.nodes[slot].snapshots.iter().map(|saved| saved.meta.index).max().unwrap_or(0);
        if (every > 0 && applied >= since + every) || self.nodes[slot].snapshot_wanted {
            self.take_snapshot(slot);
        }
    }

    /// Saves the application's state.
    pub(super) fn take_snapshot(&mut self, slot: usize) {
        let delay = self.random.exponential(self.plan.disk.sync_mean * 4);
        let node = &mut self.nodes[slot];
        let Some(machine) = &node.machine else { return };
        let index = machine.log().applied().min(node.app.applied);
        if node.saving || index <= machine.snapshot().index || index != node.app.applied {
            return;
        }
        let Some(meta) = machine.snapshot_meta(index) else { return };
        node.saving = true;
        node.snapshot_wanted = false;
        let life = node.life;
        let saved = Rc::new(Saved { meta: *meta, app: node.app.clone(), own: true });
        self.check_snapshot(slot, &saved);
        self.agenda.after(delay, Event::Saved { node: slot, life, saved });
    }

    fn saved(&mut self, slot: usize, saved: Rc<Saved>) {
        self.coverage.hit("snapshots taken");
        let meta = Box::new(saved.meta.clone());
        let node = &mut self.nodes[slot];
        node.saving = false;
        node.snapshots.push(saved);
        self.give(slot, Input::SnapshotTaken { meta });
    }

    // Crashes and starts.

    /// Crashes a node. It restarts by itself after a while, if `restarts`.
    pub(super) fn crash(&mut self, slot: usize, restarts: bool) {
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
        node.forget();
        node.state = State::Down;
        let life = node.life;
        if restarts {
            let delay = self.random.exponential(self.plan.downtime_mean);
            self.agenda.after(delay, Event::Restart { node: slot, life });
        }
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
        node.app = App::default();
        node.unsynced.clear();
        node.written = Shadow::default();
        let former = std::mem::take(&mut node.durable);
        node.durable_hard = HardState::default();
        node.rotten = false;
        if !std::mem::take(&mut node.stranger) {
            node.former = former;
        }
        self.start(slot, Boot::empty());
    }

    /// Whether the group knows this node by a name that it has lost with its disk.
    fn is_known_otherwise(&self, slot: usize) -> bool {
        let stay = self.history.confs.last().and_then(|(_, conf)| conf.stay(NodeId(slot as u64 + 1)));
        stay.is_some_and(|stay| ![0, self.nodes[slot].reborn].contains(&stay.incarnation.0))
    }

    /// Starts a node that has lost its disk before the group has removed it: what an operator in a hurry does.
    fn join_as_stranger(&mut self, slot: usize) {
        self.coverage.hit("strangers");
        self.join(slot);
        self.nodes[slot].stranger = true;
    }

    /// A node's disk is gone.
    pub(super) fn lose(&mut self, slot: usize) {
        self.crash(slot, false);
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

    fn resume(&mut self, slot: usize) {
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
            let stay = conf.stay(NodeId(slot as u64 + 1));
            let node = &mut self.nodes[slot];
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

    fn answer_drop(&mut self, ticket: u64, reason: DropReason) {
        let (fate, forwarded) = match reason {
            DropReason::Forwarded { .. } => (Fate::Unknown, true),
            DropReason::Unknown | DropReason::Stopped => (Fate::Unknown, false),
            DropReason::NotLeader { .. }
            | DropReason::Transferring { .. }
            | DropReason::Overloaded
            | DropReason::Removed
            | DropReason::Malformed
            | DropReason::Conf(_)
            | DropReason::Overwritten => (Fate::Failed, false),
        };
        self.coverage.hit(match reason {
            DropReason::NotLeader { .. } => "dropped: not leader",
            DropReason::Forwarded { .. } => "dropped: forwarded",
            DropReason::Transferring { .. } => "dropped: transferring",
            DropReason::Overloaded => "dropped: overloaded",
            DropReason::Overwritten => "dropped: overwritten",
            DropReason::Unknown => "dropped: unknown",
            DropReason::Conf(_) => "dropped: conf",
            DropReason::Removed | DropReason::Malformed | DropReason::Stopped => "dropped: other",
        });
        let hint = match reason {
            DropReason::NotLeader { leader } => leader,
            _ => None,
        };
        self.settle_attempt(ticket, fate, forwarded, hint);
    }
}

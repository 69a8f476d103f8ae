//! The cluster and its driver: takes events, gives them to machines as inputs, performs their actions.
//!
//! This is the whole duty of a driver as the raft crate's manual tells it, with faults at every step.

use std::collections::VecDeque;
use std::rc::Rc;

use wrs_raft::snapshot::Part;
use wrs_raft::{Action, Conf, Input, Message, NodeId, Raft, RecordId, Time};

use super::client::{Client, Question};
use super::history::History;
use super::node::{Node, Saved, State};
use super::plan::{NODES, Plan};
use crate::sim::{Agenda, Clock, Coverage, Digest, Disk, DiskFaults, MICRO, Network, Outcome, Random, Spec, Violation};

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
    /// A part of a snapshot arrives, with the message that it is for, or word of how much is there.
    Part { to: usize, from: usize, message: Option<Rc<Message>>, part: Box<Part> },
    /// A chunk may have to be sent again.
    Retry { node: usize, life: u32, to: u64, turn: u64 },
    /// A snapshot that came in chunks is durable.
    Stored { node: usize, life: u32, saved: Rc<Saved>, message: Box<Message> },
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
    /// Nobody hears a node any more, nor it anybody.
    CutOff { node: usize },
}

impl Event {
    /// The node that it happens to.
    fn node(&self) -> Option<usize> {
        match self {
            Event::Arrive { to, .. } | Event::Part { to, .. } => Some(*to),
            Event::Timer { node, .. }
            | Event::Synced { node, .. }
            | Event::Applied { node, .. }
            | Event::Saved { node, .. }
            | Event::Retry { node, .. }
            | Event::Stored { node, .. }
            | Event::Reported { node, .. }
            | Event::Flush { node, .. } => Some(*node),
            Event::Resume { .. }
            | Event::Restart { .. }
            | Event::Client { .. }
            | Event::Nemesis
            | Event::Mend { .. }
            | Event::CutOff { .. } => None,
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
            Event::CutOff { .. } => 12,
            Event::Part { to, from, .. } => 256 * (*to as u64 + 1) + *from as u64,
            Event::Retry { .. } => 13,
            Event::Stored { .. } => 14,
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
            config.in_memory = world.plan.memory[slot];
            let drift = world.plan.drift_ppm;
            let drift = if drift == 0 { 0 } else { clocks.below(2 * drift as u64 + 1) as i32 - drift };
            let clock = Clock::new(1 + clocks.below(1 << 40), drift);
            let disk = Disk::new(world.plan.disk.clone(), root.branch(100 + id));
            let store = Disk::new(DiskFaults { fail_ppm: 0, ..world.plan.disk.clone() }, root.branch(200 + id));
            world.nodes.push(Node::unborn(id, config, clock, disk, store));
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
        if self.violation.is_none() {
            self.check_told();
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

    pub(super) fn count_coverage(&mut self) {
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

    pub(super) fn lives(&self, node: usize, life: u32) -> bool {
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
            Event::Part { to, from, message, part } => self.hear_part(to, from, message, *part),
            Event::Retry { node, life, to, turn } if self.lives(node, life) => self.retry(node, to, turn),
            Event::Stored { node, life, saved, message } if self.lives(node, life) => {
                self.stored(node, saved, *message);
            }
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
            Event::CutOff { node } => self.cut_off(node),
            Event::Mend { partition } if self.partition == partition && !self.healing => self.network.mend(),
            _ => {}
        }
    }

    pub(super) fn tell(&self, event: &Event) {
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

    pub(super) fn arrive(&mut self, to: usize, packet: Packet) {
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

    pub(super) fn timer(&mut self, slot: usize) {
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

    pub(super) fn set_timer(&mut self, slot: usize) {
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
        self.note_remembered(slot, &actions);
        self.check_node(slot, &actions);
        let mut crashed = false;
        for action in actions.drain(..) {
            if self.violation.is_some() {
                break;
            }
            if let Some(left) = self.nodes[slot].crash_in {
                if left == 0 && self.may_crash(slot) {
                    crashed = true;
                    break;
                }
                self.nodes[slot].crash_in = left.checked_sub(1);
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
    pub(super) fn checkpoint(&mut self, slot: usize) {
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
}

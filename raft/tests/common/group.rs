//! A few machines, their disks, one clock and one network, all in the test's hands: what directed tests are written with.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use wrs_raft::*;

pub const ELECTION: Duration = Duration::from_millis(1000);
pub const HEARTBEAT: Duration = Duration::from_millis(100);

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub boot: Boot,
    /// Records that were handed out and are not durable, oldest first.
    pub queue: VecDeque<Record>,
}

impl Disk {
    /// Makes every record up to `id` durable.
    fn sync(&mut self, id: RecordId) {
        while self.queue.front().is_some_and(|record| record.id <= id) {
            let record = self.queue.pop_front().unwrap();
            self.boot.record = record.id;
            if let Some(hard) = record.hard {
                self.boot.hard = hard;
            }
            if let Some(meta) = record.snapshot {
                self.boot.snapshot = *meta;
                self.boot.entries.clear();
            }
            if let Some(first) = record.entries.first() {
                let base = self.boot.entries.first().map_or(self.boot.snapshot.index + 1, |entry| entry.index);
                assert!(first.index <= base + self.boot.entries.len() as u64, "a record leaves a gap");
                self.boot.entries.retain(|entry| entry.index < first.index);
                self.boot.entries.extend(record.entries.iter().cloned());
            }
        }
    }
}

pub struct Node {
    pub raft: Raft,
    pub disk: Disk,
    /// Whether records become durable by themselves, and entries are applied by themselves.
    pub auto_sync: bool,
    pub auto_apply: bool,
    /// Whether snapshots that it sends arrive, and whether it takes one when it is asked to.
    pub snapshots_arrive: bool,
    pub snapshots_when_wanted: bool,
    /// Whether what follows is remembered; a test of many steps has no use for it.
    pub remembers: bool,
    /// Every entry that was handed to the application, in order.
    pub applied: Vec<Entry>,
    /// Every other action, in order.
    pub events: Vec<Action>,
}

pub struct Group {
    pub now: Time,
    pub nodes: BTreeMap<NodeId, Node>,
    pub mail: VecDeque<Message>,
    /// Directed links that deliver nothing.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Messages that were cut off, in order: what a test may bring back late.
    pub lost: Vec<Message>,
}

pub fn id(number: u64) -> NodeId {
    NodeId(number)
}

pub fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<NodeId> {
    numbers.into_iter().map(NodeId).collect()
}

pub fn config(number: u64) -> Config {
    Config { election_timeout: ELECTION, heartbeat_interval: HEARTBEAT, log_tail_entries: 0, ..Config::new(id(number)) }
}

impl Group {
    /// `count` founders with the default settings.
    pub fn new(count: u64) -> Group {
        Group::with(count, |config| config)
    }

    pub fn with(count: u64, settings: impl Fn(Config) -> Config) -> Group {
        let (nodes, mail) = (BTreeMap::new(), VecDeque::new());
        let mut group = Group { now: Time::ZERO, nodes, mail, cut: BTreeSet::new(), lost: Vec::new() };
        for number in 1..=count {
            group.add(settings(config(number)), Boot::found(ids(1..=count)));
        }
        group
    }

    pub fn add(&mut self, config: Config, boot: Boot) {
        let id = config.id;
        let raft = Raft::new(config, boot.clone(), self.now).unwrap();
        let disk = Disk { boot, queue: VecDeque::new() };
        let (applied, events) = (Vec::new(), Vec::new());
        let node = Node {
            raft,
            disk,
            auto_sync: true,
            auto_apply: true,
            snapshots_arrive: true,
            snapshots_when_wanted: true,
            remembers: true,
            applied,
            events,
        };
        self.nodes.insert(id, node);
    }

    /// A node that knows nothing, for joining.
    pub fn join(&mut self, number: u64) {
        self.add(config(number), Boot::empty());
    }

    /// Kills a node and starts it from what is durable.
    pub fn restart(&mut self, number: u64) {
        self.restart_as(number, |config| config);
    }

    pub fn restart_as(&mut self, number: u64, settings: impl Fn(Config) -> Config) {
        let node = self.nodes.remove(&id(number)).unwrap();
        self.add(settings(node.raft.config().clone()), node.disk.boot);
    }

    pub fn node(&mut self, number: u64) -> &mut Node {
        self.nodes.get_mut(&id(number)).unwrap()
    }

    pub fn status(&self, number: u64) -> Status {
        self.nodes[&id(number)].raft.status()
    }

    pub fn step(&mut self, number: u64, input: Input) -> Result<(), Ignored> {
        let now = self.now;
        let node = self.node(number);
        let result = node.raft.step(now, input);
        self.flush(number);
        result
    }

    /// Performs what a node wants done.
    pub fn flush(&mut self, number: u64) {
        loop {
            let now = self.now;
            let node = self.nodes.get_mut(&id(number)).unwrap();
            let mut out = Vec::new();
            node.raft.flush(&mut out);
            if out.is_empty() {
                return;
            }
            for action in out {
                match action {
                    Action::Send(message) => self.mail.push_back(message),
                    Action::SendSnapshot { to, message } => {
                        let delivered = node.snapshots_arrive;
                        if delivered {
                            self.mail.push_back(message.clone());
                        }
                        node.events.push(Action::SendSnapshot { to, message });
                        let _ = node.raft.step(now, Input::SnapshotSent { to, delivered });
                    }
                    Action::Persist(record) => {
                        let record_id = record.id;
                        if node.remembers {
                            node.disk.queue.push_back(record);
                        }
                        if node.auto_sync {
                            node.disk.sync(record_id);
                            node.raft.step(now, Input::Persisted { record: record_id }).unwrap();
                        }
                    }
                    Action::Apply(entries) => {
                        if node.remembers {
                            node.applied.extend(entries.iter().cloned());
                        }
                        if node.auto_apply {
                            let _ = node.raft.step(now, Input::Applied { index: entries.last().unwrap().index });
                        }
                    }
                    Action::SnapshotWanted { index } if node.snapshots_when_wanted => {
                        let meta = node.raft.snapshot_meta(index).unwrap();
                        node.raft.step(now, Input::SnapshotTaken { meta }).unwrap();
                    }
                    event if node.remembers => node.events.push(event),
                    _ => {}
                }
            }
        }
    }

    /// Makes everything durable that a node has handed out.
    pub fn sync(&mut self, number: u64) {
        let now = self.now;
        let node = self.node(number);
        if let Some(record) = node.disk.queue.back().map(|record| record.id) {
            node.disk.sync(record);
            node.raft.step(now, Input::Persisted { record }).unwrap();
        }
        self.flush(number);
    }

    pub fn deliver(&mut self, message: Message) -> Result<(), Ignored> {
        if self.cut.contains(&(message.from, message.to)) || !self.nodes.contains_key(&message.to) {
            self.lost.push(message);
            return Ok(());
        }
        self.step(message.to.0, Input::Receive(message))
    }

    /// Delivers until nothing is on the way.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let Some(message) = self.mail.pop_front() else { return };
            let _ = self.deliver(message);
        }
        panic!("the messages never end");
    }

    /// Lets time pass, every node's timers firing when due.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.settle();
            let due = self.nodes.values().filter_map(|node| node.raft.deadline()).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            let numbers: Vec<u64> = self.nodes.keys().map(|id| id.0).collect();
            for number in numbers {
                if self.nodes[&id(number)].raft.deadline().is_some_and(|at| at <= self.now) {
                    let _ = self.step(number, Input::Timeout);
                }
            }
        }
        self.now = end;
        self.settle();
    }

    pub fn campaign(&mut self, number: u64) {
        let _ = self.step(number, Input::Campaign);
        self.settle();
    }

    /// A group of `count` that node 1 leads.
    pub fn led(count: u64) -> Group {
        let mut group = Group::new(count);
        group.lead(1);
        group
    }

    pub fn lead(&mut self, number: u64) {
        self.campaign(number);
        assert_eq!(self.status(number).role, Role::Leader);
    }

    pub fn propose(&mut self, number: u64, payload: &'static str) -> Result<(), Ignored> {
        let payload = Bytes::from_static(payload.as_bytes());
        let ticket = Ticket(payload.first().copied().unwrap_or(0).into());
        self.step(number, Input::Propose { ticket, payload })
    }

    pub fn change(&mut self, number: u64, kind: ChangeKind, node: u64) -> Result<(), Ignored> {
        let change = ConfChange::single(kind, id(node));
        self.step(number, Input::ProposeConf { ticket: Ticket(0), change })
    }

    pub fn cut_both(&mut self, a: u64, b: u64) {
        self.cut.extend([(id(a), id(b)), (id(b), id(a))]);
    }

    /// Cuts a node off from all others.
    pub fn isolate(&mut self, number: u64) {
        let others: Vec<u64> = self.nodes.keys().map(|id| id.0).filter(|other| *other != number).collect();
        for other in others {
            self.cut_both(number, other);
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    pub fn leaders(&self) -> Vec<u64> {
        let leads = |node: &&Node| node.raft.status().role == Role::Leader;
        self.nodes.values().filter(leads).map(|node| node.raft.status().id.0).collect()
    }

    /// The payloads that a node has applied, without empty ones and membership changes.
    pub fn payloads(&self, number: u64) -> Vec<String> {
        let normal = self.nodes[&id(number)].applied.iter().filter(|entry| entry.kind == EntryKind::Normal);
        let filled = normal.filter(|entry| !entry.payload.is_empty());
        filled.map(|entry| String::from_utf8_lossy(&entry.payload).into_owned()).collect()
    }

    /// The terms of a node's log, from its first entry on.
    pub fn terms(&self, number: u64) -> Vec<Term> {
        let log = self.nodes[&id(number)].raft.log();
        (log.first_index()..=log.last_index()).map(|index| log.term(index).unwrap()).collect()
    }

    /// A message as `from` would send it now.
    pub fn message(&self, from: u64, to: u64, term: Term, body: Body) -> Message {
        let (cluster, incarnation) = (ClusterId(0), Incarnation(0));
        Message { cluster, from: id(from), incarnation, to: id(to), term, session: 0, body }
    }

    /// The first message on the way that `wanted` picks, taken out.
    pub fn take(&mut self, wanted: impl Fn(&Message) -> bool) -> Option<Message> {
        let at = self.mail.iter().position(wanted)?;
        self.mail.remove(at)
    }
}

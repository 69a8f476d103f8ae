//! Gates, the wires between them and a virtual clock in one place: whatever can happen to a connection happens when the seed
//! says so.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use crate::id::{ChannelId, ClientId, ShardId};

/// What is going to happen.
#[derive(Debug)]
enum Next {
    /// Bytes come out of a wire at one end.
    Arrive { wire: u32, end: usize, bytes: Vec<u8> },
    /// The end of what the other end sends.
    Fin { wire: u32, end: usize },
    /// Everything that an end has queued is written.
    Written { wire: u32, end: usize },
    /// One end notices that its socket is gone.
    Closed { wire: u32, end: usize },
    /// A dial is answered.
    Answer { node: usize, dial: DialId, address: NodeAddress },
    /// A gate's deadline.
    Wake { node: usize },
}

/// One connection: which node is at which end; the dialer is the first.
#[derive(Debug)]
struct Wire {
    nodes: [usize; 2],
    /// Whether the end has its socket.
    open: [bool; 2],
    /// Nothing arrives any more, but nobody is told.
    dark: bool,
    /// When the last bytes for an end arrive.
    last: [Time; 2],
}

pub(super) struct Rig {
    pub(super) now: Time,
    pub(super) gates: Vec<Gate>,
    /// The present life of each node.
    pub(super) lives: Vec<Life>,
    /// What each gate said, but for mail.
    pub(super) heard: Vec<Vec<Heard>>,
    /// Mail by receiver and sender.
    pub(super) mail: BTreeMap<(usize, Life), Vec<PeerMessage>>,
    pub(super) events: Vec<Event>,
    /// Bytes that each node was sent, by wire: to look at, and to play again.
    pub(super) sent: BTreeMap<(u32, usize), Vec<u8>>,
    pub(super) random: Random,
    /// The longest time that bytes travel.
    pub(super) delay_ms_max: u64,
    /// Whether bytes are cut into pieces.
    pub(super) pieces: bool,
    /// The longest that a turn may leave unsent.
    pub(super) unsent_max: u64,
    wires: Vec<Wire>,
    next: BTreeMap<(Time, u64), Next>,
    serial: u64,
    woken: Vec<Option<Time>>,
}

pub(super) fn introduction(n: u64) -> Introduction {
    Introduction {
        node: NodeId(n),
        life: Life(100 + n),
        incarnation: 1,
        cluster: None,
        id_length: 4,
        shards: 2,
        address: None,
        port: 4000,
        channels: false,
    }
}

pub(super) fn address(n: usize) -> NodeAddress {
    NodeAddress { host: format!("n{n}"), port: Some(4000) }
}

pub(super) fn life(n: usize) -> Life {
    Life(100 + n as u64)
}

fn config(secret: &str) -> Arc<Config> {
    Arc::new(Config { cluster_secret: Some(Secret::new(secret)), ..Config::default() })
}

pub(super) fn gate(n: usize, secret: &str) -> Gate {
    let random = Random::stream([n as u8; 32], 7);
    Gate::new(config(secret), introduction(n as u64), random)
}

impl Rig {
    /// Nodes 1 to `count`; place 0 stands for nobody.
    pub(super) fn new(count: usize, seed: u64) -> Rig {
        let gates: Vec<Gate> = (1..=count).map(|n| gate(n, "secret")).collect();
        Rig::with(gates, seed)
    }

    pub(super) fn with(gates: Vec<Gate>, seed: u64) -> Rig {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Rig {
            now: Time::from_millis(1),
            heard: gates.iter().map(|_| Vec::new()).collect(),
            lives: gates.iter().map(|gate| gate.introduction().life).collect(),
            woken: gates.iter().map(|_| None).collect(),
            gates,
            mail: BTreeMap::new(),
            events: Vec::new(),
            sent: BTreeMap::new(),
            random: Random::from_key(key),
            delay_ms_max: 2,
            pieces: false,
            unsent_max: 0,
            wires: Vec::new(),
            next: BTreeMap::new(),
            serial: 0,
        }
    }

    /// Node `n`'s gate, with what follows from what is done to it.
    pub(super) fn at<T>(&mut self, n: usize, act: impl FnOnce(&mut Gate, Time, &mut Actions) -> T) -> T {
        let (mut out, node) = (Actions::new(), n - 1);
        let result = act(&mut self.gates[node], self.now, &mut out);
        self.gates[node].flush(self.now, &mut out);
        self.perform(node, &mut out);
        while let Some(heard) = self.gates[node].next_heard() {
            match heard {
                Heard::Mail(from, message) => self.mail.entry((n, from)).or_default().push(message),
                heard => self.heard[node].push(heard),
            }
        }
        let deadline = self.gates[node].deadline();
        if let Some(at) = deadline.filter(|at| self.woken[node].is_none_or(|woken| woken > *at)) {
            self.woken[node] = Some(at);
            self.soon(at.max(self.now), Next::Wake { node });
        }
        result
    }

    fn soon(&mut self, at: Time, next: Next) {
        self.serial += 1;
        self.next.insert((at, self.serial), next);
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(1 + self.random.below(1 + self.delay_ms_max * 1000))
    }

    /// Which end of a wire a node has.
    fn end(&self, node: usize, conn: ConnId) -> (u32, usize) {
        assert_eq!(self.wires[conn.index as usize].nodes[conn.generation as usize], node);
        (conn.index, conn.generation as usize)
    }

    fn perform(&mut self, node: usize, out: &mut Actions) {
        let actions: Vec<Action> = out.drain().collect();
        let mut written = BTreeSet::new();
        for action in actions {
            match action {
                Action::Send { conn, bytes } => {
                    let (wire, end) = self.end(node, conn);
                    assert!(self.wires[wire as usize].open[end], "a send on a closed connection");
                    written.insert(conn);
                    self.travel(wire, 1 - end, &bytes);
                }
                Action::Close { conn } => {
                    let (wire, end) = self.end(node, conn);
                    assert!(std::mem::replace(&mut self.wires[wire as usize].open[end], false), "closed twice");
                    written.remove(&conn);
                    let at = self.after_last(wire, 1 - end);
                    self.soon(at, Next::Closed { wire, end: 1 - end });
                }
                Action::Finish { conn } => {
                    let (wire, end) = self.end(node, conn);
                    let at = self.after_last(wire, 1 - end);
                    self.soon(at, Next::Fin { wire, end: 1 - end });
                }
                Action::Dial { dial, address, .. } => {
                    let at = self.now + self.delay();
                    self.soon(at, Next::Answer { node, dial, address });
                }
                Action::Report(event) => self.events.push(event),
                other => panic!("{other:?}"),
            }
        }
        for conn in written {
            let unsent = self.random.below(self.unsent_max + 1) as usize;
            let more = self.gates[node].flushed(conn, unsent);
            assert!(!more || unsent < 1 << 20);
            if unsent > 0 {
                let at = self.now + self.delay();
                self.soon(at, Next::Written { wire: conn.index, end: conn.generation as usize });
            }
        }
    }

    fn after_last(&mut self, wire: u32, end: usize) -> Time {
        let at = (self.now + self.delay()).max(self.wires[wire as usize].last[end]);
        self.wires[wire as usize].last[end] = at;
        at
    }

    fn travel(&mut self, wire: u32, end: usize, bytes: &[u8]) {
        self.sent.entry((wire, end)).or_default().extend_from_slice(bytes);
        let mut rest = if self.wires[wire as usize].dark { &[] } else { bytes };
        while !rest.is_empty() {
            let piece = if self.pieces { 1 + self.random.below(rest.len() as u64) as usize } else { rest.len() };
            let (now, later) = rest.split_at(piece);
            let at = self.after_last(wire, end);
            self.soon(at, Next::Arrive { wire, end, bytes: now.to_vec() });
            rest = later;
        }
    }

    /// Every wire that both ends think open, and that works.
    pub(super) fn open_wires(&self) -> Vec<u32> {
        let open = |wire: &Wire| wire.open == [true; 2] && !wire.dark;
        (0..).zip(&self.wires).filter(|(_, wire)| open(wire)).map(|(n, _)| n).collect()
    }

    /// Cuts a wire: what travels is lost from some byte on; each end notices by itself, or (`dark`) not at all.
    pub(super) fn cut(&mut self, wire: u32, dark: bool) {
        let mut keys: [Vec<(Time, u64)>; 2] = [Vec::new(), Vec::new()];
        for (key, next) in &self.next {
            if let Next::Arrive { wire: on, end, .. } = next
                && *on == wire
            {
                keys[*end].push(*key);
            }
        }
        for keys in keys {
            let keep = self.random.below(keys.len() as u64 + 1) as usize;
            let part = self.random.bits();
            for (n, key) in keys.iter().enumerate().skip(keep) {
                match self.next.get_mut(key) {
                    // The first that is lost may be lost in part.
                    Some(Next::Arrive { bytes, .. }) if n == keep => bytes.truncate(part as usize % (bytes.len() + 1)),
                    _ => drop(self.next.remove(key)),
                }
            }
        }
        self.wires[wire as usize].dark = true;
        if !dark {
            for end in 0..2 {
                let wait = self.delay() * 50;
                self.soon(self.now + wait, Next::Closed { wire, end });
            }
        }
    }

    /// An end has lost its socket by itself.
    pub(super) fn forget_socket(&mut self, wire: u32, end: usize) {
        self.wires[wire as usize].open[end] = false;
    }

    /// Lets everything happen until `ms`.
    pub(super) fn run_until(&mut self, ms: u64) {
        let until = Time::from_millis(ms);
        for steps in 0.. {
            assert!(steps < 2_000_000, "it never comes to rest");
            let Some(entry) = self.next.first_entry().filter(|entry| entry.key().0 <= until) else { break };
            let ((at, _), next) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(next);
        }
        self.now = self.now.max(until);
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Wake { node } => {
                self.woken[node] = None;
                self.at(node + 1, |gate, now, out| gate.timeout(now, out));
            }
            Next::Answer { node, dial, address } => self.answer(node, dial, &address),
            Next::Arrive { wire, end, bytes } => {
                if let Some((node, conn)) = self.socket(wire, end) {
                    self.at(node + 1, |gate, now, out| gate.received(now, conn, &bytes, out));
                }
            }
            Next::Fin { wire, end } if !self.wires[wire as usize].dark => {
                if let Some((node, conn)) = self.socket(wire, end) {
                    self.at(node + 1, |gate, now, out| gate.ended(now, conn, out));
                }
            }
            Next::Closed { wire, end } => {
                if let Some((node, conn)) = self.socket(wire, end) {
                    self.wires[wire as usize].open[end] = false;
                    self.at(node + 1, |gate, now, out| gate.closed(now, conn, out));
                }
            }
            Next::Fin { .. } => {}
            Next::Written { wire, end } => {
                if let Some((node, conn)) = self.socket(wire, end) {
                    let (mut out, now) = (Actions::new(), self.now);
                    if self.gates[node].flushed(conn, 0) {
                        self.gates[node].flush(now, &mut out);
                    }
                    self.perform(node, &mut out);
                }
            }
        }
    }

    fn socket(&self, wire: u32, end: usize) -> Option<(usize, ConnId)> {
        let known = &self.wires[wire as usize];
        known.open[end].then_some((known.nodes[end], ConnId { index: wire, generation: end as u32 }))
    }

    fn answer(&mut self, node: usize, dial: DialId, to: &NodeAddress) {
        let Some(other) = (1..=self.gates.len()).find(|n| address(*n) == *to) else {
            self.at(node + 1, |gate, now, _| gate.dial_failed(now, dial, "nobody is there".to_owned()));
            return;
        };
        let wire = self.wires.len() as u32;
        self.wires.push(Wire { nodes: [node, other - 1], open: [true; 2], dark: false, last: [self.now; 2] });
        for (end, n, dial) in [(0, node + 1, Some(dial)), (1, other, None)] {
            let conn = ConnId { index: wire, generation: end };
            let from = SocketAddr::from(([192, 0, 2, end as u8], 1));
            self.at(n, |gate, now, out| gate.linked(now, conn, from, dial, out));
        }
    }

    /// Writes mail that says a number; some of it is large. It is for the other's present life.
    pub(super) fn write(&mut self, from: usize, to: usize, number: u64) {
        let to = self.lives[to - 1];
        let bytes = match self.random.below(20) {
            0 => 5_000 + self.random.below(20_000) as usize,
            1..4 => 500,
            _ => 0,
        };
        let client = ClientId { life: to, shard: ShardId(0), serial: number };
        let message = match bytes {
            0 => PeerMessage::OriginGone(client),
            _ => PeerMessage::Publish {
                channel: ChannelId::from_bits(7, 4),
                frames: Bytes::from(vec![number as u8; bytes]),
                from: client,
                back: true,
            },
        };
        assert!(self.at(from, |gate, now, _| gate.mail(now, to, &message)));
    }

    /// The numbers that mail from one life to another said, which has come to node `n`; each was whole.
    pub(super) fn said(&self, from: Life, to: Life, n: usize) -> Vec<u64> {
        let number = |message: &PeerMessage| {
            let client = match message {
                PeerMessage::OriginGone(client) => *client,
                PeerMessage::Publish { frames, from, .. } => {
                    assert!(frames.iter().all(|byte| *byte == from.serial as u8));
                    *from
                }
                other => panic!("{other:?}"),
            };
            (client.life == to).then_some(client.serial)
        };
        self.mail.get(&(n, from)).map_or(Vec::new(), |mail| mail.iter().filter_map(number).collect())
    }

    /// The numbers that mail from one node to another said.
    pub(super) fn numbers(&self, from: usize, to: usize) -> Vec<u64> {
        self.said(life(from), life(to), to)
    }

    /// What a node heard of links: who came up, and who went down.
    pub(super) fn ups(&self, n: usize) -> Vec<(bool, Life)> {
        let link = |heard: &Heard| match heard {
            Heard::Up { life, .. } => Some((true, *life)),
            Heard::Down { life } => Some((false, *life)),
            _ => None,
        };
        self.heard[n - 1].iter().filter_map(link).collect()
    }

    /// Lets node `n` expect these others in their present lives.
    pub(super) fn expect(&mut self, n: usize, others: &[usize]) {
        let wanted = others.iter().map(|other| (self.lives[*other - 1], address(*other))).collect();
        self.at(n, |gate, now, _| gate.expect(now, wanted));
    }
}

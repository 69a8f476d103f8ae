//! Everything of a run but the shards: connections, queues, the contract, and the hands that perform what shards want.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use wrs_core::action::{Over, Store};
use wrs_core::config::NodeAddress;
use wrs_core::event::Event;
use wrs_core::host::Host;
use wrs_core::id::{ConnId, DialId, ShardId};
use wrs_core::input::Input;
use wrs_core::peer::PeerMessage;
use wrs_core::random::Random;
use wrs_core::time::Time;
use wrs_core::wire::deflate::Inflate;

use super::contract::{Asked, Contract, Mark, Want};
use super::plan::Plan;
use super::program::Program;
use super::socket::Socket;
use super::wire::{Piece, Stream};

/// How a program reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// All there is, soon.
    Prompt,
    /// A few bytes now and then.
    Slow,
    /// Nothing.
    Never,
}

/// One connection: both ends of its socket, its program, and what passed.
#[derive(Debug)]
pub struct Conn {
    /// Its shard.
    pub shard: usize,
    /// Its id there.
    pub id: ConnId,
    /// Bytes on the way.
    pub socket: Socket,
    /// Who is at the other end.
    pub program: Program,
    /// How that one reads.
    pub reading: Reading,
    /// It sends what is not HTTP: what comes back is not read.
    pub opaque: bool,
    /// What the node queues, piece by piece.
    pub(super) queued: Stream,
    /// What the program reads, piece by piece.
    pub(super) seen: Stream,
    /// Digests of pieces that are queued and not yet seen.
    pub(super) on_the_way: VecDeque<u64>,
    pub(super) truncated: bool,
    /// Bytes that the program has sent.
    pub sent: u64,
    /// What was unsent when the shard was last told.
    pub(super) unsent: usize,
    /// Bytes queued since then.
    pub(super) since_flush: usize,
    /// When that was.
    pub(super) flushed: Time,
    /// How what is unsent moves; nothing while nothing is.
    pub(super) taking: Option<Taking>,
    /// It was told that its request came too late.
    pub(super) late: bool,
}

/// What a socket has taken since something was unsent without a break.
#[derive(Debug)]
pub struct Taking {
    since: Time,
    bytes: usize,
    steps: VecDeque<(Time, usize)>,
}

impl Taking {
    pub(super) fn new(since: Time) -> Taking {
        Taking { since, bytes: 0, steps: VecDeque::new() }
    }

    pub(super) fn took(&mut self, now: Time, bytes: usize) {
        self.bytes += bytes;
        self.steps.push_back((now, bytes));
    }

    /// Whether it can have taken `least` bytes in each stretch of `time` until now.
    pub(super) fn keeps_up(&self, now: Time, time: Duration, least: usize) -> bool {
        let stretches = u32::try_from(self.bytes / least + 1).unwrap_or(u32::MAX);
        now.since(self.since) <= time.saturating_mul(stretches)
    }

    /// Whether it has been for as long as `time`.
    pub(super) fn lasts(&self, now: Time, time: Duration) -> bool {
        now.since(self.since) >= time
    }

    /// Whether it took as much in the last `time`.
    pub(super) fn kept_up(&self, now: Time, time: Duration, least: usize) -> bool {
        let recent = self.steps.iter().filter(|(at, _)| now.since(*at) < time);
        recent.map(|(_, bytes)| bytes).sum::<usize>() >= least
    }
}

/// FNV-1a.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest(pub u64);

impl Digest {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    pub(super) fn of(first: u8, bytes: &[u8]) -> u64 {
        let mut digest = Digest(0xCBF2_9CE4_8422_2325);
        digest.add(&[first]);
        digest.add(bytes);
        digest.0
    }
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) generation: u32,
    pub(super) conn: Option<usize>,
}

/// Everything but the shards.
pub struct State {
    /// The run's plan.
    pub plan: Plan,
    /// The promises.
    pub contract: Contract,
    /// All connections that ever were.
    pub conns: Vec<Conn>,
    /// Now.
    pub now: Time,
    /// Chance.
    pub random: Random,
    /// Of all inputs and actions.
    pub digest: Digest,
    pub(super) slabs: Vec<Vec<Slot>>,
    pub(super) free: Vec<Vec<u32>>,
    pub(super) dirty: Vec<Vec<usize>>,
    /// By receiver, then by sender.
    pub(super) parcels: Vec<Vec<VecDeque<PeerMessage>>>,
    /// Window bytes in those queues by receiver, sender and leg, and the most there ever were.
    pub(super) under_way: BTreeMap<(usize, usize), usize>,
    pub(super) most_under_way: usize,
    /// Window bytes that a shard has sent and has no credit for, by sender, receiver and leg.
    pub(super) uncredited: BTreeMap<(usize, usize), usize>,
    /// Whether the present input has filled a window.
    pub(super) over_window: bool,
    pub(super) listening: Vec<bool>,
    pub(super) stopped: Vec<bool>,
    pub(super) inflate: Inflate,
    /// Whether to say what happens.
    pub(super) trace: bool,
}

/// One line of an input.
pub(super) fn shown(input: &Input<'_>) -> String {
    match input {
        Input::Received { conn, bytes } => {
            format!("Received {conn:?} {}", bytes[..bytes.len().min(140)].escape_ascii())
        }
        Input::Peer { peer, message } => format!("from shard {}: {}", peer.0, brief(message)),
        other => format!("{other:?}"),
    }
}

fn brief(message: &PeerMessage) -> String {
    format!("{message:?}").chars().take(200).collect()
}

/// What performs one shard's actions.
pub(super) struct Hands<'a> {
    pub(super) here: usize,
    pub(super) state: &'a mut State,
}

impl Hands<'_> {
    fn find(&self, id: ConnId) -> Option<usize> {
        let slot = self.state.slabs[self.here].get(id.index as usize)?;
        slot.conn.filter(|_| slot.generation == id.generation)
    }
}

impl Host for Hands<'_> {
    fn send(&mut self, id: ConnId, bytes: Bytes) {
        let Some(number) = self.find(id) else { return };
        self.state.digest.add(&bytes);
        if self.state.trace {
            eprintln!("    to conn {number}: {}", bytes[..bytes.len().min(140)].escape_ascii());
        }
        let now = self.state.now;
        self.state.conns[number].since_flush += bytes.len();
        self.state.conns[number].taking.get_or_insert_with(|| Taking::new(now));
        self.state.queued(number, &bytes);
        self.state.conns[number].socket.push(bytes);
        self.state.mark(number);
    }

    fn truncate(&mut self, id: ConnId) {
        let Some(number) = self.find(id) else { return };
        self.state.conns[number].socket.line.truncate();
        self.state.conns[number].truncated = true;
    }

    fn finish(&mut self, id: ConnId) {
        let Some(number) = self.find(id) else { return };
        if self.state.trace {
            eprintln!("    finish conn {number}");
        }
        self.state.conns[number].socket.line.finish();
        self.state.mark(number);
    }

    fn close(&mut self, id: ConnId) {
        let Some(number) = self.find(id) else { return };
        self.state.digest.add(b"close");
        if self.state.trace {
            eprintln!("    close conn {number}");
        }
        self.state.closed_by_node(number);
    }

    fn read(&mut self, id: ConnId, wanted: bool) {
        if let Some(number) = self.find(id) {
            if self.state.trace {
                eprintln!("    read conn {number}: {wanted}");
            }
            self.state.conns[number].socket.reads = wanted;
        }
    }

    fn forward(&mut self, peer: ShardId, message: PeerMessage) {
        let (to, from) = (usize::from(peer.0), self.here);
        if self.state.trace {
            eprintln!("    to shard {to}: {}", brief(&message));
        }
        if to == from || to >= self.state.parcels.len() {
            return self.state.contract.break_off(format!("shard {from} forwards to {to}"));
        }
        if let Some(bytes) = message.data() {
            let owed = self.state.uncredited.entry((from, to)).or_default();
            *owed += bytes;
            self.state.over_window |= *owed > self.state.plan.config.peer_window_bytes;
            let sum = self.state.under_way.entry((to, from)).or_default();
            *sum += bytes;
            self.state.most_under_way = self.state.most_under_way.max(*sum);
        }
        self.state.parcels[to][from].push_back(message);
    }

    fn dial(&mut self, _: DialId, _: NodeAddress, _: Over) {}

    fn resolve(&mut self, _: String) {}

    fn store(&mut self, _: Store) {}

    fn fail(&mut self, _: String) {}

    fn report(&mut self, event: Event) {
        let now = self.state.now;
        if self.state.trace {
            eprintln!("    {}", event.text(4));
        }
        match event {
            Event::ChannelDeleted { channel, timed_out: true } => {
                self.state.contract.timed_out(now, &channel.display(4).to_string());
            }
            Event::DrainTimedOut => {
                let polite = |conn: &Conn| {
                    let whole = conn.reading == Reading::Prompt && !conn.program.dawdles && !conn.opaque;
                    whole && conn.shard == self.here && !conn.socket.closed
                };
                if let Some(number) = self.state.conns.iter().position(polite) {
                    self.state.contract.break_off(format!("conn {number} was polite and holds up the drain"));
                }
            }
            _ => {}
        }
    }

    fn stop_listening(&mut self) {
        self.state.listening[self.here] = false;
    }

    fn stop(&mut self) {
        if std::mem::replace(&mut self.state.stopped[self.here], true) {
            self.state.contract.break_off(format!("shard {} stops twice", self.here));
        }
    }
}

impl State {
    pub(super) fn mark(&mut self, number: usize) {
        let conn = &mut self.conns[number];
        if !conn.socket.closed && !conn.socket.dirty {
            conn.socket.dirty = true;
            self.dirty[conn.shard].push(number);
        }
    }

    /// The node has queued bytes on a connection: what do they say?
    pub(super) fn queued(&mut self, number: usize, bytes: &[u8]) {
        if self.conns[number].opaque {
            return;
        }
        self.conns[number].queued.feed(bytes);
        loop {
            match self.conns[number].queued.next(&mut self.inflate) {
                Err(why) => return self.contract.break_off(format!("conn {number} is sent rubbish: {why}")),
                Ok(None) => return,
                Ok(Some(Piece::Answer(response))) => {
                    self.conns[number].on_the_way.push_back(Digest::of(0, response.head.as_bytes()));
                    self.conns[number].late |= response.status == 408;
                    if response.status >= 200 || response.status == 101 {
                        self.contract.answered(self.now, number, &response);
                    }
                }
                Ok(Some(Piece::Frame(first, payload))) => {
                    self.conns[number].on_the_way.push_back(Digest::of(first, &payload));
                    self.frame_queued(number, first, &payload);
                }
            }
        }
    }

    pub(super) fn frame_queued(&mut self, number: usize, first: u8, payload: &[u8]) {
        match first & 0x0F {
            8 => {
                let left = self.conns[number].socket.line.unsent();
                if payload.starts_with(&1013u16.to_be_bytes()) && left > self.plan.config.message_bytes_max + 300 {
                    let what = format!("conn {number} reads too slowly, and {left} bytes are kept for it");
                    self.contract.break_off(what);
                }
                let (limit, ping) = (self.plan.config.send_buffer_bytes_max, self.plan.config.ping_interval);
                if self.contract.clients[number].gone.is_some() {
                    self.contract.break_off(format!("conn {number} is closed twice"));
                }
                self.contract.close_sent(self.now, number, payload, self.conns[number].unsent, limit, ping);
            }
            1 | 2 => self.contract.given(number, first, payload),
            9 | 10 if self.contract.clients[number].is_there() => {}
            _ => self.contract.break_off(format!("conn {number} is sent a frame {first:#x}")),
        }
    }

    /// The socket is gone on the node's side.
    pub(super) fn forget(&mut self, number: usize) {
        let conn = &mut self.conns[number];
        conn.socket.closed = true;
        let slot = &mut self.slabs[conn.shard][conn.id.index as usize];
        slot.conn = None;
        slot.generation += 1;
        self.free[conn.shard].push(conn.id.index);
        self.contract.left(number);
    }

    pub(super) fn closed_by_node(&mut self, number: usize) {
        let conn = &self.conns[number];
        let (time, least) = (self.plan.config.keepalive_timeout, self.plan.config.answer_bytes_min());
        let taking = conn.taking.as_ref();
        let drips = taking.is_some_and(|taking| taking.lasts(self.now, time) && !taking.kept_up(self.now, time, least));
        // A jump of time that let no program read is no fault of the node's.
        let moves = self.now.since(conn.flushed) < Duration::from_millis(100) && !drips;
        let cut = moves && conn.socket.line.unsent() > 0 && conn.reading == Reading::Prompt && !conn.opaque;
        if cut
            && (!conn.socket.fin || conn.program.is_user())
            && !conn.socket.reset
            && !self.contract.draining
            && !conn.program.dawdles
        {
            let unsent = conn.socket.line.unsent();
            self.contract.break_off(format!("conn {number} is closed with {unsent} bytes unsent, though it reads"));
        }
        let moves = conn.taking.as_ref().is_some_and(|taking| taking.kept_up(self.now, time, least));
        if moves && conn.program.is_user() && !conn.late && !self.contract.draining {
            self.contract.break_off(format!("conn {number} is closed within an answer that moves"));
        }
        self.forget(number);
    }

    /// A program reads.
    pub fn program_reads(&mut self, number: usize, most: usize) {
        let conn = &mut self.conns[number];
        let count = most.min(conn.socket.outbound.len());
        let bytes: Vec<u8> = conn.socket.outbound.drain(..count).collect();
        if conn.opaque {
            conn.socket.fin |=
                conn.socket.node_fin && conn.socket.outbound.is_empty() && conn.socket.line.unsent() == 0;
            return;
        }
        conn.seen.feed(&bytes);
        loop {
            let conn = &mut self.conns[number];
            let piece = match conn.seen.next(&mut self.inflate) {
                Err(why) => return self.contract.break_off(format!("conn {number} reads rubbish: {why}")),
                Ok(None) => break,
                Ok(Some(piece)) => piece,
            };
            let digest = match &piece {
                Piece::Answer(response) => Digest::of(0, response.head.as_bytes()),
                Piece::Frame(first, payload) => Digest::of(*first, payload),
            };
            while conn.truncated && conn.on_the_way.front().is_some_and(|next| *next != digest) {
                conn.on_the_way.pop_front();
            }
            if conn.on_the_way.pop_front() != Some(digest) {
                return self.contract.break_off(format!("conn {number} reads what was not sent: {piece:?}"));
            }
            super::program::has_read(self, number, piece);
        }
        let conn = &mut self.conns[number];
        let at_end = conn.socket.outbound.is_empty() && conn.socket.node_fin && conn.socket.line.unsent() == 0;
        if at_end {
            if conn.seen.is_cut() && !conn.socket.reset {
                self.contract.break_off(format!("conn {number} was ended within a frame or answer"));
            }
            // Whoever is told that nothing more comes ends its side too.
            self.conns[number].socket.fin = true;
        }
    }

    /// What a program sends.
    pub fn program_sends(&mut self, number: usize, bytes: &[u8]) {
        let conn = &mut self.conns[number];
        conn.sent += bytes.len() as u64;
        conn.socket.inbound.extend(bytes);
    }

    /// The last byte sent so far means this.
    pub fn program_marks(&mut self, number: usize, mark: Mark) {
        let sent = self.conns[number].sent;
        self.contract.clients[number].marks.push_back((sent, mark));
    }

    /// A request of which the last byte has just been sent.
    pub fn program_asks(&mut self, number: usize, want: Want) {
        self.program_marks(number, Mark::Request);
        let asked = Asked { want, since: None, tick: 0, sure: Vec::new(), gone: Vec::new() };
        self.contract.clients[number].asked.push_back(asked);
    }
}

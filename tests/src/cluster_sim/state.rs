//! Everything of a run but the shards: nodes, wires, what lies ahead, the model, and the hands that perform what shards want.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use wrs_core::action::{Over, Store};
use wrs_core::catalogue::Command;
use wrs_core::config::NodeAddress;
use wrs_core::event::Event as Told;
use wrs_core::host::Host;
use wrs_core::id::{ChannelId, ConnId, DialId, ShardId};
use wrs_core::input::Input;
use wrs_core::peer::PeerMessage;
use wrs_core::time::Time;
use wrs_core::wire::deflate::Inflate;

use super::model::Model;
use super::net::{Chunk, End, Sock, Wire};
use super::plan::Plan;
use super::rush::Rush;
use super::store::Directory;
use crate::sim::{Agenda, Clock, Digest, MICRO, MILLI, Network, Random};

/// What lies ahead.
#[derive(Clone, Debug)]
pub enum Event {
    /// The next piece that end `from` of a wire has sent arrives.
    Arrive {
        /// The wire.
        wire: usize,
        /// From which end.
        from: usize,
    },
    /// A shard has a turn.
    Turn {
        /// The node's place.
        slot: usize,
        /// Which run of it.
        run: u64,
        /// The shard.
        shard: usize,
    },
    /// A node goes on after a pause.
    Resume {
        /// The node's place.
        slot: usize,
        /// Which run of it.
        run: u64,
    },
    /// A dial comes to its end.
    Dial {
        /// Who dials.
        slot: usize,
        /// Which run of it.
        run: u64,
        /// Its number there.
        dial: DialId,
        /// Where to.
        address: NodeAddress,
        /// For what.
        over: Over,
    },
    /// A dial finds nobody for too long.
    DialFails {
        /// Who dials.
        slot: usize,
        /// Which run of it.
        run: u64,
        /// Its number there.
        dial: DialId,
    },
    /// A name is looked up.
    Resolve {
        /// Who asked.
        slot: usize,
        /// Which run of it.
        run: u64,
        /// The name.
        host: String,
    },
    /// A disk has done something.
    Disk {
        /// The node's place.
        slot: usize,
        /// Which run of it.
        run: u64,
    },
    /// Some client does something.
    Act,
    /// Something goes wrong, in a rush perhaps.
    Fault,
    /// It goes wrong now.
    Strike,
    /// Somebody does something in a rush.
    Rush,
    /// A slow rush begins, so many nanoseconds long.
    Await(u64),
    /// The network heals.
    Mend,
    /// A link carries again.
    Unclog,
    /// A node starts (again).
    Start {
        /// Its place.
        slot: usize,
    },
    /// Somebody looks whether a node that has come is in the cluster.
    Look {
        /// Its place.
        slot: usize,
        /// Which run of it.
        run: u64,
    },
    /// A disk has room again.
    Room {
        /// The node's place.
        slot: usize,
    },
}

/// What a shard hears beside its sockets and siblings.
#[derive(Debug)]
pub enum Fact {
    /// A connection of the cluster port, or a dial that has succeeded.
    Linked {
        /// The socket.
        conn: ConnId,
        /// The other end.
        from: SocketAddr,
        /// Which dial.
        dial: Option<DialId>,
    },
    /// A client's connection.
    Opened {
        /// The socket.
        conn: ConnId,
        /// The other end.
        from: IpAddr,
    },
    /// A dial that has not.
    DialFailed(DialId, String),
    /// A name.
    Resolved(String, Result<Vec<IpAddr>, String>),
    /// A record.
    Persisted(u64),
    /// The disk's failure.
    PersistFailed(String),
    /// SIGTERM.
    Drain,
}

/// What becomes of a place for a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// Nobody has been there yet.
    Never,
    /// A process runs.
    Up,
    /// It has stopped or was killed.
    Down,
}

/// A shard's surroundings.
#[derive(Debug, Default)]
pub struct Desk {
    /// Sockets by index: generation, and wire and side.
    pub slab: Vec<(u32, Option<(usize, usize)>)>,
    pub(super) free: Vec<u32>,
    /// Wires and sides to be flushed.
    pub dirty: Vec<(usize, usize)>,
    /// Wires and sides to be read.
    pub ready: Vec<(usize, usize)>,
    /// From each sibling.
    pub parcels: Vec<VecDeque<PeerMessage>>,
    /// Facts, in order.
    pub facts: VecDeque<Fact>,
    /// When the next turn is, in true time.
    pub turn_at: Option<u64>,
    /// Its thread does not run before, in true time.
    pub late_until: u64,
    /// Accepts connections.
    pub listening: bool,
    /// Has said `Stop`.
    pub stopped: bool,
    /// Timeouts at one instant.
    pub timeouts: (Time, u32),
}

impl Desk {
    fn take_index(&mut self, wire: usize, side: usize) -> ConnId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slab.push((0, None));
            (self.slab.len() - 1) as u32
        });
        let slot = &mut self.slab[index as usize];
        slot.1 = Some((wire, side));
        ConnId { index, generation: slot.0 }
    }

    fn give_back(&mut self, id: ConnId) {
        let slot = &mut self.slab[id.index as usize];
        if slot.0 == id.generation && slot.1.is_some() {
            *slot = (slot.0 + 1, None);
            self.free.push(id.index);
        }
    }

    fn find(&self, id: ConnId) -> Option<(usize, usize)> {
        let (generation, at) = self.slab.get(id.index as usize)?;
        at.filter(|_| *generation == id.generation)
    }
}

/// A place for a node.
#[derive(Debug)]
pub struct Node {
    /// What is there.
    pub life: Life,
    /// Counts the processes that were there.
    pub run: u64,
    /// What its clock shows.
    pub clock: Clock,
    /// Stopped until then, in true time.
    pub paused: Option<u64>,
    /// By shard.
    pub desks: Vec<Desk>,
    /// Where it has one.
    pub directory: Option<Directory>,
    /// It was told to stop.
    pub draining: bool,
    /// It cannot go on.
    pub failed: Option<String>,
    /// When something last happened to it that may have cost it its place among the live, in true time.
    pub trouble: u64,
    /// When its process started.
    pub started: u64,
}

/// Everything but the shards.
pub struct State {
    /// The run's plan.
    pub plan: Plan,
    /// The promises.
    pub model: Model,
    /// What lies ahead, and true time.
    pub agenda: Agenda<Event>,
    /// Chance.
    pub random: Random,
    /// Of all inputs and actions.
    pub digest: Digest,
    /// The places.
    pub nodes: Vec<Node>,
    /// All connections that ever were.
    pub wires: Vec<Wire>,
    /// How often a node has become a member.
    pub entered: u64,
    /// Between the nodes.
    pub network: Network,
    /// Nodes refuse dials until then.
    pub refuse_until: u64,
    /// When something last went wrong, or was still wrong.
    pub trouble: u64,
    /// Many act at once.
    pub rush: Rush,
    pub(super) inflate: Inflate,
    /// Whether to say what happens.
    pub trace: bool,
    /// Bytes that links have carried.
    pub link_bytes: u64,
}

/// The IP of a place.
pub fn ip(slot: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, slot as u8 + 1))
}

impl State {
    /// True time.
    pub fn now(&self) -> u64 {
        self.agenda.now()
    }

    /// What a node's clock shows.
    pub fn local(&self, slot: usize) -> Time {
        Time::from_nanos(self.nodes[slot].clock.local(self.now()))
    }

    /// Whether a process runs there.
    pub fn is_up(&self, slot: usize) -> bool {
        self.nodes[slot].life == Life::Up
    }

    /// Places with a process.
    pub fn up(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|slot| self.is_up(*slot)).collect()
    }

    /// Lets a shard have a turn soon.
    pub fn wake(&mut self, slot: usize, shard: usize) {
        let delay = 2 * MICRO + self.random.exponential(15 * MICRO);
        if self.plan.aim.lag_us > 0 && self.random.below(10) == 0 {
            let late = self.now() + self.random.below(self.plan.aim.lag_us * MICRO);
            let desk = &mut self.nodes[slot].desks[shard];
            desk.late_until = late.max(desk.late_until);
        }
        self.wake_at(slot, shard, self.now() + delay);
    }

    /// Lets a shard have a turn at an instant, or before.
    pub fn wake_at(&mut self, slot: usize, shard: usize, at: u64) {
        let node = &mut self.nodes[slot];
        let at = node.paused.map_or(at, |until| at.max(until));
        let desk = &mut node.desks[shard];
        let at = at.max(desk.late_until);
        if desk.turn_at.is_none_or(|armed| at < armed) {
            desk.turn_at = Some(at);
            self.agenda.at(at, Event::Turn { slot, run: node.run, shard });
        }
    }

    /// Tells a shard something at its next turn.
    pub fn fact(&mut self, slot: usize, shard: usize, fact: Fact) {
        self.nodes[slot].desks[shard].facts.push_back(fact);
        self.wake(slot, shard);
    }

    /// A new socket of a shard on a wire that is about to be made: its end.
    pub fn accept(&mut self, slot: usize, shard: usize, wire: usize, side: usize) -> (End, ConnId) {
        let id = self.nodes[slot].desks[shard].take_index(wire, side);
        (End::Shard { slot, shard, sock: Box::new(Sock::new(id)) }, id)
    }

    /// Sends a piece from one end of a wire to the other.
    pub fn send(&mut self, wire: usize, side: usize, chunk: Chunk) {
        let now = self.now();
        let State { wires, network, random, agenda, .. } = self;
        let it = &mut wires[wire];
        let pipe = &mut it.pipes[side];
        if let Chunk::Data(bytes) = &chunk {
            pipe.flight_bytes += bytes.len();
        }
        pipe.flight.push_back(chunk);
        if pipe.stalled {
            return;
        }
        let arrives = match it.route {
            None => Some(now + 30 * MICRO + random.exponential(100 * MICRO)),
            Some((a, b)) => {
                let (from, to) = if side == 0 { (a, b) } else { (b, a) };
                let mut at = None;
                network.carry(now, from, to, |when| at = Some(when));
                at
            }
        };
        match arrives {
            Some(at) => {
                pipe.newest = at.max(pipe.newest);
                pipe.scheduled += 1;
                agenda.at(pipe.newest, Event::Arrive { wire, from: side });
            }
            None => pipe.stalled = true,
        }
    }

    /// The network carries again, in part or in whole: what waited goes on.
    pub fn release(&mut self) {
        let now = self.now();
        let State { wires, network, agenda, .. } = self;
        for (wire, it) in wires.iter_mut().enumerate() {
            let Some((a, b)) = it.route else { continue };
            for side in 0..2 {
                let (from, to) = if side == 0 { (a, b) } else { (b, a) };
                let pipe = &mut it.pipes[side];
                if !pipe.stalled || network.is_broken(from, to) {
                    continue;
                }
                pipe.stalled = false;
                for _ in pipe.scheduled..pipe.flight.len() {
                    pipe.scheduled += 1;
                    network.carry(now, from, to, |at| pipe.newest = at.max(pipe.newest));
                    agenda.at(pipe.newest, Event::Arrive { wire, from: side });
                }
            }
        }
    }

    /// An end of a wire is given up by its holder; `dark`: without a word.
    pub fn drop_end(&mut self, wire: usize, side: usize, dark: bool) {
        let it = &mut self.wires[wire];
        let end = std::mem::replace(&mut it.ends[side], if dark { End::Dark } else { End::Gone });
        let chunk = match end {
            End::Shard { slot, shard, sock } => {
                self.nodes[slot].desks[shard].give_back(sock.id);
                let clean = sock.line.unsent() == 0 && sock.inbox.is_empty() && !sock.reset;
                if clean { Chunk::Fin } else { Chunk::Reset }
            }
            End::Program(_) | End::Stranger => Chunk::Reset,
            End::Gone | End::Dark => return,
        };
        if !dark && !matches!(self.wires[wire].ends[1 - side], End::Gone | End::Dark) {
            self.send(wire, side, chunk);
        }
    }

    /// A program sends.
    pub fn program_sends(&mut self, number: usize, bytes: Vec<u8>) {
        let client = &mut self.model.clients[number];
        client.sent += bytes.len() as u64;
        let wire = client.wire;
        self.send(wire, 0, Chunk::Data(bytes));
    }

    pub(super) fn mark(&mut self, wire: usize, side: usize) {
        let Some((slot, shard)) = self.wires[wire].ends[side].place() else { return };
        if let Some(sock) = self.wires[wire].ends[side].sock()
            && !std::mem::replace(&mut sock.dirty, true)
        {
            self.nodes[slot].desks[shard].dirty.push((wire, side));
        }
    }

    /// A socket may have something to read.
    pub(super) fn list(&mut self, wire: usize, side: usize) {
        let Some((slot, shard)) = self.wires[wire].ends[side].place() else { return };
        if let Some(sock) = self.wires[wire].ends[side].sock()
            && sock.is_readable()
            && !std::mem::replace(&mut sock.listed, true)
        {
            self.nodes[slot].desks[shard].ready.push((wire, side));
            self.wake(slot, shard);
        }
    }

    /// Says what happens, if somebody wants to know.
    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:.6} {}", self.now() as f64 / 1e9, what());
        }
    }
}

/// One line of an input.
pub(super) fn shown(input: &Input<'_>) -> String {
    let text = match input {
        Input::Received { conn, bytes } => {
            format!("Received {conn:?} {} {}", bytes.len(), bytes[..bytes.len().min(160)].escape_ascii())
        }
        Input::Peer { peer, message } => format!("from shard {}: {message:?}", peer.0),
        other => format!("{other:?}"),
    };
    text.chars().take(400).collect()
}

/// What performs one shard's actions.
pub(super) struct Hands<'a> {
    pub(super) slot: usize,
    pub(super) shard: usize,
    pub(super) state: &'a mut State,
}

impl Hands<'_> {
    fn find(&self, id: ConnId) -> Option<(usize, usize)> {
        self.state.nodes[self.slot].desks[self.shard].find(id)
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.state.trace {
            eprintln!("      {}.{} {}", self.slot, self.shard, what());
        }
    }

    /// A shard is told of a change. Each creation is made once; what a snapshot brings, or takes away, has no number of its own.
    fn applied(&mut self, number: u64, to: usize, command: &Command) {
        let run = self.state.nodes[self.slot].run;
        let slot = self.slot;
        let told = |id: &ChannelId| (slot, run, to, id.bits());
        if let (Command::Create { id, .. }, true) = (command, number > 0)
            && !self.state.model.told.insert(told(id))
        {
            self.state.model.break_off(format!("node {} applies the creation of {id:?} again", self.slot));
        }
        if let (Command::Delete { id, .. }, 0) = (command, number) {
            self.state.model.told.remove(&told(id));
        }
    }

    fn program(&self, wire: usize, side: usize) -> Option<usize> {
        match &self.state.wires[wire].ends[1 - side] {
            End::Program(number) => Some(*number),
            _ => self.state.model.client_of(wire).filter(|_| side == 1),
        }
    }
}

impl Host for Hands<'_> {
    fn send(&mut self, id: ConnId, bytes: Bytes) {
        let Some((wire, side)) = self.find(id) else { return };
        self.state.digest.add(bytes.len() as u64);
        self.say(|| format!("to wire {wire}: {} {}", bytes.len(), bytes[..bytes.len().min(160)].escape_ascii()));
        if let Some(number) = self.program(wire, side) {
            self.state.digest.add_bytes(&bytes);
            self.state.queued(number, &bytes);
        }
        if let Some(sock) = self.state.wires[wire].ends[side].sock() {
            sock.line.push(bytes);
        }
        self.state.mark(wire, side);
    }

    fn truncate(&mut self, id: ConnId) {
        let Some((wire, side)) = self.find(id) else { return };
        if let Some(sock) = self.state.wires[wire].ends[side].sock() {
            sock.line.truncate();
        }
    }

    fn finish(&mut self, id: ConnId) {
        let Some((wire, side)) = self.find(id) else { return };
        if let Some(sock) = self.state.wires[wire].ends[side].sock() {
            sock.line.finish();
        }
        self.state.mark(wire, side);
    }

    fn close(&mut self, id: ConnId) {
        let Some((wire, side)) = self.find(id) else { return };
        self.say(|| format!("close wire {wire}"));
        if let Some(number) = self.program(wire, side) {
            let unsent = self.state.wires[wire].ends[side].sock().map_or(0, |s| s.line.unsent());
            let node = &self.state.nodes[self.slot];
            let stops = node.draining || node.failed.is_some();
            self.state.model.closed_by_node(stops, number, unsent);
        }
        self.state.drop_end(wire, side, false);
    }

    fn read(&mut self, id: ConnId, wanted: bool) {
        let Some((wire, side)) = self.find(id) else { return };
        self.say(|| format!("read wire {wire}: {wanted}"));
        if let Some(sock) = self.state.wires[wire].ends[side].sock() {
            sock.reads = wanted;
        }
        self.state.list(wire, side);
    }

    fn forward(&mut self, peer: ShardId, message: PeerMessage) {
        let (from, to) = (self.shard, usize::from(peer.0));
        self.say(|| format!("to shard {to}: {}", format!("{message:?}").chars().take(400).collect::<String>()));
        if to == from || to >= self.state.nodes[self.slot].desks.len() {
            return self.state.model.break_off(format!("shard {from} of node {} forwards to {to}", self.slot));
        }
        if let PeerMessage::Apply(number, command) = &message {
            self.applied(*number, to, command);
            if matches!(command, Command::Node(_)) {
                self.state.rush();
            }
        }
        self.state.nodes[self.slot].desks[to].parcels[from].push_back(message);
        self.state.wake(self.slot, to);
    }

    fn dial(&mut self, dial: DialId, address: NodeAddress, over: Over) {
        self.say(|| format!("dial {dial:?} {address} {over:?}"));
        let run = self.state.nodes[self.slot].run;
        let delay = 100 * MICRO + self.state.random.exponential(500 * MICRO);
        self.state.agenda.after(delay, Event::Dial { slot: self.slot, run, dial, address, over });
    }

    fn resolve(&mut self, host: String) {
        self.say(|| format!("resolve {host}"));
        let run = self.state.nodes[self.slot].run;
        let delay = 100 * MICRO + self.state.random.exponential(5_000 * MICRO);
        self.state.agenda.after(delay, Event::Resolve { slot: self.slot, run, host });
    }

    fn store(&mut self, store: Store) {
        self.say(|| format!("{store:?}").chars().take(200).collect());
        let (slot, run) = (self.slot, self.state.nodes[self.slot].run);
        match &mut self.state.nodes[slot].directory {
            Some(directory) => {
                if let Some(delay) = directory.store(store) {
                    self.state.agenda.after(delay, Event::Disk { slot, run });
                }
            }
            None => self.state.model.break_off(format!("node {slot} stores something and has no data directory")),
        }
    }

    fn fail(&mut self, why: String) {
        self.say(|| format!("fails: {why}"));
        self.state.nodes[self.slot].failed.get_or_insert(why);
    }

    fn report(&mut self, event: Told) {
        self.say(|| event.text(4).to_string());
        match event {
            Told::ChannelDeleted { channel, timed_out: true } => {
                let now = self.state.now();
                self.state.model.timed_out(now, &channel.display(4).to_string());
            }
            Told::LifeEnded { life } => {
                self.state.model.lives_over.insert(format!("{:016x}", life.0));
                self.state.rush();
            }
            Told::LeaderChanged { .. } => self.state.rush(),
            Told::ClusterEntered { .. } => self.state.entered += 1,
            Told::LinkUp { .. } => {
                self.state.rush();
                // Who has come will soon be among the live ones.
                self.state.rush_slowly(40 * MILLI);
            }
            _ => {}
        }
    }

    fn stop_listening(&mut self) {
        self.state.nodes[self.slot].desks[self.shard].listening = false;
    }

    fn stop(&mut self) {
        self.say(|| "stop".to_owned());
        self.state.nodes[self.slot].desks[self.shard].stopped = true;
    }
}

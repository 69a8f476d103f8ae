//! The world of one run: processes, true time, and the loop that lets what lies ahead happen.
//!
//! A turn of a shard is what an adapter makes of it: facts, each ready socket read once, some parcels of siblings, a deadline
//! that has passed, then every socket with something queued written once.

use std::net::{IpAddr, SocketAddr};

use wrs_core::action::{Actions, Over};
use wrs_core::config::NodeAddress;
use wrs_core::host::perform;
use wrs_core::id::{DialId, ShardId};
use wrs_core::input::Input;
use wrs_core::shard::Shard;
use wrs_core::time::Time;
use wrs_core::wire::deflate::Inflate;

use super::model::{At, Model, Why};
use super::net::{Chunk, End, Wire};
use super::plan::{Aim, DNS_NAME, DOMAIN, Forming, NODE_PORT, Plan};
use super::rush::Rush;
use super::state::{Desk, Event, Fact, Hands, Life, Node, State, ip, shown};
use super::store::{Directory, Told};
use crate::node_sim::wire::Piece;
use crate::sim::{Agenda, Clock, Digest, LinkFaults, MILLI, Network, Random, SECOND};

/// Timeouts that a shard may be given within a millisecond, without any other input.
const TIMEOUTS_AT_ONCE_MAX: u32 = 100;

/// A whole run.
pub struct World {
    pub(super) processes: Vec<Vec<Shard>>,
    actions: Actions,
    scratch: Vec<u8>,
    buffer: Vec<u8>,
    /// Members of channels, and users of the REST API, that may last.
    pub(super) members: Vec<usize>,
    pub(super) users: Vec<usize>,
    /// The nodes of the beginning are one cluster.
    pub formed: bool,
    /// The place that is to be empty at the end.
    pub(super) stays_away: Option<usize>,
    /// Nobody acts by himself any more, and nothing goes wrong.
    pub quiet: bool,
    /// Places whose node is in the cluster as far as its users know.
    pub open: Vec<bool>,
    /// Places whose node was in the cluster: with a data directory it comes back as a member.
    pub(super) belongs: Vec<bool>,
    pub(super) looks: Vec<Option<usize>>,
    /// Everything else.
    pub state: State,
}

impl World {
    /// Before the first node starts.
    pub fn new(seed: u64, aim: Aim) -> World {
        let root = Random::new(seed);
        let plan = Plan::of(seed, aim, &mut root.branch(1));
        let mut random = root.branch(2);
        let faults = LinkFaults { delay_min: plan.delay.0, delay_mean: plan.delay.1, ..LinkFaults::none(plan.delay.0) };
        let nodes = (0..plan.slots)
            .map(|slot| Node {
                life: Life::Never,
                run: 0,
                clock: Clock::new(SECOND + random.below(1_000_000) * SECOND, plan.drift_ppm[slot]),
                paused: None,
                desks: Vec::new(),
                directory: (!plan.memory).then(|| Directory::new(root.branch(100 + slot as u64))),
                draining: false,
                failed: None,
                trouble: 0,
                started: 0,
            })
            .collect();
        World {
            processes: (0..plan.slots).map(|_| Vec::new()).collect(),
            actions: Actions::new(),
            scratch: Vec::new(),
            buffer: Vec::new(),
            members: Vec::new(),
            users: Vec::new(),
            formed: false,
            stays_away: None,
            quiet: false,
            open: vec![false; plan.slots],
            belongs: vec![false; plan.slots],
            looks: vec![None; plan.slots],
            state: State {
                network: Network::new(plan.slots, faults, root.branch(3)),
                plan,
                model: Model::default(),
                agenda: Agenda::default(),
                random,
                digest: Digest::default(),
                nodes,
                wires: Vec::new(),
                refuse_until: 0,
                trouble: 0,
                rush: Rush::default(),
                entered: 0,
                inflate: Inflate::new(),
                trace: std::env::var_os("WRS_SIM_TRACE").is_some(),
                link_bytes: 0,
            },
        }
    }

    /// Whether the run is over because a promise was broken.
    pub fn is_broken(&self) -> bool {
        self.state.model.broken.is_some()
    }

    /// Starts a process in a place.
    pub fn start(&mut self, slot: usize) {
        let now = self.state.now();
        let count = usize::from(self.state.plan.shards[slot]);
        let local = self.state.local(slot);
        let node = &mut self.state.nodes[slot];
        if node.life == Life::Up {
            return;
        }
        node.run += 1;
        self.looks[slot] = None;
        (node.life, node.paused, node.draining, node.failed) = (Life::Up, None, false, None);
        (node.trouble, node.started) = (now, now);
        let node = &mut self.state.nodes[slot];
        node.desks = (0..count)
            .map(|_| Desk {
                parcels: (0..count).map(|_| Default::default()).collect(),
                listening: true,
                ..Desk::default()
            })
            .collect();
        let mut boot = self.state.plan.boot(slot, node.run);
        boot.stored = node.directory.as_ref().map(Directory::stored);
        self.state.say(|| format!("node {slot} starts"));
        let siblings = boot.for_sibling();
        self.processes[slot].clear();
        for here in 0..count {
            let boot = if here == 0 { boot.clone() } else { siblings.clone() };
            match super::seam::shard(ShardId(here as u16), boot, local) {
                Ok(shard) => self.processes[slot].push(shard),
                Err(why) => return self.state.model.break_off(format!("node {slot} cannot start: {why}")),
            }
            self.state.wake(slot, here);
        }
        let run = self.state.nodes[slot].run;
        self.state.agenda.after(700 * MILLI, Event::Look { slot, run });
    }

    /// A process ends. `dark`: its machine, too, so that nobody is told.
    pub fn stop(&mut self, slot: usize, power: bool, dark: bool) {
        let state = &mut self.state;
        state.say(|| format!("node {slot} ends (power {power}, dark {dark})"));
        let desks = std::mem::take(&mut state.nodes[slot].desks);
        let held: Vec<(usize, usize)> =
            desks.iter().flat_map(|desk| desk.slab.iter().filter_map(|(_, at)| *at)).collect();
        // Put back for a moment: ends give their numbers back.
        state.nodes[slot].desks = desks;
        for (wire, side) in held {
            state.drop_end(wire, side, dark);
        }
        let node = &mut state.nodes[slot];
        node.desks.clear();
        node.life = Life::Down;
        node.trouble = state.agenda.now();
        if let Some(directory) = &mut node.directory {
            directory.crash(power);
        }
        self.processes[slot].clear();
        self.open[slot] = false;
        state.model.node_died(slot, state.nodes[slot].run);
    }

    fn tell(&mut self, slot: usize, here: usize, input: Input<'_>) {
        let local = self.state.local(slot);
        let state = &mut self.state;
        state.model.at = At { tick: state.model.at.tick + 1, time: state.agenda.now() };
        let (kind, size) = match &input {
            Input::Opened { .. } => (1, 0),
            Input::Received { bytes, .. } => (2, bytes.len()),
            Input::Flushed { unsent, .. } => (3, *unsent),
            Input::Ended { .. } => (4, 0),
            Input::Closed { .. } => (5, 0),
            Input::Peer { peer, .. } => (6, usize::from(peer.0)),
            Input::Drain => (7, 0),
            Input::Timeout => (8, 0),
            _ => (9, 0),
        };
        state.digest.add(((slot * 64 + here) * 16 + kind) as u64);
        state.digest.add(size as u64);
        let (since, count) = &mut state.nodes[slot].desks[here].timeouts;
        if kind == 8 {
            if local.since(*since) > std::time::Duration::from_millis(1) {
                (*since, *count) = (local, 0);
            }
            *count += 1;
            if *count > TIMEOUTS_AT_ONCE_MAX {
                state.model.break_off(format!("shard {here} of node {slot} asks for a timeout again and again"));
            }
        } else {
            *count = 0;
        }
        state.say(|| format!("#{} {slot}.{here} {}", state.model.at.tick, shown(&input)));
        self.processes[slot][here].handle(local, input, &mut self.actions);
        perform(&mut self.actions, &mut Hands { slot, shard: here, state });
    }

    /// Lets the next thing happen. False: nothing lies ahead.
    pub fn step(&mut self) -> bool {
        let Some(event) = self.state.agenda.take() else { return false };
        self.state.model.at.time = self.state.now();
        match event {
            Event::Arrive { wire, from } => self.arrive(wire, from),
            Event::Turn { slot, run, shard } => self.turn(slot, run, shard),
            Event::Resume { slot, run } => self.resume(slot, run),
            Event::Dial { slot, run, dial, address, over } => self.dial(slot, run, dial, &address, over),
            Event::DialFails { slot, run, dial } => {
                if self.is_run(slot, run) {
                    self.state.fact(slot, 0, Fact::DialFailed(dial, "connection timed out".to_owned()));
                }
            }
            Event::Resolve { slot, run, host } => self.resolve(slot, run, host),
            Event::Disk { slot, run } => self.disk(slot, run),
            Event::Act if self.quiet => {}
            Event::Act => super::program::act(self),
            Event::Fault if self.quiet => {}
            Event::Fault if self.state.plan.aim.rush => {
                self.state.rush();
                let after = self.state.random.below(4 * MILLI);
                self.state.agenda.after(after, Event::Strike);
            }
            Event::Fault => super::nemesis::strike(self),
            Event::Strike if self.quiet => {}
            Event::Strike => super::nemesis::strike(self),
            Event::Rush => super::rush::act(self),
            Event::Await(span) => self.state.rush_slowly(span),
            Event::Mend => {
                self.state.rush();
                self.mend_one_way();
                self.state.release();
            }
            Event::Unclog => self.state.release(),
            Event::Start { slot } if self.state.is_up(slot) => {
                // It is to end first; or there is room on its disk again, which it has not missed.
                if self.state.nodes[slot].draining {
                    self.state.agenda.after(500 * MILLI, Event::Start { slot });
                }
            }
            Event::Start { slot } if self.stays_away == Some(slot) => {}
            Event::Start { slot } if self.somebody_looks_around() => {
                self.state.agenda.after(500 * MILLI, Event::Start { slot });
            }
            Event::Start { slot } => self.start(slot),
            Event::Look { slot, run } => self.look_at(slot, run),
            Event::Room { slot } => {
                if let Some(directory) = &mut self.state.nodes[slot].directory {
                    directory.full = false;
                }
                if self.state.is_up(slot) && self.state.nodes[slot].failed.is_none() {
                    self.state.nodes[slot].draining = false;
                    self.open[slot] = true;
                }
            }
        }
        true
    }

    fn is_run(&self, slot: usize, run: u64) -> bool {
        self.state.is_up(slot) && self.state.nodes[slot].run == run
    }

    fn resume(&mut self, slot: usize, run: u64) {
        if !self.is_run(slot, run) || self.state.nodes[slot].paused.is_none_or(|until| until > self.state.now()) {
            return;
        }
        self.state.say(|| format!("node {slot} goes on"));
        self.state.nodes[slot].paused = None;
        self.state.nodes[slot].trouble = self.state.now();
        for here in 0..self.state.nodes[slot].desks.len() {
            self.state.nodes[slot].desks[here].turn_at = None;
            self.state.wake(slot, here);
        }
    }

    fn arrive(&mut self, wire: usize, from: usize) {
        let state = &mut self.state;
        let it = &mut state.wires[wire];
        let pipe = &mut it.pipes[from];
        pipe.scheduled = pipe.scheduled.saturating_sub(1);
        let to = 1 - from;
        if let End::Program(number) = it.ends[to]
            && !state.model.clients[number].prompt
            && state.random.below(8) > 0
        {
            // A slow reader: what has come waits for it.
            pipe.scheduled += 1;
            let later = 5 * MILLI + state.random.below(300 * MILLI);
            return state.agenda.after(later, Event::Arrive { wire, from });
        }
        let Some(chunk) = pipe.flight.pop_front() else { return };
        if let Chunk::Data(bytes) = &chunk {
            pipe.flight_bytes -= bytes.len();
        }
        let link = it.route.is_some();
        match (&mut it.ends[to], chunk) {
            (End::Shard { sock, .. }, chunk) => {
                match chunk {
                    Chunk::Data(bytes) => {
                        if link {
                            state.link_bytes += bytes.len() as u64;
                        }
                        sock.inbox.extend(bytes);
                    }
                    Chunk::Fin => sock.fin = true,
                    Chunk::Reset => sock.reset = true,
                }
                state.list(wire, to);
            }
            (End::Program(_), Chunk::Data(_)) => self.room_again(wire, from),
            (End::Program(number), Chunk::Fin | Chunk::Reset) => {
                let number = *number;
                let client = &self.state.model.clients[number];
                if client.is_there() {
                    self.state.model.break_off(format!("conn {number} ends without a word"));
                }
                self.state.model.end(number, Why::Cut);
                self.state.drop_end(wire, to, false);
            }
            (End::Gone, Chunk::Data(_)) => {
                if !matches!(it.ends[from], End::Gone | End::Dark) {
                    state.send(wire, to, Chunk::Reset);
                }
            }
            (End::Gone | End::Dark | End::Stranger, _) => {}
        }
    }

    /// What end `side` sends has been taken: if it waited for that, it goes on.
    fn room_again(&mut self, wire: usize, side: usize) {
        let Some((slot, shard)) = self.state.wires[wire].ends[side].place() else { return };
        if self.state.wires[wire].ends[side].sock().is_some_and(|sock| sock.blocked) {
            self.state.mark(wire, side);
            self.state.wake(slot, shard);
        }
    }

    fn turn(&mut self, slot: usize, run: u64, here: usize) {
        let now = self.state.now();
        if !self.is_run(slot, run) || self.state.nodes[slot].desks[here].turn_at != Some(now) {
            return;
        }
        if self.state.nodes[slot].paused.is_some_and(|until| until > now) {
            return;
        }
        self.state.nodes[slot].desks[here].turn_at = None;
        let late = self.state.nodes[slot].desks[here].late_until;
        if late > now {
            return self.state.wake_at(slot, here, late);
        }
        while let Some(fact) = self.state.nodes[slot].desks[here].facts.pop_front() {
            self.tell_fact(slot, here, fact);
        }
        self.read(slot, here);
        self.open_parcels(slot, here);
        let local = self.state.local(slot);
        if self.processes[slot][here].deadline().is_some_and(|at| at <= local) {
            self.tell(slot, here, Input::Timeout);
        }
        self.flush(slot, here);
        if self.state.nodes[slot].desks.iter().all(|desk| desk.stopped) {
            return self.exit(slot);
        }
        let desk = &self.state.nodes[slot].desks[here];
        let busy = !desk.facts.is_empty()
            || !desk.ready.is_empty()
            || !desk.dirty.is_empty()
            || desk.parcels.iter().any(|queue| !queue.is_empty());
        if busy {
            self.state.wake(slot, here);
        } else if let Some(at) = self.processes[slot][here].deadline().filter(|at| *at < Time::MAX) {
            let at = self.state.nodes[slot].clock.true_at(at.as_nanos());
            self.state.wake_at(slot, here, at.max(now + 1_000));
        }
    }

    fn tell_fact(&mut self, slot: usize, here: usize, fact: Fact) {
        match fact {
            Fact::Linked { conn, from, dial } => self.tell(slot, here, Input::Linked { conn, from, dial }),
            Fact::Opened { conn, from } => self.tell(slot, here, Input::Opened { conn, from }),
            Fact::DialFailed(dial, why) => self.tell(slot, here, Input::DialFailed { dial, why }),
            Fact::Resolved(host, addresses) => self.tell(slot, here, Input::Resolved { host, addresses }),
            Fact::Persisted(record) => self.tell(slot, here, Input::Persisted { record }),
            Fact::PersistFailed(why) => self.tell(slot, here, Input::PersistFailed { why }),
            Fact::Drain => self.tell(slot, here, Input::Drain),
        }
    }

    fn read(&mut self, slot: usize, here: usize) {
        let mut ready = std::mem::take(&mut self.state.nodes[slot].desks[here].ready);
        if ready.len() > 1 {
            let start = self.state.random.below(ready.len() as u64) as usize;
            ready.rotate_left(start);
        }
        for (wire, side) in ready {
            let most = self.state.plan.config.read_buffer_bytes;
            let most = if self.state.random.below(8) == 0 {
                1 + self.state.random.below(most.min(200) as u64) as usize
            } else {
                most
            };
            let Some(sock) = self.state.wires[wire].ends[side].sock() else { continue };
            sock.listed = false;
            let conn = sock.id;
            if sock.reset {
                if let Some(number) = self.client_at(wire, side) {
                    self.state.model.end(number, Why::Left);
                }
                self.state.drop_end(wire, side, false);
                self.tell(slot, here, Input::Closed { conn });
                continue;
            }
            if !sock.is_readable() {
                continue;
            }
            let count = most.min(sock.inbox.len());
            if count == 0 {
                sock.end_told = true;
                if let Some(number) = self.client_at(wire, side) {
                    self.state.model.end(number, Why::Left);
                }
                self.tell(slot, here, Input::Ended { conn });
                continue;
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            buffer.extend(sock.inbox.drain(..count));
            if let Some(number) = self.client_at(wire, side) {
                self.state.digest.add_bytes(&buffer);
                self.state.model.at.tick += 1;
                self.state.model.deliver(number, count);
            }
            self.tell(slot, here, Input::Received { conn, bytes: &mut buffer });
            self.buffer = buffer;
            self.room_again(wire, 1 - side);
            self.state.list(wire, side);
        }
    }

    /// The program at the other end of a shard's socket.
    fn client_at(&self, wire: usize, side: usize) -> Option<usize> {
        self.state.model.client_of(wire).filter(|_| side == 1)
    }

    fn open_parcels(&mut self, slot: usize, here: usize) {
        let shards = self.state.nodes[slot].desks.len();
        if shards == 1 {
            return;
        }
        let mut most = match self.state.random.below(4) {
            0 => 1 + self.state.random.below(6) as usize,
            _ => 256,
        };
        while most > 0 {
            let first = self.state.random.below(shards as u64) as usize;
            let parcels = &mut self.state.nodes[slot].desks[here].parcels;
            let Some(from) = (0..shards).map(|n| (first + n) % shards).find(|from| !parcels[*from].is_empty()) else {
                return;
            };
            let Some(message) = parcels[from].pop_front() else { return };
            self.tell(slot, here, Input::Peer { peer: ShardId(from as u16), message });
            most -= 1;
        }
    }

    fn flush(&mut self, slot: usize, here: usize) {
        for (wire, side) in std::mem::take(&mut self.state.nodes[slot].desks[here].dirty) {
            let mut room = self.state.wires[wire].room(side);
            if self.state.wires[wire].route.is_some() && self.state.random.below(16) == 0 {
                room = room.min(1 + self.state.random.below(300) as usize);
            }
            let Some(sock) = self.state.wires[wire].ends[side].sock() else { continue };
            sock.dirty = false;
            let mut out = Vec::new();
            let mut blocked = false;
            while !blocked {
                let piece = sock.line.piece(&mut self.scratch);
                if piece.is_empty() {
                    break;
                }
                let taken = piece.len().min(room);
                blocked = taken < piece.len();
                out.extend_from_slice(&piece[..taken]);
                room -= taken;
                sock.line.wrote(taken);
                if blocked {
                    sock.line.hold_up();
                }
            }
            sock.blocked = blocked;
            let (conn, unsent) = (sock.id, sock.line.unsent());
            let fin = sock.line.is_finished() && !std::mem::replace(&mut sock.fin_sent, sock.line.is_finished());
            if !out.is_empty() {
                self.state.send(wire, side, Chunk::Data(out));
            }
            if fin {
                self.state.send(wire, side, Chunk::Fin);
            }
            if blocked && self.state.wires[wire].room(side) > 0 {
                // Chance has cut the write, not the window.
                self.state.mark(wire, side);
            }
            self.tell(slot, here, Input::Flushed { conn, unsent });
        }
    }

    /// Every shard of a node has stopped: its process ends by itself.
    fn exit(&mut self, slot: usize) {
        let node = &mut self.state.nodes[slot];
        if !node.draining && node.failed.is_none() {
            self.state.model.break_off(format!("node {slot} stops for no reason"));
        }
        if let Some(directory) = &mut self.state.nodes[slot].directory {
            while directory.done().1.is_some() {}
        }
        let told = |client: &&super::model::Client| client.slot == slot && client.is_there() && client.prompt;
        if let Some(client) = self.state.model.clients.iter().find(told) {
            let what = format!("node {slot} stops and has not closed {}", client.id);
            self.state.model.break_off(what);
        }
        self.stop(slot, false, false);
        self.state.trouble = self.state.now();
    }

    fn dial(&mut self, slot: usize, run: u64, dial: DialId, address: &NodeAddress, over: Over) {
        if !self.is_run(slot, run) {
            return;
        }
        let timeout = self.state.plan.config.dial_timeout.as_nanos() as u64;
        let target = match over {
            Over::Link if address.host == DNS_NAME => {
                let places = self.state.plan.nodes as u64;
                Some(self.state.random.below(places) as usize)
            }
            Over::Link => address.host.strip_prefix("10.0.0.").and_then(|n| n.parse::<usize>().ok()).map(|n| n - 1),
            Over::Api if address.host == DOMAIN => self.somebody_who_listens(),
            // The name of every machine for itself.
            Over::Api => Some(slot),
        };
        let target = target.filter(|target| {
            *target < self.state.nodes.len() && (over == Over::Api || address.port == Some(NODE_PORT))
        });
        let refused = self.state.now() < self.state.refuse_until && self.state.random.coin();
        let Some(target) = target.filter(|target| self.state.is_up(*target) && !refused) else {
            return self.state.fact(slot, 0, Fact::DialFailed(dial, "connection refused".to_owned()));
        };
        let network = &self.state.network;
        if slot != target && (network.is_broken(slot, target) || network.is_broken(target, slot)) {
            return self.state.agenda.after(timeout, Event::DialFails { slot, run, dial });
        }
        let wire = self.state.wires.len();
        let listening: Vec<usize> = match over {
            Over::Link => vec![0],
            Over::Api => {
                let desks = &self.state.nodes[target].desks;
                (0..desks.len()).filter(|shard| desks[*shard].listening).collect()
            }
        };
        let Some(shard) = self.state.random.pick(&listening).copied() else {
            return self.state.fact(slot, 0, Fact::DialFailed(dial, "connection refused".to_owned()));
        };
        let window = self.state.plan.link_window;
        let (near, near_id) = self.state.accept(slot, 0, wire, 0);
        let (far, far_id) = self.state.accept(target, shard, wire, 1);
        let route = (slot != target).then_some((slot, target));
        self.state.wires.push(Wire::new([near, far], window, route));
        let ephemeral = 40_000 + (wire % 20_000) as u16;
        let (here, there) = (SocketAddr::new(ip(slot), ephemeral), SocketAddr::new(ip(target), NODE_PORT));
        self.state.say(|| format!("wire {wire}: node {slot} reaches node {target} over {over:?}"));
        match over {
            Over::Link => self.state.fact(target, 0, Fact::Linked { conn: far_id, from: here, dial: None }),
            Over::Api => self.state.fact(target, shard, Fact::Opened { conn: far_id, from: here.ip() }),
        }
        self.state.fact(slot, 0, Fact::Linked { conn: near_id, from: there, dial: Some(dial) });
    }

    /// Whether a node that looks for a cluster behind the load balancer is in none yet. Two such nodes may found one of their
    /// own, where users would make channels, and two clusters that both hold some do not join each other: so they come one by
    /// one once there are users.
    pub(super) fn somebody_looks_around(&self) -> bool {
        self.formed
            && self.state.plan.forming == Forming::Domain
            && self.state.up().into_iter().any(|slot| !self.open[slot])
    }

    /// Whom the load balancer picks.
    fn somebody_who_listens(&mut self) -> Option<usize> {
        let up: Vec<usize> = self
            .state
            .up()
            .into_iter()
            .filter(|slot| self.state.nodes[*slot].desks.iter().any(|desk| desk.listening))
            .collect();
        self.state.random.pick(&up).copied()
    }

    fn resolve(&mut self, slot: usize, run: u64, host: String) {
        if !self.is_run(slot, run) {
            return;
        }
        let addresses: Result<Vec<IpAddr>, String> = match host.as_str() {
            DNS_NAME => Ok((0..self.state.plan.slots)
                .filter(|n| *n < self.state.plan.nodes || self.state.is_up(*n))
                .map(ip)
                .collect()),
            _ => Err("no such name".to_owned()),
        };
        self.state.fact(slot, 0, Fact::Resolved(host, addresses));
    }

    fn disk(&mut self, slot: usize, run: u64) {
        if !self.is_run(slot, run) {
            return;
        }
        let Some(directory) = &mut self.state.nodes[slot].directory else { return };
        let (told, next) = directory.done();
        if let Some(delay) = next {
            self.state.agenda.after(delay, Event::Disk { slot, run });
        }
        match told {
            Some(Told::Persisted(record)) => self.state.fact(slot, 0, Fact::Persisted(record)),
            Some(Told::Failed(why)) => self.state.fact(slot, 0, Fact::PersistFailed(why)),
            None => {}
        }
    }
}

impl State {
    /// A node has queued bytes for a program: what do they say?
    pub(super) fn queued(&mut self, number: usize, bytes: &[u8]) {
        self.model.clients[number].stream.feed(bytes);
        loop {
            let mut stream = std::mem::take(&mut self.model.clients[number].stream);
            let piece = stream.next(&mut self.inflate);
            self.model.clients[number].stream = stream;
            match piece {
                Err(why) => return self.model.break_off(format!("conn {number} is sent rubbish: {why}")),
                Ok(None) => return,
                Ok(Some(Piece::Answer(response))) => {
                    if response.status >= 200 || response.status == 101 {
                        self.model.answered(number, &response);
                    }
                }
                Ok(Some(Piece::Frame(first, payload))) => self.model.frame(number, first, &payload),
            }
        }
    }
}

//! The world of one run: shards with queues between them, sockets, virtual time, and the loop that lets chance decide
//! who is next.
//!
//! A turn of a shard is what an adapter makes of it: each ready socket is read once, some parcels are opened, a deadline
//! that has passed is told, then every socket with something queued is written once. Parcels between two shards arrive in
//! order; between pairs chance decides.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use wrs_core::action::Actions;
use wrs_core::host::perform;
use wrs_core::id::{ConnId, ShardId};
use wrs_core::input::Input;
use wrs_core::metrics::Gauge;
use wrs_core::peer::PeerMessage;
use wrs_core::random::Random;
use wrs_core::shard::Shard;
use wrs_core::time::Time;
use wrs_core::wire::deflate::Inflate;

use super::contract::{Client, Contract};
use super::plan::Plan;
use super::program::Program;
use super::socket::{Got, Socket};
use super::state::{Conn, Digest, Hands, Reading, Slot, State, shown};
use super::wire::Stream;

/// Timeouts that a shard may be given at one time, one after another, without any other input.
const TIMEOUTS_AT_ONCE_MAX: u32 = 40;
/// Turns that a node may take until it rests.
const TURNS_TO_REST_MAX: u32 = 200_000;

/// A whole run.
pub struct World {
    shards: Vec<Shard>,
    actions: Actions,
    scratch: Vec<u8>,
    timeouts: Vec<(Time, u32)>,
    /// Everything else.
    pub state: State,
}

impl World {
    /// A node before its first connection.
    pub fn new(seed: u64) -> World {
        let mut key = [7; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut random = Random::from_key(key);
        let plan = Plan::of(seed, &mut random);
        let boot = plan.boot();
        let count = usize::from(plan.config.shards);
        let contract = Contract {
            rates: plan.config.message_rate_max > 0,
            clients_max: plan.config.clients_max,
            per_address_max: plan.config.clients_per_address_max,
            channels_max: plan.config.channels_max,
            ..Contract::default()
        };
        World {
            shards: (0..count).map(|here| Shard::new(ShardId(here as u16), boot.clone())).collect(),
            actions: Actions::new(),
            scratch: Vec::new(),
            timeouts: vec![(Time::ZERO, 0); count],
            state: State {
                plan,
                contract,
                conns: Vec::new(),
                now: Time::from_millis(1_000),
                random,
                digest: Digest(0xCBF2_9CE4_8422_2325),
                slabs: (0..count).map(|_| Vec::new()).collect(),
                free: vec![Vec::new(); count],
                dirty: vec![Vec::new(); count],
                parcels: (0..count).map(|_| (0..count).map(|_| VecDeque::new()).collect()).collect(),
                under_way: BTreeMap::new(),
                most_under_way: 0,
                uncredited: BTreeMap::new(),
                over_window: false,
                listening: vec![true; count],
                stopped: vec![false; count],
                inflate: Inflate::new(),
                trace: std::env::var_os("WRS_SIM_TRACE").is_some(),
            },
        }
    }

    /// Whether the run is over because a promise was broken.
    pub fn is_broken(&self) -> bool {
        self.state.contract.broken.is_some()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// A socket is accepted.
    pub fn open(&mut self, shard: usize, from: IpAddr, window: usize, reading: Reading, program: Program) -> usize {
        let state = &mut self.state;
        let index = state.free[shard].pop().unwrap_or_else(|| {
            state.slabs[shard].push(Slot::default());
            (state.slabs[shard].len() - 1) as u32
        });
        let number = state.conns.len();
        let slot = &mut state.slabs[shard][index as usize];
        slot.conn = Some(number);
        let id = ConnId { index, generation: slot.generation };
        state.conns.push(Conn {
            shard,
            id,
            socket: Socket::new(window),
            opaque: program.is_opaque(),
            program,
            reading,
            queued: Stream::default(),
            seen: Stream::default(),
            on_the_way: VecDeque::new(),
            truncated: false,
            sent: 0,
            unsent: 0,
            since_flush: 0,
            flushed: state.now,
            taking: None,
            late: false,
        });
        state.contract.clients.push(Client::default());
        state.contract.from.push(from);
        self.tell(shard, Input::Opened { conn: id, from });
        number
    }

    fn tell(&mut self, here: usize, input: Input<'_>) {
        let state = &mut self.state;
        state.contract.tick += 1;
        let (kind, size) = match &input {
            Input::Opened { .. } => (1, 0),
            Input::Received { bytes, .. } => (2, bytes.len()),
            Input::Flushed { unsent, .. } => (3, *unsent),
            Input::Ended { .. } => (4, 0),
            Input::Closed { .. } => (5, 0),
            Input::Peer { peer, .. } => (6, usize::from(peer.0)),
            Input::Drain => (7, 0),
            Input::Timeout => (8, 0),
            Input::Broken { .. }
            | Input::AcceptPaused { .. }
            | Input::AcceptResumed
            | Input::Linked { .. }
            | Input::DialFailed { .. }
            | Input::Resolved { .. }
            | Input::Persisted { .. }
            | Input::PersistFailed { .. } => (9, 0),
        };
        state.digest.add(&[here as u8, kind]);
        state.digest.add(&(size as u64).to_le_bytes());
        if kind == 8 {
            let (at, count) = &mut self.timeouts[here];
            *count = if *at == state.now { *count + 1 } else { 1 };
            *at = state.now;
            if *count > TIMEOUTS_AT_ONCE_MAX {
                state.contract.break_off(format!("shard {here} asks for a timeout again and again"));
            }
        } else {
            self.timeouts[here].1 = 0;
        }
        let source = match &input {
            Input::Received { conn, .. } => state.slabs[here][conn.index as usize].conn,
            _ => None,
        };
        if let Input::Peer { peer, message: PeerMessage::Credit(bytes) } = &input {
            let owed = state.uncredited.entry((here, usize::from(peer.0))).or_default();
            match owed.checked_sub(*bytes) {
                Some(left) => *owed = left,
                None => state.contract.break_off(format!("shard {here} is credited {bytes} bytes of {owed}")),
            }
        }
        state.over_window = false;
        if state.trace {
            eprintln!("{:?} {} shard {here} {}", state.now, state.contract.tick, shown(&input));
        }
        self.shards[here].handle(state.now, input, &mut self.actions);
        perform(&mut self.actions, &mut Hands { here, state });
        if let Some(number) = source.filter(|_| self.state.over_window) {
            let goes_on = self.state.contract.clients[number].is_there() && self.state.conns[number].socket.reads;
            if goes_on {
                self.state.contract.break_off(format!("conn {number} has filled a window and is read on"));
            }
        }
    }

    /// Whether a shard has something to do now.
    fn is_busy(&self, here: usize) -> bool {
        let state = &self.state;
        !state.dirty[here].is_empty()
            || state.parcels[here].iter().any(|queue| !queue.is_empty())
            || self.shards[here].deadline().is_some_and(|at| at <= state.now)
            || state.slabs[here].iter().filter_map(|slot| slot.conn).any(|conn| state.conns[conn].socket.is_ready())
    }

    /// One turn of a shard.
    pub fn turn(&mut self, here: usize) {
        self.read_sockets(here);
        let most = match self.state.random.below(3) {
            0 => 1,
            1 => 1 + self.state.random.below(6) as usize,
            _ => usize::MAX,
        };
        self.open_parcels(here, most);
        if self.shards[here].deadline().is_some_and(|at| at <= self.state.now) {
            self.tell(here, Input::Timeout);
        }
        self.flush(here);
    }

    fn read_sockets(&mut self, here: usize) {
        let mut ready: Vec<usize> = self.state.slabs[here].iter().filter_map(|slot| slot.conn).collect();
        ready.retain(|conn| self.state.conns[*conn].socket.is_ready());
        let all = self.state.random.below(3) > 0;
        let start = self.state.random.below(ready.len().max(1) as u64) as usize;
        ready.rotate_left(start);
        if !all {
            ready.truncate(1);
        }
        for number in ready {
            let conn = &mut self.state.conns[number];
            if conn.socket.closed {
                continue;
            }
            if conn.socket.is_writable() {
                self.state.mark(number);
            }
            let conn = &mut self.state.conns[number];
            if conn.socket.reset && !conn.socket.reads {
                self.lose(number);
                continue;
            }
            let mut most = self.state.plan.config.read_buffer_bytes;
            if self.state.random.below(4) == 0 {
                most = 1 + self.state.random.below(most.min(200) as u64) as usize;
            }
            let conn = &mut self.state.conns[number];
            let id = conn.id;
            match conn.socket.read(most) {
                Got::Nothing => {}
                Got::Gone => self.lose(number),
                Got::End => {
                    if self.state.contract.clients[number].is_there() {
                        self.state.contract.left(number);
                    }
                    self.tell(here, Input::Ended { conn: id });
                }
                Got::Bytes(mut bytes) => {
                    self.state.digest.add(&bytes);
                    self.state.contract.deliver(self.state.now, number, bytes.len());
                    self.tell(here, Input::Received { conn: id, bytes: &mut bytes });
                }
            }
        }
    }

    fn open_parcels(&mut self, here: usize, most: usize) {
        for _ in 0..most.min(4_096) {
            let full: Vec<usize> =
                (0..self.shards.len()).filter(|from| !self.state.parcels[here][*from].is_empty()).collect();
            if full.is_empty() {
                return;
            }
            let from = full[self.state.random.below(full.len() as u64) as usize];
            let Some(message) = self.state.parcels[here][from].pop_front() else { return };
            if let Some(bytes) = message.data()
                && let Some(sum) = self.state.under_way.get_mut(&(here, from))
            {
                *sum -= bytes;
            }
            self.tell(here, Input::Peer { peer: ShardId(from as u16), message });
        }
    }

    fn flush(&mut self, here: usize) {
        for number in std::mem::take(&mut self.state.dirty[here]) {
            let state = &mut self.state;
            if state.conns[number].socket.closed {
                continue;
            }
            let cuts = state.plan.cuts;
            if !state.conns[number].socket.flush(&mut self.scratch, &mut state.random, cuts) {
                self.lose(number);
                continue;
            }
            let conn = &mut state.conns[number];
            let (id, unsent) = (conn.id, conn.socket.line.unsent());
            let limit = state.plan.config.send_buffer_bytes_max;
            if state.contract.clients[number].is_there() && unsent > limit + conn.since_flush {
                let what = format!("conn {number} has {unsent} bytes unsent, {} of this turn", conn.since_flush);
                state.contract.break_off(what);
            }
            let taken = (conn.unsent + conn.since_flush).saturating_sub(unsent);
            match &mut conn.taking {
                Some(taking) if unsent > 0 => taking.took(state.now, taken),
                taking => *taking = None,
            }
            (conn.unsent, conn.since_flush, conn.flushed) = (unsent, 0, state.now);
            self.tell(here, Input::Flushed { conn: id, unsent });
        }
    }

    fn lose(&mut self, number: usize) {
        let (shard, id) = (self.state.conns[number].shard, self.state.conns[number].id);
        self.state.forget(number);
        self.tell(shard, Input::Closed { conn: id });
    }

    /// One step of activity: a turn, a read of a program, a bit of time, or an act of a program.
    pub fn step(&mut self) {
        match self.state.random.below(100) {
            0..=44 => {
                let here = self.state.random.below(self.shards.len() as u64) as usize;
                self.turn(here);
            }
            45..=64 => {
                let alive = self.readers();
                if !alive.is_empty() {
                    let number = alive[self.state.random.below(alive.len() as u64) as usize];
                    self.read_some(number);
                }
            }
            65..=69 => {
                let nanos = match self.state.random.below(40) {
                    0 => 200_000_000 + self.state.random.below(1_000_000_000),
                    1..=4 => self.state.random.below(30_000_000),
                    _ => self.state.random.below(200_000),
                };
                self.state.now = self.state.now + Duration::from_nanos(nanos);
            }
            _ => super::program::act(self),
        }
    }

    fn readers(&self) -> Vec<usize> {
        let reads = |conn: &Conn| conn.reading != Reading::Never && !conn.socket.reset;
        let alive =
            |conn: &Conn| reads(conn) && (!conn.socket.outbound.is_empty() || conn.socket.node_fin && !conn.socket.fin);
        (0..self.state.conns.len()).filter(|number| alive(&self.state.conns[*number])).collect()
    }

    fn read_some(&mut self, number: usize) {
        let most = match self.state.conns[number].reading {
            Reading::Prompt => usize::MAX,
            Reading::Slow => 1 + self.state.random.below(20) as usize,
            Reading::Never => return,
        };
        self.state.program_reads(number, most);
    }

    /// Lets everything that is under way come to its end, without a moment passing and without new acts.
    pub fn rest(&mut self) {
        for _ in 0..TURNS_TO_REST_MAX {
            let busy: Vec<usize> = (0..self.shards.len()).filter(|here| self.is_busy(*here)).collect();
            let readers: Vec<usize> = self.readers();
            if busy.is_empty() && readers.iter().all(|number| self.state.conns[*number].reading == Reading::Slow) {
                return;
            }
            if self.is_broken() {
                return;
            }
            if !busy.is_empty() {
                let here = busy[self.state.random.below(busy.len() as u64) as usize];
                self.turn(here);
            }
            if !readers.is_empty() && (busy.is_empty() || self.state.random.below(2) == 0) {
                let number = readers[self.state.random.below(readers.len() as u64) as usize];
                self.read_some(number);
            }
        }
        self.state.contract.break_off("the node does not come to rest".to_owned());
    }

    /// At rest: every promise that can be told now.
    pub fn check(&mut self) {
        let now = self.state.now;
        self.state.contract.settle(now, self.shards.len() > 1);
        self.check_conns();
        self.check_bounds();
        self.check_gauges();
    }

    fn check_conns(&mut self) {
        let state = &mut self.state;
        let config = state.plan.config.clone();
        for number in 0..state.conns.len() {
            let (conn, client) = (&state.conns[number], &state.contract.clients[number]);
            if conn.socket.closed {
                continue;
            }
            let rated = client.is_there() && config.message_rate_max > 0;
            let clogged = !client.is_there() && conn.reading != Reading::Prompt;
            if !conn.socket.reads && !rated && !clogged {
                return state.contract.break_off(format!("conn {number} is paused for good"));
            }
            let whole = client.asked.iter().find(|asked| asked.since.is_some());
            if let Some(asked) = whole.filter(|_| conn.reading == Reading::Prompt && !rated) {
                let want = asked.want.clone();
                return state.contract.break_off(format!("conn {number} has no answer to {want:?}"));
            }
            let (time, least) = (config.keepalive_timeout, config.answer_bytes_min());
            let drips = conn.taking.as_ref().is_some_and(|taking| !taking.keeps_up(state.now, time, least));
            if drips && client.seated.is_none() && !conn.opaque && !conn.late {
                return state.contract.break_off(format!("conn {number} takes an answer byte by byte and lives"));
            }
            let lost = config.ping_interval.is_some_and(|ping| state.now >= client.heard + ping * 2);
            if client.is_there() && lost && config.message_rate_max == 0 {
                return state.contract.break_off(format!("conn {number} has been silent for two intervals and lives"));
            }
            if client.is_there() && !client.faults.is_empty() && conn.socket.inbound.is_empty() && !rated {
                let faults = client.faults.clone();
                return state.contract.break_off(format!("conn {number} lives in spite of {faults:?}"));
            }
            if client.is_there() && conn.unsent > config.send_buffer_bytes_max {
                return state.contract.break_off(format!("conn {number} owes {} bytes and lives", conn.unsent));
            }
            if client.is_there() && state.contract.channels[client.channel].gone {
                return state.contract.break_off(format!("conn {number} lives on a channel that is gone"));
            }
        }
    }

    fn check_bounds(&mut self) {
        let state = &mut self.state;
        let config = &state.plan.config;
        // After its window is full a shard may still hand over what one read of each of its sockets brings; and
        // what waited for its turns. A frame of eight bytes weighs up to 128 and its own length between shards.
        let read = config.read_buffer_bytes.min(70_000) * 24 + config.message_bytes_max + 512;
        let shards = usize::from(config.shards);
        let bound = (config.peer_window_bytes + state.plan.conns_max * read) * shards.max(2);
        if state.most_under_way > bound {
            let most = state.most_under_way;
            state.contract.break_off(format!("{most} bytes were between two shards, bound {bound}"));
        }
    }

    fn check_gauges(&mut self) {
        for here in 0..self.shards.len() {
            let of = |gauge| self.shards[here].metrics().gauge(gauge) as usize;
            let state = &self.state;
            let on_shard = |number: &usize| state.conns[*number].shard == here && !state.conns[*number].socket.closed;
            let conns = (0..state.conns.len()).filter(on_shard).count();
            let clients = (0..state.conns.len())
                .filter(|number| state.conns[*number].shard == here && state.contract.clients[*number].is_there())
                .count();
            let (told_clients, told_conns) = (of(Gauge::Clients), of(Gauge::Connections));
            if (told_clients, told_conns) != (clients, conns) {
                let what = format!(
                    "shard {here} says {told_clients} clients and {told_conns} connections, there are {clients} and {conns}"
                );
                return self.state.contract.break_off(what);
            }
        }
    }

    /// Nobody acts for so long that every wait must end; prompt programs still answer pings.
    pub fn long_silence(&mut self) {
        let config = self.state.plan.config.clone();
        for conn in &mut self.state.conns {
            conn.program.falls_silent();
        }
        let ping = config.ping_interval.unwrap_or_default();
        let silence = config.handshake_timeout * 2 + config.keepalive_timeout * 2 + ping * 3 + Duration::from_secs(10);
        let until = self.state.now + silence;
        while !self.is_broken() {
            self.rest();
            let next = self.shards.iter().filter_map(Shard::deadline).min().filter(|at| *at <= until);
            match next {
                Some(at) => self.state.now = self.state.now.max(at),
                None => break,
            }
        }
        self.state.now = self.state.now.max(until);
        self.rest();
        if self.is_broken() {
            return;
        }
        let state = &mut self.state;
        let open = |number: &usize| {
            let client = &state.contract.clients[*number];
            // A channel may have timed out just now.
            let closing = client.closed.is_some_and(|at| state.now.since(at) < config.close_timeout);
            !state.conns[*number].socket.closed && !client.is_there() && !closing
        };
        if let Some(number) = (0..state.conns.len()).find(open) {
            let program = format!("{:?}", state.conns[number].program);
            state.contract.break_off(format!("conn {number} is still open after a long silence: {program}"));
        }
    }

    /// The node is told to stop, and must.
    pub fn drain(&mut self) {
        let config = self.state.plan.config.clone();
        let until = self.state.now + config.drain_delay + config.drain_timeout;
        self.state.contract.draining = true;
        let shards = self.shards.len();
        let first = self.state.random.below(shards as u64) as usize;
        for n in 0..shards {
            for _ in 0..self.state.random.below(4) {
                self.step();
            }
            let here = (first + n) % shards;
            if self.state.random.below(2) == 0 {
                // The word comes in the middle of a turn: requests are answered, and nothing of that is written yet.
                super::program::ask_something(self, here);
                self.read_sockets(here);
                let most = self.state.random.below(4) as usize;
                self.open_parcels(here, most);
            }
            self.tell(here, Input::Drain);
        }
        if config.drain_delay.is_zero() {
            for _ in 0..self.state.random.below(60) {
                self.step();
            }
        }
        while !self.is_broken() && self.state.stopped.contains(&false) {
            self.rest();
            let next = self.shards.iter().filter_map(Shard::deadline).min();
            match next {
                Some(at) if at <= until + Duration::from_secs(30) => self.state.now = self.state.now.max(at),
                _ => break,
            }
        }
        if self.is_broken() {
            return;
        }
        if self.state.stopped.contains(&false) {
            let stopped = self.state.stopped.clone();
            return self.state.contract.break_off(format!("not every shard has stopped: {stopped:?}"));
        }
        if self.state.now > until + Duration::from_secs(3) {
            let late = self.state.now.since(until);
            return self.state.contract.break_off(format!("the node stops {late:?} late"));
        }
        if self.state.listening.contains(&true) {
            self.state.contract.break_off("a shard still listens".to_owned());
        }
        if let Some(open) = self.state.conns.iter().position(|conn| !conn.socket.closed) {
            self.state.contract.break_off(format!("conn {open} outlives the node"));
        }
        if let Some(timer) = self.shards.iter().find_map(Shard::deadline)
            && self.state.contract.may_have_no_countdown()
        {
            self.state.contract.break_off(format!("a stopped shard waits for {timer:?}"));
        }
    }
}

//! One shard's loop: wait, hear what happened, let the core decide, write once per socket.
//!
//! A turn reads each ready socket once, so that no client holds up the others, and writes what all of it led to once per
//! socket, when the outbox says so. No rule stands here: what a connection or a message means is the core's to say.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;

use socket2::Socket;
use wrs_core::action::Actions;
use wrs_core::host::{Machine, perform};
use wrs_core::id::ConnId;
use wrs_core::input::Input;
use wrs_core::time::Time;
use wrs_core::wire::line::{Incoming, Line};
use wrs_core::wire::tls::TlsError;
use wrs_node::certificates::Certificates;
use wrs_node::clock;
use wrs_node::news::{Connected, News};
use wrs_node::parcel::Parcel;

use crate::conn::{Conn, Got};
use crate::host::Hands;
use crate::listen::Doors;
use crate::ring::{Buffers, Event, Ring, What};

/// Parcels that are looked at before the sockets have their turn.
const PARCELS_PER_TURN: usize = 4096;
/// Sockets that are written with one call.
const WRITES_PER_CALL: usize = 64;
/// Bytes that are gathered for one call, so that they are still in the cache when it copies them.
const BYTES_PER_CALL: usize = 128 << 10;
/// So many sockets are worth it; fewer are written one by one.
const WORTH_ONE_CALL: usize = 4;

/// A shard, its sockets and all that its loop needs.
pub struct Turn<M> {
    machine: M,
    actions: Actions,
    hands: Hands,
    ring: Ring,
    buffers: Buffers,
    inbox: Receiver<Parcel>,
    doors: Doors,
    certificates: Certificates,
    /// Whose turn it is to get a connection.
    next: usize,
    /// Sockets that are written now; empty else, and kept for its memory.
    flushing: Vec<ConnId>,
    /// Whether parcels were left in the inbox by the last turn.
    has_mail: bool,
    read_buffer: usize,
    plain: Vec<u8>,
    scratch: Vec<u8>,
    /// One for each socket that is written with the same call.
    scratches: Vec<Vec<u8>>,
}

/// What a shard's loop is made of.
pub struct Parts<M> {
    /// The machine: a shard.
    pub machine: M,
    /// What performs its actions.
    pub hands: Hands,
    /// Where it sleeps.
    pub ring: Ring,
    /// What its sockets receive into.
    pub buffers: Buffers,
    /// What the process sends it.
    pub inbox: Receiver<Parcel>,
    /// Where connections come from, on shard 0.
    pub doors: Doors,
    /// TLS for its connections.
    pub certificates: Certificates,
    /// Bytes that the shard takes at once.
    pub read_buffer: usize,
}

impl<M: Machine> Turn<M> {
    /// A loop that has not begun.
    pub fn new(parts: Parts<M>) -> Self {
        Turn {
            machine: parts.machine,
            actions: Actions::new(),
            hands: parts.hands,
            ring: parts.ring,
            buffers: parts.buffers,
            inbox: parts.inbox,
            doors: parts.doors,
            certificates: parts.certificates,
            next: 0,
            flushing: Vec::new(),
            has_mail: false,
            read_buffer: parts.read_buffer,
            plain: Vec::new(),
            scratch: Vec::new(),
            scratches: vec![Vec::new(); WRITES_PER_CALL],
        }
    }

    /// Runs until all shards have drained; why, if the node has failed.
    pub fn run(mut self) -> io::Result<Option<String>> {
        let mut events = Vec::new();
        while !self.hands.is_over() {
            let now = clock::now();
            let deadlines = [self.machine.deadline(), self.doors.deadline()];
            let busy = self.has_mail || !self.hands.outbox.is_empty() || !self.hands.resumed.is_empty();
            let wait = if busy { Some(now) } else { deadlines.into_iter().flatten().min() };
            self.ring.wait(&mut events, wait.map(|at| at.since(now)))?;
            self.turn(clock::now(), &mut events);
        }
        Ok(self.hands.failure)
    }

    fn turn(&mut self, now: Time, events: &mut Vec<Event>) {
        // Before the sockets: what a sibling decided was said here before its client could learn of it, so that whatever a
        // client does about it comes after.
        let opened = (0..PARCELS_PER_TURN).take_while(|_| self.open_next(now)).count();
        // Whoever wrote what is left will not wake this shard again.
        self.has_mail = opened == PARCELS_PER_TURN;
        for id in std::mem::take(&mut self.hands.resumed) {
            self.resume(now, id);
        }
        let inputs = opened + events.len();
        for event in events.drain(..) {
            match event.what {
                What::Connecting if event.key() == Doors::LINKS => self.accept_links(now),
                What::Connecting => self.accept_clients(now),
                _ => self.heard(now, event),
            }
            self.flush_full(now);
        }
        if self.machine.deadline().is_some_and(|at| at <= now) {
            self.tell(now, Input::Timeout);
        }
        // The last turn leaves nothing for a next one.
        let inputs = if self.hands.is_over() { 0 } else { inputs };
        self.hands.outbox.take_due(inputs, &mut self.flushing);
        self.flush(now);
        self.hands.wake_mailed();
        if !self.hands.listening {
            self.doors.clients = None;
        }
        for _ in 0..self.doors.resume(now) {
            self.tell(now, Input::AcceptResumed);
        }
    }

    fn tell(&mut self, now: Time, input: Input<'_>) {
        self.machine.handle(now, input, &mut self.actions);
        perform(&mut self.actions, &mut self.hands);
    }

    fn accept_clients(&mut self, now: Time) {
        let Some(listener) = &mut self.doors.clients else { return };
        let accepted = listener.accept(now);
        if let Some(error) = accepted.exhausted {
            self.tell(now, Input::AcceptPaused { why: error.to_string() });
        }
        for (socket, from) in accepted.connections {
            let shard = self.hands.choose(self.next);
            self.next = shard + 1;
            if shard == 0 {
                self.open(now, socket, from);
            } else {
                self.hands.mail(shard, Parcel::Connection(socket, from));
            }
        }
    }

    /// Deals with one parcel; false if there was none.
    fn open_next(&mut self, now: Time) -> bool {
        let Ok(parcel) = self.inbox.try_recv() else { return false };
        match parcel {
            Parcel::Peer(peer, message) => self.tell(now, Input::Peer { peer, message }),
            Parcel::Connection(socket, from) => self.open(now, socket, from),
            Parcel::News(News::Fact(input)) => self.tell(now, input),
            Parcel::News(News::Connected(connected)) => self.connected(now, connected),
            Parcel::Certificates(certificates) => self.certificates = certificates,
            Parcel::Drain => self.tell(now, Input::Drain),
            Parcel::Stopped => self.hands.stopped += 1,
        }
        self.flush_full(now);
        true
    }

    fn accept_links(&mut self, now: Time) {
        let Some(listener) = &mut self.doors.links else { return };
        let accepted = listener.accept(now);
        if let Some(error) = accepted.exhausted {
            self.tell(now, Input::AcceptPaused { why: error.to_string() });
        }
        for (socket, from) in accepted.connections {
            let id = self.hands.reserve();
            if self.adopt(id, socket, self.certificates.of_link(), true) {
                self.tell(now, Input::Linked { conn: id, from, dial: None });
            }
        }
    }

    /// A new client of this shard.
    fn open(&mut self, now: Time, socket: Socket, from: SocketAddr) {
        let id = self.hands.conns.reserve();
        if self.adopt(id, socket, self.certificates.of_client(), false) {
            self.tell(now, Input::Opened { conn: id, from: from.ip() });
        }
    }

    /// A dial has succeeded.
    fn connected(&mut self, now: Time, connected: Connected) {
        let Connected { dial, socket, from, host, over } = connected;
        let id = self.hands.reserve();
        if self.adopt(id, socket, self.certificates.of_dialed(&host, over), true) {
            // With TLS it is this end that begins.
            self.hands.mark(id);
            self.tell(now, Input::Linked { conn: id, from, dial: Some(dial) });
        } else {
            self.tell(now, Input::DialFailed { dial, why: "there is no memory for a connection".to_owned() });
        }
    }

    /// Makes a socket a connection. It cannot fail but for want of memory; the connection is then refused by its end.
    fn adopt(&mut self, id: ConnId, socket: Socket, line: Result<Line, TlsError>, is_link: bool) -> bool {
        let (Ok(line), Ok(watched)) = (line, self.ring.watch(socket, id)) else {
            self.hands.conns.remove(id);
            return false;
        };
        self.hands.conns.insert(id, Conn::new(watched, line, is_link));
        true
    }

    fn heard(&mut self, now: Time, mut event: Event) {
        let lent = event.lent.take();
        if let Some(id) = self.hands.conns.at(event.key())
            && event.is_for(id)
            && let Some(conn) = self.hands.conns.get(id)
        {
            let bytes = lent.as_ref().map(|lent| self.buffers.bytes(lent)).unwrap_or_default();
            match conn.heard(event.what, bytes) {
                Got::Nothing => {}
                Got::Room => self.hands.mark(id),
                Got::End => {
                    self.tell(now, Input::Ended { conn: id });
                    if let Some(conn) = self.hands.conns.get(id) {
                        conn.watch();
                    }
                }
                Got::Gone => self.lose(now, id),
                Got::Bytes if conn.line.is_encrypted() => {
                    self.plain.clear();
                    let incoming = conn.line.received(bytes, &mut self.plain);
                    self.decrypted(now, id, incoming);
                }
                Got::Bytes => {
                    self.machine.handle(now, Input::Received { conn: id, bytes }, &mut self.actions);
                    perform(&mut self.actions, &mut self.hands);
                }
            }
        }
        if let Some(lent) = lent {
            self.buffers.give_back(lent);
        }
    }

    /// Hands over what was kept while the shard did not want it, until it does not want it again.
    fn resume(&mut self, now: Time, id: ConnId) {
        while let Some(conn) = self.hands.conns.get(id) {
            let mut bytes = conn.take_kept(self.read_buffer);
            if bytes.is_empty() {
                return;
            } else if conn.line.is_encrypted() {
                self.plain.clear();
                let incoming = conn.line.received(&bytes, &mut self.plain);
                self.decrypted(now, id, incoming);
            } else {
                self.tell(now, Input::Received { conn: id, bytes: &mut bytes });
            }
        }
    }

    fn decrypted(&mut self, now: Time, id: ConnId, incoming: Incoming) {
        self.hands.mark(id);
        for bytes in self.plain.chunks_mut(self.read_buffer.max(1)) {
            self.machine.handle(now, Input::Received { conn: id, bytes }, &mut self.actions);
            perform(&mut self.actions, &mut self.hands);
        }
        match incoming {
            Incoming::Open => {}
            Incoming::Ended => self.tell(now, Input::Ended { conn: id }),
            Incoming::Broken(why) => {
                if let Some(conn) = self.hands.conns.get(id) {
                    // The alert, as far as the socket takes it.
                    conn.flush(&mut self.scratch);
                    self.hands.conns.remove(id);
                    self.tell(now, Input::Broken { conn: id, why });
                }
            }
        }
    }

    /// A socket is gone.
    fn lose(&mut self, now: Time, id: ConnId) {
        if self.hands.conns.get(id).is_some() {
            self.hands.conns.remove(id);
            self.tell(now, Input::Closed { conn: id });
        }
    }

    /// Writes what has become worth it before the end of the turn, if it is worth one call.
    fn flush_full(&mut self, now: Time) {
        if self.hands.outbox.full() >= WORTH_ONE_CALL {
            self.hands.outbox.take_full(&mut self.flushing);
            self.flush(now);
        }
    }

    /// Writes to the sockets that are listed. What the shard answers to that goes out in the next turn.
    fn flush(&mut self, now: Time) {
        let mut flushing = std::mem::take(&mut self.flushing);
        flushing.retain(|id| self.hands.conns.get(*id).is_some_and(|conn| conn.waiting.take()));
        let mut left = flushing.as_slice();
        while !left.is_empty() {
            let group;
            (group, left) = left.split_at(self.together(left).clamp(1, left.len()));
            self.write(group);
            for id in group.iter().copied() {
                let Some(conn) = self.hands.conns.get(id) else { continue };
                if conn.flush(&mut self.scratch) {
                    let unsent = conn.line.unsent();
                    self.tell(now, Input::Flushed { conn: id, unsent });
                } else {
                    self.lose(now, id);
                }
            }
        }
        flushing.clear();
        self.flushing = flushing;
    }

    /// How many of the first of these sockets are written together.
    fn together(&mut self, ids: &[ConnId]) -> usize {
        let mut bytes = 0;
        let fits = |id: &&ConnId| {
            bytes += self.hands.conns.get(**id).map_or(0, |conn| conn.line.unsent());
            bytes <= BYTES_PER_CALL
        };
        ids.iter().take(WRITES_PER_CALL).take_while(fits).count()
    }

    /// Writes to many sockets with one call. What one of them does not take, and why, shows itself when it is flushed.
    fn write(&mut self, group: &[ConnId]) {
        if group.len() < WORTH_ONE_CALL {
            return;
        }
        let mut conns: Vec<(ConnId, Box<Conn>)> =
            group.iter().filter_map(|id| Some((*id, self.hands.conns.take(*id)?))).collect();
        let writes: Vec<_> =
            conns.iter_mut().zip(&mut self.scratches).map(|((_, conn), scratch)| conn.piece(scratch)).collect();
        let taken = self.ring.write(&writes);
        for ((id, mut conn), taken) in conns.into_iter().zip(taken) {
            conn.line.wrote(taken);
            self.hands.conns.give_back(id, conn);
        }
    }
}

//! One shard's loop: wait, hear what happened, let the core decide, write once per socket.
//!
//! A turn reads each ready socket once, so that no client holds up the others, and writes what all of it led to with one
//! call per socket. No rule stands here: what a connection or a message means is the core's to say.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use rustls::ServerConfig;
use socket2::Socket;
use wrs_core::action::Actions;
use wrs_core::event;
use wrs_core::host::{Host, perform};
use wrs_core::id::ConnId;
use wrs_core::input::Input;
use wrs_core::shard::Shard;
use wrs_core::time::Time;
use wrs_core::wire::line::{Incoming, Line};

use crate::clock;
use crate::conn::{Conn, Got};
use crate::host::Hands;
use crate::listen::Listener;
use crate::mesh::Parcel;
use crate::ring::{Buffers, Event, Ring, What};

/// Parcels that are looked at before the sockets have their turn.
const PARCELS_PER_TURN: usize = 4096;

/// A shard, its sockets and all that its loop needs.
pub struct Turn {
    shard: Shard,
    actions: Actions,
    hands: Hands,
    ring: Ring,
    buffers: Buffers,
    inbox: Receiver<Parcel>,
    listener: Option<Listener>,
    certificates: Option<Arc<ServerConfig>>,
    /// How many shards connections are dealt to, and whose turn it is.
    shards: usize,
    next: usize,
    read_buffer: usize,
    plain: Vec<u8>,
    scratch: Vec<u8>,
}

/// What a shard's loop is made of.
pub struct Parts {
    /// The machine.
    pub shard: Shard,
    /// What performs its actions.
    pub hands: Hands,
    /// Where it sleeps.
    pub ring: Ring,
    /// What its sockets receive into.
    pub buffers: Buffers,
    /// What the process sends it.
    pub inbox: Receiver<Parcel>,
    /// The listener, on shard 0.
    pub listener: Option<Listener>,
    /// TLS for its connections.
    pub certificates: Option<Arc<ServerConfig>>,
    /// How many shards connections are dealt to.
    pub shards: usize,
    /// Bytes that the shard takes at once.
    pub read_buffer: usize,
}

impl Turn {
    /// A loop that has not begun.
    pub fn new(parts: Parts) -> Self {
        Turn {
            shard: parts.shard,
            actions: Actions::new(),
            hands: parts.hands,
            ring: parts.ring,
            buffers: parts.buffers,
            inbox: parts.inbox,
            listener: parts.listener,
            certificates: parts.certificates,
            shards: parts.shards,
            next: 0,
            read_buffer: parts.read_buffer,
            plain: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Runs until the shard has drained.
    pub async fn run(mut self) -> io::Result<()> {
        let mut events = Vec::new();
        while !self.hands.stopped {
            let now = clock::now();
            let deadlines = [self.shard.deadline(), self.listener.as_ref().and_then(Listener::deadline)];
            let busy = !self.hands.dirty.is_empty() || !self.hands.resumed.is_empty();
            let wait = if busy { Some(now) } else { deadlines.into_iter().flatten().min() };
            self.ring.wait(&mut events, wait.map(|at| at.since(now))).await?;
            self.turn(clock::now(), &mut events);
            glommio::yield_if_needed().await;
        }
        Ok(())
    }

    fn turn(&mut self, now: Time, events: &mut Vec<Event>) {
        for id in std::mem::take(&mut self.hands.resumed) {
            self.resume(now, id);
        }
        for event in events.drain(..) {
            match event.what {
                What::Connecting => self.accept(now),
                _ => self.heard(now, event),
            }
        }
        for _ in 0..PARCELS_PER_TURN {
            let Ok(parcel) = self.inbox.try_recv() else { break };
            self.open(now, parcel);
        }
        if self.shard.deadline().is_some_and(|at| at <= now) {
            self.tell(now, Input::Timeout);
        }
        self.flush(now);
        self.hands.wake_mailed();
        match (&mut self.listener, self.hands.listening) {
            (Some(listener), true) => listener.resume(now),
            (listener, _) => *listener = None,
        }
    }

    fn tell(&mut self, now: Time, input: Input<'_>) {
        self.shard.handle(now, input, &mut self.actions);
        perform(&mut self.actions, &mut self.hands);
    }

    fn accept(&mut self, now: Time) {
        let Some(listener) = &mut self.listener else { return };
        let accepted = listener.accept(now);
        if let Some(error) = accepted.exhausted {
            self.hands.report(event::Event::AcceptPaused { why: error.to_string() });
        }
        for (socket, from) in accepted.connections {
            let shard = self.next % self.shards.max(1);
            self.next = shard + 1;
            if shard == 0 {
                self.adopt(now, socket, from);
            } else {
                self.hands.mail(shard, Parcel::Connection(socket, from));
            }
        }
    }

    fn open(&mut self, now: Time, parcel: Parcel) {
        match parcel {
            Parcel::Peer(peer, message) => self.tell(now, Input::Peer { peer, message }),
            Parcel::Connection(socket, from) => self.adopt(now, socket, from),
            Parcel::Certificates(certificates) => self.certificates = Some(certificates),
            Parcel::Drain => self.tell(now, Input::Drain),
        }
    }

    /// A new connection of this shard.
    fn adopt(&mut self, now: Time, socket: Socket, from: IpAddr) {
        let line = match &self.certificates {
            None => Ok(Line::plain()),
            Some(certificates) => Line::encrypted(certificates.clone()),
        };
        let id = self.hands.conns.reserve();
        // Neither can fail but for want of memory; the connection is then refused by its end.
        let (Ok(line), Ok(watched)) = (line, self.ring.watch(socket, id)) else {
            return self.hands.conns.remove(id);
        };
        self.hands.conns.insert(id, Conn::new(watched, line));
        self.tell(now, Input::Opened { conn: id, from });
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
                Got::End => self.tell(now, Input::Ended { conn: id }),
                Got::Gone => self.lose(now, id),
                Got::Bytes if conn.line.is_encrypted() => {
                    self.plain.clear();
                    let incoming = conn.line.received(bytes, &mut self.plain);
                    self.decrypted(now, id, incoming);
                }
                Got::Bytes => {
                    self.shard.handle(now, Input::Received { conn: id, bytes }, &mut self.actions);
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
            self.shard.handle(now, Input::Received { conn: id, bytes }, &mut self.actions);
            perform(&mut self.actions, &mut self.hands);
        }
        match incoming {
            Incoming::Open => {}
            Incoming::Ended => self.tell(now, Input::Ended { conn: id }),
            Incoming::Broken => {
                if let Some(conn) = self.hands.conns.get(id) {
                    // The alert, as far as the socket takes it.
                    conn.flush(&mut self.scratch);
                }
                self.lose(now, id);
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

    /// Writes what the turn led to. What the shard answers to that goes out in the next turn.
    fn flush(&mut self, now: Time) {
        for id in std::mem::take(&mut self.hands.dirty) {
            let Some(conn) = self.hands.conns.get(id) else { continue };
            conn.dirty = false;
            if conn.flush(&mut self.scratch) {
                let unsent = conn.line.unsent();
                self.tell(now, Input::Flushed { conn: id, unsent });
            } else {
                self.lose(now, id);
            }
        }
    }
}

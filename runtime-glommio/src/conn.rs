//! One socket of a shard, with its outgoing line.

use std::io::{self, Write};
use std::net::Shutdown;

use socket2::Socket;
use wrs_core::wire::line::Line;
use wrs_node::outbox::Waiting;

use crate::ring::{Watched, What};

/// One socket.
pub struct Conn {
    watched: Watched,
    /// What is to be written.
    pub line: Line,
    /// Whether the shard wants to read it.
    reads: bool,
    /// Whether the other end may still send.
    open: bool,
    /// Whether it waits for room to write.
    writes: bool,
    /// Its part of the outbox.
    pub waiting: Waiting,
    finished: bool,
    /// Whether another node is at its other end.
    pub is_link: bool,
    /// What had arrived before reading stopped: at most what the shard's buffers hold.
    kept: Vec<u8>,
}

/// What has happened at a socket, as far as it concerns the shard.
pub enum Got {
    /// Bytes arrived.
    Bytes,
    /// Nothing.
    Nothing,
    /// There may be room to write.
    Room,
    /// The end of what the other side sends.
    End,
    /// The socket is gone.
    Gone,
}

impl Conn {
    /// A new socket, read from the start.
    pub fn new(watched: Watched, line: Line, is_link: bool) -> Self {
        let (waiting, kept) = (Waiting::default(), Vec::new());
        Conn { watched, line, reads: true, open: true, writes: false, waiting, finished: false, is_link, kept }
    }

    /// Takes note of what has happened; `bytes` is what arrived.
    pub fn heard(&mut self, what: What, bytes: &[u8]) -> Got {
        self.watched.heard(what);
        let is_read = self.is_read();
        let got = match what {
            What::Received { .. } if is_read && self.kept.is_empty() => Got::Bytes,
            What::Received { .. } => {
                // They were on their way when reading was to stop.
                self.kept.extend_from_slice(bytes);
                Got::Nothing
            }
            What::Ended if is_read => {
                self.open = false;
                // The shard mostly ends the socket now: see `watch`.
                return Got::End;
            }
            // Nobody would read why. The shard ends the socket now.
            What::Ready { dead: true } if !is_read => return Got::Gone,
            // What is still wanted then is known when it has been flushed.
            What::Ready { .. } if self.writes => return Got::Room,
            What::Gone => return Got::Gone,
            What::Ended | What::Rested | What::Ready { .. } | What::Connecting => Got::Nothing,
        };
        self.watch();
        got
    }

    /// The next part of what was kept while the shard did not want it, at most `count` bytes; empty when there is none,
    /// or the shard does not want it. The socket is read again once there is none.
    pub fn take_kept(&mut self, count: usize) -> Vec<u8> {
        if !self.is_read() {
            return Vec::new();
        }
        let rest = self.kept.split_off(count.min(self.kept.len()));
        let part = std::mem::replace(&mut self.kept, rest);
        self.watch();
        part
    }

    /// Whether it is read at present.
    pub fn is_read(&self) -> bool {
        self.reads && self.open
    }

    /// Reads the socket from now on, or not. True: something was kept meanwhile and comes first.
    pub fn want_reads(&mut self, reads: bool) -> bool {
        if self.reads != reads {
            self.reads = reads;
            self.watch();
        }
        reads && !self.kept.is_empty()
    }

    /// The socket and what is to be written to it first; nothing while it waits for room.
    pub fn piece<'a>(&'a mut self, scratch: &'a mut Vec<u8>) -> (&'a Socket, &'a [u8]) {
        (self.watched.socket(), if self.writes { &[] } else { self.line.piece(scratch) })
    }

    /// Writes what is queued until the socket takes no more. False: the socket is gone.
    pub fn flush(&mut self, scratch: &mut Vec<u8>) -> bool {
        let mut blocked = false;
        loop {
            let piece = self.line.piece(scratch);
            if piece.is_empty() {
                break;
            }
            let offered = piece.len();
            match self.watched.socket().write(piece) {
                Ok(taken) => {
                    self.line.wrote(taken);
                    blocked = taken < offered;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => blocked = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return false,
            }
            if blocked {
                self.line.hold_up();
                break;
            }
        }
        if blocked || self.writes {
            self.writes = blocked;
            self.watch();
        }
        if self.line.is_finished() && !self.finished {
            self.finished = true;
            // An error means that the other end was faster.
            let _ = self.watched.socket().shutdown(Shutdown::Write);
        }
        true
    }

    /// Watches for what is wanted now. To be called when the shard has heard of an end and has kept the socket.
    pub fn watch(&mut self) {
        // An error means that the ring takes nothing any more: the next wait fails with it and the shard ends.
        let _ = self.watched.want(self.is_read() && self.kept.is_empty(), self.writes);
    }
}

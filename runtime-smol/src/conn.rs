//! One socket of a shard, with its outgoing line.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use wrs_core::wire::line::Line;
use wrs_node::outbox::Waiting;

use crate::poll::Watched;

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
}

/// What a read brought.
pub enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The end of what the other side sends.
    End,
    /// The socket is gone.
    Gone,
}

impl Conn {
    /// A new socket, read from the start.
    pub fn new(watched: Watched, line: Line, is_link: bool) -> Self {
        let waiting = Waiting::default();
        Conn { watched, line, reads: true, open: true, writes: false, waiting, finished: false, is_link }
    }

    /// Reads once.
    pub fn read(&mut self, buffer: &mut [u8]) -> Got {
        if !self.is_read() {
            return Got::Nothing;
        }
        match self.watched.socket().read(buffer) {
            Ok(0) => {
                self.open = false;
                self.watch();
                Got::End
            }
            Ok(count) => Got::Bytes(count),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Got::Nothing
            }
            Err(_) => Got::Gone,
        }
    }

    /// Whether it is read at present.
    pub fn is_read(&self) -> bool {
        self.reads && self.open
    }

    /// Reads the socket from now on, or not.
    pub fn want_reads(&mut self, reads: bool) {
        if self.reads != reads {
            self.reads = reads;
            self.watch();
        }
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
        if self.writes != blocked {
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

    fn watch(&self) {
        // An error shows itself at the next read or write.
        let _ = self.watched.want(self.is_read(), self.writes);
    }
}

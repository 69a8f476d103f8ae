//! A socket between a program and a shard: bytes on the way in both directions, each with its bound.
//!
//! The node's end behaves as an adapter's: an outgoing [`Line`], flushed once per turn, reads that can be paused.

use std::collections::VecDeque;

use bytes::Bytes;
use wrs_core::random::Random;
use wrs_core::wire::line::Line;

/// Both ends of one connection.
#[derive(Debug)]
pub struct Socket {
    /// From the program, not yet read by the node.
    pub inbound: VecDeque<u8>,
    /// The program sends no more (FIN).
    pub fin: bool,
    /// The program has broken the connection (RST).
    pub reset: bool,
    /// The node has been told of the end.
    pub end_told: bool,
    /// What the node has queued.
    pub line: Line,
    /// Written by the node, not yet read by the program.
    pub outbound: VecDeque<u8>,
    /// Bytes that fit in `outbound`.
    pub window: usize,
    /// Whether the shard wants it read.
    pub reads: bool,
    /// The last write did not take all.
    pub blocked: bool,
    /// On the list of sockets to flush.
    pub dirty: bool,
    /// The node has ended its sending side.
    pub node_fin: bool,
    /// The node has closed it.
    pub closed: bool,
}

/// What a read brought.
pub enum Got {
    /// Bytes.
    Bytes(Vec<u8>),
    /// Nothing.
    Nothing,
    /// The program's end.
    End,
    /// It is broken.
    Gone,
}

impl Socket {
    /// A connection whose kernel takes `window` bytes of what the node writes.
    pub fn new(window: usize) -> Self {
        Socket {
            inbound: VecDeque::new(),
            fin: false,
            reset: false,
            end_told: false,
            line: Line::plain(),
            outbound: VecDeque::new(),
            window,
            reads: true,
            blocked: false,
            dirty: false,
            node_fin: false,
            closed: false,
        }
    }

    /// Whether a turn of the shard has something to do with it.
    pub fn is_ready(&self) -> bool {
        !self.closed && (self.reset || self.dirty || self.is_writable() || self.is_readable())
    }

    /// Whether a blocked write would take something.
    pub fn is_writable(&self) -> bool {
        self.blocked && self.outbound.len() < self.window
    }

    /// Whether a read would bring something.
    pub fn is_readable(&self) -> bool {
        self.reads && !self.end_told && (!self.inbound.is_empty() || self.fin || self.reset)
    }

    /// One read of at most `most` bytes.
    pub fn read(&mut self, most: usize) -> Got {
        if self.reset {
            return Got::Gone;
        }
        if !self.reads || self.end_told {
            return Got::Nothing;
        }
        let count = most.min(self.inbound.len());
        match count {
            0 if self.fin => {
                self.end_told = true;
                Got::End
            }
            0 => Got::Nothing,
            count => Got::Bytes(self.inbound.drain(..count).collect()),
        }
    }

    /// Queues bytes.
    pub fn push(&mut self, bytes: Bytes) {
        self.line.push(bytes);
    }

    /// Writes what fits, in pieces that chance cuts. False: the connection is broken.
    pub fn flush(&mut self, scratch: &mut Vec<u8>, random: &mut Random, cuts: bool) -> bool {
        self.dirty = false;
        if self.reset {
            return false;
        }
        let mut blocked = false;
        loop {
            let piece = self.line.piece(scratch);
            if piece.is_empty() {
                break;
            }
            let offered = piece.len();
            let mut taken = offered.min(self.window.saturating_sub(self.outbound.len()));
            if cuts && random.below(4) == 0 {
                taken = taken.min(1 + random.below(64) as usize);
            }
            self.outbound.extend(&piece[..taken]);
            self.line.wrote(taken);
            blocked = taken < offered;
            if blocked {
                self.line.hold_up();
                break;
            }
        }
        self.blocked = blocked;
        if self.line.is_finished() {
            self.node_fin = true;
        }
        true
    }
}

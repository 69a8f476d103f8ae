//! Mail between two lives: numbered from 1, kept until the other end has it, sent again on the next connection.
//!
//! A piece of mail has no number on the wire: a connection says with which number it starts, and both ends count. The
//! receiver skips what it has got before, so that each piece is handed on once and in order however often the connection
//! is lost. Nothing here refuses mail: whoever writes bounds it by windows, and asks how much is unacknowledged.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use super::fault::LinkFault;
use super::frame::{self, LARGE, MAIL};
use crate::peer::PeerMessage;
use crate::time::Time;
use crate::wire::peer;

/// A piece of the mail that is kept has at most so many bytes of small messages: acknowledged mail is dropped by pieces.
const SEGMENT_BYTES: usize = 32 << 10;
/// Unacknowledged bytes that make the receiver say at once what it has.
const ACK_BYTES: usize = 32 << 10;

/// Whole frames of mail.
#[derive(Clone, Debug)]
struct Segment {
    /// The number of the first.
    first: u64,
    /// The number of the last.
    last: u64,
    frames: Bytes,
    /// The body of the last frame's end, if it is large.
    payload: Bytes,
}

impl Segment {
    fn len(&self) -> usize {
        self.frames.len() + self.payload.len()
    }
}

/// Mail to one life.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The number of the last piece of mail that was put in.
    last: u64,
    kept: VecDeque<Segment>,
    /// How many of `kept` this connection has got.
    sent: usize,
    /// Frames that are in no segment yet: `open_count` of them, up to `last`.
    open: BytesMut,
    open_count: u64,
    /// Bytes in `kept`.
    kept_bytes: usize,
    scratch: BytesMut,
}

impl Outbox {
    /// Puts in a message. False: it is none that crosses nodes, or longer than `limit` bytes.
    pub(super) fn put(&mut self, now: Time, message: &PeerMessage, version: u8, limit: usize) -> bool {
        self.scratch.clear();
        let Some(payload) = peer::encode(message, now, version, &mut self.scratch) else { return false };
        let body = self.scratch.len() + payload.len();
        if body >= limit {
            return false;
        }
        frame::put_head(&mut self.open, MAIL, body);
        self.open.put_slice(&self.scratch);
        self.last += 1;
        self.open_count += 1;
        if payload.len() >= LARGE {
            self.close_segment(payload);
        } else {
            self.open.put_slice(&payload);
            if self.open.len() >= SEGMENT_BYTES {
                self.close_segment(Bytes::new());
            }
        }
        true
    }

    fn close_segment(&mut self, payload: Bytes) {
        let frames = self.open.split().freeze();
        self.keep(frames, payload);
    }

    /// Keeps what was open as a segment.
    fn keep(&mut self, frames: Bytes, payload: Bytes) {
        let first = self.last - self.open_count + 1;
        self.open_count = 0;
        self.kept_bytes += frames.len() + payload.len();
        self.kept.push_back(Segment { first, last: self.last, frames, payload });
    }

    /// Whether this connection lacks something.
    pub(super) fn is_waiting(&self) -> bool {
        self.sent < self.kept.len() || self.open_count > 0
    }

    /// The next pieces to send on this connection: a segment's frames and its payload.
    pub(super) fn next(&mut self) -> Option<(Bytes, Bytes)> {
        if self.sent == self.kept.len() && self.open_count > 0 {
            self.close_segment(Bytes::new());
        }
        let segment = self.kept.get(self.sent)?;
        self.sent += 1;
        Some((segment.frames.clone(), segment.payload.clone()))
    }

    /// If nothing but small new mail waits: that mail with `behind` after it, in one piece.
    pub(super) fn next_with(&mut self, behind: &[u8]) -> Option<Bytes> {
        if self.sent < self.kept.len() || self.open_count == 0 {
            return None;
        }
        let mail = self.open.len();
        self.open.put_slice(behind);
        let whole = self.open.split().freeze();
        self.keep(whole.slice(..mail), Bytes::new());
        self.sent = self.kept.len();
        Some(whole)
    }

    /// A new connection, whose other end has the mail up to `have`: the number with which this end starts.
    ///
    /// # Errors
    /// It has mail that was never sent.
    pub(super) fn resume(&mut self, have: u64) -> Result<u64, LinkFault> {
        self.acknowledged(have)?;
        self.sent = 0;
        let first = self.kept.front().map(|segment| segment.first);
        Ok(first.unwrap_or(self.last - self.open_count + 1))
    }

    /// The other end has the mail up to `number`.
    ///
    /// # Errors
    /// There is no such number yet.
    pub(super) fn acknowledged(&mut self, number: u64) -> Result<(), LinkFault> {
        if number > self.last - self.open_count {
            return Err(LinkFault::Miscounted);
        }
        while let Some(segment) = self.kept.pop_front_if(|segment| segment.last <= number) {
            self.kept_bytes -= segment.len();
            self.sent = self.sent.saturating_sub(1);
        }
        Ok(())
    }

    /// Bytes that the other end is not known to have.
    pub(super) fn unacknowledged(&self) -> usize {
        self.kept_bytes + self.open.len()
    }
}

/// Mail from one life.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// The number of the last piece of mail that was handed on.
    have: u64,
    /// The number of the next piece on this connection; `None` before it has started.
    next: Option<u64>,
    /// Bytes that came since the other end was told.
    owed: usize,
    /// When it is told at the latest.
    pub(super) ack_at: Option<Time>,
}

impl Inbox {
    /// Up to which number everything was handed on.
    pub(super) fn have(&self) -> u64 {
        self.have
    }

    /// A new connection, on which `have` was told.
    pub(super) fn reconnected(&mut self) {
        *self = Inbox { have: self.have, ..Inbox::default() };
    }

    /// The other end starts with this number.
    ///
    /// # Errors
    /// Mail is left out, or it has started already.
    pub(super) fn start(&mut self, number: u64) -> Result<(), LinkFault> {
        if self.next.is_some() {
            return Err(LinkFault::OutOfTurn);
        }
        if number == 0 || number > self.have.saturating_add(1) {
            return Err(LinkFault::Miscounted);
        }
        self.next = Some(number);
        Ok(())
    }

    /// A piece of mail has come: the message, if it is a new one.
    ///
    /// # Errors
    /// It is no message, or the other end has not started.
    pub(super) fn take(&mut self, now: Time, body: Bytes, version: u8) -> Result<Option<PeerMessage>, LinkFault> {
        let number = self.next.ok_or(LinkFault::OutOfTurn)?;
        self.owed = self.owed.saturating_add(body.len());
        let message = if number > self.have {
            let message = peer::decode(body, now, version).ok_or(LinkFault::Malformed)?;
            self.have = number;
            Some(message)
        } else {
            None
        };
        self.next = Some(number.saturating_add(1));
        Ok(message)
    }

    /// Whether the other end is to be told something, be it later.
    pub(super) fn owes(&self) -> bool {
        self.owed > 0
    }

    /// Whether it is to be told now, even if nothing else is said.
    pub(super) fn is_urgent(&self, now: Time) -> bool {
        self.owed >= ACK_BYTES || self.ack_at.is_some_and(|at| at <= now)
    }

    /// It is told now: up to which number.
    pub(super) fn acknowledge(&mut self) -> u64 {
        self.owed = 0;
        self.ack_at = None;
        self.have
    }
}

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
use crate::wire::peer::{self, Payload};

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
        let body = self.scratch.len() + payload.bytes();
        if body >= limit {
            return false;
        }
        self.last += 1;
        self.open_count += 1;
        match payload {
            Payload::Whole(payload) if payload.len() >= LARGE => {
                frame::put_head(&mut self.open, MAIL, &[&self.scratch, &payload]);
                self.open.put_slice(&self.scratch);
                self.close_segment(payload);
            }
            payload => {
                let pieces = std::iter::once(&self.scratch[..]).chain(payload.pieces());
                frame::put_pieces(&mut self.open, MAIL, body, pieces);
                if self.open.len() >= SEGMENT_BYTES {
                    self.close_segment(Bytes::new());
                }
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
        if mutant!(DropsMailOnReconnect) {
            self.kept.clear();
        }
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
        let message = if number > self.have || mutant!(TakesMailTwice) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::frame::{Frames, PREFACE};
    use crate::id::{ChannelId, ClientId, Life, ShardId};

    fn message(number: u64, bytes: usize) -> PeerMessage {
        PeerMessage::Publish {
            channel: ChannelId::from_bits(1, 4),
            frames: Bytes::from(vec![0; bytes]),
            from: ClientId { life: Life(1), shard: ShardId(1), serial: number },
            back: false,
        }
    }

    fn outbox(sizes: &[usize]) -> Outbox {
        let mut outbox = Outbox::default();
        for (number, bytes) in (1..).zip(sizes) {
            assert!(outbox.put(Time::ZERO, &message(number, *bytes), 1, 1 << 20));
        }
        outbox
    }

    /// Everything that waits, as it arrives: the serial numbers in it.
    fn arrive(outbox: &mut Outbox, from: u64, inbox: &mut Inbox) -> Vec<u64> {
        let mut frames = Frames::default();
        frames.push(&PREFACE);
        while let Some((small, large)) = outbox.next() {
            frames.push(&small);
            frames.push(&large);
        }
        inbox.reconnected();
        inbox.start(from).unwrap();
        let mut got = Vec::new();
        while let Some((kind, body)) = frames.next(1 << 20).unwrap() {
            assert_eq!(kind, MAIL);
            if let Some(PeerMessage::Publish { from, .. }) = inbox.take(Time::ZERO, body, 1).unwrap() {
                got.push(from.serial);
            }
        }
        got
    }

    #[test]
    fn a_new_connection_goes_on_behind_what_the_other_end_has() {
        let mut outbox = outbox(&[10, 10, LARGE, 10, 10]);
        let mut inbox = Inbox::default();
        assert_eq!(outbox.resume(0), Ok(1));
        assert_eq!(arrive(&mut outbox, 1, &mut inbox), [1, 2, 3, 4, 5]);
        // The other end had got two of the first piece, say: the piece comes again, and is skipped that far.
        let mut inbox = Inbox { have: 2, ..Inbox::default() };
        let from = outbox.resume(2).unwrap();
        assert_eq!(from, 1);
        assert_eq!(arrive(&mut outbox, from, &mut inbox), [3, 4, 5]);
        assert_eq!(outbox.resume(3), Ok(4));
        assert_eq!(outbox.resume(5), Ok(6));
        assert_eq!(outbox.unacknowledged(), 0);
        assert!(arrive(&mut outbox, 6, &mut inbox).is_empty());
    }

    #[test]
    fn who_counts_what_was_never_sent_is_at_fault() {
        let mut outbox = outbox(&[10]);
        assert_eq!(outbox.acknowledged(1), Err(LinkFault::Miscounted), "it is not on its way yet");
        assert!(outbox.next().is_some());
        assert_eq!(outbox.acknowledged(2), Err(LinkFault::Miscounted));
        assert_eq!(outbox.acknowledged(1), Ok(()));
        assert_eq!(outbox.acknowledged(0), Ok(()), "an old word");
        let mut inbox = Inbox::default();
        assert_eq!(inbox.start(0), Err(LinkFault::Miscounted));
        assert_eq!(inbox.start(2), Err(LinkFault::Miscounted), "something is left out");
        assert_eq!(inbox.take(Time::ZERO, Bytes::new(), 1).err(), Some(LinkFault::OutOfTurn));
        assert_eq!(inbox.start(1), Ok(()));
        assert_eq!(inbox.start(1), Err(LinkFault::OutOfTurn));
        assert_eq!(inbox.take(Time::ZERO, Bytes::new(), 1).err(), Some(LinkFault::Malformed));
    }

    #[test]
    fn mail_is_kept_in_pieces_so_that_acknowledged_mail_is_dropped() {
        let mut outbox = outbox(&[1_000; 200]);
        while outbox.next().is_some() {}
        let all = outbox.unacknowledged();
        outbox.acknowledged(100).unwrap();
        assert!(outbox.unacknowledged() < all / 2 + SEGMENT_BYTES + 2_000);
        assert!(outbox.kept.iter().all(|segment| segment.len() < SEGMENT_BYTES + 2_000));
    }

    #[test]
    fn what_is_too_long_or_stays_on_its_node_is_not_written() {
        let mut outbox = Outbox::default();
        assert!(!outbox.put(Time::ZERO, &message(1, 1_000), 1, 1_000));
        assert!(!outbox.put(Time::ZERO, &PeerMessage::Applied(1), 1, 1_000));
        assert!(!outbox.is_waiting() && outbox.unacknowledged() == 0);
        assert_eq!(outbox.resume(0), Ok(1));
    }

    #[test]
    fn small_words_travel_behind_small_mail_and_are_not_kept() {
        let mut outbox = outbox(&[10]);
        let whole = outbox.next_with(b"word").unwrap();
        assert_eq!(outbox.unacknowledged(), whole.len() - 4);
        assert!(outbox.next_with(b"word").is_none() && outbox.next().is_none());
        assert_eq!(outbox.resume(0), Ok(1));
        assert!(outbox.next_with(b"word").is_none(), "it is sent again as it was");
        assert_eq!(outbox.next().unwrap().0, whole.slice(..whole.len() - 4));
    }

    #[test]
    fn what_was_received_is_acknowledged_at_once_when_it_is_much() {
        let (mut inbox, now) = (Inbox::default(), Time::from_millis(5));
        inbox.start(1).unwrap();
        assert!(!inbox.owes() && !inbox.is_urgent(now));
        let mut body = BytesMut::new();
        peer::encode(&message(1, 0), now, 1, &mut body).unwrap();
        body.put_bytes(0, ACK_BYTES / 2);
        let body = body.freeze();
        inbox.take(now, body.clone(), 1).unwrap();
        assert!(inbox.owes() && !inbox.is_urgent(now));
        inbox.ack_at = Some(now);
        assert!(inbox.is_urgent(now));
        inbox.take(now, body, 1).unwrap();
        inbox.ack_at = None;
        assert!(inbox.is_urgent(now));
        assert_eq!(inbox.acknowledge(), 2);
        assert!(!inbox.owes() && !inbox.is_urgent(now));
    }
}

//! Bringing a snapshot's bytes from one node to another, in chunks, beside the log: a slow transfer delays no append.
//!
//! The bytes may be lost, doubled and reordered on the way, and either side may start again: the receiver says what it has, and
//! the sender goes on from there. Each chunk has a checksum and so has the whole. Once [`Incoming::is_complete`], the
//! driver makes the bytes durable and hands the [`Body::Snapshot`](crate::Body::Snapshot) of
//! [`Action::SendSnapshot`](crate::Action::SendSnapshot) to the machine.
//!
//! What is left to the driver, so that two leaders that send to one node do not undo each other's transfer for ever: a sender stops, and says
//! that nothing was delivered, once it does not lead the message's term any more, or after some chunks without an answer. A
//! receiver takes one transfer at a time, that of the newest (term of the message, index), and says nothing to an older one. It
//! answers as done what it knows to be committed, handing the message to the machine all the same, and what it had whole before.
//!
//! ```
//! use bytes::Bytes;
//! use core::time::Duration;
//! use wrs_raft::Time;
//! use wrs_raft::snapshot::{Incoming, Outgoing, Part, Received, SnapshotId};
//!
//! let bytes = Bytes::from(vec![7; 2500]);
//! let id = SnapshotId::of(9, 2, &bytes);
//! let (mut sender, mut receiver) = (Outgoing::new(id, 1000, Duration::from_secs(1)), Incoming::new(id));
//! let mut copy = Vec::new();
//! while let Some(range) = sender.next(Time::ZERO) {
//!     let chunk = Part::chunk(id, range.start, bytes.slice(range.start as usize..range.end as usize));
//!     let Part::Chunk { offset, checksum, bytes, .. } = chunk else { unreachable!() };
//!     if let Received::Write { bytes, .. } = receiver.receive(offset, checksum, bytes) {
//!         copy.extend_from_slice(&bytes);
//!     }
//!     sender.wanted(receiver.have());
//! }
//! assert!(sender.is_done() && receiver.is_complete() && copy == bytes);
//! ```

use core::ops::Range;
use core::time::Duration;

use bytes::Bytes;

use crate::codec::{CRC_START, crc32c};
use crate::{Index, Term, Time};

/// Which snapshot, to the byte: two that differ have different ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotId {
    /// The last entry that it holds.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// Its length in bytes.
    pub bytes: u64,
    /// The CRC-32C of all of it.
    pub checksum: u32,
}

impl SnapshotId {
    /// The id of a snapshot that is in memory.
    #[must_use]
    pub fn of(index: Index, term: Term, bytes: &[u8]) -> SnapshotId {
        SnapshotId { index, term, bytes: bytes.len() as u64, checksum: crc32c(CRC_START, bytes) }
    }
}

/// What the two sides say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Sender: these bytes stand at `offset`.
    Chunk {
        /// The snapshot.
        id: SnapshotId,
        /// Where the bytes stand.
        offset: u64,
        /// The CRC-32C of the bytes.
        checksum: u32,
        /// The bytes.
        bytes: Bytes,
    },
    /// Receiver: I have everything before `offset`.
    Want {
        /// The snapshot.
        id: SnapshotId,
        /// How much is there.
        offset: u64,
    },
}

impl Part {
    /// The chunk of `id` that holds `bytes` at `offset`.
    #[must_use]
    pub fn chunk(id: SnapshotId, offset: u64, bytes: Bytes) -> Part {
        Part::Chunk { id, offset, checksum: crc32c(CRC_START, &bytes), bytes }
    }
}

/// The sending side: one chunk on the way at a time, sent again when no answer comes.
#[derive(Clone, Debug)]
pub struct Outgoing {
    id: SnapshotId,
    chunk_bytes: u64,
    retry_after: Duration,
    have: u64,
    sent: Option<Time>,
}

impl Outgoing {
    /// A transfer of `id` in chunks of at most `chunk_bytes` bytes, each sent again after `retry_after` without an answer.
    #[must_use]
    pub fn new(id: SnapshotId, chunk_bytes: u64, retry_after: Duration) -> Outgoing {
        Outgoing { id, chunk_bytes: chunk_bytes.max(1), retry_after, have: 0, sent: None }
    }

    /// The range of bytes to send now, if it is time for one. A snapshot without bytes has one empty range, so that the receiver
    /// hears of it.
    pub fn next(&mut self, now: Time) -> Option<Range<u64>> {
        let waits = self.sent.is_some_and(|at| now < at + self.retry_after);
        if self.is_done() || waits {
            return None;
        }
        self.sent = Some(now);
        Some(self.have..self.have.saturating_add(self.chunk_bytes).min(self.id.bytes))
    }

    /// The receiver has everything before `offset`. It may have less than before: then it has started again.
    pub fn wanted(&mut self, offset: u64) {
        if mutant!(SenderNeverGoesBack) && offset < self.have {
            return;
        }
        if offset <= self.id.bytes && (offset != self.have || self.id.bytes == 0) {
            self.have = offset;
            self.sent = None;
            if self.id.bytes == 0 {
                self.have = u64::MAX;
            }
        }
    }

    /// Whether the receiver has everything.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let have = if mutant!(SenderDoneEarly) { self.have.saturating_add(self.chunk_bytes) } else { self.have };
        have >= self.id.bytes && (self.id.bytes > 0 || self.have == u64::MAX)
    }
}

/// What became of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// Write these bytes at `offset`.
    Write {
        /// Where.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// It was here already, or does not follow what is here: only the answer matters.
    Nothing,
    /// It, or with it the whole, does not match its checksum; after a whole one that does not, the transfer begins again.
    Damaged,
}

/// The receiving side.
#[derive(Clone, Debug)]
pub struct Incoming {
    id: SnapshotId,
    have: u64,
    checksum: u32,
}

impl Incoming {
    /// A transfer of `id` of which nothing is here.
    #[must_use]
    pub fn new(id: SnapshotId) -> Incoming {
        Incoming { id, have: 0, checksum: CRC_START }
    }

    /// A transfer of `id` of which `prefix` is here, from before a break or a restart. As long as the whole and not it, it counts for
    /// nothing: a crash may have left holes.
    #[must_use]
    pub fn resume(id: SnapshotId, prefix: &[u8]) -> Incoming {
        let (have, checksum) = (prefix.len() as u64, crc32c(CRC_START, prefix));
        let torn = have == id.bytes && checksum != id.checksum && !mutant!(ResumeTrustsLength);
        if have > id.bytes || torn {
            return Incoming::new(id);
        }
        let have = if mutant!(ResumesTooFar) { (have + 1).min(id.bytes) } else { have };
        Incoming { id, have, checksum }
    }

    /// Which snapshot.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// How much is here, for [`Part::Want`]: say it after each chunk.
    #[must_use]
    pub fn have(&self) -> u64 {
        self.have
    }

    /// Takes a chunk of this snapshot.
    pub fn receive(&mut self, offset: u64, checksum: u32, bytes: Bytes) -> Received {
        if crc32c(CRC_START, &bytes) != checksum && !mutant!(ChunksUnchecked) {
            return Received::Damaged;
        }
        let end = offset.saturating_add(bytes.len() as u64);
        if (offset != self.have && !mutant!(TakesAnyOffset)) || end > self.id.bytes || bytes.is_empty() {
            return Received::Nothing;
        }
        let whole = crc32c(self.checksum, &bytes);
        if end == self.id.bytes && whole != self.id.checksum && !mutant!(WholeUnchecked) {
            *self = Incoming::new(self.id);
            return Received::Damaged;
        }
        self.have = end;
        self.checksum = whole;
        Received::Write { offset, bytes }
    }

    /// Whether all of it is here, and is what the id says.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.have == self.id.bytes && (self.checksum == self.id.checksum || mutant!(WholeUnchecked))
    }
}

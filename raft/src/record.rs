//! What must be durable, as values and as bytes, and how a node comes back from its bytes.
//!
//! # The bytes
//!
//! A log is a sequence of *segments* (files), each a header and then *frames*, without padding. All numbers are little-endian.
//!
//! | header, 64 bytes | |
//! |---|---|
//! | 0 | magic, 8 bytes: `wrsraft` and a zero |
//! | 8 | version, u16: 2 |
//! | 10 | zero, u16 |
//! | 12 | CRC-32C of the header, this field taken as zero, u32 |
//! | 16 | cluster, u64 |
//! | 24 | node, u64 |
//! | 32 | incarnation, u64 |
//! | 40 | number of the segment, u64, one more than the one before |
//! | 48 | salt, u64, drawn at random for each segment |
//! | 56 | zero, u64 |
//!
//! | frame | |
//! |---|---|
//! | 0 | magic, u32: `wrsR` |
//! | 4 | length of the body, u32 |
//! | 8 | CRC-32C over the salt, the frame's offset in the segment (u64 each), the length and the body, u32 |
//! | 12 | body |
//!
//! Salt and offset in the checksum keep bytes of a recycled file, or of another place in it, from passing as a frame.
//!
//! | body | |
//! |---|---|
//! | 0 | number of the record, u64 |
//! | 8 | number of the newest record that was known to be durable when this one was encoded, u64 |
//! | 16 | flags, u8: 1 hard state, 2 snapshot, 4 checkpoint, 8 sync |
//! | 17 | with flag 1: term, vote (0: none), commit, u64 each |
//! | | with flag 2: snapshot: index, term, u64; voters, outgoing, learners, next learners, each a count u32 and u64s; auto-leave u8; stays, a count u32 and for each node, since, incarnation, u64 |
//! | | index of the first entry, u64, 0 if none; count, u32; each entry: term u64, kind u8 (0 normal, 1 membership), length u32, payload |
//!
//! # What is torn and what is corrupt
//!
//! A crash may leave any part of the records behind that were not reported as durable: in order, out of order, by sectors. Such
//! a *torn tail* is cut off, and the file is truncated before anything is appended (study id D1). A record that *was* durable and
//! no longer reads is *corruption*: votes and acknowledgements rest on it, so the node must not go on (study id D2). The two
//! are told apart by the second number in each body: a record that does not read, although one after it says that it was durable,
//! is corrupt.

use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{CRC_START, Reader, crc32c, entries_bytes, put_entries, put_meta};
use crate::entry::Entries;
use crate::message::SnapshotMeta;
use crate::raft::Boot;
use crate::{ClusterId, Incarnation, Index, NodeId, RecordId, Term};

/// What a node must never forget beside its log: with each change written before anything that rests on it leaves.
///
/// The commit index belongs here although the paper lets it be forgotten: with membership that takes effect when it is
/// applied, a node that forgot it could campaign under a configuration too old to overlap the present one (study id M2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The highest term that this node has seen.
    pub term: Term,
    /// Whom it voted for in that term (study id E6).
    pub vote: Option<NodeId>,
    /// The highest index that it knows to be committed.
    pub commit: Index,
}

/// One atomic unit of the log: all of it is durable, or none (study ids E6, M2, R8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its number. Records must become durable in the order of their numbers.
    pub id: RecordId,
    /// Whether anything waits for it. If not, it may reach the disk together with a later one, and
    /// [`Input::Persisted`](crate::Input::Persisted) may come then.
    pub sync: bool,
    /// The new term, vote and commit index, if one of them changed.
    pub hard: Option<HardState>,
    /// A snapshot that takes the place of the whole log and of the application's state; entries in the same record follow it.
    /// The driver holds its bytes already: they came before the message. When the record is reported as durable, the
    /// application's state must be the snapshot's.
    pub snapshot: Option<Box<SnapshotMeta>>,
    /// New entries. They replace every entry at or after the first of them.
    pub entries: Entries,
    /// Whether this says all that records up to its number say: see [`Raft::checkpoint`](crate::Raft::checkpoint).
    pub checkpoint: bool,
}

const SEGMENT_MAGIC: &[u8; 8] = b"wrsraft\0";
const FRAME_MAGIC: &[u8; 4] = b"wrsR";
const VERSION: u16 = 2;
/// Bytes of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// Where in a segment's header its checksum stands.
const HEADER_CRC_AT: usize = 12;
/// Bytes of a frame before its body.
pub const FRAME_HEADER_BYTES: usize = 12;
/// Bytes of a body without a snapshot before its entries, at most.
const BODY_HEAD_BYTES: usize = 2 * 8 + 1 + 3 * 8 + 8;
/// The longest body, in bytes: what is longer does not read. Far above any record that the limits of
/// [`Config`](crate::Config) allow.
pub const BODY_BYTES_MAX: usize = 1 << 30;

const HARD: u8 = 1;
const SNAPSHOT: u8 = 2;
const CHECKPOINT: u8 = 4;
const SYNC: u8 = 8;

/// The header of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The cluster that the node belongs to.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// This life of its disk.
    pub incarnation: Incarnation,
    /// The position of the segment in the log, one more than the one before.
    pub number: u64,
    /// Drawn at random for each segment.
    pub salt: u64,
}

impl Segment {
    /// The header's bytes, with which the segment begins.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let head = self.with_crc(0);
        self.with_crc(crc32c(CRC_START, &head)).freeze()
    }

    fn with_crc(&self, crc: u32) -> BytesMut {
        let mut out = BytesMut::with_capacity(SEGMENT_HEADER_BYTES);
        out.put_slice(SEGMENT_MAGIC);
        out.put_u16_le(VERSION);
        out.put_u16_le(0);
        out.put_u32_le(crc);
        for number in [self.cluster.0, self.node.0, self.incarnation.0, self.number, self.salt, 0] {
            out.put_u64_le(number);
        }
        out
    }

    /// The header that `bytes` begin with.
    ///
    /// # Errors
    /// The bytes are no header, or of a later version.
    pub fn decode(bytes: &Bytes) -> Result<Segment, RecoverError> {
        let mut reader = Reader::new(bytes.clone());
        let parsed = || {
            let magic = reader.bytes(SEGMENT_MAGIC.len())?;
            let (version, _, _) = (reader.u16()?, reader.u16()?, reader.u32()?);
            let (cluster, node, incarnation) = (reader.u64()?, reader.u64()?, reader.u64()?);
            let (number, salt) = (reader.u64()?, reader.u64()?);
            reader.u64()?;
            let segment = Segment {
                cluster: ClusterId(cluster),
                node: NodeId(node),
                incarnation: Incarnation(incarnation),
                number,
                salt,
            };
            (magic == SEGMENT_MAGIC.as_slice()).then_some((version, segment))
        };
        let (version, segment) = { parsed }().ok_or(RecoverError::Header)?;
        // A torn header may show any version: first of all it must be whole.
        let whole = bytes.get(..SEGMENT_HEADER_BYTES).unwrap_or_default();
        let (before, after) = whole.split_at(HEADER_CRC_AT.min(whole.len()));
        let (crc, after) = after.split_at(4.min(after.len()));
        let sum = crc32c(crc32c(crc32c(CRC_START, before), &[0; 4]), after);
        if sum.to_le_bytes().as_slice() != crc {
            return Err(RecoverError::Header);
        }
        if version != VERSION {
            return Err(RecoverError::Version { version });
        }
        if segment.encode() != whole { Err(RecoverError::Header) } else { Ok(segment) }
    }

    fn crc(&self, offset: u64, len: u32, body: &[u8]) -> u32 {
        // One run of whole words is quicker than three short ones.
        let place = u128::from(self.salt) | u128::from(offset) << 64;
        let crc = crc32c(CRC_START, &place.to_le_bytes());
        crc32c(crc32c(crc, &len.to_le_bytes()), body)
    }

    /// Appends the frame of `record` to `out`. It will stand `offset` bytes into the segment; `durable` is the newest record that
    /// is known to be durable by now.
    pub fn encode_record(&self, offset: u64, durable: RecordId, record: &Record, out: &mut BytesMut) {
        let start = out.len();
        out.reserve(FRAME_HEADER_BYTES + BODY_HEAD_BYTES + entries_bytes(&record.entries));
        out.put_slice(FRAME_MAGIC);
        out.put_u64_le(0);
        put_body(out, durable, record);
        // Length and checksum are put where they belong once the body is there: no second buffer, no copy.
        let body = out.get(start + FRAME_HEADER_BYTES..).unwrap_or_default();
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let sums = u64::from(len) | u64::from(self.crc(offset, len, body)) << 32;
        if let Some(place) = out.get_mut(start + FRAME_MAGIC.len()..start + FRAME_HEADER_BYTES) {
            place.copy_from_slice(&sums.to_le_bytes());
        }
    }

    /// The frame at `offset` of this segment's `bytes`: its length with the header, and what it holds.
    fn frame(&self, bytes: &Bytes, offset: usize) -> Option<(usize, Body)> {
        let mut reader = Reader::new(bytes.slice(offset.min(bytes.len())..));
        if reader.bytes(FRAME_MAGIC.len())? != FRAME_MAGIC.as_slice() {
            return None;
        }
        let (len, crc) = (reader.u32()?, reader.u32()?);
        let size = usize::try_from(len).ok().filter(|size| *size <= BODY_BYTES_MAX)?;
        let body = reader.bytes(size)?;
        if self.crc(offset as u64, len, &body) != crc {
            return None;
        }
        Some((FRAME_HEADER_BYTES + size, read_body(body)?))
    }
}

/// What a frame holds.
struct Body {
    durable: RecordId,
    record: Record,
}

fn put_body(out: &mut BytesMut, durable: RecordId, record: &Record) {
    out.put_u64_le(record.id.0);
    out.put_u64_le(durable.0);
    let flag = |on: bool, bit: u8| if on { bit } else { 0 };
    let (hard, snapshot) = (flag(record.hard.is_some(), HARD), flag(record.snapshot.is_some(), SNAPSHOT));
    out.put_u8(hard | snapshot | flag(record.checkpoint, CHECKPOINT) | flag(record.sync, SYNC));
    if let Some(hard) = &record.hard {
        out.put_u64_le(hard.term);
        out.put_u64_le(hard.vote.unwrap_or_default().0);
        out.put_u64_le(hard.commit);
    }
    if let Some(meta) = &record.snapshot {
        put_meta(out, meta);
    }
    out.put_u64_le(record.entries.first().map_or(0, |entry| entry.index));
    put_entries(out, &record.entries);
}

fn read_body(bytes: Bytes) -> Option<Body> {
    let mut reader = Reader::new(bytes);
    let (id, durable) = (RecordId(reader.u64()?), RecordId(reader.u64()?));
    let flags = reader.u8()?;
    if flags & !(HARD | SNAPSHOT | CHECKPOINT | SYNC) != 0 {
        return None;
    }
    let hard = if flags & HARD != 0 {
        let (term, vote, commit) = (reader.u64()?, reader.u64()?, reader.u64()?);
        Some(HardState { term, vote: Some(NodeId(vote)).filter(|node| node.0 != 0), commit })
    } else {
        None
    };
    let snapshot = if flags & SNAPSHOT != 0 { Some(Box::new(reader.meta()?)) } else { None };
    let first = reader.u64()?;
    let entries = reader.entries(first)?;
    let record = Record { id, sync: flags & SYNC != 0, hard, snapshot, entries, checkpoint: flags & CHECKPOINT != 0 };
    reader.end(Body { durable, record })
}

/// What a node finds on its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// What the machine starts with. Its records are durable once the log is truncated as said here.
    pub boot: Boot,
    /// The header of the newest segment.
    pub segment: Segment,
    /// The position, among the segments that were given, of the one to append to.
    pub at: usize,
    /// Where its records end, in bytes: it must be truncated to this length, durably, before anything is appended, and later
    /// segments deleted (study id D1).
    pub end: u64,
    /// Bytes behind that: torn records, and what was allocated and not yet written.
    pub cut_bytes: u64,
}

/// Why a node cannot come back from its disk. It may be wiped and join anew, under a fresh incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoverError {
    /// There are no segments.
    Empty,
    /// A segment that is not the last has no header.
    Header,
    /// A segment is of a later version.
    Version {
        /// Which.
        version: u16,
    },
    /// A segment is of another node, cluster or incarnation than the first, or one is missing between two.
    Foreign {
        /// The position of the segment.
        at: usize,
    },
    /// A record that was durable does not read (study id D2).
    Corrupt {
        /// The position of the segment.
        at: usize,
        /// The offset of the frame, in bytes.
        offset: u64,
        /// The number of the record.
        record: RecordId,
    },
    /// A record contradicts those before it.
    Inconsistent {
        /// The number of the record.
        record: RecordId,
    },
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoverError::Empty => f.write_str("there are no segments"),
            RecoverError::Header => f.write_str("a segment has no header"),
            RecoverError::Version { version } => {
                write!(f, "a segment is of version {version}, this is version {VERSION}")
            }
            RecoverError::Foreign { at } => write!(f, "segment {at} does not belong to this log"),
            RecoverError::Corrupt { at, offset, record } => {
                write!(f, "record {} was durable and does not read: segment {at}, offset {offset}", record.0)
            }
            RecoverError::Inconsistent { record } => write!(f, "record {} contradicts those before it", record.0),
        }
    }
}

impl core::error::Error for RecoverError {}

/// Reads a log back from the whole bytes of its segments, oldest first. `durable` is a record that is known from elsewhere to
/// have been durable (0: nothing is known): it guards the very end, which no later record speaks for.
///
/// A last segment without a header is one that a crash kept from being begun; it is passed over.
///
/// # Errors
/// The log must not be gone on with.
pub fn recover(segments: &[Bytes], durable: RecordId) -> Result<Recovered, RecoverError> {
    let headers = headers(segments)?;
    let (mut boot, mut end, mut broken) = (Boot::empty(), (0, SEGMENT_HEADER_BYTES), None);
    for (at, (segment, bytes)) in headers.iter().zip(segments).enumerate() {
        let mut offset = SEGMENT_HEADER_BYTES;
        while let Some((len, Body { record, .. })) = segment.frame(bytes, offset) {
            // The first record of a log may have any number: those before it are in its checkpoint.
            // A checkpoint says all that records up to its number say, even those that a crash has taken from the segment before it.
            let again = record.checkpoint && record.id >= boot.record;
            let follows = record.id.0 == boot.record.0.wrapping_add(1) || boot.record == RecordId(0) || again;
            if !follows {
                return Err(RecoverError::Inconsistent { record: record.id });
            }
            absorb(&mut boot, record)?;
            offset += len;
            end = (at, offset);
        }
        broken = (offset < bytes.len()).then_some((at, offset));
        // What a checkpoint begins needs nothing from before it, torn or not.
        let next = headers.get(at + 1).zip(segments.get(at + 1));
        let begun = next.and_then(|(segment, bytes)| segment.frame(bytes, SEGMENT_HEADER_BYTES));
        let goes_on = begun.is_some_and(|(_, body)| body.record.checkpoint && body.record.id >= boot.record);
        if broken.is_some() && !goes_on {
            break;
        }
    }
    let next = RecordId(boot.record.0 + 1);
    let (at, offset) = broken.unwrap_or(end);
    let spoken = broken.map_or(RecordId(0), |(at, offset)| spoken_for(&headers, segments, at, offset + 1));
    if spoken.max(durable) >= next {
        return Err(RecoverError::Corrupt { at, offset: offset as u64, record: next });
    }
    let (at, end) = end;
    let kept = segments.get(at).map_or(0, |bytes| bytes.len().saturating_sub(end));
    let later: usize = segments.iter().skip(at + 1).map(Bytes::len).sum();
    let segment = headers.get(at).copied().unwrap_or_default();
    Ok(Recovered { boot, segment, at, end: end as u64, cut_bytes: (kept + later) as u64 })
}

fn headers(segments: &[Bytes]) -> Result<Vec<Segment>, RecoverError> {
    let mut headers: Vec<Segment> = Vec::with_capacity(segments.len());
    for (at, bytes) in segments.iter().enumerate() {
        let header = match Segment::decode(bytes) {
            Err(RecoverError::Header) if at > 0 && at + 1 == segments.len() => break,
            header => header?,
        };
        if let Some(before) = headers.last() {
            let next = Segment { number: before.number.wrapping_add(1), salt: header.salt, ..*before };
            if header != next {
                return Err(RecoverError::Foreign { at });
            }
        }
        headers.push(header);
    }
    if headers.is_empty() { Err(RecoverError::Empty) } else { Ok(headers) }
}

/// The newest record that any frame after the break says was durable.
fn spoken_for(headers: &[Segment], segments: &[Bytes], broken_at: usize, from: usize) -> RecordId {
    let mut spoken = RecordId(0);
    for (at, (segment, bytes)) in headers.iter().zip(segments).enumerate().skip(broken_at) {
        let mut offset = if at == broken_at { from } else { SEGMENT_HEADER_BYTES };
        while let Some(found) =
            bytes.get(offset..).and_then(|rest| rest.windows(4).position(|four| four == FRAME_MAGIC))
        {
            offset += found;
            match segment.frame(bytes, offset) {
                Some((len, body)) => {
                    spoken = spoken.max(body.durable);
                    offset += len;
                }
                None => offset += 1,
            }
        }
    }
    spoken
}

/// Adds what a record says to what those before it said.
fn absorb(boot: &mut Boot, record: Record) -> Result<(), RecoverError> {
    let inconsistent = RecoverError::Inconsistent { record: record.id };
    boot.record = record.id;
    if let Some(hard) = record.hard {
        boot.hard = hard;
    }
    if let Some(meta) = record.snapshot {
        boot.entries.clear();
        boot.snapshot = *meta;
    }
    if let Some(first) = record.entries.first() {
        let base = boot.snapshot.index;
        let keep = first.index.checked_sub(base + 1).and_then(|keep| usize::try_from(keep).ok());
        let keep = keep.filter(|keep| *keep <= boot.entries.len()).ok_or(inconsistent)?;
        boot.entries.truncate(keep);
        boot.entries.extend(record.entries.iter().cloned());
    }
    Ok(())
}

//! Messages as bytes: what one node writes to another.
//!
//! A message begins with the version (u8), the kind (u8), then cluster, sender, incarnation, receiver, term and session (u64
//! each), then its body; all numbers are little-endian. The transport tells where a message ends. Every message has exactly one
//! encoding: what decodes, encodes to the same bytes. Decoding never panics, takes payloads as slices of its input, and refuses
//! whatever it does not know.

use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{Reader, put_blob, put_entries, put_len, put_meta};
use crate::confchange::ConfChange;
use crate::log::EntryId;
use crate::message::{Body, Message};
use crate::snapshot::{Part, SnapshotId};
use crate::{ClusterId, Incarnation, NodeId};

/// The version that this code writes, and the only one it reads.
pub const VERSION: u8 = 2;
/// The longest message, in bytes: what is longer is refused before it is looked at. Above what the default
/// [`Config::append_bytes_max`](crate::Config::append_bytes_max) makes, with room for one entry of that size.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why bytes are not a message. The peer is at fault, or of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Longer than [`MESSAGE_BYTES_MAX`].
    TooLong,
    /// Another version.
    Version {
        /// Which.
        version: u8,
    },
    /// Cut short, too long for what it says, of an unknown kind, or with a value out of range.
    Malformed,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::TooLong => f.write_str("the message is too long"),
            WireError::Version { version } => {
                write!(f, "the message is of version {version}, this is version {VERSION}")
            }
            WireError::Malformed => f.write_str("the bytes are not a message"),
        }
    }
}

impl core::error::Error for WireError {}

const APPEND: u8 = 1;
const APPENDED: u8 = 2;
const REJECTED: u8 = 3;
const HEARTBEAT: u8 = 4;
const HEARTBEAT_ECHO: u8 = 5;
const VOTE: u8 = 6;
const VOTE_REPLY: u8 = 7;
const PRE_VOTE: u8 = 8;
const PRE_VOTE_REPLY: u8 = 9;
const SNAPSHOT: u8 = 10;
const TIMEOUT_NOW: u8 = 11;
const PROPOSE: u8 = 12;
const PROPOSE_CONF: u8 = 13;
const TRANSFER_LEADER: u8 = 14;
const READ: u8 = 15;
const READ_REPLY: u8 = 16;
const COMMITTED: u8 = 17;
const CHUNK: u8 = 64;
const WANT: u8 = 65;

fn kind(body: &Body) -> u8 {
    match body {
        Body::Append { .. } => APPEND,
        Body::Appended { .. } => APPENDED,
        Body::Rejected { .. } => REJECTED,
        Body::Heartbeat { .. } => HEARTBEAT,
        Body::HeartbeatEcho { .. } => HEARTBEAT_ECHO,
        Body::Vote { .. } => VOTE,
        Body::VoteReply { .. } => VOTE_REPLY,
        Body::PreVote { .. } => PRE_VOTE,
        Body::PreVoteReply { .. } => PRE_VOTE_REPLY,
        Body::Snapshot { .. } => SNAPSHOT,
        Body::TimeoutNow => TIMEOUT_NOW,
        Body::Propose { .. } => PROPOSE,
        Body::ProposeConf { .. } => PROPOSE_CONF,
        Body::TransferLeader { .. } => TRANSFER_LEADER,
        Body::Read { .. } => READ,
        Body::ReadReply { .. } => READ_REPLY,
        Body::Committed { .. } => COMMITTED,
    }
}

/// Appends the bytes of `message` to `out`.
pub fn encode(message: &Message, out: &mut BytesMut) {
    let Message { cluster, from, incarnation, to, term, session, body } = message;
    out.put_u8(VERSION);
    out.put_u8(kind(body));
    for number in [cluster.0, from.0, incarnation.0, to.0, *term, *session] {
        out.put_u64_le(number);
    }
    match body {
        Body::Append { prev_index, prev_term, commit, entries } => {
            for number in [prev_index, prev_term, commit] {
                out.put_u64_le(*number);
            }
            put_entries(out, entries);
        }
        Body::Appended { index } => out.put_u64_le(*index),
        Body::Rejected { index, hint_index, hint_term } => {
            for number in [index, hint_index, hint_term] {
                out.put_u64_le(*number);
            }
        }
        Body::Heartbeat { commit, round } => {
            out.put_u64_le(*commit);
            out.put_u64_le(*round);
        }
        Body::HeartbeatEcho { round } => out.put_u64_le(*round),
        Body::Vote { last_index, last_term, transfer, committed } => {
            for number in [*last_index, *last_term, committed.index, committed.term] {
                out.put_u64_le(number);
            }
            out.put_u8(u8::from(*transfer));
        }
        Body::PreVote { last_index, last_term, committed } => {
            for number in [*last_index, *last_term, committed.index, committed.term] {
                out.put_u64_le(number);
            }
        }
        Body::VoteReply { granted } | Body::PreVoteReply { granted } => out.put_u8(u8::from(*granted)),
        Body::Snapshot { meta } => put_meta(out, meta),
        Body::TimeoutNow => {}
        Body::Propose { payloads } => {
            put_len(out, payloads.len());
            for payload in payloads {
                put_blob(out, payload);
            }
        }
        Body::ProposeConf { change } => put_blob(out, &change.encode()),
        Body::TransferLeader { to } => out.put_u64_le(to.0),
        Body::Read { number } => out.put_u64_le(*number),
        Body::ReadReply { number, index } => {
            out.put_u64_le(*number);
            out.put_u8(u8::from(index.is_some()));
            out.put_u64_le(index.unwrap_or(0));
        }
        Body::Committed { index, term } => {
            out.put_u64_le(*index);
            out.put_u64_le(*term);
        }
    }
}

/// The message that `bytes` are.
///
/// # Errors
/// They are none.
pub fn decode(bytes: &Bytes) -> Result<Message, WireError> {
    let (kind, mut reader) = begin(bytes)?;
    let mut parse = || {
        let (cluster, from, incarnation) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let (to, term, session) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let body = read_body(kind, &mut reader)?;
        Some(Message {
            cluster: ClusterId(cluster),
            from: NodeId(from),
            incarnation: Incarnation(incarnation),
            to: NodeId(to),
            term,
            session,
            body,
        })
    };
    let message = parse().ok_or(WireError::Malformed)?;
    reader.end(message).ok_or(WireError::Malformed)
}

fn begin(bytes: &Bytes) -> Result<(u8, Reader), WireError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(WireError::TooLong);
    }
    let mut reader = Reader::new(bytes.clone());
    match (reader.u8(), reader.u8()) {
        (Some(VERSION), Some(kind)) => Ok((kind, reader)),
        (Some(version), _) if version != VERSION => Err(WireError::Version { version }),
        _ => Err(WireError::Malformed),
    }
}

fn read_body(kind: u8, reader: &mut Reader) -> Option<Body> {
    Some(match kind {
        APPEND => {
            let (prev_index, prev_term, commit) = (reader.u64()?, reader.u64()?, reader.u64()?);
            let entries = reader.entries(prev_index.checked_add(1)?)?;
            Body::Append { prev_index, prev_term, commit, entries }
        }
        APPENDED => Body::Appended { index: reader.u64()? },
        REJECTED => Body::Rejected { index: reader.u64()?, hint_index: reader.u64()?, hint_term: reader.u64()? },
        HEARTBEAT => Body::Heartbeat { commit: reader.u64()?, round: reader.u64()? },
        HEARTBEAT_ECHO => Body::HeartbeatEcho { round: reader.u64()? },
        VOTE => {
            let (last_index, last_term, index, term) = (reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?);
            Body::Vote { last_index, last_term, transfer: reader.flag()?, committed: EntryId { term, index } }
        }
        VOTE_REPLY => Body::VoteReply { granted: reader.flag()? },
        PRE_VOTE => {
            let (last_index, last_term, index, term) = (reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?);
            Body::PreVote { last_index, last_term, committed: EntryId { term, index } }
        }
        PRE_VOTE_REPLY => Body::PreVoteReply { granted: reader.flag()? },
        SNAPSHOT => Body::Snapshot { meta: Box::new(reader.meta()?) },
        TIMEOUT_NOW => Body::TimeoutNow,
        PROPOSE => {
            let count = reader.count(4)?;
            Body::Propose { payloads: (0..count).map(|_| reader.blob()).collect::<Option<_>>()? }
        }
        PROPOSE_CONF => {
            let bytes = reader.blob()?;
            let change = ConfChange::decode(&bytes)?;
            if change.encode() != bytes {
                return None;
            }
            Body::ProposeConf { change: Box::new(change) }
        }
        TRANSFER_LEADER => Body::TransferLeader { to: NodeId(reader.u64()?) },
        READ => Body::Read { number: reader.u64()? },
        READ_REPLY => {
            let (number, known, index) = (reader.u64()?, reader.flag()?, reader.u64()?);
            if !known && index != 0 {
                return None;
            }
            Body::ReadReply { number, index: known.then_some(index) }
        }
        COMMITTED => Body::Committed { index: reader.u64()?, term: reader.u64()? },
        _ => return None,
    })
}

/// Appends the bytes of a part of a snapshot to `out`: the same version byte, kinds of its own, no sender (the link knows it).
pub fn encode_part(part: &Part, out: &mut BytesMut) {
    out.put_u8(VERSION);
    let (kind, id, offset) = match part {
        Part::Chunk { id, offset, .. } => (CHUNK, id, offset),
        Part::Want { id, offset } => (WANT, id, offset),
    };
    out.put_u8(kind);
    for number in [id.index, id.term, id.bytes, *offset] {
        out.put_u64_le(number);
    }
    out.put_u32_le(id.checksum);
    if let Part::Chunk { checksum, bytes, .. } = part {
        out.put_u32_le(*checksum);
        put_blob(out, bytes);
    }
}

/// The part of a snapshot that `bytes` are.
///
/// # Errors
/// They are none.
pub fn decode_part(bytes: &Bytes) -> Result<Part, WireError> {
    let (kind, mut reader) = begin(bytes)?;
    let mut parse = || {
        let (index, term, size, offset) = (reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?);
        let id = SnapshotId { index, term, bytes: size, checksum: reader.u32()? };
        match kind {
            CHUNK => Some(Part::Chunk { id, offset, checksum: reader.u32()?, bytes: reader.blob()? }),
            WANT => Some(Part::Want { id, offset }),
            _ => None,
        }
    };
    let part = parse().ok_or(WireError::Malformed)?;
    reader.end(part).ok_or(WireError::Malformed)
}

//! What must be durable, as values and as bytes.

use crate::entry::Entries;
use crate::message::SnapshotMeta;
use crate::{Index, NodeId, RecordId, Term};

/// What a node must never forget beside its log: with each change written before anything that rests on it leaves.
///
/// The commit index belongs here although the paper lets it be forgotten: with membership that takes effect when it is
/// applied, a node that forgot it could campaign under a configuration too old to overlap the present one (study id M2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The highest term that this node has seen.
    pub term: Term,
    /// Whom it voted for in that term (study id E6).
    pub vote: Option<NodeId>,
    /// The highest index that it knows to be committed.
    pub commit: Index,
}

/// One atomic unit of the log: all of it is durable, or none (study ids E6, M2, R8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Its number. Records must become durable in the order of their numbers.
    pub id: RecordId,
    /// Whether anything waits for it. If not, it may reach the disk together with a later one, and
    /// [`Input::Persisted`](crate::Input::Persisted) may come then.
    pub sync: bool,
    /// The new term, vote and commit index, if one of them changed.
    pub hard: Option<HardState>,
    /// A snapshot that takes the place of the whole log and of the application's state. The driver holds its bytes already:
    /// they came before the message. When the record is reported as durable, the application's state must be the snapshot's.
    pub snapshot: Option<Box<SnapshotMeta>>,
    /// New entries. They replace every entry at or after the first of them.
    pub entries: Entries,
}

//! A picture of a machine, for operators, tests and transcripts.

use crate::confchange::Conf;
use crate::progress::ProgressMap;
use crate::raft::{Fatal, Role};
use crate::{Incarnation, Index, NodeId, Term};

/// Everything about a machine that an operator may want to see. [`Raft::status`](crate::Raft::status) takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// This life of its disk.
    pub incarnation: Incarnation,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in this term.
    pub vote: Option<NodeId>,
    /// Its part.
    pub role: Role,
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// The node that leadership is being handed to.
    pub transferring_to: Option<NodeId>,
    /// The first index in the log.
    pub first_index: Index,
    /// The last index.
    pub last_index: Index,
    /// The term of the last entry.
    pub last_term: Term,
    /// The index up to which entries are durable here.
    pub stable: Index,
    /// The index up to which entries are committed.
    pub commit: Index,
    /// The index up to which entries were handed to the application.
    pub applying: Index,
    /// The index up to which the application has applied.
    pub applied: Index,
    /// The index of the newest snapshot, 0 if none.
    pub snapshot: Index,
    /// The configuration in force.
    pub conf: Conf,
    /// Whether no membership change is in this leader's log that is not applied.
    pub conf_settled: bool,
    /// On a leader, what it knows of every member; else empty.
    pub progress: ProgressMap,
    /// On a leader, the payload bytes that are not applied.
    pub uncommitted_bytes: u64,
    /// The sizes of the entries in the log, in bytes.
    pub log_bytes: u64,
    /// Proposals whose fate is open.
    pub proposals_pending: usize,
    /// Reads that wait.
    pub reads_pending: usize,
    /// Records on their way to the disk.
    pub records_pending: usize,
    /// Messages that wait for a record.
    pub messages_held: usize,
    /// Why the machine has stopped, if it has.
    pub fatal: Option<Fatal>,
}

//! What one node says to another.
//!
//! A message is a value: the driver carries it, the [`wire`](crate::wire) codec turns it into bytes. It may be lost,
//! doubled, delayed and reordered; it must not be altered.

use crate::confchange::{Conf, ConfChange};
use crate::entry::Entries;
use crate::log::EntryId;
use crate::{ClusterId, Incarnation, Index, NodeId, Term};
use bytes::Bytes;

/// A message between two nodes of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The cluster of the sender. A message of another cluster is ignored.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// The life of the sender's disk.
    pub incarnation: Incarnation,
    /// The receiver.
    pub to: NodeId,
    /// The sender's term; for a pre-vote and its grant the term that is asked for; 0 for what does not belong to a term
    /// ([`Body::Propose`], [`Body::ProposeConf`], [`Body::TransferLeader`], [`Body::Read`], [`Body::Committed`]).
    pub term: Term,
    /// From a leader, the receiver's stay in the group as the leader knows it, echoed in answers (study id R4); in a question for
    /// votes the candidate's own stay as it knows it; 0 where it has no meaning.
    pub session: Index,
    /// What is said.
    pub body: Body,
}

/// What a message says. In brackets: the name in etcd.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Leader: these entries follow yours at `prev_index` (MsgApp). Empty ones spread the commit index or probe.
    Append {
        /// The index before the entries.
        prev_index: Index,
        /// The term of the entry at `prev_index`.
        prev_term: Term,
        /// The leader's commit index.
        commit: Index,
        /// The entries, possibly none.
        entries: Entries,
    },
    /// Follower: my log is durable and equals yours up to `index` (MsgAppResp). With index 0 it only tells a term.
    Appended {
        /// The last index that matches.
        index: Index,
    },
    /// Follower: I have no such `prev_index` and `prev_term` (MsgAppResp, rejected).
    Rejected {
        /// The `prev_index` that was refused.
        index: Index,
        /// Where the logs may match: the highest index at or below `index` whose term is not above the asked one.
        hint_index: Index,
        /// The follower's term at `hint_index`, 0 if not known.
        hint_term: Term,
    },
    /// Leader: I am here (MsgHeartbeat).
    Heartbeat {
        /// The commit index, but no more than is known to match the receiver.
        commit: Index,
        /// The number of this round of heartbeats within the leader's term, from 1. Reads and leases rest on its echo.
        round: u64,
    },
    /// Follower: I heard round `round` (MsgHeartbeatResp).
    HeartbeatEcho {
        /// The round of the heartbeat.
        round: u64,
    },
    /// Candidate: elect me (MsgVote).
    Vote {
        /// The candidate's last index.
        last_index: Index,
        /// The term of its last entry.
        last_term: Term,
        /// Whether the old leader asked for this election, so that leases do not stand against it.
        transfer: bool,
        /// What the candidate knows to be committed: whoever refuses because its own log is longer may not know yet that a change
        /// in it is committed, and that it is itself the one that must lead (raft-rs: commit by vote).
        committed: EntryId,
    },
    /// The answer (MsgVoteResp).
    VoteReply {
        /// Whether the vote is given.
        granted: bool,
    },
    /// Would you elect me in this term? (MsgPreVote)
    PreVote {
        /// The candidate's last index.
        last_index: Index,
        /// The term of its last entry.
        last_term: Term,
        /// What the candidate knows to be committed, as in [`Body::Vote`].
        committed: EntryId,
    },
    /// The answer (MsgPreVoteResp).
    PreVoteReply {
        /// Whether the vote would be given.
        granted: bool,
    },
    /// Leader: all of this snapshot has reached you (MsgSnap). The driver carries the snapshot's bytes first (see
    /// [`snapshot`](crate::snapshot)) and hands this message to the machine when it has them all.
    Snapshot {
        /// What the snapshot stands for.
        meta: Box<SnapshotMeta>,
    },
    /// Leader: start an election now (MsgTimeoutNow).
    TimeoutNow,
    /// Follower to leader: propose these (MsgProp).
    Propose {
        /// The payloads.
        payloads: Vec<Bytes>,
    },
    /// Follower to leader: propose this membership change (MsgProp).
    ProposeConf {
        /// The change.
        change: Box<ConfChange>,
    },
    /// Follower to leader: hand leadership to `to` (MsgTransferLeader).
    TransferLeader {
        /// The node that shall lead.
        to: NodeId,
    },
    /// Follower to leader: which index must I have applied to read now? (MsgReadIndex)
    Read {
        /// The asker's own number for the question.
        number: u64,
    },
    /// Leader: this one (MsgReadIndexResp).
    ReadReply {
        /// The number of the question.
        number: u64,
        /// The index, or `None` if the leader cannot tell.
        index: Option<Index>,
    },
    /// Anybody: this entry is committed. A node that was removed or demoted tells it to one whose election it refuses: that one
    /// may need its vote only because it does not know yet that the change is committed, and nobody else may be left to say so
    /// (raft-rs: commit by vote).
    Committed {
        /// The index of an entry that is committed.
        index: Index,
        /// The entry's term.
        term: Term,
    },
}

impl Body {
    /// The name in etcd, for logs and transcripts.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Body::Append { .. } => "MsgApp",
            Body::Appended { .. } | Body::Rejected { .. } => "MsgAppResp",
            Body::Heartbeat { .. } => "MsgHeartbeat",
            Body::HeartbeatEcho { .. } => "MsgHeartbeatResp",
            Body::Vote { .. } => "MsgVote",
            Body::VoteReply { .. } => "MsgVoteResp",
            Body::PreVote { .. } => "MsgPreVote",
            Body::PreVoteReply { .. } => "MsgPreVoteResp",
            Body::Snapshot { .. } => "MsgSnap",
            Body::TimeoutNow => "MsgTimeoutNow",
            Body::Propose { .. } | Body::ProposeConf { .. } => "MsgProp",
            Body::TransferLeader { .. } => "MsgTransferLeader",
            Body::Read { .. } => "MsgReadIndex",
            Body::ReadReply { .. } => "MsgReadIndexResp",
            Body::Committed { .. } => "MsgCommitted",
        }
    }

    /// Whether this answers a message, so that it means nothing from a node that is not a member.
    #[must_use]
    #[inline]
    pub fn is_answer(&self) -> bool {
        match self {
            Body::Appended { .. }
            | Body::Rejected { .. }
            | Body::HeartbeatEcho { .. }
            | Body::VoteReply { .. }
            | Body::PreVoteReply { .. }
            | Body::ReadReply { .. } => true,
            Body::Append { .. }
            | Body::Heartbeat { .. }
            | Body::Vote { .. }
            | Body::PreVote { .. }
            | Body::Snapshot { .. }
            | Body::TimeoutNow
            | Body::Propose { .. }
            | Body::ProposeConf { .. }
            | Body::TransferLeader { .. }
            | Body::Read { .. }
            | Body::Committed { .. } => false,
        }
    }

    /// Whether this promises something that must be durable first: a vote, or entries held (etcd `raft.send`). A request for
    /// votes promises the candidate's own vote, and the log that it boasts of (study id E6): were it forgotten in a crash,
    /// grants for it would count for a second candidacy in the same term.
    #[inline]
    pub(crate) fn is_promise(&self) -> bool {
        match self {
            Body::Vote { .. } => !mutant!(AsksBeforeDurable),
            Body::VoteReply { .. } => !mutant!(VotesBeforeDurable),
            Body::Appended { .. } => !mutant!(AcksBeforeDurable),
            Body::Rejected { .. } | Body::PreVoteReply { .. } => true,
            _ => false,
        }
    }

    /// Whether this belongs to no term.
    #[inline]
    pub(crate) fn is_termless(&self) -> bool {
        matches!(
            self,
            Body::Propose { .. }
                | Body::ProposeConf { .. }
                | Body::TransferLeader { .. }
                | Body::Read { .. }
                | Body::Committed { .. }
        )
    }
}

/// What a snapshot stands for: all entries up to `index`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// The last entry that the snapshot holds.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// The configuration as of that entry (study id M5), never a later one.
    pub conf: Conf,
}

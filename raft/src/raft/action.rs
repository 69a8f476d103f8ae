//! What a node asks its driver to do.

use core::fmt;

use crate::confchange::{Conf, ConfError};
use crate::entry::Entries;
use crate::message::Message;
use crate::record::Record;
use crate::{Index, NodeId, ReadToken, Term, Ticket};

/// What the driver must do, in this order. [`Raft::handle`](super::Raft::handle) appends actions and never reads them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Who leads, or this node's part, has changed.
    Role(RoleChange),
    /// Send to a peer, best effort. Nothing that needs a write is here before that write is done: send at once.
    Send(Message),
    /// Make a record durable, after all earlier ones, as one atomic unit; then give
    /// [`Input::Persisted`](super::Input::Persisted).
    Persist(Record),
    /// Bring the newest snapshot, which `message` names, to `to` (see [`snapshot`](crate::snapshot)), then hand `message` to it, and
    /// give [`Input::SnapshotSent`](super::Input::SnapshotSent). The newest is the last that
    /// [`Input::SnapshotTaken`](super::Input::SnapshotTaken) or a record brought; on a founder before that, the state without any
    /// entry.
    SendSnapshot {
        /// The peer.
        to: NodeId,
        /// A [`Body::Snapshot`](crate::Body::Snapshot) that the peer's machine takes once it has the bytes.
        message: Message,
    },
    /// Apply these committed entries, in order; then give [`Input::Applied`](super::Input::Applied).
    Apply(Entries),
    /// A configuration took effect. The application keeps it for its next snapshot.
    Configured {
        /// The index of the change, or of the snapshot that brought the configuration.
        index: Index,
        /// The configuration.
        conf: Box<Conf>,
        /// Why the change at `index` was ignored, if it was: then `conf` is the old one.
        refused: Option<ConfError>,
    },
    /// A proposal is in this leader's log, not yet committed.
    Accepted {
        /// The caller's name for it.
        ticket: Ticket,
        /// Its term.
        term: Term,
        /// Its first entry.
        first: Index,
        /// Its last entry.
        last: Index,
    },
    /// A proposal is committed: its entries were in an [`Action::Apply`] just before.
    Committed {
        /// The caller's name for it.
        ticket: Ticket,
        /// Its term.
        term: Term,
        /// Its first entry.
        first: Index,
        /// Its last entry.
        last: Index,
    },
    /// A proposal will not be told of any more, and why.
    Dropped {
        /// The caller's name for it.
        ticket: Ticket,
        /// Why, and so whether it may have taken effect.
        reason: DropReason,
    },
    /// A read may be served once `index` is applied.
    ReadReady {
        /// The caller's name for it.
        token: ReadToken,
        /// The index.
        index: Index,
    },
    /// A read cannot be served; ask again, perhaps elsewhere.
    ReadFailed {
        /// The caller's name for it.
        token: ReadToken,
        /// The leader, if known.
        leader: Option<NodeId>,
    },
    /// Take a snapshot, and give [`Input::SnapshotTaken`](super::Input::SnapshotTaken): the log has outgrown
    /// [`Config::log_bytes_max`](crate::Config::log_bytes_max), or a node that joins needs one from after it was added. The node
    /// does not catch up before. Told once for each snapshot.
    SnapshotWanted {
        /// The newest index that it can be taken at: what is applied.
        index: Index,
    },
    /// Entries up to `upto` are no longer in the log: their segments may be deleted.
    Compacted {
        /// The last entry that is gone.
        upto: Index,
    },
    /// The machine has stopped for good. No further action follows, on any input.
    Fatal(Fatal),
}

/// This node's part, and who leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RoleChange {
    /// The term.
    pub term: Term,
    /// This node's part.
    pub role: Role,
    /// The leader, if known.
    pub leader: Option<NodeId>,
}

/// The part that a node plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// It follows a leader, or waits for one. Learners too.
    #[default]
    Follower,
    /// It asks whether it would be elected.
    PreCandidate,
    /// It asks to be elected.
    Candidate,
    /// It leads.
    Leader,
}

/// Why a proposal was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// This node does not lead; nothing was appended.
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// It was passed to the leader; its fate is not known here.
    Forwarded {
        /// The leader.
        leader: NodeId,
    },
    /// Leadership is on its way to another node; nothing was appended.
    Transferring {
        /// The node that shall lead.
        to: NodeId,
    },
    /// A limit on what is not yet committed is reached; nothing was appended.
    Overloaded,
    /// This leader is no longer a member; nothing was appended.
    Removed,
    /// The proposal has no payload, or a membership change is too large; nothing was appended.
    Malformed,
    /// A membership change is refused; nothing but an empty entry was appended.
    Conf(ConfRefusal),
    /// Another leader's entries are committed in its place: it has not taken effect and will not.
    Overwritten,
    /// A snapshot took the place of the log, or too many others were cut since: it may or may not have taken effect. Or, of several
    /// entries proposed at once, only the first ones have.
    Unknown,
    /// The machine has stopped: it may or may not take effect.
    Stopped,
}

/// Why a leader refuses a membership change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfRefusal {
    /// A change before it may not be applied yet (study id M1).
    Pending {
        /// The index up to which entries must be applied first.
        until: Index,
    },
    /// The joint configuration must be left first.
    MustLeaveJoint,
    /// There is no joint configuration to leave.
    NotJoint,
}

/// An input that had no effect, and why. Told by [`Raft::step`](super::Raft::step) for counters and transcripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// The machine has stopped.
    Stopped,
    /// The message is for another node.
    NotForMe,
    /// The message is of another cluster.
    OtherCluster,
    /// The sender claims an incarnation other than the one that is known to hold entries (study id R5).
    OtherIncarnation,
    /// An answer from a node that is not a member.
    UnknownPeer,
    /// An answer from an earlier stay of the sender in the group (study id R4).
    OtherSession,
    /// A vote was asked while a leader is heard.
    LeaderAlive,
    /// The term is over.
    StaleTerm,
    /// The message contradicts itself or what is known; it would break a rule of Raft.
    Malformed,
    /// The proposal was dropped; an [`Action::Dropped`] says so too.
    Proposal(DropReason),
    /// It has no meaning in the node's present role.
    NotNow,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ignored::Stopped => "the machine has stopped",
            Ignored::NotForMe => "the message is for another node",
            Ignored::OtherCluster => "the message is of another cluster",
            Ignored::OtherIncarnation => "the sender has lost its disk",
            Ignored::UnknownPeer => "raft: cannot step as peer not found",
            Ignored::OtherSession => "the answer is from an earlier stay of the sender in the group",
            Ignored::LeaderAlive => "a leader is heard",
            Ignored::StaleTerm => "the term is over",
            Ignored::Malformed => "the message contradicts itself",
            Ignored::Proposal(_) => "raft proposal dropped",
            Ignored::NotNow => "it has no meaning in this role",
        })
    }
}

/// Why a machine stopped. The node's operator must act; the process need not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fatal {
    /// A write failed (study id D3).
    WriteFailed,
    /// A leader's commit index lies beyond this node's log: the log has lost entries that this node had acknowledged
    /// (etcd: "tocommit out of range"). The node must be removed and join afresh.
    LogLost {
        /// The commit index that was told.
        commit: Index,
        /// This node's last index.
        last: Index,
    },
    /// An entry or snapshot contradicts a committed one: two histories exist.
    Diverged {
        /// Where.
        index: Index,
    },
    /// A committed membership change cannot be read, so this node does not know who its group is.
    UnreadableConf {
        /// Where.
        index: Index,
    },
    /// The driver broke the order of its reports: it is a bug in the driver.
    Driver {
        /// The index or record that was reported out of order.
        reported: u64,
    },
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fatal::WriteFailed => f.write_str("a write to the log failed"),
            Fatal::LogLost { commit, last } => {
                write!(f, "entries are committed up to {commit}, the log ends at {last}")
            }
            Fatal::Diverged { index } => write!(f, "the log contradicts a committed entry at {index}"),
            Fatal::UnreadableConf { index } => write!(f, "the membership change at {index} cannot be read"),
            Fatal::Driver { reported } => write!(f, "the driver reported {reported} out of order"),
        }
    }
}

impl core::error::Error for Fatal {}

//! What happens to a node.

use bytes::Bytes;

use crate::confchange::ConfChange;
use crate::message::{Message, SnapshotMeta};
use crate::{Index, NodeId, ReadToken, RecordId, Ticket};

/// Something that happened, for [`Raft::handle`](super::Raft::handle).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A message came from a peer. For a [`Body::Snapshot`](crate::Body::Snapshot): only once all of the snapshot's bytes are
    /// here and safe.
    Receive(Message),
    /// [`Raft::deadline`](super::Raft::deadline) has come. Harmless at any other time.
    Timeout,
    /// Propose one entry. Its fate is told under `ticket`.
    Propose {
        /// The caller's name for the proposal.
        ticket: Ticket,
        /// The application's bytes.
        payload: Bytes,
    },
    /// Propose several entries at once: they are appended together, or none is. No payloads at all is dropped.
    ProposeMany {
        /// The caller's name for the whole of them.
        ticket: Ticket,
        /// The application's bytes, one element for each entry.
        payloads: Vec<Bytes>,
    },
    /// Propose a membership change.
    ProposeConf {
        /// The caller's name for the proposal.
        ticket: Ticket,
        /// The change.
        change: ConfChange,
    },
    /// Ask for the index that the application must have applied for a read that begins now to be linearizable.
    Read {
        /// The caller's name for the read.
        token: ReadToken,
    },
    /// A record, and so each record before it, is durable.
    Persisted {
        /// The newest durable record.
        record: RecordId,
    },
    /// A write failed. Ends the group on this node: what a failed write leaves on disk is not known (study id D3).
    PersistFailed {
        /// The record that failed.
        record: RecordId,
    },
    /// The application is about to apply the membership change at `index`, and the new configuration shall hold from now on.
    /// Optional: [`Input::Applied`] does the same for every change up to its index.
    Activate {
        /// The index of the change, which must have been handed out in an [`Action::Apply`](super::Action::Apply).
        index: Index,
    },
    /// The application has applied every entry up to `index`, in order.
    Applied {
        /// The last applied entry.
        index: Index,
    },
    /// The application has a durable snapshot of its state. The log behind it may go, but for
    /// [`Config::log_tail_entries`](crate::Config::log_tail_entries).
    SnapshotTaken {
        /// What it stands for, from [`Raft::snapshot_meta`](super::Raft::snapshot_meta). Any other is ignored.
        meta: Box<SnapshotMeta>,
    },
    /// Forget entries up to `upto`, as far as the newest snapshot holds them.
    Compact {
        /// The last entry to forget.
        upto: Index,
    },
    /// What became of an [`Action::SendSnapshot`](super::Action::SendSnapshot).
    SnapshotSent {
        /// The peer.
        to: NodeId,
        /// Whether the peer has all of it.
        delivered: bool,
    },
    /// Messages to a peer were probably lost, as when its connection broke.
    Unreachable {
        /// The peer.
        peer: NodeId,
    },
    /// Ask for an election now.
    Campaign,
    /// Hand leadership to `to`.
    TransferLeader {
        /// The node that shall lead.
        to: NodeId,
    },
    /// Forget who leads, without asking for an election: what a node does that knows the leader is gone, so that it grants
    /// its vote at once (study id E5). Ignored on a leader, and with lease reads.
    ForgetLeader,
}

//! What a node knows when it starts.

use core::fmt;

use bytes::Bytes;

use crate::confchange::{Conf, ConfError};
use crate::config::ConfigError;
use crate::entry::{Entry, EntryKind};
use crate::message::SnapshotMeta;
use crate::record::HardState;
use crate::{Index, NodeId, RecordId};

/// What a node knows when it starts: nothing, what founds a group, or what recovery found on its disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// The newest term, vote and commit index.
    pub hard: HardState,
    /// The newest snapshot; index 0 if there is none.
    pub snapshot: SnapshotMeta,
    /// The entries after it (or, where the log keeps a tail, from anywhere before `snapshot.index + 1` on), without a gap.
    pub entries: Vec<Entry>,
    /// The index up to which the application's state already stands; 0 means that it stands at the snapshot. Entries after it
    /// are handed out again.
    pub applied: Index,
    /// The newest record on the disk: the next one has the number after it.
    pub record: RecordId,
}

impl Boot {
    /// A node that knows nothing: it waits until a leader speaks to it. For a node that joins a group, and for in-memory nodes
    /// at every start.
    #[must_use]
    pub fn empty() -> Boot {
        Boot::default()
    }

    /// A founder of a new group: every founder starts with the same voters, as if from a snapshot of an empty state at index 1
    /// and term 1. A node that joins later gets at least that snapshot, and with it the voters.
    #[must_use]
    pub fn found(voters: impl IntoIterator<Item = NodeId>) -> Boot {
        let snapshot = SnapshotMeta { index: 1, term: 1, conf: Conf::of_voters(voters) };
        Boot { hard: HardState { term: 1, vote: None, commit: 1 }, snapshot, applied: 1, ..Boot::default() }
    }
}

impl Boot {
    /// What recovery found, with `voters` in place of the group's members: for a group that has lost its quorum for good.
    ///
    /// **Loses data and safety.** Entries that only the lost nodes held are gone although they were acknowledged, and should the
    /// lost nodes come back, there are two groups. For an operator's offline tool only: all nodes stopped, the one with the newest
    /// log chosen, a new [`ClusterId`](crate::ClusterId) given to the new group so that the old nodes are not listened to, and
    /// every other node wiped and joined afresh (study id M8).
    #[must_use]
    pub fn force_voters(mut self, voters: impl IntoIterator<Item = NodeId>) -> Boot {
        self.snapshot.conf = Conf::of_voters(voters);
        for entry in self.entries.iter_mut().filter(|entry| entry.kind == EntryKind::Conf) {
            (entry.kind, entry.payload) = (EntryKind::Normal, Bytes::new());
        }
        self.hard.term += 1;
        self.hard.vote = None;
        self
    }
}

/// Why a machine cannot start. The operator's to mend, or the disk's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootError {
    /// A setting does not fit.
    Config(ConfigError),
    /// The configuration in the snapshot contradicts itself.
    Conf(ConfError),
    /// A configuration without a snapshot: a node that joins would never learn it.
    ConfWithoutSnapshot,
    /// The entries have a gap, or terms that fall.
    Entries {
        /// Where.
        index: Index,
    },
    /// The commit index lies beyond the log: the log has lost entries.
    Commit {
        /// The commit index.
        commit: Index,
        /// The last index.
        last: Index,
    },
    /// `applied` lies beyond the log, or before the first entry.
    Applied {
        /// The index.
        applied: Index,
    },
    /// A membership change that was applied cannot be read.
    UnreadableConf {
        /// Where.
        index: Index,
    },
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootError::Config(error) => error.fmt(f),
            BootError::Conf(error) => error.fmt(f),
            BootError::ConfWithoutSnapshot => f.write_str("a configuration needs a snapshot"),
            BootError::Entries { index } => write!(f, "the entry at {index} does not follow the one before it"),
            BootError::Commit { commit, last } => {
                write!(f, "entries are committed up to {commit}, the log ends at {last}")
            }
            BootError::Applied { applied } => write!(f, "{applied} is applied, and is not in the log"),
            BootError::UnreadableConf { index } => write!(f, "the membership change at {index} cannot be read"),
        }
    }
}

impl core::error::Error for BootError {}

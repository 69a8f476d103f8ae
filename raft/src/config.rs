//! What a node is told once, at its start. Every limit is a named field with its unit.

use core::fmt;
use core::time::Duration;

use crate::progress::InflightLimits;
use crate::{ClusterId, Incarnation, NodeId};

/// How a leader makes sure that a read is not stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReadMode {
    /// It asks a quorum, with one round of heartbeats for all reads that wait (Raft thesis section 6.4). Rests on no clock.
    #[default]
    Quorum,
    /// It trusts the quorum's last answers for an election timeout. Rests on every node's clock; needs
    /// [`Config::check_quorum`]. Off by default.
    Lease {
        /// The most that two clocks of the group may drift apart, in parts per million. The lease is shorter by twice this.
        drift_ppm_max: u32,
    },
}

/// A node's settings. [`Config::new`] gives the defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// This node. Not 0.
    pub id: NodeId,
    /// The cluster that this node belongs to; 0 takes messages of every cluster.
    pub cluster: ClusterId,
    /// This life of the node's disk; 0 is "not told". Whoever adds the node to a group tells it in the change
    /// ([`Change::named`](crate::Change::named)), so the node is started, and asked for it, first.
    pub incarnation: Incarnation,
    /// The seed of the only chance in the machine: election timeouts, and where the numbers of its reads begin. Different on every
    /// node, and at every start of one (study id L2).
    pub seed: u64,
    /// The shortest silence after which a follower asks for an election; each waits longer, by chance. Also how long a leader
    /// may go without a quorum, and how long a transfer of leadership or a forwarded read may take.
    pub election_timeout: Duration,
    /// The longest such silence; `None` for twice the shortest. Not below it.
    pub election_timeout_max: Option<Duration>,
    /// How often a leader speaks to silent peers. Shorter than `election_timeout`.
    pub heartbeat_interval: Duration,
    /// Whether a node asks before it raises its term (thesis section 9.6), so that one that was cut off disturbs no one.
    pub pre_vote: bool,
    /// Whether a leader that hears no quorum steps down, and a follower that hears a leader grants no vote (section 6.2).
    pub check_quorum: bool,
    /// Whether a leader that is removed or demoted steps down when it applies that change.
    pub step_down_on_removal: bool,
    /// How reads are made safe.
    pub reads: ReadMode,
    /// Whether a follower passes proposals and leadership transfers to the leader. Off: they are dropped with the leader's
    /// name, and the caller decides. The fate of a passed proposal is not known here.
    pub forward_proposals: bool,
    /// Whether committed entries are handed to the application before this node has them on disk. A quorum has. Only for a
    /// state machine that is rebuilt from snapshot and log at each start, else it can be ahead of its log after a crash.
    pub apply_before_persisted: bool,
    /// Whether nothing is kept on disk: every write counts as done, and only a snapshot that replaces the application's state is
    /// an [`Action::Persist`](crate::Action::Persist). Such a node must never come back as itself: each start is a new
    /// [`Incarnation`] with [`Boot::empty`](crate::Boot::empty) that joins as a learner, after its old self is removed; and a
    /// group all of whose nodes restart at once has lost its state.
    pub in_memory: bool,
    /// Whether the application applies entries before it gives the next input, so that they count as applied when they are
    /// handed out and [`Input::Applied`](crate::Input::Applied) need not be given.
    pub apply_at_once: bool,
    /// Whether a leader skips the check that a membership change fits the configuration (etcd
    /// `DisableConfChangeValidation`). A change that does not fit when it is applied is then ignored by every node.
    pub skip_conf_validation: bool,
    /// Bytes of entries in one append, at least one entry always. [`Entry::size_bytes`](crate::Entry::size_bytes) counts.
    pub append_bytes_max: u64,
    /// Appends on the way to one peer, unanswered.
    pub inflight_messages_max: usize,
    /// Payload bytes on the way to one peer, unanswered. At least `append_bytes_max`.
    pub inflight_bytes_max: u64,
    /// Payload bytes of a leader's entries that are not applied; above it proposals are dropped as
    /// [`DropReason::Overloaded`](crate::DropReason::Overloaded). An empty log takes any one proposal.
    pub uncommitted_bytes_max: u64,
    /// Proposals in a leader's log that are not committed; above it proposals are dropped as overloaded. As many again may have been
    /// cut from the log while their fate is open; above that the oldest are told [`DropReason::Unknown`](crate::DropReason::Unknown).
    pub proposals_max: usize,
    /// Bytes of entries handed out to be applied and not yet reported as applied. At least one entry always.
    pub applying_bytes_max: u64,
    /// Reads that wait; above it reads fail.
    pub reads_max: usize,
    /// Promises to peers that wait for the disk. Above it they are dropped, as if lost on the way: the peers ask again.
    pub held_messages_max: usize,
    /// Bytes of entries in the log above which the application is asked for a snapshot
    /// ([`Action::SnapshotWanted`](crate::Action::SnapshotWanted)), and above which no tail stays behind one.
    /// [`Entry::size_bytes`](crate::Entry::size_bytes) counts.
    pub log_bytes_max: u64,
    /// Entries that stay in the log behind a snapshot, so that a peer that is a little behind needs none.
    /// [`u64::MAX`] keeps all until [`Input::Compact`](crate::Input::Compact).
    pub log_tail_entries: u64,
}

impl Config {
    /// The defaults for node `id`: pre-vote, quorum check and step-down on; lease reads and forwarding off; one second
    /// of election timeout.
    #[must_use]
    pub fn new(id: NodeId) -> Config {
        Config {
            id,
            cluster: ClusterId(0),
            incarnation: Incarnation(0),
            seed: id.0,
            election_timeout: Duration::from_millis(1000),
            election_timeout_max: None,
            heartbeat_interval: Duration::from_millis(100),
            pre_vote: true,
            check_quorum: true,
            step_down_on_removal: true,
            reads: ReadMode::Quorum,
            forward_proposals: false,
            apply_before_persisted: false,
            in_memory: false,
            apply_at_once: false,
            skip_conf_validation: false,
            append_bytes_max: 1024 * 1024,
            inflight_messages_max: 256,
            inflight_bytes_max: 16 * 1024 * 1024,
            uncommitted_bytes_max: 64 * 1024 * 1024,
            proposals_max: 65_536,
            applying_bytes_max: 16 * 1024 * 1024,
            reads_max: 65_536,
            held_messages_max: 65_536,
            log_bytes_max: 64 * 1024 * 1024,
            log_tail_entries: 4096,
        }
    }

    /// Whether the settings agree with each other.
    ///
    /// # Errors
    /// The first setting that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let lease = matches!(self.reads, ReadMode::Lease { .. });
        if self.id == NodeId(0) {
            Err(ConfigError::NoId)
        } else if self.heartbeat_interval.is_zero()
            || self.election_timeout <= self.heartbeat_interval
            || self.election_timeout_max.is_some_and(|max| max < self.election_timeout)
        {
            Err(ConfigError::Timeouts)
        } else if self.inflight_messages_max == 0 || self.inflight_bytes_max < self.append_bytes_max {
            Err(ConfigError::Inflight)
        } else if lease && !self.check_quorum {
            Err(ConfigError::LeaseWithoutCheckQuorum)
        } else {
            Ok(())
        }
    }

    pub(crate) fn inflight_limits(&self) -> InflightLimits {
        InflightLimits { messages: self.inflight_messages_max, bytes: self.inflight_bytes_max }
    }

    /// How much longer than `election_timeout` a follower may wait.
    pub(crate) fn election_spread(&self) -> Duration {
        self.election_timeout_max.map_or(self.election_timeout, |max| max.saturating_sub(self.election_timeout))
    }

    pub(crate) fn lease_reads(&self) -> bool {
        matches!(self.reads, ReadMode::Lease { .. })
    }
}

/// A setting that does not fit. The operator's to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// `id` is 0.
    NoId,
    /// `heartbeat_interval` is zero or not below `election_timeout`, or `election_timeout_max` is below it.
    Timeouts,
    /// `inflight_messages_max` is 0, or `inflight_bytes_max` is below `append_bytes_max`.
    Inflight,
    /// Lease reads need `check_quorum`, since otherwise followers grant votes while the lease runs.
    LeaseWithoutCheckQuorum,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConfigError::NoId => "id: must not be 0",
            ConfigError::Timeouts => {
                "heartbeat_interval: must be above zero and below election_timeout; election_timeout_max: not below it"
            }
            ConfigError::Inflight => {
                "inflight_messages_max must not be 0, inflight_bytes_max not below append_bytes_max"
            }
            ConfigError::LeaseWithoutCheckQuorum => "reads: a lease needs check_quorum",
        })
    }
}

impl core::error::Error for ConfigError {}

//! What the control plane wants done, and what it is told and tells at its edges.

use std::fmt;

use bytes::Bytes;

use crate::action::Store;
use crate::catalogue::{Channel, Command, Outcome};
use crate::config::NodeAddress;
use crate::event::Event;
use crate::gate::Introduction;
use crate::id::{ChannelId, DialId, Life, NodeId, ShardId};
use crate::peer::Ticket;
use crate::time::Time;

use super::wire::JoinRefusal;

/// One thing to do, in order. Shard 0 does it at once.
#[derive(Debug)]
pub enum Deed {
    /// A change is agreed on. Apply it on every shard, call [`Cluster::outcome`](super::Cluster::outcome) at once with what it
    /// did here, and [`Cluster::applied`](super::Cluster::applied) when all shards have applied it, whatever it did. Changes of
    /// the members are in [`Cluster::members`](super::Cluster::members) already.
    Apply {
        /// Its number; they grow.
        number: u64,
        /// What it is.
        command: Command,
        /// The shard of this node that proposed it, and under which ticket.
        own: Option<(ShardId, Ticket)>,
    },
    /// Put this in place of all channels and members, on every shard; then call [`Cluster::applied`](super::Cluster::applied)
    /// with its number.
    Restore(Box<State>),
    /// What became of a change that a shard proposed. Told once.
    Settle {
        /// The shard.
        shard: ShardId,
        /// Its ticket.
        ticket: Ticket,
        /// What became of it.
        outcome: Outcome,
    },
    /// Say this to the control plane of another node, if the link to that life is up; else drop it.
    Post {
        /// To whom.
        life: Life,
        /// For [`Cluster::heard`](super::Cluster::heard) there.
        bytes: Bytes,
    },
    /// With whom this node is to be linked from now on, and where they are. A link that another node has begun is told by
    /// [`Cluster::link_up`](super::Cluster::link_up) too, expected or not.
    Expect(Vec<(Life, NodeAddress)>),
    /// End the link with this life, once all that was said is sent.
    HangUp(Life),
    /// Find out who is at this address: [`Cluster::met`](super::Cluster::met) or [`Cluster::unmet`](super::Cluster::unmet).
    Meet {
        /// The attempt.
        dial: DialId,
        /// Where. The port is given.
        address: NodeAddress,
    },
    /// Look up a name: [`Cluster::resolved`](super::Cluster::resolved).
    Resolve(String),
    /// Ask `GET /cluster` of whoever answers at `WRS_DOMAIN`: [`Cluster::probed`](super::Cluster::probed).
    Probe,
    /// Until when this node may decide and read; it may be earlier than before. [`Time::MAX`]: for ever.
    Lease(Time),
    /// This life has ended: close every client with 1012. A new life follows, unless the node stops.
    Out,
    /// This node's new life.
    Life(Life),
    /// What this node says of itself to others has changed.
    Introduce(Introduction),
    /// The answer to [`Cluster::join`](super::Cluster::join), [`Cluster::remove`](super::Cluster::remove) or
    /// [`Cluster::recover`](super::Cluster::recover).
    Answer {
        /// Whose.
        ticket: Ticket,
        /// What is said.
        answer: Result<Done, Refused>,
    },
    /// Show [`Cluster::slice`](super::Cluster::slice) the catalogue, as it is after every `Apply` before this.
    Slice,
    /// Keep this in the data directory.
    Store(Store),
    /// The node cannot go on: end with this message.
    Fail(String),
    /// Tell the operator.
    Report(Event),
    /// After [`Cluster::drain`](super::Cluster::drain): the cluster can do without this node now.
    Left,
}

/// The whole of what the nodes agree on, as of a number.
#[derive(Debug)]
pub struct State {
    /// The number of the last change in it.
    pub number: u64,
    /// All channels, by id.
    pub channels: Vec<(ChannelId, Channel)>,
    /// Whether this node has left its cluster, so that what it knew is not older but another cluster's. Who was live there lives
    /// on, and may be met again as what it is.
    pub left: bool,
}

/// What an operator asked for is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// This node is a member of that cluster.
    Joined,
    /// That node is a member no more.
    Removed,
    /// The cluster goes on from this node's state; what only these nodes knew is lost.
    Recovered {
        /// The voters that are not there.
        missing: Vec<NodeId>,
    },
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Done::Joined => f.write_str("Success: this node is a member of that cluster."),
            Done::Removed => f.write_str("Success: the node was removed."),
            Done::Recovered { missing } => {
                f.write_str("Success: the cluster goes on; what only these nodes knew is lost:")?;
                missing.iter().try_for_each(|node| write!(f, " {node}"))
            }
        }
    }
}

/// Why what an operator asked for is not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// This node would lose its channels; 409.
    WouldLoseChannels,
    /// This node would leave another cluster; 409.
    WouldLeaveCluster,
    /// Another such request is under way; 409.
    Busy,
    /// Nobody, or nobody of a cluster, answers there; 502.
    Unreachable(String),
    /// It answers, and refuses; 502.
    NotAccepted(JoinRefusal),
    /// It was not done in time; 504.
    TimedOut,
    /// This node is a member of that cluster, and does not serve there yet; 504.
    NotServing,
    /// There is no such member; 404.
    NoSuchNode,
    /// There is nothing to recover: the cluster has a leader; 409.
    HasLeader,
    /// The cluster has no leader now; 503.
    NoLeader,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::WouldLoseChannels => f.write_str("this node has channels, which it would lose"),
            Refused::WouldLeaveCluster => f.write_str("this node would leave the cluster that it is in"),
            Refused::Busy => f.write_str("another request to join is under way"),
            Refused::Unreachable(why) => write!(f, "that address cannot be reached: {why}"),
            Refused::NotAccepted(why) => write!(f, "that node refuses: {why}"),
            Refused::TimedOut => f.write_str("it was not done in time"),
            Refused::NotServing => f.write_str("this node is a member of that cluster, but does not serve there yet"),
            Refused::NoSuchNode => f.write_str("there is no such node"),
            Refused::HasLeader => f.write_str("the cluster has a leader, so that nothing is to be recovered"),
            Refused::NoLeader => f.write_str("the cluster has no leader now"),
        }
    }
}

impl fmt::Display for JoinRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JoinRefusal::IdLength => "its WRS_ID_LENGTH is another",
            JoinRefusal::Version => "it speaks another version",
            JoinRefusal::NotLoopback => "without WRS_CLUSTER_SECRET only loopback addresses join",
            JoinRefusal::NoCluster => "it is in no cluster yet",
            JoinRefusal::NoLeader => "its cluster has no leader now",
            JoinRefusal::Full => "its cluster has as many nodes as it may",
        })
    }
}

/// Why a node cannot start. One line for the operator; status 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StartError {
    /// What the data directory holds cannot be gone on with.
    Stored(String),
    /// The settings do not fit each other.
    Settings(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Stored(why) => write!(f, "WRS_DATA_DIR: {why}"),
            StartError::Settings(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StartError {}

/// What a node is in its cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// It is in none yet.
    Starting,
    /// It leads.
    Leader,
    /// It votes, and follows.
    Follower,
    /// It votes, and asks to be elected.
    Candidate,
    /// It follows and does not vote.
    Learner,
}

impl Part {
    /// The word for it in `GET /cluster`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Part::Starting => "starting",
            Part::Leader => "leader",
            Part::Follower => "follower",
            Part::Candidate => "candidate",
            Part::Learner => "learner",
        }
    }
}

/// Why a node is not ready to take traffic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotReady {
    /// It is in no cluster yet.
    Forming,
    /// It hears no leader.
    NoLeader,
    /// It has not caught up yet, and does not count as live.
    CatchingUp,
    /// It is to vote and does not yet.
    NotVoting,
    /// Not all of its shards serve yet.
    Opening,
    /// It leaves.
    Leaving,
    /// Its data directory has failed.
    Failed,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotReady::Forming => "the node is in no cluster yet",
            NotReady::NoLeader => "the cluster has no leader that this node hears",
            NotReady::CatchingUp => "the node has not caught up yet",
            NotReady::NotVoting => "the node is to vote and does not yet",
            NotReady::Opening => "not all shards of the node serve yet",
            NotReady::Leaving => "the node leaves its cluster",
            NotReady::Failed => "the data directory has failed",
        })
    }
}

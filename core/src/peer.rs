//! What the shards of a cluster say to one another, on one node or across two.
//!
//! A shard sends the same messages to itself where it plays both parts; so one shard and sixteen behave alike, and so do
//! one node and five: what is for another node goes to the *gate*, shard 0, which has the links to the others, and from
//! there to their gates. Messages from one shard to another arrive in order. Those that carry clients' data cost window bytes ([`PeerMessage::data`]);
//! the others are bounded by the number of sessions that wait for their answers.

use std::net::IpAddr;

use bytes::Bytes;

use crate::catalogue::{Command, Outcome};
use crate::cluster::Refused;
use crate::config::NodeAddress;
use crate::id::{ChannelId, ClientId, Life, NodeId, ShardId};
use crate::members::Members;
use crate::metrics::Metrics;
use crate::pattern::queue::Turn;
use crate::rest::ClusterView;
use crate::time::Time;

/// Who says or hears a message: another shard of the node, or the gate of another node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PeerId {
    /// A shard of this node.
    Shard(ShardId),
    /// Another node, by its present life.
    Node(Life),
}

/// A question's number at the shard that asked; it returns with the answer, once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(pub u64);

/// What the home says to a client that wants to join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is counted and, if it pulls, queued at the tail.
    Seated,
    /// The node has as many clients as it may.
    NodeFull,
    /// The channel has as many clients as it may.
    ChannelFull,
    /// As many clients of the node have this one's address as may.
    AddressFull,
    /// The channel is gone.
    Absent,
    /// The channel's home may not decide now; later it may.
    Undecided,
}

/// Who gets one message of a run, of the clients of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handed {
    /// The client's number on its shard.
    pub serial: u64,
    /// The receiver's new place in the queue; 0 where no turn was needed.
    pub stamp: u64,
    /// Where its frame is in the run, in bytes.
    pub start: usize,
    /// Where it ends there.
    pub end: usize,
}

impl Handed {
    /// Its frame; empty if it is not in this run.
    pub fn frame(&self, run: &Bytes) -> Bytes {
        run.get(self.start..self.end).map_or_else(Bytes::new, |frame| run.slice_ref(frame))
    }
}

/// A seated client, as its shard tells a new home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    /// Who.
    pub client: ClientId,
    /// Where.
    pub channel: ChannelId,
    /// Its place in the queue, if it stands there: the number that the last home gave it.
    pub stamp: Option<u64>,
}

/// What a shard, or a node, knew at the end of an epoch; each part goes to those that it concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Its seated clients: for the channels' new homes.
    pub seats: Vec<Seat>,
    /// Channels that it has clients on: for a node that was not live before.
    pub interests: Vec<ChannelId>,
}

impl Ledger {
    /// Whether nothing stands in it.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty() && self.interests.is_empty()
    }
}

/// What is ended first, and what second, on the way from one epoch to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// To decide: homes give no more turns.
    Decide,
    /// To send what turns were given for.
    Send,
}

/// What is asked of the control plane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// How does the cluster stand?
    View,
    /// Join the cluster of whoever is at this address, whatever is lost by that if forced.
    Join {
        /// The address.
        address: NodeAddress,
        /// Whether this node's channels, or its cluster, may be given up.
        force: bool,
    },
    /// Remove a node.
    Remove(NodeId),
    /// Go on without those that are lost.
    Recover,
}

/// How the cluster stands, as this node sees it; and what was done, if anything was.
#[derive(Debug)]
pub struct Standing {
    /// What `GET /cluster` shows.
    pub view: ClusterView,
    /// Why the node takes no traffic, if it takes none.
    pub not_ready: Option<String>,
    /// What was done.
    pub done: String,
}

/// What one shard knows of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tally {
    /// Clients connected to this shard, or to this node.
    pub clients: u64,
    /// When a message last came from one of them, or from one that has left. Nodes have no common time: between them it
    /// travels as an age.
    pub active: Time,
}

/// By which rule the turns of a run are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Push-pull: to the head of the queue, to the sender itself if nobody else stands there.
    Pull,
    /// Fan-in-out request: to the head of the queue, never to the sender.
    Request,
}

/// What the home says about the messages of a run: all of them fare alike, as long as the queue is the home's to move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Turns {
    /// Whose turn each is.
    Taken(Taken),
    /// Nobody stands in the queue: the sender gets them back.
    Back,
    /// Nobody but the sender stands there.
    Nobody,
    /// The channel is gone.
    Gone,
}

/// Turns in a queue, in the order in which they were taken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Taken {
    /// The receivers' shards.
    shards: Vec<(Life, ShardId)>,
    /// The shard by its place in `shards`, the client's number there, and its new place in the queue.
    turns: Vec<(usize, u64, u64)>,
    /// The sender's new place, if it was passed over.
    pub passed: Option<u64>,
}

impl Taken {
    /// Turns that were read from a peer's bytes; `None` where a shard is missing.
    pub fn read(shards: Vec<(Life, ShardId)>, turns: Vec<(usize, u64, u64)>, passed: Option<u64>) -> Option<Self> {
        turns.iter().all(|(at, ..)| *at < shards.len()).then_some(Taken { shards, turns, passed })
    }

    /// Adds the next.
    pub fn push(&mut self, turn: Turn) {
        let Turn { client: ClientId { life, shard, serial }, stamp, passed } = turn;
        let at = self.shards.iter().position(|other| *other == (life, shard)).unwrap_or_else(|| {
            self.shards.push((life, shard));
            self.shards.len() - 1
        });
        self.turns.push((at, serial, stamp));
        self.passed = passed.or(self.passed);
    }

    /// Takes all out, and makes room for `count` others.
    pub fn clear(&mut self, count: usize) {
        self.shards.clear();
        self.turns.clear();
        self.turns.reserve(count);
        self.passed = None;
    }

    /// The receivers' shards.
    pub fn shards(&self) -> &[(Life, ShardId)] {
        &self.shards
    }

    /// Each turn: a place in [`Taken::shards`], the client's number there, and its new place in the queue.
    pub fn turns(&self) -> &[(usize, u64, u64)] {
        &self.turns
    }

    /// Whose turns they are, each with its new place in the queue.
    pub fn iter(&self) -> impl Iterator<Item = (ClientId, u64)> + '_ {
        self.turns.iter().filter_map(|(at, serial, stamp)| {
            let (life, shard) = *self.shards.get(*at)?;
            Some((ClientId { life, shard, serial: *serial }, *stamp))
        })
    }
}

/// One message from shard to shard.
#[derive(Debug)]
pub enum PeerMessage {
    /// To shard 0: make this change, which somebody at this address wants, and answer `Settled` when every shard has
    /// applied it.
    Propose(Ticket, Command, Option<IpAddr>),
    /// From shard 0: change number so-and-so.
    Apply(u64, Command),
    /// To shard 0: applied up to this number.
    Applied(u64),
    /// From shard 0: what became of a proposal.
    Settled(Ticket, Outcome),

    /// To shard 0, which counts the node's clients, and from there to the channel's home: seat this client.
    Join {
        /// Who.
        client: ClientId,
        /// Where.
        channel: ChannelId,
        /// Its address.
        from: IpAddr,
        /// Whether it stands in the queue.
        pull: bool,
        /// The epoch that its shard is in. In a later one the shard asks again by itself.
        epoch: u64,
    },
    /// Shard 0 has counted the client: now the channel's home decides.
    Seat {
        /// Who.
        client: ClientId,
        /// Where.
        channel: ChannelId,
        /// Whether it stands in the queue.
        pull: bool,
        /// In which epoch this is asked. A home that is in a later one drops it; it is asked again.
        epoch: u64,
    },
    /// To the client's shard: the answer.
    Seated {
        /// Who.
        client: ClientId,
        /// Whether it has a seat.
        verdict: Verdict,
        /// In which epoch that was decided; once that is sealed, the answer counts for nothing.
        epoch: u64,
        /// Its place in the queue, if it stands there.
        stamp: Option<u64>,
    },
    /// To the home: a seated client has gone.
    Leave(ClientId, ChannelId),
    /// To shard 0: a client that it had counted, of this address, has gone or was not seated.
    Uncount(IpAddr),
    /// To all: this shard, or this node, has clients on a channel from now on. Answered with `InterestNoted`.
    Interest(ChannelId),
    /// The interest is known here.
    InterestNoted(ChannelId),
    /// To all: this shard, or this node, has none any more; its last message was then; between nodes an
    /// age.
    Disinterest(ChannelId, Time),
    /// From the gate to the shards of its node: whether other nodes have clients on a channel. Answered with `AbroadNoted`
    /// where there are some now.
    Abroad(ChannelId, bool),
    /// That others have is known here.
    AbroadNoted(ChannelId),

    /// From the gate to the shards of its node: until when this node may decide.
    Lease(Time),
    /// From the gate to its shards, and from each of them to the others: this node was counted out for so many times now, and its
    /// clients are closed. What a shard says behind it belongs to the next life.
    Out(u64),
    /// From the gate to its shards: the node's new life.
    Life(Life),
    /// From the gate to its shards: all members, as a snapshot with this number has them.
    Members(u64, Box<Members>),
    /// From a shard to its gate: it serves clients in this life of the node.
    Serves,
    /// From a shard to its gate: its last connection has gone, and it takes no new ones.
    Drained,
    /// From the gate to its shards: the node can go on no longer.
    Fail,
    /// To shard 0: what an operator, or a page, wants to know or have done.
    Operate(Ticket, Operation),
    /// The answer.
    Operated(Ticket, Result<Box<Standing>, Refused>),
    /// From a shard to all of its node, and from that to the other nodes when all of its shards have said so: in this life of
    /// the node, this is not done any more in epochs before this one.
    Held(Step, Life, u64),
    /// From the gate to its shards: in this life, as `Held`, but of all other nodes.
    HeldAbroad(Step, Life, u64),
    /// From a shard to its gate: it has ended the epoch before this one, and knew this.
    Sealed(u64, Box<Ledger>),
    /// From gate to gate: what this node knew that concerns the other; more of it follows if so.
    Reported {
        /// The new epoch.
        epoch: u64,
        /// What is known.
        ledger: Box<Ledger>,
        /// Whether another part follows.
        more: bool,
    },
    /// From a gate to its shards: every node has reported, what concerns the shard is this, and homes may decide.
    Opened(u64, Box<Ledger>),

    /// How many clients do these channels have on your shard, and when was the last message?
    Survey(Ticket, Vec<ChannelId>),
    /// The answer, in the order of the question.
    Surveyed(Ticket, Vec<Tally>),
    /// Your figures, please.
    Measure(Ticket),
    /// The answer.
    Measured(Ticket, Box<Metrics>),

    /// To every member on that shard, but for one.
    Publish {
        /// Where.
        channel: ChannelId,
        /// Whole server frames, one after another.
        frames: Bytes,
        /// Who sent them.
        from: ClientId,
        /// Whether the sender is among the receivers.
        back: bool,
    },
    /// To the home: whose turns are these messages?
    Ask {
        /// Where.
        channel: ChannelId,
        /// Who sent them; its shard has them.
        from: ClientId,
        /// By which rule.
        wish: Wish,
        /// How many they are: 1 to [`LIST_MAX`](crate::wire::peer::LIST_MAX).
        count: usize,
        /// The run's number at the sender's shard.
        number: u64,
        /// In which epoch this is asked. A home that is in a later one drops it; it is asked again.
        epoch: u64,
    },
    /// To the shard that asked: whose turns they are.
    Turns {
        /// Who asked.
        to: (Life, ShardId),
        /// Which run.
        number: u64,
        /// In which epoch they were taken. In another one they count for nothing.
        epoch: u64,
        /// Whose they are.
        turns: Turns,
    },
    /// To the receivers' shard.
    Deliver {
        /// Where.
        channel: ChannelId,
        /// The run that they are in, with others perhaps: whole server frames.
        frames: Bytes,
        /// Who sent them.
        from: ClientId,
        /// The shard of the receivers.
        to: (Life, ShardId),
        /// In which epoch their turns were taken; `None` for replies, which need none, and whose sender is told when a receiver
        /// has gone.
        epoch: Option<u64>,
        /// Which they are, and who gets each, in the order of the frames; at least one.
        handed: Vec<Handed>,
    },
    /// To the sender's shard: the client that its reply was for has gone, or is not of the channel.
    OriginGone(ClientId),
    /// So many bytes of a window have been dealt with.
    Credit(usize),
}

impl PeerMessage {
    /// Whether it is about one life of the node, and counts for nothing once that has ended. What is about the process, and
    /// what has to be answered in any case, is not.
    pub fn is_of_a_life(&self) -> bool {
        match self {
            PeerMessage::Seat { .. }
            | PeerMessage::Seated { .. }
            | PeerMessage::Leave(..)
            | PeerMessage::Interest(_)
            | PeerMessage::InterestNoted(_)
            | PeerMessage::Disinterest(..)
            | PeerMessage::Abroad(..)
            | PeerMessage::AbroadNoted(_)
            | PeerMessage::Sealed(..)
            | PeerMessage::Held(..)
            | PeerMessage::HeldAbroad(..)
            | PeerMessage::Reported { .. }
            | PeerMessage::Opened(..)
            | PeerMessage::Serves
            | PeerMessage::Publish { .. }
            | PeerMessage::Ask { .. }
            | PeerMessage::Turns { .. }
            | PeerMessage::Deliver { .. }
            | PeerMessage::OriginGone(_) => true,
            PeerMessage::Propose(..)
            | PeerMessage::Apply(..)
            | PeerMessage::Applied(_)
            | PeerMessage::Settled(..)
            | PeerMessage::Join { .. }
            | PeerMessage::Uncount(_)
            | PeerMessage::Lease(_)
            | PeerMessage::Out(_)
            | PeerMessage::Life(_)
            | PeerMessage::Members(..)
            | PeerMessage::Drained
            | PeerMessage::Fail
            | PeerMessage::Operate(..)
            | PeerMessage::Operated(..)
            | PeerMessage::Survey(..)
            | PeerMessage::Surveyed(..)
            | PeerMessage::Measure(_)
            | PeerMessage::Measured(..)
            | PeerMessage::Credit(..) => false,
        }
    }

    /// How many bytes of a window a message with clients' data uses. The fixed part stands for what a message weighs in a
    /// queue beside its payload.
    pub fn data(&self) -> Option<usize> {
        const WEIGHT: usize = 128;
        const HANDED_WEIGHT: usize = size_of::<Handed>();
        match self {
            PeerMessage::Publish { frames, .. } => Some(WEIGHT + frames.len()),
            PeerMessage::Deliver { handed, .. } => {
                Some(WEIGHT + handed.iter().map(|part| part.end - part.start + HANDED_WEIGHT).sum::<usize>())
            }
            _ => None,
        }
    }
}

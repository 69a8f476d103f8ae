//! What the control planes of two nodes say to each other: [`ControlMessage`] ⇄ bytes.
//!
//! A message begins with the version that brought its kind (u8) and the kind (u8); the transport says where it ends. It may be lost, and is repeated
//! by whoever needs it; links carry what is not lost in order. Every message has exactly one encoding; decoding never panics
//! and refuses whatever it does not know. Messages of one version keep their shape for ever: a newer one adds kinds, and
//! speaks them only to members that know them.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::fields::{Reader, put_address, put_blob, put_count, put_member};
use crate::config::NodeAddress;
use crate::id::{Life, NodeId};
use crate::members::Member;

/// The version that brought these words: it stands before each, so that words of later versions are told from them. A node that
/// speaks later ones too says these as it always did, to members that know no others.
const VERSION: u8 = 1;
/// The longest message, in bytes: above the longest of Raft's.
pub const MESSAGE_BYTES_MAX: usize = wrs_raft::wire::MESSAGE_BYTES_MAX + 16;
/// The most changes in one message.
pub const CHANGES_MAX: usize = 4096;
/// The most nodes that a message names.
pub const NODES_MAX: usize = 4096;

/// What a node that wants to join says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// Who it will be in this cluster.
    pub node: NodeId,
    /// Which run of its process, or which life of its disk.
    pub incarnation: u64,
    /// What it tells others to dial; `None`: what the member sees, with this port.
    pub address: Option<NodeAddress>,
    /// Its cluster port.
    pub port: u16,
    /// How many shards it has.
    pub shards: u16,
    /// Hexadecimal digits of one group of its channel ids.
    pub id_length: u8,
    /// The oldest and the newest version of the protocol that it speaks.
    pub versions: (u8, u8),
    /// The address under which it reached the member that it asks, which may not know its own.
    pub reached: Option<NodeAddress>,
}

/// Why a node may not join. It is told to whoever wanted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRefusal {
    /// Its `WRS_ID_LENGTH` is another.
    IdLength,
    /// It speaks no version that the cluster speaks.
    Version,
    /// Without `WRS_CLUSTER_SECRET` only loopback addresses may join.
    NotLoopback,
    /// The node that was asked is in no cluster yet; ask again.
    NoCluster,
    /// The cluster has no leader now; ask again.
    NoLeader,
    /// The cluster has as many nodes as it may.
    Full,
}

/// Why a change was certainly not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Who was asked does not lead, or not yet.
    NotLeader,
    /// Too much is under way.
    Overloaded,
}

/// What a node tells of itself when a link comes up, and when it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// Its cluster; 0 for none.
    pub cluster: u64,
    /// How many members that has.
    pub nodes: u32,
    /// How many channels.
    pub channels: u64,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlMessage {
    /// Raft's own.
    Raft(Bytes),
    /// A piece of a snapshot, or a wish for one, with the snapshot's message of Raft in front of the first.
    Part {
        /// Raft's message that the snapshot stands for; empty but in the sender's chunks.
        message: Bytes,
        /// The piece.
        part: Bytes,
    },
    /// To the leader: this life goes on, so far it has applied, and whether it is linked with all that are live.
    Alive {
        /// Counts what this life has said of it.
        round: u64,
        /// The number of the last change that every shard has applied.
        applied: u64,
        /// Whether it is linked with all that are live, and so may be live itself.
        linked: bool,
    },
    /// From the leader: the answer.
    Lease {
        /// Which.
        round: u64,
        /// For how long after it was said.
        length: Duration,
    },
    /// From the leader: up to this number every live node has applied all changes.
    Everywhere(u64),
    /// To the leader: append these, each with its number.
    Propose(Vec<(u64, Bytes)>),
    /// From the leader: these were not.
    Refused {
        /// Their numbers.
        changes: Vec<u64>,
        /// Why.
        why: Refusal,
    },
    /// To the leader: this life is live and cannot be reached from here.
    Complaint(Life),
    /// To any.
    Greeting(Greeting),
    /// To a member, and on to the leader: `asker` wants to join.
    Join {
        /// Who asks: the member's link to it.
        asker: Life,
        /// What it says.
        request: Box<JoinRequest>,
    },
    /// The way back: it is a member.
    Joined {
        /// Who had asked.
        asker: Life,
        /// As whom.
        node: NodeId,
        /// The cluster.
        cluster: u64,
        /// All members.
        members: Vec<(NodeId, Member)>,
    },
    /// The way back: it is not.
    JoinRefused {
        /// Who had asked.
        asker: Life,
        /// Why.
        why: JoinRefusal,
    },
    /// To the leader: this node stops, and its clients are gone. It leaves, or stays a member that is away.
    Leaving {
        /// Whether it comes back as the same node.
        returns: bool,
    },
    /// To the leader: that node is to be a member no more.
    Remove(NodeId),
    /// From the leader: whoever leaves may go; whoever does not and is no member is told so.
    Farewell {
        /// Whether the node is a member still, which is away.
        member: bool,
    },
    /// Before there is a cluster: let me found it, and nobody else.
    Ask,
    /// I do.
    Promise,
    /// Somebody else has my promise.
    Promised(NodeId),
    /// I do not found it now: you are free.
    Release,
    /// After a majority was lost for good: how far this node's log reaches.
    Survey {
        /// The cluster.
        cluster: u64,
        /// The term of its last entry.
        term: u64,
        /// The last entry.
        index: u64,
    },
    /// The cluster goes on as another, which whoever was in the first is to join.
    Reborn {
        /// The first.
        cluster: u64,
        /// The other.
        into: u64,
    },
}

const RAFT: u8 = 1;
const PART: u8 = 2;
const ALIVE: u8 = 3;
const LEASE: u8 = 4;
const EVERYWHERE: u8 = 5;
const PROPOSE: u8 = 6;
const REFUSED: u8 = 7;
const COMPLAINT: u8 = 8;
const GREETING: u8 = 9;
const JOIN: u8 = 10;
const JOINED: u8 = 11;
const JOIN_REFUSED: u8 = 12;
const LEAVING: u8 = 13;
const FAREWELL: u8 = 14;
const ASK: u8 = 15;
const PROMISE: u8 = 16;
const PROMISED: u8 = 17;
const RELEASE: u8 = 18;
const SURVEY: u8 = 19;
const REBORN: u8 = 20;
const REMOVE: u8 = 21;

/// The bytes of a message.
pub fn encode(message: &ControlMessage) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    out.put_u8(VERSION);
    match message {
        ControlMessage::Raft(bytes) => {
            out.put_u8(RAFT);
            out.put_slice(bytes);
        }
        ControlMessage::Part { message, part } => {
            out.put_u8(PART);
            put_blob(&mut out, message);
            out.put_slice(part);
        }
        ControlMessage::Alive { round, applied, linked } => {
            out.put_u8(ALIVE);
            out.put_u64_le(*round);
            out.put_u64_le(*applied);
            out.put_u8(u8::from(*linked));
        }
        ControlMessage::Lease { round, length } => {
            out.put_u8(LEASE);
            out.put_u64_le(*round);
            out.put_u64_le(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX));
        }
        ControlMessage::Everywhere(number) => put_numbers(&mut out, EVERYWHERE, &[*number]),
        ControlMessage::Propose(changes) => {
            out.put_u8(PROPOSE);
            put_count(&mut out, changes.len());
            for (number, bytes) in changes {
                out.put_u64_le(*number);
                put_blob(&mut out, bytes);
            }
        }
        ControlMessage::Refused { changes, why } => {
            out.put_u8(REFUSED);
            put_count(&mut out, changes.len());
            changes.iter().for_each(|number| out.put_u64_le(*number));
            out.put_u8(match why {
                Refusal::NotLeader => 0,
                Refusal::Overloaded => 1,
            });
        }
        ControlMessage::Complaint(life) => put_numbers(&mut out, COMPLAINT, &[life.0]),
        ControlMessage::Greeting(greeting) => put_greeting(&mut out, greeting),
        ControlMessage::Join { asker, request } => put_join(&mut out, *asker, request),
        ControlMessage::Joined { asker, node, cluster, members } => {
            put_numbers(&mut out, JOINED, &[asker.0, node.0, *cluster]);
            put_count(&mut out, members.len());
            for (node, member) in members {
                out.put_u64_le(node.0);
                put_member(&mut out, member);
            }
        }
        ControlMessage::JoinRefused { asker, why } => {
            put_numbers(&mut out, JOIN_REFUSED, &[asker.0]);
            out.put_u8(refusal_code(*why));
        }
        ControlMessage::Leaving { returns } => {
            out.put_u8(LEAVING);
            out.put_u8(u8::from(*returns));
        }
        ControlMessage::Remove(node) => put_numbers(&mut out, REMOVE, &[node.0]),
        ControlMessage::Farewell { member } => {
            out.put_u8(FAREWELL);
            out.put_u8(u8::from(*member));
        }
        ControlMessage::Ask => out.put_u8(ASK),
        ControlMessage::Promise => out.put_u8(PROMISE),
        ControlMessage::Promised(node) => put_numbers(&mut out, PROMISED, &[node.0]),
        ControlMessage::Release => out.put_u8(RELEASE),
        ControlMessage::Survey { cluster, term, index } => put_numbers(&mut out, SURVEY, &[*cluster, *term, *index]),
        ControlMessage::Reborn { cluster, into } => put_numbers(&mut out, REBORN, &[*cluster, *into]),
    }
    out.freeze()
}

fn put_numbers(out: &mut BytesMut, kind: u8, numbers: &[u64]) {
    out.put_u8(kind);
    numbers.iter().for_each(|number| out.put_u64_le(*number));
}

fn put_greeting(out: &mut BytesMut, greeting: &Greeting) {
    let Greeting { cluster, nodes, channels } = greeting;
    put_numbers(out, GREETING, &[*cluster, *channels]);
    out.put_u32_le(*nodes);
}

fn put_join(out: &mut BytesMut, asker: Life, request: &JoinRequest) {
    let JoinRequest { node, incarnation, address, port, shards, id_length, versions, reached } = request;
    put_numbers(out, JOIN, &[asker.0, node.0, *incarnation]);
    for address in [address, reached] {
        out.put_u8(u8::from(address.is_some()));
        if let Some(address) = address {
            put_address(out, address);
        }
    }
    out.put_u16_le(*port);
    out.put_u16_le(*shards);
    out.put_u8(*id_length);
    out.put_u8(versions.0);
    out.put_u8(versions.1);
}

fn refusal_code(why: JoinRefusal) -> u8 {
    match why {
        JoinRefusal::IdLength => 0,
        JoinRefusal::Version => 1,
        JoinRefusal::NotLoopback => 2,
        JoinRefusal::NoCluster => 3,
        JoinRefusal::NoLeader => 4,
        JoinRefusal::Full => 5,
    }
}

/// The message that `bytes` are; `None` if they are none.
pub fn decode(bytes: &Bytes) -> Option<ControlMessage> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return None;
    }
    let mut reader = Reader::new(bytes.clone());
    if reader.u8()? != VERSION {
        return None;
    }
    let message = match reader.u8()? {
        RAFT => return Some(ControlMessage::Raft(bytes.slice(2..))),
        PART => {
            let message = reader.blob()?;
            return Some(ControlMessage::Part { part: bytes.slice(2 + 4 + message.len()..), message });
        }
        ALIVE => ControlMessage::Alive { round: reader.u64()?, applied: reader.u64()?, linked: reader.flag()? },
        LEASE => ControlMessage::Lease { round: reader.u64()?, length: Duration::from_nanos(reader.u64()?) },
        EVERYWHERE => ControlMessage::Everywhere(reader.u64()?),
        PROPOSE => {
            let changes = reader.list(12, |reader| Some((reader.u64()?, reader.blob()?)))?;
            ControlMessage::Propose(within(changes, CHANGES_MAX)?)
        }
        REFUSED => {
            let changes = within(reader.list(8, Reader::u64)?, CHANGES_MAX)?;
            let why = if reader.flag()? { Refusal::Overloaded } else { Refusal::NotLeader };
            ControlMessage::Refused { changes, why }
        }
        COMPLAINT => ControlMessage::Complaint(reader.life()?),
        GREETING => {
            let (cluster, channels) = (reader.u64()?, reader.u64()?);
            ControlMessage::Greeting(Greeting { cluster, channels, nodes: reader.u32()? })
        }
        JOIN => read_join(&mut reader)?,
        JOINED => {
            let (asker, node, cluster) = (reader.life()?, reader.node()?, reader.u64()?);
            let members = reader.list(30, |reader| Some((reader.node()?, reader.member()?)))?;
            ControlMessage::Joined { asker, node, cluster, members: within(members, NODES_MAX)? }
        }
        JOIN_REFUSED => ControlMessage::JoinRefused { asker: reader.life()?, why: read_refusal(&mut reader)? },
        LEAVING => ControlMessage::Leaving { returns: reader.flag()? },
        REMOVE => ControlMessage::Remove(reader.node()?),
        FAREWELL => ControlMessage::Farewell { member: reader.flag()? },
        ASK => ControlMessage::Ask,
        PROMISE => ControlMessage::Promise,
        PROMISED => ControlMessage::Promised(reader.node()?),
        RELEASE => ControlMessage::Release,
        SURVEY => ControlMessage::Survey { cluster: reader.u64()?, term: reader.u64()?, index: reader.u64()? },
        REBORN => ControlMessage::Reborn { cluster: reader.u64()?, into: reader.u64()? },
        _ => return None,
    };
    reader.end(message)
}

fn within<T>(list: Vec<T>, max: usize) -> Option<Vec<T>> {
    (list.len() <= max).then_some(list)
}

fn read_join(reader: &mut Reader) -> Option<ControlMessage> {
    let (asker, node, incarnation) = (reader.life()?, reader.node()?, reader.u64()?);
    let mut address = || match reader.flag()? {
        true => reader.address().map(Some),
        false => Some(None),
    };
    let (address, reached) = (address()?, address()?);
    let (port, shards) = (reader.u16()?, reader.u16()?);
    let (id_length, versions) = (reader.u8()?, (reader.u8()?, reader.u8()?));
    let request = JoinRequest { node, incarnation, address, port, shards, id_length, versions, reached };
    Some(ControlMessage::Join { asker, request: Box::new(request) })
}

fn read_refusal(reader: &mut Reader) -> Option<JoinRefusal> {
    Some(match reader.u8()? {
        0 => JoinRefusal::IdLength,
        1 => JoinRefusal::Version,
        2 => JoinRefusal::NotLoopback,
        3 => JoinRefusal::NoCluster,
        4 => JoinRefusal::NoLeader,
        5 => JoinRefusal::Full,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::super::codec::tests::{address, member};
    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..60).prop_map(Bytes::from)
    }

    fn life() -> impl Strategy<Value = Life> {
        (1..u64::MAX).prop_map(Life)
    }

    fn node() -> impl Strategy<Value = NodeId> {
        (1..u64::MAX).prop_map(NodeId)
    }

    fn request() -> impl Strategy<Value = JoinRequest> {
        let numbers = (node(), any::<u64>(), any::<u16>(), any::<u16>(), any::<u8>(), any::<(u8, u8)>());
        (numbers, option::of(address()), option::of(address())).prop_map(|(numbers, address, reached)| {
            let (node, incarnation, port, shards, id_length, versions) = numbers;
            JoinRequest { node, incarnation, address, port, shards, id_length, versions, reached }
        })
    }

    fn refusal() -> impl Strategy<Value = JoinRefusal> {
        prop_oneof![
            Just(JoinRefusal::IdLength),
            Just(JoinRefusal::Version),
            Just(JoinRefusal::NotLoopback),
            Just(JoinRefusal::NoCluster),
            Just(JoinRefusal::NoLeader),
            Just(JoinRefusal::Full),
        ]
    }

    fn message() -> impl Strategy<Value = ControlMessage> {
        let raft = prop_oneof![
            bytes().prop_map(ControlMessage::Raft),
            (bytes(), bytes()).prop_map(|(message, part)| ControlMessage::Part { message, part }),
        ];
        let leader = prop_oneof![
            any::<(u64, u64, bool)>().prop_map(|(round, applied, linked)| ControlMessage::Alive {
                round,
                applied,
                linked
            }),
            any::<(u64, u64)>()
                .prop_map(|(round, nanos)| ControlMessage::Lease { round, length: Duration::from_nanos(nanos) }),
            any::<u64>().prop_map(ControlMessage::Everywhere),
            vec((any::<u64>(), bytes()), 0..4).prop_map(ControlMessage::Propose),
            (vec(any::<u64>(), 0..4), any::<bool>()).prop_map(|(changes, overloaded)| ControlMessage::Refused {
                changes,
                why: if overloaded { Refusal::Overloaded } else { Refusal::NotLeader }
            }),
            life().prop_map(ControlMessage::Complaint),
            any::<bool>().prop_map(|returns| ControlMessage::Leaving { returns }),
            node().prop_map(ControlMessage::Remove),
            any::<bool>().prop_map(|member| ControlMessage::Farewell { member }),
        ];
        let joining = prop_oneof![
            (life(), request()).prop_map(|(asker, request)| ControlMessage::Join { asker, request: Box::new(request) }),
            (life(), node(), any::<u64>(), vec((node(), member()), 0..4))
                .prop_map(|(asker, node, cluster, members)| ControlMessage::Joined { asker, node, cluster, members }),
            (life(), refusal()).prop_map(|(asker, why)| ControlMessage::JoinRefused { asker, why }),
        ];
        let forming = prop_oneof![
            any::<(u64, u32, u64)>().prop_map(|(cluster, nodes, channels)| {
                ControlMessage::Greeting(Greeting { cluster, nodes, channels })
            }),
            Just(ControlMessage::Ask),
            Just(ControlMessage::Promise),
            node().prop_map(ControlMessage::Promised),
            Just(ControlMessage::Release),
            any::<(u64, u64, u64)>().prop_map(|(cluster, term, index)| ControlMessage::Survey { cluster, term, index }),
            any::<(u64, u64)>().prop_map(|(cluster, into)| ControlMessage::Reborn { cluster, into }),
        ];
        prop_oneof![raft, leader, joining, forming]
    }

    proptest! {
        #[test]
        fn a_message_reads_what_it_writes(message in message()) {
            prop_assert_eq!(decode(&encode(&message)), Some(message));
        }

        #[test]
        fn bytes_that_read_as_a_message_are_its_only_encoding(kind in 0..30u8, rest in vec(any::<u8>(), 0..120)) {
            let mut bytes = vec![VERSION, kind];
            bytes.extend(rest);
            let bytes = Bytes::from(bytes);
            if let Some(message) = decode(&bytes) {
                prop_assert_eq!(encode(&message), bytes);
            }
        }
    }

    #[test]
    fn another_version_and_too_many_changes_are_refused() {
        let mut bytes = encode(&ControlMessage::Ask).to_vec();
        bytes[0] = VERSION + 1;
        assert_eq!(decode(&bytes.into()), None);
        let changes = vec![(1, Bytes::new()); CHANGES_MAX + 1];
        assert_eq!(decode(&encode(&ControlMessage::Propose(changes))), None);
    }
}

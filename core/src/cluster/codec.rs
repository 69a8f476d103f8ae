//! What the log carries: a change, who proposed it and under which number.
//!
//! Every change has exactly one encoding, and what does not decode is refused whole. A node may only propose what every member
//! can read: [`encode`] says so, so that a log never holds a kind that an older member does not know.

use bytes::{BufMut, Bytes, BytesMut};

use super::fields::{Reader, put_member, put_option};
use crate::admission::TokenHash;
use crate::catalogue::{Channel, Command, Removal};
use crate::id::{ChannelId, Life};
use crate::members::NodeChange;
use crate::pattern::Pattern;

pub use crate::config::{PROTOCOL as VERSION, PROTOCOL_MIN as VERSION_MIN};

const CREATE: u8 = 1;
const DELETE: u8 = 2;
const RESET: u8 = 3;
const JOIN: u8 = 4;
const LEAVE: u8 = 5;
const LIVE: u8 = 6;
const GONE: u8 = 7;
const CLOSED: u8 = 8;

/// Some member does not know this kind of change yet; it can be proposed once all run the newer version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unspoken {
    /// The version that brought it.
    pub since: u8,
}

/// A change as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Who proposed it: a life whose changes are numbered; `None` for what the leader itself proposes about members, which
    /// does no harm twice.
    pub from: Option<(Life, u64)>,
    /// What it is.
    pub command: Command,
}

impl Logged {
    /// Whether it is a change of the catalogue, which shards propose; those of the members are the leader's.
    pub(super) fn is_of_a_shard(&self) -> bool {
        match self.command {
            Command::Create { .. } | Command::Delete { .. } | Command::Reset => true,
            Command::Node(_) => false,
        }
    }
}

/// The version that a change came with.
fn since(command: &Command) -> u8 {
    match command {
        Command::Create { .. } | Command::Delete { .. } | Command::Reset | Command::Node(_) => 1,
    }
}

/// The bytes of a change, for a log whose readers all speak `version`.
///
/// # Errors
/// One of them would not understand it.
pub fn encode(logged: &Logged, version: u8) -> Result<Bytes, Unspoken> {
    let since = since(&logged.command);
    if since > version {
        return Err(Unspoken { since });
    }
    let mut out = BytesMut::with_capacity(96);
    let (life, seq) = logged.from.map_or((0, 0), |(life, seq)| (life.0, seq));
    out.put_u8(since);
    out.put_u64_le(life);
    out.put_u64_le(seq);
    put_command(&mut out, &logged.command);
    Ok(out.freeze())
}

/// The change that `bytes` are; `None` if they are none that this version knows.
pub fn decode(bytes: &Bytes) -> Option<Logged> {
    let mut reader = Reader::new(bytes.clone());
    let (version, life, seq) = (reader.u8()?, reader.u64()?, reader.u64()?);
    let from = match (life, seq) {
        (0, 0) => None,
        (0, _) | (_, 0) => return None,
        (life, seq) => Some((Life(life), seq)),
    };
    let command = read_command(&mut reader)?;
    if version != since(&command) {
        return None;
    }
    reader.end(Logged { from, command })
}

fn put_command(out: &mut BytesMut, command: &Command) {
    match command {
        Command::Create { id, channel } => {
            out.put_u8(CREATE);
            put_channel(out, *id, channel);
        }
        Command::Delete { id, why } => {
            out.put_u8(DELETE);
            out.put_u128_le(id.bits());
            out.put_u8(match why {
                Removal::Deleted => 0,
                Removal::TimedOut => 1,
            });
        }
        Command::Reset => out.put_u8(RESET),
        Command::Node(NodeChange::Join { node, member }) => {
            out.put_u8(JOIN);
            out.put_u64_le(node.0);
            put_member(out, member);
        }
        Command::Node(NodeChange::Leave(node)) => {
            out.put_u8(LEAVE);
            out.put_u64_le(node.0);
        }
        Command::Node(NodeChange::Live { node, life }) => {
            out.put_u8(LIVE);
            out.put_u64_le(node.0);
            out.put_u64_le(life.0);
        }
        Command::Node(NodeChange::Gone { life, closed }) => {
            out.put_u8(GONE);
            out.put_u64_le(life.0);
            out.put_u8(u8::from(*closed));
        }
        Command::Node(NodeChange::Closed(life)) => {
            out.put_u8(CLOSED);
            out.put_u64_le(life.0);
        }
    }
}

fn read_command(reader: &mut Reader) -> Option<Command> {
    Some(match reader.u8()? {
        CREATE => {
            let (id, channel) = read_channel(reader)?;
            Command::Create { id, channel }
        }
        DELETE => {
            let id = read_id(reader)?;
            let why = if reader.flag()? { Removal::TimedOut } else { Removal::Deleted };
            Command::Delete { id, why }
        }
        RESET => Command::Reset,
        JOIN => Command::Node(NodeChange::Join { node: reader.node()?, member: reader.member()? }),
        LEAVE => Command::Node(NodeChange::Leave(reader.node()?)),
        LIVE => Command::Node(NodeChange::Live { node: reader.node()?, life: reader.life()? }),
        GONE => Command::Node(NodeChange::Gone { life: reader.life()?, closed: reader.flag()? }),
        CLOSED => Command::Node(NodeChange::Closed(reader.life()?)),
        _ => return None,
    })
}

fn read_id(reader: &mut Reader) -> Option<ChannelId> {
    Some(ChannelId::from_bits(reader.u128()?, ChannelId::GROUP_DIGITS_MAX))
}

pub(super) fn put_channel(out: &mut BytesMut, id: ChannelId, channel: &Channel) {
    out.put_u128_le(id.bits());
    out.put_u8(match channel.pattern {
        Pattern::Echo => 0,
        Pattern::PubSub => 1,
        Pattern::PushPull => 2,
        Pattern::ReqRepl => 3,
        Pattern::FanInOut => 4,
    });
    put_option(out, channel.client_limit);
    put_option(out, channel.timeout_ms);
    out.put_slice(channel.token.as_bytes());
}

pub(super) fn read_channel(reader: &mut Reader) -> Option<(ChannelId, Channel)> {
    let id = read_id(reader)?;
    let pattern = match reader.u8()? {
        0 => Pattern::Echo,
        1 => Pattern::PubSub,
        2 => Pattern::PushPull,
        3 => Pattern::ReqRepl,
        4 => Pattern::FanInOut,
        _ => return None,
    };
    let (client_limit, timeout_ms) = (reader.option()?, reader.option()?);
    let token = TokenHash::from_bytes(reader.array()?);
    Some((id, Channel { pattern, client_limit, timeout_ms, token }))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::NodeAddress;
    use crate::id::NodeId;
    use crate::members::Member;

    pub(in crate::cluster) fn address() -> impl Strategy<Value = NodeAddress> {
        let host = prop_oneof!["[a-z][a-z0-9.-]{0,30}", Just("10.0.0.1".to_owned()), Just("2001:db8::1".to_owned())];
        (host, proptest::option::of(1..=u16::MAX)).prop_map(|(host, port)| NodeAddress { host, port })
    }

    pub(in crate::cluster) fn member() -> impl Strategy<Value = Member> {
        (any::<u64>(), address(), 1..=1024u16, any::<u8>(), proptest::option::of(1..u64::MAX)).prop_map(
            |(incarnation, address, shards, version, life)| Member {
                incarnation,
                address,
                shards,
                version,
                life: life.map(Life),
            },
        )
    }

    /// The plainest.
    pub(in crate::cluster) fn echo() -> Channel {
        Channel { pattern: Pattern::Echo, client_limit: None, timeout_ms: None, token: TokenHash::of("x") }
    }

    pub(in crate::cluster) fn channel() -> impl Strategy<Value = Channel> {
        let number = || proptest::option::of(any::<u64>());
        (0..5usize, number(), number(), any::<[u8; 32]>()).prop_map(|(pattern, client_limit, timeout_ms, token)| {
            Channel { pattern: Pattern::ALL[pattern], client_limit, timeout_ms, token: TokenHash::from_bytes(token) }
        })
    }

    pub(in crate::cluster) fn command() -> impl Strategy<Value = Command> {
        let id = || any::<u128>().prop_map(|bits| ChannelId::from_bits(bits, 16));
        let node = || (1..u64::MAX).prop_map(NodeId);
        let life = || (1..u64::MAX).prop_map(Life);
        prop_oneof![
            (id(), channel()).prop_map(|(id, channel)| Command::Create { id, channel }),
            (id(), any::<bool>()).prop_map(|(id, late)| Command::Delete {
                id,
                why: if late { Removal::TimedOut } else { Removal::Deleted }
            }),
            Just(Command::Reset),
            (node(), member()).prop_map(|(node, member)| Command::Node(NodeChange::Join { node, member })),
            node().prop_map(|node| Command::Node(NodeChange::Leave(node))),
            (node(), life()).prop_map(|(node, life)| Command::Node(NodeChange::Live { node, life })),
            (life(), any::<bool>()).prop_map(|(life, closed)| Command::Node(NodeChange::Gone { life, closed })),
            life().prop_map(|life| Command::Node(NodeChange::Closed(life))),
        ]
    }

    proptest! {
        #[test]
        fn a_change_reads_what_it_writes(
            command in command(),
            from in proptest::option::of((1..u64::MAX, 1..u64::MAX)),
            cut in any::<prop::sample::Index>(),
        ) {
            let logged = Logged { from: from.map(|(life, seq)| (Life(life), seq)), command };
            let bytes = encode(&logged, VERSION).unwrap();
            prop_assert_eq!(decode(&bytes), Some(logged));
            prop_assert_eq!(decode(&bytes.slice(..cut.index(bytes.len()))), None);
        }

        #[test]
        fn bytes_that_read_as_a_change_are_its_only_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let bytes = Bytes::from(bytes);
            if let Some(logged) = decode(&bytes) {
                prop_assert_eq!(encode(&logged, VERSION).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn a_change_that_some_member_cannot_read_is_not_proposed() {
        let logged = Logged { from: None, command: Command::Reset };
        assert_eq!(encode(&logged, 0), Err(Unspoken { since: 1 }));
    }
}

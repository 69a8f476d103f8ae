//! Names of things, each a type of its own so that they cannot be mixed up.

use std::fmt;

/// A channel, unique in the cluster: two groups of `WRS_ID_LENGTH` upper-case hexadecimal digits (`D679-05F5`).
///
/// The digits are kept as a number; how many there are is the node's configuration (1 to 16 per group).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(u128);

impl ChannelId {
    /// The longest group, in digits: two of them fill the number.
    pub const GROUP_DIGITS_MAX: usize = 16;

    /// The id whose digits are the low `2 * group` hexadecimal digits of `bits`.
    pub fn from_bits(bits: u128, group: usize) -> Self {
        let digits = 2 * group.clamp(1, Self::GROUP_DIGITS_MAX) as u32;
        ChannelId(if digits >= 32 { bits } else { bits & ((1u128 << (4 * digits)) - 1) })
    }

    /// The digits as a number.
    pub fn bits(self) -> u128 {
        self.0
    }

    /// Reads `D679-05F5`; `None` for any other shape, lower-case digits included.
    pub fn parse(text: &str, group: usize) -> Option<Self> {
        let (high, low) = text.split_once('-')?;
        if high.len() != group || low.len() != group || group > Self::GROUP_DIGITS_MAX {
            return None;
        }
        let mut bits = 0u128;
        for digit in high.bytes().chain(low.bytes()) {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'A'..=b'F' => digit - b'A' + 10,
                _ => return None,
            };
            bits = (bits << 4) | u128::from(value);
        }
        Some(ChannelId(bits))
    }

    /// Writes the id with `group` digits on each side of the hyphen.
    pub fn display(self, group: usize) -> impl fmt::Display {
        struct Shown(u128, usize);
        impl fmt::Display for Shown {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Shown(bits, group) = *self;
                let shift = 4 * group.min(ChannelId::GROUP_DIGITS_MAX);
                let low = bits & ((1u128 << shift) - 1);
                write!(f, "{:0group$X}-{:0group$X}", bits >> shift, low)
            }
        }
        Shown(self.0, group)
    }
}

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {:X}", self.0)
    }
}

/// One core's share of a node, counted from 0. Shard 0 also holds the node's control plane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u16);

/// The shard of each node that has the links to other nodes, and the control plane.
pub const GATE: ShardId = ShardId(0);

/// A node of a cluster, never 0: drawn at random when the node starts, or kept in its data directory. What Raft knows it by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    /// Sixteen lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One unbroken stay of a node among the live ones, never 0 and never used again: the first part of each client's id. A node
/// that was counted out closes its clients and begins another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life(pub u64);

impl fmt::Display for Life {
    /// Sixteen lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "life {self}")
    }
}

/// An attempt to reach another node, or an API; numbered by the shard that asked for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DialId(pub u64);

/// A client: one connection to a channel. Opaque to clients, unique in the cluster and never used again.
///
/// It says where its connection is: the node's life, the shard and a serial number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId {
    /// The life of its node.
    pub life: Life,
    /// The shard that holds the connection.
    pub shard: ShardId,
    /// Counts the shard's clients, from 1.
    pub serial: u64,
}

impl ClientId {
    /// Reads what [`fmt::Display`] writes; `None` for any other shape.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 {
            return None;
        }
        let mut bits = 0u128;
        for digit in text.bytes() {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            bits = (bits << 4) | u128::from(value);
        }
        let (node, shard, serial) = ((bits >> 64) as u64, ShardId((bits >> 48) as u16), bits as u64 & 0xFFFF_FFFF_FFFF);
        Some(ClientId { life: Life(node), shard, serial })
    }
}

impl fmt::Display for ClientId {
    /// Thirty-two lower-case hexadecimal digits. A serial number is below 2^48: a shard that took a million clients a
    /// second would come to its end after nine years.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:04x}{:012x}", self.life, self.shard.0, self.serial & 0xFFFF_FFFF_FFFF)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {self}")
    }
}

/// A socket of one shard. The adapter's slab gives it out: an index that is used again, and a generation that is not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId {
    /// The slab's index.
    pub index: u32,
    /// How often the index had been used before.
    pub generation: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_id_reads_what_it_writes_and_nothing_else() {
        let id = ChannelId::from_bits(0xD679_05F5, 4);
        assert_eq!(id.display(4).to_string(), "D679-05F5");
        assert_eq!(ChannelId::parse("D679-05F5", 4), Some(id));
        for bad in ["d679-05f5", "D679-05F", "D67905F5", "D679-05F5-", "", "-", "D679 05F5", "+679-05F5"] {
            assert_eq!(ChannelId::parse(bad, 4), None, "{bad}");
        }
        let long = ChannelId::from_bits(u128::MAX, 16);
        assert_eq!(ChannelId::parse(&long.display(16).to_string(), 16), Some(long));
    }

    #[test]
    fn a_client_id_reads_what_it_writes_and_nothing_else() {
        let id = ClientId { life: Life(0xABCD), shard: ShardId(3), serial: 77 };
        assert_eq!(ClientId::parse(&id.to_string()), Some(id));
        for bad in ["", "+0000000000000000000000000000000", "0", &id.to_string().to_uppercase()] {
            assert_eq!(ClientId::parse(bad), None, "{bad}");
        }
    }
}

//! Why a connection between nodes ended, or was never a link: one word for the event, one for whoever had asked for it.

use std::fmt;

/// What the other end, or whoever is there, did wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkFault {
    /// It does not speak this protocol.
    NotALink,
    /// It speaks other versions of it.
    Version {
        /// The oldest that it speaks.
        oldest: u8,
        /// The newest.
        newest: u8,
    },
    /// It has another `WRS_CLUSTER_SECRET`.
    Secret,
    /// It has another `WRS_ID_LENGTH`.
    IdLength {
        /// Its.
        theirs: u8,
    },
    /// It is this very node.
    Oneself,
    /// It is another node with this one's id: one with a copy of its data directory.
    Double,
    /// A frame is none of this protocol's.
    Malformed,
    /// A frame's checksum is not that of its bytes.
    Damaged,
    /// A frame is longer than it may be.
    TooLong,
    /// A frame came when it had no place.
    OutOfTurn,
    /// It counts mail that was never sent, or has left some out.
    Miscounted,
    /// It did not introduce itself within `WRS_HANDSHAKE_TIMEOUT`.
    Slow,
    /// So many others have not proven themselves that this one has to go.
    Crowded,
    /// This node knows as many others as it can ([`NODES_MAX`](super::NODES_MAX)).
    Full,
    /// The two nodes have a link already.
    Superfluous,
}

impl LinkFault {
    /// What the other end is told in one byte. What cannot be said in one is what it has seen for itself.
    pub(super) fn code(self) -> u8 {
        match self {
            LinkFault::NotALink => 1,
            LinkFault::Version { .. } => 2,
            LinkFault::Secret => 3,
            LinkFault::IdLength { .. } => 4,
            LinkFault::Oneself => 5,
            LinkFault::Malformed => 6,
            LinkFault::TooLong => 7,
            LinkFault::OutOfTurn => 8,
            LinkFault::Miscounted => 9,
            LinkFault::Slow => 10,
            LinkFault::Crowded => 11,
            LinkFault::Full => 12,
            LinkFault::Superfluous => 13,
            LinkFault::Double => 14,
            LinkFault::Damaged => 15,
        }
    }

    /// What the other end says in one byte, its words taken from its side. An unknown one is a fault like any other.
    pub(super) fn from_code(code: u8) -> LinkFault {
        match code {
            1 => LinkFault::NotALink,
            2 => LinkFault::Version { oldest: 0, newest: 0 },
            3 => LinkFault::Secret,
            4 => LinkFault::IdLength { theirs: 0 },
            5 => LinkFault::Oneself,
            7 => LinkFault::TooLong,
            8 => LinkFault::OutOfTurn,
            9 => LinkFault::Miscounted,
            10 => LinkFault::Slow,
            11 => LinkFault::Crowded,
            12 => LinkFault::Full,
            13 => LinkFault::Superfluous,
            14 => LinkFault::Double,
            15 => LinkFault::Damaged,
            _ => LinkFault::Malformed,
        }
    }
}

impl fmt::Display for LinkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkFault::NotALink => f.write_str("it does not speak the protocol of the cluster port"),
            LinkFault::Version { oldest: 0, newest: 0 } => f.write_str("it speaks other versions of the protocol"),
            LinkFault::Version { oldest, newest } => {
                write!(f, "it speaks versions {oldest} to {newest} of the protocol, none of which this node speaks")
            }
            LinkFault::Secret => f.write_str("it has another WRS_CLUSTER_SECRET"),
            LinkFault::IdLength { theirs: 0 } => f.write_str("it has another WRS_ID_LENGTH"),
            LinkFault::IdLength { theirs } => write!(f, "its WRS_ID_LENGTH is {theirs}"),
            LinkFault::Oneself => f.write_str("it is this node itself"),
            LinkFault::Double => f.write_str("it has this node's id: a copy of its data directory, maybe"),
            LinkFault::Malformed => f.write_str("it sent a frame that is none of the protocol"),
            LinkFault::Damaged => f.write_str("it sent a frame that was damaged on the way"),
            LinkFault::TooLong => f.write_str("it sent a frame that is too long"),
            LinkFault::OutOfTurn => f.write_str("it sent a frame out of turn"),
            LinkFault::Miscounted => f.write_str("it counts other messages than were sent"),
            LinkFault::Slow => f.write_str("it did not introduce itself in time"),
            LinkFault::Crowded => f.write_str("too many connections have not introduced themselves"),
            LinkFault::Full => f.write_str("too many nodes are known"),
            LinkFault::Superfluous => f.write_str("the two nodes have a link already"),
        }
    }
}

/// Why a connection ended, or a dial led to no link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkEnd {
    /// The other end did something wrong.
    Fault(LinkFault),
    /// The other end says that this node did.
    Refused(LinkFault),
    /// Nobody was reached.
    Unreachable(String),
    /// The other end, or the network, has closed the connection.
    Ended,
    /// The other end broke TLS.
    Broken(String),
    /// Nothing was heard for `WRS_NODE_MIN_ELECTION_TIMEOUT`.
    Silent,
    /// A newer connection took its place.
    Replaced,
    /// This node has no more to say to it.
    HungUp,
    /// The life of one of the two has ended.
    Over,
}

impl LinkEnd {
    /// Whether the two nodes differ in what must agree: as long as neither is started anew they will.
    pub(crate) fn is_disagreement(&self) -> bool {
        let (LinkEnd::Fault(fault) | LinkEnd::Refused(fault)) = self else { return false };
        matches!(fault, LinkFault::Secret | LinkFault::IdLength { .. } | LinkFault::Version { .. })
    }

    /// Whether somebody should look at it: another node, or a stranger, does what it should not.
    pub(super) fn is_fault(&self) -> bool {
        match self {
            LinkEnd::Fault(fault) | LinkEnd::Refused(fault) => {
                !matches!(fault, LinkFault::Superfluous | LinkFault::Oneself)
            }
            LinkEnd::Broken(_) => true,
            LinkEnd::Unreachable(_)
            | LinkEnd::Ended
            | LinkEnd::Silent
            | LinkEnd::Replaced
            | LinkEnd::HungUp
            | LinkEnd::Over => false,
        }
    }
}

impl fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkEnd::Fault(fault) => write!(f, "{fault}"),
            LinkEnd::Refused(fault) => write!(f, "the other node refuses this one: {fault}"),
            LinkEnd::Unreachable(why) => write!(f, "it cannot be reached: {why}"),
            LinkEnd::Ended => f.write_str("the connection has ended"),
            LinkEnd::Broken(why) => write!(f, "TLS: {why}"),
            LinkEnd::Silent => f.write_str("nothing was heard of it"),
            LinkEnd::Replaced => f.write_str("a newer connection took its place"),
            LinkEnd::HungUp => f.write_str("nothing more is to be said"),
            LinkEnd::Over => f.write_str("it, or this node, begins anew"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_end_says_of_a_fault_the_other_understands() {
        for code in 1..=14 {
            assert_eq!(LinkFault::from_code(code).code(), code);
        }
        assert_eq!(LinkFault::from_code(0), LinkFault::Malformed);
        assert_eq!(LinkFault::from_code(200), LinkFault::Malformed);
    }
}

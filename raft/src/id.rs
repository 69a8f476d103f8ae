//! The names of things: nodes, clusters, records, proposals, reads.

use core::fmt;

/// A term: the number of an election, from 1. Zero is "before any election".
pub type Term = u64;
/// The position of an entry in the log, from 1. Zero is "before the first entry".
pub type Index = u64;

/// Terms and indexes from here on are refused wherever they come from: no group lives so long, and arithmetic on those below
/// cannot overflow.
pub const NUMBER_MAX: u64 = u64::MAX / 2;

/// A node of the group. Zero is no node and is refused by [`Config`](crate::Config) and by membership changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// The cluster that a message belongs to. A message of another cluster is ignored (study id R5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u64);

/// One life of a node's disk. Drawn at random when the disk is first written, kept with it, never zero in a server.
///
/// A node that comes back under its old id with an empty disk has a new incarnation, so that the group can tell it from
/// the one that acknowledged entries (study id R5). Zero is "not told" and matches every incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// The number of a [`Record`](crate::Record), from 1, in the order in which records must become durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

/// The caller's own name for a proposal; the machine hands it back with the proposal's fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The caller's own name for a read; the machine hands it back with the read's index. It never travels (study id L2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadToken(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

//! Majorities, pure: which index does a quorum hold, and how does a vote stand.
//!
//! Two rules for one majority and for a pair of them (a joint configuration, Raft thesis section 4.3). Nothing here knows a
//! log or a message. Semantics and vectors: etcd `quorum/`. The sorted index is recomputed from all voters on each call, so
//! that no stale structure can commit without a quorum (study id R7).

use crate::{Index, NodeId};

/// How a vote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteResult {
    /// Neither a majority of yes nor of no can be told yet.
    Pending,
    /// A majority can no longer be reached.
    Lost,
    /// A majority said yes.
    Won,
}

/// The most voters whose indexes are sorted on the stack; a larger set is sorted on the heap.
const STACK_VOTERS: usize = 9;

/// The highest index that a majority of `voters` has acknowledged, where `acked` tells each one's index (`None`: nothing yet).
///
/// An empty set commits everything ([`Index::MAX`]), so that half of a joint configuration may be empty.
pub fn committed(voters: &[NodeId], acked: impl Fn(NodeId) -> Option<Index>) -> Index {
    let count = voters.len();
    if count == 0 {
        return Index::MAX;
    }
    // The common group, without a loop: the middle one of three.
    if let [a, b, c] = voters {
        let index = |node: &NodeId| acked(*node).unwrap_or(0);
        let (a, b, c) = (index(a), index(b), index(c));
        return a.max(b).min(a.min(b).max(c));
    }
    let mut stack = [0; STACK_VOTERS];
    let mut heap = Vec::new();
    let indexes = match stack.get_mut(..count) {
        Some(slots) => slots,
        None => {
            heap.resize(count, 0);
            heap.as_mut_slice()
        }
    };
    for (slot, voter) in indexes.iter_mut().zip(voters) {
        *slot = acked(*voter).unwrap_or(0);
    }
    indexes.sort_unstable();
    // Ascending: the element with a majority at or above it.
    indexes
        .get(if mutant!(CommitsWithMinority) { count - count.div_ceil(2) } else { count - (count / 2 + 1) })
        .copied()
        .unwrap_or(0)
}

/// How the vote of one majority stands, where `vote` tells each voter's word (`None`: not heard).
///
/// An empty set has won.
pub fn vote(voters: &[NodeId], vote: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
    let (mut yes, mut missing) = (0, 0);
    for voter in voters {
        match vote(*voter) {
            Some(true) => yes += 1,
            Some(false) => {}
            None => missing += 1,
        }
    }
    let quorum = if mutant!(ElectedByHalf) { voters.len().div_ceil(2) } else { voters.len() / 2 + 1 };
    if voters.is_empty() || yes >= quorum {
        VoteResult::Won
    } else if yes + missing >= quorum {
        VoteResult::Pending
    } else {
        VoteResult::Lost
    }
}

/// [`committed`] under both majorities of a joint configuration.
#[inline]
pub fn joint_committed(incoming: &[NodeId], outgoing: &[NodeId], acked: impl Fn(NodeId) -> Option<Index>) -> Index {
    if mutant!(JointCommitsByIncoming) {
        return committed(incoming, &acked);
    }
    let index = committed(incoming, &acked);
    if outgoing.is_empty() { index } else { index.min(committed(outgoing, &acked)) }
}

/// [`vote`] under both majorities of a joint configuration: lost if either is lost, won if both are won.
pub fn joint_vote(incoming: &[NodeId], outgoing: &[NodeId], word: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
    match (vote(incoming, &word), vote(outgoing, &word)) {
        (VoteResult::Won, _) if mutant!(JointVoteByIncoming) => VoteResult::Won,
        (VoteResult::Won, VoteResult::Won) => VoteResult::Won,
        (VoteResult::Lost, _) | (_, VoteResult::Lost) => VoteResult::Lost,
        (VoteResult::Pending, _) | (_, VoteResult::Pending) => VoteResult::Pending,
    }
}

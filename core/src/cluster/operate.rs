//! What the data directory says to the control plane, and what an operator sees of it.

use super::{Cluster, NotReady, Part, VOTERS_MAX};
use crate::id::NodeId;
use crate::time::Time;

impl Cluster {
    /// All records up to this number are durable.
    pub fn persisted(&mut self, now: Time, _record: u64) {
        self.now = now;
    }

    /// The data directory has failed.
    pub fn persist_failed(&mut self, now: Time, why: &str) {
        self.now = now;
        self.failed = Some(why.to_owned());
    }

    /// What a member is in the cluster, as far as this node knows.
    pub fn role_of(&self, node: NodeId) -> Part {
        let raft = |node: NodeId| wrs_raft::NodeId(node.0);
        if node == self.me.node {
            return self.part();
        }
        match &self.group {
            _ if self.leader == Some(node) => Part::Leader,
            Some(group) if group.raft.conf().is_voter(raft(node)) => Part::Follower,
            _ => Part::Learner,
        }
    }

    /// Up to where a member has applied the log: known of this node itself, and on the leader of those that are live.
    pub fn applied_of(&self, node: NodeId) -> Option<u64> {
        (node == self.me.node).then(|| self.applied_here())
    }

    /// Why the node takes no traffic, if it takes none.
    pub fn not_ready(&self) -> Option<NotReady> {
        let voters = self.group.as_ref().map_or(0, |group| group.raft.conf().voters.len());
        let reasons = [
            (self.failed.is_some(), NotReady::Failed),
            (self.leaving.is_some(), NotReady::Leaving),
            (self.group.is_none(), NotReady::Forming),
            (self.leader.is_none() || !self.lease.holds(self.now), NotReady::NoLeader),
            (!self.is_live(), NotReady::CatchingUp),
            (self.part() == Part::Learner && voters < VOTERS_MAX, NotReady::NotVoting),
        ];
        reasons.into_iter().find_map(|(is_so, why)| is_so.then_some(why))
    }
}

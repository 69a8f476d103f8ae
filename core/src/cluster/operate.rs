//! What an operator sees of the control plane.

use super::membership::VOTERS_MAX;
use super::{Cluster, NotReady, Part};
use crate::id::NodeId;

impl Cluster {
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
        if node == self.me.node {
            return Some(self.applied_here());
        }
        let life = self.members.get(node)?.life?;
        self.leading.as_ref()?.applied(life)
    }

    /// Why the node takes no traffic, if it takes none.
    pub fn not_ready(&self) -> Option<NotReady> {
        let own = wrs_raft::NodeId(self.me.node.0);
        let learns =
            |group: &super::Group| !group.raft.conf().is_voter(own) && group.raft.conf().voters.len() < VOTERS_MAX;
        match &self.group {
            _ if self.failed.is_some() => Some(NotReady::Failed),
            _ if self.leaving.is_some() => Some(NotReady::Leaving),
            None => Some(NotReady::Forming),
            Some(_) if self.leader.is_none() => Some(NotReady::NoLeader),
            Some(_) if !self.is_live() => Some(NotReady::CatchingUp),
            Some(_) if !self.lease.holds(self.now) => Some(NotReady::NoLeader),
            Some(group) if learns(group) => Some(NotReady::NotVoting),
            Some(_) => None,
        }
    }

    /// Where a node of another cluster is that has channels as this one does, so that the two stay apart.
    pub fn apart(&self) -> Option<String> {
        self.forming.apart.as_ref().map(|(_, address, _)| address.to_string())
    }
}

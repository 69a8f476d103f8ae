//! What an operator, the data directory and the service's address say to the control plane.

use std::net::IpAddr;

use bytes::Bytes;

use super::{Cluster, Deed, NotReady, Part, Refused};
use crate::catalogue::Catalogue;
use crate::config::NodeAddress;
use crate::id::NodeId;
use crate::peer::Ticket;
use crate::time::Time;

impl Cluster {
    /// The answer to [`Deed::Resolve`].
    pub fn resolved(&mut self, now: Time, _host: &str, _addresses: Result<Vec<IpAddr>, String>) {
        self.now = now;
    }

    /// The answer to [`Deed::Probe`]: the body of `GET /cluster` of whoever is there; `None`: nobody who can be understood.
    pub fn probed(&mut self, now: Time, _body: Option<Bytes>) {
        self.now = now;
    }

    /// All records up to this number are durable.
    pub fn persisted(&mut self, now: Time, _record: u64) {
        self.now = now;
    }

    /// The data directory has failed.
    pub fn persist_failed(&mut self, now: Time, why: &str) {
        self.now = now;
        self.failed = Some(why.to_owned());
    }

    /// An operator wants this node to join the cluster at an address. [`Deed::Answer`] follows, once.
    pub fn join(&mut self, now: Time, ticket: Ticket, _address: NodeAddress, _force: bool) {
        self.now = now;
        self.deeds.push_back(Deed::Answer { ticket, answer: Err(Refused::Unreachable("not yet".to_owned())) });
    }

    /// An operator wants a node removed. [`Deed::Answer`] follows, once.
    pub fn remove(&mut self, now: Time, ticket: Ticket, _node: NodeId) {
        self.now = now;
        self.deeds.push_back(Deed::Answer { ticket, answer: Err(Refused::NoSuchNode) });
    }

    /// An operator wants the cluster to go on without those that are lost. [`Deed::Answer`] follows, once.
    pub fn recover(&mut self, now: Time, ticket: Ticket) {
        self.now = now;
        self.deeds.push_back(Deed::Answer { ticket, answer: Err(Refused::HasLeader) });
    }

    /// The node is to stop: it leaves, or hands over. [`Deed::Left`] follows, once.
    pub fn drain(&mut self, now: Time) {
        self.now = now;
        self.deeds.push_back(Deed::Left);
    }

    /// The catalogue as it is now, for [`Deed::Slice`].
    pub fn slice(&mut self, _catalogue: &Catalogue) {}

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
        None
    }
}

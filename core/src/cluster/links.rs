//! Who is linked with this node now, and whom it wants to be linked with.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::config::NodeAddress;
use crate::gate::{Introduction, LinkEnd};
use crate::id::{DialId, Life, NodeId};
use crate::time::Time;

/// One link.
#[derive(Clone, Debug)]
pub(super) struct Linked {
    pub(super) introduction: Introduction,
    pub(super) from: SocketAddr,
}

impl Linked {
    /// Where the node is to be dialed.
    pub(super) fn address(&self) -> NodeAddress {
        self.introduction.address_seen(self.from.ip())
    }
}

/// All links.
#[derive(Debug, Default)]
pub(super) struct Links {
    up: BTreeMap<Life, Linked>,
    /// The newest link to each node.
    nodes: BTreeMap<NodeId, Life>,
}

impl Links {
    pub(super) fn up(&mut self, life: Life, introduction: Introduction, from: SocketAddr) {
        self.nodes.insert(introduction.node, life);
        self.up.insert(life, Linked { introduction, from });
    }

    pub(super) fn down(&mut self, life: Life) -> Option<NodeId> {
        let node = self.up.remove(&life)?.introduction.node;
        if self.nodes.get(&node) == Some(&life) {
            self.nodes.remove(&node);
            let other = self.up.iter().find(|(_, linked)| linked.introduction.node == node).map(|(life, _)| *life);
            if let Some(other) = other {
                self.nodes.insert(node, other);
            }
        }
        Some(node)
    }

    pub(super) fn get(&self, life: Life) -> Option<&Linked> {
        self.up.get(&life)
    }

    pub(super) fn get_mut(&mut self, life: Life) -> Option<&mut Linked> {
        self.up.get_mut(&life)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Life, &Linked)> {
        self.up.iter().map(|(life, linked)| (*life, linked))
    }

    /// The life under which a node is linked.
    pub(super) fn life_of(&self, node: NodeId) -> Option<Life> {
        self.nodes.get(&node).copied()
    }

    /// Whether a node is linked and says that it is in this cluster. One that moved from cluster to cluster while it was let in
    /// may be a member of two, and is in one.
    pub(super) fn is_in(&self, node: NodeId, cluster: Option<u64>) -> bool {
        let linked = self.life_of(node).and_then(|life| self.get(life));
        linked.is_some_and(|linked| linked.introduction.cluster == cluster)
    }

    /// Whose life it is.
    pub(super) fn node_of(&self, life: Life) -> Option<NodeId> {
        self.up.get(&life).map(|linked| linked.introduction.node)
    }
}

/// Since when something lasts, for each of several.
#[derive(Debug)]
pub(super) struct Since<K>(BTreeMap<K, Time>);

impl<K> Default for Since<K> {
    fn default() -> Self {
        Since(BTreeMap::new())
    }
}

impl<K: Ord + Copy> Since<K> {
    /// It lasts for exactly these now.
    pub(super) fn are(&mut self, now: Time, keys: impl IntoIterator<Item = K>) {
        let before = std::mem::take(&mut self.0);
        self.0 = keys.into_iter().map(|key| (key, before.get(&key).copied().unwrap_or(now))).collect();
    }

    /// For which it has lasted since `at` or longer.
    pub(super) fn before(&self, at: Time) -> impl Iterator<Item = K> + '_ {
        self.0.iter().filter(move |(_, since)| **since <= at).map(|(key, _)| *key)
    }
}

/// Attempts to find out who is at an address that are under way at once, at most.
const MEETINGS_MAX: usize = 64;
/// Addresses that are remembered, at most.
const ADDRESSES_MAX: usize = 4096;

/// What an attempt to find out who is at an address has shown.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) at: Time,
    /// Who, or why nobody.
    pub(super) who: Result<Introduction, LinkEnd>,
}

/// Who is at which address.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    last: u64,
    under_way: BTreeMap<DialId, NodeAddress>,
    tried: BTreeMap<NodeAddress, Time>,
    found: BTreeMap<NodeAddress, Found>,
}

impl Meetings {
    /// Begins an attempt, unless there was one since `not_after`.
    pub(super) fn begin(&mut self, now: Time, address: &NodeAddress, not_after: Time) -> Option<DialId> {
        let busy = self.under_way.len() >= MEETINGS_MAX || self.under_way.values().any(|other| other == address);
        if busy || self.tried.get(address).is_some_and(|at| *at > not_after) {
            return None;
        }
        if self.tried.len() >= ADDRESSES_MAX {
            (self.tried, self.found) = Default::default();
        }
        self.tried.insert(address.clone(), now);
        self.last += 1;
        self.under_way.insert(DialId(self.last), address.clone());
        Some(DialId(self.last))
    }

    /// An attempt has ended: whose address it was.
    pub(super) fn ended(&mut self, now: Time, dial: DialId, who: Result<Introduction, LinkEnd>) -> Option<NodeAddress> {
        let address = self.under_way.remove(&dial)?;
        self.found.insert(address.clone(), Found { at: now, who });
        Some(address)
    }

    /// Somebody was found at an address by another way.
    pub(super) fn note(&mut self, now: Time, address: NodeAddress, who: Introduction) {
        if self.found.len() < ADDRESSES_MAX {
            self.found.insert(address, Found { at: now, who: Ok(who) });
        }
    }

    /// What is known of an address.
    pub(super) fn found(&self, address: &NodeAddress) -> Option<&Found> {
        self.found.get(address)
    }
}

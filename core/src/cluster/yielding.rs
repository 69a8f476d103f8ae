//! How two clusters of several nodes behind one `WRS_DOMAIN` become one: the one that has no channels gives way.
//!
//! It needs no agreement of its own. Each node that has seen the other cluster behind the service's address, and by the rule
//! that all go by gives way to it, asks its leader to be removed, as an operator would, and joins the other as a newcomer
//! does; the last one, alone and without channels, joins as such nodes do. So at every moment there are two sound clusters, a
//! channel that is made meanwhile is held by those who have not gone, and a leader may die at any point. Rule guarded: whoever
//! goes leaves a majority behind that holds all that it held.

use std::cmp::Reverse;
use std::time::Duration;

use super::links::Since;
use super::wire::{ControlMessage, Greeting};
use super::{Cluster, Deed};
use crate::config::NodeAddress;
use crate::event::Event;
use crate::id::{Life, NodeId};
use crate::time::Time;

/// How long a node tries to leave for another cluster: longer than its lease lasts and its removal takes.
const YIELD_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it asks.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long a member that is not live has to be out of reach before it is taken for one that needs not be waited for.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// Clusters that have ended with this node, as many as are remembered.
const BYGONE_MAX: usize = 8;

/// This node is about to leave its cluster for another.
#[derive(Debug)]
pub(super) struct Yielding {
    to: NodeAddress,
    since: Time,
    next_ask: Time,
    lost: Since<NodeId>,
}

impl Cluster {
    /// Whether this cluster of several nodes gives way to one that says this of itself: it has no channels, and the other has
    /// some, or more nodes, or as many and the lower id. What each knows of the other may be old: should both give way, they
    /// change places, and nothing is lost.
    pub(super) fn gives_way(&self, greeting: &Greeting) -> bool {
        let Some(own) = self.me.cluster else { return false };
        let nodes = u32::try_from(self.members.iter().count()).unwrap_or(u32::MAX);
        let (own, theirs) = ((nodes, Reverse(own)), (greeting.nodes, Reverse(greeting.cluster)));
        self.channels == 0 && (greeting.channels > 0 || theirs > own)
    }

    /// Begins to leave for the cluster of the node at this address.
    pub(super) fn begin_yielding(&mut self, to: NodeAddress) {
        let settled = self.is_live() && self.lease.holds(self.now) && self.now >= self.next_try;
        if !settled || self.yielding.is_some() {
            return;
        }
        self.deeds.push_back(Deed::Report(Event::ClusterYields { address: to.to_string() }));
        self.yielding = Some(Yielding { to, since: self.now, next_ask: self.now, lost: Since::default() });
        self.look_soon();
    }

    /// Goes on with it: one node after another asks the leader to let it go, once all that are left are live; members that are
    /// out of reach go first, so that those who stay can do without them.
    pub(super) fn look_at_yielding(&mut self) {
        let alone = self.is_alone();
        let Some(yielding) = &mut self.yielding else { return };
        let over = self.now.since(yielding.since) >= YIELD_TIMEOUT || self.channels > 0;
        if over || self.group.is_none() || self.joining.is_some() || self.leaving.is_some() {
            return self.stop_yielding();
        }
        let own = self.me.node;
        let away: Vec<NodeId> = self
            .members
            .iter()
            .filter(|(node, member)| *node != own && member.life.is_none())
            .map(|(n, _)| n)
            .collect();
        let unlinked = away.iter().copied().filter(|node| !self.links.is_in(*node, self.me.cluster));
        yielding.lost.are(self.now, unlinked);
        if self.now < yielding.next_ask {
            return;
        }
        yielding.next_ask = self.now + ASK_EVERY;
        let mut going: Vec<NodeId> = yielding.lost.before(self.now - LOST_AFTER).collect();
        if alone {
            let to = yielding.to.clone();
            self.stop_yielding();
            return self.begin_joining(to, None, false);
        }
        if away.is_empty() {
            going.push(own);
        }
        for node in going {
            self.ask_to_remove(node);
        }
    }

    /// It stays, or goes for another reason.
    pub(super) fn stop_yielding(&mut self) {
        if self.yielding.take().is_none() {
            return;
        }
        self.next_try = self.now + super::joining::TRY_AGAIN_AFTER;
        if let Some(leading) = &mut self.leading {
            leading.comings.keep(self.me.node);
        }
    }

    /// This node is no member any more, as it wanted: it is to join the other cluster. It takes no change until then, that there
    /// be no channel between the two.
    pub(super) fn go_where_it_yields_to(&mut self, yielding: Yielding) {
        self.begin_joining(yielding.to, None, false);
        self.has_asked_to_join();
    }

    /// The cluster that this node was the last of ends.
    pub(super) fn note_end_of_cluster(&mut self) {
        let Some(cluster) = self.me.cluster.filter(|_| self.is_alone()) else { return };
        if self.bygone.len() >= BYGONE_MAX {
            self.bygone.pop_front();
        }
        self.bygone.push_back(cluster);
    }

    /// Whoever was cut off when its cluster ended is told that it is no member of anything.
    pub(super) fn tell_bygone(&mut self, life: Life) {
        let theirs = self.links.get(life).and_then(|linked| linked.introduction.cluster);
        if theirs.is_some_and(|theirs| self.bygone.contains(&theirs)) {
            self.post(life, &ControlMessage::Farewell { member: false });
        }
    }
}

//! When a shard may seal an epoch: once nothing of it is decided or under way any more among those that live.
//!
//! A shard that hears of a new epoch stops deciding at once and says so, along the same ways that its decisions went. So whoever
//! has heard that from all others has heard, and used, all turns of the old epoch; that it sends nothing more by such turns it
//! says in its turn, along the ways that its messages went. Whoever has heard that, too, from all others knows where each of
//! its clients stands, and what it then seals is complete.
//!
//! This room only counts. It sends nothing.

use std::collections::BTreeMap;

use crate::id::{Life, ShardId};
use crate::members::Members;
use crate::peer::Step;

/// A node's life and the epoch that it is, or was, in.
pub(super) type Stay = (Life, u64);

/// A barrier for each step.
#[derive(Debug, Default)]
pub(super) struct Barriers {
    decide: Barrier,
    send: Barrier,
}

impl Barriers {
    /// That of a step.
    pub(super) fn of(&mut self, step: Step) -> &mut Barrier {
        match step {
            Step::Decide => &mut self.decide,
            Step::Send => &mut self.send,
        }
    }
}

/// Who has stopped, and as of which epoch.
#[derive(Debug, Default)]
pub(super) struct Barrier {
    siblings: BTreeMap<ShardId, Stay>,
    /// On the gate: other nodes, some of which may be ahead of this one.
    nodes: BTreeMap<Life, u64>,
    /// As of which epoch all other nodes have, as the gate says.
    abroad: Option<Stay>,
    /// On the gate: what it has told other nodes, and its shards, last.
    told_nodes: Option<Stay>,
    told_shards: Option<Stay>,
}

impl Barrier {
    /// A shard of this node, perhaps this one, has stopped.
    pub(super) fn shard_held(&mut self, shard: ShardId, stay: Stay) {
        self.siblings.insert(shard, stay);
    }

    /// On the gate: every shard of another node has.
    pub(super) fn node_held(&mut self, life: Life, epoch: u64, members: &Members) {
        self.nodes.insert(life, epoch);
        // Who is not live may become so by a change that is not known here yet; an epoch that is over is nobody's.
        self.nodes.retain(|life, epoch| members.node_of(*life).is_some() || *epoch >= members.epoch());
    }

    /// All other nodes have, says the gate.
    pub(super) fn others_held(&mut self, stay: Stay) {
        self.abroad = Some(stay);
    }

    fn is_held_here(&self, (life, epoch): Stay, shards: u16) -> bool {
        (0..shards.max(1)).all(|shard| self.siblings.get(&ShardId(shard)).is_some_and(|s| s.0 == life && s.1 >= epoch))
    }

    /// On the gate: whether to tell the other nodes now that this one has stopped. True once for each epoch.
    pub(super) fn shall_tell_nodes(&mut self, stay: Stay, shards: u16) -> bool {
        self.is_held_here(stay, shards) && self.told_nodes.replace(stay) != Some(stay)
    }

    /// On the gate: whether to tell the shards now that all other nodes have stopped. True once for each epoch.
    pub(super) fn shall_tell_shards(&mut self, stay: Stay, members: &Members) -> bool {
        let mut others = members.lives().filter(|life| *life != stay.0);
        others.all(|life| self.nodes.get(&life).is_some_and(|epoch| *epoch >= stay.1))
            && self.told_shards.replace(stay) != Some(stay)
    }

    /// Whether everybody has stopped.
    pub(super) fn is_passed(&self, stay: Stay, shards: u16) -> bool {
        self.is_held_here(stay, shards) && self.abroad.is_some_and(|abroad| abroad.0 == stay.0 && abroad.1 >= stay.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeAddress;
    use crate::id::NodeId;
    use crate::members::{Member, NodeChange};

    fn members(count: u64) -> Members {
        let address = NodeAddress::parse("127.0.0.1:4000").unwrap();
        let member = Member { incarnation: 1, address, shards: 2, version: 1, life: None };
        let mut members = Members::new();
        for n in 1..=count {
            members.apply(&NodeChange::Join { node: NodeId(n), member: member.clone() });
            members.apply(&NodeChange::Live { node: NodeId(n), life: Life(n) });
        }
        members
    }

    #[test]
    fn a_shard_seals_when_its_siblings_and_all_other_nodes_have_stopped() {
        let (mut barrier, members) = (Barrier::default(), members(3));
        let stay = (Life(1), members.epoch());
        barrier.shard_held(ShardId(0), stay);
        assert!(!barrier.shall_tell_nodes(stay, 2), "the other shard still decides");
        barrier.shard_held(ShardId(1), stay);
        assert!(barrier.shall_tell_nodes(stay, 2));
        assert!(!barrier.shall_tell_nodes(stay, 2), "it was told");
        barrier.node_held(Life(2), stay.1, &members);
        assert!(!barrier.shall_tell_shards(stay, &members), "a node is missing");
        barrier.node_held(Life(3), stay.1 + 1, &members);
        assert!(barrier.shall_tell_shards(stay, &members), "who is ahead decides nothing here either");
        assert!(!barrier.is_passed(stay, 2));
        barrier.others_held(stay);
        assert!(barrier.is_passed(stay, 2));
        assert!(!barrier.is_passed((Life(1), stay.1 + 1), 2), "the next epoch is another matter");
    }

    #[test]
    fn what_was_said_in_another_life_counts_for_nothing() {
        let mut barrier = Barrier::default();
        barrier.shard_held(ShardId(0), (Life(1), 9));
        barrier.others_held((Life(1), 9));
        assert!(!barrier.is_passed((Life(2), 5), 1));
        barrier.shard_held(ShardId(0), (Life(2), 5));
        barrier.others_held((Life(2), 5));
        assert!(barrier.is_passed((Life(2), 5), 1));
    }

    #[test]
    fn a_dead_node_is_not_waited_for() {
        let (mut barrier, mut members) = (Barrier::default(), members(2));
        assert!(!barrier.shall_tell_shards((Life(1), members.epoch()), &members));
        members.apply(&NodeChange::Gone { life: Life(2), closed: true });
        assert!(barrier.shall_tell_shards((Life(1), members.epoch()), &members));
    }
}

//! Who is in the cluster, and who of them is live: a table that the nodes agree on, like the catalogue.
//!
//! It changes only by applying a [`NodeChange`], in the same order everywhere, and reads no clock, configuration or chance.
//! Each change of the set of lives begins a new *epoch*, and with it every channel may have another home. Which node a
//! channel's home is on follows from the table alone, so that nobody has to be asked.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::NodeAddress;
use crate::id::{ChannelId, Life, NodeId};

/// What every node knows of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which run of its process: a restart in memory is another node, one with a data directory is not.
    pub incarnation: u64,
    /// Where its cluster port is.
    pub address: NodeAddress,
    /// How many shards it has, 1 to 1,024.
    pub shards: u16,
    /// The newest version of the cluster's protocol that it speaks.
    pub version: u8,
    /// Its present life; `None` while it is away.
    pub life: Option<Life>,
}

/// One change of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeChange {
    /// A node becomes a member, or tells its new incarnation, address and shards. It is away until it is live.
    Join {
        /// Which.
        node: NodeId,
        /// What is to be known of it; its `life` is ignored.
        member: Member,
    },
    /// A member is none any more.
    Leave(NodeId),
    /// A member is live. Nothing changes if it is live already under the same life.
    Live {
        /// Which.
        node: NodeId,
        /// Its new life.
        life: Life,
    },
    /// A life has ended.
    Gone {
        /// Which.
        life: Life,
        /// Whether its clients are gone for sure; if not, some may be connected until it has noticed by itself.
        closed: bool,
    },
    /// The clients of a life that has ended are gone for sure by now.
    Closed(Life),
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    epoch: u64,
    nodes: BTreeMap<NodeId, Member>,
    /// The present lives, and whose each is.
    lives: BTreeMap<Life, NodeId>,
    /// Lives that have ended and whose clients may still be connected: no seat of theirs is given away.
    lingering: BTreeSet<Life>,
}

impl Members {
    /// Nobody, in epoch 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// The table as a snapshot tells it.
    pub fn restore(epoch: u64, nodes: BTreeMap<NodeId, Member>, lingering: BTreeSet<Life>) -> Self {
        let lives = nodes.iter().filter_map(|(node, member)| Some((member.life?, *node))).collect();
        Members { epoch, nodes, lives, lingering }
    }

    /// Applies a change. True: the set of lives is another, and with it the epoch.
    pub fn apply(&mut self, change: &NodeChange) -> bool {
        let before = self.epoch;
        match change {
            NodeChange::Join { node, member } => {
                let life = self.nodes.get(node).and_then(|known| known.life);
                self.nodes.insert(*node, Member { life, ..member.clone() });
            }
            NodeChange::Leave(node) => {
                if let Some(life) = self.nodes.remove(node).and_then(|member| member.life) {
                    self.end(life);
                }
            }
            NodeChange::Live { node, life } => {
                if let Some(member) = self.nodes.get_mut(node)
                    && member.life != Some(*life)
                {
                    if let Some(old) = member.life.replace(*life) {
                        self.lives.remove(&old);
                    }
                    self.lives.insert(*life, *node);
                    self.epoch += 1;
                }
            }
            NodeChange::Gone { life, closed } => {
                if let Some(member) = self.lives.get(life).and_then(|node| self.nodes.get_mut(node)) {
                    member.life = None;
                    if !closed {
                        self.lingering.insert(*life);
                    }
                }
                self.end(*life);
            }
            NodeChange::Closed(life) => drop(self.lingering.remove(life)),
        }
        self.epoch != before
    }

    fn end(&mut self, life: Life) {
        if self.lives.remove(&life).is_some() {
            self.epoch += 1;
        }
    }

    /// Counts the changes of the set of lives.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// One member.
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.nodes.get(&node)
    }

    /// All members, by id.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.nodes.iter().map(|(node, member)| (*node, member))
    }

    /// The present lives, in order.
    pub fn lives(&self) -> impl Iterator<Item = Life> + '_ {
        self.lives.keys().copied()
    }

    /// How many lives there are.
    pub fn live_count(&self) -> usize {
        self.lives.len()
    }

    /// Lives that have ended and whose clients may still be connected.
    pub fn lingering(&self) -> impl Iterator<Item = Life> + '_ {
        self.lingering.iter().copied()
    }

    /// Whose life it is, if it lasts.
    pub fn node_of(&self, life: Life) -> Option<NodeId> {
        self.lives.get(&life).copied()
    }

    /// The life that decides for a channel: rendezvous hashing, so that a change of the lives moves as few channels as can
    /// be (Thaler and Ravishankar, 1998). `None` while nobody is live.
    pub fn home(&self, channel: ChannelId) -> Option<Life> {
        if self.lives.len() <= 1 {
            return self.lives.keys().next().copied();
        }
        let bits = channel.bits();
        let seed = (bits as u64) ^ ((bits >> 64) as u64).rotate_left(32);
        self.lives.keys().copied().max_by_key(|life| mix(seed ^ life.0))
    }
}

/// SplitMix64's finaliser.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        let address = NodeAddress::parse("127.0.0.1:4000").unwrap();
        Member { incarnation: 1, address, shards: 2, version: 1, life: None }
    }

    fn members(count: u64) -> Members {
        let mut members = Members::new();
        for n in 1..=count {
            members.apply(&NodeChange::Join { node: NodeId(n), member: member() });
            assert!(members.apply(&NodeChange::Live { node: NodeId(n), life: Life(100 + n) }));
        }
        members
    }

    #[test]
    fn only_a_change_of_the_lives_begins_an_epoch() {
        let mut members = members(2);
        assert_eq!(members.epoch(), 2);
        assert!(!members.apply(&NodeChange::Live { node: NodeId(1), life: Life(101) }), "it is live already");
        assert!(!members.apply(&NodeChange::Join { node: NodeId(3), member: member() }));
        assert!(!members.apply(&NodeChange::Gone { life: Life(7), closed: true }), "nobody's");
        assert!(members.apply(&NodeChange::Gone { life: Life(101), closed: false }));
        assert!(members.apply(&NodeChange::Live { node: NodeId(1), life: Life(201) }));
        assert!(members.apply(&NodeChange::Live { node: NodeId(1), life: Life(202) }), "one life follows another");
        assert_eq!(members.lives().collect::<Vec<_>>(), [Life(102), Life(202)]);
        assert!(members.apply(&NodeChange::Leave(NodeId(2))));
        assert!(!members.apply(&NodeChange::Leave(NodeId(3))), "it was away");
        assert_eq!((members.epoch(), members.live_count()), (6, 1));
        assert_eq!(members.node_of(Life(202)), Some(NodeId(1)));
    }

    #[test]
    fn homes_are_spread_evenly_and_only_those_of_the_dead_move() {
        let mut members = members(5);
        let ids: Vec<ChannelId> = (0..5_000u128).map(|n| ChannelId::from_bits(n << 4, 8)).collect();
        let before: Vec<_> = ids.iter().map(|id| members.home(*id).unwrap()).collect();
        for life in members.lives() {
            let count = before.iter().filter(|home| **home == life).count();
            assert!((850..1_150).contains(&count), "{life}: {count}");
        }
        members.apply(&NodeChange::Gone { life: Life(103), closed: true });
        for (id, home) in ids.iter().zip(before) {
            let now = members.home(*id).unwrap();
            assert!(now == home || home == Life(103));
        }
    }
}

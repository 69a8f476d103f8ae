//! What can be looked into without a copy, for drivers that count and for checks that run after every input.

use super::{Raft, Role};
#[cfg(doc)]
use crate::confchange::ChangeKind;
use crate::confchange::Conf;
use crate::message::SnapshotMeta;
use crate::progress::ProgressMap;
use crate::{Incarnation, NodeId, Term};

impl Raft {
    /// The term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// Whom this node voted for in its term.
    #[must_use]
    pub fn vote(&self) -> Option<NodeId> {
        self.vote
    }

    /// Whether it grants votes: not before a member that began anew, or lost its disk, has been brought up (study ids R5, M7).
    #[must_use]
    pub fn grants_votes(&self) -> bool {
        self.may_vote()
    }

    /// This node's part.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The leader, if known.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// The configuration in force.
    #[must_use]
    pub fn conf(&self) -> &Conf {
        &self.conf
    }

    /// The incarnation under which `node` is known here: as the configuration tells it, else as it was first heard since this machine
    /// started. A leader may make the latter known to all, for good, by proposing a [`ChangeKind::Update`] that tells it.
    #[must_use]
    pub fn incarnation_of(&self, node: NodeId) -> Option<Incarnation> {
        let told = self.conf.stay(node)?.incarnation;
        let heard = || self.heard.iter().find(|heard| heard.node == node).map(|heard| heard.incarnation);
        Some(told).filter(|told| *told != Incarnation(0)).or_else(heard)
    }

    /// What a leader knows of every member. On another node it means nothing.
    #[must_use]
    pub fn progress(&self) -> &ProgressMap {
        &self.progress
    }

    /// The newest snapshot; index 0 if there is none.
    #[must_use]
    pub fn snapshot(&self) -> &SnapshotMeta {
        &self.snapshot
    }

    /// Whether no membership change is in this leader's log that is not applied, so that another may be proposed.
    #[must_use]
    pub fn conf_settled(&self) -> bool {
        self.pending_conf_index <= self.log.applied() && !self.conf.is_joint()
    }
}

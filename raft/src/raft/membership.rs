//! Membership in force: changes take effect when they are applied (etcd's way; study id M2 says what that needs).

use super::{Action, BootError, Fatal, Ignored, Raft, Role};
use crate::Index;
use crate::confchange::{Changed, Conf, ConfChange};
use crate::quorum::{self, VoteResult};

impl Raft {
    /// Brings the membership change at `index` into force, before [`Raft::applied`] does.
    pub(super) fn activate(&mut self, index: Index) -> Result<(), Ignored> {
        if index > self.log.applying() {
            self.stop(Fatal::Driver { reported: index });
            return Ok(());
        }
        if index <= self.activated {
            return Err(Ignored::NotNow);
        }
        self.activate_upto(index);
        Ok(())
    }

    /// Whether the members that this leader hears would still be a quorum after `change`. A caller asks before it proposes to add
    /// a voter or remove one: a group of one that adds a voter that is not there yet can commit nothing more (study id M7). New
    /// nodes join as learners and are promoted once they have caught up. False on a node that does not lead.
    #[must_use]
    pub fn keeps_quorum(&self, change: &ConfChange) -> bool {
        let Ok(Changed { conf, .. }) = self.conf.after(change, self.log.last_index() + 1) else { return false };
        let hears =
            |node| Some(node == self.config.id || self.progress.get(node).is_some_and(|peer| peer.recent_active));
        let quorum = quorum::joint_vote(&conf.voters, &conf.outgoing, hears);
        self.role == Role::Leader && quorum == VoteResult::Won
    }

    /// Everything up to `index` is applied; membership changes among it are in force.
    #[inline]
    pub(super) fn applied(&mut self, index: Index) -> Result<(), Ignored> {
        if index > self.log.applying() {
            self.stop(Fatal::Driver { reported: index });
            return Ok(());
        }
        if index <= self.log.applied() {
            return Err(Ignored::NotNow);
        }
        self.activate_upto(index);
        let bytes = self.log.applied_to(index);
        self.uncount(bytes);
        self.after_applied();
        Ok(())
    }

    /// Payload bytes of a leader's entries are applied.
    #[inline]
    pub(super) fn uncount(&mut self, bytes: u64) {
        self.uncommitted_bytes =
            self.uncommitted_bytes.saturating_sub(if mutant!(UncommittedNeverFalls) { 0 } else { bytes });
    }

    /// Leaves a joint configuration that wants to be left (study id M3). Tried after each application, so that neither a
    /// transfer nor a change of leader can lose it; the entry has no payload, so that no limit refuses it.
    #[inline]
    pub(super) fn after_applied(&mut self) {
        if self.log.bytes() > self.config.log_bytes_max {
            self.want_snapshot();
        }
        let due = self.conf.auto_leave && !mutant!(NeverLeavesJoint) && self.log.applied() >= self.pending_conf_index;
        if due && self.role == Role::Leader {
            // Refused during a transfer: then the next leader does it, or this one at its next entry.
            let _ = self.append_conf(None, &ConfChange::leave_joint());
        }
    }

    /// Asks the application for a newer snapshot, once for each that there is.
    pub(super) fn want_snapshot(&mut self) {
        let index = self.log.applied();
        if !self.snapshot_wanted && index > self.snapshot.index {
            self.snapshot_wanted = true;
            self.events.push(Action::SnapshotWanted { index });
        }
    }

    #[inline]
    pub(super) fn activate_upto(&mut self, index: Index) {
        if self.log.confs_are_applied() {
            self.activated = self.activated.max(index);
        } else {
            self.activate_some(index);
        }
    }

    fn activate_some(&mut self, index: Index) {
        while self.fatal.is_none() && self.activated < index {
            let next = self.log.next_conf(self.activated, index);
            let Some((at, payload)) = next.map(|entry| (entry.index, entry.payload.clone())) else {
                self.activated = index;
                return;
            };
            self.activated = at;
            let Some(change) = ConfChange::decode(&payload) else {
                return self.stop(Fatal::UnreadableConf { index: at });
            };
            match self.conf.after(&change, at) {
                Ok(Changed { conf, .. }) => self.switch_conf(conf, at),
                // Every node refuses it alike, since it depends on nothing but the log.
                Err(error) => {
                    let conf = Box::new(self.conf.clone());
                    self.events.push(Action::Configured { index: at, conf, refused: Some(error) });
                }
            }
        }
    }

    /// At start: the changes between the snapshot and what the application holds.
    pub(super) fn recover_conf(&mut self, applied: Index) -> Result<(), BootError> {
        self.activate_upto(applied);
        match self.fatal {
            Some(Fatal::UnreadableConf { index }) => Err(BootError::UnreadableConf { index }),
            _ => Ok(()),
        }
    }

    pub(super) fn switch_conf(&mut self, conf: Conf, index: Index) {
        self.progress.switch(&conf, self.log.last_index());
        self.conf = conf;
        self.confs.push_back((index, self.conf.clone()));
        let members = &self.conf;
        self.heard.retain(|heard| members.stay(heard.node).is_some_and(|stay| stay.since == heard.since));
        self.events.push(Action::Configured { index, conf: Box::new(self.conf.clone()), refused: None });

        let own = self.progress.get(self.config.id);
        let votes = own.is_some_and(|progress| !progress.learner);
        if self.role != Role::Leader {
            if !votes && self.role != Role::Follower {
                // It learned in the middle of its candidacy that it is none.
                self.become_follower(self.term, None);
            }
            return;
        }
        if !votes {
            // Removed or demoted (study id M6).
            if self.config.step_down_on_removal && !mutant!(RemovedLeaderStays) {
                self.become_follower(self.term, None);
            }
            return;
        }
        if self.maybe_commit() {
            self.release_pending_reads();
            self.broadcast_append();
        } else {
            // New members need not wait for a heartbeat.
            let mut at = 0;
            while let Some(node) = self.progress.id_at(at) {
                at += 1;
                if node != self.config.id {
                    self.send_append(node, false);
                }
            }
        }
        // A quorum of those who remain may have confirmed long ago.
        if !mutant!(ReadsMissShrinking) {
            self.confirm_reads();
        }
        if self.transferring_to.is_some_and(|to| !self.conf.is_voter(to)) {
            self.transferring_to = None;
        }
    }
}

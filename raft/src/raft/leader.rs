//! How a leader replicates: appends, answers, heartbeats, snapshots, transfer. etcd `stepLeader`.

use super::{Action, Ignored, Raft, Role};
use crate::entry::{Entries, Entry, EntryKind};
use crate::log::EntryId;
use crate::message::Body;
use crate::progress::{Progress, ProgressState};
use crate::{Index, NodeId, quorum};

impl Raft {
    /// Appends entries of its own, and counts itself once they are durable.
    pub(super) fn append_own(&mut self, items: impl Iterator<Item = (EntryKind, bytes::Bytes)>) {
        let (term, first) = (self.term, self.log.last_index() + 1);
        let entry = |((kind, payload), index)| Entry { term, index, kind, payload };
        let entries: Entries = items.zip(first..).map(entry).collect();
        self.log.append(entries);
        let index = self.log.last_index();
        if mutant!(LeaderCountsUnwritten) {
            self.progress.get_mut(self.config.id).map(|own| own.maybe_update(index));
        }
        if self.config.in_memory {
            // Nothing to wait for but the end of this step.
            self.own_uncounted = true;
        } else {
            self.send(self.config.id, 0, Body::Appended { index });
        }
    }

    /// Counts what this leader has appended itself, where nothing is written.
    pub(super) fn count_own(&mut self) {
        self.own_uncounted = false;
        if self.role == Role::Leader {
            // It is known, and a member or else not counted.
            let _ = self.on_appended(self.config.id, 0, self.log.last_index());
        }
    }

    pub(super) fn broadcast_append(&mut self) {
        let mut at = 0;
        while let Some(node) = self.progress.id_at(at) {
            if node != self.config.id {
                self.send_append(node, true);
            }
            at += 1;
        }
    }

    /// Sends what a peer needs next: entries, a snapshot, or only the commit index if `even_empty`. False if nothing was sent.
    pub(super) fn send_append(&mut self, to: NodeId, even_empty: bool) -> bool {
        let limits = self.config.inflight_limits();
        let Some(progress) = self.progress.get_mut(to) else { return false };
        if progress.is_paused() || (!even_empty && progress.next > self.log.last_index()) {
            return false;
        }
        let prev_index = progress.next.saturating_sub(1);
        let Some(prev_term) = self.log.term(prev_index) else { return self.send_snapshot(to) };
        // With a full window only empty appends go, so that one of them brings the answer that frees it.
        let full = progress.state == ProgressState::Replicate && progress.is_full(limits);
        let entries = if full || progress.next > self.log.last_index() {
            Entries::none()
        } else {
            self.log.slice(progress.next, Index::MAX, self.config.append_bytes_max)
        };
        if entries.is_empty() && !even_empty {
            return false;
        }
        let commit = self.log.committed();
        progress.sent_entries(entries.len() as u64, entries.payload_bytes(), limits);
        progress.sent_commit = commit;
        let session = progress.session;
        self.send(to, session, Body::Append { prev_index, prev_term, commit, entries });
        true
    }

    fn send_snapshot(&mut self, to: NodeId) -> bool {
        let Some(progress) = self.progress.get_mut(to) else { return false };
        if !progress.recent_active || self.snapshot.index == 0 {
            return false;
        }
        if self.snapshot.index < progress.session && progress.matched == 0 && !mutant!(JoinsWithOldSnapshots) {
            // The peer takes none from before its present stay (see `on_snapshot`). Asked for again with each echo.
            self.want_snapshot();
            return false;
        }
        progress.become_snapshot(self.snapshot.index);
        let session = progress.session;
        let meta = Box::new(self.snapshot.clone());
        self.send(to, session, Body::Snapshot { meta });
        if let Some(Action::Send(message)) = self.sends.pop() {
            self.sends.push(Action::SendSnapshot { to, message });
        }
        true
    }

    pub(super) fn broadcast_heartbeat(&mut self) {
        let round = self.reads.next_round(self.now);
        let mut at = 0;
        while let Some(node) = self.progress.id_at(at) {
            at += 1;
            if node == self.config.id {
                continue;
            }
            let Some(progress) = self.progress.get_mut(node) else { continue };
            // Never beyond what the peer is known to hold (study id R2).
            let commit = if mutant!(HeartbeatCommitsUnmatched) {
                self.log.committed()
            } else {
                progress.matched.min(self.log.committed())
            };
            progress.sent_commit = commit;
            let session = progress.session;
            self.send(node, session, Body::Heartbeat { commit, round });
        }
    }

    /// Commits what a quorum holds, if it is of this term. The index is found anew from all voters (study id R7).
    #[inline]
    pub(super) fn maybe_commit(&mut self) -> bool {
        let matched = |node| self.progress.get(node).map(|progress| progress.matched);
        let index = quorum::joint_committed(&self.conf.voters, &self.conf.outgoing, matched);
        self.log.maybe_commit(EntryId { term: self.term, index })
    }

    #[inline]
    /// The peer's progress, if the answer belongs to the peer's present stay (study id R4).
    fn progress_of(&mut self, from: NodeId, session: Index) -> Result<&mut Progress, Ignored> {
        let own = from == self.config.id;
        let progress = self.progress.get_mut(from).ok_or(Ignored::UnknownPeer)?;
        if !own && progress.session != session && !mutant!(IgnoresSessions) {
            return Err(Ignored::OtherSession);
        }
        Ok(progress)
    }

    pub(super) fn on_rejected(
        &mut self,
        from: NodeId,
        session: Index,
        index: Index,
        hint: EntryId,
    ) -> Result<(), Ignored> {
        self.progress_of(from, session)?.recent_active = true;
        // Skip all indexes whose term here is above the hinted one: none of them can match (study id R6).
        let next = if hint.term > 0 { self.log.find_conflict_by_term(hint.index, hint.term).index } else { hint.index };
        let progress = self.progress_of(from, session)?;
        if !progress.maybe_decrease(index, next) {
            return Err(Ignored::NotNow);
        }
        if progress.state == ProgressState::Replicate {
            progress.become_probe();
            progress.narrow();
        }
        self.send_append(from, true);
        Ok(())
    }

    #[inline]
    pub(super) fn on_appended(&mut self, from: NodeId, session: Index, index: Index) -> Result<(), Ignored> {
        let (first, last) = (self.log.first_index(), self.log.last_index());
        let own = from == self.config.id;
        let commit = self.log.committed();
        let progress = self.progress_of(from, session)?;
        progress.recent_active = true;
        if index > last {
            return Err(Ignored::Malformed);
        }
        // An answer that brings nothing new still ends a probe.
        let ends_probe = progress.matched == index && progress.state == ProgressState::Probe;
        if !progress.maybe_update(index) && !ends_probe {
            return Ok(());
        }
        match progress.state {
            ProgressState::Probe => progress.become_replicate(),
            // Whatever snapshot it took, it reaches into the log again (study id S2).
            ProgressState::Snapshot if progress.matched + 1 >= first && !mutant!(SnapshotNeverEnds) => {
                progress.become_probe();
                progress.become_replicate();
            }
            ProgressState::Snapshot => {}
            ProgressState::Replicate => progress.free_inflights(index),
        }
        let behind = !own && progress.can_bump_commit(commit);
        if index > commit && self.maybe_commit() {
            self.release_pending_reads();
            self.broadcast_append();
        } else if behind {
            self.send_append(from, true);
        }
        if own {
            return Ok(());
        }
        if index < last {
            // The window has room again: send as much as fits.
            while self.send_append(from, false) {}
        } else if self.transferring_to == Some(from) {
            // It has caught up.
            self.send_timeout_now(from);
        }
        Ok(())
    }

    pub(super) fn on_echo(&mut self, from: NodeId, session: Index, round: u64) -> Result<(), Ignored> {
        let (now, last) = (self.now, self.log.last_index());
        let sent_at = self.reads.sent_at(round);
        let progress = self.progress_of(from, session)?;
        progress.recent_active = true;
        progress.paused = progress.paused && mutant!(ProbeStaysPaused);
        if let (true, Some(at)) = (round > progress.acked_round, sent_at) {
            progress.acked_round = round;
            progress.acked_at = if mutant!(LeaseFromReceipt) { now } else { at };
        }
        // Where all appends on the way were lost, this one, even empty, brings the answer that frees the window.
        if progress.matched < last || progress.state == ProgressState::Probe {
            self.send_append(from, true);
        }
        self.confirm_reads();
        Ok(())
    }

    pub(super) fn snapshot_sent(&mut self, to: NodeId, delivered: bool) -> Result<(), Ignored> {
        let leads = self.role == Role::Leader;
        let progress = self.progress.get_mut(to).filter(|_| leads).ok_or(Ignored::NotNow)?;
        if progress.state != ProgressState::Snapshot {
            return Err(Ignored::NotNow);
        }
        if mutant!(SnapshotNeverEnds) {
            return Ok(());
        }
        if !delivered {
            progress.pending_snapshot = 0;
        }
        progress.become_probe();
        // Delivered: the peer's answer resumes. Failed: the next heartbeat's echo does.
        progress.paused = true;
        Ok(())
    }

    pub(super) fn unreachable(&mut self, peer: NodeId) -> Result<(), Ignored> {
        let leads = self.role == Role::Leader;
        let progress = self.progress.get_mut(peer).filter(|_| leads).ok_or(Ignored::NotNow)?;
        if progress.state == ProgressState::Replicate {
            progress.become_probe();
        }
        Ok(())
    }

    /// Hands leadership to `to` (thesis section 3.10), or asks the leader to.
    pub(super) fn transfer_leader(&mut self, to: NodeId) -> Result<(), Ignored> {
        match (self.role, self.leader) {
            (Role::Leader, _) => {}
            (Role::Follower, Some(leader)) if leader != self.config.id => {
                self.send(leader, 0, Body::TransferLeader { to });
                return Ok(());
            }
            _ => return Err(Ignored::NotNow),
        }
        let last = self.log.last_index();
        let progress = self.progress.get(to).ok_or(Ignored::UnknownPeer)?;
        if progress.learner || self.transferring_to == Some(to) {
            return Err(Ignored::NotNow);
        }
        let caught_up = progress.matched == last;
        self.transferring_to = None;
        if to == self.config.id {
            return Err(Ignored::NotNow);
        }
        self.election_since = self.now;
        self.transferring_to = Some(to);
        if caught_up {
            self.send_timeout_now(to);
        } else {
            self.send_append(to, true);
        }
        Ok(())
    }

    fn send_timeout_now(&mut self, to: NodeId) {
        // From here on another may be elected at any time: the lease is over for this term (study id L3).
        self.reads.revoke_lease();
        self.send(to, 0, Body::TimeoutNow);
    }
}

//! What a follower does with a leader's words. Thesis section 3.5, Raft figure 13; etcd `handleAppendEntries` and following.

use super::{Action, DropReason, Fatal, Ignored, Raft, check_chain};
use crate::confchange::Stay;
use crate::entry::Entries;
use crate::log::EntryId;
use crate::message::{Body, Message, SnapshotMeta};
use crate::{Incarnation, Index, NUMBER_MAX, NodeId};

impl Raft {
    /// Refuses words meant for an earlier stay of this node in the group (study id R4).
    pub(super) fn check_session(&mut self, session: Index) -> Result<(), Ignored> {
        if session < self.session_seen {
            return Err(Ignored::OtherSession);
        }
        self.session_seen = session;
        Ok(())
    }

    /// Refuses what a member promises that comes back with another disk: it has forgotten votes and entries (study id R5). A
    /// membership change that removes it and one that adds it anew let it back in.
    ///
    /// Its other words are heard, since they rest on nothing that it has forgotten: those of a leader rest on its election, and a later
    /// term is a later term. This node's configuration may be an old one, and the member be in a later stay: were nothing heard from
    /// it, this node could never learn of that.
    #[inline(always)]
    pub(super) fn check_incarnation(&mut self, message: &Message) -> Result<(), Ignored> {
        if message.incarnation == Incarnation(0) { Ok(()) } else { self.check_told_incarnation(message) }
    }

    fn check_told_incarnation(&mut self, message: &Message) -> Result<(), Ignored> {
        let Message { from, incarnation, session, term, .. } = *message;
        let Some(stay) = self.conf.stay(from) else { return Ok(()) };
        let told = Some(stay).filter(|stay| stay.incarnation != Incarnation(0));
        let known = told.or_else(|| self.heard.iter().find(|heard| heard.node == from).copied());
        match known {
            Some(known) if known.incarnation == incarnation || mutant!(HearsOtherIncarnations) => Ok(()),
            Some(_) => match &message.body {
                Body::Vote { .. } | Body::PreVote { .. } if session <= stay.since => Err(Ignored::OtherIncarnation),
                Body::PreVoteReply { granted: true } => Err(Ignored::OtherIncarnation),
                Body::VoteReply { granted: true }
                | Body::Appended { .. }
                | Body::Rejected { .. }
                | Body::HeartbeatEcho { .. }
                    if term <= self.term =>
                {
                    Err(Ignored::OtherIncarnation)
                }
                _ => Ok(()),
            },
            None => {
                // What an earlier self sent may still be on the way: only an answer that echoes this stay tells its name.
                if stay.since == 0 || (message.body.is_answer() && session == stay.since) {
                    self.heard.push(Stay { incarnation, ..stay });
                }
                Ok(())
            }
        }
    }

    #[inline]
    pub(super) fn on_append(
        &mut self,
        from: NodeId,
        session: Index,
        prev: EntryId,
        commit: Index,
        entries: Entries,
    ) -> Result<(), Ignored> {
        let newest = entries.last().map_or(0, |entry| entry.term);
        if check_chain(prev, &entries).is_err() || newest > self.term || prev.term > self.term {
            return Err(Ignored::Malformed);
        }
        // Below the commit index, and so below a snapshot too, all is known to match (study id R2).
        if prev.index < self.log.committed() {
            self.send(from, session, Body::Appended { index: self.log.committed() });
            return Ok(());
        }
        let result = self.log.maybe_append(prev, entries);
        let Some(appended) = self.or_stop(result) else { return Ok(()) };
        let Some((matched, cut)) = appended else {
            let hint = self.log.find_conflict_by_term(prev.index.min(self.log.last_index()), prev.term);
            let body = Body::Rejected { index: prev.index, hint_index: hint.index, hint_term: hint.term };
            self.send(from, session, body);
            return Ok(());
        };
        if let Some(cut) = cut {
            self.proposals.cut_from(cut, self.config.proposals_max, &mut self.events);
        }
        // Not beyond what this very message has verified (study id R3).
        let result = self.log.commit_to(if mutant!(CommitsUnverified) { commit } else { commit.min(matched) });
        if self.or_stop(result).is_some() {
            self.send(from, session, Body::Appended { index: matched });
        }
        Ok(())
    }

    pub(super) fn on_heartbeat(
        &mut self,
        from: NodeId,
        session: Index,
        commit: Index,
        round: u64,
    ) -> Result<(), Ignored> {
        if commit > self.log.last_index() && self.conf.members().is_empty() {
            // A node that has never held anything has lost nothing: these words were for one before it.
            return Err(Ignored::OtherSession);
        }
        let result = self.log.commit_to(commit);
        if self.or_stop(result).is_some() {
            if self.config.lease_reads() {
                self.promised_until = self.now + self.config.election_timeout;
            }
            self.send(from, session, Body::HeartbeatEcho { round });
        }
        Ok(())
    }

    pub(super) fn on_snapshot(&mut self, from: NodeId, session: Index, meta: &SnapshotMeta) -> Result<(), Ignored> {
        let sound = meta.index > 0 && meta.index < NUMBER_MAX && meta.term > 0 && meta.term <= self.term;
        if !sound || meta.conf.check().is_err() {
            return Err(Ignored::Malformed);
        }
        // Two committed entries at one index: two histories exist (study id S3).
        let known = if meta.index <= self.log.committed() { self.log.term(meta.index) } else { None };
        if known.is_some_and(|term| term != meta.term) {
            self.stop(Fatal::Diverged { index: meta.index });
            return Ok(());
        }
        if self.log.last_index() == 0 && meta.index < session && !mutant!(JoinsWithOldSnapshots) {
            // A member that begins anew must not live through the configurations of its earlier self: in one of them it may
            // have been a quorum (study id R5). Only a snapshot from its present stay will do.
            return Err(Ignored::OtherSession);
        }
        let index = if self.restore(meta) { self.log.last_index() } else { self.log.committed() };
        self.send(from, session, Body::Appended { index });
        Ok(())
    }

    /// Takes a snapshot in place of the log. False if it brings nothing.
    ///
    /// One whose configuration does not have this node is taken too, where etcd refuses it: the change that adds the node may
    /// follow in the log, and a refused snapshot would be sent for ever. Until then the node neither votes for itself nor counts.
    fn restore(&mut self, meta: &SnapshotMeta) -> bool {
        if meta.index <= self.log.committed() && !mutant!(TakesStaleSnapshots) {
            return false;
        }
        let id = EntryId { term: meta.term, index: meta.index };
        if (self.log.matches(id) && !mutant!(TakesStaleSnapshots))
            || (mutant!(SnapshotKeepsTail) && self.log.last_index() >= id.index)
        {
            // The log holds the entry already: only its commitment is news.
            let result = self.log.commit_to(meta.index);
            return self.or_stop(result).is_none();
        }
        self.proposals.drop_all(DropReason::Unknown, &mut self.events);
        self.snapshot = meta.clone();
        self.snapshot_wanted = false;
        self.log.restore(Box::new(meta.clone()));
        // The configuration as of the snapshot, and no later one: those after it are gone with the log (study id M5).
        self.activated = id.index;
        self.confs.clear();
        if !mutant!(RestoreKeepsConf) {
            self.switch_conf(meta.conf.clone(), id.index);
        }
        true
    }

    /// Notes a snapshot that the application has taken, and forgets the log behind it but for the tail.
    pub(super) fn snapshot_taken(&mut self, meta: SnapshotMeta) -> Result<(), Ignored> {
        if meta.index <= self.snapshot.index || self.snapshot_meta(meta.index).as_deref() != Some(&meta) {
            return Err(Ignored::Malformed);
        }
        while self.confs.get(1).is_some_and(|(from, _)| *from <= meta.index) {
            self.confs.pop_front();
        }
        let upto = meta.index.saturating_sub(self.config.log_tail_entries);
        let index = meta.index;
        self.snapshot = meta;
        self.snapshot_wanted = false;
        // Nothing to forget is as good.
        let _ = self.compact(upto);
        if self.log.bytes() > self.config.log_bytes_max {
            let _ = self.compact(index);
        }
        Ok(())
    }

    pub(super) fn compact(&mut self, upto: Index) -> Result<(), Ignored> {
        if !self.log.compact(upto.min(self.snapshot.index)) {
            return Err(Ignored::NotNow);
        }
        self.events.push(Action::Compacted { upto: self.log.first_index() - 1 });
        Ok(())
    }
}

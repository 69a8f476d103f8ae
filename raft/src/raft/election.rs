//! Elections: timers, campaigns, votes, and what a change of role resets. Thesis chapter 3 and section 9.6; etcd `raft.go`.

use core::time::Duration;

use super::{Fatal, Ignored, Raft, Role};
use crate::confchange::Stay;
use crate::entry::EntryKind;
use crate::log::EntryId;
use crate::message::Body;
use crate::quorum::{self, VoteResult};
use crate::{Config, Incarnation, Index, NodeId, Term};

/// Why, and so how, an election is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Campaign {
    /// First ask whether it would be won.
    Pre,
    /// Ask to be elected.
    Election,
    /// Ask to be elected, as the old leader wants: no pre-vote, and leases do not stand against it (study id L4).
    Transfer,
}

impl Raft {
    /// What the passing of time brings.
    pub(super) fn tick(&mut self) {
        self.expire_reads();
        match self.role {
            Role::Leader => self.tick_leader(),
            Role::Follower | Role::PreCandidate | Role::Candidate => {
                if self.promotable() && self.now.since(self.election_since) >= self.election_after {
                    self.election_since = self.now;
                    // Where it may not campaign, it waits another timeout.
                    let _ = self.hup(self.campaign_kind());
                }
            }
        }
    }

    fn tick_leader(&mut self) {
        if self.now.since(self.election_since) >= self.config.election_timeout {
            self.election_since = self.now;
            if self.config.check_quorum && !mutant!(NeverChecksQuorum) {
                self.check_quorum();
            }
            // A transfer that takes longer than an election has failed.
            self.transferring_to = None;
        }
        if self.role == Role::Leader && self.now.since(self.heartbeat_since) >= self.config.heartbeat_interval {
            self.heartbeat_since = self.now;
            self.broadcast_heartbeat();
        }
    }

    /// A leader that heard no quorum for an election timeout leads no one (thesis section 6.2; study ids E2, E5).
    fn check_quorum(&mut self) {
        let id = self.config.id;
        let active = |node| {
            let progress = self.progress.get(node).filter(|progress| !progress.learner)?;
            Some(node == id || progress.recent_active)
        };
        let quorum = quorum::joint_vote(&self.conf.voters, &self.conf.outgoing, active);
        if quorum != VoteResult::Won {
            self.become_follower(self.term, None);
        }
        for (node, progress) in self.progress.iter_mut() {
            if node != id {
                progress.recent_active = false;
            }
        }
    }

    fn campaign_kind(&self) -> Campaign {
        if self.config.pre_vote { Campaign::Pre } else { Campaign::Election }
    }

    pub(super) fn campaign_by_hand(&mut self) -> Result<(), Ignored> {
        if self.config.lease_reads() && self.now < self.promised_until {
            return Err(Ignored::LeaderAlive);
        }
        self.hup(self.campaign_kind())
    }

    /// Whether this node may lead: a voter, with no snapshot on its way to disk.
    pub(super) fn promotable(&self) -> bool {
        let voter =
            self.progress.get(self.config.id).is_some_and(|progress| !progress.learner || mutant!(LearnersCampaign));
        voter && self.log.pending_snapshot().is_none() && !self.is_stranger()
    }

    /// Asks for an election, if this node may: not while a committed membership change is unapplied (study id M2).
    pub(super) fn hup(&mut self, campaign: Campaign) -> Result<(), Ignored> {
        if self.role == Role::Leader
            || !self.promotable()
            || (self.log.has_unapplied_conf() && !mutant!(CampaignsWithUnappliedChange))
        {
            return Err(Ignored::NotNow);
        }
        self.campaign(campaign);
        Ok(())
    }

    fn campaign(&mut self, campaign: Campaign) {
        let pre = campaign == Campaign::Pre;
        let term = if pre {
            self.become_pre_candidate();
            self.term + 1
        } else {
            self.become_candidate();
            self.term
        };
        let EntryId { term: last_term, index: last_index } = self.log.last_id();
        let index = self.log.committed();
        let committed = EntryId { term: self.log.term(index).unwrap_or(0), index };
        let voters: Vec<NodeId> = self.conf.all_voters().collect();
        // So that one who knows this node from an earlier stay only, under another incarnation, hears it (study id R5).
        let stay = self.conf.stay(self.config.id).unwrap_or_default().since;
        for node in voters {
            let body = match (node == self.config.id, pre) {
                // Its own vote counts once it is durable, like anybody's (study id E6).
                (true, true) => Body::PreVoteReply { granted: true },
                (true, false) => Body::VoteReply { granted: true },
                (false, true) => Body::PreVote { last_index, last_term, committed },
                (false, false) => {
                    Body::Vote { last_index, last_term, transfer: campaign == Campaign::Transfer, committed }
                }
            };
            self.send_at(node, term, stay, body);
        }
    }

    /// A voter's word in this node's election. The first one counts.
    pub(super) fn on_word(&mut self, from: NodeId, granted: bool) {
        if !self.votes.iter().any(|(node, _)| *node == from) {
            self.votes.push((from, granted));
        }
        let word = |node| self.votes.iter().find(|(id, _)| *id == node).map(|(_, granted)| *granted);
        match quorum::joint_vote(&self.conf.voters, &self.conf.outgoing, word) {
            VoteResult::Won if self.role == Role::PreCandidate => self.campaign(Campaign::Election),
            VoteResult::Won => {
                self.become_leader();
                self.broadcast_append();
            }
            VoteResult::Lost => self.become_follower(self.term, None),
            VoteResult::Pending => {}
        }
    }

    /// Whether a leader was heard so recently that no other may be elected (thesis section 4.2.3).
    pub(super) fn hears_leader(&self) -> bool {
        let silence = self.now.since(self.election_since);
        let hears = self.leader.is_some() && silence < self.config.election_timeout;
        (self.config.check_quorum && hears) || self.has_promised()
    }

    /// With lease reads, whether a leader may still count on this node. Holds over a restart and over a forgotten leader, which
    /// is more than [`Raft::hears_leader`] needs to promise (study id L3).
    fn has_promised(&self) -> bool {
        self.config.lease_reads() && self.now < self.promised_until
    }

    /// Whether an earlier run of this node may have promised a leader to elect no other. One that keeps nothing on disk has no
    /// earlier run, and the only voter has nobody to promise it to.
    pub(super) fn may_have_promised(&self) -> bool {
        let alone = !self.conf.is_joint() && self.conf.voters == [self.config.id];
        self.config.lease_reads() && !self.config.in_memory && !alone
    }

    pub(super) fn on_vote(
        &mut self,
        from: NodeId,
        term: Term,
        last: EntryId,
        committed: EntryId,
        transfer: bool,
    ) -> Result<(), Ignored> {
        if !transfer && self.has_promised() {
            return Err(Ignored::LeaderAlive);
        }
        // Learners vote too: the asker may know that they are voters before they do (study id M4).
        let free = (self.vote.is_none() || mutant!(VotesTwice)) && self.leader.is_none() && self.may_vote();
        let granted = (self.vote == Some(from) || free)
            && !(mutant!(LearnersRefuseVotes) && self.conf.is_learner(self.config.id))
            && (self.log.is_up_to_date(last) || mutant!(VotesForShorterLogs));
        if granted {
            self.election_since = self.now;
            self.vote = Some(from);
            self.send_at(from, term, 0, Body::VoteReply { granted });
        } else {
            self.send(from, 0, Body::VoteReply { granted });
            self.tell_committed(from, last.index);
            self.hear_committed(committed);
        }
        Ok(())
    }

    pub(super) fn on_pre_vote(
        &mut self,
        from: NodeId,
        term: Term,
        last: EntryId,
        committed: EntryId,
    ) -> Result<(), Ignored> {
        if self.has_promised() {
            return Err(Ignored::LeaderAlive);
        }
        let free = self.vote.is_none() && self.leader.is_none();
        let free = (term > self.term || self.vote == Some(from) || free) && self.may_vote();
        let granted = free && self.log.is_up_to_date(last);
        // A yes carries the term that was asked for, a no this node's, so that the asker learns it (study id E4).
        let term = if granted { term } else { self.term };
        self.send_at(from, term, 0, Body::PreVoteReply { granted });
        if !granted {
            self.tell_committed(from, last.index);
            self.hear_committed(committed);
        }
        Ok(())
    }

    /// Whether this node knows anything that a vote could protect. One that begins anew under an old name does not: a member that
    /// was left behind may still live in a configuration in which the two are a quorum (study id R5). So a new member must be
    /// brought up before it is made a voter (study id M7).
    pub(super) fn may_vote(&self) -> bool {
        (self.log.last_index() > 0 || mutant!(VotesKnowingNothing)) && !self.is_stranger()
    }

    /// Whether the configuration names a member of this name that this node is not: it lost its disk, and has not been removed and
    /// added anew since. What it knows it has from the others; what it promised it has forgotten (study id R5).
    fn is_stranger(&self) -> bool {
        let Config { id, incarnation, .. } = self.config;
        let named = |stay: Stay| stay.incarnation != Incarnation(0) && stay.incarnation != incarnation;
        incarnation != Incarnation(0) && self.conf.stay(id).is_some_and(named) && !mutant!(HearsOtherIncarnations)
    }

    /// Tells a node whose election is refused what is committed, as far as its log reaches, if this node may not lead: it may have
    /// been removed, with a longer log than any that remains, and be the only one who knows that its removal is committed.
    pub(super) fn tell_committed(&mut self, to: NodeId, last_index: Index) {
        let index = self.log.committed().min(last_index);
        if self.conf.is_voter(self.config.id) || self.conf.members().is_empty() || mutant!(RemovalLocksGroup) {
            return;
        }
        if let Some(term) = self.log.term(index).filter(|_| index > 0) {
            self.send(to, 0, Body::Committed { index, term });
        }
    }

    /// A candidate that is refused knows what is committed: perhaps that this node, whose log is longer, is a voter by now and so
    /// the one that must lead.
    fn hear_committed(&mut self, committed: EntryId) {
        // What it knows already is as good.
        let _ = self.on_committed(committed);
    }

    /// Somebody knows that an entry is committed.
    pub(super) fn on_committed(&mut self, id: EntryId) -> Result<(), Ignored> {
        if self.role == Role::Leader || id.index <= self.log.committed() || !self.log.matches(id) {
            return Err(Ignored::NotNow);
        }
        let result = self.log.commit_to(id.index);
        self.or_stop(result);
        Ok(())
    }

    // Roles.

    fn reset(&mut self, term: Term) {
        if self.term != term || mutant!(ForgetsVoteInTerm) {
            self.term = term;
            self.vote = None;
            self.session_seen = 0;
        }
        self.leader = None;
        self.election_since = self.now;
        self.heartbeat_since = self.now;
        let spread = u64::try_from(self.config.election_spread().as_nanos()).unwrap_or(u64::MAX);
        self.election_after = self.config.election_timeout + Duration::from_nanos(self.random.below(spread));
        self.transferring_to = None;
        if !mutant!(KeepsWordsOfPreVote) {
            self.votes.clear();
        }
        let last = self.log.last_index();
        for (node, progress) in self.progress.iter_mut() {
            progress.reset(last + 1);
            if node == self.config.id {
                progress.matched = last;
            }
        }
        self.pending_conf_index = 0;
        self.uncommitted_bytes = 0;
        self.reads.lead_ended(&mut self.events);
    }

    pub(super) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        if term != self.term || leader != self.leader {
            self.reads.leader_changed(leader, &mut self.events);
        }
        self.reset(term);
        self.role = Role::Follower;
        self.leader = leader;
    }

    fn become_candidate(&mut self) {
        self.reads.leader_changed(None, &mut self.events);
        self.reset(self.term + u64::from(!mutant!(CampaignsInSameTerm)));
        self.vote = Some(self.config.id);
        self.role = Role::Candidate;
    }

    /// Changes neither term nor vote: it is only a question.
    fn become_pre_candidate(&mut self) {
        self.reads.leader_changed(None, &mut self.events);
        self.votes.clear();
        self.leader = None;
        self.role = Role::PreCandidate;
    }

    fn become_leader(&mut self) {
        self.reset(self.term);
        self.role = Role::Leader;
        self.leader = Some(self.config.id);
        if let Some(own) = self.progress.get_mut(self.config.id) {
            own.become_replicate();
            own.recent_active = true;
        }
        // There may be a membership change in the log; none may be proposed before all of it is applied (study id M1).
        self.pending_conf_index = if mutant!(ChangesBeforeOwnTerm) { 0 } else { self.log.last_index() };
        self.reads.lead_began();
        // An entry of its own term, so that those before it can be committed (study ids E1, L1).
        if !mutant!(NoEntryOfOwnTerm) {
            self.append_own(core::iter::once((EntryKind::Normal, bytes::Bytes::new())));
        }
    }

    /// Hears the leader of this term.
    #[inline]
    pub(super) fn follow(&mut self, leader: NodeId) {
        if self.role != Role::Follower {
            self.become_follower(self.term, Some(leader));
            return;
        }
        self.election_since = self.now;
        if self.leader != Some(leader) {
            self.reads.leader_changed(Some(leader), &mut self.events);
            self.leader = Some(leader);
        }
    }

    pub(super) fn forget_leader(&mut self) -> Result<(), Ignored> {
        if self.role != Role::Follower || self.config.lease_reads() || self.leader.is_none() {
            return Err(Ignored::NotNow);
        }
        self.reads.leader_changed(None, &mut self.events);
        self.leader = None;
        Ok(())
    }

    /// Ends the machine where an error of the log says so.
    pub(super) fn or_stop<T>(&mut self, result: Result<T, Fatal>) -> Option<T> {
        result.map_err(|fatal| self.stop(fatal)).ok()
    }
}

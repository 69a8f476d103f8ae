//! Linearizable reads: which index must be applied before a read may be served. Thesis section 6.4.
//!
//! The leader numbers its rounds of heartbeats. A read waits for the echo of a round that was sent after the read came, from a
//! quorum; nothing that a caller chose travels, so that no late echo can be taken for another's (study id L2).

use core::time::Duration;
use std::collections::VecDeque;

use super::{Action, Ignored, Raft, ReadMode, Role};
use crate::message::Body;
use crate::{Index, NodeId, ReadToken, Time, quorum};

/// Rounds whose time of sending is remembered, for leases. An echo of an older one prolongs none.
const ROUNDS_KEPT: usize = 64;

/// Who asked.
#[derive(Clone, Copy, Debug, Hash)]
enum Asker {
    Here(ReadToken),
    Peer { node: NodeId, number: u64 },
}

#[derive(Clone, Debug, Hash)]
struct Waiting {
    asker: Asker,
    index: Index,
    round: u64,
}

/// A read that this follower passed to its leader.
#[derive(Clone, Debug, Hash)]
struct Passed {
    number: u64,
    token: ReadToken,
    since: Time,
}

#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Reads {
    /// The newest round of heartbeats in this leader's term.
    round: u64,
    rounds: VecDeque<(u64, Time)>,
    /// Reads that wait for the echoes of a round, in the order of their rounds.
    waiting: VecDeque<Waiting>,
    /// Reads that wait until this leader has committed in its term (study id L1).
    early: Vec<Asker>,
    /// Whether a read came since the last round.
    unspread: bool,
    lease_revoked: bool,
    passed: VecDeque<Passed>,
    next_number: u64,
}

impl Reads {
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.early.len() + self.passed.len()
    }

    /// Whether a read waits for a round that is not sent.
    #[inline]
    pub(super) fn is_unspread(&self) -> bool {
        self.unspread
    }

    /// Numbers this life's reads from `number` on.
    pub(super) fn number_from(&mut self, number: u64) {
        self.next_number = number;
    }

    pub(super) fn next_round(&mut self, now: Time) -> u64 {
        self.round += 1;
        self.unspread = false;
        if self.rounds.len() >= ROUNDS_KEPT {
            self.rounds.pop_front();
        }
        self.rounds.push_back((self.round, now));
        self.round
    }

    /// When `round` was sent, or `None` if it was not, or too long ago.
    pub(super) fn sent_at(&self, round: u64) -> Option<Time> {
        self.rounds.iter().rev().find(|(number, _)| *number == round).map(|(_, at)| *at)
    }

    pub(super) fn revoke_lease(&mut self) {
        self.lease_revoked = true;
    }

    pub(super) fn lead_began(&mut self) {
        self.round = 0;
        self.rounds.clear();
        self.lease_revoked = false;
    }

    /// Leadership ended: reads from here fail, those of peers fail there.
    pub(super) fn lead_ended(&mut self, out: &mut Vec<Action>) {
        let askers = self.waiting.drain(..).map(|waiting| waiting.asker).chain(self.early.drain(..));
        out.extend(askers.filter_map(|asker| match asker {
            Asker::Here(token) => Some(Action::ReadFailed { token, leader: None }),
            Asker::Peer { .. } => None,
        }));
        self.unspread = false;
    }

    /// Reads that were passed to another leader fail.
    pub(super) fn leader_changed(&mut self, leader: Option<NodeId>, out: &mut Vec<Action>) {
        out.extend(self.passed.drain(..).map(|Passed { token, .. }| Action::ReadFailed { token, leader }));
    }

    pub(super) fn fail_all(&mut self, leader: Option<NodeId>, out: &mut Vec<Action>) {
        self.lead_ended(out);
        self.leader_changed(leader, out);
    }

    pub(super) fn deadline(&self, timeout: Duration) -> Option<Time> {
        self.passed.front().map(|passed| passed.since + timeout)
    }
}

impl Raft {
    pub(super) fn read(&mut self, token: ReadToken) -> Result<(), Ignored> {
        match (self.role, self.leader) {
            _ if self.reads.len() >= self.config.reads_max => {}
            (Role::Leader, _) => return self.lead_read(Asker::Here(token)),
            (Role::Follower, Some(_)) if mutant!(FollowersReadAlone) => {
                self.events.push(Action::ReadReady { token, index: self.log.committed() });
                return Ok(());
            }
            (Role::Follower, Some(leader)) => {
                let number = self.reads.next_number;
                self.reads.next_number += 1;
                self.reads.passed.push_back(Passed { number, token, since: self.now });
                self.send(leader, 0, Body::Read { number });
                return Ok(());
            }
            _ => {}
        }
        self.events.push(Action::ReadFailed { token, leader: self.leader });
        Err(Ignored::NotNow)
    }

    pub(super) fn on_read(&mut self, node: NodeId, number: u64) -> Result<(), Ignored> {
        if self.role != Role::Leader || self.reads.len() >= self.config.reads_max {
            self.send(node, 0, Body::ReadReply { number, index: None });
            return Err(Ignored::NotNow);
        }
        self.lead_read(Asker::Peer { node, number })
    }

    pub(super) fn on_read_reply(&mut self, number: u64, index: Option<Index>) -> Result<(), Ignored> {
        let at = self.reads.passed.iter().position(|passed| passed.number == number);
        let Some(Passed { token, .. }) = at.and_then(|at| self.reads.passed.remove(at)) else {
            return Err(Ignored::NotNow);
        };
        self.events.push(match index {
            Some(index) => Action::ReadReady { token, index },
            None => Action::ReadFailed { token, leader: self.leader },
        });
        Ok(())
    }

    pub(super) fn expire_reads(&mut self) {
        while let Some(passed) = self.reads.passed.front() {
            if self.now.since(passed.since) < self.config.election_timeout {
                break;
            }
            let token = passed.token;
            self.reads.passed.pop_front();
            self.events.push(Action::ReadFailed { token, leader: self.leader });
        }
    }

    fn lead_read(&mut self, asker: Asker) -> Result<(), Ignored> {
        // What was committed before this leader's term is known only once something of its term is (study id L1).
        if self.log.term(self.log.committed()) != Some(self.term) && !mutant!(ReadsBeforeOwnTerm) {
            self.reads.early.push(asker);
            return Ok(());
        }
        if self.is_alone() || self.holds_lease() {
            self.answer_read(asker, self.log.committed());
            return Ok(());
        }
        let waiting = Waiting {
            asker,
            index: self.log.committed(),
            round: self.reads.round + u64::from(!mutant!(OldEchoesConfirmReads)),
        };
        self.reads.waiting.push_back(waiting);
        self.reads.unspread = true;
        Ok(())
    }

    fn is_alone(&self) -> bool {
        !self.conf.is_joint() && self.conf.voters == [self.config.id]
    }

    /// Whether no other leader can have been elected yet, by the clocks (study id L3).
    fn holds_lease(&self) -> bool {
        self.lease_until().is_some_and(|until| self.now < until)
    }

    /// Until when no other leader can be elected, by the clocks: a quorum has answered a heartbeat that was *sent* an election
    /// timeout, less twice the drift, before (study id L3). It may have passed. [`Time::MAX`] where this node is the only voter.
    /// `None` without [`ReadMode::Lease`], on a node that does not lead, that has not heard a quorum yet, or that hands leadership
    /// over. It may come sooner after a change of the members.
    #[must_use]
    pub fn lease_until(&self) -> Option<Time> {
        let ReadMode::Lease { drift_ppm_max } = self.config.reads else { return None };
        let given_up = self.reads.lease_revoked || self.transferring_to.is_some();
        if self.role != Role::Leader || (given_up && !mutant!(LeaseSurvivesTransfer)) {
            return None;
        }
        if self.is_alone() {
            return Some(Time::MAX);
        }
        let own = self.config.id;
        let sent = |node| {
            let at = if node == own { self.now } else { self.progress.get(node)?.acked_at };
            Some(at.as_nanos())
        };
        let since = Time::from_nanos(quorum::joint_committed(&self.conf.voters, &self.conf.outgoing, sent));
        let parts = 1_000_000u32.saturating_sub(drift_ppm_max.saturating_mul(2));
        let length = self.config.election_timeout.mul_f64(f64::from(parts) / 1e6);
        let length = if mutant!(LeaseTooLong) { length * 3 } else { length };
        (since > Time::ZERO).then(|| since + length)
    }

    /// Sends one round of heartbeats for all reads that came since the last.
    pub(super) fn spread_reads(&mut self) {
        if self.reads.unspread && self.role == Role::Leader {
            self.broadcast_heartbeat();
            // Where this node is a quorum by itself, in each half of a joint configuration, nobody else need echo.
            self.confirm_reads();
        }
    }

    /// Answers the reads whose round a quorum has echoed.
    pub(super) fn confirm_reads(&mut self) {
        if self.reads.waiting.is_empty() {
            return;
        }
        let own = self.config.id;
        let echoed = |node| {
            let round = if node == own { self.reads.round } else { self.progress.get(node)?.acked_round };
            Some(round)
        };
        let confirmed = quorum::joint_committed(&self.conf.voters, &self.conf.outgoing, echoed);
        while let Some(Waiting { asker, index, round }) = self.reads.waiting.front() {
            if *round > confirmed {
                break;
            }
            let (asker, index) = (*asker, *index);
            self.reads.waiting.pop_front();
            self.answer_read(asker, index);
        }
    }

    /// This leader has committed in its term: reads that waited for it begin.
    pub(super) fn release_pending_reads(&mut self) {
        if !self.reads.early.is_empty() && self.log.term(self.log.committed()) == Some(self.term) {
            for asker in core::mem::take(&mut self.reads.early) {
                // It cannot be early again.
                let _ = self.lead_read(asker);
            }
        }
    }

    fn answer_read(&mut self, asker: Asker, index: Index) {
        match asker {
            Asker::Here(token) => self.events.push(Action::ReadReady { token, index }),
            Asker::Peer { node, number } => self.send(node, 0, Body::ReadReply { number, index: Some(index) }),
        }
    }
}

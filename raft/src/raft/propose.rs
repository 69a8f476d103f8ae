//! Proposals, and what becomes of them: the fate of each is told, once.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Action, ConfRefusal, DropReason, Ignored, Raft, Role};
use crate::confchange::{CHANGES_MAX, CONTEXT_BYTES_MAX, ConfChange};
use crate::entry::EntryKind;
use crate::log::Log;
use crate::message::Body;
use crate::{Index, Term, Ticket};

/// A proposal in the log, not yet committed as far as is known here.
#[derive(Clone, Copy, Debug, Hash)]
struct Proposal {
    ticket: Ticket,
    term: Term,
    first: Index,
    last: Index,
}

/// The proposals whose fate is open.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Proposals {
    /// Those in the log, in the order of their entries.
    open: VecDeque<Proposal>,
    /// Those that were cut from this log, whole or in part. Another node may still hold them and bring them back (Raft figure
    /// 8), so their fate is known only once something is committed in their place.
    cut: Vec<Proposal>,
}

impl Proposals {
    pub(super) fn len(&self) -> usize {
        self.open.len() + self.cut.len()
    }

    /// What is handed out of `log` to be applied is committed.
    #[inline]
    pub(super) fn settle(&mut self, log: &Log, out: &mut Vec<Action>) {
        if !self.open.is_empty() || !self.cut.is_empty() {
            self.settle_some(log, out);
        }
    }

    fn settle_some(&mut self, log: &Log, out: &mut Vec<Action>) {
        let index = log.applying();
        if !self.cut.is_empty() {
            self.cut.retain(|proposal| !settle_cut(proposal, log, index, out));
        }
        while let Some(Proposal { ticket, term, first, last }) = self.open.front().copied() {
            if last > index + u64::from(mutant!(SettlesEarly)) {
                break;
            }
            self.open.pop_front();
            out.push(Action::Committed { ticket, term, first, last });
        }
    }

    /// Those that end at `index` or later are cut from the log. Of all that were cut, `max` are remembered; what became of the
    /// oldest beyond is told as not known.
    pub(super) fn cut_from(&mut self, index: Index, max: usize, out: &mut Vec<Action>) {
        let keep = self.open.partition_point(|proposal| proposal.last < index);
        self.cut.extend(self.open.drain(keep..));
        let beyond = self.cut.len().saturating_sub(max);
        let forgotten = self.cut.drain(..beyond);
        out.extend(forgotten.map(|Proposal { ticket, .. }| Action::Dropped { ticket, reason: DropReason::Unknown }));
    }

    pub(super) fn drop_all(&mut self, reason: DropReason, out: &mut Vec<Action>) {
        let all = self.cut.drain(..).chain(self.open.drain(..));
        out.extend(all.map(|Proposal { ticket, .. }| Action::Dropped { ticket, reason }));
    }
}

/// Tells the fate of a proposal that was cut, if what is committed up to `index` decides it.
fn settle_cut(proposal: &Proposal, log: &Log, index: Index, out: &mut Vec<Action>) -> bool {
    let Proposal { ticket, term, first, last } = *proposal;
    if mutant!(CutMeansFailed) {
        out.push(Action::Dropped { ticket, reason: DropReason::Overwritten });
        return true;
    }
    if first > index {
        return false;
    }
    let reached = last.min(index);
    let dropped = |reason| Action::Dropped { ticket, reason };
    out.push(match (log.term(first), log.term(reached)) {
        (Some(there), _) if there != term => dropped(DropReason::Overwritten),
        (Some(_), Some(there)) if there == term && reached == last => Action::Committed { ticket, term, first, last },
        (Some(_), Some(there)) if there == term => return false,
        // Its head is committed, its tail is not; or the log no longer tells.
        _ => dropped(DropReason::Unknown),
    });
    true
}

impl Raft {
    #[inline]
    pub(super) fn propose_one(&mut self, ticket: Ticket, payload: Bytes) -> Result<(), Ignored> {
        if let Err(reason) = self.may_propose(payload.len() as u64) {
            return match (reason, self.forward_to(reason)) {
                (_, Some(leader)) => {
                    self.send(leader, 0, Body::Propose { payloads: vec![payload] });
                    self.forwarded(ticket, leader)
                }
                (reason, None) => self.dropped(ticket, reason),
            };
        }
        let first = self.log.last_index() + 1;
        self.append_own(core::iter::once((EntryKind::Normal, payload)));
        self.accepted(Some(ticket), first);
        Ok(())
    }

    pub(super) fn propose_many(&mut self, ticket: Ticket, payloads: Vec<Bytes>) -> Result<(), Ignored> {
        match self.append_payloads(Some(ticket), payloads) {
            Ok(()) => Ok(()),
            Err((reason, payloads)) => match self.forward_to(reason) {
                Some(leader) => {
                    self.send(leader, 0, Body::Propose { payloads });
                    self.forwarded(ticket, leader)
                }
                None => self.dropped(ticket, reason),
            },
        }
    }

    /// A follower passed these on.
    pub(super) fn on_propose(&mut self, payloads: Vec<Bytes>) -> Result<(), Ignored> {
        self.append_payloads(None, payloads).map_err(|(reason, _)| Ignored::Proposal(reason))
    }

    fn append_payloads(
        &mut self,
        ticket: Option<Ticket>,
        payloads: Vec<Bytes>,
    ) -> Result<(), (DropReason, Vec<Bytes>)> {
        if payloads.is_empty() {
            return Err((DropReason::Malformed, payloads));
        }
        let bytes = payloads.iter().map(|payload| payload.len() as u64).sum();
        if let Err(reason) = self.may_propose(bytes) {
            return Err((reason, payloads));
        }
        let first = self.log.last_index() + 1;
        self.append_own(payloads.into_iter().map(|payload| (EntryKind::Normal, payload)));
        self.accepted(ticket, first);
        Ok(())
    }

    /// Whether `bytes` of payload may be appended now, and if so counts them.
    fn may_propose(&mut self, bytes: u64) -> Result<(), DropReason> {
        if self.role != Role::Leader {
            return Err(DropReason::NotLeader { leader: self.leader });
        }
        if self.progress.get(self.config.id).is_none() {
            return Err(DropReason::Removed);
        }
        if let Some(to) = self.transferring_to {
            return Err(DropReason::Transferring { to });
        }
        // An idle log takes any size, and an entry without payload always fits (auto-leave rests on it).
        let full = self.uncommitted_bytes > 0 && bytes > 0;
        if full && self.uncommitted_bytes.saturating_add(bytes) > self.config.uncommitted_bytes_max {
            return Err(DropReason::Overloaded);
        }
        // Those that were cut are not counted: they may wait for the very index that this one would bring about.
        if self.proposals.open.len() >= self.config.proposals_max {
            return Err(DropReason::Overloaded);
        }
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_add(bytes);
        Ok(())
    }

    #[inline]
    fn accepted(&mut self, ticket: Option<Ticket>, first: Index) {
        let (term, last) = (self.term, self.log.last_index());
        if let Some(ticket) = ticket {
            self.proposals.open.push_back(Proposal { ticket, term, first, last });
            self.events.push(Action::Accepted { ticket, term, first, last });
        }
        self.broadcast_append();
    }

    fn forward_to(&self, reason: DropReason) -> Option<crate::NodeId> {
        match reason {
            DropReason::NotLeader { leader } if self.config.forward_proposals && self.role == Role::Follower => leader,
            _ => None,
        }
    }

    fn forwarded(&mut self, ticket: Ticket, leader: crate::NodeId) -> Result<(), Ignored> {
        self.events.push(Action::Dropped { ticket, reason: DropReason::Forwarded { leader } });
        Ok(())
    }

    fn dropped(&mut self, ticket: Ticket, reason: DropReason) -> Result<(), Ignored> {
        self.events.push(Action::Dropped { ticket, reason });
        Err(Ignored::Proposal(reason))
    }

    pub(super) fn propose_conf(&mut self, ticket: Ticket, change: ConfChange) -> Result<(), Ignored> {
        match self.append_conf(Some(ticket), &change) {
            Ok(()) => Ok(()),
            Err(reason) => match self.forward_to(reason) {
                Some(leader) => {
                    self.send(leader, 0, Body::ProposeConf { change: Box::new(change) });
                    self.forwarded(ticket, leader)
                }
                None => self.dropped(ticket, reason),
            },
        }
    }

    /// A follower passed this on.
    pub(super) fn on_propose_conf(&mut self, change: &ConfChange) -> Result<(), Ignored> {
        self.append_conf(None, change).map_err(Ignored::Proposal)
    }

    /// Appends a membership change, or an empty entry in its place where it may not be (etcd does the same).
    pub(super) fn append_conf(&mut self, ticket: Option<Ticket>, change: &ConfChange) -> Result<(), DropReason> {
        if change.changes.len() > CHANGES_MAX || change.context.len() > CONTEXT_BYTES_MAX {
            return Err(DropReason::Malformed);
        }
        let refusal = if self.role == Role::Leader { self.refuse_conf(change) } else { None };
        let item = match refusal {
            Some(_) => (EntryKind::Normal, Bytes::new()),
            None => (EntryKind::Conf, change.encode()),
        };
        self.may_propose(item.1.len() as u64)?;
        let first = self.log.last_index() + 1;
        if refusal.is_none() {
            self.pending_conf_index = first;
        }
        self.append_own(core::iter::once(item));
        self.accepted(if refusal.is_none() { ticket } else { None }, first);
        match refusal {
            Some(refusal) => Err(DropReason::Conf(refusal)),
            None => Ok(()),
        }
    }

    fn refuse_conf(&self, change: &ConfChange) -> Option<ConfRefusal> {
        if self.config.skip_conf_validation {
            None
        } else if self.pending_conf_index > self.log.applied() && !mutant!(TwoChangesAtOnce) {
            Some(ConfRefusal::Pending { until: self.pending_conf_index })
        } else if self.conf.is_joint() && !change.changes.is_empty() {
            Some(ConfRefusal::MustLeaveJoint)
        } else if !self.conf.is_joint() && change.changes.is_empty() {
            Some(ConfRefusal::NotJoint)
        } else {
            None
        }
    }
}

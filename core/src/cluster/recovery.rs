//! Going on in memory when a majority is gone for good.
//!
//! A voter is gone for good when another node has taken its address. When each voter of the last configuration is either here
//! or gone for good, nobody else can hold anything newer: of those who are here the one with the longest log founds the
//! cluster anew from its state, under another id, and the others join that. Rule guarded: as long as a voter is neither, the
//! cluster waits.

use std::collections::BTreeMap;
use std::time::Duration;

use wrs_raft::quorum::{self, VoteResult};
use wrs_raft::{Boot, EntryKind, HardState, Role, SnapshotMeta};

use super::deed::{Done, Refused};
use super::group::raft_id;
use super::wire::ControlMessage;
use super::{Cluster, draw};
use crate::event::Event;
use crate::id::{Life, NodeId};
use crate::peer::Ticket;
use crate::time::Time;

/// How fresh what is known of a voter's address, or of its log, must be.
const FRESH: Duration = Duration::from_secs(3);
/// Between two words about one's log.
const SURVEY_EVERY: Duration = Duration::from_millis(500);

/// What is known of a lost majority.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Since when there is no leader.
    since: Option<Time>,
    next_survey: Time,
    /// How far the logs of the others reach, and when they said so.
    logs: BTreeMap<NodeId, (u64, u64, Time)>,
    /// The cluster that this one went on from.
    pub(super) reborn_from: Option<u64>,
}

impl Cluster {
    /// Goes on without those who are gone for good, if nobody else is missing.
    pub(super) fn look_at_recovery(&mut self) {
        let Some(group) = &self.group else { return };
        let own = raft_id(self.me.node);
        let lost = self.leader.is_none() && group.raft.role() != Role::Leader && group.raft.conf().is_voter(own);
        if !lost || self.is_kept() || self.leaving.is_some() || self.joining.is_some() {
            self.recovery.since = None;
            return;
        }
        let since = *self.recovery.since.get_or_insert(self.now);
        // By then every lease that the last leader gave has ended.
        if self.now.since(since) < self.spans.lease * 2 || self.now < self.lease.told() {
            return;
        }
        let Some((here, gone)) = self.voters() else { return };
        // Those who are here elect a leader as ever, if they can.
        if gone == 0 || self.are_a_quorum(&here) {
            return;
        }
        self.survey(&here);
        let fresh = |at: Time| self.now.since(at) < FRESH;
        let own_log = self.own_log();
        let best = here.iter().filter(|node| **node != self.me.node).try_fold((own_log, self.me.node), |best, node| {
            let (term, index, at) = self.recovery.logs.get(node)?;
            fresh(*at).then(|| best.max(((*term, *index), *node)))
        });
        if best.is_some_and(|(_, node)| node == self.me.node) {
            self.go_on_alone();
        }
    }

    /// Whether a voter, if it is another than this node, is in another cluster by now, or is none any more, or has been succeeded.
    pub(super) fn is_elsewhere(&self, voter: NodeId) -> bool {
        if voter == self.me.node || self.links.life_of(voter).is_some() {
            return voter == self.me.node || !self.links.is_in(voter, self.me.cluster);
        }
        let Some(member) = self.members.get(voter) else { return true };
        let found = self.meetings.found(&member.address).filter(|found| self.now.since(found.at) < FRESH);
        found.and_then(|found| found.who.as_ref().ok()).is_some_and(|who| who.node != voter)
    }

    /// The voters that are here, this node among them, and how many are gone for good. `None`: of one nobody knows.
    fn voters(&self) -> Option<(Vec<NodeId>, usize)> {
        let (mut here, mut gone) = (vec![self.me.node], 0);
        for voter in self.group.as_ref()?.raft.conf().all_voters().map(|node| NodeId(node.0)) {
            if voter == self.me.node {
                continue;
            }
            if self.links.life_of(voter).is_some() {
                here.push(voter);
                continue;
            }
            let Some(member) = self.members.get(voter) else {
                // It is a member no more, and was about to be no voter: nobody waits for it.
                gone += 1;
                continue;
            };
            let address = &member.address;
            // Who was there before may have been the voter itself, under an earlier name.
            let since = self.recovery.since.filter(|_| !mutant!(TrustsOldMeetings)).unwrap_or(Time::ZERO);
            let fresh = |at: Time| at >= since && self.now.since(at) < FRESH;
            let found = self.meetings.found(address).filter(|found| fresh(found.at))?;
            if found.who.as_ref().ok()?.node == voter {
                // It is there, and will be linked.
                return None;
            }
            gone += 1;
        }
        Some((here, gone))
    }

    fn are_a_quorum(&self, here: &[NodeId]) -> bool {
        let Some(conf) = self.group.as_ref().map(|group| group.raft.conf()) else { return false };
        let is_here = |node: wrs_raft::NodeId| Some(here.contains(&NodeId(node.0)));
        quorum::joint_vote(&conf.voters, &conf.outgoing, is_here) == VoteResult::Won
    }

    fn own_log(&self) -> (u64, u64) {
        let last = self.group.as_ref().map(|group| group.raft.log().last_id()).unwrap_or_default();
        (last.term, last.index)
    }

    fn survey(&mut self, here: &[NodeId]) {
        let Some(cluster) = self.me.cluster.filter(|_| self.now >= self.recovery.next_survey) else { return };
        self.recovery.next_survey = self.now + SURVEY_EVERY;
        let (term, index) = self.own_log();
        let own = self.me.node;
        for node in here.iter().filter(|node| **node != own) {
            self.post_to(*node, &ControlMessage::Survey { cluster, term, index });
        }
    }

    pub(super) fn heard_survey(&mut self, life: Life, node: NodeId, log: (u64, u64, u64)) {
        let (cluster, term, index) = log;
        self.tell_reborn(life, cluster);
        if Some(cluster) == self.me.cluster && self.members.get(node).is_some() {
            self.recovery.logs.insert(node, (term, index, self.now));
        }
    }

    /// An operator wants the cluster to go on from this node's state, whoever is missing.
    pub fn recover(&mut self, now: Time, ticket: Ticket) {
        self.now = now;
        let own = self.me.node;
        let refused = match &self.group {
            _ if self.leader.is_some() => Some(Refused::HasLeader),
            None => Some(Refused::NoLeader),
            Some(_) => None,
        };
        if let Some(refused) = refused {
            return self.answer(ticket, Err(refused));
        }
        let voters = self.group.as_ref().map(|group| group.raft.conf().all_voters().collect::<Vec<_>>());
        let missing = voters.into_iter().flatten().map(|node| NodeId(node.0)).filter(|node| *node != own).collect();
        self.go_on_alone();
        self.answer(ticket, Ok(Done::Recovered { missing }));
    }

    /// Founds the cluster anew from all that this node has.
    fn go_on_alone(&mut self) {
        let (Some(group), Some(old)) = (&self.group, self.me.cluster) else { return };
        let raft = &group.raft;
        let log = raft.log();
        let taken = raft.snapshot();
        let conf = wrs_raft::Conf::of_voters([raft_id(self.me.node)]);
        let mut entries = log.slice(taken.index + 1, log.last_index(), u64::MAX).to_vec();
        for entry in entries.iter_mut().filter(|entry| entry.kind == EntryKind::Conf) {
            (entry.kind, entry.payload) = (EntryKind::Normal, bytes::Bytes::new());
        }
        let boot = Boot {
            hard: HardState { term: raft.term() + 1, vote: None, commit: log.last_index() },
            snapshot: SnapshotMeta { index: taken.index, term: taken.term, conf },
            entries,
            applied: log.applied(),
            ..Boot::default()
        };
        let cluster = draw(&mut self.random);
        // What the bytes of the last snapshot say of the members is still so, but the voters are others.
        (self.leading, self.leader) = (None, None);
        if let Err(why) = self.enter(cluster, boot) {
            return self.fail(why.to_string());
        }
        self.recovery = super::recovery::Recovery { reborn_from: Some(old), ..Default::default() };
        self.deeds.push_back(super::Deed::Report(Event::ClusterRecovered { cluster: format!("{cluster:016x}") }));
        self.introduce();
        self.step(wrs_raft::Input::Campaign);
        let lives: Vec<Life> = self.links.iter().map(|(life, _)| life).collect();
        for life in lives {
            self.tell_reborn(life, old);
        }
        self.look_soon();
    }

    /// Whoever is still in the cluster that this one went on from is told to join.
    pub(super) fn tell_reborn(&mut self, life: Life, theirs: u64) {
        if let (Some(old), Some(into)) = (self.recovery.reborn_from, self.me.cluster)
            && theirs == old
        {
            self.post(life, &ControlMessage::Reborn { cluster: old, into });
        }
    }

    pub(super) fn heard_reborn(&mut self, life: Life, cluster: u64, into: u64) {
        // A learner elects nobody, and so never stops believing in the leader that it heard last.
        let is_led = self.leader.is_some() && self.now < self.lease.told() + self.spans.lease * 2;
        let orphaned = !is_led && self.me.cluster == Some(cluster) && into != cluster;
        let Some(address) = self.links.get(life).map(|linked| linked.address()) else { return };
        if orphaned && self.joining.is_none() && self.leaving.is_none() && self.now >= self.next_try {
            self.begin_joining(address, None, true);
        }
    }
}

//! The rules: what must hold of every node after every event, each in constant time.
//!
//! Names are those of the Raft paper (figure 3) where it has one. `written` is a machine's log as its records told it,
//! `durable` what its disk holds for certain; both are compared with the one committed history by the chain of their entries.

use std::rc::Rc;

use wrs_raft::{Action, Body, Boot, Conf, DropReason, EntryKind, Message, NodeId, ProgressState, Raft, Record, Role};

use super::history::Shadow;
use super::node::{Saved, View};
use super::plan::NODES;
use super::world::World;

/// Every how many events a node is looked through from end to end.
const DEEP_EVERY: u64 = 1_021;
/// Every how many events its counters are counted again.
const COUNT_EVERY: u64 = 31;

impl World {
    /// Log Matching and Leader Append-Only, on what a machine is about to write.
    pub(super) fn check_written(&mut self, slot: usize, actions: &[Action]) {
        for action in actions {
            let Action::Persist(record) = action else { continue };
            self.check_record(slot, record);
        }
    }

    pub(super) fn check_record(&mut self, slot: usize, record: &Record) {
        let node = &mut self.nodes[slot];
        let before = node.written.last();
        let first = record.entries.first().map_or(before + 1, |entry| entry.index);
        let leads = node.leads() && node.view.leads && node.machine.as_ref().map_or(0, Raft::term) == node.view.term;
        if leads && (first <= before || record.snapshot.is_some()) {
            let detail = format!("node {} leads and rewrites {first} of {before}", slot + 1);
            return self.fail("leader append-only", detail);
        }
        if first <= node.view.commit && !record.entries.is_empty() {
            let detail = format!("node {} rewrites {first}, committed up to {}", slot + 1, node.view.commit);
            return self.fail("committed entries stay", detail);
        }
        if first <= before {
            self.coverage.hit("truncations");
        }
        let node = &mut self.nodes[slot];
        if let Err(detail) = node.written.take(record, &self.history.committed) {
            return self.fail("log matching", format!("node {}: {detail}", slot + 1));
        }
        self.history.note_changes(record);
        if let Err(detail) = self.history.note_entries(&node.written, first) {
            self.fail("log matching", format!("node {}: {detail}", slot + 1));
        }
    }

    /// Everything that holds of one machine at rest.
    pub(super) fn check_node(&mut self, slot: usize, actions: &[Action]) {
        let node = &self.nodes[slot];
        let Some(machine) = &node.machine else { return };
        if machine.fatal().is_some() {
            return;
        }
        let log = machine.log();
        let before = node.view;
        let view = View {
            term: machine.term(),
            vote: machine.vote().map(|vote| vote.0),
            leads: node.leads(),
            commit: log.committed(),
            applied: log.applied(),
            first: log.first_index(),
            conf_from: before.conf_from,
        };
        let who = slot + 1;
        if view.term < before.term || (view.term == before.term && before.vote.is_some() && view.vote != before.vote) {
            return self.fail("term and vote are monotone", format!("node {who}: {before:?} and then {view:?}"));
        }
        if view.commit < before.commit || view.applied < before.applied || view.first < before.first {
            return self.fail("indexes are monotone", format!("node {who}: {before:?} and then {view:?}"));
        }
        let last = log.last_index();
        // While a snapshot is on its way to the disk, the log begins behind it and nothing is applied.
        let base = view.applied.max(machine.snapshot().index);
        if view.applied > view.commit || view.commit > last || view.first > base + 1 {
            return self.fail("applied <= commit <= last", format!("node {who}: {view:?}, last {last}"));
        }
        let written = node.written.last();
        let same = written == last && node.written.at(last).map(|mark| mark.term) == Some(log.last_id().term);
        if !same {
            let detail = format!("node {who}: the log ends at {:?}, the records at {written}", log.last_id());
            return self.fail("records tell the log", detail);
        }
        if !node.config.in_memory && machine.log().stable() > node.durable.last().max(view.first - 1) {
            let detail = format!("node {who}: {} of {}", machine.log().stable(), node.durable.last());
            return self.fail("durable is durable", detail);
        }
        if view.leads && !(before.leads && before.term == view.term) {
            self.check_new_leader(slot, view.term);
        }
        if view.commit > before.commit {
            self.check_commit(slot, before, view, actions);
        }
        if self.violation.is_none() && view.leads {
            self.check_leader(slot, view);
        }
        self.nodes[slot].view = view;
        if self.events.is_multiple_of(COUNT_EVERY) {
            self.check_counters(slot);
        }
        if self.events.is_multiple_of(DEEP_EVERY) {
            self.check_deep(slot);
        }
    }

    /// Election Safety and Leader Completeness.
    fn check_new_leader(&mut self, slot: usize, term: u64) {
        self.coverage.hit("elections");
        let node = &self.nodes[slot];
        let me = (node.id, node.life);
        let known = *self.history.leaders.entry(term).or_insert(me);
        if known != me {
            let detail =
                format!("term {term}: node {} in its life {} and node {} in its life {}", known.0, known.1, me.0, me.1);
            return self.fail("election safety", detail);
        }
        // Its own word it tells nobody: it is what it has made durable.
        let own = node.durable_hard.term == term && node.durable_hard.vote == Some(NodeId(me.0));
        let words = self.history.words.get(&term);
        let said = |id: NodeId| (id.0 == me.0 && own) || words.is_some_and(|all| all.contains(&(id.0, me.0)));
        let now = node.machine.as_ref().is_some_and(|machine| holds_quorum(machine.conf(), said));
        if !now && !holds_quorum(self.history.conf_at(node.view.conf_from), said) {
            let detail = format!("node {} leads term {term} with the words of {words:?}", me.0);
            return self.fail("a leader is elected by a quorum", detail);
        }
        let index = self.history.committed_before(term);
        if node.written.at(index).map(|mark| mark.chain) != self.history.committed.at(index).map(|mark| mark.chain) {
            let detail = format!("node {} leads term {term} without what was committed up to {index}", me.0);
            return self.fail("leader completeness", detail);
        }
        if node.stranger {
            return self.fail("strangers do not lead", format!("node {} leads term {term}", me.0));
        }
        if node.machine.as_ref().is_some_and(|machine| !machine.conf().is_voter(NodeId(me.0))) {
            return self.fail("only voters lead", format!("node {} leads term {term}", me.0));
        }
        if node.machine.as_ref().is_some_and(|machine| machine.conf().is_joint()) {
            self.coverage.hit("elections while joint");
        }
    }

    /// State Machine Safety, and that what is committed is durable on a quorum.
    fn check_commit(&mut self, slot: usize, before: View, view: View, actions: &[Action]) {
        let node = &self.nodes[slot];
        let Some(machine) = &node.machine else { return };
        let who = slot + 1;
        let known = self.history.committed.last();
        let common = view.commit.min(known);
        if node.written.at(common).map(|mark| mark.chain) != self.history.committed.at(common).map(|mark| mark.chain) {
            let detail = format!("node {who} commits {common} with another history");
            return self.fail("state machine safety", detail);
        }
        if view.commit <= known {
            return;
        }
        if !view.leads && !before.leads {
            let detail = format!("node {who} commits {}, no leader has ({known})", view.commit);
            return self.fail("leaders commit", detail);
        }
        let mark = node.written.at(view.commit).unwrap_or_default();
        let term = if view.leads { view.term } else { before.term };
        if mark.term != term {
            let detail = format!("node {who} commits {} of term {} in term {term}", view.commit, mark.term);
            return self.fail("only own entries are committed by counting", detail);
        }
        // The configuration may have changed within the same input, on either side of the commitment.
        let earlier = self.history.conf_at(before.conf_from);
        let mut confs = vec![machine.conf().clone(), earlier.clone(), self.history.conf_at(before.applied).clone()];
        confs.extend(actions.iter().filter_map(|action| match action {
            Action::Configured { conf, .. } => Some((**conf).clone()),
            _ => None,
        }));
        let durable = |id: NodeId| {
            let place = &self.nodes[id.0 as usize - 1];
            let same = |log: &Shadow| log.at(view.commit).is_some_and(|there| there.chain == mark.chain);
            same(&place.former) || (!place.stranger && same(&place.durable))
        };
        if !confs.iter().any(|conf| holds_quorum(conf, durable)) {
            let holders: Vec<u64> = (1..=NODES as u64).filter(|id| durable(NodeId(*id))).collect();
            let detail = format!("node {who} commits {}, durable on {holders:?}, of {}", view.commit, confs[0]);
            return self.fail("committed is durable on a quorum", detail);
        }
        if machine.conf().is_joint() {
            self.coverage.hit("commits while joint");
        }
        let changes = self.history.conf_changes;
        let result = self.history.commit(&node.written, view.commit, term, |index| machine.log().entry(index));
        if let Err((rule, detail)) = result {
            return self.fail(rule, detail);
        }
        if self.history.conf_changes != changes {
            self.after_conf();
        }
    }

    /// At most one membership change under way; its own progress is durable.
    fn check_leader(&mut self, slot: usize, view: View) {
        let node = &self.nodes[slot];
        let Some(machine) = &node.machine else { return };
        let changes = node.written.confs_after(view.applied);
        if changes > 1 && !node.config.skip_conf_validation {
            let detail = format!("node {} leads with {changes} behind {}", slot + 1, view.applied);
            return self.fail("one membership change at a time", detail);
        }
        let own = machine.progress().get(NodeId(node.id)).map_or(0, |progress| progress.matched);
        if own > node.durable.last().max(view.first - 1) && view.commit + 1 > own {
            let detail = format!("node {} counts itself up to {own}, durable up to {}", slot + 1, node.durable.last());
            self.fail("a leader counts what is durable", detail);
        }
    }

    /// What a leader believes of a peer that has just answered.
    pub(super) fn check_peer(&mut self, slot: usize, from: u64) {
        let node = &self.nodes[slot];
        let Some(machine) = node.machine.as_ref().filter(|_| node.leads() && !node.dirty) else { return };
        let Some(progress) = machine.progress().get(NodeId(from)) else { return };
        let peer = &self.nodes[from as usize - 1];
        let matched = progress.matched;
        let void = peer.lost_at > 0 && progress.session <= peer.lost_at;
        if void || peer.durable_hard.term > machine.term() {
            return;
        }
        let (there, here) = (peer.holds(matched), node.written.at(matched));
        if there.map(|mark| mark.chain) != here.map(|mark| mark.chain) {
            let detail =
                format!("node {} believes that {from} holds {matched}: it ends at {}", slot + 1, peer.durable.last());
            self.fail("progress is true", detail);
        }
    }

    /// Counters counted again, and bounds.
    fn check_counters(&mut self, slot: usize) {
        let node = &self.nodes[slot];
        let Some(machine) = &node.machine else { return };
        let status = machine.status();
        let config = &node.config;
        if node.leads() {
            // Entries of earlier terms were not counted when they were proposed; they are uncounted down to zero.
            let bytes = |index| node.written.at(index).unwrap_or_default().bytes;
            let open = bytes(status.last_index) - bytes(status.applied);
            if status.uncommitted_bytes > open {
                let detail = format!("node {}: {} of {open}", slot + 1, status.uncommitted_bytes);
                return self.fail("uncommitted bytes recount", detail);
            }
            for (id, progress) in status.progress.iter() {
                let inflight = progress.inflights.count();
                let full = inflight > config.inflight_messages_max;
                let wrong =
                    progress.next <= progress.matched || (progress.state != ProgressState::Replicate && inflight > 0);
                if full || wrong || progress.next > status.last_index + 1 {
                    let detail = format!("node {} of {id}: {progress:?}", slot + 1);
                    return self.fail("progress is bounded", detail);
                }
            }
        }
        let alone = !status.conf.is_joint() && status.conf.voters == [NodeId(node.id)];
        let began = machine.log().term(status.commit) == Some(status.term);
        if node.leads() && alone && began && status.reads_pending > 0 {
            let detail = format!("node {}: {} reads wait for nobody", slot + 1, status.reads_pending);
            return self.fail("who is a quorum by itself lets no read wait", detail);
        }
        let reads = status.reads_pending > config.reads_max;
        // Appends and votes are answered one by one, so held answers are bounded by what arrives while one sync lasts.
        // As many again may have been cut from the log.
        if reads || status.proposals_pending > 2 * config.proposals_max + 1 {
            let detail =
                format!("node {}: {} reads, {} proposals", slot + 1, status.reads_pending, status.proposals_pending);
            self.fail("queues are bounded", detail);
        }
    }

    /// Compares the whole log with the records.
    fn check_deep(&mut self, slot: usize) {
        let node = &self.nodes[slot];
        let Some(machine) = &node.machine else { return };
        let log = machine.log();
        let first = log.first_index();
        let mut before = node.written.at(first - 1).unwrap_or_default();
        for index in first..=log.last_index() {
            let (mark, entry) = (node.written.at(index), log.entry(index));
            let (Some(mark), Some(entry)) = (mark, entry) else {
                return self.fail("records tell the log", format!("node {}: no entry {index}", slot + 1));
            };
            let conf = entry.kind == EntryKind::Conf;
            let chain = super::app::chain_after(before.chain, entry.term, conf, &entry.payload);
            if chain != mark.chain || log.term(index) != Some(mark.term) || entry.index != index {
                return self.fail("records tell the log", format!("node {}: entry {index} differs", slot + 1));
            }
            before = mark;
        }
    }

    /// Everything that holds of one action at the moment when it is performed.
    pub(super) fn check_action(&mut self, slot: usize, action: &Action) {
        match action {
            Action::Send(message) | Action::SendSnapshot { message, .. } => self.check_message(slot, message),
            Action::Apply(entries) => {
                for entry in entries {
                    let mark = self.history.committed.at(entry.index);
                    if mark.map(|mark| mark.term) != Some(entry.term) {
                        let detail = format!("node {} applies {} of term {}", slot + 1, entry.index, entry.term);
                        return self.fail("state machine safety", detail);
                    }
                }
                let node = &self.nodes[slot];
                let last = entries.last().map_or(0, |entry| entry.index);
                if !node.config.apply_before_persisted && last > node.durable.last() {
                    let detail = format!("node {} applies {last}, durable up to {}", slot + 1, node.durable.last());
                    self.fail("applied is durable", detail);
                }
            }
            Action::Configured { index, conf, .. } => {
                if self.history.conf_at(*index) != &**conf {
                    let known = self.history.conf_at(*index);
                    let detail = format!("node {} at {index}: {conf}, by the log {known}", slot + 1);
                    return self.fail("the configuration is the log's", detail);
                }
                self.nodes[slot].view.conf_from = *index;
            }
            Action::Dropped { reason: DropReason::Overloaded, .. } => self.check_refused(slot),
            _ => {}
        }
    }

    /// A leader refuses for lack of room only while something is under way that will make room.
    fn check_refused(&mut self, slot: usize) {
        // Inputs that were drawn together may have been refused before the others had their effect.
        if self.plan.batch_ppm > 0 || self.healing {
            return;
        }
        let idle = |machine: &&Raft| machine.log().applied() == machine.log().last_index();
        if self.nodes[slot].machine.as_ref().filter(idle).is_some_and(|machine| machine.role() == Role::Leader) {
            self.fail("an idle leader takes what is proposed", format!("node {} is overloaded", slot + 1));
        }
    }

    /// No message before what it rests on is durable; no vote twice.
    fn check_message(&mut self, slot: usize, message: &Message) {
        let node = &self.nodes[slot];
        let Some(machine) = &node.machine else { return };
        let kept = node.durable_hard;
        let who = slot + 1;
        match &message.body {
            Body::VoteReply { granted: true } => self.check_vote(slot, message.term, message.to.0),
            Body::Vote { last_index, last_term, .. } => {
                let (last_index, last_term) = (*last_index, *last_term);
                let same = node.durable.at(last_index).map(|mark| mark.term) == Some(last_term);
                if kept.term == message.term && !same && machine.role() == Role::Candidate {
                    let detail =
                        format!("node {who} asks for votes with {last_index}, durable up to {}", node.durable.last());
                    return self.fail("a vote is asked for with what is durable", detail);
                }
                self.check_vote(slot, message.term, node.id);
            }
            Body::Appended { index } if *index > 0 => {
                // An answer of an earlier term may leave when what it told of is cut already: whoever cut it was elected
                // without what a quorum held.
                if kept.term < message.term || (kept.term == message.term && node.holds(*index).is_none()) {
                    let detail = format!(
                        "node {who} acknowledges {index} of term {}, durable are {} and {kept:?}",
                        message.term,
                        node.durable.last()
                    );
                    return self.fail("no acknowledgement above what is durable", detail);
                }
                self.check_ack(slot, message, *index);
            }
            // What was said in an earlier term, and is only sent now, was true then.
            Body::Append { prev_index, prev_term, commit, entries } if message.term == machine.term() => {
                let last = prev_index + entries.len() as u64;
                let prev = node.written.at(*prev_index).map(|mark| mark.term);
                let newest = entries.last().map_or(Some(*prev_term), |entry| Some(entry.term));
                let wrong = prev != Some(*prev_term) || node.written.at(last).map(|mark| mark.term) != newest;
                if wrong || *commit > machine.log().committed() {
                    let detail = format!("node {who} sends {prev_index}..{last} with commit {commit}");
                    self.fail("appends are the leader's log", detail);
                }
            }
            Body::Heartbeat { commit, .. } => {
                // One that was built before the peer was removed and added anew speaks of its earlier stay.
                let progress =
                    machine.progress().get(message.to).filter(|progress| progress.session == message.session);
                let matched = progress.map_or(u64::MAX, |progress| progress.matched);
                if node.leads() && message.term == machine.term() && *commit > matched.min(machine.log().committed()) {
                    let detail = format!("node {who} tells {} to commit {commit}, it holds {matched}", message.to);
                    self.fail("heartbeats commit what is matched", detail);
                }
            }
            Body::Committed { index, term } => {
                self.coverage.hit("told committed");
                if self.history.committed.at(*index).map(|mark| mark.term) != Some(*term) {
                    let detail = format!("node {who} says that {index} of term {term} is committed");
                    self.fail("what is told committed is", detail);
                }
            }
            Body::Snapshot { meta } => {
                let known = self.history.committed.at(meta.index).map(|mark| mark.term);
                if known != Some(meta.term) || *self.history.conf_at(meta.index) != meta.conf {
                    let detail = format!("node {who} sends {meta:?}");
                    self.fail("a snapshot is what it says", detail);
                }
            }
            _ => {}
        }
    }

    /// One vote for each node, life of its disk, and term; durable before it is told.
    fn check_vote(&mut self, slot: usize, term: u64, to: u64) {
        let node = &self.nodes[slot];
        if node.durable.last() == 0 {
            let detail = format!("node {} votes for {to} in term {term} and has no log", slot + 1);
            return self.fail("who knows nothing votes for nobody", detail);
        }
        let kept = node.durable_hard;
        let durable = kept.term > term || (kept.term == term && kept.vote == Some(NodeId(to)));
        if !durable {
            let detail = format!("node {} votes for {to} in term {term}, durable is {kept:?}", slot + 1);
            return self.fail("votes are durable before they are told", detail);
        }
        if !node.stranger {
            self.history.words.entry(term).or_default().push((node.id, to));
        }
        let key = (node.id, node.config.incarnation.0, term);
        let known = *self.history.votes.entry(key).or_insert(to);
        if known != to {
            let detail = format!("node {} votes for {known} and {to} in term {term}", slot + 1);
            self.fail("one vote in a term", detail);
        }
    }

    /// An acknowledged log is the leader's, and the node knows that all membership changes in it but the last are committed.
    fn check_ack(&mut self, slot: usize, message: &Message, index: u64) {
        let node = &self.nodes[slot];
        let Some(machine) = &node.machine else { return };
        if machine.term() != message.term {
            return;
        }
        let leader = &self.nodes[message.to.0 as usize - 1];
        let led = leader.leads() && !leader.dirty && leader.machine.as_ref().map(Raft::term) == Some(message.term);
        let (there, here) = (leader.written.at(index), node.holds(index));
        if led && there.map(|mark| mark.chain) != here.map(|mark| mark.chain) {
            let detail = format!("node {} acknowledges {index} to {}: the logs differ", slot + 1, message.to);
            return self.fail("an acknowledged log is the leader's", detail);
        }
        let before = node.durable.second_newest_conf(index);
        if before.is_some_and(|conf| node.durable_hard.commit < conf) {
            let detail = format!("node {} acknowledges {index}: {before:?} is not known to be committed", slot + 1);
            self.fail("an acknowledged change knows the one before", detail);
        }
    }

    /// Notes a record that has become durable.
    pub(super) fn note_durable(&mut self, slot: usize, record: &Record) {
        let node = &mut self.nodes[slot];
        if let Some(hard) = record.hard {
            if hard.term < node.durable_hard.term {
                let detail = format!("node {}: {:?} and then {hard:?}", slot + 1, node.durable_hard);
                return self.fail("term and vote are monotone", detail);
            }
            node.durable_hard = hard;
        }
        if let Err(detail) = node.durable.take(record, &self.history.committed) {
            return self.fail("log matching", format!("node {}: {detail}", slot + 1));
        }
        let node = &self.nodes[slot];
        let newest = node.durable.at(node.durable.last()).unwrap_or_default().term;
        if newest > node.durable_hard.term {
            let detail =
                format!("node {} holds an entry of term {newest} in term {}", slot + 1, node.durable_hard.term);
            self.fail("a term is durable no later than its entries", detail);
        }
    }

    /// What recovery found is at least what was durable, and the same.
    pub(super) fn check_recovered(&mut self, slot: usize, found: &Boot) {
        let node = &self.nodes[slot];
        let (hard, kept) = (found.hard, node.durable_hard);
        let vote = hard.term > kept.term || hard.vote == kept.vote;
        if hard.term < kept.term || !vote || hard.commit < kept.commit {
            return self.fail("recovery", format!("node {}: {kept:?} was durable, {hard:?} is found", slot + 1));
        }
        let last =
            found.entries.last().map_or((found.snapshot.index, found.snapshot.term), |last| (last.index, last.term));
        let known = (node.durable.last(), node.durable.at(node.durable.last()).unwrap_or_default().term);
        if last != known {
            self.fail("recovery", format!("node {}: the log ends at {last:?}, durable at {known:?}", slot + 1));
        }
    }

    /// An application that has applied the same index is in the same state.
    pub(super) fn check_applied(&mut self, slot: usize, applied: u64, chain: u64) {
        if self.history.committed.at(applied).map(|mark| mark.chain) != Some(chain) {
            self.fail("state machine safety", format!("node {} applied {applied} and is elsewhere", slot + 1));
        }
    }

    /// A snapshot is the state, and the configuration, as of its index.
    pub(super) fn check_snapshot(&mut self, slot: usize, saved: &Rc<Saved>) {
        let meta = &saved.meta;
        let mark = self.history.committed.at(meta.index).unwrap_or_default();
        let conf = self.history.conf_at(meta.index);
        if mark.term != meta.term || mark.chain != saved.app.chain || meta.conf != *conf {
            let detail = format!("node {}: {meta:?}, by the log term {} and {conf}", slot + 1, mark.term);
            self.fail("a snapshot is what it says", detail);
        }
    }
}

/// Whether the nodes that `has` names are a majority of each half of `conf`.
pub fn holds_quorum(conf: &Conf, has: impl Fn(NodeId) -> bool) -> bool {
    let majority = |half: &[NodeId]| half.iter().filter(|id| has(**id)).count() * 2 > half.len();
    !conf.voters.is_empty() && majority(&conf.voters) && (conf.outgoing.is_empty() || majority(&conf.outgoing))
}

//! The machine: its state, the way in ([`Raft::step`]), the way out ([`Raft::flush`]) and the rule of terms between.
//!
//! What each role does with each message is one table, [`Raft::dispatch`]. The parts stand beside it: `election`, `leader`,
//! `follower`, `propose`, `reads`, `membership`. Transitions are etcd's (`raft.go`), so that its transcripts replay.

mod action;
mod boot;
mod election;
mod follower;
mod input;
mod leader;
mod membership;
mod peek;
mod propose;
mod reads;

use core::time::Duration;
use std::collections::VecDeque;

pub use action::{Action, ConfRefusal, DropReason, Fatal, Ignored, Role, RoleChange};
pub use boot::{Boot, BootError};
pub use input::Input;

use crate::confchange::{Conf, Stay};
use crate::entry::Entries;
use crate::log::{EntryId, Log};
use crate::message::{Body, Message, SnapshotMeta};
use crate::progress::ProgressMap;
use crate::random::Random;
use crate::record::{HardState, Record};
use crate::{Config, Index, NUMBER_MAX, NodeId, ReadMode, RecordId, Status, Term, Time};
use propose::Proposals;
use reads::Reads;

/// Where the numbers of a node's reads may begin.
const READ_NUMBERS: u64 = 1 << 60;

/// One group on one node: a state machine that is given what happens and says what to do.
///
/// See the crate's front page for the run loop. Two machines of one group that hash alike do alike until chance is drawn: what a search
/// of all states needs.
#[derive(Clone, Debug, Hash)]
pub struct Raft {
    config: Config,
    random: Random,
    /// The newest instant that was told.
    now: Time,

    log: Log,
    term: Term,
    vote: Option<NodeId>,
    role: Role,
    leader: Option<NodeId>,
    /// The words of the voters in this election.
    votes: Vec<(NodeId, bool)>,

    /// Since when a leader is silent; on a leader, since when the quorum is not checked.
    election_since: Time,
    heartbeat_since: Time,
    /// How long this node waits before it asks for an election, drawn anew with each change of role.
    election_after: Duration,
    /// With lease reads: until when this node has promised, by answering a heartbeat, to elect no other leader.
    promised_until: Time,

    conf: Conf,
    /// Membership changes up to here have taken effect.
    activated: Index,
    progress: ProgressMap,
    /// The incarnations under which members were first heard in their present stay, where the configuration tells none (study id
    /// R5).
    heard: Vec<Stay>,
    /// The newest stay in the group that this term's leader has told this node of (study id R4).
    session_seen: Index,
    /// Membership changes are refused until this index is applied (study id M1).
    pending_conf_index: Index,
    transferring_to: Option<NodeId>,
    uncommitted_bytes: u64,
    /// Without a disk: whether this leader has entries that it does not count itself for yet.
    own_uncounted: bool,
    /// The newest snapshot.
    snapshot: SnapshotMeta,
    /// Whether the application was asked for one that is newer.
    snapshot_wanted: bool,
    /// Each configuration since that snapshot and the index from which it holds, so that the next snapshot gets the right one.
    confs: VecDeque<(Index, Conf)>,

    proposals: Proposals,
    reads: Reads,

    // What `flush` hands out.
    sends: Vec<Action>,
    events: Vec<Action>,
    /// Promises that wait for a record, in the order of their records; those made since the last flush wait for the next one.
    waiting: VecDeque<(RecordId, Message)>,
    told_role: (Role, Option<NodeId>),
    told_hard: HardState,
    next_record: RecordId,
    fatal: Option<Fatal>,
    fatal_told: bool,
}

impl Raft {
    /// A machine as of `now`.
    ///
    /// # Errors
    /// The settings do not agree, or what the disk held contradicts itself.
    pub fn new(config: Config, boot: Boot, now: Time) -> Result<Raft, BootError> {
        config.check().map_err(BootError::Config)?;
        let Boot { hard, snapshot, entries, applied, record } = boot;
        snapshot.conf.check().map_err(BootError::Conf)?;
        if hard.term >= NUMBER_MAX || snapshot.index >= NUMBER_MAX {
            return Err(BootError::Entries { index: snapshot.index });
        }
        if snapshot.index == 0 && !snapshot.conf.members().is_empty() {
            return Err(BootError::ConfWithoutSnapshot);
        }
        let base = EntryId { term: snapshot.term, index: snapshot.index };
        let entries: Entries = entries.into_iter().filter(|entry| entry.index > base.index).collect();
        check_chain(base, &entries).map_err(|index| BootError::Entries { index })?;
        let last = base.index + entries.len() as u64;
        let applied = applied.max(base.index);
        let commit = hard.commit.max(applied);
        if applied > last {
            return Err(BootError::Applied { applied });
        }
        if commit > last {
            return Err(BootError::Commit { commit, last });
        }
        let log = Log::recovered(base, entries, commit, applied, config.applying_bytes_max);
        let mut raft = Raft {
            random: Random::new(config.seed),
            now,
            term: hard.term,
            vote: hard.vote,
            role: Role::Follower,
            leader: None,
            votes: Vec::new(),
            election_since: now,
            heartbeat_since: now,
            election_after: config.election_timeout,
            promised_until: Time::ZERO,
            conf: Conf::default(),
            activated: base.index,
            progress: ProgressMap::default(),
            heard: Vec::new(),
            session_seen: 0,
            pending_conf_index: 0,
            transferring_to: None,
            uncommitted_bytes: 0,
            own_uncounted: false,
            confs: VecDeque::new(),
            snapshot_wanted: false,
            proposals: Proposals::default(),
            reads: Reads::default(),
            sends: Vec::new(),
            events: Vec::new(),
            waiting: VecDeque::new(),
            told_role: (Role::Follower, None),
            // What the application holds shows that more is committed than the disk says: the next record says it too, since this
            // application may be older at the next start (study id M2).
            told_hard: hard,
            next_record: RecordId(record.0 + 1),
            fatal: None,
            fatal_told: false,
            log,
            snapshot,
            config,
        };
        raft.conf = raft.snapshot.conf.clone();
        raft.progress.switch(&raft.conf, last);
        raft.confs.push_back((base.index, raft.conf.clone()));
        raft.recover_conf(applied)?;
        if !mutant!(RestartForgetsChanges) {
            raft.log.confs_applied(applied);
        }
        // An answer to a read of an earlier life must not pass for one of this life (study id L2).
        raft.reads.number_from(raft.random.below(READ_NUMBERS));
        raft.events.clear();
        raft.become_follower(raft.term, None);
        if raft.may_have_promised() {
            raft.promised_until = now + raft.config.election_timeout;
        }
        Ok(raft)
    }

    /// Takes one input and appends what must be done to `out`. Never fails: what has no effect is ignored, and what must stop
    /// the machine is an [`Action::Fatal`].
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Action>) {
        // An input without effect needs nothing from the driver.
        let _ = self.step(now, input);
        self.flush(out);
    }

    /// Takes one input and keeps what must be done for [`Raft::flush`]. Inputs that wait together cost one record, and so one
    /// write, if the actions are drawn once after all of them.
    ///
    /// # Errors
    /// The input had no effect. Nothing needs to be done about it; counters and transcripts may want to know.
    pub fn step(&mut self, now: Time, input: Input) -> Result<(), Ignored> {
        self.now = self.now.max(now);
        if self.fatal.is_some() {
            return self.refuse(input);
        }
        match input {
            Input::Receive(message) => self.receive(message),
            Input::Timeout => {
                self.tick();
                Ok(())
            }
            Input::Propose { ticket, payload } => self.propose_one(ticket, payload),
            Input::ProposeMany { ticket, payloads } => self.propose_many(ticket, payloads),
            Input::ProposeConf { ticket, change } => self.propose_conf(ticket, change),
            Input::Read { token } => self.read(token),
            Input::Persisted { record } => self.persisted(record),
            Input::PersistFailed { record } => {
                let _ = record;
                if mutant!(FailedWriteCounts) {
                    return self.persisted(record);
                }
                self.stop(Fatal::WriteFailed);
                Ok(())
            }
            Input::Activate { index } => self.activate(index),
            Input::Applied { index } => self.applied(index),
            Input::SnapshotTaken { meta } => self.snapshot_taken(*meta),
            Input::Compact { upto } => self.compact(upto),
            Input::SnapshotSent { to, delivered } => self.snapshot_sent(to, delivered),
            Input::Unreachable { peer } => self.unreachable(peer),
            Input::Campaign => self.campaign_by_hand(),
            Input::TransferLeader { to } => self.transfer_leader(to),
            Input::ForgetLeader => self.forget_leader(),
        }
    }

    /// Appends everything that must be done since the last call to `out`.
    pub fn flush(&mut self, out: &mut Vec<Action>) {
        while self.fatal.is_none() {
            self.spread_reads();
            if self.config.in_memory {
                self.log.skip_writing();
                if self.own_uncounted {
                    self.count_own();
                }
            }
            if self.waiting.back().is_some_and(|(record, _)| *record == self.next_record) {
                self.place_promises();
            }
            if self.fatal.is_some() {
                break;
            }
            self.flush_messages(out);
            if self.must_write() {
                self.flush_record(out);
            } else if self.log.committed() != self.told_hard.commit && !self.config.in_memory {
                self.flush_commit(out);
            }
            if !self.events.is_empty() {
                // That a proposal is in the log is told before what is applied, and so committed: it may be the same step.
                out.append(&mut self.events);
            }
            let handed = self.flush_applies(out);
            if !self.events.is_empty() {
                out.append(&mut self.events);
            }
            if !handed || self.is_flushed() {
                return;
            }
        }
        self.flush_fatal(out);
    }

    /// Whether nothing has come up since the actions were drawn, so that another round would draw none.
    #[inline]
    fn is_flushed(&self) -> bool {
        let quiet = self.sends.is_empty() && self.events.is_empty() && !self.own_uncounted && !self.reads.is_unspread();
        let placed = self.waiting.back().is_none_or(|(record, _)| *record != self.next_record);
        let told = (self.role, self.leader) == self.told_role && self.fatal.is_none();
        let saved = self.config.in_memory || self.log.committed() == self.told_hard.commit;
        quiet
            && placed
            && told
            && saved
            && !self.must_write()
            && !self.log.has_committed(self.config.apply_before_persisted)
    }

    fn flush_messages(&mut self, out: &mut Vec<Action>) {
        let role = (self.role, self.leader);
        if role != self.told_role {
            self.told_role = role;
            out.push(Action::Role(RoleChange { term: self.term, role: self.role, leader: self.leader }));
        }
        if out.is_empty() {
            // The two buffers change places: no message is moved.
            core::mem::swap(out, &mut self.sends);
        } else if !self.sends.is_empty() {
            out.append(&mut self.sends);
        }
    }

    /// Hands out committed entries. True if they count as applied by that, so that more may follow from them.
    fn flush_applies(&mut self, out: &mut Vec<Action>) -> bool {
        if !self.log.has_committed(self.config.apply_before_persisted) {
            return false;
        }
        if !self.config.apply_at_once {
            out.push(Action::Apply(self.log.take_committed(self.config.apply_before_persisted)));
            self.proposals.settle(&self.log, out);
            return false;
        }
        let (entries, bytes) = self.log.take_at_once(self.config.apply_before_persisted);
        out.push(Action::Apply(entries));
        self.proposals.settle(&self.log, out);
        self.activate_upto(self.log.applying());
        self.log.applied_at_once();
        self.uncount(bytes);
        self.after_applied();
        true
    }

    fn flush_record(&mut self, out: &mut Vec<Action>) {
        let hard = self.hard_state();
        let changed = hard != self.told_hard;
        self.told_hard = hard;
        let (snapshot, entries) = self.log.take_unwritten();
        let id = self.number_record();
        self.log.write_began(id, snapshot.as_ref().map_or(0, |meta| meta.index));
        let hard = (changed && (entries.is_empty() || !mutant!(TermAfterEntries))).then_some(hard);
        out.push(Action::Persist(Record { id, sync: true, hard, snapshot, entries, checkpoint: false }));
    }

    /// A commit index alone: nothing waits for it.
    fn flush_commit(&mut self, out: &mut Vec<Action>) {
        self.told_hard.commit = self.log.committed();
        let id = self.number_record();
        out.push(Action::Persist(Record { id, hard: Some(self.told_hard), ..Record::default() }));
    }

    fn number_record(&mut self) -> RecordId {
        let id = self.next_record;
        self.next_record = RecordId(id.0 + 1);
        id
    }

    fn flush_fatal(&mut self, out: &mut Vec<Action>) {
        self.sends.clear();
        self.waiting.clear();
        self.proposals.drop_all(DropReason::Stopped, &mut self.events);
        self.reads.fail_all(None, &mut self.events);
        out.append(&mut self.events);
        if let (Some(fatal), false) = (self.fatal, self.fatal_told) {
            self.fatal_told = true;
            out.push(Action::Fatal(fatal));
        }
    }

    /// Tells the fate of a proposal or read that came after the end.
    fn refuse(&mut self, input: Input) -> Result<(), Ignored> {
        match input {
            Input::Propose { ticket, .. } | Input::ProposeMany { ticket, .. } | Input::ProposeConf { ticket, .. } => {
                self.events.push(Action::Dropped { ticket, reason: DropReason::Stopped });
            }
            Input::Read { token } => self.events.push(Action::ReadFailed { token, leader: None }),
            _ => {}
        }
        Err(Ignored::Stopped)
    }

    /// Whether something that promises rest on is not handed out for writing yet.
    fn must_write(&self) -> bool {
        if self.config.in_memory {
            return self.log.has_unwritten_snapshot();
        }
        self.log.has_unwritten() || self.term != self.told_hard.term || self.vote != self.told_hard.vote
    }

    /// Finds what the promises made since the last flush wait for: the record that this flush makes, else the newest one under
    /// way that anything waits for, else nothing.
    fn place_promises(&mut self) {
        while !self.must_write() {
            if let Some(newest) = self.log.newest_write() {
                let fresh = self.waiting.partition_point(|(record, _)| *record < self.next_record);
                self.waiting.iter_mut().skip(fresh).for_each(|(record, _)| *record = newest);
                return;
            }
            // With no write under way, only fresh ones wait. Releasing one's own word may bring more of them.
            let Some((_, message)) = self.waiting.pop_front() else { return };
            self.release(message);
        }
    }

    fn release(&mut self, message: Message) {
        if message.to == self.config.id {
            // A vote for oneself, or entries of one's own: they count from now on.
            let _ = self.by_term(message);
        } else if matches!(message.body, Body::Vote { .. }) && (self.role, self.term) != (Role::Candidate, message.term)
        {
            // A candidacy that is over asks nobody: the log that it boasts of may be cut by now.
        } else {
            self.sends.push(Action::Send(message));
        }
    }

    fn persisted(&mut self, record: RecordId) -> Result<(), Ignored> {
        if record >= self.next_record {
            self.stop(Fatal::Driver { reported: record.0 });
            return Ok(());
        }
        while let Some((id, _)) = self.waiting.front() {
            if *id > record {
                break;
            }
            if let Some((_, message)) = self.waiting.pop_front() {
                self.release(message);
            }
        }
        if let (false, Some(index)) = (mutant!(SnapshotAppliedEarly), self.log.write_ended(record)) {
            self.log.snapshot_applied(index);
            self.after_applied();
        }
        Ok(())
    }

    fn stop(&mut self, fatal: Fatal) {
        self.fatal.get_or_insert(fatal);
    }

    fn hard_state(&self) -> HardState {
        HardState {
            term: self.term,
            vote: self.vote,
            commit: if mutant!(VolatileCommit) { 0 } else { self.log.committed() },
        }
    }

    // Messages in.

    // These three are one path, inlined so that no message is moved along it.
    #[inline(always)]
    fn receive(&mut self, message: Message) -> Result<(), Ignored> {
        let strange = message.cluster.0 != 0 && self.config.cluster.0 != 0 && message.cluster != self.config.cluster;
        if strange {
            return Err(Ignored::OtherCluster);
        }
        if message.to != self.config.id {
            return Err(Ignored::NotForMe);
        }
        let termless = message.body.is_termless();
        let foreign = message.from != self.config.id && message.from != NodeId(0);
        if !foreign || (message.term == 0) != termless || message.term >= NUMBER_MAX {
            return Err(Ignored::Malformed);
        }
        self.check_incarnation(&message)?;
        if message.body.is_answer() && self.progress.get(message.from).is_none() {
            return Err(Ignored::UnknownPeer);
        }
        self.by_term(message)
    }

    /// The rule of terms (thesis section 3.3, etcd `Step`), then the table.
    #[inline(always)]
    fn by_term(&mut self, message: Message) -> Result<(), Ignored> {
        if !message.body.is_termless() {
            if message.term > self.term {
                self.newer_term(&message)?;
            } else if message.term < self.term {
                return self.older_term(&message);
            }
        }
        self.dispatch(message)
    }

    fn newer_term(&mut self, message: &Message) -> Result<(), Ignored> {
        match message.body {
            Body::Vote { transfer: false, .. } | Body::PreVote { .. } if self.hears_leader() => {
                return Err(Ignored::LeaderAlive);
            }
            Body::Vote { .. } => {
                // Only a vote that is given, or a leader, puts off this node's own election: one that nobody can elect must not
                // keep all others from asking (thesis section 3.4).
                let timer = (self.election_since, self.election_after);
                let waits = self.role == Role::Follower;
                self.become_follower(message.term, None);
                if waits {
                    (self.election_since, self.election_after) = timer;
                }
            }
            // A question about a later term is not a later term; nor is a yes to it.
            Body::PreVote { .. } | Body::PreVoteReply { granted: true } => {}
            Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot { .. } => {
                self.become_follower(message.term, Some(message.from));
            }
            // Answers too: a leader learns from them that it is deposed (study id E8).
            Body::Appended { .. } | Body::HeartbeatEcho { .. } if mutant!(DeafToLaterTermsInAnswers) => {
                return Err(Ignored::StaleTerm);
            }
            _ => self.become_follower(message.term, None),
        }
        Ok(())
    }

    /// Whoever speaks in an earlier term is told the later one, whatever the settings: nodes may be set differently, and one whose
    /// words nobody answers waits for ever (Raft figure 2; study ids E3, E4). etcd does so with pre-vote or check-quorum only.
    fn older_term(&mut self, message: &Message) -> Result<(), Ignored> {
        match message.body {
            Body::Heartbeat { .. } | Body::Append { .. } if !mutant!(SilentToOldTerms) => {
                self.send(message.from, message.session, Body::Appended { index: 0 });
            }
            Body::Vote { .. } => self.send(message.from, 0, Body::VoteReply { granted: false }),
            Body::PreVote { last_index, .. } if !mutant!(PreVoteRefusalsHideTerm) => {
                self.send(message.from, 0, Body::PreVoteReply { granted: false });
                self.tell_committed(message.from, last_index);
            }
            _ => {}
        }
        Err(Ignored::StaleTerm)
    }

    /// What each role does with each message. The term is this node's, but for pre-votes and what belongs to no term.
    #[inline(always)]
    fn dispatch(&mut self, message: Message) -> Result<(), Ignored> {
        let (from, term, session) = (message.from, message.term, message.session);
        match (message.body, self.role) {
            (Body::Vote { last_index, last_term, transfer, committed }, _) => {
                self.on_vote(from, term, EntryId { term: last_term, index: last_index }, committed, transfer)
            }
            (Body::PreVote { last_index, last_term, committed }, _) => {
                self.on_pre_vote(from, term, EntryId { term: last_term, index: last_index }, committed)
            }

            // There is one leader in a term: another one's word cannot be true.
            (Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot { .. }, Role::Leader) => {
                Err(Ignored::Malformed)
            }
            (Body::Append { prev_index, prev_term, commit, entries }, _) => {
                self.check_session(session)?;
                self.follow(from);
                let prev = EntryId { term: prev_term, index: prev_index };
                self.on_append(from, session, prev, commit, entries)
            }
            (Body::Heartbeat { commit, round }, _) => {
                self.check_session(session)?;
                self.follow(from);
                self.on_heartbeat(from, session, commit, round)
            }
            (Body::Snapshot { meta }, _) => {
                self.check_session(session)?;
                self.follow(from);
                self.on_snapshot(from, session, &meta)
            }

            (Body::Appended { index }, Role::Leader) => self.on_appended(from, session, index),
            (Body::Rejected { index, hint_index, hint_term }, Role::Leader) => {
                self.on_rejected(from, session, index, EntryId { term: hint_term, index: hint_index })
            }
            (Body::HeartbeatEcho { round }, Role::Leader) => self.on_echo(from, session, round),
            (Body::Appended { .. } | Body::Rejected { .. } | Body::HeartbeatEcho { .. }, _) => Err(Ignored::NotNow),

            (Body::PreVoteReply { granted }, Role::Candidate) if mutant!(CountsStaleWords) => {
                self.on_word(from, granted);
                Ok(())
            }
            (Body::VoteReply { granted }, Role::Candidate) | (Body::PreVoteReply { granted }, Role::PreCandidate) => {
                self.on_word(from, granted);
                Ok(())
            }
            // Answers to an election that is over (study id E7).
            (Body::VoteReply { .. } | Body::PreVoteReply { .. }, _) => Err(Ignored::NotNow),

            (Body::TimeoutNow, Role::Follower) => self.hup(election::Campaign::Transfer),
            (Body::TimeoutNow, _) => Err(Ignored::NotNow),

            (Body::Propose { payloads }, _) => self.on_propose(payloads),
            (Body::ProposeConf { change }, _) => self.on_propose_conf(&change),
            (Body::TransferLeader { to }, _) => self.transfer_leader(to),
            (Body::Read { number }, _) => self.on_read(from, number),
            (Body::ReadReply { number, index }, _) => self.on_read_reply(number, index),
            (Body::Committed { index, term }, _) => self.on_committed(EntryId { term, index }),
        }
    }

    // Messages out.

    /// Sends `body`, or holds it where it promises something that is not durable yet.
    #[inline]
    fn send(&mut self, to: NodeId, session: Index, body: Body) {
        let term = if body.is_termless() { 0 } else { self.term };
        self.send_at(to, term, session, body);
    }

    #[inline]
    fn send_at(&mut self, to: NodeId, term: Term, session: Index, body: Body) {
        let Config { id, cluster, incarnation, .. } = self.config;
        // One's own word is not counted in the middle of another step, even where it rests on nothing.
        if body.is_promise() && (to == id || self.must_write() || self.log.newest_write().is_some()) {
            return self.hold(Message { cluster, from: id, incarnation, to, term, session, body });
        }
        self.sends.push(Action::Send(Message { cluster, from: id, incarnation, to, term, session, body }));
    }

    /// Keeps a promise until what it rests on is durable.
    fn hold(&mut self, message: Message) {
        if self.waiting.len() >= self.config.held_messages_max && message.to != self.config.id {
            // The disk stalls: as if lost on the way.
            return;
        }
        self.waiting.push_back((self.next_record, message));
    }

    // What can be seen.

    /// When to give [`Input::Timeout`] next, unless another input comes first; it may have passed. `None`: not at all.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if self.fatal.is_some() {
            return None;
        }
        let own = match self.role {
            Role::Leader => {
                let heartbeat = self.heartbeat_since + self.config.heartbeat_interval;
                Some(heartbeat.min(self.election_since + self.config.election_timeout))
            }
            Role::Follower | Role::PreCandidate | Role::Candidate => {
                self.promotable().then(|| self.election_since + self.election_after)
            }
        };
        own.into_iter().chain(self.reads.deadline(self.config.election_timeout)).min()
    }

    /// A picture of the machine.
    #[must_use]
    pub fn status(&self) -> Status {
        let last = self.log.last_id();
        let leads = self.role == Role::Leader;
        Status {
            id: self.config.id,
            incarnation: self.config.incarnation,
            term: self.term,
            vote: self.vote,
            role: self.role,
            leader: self.leader,
            transferring_to: self.transferring_to,
            first_index: self.log.first_index(),
            last_index: last.index,
            last_term: last.term,
            stable: self.log.stable(),
            commit: self.log.committed(),
            applying: self.log.applying(),
            applied: self.log.applied(),
            snapshot: self.snapshot.index,
            conf: self.conf.clone(),
            conf_settled: self.pending_conf_index <= self.log.applied(),
            progress: if leads { self.progress.clone() } else { ProgressMap::default() },
            uncommitted_bytes: self.uncommitted_bytes,
            log_bytes: self.log.bytes(),
            proposals_pending: self.proposals.len(),
            reads_pending: self.reads.len(),
            records_pending: self.log.writes_pending(),
            messages_held: self.waiting.len(),
            fatal: self.fatal,
        }
    }

    /// This node's settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The log, to look into.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// A record that says all that the records handed out so far say: term, vote, commit index, newest snapshot and every entry
    /// after it. A new segment may begin with it, and once it is durable, older segments may go. Ask for it right after
    /// [`Raft::flush`] and write it after all records before it. `None` where there is no snapshot yet, or one is not durable.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Record> {
        if self.snapshot.index == 0 || self.log.pending_snapshot().is_some() || self.log.has_unwritten() {
            return None;
        }
        Some(Record {
            id: RecordId(self.next_record.0 - 1),
            sync: true,
            hard: Some(self.told_hard),
            snapshot: Some(Box::new(self.snapshot.clone())),
            entries: self.log.slice(self.snapshot.index + 1, self.log.last_index(), u64::MAX),
            checkpoint: true,
        })
    }

    /// What a snapshot of the application's state as of `index` stands for: the entry's term, and the configuration as of it
    /// (study id M5). `None` where `index` is not applied, or lies before the newest snapshot.
    #[must_use]
    pub fn snapshot_meta(&self, index: Index) -> Option<Box<SnapshotMeta>> {
        if index > self.log.applied() {
            return None;
        }
        let (_, conf) = self.confs.iter().rev().find(|(from, _)| *from <= index)?;
        let conf = if mutant!(SnapshotHasNewestConf) { &self.conf } else { conf };
        Some(Box::new(SnapshotMeta { index, term: self.log.term(index)?, conf: conf.clone() }))
    }

    /// Why the machine has stopped, if it has.
    #[must_use]
    pub fn fatal(&self) -> Option<Fatal> {
        self.fatal
    }

    /// Promises that wait for a record that was handed out and is not durable yet, in order. Those to this node itself are
    /// its own vote and its own entries. For transcripts and checks.
    pub fn held(&self) -> impl Iterator<Item = (RecordId, &Message)> {
        self.waiting
            .iter()
            .take_while(|(record, _)| *record < self.next_record)
            .map(|(record, message)| (*record, message))
    }

    /// Fixes the present election timeout, which chance had drawn, until the role changes. For transcripts and tests.
    pub fn set_election_timeout(&mut self, after: Duration) {
        self.election_after = after;
    }
}

/// Whether `entries` follow `base` and one another. The first index that does not, else.
fn check_chain(base: EntryId, entries: &[crate::Entry]) -> Result<(), Index> {
    let mut before = base;
    for entry in entries {
        if Some(entry.index) != before.index.checked_add(1) || entry.term < before.term || entry.index >= NUMBER_MAX {
            return Err(entry.index);
        }
        before = EntryId { term: entry.term, index: entry.index };
    }
    Ok(())
}

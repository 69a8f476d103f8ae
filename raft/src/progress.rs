//! What the leader knows of each peer's log, and how fast it may send to it. Semantics: etcd `tracker/`.
//!
//! Pure bookkeeping: no message is built here. Indexes are positions in the leader's log.

use core::fmt;
use std::collections::VecDeque;

use crate::confchange::Conf;
use crate::{Index, NodeId, Time};

/// Appends on the way at once after one was refused.
const WINDOW_AFTER_REFUSAL: usize = 16;
/// Where a window has grown so wide that the refusal is forgotten.
const WINDOW_FORGOTTEN: usize = 1024;

/// How the leader sends to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProgressState {
    /// The end of the peer's log is not known: one message per heartbeat, until one is answered.
    #[default]
    Probe,
    /// The peer's log matches: messages are pipelined.
    Replicate,
    /// The peer needs entries that are compacted: nothing is sent until it has a snapshot.
    Snapshot,
}

/// The last index and the bytes of each append that is not answered yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Inflights {
    messages: VecDeque<(Index, u64)>,
    bytes: u64,
}

impl Inflights {
    /// How many appends are on the way.
    #[must_use]
    pub fn count(&self) -> usize {
        self.messages.len()
    }

    /// The payload bytes that are on the way.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn add(&mut self, last: Index, bytes: u64) {
        self.messages.push_back((last, bytes));
        self.bytes += bytes;
    }

    fn free_to(&mut self, index: Index) {
        while let Some((last, bytes)) = self.messages.front() {
            if *last > index {
                break;
            }
            self.bytes -= bytes;
            self.messages.pop_front();
        }
    }

    fn clear(&mut self) {
        self.messages.clear();
        self.bytes = 0;
    }
}

/// Limits on what may be on the way to one peer, unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflightLimits {
    /// Appends.
    pub messages: usize,
    /// Payload bytes. An append is sent as long as the sum before it is below.
    pub bytes: u64,
}

/// One peer, in the leader's eyes. On other nodes it is only a marker that the peer is tracked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    /// The highest index known to be durable on the peer and equal to the leader's log up to there.
    pub matched: Index,
    /// The next index to send. Always above `matched`.
    pub next: Index,
    /// The highest commit index on the way to the peer.
    pub sent_commit: Index,
    /// How to send.
    pub state: ProgressState,
    /// In [`ProgressState::Snapshot`], the index of the snapshot; else 0.
    pub pending_snapshot: Index,
    /// Whether the peer was heard since the last check of the quorum.
    pub recent_active: bool,
    /// Whether appends wait for an answer or a heartbeat's echo.
    pub paused: bool,
    /// The appends on the way.
    pub inflights: Inflights,
    /// Appends that may be on the way since the peer refused one; grows with each answer. 0: as many as the configuration allows.
    pub window: usize,
    /// Whether the peer replicates without counting.
    pub learner: bool,
    /// Which stay in the group this is: the index of the change that added the peer. Answers that carry another session
    /// belong to an earlier stay and are ignored (study id R4).
    pub session: Index,
    /// The newest heartbeat round that the peer has echoed.
    pub acked_round: u64,
    /// When that round was sent.
    pub acked_at: Time,
}

impl Progress {
    pub(crate) fn new(next: Index, session: Index) -> Progress {
        Progress { next, session, recent_active: true, ..Progress::default() }
    }

    /// Begins anew at a change of role, `next` being the index after the log's last. The peer's stay and name remain.
    pub(crate) fn reset(&mut self, next: Index) {
        let inflights = core::mem::take(&mut self.inflights);
        let Progress { learner, session, .. } = *self;
        *self = Progress { next, learner, session, inflights, ..Progress::default() };
        self.inflights.clear();
    }

    fn reset_state(&mut self, state: ProgressState) {
        self.paused = false;
        self.pending_snapshot = 0;
        self.state = state;
        self.inflights.clear();
    }

    pub(crate) fn become_probe(&mut self) {
        let from = match self.state {
            ProgressState::Snapshot => self.pending_snapshot.max(self.matched),
            ProgressState::Probe | ProgressState::Replicate => self.matched,
        };
        self.reset_state(ProgressState::Probe);
        self.next = from + 1;
        self.sent_commit = self.sent_commit.min(from);
    }

    pub(crate) fn become_replicate(&mut self) {
        self.reset_state(ProgressState::Replicate);
        self.next = self.matched + 1;
    }

    pub(crate) fn become_snapshot(&mut self, index: Index) {
        self.reset_state(ProgressState::Snapshot);
        self.pending_snapshot = index;
        self.next = index + 1;
        self.sent_commit = index;
    }

    pub(crate) fn is_full(&self, limits: InflightLimits) -> bool {
        let narrow = self.window > 0 && self.inflights.count() >= self.window;
        narrow || self.inflights.count() >= limits.messages || self.inflights.bytes >= limits.bytes
    }

    /// A pipelined append was refused: the link loses or reorders. Sent anew all at once, what is on the way would be refused again, and
    /// the more is sent the more is refused.
    pub(crate) fn narrow(&mut self) {
        self.window = WINDOW_AFTER_REFUSAL;
    }

    fn widen(&mut self) {
        if self.window > 0 {
            self.window = if self.window >= WINDOW_FORGOTTEN { 0 } else { self.window + 1 };
        }
    }

    /// Notes an append of `entries` entries and `bytes` payload bytes that was just sent.
    pub(crate) fn sent_entries(&mut self, entries: u64, bytes: u64, limits: InflightLimits) {
        match self.state {
            ProgressState::Replicate => {
                if entries > 0 {
                    self.next += entries;
                    self.inflights.add(self.next - 1, bytes);
                }
                self.paused = self.is_full(limits);
            }
            ProgressState::Probe => self.paused |= entries > 0,
            ProgressState::Snapshot => {}
        }
    }

    /// Whether telling the peer of `commit` now could move its commit index.
    pub(crate) fn can_bump_commit(&self, commit: Index) -> bool {
        commit > self.sent_commit && self.sent_commit < self.next.saturating_sub(1)
    }

    /// Notes that the peer holds everything up to `index`. False if that was known.
    pub(crate) fn maybe_update(&mut self, index: Index) -> bool {
        if index <= self.matched {
            return false;
        }
        self.matched = if mutant!(BelievesNext) { index.max(self.next.saturating_sub(1)) } else { index };
        self.next = self.next.max(index + 1);
        self.paused = false;
        self.widen();
        true
    }

    /// Steps back after the peer refused an append at `rejected`. False if the refusal is stale.
    pub(crate) fn maybe_decrease(&mut self, rejected: Index, hint: Index) -> bool {
        if self.state == ProgressState::Replicate {
            if rejected <= self.matched {
                return false;
            }
            self.next = self.matched + 1;
            self.sent_commit = self.sent_commit.min(self.matched);
            return true;
        }
        if self.next != rejected.saturating_add(1) {
            return false;
        }
        self.next = if mutant!(NeverStepsBack) {
            rejected + 1
        } else {
            rejected.min(hint.saturating_add(1)).max(self.matched + 1)
        };
        self.sent_commit = self.sent_commit.min(self.next - 1);
        self.paused = false;
        true
    }

    pub(crate) fn free_inflights(&mut self, index: Index) {
        if !mutant!(WindowNeverFrees) {
            self.inflights.free_to(index);
        }
    }

    /// Whether appends to the peer wait.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused || self.state == ProgressState::Snapshot
    }
}

impl fmt::Display for Progress {
    /// One line, in etcd's words; a full window is not told, since its limits are the configuration's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            ProgressState::Probe => "StateProbe",
            ProgressState::Replicate => "StateReplicate",
            ProgressState::Snapshot => "StateSnapshot",
        };
        write!(f, "{state} match={} next={}", self.matched, self.next)?;
        if self.learner {
            f.write_str(" learner")?;
        }
        if self.is_paused() {
            f.write_str(" paused")?;
        }
        if self.pending_snapshot > 0 {
            write!(f, " pendingSnap={}", self.pending_snapshot)?;
        }
        if !self.recent_active {
            f.write_str(" inactive")?;
        }
        if self.inflights.count() > 0 {
            write!(f, " inflight={}", self.inflights.count())?;
        }
        Ok(())
    }
}

/// The [`Progress`] of every member, ascending by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProgressMap {
    peers: Vec<(NodeId, Progress)>,
}

impl ProgressMap {
    /// The progress of `node`, if it is a member.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Progress> {
        self.peers.iter().find(|(id, _)| *id == node).map(|(_, progress)| progress)
    }

    pub(crate) fn get_mut(&mut self, node: NodeId) -> Option<&mut Progress> {
        self.peers.iter_mut().find(|(id, _)| *id == node).map(|(_, progress)| progress)
    }

    /// Every member and its progress, ascending by id.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Progress)> {
        self.peers.iter().map(|(id, progress)| (*id, progress))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (NodeId, &mut Progress)> {
        self.peers.iter_mut().map(|(id, progress)| (*id, progress))
    }

    /// The member at a position, ascending by id: lets a loop send to each while the machine changes.
    pub(crate) fn id_at(&self, at: usize) -> Option<NodeId> {
        self.peers.get(at).map(|(id, _)| *id)
    }

    /// Tracks exactly the members of `conf`. Those that are there in another stay than before are probed from `last` (the leader's
    /// last index) on; of the others everything is kept.
    pub(crate) fn switch(&mut self, conf: &Conf, last: Index) {
        let mut peers = Vec::new();
        for id in conf.members() {
            let since = conf.stay(id).unwrap_or_default().since;
            let kept = self.get(id).filter(|progress| progress.session == since).cloned();
            let mut progress = kept.unwrap_or_else(|| Progress::new(last.max(1), since));
            progress.learner = conf.is_learner(id);
            peers.push((id, progress));
        }
        self.peers = peers;
    }
}

//! The changes that this node's shards have proposed, until each is told what became of it, once.
//!
//! A node numbers its changes; the log applies each number of a life once, in order, and nothing of a life that is not live. So
//! a change may be sent as often as need be, and its fate is known for certain but in two cases: a snapshot took the place of
//! the entries, or time is up. Rule guarded: "503 when it certainly was not made, 504 when its fate is unknown".

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::wire::Refusal;
use crate::catalogue::Outcome;
use crate::id::{Life, ShardId};
use crate::peer::Ticket;
use crate::time::Time;

/// Changes of this node that are under way, at most.
pub(super) const UNTOLD_MAX: usize = 65_536;
/// Changes, and bytes of them, that go to the leader at once.
const BATCH_MAX: usize = 1024;

/// A change that is not applied yet, as far as is known here.
#[derive(Debug)]
struct Untold {
    seq: u64,
    asker: (ShardId, Ticket),
    bytes: Bytes,
    /// How often it went to a leader that may have appended it.
    posts: u32,
    since: Time,
}

/// A change that is applied here, and perhaps not yet everywhere.
#[derive(Debug)]
struct Decided {
    number: u64,
    asker: (ShardId, Ticket),
    outcome: Option<Outcome>,
    since: Time,
}

/// What is told to a shard.
pub(super) type Told = (ShardId, Ticket, Outcome);

/// This node's changes, and the last number of each life.
#[derive(Debug, Default)]
pub(super) struct Changes {
    last_seq: u64,
    /// From which number on changes are to be sent.
    next_to_send: u64,
    untold: VecDeque<Untold>,
    decided: VecDeque<Decided>,
    /// Agreed on: the last number that was applied, of each live life.
    seen: BTreeMap<Life, u64>,
    told: Vec<Told>,
}

impl Changes {
    /// A change to be sent: its number, from which the caller makes its bytes. `None`: too many are under way.
    pub(super) fn number(&mut self) -> Option<u64> {
        if self.untold.len() + self.decided.len() >= UNTOLD_MAX {
            return None;
        }
        self.last_seq += 1;
        Some(self.last_seq)
    }

    pub(super) fn add(&mut self, now: Time, seq: u64, asker: (ShardId, Ticket), bytes: Bytes) {
        self.untold.push_back(Untold { seq, asker, bytes, posts: 0, since: now });
    }

    /// Says at once that nothing was changed.
    pub(super) fn refuse(&mut self, asker: (ShardId, Ticket)) {
        self.told.push((asker.0, asker.1, Outcome::NoLeader));
    }

    /// The next changes to send, in order, as sent.
    pub(super) fn batch(&mut self) -> Vec<(u64, Bytes)> {
        let from = self.untold.partition_point(|change| change.seq < self.next_to_send);
        let batch: Vec<_> = self
            .untold
            .iter_mut()
            .skip(from)
            .take(BATCH_MAX)
            .map(|change| {
                change.posts = change.posts.saturating_add(1);
                (change.seq, change.bytes.clone())
            })
            .collect();
        self.next_to_send = batch.last().map_or(self.next_to_send, |(seq, _)| seq + 1);
        batch
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.untold.back().is_some_and(|change| change.seq >= self.next_to_send)
    }

    /// There is a new leader, or a new link to it: everything is sent again.
    pub(super) fn resend(&mut self) {
        self.next_to_send = 0;
    }

    /// What no leader can have appended is sent again, and in order all that follows it.
    pub(super) fn resend_unposted(&mut self) {
        if let Some(change) = self.untold.iter().find(|change| change.posts == 0) {
            self.next_to_send = self.next_to_send.min(change.seq);
        }
    }

    /// A leader has not appended these.
    pub(super) fn refused(&mut self, seqs: &[u64], why: Refusal) {
        for seq in seqs {
            let Ok(at) = self.untold.binary_search_by_key(seq, |change| change.seq) else { continue };
            let Some(change) = self.untold.get_mut(at) else { continue };
            if change.posts != 1 {
                // Another may have.
                continue;
            }
            match why {
                Refusal::NotLeader => change.posts = 0,
                Refusal::Overloaded => {
                    let asker = change.asker;
                    self.untold.remove(at);
                    self.refuse(asker);
                }
            }
        }
    }

    /// An entry of the log: whether it counts, being new.
    pub(super) fn is_new(&mut self, life: Life, seq: u64) -> bool {
        let last = self.seen.entry(life).or_insert(0);
        let new = seq > *last;
        *last = seq.max(*last);
        new
    }

    /// A change of this life is applied under this number: who wanted it. Those before it that are not applied never will be.
    pub(super) fn applied(&mut self, now: Time, seq: u64, number: u64) -> Option<(ShardId, Ticket)> {
        while let Some(change) = self.untold.pop_front_if(|change| change.seq < seq) {
            self.refuse(change.asker);
        }
        let change = self.untold.pop_front_if(|change| change.seq == seq)?;
        self.decided.push_back(Decided { number, asker: change.asker, outcome: None, since: now });
        Some(change.asker)
    }

    /// What applying did.
    pub(super) fn outcome(&mut self, number: u64, outcome: Outcome) {
        // Several may have been handed out before the first is applied.
        let at = self.decided.partition_point(|decided| decided.number < number);
        if let Some(decided) = self.decided.get_mut(at).filter(|decided| decided.number == number) {
            decided.outcome = Some(outcome);
        }
    }

    /// Up to this number every live node has applied all changes.
    pub(super) fn everywhere(&mut self, number: u64) {
        while let Some(Decided { asker, outcome: Some(outcome), .. }) = self.decided.pop_front_if(|decided| {
            (decided.number <= number || mutant!(AnswersBeforeEverywhere)) && decided.outcome.is_some()
        }) {
            self.told.push((asker.0, asker.1, outcome));
        }
    }

    /// A life has ended: nothing of it counts any more.
    pub(super) fn forget(&mut self, life: Life) {
        self.seen.remove(&life);
    }

    /// This node's life has ended, and the log says so: what is not applied never will be. Numbers begin anew.
    pub(super) fn life_ended(&mut self) {
        for change in std::mem::take(&mut self.untold) {
            self.refuse(change.asker);
        }
        self.life_lost();
    }

    /// This node's life has ended, and nothing says what becomes of its changes.
    pub(super) fn life_lost(&mut self) {
        for change in std::mem::take(&mut self.untold) {
            self.tell(change.asker, if change.posts == 0 { Outcome::NoLeader } else { Outcome::Unknown });
        }
        for decided in std::mem::take(&mut self.decided) {
            self.tell(decided.asker, Outcome::Unknown);
        }
        (self.last_seq, self.next_to_send) = (0, 0);
    }

    /// A snapshot took the place of entries: what it says of each life.
    pub(super) fn restored(&mut self, seen: BTreeMap<Life, u64>, own: Life) {
        let last = seen.get(&own).copied().unwrap_or(0);
        while let Some(change) = self.untold.pop_front_if(|change| change.seq <= last) {
            self.tell(change.asker, Outcome::Unknown);
        }
        self.seen = seen;
    }

    /// What has waited for longer than `limit` is told that nobody knows.
    pub(super) fn time_out(&mut self, now: Time, limit: Duration) {
        let late = |since: Time| now.since(since) >= limit;
        while let Some(change) = self.untold.pop_front_if(|change| late(change.since)) {
            self.tell(change.asker, if change.posts == 0 { Outcome::NoLeader } else { Outcome::Unknown });
        }
        while let Some(decided) = self.decided.pop_front_if(|decided| late(decided.since)) {
            self.tell(decided.asker, Outcome::Unknown);
        }
    }

    /// When the first of them has waited for `limit`.
    pub(super) fn deadline(&self, limit: Duration) -> Option<Time> {
        let untold = self.untold.front().map(|change| change.since + limit);
        untold.into_iter().chain(self.decided.front().map(|decided| decided.since + limit)).min()
    }

    fn tell(&mut self, asker: (ShardId, Ticket), outcome: Outcome) {
        self.told.push((asker.0, asker.1, outcome));
    }

    /// What an earlier self had to tell.
    pub(super) fn tell_all(&mut self, told: Vec<Told>) {
        self.told.extend(told);
    }

    /// What is to be told now.
    pub(super) fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// The last number of each live life.
    pub(super) fn seen(&self) -> &BTreeMap<Life, u64> {
        &self.seen
    }
}

//! Leases: until when a node may decide and read, and whom the leader counts as live.
//!
//! A lease runs from the sending of what it answers, and ends before the leader's own; the leader's ends before another can be
//! elected. So a life that is dropped, and each that an earlier leader knew, has stopped deciding by itself when the change
//! that ends it is proposed. Rule guarded: a `Gone` is applied nowhere while that life still holds a lease.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::membership::Comings;
use crate::config::Config;
use crate::id::{Life, NodeId};
use crate::members::NodeChange;
use crate::time::Time;

/// Rounds whose time of sending is remembered.
const ROUNDS_KEPT: usize = 32;
/// How long a leader waits for lives of which it hears nothing and has no link, after its election.
const GRACE: Duration = Duration::from_millis(300);
/// How long a complaint counts.
const COMPLAINT_LASTS: Duration = Duration::from_secs(3);

/// The spans that everything here is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spans {
    /// Between two heartbeats of the leader.
    pub(super) heartbeat: Duration,
    /// The longest lease.
    pub(super) lease: Duration,
    /// How long after its lease a node is out.
    pub(super) out: Duration,
    /// How long a change may take.
    pub(super) change: Duration,
}

impl Spans {
    pub(super) fn of(config: &Config) -> Self {
        Spans {
            heartbeat: config.heartbeat,
            lease: config.election_timeout_min * 3 / 4,
            out: config.out_after(),
            change: config.election_timeout_max + Duration::from_secs(2),
        }
    }

    /// How long the leader waits for a life to which it has granted a lease of this length: a tenth for clocks that differ, and
    /// what a stalled loop may take.
    fn margin(length: Duration) -> Duration {
        length + length / 10 + Duration::from_millis(100)
    }
}

/// This node's own lease.
#[derive(Debug, Default)]
pub(super) struct Lease {
    until: Time,
    /// Whether there was one in this life.
    had: bool,
    /// What the shards know.
    told: Time,
    last_round: u64,
    /// What was said to whom, and when.
    rounds: VecDeque<(u64, Life, Time)>,
}

impl Lease {
    /// Something is said to the leader now: its number.
    pub(super) fn round(&mut self, now: Time, leader: Life) -> u64 {
        self.last_round += 1;
        if self.rounds.len() >= ROUNDS_KEPT {
            self.rounds.pop_front();
        }
        self.rounds.push_back((self.last_round, leader, now));
        self.last_round
    }

    /// The leader has answered.
    pub(super) fn granted(&mut self, from: Life, round: u64, length: Duration) {
        let sent = self.rounds.iter().find(|(number, leader, _)| *number == round && *leader == from);
        if let Some((_, _, at)) = sent {
            self.until = self.until.max(*at + length);
        }
    }

    /// This node leads, and no other can be elected before.
    pub(super) fn leads(&mut self, until: Time) {
        self.until = until;
    }

    /// It hands leadership over: another may lead at any time.
    pub(super) fn revoke(&mut self, now: Time) {
        self.until = self.until.min(now);
    }

    /// A new life has none.
    pub(super) fn begin_anew(&mut self) {
        (self.until, self.had) = (Time::ZERO, false);
        self.rounds.clear();
    }

    /// What the shards are to know now, if it is news. `live`: whether this life counts.
    pub(super) fn news(&mut self, live: bool) -> Option<Time> {
        let until = if live { self.until } else { Time::ZERO };
        self.had |= until > Time::ZERO;
        (until != self.told).then(|| {
            self.told = until;
            until
        })
    }

    /// When this life is out, unless it gets another lease.
    pub(super) fn out_at(&self, spans: &Spans) -> Option<Time> {
        (self.had && self.until < Time::MAX).then(|| self.until + spans.out)
    }

    /// Whether this life has ever held one.
    pub(super) fn was_held(&self) -> bool {
        self.had
    }

    /// Whether it holds now.
    pub(super) fn holds(&self, now: Time) -> bool {
        now < self.told
    }

    /// Until when, as the shards know it.
    pub(super) fn told(&self) -> Time {
        self.told
    }
}

/// What a leader knows of a life.
#[derive(Debug)]
struct Held {
    /// When it holds no lease any more, whatever its clock says.
    until: Time,
    /// How far it has applied.
    applied: u64,
    /// Whether it gets no further lease.
    dropped: bool,
    /// Whether its end is proposed.
    ending: bool,
}

/// What a leader knows of the lives, from its election on.
#[derive(Debug)]
pub(super) struct Leading {
    pub(super) term: u64,
    since: Time,
    /// The first entry of its term. Before it is applied, the table of lives may be an old one.
    pub(super) start: u64,
    /// Whether an earlier leader's grants may still run: leadership was handed over, not lost.
    handed: bool,
    /// Whether this leader has held a lease of its own.
    pub(super) had_lease: bool,
    lives: BTreeMap<Life, Held>,
    /// Nodes that want to be live, as which life, and how far they must have applied first.
    asks: BTreeMap<NodeId, (Life, u64)>,
    /// Lives that are proposed to be live.
    proposed: BTreeSet<Life>,
    /// Who complains of whom, and when.
    complaints: BTreeMap<(Life, Life), Time>,
    /// Up to where all have applied, and what was said of it.
    everywhere: u64,
    /// Changes of the members that Raft has not taken yet.
    pub(super) unproposed: VecDeque<NodeChange>,
    pub(super) comings: Comings,
}

impl Leading {
    pub(super) fn new(now: Time, term: u64, start: u64, handed: bool) -> Self {
        Leading {
            term,
            since: now,
            start,
            handed,
            had_lease: false,
            lives: BTreeMap::new(),
            asks: BTreeMap::new(),
            proposed: BTreeSet::new(),
            complaints: BTreeMap::new(),
            everywhere: 0,
            unproposed: VecDeque::new(),
            comings: Comings::default(),
        }
    }

    fn held(&mut self, life: Life, spans: &Spans) -> &mut Held {
        let until = if self.handed { self.since + Spans::margin(spans.lease) } else { self.since };
        self.lives.entry(life).or_insert(Held { until, applied: 0, dropped: false, ending: false })
    }

    /// A live life goes on: for how long it may, counted from its own sending. `own` is until when this leader may.
    pub(super) fn alive(
        &mut self,
        now: Time,
        life: Life,
        applied: u64,
        own: Option<Time>,
        spans: &Spans,
    ) -> Option<Duration> {
        let length = spans.lease.min(own.unwrap_or(now).since(now));
        let held = self.held(life, spans);
        held.applied = held.applied.max(applied);
        if held.dropped || length.is_zero() {
            return None;
        }
        held.until = held.until.max(now + Spans::margin(length));
        Some(length)
    }

    /// How far a live life has applied, as it said.
    pub(super) fn applied(&self, life: Life) -> Option<u64> {
        self.lives.get(&life).map(|held| held.applied)
    }

    /// A node wants to be live under a life that is not. True: propose it now. It must have applied all that was committed when
    /// it first asked, so that it knows of its own end if the life had been live before.
    pub(super) fn asks(&mut self, node: NodeId, life: Life, applied: u64, commit: u64) -> bool {
        let ask = self.asks.entry(node).or_insert((life, commit));
        if ask.0 != life {
            *ask = (life, commit);
        }
        applied >= ask.1 && self.proposed.insert(life)
    }

    /// Whether the leader's own life is to be proposed now: once.
    pub(super) fn claim(&mut self, life: Life) -> bool {
        self.proposed.insert(life)
    }

    /// A life has begun.
    pub(super) fn began(&mut self, now: Time, node: NodeId, life: Life, applied: u64, spans: &Spans) {
        self.asks.remove(&node);
        self.proposed.remove(&life);
        // It has had no lease; it gets some time to ask for the first.
        let until = now + Spans::margin(spans.lease);
        self.lives.insert(life, Held { until, applied, dropped: false, ending: false });
    }

    /// A life has ended.
    pub(super) fn ended(&mut self, node: Option<NodeId>, life: Life) {
        self.lives.remove(&life);
        self.complaints.retain(|(from, about), _| *from != life && *about != life);
        if let Some(node) = node {
            self.asks.remove(&node);
        }
    }

    /// The life gets no further lease.
    pub(super) fn drop_life(&mut self, life: Life, spans: &Spans) {
        self.held(life, spans).dropped = true;
    }

    /// The life ends for a reason that needs no waiting. True: propose it now.
    pub(super) fn end_now(&mut self, life: Life, spans: &Spans) -> bool {
        let held = self.held(life, spans);
        held.dropped = true;
        !std::mem::replace(&mut held.ending, true)
    }

    /// The lives, of these, whose end is to be proposed now: each is told once.
    pub(super) fn overdue(&mut self, now: Time, lives: impl Iterator<Item = (Life, bool)>, spans: &Spans) -> Vec<Life> {
        let (since, handed) = (self.since, self.handed);
        let mut overdue = Vec::new();
        for (life, linked) in lives {
            let unheard = !self.lives.contains_key(&life);
            // What an earlier leader had granted is over, but the life may only be late.
            let wait = if unheard && linked { Spans::margin(spans.lease) } else { GRACE };
            if unheard && (now < since + wait || (handed && now < since + Spans::margin(spans.lease))) {
                continue;
            }
            let held = self.held(life, spans);
            if now >= held.until && !held.ending {
                (held.ending, held.dropped) = (true, true);
                overdue.push(life);
            }
        }
        overdue
    }

    /// One life cannot reach another.
    pub(super) fn complains(&mut self, now: Time, from: Life, about: Life) {
        if self.lives.contains_key(&from) {
            self.complaints.insert((from, about), now);
        }
    }

    /// Who is to be dropped, so that those who remain can all reach each other: the one with whom most are at odds, and of those
    /// the highest; never `own`. Who is out of this leader's own reach, or about to go, goes anyway, and nobody else because of it.
    pub(super) fn odd_one(
        &mut self,
        now: Time,
        own: Life,
        linked: impl Fn(Life) -> bool,
        rank: impl Fn(Life) -> Option<NodeId>,
    ) -> Option<Life> {
        let lives = &self.lives;
        let stays = |life: Life| life == own || (linked(life) && lives.get(&life).is_some_and(|held| !held.dropped));
        self.complaints.retain(|(from, about), at| now.since(*at) < COMPLAINT_LASTS && stays(*from) && stays(*about));
        let mut against: BTreeMap<Life, BTreeSet<Life>> = BTreeMap::new();
        for (from, about) in self.complaints.keys() {
            against.entry(*from).or_default().insert(*about);
            against.entry(*about).or_default().insert(*from);
        }
        let worst = against
            .iter()
            .filter(|(life, _)| **life != own)
            .max_by_key(|(life, others)| (others.len(), rank(**life)))
            .map(|(life, _)| *life)?;
        self.complaints.clear();
        Some(worst)
    }

    /// Up to where all have applied, as was said last.
    pub(super) fn everywhere(&self) -> u64 {
        self.everywhere
    }

    /// Up to where every one of these lives has applied, if that is news. `own` is how far this node itself has.
    pub(super) fn news(&mut self, own: u64, own_life: Life, lives: impl Iterator<Item = Life>) -> Option<u64> {
        let of = |life: Life| if life == own_life { own } else { self.lives.get(&life).map_or(0, |held| held.applied) };
        let everywhere = lives.map(of).min().unwrap_or(own).min(own);
        (everywhere > self.everywhere).then(|| {
            self.everywhere = everywhere;
            everywhere
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_dropped_for_missing_one_that_the_leader_does_not_reach_either() {
        let config = Config::default();
        let (spans, now) = (Spans::of(&config), Time::ZERO + Duration::from_secs(9));
        let [own, survivor, dead] = [Life(1), Life(3), Life(2)];
        let rank = |life: Life| Some(NodeId(life.0));
        let mut leading = Leading::new(now, 2, 1, false);
        let until = Some(now + spans.lease);
        leading.alive(now, survivor, 0, until, &spans);
        leading.complains(now, survivor, dead);
        assert_eq!(leading.odd_one(now, own, |life| life != dead, rank), None);
        // Nor for one that is about to go.
        leading.alive(now, dead, 0, until, &spans);
        leading.drop_life(dead, &spans);
        leading.complains(now, survivor, dead);
        assert_eq!(leading.odd_one(now, own, |_| true, rank), None);
        // Of two that do not reach each other, the higher goes.
        leading.alive(now, Life(4), 0, until, &spans);
        leading.complains(now, survivor, Life(4));
        assert_eq!(leading.odd_one(now, own, |_| true, rank), Some(Life(4)));
    }
}

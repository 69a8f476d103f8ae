//! Whom to be linked with, and when to reach out for them.
//!
//! Of two nodes that want a link the one with the lower life dials first, the other only if that has not led to a link
//! after a while: a link that comes about from one side is made once. Failures make the pauses longer, and chance keeps
//! nodes that failed together apart.

use std::time::Duration;

use crate::config::NodeAddress;
use crate::id::Life;
use crate::random::Random;
use crate::time::Time;

/// The pause after the first failure, about.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How much later the node with the higher life dials.
const DEFERENCE: Duration = Duration::from_millis(1_000);

/// What a dial is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// To meet whoever is there.
    Meet,
    /// To be linked with this life.
    Link(Life),
}

/// One node that is to be linked with.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) address: NodeAddress,
    /// Whether an attempt is under way: the adapter dials, or the two ends get to know each other.
    pub(super) busy: bool,
    /// When the next attempt begins: the place in the list of timers.
    pub(super) timer: Option<Time>,
    pause: Duration,
    /// Whether the other end is the one that dials first.
    defers: bool,
}

impl Wanted {
    /// A node at `address`; `defers`: its life is the lower one.
    pub(super) fn new(address: NodeAddress, defers: bool) -> Self {
        Wanted { address, busy: false, timer: None, pause: PAUSE_MIN, defers }
    }

    /// When to dial a node that there is no link with, at first.
    pub(super) fn first_at(&self, now: Time) -> Time {
        if self.defers { now + DEFERENCE } else { now }
    }

    /// When to dial after a failure, or after the end of a link.
    pub(super) fn next_at(&mut self, now: Time, random: &mut Random) -> Time {
        let half = self.pause / 2;
        let jitter = Duration::from_nanos(random.below(u64::try_from(self.pause.as_nanos()).unwrap_or(u64::MAX)));
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        now + half + jitter + if self.defers { DEFERENCE } else { Duration::ZERO }
    }

    /// A link has lasted so long that its end says nothing about the next.
    pub(super) fn lasted(&mut self) {
        self.pause = PAUSE_MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_the_higher_life_waits_longer() {
        let (address, mut random) = (NodeAddress::parse("a:1").unwrap(), Random::from_key([1; 32]));
        for defers in [false, true] {
            let mut wanted = Wanted::new(address.clone(), defers);
            let extra = if defers { DEFERENCE } else { Duration::ZERO };
            assert_eq!(wanted.first_at(Time::ZERO), Time::ZERO + extra);
            let mut pause = PAUSE_MIN;
            for _ in 0..10 {
                let wait = wanted.next_at(Time::ZERO, &mut random).since(Time::ZERO) - extra;
                assert!(wait >= pause / 2 && wait <= pause * 3 / 2, "{wait:?} for {pause:?}");
                pause = (pause * 2).min(PAUSE_MAX);
            }
            assert_eq!(pause, PAUSE_MAX);
            wanted.lasted();
            assert!(wanted.next_at(Time::ZERO, &mut random) <= Time::ZERO + PAUSE_MIN * 3 / 2 + extra);
        }
    }
}

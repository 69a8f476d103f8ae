//! How fast and how many: a client's messages, an address's channels and connections.
//!
//! Rates are kept as one point in time each (GCRA, the leaky bucket as a meter): when the bucket would be full again. So
//! an idle client costs nothing, and no timer refills anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::source::address_key;
use crate::time::Time;

const SECOND: Duration = Duration::from_secs(1);

/// A rate that is not to be exceeded for longer than a second's worth at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Between two, on average.
    interval: Duration,
}

/// What one client or address has used of its pace.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Bucket {
    /// When all of it will have been given back.
    full_at: Time,
}

impl Pace {
    /// So many a second; `None` for 0, which is off.
    pub fn per_second(rate: u64) -> Option<Pace> {
        let nanos = 1_000_000_000u64.checked_div(rate)?;
        Some(Pace { interval: Duration::from_nanos(nanos.max(1)) })
    }

    /// Takes one if there is one.
    ///
    /// # Errors
    /// How long it is until there is one; nothing is taken.
    pub fn take(self, bucket: &mut Bucket, now: Time) -> Result<(), Duration> {
        let next = bucket.full_at.max(now) + self.interval;
        let wait = next.since(now + SECOND);
        if wait.is_zero() {
            bucket.full_at = next;
            return Ok(());
        }
        Err(wait)
    }

    /// Takes one, there or not: it has happened already. When the next may be taken, if that is not now: until then the
    /// source pauses. To be called for every message that is in hand, also while paused.
    pub fn charge(self, bucket: &mut Bucket, now: Time) -> Option<Time> {
        bucket.full_at = bucket.full_at.max(now) + self.interval;
        let resume = bucket.full_at + self.interval - SECOND;
        (resume > now).then_some(resume)
    }
}

/// A pace for every address, in a table with a limit. An address is forgotten when its bucket is full again, a second
/// after its last use at most; where the table is full before that, the one that is full soonest is forgotten first.
#[derive(Debug)]
pub struct AddressPace {
    pace: Pace,
    addresses_max: usize,
    buckets: BTreeMap<IpAddr, Bucket>,
    by_end: BTreeSet<(Time, IpAddr)>,
}

impl AddressPace {
    /// `pace` for each of at most `addresses_max` addresses.
    pub fn new(pace: Pace, addresses_max: usize) -> Self {
        AddressPace { pace, addresses_max: addresses_max.max(1), buckets: BTreeMap::new(), by_end: BTreeSet::new() }
    }

    /// Takes one for `address` ([`address_key`] of it) if there is one.
    ///
    /// # Errors
    /// How long it is until there is one: 429 with `Retry-After`.
    pub fn take(&mut self, address: IpAddr, now: Time) -> Result<(), Duration> {
        // Each call adds one at most, so two are enough to catch up.
        for _ in 0..2 {
            if self.by_end.first().is_some_and(|(end, _)| *end <= now) {
                self.forget_first();
            }
        }
        let key = address_key(address);
        let mut bucket = self.buckets.get(&key).copied().unwrap_or_default();
        self.pace.take(&mut bucket, now)?;
        if let Some(before) = self.buckets.insert(key, bucket) {
            self.by_end.remove(&(before.full_at, key));
        }
        if self.buckets.len() > self.addresses_max {
            self.forget_first();
        }
        self.by_end.insert((bucket.full_at, key));
        Ok(())
    }

    fn forget_first(&mut self) {
        if let Some((_, address)) = self.by_end.pop_first() {
            self.buckets.remove(&address);
        }
    }
}

/// How many connections each address has. An address stands here only while it has one, so that the node's limit on
/// clients bounds the table.
#[derive(Debug, Default)]
pub struct AddressCounts {
    counts: BTreeMap<IpAddr, u64>,
}

impl AddressCounts {
    /// Counts a connection of `address` ([`address_key`] of it) unless it has `max` already; 0 is no limit. Whether it
    /// was counted: if so, [`AddressCounts::leave`] follows once.
    pub fn enter(&mut self, address: IpAddr, max: u64) -> bool {
        let key = address_key(address);
        let count = self.counts.get(&key).copied().unwrap_or_default();
        if max != 0 && count >= max {
            return false;
        }
        self.counts.insert(key, count.saturating_add(1));
        true
    }

    /// A counted connection has ended.
    pub fn leave(&mut self, address: IpAddr) {
        let key = address_key(address);
        match self.counts.get_mut(&key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.counts.remove(&key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(1_000_000 + millis)
    }

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn a_pace_lets_a_seconds_worth_through_at_once_and_then_one_by_one() {
        let pace = Pace::per_second(10).unwrap();
        let mut bucket = Bucket::default();
        for n in 0..10 {
            assert_eq!(pace.take(&mut bucket, at(0)), Ok(()), "{n}");
        }
        assert_eq!(pace.take(&mut bucket, at(0)), Err(Duration::from_millis(100)));
        assert_eq!(pace.take(&mut bucket, at(99)), Err(Duration::from_millis(1)), "a refusal takes nothing");
        assert_eq!(pace.take(&mut bucket, at(100)), Ok(()));
        assert!(pace.take(&mut bucket, at(100)).is_err());
    }

    #[test]
    fn an_idle_second_gives_all_of_it_back_and_no_more() {
        let pace = Pace::per_second(3).unwrap();
        let mut bucket = Bucket::default();
        for start in [0, 1_001, 60_000] {
            let passed = (0..10).filter(|_| pace.take(&mut bucket, at(start)).is_ok()).count();
            assert_eq!(passed, 3, "{start}");
        }
    }

    #[test]
    fn a_charge_says_when_to_go_on() {
        let pace = Pace::per_second(2).unwrap();
        let mut bucket = Bucket::default();
        assert_eq!(pace.charge(&mut bucket, at(0)), None);
        assert_eq!(pace.charge(&mut bucket, at(0)), Some(at(500)), "the second's worth is used up");
        assert_eq!(pace.charge(&mut bucket, at(0)), Some(at(1_000)), "what was in hand already counts too");
        assert_eq!(pace.charge(&mut bucket, at(1_000)), Some(at(1_500)));
        assert_eq!(pace.charge(&mut bucket, at(9_000)), None);
    }

    #[test]
    fn zero_is_off_and_the_fastest_pace_still_counts() {
        assert_eq!(Pace::per_second(0), None);
        let pace = Pace::per_second(u64::MAX).unwrap();
        assert_eq!(pace.interval, Duration::from_nanos(1));
        assert_eq!(std::mem::size_of::<Bucket>(), 8);
    }

    #[test]
    fn addresses_do_not_use_each_others_pace_and_are_forgotten() {
        let mut pace = AddressPace::new(Pace::per_second(1).unwrap(), 100);
        assert!(pace.take(ip(1), at(0)).is_ok() && pace.take(ip(2), at(0)).is_ok());
        assert_eq!(pace.take(ip(1), at(250)), Err(Duration::from_millis(750)));
        assert!(pace.take(ip(1), at(1_000)).is_ok());
        assert_eq!((pace.buckets.len(), pace.by_end.len()), (1, 1), "2 has its second's worth again");
    }

    #[test]
    fn a_full_table_forgets_whom_it_would_forget_first_anyway() {
        let mut pace = AddressPace::new(Pace::per_second(1).unwrap(), 2);
        for (n, when) in [(1, 0), (2, 10), (3, 20)] {
            assert!(pace.take(ip(n), at(when)).is_ok());
        }
        assert_eq!((pace.buckets.len(), pace.by_end.len()), (2, 2));
        assert!(pace.take(ip(3), at(30)).is_err() && pace.take(ip(2), at(30)).is_err());
        assert!(pace.take(ip(1), at(30)).is_ok(), "1 was forgotten");
    }

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let mut counts = AddressCounts::default();
        assert!(counts.enter(ip(1), 2) && counts.enter(ip(1), 2) && counts.enter(ip(2), 2));
        assert!(!counts.enter(ip(1), 2));
        counts.leave(ip(1));
        assert!(counts.enter(ip(1), 2));
        assert!((0..9).all(|_| counts.enter(ip(3), 0)), "0 is no limit");
        for address in [1, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3] {
            counts.leave(ip(address));
        }
        assert!(counts.counts.is_empty(), "who has no connection costs nothing");
        counts.leave(ip(7));
        assert!(counts.counts.is_empty());
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_twice_the_rate(
            rate in 1u64..20, gaps in proptest::collection::vec(0u64..300, 1..200),
        ) {
            let pace = Pace::per_second(rate).unwrap();
            let mut bucket = Bucket::default();
            let mut now = 0;
            let mut passed = Vec::new();
            for gap in gaps {
                now += gap;
                if pace.take(&mut bucket, at(now)).is_ok() {
                    passed.push(now);
                }
            }
            for start in &passed {
                let within = passed.iter().filter(|t| (*start..start + 1_000).contains(t)).count() as u64;
                prop_assert!(within <= 2 * rate);
            }
        }

        #[test]
        fn the_table_of_addresses_stays_within_its_limit_and_in_step(
            uses in proptest::collection::vec((0u32..12, 0u64..400), 1..200),
        ) {
            let mut pace = AddressPace::new(Pace::per_second(2).unwrap(), 5);
            let mut now = 0;
            for (address, gap) in uses {
                now += gap;
                let _ = pace.take(ip(address), at(now));
                prop_assert!(pace.buckets.len() <= 5);
                let ends: BTreeSet<_> = pace.buckets.iter().map(|(a, b)| (b.full_at, *a)).collect();
                prop_assert_eq!(&ends, &pace.by_end);
            }
        }
    }
}

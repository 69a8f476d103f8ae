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

/// What one source has used of its rate: a second's worth may come at once, after that one by one. The rate is passed
/// in, in units per second, 0 for off, and must stay the same.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Meter {
    /// When all of it will have been given back.
    full_at: Time,
}

impl Meter {
    /// Between two, on average; `None` for 0.
    fn interval(rate: u64) -> Option<Duration> {
        Some(Duration::from_nanos(1_000_000_000u64.checked_div(rate)?.max(1)))
    }

    /// When the next one may come, if that is not now.
    fn wait(self, now: Time, rate: u64) -> Option<Time> {
        let free_at = self.full_at + Self::interval(rate)? - SECOND;
        (free_at > now).then_some(free_at)
    }

    /// One has come.
    fn count(&mut self, now: Time, rate: u64) {
        if let Some(interval) = Self::interval(rate) {
            self.full_at = self.full_at.max(now) + interval;
        }
    }
}

/// One client's share of `WRS_MAX_MESSAGE_RATE`, in eight bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MessageRate(Meter);

impl MessageRate {
    /// Nothing used.
    pub fn new() -> Self {
        Self::default()
    }

    /// When the client may send its next message, at `rate` messages per second (0: off), if that is not now: its reading
    /// pauses until then.
    pub fn wait(self, now: Time, rate: u64) -> Option<Time> {
        self.0.wait(now, rate)
    }

    /// The client has sent a message.
    pub fn count(&mut self, now: Time, rate: u64) {
        self.0.count(now, rate);
    }
}

/// `WRS_MAX_CREATE_RATE` for every address, in a table with a limit. An address is forgotten when all of its rate is
/// given back, a second after its last use at most; where the table is full before that, the one that would be forgotten
/// soonest goes first.
#[derive(Debug)]
pub struct CreateRates {
    rate: u64,
    addresses_max: usize,
    meters: BTreeMap<IpAddr, Meter>,
    by_end: BTreeSet<(Time, IpAddr)>,
}

impl CreateRates {
    /// `rate` per second (0: off) for each of at most `addresses_max` addresses.
    pub fn new(rate: u64, addresses_max: usize) -> Self {
        CreateRates { rate, addresses_max: addresses_max.max(1), meters: BTreeMap::new(), by_end: BTreeSet::new() }
    }

    /// Takes one for `address` ([`address_key`] of it) if there is one.
    ///
    /// # Errors
    /// How long it is until there is one; nothing is taken. 429 with `Retry-After`.
    pub fn take(&mut self, now: Time, address: IpAddr) -> Result<(), Duration> {
        if self.rate == 0 {
            return Ok(());
        }
        // Each call adds one at most, so two are enough to catch up.
        for _ in 0..2 {
            if self.by_end.first().is_some_and(|(end, _)| *end <= now) {
                self.forget_first();
            }
        }
        let key = address_key(address);
        let mut meter = self.meters.get(&key).copied().unwrap_or_default();
        if let Some(free_at) = meter.wait(now, self.rate) {
            return Err(free_at.since(now));
        }
        meter.count(now, self.rate);
        if let Some(before) = self.meters.insert(key, meter) {
            self.by_end.remove(&(before.full_at, key));
        }
        if self.meters.len() > self.addresses_max {
            self.forget_first();
        }
        self.by_end.insert((meter.full_at, key));
        Ok(())
    }

    fn forget_first(&mut self) {
        if let Some((_, address)) = self.by_end.pop_first() {
            self.meters.remove(&address);
        }
    }
}

/// How many clients each address has (`WRS_MAX_CLIENTS_PER_ADDRESS`). An address stands here only while it has one, so
/// that the node's limit on clients bounds the table.
#[derive(Debug)]
pub struct AddressCounts {
    max: u64,
    counts: BTreeMap<IpAddr, u64>,
}

impl AddressCounts {
    /// At most `max` for each address; 0 is no limit.
    pub fn new(max: u64) -> Self {
        AddressCounts { max, counts: BTreeMap::new() }
    }

    /// Counts a client of `address` ([`address_key`] of it) unless that has its share already. Whether it was counted:
    /// if so, [`AddressCounts::leave`] follows once.
    pub fn enter(&mut self, address: IpAddr) -> bool {
        if self.max == 0 {
            return true;
        }
        let count = self.counts.entry(address_key(address)).or_default();
        let room = *count < self.max;
        *count += u64::from(room);
        room
    }

    /// A client that was counted has gone.
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

    /// How many of `tries` get through at once.
    fn passed(meter: &mut MessageRate, now: Time, rate: u64, tries: usize) -> usize {
        let through = (0..tries).take_while(|_| {
            let free = meter.wait(now, rate).is_none();
            if free {
                meter.count(now, rate);
            }
            free
        });
        through.count()
    }

    #[test]
    fn a_rate_lets_a_seconds_worth_through_at_once_and_then_one_by_one() {
        let mut meter = MessageRate::new();
        assert_eq!(passed(&mut meter, at(0), 10, 99), 10);
        assert_eq!(meter.wait(at(0), 10), Some(at(100)));
        assert_eq!(meter.wait(at(99), 10), Some(at(100)), "asking takes nothing");
        assert_eq!(passed(&mut meter, at(100), 10, 99), 1);
    }

    #[test]
    fn an_idle_second_gives_all_of_it_back_and_no_more() {
        let mut meter = MessageRate::new();
        for start in [0, 1_001, 60_000] {
            assert_eq!(passed(&mut meter, at(start), 3, 99), 3, "{start}");
        }
    }

    #[test]
    fn what_has_come_too_early_counts_too() {
        let mut meter = MessageRate::new();
        (0..3).for_each(|_| meter.count(at(0), 2));
        assert_eq!(meter.wait(at(0), 2), Some(at(1_000)));
    }

    #[test]
    fn zero_is_off_and_the_fastest_rate_still_counts() {
        let mut meter = MessageRate::new();
        assert_eq!(passed(&mut meter, at(0), 0, 5_000), 5_000);
        assert_eq!(meter, MessageRate::new());
        meter.count(at(0), u64::MAX);
        assert_ne!(meter, MessageRate::new());
        assert_eq!(std::mem::size_of::<MessageRate>(), 8);
    }

    #[test]
    fn addresses_do_not_use_each_others_rate_and_are_forgotten() {
        let mut rates = CreateRates::new(1, 100);
        assert!(rates.take(at(0), ip(1)).is_ok() && rates.take(at(0), ip(2)).is_ok());
        assert_eq!(rates.take(at(250), ip(1)), Err(Duration::from_millis(750)));
        assert!(rates.take(at(1_000), ip(1)).is_ok());
        assert_eq!((rates.meters.len(), rates.by_end.len()), (1, 1), "2 has its second's worth again");
        let mut off = CreateRates::new(0, 100);
        assert!((0..1_000).all(|_| off.take(at(0), ip(1)).is_ok()) && off.meters.is_empty());
    }

    #[test]
    fn a_full_table_forgets_whom_it_would_forget_first_anyway() {
        let mut rates = CreateRates::new(1, 2);
        for (n, when) in [(1, 0), (2, 10), (3, 20)] {
            assert!(rates.take(at(when), ip(n)).is_ok());
        }
        assert_eq!((rates.meters.len(), rates.by_end.len()), (2, 2));
        assert!(rates.take(at(30), ip(3)).is_err() && rates.take(at(30), ip(2)).is_err());
        assert!(rates.take(at(30), ip(1)).is_ok(), "1 was forgotten");
    }

    #[test]
    fn an_address_has_so_many_clients_and_no_more() {
        let mut counts = AddressCounts::new(2);
        assert!(counts.enter(ip(1)) && counts.enter(ip(1)) && counts.enter(ip(2)));
        assert!(!counts.enter(ip(1)));
        counts.leave(ip(1));
        assert!(counts.enter(ip(1)));
        for address in [1, 1, 2, 7] {
            counts.leave(ip(address));
        }
        assert!(counts.counts.is_empty(), "who has no client costs nothing");
        let mut off = AddressCounts::new(0);
        assert!((0..1_000).all(|_| off.enter(ip(1))) && off.counts.is_empty());
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_twice_the_rate(
            rate in 1u64..20, gaps in proptest::collection::vec(0u64..300, 1..200),
        ) {
            let mut meter = MessageRate::new();
            let mut now = 0;
            let mut through = Vec::new();
            for gap in gaps {
                now += gap;
                through.extend(std::iter::repeat_n(now, passed(&mut meter, at(now), rate, 1)));
            }
            for start in &through {
                let within = through.iter().filter(|t| (*start..start + 1_000).contains(t)).count() as u64;
                prop_assert!(within <= 2 * rate);
            }
        }

        #[test]
        fn the_table_of_addresses_stays_within_its_limit_and_in_step(
            uses in proptest::collection::vec((0u32..12, 0u64..400), 1..200),
        ) {
            let mut rates = CreateRates::new(2, 5);
            let mut now = 0;
            for (address, gap) in uses {
                now += gap;
                let _ = rates.take(at(now), ip(address));
                prop_assert!(rates.meters.len() <= 5);
                let ends: BTreeSet<_> = rates.meters.iter().map(|(a, m)| (m.full_at, *a)).collect();
                prop_assert_eq!(&ends, &rates.by_end);
            }
        }
    }
}

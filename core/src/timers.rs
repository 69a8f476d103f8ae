//! One ordered list of everything that waits for a time.
//!
//! Each waiter has at most one entry and keeps its time itself, so that it can be moved; work that happens often (a
//! message, a ping answer) moves nothing: whoever wakes early looks at the facts and waits on.

use std::collections::BTreeSet;

use crate::time::Time;

/// Waiters by time, then by key.
#[derive(Debug)]
pub struct Timers<K> {
    waiting: BTreeSet<(Time, K)>,
}

impl<K: Ord + Copy> Timers<K> {
    /// No waiter.
    pub fn new() -> Self {
        Timers { waiting: BTreeSet::new() }
    }

    /// Lets `key` wait until `at` instead of until `slot`, the time that it kept; `None` lets it wait no more.
    pub fn set(&mut self, slot: &mut Option<Time>, key: K, at: Option<Time>) {
        if *slot == at {
            return;
        }
        if let Some(old) = slot.take() {
            self.waiting.remove(&(old, key));
        }
        if let Some(new) = at {
            self.waiting.insert((new, key));
        }
        *slot = at;
    }

    /// When the first waiter is due.
    pub fn first(&self) -> Option<Time> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// Takes out one waiter that is due at `now`. Its own slot must then be cleared.
    pub fn pop_due(&mut self, now: Time) -> Option<K> {
        let first = *self.waiting.first()?;
        if first.0 > now {
            return None;
        }
        self.waiting.remove(&first);
        Some(first.1)
    }
}

impl<K: Ord + Copy> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiters_come_out_in_order_of_time_and_only_when_due() {
        let mut timers = Timers::new();
        let (mut a, mut b) = (None, None);
        timers.set(&mut a, 'a', Some(Time::from_millis(5)));
        timers.set(&mut b, 'b', Some(Time::from_millis(3)));
        timers.set(&mut a, 'a', Some(Time::from_millis(1)));
        assert_eq!(timers.first(), Some(Time::from_millis(1)));
        assert_eq!(timers.pop_due(Time::from_millis(2)), Some('a'));
        assert_eq!(timers.pop_due(Time::from_millis(2)), None);
        timers.set(&mut b, 'b', None);
        assert_eq!(timers.pop_due(Time::MAX), None);
        assert_eq!(b, None);
    }
}

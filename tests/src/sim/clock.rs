//! A node's monotonic clock as the world sees it: an origin of its own, drift, and forward jumps.
//!
//! It never runs backwards and counts while the node is suspended (as `CLOCK_BOOTTIME` does), which is what the machines ask
//! of a clock. Integer arithmetic only.

/// A clock. `true` times are the agenda's, `local` times what the node reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    anchor_true: u64,
    anchor_local: u64,
    /// Local nanoseconds per 10^9 true ones.
    rate: u64,
}

const UNIT: u64 = 1_000_000_000;

fn scale(value: u64, by: u64, over: u64) -> u64 {
    if by == over { value } else { ((u128::from(value) * u128::from(by)) / u128::from(over)) as u64 }
}

impl Clock {
    /// A clock that reads `origin` at true time 0 and gains `drift_ppm` parts per million (loses, if negative).
    #[must_use]
    pub fn new(origin: u64, drift_ppm: i32) -> Clock {
        Clock { anchor_true: 0, anchor_local: origin, rate: Clock::rate_of(drift_ppm) }
    }

    fn rate_of(drift_ppm: i32) -> u64 {
        UNIT.saturating_add_signed(i64::from(drift_ppm) * 1_000)
    }

    /// What the clock reads at `now`.
    #[must_use]
    pub fn local(&self, now: u64) -> u64 {
        self.anchor_local + scale(now.saturating_sub(self.anchor_true), self.rate, UNIT)
    }

    /// The first true instant at which the clock reads `local` or more, if it is left alone.
    #[must_use]
    pub fn true_at(&self, local: u64) -> u64 {
        let ahead = local.saturating_sub(self.anchor_local);
        let mut at = self.anchor_true.saturating_add(scale(ahead, UNIT, self.rate));
        while self.local(at) < local && at < u64::MAX {
            at += 1;
        }
        at
    }

    /// From `now` on, gains `drift_ppm` parts per million.
    pub fn drift(&mut self, now: u64, drift_ppm: i32) {
        self.anchor_local = self.local(now);
        self.anchor_true = now;
        self.rate = Clock::rate_of(drift_ppm);
    }

    /// Jumps forward by `span` nanoseconds at `now`.
    pub fn jump(&mut self, now: u64, span: u64) {
        self.anchor_local = self.local(now).saturating_add(span);
        self.anchor_true = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_and_true_are_inverse() {
        for drift in [-500, 0, 500, 20_000] {
            let mut clock = Clock::new(77, drift);
            clock.jump(1_000, 5_000);
            clock.drift(9_999, -drift);
            for local in [20_000, 123_456_789, 5_000_000_000] {
                let at = clock.true_at(local);
                assert!(clock.local(at) >= local);
                assert!(at == 0 || clock.local(at - 1) < local, "drift {drift} local {local}");
            }
        }
    }

    #[test]
    fn never_runs_backwards() {
        let mut clock = Clock::new(0, 300);
        let mut last = 0;
        for now in 0..1_000u64 {
            if now % 97 == 0 {
                clock.drift(now, if now % 2 == 0 { -100_000 } else { 100_000 });
            }
            assert!(clock.local(now) >= last);
            last = clock.local(now);
        }
    }
}

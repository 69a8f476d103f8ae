//! Clocks that do not agree: each node's has gone for longer than the test, and goes a little wrong.

use std::time::Duration;

use crate::time::Time;

/// What a clock shows.
pub(super) fn local(now: Time, drift_ppm: i64, offset: Duration) -> Time {
    let nanos = i128::from(now.as_nanos());
    let here = nanos + nanos * i128::from(drift_ppm) / 1_000_000;
    Time::from_nanos(here as u64) + offset
}

/// What time it is when a clock shows this.
pub(super) fn true_time(here: Time, drift_ppm: i64, offset: Duration) -> Time {
    if here == Time::MAX {
        return here;
    }
    let nanos = i128::from((here - offset).as_nanos());
    Time::from_nanos((nanos * 1_000_000 / i128::from(1_000_000 + drift_ppm)) as u64)
}

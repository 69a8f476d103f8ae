//! The one clock of this server, read after each wait and handed to the core.

use wrs_core::time::Time;

/// Now: `CLOCK_BOOTTIME`, which goes on while the machine sleeps.
pub fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Time::from_nanos((now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64))
}

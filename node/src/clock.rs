//! The one clock of a server, read after each wait and handed to the core.

use wrs_core::time::Time;

/// Now. On Linux `CLOCK_BOOTTIME`, which goes on while the machine sleeps; elsewhere the system's monotonic clock.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Time::from_nanos((now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64))
}

/// Now. On Linux `CLOCK_BOOTTIME`, which goes on while the machine sleeps; elsewhere the system's monotonic clock.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn now() -> Time {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};
    static START: OnceLock<Instant> = OnceLock::new();
    Time::ZERO + Duration::from_secs(1) + START.get_or_init(Instant::now).elapsed()
}

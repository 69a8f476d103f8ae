//! Monotonic time, as the machine sees it: a number that the caller supplies.
//!
//! The machine owns no clock. Whoever drives it reads one monotonic clock (one that also counts while the computer is
//! suspended, such as `CLOCK_BOOTTIME`; study id L3) and passes the reading to every call.

use core::time::Duration;

/// A reading of one node's monotonic clock, in nanoseconds since an origin that only this node knows.
///
/// Readings of two nodes are never compared.
///
/// ```
/// use core::time::Duration;
/// use wrs_raft::Time;
/// let start = Time::from_nanos(5);
/// let later = start + Duration::from_nanos(10);
/// assert_eq!(later.since(start), Duration::from_nanos(10));
/// assert_eq!(start.since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The origin.
    pub const ZERO: Time = Time(0);
    /// The last representable instant: 584 years after the origin.
    pub const MAX: Time = Time(u64::MAX);

    /// The instant `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this instant is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl core::ops::Add<Duration> for Time {
    type Output = Time;

    /// Saturates at [`Time::MAX`].
    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

//! The simulator's machinery: time, chance, a network, disks, clocks, an oracle, a runner and a shrinker.
//!
//! Nothing here knows what is simulated. A *world* owns machines without I/O, an [`Agenda`] of what happens next, one
//! [`Network`], and a [`Disk`] and a [`Clock`] for each node; every decision is drawn from a [`Random`] that comes from the
//! seed. So a [`Spec`], which is one line of text, replays a run to the byte.
//!
//! | file | what it gives |
//! |---|---|
//! | `random` | chance from a seed, and independent branches of it |
//! | `agenda` | what happens when, in one total order |
//! | `clock` | a node's monotonic clock: origin, drift, forward jumps |
//! | `network` | directed links that lose, double, delay, reorder, clog and break; partitions |
//! | `disk` | files whose unsynced writes are lost by sector, torn, late, failing or rotten |
//! | `model` | the sequential service that clients believe to use |
//! | `oracle` | whether what clients saw is linearizable |
//! | `spec` | the one line that names a run |
//! | `runner` | many seeds on several threads, each failure as a command |
//! | `shrink` | the smallest spec that still fails |

pub mod agenda;
pub mod clock;
pub mod disk;
pub mod model;
pub mod network;
pub mod oracle;
pub mod random;
pub mod runner;
pub mod shrink;
pub mod spec;

pub use agenda::Agenda;
pub use clock::Clock;
pub use disk::{Crash, Disk, DiskFaults, FileId, SyncResult};
pub use network::{LinkFaults, Network, Partition};
pub use random::{Digest, Random};
pub use runner::{Coverage, Outcome, Scenario, Violation};
pub use spec::Spec;

/// One microsecond in the simulator's unit of time, the nanosecond.
pub const MICRO: u64 = 1_000;
/// One millisecond.
pub const MILLI: u64 = 1_000_000;
/// One second.
pub const SECOND: u64 = 1_000_000_000;

//! What the wrs servers have in common, whichever runtime drives their shards.
//!
//! [`start`] reads the command line and makes a [`Node`](start::Node): configuration, listening sockets, certificates, log
//! and data directory. [`outside`] is what shard 0 can do beyond its sockets: reach other nodes, look up names, keep
//! files. Whatever of that waits does so on threads of its own, and what came of it is told as [`News`](news::News), which
//! a server puts into the inbox of shard 0.
//!
//! Nothing here knows a runtime, or decides what a connection or a message means: the first is the servers' own, the
//! second the core's. It is here so that the two servers' files differ by sockets, timers and queues alone.

pub mod certificates;
pub mod clock;
pub mod conns;
pub mod deal;
pub mod disk;
pub mod failure;
pub mod listen;
pub mod log;
pub mod news;
pub mod outbox;
pub mod outside;
pub mod parcel;
pub mod reach;
pub mod start;
pub mod threads;
#[cfg(any(test, feature = "trial"))]
pub mod trial;

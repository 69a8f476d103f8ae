//! Fuzz targets, as functions that tests replay too.
//!
//! Each takes any bytes and panics when something is wrong. `cargo test -p wrs-fuzz` replays the seeds in `corpus/`; a
//! real fuzzer is `RUSTC_BOOTSTRAP=1 cargo fuzz run --features libfuzzer TARGET` in this folder.

// A target reports what it finds by a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod frame;
pub mod http;
pub mod line;
pub mod link;
mod node;
pub mod raft;
pub mod session;
pub mod shard;

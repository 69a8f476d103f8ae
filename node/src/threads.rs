//! The threads of a node's shards: how one is kept on a core, what its panic means, and how all of them end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use wrs_core::id::ShardId;

use crate::failure::Failure;

/// Runs a shard. If it fails or panics, `stop` is called, since the node has to end: a channel may have its home there.
pub fn guard(run: impl FnOnce() -> Result<(), Failure>, stop: impl FnOnce()) -> Result<(), Failure> {
    let ended = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(Failure::cannot_run("a shard panicked")));
    if ended.is_err() {
        stop();
    }
    ended
}

/// Waits until all shards have ended; the last failure is the node's.
pub fn join(threads: Vec<JoinHandle<Result<(), Failure>>>) -> Result<(), Failure> {
    let mut result = Ok(());
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => result = Err(failure),
            Err(_) => result = Err(Failure::cannot_run("a shard's thread ended")),
        }
    }
    result
}

/// Keeps this thread on the core with the shard's number, of those that the process may use.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn pin(shard: ShardId) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    if let Some(core) = cores.get(usize::from(shard.0) % cores.len().max(1)) {
        let mut set = CpuSet::new();
        set.set(*core);
        // A thread that may not be pinned runs anywhere.
        let _ = sched_setaffinity(None, &set);
    }
}

/// This system has no call for it that we use.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn pin(_shard: ShardId) {}

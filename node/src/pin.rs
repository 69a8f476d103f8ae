//! Threads that stay on one core (`WRS_PIN`).

use wrs_core::id::ShardId;

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

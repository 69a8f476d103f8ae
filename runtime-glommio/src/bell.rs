//! What wakes a shard from another thread, as seldom as can be.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// What wakes a shard from another thread: by a file that its ring watches while it waits, and by nothing while it works,
/// since it looks before it waits.
pub struct Bell {
    rung: AtomicBool,
    waits: AtomicBool,
    /// What the ring watches.
    pub file: OwnedFd,
}

impl Bell {
    /// A bell that has not been rung.
    pub fn new() -> io::Result<Arc<Self>> {
        let file = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Arc::new(Bell { rung: AtomicBool::new(false), waits: AtomicBool::new(false), file }))
    }

    /// Wakes the shard, now or when it is about to wait.
    pub fn ring(&self) {
        // In one order with `begin`: either the shard sees that it has been rung, or it is seen here that it waits.
        if !self.rung.swap(true, Ordering::SeqCst) && self.waits.load(Ordering::SeqCst) {
            // Fails, or waits, only at a count of 2^64.
            let _ = rustix::io::write(&self.file, &1u64.to_ne_bytes());
        }
    }

    /// The shard is about to wait. True: it must not, there is mail.
    pub fn begin(&self) -> bool {
        self.waits.store(true, Ordering::SeqCst);
        self.rung.load(Ordering::SeqCst)
    }

    /// The shard has waited and is about to look at its mail.
    pub fn end(&self) {
        self.waits.store(false, Ordering::SeqCst);
        // A swap sees what was queued before each ring that it takes back; a store would only come after it.
        self.rung.swap(false, Ordering::SeqCst);
    }
}

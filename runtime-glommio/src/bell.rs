//! What wakes a shard from another thread, as seldom as can be.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// What wakes a shard from another thread: by a file that its ring watches while it naps, by one that glommio reads while
/// it sleeps, and by neither while it works, since it looks before it waits.
///
/// There are two files because the kernel does not wake a ring by an event file that has been written because of
/// another one, or only after a grace period: the ring that glommio waits for must not be woken that way itself.
pub struct Bell {
    rung: AtomicBool,
    state: AtomicU8,
    /// What the ring watches.
    pub nap: OwnedFd,
    /// What glommio reads.
    pub sleep: OwnedFd,
}

const WORKS: u8 = 0;
/// It waits in its own ring.
pub const NAPS: u8 = 1;
/// It waits in glommio's.
pub const SLEEPS: u8 = 2;

impl Bell {
    /// A bell that has not been rung.
    pub fn new() -> io::Result<Arc<Self>> {
        // Blocking: a request to read one would otherwise end at once.
        let file = || eventfd(0, EventfdFlags::CLOEXEC);
        Ok(Arc::new(Bell { rung: AtomicBool::new(false), state: AtomicU8::new(WORKS), nap: file()?, sleep: file()? }))
    }

    /// Wakes the shard, now or when it is about to wait.
    pub fn ring(&self) {
        // In one order with `begin`: either the shard sees that it has been rung, or the state is seen here.
        if self.rung.swap(true, Ordering::SeqCst) {
            return;
        }
        let file = match self.state.load(Ordering::SeqCst) {
            WORKS => return,
            NAPS => &self.nap,
            _ => &self.sleep,
        };
        // Fails, or waits, only at a count of 2^64.
        let _ = rustix::io::write(file, &1u64.to_ne_bytes());
    }

    /// The shard is about to wait. True: it must not, there is mail.
    pub fn begin(&self, state: u8) -> bool {
        self.state.store(state, Ordering::SeqCst);
        self.is_rung()
    }

    /// Whether there is mail.
    pub fn is_rung(&self) -> bool {
        self.rung.load(Ordering::SeqCst)
    }

    /// The shard has waited and is about to look at its mail.
    pub fn end(&self) {
        self.state.store(WORKS, Ordering::SeqCst);
        self.rung.store(false, Ordering::SeqCst);
    }
}

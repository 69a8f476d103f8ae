//! Readiness by level-triggered epoll, for one thread.

use rustix::event::epoll::{self, EventData, EventFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Events taken at once.
const EVENTS_MAX: usize = 1024;

/// A set of sockets, each known by a key.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poll {
    /// An empty set.
    ///
    /// # Errors
    /// The file limit.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Watches `socket` for bytes to read; it leaves the set when it is dropped.
    ///
    /// # Errors
    /// The system's limits.
    pub fn add(&self, socket: impl AsFd, key: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(key as u64), EventFlags::IN)?)
    }

    /// Watches `socket` for room to write too, or no more.
    ///
    /// # Errors
    /// The system's limits.
    pub fn watch_room(&self, socket: impl AsFd, key: usize, wanted: bool) -> io::Result<()> {
        let flags = if wanted { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(key as u64), flags)?)
    }

    /// Waits at most `timeout`, and puts the keys of those that are ready into `ready`.
    ///
    /// # Errors
    /// What the system says; an interruption is no error.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<usize>) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        let timeout = rustix::event::Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.iter().map(|event| usize::try_from(event.data.u64()).unwrap_or(usize::MAX)));
        Ok(())
    }
}

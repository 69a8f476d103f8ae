//! Which sockets are ready: a poller per shard, level-triggered.
//!
//! smol's own reactor is one per process, arms each socket anew after every event and wakes a task for it; a relay's shard
//! looks at thousands of sockets in one thread and needs none of that. This is the `polling` crate on which that reactor
//! stands, with one instance per shard that is at the same time where the shard's executor sleeps (ADR 3).
//!
//! This is the one module with `unsafe` in this crate. `Poller::add_with_mode` asks that a source be deleted before it is
//! closed; [`Poll`] keeps that promise by a type: a [`Watched`] socket owns its registration and ends it when dropped.
#![allow(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};
use socket2::Socket;

/// A poller that sockets share.
#[derive(Clone)]
pub struct Poll(Arc<Poller>);

impl Poll {
    /// A poller with nothing to watch. An error too on a system that cannot report what stays ready.
    pub fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        if !poller.supports_level() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no level-triggered readiness"));
        }
        Ok(Poll(Arc::new(poller)))
    }

    /// Watches a socket under a key, at first for what can be read or accepted.
    pub fn watch(&self, socket: Socket, key: usize) -> io::Result<Watched> {
        // SAFETY: `Watched` owns the socket and deletes it from the poller in its `drop`, which runs before the socket's.
        unsafe { self.0.add_with_mode(&socket, Event::readable(key), PollMode::Level)? };
        Ok(Watched { poll: self.clone(), socket, key })
    }

    /// Waits until something is ready, somebody calls [`Poll::wake`], or the time is over.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        match self.0.wait(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result.map(drop),
        }
    }

    /// Ends the wait that runs, or else the next one. Cheap when that has been asked for already.
    pub fn wake(&self) {
        // A poller that cannot be woken is one whose shard has gone.
        let _ = self.0.notify();
    }
}

/// A socket and its place in a poller.
pub struct Watched {
    poll: Poll,
    socket: Socket,
    key: usize,
}

impl Watched {
    /// The socket.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Watches for what can be read, for room to write, for both or for neither.
    pub fn want(&self, read: bool, write: bool) -> io::Result<()> {
        self.poll.0.modify_with_mode(&self.socket, Event::new(self.key, read, write), PollMode::Level)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // An error means that it was not in the poller any more.
        let _ = self.poll.0.delete(&self.socket);
    }
}

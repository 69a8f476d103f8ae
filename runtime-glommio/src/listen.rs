//! The listening sockets, and who gets the next connection.
//!
//! Shard 0 accepts and gives each client's connection to a shard that has the fewest, so that they differ by few, whatever
//! the kernel's hash would have made of the clients' addresses, and whatever rhythm clients have: where each asks over one
//! connection and stays on the next, two shards that take turns would leave one with all that stay. Links stay its own.

use std::io;

use socket2::Socket;
use wrs_core::time::Time;
use wrs_node::listen::{Accepted, PAUSE, accept};

use crate::ring::Ring;

/// The listeners of shard 0; other shards have none.
#[derive(Default)]
pub struct Doors {
    /// Where clients connect.
    pub clients: Option<Listener>,
    /// Where other nodes connect.
    pub links: Option<Listener>,
}

impl Doors {
    /// The key of the clients' listener, among those of listeners.
    pub const CLIENTS: usize = 0;
    /// The key of the cluster port's.
    pub const LINKS: usize = 1;

    /// When accepting goes on after a pause.
    pub fn deadline(&self) -> Option<Time> {
        [&self.clients, &self.links].into_iter().flatten().filter_map(|listener| listener.paused_until).min()
    }

    /// Goes on accepting where a pause is over: how often.
    pub fn resume(&mut self, now: Time) -> usize {
        [&mut self.clients, &mut self.links].into_iter().flatten().filter_map(|listener| listener.resume(now)).count()
    }
}

/// One listener.
pub struct Listener {
    ring: Ring,
    socket: Socket,
    key: usize,
    paused_until: Option<Time>,
}

impl Listener {
    /// Watches a listening socket under a key.
    pub fn new(socket: Socket, ring: &Ring, key: usize) -> io::Result<Self> {
        ring.await_connection(&socket, key)?;
        Ok(Listener { ring: ring.clone(), socket, key, paused_until: None })
    }

    /// Accepts what waits, within the turn's share; nothing more for a while if the system has no more to give.
    pub fn accept(&mut self, now: Time) -> Accepted {
        let accepted = accept(&self.socket);
        if accepted.exhausted.is_some() {
            self.paused_until = Some(now + PAUSE);
        } else {
            self.watch();
        }
        accepted
    }

    /// Goes on accepting if a pause is over.
    fn resume(&mut self, now: Time) -> Option<()> {
        self.paused_until.take_if(|until| *until <= now)?;
        self.watch();
        Some(())
    }

    fn watch(&self) {
        // An error means that the ring takes nothing any more: the next wait fails with it and the shard ends.
        let _ = self.ring.await_connection(&self.socket, self.key);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ring.forget_connections(self.key);
    }
}

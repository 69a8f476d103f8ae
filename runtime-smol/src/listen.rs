//! The listening sockets, and who gets the next connection.
//!
//! Shard 0 accepts and gives each client's connection to a shard that has the fewest, so that they differ by few, whatever
//! the kernel's hash would have made of the clients' addresses, and whatever rhythm clients have: where each asks over one
//! connection and stays on the next, two shards that take turns would leave one with all that stay. Links stay its own.

use std::io;

use socket2::Socket;
use wrs_core::time::Time;
use wrs_node::listen::{Accepted, PAUSE, accept};

use crate::poll::{Poll, Watched};

/// The listeners of shard 0; other shards have none.
#[derive(Default)]
pub struct Doors {
    /// Where clients connect.
    pub clients: Option<Listener>,
    /// Where other nodes connect.
    pub links: Option<Listener>,
}

impl Doors {
    /// The key of the clients' listener; sockets have theirs from 0.
    pub const CLIENTS: usize = usize::MAX - 1;
    /// The key of the cluster port's.
    pub const LINKS: usize = usize::MAX - 2;

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
    watched: Watched,
    paused_until: Option<Time>,
}

impl Listener {
    /// Watches a listening socket under a key.
    pub fn new(socket: Socket, poll: &Poll, key: usize) -> io::Result<Self> {
        Ok(Listener { watched: poll.watch(socket, key)?, paused_until: None })
    }

    /// Accepts what waits, within the turn's share; nothing more for a while if the system has no more to give.
    pub fn accept(&mut self, now: Time) -> Accepted {
        let accepted = accept(self.watched.socket());
        if accepted.exhausted.is_some() {
            self.paused_until = Some(now + PAUSE);
            let _ = self.watched.want(false, false);
        }
        accepted
    }

    /// Goes on accepting if a pause is over.
    fn resume(&mut self, now: Time) -> Option<()> {
        self.paused_until.take_if(|until| *until <= now)?;
        let _ = self.watched.want(true, false);
        Some(())
    }
}

//! The queues between the shards of this process, and from its signals to them.
//!
//! A queue has no bound of its own: the core counts what is under way between two shards and pauses the sources
//! (`Config::peer_window_bytes`); connections that are handed over are bounded by the limit on open files.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustls::ServerConfig;
use socket2::Socket;
use wrs_core::id::ShardId;
use wrs_core::peer::PeerMessage;

use crate::poll::Poll;

/// What arrives at a shard from within the process.
pub enum Parcel {
    /// A sibling says something.
    Peer(ShardId, PeerMessage),
    /// A connection that another shard accepted.
    Connection(Socket, IpAddr, Share),
    /// New certificates for the connections to come.
    Certificates(Arc<ServerConfig>),
    /// The node is to stop.
    Drain,
}

/// The way to one shard.
#[derive(Clone)]
pub struct Way {
    queue: Sender<Parcel>,
    poll: Poll,
    connections: Arc<AtomicUsize>,
}

/// A connection's share of its shard's load: it counts from when the connection is dealt out until it has ended.
pub struct Share(Arc<AtomicUsize>);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Way {
    /// Queues a parcel; [`Way::wake`] makes the shard look. A shard that has stopped takes nothing.
    pub fn push(&self, parcel: Parcel) {
        // An error means that the shard has stopped: the process is about to end.
        let _ = self.queue.send(parcel);
    }

    /// How many connections the shard has.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts one more connection.
    pub fn share(&self) -> Share {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Share(self.connections.clone())
    }

    /// Makes the shard look into its inbox.
    pub fn wake(&self) {
        self.poll.wake();
    }

    /// Queues a parcel and makes the shard look.
    pub fn send(&self, parcel: Parcel) {
        self.push(parcel);
        self.wake();
    }
}

/// An inbox and the way to it, for a shard that sleeps in `poll`.
pub fn inbox(poll: &Poll) -> (Way, Receiver<Parcel>) {
    let (queue, inbox) = channel();
    (Way { queue, poll: poll.clone(), connections: Arc::default() }, inbox)
}

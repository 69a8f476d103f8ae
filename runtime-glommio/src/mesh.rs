//! The queues between the shards of this process, and from its signals to them.
//!
//! A queue has no bound of its own: the core counts what is under way between two shards and pauses the sources
//! (`Config::peer_window_bytes`); connections that are handed over are bounded by the limit on open files.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use socket2::Socket;
use wrs_core::id::ShardId;
use wrs_core::peer::PeerMessage;
use wrs_node::certificates::Certificates;
use wrs_node::news::News;

use crate::bell::Bell;

/// What arrives at a shard from within the process.
pub enum Parcel {
    /// A sibling says something.
    Peer(ShardId, PeerMessage),
    /// A client's connection that shard 0 accepted.
    Connection(Socket, SocketAddr),
    /// What came of something that took its time. Shard 0's.
    News(News),
    /// New certificates for the connections to come.
    Certificates(Certificates),
    /// The node is to stop.
    Drain,
    /// A sibling has drained.
    Stopped,
}

/// The way to one shard.
#[derive(Clone)]
pub struct Way {
    queue: Sender<Parcel>,
    load: Load,
    bell: Arc<Bell>,
}

/// How many connections a shard has, counted from when it was chosen for one until that has ended.
#[derive(Clone, Default)]
pub struct Load(Arc<AtomicUsize>);

impl Load {
    /// How many there are. Each is right by itself; two shards' may be of different moments.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn subtract(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Way {
    /// The connections of this shard.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Queues a parcel; [`Way::wake`] makes the shard look. A shard that has stopped takes nothing.
    pub fn push(&self, parcel: Parcel) {
        // An error means that the shard has stopped: the process is about to end.
        let _ = self.queue.send(parcel);
    }

    /// Makes the shard look into its inbox.
    pub fn wake(&self) {
        self.bell.ring();
    }

    /// Queues a parcel and makes the shard look.
    pub fn send(&self, parcel: Parcel) {
        self.push(parcel);
        self.wake();
    }
}

/// An inbox and the way to it, for a shard that `bell` wakes.
pub fn inbox(bell: Arc<Bell>) -> (Way, Receiver<Parcel>) {
    let (queue, inbox) = channel();
    (Way { queue, load: Load::default(), bell }, inbox)
}

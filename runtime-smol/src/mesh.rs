//! The queues between the shards of this process, and from its signals to them.
//!
//! A queue has no bound of its own: the core counts what is under way between two shards and pauses the sources
//! (`Config::peer_window_bytes`); connections that are handed over are bounded by the limit on open files.

use std::sync::mpsc::{Receiver, Sender, channel};

use wrs_node::deal::Load;
use wrs_node::parcel::Parcel;

use crate::poll::Poll;

/// The way to one shard.
#[derive(Clone)]
pub struct Way {
    queue: Sender<Parcel>,
    load: Load,
    poll: Poll,
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
    (Way { queue, load: Load::default(), poll: poll.clone() }, inbox)
}

//! The disk thread: keeps in the data directory what shard 0 says, in order, and tells what is durable.
//!
//! It takes all that waits as one batch ([`plan`]), so that the slower the disk is, the more each `fdatasync` is worth. The
//! first error is told and ends it: what the disk holds is unknown then, and asking again would not make it known.
//!
//! The queue has no bound of its own: shard 0 stores no more than Raft has under way without an answer from the disk
//! (`uncommitted_bytes_max` on a leader, `append_bytes_max` times `inflight_messages_max` from one) and one snapshot.

mod directory;
mod plan;

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use wrs_core::action::Store;
use wrs_core::input::Input;

pub use directory::{Directory, Opened, STORED_BYTES_MAX};
use plan::{Step, plan};

use crate::news::Tell;

/// Things that are done as one batch.
const BATCH_MAX: usize = 1_024;
/// Bytes after which a batch takes no more.
const BATCH_BYTES: usize = 4 << 20;

/// The thread and the way to it. Dropping it waits until all that it was given is done.
#[derive(Debug)]
pub struct Disk {
    queue: Option<Sender<Store>>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Starts the thread; it tells `Persisted` and, once at most, `PersistFailed`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(directory: Directory, tell: Tell) -> io::Result<Self> {
        let (queue, stores) = channel();
        let run = move || keep(directory, &stores, &tell);
        let thread = thread::Builder::new().name("disk".to_owned()).spawn(run)?;
        Ok(Disk { queue: Some(queue), thread: Some(thread) })
    }

    /// Keeps something, after what was given before.
    pub fn store(&self, store: Store) {
        if let Some(queue) = &self.queue {
            // An error means that something could not be kept, which has been told.
            let _ = queue.send(store);
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic, and if it did nobody would be left to tell.
            let _ = thread.join();
        }
    }
}

fn keep(mut directory: Directory, stores: &Receiver<Store>, tell: &Tell) {
    while let Ok(first) = stores.recv() {
        for step in plan(batch(first, stores)) {
            if let Step::Tell(record) = step {
                tell.fact(Input::Persisted { record });
            } else if let Err(why) = directory.take(&step) {
                return tell.fact(Input::PersistFailed { why });
            }
        }
    }
}

/// The first and what waits behind it.
fn batch(first: Store, stores: &Receiver<Store>) -> Vec<Store> {
    let mut bytes = size(&first);
    let mut batch = vec![first];
    while batch.len() < BATCH_MAX && bytes < BATCH_BYTES {
        let Ok(next) = stores.try_recv() else { break };
        bytes += size(&next);
        batch.push(next);
    }
    batch
}

fn size(store: &Store) -> usize {
    match store {
        Store::Append { bytes, .. } | Store::Replace { bytes, .. } => bytes.len(),
        Store::Truncate { .. } | Store::Remove { .. } => 0,
    }
}

//! What shard 0 can do beyond its sockets. No call waits; what comes of it is told as news.

use std::io;
use std::time::Duration;

use wrs_core::action::{Over, Store};
use wrs_core::config::{Config, NodeAddress};
use wrs_core::id::DialId;

use crate::disk::{Directory, Disk};
use crate::news::Tell;
use crate::reach::Reach;

/// The way to other nodes, to names and to files. Dropping it waits until all that was to be stored has been.
#[derive(Debug)]
pub struct Outside {
    reach: Reach,
    disk: Option<Disk>,
    dial_timeout: Duration,
}

impl Outside {
    /// Makes it, and the thread that writes files if there is a directory for them.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new(config: &Config, directory: Option<Directory>, tell: Tell) -> io::Result<Self> {
        let disk = directory.map(|directory| Disk::start(directory, tell.clone())).transpose()?;
        Ok(Outside { reach: Reach::new(tell), disk, dial_timeout: config.dial_timeout })
    }

    /// Reaches out: `Connected` or `DialFailed` follows in time.
    pub fn dial(&self, dial: DialId, address: NodeAddress, over: Over) {
        self.reach.dial(dial, address, over, self.dial_timeout);
    }

    /// Looks up a name: `Resolved` follows in the time of a dial.
    pub fn resolve(&self, host: String) {
        self.reach.resolve(host, self.dial_timeout);
    }

    /// Keeps something, after what was given before. A node without a data directory keeps nothing.
    pub fn store(&self, store: Store) {
        if let Some(disk) = &self.disk {
            disk.store(store);
        }
    }
}

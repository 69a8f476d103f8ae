//! The log on standard output, one line an event.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use wrs_core::config::Config;
use wrs_core::event::Event;

/// The log, shared by all threads of a node.
#[derive(Clone, Debug)]
pub struct Log {
    config: Arc<Config>,
}

impl Log {
    /// A log as the configuration wants it.
    pub fn new(config: Arc<Config>) -> Self {
        Log { config }
    }

    /// Writes one line, unless the event is for a debug log that is off.
    pub fn write(&self, event: &Event) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Some(line) = event.line(&self.config, wall) {
            // A log that nobody reads any more must not end the service.
            let _ = writeln!(io::stdout().lock(), "{line}");
        }
    }
}

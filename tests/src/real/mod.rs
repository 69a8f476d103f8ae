//! A harness over real sockets: a server binary as a child process, and clients that are not ours to talk to it.
//!
//! It never looks into the server: what a scenario learns comes over a socket, from the log or from the exit code. Rule
//! guarded: nothing waits a fixed time for a condition; [`until`] looks again and again, and gives up after [`PATIENCE`].
// A scenario fails by panicking, with what it saw.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[cfg(unix)]
mod balance;
#[cfg(target_os = "linux")]
mod before;
#[cfg(unix)]
mod cluster;
mod http;
#[cfg(unix)]
mod links;
mod runtime;
mod server;
mod stream;
mod tls;
mod ws;

use std::time::{Duration, Instant};

#[cfg(unix)]
pub use balance::Balancer;
#[cfg(target_os = "linux")]
pub use before::{BrokenDisk, LateRing};
#[cfg(unix)]
pub use cluster::{Answer, Cluster, ELECTION_MAX, ELECTION_MIN, attempt, view};
pub use http::{Http, Response, upgrade_request};
#[cfg(unix)]
pub use links::Links;
pub use runtime::{Kind, Runtime};
pub use server::{Channel, Server, exit_of};
pub use stream::Stream;
pub use tls::Certificate;
pub use ws::{Got, Ws};

/// How long anything may take that should happen at once. Long, because tests share their machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `look` finds something.
///
/// # Panics
/// If it finds nothing within [`PATIENCE`].
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

//! The wrs server on glommio: a thread per core on io_uring, for Linux.
//!
//! `shards` starts one thread per shard; `turn` is a shard's loop; `ring`, `conn` and `listen` are its sockets, `mesh` and
//! `bell` the queues between shards, `host` its hands; `probe` says whether this system can run it. What a server has once
//! per process is in `wrs-node`. The files are the twins of the smol server's; where those speak of a poller and of tasks,
//! here is the ring.

#[cfg(target_os = "linux")]
mod bell;
#[cfg(target_os = "linux")]
mod conn;
#[cfg(target_os = "linux")]
mod host;
#[cfg(target_os = "linux")]
mod listen;
#[cfg(target_os = "linux")]
mod mesh;
#[cfg(target_os = "linux")]
mod probe;
#[cfg(target_os = "linux")]
mod ring;
#[cfg(target_os = "linux")]
mod shards;
#[cfg(target_os = "linux")]
mod signals;
#[cfg(target_os = "linux")]
mod turn;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    wrs_node::start::main(shards::serve)
}

/// There is no io_uring here.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!(
        "wrs-glommio: this server needs Linux; run the smol server, which takes the same options: cargo run --release"
    );
    ExitCode::from(2)
}

//! The wrs server on smol: sockets, timers and signals for the core, on any host.
//!
//! `shards` starts one thread per shard; `turn` is a shard's loop; `poll`, `conn` and `listen` are its sockets, `mesh` the
//! queues between shards, `tasks` what it awaits beside its sockets, `host` its hands. What a server has once per process
//! is in `wrs-node`.

mod conn;
mod host;
mod listen;
mod mesh;
mod poll;
mod shards;
mod signals;
mod tasks;
mod turn;

use std::process::ExitCode;

fn main() -> ExitCode {
    wrs_node::start::main(shards::serve)
}

//! Micro-benches of the core as counts, and the socket bench.
//!
//! # The micro-benches
//! Instructions and allocations per unit of work (a message read, a request, a delivery) of the core, driven by hand
//! through its public API with everything that an adapter does but the system calls. Counts, not times: a busy machine
//! gives the same. Instructions need valgrind; without it their column is empty.
//! ```sh
//! cargo run --release -p wrs-benches --bin micro                         # all
//! cargo run --release -p wrs-benches --bin micro -- --cases publish      # those whose names begin so
//! ```
//! The table goes to stdout as Markdown; the exit code is 1 if a budget is broken: allocations per unit, bytes of what is
//! idle, and the instructions of a request with 100,000 channels as a multiple of those with one. The budgets stand
//! beside the cases in [`micro`]; `cargo test` holds the core to those in memory, and where it is built with `--release`
//! to those in instructions too.
//!
//! # The socket bench
//! Deliveries per CPU-second of the server process, wrs beside servers of the same kind, in one run: each round starts
//! every server anew in every cell, in turn (A B C, B C A, …), with the server on core 0 (wrs with `WRS_SHARDS=1`) and
//! the load on core 1. CPU time is what the kernel has charged to the server's threads, so that other work on the
//! machine costs wall time, and as far as caches and wake-ups go some of the figure: hence rounds, and the spread. It
//! needs Linux (epoll, `/proc`).
//!
//! One command builds all, the next ones measure:
//! ```sh
//! cargo build --release -p wrs -p wrs-benches && npm ci --prefix benches/peers/ws \
//!   && cargo build --release --manifest-path benches/peers/Cargo.toml
//! target/release/socket_bench                                 # fan-out and echo, five rounds
//! target/release/socket_bench --cells fanout-100x64           # one cell; a name's beginning names many
//! target/release/socket_bench --cells idle,handshake,rest     # memory, connections, requests
//! target/release/socket_bench --cells latency,stalled         # p50, p99, p99.9 at a steady rate; beside stalled clients
//! target/release/socket_bench --cells push-pull               # and whether each worker got the same
//! target/release/socket_bench --cells list                    # all names
//! ```
//! The table goes to stdout as Markdown, the progress to stderr; the exit code is 1 if a message was lost or a run
//! failed. A cell is *median (min–max)* of the rounds; a ratio is the median of the rounds' ratios, each to the same
//! round's run of that peer.
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `--server NAME=COMMAND` | `wrs=target/release/wrs` | a relay, told its port by `WRS_API_PORT`; more than one may be given |
//! | `--peer NAME=COMMAND` | | one more peer: `{port}` stands for its port, it serves `/echo` and `/pub` |
//! | `--without NAME` | | leave out a peer of `benches/peers` |
//! | `--cells NAME,…` | `fanout,echo` | what to measure |
//! | `--rounds`, `--seconds`, `--warm-up` | 5, 1, 0.3 | how often, how long, what does not count |
//! | `--server-core`, `--load-core` | 0, 1 | `none`: not pinned |
//! | `--cert`, `--key` | made with `openssl` | PEM files for the cells with TLS |
//!
//! # Peers
//! `benches/peers` lies outside the workspace, with its own lock files. Each peer takes its port as argument, sends
//! back what it gets on `/echo`, and sends what it gets on `/pub` to every connection there, the sender's too.
//! - `bare`: the ceiling. One thread, one epoll, frames encoded once per turn, one `send()` per client and turn, and
//!   nothing else that a server must do.
//! - `tungstenite`: tokio and tokio-tungstenite with batched flushes.
//! - `ws`: npm `ws`.
//!
//! # Cells
//! - `fanout-NxSIZE`: a publisher and N subscribers; N + 1 deliveries a message, since the publisher gets its own. 32
//!   messages outstanding (8 at 1,000); one is outstanding until the *slowest* receiver has it.
//! - `echo-SIZE`: 50 clients with 8 messages outstanding each; the note says what the least served client got.
//! - `latency-…`: so many messages a second to so many subscribers. Times run from when a message was *due*.
//!   `stalled-…`: the same beside clients that never read.
//! - `push-pull-…`: one distributor and workers, `idle-…`: memory per connection (`RssAnon`), `handshake-…`: connect,
//!   upgrade, close; `rest-…`: requests, with 1 or 100,000 channels present.
//!
//! 9,000 connections need `ulimit -n` above 9,100. What grows with the number of channels shows as the ratio of
//! `rest-…-100000` to `rest-…-1`; a machine that has performance counters counts instructions with `perf stat -p`.
//!
//! In all of them each receiver checks that the messages' numbers come without a gap and in order; what is missing,
//! doubled or out of order is *lost*, and must be 0.
//!
//! # Commits of a cluster
//! `commits` starts nodes, joins them, lets clients dealt out over all of them create channels, and says how many per second, per
//! CPU-second of all nodes together, and, with a data directory, per write that the disk of the busiest node has confirmed.
//! ```sh
//! cargo build --release -p wrs -p wrs-benches
//! target/release/commits                                      # three nodes in memory, 96 clients
//! target/release/commits --nodes 1 --clients 32
//! target/release/commits --data-dir /var/tmp/wrs-commits      # on a disk; remove it afterwards
//! ```
//!
//! # Messages across nodes
//! `crossing` starts clusters of one, three and five nodes, all nodes on one core and the load on another. There are as many
//! channels for each node, whose clients are on nodes that chance has drawn; every receipt counts. Beside each cluster stand as
//! many nodes that are apart, with the same load each: what sharing a core costs. With more nodes more hops are under way at
//! once: a window that fills one node does not fill five, so it is wide.
//!
//! What waits in a socket becomes one piece, which makes each message cheaper, and in a window it waits on one node as long as on
//! all hops of a cluster together. So in pub-sub a publisher writes its whole window at once, when its last has been received:
//! then pieces are as large however many nodes they cross, and it is the number of channels that keeps the nodes busy.
//! ```sh
//! target/release/crossing --share 0.1                         # each node with a tenth of a core: what more nodes bring
//! target/release/crossing                                     # nodes that share a whole core: what a receipt costs
//! target/release/crossing --patterns push-pull --nodes 1,3 --window 256 --batch 64
//! target/release/crossing --rate 1000 --nodes 2,3             # what a hop adds to the time of a message, in microseconds
//! ```
//! With `--share` each node is in a control group of its own with that quota of CPU time in each 10 ms (version 2's `cpu.max`,
//! else version 1's `cpu.cfs_quota_us`), so that five nodes have five times the CPU time of one, and *per second, of one node's*
//! is what more nodes bring. It needs the right to make groups; without it the program ends with an error. *Share used* is that
//! of the least and of the most busy node, and the figure says what nodes can do only near 100 %; *load* is the core of the load,
//! and the figure is the nodes' only well below 100 %. The groups are removed at the end, but not if the program is killed.
//!
//! With `--rate` messages are sent at that rate, one receiver each, by turns to *near* ones on the sender's node and to *far* ones;
//! *added* is how much later the same share of the far ones came. A home may be on either node, or a third.
//!
//! Without `--share` the nodes take turns on the core, with what each does to the others' caches, and while the load is the
//! slower of the two each wakes for little: *core of the nodes* says so.
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `--server COMMAND` | `target/release/wrs` | the relay |
//! | `--nodes`, `--patterns` | `1,3,5`, four | the first number of nodes is what the others are compared with |
//! | `--share` | none | of a core for each node: at least 0.1, and all of them on one core |
//! | `--rate` | none | messages per second, over all channels, and times instead of receipts |
//! | `--window` | 512, pub-sub 128 | messages of each sender that are outstanding |
//! | `--batch` | half the window, pub-sub all | room in the window at which a sender writes |
//! | `--channels` | 6, pub-sub 20, with `--rate` 5 | channels per node; with `--rate` of each kind |
//! | `--senders`, `--receivers`, `--size` | by pattern, 64 | clients of each channel, bytes of a message |
//! | `--rounds`, `--seconds`, `--warm-up` | 3, 2, 0.5 | how often, how long, what does not count |
//! | `--node-core`, `--load-core` | 0, 1 | where they run |
//!
//! # One load, by hand
//! `load` runs one of these against a server that is already listening, with every dimension an option:
//! ```sh
//! target/release/load fanout --at http://127.0.0.1:8080 --subscribers 250 --size 512 --window 16 --seconds 10 --pid PID
//! ```

#[cfg(target_os = "linux")]
pub mod cell;
#[cfg(target_os = "linux")]
pub mod load;
#[cfg(target_os = "linux")]
pub mod report;

pub mod arguments;
pub mod counting;
pub mod micro;
mod tls_client;

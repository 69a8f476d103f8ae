//! The sans-IO core of wrs, a WebSocket relay: facts go in, actions come out.
//!
//! Whoever embeds it brings sockets, a clock, thirty-two random bytes and a loop; everything that a connection or a
//! message means is decided here. There is no thread, no lock, no clock and no I/O in this crate, so that equal inputs
//! give equal actions, to the byte: a whole node runs in a test, faster than time.
//!
//! # The loop
//!
//! A node is one or more [`Shard`](shard::Shard)s, each on a thread of its own. One shard's loop is:
//!
//! 1. Wait until a socket is ready, a sibling has sent something, or [`Shard::deadline`](shard::Shard::deadline) is
//!    reached.
//! 2. Turn each fact into an [`Input`](input::Input) and give it to [`Shard::handle`](shard::Shard::handle) with the
//!    present [`Time`](time::Time). `handle` cannot fail and never waits; what is to be done is then in
//!    [`Actions`](action::Actions).
//! 3. Perform the actions front to back: [`perform`](host::perform) calls one method of your [`Host`](host::Host) for
//!    each.
//! 4. At the end of the turn, or a few turns later while there is more to read, write once per socket that got a `Send`,
//!    and tell the shard how much is left:
//!    [`Input::Flushed`](input::Input::Flushed). A [`Line`](wire::line::Line) per socket is the queue to write from; it
//!    holds TLS, too.
//!
//! # What an adapter owes
//!
//! - **Order.** Inputs of one socket, and of one sibling, in the order in which they happened; any order between those.
//! - **Every `Forward` arrives**, in order, as [`Input::Peer`](input::Input::Peer) on the shard that it names. The queue
//!   between two shards needs no bound: shards count what is under way and pause its sources.
//! - **`Pause` means that nothing more is read**, so that the other end feels it. Bytes already read may still be given.
//! - **`Flushed` after every write that was tried**, also when nothing is left: lists go on from it, and it is how a shard
//!   learns that a client reads too slowly.
//! - **`Closed` once** for a socket that is gone, and never after an [`Action::Close`](action::Action::Close), which frees
//!   the socket's index. A generation tells its next user apart.
//! - **What is stored is stored in order**, and `Persisted` means that everything up to that record survives a crash. After
//!   `PersistFailed` nothing is stored any more.
//! - **Time does not go backwards**, and `Timeout` comes when the deadline is reached; early or repeated ones do no harm.
//! - **A shard that has said `Stop` is still asked by others**: the process ends when all have said it.
//!
//! # What it guarantees in return
//!
//! No input makes it panic. Every buffer, queue and wait has a limit in [`Config`](config::Config). A message is encoded
//! once and shared by all that receive it. Whatever is refused is told to whoever asked, counted in
//! [`Metrics`](metrics::Metrics) and, where an operator should know, reported as an [`Event`](event::Event).
//!
//! # A shard driven by hand
//!
//! A channel is created, two clients join it, and what one says reaches the other:
//!
//! ```
//! use std::{collections::BTreeMap, net::IpAddr, sync::Arc};
//! use wrs_core::{
//!     action::{Action, Actions},
//!     boot::Boot,
//!     config::Config,
//!     id::{ConnId, ShardId},
//!     input::Input,
//!     shard::Shard,
//!     time::Time,
//! };
//!
//! /// A shard, and what it has sent to each socket: all that a host must be able to do, but for real sockets.
//! struct Desk {
//!     shard: Shard,
//!     sent: BTreeMap<ConnId, Vec<u8>>,
//! }
//!
//! impl Desk {
//!     fn tell(&mut self, at_ms: u64, input: Input<'_>) {
//!         let mut actions = Actions::new();
//!         self.shard.handle(Time::from_millis(at_ms), input, &mut actions);
//!         for action in actions.drain() {
//!             if let Action::Send { conn, bytes } = action {
//!                 self.sent.entry(conn).or_default().extend_from_slice(&bytes);
//!             }
//!         }
//!     }
//!
//!     /// Opens a socket and sends a request; the answer, as text.
//!     fn ask(&mut self, at_ms: u64, index: u32, request: &str) -> String {
//!         let conn = ConnId { index, generation: 0 };
//!         self.tell(at_ms, Input::Opened { conn, from: IpAddr::from([192, 0, 2, 1]) });
//!         self.tell(at_ms, Input::Received { conn, bytes: &mut request.as_bytes().to_vec() });
//!         String::from_utf8(self.sent.remove(&conn).unwrap_or_default()).unwrap()
//!     }
//! }
//!
//! // The key is the only chance there is: take it from the system, or from a test's seed.
//! let boot = Boot::new(Arc::new(Config::default()), [7; 32], 8080, None);
//! let mut desk = Desk { shard: Shard::new(ShardId(0), boot), sent: BTreeMap::new() };
//!
//! // A channel.
//! let body = r#"{"pattern":"pub-sub"}"#;
//! let created = desk.ask(
//!     0, 0, &format!("POST /channels HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
//! );
//! assert!(created.starts_with("HTTP/1.1 201 Created\r\n"));
//! let text = |name: &str| created.split(&format!("\"{name}\":\"")).nth(1).unwrap().split('"').next().unwrap();
//! let (id, token) = (text("id"), text("token"));
//!
//! // Two clients.
//! let join = format!(
//!     "GET /channels/{id}/connect?token={token} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
//!      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
//! );
//! for client in [1, 2] {
//!     assert!(desk.ask(10, client, &join).starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
//! }
//!
//! // A text of one masked frame goes in; both get it, as one frame without a mask.
//! let conn = ConnId { index: 1, generation: 0 };
//! desk.tell(20, Input::Received { conn, bytes: &mut b"\x81\x82\0\0\0\0hi".to_vec() });
//! for index in [1, 2] {
//!     assert_eq!(desk.sent[&ConnId { index, generation: 0 }], b"\x81\x02hi");
//! }
//!
//! // A client that says nothing is pinged: that is what the shard waits for now, the first request's connection aside.
//! assert!(desk.shard.deadline().is_some_and(|at| at <= Time::from_millis(30_010)));
//! ```
//!
//! # Where to read on
//!
//! The seam is three short files: [`input`], [`action`], [`host`]. A message's way is in [`router`], who is on a channel in
//! [`roster`], what its home decides in [`home`]; the control plane is [`cluster`], the front door [`shard`]. Bytes are
//! read and written in [`wire`], requests mean what [`rest`] says, patterns are in [`pattern`].
#![forbid(unsafe_code)]

#[macro_use]
pub mod mutant;

pub mod action;
pub mod admission;
pub mod asks;
pub mod boot;
pub mod catalogue;
pub mod cluster;
pub mod config;
pub mod event;
pub mod gate;
pub mod home;
pub mod host;
pub mod id;
pub mod input;
pub mod links;
pub mod members;
pub mod metrics;
pub mod openapi;
pub mod pages;
pub mod pattern;
pub mod peer;
pub mod probe;
pub mod random;
pub mod rest;
pub mod roster;
pub mod router;
pub mod session;
pub mod shard;
pub mod time;
pub mod timers;
pub mod wire;

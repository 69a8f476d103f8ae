//! A sans-IO Raft: one group as a pure state machine.
//!
//! [`Raft`] is one node of one group. It is told what happened ([`Input`]) and when ([`Time`]), and says what must be done
//! ([`Action`]). It has no clock, no thread, no socket, no file and no chance but a seed: the same inputs bring the same actions.
//!
//! # The run loop
//!
//! 1. Wait for the first of: a message, a finished write, an application that has caught up, a caller, [`Raft::deadline`].
//! 2. Give what happened to [`Raft::handle`]: one call, one list of actions. Or give all that waits to [`Raft::step`], one by one,
//!    and draw the actions once with [`Raft::flush`]: then all of it costs one write.
//! 3. Perform the actions in order. None of them waits for another: what depends on a write is held back inside the machine until
//!    [`Input::Persisted`], so a driver cannot send too early.
//!
//! That is all. There is no order of calls to remember; a report that is late, doubled or out of place is ignored or told.
//!
//! ```
//! use std::collections::VecDeque;
//! use bytes::Bytes;
//! use wrs_raft::{Action, Boot, Config, Input, Message, NodeId, Raft, Ticket, Time};
//!
//! // Three founders. Real ones draw a seed each, and read what is on their disk.
//! let ids = [NodeId(1), NodeId(2), NodeId(3)];
//! let mut nodes: Vec<Raft> =
//!     ids.iter().map(|id| Raft::new(Config::new(*id), Boot::found(ids), Time::ZERO).unwrap()).collect();
//! let mut states: Vec<Vec<Bytes>> = vec![Vec::new(); 3];
//! let mut network: VecDeque<Message> = VecDeque::new();
//!
//! /// Gives one input to one node and performs what it asks for: a disk and an application that are done at once.
//! fn drive(raft: &mut Raft, input: Input, state: &mut Vec<Bytes>, network: &mut VecDeque<Message>) {
//!     let mut inputs = VecDeque::from([input]);
//!     let mut actions = Vec::new();
//!     while let Some(input) = inputs.pop_front() {
//!         raft.handle(Time::ZERO, input, &mut actions);
//!         for action in actions.drain(..) {
//!             match action {
//!                 Action::Send(message) => network.push_back(message),
//!                 Action::Persist(record) => inputs.push_back(Input::Persisted { record: record.id }),
//!                 Action::Apply(entries) => {
//!                     state.extend(entries.iter().map(|entry| entry.payload.clone()).filter(|bytes| !bytes.is_empty()));
//!                     let index = entries.last().map_or(0, |entry| entry.index);
//!                     inputs.push_back(Input::Applied { index });
//!                 }
//!                 Action::Fatal(fatal) => panic!("{fatal}"),
//!                 _ => {}
//!             }
//!         }
//!     }
//! }
//!
//! // Node 1 asks to lead, and is given something to decide.
//! let mut start = vec![Input::Campaign, Input::Propose { ticket: Ticket(1), payload: Bytes::from_static(b"hello") }];
//! while let Some(input) = if start.is_empty() { None } else { Some(start.remove(0)) } {
//!     drive(&mut nodes[0], input, &mut states[0], &mut network);
//!     while let Some(message) = network.pop_front() {
//!         let to = message.to.0 as usize - 1;
//!         drive(&mut nodes[to], Input::Receive(message), &mut states[to], &mut network);
//!     }
//! }
//! assert_eq!(nodes[2].status().leader, Some(NodeId(1)));
//! assert!(states.iter().all(|state| *state == ["hello"]));
//! ```
//!
//! # What to give, and when
//!
//! | input | when |
//! |---|---|
//! | [`Input::Receive`] | a message came. For a snapshot: once its bytes are here and safe |
//! | [`Input::Timeout`] | the deadline has come |
//! | [`Input::Persisted`] | a record is durable. With [`Record::sync`] off it may wait for the next one |
//! | [`Input::PersistFailed`] | a write failed: the machine stops, since nobody knows what is on the disk |
//! | [`Input::Applied`] | the application has applied what it was handed |
//! | [`Input::Propose`], [`Input::ProposeMany`], [`Input::ProposeConf`] | a caller wants something decided |
//! | [`Input::Read`] | a caller wants to read what is decided: serve it once the index of [`Action::ReadReady`] is applied |
//! | [`Input::SnapshotTaken`] | the application has a durable snapshot; [`Raft::snapshot_meta`] says what it stands for |
//! | [`Input::SnapshotSent`], [`Input::Unreachable`] | a transfer ended, a link broke |
//! | [`Input::Campaign`], [`Input::TransferLeader`], [`Input::ForgetLeader`] | an operator, or a node that shuts down, wants it |
//! | [`Input::Activate`], [`Input::Compact`] | seldom: see there |
//!
//! # Adding a node, and replacing its disk
//!
//! 1. Start the node with [`Boot::empty`] and an [`Incarnation`] drawn at random, kept with its disk. It waits.
//! 2. Tell the leader that incarnation, and propose `ConfChange::of(Change::new(ChangeKind::AddLearner, id).named(incarnation))`.
//! 3. Once `status().progress` shows it close to the commit index, and [`Raft::keeps_quorum`] says yes, propose
//!    [`ChangeKind::AddVoter`] for it.
//!
//! A node whose disk is lost is a new node under an old name: remove it, and once that is applied, go through the same steps. Until
//! then nothing that it promises counts. Founders are not named at first; the leader may name each, once, with
//! [`ChangeKind::Update`] and [`Raft::incarnation_of`].
//!
//! # Tracing
//!
//! There are no events for tracing beside the rest: whatever changes a machine is an [`Input`] and an instant, whatever follows is an
//! [`Action`], and an input without effect says why ([`Ignored`], from [`Raft::step`]). A driver that writes down the inputs, with the
//! settings and the [`Boot`] it began with, can replay the machine to the byte; one that writes down the actions has every change of
//! role, term, log and configuration. The simulator's `trace` does both.
//!
//! # What it guarantees
//!
//! - At most one leader in a term; committed entries are the same on all nodes, for ever, in one order.
//! - **The fate of each proposal is told once**: [`Action::Committed`] or [`Action::Dropped`] with a reason that says whether it
//!   may have taken effect. Reads too.
//! - No message that promises something (a vote, an acknowledgement) leaves before what it promises is durable.
//! - A leader that cannot reach a quorum steps down within two election timeouts, and a connected majority elects within a few.
//! - No message and no bytes make it panic. What must not go on is an [`Action::Fatal`], and the process lives.
//! - Memory is bounded by [`Config`] and by how often the application takes snapshots.
//!
//! # What that rests on
//!
//! - Records become durable in order, each whole or not at all, and what was reported durable stays ([`record`] has bytes that
//!   notice when it did not). A node that lost its disk comes back under a fresh [`Incarnation`] and joins anew: its old self is
//!   removed first. So does a node that keeps nothing on disk, at every start ([`Boot::empty`]).
//! - Messages are not altered and not forged; they may be lost, doubled, delayed and reordered.
//! - Applying is deterministic. [`Time`] never goes back on one node; only lease reads compare the speed of clocks.
//! - Membership changes are decided like entries and take effect when they are *applied*. That is safe because the commit index
//!   is durable with the entries that it came with (study id M2), which is why [`HardState::commit`] is in the record.
//!
//! # Where it differs from etcd
//!
//! Transitions are those of etcd/raft 3.7, and its 28 interaction transcripts replay line by line, with one deviation, which two of
//! them (those with asynchronous writes) show:
//!
//! - **A request for votes waits until the candidate's own vote and log are durable.** etcd sends it before. Were they forgotten in
//!   a crash, the candidate could ask again in the same term with a shorter log, and votes given for the longer one would elect
//!   it without a committed entry. The replay mails the request where etcd does, so that all that follows is compared.
//!
//! Beyond the transcripts:
//!
//! - The fate of a proposal that was cut from the log is told when something is committed in its place: until then another node
//!   may bring it back.
//! - Promises wait for the newest write that they rest on. etcd queues them behind a write of the commit index alone too.
//! - Entries are durable when no write under way can take them back, kept as an index that every cut lowers. etcd compares terms.
//! - Answers echo the stay in the group that the message was for, so that one from before a removal counts for nothing (study id
//!   R4). Stays are part of the configuration ([`Stay`]), so that snapshots and restarts do not end them.
//! - A membership change tells the incarnation of the node that it adds ([`Change::named`]). What another incarnation of that member
//!   promises counts for nothing, on any node and over restarts, until the member is removed and added anew (R5). Where no change has
//!   told it, as for founders, the first one that is heard is taken, in memory; [`ChangeKind::Update`] tells it later.
//! - A candidate says what it knows to be committed, and one who refuses it heeds that: else a learner that does not know of its
//!   promotion, and has the longest log, could keep everybody from being elected (raft-rs does alike).
//! - Reads are confirmed by numbered rounds of heartbeats (L2), wait for the leader's first commit also in a group of one (L1), and
//!   may rest on a lease that counts from the sending of a heartbeat (L3).
//! - A node that was removed tells one whose election it refuses what is committed ([`Body::Committed`]): else a removal that only
//!   it knows to be committed could lock the group (raft-rs does alike).
//! - A follower's election is put off by a leader, and by a vote that it gives, not by every later term: else a candidate that nobody may
//!   elect keeps all others from asking.
//! - After a pipelined append is refused, few are on the way at once for a while: on a link that reorders, whole windows sent anew are
//!   refused again.
//! - A node that its configuration knows under another incarnation neither votes nor asks for votes.
//! - A node that is added anew takes no snapshot from before its present stay, in which its own vote may have been a quorum (R5);
//!   the leader asks for a newer one ([`Action::SnapshotWanted`]).
//! - A snapshot that does not name this node is taken. etcd refuses it, and is sent it again for ever.
//! - A membership change that does not fit is ignored by all nodes alike ([`Action::Configured`] says why). etcd panics.
//! - What would break a rule of Raft is ignored as malformed or ends the machine with a [`Fatal`]. etcd panics.
//!
//! "Study id" names a bug that another library shipped; each has a test of its name under `tests/`.
#![forbid(unsafe_code)]
// A mutant stands beside the line that it breaks, even where the two could be written shorter.
#![allow(clippy::nonminimal_bool)]

#[macro_use]
pub mod mutant;

mod codec;
pub mod confchange;
mod config;
mod entry;
mod id;
pub mod log;
mod message;
pub mod progress;
pub mod quorum;
mod raft;
mod random;
pub mod record;
pub mod snapshot;
mod status;
mod time;
pub mod wire;

pub use confchange::{Change, ChangeKind, Conf, ConfChange, ConfError, Stay, Transition};
pub use config::{Config, ConfigError, ReadMode};
pub use entry::{ENTRY_OVERHEAD_BYTES, Entries, Entry, EntryKind};
pub use id::{ClusterId, Incarnation, Index, NUMBER_MAX, NodeId, ReadToken, RecordId, Term, Ticket};
pub use log::EntryId;
pub use message::{Body, Message, SnapshotMeta};
pub use progress::{Inflights, Progress, ProgressMap, ProgressState};
pub use raft::{Action, Boot, BootError, ConfRefusal, DropReason, Fatal, Ignored, Input, Raft, Role, RoleChange};
pub use record::{HardState, Record};
pub use status::Status;
pub use time::Time;

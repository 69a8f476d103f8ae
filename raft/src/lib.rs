//! A sans-IO Raft: one group as a pure state machine.
//!
//! The machine is [`Raft`]; its whole surface is [`Raft::handle`], [`Raft::deadline`] and [`Raft::status`].
#![forbid(unsafe_code)]

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

pub use confchange::{Change, ChangeKind, Conf, ConfChange, ConfError, Transition};
pub use config::{Config, ConfigError, ReadMode};
pub use entry::{ENTRY_OVERHEAD_BYTES, Entries, Entry, EntryKind};
pub use id::{ClusterId, Incarnation, Index, NUMBER_MAX, NodeId, ReadToken, RecordId, Term, Ticket};
pub use message::{Body, Message, SnapshotMeta};
pub use progress::{Inflights, Progress, ProgressMap, ProgressState};
pub use raft::{Action, Boot, BootError, ConfRefusal, DropReason, Fatal, Ignored, Input, Raft, Role, RoleChange};
pub use record::{HardState, Record};
pub use status::Status;
pub use time::Time;

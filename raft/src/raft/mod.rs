//! The machine.

mod action;
mod boot;
mod input;

pub use action::{Action, ConfRefusal, DropReason, Fatal, Ignored, Role, RoleChange};
pub use boot::{Boot, BootError};
pub use input::Input;

use crate::{Config, NodeId, RecordId, Message, Status, Time};

/// One group on one node.
#[derive(Debug)]
pub struct Raft {
    config: Config,
}

impl Raft {
    /// A machine as of `now`.
    ///
    /// # Errors
    /// The settings do not agree, or what the disk held contradicts itself.
    pub fn new(config: Config, boot: Boot, now: Time) -> Result<Raft, BootError> {
        let _ = (boot, now);
        Ok(Raft { config })
    }

    /// Takes one input and appends what must be done to `out`. Never fails: what has no effect is ignored, what must not be is
    /// an [`Action::Fatal`].
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Action>) {
        let _ = self.step(now, input);
        self.flush(out);
    }

    /// Takes one input and keeps what must be done for [`Raft::flush`]. Several inputs that wait together cost one record, and
    /// so one write, if the actions are drawn once after all of them.
    ///
    /// # Errors
    /// The input had no effect. Nothing needs to be done about it.
    pub fn step(&mut self, now: Time, input: Input) -> Result<(), Ignored> {
        let _ = (now, input);
        Ok(())
    }

    /// Appends everything that must be done since the last call to `out`.
    pub fn flush(&mut self, out: &mut Vec<Action>) {
        let _ = out;
    }

    /// When to give [`Input::Timeout`] next, unless another input comes first. `None`: not at all.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        None
    }

    /// A picture of the machine.
    #[must_use]
    pub fn status(&self) -> Status {
        todo!()
    }

    /// Why the machine has stopped, if it has.
    #[must_use]
    pub fn fatal(&self) -> Option<Fatal> {
        None
    }

    /// This node's settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Promises that wait for a record: who is to get what once which record is durable. For transcripts and checks.
    pub fn held(&self) -> impl Iterator<Item = (RecordId, &Message)> {
        let _ = NodeId(0);
        core::iter::empty()
    }
}

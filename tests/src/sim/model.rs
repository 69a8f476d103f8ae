//! The sequential service that clients believe to use: what an answer must be if operations happened one at a time.

use std::hash::Hash;

/// A sequential service. Two equal states answer alike for ever.
pub trait Model: Clone + Eq + Hash {
    /// What a client asks.
    type Operation: Clone;
    /// What it is told.
    type Answer: Clone + PartialEq;

    /// Does one operation and tells its answer.
    fn apply(&mut self, operation: &Self::Operation) -> Self::Answer;
}

/// One register: the simplest service on which a stale read, a lost or a doubled write shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Register(pub u64);

/// What may be asked of a [`Register`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterOperation {
    /// Read it.
    Read,
    /// Write a value, and be told the one before.
    Swap(u64),
}

impl Model for Register {
    type Operation = RegisterOperation;
    type Answer = u64;

    fn apply(&mut self, operation: &RegisterOperation) -> u64 {
        match operation {
            RegisterOperation::Read => self.0,
            RegisterOperation::Swap(value) => std::mem::replace(&mut self.0, *value),
        }
    }
}

//! The five messaging patterns: who gets a message.

pub mod envelope;
pub mod queue;

//! The load generator's parts: who is measured, connections, frames, readiness, times.

pub mod cluster;
pub mod conn;
pub mod frame;
pub mod histogram;
pub mod poll;
pub mod quota;
pub mod server;
pub mod service;

//! The simulator, and the scenario list that runs over real sockets.
// A simulator that is wrong must stop at once: here a panic is a finding, not a failure in front of a user.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]
#![forbid(unsafe_code)]

pub mod cluster_sim;
pub mod node_sim;
pub mod raft_sim;
pub mod real;
pub mod sim;

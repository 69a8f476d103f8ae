//! The simulator, and the scenario list that runs over real sockets.

pub mod node_sim;
pub mod real;

//! A sans-IO Raft: one group as a pure state machine.

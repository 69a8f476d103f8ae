//! Fuzz targets, as functions that tests replay too.
pub mod frame;
pub mod raft;

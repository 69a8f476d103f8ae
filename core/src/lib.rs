//! The sans-IO core of wrs.
#![forbid(unsafe_code)]

pub mod action;
pub mod admission;
pub mod boot;
pub mod catalogue;
pub mod cluster;
pub mod config;
pub mod event;
pub mod home;
pub mod host;
pub mod id;
pub mod input;
pub mod links;
pub mod metrics;
pub mod openapi;
pub mod pages;
pub mod pattern;
pub mod peer;
pub mod random;
pub mod rest;
pub mod roster;
pub mod router;
pub mod session;
pub mod shard;
pub mod time;
pub mod timers;
pub mod wire;

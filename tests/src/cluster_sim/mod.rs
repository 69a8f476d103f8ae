//! Whole clusters: a deterministic simulation of several nodes with everything in them, and of what may happen to them.
//!
//! Real [`Shard`](wrs_core::shard::Shard)s with real Raft inside run in virtual time, joined by simulated connections, disks
//! and queues. Chance from one seed decides who the nodes are, who uses them and what goes wrong: nodes die, pause, stop, come
//! and come back; links are cut, stall and carry one way; disks lose what was not synced. A small model of the product's
//! promises stands beside them. At the end everything heals, and everything must work. A seed replays a run to the byte.
//!
//! | file | what it is |
//! |---|---|
//! | `plan` | what a seed decides beforehand |
//! | `net`, `store` | connections between any two; a data directory over a simulated disk |
//! | `state`, `world` | nodes, wires and hands; time, turns and processes |
//! | `program`, `rush` | who is at the other ends; many of them at the moments that matter |
//! | `nemesis` | what goes wrong |
//! | `model`, `judge` | the promises: at every step, and at the end |
//! | `finish`, `crossing`, `scenes`, `probes` | how a cluster forms, heals, changes once more, and proves that it works |

pub mod crossing;
pub mod finish;
pub mod judge;
pub mod model;
pub mod nemesis;
pub mod net;
pub mod plan;
pub mod probes;
pub mod program;
pub mod rush;
pub mod scenes;
pub mod seam;
pub mod state;
pub mod store;
pub mod world;

use std::collections::BTreeMap;

use plan::Aim;
use state::Event;
use world::World;

use crate::sim::{MILLI, SECOND};

/// A run is no run before so many inputs.
const EVENTS_MIN: u64 = 2_000;
/// How long chance may go on acting for that: the only node may pause for a minute, and more than once.
const SECONDS_MORE_MAX: u64 = 300;

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Inputs that shards were given.
    pub events: u64,
    /// Messages queued on receivers.
    pub given: u64,
    /// Connections of programs.
    pub conns: usize,
    /// Channels.
    pub channels: usize,
    /// Close codes that the nodes sent, and how often.
    pub codes: BTreeMap<u16, u64>,
    /// Statuses that they answered, and how often.
    pub statuses: BTreeMap<u16, u64>,
    /// Virtual nanoseconds.
    pub time: u64,
    /// Of everything that happened.
    pub digest: u64,
}

/// Runs one seed.
///
/// # Errors
/// The first promise that was broken, and when.
pub fn run(seed: u64) -> Result<Report, String> {
    run_aimed(seed, Aim::of(seed))
}

/// Runs one seed with another aim than its own.
///
/// # Errors
/// The first promise that was broken, and when.
pub fn run_aimed(seed: u64, aim: Aim) -> Result<Report, String> {
    let mut world = World::new(seed, aim);
    if world.state.trace {
        eprintln!("{:#?}", world.state.plan);
    }
    world.form();
    if !world.is_broken() {
        world.state.agenda.after(0, Event::Act);
        if world.state.plan.nemesis.mean_ms > 0 {
            world.state.agenda.after(world.state.plan.nemesis.mean_ms * MILLI, Event::Fault);
        }
        world.pass(world.state.plan.span_ms * MILLI);
        for _ in 0..SECONDS_MORE_MAX {
            if world.state.model.at.tick < EVENTS_MIN {
                world.pass(SECOND);
            }
        }
    }
    for part in [World::heal, World::prove, |world: &mut World| world.state.model.judge()] {
        if world.is_broken() {
            break;
        }
        part(&mut world);
    }
    let state = &world.state;
    match &state.model.broken {
        Some(broken) => {
            let (time, tick) = (state.now() as f64 / 1e9, state.model.at.tick);
            Err(format!("seed {seed} at {time:.6} s, event {tick}: {broken}"))
        }
        None => Ok(Report {
            events: state.model.at.tick,
            given: state.model.given,
            conns: state.model.clients.len(),
            channels: state.model.channels.len(),
            codes: state.model.codes.clone(),
            statuses: state.model.statuses.clone(),
            time: state.now(),
            digest: state.digest.value(),
        }),
    }
}

//! Clusters of real [`wrs_raft::Raft`] machines over faulty networks, disks and clocks.
//!
//! The machines are the ones that ship; only what surrounds them is simulated. Each seed draws its own mix of faults (swarm
//! testing), runs a *safety phase* in which anything may happen, and then a *liveness phase* in which a random core heals and
//! must elect, commit and converge. The rules are checked after every event, in constant time, against a history kept outside
//! the machines. At the end of each seed a search looks for an order of all that clients asked that explains all that they were told.
//!
//! | file | what it gives |
//! |---|---|
//! | `plan` | what a seed draws: sizes, timeouts, rates of faults |
//! | `world` | the cluster and its driver: events in, inputs given |
//! | `actions` | the driver's other half: actions performed |
//! | `life` | how nodes begin, crash, come back, and begin anew |
//! | `node` | one node: machine, disk, clock, application |
//! | `wal` | records as bytes on the faulty disk, and recovery |
//! | `app` | the replicated application: registers with client sessions |
//! | `client` | the load, and what clients were told |
//! | `transfer` | snapshots as bytes in chunks |
//! | `told` | what clients were told, and the search for an order that explains it |
//! | `nemesis` | fault actions, membership changes, operators |
//! | `history` | what was written, committed, elected: the rules' memory |
//! | `check` | the rules |
//! | `live` | the liveness phase |
//! | `memory` | nodes that keep nothing on disk |
//! | `exhaust` | every run of a tiny cluster |

/// Whether a fault of the driver or of the application is switched on: see `wrs_raft::mutant`.
#[cfg(feature = "mutants")]
macro_rules! fault {
    ($name:ident) => {
        wrs_raft::mutant::is_on(wrs_raft::mutant::Mutant::$name)
    };
}

#[cfg(not(feature = "mutants"))]
macro_rules! fault {
    ($name:ident) => {
        false
    };
}

mod actions;
pub mod app;
mod check;
mod client;
pub mod exhaust;
mod history;
mod life;
mod live;
mod memory;
mod nemesis;
mod node;
mod plan;
mod told;
mod transfer;
mod wal;
mod world;

use crate::sim::{Coverage, Outcome, Scenario, Spec};

pub use plan::{FAULTS, Plan};
pub use world::World;

/// Where a run of many seeds must have come: a simulator that never gets deep proves nothing.
const DEEP: &[&str] = &[
    "elections while joint",
    "commits while joint",
    "snapshots installed",
    "truncations",
    "rot found",
    "reads",
    "voters again after losing all",
    "transfers done",
    "transfers resumed",
    "transfers interrupted",
    "transfers of nothing new",
    "chunks refused",
];

/// Where a run never came that should have, or what it left undecided: nothing, if it says anything.
#[must_use]
pub fn shallow(coverage: &Coverage) -> Vec<&'static str> {
    let mut shallow: Vec<&str> = DEEP.iter().copied().filter(|deep| coverage.count(deep) == 0).collect();
    shallow.extend((coverage.count(UNDECIDED) > 0).then_some(UNDECIDED));
    shallow
}

/// Histories for which the search for an order gave up.
const UNDECIDED: &str = "histories undecided";

/// The scenario: one raft cluster for each seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RaftCluster;

impl Scenario for RaftCluster {
    fn faults(&self) -> &'static [&'static str] {
        FAULTS
    }

    fn run(&self, spec: &Spec, trace: bool) -> Outcome {
        World::new(spec, trace).run()
    }
}

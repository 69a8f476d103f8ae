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
//! | `exhaust` | every interleaving of a tiny cluster |

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

use crate::sim::{Outcome, Scenario, Spec};

pub use plan::{FAULTS, Plan};
pub use world::World;

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

//! The bounded run of the raft simulator: so many seeds, each with its own faults, none of which may break a rule.
//!
//! `RAFT_SIM_SEEDS` and `RAFT_SIM_EVENTS` make it longer, `RAFT_SIM_FROM` begins elsewhere. Without optimisation it runs fewer.

use wrs_tests::raft_sim::{RaftCluster, shallow};
use wrs_tests::sim::runner::{Plan, run_seeds};

/// From so many seeds on a run must have come everywhere.
const SEEDS_DEEP: u64 = 500;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn no_seed_breaks_a_rule() {
    let seeds = setting("RAFT_SIM_SEEDS", if cfg!(debug_assertions) { 60 } else { 2_000 });
    let from = setting("RAFT_SIM_FROM", 0);
    let plan = Plan {
        seeds: from..from + seeds,
        events: setting("RAFT_SIM_EVENTS", 20_000),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        compare_every: 100,
        failures_max: 5,
    };
    let summary = run_seeds(&RaftCluster, &plan, &|_, _| {});
    println!("{} seeds, {} events, {} ran twice alike", summary.seeds, summary.events, summary.compared);
    println!("{}", summary.coverage);
    for (spec, violation) in &summary.failures {
        println!("{violation}\n  cargo run --profile sim -p wrs-tests --bin raft_sim -- replay {spec}");
    }
    assert!(summary.failures.is_empty(), "{} seeds broke a rule", summary.failures.len());
    let shallow = shallow(&summary.coverage);
    assert!(seeds < SEEDS_DEEP || shallow.is_empty(), "{shallow:?}");
}

/// Seeds that once broke a rule. What they draw has changed since, so each has a directed test in the raft crate too.
#[test]
fn seeds_that_once_broke_a_rule_break_none() {
    use wrs_tests::sim::{Scenario, Spec};
    for seed in [
        6_102, 9_452, 103_998, 1_000_329, 1_002_615, 1_005_198, 1_006_108, 1_016_181, 1_023_241, 1_027_991, 2_003_234,
        3_008_707, 3_020_239, 5_022_622, 20_000_580, 40_002_759, 40_002_991, 40_006_348, 40_006_970, 40_011_979,
        40_012_445, 40_015_862, 50_005_312, 60_025_725,
    ] {
        assert_eq!(RaftCluster.run(&Spec::new(seed, 20_000), false).violation, None, "seed {seed}");
    }
}

#[test]
fn a_seed_replays_to_the_byte() {
    use wrs_tests::sim::{Scenario, Spec};
    for seed in [1, 2, 3] {
        let spec = Spec::new(seed, 4_000);
        let (once, again) = (RaftCluster.run(&spec, false), RaftCluster.run(&spec, false));
        assert_eq!(once.digest, again.digest);
        assert_eq!(once, again);
    }
}

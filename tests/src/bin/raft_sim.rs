//! Runs the raft simulator: seeds in a range, one spec again, a smaller one, or a tiny cluster exhaustively.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Instant;

use wrs_tests::raft_sim::RaftCluster;
use wrs_tests::sim::runner::{Plan, run_seeds};
use wrs_tests::sim::shrink::shrink;
use wrs_tests::sim::{Scenario, Spec};

const USAGE: &str = "\
raft_sim run [FROM [TO [EVENTS [THREADS [MAX]]]]]   run the seeds FROM..TO, until MAX have failed
raft_sim replay SPEC [trace]                  run one spec, as a failure prints it
raft_sim shrink SPEC                          find a smaller spec that fails alike";

fn number(argument: Option<&String>, default: u64) -> u64 {
    argument.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn run(arguments: &[String]) -> ExitCode {
    let from = number(arguments.first(), 0);
    let plan = Plan {
        seeds: from..number(arguments.get(1), from + 100),
        events: number(arguments.get(2), 20_000),
        threads: number(arguments.get(3), 1) as usize,
        compare_every: 100,
        failures_max: number(arguments.get(4), 10) as usize,
    };
    let start = Instant::now();
    let summary = run_seeds(&RaftCluster, &plan, &|spec, outcome| {
        if let Some(violation) = &outcome.violation {
            println!("FAIL {violation}\n  replay with: cargo run --profile sim -p wrs-tests --bin raft_sim -- replay {spec}");
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    println!("{}", summary.coverage);
    println!(
        "{} seeds, {} events in {seconds:.1} s ({:.0} a second), {} compared, {} failures",
        summary.seeds,
        summary.events,
        summary.events as f64 / seconds,
        summary.compared,
        summary.failures.len()
    );
    if summary.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let spec = || arguments.get(1).map(|text| text.parse::<Spec>());
    match (arguments.first().map(String::as_str), spec()) {
        (Some("run"), _) => run(&arguments[1..]),
        (Some("replay"), Some(Ok(spec))) => {
            let trace = arguments.get(2).is_some();
            let outcome = RaftCluster.run(&spec, trace);
            println!("{} events, digest {:x}", outcome.events, outcome.digest);
            match outcome.violation {
                Some(violation) => {
                    println!("FAIL {violation}");
                    ExitCode::FAILURE
                }
                None => ExitCode::SUCCESS,
            }
        }
        (Some("shrink"), Some(Ok(spec))) => match shrink(&RaftCluster, &spec, 2_000) {
            Some(shrunk) => {
                println!("{}\n  {} runs; now {}", shrunk.spec, shrunk.runs, shrunk.outcome.events);
                if let Some(violation) = shrunk.outcome.violation {
                    println!("  {violation}");
                }
                ExitCode::FAILURE
            }
            None => {
                println!("{spec} breaks no rule");
                ExitCode::SUCCESS
            }
        },
        (_, Some(Err(error))) => {
            println!("{error}\n{USAGE}");
            ExitCode::FAILURE
        }
        _ => {
            println!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

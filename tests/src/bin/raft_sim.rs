//! Runs the raft simulator: seeds in a range, one spec again, a smaller one, or a tiny cluster exhaustively.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Instant;

use wrs_tests::raft_sim::exhaust::{Bounds, Explored, LeftOut, explore};
use wrs_tests::raft_sim::{RaftCluster, shallow};
use wrs_tests::sim::runner::{Plan, run_seeds};
use wrs_tests::sim::shrink::shrink;
use wrs_tests::sim::{Scenario, Spec};

const USAGE: &str = "\
raft_sim run [FROM [TO [EVENTS [THREADS [MAX]]]]]   run the seeds FROM..TO, until MAX have failed
raft_sim replay SPEC [trace] [FAULT]          run one spec, as a failure prints it
raft_sim shrink SPEC                          find a smaller spec that fails alike
raft_sim exhaust [TERMS [ENTRIES [CRASHES [STATES]]]]  every run of three nodes
raft_sim exhaust-compare [TERMS [ENTRIES [CRASHES]]]  whether what it leaves out loses anything
raft_sim exhaust-mutants [TERMS [ENTRIES [CRASHES [STATES]]]]  which faults that finds (with --features mutants)
raft_sim mutants [SEEDS [EVENTS [THREADS [NAME..]]]]   how many seeds it takes to catch each fault (with --features mutants)";

/// From so many seeds on a run must have come everywhere.
const SEEDS_DEEP: u64 = 500;

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
            println!(
                "FAIL {violation}\n  replay with: cargo run --profile sim -p wrs-tests --bin raft_sim -- replay {spec}"
            );
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
    let shallow = if summary.seeds < SEEDS_DEEP { Vec::new() } else { shallow(&summary.coverage) };
    if !shallow.is_empty() {
        println!("never came to, or left open: {}", shallow.join(", "));
    }
    if summary.failures.is_empty() && shallow.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn bounds(arguments: &[String], entries: u64, states_max: u64) -> Bounds {
    let (entries, crashes) = (number(arguments.get(1), entries) as u8, number(arguments.get(2), 1) as u8);
    Bounds {
        states_max: number(arguments.get(3), states_max),
        ..Bounds::new(number(arguments.first(), 2), entries, crashes)
    }
}

/// Walks every run of a tiny cluster within `bounds`, and tells how far it is.
fn walk(bounds: &Bounds) -> Explored {
    let start = Instant::now();
    let tell = |explored: &Explored| {
        let Explored { states, distinct, steps, machines, messages, depth, rank, waiting, complete, .. } = explored;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{seconds:.0} s: {states} states gone on from, {distinct} without the messages on their way, {steps} steps, \
             {machines} machines, {messages} messages, depth {depth}, rank {rank}, {waiting} waiting, complete: {complete}"
        );
    };
    println!("{bounds:?}");
    let explored = explore(bounds, &mut |explored| tell(explored));
    tell(&explored);
    if let Some(rule) = &explored.violation {
        println!("FAIL {rule}");
    }
    explored
}

/// Every run of a tiny cluster.
fn exhaust(arguments: &[String]) -> ExitCode {
    let explored = walk(&bounds(arguments, 3, u64::MAX));
    if explored.violation.is_none() && explored.complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether all that a search may leave out meets what one meets that only leaves out fewer messages.
fn exhaust_compare(arguments: &[String]) -> ExitCode {
    let bounds = Bounds { outlined: true, ..bounds(arguments, 1, u64::MAX) };
    let (some, more) = (walk(&bounds), walk(&Bounds { left_out: LeftOut::FewerMessages, ..bounds }));
    let held = [&some, &more].iter().all(|explored| explored.violation.is_none() && explored.complete);
    let same = some.seen == more.seen && some.outlines == more.outlines;
    println!("{} and {} outlines, the same: {same}", some.outlines.len(), more.outlines.len());
    if held && same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Which faults of the raft crate break a rule in a run of a tiny cluster, as a table.
#[cfg(feature = "mutants")]
fn exhaust_mutants(arguments: &[String]) -> ExitCode {
    use wrs_raft::mutant::{MUTANTS, switch_on};

    let bounds = bounds(arguments, 2, 200_000);
    let mut found = 0;
    std::panic::set_hook(Box::new(|_| {}));
    println!("{bounds:?}\n\n| fault | study id | states until found | by the rule |\n|---|---|---|---|");
    for (mutant, study, _) in MUTANTS {
        switch_on(Some(*mutant));
        let explored = std::panic::catch_unwind(|| explore(&bounds, &mut |_| {}));
        switch_on(None);
        let (states, rule) = match &explored {
            Ok(explored) => (explored.states, explored.violation.as_deref()),
            Err(_) => (0, Some("panic")),
        };
        if let Some(rule) = rule {
            found += 1;
            let rule = rule.split(['{', ';', ':']).next().unwrap_or_default();
            println!("| {mutant:?} | {study} | {states} | {} |", rule.trim());
        }
    }
    println!("\n{found} of {} found", MUTANTS.len());
    ExitCode::SUCCESS
}

#[cfg(not(feature = "mutants"))]
fn exhaust_mutants(_: &[String]) -> ExitCode {
    println!("build with --features mutants");
    ExitCode::FAILURE
}

/// How many seeds it takes until each fault of the raft crate is noticed, as a table.
#[cfg(feature = "mutants")]
fn mutants(arguments: &[String]) -> ExitCode {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use wrs_raft::mutant::{MUTANTS, switch_on};

    let (seeds, events) = (number(arguments.first(), 2_000), number(arguments.get(1), 20_000));
    let names = arguments.get(3..).unwrap_or_default();
    std::panic::set_hook(Box::new(|_| {}));
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    let work = || {
        while let Some((at, (mutant, study, what))) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| MUTANTS.get(at).map(|row| (at, row)))
        {
            if !names.is_empty() && !names.contains(&format!("{mutant:?}")) {
                continue;
            }
            let caught = (0..seeds).find_map(|seed| {
                switch_on(Some(*mutant));
                let spec = Spec::new(seed, events);
                let outcome = RaftCluster.run_caught(&spec);
                switch_on(None);
                // What fails without the fault too says nothing about it.
                let violation = outcome.violation?;
                RaftCluster.run_caught(&spec).violation.is_none().then_some((seed + 1, violation))
            });
            let (count, rule) = match &caught {
                Some((count, violation)) => (count.to_string(), violation.rule),
                None => ("**not caught**".to_owned(), ""),
            };
            let row = format!("| {mutant:?} | {study} | {what} | {count} | {rule} |");
            println!("{row}");
            if let Ok(mut rows) = rows.lock() {
                rows.push((at, row, caught.is_some()));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..number(arguments.get(2), 1) {
            scope.spawn(work);
        }
    });
    let mut rows = rows.into_inner().unwrap_or_default();
    rows.sort();
    println!("\n| fault | study id | what it does | seeds until caught | by the rule |\n|---|---|---|---|---|");
    rows.iter().for_each(|(_, row, _)| println!("{row}"));
    let caught = rows.iter().filter(|(_, _, caught)| *caught).count();
    println!("\n{caught} of {} caught within {seeds} seeds of {events} events", rows.len());
    if caught == rows.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(not(feature = "mutants"))]
fn mutants(_: &[String]) -> ExitCode {
    println!("build with --features mutants");
    ExitCode::FAILURE
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let spec = || arguments.get(1).map(|text| text.parse::<Spec>());
    match (arguments.first().map(String::as_str), spec()) {
        (Some("run"), _) => run(arguments.get(1..).unwrap_or_default()),
        (Some("exhaust"), _) => exhaust(arguments.get(1..).unwrap_or_default()),
        (Some("exhaust-compare"), _) => exhaust_compare(arguments.get(1..).unwrap_or_default()),
        (Some("exhaust-mutants"), _) => exhaust_mutants(arguments.get(1..).unwrap_or_default()),
        (Some("mutants"), _) => mutants(arguments.get(1..).unwrap_or_default()),
        (Some("replay"), Some(Ok(spec))) => {
            let trace = arguments.iter().any(|argument| argument == "trace");
            #[cfg(feature = "mutants")]
            for (mutant, _, _) in wrs_raft::mutant::MUTANTS {
                if arguments.iter().any(|argument| *argument == format!("{mutant:?}")) {
                    wrs_raft::mutant::switch_on(Some(*mutant));
                }
            }
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

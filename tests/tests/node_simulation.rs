//! Replays seeds of the node's simulation.
//!
//! `WRS_SIM_SEEDS=from..to` runs others, `WRS_SIM_SEED=n` runs one; `WRS_SIM_FIRST=1` stops at the first that fails;
//! `WRS_SIM_TRACE=1` says all that happens (with `-- --nocapture`).

// A test reports what it finds by a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::ops::Range;

use wrs_tests::node_sim;

/// What a continuous integration run has time for.
const SEEDS: Range<u64> = 0..300;
/// Seeds beyond those that failed once, and why.
const ONCE_FAILED: &[(u64, &str)] =
    &[(355, "an answer to when a channel was last used came so late that it had been used again, and it timed out")];
/// Each of these many is run twice, to the same byte.
const TWICE_EVERY: u64 = 50;

fn seeds() -> Vec<u64> {
    let number = |text: &str| text.trim().parse::<u64>().expect("a number");
    if let Ok(one) = std::env::var("WRS_SIM_SEED") {
        return vec![number(&one)];
    }
    match std::env::var("WRS_SIM_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("from..to");
            (number(from)..number(to)).collect()
        }
        Err(_) => SEEDS.chain(ONCE_FAILED.iter().map(|(seed, _)| *seed)).collect(),
    }
}

#[test]
fn every_promise_holds_for_every_seed() {
    let (mut events, mut given, mut conns, mut codes) = (0, 0, 0, BTreeMap::<u16, u64>::new());
    let mut failures = Vec::new();
    let seeds = seeds();
    for seed in seeds.iter().copied() {
        match node_sim::run(seed) {
            Ok(report) => {
                events += report.events;
                given += report.given;
                conns += report.conns;
                for (code, count) in &report.codes {
                    *codes.entry(*code).or_default() += count;
                }
                if seed.is_multiple_of(TWICE_EVERY) {
                    assert_eq!(node_sim::run(seed), Ok(report), "seed {seed} does not replay");
                }
            }
            Err(why) => {
                let command = format!("WRS_SIM_SEED={seed} cargo test -p wrs-tests --test node_simulation");
                failures.push(format!("{why}\n  again: {command}"));
                if std::env::var_os("WRS_SIM_FIRST").is_some() {
                    break;
                }
            }
        }
    }
    eprintln!("{} seeds, {events} events, {given} messages given, {conns} connections, codes {codes:?}", seeds.len());
    assert!(failures.is_empty(), "{} of {} seeds:\n{}", failures.len(), seeds.len(), failures.join("\n"));
}

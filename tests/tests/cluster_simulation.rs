//! Replays seeds of the simulation of whole clusters.
//!
//! `WRS_SIM_SEEDS=from..to` runs others, `WRS_SIM_SEED=n` runs one; `WRS_SIM_FIRST=1` stops at the first that fails;
//! `WRS_SIM_TRACE=1` says all that happens (with `-- --nocapture`).

// A test reports what it finds by a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::ops::Range;

use wrs_tests::cluster_sim;
use wrs_tests::cluster_sim::plan::Aim;

/// What a continuous integration run has time for.
const SEEDS: Range<u64> = 0..150;
/// Each of these many is run twice, to the same byte.
const TWICE_EVERY: u64 = 20;

fn seeds() -> Range<u64> {
    let number = |text: &str| text.trim().parse::<u64>().expect("a number");
    if let Ok(one) = std::env::var("WRS_SIM_SEED") {
        return number(&one)..number(&one) + 1;
    }
    match std::env::var("WRS_SIM_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("from..to");
            number(from)..number(to)
        }
        Err(_) => SEEDS,
    }
}

/// Inputs that every run has at least.
const EVENTS_MIN: u64 = 2_000;
/// So often a long run says how far it is.
const TELL_EVERY: u64 = 500;

/// A panic inside a shard is a broken promise like any other.
fn run(seed: u64) -> Result<cluster_sim::Report, String> {
    std::panic::catch_unwind(|| cluster_sim::run(seed)).unwrap_or_else(|_| Err(format!("seed {seed}: a panic")))
}

/// Seeds that once failed as plans without an aim, and what they had found.
const ONCE_FAILED: &[(u64, &str)] = &[
    (100_871, "the model: a message went to a client whose 101 was still under way when its node was counted out"),
    (103_542, "a node with a full disk never answered a list for which it had asked a node that had counted it out"),
    (104_496, "the model: nobody else came to a node after its life had ended, so that end was not seen"),
    (105_517, "as 103542"),
];

/// Seeds that once failed where more nodes were away than the cluster can do without.
const ONCE_FAILED_HARSH: &[(u64, &str)] = &[
    (
        7,
        "who joined a cluster that a survivor had founded anew took that survivor's life for ended, and sent it nothing",
    ),
    (13, "as 7"),
    (65, "as 7"),
    (77, "the model: an operator told the node that had channels to join one that had none"),
    (445, "the model: the only node ended, and should have kept what it had in memory"),
    (287, "who waited for a seat when the node stopped was cut off without an answer"),
    (884, "who asked about a channel when the node stopped was cut off without an answer"),
    (1_624, "as 884: an operator's question"),
];

/// Seeds that once failed with the aim of their own.
const ONCE_FAILED_AIMED: &[(u64, &str)] = &[
    (23_682, "the model: the only seed forgot its cluster, in which nobody is obliged to look for it"),
    (200_671, "the answer that a node with a full disk gave let the next question run, which was not answered"),
    (
        305_041,
        "who was still learning did not follow the survivor of a majority that was gone: it believed in a dead leader",
    ),
    (
        162,
        "on a machine that had been up for long a node took itself for forgotten at once, and began anew without end",
    ),
    (164, "as 162"),
    (172, "as 162"),
    (202_340, "the model: it waited for a node that could not come back"),
    (205_619, "as 400904"),
    (212_251, "a run longer than the span of what is remembered was given twice"),
    (251_427, "as 212251"),
    (262_044, "as 400904"),
    (264_699, "a node that had been alone never said to a newcomer that the last client of a channel had gone"),
    (306_560, "who was counted out, and led next, never said that its clients were gone: seats were 503 for long"),
    (400_904, "seats were given to others while a shard that hung still had the clients of the node's last life"),
    (602_775, "a node that was leaving and lost its lease ended its life again and again"),
    (606_425, "as 306560"),
    (610_668, "as 306560"),
    (613_519, "most of the seeds were started again at once, and founded a second cluster"),
    (623_472, "the model: it counted on a message that had not been sent"),
    (
        1_266_917,
        "the model: it sent users to a node that was not ready, and had a shard which had not heard of its new cluster",
    ),
    (
        4_068_084,
        "the model: the load balancer showed each of two nodes itself eight times, and they were to be one by then",
    ),
];

#[test]
fn seeds_that_once_failed_hold() {
    let plain = ONCE_FAILED.iter().map(|(seed, what)| (seed, what, Aim::default()));
    let harsh = ONCE_FAILED_HARSH.iter().map(|(seed, what)| (seed, what, Aim { harsh: true, ..Aim::of(*seed) }));
    let aimed = ONCE_FAILED_AIMED.iter().map(|(seed, what)| (seed, what, Aim::of(*seed)));
    for (seed, what, aim) in plain.chain(harsh).chain(aimed) {
        let told = cluster_sim::run_aimed(*seed, aim);
        assert!(told.is_ok(), "{what}: {told:?}");
    }
}

#[test]
fn a_newcomer_hears_when_the_last_client_of_a_node_that_was_alone_has_gone() {
    let runs =
        (0..1_000).map(|seed| cluster_sim::scenes::the_last_leaves_after_a_newcomer(seed).map_err(|why| (seed, why)));
    let done = runs.filter(|run| run.as_ref().unwrap() == &true).count();
    assert!(done > 3, "{done}");
}

#[test]
fn every_promise_holds_for_every_seed() {
    let (mut events, mut given, mut conns, mut least) = (0, 0, 0, (u64::MAX, 0));
    let (mut codes, mut statuses) = (BTreeMap::<u16, u64>::new(), BTreeMap::<u16, u64>::new());
    let mut failures = Vec::new();
    let seeds = seeds();
    let from = std::time::Instant::now();
    for seed in seeds.clone() {
        if seed > seeds.start && (seed - seeds.start).is_multiple_of(TELL_EVERY) {
            eprintln!("before seed {seed}: {events} events, {} failures", failures.len());
        }
        match run(seed) {
            Ok(report) => {
                events += report.events;
                least = least.min((report.events, seed));
                given += report.given;
                conns += report.conns;
                for (code, count) in &report.codes {
                    *codes.entry(*code).or_default() += count;
                }
                for (status, count) in &report.statuses {
                    *statuses.entry(*status).or_default() += count;
                }
                if seed.is_multiple_of(TWICE_EVERY) {
                    assert_eq!(run(seed), Ok(report), "seed {seed} does not replay");
                }
            }
            Err(why) => {
                let command = format!("WRS_SIM_SEED={seed} cargo test -p wrs-tests --test cluster_simulation");
                eprintln!("{why}\n  again: {command}");
                failures.push(format!("{why}\n  again: {command}"));
                if std::env::var_os("WRS_SIM_FIRST").is_some() {
                    break;
                }
            }
        }
    }
    eprintln!(
        "{} seeds, {events} events ({} at least, seed {}), {given} messages given, {conns} connections, codes {codes:?}, \
         statuses {statuses:?}, {:.0} events/s",
        seeds.end - seeds.start,
        least.0,
        least.1,
        events as f64 / from.elapsed().as_secs_f64()
    );
    assert!(least.0 >= EVENTS_MIN, "seed {} has {} events", least.1, least.0);
    assert!(failures.is_empty(), "{} of {} seeds:\n{}", failures.len(), seeds.end - seeds.start, failures.join("\n"));
}

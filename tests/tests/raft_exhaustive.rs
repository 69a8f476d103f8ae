//! Every run of a tiny cluster, in bounds that take seconds. `raft_sim exhaust` goes further.
#![allow(clippy::print_stdout)]

use wrs_tests::raft_sim::exhaust::{Bounds, Explored, explore};

fn walk(bounds: Bounds) -> Explored {
    let explored = explore(&bounds, &mut |_| {});
    println!("{bounds:?}: {} states, {} steps, {} machines", explored.states, explored.steps, explored.machines);
    explored
}

/// Without optimisation, only what takes a second.
const THOROUGH: bool = !cfg!(debug_assertions) || cfg!(feature = "mutants");

#[test]
fn no_run_of_a_tiny_cluster_breaks_a_rule() {
    let bounds: &[(u64, u8, u8)] = if THOROUGH { &[(1, 1, 1), (1, 2, 1), (2, 2, 0)] } else { &[(1, 1, 1)] };
    for (terms, entries, crashes) in bounds.iter().copied() {
        let explored = walk(Bounds::new(terms, entries, crashes));
        assert_eq!((explored.violation, explored.complete), (None, true));
        assert!(explored.states > 1_000, "{} states", explored.states);
    }
}

#[test]
fn what_a_reduced_search_leaves_out_meets_nothing_new() {
    for crashes in if THOROUGH { 0..=1 } else { 0..=0 } {
        let reduced = Bounds::new(1, 1, crashes);
        let (some, all) = (walk(reduced), walk(Bounds { reduced: false, ..reduced }));
        assert_eq!((some.complete, all.complete), (true, true));
        assert!(all.states > some.states * 10, "{} of {}", some.states, all.states);
        assert_eq!(some.seen, all.seen);
    }
}

/// A search that cannot fail proves nothing. `raft_sim exhaust-mutants` tries all of them.
#[cfg(feature = "mutants")]
#[test]
fn faults_are_found() {
    use wrs_raft::mutant::{Mutant, switch_on};
    for mutant in [
        Mutant::VotesTwice,
        Mutant::VotesForShorterLogs,
        Mutant::VotesBeforeDurable,
        Mutant::AcksBeforeDurable,
        Mutant::CommitsOldTerms,
        Mutant::KeepsConflicts,
        Mutant::LeaderCountsUnwritten,
        Mutant::ForgetsVoteInTerm,
    ] {
        switch_on(Some(mutant));
        let explored = explore(&Bounds { states_max: 200_000, ..Bounds::new(2, 2, 1) }, &mut |_| {});
        switch_on(None);
        println!("{mutant:?}: {} states: {:?}", explored.states, explored.violation);
        assert!(explored.violation.is_some(), "{mutant:?} is not found");
    }
}

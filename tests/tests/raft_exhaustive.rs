//! Every run of a tiny cluster, in bounds that take seconds. `raft_sim exhaust` goes further.
#![allow(clippy::print_stdout)]

use wrs_tests::raft_sim::exhaust::{Bounds, Explored, LeftOut, explore};

fn walk(bounds: Bounds) -> Explored {
    let explored = explore(&bounds, &mut |_| {});
    println!("{bounds:?}: {} states, {} steps, {} machines", explored.states, explored.steps, explored.machines);
    explored
}

/// Without optimisation, only what takes a second.
const THOROUGH: bool = !cfg!(debug_assertions) || cfg!(feature = "mutants");

#[test]
fn no_run_of_a_tiny_cluster_breaks_a_rule() {
    let some: &[(u64, u8, u8)] = &[(1, 1, 1), (1, 2, 0), (2, 1, 0)];
    let more: &[(u64, u8, u8)] = &[(1, 2, 1), (2, 1, 1), (2, 2, 0)];
    for (terms, entries, crashes) in some.iter().chain(more.iter().filter(|_| THOROUGH)).copied() {
        let explored = walk(Bounds::new(terms, entries, crashes));
        assert_eq!((explored.violation, explored.complete), (None, true));
        assert!(explored.states > 500, "{} states", explored.states);
    }
}

#[test]
fn what_a_search_leaves_out_meets_nothing_new() {
    for crashes in if THOROUGH { 0..=1 } else { 0..=0 } {
        let bounds = Bounds { outlined: true, ..Bounds::new(1, 1, crashes) };
        let least = walk(bounds);
        let fewer = walk(Bounds { left_out: LeftOut::FewerMessages, ..bounds });
        let all = walk(Bounds { left_out: LeftOut::Nothing, ..bounds });
        assert!(all.states > least.states * 100, "{} of {}", least.states, all.states);
        assert_eq!(fewer.distinct, all.distinct);
        for other in [&fewer, &all] {
            assert!(least.complete && other.complete);
            assert_eq!((&least.violation, &other.violation), (&None, &None));
            assert_eq!(least.seen, other.seen);
            assert_eq!(least.outlines, other.outlines);
        }
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
        let explored = explore(&Bounds { states_max: 20_000, ..Bounds::new(2, 2, 1) }, &mut |_| {});
        switch_on(None);
        println!("{mutant:?}: {} states: {:?}", explored.states, explored.violation);
        assert!(explored.violation.is_some(), "{mutant:?} is not found");
    }
}

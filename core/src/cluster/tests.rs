//! What the control planes of several nodes promise together; see [`rig`](super::rig) for what is checked all the time.

use std::time::Duration;

use super::rig::{Rig, millis};
use super::*;

/// How many seeds a test takes: `CLUSTER_SEEDS` of the environment, or this many.
fn seeds(few: u64) -> u64 {
    std::env::var("CLUSTER_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(few)
}

#[test]
fn a_node_alone_commits_applies_and_answers_within_the_call() {
    let mut rig = Rig::new(1);
    let n = rig.start();
    assert_eq!(rig.nodes[&n].lease, Time::MAX);
    assert_eq!(rig.nodes[&n].cluster.part(), Part::Leader);
    assert_eq!(rig.nodes[&n].cluster.members().live_count(), 1);
    assert_eq!(rig.nodes[&n].cluster.deadline(), None, "nothing waits for a time");
    for _ in 0..100 {
        let ticket = rig.create(n);
        rig.pass(millis(4));
        assert_eq!(rig.told(n, ticket), Some(Outcome::Created));
    }
}

#[test]
fn nodes_that_begin_together_are_live_within_an_election_and_answer_everywhere() {
    for seed in 0..20 {
        let mut rig = Rig::of(seed, 3);
        rig.settle_within(millis(4_000));
        for turn in 0..50 {
            let n = turn % 3;
            let ticket = rig.create(n);
            rig.pass(millis(15));
            assert_eq!(rig.told(n, ticket), Some(Outcome::Created));
        }
        rig.check_nothing_lost();
    }
}

#[test]
fn a_killed_leader_is_replaced_and_its_life_is_gone_soon_enough() {
    let (mut late, seeds) = (0, seeds(40));
    for seed in 0..seeds {
        let mut rig = Rig::of(seed, 3);
        rig.settle_within(millis(4_000));
        let leader = rig.leader().unwrap();
        rig.kill(leader);
        let begin = rig.now;
        let n = (leader + 1) % 3;
        loop {
            let ticket = rig.create(n);
            rig.pass(millis(20));
            if rig.told(n, ticket) == Some(Outcome::Created) {
                break;
            }
            assert!(rig.now.since(begin) < millis(7_000), "seed {seed}: {}", rig.describe());
        }
        if rig.now.since(begin) > millis(3_500) {
            late += 1;
        }
        rig.settle_within(millis(3_000));
        rig.check_nothing_lost();
    }
    assert!(late * 20 <= seeds, "{late} of {seeds} took longer");
}

/// Time passes with changes from every node.
fn work(rig: &mut Rig, span: Duration) {
    let end = rig.now + span;
    while rig.now < end {
        let nodes: Vec<usize> = rig.nodes.keys().copied().collect();
        let n = nodes[rig.random.below(nodes.len() as u64) as usize];
        rig.create(n);
        let pause = rig.random.below(80);
        rig.pass(millis(pause));
    }
}

#[test]
fn partitions_pauses_and_loss_break_no_promise_and_heal() {
    for seed in 0..seeds(20) {
        let mut rig = Rig::new(seed);
        rig.drift = true;
        rig.found(3 + seed % 3);
        rig.settle_within(millis(4_000));
        for _ in 0..6 {
            let count = rig.nodes.len() as u64;
            let (a, b) = (rig.random.below(count) as usize, rig.random.below(count) as usize);
            match rig.random.below(5) {
                0 => rig.isolate(a),
                1 => rig.cut(a, b),
                2 => rig.pause(a, millis(4_000)),
                3 => rig.loss_percent = rig.random.below(30),
                _ => rig.heal(),
            }
            let span = rig.random.below(12_000);
            work(&mut rig, millis(span));
        }
        rig.heal();
        rig.loss_percent = 0;
        rig.settle_within(millis(30_000));
        work(&mut rig, millis(500));
        rig.pass(millis(6_000));
        rig.check_nothing_lost();
    }
}

//! Who founds, who joins, who waits; see [`rig`](super::rig).

use super::rig::{Rig, millis};
use super::tests::{seeds, work};
use super::*;

fn seeded(seed: u64, count: usize) -> Rig {
    let mut rig = Rig::new(seed);
    rig.config.seeds = (0..count).map(Rig::address).collect();
    rig.config.cluster_size = Some(count as u16);
    rig
}

fn clusters(rig: &Rig) -> usize {
    rig.founded.len()
}

#[test]
fn seeds_found_one_cluster_and_all_join_it() {
    for seed in 0..seeds(30) {
        let count = 3 + (seed % 3) as usize;
        let mut rig = seeded(seed, count);
        for _ in 0..count {
            rig.start();
            let pause = rig.random.below(1_500);
            rig.pass(millis(pause));
        }
        rig.settle_within(millis(15_000));
        assert_eq!(clusters(&rig), 1);
    }
}

#[test]
fn under_any_partition_seeds_never_found_two_clusters() {
    for seed in 0..seeds(60) {
        let count = 3 + (seed % 3) as usize;
        let mut rig = seeded(seed, count);
        rig.loss_percent = seed % 4 * 10;
        for _ in 0..count {
            rig.start();
        }
        for _ in 0..20 {
            let (a, b) = (rig.random.below(count as u64) as usize, rig.random.below(count as u64) as usize);
            match rig.random.below(4) {
                0 if a != b => rig.cut(a, b),
                1 => rig.isolate(a),
                2 => rig.pause(a, millis(700)),
                _ => rig.heal(),
            }
            let pause = rig.random.below(900);
            rig.pass(millis(pause));
            assert!(clusters(&rig) <= 1, "seed {seed}: two were founded");
        }
        rig.heal();
        rig.loss_percent = 0;
        rig.settle_within(millis(40_000));
        assert_eq!(clusters(&rig), 1, "seed {seed}");
    }
}

#[test]
fn a_refusal_that_cannot_change_is_told_at_once_and_any_other_after_a_while() {
    let refusals = [
        (Some(LinkFault::Secret), true),
        (Some(LinkFault::IdLength { theirs: 5 }), true),
        (Some(LinkFault::Version { oldest: 8, newest: 9 }), true),
        (Some(LinkFault::Crowded), false),
        (None, false),
    ];
    for (refusal, at_once) in refusals {
        let mut rig = Rig::new(1);
        rig.refusal = refusal;
        let n = rig.start();
        rig.with(n, |cluster, now| cluster.join(now, Ticket(1), Rig::address(7), false));
        rig.pass(millis(200));
        assert_eq!(rig.nodes[&n].answers.contains_key(&1), at_once, "{refusal:?}");
        rig.pass(millis(11_000));
        assert!(matches!(rig.nodes[&n].answers[&1], Err(Refused::Unreachable(_))));
    }
}

#[test]
fn nodes_that_start_together_do_not_ask_at_the_domain_together() {
    let mut rig = Rig::new(4);
    let nodes: Vec<usize> = (0..20).map(|_| rig.start()).collect();
    rig.front = nodes;
    rig.pass(millis(500));
    let early = rig.probes;
    rig.pass(millis(6_000));
    assert!(early < 8 && rig.probes >= 20, "{early} of 20 in the first half second, {} in all", rig.probes);
}

#[test]
fn a_minority_of_the_seeds_waits() {
    let mut rig = seeded(1, 3);
    rig.start();
    rig.pass(millis(60_000));
    assert_eq!(clusters(&rig), 0);
    assert_eq!(rig.nodes[&0].cluster.not_ready(), Some(NotReady::Forming));
    rig.start();
    rig.settle_within(millis(10_000));
    assert_eq!(clusters(&rig), 1);
}

#[test]
fn a_promise_to_a_seed_that_was_restarted_is_void() {
    for seed in 0..seeds(20) {
        let mut rig = seeded(seed, 3);
        for _ in 0..3 {
            rig.start();
        }
        let pause = rig.random.below(1_200);
        rig.pass(millis(pause));
        if clusters(&rig) > 0 {
            continue;
        }
        let n = rig.random.below(3) as usize;
        rig.kill(n);
        rig.pass(millis(400));
        rig.add(n, None);
        rig.settle_within(millis(20_000));
    }
}

#[test]
fn one_name_that_resolves_to_all_serves_as_seeds() {
    let mut rig = Rig::new(4);
    rig.config.seeds = vec![NodeAddress { host: "nodes.example".to_owned(), port: None }];
    rig.config.cluster_size = Some(3);
    let ip = |n: usize| Rig::address(n).host.parse().unwrap();
    rig.names.insert("nodes.example".to_owned(), vec![ip(0)]);
    rig.start();
    rig.start();
    rig.pass(millis(5_000));
    assert_eq!(clusters(&rig), 0, "one of three is no majority");
    rig.names.insert("nodes.example".to_owned(), vec![ip(1), ip(0), ip(2)]);
    rig.settle_within(millis(10_000));
    rig.start();
    rig.settle_within(millis(10_000));
    assert_eq!(clusters(&rig), 1);
}

#[test]
fn a_restarted_seed_joins_the_cluster_that_is_there() {
    for seed in 0..seeds(15) {
        let mut rig = seeded(seed, 3);
        for _ in 0..3 {
            rig.start();
        }
        rig.settle_within(millis(15_000));
        work(&mut rig, millis(500));
        for n in 0..3 {
            rig.kill(n);
            rig.pass(millis(200));
            rig.add(n, None);
            rig.settle_within(millis(20_000));
            rig.pass(millis(1_500));
        }
        assert_eq!(clusters(&rig), 1);
        rig.check_nothing_lost();
    }
}

#[test]
fn most_of_the_seeds_restarted_at_once_join_the_cluster_that_is_there() {
    for seed in 113..113 + seeds(5) {
        let mut rig = seeded(seed, 3);
        for _ in 0..5 {
            rig.start();
        }
        rig.settle_within(millis(20_000));
        // Until all of them vote.
        rig.pass(millis(5_000));
        let stays = (seed % 3) as usize;
        let restarted: Vec<usize> = (0..3).filter(|n| *n != stays).collect();
        restarted.iter().for_each(|n| rig.kill(*n));
        rig.pass(millis(500));
        restarted.iter().for_each(|n| rig.add(*n, None));
        rig.settle_within(millis(20_000));
        assert_eq!(clusters(&rig), 1, "seed {seed}: {}", rig.describe());
    }
}

#[test]
fn nodes_behind_one_address_find_each_other_wherever_they_ask() {
    for seed in 0..seeds(20) {
        let mut rig = Rig::new(seed);
        for _ in 0..3 {
            let n = rig.start();
            rig.front.push(n);
            let pause = rig.random.below(3_000);
            rig.pass(millis(pause));
        }
        rig.settle_within(millis(60_000));
        work(&mut rig, millis(300));
        rig.check_nothing_lost();
    }
}

#[test]
fn two_clusters_with_channels_stay_apart_and_say_so() {
    let mut rig = Rig::new(8);
    let (a, b) = (rig.start(), rig.start());
    for n in [a, b] {
        rig.create(n);
    }
    rig.front = vec![a, b];
    rig.pass(millis(40_000));
    assert!(rig.nodes.values().all(|peer| peer.cluster.members().iter().count() == 1));
    assert!(rig.nodes.values().all(|peer| peer.cluster.apart().is_some()));
    let told = |peer: &super::rig::Peer| peer.reports.iter().filter(|event| event.name() == "clusters-apart").count();
    assert!(rig.nodes.values().all(|peer| told(peer) == 1));
    // Once the other has gone nothing is apart any more.
    rig.kill(b);
    rig.front = vec![a];
    rig.pass(millis(110_000));
    assert_eq!(rig.nodes[&a].cluster.apart(), None);
}

#[test]
fn who_was_met_and_has_nothing_in_common_is_hung_up_on() {
    for count in [2, 4] {
        let mut rig = Rig::new(11);
        let nodes: Vec<usize> = (0..count).map(|_| rig.start()).collect();
        rig.pass(millis(200));
        for (n, to) in nodes.iter().zip(&nodes[count / 2..]) {
            rig.create(*n);
            rig.create(*to);
        }
        rig.front = nodes;
        rig.pass(millis(10_000));
        assert!(rig.links() > 0, "they have met");
        rig.front.clear();
        rig.pass(millis(30_000));
        assert_eq!(rig.links(), 0, "{}", rig.describe());
    }
}

// A majority that is gone.

#[test]
fn two_nodes_go_on_when_one_was_killed_and_restarted() {
    for seed in 0..seeds(20) {
        let mut rig = seeded(seed, 2);
        rig.start();
        rig.start();
        rig.settle_within(millis(15_000));
        rig.pass(millis(1_000));
        work(&mut rig, millis(500));
        rig.pass(millis(500));
        let n = rig.random.below(2) as usize;
        rig.kill(n);
        rig.pass(millis(20_000));
        assert_eq!(clusters(&rig), 1, "as long as the other may live, nobody goes on");
        assert!(!rig.has_lease(1 - n));
        rig.add(n, None);
        rig.settle_within(millis(30_000));
        rig.check_nothing_lost();
    }
}

#[test]
fn survivors_go_on_from_the_longest_log_once_the_others_are_succeeded() {
    for seed in 0..seeds(20) {
        let mut rig = seeded(seed, 5);
        for _ in 0..5 {
            rig.start();
        }
        rig.settle_within(millis(20_000));
        rig.pass(millis(2_000));
        work(&mut rig, millis(1_000));
        let first = rig.random.below(5) as usize;
        let dead: Vec<usize> = (0..3).map(|n| (first + n) % 5).collect();
        for n in &dead {
            rig.kill(*n);
        }
        rig.pass(millis(8_000));
        for n in &dead[..2] {
            rig.add(*n, None);
        }
        rig.pass(millis(10_000));
        assert_eq!(clusters(&rig), 1, "one of them may live");
        rig.add(dead[2], None);
        let mut turns = 0;
        while !rig.is_whole() {
            turns += 1;
            assert!(turns < 400, "seed {seed} dead {dead:?}: {}", rig.describe());
            rig.pass(millis(100));
        }
        work(&mut rig, millis(300));
        rig.pass(millis(500));
        // What was acknowledged by a majority that is gone may be lost; what the survivors had is not.
        assert!(clusters(&rig) <= 2, "seed {seed}");
    }
}

#[test]
fn who_was_still_learning_follows_the_survivor_that_goes_on() {
    for seed in 0..seeds(20) {
        let mut rig = seeded(seed, 2);
        rig.start();
        rig.start();
        rig.settle_within(millis(15_000));
        rig.pass(millis(1_000));
        let newcomer = rig.start();
        let mut turns = 0;
        while rig.nodes[&newcomer].cluster.members().iter().count() < 3 {
            turns += 1;
            assert!(turns < 20_000, "seed {seed}: {}", rig.describe());
            rig.pass(millis(1));
        }
        // It does not see its leader die.
        rig.isolate(newcomer);
        let leader = rig.leader().unwrap();
        rig.kill(leader);
        rig.pass(millis(5_000));
        rig.add(leader, None);
        rig.pass(millis(200));
        rig.heal();
        // One of the three may have been enough to go on, or the two others; in any case all are one cluster in the end.
        rig.settle_within(millis(40_000));
        rig.check_nothing_lost();
    }
}

#[test]
fn an_operator_lets_a_survivor_go_on_and_hears_who_is_missing() {
    let mut rig = Rig::of(2, 3);
    rig.settle_within(millis(4_000));
    work(&mut rig, millis(300));
    rig.pass(millis(100));
    rig.kill(0);
    rig.with(1, |cluster, now| cluster.recover(now, Ticket(1)));
    rig.pass(millis(1));
    rig.kill(2);
    rig.pass(millis(5_000));
    rig.with(1, |cluster, now| cluster.recover(now, Ticket(2)));
    rig.pass(millis(5_000));
    assert_eq!(rig.nodes[&1].answers[&2], Ok(Done::Recovered { missing: vec![NodeId(1), NodeId(3)] }));
    assert!(rig.has_lease(1), "{}", rig.describe());
    let ticket = rig.create(1);
    rig.pass(millis(3_000));
    assert_eq!(rig.told(1, ticket), Some(Outcome::Created));
    rig.check_nothing_lost();
}

#[test]
fn a_majority_that_lives_elects_and_does_not_begin_anew() {
    for seed in 0..seeds(20) {
        let mut rig = seeded(seed, 3);
        for _ in 0..3 {
            rig.start();
        }
        rig.settle_within(millis(15_000));
        rig.pass(millis(1_500));
        let leader = rig.leader().unwrap();
        rig.kill(leader);
        rig.pass(millis(100));
        rig.add(leader, None);
        rig.settle_within(millis(20_000));
        assert_eq!(clusters(&rig), 1);
    }
}

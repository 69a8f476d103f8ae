//! What the control planes of several nodes promise together; see [`rig`](super::rig) for what is checked all the time.

use std::time::Duration;

use super::rig::{Rig, millis};
use super::*;

/// How many seeds a test takes: `CLUSTER_SEEDS` of the environment, or this many.
pub(super) fn seeds(few: u64) -> u64 {
    std::env::var("CLUSTER_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(few)
}

#[test]
fn a_node_alone_commits_applies_and_answers_within_the_call() {
    let mut rig = Rig::new(1);
    let n = rig.start();
    assert_eq!(rig.nodes[&n].lease, Time::MAX);
    assert_eq!(rig.nodes[&n].cluster.part(), Part::Leader);
    assert_eq!(rig.nodes[&n].cluster.members().live_count(), 1);
    rig.front = vec![n];
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
pub(super) fn work(rig: &mut Rig, span: Duration) {
    work_but(rig, span, usize::MAX);
}

/// Likewise, but for one node.
fn work_but(rig: &mut Rig, span: Duration, idle: usize) {
    let end = rig.now + span;
    while rig.now < end {
        let nodes: Vec<usize> = rig.nodes.keys().copied().filter(|n| *n != idle).collect();
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
            match rig.random.below(6) {
                5 => rig.split(&[a, b]),
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

fn join(rig: &mut Rig, n: usize, at: usize, force: bool) -> u64 {
    let address = Rig::address(at);
    let ticket = 1_000_000 + rig.random.below(1_000_000);
    rig.with(n, |cluster, now| cluster.join(now, Ticket(ticket), address, force));
    ticket
}

#[test]
fn a_node_joins_by_address_is_brought_up_and_votes() {
    for seed in 0..seeds(20) {
        let mut rig = Rig::new(seed);
        rig.config.snapshot_length = 20;
        let first = rig.start();
        for _ in 0..30 {
            rig.create(first);
        }
        for count in 2..=5 {
            let n = rig.start();
            let through = rig.random.below(n as u64) as usize;
            let ticket = join(&mut rig, n, through, false);
            work_but(&mut rig, millis(300), n);
            rig.settle_within(millis(8_000));
            assert_eq!(rig.nodes[&n].answers.get(&ticket), Some(&Ok(Done::Joined)));
            assert_eq!(rig.nodes[&n].cluster.members().live_count(), count);
        }
        rig.pass(millis(2_000));
        for peer in rig.nodes.values() {
            assert!(matches!(peer.cluster.part(), Part::Leader | Part::Follower), "everybody votes");
        }
        rig.check_nothing_lost();
    }
}

#[test]
fn joining_needs_force_where_channels_or_a_cluster_would_be_lost() {
    let mut rig = Rig::new(3);
    let (a, b) = (rig.start(), rig.start());
    rig.create(b);
    rig.pass(millis(20));
    let ticket = join(&mut rig, b, a, false);
    rig.pass(millis(20));
    assert_eq!(rig.nodes[&b].answers[&ticket], Err(Refused::WouldLoseChannels));
    let ticket = join(&mut rig, b, a, true);
    rig.made.clear();
    rig.settle_within(millis(6_000));
    assert_eq!(rig.nodes[&b].answers[&ticket], Ok(Done::Joined));
    assert!(rig.nodes[&b].catalogue.is_empty());
    assert!(rig.nodes[&b].outs > 0, "its clients were closed");
    let c = rig.start();
    let ticket = join(&mut rig, b, c, false);
    assert_eq!(rig.nodes[&b].answers[&ticket], Err(Refused::WouldLeaveCluster));
    let ticket = join(&mut rig, c, 150, false);
    rig.pass(millis(11_000));
    assert!(matches!(rig.nodes[&c].answers[&ticket], Err(Refused::Unreachable(_))));
}

#[test]
fn at_most_seven_nodes_vote_and_a_learner_takes_the_place_of_one_that_leaves() {
    let mut rig = Rig::new(5);
    let first = rig.start();
    for _ in 1..9 {
        let n = rig.start();
        join(&mut rig, n, first, false);
        rig.settle_within(millis(8_000));
    }
    rig.pass(millis(3_000));
    let learners = |rig: &Rig| rig.nodes.values().filter(|peer| peer.cluster.part() == Part::Learner).count();
    assert_eq!(learners(&rig), 2, "{}", rig.describe());
    let leader = rig.leader().unwrap();
    rig.with(leader, |cluster, now| cluster.drain(now));
    rig.pass(millis(4_000));
    assert!(rig.nodes[&leader].left, "{}", rig.describe());
    rig.kill(leader);
    rig.settle_within(millis(6_000));
    rig.pass(millis(3_000));
    assert_eq!(learners(&rig), 1, "{}", rig.describe());
}

#[test]
fn who_gave_up_joining_is_no_member_for_long() {
    for seed in 0..seeds(20) {
        let mut rig = Rig::of(seed, 3);
        rig.settle_within(millis(4_000));
        let n = rig.start();
        let (address, ticket) = (Rig::address(seed as usize % 3), Ticket(1));
        rig.with(n, |cluster, now| cluster.join(now, ticket, address, false));
        // It is cut off somewhere on the way, and sometimes just behind its end.
        let within = rig.random.below(60);
        rig.pass(millis(within));
        rig.isolate(n);
        rig.pass(millis(45_000));
        rig.kill(n);
        let known = |rig: &Rig| rig.nodes.values().map(|peer| peer.cluster.members().iter().count()).max();
        let lived = !rig.ended.is_empty();
        assert!(known(&rig) == Some(3) || lived, "seed {seed}: {}", rig.describe());
    }
}

#[test]
fn a_node_that_leaves_hands_over_and_is_a_member_no_more() {
    for seed in 0..seeds(20) {
        let mut rig = Rig::of(seed, 3);
        rig.settle_within(millis(4_000));
        let n = if seed % 2 == 0 { rig.leader().unwrap() } else { seed as usize % 3 };
        let begin = rig.now;
        rig.with(n, |cluster, now| cluster.drain(now));
        while !rig.nodes[&n].left {
            rig.pass(millis(10));
            assert!(rig.now.since(begin) < millis(4_000), "seed {seed}: {}", rig.describe());
        }
        rig.kill(n);
        rig.settle_within(millis(4_000));
        assert!(rig.nodes.values().all(|peer| peer.outs == 0), "nobody else has lost its life");
        work(&mut rig, millis(1_000));
        rig.pass(millis(500));
        assert!(rig.nodes.values().all(|peer| peer.cluster.members().iter().count() == 2));
        rig.check_nothing_lost();
    }
}

/// All nodes stop within `spread` of each other, but for those that are dead: how long the last takes.
pub(super) fn stop_all(rig: &mut Rig, spread: u64) -> Duration {
    let begin = rig.now;
    for n in rig.nodes.keys().copied().collect::<Vec<_>>() {
        rig.with(n, |cluster, now| cluster.drain(now));
        let wait = rig.random.below(spread + 1);
        rig.pass(millis(wait));
    }
    while !rig.nodes.is_empty() {
        rig.pass(millis(10));
        let left: Vec<usize> = rig.nodes.iter().filter(|(_, peer)| peer.left).map(|(n, _)| *n).collect();
        left.into_iter().for_each(|n| rig.kill(n));
        assert!(rig.now.since(begin) < millis(9_000), "{}", rig.describe());
    }
    rig.now.since(begin)
}

#[test]
fn nodes_that_stop_together_do_not_wait_for_each_other_in_vain() {
    for seed in 0..seeds(30) {
        let (count, spread) = (2 + seed % 4, [0, 3, 400][seed as usize % 3]);
        let mut rig = Rig::of(seed, count);
        rig.settle_within(millis(4_000));
        let took = stop_all(&mut rig, spread);
        assert!(took < millis(4_000 + spread * count), "seed {seed}: {took:?}");
    }
}

#[test]
fn who_stops_when_the_others_are_dead_does_not_wait_for_them() {
    for seed in 0..seeds(20) {
        let mut rig = Rig::of(seed, 3);
        rig.settle_within(millis(4_000));
        let dead = 1 + seed as usize % 2;
        (0..dead).for_each(|n| rig.kill(n));
        if seed % 4 < 2 {
            rig.pass(millis(5_000));
        }
        let took = stop_all(&mut rig, 0);
        assert!(took < millis(4_000), "seed {seed}: {took:?}");
    }
}

#[test]
fn a_restarted_node_takes_the_place_of_the_one_at_its_address() {
    for seed in 0..seeds(20) {
        let mut rig = Rig::of(seed, 3);
        rig.settle_within(millis(4_000));
        for n in 0..3 {
            rig.kill(n);
            rig.add(n, None);
            join(&mut rig, n, (n + 1) % 3, false);
            work_but(&mut rig, millis(100), n);
            rig.settle_within(millis(12_000));
            rig.pass(millis(1_500));
        }
        assert!(rig.nodes.values().all(|peer| peer.cluster.members().iter().count() == 3), "{}", rig.describe());
        rig.check_nothing_lost();
    }
}

#[test]
fn an_operator_removes_a_dead_node_and_hears_of_it() {
    let mut rig = Rig::of(9, 3);
    rig.settle_within(millis(4_000));
    let dead = rig.leader().unwrap();
    let node = rig.nodes[&dead].cluster.node();
    rig.kill(dead);
    rig.settle_within(millis(7_000));
    let n = (dead + 1) % 3;
    rig.with(n, |cluster, now| cluster.remove(now, Ticket(1), node));
    rig.with(n, |cluster, now| cluster.remove(now, Ticket(2), NodeId(99)));
    rig.pass(millis(2_000));
    assert_eq!(rig.nodes[&n].answers[&1], Ok(Done::Removed));
    assert_eq!(rig.nodes[&n].answers[&2], Err(Refused::NoSuchNode));
    assert_eq!(rig.nodes[&n].cluster.members().iter().count(), 2);
}

#[test]
fn two_nodes_that_cannot_reach_each_other_do_not_both_stay() {
    for seed in 0..seeds(10) {
        let mut rig = Rig::of(seed, 3);
        rig.settle_within(millis(4_000));
        let leader = rig.leader().unwrap();
        let (a, b) = ((leader + 1) % 3, (leader + 2) % 3);
        rig.cut(a, b);
        rig.pass(millis(9_000));
        assert_eq!(rig.nodes[&leader].cluster.members().live_count(), 2, "{}", rig.describe());
        let epoch = rig.nodes[&leader].cluster.members().epoch();
        work(&mut rig, millis(10_000));
        assert_eq!(rig.nodes[&leader].cluster.members().epoch(), epoch, "it does not come back before it reaches all");
        rig.heal();
        rig.settle_within(millis(4_000));
    }
}

#[test]
fn the_clients_of_an_ended_life_linger_until_it_lives_again_or_has_surely_noticed() {
    let mut rig = Rig::of(6, 3);
    rig.settle_within(millis(4_000));
    let leader = rig.leader().unwrap();
    let (a, b) = ((leader + 1) % 3, (leader + 2) % 3);
    rig.isolate(a);
    rig.pass(millis(2_500));
    let lingering = |rig: &Rig| rig.nodes[&leader].cluster.members().lingering().count();
    assert_eq!(lingering(&rig), 1);
    rig.heal();
    rig.settle_within(millis(4_000));
    rig.pass(millis(200));
    assert_eq!(lingering(&rig), 0, "it lives again");
    rig.kill(b);
    rig.pass(millis(2_500));
    assert_eq!(lingering(&rig), 1);
    rig.pass(millis(4_000));
    assert_eq!(lingering(&rig), 1);
    rig.pass(millis(4_000));
    assert_eq!(lingering(&rig), 0, "it is out by its own clock");
}

#[test]
fn a_node_that_leaves_and_reaches_nobody_is_out_once() {
    let mut rig = Rig::of(6, 3);
    rig.settle_within(millis(4_000));
    let n = (rig.leader().unwrap() + 1) % 3;
    rig.isolate(n);
    rig.pass(millis(500));
    rig.with(n, |cluster, now| cluster.drain(now));
    let (outs, begin) = (rig.nodes[&n].outs, rig.local(n));
    let mut now = begin;
    for _ in 0..1_000 {
        now = now.max(rig.nodes[&n].cluster.deadline().unwrap());
        rig.with(n, |cluster, _| cluster.timeout(now));
    }
    assert_eq!(rig.nodes[&n].outs, outs + 1);
    assert!(now.since(begin) > millis(12_000), "it asks for times that have passed");
}

#[test]
fn who_was_counted_out_and_leads_next_says_that_its_clients_are_gone() {
    let mut led = 0;
    for seed in 0..seeds(30) {
        let mut rig = Rig::of(seed, 3);
        rig.settle_within(millis(4_000));
        let leader = rig.leader().unwrap();
        let out = (leader + 1) % 3;
        let life = rig.nodes[&out].cluster.life();
        let lingers = |rig: &Rig| rig.nodes[&out].cluster.members().lingering().any(|ended| ended == life);
        rig.isolate(out);
        rig.pass(millis(2_500));
        rig.heal();
        for _ in 0..5_000 {
            if !lingers(&rig) {
                rig.pass(millis(1));
            }
        }
        // It knows of its end, and nobody that it has noticed.
        rig.kill(leader);
        rig.settle_within(millis(8_000));
        rig.pass(millis(300));
        assert!(!lingers(&rig), "seed {seed}: {}", rig.describe());
        led += u32::from(rig.leader() == Some(out));
    }
    assert!(led > 0);
}

#[test]
fn a_node_that_is_cut_off_is_out_in_time_and_begins_another_life() {
    let mut rig = Rig::of(7, 3);
    rig.settle_within(millis(4_000));
    let n = (rig.leader().unwrap() + 1) % 3;
    let life = rig.nodes[&n].cluster.life();
    rig.isolate(n);
    rig.pass(millis(1_600));
    assert!(!rig.has_lease(n));
    let refused = rig.create(n);
    assert_eq!(rig.told(n, refused), Some(Outcome::NoLeader));
    rig.pass(millis(5_000));
    assert_eq!(rig.nodes[&n].outs, 0, "it may be back in time");
    rig.pass(millis(2_200));
    assert_eq!(rig.nodes[&n].outs, 1);
    assert_ne!(rig.nodes[&n].cluster.life(), life);
    rig.heal();
    rig.settle_within(millis(4_000));
}

#[test]
fn nodes_that_come_and_go_break_no_promise() {
    for seed in 0..seeds(15) {
        let mut rig = Rig::new(seed);
        rig.config.seeds = (0..3).map(Rig::address).collect();
        rig.config.snapshot_length = 20;
        rig.drift = true;
        for _ in 0..3 {
            rig.start();
        }
        rig.settle_within(millis(20_000));
        rig.pass(millis(1_500));
        for _ in 0..8 {
            let n = rig.random.below(6) as usize;
            let there = rig.nodes.contains_key(&n);
            match rig.random.below(5) {
                0 | 1 if !there => rig.add(n, None),
                2 if there && rig.nodes.len() > 3 => rig.kill(n),
                3 if there && rig.nodes.len() > 3 => rig.with(n, |cluster, now| cluster.drain(now)),
                4 if there => rig.pause(n, millis(2_500)),
                _ => {}
            }
            let span = rig.random.below(3_000);
            work(&mut rig, millis(span));
            let left: Vec<usize> = rig.nodes.iter().filter(|(_, peer)| peer.left).map(|(n, _)| *n).collect();
            left.into_iter().for_each(|n| rig.kill(n));
            // One fault at a time, so that a majority is always there.
            let begin = rig.now;
            while !rig.is_whole() {
                rig.pass(millis(50));
                assert!(rig.now.since(begin) < millis(40_000), "seed {seed}: {}", rig.describe());
                let left: Vec<usize> = rig.nodes.iter().filter(|(_, peer)| peer.left).map(|(n, _)| *n).collect();
                left.into_iter().for_each(|n| rig.kill(n));
            }
            rig.pass(millis(1_500));
        }
        rig.check_nothing_lost();
    }
}

#[test]
fn a_minority_with_the_old_leader_decides_nothing_when_the_majority_ends_its_lives() {
    for seed in 0..seeds(40) {
        let mut rig = Rig::new(seed);
        rig.drift = true;
        rig.found(5);
        rig.settle_within(millis(4_000));
        let pause = rig.random.below(600);
        rig.pass(millis(pause));
        let leader = rig.leader().unwrap();
        let follower = (leader + 1 + rig.random.below(4) as usize) % 5;
        // Links that break say so at once, and those that only stall do not.
        rig.split(&[leader, follower]);
        work(&mut rig, millis(6_000));
        assert!(!rig.has_lease(leader) && !rig.has_lease(follower));
        rig.heal();
        rig.settle_within(millis(15_000));
        rig.pass(millis(6_000));
        rig.check_nothing_lost();
    }
}

#[test]
fn leases_of_a_leader_that_hands_over_are_waited_for() {
    for seed in 0..seeds(30) {
        let mut rig = Rig::new(seed);
        rig.drift = true;
        rig.found(5);
        rig.settle_within(millis(4_000));
        let pause = rig.random.below(600);
        rig.pass(millis(pause));
        let leader = rig.leader().unwrap();
        let cut_off = (leader + 1) % 5;
        rig.with(leader, |cluster, now| cluster.drain(now));
        let pause = rig.random.below(3);
        rig.pass(millis(pause));
        // It has a lease of the old leader, and the new one has never heard of it.
        rig.split(&[cut_off]);
        work(&mut rig, millis(5_000));
        rig.heal();
        if rig.nodes[&leader].left {
            rig.kill(leader);
        }
        rig.pass(millis(10_000));
        rig.check_nothing_lost();
    }
}

#[test]
fn a_long_snapshot_arrives_although_leaders_change_and_chunks_are_lost() {
    for seed in 0..seeds(1) {
        let mut rig = Rig::new(seed);
        rig.config.snapshot_length = 2_000;
        rig.found(4);
        rig.settle_within(millis(4_000));
        let away = (rig.leader().unwrap() + 1) % 4;
        rig.kill(away);
        for _ in 0..10 {
            let leader = rig.leader().unwrap();
            rig.create_many(leader, 1_000);
            rig.pass(millis(100));
        }
        rig.pass(millis(1_000));
        assert!(rig.made.len() > 9_000, "{}", rig.made.len());
        rig.loss_percent = 20;
        rig.add(away, None);
        for _ in 0..6 {
            rig.pass(millis(400));
            // It goes on sending to the one that is brought up.
            let Some(leader) = rig.leader() else { continue };
            (0..4).filter(|n| ![leader, away].contains(n)).for_each(|n| rig.cut(leader, n));
            rig.pass(millis(1_600));
            rig.heal();
        }
        rig.loss_percent = 0;
        rig.settle_within(millis(30_000));
        rig.pass(millis(1_500));
        rig.check_nothing_lost();
    }
}

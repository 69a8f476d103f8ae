//! Two clusters of several nodes behind one address, of which one has no channels; see [`rig`](super::rig).

use super::rig::{Rig, millis};
use super::tests::{seeds, work};
use super::*;

/// The first seed: `CLUSTER_FROM` of the environment, or 0.
fn from() -> u64 {
    std::env::var("CLUSTER_FROM").ok().and_then(|from| from.parse().ok()).unwrap_or(0)
}

/// Nodes that are all behind one address from the moment that they start, at the same time.
fn at_once(seed: u64, count: usize, kept: bool) -> Rig {
    let mut rig = Rig::new(seed);
    for n in 0..count {
        if kept {
            rig.start_kept(n)
        } else {
            rig.add(n, None)
        }
        rig.front.push(n);
    }
    rig
}

/// Two clusters that do not know of each other yet, the first of `a` nodes and the second of `b`.
fn two_clusters(seed: u64, a: usize, b: usize, kept: bool) -> Rig {
    let mut rig = Rig::new(seed);
    for n in 0..a + b {
        if kept { rig.start_kept(n) } else { rig.add(n, None) }
    }
    rig.pass(millis(100));
    for (first, others) in [(0, 1..a), (a, a + 1..a + b)] {
        for n in others {
            let ticket = Ticket(1_000_000 + n as u64);
            rig.with(n, |cluster, now| cluster.join(now, ticket, Rig::address(first), false));
            rig.pass(millis(3_000));
            assert_eq!(rig.nodes[&n].answers[&ticket.0], Ok(Done::Joined));
        }
    }
    rig.pass(millis(3_000));
    let sizes: Vec<usize> = rig.nodes.values().map(|peer| peer.cluster.members().live_count()).collect();
    assert!(sizes[..a].iter().all(|size| *size == a) && sizes[a..].iter().all(|size| *size == b), "{}", rig.describe());
    rig
}

fn all_behind_one_address(rig: &mut Rig) {
    rig.front = rig.nodes.keys().copied().collect();
}

#[test]
fn nodes_that_start_at_once_behind_one_address_become_one_cluster() {
    for seed in from()..seeds(25) {
        let mut rig = at_once(seed, 2 + (seed % 5) as usize, seed % 3 == 0);
        rig.settle_within(millis(90_000));
        work(&mut rig, millis(300));
        rig.pass(millis(200));
        rig.check_nothing_lost();
    }
}

#[test]
fn of_two_clusters_without_channels_the_smaller_gives_way() {
    for seed in from()..seeds(12) {
        let mut rig = two_clusters(seed, 2, 3, seed % 2 == 0);
        let stays = rig.nodes[&2].cluster.cluster();
        all_behind_one_address(&mut rig);
        rig.settle_within(millis(90_000));
        assert!(rig.nodes.values().all(|peer| peer.cluster.cluster() == stays), "seed {seed}: {}", rig.describe());
        assert!(rig.nodes.values().all(|peer| peer.cluster.members().iter().count() == 5));
        assert!(rig.nodes.values().all(|peer| peer.cluster.apart().is_none()));
    }
}

#[test]
fn a_cluster_without_channels_gives_way_to_a_smaller_one_that_has_some() {
    for seed in from()..seeds(12) {
        let mut rig = two_clusters(seed, 1 + (seed % 2) as usize, 3, seed % 3 == 0);
        let stays = rig.nodes[&0].cluster.cluster();
        rig.create(0);
        rig.pass(millis(100));
        all_behind_one_address(&mut rig);
        rig.settle_within(millis(120_000));
        assert!(rig.nodes.values().all(|peer| peer.cluster.cluster() == stays), "seed {seed}: {}", rig.describe());
        assert_eq!(rig.made.len(), 1);
        rig.check_nothing_lost();
    }
}

#[test]
fn two_clusters_of_several_nodes_that_both_hold_channels_stay_apart() {
    let mut rig = two_clusters(3, 2, 3, false);
    for n in [0, 2] {
        rig.create(n);
    }
    all_behind_one_address(&mut rig);
    rig.pass(millis(90_000));
    let sizes: Vec<usize> = rig.nodes.values().map(|peer| peer.cluster.members().live_count()).collect();
    assert_eq!(sizes, [2, 2, 3, 3, 3]);
    assert!(rig.nodes.values().all(|peer| peer.cluster.apart().is_some()));
}

#[test]
fn clusters_that_only_met_but_are_not_behind_one_address_stay_apart() {
    let mut rig = two_clusters(5, 2, 3, false);
    // A stranger of the one has business with the other.
    rig.with(1, |cluster, now| cluster.join(now, Ticket(9), Rig::address(2), true));
    rig.settle_two(millis(20_000));
    rig.pass(millis(60_000));
    assert_eq!(rig.nodes[&0].cluster.members().live_count(), 1, "{}", rig.describe());
    assert_eq!(rig.nodes[&2].cluster.members().live_count(), 4);
}

/// Whatever happens to the nodes meanwhile, and whoever makes channels where: nothing acknowledged is lost, and if one cluster
/// alone has channels in the end there is but one.
#[test]
fn a_channel_that_is_made_while_clusters_merge_is_kept() {
    for seed in from()..seeds(25) {
        let mut rig = two_clusters(seed, 2 + (seed % 2) as usize, 3, seed % 4 == 0);
        all_behind_one_address(&mut rig);
        let pause = rig.random.below(12_000);
        rig.pass(millis(pause));
        let n = rig.random.below(rig.nodes.len() as u64) as usize;
        let ticket = rig.create(n);
        rig.pass(millis(8_000));
        assert!(rig.told(n, ticket).is_some());
        rig.settle_within(millis(120_000));
        rig.check_nothing_lost();
    }
}

#[test]
fn leaders_that_die_and_networks_that_break_while_clusters_merge_harm_nothing() {
    for seed in from()..seeds(25) {
        let kept = seed % 3 == 0;
        let mut rig = two_clusters(seed, 3, 3, kept);
        all_behind_one_address(&mut rig);
        rig.loss_percent = seed % 3 * 5;
        let mut dead = None;
        for _ in 0..12 {
            let pause = rig.random.below(2_000);
            rig.pass(millis(pause));
            let (a, b) = (rig.random.below(6) as usize, rig.random.below(6) as usize);
            match (rig.random.below(6), dead) {
                (0, None) if rig.nodes.len() == 6 => {
                    let leader = rig.leader().unwrap_or(a);
                    rig.kill(leader);
                    dead = Some(leader);
                }
                (0, Some(n)) | (5, Some(n)) => {
                    if kept {
                        rig.start_kept(n)
                    } else {
                        rig.add(n, None)
                    }
                    dead = None;
                }
                (1, _) if a != b && rig.nodes.contains_key(&a) && rig.nodes.contains_key(&b) => rig.cut(a, b),
                (2, _) if rig.nodes.contains_key(&a) => rig.isolate(a),
                (3, _) if rig.nodes.contains_key(&a) => rig.pause(a, millis(3_000)),
                _ => rig.heal(),
            }
        }
        rig.heal();
        rig.loss_percent = 0;
        if let Some(n) = dead {
            if kept { rig.start_kept(n) } else { rig.add(n, None) }
        }
        let mut turns = 0;
        while !rig.is_whole() {
            turns += 1;
            assert!(turns < 1_500, "seed {seed}: {}", rig.describe());
            rig.pass(millis(100));
        }
        work(&mut rig, millis(300));
        rig.pass(millis(200));
        rig.check_nothing_lost();
    }
}

#[test]
fn a_node_that_was_cut_off_when_its_cluster_ended_hears_of_it() {
    for seed in from()..seeds(12) {
        let mut rig = two_clusters(seed, 3, 4, seed % 2 == 0);
        let stays = rig.nodes[&3].cluster.cluster();
        let n = rig.random.below(3) as usize;
        rig.isolate(n);
        all_behind_one_address(&mut rig);
        let gone = |rig: &Rig| rig.nodes.iter().all(|(other, peer)| *other == n || peer.cluster.cluster() == stays);
        let mut turns = 0;
        while !gone(&rig) {
            turns += 1;
            assert!(turns < 1_500, "seed {seed}: {}", rig.describe());
            rig.pass(millis(100));
        }
        rig.heal();
        rig.settle_within(millis(90_000));
        assert!(rig.nodes.values().all(|peer| peer.cluster.cluster() == stays));
    }
}

#[test]
fn a_channel_under_way_when_a_lone_node_is_let_in_elsewhere_keeps_it_where_it_is() {
    for seed in from()..seeds(25) {
        let mut rig = Rig::new(seed);
        rig.start_kept(0);
        rig.start_kept(1);
        rig.create(1);
        rig.pass(millis(200));
        // Its data directory takes a while, so that the change is made after the node has asked.
        rig.with(0, |cluster, now| cluster.join(now, Ticket(7), Rig::address(1), false));
        let pause = rig.random.below(40_000);
        rig.pass(Duration::from_micros(pause));
        let ticket = rig.create(0);
        rig.pass(millis(12_000));
        if rig.told(0, ticket) == Some(Outcome::Created) {
            let own = rig.made.iter().filter(|id| rig.nodes[&0].catalogue.get(**id).is_some()).count();
            let joined = rig.nodes[&0].answers[&7] == Ok(Done::Joined);
            assert_eq!(own, if joined { 2 } else { 1 }, "seed {seed}: {:?}", rig.nodes[&0].answers);
        }
    }
}

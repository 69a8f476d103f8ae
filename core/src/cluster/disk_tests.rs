//! Nodes that keep their log in a data directory; see [`rig`](super::rig).

use super::rig::{Rig, millis};
use super::tests::{seeds, stop_all, work};
use super::*;

/// Three nodes with data directories and seeds.
fn kept(seed: u64) -> Rig {
    let mut rig = Rig::new(seed);
    rig.config.seeds = (0..3).map(Rig::address).collect();
    rig.config.snapshot_length = 30;
    for n in 0..3 {
        rig.start_kept(n);
    }
    rig.settle_within(millis(20_000));
    rig.pass(millis(1_500));
    rig
}

#[test]
fn a_node_alone_has_every_channel_after_a_crash() {
    for seed in 0..seeds(40) {
        let mut rig = Rig::new(seed);
        rig.config.snapshot_length = 20;
        rig.start_kept(0);
        rig.settle_within(millis(1_000));
        for _ in 0..6 {
            work(&mut rig, millis(700));
            rig.kill(0);
            rig.pass(millis(50));
            rig.start_kept(0);
            let took = rig.settle_within(millis(5_000));
            assert!(took < millis(3_500));
            rig.check_nothing_lost();
        }
        let files = &rig.disks[&0].files;
        assert!(files.len() <= 6, "old files are removed: {:?}", files.keys());
    }
}

#[test]
fn a_restart_of_the_whole_cluster_brings_every_channel_back() {
    for seed in 0..seeds(20) {
        let mut rig = kept(seed);
        for _ in 0..3 {
            work(&mut rig, millis(1_500));
            for n in 0..3 {
                rig.kill(n);
            }
            rig.pass(millis(500));
            for n in 0..3 {
                rig.start_kept(n);
            }
            rig.settle_within(millis(20_000));
            rig.pass(millis(200));
            rig.check_nothing_lost();
        }
        assert_eq!(rig.founded.len(), 1);
        assert!(rig.nodes.values().all(|peer| peer.cluster.members().iter().count() == 3));
    }
}

#[test]
fn nodes_that_crash_one_by_one_come_back_as_themselves() {
    for seed in 0..seeds(15) {
        let mut rig = kept(seed);
        for _ in 0..6 {
            let n = rig.random.below(3) as usize;
            rig.kill(n);
            let pause = rig.random.below(6_000);
            work(&mut rig, millis(pause));
            rig.start_kept(n);
            rig.settle_within(millis(20_000));
            rig.check_nothing_lost();
        }
        assert!(rig.nodes.values().all(|peer| peer.cluster.members().iter().count() == 3));
    }
}

#[test]
fn a_stopped_node_stays_a_member_that_is_away() {
    let mut rig = kept(3);
    let n = rig.leader().unwrap();
    rig.with(n, |cluster, now| cluster.drain(now));
    rig.pass(millis(2_000));
    assert!(rig.nodes[&n].left);
    rig.kill(n);
    rig.settle_within(millis(3_000));
    let other = (n + 1) % 3;
    let away = rig.nodes[&other].cluster.members().iter().filter(|(_, member)| member.life.is_none()).count();
    assert_eq!((away, rig.nodes[&other].cluster.members().iter().count()), (1, 3));
    rig.start_kept(n);
    rig.settle_within(millis(6_000));
}

#[test]
fn a_disk_that_fails_ends_the_node_and_its_peers_go_on() {
    for seed in 0..seeds(10) {
        let mut rig = kept(seed);
        let n = if seed % 2 == 0 { rig.leader().unwrap() } else { rig.random.below(3) as usize };
        rig.disks.get_mut(&n).unwrap().full = true;
        let ticket = rig.create((n + 1) % 3);
        rig.pass(millis(100));
        assert_eq!(rig.nodes[&n].failed.as_deref(), Some("the data directory: the disk is full"));
        assert_eq!(rig.nodes[&n].cluster.not_ready(), Some(NotReady::Failed));
        assert!(!rig.has_lease(n), "it decides nothing any more");
        let refused = rig.create(n);
        assert_eq!(rig.told(n, refused), Some(Outcome::NoLeader));
        let _ = ticket;
        rig.kill(n);
        rig.settle_within(millis(8_000));
        work(&mut rig, millis(300));
        rig.pass(millis(300));
        rig.check_nothing_lost();
    }
}

#[test]
fn a_log_whose_durable_part_is_damaged_is_refused() {
    for seed in 0..10 {
        let mut rig = kept(seed);
        work(&mut rig, millis(300 + seed * 100));
        rig.kill(1);
        check_damage(&rig);
    }
}

fn check_damage(rig: &Rig) {
    let files = &rig.disks[&1].files;
    let segment = files.keys().rfind(|file| matches!(file, FileName::Segment(_))).copied().unwrap();
    let stored = |damage: bool| {
        let bytes = |file: &FileName, bytes: &Vec<u8>| {
            let mut bytes = bytes.clone();
            if damage && *file == segment {
                bytes[100] ^= 1;
            }
            (*file, Bytes::from(bytes))
        };
        Some(files.iter().map(|(file, content)| bytes(file, content)).collect::<Vec<_>>())
    };
    let start = |stored| Start { random: Random::from_key([3; 32]), address: None, port: 1, stored, founders: None };
    let config = Arc::new(rig.config.clone());
    assert!(Cluster::new(&config, start(stored(false)), Time::ZERO).is_ok());
    let error = Cluster::new(&config, start(stored(true)), Time::ZERO).unwrap_err().to_string();
    assert!(error.starts_with("WRS_DATA_DIR: the log: "), "{error}");
}

#[test]
fn an_operator_lets_a_survivor_with_a_data_directory_go_on() {
    let mut rig = kept(8);
    work(&mut rig, millis(800));
    rig.pass(millis(200));
    rig.kill(0);
    rig.kill(1);
    rig.pass(millis(4_000));
    rig.with(2, |cluster, now| cluster.recover(now, Ticket(1)));
    rig.pass(millis(4_000));
    assert!(matches!(rig.nodes[&2].answers[&1], Ok(Done::Recovered { .. })));
    work(&mut rig, millis(300));
    rig.pass(millis(100));
    rig.kill(2);
    rig.pass(millis(100));
    rig.start_kept(2);
    rig.pass(millis(5_000));
    assert!(rig.has_lease(2), "{}", rig.describe());
    rig.check_nothing_lost();
}

#[test]
fn a_node_that_was_removed_while_it_was_away_learns_it_and_begins_anew() {
    let mut rig = kept(4);
    let n = (rig.leader().unwrap() + 1) % 3;
    let node = rig.nodes[&n].cluster.node();
    rig.kill(n);
    rig.settle_within(millis(5_000));
    let leader = rig.leader().unwrap();
    rig.with(leader, |cluster, now| cluster.remove(now, Ticket(1), node));
    rig.pass(millis(3_000));
    assert_eq!(rig.nodes[&leader].answers[&1], Ok(Done::Removed));
    rig.start_kept(n);
    rig.pass(millis(4_000));
    rig.settle_within(millis(20_000));
    assert_ne!(rig.nodes[&n].cluster.node(), node, "it has joined as another");
    rig.check_nothing_lost();
}

#[test]
fn a_node_that_comes_back_before_it_was_let_go_stays_a_member() {
    for seed in 0..seeds(10) {
        let mut rig = kept(seed);
        let n = seed as usize % 3;
        let node = rig.nodes[&n].cluster.node();
        rig.with(n, |cluster, now| cluster.drain(now));
        let pause = rig.random.below(400);
        rig.pass(millis(pause));
        rig.kill(n);
        rig.start_kept(n);
        rig.settle_within(millis(20_000));
        assert_eq!(rig.nodes[&n].cluster.node(), node);
        rig.check_nothing_lost();
    }
}

#[test]
fn nodes_with_a_disk_that_stop_together_come_back_with_all_they_had() {
    for seed in 0..seeds(12) {
        let mut rig = kept(seed);
        work(&mut rig, millis(1_000));
        let took = stop_all(&mut rig, [0, 5, 300][seed as usize % 3]);
        assert!(took < millis(5_000), "seed {seed}: {took:?}");
        for n in 0..3 {
            rig.start_kept(n);
        }
        rig.settle_within(millis(20_000));
        rig.pass(millis(200));
        rig.check_nothing_lost();
        assert!(rig.nodes.values().all(|peer| peer.cluster.members().iter().count() == 3));
    }
}

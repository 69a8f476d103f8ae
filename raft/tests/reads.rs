//! Reads, leases, transfer of leadership, and snapshots in the log: one test for each bug of this kind that other libraries
//! shipped, under its id in the study.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub, dead_code)]

#[path = "common/group.rs"]
mod group;

use core::time::Duration;

use group::*;
use wrs_raft::*;

fn read(token: u64) -> Input {
    Input::Read { token: ReadToken(token) }
}

/// The reads that a node was told of, and their index; `None` for those that failed.
fn reads(group: &mut Group, number: u64) -> Vec<(u64, Option<Index>)> {
    let told = group.node(number).events.iter().filter_map(|action| match action {
        Action::ReadReady { token, index } => Some((token.0, Some(*index))),
        Action::ReadFailed { token, .. } => Some((token.0, None)),
        _ => None,
    });
    told.collect()
}

/// A leader that has committed nothing in its term cannot know what was committed before it.
#[test]
fn l1_a_read_waits_for_the_first_commit_of_the_term() {
    let mut group = Group::new(3);
    let _ = group.step(1, Input::Campaign);
    while group.status(1).role != Role::Leader {
        let message = group.mail.pop_front().unwrap();
        let _ = group.deliver(message);
    }
    group.step(1, read(1)).unwrap();
    assert_eq!(reads(&mut group, 1), []);
    group.settle();
    assert_eq!(reads(&mut group, 1), [(1, Some(2))]);
}

/// In a group of one too: what it acknowledged before a restart may be beyond the commit index that it remembers.
#[test]
fn l1_a_lonely_leader_waits_too() {
    let mut group = Group::led(1);
    group.propose(1, "x").unwrap();
    group.node(1).disk.boot.hard.commit = 1;
    group.restart(1);
    group.node(1).auto_sync = false;
    let _ = group.step(1, Input::Campaign);
    group.sync(1);
    assert_eq!(group.status(1).role, Role::Leader);
    group.step(1, read(1)).unwrap();
    assert_eq!(reads(&mut group, 1), []);
    group.sync(1);
    assert_eq!(reads(&mut group, 1), [(1, Some(4))]);
}

/// A late echo of a heartbeat confirms no read that came after that heartbeat, also where a caller uses a token twice.
#[test]
fn l2_a_late_echo_confirms_no_later_read() {
    let mut group = Group::led(3);
    group.pass(HEARTBEAT);
    group.step(1, read(7)).unwrap();
    let beats: Vec<Message> = group.mail.drain(..).filter(|m| matches!(m.body, Body::Heartbeat { .. })).collect();
    let mut echoes = Vec::new();
    for beat in beats {
        group.deliver(beat).unwrap();
        echoes.extend(group.mail.drain(..));
    }
    assert_eq!(echoes.len(), 2);
    group.deliver(echoes[0].clone()).unwrap();
    assert_eq!(reads(&mut group, 1), [(7, Some(2))]);
    // The same token again, and the late echo, and the first one once more.
    group.isolate(1);
    group.step(1, read(7)).unwrap();
    group.settle();
    group.heal();
    for echo in [echoes[1].clone(), echoes[0].clone()] {
        group.deliver(echo).unwrap();
    }
    assert_eq!(reads(&mut group, 1).len(), 1, "no quorum was asked since the second read");
    group.pass(HEARTBEAT);
    assert_eq!(reads(&mut group, 1).len(), 2);
}

/// Reads that come together cost one round, and a follower's reads go through the leader.
#[test]
fn reads_share_a_round_and_followers_may_ask() {
    let mut group = Group::led(3);
    let now = group.now;
    for token in 0..100 {
        group.node(1).raft.step(now, read(token)).unwrap();
    }
    group.flush(1);
    assert_eq!(group.mail.len(), 2);
    group.step(2, read(500)).unwrap();
    group.settle();
    assert_eq!(reads(&mut group, 1).len(), 100);
    assert_eq!(reads(&mut group, 2), [(500, Some(2))]);
}

/// An answer to a read from before a restart is not taken for one to a read after it.
#[test]
fn l2_an_answer_from_an_earlier_life_is_ignored() {
    let mut group = Group::led(3);
    group.step(2, read(1)).unwrap();
    group.settle();
    let asked = |group: &mut Group| match group.take(|m| matches!(m.body, Body::Read { .. })).unwrap().body {
        Body::Read { number } => number,
        body => panic!("{body:?}"),
    };
    group.step(2, read(2)).unwrap();
    let before = asked(&mut group);
    group.restart_as(2, |c| Config { seed: c.seed + 100, ..c });
    group.pass(HEARTBEAT * 2);
    group.step(2, read(3)).unwrap();
    let after = asked(&mut group);
    assert_ne!(before, after);
    let term = group.status(2).term;
    let late = group.message(1, 2, term, Body::ReadReply { number: before, index: Some(1) });
    assert_eq!(group.step(2, Input::Receive(late)), Err(Ignored::NotNow));
    assert_eq!(reads(&mut group, 2), []);
}

/// The fate of every read is told: when leadership ends, when the leader does not answer, when there is none.
#[test]
fn reads_that_cannot_be_served_fail() {
    let mut group = Group::led(3);
    group.isolate(1);
    group.step(1, read(1)).unwrap();
    group.step(2, read(2)).unwrap();
    group.pass(ELECTION * 3);
    assert_eq!(reads(&mut group, 1), [(1, None)]);
    assert_eq!(reads(&mut group, 2), [(2, None)]);
    let mut lonely = Group::new(3);
    assert_eq!(lonely.step(1, read(3)), Err(Ignored::NotNow));
    assert_eq!(reads(&mut lonely, 1), [(3, None)]);
}

/// A read that waited for voters who are gone is confirmed by those who remain, be it the leader alone.
#[test]
fn a_read_does_not_wait_for_voters_who_were_removed() {
    let mut group = Group::led(2);
    group.node(1).auto_apply = false;
    group.change(1, ChangeKind::Remove, 2).unwrap();
    group.settle();
    group.isolate(2);
    group.step(1, read(1)).unwrap();
    assert_eq!(reads(&mut group, 1), []);
    let now = group.now;
    let index = group.status(1).applying;
    // The second read comes in the same turn as the change, before any round was sent for it.
    group.node(1).raft.step(now, read(2)).unwrap();
    group.step(1, Input::Applied { index }).unwrap();
    assert_eq!(reads(&mut group, 1), [(1, Some(index)), (2, Some(index))]);
}

/// A deposed leader that does not know it serves no stale read.
#[test]
fn a_deposed_leader_confirms_no_read() {
    let mut group = Group::with(3, |c| Config { check_quorum: c.id != id(1), ..c });
    group.lead(1);
    group.isolate(1);
    group.pass(ELECTION * 5);
    let leader = group.leaders().into_iter().find(|leader| *leader != 1).unwrap();
    group.propose(leader, "new").unwrap();
    group.settle();
    assert_eq!(group.status(1).role, Role::Leader);
    group.step(1, read(1)).unwrap();
    group.pass(ELECTION);
    assert_eq!(reads(&mut group, 1), []);
    group.heal();
    group.pass(ELECTION);
    assert_eq!(reads(&mut group, 1), [(1, None)]);
}

fn leased() -> Group {
    let mut group = Group::with(3, |c| Config { reads: ReadMode::Lease { drift_ppm_max: 500 }, ..c });
    group.pass(ELECTION * 5);
    let leader = group.leaders()[0];
    if leader != 1 {
        group.step(leader, Input::TransferLeader { to: id(1) }).unwrap();
        group.pass(ELECTION);
    }
    assert_eq!(group.leaders(), [1]);
    group.pass(ELECTION);
    group
}

/// The lease counts from the sending of the heartbeat that was answered, and ends before another can be elected.
#[test]
fn l3_a_lease_ends_before_another_leader_can_be_elected() {
    let mut group = leased();
    group.step(1, read(1)).unwrap();
    assert_eq!(reads(&mut group, 1).len(), 1, "served without a round");
    group.mail.clear();
    group.isolate(1);
    let (mut served, begin) = (1, group.now);
    let mut token = 2;
    while !group.leaders().iter().any(|leader| *leader != 1) {
        group.pass(Duration::from_millis(5));
        let elected = group.leaders().iter().any(|leader| *leader != 1);
        let _ = group.step(1, read(token));
        token += 1;
        let now = reads(&mut group, 1).iter().filter(|(_, index)| index.is_some()).count();
        assert!(!elected || now == served, "served beside another leader");
        served = now;
    }
    assert!(served > 50, "{served} reads in {:?}", group.now.since(begin));
}

/// A node that has just started may have promised before: it elects no one for an election timeout.
#[test]
fn l3_a_restarted_node_keeps_the_promise_it_may_have_made() {
    let mut group = leased();
    group.restart(2);
    let term = group.status(2).term + 1;
    for body in [
        Body::Vote { last_index: 99, last_term: 9, transfer: false, committed: EntryId::default() },
        Body::PreVote { last_index: 99, last_term: 9, committed: EntryId::default() },
    ] {
        let vote = group.message(3, 2, term, body);
        assert_eq!(group.step(2, Input::Receive(vote)), Err(Ignored::LeaderAlive));
    }
    assert_eq!(group.step(2, Input::Campaign), Err(Ignored::LeaderAlive));
}

/// From the moment that leadership is offered to another, no lease holds: reads ask a quorum again.
#[test]
fn l3_a_transfer_revokes_the_lease() {
    let mut group = leased();
    group.isolate(1);
    group.step(1, Input::TransferLeader { to: id(2) }).unwrap();
    group.step(1, read(1)).unwrap();
    assert_eq!(reads(&mut group, 1).len(), 0);
    group.settle();
    group.heal();
    group.pass(HEARTBEAT * 12);
    assert_eq!(group.leaders(), [1], "the offer was lost");
    let before = reads(&mut group, 1).len();
    group.step(1, read(2)).unwrap();
    assert_eq!(reads(&mut group, 1).len(), before, "the offer may still arrive");
    group.settle();
    assert_eq!(reads(&mut group, 1).len(), before + 1);
}

/// A follower with leases does not forget its leader, nor is a lease configured without what it rests on.
#[test]
fn l3_leases_need_their_ground() {
    let mut group = leased();
    assert_eq!(group.step(2, Input::ForgetLeader), Err(Ignored::NotNow));
    let reads = ReadMode::Lease { drift_ppm_max: 0 };
    let config = Config { reads, check_quorum: false, ..config(1) };
    assert_eq!(config.check(), Err(ConfigError::LeaseWithoutCheckQuorum));
}

/// A transfer takes no proposals, passes by pre-vote and the old leader's claim, and is quick.
#[test]
fn l4_leadership_is_handed_over_at_once() {
    let mut group = Group::led(3);
    group.step(1, Input::TransferLeader { to: id(3) }).unwrap();
    assert_eq!(group.propose(1, "x"), Err(Ignored::Proposal(DropReason::Transferring { to: id(3) })));
    group.settle();
    assert_eq!(group.leaders(), [3], "no time has passed");
}

/// A target that is behind is brought up first.
#[test]
fn l4_the_target_is_caught_up_first() {
    let mut group = Group::led(3);
    group.isolate(3);
    for _ in 0..5 {
        group.propose(1, "x").unwrap();
    }
    group.settle();
    group.step(1, Input::TransferLeader { to: id(3) }).unwrap();
    assert!(!group.mail.iter().any(|message| message.body == Body::TimeoutNow));
    group.heal();
    group.pass(HEARTBEAT * 2);
    assert_eq!(group.leaders(), [3]);
    assert_eq!(group.payloads(3).len(), 5);
}

/// A transfer that does not happen is given up after an election timeout.
#[test]
fn l4_a_transfer_ends_in_time() {
    let mut group = Group::led(3);
    group.isolate(3);
    group.step(1, Input::TransferLeader { to: id(3) }).unwrap();
    group.pass(ELECTION + HEARTBEAT);
    assert_eq!(group.status(1).transferring_to, None);
    group.propose(1, "x").unwrap();
    group.settle();
    assert_eq!(group.payloads(1), ["x"]);
}

/// A snapshot whose last entry conflicts with the log replaces all of it.
#[test]
fn s1_a_snapshot_over_a_conflicting_tail_discards_the_log() {
    let mut group = Group::new(3);
    let mut boot = Boot::found(ids(1..=3));
    boot.hard.term = 2;
    boot.entries = (2..=9).map(|index| Entry { term: 2, index, ..Entry::default() }).collect();
    group.add(config(3), boot);
    let meta = Box::new(SnapshotMeta { index: 5, term: 3, conf: Conf::of_voters(ids(1..=3)) });
    let snapshot = group.message(1, 3, 3, Body::Snapshot { meta });
    group.deliver(snapshot).unwrap();
    let status = group.status(3);
    assert_eq!((status.first_index, status.last_index, status.commit, status.applied), (6, 5, 5, 5));
    assert_eq!(group.mail.pop_front().unwrap().body, Body::Appended { index: 5 });
}

/// One that fits the log keeps what follows it.
#[test]
fn s1_a_snapshot_that_fits_the_log_keeps_the_tail() {
    let mut group = Group::new(3);
    let mut boot = Boot::found(ids(1..=3));
    boot.hard.term = 2;
    boot.entries = (2..=9).map(|index| Entry { term: 2, index, ..Entry::default() }).collect();
    group.add(config(3), boot);
    let meta = Box::new(SnapshotMeta { index: 5, term: 2, conf: Conf::of_voters(ids(1..=3)) });
    let snapshot = group.message(1, 3, 3, Body::Snapshot { meta });
    group.deliver(snapshot).unwrap();
    assert_eq!((group.status(3).last_index, group.status(3).commit), (9, 5));
}

/// A snapshot at the leader's very last index leaves the follower replicating.
#[test]
fn s2_a_snapshot_at_the_last_index_resumes_replication() {
    let mut group = Group::led(3);
    group.isolate(3);
    group.propose(1, "x").unwrap();
    group.settle();
    let applied = group.status(1).applied;
    let meta = group.node(1).raft.snapshot_meta(applied).unwrap();
    group.step(1, Input::SnapshotTaken { meta }).unwrap();
    assert_eq!(group.status(1).first_index, applied + 1);
    group.heal();
    group.pass(HEARTBEAT * 3);
    let peer = group.status(1).progress.get(id(3)).unwrap().clone();
    assert_eq!((peer.state, peer.matched), (ProgressState::Replicate, applied));
    group.propose(1, "y").unwrap();
    group.settle();
    assert_eq!(group.payloads(3), ["y"]);
}

/// A late snapshot takes nothing back, and one that contradicts a committed entry ends the node.
#[test]
fn s3_a_stale_snapshot_takes_nothing_back() {
    let mut group = Group::led(3);
    for _ in 0..5 {
        group.propose(1, "x").unwrap();
    }
    group.settle();
    let before = group.status(3);
    let conf = Conf::of_voters(ids(1..=3));
    let meta = Box::new(SnapshotMeta { index: 4, term: 2, conf: conf.clone() });
    let stale = group.message(1, 3, before.term, Body::Snapshot { meta });
    group.deliver(stale).unwrap();
    assert_eq!((group.status(3).applied, group.status(3).last_index), (before.applied, before.last_index));
    let meta = Box::new(SnapshotMeta { index: 4, term: 1, conf });
    let other = group.message(1, 3, before.term, Body::Snapshot { meta });
    group.deliver(other).unwrap();
    assert_eq!(group.node(3).raft.fatal(), Some(Fatal::Diverged { index: 4 }));
}

/// A snapshot that arrives while entries are being applied: late reports harm nothing, and nothing is applied before it is durable.
#[test]
fn s3_a_snapshot_and_an_application_under_way_do_not_race() {
    let mut group = Group::led(3);
    group.node(3).auto_apply = false;
    group.propose(1, "x").unwrap();
    group.settle();
    group.pass(HEARTBEAT);
    group.node(3).auto_sync = false;
    let (term, handed) = (group.status(3).term, group.status(3).applying);
    let meta = Box::new(SnapshotMeta { index: 20, term, conf: Conf::of_voters(ids(1..=3)) });
    let snapshot = group.message(1, 3, term, Body::Snapshot { meta });
    group.mail.clear();
    group.deliver(snapshot).unwrap();
    assert!(group.mail.is_empty(), "not durable yet");
    assert_eq!(group.step(3, Input::Campaign), Err(Ignored::NotNow));
    group.step(3, Input::Applied { index: handed }).unwrap();
    assert_eq!(group.status(3).applied, handed);
    group.sync(3);
    assert_eq!((group.status(3).applied, group.node(3).raft.fatal()), (20, None));
    assert_eq!(group.step(3, Input::Applied { index: handed }), Err(Ignored::NotNow));
}

/// A snapshot that could not be brought over is tried again.
#[test]
fn a_failed_snapshot_is_tried_again() {
    let mut group = Group::led(3);
    group.isolate(3);
    for _ in 0..3 {
        group.propose(1, "x").unwrap();
    }
    group.settle();
    let applied = group.status(1).applied;
    let meta = group.node(1).raft.snapshot_meta(applied).unwrap();
    group.step(1, Input::SnapshotTaken { meta }).unwrap();
    group.heal();
    group.node(1).snapshots_arrive = false;
    group.pass(HEARTBEAT * 10);
    let offers = |group: &mut Group| {
        group.node(1).events.iter().filter(|action| matches!(action, Action::SendSnapshot { .. })).count()
    };
    let failed = offers(&mut group);
    assert!((3..=10).contains(&failed), "{failed} offers in ten heartbeats");
    group.node(1).snapshots_arrive = true;
    group.pass(HEARTBEAT * 3);
    assert_eq!(offers(&mut group), failed + 1);
    assert_eq!(group.status(3).commit, group.status(1).commit);
}

/// Reports that the driver cannot have meant end the machine with a name for it.
#[test]
fn a_driver_that_reports_what_was_not_handed_out_is_told() {
    for input in
        [Input::Applied { index: 99 }, Input::Persisted { record: RecordId(99) }, Input::Activate { index: 99 }]
    {
        let mut group = Group::led(1);
        group.step(1, input).unwrap();
        assert_eq!(group.node(1).raft.fatal(), Some(Fatal::Driver { reported: 99 }));
    }
}

/// What a leader may grant to others rests on the same promise as its own reads.
#[test]
fn l3_a_leader_tells_until_when_no_other_can_be_elected() {
    let mut group = leased();
    let timeout = group.node(1).raft.config().election_timeout;
    let at = group.now;
    group.pass(Duration::from_millis(350));
    let until = group.node(1).raft.lease_until().unwrap();
    assert!(until > at && until <= group.now + timeout.mul_f64(0.999));
    assert_eq!(group.node(2).raft.lease_until(), None, "it does not lead");
    group.isolate(1);
    group.pass(Duration::from_millis(300));
    assert_eq!(group.node(1).raft.lease_until(), Some(until), "nobody answers any more");
    group.heal();
    group.pass(Duration::from_millis(300));
    group.step(1, Input::TransferLeader { to: id(2) }).unwrap();
    assert_eq!(group.node(1).raft.lease_until(), None, "it hands leadership over");

    let mut alone = Group::with(1, |c| Config { reads: ReadMode::Lease { drift_ppm_max: 500 }, ..c });
    let _ = alone.step(1, Input::Campaign);
    alone.settle();
    assert_eq!(alone.status(1).role, Role::Leader, "the only voter has promised nobody anything");
    assert_eq!(alone.node(1).raft.lease_until(), Some(Time::MAX));
}

/// The silence after which a follower asks for an election lies between the two settings.
#[test]
fn an_election_timeout_is_drawn_from_its_range() {
    let settings = |c: Config| Config { election_timeout_max: Some(c.election_timeout.mul_f64(1.25)), ..c };
    for seed in 0..50 {
        let group = Group::with(3, |c| settings(Config { seed, ..c }));
        let after = group.nodes[&id(1)].raft.deadline().unwrap().since(Time::ZERO);
        assert!((Duration::from_millis(1000)..=Duration::from_millis(1250)).contains(&after), "{after:?}");
    }
    let wrong = Config { election_timeout_max: Some(Duration::from_millis(1)), ..config(1) };
    assert_eq!(wrong.check(), Err(ConfigError::Timeouts));
}

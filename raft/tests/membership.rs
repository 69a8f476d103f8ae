//! Membership: one test for each bug of this kind that other libraries shipped, under its id in the study.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub, dead_code)]

#[path = "common/group.rs"]
mod group;

use bytes::Bytes;
use group::*;
use proptest::prelude::*;
use wrs_raft::*;

fn refused(refusal: ConfRefusal) -> Result<(), Ignored> {
    Err(Ignored::Proposal(DropReason::Conf(refusal)))
}

/// Ongaro's counter-example of 2015: two leaders must not each change the membership from the same beginning. A new leader
/// proposes no change before it has committed, and applied, an entry of its own term.
#[test]
fn m1_no_change_before_an_entry_of_the_leaders_term_is_committed() {
    let mut group = Group::led(3);
    // An entry of the old leader is everywhere and committed nowhere: it might have been a change.
    group.cut.extend([(id(2), id(1)), (id(3), id(1))]);
    group.propose(1, "x").unwrap();
    group.settle();
    group.isolate(1);
    for number in [2, 3] {
        group.step(number, Input::ForgetLeader).unwrap();
    }
    let _ = group.step(2, Input::Campaign);
    while group.status(2).role != Role::Leader {
        let message = group.mail.pop_front().unwrap();
        let _ = group.deliver(message);
    }
    group.mail.clear();
    assert_eq!(group.change(2, ChangeKind::Remove, 1), refused(ConfRefusal::Pending { until: 3 }));
    assert!(!group.status(2).conf_settled);
    group.pass(HEARTBEAT * 3);
    group.change(2, ChangeKind::Remove, 1).unwrap();
    group.settle();
    assert_eq!(group.status(3).conf.voters, ids([2, 3]));
}

/// One change at a time: the next waits until the one before is applied.
#[test]
fn m1_one_change_at_a_time() {
    let mut group = Group::led(3);
    group.change(1, ChangeKind::AddLearner, 4).unwrap();
    let until = group.status(1).last_index;
    assert_eq!(group.change(1, ChangeKind::AddLearner, 5), refused(ConfRefusal::Pending { until }));
    group.settle();
    group.change(1, ChangeKind::AddLearner, 5).unwrap();
}

/// The reproduction of the study: a node that has acknowledged a second change knows, over a crash, that the first one is
/// committed, and so does not campaign under the configuration before it.
#[test]
fn m2_a_restarted_node_does_not_campaign_under_a_configuration_two_changes_old() {
    let mut group = Group::led(3);
    group.node(2).auto_apply = false;
    group.isolate(3);
    group.change(1, ChangeKind::Remove, 3).unwrap();
    group.settle();
    let first = group.status(1).last_index;
    group.propose(1, "x").unwrap();
    group.settle();
    group.change(1, ChangeKind::Remove, 2).unwrap();
    group.settle();
    assert_eq!(group.status(1).conf, Conf::of_voters(ids([1])));
    assert!(group.status(2).last_index > first);
    // Node 2 comes back with what is durable: it must know of the first change.
    group.restart(2);
    group.node(2).auto_apply = false;
    group.heal();
    group.isolate(1);
    assert!(group.status(2).commit >= first, "the commit index is durable with the entries that it came with");
    assert_eq!(group.step(2, Input::Campaign), Err(Ignored::NotNow));
    group.propose(1, "y").unwrap();
    group.pass(ELECTION * 10);
    assert_eq!(group.leaders(), [1]);
}

/// Every record that holds entries knows the commit index that they came with.
#[test]
fn m2_the_commit_index_is_in_the_record_of_the_entries_it_came_with() {
    let mut group = Group::new(3);
    group.node(2).auto_sync = false;
    let entry = |index| Entry { term: 2, index, ..Entry::default() };
    let body = Body::Append { prev_index: 1, prev_term: 1, commit: 2, entries: vec![entry(2), entry(3)].into() };
    let message = group.message(1, 2, 2, body);
    group.deliver(message).unwrap();
    let record = group.node(2).disk.queue.back().unwrap();
    assert_eq!((record.entries.len(), record.hard.unwrap().commit), (2, 2));
}

fn joint(changes: &[(ChangeKind, u64)], transition: Transition) -> Input {
    let changes = changes.iter().map(|(kind, node)| Change::new(*kind, id(*node))).collect();
    Input::ProposeConf { ticket: Ticket(0), change: ConfChange { transition, changes, context: Bytes::new() } }
}

/// A joint configuration that wants to be left is left by the next leader where the first one could not.
#[test]
fn m3_auto_leave_survives_a_change_of_leader() {
    let mut group = Group::led(3);
    let change = joint(&[(ChangeKind::Remove, 1), (ChangeKind::AddLearner, 4)], Transition::JointImplicit);
    group.node(1).auto_apply = false;
    group.step(1, change).unwrap();
    group.settle();
    group.pass(HEARTBEAT * 2);
    assert!(group.status(2).conf.is_joint() && !group.status(1).conf.is_joint());
    group.isolate(1);
    group.pass(ELECTION * 10);
    let leaders: Vec<u64> = group.leaders().into_iter().filter(|leader| *leader != 1).collect();
    assert_eq!(leaders.len(), 1);
    assert!((2..=3).all(|n| group.status(n).conf.voters == ids([2, 3]) && !group.status(n).conf.is_joint()));
}

/// A second entry that leaves a configuration already left is ignored by all nodes alike, and stops none.
#[test]
fn m3_a_doubled_leave_is_ignored() {
    let mut group = Group::with(3, |c| Config { skip_conf_validation: true, ..c });
    group.lead(1);
    group.step(1, joint(&[(ChangeKind::AddLearner, 4)], Transition::JointExplicit)).unwrap();
    group.settle();
    for _ in 0..2 {
        group.step(1, joint(&[], Transition::Auto)).unwrap();
    }
    group.settle();
    group.pass(HEARTBEAT * 2);
    for number in 1..=3 {
        assert_eq!(group.node(number).raft.fatal(), None);
        assert_eq!(group.status(number).conf.learners, ids([4]));
        let refused = |action: &Action| matches!(action, Action::Configured { refused: Some(ConfError::NotJoint), .. });
        assert_eq!(group.node(number).events.iter().filter(|action| refused(action)).count(), 1);
    }
    group.propose(1, "x").unwrap();
}

/// A learner that was promoted and does not know it yet votes.
#[test]
fn m4_a_learner_votes_when_asked() {
    let mut group = Group::led(2);
    group.join(3);
    group.change(1, ChangeKind::AddLearner, 3).unwrap();
    group.pass(HEARTBEAT * 3);
    assert_eq!(group.status(3).conf.learners, ids([3]));
    let vote = Body::Vote { last_index: 99, last_term: 9, transfer: true, committed: EntryId::default() };
    let vote = group.message(2, 3, 9, vote);
    group.deliver(vote).unwrap();
    assert_eq!(group.mail.pop_front().unwrap().body, Body::VoteReply { granted: true });
}

/// A learner never campaigns: not in time, not by hand, not by a word of the leader.
#[test]
fn m4_a_learner_never_campaigns() {
    let mut group = Group::led(2);
    group.join(3);
    group.change(1, ChangeKind::AddLearner, 3).unwrap();
    group.pass(HEARTBEAT * 3);
    assert_eq!(group.step(3, Input::Campaign), Err(Ignored::NotNow));
    let now = group.message(1, 3, group.status(3).term, Body::TimeoutNow);
    assert_eq!(group.deliver(now), Err(Ignored::NotNow));
    assert_eq!(group.step(1, Input::TransferLeader { to: id(3) }), Err(Ignored::NotNow));
    group.isolate(3);
    group.pass(ELECTION * 10);
    assert_eq!((group.status(3).role, group.node(3).raft.deadline()), (Role::Follower, None));
}

/// A snapshot carries the configuration as of its index, not a later one.
#[test]
fn m5_a_snapshot_has_the_configuration_of_its_index() {
    let mut group = Group::led(3);
    let before = group.status(1).applied;
    group.change(1, ChangeKind::AddLearner, 4).unwrap();
    group.settle();
    let after = group.status(1).applied;
    let conf = |group: &mut Group, index| group.node(1).raft.snapshot_meta(index).unwrap().conf;
    assert_eq!(conf(&mut group, before).learners, []);
    assert_eq!(conf(&mut group, after).learners, ids([4]));
    // What does not say so is refused.
    let wrong =
        Box::new(SnapshotMeta { conf: conf(&mut group, after), ..*group.node(1).raft.snapshot_meta(before).unwrap() });
    assert_eq!(group.step(1, Input::SnapshotTaken { meta: wrong }), Err(Ignored::Malformed));
}

/// Installing a snapshot drops configurations that came after it in the log it replaces.
#[test]
fn m5_a_snapshot_drops_later_configurations() {
    let mut group = Group::led(3);
    group.isolate(1);
    group.change(1, ChangeKind::Remove, 2).unwrap();
    let term = group.status(1).term + 1;
    let meta = Box::new(SnapshotMeta { index: 9, term, conf: Conf::of_voters(ids(1..=3)) });
    let snapshot = group.message(2, 1, term, Body::Snapshot { meta });
    group.step(1, Input::Receive(snapshot)).unwrap();
    assert_eq!((group.status(1).last_index, group.status(1).applied), (9, 9));
    assert_eq!(group.status(1).conf, Conf::of_voters(ids(1..=3)));
    assert_eq!(group.node(1).raft.snapshot_meta(9).unwrap().conf, Conf::of_voters(ids(1..=3)));
    let told = Action::Dropped { ticket: Ticket(0), reason: DropReason::Unknown };
    assert!(group.node(1).events.contains(&told));
}

/// A node that was once the whole group, lost its disk and was added anew, does not live through the time when it was: a
/// snapshot from then would make it a leader by its own vote. Found by the simulator.
#[test]
fn r5_a_node_added_anew_takes_no_snapshot_from_its_earlier_stay() {
    let mut group = Group::led(3);
    group.join(4);
    let meta = Box::new(SnapshotMeta { index: 5, term: 2, conf: Conf::of_voters(ids([4])) });
    let session = 9;
    let old = Message { session, ..group.message(1, 4, 2, Body::Snapshot { meta }) };
    assert_eq!(group.step(4, Input::Receive(old)), Err(Ignored::OtherSession));
    group.isolate(4);
    group.pass(ELECTION * 10);
    assert_eq!((group.leaders(), group.status(4).last_index), (vec![1], 0));
}

/// A restarted node campaigns although its log holds changes that are long in force.
#[test]
fn a_restarted_node_campaigns_when_its_changes_are_in_force() {
    let mut group = Group::led(1);
    group.change(1, ChangeKind::AddLearner, 2).unwrap();
    group.settle();
    let applied = group.status(1).applied;
    let boot = Boot { applied, ..group.node(1).disk.boot.clone() };
    group.add(config(1), boot);
    assert_eq!(group.status(1).conf.learners, ids([2]));
    group.pass(ELECTION * 5);
    assert_eq!(group.leaders(), [1]);
}

/// A snapshot whose configuration does not have this node is taken, and the node does not campaign: the change that adds it, or
/// brings it back, may follow.
#[test]
fn m5_a_snapshot_without_this_node_does_no_harm() {
    let mut group = Group::led(3);
    let meta = Box::new(SnapshotMeta { index: 9, term: 2, conf: Conf::of_voters(ids([1, 2])) });
    let snapshot = group.message(1, 3, group.status(3).term, Body::Snapshot { meta });
    group.deliver(snapshot).unwrap();
    assert_eq!((group.status(3).last_index, group.node(3).raft.deadline()), (9, None));
    assert_eq!(group.step(3, Input::Campaign), Err(Ignored::NotNow));
}

/// The leader of two removes itself: it commits that, steps down, and the other leads alone.
#[test]
fn m6_the_leader_of_two_can_remove_itself() {
    let mut group = Group::led(2);
    group.change(1, ChangeKind::Remove, 1).unwrap();
    group.settle();
    assert_eq!((group.status(1).role, group.status(1).leader), (Role::Follower, None));
    assert_eq!(group.node(1).raft.deadline(), None, "it never campaigns again");
    group.pass(ELECTION * 10);
    assert_eq!((group.leaders(), group.status(2).conf.voters.clone()), (vec![2], ids([2])));
    group.propose(2, "x").unwrap();
    group.settle();
    assert_eq!(group.payloads(2), ["x"]);
}

/// A node that was removed and holds a longer log than who remains grants no vote, but tells that its removal is committed: then
/// nobody needs its vote. Found by the simulator.
#[test]
fn m6_a_removed_node_does_not_lock_the_group() {
    let mut group = Group::led(2);
    group.change(1, ChangeKind::Remove, 1).unwrap();
    // Node 2 holds the change and node 1 more behind it; that the change is committed does not reach node 2.
    group.propose(1, "tail").unwrap();
    let change = group.take(|m| matches!(&m.body, Body::Append { entries, .. } if entries.len() == 1)).unwrap();
    group.deliver(change).unwrap();
    let answer = group.take(|m| m.to == id(1) && matches!(m.body, Body::Appended { .. })).unwrap();
    group.mail.clear();
    group.deliver(answer).unwrap();
    group.mail.clear();
    assert!(group.status(1).last_index > group.status(2).last_index);
    assert_eq!((group.status(1).conf.voters.clone(), group.status(2).conf.voters.len()), (ids([2]), 2));
    group.pass(ELECTION * 10);
    assert_eq!((group.leaders(), group.status(2).conf.voters.clone()), (vec![2], ids([2])));
}

/// A candidate that learns in the middle of its election that it was removed does not go on to win it. Found by the simulator.
#[test]
fn m6_a_candidate_that_learns_of_its_removal_does_not_lead() {
    let mut group = Group::with(3, |c| Config { pre_vote: false, ..c });
    group.lead(1);
    group.cut.insert((id(1), id(3)));
    group.change(1, ChangeKind::Remove, 3).unwrap();
    group.settle();
    let entry = group.node(1).raft.log().entry(3).unwrap().clone();
    // Node 3 holds the change, does not know that it is committed, and campaigns.
    let body = Body::Append { prev_index: 2, prev_term: 2, commit: 2, entries: vec![entry].into() };
    let append = group.message(1, 3, 2, body);
    group.step(3, Input::Receive(append)).unwrap();
    let _ = group.step(3, Input::Campaign);
    let term = group.status(3).term;
    assert_eq!(group.status(3).role, Role::Candidate);
    let told = group.message(1, 3, 0, Body::Committed { index: 3, term: 2 });
    group.step(3, Input::Receive(told)).unwrap();
    assert_eq!((group.status(3).role, group.status(3).conf.voters.clone()), (Role::Follower, ids([1, 2])));
    for peer in [1, 2] {
        let grant = group.message(peer, 3, term, Body::VoteReply { granted: true });
        let _ = group.step(3, Input::Receive(grant));
    }
    assert_eq!(group.status(3).role, Role::Follower);
}

/// What the application holds at the start shows that more is committed than the records say: the next record says so, since at the
/// start after that the application may be older. Found by the simulator (seed 2003234).
#[test]
fn m2_what_the_application_shows_to_be_committed_is_written() {
    let mut group = Group::led(3);
    group.change(1, ChangeKind::AddLearner, 4).unwrap();
    group.settle();
    let applied = group.status(2).applied;
    let disk = &mut group.node(2).disk;
    disk.boot.hard.commit = applied - 1;
    disk.boot.applied = applied;
    group.restart(2);
    group.node(2).disk.boot.applied = 0;
    group.flush(2);
    assert_eq!(group.node(2).disk.boot.hard.commit, applied);
}

/// A learner that was promoted, and does not know it, may hold the longest log: nobody else can be elected, and it does not ask. It
/// learns from the candidate that it refuses. Found by the simulator (seed 9452).
#[test]
fn m4_a_promoted_learner_learns_it_from_who_asks_for_its_vote() {
    let mut group = Group::led(2);
    group.join(3);
    group.change(1, ChangeKind::AddLearner, 3).unwrap();
    group.pass(HEARTBEAT * 3);
    group.change(1, ChangeKind::AddVoter, 3).unwrap();
    group.propose(1, "tail").unwrap();
    let change = group.status(1).last_index - 1;
    let appends: Vec<Message> = std::iter::from_fn(|| group.take(|m| m.to == id(3))).collect();
    let to_2 = group.take(|m| m.to == id(2)).unwrap();
    group.mail.clear();
    for append in appends.into_iter().chain([to_2]) {
        group.deliver(append).unwrap();
    }
    let answer = group.take(|m| m.from == id(2)).unwrap();
    group.mail.clear();
    group.deliver(answer).unwrap();
    assert_eq!(group.status(1).commit, change);
    group.mail.clear();
    let beat = group.message(1, 2, group.status(1).term, Body::Heartbeat { commit: change, round: 9 });
    group.deliver(beat).unwrap();
    group.mail.clear();
    let (knows, promoted) = (group.status(2), group.status(3));
    assert_eq!((knows.last_index, knows.commit, knows.conf.voters), (change, change, ids([1, 2, 3])));
    assert_eq!((promoted.last_index, promoted.commit, promoted.conf.learners), (change + 1, change - 1, ids([3])));
    group.isolate(1);
    group.pass(ELECTION * 10);
    assert_eq!(group.status(3).role, Role::Leader);
}

/// The last voter cannot be removed: no empty group ever commits anything.
#[test]
fn m6_the_last_voter_stays() {
    let mut group = Group::led(1);
    group.change(1, ChangeKind::Remove, 1).unwrap();
    group.settle();
    let refused =
        |action: &Action| matches!(action, Action::Configured { refused: Some(ConfError::RemovedAllVoters), .. });
    assert!(group.node(1).events.iter().any(refused));
    group.propose(1, "x").unwrap();
    assert_eq!(group.payloads(1), ["x"]);
}

/// Demoting the leader makes it step down, and it follows as a learner.
#[test]
fn m6_a_demoted_leader_steps_down() {
    let mut group = Group::led(3);
    group.step(1, joint(&[(ChangeKind::AddLearner, 1)], Transition::JointImplicit)).unwrap();
    group.settle();
    group.pass(ELECTION * 5);
    let leader = group.leaders();
    assert!(leader == [2] || leader == [3]);
    assert_eq!(group.status(1).conf.learners, ids([1]));
    group.propose(leader[0], "x").unwrap();
    group.settle();
    assert_eq!(group.payloads(1), ["x"]);
}

/// A caller can ask whether a change would leave the group without a quorum.
#[test]
fn m7_a_change_that_would_kill_the_quorum_is_told() {
    let mut group = Group::led(1);
    let add = |node| ConfChange::single(ChangeKind::AddVoter, id(node));
    assert!(!group.node(1).raft.keeps_quorum(&add(2)), "node 2 is not there");
    group.join(2);
    group.change(1, ChangeKind::AddLearner, 2).unwrap();
    group.pass(ELECTION * 2);
    assert!(group.node(1).raft.keeps_quorum(&add(2)));
    group.change(1, ChangeKind::AddVoter, 2).unwrap();
    group.settle();
    group.join(3);
    group.change(1, ChangeKind::AddLearner, 3).unwrap();
    group.pass(ELECTION * 2);
    group.change(1, ChangeKind::AddVoter, 3).unwrap();
    group.settle();
    group.isolate(3);
    group.pass(ELECTION);
    group.pass(HEARTBEAT * 5);
    let remove = ConfChange::single(ChangeKind::Remove, id(2));
    assert!(!group.node(1).raft.keeps_quorum(&remove), "1 and 3 are no quorum while 3 is gone");
}

/// What is left of a group that has lost its quorum goes on under a new name, by an operator's hand only.
#[test]
fn m8_a_lost_quorum_is_recovered_by_hand() {
    let mut group = Group::led(3);
    group.propose(1, "a").unwrap();
    group.settle();
    let boot = group.node(2).disk.boot.clone().force_voters(ids([2]));
    group.nodes.clear();
    group.add(Config { cluster: ClusterId(2), ..config(2) }, boot);
    group.pass(ELECTION * 5);
    group.propose(2, "b").unwrap();
    assert_eq!(group.payloads(2), ["a", "b"]);
    let old = Message { cluster: ClusterId(1), ..group.message(1, 2, 9, Body::Heartbeat { commit: 0, round: 1 }) };
    assert_eq!(group.step(2, Input::Receive(old)), Err(Ignored::OtherCluster));
}

/// A node joins as a learner, gets a snapshot where the log is gone, and is promoted.
#[test]
fn a_node_joins_catches_up_and_is_promoted() {
    let mut group = Group::led(3);
    for _ in 0..10 {
        group.propose(1, "x").unwrap();
    }
    group.settle();
    let applied = group.status(1).applied;
    let meta = group.node(1).raft.snapshot_meta(applied).unwrap();
    group.step(1, Input::SnapshotTaken { meta }).unwrap();
    group.join(4);
    group.change(1, ChangeKind::AddLearner, 4).unwrap();
    group.pass(HEARTBEAT * 5);
    assert_eq!(group.status(4).commit, group.status(1).commit);
    assert!(group.status(4).snapshot > applied, "a snapshot from before it was added is not for it");
    group.change(1, ChangeKind::AddVoter, 4).unwrap();
    group.pass(HEARTBEAT * 5);
    assert_eq!(group.status(4).conf.voters, ids(1..=4));
    group.isolate(1);
    group.isolate(2);
    group.heal();
    group.step(1, Input::TransferLeader { to: id(4) }).unwrap();
    group.settle();
    assert_eq!(group.leaders(), [4]);
}

fn any_change() -> impl Strategy<Value = Change> {
    let kind = prop_oneof![Just(ChangeKind::AddVoter), Just(ChangeKind::AddLearner), Just(ChangeKind::Remove)];
    (kind, 1u64..6).prop_map(|(kind, node)| Change::new(kind, NodeId(node)))
}

proptest! {
    /// etcd `quick_test.go`: entering and leaving a joint configuration does what the simple changes do one by one.
    #[test]
    fn joint_is_the_sum_of_simple_changes(
        setup in proptest::collection::vec(any_change(), 0..5),
        changes in proptest::collection::vec(any_change(), 1..8),
    ) {
        let mut conf = Conf::of_voters(ids([1]));
        for change in setup {
            conf = conf.simple(&[change], 0).map_or(conf, |changed| changed.conf);
        }
        // One by one in an order in which each is allowed: what adds first.
        let mut one_by_one = Some(conf.clone());
        for change in &changes {
            one_by_one = one_by_one.and_then(|conf| conf.simple(std::slice::from_ref(change), 0).ok().map(|changed| changed.conf));
        }
        let joint = conf.enter_joint(false, &changes, 0);
        if let (Ok(joint), Some(one_by_one)) = (joint, one_by_one) {
            joint.conf.check().unwrap();
            prop_assert_eq!(joint.conf.leave_joint().unwrap().conf, one_by_one);
        }
    }

    /// A membership change comes back from its bytes, and no bytes do harm.
    #[test]
    fn changes_come_back_from_bytes(changes in proptest::collection::vec(any_change(), 0..5), noise in proptest::collection::vec(any::<u8>(), 0..40)) {
        let change = ConfChange { transition: Transition::JointExplicit, changes, context: Bytes::from(noise.clone()) };
        prop_assert_eq!(ConfChange::decode(&change.encode()).unwrap(), change);
        let _ = ConfChange::decode(&Bytes::from(noise));
    }
}

//! etcd's vectors for quorums and membership changes, which know no log and no message.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout, unreachable_pub)]

mod common;

use std::collections::BTreeMap;

use serde_json::Value;
use wrs_raft::quorum::{VoteResult, committed, joint_committed, joint_vote, vote};
use wrs_raft::{Change, Conf, NodeId};

fn ids(value: &Value) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = value.as_array().into_iter().flatten().map(|id| NodeId(id.as_u64().unwrap())).collect();
    ids.sort();
    ids.dedup();
    ids
}

fn by_node<T>(value: &Value, read: impl Fn(&Value) -> T) -> BTreeMap<NodeId, T> {
    value.as_object().unwrap().iter().map(|(id, v)| (NodeId(id.parse().unwrap()), read(v))).collect()
}

#[test]
fn quorum_127_cases() {
    let Some(cases) = common::json_lines("quorum.jsonl") else { return };
    for case in &cases {
        let (voters, outgoing) = (ids(&case["voters"]), ids(&case["outgoing"]));
        match case["op"].as_str().unwrap() {
            "committed" => {
                let acked = by_node(&case["acked"], |v| v.as_u64().unwrap());
                let look = |id| acked.get(&id).copied();
                let got = joint_committed(&voters, &outgoing, look);
                let want = case["expect"].as_u64().unwrap_or(u64::MAX);
                assert_eq!(got, want, "{case}");
                // The checks that etcd's own harness adds: symmetry, an empty half, a doubled half, an index that does not count.
                assert_eq!(joint_committed(&outgoing, &voters, look), got, "symmetry: {case}");
                assert_eq!(joint_committed(&voters, &[], look), committed(&voters, look), "empty half: {case}");
                assert_eq!(joint_committed(&voters, &voters, look), committed(&voters, look), "doubled: {case}");
                for (id, index) in &acked {
                    if *index > got {
                        let lowered = |node| if node == *id { Some(index - 1) } else { look(node) };
                        assert_eq!(joint_committed(&voters, &outgoing, lowered), got, "lowered {id}: {case}");
                    }
                }
            }
            "vote" => {
                let votes = by_node(&case["votes"], |v| v.as_bool());
                let look = |id| votes.get(&id).copied().flatten();
                let got = joint_vote(&voters, &outgoing, look);
                let name = match got {
                    VoteResult::Pending => "VotePending",
                    VoteResult::Lost => "VoteLost",
                    VoteResult::Won => "VoteWon",
                };
                assert_eq!(name, case["expect"].as_str().unwrap(), "{case}");
                assert_eq!(joint_vote(&outgoing, &voters, look), got, "symmetry: {case}");
                assert_eq!(joint_vote(&voters, &[], look), vote(&voters, look), "empty half: {case}");
            }
            op => panic!("unknown {op}"),
        }
    }
    println!("quorum: {} of 127", cases.len());
    assert_eq!(cases.len(), 127);
}

/// Replication state as the vectors print it; only membership changes move it here.
#[derive(Default)]
struct Tracked {
    conf: Conf,
    next: BTreeMap<NodeId, u64>,
}

#[test]
fn confchange_58_steps() {
    let Some(cases) = common::json_lines("confchange.jsonl") else { return };
    let (mut file, mut last_index, mut at) = (String::new(), 0, Tracked::default());
    for case in &cases {
        if file != case["file"].as_str().unwrap() {
            file = case["file"].as_str().unwrap().to_owned();
            (last_index, at) = (0, Tracked::default());
        }
        let tokens = case["changes"].as_array().unwrap().iter();
        let changes: Vec<Change> = tokens.map(|token| common::change(token.as_str().unwrap())).collect();
        let result = match case["op"].as_str().unwrap() {
            "simple" => at.conf.simple(&changes, 0),
            "enter-joint" => at.conf.enter_joint(case["auto_leave"].as_bool().unwrap(), &changes, 0),
            "leave-joint" => at.conf.leave_joint(),
            op => panic!("unknown {op}"),
        };
        match (result, case["error"].as_str()) {
            (Err(error), Some(want)) => assert_eq!(error.to_string(), want, "{case}"),
            (Ok(changed), None) => {
                let fresh = u64::max(last_index, 1);
                let next = changed.conf.members().into_iter().map(|id| {
                    let kept = at.next.get(&id).copied().filter(|_| !changed.created.contains(&id));
                    (id, kept.unwrap_or(fresh))
                });
                let next = next.collect();
                at = Tracked { conf: changed.conf, next };
                let mut lines = vec![at.conf.to_string()];
                lines.extend(at.next.iter().map(|(id, next)| {
                    let learner = if at.conf.is_learner(*id) { " learner" } else { "" };
                    format!("{id}: StateProbe match=0 next={next}{learner}")
                }));
                let want: Vec<&str> = case["expect"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
                assert_eq!(lines, want, "{case}");
            }
            (result, want) => panic!("{result:?} instead of {want:?}: {case}"),
        }
        last_index += 1;
    }
    println!("confchange: {} of 58", cases.len());
    assert_eq!(cases.len(), 58);
}

//! Prints messages, entries and states in etcd's words.

use std::fmt::Write as _;

use wrs_raft::*;

/// etcd has an older form of a single change, of the same meaning; the context tells the printer which it was.
pub(super) const V1: &[u8] = b"v1";

pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "StateFollower",
        Role::PreCandidate => "StatePreCandidate",
        Role::Candidate => "StateCandidate",
        Role::Leader => "StateLeader",
    }
}

pub(super) fn describe_hard(hard: &HardState) -> String {
    let vote = hard.vote.map_or(String::new(), |vote| format!(" Vote:{vote}"));
    format!("Term:{}{vote} Commit:{}", hard.term, hard.commit)
}

pub(super) fn describe_entry(entry: &Entry) -> String {
    let (term, index) = (entry.term, entry.index);
    match entry.kind {
        EntryKind::Normal => format!("{term}/{index} EntryNormal {:?}", String::from_utf8_lossy(&entry.payload)),
        EntryKind::Conf => {
            let change = ConfChange::decode(&entry.payload).unwrap();
            describe_change(term, index, &change)
        }
    }
}

pub(super) fn describe_change(term: Term, index: Index, change: &ConfChange) -> String {
    let v2 = if change.context.as_ref() == V1 { "" } else { "V2" };
    let mut text = format!("{term}/{index} EntryConfChange{v2}");
    for Change { kind, node, .. } in &change.changes {
        let kind = match kind {
            ChangeKind::AddVoter => "v",
            ChangeKind::AddLearner => "l",
            ChangeKind::Remove => "r",
            ChangeKind::Update => "u",
        };
        let _ = write!(text, " {kind}{node}");
    }
    text
}

pub(super) fn describe_all(entries: &[Entry]) -> String {
    entries.iter().map(describe_entry).collect::<Vec<_>>().join("\n")
}

pub(super) fn describe_entries(entries: &[Entry]) -> String {
    listed(entries.iter().map(describe_entry).collect())
}

pub(super) fn listed(lines: Vec<String>) -> String {
    match lines.as_slice() {
        [] => String::new(),
        [line] => format!(" Entries:[{line}]"),
        lines => format!(" Entries:[\n  {}\n]", lines.join("\n  ")),
    }
}

pub(super) fn describe_snapshot(meta: &SnapshotMeta) -> String {
    let list = |ids: &[NodeId]| {
        let ids: Vec<String> = ids.iter().map(NodeId::to_string).collect();
        format!("[{}]", ids.join(" "))
    };
    let Conf { voters, outgoing, learners, learners_next, auto_leave, .. } = &meta.conf;
    format!(
        "Index:{} Term:{} ConfState:Voters:{} VotersOutgoing:{} Learners:{} LearnersNext:{} AutoLeave:{auto_leave}",
        meta.index,
        meta.term,
        list(voters),
        list(outgoing),
        list(learners),
        list(learners_next),
    )
}

pub(super) fn describe(message: &Message) -> String {
    let (log_term, index) = match &message.body {
        Body::Append { prev_index, prev_term, .. } => (*prev_term, *prev_index),
        Body::Appended { index } => (0, *index),
        Body::Rejected { index, hint_term, .. } => (*hint_term, *index),
        Body::Vote { last_index, last_term, .. } | Body::PreVote { last_index, last_term, .. } => {
            (*last_term, *last_index)
        }
        _ => (0, 0),
    };
    let Message { from, to, term, .. } = message;
    let mut text = format!("{from}->{to} {} Term:{term} Log:{log_term}/{index}", message.body.name());
    match &message.body {
        Body::Rejected { hint_index, .. } => {
            let _ = write!(text, " Rejected (Hint: {hint_index})");
        }
        Body::VoteReply { granted: false } | Body::PreVoteReply { granted: false } => text += " Rejected (Hint: 0)",
        _ => {}
    }
    if let Body::Append { commit, .. } | Body::Heartbeat { commit, .. } = &message.body
        && *commit > 0
    {
        let _ = write!(text, " Commit:{commit}");
    }
    match &message.body {
        Body::Append { entries, .. } => text += &describe_entries(entries),
        Body::Propose { payloads } => {
            let lines =
                payloads.iter().map(|payload| format!("0/0 EntryNormal {:?}", String::from_utf8_lossy(payload)));
            text += &listed(lines.collect());
        }
        Body::ProposeConf { change } => text += &listed(vec![describe_change(0, 0, change)]),
        Body::Snapshot { meta } => {
            let _ = write!(text, "\n  Snapshot: {}", describe_snapshot(meta));
        }
        _ => {}
    }
    text
}

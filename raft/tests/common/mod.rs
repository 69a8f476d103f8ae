//! What the tests of this crate share.
#![allow(dead_code)]

use std::path::PathBuf;

/// The folder of the vectors from outside, or `None`, said aloud, where it is absent.
pub fn vectors(file: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("WRS_VECTORS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/raft"), PathBuf::from);
    let path = folder.join(file);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: no vectors at {} (set WRS_VECTORS to their folder)", path.display());
    None
}

/// One change as etcd writes it: `v1` adds a voter, `l1` a learner, `r1` removes, `u1` updates.
pub fn change(token: &str) -> wrs_raft::Change {
    use wrs_raft::{Change, ChangeKind, NodeId};
    let (kind, node) = token.split_at(1);
    let kind = match kind {
        "v" => ChangeKind::AddVoter,
        "l" => ChangeKind::AddLearner,
        "r" => ChangeKind::Remove,
        "u" => ChangeKind::Update,
        kind => panic!("unknown {kind}"),
    };
    Change::new(kind, NodeId(node.parse().unwrap()))
}

/// The lines of a file of vectors, as JSON values.
pub fn json_lines(file: &str) -> Option<Vec<serde_json::Value>> {
    let text = std::fs::read_to_string(vectors(file)?).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

//! Replays the seed corpora: what a fuzzer starts from, and what one has ever found.

// A test reports what it finds by a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;

/// What takes any bytes.
type Target = fn(&[u8]);

/// Each target and its name.
const TARGETS: [(&str, Target); 7] = [
    ("frame", wrs_fuzz::frame::run),
    ("http", wrs_fuzz::http::run),
    ("line", wrs_fuzz::line::run),
    ("link", wrs_fuzz::link::run),
    ("raft", wrs_fuzz::raft::run),
    ("session", wrs_fuzz::session::run),
    ("shard", wrs_fuzz::shard::run),
];

fn replay(name: &str, target: Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds for {name}");
    for file in files {
        let data = std::fs::read(&file).unwrap();
        if std::panic::catch_unwind(|| target(&data)).is_err() {
            panic!("{} breaks {name}", file.display());
        }
        // And with its end cut off, as a connection that breaks would have it.
        target(&data[..data.len() / 2]);
    }
}

#[test]
fn every_seed_of_every_target_holds() {
    for (name, target) in TARGETS {
        replay(name, target);
    }
}

#[test]
fn every_target_has_its_entry_for_a_fuzzer() {
    for (name, _) in TARGETS {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets").join(format!("{name}.rs"));
        assert!(std::fs::read_to_string(file).unwrap().contains(&format!("wrs_fuzz::{name}::run")));
    }
}

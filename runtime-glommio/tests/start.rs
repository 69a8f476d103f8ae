//! What the server says where it cannot run.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot run has failed")]

use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wrs-glommio");

fn in_shell(script: &str) -> Output {
    Command::new("sh").args(["-c", script, PROGRAM]).output().unwrap()
}

#[test]
fn too_little_locked_memory_is_one_line_that_names_the_smol_server_and_exit_2() {
    let output = in_shell("ulimit -l 64 && WRS_API_PORT=0 exec \"$0\"");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("64 KiB") && said.contains("ulimit -l") && said.contains("cargo run --release"), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_soft_limit_on_locked_memory_is_raised() {
    // The port that is refused shows that it got that far.
    let output = in_shell("ulimit -S -l 64 && WRS_BIND=192.0.2.1 WRS_API_PORT=8080 exec \"$0\"");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("KiB"), "{said}");
    if output.status.code() == Some(2) {
        return eprintln!("SKIPPED: no io_uring here: {said}");
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
}

#[test]
fn what_needs_no_ring_works_without_one() {
    let output = in_shell("ulimit -l 0 && exec \"$0\" --version");
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("wrs "));
}

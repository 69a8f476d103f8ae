//! etcd's 28 interaction transcripts, 558 commands, replayed line by line.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout, unreachable_pub)]

mod common;

#[path = "common/transcript.rs"]
mod transcript;

use transcript::{Command, World};

#[test]
fn interaction_28_transcripts() {
    let Some(cases) = common::json_lines("interaction.jsonl") else { return };
    let only = std::env::var("WRS_TRANSCRIPT").ok();
    let (mut failed, mut passed, mut commands) = (Vec::new(), 0, 0);
    let mut at = 0;
    while at < cases.len() {
        let file = cases[at]["file"].as_str().unwrap().to_owned();
        let end = at + cases[at..].iter().take_while(|case| case["file"] == file.as_str()).count();
        let script = &cases[at..end];
        at = end;
        if only.as_ref().is_some_and(|only| !file.starts_with(only.as_str())) {
            continue;
        }
        let mut world = World::default();
        let mut broken = None;
        for case in script {
            let lines = |key: &str| -> Vec<&str> {
                case[key].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
            };
            let line = case["cmd"].as_str().unwrap();
            let command = Command::parse(line, &lines("input").join("\n"));
            let run = std::panic::AssertUnwindSafe(|| world.run(&command));
            let got = std::panic::catch_unwind(run).unwrap_or_else(|_| vec!["panicked".to_owned()]);
            // A block that held nothing but logger lines is empty in the vectors.
            let want = lines("expect");
            let want = if want.is_empty() { vec!["ok"] } else { want };
            if got != want {
                broken = Some(format!(
                    "{file}:{} {line}\n--- want\n{}\n--- got\n{}",
                    case["line"],
                    want.join("\n"),
                    got.join("\n")
                ));
                break;
            }
            commands += 1;
        }
        match broken {
            Some(text) => failed.push(text),
            None => passed += 1,
        }
    }
    println!("interaction: {passed} transcripts of 28, {commands} commands of 558");
    assert!(failed.is_empty(), "{} transcripts differ:\n{}", failed.len(), failed.join("\n\n"));
    if only.is_none() {
        assert_eq!((passed, commands), (28, 558));
    }
}

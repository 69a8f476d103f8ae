//! `wrs create`.

use serde_json::{Map, Value};

use crate::arguments::{Arguments, Grammar, flag};
use crate::channel::Channel;
use crate::failure::Failure;
use crate::node::Node;
use crate::stdio::Output;

/// The grammar of `create`.
pub const GRAMMAR: Grammar = Grammar {
    usage: "create PATTERN [--client-limit N] [--timeout MS] [--json]",
    about: "Creates a channel and prints CHANNEL TOKEN, which the other commands take.\n\
            PATTERN is echo, pub-sub, push-pull, req-repl or fan-in-out.",
    flags: &[
        flag("--client-limit", "N", "at most so many clients at a time; -1 for any number (default: -1)"),
        flag("--timeout", "MS", "delete it so long after its last message; -1 for never (default: a day)"),
        flag("--json", "", "print the node's whole answer"),
    ],
    positionals: 1..=1,
};

/// The greatest number that the node takes, and -1 for none.
const LARGEST: i64 = 1 << 53;

/// Creates a channel.
pub async fn run(mut arguments: Arguments, node: Node) -> Result<(), Failure> {
    let mut wanted = Map::new();
    wanted.insert("pattern".to_owned(), Value::from(arguments.next()));
    for (name, member) in [("--client-limit", "clientLimit"), ("--timeout", "timeout")] {
        if let Some(number) = arguments.number(name, -1..=LARGEST)? {
            wanted.insert(member.to_owned(), Value::from(number));
        }
    }
    let answer = node.ask("POST", "/channels", Some(&Value::Object(wanted).to_string())).await?.success()?;
    let channel = Channel::created(&answer)?;
    let line = match arguments.has("--json") {
        true => answer.to_string(),
        false => format!("{} {}", channel.id, channel.token),
    };
    Output::new().last(line.as_bytes()).await
}

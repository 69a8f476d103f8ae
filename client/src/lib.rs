//! The client commands of the wrs binaries: they talk to a node over HTTP and WebSocket and fit into pipes.
//!
//! ```text
//! wrs create pub-sub                      prints CHANNEL TOKEN
//! wrs sub CHANNEL TOKEN                   prints each message on a line of its own
//! wrs pub CHANNEL TOKEN [MESSAGE…]        sends its arguments, or each line of standard input
//! wrs req CHANNEL TOKEN [DATA]            sends a request and prints the reply's data
//! wrs reply CHANNEL TOKEN                 answers requests: with their own data, --data, or line by line through a --pipe
//! wrs delete CHANNEL                      deletes a channel
//! wrs echo [CHANNEL TOKEN]                measures round trips, as ping does
//! wrs bench                               measures deliveries per second, latency and loss
//! wrs health                              asks whether the node takes traffic
//! wrs cluster [join HOST:PORT | remove ID | recover]
//! wrs reset --yes                         deletes every channel
//! ```
//!
//! `wrs COMMAND --help`, or `wrs help COMMAND`, says the rest. What `create` prints is what the others take, so that the
//! shell is the glue:
//!
//! ```text
//! channel=$(wrs create pub-sub)
//! wrs sub $channel &
//! tail -f access.log | wrs pub $channel
//! wrs create pub-sub | wrs sub -          a dash: the channel and its token are the first line of standard input
//! ```
//!
//! **Which node.** The one that the same configuration would run (`WRS_API_PORT`, `WRS_BIND`, `WRS_SSL`, or their flags
//! before the command), so that `wrs health` in a container needs nothing; any other with `--url http(s)://HOST[:PORT]`.
//! The API token comes from `--auth` or `WRS_AUTH_TOKEN`. A certificate is checked against this machine's roots, or
//! those of `--ca FILE` (a self-signed certificate may stand there itself), or not at all with `--insecure`; that of the
//! configuration's own node is not checked, because it names the public domain and the way to it stays on this machine.
//!
//! **Exit codes.** 0 done, and also when whoever reads standard output has had enough; 1 the node refused, cannot be
//! reached or closed the connection (why is on standard error, with the close code); 2 the command line cannot be read;
//! 130 interrupted before it was done. Ctrl-C ends `sub`, `reply`, `echo` and `bench` as they end anyway, with 0.
//!
//! Rules guarded: no message of these commands shows a token, everything that is waited for has a time limit except
//! messages and standard input, and nothing that comes in is kept beyond a limit.

mod arguments;
mod bench;
mod channel;
mod create;
mod delete;
mod echo;
mod failure;
mod http;
mod interrupt;
mod limits;
mod node;
mod operate;
mod publish;
mod reply;
mod request;
mod rpc;
mod socket;
mod stdio;
mod stream;
mod subscribe;
mod trust;

use std::process::ExitCode;

use wrs_core::config::{ClientCommand, Config};

use crate::arguments::{Grammar, Read};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::node::Node;
use crate::stdio::Output;

/// Runs a command to its end. `arguments` are those after its name; `config` says which node is meant when they do not.
/// Blocks; call it from a thread that runs nothing else.
pub fn run(command: ClientCommand, arguments: &[String], config: &Config) -> ExitCode {
    match smol::block_on(dispatch(command, arguments, config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

async fn dispatch(command: ClientCommand, arguments: &[String], config: &Config) -> Result<(), Failure> {
    let mut arguments = match grammar(command).read(arguments)? {
        Read::Help(text) => return Output::new().last(text.as_bytes()).await,
        Read::Arguments(arguments) => arguments,
    };
    let node = Node::of(&arguments, config)?;
    let interrupt = Interrupt::attend();
    match command {
        ClientCommand::Sub => subscribe::run(arguments, node, &interrupt).await,
        ClientCommand::Reply => reply::run(arguments, node, &interrupt).await,
        ClientCommand::Echo => echo::run(arguments, node, &interrupt).await,
        ClientCommand::Bench => bench::run(arguments, node, &interrupt).await,
        ClientCommand::Create => interrupt.unless(create::run(arguments, node)).await,
        ClientCommand::Delete => interrupt.unless(delete::run(arguments, node)).await,
        ClientCommand::Pub => interrupt.unless(publish::run(arguments, node)).await,
        ClientCommand::Req => interrupt.unless(request::run(arguments, node)).await,
        ClientCommand::Health => interrupt.unless(operate::health(&arguments, node)).await,
        ClientCommand::Cluster => interrupt.unless(operate::cluster(&mut arguments, node)).await,
        ClientCommand::Reset => interrupt.unless(operate::reset(&arguments, node)).await,
    }
}

fn grammar(command: ClientCommand) -> Grammar {
    match command {
        ClientCommand::Create => create::GRAMMAR,
        ClientCommand::Delete => delete::GRAMMAR,
        ClientCommand::Sub => subscribe::GRAMMAR,
        ClientCommand::Pub => publish::GRAMMAR,
        ClientCommand::Req => request::GRAMMAR,
        ClientCommand::Reply => reply::GRAMMAR,
        ClientCommand::Echo => echo::GRAMMAR,
        ClientCommand::Bench => bench::GRAMMAR,
        ClientCommand::Health => operate::HEALTH,
        ClientCommand::Cluster => operate::CLUSTER,
        ClientCommand::Reset => operate::RESET,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_help_that_fits_a_terminal() {
        for (command, name, _) in ClientCommand::ALL {
            let Ok(Read::Help(text)) = grammar(command).read(&["--help".to_owned()]) else { panic!("{name}") };
            assert!(text.starts_with(&format!("usage: wrs {name}")), "{text}");
            assert!(text.contains("--url") && text.contains("--auth"), "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        }
    }
}

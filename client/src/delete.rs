//! `wrs delete`.

use crate::arguments::{Arguments, Grammar};
use crate::channel::Channel;
use crate::failure::Failure;
use crate::http::word;
use crate::node::Node;
use crate::stdio::{Input, Output};

/// The grammar of `delete`.
pub const GRAMMAR: Grammar = Grammar {
    usage: "delete CHANNEL [TOKEN] | -",
    about: "Deletes a channel and closes its clients' connections (4404). The channel's token is not needed; it\n\
            may stand there, so that what create printed fits. A dash: the channel is the first line of\n\
            standard input.",
    flags: &[],
    positionals: 1..=2,
};

/// Deletes a channel.
pub async fn run(mut arguments: Arguments, node: Node) -> Result<(), Failure> {
    let id = Channel::take_id(&mut arguments, &mut Input::new()).await?;
    arguments.done()?;
    let answer = node.ask("DELETE", &format!("/channels/{id}"), None).await?.success()?;
    Output::new().last(word(&answer, "message").as_bytes()).await
}

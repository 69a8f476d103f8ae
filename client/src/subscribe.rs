//! `wrs sub`.

use std::io::IsTerminal;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::arguments::{Arguments, Grammar, flag};
use crate::channel::Channel;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::node::Node;
use crate::socket::{End, Part, Received, Socket, close, receive};
use crate::stdio::{Input, Output, note};

/// The grammar of `sub`.
pub const GRAMMAR: Grammar = Grammar {
    usage: "sub CHANNEL TOKEN | - [--count N] [--binary hex|base64|raw] [--json]",
    about: "Prints each message of a channel on a line of its own until the node closes the connection (exit\n\
            1, with the close code) or Ctrl-C ends it (exit 0). A dash: CHANNEL TOKEN is the first line of\n\
            standard input.",
    flags: &[
        flag("--count", "N", "end after so many messages"),
        flag("--binary", "FORM", "binary messages as hex, base64, or raw without a line end (default: hex)"),
        flag("--json", "", "each message as {\"type\":\"text\"|\"binary\",\"data\":…}, binary data as base64"),
    ],
    positionals: 1..=2,
};

/// How messages are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Hex,
    Base64,
    Raw,
    Json,
}

impl Form {
    fn of(arguments: &Arguments) -> Result<Form, Failure> {
        match arguments.text("--binary") {
            _ if arguments.has("--json") => Ok(Form::Json),
            None | Some("hex") => Ok(Form::Hex),
            Some("base64") => Ok(Form::Base64),
            Some("raw") => Ok(Form::Raw),
            Some(_) => Err(Failure::usage("--binary is hex, base64 or raw")),
        }
    }

    async fn put(self, output: &mut Output, message: &Received) -> Result<(), Failure> {
        match (message, self) {
            (Received::Text(text), Form::Json) => {
                output.line(json!({"type": "text", "data": text.as_str()}).to_string().as_bytes()).await
            }
            (Received::Binary(bytes), Form::Json) => {
                let data = BASE64_STANDARD.encode(bytes);
                output.line(json!({"type": "binary", "data": data}).to_string().as_bytes()).await
            }
            (Received::Text(text), _) => output.foreign_line(text).await,
            (Received::Binary(bytes), Form::Hex) => output.line(hex(bytes).as_bytes()).await,
            (Received::Binary(bytes), Form::Base64) => output.line(BASE64_STANDARD.encode(bytes).as_bytes()).await,
            (Received::Binary(bytes), Form::Raw) => output.put(bytes).await,
        }
    }
}

/// Prints messages.
pub async fn run(mut arguments: Arguments, node: Node, interrupt: &Interrupt) -> Result<(), Failure> {
    let form = Form::of(&arguments)?;
    let count = arguments.number("--count", 1..=u64::MAX)?;
    let channel = Channel::take(&mut arguments, &mut Input::new()).await?;
    arguments.done()?;
    let mut output = Output::new();
    let mut socket = interrupt.unless(node.join(&channel, Part::Whole)).await?;
    if std::io::stderr().is_terminal() {
        note(&format!("wrs: connected to {}; Ctrl-C ends", channel.id));
    }
    let interrupted = async {
        interrupt.heard().await;
        Ok(None)
    };
    let printed = smol::future::or(print(&mut socket, &mut output, form, count), interrupted).await;
    output.flush().await?;
    match printed? {
        None => close(socket).await,
        Some(end) if end.is_normal() => Ok(()),
        Some(end) => Err(end.into()),
    }
}

/// Prints up to `count` messages; how the connection ended if it did. What has come is written out as soon as nothing
/// more is there, so that a burst goes out at once and a single message does not wait.
async fn print(
    socket: &mut Socket,
    output: &mut Output,
    form: Form,
    count: Option<u64>,
) -> Result<Option<End>, Failure> {
    let mut printed = 0;
    while count.is_none_or(|count| printed < count) {
        let next = async { Ok::<_, Failure>(receive(socket).await) };
        let idle = async {
            output.flush().await?;
            smol::future::pending().await
        };
        match smol::future::or(next, idle).await? {
            Ok(message) => form.put(output, &message).await?,
            Err(end) => return Ok(Some(end)),
        }
        printed += 1;
    }
    Ok(None)
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble & 0xF)).copied().unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_is_shown_in_lower_case_digits() {
        assert_eq!(hex(&[0, 9, 0xAF, 0xFF]), "0009afff");
    }
}

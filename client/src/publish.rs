//! `wrs pub`.

use std::pin::pin;

use async_tungstenite::WebSocketSender;
use async_tungstenite::tungstenite::Message;
use futures_util::SinkExt;
use serde_json::Value;

use crate::arguments::{Arguments, Grammar, flag};
use crate::channel::Channel;
use crate::failure::Failure;
use crate::limits::CONNECT_TIMEOUT;
use crate::node::{Node, within};
use crate::rpc::Envelope;
use crate::socket::{End, Part, Received, goodbye, receive};
use crate::stdio::Input;
use crate::stream::Stream;

/// The grammar of `pub`.
pub const GRAMMAR: Grammar = Grammar {
    usage: "pub CHANNEL TOKEN | - [MESSAGE…] [--binary] [--whole]",
    about: "Sends each MESSAGE, or each line of standard input if there is none, and ends when the node has\n\
            taken them all. A dash: CHANNEL TOKEN is the first line of standard input. Messages may follow\n\
            two dashes.",
    flags: &[
        flag("--binary", "", "as binary messages"),
        flag("--whole", "", "all of standard input as one message, line ends included"),
    ],
    positionals: 1..=usize::MAX,
};

/// What is to be sent and as what.
struct Source {
    arguments: Arguments,
    input: Input,
    binary: bool,
    whole: bool,
    /// Messages taken so far.
    taken: u64,
}

impl Source {
    async fn next(&mut self) -> Result<Option<Message>, Failure> {
        let bytes = match self.arguments.next() {
            Some(message) => message.into_bytes(),
            None if self.taken > 0 && self.whole => return Ok(None),
            None if self.whole => self.input.rest().await?,
            None => match self.input.line().await? {
                Some(line) => line,
                None => return Ok(None),
            },
        };
        self.taken += 1;
        if self.binary {
            return Ok(Some(Message::binary(bytes)));
        }
        let not_text = |_| Failure::refused(format!("message {} is not UTF-8: see --binary", self.taken));
        String::from_utf8(bytes).map(|text| Some(Message::text(text))).map_err(not_text)
    }
}

/// Sends messages.
pub async fn run(mut arguments: Arguments, node: Node) -> Result<(), Failure> {
    let (binary, whole) = (arguments.has("--binary"), arguments.has("--whole"));
    let mut input = Input::new();
    let channel = Channel::take(&mut arguments, &mut input).await?;
    let given = arguments.remaining();
    if whole && given > 0 {
        return Err(Failure::usage("--whole is for standard input: there is a MESSAGE too"));
    }
    let socket = node.join(&channel, Part::Sender).await?;
    let source = Source { arguments, input, binary, whole, taken: 0 };
    let (sender, mut receiver) = socket.split();
    let mut complaint = None;
    // Others' messages are read all the while, or the node would close the connection as too slow.
    let end = {
        let mut reading = pin!(async {
            loop {
                match receive(&mut receiver).await {
                    Ok(message) => complaint = complaint.take().or_else(|| complaint_in(&message)),
                    Err(end) => return end,
                }
            }
        });
        let ended = async { Err(Failure::from(reading.as_mut().await)) };
        smol::future::or(send(source, sender, given), ended).await?;
        within(CONNECT_TIMEOUT, "closing", async { Ok(reading.await) }).await?
    };
    if !end.is_normal() {
        return Err(end.into());
    }
    match complaint {
        Some(complaint) if takes_requests(&node, &channel).await => Err(Failure::refused(complaint)),
        _ => Ok(()),
    }
}

/// Sends everything and the close frame. What there is goes out together, and nothing waits for what is not there yet.
async fn send(mut source: Source, mut sender: WebSocketSender<Stream>, given: usize) -> Result<(), Failure> {
    let broken = |error| Failure::from(End::from(error));
    loop {
        if given > 0 && source.arguments.remaining() == 0 {
            break;
        }
        let idle = async {
            SinkExt::flush(&mut sender).await.map_err(broken)?;
            smol::future::pending().await
        };
        match smol::future::or(source.next(), idle).await? {
            Some(message) => SinkExt::feed(&mut sender, message).await.map_err(broken)?,
            None => break,
        }
    }
    SinkExt::send(&mut sender, goodbye()).await.map_err(broken)
}

fn complaint_in(message: &Received) -> Option<String> {
    match message {
        Received::Text(text) => Envelope::read(text.as_bytes())?.complaint(),
        Received::Binary(_) => None,
    }
}

/// Whether only the relay can have written an error: in the other patterns it is some client's message.
async fn takes_requests(node: &Node, channel: &Channel) -> bool {
    let shown = node.ask("GET", &format!("/channels/{}", channel.id), None).await.and_then(|answer| answer.success());
    match shown {
        Ok(answer) => {
            matches!(answer.pointer("/data/pattern").and_then(Value::as_str), Some("req-repl" | "fan-in-out"))
        }
        // A complaint too many is better than one that nobody hears.
        Err(_) => true,
    }
}

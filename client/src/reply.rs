//! `wrs reply`.

use std::collections::VecDeque;
use std::io::IsTerminal;

use async_tungstenite::tungstenite::Message;
use serde_json::value::RawValue;

use crate::arguments::{Arguments, Grammar, flag};
use crate::channel::Channel;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::limits::REQUESTS_WAITING_MAX;
use crate::node::Node;
use crate::rpc::{Envelope, json_or_text};
use crate::socket::{End, Part, Received, Socket, close, receive};
use crate::stdio::{Input, Output, note};

/// The grammar of `reply`.
pub const GRAMMAR: Grammar = Grammar {
    usage: "reply CHANNEL TOKEN | - [--data DATA | --pipe] [--count N]",
    about: "Answers the requests of a req-repl or fan-in-out channel with their own data, until the node\n\
            closes the connection (exit 1) or Ctrl-C ends it (exit 0). With --pipe the data of each request\n\
            is a line on standard output, and the next line of standard input is the data of its reply:\n\
            \n\
            \x20\x20mkfifo answers; wrs reply CHANNEL TOKEN --pipe <answers | ./program >answers\n\
            \n\
            A dash: CHANNEL TOKEN is the first line of standard input.",
    flags: &[
        flag("--data", "DATA", "answer every request with this: JSON, or else text"),
        flag("--pipe", "", "let the other ends of standard output and input answer"),
        flag("--count", "N", "end after so many replies"),
    ],
    positionals: 1..=2,
};

/// Where the data of replies comes from.
enum Answers {
    Same,
    Fixed(Box<RawValue>),
    Pipe(Box<(Output, Input)>),
}

/// A connection and the requests that came over it and wait.
struct Desk {
    socket: Socket,
    waiting: VecDeque<Received>,
}

/// Answers requests.
pub async fn run(mut arguments: Arguments, node: Node, interrupt: &Interrupt) -> Result<(), Failure> {
    let count = arguments.number("--count", 1..=u64::MAX)?;
    let mut input = Input::new();
    let channel = Channel::take(&mut arguments, &mut input).await?;
    arguments.done()?;
    let mut answers = match (arguments.text("--data"), arguments.has("--pipe")) {
        (Some(_), true) => return Err(Failure::usage("--data and --pipe are two ways to answer")),
        (Some(data), false) => Answers::Fixed(json_or_text(data)),
        (None, true) => Answers::Pipe(Box::new((Output::new(), input))),
        (None, false) => Answers::Same,
    };
    let socket = interrupt.unless(node.join(&channel, Part::Whole)).await?;
    let mut desk = Desk { socket, waiting: VecDeque::new() };
    if std::io::stderr().is_terminal() {
        note(&format!("wrs: answering on {}; Ctrl-C ends", channel.id));
    }
    let interrupted = async {
        interrupt.heard().await;
        Ok(())
    };
    smol::future::or(desk.serve(&mut answers, count), interrupted).await?;
    close(desk.socket).await
}

impl Desk {
    /// Answers up to `count` requests; returns too when the pipe has no more answers.
    async fn serve(&mut self, answers: &mut Answers, count: Option<u64>) -> Result<(), Failure> {
        let mut answered = 0;
        while count.is_none_or(|count| answered < count) {
            let message = match self.waiting.pop_front() {
                Some(message) => message,
                None => receive(&mut self.socket).await?,
            };
            let bytes: &[u8] = match &message {
                Received::Text(text) => text.as_bytes(),
                Received::Binary(bytes) => bytes,
            };
            let Some(envelope) = Envelope::read(bytes) else { continue };
            if let Some(complaint) = envelope.complaint() {
                // Its asker has gone: not our fault, and the next one waits.
                note(&format!("wrs: {complaint}"));
            }
            if envelope.kind != "request" {
                continue;
            }
            let reply = match answers {
                Answers::Same => envelope.reply(envelope.data),
                Answers::Fixed(data) => envelope.reply(Some(data)),
                Answers::Pipe(pipe) => match self.through(pipe, &envelope).await? {
                    Some(data) => envelope.reply(Some(&data)),
                    None => return Ok(()),
                },
            };
            self.socket.send(Message::text(reply)).await.map_err(|error| Failure::from(End::from(error)))?;
            answered += 1;
        }
        Ok(())
    }

    /// What the pipe answers to a request. Further requests are kept meanwhile, so that pings are answered.
    async fn through(
        &mut self,
        pipe: &mut (Output, Input),
        request: &Envelope<'_>,
    ) -> Result<Option<Box<RawValue>>, Failure> {
        let (output, input) = pipe;
        let answer = async {
            // One line, however the asker wrote it.
            let data: serde_json::Value =
                request.data.and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
            output.foreign_line(&data.to_string()).await?;
            output.flush().await?;
            input.line().await
        };
        let keeping = async {
            while self.waiting.len() < REQUESTS_WAITING_MAX {
                self.waiting.push_back(receive(&mut self.socket).await?);
            }
            smol::future::pending().await
        };
        let Some(line) = smol::future::or(answer, keeping).await? else { return Ok(None) };
        let text = String::from_utf8(line).map_err(|_| Failure::refused("an answer of the pipe is not UTF-8"))?;
        Ok(Some(json_or_text(&text)))
    }
}

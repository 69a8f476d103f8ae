//! `wrs req`.

use std::time::{Duration, Instant};

use async_tungstenite::tungstenite::Message;
use smol::Timer;

use crate::arguments::{Arguments, Grammar, flag};
use crate::channel::Channel;
use crate::failure::Failure;
use crate::node::Node;
use crate::rpc::{Envelope, Request};
use crate::socket::{End, Part, Received, Socket, close, meanwhile, receive};
use crate::stdio::{Input, Output};

/// The grammar of `req`.
pub const GRAMMAR: Grammar = Grammar {
    usage: "req CHANNEL TOKEN | - [DATA] [--replies N] [--timeout MS] [--json]",
    about: "Sends DATA, or each line of standard input in turn, as a request on a req-repl or fan-in-out\n\
            channel and prints the data of the reply. DATA is JSON, or else text; {\"type\":\"request\",…}\n\
            is sent as it is. A dash: CHANNEL TOKEN is the first line of standard input.",
    flags: &[
        flag("--replies", "N", "wait for so many replies to each request (default: 1)"),
        flag("--timeout", "MS", "wait so long for the replies to a request (default: 10000)"),
        flag("--json", "", "print replies whole"),
    ],
    positionals: 1..=3,
};

/// How replies are waited for and shown.
struct Wanted {
    replies: u64,
    timeout: Duration,
    whole: bool,
}

/// Sends requests.
pub async fn run(mut arguments: Arguments, node: Node) -> Result<(), Failure> {
    let wanted = Wanted {
        replies: arguments.number("--replies", 1..=1_000_000)?.unwrap_or(1),
        timeout: Duration::from_millis(arguments.number("--timeout", 1..=86_400_000)?.unwrap_or(10_000)),
        whole: arguments.has("--json"),
    };
    let mut input = Input::new();
    let channel = Channel::take(&mut arguments, &mut input).await?;
    let given = arguments.next();
    arguments.done()?;
    let mut socket = node.join(&channel, Part::Sender).await?;
    let mut output = Output::new();
    if let Some(data) = given {
        exchange(&mut socket, &mut output, &Request::new(&data, 1), &wanted).await?;
    } else {
        let mut id = 0;
        while let Some(line) = meanwhile(&mut socket, input.line()).await? {
            id += 1;
            let data = String::from_utf8(line).map_err(|_| Failure::refused(format!("line {id} is not UTF-8")))?;
            exchange(&mut socket, &mut output, &Request::new(&data, id), &wanted).await?;
        }
    }
    close(socket).await
}

/// One request and its replies.
async fn exchange(socket: &mut Socket, output: &mut Output, request: &Request, wanted: &Wanted) -> Result<(), Failure> {
    let deadline = Instant::now() + wanted.timeout;
    socket.send(Message::text(request.text.clone())).await.map_err(|error| Failure::from(End::from(error)))?;
    for seen in 0..wanted.replies {
        let left = deadline.saturating_duration_since(Instant::now());
        let reply = async {
            loop {
                match receive(socket).await? {
                    Received::Text(text) if concerns(request, text.as_bytes())? => return Ok(text),
                    // A reply may come as a binary message; its bytes are those of a text all the same.
                    Received::Binary(bytes) if concerns(request, &bytes)? => {
                        return bytes.try_into().map_err(|_| Failure::refused("a reply is not UTF-8"));
                    }
                    Received::Text(_) | Received::Binary(_) => {}
                }
            }
        };
        let late = async {
            Timer::after(left).await;
            let (limit, all) = (wanted.timeout.as_millis(), wanted.replies);
            Err(Failure::refused(format!("reply {} of {all} did not come within {limit} ms", seen + 1)))
        };
        let reply = smol::future::or(reply, late).await?;
        let data = Envelope::read(reply.as_bytes()).and_then(|envelope| envelope.data).map(|data| data.get());
        output.foreign_line(if wanted.whole { &reply } else { data.unwrap_or(&reply) }).await?;
        output.flush().await?;
    }
    Ok(())
}

/// Whether a message is a reply to this request.
///
/// # Errors
/// It is a complaint of the relay's.
fn concerns(request: &Request, message: &[u8]) -> Result<bool, Failure> {
    let Some(envelope) = Envelope::read(message) else { return Ok(false) };
    if let Some(complaint) = envelope.complaint() {
        return Err(Failure::refused(complaint));
    }
    Ok(envelope.kind == "reply" && request.is_answered_by(&envelope))
}

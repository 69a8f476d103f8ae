//! A client of a channel: the WebSocket, what comes over it and how it ends.

use std::fmt;

use async_tungstenite::tungstenite::client::IntoClientRequest;
use async_tungstenite::tungstenite::http::{HeaderValue, Response};
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use async_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};
use async_tungstenite::{WebSocketStream, client_async_with_config};
use smol::stream::{Stream as MessageStream, StreamExt};

use crate::channel::Channel;
use crate::failure::Failure;
use crate::http::Answer;
use crate::limits::{CONNECT_TIMEOUT, MESSAGE_BYTES_MAX};
use crate::node::{Node, within};
use crate::stream::Stream;

/// Bytes that a connection reads at once. A command has one, `bench` thousands.
const READ_BYTES: usize = 16 << 10;
/// Bytes that are gathered before they are written, unless they are flushed earlier.
const WRITE_BYTES: usize = 64 << 10;

/// A connection to a channel.
pub type Socket = WebSocketStream<Stream>;

/// In which part of the pattern a client takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// In all of it.
    Whole,
    /// It sends: it gets neither its own messages nor other clients' work.
    Sender,
}

/// A message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
}

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// The node closed it with a code and a reason.
    Closed(u16, String),
    /// It broke off.
    Broken(String),
}

impl End {
    /// Whether it ended as both wanted it.
    pub fn is_normal(&self) -> bool {
        matches!(self, End::Closed(1000, _))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Closed(code, reason) => {
                write!(f, "the node closed the connection with {code}: {}", meaning(*code))?;
                if reason.is_empty() { Ok(()) } else { write!(f, " ({reason})") }
            }
            End::Broken(why) => write!(f, "the connection broke: {why}"),
        }
    }
}

impl From<End> for Failure {
    fn from(end: End) -> Failure {
        Failure::refused(end.to_string())
    }
}

impl From<Error> for End {
    fn from(error: Error) -> End {
        End::Broken(error.to_string())
    }
}

/// What a close code says (RFC 6455 section 7.4.1, and the relay's own).
fn meaning(code: u16) -> &'static str {
    match code {
        1000 => "done",
        1001 => "the node shuts down",
        1002 => "a frame that breaks the protocol",
        1005 => "no code",
        1007 => "a text that is not UTF-8",
        1008 => "no answer to its pings",
        1009 => "a message longer than the node takes",
        1011 => "a fault of the node",
        1012 => "the node left its cluster; connect again",
        1013 => "this client reads too slowly",
        4404 => "the channel was deleted",
        4408 => "the channel timed out",
        _ => "a code that is not the relay's",
    }
}

impl Node {
    /// Connects to a channel, within [`CONNECT_TIMEOUT`].
    ///
    /// # Errors
    /// The node cannot be reached or refuses, in its own words.
    pub async fn join(&self, channel: &Channel, part: Part) -> Result<Socket, Failure> {
        within(CONNECT_TIMEOUT, &format!("the handshake with {self}"), self.shake_hands(channel, part)).await
    }

    async fn shake_hands(&self, channel: &Channel, part: Part) -> Result<Socket, Failure> {
        let query = match part {
            Part::Whole => "",
            Part::Sender => "?echo=false&pull=false",
        };
        let url = format!("ws://{}/channels/{}/connect{query}", self.authority(), channel.id);
        let mut request = url.into_client_request().map_err(|error| self.unreachable(&error))?;
        let bearer = |token: &str| -> Result<HeaderValue, Failure> {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| Failure::usage("a token that no header field can carry"))?;
            value.set_sensitive(true);
            Ok(value)
        };
        // Two tokens for two doors: the relay reads the API's from a field of its own as well.
        request.headers_mut().insert("Authorization", bearer(&channel.token)?);
        if let Some(token) = self.auth() {
            request.headers_mut().insert("Authentification", bearer(token)?);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(WRITE_BYTES)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        match client_async_with_config(request, self.dial().await?, Some(config)).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(response)) => Err(refusal(*response)),
            Err(error) => Err(self.unreachable(&error)),
        }
    }
}

/// Why a node did not let a client in. Its words come if they came with the head.
fn refusal(response: Response<Option<Vec<u8>>>) -> Failure {
    let status = response.status().as_u16();
    let answer = Answer { status, body: response.into_body().unwrap_or_default() };
    if serde_json::from_slice::<serde_json::Value>(&answer.body).is_ok() {
        return answer.refusal();
    }
    let meaning = match status {
        401 => "no or the wrong token",
        403 => "the origin is not allowed",
        404 => "no such channel",
        429 => "the channel or the address has as many clients as it may have",
        503 => "the node takes no clients now",
        _ => return answer.refusal(),
    };
    Failure::refused(format!("the node answers {status}: {meaning}"))
}

/// The next message; pings are answered on the way.
///
/// # Errors
/// The connection ended.
pub async fn receive(
    socket: &mut (impl MessageStream<Item = Result<Message, Error>> + Unpin),
) -> Result<Received, End> {
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) => return Ok(Received::Text(text)),
            Message::Binary(bytes) => return Ok(Received::Binary(bytes)),
            Message::Close(frame) => {
                // Reading on sends our half of the handshake; how that ends changes nothing.
                let rest = async {
                    while let Some(Ok(_)) = socket.next().await {}
                    Ok(())
                };
                let _ = within(CONNECT_TIMEOUT, "closing", rest).await;
                return Err(match frame {
                    Some(CloseFrame { code, reason }) => End::Closed(code.into(), reason.as_str().to_owned()),
                    None => End::Closed(1005, String::new()),
                });
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    Err(End::Broken("it ended without a close code".to_owned()))
}

/// Lets `work` be done while what comes over the socket is read and dropped, so that pings are answered.
///
/// # Errors
/// Those of `work`, and the end of the connection.
pub async fn meanwhile<T>(
    socket: &mut (impl MessageStream<Item = Result<Message, Error>> + Unpin),
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let reading = async {
        loop {
            receive(socket).await?;
        }
    };
    smol::future::or(work, reading).await
}

/// Our close frame.
pub fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() }))
}

/// Ends a connection as RFC 6455 section 7 has it: the node has then taken all that was sent.
///
/// # Errors
/// The node ended it otherwise, or does not answer within [`CONNECT_TIMEOUT`].
pub async fn close(mut socket: Socket) -> Result<(), Failure> {
    let closing = async {
        socket.send(goodbye()).await.map_err(End::from)?;
        loop {
            match receive(&mut socket).await {
                Ok(_) => {}
                Err(end) if end.is_normal() => return Ok(()),
                Err(end) => return Err(end.into()),
            }
        }
    };
    within(CONNECT_TIMEOUT, "closing", closing).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_contract_has_a_meaning() {
        for code in [1000, 1001, 1002, 1007, 1008, 1009, 1011, 1012, 1013, 4404, 4408] {
            assert!(!meaning(code).contains("not the relay's"), "{code}");
        }
        let end = End::Closed(4404, "gone".into());
        assert_eq!(end.to_string(), "the node closed the connection with 4404: the channel was deleted (gone)");
        assert!(!end.is_normal() && End::Closed(1000, String::new()).is_normal());
    }

    #[test]
    fn a_refused_handshake_is_told_in_the_nodes_words_or_in_ours() {
        let told = |body: &[u8]| refusal(Response::builder().status(401).body(Some(body.to_vec())).unwrap());
        let problem = br#"{"detail":"The token is wrong."}"#;
        assert_eq!(told(problem), Failure::refused("the node answers 401: The token is wrong."));
        assert_eq!(told(b"{\"deta"), Failure::refused("the node answers 401: no or the wrong token"));
    }
}

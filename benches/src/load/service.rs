//! Who is measured, and where its rooms are: the relay makes a channel over REST, a peer has fixed paths.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A server that is listening.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Service {
    /// wrs: channels over REST.
    Relay(SocketAddr),
    /// A server of the same kind with the paths `/echo` and `/pub`.
    Peer(SocketAddr),
}

/// Where clients meet: an address, and the path to ask it for.
#[derive(Clone, Debug)]
pub struct Room {
    /// Where to connect.
    pub address: SocketAddr,
    /// Path and query of the handshake.
    pub path: String,
}

impl Service {
    /// `http://ADDRESS` is the relay, `ws://ADDRESS` a peer.
    ///
    /// # Errors
    /// Another scheme, or no socket address.
    pub fn parse(url: &str) -> io::Result<Self> {
        let parse = |address: &str| {
            let address = address.trim_end_matches('/').parse();
            address.map_err(|_| io::Error::other(format!("{url}: not an ADDRESS:PORT")))
        };
        match url.split_once("://") {
            Some(("http", address)) => parse(address).map(Self::Relay),
            Some(("ws", address)) => parse(address).map(Self::Peer),
            _ => Err(io::Error::other(format!("{url}: neither http://… (the relay) nor ws://… (a peer)"))),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        match *self {
            Self::Relay(address) | Self::Peer(address) => address,
        }
    }

    /// A room of this pattern (`echo`, `pub-sub`, …).
    ///
    /// # Errors
    /// A peer has none of this pattern, or the relay does not answer 201.
    pub fn room(&self, pattern: &str) -> io::Result<Room> {
        let address = self.address();
        match (self, pattern) {
            (Self::Relay(_), _) => Self::make_channel(&mut TcpStream::connect(address)?, address, pattern),
            (Self::Peer(_), "echo") => Ok(Room { address, path: "/echo".into() }),
            (Self::Peer(_), "pub-sub") => Ok(Room { address, path: "/pub".into() }),
            (Self::Peer(_), _) => Err(io::Error::other(format!("a peer has no {pattern}"))),
        }
    }

    /// Makes a channel over an open stream to the relay, which ends with it.
    ///
    /// # Errors
    /// The relay does not answer 201.
    pub fn make_channel(stream: &mut (impl Read + Write), address: SocketAddr, pattern: &str) -> io::Result<Room> {
        // No timeout: a long measurement without a message is to keep its channel.
        let body = format!(r#"{{"pattern":"{pattern}","timeout":-1}}"#);
        let (id, token) = channel(&call(stream, address, "POST", "/channels", &body)?)?;
        Ok(Room { address, path: format!("/channels/{id}/connect?token={token}") })
    }
}

/// Id and token of a channel in the answer to its creation.
fn channel(answer: &str) -> io::Result<(String, String)> {
    let answer: serde_json::Value = serde_json::from_str(answer)?;
    let text = |value: Option<&serde_json::Value>| value.and_then(|value| value.as_str()).map(str::to_owned);
    let id = text(answer.get("data").and_then(|data| data.get("id")));
    let token = text(answer.get("token"));
    id.zip(token).ok_or_else(|| io::Error::other(format!("no id and token in {answer}")))
}

/// The body of one REST answer, after which the stream ends.
///
/// # Errors
/// Neither 200 nor 201.
pub fn call(
    stream: &mut (impl Read + Write),
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<String> {
    let size = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    write!(stream, "{head}Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n{body}")?;
    stream.flush()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200" | "201") => Ok(body.to_owned()),
        _ => Err(io::Error::other(format!("{method} {path}: {answer}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_what_kind_of_server_it_is() {
        let address = "127.0.0.1:80".parse().unwrap();
        assert_eq!(Service::parse("http://127.0.0.1:80/").unwrap(), Service::Relay(address));
        assert_eq!(Service::parse("ws://127.0.0.1:80").unwrap(), Service::Peer(address));
        assert!(Service::parse("127.0.0.1:80").is_err());
        assert!(Service::parse("http://somewhere").is_err());
    }

    #[test]
    fn id_and_token_are_found_in_the_answer() {
        let answer = r#"{"message":"…","token":"T","data":{"id":"A-B","pattern":"echo"}}"#;
        assert_eq!(channel(answer).unwrap(), ("A-B".into(), "T".into()));
        assert!(channel("{}").is_err());
    }
}

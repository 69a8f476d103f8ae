//! A WebSocket client that is not ours: tungstenite, which blocks.

use std::io::{ErrorKind, Write};

use tungstenite::client::client_with_config;
use tungstenite::handshake::client::Response;
use tungstenite::http::Request;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

use super::{Stream, http::is_end};

/// What a client got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Got {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A close frame with this code, 1005 for none; the connection has ended since.
    Closed(u16, String),
    /// The end of the connection without a close frame.
    Lost,
}

/// One client of a channel.
pub struct Ws {
    /// The client.
    pub socket: WebSocket<Stream>,
    /// The answer to its handshake.
    pub response: Response,
}

impl Ws {
    /// Shakes hands on a new connection.
    ///
    /// # Panics
    /// If the answer is not 101.
    pub fn connect(stream: Stream, port: u16, path: &str, headers: &[(&str, &str)]) -> Ws {
        let scheme = if matches!(stream, Stream::Plain(_)) { "ws" } else { "wss" };
        let mut request = Request::builder()
            .uri(format!("{scheme}://localhost:{port}{path}"))
            .header("Host", format!("localhost:{port}"))
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", tungstenite::handshake::client::generate_key());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        match client_with_config(request.body(()).unwrap(), stream, Some(config)) {
            Ok((socket, response)) => Ws { socket, response },
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Shakes hands with a node that may refuse or die: the status of another answer than 101, 0 for none.
    ///
    /// # Errors
    /// That status.
    pub fn try_connect(stream: Stream, port: u16, path: &str) -> Result<Ws, u16> {
        let url = format!("ws://localhost:{port}{path}");
        match client_with_config(url, stream, None) {
            Ok((socket, response)) => Ok(Ws { socket, response }),
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
            Err(_) => Err(0),
        }
    }

    /// A header field of the 101.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    /// What the relay calls this client.
    pub fn id(&self) -> String {
        self.header("WRS-Client-Id").expect("the 101 says who the client is").to_owned()
    }

    /// Sends a text message.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    /// Sends a binary message.
    #[track_caller]
    pub fn send_binary(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).unwrap();
    }

    /// Sends bytes past the client, which would never write them.
    pub fn write(&mut self, bytes: &[u8]) {
        self.socket.flush().unwrap();
        self.socket.get_mut().write_all(bytes).unwrap();
        self.socket.get_mut().flush().unwrap();
    }

    /// What comes next; pings are answered, pongs pass by.
    #[track_caller]
    pub fn recv(&mut self) -> Got {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Got::Text(text.to_string()),
                Ok(Message::Binary(bytes)) => return Got::Binary(bytes.to_vec()),
                Ok(Message::Close(frame)) => {
                    let (code, reason) =
                        frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                    self.see_the_end();
                    return Got::Closed(code, reason);
                }
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("nothing came in time")
                }
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                Err(Error::Io(error)) if is_end(&error) => return Got::Lost,
                Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_)) => return Got::Lost,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The other end closes the socket after the close frames.
    #[track_caller]
    fn see_the_end(&mut self) {
        loop {
            match self.socket.read() {
                Ok(_) => {}
                Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("the socket stayed open after the close frame")
                }
                Err(_) => return,
            }
        }
    }

    /// The next text message.
    #[track_caller]
    pub fn text(&mut self) -> String {
        match self.recv() {
            Got::Text(text) => text,
            other => panic!("{other:?} is no text"),
        }
    }

    /// The next binary message.
    #[track_caller]
    pub fn binary(&mut self) -> Vec<u8> {
        match self.recv() {
            Got::Binary(bytes) => bytes,
            other => panic!("{other:?} is no binary message"),
        }
    }

    /// The next text message as JSON.
    #[track_caller]
    pub fn json(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// Waits for the close frame, which must be next; its code.
    #[track_caller]
    pub fn closed(&mut self) -> u16 {
        match self.recv() {
            Got::Closed(code, _) => code,
            other => panic!("{other:?} is no close frame"),
        }
    }

    /// Sends a close frame and waits for the answer; its code.
    #[track_caller]
    pub fn leave(mut self, code: u16) -> u16 {
        let frame = tungstenite::protocol::CloseFrame { code: code.into(), reason: "".into() };
        self.socket.close(Some(frame)).unwrap();
        loop {
            match self.recv() {
                Got::Text(_) | Got::Binary(_) => {}
                Got::Closed(code, _) => return code,
                Got::Lost => panic!("no answer to the close frame"),
            }
        }
    }
}

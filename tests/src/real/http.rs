//! HTTP by hand, so that a scenario decides about every byte of a request and sees every byte of an answer.

use std::io::{ErrorKind, Read, Write};

use serde_json::Value;

use super::Stream;

/// One answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The header fields in their order.
    pub headers: Vec<(String, String)>,
    /// The body without chunks' dressing.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name));
        let value = found.next()?.1.as_str();
        assert!(found.next().is_none(), "{name} stands there twice: {:?}", self.headers);
        Some(value)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// Checks that this is an error with a status, as RFC 9457 and the contract write it; its detail.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("Content-Type"), Some("application/problem+json"));
        let body = self.json();
        assert_eq!(body["status"], status);
        for name in ["type", "title", "detail", "message"] {
            assert!(body[name].as_str().is_some_and(|text| !text.is_empty()), "{name} is missing: {body}");
        }
        body["detail"].as_str().unwrap().to_owned()
    }
}

/// One connection that HTTP is spoken on.
pub struct Http {
    /// The connection itself.
    pub stream: Stream,
    buffer: Vec<u8>,
}

impl Http {
    /// A connection on which nothing was said.
    pub fn new(stream: Stream) -> Http {
        Http { stream, buffer: Vec::new() }
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self.stream.flush().unwrap();
    }

    /// Sends a request; a body comes with its length.
    #[track_caller]
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) {
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            text += "Host: localhost\r\n";
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        self.write(text + "\r\n" + body);
    }

    /// A request and its answer.
    #[track_caller]
    pub fn call(&mut self, method: &str, path: &str, body: &str) -> Response {
        self.send(method, path, &[], body);
        self.read_to(method)
    }

    /// Reads the answer to a GET or to what has its kind of answer.
    #[track_caller]
    pub fn read(&mut self) -> Response {
        self.read_to("GET")
    }

    /// Reads the answer to a method.
    #[track_caller]
    pub fn read_to(&mut self, method: &str) -> Response {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill(), "the connection ended within a head: {:?}", String::from_utf8_lossy(&self.buffer));
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let line = lines.next().unwrap();
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{line:?} is no status line"));
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is no field"));
            (name.to_owned(), value.to_owned())
        });
        let mut response = Response { status, headers: headers.collect(), body: Vec::new() };
        let bodiless = method == "HEAD" || status < 200 || status == 204 || status == 304;
        if !bodiless {
            response.body = self.read_body(&response);
        }
        response
    }

    #[track_caller]
    fn read_body(&mut self, response: &Response) -> Vec<u8> {
        if response.header("Transfer-Encoding") == Some("chunked") {
            assert_eq!(response.header("Content-Length"), None);
            return self.read_chunks();
        }
        match response.header("Content-Length") {
            Some(length) => self.take(length.parse().unwrap()),
            None => {
                while self.fill() {}
                std::mem::take(&mut self.buffer)
            }
        }
    }

    #[track_caller]
    fn read_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(at) = find(&self.buffer, b"\r\n") {
                    break self.take(at + 2);
                }
                assert!(self.fill(), "the connection ended within chunks");
            };
            let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim_end(), 16).unwrap();
            let chunk = self.take(size + 2);
            assert!(chunk.ends_with(b"\r\n"));
            if size == 0 {
                return body;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    #[track_caller]
    fn take(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill(), "the connection ended within a body");
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads once; false at the end.
    #[track_caller]
    fn fill(&mut self) -> bool {
        let mut piece = [0; 16 << 10];
        let read = loop {
            match self.stream.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                count > 0
            }
            Err(error) if is_end(&error) => false,
            Err(error) => panic!("nothing came: {error}"),
        }
    }

    /// Waits for the end; what came before it.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buffer)
    }

    /// Waits for the end, before which nothing may come.
    #[track_caller]
    pub fn ends(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }
}

/// Whether an error only says that the other end has gone.
pub(super) fn is_end(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// A handshake (RFC 6455 section 1.2) with more header fields; one that is named replaces the handshake's own, and an
/// empty one takes it away.
pub fn upgrade_request(path: &str, headers: &[(&str, &str)]) -> String {
    let own = [
        ("Host", "localhost"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut text = format!("GET {path} HTTP/1.1\r\n");
    let kept = own.iter().filter(|(name, _)| !headers.iter().any(|(other, _)| other == name));
    for (name, value) in kept.chain(headers.iter().filter(|(_, value)| !value.is_empty())) {
        text += &format!("{name}: {value}\r\n");
    }
    text + "\r\n"
}

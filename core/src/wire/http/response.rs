//! A response to bytes (RFC 9112 §4, §6, §7).
//!
//! No `Date` is sent: nothing here has a clock, and RFC 9110 §6.6.1 lets a server without one leave it out.

use bytes::{BufMut, BytesMut};
use http::{Method, StatusCode, Version};

use super::{Head, is_value_byte};

/// The interim answer to a head that expects it (RFC 9110 §15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What a request decides about the shape of its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The client speaks HTTP/1.0: no chunks, and keep-alive has to be said.
    pub http_1_0: bool,
    /// The request was a HEAD: no body, whatever the head says of one.
    pub head_only: bool,
    /// The connection stays.
    pub keep_alive: bool,
}

impl Terms {
    /// The terms of an answer to bytes that were no request: HTTP/1.1, and the connection ends.
    pub const UNREADABLE: Terms = Terms { http_1_0: false, head_only: false, keep_alive: false };

    /// The terms that a request sets.
    pub fn of(head: &Head) -> Terms {
        Terms {
            http_1_0: head.version == Version::HTTP_10,
            head_only: head.method == Method::HEAD,
            keep_alive: head.keep_alive,
        }
    }

    /// The same, and the connection ends.
    #[must_use]
    pub fn closing(self) -> Terms {
        Terms { keep_alive: false, ..self }
    }
}

/// The head of a response while it is written: status first, then [`header`](ResponseHead::header)s, and one of
/// [`body`](ResponseHead::body), [`stream`](ResponseHead::stream) or [`empty`](ResponseHead::empty) to end it.
#[derive(Debug)]
#[must_use = "a head that is not ended leaves half a response in the buffer"]
pub struct ResponseHead<'a> {
    out: &'a mut BytesMut,
    terms: Terms,
    status: StatusCode,
}

impl<'a> ResponseHead<'a> {
    /// Writes the status line.
    pub fn begin(out: &'a mut BytesMut, terms: Terms, status: StatusCode) -> Self {
        out.put_slice(b"HTTP/1.1 ");
        out.put_slice(status.as_str().as_bytes());
        out.put_u8(b' ');
        out.put_slice(status.canonical_reason().unwrap_or("").as_bytes());
        out.put_slice(b"\r\n");
        ResponseHead { out, terms, status }
    }

    /// Writes a header field. A value that could end the line is not written, nor its name: values may come from
    /// outside, and no value is better than one that a client wrote for another.
    pub fn header(self, name: &'static str, value: &str) -> Self {
        if value.bytes().all(is_value_byte) {
            self.out.put_slice(name.as_bytes());
            self.out.put_slice(b": ");
            self.out.put_slice(value.as_bytes());
            self.out.put_slice(b"\r\n");
        }
        self
    }

    /// Ends the head and writes the whole body. Neither length nor body go out where the status has none; the length
    /// alone where HEAD was asked.
    pub fn body(self, body: &[u8]) {
        if self.bodiless() {
            return self.empty();
        }
        self.out.put_slice(b"Content-Length: ");
        put_decimal(self.out, body.len() as u64);
        self.out.put_slice(b"\r\n");
        let Terms { keep_alive, head_only, .. } = self.terms;
        let out = self.end(keep_alive);
        if !head_only {
            out.put_slice(body);
        }
    }

    /// Ends the head of a response that has no body by its status (1xx, 204, 304); any other gets a length of 0.
    pub fn empty(self) {
        if !self.bodiless() {
            self.out.put_slice(b"Content-Length: 0\r\n");
        }
        let keep_alive = self.terms.keep_alive;
        self.end(keep_alive);
    }

    /// Ends the head of a response whose body comes piece by piece: in chunks, or to an HTTP/1.0 client up to the
    /// connection's end.
    pub fn stream(self) -> BodyStream {
        let Terms { http_1_0, head_only, keep_alive } = self.terms;
        let silent = head_only || self.bodiless();
        let chunked = !http_1_0 && !silent;
        if chunked {
            self.out.put_slice(b"Transfer-Encoding: chunked\r\n");
        }
        let closes = !keep_alive || !(chunked || silent);
        self.end(!closes);
        BodyStream { chunked, silent, closes }
    }

    /// RFC 9110 §6.4.1.
    fn bodiless(&self) -> bool {
        self.status.is_informational() || matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    }

    /// RFC 9112 §9.3: HTTP/1.1 stays unless it says otherwise, HTTP/1.0 ends unless it says otherwise. An interim answer
    /// says nothing (the handshake writes `Connection: Upgrade` itself).
    fn end(self, keep_alive: bool) -> &'a mut BytesMut {
        match (keep_alive, self.terms.http_1_0) {
            _ if self.status.is_informational() => {}
            (false, _) => self.out.put_slice(b"Connection: close\r\n"),
            (true, true) => self.out.put_slice(b"Connection: keep-alive\r\n"),
            (true, false) => {}
        }
        self.out.put_slice(b"\r\n");
        self.out
    }
}

/// How the rest of a streamed body is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BodyStream {
    chunked: bool,
    silent: bool,
    closes: bool,
}

impl BodyStream {
    /// Writes one piece. An empty one writes nothing: a chunk of size 0 would be the end.
    pub fn piece(self, out: &mut BytesMut, piece: &[u8]) {
        if self.silent || piece.is_empty() {
            return;
        }
        if !self.chunked {
            return out.put_slice(piece);
        }
        put_hexadecimal(out, piece.len() as u64);
        out.put_slice(b"\r\n");
        out.put_slice(piece);
        out.put_slice(b"\r\n");
    }

    /// Writes the end. A body that is cut short must not get one: the connection is closed instead.
    pub fn end(self, out: &mut BytesMut) {
        if self.chunked {
            out.put_slice(b"0\r\n\r\n");
        }
    }

    /// Whether no body goes out (HEAD), so that the pieces need not be made.
    pub fn is_silent(self) -> bool {
        self.silent
    }

    /// Whether the connection has to end behind the body.
    pub fn closes(self) -> bool {
        self.closes
    }
}

/// Writes a number without the machinery of `format!`.
pub(crate) fn put_decimal(out: &mut BytesMut, number: u64) {
    put_digits::<10>(out, number);
}

fn put_hexadecimal(out: &mut BytesMut, number: u64) {
    put_digits::<16>(out, number);
}

fn put_digits<const BASE: u64>(out: &mut BytesMut, mut number: u64) {
    // 20 digits write any u64 in base 10, and so in any greater one.
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        let value = (number % BASE) as u8;
        *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        start -= 1;
        number /= BASE;
        if number == 0 {
            break;
        }
    }
    out.put_slice(digits.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{Body, BodyKind, Limits};
    use proptest::prelude::*;

    const TERMS: Terms = Terms { http_1_0: false, head_only: false, keep_alive: true };

    /// Reads a response with a parser that is not ours: status, fields and what follows.
    fn read(bytes: &[u8]) -> (u16, Vec<(String, String)>, Vec<u8>) {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut fields);
        let size = response.parse(bytes).unwrap().unwrap();
        assert_eq!(response.version, Some(1));
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let fields = response.headers.iter().map(|h| (h.name.to_owned(), text(h.value))).collect();
        (response.code.unwrap(), fields, bytes[size..].to_vec())
    }

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_response_reads_back_as_it_was_written() {
        let mut out = BytesMut::new();
        ResponseHead::begin(&mut out, TERMS, StatusCode::CREATED).header("Location", "/channels/A").body(b"hello");
        let fields = pairs(&[("Location", "/channels/A"), ("Content-Length", "5")]);
        assert_eq!(read(&out), (201, fields, b"hello".to_vec()));
    }

    #[test]
    fn head_gets_the_length_without_the_body() {
        let mut out = BytesMut::new();
        let terms = Terms { head_only: true, ..TERMS };
        ResponseHead::begin(&mut out, terms, StatusCode::OK).body(b"hello");
        assert_eq!(read(&out), (200, pairs(&[("Content-Length", "5")]), vec![]));
        out.clear();
        let stream = ResponseHead::begin(&mut out, terms, StatusCode::OK).stream();
        stream.piece(&mut out, b"hello");
        stream.end(&mut out);
        assert_eq!(read(&out), (200, vec![], vec![]));
        assert!(stream.is_silent() && !stream.closes());
    }

    #[test]
    fn some_statuses_have_neither_length_nor_body() {
        for status in [StatusCode::SWITCHING_PROTOCOLS, StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
            let mut out = BytesMut::new();
            ResponseHead::begin(&mut out, TERMS, status).header("Upgrade", "websocket").body(b"hello");
            assert_eq!(read(&out), (status.as_u16(), pairs(&[("Upgrade", "websocket")]), vec![]));
        }
        let mut out = BytesMut::new();
        ResponseHead::begin(&mut out, TERMS, StatusCode::OK).empty();
        assert_eq!(read(&out), (200, pairs(&[("Content-Length", "0")]), vec![]));
        assert_eq!(read(CONTINUE), (100, vec![], vec![]));
    }

    #[test]
    fn a_connection_that_differs_from_its_version_says_so() {
        for (terms, connection) in [
            (TERMS, None),
            (TERMS.closing(), Some("close")),
            (Terms { http_1_0: true, ..TERMS }, Some("keep-alive")),
            (Terms { http_1_0: true, ..TERMS }.closing(), Some("close")),
        ] {
            let mut out = BytesMut::new();
            ResponseHead::begin(&mut out, terms, StatusCode::OK).body(b"");
            let said = read(&out).1.into_iter().find(|(name, _)| name == "Connection").map(|(_, value)| value);
            assert_eq!(said.as_deref(), connection);
        }
    }

    #[test]
    fn an_old_client_reads_a_stream_to_the_end_of_the_connection() {
        let mut out = BytesMut::new();
        let stream = ResponseHead::begin(&mut out, Terms { http_1_0: true, ..TERMS }, StatusCode::OK).stream();
        stream.piece(&mut out, b"hello");
        stream.end(&mut out);
        assert!(stream.closes());
        assert_eq!(read(&out), (200, pairs(&[("Connection", "close")]), b"hello".to_vec()));
    }

    #[test]
    fn a_value_that_would_end_the_line_is_left_out() {
        let mut out = BytesMut::new();
        let head = ResponseHead::begin(&mut out, TERMS, StatusCode::OK);
        head.header("A", "b\r\nC: d").header("E", "f\0").header("G", "h\ti").body(b"");
        assert_eq!(read(&out).1, pairs(&[("G", "h\ti"), ("Content-Length", "0")]));
    }

    #[test]
    fn numbers_are_written_whole() {
        for number in [0, 9, 10, 65_535, u64::MAX] {
            let mut out = BytesMut::new();
            put_decimal(&mut out, number);
            assert_eq!(out, number.to_string());
            out.clear();
            put_hexadecimal(&mut out, number);
            assert_eq!(out, format!("{number:x}"));
        }
    }

    proptest! {
        #[test]
        fn a_stream_reads_back_as_it_was_written(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..6),
        ) {
            let mut out = BytesMut::new();
            let stream = ResponseHead::begin(&mut out, TERMS, StatusCode::OK).stream();
            for piece in &pieces {
                stream.piece(&mut out, piece);
            }
            stream.end(&mut out);
            let (_, fields, body) = read(&out);
            prop_assert_eq!(fields, pairs(&[("Transfer-Encoding", "chunked")]));
            let mut decoded = Body::new(BodyKind::Chunked, &Limits::default()).unwrap();
            prop_assert_eq!(decoded.read(&body), Ok((body.len(), true)));
            prop_assert_eq!(decoded.bytes(), pieces.concat());
        }
    }
}

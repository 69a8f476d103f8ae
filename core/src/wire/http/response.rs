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
    put_digits(out, number, 10);
}

fn put_hexadecimal(out: &mut BytesMut, number: u64) {
    put_digits(out, number, 16);
}

fn put_digits(out: &mut BytesMut, mut number: u64, base: u64) {
    // 20 digits write any u64 in base 10, and so in any greater one.
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        let value = (number % base) as u8;
        *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        start -= 1;
        number /= base;
        if number == 0 {
            break;
        }
    }
    out.put_slice(digits.get(start..).unwrap_or_default());
}

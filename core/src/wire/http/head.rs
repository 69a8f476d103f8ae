//! The head of a request: request line and header fields, and what they say about the body and the connection.

use std::fmt;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Version};

use super::target::{Target, is_host};
use super::{BodyKind, HEADERS_MAX, HttpFault, LEADING_EMPTY_LINES_MAX, Limits, METHOD_BYTES_MAX, is_token_byte};

/// What a request says before its body.
#[derive(Clone)]
pub struct Head {
    /// Any token: which methods a resource has is not for the parser to say.
    pub method: Method,
    /// Which resource.
    pub target: Target,
    /// 1.0 or 1.1; a later minor version counts as 1.1 (RFC 9110 §2.5).
    pub version: Version,
    /// The header fields; `Host` is the target's own authority if it has one (RFC 9112 §3.2.2).
    pub headers: HeaderMap,
    /// How many of the given bytes it took, the empty lines before it included.
    pub size: usize,
    /// Whether the client wants the connection to stay.
    pub keep_alive: bool,
    /// Whether the client waits for [`CONTINUE`](super::CONTINUE) before it sends the body.
    pub expect_continue: bool,
    /// How the end of the body is known.
    pub body: BodyKind,
}

impl Head {
    /// The host and port that the request is meant for, as sent; empty if it does not say.
    pub fn host(&self) -> &str {
        self.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("")
    }
}

impl fmt::Debug for Head {
    /// Shows neither fields nor query: tokens stand there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}, body {:?}", self.method, self.target.path(), self.version, self.body)
    }
}

/// How far the bytes of a connection have been searched for the end of a head, so that a head that comes byte by byte
/// is searched once and parsed once.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HeadScan {
    /// Where the request line starts: behind the empty lines.
    start: usize,
    /// Behind the request line; 0 while that has no end.
    fields: usize,
    /// Where the line that is being searched starts.
    line: usize,
    /// All bytes before this one have been searched.
    looked: usize,
}

/// The first line, checked.
struct RequestLine {
    method: Method,
    target: Target,
    version: Version,
}

impl HeadScan {
    /// Reads a head from the front of `bytes`; `None` when more bytes are needed. Call it whenever bytes have been added
    /// behind those of the last call. After `Some` it is ready for the next request, whose bytes start [`Head::size`]
    /// bytes further on; after a fault the connection has to end.
    ///
    /// The result does not depend on how the bytes were cut into calls.
    pub fn parse_head(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<Head>, HttpFault> {
        if !self.skip_empty_lines(bytes)? {
            return Ok(None);
        }
        if self.fields == 0 {
            self.check_method(bytes)?;
        }
        let mut request_line = None;
        let end = self.start.saturating_add(limits.header_bytes_max);
        let within = bytes.get(..end).unwrap_or(bytes);
        while let Some(found) = within.get(self.looked..).and_then(|rest| rest.iter().position(|&b| b == b'\n')) {
            let at = self.looked + found;
            let line = within.get(self.line..at).and_then(|line| line.strip_suffix(b"\r"));
            let line = line.ok_or(HttpFault::BareLineFeed)?;
            (self.line, self.looked) = (at + 1, at + 1);
            if self.fields == 0 {
                request_line = Some(parse_request_line(line)?);
                self.fields = at + 1;
            } else if line.is_empty() {
                let HeadScan { start, fields, .. } = std::mem::take(self);
                let request_line = match request_line {
                    Some(parsed) => parsed,
                    None => parse_request_line(bytes.get(start..fields.saturating_sub(2)).unwrap_or_default())?,
                };
                return complete(request_line, bytes.get(fields..at + 1).unwrap_or_default(), at + 1).map(Some);
            }
        }
        self.looked = within.len();
        match (bytes.len() >= end, self.fields) {
            (false, _) => Ok(None),
            (true, 0) => Err(HttpFault::RequestLineTooLong),
            (true, _) => Err(HttpFault::HeadTooLong),
        }
    }

    /// RFC 9112 §2.2: empty lines before a request line are ignored, a few of them. False while the next byte that
    /// matters is not there.
    fn skip_empty_lines(&mut self, bytes: &[u8]) -> Result<bool, HttpFault> {
        if self.looked > self.start {
            return Ok(true);
        }
        loop {
            match bytes.get(self.start..).unwrap_or_default() {
                [] | [b'\r'] => return Ok(false),
                [b'\r', b'\n', ..] if self.start < 2 * LEADING_EMPTY_LINES_MAX => self.start += 2,
                _ => break,
            }
        }
        (self.line, self.looked) = (self.start, self.start);
        Ok(true)
    }

    /// Refuses what cannot become a method as soon as it is there: a TLS `ClientHello` holds no line feed to wait for.
    fn check_method(&self, bytes: &[u8]) -> Result<(), HttpFault> {
        let line = bytes.get(self.start..).unwrap_or_default();
        let first = line.get(..METHOD_BYTES_MAX + 1).unwrap_or(line);
        let method = first.split(|&b| b == b' ').next().unwrap_or_default();
        let good = method.len() <= METHOD_BYTES_MAX && method.iter().all(|&b| is_token_byte(b));
        if good { Ok(()) } else { Err(HttpFault::RequestLine) }
    }
}

/// RFC 9112 §3: `method SP request-target SP HTTP-version`, one space each.
fn parse_request_line(line: &[u8]) -> Result<RequestLine, HttpFault> {
    let mut parts = line.splitn(3, |&b| b == b' ');
    let (Some(method), Some(target), Some(version)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(HttpFault::RequestLine);
    };
    let version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Version::HTTP_11,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => return Err(HttpFault::Version),
        _ => return Err(HttpFault::RequestLine),
    };
    let method = Method::from_bytes(method).map_err(|_| HttpFault::RequestLine)?;
    let target = Target::parse(&method, target)?;
    Ok(RequestLine { method, target, version })
}

/// Reads the header fields (`block` ends with the empty line) and draws the conclusions.
fn complete(request_line: RequestLine, block: &[u8], size: usize) -> Result<Head, HttpFault> {
    let RequestLine { method, target, version } = request_line;
    let mut headers = parse_headers(block)?;
    check_host(&headers, version)?;
    if let Some(authority) = target.authority() {
        headers.insert(HOST, HeaderValue::from_str(authority).map_err(|_| HttpFault::Target)?);
    }
    let body = body_kind(&headers, version)?;
    let expect_continue = expects_continue(&headers, version)? && body != BodyKind::None;
    // A CONNECT is never granted here; what its sender takes the following bytes for, nobody can say.
    let keep_alive = wants_keep_alive(&headers, version) && method != Method::CONNECT;
    Ok(Head { method, target, version, headers, size, keep_alive, expect_continue, body })
}

fn parse_headers(block: &[u8]) -> Result<HeaderMap, HttpFault> {
    // One copy for all values; each is a slice of it.
    let block = Bytes::copy_from_slice(block);
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let fields = match httparse::parse_headers(&block, &mut fields) {
        Ok(httparse::Status::Complete((used, fields))) if used == block.len() => fields,
        Ok(_) => return Err(HttpFault::Header),
        Err(httparse::Error::TooManyHeaders) => return Err(HttpFault::TooManyHeaders),
        Err(_) => return Err(HttpFault::Header),
    };
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| HttpFault::Header)?;
        let value = HeaderValue::from_maybe_shared(block.slice_ref(field.value)).map_err(|_| HttpFault::Header)?;
        headers.try_append(name, value).map_err(|_| HttpFault::TooManyHeaders)?;
    }
    Ok(headers)
}

/// RFC 9112 §3.2: exactly one `Host` in HTTP/1.1, at most one in HTTP/1.0.
fn check_host(headers: &HeaderMap, version: Version) -> Result<(), HttpFault> {
    let mut values = headers.get_all(HOST).iter();
    match (values.next(), values.next()) {
        (None, _) if version == Version::HTTP_10 => Ok(()),
        (Some(host), None) if std::str::from_utf8(host.as_bytes()).is_ok_and(is_host) => Ok(()),
        _ => Err(HttpFault::Host),
    }
}

/// RFC 9112 §6, with every doubtful shape refused.
fn body_kind(headers: &HeaderMap, version: Version) -> Result<BodyKind, HttpFault> {
    if headers.contains_key(TRANSFER_ENCODING) {
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(HttpFault::TwoLengths);
        }
        return check_chunked(headers, version).map(|()| BodyKind::Chunked);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(BodyKind::None) };
    // A list of equal values may be taken as one; whoever sends it is broken all the same.
    if lengths.next().is_some() {
        return Err(HttpFault::ContentLength);
    }
    match parse_length(length.as_bytes()).ok_or(HttpFault::ContentLength)? {
        0 => Ok(BodyKind::None),
        length => Ok(BodyKind::Length(length)),
    }
}

/// Digits only; `None` for anything else and for what does not fit.
fn parse_length(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |length, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

/// RFC 9112 §6.1: `chunked`, once, alone, and not in HTTP/1.0. One other coding alone is unknown (501); any list, and
/// what RFC 7230 abolished, is a way to make two readers disagree (400).
fn check_chunked(headers: &HeaderMap, version: Version) -> Result<(), HttpFault> {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(HttpFault::TransferEncoding) };
    let value = value.as_bytes();
    if version == Version::HTTP_10 || value.is_empty() || !value.iter().all(|&b| is_token_byte(b)) {
        return Err(HttpFault::TransferEncoding);
    }
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    if value.eq_ignore_ascii_case(b"identity") {
        return Err(HttpFault::TransferEncoding);
    }
    Err(HttpFault::UnknownCoding)
}

/// RFC 9110 §10.1.1: 100-continue or 417; an HTTP/1.0 client's expectation is ignored.
fn expects_continue(headers: &HeaderMap, version: Version) -> Result<bool, HttpFault> {
    let mut expects = false;
    if version == Version::HTTP_10 {
        return Ok(false);
    }
    for value in headers.get_all(EXPECT) {
        if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            return Err(HttpFault::Expectation);
        }
        expects = true;
    }
    Ok(expects)
}

/// RFC 9112 §9.3.
fn wants_keep_alive(headers: &HeaderMap, version: Version) -> bool {
    let says = |option: &[u8]| {
        let options = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|&b| b == b','));
        options.map(<[u8]>::trim_ascii).any(|given| given.eq_ignore_ascii_case(option))
    };
    !says(b"close") && (version != Version::HTTP_10 || says(b"keep-alive"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { header_bytes_max: 512, body_bytes_max: 64 };

    fn parse(bytes: &[u8]) -> Result<Option<Head>, HttpFault> {
        HeadScan::default().parse_head(bytes, &LIMITS)
    }

    fn get(fields: &str) -> Result<Head, HttpFault> {
        parse(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).map(|head| head.expect("a whole head"))
    }

    /// Gives the bytes piece by piece; the cuts are taken round and round.
    fn parse_cut(bytes: &[u8], cuts: &[usize]) -> Result<Option<Head>, HttpFault> {
        let mut scan = HeadScan::default();
        let mut given = 0;
        for cut in cuts.iter().cycle() {
            given = (given + cut).min(bytes.len());
            if let Some(head) = scan.parse_head(&bytes[..given], &LIMITS)? {
                return Ok(Some(head));
            }
            if given == bytes.len() {
                break;
            }
        }
        Ok(None)
    }

    /// What of a result can be compared.
    fn seen(result: Result<Option<Head>, HttpFault>) -> Result<Option<String>, HttpFault> {
        result.map(|head| {
            head.map(|h| format!("{h:?} {:?} {:?} {} {}", h.target.query().raw(), h.headers, h.size, h.keep_alive))
        })
    }

    #[test]
    fn a_head_says_what_the_request_is() {
        let bytes = b"POST /channel?x=1 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\nX: \xE9\r\n\r\nhelloGET";
        let head = parse(bytes).unwrap().unwrap();
        assert_eq!((head.method.as_str(), head.target.path(), head.host()), ("POST", "/channels", "a:80"));
        assert_eq!((head.body, head.size), (BodyKind::Length(5), bytes.len() - 8));
        assert!(head.keep_alive && !head.expect_continue);
        assert!(!format!("{head:?}").contains("x=1"), "a query may hold a token");
    }

    #[test]
    fn shapes_of_smuggling_are_refused() {
        use HttpFault::*;
        for (fields, fault) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", TwoLengths),
            ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", TwoLengths),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", ContentLength),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", ContentLength),
            ("Content-Length: 5, 5\r\n", ContentLength),
            ("Content-Length: 5,6\r\n", ContentLength),
            ("Content-Length: +5\r\n", ContentLength),
            ("Content-Length: -5\r\n", ContentLength),
            ("Content-Length: 5 5\r\n", ContentLength),
            ("Content-Length: 0x5\r\n", ContentLength),
            ("Content-Length: 5a\r\n", ContentLength),
            ("Content-Length:\r\n", ContentLength),
            ("Content-Length: 18446744073709551616\r\n", ContentLength),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", TransferEncoding),
            ("Transfer-Encoding: chunked, chunked\r\n", TransferEncoding),
            ("Transfer-Encoding: gzip, chunked\r\n", TransferEncoding),
            ("Transfer-Encoding: chunked, gzip\r\n", TransferEncoding),
            ("Transfer-Encoding: chunked;q=1\r\n", TransferEncoding),
            ("Transfer-Encoding: identity\r\n", TransferEncoding),
            ("Transfer-Encoding: \"chunked\"\r\n", TransferEncoding),
            ("Transfer-Encoding: \u{b}chunked\r\n", Header),
            ("Transfer-Encoding:\r\n", TransferEncoding),
            ("Transfer-Encoding: gzip\r\n", UnknownCoding),
            ("Transfer-Encoding: xchunked\r\n", UnknownCoding),
            ("Transfer-Encoding : chunked\r\n", Header),
            ("Content-Length : 5\r\n", Header),
            (" Content-Length: 5\r\n", Header),
            ("X: a\r\n Content-Length: 5\r\n", Header),
            ("X: a\r\n\tb\r\n", Header),
            ("X\r\n", Header),
            (": a\r\n", Header),
            ("X: a\rContent-Length: 5\r\n", Header),
            ("X: a\r\rContent-Length: 5\r\n", Header),
            ("X: a\nContent-Length: 5\r\n", BareLineFeed),
            ("\nX: a\r\n", BareLineFeed),
            ("X: a\0b\r\n", Header),
            ("X: a\u{1}b\r\n", Header),
            ("X: a\u{7f}b\r\n", Header),
            ("X\0: a\r\n", Header),
            ("Host: a\r\n", Host),
            ("Expect: 200-ok\r\n", Expectation),
            ("Expect: 100-continue\r\nExpect: x\r\n", Expectation),
        ] {
            assert_eq!(get(fields).err(), Some(fault), "{fields:?}");
        }
    }

    #[test]
    fn request_lines_are_strict() {
        use HttpFault::*;
        for (line, fault) in [
            ("GET /", RequestLine),
            ("GET", RequestLine),
            ("GET  / HTTP/1.1", RequestLine),
            ("GET /  HTTP/1.1", RequestLine),
            ("GET / HTTP/1.1 ", RequestLine),
            (" GET / HTTP/1.1", RequestLine),
            ("GET\t/ HTTP/1.1", RequestLine),
            ("GET / http/1.1", RequestLine),
            ("GET / HTTP/1", RequestLine),
            ("GET / HTTP/1.10", RequestLine),
            ("GET / HTTP/+1.1", RequestLine),
            ("GET / HTTP/2.0", Version),
            ("PRI * HTTP/2.0", Version),
            ("GET / HTTP/0.9", Version),
            ("G{T / HTTP/1.1", RequestLine),
            ("GET /\r HTTP/1.1", Target),
            ("GET /\0 HTTP/1.1", Target),
            ("GET * HTTP/1.1", Target),
            ("GET a.example HTTP/1.1", Target),
            ("\r", RequestLine),
        ] {
            assert_eq!(parse(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()).err(), Some(fault), "{line:?}");
        }
        for line in ["get / HTTP/1.1", "BREW / HTTP/1.2", "OPTIONS * HTTP/1.1", "CONNECT a:1 HTTP/1.1"] {
            assert!(parse(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()).unwrap().is_some(), "{line:?}");
        }
    }

    #[test]
    fn what_is_not_http_is_refused_at_once() {
        for garbage in [&b"\x16\x03\x01\x02\x00"[..], b"\x00", b"{", b"\xff", b"GET\0", b"\r\r", b"hello\r\n", b"\n"] {
            assert_eq!(parse(garbage).err().map(HttpFault::status), Some(StatusCode::BAD_REQUEST), "{garbage:?}");
        }
        assert_eq!(parse(&[b'A'; METHOD_BYTES_MAX + 1]).err(), Some(HttpFault::RequestLine));
        assert_eq!(parse(b"GET /\r\n").err(), Some(HttpFault::RequestLine), "HTTP/0.9 waits for nothing more");
    }

    #[test]
    fn a_few_empty_lines_may_come_before_a_request() {
        let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let most = "\r\n".repeat(LEADING_EMPTY_LINES_MAX) + request;
        assert_eq!(parse(most.as_bytes()).unwrap().unwrap().size, most.len());
        assert_eq!(parse(format!("\r\n{most}").as_bytes()).err(), Some(HttpFault::RequestLine));
    }

    #[test]
    fn a_long_request_line_is_414_and_a_long_head_431() {
        let line = |length: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(length));
        assert_eq!(parse(line(512).as_bytes()).err(), Some(HttpFault::RequestLineTooLong));
        assert_eq!(parse(&line(512).as_bytes()[..511]).err(), None);
        let fields = |length: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(length));
        let exact = 512 - fields(0).len();
        assert_eq!(parse(fields(exact).as_bytes()).unwrap().unwrap().size, 512);
        assert_eq!(parse(fields(exact + 1).as_bytes()).err(), Some(HttpFault::HeadTooLong));
        assert_eq!(HttpFault::HeadTooLong.status().as_u16(), 431);
        assert_eq!(HttpFault::RequestLineTooLong.status().as_u16(), 414);
    }

    #[test]
    fn the_number_of_fields_is_bounded() {
        let limits = Limits { header_bytes_max: 1 << 16, ..LIMITS };
        let head = |fields: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(fields - 1));
        let parse = |text: String| HeadScan::default().parse_head(text.as_bytes(), &limits);
        assert_eq!(parse(head(HEADERS_MAX)).unwrap().unwrap().headers.len(), HEADERS_MAX);
        assert_eq!(parse(head(HEADERS_MAX + 1)).err(), Some(HttpFault::TooManyHeaders));
    }

    #[test]
    fn host_is_there_once_and_is_a_host() {
        assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\n").err(), Some(HttpFault::Host));
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n").err(), Some(HttpFault::Host));
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n").err(), Some(HttpFault::Host));
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n").err(), Some(HttpFault::Host));
        assert_eq!(parse(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n").err(), Some(HttpFault::Host));
        assert_eq!(parse(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap().host(), "");
        let absolute = parse(b"GET http://b:1/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().unwrap();
        assert_eq!((absolute.host(), absolute.target.path()), ("b:1", "/x"));
    }

    #[test]
    fn lengths_and_codings_that_are_plain_are_read() {
        assert_eq!(get("").unwrap().body, BodyKind::None);
        assert_eq!(get("Content-Length: 0\r\n").unwrap().body, BodyKind::None);
        assert_eq!(get("Content-Length: \t007 \r\n").unwrap().body, BodyKind::Length(7));
        let most = format!("Content-Length: {}\r\n", u64::MAX);
        assert_eq!(get(&most).unwrap().body, BodyKind::Length(u64::MAX));
        assert_eq!(get("Transfer-Encoding: Chunked\r\n").unwrap().body, BodyKind::Chunked);
        let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(parse(old).err(), Some(HttpFault::TransferEncoding));
    }

    #[test]
    fn a_client_is_told_to_continue_only_when_a_body_waits() {
        assert!(get("Expect: 100-Continue\r\nContent-Length: 5\r\n").unwrap().expect_continue);
        assert!(!get("Expect: 100-continue\r\n").unwrap().expect_continue);
        let old = parse(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").unwrap().unwrap();
        assert!(!old.expect_continue, "an HTTP/1.0 client does not know the answer");
        assert_eq!(HttpFault::Expectation.status().as_u16(), 417);
    }

    #[test]
    fn a_connection_stays_as_long_as_the_version_says() {
        let stays = |version: &str, connection: &str| {
            let head = format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n");
            parse(head.as_bytes()).unwrap().unwrap().keep_alive
        };
        assert!(stays("1.1", ""));
        assert!(stays("1.1", "upgrade"));
        assert!(!stays("1.1", "upgrade , Close"));
        assert!(!stays("1.0", ""));
        assert!(stays("1.0", "Keep-Alive"));
        assert!(!stays("1.0", "keep-alive, close"));
        assert!(!parse(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").unwrap().unwrap().keep_alive);
    }

    #[test]
    fn a_scan_is_ready_for_the_next_request() {
        let bytes = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\nGE";
        let mut scan = HeadScan::default();
        let first = scan.parse_head(bytes, &LIMITS).unwrap().unwrap();
        let second = scan.parse_head(&bytes[first.size..], &LIMITS).unwrap().unwrap();
        assert_eq!((first.target.path(), second.target.path()), ("/a", "/b"));
        let rest = &bytes[first.size + second.size..];
        assert_eq!(rest, b"GE");
        assert!(scan.parse_head(rest, &LIMITS).unwrap().is_none());
    }

    #[test]
    fn a_head_byte_by_byte_is_searched_once() {
        let limits = Limits { header_bytes_max: 1 << 20, ..LIMITS };
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(100_000));
        let mut scan = HeadScan::default();
        for given in 1..=head.len() {
            assert!(scan.parse_head(&head.as_bytes()[..given], &limits).unwrap().is_none());
            // Nothing but the last byte is left for the next call.
            assert!(scan.looked == given || given <= scan.start + 1);
        }
    }

    /// Pieces of requests, right and wrong, in any order.
    fn request() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just("GET / HTTP/1.1\r\n".to_owned()),
            Just("POST /channel?a=b HTTP/1.0\r\n".to_owned()),
            Just("Host: a\r\n".to_owned()),
            Just("Content-Length: 5\r\n".to_owned()),
            Just("Transfer-Encoding: chunked\r\n".to_owned()),
            Just("\r\n".to_owned()),
            Just("X: y\n".to_owned()),
            Just("X: \ry\r\n".to_owned()),
            Just("HTTP/2.0".to_owned()),
            "[ -~]{0,300}",
            "[\\x00-\\xff]{0,3}",
        ];
        let lines = proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat().into_bytes());
        let good = Just(b"GET /a%20b?c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nrest".to_vec());
        prop_oneof![4 => lines, 1 => good]
    }

    proptest! {
        #[test]
        fn a_head_reads_the_same_however_it_is_cut(
            bytes in request(),
            cuts in proptest::collection::vec(1usize..20, 1..20),
        ) {
            prop_assert_eq!(seen(parse_cut(&bytes, &cuts)), seen(parse(&bytes)));
        }

        #[test]
        fn garbage_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            if let Ok(Some(head)) = parse(&bytes) {
                prop_assert!(head.size <= bytes.len());
            }
        }
    }
}

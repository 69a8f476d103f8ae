//! The head of a request: request line and header fields, and what they say about the body and the connection.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Version};

use super::target::{Target, is_host};
use super::{BodyKind, HEADERS_MAX, HttpFault, LEADING_EMPTY_LINES_MAX, Limits, METHOD_BYTES_MAX, is_token_byte};

/// What a request says before its body.
#[derive(Clone, Debug)]
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

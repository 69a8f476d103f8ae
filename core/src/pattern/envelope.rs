//! The JSON around the messages of `req-repl` and `fan-in-out`: what it says, and a request with its sender's name on it.
//!
//! A message is read once, front to back, without building a tree: it has to be JSON, but only the names `type` and
//! `origin` of its top level mean anything. Nothing is allocated unless an escaped reply origin or nesting deeper than a
//! machine word asks for it. Rule guarded: whatever the relay does not write itself passes byte for byte.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{BufMut, BytesMut};

use crate::id::ClientId;

/// By how many bytes [`write_request`] can make a message longer.
pub const ORIGIN_BYTES_MAX: usize = r#""origin":"","#.len() + 32;

/// What a message is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Envelope<'a> {
    /// `"type":"request"`: for others, with its sender's name.
    Request(Request),
    /// `"type":"reply"`: for the client that it names.
    Reply(Reply<'a>),
}

/// Where a request's origin goes. Only means something together with the bytes that it was read from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Behind the opening brace.
    open: usize,
    /// The sender's own origin with one comma; empty if it wrote none.
    cut: Range<usize>,
}

/// Whom a reply is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply<'a> {
    origin: Cow<'a, str>,
}

impl Reply<'_> {
    /// The origin as the sender gave it, unescaped; it may name nobody.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

/// Why a message is neither request nor reply. The sender's fault; it is told with code `malformed` and stays connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// Not UTF-8, or not one JSON object (RFC 8259).
    NotAnObject,
    /// No `type`.
    NoType,
    /// A `type` that is neither `"request"` nor `"reply"`.
    UnknownType,
    /// More than one `type`.
    DoubledType,
    /// More than one `origin`.
    DoubledOrigin,
    /// An `origin` that is not a string.
    OriginNotString,
    /// A reply without `origin`.
    NoOrigin,
}

impl Malformed {
    /// One sentence for the sender.
    pub fn reason(self) -> &'static str {
        match self {
            Malformed::NotAnObject => "the message is not one JSON object in UTF-8",
            Malformed::NoType => "the message has no \"type\"",
            Malformed::UnknownType => "\"type\" is neither \"request\" nor \"reply\"",
            Malformed::DoubledType => "\"type\" stands there more than once",
            Malformed::DoubledOrigin => "\"origin\" stands there more than once",
            Malformed::OriginNotString => "\"origin\" is not a string",
            Malformed::NoOrigin => "a reply needs an \"origin\"",
        }
    }
}

/// Reads a message, text or binary.
///
/// # Errors
/// What the sender is to be told.
pub fn parse(bytes: &[u8]) -> Result<Envelope<'_>, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::NotAnObject)?;
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    scan.space();
    scan.take(b'{').ok_or(Malformed::NotAnObject)?;
    let found = scan.members()?;
    scan.space();
    if scan.at != bytes.len() {
        return Err(Malformed::NotAnObject);
    }
    match found.kind.ok_or(Malformed::NoType)? {
        MessageType::Request => Ok(Envelope::Request(Request { open: found.open, cut: found.cut })),
        MessageType::Reply => {
            let origin = found.origin.ok_or(Malformed::NoOrigin)?.unescape(text);
            Ok(Envelope::Reply(Reply { origin }))
        }
    }
}

/// Appends a request with `origin` as its first member. `message` is what `request` was read from. The sender's own
/// origin is left out; every other byte stays. At least `type` follows, so that a comma always does.
pub fn write_request(out: &mut BytesMut, message: &[u8], request: &Request, origin: ClientId) {
    let part = |range: Range<usize>| message.get(range).unwrap_or_default();
    out.reserve(message.len() + ORIGIN_BYTES_MAX);
    out.extend_from_slice(part(0..request.open));
    out.extend_from_slice(br#""origin":""#);
    out.extend_from_slice(&digits(origin));
    out.extend_from_slice(br#"","#);
    out.extend_from_slice(part(request.open..request.cut.start));
    out.extend_from_slice(part(request.cut.end..message.len()));
}

/// The id as its `Display` writes it, several times as fast.
fn digits(client: ClientId) -> [u8; 32] {
    let bits = (u128::from(client.life.0) << 64)
        | (u128::from(client.shard.0) << 48)
        | u128::from(client.serial & 0xFFFF_FFFF_FFFF);
    let mut digits = [0; 32];
    for (place, digit) in digits.iter_mut().enumerate() {
        let nibble = (bits >> (4 * (31 - place))) as u8 & 0xF;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    digits
}

/// Appends `{"type":"error","code":…,"message":…}`.
pub fn error_message(out: &mut BytesMut, code: &str, message: &str) {
    let mut string = |before: &[u8], text: &str| {
        out.extend_from_slice(before);
        // Writing to a buffer that grows cannot fail, and a `str` is always a JSON string.
        let _ = serde_json::to_writer(out.writer(), text);
    };
    string(br#"{"type":"error","code":"#, code);
    string(br#","message":"#, message);
    out.extend_from_slice(b"}");
}

/// The two types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum MessageType {
    Request,
    Reply,
}

/// What the top level's members said.
#[derive(Default)]
struct Found {
    open: usize,
    kind: Option<MessageType>,
    origin: Option<Text>,
    cut: Range<usize>,
}

/// A JSON string, from behind its opening to before its closing quote.
#[derive(Clone, Copy)]
struct Text {
    start: usize,
    end: usize,
    escaped: bool,
}

impl Text {
    fn raw(self, text: &str) -> &str {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// A surrogate without its other half becomes U+FFFD, so that it equals nothing that a relay ever wrote.
    fn unescape(self, text: &str) -> Cow<'_, str> {
        let raw = self.raw(text);
        if !self.escaped { Cow::Borrowed(raw) } else { Cow::Owned(Unescape(raw.chars()).collect()) }
    }

    /// Whether the string is `expected`; allocates nothing.
    fn is(self, bytes: &[u8], expected: &str) -> bool {
        let raw = bytes.get(self.start..self.end).unwrap_or_default();
        if !self.escaped {
            return raw == expected.as_bytes();
        }
        std::str::from_utf8(raw).is_ok_and(|raw| Unescape(raw.chars()).eq(expected.chars()))
    }
}

/// The characters that a string of valid JSON stands for (RFC 8259 section 7).
struct Unescape<'a>(std::str::Chars<'a>);

impl Unescape<'_> {
    fn unit(&mut self) -> u32 {
        self.0.by_ref().take(4).fold(0, |unit, c| (unit << 4) | c.to_digit(16).unwrap_or(0))
    }

    /// After `\u`: one UTF-16 unit, and a second one if the two are a pair.
    fn code_point(&mut self) -> char {
        let first = self.unit();
        if (0xD800..0xDC00).contains(&first) {
            let before = self.0.clone();
            if self.0.next() == Some('\\') && self.0.next() == Some('u') {
                let second = self.unit();
                if (0xDC00..0xE000).contains(&second) {
                    let pair = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                    return char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER);
                }
            }
            self.0 = before;
        }
        char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)
    }
}

impl Iterator for Unescape<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self.0.next()? {
            '\\' => Some(match self.0.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => self.code_point(),
                other => other,
            }),
            plain => Some(plain),
        }
    }
}

/// Which containers are open around a value, one bit each: the innermost sixty-four in a word, the others spilt. So it
/// is bounded by the message's length, and as deep as a message can be.
#[derive(Default)]
struct Nest {
    depth: usize,
    word: u64,
    spilt: Vec<u64>,
}

/// A container of values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

impl Nest {
    const WORD: usize = 64;

    fn push(&mut self, container: Container) {
        if self.depth != 0 && self.depth.is_multiple_of(Self::WORD) {
            self.spilt.push(self.word);
        }
        self.word = (self.word << 1) | u64::from(container == Container::Object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.word = match self.depth != 0 && self.depth.is_multiple_of(Self::WORD) {
            true => self.spilt.pop().unwrap_or_default(),
            false => self.word >> 1,
        };
    }

    fn innermost(&self) -> Option<Container> {
        let kind = if self.word & 1 == 1 { Container::Object } else { Container::Array };
        (self.depth != 0).then_some(kind)
    }
}

/// A reader of JSON that goes front to back. `None` from any of its methods: this is not JSON.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    /// Steps over `byte` if it is next.
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.bytes.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The members of the top-level object and its closing brace, from behind its opening one.
    fn members(&mut self) -> Result<Found, Malformed> {
        let mut found = Found { open: self.at, cut: self.at..self.at, ..Found::default() };
        // Where the comma before the current member stands; the brace for the first one, which has no comma.
        let mut before = self.at;
        self.space();
        if self.take(b'}').is_some() {
            return Ok(found);
        }
        loop {
            self.space();
            let start = self.at;
            let name = self.name().ok_or(Malformed::NotAnObject)?;
            self.space();
            let value = self.text_or_other().ok_or(Malformed::NotAnObject)?;
            let end = self.at;
            self.space();
            let comma = self.at;
            let last = match self.next() {
                Some(b',') => false,
                Some(b'}') => true,
                _ => return Err(Malformed::NotAnObject),
            };
            if name.is(self.bytes, "type") {
                self.note_type(&mut found, value)?;
            } else if name.is(self.bytes, "origin") {
                Self::note_origin(&mut found, value, if last { before..end } else { start..comma + 1 })?;
            }
            if last {
                return Ok(found);
            }
            before = comma;
        }
    }

    fn note_type(&self, found: &mut Found, value: Option<Text>) -> Result<(), Malformed> {
        if found.kind.is_some() {
            return Err(Malformed::DoubledType);
        }
        found.kind = match value.ok_or(Malformed::UnknownType)? {
            text if text.is(self.bytes, "request") => Some(MessageType::Request),
            text if text.is(self.bytes, "reply") => Some(MessageType::Reply),
            _ => return Err(Malformed::UnknownType),
        };
        Ok(())
    }

    fn note_origin(found: &mut Found, value: Option<Text>, cut: Range<usize>) -> Result<(), Malformed> {
        if found.origin.is_some() {
            return Err(Malformed::DoubledOrigin);
        }
        found.origin = Some(value.ok_or(Malformed::OriginNotString)?);
        found.cut = cut;
        Ok(())
    }

    /// The value of a member: the text if it is a string.
    fn text_or_other(&mut self) -> Option<Option<Text>> {
        match self.take(b'"') {
            Some(()) => self.string().map(Some),
            None => self.value().map(|()| None),
        }
    }

    /// A member's name and the colon behind it.
    fn name(&mut self) -> Option<Text> {
        self.take(b'"')?;
        let name = self.string()?;
        self.space();
        self.take(b':')?;
        Some(name)
    }

    /// A value of any depth, without recursion.
    fn value(&mut self) -> Option<()> {
        let mut nest = Nest::default();
        loop {
            self.space();
            match self.next()? {
                b'{' => {
                    self.space();
                    if self.take(b'}').is_none() {
                        nest.push(Container::Object);
                        self.name()?;
                        continue;
                    }
                }
                b'[' => {
                    self.space();
                    if self.take(b']').is_none() {
                        nest.push(Container::Array);
                        continue;
                    }
                }
                b'"' => drop(self.string()?),
                first => self.scalar(first)?,
            }
            if !self.after_value(&mut nest)? {
                return Some(());
            }
        }
    }

    /// Behind a value: closes containers until a comma says that another value follows. Whether one does.
    fn after_value(&mut self, nest: &mut Nest) -> Option<bool> {
        while let Some(container) = nest.innermost() {
            self.space();
            match (self.next()?, container) {
                (b',', Container::Array) => return Some(true),
                (b',', Container::Object) => {
                    self.space();
                    self.name()?;
                    return Some(true);
                }
                (b']', Container::Array) | (b'}', Container::Object) => nest.pop(),
                _ => return None,
            }
        }
        Some(false)
    }

    /// A number or one of the three names; `first` is behind us.
    fn scalar(&mut self, first: u8) -> Option<()> {
        match first {
            b't' => self.literal(b"rue"),
            b'f' => self.literal(b"alse"),
            b'n' => self.literal(b"ull"),
            b'-' => match self.next()? {
                digit @ b'0'..=b'9' => self.number(digit),
                _ => None,
            },
            b'0'..=b'9' => self.number(first),
            _ => None,
        }
    }

    fn literal(&mut self, rest: &[u8]) -> Option<()> {
        self.rest().starts_with(rest).then(|| self.at += rest.len())
    }

    /// The rest of a number (RFC 8259 section 6) whose first digit is behind us. A zero stands alone before the point.
    fn number(&mut self, first: u8) -> Option<()> {
        if first != b'0' {
            self.digits();
        }
        if self.take(b'.').is_some() && self.digits() == 0 {
            return None;
        }
        if self.take(b'e').or_else(|| self.take(b'E')).is_some() {
            let _sign = self.take(b'+').or_else(|| self.take(b'-'));
            if self.digits() == 0 {
                return None;
            }
        }
        Some(())
    }

    fn digits(&mut self) -> usize {
        let count = self.rest().iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        count
    }

    /// The rest of a string whose opening quote is behind us.
    fn string(&mut self) -> Option<Text> {
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_bytes(self.rest());
            match self.next()? {
                b'"' => return Some(Text { start, end: self.at - 1, escaped }),
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.rest().get(..4)?;
                digits.iter().all(u8::is_ascii_hexdigit).then(|| self.at += 4)
            }
            _ => None,
        }
    }
}

/// How many bytes stand before the first that means something in a string: a quote, a backslash or a control character.
/// Eight at a time: a byte that is zero, or less than a bound, borrows into its top bit when the bound is taken off, and
/// the lowest byte that does is always a true one.
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES * 0x80;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & TOPS;
    let (words, tail) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let found = quote | backslash | below(word, 0x20);
        if found != 0 {
            return 8 * n + (found.trailing_zeros() / 8) as usize;
        }
    }
    let plain = |b: &u8| !matches!(b, b'"' | b'\\' | 0..0x20);
    8 * words.len() + tail.iter().take_while(|b| plain(b)).count()
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;

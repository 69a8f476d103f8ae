//! The request target (RFC 9112 §3.2): which resource, under one spelling.
//!
//! Routing and every access rule look at [`Target::path`] only, which has exactly one spelling for each resource, so
//! that `//channels`, `/%63hannels`, `/x/../channels` and `/channel` get round nothing. Decoding happens once: what a
//! decoded text still holds of `%` is a name's own character.

use std::borrow::Cow;
use std::fmt;

use http::Method;

use super::{HttpFault, QUERY_PARAMETERS_MAX};

/// The target of one request.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Path and query as they were sent, without a scheme and an authority.
    raw: String,
    /// Where the raw path ends.
    path_end: usize,
    /// The path under its one spelling, where `raw` has another.
    normal: Option<String>,
    /// The authority of an absolute-form target. It stands above `Host` (RFC 9112 §3.2.2).
    authority: Option<String>,
}

impl Target {
    /// The path of `OPTIONS *` and of every `CONNECT`: no resource, the server as a whole.
    pub const ASTERISK: &'static str = "*";

    /// Reads the text between method and version. A fault is the client's.
    pub fn parse(method: &Method, text: &[u8]) -> Result<Target, HttpFault> {
        if text.is_empty() || text.iter().any(|&b| b <= 0x20 || b == 0x7F || b == b'#') {
            return Err(HttpFault::Target);
        }
        let text = std::str::from_utf8(text).map_err(|_| HttpFault::Target)?;
        if *method == Method::CONNECT {
            return if is_host(text) { Ok(Self::asterisk()) } else { Err(HttpFault::Target) };
        }
        if text.starts_with('/') {
            return Self::origin_form(text.to_owned(), None);
        }
        if text == Self::ASTERISK && *method == Method::OPTIONS {
            return Ok(Self::asterisk());
        }
        Self::absolute_form(text)
    }

    fn asterisk() -> Target {
        Target { raw: Self::ASTERISK.to_owned(), path_end: Self::ASTERISK.len(), normal: None, authority: None }
    }

    fn origin_form(raw: String, authority: Option<String>) -> Result<Target, HttpFault> {
        let path_end = raw.find('?').unwrap_or(raw.len());
        let query = raw.get(path_end..).unwrap_or("");
        if query.bytes().filter(|&b| b == b'&').count() >= QUERY_PARAMETERS_MAX {
            return Err(HttpFault::TooManyParameters);
        }
        let path = raw.get(..path_end).unwrap_or("");
        let normal = if is_normal(path) { None } else { Some(normalise(path)?) };
        Ok(Target { raw, path_end, normal, authority })
    }

    /// `http://host:port/path?query`: what a proxy would be sent, and a server must accept too.
    fn absolute_form(text: &str) -> Result<Target, HttpFault> {
        let (scheme, rest) = text.split_once("://").ok_or(HttpFault::Target)?;
        if !["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(HttpFault::Target);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end).ok_or(HttpFault::Target)?;
        if authority.is_empty() || !is_host(authority) {
            return Err(HttpFault::Target);
        }
        let raw = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        Self::origin_form(raw, Some(authority.to_owned()))
    }

    /// The path under its one spelling: decoded, no empty, `.` or `..` segment, no slash at the end, `/channels` for
    /// `/channel`. It starts with `/`, or is [`Target::ASTERISK`].
    pub fn path(&self) -> &str {
        self.normal.as_deref().unwrap_or(self.raw_path())
    }

    /// The path as it was sent. For logs; no rule may look at it.
    pub fn raw_path(&self) -> &str {
        self.raw.get(..self.path_end).unwrap_or("")
    }

    /// The parameters behind the question mark.
    pub fn query(&self) -> Query<'_> {
        Query(self.raw.get(self.path_end + 1..).unwrap_or(""))
    }

    /// The authority of an absolute-form target.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }
}

impl fmt::Debug for Target {
    /// Shows no query: tokens stand there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

/// Whether a raw path has its one spelling already, so that nothing need be copied. Errs on the side of "no".
fn is_normal(path: &str) -> bool {
    let mut before = 0;
    for byte in path.bytes() {
        if byte == b'%' || byte >= 0x80 || (before == b'/' && matches!(byte, b'/' | b'.')) {
            return false;
        }
        before = byte;
    }
    (before != b'/' || path.len() == 1) && path != "/channel" && !path.starts_with("/channel/")
}

/// Brings a path that starts with `/` to its one spelling.
fn normalise(path: &str) -> Result<String, HttpFault> {
    let decoded = decode_path(path)?;
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            // Above the root is the root (RFC 3986 §5.2.4).
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    if let Some(first) = segments.first_mut().filter(|first| **first == "channel") {
        *first = "channels";
    }
    let mut normal = String::with_capacity(decoded.len() + 2);
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if normal.is_empty() {
        normal.push('/');
    }
    Ok(normal)
}

/// Decodes `%xx`, once. A `%` without two digits, bytes that are not UTF-8 and control characters are no path.
fn decode_path(path: &str) -> Result<String, HttpFault> {
    let mut pieces = path.split('%');
    pieces.next();
    for piece in pieces {
        let digits = piece.as_bytes().get(..2).ok_or(HttpFault::Target)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(HttpFault::Target);
        }
    }
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8().map_err(|_| HttpFault::Target)?;
    if decoded.chars().any(char::is_control) {
        return Err(HttpFault::Target);
    }
    Ok(decoded.into_owned())
}

/// The parameters of a query, decoded as they are asked for: `%xx` and `+` for a space. What is not UTF-8 becomes
/// U+FFFD, so it equals no token and no name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// The parameters in the text behind a question mark.
    pub fn new(raw: &'a str) -> Self {
        Query(raw)
    }

    /// The query as it was sent. It may hold tokens: never log it.
    pub fn raw(self) -> &'a str {
        self.0
    }

    /// All parameters in the order sent, at most [`QUERY_PARAMETERS_MAX`].
    pub fn pairs(self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        self.0.split('&').filter(|pair| !pair.is_empty()).take(QUERY_PARAMETERS_MAX).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_parameter(name), decode_parameter(value))
        })
    }

    /// All values of one name: of several tokens given, one right one suffices.
    pub fn all<'n>(self, name: &'n str) -> impl Iterator<Item = Cow<'a, str>> + use<'a, 'n> {
        self.pairs().filter(move |(key, _)| key == name).map(|(_, value)| value)
    }

    /// The first value of one name.
    pub fn first(self, name: &str) -> Option<Cow<'a, str>> {
        self.all(name).next()
    }
}

fn decode_parameter(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

/// Whether `text` is `uri-host [ ":" port ]` (RFC 9110 §7.2), an empty host included.
pub(super) fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let Some((address, rest)) = bracketed.split_once(']') else { return false };
            if !address.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')) || address.is_empty() {
                return false;
            }
            match rest.strip_prefix(':') {
                Some(port) => ("", port),
                None => ("", if rest.is_empty() { "" } else { return false }),
            }
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let port_fits = port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    let reg_name = |b: u8| {
        b.is_ascii_alphanumeric()
            || matches!(b, b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'')
            || matches!(b, b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
    };
    port_fits && host.bytes().all(reg_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> Result<String, HttpFault> {
        Target::parse(&Method::GET, text.as_bytes()).map(|target| target.path().to_owned())
    }

    #[test]
    fn every_spelling_of_a_path_names_one_resource() {
        for (sent, meant) in [
            ("/", "/"),
            ("/channels", "/channels"),
            ("/channels/", "/channels"),
            ("//channels", "/channels"),
            ("/%63hannels", "/channels"),
            ("/channel", "/channels"),
            ("/channel/", "/channels"),
            ("/channel/D679-05F5", "/channels/D679-05F5"),
            ("/%63hannel/D679-05F5/connect?token=x", "/channels/D679-05F5/connect"),
            ("/x/../channels", "/channels"),
            ("/x/%2e%2E/channels", "/channels"),
            ("/./channels/.", "/channels"),
            ("/../../channels", "/channels"),
            ("/x/../channel", "/channels"),
            ("/channels%2FAB", "/channels/AB"),
            ("/channels/..", "/"),
            ("/x//..//channels", "/channels"),
            ("/channelss", "/channelss"),
            ("/channels/%2563", "/channels/%63"),
            ("/.well-known", "/.well-known"),
            ("/cluster/join/[::1]:4000", "/cluster/join/[::1]:4000"),
            ("/gr%C3%BCn", "/grün"),
            ("http://a.example:80/channel/x?y", "/channels/x"),
            ("HTTP://a.example", "/"),
            ("ws://[::1]:8080?x", "/"),
        ] {
            assert_eq!(path(sent).as_deref(), Ok(meant), "{sent}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for sent in [
            "",
            "channels",
            "*",
            "/a b",
            "/a\tb",
            "/%",
            "/%4",
            "/%zz",
            "/%+1",
            "/%00",
            "/%0a",
            "/%7F",
            "/%C2%80",
            "/%ff",
            "/#x",
            "ftp://a/",
            "http:///x",
            "http://u@a/",
            "http://a:b:c/",
            "http://a:123456/",
            "://a/",
            "a:80",
        ] {
            assert_eq!(path(sent), Err(HttpFault::Target), "{sent}");
        }
    }

    #[test]
    fn the_asterisk_and_an_authority_are_no_resource() {
        assert_eq!(Target::parse(&Method::OPTIONS, b"*").unwrap().path(), "*");
        assert_eq!(Target::parse(&Method::CONNECT, b"a.example:443").unwrap().path(), "*");
        assert!(Target::parse(&Method::CONNECT, b"/channels").is_err());
        assert!(Target::parse(&Method::GET, b"*").is_err());
    }

    #[test]
    fn a_query_gives_all_values_of_a_name() {
        let target = Target::parse(&Method::GET, b"/c?token=a&x&token=b%20c+d&%74oken=e&=f&token").unwrap();
        let tokens: Vec<_> = target.query().all("token").collect();
        assert_eq!(tokens, ["a", "b c d", "e", ""]);
        assert_eq!(target.query().first("x").as_deref(), Some(""));
        assert_eq!(target.query().first("y"), None);
        assert_eq!(Query::new("a=%ff%zz").first("a").as_deref(), Some("\u{FFFD}%zz"));
        assert_eq!(target.raw_path(), "/c");
    }

    #[test]
    fn a_query_has_a_bounded_number_of_parameters() {
        let most = format!("/?{}", vec!["a"; QUERY_PARAMETERS_MAX].join("&"));
        assert!(path(&most).is_ok());
        assert_eq!(path(&format!("{most}&a")), Err(HttpFault::TooManyParameters));
    }

    #[test]
    fn hosts_are_names_or_addresses_with_a_port_or_without() {
        for good in ["", "a", "a.example", "a:80", "a:", "127.0.0.1:8080", "[::1]", "[::1]:80", "a_b"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["a b", "a/b", "a:b", "a:80:90", "[::1", "[]", "[::1]x", "[g]", "u@a", "a\u{e9}", "a:123456", "a?"] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_short_way_and_the_long_way_agree(path in "(/|\\.|channel|s|%2e|%2F|a){0,12}") {
            let path = format!("/{path}");
            if is_normal(&path) {
                prop_assert_eq!(normalise(&path), Ok(path));
            }
        }

        #[test]
        fn a_normal_path_stays_as_it_is(path in "(/|\\.|channel|s|a|é){0,12}") {
            let once = normalise(&format!("/{path}")).unwrap();
            prop_assert_eq!(normalise(&once), Ok(once));
        }

        #[test]
        fn any_bytes_make_a_target_or_a_fault(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(target) = Target::parse(&Method::GET, &bytes) {
                prop_assert!(target.path().starts_with('/'));
                prop_assert!(target.query().pairs().count() <= QUERY_PARAMETERS_MAX);
            }
        }
    }
}

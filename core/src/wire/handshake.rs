//! The WebSocket opening handshake (RFC 6455 section 4): the request's headers in, the 101 out.
//!
//! It decides nothing about channels or tokens: it says what the client offers and what the protocol allows. Guards the
//! rules that no byte of a request reaches the 101 unless it is a token of the grammar, and that an extension offer
//! which is not understood whole is declined.

use std::borrow::Cow;
use std::fmt::{Display, Write};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{BufMut, BytesMut};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, Method, Version};
use sha1::{Digest, Sha1};

use super::deflate::Window;
use super::http::is_token_byte;

/// The version that a handshake must ask for, and the value of `Sec-WebSocket-Version` beside a 426.
pub const VERSION: &str = "13";

/// What a subprotocol starts with that carries a channel's token.
pub const CHANNEL_TOKEN_PREFIX: &str = "wrs.token.";

/// What a subprotocol starts with that carries the API's token.
pub const API_TOKEN_PREFIX: &str = "wrs.auth.";

/// What every key is hashed with (RFC 6455 section 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key: 16 bytes in base64.
const KEY_DIGITS: usize = 24;

/// Clients draw keys at random, some without regard to the last digit's spare bits; nothing depends on those.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// What a request for a channel is, as far as the handshake goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome<'h> {
    /// No WebSocket is asked for: 426.
    NotUpgrade,
    /// A version other than 13 is asked for: 426 with `Sec-WebSocket-Version: 13`.
    BadVersion,
    /// A handshake that breaks the rules: 400, and in which way.
    Bad(&'static str),
    /// A handshake that may be answered with 101.
    Upgrade(Upgrade<'h>),
}

/// What a valid handshake asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upgrade<'h> {
    /// The value of `Sec-WebSocket-Accept`.
    pub accept: [u8; 28],
    /// The subprotocols in the client's order, tokens among them; each is a token of the grammar.
    pub subprotocols: Vec<&'h str>,
    /// The terms of the first offer of compression that is acceptable, if compression is on.
    pub deflate: Option<DeflateTerms>,
}

/// What was agreed about compression (RFC 7692 section 7.1), beside that neither side keeps its context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeflateTerms {
    /// The window that this server's messages are compressed with.
    pub window: Window,
    /// Whether the client asked for that window, so that the answer must name it (section 7.1.2.1).
    window_asked: bool,
}

/// Reads a handshake. `compression` says whether permessage-deflate is on (`WRS_DEFLATE`).
pub fn parse<'h>(method: &Method, version: Version, headers: &'h HeaderMap, compression: bool) -> Outcome<'h> {
    // RFC 9110 section 7.8: in an HTTP/1.0 request there is no upgrade.
    if version < Version::HTTP_11 || !names(headers, UPGRADE, "websocket") {
        return Outcome::NotUpgrade;
    }
    if method != Method::GET {
        return Outcome::Bad("the method is not GET");
    }
    if !names(headers, CONNECTION, "upgrade") {
        return Outcome::Bad("Connection does not name Upgrade");
    }
    match single(headers, SEC_WEBSOCKET_VERSION) {
        Some(VERSION) => {}
        Some(_) => return Outcome::BadVersion,
        None => return Outcome::Bad("Sec-WebSocket-Version is missing or there twice"),
    }
    upgrade(headers, compression).map_or_else(Outcome::Bad, Outcome::Upgrade)
}

fn upgrade(headers: &HeaderMap, compression: bool) -> Result<Upgrade<'_>, &'static str> {
    let key = single(headers, SEC_WEBSOCKET_KEY).ok_or("Sec-WebSocket-Key is missing or there twice")?;
    let mut bytes = [0; KEY_DIGITS];
    let drawn = BASE64.decode_slice(key, &mut bytes).map_err(|_| "Sec-WebSocket-Key is not base64")?;
    if key.len() != KEY_DIGITS || drawn != 16 {
        return Err("Sec-WebSocket-Key is not 16 bytes long");
    }
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let value = value.to_str().map_err(|_| "Sec-WebSocket-Protocol is not a list of tokens")?;
        if !elements(value).all(is_token) {
            return Err("Sec-WebSocket-Protocol is not a list of tokens");
        }
    }
    let deflate = negotiate(headers)?.filter(|_| compression);
    Ok(Upgrade { accept: accept_key(key.as_bytes()), subprotocols: subprotocols(headers).collect(), deflate })
}

/// The value of `Sec-WebSocket-Accept` for a value of `Sec-WebSocket-Key` (RFC 6455 section 4.2.2).
pub fn accept_key(key: &[u8]) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    let mut accept = [0; 28];
    let digits = BASE64.encode_slice(digest, &mut accept);
    debug_assert_eq!(digits, Ok(28), "20 bytes are 28 digits");
    accept
}

/// The subprotocols that a request offers, in its order, whatever else is wrong with the handshake.
pub fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok()).flat_map(elements)
}

/// The channel tokens that a request offers as subprotocols; readable before the handshake is found to be valid.
pub fn channel_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    subprotocols(headers).filter_map(|entry| entry.strip_prefix(CHANNEL_TOKEN_PREFIX))
}

/// The API tokens that a request offers as subprotocols; readable before the handshake is found to be valid.
pub fn api_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    subprotocols(headers).filter_map(|entry| entry.strip_prefix(API_TOKEN_PREFIX))
}

/// The subprotocol to confirm: the first that is not a token. If all are tokens, the first channel token's entry, or
/// else the first: a browser fails a connection on which it offered some and none was confirmed.
pub fn choose_subprotocol<'h>(offered: &[&'h str]) -> Option<&'h str> {
    let is_channel_token = |entry: &&str| entry.starts_with(CHANNEL_TOKEN_PREFIX);
    let of_application = |entry: &&str| !is_channel_token(entry) && !entry.starts_with(API_TOKEN_PREFIX);
    let mut entries = offered.iter().copied();
    entries.clone().find(of_application).or_else(|| entries.clone().find(is_channel_token)).or_else(|| entries.next())
}

/// Appends the 101, from status line to blank line. `protocol` is one that the client offered in [`Upgrade`].
pub fn encode_response(
    out: &mut BytesMut,
    accept: &[u8; 28],
    protocol: Option<&str>,
    deflate: Option<DeflateTerms>,
    client_id: impl Display,
) {
    out.put_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    out.put_slice(b"Sec-WebSocket-Accept: ");
    out.put_slice(accept);
    if let Some(protocol) = protocol {
        out.put_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.put_slice(protocol.as_bytes());
    }
    if let Some(terms) = deflate {
        out.put_slice(b"\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; ");
        out.put_slice(b"client_no_context_takeover");
        if terms.window_asked {
            put_display(out, format_args!("; server_max_window_bits={}", terms.window.bits()));
        }
    }
    put_display(out, format_args!("\r\nWRS-Client-Id: {client_id}\r\n\r\n"));
}

fn put_display(out: &mut BytesMut, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a buffer in memory takes all text");
}

/// The value of a header that must be there once; `None` where it is not, or is not text.
fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then(|| trim(value))
}

/// Whether one of the header's lists holds `token`, in any case.
fn names(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let mut lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lists.any(|list| elements(list).any(|element| element.eq_ignore_ascii_case(token)))
}

/// The elements of a list without quoted strings; empty ones do not count (RFC 9110 section 5.6.1.2).
fn elements(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(trim).filter(|element| !element.is_empty())
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

const BAD_EXTENSIONS: &str = "Sec-WebSocket-Extensions is malformed";

/// The terms of the first offer of permessage-deflate that is acceptable (RFC 7692 section 5).
fn negotiate(headers: &HeaderMap) -> Result<Option<DeflateTerms>, &'static str> {
    let mut agreed = None;
    for value in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        let mut text = Scanner { rest: value.to_str().map_err(|_| BAD_EXTENSIONS)? };
        loop {
            while text.eat(',') {}
            if text.is_at_end() {
                break;
            }
            // The header is read to its end all the same: malformed is malformed (RFC 6455 section 9.1).
            let terms = offer(&mut text).ok_or(BAD_EXTENSIONS)?;
            agreed = agreed.or(terms);
            if !text.eat(',') && !text.is_at_end() {
                return Err(BAD_EXTENSIONS);
            }
        }
    }
    Ok(agreed)
}

/// One offer: outside `None` when malformed, inside when declined.
fn offer(text: &mut Scanner<'_>) -> Option<Option<DeflateTerms>> {
    let mut acceptable = text.token()? == "permessage-deflate";
    let mut seen = [false; 4];
    let mut terms = DeflateTerms { window: Window::MAX, window_asked: false };
    while text.eat(';') {
        let name = text.token()?;
        let value = if text.eat('=') { Some(text.value()?) } else { None };
        let value = value.as_deref();
        let (index, valid) = match name {
            // Given in every answer, asked for or not.
            "server_no_context_takeover" => (0, value.is_none()),
            "client_no_context_takeover" => (1, value.is_none()),
            // A hint of what the client can be told to keep to; nothing has to be told.
            "client_max_window_bits" => (2, value.is_none_or(|value| window_bits(value).is_some())),
            "server_max_window_bits" => {
                let window = value.and_then(window_bits).and_then(Window::new);
                terms = DeflateTerms { window: window.unwrap_or(Window::MAX), window_asked: true };
                (3, window.is_some())
            }
            _ => {
                acceptable = false;
                continue;
            }
        };
        // A parameter that stands twice declines the offer, as one that is unknown or invalid does (section 7.1).
        let seen = seen.get_mut(index)?;
        acceptable &= valid && !*seen;
        *seen = true;
    }
    Some(acceptable.then_some(terms))
}

/// A decimal from 8 to 15 without leading zeros (RFC 7692 section 7.1.2.1).
fn window_bits(text: &str) -> Option<u8> {
    let bits = text.parse::<u8>().ok()?;
    (text.bytes().next() != Some(b'+') && !text.starts_with('0') && (8..=15).contains(&bits)).then_some(bits)
}

/// The grammar of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1), one piece after the other.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn is_at_end(&mut self) -> bool {
        self.rest = trim(self.rest);
        self.rest.is_empty()
    }

    /// Takes `mark` if it comes next, behind space.
    fn eat(&mut self, mark: char) -> bool {
        let rest = trim(self.rest).strip_prefix(mark);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn token(&mut self) -> Option<&'a str> {
        let text = trim(self.rest);
        let length = text.bytes().take_while(|byte| is_token_byte(*byte)).count();
        let (token, rest) = text.split_at_checked(length)?;
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// A token, or a quoted string that holds one once its backslashes are taken away.
    fn value(&mut self) -> Option<Cow<'a, str>> {
        if !self.eat('"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = String::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => value.push(chars.next()?),
                char => value.push(char),
            }
        }
        self.rest = chars.as_str();
        is_token(&value).then_some(Cow::Owned(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: (&str, &str) = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    const BASE: [(&str, &str); 4] =
        [("Upgrade", "websocket"), ("Connection", "Upgrade"), KEY, ("Sec-WebSocket-Version", "13")];

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn without(name: &str) -> Vec<(&'static str, &'static str)> {
        BASE.into_iter().filter(|(header, _)| *header != name).collect()
    }

    /// The outcome for a handshake in which this header's lines are these.
    fn with<T>(name: &str, values: &[&str], check: impl FnOnce(Outcome<'_>) -> T) -> T {
        let mut lines: Vec<(&str, &str)> = without(name);
        lines.extend(values.iter().map(|value| (name, *value)));
        check(parse(&Method::GET, Version::HTTP_11, &headers(&lines), true))
    }

    fn is_bad(outcome: Outcome<'_>) -> bool {
        matches!(outcome, Outcome::Bad(_))
    }

    fn terms(offers: &[&str]) -> Result<Option<(u8, bool)>, &'static str> {
        with("Sec-WebSocket-Extensions", offers, |outcome| match outcome {
            Outcome::Upgrade(upgrade) => Ok(upgrade.deflate.map(|terms| (terms.window.bits(), terms.window_asked))),
            Outcome::Bad(reason) => Err(reason),
            Outcome::NotUpgrade | Outcome::BadVersion => panic!("the handshake is otherwise fine"),
        })
    }

    #[test]
    fn the_handshake_of_the_rfc_is_accepted() {
        let headers = headers(&BASE);
        let Outcome::Upgrade(upgrade) = parse(&Method::GET, Version::HTTP_11, &headers, true) else {
            panic!("an upgrade")
        };
        assert_eq!(&upgrade.accept, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!((upgrade.subprotocols, upgrade.deflate), (vec![], None));
    }

    #[test]
    fn tokens_count_in_any_case_place_and_line() {
        let fine = |outcome: Outcome<'_>| matches!(outcome, Outcome::Upgrade(_));
        assert!(with("Connection", &["keep-alive, uPgrade"], fine));
        assert!(with("Connection", &["keep-alive", "foo,\tUPGRADE ,, bar"], fine));
        assert!(with("Upgrade", &["h2c", "WebSocket"], fine));
    }

    #[test]
    fn what_asks_for_no_websocket_is_no_upgrade() {
        assert!(with("Upgrade", &[], |outcome| outcome == Outcome::NotUpgrade));
        assert!(with("Upgrade", &["h2c, websocket2"], |outcome| outcome == Outcome::NotUpgrade));
        assert_eq!(parse(&Method::GET, Version::HTTP_10, &headers(&BASE), true), Outcome::NotUpgrade);
    }

    #[test]
    fn another_version_is_told_apart_from_none() {
        assert!(with("Sec-WebSocket-Version", &["8"], |outcome| outcome == Outcome::BadVersion));
        assert!(with("Sec-WebSocket-Version", &["14"], |outcome| outcome == Outcome::BadVersion));
        assert!(with("Sec-WebSocket-Version", &[], is_bad));
        assert!(with("Sec-WebSocket-Version", &["13", "13"], is_bad));
    }

    #[test]
    fn a_broken_handshake_is_bad() {
        assert!(is_bad(parse(&Method::POST, Version::HTTP_11, &headers(&BASE), true)));
        assert!(with("Connection", &["keep-alive"], is_bad));
        for keys in [
            &[][..],
            &["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="],
            &["dGhlIHNhbXBsZSBub25jZQ"],
            &["dGhlIHNhbXBsZSBub25jZQ=!"],
            &["dGhlIHNhbXBsZSBub25jZTE="],
            &["dGhlIHNhbXBsZSBub25j"],
            &[""],
        ] {
            assert!(with("Sec-WebSocket-Key", keys, is_bad), "{keys:?}");
        }
        for protocols in [&["a b"][..], &["chat", "x\"y"], &["a/b"], &["a,b;c"]] {
            assert!(with("Sec-WebSocket-Protocol", protocols, is_bad), "{protocols:?}");
        }
    }

    #[test]
    fn tokens_are_read_from_subprotocols_even_of_a_bad_handshake() {
        let lines = [
            ("Sec-WebSocket-Protocol", "chat, wrs.token.ABC"),
            ("Sec-WebSocket-Protocol", "a b,wrs.auth.secret,wrs.token.DEF,WRS.token.no"),
        ];
        let headers = headers(&lines);
        assert_eq!(channel_tokens(&headers).collect::<Vec<_>>(), ["ABC", "DEF"]);
        assert_eq!(api_tokens(&headers).collect::<Vec<_>>(), ["secret"]);
    }

    #[test]
    fn the_first_subprotocol_that_is_no_token_is_confirmed() {
        assert_eq!(choose_subprotocol(&[]), None);
        assert_eq!(choose_subprotocol(&["wrs.token.A", "chat", "v2"]), Some("chat"));
        assert_eq!(choose_subprotocol(&["wrs.auth.B", "wrs.token.A"]), Some("wrs.token.A"));
        assert_eq!(choose_subprotocol(&["wrs.auth.B"]), Some("wrs.auth.B"));
    }

    #[test]
    fn compression_is_agreed_with_the_window_that_was_asked_for() {
        assert_eq!(terms(&[]), Ok(None));
        assert_eq!(terms(&["permessage-deflate"]), Ok(Some((15, false))));
        assert_eq!(terms(&["permessage-deflate; client_max_window_bits"]), Ok(Some((15, false))));
        assert_eq!(terms(&["permessage-deflate; server_max_window_bits=15"]), Ok(Some((15, true))));
        assert_eq!(terms(&["permessage-deflate;server_max_window_bits=\"9\""]), Ok(Some((9, true))));
        assert_eq!(terms(&["permessage-deflate ; server_max_window_bits = \"1\\0\" "]), Ok(Some((10, true))));
        let all = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                   client_max_window_bits=8; server_max_window_bits=12";
        assert_eq!(terms(&[all]), Ok(Some((12, true))));
    }

    #[test]
    fn the_first_acceptable_offer_wins() {
        assert_eq!(
            terms(&["foo;x=\"a\", permessage-deflate;server_max_window_bits=8, permessage-deflate"]),
            Ok(Some((15, false)))
        );
        assert_eq!(
            terms(&["permessage-deflate;new", "permessage-deflate;server_max_window_bits=11"]),
            Ok(Some((11, true)))
        );
        assert_eq!(terms(&["permessage-deflate;server_max_window_bits=9,permessage-deflate"]), Ok(Some((9, true))));
    }

    #[test]
    fn an_offer_with_an_invalid_parameter_is_declined() {
        for parameters in [
            "unknown",
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_no_context_takeover; server_no_context_takeover",
            "server_max_window_bits",
            "server_max_window_bits=8",
            "server_max_window_bits=16",
            "server_max_window_bits=09",
            "server_max_window_bits=+9",
            "server_max_window_bits=9; server_max_window_bits=9",
            "client_max_window_bits=7",
            "client_max_window_bits; client_max_window_bits",
        ] {
            assert_eq!(terms(&[&format!("permessage-deflate; {parameters}")]), Ok(None), "{parameters}");
        }
    }

    #[test]
    fn malformed_extensions_are_bad() {
        for value in
            ["permessage-deflate;", "a b", ";", "a;b=", "a;b=\"c", "a;b=\"\"", "a;b=\"c d\"", "a,=", "a;b=\"\\"]
        {
            assert_eq!(terms(&[value]), Err(BAD_EXTENSIONS), "{value}");
        }
    }

    #[test]
    fn compression_that_is_off_is_never_agreed() {
        let mut lines = BASE.to_vec();
        lines.push(("Sec-WebSocket-Extensions", "permessage-deflate"));
        let headers = headers(&lines);
        let Outcome::Upgrade(upgrade) = parse(&Method::GET, Version::HTTP_11, &headers, false) else {
            panic!("an upgrade")
        };
        assert_eq!(upgrade.deflate, None);
    }

    #[test]
    fn the_answer_names_all_that_was_agreed() {
        let mut out = BytesMut::new();
        let terms = DeflateTerms { window: Window::MIN, window_asked: true };
        encode_response(&mut out, &accept_key(KEY.1.as_bytes()), Some("chat"), Some(terms), "c-1");
        let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\
            Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
            server_max_window_bits=9\r\nWRS-Client-Id: c-1\r\n\r\n";
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
    }

    #[test]
    fn tungstenite_takes_our_answer() {
        use tungstenite::handshake::client::{ClientHandshake, generate_request};
        let request = http::Request::get("ws://localhost/channels/A/connect");
        let request = BASE.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.header("Host", "localhost").header("Sec-WebSocket-Protocol", "chat").body(()).unwrap();
        let (written, key) = generate_request(request.clone()).unwrap();
        assert!(written.starts_with(b"GET /channels/A/connect HTTP/1.1\r\n"));
        let Outcome::Upgrade(upgrade) = parse(&Method::GET, Version::HTTP_11, request.headers(), false) else {
            panic!("an upgrade")
        };
        let mut out = BytesMut::new();
        encode_response(&mut out, &upgrade.accept, choose_subprotocol(&upgrade.subprotocols), None, 7);
        assert_eq!(upgrade.accept, tungstenite::handshake::derive_accept_key(key.as_bytes()).as_bytes());
        let stream = Duplex(std::io::Cursor::new(out.to_vec()));
        let start = ClientHandshake::start(stream, request, None).unwrap();
        let (_, response) = start.handshake().map_err(|error| error.to_string()).unwrap();
        assert_eq!(response.headers()["WRS-Client-Id"], "7");
    }

    /// What is written is lost, what is read is our answer.
    struct Duplex(std::io::Cursor<Vec<u8>>);

    impl std::io::Read for Duplex {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl std::io::Write for Duplex {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn accept_keys_are_tungstenites(key: Vec<u8>) {
            let theirs = tungstenite::handshake::derive_accept_key(&key);
            prop_assert_eq!(&accept_key(&key)[..], theirs.as_bytes());
        }

        #[test]
        fn no_header_makes_the_handshake_panic(
            extensions in "[ -~]{0,60}|(permessage-deflate|;|,|=|\"|\\\\|server_max_window_bits|9|15| ){0,12}",
            protocols in "[ -~]{0,40}", key in "[ -~]{0,30}",
        ) {
            let given = [("Sec-WebSocket-Extensions", extensions), ("Sec-WebSocket-Protocol", protocols)];
            let key = if key.len() % 2 == 0 { KEY.1.to_owned() } else { key };
            let mut map = headers(&without("Sec-WebSocket-Key"));
            map.append("sec-websocket-key", key.parse().unwrap());
            for (name, value) in given {
                map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            if let Outcome::Upgrade(upgrade) = parse(&Method::GET, Version::HTTP_11, &map, true) {
                prop_assert!(upgrade.subprotocols.iter().all(|entry| is_token(entry)));
            }
        }
    }
}

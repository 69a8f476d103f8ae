//! Tokens: where a request can carry them, and whether one of them is right.

use std::borrow::Cow;
use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::Secret;
use crate::wire::handshake;
use crate::wire::http::Query;

/// Tokens of one request that are looked at, at most; each may cost a hash. Those beyond it count as not given.
pub const CANDIDATES_MAX: usize = 32;

/// The thesis's spelling of `Authorization`; it carries API tokens.
const AUTHENTIFICATION: &str = "authentification";

/// SHA-256 of a channel's token: what is stored and replicated in the token's place. Tokens are random, so that a plain
/// hash hides them.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: impl AsRef<[u8]>) -> Self {
        TokenHash(Sha256::digest(token).into())
    }

    /// A hash that was stored or replicated.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        TokenHash(bytes)
    }

    /// The hash, to be stored or replicated.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `token` is the one. The time it takes depends on its length alone.
    pub fn matches(&self, token: &str) -> bool {
        *self == TokenHash::of(token)
    }
}

impl PartialEq for TokenHash {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a candidate may open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Channel,
    Api,
    /// A Bearer counts for whichever of the two tokens it equals.
    Either,
}

/// The tokens that one request carries, wherever they stand. One right one suffices.
#[derive(Default)]
pub struct Credentials<'r> {
    candidates: Vec<(Door, Cow<'r, str>)>,
}

impl<'r> Credentials<'r> {
    /// The tokens in a request's query and headers: `?token=`, `?auth=`, Bearer in `Authorization` and
    /// `Authentification`, and the subprotocols `wrs.token.…` and `wrs.auth.…`.
    pub fn of(query: Query<'r>, headers: &'r HeaderMap) -> Self {
        let mut credentials = Credentials::default();
        for (name, value) in query.pairs() {
            match name.as_ref() {
                "token" => credentials.add(Door::Channel, value),
                "auth" => credentials.add(Door::Api, value),
                _ => {}
            }
        }
        for value in headers.get_all(AUTHORIZATION).iter().filter_map(|value| bearer(value.as_bytes())) {
            credentials.add(Door::Either, value.into());
        }
        for value in headers.get_all(AUTHENTIFICATION).iter().filter_map(|value| bearer(value.as_bytes())) {
            credentials.add(Door::Api, value.into());
        }
        for token in handshake::channel_tokens(headers) {
            credentials.add(Door::Channel, token.into());
        }
        for token in handshake::api_tokens(headers) {
            credentials.add(Door::Api, token.into());
        }
        credentials
    }

    /// The token in a JSON body's member `auth`. A body that cannot be read carries none.
    pub fn add_body(&mut self, body: &'r [u8]) {
        #[derive(Deserialize)]
        struct Body<'b> {
            #[serde(borrow)]
            auth: Option<Cow<'b, str>>,
        }
        // Derived readers take an array for a struct too; only an object has members.
        if body.trim_ascii_start().starts_with(b"{")
            && let Ok(Body { auth: Some(token) }) = serde_json::from_slice(body)
        {
            self.add(Door::Api, token);
        }
    }

    fn add(&mut self, door: Door, token: Cow<'r, str>) {
        if self.candidates.len() < CANDIDATES_MAX && !token.is_empty() {
            self.candidates.push((door, token));
        }
    }

    /// Whether one of the tokens is the API's.
    pub fn open_api(&self, secret: &Secret) -> bool {
        self.any(Door::Api, |token| secret.matches(token.as_bytes()))
    }

    /// Whether one of the tokens is the channel's.
    pub fn open_channel(&self, hash: &TokenHash) -> bool {
        self.any(Door::Channel, |token| hash.matches(token))
    }

    /// Looks at all of them, so that the time does not tell which one was right.
    fn any(&self, door: Door, matches: impl Fn(&str) -> bool) -> bool {
        let fitting = self.candidates.iter().filter(|(own, _)| *own == door || *own == Door::Either);
        fitting.fold(false, |open, (_, token)| open | matches(token))
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.candidates.len())
    }
}

/// The token of `Bearer …` (RFC 6750 section 2.1); the scheme in any case (RFC 9110 section 11.1).
fn bearer(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let (scheme, token) = text.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    /// What a request opens: (the API with token `api`, the channel with token `chan`).
    fn opens(query: &str, list: &[(&str, &str)], body: &str) -> (bool, bool) {
        let headers = headers(list);
        let mut credentials = Credentials::of(Query::new(query), &headers);
        credentials.add_body(body.as_bytes());
        (credentials.open_api(&Secret::new("api")), credentials.open_channel(&TokenHash::of("chan")))
    }

    #[test]
    fn a_token_opens_its_door_from_every_place_of_the_contract() {
        for (query, list, body, expected) in [
            ("token=chan", &[][..], "", (false, true)),
            ("auth=%61pi", &[], "", (true, false)),
            ("", &[("Authorization", "Bearer chan")], "", (false, true)),
            ("", &[("Authorization", "bEARER   api ")], "", (true, false)),
            ("", &[("Authentification", "Bearer api")], "", (true, false)),
            ("", &[("Sec-WebSocket-Protocol", "chat, wrs.token.chan")], "", (false, true)),
            ("", &[("Sec-WebSocket-Protocol", "wrs.auth.api")], "", (true, false)),
            ("", &[], r#" {"pattern":1,"auth":"\u0061pi"}"#, (true, false)),
            ("token=chan&auth=api", &[], "", (true, true)),
        ] {
            assert_eq!(opens(query, list, body), expected, "{query} {list:?} {body}");
        }
    }

    #[test]
    fn a_token_opens_no_other_door() {
        for (query, list, body) in [
            ("token=api&auth=chan", &[][..], ""),
            ("TOKEN=chan", &[], ""),
            ("", &[("Authorization", "Basic chan")], ""),
            ("", &[("Authorization", "chan")], ""),
            ("", &[("Authentification", "Bearer chan")], ""),
            ("", &[("Sec-WebSocket-Protocol", "wrs.token.api, wrs.auth.chan")], ""),
            ("", &[], r#"["api"]"#),
            ("", &[], r#"{"auth":"api""#),
            ("", &[], r#"{"auth":["api"]}"#),
            ("", &[], r#"{"auth":"api","auth":"x"}"#),
            ("", &[], r#"{"a":{"auth":"api"}}"#),
            ("", &[], r#"{"auth":null}"#),
            ("", &[], "\u{feff}{\"auth\":\"api\"}"),
        ] {
            assert_eq!(opens(query, list, body), (false, false), "{query} {list:?} {body}");
        }
    }

    #[test]
    fn of_several_tokens_one_right_one_suffices_within_the_limit() {
        assert_eq!(opens("token=x&token=chan&auth=y", &[("Authorization", "Bearer api")], ""), (true, true));
        let wrong = "auth=x&".repeat(CANDIDATES_MAX - 1);
        assert_eq!(opens(&format!("{wrong}auth=api"), &[], ""), (true, false));
        assert_eq!(opens(&format!("{wrong}auth=x&auth=api"), &[], ""), (false, false));
        assert_eq!(
            opens(&format!("{}auth=api", "auth=&".repeat(40)), &[], ""),
            (true, false),
            "empty ones cost nothing"
        );
    }

    #[test]
    fn nothing_shows_a_token_or_its_hash() {
        let list = headers(&[("Authorization", "Bearer s3cr3t")]);
        let credentials = Credentials::of(Query::new("token=s3cr3t"), &list);
        assert_eq!(format!("{credentials:?} {:?}", TokenHash::of("s3cr3t")), "2 tokens ***");
    }

    #[test]
    fn a_hash_is_sha_256_and_survives_storage() {
        let hash = TokenHash::of("abc");
        assert_eq!(hash.as_bytes()[..4], [0xBA, 0x78, 0x16, 0xBF]);
        assert_eq!(TokenHash::from_bytes(*hash.as_bytes()), hash);
        assert!(hash.matches("abc") && !hash.matches("abd") && hash != TokenHash::of(""));
    }
}

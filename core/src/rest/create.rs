//! What a creator says of a channel: a JSON body, or the parameters of a query.
//!
//! Members that are not known here are ignored, `null` counts as absent, and a number is an integer as it is written:
//! `1.0` and `1e3` are none. What is refused is named.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::Problem;
use crate::pattern::Pattern;
use crate::wire::http::Query;

/// The greatest timeout in milliseconds, and the greatest number of clients: what a JSON number carries exactly.
pub const MILLIS_OR_CLIENTS_MAX: u64 = 1 << 53;
/// The timeout of a channel whose creator gives none, in milliseconds: a day.
pub const TIMEOUT_MS_DEFAULT: u64 = 86_400_000;

/// A channel as its creator wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CreateChannel {
    /// How messages travel.
    pub pattern: Pattern,
    /// Most clients at a time, at most [`MILLIS_OR_CLIENTS_MAX`]; `None` for no limit.
    pub client_limit: Option<u64>,
    /// Milliseconds without a message after which it is deleted, at most [`MILLIS_OR_CLIENTS_MAX`]; `None` for never.
    pub timeout_ms: Option<u64>,
}

/// The members that mean something. Doubled ones are refused; `auth` is legal whatever it is, and the admission's to
/// read.
#[derive(Deserialize)]
struct Members<'b> {
    #[serde(borrow)]
    pattern: Option<&'b RawValue>,
    #[serde(borrow, rename = "clientLimit")]
    client_limit: Option<&'b RawValue>,
    #[serde(borrow)]
    timeout: Option<&'b RawValue>,
    #[serde(rename = "auth")]
    _auth: Option<IgnoredAny>,
}

impl<'b> Members<'b> {
    fn read(body: &'b [u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(body).map_err(|_| Problem::bad_request("The body is not UTF-8."))?;
        // An array would be read as the members in their order.
        match text.trim_ascii_start().bytes().next() {
            None => return Ok(Members { pattern: None, client_limit: None, timeout: None, _auth: None }),
            Some(b'{') => {}
            Some(_) => return Err(Problem::bad_request("The body is not a JSON object.")),
        }
        serde_json::from_str(text).map_err(|error| Problem::bad_request(format!("The body is malformed: {error}.")))
    }
}

impl CreateChannel {
    /// Reads the body of `POST /channels`. An empty body is an object without members.
    pub fn from_body(body: &[u8]) -> Result<Self, Problem> {
        let members = Members::read(body)?;
        let pattern = match members.pattern {
            Some(raw) => serde_json::from_str::<String>(raw.get()).ok().and_then(|name| Pattern::parse(&name)),
            None => return Err(pattern_problem("is missing")),
        };
        Ok(CreateChannel {
            pattern: pattern.ok_or_else(|| pattern_problem("is none"))?,
            client_limit: bound("clientLimit", members.client_limit.map(RawValue::get), None)?,
            timeout_ms: bound("timeout", members.timeout.map(RawValue::get), Some(TIMEOUT_MS_DEFAULT))?,
        })
    }

    /// Reads the parameters of `GET /channels/create`. An empty value counts as absent: so a form sends it.
    pub fn from_query(query: Query<'_>) -> Result<Self, Problem> {
        let (mut pattern, mut client_limit, mut timeout) = (None, None, None);
        for (name, value) in query.pairs().filter(|(_, value)| !value.is_empty()) {
            let (place, name) = match &*name {
                "pattern" => (&mut pattern, "pattern"),
                "clientLimit" | "clientlimit" => (&mut client_limit, "clientLimit"),
                "timeout" => (&mut timeout, "timeout"),
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(Problem::bad_request(format!("The parameter \"{name}\" is given twice.")));
            }
        }
        let pattern = pattern.ok_or_else(|| pattern_problem("is missing"))?;
        Ok(CreateChannel {
            pattern: Pattern::parse(&pattern).ok_or_else(|| pattern_problem("is none"))?,
            client_limit: bound("clientLimit", client_limit.as_deref(), None)?,
            timeout_ms: bound("timeout", timeout.as_deref(), Some(TIMEOUT_MS_DEFAULT))?,
        })
    }
}

fn pattern_problem(what: &str) -> Problem {
    let names = Pattern::ALL.map(|pattern| format!("\"{}\"", pattern.as_str())).join(", ");
    Problem::bad_request(format!("The member \"pattern\" {what}; it is one of {names}."))
}

/// Reads -1 (`None`) or 0 to [`MILLIS_OR_CLIENTS_MAX`].
fn bound(name: &str, text: Option<&str>, default: Option<u64>) -> Result<Option<u64>, Problem> {
    let Some(text) = text else { return Ok(default) };
    let digits = if text == "-0" { "0" } else { text };
    if digits == "-1" {
        return Ok(None);
    }
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let number = if plain { digits.parse().ok().filter(|&number| number <= MILLIS_OR_CLIENTS_MAX) } else { None };
    number.map(Some).ok_or_else(|| {
        Problem::bad_request(format!(
            "The member \"{name}\" is not an integer from 0 to {MILLIS_OR_CLIENTS_MAX}, or -1."
        ))
    })
}

/// 415 for a body that says of itself that it is not JSON. No type at all passes, and so does the type that curl gives
/// to any body.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    for value in headers.get_all(CONTENT_TYPE) {
        let essence = value.as_bytes().split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
        let essence = essence.to_ascii_lowercase();
        let json = essence.ends_with(b"/json") || essence.ends_with(b"+json");
        if !(json || essence.is_empty() || essence == b"application/x-www-form-urlencoded") {
            let detail = "The body's type is not application/json.";
            return Err(Problem::new(http::StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(text: &str) -> Result<CreateChannel, String> {
        CreateChannel::from_body(text.as_bytes()).map_err(|problem| {
            assert_eq!(problem.status.as_u16(), 400);
            problem.detail.into_owned()
        })
    }

    fn query(text: &str) -> Result<CreateChannel, String> {
        CreateChannel::from_query(Query::new(text)).map_err(|problem| problem.detail.into_owned())
    }

    const ECHO: CreateChannel =
        CreateChannel { pattern: Pattern::Echo, client_limit: None, timeout_ms: Some(TIMEOUT_MS_DEFAULT) };

    #[test]
    fn a_body_says_what_a_channel_is() {
        let most = MILLIS_OR_CLIENTS_MAX;
        for (text, wanted) in [
            (r#"{"pattern":"echo"}"#.to_owned(), ECHO),
            (r#" {"pattern" : "\u0065cho" , "x":[{"pattern":1}], "y":1e999} "#.to_owned(), ECHO),
            (r#"{"p\u0061ttern":"echo","clientLimit":null,"timeout":null}"#.to_owned(), ECHO),
            (r#"{"pattern":"echo","auth":5,"clientlimit":"x"}"#.to_owned(), ECHO),
            (
                r#"{"pattern":"echo","clientLimit":-1,"timeout":-1}"#.to_owned(),
                CreateChannel { timeout_ms: None, ..ECHO },
            ),
            (
                r#"{"pattern":"echo","clientLimit":0,"timeout":-0}"#.to_owned(),
                CreateChannel { client_limit: Some(0), timeout_ms: Some(0), ..ECHO },
            ),
            (
                format!(r#"{{"timeout":{most},"clientLimit":{most},"pattern":"fan-in-out"}}"#),
                CreateChannel { pattern: Pattern::FanInOut, client_limit: Some(most), timeout_ms: Some(most) },
            ),
        ] {
            assert_eq!(body(&text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn a_wrong_member_is_named() {
        for (text, name) in [
            ("", "pattern"),
            ("  \n", "pattern"),
            ("{}", "pattern"),
            (r#"{"pattern":null}"#, "pattern"),
            (r#"{"pattern":"Echo"}"#, "pattern"),
            (r#"{"pattern":5}"#, "pattern"),
            (r#"{"pattern":["echo"]}"#, "pattern"),
            (r#"{"pattern":"echo","pattern":"echo"}"#, "pattern"),
            (r#"{"pattern":"echo","timeout":1,"timeout":1}"#, "timeout"),
            (r#"{"pattern":"echo","timeout":null,"timeout":1}"#, "timeout"),
            (r#"{"pattern":"echo","auth":"a","auth":"b"}"#, "auth"),
            (r#"{"pattern":"echo","timeout":1.0}"#, "timeout"),
            (r#"{"pattern":"echo","timeout":1e3}"#, "timeout"),
            (r#"{"pattern":"echo","timeout":"5"}"#, "timeout"),
            (r#"{"pattern":"echo","timeout":-2}"#, "timeout"),
            (r#"{"pattern":"echo","timeout":-1.0}"#, "timeout"),
            (r#"{"pattern":"echo","timeout":true}"#, "timeout"),
            (r#"{"pattern":"echo","timeout":[]}"#, "timeout"),
            (r#"{"pattern":"echo","clientLimit":9007199254740993}"#, "clientLimit"),
            (r#"{"pattern":"echo","clientLimit":99999999999999999999999}"#, "clientLimit"),
        ] {
            let detail = body(text).unwrap_err();
            assert!(detail.contains(name), "{text}: {detail}");
        }
    }

    #[test]
    fn what_is_not_a_json_object_is_refused() {
        let deep = "[".repeat(60_000);
        for text in [
            "[]",
            r#"["echo"]"#,
            "null",
            "5",
            r#""echo""#,
            "{",
            r#"{"pattern":"echo"} x"#,
            r#"{"pattern":"echo",}"#,
            r#"{pattern:"echo"}"#,
            r#"{'pattern':'echo'}"#,
            "pattern=echo",
            "\u{FEFF}{}",
            "{\"x\":01}",
            &deep,
            &format!("{{\"x\":{deep}"),
        ] {
            assert!(body(text).is_err(), "{text:.20}");
        }
        assert!(CreateChannel::from_body(b"{\"pattern\":\"echo\",\"x\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_query_says_the_same() {
        assert_eq!(query("pattern=echo"), Ok(ECHO));
        assert_eq!(query("pattern=echo&clientLimit=&timeout=&auth=x"), Ok(ECHO));
        let both = CreateChannel { client_limit: Some(5), timeout_ms: None, ..ECHO };
        assert_eq!(query("clientlimit=5&pattern=ech%6f&timeout=-1"), Ok(both));
        assert_eq!(query("clientLimit=5&pattern=echo&timeout=-1"), Ok(both));
        for (text, name) in [
            ("", "pattern"),
            ("pattern=", "pattern"),
            ("pattern=x", "pattern"),
            ("pattern=echo&pattern=echo", "pattern"),
            ("pattern=echo&clientLimit=1&clientlimit=1", "clientLimit"),
            ("pattern=echo&clientLimit=+1", "clientLimit"),
            ("pattern=echo&timeout=1.0", "timeout"),
            ("pattern=echo&timeout=-", "timeout"),
        ] {
            let detail = query(text).unwrap_err();
            assert!(detail.contains(name), "{text}: {detail}");
        }
    }

    #[test]
    fn a_body_of_another_type_is_refused() {
        let check = |value: &'static str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, http::HeaderValue::from_static(value))]);
            check_content_type(&headers).map_err(|problem| problem.status.as_u16())
        };
        assert_eq!(check_content_type(&HeaderMap::new()), Ok(()));
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/vnd.api+json",
            "text/json ;x",
            "",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["text/plain", "application/xml", "multipart/form-data; boundary=x", "json", "application/jsonp"] {
            assert_eq!(check(bad), Err(415), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read = CreateChannel::from_body(&bytes);
            prop_assert!(read.is_ok() || read.is_err_and(|problem| problem.status.as_u16() == 400));
        }

        #[test]
        fn integers_are_read_as_they_are_written(number in any::<i64>()) {
            let read = body(&format!(r#"{{"pattern":"echo","timeout":{number}}}"#)).ok().map(|create| create.timeout_ms);
            let wanted = match number {
                -1 => Some(None),
                number => u64::try_from(number).ok().filter(|&n| n <= MILLIS_OR_CLIENTS_MAX).map(Some),
            };
            prop_assert_eq!(read, wanted);
        }
    }
}

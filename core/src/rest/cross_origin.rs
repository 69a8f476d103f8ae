//! Which web pages may use the REST API (the Fetch standard's CORS protocol; RFC 6454), and which may not even ask.
//!
//! A browser says by `Origin` whose page makes a request. What the operator alone uses (`/reset`, `/cluster…`) answers no
//! page of another host, and a change is refused to an origin that is not let in: browsers send "simple" requests
//! without asking first. Requests without `Origin` come from no page, or from an address bar.

use http::header::{ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN};
use http::{Method, StatusCode};

use super::{Allow, Answer, Field, Problem, Resources, browser_change};
use crate::admission::is_foreign;
use crate::config::Origins;
use crate::wire::http::{Head, ResponseHead};

/// How long a browser may keep the answer to a preflight, in seconds; more than this none does.
const MAX_AGE_SECS: &str = "7200";
/// What a page may read of an answer's head.
const EXPOSED: &str = "Location, Retry-After, WRS-Client-Id, WWW-Authenticate";
/// What a page may send, if the preflight does not say what it wants to.
const REQUEST_FIELDS: &str = "Authentification, Authorization, Content-Type";
/// The longest list of request fields that a preflight's answer repeats, in bytes.
const REQUEST_FIELDS_BYTES_MAX: usize = 1024;

/// What an answer says about the origin of its request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cors {
    /// Nothing: no page of another origin is meant.
    Silent,
    /// Every origin may read it.
    Any,
    /// This origin may read it; others get other answers.
    Origin(HeaderValue),
    /// The request's origin may not read it, but others could.
    Other,
}

impl Cors {
    /// Writes the header fields.
    pub fn put<'o>(&self, head: ResponseHead<'o>) -> ResponseHead<'o> {
        const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
        const EXPOSE: &str = "Access-Control-Expose-Headers";
        match self {
            Cors::Silent => head,
            Cors::Any => head.header(ALLOW_ORIGIN, "*").header(EXPOSE, EXPOSED),
            Cors::Origin(origin) => {
                let head = head.header("Vary", "Origin").header(EXPOSE, EXPOSED);
                head.header(ALLOW_ORIGIN, origin.to_str().unwrap_or("null"))
            }
            Cors::Other => head.header("Vary", "Origin"),
        }
    }

    fn lets_in(&self) -> bool {
        matches!(self, Cors::Any | Cors::Origin(_))
    }
}

/// Judges a request by its origin: 403, or what its answer says. A 403 itself is answered with [`Cors::Silent`].
pub fn check_origin(head: &Head, origins: &Origins, resources: Resources) -> Result<Cors, Problem> {
    let mut values = head.headers.get_all(ORIGIN).iter();
    let origin = values.next();
    // Of two, neither can be trusted: an empty one equals no origin.
    let text = if values.next().is_some() { "" } else { origin.and_then(|value| value.to_str().ok()).unwrap_or("") };
    let path = head.target.path();
    if is_private(path) {
        return match origin {
            Some(_) if is_foreign(text, head.host()) => {
                Err(Problem::forbidden("Pages of another host may not use this resource."))
            }
            _ => Ok(Cors::Silent),
        };
    }
    let cors = match (origins, origin) {
        (Origins::Any, _) => Cors::Any,
        (Origins::List(_), Some(origin)) if origins.allows(text) => Cors::Origin(origin.clone()),
        (Origins::List(_), _) => Cors::Other,
    };
    if origin.is_some() && !cors.lets_in() && is_change(&head.method, path, resources) {
        return Err(Problem::forbidden("Pages of this origin may not change anything here."));
    }
    Ok(cors)
}

/// Whether a path is the operator's alone.
fn is_private(path: &str) -> bool {
    matches!(path.split('/').nth(1), Some("reset" | "cluster"))
}

/// Whether a request may change something. Any method that is not known to change nothing does.
fn is_change(method: &Method, path: &str, resources: Resources) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
        || browser_change(method, path, resources.browser_only).is_some()
}

/// Whether a browser asks before it sends the request itself. Nothing is guarded against the question.
pub fn is_preflight(head: &Head) -> bool {
    head.method == Method::OPTIONS
        && head.headers.contains_key(ORIGIN)
        && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Answers `OPTIONS`: 204, what the resource has, and to a preflight what its origin may do.
pub fn options(allow: Allow, head: &Head, cors: &Cors) -> Answer {
    let allow = allow.to_string();
    let mut fields: Vec<Field> = Vec::new();
    if is_preflight(head) && cors.lets_in() {
        fields.push(("Access-Control-Allow-Methods", allow.clone().into()));
        fields.push(("Access-Control-Allow-Headers", request_fields(head).into()));
        fields.push(("Access-Control-Max-Age", MAX_AGE_SECS.into()));
    }
    fields.push(("Allow", allow.into()));
    Answer { status: StatusCode::NO_CONTENT, content_type: None, fields, body: bytes::Bytes::new() }
}

/// What a page may send: what it asks for, if that is a list of field names of a sensible length.
fn request_fields(head: &Head) -> String {
    let asked = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|value| value.to_str().ok()).unwrap_or("");
    let listed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b',' | b' ');
    if asked.is_empty() || asked.len() > REQUEST_FIELDS_BYTES_MAX || !asked.bytes().all(listed) {
        return REQUEST_FIELDS.to_owned();
    }
    asked.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;
    use crate::wire::http::{HeadScan, Limits};

    const PLAIN: Resources = Resources { id_length: 4, browser_only: false };
    const BROWSER: Resources = Resources { browser_only: true, ..PLAIN };

    fn head(request_line: &str, fields: &str) -> Head {
        let head = format!("{request_line} HTTP/1.1\r\nHost: node.example:8080\r\n{fields}\r\n");
        HeadScan::default().parse_head(head.as_bytes(), &Limits::default()).unwrap().unwrap()
    }

    fn from(request_line: &str, origin: &str, origins: &Origins) -> Result<Cors, u16> {
        let head = head(request_line, &format!("Origin: {origin}\r\n"));
        check_origin(&head, origins, BROWSER).map_err(|problem| problem.status.as_u16())
    }

    fn list(origins: &[&str]) -> Origins {
        Origins::List(origins.iter().map(|origin| Origin::parse(origin).unwrap()).collect())
    }

    #[test]
    fn the_operators_resources_answer_no_foreign_page() {
        for line in ["DELETE /reset", "OPTIONS /reset", "GET /cluster", "POST /cluster/join/a", "GET //%72eset/x"] {
            for foreign in [
                "http://evil.example",
                "http://node.example",
                "https://node.example",
                "http://node.example:8081",
                "http://node.example:8080.evil.example",
                "http://evil.example:8080",
                "null",
                "",
                "node.example:8080",
                "http://u@node.example:8080",
                "http://node.example:+8080",
                "http://node.example:8080\r\nOrigin: http://node.example:8080",
                "\u{e9}",
            ] {
                assert_eq!(from(line, foreign, &Origins::Any), Err(403), "{line} {foreign}");
            }
            assert_eq!(from(line, "http://Node.example:8080", &list(&[])), Ok(Cors::Silent), "{line}");
            assert_eq!(check_origin(&head(line, ""), &Origins::Any, PLAIN), Ok(Cors::Silent), "{line}");
        }
    }

    #[test]
    fn a_change_is_refused_to_an_origin_that_is_not_listed() {
        let listed = list(&["https://app.example"]);
        let app = Cors::Origin(HeaderValue::from_static("https://app.example"));
        for line in
            ["POST /channels", "DELETE /channel/D679-05F5", "PUT /x", "GET /channel/create", "HEAD /channel/create"]
        {
            assert_eq!(from(line, "https://evil.example", &listed), Err(403), "{line}");
            assert_eq!(from(line, "null", &listed), Err(403), "{line}");
            assert_eq!(from(line, "", &listed), Err(403), "{line}");
            assert_eq!(from(line, "https://app.example", &listed), Ok(app.clone()), "{line}");
            assert_eq!(from(line, "https://evil.example", &Origins::Any), Ok(Cors::Any), "{line}");
            assert_eq!(check_origin(&head(line, ""), &listed, BROWSER), Ok(Cors::Other), "{line}");
        }
        for line in ["GET /channels", "HEAD /", "OPTIONS /channels", "GET /channels/D679-05F5"] {
            assert_eq!(from(line, "https://evil.example", &listed), Ok(Cors::Other), "{line}");
        }
        let doubled = "https://app.example\r\nOrigin: https://app.example";
        assert_eq!(from("POST /channels", doubled, &listed), Err(403));
    }

    #[test]
    fn a_preflight_is_told_what_its_page_may_do() {
        let ask = "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n";
        let answer = |extra: &str, cors: &Cors| {
            let head = head("OPTIONS /channels", &format!("{ask}{extra}"));
            assert!(is_preflight(&head));
            let Ok(crate::rest::Call::Options(allow)) = PLAIN.call(&head.method, &head.target) else {
                panic!("options")
            };
            options(allow, &head, cors)
        };
        let field = |answer: &Answer, name: &str| {
            answer.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.clone().into_owned())
        };
        let plain = answer("", &Cors::Any);
        assert_eq!((plain.status.as_u16(), plain.body.len()), (204, 0));
        assert_eq!(field(&plain, "Allow").as_deref(), Some("GET, HEAD, POST, OPTIONS"));
        assert_eq!(field(&plain, "Access-Control-Allow-Methods"), field(&plain, "Allow"));
        assert_eq!(field(&plain, "Access-Control-Allow-Headers").as_deref(), Some(REQUEST_FIELDS));
        let asked = answer("Access-Control-Request-Headers: x-a, content-type\r\n", &Cors::Any);
        assert_eq!(field(&asked, "Access-Control-Allow-Headers").as_deref(), Some("x-a, content-type"));
        let long = format!("Access-Control-Request-Headers: {}\r\n", "a".repeat(REQUEST_FIELDS_BYTES_MAX + 1));
        assert_eq!(field(&answer(&long, &Cors::Any), "Access-Control-Allow-Headers").as_deref(), Some(REQUEST_FIELDS));
        let odd = answer("Access-Control-Request-Headers: a;b\r\n", &Cors::Any);
        assert_eq!(field(&odd, "Access-Control-Allow-Headers").as_deref(), Some(REQUEST_FIELDS));
        let foreign = answer("", &Cors::Other);
        assert_eq!(foreign.fields.len(), 1, "Allow alone: {foreign:?}");
        assert!(!is_preflight(&head("OPTIONS /channels", "Origin: https://app.example\r\n")));
    }

    #[test]
    fn an_answer_says_who_may_read_it() {
        let written = |cors: &Cors| {
            let mut out = bytes::BytesMut::new();
            Answer::message("x").encode(crate::wire::http::Terms::UNREADABLE, cors, &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        };
        assert!(!written(&Cors::Silent).contains("Access-Control"));
        assert!(!written(&Cors::Silent).contains("Vary"));
        assert!(written(&Cors::Any).contains("\r\nAccess-Control-Allow-Origin: *\r\n"));
        assert!(
            written(&Cors::Any).contains("\r\nAccess-Control-Expose-Headers: Location, Retry-After, WRS-Client-Id")
        );
        let app = written(&Cors::Origin(HeaderValue::from_static("https://app.example")));
        assert!(app.contains("\r\nAccess-Control-Allow-Origin: https://app.example\r\n"));
        assert!(app.contains("\r\nVary: Origin\r\n"));
        assert!(written(&Cors::Other).contains("\r\nVary: Origin\r\n"));
        assert!(!written(&Cors::Other).contains("Access-Control"));
    }
}

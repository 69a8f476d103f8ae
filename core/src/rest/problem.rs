//! A refusal, as RFC 9457 writes it.

use std::borrow::Cow;

use bytes::BytesMut;
use http::StatusCode;

use super::answer::put_json_text;
use super::{Allow, Answer, Field};
use crate::wire::http::HttpFault;

/// Why a request is not granted. Details say what was wrong with the request, never what a token should have been.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// 400 and above.
    pub status: StatusCode,
    /// One sentence for whoever wrote the request.
    pub detail: Cow<'static, str>,
    /// Header fields beside the body's own: `Allow`, `WWW-Authenticate`, `Retry-After`, `Sec-WebSocket-Version`.
    pub fields: Vec<Field>,
}

impl Problem {
    /// A problem without fields of its own.
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Problem { status, detail: detail.into(), fields: Vec::new() }
    }

    /// The same with one more header field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// 400.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401, with the one scheme there is.
    pub fn unauthorized(detail: &'static str) -> Self {
        Problem::new(StatusCode::UNAUTHORIZED, detail).with("WWW-Authenticate", "Bearer realm=\"wrs\"")
    }

    /// 403.
    pub fn forbidden(detail: &'static str) -> Self {
        Problem::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404.
    pub fn not_found(detail: &'static str) -> Self {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    /// 405, with what would be allowed.
    pub fn method_not_allowed(allow: Allow) -> Self {
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "The resource does not have this method.")
            .with("Allow", allow.to_string())
    }

    /// 426: the resource is a WebSocket of this version (RFC 6455 §4.4).
    pub fn upgrade_required(detail: &'static str) -> Self {
        Problem::new(StatusCode::UPGRADE_REQUIRED, detail)
            .with("Upgrade", "websocket")
            // A hop-by-hop field has to be named (RFC 9110 §7.8).
            .with("Connection", "Upgrade")
            .with("Sec-WebSocket-Version", "13")
    }

    /// 429, and in how many seconds to try again.
    pub fn too_many(detail: &'static str, retry_after_secs: u64) -> Self {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).with("Retry-After", retry_after_secs.to_string())
    }

    /// 503: nothing was changed; and in how many seconds to try again.
    pub fn unavailable(detail: impl Into<Cow<'static, str>>, retry_after_secs: u64) -> Self {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with("Retry-After", retry_after_secs.to_string())
    }

    /// The answer to give.
    pub fn answer(self) -> Answer {
        let mut body = BytesMut::with_capacity(160 + 2 * self.detail.len());
        body.extend_from_slice(b"{\"type\":\"about:blank\",\"title\":");
        put_json_text(&mut body, self.status.canonical_reason().unwrap_or("Error"));
        body.extend_from_slice(b",\"status\":");
        body.extend_from_slice(self.status.as_str().as_bytes());
        body.extend_from_slice(b",\"detail\":");
        put_json_text(&mut body, &self.detail);
        body.extend_from_slice(b",\"message\":");
        put_json_text(&mut body, &self.detail);
        body.extend_from_slice(b"}");
        let content_type = Some("application/problem+json");
        Answer { status: self.status, content_type, fields: self.fields, body: body.freeze() }
    }
}

impl From<HttpFault> for Problem {
    fn from(fault: HttpFault) -> Self {
        Problem::new(fault.status(), fault.detail())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_rfc_9457_asks_for() {
        let answer = Problem::bad_request("a \"quoted\"\n<b>\u{1}").with("Retry-After", "1").answer();
        assert_eq!((answer.status.as_u16(), answer.content_type), (400, Some("application/problem+json")));
        assert_eq!(answer.fields, [("Retry-After", Cow::from("1"))]);
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let detail = "a \"quoted\"\n<b>\u{1}";
        let wanted = serde_json::json!({
            "type": "about:blank", "title": "Bad Request", "status": 400, "detail": detail, "message": detail,
        });
        assert_eq!(body, wanted);
    }

    #[test]
    fn fields_that_a_status_needs_are_there() {
        for (problem, name) in [
            (Problem::unauthorized("x"), "WWW-Authenticate"),
            (Problem::method_not_allowed(Allow::ALL), "Allow"),
            (Problem::upgrade_required("x"), "Sec-WebSocket-Version"),
            (Problem::upgrade_required("x"), "Upgrade"),
            (Problem::too_many("x", 1), "Retry-After"),
            (Problem::unavailable("x", 1), "Retry-After"),
        ] {
            assert!(problem.fields.iter().any(|(field, _)| *field == name), "{name}");
        }
        assert_eq!(Problem::from(HttpFault::BodyTooLong).status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}

//! One request and its answer over HTTP/1.1, a connection each.
//!
//! Rule guarded: an answer is bounded in bytes and in time, and what it says reaches a terminal without control
//! characters.

use serde_json::Value;
use smol::io::{AsyncReadExt, AsyncWriteExt};

use crate::failure::Failure;
use crate::limits::{ANSWER_TIMEOUT, BODY_BYTES_MAX, HEAD_BYTES_MAX, HEAD_FIELDS_MAX};
use crate::node::{Node, within};
use crate::stdio::printable;

/// Bytes that one read takes at most.
const READ_BYTES: usize = 16 << 10;

/// What a node answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body without its framing.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON if the status is one of success.
    ///
    /// # Errors
    /// What the node says against it, or that it does not speak JSON.
    pub fn success(&self) -> Result<Value, Failure> {
        if !(200..300).contains(&self.status) {
            return Err(self.refusal());
        }
        serde_json::from_slice(&self.body).map_err(|_| Failure::refused("the answer is not JSON: is this a wrs node?"))
    }

    /// Why the node refused: its own words where it gives any (RFC 9457).
    pub fn refusal(&self) -> Failure {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let said = ["detail", "message", "title"].iter().find_map(|member| problem.get(*member)?.as_str());
        Failure::refused(match said {
            Some(said) => format!("the node answers {}: {said}", self.status),
            None => format!("the node answers {}", self.status),
        })
    }
}

/// A member of an answer in words, as a terminal may show them.
pub fn word(object: &Value, member: &str) -> String {
    match object.get(member) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => printable(text).into_owned(),
        Some(other) => other.to_string(),
    }
}

/// How the end of a body is known (RFC 9112 section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Framing {
    Length(usize),
    Chunked,
    UntilEnd,
}

impl Node {
    /// Sends a request, with a JSON body if there is one, and waits [`ANSWER_TIMEOUT`] for the answer.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer, Failure> {
        within(ANSWER_TIMEOUT, &format!("the answer of {self}"), self.exchange(method, path, body)).await
    }

    /// The same without a limit of time; the caller sets one.
    pub async fn exchange(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer, Failure> {
        let mut stream = self.dial().await?;
        let request = self.request(method, path, body);
        stream.write_all(request.as_bytes()).await.map_err(|error| self.unreachable(&error))?;
        stream.flush().await.map_err(|error| self.unreachable(&error))?;
        let mut received = Vec::new();
        let mut piece = vec![0; READ_BYTES];
        loop {
            let read = stream.read(&mut piece).await;
            let ended = match read {
                Ok(0) => true,
                Ok(count) => {
                    received.extend_from_slice(piece.get(..count).unwrap_or_default());
                    false
                }
                Err(error) => return Err(self.unreachable(&error)),
            };
            match parse(&received, ended) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) if !ended => {}
                Ok(None) => return Err(self.unreachable(&"the connection ended within the answer")),
                Err(why) => return Err(Failure::refused(format!("{self} does not speak HTTP as expected: {why}"))),
            }
        }
    }

    fn request(&self, method: &str, path: &str, body: Option<&str>) -> String {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.authority());
        if let Some(token) = self.auth() {
            request.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        match body {
            Some(body) => {
                let length = body.len();
                request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"));
            }
            None => request.push_str("\r\n"),
        }
        request
    }
}

/// The answer that `received` holds, `None` while some of it is missing. `ended`: nothing will follow.
fn parse(received: &[u8], ended: bool) -> Result<Option<Answer>, &'static str> {
    let mut fields = [httparse::EMPTY_HEADER; HEAD_FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(received).map_err(|_| "the head is malformed")? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if received.len() > HEAD_BYTES_MAX => return Err("the head is too long"),
        httparse::Status::Partial => return Ok(None),
    };
    let rest = received.get(length..).unwrap_or_default();
    let status = response.code.unwrap_or_default();
    if (100..200).contains(&status) {
        return parse(rest, ended);
    }
    if rest.len() > BODY_BYTES_MAX {
        return Err("the body is too long");
    }
    let body = match framing(status, response.headers)? {
        Framing::Length(length) => rest.get(..length).map(<[u8]>::to_vec),
        Framing::Chunked => chunks(rest)?,
        Framing::UntilEnd => ended.then(|| rest.to_vec()),
    };
    Ok(body.map(|body| Answer { status, body }))
}

fn framing(status: u16, fields: &[httparse::Header<'_>]) -> Result<Framing, &'static str> {
    if matches!(status, 204 | 304) {
        return Ok(Framing::Length(0));
    }
    let mut values = fields.iter().map(|field| (field.name.to_ascii_lowercase(), field.value.trim_ascii()));
    if let Some((_, coding)) = values.clone().find(|(name, _)| name == "transfer-encoding") {
        let chunked = coding.eq_ignore_ascii_case(b"chunked");
        return if chunked { Ok(Framing::Chunked) } else { Err("a transfer coding that nobody asked for") };
    }
    match values.find(|(name, _)| name == "content-length") {
        None => Ok(Framing::UntilEnd),
        Some((_, length)) => {
            let length = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
            match length.ok_or("the length is no number")? {
                length if length > BODY_BYTES_MAX => Err("the body is too long"),
                length => Ok(Framing::Length(length)),
            }
        }
    }
}

/// The content of chunks (RFC 9112 section 7.1), `None` while the last one is missing. Trailers are not looked at.
fn chunks(mut rest: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    let mut body = Vec::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(rest).map_err(|_| "a chunk is malformed")? {
            httparse::Status::Complete(found) => found,
            httparse::Status::Partial => return Ok(None),
        };
        if size == 0 {
            return Ok(Some(body));
        }
        let size = usize::try_from(size).ok().filter(|size| *size <= BODY_BYTES_MAX).ok_or("a chunk is too long")?;
        let Some((chunk, behind)) = rest.get(start..).and_then(|rest| rest.split_at_checked(size)) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        rest = match behind {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Ok(None),
            _ => return Err("a chunk is longer than it says"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Option<Answer>, &'static str> {
        Ok(Some(Answer { status, body: body.into() }))
    }

    #[test]
    fn an_answer_is_whole_only_with_its_last_byte() {
        for (text, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n", "hello"),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""),
        ] {
            assert_eq!(parse(text.as_bytes(), false), answer(200, body));
            for end in 0..text.len() {
                assert_eq!(parse(&text.as_bytes()[..end], true), Ok(None), "{end} of {text}");
            }
        }
        let until_end = b"HTTP/1.0 503 No\r\n\r\nwait";
        assert_eq!(parse(until_end, false), Ok(None));
        assert_eq!(parse(until_end, true), answer(503, "wait"));
        assert_eq!(parse(b"HTTP/1.1 204 Nothing\r\n\r\n", false), answer(204, ""));
    }

    #[test]
    fn what_is_too_long_or_malformed_is_refused() {
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(HEAD_BYTES_MAX));
        for text in [
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFF\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
            &long,
        ] {
            assert!(parse(text.as_bytes(), true).is_err(), "{text}");
        }
    }

    #[test]
    fn a_refusal_has_the_nodes_own_words() {
        let refusal = |body: &str| Answer { status: 404, body: body.into() }.success();
        let detail = r#"{"title":"Not Found","detail":"There is no such channel.","message":"x"}"#;
        assert_eq!(refusal(detail), Err(Failure::refused("the node answers 404: There is no such channel.")));
        assert_eq!(refusal("<html>"), Err(Failure::refused("the node answers 404")));
        assert!(Answer { status: 200, body: b"<html>".to_vec() }.success().is_err());
    }
}

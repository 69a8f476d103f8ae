//! Requests and replies as `req` and `reply` write and read them.
//!
//! The relay adds `origin` to a request and gives a reply to the client that `origin` names. These commands put what they
//! carry into `data`, and `req` numbers its requests with an `id` that `reply` gives back, so that a late reply is not
//! taken for the next one.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A message of the request patterns; `data` and `id` stay as they were written.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Envelope<'a> {
    /// `request`, `reply`, or `error` from the relay itself.
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    /// Who asked.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Cow<'a, str>>,
    /// The asker's number for its request.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a RawValue>,
    /// What is asked or answered.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub data: Option<&'a RawValue>,
    /// Which error.
    #[serde(borrow, default, skip_serializing)]
    pub code: Option<Cow<'a, str>>,
    /// The error in words.
    #[serde(borrow, default, skip_serializing)]
    pub message: Option<Cow<'a, str>>,
}

impl<'a> Envelope<'a> {
    /// Reads a message; `None` for one that is none of these.
    pub fn read(message: &'a [u8]) -> Option<Envelope<'a>> {
        serde_json::from_slice(message).ok()
    }

    /// The reply to this request.
    pub fn reply(&self, data: Option<&RawValue>) -> String {
        let reply = Envelope { kind: "reply".into(), data, origin: self.origin.clone(), ..self.clone() };
        serde_json::to_string(&reply).unwrap_or_default()
    }

    /// What the relay complains of, if this is from the relay.
    pub fn complaint(&self) -> Option<String> {
        let code = self.code.as_ref().filter(|_| self.kind == "error")?;
        Some(format!("the relay answers {code}: {}", self.message.as_deref().unwrap_or_default()))
    }
}

/// A request as it is sent, and the number that its replies have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The message.
    pub text: String,
    /// `None` if the caller wrote the whole message and with it any number.
    pub id: Option<u64>,
}

impl Request {
    /// A request with this data. A whole request stays as it is; what is not JSON is taken as text.
    pub fn new(data: &str, id: u64) -> Request {
        if Envelope::read(data.as_bytes()).is_some_and(|envelope| envelope.kind == "request") {
            return Request { text: data.to_owned(), id: None };
        }
        let text = format!(r#"{{"type":"request","id":{id},"data":{}}}"#, json_or_text(data));
        Request { text, id: Some(id) }
    }

    /// Whether a reply is one to this request: it has its number, or none.
    pub fn is_answered_by(&self, reply: &Envelope<'_>) -> bool {
        match (self.id, reply.id) {
            (Some(ours), Some(theirs)) => theirs.get() == ours.to_string(),
            _ => true,
        }
    }
}

/// JSON as it is written; anything else as a JSON string.
pub fn json_or_text(data: &str) -> Box<RawValue> {
    let json = RawValue::from_string(data.trim().to_owned());
    json.or_else(|_| serde_json::value::to_raw_value(data)).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_json_as_written_or_text() {
        for (data, written) in [
            ("5", "5"),
            (" {\"b\" : 1.0, \"a\":[]} ", "{\"b\" : 1.0, \"a\":[]}"),
            ("hello \"you\"", r#""hello \"you\"""#),
            ("", r#""""#),
        ] {
            let request = Request::new(data, 7);
            assert_eq!(request.text, format!(r#"{{"type":"request","id":7,"data":{written}}}"#));
        }
    }

    #[test]
    fn a_whole_request_passes_as_it_is() {
        let whole = r#"{"type":"request", "what":1}"#;
        assert_eq!(Request::new(whole, 7), Request { text: whole.into(), id: None });
        assert!(Request::new(r#"{"type":"other"}"#, 7).text.contains(r#""data":{"type":"other"}"#));
    }

    #[test]
    fn a_reply_goes_to_the_origin_with_number_and_data_as_they_were_written() {
        let message = br#"{"origin":"\u0061b","type":"request","id":1.50,"data":{"b":1,"a":2}}"#;
        let request = Envelope::read(message).unwrap();
        assert_eq!(request.reply(request.data), r#"{"type":"reply","origin":"ab","id":1.50,"data":{"b":1,"a":2}}"#);
        assert_eq!(request.reply(None), r#"{"type":"reply","origin":"ab","id":1.50}"#);
    }

    #[test]
    fn a_late_reply_is_not_taken_for_the_next_one() {
        let request = Request::new("1", 2);
        let answered = |reply: &str| request.is_answered_by(&Envelope::read(reply.as_bytes()).unwrap());
        assert!(answered(r#"{"type":"reply","id":2}"#) && answered(r#"{"type":"reply"}"#));
        assert!(!answered(r#"{"type":"reply","id":1}"#) && !answered(r#"{"type":"reply","id":"2"}"#));
    }

    #[test]
    fn a_complaint_is_the_relays_alone() {
        let complaint = |message: &str| Envelope::read(message.as_bytes()).and_then(|envelope| envelope.complaint());
        let error = r#"{"type":"error","code":"no-recipient","message":"nobody is there"}"#;
        assert_eq!(complaint(error).as_deref(), Some("the relay answers no-recipient: nobody is there"));
        assert_eq!(complaint(r#"{"type":"reply","code":"x"}"#), None);
        assert_eq!(complaint("[]"), None);
    }
}

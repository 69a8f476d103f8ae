//! What the node says: JSON, and the head around it.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use serde::Serialize;

use super::{Cors, Problem};
use crate::id::ChannelId;
use crate::pattern::Pattern;
use crate::wire::http::{BodyStream, ResponseHead, Terms, put_decimal};

/// The type of every answer that is data.
const JSON: &str = "application/json; charset=utf-8";
/// Answers show a state that passes, and one of them a token: no cache keeps them.
const NO_STORE: Field = ("Cache-Control", Cow::Borrowed("no-store"));
/// What a channel takes in JSON, in bytes, with room to spare.
const CHANNEL_BYTES: usize = 224;

/// One header field.
pub type Field = (&'static str, Cow<'static, str>);

/// One whole response, but for what the request and its origin decide.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body's type; `None` for no body.
    pub content_type: Option<&'static str>,
    /// Header fields beside `Content-Type`, `Content-Length` and `Connection`.
    pub fields: Vec<Field>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// A body of some type with 200: a page, a text.
    pub fn body(content_type: &'static str, body: Bytes) -> Answer {
        Answer { status: StatusCode::OK, content_type: Some(content_type), fields: Vec::new(), body }
    }

    /// 200 `{"message"}`.
    pub fn message(text: &str) -> Answer {
        let mut body = BytesMut::with_capacity(16 + text.len());
        put_message(&mut body, text);
        body.put_u8(b'}');
        Answer::json(StatusCode::OK, body)
    }

    /// 200 `{"message","data"}` with anything that becomes JSON; 500 if it does not.
    pub fn data(text: &str, data: &impl Serialize) -> Answer {
        let mut body = BytesMut::with_capacity(256);
        put_message(&mut body, text);
        body.put_slice(b",\"data\":");
        let mut writer = body.writer();
        if serde_json::to_writer(&mut writer, data).is_err() {
            let detail = "The answer cannot be written.";
            return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).answer();
        }
        let mut body = writer.into_inner();
        body.put_u8(b'}');
        Answer::json(StatusCode::OK, body)
    }

    /// 200 for `GET /cluster`.
    pub fn cluster(cluster: &ClusterView) -> Answer {
        Answer::data("Success: the cluster.", cluster)
    }

    /// 200 for `GET /channels/{id}`.
    pub fn channel(channel: &ChannelView, rendering: Rendering) -> Answer {
        let mut body = BytesMut::with_capacity(CHANNEL_BYTES);
        put_message(&mut body, "Success: the channel.");
        body.put_slice(b",\"data\":");
        put_channel(&mut body, channel, rendering);
        body.put_u8(b'}');
        Answer::json(StatusCode::OK, body)
    }

    /// 201 for a channel that was created: the one answer with its token.
    pub fn created(channel: &ChannelView, token: &str, rendering: Rendering) -> Answer {
        let mut body = BytesMut::with_capacity(CHANNEL_BYTES + token.len());
        put_message(&mut body, "Success: the channel was created.");
        body.put_slice(b",\"token\":");
        put_json_text(&mut body, token);
        body.put_slice(b",\"data\":");
        put_channel(&mut body, channel, rendering);
        body.put_u8(b'}');
        let mut answer = Answer::json(StatusCode::CREATED, body);
        let location = format!("/channels/{}", channel.id.display(rendering.id_length));
        answer.fields.push(("Location", location.into()));
        answer
    }

    fn json(status: StatusCode, body: BytesMut) -> Answer {
        Answer { status, content_type: Some(JSON), fields: vec![NO_STORE], body: body.freeze() }
    }

    /// Writes the response.
    pub fn encode(&self, terms: Terms, cors: &Cors, out: &mut BytesMut) {
        out.reserve(256 + self.body.len());
        let mut head = ResponseHead::begin(out, terms, self.status);
        for (name, value) in &self.fields {
            head = head.header(name, value);
        }
        head = cors.put(head);
        match self.content_type {
            Some(content_type) => head.header("Content-Type", content_type).body(&self.body),
            None => head.empty(),
        }
    }
}

/// What of CHANNEL is the node's and not the channel's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rendering {
    /// Digits in one group of an id (`WRS_ID_LENGTH`).
    pub id_length: usize,
    /// The port as seen outside (`WRS_PUBLIC_API_PORT`).
    pub port: u16,
}

/// A channel as it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChannelView {
    /// Its id.
    pub id: ChannelId,
    /// How messages travel.
    pub pattern: Pattern,
    /// Milliseconds; `None` for never.
    pub timeout_ms: Option<u64>,
    /// Milliseconds left; `None` where there is no timeout.
    pub countdown_ms: Option<u64>,
    /// Most clients at a time; `None` for no limit.
    pub client_limit: Option<u64>,
    /// Clients connected now.
    pub clients: u64,
}

/// The cluster as `GET /cluster` shows it.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct ClusterView {
    /// This node's id.
    pub id: String,
    /// The cluster's id, once the node is in one.
    pub cluster: Option<String>,
    /// This node's role.
    pub role: &'static str,
    /// The term of its leader.
    pub term: u64,
    /// The leader's id, if one is known.
    pub leader: Option<String>,
    /// Counts the changes of the set of live nodes.
    pub epoch: u64,
    /// Up to where the log is known to be agreed on.
    pub committed: u64,
    /// Up to where this node has applied it.
    pub applied: u64,
    /// Whether the node takes traffic.
    pub ready: bool,
    /// The version of the protocol that the log is written in: the newest that all members speak.
    pub version: u8,
    /// Where a node of another cluster is that holds channels, as this one does, so that the two stay apart.
    pub apart: Option<String>,
    /// All members.
    pub nodes: Vec<NodeView>,
    /// This node's links to others.
    pub links: Vec<LinkView>,
}

/// A member of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NodeView {
    /// Its id.
    pub id: String,
    /// Where the others dial it, if it has said so.
    pub address: Option<String>,
    /// Its role.
    pub role: &'static str,
    /// Whether it counts as live.
    pub live: bool,
    /// The newest version of the cluster's protocol that it speaks.
    pub version: u8,
    /// Up to where it has applied the log; known to the leader, and to a node of itself.
    pub applied: Option<u64>,
}

/// A link to another node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkView {
    /// The other node's id.
    pub node: String,
    /// The other end, while the link is up.
    pub address: Option<String>,
    /// Whether it is up.
    pub up: bool,
    /// For how many seconds it has been.
    pub seconds: Option<u64>,
    /// How long an answer takes, in microseconds.
    pub round_trip_us: Option<u64>,
    /// Bytes of clients' messages that the other node is not known to have.
    pub unacknowledged: u64,
}

/// Begins the answer to `GET /channels`, whose body is made as the reader takes it: [`put_list_begin`], then
/// [`put_list_channel`] for each, then [`put_list_end`], each piece through [`BodyStream::piece`].
pub fn begin_list(terms: Terms, cors: &Cors, out: &mut BytesMut) -> BodyStream {
    let head = cors.put(ResponseHead::begin(out, terms, StatusCode::OK));
    let (name, value) = NO_STORE;
    head.header(name, &value).header("Content-Type", JSON).stream()
}

/// What stands before the first channel.
pub fn put_list_begin(out: &mut BytesMut) {
    put_message(out, "Success: the channels.");
    out.put_slice(b",\"data\":[");
}

/// One channel, with a comma before it unless it is the first.
pub fn put_list_channel(out: &mut BytesMut, first: bool, channel: &ChannelView, rendering: Rendering) {
    if !first {
        out.put_u8(b',');
    }
    put_channel(out, channel, rendering);
}

/// What stands behind the last channel.
pub fn put_list_end(out: &mut BytesMut) {
    out.put_slice(b"]}");
}

/// `{"id","port","pattern","timeout","countdown","clientLimit","clients"}`, in this order. By hand: a list of a million
/// of them is made on the thread that relays messages.
fn put_channel(out: &mut BytesMut, channel: &ChannelView, rendering: Rendering) {
    out.put_slice(b"{\"id\":\"");
    put_id(out, channel.id, rendering.id_length);
    out.put_slice(b"\",\"port\":");
    put_decimal(out, u64::from(rendering.port));
    out.put_slice(b",\"pattern\":\"");
    out.put_slice(channel.pattern.as_str().as_bytes());
    out.put_slice(b"\",\"timeout\":");
    put_bound(out, channel.timeout_ms);
    out.put_slice(b",\"countdown\":");
    put_bound(out, channel.countdown_ms);
    out.put_slice(b",\"clientLimit\":");
    put_bound(out, channel.client_limit);
    out.put_slice(b",\"clients\":");
    put_decimal(out, channel.clients);
    out.put_u8(b'}');
}

/// A number, or -1 for none.
fn put_bound(out: &mut BytesMut, bound: Option<u64>) {
    match bound {
        Some(number) => put_decimal(out, number),
        None => out.put_slice(b"-1"),
    }
}

/// What [`ChannelId::display`] writes, without the machinery of `format!`.
fn put_id(out: &mut BytesMut, id: ChannelId, length: usize) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let length = length.min(ChannelId::GROUP_DIGITS_MAX);
    let mut text = [b'-'; 2 * ChannelId::GROUP_DIGITS_MAX + 1];
    let mut bits = id.bits();
    let (high, low) = text.split_at_mut(length);
    let places = low.iter_mut().skip(1).take(length).rev().chain(high.iter_mut().rev());
    for place in places {
        *place = DIGITS.get((bits & 0xF) as usize).copied().unwrap_or_default();
        bits >>= 4;
    }
    out.put_slice(text.get(..2 * length + 1).unwrap_or_default());
}

/// `{"message":…`, the brace still open.
fn put_message(out: &mut BytesMut, text: &str) {
    out.put_slice(b"{\"message\":");
    put_json_text(out, text);
}

/// A JSON string. A buffer in memory takes all text, so that nothing can fail.
pub(super) fn put_json_text(out: &mut BytesMut, text: &str) {
    let written = serde_json::to_writer(out.writer(), text);
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const RENDERING: Rendering = Rendering { id_length: 4, port: 8080 };

    fn view() -> ChannelView {
        ChannelView {
            id: ChannelId::from_bits(0xD679_05F5, 4),
            pattern: Pattern::PubSub,
            timeout_ms: Some(200),
            countdown_ms: Some(198),
            client_limit: None,
            clients: 3,
        }
    }

    fn shown() -> &'static str {
        r#"{"id":"D679-05F5","port":8080,"pattern":"pub-sub","timeout":200,"countdown":198,"clientLimit":-1,"clients":3}"#
    }

    #[test]
    fn a_channel_is_shown_in_the_order_of_the_contract() {
        let answer = Answer::channel(&view(), RENDERING);
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(body.ends_with(&format!("\"data\":{}}}", shown())), "{body}");
        assert_eq!(answer.content_type, Some("application/json; charset=utf-8"));
    }

    #[test]
    fn a_created_channel_comes_with_its_token_and_place() {
        let answer = Answer::created(&view(), "85ee\"97e8", RENDERING);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["token"], "85ee\"97e8");
        assert_eq!(body["data"], serde_json::from_str::<Value>(shown()).unwrap());
        assert!(body["message"].as_str().unwrap().starts_with("Success"));
        assert_eq!(answer.status, StatusCode::CREATED);
        assert!(answer.fields.contains(&("Location", "/channels/D679-05F5".into())));
    }

    #[test]
    fn a_list_is_one_json_document_however_long() {
        for count in 0..3 {
            let mut out = BytesMut::new();
            put_list_begin(&mut out);
            for index in 0..count {
                put_list_channel(&mut out, index == 0, &view(), RENDERING);
            }
            put_list_end(&mut out);
            let list: Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(list["data"].as_array().unwrap().len(), count);
        }
    }

    #[test]
    fn a_cluster_is_shown() {
        let node = NodeView { id: "1".into(), address: None, role: "leader", live: true, version: 1, applied: Some(7) };
        let (id, leader) = ("1".to_owned(), Some("1".to_owned()));
        let cluster = ClusterView { id, role: "leader", term: 1, leader, nodes: vec![node], ..ClusterView::default() };
        let body: Value = serde_json::from_slice(&Answer::cluster(&cluster).body).unwrap();
        let wanted = json!({"id": "1", "cluster": null, "role": "leader", "term": 1, "leader": "1", "epoch": 0,
            "committed": 0, "applied": 0, "ready": false, "version": 0, "apart": null, "links": [],
            "nodes": [{"id": "1", "address": null, "role": "leader", "live": true, "version": 1, "applied": 7}]});
        assert_eq!(body["data"], wanted);
        assert_eq!(Answer::message("a\nb").body, r#"{"message":"a\nb"}"#);
    }

    #[test]
    fn what_cannot_become_json_is_our_fault() {
        let keys = std::collections::BTreeMap::from([(vec![1], 1)]);
        assert_eq!(Answer::data("x", &keys).status, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn an_answer_is_a_response() {
        let terms = Terms { http_1_0: false, head_only: false, keep_alive: true };
        let mut out = BytesMut::new();
        Answer::message("x").encode(terms, &Cors::Any, &mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Type: application/json; charset=utf-8\r\n"), "{text}");
        assert!(text.contains("\r\nAccess-Control-Allow-Origin: *\r\n"), "{text}");
        assert!(text.ends_with("\r\nContent-Length: 15\r\n\r\n{\"message\":\"x\"}"), "{text}");
        let mut out = BytesMut::new();
        let stream = begin_list(terms, &Cors::Silent, &mut out);
        assert!(!stream.closes() && !String::from_utf8(out.to_vec()).unwrap().contains("Access-Control"));
    }

    proptest! {
        #[test]
        fn an_id_is_written_as_it_is_read(bits in any::<u128>(), length in 1usize..=16) {
            let id = ChannelId::from_bits(bits, length);
            let mut out = BytesMut::new();
            put_id(&mut out, id, length);
            prop_assert_eq!(out, id.display(length).to_string());
        }
    }
}

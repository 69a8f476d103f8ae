//! Cases of single rooms: frames, messages, heads, envelopes, lines, TLS, the catalogue.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use wrs_core::admission::TokenHash;
use wrs_core::catalogue::{Catalogue, Channel, Command, Outcome, Removal};
use wrs_core::id::{ChannelId, ClientId, Life, ShardId};
use wrs_core::pattern::Pattern;
use wrs_core::pattern::envelope::{self, Envelope};
use wrs_core::time::Time;
use wrs_core::wire::frame::{self, OpCode};
use wrs_core::wire::http::{HeadScan, Limits};
use wrs_core::wire::line::Line;
use wrs_core::wire::message::{self, Input, Item, Kind, Reader};

use super::node::{Failure, masked};
use super::{Case, MANY, Turn, tls};

const LIMITS: message::Limits = message::Limits { message_bytes_max: 1 << 20 };

const BROWSER: &[u8] = b"GET /channels/D679-05F5 HTTP/1.1\r\nHost: relay.example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nDNT: 1\r\nConnection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none\r\nSec-Fetch-User: ?1\r\n\
    Priority: u=0, i\r\n\r\n";
const CURL: &[u8] = b"GET /channels/D679-05F5 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/8.14.1\r\n\
    Accept: */*\r\n\r\n";
const REQUEST: &[u8] = br#"{"type":"request","id":17,"method":"sum","origin":"me","params":[1,2,3,"four"]}"#;

/// All of them.
pub const CASES: &[Case] = &[
    Case { name: "frame: parse and unmask 64 B", turns: 20_000, allocations_max: 0.0, ..Case::of(|| unframe(64)) },
    Case { name: "frame: parse and unmask 1 KiB", turns: 20_000, allocations_max: 0.0, ..Case::of(|| unframe(1024)) },
    Case { name: "frame: encode 64 B", turns: 20_000, allocations_max: 0.0, ..Case::of(|| encode(64)) },
    Case { name: "frame: encode 1 KiB", turns: 20_000, allocations_max: 0.0, ..Case::of(|| encode(1024)) },
    Case { name: "message: read 64 B of text", turns: 20_000, allocations_max: 0.0, ..Case::of(|| read(64)) },
    Case { name: "message: read 1 KiB of text", turns: 20_000, allocations_max: 0.0, ..Case::of(|| read(1024)) },
    Case { name: "envelope: read a request, set its origin", turns: 20_000, allocations_max: 0.0, ..Case::of(address) },
    Case { name: "head: a browser's GET", turns: 2_000, allocations_max: 10.0, ..Case::of(|| head(BROWSER)) },
    Case { name: "head: curl's GET", turns: 2_000, allocations_max: 5.0, ..Case::of(|| head(CURL)) },
    Case { name: "line: push and write 64 B", turns: 20_000, allocations_max: 0.0, ..Case::of(|| line(64)) },
    Case {
        name: "line with TLS: push and write 1 KiB",
        turns: 2_000,
        allocations_max: 2.0,
        ..Case::of(|| encrypt(1024))
    },
    Case { name: "catalogue: create and delete, 1 there", turns: 5_000, allocations_max: 0.0, ..Case::of(|| apply(1)) },
    Case {
        name: "catalogue: create and delete, 100,000 there",
        turns: 5_000,
        allocations_max: 0.3,
        ..Case::of(|| apply(MANY))
    },
];

fn unframe(bytes: usize) -> Result<Turn, Failure> {
    let wire = masked(Kind::Text, &vec![b'f'; bytes]);
    let mut read = wire.clone();
    Ok(Box::new(move || {
        read.copy_from_slice(&wire);
        let Ok(Some(header)) = frame::parse(black_box(&read), false) else { return 0 };
        let Some(payload) = read.get_mut(header.size..) else { return 0 };
        frame::unmask(payload, header.mask, 0);
        u64::from(black_box(&payload).starts_with(b"ff"))
    }))
}

fn encode(bytes: usize) -> Result<Turn, Failure> {
    let payload = vec![b'f'; bytes];
    let mut out = BytesMut::with_capacity(2 * bytes);
    Ok(Box::new(move || {
        out.clear();
        frame::encode(&mut out, OpCode::Text, black_box(&payload));
        u64::from(black_box(&out).len() > bytes)
    }))
}

fn read(bytes: usize) -> Result<Turn, Failure> {
    let wire = masked(Kind::Text, &vec![b'f'; bytes]);
    let (mut read, mut reader) = (wire.clone(), Reader::new());
    Ok(Box::new(move || {
        read.copy_from_slice(&wire);
        let mut input = Input::new(black_box(&mut read));
        let mut messages = 0;
        while let Ok(Some(item)) = reader.next(&mut input, &LIMITS, None) {
            messages += u64::from(matches!(black_box(item), Item::Message { payload, .. } if payload.len() == bytes));
        }
        messages
    }))
}

fn address() -> Result<Turn, Failure> {
    let origin = ClientId { life: Life(0xABCD), shard: ShardId(1), serial: 77 };
    let mut out = BytesMut::with_capacity(1024);
    Ok(Box::new(move || {
        let Ok(Envelope::Request(request)) = envelope::parse(black_box(REQUEST)) else { return 0 };
        out.clear();
        envelope::write_request(&mut out, REQUEST, &request, origin);
        u64::from(black_box(&out).len() > REQUEST.len())
    }))
}

fn head(bytes: &'static [u8]) -> Result<Turn, Failure> {
    let limits = Limits::default();
    Ok(Box::new(move || match HeadScan::default().parse_head(black_box(bytes), &limits) {
        Ok(Some(head)) => u64::from(black_box(head).size == bytes.len()),
        _ => 0,
    }))
}

fn line(bytes: usize) -> Result<Turn, Failure> {
    let frames = Bytes::from(vec![b'f'; bytes]);
    let (mut line, mut scratch) = (Line::plain(), Vec::new());
    Ok(Box::new(move || {
        line.push(black_box(&frames).clone());
        let count = black_box(line.piece(&mut scratch)).len();
        line.wrote(count);
        u64::from(count == bytes)
    }))
}

fn encrypt(bytes: usize) -> Result<Turn, Failure> {
    let frames = Bytes::from(vec![b'f'; bytes]);
    let (mut line, mut scratch) = (tls::open_line()?, Vec::new());
    Ok(Box::new(move || {
        line.push(black_box(&frames).clone());
        let count = black_box(line.piece(&mut scratch)).len();
        line.wrote(count);
        u64::from(count > bytes)
    }))
}

fn apply(channels: u64) -> Result<Turn, Failure> {
    let channel =
        Channel { pattern: Pattern::PubSub, client_limit: None, timeout_ms: None, token: TokenHash::of("secret") };
    let mut catalogue = Catalogue::new();
    // An odd factor spreads the ids over all of them, none twice.
    let id = |n: u64| ChannelId::from_bits(u128::from(n.wrapping_mul(0x9E37_79B1) & 0xFFFF_FFFF), 4);
    for n in 1..channels {
        catalogue.apply(Time::ZERO, &Command::Create { id: id(n), channel: channel.clone() }, |_, _| ());
    }
    let mut n = channels;
    Ok(Box::new(move || {
        n += 1;
        let create = Command::Create { id: id(n), channel: channel.clone() };
        let delete = Command::Delete { id: id(n), why: Removal::Deleted };
        let created = catalogue.apply(Time::ZERO, black_box(&create), |_, _| ());
        let deleted = catalogue.apply(Time::ZERO, black_box(&delete), |_, _| ());
        u64::from((created, deleted) == (Outcome::Created, Outcome::Deleted))
    }))
}

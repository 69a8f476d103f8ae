//! Cases of messages, from the bytes of a read to the bytes that are written on every receiver's line.

use wrs_core::wire::message::Kind;

use super::node::{Client, Conn, Failure, Node, masked};
use super::{Case, Turn};

/// Messages in one read where there are many.
const BATCH: usize = 32;
const SIZE: usize = 64;
/// Server frames of less than 126 bytes have a header of two.
const FRAME: u64 = SIZE as u64 + 2;
const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
const REQUEST: &str = r#"{"type":"request","id":17,"method":"sum","params":[1,2,3,"four"]}"#;

/// A delivery allocates nothing; now and then a buffer that is still held by receivers has to be replaced.
const NOTHING: f64 = 0.01;

/// All of them.
pub const CASES: &[Case] = &[
    relayed("echo 64 B", 1, 5_000, NOTHING, || echo(1)),
    relayed("echo 64 B, 32 per read", BATCH, 500, NOTHING, || echo(BATCH)),
    relayed("publish 64 B, 1→1", 1, 5_000, NOTHING, || publish(1, 1)),
    relayed("publish 64 B, 1→1, 32 per read", BATCH, 500, NOTHING, || publish(1, BATCH)),
    relayed("publish 64 B, 1→10", 10, 2_000, NOTHING, || publish(10, 1)),
    relayed("publish 64 B, 1→10, 32 per read", 10 * BATCH, 200, NOTHING, || publish(10, BATCH)),
    relayed("publish 64 B, 1→1,000", 1_000, 50, NOTHING, || publish(1_000, 1)),
    relayed("publish 64 B, 1→1,000, 32 per read", 1_000 * BATCH, 10, NOTHING, || publish(1_000, BATCH)),
    relayed("publish 64 B, 1→10 on another shard", 10, 2_000, NOTHING, || publish_across(10, 1)),
    relayed("publish 64 B, 1→10 on another shard, 32 per read", 10 * BATCH, 200, NOTHING, || {
        publish_across(10, BATCH)
    }),
    relayed("publish 256 B of JSON compressed, 1→10", 10, 500, 0.3, || broadcast_deflated(10)),
    relayed("publish 256 B of JSON compressed, 1→1,000", 1_000, 20, NOTHING, || broadcast_deflated(1_000)),
    relayed("push-pull 64 B to 10 workers, 32 per read", BATCH, 500, NOTHING, || push(10)),
    relayed("req-repl: a request to 10", 10, 2_000, NOTHING, || request("req-repl", 10, 10, 1)),
    relayed("req-repl: a request to 10, 32 per read", 10 * BATCH, 200, NOTHING, || request("req-repl", 10, 10, BATCH)),
    relayed("req-repl: a reply", 1, 5_000, NOTHING, || reply("req-repl")),
    relayed("fan-in-out: a request to 10, 32 per read", BATCH, 500, NOTHING, || request("fan-in-out", 10, 1, BATCH)),
    relayed("fan-in-out: a reply", 1, 5_000, NOTHING, || reply("fan-in-out")),
];

const fn relayed(
    name: &'static str,
    deliveries: usize,
    turns: u64,
    allocations_max: f64,
    prepare: fn() -> Result<Turn, Failure>,
) -> Case {
    Case { name, unit: "delivery", units: deliveries as u64, turns, allocations_max, prepare }
}

/// What a read of `batch` equal messages is, each `bytes` on every receiver's wire: units by bytes written.
fn deliver(mut node: Node, from: Conn, message: &[u8], batch: usize, bytes: u64) -> Turn {
    let read = message.repeat(batch);
    Box::new(move || {
        let before = node.written();
        node.turn(from, &read);
        (node.written() - before) / bytes
    })
}

fn text() -> Vec<u8> {
    masked(Kind::Text, &[b'f'; SIZE])
}

fn first(clients: &[Client]) -> Result<&Client, Failure> {
    clients.first().ok_or_else(|| "nobody joined".into())
}

fn echo(batch: usize) -> Result<Turn, Failure> {
    let mut node = Node::new(1, false);
    let (_, clients) = node.room("echo", 0, [""], "")?;
    let conn = first(&clients)?.conn;
    Ok(deliver(node, conn, &text(), batch, FRAME))
}

fn publish(subscribers: usize, batch: usize) -> Result<Turn, Failure> {
    let mut node = Node::new(1, false);
    let (channel, _) = node.room("pub-sub", 0, (0..subscribers).map(|_| ""), "")?;
    let publisher = node.join(0, &channel, "&echo=false", "")?;
    Ok(deliver(node, publisher.conn, &text(), batch, FRAME))
}

fn publish_across(subscribers: usize, batch: usize) -> Result<Turn, Failure> {
    let mut node = Node::new(2, false);
    let (channel, _) = node.room("pub-sub", 1, (0..subscribers).map(|_| ""), "")?;
    let publisher = node.join(0, &channel, "&echo=false", "")?;
    Ok(deliver(node, publisher.conn, &text(), batch, FRAME))
}

fn broadcast_deflated(subscribers: usize) -> Result<Turn, Failure> {
    let mut node = Node::new(1, true);
    let (channel, _) = node.room("pub-sub", 0, (0..subscribers).map(|_| ""), DEFLATE)?;
    let publisher = node.join(0, &channel, "&echo=false", "")?.conn;
    let entry = |n: u32| format!("{{\"id\":{n},\"value\":\"{:08x}\"}}", n.wrapping_mul(0x9E37_79B1));
    let json: String = (0..8).map(entry).collect();
    let message = masked(Kind::Text, json.as_bytes());
    // What one compressed message is on the wire is known once it was sent.
    let before = node.written();
    node.turn(publisher, &message);
    let bytes = (node.written() - before) / subscribers.max(1) as u64;
    if bytes == 0 || bytes >= json.len() as u64 {
        return Err(format!("{} bytes were not compressed: {bytes}", json.len()));
    }
    Ok(deliver(node, publisher, &message, 1, bytes))
}

fn push(workers: usize) -> Result<Turn, Failure> {
    let mut node = Node::new(1, false);
    let (channel, _) = node.room("push-pull", 0, (0..workers).map(|_| ""), "")?;
    let distributor = node.join(0, &channel, "&pull=false", "")?;
    Ok(deliver(node, distributor.conn, &text(), BATCH, FRAME))
}

/// A request that `each` others get.
fn request(pattern: &str, others: usize, each: u64, batch: usize) -> Result<Turn, Failure> {
    let mut node = Node::new(1, false);
    let (channel, _) = node.room(pattern, 0, (0..others).map(|_| ""), "")?;
    let asker = node.join(0, &channel, "&pull=false", "")?.conn;
    let message = masked(Kind::Text, REQUEST.as_bytes());
    let before = node.written();
    node.turn(asker, &message);
    let bytes = (node.written() - before) / each;
    if bytes <= REQUEST.len() as u64 {
        return Err("nobody got the request".into());
    }
    Ok(deliver(node, asker, &message, batch, bytes))
}

fn reply(pattern: &str) -> Result<Turn, Failure> {
    let mut node = Node::new(1, false);
    let (channel, clients) = node.room(pattern, 0, (0..10).map(|_| ""), "")?;
    let asker = node.join(0, &channel, "&pull=false", "")?;
    let json = format!("{{\"type\":\"reply\",\"origin\":\"{}\",\"id\":17,\"result\":6}}", asker.id);
    let bytes = json.len() as u64 + 2;
    let from = first(&clients)?.conn;
    Ok(deliver(node, from, &masked(Kind::Text, json.as_bytes()), 1, bytes))
}

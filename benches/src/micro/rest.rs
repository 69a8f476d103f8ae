//! Cases of requests, from the bytes of one to the bytes of its answer.

use super::node::{Channel, Conn, Failure, Node, connect_request, create_request};
use super::{Case, MANY, Turn};

/// Sends in a join and the leave after it: the 101.
const WELCOMES: u64 = 1;

/// With one channel there: what [`GET_MANY`] is compared with.
pub const GET_ONE: &str = "GET /channels/{id}, 1 channel";
/// With 100,000.
pub const GET_MANY: &str = "GET /channels/{id}, 100,000 channels";
/// With few channels there: what [`POST_MANY`] is compared with.
pub const POST_FEW: &str = "POST /channels, 1 channel and up";
/// With 100,000 and up.
pub const POST_MANY: &str = "POST /channels, 100,000 channels and up";

/// All of them.
pub const CASES: &[Case] = &[
    Case { name: GET_ONE, unit: "request", turns: 2_000, allocations_max: 13.0, ..Case::of(|| get(1)) },
    Case { name: GET_MANY, unit: "request", turns: 2_000, allocations_max: 13.0, ..Case::of(|| get(MANY)) },
    Case { name: POST_FEW, unit: "request", turns: 1_000, allocations_max: 27.0, ..Case::of(|| post(1)) },
    Case { name: POST_MANY, unit: "request", turns: 1_000, allocations_max: 27.0, ..Case::of(|| post(MANY)) },
    Case { name: "connect to 101, and leave", unit: "client", turns: 1_000, allocations_max: 13.0, ..Case::of(join) },
];

/// A node with so many channels, the last of them, and a connection to it.
fn node_with(channels: u64) -> Result<(Node, Channel, Conn), Failure> {
    let mut node = Node::new(1, false);
    let conn = node.open(0);
    let create = create_request("pub-sub");
    for _ in 1..channels {
        node.turn(conn, &create);
    }
    let channel = node.create(conn, "pub-sub")?;
    Ok((node, channel, conn))
}

fn get(channels: u64) -> Result<Turn, Failure> {
    let (mut node, channel, conn) = node_with(channels)?;
    let request = format!("GET /channels/{} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: */*\r\n\r\n", channel.id);
    let answer = node.ask(conn, request.as_bytes());
    if !(answer.starts_with("HTTP/1.1 200 ") && answer.contains(&channel.id)) {
        return Err(answer);
    }
    Ok(Box::new(move || {
        let before = node.sends();
        node.turn(conn, request.as_bytes());
        node.sends() - before
    }))
}

fn post(channels: u64) -> Result<Turn, Failure> {
    let (mut node, _, conn) = node_with(channels)?;
    let request = create_request("push-pull");
    let answer = node.ask(conn, &request);
    if !answer.starts_with("HTTP/1.1 201 ") {
        return Err(answer);
    }
    Ok(Box::new(move || {
        let before = node.sends();
        node.turn(conn, &request);
        node.sends() - before
    }))
}

fn join() -> Result<Turn, Failure> {
    let (mut node, channel, _) = node_with(1)?;
    let request = connect_request(&channel, "", "");
    node.join(0, &channel, "", "")?;
    Ok(Box::new(move || {
        let before = node.sends();
        let conn = node.open(0);
        node.turn(conn, &request);
        node.lose(conn);
        u64::from(node.sends() - before == WELCOMES)
    }))
}

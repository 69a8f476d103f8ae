//! What a connection that does nothing keeps, in the core and in its line.

use super::node::{Failure, Node};
use crate::counting::Tally;

/// Connections that are averaged.
const CLIENTS: usize = 4_096;

/// Something of which there may be many, and how much of the heap one of it may take.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    /// What.
    pub name: &'static str,
    /// The most bytes of one, its share of tables included.
    pub bytes_max: i64,
    /// Bytes that one takes.
    pub measure: fn() -> Result<i64, Failure>,
}

/// All of them.
pub const HOLDINGS: &[Holding] = &[
    Holding { name: "an idle client of a channel", bytes_max: 768, measure: client },
    Holding { name: "an idle connection between two requests", bytes_max: 448, measure: connection },
    Holding { name: "a channel that nobody has joined", bytes_max: 672, measure: channel },
];

/// Bytes that one of `CLIENTS` takes once `add` was called for each.
fn each(mut add: impl FnMut() -> Result<(), Failure>) -> Result<i64, Failure> {
    let before = Tally::so_far();
    for _ in 0..CLIENTS {
        add()?;
    }
    Ok(Tally::so_far().since(before).live / CLIENTS as i64)
}

fn client() -> Result<i64, Failure> {
    let mut node = Node::new(1, false);
    let (room, _) = node.room("pub-sub", 0, [""], "")?;
    each(|| node.join(0, &room, "", "").map(|_| ()))
}

fn connection() -> Result<i64, Failure> {
    let mut node = Node::new(1, false);
    each(|| {
        let conn = node.open(0);
        let answer = node.ask(conn, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(answer) }
    })
}

fn channel() -> Result<i64, Failure> {
    let mut node = Node::new(1, false);
    let conn = node.open(0);
    node.create(conn, "pub-sub")?;
    each(|| node.create(conn, "pub-sub").map(|_| ()))
}

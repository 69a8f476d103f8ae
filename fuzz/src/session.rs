//! One connection of a whole shard: any bytes, in any reads, give the same answer to the byte, and the connection ends.

use std::time::Duration;

use wrs_core::id::ConnId;
use wrs_core::pattern::Pattern;

use crate::node::{Node, handshake};

const CONN: ConnId = ConnId { index: 0, generation: 0 };

/// The first byte of `data` says whether the stream begins as a request, or as a client's first frame on a channel of
/// which pattern; the second how long a read is. The rest is what the client sends.
pub fn run(data: &[u8]) {
    let [how, step, stream @ ..] = data else { return };
    let whole = answer(*how, stream, usize::MAX);
    let cut = answer(*how, stream, usize::from(*step) + 1);
    if whole.windows(14).any(|part| part == b"wrs_build_info") {
        // Figures count what has come so far, which depends on the reads.
        return;
    }
    assert!(whole == cut, "a cut changed the answer:\n{}\n{}", whole.escape_ascii(), cut.escape_ascii());
}

fn answer(how: u8, stream: &[u8], step: usize) -> Vec<u8> {
    let mut node = Node::new(1);
    let channel = Pattern::ALL
        .get(usize::from(how & 7))
        .and_then(|pattern| node.create(&format!("{{\"pattern\":\"{}\"}}", pattern.as_str())));
    node.open(0, CONN);
    if let Some((id, token)) = channel {
        let deflate = if how & 8 != 0 { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
        node.receive(0, CONN, &handshake(&id, &token, deflate));
        node.rest(4_096);
    }
    node.receive(0, CONN, stream);
    node.rest(step);
    let answer = node.sent.get(&(0, CONN)).cloned().unwrap_or_default();
    // A client's pings go unanswered here, so every wait ends within two of them.
    node.wait(Duration::from_secs(200), step);
    assert!(node.open.is_empty(), "the connection never ends");
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_reaches_the_pattern_that_its_first_byte_names() {
        let joined = answer(1, b"\x81\x85\0\0\0\0hello", 3);
        assert!(joined.starts_with(b"HTTP/1.1 101 "), "{}", joined.escape_ascii());
        assert!(joined.ends_with(b"\r\n\r\n\x81\x05hello"), "{}", joined.escape_ascii());
        let asked = answer(7, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 3);
        assert!(asked.starts_with(b"HTTP/1.1 200 "), "{}", asked.escape_ascii());
    }
}

//! Sequences of inputs to a node of one to three shards: nothing panics, everything comes to rest, and the node stops.

use std::time::Duration;

use wrs_core::id::ConnId;
use wrs_core::pattern::Pattern;

use crate::node::{Node, handshake};

/// Steps that are looked at; later ones add nothing.
const STEPS_MAX: usize = 200;

/// The first byte says how many shards there are and how long a read is; then each step is a byte that says what and a
/// byte that says whose, and some take more.
pub fn run(data: &[u8]) {
    let Some((&how, mut rest)) = data.split_first() else { return };
    let mut node = Node::new(u16::from(how % 3) + 1);
    let step = [1, 7, 4_096][usize::from(how / 3 % 3)];
    let mut channels: Vec<(String, String)> = Vec::new();
    let mut generations = [0u32; 8];
    let mut steps = 0;
    while let [what, whose, behind @ ..] = rest {
        rest = behind;
        steps += 1;
        if steps > STEPS_MAX {
            break;
        }
        let index = whose & 7;
        let here = usize::from(index) % node.shards();
        let conn = ConnId { index: index.into(), generation: generations[usize::from(index)] };
        match what % 16 {
            0 => {
                let pattern = Pattern::ALL[usize::from(*whose) % 5].as_str();
                let limit = if whose & 0x80 != 0 { "2" } else { "-1" };
                let timeout = ["-1", "0", "1000"][usize::from(whose >> 5) % 3];
                let body = format!("{{\"pattern\":\"{pattern}\",\"clientLimit\":{limit},\"timeout\":{timeout}}}");
                channels.extend(node.create(&body));
            }
            1 | 2 if !node.open.contains(&(here, conn)) => {
                generations[usize::from(index)] += 1;
                let conn = ConnId { index: index.into(), generation: generations[usize::from(index)] };
                node.open(here, conn);
                if let Some((id, token)) = channels.get(usize::from(whose >> 3) % channels.len().max(1)) {
                    let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
                    node.receive(here, conn, &handshake(id, token, if whose & 0x40 != 0 { deflate } else { "" }));
                }
            }
            3..=7 => {
                let (payload, behind) = take(rest);
                rest = behind;
                let mut frame = vec![0x81 + (what >> 7), 0x80 | payload.len() as u8, 0, 0, 0, 0];
                frame.extend_from_slice(payload);
                node.receive(here, conn, &frame);
            }
            8 | 9 => {
                let (bytes, behind) = take(rest);
                rest = behind;
                node.receive(here, conn, bytes);
            }
            10 => node.end(here, conn, whose & 0x80 != 0),
            11 => {
                if let Some((id, _)) = channels.get(usize::from(*whose) % channels.len().max(1)) {
                    let request = format!("DELETE /channels/{id} HTTP/1.1\r\nHost: a\r\n\r\n");
                    node.receive(here, conn, request.as_bytes());
                }
            }
            12 => node.wait(Duration::from_millis(u64::from(*whose) * 97), step),
            13 => node.clog(here, conn),
            14 if *whose == 0xFF => return node.stop(step),
            15 => {
                let (count, behind) = rest.split_first().map_or((0, rest), |(count, behind)| (*count, behind));
                rest = behind;
                node.drip(here, conn, usize::from(count) * 4);
                node.rest(step);
            }
            _ => node.rest(step),
        }
    }
    node.rest(step);
    node.stop(step);
}

/// A length of up to 125 and so many bytes.
fn take(data: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, data)) = data.split_first() else { return (&[], &[]) };
    data.split_at(usize::from(*length).min(125).min(data.len()))
}

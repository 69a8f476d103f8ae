//! What reaches a node's gate from another node, or from a stranger at the cluster port: any bytes, in any reads, mean the
//! same; a stranger is told nothing but a hello, and nothing panics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use wrs_core::action::{Action, Actions};
use wrs_core::config::{Config, NodeAddress, Secret};
use wrs_core::gate::{Gate, Heard, Introduction, VERSION};
use wrs_core::id::{ChannelId, ConnId, DialId, Life, NodeId};
use wrs_core::peer::PeerMessage;
use wrs_core::random::Random;
use wrs_core::time::Time;
use wrs_core::wire::compact::put_number;
use wrs_core::wire::peer::{decode, encode};

/// What a connection begins with.
const PREFACE: &[u8] = b"wrs-link";
const CONN: ConnId = ConnId { index: 1, generation: 2 };
const NOW: Time = Time::from_millis(1_000);
/// Bytes that a stranger may be sent: a hello, and why he has to go.
const HELLO_BYTES_MAX: usize = 200;

/// The first byte of `data` says who speaks and how long a read is; the rest is what he says.
pub fn run(data: &[u8]) {
    let Some((&how, stream)) = data.split_first() else { return };
    let step = usize::from(how >> 2) + 1;
    match how & 3 {
        0 => stranger(&introduced(stream), step, false),
        1 => stranger(&introduced(stream), step, true),
        2 => node(&sealed(stream), step),
        _ => message(stream),
    }
}

/// What comes behind the first eight bytes, sealed.
fn introduced(stream: &[u8]) -> Vec<u8> {
    match stream.strip_prefix(PREFACE) {
        Some(rest) => [PREFACE, &sealed(rest)].concat(),
        None => stream.to_vec(),
    }
}

/// Frames that are written without their checksums get them, so that a changed byte is one of a frame's and not the end of
/// the link. What is no whole frame stays as it is.
fn sealed(mut stream: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    while let Some((length, rest)) = length(stream) {
        let Some(frame) = rest.get(..length).filter(|frame| !frame.is_empty()) else { break };
        put_number(&mut out, length as u64 + 4);
        out.put_u32_le(crc32fast::hash(frame));
        out.put_slice(frame);
        stream = rest.get(length..).unwrap_or_default();
    }
    out.put_slice(stream);
    out.to_vec()
}

/// The length at the front of a stream, and what follows it.
fn length(stream: &[u8]) -> Option<(usize, &[u8])> {
    let at = stream.iter().take(4).position(|byte| *byte < 0x80)?;
    let length = stream.iter().take(at + 1).rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7F));
    Some((length, stream.get(at + 1..)?))
}

/// Somebody at the port, or at an address that was dialed.
fn stranger(stream: &[u8], step: usize, dialed: bool) {
    let mut sent = Vec::new();
    for step in [stream.len().max(1), step] {
        let (mut gate, mut out) = (gate(1), Actions::new());
        let dial = dialed.then(|| gate.meet(somewhere()));
        let mut said = connect(&mut gate, dial, &mut out);
        for part in stream.chunks(step) {
            gate.received(NOW, CONN, part, &mut out);
            gate.flush(NOW, &mut out);
            said.extend(said_in(&mut out));
        }
        let unheard = |heard: &Heard| matches!(heard, Heard::Unmet { .. });
        assert!(std::iter::from_fn(|| gate.next_heard()).all(|heard| unheard(&heard)), "a stranger was heard");
        // To an address that it dialed itself, the node gives one proof that it is who it says.
        assert!(said.len() <= HELLO_BYTES_MAX + if dialed { 40 } else { 0 }, "a stranger was told much");
        assert_eq!(gate.views().filter(|view| view.up.is_some()).count(), 0);
        gate.timeout(NOW + Duration::from_secs(10), &mut out);
        gate.timeout(NOW + Duration::from_secs(20), &mut out);
        assert!(!gate.has(CONN) && gate.deadline().is_none());
        sent.push(said);
    }
    assert_eq!(sent.first(), sent.last(), "a cut changed what was answered");
}

/// Another node, which has proven itself.
fn node(stream: &[u8], step: usize) {
    let whole = listen(stream, stream.len().max(1));
    assert_eq!(listen(stream, step), whole, "a cut changed what was heard");
}

/// What a gate hears on a link, and whether the link is still up after it.
fn listen(stream: &[u8], step: usize) -> (Vec<String>, bool) {
    let (mut gate, mut other, mut out) = (gate(1), gate(2), Actions::new());
    let interest = PeerMessage::Interest(ChannelId::from_bits(7, 4));
    assert!(gate.mail(NOW, Life(102), &interest));
    link(&mut gate, &mut other);
    let mut heard = Vec::new();
    for part in stream.chunks(step) {
        gate.received(NOW, CONN, part, &mut out);
        gate.flush(NOW, &mut out);
        for action in out.drain() {
            if let Action::Send { bytes, .. } = action {
                let _ = gate.flushed(CONN, 0);
                assert!(bytes.len() < 4096, "few words are answered with many");
            }
        }
        heard.extend(std::iter::from_fn(|| gate.next_heard()).map(|heard| format!("{heard:?}")));
    }
    assert!(gate.unacknowledged(Life(102)) < 100);
    (heard, gate.is_up(Life(102)))
}

/// What decodes has one encoding.
fn message(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    // At the end of time, since an age that reaches beyond its beginning has several.
    if let Some(message) = decode(bytes.clone(), Time::MAX, VERSION) {
        let mut again = BytesMut::new();
        let payload = encode(&message, Time::MAX, VERSION, &mut again).expect("what came from a node can go to one");
        payload.pieces().for_each(|piece| again.extend_from_slice(piece));
        assert_eq!(again, bytes);
    }
}

fn gate(n: u64) -> Gate {
    let config = Config { cluster_secret: Some(Secret::new("secret")), ..Config::default() };
    let introduction = Introduction {
        node: NodeId(n),
        life: Life(100 + n),
        incarnation: 1,
        cluster: Some(3),
        id_length: 4,
        shards: 1,
        address: None,
        port: 4000,
        channels: false,
    };
    Gate::new(Arc::new(config), introduction, Random::from_key([n as u8; 32]))
}

/// Opens the connection; the gate's first words.
fn connect(gate: &mut Gate, dial: Option<DialId>, out: &mut Actions) -> Vec<u8> {
    gate.linked(NOW, CONN, SocketAddr::from(([192, 0, 2, 1], 1)), dial, out);
    gate.flush(NOW, out);
    said_in(out)
}

/// The bytes that are to be sent.
fn said_in(out: &mut Actions) -> Vec<u8> {
    let bytes = |action| if let Action::Send { bytes, .. } = action { Some(bytes) } else { None };
    out.drain().filter_map(bytes).flatten().collect()
}

/// Lets two gates make a link: the second dials.
fn link(gate: &mut Gate, other: &mut Gate) {
    let mut out = Actions::new();
    let dial = other.meet(somewhere());
    let mut to_other = connect(gate, None, &mut out);
    let mut to_gate = connect(other, Some(dial), &mut out);
    while !(to_gate.is_empty() && to_other.is_empty()) {
        gate.received(NOW, CONN, &std::mem::take(&mut to_gate), &mut out);
        gate.flush(NOW, &mut out);
        to_other.extend(said_in(&mut out));
        other.received(NOW, CONN, &std::mem::take(&mut to_other), &mut out);
        other.flush(NOW, &mut out);
        to_gate.extend(said_in(&mut out));
    }
    while gate.next_heard().is_some() {}
    assert!(gate.is_up(Life(102)) && other.is_up(Life(101)));
}

fn somewhere() -> NodeAddress {
    NodeAddress { host: "a".to_owned(), port: Some(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![u8::try_from(body.len() + 1).unwrap(), kind];
        out.extend_from_slice(body);
        out
    }

    /// Mail, a word, a question, and that mail has come: the first letter of the gate has let the other's mail start.
    fn seed() -> Vec<u8> {
        let mut letter = BytesMut::new();
        encode(&PeerMessage::Interest(ChannelId::from_bits(7, 4)), NOW, VERSION, &mut letter).unwrap();
        [frame(17, &letter), frame(19, b"word"), frame(20, &[5]), frame(18, &[1])].concat()
    }

    #[test]
    fn the_seed_is_heard() {
        let (heard, up) = listen(&sealed(&seed()), 1);
        assert!(up && heard.len() == 2 && heard[0].contains("Interest") && heard[1].contains("word"), "{heard:?}");
    }

    #[test]
    fn the_seed_with_any_one_byte_changed_holds() {
        for at in 0..seed().len() {
            for byte in (0..=255).step_by(3) {
                let mut data = vec![2 | 8];
                data.extend(seed());
                data[at + 1] = byte;
                run(&data);
            }
        }
    }

    #[test]
    fn a_hello_and_a_wrong_proof_are_refused() {
        let mut hello = connect(&mut gate(2), None, &mut Actions::new());
        hello.extend(frame(2, &[0; 32]));
        for how in [0, 1, 4, 5] {
            run(&[&[how], &hello[..]].concat());
        }
    }
}

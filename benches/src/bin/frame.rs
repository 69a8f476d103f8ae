//! Micro-bench of the frame codec: nanoseconds per message through `Reader`, per `unmask` and per `encode`.
//!
//! Run it on an idle core: `cargo run --release -p wrs-benches --bin frame`. Each figure is the best of several rounds,
//! because noise only ever adds.

use std::hint::black_box;
use std::io::{self, Write};
use std::time::Instant;

use bytes::BytesMut;
use wrs_core::wire::deflate::{Deflate, Inflate, Window};
use wrs_core::wire::frame::{self, OpCode};
use wrs_core::wire::message::{Input, Item, Kind, Limits, Reader};

const ROUNDS: usize = 15;
const BYTES_PER_ROUND: usize = 8 << 20;
const READ_BYTES: usize = 64 << 10;
const LIMITS: Limits = Limits { message_bytes_max: 1 << 20 };

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:>8} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "bytes", "text ns", "binary ns", "cut ns", "unmask ns", "encode ns"
    )?;
    for bytes in [0, 16, 64, 125, 256, 1024, 16 << 10] {
        let text = ns_per_message(Kind::Text, bytes, false);
        let binary = ns_per_message(Kind::Binary, bytes, false);
        let cut = ns_per_message(Kind::Text, bytes, true);
        writeln!(
            out,
            "{bytes:>8} {text:>12.1} {binary:>12.1} {cut:>12.1} {:>12.1} {:>12.1}",
            unmask(bytes),
            encode(bytes)
        )?;
    }
    writeln!(out, "{:>8} {:>12} {:>12} {:>12}", "json", "deflate ns", "inflate ns", "ratio")?;
    for bytes in [64, 256, 1024, 16 << 10] {
        let (deflate, inflate, ratio) = compression(bytes);
        writeln!(out, "{bytes:>8} {deflate:>12.0} {inflate:>12.0} {ratio:>12.2}")?;
    }
    Ok(())
}

/// The best time of `turn`, in nanoseconds for each of the `count` things that it does.
fn best(count: usize, mut turn: impl FnMut()) -> f64 {
    let round = |_| {
        let start = Instant::now();
        turn();
        start.elapsed().as_nanos() as f64 / count as f64
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

/// Frames back to back in large reads; or, if `cut`, each half in one read and half in the next.
fn ns_per_message(kind: Kind, bytes: usize, cut: bool) -> f64 {
    // A mask that turns letters into letters, so that the text is valid however often it was unmasked.
    let mut one = BytesMut::new();
    frame::encode(&mut one, kind.opcode(), &vec![b'f'; bytes]);
    let (header, payload) = one.split_at(one.len() - bytes);
    let mut wire = BytesMut::from(header);
    if let Some(length) = wire.get_mut(1) {
        *length |= 0x80;
    }
    wire.extend_from_slice(&[1; 4]);
    wire.extend_from_slice(payload);
    let count = BYTES_PER_ROUND / 8 / wire.len() + 1;
    let stream = wire.repeat(count);
    let (shift, read_bytes) = if cut { (wire.len() / 2, wire.len()) } else { (0, READ_BYTES) };
    let mut read = vec![0; READ_BYTES];
    let (mut total, mut messages) = (0, 0usize);
    let time = best(count, || {
        let (mut reader, mut inflate) = (Reader::new(), None::<Inflate>);
        let (first, rest) = stream.split_at(shift);
        for part in std::iter::once(first).chain(rest.chunks(read_bytes)) {
            let Some(read) = read.get_mut(..part.len()) else { continue };
            // Stands for the kernel's copy into the shared read buffer; its cost is in the figure.
            read.copy_from_slice(part);
            let mut input = Input::new(read);
            while let Ok(Some(item)) = reader.next(&mut input, &LIMITS, inflate.as_mut()) {
                if let Item::Message { payload, .. } = item {
                    total += payload.len();
                    messages += 1;
                }
            }
        }
    });
    assert_eq!((messages, total), (ROUNDS * count, ROUNDS * count * bytes), "each message came out");
    time
}

fn unmask(bytes: usize) -> f64 {
    let mut payload = vec![b'f'; bytes];
    let count = BYTES_PER_ROUND / (bytes + 16);
    best(count, || {
        for i in 0..count {
            frame::unmask(black_box(&mut payload), black_box([1, 2, 3, i as u8]), 0);
        }
    })
}

fn encode(bytes: usize) -> f64 {
    let payload = vec![b'f'; bytes];
    let mut out = BytesMut::with_capacity(READ_BYTES);
    let count = BYTES_PER_ROUND / (bytes + 16);
    best(count, || {
        for _ in 0..count {
            if out.len() + bytes + 10 > READ_BYTES {
                out.clear();
            }
            frame::encode(&mut out, OpCode::Text, black_box(&payload));
        }
    })
}

/// Nanoseconds to compress and to inflate a message of about so many bytes of JSON, and the ratio of the sizes.
fn compression(bytes: usize) -> (f64, f64, f64) {
    let json =
        |i: usize| format!("{{\"type\":\"request\",\"id\":{},\"value\":\"{:x}\"}},", i, i.wrapping_mul(0x9e37_79b9));
    let payload: Vec<u8> = (0..).flat_map(|i| json(i).into_bytes()).take(bytes).collect();
    let (mut deflate, mut inflate, mut out) = (Deflate::new(), Inflate::new(), BytesMut::new());
    let count = (BYTES_PER_ROUND / 16 / bytes).max(1);
    let deflate_ns = best(count, || {
        for _ in 0..count {
            out.clear();
            deflate.encode(&mut out, OpCode::Text, Window::MAX, black_box(&payload));
        }
    });
    let header = if out.len() > 127 { 4 } else { 2 };
    let body = out.split_off(header);
    let compressed = out.first().is_some_and(|first| first & 0x40 != 0);
    let inflate_ns = best(count, || {
        for _ in 0..count {
            let inflated = inflate.inflate(black_box(&body), LIMITS.message_bytes_max);
            assert!(!compressed || inflated == Ok(&payload), "the message came back");
        }
    });
    (deflate_ns, inflate_ns, payload.len() as f64 / body.len() as f64)
}

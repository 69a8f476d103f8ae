//! Frames and messages: any bytes, in any reads, give the same items and the same fault, and nothing panics.

use wrs_core::wire::deflate::Inflate;
use wrs_core::wire::frame::{self, Fault, REASON_BYTES_MAX};
use wrs_core::wire::message::{Input, Item, Limits, Reader};

/// Small enough that inputs of a fuzzer's usual length reach it.
const LIMITS: Limits = Limits { message_bytes_max: 300 };

/// The first byte of `data` says whether compression is on and how long a read is; the rest is what a client sent.
pub fn run(data: &[u8]) {
    let Some((&how, stream)) = data.split_first() else { return };
    let (compression, step) = (how & 1 != 0, usize::from(how >> 1) + 1);
    let whole = read(stream, stream.len().max(1), compression);
    assert_eq!(read(stream, step, compression), whole, "a cut changed what was read");
    assert!(frame::boundary_after(stream, step) <= stream.len());
}

/// What comes out of a stream in reads of `step` bytes. The items are kept as they show themselves.
fn read(stream: &[u8], step: usize, compression: bool) -> (Vec<String>, Option<Fault>) {
    let (mut reader, mut inflate) = (Reader::new(), compression.then(Inflate::new));
    let (mut items, mut ended) = (Vec::new(), None);
    for part in stream.chunks(step) {
        let mut part = part.to_vec();
        let mut input = Input::new(&mut part);
        loop {
            match reader.next(&mut input, &LIMITS, inflate.as_mut()) {
                Ok(Some(item)) => {
                    assert!(ended.is_none(), "something after a fault");
                    check(&item);
                    items.push(format!("{item:?}"));
                }
                Ok(None) => break,
                Err(fault) => {
                    assert!(ended.is_none() && fault.reason.len() <= REASON_BYTES_MAX);
                    ended = Some(fault);
                }
            }
        }
        assert!(input.is_empty(), "input was left");
    }
    (items, ended)
}

/// What holds for every item.
fn check(item: &Item<'_>) {
    match item {
        Item::Message { payload, .. } => assert!(payload.len() as u64 <= LIMITS.message_bytes_max),
        Item::Ping(payload) | Item::Pong(payload) => assert!(payload.len() <= frame::CONTROL_BYTES_MAX),
        Item::Close { code, .. } => assert!(code.is_none_or(|code| code.may_be_received())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text in two fragments with a ping between, a compressed binary message, and a close; all masked with zeros.
    const SEED: &[u8] = b"\x01\x82\0\0\0\0\xe2\x82\x89\x81\0\0\0\0?\x80\x81\0\0\0\0\xac\
        \xc2\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00\x88\x85\0\0\0\0\x03\xe8bye";

    #[test]
    fn the_seed_is_read_to_its_close() {
        let (items, fault) = read(SEED, 3, true);
        assert_eq!((items.len(), fault), (4, None), "{items:?}");
    }

    #[test]
    fn the_seed_with_any_one_byte_changed_holds() {
        for how in [0, 1, 2, 3, 15, 255] {
            for at in 0..SEED.len() {
                for byte in 0..=255 {
                    let mut data = vec![how];
                    data.extend_from_slice(SEED);
                    data[at + 1] = byte;
                    run(&data);
                }
            }
        }
    }
}

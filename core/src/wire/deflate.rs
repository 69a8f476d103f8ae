//! permessage-deflate (RFC 7692) without context takeover: one message in, one message out, nothing remembered.
//!
//! A shard holds one [`Inflate`] and one [`Deflate`] for all its connections; because no message needs the one before,
//! a broadcast is compressed once per negotiated window and shared. Guards the rule that a message never inflates
//! beyond the configured size, however small it was on the wire.

use bytes::{BufMut, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::{self, Fault, HEADER_BYTES_MAX, OpCode};

/// What a reusable buffer may keep between messages, in bytes; beyond it is given back.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// How an output buffer starts, in bytes.
const INFLATED_BYTES_MIN: usize = 4 * 1024;

/// What a flush ends with and a message leaves out: an empty block that is stored (RFC 7692 section 7.2.1).
const FLUSH: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// [`FLUSH`], then an empty block that says it is the last: reached only where a message ends between two blocks.
const END: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];

/// The base-2 logarithm of a compressor's window in bytes, 9 to 15 (RFC 7692 section 7.1.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Window(u8);

impl Window {
    /// The smallest window that the compressor has: 512 bytes. RFC 7692 also knows 8, which zlib cannot make.
    pub const MIN: Window = Window(9);
    /// The largest window, 32 KiB, which holds where none was negotiated.
    pub const MAX: Window = Window(15);

    /// The window of 2^`bits` bytes; `None` unless 9 to 15.
    pub const fn new(bits: u8) -> Option<Self> {
        if bits >= Self::MIN.0 && bits <= Self::MAX.0 { Some(Window(bits)) } else { None }
    }

    /// The logarithm, 9 to 15.
    pub const fn bits(self) -> u8 {
        self.0
    }
}

/// What a compressed message of `inflated` bytes may take on the wire.
///
/// A poor compressor (only literals with the fixed code, 9 bits each) makes data longer by an eighth.
pub const fn deflated_bytes_max(inflated: u64) -> u64 {
    inflated.saturating_add(inflated / 8).saturating_add(64)
}

/// Room for what our own compressor can make of so many bytes, its flush included: 9 bits a literal, and the heads of
/// the blocks (zlib's `deflateBound` for the fixed code).
const fn compressed_bytes_max(bytes: usize) -> usize {
    bytes.saturating_add(bytes / 8).saturating_add(bytes / 64).saturating_add(64)
}

/// A shard's compressors, each made when first used and kept: 240 KiB and four times its window, which is 242 KiB at 9
/// bits and 368 KiB at 15; at most seven, 2 MiB in all.
pub struct Deflate {
    level: Compression,
    compressors: [Option<Box<Compress>>; (Window::MAX.0 - Window::MIN.0 + 1) as usize],
    scratch: Vec<u8>,
}

impl Default for Deflate {
    fn default() -> Self {
        Self::new()
    }
}

impl Deflate {
    /// No compressor yet. They will run at zlib's level 1: a relay's messages are short and its processor is shared.
    /// Most of what a short message costs is the reset of the compressor's tables, about 2 µs at any level.
    pub fn new() -> Self {
        Deflate { level: Compression::fast(), compressors: Default::default(), scratch: Vec::new() }
    }

    /// Appends `payload` as one whole data frame, compressed for `window`; or as it is where that is no longer.
    ///
    /// A message without RSV1 is legal at any time (RFC 7692 section 6).
    pub fn encode(&mut self, out: &mut BytesMut, opcode: OpCode, window: Window, payload: &[u8]) {
        match self.compress(window, payload) {
            Some(compressed) => {
                out.reserve(HEADER_BYTES_MAX + compressed.len());
                frame::encode_header(out, opcode, true, compressed.len());
                out.put_slice(compressed);
            }
            None => frame::encode(out, opcode, payload),
        }
        if self.scratch.capacity() > KEPT_BYTES_MAX {
            self.scratch = Vec::new();
        }
    }

    /// `payload` compressed, without the flush's end; `None` where that would not be shorter.
    fn compress(&mut self, window: Window, payload: &[u8]) -> Option<&[u8]> {
        let slot = self.compressors.get_mut(usize::from(window.0.checked_sub(Window::MIN.0)?))?;
        let level = self.level;
        let compress = slot.get_or_insert_with(|| Box::new(Compress::new_with_window_bits(level, false, window.0)));
        compress.reset();
        // Room for all that can come out, and a byte that stays free: a full buffer is a flush cut short, and zlib-rs
        // 0.6.8 panics at its level 1 when a compressor is used again after one.
        self.scratch.clear();
        self.scratch.reserve_exact(compressed_bytes_max(payload.len()));
        let room = self.scratch.capacity();
        let flushed = compress.compress_vec(payload, &mut self.scratch, FlushCompress::Sync);
        let whole = compress.total_in() == payload.len() as u64 && self.scratch.len() < room;
        if flushed.is_err() || !whole {
            *slot = None;
            return None;
        }
        self.scratch.strip_suffix(&FLUSH).filter(|compressed| compressed.len() < payload.len())
    }
}

/// A shard's decompressor, made when first used: 32 KiB of window, about 50 KiB in all, and the last message's buffer.
#[derive(Default)]
pub struct Inflate {
    decompress: Option<Box<Decompress>>,
    inflated: Vec<u8>,
}

impl Inflate {
    /// No decompressor yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The message that `payload` holds (RFC 7692 section 7.2.2), at most `bytes_max` bytes.
    ///
    /// # Errors
    /// 1009 beyond `bytes_max`. 1007 for what does not inflate or ends within a block: its frames keep the protocol,
    /// but the data is not what RSV1 says it is, which is what RFC 6455 section 7.4.1 has that code for.
    pub fn inflate(&mut self, payload: &[u8], bytes_max: u64) -> Result<&[u8], Fault> {
        if self.inflated.capacity() > KEPT_BYTES_MAX {
            self.inflated = Vec::new();
        }
        self.inflated.clear();
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let decompress = self.decompress.get_or_insert_with(|| Box::new(Decompress::new(false)));
        decompress.reset(false);
        if !inflate_part(decompress, payload, &mut self.inflated, bytes_max)? {
            let ended = inflate_part(decompress, &END, &mut self.inflated, bytes_max)?;
            if !ended {
                return Err(NOT_DEFLATED);
            }
        }
        Ok(&self.inflated)
    }
}

const NOT_DEFLATED: Fault = Fault::invalid_data("message does not inflate");

/// Inflates all of `part` behind what is in `out`; says whether its last byte ended a stream.
///
/// A client may end a stream within a message (RFC 7692 section 7.2.3.4): what follows is a new one.
fn inflate_part(
    decompress: &mut Decompress,
    mut part: &[u8],
    out: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<bool, Fault> {
    loop {
        if out.len() == out.capacity() {
            let more =
                out.capacity().max(INFLATED_BYTES_MIN).min(bytes_max.saturating_add(1).saturating_sub(out.len()));
            out.reserve_exact(more);
        }
        let (taken, given) = (decompress.total_in(), out.len());
        let status = decompress.decompress_vec(part, out, FlushDecompress::None).map_err(|_| NOT_DEFLATED)?;
        let taken = decompress.total_in().saturating_sub(taken) as usize;
        part = part.get(taken..).unwrap_or_default();
        if out.len() > bytes_max {
            return Err(Fault::TOO_BIG);
        }
        let full = out.len() == out.capacity();
        match status {
            Status::StreamEnd if part.is_empty() => return Ok(true),
            Status::StreamEnd => decompress.reset(false),
            // With room left the decompressor has given all it has.
            Status::Ok | Status::BufError if part.is_empty() && !full => return Ok(false),
            Status::Ok | Status::BufError if taken == 0 && out.len() == given && !full => return Err(NOT_DEFLATED),
            Status::Ok | Status::BufError => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::CloseCode;
    use crate::wire::message::{Input, Item, Kind, Limits, Reader};
    use proptest::prelude::*;

    const MAX: u64 = 1 << 20;

    /// One frame of ours taken apart: RSV1, payload.
    fn taken_apart(frame: &[u8]) -> (bool, &[u8]) {
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        assert_eq!(frame::boundary_after(frame, 1), frame.len());
        (frame[0] & 0x40 != 0, &frame[header..])
    }

    fn encoded(deflate: &mut Deflate, window: Window, payload: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        deflate.encode(&mut out, OpCode::Binary, window, payload);
        out.to_vec()
    }

    /// What a client makes of a compressed payload that has no more than this window and little memory.
    fn inflated_in_window(payload: &[u8], window: Window) -> Vec<u8> {
        let mut decompress = Decompress::new_with_window_bits(false, window.bits());
        let input = [payload, &FLUSH].concat();
        let mut out = Vec::new();
        loop {
            let mut part = [0; 61];
            let (taken, given) = (decompress.total_in(), decompress.total_out());
            decompress.decompress(&input[taken as usize..], &mut part, FlushDecompress::None).expect("inflates");
            let count = (decompress.total_out() - given) as usize;
            out.extend_from_slice(&part[..count]);
            if count < part.len() && decompress.total_in() == input.len() as u64 {
                return out;
            }
        }
    }

    /// Text that repeats itself at distances up to its length.
    fn repetitive(bytes: usize) -> Vec<u8> {
        let words: Vec<String> = (0..200u32).map(|i| format!("word{} ", i.wrapping_mul(2_654_435_761))).collect();
        words.iter().cycle().flat_map(|word| word.bytes()).take(bytes).collect()
    }

    /// zlib-rs 0.6.8 panicked here when compressed data had less room than it needed and the compressor was used again.
    #[test]
    fn a_compressor_outlives_thousands_of_messages_that_do_not_compress() {
        let mut random = crate::random::Random::from_key([9; 32]);
        let (mut deflate, mut inflate) = (Deflate::new(), Inflate::new());
        for round in 0..120u64 {
            let mut payload = vec![0; random.below(70_000) as usize];
            match round % 3 {
                0 => random.fill(&mut payload),
                1 => payload.iter_mut().for_each(|byte| *byte = b"abcdefgh"[random.below(8) as usize]),
                _ => payload.chunks_mut(1_000).step_by(2).for_each(|part| random.fill(part)),
            }
            let mut out = BytesMut::new();
            deflate.encode(&mut out, OpCode::Binary, Window::new(9 + (round % 7) as u8).unwrap(), &payload);
            let compressed = out[0] & 0x40 != 0;
            let header = if out[1] == 127 {
                10
            } else if out[1] == 126 {
                4
            } else {
                2
            };
            let got = if compressed { inflate.inflate(&out[header..], 70_000).unwrap() } else { &out[header..] };
            assert!(got == payload, "round {round}");
        }
    }

    #[test]
    fn the_examples_of_the_rfc_inflate() {
        let mut inflate = Inflate::new();
        let examples: [&[u8]; 5] = [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
            // A last block and nothing after it, which section 7.2.3.4 does not ask for but some send.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
        ];
        for example in examples {
            assert_eq!(inflate.inflate(example, 5), Ok(&b"Hello"[..]), "{example:x?}");
        }
        assert_eq!(inflate.inflate(&[0x00], 0), Ok(&b""[..]));
        assert_eq!(inflate.inflate(&[0x02, 0x00], 0), Ok(&b""[..]));
    }

    #[test]
    fn a_message_remembers_nothing_of_the_one_before() {
        let mut inflate = Inflate::new();
        assert_eq!(inflate.inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], MAX), Ok(&b"Hello"[..]));
        // The RFC's example of a second message that points back into the first (section 7.2.3.2).
        let fault = inflate.inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00], MAX).unwrap_err();
        assert_eq!(fault.code, CloseCode::INVALID_DATA);
    }

    #[test]
    fn what_does_not_inflate_or_ends_within_a_block_is_invalid_data() {
        let mut inflate = Inflate::new();
        let whole = encoded(&mut Deflate::new(), Window::MAX, &repetitive(3000));
        let (_, payload) = taken_apart(&whole);
        for cut in 1..payload.len() - 1 {
            assert_eq!(inflate.inflate(&payload[..cut], MAX), Err(NOT_DEFLATED), "cut at {cut}");
        }
        assert_eq!(inflate.inflate(&[], MAX), Err(NOT_DEFLATED));
        assert_eq!(inflate.inflate(&[0xff; 40], MAX), Err(NOT_DEFLATED));
        assert_eq!(inflate.inflate(payload, MAX), Ok(&repetitive(3000)[..]));
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_its_memory_is_given_back() {
        let (mut deflate, mut inflate) = (Deflate::new(), Inflate::new());
        let bomb = encoded(&mut deflate, Window::MAX, &vec![0; 10 << 20]);
        let (compressed, payload) = taken_apart(&bomb);
        assert!(compressed && payload.len() < 200_000, "{}", payload.len());
        assert_eq!(inflate.inflate(payload, MAX), Err(Fault::TOO_BIG));
        assert!(inflate.inflated.capacity() as u64 <= MAX + 1);
        assert_eq!(inflate.inflate(&[0x00], MAX), Ok(&b""[..]));
        assert!(inflate.inflated.capacity() <= KEPT_BYTES_MAX && deflate.scratch.capacity() <= KEPT_BYTES_MAX);
        assert_eq!(inflate.inflate(payload, 10 << 20).map(<[u8]>::len), Ok(10 << 20));
        assert_eq!(inflate.inflate(payload, (10 << 20) - 1), Err(Fault::TOO_BIG));
    }

    #[test]
    fn a_message_that_would_not_get_shorter_goes_as_it_is() {
        let mut deflate = Deflate::new();
        for payload in [&b""[..], b"x", b"Hello", &[0x9d, 0x13, 0x77, 0xe0, 0x4c, 0x2b, 0xa8, 0x51]] {
            assert_eq!(taken_apart(&encoded(&mut deflate, Window::MAX, payload)), (false, payload));
        }
        let frame = encoded(&mut deflate, Window::MAX, &repetitive(200));
        assert!(taken_apart(&frame).0 && frame.len() < 200);
    }

    #[test]
    fn each_window_is_kept_to() {
        let mut deflate = Deflate::new();
        let mut sizes = Vec::new();
        for window in (9..=15).filter_map(Window::new) {
            for bytes in [300, 5_000, 100_000] {
                let payload = repetitive(bytes);
                let frame = encoded(&mut deflate, window, &payload);
                let (compressed, body) = taken_apart(&frame);
                assert!(compressed);
                assert!(inflated_in_window(body, window) == payload, "{bytes} bytes in {window:?}");
                sizes.push(frame.len());
            }
        }
        // Were the window ignored, all of one length would be the same.
        assert!(sizes.first_chunk::<3>() != sizes.last_chunk::<3>(), "{sizes:?}");
    }

    #[test]
    fn windows_that_zlib_cannot_make_do_not_exist() {
        let bits: Vec<u8> = (0..=255).filter_map(Window::new).map(Window::bits).collect();
        assert_eq!(bits, [9, 10, 11, 12, 13, 14, 15]);
    }

    /// A client's frame, masked with zeros.
    fn from_client(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        frame::encode(&mut out, OpCode::Binary, payload);
        let header = out.len() - payload.len();
        out[0] = first;
        out[1] |= 0x80;
        [&out[..header], &[0; 4], payload].concat()
    }

    /// What a reader makes of this stream in reads of `step` bytes: the messages, and the code that ended them.
    fn read(stream: &[u8], step: usize, message_bytes_max: u64) -> (Vec<(Kind, Vec<u8>)>, Option<CloseCode>) {
        let (mut reader, mut inflate, limits) = (Reader::new(), Inflate::new(), Limits { message_bytes_max });
        let mut messages = Vec::new();
        for part in stream.chunks(step) {
            let mut part = part.to_vec();
            let mut input = Input::new(&mut part);
            loop {
                match reader.next(&mut input, &limits, Some(&mut inflate)) {
                    Ok(Some(Item::Message { kind, payload })) => messages.push((kind, payload.into_owned())),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(fault) => return (messages, Some(fault.code)),
                }
            }
        }
        (messages, None)
    }

    #[test]
    fn compressed_and_other_messages_mix_however_they_are_cut() {
        let text = repetitive(4000);
        let frame = encoded(&mut Deflate::new(), Window::MAX, &text);
        let (_, body) = taken_apart(&frame);
        let (start, end) = body.split_at(body.len() / 3);
        let stream = [
            from_client(0xc1, body),
            from_client(0x81, b"plain"),
            from_client(0x42, start),
            from_client(0x89, b"?"),
            from_client(0x00, b""),
            from_client(0x80, end),
            from_client(0xc2, &[0]),
        ]
        .concat();
        let expected = vec![
            (Kind::Text, text.clone()),
            (Kind::Text, b"plain".to_vec()),
            (Kind::Binary, text.clone()),
            (Kind::Binary, vec![]),
        ];
        for step in [1, 2, 7, 100, stream.len()] {
            assert_eq!(read(&stream, step, 4000), (expected.clone(), None), "in steps of {step}");
            assert_eq!(read(&stream, step, 3999), (vec![], Some(CloseCode::TOO_BIG)), "in steps of {step}");
        }
    }

    #[test]
    fn a_compressed_message_keeps_the_rules_of_any_other() {
        let stored = |payload: &[u8]| {
            let length = payload.len() as u16;
            [&[0x00], &length.to_le_bytes()[..], &(!length).to_le_bytes()[..], payload, &[0x00]].concat()
        };
        let code = |frames: &[Vec<u8>]| read(&frames.concat(), 5, 10).1;
        assert_eq!(code(&[from_client(0xc1, &stored(b"\xce\xba\xf4\x90"))]), Some(CloseCode::INVALID_DATA));
        assert_eq!(code(&[from_client(0xc2, &stored(b"\xce\xba\xf4\x90"))]), None);
        assert_eq!(code(&[from_client(0x42, b"\0"), from_client(0xc0, b"")]), Some(CloseCode::PROTOCOL));
        assert_eq!(code(&[from_client(0xc9, b"")]), Some(CloseCode::PROTOCOL));
        // Beyond what any compressor makes of the longest message nothing is kept.
        assert_eq!(code(&[from_client(0x42, &[0; 80])[..6].to_vec()]), Some(CloseCode::TOO_BIG));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn every_message_comes_back(
            payload in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..5000),
                prop::collection::vec(0u8..4, 0..70_000),
                "(\\{\"type\":\"request\"\\}|[a-f]{3}| ){0,300}".prop_map(String::into_bytes),
            ],
            bits in 9u8..=15,
        ) {
            let window = Window::new(bits).unwrap();
            let mut deflate = Deflate::new();
            for _ in 0..2 {
                let frame = encoded(&mut deflate, window, &payload);
                let (compressed, body) = taken_apart(&frame);
                if compressed {
                    prop_assert!(body.len() < payload.len());
                    let mut inflate = Inflate::new();
                    prop_assert_eq!(inflate.inflate(body, payload.len() as u64), Ok(&payload[..]));
                    prop_assert_eq!(&inflated_in_window(body, window), &payload);
                } else {
                    prop_assert_eq!(body, &payload[..]);
                }
            }
        }

        #[test]
        fn no_bytes_make_inflating_panic_or_pass_the_limit(payload: Vec<u8>, bytes_max in 0u64..2000) {
            let mut inflate = Inflate::new();
            if let Ok(inflated) = inflate.inflate(&payload, bytes_max) {
                prop_assert!(inflated.len() as u64 <= bytes_max);
            }
            prop_assert!(inflate.inflated.capacity() as u64 <= bytes_max + 1);
        }

        #[test]
        fn what_zlib_makes_at_any_level_fits_and_inflates(payload in prop::collection::vec(any::<u8>(), 0..20_000), level in 0u32..10) {
            let mut compress = Compress::new(Compression::new(level), false);
            let mut out = Vec::with_capacity(payload.len() * 2 + 100);
            compress.compress_vec(&payload, &mut out, FlushCompress::Sync).unwrap();
            let body = out.strip_suffix(&FLUSH).expect("a flush at the end");
            prop_assert!(body.len() as u64 <= deflated_bytes_max(payload.len() as u64));
            let mut inflate = Inflate::new();
            prop_assert_eq!(inflate.inflate(body, MAX), Ok(&payload[..]));
        }
    }
}

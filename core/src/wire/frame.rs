//! WebSocket frames (RFC 6455 section 5): the header in, the header out, and the mask between.
//!
//! Nothing here keeps state or knows a message: what a frame means after another one is decided in
//! [`message`](super::message). It guards the rule that a frame is refused as soon as its bytes show a fault, and that
//! a length which a peer claims is only ever a number, never an allocation.

use std::ops::Range;

use bytes::{BufMut, BytesMut};

/// The longest header of a frame that a client sends: two bytes, eight of length, four of mask.
pub const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a control frame (RFC 6455 section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// The longest reason of a close frame: a control frame's payload without the code.
pub const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_AND_3: u8 = 0x30;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_IN_2_BYTES: u8 = 126;
const LENGTH_IN_8_BYTES: u8 = 127;

/// What a close frame says of why the connection ends (RFC 6455 section 7.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// The node shuts down.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// The client broke the protocol.
    pub const PROTOCOL: CloseCode = CloseCode(1002);
    /// A message's data is not what its type says: text that is not UTF-8, compressed data that does not inflate.
    pub const INVALID_DATA: CloseCode = CloseCode(1007);
    /// The client did not answer pings.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// A message is longer than the node takes.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// A fault of ours.
    pub const INTERNAL: CloseCode = CloseCode(1011);
    /// This node left or lost its cluster: connect again.
    pub const RESTART: CloseCode = CloseCode(1012);
    /// The client reads too slowly.
    pub const TOO_SLOW: CloseCode = CloseCode(1013);
    /// The channel was deleted.
    pub const CHANNEL_DELETED: CloseCode = CloseCode(4404);
    /// The channel timed out.
    pub const CHANNEL_TIMED_OUT: CloseCode = CloseCode(4408);

    /// Whether a peer may send this code: those that RFC 6455 section 7.4.1 and its registry define for the wire, and
    /// the ranges for libraries and applications (section 7.4.2). 1004 to 1006 and 1015 never stand in a frame.
    pub const fn may_be_received(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// What a client did wrong, and how its connection ends for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The code of the close frame that follows: 1002, 1007 or 1009.
    pub code: CloseCode,
    /// The reason of that close frame, at most [`REASON_BYTES_MAX`] bytes.
    pub reason: &'static str,
}

impl Fault {
    /// The client broke the protocol: 1002.
    pub const fn protocol(reason: &'static str) -> Self {
        Fault { code: CloseCode::PROTOCOL, reason }
    }

    /// The data is not what its type says: 1007.
    pub const fn invalid_data(reason: &'static str) -> Self {
        Fault { code: CloseCode::INVALID_DATA, reason }
    }

    /// The message is longer than the node takes: 1009.
    pub const TOO_BIG: Fault = Fault { code: CloseCode::TOO_BIG, reason: "message too big" };

    /// Text that is not UTF-8: 1007.
    pub const NOT_UTF8: Fault = Fault::invalid_data("text is not UTF-8");
}

/// What a frame is (RFC 6455 section 5.2); the reserved ones have no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpCode {
    /// A later fragment of a message.
    Continuation,
    /// The first or only fragment of a text message.
    Text,
    /// The first or only fragment of a binary message.
    Binary,
    /// The sender sends nothing after this.
    Close,
    /// A question whether the peer lives.
    Ping,
    /// The answer to a ping, or a sign of life.
    Pong,
}

impl OpCode {
    /// Whether this is a close, ping or pong: short, never fragmented, allowed between fragments.
    pub const fn is_control(self) -> bool {
        matches!(self, OpCode::Close | OpCode::Ping | OpCode::Pong)
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => OpCode::Continuation,
            0x1 => OpCode::Text,
            0x2 => OpCode::Binary,
            0x8 => OpCode::Close,
            0x9 => OpCode::Ping,
            0xa => OpCode::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            OpCode::Continuation => 0x0,
            OpCode::Text => 0x1,
            OpCode::Binary => 0x2,
            OpCode::Close => 0x8,
            OpCode::Ping => 0x9,
            OpCode::Pong => 0xa,
        }
    }
}

/// The header of one frame that a client sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Whether the frame is the last of its message.
    pub fin: bool,
    /// Whether the message is compressed (RFC 7692 section 6); on the first fragment only.
    pub rsv1: bool,
    /// What the frame is.
    pub opcode: OpCode,
    /// The key that the payload is masked with.
    pub mask: [u8; 4],
    /// The payload's length in bytes, as claimed: 0 to 2^63 - 1, at most 125 on a control frame.
    pub length: u64,
    /// The bytes of the header itself, 6 to [`HEADER_BYTES_MAX`].
    pub size: usize,
}

/// Reads the header at the front of `bytes`, which a client sent; `None` when more bytes are needed.
///
/// Checks everything that needs no state: reserved bits (the first one may be set on the first frame of a message when
/// `compression` was negotiated), reserved opcodes, the mask, the shortest encoding of the length, and that a control
/// frame is short and whole. A fault is told as soon as its byte is there, and is the same however the bytes are cut.
///
/// # Errors
/// 1002 for each of the above.
#[inline]
pub fn parse(bytes: &[u8], compression: bool) -> Result<Option<Header>, Fault> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let (fin, rsv1) = (first & FIN != 0, first & RSV1 != 0);
    let Some(opcode) = OpCode::from_bits(first & OPCODE) else { return Err(Fault::protocol("reserved opcode")) };
    let may_be_compressed = compression && matches!(opcode, OpCode::Text | OpCode::Binary);
    if first & RSV2_AND_3 != 0 || rsv1 && !may_be_compressed {
        return Err(Fault::protocol("reserved bit set"));
    }
    if opcode.is_control() && !fin {
        return Err(Fault::protocol("fragmented control frame"));
    }
    let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
    if second & MASKED == 0 {
        return Err(Fault::protocol("frame is not masked"));
    }
    let short = second & LENGTH;
    if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
        return Err(Fault::protocol("control frame too long"));
    }
    let (length, rest) = match short {
        LENGTH_IN_2_BYTES => {
            let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*length)), rest)
        }
        LENGTH_IN_8_BYTES => {
            let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*length), rest)
        }
        _ => (u64::from(short), rest),
    };
    let shortest = match short {
        LENGTH_IN_2_BYTES => length > CONTROL_BYTES_MAX as u64,
        LENGTH_IN_8_BYTES => length > u64::from(u16::MAX),
        _ => true,
    };
    if !shortest {
        return Err(Fault::protocol("length is not in its shortest form"));
    }
    if length > i64::MAX.unsigned_abs() {
        return Err(Fault::protocol("length has its top bit set"));
    }
    let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
    Ok(Some(Header { fin, rsv1, opcode, mask: *mask, length, size: bytes.len() - rest.len() }))
}

/// Takes the mask off `payload`, which starts `offset` bytes into its frame's payload (RFC 6455 section 5.3).
///
/// Applied twice it changes nothing, so it puts a mask on as well.
#[inline]
pub fn unmask(payload: &mut [u8], mask: [u8; 4], offset: usize) {
    let turn = 8 * (offset % 4) as u32;
    let mask = u32::from_be_bytes(mask).rotate_left(turn).to_be_bytes();
    // Sixteen bytes at a time, which the compiler turns into vector registers; then what is left.
    let word = u128::from(u32::from_ne_bytes(mask));
    let wide = word | word << 32 | word << 64 | word << 96;
    let (blocks, rest) = payload.as_chunks_mut::<16>();
    for block in blocks {
        *block = (u128::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    let (quads, rest) = rest.as_chunks_mut::<4>();
    for quad in quads {
        *quad = (u32::from_ne_bytes(*quad) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask) {
        *byte ^= key;
    }
}

/// Appends the header of a frame of ours: whole (FIN), not masked, with `length` bytes of payload to follow.
///
/// `rsv1` marks a compressed message. A control frame's `length` must not exceed [`CONTROL_BYTES_MAX`].
#[inline]
pub fn encode_header(out: &mut BytesMut, opcode: OpCode, rsv1: bool, length: usize) {
    debug_assert!(!opcode.is_control() || length <= CONTROL_BYTES_MAX, "a control frame of {length} bytes");
    let first = FIN | if rsv1 { RSV1 } else { 0 } | opcode.bits();
    if length <= CONTROL_BYTES_MAX {
        out.put_slice(&[first, length as u8]);
    } else if let Ok(length) = u16::try_from(length) {
        let [a, b] = length.to_be_bytes();
        out.put_slice(&[first, LENGTH_IN_2_BYTES, a, b]);
    } else {
        let [a, b, c, d, e, f, g, h] = (length as u64).to_be_bytes();
        out.put_slice(&[first, LENGTH_IN_8_BYTES, a, b, c, d, e, f, g, h]);
    }
}

/// Appends a whole frame of ours, not masked and not compressed.
///
/// A control frame's payload must not exceed [`CONTROL_BYTES_MAX`]: the payload of a received ping never does.
#[inline]
pub fn encode(out: &mut BytesMut, opcode: OpCode, payload: &[u8]) {
    out.reserve(HEADER_BYTES_MAX + payload.len());
    encode_header(out, opcode, false, payload.len());
    out.put_slice(payload);
}

/// Appends a close frame. A `reason` longer than [`REASON_BYTES_MAX`] bytes is cut at a character.
///
/// The answer to a close frame without a code is `encode(out, OpCode::Close, &[])`.
pub fn encode_close(out: &mut BytesMut, code: CloseCode, reason: &str) {
    let (reason, _) = reason.split_at(reason.floor_char_boundary(REASON_BYTES_MAX));
    encode_header(out, OpCode::Close, false, 2 + reason.len());
    out.put_u16(code.0);
    out.put_slice(reason.as_bytes());
}

/// The first boundary between frames at or after `position`, in `bytes` that start with one of our own frames.
///
/// Called when what is queued has to be dropped and `position` bytes have left already: up to the boundary the queue
/// must still be sent, so that the close frame which follows is read as one. At most `bytes.len()`.
pub fn boundary_after(bytes: &[u8], position: usize) -> usize {
    let mut boundary = 0usize;
    while boundary < position {
        let Some(size) = bytes.get(boundary..).and_then(own_frame_bytes) else { return bytes.len() };
        boundary = boundary.saturating_add(size);
    }
    boundary.min(bytes.len())
}

/// The opcodes and payloads of whole frames of ours that are not compressed, one after another.
pub fn own(bytes: &[u8]) -> impl Iterator<Item = (OpCode, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let opcode = OpCode::from_bits(rest.first()? & OPCODE)?;
        let (frame, behind) = rest.split_at_checked(own_frame_bytes(rest)?)?;
        rest = behind;
        Some((opcode, frame.get(own_header_bytes(frame)..)?))
    })
}

/// Where each of whole frames of ours is, one after another.
pub fn ranges(frames: &[u8]) -> impl Iterator<Item = Range<usize>> + use<'_> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = frames.get(at..)?;
        let length = own_frame_bytes(rest).filter(|length| *length <= rest.len())?;
        let start = at;
        at += length;
        Some(start..at)
    })
}

/// How many whole frames of ours these are.
pub fn count(frames: &[u8]) -> usize {
    ranges(frames).count()
}

/// How many bytes the header of a frame of ours has.
fn own_header_bytes(frame: &[u8]) -> usize {
    match frame.get(1) {
        Some(second) if second & LENGTH == LENGTH_IN_2_BYTES => 4,
        Some(second) if second & LENGTH == LENGTH_IN_8_BYTES => 10,
        _ => 2,
    }
}

/// The bytes of the frame of ours, header and payload, that `bytes` start with; `None` when its length is not there.
fn own_frame_bytes(bytes: &[u8]) -> Option<usize> {
    let (&[_, second], rest) = bytes.split_first_chunk()?;
    let (length, size) = match second & LENGTH {
        LENGTH_IN_2_BYTES => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        LENGTH_IN_8_BYTES => (u64::from_be_bytes(*rest.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    Some(usize::try_from(length).unwrap_or(usize::MAX).saturating_add(size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tungstenite::protocol::frame::coding::{Data, OpCode as TheirCode};
    use tungstenite::protocol::frame::{Frame, FrameHeader};

    fn reason(bytes: &[u8], compression: bool) -> &'static str {
        let fault = parse(bytes, compression).expect_err("a fault");
        assert_eq!(fault.code, CloseCode::PROTOCOL);
        fault.reason
    }

    #[test]
    fn each_breach_of_the_header_is_told_at_its_byte() {
        assert_eq!(reason(&[0x83], false), "reserved opcode");
        assert_eq!(reason(&[0x8b], false), "reserved opcode");
        assert_eq!(reason(&[0xa1], true), "reserved bit set");
        assert_eq!(reason(&[0x91], true), "reserved bit set");
        assert_eq!(reason(&[0xc1], false), "reserved bit set");
        assert_eq!(reason(&[0xc0], true), "reserved bit set");
        assert_eq!(reason(&[0xc9], true), "reserved bit set");
        assert_eq!(reason(&[0x09], false), "fragmented control frame");
        assert_eq!(reason(&[0x81, 0x05], false), "frame is not masked");
        assert_eq!(reason(&[0x89, 0xfe], false), "control frame too long");
        assert_eq!(reason(&[0x81, 0xfe, 0, 125], false), "length is not in its shortest form");
        assert_eq!(reason(&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], false), "length is not in its shortest form");
        assert_eq!(reason(&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], false), "length has its top bit set");
    }

    #[test]
    fn a_compressed_first_frame_is_read_once_negotiated() {
        let header = parse(&[0x41, 0x80, 1, 2, 3, 4], true).unwrap().unwrap();
        let expected = Header { fin: false, rsv1: true, opcode: OpCode::Text, mask: [1, 2, 3, 4], length: 0, size: 6 };
        assert_eq!(header, expected);
    }

    #[test]
    fn the_longest_claim_is_a_number_only() {
        let mut bytes = vec![0x82, 0xff, 0x7f];
        bytes.extend([0xff; 7]);
        bytes.extend([0; 4]);
        let header = parse(&bytes, false).unwrap().unwrap();
        assert_eq!((header.length, header.size), (i64::MAX.unsigned_abs(), HEADER_BYTES_MAX));
    }

    #[test]
    fn close_codes_that_never_stand_in_a_frame_are_known() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(!CloseCode(code).may_be_received(), "{code}");
        }
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
            assert!(CloseCode(code).may_be_received(), "{code}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let mut out = BytesMut::new();
        encode_close(&mut out, CloseCode::TOO_SLOW, &"ä".repeat(100));
        assert_eq!(out.len(), 2 + 2 + 122);
        assert_eq!(std::str::from_utf8(&out[4..]).unwrap(), "ä".repeat(61));
    }

    #[test]
    fn a_close_frame_starts_with_its_code() {
        let mut out = BytesMut::new();
        encode_close(&mut out, CloseCode::CHANNEL_DELETED, "gone");
        assert_eq!(&out[..], b"\x88\x06\x11\x34gone");
    }

    #[test]
    fn a_boundary_is_where_the_frame_in_flight_ends() {
        let mut out = BytesMut::new();
        let mut ends = vec![0];
        for length in [0, 125, 126, 65535, 65536] {
            encode(&mut out, OpCode::Binary, &vec![7; length]);
            ends.push(out.len());
        }
        for position in 0..=out.len() {
            let expected = *ends.iter().find(|end| **end >= position).unwrap();
            assert_eq!(boundary_after(&out, position), expected, "at {position}");
        }
        assert_eq!(boundary_after(&out, usize::MAX), out.len());
        assert_eq!(boundary_after(&[0x82, 0xff, 0xff], 1), 3);
        assert_eq!(boundary_after(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 1), 10);
    }

    proptest! {
        #[test]
        fn unmasking_equals_the_rfc_byte_by_byte(mut payload: Vec<u8>, mask: [u8; 4], offset in 0usize..100) {
            let expected: Vec<u8> = payload.iter().enumerate().map(|(i, byte)| byte ^ mask[(offset + i) % 4]).collect();
            unmask(&mut payload, mask, offset);
            prop_assert_eq!(payload, expected);
        }

        #[test]
        fn a_mask_taken_off_in_parts_is_taken_off_whole(payload: Vec<u8>, mask: [u8; 4], cut: prop::sample::Index) {
            let cut = cut.index(payload.len() + 1);
            let mut whole = payload.clone();
            unmask(&mut whole, mask, 0);
            let mut parts = payload;
            unmask(&mut parts[..cut], mask, 0);
            unmask(&mut parts[cut..], mask, cut);
            prop_assert_eq!(parts, whole);
        }

        #[test]
        fn no_bytes_make_the_header_panic(bytes: Vec<u8>, compression: bool, position: usize) {
            if let Ok(Some(header)) = parse(&bytes, compression) {
                prop_assert!((6..=HEADER_BYTES_MAX).contains(&header.size) && header.size <= bytes.len());
            }
            prop_assert!(boundary_after(&bytes, position) <= bytes.len());
        }

        #[test]
        fn a_header_of_tungstenite_is_read_at_every_length(
            fin: bool, mask: [u8; 4], length in prop_oneof![0u64..300, 65000u64..66000, 0u64..1 << 62],
        ) {
            let theirs = FrameHeader { is_final: fin, opcode: TheirCode::Data(Data::Binary), mask: Some(mask), ..FrameHeader::default() };
            let mut bytes = Vec::new();
            theirs.format(length, &mut bytes).unwrap();
            for cut in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..cut], false), Ok(None));
            }
            let expected = Header { fin, rsv1: false, opcode: OpCode::Binary, mask, length, size: bytes.len() };
            prop_assert_eq!(parse(&bytes, false), Ok(Some(expected)));
        }

        #[test]
        fn tungstenite_reads_our_frames(text: bool, payload in prop::collection::vec(any::<u8>(), 0..70_000)) {
            let mut out = BytesMut::new();
            encode(&mut out, if text { OpCode::Text } else { OpCode::Binary }, &payload);
            let mut bytes = std::io::Cursor::new(&out[..]);
            let (header, length) = FrameHeader::parse(&mut bytes).unwrap().expect("a whole header");
            let body = out[bytes.position() as usize..].to_vec();
            prop_assert_eq!(length, payload.len() as u64);
            let frame = Frame::from_payload(header, body.into());
            prop_assert_eq!(frame.payload(), &payload[..]);
            prop_assert!(frame.header().is_final && !frame.header().rsv1 && frame.header().mask.is_none());
            let code = if text { Data::Text } else { Data::Binary };
            prop_assert_eq!(frame.header().opcode, TheirCode::Data(code));
        }
    }
}

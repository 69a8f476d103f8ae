//! Frames of a link: a length, a checksum (CRC-32 of the rest), a kind, a body; and eight bytes in front of the first.
//!
//! What arrives is kept until a frame is whole, and a length is refused as soon as it is read, so that what the other end
//! claims never takes memory. Large bodies are not copied on the way out.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::fault::LinkFault;
use crate::wire::compact::put_number;

/// What a connection begins with in both directions, so that whoever speaks something else is known by it at once.
pub(super) const PREFACE: [u8; 8] = *b"wrs-link";
/// Payloads from this size on are not copied into the frames around them, in bytes.
pub(super) const LARGE: usize = 4 << 10;
/// What an empty buffer may keep of the memory that it once needed, in bytes.
const IDLE: usize = 64 << 10;
/// The most bytes of a frame's length: lengths stay below 2^35.
const LENGTH_BYTES_MAX: usize = 5;

/// Who a node is, what it speaks, and what it drew for this connection: the oldest and the newest version (a byte each), 32
/// bytes, the longest frame that it sends, its introduction.
pub(super) const HELLO: u8 = 1;
/// That it knows the secret: 32 bytes.
pub(super) const PROOF: u8 = 2;
/// From the lower life: up to which number it has mail of the other, and the number of the link that it holds (0: none).
pub(super) const OFFER: u8 = 3;
/// From the higher life: this connection is the link. Up to which number it has mail of the other, and the link's number.
pub(super) const READY: u8 = 4;
/// The connection is no link, or no longer: why, in a byte.
pub(super) const REFUSE: u8 = 5;
/// The number of the first mail that follows on this connection.
pub(super) const START: u8 = 16;
/// One piece of mail: a message of [`crate::wire::peer`].
pub(super) const MAIL: u8 = 17;
/// Mail has come up to this number.
pub(super) const ACK: u8 = 18;
/// A word that is sent once: whatever it is.
pub(super) const POST: u8 = 19;
/// Are you there? A number.
pub(super) const PING: u8 = 20;
/// Yes: the same number.
pub(super) const PONG: u8 = 21;
/// The node's introduction has changed: the new one.
pub(super) const TOLD: u8 = 22;

/// Bytes of a frame's checksum.
const CHECKSUM_BYTES: usize = 4;

/// Writes what stands before a frame's body, which is these parts one after another.
pub(super) fn put_head(out: &mut BytesMut, kind: u8, body: &[&[u8]]) {
    let length: usize = body.iter().map(|part| part.len()).sum();
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&[kind]);
    body.iter().for_each(|part| checksum.update(part));
    put_number(out, (CHECKSUM_BYTES + 1 + length) as u64);
    out.put_u32_le(checksum.finalize());
    out.put_u8(kind);
}

/// Writes a frame.
pub(super) fn put(out: &mut BytesMut, kind: u8, body: &[u8]) {
    put_pieces(out, kind, body.len(), std::iter::once(body));
}

/// Writes a frame whose body of `length` bytes comes in pieces.
pub(super) fn put_pieces<'a>(out: &mut BytesMut, kind: u8, length: usize, body: impl Iterator<Item = &'a [u8]>) {
    put_number(out, (CHECKSUM_BYTES + 1 + length) as u64);
    let at = out.len();
    out.put_u32_le(0);
    out.put_u8(kind);
    body.for_each(|piece| out.put_slice(piece));
    if let Some((checksum, rest)) = out.get_mut(at..).and_then(|frame| frame.split_first_chunk_mut()) {
        *checksum = crc32fast::hash(rest).to_le_bytes();
    }
}

/// Writes a frame that says a few numbers.
pub(super) fn put_numbers(out: &mut BytesMut, kind: u8, numbers: &[u64]) {
    let mut body = BytesMut::new();
    for number in numbers {
        put_number(&mut body, *number);
    }
    put(out, kind, &body);
}

/// Frames on their way out, large bodies apart.
#[derive(Debug, Default)]
pub(super) struct Batch {
    done: Vec<Bytes>,
    /// The last piece, which grows.
    pub(super) tail: BytesMut,
    bytes: usize,
}

impl Batch {
    /// Adds a frame.
    pub(super) fn put(&mut self, kind: u8, body: &Bytes) {
        put_head(&mut self.tail, kind, &[body]);
        if body.len() < LARGE {
            self.tail.put_slice(body);
            return;
        }
        let head = self.tail.split().freeze();
        self.bytes += head.len() + body.len();
        self.done.push(head);
        self.done.push(body.clone());
    }

    /// Bytes in it.
    pub(super) fn len(&self) -> usize {
        self.bytes + self.tail.len()
    }

    /// Takes the finished pieces out; the tail stays.
    pub(super) fn take_done(&mut self) -> Vec<Bytes> {
        self.bytes = 0;
        std::mem::take(&mut self.done)
    }
}

/// Bytes that arrive, and the frames in them.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: BytesMut,
    prefaced: bool,
}

impl Frames {
    /// More has arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, its kind and its body; `None` until more arrives. A frame is at most `limit` bytes long.
    ///
    /// # Errors
    /// What has arrived begins no frame.
    pub(super) fn next(&mut self, limit: usize) -> Result<Option<(u8, Bytes)>, LinkFault> {
        if !self.prefaced {
            if !self.buffer.iter().zip(&PREFACE).all(|(theirs, ours)| theirs == ours) {
                return Err(LinkFault::NotALink);
            }
            if self.buffer.len() < PREFACE.len() {
                return Ok(None);
            }
            self.buffer.advance(PREFACE.len());
            self.prefaced = true;
        }
        let Some((head, length)) = length(&self.buffer)? else { return Ok(None) };
        if length <= CHECKSUM_BYTES {
            return Err(LinkFault::Malformed);
        }
        if length > limit.saturating_add(CHECKSUM_BYTES) {
            return Err(LinkFault::TooLong);
        }
        if self.buffer.len() - head < length {
            return Ok(None);
        }
        self.buffer.advance(head);
        let mut frame = self.buffer.split_to(length);
        let checksum = frame.get_u32_le();
        if crc32fast::hash(&frame) != checksum {
            return Err(LinkFault::Damaged);
        }
        let kind = frame.get_u8();
        Ok(Some((kind, frame.freeze())))
    }

    /// Gives back what an empty buffer does not need. Call it when everything that arrived has been read.
    pub(super) fn shrink(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > IDLE {
            self.buffer = BytesMut::new();
        }
    }

    /// Bytes that wait for the rest of their frame.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len()
    }
}

/// The length at the front, and how many bytes it takes.
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, LinkFault> {
    let mut length = 0u64;
    for (at, byte) in bytes.iter().take(LENGTH_BYTES_MAX).enumerate() {
        length |= u64::from(byte & 0x7F) << (7 * at);
        if *byte < 0x80 {
            if *byte == 0 && at > 0 {
                return Err(LinkFault::Malformed);
            }
            return Ok(Some((at + 1, usize::try_from(length).unwrap_or(usize::MAX))));
        }
    }
    if bytes.len() >= LENGTH_BYTES_MAX { Err(LinkFault::TooLong) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &[u8], step: usize, limit: usize) -> (Vec<(u8, Bytes)>, Option<LinkFault>) {
        let (mut frames, mut got) = (Frames::default(), Vec::new());
        for part in stream.chunks(step) {
            frames.push(part);
            loop {
                match frames.next(limit) {
                    Ok(Some(frame)) => got.push(frame),
                    Ok(None) => break,
                    Err(fault) => return (got, Some(fault)),
                }
            }
            assert!(frames.waiting() <= limit + LENGTH_BYTES_MAX + step);
        }
        (got, None)
    }

    #[test]
    fn frames_are_the_same_whatever_the_reads() {
        let mut out = Batch::default();
        out.tail.put_slice(&PREFACE);
        let bodies = [Bytes::new(), Bytes::from_static(b"ab"), Bytes::from(vec![7; LARGE]), Bytes::from(vec![8; 200])];
        for body in &bodies {
            out.put(POST, body);
        }
        let mut stream: Vec<u8> = out.take_done().concat();
        stream.extend_from_slice(&out.tail);
        for step in [1, 2, 3, 1000, stream.len()] {
            let (got, fault) = read(&stream, step, LARGE + 1);
            assert_eq!(fault, None);
            assert!(got.iter().all(|(kind, _)| *kind == POST) && got.iter().map(|(_, body)| body).eq(&bodies));
        }
        assert_eq!(read(&stream, 1, LARGE).1, Some(LinkFault::TooLong));
    }

    #[test]
    fn a_large_body_is_handed_on_as_it_is() {
        let (mut out, body) = (Batch::default(), Bytes::from(vec![7; LARGE]));
        out.put(POST, &body);
        let done = out.take_done();
        assert!(std::ptr::eq(done[1].as_ptr(), body.as_ptr()) && out.tail.is_empty());
    }

    #[test]
    fn what_is_no_link_is_known_by_its_first_bytes() {
        assert_eq!(read(b"G", 1, 100).1, Some(LinkFault::NotALink));
        assert_eq!(read(b"wrs-lino", 8, 100).1, Some(LinkFault::NotALink));
        assert_eq!(read(b"wrs-link\0", 9, 100).1, Some(LinkFault::Malformed));
        assert_eq!(read(b"wrs-link\x81\0", 9, 100).1, Some(LinkFault::Malformed));
        assert_eq!(read(b"wrs-link\x06????x!", 9, 100).1, Some(LinkFault::Damaged));
        assert_eq!(read(b"wrs-link\xff\xff\xff\xff", 9, 100).1, None);
        assert_eq!(read(b"wrs-link\xff\xff\xff\xff\xff", 9, 100).1, Some(LinkFault::TooLong));
    }
}

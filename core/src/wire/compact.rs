//! Numbers, flags and names in few bytes: what the messages between nodes are made of.
//!
//! A number takes seven bits a byte, the lowest first, and has exactly one encoding. Reading never panics, takes no memory
//! for a count that the bytes cannot hold, and gives payloads out as slices of its input. Nothing here knows a message.

use bytes::{BufMut, Bytes, BytesMut};

use crate::id::{ChannelId, ClientId, Life, ShardId};

/// Serial numbers of clients and asks stay below it: what [`ClientId`] can show.
const SERIAL_END: u64 = 1 << 48;
/// The most bytes that a number of 64 bits takes.
pub const NUMBER_BYTES_MAX: usize = 10;

/// Appends a number.
pub fn put_number(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// Appends a wide number.
pub fn put_wide(out: &mut BytesMut, mut number: u128) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// Appends a number that may be missing.
pub fn put_optional(out: &mut BytesMut, number: Option<u64>) {
    out.put_u8(u8::from(number.is_some()));
    if let Some(number) = number {
        put_number(out, number);
    }
}

/// Appends a channel's name.
pub fn put_channel(out: &mut BytesMut, channel: ChannelId) {
    put_wide(out, channel.bits());
}

/// Appends a life: eight bytes, since every bit of it is random.
pub fn put_life(out: &mut BytesMut, life: Life) {
    out.put_u64_le(life.0);
}

/// Appends a client's name.
pub fn put_client(out: &mut BytesMut, client: ClientId) {
    put_life(out, client.life);
    put_number(out, client.shard.0.into());
    put_number(out, client.serial);
}

/// Bytes read from the front. `None`: they do not hold what was asked for.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    at: usize,
}

impl Reader {
    /// Reads `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Reader { bytes, at: 0 }
    }

    /// One byte.
    pub fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    /// How many bytes are left.
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Exactly 0 or 1, so that every value has one encoding.
    pub fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// Eight bytes, little-endian.
    pub fn fixed(&mut self) -> Option<u64> {
        let eight = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += eight.len();
        Some(u64::from_le_bytes(*eight))
    }

    /// A number that [`put_wide`] wrote.
    pub fn wide(&mut self) -> Option<u128> {
        let (mut number, mut shift) = (0u128, 0u32);
        loop {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7F);
            if shift >= 128 || (bits << shift) >> shift != bits || (byte == 0 && shift > 0) {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
            shift += 7;
        }
    }

    /// A number that [`put_number`] wrote.
    pub fn number(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0u64, 0u32);
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift >= 64 || (bits << shift) >> shift != bits || (byte == 0 && shift > 0) {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
            shift += 7;
        }
    }

    /// A number of this machine's width.
    pub fn size(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    /// A number that may be missing.
    pub fn optional(&mut self) -> Option<Option<u64>> {
        if self.flag()? { self.number().map(Some) } else { Some(None) }
    }

    /// A count of things that take at least `bytes_min` each; `max` of them at most.
    pub fn count(&mut self, bytes_min: usize, max: usize) -> Option<usize> {
        let count = self.size()?;
        (count <= max && count <= self.left() / bytes_min.max(1)).then_some(count)
    }

    /// So many bytes, as a slice of the input.
    pub fn bytes(&mut self, count: usize) -> Option<Bytes> {
        let start = (count <= self.left()).then_some(self.at)?;
        self.at += count;
        Some(self.bytes.slice(start..self.at))
    }

    /// All that is left, as a slice of the input.
    pub fn rest(&mut self) -> Bytes {
        let rest = self.bytes.slice(self.at..);
        self.at = self.bytes.len();
        rest
    }

    /// A channel's name.
    pub fn channel(&mut self) -> Option<ChannelId> {
        self.wide().map(|bits| ChannelId::from_bits(bits, ChannelId::GROUP_DIGITS_MAX))
    }

    /// A life.
    pub fn life(&mut self) -> Option<Life> {
        self.fixed().map(Life)
    }

    /// A shard's number.
    pub fn shard(&mut self) -> Option<ShardId> {
        u16::try_from(self.number()?).ok().map(ShardId)
    }

    /// A client's name.
    pub fn client(&mut self) -> Option<ClientId> {
        let (life, shard, serial) = (self.life()?, self.shard()?, self.number()?);
        (serial < SERIAL_END).then_some(ClientId { life, shard, serial })
    }

    /// `value`, if nothing is left over.
    pub fn end<T>(self, value: T) -> Option<T> {
        (self.left() == 0).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reader(bytes: &[u8]) -> Reader {
        Reader::new(Bytes::copy_from_slice(bytes))
    }

    proptest! {
        #[test]
        fn numbers_come_back_and_only_one_encoding_of_each_does(
            wide in any::<u128>(), shift in 0u32..128, bytes in prop::collection::vec(any::<u8>(), 0..24)
        ) {
            let mut out = BytesMut::new();
            put_wide(&mut out, wide >> shift);
            prop_assert_eq!(Reader::new(out.freeze()).wide(), Some(wide >> shift));
            let mut read = reader(&bytes);
            if let Some(number) = read.wide() {
                let mut again = BytesMut::new();
                put_wide(&mut again, number);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - read.left()]);
            }
        }
    }

    #[test]
    fn what_is_too_wide_or_longer_than_it_must_be_is_no_number() {
        assert_eq!(reader(&[0x80, 0]).number(), None, "a zero behind the end");
        assert_eq!(reader(&[0xFF; 30]).wide(), None);
        assert_eq!(reader(&[0xFF; 9]).number(), None, "cut short");
        assert_eq!(reader(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]).number(), Some(u64::MAX));
        assert_eq!(reader(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 3]).number(), None);
    }

    #[test]
    fn a_count_that_the_bytes_or_the_limit_do_not_hold_is_none() {
        assert_eq!(reader(&[2, 0, 0]).count(1, 10), Some(2));
        assert_eq!(reader(&[3, 0, 0]).count(1, 10), None);
        assert_eq!(reader(&[2, 0, 0]).count(2, 10), None);
        assert_eq!(reader(&[2, 0, 0]).count(1, 1), None);
    }
}

//! Bytes to values and back, as the log and the words between nodes are written: fixed-width little-endian numbers, texts with
//! their length in front, one encoding for each value.
//!
//! Reading never panics, never allocates for a count that the bytes cannot hold, and takes payloads as slices of the input.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::config::NodeAddress;
use crate::id::{Life, NodeId};
use crate::members::Member;

/// The longest host name or address, in bytes.
const HOST_BYTES_MAX: usize = 255;
/// The most shards of a node.
const SHARDS_MAX: u16 = crate::config::SHARDS_MAX;

/// The bytes of a value, read from the front. `None`: they do not hold what was asked for.
pub(super) struct Reader(Bytes);

impl Reader {
    pub(super) fn new(bytes: Bytes) -> Self {
        Reader(bytes)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.0.try_get_u8().ok()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.0.try_get_u16_le().ok()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.0.try_get_u32_le().ok()
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.0.try_get_u64_le().ok()
    }

    pub(super) fn u128(&mut self) -> Option<u128> {
        self.0.try_get_u128_le().ok()
    }

    /// Exactly 0 or 1.
    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// A number that may be missing.
    pub(super) fn option(&mut self) -> Option<Option<u64>> {
        let given = self.flag()?;
        let number = self.u64()?;
        if given { Some(Some(number)) } else { (number == 0).then_some(None) }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut out = [0; N];
        self.0.try_copy_to_slice(&mut out).ok()?;
        Some(out)
    }

    /// Bytes with their length in front.
    pub(super) fn blob(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.u32()?).ok()?;
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    /// A count of things that take at least `bytes_min` each.
    pub(super) fn count(&mut self, bytes_min: usize) -> Option<usize> {
        let count = usize::try_from(self.u32()?).ok()?;
        (count <= self.0.len() / bytes_min.max(1)).then_some(count)
    }

    pub(super) fn list<T>(&mut self, bytes_min: usize, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count(bytes_min)?;
        (0..count).map(|_| one(self)).collect()
    }

    /// Never 0.
    pub(super) fn node(&mut self) -> Option<NodeId> {
        self.u64().filter(|id| *id != 0).map(NodeId)
    }

    /// Never 0.
    pub(super) fn life(&mut self) -> Option<Life> {
        self.u64().filter(|id| *id != 0).map(Life)
    }

    pub(super) fn address(&mut self) -> Option<NodeAddress> {
        let length = usize::from(self.u8()?);
        let host = (length <= self.0.len()).then(|| self.0.split_to(length))?;
        let host = std::str::from_utf8(&host).ok()?;
        let port = Some(self.u16()?).filter(|port| *port != 0);
        let shown = NodeAddress { host: host.to_owned(), port };
        // Only what an operator could have written.
        (NodeAddress::parse(&shown.to_string()).as_ref() == Some(&shown)).then_some(shown)
    }

    pub(super) fn member(&mut self) -> Option<Member> {
        Some(Member {
            incarnation: self.u64()?,
            address: self.address()?,
            shards: self.u16().filter(|shards| (1..=SHARDS_MAX).contains(shards))?,
            version: self.u8()?,
            life: match self.option()? {
                Some(0) => return None,
                life => life.map(Life),
            },
        })
    }

    /// `value`, if nothing is left over.
    pub(super) fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

pub(super) fn put_option(out: &mut BytesMut, number: Option<u64>) {
    out.put_u8(u8::from(number.is_some()));
    out.put_u64_le(number.unwrap_or(0));
}

/// A length or a count. What does not fit 32 bits is refused long before.
pub(super) fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u32_le(u32::try_from(count).unwrap_or(u32::MAX));
}

pub(super) fn put_blob(out: &mut BytesMut, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.put_slice(bytes);
}

/// A host name is shorter than 256 bytes wherever it was parsed.
pub(super) fn put_address(out: &mut BytesMut, address: &NodeAddress) {
    let host = address.host.as_bytes();
    let host = host.get(..host.len().min(HOST_BYTES_MAX)).unwrap_or_default();
    out.put_u8(host.len() as u8);
    out.put_slice(host);
    out.put_u16_le(address.port.unwrap_or(0));
}

pub(super) fn put_member(out: &mut BytesMut, member: &Member) {
    out.put_u64_le(member.incarnation);
    put_address(out, &member.address);
    out.put_u16_le(member.shards);
    out.put_u8(member.version);
    put_option(out, member.life.map(|life| life.0));
}

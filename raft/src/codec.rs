//! Bytes to values and back, shared by [`record`](crate::record) and [`wire`](crate::wire): fixed-width little-endian numbers,
//! lists with a count in front. Reading never panics, never allocates for a count that the bytes cannot hold, and takes
//! payloads as slices of the input.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::confchange::{Conf, Stay};
use crate::entry::{Entries, Entry, EntryKind};
use crate::message::SnapshotMeta;
use crate::{Incarnation, Index, NodeId, Term};

/// Bytes that an entry takes beside its payload: term, kind, length.
const ENTRY_HEAD_BYTES: usize = 8 + 1 + 4;

/// The bytes of a value, read from the front. `None`: they do not hold what was asked for.
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Reader {
        Reader { rest: bytes }
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.rest.try_get_u8().ok()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.rest.try_get_u16_le().ok()
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.rest.try_get_u32_le().ok()
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.rest.try_get_u64_le().ok()
    }

    /// Exactly 0 or 1, so that every value has one encoding.
    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Option<Bytes> {
        (len <= self.rest.len()).then(|| self.rest.split_to(len))
    }

    /// Bytes with their length in front.
    pub(crate) fn blob(&mut self) -> Option<Bytes> {
        let len = usize::try_from(self.u32()?).ok()?;
        self.bytes(len)
    }

    /// A count of things that take at least `bytes_min` each.
    pub(crate) fn count(&mut self, bytes_min: usize) -> Option<usize> {
        let count = usize::try_from(self.u32()?).ok()?;
        (count <= self.rest.len() / bytes_min.max(1)).then_some(count)
    }

    fn nodes(&mut self) -> Option<Vec<NodeId>> {
        let count = self.count(8)?;
        (0..count).map(|_| self.u64().map(NodeId)).collect()
    }

    fn stays(&mut self) -> Option<Vec<Stay>> {
        let count = self.count(3 * 8)?;
        let mut stay = || {
            let (node, since) = (NodeId(self.u64()?), self.u64()?);
            Some(Stay { node, since, incarnation: Incarnation(self.u64()?) })
        };
        (0..count).map(|_| stay()).collect()
    }

    pub(crate) fn meta(&mut self) -> Option<SnapshotMeta> {
        let (index, term) = (self.u64()?, self.u64()?);
        let conf = Conf {
            voters: self.nodes()?,
            outgoing: self.nodes()?,
            learners: self.nodes()?,
            learners_next: self.nodes()?,
            auto_leave: self.flag()?,
            stays: self.stays()?,
        };
        conf.check().ok()?;
        Some(SnapshotMeta { index, term, conf })
    }

    /// Entries that follow each other from `first` on.
    pub(crate) fn entries(&mut self, first: Index) -> Option<Entries> {
        let count = self.count(ENTRY_HEAD_BYTES)?;
        first.checked_add(count as u64)?;
        let mut entries = Vec::with_capacity(count);
        for at in 0..count as u64 {
            let term: Term = self.u64()?;
            let kind = match self.u8()? {
                0 => EntryKind::Normal,
                1 => EntryKind::Conf,
                _ => return None,
            };
            entries.push(Entry { term, index: first + at, kind, payload: self.blob()? });
        }
        Some(Entries::from(entries))
    }

    /// `value`, if nothing is left over.
    pub(crate) fn end<T>(self, value: T) -> Option<T> {
        self.rest.is_empty().then_some(value)
    }
}

/// Writes a length or a count. What does not fit 32 bits was refused long before: limits on payloads and messages are far below.
pub(crate) fn put_len(out: &mut BytesMut, len: usize) {
    out.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
}

pub(crate) fn put_blob(out: &mut BytesMut, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.put_slice(bytes);
}

fn put_nodes(out: &mut BytesMut, nodes: &[NodeId]) {
    put_len(out, nodes.len());
    for node in nodes {
        out.put_u64_le(node.0);
    }
}

pub(crate) fn put_meta(out: &mut BytesMut, meta: &SnapshotMeta) {
    out.put_u64_le(meta.index);
    out.put_u64_le(meta.term);
    let Conf { voters, outgoing, learners, learners_next, auto_leave, stays } = &meta.conf;
    for nodes in [voters, outgoing, learners, learners_next] {
        put_nodes(out, nodes);
    }
    out.put_u8(u8::from(*auto_leave));
    put_len(out, stays.len());
    for stay in stays {
        for number in [stay.node.0, stay.since, stay.incarnation.0] {
            out.put_u64_le(number);
        }
    }
}

/// Bytes that [`put_entries`] takes.
pub(crate) fn entries_bytes(entries: &[Entry]) -> usize {
    4 + entries.iter().map(|entry| ENTRY_HEAD_BYTES + entry.payload.len()).sum::<usize>()
}

/// The entries without their indexes, which follow from the first.
pub(crate) fn put_entries(out: &mut BytesMut, entries: &[Entry]) {
    out.reserve(entries_bytes(entries));
    put_len(out, entries.len());
    for entry in entries {
        out.put_u64_le(entry.term);
        out.put_u8(match entry.kind {
            EntryKind::Normal => 0,
            EntryKind::Conf => 1,
        });
        put_blob(out, &entry.payload);
    }
}

/// CRC-32C (Castagnoli), as iSCSI and most logs use it: RFC 3720 appendix B.4.
pub(crate) const CRC_START: u32 = 0;

/// The checksum of what `crc` covers followed by `bytes`. Eight bytes at a time ("slicing by 8", Kounavis and Berry 2005): byte by
/// byte each step would wait for the one before, and that was most of what a record cost.
#[must_use]
pub(crate) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let whole = words.iter().fold(!crc, |crc, word| {
        let mixed = (u64::from_le_bytes(*word) ^ u64::from(crc)).to_le_bytes();
        // The first byte of the eight is seven steps from the end.
        mixed.iter().zip(CRC_TABLES.iter().rev()).fold(0, |sum, (byte, table)| sum ^ crc_of(table, *byte))
    });
    let [single, ..] = &CRC_TABLES;
    !rest.iter().fold(whole, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ crc_of(single, low ^ byte)
    })
}

#[inline]
fn crc_of(table: &[u32; 256], byte: u8) -> u32 {
    table.get(usize::from(byte)).copied().unwrap_or(0)
}

/// What a byte does to the checksum, and what it does when as many zeros follow it as the table's position says.
static CRC_TABLES: [[u32; 256]; 8] = crc_tables();

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn crc_tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][at] = crc;
        at += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut at = 0;
        while at < 256 {
            let before = tables[zeros - 1][at];
            tables[zeros][at] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            at += 1;
        }
        zeros += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_gives_the_rfc_3720_values() {
        assert_eq!(crc32c(CRC_START, &[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(CRC_START, &[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(CRC_START, b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(crc32c(CRC_START, b"1234"), b"56789"), 0xE306_9283);
        // Of 0, 1, .. 31, and of 31, 30, .. 0.
        let (up, down): (Vec<u8>, Vec<u8>) = ((0..32).collect(), (0..32).rev().collect());
        assert_eq!((crc32c(CRC_START, &up), crc32c(CRC_START, &down)), (0x46DD_794E, 0x113F_DB5C));
    }

    #[test]
    fn crc32c_is_the_same_wherever_the_bytes_are_parted() {
        let bytes: Vec<u8> = (0..100u32).map(|at| (at * at * 7) as u8).collect();
        let by_bits = |bytes: &[u8]| {
            let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
            !bytes.iter().fold(!CRC_START, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
        };
        for end in 0..=bytes.len() {
            let sum = by_bits(&bytes[..end]);
            for part in 0..=end {
                assert_eq!(crc32c(crc32c(CRC_START, &bytes[..part]), &bytes[part..end]), sum, "{part} of {end}");
            }
        }
    }
}

//! Log entries, and runs of them that are shared rather than copied.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Index, Term};

/// Bytes that an entry costs beside its payload, in every limit that counts bytes.
pub const ENTRY_OVERHEAD_BYTES: u64 = 24;

/// What an entry holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// The application's bytes. Empty ones are also made by a new leader; the application ignores those.
    #[default]
    Normal,
    /// An encoded [`ConfChange`](crate::ConfChange). The machine acts on it; the application may read its context.
    Conf,
}

/// One entry of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: Term,
    /// Its position.
    pub index: Index,
    /// What the payload is.
    pub kind: EntryKind,
    /// The bytes. Cloning an entry never copies them.
    pub payload: Bytes,
}

impl Entry {
    /// Bytes of the payload, as limits on payloads count them.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.payload.len() as u64
    }

    /// Bytes of the payload and of the entry itself, as limits on messages count them.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.payload_bytes() + ENTRY_OVERHEAD_BYTES
    }
}

/// Consecutive entries, shared: cloning or narrowing a run copies no entry.
///
/// The log, the messages to every peer, the records and what is handed to the application are all runs of the same memory.
#[derive(Clone, Default)]
pub struct Entries {
    // None: empty, so that an empty run costs no allocation.
    shared: Option<Arc<[Entry]>>,
    from: u32,
    to: u32,
}

impl Entries {
    /// No entries.
    #[must_use]
    pub const fn none() -> Entries {
        Entries { shared: None, from: 0, to: 0 }
    }

    /// How many there are.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        (self.to - self.from) as usize
    }

    /// Whether there are none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.to == self.from
    }

    /// The entries as a slice.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[Entry] {
        self.shared.as_deref().and_then(|all| all.get(self.from as usize..self.to as usize)).unwrap_or_default()
    }

    /// The entries from position `from` up to but not including `to`, counted within this run and cut to it.
    #[must_use]
    pub fn narrowed(&self, from: usize, to: usize) -> Entries {
        let len = self.len();
        let (from, to) = (from.min(len), to.min(len));
        if from >= to {
            return Entries::none();
        }
        // Both fit: they are at most `len`, which is a difference of two u32.
        let (from, to) = (self.from + from as u32, self.from + to as u32);
        Entries { shared: self.shared.clone(), from, to }
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        if len == 0 {
            *self = Entries::none();
        } else if len < self.len() {
            self.to = self.from + len as u32;
        }
    }

    pub(crate) fn drop_front(&mut self, count: usize) {
        if count >= self.len() {
            *self = Entries::none();
        } else {
            self.from += count as u32;
        }
    }

    pub(crate) fn first_index(&self) -> Index {
        self.as_slice().first().map_or(0, |entry| entry.index)
    }

    /// The sum of the payloads, in bytes.
    #[must_use]
    #[inline]
    pub fn payload_bytes(&self) -> u64 {
        if self.is_empty() {
            return 0;
        }
        self.iter().map(Entry::payload_bytes).sum()
    }
}

/// How many of `entries` fit `bytes_max`, the first always among them.
pub(crate) fn prefix_within(entries: &[Entry], bytes_max: u64) -> usize {
    if bytes_max == u64::MAX || entries.len() <= 1 {
        return entries.len();
    }
    let mut sum = 0u64;
    let fits = entries.iter().take_while(|entry| {
        sum += entry.size_bytes();
        sum <= bytes_max
    });
    fits.count().max(1).min(entries.len())
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        self.as_slice()
    }
}

impl From<Vec<Entry>> for Entries {
    /// Runs longer than `u32::MAX` entries are cut; no limit of the machine lets one arise.
    fn from(entries: Vec<Entry>) -> Entries {
        entries.into_iter().collect()
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Entries {
        let shared: Arc<[Entry]> = entries.into_iter().collect();
        let to = u32::try_from(shared.len()).unwrap_or(u32::MAX);
        if to == 0 { Entries::none() } else { Entries { shared: Some(shared), from: 0, to } }
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = core::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.as_slice().iter()
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Entries) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Entries {}

impl Hash for Entries {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

//! The log in memory: every entry since the last compaction, and how far it is committed, handed out, applied and durable.
//!
//! Pure: no message and no disk. Entries are kept as the shared runs in which they arrived, so that what is sent, persisted
//! and applied is the same memory; terms are kept as runs too, so that looking one up touches no entry. Semantics: etcd
//! `log.go` and `log_unstable.go`. Nothing here can panic: an index outside the log has no term and an empty slice.

use core::hash::{Hash, Hasher};
use std::collections::VecDeque;

use crate::entry::{ENTRY_OVERHEAD_BYTES, Entries, Entry, EntryKind, prefix_within};
use crate::message::SnapshotMeta;
use crate::raft::Fatal;
use crate::{Index, RecordId, Term};

/// The index and term that name one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EntryId {
    /// The term.
    pub term: Term,
    /// The index.
    pub index: Index,
}

/// A record on its way to the disk.
#[derive(Clone, Copy, Debug)]
struct Write {
    record: RecordId,
    /// The last index that is durable and still the log's own once this write is done. Falls when the log is cut.
    upto: Index,
    /// The index of the snapshot in the record, or 0.
    snapshot: Index,
}

/// The log of one node.
#[derive(Clone, Debug)]
pub struct Log {
    /// The entry before the first one held.
    base: EntryId,
    /// Runs of consecutive entries, none empty, from `base.index + 1`.
    runs: VecDeque<Entries>,
    /// Where each term begins, ascending, for the entries held.
    terms: VecDeque<EntryId>,
    last: Index,
    /// The sizes of the entries held.
    bytes: u64,
    committed: Index,
    applying: Index,
    applied: Index,
    applying_bytes: u64,
    applying_paused: bool,
    applying_bytes_max: u64,
    /// Entries up to here are durable, and no write under way will take them back.
    stable: Index,
    /// Entries up to here are durable or in a write under way.
    written: Index,
    /// A snapshot that is to become, or is becoming, durable: nothing is applied before it is.
    snapshot: Option<Box<SnapshotMeta>>,
    snapshot_written: bool,
    writes: VecDeque<Write>,
    /// Membership changes that are not applied, ascending.
    conf_changes: VecDeque<Index>,
    /// What was handed out to be applied and is not yet reported: so that reports cost nothing per entry.
    batches: VecDeque<Batch>,
}

/// Entries that were handed out together.
#[derive(Clone, Copy, Debug, Hash)]
struct Batch {
    last: Index,
    bytes: u64,
    payload_bytes: u64,
}

impl Log {
    /// A log whose first entry will follow `base`, everything up to `base` applied.
    pub(crate) fn new(base: EntryId, applying_bytes_max: u64) -> Log {
        Log {
            base,
            runs: VecDeque::new(),
            terms: VecDeque::new(),
            last: base.index,
            bytes: 0,
            committed: base.index,
            applying: base.index,
            applied: base.index,
            applying_bytes: 0,
            applying_paused: false,
            applying_bytes_max: applying_bytes_max.max(1),
            stable: base.index,
            written: base.index,
            snapshot: None,
            snapshot_written: false,
            writes: VecDeque::new(),
            conf_changes: VecDeque::new(),
            batches: VecDeque::new(),
        }
    }

    /// A log as recovered: everything in it is durable.
    pub(crate) fn recovered(base: EntryId, entries: Entries, committed: Index, applied: Index, bytes_max: u64) -> Log {
        let mut log = Log::new(base, bytes_max);
        log.append(entries);
        log.stable = log.last;
        log.written = log.last;
        log.committed = committed;
        log.applying = applied;
        log.applied = applied;
        log
    }

    /// What decides what the log does from now on: not how its entries were grouped when they came, and of the records under way
    /// only their distance to the `next` one.
    pub(crate) fn hash_before<H: Hasher>(&self, next: RecordId, state: &mut H) {
        // By name, so that a new field is not forgotten here. What follows from the entries is left out.
        let Log {
            base,
            runs,
            terms: _,
            last,
            bytes: _,
            committed,
            applying,
            applied,
            applying_bytes,
            applying_paused,
            applying_bytes_max,
            stable,
            written,
            snapshot,
            snapshot_written,
            writes,
            conf_changes,
            batches,
        } = self;
        (base, last, committed, applying, applied).hash(state);
        runs.iter().flat_map(Entries::as_slice).for_each(|entry| entry.hash(state));
        (applying_bytes, applying_paused, applying_bytes_max, stable, written).hash(state);
        (snapshot, snapshot_written, writes.len(), conf_changes, batches).hash(state);
        for Write { record, upto, snapshot } in writes {
            (next.0.wrapping_sub(record.0), upto, snapshot).hash(state);
        }
    }

    /// The first index held.
    #[must_use]
    pub fn first_index(&self) -> Index {
        self.base.index + 1
    }

    /// The last index, held or compacted.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.last
    }

    /// The sizes of the entries held, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The index up to which entries are committed.
    #[must_use]
    pub fn committed(&self) -> Index {
        self.committed
    }

    /// The index up to which entries were handed out to be applied.
    #[must_use]
    pub fn applying(&self) -> Index {
        self.applying
    }

    /// The index up to which the application has applied.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The index up to which entries are durable for good.
    #[must_use]
    pub fn stable(&self) -> Index {
        self.stable
    }

    /// The term of the entry at `index`, which may be the one before the first held.
    #[must_use]
    #[inline]
    pub fn term(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last {
            return None;
        }
        match self.terms.back() {
            Some(newest) if newest.index <= index => Some(newest.term),
            _ => {
                let after = self.terms.partition_point(|run| run.index <= index);
                self.terms.get(after.wrapping_sub(1)).map(|run| run.term)
            }
        }
    }

    /// The last entry.
    #[must_use]
    pub fn last_id(&self) -> EntryId {
        EntryId { term: self.terms.back().map_or(self.base.term, |run| run.term), index: self.last }
    }

    /// Whether the log holds exactly this entry.
    #[must_use]
    #[inline]
    pub fn matches(&self, id: EntryId) -> bool {
        self.term(id.index) == Some(id.term)
    }

    /// Whether a log that ends with `theirs` is at least as complete as this one (thesis section 3.6.1).
    pub(crate) fn is_up_to_date(&self, theirs: EntryId) -> bool {
        let ours = self.last_id();
        (theirs.term, theirs.index) >= (ours.term, ours.index)
    }

    /// The highest index at or below `index` whose term is not above `term`, and its term; term 0 where it is not known.
    pub(crate) fn find_conflict_by_term(&self, index: Index, term: Term) -> EntryId {
        let mut at = index;
        loop {
            if at == 0 {
                return EntryId::default();
            }
            let Some(ours) = self.term(at) else { return EntryId { term: 0, index: at } };
            if ours <= term {
                return EntryId { term: ours, index: at };
            }
            // The whole run has this term: go to the entry before it.
            at = match self.terms.partition_point(|run| run.index <= at).checked_sub(1) {
                Some(run) => self.terms.get(run).map_or(at, |run| run.index).saturating_sub(1),
                None => at - 1,
            };
        }
    }

    /// Appends entries that follow the last one.
    #[inline]
    pub(crate) fn append(&mut self, entries: Entries) {
        let Some(newest) = entries.last() else { return };
        self.last = newest.index;
        let mut term = self.last_id_term();
        for entry in &entries {
            if entry.term != term || self.terms.is_empty() {
                self.terms.push_back(EntryId { term: entry.term, index: entry.index });
                term = entry.term;
            }
            if entry.kind == EntryKind::Conf {
                self.conf_changes.push_back(entry.index);
            }
            self.bytes += entry.size_bytes();
        }
        self.runs.push_back(entries);
    }

    fn last_id_term(&self) -> Term {
        self.terms.back().map_or(self.base.term, |run| run.term)
    }

    /// Cuts the log from `from` on.
    fn truncate(&mut self, from: Index) {
        let gone: u64 = self.range(from, self.last).map(Entry::size_bytes).sum();
        self.bytes = self.bytes.saturating_sub(gone);
        while let Some(run) = self.runs.back_mut() {
            let first = run.first_index();
            if first < from {
                run.truncate((from - first) as usize);
                break;
            }
            self.runs.pop_back();
        }
        while self.terms.back().is_some_and(|run| run.index >= from) {
            self.terms.pop_back();
        }
        while self.conf_changes.back().is_some_and(|index| *index >= from) {
            self.conf_changes.pop_back();
        }
        self.last = from - 1;
        if !mutant!(CutKeepsStable) {
            self.stable = self.stable.min(self.last);
        }
        if !mutant!(CutKeepsWritten) {
            self.written = self.written.min(self.last);
        }
        for write in self.writes.iter_mut().filter(|_| !mutant!(CutKeepsMarks)) {
            write.upto = write.upto.min(self.last);
        }
    }

    /// A follower's append: `entries` follow `prev`. Entries that are here already stay; the first one that conflicts is cut
    /// with all after it (study ids R1, R3). Returns the last index that is known to match, or `None` if `prev` is not here;
    /// and whether something was cut, from which index.
    ///
    /// # Errors
    /// An entry conflicts with a committed one.
    #[inline]
    pub(crate) fn maybe_append(
        &mut self,
        prev: EntryId,
        entries: Entries,
    ) -> Result<Option<(Index, Option<Index>)>, Fatal> {
        if !(self.matches(prev) || mutant!(SkipsPrevTerm) && prev.index <= self.last && prev.index > self.base.index) {
            return Ok(None);
        }
        if entries.is_empty() {
            return Ok(Some((prev.index, None)));
        }
        let matched = prev.index + entries.len() as u64;
        // What begins behind the last entry cannot be here already.
        let known = if prev.index == self.last {
            0
        } else {
            entries
                .iter()
                .take_while(|entry| {
                    self.matches(EntryId { term: entry.term, index: entry.index })
                        || mutant!(KeepsConflicts) && entry.index <= self.last
                })
                .count()
        };
        let fresh = if known == 0 { entries } else { entries.narrowed(known, entries.len()) };
        if mutant!(TruncatesOnMatch) && matched < self.last && matched >= self.committed {
            self.truncate(matched + 1);
        }
        let Some(first) = fresh.first().map(|entry| entry.index) else { return Ok(Some((matched, None))) };
        if first <= self.committed {
            return Err(Fatal::Diverged { index: first });
        }
        let cut = (first <= self.last).then_some(first);
        if cut.is_some() {
            self.truncate(first);
        }
        self.append(fresh);
        Ok(Some((matched, cut)))
    }

    /// Raises the commit index, never beyond the log.
    ///
    /// # Errors
    /// The log does not reach `index`.
    pub(crate) fn commit_to(&mut self, index: Index) -> Result<(), Fatal> {
        if index > self.committed {
            if index > self.last {
                return Err(Fatal::LogLost { commit: index, last: self.last });
            }
            self.committed = index;
        }
        Ok(())
    }

    /// A leader's commit: only an entry of its own term is committed by counting (study id E1, Raft figure 8).
    pub(crate) fn maybe_commit(&mut self, at: EntryId) -> bool {
        let commits = at.term != 0
            && at.index > self.committed
            && (self.matches(at) || mutant!(CommitsOldTerms) && at.index <= self.last);
        if commits {
            self.committed = at.index;
        }
        commits
    }

    /// The position of the run that holds `index`.
    fn run_of(&self, index: Index) -> usize {
        match self.runs.back() {
            Some(newest) if newest.first_index() <= index => self.runs.len() - 1,
            _ => self.runs.partition_point(|run| run.first_index() <= index).saturating_sub(1),
        }
    }

    /// The entries from `from` to `to`, both included, cut to the log and to `bytes_max`, but at least one.
    #[must_use]
    #[inline]
    pub fn slice(&self, from: Index, to: Index, bytes_max: u64) -> Entries {
        let to = to.min(self.last);
        if from <= self.base.index || from > to {
            return Entries::none();
        }
        // Mostly it is what came last, all of it.
        if let Some(newest) = self.runs.back()
            && to == self.last
            && to + 1 - from == newest.len() as u64
            && (newest.len() == 1 || prefix_within(newest, bytes_max) == newest.len())
        {
            return newest.clone();
        }
        self.gather(from, to, bytes_max)
    }

    fn gather(&self, from: Index, to: Index, bytes_max: u64) -> Entries {
        let at = self.run_of(from);
        let Some(run) = self.runs.get(at) else { return Entries::none() };
        let first = run.first_index();
        let (skip, end) = ((from - first) as usize, (to + 1 - first) as usize);
        if let Some(part) = run.as_slice().get(skip..end) {
            return run.narrowed(skip, skip + prefix_within(part, bytes_max));
        }
        // The slice spans runs: gather it once.
        let (mut gathered, mut room) = (Vec::new(), bytes_max);
        for run in self.runs.range(at..) {
            let first = run.first_index();
            if first > to {
                break;
            }
            let part = run.narrowed(from.saturating_sub(first) as usize, (to + 1 - first) as usize);
            let mut fits = prefix_within(&part, room);
            if !gathered.is_empty() && fits == 1 && part.first().is_some_and(|entry| entry.size_bytes() > room) {
                fits = 0;
            }
            let taken = part.as_slice().get(..fits).unwrap_or_default();
            gathered.extend_from_slice(taken);
            if fits < part.len() {
                break;
            }
            if room != u64::MAX {
                room = room.saturating_sub(taken.iter().map(Entry::size_bytes).sum());
            }
        }
        Entries::from(gathered)
    }

    /// Each entry from `from` to `to`, both included.
    pub(crate) fn range(&self, from: Index, to: Index) -> impl Iterator<Item = &Entry> {
        let at = if from > self.base.index && from <= self.last { self.run_of(from) } else { self.runs.len() };
        self.runs
            .range(at..)
            .flat_map(Entries::as_slice)
            .skip_while(move |entry| entry.index < from)
            .take_while(move |entry| entry.index <= to)
    }

    /// The entry at `index`, if held.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        self.range(index, index).next()
    }

    /// Forgets the membership changes up to `index`: they are in force.
    #[inline]
    pub(crate) fn confs_applied(&mut self, index: Index) {
        while self.conf_changes.front().is_some_and(|change| *change <= index) {
            self.conf_changes.pop_front();
        }
    }

    /// Whether a membership change is committed and not applied: such a node must not campaign (study id M2).
    pub(crate) fn has_unapplied_conf(&self) -> bool {
        self.conf_changes.front().is_some_and(|index| *index <= self.committed)
    }

    /// Whether no membership change waits to be applied.
    #[inline]
    pub(crate) fn confs_are_applied(&self) -> bool {
        self.conf_changes.is_empty()
    }

    /// The first membership change after `after` and up to `upto` that is not applied.
    pub(crate) fn next_conf(&self, after: Index, upto: Index) -> Option<&Entry> {
        let index = self.conf_changes.iter().find(|index| **index > after)?;
        if *index <= upto { self.entry(*index) } else { None }
    }

    // Handing out and applying.

    fn appliable(&self, before_persisted: bool) -> Index {
        if before_persisted || mutant!(AppliesUnwritten) { self.committed } else { self.committed.min(self.stable) }
    }

    /// Whether committed entries may be handed out.
    #[inline]
    pub(crate) fn has_committed(&self, before_persisted: bool) -> bool {
        self.applying < self.appliable(before_persisted) && !self.applying_paused && self.snapshot.is_none()
    }

    /// The next committed entries for the application, and notes that they are handed out.
    #[inline]
    pub(crate) fn take_committed(&mut self, before_persisted: bool) -> Entries {
        let to = self.appliable(before_persisted);
        if self.applying >= to {
            return Entries::none();
        }
        let room = self.applying_bytes_max.saturating_sub(self.applying_bytes);
        let entries = self.slice(self.applying + 1, to, room);
        if let Some(newest) = entries.last() {
            self.applying = newest.index;
            let payload_bytes = entries.payload_bytes();
            let bytes = payload_bytes + ENTRY_OVERHEAD_BYTES * entries.len() as u64;
            self.batches.push_back(Batch { last: newest.index, bytes, payload_bytes });
            self.applying_bytes += bytes;
            self.applying_paused = self.applying_bytes >= self.applying_bytes_max || self.applying < to;
        }
        entries
    }

    /// The next committed entries for an application that applies them before it gives the next input, and their payload bytes. To be
    /// followed by [`Log::applied_at_once`].
    #[inline]
    pub(crate) fn take_at_once(&mut self, before_persisted: bool) -> (Entries, u64) {
        let to = self.appliable(before_persisted);
        let entries = self.slice(self.applying + 1, to, self.applying_bytes_max);
        let bytes = entries.payload_bytes();
        self.applying += entries.len() as u64;
        (entries, bytes)
    }

    /// Notes that everything that was handed out is applied.
    #[inline]
    pub(crate) fn applied_at_once(&mut self) {
        self.applied = self.applying;
        self.confs_applied(self.applied);
    }

    /// Notes that the application has applied up to `index`, which must have been handed out. Returns the payload bytes that
    /// were applied.
    #[inline]
    pub(crate) fn applied_to(&mut self, index: Index) -> u64 {
        let mut applied = 0;
        while let Some(batch) = self.batches.front().copied() {
            let part = if batch.last <= index {
                self.batches.pop_front();
                batch
            } else if index > self.applied {
                self.split_batch(index)
            } else {
                break;
            };
            self.applied = part.last;
            self.applying_bytes = self.applying_bytes.saturating_sub(part.bytes);
            applied += part.payload_bytes;
        }
        self.applied = self.applied.max(index);
        self.confs_applied(index);
        self.applying_paused = self.applying_bytes >= self.applying_bytes_max;
        applied
    }

    /// The part of the first batch up to `index`, which it no longer holds afterwards.
    fn split_batch(&mut self, index: Index) -> Batch {
        let payload_bytes = self.range(self.applied + 1, index).map(Entry::payload_bytes).sum();
        let bytes = payload_bytes + ENTRY_OVERHEAD_BYTES * (index - self.applied);
        if let Some(batch) = self.batches.front_mut() {
            batch.bytes = batch.bytes.saturating_sub(bytes);
            batch.payload_bytes = batch.payload_bytes.saturating_sub(payload_bytes);
        }
        Batch { last: index, bytes, payload_bytes }
    }

    // Durability.

    /// Whether entries or a snapshot wait to be written.
    pub(crate) fn has_unwritten(&self) -> bool {
        self.written < self.last || self.has_unwritten_snapshot()
    }

    /// Whether a snapshot waits to be written.
    pub(crate) fn has_unwritten_snapshot(&self) -> bool {
        self.snapshot.is_some() && !self.snapshot_written
    }

    /// Notes that entries need no writing.
    pub(crate) fn skip_writing(&mut self) {
        self.written = self.last;
        self.stable = self.last;
    }

    /// The snapshot and entries that the next record must hold, and notes that they are being written.
    #[inline]
    pub(crate) fn take_unwritten(&mut self) -> (Option<Box<SnapshotMeta>>, Entries) {
        let snapshot = if self.has_unwritten_snapshot() { self.snapshot.clone() } else { None };
        self.snapshot_written = self.snapshot.is_some();
        let entries = self.slice(self.written + 1, self.last, u64::MAX);
        self.written = self.last;
        (snapshot, entries)
    }

    /// Notes that `record`, which holds what [`Log::take_unwritten`] gave, is on its way to the disk.
    pub(crate) fn write_began(&mut self, record: RecordId, snapshot: Index) {
        self.writes.push_back(Write { record, upto: self.last, snapshot });
    }

    /// The newest record under way.
    pub(crate) fn newest_write(&self) -> Option<RecordId> {
        self.writes.back().map(|write| write.record)
    }

    /// Notes that `record` and all before it are durable. Returns the snapshot that became durable, if one did.
    ///
    /// A record written before the log was cut marks nothing beyond the cut as durable (study id R8, the ABA race of etcd's
    /// `async_storage_writes_append_aba_race.txt`): the cut lowered its mark.
    pub(crate) fn write_ended(&mut self, record: RecordId) -> Option<Index> {
        let mut installed = None;
        while let Some(write) = self.writes.front() {
            if write.record > record {
                break;
            }
            self.stable = self.stable.max(write.upto);
            if write.snapshot > 0 && self.snapshot.as_ref().is_some_and(|meta| meta.index == write.snapshot) {
                self.snapshot = None;
                self.snapshot_written = false;
                installed = Some(write.snapshot);
            }
            self.writes.pop_front();
        }
        installed
    }

    /// Whether any record is under way.
    pub(crate) fn writes_pending(&self) -> usize {
        self.writes.len()
    }

    // Snapshots and compaction.

    /// A snapshot that is not durable yet.
    pub(crate) fn pending_snapshot(&self) -> Option<&SnapshotMeta> {
        self.snapshot.as_deref()
    }

    /// Replaces the whole log by a snapshot, a conflicting tail included (Raft figure 13 rule 7, study id S1).
    pub(crate) fn restore(&mut self, meta: Box<SnapshotMeta>) {
        let index = meta.index;
        self.base = EntryId { term: meta.term, index };
        self.runs.clear();
        self.terms.clear();
        self.last = index;
        self.bytes = 0;
        self.committed = index;
        self.stable = index;
        self.written = index;
        self.applying_bytes = 0;
        self.applying_paused = false;
        self.batches.clear();
        self.conf_changes.clear();
        for write in &mut self.writes {
            write.upto = write.upto.min(index);
        }
        self.snapshot = Some(meta);
        self.snapshot_written = false;
    }

    /// Notes that the application's state is the snapshot's.
    pub(crate) fn snapshot_applied(&mut self, index: Index) {
        self.applied = self.applied.max(index);
        self.applying = self.applying.max(index);
    }

    /// Forgets entries up to `upto`. False if nothing changed.
    pub(crate) fn compact(&mut self, upto: Index) -> bool {
        let upto = if mutant!(CompactsUnapplied) {
            (upto + 2).min(self.last)
        } else {
            upto.min(self.applied).min(self.stable)
        };
        if upto <= self.base.index {
            return false;
        }
        let Some(term) = self.term(upto) else { return false };
        while let Some(run) = self.runs.front_mut() {
            let first = run.first_index();
            if first > upto {
                break;
            }
            let gone = (upto + 1 - first) as usize;
            let bytes: u64 = run.iter().take(gone).map(Entry::size_bytes).sum();
            self.bytes = self.bytes.saturating_sub(bytes);
            if gone < run.len() {
                run.drop_front(gone);
                break;
            }
            self.runs.pop_front();
        }
        while self.terms.get(1).is_some_and(|run| run.index <= upto + 1) {
            self.terms.pop_front();
        }
        if self.runs.is_empty() {
            self.terms.clear();
        } else if let Some(run) = self.terms.front_mut() {
            run.index = run.index.max(upto + 1);
        }
        self.base = EntryId { term, index: upto };
        true
    }
}

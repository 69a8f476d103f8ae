//! Records as bytes on the faulty disk, and what recovery makes of them.
//!
//! A frame is length, number, sum, and a body as long as the record would be. The sum and the body's pattern tell whether the
//! bytes survived; the record itself is kept beside the disk under the frame's number, so that a run need not decode what it
//! has just encoded. Each segment begins with the newest hard state, so that older segments can go.

use std::collections::{BTreeMap, VecDeque};

use wrs_raft::{Entry, HardState, Record, SnapshotMeta};

use crate::sim::{Digest, Disk, FileId, SyncResult};

const HEADER: usize = 20;
/// Frames in a segment before the next one begins.
const SEGMENT_FRAMES: u64 = 48;

#[derive(Clone, Debug)]
struct Segment {
    file: FileId,
    first_frame: u64,
    newest_index: u64,
}

/// The log of one node on its disk.
#[derive(Clone, Debug, Default)]
pub struct Wal {
    segments: VecDeque<Segment>,
    frames: BTreeMap<u64, Record>,
    next_frame: u64,
    /// Frames up to here are durable.
    pub durable_frame: u64,
    hard: HardState,
}

/// What recovery found.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The newest hard state.
    pub hard: HardState,
    /// The newest snapshot that a record names.
    pub snapshot: Option<Box<SnapshotMeta>>,
    /// Every entry that is still in the segments.
    pub entries: Vec<Entry>,
    /// The newest frame.
    pub newest_frame: u64,
}

fn sum(frame: u64, len: usize) -> u64 {
    let mut digest = Digest::default();
    digest.add(frame);
    digest.add(len as u64);
    digest.value()
}

fn pattern(frame: u64) -> u8 {
    // Never 0, which is what a lost sector reads as.
    (frame.wrapping_mul(37) as u8) | 1
}

impl Wal {
    /// A log that begins with `hard`, durable at once.
    pub fn found(disk: &mut Disk, hard: HardState) -> Wal {
        let mut wal = Wal { next_frame: 1, hard, ..Wal::default() };
        wal.rotate(disk);
        wal.sync_now(disk);
        wal
    }

    fn sync_now(&mut self, disk: &mut Disk) {
        let faults = std::mem::replace(&mut disk.faults.fail_ppm, 0);
        self.sync_begin(disk);
        let newest = self.next_frame - 1;
        self.sync_end(disk, newest);
        disk.faults.fail_ppm = faults;
    }

    fn rotate(&mut self, disk: &mut Disk) {
        let file = self.next_frame;
        self.segments.push_back(Segment { file, first_frame: self.next_frame, newest_index: 0 });
        self.append(disk, Record { hard: Some(self.hard), ..Record::default() });
        disk.sync_directory();
        // Until now the disk could have brought removed segments back in a crash.
        if let Some(oldest) = self.segments.front() {
            self.frames = self.frames.split_off(&oldest.first_frame);
        }
    }

    /// Appends a record; returns its frame.
    pub fn append(&mut self, disk: &mut Disk, record: Record) -> u64 {
        let frame = self.next_frame;
        self.next_frame += 1;
        let body: u64 = 32 + record.entries.iter().map(Entry::size_bytes).sum::<u64>();
        let mut bytes = Vec::with_capacity(HEADER + body as usize);
        bytes.extend_from_slice(&(body as u32).to_le_bytes());
        bytes.extend_from_slice(&frame.to_le_bytes());
        bytes.extend_from_slice(&sum(frame, body as usize).to_le_bytes());
        bytes.resize(HEADER + body as usize, pattern(frame));
        if let Some(hard) = record.hard {
            self.hard = hard;
        }
        if let Some(segment) = self.segments.back_mut() {
            let newest = record.entries.last().map_or(0, |entry| entry.index);
            let newest = newest.max(record.snapshot.as_ref().map_or(0, |meta| meta.index));
            segment.newest_index = segment.newest_index.max(newest);
            disk.append(segment.file, bytes);
        }
        self.frames.insert(frame, record);
        frame
    }

    /// The newest frame written.
    pub fn newest_frame(&self) -> u64 {
        self.next_frame - 1
    }

    /// Begins to make everything written durable.
    pub fn sync_begin(&mut self, disk: &mut Disk) {
        if let Some(segment) = self.segments.back() {
            disk.sync_begin(segment.file);
        }
    }

    /// Ends a sync that covers the frames up to `frame`. Begins a new segment when the last is full and all of it is durable.
    pub fn sync_end(&mut self, disk: &mut Disk, frame: u64) -> SyncResult {
        let Some(segment) = self.segments.back() else { return SyncResult::Failed };
        if disk.sync_end(segment.file) == SyncResult::Failed {
            return SyncResult::Failed;
        }
        self.durable_frame = frame;
        if frame == self.newest_frame() && frame - segment.first_frame >= SEGMENT_FRAMES {
            self.rotate(disk);
        }
        SyncResult::Durable
    }

    /// Removes segments whose entries all lie at or before `upto`.
    pub fn compact(&mut self, disk: &mut Disk, upto: u64) {
        // The next segment begins with the hard state: until that is durable, the last one must stay.
        let durable = self.durable_frame;
        while self.segments.get(1).is_some_and(|next| next.first_frame <= durable)
            && self.segments.front().is_some_and(|segment| segment.newest_index <= upto)
        {
            // A record that names a snapshot counts through the snapshot's index; the application keeps a newer one.
            if let Some(segment) = self.segments.pop_front() {
                disk.remove(segment.file);
            }
        }
    }

    /// Reads the disk after a crash. `Err`: bytes that were durable are damaged.
    pub fn recover(&mut self, disk: &mut Disk) -> Result<Recovered, ()> {
        let mut found = Recovered::default();
        let mut entries: VecDeque<Entry> = VecDeque::new();
        let (mut expected, mut torn) = (0, false);
        self.segments.clear();
        for file in disk.files().collect::<Vec<_>>() {
            if torn {
                disk.remove(file);
                continue;
            }
            let bytes = disk.read(file);
            let mut segment = Segment { file, first_frame: file, newest_index: 0 };
            if expected != 0 && file != expected {
                // Removals are made durable in any order: what lies before a gap was to go.
                for stale in self.segments.drain(..) {
                    disk.remove(stale.file);
                }
                found = Recovered::default();
                entries.clear();
            }
            expected = file;
            let mut at = 0;
            while let Some(len) = valid_frame(&bytes[at..], expected) {
                let record = self.frames.get(&expected).ok_or(())?;
                fold(record, &mut found, &mut entries, &mut segment);
                found.newest_frame = expected;
                expected += 1;
                at += len;
            }
            if at < bytes.len() {
                torn = true;
                disk.truncate(file, at);
            }
            if at > 0 {
                self.segments.push_back(segment);
            } else {
                disk.remove(file);
            }
        }
        if found.newest_frame < self.durable_frame {
            return Err(());
        }
        disk.sync_directory();
        self.hard = found.hard;
        self.next_frame = found.newest_frame + 1;
        self.frames.split_off(&self.next_frame);
        self.durable_frame = found.newest_frame;
        found.entries = entries.into();
        Ok(found)
    }
}

/// The whole length of the frame at the start of `bytes`, if it is frame `number` and undamaged.
fn valid_frame(bytes: &[u8], number: u64) -> Option<usize> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (frame, rest) = rest.split_first_chunk::<8>()?;
    let (check, rest) = rest.split_first_chunk::<8>()?;
    let len = u32::from_le_bytes(*len) as usize;
    let sound = u64::from_le_bytes(*frame) == number && u64::from_le_bytes(*check) == sum(number, len);
    let body = rest.get(..len).filter(|_| sound)?;
    body.iter().all(|byte| *byte == pattern(number)).then_some(HEADER + len)
}

fn fold(record: &Record, found: &mut Recovered, entries: &mut VecDeque<Entry>, segment: &mut Segment) {
    if let Some(hard) = record.hard {
        found.hard = hard;
    }
    if let Some(meta) = &record.snapshot {
        entries.clear();
        segment.newest_index = segment.newest_index.max(meta.index);
        found.snapshot = Some(meta.clone());
    }
    if let Some(first) = record.entries.first() {
        while entries.back().is_some_and(|last| last.index >= first.index) {
            entries.pop_back();
        }
        entries.extend(record.entries.iter().cloned());
        segment.newest_index = segment.newest_index.max(record.entries.last().map_or(0, |entry| entry.index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Crash, DiskFaults, Random};
    use wrs_raft::Entries;

    fn record(index: u64) -> Record {
        let entry = Entry { term: 1, index, payload: vec![1; 100].into(), ..Entry::default() };
        Record { hard: Some(HardState { term: 1, vote: None, commit: index - 1 }), entries: Entries::from(vec![entry]), ..Record::default() }
    }

    #[test]
    fn what_was_synced_is_recovered_and_nothing_with_a_hole() {
        for seed in 0..300 {
            let mut disk = Disk::new(DiskFaults { torn_ppm: 100_000, ..DiskFaults::none(1) }, Random::new(seed));
            let mut wal = Wal::found(&mut disk, HardState::default());
            for index in 1..=200 {
                let frame = wal.append(&mut disk, record(index));
                if index % 3 == 0 {
                    wal.sync_begin(&mut disk);
                    assert_eq!(wal.sync_end(&mut disk, frame), SyncResult::Durable);
                }
                if index == 150 {
                    wal.compact(&mut disk, 70);
                }
            }
            disk.crash(if seed % 2 == 0 { Crash::Sectors } else { Crash::Prefix });
            let found = wal.recover(&mut disk).unwrap();
            let last = found.entries.last().unwrap().index;
            assert!((198..=200).contains(&last), "{last}");
            assert_eq!(found.hard.commit, last - 1);
            assert!(found.entries[0].index <= 71);
            assert!(found.entries.windows(2).all(|pair| pair[0].index + 1 == pair[1].index));
        }
    }

    #[test]
    fn rot_in_durable_bytes_is_never_taken_for_a_torn_tail() {
        for seed in 0..200 {
            let mut disk = Disk::new(DiskFaults::none(1), Random::new(seed));
            let mut wal = Wal::found(&mut disk, HardState::default());
            for index in 1..=60 {
                let frame = wal.append(&mut disk, record(index));
                wal.sync_begin(&mut disk);
                wal.sync_end(&mut disk, frame);
            }
            let file = disk.files().next().unwrap();
            disk.rot(file).unwrap();
            disk.crash(Crash::LoseAll);
            assert!(wal.recover(&mut disk).is_err());
        }
    }
}

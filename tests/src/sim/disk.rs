//! A disk: files of bytes whose unsynced writes may be lost by sector, torn, late, failing, and whose synced bytes may rot.
//!
//! What POSIX promises and no more: a write is visible at once and durable after a sync that began after it has ended well.
//! Creating and removing a file is durable only after [`Disk::sync_directory`]. A failed sync is terminal for what it was to
//! make durable: nobody may know what reached the disk (study id D3). Like the network, the disk never schedules: a sync is
//! begun, its caller lets [`Disk::sync_delay`] pass, and ends it.

use std::collections::BTreeMap;

use super::Random;

/// The name of a file: its number.
pub type FileId = u64;

/// How a disk fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFaults {
    /// The unit that is written as a whole or not at all, in bytes; above 0.
    pub sector_bytes: usize,
    /// The shortest sync, nanoseconds.
    pub sync_min: u64,
    /// The mean of what comes on top.
    pub sync_mean: u64,
    /// Slow syncs, in parts per million: up to `slow_max`.
    pub slow_ppm: u32,
    /// The longest of those, nanoseconds.
    pub slow_max: u64,
    /// Syncs that fail, in parts per million.
    pub fail_ppm: u32,
    /// Sectors that are torn in a crash rather than kept or lost, in parts per million.
    pub torn_ppm: u32,
}

impl DiskFaults {
    /// A disk that loses what was not synced, and nothing else.
    #[must_use]
    pub fn none(sync: u64) -> DiskFaults {
        DiskFaults {
            sector_bytes: 512,
            sync_min: sync,
            sync_mean: 0,
            slow_ppm: 0,
            slow_max: 0,
            fail_ppm: 0,
            torn_ppm: 0,
        }
    }
}

/// What a crash does to unsynced writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing unsynced survives.
    LoseAll,
    /// Everything survives: only the process died.
    KeepAll,
    /// The first writes survive, one is cut at a byte, the rest is lost.
    Prefix,
    /// Each sector of each write survives by itself, or is torn.
    Sectors,
}

/// How a sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncResult {
    /// Everything written before it began is durable.
    Durable,
    /// It failed: what was written before it began may or may not be durable, and never will be certainly.
    Failed,
}

#[derive(Clone, Debug)]
struct Write {
    offset: usize,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Write>,
    /// How many of `pending` the sync under way covers.
    syncing: usize,
    len: usize,
    /// Whether its directory entry is durable.
    linked: bool,
    /// Whether it was removed, and the removal is not durable.
    removed: bool,
}

impl File {
    fn lay(durable: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if durable.len() < end {
            durable.resize(end, 0);
        }
        durable[offset..end].copy_from_slice(bytes);
    }

    fn settle(&mut self, count: usize) {
        for write in self.pending.drain(..count) {
            File::lay(&mut self.durable, write.offset, &write.bytes);
        }
        self.syncing = 0;
    }
}

/// A disk of one node.
#[derive(Clone, Debug)]
pub struct Disk {
    files: BTreeMap<FileId, File>,
    /// The faults; may be changed at any time.
    pub faults: DiskFaults,
    random: Random,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(faults: DiskFaults, random: Random) -> Disk {
        Disk { files: BTreeMap::new(), faults, random }
    }

    /// The files that are there, ascending.
    pub fn files(&self) -> impl Iterator<Item = FileId> + '_ {
        self.files.iter().filter(|(_, file)| !file.removed).map(|(id, _)| *id)
    }

    /// A file's length in bytes, unsynced writes included; 0 if it is not there.
    #[must_use]
    pub fn len(&self, file: FileId) -> usize {
        self.files.get(&file).map_or(0, |file| file.len)
    }

    /// Whether the disk holds no file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Appends `bytes`; creates the file if need be.
    pub fn append(&mut self, file: FileId, bytes: Vec<u8>) {
        let file = self.files.entry(file).or_default();
        let offset = file.len;
        file.len += bytes.len();
        file.pending.push(Write { offset, bytes });
    }

    /// Writes `bytes` at `offset`; creates the file if need be.
    pub fn write(&mut self, file: FileId, offset: usize, bytes: Vec<u8>) {
        let file = self.files.entry(file).or_default();
        file.len = file.len.max(offset + bytes.len());
        file.pending.push(Write { offset, bytes });
    }

    /// Cuts a file to `len` bytes, durably. For recovery, when nothing is pending.
    pub fn truncate(&mut self, file: FileId, len: usize) {
        if let Some(file) = self.files.get_mut(&file) {
            let count = file.pending.len();
            file.settle(count);
            file.durable.truncate(len);
            file.len = file.durable.len();
        }
    }

    /// Removes a file; durable after [`Disk::sync_directory`].
    pub fn remove(&mut self, file: FileId) {
        if let Some(file) = self.files.get_mut(&file) {
            file.removed = true;
        }
    }

    /// Makes every creation and removal durable.
    pub fn sync_directory(&mut self) {
        self.files.retain(|_, file| !file.removed);
        for file in self.files.values_mut() {
            file.linked = true;
        }
    }

    /// A file's bytes as a reader sees them now.
    #[must_use]
    pub fn read(&self, file: FileId) -> Vec<u8> {
        let Some(file) = self.files.get(&file).filter(|file| !file.removed) else { return Vec::new() };
        let mut bytes = file.durable.clone();
        for write in &file.pending {
            File::lay(&mut bytes, write.offset, &write.bytes);
        }
        bytes
    }

    /// How long a sync that begins now takes, in nanoseconds.
    pub fn sync_delay(&mut self) -> u64 {
        let mut delay = self.faults.sync_min;
        if self.faults.sync_mean > 0 {
            delay += self.random.exponential(self.faults.sync_mean);
        }
        if self.random.chance(self.faults.slow_ppm) {
            delay += self.random.below(self.faults.slow_max);
        }
        delay
    }

    /// Begins a sync of `file`: it covers what is written so far. One at a time for each file.
    pub fn sync_begin(&mut self, file: FileId) {
        if let Some(file) = self.files.get_mut(&file) {
            file.syncing = file.pending.len();
        }
    }

    /// Ends the sync of `file`.
    pub fn sync_end(&mut self, file: FileId) -> SyncResult {
        let failed = self.random.chance(self.faults.fail_ppm);
        let sector = self.faults.sector_bytes;
        let Some(file) = self.files.get_mut(&file) else { return SyncResult::Failed };
        let count = file.syncing.min(file.pending.len());
        if failed {
            // The kernel marks the pages clean whether they were written or not.
            for write in file.pending.drain(..count) {
                keep_sectors(&mut file.durable, &write, sector, 0, &mut self.random);
            }
            file.syncing = 0;
            return SyncResult::Failed;
        }
        file.settle(count);
        SyncResult::Durable
    }

    /// The node crashes: what was not synced survives as `crash` says. Returns the number of unsynced writes.
    pub fn crash(&mut self, crash: Crash) -> usize {
        let (random, faults) = (&mut self.random, &self.faults);
        let mut unsynced = 0;
        self.files.retain(|_, file| file.linked || crash == Crash::KeepAll || random.coin());
        for file in self.files.values_mut() {
            // A removal that was not made durable may come undone, only as long as the file is still there.
            file.linked = true;
            file.removed = file.removed && (crash == Crash::KeepAll || random.coin());
            unsynced += file.pending.len();
            let keep = random.below(file.pending.len() as u64 + 1) as usize;
            for (at, write) in std::mem::take(&mut file.pending).into_iter().enumerate() {
                match crash {
                    Crash::LoseAll => {}
                    Crash::KeepAll => File::lay(&mut file.durable, write.offset, &write.bytes),
                    Crash::Prefix if at < keep => File::lay(&mut file.durable, write.offset, &write.bytes),
                    Crash::Prefix if at == keep => {
                        let cut = random.below(write.bytes.len() as u64 + 1) as usize;
                        File::lay(&mut file.durable, write.offset, &write.bytes[..cut]);
                    }
                    Crash::Prefix => {}
                    Crash::Sectors => {
                        keep_sectors(&mut file.durable, &write, faults.sector_bytes, faults.torn_ppm, random);
                    }
                }
            }
            file.syncing = 0;
            file.len = file.durable.len();
        }
        self.files.retain(|_, file| !file.removed);
        unsynced
    }

    /// Flips one bit of what is durable in `file`. Returns the byte's offset, or `None` if the file is empty.
    pub fn rot(&mut self, file: FileId) -> Option<usize> {
        let file = self.files.get_mut(&file)?;
        let at = self.random.below(file.durable.len() as u64) as usize;
        let byte = file.durable.get_mut(at)?;
        *byte ^= 1 << self.random.below(8);
        Some(at)
    }

    /// Loses everything: the disk is replaced.
    pub fn wipe(&mut self) {
        self.files.clear();
    }
}

/// Lays each sector of a write by itself: kept, lost, or torn at a byte.
fn keep_sectors(durable: &mut Vec<u8>, write: &Write, sector_bytes: usize, torn_ppm: u32, random: &mut Random) {
    let mut from = 0;
    while from < write.bytes.len() {
        let offset = write.offset + from;
        let to = write.bytes.len().min(from + sector_bytes - offset % sector_bytes);
        let piece = &write.bytes[from..to];
        if random.chance(torn_ppm) {
            let cut = random.below(piece.len() as u64 + 1) as usize;
            File::lay(durable, offset, &piece[..cut]);
        } else if random.coin() {
            File::lay(durable, offset, piece);
        }
        from = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(seed: u64) -> Disk {
        let mut disk = Disk::new(DiskFaults { torn_ppm: 100_000, ..DiskFaults::none(1) }, Random::new(seed));
        disk.append(1, vec![1; 700]);
        disk.sync_directory();
        disk.sync_begin(1);
        disk.append(1, vec![2; 700]);
        assert_eq!(disk.sync_end(1), SyncResult::Durable);
        disk
    }

    #[test]
    fn what_a_sync_covered_survives_every_crash() {
        for seed in 0..200 {
            for crash in [Crash::LoseAll, Crash::KeepAll, Crash::Prefix, Crash::Sectors] {
                let mut disk = disk(seed);
                assert_eq!(disk.read(1).len(), 1_400);
                assert_eq!(disk.crash(crash), 1);
                let bytes = disk.read(1);
                assert_eq!(bytes[..700], [1; 700]);
                assert!(bytes[700..].iter().all(|byte| *byte == 2 || *byte == 0));
                match crash {
                    Crash::LoseAll => assert_eq!(bytes.len(), 700),
                    Crash::KeepAll => assert_eq!(bytes.len(), 1_400),
                    Crash::Prefix => assert!(bytes[700..].iter().all(|byte| *byte == 2)),
                    Crash::Sectors => assert!(bytes.len() <= 1_400),
                }
            }
        }
    }

    #[test]
    fn a_later_sector_can_survive_an_earlier_one() {
        let holes = (0..200).filter(|seed| {
            let mut disk = disk(*seed);
            disk.crash(Crash::Sectors);
            disk.read(1).len() > 1_100 && disk.read(1)[700..1_000].contains(&0)
        });
        assert!(holes.count() > 10);
    }

    #[test]
    fn a_failed_sync_makes_nothing_certain() {
        let mut disk = Disk::new(DiskFaults { fail_ppm: 1_000_000, ..DiskFaults::none(1) }, Random::new(4));
        disk.append(1, vec![7; 5_000]);
        disk.sync_directory();
        disk.sync_begin(1);
        assert_eq!(disk.sync_end(1), SyncResult::Failed);
        assert!(disk.read(1).contains(&0) || disk.read(1).len() < 5_000);
    }

    #[test]
    fn a_file_without_a_synced_directory_may_vanish() {
        let vanished = (0..100).filter(|seed| {
            let mut disk = Disk::new(DiskFaults::none(1), Random::new(*seed));
            disk.append(9, vec![1]);
            disk.sync_begin(9);
            disk.sync_end(9);
            disk.crash(Crash::LoseAll);
            disk.is_empty()
        });
        assert!((20..80).contains(&vanished.count()));
    }

    #[test]
    fn rot_flips_one_bit() {
        let mut disk = disk(1);
        let before = disk.read(1);
        let at = disk.rot(1).unwrap();
        let after = disk.read(1);
        let flipped: u32 = before.iter().zip(&after).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!(flipped, 1);
        assert_ne!(before[at], after[at]);
    }
}

//! The data directory of one node: what an adapter's disk thread makes of [`Store`], over a disk that loses what was not
//! synced.
//!
//! Things are done in order, one at a time, each takes its time. A file that is replaced is the old one or the new one
//! after a crash, nothing between. The first thing that cannot be done is told, and ends it.

use std::collections::VecDeque;

use bytes::Bytes;
use wrs_core::action::{FileName, Store};

use crate::sim::{Crash, Disk, DiskFaults, MICRO, MILLI, Random};

/// What the disk has to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// All up to this record is durable.
    Persisted(u64),
    /// No more is.
    Failed(String),
}

/// A data directory.
#[derive(Debug)]
pub struct Directory {
    disk: Disk,
    queue: VecDeque<Store>,
    busy: bool,
    /// It takes no more bytes.
    pub full: bool,
    failed: bool,
    random: Random,
}

fn number_of(file: FileName) -> u64 {
    match file {
        FileName::Identity => 0,
        FileName::Segment(number) => 2 * number + 1,
        FileName::Snapshot(number) => 2 * number + 2,
    }
}

fn name_of(number: u64) -> FileName {
    match number {
        0 => FileName::Identity,
        odd if odd % 2 == 1 => FileName::Segment(odd / 2),
        even => FileName::Snapshot(even / 2 - 1),
    }
}

impl Directory {
    /// An empty directory.
    pub fn new(random: Random) -> Directory {
        let mut own = random.branch(1);
        let sync_mean = *own.pick(&[100 * MICRO, 2 * MILLI, 10 * MILLI]).unwrap_or(&MILLI);
        let faults = DiskFaults {
            sync_mean,
            slow_ppm: 5_000,
            slow_max: 300 * MILLI,
            torn_ppm: 200_000,
            ..DiskFaults::none(50 * MICRO)
        };
        Directory {
            disk: Disk::new(faults, random.branch(2)),
            queue: VecDeque::new(),
            busy: false,
            full: false,
            failed: false,
            random: own,
        }
    }

    /// What a node finds when it starts, in the order of the names.
    pub fn stored(&self) -> Vec<(FileName, Bytes)> {
        let mut files: Vec<(FileName, Bytes)> =
            self.disk.files().map(|file| (name_of(file), Bytes::from(self.disk.read(file)))).collect();
        files.sort_by_key(|(name, _)| *name);
        files
    }

    /// One more thing to do. Says how long the disk will be busy now, if it was not.
    pub fn store(&mut self, store: Store) -> Option<u64> {
        self.queue.push_back(store);
        self.begin()
    }

    fn begin(&mut self) -> Option<u64> {
        if self.busy || self.failed || self.queue.is_empty() {
            return None;
        }
        self.busy = true;
        let durable = |store: &Store| !matches!(store, Store::Append { record: None, .. });
        Some(if durable(&self.queue[0]) { self.disk.sync_delay() } else { 10 * MICRO })
    }

    /// What was under way is done: what is to be told, and how long the next takes.
    pub fn done(&mut self) -> (Option<Told>, Option<u64>) {
        self.busy = false;
        let Some(store) = self.queue.pop_front() else { return (None, None) };
        if self.full && matches!(store, Store::Append { .. } | Store::Replace { .. }) {
            self.failed = true;
            self.queue.clear();
            return (Some(Told::Failed("no space left on device".to_owned())), None);
        }
        let mut told = self.take(store);
        // What waits behind it in the same file becomes durable with it.
        while let Some(Told::Persisted(_)) = told
            && matches!(self.queue.front(), Some(Store::Append { record: Some(_), .. }))
            && self.random.below(4) > 0
        {
            let next = self.queue.pop_front();
            told = next.and_then(|next| self.take(next));
        }
        (told, self.begin())
    }

    fn take(&mut self, store: Store) -> Option<Told> {
        match store {
            Store::Append { file, bytes, record } => {
                self.disk.append(number_of(file), bytes.to_vec());
                record.map(|record| {
                    self.sync();
                    Told::Persisted(record)
                })
            }
            Store::Replace { file, bytes, record } => {
                self.sync();
                self.replace(number_of(file), &bytes);
                record.map(Told::Persisted)
            }
            Store::Truncate { file, length } => {
                self.disk.truncate(number_of(file), usize::try_from(length).unwrap_or(usize::MAX));
                None
            }
            Store::Remove { file } => {
                self.disk.remove(number_of(file));
                if self.random.coin() {
                    self.disk.sync_directory();
                }
                None
            }
        }
    }

    fn sync(&mut self) {
        let files: Vec<u64> = self.disk.files().collect();
        self.disk.sync_directory();
        for file in files {
            self.disk.sync_begin(file);
            self.disk.sync_end(file);
        }
    }

    fn replace(&mut self, file: u64, bytes: &[u8]) {
        self.disk.truncate(file, 0);
        self.disk.append(file, bytes.to_vec());
        self.sync();
    }

    /// The process has ended, or the machine has lost its power: what was not synced may be lost.
    pub fn crash(&mut self, power: bool) {
        if self.busy && self.random.coin() {
            // The thing under way may have reached the disk without anybody being told.
            let first = self.queue.pop_front();
            if let Some(store) = first.filter(|_| !self.full) {
                match store {
                    Store::Append { file, bytes, .. } => self.disk.append(number_of(file), bytes.to_vec()),
                    other => drop(self.take(other)),
                }
            }
        }
        self.queue.clear();
        (self.busy, self.failed) = (false, false);
        let crash = match (power, self.random.below(3)) {
            (false, _) => Crash::KeepAll,
            (true, 0) => Crash::LoseAll,
            (true, 1) => Crash::Prefix,
            (true, _) => Crash::Sectors,
        };
        self.disk.crash(crash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_their_numbers() {
        for name in [
            FileName::Identity,
            FileName::Segment(0),
            FileName::Segment(7),
            FileName::Snapshot(0),
            FileName::Snapshot(9),
        ] {
            assert_eq!(name_of(number_of(name)), name);
        }
    }

    #[test]
    fn what_was_told_to_be_durable_survives_a_power_cut() {
        for seed in 0..200 {
            let mut directory = Directory::new(Random::new(seed));
            let append = |byte: u8, record| Store::Append {
                file: FileName::Segment(1),
                bytes: Bytes::from(vec![byte; 100]),
                record,
            };
            directory.store(append(1, None));
            directory.store(append(2, Some(1)));
            let mut told = None;
            while told.is_none() {
                told = directory.done().0;
            }
            directory.store(append(3, Some(2)));
            directory.crash(true);
            let stored = directory.stored();
            let expected = [vec![1; 100], vec![2; 100]].concat();
            assert_eq!((told, &stored[0].1[..200]), (Some(Told::Persisted(1)), &expected[..]));
        }
    }
}

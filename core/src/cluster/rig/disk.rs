//! What stands for a node's data directory in the rig.

use std::collections::{BTreeMap, VecDeque};

use crate::action::{FileName, Store};
use crate::random::Random;

/// A data directory, and what is on its way there.
#[derive(Default)]
pub(in crate::cluster) struct Disk {
    pub(in crate::cluster) files: BTreeMap<FileName, Vec<u8>>,
    pub(super) queue: VecDeque<Store>,
    pub(in crate::cluster) full: bool,
}

impl Disk {
    /// Does the first thing: the number to tell.
    pub(super) fn next(&mut self) -> Option<u64> {
        match self.queue.pop_front()? {
            Store::Append { file, bytes, record } => {
                self.files.entry(file).or_default().extend_from_slice(&bytes);
                record
            }
            Store::Replace { file, bytes, record } => {
                self.files.insert(file, bytes.to_vec());
                record
            }
            Store::Truncate { file, length } => {
                self.files.get_mut(&file).unwrap().truncate(length as usize);
                None
            }
            Store::Remove { file } => {
                self.files.remove(&file);
                None
            }
        }
    }

    /// A crash: some of what is on its way is done, and the next piece of the log is torn.
    pub(super) fn crash(&mut self, random: &mut Random) {
        for _ in 0..random.below(self.queue.len() as u64 + 1) {
            self.next();
        }
        if let Some(Store::Append { file, bytes, .. }) = self.queue.front() {
            let length = random.below(bytes.len() as u64 + 1) as usize;
            self.files.entry(*file).or_default().extend_from_slice(&bytes[..length]);
        }
        self.queue.clear();
    }
}

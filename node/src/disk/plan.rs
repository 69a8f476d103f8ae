//! What is done with a batch of things to store, as steps: pure, so that the rules can be read and tested here.
//!
//! Rules guarded: things are done in order; a record is told only when it and all before it are durable; appends that wait
//! together are written together and made durable together.

use bytes::Bytes;
use wrs_core::action::{FileName, Store};

/// One step on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write at the end of a file.
    Append {
        /// Which.
        file: FileName,
        /// What, piece after piece.
        pieces: Vec<Bytes>,
    },
    /// Make durable what was appended to a file.
    Sync(FileName),
    /// Put a whole file in the place of another, durably.
    Replace {
        /// Which.
        file: FileName,
        /// What.
        bytes: Bytes,
    },
    /// Cut a file, durably.
    Truncate {
        /// Which.
        file: FileName,
        /// Its new length in bytes.
        length: u64,
    },
    /// Delete a file.
    Remove(FileName),
    /// Make durable which files there are.
    SyncNames,
    /// Say that everything up to this record is durable.
    Tell(u64),
}

/// The steps that a batch takes. After the last one nothing is left that is not durable.
pub fn plan(batch: impl IntoIterator<Item = Store>) -> Vec<Step> {
    let mut plan = Plan::default();
    for store in batch {
        plan.add(store);
    }
    plan.settle();
    plan.steps
}

#[derive(Default)]
struct Plan {
    steps: Vec<Step>,
    /// What the last appends went to.
    appended: Option<FileName>,
    removed: bool,
    /// The highest record that has not been told.
    owed: Option<u64>,
}

impl Plan {
    fn add(&mut self, store: Store) {
        match store {
            Store::Append { file, bytes, record } => {
                match self.steps.last_mut() {
                    Some(Step::Append { file: last, pieces }) if *last == file => pieces.push(bytes),
                    _ => {
                        self.settle();
                        self.steps.push(Step::Append { file, pieces: vec![bytes] });
                    }
                }
                self.appended = Some(file);
                self.owed = self.owed.max(record);
            }
            Store::Replace { file, bytes, record } => {
                self.settle();
                self.steps.push(Step::Replace { file, bytes });
                self.owed = record;
                self.settle();
            }
            Store::Truncate { file, length } => {
                self.settle();
                self.steps.push(Step::Truncate { file, length });
            }
            Store::Remove { file } => {
                if !self.removed {
                    self.settle();
                }
                self.steps.push(Step::Remove(file));
                self.removed = true;
            }
        }
    }

    /// Makes durable what is not, and tells of it.
    fn settle(&mut self) {
        if let Some(file) = self.appended.take() {
            self.steps.push(Step::Sync(file));
        }
        if std::mem::take(&mut self.removed) {
            self.steps.push(Step::SyncNames);
        }
        if let Some(record) = self.owed.take() {
            self.steps.push(Step::Tell(record));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: FileName = FileName::Segment(1);
    const NEXT: FileName = FileName::Segment(2);
    const STATE: FileName = FileName::Snapshot(1);

    fn append(file: FileName, byte: u8, record: Option<u64>) -> Store {
        Store::Append { file, bytes: piece(byte), record }
    }

    fn piece(byte: u8) -> Bytes {
        Bytes::copy_from_slice(&[byte])
    }

    fn appended(file: FileName, bytes: &[u8]) -> Step {
        Step::Append { file, pieces: bytes.iter().copied().map(piece).collect() }
    }

    #[test]
    fn appends_that_wait_together_are_one_write_one_sync_and_one_word() {
        let batch = (1..=9).map(|number| append(LOG, number as u8, Some(number)));
        let bytes: Vec<u8> = (1..=9).collect();
        assert_eq!(plan(batch), [appended(LOG, &bytes), Step::Sync(LOG), Step::Tell(9)]);
    }

    #[test]
    fn an_append_without_a_record_is_durable_all_the_same_but_nobody_is_told() {
        assert_eq!(plan([append(LOG, 1, None)]), [appended(LOG, &[1]), Step::Sync(LOG)]);
        let last_without = plan([append(LOG, 1, Some(5)), append(LOG, 2, None)]);
        assert_eq!(last_without, [appended(LOG, &[1, 2]), Step::Sync(LOG), Step::Tell(5)]);
    }

    #[test]
    fn one_file_is_durable_before_the_next_is_touched() {
        let steps = plan([append(LOG, 1, Some(1)), append(NEXT, 2, Some(2))]);
        let next = [appended(NEXT, &[2]), Step::Sync(NEXT), Step::Tell(2)];
        assert_eq!(steps, [vec![appended(LOG, &[1]), Step::Sync(LOG), Step::Tell(1)], next.to_vec()].concat());
    }

    #[test]
    fn what_was_appended_is_durable_before_files_are_replaced_cut_or_removed() {
        let others = [
            (
                Store::Replace { file: STATE, bytes: piece(7), record: Some(4) },
                vec![Step::Replace { file: STATE, bytes: piece(7) }, Step::Tell(4)],
            ),
            (
                Store::Replace { file: STATE, bytes: piece(7), record: None },
                vec![Step::Replace { file: STATE, bytes: piece(7) }],
            ),
            (Store::Truncate { file: LOG, length: 8 }, vec![Step::Truncate { file: LOG, length: 8 }]),
            (Store::Remove { file: NEXT }, vec![Step::Remove(NEXT), Step::SyncNames]),
        ];
        for (store, step) in others {
            let first = vec![appended(LOG, &[1]), Step::Sync(LOG), Step::Tell(3)];
            let last = vec![appended(LOG, &[2]), Step::Sync(LOG), Step::Tell(9)];
            let steps = plan([append(LOG, 1, Some(3)), store, append(LOG, 2, Some(9))]);
            assert_eq!(steps, [first, step, last].concat());
        }
    }

    #[test]
    fn files_that_are_removed_together_are_gone_for_good_together() {
        let steps = plan([Store::Remove { file: LOG }, Store::Remove { file: NEXT }]);
        assert_eq!(steps, [Step::Remove(LOG), Step::Remove(NEXT), Step::SyncNames]);
    }

    #[test]
    fn nothing_takes_no_step() {
        assert_eq!(plan([]), []);
    }
}

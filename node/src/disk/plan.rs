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
    use std::collections::BTreeMap;

    use proptest::prelude::*;

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

    /// The files that there are, and what is in them.
    type Files = BTreeMap<FileName, Vec<u8>>;

    /// Does one thing as it is asked for.
    fn store(files: &mut Files, store: &Store) {
        match store {
            Store::Append { file, bytes, .. } => files.entry(*file).or_default().extend_from_slice(bytes),
            Store::Replace { file, bytes, .. } => drop(files.insert(*file, bytes.to_vec())),
            Store::Truncate { file, length } => files.entry(*file).or_default().truncate(*length as usize),
            Store::Remove { file } => drop(files.remove(file)),
        }
    }

    /// A disk, and what would be left of it if the power went now.
    #[derive(Default)]
    struct Power {
        now: Files,
        durable: Files,
    }

    impl Power {
        fn take(&mut self, step: &Step) {
            let mut both = |change: &dyn Fn(&mut Files)| {
                change(&mut self.now);
                change(&mut self.durable);
            };
            match step {
                Step::Append { file, pieces } => self.now.entry(*file).or_default().extend(pieces.concat()),
                Step::Sync(file) => drop(self.durable.insert(*file, self.now[file].clone())),
                Step::Replace { file, bytes } => both(&|files| drop(files.insert(*file, bytes.to_vec()))),
                Step::Truncate { file, length } => {
                    both(&|files| files.entry(*file).or_default().truncate(*length as usize));
                }
                Step::Remove(file) => drop(self.now.remove(file)),
                Step::SyncNames => self.durable.retain(|file, _| self.now.contains_key(file)),
                Step::Tell(_) => {}
            }
        }
    }

    fn some_store() -> impl Strategy<Value = Store> {
        let file = prop_oneof![Just(LOG), Just(NEXT), Just(STATE)];
        let bytes = proptest::collection::vec(any::<u8>(), 0..4).prop_map(Bytes::from);
        (file, bytes, any::<bool>(), 0..10u8, 0..8u64).prop_map(|(file, bytes, told, kind, length)| {
            // Numbered when it stands in its place.
            let record = told.then_some(0);
            match kind {
                0..6 => Store::Append { file, bytes, record },
                6..8 => Store::Replace { file, bytes, record },
                8 => Store::Truncate { file, length },
                _ => Store::Remove { file },
            }
        })
    }

    proptest! {
        /// Whenever a record is told, everything up to it would survive; in the end everything would.
        #[test]
        fn what_is_told_is_durable(stores in proptest::collection::vec(some_store(), 0..40)) {
            let numbered = (1..).zip(stores).map(|(number, mut store)| {
                if let Store::Append { record: Some(record), .. } | Store::Replace { record: Some(record), .. } = &mut store {
                    *record = number;
                }
                (number, store)
            });
            let stores: Vec<(u64, Store)> = numbered.collect();
            let mut power = Power::default();
            let (mut asked, mut done) = (Files::new(), stores.iter());
            let mut told = 0;
            for step in plan(stores.iter().map(|(_, store)| store.clone())) {
                power.take(&step);
                let Step::Tell(record) = step else { continue };
                prop_assert!(record > told, "{record} after {told}");
                told = record;
                for (number, next) in done.by_ref() {
                    store(&mut asked, next);
                    if *number == record {
                        break;
                    }
                }
                // What comes behind the record may have been done too, but only at the end of a file.
                for (file, bytes) in &asked {
                    prop_assert!(power.durable.get(file).is_some_and(|durable| durable.starts_with(bytes)), "{file}");
                }
            }
            done.for_each(|(_, next)| store(&mut asked, next));
            prop_assert_eq!(&power.now, &asked);
            prop_assert_eq!(&power.durable, &asked);
            let last = stores.iter().filter_map(|(_, store)| match store {
                Store::Append { record, .. } | Store::Replace { record, .. } => *record,
                Store::Truncate { .. } | Store::Remove { .. } => None,
            });
            prop_assert_eq!(told, last.max().unwrap_or(0), "the last record is told");
        }
    }
}

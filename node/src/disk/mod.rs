//! The disk thread: keeps in the data directory what shard 0 says, in order, and tells what is durable.
//!
//! It takes all that waits as one batch (`plan`), so that the slower the disk is, the more each `fdatasync` is worth. The
//! first error is told and ends it: what the disk holds is unknown then, and asking again would not make it known.
//!
//! The queue has no bound of its own: shard 0 stores no more than Raft has under way without an answer from the disk
//! (`uncommitted_bytes_max` on a leader, `append_bytes_max` times `inflight_messages_max` from one) and one snapshot.

mod directory;
mod files;
mod plan;

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use wrs_core::action::Store;
use wrs_core::input::Input;

pub use directory::{Directory, Opened, STORED_BYTES_MAX};
use plan::{Step, plan};

use crate::news::Tell;

/// Things that are done as one batch.
const BATCH_MAX: usize = 1_024;
/// Bytes after which a batch takes no more.
const BATCH_BYTES: usize = 4 << 20;

/// The thread and the way to it. Dropping it waits until all that it was given is done.
#[derive(Debug)]
pub struct Disk {
    queue: Option<Sender<Store>>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Starts the thread; it tells `Persisted` and, once at most, `PersistFailed`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(directory: Directory, tell: Tell) -> io::Result<Self> {
        let (queue, stores) = channel();
        let run = move || keep(directory, &stores, &tell);
        let thread = thread::Builder::new().name("disk".to_owned()).spawn(run)?;
        Ok(Disk { queue: Some(queue), thread: Some(thread) })
    }

    /// Keeps something, after what was given before.
    pub fn store(&self, store: Store) {
        if let Some(queue) = &self.queue {
            // An error means that something could not be kept, which has been told.
            let _ = queue.send(store);
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic, and if it did nobody would be left to tell.
            let _ = thread.join();
        }
    }
}

fn keep(mut directory: Directory, stores: &Receiver<Store>, tell: &Tell) {
    while let Ok(first) = stores.recv() {
        for step in plan(batch(first, stores)) {
            if let Step::Tell(record) = step {
                tell.fact(Input::Persisted { record });
            } else if let Err(why) = directory.take(&step) {
                return tell.fact(Input::PersistFailed { why });
            }
        }
    }
}

/// The first and what waits behind it.
fn batch(first: Store, stores: &Receiver<Store>) -> Vec<Store> {
    let mut bytes = size(&first);
    let mut batch = vec![first];
    while batch.len() < BATCH_MAX && bytes < BATCH_BYTES {
        let Ok(next) = stores.try_recv() else { break };
        bytes += size(&next);
        batch.push(next);
    }
    batch
}

fn size(store: &Store) -> usize {
    match store {
        Store::Append { bytes, .. } | Store::Replace { bytes, .. } => bytes.len(),
        Store::Truncate { .. } | Store::Remove { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wrs_core::action::FileName;

    use super::files::tests::{Broken, Call};
    use super::*;
    use crate::news::News;
    use crate::trial::Scratch;

    const LOG: FileName = FileName::Segment(1);
    /// Bytes of each append of these tests; no disk's unit is a multiple of it.
    const ENTRY: usize = 63;

    /// So many appends, as they wait in the queue of a disk that is busy.
    fn waiting(records: u64) -> Receiver<Store> {
        let (queue, stores) = channel();
        for record in 1..=records {
            let bytes = Bytes::from(vec![record as u8; ENTRY]);
            queue.send(Store::Append { file: LOG, bytes, record: Some(record) }).unwrap();
        }
        stores
    }

    /// What is told while all of it is done: the records, and why no more.
    fn told(scratch: &Scratch, stores: &Receiver<Store>) -> (Vec<u64>, Vec<String>) {
        told_by(Directory::open(scratch.path()).unwrap().directory, stores)
    }

    fn told_by(directory: Directory, stores: &Receiver<Store>) -> (Vec<u64>, Vec<String>) {
        let (sender, news) = channel();
        let tell = Tell::new(move |news| drop(sender.send(news)));
        keep(directory, stores, &tell);
        drop(tell);
        let (mut records, mut failures) = (Vec::new(), Vec::new());
        for news in news {
            match news {
                News::Fact(Input::Persisted { record }) => records.push(record),
                News::Fact(Input::PersistFailed { why }) => failures.push(why),
                other => panic!("{other:?}"),
            }
        }
        (records, failures)
    }

    fn log(scratch: &Scratch) -> Vec<u8> {
        std::fs::read(scratch.path().join(LOG.to_string())).unwrap()
    }

    #[test]
    fn what_waits_together_is_made_durable_together() {
        let scratch = Scratch::new();
        let many = BATCH_MAX as u64 * 2 + 1;
        let (records, failures) = told(&scratch, &waiting(many));
        // One word is one fdatasync.
        assert_eq!((records, failures), (vec![many / 2, many - 1, many], vec![]));
        let expected: Vec<u8> = (1..=many).flat_map(|record| vec![record as u8; ENTRY]).collect();
        assert!(log(&scratch) == expected);
    }

    #[test]
    fn a_batch_has_so_many_bytes() {
        let scratch = Scratch::new();
        let (queue, stores) = channel();
        for record in 1..=3 {
            let bytes = Bytes::from(vec![0; BATCH_BYTES]);
            queue.send(Store::Append { file: LOG, bytes, record: Some(record) }).unwrap();
        }
        drop(queue);
        assert_eq!(told(&scratch, &stores), (vec![1, 2, 3], vec![]));
    }

    #[test]
    fn all_that_was_given_is_done_before_it_is_dropped() {
        let scratch = Scratch::new();
        let directory = Directory::open(scratch.path()).unwrap().directory;
        let disk = Disk::start(directory, Tell::new(drop)).unwrap();
        waiting(500).iter().for_each(|store| disk.store(store));
        drop(disk);
        assert_eq!(log(&scratch).len(), 500 * ENTRY);
    }

    /// Whatever call fails and whenever, it is told once, nothing is told behind it, the system is asked for nothing more, and
    /// what was told is there at the next start.
    #[test]
    fn a_disk_that_breaks_is_told_once_and_keeps_what_was_told() {
        let stores = || {
            let (queue, stores) = channel();
            for round in 0..3_u64 {
                let (segment, older) = (FileName::Segment(round + 2), FileName::Segment(round + 1));
                let entry = |byte: u8| Bytes::from(vec![byte; ENTRY]);
                for (at, byte) in [(1, 1), (2, 2)] {
                    let record = Some(round * 10 + at);
                    queue.send(Store::Append { file: segment, bytes: entry(byte), record }).unwrap();
                }
                let (file, record) = (FileName::Snapshot(round), Some(round * 10 + 3));
                queue.send(Store::Replace { file, bytes: entry(3), record }).unwrap();
                queue.send(Store::Truncate { file: segment, length: 2 * ENTRY as u64 }).unwrap();
                queue.send(Store::Remove { file: older }).unwrap();
            }
            stores
        };
        let mut failures = 0;
        for call in Call::ALL {
            for nth in 1.. {
                let (scratch, broken) = (Scratch::new(), Broken::at(call, nth));
                let directory = Directory::open_with(scratch.path(), Box::new(broken.clone())).unwrap().directory;
                let (records, told) = told_by(directory, &stores());
                if !broken.has_failed() {
                    assert_eq!((records.last(), told.len()), (Some(&23), 0), "{call:?} {nth}");
                    break;
                }
                failures += 1;
                assert!(told.len() == 1 && told[0].contains("the disk is broken"), "{call:?} {nth}: {told:?}");
                assert!(broken.was_last(), "{call:?} {nth}: {:?}", broken.asked);
                assert!(records.is_sorted() && records.iter().all(|record| *record <= 23));
                let last = records.last().copied().unwrap_or(0);
                let length = |file: FileName| std::fs::metadata(scratch.path().join(file.to_string())).map(|m| m.len());
                let (round, at) = (last / 10, last % 10);
                if at >= 2 {
                    let kept = length(FileName::Segment(round + 2));
                    assert!(kept.as_ref().is_ok_and(|kept| *kept >= 2 * ENTRY as u64), "{call:?} {nth}: {kept:?}");
                }
                if at == 3 {
                    let kept = length(FileName::Snapshot(round));
                    assert!(kept.as_ref().is_ok_and(|kept| *kept == ENTRY as u64), "{call:?} {nth}: {kept:?}");
                }
            }
        }
        assert!(failures >= 30, "{failures}");
    }

    /// The files of this process have a limit: beyond it a write fails, as on a full disk, in the middle of a record.
    #[cfg(unix)]
    #[test]
    fn a_disk_that_becomes_full_is_told_once_and_keeps_what_was_told() {
        const TEST: &str = "disk::tests::a_disk_that_becomes_full_is_told_once_and_keeps_what_was_told";
        const FULL: &str = "WRS_TRIAL_FULL";
        if std::env::var_os(FULL).is_none() {
            // In units of 512 or 1,024 bytes: a few batches.
            let limit = "trap '' XFSZ && ulimit -f 300 && exec \"$0\" \"$@\"";
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", limit]).arg(std::env::current_exe().unwrap()).args(["--exact", TEST]).env(FULL, "yes");
            let output = shell.output().unwrap();
            return assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        let scratch = Scratch::new();
        let (records, failures) = told(&scratch, &waiting(1_000_000 / ENTRY as u64));
        assert!(failures.len() == 1 && failures[0].contains(&LOG.to_string()), "{failures:?}");
        let last = *records.last().expect("some batches have room");
        let kept = log(&scratch);
        assert!(kept.len() as u64 >= last * ENTRY as u64, "{} bytes, and {last} records were told", kept.len());
        assert!(kept.chunks(ENTRY).zip(1u64..).all(|(entry, record)| entry.iter().all(|byte| *byte == record as u8)));
    }
}

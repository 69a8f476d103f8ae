//! Records as their real bytes on the faulty disk, and the real recovery from them.
//!
//! This is a driver's whole duty towards [`wrs_raft::record`]: append frames, begin a segment with a checkpoint now and then,
//! delete older segments once that is durable, truncate after a crash. At most two segments stand at a time.

use bytes::{Bytes, BytesMut};
use wrs_raft::record::{RecoverError, Recovered, SEGMENT_HEADER_BYTES, Segment, recover};
use wrs_raft::{ClusterId, Incarnation, NodeId, Record, RecordId};

use crate::sim::{Disk, FileId, SyncResult};

/// Records in a segment before the next one begins.
const SEGMENT_RECORDS: u64 = 40;

/// The log of one node on its disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Wal {
    segment: Segment,
    end: u64,
    records: u64,
    newest: RecordId,
    /// Records up to here are durable.
    pub(super) durable: RecordId,
    /// The segment before this one, until it is deleted.
    old: Option<FileId>,
    /// The checkpoint that must be durable before the old segment may go.
    checkpoint: Option<RecordId>,
    /// A deletion is not durable yet.
    deleted: bool,
}

impl Wal {
    /// The log of a disk that is written for the first time. The header is durable at once.
    pub(super) fn found(disk: &mut Disk, node: u64, incarnation: u64) -> Wal {
        let segment = Segment {
            cluster: ClusterId(0),
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
            number: 1,
            salt: node,
        };
        let mut wal = Wal { segment, ..Wal::default() };
        wal.head(disk);
        wal.sync_now(disk);
        wal
    }

    /// Makes everything written durable, without a fault: for what happens before the run.
    pub(super) fn sync_now(&mut self, disk: &mut Disk) {
        let rate = std::mem::replace(&mut disk.faults.fail_ppm, 0);
        self.sync_begin(disk);
        self.sync_end(disk, self.newest);
        disk.faults.fail_ppm = rate;
    }

    fn head(&mut self, disk: &mut Disk) {
        disk.append(self.segment.number, self.segment.encode().to_vec());
        disk.sync_directory();
        self.end = SEGMENT_HEADER_BYTES as u64;
        self.records = 0;
    }

    /// Appends a record.
    pub(super) fn append(&mut self, disk: &mut Disk, record: &Record) {
        let mut frame = BytesMut::new();
        self.segment.encode_record(self.end, self.durable, record, &mut frame);
        self.end += frame.len() as u64;
        self.records += 1;
        self.newest = record.id;
        disk.append(self.segment.number, frame.to_vec());
    }

    /// Whether a new segment should begin.
    pub(super) fn is_full(&self) -> bool {
        self.records >= SEGMENT_RECORDS && self.old.is_none() && !self.deleted
    }

    /// Begins a new segment with a checkpoint.
    pub(super) fn begin_segment(&mut self, disk: &mut Disk, checkpoint: &Record, salt: u64) {
        self.old = Some(self.segment.number);
        self.segment = Segment { number: self.segment.number + 1, salt, ..self.segment };
        self.head(disk);
        self.append(disk, checkpoint);
        self.checkpoint = Some(checkpoint.id);
    }

    /// Begins to make everything written durable. Returns the newest record that this covers.
    pub(super) fn sync_begin(&mut self, disk: &mut Disk) -> RecordId {
        if let Some(old) = self.old {
            disk.sync_begin(old);
        }
        disk.sync_begin(self.segment.number);
        self.newest
    }

    /// Ends a sync that covers the records up to `record`.
    pub(super) fn sync_end(&mut self, disk: &mut Disk, record: RecordId) -> SyncResult {
        if std::mem::take(&mut self.deleted) {
            disk.sync_directory();
        }
        if self.old.is_some_and(|old| disk.sync_end(old) == SyncResult::Failed)
            || disk.sync_end(self.segment.number) == SyncResult::Failed
        {
            return SyncResult::Failed;
        }
        self.durable = record;
        SyncResult::Durable
    }

    /// Deletes the old segment if the checkpoint that stands for it became durable in a sync that began after it was written.
    pub(super) fn retire(&mut self, disk: &mut Disk, covered: bool) {
        if covered
            && self.checkpoint.take().is_some()
            && let Some(old) = self.old.take()
        {
            disk.remove(old);
            self.deleted = true;
        }
    }

    /// The number of the newest segment: a sync covers its checkpoint if this has not changed since the sync began.
    pub(super) fn number(&self) -> u64 {
        self.segment.number
    }

    /// Reads the disk after a crash, and cuts it to what recovery says.
    pub(super) fn recover(&mut self, disk: &mut Disk) -> Result<Recovered, RecoverError> {
        let files: Vec<FileId> = disk.files().collect();
        let segments: Vec<Bytes> = files.iter().map(|file| Bytes::from(disk.read(*file))).collect();
        let found = recover(&segments, self.durable)?;
        for (at, file) in files.iter().enumerate() {
            match at.cmp(&found.at) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => disk.truncate(*file, found.end as usize),
                std::cmp::Ordering::Greater => disk.remove(*file),
            }
        }
        disk.sync_directory();
        let old = files.get(..found.at).and_then(<[FileId]>::last).copied();
        *self = Wal {
            segment: found.segment,
            end: found.end,
            records: 0,
            newest: found.boot.record,
            durable: found.boot.record,
            old,
            // The segment begins with a checkpoint, or there is no older one.
            checkpoint: old.map(|_| found.boot.record),
            deleted: false,
        };
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Crash, DiskFaults, Random};
    use wrs_raft::{Entries, Entry, HardState, SnapshotMeta};

    fn record(index: u64) -> Record {
        let entry = Entry { term: 1, index, payload: vec![1; 100].into(), ..Entry::default() };
        let hard = HardState { term: 1, vote: None, commit: index - 1 };
        Record { id: RecordId(index), hard: Some(hard), entries: Entries::from(vec![entry]), ..Record::default() }
    }

    fn checkpoint(index: u64) -> Record {
        let meta = SnapshotMeta { index, term: 1, ..SnapshotMeta::default() };
        let hard = HardState { term: 1, vote: None, commit: index };
        let (hard, snapshot) = (Some(hard), Some(Box::new(meta)));
        Record { id: RecordId(index), hard, snapshot, checkpoint: true, ..Record::default() }
    }

    fn written(seed: u64) -> (Disk, Wal) {
        let mut disk = Disk::new(DiskFaults { torn_ppm: 100_000, ..DiskFaults::none(1) }, Random::new(seed));
        let mut wal = Wal::found(&mut disk, 1, 7);
        for index in 1..=200 {
            wal.append(&mut disk, &record(index));
            if wal.is_full() {
                wal.begin_segment(&mut disk, &checkpoint(index), index);
            }
            if index % 3 == 0 {
                let covered = wal.sync_begin(&mut disk);
                assert_eq!(wal.sync_end(&mut disk, covered), SyncResult::Durable);
                wal.retire(&mut disk, true);
            }
        }
        (disk, wal)
    }

    #[test]
    fn what_was_synced_is_recovered_and_nothing_with_a_hole() {
        for seed in 0..300 {
            let (mut disk, mut wal) = written(seed);
            disk.crash(if seed % 2 == 0 { Crash::Sectors } else { Crash::Prefix });
            let found = wal.recover(&mut disk).unwrap();
            let last = found.boot.entries.last().map_or(found.boot.snapshot.index, |entry| entry.index);
            assert!((198..=200).contains(&last), "{last}");
            assert!(found.boot.snapshot.index > 100);
        }
    }

    #[test]
    fn rot_in_durable_bytes_is_never_taken_for_a_torn_tail() {
        for seed in 0..200 {
            let (mut disk, mut wal) = written(seed);
            disk.crash(Crash::LoseAll);
            let file = disk.files().last().unwrap();
            disk.rot(file).unwrap();
            assert!(wal.recover(&mut disk).is_err(), "seed {seed}");
        }
    }
}

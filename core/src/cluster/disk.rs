//! The data directory: who the node is, its log in segments, its newest snapshot; and how a node comes back from them.
//!
//! What is stored is done in order, and each thing is whole or not there after a crash, but for the tail of the log, which
//! [`wrs_raft::record`] tells from corruption. So a segment begins with all that is needed of those before it, a snapshot is
//! there before the log names it, and what is no longer needed is removed last. Rule guarded: a node that has forgotten what it
//! promised never goes on under the same name.

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};
use wrs_raft::record::{self, SEGMENT_HEADER_BYTES, Segment};
use wrs_raft::snapshot::SnapshotId;
use wrs_raft::{Boot, ClusterId, Incarnation, Input, Record, RecordId, SnapshotMeta};

use super::fields::Reader;
use super::group::raft_id;
use super::{Cluster, Deed, StartError, draw, snapshot};
use crate::action::{FileName, Store};
use crate::id::NodeId;
use crate::random::Random;

const IDENTITY_MAGIC: u64 = u64::from_le_bytes(*b"wrsnode1");
const SNAPSHOT_MAGIC: u64 = u64::from_le_bytes(*b"wrssnap1");

/// Who the node is: kept as long as its data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    pub(super) node: NodeId,
    pub(super) incarnation: u64,
    /// The cluster whose log is kept; 0 for none.
    pub(super) cluster: u64,
    /// The segment that must be there for the log to begin without a snapshot; 0: none may.
    pub(super) first: u64,
}

/// The CRC-32C of `bytes`.
fn checksum(bytes: &[u8]) -> u32 {
    SnapshotId::of(0, 0, bytes).checksum
}

/// Bytes behind a magic number and a checksum.
fn seal(magic: u64, bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(12 + bytes.len());
    out.put_u64_le(magic);
    out.put_u32_le(checksum(bytes));
    out.put_slice(bytes);
    out.freeze()
}

/// What was sealed, if all of it is there.
fn unseal(magic: u64, bytes: &Bytes) -> Option<Bytes> {
    let mut reader = Reader::new(bytes.clone());
    let (found, sum) = (reader.u64()?, reader.u32()?);
    let rest = bytes.slice(12..);
    (found == magic && checksum(&rest) == sum).then_some(rest)
}

impl Identity {
    fn encode(self) -> Bytes {
        let mut out = BytesMut::new();
        for number in [self.node.0, self.incarnation, self.cluster, self.first] {
            out.put_u64_le(number);
        }
        seal(IDENTITY_MAGIC, &out)
    }

    fn decode(bytes: &Bytes) -> Option<Identity> {
        let mut reader = Reader::new(unseal(IDENTITY_MAGIC, bytes)?);
        let (node, incarnation) = (reader.node()?, reader.u64()?);
        let identity = Identity { node, incarnation, cluster: reader.u64()?, first: reader.u64()? };
        reader.end(identity)
    }
}

/// What waits until it is stored.
#[derive(Debug)]
enum Waits {
    /// A record of the log.
    Record(RecordId),
    /// A snapshot that this node has made.
    Snapshot(Box<SnapshotMeta>, Bytes),
    /// The beginning of a segment that needs none before it.
    Checkpoint,
}

/// The data directory, as this node knows it.
#[derive(Debug, Default)]
pub(super) struct Disk {
    segment: Segment,
    /// Bytes of the segment so far.
    offset: u64,
    /// Segments and snapshots that are there.
    segments: Vec<u64>,
    snapshots: Vec<u64>,
    durable: RecordId,
    last: u64,
    waiting: VecDeque<(u64, Waits)>,
    /// Whether a new segment is to be begun.
    turn: bool,
    /// Those that the newest segment makes useless once it is durable: segments before it, snapshots but for this one.
    keep: (u64, u64),
}

impl Disk {
    fn wait(&mut self, waits: Waits) -> u64 {
        self.last += 1;
        self.waiting.push_back((self.last, waits));
        self.last
    }
}

/// What a data directory holds.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) identity: Identity,
    disk: Disk,
    /// The log and the state that it begins with; `None` where the node was in no cluster.
    log: Option<(Boot, Option<snapshot::Whole>, Bytes)>,
    /// What is to be tidied first.
    stores: Vec<Store>,
}

fn stored(why: impl ToString) -> StartError {
    StartError::Stored(why.to_string())
}

/// Reads the whole files of a data directory.
pub(super) fn read(files: Vec<(FileName, Bytes)>, random: &mut Random) -> Result<Kept, StartError> {
    let files: BTreeMap<FileName, Bytes> = files.into_iter().collect();
    let named = |of: fn(&FileName) -> Option<u64>| files.keys().filter_map(of).collect::<Vec<u64>>();
    let segments = named(|file| if let FileName::Segment(number) = file { Some(*number) } else { None });
    let snapshots = named(|file| if let FileName::Snapshot(index) = file { Some(*index) } else { None });
    let mut disk = Disk { segments: segments.clone(), snapshots: snapshots.clone(), ..Disk::default() };
    let identity = match files.get(&FileName::Identity) {
        Some(bytes) => Identity::decode(bytes).ok_or_else(|| stored("the file `node` is damaged"))?,
        None if segments.is_empty() && snapshots.is_empty() => {
            Identity { node: NodeId(draw(random)), incarnation: draw(random), cluster: 0, first: 0 }
        }
        None => return Err(stored("there is a log, but the file `node`, which says whose, is missing")),
    };
    if identity.cluster == 0 {
        let mut stores: Vec<Store> =
            vec![Store::Replace { file: FileName::Identity, bytes: identity.encode(), record: None }];
        // What a crash left of a cluster that was not entered, or was left.
        stores.extend(files.into_keys().filter(|file| *file != FileName::Identity).map(|file| Store::Remove { file }));
        disk.segment.number = segments.last().copied().unwrap_or(0);
        (disk.segments, disk.snapshots) = (Vec::new(), Vec::new());
        return Ok(Kept { identity, disk, log: None, stores });
    }
    recover(identity, disk, &files)
}

fn recover(identity: Identity, mut disk: Disk, files: &BTreeMap<FileName, Bytes>) -> Result<Kept, StartError> {
    let mut stores = Vec::new();
    let of = |number: &u64| files.get(&FileName::Segment(*number)).cloned();
    // What is left of the cluster that this one went on from.
    let strange = |number: &u64| {
        let header = of(number).and_then(|bytes| Segment::decode(&bytes).ok());
        header.is_some_and(|header| header.cluster.0 != identity.cluster)
    };
    while let Some(number) = disk.segments.first().copied().filter(strange) {
        disk.segments.remove(0);
        stores.push(Store::Remove { file: FileName::Segment(number) });
    }
    let bytes: Vec<Bytes> = disk.segments.iter().filter_map(of).collect();
    let recovered = record::recover(&bytes, RecordId(0)).map_err(|error| stored(format!("the log: {error}")))?;
    let begins = disk.segments.first().copied().unwrap_or_default();
    if recovered.boot.snapshot.index == 0 && begins != identity.first {
        return Err(stored("the log: what it begins with does not read"));
    }
    let Segment { cluster, node, incarnation, .. } = recovered.segment;
    if (cluster.0, node.0, incarnation.0) != (identity.cluster, identity.node.0, identity.incarnation) {
        return Err(stored("the log is another node's than the file `node` says"));
    }
    let at = disk.segments.get(recovered.at).copied().unwrap_or_default();
    if recovered.cut_bytes > 0 {
        stores.push(Store::Truncate { file: FileName::Segment(at), length: recovered.end });
    }
    for later in disk.segments.split_off((recovered.at + 1).min(disk.segments.len())) {
        stores.push(Store::Remove { file: FileName::Segment(later) });
    }
    let index = recovered.boot.snapshot.index;
    let (mut whole, mut raw) = (None, Bytes::new());
    if let Some(sealed) = files.get(&FileName::Snapshot(index)) {
        raw = unseal(SNAPSHOT_MAGIC, sealed).ok_or_else(|| stored(format!("snapshot {index} is damaged")))?;
        whole = Some(snapshot::read(&raw).ok_or_else(|| stored(format!("snapshot {index} cannot be read")))?);
    } else if index > 1 {
        return Err(stored(format!("snapshot {index}, with which the log begins, is missing")));
    }
    disk.snapshots.retain(|other| {
        if *other != index {
            stores.push(Store::Remove { file: FileName::Snapshot(*other) });
        }
        *other == index
    });
    (disk.segment, disk.offset, disk.durable) = (recovered.segment, recovered.end, recovered.boot.record);
    Ok(Kept { identity, disk, log: Some((recovered.boot, whole, raw)), stores })
}

impl Cluster {
    /// Begins with what the data directory holds. False: with nothing; the node is in no cluster yet.
    pub(super) fn begin_kept(&mut self, kept: Kept) -> Result<bool, StartError> {
        let Kept { identity, disk, log, stores } = kept;
        (self.me.node, self.me.incarnation) = (identity.node, identity.incarnation);
        self.deeds.extend(stores.into_iter().map(Deed::Store));
        self.disk = Some(disk);
        let Some((boot, whole, raw)) = log else { return Ok(false) };
        let index = boot.snapshot.index;
        let alone = boot.snapshot.conf.voters == [raft_id(identity.node)];
        if let Some(whole) = whole {
            self.snapshots.keep(index, raw);
            self.restore(index, whole);
        }
        self.enter_raft(identity.cluster, boot)?;
        if alone {
            self.step(Input::Campaign);
        }
        Ok(true)
    }

    fn store(&mut self, store: Store) {
        self.deeds.push_back(Deed::Store(store));
    }

    /// A cluster is entered: its log begins.
    pub(super) fn begin_log(&mut self, cluster: u64) {
        let (node, incarnation) = (self.me.node, self.me.incarnation);
        // Of the cluster that this one goes on from, if any.
        let old = self.disk.as_mut().map(|disk| std::mem::take(&mut disk.segments)).unwrap_or_default();
        if let Some(disk) = &mut self.disk {
            // Its records are not this one's.
            disk.waiting.clear();
            (disk.durable, disk.turn) = (RecordId(0), false);
        }
        self.snapshots.storing = false;
        self.begin_segment(cluster);
        let checkpoint = self.group.as_ref().and_then(|group| group.raft.checkpoint());
        let began = checkpoint.is_some();
        if let Some(record) = checkpoint {
            self.append_record(&record, None);
        }
        if self.disk.is_some() {
            let first = if began { 0 } else { self.disk.as_ref().map_or(0, |disk| disk.segment.number) };
            let bytes = Identity { node, incarnation, cluster, first }.encode();
            self.store(Store::Replace { file: FileName::Identity, bytes, record: None });
        }
        for number in old {
            self.store(Store::Remove { file: FileName::Segment(number) });
        }
    }

    /// The log of a cluster is over, and who the node was in it.
    pub(super) fn end_log(&mut self) {
        let (node, incarnation) = (self.me.node, self.me.incarnation);
        let Some(disk) = &mut self.disk else { return };
        disk.waiting.clear();
        (disk.durable, disk.turn) = (RecordId(0), false);
        let segments = std::mem::take(&mut disk.segments).into_iter().map(FileName::Segment);
        let snapshots = std::mem::take(&mut disk.snapshots).into_iter().map(FileName::Snapshot);
        let files: Vec<FileName> = segments.chain(snapshots).collect();
        let bytes = Identity { node, incarnation, cluster: 0, first: 0 }.encode();
        self.store(Store::Replace { file: FileName::Identity, bytes, record: None });
        for file in files {
            self.store(Store::Remove { file });
        }
    }

    fn begin_segment(&mut self, cluster: u64) {
        let (node, incarnation, salt) = (self.me.node, self.me.incarnation, self.random.bits());
        let Some(disk) = &mut self.disk else { return };
        disk.segment = Segment {
            cluster: ClusterId(cluster),
            node: raft_id(node),
            incarnation: Incarnation(incarnation),
            number: disk.segment.number + 1,
            salt,
        };
        disk.offset = SEGMENT_HEADER_BYTES as u64;
        disk.segments.push(disk.segment.number);
        let (number, bytes) = (disk.segment.number, disk.segment.encode());
        self.store(Store::Append { file: FileName::Segment(number), bytes, record: None });
    }

    fn append_record(&mut self, record: &Record, waits: Option<Waits>) {
        let Some(disk) = &mut self.disk else { return };
        let mut bytes = BytesMut::new();
        disk.segment.encode_record(disk.offset, disk.durable, record, &mut bytes);
        disk.offset += bytes.len() as u64;
        let number = waits.map(|waits| disk.wait(waits));
        let file = FileName::Segment(disk.segment.number);
        self.store(Store::Append { file, bytes: bytes.freeze(), record: number });
    }

    /// Raft wants a record to be durable.
    pub(super) fn keep_record(&mut self, record: &Record, snapshot: Option<Bytes>) {
        if let (Some(meta), Some(bytes), Some(disk)) = (&record.snapshot, snapshot, &mut self.disk) {
            let file = FileName::Snapshot(meta.index);
            disk.snapshots.push(meta.index);
            // The segments before hold what this one replaces: all may go with the next.
            disk.turn = true;
            self.store(Store::Replace { file, bytes: seal(SNAPSHOT_MAGIC, &bytes), record: None });
        }
        let waits = record.sync.then_some(Waits::Record(record.id));
        self.append_record(record, waits);
    }

    /// This node has made a snapshot: it counts once it is stored.
    pub(super) fn keep_snapshot(&mut self, meta: Box<SnapshotMeta>, bytes: Bytes) {
        let Some(disk) = &mut self.disk else { return };
        let file = FileName::Snapshot(meta.index);
        disk.snapshots.push(meta.index);
        let sealed = seal(SNAPSHOT_MAGIC, &bytes);
        let number = disk.wait(Waits::Snapshot(meta, bytes));
        self.store(Store::Replace { file, bytes: sealed, record: Some(number) });
    }

    /// Everything that was stored up to this number is durable.
    pub fn persisted(&mut self, now: crate::time::Time, record: u64) {
        self.now = now;
        while let Some((_, waits)) =
            self.disk.as_mut().and_then(|disk| disk.waiting.pop_front_if(|(number, _)| *number <= record))
        {
            match waits {
                Waits::Record(record) => {
                    if let Some(disk) = &mut self.disk {
                        disk.durable = record;
                    }
                    self.step(Input::Persisted { record });
                }
                Waits::Snapshot(meta, bytes) => {
                    self.snapshots.storing = false;
                    let index = meta.index;
                    // One from the leader may have come meanwhile.
                    if self.step(Input::SnapshotTaken { meta }) {
                        self.snapshots.keep(index, bytes);
                        if let Some(disk) = &mut self.disk {
                            disk.turn = true;
                        }
                    }
                }
                Waits::Checkpoint => self.remove_old_files(),
            }
        }
    }

    /// The data directory has failed: nothing that is stored after this counts.
    pub fn persist_failed(&mut self, now: crate::time::Time, why: &str) {
        self.now = now;
        let record = self.disk.as_ref().map_or(RecordId(0), |disk| disk.durable);
        self.step(Input::PersistFailed { record });
        self.fail(format!("the data directory: {why}"));
    }

    /// Begins a new segment if there is a snapshot that makes the old ones useless. Right after Raft was asked for all that is
    /// to be written.
    pub(super) fn turn_segment(&mut self) {
        if !self.disk.as_ref().is_some_and(|disk| disk.turn) || self.failed.is_some() {
            return;
        }
        let (Some(group), Some(cluster)) = (&self.group, self.me.cluster) else { return };
        let Some(record) = group.raft.checkpoint() else { return };
        let index = group.raft.snapshot().index;
        if let Some(disk) = &mut self.disk {
            disk.turn = false;
        }
        self.begin_segment(cluster);
        if let Some(disk) = &mut self.disk {
            disk.keep = (disk.segment.number, index);
        }
        self.append_record(&record, Some(Waits::Checkpoint));
    }

    fn remove_old_files(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        let (segment, snapshot) = disk.keep;
        let old_segments: Vec<u64> = disk.segments.extract_if(.., |number| *number < segment).collect();
        // A newer one may be on its way.
        let old_snapshots: Vec<u64> = disk.snapshots.extract_if(.., |index| *index < snapshot).collect();
        let segments = old_segments.into_iter().map(FileName::Segment);
        for file in segments.chain(old_snapshots.into_iter().map(FileName::Snapshot)) {
            self.store(Store::Remove { file });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_what_it_writes_and_notices_damage() {
        let identity = Identity { node: NodeId(7), incarnation: 8, cluster: 9, first: 0 };
        let bytes = identity.encode();
        assert_eq!(Identity::decode(&bytes), Some(identity));
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            assert_eq!(Identity::decode(&damaged.into()), None);
            assert_eq!(Identity::decode(&bytes.slice(..at)), None);
        }
    }

    #[test]
    fn a_data_directory_that_cannot_be_gone_on_with_says_why() {
        let mut random = Random::from_key([1; 32]);
        let log = (FileName::Segment(1), Bytes::from_static(b"x"));
        let why = |files: Vec<(FileName, Bytes)>, random: &mut Random| read(files, random).unwrap_err().to_string();
        let told = why(vec![log.clone()], &mut random);
        assert!(told.starts_with("WRS_DATA_DIR: there is a log, but the file `node`"), "{told}");
        let told = why(vec![(FileName::Identity, Bytes::from_static(b"x"))], &mut random);
        assert_eq!(told, "WRS_DATA_DIR: the file `node` is damaged");
        let identity = Identity { node: NodeId(7), incarnation: 8, cluster: 9, first: 0 }.encode();
        let told = why(vec![(FileName::Identity, identity.clone()), log], &mut random);
        assert_eq!(told, "WRS_DATA_DIR: the log: a segment has no header");
        let told = why(vec![(FileName::Identity, identity)], &mut random);
        assert_eq!(told, "WRS_DATA_DIR: the log: there are no segments");
    }
}

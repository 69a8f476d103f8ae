//! Durable bytes: what a crash may leave, and what must not be gone on with.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use wrs_raft::record::{RecoverError, SEGMENT_HEADER_BYTES, Segment, recover};
use wrs_raft::*;

fn segment(number: u64) -> Segment {
    let (cluster, node, incarnation) = (ClusterId(7), NodeId(1), Incarnation(9));
    Segment { cluster, node, incarnation, number, salt: 0x5A17 + number }
}

fn entry(term: Term, index: Index, payload: &'static [u8]) -> Entry {
    Entry { term, index, kind: EntryKind::Normal, payload: Bytes::from_static(payload) }
}

fn record(id: u64, term: Term, entries: Vec<Entry>) -> Record {
    let hard = HardState { term, vote: Some(NodeId(2)), commit: 0 };
    Record { id: RecordId(id), sync: true, hard: Some(hard), entries: entries.into(), ..Record::default() }
}

/// A segment's bytes, with `durable` said in each record to be all records before it but `lag`.
fn write(segment: &Segment, records: &[Record], lag: u64) -> (Bytes, Vec<usize>) {
    let mut out = BytesMut::from(&segment.encode()[..]);
    let mut ends = Vec::new();
    for record in records {
        let durable = RecordId((record.id.0 - 1).saturating_sub(lag));
        segment.encode_record(out.len() as u64, durable, record, &mut out);
        ends.push(out.len());
    }
    (out.freeze(), ends)
}

fn three() -> Vec<Record> {
    vec![
        record(1, 1, vec![entry(1, 1, b"a"), entry(1, 2, b"b")]),
        record(2, 1, vec![entry(1, 3, b"c")]),
        record(3, 2, vec![entry(2, 2, b"B")]),
    ]
}

#[test]
fn what_was_written_comes_back() {
    let (bytes, _) = write(&segment(0), &three(), 0);
    let found = recover(std::slice::from_ref(&bytes), RecordId(3)).unwrap();
    assert_eq!(found.boot.entries, vec![entry(1, 1, b"a"), entry(2, 2, b"B")], "the third record cuts at index 2");
    assert_eq!(found.boot.hard, HardState { term: 2, vote: Some(NodeId(2)), commit: 0 });
    assert_eq!((found.boot.record, found.end, found.cut_bytes), (RecordId(3), bytes.len() as u64, 0));
    assert_eq!(found.segment, segment(0));
    let raft = Raft::new(Config::new(NodeId(1)), found.boot, Time::ZERO).unwrap();
    assert_eq!((raft.status().term, raft.status().last_index), (2, 2));
}

/// D1: whatever prefix of the tail is there, recovery ends at a record's end and says where.
#[test]
fn d1_a_torn_tail_is_cut_at_a_record() {
    let (bytes, ends) = write(&segment(0), &three(), 0);
    for len in SEGMENT_HEADER_BYTES..bytes.len() {
        let found = recover(&[bytes.slice(..len)], RecordId(0)).unwrap();
        let whole = ends.iter().filter(|end| **end <= len).count();
        assert_eq!(found.boot.record, RecordId(whole as u64), "cut at {len}");
        let end = if whole == 0 { SEGMENT_HEADER_BYTES } else { ends[whole - 1] };
        assert_eq!((found.end, found.cut_bytes), (end as u64, (len - end) as u64));
    }
}

/// D1: a tail of zeros, as from allocation in advance, is no record.
#[test]
fn d1_allocated_zeros_are_cut() {
    let (bytes, _) = write(&segment(0), &three(), 0);
    let mut padded = BytesMut::from(&bytes[..]);
    padded.resize(bytes.len() + 4096, 0);
    let found = recover(&[padded.freeze()], RecordId(3)).unwrap();
    assert_eq!((found.boot.record, found.end, found.cut_bytes), (RecordId(3), bytes.len() as u64, 4096));
}

/// D2: a record that a later one knows to have been durable does not vanish silently, wherever the damage is.
#[test]
fn d2_damage_below_the_durable_mark_is_corruption() {
    let (bytes, ends) = write(&segment(0), &three(), 0);
    for at in SEGMENT_HEADER_BYTES..ends[1] {
        let mut damaged = BytesMut::from(&bytes[..]);
        damaged[at] ^= 0x10;
        let found = recover(&[damaged.freeze()], RecordId(0));
        assert!(matches!(found, Err(RecoverError::Corrupt { .. })), "damage at {at}: {found:?}");
    }
}

/// D2: writes that were not yet durable may reach the disk out of order; that is a torn tail.
#[test]
fn d2_a_lost_write_that_nothing_rests_on_is_a_torn_tail() {
    let (bytes, ends) = write(&segment(0), &three(), 2);
    let mut damaged = BytesMut::from(&bytes[..]);
    damaged[ends[0]..ends[1]].fill(0);
    let found = recover(&[damaged.freeze()], RecordId(0)).unwrap();
    assert_eq!((found.boot.record, found.end), (RecordId(1), ends[0] as u64));
}

/// D2: what is known from elsewhere guards the very end.
#[test]
fn d2_the_caller_may_know_more() {
    let (bytes, ends) = write(&segment(0), &three(), 0);
    let error = recover(&[bytes.slice(..ends[1])], RecordId(3)).unwrap_err();
    assert_eq!(error, RecoverError::Corrupt { at: 0, offset: ends[1] as u64, record: RecordId(3) });
}

#[test]
fn a_recycled_or_moved_frame_is_no_record() {
    let (old, _) = write(&segment(0), &three(), 0);
    let (new, ends) = write(&segment(1), &three(), 0);
    let mut recycled = BytesMut::from(&new[..ends[0]]);
    recycled.extend_from_slice(&old[ends[0]..]);
    let found = recover(&[recycled.freeze()], RecordId(0)).unwrap();
    assert_eq!(found.boot.record, RecordId(1), "the old file's salt does not fit");
    let mut moved = BytesMut::from(&new[..]);
    moved.extend_from_slice(&new[ends[1]..]);
    assert_eq!(recover(&[moved.freeze()], RecordId(0)).unwrap().boot.record, RecordId(3), "nor the other offset");
}

#[test]
fn a_checkpoint_stands_for_all_before_it() {
    let (first, _) = write(&segment(0), &three(), 0);
    let meta = SnapshotMeta { index: 1, term: 1, conf: Conf::of_voters([NodeId(1), NodeId(2)]) };
    let checkpoint =
        Record { snapshot: Some(Box::new(meta.clone())), checkpoint: true, ..record(3, 2, vec![entry(2, 2, b"B")]) };
    let (second, ends) = write(&segment(1), &[checkpoint, record(4, 2, vec![entry(2, 3, b"d")])], 0);
    let both = recover(&[first.clone(), second.clone()], RecordId(4)).unwrap();
    let alone = recover(std::slice::from_ref(&second), RecordId(4)).unwrap();
    assert_eq!(both.boot, alone.boot);
    assert_eq!(both.boot.snapshot, meta);
    assert_eq!(both.boot.entries, vec![entry(2, 2, b"B"), entry(2, 3, b"d")]);
    assert_eq!((both.at, alone.at), (1, 0));
    // A crash while the second segment was begun: the first still says everything.
    for len in 0..ends[0] {
        let found = recover(&[first.clone(), second.slice(..len)], RecordId(0)).unwrap();
        assert_eq!((found.at, found.boot.record), (0, RecordId(3)), "cut at {len}");
    }
    assert_eq!(recover(&[second, first], RecordId(0)), Err(RecoverError::Foreign { at: 1 }));
    assert_eq!(recover(&[], RecordId(0)), Err(RecoverError::Empty));
}

/// A crash may take the end of the old segment although the new one's checkpoint, which says all of it, is durable.
#[test]
fn a_checkpoint_outlives_the_torn_segment_before_it() {
    let (first, ends) = write(&segment(0), &three(), 2);
    let meta = SnapshotMeta { index: 1, term: 1, conf: Conf::of_voters([NodeId(1)]) };
    let snapshot = Some(Box::new(meta));
    let checkpoint = Record { snapshot, checkpoint: true, ..record(3, 2, vec![entry(2, 2, b"B")]) };
    let (second, _) = write(&segment(1), &[checkpoint, record(4, 2, vec![entry(2, 3, b"d")])], 0);
    for len in SEGMENT_HEADER_BYTES..=first.len() {
        let found = recover(&[first.slice(..len), second.clone()], RecordId(4)).unwrap();
        assert_eq!(
            (found.at, found.boot.record, found.boot.entries.len()),
            (1, RecordId(4), 2),
            "cut at {len} of {ends:?}"
        );
    }
    // Without a checkpoint, what follows a hole is not believed.
    let (plain, _) = write(&segment(1), &[record(4, 2, vec![entry(2, 3, b"d")])], 0);
    assert!(recover(&[first.slice(..ends[1] + 5), plain], RecordId(0)).is_err());
}

#[test]
fn a_torn_header_is_no_other_version() {
    let (first, _) = write(&segment(0), &three(), 0);
    let mut header = BytesMut::from(&segment(1).encode()[..]);
    header[8] = 9;
    let found = recover(&[first, header.freeze()], RecordId(0)).unwrap();
    assert_eq!((found.at, found.boot.record), (0, RecordId(3)));
}

#[test]
fn the_machines_own_checkpoint_brings_it_back() {
    let mut out = Vec::new();
    let mut raft = Raft::new(Config::new(NodeId(1)), Boot::found([NodeId(1)]), Time::ZERO).unwrap();
    let mut give = |raft: &mut Raft, input| {
        raft.handle(Time::ZERO, input, &mut out);
        while !out.is_empty() {
            for action in std::mem::take(&mut out) {
                match action {
                    Action::Persist(Record { id, .. }) => {
                        raft.handle(Time::ZERO, Input::Persisted { record: id }, &mut out);
                    }
                    Action::Apply(entries) => {
                        let index = entries.last().unwrap().index;
                        raft.handle(Time::ZERO, Input::Applied { index }, &mut out);
                    }
                    _ => {}
                }
            }
        }
    };
    give(&mut raft, Input::Campaign);
    for ticket in 0..10 {
        give(&mut raft, Input::Propose { ticket: Ticket(ticket), payload: Bytes::from_static(b"x") });
    }
    let meta = raft.snapshot_meta(7).unwrap();
    give(&mut raft, Input::SnapshotTaken { meta });
    let (bytes, _) = write(&segment(0), &[raft.checkpoint().unwrap()], 0);
    let found = recover(&[bytes], RecordId(0)).unwrap();
    let again = Raft::new(Config::new(NodeId(1)), found.boot, Time::ZERO).unwrap();
    let (a, b) = (raft.status(), again.status());
    assert_eq!(
        (a.term, a.vote, a.commit, a.last_index, a.snapshot),
        (b.term, b.vote, b.commit, b.last_index, b.snapshot)
    );
}

proptest! {
    /// No bytes make recovery panic; what it accepts, a machine can start from or says why not.
    #[test]
    fn recovery_survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..400, flip in 1u8..) {
        let (good, _) = write(&segment(0), &three(), 1);
        let mut damaged = BytesMut::from(&good[..]);
        let at = at % damaged.len();
        damaged[at] ^= flip;
        damaged.extend_from_slice(&bytes);
        for bytes in [Bytes::from(bytes), damaged.freeze()] {
            if let Ok(found) = recover(&[bytes], RecordId(0)) {
                let _ = Raft::new(Config::new(NodeId(1)), found.boot, Time::ZERO);
            }
        }
    }
}

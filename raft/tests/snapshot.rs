//! Snapshot transfer over a link that loses, doubles, reorders and damages, with restarts of either side.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use core::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use wrs_raft::snapshot::{Incoming, Outgoing, Part, Received, SnapshotId};
use wrs_raft::{
    Action, Body, Boot, ClusterId, Conf, Config, Entry, Incarnation, Input, Message, NodeId, Raft, Record,
    SnapshotMeta, Time,
};

const RETRY: Duration = Duration::from_nanos(10);

proptest! {
    #[test]
    fn it_arrives_whole_whatever_the_link_does(len in 0usize..5000, chunk in 1u64..2000, faults in proptest::collection::vec(0u8..8, 0..200)) {
        let bytes = Bytes::from((0..len).map(|at| (at * 31 % 251) as u8).collect::<Vec<u8>>());
        let id = SnapshotId::of(5, 2, &bytes);
        let (mut sender, mut receiver) = (Outgoing::new(id, chunk, RETRY), Incoming::new(id));
        let mut copy: Vec<u8> = Vec::new();
        let (mut late, mut faults) = (None, faults.into_iter());
        for turn in 0..20_000u64 {
            if sender.is_done() {
                break;
            }
            let now = Time::from_nanos(turn * 4);
            let Some(range) = sender.next(now) else { continue };
            let part = Part::chunk(id, range.start, bytes.slice(range.start as usize..range.end as usize));
            let fault = faults.next();
            let deliver = match fault {
                Some(0) => continue,
                Some(1) => late.replace(part).into_iter().collect(),
                Some(2) => vec![part.clone(), part],
                _ => vec![part],
            };
            for part in deliver {
                let Part::Chunk { offset, mut checksum, bytes, .. } = part else { panic!() };
                if fault == Some(3) {
                    checksum ^= 1;
                }
                if let Received::Write { offset, bytes } = receiver.receive(offset, checksum, bytes) {
                    prop_assert_eq!(offset as usize, copy.len());
                    copy.extend_from_slice(&bytes);
                }
                match fault {
                    Some(4) => receiver = Incoming::resume(id, &copy),
                    Some(5) => {
                        (receiver, copy) = (Incoming::new(id), Vec::new());
                    }
                    Some(6) => sender = Outgoing::new(id, chunk, RETRY),
                    Some(7) => continue,
                    _ => {}
                }
                sender.wanted(receiver.have());
            }
        }
        prop_assert!(sender.is_done() && receiver.is_complete());
        prop_assert_eq!(copy, bytes);
    }
}

/// A crash may leave a file of the right length with holes in it: it must not pass for all that is wanted, or it would be wanted
/// for ever.
#[test]
fn a_torn_part_of_full_length_begins_again() {
    let bytes = Bytes::from_static(b"snapshot");
    let id = SnapshotId::of(5, 2, &bytes);
    let mut receiver = Incoming::resume(id, b"snap\0\0\0\0");
    assert_eq!((receiver.have(), receiver.is_complete()), (0, false));
    let Part::Chunk { checksum, bytes, .. } = Part::chunk(id, 0, bytes) else { panic!() };
    assert!(matches!(receiver.receive(0, checksum, bytes.clone()), Received::Write { .. }));
    assert!(receiver.is_complete() && Incoming::resume(id, &bytes).is_complete());
}

#[test]
fn a_whole_that_is_not_what_it_says_begins_again() {
    let bytes = Bytes::from_static(b"snapshot");
    let id = SnapshotId { checksum: 1, ..SnapshotId::of(5, 2, &bytes) };
    let mut receiver = Incoming::new(id);
    let Part::Chunk { checksum, bytes, .. } = Part::chunk(id, 0, bytes) else { panic!() };
    assert_eq!(receiver.receive(0, checksum, bytes), Received::Damaged);
    assert_eq!((receiver.have(), receiver.is_complete()), (0, false));
}

/// In memory nothing but a snapshot is a record. What was appended behind one that the application still takes in is acknowledged after
/// it, although a second snapshot has replaced it by then: the second holds it. The second itself is acknowledged once it is taken in.
#[test]
fn s3_in_memory_an_acknowledgement_waits_for_the_snapshot_before_it_and_not_for_the_next() {
    let mut raft = Raft::new(Config { in_memory: true, ..Config::new(NodeId(2)) }, Boot::empty(), Time::ZERO).unwrap();
    let mut hear = |body: Body| {
        let (cluster, incarnation) = (ClusterId(0), Incarnation(0));
        let message = Message { cluster, from: NodeId(1), incarnation, to: NodeId(2), term: 3, session: 0, body };
        turn(&mut raft, Input::Receive(message))
    };
    let conf = Conf::of_voters([NodeId(1), NodeId(2)]);
    let meta = |index| Box::new(SnapshotMeta { index, term: 3, conf: conf.clone() });
    let (records, acks) = hear(Body::Snapshot { meta: meta(10) });
    let first = records[0].id;
    assert_eq!((records.len(), acks), (1, vec![]));
    let entries = vec![Entry { term: 3, index: 11, ..Entry::default() }].into();
    let behind = hear(Body::Append { prev_index: 10, prev_term: 3, commit: 10, entries });
    assert_eq!(behind, (vec![], vec![]));
    let (records, acks) = hear(Body::Snapshot { meta: meta(20) });
    assert_eq!((records.len(), acks), (1, vec![]));
    assert_eq!(turn(&mut raft, Input::Persisted { record: first }).1, [10, 11]);
    assert_eq!(raft.log().committed(), 20, "what it acknowledges is in what it holds");
    assert_eq!(turn(&mut raft, Input::Persisted { record: records[0].id }).1, [20]);
}

/// One input: the records to write and the indexes that are acknowledged.
fn turn(raft: &mut Raft, input: Input) -> (Vec<Record>, Vec<u64>) {
    let mut actions = Vec::new();
    raft.handle(Time::ZERO, input, &mut actions);
    let (mut records, mut acks) = (Vec::new(), Vec::new());
    for action in actions {
        match action {
            Action::Persist(record) => records.push(record),
            Action::Send(Message { body: Body::Appended { index }, .. }) => acks.push(index),
            _ => {}
        }
    }
    (records, acks)
}

//! Snapshot transfer over a link that loses, doubles, reorders and damages, with restarts of either side.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use core::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use wrs_raft::Time;
use wrs_raft::snapshot::{Incoming, Outgoing, Part, Received, SnapshotId};

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

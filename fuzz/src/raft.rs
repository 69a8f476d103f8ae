//! What reaches a Raft node from outside: bytes of messages, bytes of a log, and whole messages of any content. None of them makes
//! it panic, and what one node can check of itself holds.

use bytes::{Bytes, BytesMut};
use core::time::Duration;
use wrs_raft::record::recover;
use wrs_raft::wire::{decode, decode_part, encode, encode_part};
use wrs_raft::{
    Action, Body, Boot, ClusterId, Config, Entry, EntryId, Incarnation, Input, Message, NodeId, Raft, RecordId, Role,
    Time,
};

/// The first byte of `data` says which of the three; the rest is the input.
pub fn run(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else { return };
    match which % 3 {
        0 => wire(rest),
        1 => log(rest),
        _ => machine(rest),
    }
}

/// What decodes has one encoding.
fn wire(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let mut again = BytesMut::new();
    if let Ok(message) = decode(&bytes) {
        encode(&message, &mut again);
        assert_eq!(again, bytes);
    } else if let Ok(part) = decode_part(&bytes) {
        encode_part(&part, &mut again);
        assert_eq!(again, bytes);
    }
}

/// What recovery accepts ends within the bytes, and a node starts from it or says why not. Two segments, cut anywhere.
fn log(data: &[u8]) {
    let Some((cut, rest)) = data.split_first() else { return };
    let (first, second) = rest.split_at(rest.len() * usize::from(*cut) / 256);
    for segments in [vec![rest], vec![first, second]] {
        let segments: Vec<Bytes> = segments.into_iter().map(Bytes::copy_from_slice).collect();
        if let Ok(found) = recover(&segments, RecordId(0)) {
            assert!(segments.get(found.at).is_some_and(|segment| found.end <= segment.len() as u64));
            let _ = Raft::new(Config::new(NodeId(1)), found.boot, Time::ZERO);
        }
    }
}

/// A node of three is given messages of any content: each input is a byte for what it is and nine for what it says.
fn machine(data: &[u8]) {
    let config =
        Config { append_bytes_max: 100, inflight_messages_max: 4, log_tail_entries: 2, ..Config::new(NodeId(1)) };
    let Ok(mut raft) = Raft::new(config, Boot::found([NodeId(1), NodeId(2), NodeId(3)]), Time::ZERO) else { return };
    let (mut now, mut out, mut before) = (Time::ZERO, Vec::new(), (0, 0, 0));
    if data.len().is_multiple_of(2) {
        lead(&mut raft);
    }
    for bytes in data.chunks_exact(10) {
        let byte = |at: usize| u64::from(bytes.get(at).copied().unwrap_or(0));
        now = now + Duration::from_millis(byte(9) * 4);
        let input = match byte(0) % 16 {
            0 => Input::Timeout,
            1 => Input::Propose { ticket: Default::default(), payload: Bytes::copy_from_slice(bytes) },
            2 => Input::Read { token: Default::default() },
            3 => Input::Unreachable { peer: NodeId(2 + byte(1) % 2) },
            4 => raft.snapshot_meta(byte(1)).map_or(Input::Timeout, |meta| Input::SnapshotTaken { meta }),
            5 => Input::SnapshotSent { to: NodeId(2 + byte(1) % 2), delivered: byte(2) > 128 },
            _ => Input::Receive(message(&byte)),
        };
        raft.handle(now, input, &mut out);
        while !out.is_empty() {
            for action in core::mem::take(&mut out) {
                match action {
                    Action::Persist(record) => raft.handle(now, Input::Persisted { record: record.id }, &mut out),
                    Action::Apply(entries) => {
                        let index = entries.last().map_or(0, |entry| entry.index);
                        raft.handle(now, Input::Applied { index }, &mut out);
                    }
                    _ => {}
                }
            }
        }
        let status = raft.status();
        let after = (status.term, status.commit, status.applied);
        assert!(after.0 >= before.0 && after.1 >= before.1 && after.2 >= before.2, "{before:?} became {after:?}");
        assert!(status.applied <= status.commit && status.commit <= status.last_index);
        assert!(status.first_index <= status.applied + 1 && status.stable <= status.last_index);
        before = after;
    }
}

/// Makes the node a leader of term 2, as chance alone seldom does.
fn lead(raft: &mut Raft) {
    let mut out = Vec::new();
    let word = |term, body| {
        let (cluster, incarnation, session) = (ClusterId(0), Incarnation(0), 0);
        Input::Receive(Message { cluster, from: NodeId(2), incarnation, to: NodeId(1), term, session, body })
    };
    let yes = [word(2, Body::PreVoteReply { granted: true }), word(2, Body::VoteReply { granted: true })];
    for input in core::iter::once(Input::Campaign).chain(yes) {
        raft.handle(Time::ZERO, input, &mut out);
        for action in core::mem::take(&mut out) {
            if let Action::Persist(record) = action {
                raft.handle(Time::ZERO, Input::Persisted { record: record.id }, &mut out);
            }
        }
    }
    assert_eq!(raft.status().role, Role::Leader);
}

fn message(byte: &impl Fn(usize) -> u64) -> Message {
    let (a, b, c) = (byte(4) % 16, byte(5) % 8, byte(6) % 16);
    let body = match byte(1) % 12 {
        0..=2 => {
            let entry = |at| Entry { term: b + at * (byte(7) % 2), index: a + 1 + at, ..Entry::default() };
            Body::Append { prev_index: a, prev_term: b, commit: c, entries: (0..byte(8) % 4).map(entry).collect() }
        }
        3 => Body::Appended { index: a },
        4 => Body::Rejected { index: a, hint_index: c, hint_term: b },
        5 => Body::Heartbeat { commit: c % 4, round: a },
        6 => Body::HeartbeatEcho { round: a },
        7 => Body::Vote { last_index: a, last_term: b, transfer: c > 8, committed: EntryId { term: b, index: c } },
        8 => Body::VoteReply { granted: a < 12 },
        9 => Body::PreVote { last_index: a, last_term: b, committed: EntryId { term: b, index: c } },
        10 => Body::PreVoteReply { granted: a < 12 },
        _ => Body::TimeoutNow,
    };
    let (cluster, incarnation, session) = (ClusterId(0), Incarnation(0), 0);
    Message { cluster, from: NodeId(2 + byte(2) % 2), incarnation, to: NodeId(1), term: byte(3) % 8, session, body }
}

#[cfg(test)]
mod tests {
    /// SplitMix64: enough to reach every branch of `run` many times, the same each time.
    #[test]
    fn any_bytes_do_no_harm() {
        let mut state = 1u64;
        let mut next = move || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            ((z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 32) as u32
        };
        for _ in 0..20_000 {
            let len = next() as usize % 600;
            let data: Vec<u8> = (0..len).map(|_| next() as u8).collect();
            super::run(&data);
            let mut steps = vec![2];
            steps.extend(&data);
            super::run(&steps);
        }
    }
}

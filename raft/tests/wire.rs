//! Messages as bytes: every message comes back, and no bytes do harm.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use wrs_raft::snapshot::{Part, SnapshotId};
use wrs_raft::wire::{WireError, decode, decode_part, encode, encode_part};
use wrs_raft::*;

fn payload() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn conf() -> impl Strategy<Value = Conf> {
    (1u64..6, 0u64..3, any::<bool>(), 0u64..3).prop_map(|(voters, learners, joint, stays)| {
        let mut conf = Conf::of_voters((1..=voters).map(NodeId));
        conf.learners = (10..10 + learners).map(NodeId).collect();
        if joint {
            conf.outgoing = vec![NodeId(1), NodeId(20)];
            conf.learners_next = vec![NodeId(20)];
            conf.auto_leave = true;
        }
        let stay = |at| Stay { node: NodeId(10 + at), since: 7 * at, incarnation: Incarnation(9) };
        conf.stays = (0..stays.min(learners)).map(stay).collect();
        conf
    })
}

fn change() -> impl Strategy<Value = ConfChange> {
    let kind = prop_oneof![
        Just(ChangeKind::AddVoter),
        Just(ChangeKind::AddLearner),
        Just(ChangeKind::Remove),
        Just(ChangeKind::Update)
    ];
    let transition =
        prop_oneof![Just(Transition::Auto), Just(Transition::JointImplicit), Just(Transition::JointExplicit)];
    let changes = vec(
        (kind, any::<[u64; 2]>())
            .prop_map(|(kind, [node, named])| Change::new(kind, NodeId(node)).named(Incarnation(named))),
        0..4,
    );
    (transition, changes, payload()).prop_map(|(transition, changes, context)| ConfChange {
        transition,
        changes,
        context,
    })
}

fn body() -> impl Strategy<Value = Body> {
    let n = || any::<u64>();
    let entries = |first: u64, list: Vec<(u64, bool, Bytes)>| -> Entries {
        let entry = |(at, (term, conf, payload))| {
            let kind = if conf { EntryKind::Conf } else { EntryKind::Normal };
            Entry { term, index: first + at as u64, kind, payload }
        };
        list.into_iter().enumerate().map(entry).collect()
    };
    prop_oneof![
        (0..u64::MAX / 2, n(), n(), vec((n(), any::<bool>(), payload()), 0..5)).prop_map(
            move |(prev_index, prev_term, commit, list)| {
                Body::Append { prev_index, prev_term, commit, entries: entries(prev_index + 1, list) }
            }
        ),
        n().prop_map(|index| Body::Appended { index }),
        (n(), n(), n()).prop_map(|(index, hint_index, hint_term)| Body::Rejected { index, hint_index, hint_term }),
        (n(), n()).prop_map(|(commit, round)| Body::Heartbeat { commit, round }),
        n().prop_map(|round| Body::HeartbeatEcho { round }),
        (n(), n(), any::<bool>(), n(), n()).prop_map(|(last_index, last_term, transfer, term, index)| Body::Vote {
            last_index,
            last_term,
            transfer,
            committed: EntryId { term, index }
        }),
        any::<bool>().prop_map(|granted| Body::VoteReply { granted }),
        (n(), n(), n(), n()).prop_map(|(last_index, last_term, term, index)| Body::PreVote {
            last_index,
            last_term,
            committed: EntryId { term, index }
        }),
        any::<bool>().prop_map(|granted| Body::PreVoteReply { granted }),
        (n(), n(), conf())
            .prop_map(|(index, term, conf)| Body::Snapshot { meta: Box::new(SnapshotMeta { index, term, conf }) }),
        Just(Body::TimeoutNow),
        vec(payload(), 0..4).prop_map(|payloads| Body::Propose { payloads }),
        change().prop_map(|change| Body::ProposeConf { change: Box::new(change) }),
        n().prop_map(|to| Body::TransferLeader { to: NodeId(to) }),
        n().prop_map(|number| Body::Read { number }),
        (n(), proptest::option::of(n())).prop_map(|(number, index)| Body::ReadReply { number, index }),
        (n(), n()).prop_map(|(index, term)| Body::Committed { index, term }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (any::<[u64; 6]>(), body()).prop_map(|([cluster, from, incarnation, to, term, session], body)| Message {
        cluster: ClusterId(cluster),
        from: NodeId(from),
        incarnation: Incarnation(incarnation),
        to: NodeId(to),
        term,
        session,
        body,
    })
}

fn bytes_of(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    encode(message, &mut out);
    out.freeze()
}

proptest! {
    #[test]
    fn every_message_comes_back(message in message()) {
        prop_assert_eq!(decode(&bytes_of(&message)).unwrap(), message);
    }

    #[test]
    fn no_part_of_a_message_is_one(message in message()) {
        let bytes = bytes_of(&message);
        for len in 0..bytes.len() {
            prop_assert_eq!(decode(&bytes.slice(..len)), Err(WireError::Malformed));
        }
        let mut longer = BytesMut::from(&bytes[..]);
        longer.extend_from_slice(&[0]);
        prop_assert_eq!(decode(&longer.freeze()), Err(WireError::Malformed));
    }

    /// What decodes has one encoding; what does not, does no harm.
    #[test]
    fn altered_bytes_decode_to_what_they_say_or_not_at_all(message in message(), at in any::<usize>(), flip in 1u8..) {
        let mut bytes = BytesMut::from(&bytes_of(&message)[..]);
        let at = at % bytes.len();
        bytes[at] ^= flip;
        let bytes = bytes.freeze();
        if let Ok(other) = decode(&bytes) {
            prop_assert_eq!(bytes_of(&other), bytes);
        }
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        let _ = (decode(&Bytes::from(bytes.clone())), decode_part(&Bytes::from(bytes)));
    }

    /// No valid message stops a machine with a panic, whatever it says.
    #[test]
    fn any_messages_do_no_harm(messages in vec(message(), 0..20), terms in vec(0u64..5, 20)) {
        let (ids, mut out) = ([NodeId(1), NodeId(2), NodeId(3)], Vec::new());
        let mut raft = Raft::new(Config::new(NodeId(1)), Boot::found(ids), Time::ZERO).unwrap();
        for (at, (mut message, term)) in messages.into_iter().zip(terms).enumerate() {
            message.cluster = ClusterId(0);
            message.incarnation = Incarnation(0);
            message.from = NodeId(2 + message.from.0 % 2);
            message.to = NodeId(1);
            message.session %= 2;
            message.term = if message.term % 3 == 0 { message.term } else { term };
            let now = Time::from_nanos(at as u64 * 300_000_000);
            raft.handle(now, Input::Receive(message), &mut out);
            raft.handle(now, Input::Timeout, &mut out);
            for action in std::mem::take(&mut out) {
                if let Action::Persist(record) = action {
                    raft.handle(now, Input::Persisted { record: record.id }, &mut out);
                }
            }
        }
    }

    #[test]
    fn every_part_comes_back(n in any::<[u64; 4]>(), checksum in any::<u32>(), bytes in payload(), chunk in any::<bool>()) {
        let id = SnapshotId { index: n[0], term: n[1], bytes: n[2], checksum };
        let part = if chunk { Part::chunk(id, n[3], bytes) } else { Part::Want { id, offset: n[3] } };
        let mut out = BytesMut::new();
        encode_part(&part, &mut out);
        prop_assert_eq!(decode_part(&out.freeze()).unwrap(), part);
    }
}

#[test]
fn another_version_is_told_from_noise() {
    assert_eq!(
        decode(&Bytes::from_static(&[wire::VERSION + 1, 1, 0])),
        Err(WireError::Version { version: wire::VERSION + 1 })
    );
    assert_eq!(decode(&Bytes::new()), Err(WireError::Malformed));
}

//! A snapshot's bytes on their way between two nodes: in chunks, over the links, beside Raft's own messages.
//!
//! To each node one transfer, as long as this node leads the term in which it began and is answered; from others one, that of the
//! newest leader. Raft is handed the snapshot's message once all bytes are here. It never looks at what they say. Rule guarded: two
//! leaders that send to the same node do not undo each other's transfer, and none begins again that was done.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use wrs_raft::snapshot::{Incoming, Outgoing, Part, Received, SnapshotId};
use wrs_raft::{Body, Input, Message, Role, Term};

use super::Cluster;
use super::group::{raft_id, raft_time};
use super::wire::ControlMessage;
use crate::id::NodeId;

/// Bytes in one chunk of a transfer.
const CHUNK_BYTES: u64 = 256 * 1024;
/// When a chunk that nobody has answered is sent again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Chunks in a row that go unanswered before a transfer is given up. Raft begins another, if one is needed still.
const SILENT_CHUNKS_MAX: u32 = 6;
/// The longest snapshot that is taken from another node, in bytes.
const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;

/// One on its way to another node.
#[derive(Debug)]
struct Sending {
    outgoing: Outgoing,
    id: SnapshotId,
    bytes: Bytes,
    /// Raft's message, for when it is there.
    message: Bytes,
    /// The term in which this node leads.
    term: Term,
    /// Chunks sent since the last answer.
    silent: u32,
}

/// One on its way here.
#[derive(Debug)]
struct Receiving {
    incoming: Incoming,
    bytes: BytesMut,
    /// The term of the leader that sends it.
    term: Term,
}

/// A chunk: where it stands, its checksum, its bytes.
type Chunk = (u64, u32, Bytes);

/// Those under way.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    sending: BTreeMap<NodeId, Sending>,
    receiving: Option<Receiving>,
    /// The last that was here whole, with Raft's message as it came: what is sent again of it needs an answer and nothing else.
    done: Option<(SnapshotId, Bytes)>,
    /// One that is here whole and whose message Raft is looking at.
    arrived: Option<Bytes>,
}

impl Transfers {
    /// The bytes that Raft's message stands for, once.
    pub(super) fn arrived(&mut self) -> Option<Bytes> {
        self.arrived.take()
    }

    /// Whether the bytes that Raft's next message stands for are here.
    pub(super) fn has_arrived(&self) -> bool {
        self.arrived.is_some()
    }

    /// Takes a chunk. How much is here now; nothing where a newer leader sends a snapshot, or a newer one comes from the same.
    fn take(&mut self, id: SnapshotId, term: Term, (offset, checksum, bytes): Chunk) -> Option<u64> {
        match &mut self.receiving {
            Some(now) if now.incoming.id() == id => now.term = now.term.max(term),
            Some(now) if (term, id.index) < (now.term, now.incoming.id().index) => return None,
            _ => self.receiving = Some(Receiving { incoming: Incoming::new(id), bytes: BytesMut::new(), term }),
        }
        let receiving = self.receiving.as_mut()?;
        match receiving.incoming.receive(offset, checksum, bytes) {
            Received::Write { bytes, .. } => receiving.bytes.extend_from_slice(&bytes),
            Received::Nothing => {}
            // It may have begun again.
            Received::Damaged => {
                let have = usize::try_from(receiving.incoming.have()).unwrap_or(0);
                receiving.bytes.truncate(have);
            }
        }
        Some(receiving.incoming.have())
    }

    /// All bytes, once they are here, of which `message` says what they stand for.
    fn whole(&mut self, message: &Bytes) -> Option<Bytes> {
        let Receiving { incoming, bytes, .. } = self.receiving.take_if(|now| now.incoming.is_complete())?;
        // A copy: it is a part of the last chunk, which need not be kept.
        self.done = Some((incoming.id(), Bytes::copy_from_slice(message)));
        Some(bytes.freeze())
    }

    /// Everything up to `committed` is known here: what says no more is not waited for.
    fn forget_known(&mut self, committed: u64) {
        self.receiving.take_if(|now| now.incoming.id().index <= committed);
    }
}

impl Cluster {
    /// The term that this node leads, if it leads.
    fn led_term(&self) -> Option<Term> {
        let raft = &self.group.as_ref()?.raft;
        (raft.role() == Role::Leader).then(|| raft.term())
    }

    /// Whether a snapshot as of `index` says nothing new.
    pub(super) fn is_known(&self, index: u64) -> bool {
        self.group.as_ref().is_some_and(|group| group.raft.log().committed() >= index)
    }

    // To others.

    /// Raft wants another node to have the newest snapshot.
    pub(super) fn send_snapshot(&mut self, to: wrs_raft::NodeId, message: &Message) {
        let node = NodeId(to.0);
        let Body::Snapshot { meta } = &message.body else { return };
        let Some(bytes) = self.snapshots.bytes_at(meta.index) else {
            self.want_snapshot();
            self.step(Input::SnapshotSent { to, delivered: false });
            return;
        };
        let id = SnapshotId::of(meta.index, meta.term, &bytes);
        let mut encoded = BytesMut::new();
        wrs_raft::wire::encode(message, &mut encoded);
        let outgoing = Outgoing::new(id, CHUNK_BYTES, RETRY_AFTER);
        let (message, term) = (encoded.freeze(), message.term);
        self.transfers.sending.insert(node, Sending { outgoing, id, bytes, message, term, silent: 0 });
        self.send_chunks(node);
    }

    /// Sends what is due of a transfer, or tells Raft how it ended.
    fn send_chunks(&mut self, node: NodeId) {
        let (now, led) = (raft_time(self.now), self.led_term());
        let Some(sending) = self.transfers.sending.get_mut(&node) else { return };
        let done = sending.outgoing.is_done();
        // What another leader sends must not be held up, and nobody takes what was meant for an earlier term.
        if done || led != Some(sending.term) || sending.silent > SILENT_CHUNKS_MAX {
            return self.end_sending(node, done);
        }
        let Some(range) = sending.outgoing.next(now) else { return };
        sending.silent += 1;
        let ends = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(sending.bytes.len());
        let chunk = sending.bytes.slice(ends(range.start)..ends(range.end));
        let mut part = BytesMut::new();
        wrs_raft::wire::encode_part(&Part::chunk(sending.id, range.start, chunk), &mut part);
        let message = sending.message.clone();
        if !self.post_to(node, &ControlMessage::Part { message, part: part.freeze() }) {
            self.end_sending(node, false);
        }
    }

    fn end_sending(&mut self, node: NodeId, delivered: bool) {
        self.transfers.sending.remove(&node);
        self.step(Input::SnapshotSent { to: raft_id(node), delivered });
    }

    /// Chunks that nobody has answered are sent again.
    pub(super) fn look_at_transfers(&mut self) {
        let nodes: Vec<NodeId> = self.transfers.sending.keys().copied().collect();
        for node in nodes {
            self.send_chunks(node);
        }
        let committed = self.group.as_ref().map_or(0, |group| group.raft.log().committed());
        self.transfers.forget_known(committed);
    }

    // From others.

    pub(super) fn heard_part(&mut self, node: NodeId, message: &Bytes, part: &Bytes) {
        match wrs_raft::wire::decode_part(part) {
            Ok(Part::Want { id, offset }) => {
                let sending = self.transfers.sending.get_mut(&node);
                if let Some(sending) = sending.filter(|sending| sending.id == id) {
                    sending.silent = 0;
                    sending.outgoing.wanted(offset);
                    self.send_chunks(node);
                }
            }
            Ok(Part::Chunk { id, offset, checksum, bytes }) if id.bytes <= SNAPSHOT_BYTES_MAX => {
                if let Some(offset) = self.take_chunk(node, message, id, (offset, checksum, bytes)) {
                    let mut part = BytesMut::new();
                    wrs_raft::wire::encode_part(&Part::Want { id, offset }, &mut part);
                    self.post_to(node, &ControlMessage::Part { message: Bytes::new(), part: part.freeze() });
                }
                self.take_whole(node, message);
            }
            _ => {}
        }
    }

    /// How much is here of what a chunk belongs to; nothing where no answer is due.
    fn take_chunk(&mut self, node: NodeId, message: &Bytes, id: SnapshotId, chunk: Chunk) -> Option<u64> {
        let term = sent_in(node, message, id).filter(|_| self.group.is_some())?;
        if self.is_known(id.index) {
            // Raft tells the leader how far it is.
            self.heard_raft(node, message);
            return Some(id.bytes);
        }
        if self.transfers.done.as_ref().is_some_and(|(done, known)| *done == id && known == message) {
            // Raft had no use for it. The answer was lost.
            return Some(id.bytes);
        }
        self.transfers.take(id, term, chunk)
    }

    /// Hands a snapshot to Raft, if all of it is here.
    fn take_whole(&mut self, node: NodeId, message: &Bytes) {
        let Some(bytes) = self.transfers.whole(message) else { return };
        self.transfers.arrived = Some(bytes);
        self.heard_raft(node, message);
        // Raft says what it makes of it at once, or has no use for it.
        self.run();
        self.transfers.arrived = None;
    }
}

/// The term in which `node` leads, by the message of Raft that came with a chunk of snapshot `id`; nothing if it is not about that.
fn sent_in(node: NodeId, message: &Bytes, id: SnapshotId) -> Option<Term> {
    let message = wrs_raft::wire::decode(message).ok()?;
    let Body::Snapshot { meta } = &message.body else { return None };
    let fits = message.from == raft_id(node) && (meta.index, meta.term) == (id.index, id.term);
    fits.then_some(message.term)
}

#[cfg(test)]
mod tests {
    use wrs_raft::{ClusterId, Conf, Incarnation, SnapshotMeta};

    use super::super::Deed;
    use super::super::rig::{Rig, millis};
    use super::super::snapshot::tests::snapshot_of;
    use super::*;

    /// A node of three, and what it is sent and says.
    struct Bench {
        rig: Rig,
        /// The node.
        n: usize,
        restored: u32,
    }

    impl Bench {
        /// The leader, or one that follows it.
        fn new(leads: bool) -> Bench {
            let mut rig = Rig::of(1, 3);
            rig.settle_within(millis(4_000));
            let leader = rig.leader().unwrap();
            Bench { rig, n: if leads { leader } else { (leader + 1) % 3 }, restored: 0 }
        }

        fn cluster(&mut self) -> &mut Cluster {
            &mut self.rig.nodes.get_mut(&self.n).unwrap().cluster
        }

        /// Another node: `nth` counts from this one on.
        fn other(&self, nth: usize) -> usize {
            (self.n + nth) % 3
        }

        fn node(&self, nth: usize) -> NodeId {
            self.rig.nodes[&self.other(nth)].cluster.node()
        }

        /// What another node's Raft says.
        fn message(&mut self, nth: usize, term: Term, body: Body) -> Message {
            let (from, to) = (raft_id(self.node(nth)), raft_id(self.cluster().node()));
            Message { cluster: ClusterId(77), from, incarnation: Incarnation(0), to, term, session: 0, body }
        }

        fn meta(&mut self, index: u64) -> SnapshotMeta {
            let conf: Conf = self.cluster().group.as_ref().unwrap().raft.conf().clone();
            SnapshotMeta { index, term: 1, conf }
        }

        /// A snapshot that another leader sends.
        fn snapshot(&mut self, nth: usize, term: Term, index: u64) -> Snapshot {
            let meta = self.meta(index);
            let bytes = snapshot_of(self.cluster().members(), 16_000);
            assert!(bytes.len() as u64 > 3 * CHUNK_BYTES);
            let id = SnapshotId::of(index, meta.term, &bytes);
            let mut message = BytesMut::new();
            wrs_raft::wire::encode(&self.message(nth, term, Body::Snapshot { meta: Box::new(meta) }), &mut message);
            Snapshot { nth, id, bytes, message: message.freeze() }
        }

        /// Gives a piece from another node: the pieces that this node says.
        fn hear(&mut self, nth: usize, message: Bytes, part: &Part) -> Vec<Said> {
            let mut bytes = BytesMut::new();
            wrs_raft::wire::encode_part(part, &mut bytes);
            self.say(nth, &ControlMessage::Part { message, part: bytes.freeze() })
        }

        fn say(&mut self, nth: usize, message: &ControlMessage) -> Vec<Said> {
            let life = self.rig.nodes[&self.other(nth)].cluster.life();
            let now = self.cluster().now;
            self.cluster().heard(now, life, &super::super::wire::encode(message));
            self.said()
        }

        fn said(&mut self) -> Vec<Said> {
            let mut said = Vec::new();
            while let Some(deed) = self.cluster().next_deed() {
                match deed {
                    Deed::Post { bytes, .. } => {
                        if let Some(ControlMessage::Part { part, .. }) = super::super::wire::decode(&bytes) {
                            said.push(match wrs_raft::wire::decode_part(&part).unwrap() {
                                Part::Chunk { id, offset, .. } => Said::Chunk(id, offset),
                                Part::Want { id, offset } => Said::Want(id, offset),
                            });
                        }
                    }
                    Deed::Restore(_) => self.restored += 1,
                    Deed::Fail(why) => panic!("{why}"),
                    _ => {}
                }
            }
            said
        }

        /// Gives the chunk at `offset`: how much is here then, if that is answered.
        fn chunk(&mut self, snapshot: &Snapshot, offset: u64) -> Option<u64> {
            let Snapshot { nth, id, bytes, message } = snapshot;
            let end = (offset + CHUNK_BYTES).min(id.bytes);
            let part = Part::chunk(*id, offset, bytes.slice(offset as usize..end as usize));
            match &self.hear(*nth, message.clone(), &part)[..] {
                [] => None,
                [Said::Want(about, offset)] if about == id => Some(*offset),
                other => panic!("{other:?}"),
            }
        }

        /// Gives all of it.
        fn whole(&mut self, snapshot: &Snapshot) {
            let mut offset = 0;
            while offset < snapshot.id.bytes {
                offset = self.chunk(snapshot, offset).unwrap();
            }
        }

        fn term(&mut self) -> Term {
            self.cluster().term()
        }

        /// Another node leads in `term`.
        fn led_by(&mut self, nth: usize, term: Term) {
            let message = self.message(nth, term, Body::Heartbeat { commit: 0, round: 1 });
            let mut bytes = BytesMut::new();
            wrs_raft::wire::encode(&message, &mut bytes);
            self.say(nth, &ControlMessage::Raft(bytes.freeze()));
            assert_eq!(self.term(), term);
        }

        /// Begins to send a snapshot as of `index` to another node, as leader of `term`.
        fn send(&mut self, nth: usize, term: Term, index: u64) -> (SnapshotId, Vec<Said>) {
            let (meta, to) = (self.meta(index), raft_id(self.node(nth)));
            let bytes = snapshot_of(self.cluster().members(), 16_000);
            let id = SnapshotId::of(index, meta.term, &bytes);
            let message = self.message(nth, term, Body::Snapshot { meta: Box::new(meta) });
            self.cluster().snapshots.keep(index, bytes);
            self.cluster().send_snapshot(to, &message);
            (id, self.said())
        }

        fn is_sending(&mut self) -> bool {
            !self.cluster().transfers.sending.is_empty()
        }
    }

    /// A piece, without its bytes.
    #[derive(Debug, PartialEq, Eq)]
    enum Said {
        Chunk(SnapshotId, u64),
        Want(SnapshotId, u64),
    }

    struct Snapshot {
        nth: usize,
        id: SnapshotId,
        bytes: Bytes,
        message: Bytes,
    }

    const FAR: u64 = 1_000_000;

    #[test]
    fn an_old_leader_and_a_new_one_do_not_undo_each_others_transfer() {
        let mut bench = Bench::new(false);
        let term = bench.term();
        let (old, new) = (bench.snapshot(1, term + 1, FAR + 7), bench.snapshot(2, term + 2, FAR));
        assert_eq!(bench.chunk(&old, 0), Some(CHUNK_BYTES));
        let mut offset = 0;
        for _ in 0..new.id.bytes.div_ceil(CHUNK_BYTES) {
            offset = bench.chunk(&new, offset).unwrap();
            let answer = bench.chunk(&old, CHUNK_BYTES);
            assert!(answer.is_none() || offset == new.id.bytes, "{answer:?} while {offset} of the newer are here");
        }
        assert_eq!((offset, bench.restored), (new.id.bytes, 1));
    }

    #[test]
    fn a_newer_snapshot_of_one_leader_takes_the_place_of_the_older() {
        let mut bench = Bench::new(false);
        let term = bench.term() + 1;
        let (old, new) = (bench.snapshot(1, term, FAR), bench.snapshot(1, term, FAR + 1));
        assert_eq!(bench.chunk(&old, 0), Some(CHUNK_BYTES));
        assert_eq!(bench.chunk(&new, 0), Some(CHUNK_BYTES));
        assert_eq!(bench.chunk(&old, CHUNK_BYTES), None);
        bench.whole(&new);
        assert_eq!(bench.restored, 1);
    }

    #[test]
    fn a_last_chunk_that_comes_again_is_answered_as_done() {
        let mut bench = Bench::new(false);
        let term = bench.term() + 1;
        let snapshot = bench.snapshot(1, term, FAR);
        bench.whole(&snapshot);
        let last = (snapshot.id.bytes - 1) / CHUNK_BYTES * CHUNK_BYTES;
        assert_eq!(bench.chunk(&snapshot, last), Some(snapshot.id.bytes));
        // Nor does one begin that says no more than this one did.
        let less = bench.snapshot(2, term + 1, FAR - 1);
        assert_eq!(bench.chunk(&less, 0), Some(less.id.bytes));
        assert_eq!(bench.restored, 1);
        assert!(bench.cluster().transfers.receiving.is_none());
    }

    #[test]
    fn what_raft_had_no_use_for_is_done_for_its_sender_and_not_for_another() {
        let mut bench = Bench::new(false);
        let term = bench.term();
        bench.led_by(2, term + 5);
        let stale = bench.snapshot(1, term + 1, FAR);
        bench.whole(&stale);
        assert_eq!(bench.restored, 0);
        let last = (stale.id.bytes - 1) / CHUNK_BYTES * CHUNK_BYTES;
        assert_eq!(bench.chunk(&stale, last), Some(stale.id.bytes));
        let same = bench.snapshot(2, term + 5, FAR);
        assert_eq!(same.id, stale.id);
        assert_eq!(bench.chunk(&same, 0), Some(CHUNK_BYTES));
        bench.whole(&same);
        assert_eq!(bench.restored, 1);
    }

    #[test]
    fn a_chunk_whose_message_is_of_another_snapshot_or_node_is_not_taken() {
        let mut bench = Bench::new(false);
        let term = bench.term() + 1;
        let (one, other) = (bench.snapshot(1, term, FAR), bench.snapshot(1, term, FAR + 1));
        let mixed = Snapshot { message: other.message, ..one };
        assert_eq!(bench.chunk(&mixed, 0), None);
        let mixed = Snapshot { nth: 2, ..bench.snapshot(1, term, FAR) };
        assert_eq!(bench.chunk(&mixed, 0), None);
        let mixed = Snapshot { message: Bytes::new(), ..bench.snapshot(1, term, FAR) };
        assert_eq!(bench.chunk(&mixed, 0), None);
        assert!(bench.cluster().transfers.receiving.is_none());
    }

    #[test]
    fn a_snapshot_that_others_have_overtaken_is_not_kept() {
        let mut bench = Bench::new(false);
        let term = bench.term() + 1;
        let snapshot = bench.snapshot(1, term, FAR);
        bench.chunk(&snapshot, 0);
        let transfers = &mut bench.cluster().transfers;
        transfers.forget_known(FAR - 1);
        assert!(transfers.receiving.is_some());
        transfers.forget_known(FAR);
        assert!(transfers.receiving.is_none());
    }

    #[test]
    fn who_leads_no_more_stops_sending() {
        let mut bench = Bench::new(true);
        let term = bench.term();
        let (id, sent) = bench.send(1, term, 5);
        assert_eq!(sent, [Said::Chunk(id, 0)]);
        let sent = bench.hear(1, Bytes::new(), &Part::Want { id, offset: CHUNK_BYTES });
        assert_eq!(sent, [Said::Chunk(id, CHUNK_BYTES)]);
        bench.led_by(2, term + 1);
        let sent = bench.hear(1, Bytes::new(), &Part::Want { id, offset: 2 * CHUNK_BYTES });
        assert_eq!((sent, bench.is_sending()), (vec![], false));
    }

    #[test]
    fn what_was_to_be_sent_in_an_earlier_term_is_not() {
        let mut bench = Bench::new(true);
        let term = bench.term();
        let (_, sent) = bench.send(1, term - 1, 5);
        assert_eq!((sent, bench.is_sending()), (vec![], false));
    }

    #[test]
    fn who_is_not_answered_gives_up_and_who_is_does_not() {
        for answered in [false, true] {
            let mut bench = Bench::new(true);
            let term = bench.term();
            let (id, mut sent) = bench.send(1, term, 5);
            for _ in 0..3 * SILENT_CHUNKS_MAX {
                let cluster = bench.cluster();
                cluster.now = cluster.now + RETRY_AFTER;
                cluster.look_at_transfers();
                sent.extend(bench.said());
                if answered {
                    // The chunk was damaged on its way.
                    assert_eq!(bench.hear(1, Bytes::new(), &Part::Want { id, offset: 0 }), []);
                }
            }
            assert_eq!(bench.is_sending(), answered);
            let most = if answered { 1 + 3 * SILENT_CHUNKS_MAX } else { 1 + SILENT_CHUNKS_MAX };
            assert_eq!(sent.len(), most as usize);
        }
    }
}

//! The whole of what is agreed on as bytes: made in small slices while changes go on, brought to others in chunks, restored.
//!
//! The catalogue is written in the order of its ids. What changes behind the pen is noted and written again at the end, so that
//! the bytes are the state as of one number although no turn of the loop ever takes long. Rule guarded: a slice is a few
//! hundred channels, far below a millisecond.
//!
//! Layout: version u8; then items until the end: 1 a channel is (again) this, 2 a channel is not; 0 the rest: epoch, members,
//! lives whose clients may linger, last change of each life.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use wrs_raft::snapshot::{Incoming, Outgoing, Part, Received, SnapshotId};
use wrs_raft::{Input, Message, SnapshotMeta};

use super::codec::{put_channel, read_channel};
use super::fields::{Reader, put_count, put_member};
use super::group::{raft_id, raft_time};
use super::wire::ControlMessage;
use super::{Cluster, Deed, State};
use crate::catalogue::{Catalogue, Channel, Command};
use crate::id::{ChannelId, Life, NodeId};
use crate::members::Members;

const VERSION: u8 = 1;
const REST: u8 = 0;
const CHANNEL: u8 = 1;
const NO_CHANNEL: u8 = 2;
/// Channels in one slice.
const SLICE_CHANNELS: usize = 512;
/// Bytes in one chunk of a transfer.
const CHUNK_BYTES: u64 = 256 * 1024;
/// When a chunk that nobody has answered is sent again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest snapshot that is taken from another node, in bytes.
const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;

/// A snapshot that is being made.
#[derive(Debug, Default)]
struct Making {
    out: BytesMut,
    /// The last channel that is written; `None` before the first.
    pen: Option<ChannelId>,
    /// Whether all are.
    through: bool,
    /// Those that have changed since they were.
    dirty: BTreeSet<ChannelId>,
}

impl Making {
    fn new() -> Self {
        let mut making = Making::default();
        making.out.put_u8(VERSION);
        making
    }

    /// A change is applied to the catalogue.
    fn note(&mut self, command: &Command) {
        match command {
            Command::Create { id, .. } | Command::Delete { id, .. } => {
                if self.through || self.pen.is_some_and(|pen| *id <= pen) {
                    self.dirty.insert(*id);
                }
            }
            Command::Reset => *self = Making::new(),
            Command::Node(_) => {}
        }
    }

    /// Writes some more. True: all channels are as the catalogue has them.
    fn slice(&mut self, catalogue: &Catalogue) -> bool {
        let mut room = SLICE_CHANNELS;
        if !self.through {
            let mut channels = catalogue.range(self.pen);
            for (id, entry) in channels.by_ref().take(room) {
                put_item(&mut self.out, id, Some(&entry.channel));
                self.pen = Some(id);
                room -= 1;
            }
            self.through = channels.next().is_none();
        }
        while let Some(id) = if room > 0 { self.dirty.pop_first() } else { None } {
            put_item(&mut self.out, id, catalogue.get(id).map(|entry| &entry.channel));
            room -= 1;
        }
        self.through && self.dirty.is_empty()
    }
}

fn put_item(out: &mut BytesMut, id: ChannelId, channel: Option<&Channel>) {
    match channel {
        Some(channel) => {
            out.put_u8(CHANNEL);
            put_channel(out, id, channel);
        }
        None => {
            out.put_u8(NO_CHANNEL);
            out.put_u128_le(id.bits());
        }
    }
}

fn put_rest(out: &mut BytesMut, members: &Members, seen: &BTreeMap<Life, u64>) {
    out.put_u8(REST);
    out.put_u64_le(members.epoch());
    put_count(out, members.iter().count());
    for (node, member) in members.iter() {
        out.put_u64_le(node.0);
        put_member(out, member);
    }
    put_count(out, members.lingering().count());
    members.lingering().for_each(|life| out.put_u64_le(life.0));
    put_count(out, seen.len());
    for (life, seq) in seen {
        out.put_u64_le(life.0);
        out.put_u64_le(*seq);
    }
}

/// What a snapshot says.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) channels: Vec<(ChannelId, Channel)>,
    pub(super) members: Members,
    pub(super) seen: BTreeMap<Life, u64>,
}

/// What the bytes of a snapshot say; `None` if they are none.
pub(super) fn read(bytes: &Bytes) -> Option<Whole> {
    let mut reader = Reader::new(bytes.clone());
    if reader.u8()? != VERSION {
        return None;
    }
    let mut channels = BTreeMap::new();
    loop {
        match reader.u8()? {
            CHANNEL => {
                let (id, channel) = read_channel(&mut reader)?;
                channels.insert(id, channel);
            }
            NO_CHANNEL => {
                channels.remove(&ChannelId::from_bits(reader.u128()?, ChannelId::GROUP_DIGITS_MAX));
            }
            REST => break,
            _ => return None,
        }
    }
    let epoch = reader.u64()?;
    let nodes = reader.list(30, |reader| Some((reader.node()?, reader.member()?)))?;
    let lingering = reader.list(8, Reader::life)?;
    let seen = reader.list(16, |reader| Some((reader.life()?, reader.u64()?)))?;
    let members = Members::restore(epoch, nodes.into_iter().collect(), lingering.into_iter().collect());
    let channels = channels.into_iter().collect();
    reader.end(Whole { channels, members, seen: seen.into_iter().collect() })
}

/// One on its way to another node.
#[derive(Debug)]
struct Sending {
    outgoing: Outgoing,
    id: SnapshotId,
    bytes: Bytes,
    /// Raft's message, for when it is there.
    message: Bytes,
}

/// One on its way here.
#[derive(Debug)]
struct Receiving {
    incoming: Incoming,
    bytes: BytesMut,
}

/// The newest snapshot, and those under way.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    making: Option<Making>,
    /// Whether somebody needs one that is newer.
    wanted: bool,
    /// Whether one is on its way to the data directory.
    pub(super) storing: bool,
    /// The newest: its number and bytes. None: nobody needed its bytes.
    pub(super) newest: Option<(u64, Bytes)>,
    /// Bytes of the one before, which the log must outgrow.
    last_bytes: u64,
    sending: BTreeMap<NodeId, Sending>,
    receiving: Option<Receiving>,
    /// One that is here whole and whose message Raft is looking at.
    arrived: Option<Bytes>,
}

impl Snapshots {
    /// Whether a slice is due.
    pub(super) fn is_making(&self) -> bool {
        self.making.is_some()
    }

    /// The newest is this one.
    pub(super) fn keep(&mut self, index: u64, bytes: Bytes) {
        self.last_bytes = bytes.len() as u64;
        self.newest = Some((index, bytes));
    }

    /// A change is handed to the shard.
    pub(super) fn note(&mut self, command: &Command) {
        if let Some(making) = &mut self.making {
            making.note(command);
        }
    }
}

impl Cluster {
    /// Shows the catalogue, for a [`Deed::Slice`].
    pub fn slice(&mut self, catalogue: &Catalogue) {
        // What is handed out and not yet done would be missing.
        let whole = !self.deeds.iter().any(|deed| matches!(deed, Deed::Apply { .. } | Deed::Restore(_)));
        let Some(making) = &mut self.snapshots.making else { return };
        if !making.slice(catalogue) || !whole {
            return;
        }
        let Some(mut done) = self.snapshots.making.take() else { return };
        put_rest(&mut done.out, &self.members, self.changes.seen());
        self.snapshot_made(Some(done.out.freeze()));
    }

    /// A snapshot of all that is applied is there, or nobody needs its bytes.
    fn snapshot_made(&mut self, bytes: Option<Bytes>) {
        let Some(group) = &self.group else { return };
        let Some(meta) = group.raft.snapshot_meta(group.raft.log().applied()) else { return };
        self.snapshots.wanted = false;
        match bytes {
            Some(bytes) if self.is_kept() => {
                self.snapshots.storing = true;
                return self.keep_snapshot(meta, bytes);
            }
            Some(bytes) => self.snapshots.keep(meta.index, bytes),
            None => self.snapshots.newest = None,
        }
        self.step(Input::SnapshotTaken { meta });
    }

    /// Begins a snapshot if it is time for one.
    pub(super) fn look_at_snapshots(&mut self) {
        let Some(group) = &self.group else { return };
        let (log, taken) = (group.raft.log(), group.raft.snapshot().index);
        let entries = log.applied().saturating_sub(taken);
        let long = entries >= self.config.snapshot_length && log.bytes() >= self.snapshots.last_bytes;
        let busy = self.snapshots.making.is_some() || self.snapshots.storing;
        if busy || !(long || self.snapshots.wanted) || entries == 0 {
            return;
        }
        if self.is_alone() && !self.is_kept() {
            // Nobody reads it: the log alone is to be forgotten.
            return self.snapshot_made(None);
        }
        self.snapshots.making = Some(Making::new());
    }

    pub(super) fn want_snapshot(&mut self) {
        self.snapshots.wanted = true;
    }

    /// Whether the bytes that Raft's next message stands for are here.
    pub(super) fn has_arrived(&self) -> bool {
        self.snapshots.arrived.is_some()
    }

    // To others.

    /// Raft wants another node to have the newest snapshot.
    pub(super) fn send_snapshot(&mut self, to: wrs_raft::NodeId, message: &Message) {
        let node = NodeId(to.0);
        let wrs_raft::Body::Snapshot { meta } = &message.body else { return };
        let bytes = match &self.snapshots.newest {
            Some((index, bytes)) if *index == meta.index => bytes.clone(),
            _ => {
                self.snapshots.wanted = true;
                self.step(Input::SnapshotSent { to, delivered: false });
                return;
            }
        };
        let id = SnapshotId::of(meta.index, meta.term, &bytes);
        let mut encoded = BytesMut::new();
        wrs_raft::wire::encode(message, &mut encoded);
        let outgoing = Outgoing::new(id, CHUNK_BYTES, RETRY_AFTER);
        self.snapshots.sending.insert(node, Sending { outgoing, id, bytes, message: encoded.freeze() });
        self.send_chunks(node);
    }

    /// Sends what is due of a transfer.
    fn send_chunks(&mut self, node: NodeId) {
        let now = raft_time(self.now);
        let Some(sending) = self.snapshots.sending.get_mut(&node) else { return };
        if sending.outgoing.is_done() {
            self.snapshots.sending.remove(&node);
            self.step(Input::SnapshotSent { to: raft_id(node), delivered: true });
            return;
        }
        let Some(range) = sending.outgoing.next(now) else { return };
        let ends = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(sending.bytes.len());
        let chunk = sending.bytes.slice(ends(range.start)..ends(range.end));
        let mut part = BytesMut::new();
        wrs_raft::wire::encode_part(&Part::chunk(sending.id, range.start, chunk), &mut part);
        let message = sending.message.clone();
        if !self.post_to(node, &ControlMessage::Part { message, part: part.freeze() }) {
            self.snapshots.sending.remove(&node);
            self.step(Input::SnapshotSent { to: raft_id(node), delivered: false });
        }
    }

    /// Chunks that nobody has answered are sent again.
    pub(super) fn look_at_transfers(&mut self) {
        let nodes: Vec<NodeId> = self.snapshots.sending.keys().copied().collect();
        for node in nodes {
            self.send_chunks(node);
        }
    }

    // From others.

    pub(super) fn heard_part(&mut self, node: NodeId, message: &Bytes, part: &Bytes) {
        match wrs_raft::wire::decode_part(part) {
            Ok(Part::Want { id, offset }) => {
                if let Some(sending) = self.snapshots.sending.get_mut(&node).filter(|sending| sending.id == id) {
                    sending.outgoing.wanted(offset);
                    self.send_chunks(node);
                }
            }
            Ok(Part::Chunk { id, offset, checksum, bytes }) if id.bytes <= SNAPSHOT_BYTES_MAX => {
                self.take_chunk(node, message, id, (offset, checksum, bytes));
            }
            _ => {}
        }
    }

    fn take_chunk(&mut self, node: NodeId, message: &Bytes, id: SnapshotId, chunk: (u64, u32, Bytes)) {
        if self.snapshots.receiving.as_ref().is_none_or(|receiving| receiving.incoming.id() != id) {
            self.snapshots.receiving = Some(Receiving { incoming: Incoming::new(id), bytes: BytesMut::new() });
        }
        let Some(receiving) = &mut self.snapshots.receiving else { return };
        match receiving.incoming.receive(chunk.0, chunk.1, chunk.2) {
            Received::Write { bytes, .. } => receiving.bytes.extend_from_slice(&bytes),
            Received::Nothing => {}
            // It may have begun again.
            Received::Damaged => {
                let have = usize::try_from(receiving.incoming.have()).unwrap_or(0);
                receiving.bytes.truncate(have);
            }
        }
        let (complete, offset) = (receiving.incoming.is_complete(), receiving.incoming.have());
        let mut part = BytesMut::new();
        wrs_raft::wire::encode_part(&Part::Want { id, offset }, &mut part);
        self.post_to(node, &ControlMessage::Part { message: Bytes::new(), part: part.freeze() });
        if complete && let Some(receiving) = self.snapshots.receiving.take() {
            self.snapshots.arrived = Some(receiving.bytes.freeze());
            self.heard_raft(node, message);
            // Raft says what it makes of it at once, or has no use for it.
            self.run();
            self.snapshots.arrived = None;
        }
    }

    /// Raft takes a snapshot in place of its log: the bytes have arrived before.
    pub(super) fn restore_arrived(&mut self, meta: &SnapshotMeta) -> Option<Bytes> {
        let bytes = self.snapshots.arrived.take()?;
        match read(&bytes) {
            Some(whole) => {
                self.snapshots.making = None;
                self.snapshots.keep(meta.index, bytes.clone());
                self.restore(meta.index, whole);
                Some(bytes)
            }
            None => {
                self.fail("a snapshot from another node cannot be read".to_owned());
                None
            }
        }
    }

    /// Puts a state in place of this node's.
    pub(super) fn restore(&mut self, index: u64, whole: Whole) {
        let Whole { channels, members, seen } = whole;
        let was_live = self.is_live();
        self.changes.restored(seen, self.me.life);
        self.members = members;
        self.channels = channels.len() as u64;
        self.handed = index;
        let number = self.base + index;
        self.deeds.push_back(Deed::Restore(Box::new(State { number, channels, left: false })));
        if was_live && !self.is_live() {
            self.changes.life_lost();
            self.begin_life();
        }
        self.look_soon();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::codec::tests::{channel, member};
    use super::*;
    use crate::time::Time;

    proptest! {
        /// Whatever changes between two slices, the bytes are the state at the end.
        #[test]
        fn a_snapshot_made_in_slices_is_the_state_at_its_end(
            before in proptest::collection::btree_map(0..4000u128, channel(), 0..1500),
            rounds in proptest::collection::vec(
                proptest::collection::vec((0..4000u128, proptest::option::of(channel())), 0..40), 1..8),
            reset in proptest::option::of(0..8usize),
            nodes in proptest::collection::btree_map(1..50u64, member(), 0..5),
        ) {
            let id = |n| ChannelId::from_bits(n, 16);
            let mut catalogue = Catalogue::new();
            for (n, channel) in before {
                catalogue.apply(Time::ZERO, &Command::Create { id: id(n), channel }, |_, _| ());
            }
            let mut making = Making::new();
            for (turn, changes) in rounds.into_iter().enumerate() {
                making.slice(&catalogue);
                let mut commands: Vec<Command> = changes.into_iter().map(|(n, channel)| match channel {
                    Some(channel) => Command::Create { id: id(n), channel },
                    None => Command::Delete { id: id(n), why: crate::catalogue::Removal::Deleted },
                }).collect();
                if reset == Some(turn) {
                    commands.push(Command::Reset);
                }
                for command in commands {
                    making.note(&command);
                    catalogue.apply(Time::ZERO, &command, |_, _| ());
                }
            }
            while !making.slice(&catalogue) {}
            let nodes: BTreeMap<_, _> = nodes.into_iter().map(|(node, member)| (NodeId(node), member)).collect();
            let members = Members::restore(9, nodes, BTreeSet::from([Life(4)]));
            let seen = BTreeMap::from([(Life(1), 7)]);
            put_rest(&mut making.out, &members, &seen);
            let whole = read(&making.out.freeze()).unwrap();
            let expected: Vec<_> = catalogue.range(None).map(|(id, entry)| (id, entry.channel.clone())).collect();
            prop_assert_eq!(whole.channels, expected);
            prop_assert_eq!(whole.members, members);
            prop_assert_eq!(whole.seen, seen);
        }

        #[test]
        fn bytes_that_are_no_snapshot_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&Bytes::from(bytes));
        }
    }
}

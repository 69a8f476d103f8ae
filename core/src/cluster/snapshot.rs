//! The whole of what is agreed on as bytes: made in small slices while changes go on, and restored. [`transfer`](super::transfer)
//! brings them to others.
//!
//! The catalogue is written in the order of its ids. What changes behind the pen is noted and written again at the end, so that
//! the bytes are the state as of one number although no turn of the loop ever takes long. Rule guarded: a slice is a few
//! hundred channels, far below a millisecond.
//!
//! Layout: version u8; then items until the end: 1 a channel is (again) this, 2 a channel is not; 0 the rest: epoch, members,
//! lives whose clients may linger, last change of each life.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use wrs_raft::{Input, SnapshotMeta};

use super::codec::{put_channel, read_channel};
use super::fields::{Reader, put_count, put_member};
use super::{Cluster, Deed, State};
use crate::catalogue::{Catalogue, Channel, Command};
use crate::id::{ChannelId, Life};
use crate::members::Members;

const VERSION: u8 = 1;
const REST: u8 = 0;
const CHANNEL: u8 = 1;
const NO_CHANNEL: u8 = 2;
/// Channels in one slice.
const SLICE_CHANNELS: usize = 512;

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

/// The newest snapshot, and the next.
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

    /// The bytes of the newest, if it is the one as of `index`.
    pub(super) fn bytes_at(&self, index: u64) -> Option<Bytes> {
        self.newest.as_ref().filter(|(newest, _)| *newest == index).map(|(_, bytes)| bytes.clone())
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

    /// Raft takes a snapshot in place of its log: the bytes have arrived before.
    pub(super) fn restore_arrived(&mut self, meta: &SnapshotMeta) -> Option<Bytes> {
        let bytes = self.transfers.arrived()?;
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
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::codec::tests::{channel, echo, member};
    use super::*;
    use crate::id::NodeId;
    use crate::time::Time;

    /// The bytes that say that there are `members` and `count` channels.
    pub(in super::super) fn snapshot_of(members: &Members, count: u128) -> Bytes {
        let mut making = Making::new();
        for n in 0..count {
            put_item(&mut making.out, ChannelId::from_bits(n, 16), Some(&echo()));
        }
        put_rest(&mut making.out, members, &BTreeMap::new());
        making.out.freeze()
    }

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

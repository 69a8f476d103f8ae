//! Snapshots as bytes in small chunks: what a driver does with [`wrs_raft::snapshot`], over the faulty network, with the part that has
//! arrived on a disk of its own that a crash may tear.
//!
//! This is a driver's whole duty towards it: a transfer to each peer, given up after some silence and where this node leads that term no
//! more; one transfer in, that of the newest leader, and none of what is known to be committed; the part that is here kept over a crash; and the message handed to the machine only once all bytes are here and durable.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use wrs_raft::snapshot::{Incoming, Outgoing, Part, Received, SnapshotId};
use wrs_raft::wire::{decode_part, encode_part};
use wrs_raft::{Body, Input, Message, NodeId, Raft, Time};

use super::app::App;
use super::node::Saved;
use super::world::{Event, World};
use crate::sim::{Crash, Disk, FileId, MICRO};

/// Chunks that go unanswered before a transfer is given up.
const SILENT_CHUNKS_MAX: u32 = 6;

/// A snapshot on its way to a peer.
#[derive(Debug)]
struct Sending {
    outgoing: Outgoing,
    id: SnapshotId,
    bytes: Bytes,
    message: Rc<Message>,
    /// Counts what is done for it; timers of an earlier turn are void.
    turn: u64,
    silent: u32,
    /// What the peer said last that it wants.
    wanted: Option<u64>,
}

/// A snapshot on its way here.
#[derive(Debug)]
struct Receiving {
    incoming: Incoming,
    /// The term of the leader that sends it.
    term: u64,
}

/// The transfers of one node.
#[derive(Debug)]
pub struct Transfers {
    sending: BTreeMap<u64, Sending>,
    receiving: Option<Receiving>,
    /// What came whole in this life, and whether it is durable.
    done: Option<(SnapshotId, bool)>,
    /// Where parts are kept.
    store: Disk,
    /// What part is kept, and where: a crash takes it not, but perhaps some of its bytes.
    part: Option<(SnapshotId, FileId)>,
    files: FileId,
    turns: u64,
}

impl Transfers {
    /// None; parts are kept in `store`.
    pub fn new(store: Disk) -> Transfers {
        Transfers { sending: BTreeMap::new(), receiving: None, done: None, store, part: None, files: 0, turns: 0 }
    }

    /// The process ends.
    pub fn crash(&mut self, crash: Crash) {
        self.sending.clear();
        self.receiving = None;
        self.done = None;
        self.store.crash(crash);
    }

    /// The disk, or memory, is another.
    pub fn wipe(&mut self) {
        self.crash(Crash::LoseAll);
        self.store.wipe();
        self.part = None;
    }

    /// Whether a part of a snapshot is here.
    pub fn is_receiving(&self) -> bool {
        self.part.is_some()
    }

    /// Begins to receive `id`, with what is here of it.
    fn begin(&mut self, id: SnapshotId, term: u64) -> usize {
        let kept = self.part.filter(|(known, _)| *known == id);
        let incoming = match kept {
            Some((_, file)) => {
                let incoming = Incoming::resume(id, &self.store.read(file));
                self.store.truncate(file, incoming.have() as usize);
                incoming
            }
            None => {
                self.new_file(id);
                Incoming::new(id)
            }
        };
        let have = incoming.have() as usize;
        self.receiving = Some(Receiving { incoming, term });
        have
    }

    /// An empty file in place of the part that is kept.
    fn new_file(&mut self, id: SnapshotId) {
        self.drop_part();
        self.files += 1;
        self.part = Some((id, self.files));
    }

    fn drop_part(&mut self) {
        if let Some((_, file)) = self.part.take() {
            self.store.remove(file);
            self.store.sync_directory();
        }
    }
}

impl World {
    /// Begins to send a snapshot's bytes.
    pub(super) fn begin_transfer(&mut self, slot: usize, to: NodeId, message: Message, saved: &Saved) {
        let Body::Snapshot { meta } = &message.body else { return };
        let bytes = saved.app.encode(self.plan.snapshot_padding);
        let known = self.history.snapshots.entry(meta.index).or_insert_with(|| bytes.clone());
        if *known != bytes {
            let detail = format!("node {} sends another state at {}", slot + 1, meta.index);
            return self.fail("a snapshot is what it says", detail);
        }
        let id = SnapshotId::of(meta.index, meta.term, &bytes);
        let retry = Duration::from_nanos(self.plan.chunk_retry);
        let outgoing = Outgoing::new(id, self.plan.chunk_bytes, retry);
        let sending = Sending { outgoing, id, bytes, message: Rc::new(message), turn: 0, silent: 0, wanted: None };
        if self.nodes[slot].transfers.sending.insert(to.0, sending).is_some() {
            self.coverage.hit("transfers replaced");
        }
        self.send_chunk(slot, to.0);
    }

    /// Sends what is due of a transfer, or tells the machine how it ended.
    pub(super) fn send_chunk(&mut self, slot: usize, to: u64) {
        let now = self.agenda.now();
        let node = &mut self.nodes[slot];
        let local = Time::from_nanos(node.clock.local(now));
        let leads = node.machine.as_ref().filter(|_| node.leads()).map(Raft::term);
        let transfers = &mut node.transfers;
        let Some(sending) = transfers.sending.get_mut(&to) else { return };
        let done = sending.outgoing.is_done();
        let stale = leads != Some(sending.message.term);
        if done || sending.silent > SILENT_CHUNKS_MAX || (self.plan.tidy_senders && stale) {
            transfers.sending.remove(&to);
            self.coverage.hit(if done { "transfers done" } else { "transfers given up" });
            let input = Input::SnapshotSent { to: NodeId(to), delivered: done };
            self.inputs.push_back((slot, self.nodes[slot].life, input));
            return;
        }
        transfers.turns += 1;
        sending.turn = transfers.turns;
        let (turn, life) = (sending.turn, node.life);
        let range = sending.outgoing.next(local);
        let astray = range.as_ref().filter(|range| sending.wanted.is_some_and(|wanted| wanted != range.start)).cloned();
        let part = range.map(|range| {
            sending.silent += 1;
            let bytes = sending.bytes.slice(range.start as usize..range.end as usize);
            (Part::chunk(sending.id, range.start, bytes), sending.message.clone())
        });
        let retry = local + Duration::from_nanos(self.plan.chunk_retry);
        let at = node.clock.true_at(retry.as_nanos()).max(now + MICRO);
        self.agenda.at(at, Event::Retry { node: slot, life, to, turn });
        if let Some(range) = astray {
            return self.fail("a sender sends what is wanted", format!("node {} sends {range:?} to {to}", slot + 1));
        }
        if let Some((part, message)) = part {
            self.send_part(slot, to, Some(message), part);
        }
    }

    /// Nothing was heard of a transfer for a while.
    pub(super) fn retry(&mut self, slot: usize, to: u64, turn: u64) {
        if self.nodes[slot].transfers.sending.get(&to).is_some_and(|sending| sending.turn == turn) {
            self.send_chunk(slot, to);
        }
    }

    fn send_part(&mut self, slot: usize, to: u64, message: Option<Rc<Message>>, part: Part) {
        if self.plan.codec {
            let mut out = BytesMut::new();
            encode_part(&part, &mut out);
            if decode_part(&out.freeze()).as_ref() != Ok(&part) {
                return self.fail("a message comes back from its bytes", format!("{part:?}"));
            }
        }
        let (now, place) = (self.agenda.now(), to as usize - 1);
        let mut arrivals = [None; 2];
        self.network.carry(now, slot, place, |at| arrivals[usize::from(arrivals[0].is_some())] = Some(at));
        for at in arrivals.into_iter().flatten() {
            let part = Box::new(self.damage(&part));
            self.agenda.at(at, Event::Part { to: place, from: slot, message: message.clone(), part });
        }
    }

    /// What arrives of a part: a chunk may have a bit changed that no link notices.
    fn damage(&mut self, part: &Part) -> Part {
        let mut part = part.clone();
        if let Part::Chunk { bytes, .. } = &mut part
            && !bytes.is_empty()
            && !self.healing
            && self.random.chance(self.plan.chunk_damage_ppm)
        {
            let mut noise = bytes.to_vec();
            let at = self.random.below(noise.len() as u64) as usize;
            noise[at] ^= 1 << self.random.below(8);
            *bytes = Bytes::from(noise);
        }
        part
    }

    /// A part of a snapshot arrives, or word of what the peer has of one.
    pub(super) fn hear_part(&mut self, slot: usize, from: usize, message: Option<Rc<Message>>, part: Part) {
        if !self.nodes[slot].is_alive() {
            return;
        }
        match (part, message) {
            (Part::Want { id, offset }, _) => {
                let to = from as u64 + 1;
                let sending = self.nodes[slot].transfers.sending.get_mut(&to);
                if let Some(sending) = sending.filter(|sending| sending.id == id) {
                    sending.silent = 0;
                    sending.wanted = Some(offset);
                    sending.outgoing.wanted(offset);
                    self.send_chunk(slot, to);
                }
            }
            (Part::Chunk { id, offset, checksum, bytes }, Some(message)) => {
                let Some(offset) = self.take_chunk(slot, &message, id, (offset, checksum, bytes)) else { return };
                self.send_part(slot, from as u64 + 1, None, Part::Want { id, offset });
            }
            (Part::Chunk { .. }, None) => {}
        }
    }

    /// Takes a chunk. Returns how much is here; nothing where a newer leader sends a snapshot too.
    fn take_chunk(
        &mut self,
        slot: usize,
        message: &Rc<Message>,
        id: SnapshotId,
        (offset, checksum, bytes): (u64, u32, Bytes),
    ) -> Option<u64> {
        let transfers = &mut self.nodes[slot].transfers;
        if let Some((_, durable)) = transfers.done.filter(|(done, _)| *done == id) {
            if durable {
                // Another transfer of the same: the machine may not have taken it from the one before.
                let life = self.nodes[slot].life;
                self.inputs.push_back((slot, life, Input::Receive((**message).clone())));
            }
            return Some(id.bytes);
        }
        let machine = self.nodes[slot].machine.as_ref()?;
        if machine.log().committed() >= id.index {
            // It says nothing new: the machine answers with what it has.
            self.coverage.hit("transfers of nothing new");
            let life = self.nodes[slot].life;
            self.inputs.push_back((slot, life, Input::Receive((**message).clone())));
            return Some(id.bytes);
        }
        let transfers = &mut self.nodes[slot].transfers;
        let mut begun = false;
        match &mut transfers.receiving {
            Some(now) if now.incoming.id() == id => now.term = now.term.max(message.term),
            Some(now) if (message.term, id.index) < (now.term, now.incoming.id().index) => return None,
            interrupted => {
                if interrupted.is_some() {
                    self.coverage.hit("transfers interrupted");
                }
                if transfers.begin(id, message.term) > 0 {
                    self.coverage.hit("transfers resumed");
                }
                begun = true;
            }
        }
        let receiving = transfers.receiving.as_mut()?;
        let received = receiving.incoming.receive(offset, checksum, bytes.clone());
        let (have, complete) = (receiving.incoming.have(), receiving.incoming.is_complete());
        match received {
            Received::Write { offset, bytes } => self.write_chunk(slot, id, offset, &bytes),
            Received::Damaged => self.refuse_chunk(slot, id, offset, &bytes),
            Received::Nothing => self.coverage.hit("chunks out of turn"),
        }
        if begun {
            self.crash_within(slot, self.plan.chunk_retry * 2, 12);
        }
        if have == id.bytes && !complete {
            let detail = format!("node {} wants no more of {} and has not all", slot + 1, id.index);
            self.fail("who wants no more has all", detail);
        }
        if complete && self.violation.is_none() {
            self.finish_transfer(slot, message, id);
        }
        Some(have)
    }

    fn write_chunk(&mut self, slot: usize, id: SnapshotId, offset: u64, bytes: &Bytes) {
        self.coverage.hit("chunks");
        let sync = self.random.below(8) == 0;
        let transfers = &mut self.nodes[slot].transfers;
        let Some((_, file)) = transfers.part else { return };
        let (here, at) = (transfers.store.len(file), offset as usize);
        let sent = self.history.snapshots.get(&id.index).and_then(|whole| whole.get(at..at + bytes.len()));
        if here != at || sent != Some(&bytes[..]) {
            let detail =
                format!("node {} writes {} bytes of {} at {at}, {here} are here", slot + 1, bytes.len(), id.index);
            return self.fail("a chunk is written as it was sent", detail);
        }
        transfers.store.append(file, bytes.to_vec());
        if sync {
            transfers.store.sync_directory();
            transfers.store.sync_begin(file);
            transfers.store.sync_end(file);
        }
    }

    /// Only what is damaged is refused: the chunk, or what a crash has left of those before.
    fn refuse_chunk(&mut self, slot: usize, id: SnapshotId, offset: u64, bytes: &Bytes) {
        self.coverage.hit("chunks refused");
        let transfers = &mut self.nodes[slot].transfers;
        let Some((_, file)) = transfers.part else { return };
        let have = transfers.receiving.as_ref().map_or(0, |receiving| receiving.incoming.have()) as usize;
        let here = transfers.store.read(file);
        let whole = self.history.snapshots.get(&id.index);
        let sent = |at: usize, bytes: &[u8]| whole.and_then(|whole| whole.get(at..at + bytes.len())) == Some(bytes);
        let sound = sent(offset as usize, bytes) && sent(0, &here);
        if have < here.len() {
            self.coverage.hit("transfers begun again");
            transfers.new_file(id);
        }
        if sound {
            self.fail("only what is damaged is refused", format!("node {}: {} at {offset}", slot + 1, id.index));
        }
    }

    /// All of a snapshot is here: it is made durable before the machine hears of it.
    fn finish_transfer(&mut self, slot: usize, message: &Rc<Message>, id: SnapshotId) {
        let node = &mut self.nodes[slot];
        let transfers = &mut node.transfers;
        let Some((_, file)) = transfers.part else { return };
        let bytes = transfers.store.read(file);
        transfers.receiving = None;
        transfers.done = Some((id, false));
        let Body::Snapshot { meta } = &message.body else { return };
        let sent = self.history.snapshots.get(&id.index).is_some_and(|whole| *whole == bytes);
        let Some(app) = App::decode(&bytes).filter(|_| sent) else {
            let detail = format!("node {} has another state at {}", slot + 1, id.index);
            return self.fail("a snapshot arrives as it was sent", detail);
        };
        let saved = Rc::new(Saved { meta: (**meta).clone(), app, own: false });
        let (life, delay) = (node.life, transfers.store.sync_delay());
        let message = Box::new((**message).clone());
        self.agenda.after(delay, Event::Stored { node: slot, life, saved, message });
        self.crash_within(slot, delay, 3);
    }

    /// Sometimes a node crashes while a snapshot comes in: chance alone seldom hits that moment.
    fn crash_within(&mut self, slot: usize, span: u64, one_in: u64) {
        if self.random.below(one_in) > 0 || self.spec.is_off("crash") || self.healing {
            return;
        }
        let (life, delay) = (self.nodes[slot].life, self.random.below(span));
        self.agenda.after(delay, Event::PowerCut { node: slot, life });
    }

    /// A snapshot from another node is here and durable.
    pub(super) fn stored(&mut self, slot: usize, saved: Rc<Saved>, message: Message) {
        let transfers = &mut self.nodes[slot].transfers;
        if let Some((done, durable)) = &mut transfers.done {
            *durable |= done.index == saved.meta.index;
            if transfers.part.is_some_and(|(id, _)| id == *done) {
                transfers.drop_part();
            }
        }
        self.nodes[slot].snapshots.push(saved);
        self.give(slot, Input::Receive(message));
    }
}

//! What a driver does with each action of a machine, with the faults of its network and disk.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use wrs_raft::wire::{decode, encode};
use wrs_raft::{Action, Body, DropReason, Entries, EntryKind, Input, Message, NodeId, Record, RecordId, SnapshotMeta};

use super::app::Command;
use super::history::Fate;
use super::node::Saved;
use super::world::{Event, Packet, World};
use crate::sim::SyncResult;

impl World {
    pub(super) fn perform(&mut self, slot: usize, action: Action) {
        match action {
            Action::Role(change) => {
                self.digest.add(change.term * 4 + change.role as u64);
            }
            Action::Send(message) => self.send(slot, Packet { message, snapshot: None }),
            Action::Persist(record) => self.persist(slot, record),
            Action::SendSnapshot { to, message } => self.send_snapshot(slot, to, message),
            Action::Apply(entries) => self.apply(slot, entries),
            Action::Configured { .. } => self.coverage.hit("configured"),
            Action::Accepted { ticket, first, .. } => {
                if let Some(attempt) = self.history.attempts.get_mut(ticket.0 as usize) {
                    attempt.accepted = first;
                }
            }
            Action::Committed { ticket, first, last, .. } => self.answer_commit(slot, ticket.0, first, last),
            Action::Dropped { ticket, reason } => self.answer_drop(ticket.0, reason),
            Action::ReadReady { token, index } => {
                self.nodes[slot].reads.push((token.0, index));
                self.serve_reads(slot);
            }
            Action::ReadFailed { token, .. } => self.answer_read_failed(token.0),
            Action::SnapshotWanted { .. } => {
                self.coverage.hit("snapshots wanted");
                self.nodes[slot].snapshot_wanted = true;
                self.take_snapshot(slot);
            }
            Action::Compacted { .. } => self.coverage.hit("compactions"),
            Action::Fatal(fatal) => {
                if self.nodes[slot].stranger {
                    // It was sent what its former self was owed.
                    self.coverage.hit("strangers stopped");
                    return self.lose(slot);
                }
                if !self.nodes[slot].write_failed {
                    return self.fail("no fatal error", format!("node {}: {fatal}", slot + 1));
                }
                self.coverage.hit("failed writes");
                self.crash(slot, true);
            }
        }
    }

    pub(super) fn send(&mut self, slot: usize, packet: Packet) {
        let to = packet.message.to.0 as usize - 1;
        let now = self.agenda.now();
        let mut arrivals = [None; 2];
        self.network.carry(now, slot, to, |at| arrivals[usize::from(arrivals[0].is_some())] = Some(at));
        if self.plan.codec && !self.survives_bytes(&packet.message) {
            return;
        }
        self.digest.add(packet.message.term << 8 | to as u64);
        if let Body::Propose { payloads } = &packet.message.body {
            // From now on the network may double it.
            for command in payloads.iter().filter_map(|payload| Command::decode(payload)) {
                if let Some(attempt) = self.history.attempts.get_mut(command.attempt as usize) {
                    attempt.forwarded = true;
                }
            }
        }
        if let Some(at) = arrivals[1] {
            self.agenda.at(at, Event::Arrive { to, packet: Box::new(packet.clone()) });
        }
        if let Some(at) = arrivals[0] {
            self.agenda.at(at, Event::Arrive { to, packet: Box::new(packet) });
        }
    }

    /// Turns a message into bytes and back. False if they were damaged on their way, which a link notices; what they decode to then
    /// is not delivered, but decoding must do no harm.
    pub(super) fn survives_bytes(&mut self, message: &Message) -> bool {
        let mut out = BytesMut::new();
        encode(message, &mut out);
        let bytes = out.freeze();
        if decode(&bytes).as_ref() != Ok(message) {
            self.fail("a message comes back from its bytes", format!("{message:?}"));
        }
        let damaged = !self.healing && self.random.chance(self.plan.damage_ppm);
        if damaged {
            self.coverage.hit("damaged messages");
            let mut noise = bytes.to_vec();
            let at = self.random.below(noise.len() as u64) as usize;
            noise[at] ^= 1 << self.random.below(8);
            noise.truncate(noise.len() - self.random.below(3).min(noise.len() as u64) as usize);
            let _ = decode(&Bytes::from(noise));
        }
        !damaged
    }

    pub(super) fn send_snapshot(&mut self, slot: usize, to: NodeId, mut message: Message) {
        self.coverage.hit("snapshots sent");
        let life = self.nodes[slot].life;
        let Body::Snapshot { meta } = &mut message.body else { return };
        let Some(saved) = self.nodes[slot].saved(meta.index) else {
            return self.fail("snapshots exist", format!("node {} has no snapshot at {}", slot + 1, meta.index));
        };
        **meta = saved.meta.clone();
        if self.plan.chunk_bytes > 0 {
            return self.begin_transfer(slot, to, message, &saved);
        }
        let now = self.agenda.now();
        let (from, place) = (slot, to.0 as usize - 1);
        let mut at = None;
        self.network.carry(now, from, place, |arrival| at = at.or(Some(arrival)));
        let slow = self.random.exponential(self.plan.election / 4);
        let report = now + slow + self.plan.link.delay_min;
        if let Some(at) = at {
            let packet = Packet { message, snapshot: Some(saved) };
            self.agenda.at(at + slow, Event::Arrive { to: place, packet: Box::new(packet) });
        }
        // A report of failure may be wrong; one of success is not.
        let delivered = at.is_some() && !self.random.chance(100_000);
        let report = report.max(at.unwrap_or(0) + slow + 1);
        self.agenda.at(report, Event::Reported { node: slot, life, to: to.0, delivered });
    }

    pub(super) fn persist(&mut self, slot: usize, record: Record) {
        let node = &mut self.nodes[slot];
        if node.config.in_memory {
            // Nothing is written; the application takes its time to take the snapshot's state.
            let (record_id, life, delay) = (record.id, node.life, node.disk.sync_delay());
            node.unsynced.push_back(record);
            self.agenda.after(delay, Event::Synced { node: slot, life, record: record_id, segment: 0 });
            return;
        }
        let sync = record.sync;
        self.digest.add(record.entries.last().map_or(0, |entry| entry.index));
        node.wal.append(&mut node.disk, &record);
        node.unsynced.push_back(record);
        if sync || self.random.chance(50_000) {
            self.nodes[slot].sync_wanted = true;
            self.sync(slot);
        }
    }

    pub(super) fn sync(&mut self, slot: usize) {
        let node = &mut self.nodes[slot];
        if node.syncing || !node.sync_wanted {
            return;
        }
        node.syncing = true;
        node.sync_wanted = false;
        let record = node.wal.sync_begin(&mut node.disk);
        let (segment, life, delay) = (node.wal.number(), node.life, node.disk.sync_delay());
        self.agenda.after(delay, Event::Synced { node: slot, life, record, segment });
    }

    pub(super) fn synced(&mut self, slot: usize, record: RecordId, segment: u64) {
        let life = self.nodes[slot].life;
        let node = &mut self.nodes[slot];
        node.syncing = false;
        if !node.config.in_memory {
            if node.wal.sync_end(&mut node.disk, record) == SyncResult::Failed {
                let record = node.unsynced.front().map_or(record, |record| record.id);
                node.write_failed = true;
                self.inputs.push_back((slot, life, Input::PersistFailed { record }));
                return;
            }
            node.wal.retire(&mut node.disk, segment == node.wal.number());
        }
        let mut newest = None;
        while self.nodes[slot].unsynced.front().is_some_and(|oldest| oldest.id <= record) {
            let Some(record) = self.nodes[slot].unsynced.pop_front() else { break };
            let id = record.id;
            self.settle(slot, &record);
            newest = Some(id);
            if self.plan.report_each {
                self.inputs.push_back((slot, life, Input::Persisted { record: id }));
            }
        }
        if let (Some(record), false) = (newest, self.plan.report_each) {
            self.inputs.push_back((slot, life, Input::Persisted { record }));
        }
        self.sync(slot);
    }

    /// A record is durable.
    pub(super) fn settle(&mut self, slot: usize, record: &Record) {
        if self.nodes[slot].config.in_memory {
            self.note_restored(slot, record);
        } else {
            self.note_durable(slot, record);
        }
        if let Some(meta) = &record.snapshot {
            self.install(slot, meta);
        }
    }

    /// Puts a received snapshot in the place of the application's state.
    pub(super) fn install(&mut self, slot: usize, meta: &SnapshotMeta) {
        self.coverage.hit("snapshots installed");
        let node = &mut self.nodes[slot];
        let found = node.snapshots.iter().find(|saved| saved.meta.index == meta.index).cloned();
        let Some(saved) = found else {
            return self.fail("snapshots exist", format!("node {} installs {} from nowhere", slot + 1, meta.index));
        };
        if saved.meta.index < node.app.applied {
            let applied = node.app.applied;
            return self
                .fail("applied never falls", format!("node {} goes from {applied} to {}", slot + 1, meta.index));
        }
        node.app = saved.app.clone();
        node.applying.clear();
        // It may be what reads wait for.
        self.serve_reads(slot);
    }

    pub(super) fn apply(&mut self, slot: usize, entries: Entries) {
        let mean = self.plan.apply_mean;
        let node = &mut self.nodes[slot];
        node.applying.push_back(entries);
        if mean == 0 || self.healing {
            self.apply_next(slot);
        } else if !node.apply_due {
            self.schedule_apply(slot);
        }
    }

    pub(super) fn schedule_apply(&mut self, slot: usize) {
        let delay = self.random.exponential(self.plan.apply_mean);
        let node = &mut self.nodes[slot];
        node.apply_due = true;
        let life = node.life;
        self.agenda.after(delay, Event::Applied { node: slot, life });
    }

    /// Applies the oldest run of entries.
    pub(super) fn apply_next(&mut self, slot: usize) {
        let activate = self.random.chance(200_000);
        let node = &mut self.nodes[slot];
        let Some(entries) = node.applying.pop_front() else { return };
        let life = node.life;
        for entry in &entries {
            if entry.index <= node.app.applied {
                // A snapshot overtook it.
                continue;
            }
            let conf = entry.kind == EntryKind::Conf;
            let chain = super::app::chain_after(node.app.chain, entry.term, conf, &entry.payload);
            let command = if conf { None } else { Command::decode(&entry.payload) };
            node.app.apply(entry.index, chain, command);
            if conf && activate {
                self.inputs.push_back((slot, life, Input::Activate { index: entry.index }));
            }
        }
        let (applied, chain) = (node.app.applied, node.app.chain);
        let more = !node.applying.is_empty();
        self.check_applied(slot, applied, chain);
        self.inputs.push_back((slot, life, Input::Applied { index: applied }));
        self.serve_reads(slot);
        if more {
            self.schedule_apply(slot);
        }
        let every = self.plan.snapshot_every;
        let since = self.nodes[slot].snapshots.iter().map(|saved| saved.meta.index).max().unwrap_or(0);
        if (every > 0 && applied >= since + every) || self.nodes[slot].snapshot_wanted {
            self.take_snapshot(slot);
        }
    }

    /// Saves the application's state.
    pub(super) fn take_snapshot(&mut self, slot: usize) {
        let delay = self.random.exponential(self.plan.disk.sync_mean * 4);
        let node = &mut self.nodes[slot];
        let Some(machine) = &node.machine else { return };
        let index = machine.log().applied().min(node.app.applied);
        if node.saving || index <= machine.snapshot().index || index != node.app.applied {
            return;
        }
        let Some(meta) = machine.snapshot_meta(index) else { return };
        node.saving = true;
        node.snapshot_wanted = false;
        let life = node.life;
        let saved = Rc::new(Saved { meta: *meta, app: node.app.clone(), own: true });
        self.check_snapshot(slot, &saved);
        self.agenda.after(delay, Event::Saved { node: slot, life, saved });
    }

    pub(super) fn saved(&mut self, slot: usize, saved: Rc<Saved>) {
        self.coverage.hit("snapshots taken");
        let meta = Box::new(saved.meta.clone());
        let node = &mut self.nodes[slot];
        node.saving = false;
        node.snapshots.push(saved);
        self.give(slot, Input::SnapshotTaken { meta });
    }

    pub(super) fn answer_drop(&mut self, ticket: u64, reason: DropReason) {
        let (fate, forwarded) = match reason {
            DropReason::Forwarded { .. } => (Fate::Unknown, true),
            DropReason::Unknown | DropReason::Stopped => (Fate::Unknown, false),
            DropReason::NotLeader { .. }
            | DropReason::Transferring { .. }
            | DropReason::Overloaded
            | DropReason::Removed
            | DropReason::Malformed
            | DropReason::Conf(_)
            | DropReason::Overwritten => (Fate::Failed, false),
        };
        self.coverage.hit(match reason {
            DropReason::NotLeader { .. } => "dropped: not leader",
            DropReason::Forwarded { .. } => "dropped: forwarded",
            DropReason::Transferring { .. } => "dropped: transferring",
            DropReason::Overloaded => "dropped: overloaded",
            DropReason::Overwritten => "dropped: overwritten",
            DropReason::Unknown => "dropped: unknown",
            DropReason::Conf(_) => "dropped: conf",
            DropReason::Removed | DropReason::Malformed | DropReason::Stopped => "dropped: other",
        });
        let hint = match reason {
            DropReason::NotLeader { leader } => leader,
            _ => None,
        };
        self.settle_attempt(ticket, fate, forwarded, hint);
    }
}

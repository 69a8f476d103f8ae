//! One node of a tiny cluster: a machine and its disk, given inputs, cut short, brought back; and the rules that need no other node.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use wrs_raft::{
    Action, Body, Boot, ClusterId, Config, Entry, HardState, Incarnation, Index, Input, Message, NodeId, Raft, Record,
    Role, SnapshotMeta, Time,
};

use super::NODES;

/// The founding entry: it is in no log, and everywhere.
pub(super) const FOUNDED: Index = 1;

/// One node: its machine, and its disk.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) id: usize,
    pub(super) machine: Raft,
    /// Records under way.
    pub(super) pending: Vec<Record>,
    pub(super) hard: HardState,
    pub(super) durable: Vec<Entry>,
    /// How often it came back.
    pub(super) life: u8,
    /// Whether anything ever happened to it.
    pub(super) touched: bool,
    /// Whether it may still crash.
    pub(super) mortal: bool,
}

fn config(id: usize) -> Config {
    let mut config = Config::new(NodeId(id as u64 + 1));
    config.pre_vote = false;
    config.check_quorum = false;
    config.apply_at_once = true;
    config
}

fn snapshot() -> SnapshotMeta {
    Boot::found((1..=NODES as u64).map(NodeId)).snapshot
}

pub(super) fn place_of(node: NodeId) -> usize {
    node.0 as usize - 1
}

impl Place {
    pub(super) fn new(id: usize, hard: HardState, durable: Vec<Entry>) -> Place {
        let boot = Boot { hard, snapshot: snapshot(), entries: durable.clone(), applied: FOUNDED, ..Boot::default() };
        let machine = Raft::new(config(id), boot, Time::ZERO).unwrap();
        let (life, touched, mortal) = (0, false, true);
        Place { id, machine, pending: Vec::new(), hard, durable, life, touched, mortal }
    }

    pub(super) fn digest(&mut self) -> u64 {
        // While time stands, the timeout that chance drew decides nothing.
        self.machine.set_election_timeout(Duration::ZERO);
        let Place { id, machine, pending, hard, durable, life, touched, mortal } = self;
        // A record's number is its place in the queue.
        let queue: Vec<_> = pending.iter().map(|record| (record.sync, record.hard, &record.entries)).collect();
        digest_of(&(id, &*machine, queue, hard, durable, life, touched, mortal))
    }

    /// A record is on the disk.
    pub(super) fn keep(&mut self, record: &Record) -> Result<(), String> {
        if let Some(hard) = record.hard {
            let known = self.hard;
            let changed = hard.term == known.term && known.vote.is_some() && hard.vote != known.vote;
            if hard.term < known.term || changed {
                return Err(format!("node {} goes back behind its word: {known:?}, {hard:?}", self.id + 1));
            }
            self.hard = hard;
        }
        if let Some(first) = record.entries.first() {
            self.durable.retain(|entry| entry.index < first.index);
            self.durable.extend(record.entries.iter().cloned());
        }
        Ok(())
    }

    /// Nobody reads the commit index on this disk any more.
    pub(super) fn settle(&mut self) {
        self.mortal = false;
        self.pending.retain(|record| record.sync);
        self.hard.commit = 0;
    }

    /// The lowest term in which it may find itself again.
    pub(super) fn floor(&self) -> u64 {
        if self.mortal { self.hard.term } else { self.machine.term() }
    }

    /// Whether it has reached `term` for good.
    pub(super) fn reached(&self, term: u64) -> bool {
        self.machine.term() >= term && self.floor() >= term
    }

    pub(super) fn matched(&self, node: NodeId) -> Index {
        self.machine.progress().get(node).map_or(0, |peer| peer.matched)
    }

    /// Whether nothing has changed since `before` but that a word that waits for a write waits a second time.
    pub(super) fn says_twice(&self, before: &Place) -> bool {
        let waiting: Vec<&Message> = self.machine.held().map(|(_, message)| message).collect();
        let Some((newest, others)) = waiting.split_last() else { return false };
        let (now, then) = (self.machine.status(), before.machine.status());
        let same = (now.term, now.vote, now.role, now.leader, now.last_index, now.last_term, now.stable, now.commit)
            == (
                then.term,
                then.vote,
                then.role,
                then.leader,
                then.last_index,
                then.last_term,
                then.stable,
                then.commit,
            );
        same && now.progress == then.progress
            && self.pending.len() == before.pending.len()
            && now.messages_held == then.messages_held + 1
            && others.contains(newest)
    }

    pub(super) fn has_write(&self) -> bool {
        self.pending.iter().any(|record| record.sync)
    }

    /// Term and payload at `index`.
    pub(super) fn entry(&self, index: Index) -> Option<(u64, Bytes)> {
        match index {
            FOUNDED => Some((1, Bytes::new())),
            _ => self.machine.log().entry(index).map(|entry| (entry.term, entry.payload.clone())),
        }
    }

    /// Gives an input, and what follows from it at once. Returns what was sent.
    pub(super) fn give(&mut self, input: Input) -> Result<Vec<Message>, String> {
        self.touched = true;
        let (mut actions, mut sent) = (Vec::new(), Vec::new());
        self.machine.handle(Time::ZERO, input, &mut actions);
        for action in actions {
            match action {
                Action::Send(message) => {
                    self.check_promise(&message)?;
                    sent.push(message);
                }
                Action::Persist(record) if self.mortal || record.sync => self.pending.push(record),
                Action::Fatal(fatal) => return Err(format!("node {}: {fatal}", self.id + 1)),
                _ => {}
            }
        }
        Ok(sent)
    }

    /// What a word rests on is on the disk before it leaves.
    pub(super) fn check_promise(&self, message: &Message) -> Result<(), String> {
        let kept = match message.body {
            Body::Appended { index } if message.term == self.machine.term() => {
                let there = |index| self.durable.iter().find(|entry| entry.index == index).map(|entry| entry.term);
                (FOUNDED + 1..=index)
                    .all(|index| there(index).is_some() && there(index) == self.machine.log().term(index))
            }
            Body::VoteReply { granted: true } => self.hard.term == message.term && self.hard.vote == Some(message.to),
            Body::Vote { .. } => self.hard.term == message.term && self.hard.vote == Some(message.from),
            _ => true,
        };
        if kept { Ok(()) } else { Err(format!("node {} sends before it is durable: {message:?}", self.id + 1)) }
    }

    /// A leader commits by counting only what is of its own term (Raft figure 8).
    pub(super) fn check_commit(&self, before: &Place) -> Result<(), String> {
        let (machine, commit) = (&self.machine, self.machine.log().committed());
        let counted = machine.role() == Role::Leader && commit > before.machine.log().committed();
        if counted && machine.log().term(commit) != Some(machine.term()) {
            return Err(format!("node {} commits {commit}, of an earlier term, by counting", self.id + 1));
        }
        Ok(())
    }

    /// The oldest write that something waits for ends.
    pub(super) fn persist(&mut self) -> Result<Vec<Message>, String> {
        let Some(at) = self.pending.iter().position(|record| record.sync) else { return Ok(Vec::new()) };
        let records: Vec<Record> = self.pending.drain(..=at).collect();
        records.iter().try_for_each(|record| self.keep(record))?;
        if !self.mortal {
            self.hard.commit = 0;
        }
        let Some(record) = records.last().map(|record| record.id) else { return Ok(Vec::new()) };
        self.give(Input::Persisted { record })
    }

    /// The nodes that come back after a crash, each with another part of the records under way on its disk, but no more than `most`.
    pub(super) fn crashed(&self, most: usize) -> Result<Vec<Place>, String> {
        let mut disk = self.clone();
        let mut back: Vec<Place> = Vec::new();
        for kept in 0..=most.min(self.pending.len()) {
            if let Some(record) = kept.checked_sub(1).and_then(|at| self.pending.get(at)) {
                disk.keep(record)?;
            }
            let mut fresh = Place::new(self.id, disk.hard, disk.durable.clone());
            (fresh.life, fresh.touched) = (self.life + 1, true);
            back.push(fresh);
        }
        Ok(back)
    }
}

/// An entry, passed on to the leader by the next node: the leader keeps no ticket of it.
pub(super) fn proposal(leader: &Place) -> Message {
    let term = leader.machine.term();
    Message {
        cluster: ClusterId(0),
        from: NodeId(((leader.id + 1) % NODES) as u64 + 1),
        incarnation: Incarnation(0),
        to: NodeId(leader.id as u64 + 1),
        term: 0,
        session: 0,
        // Leaders of different terms propose different things.
        body: Body::Propose { payloads: vec![Bytes::from(vec![leader.id as u8 + 1, term as u8])] },
    }
}

/// A hasher that is the same in each run, and mixes well enough for fingerprints (a multiplication folded upon itself).
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix(u64);

impl Default for Mix {
    fn default() -> Mix {
        Mix(0x243F_6A88_85A3_08D3)
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        let wide = u128::from(self.0) * 0x9E37_79B9_7F4A_7C15;
        (wide as u64) ^ (wide >> 64) as u64
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.write_u64(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        let wide = u128::from(self.0 ^ value.wrapping_mul(0xA24B_AED4_963E_E407)) * 0x9FB2_1C65_1E98_DF25;
        self.0 = ((wide as u64) ^ (wide >> 64) as u64).wrapping_add(0xD6E8_FEB8_6659_FD93);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

pub(super) fn digest_of(value: &impl Hash) -> u64 {
    let mut hasher = Mix::default();
    value.hash(&mut hasher);
    hasher.finish()
}

//! One node of a tiny cluster: a machine and its disk, given inputs, cut short, brought back; and the rules that need no other node.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use wrs_raft::{
    Action, Body, Boot, ClusterId, Config, Entry, HardState, Incarnation, Index, Input, Message, NodeId, Progress,
    Raft, Record, Role, SnapshotMeta, Time,
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
        let (life, mortal) = (0, true);
        Place { id, machine, pending: Vec::new(), hard, durable, life, mortal }
    }

    /// What it is, names, disk and what it knows of others aside.
    pub(super) fn outline(&self) -> u64 {
        let (machine, log) = (&self.machine, self.machine.log());
        let terms: Vec<_> = (FOUNDED..=log.last_index()).map(|index| log.term(index)).collect();
        let voted = machine.vote().map(|node| place_of(node) == self.id);
        digest_of(&(machine.role() as u8, machine.term(), voted, terms, log.committed(), self.life))
    }

    /// What it is, names aside: the same for a node to which the same has happened under another name.
    pub(super) fn shape(&self) -> u64 {
        let disk = (self.pending.len(), self.hard.term, self.hard.commit, self.durable.len());
        digest_of(&(self.outline(), disk, self.machine.log().stable(), self.mortal))
    }

    /// What decides what it does from now on; if `merged`, without what a leader only counts.
    pub(super) fn digest(&mut self, merged: bool) -> u64 {
        // While time stands, the timeout that chance drew decides nothing.
        self.machine.set_election_timeout(Duration::ZERO);
        let Place { id, machine, pending, hard, durable, life, mortal } = self;
        // A record's number is its place in the queue.
        let queue: Vec<_> = pending.iter().map(|record| (record.sync, record.hard, &record.entries)).collect();
        if merged && machine.role() == Role::Leader {
            return digest_of(&(id, leading(machine), queue, hard, durable, life, mortal));
        }
        digest_of(&(id, &*machine, queue, hard, durable, life, mortal))
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
            fresh.life = self.life + 1;
            back.push(fresh);
        }
        Ok(back)
    }
}

/// What decides what a leader does from now on, by what can be seen of it: the rest follows, or is the same in all that lead here. The
/// appends on the way are left out, since they decide nothing until they reach a limit, which is more than the entries there are; and
/// whether a peer was heard lately, unless it is one that would be sent a snapshot.
fn leading(machine: &Raft) -> u64 {
    let (log, own) = (machine.log(), machine.config().id);
    let entries: Vec<_> = (FOUNDED + 1..=log.last_index()).map(|index| log.entry(index)).collect();
    let peers = machine.progress().iter().filter(|(id, _)| *id != own);
    let peers: Vec<_> = peers
        .map(|(id, peer)| {
            let Progress { matched, next, sent_commit, state, pending_snapshot, recent_active, paused, .. } = peer;
            let snapshot = *next <= FOUNDED && *recent_active;
            (id, (matched, next, sent_commit), state, pending_snapshot, snapshot, paused)
        })
        .collect();
    let held: Vec<&Message> = machine.held().map(|(_, message)| message).collect();
    let hard = (machine.term(), machine.vote(), log.committed());
    digest_of(&(hard, machine.role(), machine.leader(), entries, log.stable(), log.applied(), peers, held))
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

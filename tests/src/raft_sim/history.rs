//! What was written, committed, elected and promised, kept outside the machines: the rules' memory.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use wrs_raft::{Conf, ConfChange, EntryKind, Record};

use super::app::{App, Command, chain_after};
use super::told::Told;
use crate::sim::oracle::Positions;

/// A fast hasher for maps that are never iterated, so that no order depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fast(u64);

impl Hasher for Fast {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// A map that is looked into and never walked.
pub type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<Fast>>;

/// One entry of a log, as far as the rules need it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Its term.
    pub term: u64,
    /// Equal chains mean equal logs up to here.
    pub chain: u64,
    /// Payload bytes of the log up to here.
    pub bytes: u64,
}

/// A log as the rules see it: from index 1 on, never compacted.
#[derive(Clone, Debug, Default)]
pub struct Shadow {
    marks: Vec<Mark>,
    /// Where membership changes lie.
    confs: Vec<u64>,
}

impl Shadow {
    /// The log of a founder: one entry that stands for the founding.
    pub fn founded() -> Shadow {
        Shadow { marks: vec![Mark { term: 1, chain: 1, bytes: 0 }], confs: Vec::new() }
    }

    /// The last index.
    pub fn last(&self) -> u64 {
        self.marks.len() as u64
    }

    /// The entry at `index`; the zero mark before the first.
    pub fn at(&self, index: u64) -> Option<Mark> {
        match index.checked_sub(1) {
            None => Some(Mark::default()),
            Some(at) => self.marks.get(at as usize).copied(),
        }
    }

    /// Appends an entry.
    pub fn push(&mut self, mark: Mark, conf: bool) {
        self.marks.push(mark);
        if conf {
            self.confs.push(self.last());
        }
    }

    /// Cuts the log behind `last`.
    pub fn cut(&mut self, last: u64) {
        self.marks.truncate(last as usize);
        while self.confs.last().is_some_and(|conf| *conf > last) {
            self.confs.pop();
        }
    }

    /// Takes `other` up to `last`.
    pub fn copy(&mut self, other: &Shadow, last: u64) {
        self.marks.clear();
        self.marks.extend_from_slice(&other.marks[..(last as usize).min(other.marks.len())]);
        self.confs.clear();
        self.confs.extend(other.confs.iter().copied().filter(|conf| *conf <= last));
    }

    /// How many membership changes lie behind `index`.
    pub fn confs_after(&self, index: u64) -> usize {
        self.confs.iter().rev().take_while(|conf| **conf > index).count()
    }

    /// The last membership change but one at or before `index`.
    pub fn second_newest_conf(&self, index: u64) -> Option<u64> {
        self.confs.iter().rev().filter(|conf| **conf <= index).nth(1).copied()
    }

    /// Takes a record's entries and snapshot, where `committed` is what a snapshot stands for. The chain is made anew.
    pub fn take(&mut self, record: &Record, committed: &Shadow) -> Result<(), String> {
        if let Some(meta) = &record.snapshot {
            let known = committed.at(meta.index).filter(|mark| mark.term == meta.term);
            known.ok_or_else(|| format!("a snapshot at {} of term {} is not committed", meta.index, meta.term))?;
            self.copy(committed, meta.index);
        }
        let Some(first) = record.entries.first() else { return Ok(()) };
        if first.index > self.last() + 1 {
            return Err(format!("entry {} follows {}", first.index, self.last()));
        }
        self.cut(first.index - 1);
        let mut mark = self.at(self.last()).unwrap_or_default();
        for entry in &record.entries {
            let conf = entry.kind == EntryKind::Conf;
            mark = Mark {
                term: entry.term,
                chain: chain_after(mark.chain, entry.term, conf, &entry.payload),
                bytes: mark.bytes + entry.payload.len() as u64,
            };
            self.push(mark, conf);
        }
        Ok(())
    }
}

/// What became of one try to propose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Not told yet.
    Open,
    /// Told to be committed.
    Committed,
    /// Told not to have taken effect, for good.
    Failed,
    /// May or may not have taken effect, or will.
    Unknown,
}

/// One try to propose.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// What became of it.
    pub fate: Fate,
    /// Where it was first committed; 0: nowhere.
    pub at: u64,
    /// Where the machine said that it is; 0: it did not.
    pub accepted: u64,
    /// Whether a follower passed it on, so that the network may double it.
    pub forwarded: bool,
    /// How many of its entries are committed.
    pub copies: u32,
    /// How many entries it has.
    pub entries: u32,
    /// Whose it is; `u8::MAX`: nobody's who waits.
    pub client: u8,
    /// The client's number for the request.
    pub sequence: u32,
    /// The node, by its place, and the life of it, that was asked.
    pub node: (usize, u32),
}

/// Everything that is true of the whole group.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The chain of each entry ever made, by term and index.
    chains: FastMap<(u64, u64), u64>,
    /// Each membership change that was ever written, by term and index.
    changes: FastMap<(u64, u64), ConfChange>,
    /// The one committed log.
    pub committed: Shadow,
    /// For each term in which something was committed: the term, and the last index by then.
    committed_by: Vec<(u64, u64)>,
    /// Who led each term.
    pub leaders: FastMap<u64, (u64, u32)>,
    /// Each configuration and the index from which it holds.
    pub confs: Vec<(u64, Conf)>,
    /// The application after everything that is committed.
    pub app: App,
    /// The bytes of the application's state at each index of which a snapshot was sent.
    pub snapshots: FastMap<u64, bytes::Bytes>,
    /// Where each client's requests took effect: `[client][sequence - 1]`.
    pub effects: Vec<Vec<u64>>,
    /// Whom each node, in each life of its disk and term, voted for.
    pub votes: FastMap<(u64, u64, u64), u64>,
    /// Who voted for whom in each term.
    pub words: FastMap<u64, Vec<(u64, u64)>>,
    /// Every try to propose.
    pub attempts: Vec<Attempt>,
    /// What clients were told.
    pub positions: Positions,
    /// What clients asked and were told, in values.
    pub told: Told,
    /// Membership changes that were committed.
    pub conf_changes: u64,
}

impl History {
    /// The history of a group that is founded by `voters`.
    pub fn founded(conf: Conf) -> History {
        let mut history = History { committed: Shadow::founded(), ..History::default() };
        history.chains.insert((1, 1), 1);
        history.committed_by.push((1, 1));
        history.confs.push((1, conf));
        history.app = App { applied: 1, chain: 1, ..App::default() };
        history.effects = vec![Vec::new(); super::app::CLIENTS];
        history
    }

    /// Notes the entries of a shadow from `first` on: Log Matching.
    pub fn note_entries(&mut self, shadow: &Shadow, first: u64) -> Result<(), String> {
        for index in first..=shadow.last() {
            let Some(mark) = shadow.at(index) else { break };
            let known = *self.chains.entry((mark.term, index)).or_insert(mark.chain);
            if known != mark.chain {
                return Err(format!("two logs differ at or before entry {index} of term {}", mark.term));
            }
        }
        Ok(())
    }

    /// Notes the membership changes that a record holds.
    pub fn note_changes(&mut self, record: &Record) {
        for entry in record.entries.iter().filter(|entry| entry.kind == EntryKind::Conf) {
            if let Some(change) = ConfChange::decode(&entry.payload) {
                self.changes.insert((entry.term, entry.index), change);
            }
        }
    }

    /// The membership changes of a log that are not committed.
    pub fn open_changes<'a>(&'a self, log: &'a Shadow) -> impl Iterator<Item = (u64, &'a ConfChange)> {
        let open = log.confs.iter().rev().take_while(|conf| **conf > self.committed.last());
        open.filter_map(|conf| {
            let term = log.at(*conf)?.term;
            Some((*conf, self.changes.get(&(term, *conf))?))
        })
    }

    /// The last index that was committed in a term before `term`.
    pub fn committed_before(&self, term: u64) -> u64 {
        self.committed_by.iter().rev().find(|(by, _)| *by < term).map_or(0, |(_, index)| *index)
    }

    /// Extends the committed log by what `shadow` holds up to `index`, committed by the leader of `term`. `payload` tells the
    /// kind and payload of an entry.
    pub fn commit<'a>(
        &mut self,
        shadow: &Shadow,
        index: u64,
        term: u64,
        entry: impl Fn(u64) -> Option<&'a wrs_raft::Entry>,
    ) -> Result<(), (&'static str, String)> {
        while self.committed.last() < index {
            let at = self.committed.last() + 1;
            let (Some(mark), Some(entry)) = (shadow.at(at), entry(at)) else {
                return Err(("commit is in the log", format!("entry {at} is committed and not in the leader's log")));
            };
            let conf = entry.kind == EntryKind::Conf;
            self.committed.push(mark, conf);
            let command = if conf { None } else { Command::decode(&entry.payload) };
            if let Some(done) = self.app.apply(at, mark.chain, command) {
                let effects = &mut self.effects[usize::from(done.client)];
                effects.resize(done.sequence as usize, 0);
                effects[done.sequence as usize - 1] = at;
            }
            if conf {
                self.commit_conf(at, &entry.payload)?;
            }
            if let Some(command) = command {
                self.commit_attempt(at, command.attempt)?;
            }
        }
        match self.committed_by.last_mut() {
            Some((by, newest)) if *by == term => *newest = index.max(*newest),
            _ => self.committed_by.push((term, index)),
        }
        Ok(())
    }

    fn commit_conf(&mut self, at: u64, payload: &bytes::Bytes) -> Result<(), (&'static str, String)> {
        self.conf_changes += 1;
        let change = ConfChange::decode(payload);
        let change = change.ok_or_else(|| ("conf is readable", format!("the change at {at} is not")))?;
        let Some((_, before)) = self.confs.last() else { return Ok(()) };
        if let Ok(changed) = before.after(&change, at) {
            if !overlap(before, &changed.conf) {
                return Err(("configurations overlap", format!("{before} and then {} at {at}", changed.conf)));
            }
            self.confs.push((at, changed.conf));
        }
        Ok(())
    }

    fn commit_attempt(&mut self, at: u64, attempt: u64) -> Result<(), (&'static str, String)> {
        let Some(attempt) = self.attempts.get_mut(attempt as usize) else { return Ok(()) };
        if attempt.fate == Fate::Failed {
            return Err(("a failed proposal stays failed", format!("entry {at} was told to have failed")));
        }
        attempt.copies += 1;
        if attempt.at == 0 {
            attempt.at = at;
        }
        if attempt.copies > attempt.entries && !attempt.forwarded {
            return Err(("a proposal is committed once", format!("entry {at} was committed at {} too", attempt.at)));
        }
        Ok(())
    }

    /// The configuration as of `index`.
    pub fn conf_at(&self, index: u64) -> &Conf {
        let found = self.confs.iter().rev().find(|(from, _)| *from <= index);
        &found.unwrap_or(&self.confs[0]).1
    }
}

/// Whether any quorum of `a` meets any quorum of `b`: found by counting, for small groups.
fn overlap(a: &Conf, b: &Conf) -> bool {
    let mut all: Vec<u64> = a.all_voters().chain(b.all_voters()).map(|node| node.0).collect();
    all.sort_unstable();
    all.dedup();
    let quorum = |conf: &Conf, set: u32| {
        let wins = |half: &[wrs_raft::NodeId]| {
            let has = |node: u64| all.iter().position(|id| *id == node).is_some_and(|at| set >> at & 1 == 1);
            half.is_empty() || half.iter().filter(|node| has(node.0)).count() > half.len() / 2
        };
        wins(&conf.voters) && wins(&conf.outgoing)
    };
    // A quorum of one and the rest holding a quorum of the other would be two disjoint quorums.
    let full = (1u32 << all.len()) - 1;
    (0..=full).all(|set| !(quorum(a, set) && quorum(b, full & !set)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wrs_raft::NodeId;

    fn conf(voters: &[u64], outgoing: &[u64]) -> Conf {
        let ids = |set: &[u64]| set.iter().map(|id| NodeId(*id)).collect();
        Conf { voters: ids(voters), outgoing: ids(outgoing), ..Conf::default() }
    }

    #[test]
    fn two_voters_at_once_need_a_joint_step() {
        assert!(overlap(&conf(&[1, 2, 3], &[]), &conf(&[1, 2, 3, 4], &[])));
        assert!(!overlap(&conf(&[1, 2, 3], &[]), &conf(&[1, 4, 5], &[])));
        assert!(overlap(&conf(&[1, 2, 3], &[]), &conf(&[4, 5, 6], &[1, 2, 3])));
        assert!(overlap(&conf(&[4, 5, 6], &[1, 2, 3]), &conf(&[4, 5, 6], &[])));
    }

    #[test]
    fn a_shadow_cuts_and_chains() {
        let mut history = History::founded(conf(&[1], &[]));
        let entry = |index, term| wrs_raft::Entry { index, term, payload: vec![1].into(), ..Default::default() };
        let record = |entries: Vec<wrs_raft::Entry>| Record { entries: entries.into(), ..Default::default() };
        let (mut a, mut b) = (Shadow::founded(), Shadow::founded());
        a.take(&record(vec![entry(2, 2), entry(3, 2)]), &history.committed).unwrap();
        b.take(&record(vec![entry(2, 3)]), &history.committed).unwrap();
        history.note_entries(&a, 2).unwrap();
        history.note_entries(&b, 2).unwrap();
        b.take(&record(vec![entry(3, 2)]), &history.committed).unwrap();
        assert!(history.note_entries(&b, 3).is_err(), "same term and index after different logs");
        b.take(&record(vec![entry(2, 2), entry(3, 2)]), &history.committed).unwrap();
        assert_eq!(a.at(3), b.at(3));
        assert!(b.take(&record(vec![entry(9, 9)]), &history.committed).is_err());
    }
}

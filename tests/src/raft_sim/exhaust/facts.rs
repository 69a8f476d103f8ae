//! What holds for good once it was seen: who led which term with which log, and what is committed.

use bytes::Bytes;
use wrs_raft::Role;

use super::NODES;
use super::place::{FOUNDED, Place};

/// Who led a term.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Leader {
    pub(super) term: u64,
    pub(super) node: usize,
    pub(super) life: u8,
    /// The terms of the entries in its log when it was elected, from the founding one on.
    pub(super) log: Vec<u64>,
}

/// What is committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Commitment {
    pub(super) term: u64,
    pub(super) payload: Bytes,
    /// The term of the node that said so first.
    pub(super) since: u64,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Facts {
    /// Ascending by term.
    pub(super) leaders: Vec<Leader>,
    /// By index, from the founding entry on.
    pub(super) committed: Vec<Commitment>,
}

impl Facts {
    /// Before anything has happened.
    pub(super) fn founded() -> Facts {
        let committed = vec![Commitment { term: 1, payload: Bytes::new(), since: 1 }];
        Facts { leaders: Vec::new(), committed }
    }

    /// A leader has all that was committed in terms before its own (leader completeness).
    fn check(&self) -> Result<(), String> {
        for Leader { term, node, log, .. } in &self.leaders {
            let known = self
                .committed
                .iter()
                .enumerate()
                .find(|(at, entry)| entry.since < *term && log.get(*at) != Some(&entry.term));
            if let Some((at, _)) = known {
                return Err(format!(
                    "node {} leads term {term} without entry {}, which is committed",
                    node + 1,
                    at + 1
                ));
            }
        }
        Ok(())
    }

    /// The facts with what `place` adds to them, one of `places`, and whether it commits anything new.
    pub(super) fn with(&self, place: &Place, places: [&Place; NODES]) -> Result<(Facts, bool), String> {
        let (machine, mut facts, who) = (&place.machine, self.clone(), place.id + 1);
        let mut commits = false;
        for index in FOUNDED..=machine.log().committed() {
            let Some((term, payload)) = place.entry(index) else {
                return Err(format!("node {who} commits {index} without it"));
            };
            match facts.committed.get(index as usize - 1) {
                Some(known) if known.term != term || known.payload != payload => {
                    return Err(format!("node {who} commits another {index}"));
                }
                Some(_) => {}
                None => {
                    let has = |other: &&Place| {
                        let mut entries = other.durable.iter();
                        entries.any(|there| there.index == index && there.term == term)
                    };
                    if places.into_iter().filter(has).count() * 2 <= NODES {
                        return Err(format!("node {who} commits {index} without a quorum"));
                    }
                    facts.committed.push(Commitment { term, payload, since: machine.term() });
                    commits = true;
                }
            }
        }
        if machine.role() == Role::Leader {
            match facts.leaders.iter().find(|known| known.term == machine.term()) {
                Some(known) if (known.node, known.life) != (place.id, place.life) => {
                    return Err(format!("two leaders in term {}", machine.term()));
                }
                Some(_) => {}
                None => {
                    let log = (FOUNDED..=machine.log().last_index()).filter_map(|at| machine.log().term(at)).collect();
                    facts.leaders.push(Leader { term: machine.term(), node: place.id, life: place.life, log });
                    facts.leaders.sort_unstable();
                }
            }
        }
        facts.check()?;
        Ok((facts, commits))
    }
}

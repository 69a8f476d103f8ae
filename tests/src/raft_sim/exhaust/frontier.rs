//! The states of a search: those seen, and those to go on from.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasherDefault;

use super::NODES;
use super::place::{Mix, digest_of};

pub(super) type Known<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

/// A state of the cluster, all by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) places: [u32; NODES],
    pub(super) facts: u32,
    pub(super) crashes: u8,
    /// Entries after the founding one.
    pub(super) made: u8,
    /// Steps on the way to it.
    pub(super) depth: u16,
    /// The messages on their way.
    pub(super) network: u32,
}

/// All of a state but the messages.
pub(super) type Mark = ([u32; NODES], u32, u8, u8);

impl State {
    pub(super) fn mark(&self) -> Mark {
        (self.places, self.facts, self.crashes, self.made)
    }
}

/// Sorted sets of messages, by number.
#[derive(Default)]
pub(super) struct Sets {
    sets: Vec<Box<[u32]>>,
    numbers: Known<u64, u32>,
}

impl Sets {
    /// The number of a sorted set.
    pub(super) fn number(&mut self, set: &[u32]) -> u32 {
        let number = *self.numbers.entry(digest_of(&set)).or_insert(self.sets.len() as u32);
        match self.sets.get(number as usize) {
            Some(known) => assert!(**known == *set, "two sets with one digest"),
            None => self.sets.push(set.into()),
        }
        number
    }

    pub(super) fn get(&self, number: u32) -> &[u32] {
        &self.sets[number as usize]
    }

    fn is_within(&self, few: u32, many: u32) -> bool {
        if few == many {
            return true;
        }
        let (few, many) = (self.get(few), self.get(many));
        let mut rest = many.iter();
        few.len() <= many.len() && few.iter().all(|one| rest.by_ref().find(|other| *other >= one) == Some(one))
    }
}

/// The sets of messages that a mark was seen with, none of them within another: mostly one.
enum Seen {
    One(u32),
    More(Box<[u32]>),
}

impl Seen {
    fn sets(&self) -> &[u32] {
        match self {
            Seen::One(set) => std::slice::from_ref(set),
            Seen::More(sets) => sets,
        }
    }
}

/// What was seen, and what is to be looked at.
pub(super) struct Frontier {
    /// Whether a state is as good as one with more messages.
    fewer: bool,
    seen: Known<Mark, Seen>,
    /// By rank: so that most ways to a state are walked before it is gone on from, and with it those with the most messages.
    open: Vec<Vec<State>>,
    lowest: usize,
    waiting: usize,
}

impl Frontier {
    pub(super) fn new(fewer: bool) -> Frontier {
        Frontier { fewer, seen: Known::default(), open: Vec::new(), lowest: 0, waiting: 0 }
    }

    /// How many different ones, the messages aside.
    pub(super) fn distinct(&self) -> u64 {
        self.seen.len() as u64
    }

    /// All that was seen, the messages aside.
    pub(super) fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.seen.keys()
    }

    /// The rank that is looked at, and how many states wait in all.
    pub(super) fn progress(&self) -> (usize, usize) {
        (self.lowest, self.waiting)
    }

    /// Notes a state unless it is seen, or one with the same and more messages. Whether it is new.
    pub(super) fn note(&mut self, state: &State, sets: &Sets) -> bool {
        let (fewer, network) = (self.fewer, state.network);
        let covers = |more: u32, few: u32| if fewer { sets.is_within(few, more) } else { few == more };
        let known = match self.seen.entry(state.mark()) {
            Entry::Vacant(place) => {
                place.insert(Seen::One(network));
                return true;
            }
            Entry::Occupied(known) => known.into_mut(),
        };
        if known.sets().iter().any(|other| covers(*other, network)) {
            return false;
        }
        let mut kept: Vec<u32> = known.sets().iter().copied().filter(|other| !covers(network, *other)).collect();
        kept.push(network);
        *known = if kept.len() == 1 { Seen::One(network) } else { Seen::More(kept.into()) };
        true
    }

    /// Puts a state that is new among those to be looked at.
    pub(super) fn open(&mut self, state: State, rank: usize) {
        if self.open.len() <= rank {
            self.open.resize(rank + 1, Vec::new());
        }
        self.open[rank].push(state);
        self.waiting += 1;
        self.lowest = self.lowest.min(rank);
    }

    pub(super) fn next(&mut self) -> Option<State> {
        while let Some(open) = self.open.get_mut(self.lowest) {
            let Some(state) = open.pop() else {
                *open = Vec::new();
                self.lowest += 1;
                continue;
            };
            self.waiting -= 1;
            // Not where one with more messages has taken its place.
            if self.seen.get(&state.mark()).is_some_and(|known| known.sets().contains(&state.network)) {
                return Some(state);
            }
        }
        None
    }
}

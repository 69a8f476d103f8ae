//! What makes a decision happen once: messages whose fate is open, and what became of those of others.
//!
//! A shard keeps each message that it has handed to a home until a receiver's shard says that it was given. When homes
//! move, every shard tells what its clients were given and what its homes decided; from that the taker knows what to ask
//! again. An ask has one number for all its tries, so nothing is given twice.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::id::{ChannelId, ClientId, ConnId, Life, ShardId};
use crate::peer::{AskId, Wish};

/// Bytes that an open ask weighs beside its frame.
const WEIGHT: usize = 128;

/// What a home is asked to decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// Where.
    pub channel: ChannelId,
    /// Who sent the message.
    pub from: ClientId,
    /// By which rule it is decided.
    pub wish: Wish,
}

/// A message that waits for its fate.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What is asked.
    pub question: Question,
    /// One server frame.
    pub frame: Bytes,
}

#[derive(Debug)]
enum State {
    Open(Ask),
    Over(ClientId),
}

impl State {
    fn open(&self) -> Option<&Ask> {
        match self {
            State::Open(ask) => Some(ask),
            State::Over(_) => None,
        }
    }
}

/// The open asks of one shard, by number.
#[derive(Debug)]
pub struct Asks {
    /// From the oldest open one; what is settled in between is only its sender.
    open: VecDeque<State>,
    /// The number of the first in `open`.
    first: u64,
    bytes: usize,
    bytes_max: usize,
    span_max: usize,
    /// Sockets that are paused until there is room again.
    paused: BTreeSet<ConnId>,
    /// Whether new ones wait until the homes of a new epoch are open.
    held: bool,
}

impl Asks {
    /// None open; at most about `bytes_max` bytes and `span_max` numbers shall be.
    pub fn new(bytes_max: usize, span_max: usize) -> Self {
        Asks { open: VecDeque::new(), first: 1, bytes: 0, bytes_max, span_max, paused: BTreeSet::new(), held: false }
    }

    /// Adds one: its number.
    pub fn add(&mut self, ask: Ask) -> u64 {
        self.bytes += WEIGHT + ask.frame.len();
        self.open.push_back(State::Open(ask));
        self.first + self.open.len() as u64 - 1
    }

    /// A message was given as soon as it was taken in. That is remembered as long as an earlier one is open, which would come
    /// after it if it had to be asked again.
    pub fn given_at_once(&mut self, from: ClientId) {
        if !self.open.is_empty() {
            self.open.push_back(State::Over(from));
        }
    }

    /// Whether its sources shall pause.
    pub fn is_full(&self) -> bool {
        self.bytes > self.bytes_max || self.open.len() >= self.span_max
    }

    /// Remembers that a socket is paused until there is room. False: it was so already.
    pub fn pause(&mut self, conn: ConnId) -> bool {
        self.paused.insert(conn)
    }

    /// Whether a socket is paused here.
    pub fn is_paused(&self, conn: ConnId) -> bool {
        self.paused.contains(&conn)
    }

    /// Forgets a socket.
    pub fn forget(&mut self, conn: ConnId) {
        self.paused.remove(&conn);
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    /// One that is open.
    pub fn get(&self, number: u64) -> Option<&Ask> {
        self.open.get(self.index(number)?)?.open()
    }

    /// These are over. Says which sockets may go on.
    pub fn settle(&mut self, numbers: impl IntoIterator<Item = u64>) -> BTreeSet<ConnId> {
        for number in numbers {
            if let Some(state) = self.index(number).and_then(|index| self.open.get_mut(index))
                && let State::Open(ask) = state
            {
                self.bytes = self.bytes.saturating_sub(WEIGHT + ask.frame.len());
                *state = State::Over(ask.question.from);
            }
        }
        while self.open.front().is_some_and(|state| state.open().is_none()) {
            self.open.pop_front();
            self.first += 1;
        }
        let room = self.bytes <= self.bytes_max / 2 && self.open.len() <= self.span_max / 2;
        if room { std::mem::take(&mut self.paused) } else { BTreeSet::new() }
    }

    /// Those that are open, in the order of their numbers.
    pub fn open(&self) -> impl Iterator<Item = (u64, &Ask)> {
        (self.first..).zip(&self.open).filter_map(|(number, state)| Some((number, state.open()?)))
    }

    /// The senders one of whose messages is open although a later one was given: asked again, it would come out of order.
    pub fn overtaken(&self) -> BTreeSet<ClientId> {
        let (mut given, mut overtaken) = (BTreeSet::new(), BTreeSet::new());
        for state in self.open.iter().rev() {
            match state {
                State::Over(from) => drop(given.insert(*from)),
                State::Open(ask) if given.contains(&ask.question.from) => drop(overtaken.insert(ask.question.from)),
                State::Open(_) => {}
            }
        }
        overtaken
    }

    /// Settles all that a client has open: it goes, and its messages with it.
    pub fn drop_of(&mut self, client: ClientId) -> BTreeSet<ConnId> {
        let numbers: Vec<u64> =
            self.open().filter(|(_, ask)| ask.question.from == client).map(|(number, _)| number).collect();
        self.settle(numbers)
    }

    /// Whether any is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether new ones wait.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Makes new ones wait, or not.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Forgets all of them; numbers go on.
    pub fn clear(&mut self) -> BTreeSet<ConnId> {
        self.first += self.open.len() as u64;
        self.open.clear();
        self.bytes = 0;
        std::mem::take(&mut self.paused)
    }
}

/// What became of others' asks, as long as they may want to know: the newest numbers of each asker.
#[derive(Debug)]
pub struct Memory<T> {
    askers: Vec<Asker<T>>,
    /// Who was noted last: the next is most often of the same asker.
    last: usize,
    span_max: u64,
}

#[derive(Debug)]
struct Asker<T> {
    name: (Life, ShardId),
    noted: VecDeque<(u64, T)>,
}

impl<T: Copy> Memory<T> {
    /// Remembers the newest `span_max` numbers of each asker: no older one is open.
    pub fn new(span_max: usize) -> Self {
        Memory { askers: Vec::new(), last: 0, span_max: span_max as u64 }
    }

    /// What became of one.
    pub fn note(&mut self, ask: AskId, what: T) {
        let name = (ask.life, ask.shard);
        if self.askers.get(self.last).is_none_or(|asker| asker.name != name) {
            self.last = self.askers.iter().position(|asker| asker.name == name).unwrap_or_else(|| {
                self.askers.push(Asker { name, noted: VecDeque::new() });
                self.askers.len() - 1
            });
        }
        let Some(Asker { noted, .. }) = self.askers.get_mut(self.last) else { return };
        noted.push_back((ask.number, what));
        while noted.front().is_some_and(|(number, _)| ask.number.saturating_sub(*number) >= self.span_max) {
            noted.pop_front();
        }
    }

    /// All that is remembered.
    pub fn iter(&self) -> impl Iterator<Item = (AskId, T)> + '_ {
        self.askers.iter().flat_map(|Asker { name: (life, shard), noted }| {
            noted.iter().map(|(number, what)| (AskId { life: *life, shard: *shard, number: *number }, *what))
        })
    }

    /// Forgets the askers whose life has ended.
    pub fn retain(&mut self, live: impl Fn(Life) -> bool) {
        self.askers.retain(|asker| live(asker.name.0));
        self.last = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientId = ClientId { life: Life(1), shard: ShardId(0), serial: 1 };

    fn of(from: ClientId, bytes: usize) -> Ask {
        let question = Question { channel: ChannelId::from_bits(1, 4), from, wish: Wish::Pull };
        Ask { question, frame: Bytes::from(vec![0; bytes]) }
    }

    fn ask(bytes: usize) -> Ask {
        of(CLIENT, bytes)
    }

    #[test]
    fn numbers_go_on_whatever_is_settled_first() {
        let mut asks = Asks::new(1_000_000, 100);
        assert_eq!([asks.add(ask(1)), asks.add(ask(1)), asks.add(ask(1))], [1, 2, 3]);
        asks.settle([2]);
        asks.settle([2]);
        assert!(asks.get(1).is_some() && asks.get(2).is_none() && asks.get(0).is_none() && asks.get(4).is_none());
        assert_eq!(asks.open().map(|(number, _)| number).collect::<Vec<_>>(), [1, 3]);
        asks.settle([1]);
        assert_eq!(asks.add(ask(1)), 4);
        asks.settle([3]);
        asks.settle([4]);
        asks.settle([9]);
        assert!(asks.is_empty());
        assert_eq!(asks.add(ask(1)), 5);
        asks.clear();
        assert_eq!(asks.add(ask(1)), 6);
    }

    #[test]
    fn sources_pause_when_much_is_open_and_go_on_at_half_of_it() {
        let conn = ConnId { index: 1, generation: 0 };
        let mut asks = Asks::new(1_000, 100);
        asks.add(ask(400));
        assert!(!asks.is_full());
        asks.add(ask(400));
        assert!(asks.is_full());
        assert!(asks.pause(conn));
        assert!(asks.settle([7]).is_empty());
        assert!(asks.settle([1]).is_empty(), "528 of 1000 are open");
        assert_eq!(asks.settle([2]).into_iter().collect::<Vec<_>>(), [conn]);
    }

    #[test]
    fn a_message_that_a_later_one_has_overtaken_is_known_by_its_sender() {
        let mut asks = Asks::new(1_000_000, 100);
        for serial in [1, 2, 1, 2, 3] {
            asks.add(of(ClientId { serial, ..CLIENT }, 1));
        }
        assert!(asks.overtaken().is_empty());
        asks.settle([3]);
        asks.settle([5]);
        let overtaken: Vec<u64> = asks.overtaken().into_iter().map(|client| client.serial).collect();
        assert_eq!(overtaken, [1]);
        asks.given_at_once(ClientId { serial: 2, ..CLIENT });
        assert_eq!(asks.overtaken().len(), 2);
        asks.drop_of(ClientId { serial: 1, ..CLIENT });
        assert_eq!(asks.overtaken().len(), 1);
        assert_eq!(asks.open().map(|(number, _)| number).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn only_what_may_still_be_open_is_remembered() {
        let id = |number| AskId { life: Life(7), shard: ShardId(2), number };
        let mut memory = Memory::new(10);
        for number in 1..=30 {
            memory.note(id(number), ());
        }
        assert_eq!(memory.iter().map(|(ask, ())| ask.number).collect::<Vec<_>>(), (21..=30).collect::<Vec<_>>());
        memory.note(id(u64::MAX), ());
        memory.note(id(u64::MAX), ());
        assert_eq!(memory.iter().count(), 2, "the last number there is");
        memory.retain(|life| life != Life(7));
        assert_eq!(memory.iter().count(), 0);
    }
}

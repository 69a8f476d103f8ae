//! What makes a decision happen once: messages whose fate is open, and what became of those of others.
//!
//! A shard keeps each run of messages that it has handed to a home until receivers' shards have said of all of them that they
//! were given. When homes move, every shard tells what its clients were given and what its homes decided; from that the taker
//! knows what to ask again. An ask has one number for all its tries, so nothing is given twice.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::id::{ChannelId, ClientId, ConnId, Life, ShardId};
use crate::peer::{AskId, Wishes};
use crate::wire::frame;

/// Bytes that a run weighs beside its frames.
const WEIGHT: usize = 128;

/// What a home is asked to decide about a run of messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Where.
    pub channel: ChannelId,
    /// Who sent them.
    pub from: ClientId,
    /// By which rule they are decided.
    pub wishes: Wishes,
}

/// Messages of one client with numbers in sequence.
#[derive(Debug)]
struct Run {
    from: ClientId,
    first: u64,
    count: u64,
    /// How many of them are open.
    open: u64,
    /// What is asked about them, and their frames; `None` where they were given as soon as they came.
    asked: Option<(Question, Bytes)>,
}

impl Run {
    fn has(&self, number: u64) -> bool {
        number.checked_sub(self.first).is_some_and(|index| index < self.count)
    }
}

/// The open asks of one shard, by number.
#[derive(Debug)]
pub struct Asks {
    /// From the oldest of which one is open.
    runs: VecDeque<Run>,
    /// Of each number of these runs, whether it is over.
    over: VecDeque<bool>,
    /// The number of the first in `over`.
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
        Asks {
            runs: VecDeque::new(),
            over: VecDeque::new(),
            first: 1,
            bytes: 0,
            bytes_max,
            span_max,
            paused: BTreeSet::new(),
            held: false,
        }
    }

    fn next(&self) -> u64 {
        self.first + self.over.len() as u64
    }

    /// Adds a run of whole frames: the number of its first; the others' follow. Its bytes count until all of it is over.
    pub fn add(&mut self, question: Question, frames: Bytes) -> u64 {
        let (first, count) = (self.next(), frame::count(&frames));
        self.bytes += WEIGHT + frames.len();
        self.over.extend(std::iter::repeat_n(false, count));
        let (from, count) = (question.from, count as u64);
        self.runs.push_back(Run { from, first, count, open: count, asked: Some((question, frames)) });
        first
    }

    /// A message was given as soon as it was taken in. That is remembered as long as an earlier one is open, which would come
    /// after it if it had to be asked again.
    pub fn given_at_once(&mut self, from: ClientId) {
        if self.runs.is_empty() {
            return;
        }
        let first = self.next();
        self.over.push_back(true);
        match self.runs.back_mut().filter(|run| run.from == from && run.asked.is_none()) {
            Some(run) => run.count += 1,
            None => self.runs.push_back(Run { from, first, count: 1, open: 0, asked: None }),
        }
    }

    /// Whether its sources shall pause.
    pub fn is_full(&self) -> bool {
        self.bytes > self.bytes_max || self.over.len() >= self.span_max
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

    fn is_open(&self, number: u64) -> bool {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.over.get(at)) == Some(&false)
    }

    /// Where the run with this number is, if there is one.
    fn run_of(&self, number: u64) -> Option<usize> {
        let at = self.runs.partition_point(|run| run.first <= number).checked_sub(1)?;
        self.runs.get(at).filter(|run| run.has(number)).map(|_| at)
    }

    /// The sender of a reply that is open.
    pub fn replier(&self, number: u64) -> Option<ClientId> {
        let run = self.runs.get(self.run_of(number)?).filter(|_| self.is_open(number))?;
        let (question, _) = run.asked.as_ref()?;
        matches!(question.wishes, Wishes::Replies(_)).then_some(run.from)
    }

    /// One is over. The sockets that may go on are said when something is [settled](Asks::settle).
    pub fn close(&mut self, number: u64) {
        if let Some(at) = self.run_of(number) {
            self.close_in(at, number);
        }
    }

    fn close_in(&mut self, at: usize, number: u64) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some(over) = index.and_then(|index| self.over.get_mut(index)) else { return };
        if std::mem::replace(over, true) {
            return;
        }
        let Some(run) = self.runs.get_mut(at) else { return };
        run.open -= 1;
        if run.open == 0
            && let Some((_, frames)) = run.asked.take()
        {
            self.bytes = self.bytes.saturating_sub(WEIGHT + frames.len());
        }
    }

    /// These are over. Says which sockets may go on.
    pub fn settle(&mut self, numbers: impl IntoIterator<Item = u64>) -> BTreeSet<ConnId> {
        let mut last = 0;
        for number in numbers {
            // Most often the next is of the same run, or of the one behind it.
            let near = [last, last + 1].into_iter().find(|at| self.runs.get(*at).is_some_and(|run| run.has(number)));
            if let Some(at) = near.or_else(|| self.run_of(number)) {
                self.close_in(at, number);
                last = at;
            }
        }
        while let Some(run) = self.runs.pop_front_if(|run| run.open == 0) {
            self.over.drain(..(run.count as usize).min(self.over.len()));
            self.first = run.first + run.count;
        }
        let room = self.bytes <= self.bytes_max / 2 && self.over.len() <= self.span_max / 2;
        if room { std::mem::take(&mut self.paused) } else { BTreeSet::new() }
    }

    /// Those that are open, in the order of their numbers: runs without gaps, each with the number of its first.
    pub fn open(&self) -> Vec<(u64, Question, Bytes)> {
        let mut open = Vec::new();
        for Run { first, asked, .. } in &self.runs {
            let Some((question, frames)) = asked else { continue };
            let mut part: Option<(usize, std::ops::Range<usize>)> = None;
            let part_of = |index: usize, count: usize, bytes: &std::ops::Range<usize>| {
                let wishes = question.wishes.part(index, count);
                (first + index as u64, Question { wishes, ..question.clone() }, frames.slice(bytes.clone()))
            };
            let mut count = 0;
            for (index, range) in frame::ranges(frames).enumerate() {
                match (self.is_open(first + index as u64), &mut part) {
                    (true, Some((_, bytes))) => (bytes.end, count) = (range.end, count + 1),
                    (true, None) => (part, count) = (Some((index, range)), 1),
                    (false, _) => open.extend(part.take().map(|(index, bytes)| part_of(index, count, &bytes))),
                }
            }
            open.extend(part.map(|(index, bytes)| part_of(index, count, &bytes)));
        }
        open
    }

    /// The senders one of whose messages is open although a later one was given: asked again, it would come out of order.
    pub fn overtaken(&self) -> BTreeSet<ClientId> {
        let (mut given, mut overtaken) = (BTreeSet::new(), BTreeSet::new());
        for run in self.runs.iter().rev() {
            for number in (run.first..run.first + run.count).rev() {
                if !self.is_open(number) {
                    given.insert(run.from);
                } else if given.contains(&run.from) {
                    overtaken.insert(run.from);
                }
            }
        }
        overtaken
    }

    /// Settles all that a client has open: it goes, and its messages with it.
    pub fn drop_of(&mut self, client: ClientId) -> BTreeSet<ConnId> {
        let runs = self.runs.iter().filter(|run| run.from == client);
        let numbers: Vec<u64> = runs.flat_map(|run| run.first..run.first + run.count).collect();
        self.settle(numbers)
    }

    /// Whether any is open.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
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
        self.first = self.next();
        self.runs.clear();
        self.over.clear();
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
    use bytes::BytesMut;

    use super::*;
    use crate::wire::frame::OpCode;

    const CLIENT: ClientId = ClientId { life: Life(1), shard: ShardId(0), serial: 1 };

    /// A run of so many messages of these many bytes each.
    fn add(asks: &mut Asks, from: ClientId, count: usize, bytes: usize) -> u64 {
        let question = Question { channel: ChannelId::from_bits(1, 4), from, wishes: Wishes::Pull };
        let mut frames = BytesMut::new();
        (0..count).for_each(|_| frame::encode(&mut frames, OpCode::Binary, &vec![0; bytes]));
        asks.add(question, frames.freeze())
    }

    /// The numbers of the runs that are open, and how many messages each has.
    fn open(asks: &Asks) -> Vec<(u64, usize)> {
        asks.open().into_iter().map(|(number, _, frames)| (number, frame::count(&frames))).collect()
    }

    #[test]
    fn numbers_go_on_whatever_is_settled_first() {
        let mut asks = Asks::new(1_000_000, 100);
        assert_eq!([add(&mut asks, CLIENT, 1, 1), add(&mut asks, CLIENT, 5, 1)], [1, 2]);
        asks.settle([4, 4, 2]);
        assert_eq!(open(&asks), [(1, 1), (3, 1), (5, 2)]);
        asks.settle([1, 0, 7, 99]);
        assert_eq!(open(&asks), [(3, 1), (5, 2)]);
        assert_eq!(add(&mut asks, CLIENT, 1, 1), 7);
        asks.settle([7, 6, 5]);
        assert_eq!(open(&asks), [(3, 1)]);
        asks.settle([3]);
        assert!(asks.is_empty());
        assert_eq!(add(&mut asks, CLIENT, 1, 1), 8);
        asks.clear();
        assert_eq!(add(&mut asks, CLIENT, 1, 1), 9);
    }

    #[test]
    fn replies_that_are_asked_again_keep_their_origins() {
        let mut asks = Asks::new(1_000_000, 100);
        let origins: Vec<ClientId> = (1..=4).map(|serial| ClientId { serial, ..CLIENT }).collect();
        let question =
            Question { channel: ChannelId::from_bits(1, 4), from: CLIENT, wishes: Wishes::Replies(origins.clone()) };
        let mut frames = BytesMut::new();
        (1..=4u8).for_each(|n| frame::encode(&mut frames, OpCode::Binary, &[n]));
        asks.add(question, frames.freeze());
        assert_eq!(asks.replier(2), Some(CLIENT));
        asks.settle([2]);
        assert_eq!([asks.replier(2), asks.replier(5)], [None; 2]);
        let open = asks.open();
        let wishes: Vec<Wishes> = open.iter().map(|(_, question, _)| question.wishes.clone()).collect();
        assert_eq!(wishes, [Wishes::Replies(origins[..1].to_vec()), Wishes::Replies(origins[2..].to_vec())]);
        let payloads: Vec<u8> = open.iter().flat_map(|(_, _, frames)| frame::own(frames).map(|(_, p)| p[0])).collect();
        assert_eq!(payloads, [1, 3, 4]);
    }

    #[test]
    fn sources_pause_when_much_is_open_and_go_on_at_half_of_it() {
        let conn = ConnId { index: 1, generation: 0 };
        let mut asks = Asks::new(1_000, 100);
        add(&mut asks, CLIENT, 2, 200);
        assert!(!asks.is_full());
        add(&mut asks, CLIENT, 2, 200);
        assert!(asks.is_full());
        assert!(asks.pause(conn));
        assert!(asks.settle([7]).is_empty());
        assert!(asks.settle([1, 3, 4]).is_empty(), "a run counts until all of it is over");
        assert_eq!(asks.settle([2]).into_iter().collect::<Vec<_>>(), [conn]);
    }

    #[test]
    fn a_message_that_a_later_one_has_overtaken_is_known_by_its_sender() {
        let mut asks = Asks::new(1_000_000, 100);
        for serial in [1, 2, 1, 2, 3] {
            add(&mut asks, ClientId { serial, ..CLIENT }, 1, 1);
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
        assert_eq!(open(&asks), [(2, 1), (4, 1)]);
        asks.close(4);
        assert_eq!(open(&asks), [(2, 1)]);
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

//! Runs of messages that cannot go on yet: they wait for their turns in a channel's queue, or behind such.
//!
//! The shard that took messages in keeps them until the channel's home has said whose turns they are. Nobody else has a copy,
//! so what becomes of a message is never in doubt: it is here, or it was sent on, once. When homes move, what is still here is
//! asked again. Replies need no turn; they wait only behind earlier messages of their sender, so that its order is kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::id::{ChannelId, ClientId, ConnId};
use crate::peer::Wish;

/// Bytes that a run weighs beside its frames.
const WEIGHT: usize = 128;

/// What a run waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// A turn for each message.
    Turns(Wish),
    /// The sender's earlier messages; then each goes to the client that stands in its place.
    Earlier(Vec<ClientId>),
}

/// Messages of one client, taken in one after another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Where.
    pub channel: ChannelId,
    /// Who sent them.
    pub from: ClientId,
    /// What they wait for.
    pub awaited: Awaited,
    /// Whole server frames, one after another.
    pub frames: Bytes,
}

#[derive(Debug)]
struct Open {
    run: Run,
    count: usize,
    /// The same sender's next run.
    next: Option<u64>,
}

/// The runs that wait on one shard, by number.
#[derive(Debug)]
pub struct Asks {
    /// From the oldest that is open; `None` where one is not.
    runs: VecDeque<Option<Open>>,
    /// The number of the first.
    first: u64,
    /// The newest open run of each sender, by serial number.
    newest: BTreeMap<u64, u64>,
    bytes: usize,
    bytes_max: usize,
    messages: usize,
    messages_max: usize,
    /// Sockets that are paused until there is room again.
    paused: BTreeSet<ConnId>,
    /// Whether nothing is asked until the homes of a new epoch are open.
    held: bool,
}

impl Asks {
    /// None open; at most about `bytes_max` bytes and `messages_max` messages shall be.
    pub fn new(bytes_max: usize, messages_max: usize) -> Self {
        Asks {
            runs: VecDeque::new(),
            first: 1,
            newest: BTreeMap::new(),
            bytes: 0,
            bytes_max,
            messages: 0,
            messages_max,
            paused: BTreeSet::new(),
            held: false,
        }
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Option<Open>> {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok())?;
        self.runs.get_mut(at)
    }

    /// Adds a run of `count` messages: its number.
    pub fn add(&mut self, run: Run, count: usize) -> u64 {
        let number = self.first + self.runs.len() as u64;
        self.bytes += WEIGHT + run.frames.len();
        self.messages += count;
        let before = self.newest.insert(run.from.serial, number);
        if let Some(Some(before)) = before.and_then(|before| self.get_mut(before)) {
            before.next = Some(number);
        }
        self.runs.push_back(Some(Open { run, count, next: None }));
        number
    }

    /// How many messages a run has that waits for turns, and which. `None`: no such run waits.
    pub fn turns(&self, number: u64) -> Option<(&Run, Wish, usize)> {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok())?;
        let open = self.runs.get(at)?.as_ref()?;
        match open.run.awaited {
            Awaited::Turns(wish) => Some((&open.run, wish, open.count)),
            Awaited::Earlier(_) => None,
        }
    }

    /// A run's turns are known: the run, which is over here, and behind it those of its sender that waited for nothing else.
    pub fn take(&mut self, number: u64) -> Vec<Run> {
        let mut runs = Vec::with_capacity(1);
        let mut next = self.turns(number).map(|_| number);
        while let Some(number) = next {
            let Some(Open { run, count, next: behind }) = self.get_mut(number).and_then(Option::take) else { break };
            self.bytes = self.bytes.saturating_sub(WEIGHT + run.frames.len());
            self.messages = self.messages.saturating_sub(count);
            if self.newest.get(&run.from.serial) == Some(&number) {
                self.newest.remove(&run.from.serial);
            }
            runs.push(run);
            next = behind.filter(|behind| self.turns(*behind).is_none());
        }
        while self.runs.pop_front_if(|run| run.is_none()).is_some() {
            self.first += 1;
        }
        runs
    }

    /// The numbers of those that wait for turns, in order.
    pub fn open(&self) -> Vec<u64> {
        let numbers = self.first..self.first + self.runs.len() as u64;
        numbers.filter(|number| self.turns(*number).is_some()).collect()
    }

    /// Whether a client of this shard has sent something that is still here.
    pub fn has_of(&self, client: ClientId) -> bool {
        self.newest.contains_key(&client.serial)
    }

    /// Whether nothing is here.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether its sources shall pause.
    pub fn is_full(&self) -> bool {
        self.bytes > self.bytes_max || self.messages >= self.messages_max
    }

    /// Remembers that a socket is paused until there is room. False: it was so already.
    pub fn pause(&mut self, conn: ConnId) -> bool {
        self.paused.insert(conn)
    }

    /// Whether a socket is paused here.
    pub fn is_paused(&self, conn: ConnId) -> bool {
        self.paused.contains(&conn)
    }

    /// The sockets that may go on, if there is room now.
    pub fn resumed(&mut self) -> BTreeSet<ConnId> {
        let room = self.bytes <= self.bytes_max / 2 && self.messages <= self.messages_max / 2;
        if room { std::mem::take(&mut self.paused) } else { BTreeSet::new() }
    }

    /// Forgets a socket.
    pub fn forget(&mut self, conn: ConnId) {
        self.paused.remove(&conn);
    }

    /// Whether nothing is asked now.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Makes new ones wait, or not.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Forgets all of them; numbers go on. Says which sockets may.
    pub fn clear(&mut self) -> BTreeSet<ConnId> {
        self.first += self.runs.len() as u64;
        self.runs.clear();
        self.newest.clear();
        (self.bytes, self.messages) = (0, 0);
        std::mem::take(&mut self.paused)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::id::{Life, ShardId};
    use crate::wire::frame::{self, OpCode};

    fn client(serial: u64) -> ClientId {
        ClientId { life: Life(1), shard: ShardId(0), serial }
    }

    /// A run of so many messages of these many bytes each.
    fn run(serial: u64, awaited: Awaited, count: usize, bytes: usize) -> Run {
        let mut frames = BytesMut::new();
        (0..count).for_each(|_| frame::encode(&mut frames, OpCode::Binary, &vec![0; bytes]));
        Run { channel: ChannelId::from_bits(1, 4), from: client(serial), awaited, frames: frames.freeze() }
    }

    fn add(asks: &mut Asks, run: Run) -> u64 {
        let count = frame::count(&run.frames);
        asks.add(run, count)
    }

    fn pull(serial: u64) -> Run {
        run(serial, Awaited::Turns(Wish::Pull), 1, 1)
    }

    fn replies(serial: u64) -> Run {
        run(serial, Awaited::Earlier(vec![client(9)]), 1, 1)
    }

    #[test]
    fn runs_are_taken_in_any_order_and_once() {
        let mut asks = Asks::new(1_000_000, 100);
        let numbers: Vec<u64> = (0..3).map(|_| add(&mut asks, pull(1))).collect();
        assert_eq!((numbers, asks.open()), (vec![1, 2, 3], vec![1, 2, 3]));
        assert_eq!(asks.take(2).len(), 1);
        assert!(asks.take(2).is_empty() && asks.take(0).is_empty() && asks.take(4).is_empty());
        assert_eq!(asks.open(), [1, 3]);
        assert!(asks.has_of(client(1)) && !asks.has_of(client(2)));
        asks.take(1);
        asks.take(3);
        assert!(asks.is_empty() && !asks.has_of(client(1)));
        assert_eq!(add(&mut asks, pull(1)), 4);
        asks.clear();
        assert_eq!(add(&mut asks, pull(1)), 5);
    }

    #[test]
    fn replies_go_behind_what_their_sender_sent_before_them() {
        let mut asks = Asks::new(1_000_000, 100);
        let first = add(&mut asks, pull(1));
        add(&mut asks, pull(2));
        add(&mut asks, replies(1));
        add(&mut asks, replies(1));
        let last = add(&mut asks, pull(1));
        add(&mut asks, replies(1));
        assert_eq!(asks.open(), [first, 2, last]);
        assert!(asks.take(3).is_empty(), "nobody gives turns to replies");
        assert_eq!(asks.take(first), [pull(1), replies(1), replies(1)]);
        assert_eq!(asks.take(last), [pull(1), replies(1)]);
        assert!(!asks.has_of(client(1)) && asks.has_of(client(2)));
    }

    #[test]
    fn sources_pause_when_much_waits_and_go_on_at_half_of_it() {
        let conn = ConnId { index: 1, generation: 0 };
        let mut asks = Asks::new(1_000, 100);
        let big = || run(1, Awaited::Turns(Wish::Pull), 2, 200);
        add(&mut asks, big());
        assert!(!asks.is_full());
        add(&mut asks, big());
        assert!(asks.is_full());
        assert!(asks.pause(conn));
        assert!(asks.resumed().is_empty());
        asks.take(1);
        assert!(asks.resumed().is_empty(), "half of it is {} bytes", asks.bytes_max / 2);
        asks.take(2);
        assert_eq!(asks.resumed().into_iter().collect::<Vec<_>>(), [conn]);
        let mut asks = Asks::new(1_000_000, 4);
        add(&mut asks, run(1, Awaited::Turns(Wish::Pull), 3, 1));
        assert!(!asks.is_full());
        add(&mut asks, pull(1));
        assert!(asks.is_full());
    }
}

//! The client queue of push-pull and fan-in-out: the head gets the message and moves to the tail.
//!
//! Each move to the tail is stamped with a number that only grows, so that the order can be told to another home and
//! rebuilt there. The distribution is exact while the members do not change: with n members and k·n messages from outside
//! the queue each member gets k.

use std::collections::BTreeMap;

use crate::id::ClientId;

/// Who gets a message, and what that does to the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// The receiver.
    pub client: ClientId,
    /// Its new stamp.
    pub stamp: u64,
    /// The sender's new stamp, if it stood at the head and went to the tail first.
    pub passed: Option<u64>,
}

/// Where a client stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    client: ClientId,
    /// Who is served before it, and who after it.
    before: Option<usize>,
    after: Option<usize>,
}

/// Clients in the order in which they are served. Nothing is kept until the first comes: most channels have no queue.
#[derive(Debug, Default, Clone)]
pub struct Queue(Option<Box<List>>);

impl Queue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// A queue in the order of the stamps that another home gave.
    pub fn restore(mut stamped: Vec<(u64, ClientId)>) -> Self {
        stamped.sort_unstable();
        let mut queue = Queue::new();
        for (stamp, client) in stamped {
            // Stamps go up: a client keeps the one it has, unless a home gave one twice.
            let list = queue.0.get_or_insert_default();
            list.next = list.next.max(stamp);
            list.put_last(client);
        }
        queue
    }

    /// Puts a client at the tail, from wherever it stood: its new stamp.
    pub fn to_tail(&mut self, client: ClientId) -> u64 {
        self.0.get_or_insert_default().put_last(client)
    }

    /// Takes a client out; nothing if it is not in.
    pub fn remove(&mut self, client: ClientId) {
        if let Some(list) = &mut self.0 {
            list.remove(client);
        }
    }

    /// Who gets the next message of `sender`. A sender at the head goes to the tail first, so that it gets its own
    /// message only when it is alone in the queue; `None` when the queue is empty.
    pub fn choose(&mut self, sender: ClientId) -> Option<Turn> {
        self.0.as_mut()?.choose(sender)
    }

    /// Who gets the next request of `sender`, never `sender` itself: alone is nobody.
    pub fn choose_other(&mut self, sender: ClientId) -> Option<Turn> {
        let list = self.0.as_mut()?;
        if list.index.len() == 1 && list.head()?.1 == sender {
            return None;
        }
        list.choose(sender)
    }

    /// How many clients stand in it.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |list| list.index.len())
    }

    /// Whether nobody stands in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A list through a slab, so that a turn looks nothing up, and an index for those who come and go.
#[derive(Debug, Default, Clone)]
struct List {
    places: Vec<Place>,
    free: Vec<usize>,
    head: Option<usize>,
    tail: Option<usize>,
    index: BTreeMap<ClientId, usize>,
    next: u64,
}

impl List {
    fn put_last(&mut self, client: ClientId) -> u64 {
        if let Some(at) = self.index.get(&client).copied() {
            return self.move_to_tail(at);
        }
        let place = Place { client, before: None, after: None };
        let at = self.free.pop().unwrap_or(self.places.len());
        match self.places.get_mut(at) {
            Some(free) => *free = place,
            None => self.places.push(place),
        }
        self.index.insert(client, at);
        self.append(at)
    }

    fn remove(&mut self, client: ClientId) {
        if let Some(at) = self.index.remove(&client) {
            self.unlink(at);
            self.free.push(at);
        }
    }

    fn choose(&mut self, sender: ClientId) -> Option<Turn> {
        let (mut at, mut client) = self.head()?;
        let mut passed = None;
        if client == sender && self.index.len() > 1 {
            passed = Some(self.move_to_tail(at));
            (at, client) = self.head()?;
        }
        Some(Turn { client, stamp: self.move_to_tail(at), passed })
    }

    fn head(&self) -> Option<(usize, ClientId)> {
        self.head.and_then(|at| Some((at, self.places.get(at)?.client)))
    }

    fn move_to_tail(&mut self, at: usize) -> u64 {
        self.unlink(at);
        self.append(at)
    }

    /// Takes a place out of the list.
    fn unlink(&mut self, at: usize) {
        let Some(Place { before, after, .. }) = self.places.get(at).copied() else { return };
        match before.and_then(|before| self.places.get_mut(before)) {
            Some(place) => place.after = after,
            None => self.head = after,
        }
        match after.and_then(|after| self.places.get_mut(after)) {
            Some(place) => place.before = before,
            None => self.tail = before,
        }
    }

    /// Puts a place that is not in the list at its end.
    fn append(&mut self, at: usize) -> u64 {
        let before = self.tail.replace(at);
        match before.and_then(|before| self.places.get_mut(before)) {
            Some(place) => place.after = Some(at),
            None => self.head = Some(at),
        }
        if let Some(place) = self.places.get_mut(at) {
            *place = Place { client: place.client, before, after: None };
        }
        let stamp = self.next;
        self.next = stamp.saturating_add(1);
        stamp
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::id::{Life, ShardId};

    fn client(serial: u64) -> ClientId {
        ClientId { life: Life(1), shard: ShardId(0), serial }
    }

    #[test]
    fn an_outside_sender_is_served_in_exact_turns() {
        let mut queue = Queue::new();
        for n in 0..5 {
            queue.to_tail(client(n));
        }
        let mut got = [0; 5];
        for _ in 0..35 {
            got[queue.choose(client(99)).unwrap().client.serial as usize] += 1;
        }
        assert_eq!(got, [7; 5]);
    }

    #[test]
    fn a_sender_gets_its_own_message_only_when_alone() {
        let mut queue = Queue::new();
        let chosen = |turn: Option<Turn>| turn.map(|turn| turn.client);
        assert_eq!(queue.choose(client(1)), None);
        queue.to_tail(client(1));
        assert_eq!(chosen(queue.choose(client(1))), Some(client(1)));
        assert_eq!(queue.choose_other(client(1)), None);
        queue.to_tail(client(2));
        for _ in 0..10 {
            assert_eq!(chosen(queue.choose(client(1))), Some(client(2)));
            assert_eq!(chosen(queue.choose_other(client(1))), Some(client(2)));
        }
    }

    #[test]
    fn a_queue_goes_on_at_another_home_from_the_stamps_alone() {
        let mut queue = Queue::new();
        let mut stamps: BTreeMap<ClientId, u64> = (0..5).map(|n| (client(n), queue.to_tail(client(n)))).collect();
        for step in 0..100u64 {
            let sender = client(step % 7);
            let turn = queue.choose(sender).unwrap();
            stamps.insert(turn.client, turn.stamp);
            if let Some(stamp) = turn.passed {
                // The receiver's is the later one, also where it is the sender itself.
                stamps.entry(sender).and_modify(|old| *old = stamp.max(*old));
            }
            let mut other = Queue::restore(stamps.iter().map(|(client, stamp)| (*stamp, *client)).collect());
            assert_eq!(other.choose(client(99)).unwrap().client, queue.clone().choose(client(99)).unwrap().client);
        }
    }

    #[test]
    fn a_stamp_that_was_given_twice_loses_nobody_his_place() {
        let mut queue = Queue::restore(vec![(7, client(2)), (3, client(1)), (7, client(3))]);
        let served: Vec<_> = (0..4).filter_map(|_| queue.choose(client(99))).collect();
        assert_eq!(served.iter().map(|turn| turn.client.serial).collect::<Vec<_>>(), [1, 2, 3, 1]);
        assert!(served.iter().all(|turn| turn.stamp > 8), "{served:?}");
    }

    proptest! {
        /// The model is the thesis's list, moved by hand.
        #[test]
        fn it_behaves_as_a_list_moved_by_hand(steps in proptest::collection::vec((0u8..3, 0u64..6), 0..200)) {
            let mut queue = Queue::new();
            let mut model: VecDeque<ClientId> = VecDeque::new();
            for (step, n) in steps {
                let who = client(n);
                match step {
                    0 => { queue.to_tail(who); model.retain(|c| *c != who); model.push_back(who); }
                    1 => { queue.remove(who); model.retain(|c| *c != who); }
                    _ => {
                        if model.len() > 1 && model.front() == Some(&who) { model.rotate_left(1); }
                        let expected = model.front().copied();
                        if !model.is_empty() { model.rotate_left(1); }
                        prop_assert_eq!(queue.choose(who).map(|turn| turn.client), expected);
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
            }
        }
    }
}

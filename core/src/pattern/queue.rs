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

/// Clients in the order in which they are served.
#[derive(Debug, Default, Clone)]
pub struct Queue {
    order: BTreeMap<u64, ClientId>,
    stamps: BTreeMap<ClientId, u64>,
    next: u64,
}

impl Queue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// A queue in the order of the stamps that another home gave.
    pub fn restore(mut stamped: Vec<(u64, ClientId)>) -> Self {
        stamped.sort_unstable();
        let mut queue =
            Queue { next: stamped.last().map_or(0, |(stamp, _)| stamp.saturating_add(1)), ..Queue::default() };
        for (stamp, client) in stamped {
            // No home gives a stamp twice; should one have, the other client goes to the tail.
            if let Some(earlier) = queue.order.insert(stamp, client) {
                queue.stamps.remove(&earlier);
                queue.to_tail(earlier);
            }
            queue.stamps.insert(client, stamp);
        }
        queue
    }

    /// Puts a client at the tail, from wherever it stood: its new stamp.
    pub fn to_tail(&mut self, client: ClientId) -> u64 {
        self.remove(client);
        let stamp = self.next;
        self.order.insert(stamp, client);
        self.stamps.insert(client, stamp);
        self.next += 1;
        stamp
    }

    /// Takes a client out; nothing if it is not in.
    pub fn remove(&mut self, client: ClientId) {
        if let Some(stamp) = self.stamps.remove(&client) {
            self.order.remove(&stamp);
        }
    }

    /// Who gets the next message of `sender`. A sender at the head goes to the tail first, so that it gets its own
    /// message only when it is alone in the queue; `None` when the queue is empty.
    pub fn choose(&mut self, sender: ClientId) -> Option<Turn> {
        let passed = (self.head()? == sender && self.order.len() > 1).then(|| self.to_tail(sender));
        let client = self.head()?;
        Some(Turn { client, stamp: self.to_tail(client), passed })
    }

    /// Who gets the next request of `sender`, never `sender` itself: alone is nobody.
    pub fn choose_other(&mut self, sender: ClientId) -> Option<Turn> {
        if self.order.len() == 1 && self.head()? == sender {
            return None;
        }
        self.choose(sender)
    }

    /// How many clients stand in it.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nobody stands in it.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn head(&self) -> Option<ClientId> {
        self.order.first_key_value().map(|(_, client)| *client)
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

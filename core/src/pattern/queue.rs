//! The client queue of push-pull and fan-in-out: the head gets the message and moves to the tail.
//!
//! Each move to the tail is stamped with a number that only grows, so that the order can be told to another home and
//! rebuilt there. The distribution is exact while the members do not change: with n members and k·n messages from outside
//! the queue each member gets k.

use std::collections::BTreeMap;

use crate::id::ClientId;

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

    /// Puts a client at the tail, from wherever it stood.
    pub fn to_tail(&mut self, client: ClientId) {
        self.remove(client);
        self.order.insert(self.next, client);
        self.stamps.insert(client, self.next);
        self.next += 1;
    }

    /// Takes a client out; nothing if it is not in.
    pub fn remove(&mut self, client: ClientId) {
        if let Some(stamp) = self.stamps.remove(&client) {
            self.order.remove(&stamp);
        }
    }

    /// Who gets the next message of `sender`. A sender at the head goes to the tail first, so that it gets its own
    /// message only when it is alone in the queue; `None` when the queue is empty.
    pub fn choose(&mut self, sender: ClientId) -> Option<ClientId> {
        if self.head()? == sender && self.order.len() > 1 {
            self.to_tail(sender);
        }
        let chosen = self.head()?;
        self.to_tail(chosen);
        Some(chosen)
    }

    /// Who gets the next request of `sender`, never `sender` itself: alone is nobody.
    pub fn choose_other(&mut self, sender: ClientId) -> Option<ClientId> {
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
        (0..5).for_each(|n| queue.to_tail(client(n)));
        let mut got = [0; 5];
        for _ in 0..35 {
            got[queue.choose(client(99)).unwrap().serial as usize] += 1;
        }
        assert_eq!(got, [7; 5]);
    }

    #[test]
    fn a_sender_gets_its_own_message_only_when_alone() {
        let mut queue = Queue::new();
        assert_eq!(queue.choose(client(1)), None);
        queue.to_tail(client(1));
        assert_eq!(queue.choose(client(1)), Some(client(1)));
        assert_eq!(queue.choose_other(client(1)), None);
        queue.to_tail(client(2));
        for _ in 0..10 {
            assert_eq!(queue.choose(client(1)), Some(client(2)));
            assert_eq!(queue.choose_other(client(1)), Some(client(2)));
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
                        prop_assert_eq!(queue.choose(who), expected);
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
            }
        }
    }
}

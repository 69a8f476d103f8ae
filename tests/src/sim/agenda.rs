//! What happens when: one total order of everything that lies ahead.
//!
//! Events at the same instant happen in the order in which they were put in, so that nothing depends on a heap's whims.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What lies ahead, ordered by time.
#[derive(Clone, Debug)]
pub struct Agenda<E> {
    heap: BinaryHeap<Reverse<(u64, u64, u32)>>,
    // Events lie still in their slots while the heap moves small keys.
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    sequence: u64,
    now: u64,
}

impl<E> Default for Agenda<E> {
    fn default() -> Agenda<E> {
        Agenda { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), sequence: 0, now: 0 }
    }
}

impl<E> Agenda<E> {
    /// The true time: that of the newest event taken, in nanoseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// How many events lie ahead.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing lies ahead.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Puts `event` at the instant `at`, or now if that has passed.
    pub fn at(&mut self, at: u64, event: E) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                self.slots.len() as u32 - 1
            }
        };
        self.sequence += 1;
        self.heap.push(Reverse((at.max(self.now), self.sequence, slot)));
    }

    /// Puts `event` after `delay` nanoseconds.
    pub fn after(&mut self, delay: u64, event: E) {
        self.at(self.now.saturating_add(delay), event);
    }

    /// The instant of the next event.
    #[must_use]
    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Takes the next event and moves time to it.
    pub fn take(&mut self) -> Option<E> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.now = at;
        self.free.push(slot);
        self.slots[slot as usize].take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_instants_keep_their_order() {
        let mut agenda = Agenda::default();
        agenda.at(5, 'b');
        agenda.at(5, 'c');
        agenda.at(1, 'a');
        let order: Vec<char> = std::iter::from_fn(|| agenda.take()).collect();
        assert_eq!(order, ['a', 'b', 'c']);
        assert_eq!(agenda.now(), 5);
        agenda.at(2, 'd');
        assert_eq!(agenda.next_at(), Some(5), "the past is now");
    }
}

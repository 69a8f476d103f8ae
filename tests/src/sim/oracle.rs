//! Whether what clients saw could have happened one operation at a time (Herlihy and Wing 1990).
//!
//! Two ways. [`Positions`] is for services that tell where in one order each operation took effect, as a replicated log does:
//! constant time for each operation, so it runs after every event. [`linearizable`] needs no such witness: it searches (Wing
//! and Gong 1993, with Lowe's memory of configurations seen), for histories of one key at a time.

use std::collections::HashSet;

use super::model::Model;

/// What was acknowledged so far, as a position in the one order.
///
/// A history is linearizable if positions are unique for writes, agree with real time, and each answer is that of the state
/// at its position. This checks the middle condition.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    newest: u64,
}

impl Positions {
    /// An operation begins now: it must take effect after what this returns (a read may at it).
    #[must_use]
    pub fn begin(&self) -> u64 {
        self.newest
    }

    /// A write that began at `floor` is acknowledged as having taken effect at `position`. False if that is in its past.
    #[must_use]
    pub fn write(&mut self, floor: u64, position: u64) -> bool {
        self.newest = self.newest.max(position);
        position > floor
    }

    /// A read that began at `floor` was answered from the state at `position`. False if that state was stale.
    #[must_use]
    pub fn read(&mut self, floor: u64, position: u64) -> bool {
        self.newest = self.newest.max(position);
        position >= floor
    }
}

/// One operation of a client, as the client saw it.
#[derive(Clone, Debug)]
pub struct Seen<M: Model> {
    /// When it was asked.
    pub from: u64,
    /// When it was answered; `None`: never, so it may have taken effect at any time after `from`, or not at all.
    pub to: Option<u64>,
    /// What was asked.
    pub operation: M::Operation,
    /// What was told; `None` if it was never answered.
    pub answer: Option<M::Answer>,
}

/// Whether an order of `history` exists that agrees with real time and with the model, starting from `initial`.
///
/// Exponential in the number of operations at the same time, so keep that small (tens), and check each key by itself.
#[must_use]
pub fn linearizable<M: Model>(initial: &M, history: &[Seen<M>]) -> bool {
    let mut order: Vec<usize> = (0..history.len()).collect();
    order.sort_by_key(|at| history[*at].from);
    let mut seen = HashSet::new();
    let mut stack = vec![(vec![false; history.len()], initial.clone())];
    while let Some((done, state)) = stack.pop() {
        let open = order.iter().copied().filter(|at| !done[*at]);
        // What has begun before every open answer may go next.
        let Some(first_end) = open.clone().filter_map(|at| history[at].to).min() else { return true };
        for at in open.take_while(|at| history[*at].from <= first_end) {
            let mut next = state.clone();
            let answer = next.apply(&history[at].operation);
            if history[at].answer.as_ref().is_some_and(|told| *told != answer) {
                continue;
            }
            let mut after = done.clone();
            after[at] = true;
            if seen.insert((after.clone(), next.clone())) {
                stack.push((after, next));
            }
        }
    }
    history.iter().all(|seen| seen.to.is_none())
}

#[cfg(test)]
mod tests {
    use super::super::model::{Register, RegisterOperation::*};
    use super::*;

    fn seen(from: u64, to: u64, operation: super::super::model::RegisterOperation, answer: u64) -> Seen<Register> {
        Seen { from, to: Some(to), operation, answer: Some(answer) }
    }

    #[test]
    fn a_read_beside_a_write_may_see_either() {
        for value in [0, 5] {
            let history = [seen(0, 10, Swap(5), 0), seen(1, 9, Read, value), seen(11, 12, Read, 5)];
            assert!(linearizable(&Register(0), &history));
        }
    }

    #[test]
    fn a_stale_read_is_found() {
        let history = [seen(0, 10, Swap(5), 0), seen(11, 12, Read, 0)];
        assert!(!linearizable(&Register(0), &history));
        let back = [seen(0, 10, Swap(5), 0), seen(1, 3, Read, 5), seen(4, 6, Read, 0)];
        assert!(!linearizable(&Register(0), &back), "a later read went back");
    }

    #[test]
    fn a_lost_write_is_found_and_an_unanswered_one_may_be_lost() {
        let history = [seen(0, 1, Swap(5), 0), seen(2, 3, Swap(6), 0)];
        assert!(!linearizable(&Register(0), &history));
        let unanswered = Seen { from: 0, to: None, operation: Swap(5), answer: None };
        assert!(linearizable(&Register(0), &[unanswered.clone(), seen(2, 3, Swap(6), 0)]));
        assert!(linearizable(&Register(0), &[unanswered, seen(2, 3, Swap(6), 5)]));
    }

    #[test]
    fn positions_find_a_stale_read() {
        let mut positions = Positions::default();
        let write = positions.begin();
        let early = positions.begin();
        assert!(positions.write(write, 7));
        assert!(positions.read(early, 6));
        let late = positions.begin();
        assert!(!positions.read(late, 6));
        assert!(!positions.write(late, 7));
    }
}

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
    /// What was told; `None` if it was never answered, or if the answer says no more than that it was done.
    pub answer: Option<M::Answer>,
}

/// What a search for an order came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is one.
    Linearizable,
    /// There is none.
    Impossible,
    /// It took too many steps.
    Undecided,
}

/// Whether an order of `history` exists that agrees with real time and with the model, starting from `initial`.
///
/// The time it takes is exponential in the number of changes at the same time and linear in that of all operations, as long as equal
/// states are met again. Linearizability is local: check each key by itself. More than `steps_max` steps are not taken.
#[must_use]
pub fn linearizable<M: Model>(initial: &M, history: &[Seen<M>], steps_max: u64) -> Verdict {
    Search::new(initial, history).run(steps_max)
}

/// The instant up to which a history must be told to be impossible, if it is: no shorter part of it is.
#[must_use]
pub fn impossible_from<M: Model>(initial: &M, history: &[Seen<M>], steps_max: u64) -> Option<u64> {
    let impossible = |until: u64| {
        let begun = history.iter().filter(|seen| seen.from <= until);
        let part: Vec<Seen<M>> = begun
            .map(|seen| match seen.to {
                Some(to) if to > until => Seen { to: None, answer: None, ..seen.clone() },
                _ => seen.clone(),
            })
            .collect();
        linearizable(initial, &part, steps_max) == Verdict::Impossible
    };
    let mut ends: Vec<u64> = history.iter().filter_map(|seen| seen.to).collect();
    ends.sort_unstable();
    if !impossible(*ends.last()?) {
        return None;
    }
    // What is impossible stays so, whatever follows.
    let first = ends.partition_point(|end| !impossible(*end));
    ends.get(first).copied()
}

/// A call or a return, in one list in the order of time. What is given its place leaves the list, and comes back to it in reverse.
#[derive(Clone, Copy, Debug)]
struct Mark {
    operation: usize,
    /// The mark of the return of a call; itself for a return.
    end: usize,
    call: bool,
    next: usize,
    before: usize,
}

/// A point at which several operations could have been next.
struct Choice<M> {
    /// The state there.
    state: M,
    /// How many operations had a place before.
    placed: usize,
    /// Those that may still be tried, the likeliest last.
    open: Vec<usize>,
}

struct Search<'a, M: Model> {
    history: &'a [Seen<M>],
    /// Between the head at 0 and the tail, which is the last.
    marks: Vec<Mark>,
    /// One bit for each operation that has a place.
    placed: Vec<u64>,
    state: M,
    known: HashSet<(Vec<u64>, M)>,
    /// The calls that have a place, in the order of their places.
    path: Vec<usize>,
    choices: Vec<Choice<M>>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(initial: &M, history: &'a [Seen<M>]) -> Self {
        // At the same instant calls come first: they are at the same time as what returns then.
        let calls = history.iter().enumerate().map(|(at, seen)| (seen.from, 0, at));
        let returns = history.iter().enumerate().filter_map(|(at, seen)| Some((seen.to?, 1, at)));
        let mut order: Vec<(u64, u8, usize)> = calls.chain(returns).collect();
        order.sort_unstable();
        let mut marks = Vec::with_capacity(order.len() + 2);
        let mut call_of = vec![0; history.len()];
        marks.push(Mark { operation: usize::MAX, end: 0, call: false, next: 1, before: 0 });
        for (_, kind, operation) in order {
            let at = marks.len();
            marks.push(Mark { operation, end: at, call: kind == 0, next: at + 1, before: at - 1 });
            if kind == 0 {
                call_of[operation] = at;
            } else {
                marks[call_of[operation]].end = at;
            }
        }
        let tail = marks.len();
        marks.push(Mark { operation: usize::MAX, end: tail, call: false, next: tail, before: tail - 1 });
        Search {
            history,
            marks,
            placed: vec![0; history.len().div_ceil(64)],
            state: initial.clone(),
            known: HashSet::new(),
            path: Vec::new(),
            choices: Vec::new(),
        }
    }

    fn run(mut self, steps_max: u64) -> Verdict {
        for _ in 0..steps_max {
            let Some(returned) = self.place_what_changes_nothing() else { return Verdict::Linearizable };
            let choice = self.choose(returned);
            self.choices.push(choice);
            if !self.go_on() {
                return Verdict::Impossible;
            }
        }
        Verdict::Undecided
    }

    /// Gives places to what fits and leaves the state as it is: nothing is lost by its going first. Returns the first return of an
    /// operation that has no place; `None` if all that returned have one.
    fn place_what_changes_nothing(&mut self) -> Option<usize> {
        let tail = self.marks.len() - 1;
        let mut at = self.marks[0].next;
        while at < tail {
            let Mark { operation, end, call, .. } = self.marks[at];
            if !call {
                return Some(operation);
            }
            let free = self.after(operation).is_some_and(|after| after == self.state);
            if free {
                self.unlink(at, true);
                self.path.push(at);
            }
            let next = self.marks[at].next;
            at = if free && next == end { self.marks[end].next } else { next };
        }
        None
    }

    /// The state after an operation, if its answer fits.
    fn after(&self, operation: usize) -> Option<M> {
        let seen = &self.history[operation];
        let mut state = self.state.clone();
        let answer = state.apply(&seen.operation);
        seen.answer.as_ref().is_none_or(|told| *told == answer).then_some(state)
    }

    /// What may be next before `returned` has returned: first itself, then what makes its answer fit, then by the time of return.
    fn choose(&self, returned: usize) -> Choice<M> {
        let mut open = Vec::new();
        let mut at = self.marks[0].next;
        while self.marks[at].call {
            let operation = self.marks[at].operation;
            if let Some(mut after) = self.after(operation) {
                let told = &self.history[returned];
                let answer = after.apply(&told.operation);
                let helps = told.answer.as_ref().is_some_and(|told| *told == answer);
                open.push((operation != returned, !helps, self.history[operation].to.unwrap_or(u64::MAX), at));
            }
            at = self.marks[at].next;
        }
        open.sort_unstable_by(|a, b| b.cmp(a));
        let open = open.into_iter().map(|(_, _, _, at)| at).collect();
        Choice { state: self.state.clone(), placed: self.path.len(), open }
    }

    /// Takes the next way that is not known to lead nowhere, at the newest choice that has one. False if none has.
    fn go_on(&mut self) -> bool {
        while let Some(choice) = self.choices.last_mut() {
            let (next, placed) = (choice.open.pop(), choice.placed);
            self.state = choice.state.clone();
            while self.path.len() > placed
                && let Some(at) = self.path.pop()
            {
                self.unlink(at, false);
            }
            let Some(at) = next else {
                self.choices.pop();
                continue;
            };
            let Some(after) = self.after(self.marks[at].operation) else { continue };
            self.unlink(at, true);
            self.path.push(at);
            if self.known.insert((self.placed.clone(), after.clone())) {
                self.state = after;
                return true;
            }
        }
        false
    }

    /// Takes an operation's marks out of the list and notes that it is placed, or undoes that.
    fn unlink(&mut self, call: usize, placed: bool) {
        let Mark { operation, end, .. } = self.marks[call];
        self.placed[operation / 64] ^= 1 << (operation % 64);
        // The later one comes back first.
        let marks = if placed { [call, end] } else { [end, call] };
        for (turn, at) in marks.into_iter().enumerate() {
            if call == end && turn > 0 {
                break;
            }
            let Mark { next, before, .. } = self.marks[at];
            (self.marks[before].next, self.marks[next].before) = if placed { (next, before) } else { (at, at) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Random;
    use super::super::model::{Register, RegisterOperation, RegisterOperation::*};
    use super::*;

    fn seen(from: u64, to: u64, operation: RegisterOperation, answer: u64) -> Seen<Register> {
        Seen { from, to: Some(to), operation, answer: Some(answer) }
    }

    fn possible(history: &[Seen<Register>]) -> bool {
        match linearizable(&Register(0), history, 1_000_000) {
            Verdict::Linearizable => true,
            Verdict::Impossible => false,
            Verdict::Undecided => panic!("undecided"),
        }
    }

    #[test]
    fn a_read_beside_a_write_may_see_either() {
        for value in [0, 5] {
            let history = [seen(0, 10, Swap(5), 0), seen(1, 9, Read, value), seen(11, 12, Read, 5)];
            assert!(possible(&history));
        }
    }

    #[test]
    fn a_stale_read_is_found() {
        let history = [seen(0, 10, Swap(5), 0), seen(11, 12, Read, 0), seen(13, 14, Read, 5)];
        assert!(!possible(&history));
        assert_eq!(impossible_from(&Register(0), &history, 1_000), Some(12));
        let back = [seen(0, 10, Swap(5), 0), seen(1, 3, Read, 5), seen(4, 6, Read, 0)];
        assert!(!possible(&back), "a later read went back");
    }

    #[test]
    fn a_lost_write_is_found_and_an_unanswered_one_may_be_lost() {
        let history = [seen(0, 1, Swap(5), 0), seen(2, 3, Swap(6), 0)];
        assert!(!possible(&history));
        let unanswered = Seen { from: 0, to: None, operation: Swap(5), answer: None };
        assert!(possible(&[unanswered.clone(), seen(2, 3, Swap(6), 0)]));
        assert!(possible(&[unanswered, seen(2, 3, Swap(6), 5)]));
    }

    #[test]
    fn a_write_that_takes_effect_twice_is_found() {
        let told = |from, to, value| Seen { from, to: Some(to), operation: Swap(value), answer: None };
        let history = [told(0, 9, 5), seen(1, 2, Read, 5), told(3, 4, 6), seen(5, 6, Read, 6), seen(7, 8, Read, 5)];
        assert!(possible(&history[..4]));
        assert!(!possible(&history));
    }

    #[test]
    fn a_search_that_takes_too_long_says_so() {
        let write = |at| Seen { from: at, to: Some(100), operation: Swap(at + 1), answer: None };
        let history: Vec<_> = (0..9).map(write).chain([seen(101, 102, Read, 77)]).collect();
        assert_eq!(linearizable(&Register(0), &history, 5), Verdict::Undecided);
        assert!(!possible(&history));
    }

    /// Every order that real time allows, one by one.
    fn any_order(state: &Register, history: &[Seen<Register>]) -> bool {
        let Some(first_end) = history.iter().filter_map(|seen| seen.to).min() else { return true };
        (0..history.len()).filter(|at| history[*at].from <= first_end).any(|at| {
            let (mut next, mut rest) = (state.clone(), history.to_vec());
            let told = rest.remove(at);
            let answer = next.apply(&told.operation);
            told.answer.is_none_or(|told| told == answer) && any_order(&next, &rest)
        })
    }

    #[test]
    fn the_search_finds_what_trying_every_order_finds() {
        let mut random = Random::new(7);
        let mut counts = [0, 0];
        for _ in 0..3_000 {
            let history: Vec<Seen<Register>> = (0..random.between(1, 7))
                .map(|at| {
                    let from = random.below(12);
                    let to = (random.below(5) > 0).then(|| from + random.below(8));
                    let operation = if random.coin() { Read } else { Swap(at + 1) };
                    let answer = (to.is_some() && (operation == Read || random.coin())).then(|| random.below(4));
                    Seen { from, to, operation, answer }
                })
                .collect();
            let expected = any_order(&Register(0), &history);
            assert_eq!(possible(&history), expected, "{history:?}");
            counts[usize::from(expected)] += 1;
        }
        assert!(counts[0] > 300 && counts[1] > 300, "{counts:?}");
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

//! Every run of a tiny cluster, through the same API that drivers use.
//!
//! Three nodes. At each step a message is delivered, a write ends, a node asks to be elected, a leader is given an entry, or a node
//! crashes, its disk holding any prefix of the records under way, and comes back. Messages come in any order, never, or any number of
//! times: what was once sent stays on its way. Time stands still and no timer fires: elections are asked for by hand.
//!
//! Nothing here knows Raft but the rules. A node is a real machine, cloned for each thing that may happen to it; what comes of it is
//! remembered, so that the same thing never happens twice to machines that are alike. A state of the cluster is the three machines
//! with their disks, the messages on their way, the crashes and entries so far, and the facts: who led which term with which log, and
//! what is committed. Facts are kept for good and compared whenever they are there, so that it does not matter which of two nodes was
//! first where neither had heard of the other. A machine is remembered by 64 bits: among 10^5 the chance that any one is taken for
//! another is about 1 in 4 * 10^9. All else is compared whole.
//!
//! # What is left out, and why that loses nothing
//!
//! [`LeftOut`] leaves out these things. [`Explored::outlines`] shows on small bounds that what is left meets the same.
//!
//! - **A state like one that was seen, but with fewer messages on their way.** Whatever can happen in it can happen in the other, whose
//!   further messages may never come. So too a state in which a node has not given an answer yet that would leave it as it is: in the
//!   one in which it has, the answer may never come ([`LeftOut::FewerMessages`]).
//! - **The same under other names.** Nodes are alike. A state is taken for the one in which other nodes have their parts, the least of
//!   the six by number. A machine is not renamed but brought up under the other name, by the same things happening to it; that this
//!   comes to the same for each thing that happened is checked where outlines are kept.
//! - **Messages that can do nothing any more, and what cannot matter in others** (`words`). Answers of a term that the asker has left,
//!   or in which it no longer waits for them; acknowledgements of less than is known and refusals from there; and requests of an
//!   earlier term whose only effect, an answer, would be such a message. Of other requests of an earlier term all but that they are
//!   answered; of appends the commit index where it is no news, and all where they are answered with the commit index; of requests for
//!   a vote the log where the vote is gone; of refusals the hint where it lies behind what is known to match. Whoever must be past
//!   something for this must be past it on its disk too, as long as it may crash.
//! - **What a leader counts that decides nothing here.** How many appends are on the way decides nothing as long as there are fewer than
//!   any limit; who was heard lately decides nothing without quorum checks, but for who is sent a snapshot; where membership changes may
//!   begin, nothing without them (`place`).
//! - **The time between a write and its end on a node that does not lead.** All that waits there is words to others, and those may be
//!   on their way for as long, and the node's vote for itself, which elects nobody before others have heard of it. So it is as good to
//!   end the write at once, or to crash at once before it ends: until then such a node says nothing. (A leader speaks before its write
//!   ends. There both are steps of their own.)
//! - **The end of a record of the commit index alone.** Nothing waits for it. A crash may lose it.
//! - **Disks after the last crash.** Nobody reads their commit index any more, and nothing on them is lost.
//!
//! In all searches a word that waits for a write and is said again is said once: where messages come any number of times, the second
//! adds nothing. A node to which nothing has happened does not crash: it would come back as it was.

mod facts;
mod frontier;
mod names;
mod place;
mod search;
mod words;

use std::collections::BTreeSet;

use frontier::{Frontier, State};
use search::Search;

const NODES: usize = 3;
/// States between two words about how far a search is.
const TOLD_EVERY: u64 = 500_000;

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Terms after the founding one. In each, every node may ask to be elected.
    pub terms: u64,
    /// Entries that are made after the founding one, in all terms together, leaders' own empty ones counted. An election that would
    /// make one more is not won.
    pub entries: u8,
    /// Crashes, each followed by a restart.
    pub crashes: u8,
    /// Stop after this many states.
    pub states_max: u64,
    /// What to leave out.
    pub left_out: LeftOut,
    /// Keep the outlines of what was seen, to compare them, and see whether each thing that happened comes to the same whichever node
    /// it happens to.
    pub outlined: bool,
}

/// What a search leaves out, as the head of this file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// No state at all.
    Nothing,
    /// States like others with fewer messages on their way.
    FewerMessages,
    /// All that may be.
    All,
}

impl Bounds {
    /// Of so many terms, entries and crashes, with all that may be left out left out.
    #[must_use]
    pub fn new(terms: u64, entries: u8, crashes: u8) -> Bounds {
        Bounds { terms, entries, crashes, states_max: u64::MAX, left_out: LeftOut::All, outlined: false }
    }

    fn reduced(&self) -> bool {
        self.left_out == LeftOut::All
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// States of the cluster that were gone on from.
    pub states: u64,
    /// Different ones, the messages on their way aside.
    pub distinct: u64,
    /// Steps between them.
    pub steps: u64,
    /// Different states of one node, under all names that were tried.
    pub machines: usize,
    /// Different messages.
    pub messages: usize,
    /// The longest way.
    pub depth: u32,
    /// How much has happened in the states that are looked at now.
    pub rank: usize,
    /// States that wait to be gone on from.
    pub waiting: usize,
    /// Whether every state within the bounds was seen.
    pub complete: bool,
    /// A broken rule, with the last step of the way to it.
    pub violation: Option<String>,
    /// What nodes without a write under way were seen as (role, term, the terms in the log, the commit index), and what facts were
    /// seen together (terms that had a leader, the terms of what is committed).
    pub seen: BTreeSet<(u8, u64, Vec<u64>, u64)>,
    /// If [`Bounds::outlined`]: the outlines of all states in which no node has a write under way, as 64 bits each: names, disks and
    /// messages aside, but with the crashes, the entries made and the facts.
    pub outlines: BTreeSet<u64>,
}

/// Walks every state within `bounds`, and tells how far it is after each so many states.
pub fn explore(bounds: &Bounds, tell: &mut dyn FnMut(&Explored)) -> Explored {
    let mut walk = Walk {
        bounds,
        search: Search::new(*bounds),
        frontier: Frontier::new(bounds.left_out >= LeftOut::FewerMessages),
        explored: Explored::default(),
    };
    let first = walk.search.first();
    walk.meet(first);
    while let Some(state) = walk.frontier.next() {
        if walk.explored.states >= bounds.states_max {
            return walk.end(false);
        }
        if let Err((rule, step)) = walk.go_on(state) {
            let steps = state.depth + 1;
            walk.explored.violation = Some(format!("{rule}; {steps} steps, the last: {step}"));
            return walk.end(false);
        }
        if walk.explored.states.is_multiple_of(TOLD_EVERY) {
            walk.count();
            tell(&walk.explored);
        }
    }
    walk.end(true)
}

/// A search under way.
struct Walk<'a> {
    bounds: &'a Bounds,
    search: Search,
    frontier: Frontier,
    explored: Explored,
}

impl Walk<'_> {
    fn meet(&mut self, state: State) {
        if self.frontier.note(&state, &self.search.sets) {
            self.frontier.open(state, self.search.rank(&state));
        }
    }

    /// Everything that may happen next. The rule that is broken else, and by what.
    fn go_on(&mut self, mut state: State) -> Result<(), (String, String)> {
        if self.bounds.left_out >= LeftOut::FewerMessages {
            let answered = self.search.answered(&state)?;
            if answered != state && !self.frontier.note(&answered, &self.search.sets) {
                return Ok(());
            }
            state = answered;
        }
        self.explored.states += 1;
        self.explored.depth = self.explored.depth.max(u32::from(state.depth));
        let (mut events, mut next) = (Vec::new(), Vec::new());
        self.search.events(&state, &mut events);
        for (id, event) in events {
            let after = self.search.after(&state, id, event, &mut next);
            after.map_err(|rule| (rule, self.search.describe(id, event)))?;
            for state in next.drain(..) {
                self.explored.steps += 1;
                self.meet(state);
            }
        }
        Ok(())
    }

    fn count(&mut self) {
        self.explored.distinct = self.frontier.distinct();
        (self.explored.machines, self.explored.messages) = self.search.counts();
        (self.explored.rank, self.explored.waiting) = self.frontier.progress();
    }

    fn end(mut self, complete: bool) -> Explored {
        self.count();
        self.explored.seen = self.search.seen();
        if self.bounds.outlined {
            let alike = self.search.check_names();
            self.explored.violation = self.explored.violation.or(alike.err());
            self.explored.outlines = self.frontier.marks().filter_map(|mark| self.search.outline(mark)).collect();
        }
        self.explored.complete = complete;
        self.explored
    }
}

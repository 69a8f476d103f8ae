//! Every run of a tiny cluster, through the same API that drivers use.
//!
//! Three nodes. At each step a message is delivered, a write ends, a node asks to be elected, a leader is given an entry, or a node
//! crashes, its disk holding any prefix of the records under way, and comes back. Messages come in any order, never, or any number of
//! times: what was once sent stays on its way. Time stands still and no timer fires: elections are asked for by hand. Nodes are alike,
//! so the first to ask is node 1, and of the two others node 2 is the first that anything happens to.
//!
//! Nothing here knows Raft but the rules. A node is a real machine, cloned for each thing that may happen to it; what comes of it is
//! remembered, so that the same thing never happens twice to machines that are alike. A state of the cluster is the three machines
//! with their disks, the messages on their way, the crashes and entries so far, and the facts: who led which term with which log, and
//! what is committed. Facts are kept for good and compared whenever they are there, so that it does not matter which of two nodes was
//! first where neither had heard of the other. All but the messages is remembered by 64 bits: among 10^7 states the chance that any
//! one is taken for another is about 1 in 400,000.
//!
//! # What is left out, and why that loses nothing
//!
//! [`Bounds::reduced`] leaves out five things. [`Explored::seen`] shows on small bounds that what is left meets the same.
//!
//! - **A state like one that was seen, but with fewer messages on their way.** Whatever can happen in it can happen in the other, whose
//!   further messages may never come.
//! - **Messages that can do nothing any more.** Answers of a term that the asker has left, or in which it no longer waits for them;
//!   acknowledgements of less than is known; and requests of an earlier term whose only effect, an answer, would be such a message.
//!   The asker must be past them on its disk too, as long as it may crash.
//! - **The time between a write and its end on a node that does not lead.** All that waits there is words to others, and those may be
//!   on their way for as long, and the node's vote for itself, which elects nobody before others have heard of it. So it is as good to
//!   end the write at once, or to crash at once before it ends: until then such a node says nothing. (A leader speaks before its write
//!   ends. There both are steps of their own.)
//! - **The end of a record of the commit index alone.** Nothing waits for it. A crash may lose it.
//! - **Disks after the last crash.** Nobody reads their commit index any more, and nothing on them is lost.
//!
//! In both searches a word that waits for a write and is said again is said once: where messages come any number of times, the second
//! adds nothing.

mod place;

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasherDefault;
use std::rc::Rc;

use bytes::Bytes;
use wrs_raft::{Body, Boot, Input, Message, NodeId, Role};

use place::{FOUNDED, Mix, Place, digest_of, place_of, proposal};

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
    /// Leave out what the head of this file says.
    pub reduced: bool,
}

impl Bounds {
    /// Of so many terms, entries and crashes, with all that may be left out left out.
    #[must_use]
    pub fn new(terms: u64, entries: u8, crashes: u8) -> Bounds {
        Bounds { terms, entries, crashes, states_max: u64::MAX, reduced: true }
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
    /// Different states of one node.
    pub machines: usize,
    /// Different messages.
    pub messages: usize,
    /// The longest way.
    pub depth: u32,
    /// Whether every state within the bounds was seen.
    pub complete: bool,
    /// A broken rule, with the last step of the way to it.
    pub violation: Option<String>,
    /// What nodes without a write under way were seen as (role, term, the terms in the log, the commit index), and what facts were
    /// seen together (terms that had a leader, the terms of what is committed).
    pub seen: BTreeSet<(u8, u64, Vec<u64>, u64)>,
}

type Known<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

/// What may happen to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Event {
    Deliver(u32),
    /// The oldest write that something waits for ends.
    Persist,
    Campaign,
    Propose,
    Crash,
    /// Nobody crashes any more.
    Settle,
}

/// One thing that may come of it.
#[derive(Clone)]
struct Branch {
    place: u32,
    sent: Vec<u32>,
    crashed: bool,
}

/// What came of it, or the rule that was broken.
type Outcome = Result<Rc<[Branch]>, Rc<str>>;

/// Who led a term.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Leader {
    term: u64,
    node: usize,
    life: u8,
    /// The terms of the entries in its log when it was elected, from the founding one on.
    log: Vec<u64>,
}

/// What is committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Commitment {
    term: u64,
    payload: Bytes,
    /// The term of the node that said so first.
    since: u64,
}

/// What holds for good once it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Facts {
    /// Ascending by term.
    leaders: Vec<Leader>,
    /// By index, from the founding entry on.
    committed: Vec<Commitment>,
}

impl Facts {
    /// A leader has all that was committed in terms before its own (leader completeness).
    fn check(&self) -> Result<(), String> {
        for Leader { term, node, log, .. } in &self.leaders {
            let known = self
                .committed
                .iter()
                .enumerate()
                .find(|(at, entry)| entry.since < *term && log.get(*at) != Some(&entry.term));
            if let Some((at, _)) = known {
                return Err(format!(
                    "node {} leads term {term} without entry {}, which is committed",
                    node + 1,
                    at + 1
                ));
            }
        }
        Ok(())
    }
}

#[derive(Clone)]
struct State {
    places: [u32; NODES],
    /// Sorted.
    network: Vec<u32>,
    facts: u32,
    crashes: u8,
    /// Entries after the founding one.
    made: u8,
    depth: u32,
}

/// The search: machines, messages and facts that were met, by number, and what each thing that happened to a machine came to.
struct Search {
    bounds: Bounds,
    places: Vec<Place>,
    /// How many things happened to a node, at most, as far as is known.
    ranks: Vec<usize>,
    /// What their logs hold.
    logs: Vec<u64>,
    place_numbers: Known<u64, u32>,
    messages: Vec<Message>,
    message_numbers: Known<u64, u32>,
    facts: Vec<Facts>,
    facts_numbers: Known<u64, u32>,
    outcomes: Known<(u32, Event), Outcome>,
    /// Whether facts still hold once a node has become what it is now.
    judged: Known<(u32, u32), Result<u32, Rc<str>>>,
}

impl Search {
    fn new(bounds: Bounds) -> Search {
        Search {
            bounds,
            places: Vec::new(),
            ranks: Vec::new(),
            logs: Vec::new(),
            place_numbers: Known::default(),
            messages: Vec::new(),
            message_numbers: Known::default(),
            facts: Vec::new(),
            facts_numbers: Known::default(),
            outcomes: Known::default(),
            judged: Known::default(),
        }
    }

    fn first(&mut self) -> State {
        let hard = Boot::found([]).hard;
        let places = [0, 1, 2].map(|id| {
            let mut place = Place::new(id, hard, Vec::new());
            if self.bounds.reduced && self.bounds.crashes == 0 {
                place.settle();
            }
            self.number_place(place)
        });
        let facts = self.number_facts(Facts {
            leaders: Vec::new(),
            committed: vec![Commitment { term: 1, payload: Bytes::new(), since: 1 }],
        });
        State { places, network: Vec::new(), facts, crashes: 0, made: 0, depth: 0 }
    }

    fn number_place(&mut self, mut place: Place) -> u32 {
        let digest = place.digest();
        *self.place_numbers.entry(digest).or_insert_with(|| {
            let log = place.machine.log();
            let entries: Vec<_> = (FOUNDED + 1..=log.last_index()).map(|index| log.entry(index)).collect();
            self.logs.push(digest_of(&entries));
            self.places.push(place);
            self.ranks.push(0);
            self.places.len() as u32 - 1
        })
    }

    fn number_message(&mut self, message: Message) -> u32 {
        *self.message_numbers.entry(digest_of(&message)).or_insert_with(|| {
            self.messages.push(message);
            self.messages.len() as u32 - 1
        })
    }

    fn number_facts(&mut self, facts: Facts) -> u32 {
        *self.facts_numbers.entry(digest_of(&facts)).or_insert_with(|| {
            self.facts.push(facts);
            self.facts.len() as u32 - 1
        })
    }

    fn place(&self, state: &State, id: usize) -> &Place {
        &self.places[state.places[id] as usize]
    }

    // What may happen.

    fn events(&self, state: &State, out: &mut Vec<(usize, Event)>) {
        let Bounds { terms, entries, crashes, .. } = self.bounds;
        // Nodes 2 and 3 are alike as long as nothing has happened to either.
        let alike = !self.place(state, 1).touched && !self.place(state, 2).touched;
        for number in &state.network {
            let to = place_of(self.messages[*number as usize].to);
            if !(alike && to == 2) {
                out.push((to, Event::Deliver(*number)));
            }
        }
        let begun = (0..NODES).any(|id| self.place(state, id).touched);
        for id in 0..NODES {
            let place = self.place(state, id);
            if (!begun && id != 0) || (alike && id == 2) {
                continue;
            }
            let machine = &place.machine;
            if place.has_write() {
                out.push((id, Event::Persist));
            }
            if state.crashes < crashes && place.touched {
                out.push((id, Event::Crash));
            }
            if machine.role() != Role::Leader && machine.term() <= terms {
                out.push((id, Event::Campaign));
            }
            if machine.role() == Role::Leader && state.made < entries {
                out.push((id, Event::Propose));
            }
        }
    }

    // What comes of it on the node.

    fn outcome(&mut self, number: u32, event: Event) -> Outcome {
        if let Some(known) = self.outcomes.get(&(number, event)) {
            return known.clone();
        }
        let outcome: Outcome = self.happen(number, event).map(Rc::from).map_err(Rc::from);
        let rank = self.ranks[number as usize] + 1;
        for branch in outcome.iter().flat_map(|branches| branches.iter()).filter(|branch| branch.place != number) {
            let known = &mut self.ranks[branch.place as usize];
            *known = rank.max(*known);
        }
        self.outcomes.insert((number, event), outcome.clone());
        outcome
    }

    fn happen(&mut self, number: u32, event: Event) -> Result<Vec<Branch>, String> {
        let mut place = self.places[number as usize].clone();
        let input = match event {
            Event::Deliver(message) => Input::Receive(self.messages[message as usize].clone()),
            Event::Persist => {
                let sent = place.persist()?;
                place.check_commit(&self.places[number as usize])?;
                return self.branches(place, sent);
            }
            Event::Campaign => Input::Campaign,
            Event::Propose => Input::Receive(proposal(&place)),
            Event::Crash => {
                let back = place.crashed(usize::MAX)?;
                return Ok(back.into_iter().map(|place| self.crash(place, Vec::new())).collect());
            }
            Event::Settle => {
                place.settle();
                return Ok(vec![Branch { place: self.number_place(place), sent: Vec::new(), crashed: false }]);
            }
        };
        let sent = place.give(input)?;
        place.check_commit(&self.places[number as usize])?;
        if sent.is_empty() && place.says_twice(&self.places[number as usize]) {
            return Ok(Vec::new());
        }
        self.branches(place, sent)
    }

    fn crash(&mut self, place: Place, sent: Vec<u32>) -> Branch {
        Branch { place: self.number_place(place), sent, crashed: true }
    }

    /// The node as it is now; in a reduced search, if it does not lead, with its writes ended, or with a crash before one of them does.
    fn branches(&mut self, mut place: Place, sent: Vec<Message>) -> Result<Vec<Branch>, String> {
        let mut sent: Vec<u32> = sent.into_iter().map(|message| self.number_message(message)).collect();
        let mut branches = Vec::new();
        while self.bounds.reduced && place.has_write() && place.machine.role() != Role::Leader {
            if place.mortal {
                // With all of them on the disk it is as after their end.
                for back in place.crashed(place.pending.len() - 1)? {
                    branches.push(self.crash(back, sent.clone()));
                }
            }
            let more = place.persist()?;
            sent.extend(more.into_iter().map(|message| self.number_message(message)));
        }
        branches.push(Branch { place: self.number_place(place), sent, crashed: false });
        Ok(branches)
    }

    // What comes of it in the cluster.

    fn after(&mut self, state: &State, id: usize, event: Event, out: &mut Vec<State>) -> Result<(), String> {
        let outcome = self.outcome(state.places[id], event).map_err(|rule| rule.to_string())?;
        for branch in outcome.iter() {
            if branch.crashed && state.crashes >= self.bounds.crashes {
                continue;
            }
            let mut next = State { depth: state.depth + 1, ..state.clone() };
            let known = |message: &u32| state.network.binary_search(message).is_ok();
            if branch.place == state.places[id] && branch.sent.iter().all(known) {
                continue;
            }
            let leads = |place: u32| self.places[place as usize].machine.role() == Role::Leader;
            let elected = leads(branch.place) && !leads(state.places[id]);
            next.made += u8::from(elected || event == Event::Propose);
            if next.made > self.bounds.entries {
                continue;
            }
            let grown = self.logs[branch.place as usize] != self.logs[state.places[id] as usize];
            next.places[id] = branch.place;
            for message in &branch.sent {
                let at = next.network.partition_point(|other| other < message);
                if next.network.get(at) != Some(message) {
                    next.network.insert(at, *message);
                }
            }
            if branch.crashed {
                next.crashes += 1;
                if self.bounds.reduced && next.crashes == self.bounds.crashes {
                    self.settle(&mut next)?;
                }
            }
            self.check(&mut next, id)?;
            if grown {
                self.check_logs(&next, id)?;
            }
            if self.bounds.reduced {
                // Of the others nothing has changed.
                let (settled, node) = (branch.crashed, NodeId(id as u64 + 1));
                next.network.retain(|message| {
                    let message = &self.messages[*message as usize];
                    let same = !settled && message.to != node && message.from != node;
                    same || !self.is_idle(message, &next.places)
                });
            }
            out.push(next);
        }
        Ok(())
    }

    fn settle(&mut self, state: &mut State) -> Result<(), String> {
        for id in 0..NODES {
            let outcome = self.outcome(state.places[id], Event::Settle).map_err(|rule| rule.to_string())?;
            state.places[id] = outcome[0].place;
        }
        Ok(())
    }

    /// Whether a message can do nothing any more, whatever else happens.
    fn is_idle(&self, message: &Message, places: &[u32; NODES]) -> bool {
        let at = |node: NodeId| &self.places[places[place_of(node)] as usize];
        let (to, from, term) = (at(message.to), at(message.from), message.term);
        let now = to.machine.term() == term;
        match message.body {
            // A candidate of this term waits for it; who is none will not be one again in this term.
            Body::VoteReply { .. } => to.reached(term) && !(now && to.machine.role() == Role::Candidate),
            Body::Appended { .. } | Body::Rejected { .. } if now && to.machine.role() != Role::Follower => {
                let Body::Appended { index } = message.body else { return false };
                to.reached(term) && to.machine.role() == Role::Leader && index < to.matched(message.from)
            }
            Body::Appended { .. } | Body::Rejected { .. } => to.reached(term),
            // The answer can only tell a later term, and there is none that the asker does not know.
            Body::Vote { .. } | Body::Append { .. } if to.reached(term + 1) && from.reached(self.bounds.terms + 1) => {
                match from.machine.role() {
                    Role::Follower => true,
                    Role::Leader => matches!(message.body, Body::Vote { .. }) || from.matched(message.to) > 0,
                    Role::Candidate | Role::PreCandidate => false,
                }
            }
            _ => false,
        }
    }

    // The rules.

    fn check(&mut self, state: &mut State, id: usize) -> Result<(), String> {
        state.facts = match self.judged.get(&(state.facts, state.places[id])) {
            Some(known) => known.clone().map_err(|rule| rule.to_string())?,
            None => {
                let judged = self.judge(state, id);
                let key = (state.facts, state.places[id]);
                let kept = judged.as_ref().map(|(facts, _)| *facts).map_err(|rule| Rc::from(rule.as_str()));
                // A new commitment is looked at each time, since it rests on all disks.
                if !judged.as_ref().is_ok_and(|(_, commits)| *commits) {
                    self.judged.insert(key, kept);
                }
                judged?.0
            }
        };
        Ok(())
    }

    /// Logs that have an entry of one index and term have all before it (log matching).
    fn check_logs(&self, state: &State, id: usize) -> Result<(), String> {
        let here = self.place(state, id).machine.log();
        for other in (0..NODES).filter(|other| *other != id) {
            let there = self.place(state, other).machine.log();
            let last = there.last_index().min(here.last_index());
            let agree = (2..=last).rev().find(|index| there.term(*index) == here.term(*index)).unwrap_or(FOUNDED);
            if (2..=agree).any(|index| there.entry(index) != here.entry(index)) {
                return Err(format!("logs agree at {agree} and differ before"));
            }
        }
        Ok(())
    }

    /// The facts with what node `id` adds to them, and whether it committed anything new.
    fn judge(&mut self, state: &State, id: usize) -> Result<(u32, bool), String> {
        let place = self.place(state, id);
        let (machine, mut facts, who) = (&place.machine, self.facts[state.facts as usize].clone(), id + 1);
        let mut commits = false;
        for index in FOUNDED..=machine.log().committed() {
            let Some((term, payload)) = place.entry(index) else {
                return Err(format!("node {who} commits {index} without it"));
            };
            match facts.committed.get(index as usize - 1) {
                Some(known) if known.term != term || known.payload != payload => {
                    return Err(format!("node {who} commits another {index}"));
                }
                Some(_) => {}
                None => {
                    let has = |other: &usize| {
                        let mut entries = self.place(state, *other).durable.iter();
                        entries.any(|there| there.index == index && there.term == term)
                    };
                    if (0..NODES).filter(has).count() * 2 <= NODES {
                        return Err(format!("node {who} commits {index} without a quorum"));
                    }
                    facts.committed.push(Commitment { term, payload, since: machine.term() });
                    commits = true;
                }
            }
        }
        if machine.role() == Role::Leader {
            match facts.leaders.iter().find(|known| known.term == machine.term()) {
                Some(known) if (known.node, known.life) != (id, place.life) => {
                    return Err(format!("two leaders in term {}", machine.term()));
                }
                Some(_) => {}
                None => {
                    let log = (FOUNDED..=machine.log().last_index()).filter_map(|at| machine.log().term(at)).collect();
                    facts.leaders.push(Leader { term: machine.term(), node: id, life: place.life, log });
                    facts.leaders.sort_unstable();
                }
            }
        }
        facts.check()?;
        Ok((self.number_facts(facts), commits))
    }

    /// Higher than before with each step, as a rule.
    fn rank(&self, state: &State) -> usize {
        state.places.iter().map(|place| self.ranks[*place as usize]).sum()
    }

    fn describe(&self, id: usize, event: Event) -> String {
        match event {
            Event::Deliver(message) => format!("{:?}", self.messages[message as usize]),
            _ => format!("{event:?} at node {}", id + 1),
        }
    }

    fn seen(&self) -> BTreeSet<(u8, u64, Vec<u64>, u64)> {
        let nodes = self.places.iter().filter(|place| !place.has_write()).map(|place| {
            let (machine, log) = (&place.machine, place.machine.log());
            let terms = (FOUNDED..=log.last_index()).filter_map(|index| log.term(index)).collect();
            (machine.role() as u8, machine.term(), terms, log.committed())
        });
        let facts = self.facts.iter().map(|facts| {
            let led = facts.leaders.iter().fold(0, |led, leader| led | 1 << leader.term);
            (u8::MAX, led, facts.committed.iter().map(|entry| entry.term).collect(), 0)
        });
        nodes.chain(facts).collect()
    }
}

impl State {
    /// All but the messages.
    fn mark(&self) -> u64 {
        digest_of(&(self.places, self.facts, self.crashes, self.made))
    }
}

/// What was seen, and what is to be looked at.
#[derive(Default)]
struct Frontier {
    /// For each mark the messages that it was seen with, none of them within another's.
    seen: Known<u64, Vec<Box<[u32]>>>,
    /// By rank: so that most ways to a state are walked before it is gone on from, and with it those with the most messages.
    open: Vec<Vec<State>>,
    lowest: usize,
}

impl Frontier {
    /// Adds a state unless it is seen, or, in a `reduced` search, one with the same and more messages.
    fn add(&mut self, state: State, rank: usize, reduced: bool) {
        let known = self.seen.entry(state.mark()).or_default();
        let covers = |more: &[u32], fewer: &[u32]| if reduced { is_within(fewer, more) } else { fewer == more };
        if known.iter().any(|other| covers(other, &state.network)) {
            return;
        }
        known.retain(|other| !covers(&state.network, other));
        known.push(state.network.as_slice().into());
        if self.open.len() <= rank {
            self.open.resize(rank + 1, Vec::new());
        }
        self.open[rank].push(state);
        self.lowest = self.lowest.min(rank);
    }

    fn next(&mut self) -> Option<State> {
        while let Some(open) = self.open.get_mut(self.lowest) {
            let Some(state) = open.pop() else {
                self.open[self.lowest].shrink_to_fit();
                self.lowest += 1;
                continue;
            };
            // Not where one with more messages has taken its place.
            let known = self.seen.get(&state.mark());
            if known.is_some_and(|known| known.iter().any(|network| **network == *state.network)) {
                return Some(state);
            }
        }
        None
    }
}

/// Whether the sorted `few` are all among the sorted `many`.
fn is_within(few: &[u32], many: &[u32]) -> bool {
    let mut rest = many.iter();
    few.len() <= many.len() && few.iter().all(|one| rest.any(|other| other == one))
}

/// Walks every state within `bounds`, and tells how far it is after each so many states.
pub fn explore(bounds: &Bounds, tell: &mut dyn FnMut(&Explored)) -> Explored {
    let (mut search, mut frontier, mut explored) = (Search::new(*bounds), Frontier::default(), Explored::default());
    let first = search.first();
    frontier.add(first, 0, bounds.reduced);
    let (mut events, mut next) = (Vec::new(), Vec::new());
    explored.complete = true;
    'walk: while let Some(state) = frontier.next() {
        if explored.states >= bounds.states_max {
            explored.complete = false;
            break;
        }
        explored.states += 1;
        if explored.states.is_multiple_of(TOLD_EVERY) {
            explored.distinct = frontier.seen.len() as u64;
            tell(&explored);
        }
        explored.depth = explored.depth.max(state.depth);
        search.events(&state, &mut events);
        for (id, event) in events.drain(..) {
            if let Err(rule) = search.after(&state, id, event, &mut next) {
                let steps = state.depth + 1;
                explored.violation = Some(format!("{rule}; {steps} steps, the last: {}", search.describe(id, event)));
                explored.complete = false;
                break 'walk;
            }
            for state in next.drain(..) {
                explored.steps += 1;
                let rank = search.rank(&state);
                frontier.add(state, rank, bounds.reduced);
            }
        }
    }
    explored.distinct = frontier.seen.len() as u64;
    explored.machines = search.places.len();
    explored.messages = search.messages.len();
    explored.seen = search.seen();
    explored
}

//! Every interleaving of a tiny cluster, through the same API that drivers use.
//!
//! Three nodes; at each step any message on its way is delivered (or, by never being delivered, lost), any write under way ends,
//! a node asks to be elected, a leader is given an entry, or a node crashes and comes back with what was durable. Time stands still
//! and no timer fires: elections are asked for by hand. Nodes are alike, so the first to ask is node 1. States that were seen are
//! remembered by a digest of 64 bits, so a state may be missed with a chance of about one in 10^5 for 10^7 states.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use wrs_raft::{
    Action, Body, Boot, Config, Entry, HardState, Index, Input, Message, NodeId, Raft, Record, Role, SnapshotMeta,
    Ticket, Time,
};

use super::history::Fast;
use crate::sim::Digest;

const NODES: usize = 3;

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Elections: terms after the founding one.
    pub terms: u64,
    /// Entries after the founding one, leaders' own empty ones included.
    pub entries: u64,
    /// Crashes.
    pub crashes: u32,
    /// Stop after this many states.
    pub states_max: u64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// Different states.
    pub states: u64,
    /// Steps between them.
    pub steps: u64,
    /// The longest way.
    pub depth: usize,
    /// Whether every state within the bounds was seen.
    pub complete: bool,
    /// A broken rule, with the way to it.
    pub violation: Option<String>,
}

#[derive(Clone)]
struct Place {
    machine: Raft,
    pending: VecDeque<Record>,
    hard: HardState,
    durable: Vec<Entry>,
    life: u64,
    digest: u64,
}

#[derive(Clone)]
struct State {
    places: [Rc<Place>; NODES],
    network: Vec<(u64, Rc<Message>)>,
    crashes: u32,
    /// Who led each term.
    leaders: Vec<(u64, u64, u64)>,
    /// The committed entries: term and payload.
    committed: Vec<(u64, Bytes)>,
    depth: usize,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Deliver(usize),
    Persist(usize),
    Campaign(usize),
    Propose(usize),
    Crash(usize),
}

fn config(id: usize) -> Config {
    let mut config = Config::new(NodeId(id as u64 + 1));
    config.pre_vote = false;
    config.check_quorum = false;
    config
}

fn snapshot() -> SnapshotMeta {
    Boot::found((1..=NODES as u64).map(NodeId)).snapshot
}

fn digest_of(value: &impl Hash) -> u64 {
    // With its fixed keys, so that a search goes the same way each time.
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Place {
    fn new(id: usize, hard: HardState, durable: Vec<Entry>, life: u64) -> Place {
        let boot = Boot { hard, snapshot: snapshot(), entries: durable.clone(), applied: 1, ..Boot::default() };
        let machine = Raft::new(config(id), boot, Time::ZERO).unwrap();
        Place { machine, pending: VecDeque::new(), hard, durable, life, digest: 0 }
    }

    /// Everything that decides what the node does next. Chance and the timeout that it drew decide nothing while time stands.
    fn refresh(&mut self) {
        self.machine.set_election_timeout(Duration::ZERO);
        self.digest = digest_of(&(&self.machine, &self.pending, &self.hard, &self.durable));
    }

    fn keep(&mut self, record: &Record) {
        self.hard = record.hard.unwrap_or(self.hard);
        if let Some(first) = record.entries.first() {
            self.durable.retain(|entry| entry.index < first.index);
            self.durable.extend(record.entries.iter().cloned());
        }
    }
}

impl State {
    fn new() -> State {
        let hard = Boot::found([]).hard;
        let place = |id| {
            let mut place = Place::new(id, hard, Vec::new(), 0);
            place.refresh();
            Rc::new(place)
        };
        State {
            places: [place(0), place(1), place(2)],
            network: Vec::new(),
            crashes: 0,
            leaders: Vec::new(),
            committed: vec![(1, Bytes::new())],
            depth: 0,
        }
    }

    fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        self.places.iter().for_each(|place| digest.add(place.digest));
        self.network.iter().for_each(|(message, _)| digest.add(*message));
        digest.add(u64::from(self.crashes));
        digest.add(self.committed.len() as u64);
        digest.value()
    }

    fn steps(&self, bounds: &Bounds, out: &mut Vec<Step>) {
        for (at, (digest, _)) in self.network.iter().enumerate() {
            // Equal messages do the same.
            if at == 0 || self.network[at - 1].0 != *digest {
                out.push(Step::Deliver(at));
            }
        }
        for (id, place) in self.places.iter().enumerate() {
            let machine = &place.machine;
            if !place.pending.is_empty() {
                out.push(Step::Persist(id));
                if self.crashes < bounds.crashes {
                    out.push(Step::Crash(id));
                }
            } else if self.crashes < bounds.crashes && machine.term() > 1 {
                out.push(Step::Crash(id));
            }
            let first = machine.term() == 1 && self.leaders.is_empty() && self.network.is_empty();
            if machine.role() != Role::Leader && machine.term() <= bounds.terms && (!first || id == 0) {
                out.push(Step::Campaign(id));
            }
            if machine.role() == Role::Leader && machine.log().last_index() <= bounds.entries {
                out.push(Step::Propose(id));
            }
        }
    }

    /// The state after `step`, or the rule that it broke.
    fn after(&self, step: Step) -> Result<State, String> {
        let mut next = self.clone();
        next.depth += 1;
        match step {
            Step::Deliver(at) => {
                let (_, message) = next.network.remove(at);
                let to = message.to.0 as usize - 1;
                next.give(to, Input::Receive((*message).clone()))?;
            }
            Step::Persist(id) => {
                let place = Rc::make_mut(&mut next.places[id]);
                let Some(newest) = place.pending.back().map(|record| record.id) else { return Ok(next) };
                while let Some(record) = place.pending.pop_front() {
                    place.keep(&record);
                }
                next.give(id, Input::Persisted { record: newest })?;
            }
            Step::Campaign(id) => next.give(id, Input::Campaign)?,
            Step::Propose(id) => {
                // Leaders of different terms propose different things.
                let term = next.places[id].machine.term();
                let payload = Bytes::from(vec![id as u8 + 1, term as u8]);
                next.give(id, Input::Propose { ticket: Ticket(1), payload })?;
            }
            Step::Crash(id) => {
                next.crashes += 1;
                let place = &next.places[id];
                let mut fresh = Place::new(id, place.hard, place.durable.clone(), place.life + 1);
                fresh.refresh();
                next.places[id] = Rc::new(fresh);
            }
        }
        Ok(next)
    }

    fn give(&mut self, id: usize, input: Input) -> Result<(), String> {
        let place = Rc::make_mut(&mut self.places[id]);
        let mut inputs = VecDeque::from([input]);
        let mut actions = Vec::new();
        let mut sent = Vec::new();
        while let Some(input) = inputs.pop_front() {
            place.machine.handle(Time::ZERO, input, &mut actions);
            for action in actions.drain(..) {
                match action {
                    Action::Send(message) => sent.push(message),
                    Action::Persist(record) => place.pending.push_back(record),
                    Action::Apply(entries) => {
                        inputs.push_back(Input::Applied { index: entries.last().map_or(0, |entry| entry.index) });
                    }
                    Action::Fatal(fatal) => return Err(format!("node {}: {fatal}", id + 1)),
                    _ => {}
                }
            }
        }
        place.refresh();
        for message in sent {
            let digest = digest_of(&message);
            let at = self.network.partition_point(|(other, _)| *other < digest);
            self.network.insert(at, (digest, Rc::new(message)));
        }
        self.prune();
        self.check(id)
    }

    /// Forgets messages that can no longer do anything: answers of a term that the asker has left.
    fn prune(&mut self) {
        let terms: Vec<u64> = self.places.iter().map(|place| place.machine.term()).collect();
        self.network.retain(|(_, message)| {
            let dead = matches!(message.body, Body::VoteReply { .. } | Body::Appended { .. } | Body::Rejected { .. });
            !dead || message.term >= terms[message.to.0 as usize - 1]
        });
    }

    fn check(&mut self, id: usize) -> Result<(), String> {
        let place = &self.places[id];
        let machine = &place.machine;
        let (who, log) = (id as u64 + 1, machine.log());
        let held = |index: Index| match index {
            1 => Some((1, Bytes::new())),
            _ => log.entry(index).map(|entry| (entry.term, entry.payload.clone())),
        };
        for index in 1..=log.committed() {
            let Some(entry) = held(index) else { return Err(format!("node {who} commits {index} without having it")) };
            match self.committed.get(index as usize - 1) {
                Some(known) if *known != entry => return Err(format!("node {who} commits another {index}")),
                Some(_) => {}
                None => {
                    let has = |place: &&Rc<Place>| {
                        place.durable.iter().any(|there| there.index == index && there.term == entry.0)
                    };
                    if self.places.iter().filter(has).count() * 2 <= NODES {
                        return Err(format!("node {who} commits {index} without a quorum"));
                    }
                    self.committed.push(entry);
                }
            }
        }
        if machine.role() == Role::Leader {
            let me = (machine.term(), who, place.life);
            match self.leaders.iter().find(|(term, _, _)| *term == me.0) {
                Some(known) if *known != me => return Err(format!("two leaders in term {}", me.0)),
                Some(_) => {}
                None => {
                    self.leaders.push(me);
                    let all = (1..=self.committed.len() as Index)
                        .all(|index| held(index).as_ref() == self.committed.get(index as usize - 1));
                    if !all {
                        return Err(format!("node {who} leads term {} without what is committed", me.0));
                    }
                }
            }
        }
        for other in self.places.iter().filter(|other| !Rc::ptr_eq(other, place)) {
            let there = other.machine.log();
            let last = there.last_index().min(log.last_index());
            let agree = (2..=last).rev().find(|index| there.term(*index) == log.term(*index)).unwrap_or(1);
            if (2..=agree).any(|index| there.entry(index) != log.entry(index)) {
                return Err(format!("logs agree at {agree} and differ before"));
            }
        }
        Ok(())
    }
}

/// Walks every state within `bounds`.
#[must_use]
pub fn explore(bounds: &Bounds) -> Explored {
    let mut seen: HashSet<u64, BuildHasherDefault<Fast>> = HashSet::default();
    let mut explored = Explored::default();
    let mut stack = vec![State::new()];
    let mut steps = Vec::new();
    while let Some(state) = stack.pop() {
        explored.depth = explored.depth.max(state.depth);
        state.steps(bounds, &mut steps);
        for step in steps.drain(..) {
            explored.steps += 1;
            match state.after(step) {
                Ok(next) => {
                    if seen.insert(next.digest()) {
                        stack.push(next);
                    }
                }
                Err(rule) => {
                    explored.violation =
                        Some(format!("{rule}, after {} steps, the last of them {step:?}", state.depth));
                    explored.states = seen.len() as u64;
                    return explored;
                }
            }
        }
        if seen.len() as u64 >= bounds.states_max {
            explored.states = seen.len() as u64;
            return explored;
        }
    }
    explored.states = seen.len() as u64 + 1;
    explored.complete = true;
    explored
}

//! The steps of a tiny cluster: what may happen to each node, what comes of it, and what it breaks.

use std::collections::BTreeSet;
use std::rc::Rc;

use wrs_raft::{Boot, Input, Message, Role};

use super::facts::Facts;
use super::frontier::{Known, Mark, Sets, State};
use super::names::{NAMES, renamed_facts, renamed_message};
use super::place::{FOUNDED, Place, digest_of, place_of, proposal};
use super::words::{View, plain};
use super::{Bounds, NODES};

/// What may happen to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
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

/// How a machine came to be what it is.
#[derive(Clone, Copy)]
enum Origin {
    First,
    /// By that branch of what came of an event on another.
    From(u32, Event, usize),
}

/// A state of one node, and what is known of it.
struct Kept {
    place: Place,
    origin: Origin,
    /// How many things happened to it, at most, as far as is known.
    rank: usize,
    /// What its log holds.
    log: u64,
    /// What it is, names aside.
    shape: u64,
    /// What decides about messages from and to it.
    view: u32,
    /// The same under each other name, as far as it was needed.
    renamed: [Option<u32>; NAMES.len()],
}

/// In place of a message that does not matter.
const NOTHING: u32 = u32::MAX;

/// Between which nodes messages may matter less than before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changed {
    Nothing,
    Node(usize),
    All,
}

/// Machines, messages and facts that were met, by number, and what each thing that happened to a machine came to.
pub(super) struct Search {
    bounds: Bounds,
    kept: Vec<Kept>,
    place_numbers: Known<u64, u32>,
    first: [u32; NODES],
    messages: Vec<Message>,
    message_numbers: Known<u64, u32>,
    renamed_messages: Known<(u32, usize), u32>,
    views: Vec<View>,
    view_numbers: Known<View, u32>,
    renamed_sets: Known<(u32, usize), u32>,
    plain: Known<(u32, u32, u32), Option<u32>>,
    facts: Vec<Facts>,
    facts_numbers: Known<u64, u32>,
    renamed_facts: Known<(u32, usize), u32>,
    outcomes: Known<(u32, Event), Outcome>,
    /// Whether facts still hold once a node has become what it is now.
    judged: Known<(u32, u32), Result<u32, Rc<str>>>,
    pub(super) sets: Sets,
    /// Messages that are being put together.
    scratch: Vec<u32>,
}

impl Search {
    pub(super) fn new(bounds: Bounds) -> Search {
        Search {
            bounds,
            kept: Vec::new(),
            place_numbers: Known::default(),
            first: [0; NODES],
            messages: Vec::new(),
            message_numbers: Known::default(),
            renamed_messages: Known::default(),
            views: Vec::new(),
            view_numbers: Known::default(),
            renamed_sets: Known::default(),
            plain: Known::default(),
            facts: Vec::new(),
            facts_numbers: Known::default(),
            renamed_facts: Known::default(),
            outcomes: Known::default(),
            judged: Known::default(),
            sets: Sets::default(),
            scratch: Vec::new(),
        }
    }

    pub(super) fn first(&mut self) -> State {
        let hard = Boot::found([]).hard;
        let places = [0, 1, 2].map(|id| {
            let mut place = Place::new(id, hard, Vec::new());
            if self.bounds.reduced() && self.bounds.crashes == 0 {
                place.settle();
            }
            self.number_place(place, Origin::First)
        });
        self.first = places;
        let facts = self.number_facts(Facts::founded());
        State { places, network: self.sets.number(&[]), facts, crashes: 0, made: 0, depth: 0 }
    }

    fn number_place(&mut self, mut place: Place, origin: Origin) -> u32 {
        let digest = place.digest(self.bounds.reduced());
        if let Some(number) = self.place_numbers.get(&digest) {
            return *number;
        }
        let view = View::of(&place);
        let views = &mut self.views;
        let view = *self.view_numbers.entry(view).or_insert_with(|| {
            views.push(view);
            views.len() as u32 - 1
        });
        let log = place.machine.log();
        let entries: Vec<_> = (FOUNDED + 1..=log.last_index()).map(|index| log.entry(index)).collect();
        let log = digest_of(&entries);
        let shape = place.shape();
        let number = self.kept.len() as u32;
        self.kept.push(Kept { place, origin, rank: 0, log, shape, view, renamed: [None; NAMES.len()] });
        self.place_numbers.insert(digest, number);
        number
    }

    fn number_message(&mut self, message: Message) -> u32 {
        let number = *self.message_numbers.entry(digest_of(&message)).or_insert(self.messages.len() as u32);
        match self.messages.get(number as usize) {
            Some(known) => assert_eq!(*known, message, "two messages with one digest"),
            None => self.messages.push(message),
        }
        number
    }

    fn number_facts(&mut self, facts: Facts) -> u32 {
        let number = *self.facts_numbers.entry(digest_of(&facts)).or_insert(self.facts.len() as u32);
        match self.facts.get(number as usize) {
            Some(known) => assert_eq!(*known, facts, "different facts with one digest"),
            None => self.facts.push(facts),
        }
        number
    }

    fn place(&self, number: u32) -> &Place {
        &self.kept[number as usize].place
    }

    fn leads(&self, number: u32) -> bool {
        self.place(number).machine.role() == Role::Leader
    }

    // What may happen.

    pub(super) fn events(&self, state: &State, out: &mut Vec<(usize, Event)>) {
        let Bounds { terms, entries, crashes, .. } = self.bounds;
        for number in self.sets.get(state.network) {
            out.push((place_of(self.messages[*number as usize].to), Event::Deliver(*number)));
        }
        for id in 0..NODES {
            let place = self.place(state.places[id]);
            let machine = &place.machine;
            if place.has_write() {
                out.push((id, Event::Persist));
            }
            // One that nothing has happened to comes back as it was.
            if state.crashes < crashes && state.places[id] != self.first[id] {
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
        let rank = self.kept[number as usize].rank + 1;
        for branch in outcome.iter().flat_map(|branches| branches.iter()).filter(|branch| branch.place != number) {
            let known = &mut self.kept[branch.place as usize].rank;
            *known = rank.max(*known);
        }
        self.outcomes.insert((number, event), outcome.clone());
        outcome
    }

    fn happen(&mut self, number: u32, event: Event) -> Result<Vec<Branch>, String> {
        let mut place = self.place(number).clone();
        let input = match event {
            Event::Deliver(message) => Input::Receive(self.messages[message as usize].clone()),
            Event::Persist => {
                let sent = place.persist()?;
                place.check_commit(self.place(number))?;
                return self.branches(place, sent, number, event);
            }
            Event::Campaign => Input::Campaign,
            Event::Propose => Input::Receive(proposal(&place)),
            Event::Crash => {
                let mut branches = Vec::new();
                for back in place.crashed(usize::MAX)? {
                    let place = self.number_place(back, Origin::From(number, event, branches.len()));
                    branches.push(Branch { place, sent: Vec::new(), crashed: true });
                }
                return Ok(branches);
            }
            Event::Settle => {
                place.settle();
                let place = self.number_place(place, Origin::From(number, event, 0));
                return Ok(vec![Branch { place, sent: Vec::new(), crashed: false }]);
            }
        };
        let sent = place.give(input)?;
        place.check_commit(self.place(number))?;
        if sent.is_empty() && place.says_twice(self.place(number)) {
            return Ok(Vec::new());
        }
        self.branches(place, sent, number, event)
    }

    /// The node as it is now; in a reduced search, if it does not lead, with its writes ended, or with a crash before one of them does.
    fn branches(
        &mut self,
        mut place: Place,
        sent: Vec<Message>,
        number: u32,
        event: Event,
    ) -> Result<Vec<Branch>, String> {
        let mut sent: Vec<u32> = sent.into_iter().map(|message| self.number_message(message)).collect();
        let mut branches = Vec::new();
        while self.bounds.reduced() && place.has_write() && place.machine.role() != Role::Leader {
            if place.mortal {
                // With all of them on the disk it is as after their end.
                for back in place.crashed(place.pending.len() - 1)? {
                    let place = self.number_place(back, Origin::From(number, event, branches.len()));
                    branches.push(Branch { place, sent: sent.clone(), crashed: true });
                }
            }
            let more = place.persist()?;
            sent.extend(more.into_iter().map(|message| self.number_message(message)));
        }
        let place = self.number_place(place, Origin::From(number, event, branches.len()));
        branches.push(Branch { place, sent, crashed: false });
        Ok(branches)
    }

    // What comes of it in the cluster.

    pub(super) fn after(&mut self, state: &State, id: usize, event: Event, out: &mut Vec<State>) -> Result<(), String> {
        let outcome = self.outcome(state.places[id], event).map_err(|rule| rule.to_string())?;
        for branch in outcome.iter() {
            if branch.crashed && state.crashes >= self.bounds.crashes {
                continue;
            }
            let mut next = State { depth: state.depth + 1, ..*state };
            if branch.place == state.places[id] {
                let network = self.sets.get(state.network);
                if branch.sent.iter().all(|message| network.binary_search(message).is_ok()) {
                    continue;
                }
            }
            let elected = self.leads(branch.place) && !self.leads(state.places[id]);
            next.made += u8::from(elected || event == Event::Propose);
            if next.made > self.bounds.entries {
                continue;
            }
            let (before, now) = (&self.kept[state.places[id] as usize], &self.kept[branch.place as usize]);
            let (grown, same) = (before.log != now.log, before.view == now.view);
            next.places[id] = branch.place;
            next.crashes += u8::from(branch.crashed);
            let settled = self.bounds.reduced() && branch.crashed && next.crashes == self.bounds.crashes;
            if settled {
                self.settle(&mut next)?;
            }
            self.check(&mut next, id)?;
            if grown {
                self.check_logs(&next, id)?;
            }
            let changed = if settled { Changed::All } else { Changed::Node(id) };
            next.network = self.gather(&next, if same && !settled { Changed::Nothing } else { changed }, &branch.sent);
            out.push(self.named(next)?);
        }
        Ok(())
    }

    /// The messages on their way after some were `sent`, as far as they matter.
    fn gather(&mut self, next: &State, changed: Changed, sent: &[u32]) -> u32 {
        let mut network = std::mem::take(&mut self.scratch);
        network.clear();
        network.extend_from_slice(self.sets.get(next.network));
        if self.bounds.reduced() {
            if changed != Changed::Nothing {
                for number in &mut network {
                    let message = &self.messages[*number as usize];
                    let ends = [place_of(message.from), place_of(message.to)];
                    if changed == Changed::All || ends.into_iter().any(|id| changed == Changed::Node(id)) {
                        *number = self.plain(*number, &next.places).unwrap_or(NOTHING);
                    }
                }
            }
            for number in sent {
                let number = self.plain(*number, &next.places);
                network.extend(number);
            }
        } else {
            network.extend_from_slice(sent);
        }
        network.sort_unstable();
        network.dedup();
        if network.last() == Some(&NOTHING) {
            network.pop();
        }
        let set = self.sets.number(&network);
        self.scratch = network;
        set
    }

    /// A message as far as it matters.
    fn plain(&mut self, number: u32, places: &[u32; NODES]) -> Option<u32> {
        let message = &self.messages[number as usize];
        let view = |node| self.kept[places[place_of(node)] as usize].view;
        let (from, to) = (view(message.from), view(message.to));
        if let Some(known) = self.plain.get(&(number, from, to)) {
            return *known;
        }
        let (sender, receiver) = (&self.views[from as usize], &self.views[to as usize]);
        let plain = plain(message, sender, receiver, self.bounds.terms + 1);
        let plain = plain.map(|message| self.number_message(message));
        self.plain.insert((number, from, to), plain);
        plain
    }

    fn settle(&mut self, state: &mut State) -> Result<(), String> {
        for id in 0..NODES {
            let outcome = self.outcome(state.places[id], Event::Settle).map_err(|rule| rule.to_string())?;
            state.places[id] = outcome[0].place;
        }
        Ok(())
    }

    /// The state with all that its nodes would answer without becoming anything else: that they may do so at any time.
    pub(super) fn answered(&mut self, state: &State) -> Result<State, (String, String)> {
        let mut network = std::mem::take(&mut self.scratch);
        network.clear();
        network.extend_from_slice(self.sets.get(state.network));
        let mut more = false;
        let mut at = 0;
        while let Some(number) = network.get(at).copied() {
            at += 1;
            let id = place_of(self.messages[number as usize].to);
            let outcome = self
                .outcome(state.places[id], Event::Deliver(number))
                .map_err(|rule| (rule.to_string(), self.describe(id, Event::Deliver(number))))?;
            let [Branch { place, sent, crashed: false }] = &*outcome else { continue };
            if *place != state.places[id] {
                continue;
            }
            for number in sent {
                let number = if self.bounds.reduced() { self.plain(*number, &state.places) } else { Some(*number) };
                if let Some(number) = number.filter(|number| !network.contains(number)) {
                    network.push(number);
                    more = true;
                }
            }
        }
        let mut state = *state;
        if more {
            network.sort_unstable();
            state.network = self.sets.number(&network);
        }
        self.scratch = network;
        if more { self.named(state).map_err(|rule| (rule, "an answer".into())) } else { Ok(state) }
    }

    // Names.

    /// In a reduced search, the state whose nodes have taken the names that make it the least.
    fn named(&mut self, state: State) -> Result<State, String> {
        if !self.bounds.reduced() {
            return Ok(state);
        }
        let shapes = state.places.map(|place| self.kept[place as usize].shape);
        let mut least: Option<State> = None;
        for (which, names) in NAMES.iter().enumerate() {
            let mut named = [0; NODES];
            (0..NODES).for_each(|id| named[names[id]] = shapes[id]);
            if !named.is_sorted() {
                continue;
            }
            let mut renamed = state;
            for (name, place) in names.iter().zip(state.places) {
                renamed.places[*name] = self.rename_place(place, which)?;
            }
            renamed.facts = self.rename_facts(state.facts, which);
            if least.is_some_and(|least| least.mark() < renamed.mark()) {
                continue;
            }
            renamed.network = self.rename_set(state.network, which);
            if least.is_none_or(|least| (renamed.mark(), renamed.network) < (least.mark(), least.network)) {
                least = Some(renamed);
            }
        }
        least.ok_or_else(|| "no names".into())
    }

    fn rename_set(&mut self, number: u32, which: usize) -> u32 {
        if which == 0 {
            return number;
        }
        if let Some(known) = self.renamed_sets.get(&(number, which)) {
            return *known;
        }
        let mut set = self.sets.get(number).to_vec();
        set.iter_mut().for_each(|message| *message = self.rename_message(*message, which));
        set.sort_unstable();
        let named = self.sets.number(&set);
        self.renamed_sets.insert((number, which), named);
        named
    }

    /// The machine under another name: what happened to it happens to that one.
    fn rename_place(&mut self, number: u32, which: usize) -> Result<u32, String> {
        if which == 0 {
            return Ok(number);
        }
        let Kept { origin, renamed, .. } = &self.kept[number as usize];
        if let Some(known) = renamed[which] {
            return Ok(known);
        }
        let named = match *origin {
            Origin::First => self.first[NAMES[which][self.place(number).id]],
            Origin::From(before, event, branch) => {
                let before = self.rename_place(before, which)?;
                let event = self.rename_event(event, which);
                let outcome = self.outcome(before, event).map_err(|rule| rule.to_string())?;
                outcome.get(branch).ok_or("nodes are not alike")?.place
            }
        };
        if self.kept[named as usize].shape != self.kept[number as usize].shape {
            return Err("nodes are not alike".into());
        }
        self.kept[number as usize].renamed[which] = Some(named);
        Ok(named)
    }

    /// Whether what comes of each thing that happened is the same under all names.
    pub(super) fn check_names(&mut self) -> Result<(), String> {
        let known: Vec<(u32, Event)> = self.outcomes.keys().copied().collect();
        for (number, event) in known {
            let here = self.outcome(number, event).map_err(|rule| rule.to_string())?;
            for which in 1..NAMES.len() {
                let named = self.rename_place(number, which)?;
                let event = self.rename_event(event, which);
                let there = self.outcome(named, event).map_err(|rule| rule.to_string())?;
                let mut same = here.len() == there.len();
                for (branch, other) in here.iter().zip(there.iter()) {
                    let mut sent: Vec<u32> = branch.sent.iter().map(|one| self.rename_message(*one, which)).collect();
                    let mut others = other.sent.clone();
                    sent.sort_unstable();
                    others.sort_unstable();
                    same &= self.rename_place(branch.place, which)? == other.place && sent == others;
                }
                if !same {
                    return Err(format!("nodes are not alike: {}", self.describe(self.place(named).id, event)));
                }
            }
        }
        Ok(())
    }

    fn rename_event(&mut self, event: Event, which: usize) -> Event {
        match event {
            Event::Deliver(message) => Event::Deliver(self.rename_message(message, which)),
            event => event,
        }
    }

    fn rename_message(&mut self, number: u32, which: usize) -> u32 {
        if which == 0 {
            return number;
        }
        if let Some(known) = self.renamed_messages.get(&(number, which)) {
            return *known;
        }
        let named = renamed_message(&self.messages[number as usize], NAMES[which]);
        let named = self.number_message(named);
        self.renamed_messages.insert((number, which), named);
        named
    }

    fn rename_facts(&mut self, number: u32, which: usize) -> u32 {
        if which == 0 {
            return number;
        }
        if let Some(known) = self.renamed_facts.get(&(number, which)) {
            return *known;
        }
        let named = renamed_facts(&self.facts[number as usize], NAMES[which]);
        let named = self.number_facts(named);
        self.renamed_facts.insert((number, which), named);
        named
    }

    // The rules.

    fn check(&mut self, state: &mut State, id: usize) -> Result<(), String> {
        let key = (state.facts, state.places[id]);
        if let Some(known) = self.judged.get(&key) {
            state.facts = known.clone().map_err(|rule| rule.to_string())?;
            return Ok(());
        }
        let places = state.places.map(|number| self.place(number));
        let (facts, commits) = match self.facts[state.facts as usize].with(places[id], places) {
            Ok(facts) => facts,
            Err(rule) => {
                self.judged.insert(key, Err(Rc::from(rule.as_str())));
                return Err(rule);
            }
        };
        state.facts = self.number_facts(facts);
        // A new commitment is looked at each time, since it rests on all disks.
        if !commits {
            self.judged.insert(key, Ok(state.facts));
        }
        Ok(())
    }

    /// Logs that have an entry of one index and term have all before it (log matching).
    fn check_logs(&self, state: &State, id: usize) -> Result<(), String> {
        let here = self.place(state.places[id]).machine.log();
        for other in (0..NODES).filter(|other| *other != id) {
            let there = self.place(state.places[other]).machine.log();
            let last = there.last_index().min(here.last_index());
            let agree = (2..=last).rev().find(|index| there.term(*index) == here.term(*index)).unwrap_or(FOUNDED);
            if (2..=agree).any(|index| there.entry(index) != here.entry(index)) {
                return Err(format!("logs agree at {agree} and differ before"));
            }
        }
        Ok(())
    }

    /// Higher than before with each step, as a rule.
    pub(super) fn rank(&self, state: &State) -> usize {
        state.places.iter().map(|place| self.kept[*place as usize].rank).sum()
    }

    pub(super) fn describe(&self, id: usize, event: Event) -> String {
        match event {
            Event::Deliver(message) => format!("{:?}", self.messages[message as usize]),
            _ => format!("{event:?} at node {}", id + 1),
        }
    }

    /// How many different machines and messages.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.kept.len(), self.messages.len())
    }

    /// A state whose nodes have no write under way, without names, disks and messages.
    pub(super) fn outline(&self, (places, facts, crashes, made): &Mark) -> Option<u64> {
        let places = places.map(|number| self.place(number));
        if places.iter().any(|place| place.has_write()) {
            return None;
        }
        let mut nodes = places.map(Place::outline);
        nodes.sort_unstable();
        let facts = &self.facts[*facts as usize];
        let leaders: Vec<_> = facts.leaders.iter().map(|leader| (leader.term, leader.life, &leader.log)).collect();
        let committed: Vec<_> = facts.committed.iter().map(|entry| (entry.term, entry.since)).collect();
        Some(digest_of(&(nodes, leaders, committed, crashes, made)))
    }

    pub(super) fn seen(&self) -> BTreeSet<(u8, u64, Vec<u64>, u64)> {
        let settled = self.kept.iter().map(|kept| &kept.place).filter(|place| !place.has_write());
        let nodes = settled.map(|place| {
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

//! The load, and what clients were told: writes that are tried again until they are acknowledged, and reads.

use wrs_raft::{Input, NodeId, ReadToken, Ticket};

use super::app::{Command, KEYS};
use super::history::{Attempt, Fate};
use super::node::State;
use super::plan::NODES;
use super::told::Pending;
use super::world::{Event, World};

/// Tickets from here on are the operator's.
pub const OPERATOR: u64 = 1 << 40;
/// Nobody waits for what this client proposes.
pub const NOBODY: u8 = u8::MAX;

/// Where a spec switches this off, positions in the log are no rule for what clients are told: the search alone must find what they
/// would.
const WITNESS: &str = "witness";

/// One client: one request at a time.
#[derive(Clone, Debug, Default)]
pub struct Client {
    sequence: u32,
    /// Counts what it does; timers of an earlier turn are void.
    turn: u64,
    waiting: Option<Waiting>,
    /// The node that it asks next.
    hint: usize,
    /// Whether the hint was told by a node, rather than exhausted by silence.
    told: bool,
}

#[derive(Clone, Copy, Debug)]
enum Waiting {
    Write { floor: u64, key: u8, pending: Pending },
    Read { token: u64 },
}

/// A read that a client asked for.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    client: usize,
    /// What had been acknowledged when it was asked.
    floor: u64,
    /// When it was asked, in the time of what clients are told.
    from: u64,
    answered: bool,
}

impl World {
    /// A client's timer: it tries again what was not answered, or thinks of something new.
    pub(super) fn client(&mut self, at: usize, turn: u64) {
        if self.clients[at].turn != turn {
            return;
        }
        let waiting = self.clients[at].waiting;
        match waiting {
            Some(Waiting::Write { .. }) => {
                if !std::mem::take(&mut self.clients[at].told) {
                    self.clients[at].hint = self.load.below(NODES as u64) as usize;
                }
                self.try_write(at);
            }
            Some(Waiting::Read { .. }) => {
                self.clients[at].hint = self.load.below(NODES as u64) as usize;
                self.clients[at].waiting = None;
                self.set_client(at, self.plan.think_mean);
            }
            None if self.quiet => {}
            None => self.begin(at),
        }
    }

    fn begin(&mut self, at: usize) {
        let floor = self.history.positions.begin();
        if self.load.chance(self.plan.read_ppm) {
            self.ask(at, floor);
        } else {
            let key = self.load.below(KEYS as u64) as u8;
            self.clients[at].sequence += 1;
            let pending = self.history.told.write(key, at as u8, self.clients[at].sequence);
            self.clients[at].waiting = Some(Waiting::Write { floor, key, pending });
            self.try_write(at);
        }
    }

    /// Lets the client's next turn come after about `delay`.
    fn set_client(&mut self, at: usize, delay: u64) {
        let delay = self.load.exponential(delay);
        self.clients[at].turn += 1;
        let turn = self.clients[at].turn;
        self.agenda.after(delay, Event::Client { client: at, turn });
    }

    /// The node that the client asks: its hint if it runs, else the next that does.
    fn place(&self, at: usize) -> Option<usize> {
        let hint = self.clients[at].hint;
        (0..NODES).map(|step| (hint + step) % NODES).find(|slot| self.nodes[*slot].is_alive())
    }

    fn try_write(&mut self, at: usize) {
        self.set_client(at, self.plan.election * 2);
        let Some(slot) = self.place(at) else { return };
        let Some(Waiting::Write { key, .. }) = self.clients[at].waiting else { return };
        let sequence = self.clients[at].sequence;
        let attempt = self.attempt(slot, at as u8, sequence, 1);
        let size = self.load.below(self.plan.payload_max + 1) as usize;
        let payload = Command { attempt, client: at as u8, key, sequence }.encode(size);
        self.give(slot, Input::Propose { ticket: Ticket(attempt), payload });
    }

    /// Notes a try to propose; returns its number.
    fn attempt(&mut self, slot: usize, client: u8, sequence: u32, entries: u32) -> u64 {
        let node = (slot, self.nodes[slot].life);
        let attempt = Attempt {
            fate: Fate::Open,
            at: 0,
            accepted: 0,
            forwarded: false,
            copies: 0,
            entries,
            client,
            sequence,
            node,
        };
        self.history.attempts.push(attempt);
        self.history.attempts.len() as u64 - 1
    }

    /// Proposes `count` entries at once that nobody waits for.
    pub(super) fn burst(&mut self, slot: usize, count: u32, bytes: u64) {
        let attempt = self.attempt(slot, NOBODY, 0, count);
        let command = Command { attempt, client: NOBODY, key: 0, sequence: 0 };
        let payloads = (0..count).map(|_| command.encode(bytes as usize)).collect();
        self.give(slot, Input::ProposeMany { ticket: Ticket(attempt), payloads });
    }

    fn ask(&mut self, at: usize, floor: u64) {
        self.set_client(at, self.plan.election * 2);
        let Some(slot) = self.place(at) else { return };
        let token = self.questions.len() as u64;
        let from = self.history.told.begin();
        self.questions.push(Question { client: at, floor, from, answered: false });
        self.clients[at].waiting = Some(Waiting::Read { token });
        self.give(slot, Input::Read { token: ReadToken(token) });
    }

    /// Serves the reads whose index the application has reached.
    pub(super) fn serve_reads(&mut self, slot: usize) {
        let applied = self.nodes[slot].app.applied;
        let mut at = 0;
        while let Some((token, index)) = self.nodes[slot].reads.get(at).copied() {
            if index > applied {
                at += 1;
                continue;
            }
            self.nodes[slot].reads.swap_remove(at);
            self.answer_read(slot, token, index, applied);
        }
    }

    fn answer_read(&mut self, slot: usize, token: u64, index: u64, applied: u64) {
        let Some(question) = self.questions.get_mut(token as usize) else { return };
        let Question { client, floor, from, answered } =
            std::mem::replace(question, Question { answered: true, ..*question });
        if answered {
            return self.fail("a read is answered once", format!("read {token} at node {}", slot + 1));
        }
        self.history.told.read((token % KEYS as u64) as u8, from, &self.nodes[slot].app);
        if !self.history.positions.read(floor, index) && !self.spec.is_off(WITNESS) {
            let detail = format!("node {} reads at {index}, {floor} was acknowledged before it was asked", slot + 1);
            return self.fail("reads are linearizable", detail);
        }
        // What is shown is the application's state, which may be newer.
        let _ = self.history.positions.read(floor, applied);
        self.coverage.hit("reads");
        if self.waits_for(client, token) {
            self.clients[client].waiting = None;
            self.set_client(client, self.plan.think_mean);
        }
    }

    fn waits_for(&self, client: usize, token: u64) -> bool {
        let waiting = self.clients.get(client).and_then(|client| client.waiting);
        matches!(waiting, Some(Waiting::Read { token: asked }) if asked == token)
    }

    /// Something was just acknowledged: whoever else believes to lead is asked, since it must not answer from before.
    fn ask_other_leaders(&mut self, acknowledged_by: usize) {
        if self.plan.read_ppm == 0 || self.healing {
            return;
        }
        for slot in (0..NODES).filter(|slot| *slot != acknowledged_by) {
            let node = &self.nodes[slot];
            if node.leads() && node.state == State::Up {
                self.ask_for_nobody(slot);
                self.coverage.hit("deposed leaders asked");
            }
        }
    }

    /// Asks a node for a read that no client waits for.
    pub(super) fn ask_for_nobody(&mut self, slot: usize) {
        let floor = self.history.positions.begin();
        let token = self.questions.len() as u64;
        let from = self.history.told.begin();
        self.questions.push(Question { client: usize::MAX, floor, from, answered: false });
        self.inputs.push_back((slot, self.nodes[slot].life, Input::Read { token: ReadToken(token) }));
    }

    pub(super) fn answer_read_failed(&mut self, token: u64) {
        let Some(question) = self.questions.get_mut(token as usize) else { return };
        let Question { client, answered, .. } = std::mem::replace(question, Question { answered: true, ..*question });
        if answered {
            return self.fail("a read is answered once", format!("read {token} fails after it was answered"));
        }
        self.coverage.hit("reads failed");
        if self.waits_for(client, token) {
            self.clients[client].waiting = None;
            self.clients[client].hint = self.load.below(NODES as u64) as usize;
            self.set_client(client, self.plan.think_mean);
        }
    }

    /// A proposal is told to be committed at `first` to `last`.
    pub(super) fn answer_commit(&mut self, slot: usize, ticket: u64, first: u64, last: u64) {
        let Some(attempt) = self.history.attempts.get_mut(ticket as usize) else { return };
        let told = *attempt;
        attempt.fate = Fate::Committed;
        if told.fate != Fate::Open {
            return self.fail("a fate is told once", format!("proposal {ticket} was {:?}", told.fate));
        }
        let where_ = (told.accepted, told.at, u64::from(told.entries));
        if where_ != (first, first, last + 1 - first) || last > self.history.committed.last() {
            let detail = format!("node {}: proposal {ticket} told at {first}, is at {}", slot + 1, told.at);
            return self.fail("what is told committed is", detail);
        }
        let client = usize::from(told.client);
        let Some(Waiting::Write { floor, pending, .. }) = self.clients.get(client).and_then(|client| client.waiting)
        else {
            return;
        };
        if self.clients[client].sequence != told.sequence {
            return;
        }
        let effect = self.history.effects[client].get(told.sequence as usize - 1).copied().unwrap_or(0);
        self.history.told.wrote(pending);
        if !self.history.positions.write(floor, effect) && !self.spec.is_off(WITNESS) {
            let detail = format!("a write took effect at {effect}, {floor} was acknowledged before it was asked");
            return self.fail("writes are linearizable", detail);
        }
        self.clients[client].waiting = None;
        self.clients[client].hint = slot;
        self.set_client(client, self.plan.think_mean);
        self.ask_other_leaders(slot);
    }

    /// A proposal is told not to be committed, or not to be told of any more.
    pub(super) fn settle_attempt(&mut self, ticket: u64, fate: Fate, forwarded: bool, hint: Option<NodeId>) {
        let Some(attempt) = self.history.attempts.get_mut(ticket as usize) else { return };
        let told = *attempt;
        attempt.fate = fate;
        attempt.forwarded |= forwarded;
        if told.fate != Fate::Open {
            return self.fail("a fate is told once", format!("proposal {ticket} was {:?}", told.fate));
        }
        if fate == Fate::Failed && told.at != 0 {
            let detail = format!("proposal {ticket} is committed at {} and was told to have failed", told.at);
            return self.fail("a failed proposal stays failed", detail);
        }
        let client = usize::from(told.client);
        let waits = self.clients.get(client).is_some_and(|client| client.sequence == told.sequence);
        if waits && fate == Fate::Failed && matches!(self.clients[client].waiting, Some(Waiting::Write { .. })) {
            let next = hint.map(|node| node.0 as usize - 1);
            let next = next.unwrap_or_else(|| self.load.below(NODES as u64) as usize);
            self.clients[client].hint = next;
            self.clients[client].told = true;
            self.set_client(client, self.plan.think_mean + self.plan.election / 20);
        }
    }
}

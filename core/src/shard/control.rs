//! Shard 0 as the head of its node: the control plane and the links to other nodes, wired to the shards.
//!
//! What happens on links goes to the gate, what the gate hears goes to the control plane or the data plane, and what those
//! want done is done here. No rule stands in this room.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::Shard;
use super::operate::Arrival;
use crate::action::{Action, Actions, Over};
use crate::admission::Headcount;
use crate::boot::Boot;
use crate::catalogue::{Command, Outcome, Removal};
use crate::cluster::{Cluster, Deed, Start, State};
use crate::config::NodeAddress;
use crate::event::Event;
use crate::gate::{Gate, Heard};
use crate::id::{ConnId, DialId, Life, ShardId};
use crate::input::Input;
use crate::metrics::{Counter, Gauge, Limit};
use crate::peer::{PeerId, PeerMessage, Ticket};
use crate::probe::Probe;
use crate::random::Random;
use crate::router::Router;
use crate::time::Time;

/// The stream of the node's key that the control plane draws from.
pub(super) const CONTROL_STREAM: u64 = u64::MAX;
/// The one that the gate draws from.
const GATE_STREAM: u64 = u64::MAX - 1;
/// Messages to other nodes that wait for the end of a turn, at most.
const LETTERS_MAX: usize = 256;

/// What shard 0 has beside a shard's own.
pub(super) struct Control {
    pub(super) cluster: Cluster,
    pub(super) gate: Gate,
    /// How many clients the node has.
    pub(super) clients: Headcount,
    /// Up to which change each sibling has applied, and this shard itself.
    applied: Vec<u64>,
    handed: u64,
    /// The control plane's numbers for the gate's dials.
    meetings: BTreeMap<DialId, DialId>,
    /// The question at `WRS_DOMAIN` that is under way.
    probe: Option<Probe>,
    /// Requests to join that wait until this node serves.
    pub(super) arrivals: Vec<Arrival>,
    /// Siblings that have drained.
    drained: usize,
    /// Whether the control plane was told that the node stops.
    leaving: bool,
    /// Whether anything has happened that the control plane or the gate has not followed up.
    pub(super) stirred: bool,
    /// Whether the control plane's part of that waits for the end of the turn, so that what comes in one turn is one message to
    /// each node, one write and one answer.
    pub(super) gathers: bool,
    /// Whether something does wait.
    gathered: bool,
    /// When something is due, as of the last time that they were followed up: asked for in every turn, so it is kept.
    due: Option<Time>,
}

impl Control {
    /// The head of a node as of the origin of time.
    pub(super) fn new(boot: &Boot) -> Result<Self, String> {
        let config = &boot.config;
        let start = Start {
            random: Random::stream(boot.key, CONTROL_STREAM),
            address: config.node_address.clone(),
            port: boot.node_port,
            stored: boot.stored.clone(),
            founders: boot.founders.clone(),
        };
        let cluster = Cluster::new(config, start, Time::ZERO).map_err(|error| error.to_string())?;
        let random = Random::stream(boot.key, GATE_STREAM);
        let gate = Gate::new(config.clone(), cluster.introduction().clone(), random);
        Ok(Control {
            cluster,
            gate,
            clients: Headcount::new(config.clients_max, config.clients_per_address_max),
            applied: vec![0; usize::from(config.shards.max(1)) - 1],
            handed: 0,
            meetings: BTreeMap::new(),
            probe: None,
            arrivals: Vec::new(),
            drained: 0,
            leaving: false,
            stirred: true,
            gathers: false,
            gathered: false,
            due: None,
        })
    }

    /// Up to which change every shard of the node has applied.
    fn applied_everywhere_here(&self) -> u64 {
        self.applied.iter().copied().min().unwrap_or(self.handed).min(self.handed)
    }

    /// The next thing that the control plane wants done, unless it is to gather first what else comes in this turn.
    fn next_deed(&mut self) -> Option<Deed> {
        self.gathered = self.gathers;
        if self.gathers { None } else { self.cluster.next_deed() }
    }

    /// Whether what is to be said to other nodes is to wait for what else comes in this turn: one frame to each, and one write,
    /// is much less work than one for each read.
    fn gathers_mail(&mut self, router: &Router) -> bool {
        let waits = self.gathers && router.outbox.len() < LETTERS_MAX;
        self.gathered |= waits && !router.outbox.is_empty();
        waits
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        if self.stirred || self.gathered { Some(Time::ZERO) } else { self.due }
    }

    fn note_due(&mut self) {
        let probe = self.probe.as_ref().map(Probe::deadline);
        let arrival = self.arrivals.first().map(Arrival::deadline);
        self.due = [self.cluster.deadline(), self.gate.deadline(), probe, arrival].into_iter().flatten().min();
    }
}

impl Shard {
    /// A connection with another node, or with the service's own API.
    pub(super) fn linked(
        &mut self,
        now: Time,
        conn: ConnId,
        from: SocketAddr,
        dial: Option<DialId>,
        out: &mut Actions,
    ) {
        let Some(control) = &mut self.control else { return out.push(Action::Close { conn }) };
        control.stirred = true;
        match &mut control.probe {
            Some(probe) if dial == Some(probe.dial()) => {
                let bytes = probe.ask(conn, &self.config.domain);
                out.push(Action::Send { conn, bytes });
            }
            _ => control.gate.linked(now, conn, from, dial, out),
        }
    }

    pub(super) fn dial_failed(&mut self, now: Time, dial: DialId, why: String) {
        let Some(control) = &mut self.control else { return };
        control.stirred = true;
        if control.probe.take_if(|probe| probe.dial() == dial).is_some() {
            control.cluster.probed(now, None);
        } else {
            control.gate.dial_failed(now, dial, why);
        }
    }

    pub(super) fn resolved(&mut self, now: Time, host: &str, addresses: Result<Vec<IpAddr>, String>) {
        if let Some(control) = &mut self.control {
            control.stirred = true;
            control.cluster.resolved(now, host, addresses);
        }
    }

    pub(super) fn persisted(&mut self, now: Time, record: u64) {
        if let Some(control) = &mut self.control {
            control.stirred = true;
            self.router.metrics.add(Counter::LogWrites, 1);
            control.cluster.persisted(now, record);
        }
    }

    pub(super) fn persist_failed(&mut self, now: Time, why: &str) {
        if let Some(control) = &mut self.control {
            control.stirred = true;
            control.cluster.persist_failed(now, why);
        }
    }

    /// Bytes of a connection that is no client's.
    pub(super) fn link_received(&mut self, now: Time, conn: ConnId, bytes: &[u8], out: &mut Actions) {
        let Some(control) = &mut self.control else { return };
        control.stirred = true;
        if control.gate.has(conn) {
            return control.gate.received(now, conn, bytes, out);
        }
        let Some(probe) = control.probe.as_mut().filter(|probe| probe.conn() == Some(conn)) else { return };
        if let Some(answer) = probe.received(bytes) {
            control.probe = None;
            control.cluster.probed(now, answer);
            out.push(Action::Close { conn });
        }
    }

    /// A write on a connection that is no client's.
    pub(super) fn link_flushed(&mut self, conn: ConnId, unsent: usize) {
        if let Some(control) = &mut self.control {
            control.stirred |= control.gate.flushed(conn, unsent);
        }
    }

    /// A connection that is no client's has gone, or will.
    pub(super) fn link_ended(&mut self, now: Time, conn: ConnId, gone: bool, out: &mut Actions) {
        let Some(control) = &mut self.control else { return };
        control.stirred = true;
        if control.gate.has(conn) {
            return match gone {
                true => control.gate.closed(now, conn, out),
                false => control.gate.ended(now, conn, out),
            };
        }
        if control.probe.take_if(|probe| probe.conn() == Some(conn)).is_some() {
            control.cluster.probed(now, None);
            if !gone {
                out.push(Action::Close { conn });
            }
        }
    }

    /// A connection that is no client's has broken TLS, and is gone.
    pub(super) fn link_broken(&mut self, now: Time, conn: ConnId, why: String, out: &mut Actions) {
        match &mut self.control {
            Some(control) if control.gate.has(conn) => {
                control.stirred = true;
                control.gate.broken(now, conn, why, out);
            }
            _ => self.link_ended(now, conn, true, out),
        }
    }

    /// Whether what an input leads to may wait for the end of the turn, when its [`Input::Timeout`] comes: a node alone has nobody
    /// to tell, and answers at once.
    pub(super) fn gather(&mut self, input: &Input<'_>) {
        let Some(control) = &mut self.control else { return };
        let many = matches!(input, Input::Received { .. } | Input::Peer { .. } | Input::Persisted { .. });
        control.gathers = many && !control.cluster.is_alone();
    }

    /// Time has passed for the control plane and the links.
    pub(super) fn control_timeout(&mut self, now: Time, out: &mut Actions) {
        let Some(control) = &mut self.control else { return };
        control.stirred = true;
        if control.gate.deadline().is_some_and(|at| at <= now) {
            control.gate.timeout(now, out);
        }
        if control.cluster.deadline().is_some_and(|at| at <= now) {
            control.cluster.timeout(now);
        }
        if let Some(probe) = control.probe.take_if(|probe| probe.deadline() <= now) {
            control.cluster.probed(now, None);
            if let Some(conn) = probe.conn() {
                out.push(Action::Close { conn });
            }
        }
    }

    /// Does what follows from what has happened, until nothing does.
    pub(super) fn run_control(&mut self, now: Time, out: &mut Actions) {
        loop {
            while let Some(message) = self.router.inbox.pop_front() {
                self.heard(now, self.me(), message, out);
            }
            if self.control.as_ref().is_some_and(|control| control.stirred) {
                self.follow_up(now, out);
                continue;
            }
            // What was gathered may be for this shard.
            self.router.flush(out);
            if self.router.inbox.is_empty() && !self.answer_arrivals(now, out) {
                break;
            }
        }
        let Some(control) = &mut self.control else { return };
        if self.router.outbox.is_empty() || control.gathers_mail(&self.router) {
            return;
        }
        let mut unwritten = None;
        for (life, message) in self.router.outbox.drain(..) {
            if !control.gate.mail(now, life, &message) && self.router.members.node_of(life).is_some() {
                self.router.metrics.add(Counter::Unmailed, 1);
                unwritten = Some(life);
            }
        }
        if let Some(life) = unwritten {
            out.push(Action::Report(Event::Unmailed { life }));
        }
        control.gate.flush(now, out);
        control.note_due();
    }

    /// One thing that follows from what has happened.
    fn follow_up(&mut self, now: Time, out: &mut Actions) {
        let Some(control) = &mut self.control else { return };
        if let Some(heard) = control.gate.next_heard() {
            self.link_heard(now, heard, out);
        } else if let Some(deed) = control.next_deed() {
            self.do_deed(now, deed, out);
        } else {
            control.stirred = false;
            control.gate.flush(now, out);
            control.gate.count(&mut self.router.metrics);
            let apart = u64::from(control.cluster.apart().is_some());
            self.router.metrics.set(Gauge::Apart, apart);
            control.note_due();
        }
    }

    fn link_heard(&mut self, now: Time, heard: Heard, out: &mut Actions) {
        let Some(control) = &mut self.control else { return };
        let cluster = &mut control.cluster;
        match heard {
            Heard::Up { life, introduction, from } => cluster.link_up(now, life, &introduction, from),
            Heard::Succeeded { life, introduction, .. } => cluster.succeeded(now, life, &introduction),
            Heard::Told { life, introduction } => cluster.link_told(now, life, &introduction),
            Heard::Down { life } => cluster.link_down(now, life),
            Heard::Post(life, bytes) => cluster.heard(now, life, &bytes),
            Heard::Mail(life, message) => {
                // Of a life that has not begun here yet, or has ended, nothing counts.
                self.heard(now, PeerId::Node(life), message, out);
            }
            Heard::Met { dial, introduction, from, .. } => {
                if let Some(dial) = control.meetings.remove(&dial) {
                    cluster.met(now, dial, &introduction, from);
                }
            }
            Heard::Unmet { dial, why } => {
                if let Some(dial) = control.meetings.remove(&dial) {
                    cluster.unmet(now, dial, &why);
                }
            }
        }
    }

    fn do_deed(&mut self, now: Time, deed: Deed, out: &mut Actions) {
        let Some(control) = &mut self.control else { return };
        match deed {
            Deed::Apply { number, command, own: _ } => {
                control.handed = number;
                let outcome = self.apply(now, &command, out);
                self.say_to_others(|| PeerMessage::Apply(number, command.clone()), out);
                if let Some(control) = &mut self.control {
                    control.cluster.outcome(number, outcome);
                }
                self.tell_applied(now);
            }
            Deed::Restore(state) => self.restore(now, *state, out),
            Deed::Settle { shard, ticket, outcome } => self.say(shard, PeerMessage::Settled(ticket, outcome), out),
            Deed::Post { life, bytes } => {
                if !control.gate.post(life, &bytes) {
                    control.cluster.unposted(life);
                }
            }
            Deed::Expect(peers) => control.gate.expect(now, peers),
            Deed::HangUp(life) => control.gate.hang_up(now, life, out),
            Deed::Meet { dial, address } => drop(control.meetings.insert(control.gate.meet(address), dial)),
            Deed::Resolve(host) => out.push(Action::Resolve { host }),
            Deed::Probe => self.begin_probe(now, out),
            Deed::Lease(until) => self.say_to_all(|| PeerMessage::Lease(until), out),
            Deed::Out => {
                // The others hear of it once this shard has fallen out.
                let count = self.falls.here() + 1;
                self.say(self.here, PeerMessage::Out(count), out);
            }
            Deed::Life(life) => self.say_to_all(|| PeerMessage::Life(life), out),
            Deed::Introduce(introduction) => control.gate.set_introduction(now, introduction, out),
            Deed::Answer { ticket, answer } => self.operated(now, ticket, answer, out),
            Deed::Slice => control.cluster.slice(&self.catalogue),
            Deed::Store(store) => out.push(Action::Store(store)),
            Deed::Fail(why) => {
                out.push(Action::Fail { why });
                self.say_to_all(|| PeerMessage::Fail, out);
            }
            Deed::Report(event) => self.report(event, out),
            Deed::Left => self.left = true,
        }
    }

    /// A life has ended: its mail is dropped, and nothing more comes of it.
    pub(super) fn forget_life(&mut self, now: Time, life: Life, out: &mut Actions) {
        if let Some(control) = &mut self.control {
            control.gate.forget(now, life, out);
        }
        self.router.outbox.retain(|(to, _)| *to != life);
    }

    /// Says something to every shard of the node, this one included.
    pub(super) fn say_to_all(&mut self, mut message: impl FnMut() -> PeerMessage, out: &mut Actions) {
        self.say(self.here, message(), out);
        self.say_to_others(message, out);
    }

    /// A sibling has applied changes up to a number.
    pub(super) fn sibling_applied(&mut self, now: Time, shard: ShardId, number: u64) {
        let Some(control) = &mut self.control else { return };
        if let Some(seen) = usize::from(shard.0).checked_sub(1).and_then(|other| control.applied.get_mut(other)) {
            *seen = number.max(*seen);
        }
        self.tell_applied(now);
    }

    fn tell_applied(&mut self, now: Time) {
        if let Some(control) = &mut self.control {
            let number = control.applied_everywhere_here();
            control.stirred = true;
            control.cluster.applied(now, number);
        }
    }

    /// On shard 0: a sibling's last connection has gone.
    pub(super) fn sibling_drained(&mut self) {
        if let Some(control) = &mut self.control {
            control.drained += 1;
        }
    }

    /// Whether this shard, whose last connection has gone, may stop. Shard 0 waits until the clients of all others have gone,
    /// and then until the cluster can do without the node, within the time for the drain.
    pub(super) fn may_stop(&mut self, now: Time, out: &mut Actions) -> bool {
        let Some(control) = &mut self.control else {
            self.say(crate::id::GATE, PeerMessage::Drained, out);
            return true;
        };
        let alone = control.drained >= control.applied.len();
        control.gathers = false;
        if alone && !std::mem::replace(&mut control.leaving, true) {
            control.stirred = true;
            control.cluster.drain(now);
            self.run_control(now, out);
        }
        self.left
    }

    /// A snapshot takes the place of all that this node knew: what differs is applied as changes.
    fn restore(&mut self, now: Time, state: State, out: &mut Actions) {
        let State { number, channels, left } = state;
        let wanted: BTreeMap<_, _> = channels.into_iter().collect();
        let gone = self.catalogue.range(None).filter(|(id, entry)| wanted.get(id) != Some(&entry.channel));
        let gone: Vec<_> = gone.map(|(id, _)| Command::Delete { id, why: Removal::Deleted }).collect();
        let new = wanted
            .into_iter()
            .filter(|(id, channel)| self.catalogue.get(*id).is_none_or(|entry| entry.channel != *channel));
        let new: Vec<_> = new.map(|(id, channel)| Command::Create { id, channel }).collect();
        // The last of all that is said has the snapshot's number, so that it is told as applied when all is.
        for command in gone.into_iter().chain(new) {
            self.apply(now, &command, out);
            self.say_to_others(|| PeerMessage::Apply(0, command.clone()), out);
        }
        let Some(control) = &mut self.control else { return };
        control.handed = number;
        let members = control.cluster.members().clone();
        self.say_to_others(|| PeerMessage::Members(number, Box::new(members.clone())), out);
        self.set_members(now, members, left, out);
        self.tell_applied(now);
    }

    fn begin_probe(&mut self, now: Time, out: &mut Actions) {
        let Some(control) = &mut self.control else { return };
        let dial = control.gate.next_dial();
        control.probe = Some(Probe::new(dial, now + self.config.dial_timeout + self.config.handshake_timeout));
        let address = NodeAddress { host: self.config.domain.clone(), port: Some(self.public_port) };
        out.push(Action::Dial { dial, address, over: Over::Api });
    }

    /// On shard 0: a shard wants a change. Limits are checked where it is proposed; `apply` itself reads no configuration.
    pub(super) fn propose_here(
        &mut self,
        now: Time,
        from: ShardId,
        ticket: Ticket,
        command: Command,
        address: Option<IpAddr>,
        out: &mut Actions,
    ) {
        let refusal =
            matches!(command, Command::Create { .. }).then(|| self.limit_on_create(now, address, out)).flatten();
        match (&mut self.control, refusal) {
            (Some(control), None) => {
                control.stirred = true;
                control.cluster.propose(now, from, ticket, command);
            }
            (_, refusal) => {
                let outcome = refusal.unwrap_or(Outcome::NoLeader);
                self.say(from, PeerMessage::Settled(ticket, outcome), out);
            }
        }
    }

    fn limit_on_create(&mut self, now: Time, address: Option<IpAddr>, out: &mut Actions) -> Option<Outcome> {
        if self.catalogue.len() as u64 >= self.config.channels_max {
            self.limit_reached(now, Limit::Channels, out);
            return Some(Outcome::Full);
        }
        if address.is_some_and(|from| self.create_rates.take(now, from).is_err()) {
            self.limit_reached(now, Limit::CreateRate, out);
            return Some(Outcome::TooOften);
        }
        None
    }
}

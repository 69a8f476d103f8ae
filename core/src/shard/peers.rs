//! What the shards of a cluster say to one another, and what each makes of it.

use super::Shard;
use super::clients::Joining;
use crate::action::Actions;
use crate::catalogue::{Command, Outcome, Removal};
use crate::event::Event;
use crate::home::{Full, Home, is_asked_for_seats};
use crate::id::{ChannelId, ClientId, GATE, Life};
use crate::links::Credit;
use crate::metrics::{Counter, Gauge};
use crate::peer::{Handed, PeerId, PeerMessage, Verdict};
use crate::router::WayBill;
use crate::time::Time;
use crate::wire::frame::CloseCode;

/// The epoch of an answer that no home has given: it counts in all.
const ANY_EPOCH: u64 = 0;

/// What a shard makes of a message.
enum Heard {
    /// It is dealt with.
    Done,
    /// It went on to this peer, whose window is full now.
    Full(PeerId),
    /// It is kept until this shard may decide; so is the credit for it.
    Kept,
}

/// Whose client or shard a message is for, where it is for one and says so. Clients of two nodes may have equal serial numbers.
fn life_of_addressee(message: &PeerMessage) -> Option<Life> {
    match message {
        PeerMessage::Seated { client, .. } | PeerMessage::OriginGone(client) => Some(client.life),
        PeerMessage::Deliver { to: (life, _), .. } | PeerMessage::Turns { to: (life, _), .. } => Some(*life),
        _ => None,
    }
}

impl Shard {
    /// One message from a peer, which may be this shard itself. Data from others is credited once it is dealt with.
    pub(super) fn heard(&mut self, now: Time, peer: PeerId, message: PeerMessage, out: &mut Actions) {
        let data = message.data().filter(|_| peer != self.me());
        let over = message.is_of_a_life() && self.falls.is_behind(peer) && !mutant!(HearsEarlierLives);
        let heard = if over { Heard::Done } else { self.hear(now, peer, message, out) };
        match (heard, data) {
            (Heard::Kept, _) | (Heard::Done | Heard::Full(_), None) => {}
            (Heard::Full(on), Some(bytes)) => self.router.links.keep_back(on, peer, bytes),
            (Heard::Done, Some(bytes)) => {
                let credit = self.router.links.dealt(peer, bytes);
                self.give_credit(credit, out);
            }
        }
    }

    /// This shard as its own peer.
    pub(super) fn me(&self) -> PeerId {
        PeerId::Shard(self.here)
    }

    fn hear(&mut self, now: Time, peer: PeerId, message: PeerMessage, out: &mut Actions) -> Heard {
        // What was asked in an epoch that is over is dropped: whoever asked asks again.
        let epoch = self.router.members.epoch();
        match &message {
            PeerMessage::Ask { epoch: asked, .. } | PeerMessage::Seat { epoch: asked, .. } => {
                if *asked < epoch {
                    return Heard::Done;
                }
                let ends_here = self.router.next_hop(&message).is_none();
                if *asked > epoch || (ends_here && !self.router.may_decide(now)) {
                    self.waiting.push_back((peer, message));
                    return Heard::Kept;
                }
            }
            // A home that is not open yet will hear of the client's seat later than of its leaving.
            PeerMessage::Leave(..)
                if self.router.next_hop(&message).is_none()
                    && (self.router.opened != epoch || !self.waiting.is_empty()) =>
            {
                self.waiting.push_back((peer, message));
                return Heard::Kept;
            }
            _ => {}
        }
        if let Some(next) = self.router.next_hop(&message) {
            return if self.router.is_gate() { self.relay(next, message, out) } else { Heard::Done };
        }
        if life_of_addressee(&message).is_some_and(|life| life != self.router.life) && !mutant!(AnswersForTheDead) {
            self.bury(&message, out);
            return Heard::Done;
        }
        self.take(now, peer, message, out)
    }

    /// At the gate: a message for a shard of a node that has died meanwhile, and with it whoever was to get it.
    fn bury(&mut self, message: &PeerMessage, out: &mut Actions) {
        if let PeerMessage::Deliver { from, to: (life, shard), epoch, handed, .. } = message {
            for Handed { serial, .. } in handed {
                let to = ClientId { life: *life, shard: *shard, serial: *serial };
                self.router.miss(WayBill { slot: None, from: *from, to, tell: epoch.is_none() }, out);
            }
        }
    }

    /// At the gate: a message that is for another shard or node.
    fn relay(&mut self, next: PeerId, message: PeerMessage, out: &mut Actions) -> Heard {
        self.router.forward(next, message, None, out);
        if self.router.links.is_full(next) { Heard::Full(next) } else { Heard::Done }
    }

    /// A message that ends here.
    fn take(&mut self, now: Time, peer: PeerId, message: PeerMessage, out: &mut Actions) -> Heard {
        match message {
            PeerMessage::Propose(ticket, command, from) => {
                if let PeerId::Shard(shard) = peer {
                    self.propose_here(now, shard, ticket, command, from, out);
                }
            }
            PeerMessage::Apply(number, command) => {
                self.apply(now, &command, out);
                self.say(GATE, PeerMessage::Applied(number), out);
            }
            PeerMessage::Applied(number) => {
                if let PeerId::Shard(shard) = peer {
                    self.sibling_applied(now, shard, number);
                }
            }
            PeerMessage::Settled(ticket, outcome) => self.settled(now, ticket, outcome, out),

            PeerMessage::Join { client, channel, from, pull, epoch } => {
                let message = self.count_in(client, channel, from, pull, epoch);
                if let Some(message) = message {
                    self.send_on(message, out);
                }
            }
            PeerMessage::Seat { client, channel, pull, epoch } => {
                let (verdict, stamp) = self.seat(client, channel, pull);
                self.send_on(PeerMessage::Seated { client, verdict, epoch, stamp }, out);
            }
            PeerMessage::Seated { client, verdict, epoch, stamp } => {
                // The answer of an epoch that is over counts for nothing: the seat is asked for again.
                if epoch >= self.router.sealed || epoch == ANY_EPOCH {
                    // That the node or the address is full is said before anything is counted.
                    let counted = !matches!(verdict, Verdict::NodeFull | Verdict::AddressFull);
                    self.seated(now, client, verdict, stamp, counted, out);
                }
            }
            PeerMessage::Leave(client, channel) => {
                if let Some(home) = self.router.homes.get_mut(&channel) {
                    home.leave(client);
                }
            }
            PeerMessage::Uncount(from) => {
                if let Some(control) = &mut self.control {
                    control.clients.leave(from);
                }
            }
            PeerMessage::Interest(channel) => match peer {
                PeerId::Shard(shard) => self.sibling_interested(shard, channel, out),
                PeerId::Node(life) => self.node_interested(life, channel, out),
            },
            PeerMessage::InterestNoted(channel) => match peer {
                PeerId::Shard(_) => self.interest_noted(channel, out),
                PeerId::Node(life) => self.node_noted(life, channel, out),
            },
            PeerMessage::Disinterest(channel, active) => match peer {
                PeerId::Shard(shard) => self.sibling_disinterested(shard, channel, active, out),
                PeerId::Node(life) => self.node_disinterested(life, channel, active, out),
            },
            PeerMessage::Abroad(channel, some) => {
                if let Some(local) = self.place(channel).and_then(|slot| self.router.roster.at(slot)) {
                    local.abroad = some;
                }
                if some {
                    self.say(GATE, PeerMessage::AbroadNoted(channel), out);
                }
            }
            PeerMessage::AbroadNoted(channel) => self.abroad_noted(channel, out),

            PeerMessage::Lease(until) => self.lease(now, until, out),
            PeerMessage::Out(count) => self.counted_out(now, peer, count, out),
            PeerMessage::Life(life) => self.router.life = life,
            PeerMessage::Members(number, members) => {
                self.set_members(now, *members, false, out);
                self.say(GATE, PeerMessage::Applied(number), out);
            }
            PeerMessage::Fail => self.fail(now, out),
            PeerMessage::Serves => self.shard_serves(peer),
            PeerMessage::Drained => self.sibling_drained(),
            PeerMessage::Operate(ticket, operation) => {
                if let PeerId::Shard(shard) = peer {
                    self.operate(now, shard, ticket, operation, out);
                }
            }
            PeerMessage::Operated(ticket, answer) => self.answer_operation(now, ticket, answer, out),
            PeerMessage::Held(step, life, epoch) => self.held(peer, step, (life, epoch), out),
            PeerMessage::HeldAbroad(step, life, epoch) => self.held_abroad(step, (life, epoch), out),
            PeerMessage::Sealed(epoch, ledger) => {
                if let PeerId::Shard(shard) = peer {
                    self.sealed(shard, epoch, *ledger, out);
                }
            }
            PeerMessage::Reported { epoch, ledger, more } => {
                if let PeerId::Node(life) = peer {
                    self.reported(life, epoch, *ledger, more, out);
                }
            }
            PeerMessage::Opened(epoch, ledger) => self.open(now, epoch, *ledger, out),

            PeerMessage::Survey(ticket, channels) => self.asked_for_tallies(peer, ticket, channels, out),
            PeerMessage::Surveyed(ticket, tallies) => self.surveyed(now, ticket, peer, &tallies, out),
            PeerMessage::Measure(ticket) => {
                let metrics = Box::new(self.router.metrics.clone());
                self.router.forward(peer, PeerMessage::Measured(ticket, metrics), None, out);
            }
            PeerMessage::Measured(ticket, metrics) => self.measured(now, ticket, &metrics, out),

            PeerMessage::Publish { channel, frames, from, back } => {
                if let Some(full) = self.router.land(channel, &frames, from, back, out) {
                    return Heard::Full(full);
                }
            }
            PeerMessage::Ask { channel, from, wish, count, number, epoch } => {
                self.router.ask((channel, wish), from, count, (number, epoch), out);
            }
            PeerMessage::Turns { number, epoch, turns, .. } => {
                self.router.taken(number, epoch, &turns, out);
                let resumed = self.router.asks.resumed();
                self.resume_all(resumed, out);
            }
            PeerMessage::Deliver { channel, frames, from, to, epoch, handed } => {
                self.seat_the_chosen(now, epoch, &handed, out);
                self.router.deliver((channel, from), epoch, (to, handed), &frames, out);
            }
            PeerMessage::OriginGone(client) => self.router.origin_gone(client, out),
            PeerMessage::Credit(bytes) => {
                let (resumed, credits) = self.router.links.credited(peer, bytes);
                self.resume_all(resumed, out);
                self.give_credit(credits, out);
            }
        }
        Heard::Done
    }

    /// Whoever's turn it is has a seat: the message may come sooner than the home's word of that, as it comes another way.
    fn seat_the_chosen(&mut self, now: Time, epoch: Option<u64>, handed: &[Handed], out: &mut Actions) {
        if self.joining.is_empty() || epoch.is_none_or(|epoch| epoch < self.router.sealed) || mutant!(TurnsSeatNobody) {
            return;
        }
        for Handed { serial, stamp, .. } in handed {
            if let Some(client) = self.joining.get(serial).filter(|joining| joining.has_asked()).map(Joining::client) {
                self.seated(now, client, Verdict::Seated, Some(*stamp), true, out);
            }
        }
    }

    /// Sends a message that says itself where it goes.
    pub(super) fn send_on(&mut self, message: PeerMessage, out: &mut Actions) {
        let next = self.router.next_hop(&message).unwrap_or(self.me());
        self.router.forward(next, message, None, out);
    }

    pub(super) fn give_credit(&mut self, credits: impl IntoIterator<Item = Credit>, out: &mut Actions) {
        for (peer, bytes) in credits {
            self.router.forward(peer, PeerMessage::Credit(bytes), None, out);
        }
    }

    /// Sockets whose messages are no longer too many go on, if nothing else is against it.
    pub(super) fn resume_all(&mut self, conns: impl IntoIterator<Item = crate::id::ConnId>, out: &mut Actions) {
        for conn in conns {
            if let Some(session) = self.sessions.take(conn) {
                self.resume(&session, out);
                self.put_back(session);
            }
        }
    }

    /// What waited until this shard may decide has its turn.
    pub(super) fn go_through_waiting(&mut self, now: Time, out: &mut Actions) {
        for (peer, message) in std::mem::take(&mut self.waiting) {
            self.heard(now, peer, message, out);
        }
    }

    /// On shard 0: counts one more client of the node. What is to be said about its seat: an answer, or the question to the
    /// channel's home where one has to decide. Each shard asks once in an epoch, so that no seat is given to who was refused.
    fn count_in(
        &mut self,
        client: ClientId,
        channel: ChannelId,
        from: std::net::IpAddr,
        pull: bool,
        epoch: u64,
    ) -> Option<PeerMessage> {
        let counted = self.control.as_mut().map_or(Ok(()), |control| control.clients.enter(from));
        if client.life != self.router.life && !mutant!(HearsEarlierLives) {
            // Its shard has told it, or is about to, that the node was counted out.
            return None;
        }
        let answer = |verdict| Some(PeerMessage::Seated { client, verdict, epoch: ANY_EPOCH, stamp: None });
        match (counted, self.catalogue.get(channel)) {
            (Err(verdict), _) => answer(verdict),
            (Ok(()), None) => answer(Verdict::Absent),
            (Ok(()), Some(entry)) if !is_asked_for_seats(&entry.channel, pull) => answer(Verdict::Seated),
            (Ok(()), Some(_)) if epoch < self.router.members.epoch() => None,
            (Ok(()), Some(_)) => Some(PeerMessage::Seat { client, channel, pull, epoch }),
        }
    }

    /// Applies a change to this shard's copy of the catalogue, and to what hangs on it.
    pub(super) fn apply(&mut self, now: Time, command: &Command, out: &mut Actions) -> Outcome {
        let mut removed = Vec::new();
        let before = self.catalogue.len();
        let outcome = self.catalogue.apply(now, command, |id, why| removed.push((id, why)));
        if let (Command::Create { id, .. }, Outcome::Created) = (command, outcome)
            && self.router.is_home(*id)
        {
            self.router.homes.insert(*id, Home::default());
            self.start_countdown(now, *id);
        }
        if let Command::Node(change) = command {
            let before: Vec<Life> = self.router.members.lives().collect();
            if self.router.members.apply(change) {
                self.lives_changed(now, &before, out);
            }
        }
        for (id, why) in removed {
            let code = match why {
                Removal::Deleted => CloseCode::CHANNEL_DELETED,
                Removal::TimedOut => CloseCode::CHANNEL_TIMED_OUT,
            };
            self.close_channel(now, id, code, out);
        }
        if self.here.0 == 0 {
            self.count_change(command, outcome, before, out);
        }
        outcome
    }

    /// On shard 0: figures and log tell of each change once per node.
    fn count_change(&mut self, command: &Command, outcome: Outcome, before: usize, out: &mut Actions) {
        self.router.metrics.set(Gauge::Channels, self.catalogue.len() as u64);
        match (command, outcome) {
            (Command::Create { id, channel }, Outcome::Created) => {
                self.router.metrics.add(Counter::ChannelsCreated, 1);
                self.report(Event::ChannelCreated { channel: *id, pattern: channel.pattern }, out);
            }
            (Command::Delete { id, why }, Outcome::Deleted) => {
                let timed_out = *why == Removal::TimedOut;
                let counter = if timed_out { Counter::ChannelsTimedOut } else { Counter::ChannelsDeleted };
                self.router.metrics.add(counter, 1);
                self.report(Event::ChannelDeleted { channel: *id, timed_out }, out);
            }
            (Command::Reset, _) => {
                self.router.metrics.add(Counter::ChannelsDeleted, before as u64);
                self.report(Event::AllChannelsDeleted { channels: before as u64 }, out);
            }
            _ => {}
        }
    }

    /// At the home: one seat, if there is one, and its place in the queue.
    fn seat(&mut self, client: ClientId, channel: ChannelId, pull: bool) -> (Verdict, Option<u64>) {
        let (Some(entry), Some(home)) = (self.catalogue.get(channel), self.router.homes.get_mut(&channel)) else {
            return (Verdict::Absent, None);
        };
        // Clients of a life that has ended may still hold seats that nobody here knows of.
        if entry.channel.client_limit.is_some()
            && self.router.members.lingering().next().is_some()
            && !mutant!(IgnoresLingering)
        {
            return (Verdict::Undecided, None);
        }
        match home.seat(&entry.channel, client, pull) {
            Ok(stamp) => (Verdict::Seated, stamp),
            Err(Full) => (Verdict::ChannelFull, None),
        }
    }
}

//! What the shards of a node say to one another, and what each makes of it.

use super::{Shard, Wake};
use crate::action::Actions;
use crate::catalogue::{Command, Outcome, Removal};
use crate::event::Event;
use crate::home::Home;
use crate::id::{ChannelId, ClientId, ShardId};
use crate::metrics::{Counter, Gauge, Limit};
use crate::peer::{Leg, PeerMessage, Verdict};
use crate::time::Time;
use crate::wire::frame::CloseCode;

impl Shard {
    /// One message from a shard, which may be this one. Data from another shard is credited once it is dealt with.
    pub(super) fn heard(&mut self, now: Time, peer: ShardId, message: PeerMessage, out: &mut Actions) {
        let mut data = message.data().filter(|_| peer != self.here);
        match message {
            PeerMessage::Propose(ticket, command, from) => {
                let outcome = self.decide(now, &command, from, out);
                let number = self.control.as_mut().and_then(|control| control.committed(peer, ticket, outcome));
                if let Some(number) = number {
                    self.say_to_others(|| PeerMessage::Apply(number, command.clone()), out);
                }
                self.settle(out);
            }
            PeerMessage::Apply(number, command) => {
                self.apply(now, &command, out);
                self.say(peer, PeerMessage::Applied(number), out);
            }
            PeerMessage::Applied(number) => {
                if let Some(control) = &mut self.control {
                    control.applied(peer, number);
                }
                self.settle(out);
            }
            PeerMessage::Settled(ticket, outcome) => self.settled(now, ticket, outcome, out),

            PeerMessage::Join { client, channel, from, pull } => {
                let counted = self.control.as_mut().map_or(Ok(()), |control| control.count(from));
                match counted {
                    Ok(()) => self.say(self.router.home(channel), PeerMessage::Seat { client, channel, pull }, out),
                    Err(verdict) => {
                        let answer = PeerMessage::Seated { client, verdict, epoch: 0, stamp: None };
                        self.say(client.shard, answer, out);
                    }
                }
            }
            PeerMessage::Seat { client, channel, pull } => {
                let verdict = self.seat(client, channel, pull);
                self.say(client.shard, PeerMessage::Seated { client, verdict, epoch: 0, stamp: None }, out);
            }
            PeerMessage::Seated { client, verdict, .. } => {
                // That the node or the address is full is said before anything is counted.
                let counted = !matches!(verdict, Verdict::NodeFull | Verdict::AddressFull);
                self.seated(now, client, verdict, counted, out);
            }
            PeerMessage::Leave(client, channel) => {
                if let Some(home) = self.router.homes.get_mut(&channel) {
                    home.leave(client);
                }
            }
            PeerMessage::Uncount(from) => {
                if let Some(control) = &mut self.control {
                    control.uncount(from);
                }
            }
            PeerMessage::Interest(channel) => {
                if let Some(slot) = self.place(channel)
                    && let Some(local) = self.router.roster.at(slot)
                {
                    local.elsewhere.insert(peer);
                }
                self.say(peer, PeerMessage::InterestNoted(channel), out);
            }
            PeerMessage::InterestNoted(channel) => {
                for serial in self.router.roster.noted(channel) {
                    self.ask_for_seat(serial, out);
                }
            }
            PeerMessage::Disinterest(channel, active) => {
                if let Some(slot) = self.router.roster.find(channel)
                    && let Some(local) = self.router.roster.at(slot)
                {
                    local.elsewhere.remove(&peer);
                    local.active = local.active.max(active);
                }
            }

            PeerMessage::Survey(ticket, channels) => {
                let tallies = channels.into_iter().map(|channel| self.tally(channel)).collect();
                self.say(peer, PeerMessage::Surveyed(ticket, tallies), out);
            }
            PeerMessage::Surveyed(ticket, tallies) => self.surveyed(now, ticket, peer, &tallies, out),
            PeerMessage::Measure(ticket) => {
                let metrics = Box::new(self.router.metrics.clone());
                self.say(peer, PeerMessage::Measured(ticket, metrics), out);
            }
            PeerMessage::Measured(ticket, metrics) => self.measured(now, ticket, &metrics, out),

            PeerMessage::Publish { channel, frames, from, back } => {
                self.router.land(channel, &frames, from, back, out);
            }
            PeerMessage::Ask { channel, frame, from, wish, number: _ } => {
                let full = self.router.ask(channel, frame, from, wish, None, out);
                if let (Some(on), Some((_, bytes))) = (full, data) {
                    // The credit for it waits until the shard that it went on to has room again.
                    self.router.links.keep_back(on, peer, bytes);
                    data = None;
                }
            }
            PeerMessage::Deliver { channel, frame, from, to, tell, decision: _ } => {
                self.router.deliver(channel, frame, from, to, tell, out);
            }
            PeerMessage::Refused(client, why) => self.router.refused(client, why, out),
            PeerMessage::Abroad(..)
            | PeerMessage::AbroadNoted(_)
            | PeerMessage::Lease(_)
            | PeerMessage::Sealed(..)
            | PeerMessage::Reported { .. }
            | PeerMessage::Opened(..)
            | PeerMessage::Told(..)
            | PeerMessage::Stamped { .. } => {}
            PeerMessage::Credit(leg, bytes) => self.credited(peer, leg, bytes, out),
        }
        if let Some((leg, bytes)) = data {
            self.router.links.dealt(peer, leg, bytes, out);
        }
    }

    fn credited(&mut self, peer: ShardId, leg: Leg, bytes: usize, out: &mut Actions) {
        for conn in self.router.links.credited(peer, leg, bytes, out) {
            if let Some(session) = self.sessions.take(conn) {
                self.resume(&session, out);
                self.put_back(session);
            }
        }
    }

    /// On shard 0: limits are checked where a change is proposed; `apply` itself reads no configuration.
    fn decide(&mut self, now: Time, command: &Command, from: Option<std::net::IpAddr>, out: &mut Actions) -> Outcome {
        if matches!(command, Command::Create { .. }) {
            if self.catalogue.len() as u64 >= self.config.channels_max {
                self.limit_reached(now, Limit::Channels, out);
                return Outcome::Full;
            }
            if from.is_some_and(|from| self.create_rates.take(now, from).is_err()) {
                self.limit_reached(now, Limit::CreateRate, out);
                return Outcome::TooOften;
            }
        }
        self.apply(now, command, out)
    }

    /// Applies a change to this shard's copy of the catalogue, and to what hangs on it.
    fn apply(&mut self, now: Time, command: &Command, out: &mut Actions) -> Outcome {
        let mut removed = Vec::new();
        let before = self.catalogue.len();
        let outcome = self.catalogue.apply(now, command, |id, why| removed.push((id, why)));
        if let (Command::Create { id, channel }, Outcome::Created) = (command, outcome)
            && self.router.home(*id) == self.here
        {
            let mut home = Home::default();
            let at = channel.timeout_ms.map(|timeout| now + std::time::Duration::from_millis(timeout));
            self.timers.set(&mut home.timer, Wake::Channel(*id), at.filter(|at| *at < Time::MAX));
            self.router.homes.insert(*id, home);
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

    fn settle(&mut self, out: &mut Actions) {
        while let Some((shard, ticket, outcome)) = self.control.as_mut().and_then(|control| control.settle()) {
            self.say(shard, PeerMessage::Settled(ticket, outcome), out);
        }
    }

    /// At the home: one seat, if there is one.
    fn seat(&mut self, client: ClientId, channel: ChannelId, pull: bool) -> Verdict {
        match (self.catalogue.get(channel), self.router.homes.get_mut(&channel)) {
            (Some(entry), Some(home)) => match home.seat(&entry.channel, client, pull) {
                true => Verdict::Seated,
                false => Verdict::ChannelFull,
            },
            _ => Verdict::Absent,
        }
    }
}

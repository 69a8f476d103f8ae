//! What a pattern must decide: the sender's shard asks the channel's home, the home chooses, the receiver's shard gives.
//!
//! What one read brings for one home is one message to it, and what that decides for the clients of one shard is one message
//! to that. The sender's shard keeps each message until it has heard that it is over.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::{RUN_MAX, Router, Sender, WayBill};
use crate::action::{Action, Actions};
use crate::asks::Question;
use crate::id::{ChannelId, ClientId, ConnId, Life, ShardId};
use crate::metrics::Counter;
use crate::peer::{AskId, Handed, Leg, PeerId, PeerMessage, Undelivered, Wish, Wishes};
use crate::time::Time;
use crate::wire::frame;

/// Frames from this size on are not copied to travel with others, in bytes.
const LARGE: usize = 4 << 10;
/// Bytes that a message for the clients of one shard is begun with.
const SHARE: usize = 4 << 10;
/// Messages whose fate is told at once to one asker.
const GIVEN_MAX: usize = 1024;

/// What of a run goes to the clients of one shard elsewhere.
#[derive(Debug)]
pub(super) struct Share {
    to: (Life, ShardId),
    handed: Vec<Handed>,
    frames: Frames,
}

#[derive(Debug)]
enum Frames {
    /// Small ones, one after another.
    Gathered(BytesMut),
    /// A large one, where it is.
    Alone(Bytes),
}

/// What a home makes of a message.
enum Choice {
    /// This client gets it. Its new stamp, and that of a sender that was passed over.
    To { client: ClientId, stamp: Option<u64>, passed: Option<u64> },
    /// There is nobody.
    Nobody,
    /// The channel is gone.
    Gone,
}

impl Router {
    /// Hands messages to the channel's home: decided at once where that is this shard, kept until their fate is told where
    /// not. What was asked comes back if it is not kept.
    pub(super) fn wish(
        &mut self,
        now: Time,
        sender: Sender,
        frames: &Bytes,
        question: Question,
        out: &mut Actions,
    ) -> Option<Question> {
        if self.is_home(question.channel) && !self.asks.is_held() && self.may_decide(now) {
            self.decide_own(sender, frames, &question, out);
            return Some(question);
        }
        let number = self.asks.add(question.clone(), frames.clone());
        self.pause_if_full(sender.conn, out);
        if !self.asks.is_held() {
            self.send_asks(question, number, frames.clone(), Some(sender.conn), out);
        }
        None
    }

    /// Messages of this shard that this shard decides: nothing is kept of those whose receiver is here too, up to the first
    /// whose receiver is not.
    fn decide_own(&mut self, sender: Sender, frames: &Bytes, question: &Question, out: &mut Actions) {
        let Question { channel, from, wishes } = question;
        let (channel, from, tell) = (*channel, *from, matches!(wishes, Wishes::Replies(_)));
        // From which place on they are kept, and under which number.
        let mut kept: Option<(usize, u64)> = None;
        for (index, range) in frame::ranges(frames).enumerate() {
            let Some(wish) = wishes.at(index) else { break };
            let choice = self.choose(channel, from, wish);
            if let Choice::To { client: to, stamp, passed } = choice {
                self.pass(from, passed, out);
                if !self.is_of_here(to) || self.has_more_to_hear() {
                    let (start, first) = *kept.get_or_insert_with(|| {
                        let part = wishes.part(index, usize::MAX);
                        let part = Question { channel, from, wishes: part };
                        (index, self.asks.add(part, frames.slice(range.start..)))
                    });
                    let number = first + (index - start) as u64;
                    self.decided.note(AskId { life: from.life, shard: from.shard, number }, to.life);
                    self.share(to, Handed { serial: to.serial, number, stamp }, frames, range);
                    continue;
                }
            }
            match (kept, &choice) {
                (Some((start, first)), _) => self.asks.close(first + (index - start) as u64),
                (None, Choice::To { .. }) => self.asks.given_at_once(from),
                (None, _) => {}
            }
            match choice {
                Choice::To { client: to, stamp, .. } => {
                    self.give(WayBill { slot: Some(sender.slot), from, to, tell }, stamp, frames.slice(range), out);
                }
                Choice::Nobody => self.refuse(sender, Undelivered::NoRecipient, out),
                Choice::Gone => self.metrics.add(Counter::Undelivered, 1),
            }
        }
        self.pause_if_full(sender.conn, out);
        self.send_shares((channel, from, tell), Some(self.opened), Some(sender.conn), out);
    }

    /// Whether a client is, or was, one of this shard: there is no way to another.
    fn is_of_here(&self, client: ClientId) -> bool {
        self.toward(client.life, client.shard).is_none_or(|peer| peer == PeerId::Shard(self.here))
    }

    /// Brings replies that no home has to decide to their origins.
    pub(super) fn reply(&mut self, sender: Sender, frames: &Bytes, out: &mut Actions) {
        let Sender { client: from, conn, channel, .. } = sender;
        let mut origins = std::mem::take(&mut self.origins);
        for (to, range) in origins.drain(..).zip(frame::ranges(frames)) {
            let way = WayBill { slot: Some(sender.slot), from, to, tell: true };
            match self.toward(to.life, to.shard) {
                Some(PeerId::Shard(shard)) if shard == self.here && !self.has_more_to_hear() => {
                    self.give(way, None, frames.slice(range), out);
                }
                Some(_) => self.share(to, Handed { serial: to.serial, number: 0, stamp: None }, frames, range),
                None => self.miss(way, out),
            }
        }
        self.origins = origins;
        self.send_shares((channel, from, true), None, Some(conn), out);
    }

    /// Whether this shard has said something to itself that it has not heard yet. That a client has its seat may be among it,
    /// and what the client is given comes behind.
    pub(super) fn has_more_to_hear(&self) -> bool {
        !self.inbox.is_empty() && !mutant!(OvertakesSeats)
    }

    fn pause_if_full(&mut self, conn: ConnId, out: &mut Actions) {
        if self.asks.is_full() && self.asks.pause(conn) {
            self.metrics.add(Counter::Paused, 1);
            out.push(Action::Pause { conn });
        }
    }

    /// Asks about messages with numbers from `number` on.
    fn send_asks(&mut self, question: Question, number: u64, frames: Bytes, source: Option<ConnId>, out: &mut Actions) {
        let Question { channel, from, wishes } = question;
        // Without a home they stay open; they are asked again when there is one.
        if let Some(home) = self.home(channel) {
            let epoch = self.members.epoch();
            self.forward(home, PeerMessage::Ask { channel, frames, from, wishes, number, epoch }, source, out);
        }
    }

    /// The homes of a new epoch are open: all that is open is asked again, in order.
    pub fn ask_again(&mut self, out: &mut Actions) {
        self.asks.hold(false);
        if mutant!(AsksNothingAgain) {
            return;
        }
        for (number, question, frames) in self.asks.open() {
            self.send_asks(question, number, frames, None, out);
        }
    }

    fn choose(&mut self, channel: ChannelId, from: ClientId, wish: Wish) -> Choice {
        let Some(home) = self.homes.get_mut(&channel) else { return Choice::Gone };
        let turn = match wish {
            Wish::Reply(origin) => return Choice::To { client: origin, stamp: None, passed: None },
            Wish::Pull => home.queue.choose(from),
            Wish::Request => home.queue.choose_other(from),
        };
        match (turn, wish) {
            (Some(turn), _) => Choice::To { client: turn.client, stamp: Some(turn.stamp), passed: turn.passed },
            (None, Wish::Pull) => Choice::To { client: from, stamp: None, passed: None },
            (None, _) => Choice::Nobody,
        }
    }

    /// The home has put a sender behind the others: its shard keeps the new place.
    fn pass(&mut self, client: ClientId, stamp: Option<u64>, out: &mut Actions) {
        let Some(stamp) = stamp else { return };
        match self.toward(client.life, client.shard) {
            Some(PeerId::Shard(shard)) if shard == self.here => self.roster.stamp(client.serial, stamp),
            Some(peer) => {
                let epoch = self.opened;
                self.forward(peer, PeerMessage::Stamped { client, epoch, stamp }, None, out);
            }
            None => {}
        }
    }

    /// At the home: who gets each of these messages, the first of which has this number? Says to which peer some went on,
    /// if that one's window is full now.
    pub fn ask(&mut self, question: &Question, number: u64, frames: &Bytes, out: &mut Actions) -> Option<PeerId> {
        let Question { channel, from, wishes } = question;
        let (channel, from, tell) = (*channel, *from, matches!(wishes, Wishes::Replies(_)));
        let (asker, slot) = ((from.life, from.shard), self.roster.find(channel));
        for (index, range) in frame::ranges(frames).enumerate() {
            let Some(wish) = wishes.at(index) else { break };
            let number = number.saturating_add(index as u64);
            match self.choose(channel, from, wish) {
                Choice::To { client: to, stamp, passed } => {
                    self.pass(from, passed, out);
                    let id = AskId { life: from.life, shard: from.shard, number };
                    self.decided.note(id, to.life);
                    let way = WayBill { slot, from, to, tell };
                    match self.toward(to.life, to.shard) {
                        Some(PeerId::Shard(shard)) if shard == self.here && !self.has_more_to_hear() => {
                            self.given.note(id, ());
                            self.tell_over(asker, [number], out);
                            self.give(way, stamp, frames.slice(range), out);
                        }
                        Some(_) => self.share(to, Handed { serial: to.serial, number, stamp }, frames, range),
                        None => {
                            self.tell_over(asker, [number], out);
                            self.miss(way, out);
                        }
                    }
                }
                Choice::Nobody => {
                    self.send_refusal(from, Undelivered::NoRecipient, out);
                    self.tell_over(asker, [number], out);
                }
                Choice::Gone => {
                    // Word of the channel's end, and a close with a code, is on its way to everybody on it.
                    self.metrics.add(Counter::Undelivered, 1);
                    self.tell_over(asker, [number], out);
                }
            }
        }
        self.send_shares((channel, from, tell), Some(self.opened), None, out)
    }

    /// Puts one of these frames with those that go to the same shard.
    fn share(&mut self, to: ClientId, handed: Handed, frames: &Bytes, range: Range<usize>) {
        let place = (to.life, to.shard);
        let Some(frame) = frames.get(range.clone()).filter(|frame| frame.len() < LARGE) else {
            let frames = Frames::Alone(frames.slice(range));
            return self.shares.push(Share { to: place, handed: vec![handed], frames });
        };
        // Behind what went there last, so that order is kept.
        match self.shares.iter_mut().rev().find(|share| share.to == place) {
            Some(Share { handed: others, frames: Frames::Gathered(bytes), .. }) if others.len() < RUN_MAX => {
                others.push(handed);
                bytes.extend_from_slice(frame);
            }
            _ => {
                let mut bytes = BytesMut::with_capacity(SHARE.min(frames.len()).max(frame.len()));
                bytes.extend_from_slice(frame);
                self.shares.push(Share { to: place, handed: vec![handed], frames: Frames::Gathered(bytes) });
            }
        }
    }

    /// Sends the messages of a run to their receivers' shards; they were decided in this epoch, or by nobody. Says which
    /// window is full now, if one is.
    fn send_shares(
        &mut self,
        (channel, from, tell): (ChannelId, ClientId, bool),
        epoch: Option<u64>,
        source: Option<ConnId>,
        out: &mut Actions,
    ) -> Option<PeerId> {
        let mut full = None;
        let mut shares = std::mem::take(&mut self.shares);
        for Share { to, handed, frames } in shares.drain(..) {
            let Some(peer) = self.toward(to.0, to.1) else { continue };
            let frames = match frames {
                Frames::Gathered(bytes) => bytes.freeze(),
                Frames::Alone(frame) => frame,
            };
            self.forward(peer, PeerMessage::Deliver { channel, frames, from, to, epoch, handed, tell }, source, out);
            full = self.links.is_full(peer, Leg::Land).then_some(peer).or(full);
        }
        self.shares = shares;
        full
    }

    /// At the receivers' shard: no further hop. What was decided in an epoch that is sealed here is dropped, since it is asked
    /// again.
    pub fn deliver(
        &mut self,
        (channel, from, tell): (ChannelId, ClientId, bool),
        epoch: Option<u64>,
        (to, handed): ((Life, ShardId), &[Handed]),
        frames: &Bytes,
        out: &mut Actions,
    ) {
        if epoch.is_some_and(|epoch| epoch < self.sealed) {
            return;
        }
        if epoch.is_some() {
            let (life, shard) = (from.life, from.shard);
            for Handed { number, .. } in handed {
                self.given.note(AskId { life, shard, number: *number }, ());
            }
            self.tell_over((life, shard), handed.iter().map(|handed| handed.number), out);
        }
        let slot = self.roster.find(channel);
        for (Handed { serial, stamp, .. }, range) in handed.iter().zip(frame::ranges(frames)) {
            let to = ClientId { life: to.0, shard: to.1, serial: *serial };
            self.give(WayBill { slot, from, to, tell }, *stamp, frames.slice(range), out);
        }
    }

    /// A message of this shard was decided for a client whose node has gone since: whoever replied to it is told.
    pub fn origin_lost(&mut self, number: u64, out: &mut Actions) {
        if let Some(from) = self.asks.replier(number)
            && !mutant!(LosesReplies)
        {
            self.refused(from, Undelivered::OriginGone, out);
        }
    }

    /// The shard that asked will be told that these are over: at the end of the turn, with others.
    fn tell_over(&mut self, asker: (Life, ShardId), numbers: impl IntoIterator<Item = u64>, out: &mut Actions) {
        let at = self.over.iter().position(|(of, _)| *of == asker).unwrap_or_else(|| {
            self.over.push((asker, Vec::new()));
            self.over.len() - 1
        });
        let Some((_, over)) = self.over.get_mut(at) else { return };
        over.extend(numbers);
        if over.len() >= GIVEN_MAX {
            self.say_over(out);
        }
    }

    /// Tells all who asked what is over.
    pub fn say_over(&mut self, out: &mut Actions) {
        let mut over = std::mem::take(&mut self.over);
        for (asker, mut numbers) in over.drain(..) {
            let Some(peer) = self.toward(asker.0, asker.1) else { continue };
            while numbers.len() > GIVEN_MAX {
                let behind = numbers.split_off(GIVEN_MAX);
                self.forward(peer, PeerMessage::Given(asker, numbers), None, out);
                numbers = behind;
            }
            self.forward(peer, PeerMessage::Given(asker, numbers), None, out);
        }
        self.over = over;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::wire::frame::OpCode;

    #[test]
    fn a_run_with_the_last_numbers_there_are_harms_nobody() {
        let life = Life(1);
        let mut router = Router::new(ShardId(0), life, &Config::default());
        let from = ClientId { life, shard: ShardId(0), serial: 1 };
        let question = Question { channel: ChannelId::from_bits(1, 4), from, wishes: Wishes::Pull };
        let mut frames = BytesMut::new();
        (0..3).for_each(|_| frame::encode(&mut frames, OpCode::Text, b"x"));
        assert_eq!(router.ask(&question, u64::MAX - 1, &frames.freeze(), &mut Actions::new()), None);
    }

    #[test]
    fn what_was_decided_in_an_epoch_that_is_sealed_here_is_refused() {
        let life = Life(1);
        let mut router = Router::new(ShardId(0), life, &Config::default());
        let [from, to] = [1, 2].map(|serial| ClientId { life, shard: ShardId(0), serial });
        router.sealed = 2;
        let mut frames = BytesMut::new();
        frame::encode(&mut frames, OpCode::Text, b"x");
        let frames = frames.freeze();
        let mut deliver = |epoch| {
            let handed = [Handed { serial: to.serial, number: 7, stamp: None }];
            let way = (ChannelId::from_bits(1, 4), from, false);
            router.deliver(way, Some(epoch), ((life, ShardId(0)), &handed), &frames, &mut Actions::new());
            router.given.iter().count()
        };
        assert_eq!(deliver(1), 0, "its asker is told nothing, and asks again");
        assert_eq!(deliver(2), 1);
    }
}

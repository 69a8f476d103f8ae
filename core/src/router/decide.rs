//! What a pattern must decide: the sender's shard asks the channel's home, the home chooses, the receiver's shard gives.
//!
//! What one read brings for one home is one message to it, and what that decides for the clients of one shard is one message
//! to that. The sender's shard keeps each message until it has heard that it is over.

use bytes::{Bytes, BytesMut};

use super::{Router, Sender, WayBill};
use crate::action::{Action, Actions};
use crate::asks::{Ask, Question};
use crate::id::{ClientId, ConnId, Life, ShardId};
use crate::metrics::Counter;
use crate::peer::{AskId, Decision, Handed, Leg, PeerId, PeerMessage, Undelivered, Wish};
use crate::time::Time;
use crate::wire::frame;

/// Frames from this size on are not copied to travel with others, in bytes.
const LARGE: usize = 4 << 10;
/// Messages whose fate is told at once to one asker.
const GIVEN_MAX: usize = 1024;

/// What of a run goes to the clients of one shard elsewhere.
#[derive(Debug)]
pub(super) struct Share {
    to: (Life, ShardId),
    handed: Vec<Handed>,
    frames: Vec<Bytes>,
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
    /// not.
    pub(super) fn wish(&mut self, now: Time, sender: Sender, frames: &Bytes, wish: Wish, out: &mut Actions) {
        let Sender { client: from, conn, channel, .. } = sender;
        let question = Question { channel, from, wish };
        if self.is_home(channel) && !self.asks.is_held() && self.may_decide(now) {
            return self.decide_own(sender, frames, question, out);
        }
        let mut first = None;
        for frame in frame::whole(frames) {
            let number = self.asks.add(Ask { question, frame });
            first.get_or_insert(number);
        }
        self.pause_if_full(conn, out);
        if let Some(number) = first.filter(|_| !self.asks.is_held()) {
            self.send_asks(question, number, frames.clone(), Some(conn), out);
        }
    }

    /// Messages of this shard that this shard decides: nothing is kept of those whose receiver is here too.
    fn decide_own(&mut self, sender: Sender, frames: &Bytes, question: Question, out: &mut Actions) {
        let Sender { client: from, conn, channel, .. } = sender;
        let tell = matches!(question.wish, Wish::Reply(_));
        for frame in frame::whole(frames) {
            match self.choose(question) {
                Choice::To { client: to, stamp, passed } => {
                    self.pass(from, passed, out);
                    let is_here = self.toward(to.life, to.shard).is_none_or(|peer| peer == PeerId::Shard(self.here));
                    if !is_here || self.has_more_to_hear() {
                        let number = self.asks.add(Ask { question, frame: frame.clone() });
                        self.decided.note(AskId { life: from.life, shard: from.shard, number }, to.life);
                        self.share(to, frame, Decision { epoch: self.opened, number, stamp });
                    } else {
                        self.asks.given_at_once(from);
                        self.give(WayBill { channel, from, to, tell }, stamp, frame, out);
                    }
                }
                Choice::Nobody => self.refuse(sender, Undelivered::NoRecipient, out),
                Choice::Gone => self.metrics.add(Counter::Undelivered, 1),
            }
        }
        self.pause_if_full(conn, out);
        self.send_shares(question, Some(conn), out);
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
        let Question { channel, from, wish } = question;
        // Without a home they stay open; they are asked again when there is one.
        if let Some(home) = self.home(channel) {
            let epoch = self.members.epoch();
            self.forward(home, PeerMessage::Ask { channel, frames, from, wish, number, epoch }, source, out);
        }
    }

    /// The homes of a new epoch are open: all that is open is asked again, in order.
    pub fn ask_again(&mut self, out: &mut Actions) {
        self.asks.hold(false);
        if mutant!(AsksNothingAgain) {
            return;
        }
        let open: Vec<(u64, Ask)> = self.asks.open().map(|(number, ask)| (number, ask.clone())).collect();
        for (number, Ask { question, frame }) in open {
            self.send_asks(question, number, frame, None, out);
        }
    }

    fn choose(&mut self, Question { channel, from, wish }: Question) -> Choice {
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
    pub fn ask(&mut self, question: Question, number: u64, frames: &Bytes, out: &mut Actions) -> Option<PeerId> {
        let Question { channel, from, wish } = question;
        let tell = matches!(wish, Wish::Reply(_));
        for (index, frame) in (0..).zip(frame::whole(frames)) {
            let number = number.saturating_add(index);
            let id = AskId { life: from.life, shard: from.shard, number };
            match self.choose(question) {
                Choice::To { client: to, stamp, passed } => {
                    self.pass(from, passed, out);
                    self.decided.note(id, to.life);
                    let way = WayBill { channel, from, to, tell };
                    let decision = Decision { epoch: self.opened, number, stamp };
                    match self.toward(to.life, to.shard) {
                        Some(PeerId::Shard(shard)) if shard == self.here && !self.has_more_to_hear() => {
                            self.deliver(way, frame, Some(decision), out);
                        }
                        Some(_) => self.share(to, frame, decision),
                        None => {
                            self.tell_over(id, out);
                            self.miss(way, out);
                        }
                    }
                }
                Choice::Nobody => {
                    self.send_refusal(from, Undelivered::NoRecipient, out);
                    self.tell_over(id, out);
                }
                Choice::Gone => {
                    // Word of the channel's end, and a close with a code, is on its way to everybody on it.
                    self.metrics.add(Counter::Undelivered, 1);
                    self.tell_over(id, out);
                }
            }
        }
        self.send_shares(question, None, out)
    }

    /// Puts a message that was decided with those that go to the same shard.
    fn share(&mut self, to: ClientId, frame: Bytes, decision: Decision) {
        let (place, handed) = ((to.life, to.shard), Handed { serial: to.serial, decision: Some(decision) });
        match self.shares.iter_mut().find(|share| share.to == place) {
            Some(share) => {
                share.handed.push(handed);
                share.frames.push(frame);
            }
            None => self.shares.push(Share { to: place, handed: vec![handed], frames: vec![frame] }),
        }
    }

    /// Sends the decided messages of a run to their receivers' shards. Says which window is full now, if one is.
    fn send_shares(&mut self, question: Question, source: Option<ConnId>, out: &mut Actions) -> Option<PeerId> {
        let Question { channel, from, wish } = question;
        let tell = matches!(wish, Wish::Reply(_));
        let mut full = None;
        let mut shares = std::mem::take(&mut self.shares);
        for Share { to, handed, frames } in shares.drain(..) {
            let Some(peer) = self.toward(to.0, to.1) else { continue };
            for (handed, frames) in bundles(handed, frames) {
                self.forward(peer, PeerMessage::Deliver { channel, frames, from, to, handed, tell }, source, out);
            }
            full = self.links.is_full(peer, Leg::Land).then_some(peer).or(full);
        }
        self.shares = shares;
        full
    }

    /// A message of this shard was decided for a client whose node has gone since: whoever replied to it is told.
    pub fn origin_lost(&mut self, number: u64, out: &mut Actions) {
        if let Some(Ask { question: Question { from, wish: Wish::Reply(_), .. }, .. }) = self.asks.get(number)
            && !mutant!(LosesReplies)
        {
            self.refused(*from, Undelivered::OriginGone, out);
        }
    }

    /// The shard that asked will be told that it is over: at the end of the turn, with others.
    pub(super) fn tell_over(&mut self, ask: AskId, out: &mut Actions) {
        let asker = (ask.life, ask.shard);
        match self.over.iter_mut().find(|(of, _)| *of == asker) {
            Some((_, numbers)) => {
                numbers.push(ask.number);
                if numbers.len() >= GIVEN_MAX {
                    self.say_over(out);
                }
            }
            None => self.over.push((asker, vec![ask.number])),
        }
    }

    /// Tells all who asked what is over.
    pub fn say_over(&mut self, out: &mut Actions) {
        let mut over = std::mem::take(&mut self.over);
        for (asker, numbers) in over.drain(..) {
            if let Some(peer) = self.toward(asker.0, asker.1) {
                self.forward(peer, PeerMessage::Given(asker, numbers), None, out);
            }
        }
        self.over = over;
    }
}

/// Receivers and their frames in as few messages as can be: small frames are put one after another, large ones travel alone
/// and are not copied.
fn bundles(handed: Vec<Handed>, frames: Vec<Bytes>) -> Vec<(Vec<Handed>, Bytes)> {
    let mut bundles: Vec<(Vec<Handed>, Bytes)> = Vec::new();
    let (mut open, mut bytes) = (Vec::new(), BytesMut::new());
    let mut pairs = handed.into_iter().zip(frames).peekable();
    while let Some((handed, frame)) = pairs.next() {
        let is_alone = open.is_empty() && pairs.peek().is_none();
        if is_alone || frame.len() >= LARGE {
            if !open.is_empty() {
                bundles.push((std::mem::take(&mut open), bytes.split().freeze()));
            }
            bundles.push((vec![handed], frame));
        } else {
            open.push(handed);
            bytes.extend_from_slice(&frame);
        }
    }
    if !open.is_empty() {
        bundles.push((open, bytes.freeze()));
    }
    bundles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::id::ChannelId;
    use crate::peer::Wish;
    use crate::wire::frame::OpCode;

    #[test]
    fn a_run_with_the_last_numbers_there_are_harms_nobody() {
        let life = Life(1);
        let mut router = Router::new(ShardId(0), life, &Config::default());
        let from = ClientId { life, shard: ShardId(0), serial: 1 };
        let question = Question { channel: ChannelId::from_bits(1, 4), from, wish: Wish::Pull };
        let mut frames = BytesMut::new();
        (0..3).for_each(|_| frame::encode(&mut frames, OpCode::Text, b"x"));
        assert_eq!(router.ask(question, u64::MAX - 1, &frames.freeze(), &mut Actions::new()), None);
    }

    #[test]
    fn what_was_decided_in_an_epoch_that_is_sealed_here_is_refused() {
        let life = Life(1);
        let mut router = Router::new(ShardId(0), life, &Config::default());
        let [from, to] = [1, 2].map(|serial| ClientId { life, shard: ShardId(0), serial });
        let way = WayBill { channel: ChannelId::from_bits(1, 4), from, to, tell: false };
        router.sealed = 2;
        let decided = |epoch| Some(Decision { epoch, number: 7, stamp: None });
        router.deliver(way, Bytes::new(), decided(1), &mut Actions::new());
        assert_eq!(router.given.iter().count(), 0, "its asker is told nothing, and asks again");
        router.deliver(way, Bytes::new(), decided(2), &mut Actions::new());
        assert_eq!(router.given.iter().count(), 1);
    }
}

//! What a pattern must decide: the shard that took messages in asks the channel's home whose turns they are, and hands them
//! on.
//!
//! The home never sees the messages. What one read brings for one channel is one question, and what of it goes to the clients
//! of one shard is one message to that. Nothing is said back: what was sent on arrives as long as both nodes live.

use std::ops::Range;

use bytes::Bytes;

use super::{RUN_MAX, Router, Sender, WayBill};
use crate::action::{Action, Actions};
use crate::asks::{Awaited, Run};
use crate::id::{ChannelId, ClientId, ConnId, Life, ShardId};
use crate::metrics::Counter;
use crate::peer::{Handed, PeerId, PeerMessage, Taken, Turns, Wish};
use crate::roster::SlotIndex;
use crate::time::Time;
use crate::wire::frame;

/// Frames from this size on travel alone: so they are not copied on their way to another node, in bytes.
const LARGE: usize = 4 << 10;
/// Bytes of memory that is taken at once for what goes to clients in one piece each.
const BUNDLES: usize = 16 << 10;
/// Messages that a list for the clients of one shard is made for; it grows if there are more.
const SHARE: usize = 32;

/// What of a run goes to the clients of one shard elsewhere.
#[derive(Debug)]
pub(super) struct Share {
    to: (Life, ShardId),
    handed: Vec<Handed>,
    /// Whether others may travel with it.
    is_open: bool,
}

impl Router {
    /// Messages that need turns in the channel's queue. They are handed on at once where this shard is the channel's home.
    pub(super) fn take_turns(
        &mut self,
        now: Time,
        (sender, wish): (Sender, Wish),
        (frames, count): (Bytes, usize),
        out: &mut Actions,
    ) {
        let Sender { client: from, conn, channel, .. } = sender;
        let run = Run { channel, from, awaited: Awaited::Turns(wish), frames };
        if self.is_home(channel) && self.may_decide(now) && !self.asks.is_held() && !self.asks.has_of(from) {
            let memory = std::mem::take(&mut self.taken);
            let turns = self.turns((channel, wish), from, count, memory);
            self.hand_out(&run, &turns, self.opened, out);
            if let Turns::Taken(taken) = turns {
                self.taken = taken;
            }
            return;
        }
        let number = self.asks.add(run, count);
        self.pause_if_full(conn, out);
        if !self.asks.is_held() {
            self.ask_for_turns(number, out);
        }
    }

    /// Asks the home for the turns of a run. Without a home it stays here, and is asked when there is one.
    fn ask_for_turns(&mut self, number: u64, out: &mut Actions) {
        let Some((run, wish, count)) = self.asks.turns(number) else { return };
        let (channel, from, epoch) = (run.channel, run.from, self.members.epoch());
        if let Some(home) = self.home(channel) {
            self.forward(home, PeerMessage::Ask { channel, from, wish, count, number, epoch }, None, out);
        }
    }

    /// The homes of a new epoch are open: all that waits for turns is asked again, in order.
    pub fn ask_again(&mut self, out: &mut Actions) {
        self.asks.hold(false);
        if mutant!(AsksNothingAgain) {
            return;
        }
        for number in self.asks.open() {
            self.ask_for_turns(number, out);
        }
    }

    /// At the home: whose turns are the next `count` in the channel's queue? The shard of `from` has the messages.
    pub fn ask(
        &mut self,
        (channel, wish): (ChannelId, Wish),
        from: ClientId,
        count: usize,
        (number, epoch): (u64, u64),
        out: &mut Actions,
    ) {
        let turns = self.turns((channel, wish), from, count, Taken::default());
        if let Some(asker) = self.toward(from.life, from.shard) {
            let to = (from.life, from.shard);
            self.forward(asker, PeerMessage::Turns { to, number, epoch, turns }, None, out);
        }
    }

    fn turns(&mut self, (channel, wish): (ChannelId, Wish), from: ClientId, count: usize, mut taken: Taken) -> Turns {
        let Some(home) = self.homes.get_mut(&channel) else { return Turns::Gone };
        taken.clear(count);
        for _ in 0..count {
            let turn = match wish {
                Wish::Pull => home.queue.choose(from),
                Wish::Request => home.queue.choose_other(from),
            };
            match (turn, wish) {
                (Some(turn), _) => taken.push(turn),
                (None, Wish::Pull) => return Turns::Back,
                (None, Wish::Request) => return Turns::Nobody,
            }
        }
        Turns::Taken(taken)
    }

    /// At the shard that asked: the home has said whose turns they are. Those of a dead home may come when the next ones are about
    /// to be told who stands where: they count for nothing, and are asked for again.
    pub fn taken(&mut self, number: u64, epoch: u64, turns: &Turns, out: &mut Actions) {
        let is_leaving = mutant!(SpendsNoTurns) && self.asks.is_held();
        if epoch < self.spent || is_leaving {
            return;
        }
        for run in self.asks.take(number) {
            match &run.awaited {
                Awaited::Turns(_) => self.hand_out(&run, turns, epoch, out),
                Awaited::Earlier(origins) => {
                    let conn = self.roster.member(run.from.serial).map(|member| member.conn);
                    self.send_replies((run.channel, run.from), origins, &run.frames, conn, out);
                }
            }
        }
    }

    /// Hands the messages of a run to those whose turns they are.
    fn hand_out(&mut self, run: &Run, turns: &Turns, epoch: u64, out: &mut Actions) {
        let Run { channel, from, frames, .. } = run;
        let (channel, from, slot) = (*channel, *from, self.roster.find(*channel));
        match turns {
            Turns::Taken(taken) => self.hand_over((channel, from, slot), taken, frames, epoch, out),
            Turns::Back => {
                let all = (frames.clone(), frame::count(frames));
                self.give(WayBill { slot, from, to: from, tell: false }, None, all, out);
            }
            Turns::Nobody => (0..frame::count(frames)).for_each(|_| self.refuse(from, super::NO_RECIPIENT, out)),
            // Word of the channel's end, and a close with a code, is on its way to everybody on it.
            Turns::Gone => self.metrics.add(Counter::Undelivered, frame::count(frames) as u64),
        }
    }

    fn hand_over(
        &mut self,
        (channel, from, slot): (ChannelId, ClientId, Option<SlotIndex>),
        taken: &Taken,
        frames: &Bytes,
        epoch: u64,
        out: &mut Actions,
    ) {
        if let Some(stamp) = taken.passed {
            self.roster.stamp(from.serial, stamp);
        }
        for ((to, stamp), range) in taken.iter().zip(frame::ranges(frames)) {
            if (to.life, to.shard) == (self.life, self.here) {
                self.give(WayBill { slot, from, to, tell: false }, Some(stamp), (frames.slice(range), 1), out);
            } else {
                self.share(to, stamp, range);
            }
        }
        let conn = self.roster.member(from.serial).map(|member| member.conn);
        self.send_shares((channel, from), Some(epoch), frames, conn, out);
    }

    /// Brings replies to their origins, behind whatever their sender has sent before.
    pub(super) fn reply(&mut self, sender: Sender, frames: Bytes, out: &mut Actions) {
        let Sender { client: from, conn, channel, .. } = sender;
        let mut origins = std::mem::take(&mut self.origins);
        if self.asks.has_of(from) && !mutant!(RepliesOvertake) {
            let count = origins.len();
            self.asks.add(Run { channel, from, awaited: Awaited::Earlier(origins), frames }, count);
            return self.pause_if_full(conn, out);
        }
        self.send_replies((channel, from), &origins, &frames, Some(conn), out);
        origins.clear();
        self.origins = origins;
    }

    fn send_replies(
        &mut self,
        (channel, from): (ChannelId, ClientId),
        origins: &[ClientId],
        frames: &Bytes,
        source: Option<ConnId>,
        out: &mut Actions,
    ) {
        let slot = self.roster.find(channel);
        for (to, range) in origins.iter().copied().zip(frame::ranges(frames)) {
            let way = WayBill { slot, from, to, tell: true };
            match self.toward(to.life, to.shard) {
                Some(PeerId::Shard(shard)) if shard == self.here => self.give(way, None, (frames.slice(range), 1), out),
                Some(_) => self.share(to, 0, range),
                None => self.miss(way, out),
            }
        }
        self.send_shares((channel, from), None, frames, source, out);
    }

    fn pause_if_full(&mut self, conn: ConnId, out: &mut Actions) {
        if self.asks.is_full() && self.asks.pause(conn) {
            self.metrics.add(Counter::Paused, 1);
            out.push(Action::Pause { conn });
        }
    }

    /// Puts a frame of the run with those that go to the same shard.
    fn share(&mut self, to: ClientId, stamp: u64, Range { start, end }: Range<usize>) {
        let (place, handed) = ((to.life, to.shard), Handed { serial: to.serial, stamp, start, end });
        let is_open = end - start < LARGE;
        // Behind what went there last, so that order is kept.
        match self.shares.iter_mut().rev().find(|share| share.to == place) {
            Some(share) if share.is_open && is_open && share.handed.len() < RUN_MAX => share.handed.push(handed),
            _ => {
                let mut list = Vec::with_capacity(if is_open { SHARE } else { 1 });
                list.push(handed);
                self.shares.push(Share { to: place, handed: list, is_open });
            }
        }
    }

    /// Sends the messages of a run to their receivers' shards; the turns were taken in this epoch, or none were needed.
    fn send_shares(
        &mut self,
        (channel, from): (ChannelId, ClientId),
        epoch: Option<u64>,
        frames: &Bytes,
        source: Option<ConnId>,
        out: &mut Actions,
    ) {
        let mut shares = std::mem::take(&mut self.shares);
        for Share { to, handed, .. } in shares.drain(..) {
            let Some(peer) = self.toward(to.0, to.1) else {
                self.metrics.add(Counter::Undelivered, handed.len() as u64);
                continue;
            };
            let frames = frames.clone();
            self.forward(peer, PeerMessage::Deliver { channel, frames, from, to, epoch, handed }, source, out);
        }
        self.shares = shares;
    }

    /// At the receivers' shard: no further hop.
    pub fn deliver(
        &mut self,
        (channel, from): (ChannelId, ClientId),
        epoch: Option<u64>,
        (to, mut handed): ((Life, ShardId), Vec<Handed>),
        frames: &Bytes,
        out: &mut Actions,
    ) {
        let slot = self.roster.find(channel);
        // A place in the queue as of an epoch that this shard has told of already is none in the next.
        let counts = epoch.is_some_and(|epoch| epoch >= self.sealed);
        // What one client gets goes to its socket as one: the order among several is nobody's to see.
        handed.sort_by_key(|part| part.serial);
        for parts in handed.chunk_by(|one, next| one.serial == next.serial) {
            let Some(last) = parts.last() else { continue };
            let to = ClientId { life: to.0, shard: to.1, serial: last.serial };
            let way = WayBill { slot, from, to, tell: epoch.is_none() };
            let bytes = self.bundle(parts, frames);
            self.give(way, counts.then_some(last.stamp), (bytes, parts.len()), out);
        }
    }

    /// These frames of a run in one piece.
    fn bundle(&mut self, parts: &[Handed], run: &Bytes) -> Bytes {
        if let [one] = parts {
            return one.frame(run);
        }
        let bytes: usize = parts.iter().map(|part| part.end.saturating_sub(part.start)).sum();
        if self.bundles.capacity() < bytes {
            self.bundles.reserve(bytes.max(BUNDLES));
        }
        for part in parts {
            self.bundles.extend_from_slice(run.get(part.start..part.end).unwrap_or_default());
        }
        self.bundles.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::config::Config;
    use crate::pattern::Pattern;
    use crate::roster::Member;
    use crate::wire::frame::OpCode;

    fn channel() -> ChannelId {
        ChannelId::from_bits(1, 4)
    }

    /// A shard with one client on a push-pull channel, which stands at place 5, in epoch 3.
    fn router() -> (Router, ClientId) {
        let life = Life(1);
        let mut router = Router::new(ShardId(0), life, &Config::default());
        let client = ClientId { life, shard: ShardId(0), serial: 2 };
        let slot = router.roster.place(channel(), Pattern::PushPull, Time::ZERO);
        let conn = ConnId { index: 0, generation: 0 };
        let member = Member { conn, echo: true, deflate: None, seated: true, stamp: Some(5) };
        router.roster.seat(slot, client.serial, member);
        router.sealed = 3;
        (router, client)
    }

    fn frames(count: usize) -> Bytes {
        let mut frames = BytesMut::new();
        (0..count).for_each(|_| frame::encode(&mut frames, OpCode::Text, b"x"));
        frames.freeze()
    }

    fn deliver(router: &mut Router, to: ClientId, epoch: Option<u64>, stamp: u64) -> (usize, Option<u64>) {
        let mut out = Actions::new();
        let from = ClientId { life: Life(9), ..to };
        let frames = frames(1);
        let handed = vec![Handed { serial: to.serial, stamp, start: 0, end: frames.len() }];
        router.deliver((channel(), from), epoch, ((to.life, to.shard), handed), &frames, &mut out);
        let sent = out.drain().filter(|action| matches!(action, Action::Send { .. })).count();
        (sent, router.roster.member(to.serial).and_then(|member| member.stamp))
    }

    #[test]
    fn a_message_is_given_whatever_has_become_of_the_epoch_of_its_turn() {
        let (mut router, client) = router();
        assert_eq!(deliver(&mut router, client, Some(2), 8), (1, Some(5)), "that place was told of already");
        assert_eq!(deliver(&mut router, client, Some(3), 8), (1, Some(8)));
        assert_eq!(deliver(&mut router, client, None, 9), (1, Some(8)), "replies move nobody");
    }

    #[test]
    fn what_one_client_gets_of_a_run_is_sent_as_one_in_its_order() {
        let (mut router, one) = router();
        let slot = router.roster.find(channel()).unwrap();
        let two = ClientId { serial: 7, ..one };
        let conn = ConnId { index: 1, generation: 0 };
        let member = Member { conn, echo: true, deflate: None, seated: true, stamp: Some(6) };
        router.roster.seat(slot, two.serial, member);
        let (mut run, mut handed) = (BytesMut::new(), Vec::new());
        for (n, to) in [two, one, two, one, two].into_iter().enumerate() {
            let start = run.len();
            frame::encode(&mut run, OpCode::Binary, &[n as u8]);
            handed.push(Handed { serial: to.serial, stamp: 10 + n as u64, start, end: run.len() });
        }
        let mut out = Actions::new();
        router.deliver((channel(), one), Some(3), ((one.life, one.shard), handed), &run.freeze(), &mut out);
        let sent = out.drain().map(|action| match action {
            Action::Send { conn, bytes } => (conn.index, frame::own(&bytes).map(|(_, p)| p[0]).collect()),
            other => panic!("{other:?}"),
        });
        assert_eq!(sent.collect::<Vec<(u32, Vec<u8>)>>(), [(0, vec![1, 3]), (1, vec![0, 2, 4])]);
        assert_eq!([one, two].map(|to| router.roster.member(to.serial).unwrap().stamp), [Some(13), Some(14)]);
    }

    #[test]
    fn a_place_in_the_queue_only_goes_up_whichever_way_word_of_it_comes() {
        let (mut router, client) = router();
        assert_eq!(deliver(&mut router, client, Some(3), 8), (1, Some(8)));
        assert_eq!(deliver(&mut router, client, Some(3), 7), (1, Some(8)));
    }

    #[test]
    fn turns_are_taken_until_all_homes_have_stopped_giving_them() {
        let (mut router, client) = router();
        let ask = |router: &mut Router| {
            let run = Run { channel: channel(), from: client, awaited: Awaited::Turns(Wish::Pull), frames: frames(1) };
            router.asks.add(run, 1)
        };
        let mut out = Actions::new();
        let number = ask(&mut router);
        router.asks.hold(true);
        router.taken(number, 2, &Turns::Back, &mut out);
        assert_eq!(
            (out.drain().count(), router.asks.is_empty()),
            (1, true),
            "its home has stopped, and gave it before"
        );
        let number = ask(&mut router);
        router.spent = 3;
        router.taken(number, 2, &Turns::Back, &mut out);
        assert!(out.drain().next().is_none() && router.asks.open() == [number], "a dead home's word came too late");
        router.taken(number, 3, &Turns::Back, &mut out);
        assert_eq!((out.drain().count(), router.asks.is_empty()), (1, true));
    }
}

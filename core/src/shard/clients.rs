//! A client's life: the wish to join, the seat, its messages, its end.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::BytesMut;

use super::{Shard, Wake};
use crate::action::{Action, Actions};
use crate::admission::MessageRate;
use crate::event::Event;
use crate::home::is_asked_for_seats;
use crate::id::{ChannelId, ClientId, ConnId, GATE};
use crate::metrics::{Counter, Limit};
use crate::peer::{PeerMessage, Verdict};
use crate::roster::{Entry, Member, SlotIndex};
use crate::router::Sender;
use crate::session::{Client, Closing, Phase, Session};
use crate::time::Time;
use crate::wire::frame::{self, CloseCode, OpCode};
use crate::wire::handshake::{self, DeflateTerms};
use crate::wire::http::Terms;
use crate::wire::message::{self, Item, Reader};

/// The socket of a client that waits no more: no slab gives this out.
const NOBODY: ConnId = ConnId { index: u32::MAX, generation: u32::MAX };

/// A client between its request and its 101.
#[derive(Debug)]
pub(super) struct Joining {
    conn: ConnId,
    from: IpAddr,
    client: ClientId,
    channel: ChannelId,
    slot: SlotIndex,
    terms: Terms,
    accept: [u8; 28],
    protocol: Option<String>,
    deflate: Option<DeflateTerms>,
    echo: bool,
    pull: bool,
    /// In which epoch its seat was asked for last; `None` before the others know of it.
    asked: Option<u64>,
    /// When the wait is over.
    timer: Option<Time>,
}

impl Joining {
    pub(super) fn client(&self) -> ClientId {
        self.client
    }

    /// Whether its seat was ever asked for, so that the node counts it.
    pub(super) fn has_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Its seat is asked for in an epoch. False: it was already, or is not to be yet.
    pub(super) fn asks_anew(&mut self, epoch: u64) -> bool {
        self.asked.is_some_and(|asked| asked < epoch || mutant!(AsksForSeatsTwice)) && {
            self.asked = Some(epoch);
            true
        }
    }

    /// The seat that it wants.
    pub(super) fn seat(&self) -> (ClientId, ChannelId, bool) {
        (self.client, self.channel, self.pull)
    }
}

/// What a request to join says beside its channel.
pub(super) struct Wishes {
    pub(super) from: IpAddr,
    pub(super) terms: Terms,
    pub(super) accept: [u8; 28],
    pub(super) protocol: Option<String>,
    pub(super) deflate: Option<DeflateTerms>,
    pub(super) echo: bool,
    pub(super) pull: bool,
}

impl Shard {
    /// Asks for a seat. The answer comes as `Seated`, within this very input where one shard plays all parts.
    pub(super) fn join(
        &mut self,
        session: &mut Session,
        channel: ChannelId,
        slot: SlotIndex,
        wishes: Wishes,
        out: &mut Actions,
    ) {
        self.last_serial += 1;
        let serial = self.last_serial;
        let client = ClientId { life: self.router.life, shard: self.here, serial };
        let Wishes { from, terms, accept, protocol, deflate, echo, pull } = wishes;
        let (asked, timer) = (None, None);
        let conn = session.conn;
        let joining =
            Joining { conn, from, client, channel, slot, terms, accept, protocol, deflate, echo, pull, asked, timer };
        self.joining.insert(serial, joining);
        session.phase = Phase::Asked;

        let others = self.others_to_know();
        match self.router.roster.enter(slot, serial, others) {
            Entry::Ready => self.ask_for_seat(serial, out),
            Entry::Announce => self.announce(channel, out),
            Entry::Wait => {}
        }
    }

    pub(super) fn ask_for_seat(&mut self, serial: u64, out: &mut Actions) {
        if let Some(joining) = self.joining.get_mut(&serial) {
            let epoch = self.router.members.epoch();
            joining.asked = Some(epoch);
            let Joining { client, channel, from, pull, .. } = *joining;
            self.say(GATE, PeerMessage::Join { client, channel, from, pull, epoch }, out);
        }
    }

    /// The client that has just asked waits for so long at most.
    pub(super) fn limit_wait(&mut self, now: Time) {
        let (serial, until) = (self.last_serial, now + self.config.seat_timeout);
        if let Some(joining) = self.joining.get_mut(&serial) {
            self.timers.set(&mut joining.timer, Wake::Join(serial), Some(until));
        }
    }

    /// Nobody has said in time whether there is a seat: the home, or a node that must know of this client, cannot be reached.
    /// The client is told to come again. A seat that it is given later is given back, as for one that has gone.
    pub(super) fn wait_is_over(&mut self, now: Time, serial: u64, out: &mut Actions) {
        let Some(joining) = self.joining.get_mut(&serial) else { return };
        self.timers.set(&mut joining.timer, Wake::Join(serial), None);
        let terms = joining.terms;
        let conn = std::mem::replace(&mut joining.conn, NOBODY);
        if let Some(mut session) = self.sessions.take(conn) {
            self.turn_away(now, &mut session, terms, Verdict::Undecided, out);
            self.put_back(session);
        }
    }

    /// The answer to a wish to join; whether the node counts the client already.
    pub(super) fn seated(
        &mut self,
        now: Time,
        client: ClientId,
        verdict: Verdict,
        stamp: Option<u64>,
        counted: bool,
        out: &mut Actions,
    ) {
        let Some(mut joining) = self.joining.remove(&client.serial) else { return };
        self.timers.set(&mut joining.timer, Wake::Join(client.serial), None);
        // The channel may have gone on this shard while its home still had a seat.
        let here = self.router.roster.find(joining.channel) == Some(joining.slot);
        let seated = verdict == Verdict::Seated;
        let verdict = if here { verdict } else { Verdict::Absent };
        let session = self.sessions.take(joining.conn);
        match (session, verdict) {
            (Some(mut session), Verdict::Seated) => {
                self.welcome(now, &mut session, joining, stamp, out);
                self.put_back(session);
            }
            (session, verdict) => {
                if let Some(mut session) = session {
                    self.turn_away(now, &mut session, joining.terms, verdict, out);
                    self.put_back(session);
                }
                if seated && self.is_seated_by_home(joining.channel, joining.pull) {
                    self.send_on(PeerMessage::Leave(client, joining.channel), out);
                }
                if counted {
                    self.say(GATE, PeerMessage::Uncount(joining.from), out);
                }
                if here && self.router.roster.refuse(joining.slot) {
                    self.withdraw(joining.channel, out);
                }
            }
        }
    }

    fn welcome(&mut self, now: Time, session: &mut Session, joining: Joining, stamp: Option<u64>, out: &mut Actions) {
        let Joining { conn, client, channel, slot, accept, protocol, deflate, echo, pull, .. } = joining;
        let window = deflate.map(|terms| terms.window);
        let seated = self.is_seated_by_home(channel, pull);
        let member = Member { conn, echo, deflate: window, seated, stamp };
        self.router.roster.seat(slot, client.serial, member);
        self.send_with(session, out, |bytes| {
            handshake::encode_response(bytes, &accept, protocol.as_deref(), deflate, client);
        });
        let sender = Sender { client, conn, channel, slot, deflate: window };
        session.from = joining.from;
        session.phase = Phase::Client(Box::new(Client {
            sender,
            reader: Reader::new(),
            heard: now,
            pinged: now,
            rate: MessageRate::new(),
            resume: None,
        }));
        self.router.metrics.joined();
        self.report(Event::ClientJoined { channel, client }, out);
        if session.ended || self.is_draining() {
            return self.close_client(now, session, CloseCode::GOING_AWAY, "the node shuts down", out);
        }
        self.go_on(now, session, out);
    }

    /// Reads a client's frames: how many bytes were used up. All of them, unless it sends faster than it may.
    pub(super) fn read_messages(
        &mut self,
        now: Time,
        session: &mut Session,
        bytes: &mut [u8],
        out: &mut Actions,
    ) -> usize {
        let all = bytes.len();
        let limits = message::Limits { message_bytes_max: self.config.message_bytes_max as u64 };
        let rate = self.config.message_rate_max;
        let mut input = message::Input::new(bytes);
        let ended = loop {
            let Phase::Client(client) = &mut session.phase else { return all };
            client.heard = now;
            let sender = client.sender;
            if let Some(resume) = client.rate.wait(now, rate) {
                client.resume = Some(resume);
                break None;
            }
            let inflate = sender.deflate.map(|_| &mut self.inflate);
            match client.reader.next(&mut input, &limits, inflate) {
                Ok(None) => break None,
                Ok(Some(Item::Message { kind, payload })) => {
                    client.rate.count(now, rate);
                    self.router.take_in(now, sender, kind, &payload, out);
                }
                Ok(Some(Item::Ping(payload))) => {
                    let payload = payload.into_owned();
                    self.send_with(session, out, |bytes| frame::encode(bytes, OpCode::Pong, &payload));
                }
                Ok(Some(Item::Pong(_))) => {}
                Ok(Some(Item::Close { code, .. })) => break Some(Ok(code)),
                Err(fault) => break Some(Err(fault)),
            }
        };
        let left = input.len();
        self.router.flush(out);
        match ended {
            None if left > 0 => {
                self.router.metrics.add(Counter::RateLimited, 1);
                if !session.pauses.any() {
                    out.push(Action::Pause { conn: session.conn });
                }
                session.pauses.rate = true;
                return all - left;
            }
            None => {}
            Some(Ok(code)) => self.answer_close(now, session, code, out),
            Some(Err(fault)) => {
                if fault.code == CloseCode::TOO_BIG {
                    self.limit_reached(now, Limit::MessageSize, out);
                }
                self.close_client(now, session, fault.code, fault.reason, out);
            }
        }
        all
    }

    /// A client that sent too fast may go on.
    pub(super) fn resume_rate(&mut self, now: Time, session: &mut Session, out: &mut Actions) {
        if let Phase::Client(client) = &mut session.phase {
            client.resume = None;
        }
        session.pauses.rate = false;
        let held = std::mem::take(&mut session.held);
        self.read_held(now, session, held, out);
        self.resume(session, out);
    }

    /// The client has closed: the same code goes back (RFC 6455 section 5.5.1).
    fn answer_close(&mut self, now: Time, session: &mut Session, code: Option<CloseCode>, out: &mut Actions) {
        match code {
            Some(code) => self.close_client(now, session, code, "", out),
            None => {
                self.close_with(now, session, CloseCode(1005), out, |bytes| frame::encode(bytes, OpCode::Close, &[]))
            }
        }
        if let Phase::Closing(closing) = &mut session.phase {
            closing.answered = true;
        }
    }

    /// Closes a client with a code: it leaves its channel now, whenever its socket ends.
    pub(super) fn close_client(
        &mut self,
        now: Time,
        session: &mut Session,
        code: CloseCode,
        reason: &str,
        out: &mut Actions,
    ) {
        self.close_with(now, session, code, out, |bytes| frame::encode_close(bytes, code, reason));
    }

    fn close_with(
        &mut self,
        now: Time,
        session: &mut Session,
        code: CloseCode,
        out: &mut Actions,
        frame: impl FnOnce(&mut BytesMut),
    ) {
        let Phase::Client(client) = &session.phase else { return };
        let sender = client.sender;
        self.router.flush(out);
        self.router.metrics.closed(code.0);
        self.report(Event::ClientLeft { channel: sender.channel, client: sender.client, code: code.0 }, out);
        self.depart(&sender, session.from, out);
        self.send_with(session, out, frame);
        self.router.forget(session.conn);
        let until = now + self.config.close_timeout;
        let phase = std::mem::replace(&mut session.phase, Phase::Asked);
        let reader = if let Phase::Client(client) = phase { client.reader } else { Reader::new() };
        let inflates = sender.deflate.is_some();
        session.phase = Phase::Closing(Box::new(Closing { until, reader, inflates, answered: false }));
        let mut held = std::mem::take(&mut session.held);
        self.read_closing(session, &mut held);
        session.pauses = Default::default();
        out.push(Action::Resume { conn: session.conn });
        out.push(Action::Finish { conn: session.conn });
    }

    /// Discards what a client still says, up to its close frame: how many bytes were used up, which is all.
    pub(super) fn read_closing(&mut self, session: &mut Session, bytes: &mut [u8]) -> usize {
        let all = bytes.len();
        let Phase::Closing(closing) = &mut session.phase else { return all };
        let limits = message::Limits { message_bytes_max: self.config.message_bytes_max as u64 };
        let mut input = message::Input::new(bytes);
        loop {
            let inflate = closing.inflates.then_some(&mut self.inflate);
            match closing.reader.next(&mut input, &limits, inflate) {
                Ok(Some(Item::Close { .. })) => closing.answered = true,
                Ok(Some(Item::Message { .. } | Item::Ping(_) | Item::Pong(_))) => {}
                // After a fault its end is waited for: where its frames end is not known any more.
                Ok(None) | Err(_) => return all,
            }
        }
    }

    /// More is unsent than a client may owe: what is queued is dropped, and it is told why (contract, close code 1013).
    pub(super) fn too_slow(&mut self, now: Time, session: &mut Session, out: &mut Actions) {
        self.router.metrics.add(Counter::SlowClients, 1);
        if let Phase::Client(client) = &session.phase {
            let Sender { channel, client, .. } = client.sender;
            self.report(Event::SlowClient { channel, client }, out);
        }
        self.router.flush(out);
        out.push(Action::Truncate { conn: session.conn });
        self.close_client(now, session, CloseCode::TOO_SLOW, "reading too slowly", out);
    }

    /// Takes a client out of its channel, here, at the home and in the node's count.
    pub(super) fn depart(&mut self, sender: &Sender, from: IpAddr, out: &mut Actions) {
        let Sender { client, channel, slot, .. } = *sender;
        self.router.metrics.left();
        self.say(GATE, PeerMessage::Uncount(from), out);
        if self.router.roster.find(channel) == Some(slot) {
            let seated = self.router.roster.member(client.serial).is_some_and(|member| member.seated);
            let last = self.router.roster.leave(slot, client.serial);
            if seated {
                self.send_on(PeerMessage::Leave(client, channel), out);
            }
            if last {
                self.withdraw(channel, out);
            }
        }
    }

    /// Whether the channel's home seats a client, or there is nothing to decide.
    fn is_seated_by_home(&self, channel: ChannelId, pull: bool) -> bool {
        self.catalogue.get(channel).is_some_and(|entry| is_asked_for_seats(&entry.channel, pull))
    }

    /// Nobody is left here: the others need send nothing any more.
    fn withdraw(&mut self, channel: ChannelId, out: &mut Actions) {
        if let Some(active) = self.router.roster.get(channel).map(|local| local.active) {
            self.say_to_others(|| PeerMessage::Disinterest(channel, active), out);
            self.withdraw_from_nodes(channel, out);
        }
    }

    /// A channel has gone: its clients are told why.
    pub(super) fn close_channel(&mut self, now: Time, channel: ChannelId, code: CloseCode, out: &mut Actions) {
        if let Some(mut home) = self.router.homes.remove(&channel) {
            self.timers.set(&mut home.timer, Wake::Channel(channel), None);
        }
        let Some(local) = self.router.roster.remove(channel) else { return };
        // Those that wait for the other shards to know of them will hear nothing more about this channel.
        for serial in local.waiting() {
            if let Some(client) = self.joining.get(serial).map(|joining| joining.client) {
                self.seated(now, client, Verdict::Absent, None, false, out);
            }
        }
        let reason = if code == CloseCode::CHANNEL_DELETED { "channel deleted" } else { "channel timed out" };
        for member in local.members.into_values() {
            if let Some(mut session) = self.sessions.take(member.conn) {
                self.close_client(now, &mut session, code, reason, out);
                self.put_back(session);
            }
        }
    }

    /// Pings a client that may be idle, or gives it up.
    pub(super) fn check_pulse(&mut self, now: Time, session: &mut Session, out: &mut Actions) {
        let interval = self.config.ping_interval;
        let Phase::Client(client) = &mut session.phase else { return };
        if client.lost(interval).is_some_and(|at| at <= now) {
            return self.close_client(now, session, CloseCode::POLICY, "no answer to pings", out);
        }
        if client.next_ping(interval).is_some_and(|at| at <= now) {
            client.pinged = now;
            self.send_with(session, out, |bytes| frame::encode(bytes, OpCode::Ping, &[]));
        }
    }
}

/// A query flag: `false` and `0` are no, anything else and nothing are yes.
pub(super) fn is_wanted(value: Option<Cow<'_, str>>) -> bool {
    !value.is_some_and(|value| matches!(&*value, "false" | "0"))
}

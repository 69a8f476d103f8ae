//! The data plane of a shard: a client's message goes in, sends and forwards come out.
//!
//! Every hop runs one function and nothing returns upstream but credit and refusals: [`Router::take_in`] where the sender
//! is, [`Router::ask`] at the home where a pattern must decide, [`Router::land`] and [`Router::deliver`] where the
//! receivers are. A shard that plays two parts calls the next hop itself.
//!
//! Frames are encoded once. Messages that one read brought and that go the same way are gathered into one run of bytes,
//! so that a receiver costs one reference per run and not one per message.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::action::{Action, Actions};
use crate::home::{Homes, home_of};
use crate::id::{ChannelId, ClientId, ConnId, ShardId};
use crate::links::Links;
use crate::metrics::{Counter, Metrics};
use crate::pattern::Pattern;
use crate::pattern::envelope::{self, Envelope};
use crate::peer::{Leg, PeerMessage, Undelivered, Wish};
use crate::roster::{Roster, SlotIndex};
use crate::time::Time;
use crate::wire::deflate::{Deflate, Window};
use crate::wire::frame::{self, OpCode};
use crate::wire::message::Kind;

/// Bytes that the buffer for outgoing frames is made with.
const BUFFER: usize = 64 << 10;

/// Whose message it is: what the seat said, so that nothing is looked up.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    /// The client.
    pub client: ClientId,
    /// Its socket.
    pub conn: ConnId,
    /// Its channel.
    pub channel: ChannelId,
    /// The channel's place in the roster.
    pub slot: SlotIndex,
    /// Its compressor's window.
    pub deflate: Option<Window>,
}

/// Where the messages gathered so far go.
#[derive(Clone, Copy, Debug)]
enum Run {
    /// Back to the sender.
    Echo(Sender),
    /// To every member; to the sender too if `back`.
    All { sender: Sender, back: bool },
}

impl Run {
    fn continues(&self, next: &Run) -> bool {
        match (self, next) {
            (Run::Echo(a), Run::Echo(b)) => a.client == b.client,
            (Run::All { sender: a, back: x }, Run::All { sender: b, back: y }) => a.client == b.client && x == y,
            _ => false,
        }
    }
}

/// The data plane of one shard.
pub struct Router {
    here: ShardId,
    shards: u16,
    /// Who is on which channel.
    pub roster: Roster,
    /// The channels that this shard decides for.
    pub homes: Homes,
    /// What is under way to the other shards.
    pub links: Links,
    /// The figures of this shard.
    pub metrics: Metrics,
    run: Option<Run>,
    messages: u64,
    buffer: BytesMut,
    /// Where a request gets its origin: working memory, as long as the longest request.
    request: BytesMut,
    deflate: Deflate,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("here", &self.here).field("roster", &self.roster).finish_non_exhaustive()
    }
}

impl Router {
    /// The data plane of shard `here` of `shards`, with windows of `window` bytes.
    pub fn new(here: ShardId, shards: u16, window: usize) -> Self {
        Router {
            here,
            shards,
            roster: Roster::new(),
            homes: Homes::new(),
            links: Links::new(shards, window),
            metrics: Metrics::default(),
            run: None,
            messages: 0,
            buffer: BytesMut::with_capacity(BUFFER),
            request: BytesMut::new(),
            deflate: Deflate::new(),
        }
    }

    /// The shard that decides for a channel.
    pub fn home(&self, channel: ChannelId) -> ShardId {
        home_of(channel, self.shards)
    }

    /// The other shards of the node.
    pub fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let here = self.here;
        (0..self.shards).map(ShardId).filter(move |shard| *shard != here)
    }

    /// A message from a client of this shard. Call [`Router::flush`] when the read that brought it is used up.
    pub fn take_in(&mut self, now: Time, sender: Sender, kind: Kind, payload: &[u8], out: &mut Actions) {
        let Some(local) = self.roster.at(sender.slot) else { return };
        local.active = now;
        let pattern = local.pattern;
        self.metrics.message_in(pattern, payload.len());
        match pattern {
            Pattern::Echo => self.gather(Run::Echo(sender), kind, payload, out),
            Pattern::PubSub => self.gather(Run::All { sender, back: true }, kind, payload, out),
            Pattern::PushPull => {
                let frame = self.encode(kind, payload, out);
                self.wish(sender, frame, Wish::Pull, out);
            }
            Pattern::ReqRepl | Pattern::FanInOut => match envelope::parse(payload) {
                Err(malformed) => self.tell(sender.conn, sender.deflate, "malformed", malformed.reason(), out),
                Ok(envelope) => self.take_in_envelope(pattern, sender, kind, payload, &envelope, out),
            },
        }
    }

    fn take_in_envelope(
        &mut self,
        pattern: Pattern,
        sender: Sender,
        kind: Kind,
        payload: &[u8],
        envelope: &Envelope<'_>,
        out: &mut Actions,
    ) {
        let request = match envelope {
            Envelope::Request(request) => request,
            Envelope::Reply(reply) => {
                let Some(origin) = ClientId::parse(reply.origin()) else {
                    return self.refuse(sender, Undelivered::OriginGone, out);
                };
                let frame = self.encode(kind, payload, out);
                return match pattern {
                    Pattern::FanInOut => self.wish(sender, frame, Wish::Reply(origin), out),
                    _ => self.hand_over(sender.channel, frame, sender.client, origin, true, Some(sender.conn), out),
                };
            }
        };
        let mut message = std::mem::take(&mut self.request);
        message.clear();
        envelope::write_request(&mut message, payload, request, sender.client);
        let here = self.here;
        if pattern == Pattern::FanInOut {
            let frame = self.encode(kind, &message, out);
            self.wish(sender, frame, Wish::Request, out);
        } else if self.roster.at(sender.slot).is_some_and(|local| local.has_others(sender.client, here)) {
            self.gather(Run::All { sender, back: false }, kind, &message, out);
        } else {
            self.refuse(sender, Undelivered::NoRecipient, out);
        }
        self.request = message;
    }

    /// Adds a message to the run, which is sent first if it goes another way.
    fn gather(&mut self, run: Run, kind: Kind, payload: &[u8], out: &mut Actions) {
        if !self.run.as_ref().is_some_and(|open| open.continues(&run)) {
            self.flush(out);
            self.run = Some(run);
        }
        frame::encode(&mut self.buffer, kind.opcode(), payload);
        self.messages += 1;
    }

    /// Encodes a message that travels alone; what was gathered before it goes first.
    fn encode(&mut self, kind: Kind, payload: &[u8], out: &mut Actions) -> Bytes {
        self.flush(out);
        frame::encode(&mut self.buffer, kind.opcode(), payload);
        self.buffer.split().freeze()
    }

    /// Sends what has been gathered. To be called at the end of every read, and before anything else is sent to a socket
    /// that may be among the receivers.
    #[inline]
    pub fn flush(&mut self, out: &mut Actions) {
        if let Some(run) = self.run.take() {
            self.send(run, out);
        }
    }

    fn send(&mut self, run: Run, out: &mut Actions) {
        let frames = self.buffer.split().freeze();
        let messages = std::mem::take(&mut self.messages);
        match run {
            Run::Echo(sender) => {
                self.metrics.messages_out(messages, frames.len());
                let bytes = match sender.deflate {
                    None => frames,
                    Some(window) => deflated(&mut self.deflate, &frames, window),
                };
                out.push(Action::Send { conn: sender.conn, bytes });
            }
            Run::All { sender, back } => {
                self.fan_out(sender.slot, &frames, messages, sender.client, back, out);
                let Some(local) = self.roster.at(sender.slot) else { return };
                let channel = local.id;
                // Lent, not copied: who is elsewhere does not change while they are told.
                let elsewhere = std::mem::take(&mut local.elsewhere);
                for peer in &elsewhere {
                    let message = PeerMessage::Publish { channel, frames: frames.clone(), from: sender.client, back };
                    self.forward(*peer, message, Some(sender.conn), out);
                }
                if let Some(local) = self.roster.at(sender.slot) {
                    local.elsewhere = elsewhere;
                }
            }
        }
    }

    /// To every member here, but for a sender that is not to have it back.
    fn fan_out(
        &mut self,
        slot: SlotIndex,
        frames: &Bytes,
        messages: u64,
        from: ClientId,
        back: bool,
        out: &mut Actions,
    ) {
        let own = (from.shard == self.here).then_some(from.serial);
        let Some(local) = self.roster.at(slot) else { return };
        let mut compressed: BTreeMap<Window, Bytes> = BTreeMap::new();
        let mut receivers = 0;
        for (serial, member) in &local.members {
            if Some(*serial) == own && !(back && member.echo) {
                continue;
            }
            let bytes = match member.deflate {
                None => frames.clone(),
                Some(window) => {
                    let deflate = &mut self.deflate;
                    compressed.entry(window).or_insert_with(|| deflated(deflate, frames, window)).clone()
                }
            };
            receivers += 1;
            out.push(Action::Send { conn: member.conn, bytes });
        }
        self.metrics.messages_out(messages * receivers, frames.len() * receivers as usize);
    }

    /// A run from another shard has arrived: no further hop.
    pub fn land(&mut self, channel: ChannelId, frames: &Bytes, from: ClientId, back: bool, out: &mut Actions) {
        if let Some(slot) = self.roster.find(channel) {
            let messages = count_frames(frames);
            self.fan_out(slot, frames, messages, from, back, out);
        }
    }

    /// Brings a message to the home, which may be here.
    fn wish(&mut self, sender: Sender, frame: Bytes, wish: Wish, out: &mut Actions) {
        let home = self.home(sender.channel);
        if home == self.here {
            self.ask(sender.channel, frame, sender.client, wish, Some(sender.conn), out);
        } else {
            let message = PeerMessage::Ask { channel: sender.channel, frame, from: sender.client, wish, number: 0 };
            self.forward(home, message, Some(sender.conn), out);
        }
    }

    /// At the home: who gets it? Says to which shard it went on, if that shard's window is full now.
    pub fn ask(
        &mut self,
        channel: ChannelId,
        frame: Bytes,
        from: ClientId,
        wish: Wish,
        source: Option<ConnId>,
        out: &mut Actions,
    ) -> Option<ShardId> {
        let Some(home) = self.homes.get_mut(&channel) else {
            // The channel is gone; word of it, and a close with a code, is on its way to everybody on it.
            self.metrics.add(Counter::Undelivered, 1);
            return None;
        };
        let chosen = match wish {
            Wish::Pull => Some(home.queue.choose(from).unwrap_or(from)),
            Wish::Request => home.queue.choose_other(from),
            Wish::Reply(origin) => Some(origin),
        };
        match chosen {
            Some(to) => {
                let tell = matches!(wish, Wish::Reply(_));
                self.hand_over(channel, frame, from, to, tell, source, out);
                (to.shard != self.here && self.links.is_full(to.shard, Leg::Land)).then_some(to.shard)
            }
            None => {
                self.send_refusal(from, Undelivered::NoRecipient, out);
                None
            }
        }
    }

    /// Brings a message to the shard of its one receiver, which may be here.
    #[expect(clippy::too_many_arguments, reason = "one message's way bill")]
    fn hand_over(
        &mut self,
        channel: ChannelId,
        frame: Bytes,
        from: ClientId,
        to: ClientId,
        tell: bool,
        source: Option<ConnId>,
        out: &mut Actions,
    ) {
        if to.shard == self.here || to.shard.0 >= self.shards {
            self.deliver(channel, frame, from, to, tell, out);
        } else {
            self.forward(
                to.shard,
                PeerMessage::Deliver { channel, frame, from, to, tell, decision: None },
                source,
                out,
            );
        }
    }

    /// At the receiver's shard: no further hop.
    pub fn deliver(
        &mut self,
        channel: ChannelId,
        frame: Bytes,
        from: ClientId,
        to: ClientId,
        tell: bool,
        out: &mut Actions,
    ) {
        let member = self.roster.get(channel).and_then(|local| local.members.get(&to.serial)).copied();
        match member.filter(|_| to.shard == self.here && to.life == from.life) {
            Some(member) => {
                self.metrics.messages_out(1, frame.len());
                let bytes = match member.deflate {
                    None => frame,
                    Some(window) => deflated(&mut self.deflate, &frame, window),
                };
                out.push(Action::Send { conn: member.conn, bytes });
            }
            None if tell => self.send_refusal(from, Undelivered::OriginGone, out),
            None => self.metrics.add(Counter::Undelivered, 1),
        }
    }

    fn refuse(&mut self, sender: Sender, why: Undelivered, out: &mut Actions) {
        self.tell(sender.conn, sender.deflate, why.code(), why.message(), out);
    }

    /// Tells a sender, wherever it is, that its message reached nobody.
    fn send_refusal(&mut self, from: ClientId, why: Undelivered, out: &mut Actions) {
        if from.shard == self.here {
            self.refused(from, why, out);
        } else {
            self.forward(from.shard, PeerMessage::Refused(from, why), None, out);
        }
    }

    /// At the sender's shard: its message reached nobody.
    pub fn refused(&mut self, client: ClientId, why: Undelivered, out: &mut Actions) {
        if let Some(member) = self.roster.member(client.serial).copied() {
            self.tell(member.conn, member.deflate, why.code(), why.message(), out);
        }
    }

    /// An error to the sender of a message, as a text message; the connection stays.
    fn tell(&mut self, conn: ConnId, deflate: Option<Window>, code: &str, message: &str, out: &mut Actions) {
        self.flush(out);
        let mut text = BytesMut::new();
        envelope::error_message(&mut text, code, message);
        frame::encode(&mut self.buffer, OpCode::Text, &text);
        let frame = self.buffer.split().freeze();
        self.metrics.add(Counter::MessagesRefused, 1);
        let bytes = match deflate {
            None => frame,
            Some(window) => deflated(&mut self.deflate, &frame, window),
        };
        out.push(Action::Send { conn, bytes });
    }

    /// Hands a message to another shard; pauses its source when that shard's window is full.
    pub fn forward(&mut self, peer: ShardId, message: PeerMessage, source: Option<ConnId>, out: &mut Actions) {
        let full = self.links.sent(peer, &message);
        self.metrics.add(Counter::PeerMessages, 1);
        self.metrics.add(Counter::PeerBytes, message.data().map_or(0, |(_, bytes)| bytes as u64));
        out.push(Action::Forward { peer, message });
        if let (true, Some(conn)) = (full, source)
            && self.links.pause(peer, conn)
        {
            self.metrics.add(Counter::Paused, 1);
            out.push(Action::Pause { conn });
        }
    }
}

/// The same frames, each compressed.
fn deflated(deflate: &mut Deflate, frames: &Bytes, window: Window) -> Bytes {
    let mut out = BytesMut::with_capacity(frames.len());
    for (opcode, payload) in frame::own(frames) {
        deflate.encode(&mut out, opcode, window, payload);
    }
    out.freeze()
}

fn count_frames(frames: &[u8]) -> u64 {
    frame::own(frames).count() as u64
}

//! The data plane of a shard: a client's message goes in, sends and forwards come out.
//!
//! Every hop runs one function and nothing returns upstream but credit and the word that a reply's origin has gone:
//! [`Router::take_in`] where the sender is, [`Router::land`] and [`Router::deliver`] where the receivers are. Where a pattern
//! must decide, the sender's shard asks the channel's home first ([`Router::ask`], and back [`Router::taken`]); the messages
//! stay where they are meanwhile. What crosses to another node goes by way of both nodes' gates.
//!
//! Frames are encoded once. Messages that one read brought and that go the same way are gathered into one run of bytes,
//! so that a receiver costs one reference per run and not one per message.

mod decide;

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::action::{Action, Actions};
use crate::asks::Asks;
use crate::config::Config;
use crate::home::{Homes, home_of};
use crate::id::{ChannelId, ClientId, ConnId, GATE, Life, ShardId};
use crate::links::Links;
use crate::members::Members;
use crate::metrics::{Counter, Metrics};
use crate::pattern::Pattern;
use crate::pattern::envelope::{self, Envelope};
use crate::peer::{PeerId, PeerMessage, Taken, Wish};
use crate::roster::{Roster, SlotIndex};
use crate::time::Time;
use crate::wire::deflate::{Deflate, Window};
use crate::wire::frame::{self, OpCode};
use crate::wire::message::Kind;

use decide::Share;

/// Bytes that the buffer for outgoing frames is made with; a run of messages ends when it has as many.
const BUFFER: usize = 64 << 10;
/// Messages of one run, at most: what a list between nodes holds.
const RUN_MAX: usize = 4096;

/// What the sender of a request is told that finds nobody: the error's code, and what it says to a person.
const NO_RECIPIENT: (&str, &str) = ("no-recipient", "no other client is there to take the request");
/// What the sender of a reply is told that finds its origin no more.
const ORIGIN_GONE: (&str, &str) =
    ("origin-gone", "the client that the reply is for has gone, or is not of this channel");

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

/// One message's way.
#[derive(Clone, Copy, Debug)]
pub struct WayBill {
    /// The channel's place in this shard's roster, if it has one.
    pub slot: Option<SlotIndex>,
    /// Who sent it.
    pub from: ClientId,
    /// Who gets it.
    pub to: ClientId,
    /// Whether the sender is told when the receiver has gone.
    pub tell: bool,
}

/// Where the messages gathered so far go.
#[derive(Clone, Copy, Debug)]
enum Run {
    /// Back to the sender.
    Echo(Sender),
    /// To every member; to the sender too if `back`.
    All { sender: Sender, back: bool },
    /// To those whose turns the channel's home says they are, by this rule; the first was taken in then.
    Turns { sender: Sender, wish: Wish, now: Time },
    /// To this client.
    Origin { sender: Sender, origin: ClientId },
}

impl Run {
    fn continues(&self, next: &Run) -> bool {
        match (self, next) {
            (Run::Echo(a), Run::Echo(b)) => a.client == b.client,
            (Run::All { sender: a, back: x }, Run::All { sender: b, back: y }) => a.client == b.client && x == y,
            (Run::Turns { sender: a, wish: x, .. }, Run::Turns { sender: b, wish: y, .. }) => {
                a.client == b.client && x == y
            }
            // Replies go on together whoever they are for.
            (Run::Origin { sender: a, .. }, Run::Origin { sender: b, .. }) => a.client == b.client,
            _ => false,
        }
    }

    /// Whom the message is for, if it says so itself.
    fn origin(&self) -> Option<ClientId> {
        match self {
            Run::Origin { origin, .. } => Some(*origin),
            Run::Turns { .. } | Run::Echo(_) | Run::All { .. } => None,
        }
    }
}

/// The data plane of one shard.
pub struct Router {
    here: ShardId,
    shards: u16,
    /// The node's present life.
    pub life: Life,
    /// Who is in the cluster.
    pub members: Members,
    /// The epoch whose homes are open on this shard; 0 for none.
    pub opened: u64,
    /// The newest epoch before which this shard has told how it stands; 0 for none.
    pub sealed: u64,
    /// The newest epoch before which turns count for nothing any more on this shard; 0 for none.
    pub spent: u64,
    /// Until when this node may decide.
    pub lease: Time,
    /// Who is on which channel.
    pub roster: Roster,
    /// The channels that this shard decides for.
    pub homes: Homes,
    /// What is under way to other shards and nodes.
    pub links: Links,
    /// Messages of this shard's clients that wait for their turns.
    pub asks: Asks,
    /// What this shard said to itself.
    pub inbox: VecDeque<PeerMessage>,
    /// On the gate: what goes to other nodes.
    pub outbox: VecDeque<(Life, PeerMessage)>,
    /// The figures of this shard.
    pub metrics: Metrics,
    run: Option<Run>,
    messages: usize,
    /// Whom the replies of the run are for.
    origins: Vec<ClientId>,
    buffer: BytesMut,
    /// The run that is being handed out, by where it goes: working memory.
    shares: Vec<Share>,
    /// Turns that are handed out at once: working memory.
    taken: Taken,
    /// Where frames for one client become one piece.
    bundles: BytesMut,
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
    /// The data plane of shard `here` of a node in its first life.
    pub fn new(here: ShardId, life: Life, config: &Config) -> Self {
        let shards = config.shards.max(1);
        let window = config.peer_window_bytes;
        Router {
            here,
            shards,
            life,
            members: Members::new(),
            opened: 0,
            sealed: 0,
            spent: 0,
            lease: Time::ZERO,
            roster: Roster::new(),
            homes: Homes::new(),
            links: Links::new(shards, window),
            asks: Asks::new(window, config.asks_max),
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            metrics: Metrics::default(),
            run: None,
            messages: 0,
            origins: Vec::new(),
            buffer: BytesMut::with_capacity(BUFFER),
            shares: Vec::new(),
            taken: Taken::default(),
            bundles: BytesMut::new(),
            request: BytesMut::new(),
            deflate: Deflate::new(),
        }
    }

    /// Whether this shard has the links to other nodes.
    pub fn is_gate(&self) -> bool {
        self.here == GATE
    }

    /// Whether homes on this shard may decide: their epoch is the present one and open, and the lease lasts.
    pub fn may_decide(&self, now: Time) -> bool {
        let open = self.opened == self.members.epoch() || mutant!(DecidesInSealedEpoch);
        self.opened > 0 && open && (now < self.lease || mutant!(ServesWithoutLease))
    }

    /// The next hop to a shard of a live node; `None` if the life has ended.
    pub fn toward(&self, life: Life, shard: ShardId) -> Option<PeerId> {
        if life == self.life {
            return (shard.0 < self.shards).then_some(PeerId::Shard(shard));
        }
        self.members.node_of(life)?;
        Some(if self.is_gate() { PeerId::Node(life) } else { PeerId::Shard(GATE) })
    }

    /// The next hop to the shard that decides for a channel; `None` while no node is live.
    pub fn home(&self, channel: ChannelId) -> Option<PeerId> {
        let life = self.members.home(channel)?;
        self.toward(life, home_of(channel, self.shards))
    }

    /// Whether this shard decides for a channel.
    pub fn is_home(&self, channel: ChannelId) -> bool {
        self.home(channel) == Some(PeerId::Shard(self.here))
    }

    /// The other shards of the node.
    pub fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let here = self.here;
        (0..self.shards).map(ShardId).filter(move |shard| *shard != here)
    }

    /// Where a message goes on to from here: to a client's shard, to a channel's home. `None` where it ends here, or
    /// where nobody is left to take it.
    pub fn next_hop(&self, message: &PeerMessage) -> Option<PeerId> {
        let hop = match message {
            PeerMessage::Leave(client, _) if mutant!(DropsLeave) && client.life == self.life => None,
            PeerMessage::Seat { channel, .. } | PeerMessage::Ask { channel, .. } | PeerMessage::Leave(_, channel) => {
                self.home(*channel)
            }
            PeerMessage::Seated { client, .. } | PeerMessage::OriginGone(client) => {
                self.toward(client.life, client.shard)
            }
            PeerMessage::Deliver { to: (life, shard), .. } | PeerMessage::Turns { to: (life, shard), .. } => {
                self.toward(*life, *shard)
            }
            _ => None,
        };
        hop.filter(|peer| *peer != PeerId::Shard(self.here))
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
            Pattern::PushPull => self.gather(Run::Turns { sender, wish: Wish::Pull, now }, kind, payload, out),
            Pattern::ReqRepl | Pattern::FanInOut => match envelope::parse(payload) {
                Err(malformed) => self.tell(sender.conn, sender.deflate, "malformed", malformed.reason(), out),
                Ok(envelope) => self.take_in_envelope(now, (pattern, sender), kind, payload, &envelope, out),
            },
        }
    }

    fn take_in_envelope(
        &mut self,
        now: Time,
        (pattern, sender): (Pattern, Sender),
        kind: Kind,
        payload: &[u8],
        envelope: &Envelope<'_>,
        out: &mut Actions,
    ) {
        let request = match envelope {
            Envelope::Request(request) => request,
            Envelope::Reply(reply) => {
                let Some(origin) = ClientId::parse(reply.origin()) else {
                    return self.refuse(sender.client, ORIGIN_GONE, out);
                };
                return self.gather(Run::Origin { sender, origin }, kind, payload, out);
            }
        };
        let mut message = std::mem::take(&mut self.request);
        message.clear();
        envelope::write_request(&mut message, payload, request, sender.client);
        let here = self.here;
        if pattern == Pattern::FanInOut {
            self.gather(Run::Turns { sender, wish: Wish::Request, now }, kind, &message, out);
        } else if self.roster.at(sender.slot).is_some_and(|local| local.has_others(sender.client, here)) {
            self.gather(Run::All { sender, back: false }, kind, &message, out);
        } else {
            self.refuse(sender.client, NO_RECIPIENT, out);
        }
        self.request = message;
    }

    /// Adds a message to the run, which is sent first if it goes another way.
    fn gather(&mut self, run: Run, kind: Kind, payload: &[u8], out: &mut Actions) {
        if !self.run.as_ref().is_some_and(|open| open.continues(&run)) {
            self.flush(out);
        }
        self.origins.extend(run.origin());
        self.run.get_or_insert(run);
        frame::encode(&mut self.buffer, kind.opcode(), payload);
        self.messages += 1;
        if self.buffer.len() >= BUFFER || self.messages >= RUN_MAX {
            self.flush(out);
        }
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
            Run::Turns { sender, wish, now } => self.take_turns(now, (sender, wish), (frames, messages), out),
            Run::Origin { sender, .. } => self.reply(sender, frames, out),
            Run::Echo(sender) => {
                self.metrics.messages_out(messages as u64, frames.len());
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
                let abroad = local.abroad;
                let publish = || PeerMessage::Publish { channel, frames: frames.clone(), from: sender.client, back };
                for shard in &elsewhere {
                    self.forward(PeerId::Shard(*shard), publish(), Some(sender.conn), out);
                }
                if abroad && self.is_gate() {
                    self.cross(channel, publish, Some(sender.conn), out);
                } else if abroad && !elsewhere.contains(&GATE) {
                    self.forward(PeerId::Shard(GATE), publish(), Some(sender.conn), out);
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
        messages: usize,
        from: ClientId,
        back: bool,
        out: &mut Actions,
    ) {
        let own = (from.life == self.life && from.shard == self.here).then_some(from.serial);
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
        self.metrics.messages_out((messages * receivers) as u64, frames.len() * receivers);
    }

    /// On the gate: to every node that has clients on a channel. Says which window is full now, if one is.
    fn cross(
        &mut self,
        channel: ChannelId,
        publish: impl Fn() -> PeerMessage,
        source: Option<ConnId>,
        out: &mut Actions,
    ) -> Option<PeerId> {
        let nodes = self.roster.find(channel).and_then(|slot| self.roster.at(slot)?.nodes.as_deref_mut());
        // Lent, not copied, as above.
        let interested = nodes.map(|nodes| std::mem::take(&mut nodes.interested)).unwrap_or_default();
        if interested.is_empty() || mutant!(ForgetsTellAbroad) {
            return None;
        }
        let mut full = None;
        for life in &interested {
            let peer = PeerId::Node(*life);
            self.forward(peer, publish(), source, out);
            full = self.links.is_full(peer).then_some(peer).or(full);
        }
        if let Some(local) = self.roster.find(channel).and_then(|slot| self.roster.at(slot)) {
            local.nodes().interested = interested;
        }
        full
    }

    /// A run from another shard or node has arrived. At the gate it goes on: what a sibling took in, to other nodes; what
    /// another node took in, to the siblings. Says which window is full now, if one is.
    pub fn land(
        &mut self,
        channel: ChannelId,
        frames: &Bytes,
        from: ClientId,
        back: bool,
        out: &mut Actions,
    ) -> Option<PeerId> {
        let slot = self.roster.find(channel)?;
        let messages = frame::count(frames);
        self.fan_out(slot, frames, messages, from, back, out);
        if !self.is_gate() {
            return None;
        }
        let publish = || PeerMessage::Publish { channel, frames: frames.clone(), from, back };
        if from.life == self.life {
            return self.cross(channel, publish, None, out);
        }
        let siblings: Vec<ShardId> = self.roster.at(slot)?.elsewhere.iter().copied().collect();
        let mut full = None;
        for shard in siblings {
            let peer = PeerId::Shard(shard);
            self.forward(peer, publish(), None, out);
            full = self.links.is_full(peer).then_some(peer).or(full);
        }
        full
    }

    /// Gives so many messages to a client of this shard, which goes to this place in the queue.
    fn give(&mut self, way: WayBill, stamp: Option<u64>, (frames, count): (Bytes, usize), out: &mut Actions) {
        let WayBill { slot, to, .. } = way;
        let local =
            slot.filter(|_| to.shard == self.here && to.life == self.life).and_then(|slot| self.roster.at(slot));
        let member = local.and_then(|local| local.members.get_mut(&to.serial)).map(|member| {
            member.stamp = member.stamp.max(stamp);
            *member
        });
        match member {
            Some(member) => {
                self.metrics.messages_out(count as u64, frames.len());
                let bytes = match member.deflate {
                    None => frames,
                    Some(window) => deflated(&mut self.deflate, &frames, window),
                };
                out.push(Action::Send { conn: member.conn, bytes });
            }
            None => (0..count).for_each(|_| self.miss(way, out)),
        }
    }

    /// The receiver is not there any more.
    pub fn miss(&mut self, way: WayBill, out: &mut Actions) {
        let WayBill { from, tell, .. } = way;
        match self.toward(from.life, from.shard).filter(|_| tell) {
            Some(PeerId::Shard(shard)) if shard == self.here => self.origin_gone(from, out),
            Some(peer) => self.forward(peer, PeerMessage::OriginGone(from), None, out),
            // Whoever sent it is gone.
            None if tell => {}
            None => self.metrics.add(Counter::Undelivered, 1),
        }
    }

    /// At the sender's shard: its reply reached nobody.
    pub fn origin_gone(&mut self, client: ClientId, out: &mut Actions) {
        self.refuse(client, ORIGIN_GONE, out);
    }

    /// Tells a sender of this shard, if it is still there, that its message reached nobody.
    fn refuse(&mut self, client: ClientId, (code, message): (&str, &str), out: &mut Actions) {
        if let Some(member) = self.roster.member(client.serial).copied() {
            self.tell(member.conn, member.deflate, code, message, out);
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

    /// Hands a message to a peer, which may be this shard; pauses its source when the peer's window is full.
    pub fn forward(&mut self, peer: PeerId, message: PeerMessage, source: Option<ConnId>, out: &mut Actions) {
        if peer == PeerId::Shard(self.here) {
            return self.inbox.push_back(message);
        }
        let full = self.links.sent(peer, &message);
        self.metrics.add(Counter::PeerMessages, 1);
        self.metrics.add(Counter::PeerBytes, message.data().map_or(0, |bytes| bytes as u64));
        match peer {
            PeerId::Shard(peer) => out.push(Action::Forward { peer, message }),
            PeerId::Node(life) => self.outbox.push_back((life, message)),
        }
        if let (true, Some(conn)) = (full, source)
            && self.links.pause(peer, conn)
        {
            self.metrics.add(Counter::Paused, 1);
            out.push(Action::Pause { conn });
        }
    }

    /// Whether a socket is paused because too much of its is under way.
    pub fn is_paused(&self, conn: ConnId) -> bool {
        self.links.is_paused(conn) || self.asks.is_paused(conn)
    }

    /// Forgets a socket.
    pub fn forget(&mut self, conn: ConnId) {
        self.links.forget(conn);
        self.asks.forget(conn);
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

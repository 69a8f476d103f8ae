//! The gate of a node: all its links to others.
//!
//! It knows connections, who is at their other ends, and two classes of words: *post* is sent once if the link is up,
//! *mail* arrives once and in order as long as both lives last, however often the connection is lost. It knows no Raft, no
//! channel and no client. Rules guarded: nobody who has not proven that he knows the cluster's secret hears or says
//! anything but a hello; whatever the other end sends takes no more memory than the limits named here; and no bytes make it
//! panic: they end the connection with a reason.
//!
//! Say what happened to connections ([`Gate::linked`], [`Gate::received`], …), take what was heard
//! ([`Gate::next_heard`]), write ([`Gate::post`], [`Gate::mail`]), and at the end of the turn let what was written go
//! out ([`Gate::flush`]).

mod dials;
mod fault;
mod frame;
mod hello;
mod link;
mod mail;
mod shaking;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ring::hmac;

use crate::action::{Action, Actions, Over};
use crate::config::{Config, NodeAddress, Secret};
use crate::event::Event;
use crate::id::{ConnId, DialId, Life, NodeId};
use crate::peer::PeerMessage;
use crate::random::Random;
use crate::time::Time;
use crate::timers::Timers;
use crate::wire::compact::Reader;

use dials::{Purpose, Wanted};
pub use fault::{LinkEnd, LinkFault};
use frame::{ACK, MAIL, PING, PONG, POST, REFUSE, START, TOLD};
use hello::Versions;
pub use hello::{Introduction, VERSION, VERSION_MIN};
use link::{Conn, Link, Peer, Phase};
pub use view::{LinkView, UpView};

/// The most other lives that a node keeps something of: links, mail, whom to dial.
pub const NODES_MAX: usize = 4_096;
/// The most ended lives that are remembered; the first to end is forgotten first. None of them ever comes back.
const ENDED_MAX: usize = 4_096;
/// Beside a message, a frame may hold so many bytes: what was read with it, and its own head.
const FRAME_OVERHEAD: usize = 1 << 20;
/// The longest frame that every node takes, whatever `WRS_MAX_MESSAGE_SIZE` says: the words of the control plane.
const FRAME_BYTES_MIN: usize = 8 << 20;
/// The longest frame that is ever taken: a node whose `WRS_MAX_MESSAGE_SIZE` is larger says so in its hello.
const FRAME_BYTES_CAP: usize = (1 << 30) + FRAME_OVERHEAD;
/// Refused connections that get a line of their own within [`REFUSAL_SILENCE`].
const REFUSAL_LINES: u32 = 8;
const REFUSAL_SILENCE: Duration = Duration::from_secs(10);

/// What the gate tells its node.
#[derive(Debug)]
pub enum Heard {
    /// There is a link with a life. What was posted before it came up is lost.
    Up {
        /// Whose.
        life: Life,
        /// What it says of itself.
        introduction: Introduction,
        /// The other end.
        from: SocketAddr,
    },
    /// The link is down. Mail waits for the next one.
    Down {
        /// Whose.
        life: Life,
    },
    /// Another node has a new cluster, or something else new to say of itself.
    Told {
        /// Its life.
        life: Life,
        /// What it says now.
        introduction: Introduction,
    },
    /// A word that was sent once.
    Post(Life, Bytes),
    /// A piece of mail: each once, in order.
    Mail(Life, PeerMessage),
    /// [`Gate::meet`] has found somebody. The link with it is up, or (both dialed at once) comes up about now; unless it is
    /// this node itself, which its life tells.
    Met {
        /// The dial.
        dial: DialId,
        /// Whom.
        life: Life,
        /// What it says of itself.
        introduction: Introduction,
        /// Where it was found.
        from: SocketAddr,
    },
    /// [`Gate::meet`] has found nobody that there could be a link with.
    Unmet {
        /// The dial.
        dial: DialId,
        /// Why.
        why: LinkEnd,
    },
    /// At the address of a life that a link is wanted with there is another, with which there is a link. It is said after
    /// each attempt.
    Succeeded {
        /// Who was expected.
        life: Life,
        /// Who is there.
        introduction: Introduction,
        /// Where.
        from: SocketAddr,
    },
}

/// Who wakes when a time is reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Wake {
    Conn(ConnId),
    Dial(Life),
}

/// How a connection ends on this side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    /// The socket is gone already.
    Gone,
    /// Now.
    Close,
    /// When the other end has read everything.
    Finish,
    /// When the other end has read everything, and why.
    Tell(LinkFault),
}

/// Lives that have ended.
#[derive(Debug, Default)]
struct Ended {
    lives: BTreeSet<Life>,
    order: VecDeque<Life>,
}

impl Ended {
    fn add(&mut self, life: Life) {
        if self.lives.insert(life) {
            self.order.push_back(life);
        }
        if self.order.len() > ENDED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.lives.remove(&oldest);
        }
    }

    fn holds(&self, life: Life) -> bool {
        self.lives.contains(&life)
    }
}

/// Keeps strangers at the port from filling the log.
#[derive(Debug, Default)]
struct Refusals {
    since: Time,
    lines: u32,
    silent: u64,
}

impl Refusals {
    /// Whether this one gets a line, and how many got none since the last.
    fn line(&mut self, now: Time) -> Option<u64> {
        if self.lines == 0 || now.since(self.since) >= REFUSAL_SILENCE {
            (self.since, self.lines) = (now, 0);
        }
        if self.lines >= REFUSAL_LINES {
            self.silent = self.silent.saturating_add(1);
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.silent))
    }
}

/// All links of a node.
pub struct Gate {
    config: Arc<Config>,
    introduction: Introduction,
    random: Random,
    versions: Versions,
    secret: hmac::Key,
    /// The longest frame that this node sends, and that it takes from anyone.
    frame_bytes_max: usize,
    conns: BTreeMap<ConnId, Conn>,
    peers: BTreeMap<Life, Peer>,
    /// Dials under way.
    dials: BTreeMap<DialId, Purpose>,
    /// Dials that the next flush begins.
    to_dial: Vec<(DialId, NodeAddress)>,
    last_dial: u64,
    /// Counts the links that this node, being the higher life, has made.
    last_serial: u64,
    ended: Ended,
    timers: Timers<Wake>,
    heard: VecDeque<Heard>,
    /// Lives that something is to be said to.
    dirty: Vec<Life>,
    refusals: Refusals,
    faults: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("here", &self.introduction.life)
            .field("conns", &self.conns)
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate without links. `random` is its own stream.
    pub fn new(config: Arc<Config>, introduction: Introduction, random: Random) -> Self {
        let secret = config.cluster_secret.as_ref().map(Secret::expose).unwrap_or_default();
        Gate {
            secret: hmac::Key::new(hmac::HMAC_SHA256, secret),
            frame_bytes_max: config.message_bytes_max.saturating_add(FRAME_OVERHEAD).max(FRAME_BYTES_MIN),
            versions: Versions { newest: config.protocol, ..Versions::OURS },
            config,
            introduction,
            random,
            conns: BTreeMap::new(),
            peers: BTreeMap::new(),
            dials: BTreeMap::new(),
            to_dial: Vec::new(),
            last_dial: 0,
            last_serial: 0,
            ended: Ended::default(),
            timers: Timers::new(),
            heard: VecDeque::new(),
            dirty: Vec::new(),
            refusals: Refusals::default(),
            faults: 0,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// What this node says of itself.
    pub fn introduction(&self) -> &Introduction {
        &self.introduction
    }

    /// The node has something else to say of itself. With a new life everything begins anew: all connections are closed,
    /// all mail is dropped, and those whom a link is wanted with are dialed again. Anything else is told to those who are
    /// linked.
    pub fn set_introduction(&mut self, now: Time, introduction: Introduction, out: &mut Actions) {
        if introduction == self.introduction {
            return;
        }
        let reborn = introduction.life != self.introduction.life;
        self.introduction = introduction;
        if reborn {
            self.begin_anew(now, out);
            return;
        }
        let linked: Vec<Life> = self.linked_lives().collect();
        for life in linked {
            if let Some(link) = self.peers.get_mut(&life).and_then(|peer| peer.link.as_mut()) {
                link.tell = true;
            }
            self.mark(life);
        }
    }

    fn begin_anew(&mut self, now: Time, out: &mut Actions) {
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.end(now, conn, LinkEnd::Over, How::Close, out);
        }
        let wanted: Vec<(Life, NodeAddress)> =
            self.peers.iter().filter_map(|(life, peer)| Some((*life, peer.wanted.as_ref()?.address.clone()))).collect();
        for peer in self.peers.values_mut() {
            peer.mail = None;
        }
        self.expect(now, Vec::new());
        self.expect(now, wanted);
    }

    /// Whom to be linked with, from now on: those who are not are dialed until they are. Links with others stay as they
    /// are.
    pub fn expect(&mut self, now: Time, wanted: Vec<(Life, NodeAddress)>) {
        let mut wanted: BTreeMap<Life, NodeAddress> = wanted.into_iter().take(NODES_MAX).collect();
        wanted.remove(&self.introduction.life);
        for (life, peer) in &mut self.peers {
            let Some(known) = &mut peer.wanted else { continue };
            match wanted.remove(life) {
                Some(address) => known.address = address,
                None => {
                    self.timers.set(&mut known.timer, Wake::Dial(*life), None);
                    peer.wanted = None;
                }
            }
        }
        for (life, address) in wanted {
            let peer = self.peers.entry(life).or_default();
            let mut new = Wanted::new(address, life < self.introduction.life);
            if peer.link.is_none() {
                let at = new.first_at(now);
                self.timers.set(&mut new.timer, Wake::Dial(life), Some(at));
            }
            peer.wanted = Some(new);
        }
        self.peers.retain(|_, peer| !peer.is_idle());
    }

    /// Reaches out once to a node of unknown life: [`Heard::Met`] or [`Heard::Unmet`] follows. The link, if there is one,
    /// stays until one of the two hangs up.
    pub fn meet(&mut self, address: NodeAddress) -> DialId {
        self.dial(Purpose::Meet, address)
    }

    /// A number for a dial of somebody else on this shard, so that no two have the same.
    pub fn next_dial(&mut self) -> DialId {
        self.last_dial += 1;
        DialId(self.last_dial)
    }

    fn dial(&mut self, purpose: Purpose, address: NodeAddress) -> DialId {
        let dial = self.next_dial();
        self.dials.insert(dial, purpose);
        let port = address.port.or(Some(self.config.node_port));
        self.to_dial.push((dial, NodeAddress { port, ..address }));
        dial
    }

    /// A dial has failed. False: it was none of the gate's.
    pub fn dial_failed(&mut self, now: Time, dial: DialId, why: String) -> bool {
        match self.dials.remove(&dial) {
            Some(Purpose::Meet) => self.heard.push_back(Heard::Unmet { dial, why: LinkEnd::Unreachable(why) }),
            Some(Purpose::Link(life)) => self.failed(now, life),
            None => return false,
        }
        true
    }

    /// Whether a connection is one of the gate's.
    pub fn has(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    /// Bytes have arrived on a connection.
    pub fn received(&mut self, now: Time, conn: ConnId, bytes: &[u8], out: &mut Actions) {
        let Some(entry) = self.conns.get_mut(&conn).filter(|entry| !matches!(entry.phase, Phase::Leaving)) else {
            return;
        };
        entry.frames.push(bytes);
        self.bytes_in += bytes.len() as u64;
        if let Phase::Up(life) = entry.phase
            && let Some(link) = self.peers.get_mut(&life).and_then(|peer| peer.link.as_mut())
        {
            link.heard_at = now;
            link.traffic.bytes_in += bytes.len() as u64;
        }
        loop {
            match self.next_frame(now, conn, out) {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => return self.end(now, conn, LinkEnd::Fault(fault), How::Tell(fault), out),
            }
        }
        if let Some(entry) = self.conns.get_mut(&conn) {
            entry.frames.shrink();
        }
    }

    /// Reads one frame. False: there is none.
    fn next_frame(&mut self, now: Time, conn: ConnId, out: &mut Actions) -> Result<bool, LinkFault> {
        let Some(entry) = self.conns.get_mut(&conn) else { return Ok(false) };
        match entry.phase {
            Phase::Shaking(_) => {
                let Some((kind, body)) = entry.frames.next(hello::FRAME_BYTES_MAX)? else { return Ok(false) };
                self.shake(now, conn, kind, body, out)?;
            }
            Phase::Up(life) => {
                let Some(peer) = self.peers.get_mut(&life) else { return Ok(false) };
                let limit = peer.link.as_ref().map_or(0, |link| link.frame_bytes_max);
                let Some((kind, body)) = entry.frames.next(limit)? else { return Ok(false) };
                if kind == REFUSE {
                    let why = LinkFault::from_code(body.first().copied().unwrap_or_default());
                    self.end(now, conn, LinkEnd::Refused(why), How::Close, out);
                    return Ok(false);
                }
                self.frame(now, life, kind, body)?;
            }
            Phase::Leaving => return Ok(false),
        }
        Ok(true)
    }

    /// A frame of a link.
    fn frame(&mut self, now: Time, life: Life, kind: u8, body: Bytes) -> Result<(), LinkFault> {
        let Some(peer) = self.peers.get_mut(&life) else { return Ok(()) };
        let Some(link) = &mut peer.link else { return Ok(()) };
        match kind {
            MAIL | START | ACK if link.muted => return Ok(()),
            MAIL => {
                link.traffic.messages_in += 1;
                let version = link.version;
                let mail = peer.mail.as_mut().ok_or(LinkFault::OutOfTurn)?;
                if let Some(message) = mail.inbox.take(now, body, version)? {
                    self.heard.push_back(Heard::Mail(life, message));
                }
            }
            POST => {
                link.traffic.messages_in += 1;
                self.heard.push_back(Heard::Post(life, body));
                return Ok(());
            }
            START => peer.start(number(body)?)?,
            ACK => {
                let number = number(body)?;
                peer.mail.as_mut().ok_or(LinkFault::OutOfTurn)?.outbox.acknowledged(number)?;
                return Ok(());
            }
            PING => link.pinged(number(body)?),
            PONG => {
                link.ponged(now, number(body)?);
                return Ok(());
            }
            TOLD => return self.told(life, body),
            _ => return Err(LinkFault::OutOfTurn),
        }
        // There is something to answer.
        self.mark(life);
        Ok(())
    }

    /// The other end introduces itself anew: what it is called cannot change.
    fn told(&mut self, life: Life, body: Bytes) -> Result<(), LinkFault> {
        let new = Introduction::read(&mut Reader::new(body)).ok_or(LinkFault::Malformed)?;
        let Some(known) = self.peers.get_mut(&life).and_then(|peer| peer.introduction.as_mut()) else { return Ok(()) };
        if (new.node, new.life, new.id_length) != (known.node, known.life, known.id_length) {
            return Err(LinkFault::Malformed);
        }
        *known = new.clone();
        self.heard.push_back(Heard::Told { life, introduction: new });
        Ok(())
    }

    /// A write was tried on a connection; `unsent` bytes are left. True: there is room again for what was held back, and
    /// [`Gate::flush`] is to be called.
    #[must_use]
    pub fn flushed(&mut self, conn: ConnId, unsent: usize) -> bool {
        let Some(entry) = self.conns.get_mut(&conn) else { return false };
        let was_full = std::mem::replace(&mut entry.unsent, unsent) >= link::SOCKET_BYTES_MAX;
        let Phase::Up(life) = entry.phase else { return false };
        let Some(peer) = self.peers.get(&life) else { return false };
        let waits = was_full || peer.mail.as_ref().is_some_and(|mail| mail.outbox.is_waiting());
        let resumes = waits && unsent < link::SOCKET_BYTES_MAX;
        if resumes {
            self.mark(life);
        }
        resumes
    }

    /// The other end has sent all that it will: a link has two directions or none.
    pub fn ended(&mut self, now: Time, conn: ConnId, out: &mut Actions) {
        self.end(now, conn, LinkEnd::Ended, How::Close, out);
    }

    /// A connection is gone.
    pub fn closed(&mut self, now: Time, conn: ConnId, out: &mut Actions) {
        self.end(now, conn, LinkEnd::Ended, How::Gone, out);
    }

    /// The other end broke TLS; the connection is gone.
    pub fn broken(&mut self, now: Time, conn: ConnId, why: String, out: &mut Actions) {
        self.end(now, conn, LinkEnd::Broken(why), How::Gone, out);
    }

    /// Everything that is due at `now`. Call [`Gate::flush`] after it.
    pub fn timeout(&mut self, now: Time, out: &mut Actions) {
        while let Some(wake) = self.timers.pop_due(now) {
            match wake {
                Wake::Conn(conn) => self.wake_conn(now, conn, out),
                Wake::Dial(life) => self.wake_dial(life),
            }
        }
    }

    fn wake_conn(&mut self, now: Time, conn: ConnId, out: &mut Actions) {
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        // Whoever slept (the machine was suspended, the thread held up) has not listened either: the silence is its own.
        let slept = entry.timer.take().is_some_and(|due| now.since(due) > self.config.heartbeat);
        match entry.phase {
            Phase::Shaking(_) => {
                self.end(now, conn, LinkEnd::Fault(LinkFault::Slow), How::Tell(LinkFault::Slow), out);
            }
            Phase::Leaving => self.end(now, conn, LinkEnd::Ended, How::Close, out),
            Phase::Up(life) => {
                let Some(peer) = self.peers.get_mut(&life) else { return };
                let Some(link) = &mut peer.link else { return };
                if slept {
                    link.heard_at = now;
                }
                if now.since(link.heard_at) >= self.config.election_timeout_min {
                    return self.end(now, conn, LinkEnd::Silent, How::Close, out);
                }
                peer.wake(now, self.config.heartbeat);
                self.mark(life);
            }
        }
    }

    fn wake_dial(&mut self, life: Life) {
        let Some(peer) = self.peers.get_mut(&life) else { return };
        let Some(wanted) = &mut peer.wanted else { return };
        wanted.timer = None;
        if peer.link.is_none() && !std::mem::replace(&mut wanted.busy, true) {
            let address = wanted.address.clone();
            self.dial(Purpose::Link(life), address);
        }
    }

    /// When [`Gate::timeout`] is due; `None` while nothing waits for a time.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.first()
    }

    /// Says something once, if the link is up and not held up. False: nobody will hear it.
    pub fn post(&mut self, life: Life, bytes: &Bytes) -> bool {
        let Some(peer) = self.peers.get_mut(&life).filter(|_| bytes.len() < self.frame_bytes_max) else { return false };
        let conn = peer.link.as_ref().and_then(|link| self.conns.get(&link.conn));
        let posted = peer.post(conn.map_or(0, |conn| conn.unsent), bytes);
        if posted {
            self.mark(life);
        }
        posted
    }

    /// Writes to a life: it gets this once, and in order, while both lives last. False, and nothing is written: the life
    /// has ended, the message is none that crosses nodes or is longer than a frame of this node may be, or too many lives
    /// are known.
    pub fn mail(&mut self, now: Time, life: Life, message: &PeerMessage) -> bool {
        if self.ended.holds(life) || (self.peers.len() >= NODES_MAX && !self.peers.contains_key(&life)) {
            return false;
        }
        let written = self.peers.entry(life).or_default().write(now, message, self.frame_bytes_max);
        self.mark(life);
        written
    }

    /// Bytes of mail that a life is not known to have.
    pub fn unacknowledged(&self, life: Life) -> usize {
        self.peers.get(&life).and_then(|peer| peer.mail.as_ref()).map_or(0, |mail| mail.outbox.unacknowledged())
    }

    /// Whether the link with a life is up.
    pub fn is_up(&self, life: Life) -> bool {
        self.link(life).is_some()
    }

    /// A life has ended, for all and for good: its mail is dropped in both directions and its link is closed. If it dials
    /// again, not knowing it yet, it is linked, but no mail is exchanged.
    pub fn forget(&mut self, now: Time, life: Life, out: &mut Actions) {
        self.ended.add(life);
        if let Some(conn) = self.link(life).map(|link| link.conn) {
            self.end(now, conn, LinkEnd::Over, How::Close, out);
        }
        if let Some(peer) = self.peers.get_mut(&life) {
            peer.mail = None;
        }
        self.peers.retain(|_, peer| !peer.is_idle());
    }

    /// Closes the link with a life once everything that was posted is sent. It is dialed again if it is still expected.
    pub fn hang_up(&mut self, now: Time, life: Life, out: &mut Actions) {
        self.flush_link(now, life, out);
        if let Some(conn) = self.link(life).map(|link| link.conn) {
            self.end(now, conn, LinkEnd::HungUp, How::Finish, out);
        }
    }

    /// Lets everything go out that was said since the last flush. Call it at the end of each turn.
    pub fn flush(&mut self, now: Time, out: &mut Actions) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for life in dirty.drain(..) {
            self.flush_link(now, life, out);
        }
        // What a flush marks is flushed again next turn; the list keeps its memory.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
        for (dial, address) in self.to_dial.drain(..) {
            out.push(Action::Dial { dial, address, over: Over::Link });
        }
    }

    fn flush_link(&mut self, now: Time, life: Life, out: &mut Actions) {
        let Some(peer) = self.peers.get_mut(&life) else { return };
        let Some(conn) = peer.link.as_ref().map(|link| link.conn) else { return };
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        self.bytes_out += peer.flush(now, entry, &self.introduction, out);
        let at = peer.wake_at(self.config.election_timeout_min);
        self.timers.set(&mut entry.timer, Wake::Conn(conn), at);
    }

    /// What was heard, in order. Take everything after each input.
    pub fn next_heard(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }

    /// The link with a life.
    fn link(&self, life: Life) -> Option<&Link> {
        self.peers.get(&life)?.link.as_ref()
    }

    fn linked_lives(&self) -> impl Iterator<Item = Life> + '_ {
        self.peers.iter().filter(|(_, peer)| peer.link.is_some()).map(|(life, _)| *life)
    }

    /// Notes that something is to be said to a life.
    fn mark(&mut self, life: Life) {
        if let Some(link) = self.peers.get_mut(&life).and_then(|peer| peer.link.as_mut())
            && !std::mem::replace(&mut link.dirty, true)
        {
            self.dirty.push(life);
        }
    }

    /// Queues bytes on a connection.
    fn send(&mut self, conn: ConnId, bytes: Bytes, out: &mut Actions) {
        if let Some(entry) = self.conns.get_mut(&conn) {
            self.bytes_out += entry.send(conn, bytes, out);
        }
    }

    fn report(&self, event: Event, out: &mut Actions) {
        out.push(Action::Report(event));
    }

    /// Ends a connection, whatever it was.
    fn end(&mut self, now: Time, conn: ConnId, why: LinkEnd, how: How, out: &mut Actions) {
        let Some(mut entry) = self.conns.remove(&conn) else { return };
        self.timers.set(&mut entry.timer, Wake::Conn(conn), None);
        match how {
            How::Gone => {}
            How::Close => out.push(Action::Close { conn }),
            How::Finish => self.leave(now, conn, &entry, out),
            How::Tell(fault) => {
                let mut words = BytesMut::new();
                frame::put(&mut words, REFUSE, &[fault.code()]);
                self.bytes_out += entry.send(conn, words.freeze(), out);
                self.leave(now, conn, &entry, out);
            }
        }
        match entry.phase {
            Phase::Shaking(_) => {
                self.complain(now, entry.from, &why, out);
                self.unmade(now, &entry, why);
            }
            Phase::Up(life) => self.lost(now, life, &why, out),
            Phase::Leaving => {}
        }
    }

    /// Lets the other end read what it was told, for a while.
    fn leave(&mut self, now: Time, conn: ConnId, entry: &Conn, out: &mut Actions) {
        out.push(Action::Finish { conn });
        let mut leaving = Conn {
            from: entry.from,
            dial: None,
            since: now,
            phase: Phase::Leaving,
            frames: Default::default(),
            timer: None,
            unsent: entry.unsent,
        };
        self.timers.set(&mut leaving.timer, Wake::Conn(conn), Some(now + self.config.discard_timeout));
        self.conns.insert(conn, leaving);
    }

    /// A connection that was no link ended because somebody did something wrong.
    fn complain(&mut self, now: Time, from: SocketAddr, why: &LinkEnd, out: &mut Actions) {
        if !why.is_fault() {
            return;
        }
        self.faults += 1;
        if let Some(others) = self.refusals.line(now) {
            self.report(Event::LinkRefused { from, why: why.to_string(), others }, out);
        }
    }

    /// A link has ended.
    fn lost(&mut self, now: Time, life: Life, why: &LinkEnd, out: &mut Actions) {
        self.faults += u64::from(why.is_fault());
        let Some(peer) = self.peers.get_mut(&life) else { return };
        let Some(link) = peer.link.take() else { return };
        if let Some(wanted) = peer.wanted.as_mut().filter(|_| now.since(link.since) >= dials::PAUSE_MAX) {
            wanted.lasted();
        }
        let node = peer.introduction.as_ref().map_or(NodeId(0), |introduction| introduction.node);
        let idle = peer.is_idle();
        if idle {
            self.peers.remove(&life);
        }
        self.report(Event::LinkDown { node, life, why: why.to_string() }, out);
        self.heard.push_back(Heard::Down { life });
        self.redial(now, life);
    }
}

/// The one number that a frame says.
fn number(body: Bytes) -> Result<u64, LinkFault> {
    let mut reader = Reader::new(body);
    let number = reader.number();
    reader.end(number).flatten().ok_or(LinkFault::Malformed)
}

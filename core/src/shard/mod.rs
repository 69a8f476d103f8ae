//! The front door: one shard of a node as a pure state machine.
//!
//! [`Shard::handle`] takes what happened and leaves what is to be done in a list that the caller owns. It cannot fail, it
//! never waits, and it knows no socket, clock or thread: equal keys and equal inputs give equal actions, to the byte.
//!
//! The rooms behind it: `requests` (HTTP), `clients` (from the handshake to the last message), `peers` (what the shards
//! of a node say to one another), `surveys` (questions that other shards answer) and `times` (what happens when nothing
//! happens).

mod abroad;
mod barrier;
mod clients;
mod control;
mod epochs;
mod operate;
mod peers;
mod requests;
mod sessions;
mod surveys;
mod times;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::action::{Action, Actions};
use crate::admission::CreateRates;
use crate::boot::Boot;
use crate::catalogue::Catalogue;
use crate::cluster::{Founders, VERSION, first_names};
use crate::config::{Config, NodeAddress};
use crate::event::{Event, LimitLog};
use crate::id::{ChannelId, ConnId, GATE, ShardId};
use crate::input::Input;
use crate::members::{Member, NodeChange};
use crate::metrics::{Counter, Gauge, Limit, Metrics};
use crate::pages::Pages;
use crate::peer::{PeerId, PeerMessage, Ticket};
use crate::random::Random;
use crate::rest::Resources;
use crate::roster::SlotIndex;
use crate::router::Router;
use crate::session::{Phase, Session};
use crate::time::Time;
use crate::timers::Timers;
use crate::wire::deflate::Inflate;
use crate::wire::http;

use barrier::Barriers;
use clients::Joining;
use control::{CONTROL_STREAM, Control};
use epochs::{Epochs, Falls};
use sessions::Sessions;
use surveys::Asked;

/// Who wakes when a time is reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Wake {
    Conn(ConnId),
    Channel(ChannelId),
    /// A client that waits for its seat, by its serial number.
    Join(u64),
    Drain,
}

/// How far the shard has come in stopping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Drain {
    /// It serves.
    No,
    /// It serves, and says that it is not ready (`WRS_DRAIN_DELAY`).
    Announced(Time),
    /// It takes nothing new and lets everything end by then.
    Until(Time),
    /// It has stopped.
    Done,
}

/// One shard of a node.
pub struct Shard {
    config: Arc<Config>,
    pages: Arc<Pages>,
    http_limits: http::Limits,
    here: ShardId,
    public_port: u16,
    random: Random,
    catalogue: Catalogue,
    router: Router,
    /// On shard 0.
    control: Option<Box<Control>>,
    /// On shard 0: why the node could not start.
    failed_start: Option<String>,
    /// Whether the cluster can do without this node, if it drains.
    left: bool,
    /// On shard 0: channels that each address may create.
    create_rates: CreateRates,
    resources: Resources,
    sessions: Sessions,
    timers: Timers<Wake>,
    joining: BTreeMap<u64, Joining>,
    asked: BTreeMap<Ticket, Asked>,
    last_ticket: u64,
    last_serial: u64,
    /// What waits until this shard may decide.
    waiting: VecDeque<(PeerId, PeerMessage)>,
    /// Who has stopped deciding, when the live nodes change.
    barriers: Barriers,
    /// On the gate: the way from one set of live nodes to the next.
    epochs: Epochs,
    /// How often the node was counted out, as far as this shard and its siblings know.
    falls: Falls,
    inflate: Inflate,
    limit_log: LimitLog,
    drain: Drain,
    drain_timer: Option<Time>,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("here", &self.here).field("drain", &self.drain).finish_non_exhaustive()
    }
}

impl Shard {
    /// Shard `here` of the node that `boot` describes; there are `boot.config.shards` of them, counted from 0.
    pub fn new(here: ShardId, boot: Boot) -> Self {
        let (control, failed_start) = match (here == GATE).then(|| Control::new(&boot)) {
            Some(Ok(control)) => (Some(Box::new(control)), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        let Boot { config, pages, key, public_port, founders, .. } = boot;
        let router = first_life(here, key, &config, founders);
        Shard {
            http_limits: http::Limits {
                header_bytes_max: config.header_bytes_max,
                body_bytes_max: config.body_bytes_max,
            },
            here,
            public_port,
            random: Random::stream(key, u64::from(here.0)),
            catalogue: Catalogue::new(),
            epochs: Epochs::at_start(router.opened > 0, config.shards),
            router,
            control,
            failed_start,
            left: false,
            create_rates: CreateRates::new(config.create_rate_max, config.addresses_max),
            resources: Resources { id_length: config.id_length, browser_only: config.browser_only },
            sessions: Sessions::new(),
            timers: Timers::new(),
            joining: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_ticket: 0,
            last_serial: 0,
            waiting: VecDeque::new(),
            barriers: Barriers::default(),
            falls: Falls::default(),
            inflate: Inflate::new(),
            limit_log: LimitLog::default(),
            drain: Drain::No,
            drain_timer: None,
            pages,
            config,
        }
    }

    /// Takes one fact and adds what is to be done to `out`. `now` must not go backwards.
    pub fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Actions) {
        if self.control.as_ref().is_some_and(|control| control.stirred) {
            // A node that has just started.
            self.run_control(now, out);
        }
        self.gather(&input);
        self.check_out(now, out);
        match input {
            Input::Opened { conn, from } => self.opened(now, conn, from, out),
            Input::Received { conn, bytes } => self.received(now, conn, bytes, out),
            Input::Flushed { conn, unsent } => self.flushed(now, conn, unsent, out),
            Input::Ended { conn } => self.ended(now, conn, out),
            Input::Closed { conn } => self.closed(now, conn, out),
            Input::Broken { conn, why } => self.broken(now, conn, why, out),
            Input::AcceptPaused { why } => {
                self.router.metrics.limited(Limit::OpenFiles);
                self.report(Event::AcceptPaused { why }, out);
            }
            Input::AcceptResumed => self.report(Event::AcceptResumed, out),
            Input::Peer { peer, message } => self.heard(now, PeerId::Shard(peer), message, out),
            Input::Linked { conn, from, dial } => self.linked(now, conn, from, dial, out),
            Input::DialFailed { dial, why } => self.dial_failed(now, dial, why),
            Input::Resolved { host, addresses } => self.resolved(now, &host, addresses),
            Input::Persisted { record } => self.persisted(now, record),
            Input::PersistFailed { why } => self.persist_failed(now, &why),
            Input::Drain => self.start_drain(now, out),
            Input::Timeout => self.time_is_up(now, out),
        }
        if let Some(why) = self.failed_start.take() {
            out.push(Action::Fail { why });
            self.say_to_all(|| PeerMessage::Fail, out);
        }
        self.run_control(now, out);
        self.check_drained(now, out);
    }

    /// When [`Input::Timeout`] is due; `None` while nothing waits for a time.
    pub fn deadline(&self) -> Option<Time> {
        // Once the node has left its cluster and stopped, nothing is due any more.
        let control = self.control.as_ref().filter(|_| self.drain != Drain::Done);
        let control = control.and_then(|control| control.deadline());
        [self.timers.first(), control].into_iter().flatten().min()
    }

    /// What this shard has counted.
    pub fn metrics(&self) -> &Metrics {
        &self.router.metrics
    }

    /// Says something to a shard, which may be this one.
    fn say(&mut self, peer: ShardId, message: PeerMessage, out: &mut Actions) {
        self.router.forward(PeerId::Shard(peer), message, None, out);
    }

    /// Says something to every other shard.
    fn say_to_others(&mut self, mut message: impl FnMut() -> PeerMessage, out: &mut Actions) {
        for peer in self.router.others() {
            self.router.forward(PeerId::Shard(peer), message(), None, out);
        }
    }

    /// The place of a channel in the roster, made if it has none; `None` if there is no such channel.
    fn place(&mut self, channel: ChannelId) -> Option<SlotIndex> {
        let entry = self.catalogue.get(channel)?;
        Some(self.router.roster.place(channel, entry.channel.pattern, entry.since))
    }

    fn new_ticket(&mut self, asked: Asked) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.asked.insert(ticket, asked);
        ticket
    }

    fn opened(&mut self, now: Time, conn: ConnId, from: IpAddr, out: &mut Actions) {
        self.router.metrics.add(Counter::ConnectionsAccepted, 1);
        if matches!(self.drain, Drain::Until(_) | Drain::Done) {
            out.push(Action::Close { conn });
            return;
        }
        let session = Box::new(Session::new(now, conn, from));
        self.put_back(session);
    }

    fn received(&mut self, now: Time, conn: ConnId, bytes: &mut [u8], out: &mut Actions) {
        let Some(mut session) = self.sessions.take(conn) else {
            return self.link_received(now, conn, bytes, out);
        };
        self.router.metrics.add(Counter::BytesIn, bytes.len() as u64);
        if session.held.is_empty() {
            self.read(now, &mut session, bytes, out);
        } else {
            let mut held = std::mem::take(&mut session.held);
            held.extend_from_slice(bytes);
            self.read_held(now, &mut session, held, out);
        }
        self.put_back(session);
    }

    /// Reads bytes that were kept; what is not used up is kept on, in the same memory if none was used.
    fn read_held(&mut self, now: Time, session: &mut Session, mut held: Vec<u8>, out: &mut Actions) {
        if session.pauses.any() {
            session.held = held;
            return;
        }
        let all = held.len();
        let used = self.read_some(now, session, &mut held, out);
        if used < all {
            held.drain(..used);
            session.held = held;
        }
    }

    fn read(&mut self, now: Time, session: &mut Session, bytes: &mut [u8], out: &mut Actions) {
        let used = self.read_some(now, session, bytes, out);
        session.held = bytes.get(used..).unwrap_or_default().to_vec();
    }

    /// Reads requests or messages, whichever the phase wants: how many bytes were used up.
    fn read_some(&mut self, now: Time, session: &mut Session, bytes: &mut [u8], out: &mut Actions) -> usize {
        let mut used = 0;
        loop {
            let rest = bytes.get_mut(used..).unwrap_or_default();
            if rest.is_empty() {
                return used;
            }
            let more = match session.phase {
                Phase::Client(_) => return used + self.read_messages(now, session, rest, out),
                Phase::Discarding(_) => return bytes.len(),
                Phase::Closing(_) => return used + self.read_closing(session, rest),
                Phase::Asked | Phase::Listing(..) => {
                    // What comes while an answer is made waits, and nothing more is read.
                    self.pause_for_request(session, out);
                    return used;
                }
                Phase::Head { .. } | Phase::Body(_) if self.owes_too_much(session) => {
                    self.pause_for_request(session, out);
                    return used;
                }
                Phase::Head { .. } | Phase::Body(_) => self.read_request(now, session, rest, out),
            };
            match more {
                0 => return used,
                count => used += count,
            }
        }
    }

    /// Whether a connection has more answers under way than it takes.
    fn owes_too_much(&self, session: &Session) -> bool {
        session.unsent > self.config.send_buffer_bytes_max
    }

    fn pause_for_request(&mut self, session: &mut Session, out: &mut Actions) {
        if !session.pauses.any() {
            out.push(Action::Pause { conn: session.conn });
        }
        session.pauses.request = true;
    }

    /// Goes on reading once no reason against it is left.
    fn resume(&mut self, session: &Session, out: &mut Actions) {
        if !session.pauses.any() && !self.router.is_paused(session.conn) {
            out.push(Action::Resume { conn: session.conn });
        }
    }

    /// The answer is given: what waited behind the request has its turn.
    fn go_on(&mut self, now: Time, session: &mut Session, out: &mut Actions) {
        let was_paused = std::mem::take(&mut session.pauses.request);
        if !session.held.is_empty() {
            let held = std::mem::take(&mut session.held);
            self.read_held(now, session, held, out);
        }
        if was_paused && !session.pauses.any() {
            self.resume(session, out);
        }
        if session.ended && matches!(session.phase, Phase::Head { .. } | Phase::Body(_)) {
            self.finish(now, session, out);
        }
    }

    fn flushed(&mut self, now: Time, conn: ConnId, unsent: usize, out: &mut Actions) {
        let Some(session) = self.sessions.get_mut(conn) else {
            return self.link_flushed(conn, unsent);
        };
        // Every receiver of every message comes by here: nothing is to be done about a client that keeps up.
        if matches!(session.phase, Phase::Client(_)) && unsent <= self.config.send_buffer_bytes_max {
            session.unsent = unsent;
            return;
        }
        let Some(mut session) = self.sessions.take(conn) else { return };
        session.flushed(now, unsent, &self.config);
        // Or its last answer was under way when the drain began.
        if session.is_over() || self.is_draining() && session.is_idle() {
            return self.drop_session(*session, true, out);
        }
        match &mut session.phase {
            Phase::Client(_) => self.too_slow(now, &mut session, out),
            Phase::Listing(..) => self.list_on(now, &mut session, out),
            Phase::Head { .. } | Phase::Body(_) if session.pauses.request && unsent == 0 => {
                self.go_on(now, &mut session, out);
            }
            Phase::Discarding(until) if unsent == 0 => {
                until.get_or_insert(now + self.config.discard_timeout);
            }
            _ => {}
        }
        self.put_back(session);
    }

    fn ended(&mut self, now: Time, conn: ConnId, out: &mut Actions) {
        let Some(mut session) = self.sessions.take(conn) else {
            return self.link_ended(now, conn, false, out);
        };
        session.ended = true;
        match session.phase {
            // The answer is still owed to a client that ends its side first.
            Phase::Asked | Phase::Listing(..) => self.put_back(session),
            Phase::Head { .. } | Phase::Body(_) if session.unsent > 0 => {
                self.finish(now, &mut session, out);
                self.put_back(session);
            }
            // The last answer, or the close frame, is still owed.
            Phase::Discarding(_) | Phase::Closing(_) if session.unsent > 0 => self.put_back(session),
            _ => self.drop_session(*session, true, out),
        }
    }

    fn closed(&mut self, now: Time, conn: ConnId, out: &mut Actions) {
        match self.sessions.take(conn) {
            Some(session) => self.drop_session(*session, false, out),
            None => self.link_ended(now, conn, true, out),
        }
    }

    fn broken(&mut self, now: Time, conn: ConnId, why: String, out: &mut Actions) {
        if let Some(session) = self.sessions.take(conn) {
            self.router.metrics.add(Counter::TlsFaults, 1);
            self.report(Event::TlsFault { from: session.from, why }, out);
            self.drop_session(*session, false, out);
        } else {
            self.link_broken(now, conn, why, out);
        }
    }

    /// Forgets a connection; `close` if its socket is still there.
    fn drop_session(&mut self, mut session: Session, close: bool, out: &mut Actions) {
        if let Phase::Client(client) = &session.phase {
            let sender = client.sender;
            self.router.metrics.closed(1006);
            self.depart(&sender, session.from, out);
        }
        self.timers.set(&mut session.timer, Wake::Conn(session.conn), None);
        self.router.forget(session.conn);
        self.router.metrics.set(Gauge::Connections, self.sessions.len() as u64);
        if close {
            out.push(Action::Close { conn: session.conn });
        }
    }

    /// No more is sent after what is queued; what still comes is discarded until that is written and for a while after, so
    /// that the answer arrives.
    fn finish(&mut self, now: Time, session: &mut Session, out: &mut Actions) {
        out.push(Action::Finish { conn: session.conn });
        session.phase = Phase::Discarding((session.unsent == 0).then(|| now + self.config.discard_timeout));
        session.held = Vec::new();
        if std::mem::take(&mut session.pauses) != Default::default() {
            self.resume(session, out);
        }
    }

    /// Queues bytes on a connection.
    fn send(&mut self, session: &mut Session, bytes: Bytes, out: &mut Actions) {
        self.router.flush(out);
        session.unsent += bytes.len();
        self.router.metrics.add(Counter::BytesOut, bytes.len() as u64);
        out.push(Action::Send { conn: session.conn, bytes });
    }

    /// Writes bytes with `write` and queues them.
    fn send_with(&mut self, session: &mut Session, out: &mut Actions, write: impl FnOnce(&mut BytesMut)) {
        let mut bytes = BytesMut::new();
        write(&mut bytes);
        self.send(session, bytes.freeze(), out);
    }

    /// Puts a session back where it was taken from, and arms its deadline if that has come nearer. A deadline that has
    /// moved away is looked at when the armed one is reached: so what happens often moves nothing.
    fn put_back(&mut self, mut session: Box<Session>) {
        if let Some(at) = session.deadline(&self.config)
            && session.timer.is_none_or(|armed| at < armed)
        {
            let conn = session.conn;
            self.timers.set(&mut session.timer, Wake::Conn(conn), Some(at));
        }
        self.sessions.put(session);
        self.router.metrics.set(Gauge::Connections, self.sessions.len() as u64);
    }

    /// A limit turned somebody away: it is counted each time, and told now and then.
    fn limit_reached(&mut self, now: Time, limit: Limit, out: &mut Actions) {
        self.router.metrics.limited(limit);
        if let Some(event) = self.limit_log.hit(now, limit) {
            self.report(event, out);
        }
    }

    fn report(&self, event: Event, out: &mut Actions) {
        out.push(Action::Report(event));
    }
}

/// The data plane of a node that has just started. One that founds its cluster at once is live from the start.
fn first_life(here: ShardId, key: [u8; 32], config: &Config, founders: Option<Founders>) -> Router {
    let (node, life) = first_names(&mut Random::stream(key, CONTROL_STREAM));
    let mut router = Router::new(here, life, config);
    if let Some(founders) = founders {
        router.members = founders.table();
        return router;
    }
    if !config.seeds.is_empty() || config.data_dir.is_some() {
        return router;
    }
    let address = NodeAddress { host: "127.0.0.1".to_owned(), port: Some(config.node_port) };
    let member = Member { incarnation: 0, address, shards: config.shards, version: VERSION, life: None };
    router.members.apply(&NodeChange::Join { node, member });
    router.members.apply(&NodeChange::Live { node, life });
    router.opened = router.members.epoch();
    router.lease = Time::MAX;
    router
}

//! A small node by hand, for the targets that need a whole shard: no sockets, no time but what the input says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wrs_core::action::{Action, Actions};
use wrs_core::boot::Boot;
use wrs_core::config::Config;
use wrs_core::id::{ConnId, ShardId};
use wrs_core::input::Input;
use wrs_core::peer::PeerMessage;
use wrs_core::shard::Shard;
use wrs_core::time::Time;

/// Inputs that one run may lead to; more is a loop.
const INPUTS_MAX: u32 = 100_000;

/// Shards with queues between them.
pub struct Node {
    shards: Vec<Shard>,
    parcels: VecDeque<(usize, ShardId, PeerMessage)>,
    /// Now.
    pub now: Time,
    /// What each connection was sent.
    pub sent: BTreeMap<(usize, ConnId), Vec<u8>>,
    /// Connections that are open.
    pub open: BTreeSet<(usize, ConnId)>,
    paused: BTreeSet<(usize, ConnId)>,
    waiting: BTreeMap<(usize, ConnId), Vec<u8>>,
    dirty: BTreeSet<(usize, ConnId)>,
    /// Connections whose other end does not take what it is sent, and how many bytes it has taken nevertheless.
    stuck: BTreeMap<(usize, ConnId), usize>,
    /// Shards that have stopped.
    pub stopped: usize,
    inputs: u32,
}

/// A node's start, made once: its pages take longer than most inputs.
fn boot(shards: u16) -> Boot {
    static BOOTS: std::sync::OnceLock<Vec<Boot>> = std::sync::OnceLock::new();
    let boots = BOOTS.get_or_init(|| {
        (1..=3)
            .map(|shards| {
                let config = Config {
                    shards,
                    message_bytes_max: 300,
                    send_buffer_bytes_max: 1_200,
                    body_bytes_max: 200,
                    header_bytes_max: 500,
                    peer_window_bytes: 600,
                    read_buffer_bytes: 4_096,
                    list_chunk: 2,
                    channels_max: 5,
                    clients_max: 6,
                    deflate: true,
                    ..Config::default()
                };
                Boot::new(Arc::new(config), [3; 32], 8080, None)
            })
            .collect()
    });
    boots[usize::from(shards) - 1].clone()
}

impl Node {
    /// A node of 1 to 3 shards.
    pub fn new(shards: u16) -> Node {
        let boot = boot(shards);
        Node {
            shards: (0..shards).map(|here| Shard::new(ShardId(here), boot.clone())).collect(),
            parcels: VecDeque::new(),
            now: Time::from_millis(1),
            sent: BTreeMap::new(),
            open: BTreeSet::new(),
            paused: BTreeSet::new(),
            waiting: BTreeMap::new(),
            dirty: BTreeSet::new(),
            stuck: BTreeMap::new(),
            stopped: 0,
            inputs: 0,
        }
    }

    /// One input, without what follows from it on other shards.
    pub fn tell(&mut self, here: usize, input: Input<'_>) {
        self.inputs += 1;
        assert!(self.inputs < INPUTS_MAX, "the node does not come to rest");
        let mut actions = Actions::new();
        self.shards[here].handle(self.now, input, &mut actions);
        for action in actions.drain() {
            self.perform(here, action);
        }
    }

    fn perform(&mut self, here: usize, action: Action) {
        match action {
            Action::Send { conn, bytes } => self.send((here, conn), &bytes),
            Action::Truncate { .. } | Action::Report(_) | Action::StopListening => {}
            Action::Dial { .. } | Action::Resolve { .. } | Action::Store(_) | Action::Fail { .. } => {}
            Action::Finish { conn } => drop(self.dirty.insert((here, conn))),
            Action::Close { conn } => self.forget((here, conn)),
            Action::Pause { conn } => drop(self.paused.insert((here, conn))),
            Action::Resume { conn } => drop(self.paused.remove(&(here, conn))),
            Action::Forward { peer, message } => {
                assert!(usize::from(peer.0) != here, "a shard forwards to itself");
                self.parcels.push_back((usize::from(peer.0), ShardId(here as u16), message));
            }
            Action::Stop => self.stopped += 1,
        }
    }

    fn send(&mut self, at: (usize, ConnId), bytes: &Bytes) {
        if self.open.contains(&at) {
            self.sent.entry(at).or_default().extend_from_slice(bytes);
            self.dirty.insert(at);
        }
    }

    fn forget(&mut self, at: (usize, ConnId)) {
        self.open.remove(&at);
        self.paused.remove(&at);
        self.waiting.remove(&at);
        self.dirty.remove(&at);
        self.stuck.remove(&at);
    }

    /// A connection is accepted.
    pub fn open(&mut self, here: usize, conn: ConnId) {
        self.open.insert((here, conn));
        self.tell(here, Input::Opened { conn, from: IpAddr::from([127, 0, 0, 1]) });
    }

    /// A client sends; what a paused socket does not take waits.
    pub fn receive(&mut self, here: usize, conn: ConnId, bytes: &[u8]) {
        if self.open.contains(&(here, conn)) {
            self.waiting.entry((here, conn)).or_default().extend_from_slice(bytes);
        }
    }

    /// A client is gone, or has sent all that it will.
    pub fn end(&mut self, here: usize, conn: ConnId, gone: bool) {
        if !self.open.contains(&(here, conn)) {
            return;
        }
        if gone {
            self.forget((here, conn));
            self.tell(here, Input::Closed { conn });
        } else {
            self.tell(here, Input::Ended { conn });
        }
    }

    /// The other end takes nothing of what it was ever sent.
    pub fn clog(&mut self, here: usize, conn: ConnId) {
        self.stuck.insert((here, conn), 0);
    }

    /// It takes so many bytes of that, and is as before once it has taken all.
    pub fn drip(&mut self, here: usize, conn: ConnId, bytes: usize) {
        let at = (here, conn);
        let Some(taken) = self.stuck.get_mut(&at) else { return };
        *taken += bytes;
        if *taken >= self.sent.get(&at).map_or(0, Vec::len) {
            self.stuck.remove(&at);
        }
        if self.open.contains(&at) {
            self.dirty.insert(at);
        }
    }

    /// Lets everything that is under way come to its end, in reads of `step` bytes.
    pub fn rest(&mut self, step: usize) {
        loop {
            if let Some((here, peer, message)) = self.parcels.pop_front() {
                self.tell(here, Input::Peer { peer, message });
                continue;
            }
            if let Some(at) = self.waiting.keys().find(|at| !self.paused.contains(at)).copied() {
                let mut bytes = self.waiting.remove(&at).unwrap_or_default();
                let behind = bytes.split_off(step.min(bytes.len()));
                if !behind.is_empty() {
                    self.waiting.insert(at, behind);
                }
                self.tell(at.0, Input::Received { conn: at.1, bytes: &mut bytes });
                continue;
            }
            if let Some(at) = self.dirty.pop_first() {
                let sent = self.sent.get(&at).map_or(0, Vec::len);
                let unsent = self.stuck.get(&at).map_or(0, |taken| sent.saturating_sub(*taken));
                self.tell(at.0, Input::Flushed { conn: at.1, unsent });
                continue;
            }
            let now = self.now;
            match self.shards.iter().position(|shard| shard.deadline().is_some_and(|at| at <= now)) {
                Some(here) => self.tell(here, Input::Timeout),
                None => return,
            }
        }
    }

    /// Time passes, and whatever is due on the way happens.
    pub fn wait(&mut self, time: Duration, step: usize) {
        let until = self.now + time;
        loop {
            self.rest(step);
            match self.shards.iter().filter_map(Shard::deadline).min() {
                Some(at) if at <= until => self.now = self.now.max(at),
                _ => break,
            }
        }
        self.now = until;
        self.rest(step);
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Stops the node, which must not take longer than its configuration says.
    pub fn stop(&mut self, step: usize) {
        for here in 0..self.shards() {
            self.tell(here, Input::Drain);
        }
        self.wait(Duration::from_secs(11), step);
        assert_eq!(self.stopped, self.shards(), "shards that have stopped");
        assert!(self.open.is_empty(), "connections outlive the node");
    }

    /// Creates a channel: its id and token.
    pub fn create(&mut self, body: &str) -> Option<(String, String)> {
        let conn = ConnId { index: 1_000, generation: 0 };
        self.open(0, conn);
        let head = "POST /channels HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
        self.receive(0, conn, format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
        self.rest(4_096);
        let answer = self.sent.remove(&(0, conn)).unwrap_or_default();
        self.end(0, conn, true);
        let answer = String::from_utf8(answer).expect("JSON is text");
        let part = |name: &str| {
            let (_, rest) = answer.split_once(&format!("\"{name}\":\""))?;
            rest.split('"').next().map(str::to_owned)
        };
        Some((part("id")?, part("token")?))
    }
}

/// A request for a seat.
pub fn handshake(id: &str, token: &str, fields: &str) -> Vec<u8> {
    format!(
        "GET /channels/{id}/connect?token={token} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
    .into_bytes()
}

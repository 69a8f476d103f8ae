//! A node driven by hand: shards, and for every connection the line that an adapter would give it. What is missing of a
//! server is the socket: what a line would write is counted and taken at once.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use wrs_core::action::{Actions, Over, Store};
use wrs_core::boot::Boot;
use wrs_core::config::Config;
use wrs_core::config::NodeAddress;
use wrs_core::event::Event;
use wrs_core::host::{Host, perform};
use wrs_core::id::{ConnId, DialId, ShardId};
use wrs_core::input::Input;
use wrs_core::peer::PeerMessage;
use wrs_core::shard::Shard;
use wrs_core::time::Time;
use wrs_core::wire::frame;
use wrs_core::wire::line::Line;
use wrs_core::wire::message::Kind;

/// Why a case cannot be set up.
pub type Failure = String;

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PORT: u16 = 8080;
/// Between two reads.
const TICK_NANOS: u64 = 1_000;
const MASK: [u8; 4] = [0x9a, 0x02, 0xff, 0x41];

/// A connection, by where it is.
#[derive(Clone, Copy, Debug)]
pub struct Conn {
    shard: usize,
    id: ConnId,
}

/// A channel that can be joined.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its id as it stands in a path.
    pub id: String,
    token: String,
}

/// A client of a channel.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its connection.
    pub conn: Conn,
    /// The id that its 101 carried.
    pub id: String,
}

/// One shard and what performs its actions.
struct Side {
    shard: Shard,
    actions: Actions,
    hands: Hands,
}

/// Connections as an adapter has them.
#[derive(Default)]
struct Hands {
    lines: Vec<Option<(ConnId, Line)>>,
    /// Lines with something to write, each once.
    dirty: Vec<ConnId>,
    marked: Vec<bool>,
    mail: VecDeque<(ShardId, PeerMessage)>,
    sends: u64,
}

impl Hands {
    fn line(&mut self, id: ConnId) -> Option<&mut Line> {
        let (conn, line) = self.lines.get_mut(id.index as usize)?.as_mut()?;
        (*conn == id).then_some(line)
    }

    fn mark(&mut self, id: ConnId) {
        if let Some(marked) = self.marked.get_mut(id.index as usize)
            && !std::mem::replace(marked, true)
        {
            self.dirty.push(id);
        }
    }
}

impl Host for Hands {
    fn send(&mut self, conn: ConnId, bytes: Bytes) {
        self.sends += 1;
        if let Some(line) = self.line(conn) {
            line.push(bytes);
            self.mark(conn);
        }
    }

    fn truncate(&mut self, conn: ConnId) {
        if let Some(line) = self.line(conn) {
            line.truncate();
        }
    }

    fn finish(&mut self, conn: ConnId) {
        if let Some(line) = self.line(conn) {
            line.finish();
        }
    }

    fn close(&mut self, conn: ConnId) {
        if self.line(conn).is_some()
            && let Some(slot) = self.lines.get_mut(conn.index as usize)
        {
            *slot = None;
        }
    }

    fn read(&mut self, _: ConnId, _: bool) {}

    fn forward(&mut self, peer: ShardId, message: PeerMessage) {
        self.mail.push_back((peer, message));
    }

    fn dial(&mut self, _: DialId, _: NodeAddress, _: Over) {}

    fn resolve(&mut self, _: String) {}

    fn store(&mut self, _: Store) {}

    fn fail(&mut self, _: String) {}

    fn report(&mut self, _: Event) {}

    fn stop_listening(&mut self) {}

    fn stop(&mut self) {}
}

/// The shards of a node.
pub struct Node {
    sides: Vec<Side>,
    now: Time,
    read: Vec<u8>,
    scratch: Vec<u8>,
    /// Bytes that the lines have written.
    written: u64,
    /// What they have written since somebody wanted to see it.
    seen: Option<Vec<u8>>,
}

impl Node {
    /// A node of so many shards, with compression offered or not.
    pub fn new(shards: u16, deflate: bool) -> Self {
        let config = Arc::new(Config { shards, deflate, clients_max: 1 << 20, ..Config::default() });
        let read = vec![0; config.read_buffer_bytes];
        let boot = Boot::new(config, [7; 32], PORT, None);
        let side = |here| Side {
            shard: Shard::new(ShardId(here), boot.clone()),
            actions: Actions::new(),
            hands: Hands::default(),
        };
        let sides = (0..shards).map(side).collect();
        Node { sides, now: Time::ZERO, read, scratch: Vec::new(), written: 0, seen: None }
    }

    /// Bytes written on all connections so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How often anything was queued on a connection so far.
    pub fn sends(&self) -> u64 {
        self.sides.iter().map(|side| side.hands.sends).sum()
    }

    fn tell(&mut self, shard: usize, input: Input<'_>) {
        if let Some(Side { shard, actions, hands }) = self.sides.get_mut(shard) {
            shard.handle(self.now, input, actions);
            perform(actions, hands);
        }
    }

    /// A new connection at the first free index of a shard.
    pub fn open(&mut self, shard: usize) -> Conn {
        let Some(hands) = self.sides.get_mut(shard).map(|side| &mut side.hands) else {
            return Conn { shard, id: ConnId { index: 0, generation: 0 } };
        };
        let index = hands.lines.iter().position(Option::is_none).unwrap_or(hands.lines.len());
        let id = ConnId { index: index as u32, generation: hands.sends as u32 };
        let line = Some((id, Line::plain()));
        match hands.lines.get_mut(index) {
            Some(slot) => *slot = line,
            None => {
                hands.lines.push(line);
                hands.marked.push(false);
            }
        }
        self.tell(shard, Input::Opened { conn: id, from: FROM });
        Conn { shard, id }
    }

    /// The other end is gone.
    pub fn lose(&mut self, conn: Conn) {
        if let Some(side) = self.sides.get_mut(conn.shard) {
            side.hands.close(conn.id);
        }
        self.tell(conn.shard, Input::Closed { conn: conn.id });
        self.finish_turn();
    }

    /// One turn of an adapter's loop: a read from one connection, and all that comes of it is written.
    pub fn turn(&mut self, conn: Conn, bytes: &[u8]) {
        self.now = self.now + std::time::Duration::from_nanos(TICK_NANOS);
        // The copy stands for the kernel's; frames are unmasked in it.
        let mut read = std::mem::take(&mut self.read);
        for part in bytes.chunks(read.len().max(1)) {
            if let Some(room) = read.get_mut(..part.len()) {
                room.copy_from_slice(part);
                self.tell(conn.shard, Input::Received { conn: conn.id, bytes: room });
            }
        }
        self.read = read;
        self.finish_turn();
    }

    /// Shards hear one another and lines write, until nothing is left to do.
    fn finish_turn(&mut self) {
        loop {
            let mut quiet = true;
            for here in 0..self.sides.len() {
                quiet &= !self.hand_over(here);
                quiet &= !self.flush(here);
            }
            if quiet {
                return;
            }
        }
    }

    /// What a shard said to the others.
    fn hand_over(&mut self, here: usize) -> bool {
        let mut any = false;
        while let Some((to, message)) = self.sides.get_mut(here).and_then(|side| side.hands.mail.pop_front()) {
            self.tell(usize::from(to.0), Input::Peer { peer: ShardId(here as u16), message });
            any = true;
        }
        any
    }

    /// What an adapter does once per turn: one write for each line that has anything.
    fn flush(&mut self, here: usize) -> bool {
        let Some(hands) = self.sides.get_mut(here).map(|side| &mut side.hands) else { return false };
        let mut dirty = std::mem::take(&mut hands.dirty);
        let any = !dirty.is_empty();
        for id in dirty.drain(..) {
            let Some(hands) = self.sides.get_mut(here).map(|side| &mut side.hands) else { continue };
            if let Some(marked) = hands.marked.get_mut(id.index as usize) {
                *marked = false;
            }
            let Some(line) = hands.line(id) else { continue };
            while line.unsent() > 0 {
                let piece = line.piece(&mut self.scratch);
                let count = piece.len();
                if let Some(seen) = &mut self.seen {
                    seen.extend_from_slice(piece);
                }
                self.written += count as u64;
                line.wrote(count);
            }
            self.tell(here, Input::Flushed { conn: id, unsent: 0 });
        }
        if let Some(side) = self.sides.get_mut(here)
            && side.hands.dirty.is_empty()
        {
            side.hands.dirty = dirty;
        }
        any
    }

    /// One turn, and what was written in it.
    pub fn ask(&mut self, conn: Conn, bytes: &[u8]) -> String {
        self.seen = Some(Vec::new());
        self.turn(conn, bytes);
        String::from_utf8_lossy(&self.seen.take().unwrap_or_default()).into_owned()
    }

    /// Creates a channel over a connection.
    pub fn create(&mut self, conn: Conn, pattern: &str) -> Result<Channel, Failure> {
        let answer = self.ask(conn, &create_request(pattern));
        let member = |name: &str| {
            let (_, rest) = answer.split_once(&format!("\"{name}\":\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        match (member("id"), member("token")) {
            (Some(id), Some(token)) => Ok(Channel { id, token }),
            _ => Err(format!("no channel was created: {answer}")),
        }
    }

    /// Joins a channel with a connection of its own on a shard; `query` is what follows the token.
    pub fn join(&mut self, shard: usize, channel: &Channel, query: &str, fields: &str) -> Result<Client, Failure> {
        let conn = self.open(shard);
        let answer = self.ask(conn, &connect_request(channel, query, fields));
        let id = answer.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("wrs-client-id").then(|| value.to_owned())
        });
        match id {
            Some(id) if answer.starts_with("HTTP/1.1 101 ") => Ok(Client { conn, id }),
            _ => Err(format!("did not join: {answer}")),
        }
    }

    /// A channel of some pattern, and as many clients on a shard as `queries` has.
    pub fn room<'q>(
        &mut self,
        pattern: &str,
        shard: usize,
        queries: impl IntoIterator<Item = &'q str>,
        fields: &str,
    ) -> Result<(Channel, Vec<Client>), Failure> {
        let conn = self.open(0);
        let channel = self.create(conn, pattern)?;
        self.lose(conn);
        let clients: Result<_, _> =
            queries.into_iter().map(|query| self.join(shard, &channel, query, fields)).collect();
        Ok((channel, clients?))
    }
}

/// `POST /channels` as a client library sends it.
pub fn create_request(pattern: &str) -> Vec<u8> {
    let body = format!("{{\"pattern\":\"{pattern}\"}}");
    let head = "POST /channels HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nAccept: */*";
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The handshake as a client library sends it.
pub fn connect_request(channel: &Channel, query: &str, fields: &str) -> Vec<u8> {
    let Channel { id, token } = channel;
    format!(
        "GET /channels/{id}/connect?token={token}{query} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
    )
    .into_bytes()
}

/// A message as a client sends it: one frame, masked.
pub fn masked(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut header = BytesMut::new();
    frame::encode_header(&mut header, kind.opcode(), false, payload.len());
    if let Some(length) = header.get_mut(1) {
        *length |= 0x80;
    }
    let mut payload = payload.to_vec();
    frame::unmask(&mut payload, MASK, 0);
    [&header[..], &MASK, &payload].concat()
}

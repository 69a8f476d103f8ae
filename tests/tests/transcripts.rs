//! Replays transcripts: what a shard is told and what it wants done, readable by people.
//!
//! A transcript in `tests/transcripts` is a list of commands, each followed by `----` and what came of it. A line that
//! begins with `#` is a comment. `WRS_REWRITE=1` writes what comes of it now in the place of what was expected: read
//! the difference before you commit it.
//!
//! | command | what it does |
//! |---|---|
//! | `node KEY=VALUE…` | a new node; `Desk::new` has the keys |
//! | `open A [SHARD]` | a connection named A |
//! | `http A METHOD PATH [BODY]` | a request; `{x}` stands for a channel's id, `{x.token}` for its token |
//! | `raw A TEXT` | bytes as they are, with `\r`, `\n`, `\xHH` |
//! | `create X BODY` | a channel named X |
//! | `join A X [SHARD] [QUERY]` | a connection that asks for a seat, with its token |
//! | `text A TEXT`, `binary A TEXT`, `frame A FIRST TEXT` | one masked frame; `{A}` stands for a client's id |
//! | `end A`, `lost A` | FIN; the socket is gone |
//! | `unsent A BYTES` | the socket takes no more; so much is left |
//! | `wait MILLIS` | time passes |
//! | `hold`, `go` | parcels between shards wait; they arrive |
//! | `drain` | the node is to stop |

// A test reports what it finds by a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wrs_core::action::{Action, Actions};
use wrs_core::boot::Boot;
use wrs_core::config::Config;
use wrs_core::id::{ConnId, ShardId};
use wrs_core::input::Input;
use wrs_core::peer::PeerMessage;
use wrs_core::shard::Shard;
use wrs_core::time::Time;
use wrs_core::wire::deflate::Inflate;
use wrs_tests::node_sim::program::handshake;
use wrs_tests::node_sim::wire::{Piece, Stream, frame};

#[derive(Default)]
struct Conn {
    shard: usize,
    id: u32,
    stream: Stream,
    stuck: Option<usize>,
    dirty: bool,
}

struct Desk {
    shards: Vec<Shard>,
    parcels: VecDeque<(usize, ShardId, PeerMessage)>,
    held: bool,
    now: Time,
    conns: BTreeMap<String, Conn>,
    /// What is shown in the place of what chance made.
    names: BTreeMap<String, String>,
    texts: BTreeMap<String, String>,
    open: BTreeSet<String>,
    out: String,
    inflate: Inflate,
    ids: u32,
}

impl Desk {
    fn new(settings: &[&str]) -> Desk {
        let mut config = Config::default();
        for setting in settings {
            let (name, value) = setting.split_once('=').unwrap();
            let number: u64 = value.parse().unwrap();
            match name {
                "shards" => config.shards = number as u16,
                "message" => config.message_bytes_max = number as usize,
                "send" => config.send_buffer_bytes_max = number as usize,
                "window" => config.peer_window_bytes = number as usize,
                "clients" => config.clients_max = number,
                "channels" => config.channels_max = number,
                "per-address" => config.clients_per_address_max = number,
                "ping" => config.ping_interval = (number > 0).then(|| Duration::from_millis(number)),
                "rate" => config.message_rate_max = number,
                "create-rate" => config.create_rate_max = number,
                "delay" => config.drain_delay = Duration::from_millis(number),
                "deflate" => config.deflate = number > 0,
                "header" => config.header_bytes_max = number as usize,
                "keepalive" => config.keepalive_timeout = Duration::from_millis(number),
                "list" => config.list_chunk = number as usize,
                _ => panic!("no setting {name}"),
            }
        }
        let boot = Boot::new(Arc::new(config), [9; 32], 8080, None);
        Desk {
            shards: (0..boot.config.shards).map(|here| Shard::new(ShardId(here), boot.clone())).collect(),
            parcels: VecDeque::new(),
            held: false,
            now: Time::from_millis(1),
            conns: BTreeMap::new(),
            names: BTreeMap::new(),
            texts: BTreeMap::new(),
            open: BTreeSet::new(),
            out: String::new(),
            inflate: Inflate::new(),
            ids: 0,
        }
    }

    fn tell(&mut self, here: usize, input: Input<'_>) {
        let mut actions = Actions::new();
        self.shards[here].handle(self.now, input, &mut actions);
        for action in actions.drain() {
            self.perform(here, action);
        }
    }

    fn name_of(&self, here: usize, conn: ConnId) -> String {
        let is = |(_, candidate): &(&String, &Conn)| candidate.shard == here && candidate.id == conn.index;
        self.conns.iter().find(is).map(|(name, _)| name.clone()).unwrap_or("?".to_owned())
    }

    fn perform(&mut self, here: usize, action: Action) {
        let line = match action {
            Action::Send { conn, bytes } => {
                let name = self.name_of(here, conn);
                return self.show_sent(&name, &bytes);
            }
            Action::Truncate { conn } => format!("{}: drop what is queued", self.name_of(here, conn)),
            Action::Finish { conn } => {
                let name = self.name_of(here, conn);
                self.conns.get_mut(&name).unwrap().dirty = true;
                format!("{name}: end")
            }
            Action::Close { conn } => {
                let name = self.name_of(here, conn);
                self.open.remove(&name);
                format!("{name}: closed")
            }
            Action::Pause { conn } => format!("{}: pause", self.name_of(here, conn)),
            Action::Resume { .. } => return,
            Action::Forward { peer, message } => {
                if self.held {
                    let name = format!("{message:?}").split([' ', '(']).next().unwrap_or_default().to_owned();
                    writeln!(self.out, "shard {here} to {}: {name}", peer.0).unwrap();
                }
                self.parcels.push_back((usize::from(peer.0), ShardId(here as u16), message));
                return;
            }
            Action::Dial { address, .. } => format!("dial {address}"),
            Action::Resolve { host } => format!("resolve {host}"),
            Action::Store(store) => format!("store {store:?}"),
            Action::Fail { why } => format!("fail: {why}"),
            Action::Report(event) => format!("log: {}", event.text(4)),
            Action::StopListening => format!("shard {here}: accepts no more"),
            Action::Stop => format!("shard {here}: stopped"),
        };
        let line = self.named(&line);
        writeln!(self.out, "{line}").unwrap();
    }

    /// Replaces what chance made by names.
    fn named(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (made, name)| text.replace(made, name))
    }

    fn show_sent(&mut self, name: &str, bytes: &[u8]) {
        let conn = self.conns.get_mut(name).unwrap();
        conn.dirty = true;
        conn.stream.feed(bytes);
        let mut pieces = Vec::new();
        while let Some(piece) = conn.stream.next(&mut self.inflate).unwrap() {
            pieces.push(piece);
        }
        for piece in pieces {
            let line = match piece {
                Piece::Answer(answer) => {
                    if let Some(id) = answer.field("wrs-client-id") {
                        self.names.insert(id.to_owned(), format!("<client {name}>"));
                        self.texts.insert(format!("{{{name}}}"), id.to_owned());
                    }
                    let mut line = answer.head.lines().next().unwrap_or_default().to_owned();
                    for field in [
                        "Location",
                        "Allow",
                        "Retry-After",
                        "WWW-Authenticate",
                        "Connection",
                        "Sec-WebSocket-Protocol",
                        "Sec-WebSocket-Version",
                    ] {
                        if let Some(value) = answer.field(field) {
                            write!(line, " | {field}: {value}").unwrap();
                        }
                    }
                    if !answer.body.is_empty() {
                        write!(line, " | {}", answer.body.escape_ascii()).unwrap();
                    }
                    unquoted(&line)
                }
                Piece::Frame(first, payload) => {
                    let kind = match first & 0x0F {
                        1 => "text",
                        2 => "binary",
                        8 => "close",
                        9 => "ping",
                        _ => "pong",
                    };
                    let (code, rest) = match (kind, payload.split_first_chunk()) {
                        ("close", Some((code, rest))) => (format!(" {}", u16::from_be_bytes(*code)), rest),
                        _ => (String::new(), &payload[..]),
                    };
                    unquoted(&format!("{kind}{code} {}", rest.escape_ascii())).trim_end().to_owned()
                }
            };
            let line = self.named(&line);
            writeln!(self.out, "{name} < {line}").unwrap();
        }
    }

    fn rest(&mut self) {
        loop {
            if !self.held
                && let Some((here, peer, message)) = self.parcels.pop_front()
            {
                self.tell(here, Input::Peer { peer, message });
                continue;
            }
            if let Some(name) = self.conns.iter().find(|(_, conn)| conn.dirty).map(|(name, _)| name.clone()) {
                let conn = self.conns.get_mut(&name).unwrap();
                conn.dirty = false;
                let (here, id, unsent) = (conn.shard, conn.id, conn.stuck.unwrap_or(0));
                if self.open.contains(&name) {
                    self.tell(here, Input::Flushed { conn: ConnId { index: id, generation: 0 }, unsent });
                }
                continue;
            }
            let now = self.now;
            match self.shards.iter().position(|shard| shard.deadline().is_some_and(|at| at <= now)) {
                Some(here) => self.tell(here, Input::Timeout),
                None => return,
            }
        }
    }

    fn wait(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        loop {
            self.rest();
            match self.shards.iter().filter_map(Shard::deadline).min().filter(|at| *at <= until) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
        }
        self.now = until;
    }

    fn open(&mut self, name: &str, shard: usize) {
        self.ids += 1;
        let id = self.ids;
        self.conns.insert(name.to_owned(), Conn { shard, id, ..Conn::default() });
        self.open.insert(name.to_owned());
        let conn = ConnId { index: id, generation: 0 };
        self.tell(shard, Input::Opened { conn, from: IpAddr::from([192, 0, 2, 1]) });
    }

    fn receive(&mut self, name: &str, mut bytes: Vec<u8>) {
        let conn = &self.conns[name];
        let (here, conn) = (conn.shard, ConnId { index: conn.id, generation: 0 });
        self.tell(here, Input::Received { conn, bytes: &mut bytes });
    }

    /// Replaces names by what chance made.
    fn filled(&self, text: &str) -> String {
        self.texts.iter().fold(text.to_owned(), |text, (name, made)| text.replace(name, made))
    }

    fn command(&mut self, command: &str) {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let rest = self.filled(rest);
        let words: Vec<&str> = rest.split(' ').collect();
        let behind = |count: usize| rest.splitn(count + 1, ' ').nth(count).unwrap_or_default();
        match verb {
            "node" => *self = Desk::new(&rest.split_whitespace().collect::<Vec<_>>()),
            "open" => self.open(words[0], words.get(1).map_or(0, |shard| shard.parse().unwrap())),
            "http" => {
                let body = behind(3);
                let head =
                    format!("{} {} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", words[1], words[2], body.len());
                self.receive(words[0], (head + body).into_bytes());
            }
            "raw" => self.receive(words[0], unescaped(behind(1))),
            "create" => self.create(words[0], behind(1)),
            "join" => {
                let (id, token) = (
                    self.texts[&format!("{{{}}}", words[1])].clone(),
                    self.texts[&format!("{{{}.token}}", words[1])].clone(),
                );
                let shard = words.get(2).map_or(0, |shard| shard.parse().unwrap());
                self.open(words[0], shard);
                let query = words.get(3).copied().unwrap_or_default();
                self.receive(words[0], handshake(&id, query, false, 0, &token).into_bytes());
            }
            "text" | "binary" | "frame" => {
                let (first, payload) = match verb {
                    "text" => (0x81, behind(1)),
                    "binary" => (0x82, behind(1)),
                    _ => (u8::from_str_radix(words[1], 16).unwrap(), behind(2)),
                };
                let mut out = Vec::new();
                frame(&mut out, first, &unescaped(payload), [1, 2, 3, 4]);
                self.receive(words[0], out);
            }
            "end" | "lost" => {
                let conn = &self.conns[words[0]];
                let (here, conn) = (conn.shard, ConnId { index: conn.id, generation: 0 });
                if verb == "end" {
                    self.tell(here, Input::Ended { conn });
                } else {
                    self.open.remove(words[0]);
                    self.tell(here, Input::Closed { conn });
                }
            }
            "unsent" => {
                let conn = self.conns.get_mut(words[0]).unwrap();
                conn.stuck = Some(words[1].parse().unwrap());
                conn.dirty = true;
            }
            "wait" => self.wait(words[0].parse().unwrap()),
            "hold" => self.held = true,
            "go" => self.held = false,
            "drain" => (0..self.shards.len()).for_each(|here| self.tell(here, Input::Drain)),
            _ => panic!("no command {verb}"),
        }
        self.rest();
    }

    fn create(&mut self, name: &str, body: &str) {
        let conn = format!("creator of {name}");
        self.open(&conn, 0);
        let head = format!(
            "POST /channels HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let shown = std::mem::take(&mut self.out);
        self.receive(&conn, (head + body).into_bytes());
        self.rest();
        let made = std::mem::replace(&mut self.out, shown);
        let part = |key: &str| {
            let (_, rest) = made.split_once(&format!("\"{key}\":\"")).unwrap_or_else(|| panic!("no {key} in {made}"));
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        let (id, token) = (part("id"), part("token"));
        self.names.insert(id.clone(), format!("<{name}>"));
        self.names.insert(token.clone(), format!("<token of {name}>"));
        self.texts.insert(format!("{{{name}}}"), id);
        self.texts.insert(format!("{{{name}.token}}"), token);
        let made = self.named(&made);
        self.out.push_str(&made);
        let gone = ConnId { index: self.conns[&conn].id, generation: 0 };
        self.open.remove(&conn);
        self.tell(0, Input::Closed { conn: gone });
    }
}

/// Quotes and backslashes as they are, where `escape_ascii` has marked them.
fn unquoted(text: &str) -> String {
    text.replace("\\\"", "\"").replace("\\\\", "\\")
}

/// `\r`, `\n` and `\xHH` as bytes.
fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let taken = match behind.as_bytes().first() {
            Some(b'r') => (b'\r', 1),
            Some(b'n') => (b'\n', 1),
            Some(b'x') => (u8::from_str_radix(&behind[1..3], 16).unwrap(), 3),
            _ => (b'\\', 0),
        };
        out.push(taken.0);
        rest = &behind[taken.1..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// What the file is when its commands are run now.
fn rerun(text: &str) -> String {
    let mut desk = Desk::new(&[]);
    let (mut out, mut lines) = (String::new(), text.lines().peekable());
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            writeln!(out, "{line}").unwrap();
            continue;
        }
        desk.out.clear();
        desk.command(line);
        assert!(desk.texts.len() < 100, "a transcript is short");
        if lines.peek() == Some(&"----") {
            lines.next();
            while lines.peek().is_some_and(|line| !line.is_empty()) {
                lines.next();
            }
        }
        writeln!(out, "{line}\n----\n{}", desk.out.trim_end()).unwrap();
        if desk.out.trim_end().is_empty() {
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
    }
    out
}

#[test]
fn every_transcript_comes_out_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "the transcripts are there");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let now = rerun(&text);
        if std::env::var_os("WRS_REWRITE").is_some() {
            std::fs::write(&file, now).unwrap();
            continue;
        }
        let first = text.lines().zip(now.lines()).enumerate().find(|(_, (was, is))| was != is);
        assert!(text == now, "{} differs from line {:?} on\n{now}", file.display(), first);
    }
}

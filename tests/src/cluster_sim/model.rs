//! What the product promises, kept beside the cluster: channels, clients and messages as their users know them.
//!
//! Everything is noted where a node decides it: a message is *taken in* when its last byte is handed to the sender's shard, an
//! answer is *told* and a message *given* when it is queued on a socket. What can be wrong at once is told at once; what
//! depends on who stays to the end is told by `judge`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wrs_core::pattern::Pattern;

use crate::node_sim::wire::{Response, Stream};

/// An instant: of the simulator's inputs, and in true nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct At {
    /// Grows with every input.
    pub tick: u64,
    /// True time.
    pub time: u64,
}

/// A channel as its users know it.
#[derive(Debug)]
pub struct Channel {
    /// `D679-05F5`.
    pub id: String,
    /// What opens it.
    pub token: String,
    /// How its messages travel.
    pub pattern: Pattern,
    /// Most clients.
    pub limit: Option<u64>,
    /// Idle time after which it goes, in milliseconds.
    pub timeout: Option<u64>,
    /// When its creation was told.
    pub made: At,
    /// Requests that may remove it: under way, or their fate is not known.
    pub removers: u32,
    /// When its removal was told.
    pub gone: Option<At>,
    /// Whether it was seen to time out.
    pub timed_out: Option<At>,
    /// The cluster may have lost what it knew of it, or its removal.
    pub vague: bool,
    /// Clients that were told 101, in that order.
    pub clients: Vec<usize>,
    /// When a message was last taken in, in true time.
    pub active: u64,
    /// Messages, in the order of their taking.
    pub messages: Vec<usize>,
    /// The highest number of clients there ever were.
    pub most: u64,
}

impl Channel {
    /// Whether its time may end while a run lasts.
    pub fn is_mortal(&self) -> bool {
        self.timeout.is_some_and(|timeout| timeout < 10_000_000)
    }

    /// Whether it certainly exists.
    pub fn is_sure(&self) -> bool {
        self.removers == 0 && self.gone.is_none() && !self.vague && !self.is_mortal()
    }
}

/// What a message wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// What the pattern says.
    Plain,
    /// A request.
    Request,
    /// A reply to this client; `None` for one that never was.
    Reply(Option<usize>),
    /// Not an envelope where one is needed.
    Malformed,
}

/// A numbered message.
#[derive(Debug)]
pub struct Message {
    /// Who sent it.
    pub sender: usize,
    /// Where.
    pub channel: usize,
    /// Its number with its sender, from 1.
    pub serial: u64,
    /// 1 text, 2 binary.
    pub opcode: u8,
    /// What its receivers are to get.
    pub payload: Vec<u8>,
    /// What it wants.
    pub verb: Verb,
    /// When it was taken in.
    pub taken: Option<At>,
    /// Who got it, and when.
    pub got: Vec<(usize, At)>,
}

/// What bytes of a program mean, once a node has them.
#[derive(Clone, Copy, Debug)]
pub enum Mark {
    /// A message ends.
    Message(usize),
    /// A request ends.
    Request,
}

/// What a program expects of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Want {
    /// A seat.
    Join,
    /// A new channel.
    Create(Pattern, Option<u64>, Option<u64>),
    /// A channel's data, by its place in the model.
    Get(usize),
    /// Its end.
    Delete(usize),
    /// The end of all.
    Reset,
    /// A list.
    List,
    /// Whatever is said; it is kept.
    Anything,
}

/// A request under way.
#[derive(Debug)]
pub struct Asked {
    /// What is expected.
    pub want: Want,
    /// When a node had all of it.
    pub since: Option<At>,
    /// Its channel certainly existed then.
    pub sure: bool,
    /// Its channel was certainly gone then.
    pub gone: bool,
}

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The relay said so, with this code.
    Closed(u16),
    /// Its program left.
    Left,
    /// Its node died.
    Died,
    /// The relay ended it and said nothing.
    Cut,
}

/// A connection of a program.
#[derive(Debug)]
pub struct Client {
    /// Its connection.
    pub wire: usize,
    /// Its node's place.
    pub slot: usize,
    /// Which run of that node.
    pub run: u64,
    /// Its channel's place in the model, if it wants to be on one.
    pub channel: Option<usize>,
    /// Whether it wants its own messages back.
    pub echo: bool,
    /// Whether it is queued.
    pub pull: bool,
    /// Bytes that it has sent.
    pub sent: u64,
    /// Bytes that its node has had.
    pub delivered: u64,
    /// By the offset of their last byte.
    pub marks: VecDeque<(u64, Mark)>,
    /// Requests that are not answered.
    pub asked: VecDeque<Asked>,
    /// When its node had its wish to join.
    pub came: Option<At>,
    /// When its 101 was queued.
    pub seated: Option<At>,
    /// When and why it ended.
    pub ended: Option<(At, Why)>,
    /// Its id, once seated.
    pub id: String,
    /// Messages that it has sent.
    pub serial: u64,
    /// The highest number that it was given, by sender.
    pub last: BTreeMap<usize, u64>,
    /// Errors that it was told: malformed, no-recipient, origin-gone.
    pub errors: [u64; 3],
    /// Origins of requests that it was given.
    pub requests: VecDeque<String>,
    /// What it was answered last.
    pub answer: Option<Response>,
    /// How it reads.
    pub prompt: bool,
    /// What was queued for it.
    pub stream: Stream,
    /// It sends no more.
    pub done: bool,
    /// Whoever serves it stands still until then, in true time: long enough, and its seat is another's when it hears of that.
    pub frozen_until: u64,
}

impl Client {
    /// Whether it is on its channel.
    pub fn is_there(&self) -> bool {
        self.seated.is_some() && self.ended.is_none()
    }

    /// Whether its connection lasts.
    pub fn lasts(&self) -> bool {
        self.ended.is_none()
    }
}

/// The model.
#[derive(Debug, Default)]
pub struct Model {
    /// Channels that ever were told to be made.
    pub channels: Vec<Channel>,
    /// All connections of programs.
    pub clients: Vec<Client>,
    /// All messages.
    pub messages: Vec<Message>,
    /// Whose each wire is.
    by_wire: Vec<Option<usize>>,
    /// Now.
    pub at: At,
    /// Creations whose fate nobody knows.
    pub unknown: u64,
    /// When a reset was last told to be done, or perhaps done.
    pub last_reset: At,
    /// Ids that were told to have timed out.
    pub expired: BTreeSet<String>,
    /// The first broken promise.
    pub broken: Option<String>,
    /// Close codes that the nodes sent.
    pub codes: BTreeMap<u16, u64>,
    /// Statuses that they answered.
    pub statuses: BTreeMap<u16, u64>,
    /// Messages given.
    pub given: u64,
    /// Creations that each process was told of, by place, run and shard.
    pub told: BTreeSet<(usize, u64, usize, u128)>,
    /// Lives of nodes that have ended, as client ids begin, and processes, by place and run.
    pub lives_over: BTreeSet<String>,
    pub(super) runs_over: BTreeSet<(usize, u64)>,
    /// Whether more voters have lost their memory than the cluster can do without.
    pub loss: bool,
    /// Instants at which nothing was under way any more, in true time.
    pub settled: Vec<u64>,
    /// Since when all has been well, in true time; `None`: it is not.
    pub calm: Option<u64>,
}

const ERRORS: [&str; 3] = ["malformed", "no-recipient", "origin-gone"];

impl Model {
    /// Notes a broken promise; the first one counts.
    pub fn break_off(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// Whose wire it is.
    pub fn client_of(&self, wire: usize) -> Option<usize> {
        self.by_wire.get(wire).copied().flatten()
    }

    /// A new connection.
    pub fn connect(&mut self, wire: usize, slot: usize, run: u64, prompt: bool) -> usize {
        let number = self.clients.len();
        if self.by_wire.len() <= wire {
            self.by_wire.resize(wire + 1, None);
        }
        self.by_wire[wire] = Some(number);
        self.clients.push(Client {
            wire,
            slot,
            run,
            channel: None,
            echo: true,
            pull: true,
            sent: 0,
            delivered: 0,
            marks: VecDeque::new(),
            asked: VecDeque::new(),
            came: None,
            seated: None,
            ended: None,
            id: String::new(),
            serial: 0,
            last: BTreeMap::new(),
            errors: [0; 3],
            requests: VecDeque::new(),
            answer: None,
            prompt,
            stream: Stream::default(),
            done: false,
            frozen_until: 0,
        });
        number
    }

    /// Clients of a channel that are there.
    pub fn there(&self, channel: usize) -> usize {
        self.channels[channel].clients.iter().filter(|client| self.clients[**client].is_there()).count()
    }

    /// A node is about to be handed `count` bytes of a client.
    pub fn deliver(&mut self, number: usize, count: usize) {
        let client = &mut self.clients[number];
        client.delivered += count as u64;
        while let Some((end, mark)) = self.clients[number].marks.front().copied()
            && end <= self.clients[number].delivered
        {
            self.clients[number].marks.pop_front();
            match mark {
                Mark::Message(message) => self.take_in(number, message),
                Mark::Request => self.hand_over(number),
            }
        }
    }

    fn take_in(&mut self, number: usize, message: usize) {
        // What comes after the relay has said its last word is read by nobody.
        if matches!(self.clients[number].ended, Some((_, Why::Closed(_) | Why::Cut | Why::Died))) {
            return;
        }
        let at = self.at;
        self.messages[message].taken = Some(at);
        let channel = self.messages[message].channel;
        let channel = &mut self.channels[channel];
        channel.active = channel.active.max(at.time);
        channel.messages.push(message);
    }

    fn hand_over(&mut self, number: usize) {
        let at = self.at;
        let client = &mut self.clients[number];
        let (channel, slot) = (client.channel, client.slot);
        let Some(asked) = client.asked.iter_mut().find(|asked| asked.since.is_none()) else { return };
        asked.since = Some(at);
        let of = match asked.want {
            Want::Join => {
                client.came = Some(at);
                channel
            }
            Want::Get(channel) | Want::Delete(channel) => Some(channel),
            Want::Create(..) | Want::Reset | Want::List | Want::Anything => None,
        };
        let _ = slot;
        if let Some(of) = of {
            asked.sure = self.channels[of].is_sure();
            asked.gone = self.channels[of].gone.is_some() && !self.channels[of].vague;
        }
        match asked.want {
            Want::Delete(channel) => self.channels[channel].removers += 1,
            Want::Reset => self.channels.iter_mut().for_each(|channel| channel.removers += 1),
            _ => {}
        }
    }

    /// A node has queued an answer.
    pub fn answered(&mut self, number: usize, response: &Response) {
        let status = response.status;
        *self.statuses.entry(status).or_default() += 1;
        let Some(asked) = self.clients[number].asked.pop_front() else {
            if status == 408 {
                return;
            }
            return self.break_off(format!("conn {number} got an answer to nothing: {}", response.head));
        };
        let Some(since) = asked.since else {
            return self.break_off(format!("conn {number} got {status} before its request was whole"));
        };
        let told = match asked.want.clone() {
            Want::Join => self.joined(number, &asked, response),
            Want::Create(pattern, limit, timeout) => self.created(since, response, pattern, limit, timeout),
            Want::Get(channel) => self.existence(channel, &asked, status).and_then(|()| {
                let right = status != 200 || response.text("id").as_deref() == Some(&self.channels[channel].id[..]);
                right.then_some(()).ok_or("another channel's data".to_owned())
            }),
            Want::Delete(channel) => self.deleted(channel, &asked, status),
            Want::Reset => self.reset(since, status),
            Want::List => Model::is_one_of(status, &[200, 503]),
            Want::Anything => Ok(()),
        };
        self.clients[number].answer = Some(response.clone());
        if let Err(why) = told {
            let (slot, channel) = (self.clients[number].slot, self.clients[number].channel);
            self.break_off(format!(
                "conn {number} at node {slot} asked {:?} (channel {channel:?}) and got {status}: {why}: {}",
                asked.want, response.head
            ));
        }
    }

    fn is_one_of(status: u16, statuses: &[u16]) -> Result<(), String> {
        if statuses.contains(&status) { Ok(()) } else { Err(format!("not one of {statuses:?}")) }
    }

    fn existence(&self, at: usize, asked: &Asked, status: u16) -> Result<(), String> {
        let channel = &self.channels[at];
        match status {
            200 | 101 if asked.gone && !channel.vague => Err(format!("channel {at} was gone before")),
            404 if asked.sure && channel.is_sure() => Err(format!("channel {at} must be there")),
            200 | 101 | 404 | 503 => Ok(()),
            _ => Err("neither there nor gone".to_owned()),
        }
    }

    fn created(
        &mut self,
        since: At,
        response: &Response,
        pattern: Pattern,
        limit: Option<u64>,
        timeout: Option<u64>,
    ) -> Result<(), String> {
        if response.status == 504 {
            self.unknown += 1;
        }
        if response.status != 201 {
            return Model::is_one_of(response.status, &[503, 504]);
        }
        let id = response.text("id").ok_or("no id")?;
        let token = response.text("token").ok_or("no token")?;
        if self.channels.iter().any(|channel| channel.id == id && channel.gone.is_none() && !channel.vague) {
            return Err(format!("the id {id} is another channel's"));
        }
        let under_way = |asked: &&Asked| asked.want == Want::Reset && asked.since.is_some();
        let removers = self.clients.iter().flat_map(|client| &client.asked).filter(under_way).count() as u32;
        // One that was told meanwhile may have come behind the creation.
        let removers = removers + u32::from(self.last_reset >= since);
        self.channels.push(Channel {
            id,
            token,
            pattern,
            limit,
            timeout,
            made: self.at,
            removers,
            gone: None,
            timed_out: None,
            vague: false,
            clients: Vec::new(),
            active: since.time,
            messages: Vec::new(),
            most: 0,
        });
        Ok(())
    }

    fn deleted(&mut self, at: usize, asked: &Asked, status: u16) -> Result<(), String> {
        let now = self.at;
        let channel = &mut self.channels[at];
        // Its own wish stands among the removers.
        let only = channel.removers == 1;
        match status {
            200 if asked.gone && !channel.vague => return Err("it was gone before".to_owned()),
            200 => drop(channel.gone.get_or_insert(now)),
            404 if asked.sure && only && channel.gone.is_none() && !channel.vague => {
                return Err("nobody else removed it".to_owned());
            }
            404 => {}
            503 => channel.removers -= 1,
            504 => {}
            _ => return Err("neither removed nor gone".to_owned()),
        }
        Ok(())
    }

    fn reset(&mut self, since: At, status: u16) -> Result<(), String> {
        let now = self.at;
        if status != 503 {
            self.last_reset = now;
        }
        for channel in &mut self.channels {
            match status {
                200 if channel.made < since => drop(channel.gone.get_or_insert(now)),
                // Those made meanwhile had this reset among their removers, too.
                503 => channel.removers = channel.removers.saturating_sub(1),
                _ => {}
            }
        }
        Model::is_one_of(status, &[200, 503, 504])
    }

    fn joined(&mut self, number: usize, asked: &Asked, response: &Response) -> Result<(), String> {
        let at = self.clients[number].channel.ok_or("no channel")?;
        match response.status {
            101 | 404 | 503 => self.existence(at, asked, response.status)?,
            429 if self.channels[at].limit.is_some() => {}
            other => return Err(format!("{other}")),
        }
        if response.status != 101 {
            self.end(number, Why::Left);
            return Ok(());
        }
        let id = response.field("WRS-Client-Id").ok_or("no id")?.to_owned();
        if self.clients.iter().any(|client| client.id == id) {
            return Err(format!("the id {id} is another client's"));
        }
        if self.clients[number].ended.is_some() {
            return Ok(());
        }
        self.clients[number].id = id;
        self.clients[number].seated = Some(self.at);
        self.channels[at].clients.push(number);
        let now = self.at.time;
        let who = |number: &&usize| self.clients[**number].is_there() && self.clients[**number].frozen_until <= now;
        let there = self.channels[at].clients.iter().filter(who).count() as u64;
        let ids: Vec<(usize, String)> =
            self.channels[at].clients.iter().filter(who).map(|n| (*n, self.clients[*n].id.clone())).collect();
        let channel = &mut self.channels[at];
        channel.most = channel.most.max(there);
        match channel.limit {
            Some(limit) if there > limit => {
                Err(format!("channel {at} has {there} clients of at most {limit}: {ids:?}"))
            }
            _ => Ok(()),
        }
    }

    /// A connection ends, for the first reason that is given.
    pub fn end(&mut self, number: usize, why: Why) {
        let at = self.at;
        let client = &mut self.clients[number];
        client.ended.get_or_insert((at, why));
        client.done = true;
    }

    /// Creations whose fate nobody knows: those that were told so, and those that were never answered.
    pub fn unknown_creations(&self) -> u64 {
        let creates = |asked: &&Asked| matches!(asked.want, Want::Create(..));
        self.unknown + self.clients.iter().flat_map(|client| &client.asked).filter(creates).count() as u64
    }

    /// A node's process has ended: so have its connections.
    pub fn node_died(&mut self, slot: usize, run: u64) {
        self.runs_over.insert((slot, run));
        for number in 0..self.clients.len() {
            if self.clients[number].slot == slot && self.clients[number].ended.is_none() {
                self.end(number, Why::Died);
            }
        }
    }

    /// A node has ended a connection. `stops`: and itself, or tries to: a list that has begun may break off then.
    pub fn closed_by_node(&mut self, stops: bool, number: usize, unsent: usize) {
        let client = &self.clients[number];
        let owed = |asked: &Asked| asked.since.is_some() && !(stops && asked.want == Want::List);
        if client.ended.is_none() && client.seated.is_some() {
            return self.break_off(format!("conn {number} is cut off without a word, {unsent} bytes unsent"));
        }
        if client.ended.is_none() && client.prompt && client.asked.iter().any(owed) {
            let asked = &client.asked;
            return self.break_off(format!("conn {number} is cut off and has no answer to {asked:?}"));
        }
        self.end(number, Why::Cut);
    }

    /// A node tells that a channel has timed out.
    pub fn timed_out(&mut self, _now: u64, id: &str) {
        self.expired.insert(id.to_owned());
        let at = self.at;
        let Some(channel) = self.channels.iter_mut().find(|channel| channel.id == id) else { return };
        if channel.timed_out.is_none() {
            channel.timed_out = Some(at);
            let timeout = channel.timeout.map(|timeout| timeout * 1_000_000);
            // Clocks may run 1 % fast, and word of a message may be under way while the deletion is agreed on; nothing is
            // known for sure of what a node took in that was not among the live ones.
            let idle = at.time.saturating_sub(channel.active);
            let calm = self.calm.is_some_and(|calm| calm + 1_000_000_000 < channel.active);
            let grace = 1_000_000_000;
            match timeout {
                None => self.break_off(format!("channel {id} has no timeout and times out")),
                Some(timeout) if calm && idle > grace && idle < timeout / 100 * 98 => {
                    let what =
                        format!("channel {id} times out after {} ms of {}", idle / 1_000_000, timeout / 1_000_000);
                    self.break_off(what);
                }
                Some(_) => {}
            }
        }
    }

    /// A node has queued a frame for a client.
    pub fn frame(&mut self, number: usize, first: u8, payload: &[u8]) {
        match first & 0x0F {
            8 => self.close_queued(number, payload),
            1 | 2 => self.message_queued(number, first & 0x0F, payload),
            9 | 10 => {}
            _ => self.break_off(format!("conn {number} is sent a frame {first:#x}")),
        }
    }

    fn close_queued(&mut self, number: usize, payload: &[u8]) {
        let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
        *self.codes.entry(code).or_default() += 1;
        self.say_code(number, code);
        self.end(number, Why::Closed(code));
    }

    /// Whether a code may be said to a client.
    fn say_code(&mut self, number: usize, code: u16) {
        let client = &self.clients[number];
        if client.ended.is_some() {
            if matches!(client.ended, Some((_, Why::Closed(_)))) {
                self.break_off(format!("conn {number} is closed twice"));
            }
            return;
        }
        let channel = client.channel.map(|at| &self.channels[at]);
        let removed = channel.is_some_and(|channel| channel.removers > 0 || channel.gone.is_some() || channel.vague);
        let right = match code {
            1001 | 1012 => true,
            1013 => !client.prompt,
            4404 => removed,
            4408 => channel.is_some_and(|channel| channel.is_mortal() || channel.vague),
            _ => false,
        };
        if !right {
            self.break_off(format!("conn {number} is closed with {code} for no reason"));
        }
    }

    fn message_queued(&mut self, number: usize, opcode: u8, payload: &[u8]) {
        if matches!(self.clients[number].ended, Some((_, Why::Closed(_) | Why::Cut | Why::Died))) {
            return self.break_off(format!("conn {number} is given something after its end"));
        }
        if self.clients[number].seated.is_none() && self.clients[number].ended.is_none() {
            return self.break_off(format!("conn {number} is given something before its 101"));
        }
        let Some(mark) = mark_of(payload) else { return self.told_error(number, payload) };
        self.given += 1;
        let at = self.at;
        let Some(message) = self.messages.get_mut(mark) else {
            return self.break_off(format!("conn {number} is given a message that never was"));
        };
        if message.payload != payload || message.opcode != opcode {
            let got = payload.escape_ascii().to_string();
            return self.break_off(format!("conn {number} is given message {mark} as {got}"));
        }
        message.got.push((number, at));
        let (sender, serial, verb) = (message.sender, message.serial, message.verb);
        let client = &self.clients[number];
        let message = &self.messages[mark];
        let fault = if Some(message.channel) != client.channel {
            Some("of another channel")
        } else if message.taken.is_none() {
            Some("that nobody took in")
        } else if let Some(last) = client.last.get(&sender).filter(|last| **last >= serial) {
            Some(if *last == serial { "twice" } else { "out of order" })
        } else {
            self.fault_of(number, message)
        };
        if let Some(fault) = fault {
            let last = client.last.get(&sender).copied();
            let what = format!(
                "conn {number} is given message {mark} ({serial} of conn {sender}, {verb:?}, last {last:?}) {fault}; got {:?}",
                message.got
            );
            return self.break_off(what);
        }
        let last = self.clients[number].last.entry(sender).or_default();
        *last = serial.max(*last);
        if verb == Verb::Request {
            let origin = self.clients[sender].id.clone();
            self.clients[number].requests.push_back(origin);
        }
    }

    /// What is wrong at once with a client's getting a message.
    fn fault_of(&self, number: usize, message: &Message) -> Option<&'static str> {
        let (client, own) = (&self.clients[number], message.sender == number);
        let pattern = self.channels[message.channel].pattern;
        match (pattern, message.verb) {
            (_, Verb::Malformed) => Some("that is malformed"),
            (Pattern::Echo, _) => (!own).then_some("of somebody else"),
            (Pattern::PubSub, _) => (own && !client.echo).then_some("that is its own"),
            (Pattern::PushPull, _) => (!client.pull && !own).then_some("though it is not queued"),
            (Pattern::ReqRepl, Verb::Request) => own.then_some("that is its own"),
            (Pattern::FanInOut, Verb::Request) => {
                (own || !client.pull).then_some("that is its own, or it is not queued")
            }
            (Pattern::ReqRepl | Pattern::FanInOut, Verb::Reply(to)) => {
                (to != Some(number)).then_some("for somebody else")
            }
            (Pattern::ReqRepl | Pattern::FanInOut, Verb::Plain) => Some("that is none"),
        }
    }

    fn told_error(&mut self, number: usize, payload: &[u8]) {
        let text = String::from_utf8_lossy(payload);
        let code = text.split_once("\"code\":\"").and_then(|(_, rest)| rest.split_once('"')).map(|(code, _)| code);
        match ERRORS.iter().position(|known| Some(*known) == code) {
            Some(error) => self.clients[number].errors[error] += 1,
            None => self.break_off(format!("conn {number} is sent {text}")),
        }
    }
}

/// The number that a payload carries: `#…#`.
fn mark_of(payload: &[u8]) -> Option<usize> {
    let start = payload.iter().position(|byte| *byte == b'#')? + 1;
    let mut mark = 0usize;
    for byte in &payload[start..] {
        match byte {
            b'0'..=b'9' => mark = mark.checked_mul(10)?.checked_add(usize::from(byte - b'0'))?,
            b'#' => return Some(mark),
            _ => return None,
        }
    }
    None
}

//! What the contract promises, kept beside the node and compared with it.
//!
//! Everything is judged where the node decides it: a message is *taken in* when the bytes that end it are handed to the
//! sender's shard, and *given* when its frame is queued on a receiver's socket. What programs read later is compared with
//! what was queued. Where events cross on their way between shards the contract leaves a choice, and so does this model;
//! at rest it leaves none.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use wrs_core::pattern::Pattern;
use wrs_core::time::Time;

use super::wire::Response;

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
    /// Idle time after which it goes.
    pub timeout: Option<Duration>,
    /// Something that removes it may be under way.
    pub doomed: bool,
    /// It is certainly gone.
    pub gone: bool,
    /// Somebody asked for its deletion.
    pub deleted_by_hand: bool,
    /// Its countdown was seen to end.
    pub timed_out: bool,
    /// It must not time out before.
    pub earliest: Time,
    /// A message came after `earliest`: it may have saved the channel or not.
    pub late: bool,
    /// It must have timed out by then.
    pub latest: Time,
    /// Messages may have been taken in at unknown times (rates, messages sent along with the handshake).
    pub vague: bool,
    /// Grows with every change of its clients.
    pub version: u64,
    /// At the last rest: the version, and what each queued client had been given since.
    pub turns: (u64, BTreeMap<usize, u64>),
    /// Somebody who is queued has sent since the last rest, so that turns are not exact.
    pub mixed: bool,
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
    /// Its number with its sender.
    pub number: u64,
    /// 1 text, 2 binary.
    pub opcode: u8,
    /// What its receivers are to get.
    pub payload: Vec<u8>,
    /// What it wants.
    pub verb: Verb,
    /// The tick at which it was taken in, if that is known.
    pub taken: Option<u64>,
    /// Its bytes are with the node.
    pub handed_over: bool,
    /// Clients that were there when it was taken in.
    pub there: Vec<usize>,
    /// Who got it.
    pub got: Vec<usize>,
}

/// What bytes of a program mean, once the node has them.
#[derive(Clone, Copy, Debug)]
pub enum Mark {
    /// A message ends.
    Message(u64),
    /// A request ends.
    Request,
}

/// What a program expects of an answer.
#[derive(Clone, Debug)]
pub enum Want {
    /// The seat.
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
    /// One of these.
    Status(&'static [u16]),
}

/// A request under way.
#[derive(Debug)]
pub struct Asked {
    /// What is expected.
    pub want: Want,
    /// When the node had all of it.
    pub since: Option<Time>,
    /// The tick of that.
    pub tick: u64,
    /// Channels that existed then, and that nothing threatened.
    pub sure: Vec<usize>,
    /// Channels that were certainly gone then.
    pub gone: Vec<usize>,
}

/// A connection as the contract sees it.
#[derive(Debug, Default)]
pub struct Client {
    /// Its channel's place in the model.
    pub channel: usize,
    /// The node has its wish to join.
    pub came: bool,
    /// Whether it wants its own messages back.
    pub echo: bool,
    /// Whether it is queued.
    pub pull: bool,
    /// Its id, once seated.
    pub id: String,
    /// When its 101 was queued.
    pub seated: Option<u64>,
    /// When it left, for whatever reason.
    pub gone: Option<u64>,
    /// When the node sent it a close frame.
    pub closed: Option<Time>,
    /// When the node last had bytes of it.
    pub heard: Time,
    /// Marks by the offset of their last byte.
    pub marks: VecDeque<(u64, Mark)>,
    /// Bytes that the node has had.
    pub delivered: u64,
    /// Its requests that are not answered.
    pub asked: VecDeque<Asked>,
    /// Error messages that it was sent since the last rest, by code.
    pub errors: BTreeMap<String, u64>,
    /// The highest number that it was given, by sender.
    pub last: BTreeMap<usize, u64>,
    /// What it did that deserves a close: the codes that may follow.
    pub faults: Vec<u16>,
}

impl Client {
    /// Whether it is on its channel.
    pub fn is_there(&self) -> bool {
        self.seated.is_some() && self.gone.is_none()
    }
}

/// The model.
#[derive(Debug, Default)]
pub struct Contract {
    /// All channels that ever were.
    pub channels: Vec<Channel>,
    /// All connections, by the simulator's number.
    pub clients: Vec<Client>,
    /// Messages that are not settled.
    pub messages: BTreeMap<u64, Message>,
    /// The next message's number.
    pub next_message: u64,
    /// Channels that the node has said to have timed out.
    pub ended: BTreeSet<String>,
    /// Grows with every input.
    pub tick: u64,
    /// The tick at which a reset was last answered.
    pub last_reset: u64,
    /// The tick of the last rest.
    pub last_rest: u64,
    /// The first broken promise.
    pub broken: Option<String>,
    /// Whether the node was told to stop.
    pub draining: bool,
    /// Rates make the time of taking in unknown.
    pub rates: bool,
    /// `WRS_MAX_CLIENTS`.
    pub clients_max: u64,
    /// `WRS_MAX_CLIENTS_PER_ADDRESS`.
    pub per_address_max: u64,
    /// `WRS_MAX_CHANNELS`.
    pub channels_max: u64,
    /// Where each connection comes from.
    pub from: Vec<IpAddr>,
    /// Messages given, for the report.
    pub given: u64,
    /// Close codes that the node sent, for the report.
    pub codes: BTreeMap<u16, u64>,
}

impl Contract {
    /// Notes a broken promise; the first one counts.
    pub fn break_off(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// Clients of a channel that are there.
    pub fn there(&self, channel: usize) -> Vec<usize> {
        let on =
            |(number, client): (usize, &Client)| (client.is_there() && client.channel == channel).then_some(number);
        self.clients.iter().enumerate().filter_map(on).collect()
    }

    /// Whether a channel certainly exists.
    pub(super) fn is_sure(channel: &Channel, now: Time) -> bool {
        !channel.doomed && !channel.gone && (channel.timeout.is_none() || now < channel.earliest) && !channel.vague
    }

    /// The node is about to be handed `count` bytes of a client.
    pub fn deliver(&mut self, now: Time, number: usize, count: usize) {
        let client = &mut self.clients[number];
        client.delivered += count as u64;
        client.heard = now;
        let mut marks = Vec::new();
        while client.marks.front().is_some_and(|(end, _)| *end <= client.delivered) {
            marks.extend(client.marks.pop_front().map(|(_, mark)| mark));
        }
        for mark in marks {
            match mark {
                Mark::Message(message) => self.take_in(now, number, message),
                Mark::Request => self.hand_over_request(now, number),
            }
        }
    }

    fn take_in(&mut self, now: Time, number: usize, message: u64) {
        let there = self.clients[number].is_there();
        let waiting = self.clients[number].seated.is_none();
        let channel = self.clients[number].channel;
        let others = self.there(channel);
        let (tick, rates) = (self.tick, self.rates);
        let Some(message) = self.messages.get_mut(&message) else { return };
        message.handed_over = true;
        message.there = others;
        let channel = &mut self.channels[channel];
        if waiting || rates {
            channel.vague = true;
        } else if there {
            message.taken = Some(tick);
            let timeout = channel.timeout.unwrap_or(Duration::MAX);
            if now < channel.earliest {
                channel.earliest = now + timeout;
            } else {
                channel.late = true;
            }
            channel.latest = now + timeout;
        }
        if self.clients[number].pull {
            channel.mixed = true;
        }
    }

    fn hand_over_request(&mut self, now: Time, number: usize) {
        let by = |test: &dyn Fn(&Channel) -> bool| -> Vec<usize> {
            self.channels.iter().enumerate().filter_map(|(at, channel)| test(channel).then_some(at)).collect()
        };
        let sure = by(&|channel| Self::is_sure(channel, now));
        let gone = by(&|channel| channel.gone);
        let Some(asked) = self.clients[number].asked.iter_mut().find(|asked| asked.since.is_none()) else { return };
        (asked.since, asked.tick, asked.sure, asked.gone) = (Some(now), self.tick, sure, gone);
        match asked.want {
            Want::Join => self.clients[number].came = true,
            Want::Delete(channel) => {
                self.channels[channel].doomed = true;
                self.channels[channel].deleted_by_hand = true;
            }
            Want::Reset => {
                // Channels whose creation is under way may be hit too; `created` asks for this.
                for channel in &mut self.channels {
                    channel.doomed = true;
                    channel.deleted_by_hand = true;
                }
            }
            _ => {}
        }
    }

    /// Whether a reset may still be under way.
    pub fn resetting(&self) -> bool {
        let resets = |asked: &Asked| matches!(asked.want, Want::Reset);
        self.clients.iter().any(|client| client.asked.iter().any(resets))
    }

    /// Creations that are not answered; those that never will be, too.
    fn creations(&self) -> u64 {
        let creates = |asked: &&Asked| matches!(asked.want, Want::Create(..));
        self.clients.iter().flat_map(|client| &client.asked).filter(creates).count() as u64
    }

    /// Whether no channel is left that counts down, creations that nobody heard of included.
    pub fn may_have_no_countdown(&self) -> bool {
        self.creations() == 0 && self.channels.iter().all(|channel| channel.gone || channel.timeout.is_none())
    }

    /// The node has queued an answer.
    pub fn answered(&mut self, now: Time, number: usize, response: &Response) {
        let status = response.status;
        if status == 408 && self.clients[number].asked.iter().all(|asked| asked.since.is_none()) {
            return;
        }
        let Some(asked) = self.clients[number].asked.pop_front() else {
            return self.break_off(format!("conn {number} got an answer to nothing: {}", response.head));
        };
        if asked.since.is_none() {
            return self.break_off(format!("conn {number} got {status} before its request was whole"));
        }
        let told = match asked.want {
            Want::Join => {
                if status != 101 {
                    self.left(number);
                }
                self.join_answered(now, number, response, &asked)
            }
            Want::Create(pattern, limit, timeout) => self.created(now, &asked, response, pattern, limit, timeout),
            Want::Get(channel) => self.existence(now, channel, &asked, status).and_then(|()| {
                let right = status != 200 || response.text("id").as_deref() == Some(&self.channels[channel].id[..]);
                right.then_some(()).ok_or("another channel's data".to_owned())
            }),
            Want::Delete(channel) => self.deleted(channel, &asked, status),
            Want::Reset => {
                self.last_reset = self.tick;
                // Whoever asked at the same time may have won; all that was there before is gone.
                for channel in asked.sure.iter().chain(&asked.gone) {
                    self.channels[*channel].gone = true;
                }
                (status == 200).then_some(()).ok_or("a reset failed".to_owned())
            }
            Want::List => self.listed(now, &asked, response),
            Want::Status(statuses) => {
                statuses.contains(&status).then_some(()).ok_or(format!("not one of {statuses:?}"))
            }
        };
        if let Err(why) = told {
            self.break_off(format!("conn {number} asked {:?} and got {status}: {why}: {}", asked.want, response.head));
        }
    }

    fn existence(&self, now: Time, at: usize, asked: &Asked, status: u16) -> Result<(), String> {
        let channel = &self.channels[at];
        match status {
            200 | 101 if asked.gone.contains(&at) => Err("it was gone before".to_owned()),
            404 if asked.sure.contains(&at) && Self::is_sure(channel, now) => Err("it must be there".to_owned()),
            200 | 101 | 404 => Ok(()),
            _ => Err("neither there nor gone".to_owned()),
        }
    }

    fn deleted(&mut self, at: usize, asked: &Asked, status: u16) -> Result<(), String> {
        // 404 is right only if somebody else removed it, or its time ended.
        match status {
            200 if asked.gone.contains(&at) => return Err("it was gone before".to_owned()),
            200 => {}
            404 if asked.sure.contains(&at)
                && self.removers(at) == 0
                && self.last_reset < asked.tick
                && !self.channels[at].timed_out =>
            {
                return Err("nobody else removed it".to_owned());
            }
            // Somebody else's removal may not have come to every shard yet.
            404 => return Ok(()),
            _ => return Err("neither removed nor gone".to_owned()),
        }
        self.channels[at].gone = true;
        Ok(())
    }

    /// Other requests under way, or answered, that remove a channel.
    fn removers(&self, at: usize) -> usize {
        let removes = |asked: &&Asked| match asked.want {
            Want::Delete(channel) => channel == at,
            Want::Reset => true,
            _ => false,
        };
        let under_way = self.clients.iter().flat_map(|client| &client.asked).filter(removes).count();
        under_way + usize::from(self.channels[at].gone)
    }

    fn created(
        &mut self,
        now: Time,
        asked: &Asked,
        response: &Response,
        pattern: Pattern,
        limit: Option<u64>,
        timeout: Option<u64>,
    ) -> Result<(), String> {
        let alive = self.channels.iter().filter(|channel| !channel.gone).count() as u64;
        match response.status {
            201 => {}
            503 if self.draining || alive + 1 + self.creations() >= self.channels_max => return Ok(()),
            _ => return Err("no channel".to_owned()),
        }
        let (Some(id), Some(token)) = (response.text("id"), response.text("token")) else {
            return Err("no id or token".to_owned());
        };
        if response.field("location") != Some(&format!("/channels/{id}")) {
            return Err("another location".to_owned());
        }
        let since = asked.since.unwrap_or(now);
        let timeout = timeout.map(Duration::from_millis);
        let by_hand = self.resetting() || self.last_reset >= asked.tick;
        let timed_out = self.ended.contains(&id);
        if timed_out && timeout.is_none_or(|timeout| now < since + timeout) {
            return Err("it has timed out before its time".to_owned());
        }
        self.channels.push(Channel {
            id,
            token,
            pattern,
            limit,
            timeout,
            doomed: by_hand || timed_out,
            gone: false,
            deleted_by_hand: by_hand,
            timed_out,
            earliest: timeout.map_or(Time::MAX, |timeout| since + timeout),
            latest: timeout.map_or(Time::MAX, |timeout| now + timeout),
            late: false,
            vague: self.rates,
            version: 0,
            turns: (u64::MAX, BTreeMap::new()),
            mixed: false,
        });
        Ok(())
    }

    fn listed(&self, now: Time, asked: &Asked, response: &Response) -> Result<(), String> {
        let body = String::from_utf8_lossy(&response.body).into_owned();
        let ids: Vec<&str> = body.split("{\"id\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        if response.status != 200 || !ids.is_sorted() {
            return Err(format!("the list is out of order: {ids:?}"));
        }
        for at in &asked.sure {
            let channel = &self.channels[*at];
            if Self::is_sure(channel, now) && !ids.contains(&&channel.id[..]) {
                return Err(format!("{} is missing from {ids:?}", channel.id));
            }
        }
        match asked.gone.iter().find(|at| ids.contains(&&self.channels[**at].id[..])) {
            Some(at) => Err(format!("{} was gone before", self.channels[*at].id)),
            None => Ok(()),
        }
    }

    fn join_answered(&mut self, now: Time, number: usize, response: &Response, asked: &Asked) -> Result<(), String> {
        let at = self.clients[number].channel;
        let limited = self.channels[at].limit.is_some() || self.per_address_max > 0;
        match response.status {
            101 => {}
            404 => return self.existence(now, at, asked, 404),
            429 if limited => return Ok(()),
            503 if self.draining || self.clients_max < 1_000 => return Ok(()),
            status => return Err(format!("a refusal with {status}")),
        }
        self.existence(now, at, asked, 101)?;
        let id = response.field("wrs-client-id").ok_or("no client id")?.to_owned();
        if self.clients.iter().any(|client| client.id == id) {
            return Err(format!("client id {id} was used before"));
        }
        let tick = self.tick;
        let client = &mut self.clients[number];
        (client.id, client.seated, client.heard) = (id, Some(tick), now);
        self.channels[at].version += 1;
        let there = self.there(at).len() as u64;
        if self.channels[at].limit.is_some_and(|limit| there > limit) {
            return Err(format!("{there} clients on the channel"));
        }
        let all = self.clients.iter().filter(|client| client.is_there()).count() as u64;
        if all > self.clients_max {
            return Err(format!("{all} clients on the node"));
        }
        let same = |(client, from): (&Client, &IpAddr)| client.is_there() && *from == self.from[number];
        let of_address = self.clients.iter().zip(&self.from).filter(|pair| same(*pair)).count() as u64;
        if self.per_address_max > 0 && of_address > self.per_address_max {
            return Err(format!("{of_address} clients of one address"));
        }
        Ok(())
    }

    /// A client has left its channel.
    pub fn left(&mut self, number: usize) {
        let tick = self.tick;
        let client = &mut self.clients[number];
        if client.gone.is_none() {
            client.gone = Some(tick);
            if client.seated.is_some() {
                let channel = client.channel;
                self.channels[channel].version += 1;
            }
        }
    }

    /// The node has queued a close frame.
    pub fn close_sent(
        &mut self,
        now: Time,
        number: usize,
        payload: &[u8],
        unsent: usize,
        limit: usize,
        ping: Option<Duration>,
    ) {
        let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
        *self.codes.entry(code).or_default() += 1;
        let client = &self.clients[number];
        let channel = &self.channels[client.channel];
        let right = client.faults.contains(&code)
            || match code {
                1001 => self.draining,
                1008 => self.rates || ping.is_some_and(|ping| now >= client.heard + ping * 2),
                1013 => unsent > limit,
                4404 => channel.deleted_by_hand,
                4408 => channel.timed_out || (channel.timeout.is_some() && (now >= channel.earliest || channel.vague)),
                _ => false,
            };
        if !right {
            let faults = client.faults.clone();
            self.break_off(format!(
                "conn {number} is closed with {code} for nothing (faults {faults:?}, unsent {unsent})"
            ));
        }
        self.clients[number].closed = Some(now);
        self.left(number);
    }

    /// The countdown of a channel has ended, says the node.
    pub fn timed_out(&mut self, now: Time, id: &str) {
        self.ended.insert(id.to_owned());
        // A timeout of 0 can end before its 201 is on its way.
        let Some(channel) = self.channels.iter_mut().find(|channel| channel.id == id) else { return };
        channel.doomed = true;
        channel.timed_out = true;
        if now < channel.earliest && !channel.vague {
            let (earliest, timeout) = (channel.earliest, channel.timeout);
            self.break_off(format!("channel {id} timed out at {now:?}, not before {earliest:?} (timeout {timeout:?})"));
        }
    }

    /// The node has queued a data frame.
    pub fn given(&mut self, number: usize, opcode: u8, payload: &[u8]) {
        if payload.starts_with(b"{\"type\":\"error\"") {
            let text = String::from_utf8_lossy(payload).into_owned();
            let code = text.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("none");
            *self.clients[number].errors.entry(code.to_owned()).or_default() += 1;
            return;
        }
        if let Err(why) = self.check_given(number, opcode, payload) {
            let text = String::from_utf8_lossy(&payload[..payload.len().min(120)]).into_owned();
            self.break_off(format!("conn {number} got {text:?}: {why}"));
        }
    }

    fn check_given(&mut self, number: usize, opcode: u8, payload: &[u8]) -> Result<(), String> {
        let client = &self.clients[number];
        if !client.is_there() {
            return Err("it is not on the channel".to_owned());
        }
        let message_number = number_in(payload).ok_or("no message of ours")?;
        let Some(message) = self.messages.get(&message_number) else {
            return Err("it was settled long ago, or never sent".to_owned());
        };
        let sender = &self.clients[message.sender];
        let pattern = self.channels[message.channel].pattern;
        let own = message.sender == number;
        if !message.handed_over {
            return Err("before it was taken in".to_owned());
        }
        if client.channel != message.channel {
            return Err("it is another channel's".to_owned());
        }
        if (opcode & 0x0F, payload) != (message.opcode, &message.payload[..]) {
            return Err(format!("changed, from {:?}", String::from_utf8_lossy(&message.payload)));
        }
        if client.last.get(&message.sender).is_some_and(|last| *last >= message.number) {
            return Err("twice, or out of order".to_owned());
        }
        let queued_before = |(other, candidate): (usize, &Client)| {
            let before = candidate.seated < message.taken && candidate.seated.is_some();
            other != number && candidate.is_there() && candidate.channel == message.channel && candidate.pull && before
        };
        let one_only = || message.got.is_empty().then_some(()).ok_or(format!("conn {:?} has it", message.got));
        match (pattern, message.verb) {
            (_, Verb::Malformed) => return Err("malformed as it is".to_owned()),
            (Pattern::Echo, _) if !own => return Err("an echo of another's".to_owned()),
            (Pattern::PubSub, _) if own && !client.echo => return Err("its own, not wanted".to_owned()),
            (Pattern::PushPull, _) => {
                one_only()?;
                if !own && !client.pull {
                    return Err("it does not pull".to_owned());
                }
                if own && message.taken.is_some() && self.clients.iter().enumerate().any(queued_before) {
                    return Err("its own, though another is queued".to_owned());
                }
            }
            (Pattern::ReqRepl, Verb::Request) if own => return Err("its own request".to_owned()),
            (Pattern::FanInOut, Verb::Request) => {
                one_only()?;
                if own || !client.pull {
                    return Err("its own request, or it does not pull".to_owned());
                }
            }
            (_, Verb::Reply(to)) if to != Some(number) => return Err(format!("a reply to {to:?}")),
            _ => {}
        }
        debug_assert!(sender.seated.is_some());
        let (from, serial, channel) = (message.sender, message.number, message.channel);
        self.clients[number].last.insert(from, serial);
        if pattern == Pattern::PushPull {
            *self.channels[channel].turns.1.entry(number).or_default() += 1;
        }
        self.given += 1;
        if let Some(message) = self.messages.get_mut(&message_number) {
            message.got.push(number);
        }
        Ok(())
    }
}

/// The number between two `#` in a payload.
fn number_in(payload: &[u8]) -> Option<u64> {
    let mut parts = payload.split(|byte| *byte == b'#');
    std::str::from_utf8(parts.nth(1)?).ok()?.parse().ok()
}

//! The programs at the other ends: users of the REST API, and members of channels who number their messages.

use std::net::{IpAddr, Ipv4Addr};

use wrs_core::pattern::Pattern;

use super::model::{Asked, Mark, Message, Verb, Want, Why};
use super::net::{Chunk, End, Wire};
use super::state::{Event, Fact, State};
use super::world::World;
use crate::node_sim::program::handshake;
use crate::node_sim::wire::frame;
use crate::sim::MICRO;

/// Bytes that may be on the way to a node from one program.
const INBOUND_MAX: usize = 20_000;
/// Bytes that a client's socket takes.
const WINDOW: usize = 16_000;
/// The same of one that reads at once.
pub(super) const WINDOW_PROMPT: usize = 1 << 20;

impl World {
    /// A program connects to a shard of a node; `None`: nobody listens there.
    pub fn connect(&mut self, slot: usize, prompt: bool) -> Option<usize> {
        let desks = &self.state.nodes[slot].desks;
        let listening: Vec<usize> = (0..desks.len()).filter(|shard| desks[*shard].listening).collect();
        let shard = *self.state.random.pick(&listening)?;
        self.connect_at(slot, shard, prompt)
    }

    /// A program connects to this shard of a node; `None`: nobody listens there.
    pub fn connect_at(&mut self, slot: usize, shard: usize, prompt: bool) -> Option<usize> {
        if !self.state.is_up(slot) || !self.state.nodes[slot].desks.get(shard)?.listening {
            return None;
        }
        let wire = self.state.wires.len();
        let run = self.state.nodes[slot].run;
        let (far, conn) = self.state.accept(slot, shard, wire, 1);
        let number = self.state.model.connect(wire, slot, run, prompt);
        self.state.wires.push(Wire::new(
            [End::Program(number), far],
            if prompt { WINDOW_PROMPT } else { WINDOW },
            None,
        ));
        let from = IpAddr::V4(Ipv4Addr::new(172, 16, (number >> 8) as u8, number as u8));
        self.state.fact(slot, shard, Fact::Opened { conn, from });
        Some(number)
    }

    /// A program asks something.
    pub fn request(&mut self, number: usize, method: &str, path: &str, body: &str, want: Want) {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.state.ask(number, request.into_bytes(), want);
    }

    /// A program wants to be on a channel.
    pub fn join(&mut self, slot: usize, channel: usize, pull: bool, echo: bool, prompt: bool) -> Option<usize> {
        let number = self.connect(slot, prompt)?;
        self.ask_to_be_on(number, channel, pull, echo);
        Some(number)
    }

    /// A program that has connected wants to be on a channel.
    pub fn ask_to_be_on(&mut self, number: usize, channel: usize, pull: bool, echo: bool) {
        let (id, token) =
            (self.state.model.channels[channel].id.clone(), self.state.model.channels[channel].token.clone());
        let client = &mut self.state.model.clients[number];
        (client.channel, client.pull, client.echo) = (Some(channel), pull, echo);
        let mut query = String::new();
        if !pull {
            query.push_str("&pull=false");
        }
        if !echo {
            query.push_str("&echo=false");
        }
        let way = self.state.random.below(3);
        self.state.ask(number, handshake(&id, &query, false, way, &token).into_bytes(), Want::Join);
    }

    /// A program creates a channel.
    pub fn create(&mut self, number: usize, pattern: Pattern, limit: Option<u64>, timeout: Option<u64>) {
        let text = |n: Option<u64>| n.map_or("-1".to_owned(), |n| n.to_string());
        let body = format!(
            "{{\"pattern\":\"{}\",\"clientLimit\":{},\"timeout\":{}}}",
            pattern.as_str(),
            text(limit),
            text(timeout)
        );
        self.request(number, "POST", "/channels", &body, Want::Create(pattern, limit, timeout));
    }
}

impl State {
    /// A program sends a request.
    pub fn ask(&mut self, number: usize, request: Vec<u8>, want: Want) {
        let client = &mut self.model.clients[number];
        client.answer = None;
        client.marks.push_back((client.sent + request.len() as u64, Mark::Request));
        client.asked.push_back(Asked { want, since: None, sure: false, gone: false });
        self.program_sends(number, request);
    }

    /// Whether a program's bytes pile up on their way.
    fn is_clogged(&mut self, number: usize) -> bool {
        let wire = &mut self.wires[self.model.clients[number].wire];
        let unread = wire.ends[1].sock().map_or(0, |sock| sock.inbox.len());
        wire.pipes[0].flight_bytes + unread > INBOUND_MAX
    }

    fn mask(&mut self) -> [u8; 4] {
        (self.random.bits() as u32).to_le_bytes()
    }

    /// A program hangs up without a word.
    pub fn hang_up(&mut self, number: usize) {
        let wire = self.model.clients[number].wire;
        self.model.end(number, Why::Left);
        match self.random.below(2) {
            0 => self.drop_end(wire, 0, false),
            _ => self.send(wire, 0, Chunk::Fin),
        }
    }

    /// A client leaves politely.
    pub fn say_goodbye(&mut self, number: usize) {
        let mut out = Vec::new();
        let mask = self.mask();
        frame(&mut out, 0x88, &1000u16.to_be_bytes(), mask);
        self.program_sends(number, out);
        self.model.end(number, Why::Left);
    }

    /// A client sends one numbered message, as its pattern has it. Its place in the model; `None`: not now.
    pub fn send_message(&mut self, number: usize) -> Option<usize> {
        if self.is_clogged(number) {
            return None;
        }
        let channel = self.model.clients[number].channel?;
        let pattern = self.model.channels[channel].pattern;
        let mark = self.model.messages.len();
        let padding = "~".repeat(self.random.below(self.plan.payload_max + 1) as usize);
        let tag = format!("#{mark}#{padding}");
        let (verb, sent, received) = match pattern {
            Pattern::ReqRepl | Pattern::FanInOut => self.envelope(number, &tag),
            Pattern::Echo | Pattern::PubSub | Pattern::PushPull => (Verb::Plain, tag.clone(), tag),
        };
        Some(self.send_numbered(number, verb, &sent, received))
    }

    /// A client sends a request.
    pub fn send_request(&mut self, number: usize) -> usize {
        let mark = self.model.messages.len();
        let own = self.model.clients[number].id.clone();
        let sent = format!("{{\"type\":\"request\",\"m\":\"#{mark}#\"}}");
        let received = format!("{{\"origin\":\"{own}\",\"type\":\"request\",\"m\":\"#{mark}#\"}}");
        self.send_numbered(number, Verb::Request, &sent, received)
    }

    /// A client sends a reply to another.
    pub fn send_reply(&mut self, number: usize, to: usize) -> usize {
        let mark = self.model.messages.len();
        let id = self.model.clients[to].id.clone();
        let text = format!("{{\"type\":\"reply\",\"origin\":\"{id}\",\"m\":\"#{mark}#\"}}");
        self.send_numbered(number, Verb::Reply(Some(to)), &text.clone(), text)
    }

    fn send_numbered(&mut self, number: usize, verb: Verb, sent: &str, received: String) -> usize {
        let opcode = 1 + self.random.below(2) as u8;
        let mut out = Vec::new();
        let mask = self.mask();
        frame(&mut out, 0x80 | opcode, sent.as_bytes(), mask);
        let mark = self.model.messages.len();
        let client = &mut self.model.clients[number];
        client.serial += 1;
        client.marks.push_back((client.sent + out.len() as u64, Mark::Message(mark)));
        let (serial, channel) = (client.serial, client.channel.unwrap_or(usize::MAX));
        self.model.messages.push(Message {
            sender: number,
            channel,
            serial,
            opcode,
            payload: received.into_bytes(),
            verb,
            taken: None,
            got: Vec::new(),
        });
        self.program_sends(number, out);
        mark
    }

    /// A message of the two patterns that read it: what it wants, as it is sent, as it is to arrive.
    fn envelope(&mut self, number: usize, tag: &str) -> (Verb, String, String) {
        let own = self.model.clients[number].id.clone();
        let request = self.model.clients[number].requests.pop_front();
        match (self.random.below(20), request) {
            (0, _) => {
                let bad = ["not json ", "{\"type\":\"what\"}", "{\"type\":\"reply\"}", "[]"];
                let text = bad[self.random.below(4) as usize].to_owned() + tag;
                (Verb::Malformed, text.clone(), text)
            }
            (1, _) => {
                let to = self.random.below(self.model.clients.len() as u64 + 1) as usize;
                let to = Some(to).filter(|to| self.model.clients.get(*to).is_some_and(|client| !client.id.is_empty()));
                let id =
                    to.map_or("0123456789abcdef0000000000000001".to_owned(), |to| self.model.clients[to].id.clone());
                let text = format!("{{\"type\":\"reply\",\"origin\":\"{id}\",\"m\":\"{tag}\"}}");
                (Verb::Reply(to), text.clone(), text)
            }
            (2..=15, Some(id)) => {
                let to = self.model.clients.iter().position(|client| client.id == id);
                let text = format!("{{ \"m\":\"{tag}\", \"origin\" : \"{id}\",\"type\":\"reply\"}}");
                (Verb::Reply(to), text.clone(), text)
            }
            _ => {
                let sent = format!("{{\"type\":\"request\",\"m\":\"{tag}\"}}");
                (Verb::Request, sent, format!("{{\"origin\":\"{own}\",\"type\":\"request\",\"m\":\"{tag}\"}}"))
            }
        }
    }
}

/// Somebody does something, and the next act comes some time later.
pub fn act(world: &mut World) {
    let next = 100 * MICRO + world.state.random.exponential(world.state.plan.act_us * MICRO);
    world.state.agenda.after(next, Event::Act);
    let clients = &world.state.model.clients;
    world.users.retain(|number| clients[*number].lasts());
    world.members.retain(|number| clients[*number].lasts());
    let places: Vec<usize> =
        (0..world.open.len()).filter(|slot| world.open[*slot] && world.state.is_up(*slot)).collect();
    let Some(slot) = world.state.random.pick(&places).copied() else { return };
    let channels: Vec<usize> = (0..world.state.model.channels.len())
        .filter(|at| {
            world.state.model.channels[*at].gone.is_none() && world.state.model.channels[*at].timed_out.is_none()
        })
        .collect();
    let room = world.members.len() < world.state.plan.conns_max;
    match world.state.random.below(100) {
        0..=4 if world.users.len() < 4 => {
            if let Some(number) = world.connect(slot, true) {
                world.users.push(number);
            }
        }
        5..=14 => {
            if let Some(number) = world.state.random.pick(&world.users).copied() {
                user_acts(world, number, &channels);
            }
        }
        15..=26 if room && !channels.is_empty() => {
            let channel = channels[world.state.random.below(channels.len() as u64) as usize];
            let (pull, echo) = (world.state.random.below(4) > 0, world.state.random.below(4) > 0);
            let prompt = world.state.random.below(25) > 0;
            if let Some(number) = world.join(slot, channel, pull, echo, prompt) {
                world.members.push(number);
            }
        }
        _ if world.users.is_empty() => {
            if let Some(number) = world.connect(slot, true) {
                world.users.push(number);
            }
        }
        _ => {
            if let Some(number) = world.state.random.pick(&world.members).copied() {
                member_acts(world, number);
            } else if let Some(number) = world.state.random.pick(&world.users).copied() {
                user_acts(world, number, &channels);
            }
        }
    }
}

fn user_acts(world: &mut World, number: usize, channels: &[usize]) {
    let client = &world.state.model.clients[number];
    if client.asked.len() >= 3 || client.done {
        return;
    }
    let all = world.state.model.channels.len() as u64;
    let some = world.state.random.pick(channels).copied();
    let any = Some(world.state.random.below(all.max(1)) as usize).filter(|_| all > 0);
    let some = if world.state.random.below(4) == 0 { any } else { some };
    let deletes = world.state.plan.deletes;
    let creates = channels.len() < world.state.plan.channels_max;
    match (world.state.random.below(40), some) {
        (0..=14, _) if creates => {
            let pattern = Pattern::ALL[world.state.random.below(5) as usize];
            let limit = (world.state.random.below(3) == 0).then(|| 1 + world.state.random.below(4));
            let short = world.state.plan.timeouts && world.state.random.below(2) == 0;
            let timeout = match world.state.random.below(3) {
                _ if short => Some(1_000 + world.state.random.below(4_000)),
                0 => None,
                _ => Some(86_400_000),
            };
            world.create(number, pattern, limit, timeout);
        }
        (15..=17, Some(at)) if deletes => {
            let path = format!("/channels/{}", world.state.model.channels[at].id);
            world.request(number, "DELETE", &path, "", Want::Delete(at));
        }
        (18, _) if deletes && world.state.random.below(8) == 0 => {
            world.request(number, "DELETE", "/reset", "", Want::Reset);
        }
        (19..=20, _) => world.request(number, "GET", "/channels", "", Want::List),
        (21, _) => world.request(number, "GET", "/cluster", "", Want::Anything),
        (22, _) => world.request(number, "GET", "/readyz", "", Want::Anything),
        (23, _) => world.state.hang_up(number),
        (_, Some(at)) => {
            let path = format!("/channels/{}", world.state.model.channels[at].id);
            world.request(number, "GET", &path, "", Want::Get(at));
        }
        _ => {}
    }
}

fn member_acts(world: &mut World, number: usize) {
    if !world.state.model.clients[number].is_there() || world.state.model.clients[number].done {
        return;
    }
    match world.state.random.below(80) {
        0 => world.state.say_goodbye(number),
        1 => world.state.hang_up(number),
        _ => {
            let burst = world.state.plan.burst;
            for _ in 0..1 + world.state.random.below(burst) {
                if world.state.send_message(number).is_none() {
                    break;
                }
            }
        }
    }
}

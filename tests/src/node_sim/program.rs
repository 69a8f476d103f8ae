//! The programs at the other ends: members of channels that count their messages, users of the REST API, and those that
//! mean harm or know no better.

use std::collections::VecDeque;
use std::net::IpAddr;

use wrs_core::pattern::Pattern;

use super::contract::{Mark, Message, Verb, Want};
use super::state::{Reading, State};
use super::wire::{Piece, frame};
use super::world::World;

/// Bytes that may be on the way to the node from one program.
const INBOUND_MAX: usize = 100_000;

/// One program.
#[derive(Debug)]
pub struct Program {
    kind: Kind,
    /// Bytes that it sends piece by piece.
    drip: VecDeque<Vec<u8>>,
    /// It may leave things half done, so that the node cannot be polite to it.
    pub dawdles: bool,
    silent: bool,
}

#[derive(Debug)]
enum Kind {
    /// A client of a channel, once it has its 101.
    Member(Member),
    /// A user of the REST API.
    User {
        /// Ends its connection after the next answer.
        closing: bool,
    },
    /// Sends bytes that are no request, or half of one.
    Rude,
    /// Asks one thing for the simulator itself.
    Probe(Option<super::wire::Response>),
}

#[derive(Debug, Default)]
struct Member {
    joined: bool,
    done: bool,
    sent: u64,
    /// Messages per act.
    burst: u64,
    /// It will send this once it has joined, and not behave after that.
    fault: Option<Fault>,
    /// Requests that it has read and not answered: the origin.
    requests: VecDeque<String>,
}

/// How a hostile client breaks the protocol, and the code that follows.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Unmasked,
    ReservedBit,
    ReservedOpcode,
    BadUtf8,
    TooBig,
    TooBigInFragments,
    StrayContinuation,
    FragmentedPing,
    LongPing,
    CloseOfOneByte,
    CloseWithBadCode,
    CloseWithBadReason,
    HalfFrame,
    PingFlood,
}

const FAULTS: [Fault; 14] = [
    Fault::Unmasked,
    Fault::ReservedBit,
    Fault::ReservedOpcode,
    Fault::BadUtf8,
    Fault::TooBig,
    Fault::TooBigInFragments,
    Fault::StrayContinuation,
    Fault::FragmentedPing,
    Fault::LongPing,
    Fault::CloseOfOneByte,
    Fault::CloseWithBadCode,
    Fault::CloseWithBadReason,
    Fault::HalfFrame,
    Fault::PingFlood,
];

impl Program {
    fn new(kind: Kind) -> Program {
        Program { kind, drip: VecDeque::new(), dawdles: false, silent: false }
    }

    /// One that the simulator itself uses.
    pub fn probe() -> Program {
        Program::new(Kind::Probe(None))
    }

    /// Whether what comes back is not to be read as answers and frames.
    pub fn is_opaque(&self) -> bool {
        matches!(self.kind, Kind::Rude)
    }

    /// Whether it is owed the whole of every answer, even once it has sent all that it will.
    pub fn is_user(&self) -> bool {
        matches!(self.kind, Kind::User { .. })
    }

    /// It sends no more but answers to pings.
    pub fn falls_silent(&mut self) {
        self.silent = true;
    }

    /// What a probe was told.
    pub fn answer(&self) -> Option<&super::wire::Response> {
        match &self.kind {
            Kind::Probe(answer) => answer.as_ref(),
            _ => None,
        }
    }
}

fn mask(state: &mut State) -> [u8; 4] {
    (state.random.bits() as u32).to_le_bytes()
}

/// A program has read a piece of what the node sent.
pub fn has_read(state: &mut State, number: usize, piece: Piece) {
    let (first, payload) = match piece {
        Piece::Answer(response) => {
            match &mut state.conns[number].program.kind {
                Kind::Member(member) if response.status == 101 => member.joined = true,
                Kind::Member(member) => {
                    member.done = true;
                    state.conns[number].socket.fin = true;
                }
                Kind::Probe(answer) => *answer = Some(response),
                Kind::User { .. } | Kind::Rude => {}
            }
            return;
        }
        Piece::Frame(first, payload) => (first, payload),
    };
    let fin = state.conns[number].socket.fin;
    let Kind::Member(member) = &mut state.conns[number].program.kind else { return };
    match first & 0x0F {
        8 => {
            let done = std::mem::replace(&mut member.done, true);
            if !done && !fin {
                let mut out = Vec::new();
                frame(&mut out, 0x88, &payload[..payload.len().min(2)], [1, 2, 3, 4]);
                state.program_sends(number, &out);
            }
            state.conns[number].socket.fin = true;
        }
        9 if !member.done && !fin && member.fault.is_none() => {
            let mut out = Vec::new();
            frame(&mut out, 0x8A, &payload, [9, 8, 7, 6]);
            state.program_sends(number, &out);
        }
        1 | 2 => {
            let text = String::from_utf8_lossy(&payload);
            if let Some(rest) = text.strip_prefix("{\"origin\":\"")
                && member.requests.len() < 16
            {
                member.requests.extend(rest.split('"').next().map(str::to_owned));
            }
        }
        _ => {}
    }
}

/// Somebody does something.
pub fn act(world: &mut World) {
    let alive: Vec<usize> = (0..world.state.conns.len())
        .filter(|number| {
            let conn = &world.state.conns[*number];
            !conn.socket.closed && !conn.socket.fin && !conn.socket.reset
        })
        .collect();
    let room = alive.len() < world.state.plan.conns_max;
    if room && (alive.is_empty() || world.state.random.below(6) == 0) {
        return arrive(world);
    }
    if alive.is_empty() {
        return;
    }
    let number = alive[world.state.random.below(alive.len() as u64) as usize];
    let state = &mut world.state;
    if state.conns[number].program.silent {
        return;
    }
    if let Some(piece) = state.conns[number].program.drip.pop_front() {
        state.program_sends(number, &piece);
        if state.conns[number].program.drip.is_empty() && !state.conns[number].opaque {
            let want = match &state.conns[number].program.kind {
                Kind::Member(_) => Want::Join,
                _ => return,
            };
            state.program_asks(number, want);
        }
        return;
    }
    if state.conns[number].socket.inbound.len() > INBOUND_MAX {
        return;
    }
    match &state.conns[number].program.kind {
        Kind::Member(member) if member.joined && !member.done => member_acts(state, number),
        Kind::User { closing: false } => user_acts(state, number),
        Kind::Rude if state.random.below(10) == 0 => leave_roughly(state, number),
        _ => {}
    }
}

fn leave_roughly(state: &mut State, number: usize) {
    if state.random.below(2) == 0 {
        state.conns[number].socket.fin = true;
    } else {
        state.conns[number].socket.reset = true;
    }
}

/// Every user of the REST API on a shard that still may asks for something.
pub fn ask_something(world: &mut World, here: usize) {
    let state = &mut world.state;
    for number in 0..state.conns.len() {
        let conn = &state.conns[number];
        let open = conn.shard == here && !conn.socket.closed && !conn.socket.fin && !conn.socket.reset;
        if open && matches!(conn.program.kind, Kind::User { closing: false }) {
            user_acts(state, number);
        }
    }
}

/// Somebody new comes.
fn arrive(world: &mut World) {
    let state = &mut world.state;
    let shard = state.random.below(state.plan.config.shards.into()) as usize;
    let from = IpAddr::from([10, 0, 0, state.random.below(6) as u8]);
    let window = [1, 100, 5_000, 65_536][state.random.below(4) as usize];
    let reading = match state.random.below(20) {
        0 => Reading::Never,
        1 | 2 => Reading::Slow,
        _ => Reading::Prompt,
    };
    // Those that never read are hostile, too.
    let hostile = state.random.below(100) < state.plan.hostile;
    let reading = if hostile { reading } else { Reading::Prompt };
    let window = if reading == Reading::Prompt { window.max(5_000) } else { window };
    let alive = state.contract.channels.iter().filter(|channel| !channel.gone).count();
    let kind = match state.random.below(10) {
        0 if hostile => Kind::Rude,
        0..=2 => Kind::User { closing: false },
        _ if alive == 0 => Kind::User { closing: false },
        _ => Kind::Member(Member::default()),
    };
    let kind = if hostile && state.random.below(3) == 0 { Kind::Rude } else { kind };
    let number = world.open(shard, from, window, reading, Program::new(kind));
    let state = &mut world.state;
    if state.conns[number].socket.closed {
        return;
    }
    match state.conns[number].program.kind {
        Kind::Member(_) => join(state, number, hostile),
        Kind::Rude => be_rude(state, number),
        Kind::User { .. } => user_acts(state, number),
        Kind::Probe(_) => {}
    }
}

/// The request that asks for a seat.
pub fn handshake(channel: &str, query: &str, deflate: bool, token_as: u64, token: &str) -> String {
    let mut path = format!("/channels/{channel}/connect?x=1{query}");
    let mut fields = String::new();
    match token_as {
        0 => path.push_str(&format!("&token={token}")),
        1 => fields.push_str(&format!("Authorization: Bearer {token}\r\n")),
        _ => fields.push_str(&format!("Sec-WebSocket-Protocol: chat, wrs.token.{token}\r\n")),
    }
    if deflate {
        fields.push_str("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n");
    }
    format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
}

fn join(state: &mut State, number: usize, hostile: bool) {
    let alive: Vec<usize> = (0..state.contract.channels.len())
        .filter(|at| !state.contract.channels[*at].gone || state.random.below(20) == 0)
        .collect();
    let at = alive.get(state.random.below(alive.len().max(1) as u64) as usize).copied().unwrap_or(0);
    let (echo, pull) = (state.random.below(4) > 0, state.random.below(4) > 0);
    let burst = match (state.plan.floods, state.random.below(3)) {
        (true, 0) => 40,
        (_, 1) => 6,
        _ => 1,
    };
    let fault =
        (hostile && state.random.below(2) == 0).then(|| FAULTS[state.random.below(FAULTS.len() as u64) as usize]);
    if let Kind::Member(member) = &mut state.conns[number].program.kind {
        (member.burst, member.fault) = (burst, fault);
    }
    let channel = &state.contract.channels[at];
    let query = format!("{}{}", if echo { "" } else { "&echo=false" }, if pull { "" } else { "&pull=false" });
    let (id, token) = (channel.id.clone(), channel.token.clone());
    let client = &mut state.contract.clients[number];
    (client.channel, client.echo, client.pull) = (at, echo, pull);
    let deflate = state.random.below(2) == 0;
    let way = state.random.below(3);
    let request = handshake(&id, &query, deflate, way, &token).into_bytes();
    if state.random.below(8) == 0 {
        let cut = 1 + state.random.below(request.len() as u64 - 1) as usize;
        state.conns[number].program.drip = [request[..cut].to_vec(), request[cut..].to_vec()].into();
        state.conns[number].program.dawdles = true;
    } else {
        state.program_sends(number, &request);
        state.program_asks(number, Want::Join);
    }
}

fn be_rude(state: &mut State, number: usize) {
    let mut pieces: VecDeque<Vec<u8>> = VecDeque::new();
    match state.random.below(9) {
        0 => {
            let mut rubbish = vec![0; 1 + state.random.below(500) as usize];
            state.random.fill(&mut rubbish);
            pieces.push_back(rubbish);
        }
        1 => pieces.extend(b"GET /channels HTTP/1.1\r\nHost: slowly".iter().map(|byte| vec![*byte])),
        2 => pieces.push_back(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(3_000)).into_bytes()),
        3 => {
            pieces.push_back(b"POST /channels HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n{\"pattern\":".to_vec())
        }
        4 => pieces.push_back(
            b"POST /channels HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeXX".to_vec(),
        ),
        5 => {
            // Many answers that nobody reads.
            state.conns[number].reading = Reading::Never;
            for _ in 0..40 {
                pieces.push_back(b"GET /readme HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5));
            }
        }
        6 => pieces.push_back(
            b"GET /channels HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        ),
        7 => pieces.push_back(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        _ => pieces.push_back(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
    }
    state.conns[number].program.drip = pieces;
    state.conns[number].program.dawdles = true;
}

fn user_acts(state: &mut State, number: usize) {
    if state.contract.clients[number].asked.len() >= 6 {
        return;
    }
    let channels = state.contract.channels.len();
    let alive = state.contract.channels.iter().filter(|channel| !channel.gone).count();
    let some = state.random.below(channels.max(1) as u64) as usize;
    let last = channels.saturating_sub(1 + state.random.below(4) as usize);
    let some = if state.random.below(3) > 0 { last } else { some };
    let closing = state.random.below(12) == 0;
    let id = state.contract.channels.get(some).map(|channel| channel.id.clone()).unwrap_or("0000-0000".to_owned());
    let no_such: &[u16] = &[404];
    let (method, path, body, want) = match state.random.below(24) {
        0..=7 if alive < state.plan.channels_max => {
            let pattern = Pattern::ALL[state.random.below(5) as usize];
            let limit = (state.random.below(4) == 0).then(|| 1 + state.random.below(4));
            let timeout = match state.random.below(8) {
                0 => Some(0),
                1 => Some(50 + state.random.below(500)),
                2 => Some(3_000),
                3 => None,
                _ => Some(86_400_000),
            };
            let text = |n: Option<u64>| n.map_or("-1".to_owned(), |n| n.to_string());
            let body = format!(
                "{{\"pattern\":\"{}\",\"clientLimit\":{},\"timeout\":{}}}",
                pattern.as_str(),
                text(limit),
                text(timeout)
            );
            ("POST", "/channels".to_owned(), body, Want::Create(pattern, limit, timeout))
        }
        8..=12 if channels > 0 => ("GET", format!("/channels/{id}"), String::new(), Want::Get(some)),
        13 if channels > 0 && state.random.below(3) == 0 => {
            ("DELETE", format!("/channel/{id}"), String::new(), Want::Delete(some))
        }
        14 if state.random.below(12) == 0 => ("DELETE", "/reset".to_owned(), String::new(), Want::Reset),
        15..=17 => ("GET", "/channels".to_owned(), String::new(), Want::List),
        18 => ("GET", "/channels/0000-0000".to_owned(), String::new(), Want::Status(no_such)),
        19 => ("POST", "/channels".to_owned(), "{\"pattern\":\"none\"}".to_owned(), Want::Status(&[400])),
        20 => ("GET", "/readyz".to_owned(), String::new(), Want::Status(&[200, 503])),
        21 => ("GET", "/metrics".to_owned(), String::new(), Want::Status(&[200])),
        22 => ("PUT", "/channels".to_owned(), String::new(), Want::Status(&[405])),
        _ => ("GET", "/cluster".to_owned(), String::new(), Want::Status(&[200])),
    };
    let end = if closing { "Connection: close\r\n" } else { "" };
    let chunked = !body.is_empty() && state.random.below(3) == 0;
    let request = match chunked {
        true => {
            let (a, b) = body.split_at(body.len() / 2);
            format!(
                "{method} {path} HTTP/1.1\r\nHost: a\r\n{end}Transfer-Encoding: chunked\r\n\r\n\
                 {:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n",
                a.len(),
                b.len()
            )
        }
        false => format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{end}Content-Length: {}\r\n\r\n{body}", body.len()),
    };
    state.program_sends(number, request.as_bytes());
    state.program_asks(number, want);
    if let Kind::User { closing: program_closing } = &mut state.conns[number].program.kind {
        *program_closing = closing;
    }
    if state.random.below(30) == 0 {
        // Half a connection still gets its answer.
        state.conns[number].socket.fin = true;
    } else if state.random.below(60) == 0 {
        state.conns[number].socket.reset = true;
    }
}

fn member_acts(state: &mut State, number: usize) {
    let Kind::Member(member) = &state.conns[number].program.kind else { return };
    let (burst, fault) = (member.burst, member.fault);
    if let Some(fault) = fault {
        if state.random.below(4) == 0 {
            break_rules(state, number, fault);
        }
        return;
    }
    match state.random.below(60) {
        0 => say_goodbye(state, number),
        1 => leave_roughly(state, number),
        2 | 3 => {
            let mut out = Vec::new();
            let mask = mask(state);
            frame(&mut out, 0x89, b"are you there?", mask);
            state.program_sends(number, &out);
        }
        4..=25 => {}
        _ => {
            for _ in 0..1 + state.random.below(burst) {
                if !send_message(state, number) {
                    break;
                }
            }
            if state.random.below(40) == 0 {
                say_goodbye(state, number);
            }
        }
    }
}

fn say_goodbye(state: &mut State, number: usize) {
    let mut out = Vec::new();
    let mask = mask(state);
    let codes: [Option<u16>; 4] = [Some(1000), Some(1001), Some(4000), None];
    let code = codes[state.random.below(4) as usize];
    match code {
        Some(code) => frame(&mut out, 0x88, &[&code.to_be_bytes()[..], b"bye"].concat(), mask),
        None => frame(&mut out, 0x88, b"", mask),
    }
    state.program_sends(number, &out);
    state.contract.clients[number].faults.push(code.unwrap_or(1005));
    if let Kind::Member(member) = &mut state.conns[number].program.kind {
        member.done = true;
    }
    if state.random.below(3) == 0 {
        state.conns[number].socket.fin = true;
    }
}

fn break_rules(state: &mut State, number: usize, fault: Fault) {
    let mask = mask(state);
    let (bytes, code) = faulty(fault, state.plan.config.message_bytes_max, mask);
    if matches!(fault, Fault::PingFlood) {
        state.conns[number].reading = Reading::Never;
    }
    state.program_sends(number, &bytes);
    match (code, &mut state.conns[number].program.kind) {
        (Some(code), Kind::Member(member)) => {
            member.done = true;
            state.contract.clients[number].faults.push(code);
        }
        _ if !matches!(fault, Fault::PingFlood) => state.conns[number].program.falls_silent(),
        _ => {}
    }
}

/// How a fault looks on the wire, and the close code that answers it; none for what breaks no rule by itself.
fn faulty(fault: Fault, message_bytes_max: usize, mask: [u8; 4]) -> (Vec<u8>, Option<u16>) {
    let limit = message_bytes_max;
    let frames = |frames: &[(u8, &[u8])]| {
        let mut out = Vec::new();
        frames.iter().for_each(|(first, payload)| frame(&mut out, *first, payload, mask));
        out
    };
    match fault {
        Fault::Unmasked => (b"\x81\x02hi".to_vec(), Some(1002)),
        Fault::ReservedBit => (frames(&[(0xA1, b"hi")]), Some(1002)),
        Fault::ReservedOpcode => (frames(&[(0x83, b"hi")]), Some(1002)),
        Fault::BadUtf8 => (frames(&[(0x81, b"h\xC3\x28")]), Some(1007)),
        Fault::TooBig => (frames(&[(0x82, &vec![7; limit + 1])]), Some(1009)),
        Fault::TooBigInFragments => (frames(&[(0x02, &vec![7; limit]), (0x80, b"7")]), Some(1009)),
        Fault::StrayContinuation => (frames(&[(0x80, b"hi")]), Some(1002)),
        Fault::FragmentedPing => (frames(&[(0x09, b"hi")]), Some(1002)),
        Fault::LongPing => (frames(&[(0x89, &[7; 126])]), Some(1002)),
        Fault::CloseOfOneByte => (frames(&[(0x88, b"x")]), Some(1002)),
        Fault::CloseWithBadCode => (frames(&[(0x88, &1005u16.to_be_bytes())]), Some(1002)),
        Fault::CloseWithBadReason => (frames(&[(0x88, b"\x03\xe8\xff")]), Some(1007)),
        Fault::HalfFrame => (frames(&[(0x82, &[7; 50])])[..30].to_vec(), None),
        Fault::PingFlood => (frames(&[(0x89, &[7; 125][..]); 200]), None),
    }
}

/// Sends one numbered message as the pattern has it. False: not now.
fn send_message(state: &mut State, number: usize) -> bool {
    if state.conns[number].socket.inbound.len() > INBOUND_MAX {
        return false;
    }
    let channel = state.contract.clients[number].channel;
    let pattern = state.contract.channels[channel].pattern;
    let mark = state.contract.next_message;
    state.contract.next_message += 1;
    let padding = "~".repeat(state.random.below(state.plan.payload_max + 1) as usize);
    let tag = format!("#{mark}#{padding}");
    let own = state.contract.clients[number].id.clone();
    let (verb, sent, received) = match pattern {
        Pattern::ReqRepl | Pattern::FanInOut => envelope(state, number, &tag, &own),
        _ => (Verb::Plain, tag.clone(), tag),
    };
    let opcode = 1 + state.random.below(2) as u8;
    let mut out = Vec::new();
    let m = mask(state);
    let sent = sent.as_bytes();
    if state.random.below(5) == 0 && sent.len() > 1 {
        let cut = 1 + state.random.below(sent.len() as u64 - 1) as usize;
        frame(&mut out, opcode, &sent[..cut], m);
        if state.random.below(2) == 0 {
            frame(&mut out, 0x89, b"between", m);
        }
        frame(&mut out, 0x80, &sent[cut..], m);
    } else {
        frame(&mut out, 0x80 | opcode, sent, m);
    }
    let Kind::Member(member) = &mut state.conns[number].program.kind else { return false };
    member.sent += 1;
    let message = Message {
        sender: number,
        channel,
        number: member.sent,
        opcode,
        payload: received.into_bytes(),
        verb,
        taken: None,
        handed_over: false,
        there: Vec::new(),
        got: Vec::new(),
    };
    state.contract.messages.insert(mark, message);
    state.program_sends(number, &out);
    state.program_marks(number, Mark::Message(mark));
    true
}

/// A probe sends a message to the queue: its mark.
pub fn send_from_probe(state: &mut State, number: usize, pattern: Pattern, serial: u64) -> u64 {
    let mark = state.contract.next_message;
    state.contract.next_message += 1;
    let (own, channel) = (state.contract.clients[number].id.clone(), state.contract.clients[number].channel);
    let (verb, sent, payload) = match pattern {
        Pattern::FanInOut => (
            Verb::Request,
            format!("{{\"type\":\"request\",\"m\":\"#{mark}#\"}}"),
            format!("{{\"origin\":\"{own}\",\"type\":\"request\",\"m\":\"#{mark}#\"}}"),
        ),
        _ => (Verb::Plain, format!("#{mark}#"), format!("#{mark}#")),
    };
    let mut out = Vec::new();
    frame(&mut out, 0x81, sent.as_bytes(), [5, 6, 7, 8]);
    let message = Message {
        sender: number,
        channel,
        number: serial,
        opcode: 1,
        payload: payload.into_bytes(),
        verb,
        taken: None,
        handed_over: false,
        there: Vec::new(),
        got: Vec::new(),
    };
    state.contract.messages.insert(mark, message);
    state.program_sends(number, &out);
    state.program_marks(number, Mark::Message(mark));
    mark
}

/// A message of the two patterns that read it: what it wants, as it is sent, as it is to arrive.
fn envelope(state: &mut State, number: usize, tag: &str, own: &str) -> (Verb, String, String) {
    let Kind::Member(member) = &mut state.conns[number].program.kind else { unreachable!("only members send") };
    let request = member.requests.pop_front();
    let origin_of = |state: &State, id: &str| state.contract.clients.iter().position(|client| client.id == id);
    match (state.random.below(12), request) {
        (0, _) => {
            let bad = [
                "not json ",
                "{\"type\":\"what\"}",
                "{\"type\":\"reply\"}",
                "{\"type\":\"request\",\"origin\":5}",
                "[]",
            ];
            let text = bad[state.random.below(5) as usize].to_owned() + tag;
            (Verb::Malformed, text.clone(), text)
        }
        (1, _) => {
            let ids: Vec<String> = state.contract.clients.iter().map(|client| client.id.clone()).collect();
            let id = ids.get(state.random.below(ids.len() as u64 + 1) as usize).cloned().unwrap_or_default();
            let to = if id.is_empty() { None } else { origin_of(state, &id) };
            let text = format!("{{\"type\":\"reply\",\"origin\":\"{id}\",\"m\":\"{tag}\"}}");
            (Verb::Reply(to), text.clone(), text)
        }
        (2..=6, Some(id)) => {
            let to = origin_of(state, &id);
            let text = format!("{{ \"m\":\"{tag}\", \"origin\" : \"{id}\",\"type\":\"re\\u0070ly\"}}");
            (Verb::Reply(to), text.clone(), text)
        }
        (7, _) => {
            let sent = format!("{{\"origin\":\"forged\",\"type\":\"request\",\"m\":\"{tag}\"}}");
            (Verb::Request, sent, format!("{{\"origin\":\"{own}\",\"type\":\"request\",\"m\":\"{tag}\"}}"))
        }
        _ => {
            let sent = format!("{{\"type\":\"request\",\"m\":\"{tag}\"}}");
            (Verb::Request, sent, format!("{{\"origin\":\"{own}\",\"type\":\"request\",\"m\":\"{tag}\"}}"))
        }
    }
}

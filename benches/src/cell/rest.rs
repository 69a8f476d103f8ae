//! REST: requests over keep-alive connections, pipelined or not, with so many channels present.

use super::Outcome;
use super::span::{DRAIN_TIMEOUT, Span};
use crate::load::conn::{READ_SIZE, head_end};
use crate::load::histogram::Histogram;
use crate::load::poll::Poll;
use crate::load::service::Service;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Channels that a run of GETs goes round.
const VISITED_MAX: usize = 1000;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Call {
    /// `GET /channels/{id}`.
    Get,
    /// `POST /channels`.
    Create,
}

/// The shape of the load.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    /// What is asked.
    pub call: Call,
    /// Connections.
    pub clients: usize,
    /// Requests that each connection keeps outstanding: 1 is without pipelining.
    pub depth: usize,
    /// Channels made before, so that there are so many.
    pub present: usize,
}

struct Client {
    socket: TcpStream,
    outbox: Vec<u8>,
    inbox: Vec<u8>,
    sent_at: VecDeque<Instant>,
}

/// The requests to go round.
struct Script {
    requests: Vec<Vec<u8>>,
    next: usize,
}

impl Script {
    fn create(address: SocketAddr) -> Self {
        let body = r#"{"pattern":"pub-sub"}"#;
        let head = format!("POST /channels HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n");
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        Self { requests: vec![request.into_bytes()], next: 0 }
    }

    fn get(address: SocketAddr, ids: &[String]) -> Self {
        let request = |id: &String| format!("GET /channels/{id} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
        Self { requests: ids.iter().map(request).collect(), next: 0 }
    }

    fn append(&mut self, out: &mut Vec<u8>) {
        if let Some(request) = self.requests.get(self.next) {
            out.extend_from_slice(request);
        }
        self.next = (self.next + 1) % self.requests.len().max(1);
    }
}

impl Rest {
    /// Runs it; counts answers with 200 or 201. The times are from sending a request to its answer.
    ///
    /// # Errors
    /// A connection that fails or ends; a service without REST.
    pub fn run(&self, service: Service, mut span: Span) -> io::Result<Outcome> {
        let Service::Relay(address) = service else { return Err(io::Error::other("a peer has no REST")) };
        let mut ids = Vec::new();
        let present = self.present.max(usize::from(self.call == Call::Get));
        if present > 0 {
            let filler = Self { call: Call::Create, clients: 4, depth: 16, present: 0 };
            let mut wanted = |asked, _| Ok(asked < present as u64);
            filler.exchange(&[address], Script::create(address), &mut wanted, &mut |location| {
                if ids.len() < VISITED_MAX {
                    ids.extend(location.rsplit('/').next().map(str::to_owned));
                }
            })?;
        }
        let script = match self.call {
            Call::Create => Script::create(address),
            Call::Get => Script::get(address, &ids),
        };
        span.restart();
        let mut wanted = |_, answered| span.goes_on(Instant::now(), answered);
        let (lost, times) = self.exchange(&[address], script, &mut wanted, &mut |_| ())?;
        span.outcome(lost, times, vec![format!("at least {present} channels before")])
    }

    /// Lets clients, dealt out over several nodes, create channels while `wanted(requests so far, answers so far)` says so.
    /// How many were not answered with 201, and the times from sending a request to its answer.
    ///
    /// # Errors
    /// A connection that fails or ends, or nodes that are none.
    pub fn create_on(
        &self,
        nodes: &[SocketAddr],
        wanted: &mut dyn FnMut(u64, u64) -> io::Result<bool>,
    ) -> io::Result<(u64, Histogram)> {
        let first = nodes.first().ok_or_else(|| io::Error::other("no node"))?;
        self.exchange(nodes, Script::create(*first), wanted, &mut |_| ())
    }

    /// Keeps requests outstanding while `wanted(requests so far, answers so far)` says so.
    fn exchange(
        &self,
        addresses: &[SocketAddr],
        mut script: Script,
        wanted: &mut dyn FnMut(u64, u64) -> io::Result<bool>,
        created: &mut dyn FnMut(&str),
    ) -> io::Result<(u64, Histogram)> {
        let mut poll = Poll::new()?;
        let open = |key: usize| {
            let address = addresses.get(key % addresses.len().max(1)).ok_or_else(|| io::Error::other("no address"))?;
            let socket = TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            poll.add(&socket, key)?;
            Ok(Client { socket, outbox: Vec::new(), inbox: Vec::new(), sent_at: VecDeque::new() })
        };
        let mut clients: Vec<Client> = (0..self.clients.max(1)).map(open).collect::<io::Result<_>>()?;
        let (mut buffer, mut ready, mut times) = (vec![0; READ_SIZE], Vec::new(), Histogram::default());
        let (mut asked, mut answered, mut failed) = (0_u64, 0_u64, 0_u64);
        for client in &mut clients {
            asked += client.ask(self.depth, &mut script)?;
        }
        let mut progress = Instant::now();
        while answered < asked && progress.elapsed() < DRAIN_TIMEOUT {
            let goes_on = wanted(asked, answered)?;
            poll.wait(Duration::from_millis(100), &mut ready)?;
            for &key in &ready {
                let Some(client) = clients.get_mut(key) else { continue };
                let now = Instant::now();
                let before = answered;
                client.receive(&mut buffer, |since, accepted, location| {
                    times.add(now.saturating_duration_since(since));
                    answered += 1;
                    failed += u64::from(!accepted);
                    created(location);
                })?;
                let more = if goes_on { answered - before } else { 0 };
                asked += client.ask(more as usize, &mut script)?;
                progress = now;
            }
        }
        Ok((asked - answered + failed, times))
    }
}

impl Client {
    /// Sends so many requests, in one write; says how many.
    fn ask(&mut self, count: usize, script: &mut Script) -> io::Result<u64> {
        for _ in 0..count {
            script.append(&mut self.outbox);
            self.sent_at.push_back(Instant::now());
        }
        if count == 0 {
            return Ok(0);
        }
        // A pipeline is far shorter than a socket's buffer: what does not fit is an error.
        self.socket.write_all(&self.outbox)?;
        self.outbox.clear();
        Ok(count as u64)
    }

    /// Calls `each(sent at, accepted, location)` for every whole answer.
    fn receive(&mut self, buffer: &mut [u8], mut each: impl FnMut(Instant, bool, &str)) -> io::Result<()> {
        match self.socket.read(buffer) {
            Ok(0) => return Err(io::Error::other("the server has closed")),
            Ok(taken) => self.inbox.extend_from_slice(buffer.get(..taken).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut rest = self.inbox.as_slice();
        while let Some((head, body)) = head_end(rest).and_then(|end| rest.split_at_checked(end)) {
            let head = String::from_utf8_lossy(head);
            let size = header(&head, "content-length").parse().map_err(|_| io::Error::other("no Content-Length"))?;
            let Some((_, next)) = body.split_at_checked(size) else { break };
            let accepted = head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.1 201 ");
            let since = self.sent_at.pop_front().ok_or_else(|| io::Error::other("an answer to no request"))?;
            each(since, accepted, header(&head, "location"));
            rest = next;
        }
        let used = self.inbox.len() - rest.len();
        self.inbox.drain(..used);
        Ok(())
    }
}

/// The value of a header, or nothing.
fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let mut fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
}

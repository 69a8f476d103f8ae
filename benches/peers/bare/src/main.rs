//! The ceiling that the socket bench measures against: one thread, one epoll, one `send()` per client and turn.
//!
//! `peer-bare PORT` serves two paths: `/echo` sends a message back, `/pub` sends it to every client of that path. It is
//! a WebSocket server only as far as a load generator can tell: no fragments, no UTF-8 check, no time limits, no
//! channels. What it does not do is what a real server pays for beyond the syscalls.

mod frame;

use base64::Engine as _;
use rustix::event::epoll;
use sha1::{Digest, Sha1};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Bytes taken from a socket at once.
const READ_SIZE: usize = 512 * 1024;
/// Bytes that a client may owe before it is cut off.
const BACKLOG_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a request head.
const HEAD_MAX: usize = 16 * 1024;
/// The epoll key of the listener: no client has it.
const LISTENER: u64 = u64::MAX;

#[derive(Clone, Copy, PartialEq)]
enum Path {
    /// The request has not been answered yet.
    Unknown,
    Echo,
    Pub,
}

struct Client {
    socket: TcpStream,
    path: Path,
    /// The start of a frame or a head whose end has not arrived.
    inbox: Vec<u8>,
    /// What the socket did not take.
    backlog: Vec<u8>,
    /// Ends when the backlog is out.
    closing: bool,
}

struct Server {
    epoll: rustix::fd::OwnedFd,
    listener: TcpListener,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    /// The clients of `/pub`.
    audience: Vec<usize>,
    /// This turn's frames for all of `/pub`.
    broadcast: Vec<u8>,
    /// This turn's frames for the client that is being read.
    answers: Vec<u8>,
}

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or_else(|| io::Error::other("usage: peer-bare PORT"))?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    rustix::net::listen(&listener, 4096)?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    println!("listening on 127.0.0.1:{port}");
    let mut server = Server {
        epoll,
        listener,
        clients: Vec::new(),
        free: Vec::new(),
        audience: Vec::new(),
        broadcast: Vec::new(),
        answers: Vec::new(),
    };
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; READ_SIZE];
    loop {
        events.clear();
        match epoll::wait(&server.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            answer => answer?,
        };
        for event in &events {
            server.turn(event.data.u64(), event.flags, &mut buffer);
        }
        server.publish();
    }
}

impl Server {
    fn turn(&mut self, key: u64, flags: epoll::EventFlags, buffer: &mut [u8]) {
        if key == LISTENER {
            return self.accept();
        }
        let index = key as usize;
        if flags.contains(epoll::EventFlags::OUT) {
            self.send(index, &[]);
        }
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            self.receive(index, buffer);
        }
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            if socket.set_nonblocking(true).and_then(|()| socket.set_nodelay(true)).is_err() {
                continue;
            }
            let index = self.free.pop().unwrap_or_else(|| {
                self.clients.push(None);
                self.clients.len() - 1
            });
            let data = epoll::EventData::new_u64(index as u64);
            if epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN).is_err() {
                self.free.push(index);
                continue;
            }
            let client = Client { socket, path: Path::Unknown, inbox: Vec::new(), backlog: Vec::new(), closing: false };
            self.clients[index] = Some(client);
        }
    }

    fn drop_client(&mut self, index: usize) {
        if let Some(client) = self.clients[index].take() {
            if client.path == Path::Pub {
                self.audience.retain(|&other| other != index);
            }
            self.free.push(index);
        }
    }

    fn receive(&mut self, index: usize, buffer: &mut [u8]) {
        let Some(client) = &mut self.clients[index] else { return };
        let taken = match client.socket.read(buffer) {
            Ok(0) => return self.drop_client(index),
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => return self.drop_client(index),
        };
        if client.closing {
            return;
        }
        let rest = if client.inbox.is_empty() {
            self.consume(index, &mut buffer[..taken])
        } else {
            let mut inbox = std::mem::take(&mut client.inbox);
            inbox.extend_from_slice(&buffer[..taken]);
            self.consume(index, &mut inbox)
        };
        let Some(rest) = rest else { return self.drop_client(index) };
        if let Some(client) = &mut self.clients[index] {
            client.inbox = rest;
        }
        if !self.answers.is_empty() {
            let answers = std::mem::take(&mut self.answers);
            self.send(index, &answers);
            self.answers = answers;
            self.answers.clear();
        }
    }

    /// Takes whole frames from `bytes`; what is left of them, or nothing if the client is to go.
    fn consume(&mut self, index: usize, bytes: &mut [u8]) -> Option<Vec<u8>> {
        let client = self.clients[index].as_mut()?;
        let mut at = 0;
        if client.path == Path::Unknown {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                return (bytes.len() < HEAD_MAX).then(|| bytes.to_vec());
            };
            at = end + 4;
            let (path, answer) = upgrade(std::str::from_utf8(&bytes[..at]).ok()?)?;
            client.path = path;
            self.answers.extend_from_slice(answer.as_bytes());
            if path == Path::Pub {
                self.audience.push(index);
            }
        }
        let out = if client.path == Path::Pub { &mut self.broadcast } else { &mut self.answers };
        while let Some(head) = frame::head(&bytes[at..])? {
            let end = at + head.size + head.payload;
            if end > bytes.len() {
                break;
            }
            let payload = &bytes[at + head.size..end];
            match head.opcode {
                frame::TEXT | frame::BINARY => frame::relay(out, head.opcode, payload, head.key),
                frame::PONG => {}
                frame::PING => frame::relay(&mut client.backlog, frame::PONG, payload, head.key),
                _ => {
                    frame::relay(&mut client.backlog, frame::CLOSE, payload, head.key);
                    client.closing = true;
                }
            }
            at = end;
        }
        if !client.backlog.is_empty() {
            self.send(index, &[]);
        }
        Some(bytes[at..].to_vec())
    }

    /// One `send()` of the whole turn to each client of `/pub`.
    fn publish(&mut self) {
        if self.broadcast.is_empty() {
            return;
        }
        let frames = std::mem::take(&mut self.broadcast);
        let audience = std::mem::take(&mut self.audience);
        let mut gone = Vec::new();
        for &index in &audience {
            if !self.try_send(index, &frames) {
                gone.push(index);
            }
        }
        self.audience = audience;
        gone.into_iter().for_each(|index| self.drop_client(index));
        self.broadcast = frames;
        self.broadcast.clear();
    }

    fn send(&mut self, index: usize, bytes: &[u8]) {
        if !self.try_send(index, bytes) {
            self.drop_client(index);
        }
    }

    /// False if the client is to go.
    fn try_send(&mut self, index: usize, bytes: &[u8]) -> bool {
        let Some(client) = &mut self.clients[index] else { return true };
        if client.backlog.is_empty() {
            return match client.socket.write(bytes) {
                Ok(sent) if sent == bytes.len() => !client.closing,
                Ok(sent) => wait_for_room(&self.epoll, index, client, &bytes[sent..]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_for_room(&self.epoll, index, client, bytes)
                }
                Err(_) => false,
            };
        }
        client.backlog.extend_from_slice(bytes);
        match client.socket.write(&client.backlog) {
            Ok(sent) => drop(client.backlog.drain(..sent)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        if client.backlog.is_empty() {
            let data = epoll::EventData::new_u64(index as u64);
            return !client.closing && epoll::modify(&self.epoll, &client.socket, data, epoll::EventFlags::IN).is_ok();
        }
        wait_for_room(&self.epoll, index, client, &[])
    }
}

/// Keeps what the socket did not take until it can; false if that is too much.
fn wait_for_room(epoll: &rustix::fd::OwnedFd, index: usize, client: &mut Client, rest: &[u8]) -> bool {
    client.backlog.extend_from_slice(rest);
    let (data, flags) = (epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN | epoll::EventFlags::OUT);
    client.backlog.len() <= BACKLOG_MAX && epoll::modify(epoll, &client.socket, data, flags).is_ok()
}

/// The path and the 101 of a handshake (RFC 6455 section 4.2.2), or nothing if it is not one.
fn upgrade(head: &str) -> Option<(Path, String)> {
    let path = match head.strip_prefix("GET ")?.split(' ').next()? {
        "/echo" => Path::Echo,
        "/pub" => Path::Pub,
        _ => return None,
    };
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    })?;
    let digest = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Some((path, answer))
}

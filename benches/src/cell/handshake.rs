//! Connections: connect, upgrade, close, and again, so many at a time.

use super::Outcome;
use super::span::{DRAIN_TIMEOUT, Span};
use crate::load::conn::{check, head_end, request};
use crate::load::frame;
use crate::load::histogram::Histogram;
use crate::load::poll::Poll;
use crate::load::service::{Room, Service};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Bytes read at once: an answer's head or a Close frame.
const READ_SIZE: usize = 16 * 1024;

/// The shape of the load.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    /// Connections at a time.
    pub clients: usize,
    /// Drop the socket after the 101; else send a Close frame and wait for the server to end the connection.
    pub abrupt: bool,
}

struct Client {
    socket: TcpStream,
    since: Instant,
    inbox: Vec<u8>,
    upgraded: bool,
}

impl Handshake {
    /// Runs it; counts connections that were upgraded and have ended. The times are from connecting to that end.
    ///
    /// # Errors
    /// A refused connection or handshake.
    pub fn run(&self, service: Service, mut span: Span) -> io::Result<Outcome> {
        let room = service.room("echo")?;
        let mut poll = Poll::new()?;
        let mut clients: Vec<Option<Client>> = Vec::new();
        for key in 0..self.clients.max(1) {
            clients.push(Some(open(&room, key, &poll)?));
        }
        let (mut buffer, mut ready, mut times) = (vec![0; READ_SIZE], Vec::new(), Histogram::default());
        let (mut count, mut open_now) = (0_u64, clients.len());
        span.restart();
        let mut progress = Instant::now();
        loop {
            let now = Instant::now();
            let goes_on = span.goes_on(now, count)?;
            let late = now.saturating_duration_since(progress) > DRAIN_TIMEOUT;
            if late || (!goes_on && open_now == 0) {
                break;
            }
            poll.wait(Duration::from_millis(100), &mut ready)?;
            for &key in &ready {
                progress = Instant::now();
                let Some(slot) = clients.get_mut(key) else { continue };
                let Some(client) = slot else { continue };
                if !self.receive(client, &mut buffer)? {
                    continue;
                }
                times.add(client.since.elapsed());
                count += 1;
                open_now -= 1;
                *slot = None;
                if goes_on {
                    *slot = Some(open(&room, key, &poll)?);
                    open_now += 1;
                }
            }
        }
        let kind = if self.abrupt { "ended by the client without a Close" } else { "ended by a Close each way" };
        span.outcome(open_now as u64, times, vec![kind.into()])
    }

    /// True when this connection is over.
    fn receive(&self, client: &mut Client, buffer: &mut [u8]) -> io::Result<bool> {
        let taken = match client.socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && client.upgraded => return Ok(true),
            taken => taken?,
        };
        if client.upgraded {
            return Ok(taken == 0);
        }
        client.inbox.extend_from_slice(buffer.get(..taken).unwrap_or_default());
        let Some(end) = head_end(&client.inbox) else {
            return if taken == 0 { Err(io::Error::other("no answer to a handshake")) } else { Ok(false) };
        };
        check(client.inbox.get(..end).unwrap_or_default())?;
        client.upgraded = true;
        if !self.abrupt {
            let mut close = Vec::new();
            frame::control(frame::CLOSE, &1000_u16.to_be_bytes(), &mut close);
            client.socket.write_all(&close)?;
        }
        Ok(self.abrupt)
    }
}

fn open(room: &Room, key: usize, poll: &Poll) -> io::Result<Client> {
    let mut socket = TcpStream::connect(room.address)?;
    socket.set_nodelay(true)?;
    socket.write_all(request(room).as_bytes())?;
    socket.set_nonblocking(true)?;
    poll.add(&socket, key)?;
    Ok(Client { socket, since: Instant::now(), inbox: Vec::new(), upgraded: false })
}

//! One client connection: a blocking handshake, then frames without waiting.

use super::frame;
use super::poll::Poll;
use super::service::Room;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Bytes taken from a socket at once, and the longest frame.
pub const READ_SIZE: usize = 1024 * 1024;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of the head of a server's answer.
const HEAD_MAX: usize = 16 * 1024;

/// An open WebSocket.
pub struct Conn {
    /// The socket, in non-blocking mode.
    pub socket: TcpStream,
    /// Frames to send, up to what the socket took.
    pub outbox: Vec<u8>,
    key: usize,
    /// The start of a frame whose end has not arrived.
    tail: Vec<u8>,
    watches_room: bool,
}

impl Conn {
    /// Connects, upgrades and joins `poll` under `key`.
    ///
    /// # Errors
    /// No connection, or an answer that is not a 101.
    pub fn open(room: &Room, key: usize, poll: &Poll) -> io::Result<Self> {
        let mut socket = TcpStream::connect(room.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
        let tail = upgrade(&mut socket, room)?;
        socket.set_nonblocking(true)?;
        poll.add(&socket, key)?;
        Ok(Self { socket, outbox: Vec::new(), key, tail, watches_room: false })
    }

    /// Takes what has arrived, as far as `buffer` holds it, and calls `each(payload)` for every message. Pings are
    /// answered.
    ///
    /// # Errors
    /// The server has closed, or speaks no WebSocket.
    pub fn receive(&mut self, buffer: &mut [u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let kept = self.tail.len();
        let Some((front, room)) = buffer.split_at_mut_checked(kept) else {
            return Err(io::Error::other("a frame longer than the buffer"));
        };
        front.copy_from_slice(&self.tail);
        let taken = match self.socket.read(room) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server has closed")),
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let bytes = buffer.get(..kept + taken).unwrap_or_default();
        let mut closed = None;
        let outbox = &mut self.outbox;
        let used = frame::scan(bytes, |opcode, payload| match opcode {
            1 | 2 => each(payload),
            frame::PING => frame::control(frame::PONG, payload, outbox),
            frame::CLOSE => closed = Some(close_code(payload)),
            _ => {}
        })?;
        self.tail.clear();
        self.tail.extend_from_slice(bytes.get(used..).unwrap_or_default());
        match closed {
            Some(code) => Err(io::Error::other(format!("the server has closed with {code}"))),
            None => Ok(()),
        }
    }

    /// Sends the outbox as far as the socket takes it; the rest goes when [`Poll::wait`] names this connection and
    /// this is called again.
    ///
    /// # Errors
    /// The connection has gone.
    pub fn flush(&mut self, poll: &Poll) -> io::Result<()> {
        if !self.outbox.is_empty() {
            match self.socket.write(&self.outbox) {
                Ok(sent) => drop(self.outbox.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        let waits = !self.outbox.is_empty();
        if waits != self.watches_room {
            self.watches_room = waits;
            poll.watch_room(&self.socket, self.key, waits)?;
        }
        Ok(())
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        // The server is to see an end, not a reset: it may be closing in the same moment.
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

/// The code in a Close frame; 1005 if it has none (RFC 6455 section 7.1.5).
fn close_code(payload: &[u8]) -> u16 {
    payload.first_chunk::<2>().map_or(1005, |code| u16::from_be_bytes(*code))
}

/// The request of a handshake. The key is constant: its only use is to show that the server speaks WebSocket.
pub fn request(room: &Room) -> String {
    let Room { address, path } = room;
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// Upgrades over any stream that blocks; what came behind the answer's head.
///
/// # Errors
/// An answer that is not a 101 with the right `Sec-WebSocket-Accept`.
pub fn upgrade(stream: &mut (impl Read + Write), room: &Room) -> io::Result<Vec<u8>> {
    stream.write_all(request(room).as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let taken = stream.read(&mut piece)?;
        answer.extend_from_slice(piece.get(..taken).unwrap_or_default());
        if let Some(end) = head_end(&answer) {
            check(answer.get(..end).unwrap_or_default())?;
            return Ok(answer.split_off(end));
        }
        if taken == 0 || answer.len() > HEAD_MAX {
            return Err(io::Error::other(format!("no answer to the handshake: {}", String::from_utf8_lossy(&answer))));
        }
    }
}

/// Where the body starts.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// Whether this head accepts our handshake.
///
/// # Errors
/// It does not.
pub fn check(head: &[u8]) -> io::Result<()> {
    let head = String::from_utf8_lossy(head);
    // RFC 6455 section 1.3: the answer to the sample key.
    if head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
        return Ok(());
    }
    Err(io::Error::other(format!("the handshake was refused: {head}")))
}

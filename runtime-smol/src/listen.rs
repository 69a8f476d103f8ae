//! The listening socket, and who gets the next connection.
//!
//! Shard 0 accepts and gives each connection to a shard that has the fewest, so that they differ by few, whatever the
//! kernel's hash would have made of the clients' addresses, and whatever rhythm clients have: where each asks over one
//! connection and stays on the next, two shards that take turns would leave one with all that stay.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use wrs_core::time::Time;

use crate::poll::{Poll, Watched};

/// Connections that the kernel keeps for us until we accept them; it may keep fewer.
const BACKLOG: i32 = 4096;
/// Connections accepted before the rest of the turn's work is looked at.
const ACCEPTS_PER_TURN: usize = 64;
/// How long nothing is accepted after the process or the system ran out of files.
const PAUSE: Duration = Duration::from_millis(50);

/// Opens a listening socket.
pub fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // On Windows the option lets a second process take the port; elsewhere it only forgives old connections.
    if cfg!(unix) {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// What became of the connections that waited.
pub struct Accepted {
    /// New connections, ready for use.
    pub connections: Vec<(Socket, IpAddr)>,
    /// Why no more could be accepted for a while, if so.
    pub exhausted: Option<io::Error>,
}

/// The listener of shard 0.
pub struct Listener {
    watched: Watched,
    paused_until: Option<Time>,
}

impl Listener {
    /// Watches a listening socket under a key.
    pub fn new(socket: Socket, poll: &Poll, key: usize) -> io::Result<Self> {
        Ok(Listener { watched: poll.watch(socket, key)?, paused_until: None })
    }

    /// Accepts what waits, within the turn's share.
    pub fn accept(&mut self, now: Time) -> Accepted {
        let mut accepted = Accepted { connections: Vec::new(), exhausted: None };
        for _ in 0..ACCEPTS_PER_TURN {
            match self.watched.socket().accept() {
                Ok((socket, address)) => {
                    // A connection that is gone already fails here, or at the first read.
                    let ready = socket.set_nonblocking(true).and_then(|()| socket.set_tcp_nodelay(true));
                    if let (Ok(()), Some(address)) = (ready, address.as_socket()) {
                        accepted.connections.push((socket, address.ip().to_canonical()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if is_transient(&error) => {}
                Err(error) => {
                    // Out of files or memory. The connections wait in the backlog; asking again at once would spin.
                    self.paused_until = Some(now + PAUSE);
                    let _ = self.watched.want(false, false);
                    accepted.exhausted = Some(error);
                    break;
                }
            }
        }
        accepted
    }

    /// When accepting goes on after a pause.
    pub fn deadline(&self) -> Option<Time> {
        self.paused_until
    }

    /// Goes on accepting if a pause is over; true if it was.
    pub fn resume(&mut self, now: Time) -> bool {
        let over = self.paused_until.take_if(|until| *until <= now).is_some();
        if over {
            let _ = self.watched.want(true, false);
        }
        over
    }
}

/// Whether only the one connection failed.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

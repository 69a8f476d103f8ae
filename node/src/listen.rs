//! Listening sockets: how they are opened, how connections are taken from them, and which errors of theirs pass.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel keeps for us until we accept them; it may keep fewer.
const BACKLOG: i32 = 4096;

/// Connections accepted before the rest of the turn's work is looked at.
const ACCEPTS_PER_TURN: usize = 64;

/// How long nothing is accepted after the process or the system ran out of files.
pub const PAUSE: Duration = Duration::from_millis(50);

/// What became of the connections that waited.
#[derive(Debug, Default)]
pub struct Accepted {
    /// New connections, ready for use.
    pub connections: Vec<(Socket, SocketAddr)>,
    /// Why no more can be accepted for a [`PAUSE`], if so: out of files or memory. What waits does so in the backlog; asking
    /// again at once would spin.
    pub exhausted: Option<io::Error>,
}

/// Accepts what waits at a listening socket, within a turn's share.
pub fn accept(socket: &Socket) -> Accepted {
    let mut accepted = Accepted::default();
    for _ in 0..ACCEPTS_PER_TURN {
        match socket.accept() {
            Ok((socket, address)) => {
                // A connection that is gone already fails here, or at the first read.
                if let Ok(from) = ready(&socket, &address) {
                    accepted.connections.push((socket, from));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if is_transient(&error) => {}
            Err(error) => {
                accepted.exhausted = Some(error);
                break;
            }
        }
    }
    accepted
}

/// Opens a listening socket.
///
/// # Errors
/// What the system says: the port is in use, the address is not this machine's.
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

/// The port of a socket: the one that the system chose where 0 was asked for.
pub fn port(socket: &Socket) -> u16 {
    socket.local_addr().ok().and_then(|address| address.as_socket()).map_or(0, |address| address.port())
}

/// Makes an accepted or dialed socket ready for a shard and says who is at its other end, an IPv4 address as such. An
/// error means that it has failed already.
///
/// # Errors
/// What the system says.
pub fn ready(socket: &Socket, peer: &socket2::SockAddr) -> io::Result<SocketAddr> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let peer = peer.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(SocketAddr::new(peer.ip().to_canonical(), peer.port()))
}

/// Whether only the one connection failed that was to be accepted.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

//! Listening sockets: how they are opened, and which errors of theirs pass.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel keeps for us until we accept them; it may keep fewer.
const BACKLOG: i32 = 4096;

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
pub fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

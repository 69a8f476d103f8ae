//! One connection, plain or encrypted, that gives up when nothing happens.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::PATIENCE;

/// One connection.
pub enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS.
    Encrypted(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// A connection to a server on this machine.
    pub fn plain(port: u16) -> Stream {
        Stream::Plain(tcp(port))
    }

    /// A connection by TLS, whose handshake is over.
    pub fn encrypted(port: u16, config: Arc<ClientConfig>) -> io::Result<Stream> {
        let name = ServerName::try_from("localhost").unwrap();
        let mut socket = tcp(port);
        let mut connection = ClientConnection::new(config, name).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Stream::Encrypted(Box::new(StreamOwned::new(connection, socket))))
    }

    /// The TCP socket.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Encrypted(stream) => &stream.sock,
        }
    }

    /// Says that nothing more is sent.
    pub fn finish(&self) {
        self.socket().shutdown(Shutdown::Write).unwrap();
    }
}

fn tcp(port: u16) -> TcpStream {
    let socket = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Encrypted(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(bytes),
            Stream::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Encrypted(stream) => stream.flush(),
        }
    }
}

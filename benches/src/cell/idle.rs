//! Memory of connections that do nothing: the server's growth in user space, per connection.

use super::Outcome;
use crate::load::conn;
use crate::load::histogram::Histogram;
use crate::load::server::Process;
use crate::load::service::{Room, Service};
use crate::tls_client;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How long the server is left alone before its memory is read.
const SETTLE: Duration = Duration::from_millis(1500);

/// The shape of the load.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Connections.
    pub clients: usize,
    /// Over TLS.
    pub tls: bool,
}

/// An open connection; only that it stays open matters.
enum Open {
    Plain { _socket: TcpStream },
    Secure { _stream: Box<StreamOwned<ClientConnection, TcpStream>> },
}

impl Idle {
    /// Runs it; the figure is bytes of anonymous memory per connection. One connection before the baseline takes the
    /// server's first-use costs out of it.
    ///
    /// # Errors
    /// A connection that fails; no process to look at.
    pub fn run(&self, service: Service, process: Option<Process>) -> io::Result<Outcome> {
        let process = process.ok_or_else(|| io::Error::other("memory is that of a process: which?"))?;
        let room = self.room(service)?;
        let config = tls_client::trusting_anyone()?;
        drop(self.open(&room, &config)?);
        thread::sleep(SETTLE);
        let before = process.memory()?;
        let conns: Vec<Open> = (0..self.clients).map(|_| self.open(&room, &config)).collect::<io::Result<_>>()?;
        thread::sleep(SETTLE);
        let after = process.memory()?;
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / conns.len().max(1) as f64;
        let note = format!("resident {:.0} bytes each", each(after.resident, before.resident));
        Ok(Outcome {
            figure: each(after.anonymous, before.anonymous),
            per_second: 0.0,
            server_share: 0.0,
            lost: 0,
            times: Histogram::default(),
            notes: vec![note],
        })
    }

    /// A relay with TLS is asked over TLS for its channel too.
    fn room(&self, service: Service) -> io::Result<Room> {
        match (self.tls, service) {
            (true, Service::Relay(address)) => {
                let mut stream = secure(address, &tls_client::trusting_anyone()?)?;
                Service::make_channel(&mut stream, address, "pub-sub")
            }
            _ => service.room("pub-sub"),
        }
    }

    fn open(&self, room: &Room, config: &Arc<ClientConfig>) -> io::Result<Open> {
        if self.tls {
            let mut stream = Box::new(secure(room.address, config)?);
            conn::upgrade(&mut *stream, room)?;
            return Ok(Open::Secure { _stream: stream });
        }
        let mut socket = TcpStream::connect(room.address)?;
        conn::upgrade(&mut socket, room)?;
        Ok(Open::Plain { _socket: socket })
    }
}

fn secure(
    address: std::net::SocketAddr,
    config: &Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::IpAddress(address.ip().into());
    let client = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(client, TcpStream::connect(address)?))
}

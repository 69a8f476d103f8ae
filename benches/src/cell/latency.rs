//! Latency at a steady rate: the times run from when a message was due, not from when it could be sent, so that a
//! server that stalls is charged for all that it holds up.

use super::Outcome;
use super::span::{DRAIN_TIMEOUT, Span};
use crate::load::conn::{self, Conn, READ_SIZE};
use crate::load::frame::{Template, sequence};
use crate::load::histogram::Histogram;
use crate::load::poll::Poll;
use crate::load::service::{Room, Service};
use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The shape of the load.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Receivers besides the publisher.
    pub subscribers: usize,
    /// Bytes of payload.
    pub size: usize,
    /// Messages per second.
    pub rate: u32,
    /// Clients that connect to the same channel and never read.
    pub stalled: usize,
}

impl Latency {
    /// Runs it; counts deliveries. A note says how many of the stalled clients the server has cut off.
    ///
    /// # Errors
    /// A connection that fails or ends.
    pub fn run(&self, service: Service, mut span: Span) -> io::Result<Outcome> {
        let room = service.room("pub-sub")?;
        let mut poll = Poll::new()?;
        let open = |key| Conn::open(&room, key, &poll).map(|conn| (conn, 0_u64));
        let mut conns: Vec<(Conn, u64)> = (0..=self.subscribers).map(open).collect::<io::Result<_>>()?;
        let stalled: Vec<TcpStream> = (0..self.stalled).map(|_| stall(&room)).collect::<io::Result<_>>()?;
        let template = Template::new(self.size);
        let (mut buffer, mut ready, mut times) = (vec![0; READ_SIZE], Vec::new(), Histogram::default());
        let (mut sent, mut delivered, mut disordered) = (0_u64, 0_u64, 0_u64);
        span.restart();
        let start = Instant::now();
        let interval = Duration::from_secs(1) / self.rate.max(1);
        let due = |sequence: u64| start + interval.saturating_mul(u32::try_from(sequence).unwrap_or(u32::MAX));
        let mut progress = start;
        loop {
            let now = Instant::now();
            let goes_on = span.goes_on(now, delivered)?;
            let late = now.saturating_duration_since(progress) > DRAIN_TIMEOUT;
            if late || (!goes_on && delivered >= sent * conns.len() as u64) {
                break;
            }
            let mut pause = Duration::from_millis(100);
            if let (true, Some((publisher, _))) = (goes_on, conns.first_mut()) {
                while due(sent) <= now {
                    template.encode(sent, &mut publisher.outbox);
                    sent += 1;
                }
                publisher.flush(&poll)?;
                pause = due(sent).saturating_duration_since(now);
            }
            poll.wait(pause, &mut ready)?;
            let now = Instant::now();
            for &key in &ready {
                let Some((conn, expected)) = conns.get_mut(key) else { continue };
                conn.receive(&mut buffer, |payload| {
                    let sequence = sequence(payload);
                    disordered += u64::from(sequence != *expected);
                    *expected += 1;
                    delivered += 1;
                    if span.counts() {
                        times.add(now.saturating_duration_since(due(sequence)));
                    }
                })?;
                conn.flush(&poll)?;
                progress = now;
            }
        }
        let missing = (sent * conns.len() as u64).abs_diff(delivered);
        let cut = stalled.into_iter().filter_map(|socket| is_cut(socket, &mut buffer).ok()).filter(|cut| *cut).count();
        let note = (self.stalled > 0).then(|| format!("{cut} of {} stalled clients cut off", self.stalled));
        span.outcome(missing + disordered, times, note.into_iter().collect())
    }
}

/// A client that joins and never reads.
fn stall(room: &Room) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect(room.address)?;
    conn::upgrade(&mut socket, room)?;
    Ok(socket)
}

/// Reads what the server has left behind; true if an end follows.
fn is_cut(mut socket: TcpStream, buffer: &mut [u8]) -> io::Result<bool> {
    // Longer than a server may keep a socket open behind its Close frame.
    socket.set_read_timeout(Some(Duration::from_millis(6000)))?;
    loop {
        match socket.read(buffer) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) => return Ok(error.kind() == io::ErrorKind::ConnectionReset),
        }
    }
}

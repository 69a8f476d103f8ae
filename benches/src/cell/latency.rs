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

/// When each message is due, and what has come of them.
struct Tally {
    start: Instant,
    interval: Duration,
    sent: u64,
    delivered: u64,
    disordered: u64,
    times: Histogram,
}

impl Tally {
    fn due(&self, sequence: u64) -> Instant {
        self.start + self.interval.saturating_mul(u32::try_from(sequence).unwrap_or(u32::MAX))
    }

    fn arrive(&mut self, expected: &mut u64, sequence: u64, now: Instant, counts: bool) {
        self.delivered += 1;
        if sequence < *expected || sequence >= self.sent {
            self.disordered += 1;
            return;
        }
        *expected = sequence + 1;
        if counts {
            self.times.add(now.saturating_duration_since(self.due(sequence)));
        }
    }

    /// Sends what is due; says how long until the next is.
    fn publish(&mut self, publisher: &mut Conn, template: &Template, poll: &Poll) -> io::Result<Duration> {
        let now = Instant::now();
        while self.due(self.sent) <= now {
            template.encode(self.sent, &mut publisher.outbox);
            self.sent += 1;
        }
        publisher.flush(poll)?;
        Ok(self.due(self.sent).saturating_duration_since(now))
    }
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
        let (mut buffer, mut ready) = (vec![0; READ_SIZE], Vec::new());
        span.restart();
        let (start, interval) = (Instant::now(), Duration::from_secs(1) / self.rate.max(1));
        let mut tally = Tally { start, interval, sent: 0, delivered: 0, disordered: 0, times: Histogram::default() };
        let mut progress = start;
        loop {
            let now = Instant::now();
            let goes_on = span.goes_on(now, tally.delivered)?;
            let late = now.saturating_duration_since(progress) > DRAIN_TIMEOUT;
            if late || (!goes_on && tally.delivered >= tally.sent * conns.len() as u64) {
                break;
            }
            let pause = match conns.first_mut() {
                Some((publisher, _)) if goes_on => tally.publish(publisher, &template, &poll)?,
                _ => Duration::from_millis(100),
            };
            poll.wait(pause, &mut ready)?;
            let now = Instant::now();
            for &key in &ready {
                let Some((conn, expected)) = conns.get_mut(key) else { continue };
                let counts = span.counts();
                conn.receive(&mut buffer, |payload| tally.arrive(expected, sequence(payload), now, counts))?;
                conn.flush(&poll)?;
                progress = now;
            }
        }
        let missing = (tally.sent * conns.len() as u64).abs_diff(tally.delivered);
        let cut = stalled.into_iter().filter_map(|socket| is_cut(socket, &mut buffer).ok()).filter(|cut| *cut).count();
        let note = (self.stalled > 0).then(|| format!("{cut} of {} stalled clients cut off", self.stalled));
        span.outcome(missing + tally.disordered, tally.times, note.into_iter().collect())
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

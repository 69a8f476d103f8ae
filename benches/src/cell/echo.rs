//! Echo: clients that each keep a window of messages on their way and get them back.

use super::Outcome;
use super::span::{DRAIN_TIMEOUT, Span};
use crate::load::conn::{Conn, READ_SIZE};
use crate::load::frame::{Template, sequence};
use crate::load::histogram::Histogram;
use crate::load::poll::Poll;
use crate::load::service::Service;
use std::io;
use std::time::{Duration, Instant};

/// The shape of the load.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    /// Connections.
    pub clients: usize,
    /// Bytes of payload.
    pub size: usize,
    /// Messages that each client keeps outstanding.
    pub window: usize,
}

struct Client {
    conn: Conn,
    sent: u64,
    received: u64,
    /// The least number that may come next.
    expected: u64,
    /// Messages that came again or late.
    disordered: u64,
    /// Echoes within the measured time.
    counted: u64,
    /// When each outstanding message was sent, by its number modulo the length.
    since: Vec<Instant>,
}

impl Client {
    /// Sends so many messages, in one write.
    fn send(&mut self, count: u64, template: &Template, poll: &Poll) -> io::Result<()> {
        let now = Instant::now();
        for _ in 0..count {
            template.encode(self.sent, &mut self.conn.outbox);
            let slots = self.since.len() as u64;
            if let Some(since) = self.since.get_mut((self.sent % slots) as usize) {
                *since = now;
            }
            self.sent += 1;
        }
        self.conn.flush(poll)
    }

    /// Takes what has come back; says how many.
    fn receive(&mut self, buffer: &mut [u8], times: &mut Histogram) -> io::Result<u64> {
        let (before, now, slots) = (self.received, Instant::now(), self.since.len() as u64);
        self.conn.receive(buffer, |payload| {
            let sequence = sequence(payload);
            self.received += 1;
            if sequence < self.expected || sequence >= self.sent {
                self.disordered += 1;
                return;
            }
            self.expected = sequence + 1;
            if let Some(since) = self.since.get((sequence % slots) as usize) {
                times.add(now.saturating_duration_since(*since));
            }
        })?;
        Ok(self.received - before)
    }
}

impl Echo {
    /// Runs it; counts echoes. The times are round trips. A note says how evenly the clients were served.
    ///
    /// # Errors
    /// A connection that fails or ends.
    pub fn run(&self, service: Service, mut span: Span) -> io::Result<Outcome> {
        let room = service.room("echo")?;
        let mut poll = Poll::new()?;
        let window = self.window.max(1);
        let open = |key| {
            let conn = Conn::open(&room, key, &poll)?;
            let since = vec![Instant::now(); window];
            Ok(Client { conn, sent: 0, received: 0, expected: 0, disordered: 0, counted: 0, since })
        };
        let mut clients: Vec<Client> = (0..self.clients).map(open).collect::<io::Result<_>>()?;
        let template = Template::new(self.size);
        let (mut buffer, mut ready) = (vec![0; READ_SIZE], Vec::new());
        let (mut received, mut sent, mut times) = (0, 0, Histogram::default());
        span.restart();
        for client in &mut clients {
            client.send(window as u64, &template, &poll)?;
            sent += window as u64;
        }
        let mut progress = Instant::now();
        loop {
            let now = Instant::now();
            let goes_on = span.goes_on(now, received)?;
            let late = now.saturating_duration_since(progress) > DRAIN_TIMEOUT;
            if late || (!goes_on && received == sent) {
                break;
            }
            poll.wait(Duration::from_millis(100), &mut ready)?;
            for &key in &ready {
                let Some(client) = clients.get_mut(key) else { continue };
                let fresh = client.receive(&mut buffer, &mut times)?;
                client.counted += if span.counts() { fresh } else { 0 };
                received += fresh;
                let wanted = if goes_on { fresh } else { 0 };
                sent += wanted;
                client.send(wanted, &template, &poll)?;
                progress = Instant::now();
            }
        }
        let counts: Vec<u64> = clients.iter().map(|client| client.counted).collect();
        let disordered: u64 = clients.iter().map(|client| client.disordered).sum();
        span.outcome(sent.abs_diff(received) + disordered, times, vec![fairness(&counts)])
    }
}

/// The least served client as a share of the mean.
fn fairness(counts: &[u64]) -> String {
    let mean = counts.iter().sum::<u64>() as f64 / counts.len().max(1) as f64;
    let share = |count: Option<&u64>| count.copied().unwrap_or(0) as f64 / mean.max(1.0);
    format!("per client min {:.2} and max {:.2} of the mean", share(counts.iter().min()), share(counts.iter().max()))
}

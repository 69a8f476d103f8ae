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
            Ok(Client { conn, sent: 0, received: 0, counted: 0, since: vec![Instant::now(); window] })
        };
        let mut clients: Vec<Client> = (0..self.clients).map(open).collect::<io::Result<_>>()?;
        let template = Template::new(self.size);
        let (mut buffer, mut ready) = (vec![0; READ_SIZE], Vec::new());
        let (mut received, mut sent, mut disordered, mut times) = (0, 0, 0, Histogram::default());
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
            let now = Instant::now();
            for &key in &ready {
                let Some(client) = clients.get_mut(key) else { continue };
                let (before, slots) = (client.received, client.since.len() as u64);
                client.conn.receive(&mut buffer, |payload| {
                    disordered += u64::from(sequence(payload) != client.received);
                    if let Some(since) = client.since.get((client.received % slots) as usize) {
                        times.add(now.saturating_duration_since(*since));
                    }
                    client.received += 1;
                })?;
                let fresh = client.received - before;
                client.counted += if span.counts() { fresh } else { 0 };
                received += fresh;
                let wanted = if goes_on { fresh } else { 0 };
                sent += wanted;
                client.send(wanted, &template, &poll)?;
                progress = now;
            }
        }
        let counts: Vec<u64> = clients.iter().map(|client| client.counted).collect();
        span.outcome(sent.abs_diff(received) + disordered, times, vec![fairness(&counts)])
    }
}

/// The least served client as a share of the mean.
fn fairness(counts: &[u64]) -> String {
    let mean = counts.iter().sum::<u64>() as f64 / counts.len().max(1) as f64;
    let share = |count: Option<&u64>| count.copied().unwrap_or(0) as f64 / mean.max(1.0);
    format!("per client min {:.2} and max {:.2} of the mean", share(counts.iter().min()), share(counts.iter().max()))
}

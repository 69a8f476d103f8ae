//! Fan-out: one publisher, who receives its own messages too, and many subscribers.
//!
//! The window is honest: a message stays outstanding until the slowest receiver has it. Every payload starts with a
//! number; each receiver must see them without a gap, in order.

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
pub struct Fanout {
    /// Receivers besides the publisher.
    pub subscribers: usize,
    /// Bytes of payload.
    pub size: usize,
    /// Messages outstanding.
    pub window: usize,
}

/// Which message has got how far.
struct Ledger {
    receivers: u32,
    /// Per outstanding message, by its number modulo the length: who has it, and since when it was on its way.
    underway: Vec<(u32, Instant)>,
    sent: u64,
    done: u64,
    delivered: u64,
    disordered: u64,
    times: Histogram,
}

impl Ledger {
    fn slot(&mut self, sequence: u64) -> Option<&mut (u32, Instant)> {
        let slots = self.underway.len() as u64;
        self.underway.get_mut((sequence % slots) as usize)
    }

    fn arrive(&mut self, expected: &mut u64, sequence: u64, now: Instant) {
        self.delivered += 1;
        // A gap shows in the total, and must not stop the window; what comes again or late shows here.
        if sequence < *expected || sequence >= self.sent {
            self.disordered += 1;
            return;
        }
        *expected = sequence + 1;
        let receivers = self.receivers;
        let Some((arrived, since)) = self.slot(sequence) else { return };
        *arrived += 1;
        if *arrived == receivers {
            let time = now.saturating_duration_since(*since);
            self.times.add(time);
            self.done = sequence + 1;
        }
    }
}

impl Fanout {
    /// Runs it; counts deliveries. The times are from sending until the slowest receiver has the message.
    ///
    /// # Errors
    /// A connection that fails or ends.
    pub fn run(&self, service: Service, mut span: Span) -> io::Result<Outcome> {
        let room = service.room("pub-sub")?;
        let mut poll = Poll::new()?;
        let open = |key| Conn::open(&room, key, &poll).map(|conn| (conn, 0));
        let mut conns: Vec<(Conn, u64)> = (0..=self.subscribers).map(open).collect::<io::Result<_>>()?;
        let template = Template::new(self.size);
        let mut ledger = Ledger {
            receivers: u32::try_from(conns.len()).unwrap_or(u32::MAX),
            underway: vec![(0, Instant::now()); self.window.max(1)],
            sent: 0,
            done: 0,
            delivered: 0,
            disordered: 0,
            times: Histogram::default(),
        };
        let (mut buffer, mut ready) = (vec![0; READ_SIZE], Vec::new());
        span.restart();
        let mut progress = Instant::now();
        loop {
            let now = Instant::now();
            let goes_on = span.goes_on(now, ledger.delivered)?;
            let late = now.saturating_duration_since(progress) > DRAIN_TIMEOUT;
            if late || (!goes_on && ledger.done == ledger.sent) {
                break;
            }
            if goes_on {
                self.publish(&mut conns, &mut ledger, &template, &poll)?;
            }
            poll.wait(Duration::from_millis(100), &mut ready)?;
            let now = Instant::now();
            for &key in &ready {
                let Some((conn, expected)) = conns.get_mut(key) else { continue };
                conn.receive(&mut buffer, |payload| ledger.arrive(expected, sequence(payload), now))?;
                conn.flush(&poll)?;
                progress = now;
            }
        }
        let missing = (ledger.sent * u64::from(ledger.receivers)).abs_diff(ledger.delivered);
        span.outcome(missing + ledger.disordered, ledger.times, Vec::new())
    }

    /// Fills the window, in one write.
    fn publish(
        &self,
        conns: &mut [(Conn, u64)],
        ledger: &mut Ledger,
        template: &Template,
        poll: &Poll,
    ) -> io::Result<()> {
        let Some((publisher, _)) = conns.first_mut() else { return Ok(()) };
        let until = ledger.done + self.window.max(1) as u64;
        if ledger.sent == until {
            return Ok(());
        }
        let now = Instant::now();
        while ledger.sent < until {
            template.encode(ledger.sent, &mut publisher.outbox);
            if let Some(slot) = ledger.slot(ledger.sent) {
                *slot = (0, now);
            }
            ledger.sent += 1;
        }
        publisher.flush(poll)
    }
}

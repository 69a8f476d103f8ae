//! Push-pull: one distributor, who stands in no queue, and workers. Each message goes to exactly one of them, and each
//! of them must get the same number.

use super::Outcome;
use super::span::{DRAIN_TIMEOUT, Span};
use crate::load::conn::{Conn, READ_SIZE};
use crate::load::frame::{Template, sequence};
use crate::load::histogram::Histogram;
use crate::load::poll::Poll;
use crate::load::service::{Room, Service};
use std::io;
use std::time::{Duration, Instant};

/// The shape of the load.
#[derive(Clone, Copy, Debug)]
pub struct PushPull {
    /// Those who get the messages.
    pub workers: usize,
    /// Bytes of payload.
    pub size: usize,
    /// Messages outstanding.
    pub window: usize,
}

/// One worker's share so far.
struct Worker {
    conn: Conn,
    count: u64,
    /// The least number that it may get next.
    next: u64,
}

impl PushPull {
    /// Runs it; counts deliveries. There are no times.
    ///
    /// # Errors
    /// A connection that fails or ends; a service without push-pull.
    pub fn run(&self, service: Service, mut span: Span) -> io::Result<Outcome> {
        let room = service.room("push-pull")?;
        let mut poll = Poll::new()?;
        let open = |key| Ok(Worker { conn: Conn::open(&room, key, &poll)?, count: 0, next: 0 });
        let mut workers: Vec<Worker> = (0..self.workers).map(open).collect::<io::Result<_>>()?;
        let sender = Room { path: format!("{}&pull=false", room.path), ..room.clone() };
        let mut sender = Conn::open(&sender, workers.len(), &poll)?;
        let template = Template::new(self.size);
        let (mut buffer, mut ready) = (vec![0; READ_SIZE], Vec::new());
        // The sum of all numbers shows a message that came twice in another's place.
        let (mut sent, mut received, mut sum, mut disordered) = (0_u64, 0_u64, 0_u64, 0_u64);
        span.restart();
        let mut progress = Instant::now();
        loop {
            let now = Instant::now();
            let goes_on = span.goes_on(now, received)?;
            let late = now.saturating_duration_since(progress) > DRAIN_TIMEOUT;
            if late || (!goes_on && received == sent) {
                break;
            }
            while goes_on && sent < received + self.window.max(1) as u64 {
                template.encode(sent, &mut sender.outbox);
                sent += 1;
            }
            sender.flush(&poll)?;
            poll.wait(Duration::from_millis(100), &mut ready)?;
            for &key in &ready {
                let Some(Worker { conn, count, next }) = workers.get_mut(key) else {
                    sender.receive(&mut buffer, |_| disordered += 1)?;
                    continue;
                };
                conn.receive(&mut buffer, |payload| {
                    let sequence = sequence(payload);
                    disordered += u64::from(sequence < *next);
                    *next = sequence.saturating_add(1);
                    *count += 1;
                    received += 1;
                    sum = sum.wrapping_add(sequence);
                })?;
                conn.flush(&poll)?;
                progress = Instant::now();
            }
        }
        let wrong_sum = u64::from(sum != (0..sent).sum::<u64>());
        let counts = workers.iter().map(|worker| worker.count);
        let (least, most) = (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0));
        let note = format!("each worker got {least} to {most}");
        let inexact = (most - least).saturating_sub(1);
        span.outcome(sent.abs_diff(received) + disordered + wrong_sum + inexact, Histogram::default(), vec![note])
    }
}

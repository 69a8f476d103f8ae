//! The measured part of a run: what was counted, and what CPU the server used, from the end of the warm-up on.

use super::Outcome;
use crate::load::histogram::Histogram;
use crate::load::server::Process;
use std::io;
use std::time::{Duration, Instant};

/// How long a run waits for what is still on its way before it counts as lost.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A warm-up, then the time that counts.
pub struct Span {
    process: Option<Process>,
    start: Instant,
    warm_up: Duration,
    length: Duration,
    from: Option<Reading>,
    to: Option<Reading>,
}

#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    cpu: Duration,
    count: u64,
}

impl Span {
    /// Begins with the warm-up now. Without a process to look at, a figure is per second of the clock.
    pub fn new(process: Option<Process>, warm_up: Duration, length: Duration) -> Self {
        Self { process, start: Instant::now(), warm_up, length, from: None, to: None }
    }

    /// Begins anew: the clients are open, the load starts.
    pub fn restart(&mut self) {
        self.start = Instant::now();
    }

    /// To be called at each turn with what has been counted so far; true while load is wanted.
    ///
    /// # Errors
    /// The server has ended.
    pub fn goes_on(&mut self, now: Instant, count: u64) -> io::Result<bool> {
        let elapsed = now.saturating_duration_since(self.start);
        if self.from.is_none() && elapsed >= self.warm_up {
            self.from = Some(self.read(count)?);
        }
        if self.to.is_none() && elapsed >= self.warm_up + self.length {
            self.to = Some(self.read(count)?);
        }
        Ok(self.to.is_none())
    }

    /// Whether what happens now counts.
    pub fn counts(&self) -> bool {
        self.from.is_some() && self.to.is_none()
    }

    fn read(&self, count: u64) -> io::Result<Reading> {
        let cpu = self.process.map_or(Ok(Duration::ZERO), Process::cpu)?;
        Ok(Reading { at: Instant::now(), cpu, count })
    }

    /// The figure.
    ///
    /// # Errors
    /// The run ended before its time.
    pub fn outcome(self, lost: u64, times: Histogram, notes: Vec<String>) -> io::Result<Outcome> {
        let (Some(from), Some(to)) = (self.from, self.to) else {
            return Err(io::Error::other("the run ended before its time"));
        };
        let count = (to.count - from.count) as f64;
        let wall = (to.at - from.at).as_secs_f64();
        let cpu = to.cpu.saturating_sub(from.cpu).as_secs_f64();
        let measured = self.process.is_some() && cpu > 0.0;
        Ok(Outcome {
            figure: if measured { count / cpu } else { count / wall },
            per_second: count / wall,
            server_share: cpu / wall,
            lost,
            times,
            notes,
        })
    }
}

//! What a measurement says, while it runs and at its end.

use std::time::Duration;

use serde_json::json;

use super::board::Board;
use super::latency::{self, milliseconds};
use super::{Plan, Shape};
use crate::failure::Failure;
use crate::stdio::Output;

/// The quantiles that are shown.
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// The counters at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Figures {
    at: Duration,
    sent: u64,
    delivered: u64,
}

impl Figures {
    /// Now.
    pub fn take(board: &Board) -> Figures {
        Figures { at: board.epoch.elapsed(), sent: board.sent(), delivered: board.delivered() }
    }

    /// A line for whoever waits.
    pub fn progress(&self, before: &Figures, board: &Board) -> String {
        let span = self.at.saturating_sub(before.at);
        let (sent, delivered) =
            (per_second(self.sent - before.sent, span), per_second(self.delivered - before.delivered, span));
        let p99 = board.times().map_or(0, |times| times.value_at_quantile(0.99));
        format!(
            "{:>4.0} s   sent {sent:>9.0}/s   delivered {delivered:>10.0}/s   p99 {} ms",
            self.at.as_secs_f64(),
            milliseconds(p99)
        )
    }
}

/// The end of a measurement.
#[derive(Debug)]
pub struct Report<'r> {
    /// What was asked for.
    pub plan: &'r Plan,
    /// The counters when the sending ended: what rates are made of.
    pub figures: Figures,
    /// Messages sent in all.
    pub sent: u64,
    /// Deliveries in all, those after the sending too.
    pub delivered: u64,
    /// The rest.
    pub board: &'r Board,
}

impl Report<'_> {
    /// Deliveries that did not come.
    pub fn lost(&self) -> u64 {
        self.board.expected().saturating_sub(self.delivered)
    }

    /// As a table or as JSON.
    pub async fn print(&self, output: Output) -> Result<(), Failure> {
        let text = if self.plan.json { self.json()? } else { self.table()? };
        output.last(text.as_bytes()).await
    }

    fn json(&self) -> Result<String, Failure> {
        let (plan, figures) = (self.plan, self.figures);
        let times = self.times()?;
        let result = json!({
            "pattern": plan.shape.name(),
            "publishers": plan.publishers,
            "subscribers": plan.subscribers,
            "size": plan.size,
            "window": plan.window,
            "rate": plan.rate,
            "seconds": figures.at.as_secs_f64(),
            "sent": self.sent,
            "sentPerSecond": per_second(figures.sent, figures.at),
            "delivered": self.delivered,
            "deliveredPerSecond": per_second(figures.delivered, figures.at),
            "lost": self.lost(),
            "outOfOrder": self.board.misplaced(),
            "latencyMs": latency::json(&times, &QUANTILES),
        });
        Ok(result.to_string())
    }

    fn table(&self) -> Result<String, Failure> {
        let (plan, figures) = (self.plan, self.figures);
        let delivered = per_second(figures.delivered, figures.at);
        let megabytes = delivered * plan.size as f64 / 1e6;
        let lost = 100.0 * self.lost() as f64 / self.board.expected().max(1) as f64;
        let who = match plan.shape {
            Shape::Echo => format!("{} clients", plan.publishers),
            Shape::PubSub | Shape::PushPull => {
                format!("{} publishers, {} subscribers", plan.publishers, plan.subscribers)
            }
        };
        Ok(format!(
            "{}: {who}, {} bytes, window {}, {:.1} s\n\
             sent          {} ({:.0}/s)\n\
             delivered     {} ({delivered:.0}/s, {megabytes:.1} MB/s)\n\
             lost          {} ({lost:.3} %)\n\
             out of order  {}\n\
             latency       {}",
            plan.shape.name(),
            plan.size,
            plan.window,
            figures.at.as_secs_f64(),
            self.sent,
            per_second(figures.sent, figures.at),
            self.delivered,
            self.lost(),
            self.board.misplaced(),
            latency::text(&self.times()?, &QUANTILES),
        ))
    }

    fn times(&self) -> Result<hdrhistogram::Histogram<u64>, Failure> {
        self.board.times().ok_or_else(|| Failure::refused("the times cannot be put together"))
    }
}

fn per_second(count: u64, span: Duration) -> f64 {
    count as f64 / span.as_secs_f64().max(1e-9)
}

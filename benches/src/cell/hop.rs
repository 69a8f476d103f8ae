//! What a message's way between two nodes adds to its time: at a steady rate, on channels whose two clients are on one node and
//! on as many whose clients are on two. Times run from when a message was due.

use super::span::DRAIN_TIMEOUT;
use crate::load::cluster::Cluster;
use crate::load::conn::{Conn, READ_SIZE};
use crate::load::frame::{Template, sequence, text};
use crate::load::poll::Poll;
use crate::load::service::{Room, Service};
use std::io;
use std::time::{Duration, Instant};

/// The shape of the load.
#[derive(Clone, Debug)]
pub struct Hop {
    /// `pub-sub`, `push-pull`, `fan-in-out` or `req-repl`: of the last two, only requests.
    pub pattern: String,
    /// Channels of each kind for each node.
    pub channels: usize,
    /// Bytes of a message's payload.
    pub size: usize,
    /// Messages per second, over all channels.
    pub rate: u32,
}

/// What was measured, times in order.
#[derive(Clone, Debug, Default)]
pub struct Hopped {
    /// Of messages whose receiver is on the sender's node.
    pub near: Vec<Duration>,
    /// Of messages whose receiver is on another.
    pub far: Vec<Duration>,
    /// Messages that did not come, or came again.
    pub lost: u64,
}

impl Hop {
    /// Runs it on these nodes, which end with it; what is due during `warm_up` is not counted.
    ///
    /// # Errors
    /// A connection that fails or ends.
    pub fn run(&self, cluster: &Cluster, warm_up: Duration, length: Duration) -> io::Result<Hopped> {
        let mut poll = Poll::new()?;
        let (mut senders, mut receivers) = (Vec::new(), Vec::new());
        self.open(cluster, &poll, &mut senders, &mut receivers)?;
        let template = Template::new(self.size);
        let filler = "x".repeat(self.size.saturating_sub(60));
        let interval = Duration::from_secs(1) / self.rate.max(1);
        let count = |span: Duration| (span.as_secs_f64() * f64::from(self.rate)) as u64;
        let (skipped, all) = (count(warm_up), count(warm_up + length));
        let start = Instant::now();
        let due = |number: u64| start + interval.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
        let (mut sent, mut came, mut progress) = (0, vec![false; all as usize], start);
        let (mut hopped, mut left) = (Hopped::default(), all);
        let (mut buffer, mut ready) = (vec![0; READ_SIZE], Vec::new());
        while left > 0 && progress.elapsed() < DRAIN_TIMEOUT {
            while sent < all && due(sent) <= Instant::now() {
                let at = sent as usize % senders.len();
                let Some(sender) = senders.get_mut(at) else { break };
                match self.pattern.as_str() {
                    "pub-sub" | "push-pull" => template.encode(sent, &mut sender.outbox),
                    _ => {
                        let request = format!(r#"{{"type":"request","n":"{sent}","d":"{filler}"}}"#);
                        text(request.as_bytes(), &mut sender.outbox);
                    }
                }
                sender.flush(&poll)?;
                sent += 1;
            }
            let pause = if sent < all { due(sent).saturating_duration_since(Instant::now()) } else { DRAIN_TIMEOUT };
            poll.wait(pause, &mut ready)?;
            let now = Instant::now();
            for &key in &ready {
                let Some(conn) = receivers.get_mut(key) else { continue };
                conn.receive(&mut buffer, |payload| {
                    let number = number(payload);
                    match came.get_mut(number as usize).filter(|came| !**came) {
                        Some(came) => (*came, left) = (true, left - 1),
                        None => return hopped.lost += 1,
                    }
                    let times = if key.is_multiple_of(2) { &mut hopped.near } else { &mut hopped.far };
                    if number >= skipped {
                        times.push(now.saturating_duration_since(due(number)));
                    }
                })?;
                progress = now;
            }
        }
        hopped.lost += left;
        hopped.near.sort_unstable();
        hopped.far.sort_unstable();
        Ok(hopped)
    }

    /// Makes the channels, by turns of the near and of the far kind, with a sender and a receiver each. Every node has as many
    /// of each as any other.
    fn open(
        &self,
        cluster: &Cluster,
        poll: &Poll,
        senders: &mut Vec<Conn>,
        receivers: &mut Vec<Conn>,
    ) -> io::Result<()> {
        let addresses = cluster.addresses();
        let place = |number: usize| addresses.get(number % addresses.len()).copied();
        let count = 2 * self.channels * addresses.len();
        for key in 0..count {
            let (own, other) = (place(key / 2), place(key / 2 + key % 2));
            let (Some(own), Some(other)) = (own, other) else { return Err(io::Error::other("no node")) };
            let Room { path, .. } = Service::Relay(own).room(&self.pattern)?;
            receivers.push(Conn::open(&Room { address: other, path: path.clone() }, key, poll)?);
            let mute = if self.pattern == "pub-sub" { "&echo=false" } else { "&pull=false" };
            let path = if self.pattern == "req-repl" { path } else { format!("{path}{mute}") };
            // Nobody reads what a sender gets: it is nothing.
            senders.push(Conn::open(&Room { address: own, path }, count + key, poll)?);
        }
        Ok(())
    }
}

/// The number of a message of either kind.
fn number(payload: &[u8]) -> u64 {
    let named = std::str::from_utf8(payload).ok().and_then(|text| text.split_once(r#""n":""#));
    let digits = named.and_then(|(_, rest)| rest.split_once('"')).and_then(|(digits, _)| digits.parse().ok());
    digits.unwrap_or_else(|| sequence(payload))
}

impl Hopped {
    /// The time that `share` (0 to 1) of the near and of the far ones do not exceed.
    pub fn percentiles(&self, share: f64) -> (Duration, Duration) {
        let of = |times: &[Duration]| {
            let at = (times.len() as f64 * share).ceil() as usize;
            times.get(at.saturating_sub(1)).copied().unwrap_or(Duration::MAX)
        };
        (of(&self.near), of(&self.far))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_its_number_whatever_its_pattern() {
        let mut payload = 7_u64.to_le_bytes().to_vec();
        assert_eq!(number(&payload), 7);
        payload = br#"{"type":"request","n":"12","d":"x","origin":"a"}"#.to_vec();
        assert_eq!(number(&payload), 12);
        assert_eq!(number(b"x"), u64::MAX);
    }

    #[test]
    fn percentiles_are_those_of_each_kind() {
        let times = |from: u64| (from..from + 100).map(Duration::from_micros).collect();
        let hopped = Hopped { near: times(1), far: times(101), lost: 0 };
        assert_eq!(hopped.percentiles(0.5), (Duration::from_micros(50), Duration::from_micros(150)));
        assert_eq!(hopped.percentiles(0.99), (Duration::from_micros(99), Duration::from_micros(199)));
    }
}

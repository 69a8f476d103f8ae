//! Messages between clients of any node: many channels, whose clients are on nodes that chance has drawn. Where the nodes are
//! no cluster, all clients of a channel are on one node, which has as many as any other.
//!
//! Every receipt counts: of a message, of a request, of a reply. A channel's window is full while so many of its messages
//! have not had all their receipts, and is filled again when a batch of them has.

use super::span::DRAIN_TIMEOUT;
use crate::load::cluster::Cluster;
use crate::load::conn::{Conn, READ_SIZE};
use crate::load::frame::{Template, text};
use crate::load::poll::Poll;
use crate::load::server::Process;
use crate::load::service::{Room, Service};
use std::io;
use std::time::{Duration, Instant};

/// The shape of the load.
#[derive(Clone, Debug)]
pub struct Crossing {
    /// `pub-sub`, `push-pull`, `fan-in-out` or `req-repl`.
    pub pattern: String,
    /// Channels for each node: more nodes are there for more clients.
    pub channels: usize,
    /// Clients of each that send; one in req-repl.
    pub senders: usize,
    /// Clients of each that receive, and reply to requests.
    pub receivers: usize,
    /// Bytes of a message's payload.
    pub size: usize,
    /// Messages of each sender that are outstanding.
    pub window: usize,
    /// Messages that a sender writes at once, at least: when there is room for so many in its window.
    pub batch: usize,
    /// Of a core's time for each node, from when the clients are there; `None`: no limit.
    pub share: Option<f64>,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Crossed {
    /// Receipts per CPU-second of all nodes.
    pub per_cpu: f64,
    /// Receipts per second of the clock.
    pub per_second: f64,
    /// Cores that all nodes together used.
    pub nodes: f64,
    /// Cores that the least busy node used.
    pub least: f64,
    /// Cores that the busiest node used.
    pub most: f64,
    /// Cores that the load used; near 1, it is the load that was measured.
    pub load: f64,
    /// Receipts that were owed and did not come, or that came and were not owed.
    pub lost: u64,
}

struct Channel {
    senders: Vec<usize>,
    sent: u64,
    got: u64,
}

/// A connection and the place of its channel.
type Client = (Conn, usize);

struct Reading {
    at: Instant,
    nodes: Vec<Duration>,
    load: Duration,
    got: u64,
}

impl Reading {
    fn now(cluster: &Cluster, got: u64) -> io::Result<Self> {
        let load = Process(std::process::id()).cpu()?;
        Ok(Self { at: Instant::now(), nodes: cluster.cpu()?, load, got })
    }
}

impl Crossing {
    fn asks(&self) -> bool {
        matches!(self.pattern.as_str(), "req-repl" | "fan-in-out")
    }

    /// Receipts that one message leads to.
    fn receipts(&self) -> u64 {
        let (senders, receivers) = (self.senders as u64, self.receivers as u64);
        match self.pattern.as_str() {
            "pub-sub" => senders + receivers,
            "req-repl" => 2 * receivers,
            "fan-in-out" => 2,
            _ => 1,
        }
    }

    /// Runs it on these nodes, which end with it.
    ///
    /// # Errors
    /// A connection that fails or ends; a node that has ended; [`Cluster::limit`].
    pub fn run(&self, mut cluster: Cluster, warm_up: Duration, length: Duration) -> io::Result<Crossed> {
        let mut poll = Poll::new()?;
        let (mut conns, mut channels) = self.open(&cluster, &poll)?;
        self.share.map_or(Ok(()), |share| cluster.limit(share))?;
        let template = Template::new(self.size);
        let (mut buffer, mut ready) = (vec![0; READ_SIZE], Vec::new());
        let (mut first, mut last): (Option<Reading>, Option<Reading>) = (None, None);
        let start = Instant::now();
        let mut progress = start;
        loop {
            let got = channels.iter().map(|channel| channel.got).sum();
            if first.is_none() && start.elapsed() >= warm_up {
                first = Some(Reading::now(&cluster, got)?);
            }
            if last.is_none() && start.elapsed() >= warm_up + length {
                last = Some(Reading::now(&cluster, got)?);
            }
            let owed = channels.iter().map(|channel| channel.sent).sum::<u64>() * self.receipts();
            if last.is_some() && (got >= owed || progress.elapsed() > DRAIN_TIMEOUT) {
                return outcome(first, last, owed.abs_diff(got));
            }
            if last.is_none() {
                for channel in &mut channels {
                    self.fill(channel, &mut conns, &template, &poll)?;
                }
            }
            poll.wait(Duration::from_millis(100), &mut ready)?;
            for &key in &ready {
                let Some((conn, at)) = conns.get_mut(key) else { continue };
                let Some(channel) = channels.get_mut(*at) else { continue };
                let mut replies = Vec::new();
                conn.receive(&mut buffer, |payload| {
                    channel.got += 1;
                    if self.asks() {
                        reply(payload, &mut replies);
                    }
                })?;
                conn.outbox.append(&mut replies);
                conn.flush(&poll)?;
                progress = Instant::now();
            }
        }
    }

    /// Makes the channels and connects their clients, each to the node that is drawn for it.
    fn open(&self, cluster: &Cluster, poll: &Poll) -> io::Result<(Vec<Client>, Vec<Channel>)> {
        let addresses = cluster.addresses();
        let (mut conns, mut channels, mut seed) = (Vec::new(), Vec::new(), 1_u64);
        let mut draw = || {
            // Knuth's MMIX generator: the same nodes in each run.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            addresses.get((seed >> 33) as usize % addresses.len()).copied().ok_or_else(|| io::Error::other("no node"))
        };
        for number in 0..self.channels * addresses.len() {
            let own = addresses.get(number % addresses.len()).copied().filter(|_| !cluster.joined);
            let room = Service::Relay(own.map_or_else(&mut draw, Ok)?).room(&self.pattern)?;
            let mut channel = Channel { senders: Vec::new(), sent: 0, got: 0 };
            for client in 0..self.senders + self.receivers {
                let sends = client < self.senders;
                let queued = matches!(self.pattern.as_str(), "push-pull" | "fan-in-out");
                let path = if sends && queued { format!("{}&pull=false", room.path) } else { room.path.clone() };
                if sends {
                    channel.senders.push(conns.len());
                }
                let address = own.map_or_else(&mut draw, Ok)?;
                let conn = Conn::open(&Room { address, path }, conns.len(), poll)?;
                conns.push((conn, number));
            }
            channels.push(channel);
        }
        Ok((conns, channels))
    }

    /// Fills a channel's window, in one write of each sender.
    fn fill(&self, channel: &mut Channel, conns: &mut [Client], template: &Template, poll: &Poll) -> io::Result<()> {
        let senders = channel.senders.len().max(1) as u64;
        let outstanding = channel.sent.saturating_sub(channel.got / self.receipts());
        let room = (self.window as u64 * senders).saturating_sub(outstanding);
        // Many at a time: how large the pieces are that a sender writes shall not depend on how its receivers keep step.
        if room < self.batch as u64 * senders {
            return Ok(());
        }
        for sender in &channel.senders {
            let Some((conn, _)) = conns.get_mut(*sender) else { continue };
            for _ in 0..room / senders {
                if self.asks() {
                    let filler = "x".repeat(self.size.saturating_sub(26));
                    text(format!(r#"{{"type":"request","d":"{filler}"}}"#).as_bytes(), &mut conn.outbox);
                } else {
                    template.encode(channel.sent, &mut conn.outbox);
                }
                channel.sent += 1;
            }
            conn.flush(poll)?;
        }
        Ok(())
    }
}

/// Replies to a request.
fn reply(payload: &[u8], out: &mut Vec<u8>) {
    let Ok(message) = std::str::from_utf8(payload) else { return };
    if !message.contains(r#""type":"request""#) {
        return;
    }
    let origin = message.split_once(r#""origin":""#).and_then(|(_, rest)| rest.split_once('"'));
    if let Some((origin, _)) = origin {
        text(format!(r#"{{"type":"reply","origin":"{origin}"}}"#).as_bytes(), out);
    }
}

fn outcome(first: Option<Reading>, last: Option<Reading>, lost: u64) -> io::Result<Crossed> {
    let (Some(first), Some(last)) = (first, last) else {
        return Err(io::Error::other("the run ended before its time"));
    };
    let got = (last.got - first.got) as f64;
    let length = (last.at - first.at).as_secs_f64();
    let cores = |first: Duration, last: Duration| last.saturating_sub(first).as_secs_f64() / length;
    let each: Vec<f64> = first.nodes.iter().zip(&last.nodes).map(|(first, last)| cores(*first, *last)).collect();
    let nodes: f64 = each.iter().sum();
    Ok(Crossed {
        per_cpu: got / length / nodes,
        per_second: got / length,
        nodes,
        least: each.iter().copied().fold(f64::INFINITY, f64::min),
        most: each.iter().copied().fold(0.0, f64::max),
        load: cores(first.load, last.load),
        lost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_replied_to_at_its_origin_and_nothing_else_is() {
        let mut out = Vec::new();
        reply(br#"{"type":"reply","origin":"a"}"#, &mut out);
        reply(br#"{"type":"request"}"#, &mut out);
        assert!(out.is_empty());
        reply(br#"{"type":"request","d":"x","origin":"ab-1"}"#, &mut out);
        let mut same = Vec::new();
        text(br#"{"type":"reply","origin":"ab-1"}"#, &mut same);
        assert_eq!(out, same);
    }
}

//! What an operator sees of the links: `GET /cluster` and the metrics.

use std::net::SocketAddr;
use std::time::Duration;

use super::Gate;
use crate::id::{Life, NodeId};
use crate::metrics::{Counter, Gauge, Metrics};
use crate::time::Time;

/// One link, or one that should be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkView {
    /// With which life.
    pub life: Life,
    /// Whose life it is; `None` while the two have never been linked.
    pub node: Option<NodeId>,
    /// The link, if it is up.
    pub up: Option<UpView>,
    /// Bytes of mail that the other end is not known to have.
    pub unacknowledged: usize,
}

/// A link that is up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpView {
    /// The other end.
    pub address: SocketAddr,
    /// Since when.
    pub since: Time,
    /// The version of the protocol that both speak.
    pub version: u8,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes queued.
    pub bytes_out: u64,
    /// Posts and pieces of mail that arrived, repeated ones too.
    pub messages_in: u64,
    /// Posts and pieces of mail that were written.
    pub messages_out: u64,
    /// How long an answer takes, about; `None` before the first.
    pub round_trip: Option<Duration>,
}

impl Gate {
    /// Every life that there is a link with, or mail for, or that one is wanted with; in order.
    pub fn views(&self) -> impl Iterator<Item = LinkView> + '_ {
        self.peers.iter().map(|(life, peer)| LinkView {
            life: *life,
            node: peer.introduction.as_ref().map(|introduction| introduction.node),
            up: peer.link.as_ref().map(|link| UpView {
                address: link.from,
                since: link.since,
                version: link.version,
                bytes_in: link.traffic.bytes_in,
                bytes_out: link.traffic.bytes_out,
                messages_in: link.traffic.messages_in,
                messages_out: link.traffic.messages_out,
                round_trip: link.round_trip,
            }),
            unacknowledged: peer.mail.as_ref().map_or(0, |mail| mail.outbox.unacknowledged()),
        })
    }

    /// Adds what happened since the last call to the figures of the shard.
    pub fn count(&mut self, metrics: &mut Metrics) {
        metrics.add(Counter::LinkFaults, std::mem::take(&mut self.faults));
        metrics.add(Counter::LinkBytesIn, std::mem::take(&mut self.bytes_in));
        metrics.add(Counter::LinkBytesOut, std::mem::take(&mut self.bytes_out));
        metrics.set(Gauge::Links, self.linked_lives().count() as u64);
    }
}

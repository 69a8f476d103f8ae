//! How much is under way between this shard and its peers: the other shards of its node, and at the gate other nodes.
//!
//! Every message with clients' data costs window bytes until the peer has dealt with it. Over the window the source is
//! paused, at half of it resumed; no shard ever waits for another. Whoever hands a message on to a peer whose window is
//! full keeps back the credit for it, so that the pressure reaches the true source.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{ConnId, Life};
use crate::peer::{Leg, PeerId, PeerMessage};

/// Bytes by leg.
#[derive(Clone, Copy, Debug, Default)]
struct PerLeg {
    ask: usize,
    land: usize,
}

impl PerLeg {
    fn of(&mut self, leg: Leg) -> &mut usize {
        match leg {
            Leg::Ask => &mut self.ask,
            Leg::Land => &mut self.land,
        }
    }
}

/// Credit that is owed to a peer for a message that has not gone on yet.
#[derive(Clone, Copy, Debug)]
struct Kept {
    source: PeerId,
    leg: Leg,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Link {
    /// Bytes sent and not yet credited.
    under_way: PerLeg,
    /// Sockets that are paused because of this link.
    paused: BTreeSet<ConnId>,
    /// Bytes dealt with and not yet credited to the other side.
    owed: PerLeg,
    /// Credits kept back while a window of this link is full.
    kept_for_ask: Vec<Kept>,
    kept_for_land: Vec<Kept>,
}

/// Credit to be given: to whom, for which leg, how many bytes.
pub type Credit = (PeerId, Leg, usize);

/// The windows to all peers.
#[derive(Debug)]
pub struct Links {
    shards: Vec<Link>,
    nodes: BTreeMap<Life, Link>,
    window: usize,
}

impl Links {
    /// Links to `shards` shards, each with a window of `window` bytes per leg, and to no node.
    pub fn new(shards: u16, window: usize) -> Self {
        Links { shards: (0..shards).map(|_| Link::default()).collect(), nodes: BTreeMap::new(), window }
    }

    fn link(&mut self, peer: PeerId) -> Option<&mut Link> {
        match peer {
            PeerId::Shard(shard) => self.shards.get_mut(usize::from(shard.0)),
            PeerId::Node(life) => Some(self.nodes.entry(life).or_default()),
        }
    }

    fn known(&self, peer: PeerId) -> Option<&Link> {
        match peer {
            PeerId::Shard(shard) => self.shards.get(usize::from(shard.0)),
            PeerId::Node(life) => self.nodes.get(&life),
        }
    }

    /// The nodes that something has been sent to or come from.
    pub fn nodes(&self) -> impl Iterator<Item = Life> + '_ {
        self.nodes.keys().copied()
    }

    /// Counts a message as under way to `peer`. True: the window is full, pause the source.
    pub fn sent(&mut self, peer: PeerId, message: &PeerMessage) -> bool {
        let window = self.window;
        match (message.data(), self.link(peer)) {
            (Some((leg, bytes)), Some(link)) => {
                let used = link.under_way.of(leg);
                *used += bytes;
                *used > window
            }
            _ => false,
        }
    }

    /// Whether a window to `peer` is full.
    pub fn is_full(&self, peer: PeerId, leg: Leg) -> bool {
        self.known(peer).is_some_and(|link| *link.under_way.clone().of(leg) > self.window)
    }

    /// Remembers that a socket is paused until the window to `peer` is half empty. False: it was so already.
    pub fn pause(&mut self, peer: PeerId, conn: ConnId) -> bool {
        self.link(peer).is_some_and(|link| link.paused.insert(conn))
    }

    /// Whether a socket is still paused because of any link.
    pub fn is_paused(&self, conn: ConnId) -> bool {
        self.shards.iter().chain(self.nodes.values()).any(|link| link.paused.contains(&conn))
    }

    /// Forgets a socket.
    pub fn forget(&mut self, conn: ConnId) {
        for link in self.shards.iter_mut().chain(self.nodes.values_mut()) {
            link.paused.remove(&conn);
        }
    }

    /// A message of `bytes` from `peer` has been dealt with: says what credit to give once a quarter of a window is owed.
    pub fn dealt(&mut self, peer: PeerId, leg: Leg, bytes: usize) -> Option<Credit> {
        if mutant!(ForgetsCredit) && matches!(peer, PeerId::Node(_)) {
            return None;
        }
        let quarter = self.window / 4;
        let owed = self.link(peer)?.owed.of(leg);
        *owed += bytes;
        (*owed > quarter).then(|| (peer, leg, std::mem::take(owed)))
    }

    /// A message of `bytes` from `source` was handed on to `peer`, whose window for `on` is full: its credit waits for that.
    pub fn keep_back(&mut self, (peer, on): (PeerId, Leg), source: PeerId, leg: Leg, bytes: usize) {
        let kept = Kept { source, leg, bytes };
        match (self.link(peer), on) {
            (Some(link), Leg::Ask) => link.kept_for_ask.push(kept),
            (Some(link), Leg::Land) => link.kept_for_land.push(kept),
            (None, _) => {}
        }
    }

    /// `peer` has dealt with `bytes` of a leg: says which sockets may go on, and which credits are due.
    pub fn credited(&mut self, peer: PeerId, leg: Leg, bytes: usize) -> (Vec<ConnId>, Vec<Credit>) {
        let half = self.window / 2;
        let Some(link) = self.link(peer) else { return Default::default() };
        let used = link.under_way.of(leg);
        *used = used.saturating_sub(bytes);
        // What is kept back waits for its own leg alone: if it waited for an earlier one too, two homes could wait for each
        // other.
        let mut kept = Vec::new();
        if link.under_way.ask <= half {
            kept.append(&mut link.kept_for_ask);
        }
        if link.under_way.land <= half {
            kept.append(&mut link.kept_for_land);
        }
        let room = link.under_way.ask.max(link.under_way.land) <= half;
        let resumed = if room { std::mem::take(&mut link.paused) } else { BTreeSet::new() };
        self.release(resumed, kept)
    }

    /// A node's life has ended: whatever waited for it waits no longer.
    pub fn remove_node(&mut self, life: Life) -> (Vec<ConnId>, Vec<Credit>) {
        let Some(link) = self.nodes.remove(&life) else { return Default::default() };
        let Link { paused, mut kept_for_ask, mut kept_for_land, .. } = link;
        kept_for_ask.append(&mut kept_for_land);
        self.release(paused, kept_for_ask)
    }

    fn release(&mut self, resumed: BTreeSet<ConnId>, kept: Vec<Kept>) -> (Vec<ConnId>, Vec<Credit>) {
        let credits = kept.into_iter().filter_map(|kept| self.dealt(kept.source, kept.leg, kept.bytes)).collect();
        (resumed.into_iter().filter(|conn| !self.is_paused(*conn)).collect(), credits)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::id::{ChannelId, ClientId, ShardId};

    const CLIENT: ClientId = ClientId { life: Life(1), shard: ShardId(0), serial: 1 };
    const ONE: PeerId = PeerId::Shard(ShardId(1));
    const TWO: PeerId = PeerId::Shard(ShardId(2));

    fn land(bytes: usize) -> PeerMessage {
        let frames = Bytes::from(vec![0; bytes]);
        PeerMessage::Publish { channel: ChannelId::from_bits(1, 4), frames, from: CLIENT, back: true }
    }

    fn ask(bytes: usize) -> PeerMessage {
        let (channel, frames) = (ChannelId::from_bits(1, 4), Bytes::from(vec![0; bytes]));
        PeerMessage::Ask { channel, frames, from: CLIENT, wishes: crate::peer::Wishes::Pull, number: 1, epoch: 1 }
    }

    #[test]
    fn a_full_window_pauses_and_half_of_it_resumes() {
        let conn = ConnId { index: 1, generation: 0 };
        for peer in [ONE, PeerId::Node(Life(9))] {
            let mut links = Links::new(2, 1_000);
            assert!(!links.sent(peer, &land(500)));
            assert!(links.sent(peer, &land(500)));
            assert!(links.pause(peer, conn));
            assert!(!links.pause(peer, conn));
            assert!(links.credited(peer, Leg::Land, 628).0.is_empty());
            assert!(links.is_paused(conn));
            assert_eq!(links.credited(peer, Leg::Land, 628).0, [conn]);
            assert!(!links.is_paused(conn));
        }
    }

    #[test]
    fn the_legs_do_not_share_a_window() {
        let mut links = Links::new(2, 1_000);
        assert!(links.sent(ONE, &ask(900)));
        assert!(!links.sent(ONE, &land(100)));
    }

    #[test]
    fn a_credit_kept_back_is_paid_when_the_later_leg_is_free() {
        let mut links = Links::new(3, 1_000);
        assert!(links.sent(TWO, &land(2_000)));
        links.keep_back((TWO, Leg::Land), ONE, Leg::Ask, 700);
        assert_eq!(links.credited(TWO, Leg::Land, 2_128).1, [(ONE, Leg::Ask, 700)]);
    }

    #[test]
    fn two_homes_that_ask_each_other_do_not_wait_for_each_other() {
        let mut links = Links::new(2, 1_000);
        assert!(links.sent(ONE, &ask(2_000)));
        assert!(links.sent(ONE, &land(2_000)));
        links.keep_back((ONE, Leg::Land), ONE, Leg::Ask, 700);
        let (resumed, credits) = links.credited(ONE, Leg::Land, 2_128);
        assert!(resumed.is_empty(), "the earlier leg is full");
        assert_eq!(credits, [(ONE, Leg::Ask, 700)], "the credit is paid all the same");
    }

    #[test]
    fn what_waited_for_a_node_that_has_gone_waits_no_longer() {
        let (mut links, node) = (Links::new(2, 1_000), PeerId::Node(Life(9)));
        let conn = ConnId { index: 1, generation: 0 };
        assert!(links.sent(node, &ask(2_000)));
        links.pause(node, conn);
        links.keep_back((node, Leg::Ask), ONE, Leg::Ask, 700);
        assert_eq!(links.remove_node(Life(9)), (vec![conn], vec![(ONE, Leg::Ask, 700)]));
        assert!(!links.is_full(node, Leg::Ask));
    }
}

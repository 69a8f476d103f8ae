//! How much is under way between this shard and its peers: the other shards of its node, and at the gate other nodes.
//!
//! Every message with clients' data costs window bytes until the peer has dealt with it. Over the window the source is
//! paused, at half of it resumed; no shard ever waits for another. Whoever hands a message on to a peer whose window is
//! full keeps back the credit for it, so that the pressure reaches the true source.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{ConnId, Life};
use crate::peer::{PeerId, PeerMessage};

/// Credit that is owed to a peer for a message that has not gone on yet.
#[derive(Clone, Copy, Debug)]
struct Kept {
    source: PeerId,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Link {
    /// Bytes sent and not yet credited.
    under_way: usize,
    /// Sockets that are paused because of this link.
    paused: BTreeSet<ConnId>,
    /// Bytes dealt with and not yet credited to the other side.
    owed: usize,
    /// Credits kept back while the window of this link is full.
    kept: Vec<Kept>,
}

/// Credit to be given: to whom, and how many bytes.
pub type Credit = (PeerId, usize);

/// The windows to all peers.
#[derive(Debug)]
pub struct Links {
    shards: Vec<Link>,
    nodes: BTreeMap<Life, Link>,
    window: usize,
}

impl Links {
    /// Links to `shards` shards, each with a window of `window` bytes, and to no node.
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
            (Some(bytes), Some(link)) => {
                link.under_way += bytes;
                link.under_way > window
            }
            _ => false,
        }
    }

    /// Whether the window to `peer` is full.
    pub fn is_full(&self, peer: PeerId) -> bool {
        self.known(peer).is_some_and(|link| link.under_way > self.window)
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
    pub fn dealt(&mut self, peer: PeerId, bytes: usize) -> Option<Credit> {
        if mutant!(ForgetsCredit) && matches!(peer, PeerId::Node(_)) {
            return None;
        }
        let quarter = self.window / 4;
        let owed = &mut self.link(peer)?.owed;
        *owed += bytes;
        (*owed > quarter).then(|| (peer, std::mem::take(owed)))
    }

    /// A message of `bytes` from `source` was handed on to `peer`, whose window is full: its credit waits for that.
    pub fn keep_back(&mut self, peer: PeerId, source: PeerId, bytes: usize) {
        if let Some(link) = self.link(peer) {
            link.kept.push(Kept { source, bytes });
        }
    }

    /// `peer` has dealt with `bytes`: says which sockets may go on, and which credits are due.
    pub fn credited(&mut self, peer: PeerId, bytes: usize) -> (Vec<ConnId>, Vec<Credit>) {
        let half = self.window / 2;
        let Some(link) = self.link(peer) else { return Default::default() };
        link.under_way = link.under_way.saturating_sub(bytes);
        if link.under_way > half {
            return Default::default();
        }
        let (resumed, kept) = (std::mem::take(&mut link.paused), std::mem::take(&mut link.kept));
        self.release(resumed, kept)
    }

    /// A node's life has ended: whatever waited for it waits no longer.
    pub fn remove_node(&mut self, life: Life) -> (Vec<ConnId>, Vec<Credit>) {
        let Some(link) = self.nodes.remove(&life) else { return Default::default() };
        self.release(link.paused, link.kept)
    }

    fn release(&mut self, resumed: BTreeSet<ConnId>, kept: Vec<Kept>) -> (Vec<ConnId>, Vec<Credit>) {
        let credits = kept.into_iter().filter_map(|kept| self.dealt(kept.source, kept.bytes)).collect();
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

    #[test]
    fn a_full_window_pauses_and_half_of_it_resumes() {
        let conn = ConnId { index: 1, generation: 0 };
        for peer in [ONE, PeerId::Node(Life(9))] {
            let mut links = Links::new(2, 1_000);
            assert!(!links.sent(peer, &land(500)));
            assert!(links.sent(peer, &land(500)));
            assert!(links.pause(peer, conn));
            assert!(!links.pause(peer, conn));
            assert!(links.credited(peer, 628).0.is_empty());
            assert!(links.is_paused(conn));
            assert_eq!(links.credited(peer, 628).0, [conn]);
            assert!(!links.is_paused(conn));
        }
    }

    #[test]
    fn a_credit_kept_back_is_paid_when_the_later_leg_is_free() {
        let mut links = Links::new(3, 1_000);
        assert!(links.sent(TWO, &land(2_000)));
        links.keep_back(TWO, ONE, 700);
        assert!(links.credited(TWO, 1_000).1.is_empty());
        assert_eq!(links.credited(TWO, 1_128).1, [(ONE, 700)]);
    }

    #[test]
    fn what_waited_for_a_node_that_has_gone_waits_no_longer() {
        let (mut links, node) = (Links::new(2, 1_000), PeerId::Node(Life(9)));
        let conn = ConnId { index: 1, generation: 0 };
        assert!(links.sent(node, &land(2_000)));
        links.pause(node, conn);
        links.keep_back(node, ONE, 700);
        assert_eq!(links.remove_node(Life(9)), (vec![conn], vec![(ONE, 700)]));
        assert!(!links.is_full(node));
    }
}

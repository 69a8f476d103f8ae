//! How much is under way between this shard and its siblings.
//!
//! Every message with clients' data costs window bytes until the other shard has dealt with it. Over the window the
//! source is paused, at half of it resumed; no shard ever waits for another. A home that hands a message on to a shard
//! whose window is full keeps back the credit for it, so that the pressure reaches the true source.

use std::collections::BTreeSet;

use crate::action::{Action, Actions};
use crate::id::{ConnId, ShardId};
use crate::peer::{Leg, PeerMessage};

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

#[derive(Debug, Default)]
struct Link {
    /// Bytes sent and not yet credited.
    under_way: PerLeg,
    /// Sockets that are paused because of this link.
    paused: BTreeSet<ConnId>,
    /// Bytes dealt with and not yet credited to the other side.
    owed: PerLeg,
    /// Credits kept back while this link's window is full: to whom, how much.
    kept: Vec<(ShardId, usize)>,
}

/// The windows to all siblings.
#[derive(Debug)]
pub struct Links {
    links: Vec<Link>,
    window: usize,
}

impl Links {
    /// Links to `shards` shards, each with a window of `window` bytes per leg.
    pub fn new(shards: u16, window: usize) -> Self {
        Links { links: (0..shards).map(|_| Link::default()).collect(), window }
    }

    /// Counts a message as under way to `peer`. True: the window is full, pause the source.
    pub fn sent(&mut self, peer: ShardId, message: &PeerMessage) -> bool {
        let window = self.window;
        match (message.data(), self.links.get_mut(usize::from(peer.0))) {
            (Some((leg, bytes)), Some(link)) => {
                let used = link.under_way.of(leg);
                *used += bytes;
                *used > window
            }
            _ => false,
        }
    }

    /// Whether a window to `peer` is full.
    pub fn is_full(&self, peer: ShardId, leg: Leg) -> bool {
        self.links.get(usize::from(peer.0)).is_some_and(|link| *link.under_way.clone().of(leg) > self.window)
    }

    /// Remembers that a socket is paused until the window to `peer` is half empty. False: it was so already.
    pub fn pause(&mut self, peer: ShardId, conn: ConnId) -> bool {
        self.links.get_mut(usize::from(peer.0)).is_some_and(|link| link.paused.insert(conn))
    }

    /// Whether a socket is still paused because of any link.
    pub fn is_paused(&self, conn: ConnId) -> bool {
        self.links.iter().any(|link| link.paused.contains(&conn))
    }

    /// Forgets a socket.
    pub fn forget(&mut self, conn: ConnId) {
        for link in &mut self.links {
            link.paused.remove(&conn);
        }
    }

    /// A message of `bytes` from `peer` has been dealt with: gives credit once a quarter of a window is owed.
    pub fn dealt(&mut self, peer: ShardId, leg: Leg, bytes: usize, out: &mut Actions) {
        let quarter = self.window / 4;
        if let Some(link) = self.links.get_mut(usize::from(peer.0)) {
            let owed = link.owed.of(leg);
            *owed += bytes;
            if *owed > quarter {
                let message = PeerMessage::Credit(leg, std::mem::take(owed));
                out.push(Action::Forward { peer, message });
            }
        }
    }

    /// A message of `bytes` from `source` was handed on to `peer`, whose window is full: its credit waits for that.
    pub fn keep_back(&mut self, peer: ShardId, source: ShardId, bytes: usize) {
        if let Some(link) = self.links.get_mut(usize::from(peer.0)) {
            link.kept.push((source, bytes));
        }
    }

    /// `peer` has dealt with `bytes` of a leg: says which sockets may go on.
    pub fn credited(&mut self, peer: ShardId, leg: Leg, bytes: usize, out: &mut Actions) -> Vec<ConnId> {
        let half = self.window / 2;
        let Some(link) = self.links.get_mut(usize::from(peer.0)) else { return Vec::new() };
        let used = link.under_way.of(leg);
        *used = used.saturating_sub(bytes);
        // What is kept back waits for this link's later leg alone: if it waited for the earlier one too, two homes could
        // wait for each other.
        let kept = if link.under_way.land <= half { std::mem::take(&mut link.kept) } else { Vec::new() };
        let room = link.under_way.ask.max(link.under_way.land) <= half;
        let resumed = if room { std::mem::take(&mut link.paused) } else { BTreeSet::new() };
        for (source, bytes) in kept {
            self.dealt(source, Leg::Ask, bytes, out);
        }
        resumed.into_iter().filter(|conn| !self.is_paused(*conn)).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::id::{ChannelId, ClientId, Life};

    fn land(bytes: usize) -> PeerMessage {
        PeerMessage::Publish {
            channel: ChannelId::from_bits(1, 4),
            frames: Bytes::from(vec![0; bytes]),
            from: ClientId { life: Life(0), shard: ShardId(0), serial: 1 },
            back: true,
        }
    }

    #[test]
    fn a_full_window_pauses_and_half_of_it_resumes() {
        let conn = ConnId { index: 1, generation: 0 };
        let (mut links, mut out) = (Links::new(2, 1_000), Actions::new());
        let peer = ShardId(1);
        assert!(!links.sent(peer, &land(500)));
        assert!(links.sent(peer, &land(500)));
        assert!(links.pause(peer, conn));
        assert!(!links.pause(peer, conn));
        assert!(links.credited(peer, Leg::Land, 628, &mut out).is_empty());
        assert!(links.is_paused(conn));
        assert_eq!(links.credited(peer, Leg::Land, 628, &mut out), [conn]);
        assert!(!links.is_paused(conn));
    }

    #[test]
    fn the_legs_do_not_share_a_window() {
        let mut links = Links::new(2, 1_000);
        let ask = PeerMessage::Ask {
            channel: ChannelId::from_bits(1, 4),
            frame: Bytes::from(vec![0; 900]),
            from: ClientId { life: Life(0), shard: ShardId(0), serial: 1 },
            wish: crate::peer::Wish::Pull,
            number: 0,
        };
        assert!(links.sent(ShardId(1), &ask));
        assert!(!links.sent(ShardId(1), &land(100)));
    }

    #[test]
    fn a_credit_kept_back_is_paid_when_the_later_leg_is_free() {
        let (mut links, mut out) = (Links::new(3, 1_000), Actions::new());
        assert!(links.sent(ShardId(2), &land(2_000)));
        links.keep_back(ShardId(2), ShardId(1), 700);
        assert!(out.is_empty());
        links.credited(ShardId(2), Leg::Land, 2_128, &mut out);
        let paid: Vec<_> = out.drain().collect();
        assert!(matches!(
            paid.as_slice(),
            [Action::Forward { peer: ShardId(1), message: PeerMessage::Credit(Leg::Ask, 700) }]
        ));
    }

    #[test]
    fn two_homes_that_ask_each_other_do_not_wait_for_each_other() {
        let (mut links, mut out) = (Links::new(2, 1_000), Actions::new());
        let ask = PeerMessage::Ask {
            channel: ChannelId::from_bits(1, 4),
            frame: Bytes::from(vec![0; 2_000]),
            from: ClientId { life: Life(0), shard: ShardId(0), serial: 1 },
            wish: crate::peer::Wish::Pull,
            number: 0,
        };
        assert!(links.sent(ShardId(1), &ask));
        assert!(links.sent(ShardId(1), &land(2_000)));
        links.keep_back(ShardId(1), ShardId(1), 700);
        assert!(links.credited(ShardId(1), Leg::Land, 2_128, &mut out).is_empty(), "the earlier leg is full");
        assert_eq!(out.drain().count(), 1, "the credit is paid all the same");
    }
}

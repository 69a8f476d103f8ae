//! What a channel's home decides: who is seated, whose turn it is, and when the channel has been idle for too long.
//!
//! One shard of one live node is each channel's home: the node by [`Members::home`](crate::members::Members::home), its
//! shard by the id alone, so that every shard knows it without asking. Homes send nothing; the router and the shard ask them.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::Channel;
use crate::id::{ChannelId, ClientId, ShardId};
use crate::pattern::queue::Queue;
use crate::peer::Seat;
use crate::time::Time;

/// The shard that decides for a channel, of `shards` in all. The id's bits are mixed (SplitMix64's finaliser), so that
/// equal low digits do not gather on one shard.
pub fn home_of(id: ChannelId, shards: u16) -> ShardId {
    let bits = id.bits();
    let mut x = (bits as u64) ^ ((bits >> 64) as u64).rotate_left(32);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^= x >> 31;
    ShardId((x % u64::from(shards.max(1))) as u16)
}

/// Whether a client needs its channel's home for its seat: where nothing is limited and nobody queues there is nothing to
/// decide.
pub fn is_asked_for_seats(channel: &Channel, pull: bool) -> bool {
    channel.client_limit.is_some() || (pull && channel.pattern.has_queue())
}

/// The channel has as many clients as it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// A channel at its home.
#[derive(Debug, Default)]
pub struct Home {
    /// Those who asked for a seat and have it.
    seats: BTreeSet<ClientId>,
    /// Who stands in line for the next message.
    pub queue: Queue,
    /// The armed countdown, kept for the list of timers.
    pub timer: Option<Time>,
}

impl Home {
    /// Seats a client if the limit allows it, at the tail of the queue if it pulls: its stamp there. A client that has a seat
    /// keeps it. As many as may are seated: [`Full`].
    pub fn seat(&mut self, channel: &Channel, client: ClientId, pull: bool) -> Result<Option<u64>, Full> {
        let is_full = channel.client_limit.is_some_and(|limit| self.seats.len() as u64 >= limit);
        if is_full && !self.seats.contains(&client) {
            return Err(Full);
        }
        self.seats.insert(client);
        Ok((pull && channel.pattern.has_queue()).then(|| self.queue.to_tail(client)))
    }

    /// Frees the seat of a client that has gone; nothing if it has none.
    pub fn leave(&mut self, client: ClientId) {
        self.seats.remove(&client);
        self.queue.remove(client);
    }

    /// Begins anew from what the shards report.
    pub fn restore(&mut self, seats: &[Seat]) {
        self.seats = seats.iter().map(|seat| seat.client).collect();
        self.queue = Queue::restore(seats.iter().filter_map(|seat| Some((seat.stamp?, seat.client))).collect());
    }

    /// How many are seated.
    pub fn seated(&self) -> u64 {
        self.seats.len() as u64
    }
}

/// The channels that this shard is home to.
pub type Homes = BTreeMap<ChannelId, Home>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::TokenHash;
    use crate::id::Life;
    use crate::pattern::Pattern;

    #[test]
    fn homes_are_spread_evenly_even_over_counted_ids() {
        let mut count = [0u32; 8];
        for n in 0..8_000u128 {
            count[usize::from(home_of(ChannelId::from_bits(n << 8, 4), 8).0)] += 1;
        }
        assert!(count.iter().all(|n| (850..1_150).contains(n)), "{count:?}");
    }

    #[test]
    fn a_full_channel_seats_nobody_until_somebody_leaves() {
        let channel =
            Channel { pattern: Pattern::PushPull, client_limit: Some(1), timeout_ms: None, token: TokenHash::of("t") };
        let client = |serial| ClientId { life: Life(0), shard: ShardId(0), serial };
        let mut home = Home::default();
        assert_eq!(home.seat(&channel, client(1), true), Ok(Some(0)));
        assert_eq!(home.seat(&channel, client(1), true), Ok(Some(1)), "who asks again has its seat");
        assert_eq!(home.seat(&channel, client(2), true), Err(Full));
        home.leave(client(1));
        home.leave(client(1));
        assert_eq!(home.seat(&channel, client(2), false), Ok(None));
        assert!(home.queue.is_empty(), "who does not pull stands in no queue");
        assert_eq!(home.seated(), 1);
    }
}

//! Who gets the next connection: of the shards with the fewest the one whose turn is next, so that they differ by few
//! whatever clients do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many connections a shard has, counted from when it was chosen for one until that has ended.
#[derive(Clone, Default, Debug)]
pub struct Load(Arc<AtomicUsize>);

impl Load {
    /// How many there are. Each is right by itself; two shards' may be of different moments.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn subtract(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The shard that the next connection goes to, which is counted there. `since` is the shard after the last one chosen.
pub fn deal<'a>(loads: impl Iterator<Item = &'a Load> + Clone, since: usize) -> usize {
    let shards = loads.clone().count().max(1);
    let turn = |shard: usize| (shard + shards - since % shards) % shards;
    let fewest = loads.enumerate().min_by_key(|(shard, load)| (load.count(), turn(*shard)));
    fewest.map_or(0, |(shard, load)| {
        load.add();
        shard
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_with_as_many_take_turns() {
        let loads: Vec<Load> = (0..3).map(|_| Load::default()).collect();
        let mut since = 2;
        let mut next = || {
            let chosen = deal(loads.iter(), since);
            since = chosen + 1;
            chosen
        };
        assert_eq!([next(), next(), next(), next(), next(), next()], [2, 0, 1, 2, 0, 1]);
    }

    #[test]
    fn a_rhythm_of_clients_leaves_no_shard_with_more() {
        // Each asks over one connection and stays on the next.
        let loads: Vec<Load> = (0..2).map(|_| Load::default()).collect();
        let mut since = 0;
        for _ in 0..100 {
            let asks = deal(loads.iter(), since);
            let stays = deal(loads.iter(), asks + 1);
            since = stays + 1;
            loads[asks].subtract();
        }
        let [one, other] = [loads[0].count(), loads[1].count()];
        assert!(one + other == 100 && one.abs_diff(other) <= 2, "{one} and {other}");
    }

    #[test]
    fn the_one_shard_gets_all() {
        let load = Load::default();
        assert_eq!((deal([&load].into_iter(), 0), deal([&load].into_iter(), 1), load.count()), (0, 0, 2));
    }
}

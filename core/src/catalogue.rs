//! The set of channels that exist: what the nodes agree on.
//!
//! It changes only by applying a [`Command`], in the same order everywhere; applying reads no configuration, clock or
//! chance, so that equal commands make equal catalogues (each copy notes when it applied one, and nothing depends on it). It knows nothing of clients, messages or countdowns.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::admission::TokenHash;
use crate::id::ChannelId;
use crate::members::NodeChange;
use crate::pattern::Pattern;
use crate::time::Time;

/// One change, as it is proposed, agreed on and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Add a channel.
    Create {
        /// Its id, drawn by the proposer.
        id: ChannelId,
        /// What it is.
        channel: Channel,
    },
    /// Remove one.
    Delete {
        /// Which.
        id: ChannelId,
        /// What its clients are told.
        why: Removal,
    },
    /// Remove all.
    Reset,
    /// Change who is in the cluster. The catalogue stays as it is.
    Node(NodeChange),
}

/// A channel as its creator wanted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// How messages travel.
    pub pattern: Pattern,
    /// Most clients at a time; `None` for no limit.
    pub client_limit: Option<u64>,
    /// Milliseconds without a message after which it is deleted; `None` for never.
    pub timeout_ms: Option<u64>,
    /// SHA-256 of its token.
    pub token: TokenHash,
}

/// Why a channel was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Somebody deleted it.
    Deleted,
    /// Its timeout passed without a message.
    TimedOut,
}

/// What applying a command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The channel exists now.
    Created,
    /// The id was taken: nothing changed, draw another.
    Taken,
    /// The limit of channels is reached: nothing changed.
    Full,
    /// Its address creates channels faster than it may: nothing changed.
    TooOften,
    /// The channel is gone.
    Deleted,
    /// There was no such channel.
    Absent,
    /// Every channel is gone.
    Emptied,
    /// Who is in the cluster has changed; the catalogue has not.
    Noted,
    /// Certainly nothing was changed: the cluster has no leader that this node knows of, or it takes nothing now.
    NoLeader,
    /// It may have been made or not, or may yet be made.
    Unknown,
}

/// A channel in the catalogue.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What was agreed on.
    pub channel: Channel,
    /// When it was applied here. Each copy of the catalogue has its own time; nothing that is agreed on depends on it.
    pub since: Time,
}

/// All channels, by id.
#[derive(Debug, Default)]
pub struct Catalogue {
    channels: BTreeMap<ChannelId, Entry>,
}

impl Catalogue {
    /// An empty catalogue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies a change; `removed` hears of every channel that it took away.
    pub fn apply(&mut self, now: Time, command: &Command, mut removed: impl FnMut(ChannelId, Removal)) -> Outcome {
        match command {
            Command::Create { id, channel } => {
                if self.channels.contains_key(id) {
                    return Outcome::Taken;
                }
                self.channels.insert(*id, Entry { channel: channel.clone(), since: now });
                Outcome::Created
            }
            Command::Delete { id, why } => match self.channels.remove(id) {
                Some(_) => {
                    removed(*id, *why);
                    Outcome::Deleted
                }
                None => Outcome::Absent,
            },
            Command::Reset => {
                for id in std::mem::take(&mut self.channels).into_keys() {
                    removed(id, Removal::Deleted);
                }
                Outcome::Emptied
            }
            Command::Node(_) => Outcome::Noted,
        }
    }

    /// One channel.
    pub fn get(&self, id: ChannelId) -> Option<&Entry> {
        self.channels.get(&id)
    }

    /// The channels behind `after` in order of id, all of them for `None`.
    pub fn range(&self, after: Option<ChannelId>) -> impl Iterator<Item = (ChannelId, &Entry)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.channels.range((from, Bound::Unbounded)).map(|(id, entry)| (*id, entry))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> ChannelId {
        ChannelId::from_bits(n, 4)
    }

    fn create(n: u128) -> Command {
        let channel =
            Channel { pattern: Pattern::Echo, client_limit: None, timeout_ms: None, token: TokenHash::of("secret") };
        Command::Create { id: id(n), channel }
    }

    #[test]
    fn a_taken_id_changes_nothing() {
        let mut catalogue = Catalogue::new();
        assert_eq!(catalogue.apply(Time::ZERO, &create(1), |_, _| ()), Outcome::Created);
        assert_eq!(catalogue.apply(Time::ZERO, &create(1), |_, _| ()), Outcome::Taken);
        assert_eq!(catalogue.len(), 1);
    }

    #[test]
    fn removals_are_told_and_a_second_delete_finds_nothing() {
        let mut catalogue = Catalogue::new();
        for n in [3, 1, 2] {
            catalogue.apply(Time::ZERO, &create(n), |_, _| ());
        }
        let order: Vec<_> = catalogue.range(Some(id(1))).map(|(id, _)| id).collect();
        assert_eq!(order, [id(2), id(3)]);
        let mut gone = Vec::new();
        let delete = Command::Delete { id: id(2), why: Removal::TimedOut };
        assert_eq!(catalogue.apply(Time::ZERO, &delete, |id, why| gone.push((id, why))), Outcome::Deleted);
        assert_eq!(catalogue.apply(Time::ZERO, &delete, |id, why| gone.push((id, why))), Outcome::Absent);
        assert_eq!(catalogue.apply(Time::ZERO, &Command::Reset, |id, why| gone.push((id, why))), Outcome::Emptied);
        assert_eq!(gone, [(id(2), Removal::TimedOut), (id(1), Removal::Deleted), (id(3), Removal::Deleted)]);
        assert!(catalogue.is_empty());
    }
}

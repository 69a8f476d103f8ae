//! Who is on a channel, as one shard sees it: its own members one by one, the other shards as a whole.
//!
//! A shard that has, or is about to have, clients on a channel says so to all others and seats nobody before they know
//! (*interest*); so a message that any shard takes in after a client's 101 reaches that client. The roster sends nothing
//! itself; it says what is to be said.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{ChannelId, ClientId, ConnId, Life, ShardId};
use crate::pattern::Pattern;
use crate::time::Time;
use crate::wire::deflate::Window;

/// A client on this shard.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its socket.
    pub conn: ConnId,
    /// Whether it wants its own pub-sub messages back.
    pub echo: bool,
    /// The window of its compressor, if it has negotiated compression.
    pub deflate: Option<Window>,
    /// Whether the channel's home seated it.
    pub seated: bool,
    /// Its place in the queue, if it stands there: the number that the home gave it last.
    pub stamp: Option<u64>,
}

/// What the other shards know of this one's clients on a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Announced {
    /// That there are none.
    No,
    /// So many have not yet said that they know.
    Under(usize),
    /// That there may be some.
    Yes,
}

/// What the gate knows of a channel on other nodes, and they of it here.
#[derive(Debug, Default)]
pub struct Nodes {
    /// Those that have clients on it.
    pub interested: BTreeSet<Life>,
    /// Siblings that have not yet said that they know that there are some.
    pub siblings_left: usize,
    /// Those that are told once all siblings know.
    pub to_note: Vec<Life>,
    /// What they know of this node's clients.
    pub told: Told,
}

/// What other nodes know of this one's clients on a channel.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// That there are none.
    #[default]
    No,
    /// These have not yet said that they know; then these shards are told.
    Under(BTreeSet<Life>, Vec<ShardId>),
    /// That there may be some.
    Yes,
}

/// A channel on this shard.
#[derive(Debug)]
pub struct Local {
    /// Which.
    pub id: ChannelId,
    /// How its messages travel.
    pub pattern: Pattern,
    /// Its clients here, by serial number.
    pub members: BTreeMap<u64, Member>,
    /// The other shards of this node that have clients on it.
    pub elsewhere: BTreeSet<ShardId>,
    /// Whether other nodes have.
    pub abroad: bool,
    /// On the gate: what other nodes and this one know of each other's clients.
    pub nodes: Option<Box<Nodes>>,
    /// When a message last came in here, or at a shard that has told us since.
    pub active: Time,
    /// Clients that are between their request and their seat.
    joining: usize,
    announced: Announced,
    /// Serial numbers of clients that wait until the others know.
    held: Vec<u64>,
}

impl Local {
    /// Serial numbers of clients that wait until every other shard knows of this one's interest.
    pub fn waiting(&self) -> &[u64] {
        &self.held
    }

    /// What the gate keeps about other nodes.
    pub fn nodes(&mut self) -> &mut Nodes {
        self.nodes.get_or_insert_default()
    }

    /// Whether this shard or a sibling has, or is about to have, clients on it.
    pub fn is_wanted_here(&self) -> bool {
        self.announced != Announced::No || !self.elsewhere.is_empty()
    }

    /// Whether a message of `sender` could reach anybody but it.
    pub fn has_others(&self, sender: ClientId, here: ShardId) -> bool {
        let own = sender.shard == here && self.members.contains_key(&sender.serial);
        self.members.len() > usize::from(own) || !self.elsewhere.is_empty() || self.abroad
    }
}

/// A place in the roster, given at the seat and good until the channel goes.
pub type SlotIndex = usize;

/// What is to be done for a client that wants a seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Everybody knows of this shard's interest: ask for the seat.
    Ready,
    /// Tell all others; the client comes out of [`Roster::noted`].
    Announce,
    /// That is under way already; the client comes out of [`Roster::noted`].
    Wait,
}

/// All channels that have or had clients on this shard, or about which others have said something.
#[derive(Debug, Default)]
pub struct Roster {
    slots: Vec<Option<Local>>,
    free: Vec<SlotIndex>,
    index: BTreeMap<ChannelId, SlotIndex>,
    /// Where each client of this shard is seated, by serial number.
    seats: BTreeMap<u64, SlotIndex>,
}

impl Roster {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// The channel at a place.
    pub fn at(&mut self, slot: SlotIndex) -> Option<&mut Local> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// The place of a channel.
    pub fn find(&self, id: ChannelId) -> Option<SlotIndex> {
        self.index.get(&id).copied()
    }

    /// The channel by id.
    pub fn get(&self, id: ChannelId) -> Option<&Local> {
        self.slots.get(self.find(id)?)?.as_ref()
    }

    /// The channel's place, made if it had none.
    pub fn place(&mut self, id: ChannelId, pattern: Pattern, since: Time) -> SlotIndex {
        if let Some(slot) = self.find(id) {
            return slot;
        }
        let local = Local {
            id,
            pattern,
            members: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            abroad: false,
            nodes: None,
            active: since,
            joining: 0,
            announced: Announced::No,
            held: Vec::new(),
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(local);
        }
        self.index.insert(id, slot);
        slot
    }

    /// Takes a channel out, with whoever was on it.
    pub fn remove(&mut self, id: ChannelId) -> Option<Local> {
        let slot = self.index.remove(&id)?;
        self.free.push(slot);
        let local = self.slots.get_mut(slot)?.take()?;
        for serial in local.members.keys() {
            self.seats.remove(serial);
        }
        Some(local)
    }

    /// Gives a client its new place in the queue, if that is behind the one it has.
    pub fn stamp(&mut self, serial: u64, stamp: u64) {
        let seat = self.seats.get(&serial).copied();
        if let Some(member) = seat.and_then(|slot| self.at(slot)?.members.get_mut(&serial)) {
            member.stamp = member.stamp.max(Some(stamp));
        }
    }

    /// All channels that this shard has heard of.
    pub fn locals(&self) -> impl Iterator<Item = &Local> {
        self.slots.iter().flatten()
    }

    /// All channels that this shard has heard of.
    pub fn locals_mut(&mut self) -> impl Iterator<Item = &mut Local> {
        self.slots.iter_mut().flatten()
    }

    /// A client of this shard, whatever its channel.
    pub fn member(&self, serial: u64) -> Option<&Member> {
        let slot = *self.seats.get(&serial)?;
        self.slots.get(slot)?.as_ref()?.members.get(&serial)
    }

    /// A client wants a seat; `others` is the number of other shards.
    pub fn enter(&mut self, slot: SlotIndex, serial: u64, others: usize) -> Entry {
        let Some(local) = self.at(slot) else { return Entry::Ready };
        local.joining += 1;
        match local.announced {
            Announced::Yes => Entry::Ready,
            Announced::No if others == 0 => {
                local.announced = Announced::Yes;
                Entry::Ready
            }
            Announced::No => {
                local.announced = Announced::Under(others);
                local.held.push(serial);
                Entry::Announce
            }
            Announced::Under(_) => {
                local.held.push(serial);
                Entry::Wait
            }
        }
    }

    /// Another shard knows of our interest: once all do, these clients may ask for their seats.
    pub fn noted(&mut self, id: ChannelId) -> Vec<u64> {
        let Some(local) = self.find(id).and_then(|slot| self.at(slot)) else { return Vec::new() };
        match local.announced {
            Announced::Under(left) if left > 1 => local.announced = Announced::Under(left - 1),
            Announced::Under(_) => {
                local.announced = Announced::Yes;
                return std::mem::take(&mut local.held);
            }
            Announced::No | Announced::Yes => {}
        }
        Vec::new()
    }

    /// A client that entered has its seat.
    pub fn seat(&mut self, slot: SlotIndex, serial: u64, member: Member) {
        if let Some(local) = self.at(slot) {
            local.joining = local.joining.saturating_sub(1);
            local.members.insert(serial, member);
            self.seats.insert(serial, slot);
        }
    }

    /// A client that entered gets no seat. True: nobody is left here, tell the others.
    pub fn refuse(&mut self, slot: SlotIndex) -> bool {
        let Some(local) = self.at(slot) else { return false };
        local.joining = local.joining.saturating_sub(1);
        local.withdraw()
    }

    /// A seated client has gone. True: it was the last one here, tell the others.
    pub fn leave(&mut self, slot: SlotIndex, serial: u64) -> bool {
        self.seats.remove(&serial);
        let Some(local) = self.at(slot) else { return false };
        local.members.remove(&serial).is_some() && local.withdraw()
    }
}

impl Local {
    fn withdraw(&mut self) -> bool {
        let last = self.members.is_empty() && self.joining == 0 && self.announced == Announced::Yes;
        if last {
            self.announced = Announced::No;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        Member { conn: ConnId { index: 0, generation: 0 }, echo: true, deflate: None, seated: false, stamp: None }
    }

    #[test]
    fn nobody_asks_for_a_seat_before_every_other_shard_knows() {
        let id = ChannelId::from_bits(1, 4);
        let mut roster = Roster::new();
        let slot = roster.place(id, Pattern::PubSub, Time::ZERO);
        assert_eq!(roster.enter(slot, 1, 2), Entry::Announce);
        assert_eq!(roster.enter(slot, 2, 2), Entry::Wait);
        assert_eq!(roster.noted(id), [0u64; 0]);
        assert_eq!(roster.noted(id), [1, 2]);
        assert_eq!(roster.enter(slot, 3, 2), Entry::Ready);
    }

    #[test]
    fn the_last_to_go_withdraws_the_interest_once() {
        let id = ChannelId::from_bits(1, 4);
        let mut roster = Roster::new();
        let slot = roster.place(id, Pattern::PubSub, Time::ZERO);
        for serial in [1, 2, 3] {
            assert_eq!(roster.enter(slot, serial, 0), Entry::Ready);
        }
        roster.seat(slot, 1, member());
        roster.seat(slot, 2, member());
        assert!(!roster.leave(slot, 1));
        assert!(!roster.leave(slot, 1), "a second time is no time");
        assert!(!roster.leave(slot, 2), "one is still joining");
        assert!(roster.refuse(slot));
    }

    #[test]
    fn a_place_is_used_again_after_its_channel_has_gone() {
        let mut roster = Roster::new();
        let (a, b) = (ChannelId::from_bits(1, 4), ChannelId::from_bits(2, 4));
        let slot = roster.place(a, Pattern::Echo, Time::ZERO);
        assert!(roster.remove(a).is_some());
        assert!(roster.remove(a).is_none());
        assert_eq!(roster.place(b, Pattern::Echo, Time::ZERO), slot);
        assert!(roster.get(a).is_none());
    }
}

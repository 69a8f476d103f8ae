//! Who on other nodes wants a channel's messages.
//!
//! What shards do among themselves, gates do for their nodes: a node that is about to seat its first client on a channel
//! tells all others, and waits until every shard of theirs knows. Only the gate knows which nodes those are; its siblings
//! know that there are some, and send it one copy for all.

use super::Shard;
use crate::action::Actions;
use crate::id::{ChannelId, GATE, Life, ShardId};
use crate::peer::{PeerId, PeerMessage};
use crate::roster::{Local, Told};
use crate::time::Time;

impl Shard {
    fn local(&mut self, channel: ChannelId) -> Option<&mut Local> {
        let slot = self.place(channel)?;
        self.router.roster.at(slot)
    }

    /// How many must know of this shard's interest before it seats a client: its siblings, and on the gate the other nodes
    /// together.
    pub(super) fn others_to_know(&self) -> usize {
        let nodes = usize::from(self.router.is_gate() && !self.epochs.introduced().is_empty());
        usize::from(self.config.shards.max(1)) - 1 + nodes
    }

    /// Tells all others that this shard has, or is about to have, clients on a channel.
    pub(super) fn announce(&mut self, channel: ChannelId, out: &mut Actions) {
        self.say_to_others(|| PeerMessage::Interest(channel), out);
        if self.router.is_gate() && !self.epochs.introduced().is_empty() {
            self.tell_nodes(GATE, channel, out);
        }
    }

    /// A sibling is about to have clients on a channel.
    pub(super) fn sibling_interested(&mut self, shard: ShardId, channel: ChannelId, out: &mut Actions) {
        if let Some(local) = self.local(channel) {
            local.elsewhere.insert(shard);
            if self.router.is_gate() {
                return self.tell_nodes(shard, channel, out);
            }
        }
        self.say(shard, PeerMessage::InterestNoted(channel), out);
    }

    /// On the gate: `shard` may go on once all other nodes know that this one has clients on a channel.
    fn tell_nodes(&mut self, shard: ShardId, channel: ChannelId, out: &mut Actions) {
        let introduced = self.epochs.introduced().clone();
        let Some(local) = self.local(channel) else { return };
        let known = match &mut local.nodes().told {
            Told::Yes => true,
            Told::Under(_, askers) => {
                askers.push(shard);
                false
            }
            told @ Told::No if introduced.is_empty() => {
                // Who comes later is told all at once.
                *told = Told::Yes;
                true
            }
            told @ Told::No => {
                *told = Told::Under(introduced.clone(), vec![shard]);
                for life in introduced {
                    self.router.forward(PeerId::Node(life), PeerMessage::Interest(channel), None, out);
                }
                false
            }
        };
        if known || mutant!(SeatsUnannounced) {
            self.say(shard, PeerMessage::InterestNoted(channel), out);
        }
    }

    /// On the gate: the channels that a newcomer is told of, as this node has, or is about to have, clients on them. While there
    /// was nobody to tell, nothing was noted of having told it; now there is somebody who must hear when the last has gone.
    pub(super) fn introduce_interests(&mut self) -> Vec<ChannelId> {
        let mut channels = Vec::new();
        for local in self.router.roster.locals_mut().filter(|local| local.is_wanted_here()) {
            channels.push(local.id);
            let told = &mut local.nodes().told;
            if *told == Told::No {
                *told = Told::Yes;
            }
        }
        channels
    }

    /// On the gate: another node knows, or its life has ended.
    pub(super) fn node_noted(&mut self, life: Life, channel: ChannelId, out: &mut Actions) {
        let Some(local) = self.router.roster.find(channel).and_then(|slot| self.router.roster.at(slot)) else { return };
        let Told::Under(left, askers) = &mut local.nodes().told else { return };
        left.remove(&life);
        if !left.is_empty() {
            return;
        }
        let askers = std::mem::take(askers);
        local.nodes().told = Told::Yes;
        for shard in askers {
            self.say(shard, PeerMessage::InterestNoted(channel), out);
        }
        self.withdraw_from_nodes(channel, out);
    }

    /// Another shard, or all other nodes, know of this shard's interest.
    pub(super) fn interest_noted(&mut self, channel: ChannelId, out: &mut Actions) {
        for serial in self.router.roster.noted(channel) {
            self.ask_for_seat(serial, out);
        }
    }

    /// A sibling has no clients on a channel any more.
    pub(super) fn sibling_disinterested(
        &mut self,
        shard: ShardId,
        channel: ChannelId,
        active: Time,
        out: &mut Actions,
    ) {
        if let Some(local) = self.router.roster.find(channel).and_then(|slot| self.router.roster.at(slot)) {
            local.elsewhere.remove(&shard);
            local.active = local.active.max(active);
            self.withdraw_from_nodes(channel, out);
        }
    }

    /// On the gate: if nobody here wants a channel any more, the other nodes need send nothing.
    pub(super) fn withdraw_from_nodes(&mut self, channel: ChannelId, out: &mut Actions) {
        if !self.router.is_gate() {
            return;
        }
        let introduced = self.epochs.introduced().clone();
        let Some(local) = self.router.roster.find(channel).and_then(|slot| self.router.roster.at(slot)) else { return };
        let active = local.active;
        if local.is_wanted_here() || local.nodes.as_ref().is_none_or(|nodes| nodes.told != Told::Yes) {
            return;
        }
        local.nodes().told = Told::No;
        for life in introduced {
            self.router.forward(PeerId::Node(life), PeerMessage::Disinterest(channel, active), None, out);
        }
    }

    /// On the gate: another node is about to have clients on a channel, and waits until this node knows.
    pub(super) fn node_interested(&mut self, life: Life, channel: ChannelId, out: &mut Actions) {
        self.note_node(life, channel, out);
        match self.local(channel).map(Local::nodes) {
            Some(nodes) if nodes.siblings_left > 0 && !mutant!(NotesInterestEarly) => nodes.to_note.push(life),
            _ => self.router.forward(PeerId::Node(life), PeerMessage::InterestNoted(channel), None, out),
        }
    }

    /// On the gate: notes that another node wants a channel's messages.
    pub(super) fn note_node(&mut self, life: Life, channel: ChannelId, out: &mut Actions) {
        let siblings = usize::from(self.config.shards.max(1)) - 1;
        let Some(local) = self.local(channel) else { return };
        local.nodes().interested.insert(life);
        if !std::mem::replace(&mut local.abroad, true) && siblings > 0 {
            local.nodes().siblings_left += siblings;
            self.say_to_others(|| PeerMessage::Abroad(channel, true), out);
        }
    }

    /// On the gate: a sibling knows that other nodes want a channel's messages.
    pub(super) fn abroad_noted(&mut self, channel: ChannelId, out: &mut Actions) {
        let Some(local) = self.router.roster.find(channel).and_then(|slot| self.router.roster.at(slot)) else { return };
        let nodes = local.nodes();
        nodes.siblings_left = nodes.siblings_left.saturating_sub(1);
        if nodes.siblings_left > 0 {
            return;
        }
        for life in std::mem::take(&mut nodes.to_note) {
            self.router.forward(PeerId::Node(life), PeerMessage::InterestNoted(channel), None, out);
        }
    }

    /// On the gate: another node wants a channel's messages no more.
    pub(super) fn node_disinterested(&mut self, life: Life, channel: ChannelId, active: Time, out: &mut Actions) {
        let Some(local) = self.router.roster.find(channel).and_then(|slot| self.router.roster.at(slot)) else { return };
        local.active = local.active.max(active);
        local.nodes().interested.remove(&life);
        if local.nodes().interested.is_empty() && std::mem::take(&mut local.abroad) {
            self.say_to_others(|| PeerMessage::Abroad(channel, false), out);
        }
    }

    /// On the gate: lives that have ended want nothing and need know nothing.
    pub(super) fn forget_dead_nodes(&mut self, out: &mut Actions) {
        let dead = self.epochs.take_ended();
        if dead.is_empty() {
            return;
        }
        let channels: Vec<ChannelId> =
            self.router.roster.locals().filter(|local| local.nodes.is_some()).map(|local| local.id).collect();
        for channel in channels {
            for life in &dead {
                self.node_noted(*life, channel, out);
                self.node_disinterested(*life, channel, Time::ZERO, out);
            }
        }
    }
}

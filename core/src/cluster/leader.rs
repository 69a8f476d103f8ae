//! What a leader does, and what the others say to it: who is live, what has been applied everywhere, who cannot reach whom.

use std::time::Duration;

use super::wire::ControlMessage;
use super::{Cluster, LOOK_EVERY};
use crate::id::{Life, NodeId};
use crate::members::NodeChange;

/// How long a live node may be out of reach before that is complained of.
const COMPLAIN_AFTER: Duration = Duration::from_secs(2);
/// Between two complaints.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

impl Cluster {
    pub(super) fn heard_message(&mut self, life: Life, message: ControlMessage) {
        let Some(node) = self.links.node_of(life) else { return };
        match message {
            ControlMessage::Raft(bytes) => self.heard_raft(node, &bytes),
            ControlMessage::Alive { round, applied, linked } => self.heard_alive(node, life, round, applied, linked),
            ControlMessage::Lease { round, length } => self.lease.granted(life, round, length.min(self.spans.lease)),
            ControlMessage::Everywhere(number) => self.changes.everywhere(number),
            ControlMessage::Propose(changes) => {
                if let Err((changes, why)) = self.append(life, changes) {
                    self.post(life, &ControlMessage::Refused { changes, why });
                }
            }
            ControlMessage::Refused { changes, why } => self.changes.refused(&changes, why),
            ControlMessage::Complaint(about) => {
                if let Some(leading) = &mut self.leading {
                    leading.complains(self.now, life, about);
                }
            }
            ControlMessage::Part { message, part } => self.heard_part(node, &message, &part),
            ControlMessage::Greeting(greeting) => self.heard_greeting(life, &greeting),
            ControlMessage::Join { asker, request } => self.heard_join(life, asker, request),
            ControlMessage::Joined { asker, node, cluster, members } => {
                self.heard_joined(asker, node, cluster, members);
            }
            ControlMessage::JoinRefused { asker, why } => self.heard_join_refused(asker, why),
            ControlMessage::Leaving { returns } => self.heard_leaving(node, life, returns),
            ControlMessage::Remove(node) => self.heard_remove(node),
            ControlMessage::Farewell { member } => self.heard_farewell(member),
            ControlMessage::Ask => self.heard_ask(node, life),
            ControlMessage::Promise => self.heard_promise(node),
            // It asks again when that one has given it back.
            ControlMessage::Promised(_) => {}
            ControlMessage::Release => self.heard_release(node),
            ControlMessage::Survey { cluster, term, index } => self.heard_survey(life, node, (cluster, term, index)),
            ControlMessage::Reborn { cluster, into } => self.heard_reborn(life, cluster, into),
        }
    }

    // As a follower.

    /// Tells the leader that this life goes on, when it is time or when there is news.
    pub(super) fn say_alive(&mut self) {
        let Some(leader) = self.leader.filter(|leader| *leader != self.me.node) else { return };
        let applied = self.applied_here();
        let news = self.handed > self.applied_told && applied > self.applied_told;
        if self.is_falling() || self.now < self.next_alive && !news {
            return;
        }
        let Some(life) = self.links.life_of(leader) else { return };
        let round = self.lease.round(self.now, life);
        let linked = self.is_linked_with_all() && self.leaving.is_none();
        self.post(life, &ControlMessage::Alive { round, applied, linked });
        self.applied_told = applied;
        let half = self.spans.heartbeat / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        self.next_alive = self.now + half + Duration::from_nanos(self.random.below(nanos));
    }

    /// Whether every other node that is live is linked: a node that cannot reach all would only be complained of.
    fn is_linked_with_all(&self) -> bool {
        self.members
            .iter()
            .filter(|(node, member)| *node != self.me.node && member.life.is_some())
            .all(|(_, member)| member.life.is_some_and(|life| self.links.get(life).is_some()))
    }

    /// Tells the leader whom this node cannot reach.
    pub(super) fn complain(&mut self) {
        let due = self.now >= self.next_complaint && self.is_live();
        let Some(leader) = self.leader.filter(|_| due) else { return };
        self.next_complaint = self.now + COMPLAIN_EVERY;
        let lost: Vec<Life> = self.unlinked.before(self.now - COMPLAIN_AFTER).collect();
        for about in lost {
            match &mut self.leading {
                // Of whom it hears nothing, it drops anyway.
                Some(_) => {}
                None => {
                    self.post_to(leader, &ControlMessage::Complaint(about));
                }
            }
        }
    }

    // As the leader.

    /// Whether this node leads and has applied all that was agreed on before.
    pub(super) fn leads_fully(&self) -> bool {
        let applied = self.group.as_ref().map_or(0, |group| group.raft.log().applied());
        self.leading.as_ref().is_some_and(|leading| applied >= leading.start)
    }

    fn heard_alive(&mut self, node: NodeId, life: Life, round: u64, applied: u64, linked: bool) {
        if !self.leads_fully() {
            return;
        }
        let own = self.group.as_ref().and_then(|group| group.raft.lease_until());
        let own = own.map(|until| crate::time::Time::from_nanos(until.as_nanos()));
        let commit = self.group.as_ref().map_or(0, |group| group.raft.log().committed());
        let Some(leading) = &mut self.leading else { return };
        if self.members.node_of(life) == Some(node) {
            let stands = leading.applied(life) == Some(applied);
            let everywhere = leading.everywhere();
            if let Some(length) = leading.alive(self.now, life, applied, own, &self.spans) {
                self.post(life, &ControlMessage::Lease { round, length });
            }
            if stands && everywhere > 0 {
                // Nothing has happened: what was said of it before may have been lost.
                self.post(life, &ControlMessage::Everywhere(everywhere));
            }
            return;
        }
        if self.members.lingering().any(|ended| ended == life) && !mutant!(TakesOldLifeForNew) {
            // It has not heard of its end yet, and so its clients have not either.
            return;
        }
        self.end_lingering_of(node);
        self.is_back(node, life);
        let Some(member) = self.members.get(node).filter(|_| !self.is_going(node)) else { return };
        let Some(leading) = &mut self.leading else { return };
        let ends = member.life.filter(|old| leading.end_now(*old, &self.spans));
        let begins = member.life.is_none() && linked && leading.asks(node, life, applied, commit);
        if let Some(old) = ends {
            // The node itself says so under another life: that one's clients are gone.
            self.propose_node(NodeChange::Gone { life: old, closed: true });
        }
        if begins {
            self.propose_node(NodeChange::Live { node, life });
        }
    }

    /// What follows from what has been applied and said.
    pub(super) fn lead(&mut self) {
        if !self.leads_fully() {
            return;
        }
        self.lead_itself();
        let own = self.applied_here();
        let Some(leading) = &mut self.leading else { return };
        let Some(everywhere) = leading.news(own, self.me.life, self.members.lives()) else { return };
        self.changes.everywhere(everywhere);
        let lives: Vec<Life> = self.members.lives().filter(|life| *life != self.me.life).collect();
        for life in lives {
            if self.links.get(life).is_some() {
                self.post(life, &ControlMessage::Everywhere(everywhere));
            }
        }
    }

    /// A leader asks nobody for its own place among the members and the live.
    fn lead_itself(&mut self) {
        let (node, life) = (self.me.node, self.me.life);
        if self.is_falling() {
            return;
        }
        // Its earlier lives may have been counted out like anybody's, before it had let their clients go.
        self.end_lingering_of(node);
        if self.is_live() {
            return;
        }
        let (joined, old) = match self.members.get(node) {
            Some(member) => (self.is_known_as(member), member.life),
            None => (false, None),
        };
        let Some(leading) = &mut self.leading else { return };
        if self.leaving.is_some() || !leading.claim(life) {
            return;
        }
        if !joined {
            let member = self.own_member();
            self.propose_node(NodeChange::Join { node, member });
        }
        if let Some(old) = old {
            self.propose_node(NodeChange::Gone { life: old, closed: true });
        }
        self.propose_node(NodeChange::Live { node, life });
    }

    /// Whether a member's entry says what this node is now.
    fn is_known_as(&self, member: &crate::members::Member) -> bool {
        let own = self.own_member();
        let there = self.me.address.is_none() || member.address == own.address;
        let same = (member.incarnation, member.shards, member.version);
        there && same == (own.incarnation, own.shards, own.version)
    }

    /// A node that came back somewhere else, or otherwise, says so.
    pub(super) fn tell_what_is_new(&mut self) {
        let news = self.members.get(self.me.node).is_some_and(|member| !self.is_known_as(member));
        if !news || self.joining.is_some() || self.leaving.is_some() {
            return;
        }
        let (node, incarnation) = (self.me.node, self.me.incarnation);
        match self.leader {
            Some(leader) if leader != node => {
                let request = Box::new(self.join_request(node, incarnation, None));
                self.post_to(leader, &ControlMessage::Join { asker: self.me.life, request });
            }
            Some(_) if self.leads_fully() => {
                let member = self.own_member();
                self.propose_node(NodeChange::Join { node, member });
            }
            _ => {}
        }
    }

    /// Ends the lives of which nothing is heard, or that are at odds with most.
    pub(super) fn look_as_leader(&mut self) {
        if !self.leads_fully() {
            return;
        }
        self.propose_again();
        let (now, spans, own) = (self.now, self.spans, self.me.life);
        let Some(leading) = &mut self.leading else { return };
        if let Some(life) =
            leading.odd_one(now, own, |life| self.links.get(life).is_some(), |life| self.members.node_of(life))
        {
            leading.drop_life(life, &spans);
        }
        let links = &self.links;
        let lives = self.members.lives().filter(|life| *life != own).map(|life| (life, links.get(life).is_some()));
        for life in leading.overdue(now, lives, &spans) {
            self.propose_node(NodeChange::Gone { life, closed: false });
        }
        self.next_look = self.next_look.min(now + LOOK_EVERY);
        self.look_at_members();
    }
}

//! Who belongs to the cluster: what the leader does about those who want to join, leave, or are to be removed, and how Raft's
//! own configuration follows the table of members.
//!
//! It is declarative: what is, is compared with what should be, and at most one step is proposed at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wrs_raft::{ChangeKind, ConfChange, Input, ProgressState};

use super::group::raft_id;
use super::links::Since;
use super::wire::{ControlMessage, JoinRefusal, JoinRequest, NODES_MAX};
use super::{Cluster, VERSION_MIN};
use crate::config::NodeAddress;
use crate::id::{Life, NodeId};
use crate::members::{Member, NodeChange};
use crate::time::Time;

/// The most nodes that vote; the others follow and serve clients all the same.
pub const VOTERS_MAX: usize = 7;
/// Entries that a learner may be behind when it is made a voter.
const PROMOTE_LAG: u64 = 256;
/// Requests to join that are under way, at most, and how long each is remembered.
const JOINS_MAX: usize = 64;
const JOIN_LASTS: Duration = Duration::from_secs(5);
/// How long one who was let in may be out of sight before it has lived: longer than it goes on asking.
const AWAITED_FOR: Duration = Duration::from_secs(20);
/// Between two tries to hand leadership over.
const HAND_OVER_EVERY: Duration = Duration::from_millis(500);

/// A node that wants to join.
#[derive(Debug)]
struct Newcomer {
    /// The link to the member that it asked, or to itself.
    via: Life,
    asker: Life,
    node: NodeId,
    incarnation: u64,
    since: Time,
}

/// What a leader knows of comings and goings.
#[derive(Debug, Default)]
pub(super) struct Comings {
    newcomers: Vec<Newcomer>,
    /// Nodes that are to be removed.
    removing: BTreeSet<NodeId>,
    /// Whose end of membership is proposed.
    proposed: BTreeSet<NodeId>,
    /// Those who were let in and have not lived yet, and when they were last seen.
    awaited: BTreeMap<NodeId, Time>,
    /// Lives that have ended and whose clients may linger, as long as this leader knows.
    lingering: Since<Life>,
    closed: BTreeSet<Life>,
    next_hand_over: Time,
}

impl Comings {
    /// A node is not to be removed after all, if that has not been proposed yet.
    pub(super) fn keep(&mut self, node: NodeId) {
        self.removing.remove(&node);
    }
}

impl Cluster {
    // Joining, at a member.

    /// A node wants to join: the member that it asks looks at what it can tell by itself, the leader does the rest.
    pub(super) fn heard_join(&mut self, via: Life, asker: Life, mut request: Box<JoinRequest>) {
        let Some(linked) = self.links.get(via) else { return };
        let refusal = if via == asker {
            let loopback = linked.from.ip().to_canonical().is_loopback();
            request.address = request.address.or_else(|| Some(linked.address()));
            self.refuse_join(&request, loopback)
        } else {
            None
        };
        if let Some(why) = refusal {
            return self.post(via, &ControlMessage::JoinRefused { asker, why });
        }
        if via == asker {
            self.learn_address(&request);
        }
        match self.leader {
            Some(leader) if leader == self.me.node && self.leads_fully() => self.take_newcomer(via, asker, &request),
            // From the member that was asked to the leader, and no further.
            Some(leader) if leader != self.me.node && via == asker => {
                if !self.post_to(leader, &ControlMessage::Join { asker, request }) {
                    self.post(via, &ControlMessage::JoinRefused { asker, why: JoinRefusal::NoLeader });
                }
            }
            _ => self.post(via, &ControlMessage::JoinRefused { asker, why: JoinRefusal::NoLeader }),
        }
    }

    fn refuse_join(&mut self, request: &JoinRequest, loopback: bool) -> Option<JoinRefusal> {
        let (oldest, newest) = request.versions;
        // What this node wanted by itself gives way to what another wants of it.
        self.give_up_joining();
        if self.group.is_none() || self.joining.is_some() {
            Some(JoinRefusal::NoCluster)
        } else if request.id_length != self.me.id_length {
            Some(JoinRefusal::IdLength)
        } else if newest < VERSION_MIN.max(self.version()) || oldest > self.config.protocol {
            Some(JoinRefusal::Version)
        } else if self.config.cluster_secret.is_none() && !loopback {
            Some(JoinRefusal::NotLoopback)
        } else if self.members.iter().count() >= NODES_MAX / 4 {
            Some(JoinRefusal::Full)
        } else {
            None
        }
    }

    /// The answer to a request goes back the way that it came.
    pub(super) fn pass_back(&mut self, asker: Life, message: &ControlMessage) {
        if self.links.get(asker).is_some() {
            self.post(asker, message);
        }
    }

    // Joining, at the leader.

    fn take_newcomer(&mut self, via: Life, asker: Life, request: &JoinRequest) {
        let Some(address) = request.address.clone() else { return };
        let address = NodeAddress { port: address.port.or(Some(request.port)), ..address };
        let known = self.members.get(request.node).is_some_and(|member| {
            member.incarnation == request.incarnation && member.address == address && member.shards == request.shards
        });
        if !known {
            self.evict(&address, request.node);
            let shards = request.shards.clamp(1, crate::config::SHARDS_MAX);
            let version = request.versions.1;
            let member = Member { incarnation: request.incarnation, address, shards, version, life: None };
            self.propose_node(NodeChange::Join { node: request.node, member });
            if let Some(leading) = self.leading.as_mut().filter(|_| self.members.get(request.node).is_none()) {
                leading.comings.awaited.insert(request.node, self.now);
            }
        }
        let newcomer = Newcomer { via, asker, node: request.node, incarnation: request.incarnation, since: self.now };
        let Some(leading) = &mut self.leading else { return };
        let comings = &mut leading.comings;
        comings.newcomers.retain(|other| other.asker != asker);
        if comings.newcomers.len() < JOINS_MAX {
            comings.newcomers.push(newcomer);
        }
        self.look_soon();
    }

    /// Whoever had this address is dead for good: another has taken it.
    fn evict(&mut self, address: &NodeAddress, newcomer: NodeId) {
        let old: Vec<(NodeId, Option<Life>)> = self
            .members
            .iter()
            .filter(|(node, member)| *node != newcomer && *node != self.me.node && member.address == *address)
            .map(|(node, member)| (node, member.life))
            .collect();
        for (node, life) in old {
            if let Some(life) = life {
                self.propose_node(NodeChange::Gone { life, closed: true });
            }
            self.propose_node(NodeChange::Leave(node));
        }
    }

    /// Whoever was let in and is never seen has given up before it could learn so: it is no member.
    fn let_phantoms_go(&mut self) {
        let now = self.now;
        let Some(leading) = &mut self.leading else { return };
        let (members, links, own) = (&self.members, &self.links, self.me.cluster);
        let mut gone = Vec::new();
        leading.comings.awaited.retain(|node, seen| {
            if links.is_in(*node, own) {
                *seen = now;
            }
            let late = now.since(*seen) >= AWAITED_FOR;
            match members.get(*node) {
                Some(member) if member.life.is_none() && late => gone.push(*node),
                Some(member) if member.life.is_none() => return true,
                None if !late => return true,
                Some(_) | None => {}
            }
            false
        });
        for node in gone {
            self.propose_node(NodeChange::Leave(node));
        }
    }

    /// Those whose joining is applied are told.
    fn welcome(&mut self) {
        let (now, Some(cluster)) = (self.now, self.me.cluster) else { return };
        let Some(leading) = &mut self.leading else { return };
        let members = &self.members;
        let mut welcome = Vec::new();
        leading.comings.newcomers.retain(|newcomer| {
            let joined = members.get(newcomer.node).is_some_and(|member| member.incarnation == newcomer.incarnation);
            if joined {
                welcome.push((newcomer.via, newcomer.asker, newcomer.node));
            }
            !joined && now.since(newcomer.since) < JOIN_LASTS
        });
        for (via, asker, node) in welcome {
            let members = self.members.iter().map(|(node, member)| (node, member.clone())).collect();
            let message = ControlMessage::Joined { asker, node, cluster, members };
            if self.links.get(via).is_some() {
                self.post(via, &message);
            } else {
                self.pass_back(asker, &message);
            }
        }
    }

    // Leaving.

    /// A node stops, and its clients are gone. All are told, so that none of those who leave hands over to another.
    pub(super) fn heard_leaving(&mut self, node: NodeId, life: Life, returns: bool) {
        if self.members.get(node).is_some() || self.leading.is_some() {
            self.leavers.insert(node, (life, returns));
            self.look_soon();
        }
    }

    /// A node lives: if it had left under another life, it is back.
    pub(super) fn is_back(&mut self, node: NodeId, life: Life) {
        if self.leavers.get(&node).is_some_and(|(left, _)| *left != life) {
            self.leavers.remove(&node);
            if let Some(leading) = &mut self.leading {
                leading.comings.proposed.remove(&node);
            }
        }
    }

    /// Whether a node is on its way out.
    pub(super) fn is_going(&self, node: NodeId) -> bool {
        let removed = self.leading.as_ref().is_some_and(|leading| leading.comings.removing.contains(&node));
        removed || self.leavers.contains_key(&node)
    }

    /// A node is to be a member no more.
    pub(super) fn heard_remove(&mut self, node: NodeId) {
        if self.members.get(node).is_none() {
            return;
        }
        if let Some(leading) = &mut self.leading {
            leading.comings.removing.insert(node);
            self.look_soon();
        }
    }

    /// Lets go whoever leaves or is to be removed.
    fn let_go(&mut self) {
        let Some(leading) = &mut self.leading else { return };
        let comings = &mut leading.comings;
        let going: BTreeMap<NodeId, (bool, bool)> = comings
            .removing
            .iter()
            .map(|node| (*node, (false, false)))
            .chain(self.leavers.iter().map(|(node, (_, returns))| (*node, (*returns, true))))
            .collect();
        for (node, (returns, closed)) in going {
            if node == self.me.node {
                self.hand_over();
                continue;
            }
            if !closed && !self.can_do_without(node) {
                continue;
            }
            match self.members.get(node).map(|member| member.life) {
                Some(Some(life)) => self.end_life_of_leaver(life, closed),
                Some(None) if returns => self.bid_farewell(node, true),
                Some(None) => {
                    let news = self.leading.as_mut().is_some_and(|leading| leading.comings.proposed.insert(node));
                    if news {
                        self.propose_node(NodeChange::Leave(node));
                    }
                }
                None => {
                    let in_conf = self.group.as_ref().is_some_and(|group| group.raft.conf().contains(raft_id(node)));
                    if !in_conf {
                        self.bid_farewell(node, false);
                    }
                }
            }
        }
    }

    /// Whether those who stay are a majority that this leader hears, so that a node which could stay may go.
    fn can_do_without(&self, node: NodeId) -> bool {
        self.group.as_ref().is_some_and(|group| {
            let change = ConfChange::single(ChangeKind::Remove, raft_id(node));
            !group.raft.conf().contains(raft_id(node)) || group.raft.keeps_quorum(&change)
        })
    }

    fn end_life_of_leaver(&mut self, life: Life, closed: bool) {
        let spans = self.spans;
        let Some(leading) = &mut self.leading else { return };
        if !closed {
            // It may still decide: it gets no further lease, and ends with the one it has.
            leading.drop_life(life, &spans);
        } else if leading.end_now(life, &spans) {
            self.propose_node(NodeChange::Gone { life, closed: true });
        }
    }

    fn bid_farewell(&mut self, node: NodeId, member: bool) {
        self.post_to(node, &ControlMessage::Farewell { member });
        self.leavers.remove(&node);
        if let Some(leading) = &mut self.leading {
            leading.comings.removing.remove(&node);
            leading.comings.proposed.remove(&node);
        }
    }

    /// Hands leadership to the voter that has come furthest.
    pub(super) fn hand_over(&mut self) {
        let Some(leading) = &mut self.leading else { return };
        if self.now < leading.comings.next_hand_over {
            return;
        }
        leading.comings.next_hand_over = self.now + HAND_OVER_EVERY;
        let Some(group) = &self.group else { return };
        let own = raft_id(self.me.node);
        let out = |node: NodeId| self.is_going(node) || self.links.life_of(node).is_none();
        let best = group
            .raft
            .conf()
            .all_voters()
            .filter(|node| *node != own && !out(NodeId(node.0)))
            .filter_map(|node| {
                let progress = group.raft.progress().get(node)?;
                progress.recent_active.then_some((progress.matched, node))
            })
            .max();
        if let Some((_, to)) = best {
            self.step(Input::TransferLeader { to });
        }
    }

    // What follows for Raft, and for those who linger.

    /// The leader's look at comings and goings.
    pub(super) fn look_at_members(&mut self) {
        self.welcome();
        self.let_phantoms_go();
        self.let_go();
        self.end_lingering();
        if self.members.get(self.me.node).is_none() && self.is_settled_member() {
            self.hand_over();
        }
        if let Some(change) = self.next_step() {
            self.step(Input::ProposeConf { ticket: wrs_raft::Ticket(0), change });
        }
    }

    /// Whether this node had been a member before it led.
    fn is_settled_member(&self) -> bool {
        self.members.iter().next().is_some()
    }

    /// The one step that brings Raft's configuration nearer to the members.
    fn next_step(&self) -> Option<ConfChange> {
        let raft = &self.group.as_ref()?.raft;
        if !raft.conf_settled() {
            return None;
        }
        let conf = raft.conf();
        let strange = conf.members().into_iter().find(|node| self.members.get(NodeId(node.0)).is_none());
        let waits = |node: NodeId| {
            let asked = self.leading.as_ref().is_some_and(|leading| leading.comings.removing.contains(&node));
            asked && !self.can_do_without(node)
        };
        if let Some(node) = strange.filter(|node| *node != raft_id(self.me.node) && !waits(NodeId(node.0))) {
            return Some(ConfChange::single(ChangeKind::Remove, node));
        }
        let missing = self.members.iter().map(|(node, _)| node).find(|node| !conf.contains(raft_id(*node)));
        if let Some(node) = missing.filter(|node| !self.is_going(*node)) {
            return Some(ConfChange::single(ChangeKind::AddLearner, raft_id(node)));
        }
        if conf.voters.len() >= VOTERS_MAX {
            return None;
        }
        let last = raft.log().last_index();
        let ready = |node: &&wrs_raft::NodeId| {
            let progress = raft.progress().get(**node);
            let near = progress.is_some_and(|progress| {
                let replicates = progress.state == ProgressState::Replicate && progress.recent_active;
                replicates && progress.matched + PROMOTE_LAG >= last
            });
            let node = NodeId(node.0);
            let live = self.members.get(node).is_some_and(|member| member.life.is_some());
            near && live && !self.is_going(node)
        };
        let node = conf.learners.iter().find(ready)?;
        let change = ConfChange::single(ChangeKind::AddVoter, *node);
        raft.keeps_quorum(&change).then_some(change)
    }

    /// The clients of lives that have ended have noticed by themselves by now.
    fn end_lingering(&mut self) {
        let (now, wait) = (self.now, self.spans.out + self.spans.out / 10);
        let Some(leading) = &mut self.leading else { return };
        let comings = &mut leading.comings;
        comings.lingering.are(now, self.members.lingering());
        let over: Vec<Life> = comings.lingering.before(now - wait).collect();
        let over: Vec<Life> = over.into_iter().filter(|life| comings.closed.insert(*life)).collect();
        for life in over {
            self.propose_node(NodeChange::Closed(life));
        }
    }

    /// A node lives under another life now: the clients of its earlier ones are gone.
    pub(super) fn end_lingering_of(&mut self, node: NodeId) {
        let Some(leading) = &mut self.leading else { return };
        let (ended, comings) = (&self.ended, &mut leading.comings);
        let lives: Vec<Life> = self
            .members
            .lingering()
            .filter(|life| ended.get(life) == Some(&node) && comings.closed.insert(*life))
            .collect();
        for life in lives {
            self.propose_node(NodeChange::Closed(life));
        }
    }
}

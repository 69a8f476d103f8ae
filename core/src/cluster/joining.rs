//! How this node becomes a member of a cluster that is there, and how it stops being one.
//!
//! A node that joins begins anew: under another name for Raft, with another life and without what it had before. So nothing
//! that an earlier stay had promised can be taken for its own. Rule guarded: a node never leaves a cluster, or loses channels,
//! unless it is told to with force.

use std::time::Duration;

use wrs_raft::{Boot, EntryKind};

use super::codec::{self, VERSION_MIN};
use super::deed::{Deed, Done, Refused, State};
use super::wire::{ControlMessage, JoinRefusal, JoinRequest};
use super::{Changes, Cluster, Members, Snapshots, Transfers, draw};
use crate::config::NodeAddress;
use crate::id::{Life, NodeId};
use crate::members::Member;
use crate::peer::Ticket;
use crate::time::Time;

/// How long an attempt to join may take.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the request is repeated.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// After a refusal, how long this node waits before it tries again by itself.
pub(super) const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// How long a node waits for a sight of its cluster before it may begin anew: as long as a leader waits for one it has let in.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(20);
/// How long a node that leaves waits for one that it has no link to.
const GONE_AFTER: Duration = Duration::from_secs(1);

/// An attempt to join.
#[derive(Debug)]
pub(super) struct Joining {
    address: NodeAddress,
    /// Who wants it; `None`: this node itself.
    ticket: Option<Ticket>,
    since: Time,
    next_ask: Time,
    /// Whether channels may be lost, and another cluster left.
    force: bool,
    /// Whether this node has asked: from then on it takes no change that it might lose.
    asked: bool,
    /// Who this node will be there.
    node: NodeId,
    incarnation: u64,
    /// What was wrong last.
    why: Option<Refused>,
}

/// A request of an operator that the leader answers by doing it.
#[derive(Debug)]
pub(super) struct Removing {
    ticket: Ticket,
    node: NodeId,
    since: Time,
    next_ask: Time,
}

impl Cluster {
    /// An operator wants this node to join the cluster of whoever is at `address`. The answer is a [`Deed::Answer`].
    pub fn join(&mut self, now: Time, ticket: Ticket, address: NodeAddress, force: bool) {
        self.now = now;
        let others = self.members.iter().any(|(node, _)| node != self.me.node);
        let refused = if self.joining.as_ref().is_some_and(|joining| joining.ticket.is_some()) || self.leaving.is_some()
        {
            Some(Refused::Busy)
        } else if !force && self.channels > 0 {
            Some(Refused::WouldLoseChannels)
        } else if !force && others {
            Some(Refused::WouldLeaveCluster)
        } else {
            None
        };
        // Where it is a member already there is nothing to lose.
        let address = NodeAddress { port: address.port.or(Some(self.config.node_port)), ..address };
        let there = self.members.iter().any(|(_, member)| member.address == address);
        match refused {
            _ if there && self.is_live() => self.answer(ticket, Ok(Done::Joined)),
            Some(refused) => self.answer(ticket, Err(refused)),
            None => self.begin_joining(address, Some(ticket), force),
        }
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Result<Done, Refused>) {
        self.deeds.push_back(Deed::Answer { ticket, answer });
    }

    pub(super) fn begin_joining(&mut self, address: NodeAddress, ticket: Option<Ticket>, force: bool) {
        let (node, incarnation) = (NodeId(draw(&mut self.random)), draw(&mut self.random));
        let since = self.now;
        let joining =
            Joining { address, ticket, since, next_ask: since, force, asked: false, node, incarnation, why: None };
        self.joining = Some(joining);
        self.look_soon();
    }

    /// Whether this node has asked to join, and so what it has may be lost.
    pub(super) fn is_about_to_join(&self) -> bool {
        self.joining.as_ref().is_some_and(|joining| joining.asked)
    }

    /// From now on this node takes no change that it might lose.
    pub(super) fn has_asked_to_join(&mut self) {
        if let Some(joining) = &mut self.joining {
            joining.asked = true;
        }
    }

    /// The life that this node tries to join through, once it is known.
    pub(super) fn joining_through(&self) -> Option<(Life, NodeAddress)> {
        let joining = self.joining.as_ref()?;
        let found = self.meetings.found(&joining.address).filter(|found| found.at >= joining.since)?;
        let who = found.who.as_ref().ok()?;
        Some((who.life, joining.address.clone()))
    }

    /// Goes on with an attempt to join.
    pub(super) fn look_at_joining(&mut self) {
        let Some(joining) = &self.joining else { return };
        if self.now.since(joining.since) >= JOIN_TIMEOUT {
            return self.end_joining(Err(joining.why.clone().unwrap_or(Refused::TimedOut)));
        }
        let (address, since) = (joining.address.clone(), joining.since);
        let found = self.meetings.found(&address).filter(|found| found.at >= since).map(|found| found.who.clone());
        match found {
            Some(Ok(who)) if who.node == self.me.node || (who.cluster.is_some() && who.cluster == self.me.cluster) => {
                self.end_joining(Ok(Done::Joined));
            }
            Some(Ok(who)) if self.links.get(who.life).is_some() => self.ask_to_join(who.life),
            Some(Ok(_)) => self.meet(&address, ASK_EVERY),
            // It will not be otherwise soon.
            Some(Err(why)) if why.is_disagreement() => {
                self.end_joining(Err(Refused::Unreachable(why.to_string())));
            }
            Some(Err(why)) => {
                if let Some(joining) = &mut self.joining {
                    joining.why = Some(Refused::Unreachable(why.to_string()));
                }
                self.meet(&address, ASK_EVERY);
            }
            None => self.meet(&address, ASK_EVERY),
        }
    }

    fn ask_to_join(&mut self, through: Life) {
        let Some(joining) = &mut self.joining else { return };
        if self.now < joining.next_ask {
            return;
        }
        if !joining.force && self.channels > 0 {
            return self.end_joining(Err(Refused::WouldLoseChannels));
        }
        joining.asked = true;
        joining.next_ask = self.now + ASK_EVERY;
        let (node, incarnation, reached) = (joining.node, joining.incarnation, joining.address.clone());
        let request = Box::new(self.join_request(node, incarnation, Some(reached)));
        self.post(through, &ControlMessage::Join { asker: self.me.life, request });
    }

    /// What this node says of itself as a member.
    pub(super) fn join_request(&self, node: NodeId, incarnation: u64, reached: Option<NodeAddress>) -> JoinRequest {
        JoinRequest {
            node,
            incarnation,
            address: self.me.address.clone(),
            port: self.me.port,
            shards: self.me.shards,
            id_length: self.me.id_length,
            versions: (VERSION_MIN, self.config.protocol),
            reached,
        }
    }

    /// This node, which may not know its own address, was reached under one.
    pub(super) fn learn_address(&mut self, request: &JoinRequest) {
        if let (None, Some(reached)) = (&self.me.address, &request.reached) {
            self.me.address = Some(reached.clone());
            self.introduce();
        }
    }

    pub(super) fn heard_join_refused(&mut self, asker: Life, why: JoinRefusal) {
        if asker != self.me.life {
            return self.pass_back(asker, &ControlMessage::JoinRefused { asker, why });
        }
        let Some(joining) = &mut self.joining else { return };
        match why {
            // It may be otherwise soon.
            JoinRefusal::NoCluster | JoinRefusal::NoLeader => joining.why = Some(Refused::NotAccepted(why)),
            JoinRefusal::IdLength | JoinRefusal::Version | JoinRefusal::NotLoopback | JoinRefusal::Full => {
                self.end_joining(Err(Refused::NotAccepted(why)));
            }
        }
    }

    pub(super) fn heard_joined(&mut self, asker: Life, node: NodeId, cluster: u64, members: Vec<(NodeId, Member)>) {
        if asker != self.me.life {
            return self.pass_back(asker, &ControlMessage::Joined { asker, node, cluster, members });
        }
        if self.joining.as_ref().is_none_or(|joining| joining.node != node) || self.failed.is_some() {
            return;
        }
        let Some(joining) = &self.joining else { return };
        let incarnation = joining.incarnation;
        if !joining.force && self.channels > 0 {
            // One was under way when this node asked. Those who have let it in see nothing of it, and let it go.
            return self.end_joining(Err(Refused::WouldLoseChannels));
        }
        self.note_end_of_cluster();
        self.begin_anew(node, incarnation);
        // Who is live is told by the log. What is told here may be ahead of the snapshot that comes first, and a life that is
        // not in that one yet would count as ended.
        let known = members.into_iter().map(|(node, member)| (node, Member { life: None, ..member })).collect();
        self.members = Members::restore(0, known, Default::default());
        if let Err(why) = self.enter(cluster, Boot::empty()) {
            return self.fail(why.to_string());
        }
        self.introduce();
        self.end_joining(Ok(Done::Joined));
    }

    /// Drops an attempt that nobody but this node wanted.
    pub(super) fn give_up_joining(&mut self) {
        if self.group.is_some() && self.joining.as_ref().is_some_and(|joining| joining.ticket.is_none()) {
            self.end_joining(Err(Refused::Busy));
        }
    }

    fn end_joining(&mut self, answer: Result<Done, Refused>) {
        let Some(joining) = self.joining.take() else { return };
        if answer.is_err() {
            self.next_try = self.now + TRY_AGAIN_AFTER;
        }
        if let Some(ticket) = joining.ticket {
            self.answer(ticket, answer);
        }
        self.look_soon();
    }

    /// Forgets the cluster that this node is in, and who it was there.
    pub(super) fn begin_anew(&mut self, node: NodeId, incarnation: u64) {
        (self.me.node, self.me.incarnation, self.me.cluster) = (node, incarnation, None);
        let had_group = self.group.take().is_some();
        self.end_log();
        self.base += self.handed;
        (self.handed, self.applied, self.applied_told) = (0, 0, 0);
        self.changes.life_lost();
        let told = self.changes.take_told();
        self.changes = Changes::default();
        self.changes.tell_all(told);
        self.members = Members::new();
        (self.leading, self.leader) = (None, None);
        self.snapshots = Snapshots::default();
        self.transfers = Transfers::default();
        self.forming.forget();
        if had_group {
            self.channels = 0;
        }
        self.begin_life();
        // Behind the end of the old life: its clients are told of that, and not that their channels were deleted.
        if had_group {
            self.deeds.push_back(Deed::Restore(Box::new(State {
                number: self.base,
                channels: Vec::new(),
                left: true,
            })));
        }
    }

    /// A node that sees no other member for long, and that nobody can count on, begins anew: its cluster has ended or has moved
    /// without it. That is one which was let in and has heard no word of the log yet; and one that knows of no channel, applied or
    /// under way, when there is another node at the address of each voter.
    pub(super) fn look_whether_forgotten(&mut self) {
        let waits = self.joining.is_none() && self.leaving.is_none() && !self.is_alone();
        let sees = |node| node != self.me.node && self.links.is_in(node, self.me.cluster);
        let Some(group) = self.group.as_ref().filter(|_| waits && !self.members.iter().any(|(node, _)| sees(node)))
        else {
            self.seen_others = None;
            return;
        };
        if self.now.since(*self.seen_others.get_or_insert(self.now)) < FORGOTTEN_AFTER {
            return;
        }
        let log = group.raft.log();
        let under_way = log.slice(log.applied() + 1, log.last_index(), u64::MAX);
        let of_channels = |payload| codec::decode(payload).is_none_or(|logged| logged.is_of_a_shard());
        let changes = |entry: &wrs_raft::Entry| entry.kind == EntryKind::Normal && !entry.payload.is_empty();
        let empty = self.channels == 0 && !under_way.iter().any(|entry| changes(entry) && of_channels(&entry.payload));
        let moved = || group.raft.conf().all_voters().all(|node| self.is_elsewhere(NodeId(node.0)));
        if log.last_index() == 0 || empty && moved() {
            self.seen_others = None;
            self.removed();
        }
    }

    /// This node is no member any more although it did not want to leave.
    pub(super) fn removed(&mut self) {
        let (node, incarnation) = (NodeId(draw(&mut self.random)), draw(&mut self.random));
        self.begin_anew(node, incarnation);
        self.introduce();
        if let Err(why) = self.form() {
            self.fail(why.to_string());
        }
    }

    // Removing others.

    /// An operator wants `node` to be a member no more. The answer is a [`Deed::Answer`].
    pub fn remove(&mut self, now: Time, ticket: Ticket, node: NodeId) {
        self.now = now;
        if self.members.get(node).is_none() {
            return self.answer(ticket, Err(Refused::NoSuchNode));
        }
        self.removing.push(Removing { ticket, node, since: now, next_ask: now });
        self.look_soon();
    }

    pub(super) fn look_at_removing(&mut self) {
        let mut removing = std::mem::take(&mut self.removing);
        removing.retain_mut(|removing| {
            if self.members.get(removing.node).is_none() {
                self.answer(removing.ticket, Ok(Done::Removed));
                return false;
            }
            if self.now.since(removing.since) >= JOIN_TIMEOUT {
                let why = if self.leader.is_some() { Refused::TimedOut } else { Refused::NoLeader };
                self.answer(removing.ticket, Err(why));
                return false;
            }
            if self.now >= removing.next_ask {
                removing.next_ask = self.now + ASK_EVERY;
                self.ask_to_remove(removing.node);
            }
            true
        });
        self.removing.append(&mut removing);
    }

    /// Tells the leader, if there is one, that `node` is to be a member no more.
    pub(super) fn ask_to_remove(&mut self, node: NodeId) {
        match self.leader {
            Some(leader) if leader == self.me.node => self.heard_remove(node),
            Some(leader) => {
                self.post_to(leader, &ControlMessage::Remove(node));
            }
            None => {}
        }
    }

    // Leaving.

    /// The node stops, and its clients are gone: it hands over what it leads and leaves the cluster, or with a data directory is
    /// away until it comes back. [`Deed::Left`] follows, if not in time then never: go all the same.
    pub fn drain(&mut self, now: Time) {
        self.now = now;
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some(now);
        self.joining = None;
        if self.group.is_none() || self.members.iter().all(|(node, _)| node == self.me.node) {
            self.left();
        }
        self.look_soon();
    }

    pub(super) fn left(&mut self) {
        if !std::mem::replace(&mut self.has_left, true) {
            self.deeds.push_back(Deed::Left);
        }
    }

    pub(super) fn look_at_leaving(&mut self) {
        let Some(next) = self.leaving.filter(|_| !self.has_left) else { return };
        if !self.anybody_stays() {
            return self.left();
        }
        if self.now < next {
            return;
        }
        self.leaving = Some(next.max(self.now) + ASK_EVERY / 2);
        let others: Vec<NodeId> =
            self.members.iter().map(|(node, _)| node).filter(|node| *node != self.me.node).collect();
        for node in others {
            self.post_to(node, &ControlMessage::Leaving { returns: self.is_kept() });
        }
        if self.leader == Some(self.me.node) {
            self.hand_over();
        }
    }

    /// Whether there is a node left that this one, which leaves, could be missed by. In memory those that leave as well are
    /// none; with a data directory the leader puts down first that they are away.
    fn anybody_stays(&self) -> bool {
        let lost = |life: Life| self.unlinked.before(self.now - GONE_AFTER).any(|other| other == life);
        self.members.iter().filter(|(node, _)| *node != self.me.node).any(|(node, member)| {
            let leaves = !self.is_kept() && self.leavers.contains_key(&node);
            let linked = self.links.life_of(node).is_some();
            !leaves && (linked || member.life.is_some_and(|life| !lost(life)))
        })
    }

    pub(super) fn heard_farewell(&mut self, member: bool) {
        if self.leaving.is_some() {
            self.left();
        } else if !member && self.group.is_some() {
            let yielding = self.yielding.take();
            self.removed();
            if let Some(yielding) = yielding {
                self.go_where_it_yields_to(yielding);
            }
        }
    }
}

//! The control plane of a node: what the nodes agree on, and who they are.
//!
//! [`Cluster`] owns Raft and the table of members. It puts changes in order and says when all have applied them, counts who is
//! live, founds and joins clusters, and keeps the log where there is a data directory. It lives on shard 0, is told what happened
//! and when, and says [`Deed`]s. It never knows a socket, a client or a message of one, and it keeps no channel: the shard has
//! the catalogue and applies what it is given.
//!
//! Rules guarded: a change is told once, "503" only if it was certainly not made, and a success only when every live node has
//! applied it; a life is ended only when it holds no lease; a node founds a cluster only where no other can.
//!
//! # The loop
//!
//! Give what happened to one of the methods, then do all of [`Cluster::next_deed`], in order, until it says `None`; at
//! [`Cluster::deadline`] give [`Cluster::timeout`]. What is given together costs one message and one write.

mod changes;
pub mod codec;
mod deed;
mod disk;
mod fields;
mod forming;
mod group;
mod joining;
mod leader;
mod lease;
mod links;
mod membership;
mod operate;
mod recovery;
mod snapshot;
mod transfer;
pub mod wire;
mod yielding;

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod forming_tests;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod yielding_tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::action::FileName;
use crate::catalogue::{Command, Outcome};
use crate::config::{Config, NodeAddress};
use crate::event::Event;
use crate::gate::{Introduction, LinkEnd, LinkFault};
use crate::id::{DialId, Life, NodeId, ShardId};
use crate::members::{Member, Members, NodeChange};
use crate::peer::Ticket;
use crate::random::Random;
use crate::time::Time;

use changes::Changes;
use codec::Logged;
use disk::Disk;
use forming::Forming;
use group::Group;
use joining::{Joining, Removing};
use lease::{Leading, Lease, Spans};
use links::{Links, Meetings, Since};
use recovery::Recovery;
use snapshot::Snapshots;
use transfer::Transfers;
use yielding::Yielding;

pub use codec::{Unspoken, VERSION, VERSION_MIN};
pub use deed::{Deed, Done, NotReady, Part, Refused, StartError, State};
pub use membership::VOTERS_MAX;
pub use wire::{ControlMessage, Greeting, JoinRefusal, JoinRequest, Refusal};

/// Between two looks at what needs no exact time, while there is anything to look at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between two attempts to find out who is at a member's address.
const MEET_EVERY: Duration = Duration::from_secs(1);
/// How long a link with a node that is no member, and that nothing is wanted from, is kept: longer than a join takes.
const STRANGERS_STAY: Duration = Duration::from_secs(20);
/// How often one input may stir things up before the rest waits for the next.
const TURNS_MAX: usize = 64;

/// What a node starts its control plane from.
#[derive(Debug)]
pub struct Start {
    /// Where all chance comes from: a stream of its own.
    pub random: Random,
    /// What this node tells others to dial; `None`: whatever they see.
    pub address: Option<NodeAddress>,
    /// The cluster port that it listens on.
    pub port: u16,
    /// Whole files of the data directory; `None` keeps all state in memory.
    pub stored: Option<Vec<(FileName, Bytes)>>,
    /// For simulations: a cluster that is there from the beginning. All of these nodes start with the same list, and each
    /// says which it is; nobody has a life yet.
    pub founders: Option<Founders>,
}

/// A cluster that is there from the beginning.
#[derive(Clone, Debug)]
pub struct Founders {
    /// The cluster's id, never 0.
    pub cluster: u64,
    /// Which of them this node is.
    pub own: NodeId,
    /// All of them.
    pub members: Vec<(NodeId, Member)>,
}

impl Founders {
    /// The members before anybody is live.
    pub fn table(&self) -> Members {
        Members::restore(0, self.members.iter().cloned().collect(), Default::default())
    }
}

/// The control plane of one node.
#[derive(Debug)]
pub struct Cluster {
    config: Arc<Config>,
    spans: Spans,
    random: Random,
    now: Time,
    /// What this node says of itself.
    me: Introduction,
    group: Option<Group>,
    members: Members,
    changes: Changes,
    lease: Lease,
    snapshots: Snapshots,
    transfers: Transfers,
    disk: Option<Disk>,
    leading: Option<Leading>,
    /// Whom this node takes for the leader.
    leader: Option<NodeId>,
    links: Links,
    /// Links with lives that this node has no business with.
    strange: Since<Life>,
    meetings: Meetings,
    expected: Vec<(Life, NodeAddress)>,
    /// Live nodes that this node has no link to.
    unlinked: Since<Life>,
    deeds: VecDeque<Deed>,
    forming: Forming,
    joining: Option<Joining>,
    removing: Vec<Removing>,
    recovery: Recovery,
    /// Another cluster that this node is about to leave its own for.
    yielding: Option<Yielding>,
    /// When this node has seen another member of its cluster last, or has begun to look for one.
    seen_others: Option<Time>,
    /// Clusters that this node was the last of.
    bygone: VecDeque<u64>,
    /// When this node says next that it leaves; `None` while it stays.
    leaving: Option<Time>,
    /// Nodes that have said that they leave, as which life, and whether they come back.
    leavers: BTreeMap<NodeId, (Life, bool)>,
    has_left: bool,
    /// Before when this node does not try by itself to join or found.
    next_try: Time,
    /// Whose each life was that has ended and may linger.
    ended: BTreeMap<Life, NodeId>,
    /// What is added to the log's numbers, so that those of a later cluster are above those of an earlier one.
    base: u64,
    /// The number of the last change that was handed to the shard, and of the last that all shards have applied.
    handed: u64,
    applied: u64,
    /// What was said last of it to the leader.
    applied_told: u64,
    next_alive: Time,
    /// How many lives of this node have ended, and of how many all its shards have let the clients go.
    falls: u64,
    fallen: u64,
    next_look: Time,
    /// Whether something has happened that is to be looked at.
    restless: bool,
    /// Whether this node may want to be linked with others than it said.
    expects_anew: bool,
    next_complaint: Time,
    next_news: Time,
    /// Whether something was not said to the leader because its link took nothing.
    unposted: bool,
    /// How many channels there are.
    channels: u64,
    /// Why this node cannot go on.
    failed: Option<String>,
}

impl Cluster {
    /// A node as of `now`. One that stands alone founds its cluster at once.
    ///
    /// # Errors
    /// The data directory cannot be gone on with, or the settings do not fit.
    pub fn new(config: &Arc<Config>, start: Start, now: Time) -> Result<Self, StartError> {
        let Start { mut random, address, port, stored, founders } = start;
        let (node, life) = first_names(&mut random);
        let me = Introduction {
            node: founders.as_ref().map_or(node, |founders| founders.own),
            life,
            incarnation: draw(&mut random),
            cluster: None,
            id_length: u8::try_from(config.id_length).unwrap_or(u8::MAX),
            shards: config.shards.max(1),
            address,
            port,
            channels: false,
        };
        let mut cluster = Cluster {
            spans: Spans::of(config),
            config: Arc::clone(config),
            random,
            now,
            me,
            group: None,
            members: Members::new(),
            changes: Changes::default(),
            lease: Lease::default(),
            snapshots: Snapshots::default(),
            transfers: Transfers::default(),
            disk: None,
            leading: None,
            leader: None,
            links: Links::default(),
            strange: Since::default(),
            meetings: Meetings::default(),
            expected: Vec::new(),
            unlinked: Since::default(),
            deeds: VecDeque::new(),
            forming: Forming::default(),
            joining: None,
            removing: Vec::new(),
            recovery: Recovery::default(),
            yielding: None,
            seen_others: None,
            bygone: VecDeque::new(),
            leaving: None,
            leavers: BTreeMap::new(),
            has_left: false,
            next_try: now,
            ended: BTreeMap::new(),
            base: 0,
            handed: 0,
            applied: 0,
            applied_told: 0,
            next_alive: now,
            falls: 0,
            fallen: 0,
            next_look: now,
            restless: true,
            expects_anew: true,
            next_complaint: now,
            next_news: now,
            unposted: false,
            channels: 0,
            failed: None,
        };
        cluster.deeds.push_back(Deed::Life(cluster.me.life));
        let kept = match stored {
            Some(files) => Some(disk::read(files, &mut cluster.random)?),
            None => None,
        };
        let back = match kept {
            Some(kept) => cluster.begin_kept(kept)?,
            None => false,
        };
        match founders {
            _ if back => cluster.begin_to_probe(),
            Some(founders) => cluster.begin_with(founders)?,
            None => cluster.form()?,
        }
        cluster.introduce();
        Ok(cluster)
    }

    // What happens.

    /// A shard wants this change. Its fate is told by [`Deed::Settle`], once.
    pub fn propose(&mut self, now: Time, from: ShardId, ticket: Ticket, command: Command) {
        self.now = now;
        let asker = (from, ticket);
        let stays = !self.is_about_to_join() && self.leaving.is_none();
        let may = self.leader.is_some() && self.lease.holds(now) && self.failed.is_none() && stays;
        let Some(seq) = may.then(|| self.changes.number()).flatten() else {
            return self.changes.refuse(asker);
        };
        let logged = Logged { from: Some((self.me.life, seq)), command };
        match codec::encode(&logged, self.version()) {
            Ok(bytes) => self.changes.add(now, seq, asker, bytes),
            Err(Unspoken { .. }) => self.changes.refuse(asker),
        }
    }

    /// What applying a change did to the catalogue. Call it at once for each [`Deed::Apply`].
    pub fn outcome(&mut self, number: u64, outcome: Outcome) {
        match outcome {
            Outcome::Created => self.channels += 1,
            Outcome::Deleted => self.channels = self.channels.saturating_sub(1),
            Outcome::Emptied => self.channels = 0,
            Outcome::Taken
            | Outcome::Full
            | Outcome::TooOften
            | Outcome::Absent
            | Outcome::Noted
            | Outcome::NoLeader
            | Outcome::Unknown => {}
        }
        self.changes.outcome(number.saturating_sub(self.base), outcome);
    }

    /// Every shard of this node has applied all changes up to this number.
    pub fn applied(&mut self, now: Time, number: u64) {
        self.now = now;
        self.applied = self.applied.max(number.saturating_sub(self.base));
    }

    /// A link to another life is up, whoever began it.
    pub fn link_up(&mut self, now: Time, life: Life, introduction: &Introduction, from: SocketAddr) {
        self.now = now;
        self.links.up(life, introduction.clone(), from);
        self.is_back(introduction.node, life);
        if self.leader == Some(introduction.node) {
            self.meet_leader();
        }
        self.greet(life);
        self.tell_bygone(life);
        self.look_soon();
    }

    /// A node that is linked has something else to say of itself.
    pub fn link_told(&mut self, now: Time, life: Life, introduction: &Introduction) {
        self.now = now;
        if let Some(linked) = self.links.get_mut(life) {
            linked.introduction = introduction.clone();
            self.greet(life);
            self.tell_bygone(life);
        }
        self.look_soon();
    }

    /// It is down; it may come up again.
    pub fn link_down(&mut self, now: Time, life: Life) {
        self.now = now;
        if let Some(node) = self.links.down(life) {
            self.step(wrs_raft::Input::Unreachable { peer: wrs_raft::NodeId(node.0) });
        }
        self.look_soon();
    }

    /// Who is at the address of a [`Deed::Meet`].
    pub fn met(&mut self, now: Time, dial: DialId, introduction: &Introduction, from: SocketAddr) {
        self.now = now;
        let _ = from;
        self.meetings.ended(now, dial, Ok(introduction.clone()));
        self.look_soon();
    }

    /// At the address of `life`, which a link is wanted with, there is another.
    pub fn succeeded(&mut self, now: Time, life: Life, introduction: &Introduction) {
        self.now = now;
        let at = self.members.iter().find(|(_, member)| member.life == Some(life));
        if let Some(address) = at.map(|(_, member)| member.address.clone()) {
            self.meetings.note(now, address, introduction.clone());
            self.look_soon();
        }
    }

    /// Nobody is, or nobody who can be understood; or this node itself.
    pub fn unmet(&mut self, now: Time, dial: DialId, why: &LinkEnd) {
        self.now = now;
        let who = match why {
            LinkEnd::Fault(LinkFault::Oneself) | LinkEnd::Refused(LinkFault::Oneself) => Ok(self.me.clone()),
            why => Err(why.clone()),
        };
        self.meetings.ended(now, dial, who);
    }

    /// The control plane of another node says this, over a link that is up.
    pub fn heard(&mut self, now: Time, life: Life, bytes: &Bytes) {
        self.now = now;
        if self.failed.is_none()
            && let Some(message) = wire::decode(bytes)
        {
            self.heard_message(life, message);
        }
    }

    /// The time of [`Cluster::deadline`] has come. Harmless at any other.
    pub fn timeout(&mut self, now: Time) {
        self.now = now;
        if self.failed.is_some() {
            return self.changes.time_out(now, Duration::ZERO);
        }
        if self
            .group
            .as_ref()
            .is_some_and(|group| group.raft.deadline().is_some_and(|at| at.as_nanos() <= now.as_nanos()))
        {
            self.step(wrs_raft::Input::Timeout);
        }
        self.changes.time_out(now, self.spans.change);
        if self.snapshots.is_making() {
            self.deeds.push_back(Deed::Slice);
        }
        if now >= self.next_look {
            self.next_look = now + LOOK_EVERY;
            (self.restless, self.expects_anew) = (false, true);
            self.look();
        }
    }

    // What is to be done.

    /// The next thing to do, front to back; `None`: nothing for now.
    pub fn next_deed(&mut self) -> Option<Deed> {
        if self.deeds.is_empty() {
            self.settle();
        }
        let deed = self.deeds.pop_front();
        if let Some(Deed::Apply { command, .. }) = &deed {
            self.snapshots.note(command);
        }
        deed
    }

    /// When [`Cluster::timeout`] is due, once there are no deeds left.
    pub fn deadline(&self) -> Option<Time> {
        if self.failed.is_some() {
            return None;
        }
        let group = self.group.as_ref().filter(|_| !self.is_alone());
        let raft = group.and_then(|group| group.raft.deadline()).map(|at| Time::from_nanos(at.as_nanos()));
        let busy = self.joining.is_some() || !self.removing.is_empty() || self.links.iter().next().is_some();
        let waits = self.restless || busy || !self.is_alone();
        let look =
            if waits { Some(self.next_look) } else { self.forming.next_probe().map(|at| at.max(self.next_look)) };
        let follows = self.leader.is_some_and(|leader| leader != self.me.node && self.can_send());
        let alive = (follows && !self.is_falling()).then_some(self.next_alive);
        let slice = self.snapshots.is_making().then_some(self.now);
        [raft, look, alive, slice, self.changes.deadline(self.spans.change)].into_iter().flatten().min()
    }

    // What can be seen.

    /// Who is in the cluster.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.me.node
    }

    /// Its present life.
    pub fn life(&self) -> Life {
        self.me.life
    }

    /// What it says of itself.
    pub fn introduction(&self) -> &Introduction {
        &self.me
    }

    /// The cluster that it is in.
    pub fn cluster(&self) -> Option<u64> {
        self.me.cluster
    }

    /// Whom this node takes for the leader.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// The term of the last election that this node has heard of; 0 before any.
    pub fn term(&self) -> u64 {
        self.group.as_ref().map_or(0, |group| group.raft.term())
    }

    /// What this node is in its cluster.
    pub fn part(&self) -> Part {
        let Some(group) = &self.group else { return Part::Starting };
        let own = wrs_raft::NodeId(self.me.node.0);
        match group.raft.role() {
            wrs_raft::Role::Leader => Part::Leader,
            wrs_raft::Role::PreCandidate | wrs_raft::Role::Candidate => Part::Candidate,
            wrs_raft::Role::Follower if group.raft.conf().is_voter(own) => Part::Follower,
            wrs_raft::Role::Follower => Part::Learner,
        }
    }

    /// Until when this node may decide and read.
    pub fn lease_until(&self) -> Time {
        self.lease.told()
    }

    /// How far the log is known to be agreed on, and how far it is applied here.
    pub fn indexes(&self) -> (u64, u64) {
        self.group.as_ref().map_or((0, 0), |group| (group.raft.log().committed(), self.applied_here()))
    }

    // The inside.

    /// The newest version that every member speaks: the one that the log is written in.
    pub fn version(&self) -> u8 {
        let own = self.config.protocol;
        self.members.iter().map(|(_, member)| member.version).min().unwrap_or(own).min(own)
    }

    /// Whether nobody else is in the cluster, so that nothing waits for a time.
    pub fn is_alone(&self) -> bool {
        self.group.is_some() && self.members.iter().all(|(node, _)| node == self.me.node) && self.leader.is_some()
    }

    /// Whether there is a data directory.
    fn is_kept(&self) -> bool {
        self.disk.is_some()
    }

    fn is_live(&self) -> bool {
        self.members.node_of(self.me.life) == Some(self.me.node)
    }

    fn look_soon(&mut self) {
        self.next_look = self.now;
        self.restless = true;
        self.expects_anew = true;
    }

    /// Gives everything that has happened its effect.
    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            self.send_changes();
            let stirred = self.run();
            self.follow_role();
            self.lead();
            self.say_alive();
            if !(stirred || self.changes.has_unsent() && self.can_send()) {
                break;
            }
        }
        for (shard, ticket, outcome) in self.changes.take_told() {
            self.deeds.push_back(Deed::Settle { shard, ticket, outcome });
        }
        self.tell_lease();
        if std::mem::take(&mut self.expects_anew) {
            self.expect();
        }
        self.look_at_snapshots();
    }

    fn tell_lease(&mut self) {
        let ready = self.leads_fully();
        if let (true, Some(group)) = (ready, &self.group) {
            match group.raft.lease_until() {
                Some(until) => self.lease.leads(Time::from_nanos(until.as_nanos())),
                None if self.leading.as_ref().is_some_and(|leading| leading.had_lease) => self.lease.revoke(self.now),
                None => {}
            }
        }
        if let Some(until) = self.lease.news(self.is_live() && self.leaving.is_none() && self.failed.is_none()) {
            self.deeds.push_back(Deed::Lease(until));
        }
    }

    /// Whom this node is to be linked with, if that is news.
    fn expect(&mut self) {
        let mut wanted: Vec<(Life, NodeAddress)> = Vec::new();
        for (node, member) in self.members.iter().filter(|(node, _)| *node != self.me.node) {
            if let Some(life) = member.life {
                wanted.push((life, member.address.clone()));
            }
            if let Some((life, linked)) = self.links.life_of(node).and_then(|life| Some((life, self.links.get(life)?)))
            {
                wanted.push((life, linked.address()));
            } else if let Some(Ok(who)) = self.meetings.found(&member.address).map(|found| &found.who)
                && who.node == node
            {
                wanted.push((who.life, member.address.clone()));
            }
        }
        wanted.extend(self.wanted_to_form());
        wanted.extend(self.joining_through());
        wanted.sort_by_key(|(life, _)| *life);
        wanted.dedup_by_key(|(life, _)| *life);
        if wanted != self.expected {
            self.expected.clone_from(&wanted);
            self.deeds.push_back(Deed::Expect(wanted));
        }
    }

    /// What needs no exact time.
    fn look(&mut self) {
        let others = self.members.iter().filter(|(node, _)| *node != self.me.node);
        let missing: Vec<Life> =
            others.filter_map(|(_, member)| member.life).filter(|life| self.links.get(*life).is_none()).collect();
        self.unlinked.are(self.now, missing);
        self.changes.resend_unposted();
        if std::mem::take(&mut self.unposted) {
            self.changes.resend();
        }
        self.meet_members();
        self.complain();
        self.look_at_transfers();
        self.look_as_leader();
        if self.now >= self.next_news {
            self.next_news = self.now + MEET_EVERY;
            self.tell_what_is_new();
        }
        self.look_at_removing();
        self.look_at_leaving();
        self.look_at_joining();
        self.look_whether_forgotten();
        self.look_at_forming();
        self.look_at_yielding();
        self.look_at_recovery();
        self.hang_up_on_strangers();
        if self.lease.out_at(&self.spans).is_some_and(|at| self.now >= at) {
            self.changes.life_lost();
            self.begin_life();
        }
    }

    /// Hangs up on those that this node has had no business with for long: neither members nor expected. They were met, or have
    /// met this node, and found nothing to do; whoever wants something dials again.
    fn hang_up_on_strangers(&mut self) {
        let strange = |life: &Life, linked: &links::Linked| {
            let expected = self.expected.binary_search_by_key(life, |(wanted, _)| *wanted).is_ok();
            !expected && self.members.get(linked.introduction.node).is_none()
        };
        let settled = self.group.is_some() && self.joining.is_none();
        let strangers: Vec<Life> =
            self.links.iter().filter(|(life, linked)| settled && strange(life, linked)).map(|(life, _)| life).collect();
        self.strange.are(self.now, strangers);
        let over: Vec<Life> = self.strange.before(self.now - STRANGERS_STAY).collect();
        self.deeds.extend(over.into_iter().map(Deed::HangUp));
    }

    /// Looks for members that are not linked: they may be there under a new life.
    fn meet_members(&mut self) {
        let lost: Vec<NodeAddress> = self
            .members
            .iter()
            .filter(|(node, _)| *node != self.me.node && self.links.life_of(*node).is_none())
            .map(|(_, member)| member.address.clone())
            .collect();
        let mut lost = lost;
        if self.leader.is_none() && self.group.is_some() {
            // All may be somewhere else than they were.
            lost.extend(self.seeds());
        }
        for address in lost {
            self.meet(&address, MEET_EVERY);
        }
    }

    /// Finds out who is at an address, if that was not tried for a while.
    fn meet(&mut self, address: &NodeAddress, every: Duration) {
        if let Some(dial) = self.meetings.begin(self.now, address, self.now - every) {
            self.deeds.push_back(Deed::Meet { dial, address: address.clone() });
        }
    }

    /// The members have changed, as agreed.
    fn node_changed(&mut self, change: &NodeChange) {
        let lives: Vec<Life> = self.members.lives().collect();
        let whose = match change {
            NodeChange::Gone { life, .. } => self.members.node_of(*life),
            _ => None,
        };
        self.members.apply(change);
        let lingering: Vec<Life> = self.members.lingering().collect();
        self.ended.retain(|life, _| lingering.contains(life));
        let (now, spans, applied) = (self.now, self.spans, self.applied_here());
        let ended: Vec<Life> = lives.into_iter().filter(|life| self.members.node_of(*life).is_none()).collect();
        for life in ended {
            self.changes.forget(life);
            if let (NodeChange::Gone { closed: false, .. }, Some(node)) = (change, whose) {
                self.ended.insert(life, node);
            }
            if let Some(leading) = &mut self.leading {
                leading.ended(self.links.node_of(life), life);
            }
            if life == self.me.life {
                self.changes.life_ended();
                self.begin_life();
            }
        }
        if self.leading.is_none() {
            self.leavers.retain(|node, _| self.members.get(*node).is_some());
        }
        if let (NodeChange::Live { node, life }, Some(leading)) = (change, &mut self.leading) {
            leading.began(now, *node, *life, applied, &spans);
        }
        self.look_soon();
    }

    /// This life is over; the next one begins.
    fn begin_life(&mut self) {
        self.deeds.push_back(Deed::Out);
        self.falls += 1;
        // Who leaves, or joins another cluster, wants it so.
        let wanted = self.leaving.is_some() || self.is_about_to_join() || self.yielding.is_some();
        if self.lease.was_held() && !wanted {
            self.deeds.push_back(Deed::Report(Event::LifeEnded { life: self.me.life }));
        }
        // Who leaves begins no other, and so this one is not to end again and again.
        self.lease.begin_anew();
        if self.leaving.is_some() {
            return;
        }
        self.me.life = Life(draw(&mut self.random));
        self.next_alive = self.now;
        self.deeds.push_back(Deed::Life(self.me.life));
        self.introduce();
    }

    /// Every shard of this node has let the clients of its first `count` lives go: as many as there were [`Deed::Out`]s.
    pub fn fallen(&mut self, now: Time, count: u64) {
        self.now = now;
        self.fallen = count;
        self.look_soon();
    }

    /// Whether some shard may still have clients of an earlier life. That one's seats are given to others as soon as this node
    /// says that it lives under another.
    fn is_falling(&self) -> bool {
        self.fallen < self.falls
    }

    /// What a [`Deed::Post`] said to this life was dropped: its link takes nothing now.
    pub fn unposted(&mut self, life: Life) {
        // Of all that is posted, changes alone are not said again by themselves.
        self.unposted |= self.leader.is_some_and(|leader| self.links.node_of(life) == Some(leader));
    }

    /// What this node says of itself has changed.
    fn introduce(&mut self) {
        self.me.channels = self.channels > 0;
        self.deeds.push_back(Deed::Introduce(self.me.clone()));
    }

    fn fail(&mut self, why: String) {
        if self.failed.is_none() {
            self.failed = Some(why.clone());
            self.changes.life_lost();
            self.deeds.push_back(Deed::Fail(why));
        }
    }
}

/// What a node that keeps nothing on disk calls itself, and its first life: the first draws of the stream that
/// [`Start::random`] is. So the other shards know them without being told.
pub fn first_names(random: &mut Random) -> (NodeId, Life) {
    (NodeId(draw(random)), Life(draw(random)))
}

/// A number that is never 0.
fn draw(random: &mut Random) -> u64 {
    loop {
        match random.bits() {
            0 => {}
            bits => return bits,
        }
    }
}

//! Raft, wired: its settings, what it asks for, and what its log says.

use bytes::{Bytes, BytesMut};
use wrs_raft::{Action, Boot, ClusterId, EntryKind, Incarnation, Input, Message, Raft, ReadMode, ReadToken, Role};

use super::wire::{ControlMessage, Refusal};
use super::{Cluster, Deed, Founders, Leading, StartError, Transfers, codec, draw};
use crate::catalogue::Command;
use crate::config::NodeAddress;
use crate::event::Event;
use crate::id::{Life, NodeId};
use crate::members::{Member, NodeChange};
use crate::time::Time;

/// How far clocks may drift apart, in parts per million: one in a hundred.
const DRIFT_PPM_MAX: u32 = 10_000;
/// Raft's name for what is not asked about.
const NO_TICKET: wrs_raft::Ticket = wrs_raft::Ticket(0);
/// Changes of the members that wait until Raft takes proposals again, at most.
const UNPROPOSED_MAX: usize = 4096;

/// One node's place in a cluster.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) raft: Raft,
    actions: Vec<Action>,
    /// The term in which leadership was handed to this node.
    handed_in: Option<u64>,
}

impl Group {
    pub(super) fn new(raft: Raft) -> Self {
        Group { raft, actions: Vec::new(), handed_in: None }
    }
}

pub(super) fn raft_id(node: NodeId) -> wrs_raft::NodeId {
    wrs_raft::NodeId(node.0)
}

pub(super) fn raft_time(at: Time) -> wrs_raft::Time {
    wrs_raft::Time::from_nanos(at.as_nanos())
}

impl Cluster {
    /// Raft's settings for this node in this cluster.
    pub(super) fn raft_config(&mut self, cluster: u64, in_memory: bool) -> wrs_raft::Config {
        wrs_raft::Config {
            cluster: ClusterId(cluster),
            incarnation: Incarnation(self.me.incarnation),
            seed: self.random.bits(),
            election_timeout: self.config.election_timeout_min,
            election_timeout_max: Some(self.config.election_timeout_max),
            heartbeat_interval: self.config.heartbeat,
            reads: ReadMode::Lease { drift_ppm_max: DRIFT_PPM_MAX },
            in_memory,
            apply_at_once: true,
            ..wrs_raft::Config::new(raft_id(self.me.node))
        }
    }

    /// Takes its place in a cluster that it was not in before, with what Raft is to know.
    pub(super) fn enter(&mut self, cluster: u64, boot: Boot) -> Result<(), StartError> {
        self.enter_raft(cluster, boot)?;
        self.begin_log(cluster);
        Ok(())
    }

    /// Takes its place in a cluster, with what Raft is to know.
    pub(super) fn enter_raft(&mut self, cluster: u64, boot: Boot) -> Result<(), StartError> {
        let config = self.raft_config(cluster, !self.is_kept());
        let raft =
            Raft::new(config, boot, raft_time(self.now)).map_err(|error| StartError::Settings(error.to_string()))?;
        self.group = Some(Group::new(raft));
        // Terms count anew in each cluster.
        self.transfers = Transfers::default();
        self.me.cluster = Some(cluster);
        self.deeds.push_back(Deed::Report(Event::ClusterEntered { cluster: format!("{cluster:016x}") }));
        Ok(())
    }

    /// Founds a cluster of this node alone.
    pub(super) fn found(&mut self) -> Result<(), StartError> {
        let cluster = draw(&mut self.random);
        self.enter(cluster, Boot::found([raft_id(self.me.node)]))?;
        self.step(Input::Campaign);
        Ok(())
    }

    /// Takes part in a cluster that is there from the beginning.
    pub(super) fn begin_with(&mut self, founders: Founders) -> Result<(), StartError> {
        let table = founders.table();
        let Founders { cluster, own: _, members } = founders;
        self.enter(cluster, Boot::found(members.iter().map(|(node, _)| raft_id(*node))))?;
        if let Some((_, own)) = members.iter().find(|(node, _)| *node == self.me.node) {
            self.me.incarnation = own.incarnation;
        }
        self.members = table;
        Ok(())
    }

    /// Gives Raft one input. What comes of it is drawn by [`Cluster::run`]. False: it had no effect.
    pub(super) fn step(&mut self, input: Input) -> bool {
        let now = raft_time(self.now);
        self.group.as_mut().is_some_and(|group| group.raft.step(now, input).is_ok())
    }

    /// Does what Raft asks for. True if there was anything.
    pub(super) fn run(&mut self) -> bool {
        let Some(group) = &mut self.group else { return false };
        let mut actions = std::mem::take(&mut group.actions);
        group.raft.flush(&mut actions);
        let stirred = !actions.is_empty();
        for action in actions.drain(..) {
            self.perform(action);
        }
        if let Some(group) = &mut self.group {
            group.actions = actions;
        }
        if !stirred {
            self.turn_segment();
        }
        stirred
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Send(message) => self.post_raft(&message),
            Action::Apply(entries) => {
                for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Normal && !entry.payload.is_empty())
                {
                    self.apply_entry(entry.index, &entry.payload);
                }
            }
            Action::Persist(record) => {
                let bytes = record.snapshot.as_ref().and_then(|meta| self.restore_arrived(meta));
                if self.is_kept() {
                    self.keep_record(&record, bytes);
                } else {
                    self.step(Input::Persisted { record: record.id });
                }
            }
            Action::Configured { .. } => self.look_soon(),
            Action::SendSnapshot { to, message } => self.send_snapshot(to, &message),
            Action::SnapshotWanted { .. } => self.want_snapshot(),
            Action::Fatal(fatal) => self.fail(format!("the cluster's log: {fatal}")),
            Action::Role(_)
            | Action::Accepted { .. }
            | Action::Committed { .. }
            | Action::Dropped { .. }
            | Action::ReadReady { .. }
            | Action::ReadFailed { .. }
            | Action::Compacted { .. } => {}
        }
    }

    fn post_raft(&mut self, message: &Message) {
        let mut bytes = BytesMut::new();
        wrs_raft::wire::encode(message, &mut bytes);
        self.post_to(NodeId(message.to.0), &ControlMessage::Raft(bytes.freeze()));
    }

    /// Posts to a node, if it is linked. False: it is not.
    pub(super) fn post_to(&mut self, node: NodeId, message: &ControlMessage) -> bool {
        let Some(life) = self.links.life_of(node) else { return false };
        self.post(life, message);
        true
    }

    pub(super) fn post(&mut self, life: Life, message: &ControlMessage) {
        self.deeds.push_back(Deed::Post { life, bytes: super::wire::encode(message) });
    }

    /// A message of another node's Raft.
    pub(super) fn heard_raft(&mut self, from: NodeId, bytes: &Bytes) {
        let Ok(message) = wrs_raft::wire::decode(bytes) else { return };
        // A link speaks for its own node alone.
        if message.from != raft_id(from) {
            return;
        }
        if let wrs_raft::Body::Snapshot { meta } = &message.body
            && !self.transfers.has_arrived()
            && !self.is_known(meta.index)
        {
            // Its bytes come first.
            return;
        }
        if self.members.get(from).is_none() && self.leads_fully() && self.is_strange_to_raft(from) {
            // It was removed while nobody could tell it.
            self.post_to(from, &ControlMessage::Farewell { member: false });
            return;
        }
        let handed = matches!(message.body, wrs_raft::Body::TimeoutNow);
        self.step(Input::Receive(message));
        if let (true, Some(group)) = (handed, &mut self.group) {
            group.handed_in = Some(group.raft.term());
        }
    }

    fn is_strange_to_raft(&self, node: NodeId) -> bool {
        self.group.as_ref().is_some_and(|group| !group.raft.conf().contains(raft_id(node)))
    }

    /// One entry of the log.
    fn apply_entry(&mut self, index: u64, payload: &Bytes) {
        let number = self.base + index;
        let Some(logged) = codec::decode(payload) else {
            return self.fail("the log holds a change that this version does not know".to_owned());
        };
        let mut own = None;
        if let Some((life, seq)) = logged.from {
            // Whoever proposed it is not live any more, or it is here already.
            if self.members.node_of(life).is_none() || !(self.changes.is_new(life, seq) || mutant!(AppliesRepeats)) {
                return;
            }
            if life == self.me.life {
                own = self.changes.applied(self.now, seq, index);
            }
        }
        self.handed = index;
        if let Command::Node(change) = &logged.command {
            self.node_changed(change);
        }
        self.deeds.push_back(Deed::Apply { number, command: logged.command, own });
    }

    /// The number of the last change that every shard has applied, with all before it.
    pub(super) fn applied_here(&self) -> u64 {
        let all = self.group.as_ref().map_or(0, |group| group.raft.log().applied());
        if self.applied >= self.handed { all } else { self.applied }
    }

    /// Notes who leads, and begins or ends this node's own leadership.
    pub(super) fn follow_role(&mut self) {
        let Some(group) = &self.group else { return };
        let (role, term) = (group.raft.role(), group.raft.term());
        let leader = group.raft.leader().map(|leader| NodeId(leader.0));
        let leads = role == Role::Leader;
        if self.leading.as_ref().map(|leading| leading.term) != leads.then_some(term) {
            let start = group.raft.log().last_index();
            let handed = group.handed_in == Some(term);
            self.leading = leads.then(|| Leading::new(self.now, term, start, handed));
            if leads {
                // A round of heartbeats at once, and with its echo this node's lease.
                self.step(Input::Read { token: ReadToken(0) });
            }
            self.look_soon();
        }
        if leader != self.leader {
            self.leader = leader;
            self.deeds.push_back(Deed::Report(Event::LeaderChanged { leader, term }));
            self.meet_leader();
        }
        if let (Some(leading), Some(group)) = (&mut self.leading, &self.group) {
            leading.had_lease |= group.raft.lease_until().is_some();
        }
    }

    /// There is a leader, or a link to it.
    pub(super) fn meet_leader(&mut self) {
        self.changes.resend();
        self.next_alive = self.now;
    }

    /// Whether changes can be sent now.
    pub(super) fn can_send(&self) -> bool {
        self.leader.is_some_and(|leader| leader == self.me.node || self.links.life_of(leader).is_some())
    }

    /// Sends this node's changes to the leader.
    pub(super) fn send_changes(&mut self) {
        let Some(leader) = self.leader.filter(|_| self.changes.has_unsent() && self.can_send()) else { return };
        let batch = self.changes.batch();
        if leader == self.me.node {
            let life = self.me.life;
            if let Err((changes, why)) = self.append(life, batch) {
                self.changes.refused(&changes, why);
            }
        } else {
            self.post_to(leader, &ControlMessage::Propose(batch));
        }
    }

    /// As leader: appends changes of a node. Err: none of them, and why.
    pub(super) fn append(&mut self, from: Life, changes: Vec<(u64, Bytes)>) -> Result<(), (Vec<u64>, Refusal)> {
        let seqs = || changes.iter().map(|(seq, _)| *seq).collect::<Vec<_>>();
        if self.leading.is_none() {
            return Err((seqs(), Refusal::NotLeader));
        }
        // What would not be read as this life's own is not taken.
        let fits = |(seq, bytes): &(u64, Bytes)| {
            codec::decode(bytes).is_some_and(|logged| logged.from == Some((from, *seq)) && logged.is_of_a_shard())
        };
        if changes.is_empty() || !changes.iter().all(fits) {
            return Err((seqs(), Refusal::Overloaded));
        }
        let payloads = changes.iter().map(|(_, bytes)| bytes.clone()).collect();
        let now = raft_time(self.now);
        let Some(group) = &mut self.group else { return Err((seqs(), Refusal::NotLeader)) };
        group.raft.step(now, Input::ProposeMany { ticket: NO_TICKET, payloads }).map_err(|ignored| {
            let overloaded = matches!(ignored, wrs_raft::Ignored::Proposal(wrs_raft::DropReason::Overloaded));
            (seqs(), if overloaded { Refusal::Overloaded } else { Refusal::NotLeader })
        })
    }

    /// As leader: proposes a change of the members. What Raft does not take now, as while leadership is being handed over, is
    /// proposed again as long as this node leads.
    pub(super) fn propose_node(&mut self, change: NodeChange) {
        let waits = self.leading.as_ref().is_some_and(|leading| !leading.unproposed.is_empty());
        if !waits && self.append_node(&change) {
            return;
        }
        if let Some(leading) = &mut self.leading
            && leading.unproposed.len() < UNPROPOSED_MAX
            && !leading.unproposed.contains(&change)
        {
            leading.unproposed.push_back(change);
        }
    }

    /// Proposes what was not taken before, in order.
    pub(super) fn propose_again(&mut self) {
        while let Some(change) = self.leading.as_ref().and_then(|leading| leading.unproposed.front().cloned()) {
            if !self.append_node(&change) {
                break;
            }
            if let Some(leading) = &mut self.leading {
                leading.unproposed.pop_front();
            }
        }
    }

    fn append_node(&mut self, change: &NodeChange) -> bool {
        let change = change.clone();
        let logged = codec::Logged { from: None, command: Command::Node(change) };
        match codec::encode(&logged, self.version()) {
            Ok(payload) => self.step(Input::Propose { ticket: NO_TICKET, payload }),
            Err(_) => false,
        }
    }

    /// What others are to know of this node.
    pub(super) fn own_member(&self) -> Member {
        let here = NodeAddress { host: "127.0.0.1".to_owned(), port: Some(self.me.port).filter(|port| *port != 0) };
        let port = Some(self.me.port).filter(|port| *port != 0);
        let address = self.me.address.clone().map(|address| NodeAddress { port: address.port.or(port), ..address });
        Member {
            incarnation: self.me.incarnation,
            address: address.unwrap_or(here),
            shards: self.me.shards,
            version: self.config.protocol,
            life: None,
        }
    }
}

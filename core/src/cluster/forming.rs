//! How a cluster comes to be: who founds it, and who joins whom.
//!
//! With `WRS_SEEDS` a node founds one only after it has looked for all of the seeds, and while a majority of them, itself among
//! them, have promised it to nobody else. A promise ends when its holder gives it back, or when another node has taken the
//! holder's address; never by time. So there are never two founders, under any partition. Without seeds a node founds its own at
//! once and keeps asking who answers at `WRS_DOMAIN`. A node alone without channels joins the cluster that it meets; of two that
//! answer there one gives way if it has no channels ([`yielding`](super::yielding)); two with channels stay apart and say so.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::deed::StartError;
use super::wire::{ControlMessage, Greeting};
use super::{Cluster, Deed};
use crate::config::NodeAddress;
use crate::event::Event;
use crate::gate::Introduction;
use crate::id::{Life, NodeId};
use crate::time::Time;

/// Between two looks at a seed.
const SEED_EVERY: Duration = Duration::from_millis(500);
/// How long a node asks for promises before it gives back what it has.
const ASK_FOR: Duration = Duration::from_millis(1000);
/// Between two look-ups of the seeds' name.
const RESOLVE_EVERY: Duration = Duration::from_secs(2);
/// Between two questions at `WRS_DOMAIN`, on average, of a node that may have to join another, and of one of several with
/// channels.
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBE_EVERY_OF_SEVERAL: Duration = Duration::from_secs(30);
/// How long another cluster that is heard of no more counts as being there.
const APART_LASTS: Duration = Duration::from_secs(95);
/// What one answer there may name.
const PROBED_NODES_MAX: usize = 64;

/// Promises that are being asked for.
#[derive(Debug)]
struct Asking {
    since: Time,
    promised: BTreeSet<NodeId>,
}

/// What a node knows before it is in a cluster, and of those that it met since.
#[derive(Debug, Default)]
pub(super) struct Forming {
    /// The addresses that the seeds' name resolves to.
    resolved: Vec<NodeAddress>,
    next_resolve: Time,
    /// To whom this node has promised the founding, and where that one was.
    promise: Option<(NodeId, Option<NodeAddress>)>,
    asking: Option<Asking>,
    next_probe: Option<Time>,
    /// How long after the first look that is; a node's head begins before the clock is asked.
    startup_delay: Option<Duration>,
    /// Nodes of other clusters that this node was told of, and has not looked for yet.
    strangers: Vec<NodeAddress>,
    /// The other cluster that has answered at `WRS_DOMAIN` last, and when.
    answered: Option<(u64, Time)>,
    /// Another cluster, which like this one has channels, and when it last said so.
    pub(super) apart: Option<(u64, NodeAddress, Time)>,
}

impl Forming {
    /// Begins anew.
    pub(super) fn forget(&mut self) {
        let Forming { resolved, next_resolve, next_probe, .. } = std::mem::take(self);
        *self = Forming { resolved, next_resolve, next_probe, ..Forming::default() };
    }

    pub(super) fn next_probe(&self) -> Option<Time> {
        self.next_probe
    }
}

impl Cluster {
    /// Begins to be in a cluster.
    pub(super) fn form(&mut self) -> Result<(), StartError> {
        if self.config.seeds.is_empty() {
            self.found()?;
            self.begin_to_probe();
        }
        Ok(())
    }

    /// Without seeds, asks at `WRS_DOMAIN` from some time on.
    pub(super) fn begin_to_probe(&mut self) {
        if self.config.seeds.is_empty() {
            let delay = u64::try_from(self.config.startup_delay_max.as_nanos()).unwrap_or(u64::MAX);
            let delay = Duration::from_nanos(self.random.below(delay));
            self.forming.startup_delay = Some(delay);
            self.forming.next_probe = Some(self.now);
        }
    }

    // With seeds.

    /// Whether the seeds are one name that resolves to all.
    fn seeds_are_a_name(&self) -> bool {
        self.config.cluster_size.is_some() && self.config.seeds.len() == 1
    }

    pub(super) fn seeds(&self) -> Vec<NodeAddress> {
        let seeds = if self.seeds_are_a_name() { &self.forming.resolved } else { &self.config.seeds };
        let port = |address: &NodeAddress| address.port.or(Some(self.config.node_port));
        seeds.iter().map(|address| NodeAddress { port: port(address), ..address.clone() }).collect()
    }

    /// How many of the seeds must agree.
    fn majority(&self) -> usize {
        let count = match self.config.cluster_size {
            Some(size) => usize::from(size).max(self.seeds().len()),
            None => self.seeds().len(),
        };
        count / 2 + 1
    }

    /// The name of the seeds has these addresses.
    pub fn resolved(&mut self, now: Time, host: &str, addresses: Result<Vec<std::net::IpAddr>, String>) {
        self.now = now;
        let Some(seed) = self.config.seeds.first().filter(|seed| seed.host == host) else { return };
        if let Ok(addresses) = addresses {
            let port = seed.port.or(Some(self.config.node_port));
            let mut resolved: Vec<NodeAddress> = addresses
                .into_iter()
                .map(|address| NodeAddress { host: address.to_canonical().to_string(), port })
                .collect();
            resolved.sort_unstable();
            resolved.dedup();
            self.forming.resolved = resolved;
            self.look_soon();
        }
    }

    /// Whom a node that is in no cluster wants to be linked with.
    pub(super) fn wanted_to_form(&self) -> Vec<(Life, NodeAddress)> {
        let seeds = if self.leader.is_none() { self.seeds() } else { Vec::new() };
        let found = |address: NodeAddress| {
            let who = self.meetings.found(&address)?.who.as_ref().ok()?;
            (who.node != self.me.node).then_some((who.life, address))
        };
        seeds.into_iter().filter_map(found).collect()
    }

    pub(super) fn look_at_forming(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        self.look_for_strangers();
        if self.group.is_some() || self.joining.is_some() {
            return;
        }
        if self.seeds_are_a_name() && self.now >= self.forming.next_resolve {
            self.forming.next_resolve = self.now + RESOLVE_EVERY;
            if let Some(seed) = self.config.seeds.first() {
                self.deeds.push_back(Deed::Resolve(seed.host.clone()));
            }
        }
        for address in self.seeds() {
            self.meet(&address, SEED_EVERY);
        }
        self.free_promise();
        if self.now >= self.next_try && !self.join_a_seed() {
            self.ask_for_promises();
        }
    }

    /// Who is at each seed's address, as far as is known.
    fn seed_nodes(&self) -> Vec<Introduction> {
        let who = |address: &NodeAddress| self.meetings.found(address)?.who.as_ref().ok().cloned();
        self.seeds().iter().filter_map(who).collect()
    }

    /// Joins a seed that is in a cluster. False: none is known to be.
    fn join_a_seed(&mut self) -> bool {
        let mut seeds = self.seeds();
        seeds.retain(|address| {
            let found = self.meetings.found(address).and_then(|found| found.who.as_ref().ok());
            let told = found.and_then(|who| self.links.get(who.life)).map(|linked| linked.introduction.cluster);
            told.flatten().is_some() || found.is_some_and(|who| who.cluster.is_some())
        });
        // Not always the first: its cluster may be one that has lost its majority.
        let at = usize::try_from(self.random.below(seeds.len() as u64)).ok().and_then(|at| seeds.get(at).cloned());
        match at {
            Some(address) => {
                self.stop_asking();
                self.begin_joining(address, None, false);
                true
            }
            None => false,
        }
    }

    /// A promise to a node whose place another has taken is void.
    fn free_promise(&mut self) {
        let Some((holder, address)) = &self.forming.promise else { return };
        let at = address.as_ref().and_then(|address| self.meetings.found(address));
        let other = at.and_then(|found| found.who.as_ref().ok()).is_some_and(|who| who.node != *holder);
        if other && *holder != self.me.node {
            self.forming.promise = None;
        }
    }

    /// Asks to be let found the cluster, if this node is the one to do it: the lowest of the seeds that are here.
    fn ask_for_promises(&mut self) {
        let seeds = self.seed_nodes();
        let mut here: BTreeSet<NodeId> = seeds
            .iter()
            .filter(|who| self.links.get(who.life).is_some_and(|linked| linked.introduction.cluster.is_none()))
            .map(|who| who.node)
            .collect();
        if !seeds.iter().any(|who| who.node == self.me.node) {
            // Only a seed founds.
            return;
        }
        here.insert(self.me.node);
        if let Some(asking) = &self.forming.asking {
            if self.now.since(asking.since) >= ASK_FOR {
                self.stop_asking();
                self.next_try = self.now + Duration::from_millis(200 + self.random.below(800));
            }
            return;
        }
        if self.seeds().iter().any(|address| self.meetings.found(address).is_none()) {
            // Whoever has not answered yet may be in a cluster, which most of the seeds have forgotten.
            return;
        }
        let free = self.forming.promise.as_ref().is_none_or(|(holder, _)| *holder == self.me.node);
        if here.len() < self.majority() || here.first() != Some(&self.me.node) || !free {
            return;
        }
        self.forming.promise = Some((self.me.node, None));
        self.forming.asking = Some(Asking { since: self.now, promised: BTreeSet::from([self.me.node]) });
        let own = self.me.node;
        for who in seeds.iter().filter(|who| here.contains(&who.node) && who.node != own) {
            self.post(who.life, &ControlMessage::Ask);
        }
        self.count_promises();
    }

    fn count_promises(&mut self) {
        let seeds: BTreeSet<NodeId> = self.seed_nodes().iter().map(|who| who.node).collect();
        let Some(asking) = &self.forming.asking else { return };
        if asking.promised.intersection(&seeds).count() < self.majority() {
            return;
        }
        self.forming.asking = None;
        if let Err(why) = self.found() {
            return self.fail(why.to_string());
        }
        self.introduce();
        self.greet_all();
    }

    /// Gives back what it was promised.
    fn stop_asking(&mut self) {
        if self.forming.asking.take().is_none() {
            return;
        }
        self.forming.promise = None;
        let lives: Vec<Life> = self.links.iter().map(|(life, _)| life).collect();
        for life in lives {
            self.post(life, &ControlMessage::Release);
        }
    }

    pub(super) fn heard_ask(&mut self, node: NodeId, life: Life) {
        if self.group.is_some() || self.joining.is_some() {
            return self.greet(life);
        }
        if self.forming.asking.is_some() && node < self.me.node {
            self.stop_asking();
        }
        let holder = self.forming.promise.as_ref().map(|(holder, _)| *holder);
        match holder.filter(|holder| *holder != node) {
            Some(holder) => self.post(life, &ControlMessage::Promised(holder)),
            None => {
                let address = self.links.get(life).map(|linked| linked.address());
                self.forming.promise = Some((node, address));
                self.post(life, &ControlMessage::Promise);
            }
        }
    }

    pub(super) fn heard_promise(&mut self, node: NodeId) {
        if let Some(asking) = &mut self.forming.asking {
            asking.promised.insert(node);
            self.count_promises();
        }
    }

    pub(super) fn heard_release(&mut self, node: NodeId) {
        if self.forming.promise.as_ref().is_some_and(|(holder, _)| *holder == node) {
            self.forming.promise = None;
        }
    }

    // Meeting others.

    /// A link is up: each says what it is.
    pub(super) fn greet(&mut self, life: Life) {
        if self.me.cluster.is_none() {
            // A release that was lost with an earlier link is said again.
            let word = if self.forming.asking.is_some() { ControlMessage::Ask } else { ControlMessage::Release };
            return self.post(life, &word);
        }
        let strange = self.links.get(life).is_some_and(|linked| linked.introduction.cluster != self.me.cluster);
        if strange {
            let nodes = u32::try_from(self.members.iter().count()).unwrap_or(u32::MAX);
            let cluster = self.me.cluster.unwrap_or(0);
            self.post(life, &ControlMessage::Greeting(Greeting { cluster, nodes, channels: self.channels }));
        }
    }

    fn greet_all(&mut self) {
        let lives: Vec<Life> = self.links.iter().map(|(life, _)| life).collect();
        for life in lives {
            self.greet(life);
        }
    }

    /// A node of another cluster, or of one while this node is in none, says so.
    pub(super) fn heard_greeting(&mut self, life: Life, greeting: &Greeting) {
        let Some(address) = self.links.get(life).map(|linked| linked.address()) else { return };
        if self.joining.is_some() || self.leaving.is_some() || Some(greeting.cluster) == self.me.cluster {
            return;
        }
        let Some(own) = self.me.cluster else {
            self.stop_asking();
            return self.begin_joining(address, None, false);
        };
        self.tell_reborn(life, greeting.cluster);
        let small = self.channels == 0 && self.members.iter().all(|(node, _)| node == self.me.node);
        let theirs_small = greeting.channels == 0 && greeting.nodes <= 1;
        if small && (!theirs_small || own > greeting.cluster) {
            if self.now >= self.next_try {
                self.begin_joining(address, None, false);
            }
        } else if !small && self.is_behind_one_address(greeting.cluster) && self.gives_way(greeting) {
            self.begin_yielding(address);
        } else if !small
            && !theirs_small
            && (self.channels > 0 && greeting.channels > 0 || !self.config.seeds.is_empty())
        {
            let apart = Some((greeting.cluster, address.clone(), self.now));
            let known = std::mem::replace(&mut self.forming.apart, apart);
            if known.is_none_or(|(id, ..)| id != greeting.cluster) {
                self.deeds.push_back(Deed::Report(Event::ClustersApart { address: address.to_string() }));
            }
        }
    }

    // Asking at the service's address.

    /// Whether this node was answered by that cluster at `WRS_DOMAIN`, so that the two are meant to be one.
    fn is_behind_one_address(&self, cluster: u64) -> bool {
        self.forming.answered.is_some_and(|(id, at)| id == cluster && self.now.since(at) < APART_LASTS)
    }

    fn look_for_strangers(&mut self) {
        if let Some(at) = self.forming.next_probe
            && self.now >= at
            && self.joining.is_none()
        {
            let seeks = self.channels == 0 || self.members.iter().count() <= 1;
            let every = if seeks { PROBE_EVERY } else { PROBE_EVERY_OF_SEVERAL };
            let delay = self.forming.startup_delay.take().filter(|delay| !delay.is_zero());
            // Not in step with others: a balancer that goes round would show each the same node every time, itself perhaps.
            let jitter = Duration::from_nanos(self.random.below(every.as_nanos() as u64));
            self.forming.next_probe = Some(self.now + delay.unwrap_or(every / 2 + jitter));
            if delay.is_none() {
                self.deeds.push_back(Deed::Probe);
                // Who was found before may have something else to say by now.
                self.greet_all();
            }
        }
        for address in std::mem::take(&mut self.forming.strangers) {
            self.meet(&address, PROBE_EVERY / 2);
        }
        if self.forming.apart.as_ref().is_some_and(|(.., at)| self.now.since(*at) >= APART_LASTS) {
            self.forming.apart = None;
        }
    }

    /// The answer to [`Deed::Probe`]: the body of `GET /cluster` of whoever is at `WRS_DOMAIN`; `None`: nobody who can be
    /// understood. It names the cluster in `data.cluster`, sixteen hexadecimal digits, and its nodes with their addresses in
    /// `data.nodes`.
    pub fn probed(&mut self, now: Time, body: Option<Bytes>) {
        self.now = now;
        let value = body.and_then(|body| serde_json::from_slice::<serde_json::Value>(&body).ok());
        let Some(value) = value else { return };
        let data = value.get("data");
        let cluster = data.and_then(|data| data.get("cluster")).and_then(serde_json::Value::as_str);
        let cluster = cluster.and_then(|text| u64::from_str_radix(text, 16).ok());
        let Some(cluster) = cluster.filter(|cluster| Some(*cluster) != self.me.cluster) else { return };
        self.forming.answered = Some((cluster, now));
        let nodes = data.and_then(|data| data.get("nodes")).and_then(serde_json::Value::as_array);
        let address = |node: &serde_json::Value| NodeAddress::parse(node.get("address")?.as_str()?);
        let mut strangers: Vec<NodeAddress> =
            nodes.into_iter().flatten().filter_map(address).take(PROBED_NODES_MAX).collect();
        strangers.truncate(3);
        self.forming.strangers = strangers;
        self.look_soon();
    }
}

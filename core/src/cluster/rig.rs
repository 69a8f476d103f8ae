//! Several control planes with virtual time and a network of links between them, for tests. The shards' part is played by a
//! list of what was applied and a real catalogue. All chance comes from a seed.
//!
//! Checked all the time: the same numbers mean the same changes everywhere; a change is told once; one that is told to be made
//! is applied wherever a lease holds; one that is told not to be made is never applied; no life is ended while it holds a lease.

mod clock;
mod disk;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use clock::{local, true_time};
use disk::Disk;

use super::codec::tests::echo;
use super::*;
use crate::catalogue::Catalogue;
use crate::event::Event;
use crate::id::{ChannelId, DialId};

/// One node and what stands around it.
pub(super) struct Peer {
    pub(super) cluster: Cluster,
    pub(super) address: NodeAddress,
    from: SocketAddr,
    /// How fast its clock goes, in parts per million above true time.
    drift_ppm: i64,
    offset: Duration,
    pub(super) catalogue: Catalogue,
    /// The number of the last change it has applied.
    pub(super) number: u64,
    /// When all its shards have applied a number: true time.
    applying: Vec<(Time, u64)>,
    pub(super) lease: Time,
    expected: Vec<(Life, NodeAddress)>,
    introduction: Introduction,
    pub(super) told: BTreeMap<u64, Outcome>,
    pub(super) answers: BTreeMap<u64, Result<Done, Refused>>,
    pub(super) reports: Vec<Event>,
    pub(super) outs: u32,
    pub(super) fallen: u64,
    pub(super) left: bool,
    pub(super) failed: Option<String>,
    /// When it looks again: true time.
    wakes: Option<Time>,
    paused_until: Time,
}

/// Something under way.
enum Mail {
    Post { from: usize, to: usize, link: u64, bytes: Bytes },
    Up { link: u64 },
    Down { node: usize, life: Life },
    Told { node: usize, introduction: Introduction },
    Met { node: usize, dial: DialId, address: NodeAddress },
    Resolved { node: usize, host: String },
    Probed { node: usize },
    Stored { node: usize },
}

#[derive(Clone)]
struct Link {
    ends: [usize; 2],
    lives: [Life; 2],
    up: bool,
}

pub(super) struct Rig {
    pub(super) now: Time,
    pub(super) config: Config,
    pub(super) nodes: BTreeMap<usize, Peer>,
    next_node: usize,
    mail: BTreeMap<(Time, u64), Mail>,
    serial: u64,
    links: BTreeMap<u64, Link>,
    /// Pairs that cannot reach each other.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// Pairs of which one has met the other, and neither has hung up.
    met: BTreeSet<(usize, usize)>,
    pub(super) random: Random,
    pub(super) loss_percent: u64,
    pub(super) drift: bool,
    /// What each number means, in each cluster.
    log: BTreeMap<(u64, u64), Command>,
    /// Channels that were told not to be made.
    never: BTreeSet<ChannelId>,
    /// Channels that were told to be made.
    pub(super) made: BTreeSet<ChannelId>,
    wanted: BTreeMap<u64, ChannelId>,
    last_ticket: u64,
    /// Lives whose end was applied somewhere.
    pub(super) ended: BTreeSet<Life>,
    /// Each cluster that was ever founded, and by whom.
    pub(super) founded: BTreeMap<u64, usize>,
    /// What a name resolves to.
    pub(super) disks: BTreeMap<usize, Disk>,
    pub(super) names: BTreeMap<String, Vec<IpAddr>>,
    /// Who answers at the service's address, if anybody.
    pub(super) front: Vec<usize>,
    /// How often somebody has asked there.
    pub(super) probes: usize,
    /// What is said where no node is.
    pub(super) refusal: Option<LinkFault>,
    trace: bool,
}

pub(super) fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Rig {
    pub(super) fn new(seed: u64) -> Rig {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Rig {
            now: Time::from_millis(1_000),
            config: Config { cluster_secret: Some(crate::config::Secret::new("s")), ..Config::default() },
            nodes: BTreeMap::new(),
            next_node: 0,
            mail: BTreeMap::new(),
            serial: 0,
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            met: BTreeSet::new(),
            random: Random::from_key(key),
            loss_percent: 0,
            drift: false,
            log: BTreeMap::new(),
            never: BTreeSet::new(),
            made: BTreeSet::new(),
            wanted: BTreeMap::new(),
            last_ticket: 0,
            ended: BTreeSet::new(),
            founded: BTreeMap::new(),
            disks: BTreeMap::new(),
            names: BTreeMap::new(),
            front: Vec::new(),
            probes: 0,
            refusal: None,
            trace: std::env::var("RIG_TRACE").is_ok(),
        }
    }

    /// A cluster of `count` nodes that is there from the beginning.
    pub(super) fn of(seed: u64, count: u64) -> Rig {
        let mut rig = Rig::new(seed);
        rig.found(count);
        rig
    }

    pub(super) fn found(&mut self, count: u64) {
        let member = |n: u64| Member {
            incarnation: n,
            address: Self::address(n as usize),
            shards: 1,
            version: VERSION,
            life: None,
        };
        let members: Vec<_> = (0..count).map(|n| (NodeId(n + 1), member(n))).collect();
        for n in 0..count {
            let founders = Founders { cluster: 77, own: NodeId(n + 1), members: members.clone() };
            self.add(n as usize, Some(founders));
        }
    }

    pub(super) fn address(n: usize) -> NodeAddress {
        NodeAddress { host: format!("10.0.0.{}", n % 200 + 1), port: Some(4000) }
    }

    /// Starts a node at an address of its own.
    pub(super) fn start(&mut self) -> usize {
        let n = self.next_node;
        self.add(n, None);
        n
    }

    /// Starts a node at the address of one that is dead.
    pub(super) fn add(&mut self, n: usize, founders: Option<Founders>) {
        self.start_with(n, founders, None);
    }

    pub(super) fn start_with(&mut self, n: usize, founders: Option<Founders>, stored: Option<Vec<(FileName, Bytes)>>) {
        assert!(!self.nodes.contains_key(&n));
        self.next_node = self.next_node.max(n + 1);
        let mut key = [0; 32];
        self.random.fill(&mut key);
        let drift_ppm = if self.drift { self.random.below(20_001) as i64 - 10_000 } else { 0 };
        let offset = millis(self.random.below(1_000_000));
        let address = Self::address(n);
        let start =
            Start { random: Random::from_key(key), address: Some(address.clone()), port: 4000, stored, founders };
        // The head of a node begins before the machine's clock is asked, which may have gone for long.
        let cluster = Cluster::new(&Arc::new(self.config.clone()), start, Time::ZERO).unwrap();
        let introduction = cluster.introduction().clone();
        let from = SocketAddr::new(address.host.parse().unwrap(), 50_000);
        let peer = Peer {
            cluster,
            from,
            address,
            drift_ppm,
            offset,
            catalogue: Catalogue::new(),
            number: 0,
            applying: Vec::new(),
            lease: Time::ZERO,
            expected: Vec::new(),
            introduction,
            told: BTreeMap::new(),
            answers: BTreeMap::new(),
            reports: Vec::new(),
            outs: 0,
            fallen: 0,
            left: false,
            failed: None,
            wakes: None,
            paused_until: Time::ZERO,
        };
        self.nodes.insert(n, peer);
        self.perform(n);
        self.nodes.get_mut(&n).unwrap().outs = 0;
    }

    /// Ends a node as `kill -9` does.
    pub(super) fn kill(&mut self, n: usize) {
        self.met.retain(|(a, b)| *a != n && *b != n);
        self.nodes.remove(&n);
        if let Some(disk) = self.disks.get_mut(&n) {
            disk.crash(&mut self.random);
        }
        self.mail.retain(|_, mail| !matches!(mail, Mail::Stored { node } if *node == n));
        self.relink();
    }

    pub(super) fn pause(&mut self, n: usize, span: Duration) {
        let until = self.now + span;
        self.nodes.get_mut(&n).unwrap().paused_until = until;
    }

    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.cut.insert((a.min(b), a.max(b)));
        self.relink();
    }

    pub(super) fn isolate(&mut self, n: usize) {
        for other in self.nodes.keys().copied().collect::<Vec<_>>() {
            if other != n {
                self.cut(n, other);
            }
        }
    }

    /// Parts these nodes from all others.
    pub(super) fn split(&mut self, some: &[usize]) {
        let others: Vec<usize> = self.nodes.keys().copied().filter(|n| !some.contains(n)).collect();
        for a in some {
            others.iter().for_each(|b| self.cut(*a, *b));
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
        self.relink();
    }

    pub(super) fn local(&self, n: usize) -> Time {
        let peer = &self.nodes[&n];
        local(self.now, peer.drift_ppm, peer.offset)
    }

    /// Whether a node may decide now, by its own clock.
    pub(super) fn has_lease(&self, n: usize) -> bool {
        self.nodes.get(&n).is_some_and(|peer| self.local(n) < peer.lease)
    }

    pub(super) fn leader(&self) -> Option<usize> {
        let mut leaders: Vec<usize> =
            self.nodes.iter().filter(|(_, peer)| peer.cluster.part() == Part::Leader).map(|(n, _)| *n).collect();
        leaders.sort_by_key(|n| self.nodes[n].cluster.term());
        leaders.pop()
    }

    /// Whether every node is live, holds a lease and agrees on who leads.
    pub(super) fn is_whole(&self) -> bool {
        let leaders: BTreeSet<_> =
            self.nodes.values().map(|peer| (peer.cluster.cluster(), peer.cluster.leader())).collect();
        leaders.len() == 1
            && self.nodes.keys().all(|n| self.has_lease(*n))
            && self.nodes.values().all(|peer| peer.cluster.members().live_count() == self.nodes.len())
    }

    /// Lets time pass until every node is live; how long that took.
    pub(super) fn settle_within(&mut self, span: Duration) -> Duration {
        let begin = self.now;
        while !self.is_whole() {
            assert!(self.now.since(begin) < span, "not whole after {span:?}: {}", self.describe());
            self.pass(millis(10));
        }
        self.now.since(begin)
    }

    /// Lets time pass until every node is live in its own cluster.
    pub(super) fn settle_two(&mut self, span: Duration) {
        let begin = self.now;
        while !self.nodes.keys().all(|n| self.has_lease(*n)) {
            assert!(self.now.since(begin) < span, "not settled after {span:?}: {}", self.describe());
            self.pass(millis(10));
        }
    }

    pub(super) fn describe(&self) -> String {
        let mut out = String::new();
        for (n, peer) in &self.nodes {
            let c = &peer.cluster;
            out += &format!(
                "\n  {n}: {} node {} cluster {:?} term {} leader {:?} live {} of {} lease {} indexes {:?} ",
                c.part().as_str(),
                c.node(),
                c.cluster(),
                c.term(),
                c.leader(),
                c.members().live_count(),
                c.members().iter().count(),
                self.has_lease(*n),
                c.indexes(),
            );
        }
        out
    }

    // Changes.

    pub(super) fn create(&mut self, n: usize) -> u64 {
        self.create_many(n, 1)
    }

    pub(super) fn create_many(&mut self, n: usize, count: usize) -> u64 {
        let now = self.local(n);
        let peer = self.nodes.get_mut(&n).unwrap();
        for _ in 0..count {
            self.last_ticket += 1;
            let (ticket, id) = (self.last_ticket, ChannelId::from_bits(self.random.bits128(), 16));
            self.wanted.insert(ticket, id);
            let command = Command::Create { id, channel: echo() };
            peer.cluster.propose(now, ShardId(0), Ticket(ticket), command);
        }
        self.perform(n);
        self.last_ticket
    }

    pub(super) fn told(&self, n: usize, ticket: u64) -> Option<Outcome> {
        self.nodes.get(&n).and_then(|peer| peer.told.get(&ticket).copied())
    }

    pub(super) fn with<T>(&mut self, n: usize, act: impl FnOnce(&mut Cluster, Time) -> T) -> T {
        let now = self.local(n);
        let out = act(&mut self.nodes.get_mut(&n).unwrap().cluster, now);
        self.perform(n);
        out
    }

    // Time.

    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let mail = self.mail.first_key_value().map(|(key, _)| key.0);
            let wake = self.nodes.iter().filter_map(|(n, peer)| Some((peer.next()?, *n))).min();
            let next = mail.into_iter().chain(wake.map(|(at, _)| at)).min().unwrap_or(Time::MAX);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if let Some((at, n)) = wake
                && at <= next
            {
                self.wake(n);
            } else if let Some((_, mail)) = self.mail.pop_first() {
                self.deliver(mail);
            }
        }
        self.now = end;
    }

    fn wake(&mut self, n: usize) {
        let (now, here) = (self.now, self.local(n));
        let peer = self.nodes.get_mut(&n).unwrap();
        let done = peer.applying.iter().filter(|(at, _)| *at <= now).map(|(_, number)| *number).max();
        peer.applying.retain(|(at, _)| *at > now);
        if let Some(number) = done {
            peer.cluster.applied(here, number);
        }
        peer.cluster.timeout(here);
        self.perform(n);
    }

    fn send(&mut self, delay: Duration, mail: Mail) {
        self.serial += 1;
        self.mail.insert((self.now + delay, self.serial), mail);
    }

    fn deliver(&mut self, mail: Mail) {
        match mail {
            Mail::Post { from, to, link, bytes } => {
                if self.is_paused(to) {
                    return self.send(millis(20), Mail::Post { from, to, link, bytes });
                }
                let Some(found) = self.links.get(&link).filter(|link| link.up).cloned() else { return };
                let life = if found.ends[0] == from { found.lives[0] } else { found.lives[1] };
                self.with(to, |cluster, now| cluster.heard(now, life, &bytes));
            }
            Mail::Up { link } => {
                let Some(found) = self.links.get_mut(&link) else { return };
                found.up = true;
                let found = found.clone();
                for (here, there) in [(0, 1), (1, 0)] {
                    let (from, introduction) = {
                        let peer = &self.nodes[&found.ends[there]];
                        (peer.from, peer.introduction.clone())
                    };
                    let life = found.lives[there];
                    self.with(found.ends[here], |cluster, now| cluster.link_up(now, life, &introduction, from));
                }
            }
            Mail::Down { node, life } => {
                if self.nodes.contains_key(&node) {
                    self.with(node, |cluster, now| cluster.link_down(now, life));
                }
            }
            Mail::Told { node, introduction } => {
                let life = introduction.life;
                let linked = |link: &Link| link.up && link.ends.contains(&node) && link.lives.contains(&life);
                if self.links.values().any(linked) {
                    self.with(node, |cluster, now| cluster.link_told(now, life, &introduction));
                }
            }
            Mail::Met { node, dial, address } => self.meet(node, dial, &address),
            Mail::Resolved { node, host } => self.resolve(node, host),
            Mail::Probed { node } => self.probe(node),
            Mail::Stored { node } => self.stored(node),
        }
    }

    fn is_paused(&self, n: usize) -> bool {
        self.nodes.get(&n).is_some_and(|peer| peer.paused_until > self.now)
    }

    fn can_reach(&self, a: usize, b: usize) -> bool {
        self.nodes.contains_key(&a) && self.nodes.contains_key(&b) && !self.cut.contains(&(a.min(b), a.max(b)))
    }

    /// Makes links what they are to be: one for each pair of which one end expects the other.
    fn relink(&mut self) {
        let mut gone = Vec::new();
        for (id, link) in &self.links {
            let [a, b] = link.ends;
            let same = |n: usize, life: Life| self.nodes.get(&n).is_some_and(|peer| peer.introduction.life == life);
            if !(self.can_reach(a, b) && same(a, link.lives[0]) && same(b, link.lives[1]) && self.expects(a, b)) {
                gone.push(*id);
            }
        }
        for id in gone {
            let link = self.links.remove(&id).unwrap();
            if link.up {
                for (here, there) in [(0, 1), (1, 0)] {
                    let delay = Duration::from_micros(200 + self.random.below(2_000));
                    self.send(delay, Mail::Down { node: link.ends[here], life: link.lives[there] });
                }
            }
        }
        let numbers: Vec<usize> = self.nodes.keys().copied().collect();
        for a in &numbers {
            for b in numbers.iter().filter(|b| *b > a) {
                let linked = self.links.values().any(|link| link.ends == [*a, *b]);
                if !linked && self.can_reach(*a, *b) && self.expects(*a, *b) {
                    self.serial += 1;
                    let lives = [self.nodes[a].introduction.life, self.nodes[b].introduction.life];
                    self.links.insert(self.serial, Link { ends: [*a, *b], lives, up: false });
                    let (link, delay) = (self.serial, millis(3 + self.random.below(10)));
                    self.send(delay, Mail::Up { link });
                }
            }
        }
    }

    /// How many pairs are linked.
    pub(super) fn links(&self) -> usize {
        self.links.len()
    }

    /// Whether one of the two wants to be linked with the other.
    fn expects(&self, a: usize, b: usize) -> bool {
        let wants = |a: usize, b: usize| {
            let (a, b) = (&self.nodes[&a], &self.nodes[&b]);
            a.expected.iter().any(|(life, address)| *life == b.introduction.life && *address == b.address)
        };
        wants(a, b) || wants(b, a) || self.met.contains(&(a.min(b), a.max(b)))
    }

    // Deeds.

    fn perform(&mut self, n: usize) {
        let mut relink = false;
        while let Some(deed) = self.nodes.get_mut(&n).unwrap().cluster.next_deed() {
            relink |= self.do_one(n, deed);
        }
        let (now, paused) = (self.now, self.is_paused(n));
        let peer = self.nodes.get_mut(&n).unwrap();
        let at = peer.cluster.deadline().map(|at| true_time(at, peer.drift_ppm, peer.offset));
        peer.wakes = at.map(|at| at.max(now + Duration::from_micros(if paused { 20_000 } else { 50 })));
        if relink {
            self.relink();
        }
    }

    fn do_one(&mut self, n: usize, deed: Deed) -> bool {
        if self.trace && !matches!(deed, Deed::Post { .. } | Deed::Lease(_)) {
            println!("{:?} node {n}: {deed:?}", self.now);
        }
        match deed {
            Deed::Apply { number, command, own } => self.apply(n, number, command, own),
            Deed::Settle { ticket, outcome, .. } => self.settle(n, ticket.0, outcome),
            Deed::Post { life, bytes } => self.post(n, life, bytes),
            Deed::Lease(until) => self.nodes.get_mut(&n).unwrap().lease = until,
            Deed::Expect(list) => {
                self.nodes.get_mut(&n).unwrap().expected = list;
                return true;
            }
            Deed::Introduce(introduction) => {
                if let Some(cluster) = introduction.cluster {
                    self.founded.entry(cluster).or_insert(n);
                }
                self.tell_linked(n, &introduction);
                self.nodes.get_mut(&n).unwrap().introduction = introduction;
                return true;
            }
            Deed::Life(_) => {}
            Deed::Out => {
                let now = self.local(n);
                let peer = self.nodes.get_mut(&n).unwrap();
                peer.outs += 1;
                peer.fallen += 1;
                peer.cluster.fallen(now, peer.fallen);
            }
            Deed::Answer { ticket, answer } => {
                let twice = self.nodes.get_mut(&n).unwrap().answers.insert(ticket.0, answer);
                assert!(twice.is_none(), "answered twice");
            }
            Deed::Fail(why) => {
                assert!(self.disks.get(&n).is_some_and(|disk| disk.full), "node {n} failed: {why}");
                self.nodes.get_mut(&n).unwrap().failed = Some(why);
            }
            Deed::Report(event) => self.nodes.get_mut(&n).unwrap().reports.push(event),
            Deed::Left => self.nodes.get_mut(&n).unwrap().left = true,
            Deed::HangUp(life) => {
                let nodes = &self.nodes;
                let of = |other: &usize| nodes.get(other).is_some_and(|peer| peer.introduction.life == life);
                self.met.retain(|(a, b)| !((*a == n && of(b)) || (*b == n && of(a))));
                return true;
            }
            Deed::Meet { dial, address } => {
                let delay = millis(1 + self.random.below(10));
                self.send(delay, Mail::Met { node: n, dial, address });
            }
            Deed::Resolve(host) => self.send(millis(5), Mail::Resolved { node: n, host }),
            Deed::Probe => {
                self.probes += 1;
                self.send(millis(5), Mail::Probed { node: n });
            }
            Deed::Slice => self.slice(n),
            Deed::Restore(state) => self.restore(n, *state),
            Deed::Store(store) => {
                let disk = self.disks.entry(n).or_default();
                disk.queue.push_back(store);
                let delay = Duration::from_micros(300 + self.random.below(3_000));
                self.send(delay, Mail::Stored { node: n });
            }
        }
        false
    }

    /// Those who are linked with a node hear what it says of itself now.
    fn tell_linked(&mut self, n: usize, introduction: &Introduction) {
        let up = |link: &&Link| link.up && link.ends.contains(&n) && link.lives.contains(&introduction.life);
        let others: Vec<usize> =
            self.links.values().filter(up).flat_map(|link| link.ends).filter(|other| *other != n).collect();
        for node in others {
            self.send(millis(1), Mail::Told { node, introduction: introduction.clone() });
        }
    }

    fn post(&mut self, n: usize, life: Life, bytes: Bytes) {
        let found = self.links.iter().find_map(|(id, link)| match (link.up, link.ends, link.lives) {
            (true, [a, b], [_, to]) if a == n && to == life => Some((*id, b)),
            (true, [a, b], [to, _]) if b == n && to == life => Some((*id, a)),
            _ => None,
        });
        let Some((link, to)) = found else { return };
        if self.random.below(100) < self.loss_percent {
            return;
        }
        // In order: the delay is that of the link.
        let delay = Duration::from_micros(150 + (link % 7) * 100);
        self.send(delay, Mail::Post { from: n, to, link, bytes });
    }

    fn apply(&mut self, n: usize, number: u64, command: Command, own: Option<(ShardId, Ticket)>) {
        let cluster = self.nodes[&n].cluster.cluster().unwrap();
        let index = number - self.nodes[&n].cluster.base;
        let known = self.log.entry((cluster, index)).or_insert_with(|| command.clone());
        assert_eq!(*known, command, "two changes under one number");
        if let Command::Node(NodeChange::Gone { life, .. }) = &command {
            self.ended.insert(*life);
            self.check_lease_of(*life);
        }
        if let Command::Node(NodeChange::Closed(life)) = &command {
            let lives = |peer: &Peer| peer.cluster.life() == *life;
            assert!(!self.nodes.values().any(lives), "the clients of a life are taken for gone before it has noticed");
        }
        if let Command::Create { id, .. } = &command {
            assert!(!self.never.contains(id), "what was told not to be made is made");
        }
        if let Some((_, ticket)) = own {
            let Command::Create { id, .. } = &command else { panic!("it is another") };
            assert_eq!(self.wanted[&ticket.0], *id);
        }
        let (now, delay) = (self.now, Duration::from_micros(self.random.below(3_000)));
        let here = self.local(n);
        let slow = self.random.below(3) == 0;
        let peer = self.nodes.get_mut(&n).unwrap();
        assert!(number > peer.number, "numbers grow");
        peer.number = number;
        let outcome = peer.catalogue.apply(here, &command, |_, _| ());
        assert_ne!(outcome, Outcome::Taken, "a change is applied twice");
        peer.cluster.outcome(number, outcome);
        if slow {
            peer.applying.push((now + delay, number));
        } else if peer.applying.is_empty() {
            peer.cluster.applied(here, number);
        } else {
            peer.applying.push((now + delay, number));
        }
    }

    fn check_lease_of(&self, life: Life) {
        for n in self.nodes.keys() {
            let peer = &self.nodes[n];
            assert!(
                peer.cluster.life() != life || !self.has_lease(*n),
                "node {n} holds a lease of {:?} and was ended",
                peer.lease.since(self.local(*n))
            );
        }
    }

    fn settle(&mut self, n: usize, ticket: u64, outcome: Outcome) {
        let id = self.wanted[&ticket];
        let twice = self.nodes.get_mut(&n).unwrap().told.insert(ticket, outcome);
        assert!(twice.is_none(), "told twice");
        match outcome {
            Outcome::Created => {
                self.made.insert(id);
                let cluster = self.nodes[&n].cluster.cluster();
                for (other, peer) in &self.nodes {
                    let holds = self.has_lease(*other) && peer.cluster.cluster() == cluster;
                    let applied = peer.applying.iter().all(|(_, number)| *number > peer.number);
                    assert!(
                        !holds || !applied || peer.catalogue.get(id).is_some(),
                        "answered before node {other} has it"
                    );
                }
            }
            Outcome::NoLeader => {
                self.never.insert(id);
                assert!(self.nodes.values().all(|peer| peer.catalogue.get(id).is_none()), "it was made");
            }
            Outcome::Unknown => {}
            other => panic!("{other:?}"),
        }
    }

    /// Every channel that was told to be made is on every node.
    pub(super) fn check_nothing_lost(&self) {
        for (n, peer) in &self.nodes {
            for id in &self.made {
                assert!(peer.catalogue.get(*id).is_some(), "node {n} has lost a channel");
            }
        }
    }

    // Data directories.

    fn stored(&mut self, n: usize) {
        let Some(disk) = self.disks.get_mut(&n) else { return };
        if !self.nodes.contains_key(&n) {
            return;
        }
        if disk.full {
            return self.with(n, |cluster, now| cluster.persist_failed(now, "the disk is full"));
        }
        if let Some(record) = disk.next() {
            self.with(n, |cluster, now| cluster.persisted(now, record));
        }
    }

    /// Starts a node with the data directory of its place.
    pub(super) fn start_kept(&mut self, n: usize) {
        let files = self.disks.entry(n).or_default().files.clone();
        let files = files.into_iter().map(|(file, bytes)| (file, Bytes::from(bytes))).collect();
        self.start_with(n, None, Some(files));
    }

    // Meeting and finding.

    fn meet(&mut self, n: usize, dial: DialId, address: &NodeAddress) {
        if !self.nodes.contains_key(&n) {
            return;
        }
        let there = self.nodes.iter().find(|(_, peer)| peer.address == *address).map(|(other, _)| *other);
        let reached = there.filter(|other| self.can_reach(n, *other) && !self.is_paused(*other));
        match reached {
            _ if there == Some(n) => {
                let why = LinkEnd::Fault(LinkFault::Oneself);
                self.with(n, |cluster, now| cluster.unmet(now, dial, &why));
            }
            Some(other) => {
                let peer = &self.nodes[&other];
                let (introduction, from) = (peer.introduction.clone(), peer.from);
                self.with(n, |cluster, now| cluster.met(now, dial, &introduction, from));
                // The link stays until one of the two hangs up.
                self.met.insert((n.min(other), n.max(other)));
                self.relink();
            }
            None => {
                let nobody = LinkEnd::Unreachable("nobody".to_owned());
                let why = self.refusal.map_or(nobody, LinkEnd::Refused);
                self.with(n, |cluster, now| cluster.unmet(now, dial, &why));
            }
        }
    }

    fn resolve(&mut self, n: usize, host: String) {
        if self.nodes.contains_key(&n) {
            let addresses = self.names.get(&host).cloned().ok_or_else(|| "no such name".to_owned());
            self.with(n, |cluster, now| cluster.resolved(now, &host, addresses));
        }
    }

    fn probe(&mut self, n: usize) {
        if !self.nodes.contains_key(&n) {
            return;
        }
        let front: Vec<usize> = self.front.iter().copied().filter(|other| self.nodes.contains_key(other)).collect();
        let Some(other) = front.get(self.random.below(front.len() as u64) as usize).copied() else {
            return self.with(n, |cluster, now| cluster.probed(now, None));
        };
        let peer = &self.nodes[&other].cluster;
        let nodes: Vec<String> =
            peer.members().iter().map(|(_, member)| format!(r#"{{"address":"{}"}}"#, member.address)).collect();
        let id = peer.cluster().map_or("null".to_owned(), |id| format!("\"{id:016x}\""));
        let body = format!(r#"{{"message":"x","data":{{"cluster":{id},"nodes":[{}]}}}}"#, nodes.join(","));
        self.with(n, |cluster, now| cluster.probed(now, Some(body.into())));
    }

    fn slice(&mut self, n: usize) {
        let peer = self.nodes.get_mut(&n).unwrap();
        peer.cluster.slice(&peer.catalogue);
    }

    fn restore(&mut self, n: usize, state: State) {
        let here = self.local(n);
        let peer = self.nodes.get_mut(&n).unwrap();
        peer.catalogue = Catalogue::new();
        for (id, channel) in state.channels {
            assert!(!self.never.contains(&id), "what was told not to be made is made");
            peer.catalogue.apply(here, &Command::Create { id, channel }, |_, _| ());
        }
        peer.applying.clear();
        peer.number = state.number;
        peer.cluster.applied(here, state.number);
    }
}

impl Peer {
    fn next(&self) -> Option<Time> {
        let applying = self.applying.iter().map(|(at, _)| *at).min();
        applying.into_iter().chain(self.wakes).min()
    }
}

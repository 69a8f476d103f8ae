//! What one seed decides beforehand: how many nodes, how they form a cluster, what may go wrong, and for how long.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wrs_core::boot::Boot;
use wrs_core::cluster::{Founders, VERSION};
use wrs_core::config::{Config, NodeAddress, Secret};
use wrs_core::id::NodeId;
use wrs_core::members::Member;
use wrs_core::pages::{PageContext, Pages};

use crate::sim::Random;

/// The cluster port of every node.
pub const NODE_PORT: u16 = 4000;
/// The name that resolves to all nodes.
pub const DNS_NAME: &str = "wrs-headless";
/// `WRS_DOMAIN`, where it is used: whoever answers behind the load balancer.
pub const DOMAIN: &str = "wrs.example";
/// The port of the service.
pub const API_PORT: u16 = 8080;

/// How the nodes find each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forming {
    /// They are one from the beginning.
    Given,
    /// `WRS_SEEDS` lists the addresses.
    Seeds,
    /// `WRS_SEEDS` is one name that resolves to all.
    Dns,
    /// Each founds its own, and is told by hand to join the first.
    ByHand,
    /// `WRS_DOMAIN` is a load balancer before them.
    Domain,
}

/// What may go wrong. Each has a weight; 0 never happens.
#[derive(Clone, Debug, Default)]
pub struct Nemesis {
    /// The mean time between two faults, in milliseconds; 0: there are none.
    pub mean_ms: u64,
    /// `kill -9` or a power cut.
    pub crash: u32,
    /// SIGTERM.
    pub drain: u32,
    /// SIGSTOP.
    pub pause: u32,
    /// Links that do not carry, in one or both directions.
    pub partition: u32,
    /// One connection breaks at any byte, perhaps after garbage.
    pub cut: u32,
    /// A link that carries nothing for a while.
    pub stall: u32,
    /// Strangers at the cluster port.
    pub stranger: u32,
    /// A node that was not there before.
    pub newcomer: u32,
    /// A data directory that takes no more.
    pub full: u32,
    /// Dials that are refused for a while.
    pub refuse: u32,
}

/// What a plan does to meet the moments that matter: changes that are under way, words that cross.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Aim {
    /// Whether clients come, go and send much on one channel about each fault and each change of the live nodes.
    pub rush: bool,
    /// How late a shard's thread may be woken now and then, at most, in microseconds.
    pub lag_us: u64,
    /// Whether a shard's thread may stand still for longer than a lease while its node's head goes on.
    pub hang: bool,
    /// Whether more nodes may be away at a time than the cluster can do without (`WRS_SIM_HARSH`).
    pub harsh: bool,
}

impl Aim {
    /// Of two runs of one seed that differ in this alone, one may fail and the other not: so it is drawn apart.
    pub fn of(seed: u64) -> Aim {
        let random = &mut Random::new(seed).branch(4);
        let harsh = std::env::var_os("WRS_SIM_HARSH").is_some();
        if random.below(4) == 0 {
            return Aim { harsh, ..Aim::default() };
        }
        Aim { harsh, rush: true, lag_us: pick(random, &[0, 500, 4_000, 20_000]), hang: random.below(3) == 0 }
    }
}

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it came from.
    pub seed: u64,
    /// Nodes at the beginning.
    pub nodes: usize,
    /// Places for nodes, newcomers included.
    pub slots: usize,
    /// Shards of the node in each place.
    pub shards: Vec<u16>,
    /// How they form a cluster.
    pub forming: Forming,
    /// Whether they keep everything in memory.
    pub memory: bool,
    /// Parts per million by which each node's clock is off.
    pub drift_ppm: Vec<i32>,
    /// Whether not everything is tried out at the end.
    pub short: bool,
    /// How long chance acts, in milliseconds.
    pub span_ms: u64,
    /// Between two acts of clients, on an average, in microseconds.
    pub act_us: u64,
    /// Most connections at a time.
    pub conns_max: usize,
    /// Most channels at a time.
    pub channels_max: usize,
    /// Payload bytes of a message, at most.
    pub payload_max: u64,
    /// Messages in one act, at most.
    pub burst: u64,
    /// Whether some channels have a short timeout.
    pub timeouts: bool,
    /// Whether channels are deleted and reset.
    pub deletes: bool,
    /// Nanoseconds that a piece takes between nodes: at least, and what comes on top on an average.
    pub delay: (u64, u64),
    /// What goes wrong.
    pub nemesis: Nemesis,
    /// When most happens.
    pub aim: Aim,
    /// What all nodes have in common.
    pub config: Config,
    /// Bytes that a connection between nodes takes.
    pub link_window: usize,
}

fn pick<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len() as u64) as usize]
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64, aim: Aim, random: &mut Random) -> Plan {
        let nodes = pick(random, &[1, 2, 2, 3, 3, 3, 3, 4, 5, 5]);
        let slots = nodes + pick(random, &[0, 0, 1, 2]);
        let shards = (0..slots).map(|_| pick(random, &[1, 1, 1, 2, 2, 3, 4])).collect();
        let memory = random.below(3) > 0;
        // What a quiet cluster says costs events, too: fast heartbeats are the few.
        let slow = [(300, 2_000, 3_000), (300, 1_000, 1_500), (300, 1_000, 1_500), (100, 600, 900)];
        let (heartbeat, least, most) = if random.below(8) == 0 { (50, 300, 600) } else { pick(random, &slow) };
        let message_bytes_max = pick(random, &[600, 2_000]);
        let config = Config {
            message_bytes_max,
            send_buffer_bytes_max: pick(random, &[4, 16, 64]) * message_bytes_max,
            body_bytes_max: 1_000,
            header_bytes_max: 2_000,
            read_buffer_bytes: pick(random, &[500, 4_096, 65_536]),
            peer_window_bytes: pick(random, &[1_000, 4_000, 30_000, 1 << 20]),
            asks_max: pick(random, &[8, 100, 16_384]),
            list_chunk: 4,
            ping_interval: None,
            handshake_timeout: ms(10_000),
            keepalive_timeout: ms(75_000),
            drain_timeout: ms(pick(random, &[6_000, 10_000])),
            heartbeat: ms(heartbeat),
            election_timeout_min: ms(least),
            election_timeout_max: ms(most),
            snapshot_length: pick(random, &[4, 20, 10_000]),
            startup_delay_max: ms(pick(random, &[100, 1_000])),
            cluster_secret: Some(Secret::new("a secret of the simulation")),
            bind: std::net::IpAddr::from([0, 0, 0, 0]),
            channels_max: pick(random, &[6, 1_000, 1_000]),
            ..Config::default()
        };
        let forming = pick(
            random,
            &[
                Forming::Given,
                Forming::Given,
                Forming::Given,
                Forming::Seeds,
                Forming::Dns,
                Forming::ByHand,
                Forming::Domain,
            ],
        );
        // What a data directory holds begins with how the cluster was formed.
        let memory = memory || forming == Forming::Given;
        let calm = random.below(6) == 0;
        let weight = |random: &mut Random, heavy: u32| if random.below(3) > 0 { heavy } else { 0 };
        let nemesis = Nemesis {
            mean_ms: if calm { 0 } else { pick(random, &[300, 1_000, 3_000]) },
            crash: weight(random, 3),
            drain: weight(random, 2),
            pause: weight(random, 3),
            partition: weight(random, 4),
            cut: weight(random, 4),
            stall: weight(random, 2),
            stranger: weight(random, 1),
            newcomer: weight(random, 2),
            full: if memory { 0 } else { weight(random, 1) },
            refuse: weight(random, 1),
        };
        // A node more than the name leads to at first: two of them would be most of all.
        let slots = if forming == Forming::Dns && nodes == 1 { slots.min(2) } else { slots };
        // Most runs are short, so that there can be many; what takes its time has it in the others.
        let long = random.below(8) == 0;
        let (span_ms, hurry) =
            if long { (pick(random, &[4_000, 8_000, 15_000]), 1) } else { (pick(random, &[300, 700, 1_500]), 4) };
        let nemesis = Nemesis { mean_ms: nemesis.mean_ms / hurry, ..nemesis };
        Plan {
            seed,
            nodes,
            slots,
            shards,
            forming,
            memory,
            drift_ppm: (0..slots).map(|_| random.below(20_001) as i32 - 10_000).collect(),
            short: !long,
            span_ms,
            act_us: pick(random, &[2_000, 5_000, 20_000]),
            conns_max: pick(random, &[8, 16, 30]),
            channels_max: pick(random, &[2, 3, 6]),
            payload_max: pick(random, &[8, 60, 400]),
            burst: pick(random, &[1, 4, 20]),
            timeouts: random.below(4) == 0,
            deletes: random.below(2) == 0,
            delay: pick(random, &[(20_000, 20_000), (200_000, 300_000), (1_000_000, 5_000_000)]),
            nemesis,
            aim,
            link_window: pick(random, &[4_000, 100_000, 1 << 20]),
            // Where the limit is far away, a wait that has no end shows.
            config: Config { seat_timeout: ms(pick(random, &[10_000, 300_000])), ..config },
        }
    }

    /// How long after its last word a leader counts a node out, about, in nanoseconds.
    pub fn counted_out_after(&self) -> u64 {
        let lease = self.config.election_timeout_min * 3 / 4;
        (lease + lease / 10 + ms(100)).as_nanos() as u64
    }

    /// The address of the node in a place.
    pub fn address(slot: usize) -> NodeAddress {
        NodeAddress { host: format!("10.0.0.{}", slot + 1), port: Some(NODE_PORT) }
    }

    /// The configuration of the node in a place.
    pub fn config_of(&self, slot: usize) -> Config {
        let mut config = self.config.clone();
        config.shards = self.shards[slot];
        config.node_port = NODE_PORT;
        config.node_address = Some(Plan::address(slot));
        config.data_dir = (!self.memory).then(|| PathBuf::from("data"));
        match self.forming {
            Forming::Given | Forming::Seeds => config.seeds = (0..self.nodes).map(Plan::address).collect(),
            Forming::Dns => {
                config.seeds = vec![NodeAddress { host: DNS_NAME.to_owned(), port: Some(NODE_PORT) }];
                config.cluster_size = Some(self.nodes as u16);
            }
            Forming::ByHand => {}
            Forming::Domain => {
                config.domain = DOMAIN.to_owned();
                config.public_api_port = Some(API_PORT);
            }
        }
        config
    }

    /// The cluster that is there from the beginning, as the node in a place knows it.
    fn founders(&self, slot: usize) -> Founders {
        let id = |slot: usize| NodeId(1 + slot as u64);
        let member = |slot: usize| Member {
            incarnation: 1 + slot as u64,
            address: Plan::address(slot),
            shards: self.shards[slot],
            version: VERSION,
            life: None,
        };
        let members = (0..self.nodes).map(|slot| (id(slot), member(slot))).collect();
        Founders { cluster: 1 + self.seed, own: id(slot), members }
    }

    /// What the shards of the node in a place start from. The pages are made once per process: they are the same for every
    /// seed.
    pub fn boot(&self, slot: usize, run: u64) -> Boot {
        static PAGES: std::sync::OnceLock<Arc<Pages>> = std::sync::OnceLock::new();
        let pages = PAGES.get_or_init(|| {
            Arc::new(Pages::new(&PageContext {
                tls: false,
                domain: "127.0.0.1".to_owned(),
                public_port: API_PORT,
                auth: false,
                exposed_without_auth: false,
                browser_only: false,
                readme_markdown: None,
                version: "0",
            }))
        });
        let mut key = [9; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&(slot as u64).to_le_bytes());
        key[16..24].copy_from_slice(&run.to_le_bytes());
        Boot {
            config: Arc::new(self.config_of(slot)),
            pages: pages.clone(),
            key,
            public_port: API_PORT,
            node_port: NODE_PORT,
            stored: None,
            founders: (self.forming == Forming::Given && run == 1 && slot < self.nodes).then(|| self.founders(slot)),
        }
    }
}

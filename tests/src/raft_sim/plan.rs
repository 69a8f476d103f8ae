//! What a seed draws: sizes, timeouts, and which faults happen how often.

use core::time::Duration;

use wrs_raft::{Config, ReadMode};

use crate::sim::{DiskFaults, LinkFaults, MICRO, MILLI, Random, Spec};

/// Nodes that may ever take part.
pub const NODES: usize = 9;
/// The most voters at a time.
pub const VOTERS_MAX: usize = 7;

/// The kinds of faults that a spec can switch off.
pub const FAULTS: &[&str] = &[
    "loss",
    "duplicate",
    "late",
    "partition",
    "clog",
    "crash",
    "pause",
    "clock",
    "slow-disk",
    "sync-fail",
    "rot",
    "wipe",
    "members",
    "transfer",
    "campaign",
    "compact",
    "burst",
    "batch",
    "flip",
    "bridge",
    "reads",
    "rejoin",
    "report",
    "lease",
    "codec",
    "memory",
    "chunks",
    "chunk-damage",
];

/// One seed's mix.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Voters at the start, nodes 1 to this.
    pub founders: usize,
    /// The election timeout, nanoseconds.
    pub election: u64,
    /// The settings that every node starts with (but for its id, seed and incarnation).
    pub config: Config,
    /// The network's faults.
    pub link: LinkFaults,
    /// The disks' faults.
    pub disk: DiskFaults,
    /// Whether clocks stay within the bound that leases rest on.
    pub lease: bool,
    /// The most that a clock drifts, parts per million.
    pub drift_ppm: i32,
    /// Whether clocks jump forward.
    pub jumps: bool,
    /// The mean time between fault actions.
    pub nemesis_mean: u64,
    /// How likely each kind of fault action is; see `nemesis`.
    pub weights: Vec<u32>,
    /// The mean time until a crashed node restarts.
    pub downtime_mean: u64,
    /// The mean time between a client's requests.
    pub think_mean: u64,
    /// Clients at work.
    pub clients: usize,
    /// Reads among requests, parts per million.
    pub read_ppm: u32,
    /// The most padding in a payload.
    pub payload_max: u64,
    /// The mean time to apply what is handed out; 0: at once.
    pub apply_mean: u64,
    /// Entries between snapshots; 0: only when the nemesis asks.
    pub snapshot_every: u64,
    /// Inputs that wait for a flush, parts per million.
    pub batch_ppm: u32,
    /// Whether flags flip at a restart.
    pub flip: bool,
    /// Joint changes that the operator leaves by hand, parts per million.
    pub explicit_joint_ppm: u32,
    /// Whether every record is reported by itself rather than many at once.
    pub report_each: bool,
    /// Whether the operator tells the incarnations of nodes.
    pub names: bool,
    /// Whether messages are bytes on their way.
    pub codec: bool,
    /// Of these, damaged on their way so that they are not delivered, parts per million.
    pub damage_ppm: u32,
    /// Which nodes, by their place, keep nothing on disk: each start is a new node under an old name.
    pub memory: [bool; NODES],
    /// Bytes in a chunk of a snapshot; 0: snapshots go as a whole.
    pub chunk_bytes: u64,
    /// After how long without an answer a chunk is sent again, nanoseconds.
    pub chunk_retry: u64,
    /// Chunks of which a bit is changed on their way, parts per million.
    pub chunk_damage_ppm: u32,
    /// Bytes that a snapshot is longer than the state.
    pub snapshot_padding: usize,
    /// Whether who leads no more ends what it was sending.
    pub tidy_senders: bool,
}

impl Plan {
    /// What `spec` draws.
    #[must_use]
    pub fn draw(spec: &Spec) -> Plan {
        let mut random = Random::new(spec.seed).branch(1);
        let random = &mut random;
        let on = |name: &str, chance: bool| chance && !spec.is_off(name);
        let founders = *random.pick(&[1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 7]).unwrap_or(&3);
        let election = *random.pick(&[100 * MILLI, 200 * MILLI, 300 * MILLI]).unwrap_or(&MILLI);
        let lease = random.below(5) == 0;
        let config = Plan::draw_config(random, election, lease);
        let some = |random: &mut Random, most: u64| if random.coin() { random.below(most) as u32 } else { 0 };

        let delay = *random.pick(&[50 * MICRO, 500 * MICRO, 2 * MILLI, 8 * MILLI]).unwrap_or(&MICRO);
        let mut link = LinkFaults {
            loss_ppm: some(random, 200_000),
            duplicate_ppm: some(random, 300_000),
            delay_min: delay / 2,
            delay_mean: delay,
            late_ppm: some(random, 60_000),
            late_max: election * (1 + random.below(8)),
            ordered: random.below(4) == 0,
        };
        let sync = *random.pick(&[20 * MICRO, 500 * MICRO, 3 * MILLI, 10 * MILLI]).unwrap_or(&MICRO);
        let mut disk = DiskFaults {
            sector_bytes: *random.pick(&[64, 512, 4096]).unwrap_or(&512),
            sync_min: sync / 2,
            sync_mean: sync,
            slow_ppm: some(random, 50_000),
            slow_max: election * (1 + random.below(5)),
            fail_ppm: if random.below(4) == 0 { random.below(1_500) as u32 } else { 0 },
            torn_ppm: some(random, 300_000),
        };
        for (name, rate) in [
            ("loss", &mut link.loss_ppm),
            ("duplicate", &mut link.duplicate_ppm),
            ("late", &mut link.late_ppm),
            ("slow-disk", &mut disk.slow_ppm),
            ("sync-fail", &mut disk.fail_ppm),
        ] {
            *rate = if spec.is_off(name) { 0 } else { *rate };
        }
        let mut busy = false;
        let weights = crate::raft_sim::nemesis::KINDS
            .iter()
            .map(|(name, most)| {
                let weight = if random.below(3) == 0 { 0 } else { 1 + random.below(*most) as u32 };
                if spec.is_off(name) || *name == "lease" { 0 } else { weight }
            })
            .collect();
        let mut weights: Vec<u32> = weights;
        let founders = if random.below(4) == 0 {
            // A seed of much coming and going: disks are lost, and nodes come back under their old names within a term.
            for (weight, (name, _)) in weights.iter_mut().zip(crate::raft_sim::nemesis::KINDS) {
                *weight = match *name {
                    "lease" => 0,
                    "members" => 60,
                    "rejoin" => 20,
                    "wipe" | "crash" | "compact" | "transfer" => (*weight).max(3),
                    _ => *weight / 3,
                };
                *weight = if spec.is_off(name) { 0 } else { *weight };
            }
            link.late_ppm = if spec.is_off("late") { 0 } else { link.late_ppm.max(30_000) };
            busy = true;
            1 + random.below(4) as usize
        } else {
            founders
        };
        let bound = if lease { 400 } else { 100_000 };
        let mut plan = Plan {
            founders,
            election,
            config,
            link,
            disk,
            lease,
            drift_ppm: if on("clock", random.coin()) { 1 + random.below(bound) as i32 } else { 0 },
            jumps: on("clock", random.coin()) && !lease,
            nemesis_mean: if busy { election / 3 } else { election * (1 + random.below(12)) / 4 },
            weights,
            downtime_mean: election * (1 + random.below(10)) / 2,
            think_mean: *random.pick(&[delay, 5 * MILLI, 20 * MILLI, election / 2]).unwrap_or(&MILLI),
            clients: 1 + random.below(super::app::CLIENTS as u64) as usize,
            read_ppm: if on("reads", random.below(4) > 0) { random.below(700_000) as u32 } else { 0 },
            payload_max: *random.pick(&[16, 64, 64, 2_000]).unwrap_or(&16),
            apply_mean: if random.coin() { 0 } else { *random.pick(&[MICRO, MILLI, election / 4]).unwrap_or(&MICRO) },
            snapshot_every: *random.pick(&[0, 5, 20, 100]).unwrap_or(&0),
            batch_ppm: if on("batch", random.below(3) == 0) { random.below(600_000) as u32 } else { 0 },
            flip: on("flip", random.below(4) == 0) && !lease,
            explicit_joint_ppm: some(random, 1_000_000),
            report_each: random.coin(),
            names: random.below(3) > 0,
            codec: on("codec", random.below(4) == 0),
            damage_ppm: some(random, 50_000),
            memory: [false; NODES],
            chunk_bytes: 0,
            chunk_retry: 0,
            chunk_damage_ppm: 0,
            snapshot_padding: 0,
            tidy_senders: false,
        };
        if let (true, Some(weight)) = (lease && !spec.is_off("lease"), plan.weights.last_mut()) {
            *weight = 6;
        }
        plan.config.apply_at_once = plan.apply_mean == 0 && random.coin();
        plan.draw_memory(spec);
        plan.draw_chunks(spec);
        plan
    }

    /// One seed in four sends its snapshots in chunks, and needs many.
    fn draw_chunks(&mut self, spec: &Spec) {
        let random = &mut Random::new(spec.seed).branch(8);
        if random.below(4) > 0 || spec.is_off("chunks") {
            return;
        }
        self.chunk_bytes = *random.pick(&[5, 16, 40, 400]).unwrap_or(&16);
        self.snapshot_padding = if random.coin() { random.below(self.chunk_bytes * 24) as usize } else { 0 };
        self.chunk_retry = (self.link.delay_mean * 4).max(self.election / (1 + random.below(10)));
        let damage = if random.coin() { random.below(150_000) as u32 } else { 0 };
        self.chunk_damage_ppm = if spec.is_off("chunk-damage") { 0 } else { damage };
        self.tidy_senders = random.coin();
        self.snapshot_every = if self.snapshot_every == 0 { 20 } else { self.snapshot_every.min(20) };
        self.config.log_tail_entries = self.config.log_tail_entries.min(3);
    }

    /// One seed in six has nodes that keep nothing: all, or each by chance. Whoever crashes is removed, added anew and promoted, so
    /// there is much to do for the operator.
    fn draw_memory(&mut self, spec: &Spec) {
        let random = &mut Random::new(spec.seed).branch(7);
        let all = random.coin();
        if random.below(6) > 0 || spec.is_off("memory") {
            return;
        }
        for place in &mut self.memory {
            *place = all || random.coin();
        }
        self.founders = if random.below(4) == 0 { self.founders } else { self.founders.max(3) };
        self.nemesis_mean = self.nemesis_mean.min(self.election / 2);
        for (weight, (name, _)) in self.weights.iter_mut().zip(crate::raft_sim::nemesis::KINDS) {
            *weight = match *name {
                _ if spec.is_off(name) => 0,
                "members" => 60,
                "crash" => (*weight).max(8),
                "compact" | "transfer" => (*weight).max(3),
                _ => *weight,
            };
        }
    }

    fn draw_config(random: &mut Random, election: u64, lease: bool) -> Config {
        let mut config = Config::new(wrs_raft::NodeId(1));
        config.election_timeout = Duration::from_nanos(election);
        config.heartbeat_interval = Duration::from_nanos(election / random.between(3, 10));
        config.pre_vote = random.below(5) > 0;
        config.check_quorum = lease || random.below(5) > 0;
        config.reads = if lease { ReadMode::Lease { drift_ppm_max: 1_000 } } else { ReadMode::Quorum };
        config.forward_proposals = random.below(4) == 0;
        config.apply_before_persisted = random.below(6) == 0;
        config.append_bytes_max = *random.pick(&[1, 100, 1_000, 1 << 20]).unwrap_or(&1);
        config.inflight_messages_max = *random.pick(&[1, 2, 4, 256]).unwrap_or(&256);
        config.inflight_bytes_max = config.append_bytes_max.max(*random.pick(&[1, 2_000, 1 << 24]).unwrap_or(&1));
        config.uncommitted_bytes_max = *random.pick(&[100, 5_000, 1 << 26]).unwrap_or(&1);
        config.proposals_max = *random.pick(&[4, 65_536]).unwrap_or(&4);
        config.applying_bytes_max = *random.pick(&[1, 300, 1 << 24]).unwrap_or(&1);
        config.reads_max = *random.pick(&[3, 65_536]).unwrap_or(&3);
        config.log_tail_entries = *random.pick(&[0, 0, 3, 30, u64::MAX]).unwrap_or(&0);
        config
    }
}

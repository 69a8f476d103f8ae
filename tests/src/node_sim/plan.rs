//! What one seed decides before anything happens: the node's limits, who comes, and for how long.

use std::sync::Arc;
use std::time::Duration;

use wrs_core::boot::Boot;
use wrs_core::config::Config;
use wrs_core::pages::{PageContext, Pages};
use wrs_core::random::Random;

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it came from.
    pub seed: u64,
    /// The node.
    pub config: Arc<Config>,
    /// Rounds of activity, each followed by a rest and its checks.
    pub rounds: u64,
    /// Steps in a round.
    pub steps: u64,
    /// Most connections at a time.
    pub conns_max: usize,
    /// Most channels at a time.
    pub channels_max: usize,
    /// How likely a new program is hostile, in percent.
    pub hostile: u64,
    /// Whether programs that send much do.
    pub floods: bool,
    /// Payload bytes of a message, at most.
    pub payload_max: u64,
    /// Whether writes are cut at random.
    pub cuts: bool,
}

fn pick<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len() as u64) as usize]
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64, random: &mut Random) -> Plan {
        let ms = Duration::from_millis;
        let shards = pick(random, &[1, 1, 2, 2, 2, 3, 3, 4, 5, 8, 16]);
        let message_bytes_max = pick(random, &[600, 2_000, 20_000]);
        let send_buffer_bytes_max = pick(random, &[2, 2, 4, 16]) * message_bytes_max;
        let config = Config {
            shards,
            message_bytes_max,
            send_buffer_bytes_max,
            body_bytes_max: 1_000,
            header_bytes_max: pick(random, &[600, 2_000]),
            read_buffer_bytes: pick(random, &[64, 500, 4_096, 65_536]),
            peer_window_bytes: pick(random, &[300, 1_000, 4_000, 30_000, 1 << 20]),
            list_chunk: pick(random, &[1, 2, 256]),
            ping_interval: pick(random, &[None, Some(ms(700)), Some(ms(5_000)), Some(ms(30_000))]),
            handshake_timeout: ms(pick(random, &[300, 2_000, 10_000])),
            keepalive_timeout: ms(pick(random, &[500, 5_000, 20_000])),
            drain_delay: ms(pick(random, &[0, 0, 300])),
            drain_timeout: ms(pick(random, &[6_000, 10_000])),
            message_rate_max: pick(random, &[0, 0, 0, 0, 0, 20]),
            create_rate_max: 0,
            clients_max: pick(random, &[8, 1_000, 1_000, 1_000]),
            clients_per_address_max: pick(random, &[0, 0, 0, 4]),
            channels_max: pick(random, &[4, 1_000, 1_000]),
            deflate: random.below(4) == 0,
            ..Config::default()
        };
        Plan {
            seed,
            config: Arc::new(config),
            rounds: 2 + random.below(5),
            steps: pick(random, &[150, 400, 900]),
            conns_max: pick(random, &[6, 14, 30]),
            channels_max: pick(random, &[1, 2, 6]),
            hostile: pick(random, &[0, 0, 10, 40]),
            floods: random.below(3) == 0,
            payload_max: pick(random, &[8, 60, 400]),
            cuts: random.below(2) == 0,
        }
    }

    /// What the shards start from. The pages are made once per process: they are the same for every seed.
    pub fn boot(&self) -> Boot {
        static PAGES: std::sync::OnceLock<Arc<Pages>> = std::sync::OnceLock::new();
        let pages = PAGES.get_or_init(|| {
            Arc::new(Pages::new(&PageContext {
                tls: false,
                domain: "127.0.0.1".to_owned(),
                public_port: 8080,
                auth: false,
                exposed_without_auth: false,
                browser_only: false,
                readme_markdown: None,
                version: "0",
            }))
        });
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        let (config, pages) = (self.config.clone(), pages.clone());
        Boot { config, pages, key, public_port: 8080, node_port: 4000, stored: None, founders: None }
    }
}

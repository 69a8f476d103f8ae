//! The configuration: command line and environment in, one checked [`Config`] out.
//!
//! Parse, don't validate: what is in a `Config` is legal and consistent, so that nothing after start-up asks again.
//! Nothing here reads a file, the environment or the machine: the adapter passes in texts and [`HostFacts`], and reads
//! the files whose paths stand here. Rules guarded: every limit of the node has a name and a unit here, and no error or
//! warning shows a token.

mod address;
mod draft;
mod help;
mod parse;
mod rules;
mod secret;
mod table;
mod value;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

pub use address::{AddressBlock, NodeAddress, Origin, Origins};
pub use help::{VERSION, help};
pub use parse::{ClientCommand, Command, ConfigError, Parsed};
pub use rules::{RULE_REGEX_BYTES_MAX, RULE_REGEX_DEPTH_MAX, RULES_MAX, Rule, RuleError, Rules};
pub use secret::Secret;

/// Bytes in a KiB.
const KIB: usize = 1024;
/// Bytes in a MiB.
const MIB: usize = 1024 * KIB;

/// The newest version of the cluster's protocol that this code speaks, and writes once all members know it.
pub const PROTOCOL: u8 = 1;
/// The oldest version that it speaks: the one before, if there was one.
pub const PROTOCOL_MIN: u8 = 1;
/// The most shards of a node.
pub const SHARDS_MAX: u16 = 1_024;
/// Files that a node needs for itself, whatever it serves: standard streams, log, snapshot, signals, node links.
pub const OPEN_FILES_OF_NODE: u64 = 32;
/// Files that a shard needs for itself: listener, poller, wake-up and timer.
pub const OPEN_FILES_OF_SHARD: u64 = 8;
/// One file in so many stays free for connections that are not clients: REST, handshakes, refusals.
pub const OPEN_FILES_SHARE_OF_REST: u64 = 16;
/// Clients per node where the machine sets no limit on open files.
pub const CLIENTS_MAX_UNLIMITED: u64 = 1_000_000;

/// What the adapter knows of the machine and the configuration's defaults depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostFacts {
    /// Threads that can run at once; the default of `WRS_SHARDS`.
    pub parallelism: usize,
    /// Files that this program may have open, as `ulimit -n` says it when the node starts to listen; `None` for no limit.
    pub open_files_limit: Option<u64>,
}

impl Default for HostFacts {
    /// One core and the usual soft limit of 1,024 files.
    fn default() -> Self {
        HostFacts { parallelism: 1, open_files_limit: Some(1024) }
    }
}

/// The API token and what it guards (`WRS_AUTH=true`).
#[derive(Clone, Debug)]
pub struct Auth {
    /// `WRS_AUTH_TOKEN`.
    pub token: Secret,
    /// `WRS_AUTH_RESOURCES`.
    pub rules: Rules,
}

/// Where a certificate chain and its key are, both PEM. The adapter reads them, again on SIGHUP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsPaths {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// The private key of the leaf.
    pub key: PathBuf,
}

/// How log lines look (`WRS_LOG_FORMAT`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A node's configuration. Every field is legal, and consistent with the others, when it comes from [`Config::parse`];
/// whoever changes one by hand (a test, an embedder) answers for that.
#[derive(Clone, Debug)]
pub struct Config {
    /// `WRS_API_PORT`: where REST and WebSocket are served. 0 lets the system choose.
    pub api_port: u16,
    /// `WRS_BIND`: the address to listen on.
    pub bind: IpAddr,
    /// `WRS_PUBLIC_API_PORT`: the port as seen outside; `None` means the one that the node listens on.
    pub public_api_port: Option<u16>,
    /// `WRS_DOMAIN`: the service's host name or address as seen outside; an IPv6 address stands in brackets.
    pub domain: String,
    /// `WRS_TOKEN_LENGTH`: hexadecimal digits of a channel token, 8 to 128.
    pub token_length: usize,
    /// `WRS_ID_LENGTH`: hexadecimal digits of one of the two groups of a channel id, 1 to 16.
    pub id_length: usize,
    /// `WRS_AUTH`: the API token and its rules; `None` guards nothing.
    pub auth: Option<Auth>,
    /// `WRS_SSL`: the certificate to serve with; `None` serves plain.
    pub tls: Option<TlsPaths>,
    /// `WRS_PUBLIC_SSL`: whether links on pages and the join probe use https and wss.
    pub public_ssl: bool,
    /// `WRS_BROWSER_ONLY`: whether channels can be created and deleted with GET.
    pub browser_only: bool,
    /// `WRS_README_PATH`: the Markdown behind `/readme`; `None` means the built-in guide.
    pub readme_path: Option<PathBuf>,

    /// `WRS_NODE_PORT`: the cluster port. 0 lets the system choose.
    pub node_port: u16,
    /// `WRS_NODE_HEARTBEAT`: how often a leader lets its followers hear from it; below `election_timeout_min`.
    pub heartbeat: Duration,
    /// `WRS_NODE_MIN_ELECTION_TIMEOUT`: the shortest silence after which a follower stands for election.
    pub election_timeout_min: Duration,
    /// `WRS_NODE_MAX_ELECTION_TIMEOUT`: the longest such silence; not below the shortest.
    pub election_timeout_max: Duration,
    /// `WRS_NODE_SNAPSHOT_LENGTH`: log entries between two snapshots, at least.
    pub snapshot_length: u64,
    /// `WRS_NODE_ADDRESS`: what this node tells others to dial; `None` means what the first peer sees.
    pub node_address: Option<NodeAddress>,
    /// `WRS_NODE_SSL_CERT_PATH`, `WRS_NODE_SSL_KEY_PATH`: TLS of the node links, one pair for all nodes; `None` means plain.
    pub node_tls: Option<TlsPaths>,
    /// `WRS_MAX_STARTUP_DELAY`: the longest random delay before the node joins by itself.
    pub startup_delay_max: Duration,

    /// `WRS_DEBUG`: whether events of level debug are logged.
    pub debug: bool,
    /// `WRS_LOG_FORMAT`.
    pub log_format: LogFormat,

    /// `WRS_MAX_MESSAGE_SIZE`: payload bytes of one message, after fragments are joined and inflated.
    pub message_bytes_max: usize,
    /// `WRS_MAX_BODY_SIZE`: bytes of one request body.
    pub body_bytes_max: usize,
    /// `WRS_SEND_BUFFER`: bytes per client still unsent after a write was tried; beyond it the client is closed with
    /// 1013. At least twice `message_bytes_max`.
    pub send_buffer_bytes_max: usize,
    /// `WRS_MAX_HEADER_SIZE`: bytes of a request's head.
    pub header_bytes_max: usize,
    /// `WRS_MAX_CHANNELS`: channels in the cluster.
    pub channels_max: u64,
    /// `WRS_MAX_CLIENTS`: clients on this node; [`clients_max_by_open_files`] gives the default.
    pub clients_max: u64,
    /// `WRS_MAX_MESSAGE_RATE`: messages per second and client; 0 is off.
    pub message_rate_max: u64,
    /// `WRS_MAX_CREATE_RATE`: channels created per second and address; 0 is off.
    pub create_rate_max: u64,
    /// `WRS_MAX_CLIENTS_PER_ADDRESS`: clients of one address on this node; 0 is off.
    pub clients_per_address_max: u64,
    /// `WRS_TRUSTED_PROXIES`: whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<AddressBlock>,

    /// `WRS_PING_INTERVAL`: between two pings to a client; `None` sends none.
    pub ping_interval: Option<Duration>,
    /// `WRS_HANDSHAKE_TIMEOUT`: from accept to the end of a request's head (TLS included), and again for its body.
    pub handshake_timeout: Duration,
    /// `WRS_KEEPALIVE_TIMEOUT`: how long a connection may wait between two requests, and the stretch of time over which
    /// an answer must move at `answer_rate_min`.
    pub keepalive_timeout: Duration,
    /// `WRS_DRAIN_DELAY`: from the signal to the drain: not ready, still serving.
    pub drain_delay: Duration,
    /// `WRS_DRAIN_TIMEOUT`: how long a drain may take.
    pub drain_timeout: Duration,

    /// `WRS_ALLOWED_ORIGINS`: which origins may connect.
    pub allowed_origins: Origins,
    /// `WRS_CORS_ORIGINS`: which origins may use REST.
    pub cors_origins: Origins,
    /// `WRS_DEFLATE`: whether permessage-deflate is offered.
    pub deflate: bool,
    /// `WRS_SHARDS`: threads of the node, 1 to 1,024.
    pub shards: u16,
    /// `WRS_PIN`: whether each thread is pinned to a core.
    pub pin: bool,

    /// `WRS_SEEDS`: cluster addresses to join; a single name that resolves to all nodes where `cluster_size` is given.
    pub seeds: Vec<NodeAddress>,
    /// `WRS_CLUSTER_SIZE`: how many nodes found the cluster, 1 to 1,024.
    pub cluster_size: Option<u16>,
    /// `WRS_CLUSTER_SECRET`: shared by all nodes; `None` keeps the cluster port on loopback.
    pub cluster_secret: Option<Secret>,
    /// `WRS_DATA_DIR`: where the log and snapshots live; `None` keeps all state in memory.
    pub data_dir: Option<PathBuf>,

    // Fixed: no variable sets what follows. They are fields so that a test can make them small.
    /// Bytes that one read takes from a socket at most.
    pub read_buffer_bytes: usize,
    /// How long a client may wait for its seat; then it is answered 503.
    pub seat_timeout: Duration,
    /// How long reaching out to another node may take, the look-up of its name included.
    pub dial_timeout: Duration,
    /// The newest version of the cluster's protocol that this node speaks: [`PROTOCOL`]. Only tests make it another, to have nodes
    /// of two versions in one cluster.
    pub protocol: u8,
    /// Accepted connections of the cluster port whose other end has not proven itself; beyond it the oldest is closed.
    pub unproven_links_max: usize,
    /// Bytes between two shards that the receiving one has not yet acknowledged; beyond it their sources pause.
    pub peer_window_bytes: usize,
    /// Messages of one shard's clients that wait for their turns in a queue; beyond it their sources pause.
    pub asks_max: usize,
    /// From our close frame, or from the moment a client reads too slowly, to the end of its socket.
    pub close_timeout: Duration,
    /// How long what a client still sends is read and discarded after an answer that ends its connection.
    pub discard_timeout: Duration,
    /// Bytes per second that the reader of an answer must take, on an average over each `keepalive_timeout`; one that
    /// takes less is cut off. Less than any modem brings, so that only who means it is hit. What the socket takes is what
    /// counts: the system's buffers come first, and empty in lumps.
    pub answer_rate_min: u64,
    /// Channels in one piece of a streamed `GET /channels`.
    pub list_chunk: usize,
    /// Addresses that one shard remembers for limits per address; see [`crate::admission`].
    pub addresses_max: usize,
}

impl Default for Config {
    /// The defaults of every variable on a machine of [`HostFacts::default`].
    fn default() -> Self {
        let host = HostFacts::default();
        let shards = 1;
        Config {
            api_port: 8080,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            public_api_port: None,
            domain: "127.0.0.1".to_owned(),
            token_length: 16,
            id_length: 4,
            auth: None,
            tls: None,
            public_ssl: false,
            browser_only: false,
            readme_path: None,
            node_port: 4000,
            heartbeat: Duration::from_millis(300),
            election_timeout_min: Duration::from_millis(2_000),
            election_timeout_max: Duration::from_millis(3_000),
            snapshot_length: 10_000,
            node_address: None,
            node_tls: None,
            startup_delay_max: Duration::from_millis(6_000),
            debug: false,
            log_format: LogFormat::Text,
            message_bytes_max: MIB,
            body_bytes_max: 64 * KIB,
            send_buffer_bytes_max: 4 * MIB,
            header_bytes_max: 16 * KIB,
            channels_max: 1_000_000,
            clients_max: clients_max_by_open_files(host.open_files_limit, shards),
            message_rate_max: 0,
            create_rate_max: 0,
            clients_per_address_max: 0,
            trusted_proxies: Vec::new(),
            ping_interval: Some(Duration::from_millis(30_000)),
            handshake_timeout: Duration::from_millis(10_000),
            keepalive_timeout: Duration::from_millis(75_000),
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_millis(10_000),
            allowed_origins: Origins::Any,
            cors_origins: Origins::Any,
            deflate: false,
            shards,
            pin: false,
            seeds: Vec::new(),
            cluster_size: None,
            cluster_secret: None,
            data_dir: None,
            read_buffer_bytes: 64 * KIB,
            seat_timeout: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(3),
            protocol: PROTOCOL,
            unproven_links_max: 64,
            peer_window_bytes: 4 * MIB,
            asks_max: 65_536,
            close_timeout: Duration::from_secs(5),
            discard_timeout: Duration::from_secs(1),
            answer_rate_min: 256,
            list_chunk: 256,
            addresses_max: 65_536,
        }
    }
}

impl Config {
    /// Reads the command line (`args`, without the program's name) and the environment. Files are not looked at: the
    /// adapter reads those whose paths are here, and refuses to start if it cannot. Whether a rule of
    /// `WRS_AUTH_RESOURCES` covers a route, [`Rules::idle`] says to whoever knows the routes.
    ///
    /// # Errors
    /// The first value that is not allowed, values that do not fit together, an unknown flag or command. All are the
    /// operator's to mend: one line on stderr and exit 2.
    pub fn parse(
        args: impl IntoIterator<Item = String>,
        env: impl IntoIterator<Item = (String, String)>,
        host: &HostFacts,
    ) -> Result<Parsed, ConfigError> {
        parse::parse(args, env, host)
    }

    /// Bytes of an answer that its reader must take within `keepalive_timeout`, or the rest if that is less; 1 at least.
    pub fn answer_bytes_min(&self) -> usize {
        let millis = u64::try_from(self.keepalive_timeout.as_millis()).unwrap_or(u64::MAX);
        let bytes = self.answer_rate_min.saturating_mul(millis) / 1_000;
        usize::try_from(bytes).unwrap_or(usize::MAX).max(1)
    }

    /// How long after the end of its lease a node counts itself out and closes its clients: two elections, at their longest.
    pub fn out_after(&self) -> Duration {
        (self.election_timeout_max + Duration::from_millis(500)) * 2
    }

    /// Whether anyone who reaches this machine may use the API: the node listens beyond loopback and `WRS_AUTH` is off.
    /// A warning at start-up and on `/`.
    pub fn is_open(&self) -> bool {
        self.auth.is_none() && !self.bind.to_canonical().is_loopback()
    }

    /// The address that the cluster port is on: beyond loopback only who knows the secret can be told from a stranger.
    pub fn node_bind(&self) -> IpAddr {
        if self.cluster_secret.is_some() { self.bind } else { IpAddr::V4(Ipv4Addr::LOCALHOST) }
    }
}

/// The default of `WRS_MAX_CLIENTS`: the limit on open files less what the node ([`OPEN_FILES_OF_NODE`]) and its shards
/// ([`OPEN_FILES_OF_SHARD`] each) need and less a sixteenth ([`OPEN_FILES_SHARE_OF_REST`]) for connections that are not
/// clients, so that REST and refusals still work when the node is full. 1 at least; [`CLIENTS_MAX_UNLIMITED`] without a
/// limit.
pub fn clients_max_by_open_files(open_files_limit: Option<u64>, shards: u16) -> u64 {
    let Some(limit) = open_files_limit else { return CLIENTS_MAX_UNLIMITED };
    let own = OPEN_FILES_OF_NODE + OPEN_FILES_OF_SHARD * u64::from(shards);
    limit.saturating_sub(own).saturating_sub(limit / OPEN_FILES_SHARE_OF_REST).max(1)
}

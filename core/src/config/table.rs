//! Every variable once: its names, flags, default and meaning, and how its text enters the [`Draft`].
//!
//! Parser and `--help` both read this table, so that neither can know a variable which the other does not.

use super::draft::Draft;
use super::rules::Rules;
use super::value::{self as v, Read};

/// One row.
#[derive(Debug)]
pub(super) struct Variable {
    /// The environment variable. `WRS_MAX_BODY_SIZE` gives the flag `--max-body-size`.
    pub name: &'static str,
    /// Other spellings of the variable, which give flags likewise.
    pub aliases: &'static [&'static str],
    /// Further flags, with their hyphens.
    pub flags: &'static [&'static str],
    /// What stands for the value in `--help`; empty for `true|false`, which a flag may leave out.
    pub placeholder: &'static str,
    /// The default, as text for `--help`.
    pub default: &'static str,
    /// What it is for, with the unit.
    pub meaning: &'static str,
    /// Whether the value is never shown.
    pub secret: bool,
    /// Reads a text into the draft.
    pub set: fn(&mut Draft, &str) -> Read<()>,
}

impl Variable {
    const fn flags(mut self, flags: &'static [&'static str]) -> Self {
        self.flags = flags;
        self
    }

    const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Whether a flag may stand without a value.
    pub(super) fn is_switch(&self) -> bool {
        self.placeholder.is_empty()
    }

    /// Every flag: those of the table, then those that its names give.
    pub(super) fn all_flags(&self) -> impl Iterator<Item = String> {
        let derived = std::iter::once(&self.name).chain(self.aliases).map(|name| derived_flag(name));
        self.flags.iter().map(|flag| (*flag).to_owned()).chain(derived)
    }

    /// Whether `name` is a spelling of this variable.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// `WRS_MAX_BODY_SIZE` → `--max-body-size`.
fn derived_flag(name: &str) -> String {
    format!("--{}", name.trim_start_matches("WRS_").to_ascii_lowercase().replace('_', "-"))
}

/// A row whose value has the shape of `placeholder`.
const fn value(
    name: &'static str,
    placeholder: &'static str,
    default: &'static str,
    meaning: &'static str,
    set: fn(&mut Draft, &str) -> Read<()>,
) -> Variable {
    Variable { name, aliases: &[], flags: &[], placeholder, default, meaning, secret: false, set }
}

/// A row that is true or false, and false by default.
const fn switch(name: &'static str, meaning: &'static str, set: fn(&mut Draft, &str) -> Read<()>) -> Variable {
    value(name, "", "false", meaning, set)
}

/// Keeps what was read.
fn put<T>(slot: &mut T, read: Read<T>) -> Read<()> {
    *slot = read?;
    Ok(())
}

/// The longest time that a variable can set: a day, in ms.
const DAY: u64 = 86_400_000;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// The largest count: what JSON carries exactly.
const COUNT_MAX: u64 = 1 << 53;
/// The largest rate per second: a rate limit counts in nanoseconds.
const RATE_MAX: u64 = 1_000_000_000;

/// All variables under the headings of `--help`.
pub(super) const TABLE: &[(&str, &[Variable])] = &[
    ("Service", SERVICE),
    ("Authentication", AUTHENTICATION),
    ("TLS", TLS),
    ("Limits", LIMITS),
    ("Times", TIMES),
    ("Web", WEB),
    ("Machine and log", MACHINE),
    ("Cluster", CLUSTER),
];

const SERVICE: &[Variable] = &[
    value(
        "WRS_API_PORT",
        "PORT",
        "8080, 8443 with TLS",
        "REST and WebSocket port; 0 lets the system choose",
        |d, t| put(&mut d.api_port, v::port(t).map(Some)),
    )
    .flags(&["-p", "--port-api", "--portAPI"]),
    value("WRS_BIND", "ADDRESS", "127.0.0.1", "address to listen on (0.0.0.0 or :: for all)", |d, t| {
        put(&mut d.config.bind, v::ip(t))
    }),
    value("WRS_PUBLIC_API_PORT", "PORT", "WRS_API_PORT", "port as seen outside", |d, t| {
        put(&mut d.config.public_api_port, v::small(t, 1, u16::MAX).map(Some))
    }),
    value("WRS_DOMAIN", "HOST", "127.0.0.1", "domain or address of the service as seen outside", |d, t| {
        put(&mut d.config.domain, v::domain(t))
    }),
    // Eight digits are 32 bits: fewer can be guessed by trying. 128 are 512 bits, more than anyone needs, and stand in URLs.
    value("WRS_TOKEN_LENGTH", "DIGITS", "16", "hex digits of a channel token, 8 to 128", |d, t| {
        put(&mut d.config.token_length, v::length(t, 8, 128))
    }),
    value("WRS_ID_LENGTH", "DIGITS", "4", "hex digits of each of the two groups of a channel id, 1 to 16", |d, t| {
        put(&mut d.config.id_length, v::length(t, 1, 16))
    }),
    value("WRS_README_PATH", "PATH", "built in", "Markdown behind /readme", |d, t| {
        put(&mut d.config.readme_path, v::path(t))
    }),
];

const AUTHENTICATION: &[Variable] = &[
    switch("WRS_AUTH", "guard resources with the API token", |d, t| put(&mut d.auth, v::switch(t)))
        .flags(&["-a", "--auth"]),
    value("WRS_AUTH_TOKEN", "TOKEN", "none", "the API token; needed with WRS_AUTH=true", |d, t| {
        put(&mut d.auth_token, v::token(t))
    })
    .flags(&["-t", "--token"])
    .secret(),
    value("WRS_AUTH_RESOURCES", "RULES", "*:*", "METHOD:REGEX separated by spaces; METHOD may be *", |d, t| {
        put(&mut d.auth_rules, Rules::parse(t).map(Some).map_err(|error| error.to_string()))
    })
    .aliases(&["WRS_AUTH_RESSOURCES"]),
];

const TLS: &[Variable] = &[
    switch("WRS_SSL", "serve with TLS", |d, t| put(&mut d.ssl, v::switch(t))).flags(&["-s", "--ssl"]),
    value("WRS_SSL_CERT_PATH", "PATH", "none", "certificate chain, PEM; read again on SIGHUP", |d, t| {
        put(&mut d.ssl_cert, v::path(t))
    }),
    value("WRS_SSL_KEY_PATH", "PATH", "none", "private key, PEM", |d, t| put(&mut d.ssl_key, v::path(t))),
    value("WRS_PUBLIC_SSL", "", "WRS_SSL", "links on pages and the join probe use https and wss", |d, t| {
        put(&mut d.public_ssl, v::switch(t).map(Some))
    }),
];

const LIMITS: &[Variable] = &[
    value("WRS_MAX_MESSAGE_SIZE", "BYTES", "1MiB", "one message", |d, t| {
        put(&mut d.config.message_bytes_max, v::size(t, 1, GIB))
    }),
    value("WRS_MAX_BODY_SIZE", "BYTES", "64KiB", "one REST body", |d, t| {
        put(&mut d.config.body_bytes_max, v::size(t, 1, GIB))
    }),
    value(
        "WRS_SEND_BUFFER",
        "BYTES",
        "4 x WRS_MAX_MESSAGE_SIZE",
        "unsent bytes per client before it is closed",
        |d, t| put(&mut d.send_buffer, v::size(t, 1, 16 * GIB).map(Some)),
    ),
    value("WRS_MAX_HEADER_SIZE", "BYTES", "16KiB", "the head of one request, 1KiB to 1MiB", |d, t| {
        put(&mut d.config.header_bytes_max, v::size(t, KIB, MIB))
    }),
    value("WRS_MAX_CHANNELS", "COUNT", "1000000", "channels in the cluster", |d, t| {
        put(&mut d.config.channels_max, v::whole(t, 1, COUNT_MAX))
    }),
    value("WRS_MAX_CLIENTS", "COUNT", "by ulimit -n", "clients on this node", |d, t| {
        put(&mut d.clients_max, v::whole(t, 1, COUNT_MAX).map(Some))
    }),
    value("WRS_MAX_MESSAGE_RATE", "RATE", "0 (off)", "messages per second and client", |d, t| {
        put(&mut d.config.message_rate_max, v::whole(t, 0, RATE_MAX))
    }),
    value("WRS_MAX_CREATE_RATE", "RATE", "0 (off)", "channels created per second and address", |d, t| {
        put(&mut d.config.create_rate_max, v::whole(t, 0, RATE_MAX))
    }),
    value("WRS_MAX_CLIENTS_PER_ADDRESS", "COUNT", "0 (off)", "clients of one address on this node", |d, t| {
        put(&mut d.config.clients_per_address_max, v::whole(t, 0, COUNT_MAX))
    }),
    value("WRS_TRUSTED_PROXIES", "ADDRESSES", "none", "whose X-Forwarded-For counts (10.0.0.0/8 ::1)", |d, t| {
        put(&mut d.config.trusted_proxies, v::blocks(t))
    }),
];

const TIMES: &[Variable] = &[
    value("WRS_PING_INTERVAL", "MS", "30000", "between two pings to a client; 0 sends none", |d, t| {
        put(&mut d.config.ping_interval, v::millis_or_none(t, 10, DAY))
    }),
    value("WRS_HANDSHAKE_TIMEOUT", "MS", "10000", "for the head of a request, and again for its body", |d, t| {
        put(&mut d.config.handshake_timeout, v::millis(t, 10, DAY))
    }),
    value("WRS_KEEPALIVE_TIMEOUT", "MS", "75000", "between two requests; an answer must move meanwhile", |d, t| {
        put(&mut d.config.keepalive_timeout, v::millis(t, 10, DAY))
    }),
    value("WRS_DRAIN_DELAY", "MS", "0", "from the signal to the drain: not ready, still serving", |d, t| {
        put(&mut d.config.drain_delay, v::millis(t, 0, DAY))
    }),
    value("WRS_DRAIN_TIMEOUT", "MS", "10000", "how long a drain may take", |d, t| {
        put(&mut d.config.drain_timeout, v::millis(t, 0, DAY))
    }),
];

const WEB: &[Variable] = &[
    switch("WRS_BROWSER_ONLY", "create and delete channels with GET too", |d, t| {
        put(&mut d.config.browser_only, v::switch(t))
    }),
    value("WRS_ALLOWED_ORIGINS", "ORIGINS", "*", "origins that may connect (https://app.example), or none", |d, t| {
        put(&mut d.config.allowed_origins, v::origins(t))
    }),
    value("WRS_CORS_ORIGINS", "ORIGINS", "*", "origins that may use REST, or none", |d, t| {
        put(&mut d.config.cors_origins, v::origins(t))
    }),
    switch("WRS_DEFLATE", "offer permessage-deflate", |d, t| put(&mut d.config.deflate, v::switch(t))),
];

const MACHINE: &[Variable] = &[
    value("WRS_SHARDS", "COUNT", "one per core", "threads of the node, 1 to 1024", |d, t| {
        put(&mut d.shards, v::small(t, 1, super::SHARDS_MAX).map(Some))
    }),
    switch("WRS_PIN", "pin each thread to a core", |d, t| put(&mut d.config.pin, v::switch(t))),
    switch("WRS_DEBUG", "log at level debug", |d, t| put(&mut d.config.debug, v::switch(t))),
    value("WRS_LOG_FORMAT", "FORMAT", "text", "text or json", |d, t| put(&mut d.config.log_format, v::log_format(t))),
];

const CLUSTER: &[Variable] = &[
    value("WRS_NODE_PORT", "PORT", "4000", "cluster port; 0 lets the system choose", |d, t| {
        put(&mut d.config.node_port, v::port(t))
    })
    .flags(&["-n", "--port-node", "--portNode"]),
    value("WRS_NODE_HEARTBEAT", "MS", "300", "between two signs of life of a leader", |d, t| {
        put(&mut d.config.heartbeat, v::millis(t, 1, DAY))
    }),
    value("WRS_NODE_MIN_ELECTION_TIMEOUT", "MS", "2000", "shortest silence before an election", |d, t| {
        put(&mut d.config.election_timeout_min, v::millis(t, 1, DAY))
    }),
    value("WRS_NODE_MAX_ELECTION_TIMEOUT", "MS", "3000", "longest silence before an election", |d, t| {
        put(&mut d.config.election_timeout_max, v::millis(t, 1, DAY))
    }),
    value("WRS_NODE_SNAPSHOT_LENGTH", "ENTRIES", "10000", "log entries between snapshots, at least", |d, t| {
        put(&mut d.config.snapshot_length, v::whole(t, 1, COUNT_MAX))
    })
    .aliases(&["WRS_NODE_SNAPSHOT_LENGHT"]),
    value("WRS_NODE_ADDRESS", "HOST:PORT", "seen by the first peer", "what this node tells others to dial", |d, t| {
        put(&mut d.config.node_address, v::node(t))
    }),
    value(
        "WRS_NODE_SSL_CERT_PATH",
        "PATH",
        "none",
        "certificate of the node links, PEM; all nodes have the same",
        |d, t| put(&mut d.node_cert, v::path(t)),
    ),
    value("WRS_NODE_SSL_KEY_PATH", "PATH", "none", "private key of that certificate, PEM", |d, t| {
        put(&mut d.node_key, v::path(t))
    }),
    value("WRS_MAX_STARTUP_DELAY", "MS", "6000", "longest random delay before joining by itself", |d, t| {
        put(&mut d.config.startup_delay_max, v::millis(t, 0, DAY))
    }),
    value("WRS_SEEDS", "ADDRESSES", "none", "host:port of each node, or one name that resolves to all", |d, t| {
        put(&mut d.config.seeds, v::nodes(t))
    }),
    value("WRS_CLUSTER_SIZE", "COUNT", "none", "how many nodes the one name in WRS_SEEDS stands for", |d, t| {
        put(&mut d.config.cluster_size, v::small(t, 1, 1024).map(Some))
    }),
    value("WRS_CLUSTER_SECRET", "SECRET", "none", "shared by all nodes; without it loopback only", |d, t| {
        put(&mut d.config.cluster_secret, v::secret(t))
    })
    .secret(),
    value("WRS_DATA_DIR", "PATH", "none", "where the log and snapshots live; none keeps all in memory", |d, t| {
        put(&mut d.config.data_dir, v::path(t))
    }),
];

/// Every row.
pub(super) fn rows() -> impl Iterator<Item = &'static Variable> {
    TABLE.iter().flat_map(|(_, rows)| rows.iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_variables_share_a_name_or_a_flag() {
        let mut seen = BTreeSet::new();
        for row in rows() {
            assert!(row.name.starts_with("WRS_"));
            let names = std::iter::once(&row.name).chain(row.aliases).map(|n| (*n).to_owned());
            let flags: BTreeSet<String> = row.all_flags().collect();
            for spelling in names.chain(flags) {
                assert!(seen.insert(spelling.clone()), "{spelling}");
            }
        }
    }

    #[test]
    fn the_defaults_that_the_table_shows_are_the_defaults_that_apply() {
        let shown =
            ["by ulimit -n", "one per core", "built in", "none", "seen by the first peer", "8080, 8443 with TLS"];
        for row in rows().filter(|row| !shown.contains(&row.default) && !row.default.contains("WRS_")) {
            let mut draft = Draft::new();
            let untouched = format!("{draft:?}");
            let text = row.default.trim_end_matches(" (off)");
            (row.set)(&mut draft, text).unwrap();
            if row.name != "WRS_AUTH_RESOURCES" {
                assert_eq!(format!("{draft:?}"), untouched, "{}", row.name);
            }
        }
    }
}

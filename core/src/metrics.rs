//! The figures of a shard, and how Prometheus reads them.
//!
//! Plain numbers in arrays whose places are enums: counting is one addition, with no lock, no hash and no text. Shards
//! count apart; whoever is asked for the figures merges all of them and writes them. Rule guarded: a label never holds
//! what a client wrote.

use std::fmt::Write;

use crate::pattern::Pattern;

/// The `Content-Type` of [`Metrics::write`]: Prometheus text exposition format 0.0.4.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What only grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counter {
    /// Sockets accepted.
    ConnectionsAccepted,
    /// Bytes read from sockets, without TLS.
    BytesIn,
    /// Bytes queued on sockets, without TLS.
    BytesOut,
    /// Payload bytes of messages taken in.
    MessageBytesIn,
    /// Messages queued on clients' connections.
    MessagesOut,
    /// Messages answered with an error: malformed, no recipient, origin gone.
    MessagesRefused,
    /// Messages whose receiver's connection ended on the way.
    Undelivered,
    /// Clients that got their 101.
    ClientsJoined,
    /// Clients closed with 1013.
    SlowClients,
    /// Reading stopped because another shard has too much under way.
    Paused,
    /// Reading stopped because a client sent faster than `WRS_MAX_MESSAGE_RATE`.
    RateLimited,
    /// Channels created.
    ChannelsCreated,
    /// Channels deleted by a request.
    ChannelsDeleted,
    /// Channels deleted because nobody used them.
    ChannelsTimedOut,
    /// Messages handed to other shards.
    PeerMessages,
    /// Payload bytes in them.
    PeerBytes,
    /// Requests that were not HTTP.
    HttpFaults,
    /// Connections that were not TLS, or broke it.
    TlsFaults,
    /// Connections between nodes that ended because one of the two did something wrong.
    LinkFaults,
    /// Bytes read from connections between nodes, without TLS.
    LinkBytesIn,
    /// Bytes queued on connections between nodes, without TLS.
    LinkBytesOut,
    /// Writes to the data directory that the disk has confirmed; each may hold many changes.
    LogWrites,
    /// Messages to live nodes that could not be put in the mail: longer than a frame may be.
    Unmailed,
}

/// What goes up and down. Merging adds, so that what is the node's is set by one shard alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gauge {
    /// Clients connected to the shard.
    Clients,
    /// Sockets of the shard, clients' included.
    Connections,
    /// Channels of the node; shard 0's to set.
    Channels,
    /// 1 while the node drains; shard 0's to set.
    Draining,
    /// Other nodes that there is a link with; shard 0's to set.
    Links,
    /// 1 while there is another cluster that holds channels as this one does; shard 0's to set.
    Apart,
}

/// A limit of the configuration that turns somebody away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// `WRS_MAX_CLIENTS`.
    Clients,
    /// `WRS_MAX_CLIENTS_PER_ADDRESS`.
    ClientsPerAddress,
    /// A channel's `clientLimit`.
    ChannelClients,
    /// `WRS_MAX_CHANNELS`.
    Channels,
    /// `WRS_MAX_CREATE_RATE`.
    CreateRate,
    /// `WRS_MAX_MESSAGE_SIZE`.
    MessageSize,
    /// `WRS_MAX_BODY_SIZE`.
    BodySize,
    /// `WRS_MAX_HEADER_SIZE`.
    HeaderSize,
    /// `WRS_HANDSHAKE_TIMEOUT`.
    HandshakeTimeout,
    /// `WRS_KEEPALIVE_TIMEOUT`, where an answer was taken too slowly; who merely says nothing more is not counted.
    KeepaliveTimeout,
    /// The machine's limit on open files.
    OpenFiles,
}

impl Limit {
    /// Every limit, in order.
    pub const ALL: [Limit; 11] = [
        Limit::Clients,
        Limit::ClientsPerAddress,
        Limit::ChannelClients,
        Limit::Channels,
        Limit::CreateRate,
        Limit::MessageSize,
        Limit::BodySize,
        Limit::HeaderSize,
        Limit::HandshakeTimeout,
        Limit::KeepaliveTimeout,
        Limit::OpenFiles,
    ];

    /// What an operator sets to change it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Limit::Clients => "WRS_MAX_CLIENTS",
            Limit::ClientsPerAddress => "WRS_MAX_CLIENTS_PER_ADDRESS",
            Limit::ChannelClients => "clientLimit",
            Limit::Channels => "WRS_MAX_CHANNELS",
            Limit::CreateRate => "WRS_MAX_CREATE_RATE",
            Limit::MessageSize => "WRS_MAX_MESSAGE_SIZE",
            Limit::BodySize => "WRS_MAX_BODY_SIZE",
            Limit::HeaderSize => "WRS_MAX_HEADER_SIZE",
            Limit::HandshakeTimeout => "WRS_HANDSHAKE_TIMEOUT",
            Limit::KeepaliveTimeout => "WRS_KEEPALIVE_TIMEOUT",
            Limit::OpenFiles => "ulimit -n",
        }
    }
}

/// A line of the table: one series.
struct Row<K> {
    kind: K,
    name: &'static str,
    /// `label="value"`, or empty.
    label: &'static str,
    /// Empty where the family goes on from the row before.
    help: &'static str,
}

const fn row<K>(kind: K, name: &'static str, label: &'static str, help: &'static str) -> Row<K> {
    Row { kind, name, label, help }
}

/// In the order of the enum.
const COUNTERS: [Row<Counter>; 23] = [
    row(Counter::ConnectionsAccepted, "wrs_connections_accepted_total", "", "Sockets accepted."),
    row(Counter::BytesIn, "wrs_received_bytes_total", "", "Bytes read from sockets, without TLS."),
    row(Counter::BytesOut, "wrs_sent_bytes_total", "", "Bytes queued on sockets, without TLS."),
    row(Counter::MessageBytesIn, "wrs_message_bytes_received_total", "", "Payload bytes of messages taken in."),
    row(Counter::MessagesOut, "wrs_messages_sent_total", "", "Messages queued on connections of clients."),
    row(Counter::MessagesRefused, "wrs_messages_refused_total", "", "Messages answered with an error message."),
    row(Counter::Undelivered, "wrs_messages_undelivered_total", "", "Messages whose receiver left on the way."),
    row(Counter::ClientsJoined, "wrs_clients_joined_total", "", "Clients that got their 101."),
    row(Counter::SlowClients, "wrs_slow_clients_total", "", "Clients closed with 1013."),
    row(Counter::Paused, "wrs_pauses_total", "reason=\"peer_window\"", "Times that reading from a client stopped."),
    row(Counter::RateLimited, "wrs_pauses_total", "reason=\"message_rate\"", ""),
    row(Counter::ChannelsCreated, "wrs_channels_created_total", "", "Channels created."),
    row(Counter::ChannelsDeleted, "wrs_channels_deleted_total", "reason=\"deleted\"", "Channels deleted."),
    row(Counter::ChannelsTimedOut, "wrs_channels_deleted_total", "reason=\"timed_out\"", ""),
    row(Counter::PeerMessages, "wrs_peer_messages_total", "", "Messages handed to other shards."),
    row(Counter::PeerBytes, "wrs_peer_bytes_total", "", "Payload bytes handed to other shards."),
    row(Counter::HttpFaults, "wrs_http_faults_total", "", "Requests that were not HTTP."),
    row(Counter::TlsFaults, "wrs_tls_faults_total", "", "Connections that were not TLS or broke it."),
    row(Counter::LinkFaults, "wrs_link_faults_total", "", "Connections between nodes that ended for a fault."),
    row(Counter::LinkBytesIn, "wrs_link_received_bytes_total", "", "Bytes read from other nodes, without TLS."),
    row(Counter::LinkBytesOut, "wrs_link_sent_bytes_total", "", "Bytes queued for other nodes, without TLS."),
    row(Counter::LogWrites, "wrs_log_writes_total", "", "Writes to the data directory that the disk confirmed."),
    row(Counter::Unmailed, "wrs_link_unsendable_total", "", "Messages to live nodes that no frame can hold."),
];

/// In the order of the enum.
const GAUGES: [Row<Gauge>; 6] = [
    row(Gauge::Clients, "wrs_clients", "", "Clients connected."),
    row(Gauge::Connections, "wrs_connections", "", "Sockets open, those of clients included."),
    row(Gauge::Channels, "wrs_channels", "", "Channels that exist."),
    row(Gauge::Draining, "wrs_draining", "", "1 while the node drains."),
    row(Gauge::Links, "wrs_links", "", "Other nodes that there is a link with."),
    row(Gauge::Apart, "wrs_clusters_apart", "", "1 while another cluster that holds channels too stays apart."),
];

/// Close codes with a series of their own; all others share one.
const CODES: [u16; 14] = [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 4404, 4408];
/// Statuses of refused clients with a series of their own; all others share one.
const REFUSALS: [u16; 7] = [400, 401, 403, 404, 426, 429, 503];
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The figures of one shard, or of several merged.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Metrics {
    counters: [u64; COUNTERS.len()],
    gauges: [u64; GAUGES.len()],
    messages_in: [u64; Pattern::ALL.len()],
    closed: [u64; CODES.len() + 1],
    refused: [u64; REFUSALS.len() + 1],
    answered: [u64; STATUS_CLASSES.len()],
    limits: [u64; Limit::ALL.len()],
}

/// Adds to one place of an array.
fn bump(values: &mut [u64], place: usize, by: u64) {
    if let Some(value) = values.get_mut(place) {
        *value = value.wrapping_add(by);
    }
}

/// The place of `code` in a list of codes; behind its end for all others.
fn place_of(codes: &[u16], code: u16) -> usize {
    codes.iter().position(|known| *known == code).unwrap_or(codes.len())
}

impl Metrics {
    /// Counts `by` more.
    pub fn add(&mut self, counter: Counter, by: u64) {
        bump(&mut self.counters, counter as usize, by);
    }

    /// Sets a gauge.
    pub fn set(&mut self, gauge: Gauge, value: u64) {
        if let Some(slot) = self.gauges.get_mut(gauge as usize) {
            *slot = value;
        }
    }

    /// What a counter says.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters.get(counter as usize).copied().unwrap_or_default()
    }

    /// What a gauge says.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.gauges.get(gauge as usize).copied().unwrap_or_default()
    }

    /// A message of so many payload bytes was taken in.
    pub fn message_in(&mut self, pattern: Pattern, bytes: usize) {
        bump(&mut self.messages_in, pattern as usize, 1);
        self.add(Counter::MessageBytesIn, bytes as u64);
    }

    /// So many messages, together so many bytes with their frames, were queued on clients' connections.
    pub fn messages_out(&mut self, messages: u64, bytes: usize) {
        self.add(Counter::MessagesOut, messages);
        self.add(Counter::BytesOut, bytes as u64);
    }

    /// A client got its 101.
    pub fn joined(&mut self) {
        self.add(Counter::ClientsJoined, 1);
        self.set(Gauge::Clients, self.gauge(Gauge::Clients).saturating_add(1));
    }

    /// A client has left.
    pub fn left(&mut self) {
        self.set(Gauge::Clients, self.gauge(Gauge::Clients).saturating_sub(1));
    }

    /// A client's connection was closed with this code; 1006 where there was no close frame (RFC 6455 section 7.1.5).
    pub fn closed(&mut self, code: u16) {
        bump(&mut self.closed, place_of(&CODES, code), 1);
    }

    /// A request to connect was answered with this status instead of 101.
    pub fn refused(&mut self, status: u16) {
        bump(&mut self.refused, place_of(&REFUSALS, status), 1);
    }

    /// A request was answered with this status.
    pub fn answered(&mut self, status: u16) {
        bump(&mut self.answered, usize::from(status / 100).wrapping_sub(1), 1);
    }

    /// A limit turned somebody away.
    pub fn limited(&mut self, limit: Limit) {
        bump(&mut self.limits, limit as usize, 1);
    }

    /// Adds another shard's figures.
    pub fn merge(&mut self, other: &Metrics) {
        let pairs: [(&mut [u64], &[u64]); 7] = [
            (&mut self.counters, &other.counters),
            (&mut self.gauges, &other.gauges),
            (&mut self.messages_in, &other.messages_in),
            (&mut self.closed, &other.closed),
            (&mut self.refused, &other.refused),
            (&mut self.answered, &other.answered),
            (&mut self.limits, &other.limits),
        ];
        for (mine, theirs) in pairs {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine = mine.wrapping_add(*theirs);
            }
        }
    }

    /// Appends the figures as Prometheus reads them ([`CONTENT_TYPE`]).
    pub fn write(&self, out: &mut String) {
        let mut text = Exposition(out);
        text.family("wrs_build_info", "gauge", "The version that runs.");
        text.sample("wrs_build_info", concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1);
        text.rows(&GAUGES, "gauge", |row| self.gauge(row.kind));
        text.rows(&COUNTERS, "counter", |row| self.counter(row.kind));
        let patterns = Pattern::ALL.map(|pattern| format!("pattern=\"{}\"", pattern.as_str()));
        text.series("wrs_messages_received_total", "Messages taken in.", patterns, &self.messages_in);
        let codes = labelled("code", &CODES);
        text.series("wrs_clients_closed_total", "Clients whose connection was closed.", codes, &self.closed);
        let statuses = labelled("status", &REFUSALS);
        text.series("wrs_clients_refused_total", "Requests to connect that got no 101.", statuses, &self.refused);
        let classes = STATUS_CLASSES.map(|class| format!("status=\"{class}\""));
        text.series("wrs_http_responses_total", "Requests answered.", classes, &self.answered);
        let limits = Limit::ALL.map(|limit| format!("limit=\"{}\"", limit.as_str()));
        text.series("wrs_limits_reached_total", "Times that a limit turned somebody away.", limits, &self.limits);
    }
}

/// The labels of a list of codes and of what is not in it.
fn labelled<'a>(name: &'a str, codes: &'a [u16]) -> impl Iterator<Item = String> + 'a {
    let other = std::iter::once_with(move || format!("{name}=\"other\""));
    codes.iter().map(move |code| format!("{name}=\"{code}\"")).chain(other)
}

/// Writes the text format. Help texts and labels are ours and need no escaping; a test sees to that.
struct Exposition<'a>(&'a mut String);

impl Exposition<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, label: &str, value: u64) {
        let _ = match label {
            "" => writeln!(self.0, "{name} {value}"),
            label => writeln!(self.0, "{name}{{{label}}} {value}"),
        };
    }

    fn rows<K>(&mut self, rows: &[Row<K>], kind: &str, value: impl Fn(&Row<K>) -> u64) {
        for row in rows {
            if !row.help.is_empty() {
                self.family(row.name, kind, row.help);
            }
            self.sample(row.name, row.label, value(row));
        }
    }

    fn series(&mut self, name: &str, help: &str, labels: impl IntoIterator<Item = String>, values: &[u64]) {
        self.family(name, "counter", help);
        for (label, value) in labels.into_iter().zip(values) {
            self.sample(name, &label, *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn text(metrics: &Metrics) -> String {
        let mut out = String::new();
        metrics.write(&mut out);
        out
    }

    fn sample(metrics: &Metrics, series: &str) -> Option<u64> {
        let text = text(metrics);
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    #[test]
    fn the_tables_stand_in_the_order_of_their_enums() {
        for (place, row) in COUNTERS.iter().enumerate() {
            assert_eq!(row.kind as usize, place);
        }
        for (place, row) in GAUGES.iter().enumerate() {
            assert_eq!(row.kind as usize, place);
        }
        for (place, limit) in Limit::ALL.iter().enumerate() {
            assert_eq!(*limit as usize, place);
        }
        for (place, pattern) in Pattern::ALL.iter().enumerate() {
            assert_eq!(*pattern as usize, place);
        }
    }

    #[test]
    fn what_is_counted_is_what_is_written() {
        let mut metrics = Metrics::default();
        metrics.add(Counter::RateLimited, 3);
        metrics.message_in(Pattern::PushPull, 10);
        metrics.message_in(Pattern::PushPull, 5);
        metrics.messages_out(4, 100);
        metrics.joined();
        metrics.joined();
        metrics.left();
        metrics.closed(4404);
        metrics.closed(4999);
        metrics.refused(429);
        metrics.refused(418);
        metrics.answered(204);
        metrics.answered(7);
        metrics.limited(Limit::OpenFiles);
        metrics.set(Gauge::Channels, 9);
        for (series, expected) in [
            ("wrs_pauses_total{reason=\"message_rate\"}", 3),
            ("wrs_pauses_total{reason=\"peer_window\"}", 0),
            ("wrs_messages_received_total{pattern=\"push-pull\"}", 2),
            ("wrs_messages_received_total{pattern=\"echo\"}", 0),
            ("wrs_message_bytes_received_total", 15),
            ("wrs_messages_sent_total", 4),
            ("wrs_sent_bytes_total", 100),
            ("wrs_clients", 1),
            ("wrs_clients_joined_total", 2),
            ("wrs_clients_closed_total{code=\"4404\"}", 1),
            ("wrs_clients_closed_total{code=\"other\"}", 1),
            ("wrs_clients_refused_total{status=\"429\"}", 1),
            ("wrs_clients_refused_total{status=\"other\"}", 1),
            ("wrs_http_responses_total{status=\"2xx\"}", 1),
            ("wrs_http_responses_total{status=\"5xx\"}", 0),
            ("wrs_limits_reached_total{limit=\"ulimit -n\"}", 1),
            ("wrs_channels", 9),
        ] {
            assert_eq!(sample(&metrics, series), Some(expected), "{series}");
        }
    }

    #[test]
    fn merging_adds_every_figure() {
        let mut one = Metrics::default();
        one.message_in(Pattern::Echo, 7);
        one.joined();
        one.closed(1000);
        one.refused(404);
        one.answered(404);
        one.limited(Limit::Clients);
        let mut two = one.clone();
        two.merge(&one);
        let figures = |m: &Metrics| -> Vec<u64> {
            let text = text(m);
            let samples = text.lines().filter(|l| !l.starts_with('#') && !l.starts_with("wrs_build_info"));
            samples.map(|l| l.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
        };
        let doubled: Vec<u64> = figures(&one).iter().map(|n| 2 * n).collect();
        assert_eq!(figures(&two), doubled);
        assert!(doubled.iter().filter(|n| **n > 0).count() >= 7);
    }

    /// The rules of the text format: each family once and in one piece, HELP then TYPE then samples; names and labels
    /// of the allowed characters; counters end in `_total`; no series twice.
    #[test]
    fn the_text_is_what_prometheus_reads() {
        let text = text(&Metrics::default());
        assert!(text.ends_with('\n'));
        let legal = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && name.starts_with("wrs_");
        let (mut families, mut series) = (BTreeMap::new(), BTreeSet::new());
        let mut current = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                let kind = lines.next().and_then(|l| l.strip_prefix("# TYPE ")?.strip_prefix(name)).unwrap().trim();
                assert!(legal(name) && !help.is_empty() && !help.contains('\\'), "{line}");
                assert!(matches!(kind, "counter" | "gauge"), "{kind}");
                assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
                assert!(families.insert(name.to_owned(), kind).is_none(), "{name} twice");
                current = name.to_owned();
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<u64>().is_ok() && series.insert(name.to_owned()), "{line}");
            let (family, labels) = name.split_once('{').map_or((name, None), |(f, l)| (f, Some(l)));
            assert_eq!(family, current, "{line}");
            if let Some(labels) = labels {
                let (label, value) = labels.strip_suffix("\"}").unwrap().split_once("=\"").unwrap();
                assert!(label.bytes().all(|b| b.is_ascii_lowercase()) && !value.contains(['"', '\\']), "{line}");
            }
        }
        assert!(series.len() > 60);
    }
}

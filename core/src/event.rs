//! What an operator may want to know, as facts with fields in place of finished lines.
//!
//! The adapter adds the time and writes one line an event, as text or as JSON. Rules guarded: no event has a field that
//! could hold a token or a request's query, what a stranger wrote is escaped, and a limit that is hit all the time makes
//! one line every ten seconds.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::{Config, LogFormat};
use crate::id::{ChannelId, ClientId, Life, NodeId};
use crate::metrics::Limit;
use crate::pattern::Pattern;
use crate::time::{Time, rfc_3339};

/// How much an event matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// What every client does; written only with `WRS_DEBUG`.
    Debug,
    /// What the node does.
    Info,
    /// What an operator should look at.
    Warn,
}

impl Level {
    /// The level as both formats write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
        }
    }
}

/// One fact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The node serves.
    Listening {
        /// Where.
        address: SocketAddr,
        /// Where other nodes reach it.
        cluster: SocketAddr,
        /// Whether with TLS.
        tls: bool,
        /// With how many threads.
        shards: u16,
    },
    /// The configuration is legal but deserves a look; or a rule of it covers nothing.
    ConfigDoubtful {
        /// The warning. The parser's, which shows no token.
        why: String,
    },
    /// A client got its 101.
    ClientJoined {
        /// Where.
        channel: ChannelId,
        /// Who.
        client: ClientId,
    },
    /// A client's connection was closed.
    ClientLeft {
        /// From where.
        channel: ChannelId,
        /// Who.
        client: ClientId,
        /// With which code (RFC 6455 section 7.4); 1006 for no close frame.
        code: u16,
    },
    /// A request to connect was answered with something else than 101.
    ClientRefused {
        /// Whose.
        from: IpAddr,
        /// The answer.
        status: u16,
    },
    /// A client reads too slowly; it is closed with 1013.
    SlowClient {
        /// Where.
        channel: ChannelId,
        /// Who.
        client: ClientId,
    },
    /// A channel exists now.
    ChannelCreated {
        /// Which.
        channel: ChannelId,
        /// How messages travel in it.
        pattern: Pattern,
    },
    /// A channel is gone.
    ChannelDeleted {
        /// Which.
        channel: ChannelId,
        /// Whether nobody asked for it but its timeout.
        timed_out: bool,
    },
    /// Every channel is gone.
    AllChannelsDeleted {
        /// How many there were.
        channels: u64,
    },
    /// A limit turned somebody away. Made by [`LimitLog`], not by hand.
    LimitReached {
        /// Which.
        limit: Limit,
        /// How often since this was last said.
        times: u64,
    },
    /// Bytes that are no HTTP request.
    HttpFault {
        /// Whose.
        from: IpAddr,
        /// The answer.
        status: u16,
        /// What was wrong; never the request itself.
        why: &'static str,
    },
    /// Bytes that are no TLS, or a handshake that failed.
    TlsFault {
        /// Whose.
        from: IpAddr,
        /// What was wrong.
        why: String,
    },
    /// There is a link with another node.
    LinkUp {
        /// Which node.
        node: NodeId,
        /// Its life.
        life: Life,
        /// The other end.
        address: SocketAddr,
        /// The version of the protocol that both speak.
        version: u8,
    },
    /// A link has ended.
    LinkDown {
        /// With which node.
        node: NodeId,
        /// Its life.
        life: Life,
        /// Why.
        why: String,
    },
    /// A connection of the cluster port did not become a link.
    LinkRefused {
        /// The other end.
        from: SocketAddr,
        /// Why.
        why: String,
        /// How many others got no line of their own since the one before.
        others: u64,
    },
    /// No connection is accepted for a while, because the machine gives none.
    AcceptPaused {
        /// The machine's reason.
        why: String,
    },
    /// Connections are accepted again.
    AcceptResumed,
    /// The certificates were read again.
    CertificatesRead,
    /// The certificates could not be read again; the old ones stay.
    CertificatesRefused {
        /// What was wrong; never a key.
        why: String,
    },
    /// The node was told to stop; nothing new is taken.
    Draining,
    /// Every connection has ended.
    Drained,
    /// The time for draining is over; connections that are left end now.
    DrainTimedOut,
    /// Another node leads now, or none.
    LeaderChanged {
        /// Which; `None` while there is none.
        leader: Option<NodeId>,
        /// In which term.
        term: u64,
    },
    /// This node has become a member of a cluster, or has founded one.
    ClusterEntered {
        /// Which.
        cluster: String,
    },
    /// This node has lost its place among the live ones: it closes its clients and begins anew.
    LifeEnded {
        /// Which.
        life: Life,
    },
    /// There is another cluster that holds channels, as this one does: the two stay apart.
    ClustersApart {
        /// Where a node of it is.
        address: String,
    },
    /// There is another cluster behind `WRS_DOMAIN`, and this one, which has no channels, gives way: this node goes there.
    ClusterYields {
        /// Where a node of it is.
        address: String,
    },
    /// Messages to a live node are longer than a frame between nodes may be: they are lost. Nodes set
    /// `WRS_MAX_MESSAGE_SIZE` alike.
    Unmailed {
        /// The node's life.
        life: Life,
    },
    /// A majority is gone for good, and the cluster goes on without it: what only those nodes knew is lost.
    ClusterRecovered {
        /// The id of the cluster from now on.
        cluster: String,
    },
}

/// One field of an event.
enum Field<'a> {
    Channel(ChannelId),
    Number(u64),
    Flag(bool),
    /// Letters, digits and punctuation that need no quotes.
    Plain(&'a dyn Display),
    /// Anything.
    Text(&'a str),
}

impl Event {
    /// How much it matters.
    pub fn level(&self) -> Level {
        match self {
            Event::ClientJoined { .. }
            | Event::ClientLeft { .. }
            | Event::ClientRefused { .. }
            | Event::ChannelCreated { .. }
            | Event::ChannelDeleted { .. }
            | Event::HttpFault { .. }
            | Event::TlsFault { .. } => Level::Debug,
            Event::Listening { .. }
            | Event::SlowClient { .. }
            | Event::LinkUp { .. }
            | Event::LinkDown { .. }
            | Event::AllChannelsDeleted { .. }
            | Event::AcceptResumed
            | Event::CertificatesRead
            | Event::Draining
            | Event::LeaderChanged { .. }
            | Event::ClusterEntered { .. }
            | Event::ClusterYields { .. }
            | Event::Drained => Level::Info,
            Event::ConfigDoubtful { .. }
            | Event::LimitReached { .. }
            | Event::LinkRefused { .. }
            | Event::AcceptPaused { .. }
            | Event::CertificatesRefused { .. }
            | Event::LifeEnded { .. }
            | Event::ClustersApart { .. }
            | Event::Unmailed { .. }
            | Event::ClusterRecovered { .. }
            | Event::DrainTimedOut => Level::Warn,
        }
    }

    /// What happened, in a word that tools can filter by.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Listening { .. } => "listening",
            Event::ConfigDoubtful { .. } => "config-doubtful",
            Event::ClientJoined { .. } => "client-joined",
            Event::ClientLeft { .. } => "client-left",
            Event::ClientRefused { .. } => "client-refused",
            Event::SlowClient { .. } => "slow-client",
            Event::ChannelCreated { .. } => "channel-created",
            Event::ChannelDeleted { .. } => "channel-deleted",
            Event::AllChannelsDeleted { .. } => "all-channels-deleted",
            Event::LimitReached { .. } => "limit-reached",
            Event::HttpFault { .. } => "http-fault",
            Event::TlsFault { .. } => "tls-fault",
            Event::LinkUp { .. } => "link-up",
            Event::LinkDown { .. } => "link-down",
            Event::LinkRefused { .. } => "link-refused",
            Event::AcceptPaused { .. } => "accept-paused",
            Event::AcceptResumed => "accept-resumed",
            Event::CertificatesRead => "certificates-read",
            Event::CertificatesRefused { .. } => "certificates-refused",
            Event::Draining => "draining",
            Event::Drained => "drained",
            Event::DrainTimedOut => "drain-timed-out",
            Event::LeaderChanged { .. } => "leader-changed",
            Event::ClusterEntered { .. } => "cluster-entered",
            Event::LifeEnded { .. } => "life-ended",
            Event::ClustersApart { .. } => "clusters-apart",
            Event::ClusterYields { .. } => "cluster-yields",
            Event::Unmailed { .. } => "message-unsendable",
            Event::ClusterRecovered { .. } => "cluster-recovered",
        }
    }

    /// Tells `each` every field in order.
    fn fields(&self, each: &mut dyn FnMut(&'static str, Field<'_>) -> fmt::Result) -> fmt::Result {
        match self {
            Event::Listening { address, cluster, tls, shards } => {
                each("address", Field::Plain(address))?;
                each("cluster", Field::Plain(cluster))?;
                each("tls", Field::Flag(*tls))?;
                each("shards", Field::Number((*shards).into()))
            }
            Event::ClientJoined { channel, client } | Event::SlowClient { channel, client } => {
                each("channel", Field::Channel(*channel))?;
                each("client", Field::Plain(client))
            }
            Event::ClientLeft { channel, client, code } => {
                each("channel", Field::Channel(*channel))?;
                each("client", Field::Plain(client))?;
                each("code", Field::Number((*code).into()))
            }
            Event::ClientRefused { from, status } => {
                each("from", Field::Plain(from))?;
                each("status", Field::Number((*status).into()))
            }
            Event::ChannelCreated { channel, pattern } => {
                each("channel", Field::Channel(*channel))?;
                each("pattern", Field::Plain(&pattern.as_str()))
            }
            Event::ChannelDeleted { channel, timed_out } => {
                each("channel", Field::Channel(*channel))?;
                each("timed_out", Field::Flag(*timed_out))
            }
            Event::AllChannelsDeleted { channels } => each("channels", Field::Number(*channels)),
            Event::LimitReached { limit, times } => {
                each("limit", Field::Text(limit.as_str()))?;
                each("times", Field::Number(*times))
            }
            Event::HttpFault { from, status, why } => {
                each("from", Field::Plain(from))?;
                each("status", Field::Number((*status).into()))?;
                each("why", Field::Text(why))
            }
            Event::TlsFault { from, why } => {
                each("from", Field::Plain(from))?;
                each("why", Field::Text(why))
            }
            Event::LinkUp { node, life, address, version } => {
                each("node", Field::Plain(node))?;
                each("life", Field::Plain(life))?;
                each("address", Field::Plain(address))?;
                each("version", Field::Number((*version).into()))
            }
            Event::LinkDown { node, life, why } => {
                each("node", Field::Plain(node))?;
                each("life", Field::Plain(life))?;
                each("why", Field::Text(why))
            }
            Event::LinkRefused { from, why, others } => {
                each("from", Field::Plain(from))?;
                each("why", Field::Text(why))?;
                each("others", Field::Number(*others))
            }
            Event::ConfigDoubtful { why } | Event::AcceptPaused { why } | Event::CertificatesRefused { why } => {
                each("why", Field::Text(why))
            }
            Event::LeaderChanged { leader, term } => {
                match leader {
                    Some(leader) => each("leader", Field::Plain(leader))?,
                    None => each("leader", Field::Plain(&"none"))?,
                }
                each("term", Field::Number(*term))
            }
            Event::ClusterEntered { cluster } | Event::ClusterRecovered { cluster } => {
                each("cluster", Field::Plain(cluster))
            }
            Event::LifeEnded { life } | Event::Unmailed { life } => each("life", Field::Plain(life)),
            Event::ClustersApart { address } | Event::ClusterYields { address } => {
                each("address", Field::Text(address))
            }
            Event::AcceptResumed
            | Event::CertificatesRead
            | Event::Draining
            | Event::Drained
            | Event::DrainTimedOut => Ok(()),
        }
    }

    /// The event as a line of text, without time and line end: `info listening address=127.0.0.1:8080 tls=false`.
    /// `id_length` is `WRS_ID_LENGTH`, so that channels stand there as their users know them.
    pub fn text(&self, id_length: usize) -> impl Display + '_ {
        Text { event: self, id_length }
    }

    /// The event as one JSON object, without a line end. `time` is what the adapter's clock says, as RFC 3339 has it.
    pub fn json<'a>(&'a self, time: &'a str, id_length: usize) -> impl Display + 'a {
        Json { event: self, time, id_length }
    }

    /// The event as one line of the log that the configuration asks for; `None` if it is for a debug log that is off.
    /// `since_epoch` is what the wall clock of the adapter says.
    pub fn line(&self, config: &Config, since_epoch: Duration) -> Option<String> {
        if self.level() == Level::Debug && !config.debug {
            return None;
        }
        let time = rfc_3339(since_epoch);
        Some(match config.log_format {
            LogFormat::Text => format!("{time} {}", self.text(config.id_length)),
            LogFormat::Json => self.json(&time, config.id_length).to_string(),
        })
    }
}

struct Text<'a> {
    event: &'a Event,
    id_length: usize,
}

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.event.level().as_str(), self.event.name())?;
        self.event.fields(&mut |name, field| match field {
            Field::Channel(channel) => write!(f, " {name}={}", channel.display(self.id_length)),
            Field::Number(number) => write!(f, " {name}={number}"),
            Field::Flag(flag) => write!(f, " {name}={flag}"),
            Field::Plain(plain) => write!(f, " {name}={plain}"),
            Field::Text(text) => write!(f, " {name}={text:?}"),
        })
    }
}

struct Json<'a> {
    event: &'a Event,
    time: &'a str,
    id_length: usize,
}

impl Display for Json<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (level, event) = (self.event.level().as_str(), self.event.name());
        write!(f, r#"{{"time":{},"level":"{level}","event":"{event}""#, JsonString(self.time))?;
        self.event.fields(&mut |name, field| match field {
            Field::Channel(channel) => write!(f, r#","{name}":"{}""#, channel.display(self.id_length)),
            Field::Number(number) => write!(f, r#","{name}":{number}"#),
            Field::Flag(flag) => write!(f, r#","{name}":{flag}"#),
            Field::Plain(plain) => write!(f, r#","{name}":"{plain}""#),
            Field::Text(text) => write!(f, r#","{name}":{}"#, JsonString(text)),
        })?;
        f.write_str("}")
    }
}

/// A string with quotes and escapes.
struct JsonString<'a>(&'a str);

impl Display for JsonString<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self.0).map_err(|_| fmt::Error)?)
    }
}

/// Between two lines about the same limit.
const LIMIT_SILENCE: Duration = Duration::from_secs(10);

/// Makes [`Event::LimitReached`] out of hits, so that whoever hits a limit cannot fill the log: the first hit is said at
/// once, then one line every ten seconds at most, with the number of hits since the one before.
#[derive(Clone, Debug, Default)]
pub struct LimitLog {
    /// For each limit: since when nothing was said, and what happened since.
    silent: [Option<(Time, u64)>; Limit::ALL.len()],
}

impl LimitLog {
    /// Nothing hit yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A limit was hit: the event to report, if it is time for one.
    pub fn hit(&mut self, now: Time, limit: Limit) -> Option<Event> {
        let silent = self.silent.get_mut(limit as usize)?;
        let times = match silent {
            Some((since, held)) => {
                *held = held.saturating_add(1);
                if now.since(*since) < LIMIT_SILENCE {
                    return None;
                }
                *held
            }
            None => 1,
        };
        *silent = Some((now, 0));
        Some(Event::LimitReached { limit, times })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ShardId;
    use serde_json::Value;

    const CHANNEL: u128 = 0xD679_05F5;

    fn all() -> Vec<Event> {
        let (channel, from) = (ChannelId::from_bits(CHANNEL, 4), IpAddr::from([192, 0, 2, 1]));
        let client = ClientId { life: Life(1), shard: ShardId(2), serial: 3 };
        let why = || "line one\nline \"two\"\u{1b}[0m".to_owned();
        vec![
            Event::Listening {
                address: SocketAddr::new(from, 8080),
                cluster: SocketAddr::new(from, 4000),
                tls: true,
                shards: 4,
            },
            Event::ConfigDoubtful { why: why() },
            Event::ClientJoined { channel, client },
            Event::ClientLeft { channel, client, code: 4404 },
            Event::ClientRefused { from, status: 401 },
            Event::SlowClient { channel, client },
            Event::ChannelCreated { channel, pattern: Pattern::PushPull },
            Event::ChannelDeleted { channel, timed_out: true },
            Event::AllChannelsDeleted { channels: 5 },
            Event::LimitReached { limit: Limit::Clients, times: 6 },
            Event::HttpFault { from, status: 400, why: "no HTTP" },
            Event::TlsFault { from, why: why() },
            Event::LinkUp { node: NodeId(7), life: Life(8), address: SocketAddr::new(from, 4000), version: 1 },
            Event::LinkDown { node: NodeId(7), life: Life(8), why: why() },
            Event::LinkRefused { from: SocketAddr::new(from, 4000), why: why(), others: 9 },
            Event::AcceptPaused { why: why() },
            Event::AcceptResumed,
            Event::CertificatesRead,
            Event::CertificatesRefused { why: why() },
            Event::Draining,
            Event::Drained,
            Event::DrainTimedOut,
            Event::LeaderChanged { leader: Some(NodeId(7)), term: 3 },
            Event::ClusterEntered { cluster: "00000000000000aa".to_owned() },
            Event::LifeEnded { life: Life(8) },
            Event::ClustersApart { address: "10.0.0.1:4000".to_owned() },
            Event::ClusterYields { address: "10.0.0.1:4000".to_owned() },
            Event::Unmailed { life: Life(9) },
            Event::ClusterRecovered { cluster: "00000000000000ab".to_owned() },
        ]
    }

    #[test]
    fn an_event_is_one_line_in_both_formats_whatever_it_says() {
        for event in all() {
            let text = event.text(4).to_string();
            assert!(text.starts_with(&format!("{} {}", event.level().as_str(), event.name())), "{text}");
            let json = event.json("2026-11-21T05:59:59.999Z", 4).to_string();
            let value: Value = serde_json::from_str(&json).unwrap();
            assert_eq!(value["event"], event.name());
            assert_eq!(value["level"], event.level().as_str());
            assert_eq!(value["time"], "2026-11-21T05:59:59.999Z");
            for line in [text, json] {
                assert!(!line.contains(|c: char| c.is_control()), "{line}");
            }
        }
    }

    #[test]
    fn every_event_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = all().iter().map(Event::name).collect();
        assert_eq!(names.len(), all().len());
    }

    #[test]
    fn fields_stand_there_as_people_know_them() {
        let shown: Vec<String> = all().iter().map(|event| event.text(4).to_string()).collect();
        for expected in [
            "info listening address=192.0.2.1:8080 cluster=192.0.2.1:4000 tls=true shards=4",
            "debug client-left channel=D679-05F5 client=00000000000000010002000000000003 code=4404",
            "debug client-refused from=192.0.2.1 status=401",
            "debug channel-created channel=D679-05F5 pattern=push-pull",
            "warn limit-reached limit=\"WRS_MAX_CLIENTS\" times=6",
            "info draining",
        ] {
            assert!(shown.iter().any(|line| line == expected), "{expected} not in {shown:#?}");
        }
        let event = Event::ClientLeft {
            channel: ChannelId::from_bits(CHANNEL, 4),
            client: ClientId { life: Life(1), shard: ShardId(2), serial: 3 },
            code: 1000,
        };
        assert_eq!(
            event.json("T", 4).to_string(),
            r#"{"time":"T","level":"debug","event":"client-left","channel":"D679-05F5","client":"00000000000000010002000000000003","code":1000}"#
        );
    }

    #[test]
    fn a_limit_that_is_hit_all_the_time_makes_a_line_every_ten_seconds() {
        let mut log = LimitLog::new();
        let mut said = Vec::new();
        for ms in (0..25_000).step_by(10) {
            if let Some(Event::LimitReached { times, .. }) = log.hit(Time::from_millis(ms), Limit::Clients) {
                said.push((ms, times));
            }
        }
        assert_eq!(said, [(0, 1), (10_000, 1_000), (20_000, 1_000)]);
        let other = log.hit(Time::from_millis(20_001), Limit::Channels);
        assert_eq!(other, Some(Event::LimitReached { limit: Limit::Channels, times: 1 }));
    }

    #[test]
    fn a_line_has_the_time_and_the_format_that_the_configuration_asks_for() {
        let event = Event::AcceptPaused { why: "too many files".to_owned() };
        let at = Duration::from_millis(951_782_400_007);
        let text = Config { log_format: LogFormat::Text, ..Config::default() };
        assert!(event.line(&text, at).is_some_and(|line| line.starts_with("2000-02-29T00:00:00.007Z ")));
        let json = Config { log_format: LogFormat::Json, ..Config::default() };
        let line: Value = serde_json::from_str(&event.line(&json, at).unwrap()).unwrap();
        assert_eq!(line["time"], "2000-02-29T00:00:00.007Z");
    }

    #[test]
    fn what_is_for_a_debug_log_is_no_line_without_one() {
        let event = Event::ClientRefused { from: IpAddr::from([192, 0, 2, 1]), status: 401 };
        let config = |debug| Config { debug, ..Config::default() };
        assert_eq!(event.level(), Level::Debug);
        assert!(event.line(&config(false), Duration::ZERO).is_none());
        assert!(event.line(&config(true), Duration::ZERO).is_some());
    }
}

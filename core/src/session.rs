//! One connection, from its first byte to its last: which phase it is in, what it has sent that is not yet dealt with,
//! and until when it may stay there.
//!
//! A session reads requests out of bytes; what they mean is the shard's to say. It guards the rules that every phase but
//! an answer of this node's own ends by a time, that an answer goes on only as long as its reader takes it at
//! [`Config::answer_rate_min`], and that what is held for later is bounded by what one read brings and one head may take.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::admission::MessageRate;
use crate::config::Config;
use crate::id::{ChannelId, ConnId};
use crate::rest::Cors;
use crate::router::Sender;
use crate::time::Time;
use crate::wire::http::{Body, BodyStream, Head, HeadScan, HttpFault, Limits, Terms};
use crate::wire::message::Reader;

/// Why a session's socket is not read. The window to another shard is the router's reason.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Pauses {
    /// It sends more messages than it may.
    pub rate: bool,
    /// Its request waits for an answer, or its answers wait for it.
    pub request: bool,
}

impl Pauses {
    /// Whether there is any.
    pub fn any(self) -> bool {
        self.rate || self.request
    }
}

/// A request as it was sent. A body that cannot be read still leaves the head, whose rules come first.
#[derive(Debug)]
pub struct Request {
    /// Method, target, fields.
    pub head: Head,
    /// The whole body.
    pub body: Result<Bytes, HttpFault>,
}

/// A request whose body is arriving.
#[derive(Debug)]
pub struct Arriving {
    head: Head,
    body: Body,
    /// Since when: it may take as long again as the head could (contract, REST API).
    since: Time,
}

/// The rest of a `GET /channels`.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    /// The last channel written.
    pub after: Option<ChannelId>,
    /// How many may follow.
    pub left: u64,
    /// Whether none has been written.
    pub first: bool,
    /// How the body is written.
    pub stream: BodyStream,
}

/// How fast the other end takes its answers, whatever they are.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// When it last had nothing to take, or had taken as much as one `WRS_KEEPALIVE_TIMEOUT` asks for.
    since: Time,
    /// Bytes that it has taken since.
    taken: usize,
}

impl Pace {
    fn new(now: Time) -> Self {
        Pace { since: now, taken: 0 }
    }
}

/// A client of a channel.
#[derive(Debug)]
pub struct Client {
    /// What its messages carry.
    pub sender: Sender,
    /// Where its frames become messages.
    pub reader: Reader,
    /// When it last sent anything.
    pub heard: Time,
    /// When it was last pinged, or joined.
    pub pinged: Time,
    /// Its own share of `WRS_MAX_MESSAGE_RATE`.
    pub rate: MessageRate,
    /// When its reading goes on, while it is paused for its rate.
    pub resume: Option<Time>,
}

/// A client to which the close frame was sent. Once its own has come, it is the server that ends the connection (RFC 6455
/// section 7.1.1): many a client waits for that.
#[derive(Debug)]
pub struct Closing {
    /// How long its own close frame, or its end, is waited for.
    pub until: Time,
    /// Where its frames end.
    pub reader: Reader,
    /// Whether they are compressed.
    pub inflates: bool,
    /// Whether its close frame has come.
    pub answered: bool,
}

/// Where a connection stands.
#[derive(Debug)]
pub enum Phase {
    /// Between two requests, or within a head.
    Head {
        /// How far the head was searched.
        scan: HeadScan,
        /// Since when the head is under way: since accept, or its first byte.
        since: Time,
        /// Whether nothing of the next request has come, and one was answered before.
        idle: bool,
    },
    /// Within a body.
    Body(Box<Arriving>),
    /// The node works on the answer.
    Asked,
    /// The answer is a list that is written piece by piece; `asked` while a piece is made.
    Listing(Box<Listing>, bool),
    /// The last answer is on its way, or was written and there is a time for what still comes; that is discarded.
    Discarding(Option<Time>),
    /// A client of a channel.
    Client(Box<Client>),
    /// The close frame is on its way; what still comes is discarded, up to the other end's own.
    Closing(Box<Closing>),
}

/// What the next bytes of a session came to.
#[derive(Debug)]
pub enum Step {
    /// More bytes are needed.
    More,
    /// The client waits for a word before it sends its body.
    Continue,
    /// A whole request.
    Request(Box<Request>),
    /// No request.
    Refused(HttpFault),
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    /// Its socket.
    pub conn: ConnId,
    /// The other end's address.
    pub from: IpAddr,
    /// Where it stands.
    pub phase: Phase,
    /// How its answers are opened to pages of other origins; set by each request.
    pub cors: Cors,
    /// Its armed deadline, kept for the list of timers.
    pub timer: Option<Time>,
    /// Bytes that wait for their turn.
    pub held: Vec<u8>,
    /// Bytes given to the socket and not known to be written.
    pub unsent: usize,
    pace: Pace,
    /// Why it is not read.
    pub pauses: Pauses,
    /// Whether the other end has sent all that it will.
    pub ended: bool,
}

impl Session {
    /// A connection that was accepted now.
    pub fn new(now: Time, conn: ConnId, from: IpAddr) -> Self {
        Session {
            conn,
            from,
            phase: Phase::Head { scan: HeadScan::default(), since: now, idle: false },
            cors: Cors::Silent,
            timer: None,
            held: Vec::new(),
            unsent: 0,
            pace: Pace::new(now),
            pauses: Pauses::default(),
            ended: false,
        }
    }

    /// Something of an answer is about to be queued: its reader's time starts, unless it has more to take.
    pub fn owes_from(&mut self, now: Time) {
        if self.unsent == 0 {
            self.pace = Pace::new(now);
        }
    }

    /// A write was tried, and so many bytes are left.
    pub fn flushed(&mut self, now: Time, unsent: usize, config: &Config) {
        // With TLS what is left may be more than there was.
        let taken = self.unsent.saturating_sub(unsent);
        self.unsent = unsent;
        self.pace.taken = self.pace.taken.saturating_add(taken);
        if taken > 0 && (unsent == 0 || self.pace.taken >= config.answer_bytes_min()) {
            self.pace = Pace::new(now);
        }
    }

    /// Whether its time is up because it takes its answers too slowly.
    pub fn is_too_slow(&self, now: Time, config: &Config) -> bool {
        self.pace_deadline(config).is_some_and(|at| at <= now)
    }

    /// Until when enough of its answers must be taken, whatever else it does meanwhile; `None` while nothing is under way,
    /// and where the end of its socket is settled or close codes speak.
    fn pace_deadline(&self, config: &Config) -> Option<Time> {
        match self.phase {
            Phase::Head { .. } | Phase::Body(_) | Phase::Asked | Phase::Listing(..) | Phase::Discarding(None) => {
                (self.unsent > 0).then(|| self.pace.since + config.keepalive_timeout)
            }
            Phase::Discarding(Some(_)) | Phase::Client(_) | Phase::Closing(_) => None,
        }
    }

    /// Ready for the next request.
    pub fn answered(&mut self, now: Time) {
        self.phase = Phase::Head { scan: HeadScan::default(), since: now, idle: true };
    }

    /// Takes bytes from the front: how many were used up, and what they came to. Bytes that are not used up belong in
    /// front of those that come next.
    pub fn next_request(&mut self, now: Time, bytes: &[u8], limits: &Limits) -> (usize, Step) {
        match &mut self.phase {
            Phase::Head { scan, since, idle } => {
                if std::mem::take(idle) {
                    *since = now;
                }
                match scan.parse_head(bytes, limits) {
                    Ok(None) => (0, Step::More),
                    Ok(Some(head)) => self.head_is_here(now, head, limits),
                    Err(fault) => (bytes.len(), Step::Refused(fault)),
                }
            }
            Phase::Body(arriving) => match arriving.body.read(bytes) {
                Ok((used, false)) => (used, Step::More),
                Ok((used, true)) => (used, self.body_is_here(Ok(()))),
                Err(fault) => (bytes.len(), self.body_is_here(Err(fault))),
            },
            Phase::Asked | Phase::Listing(..) | Phase::Discarding(_) | Phase::Client(_) | Phase::Closing(_) => {
                (0, Step::More)
            }
        }
    }

    fn head_is_here(&mut self, now: Time, head: Head, limits: &Limits) -> (usize, Step) {
        let used = head.size;
        let (waits, kind) = (head.expect_continue, head.body);
        let mut body = match Body::new(kind, limits) {
            Ok(body) => body,
            Err(fault) => {
                self.phase = Phase::Asked;
                return (used, Step::Request(Box::new(Request { head, body: Err(fault) })));
            }
        };
        match body.read(&[]) {
            Ok((_, true)) => {
                self.phase = Phase::Asked;
                (used, Step::Request(Box::new(Request { head, body: Ok(body.into_bytes()) })))
            }
            Ok(_) | Err(_) => {
                self.phase = Phase::Body(Box::new(Arriving { head, body, since: now }));
                (used, if waits { Step::Continue } else { Step::More })
            }
        }
    }

    fn body_is_here(&mut self, read: Result<(), HttpFault>) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Asked) {
            Phase::Body(arriving) => {
                let Arriving { head, body, .. } = *arriving;
                Step::Request(Box::new(Request { head, body: read.map(|()| body.into_bytes()) }))
            }
            other => {
                self.phase = other;
                Step::More
            }
        }
    }

    /// The terms of an answer to a request that took too long.
    pub fn late_terms(&self) -> Terms {
        match &self.phase {
            Phase::Body(arriving) => Terms::of(&arriving.head).closing(),
            _ => Terms::UNREADABLE,
        }
    }

    /// Whether nothing of a request has come since the last answer.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Head { .. }) && self.held.is_empty() && self.unsent == 0
    }

    /// Whether nothing more is to be said on it, by either end.
    pub fn is_over(&self) -> bool {
        let over = match &self.phase {
            Phase::Discarding(_) => self.ended,
            Phase::Closing(closing) => self.ended || closing.answered,
            Phase::Head { .. } | Phase::Body(_) | Phase::Asked | Phase::Listing(..) | Phase::Client(_) => false,
        };
        over && self.unsent == 0
    }

    /// Until when things may stay as they are; `None` where the node itself must answer first.
    pub fn deadline(&self, config: &Config) -> Option<Time> {
        let phase = match &self.phase {
            Phase::Head { idle: true, .. } | Phase::Listing(..) | Phase::Discarding(None) => {
                Some(self.pace.since + config.keepalive_timeout)
            }
            Phase::Head { since, .. } => Some(*since + config.handshake_timeout),
            Phase::Body(arriving) => Some(arriving.since + config.handshake_timeout),
            Phase::Asked => None,
            Phase::Discarding(Some(until)) => return Some(*until),
            Phase::Closing(closing) => return Some(if self.is_over() { Time::ZERO } else { closing.until }),
            Phase::Client(client) => return client.deadline(config.ping_interval),
        };
        match (phase, self.pace_deadline(config)) {
            (Some(phase), Some(pace)) => Some(phase.min(pace)),
            (phase, pace) => phase.or(pace),
        }
    }
}

impl Client {
    /// When it has been silent for two intervals; `None` when no pings are sent.
    pub fn lost(&self, interval: Option<Duration>) -> Option<Time> {
        interval.map(|interval| self.heard + interval * 2)
    }

    /// When it is to be pinged next; `None` when no pings are sent.
    pub fn next_ping(&self, interval: Option<Duration>) -> Option<Time> {
        interval.map(|interval| self.pinged + interval)
    }

    fn deadline(&self, interval: Option<Duration>) -> Option<Time> {
        // There are both or none.
        let pulse = self.lost(interval).min(self.next_ping(interval));
        match (pulse, self.resume) {
            (Some(pulse), Some(resume)) => Some(pulse.min(resume)),
            (pulse, resume) => pulse.or(resume),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answering() -> (Config, Session) {
        let config = Config { keepalive_timeout: Duration::from_secs(10), answer_rate_min: 10, ..Config::default() };
        let conn = ConnId { index: 0, generation: 0 };
        let mut session = Session::new(Time::ZERO, conn, IpAddr::from([127, 0, 0, 1]));
        session.owes_from(Time::from_millis(1_000));
        session.unsent = 1_000;
        session.answered(Time::from_millis(1_000));
        (config, session)
    }

    #[test]
    fn an_answer_has_its_time_again_once_enough_of_it_is_taken() {
        let (config, mut session) = answering();
        let at = |session: &Session| session.deadline(&config).unwrap();
        assert_eq!(config.answer_bytes_min(), 100);
        session.flushed(Time::from_millis(3_000), 901, &config);
        assert_eq!(at(&session), Time::from_millis(11_000), "a byte too little");
        session.flushed(Time::from_millis(4_000), 900, &config);
        assert_eq!(at(&session), Time::from_millis(14_000));
        session.flushed(Time::from_millis(5_000), 900, &config);
        session.owes_from(Time::from_millis(6_000));
        assert_eq!(at(&session), Time::from_millis(14_000), "neither a try nor a further answer is progress");
        assert!(!session.is_too_slow(Time::from_millis(13_999), &config));
        assert!(session.is_too_slow(Time::from_millis(14_000), &config));
    }

    #[test]
    fn half_a_request_buys_no_time_for_the_answer_before() {
        let (config, mut session) = answering();
        let limits = Limits::default();
        for seconds in [5, 10] {
            session.next_request(Time::from_millis(seconds * 1_000), b"GET /", &limits);
            session.answered(Time::from_millis(seconds * 1_000));
        }
        session.next_request(Time::from_millis(10_500), b"GET /", &limits);
        assert_eq!(session.deadline(&config), Some(Time::from_millis(11_000)));
    }

    #[test]
    fn the_wait_for_the_next_request_begins_when_the_answer_is_taken() {
        let (config, mut session) = answering();
        session.flushed(Time::from_millis(9_000), 0, &config);
        session.flushed(Time::from_millis(9_500), 0, &config);
        assert_eq!(session.deadline(&config), Some(Time::from_millis(19_000)));
        assert!(!session.is_too_slow(Time::MAX, &config), "it is idle");
    }

    #[test]
    fn what_tls_adds_is_no_progress_and_takes_none_back() {
        let (config, mut session) = answering();
        session.flushed(Time::from_millis(2_000), 1_020, &config);
        session.flushed(Time::from_millis(3_000), 920, &config);
        assert_eq!(session.deadline(&config), Some(Time::from_millis(13_000)));
    }
}

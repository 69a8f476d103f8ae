//! One link and what belongs to it: the connection that it runs on, the node at its other end, the mail between the two.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::dials::{Purpose, Wanted};
use super::fault::LinkFault;
use super::frame::{self, ACK, Batch, Frames, PING, PONG, START, TOLD};
use super::hello::{Handshake, Introduction, Theirs, VERSION_MIN};
use super::mail::{Inbox, Outbox};
use crate::action::{Action, Actions};
use crate::id::{ConnId, DialId};
use crate::peer::PeerMessage;
use crate::time::Time;

/// While so many bytes are queued on a connection no more mail is, so that a word that is sent once is not long behind it.
pub(super) const SOCKET_BYTES_MAX: usize = 1 << 20;
/// While so many bytes are queued on a connection, words that are sent once are dropped as if it were down.
const POSTS_BYTES_MAX: usize = 16 << 20;
/// How long what was received may stay unacknowledged if nothing else is to be said.
const ACK_DELAY: Duration = Duration::from_millis(20);

/// What a connection is at the moment.
#[derive(Debug)]
pub(super) enum Phase {
    /// The two ends get to know each other.
    Shaking(Box<Handshake>),
    /// It is the link to this life.
    Up(crate::id::Life),
    /// Everything is said; what still comes is not looked at.
    Leaving,
}

/// One connection of the cluster port.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) from: SocketAddr,
    /// Which dial it is, and what for.
    pub(super) dial: Option<(DialId, Purpose)>,
    pub(super) since: Time,
    pub(super) phase: Phase,
    pub(super) frames: Frames,
    /// Its place in the list of timers.
    pub(super) timer: Option<Time>,
    /// Bytes that are queued on it.
    pub(super) unsent: usize,
}

impl Conn {
    /// Queues bytes.
    pub(super) fn send(&mut self, conn: ConnId, bytes: Bytes, out: &mut Actions) -> u64 {
        let length = bytes.len();
        if length > 0 {
            self.unsent = self.unsent.saturating_add(length);
            out.push(Action::Send { conn, bytes });
        }
        length as u64
    }
}

/// Mail in both directions.
#[derive(Debug, Default)]
pub(super) struct Mail {
    pub(super) outbox: Outbox,
    pub(super) inbox: Inbox,
}

/// What went over a link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) messages_in: u64,
    pub(super) messages_out: u64,
}

/// A link that is up.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) conn: ConnId,
    pub(super) from: SocketAddr,
    /// Counts the links that the higher life of the two has made.
    pub(super) serial: u64,
    pub(super) since: Time,
    pub(super) version: u8,
    /// The longest frame that is taken.
    pub(super) frame_bytes_max: usize,
    pub(super) heard_at: Time,
    pub(super) ping_at: Time,
    pub(super) traffic: Traffic,
    pub(super) round_trip: Option<Duration>,
    /// Whether the other's life has ended: it is not written to, and its mail is not read.
    pub(super) muted: bool,
    /// Frames that go out with the next flush.
    control: Batch,
    /// The number of the first mail on this connection, until it is said.
    start: Option<u64>,
    pong: Option<u64>,
    ping_due: bool,
    /// Whether the other end is to hear of this one's new introduction.
    pub(super) tell: bool,
    /// Whether it is in the list of those to flush.
    pub(super) dirty: bool,
}

impl Link {
    pub(super) fn new(now: Time, conn: ConnId, from: SocketAddr, serial: u64, theirs: &Theirs, limit: usize) -> Self {
        Link {
            conn,
            from,
            serial,
            since: now,
            version: theirs.version,
            frame_bytes_max: limit,
            heard_at: now,
            ping_at: now,
            traffic: Traffic::default(),
            round_trip: None,
            muted: false,
            control: Batch::default(),
            start: None,
            pong: None,
            ping_due: false,
            tell: false,
            dirty: false,
        }
    }

    /// The other end asks whether this one is there. Only the last question is answered, so that nobody can make this end
    /// queue answers.
    pub(super) fn pinged(&mut self, stamp: u64) {
        self.pong = Some(stamp);
    }

    /// An answer to a question that was asked at `stamp`.
    pub(super) fn ponged(&mut self, now: Time, stamp: u64) {
        let sample = now.since(Time::from_nanos(stamp));
        self.round_trip = Some(self.round_trip.map_or(sample, |known| (known * 7 + sample) / 8));
    }

    /// Puts down what every flush may add: only while the connection takes it.
    fn put_signs(&mut self, now: Time, ours: &Introduction) {
        let out = &mut self.control.tail;
        if std::mem::take(&mut self.tell) {
            let mut told = BytesMut::new();
            ours.put(&mut told);
            frame::put(out, TOLD, &told);
        }
        if std::mem::take(&mut self.ping_due) {
            frame::put_numbers(out, PING, &[now.as_nanos()]);
        }
        if let Some(stamp) = self.pong.take() {
            frame::put_numbers(out, PONG, &[stamp]);
        }
    }
}

/// What is known of another life.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// Who it is, since it was linked first.
    pub(super) introduction: Option<Introduction>,
    pub(super) link: Option<Link>,
    /// There is some once one of the two has written.
    pub(super) mail: Option<Mail>,
    pub(super) wanted: Option<Wanted>,
}

impl Peer {
    /// Whether nothing is lost when it is forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.link.is_none() && self.mail.is_none() && self.wanted.is_none()
    }

    /// Puts a message into the mail. The version of a link that was never up is the oldest that this node speaks.
    pub(super) fn write(&mut self, now: Time, message: &PeerMessage, limit: usize) -> bool {
        let version = self.link.as_ref().map_or(VERSION_MIN, |link| link.version);
        if self.mail.is_none() {
            self.begin(Mail::default());
        }
        let put = self.mail.as_mut().is_some_and(|mail| mail.outbox.put(now, message, version, limit));
        if let Some(link) = self.link.as_mut().filter(|_| put) {
            link.traffic.messages_out += 1;
        }
        put
    }

    /// Adds a word that is sent once. False: the link takes none now.
    pub(super) fn post(&mut self, unsent: usize, bytes: &Bytes) -> bool {
        let Some(link) = &mut self.link else { return false };
        if unsent.saturating_add(link.control.len()) > POSTS_BYTES_MAX {
            return false;
        }
        link.control.put(frame::POST, bytes);
        link.traffic.messages_out += 1;
        true
    }

    /// The link has just come up, and the other end has mail up to `have`: mail goes on behind that.
    pub(super) fn resume(&mut self, have: u64) -> Result<(), LinkFault> {
        let Some(link) = self.link.as_mut().filter(|link| !link.muted) else { return Ok(()) };
        match &mut self.mail {
            Some(mail) => {
                mail.inbox.reconnected();
                link.start = Some(mail.outbox.resume(have)?);
                Ok(())
            }
            None if have > 0 => Err(LinkFault::Miscounted),
            None => Ok(()),
        }
    }

    /// Mail has started to come, with this number.
    pub(super) fn start(&mut self, number: u64) -> Result<(), LinkFault> {
        match &mut self.mail {
            Some(mail) => mail.inbox.start(number),
            None => {
                let mut mail = Mail::default();
                mail.inbox.start(number)?;
                self.begin(mail);
                Ok(())
            }
        }
    }

    /// The first mail between the two. Whoever has mail, be it only the other's, says where its own starts.
    fn begin(&mut self, mail: Mail) {
        self.mail = Some(mail);
        if let Some(link) = &mut self.link {
            link.start = Some(1);
        }
    }

    /// Something has to be said: a time has come.
    pub(super) fn wake(&mut self, now: Time, heartbeat: Duration) {
        if let Some(link) = self.link.as_mut().filter(|link| link.ping_at <= now) {
            link.ping_due = true;
            link.ping_at = now + heartbeat;
        }
    }

    /// When something has to be said, or the other end is silent for too long.
    pub(super) fn wake_at(&self, silence_max: Duration) -> Option<Time> {
        let link = self.link.as_ref()?;
        let ack = self.mail.as_ref().and_then(|mail| mail.inbox.ack_at).unwrap_or(Time::MAX);
        Some(link.ping_at.min(link.heard_at + silence_max).min(ack))
    }

    /// Queues what is to be said, as much as the connection takes. Bytes queued.
    pub(super) fn flush(&mut self, now: Time, conn: &mut Conn, ours: &Introduction, out: &mut Actions) -> u64 {
        let Some(link) = &mut self.link else { return 0 };
        link.dirty = false;
        let (id, mut sent) = (link.conn, 0);
        let mut mail = self.mail.as_mut().filter(|_| !link.muted);
        let mut starts = false;
        if conn.unsent < SOCKET_BYTES_MAX {
            if let Some(number) = link.start.take() {
                frame::put_numbers(&mut link.control.tail, START, &[number]);
                starts = true;
            }
            link.put_signs(now, ours);
            if let Some(mail) = mail.as_mut().filter(|mail| mail.inbox.owes()) {
                if link.control.len() > 0 || mail.outbox.is_waiting() || mail.inbox.is_urgent(now) {
                    frame::put_numbers(&mut link.control.tail, ACK, &[mail.inbox.acknowledge()]);
                } else {
                    mail.inbox.ack_at.get_or_insert(now + ACK_DELAY);
                }
            }
        }
        for piece in link.control.take_done() {
            sent += conn.send(id, piece, out);
        }
        // Few small words travel behind the mail in one piece, unless they say where it starts.
        let together = mail.as_mut().filter(|_| !starts && conn.unsent < SOCKET_BYTES_MAX);
        if let Some(whole) = together.and_then(|mail| mail.outbox.next_with(&link.control.tail)) {
            link.control.tail.clear();
            sent += conn.send(id, whole, out);
        }
        sent += conn.send(id, link.control.tail.split().freeze(), out);
        while conn.unsent < SOCKET_BYTES_MAX
            && let Some((frames, payload)) = mail.as_mut().and_then(|mail| mail.outbox.next())
        {
            sent += conn.send(id, frames, out) + conn.send(id, payload, out);
        }
        link.traffic.bytes_out += sent;
        sent
    }
}

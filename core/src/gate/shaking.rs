//! From a fresh connection to a link.
//!
//! Two nodes may dial each other at once, and one may dial again while the other still thinks the old connection alive. So
//! the one with the higher life alone decides which connection is the link: the lower one *offers* each connection that has
//! proven itself, and says which link it holds; the higher one makes it the link (*ready*) or refuses it. Each link has a
//! number, so that an answer that comes late changes nothing.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::dials::Purpose;
use super::fault::{LinkEnd, LinkFault};
use super::frame::{self, OFFER, READY, REFUSE};
use super::hello::{Handshake, Introduction, Role};
use super::link::{Conn, Link, Phase};
use super::{FRAME_BYTES_CAP, Gate, Heard, How, NODES_MAX, Wake};
use crate::action::{Action, Actions};
use crate::event::Event;
use crate::id::{ConnId, DialId, Life};
use crate::time::Time;
use crate::wire::compact::Reader;

/// A connection that is offered so shortly after a link was made is one that both dialed at once: the link stays.
const CROSSING: Duration = Duration::from_millis(500);

impl Gate {
    /// A connection of the cluster port was accepted, or a dial has succeeded.
    pub fn linked(&mut self, now: Time, conn: ConnId, from: SocketAddr, dial: Option<DialId>, out: &mut Actions) {
        let purpose = dial.and_then(|dial| Some((dial, self.dials.remove(&dial)?)));
        if dial.is_some() && purpose.is_none() {
            // Nobody waits for it any more.
            out.push(Action::Close { conn });
            return;
        }
        if purpose.is_none() {
            self.make_room(now, out);
        }
        if let Some((_, Purpose::Link(life))) = purpose {
            self.set_busy(life, true);
        }
        let role = if purpose.is_some() { Role::Dialer } else { Role::Acceptor };
        let (mut nonce, mut hello) = ([0; 32], BytesMut::new());
        self.random.fill(&mut nonce);
        let limit = self.frame_bytes_max as u64;
        let handshake = Handshake::new(role, self.versions, self.introduction.clone(), limit, nonce, &mut hello);
        let phase = Phase::Shaking(Box::new(handshake));
        let mut entry =
            Conn { from, dial: purpose, since: now, phase, frames: Default::default(), timer: None, unsent: 0 };
        // Whoever is dialed and says nothing is like one that cannot be reached: another attempt may do better.
        let patience = if entry.dial.is_some() { self.config.election_timeout_min } else { Duration::MAX };
        let end = now + self.config.handshake_timeout.min(patience);
        self.timers.set(&mut entry.timer, Wake::Conn(conn), Some(end));
        self.bytes_out += entry.send(conn, hello.freeze(), out);
        self.conns.insert(conn, entry);
    }

    /// Ends the oldest connection that has not proven itself, if there are too many: a stranger must not keep nodes out.
    fn make_room(&mut self, now: Time, out: &mut Actions) {
        let strangers = || self.conns.iter().filter(|(_, entry)| entry.is_stranger());
        if strangers().count() < self.config.unproven_links_max.max(1) {
            return;
        }
        if let Some((oldest, _)) = strangers().min_by_key(|(_, entry)| entry.since) {
            self.end(now, *oldest, LinkEnd::Fault(LinkFault::Crowded), How::Close, out);
        }
    }

    /// A frame of a connection that is no link yet.
    pub(super) fn shake(
        &mut self,
        now: Time,
        conn: ConnId,
        kind: u8,
        body: Bytes,
        out: &mut Actions,
    ) -> Result<(), LinkFault> {
        let Some(entry) = self.conns.get_mut(&conn) else { return Ok(()) };
        let Phase::Shaking(handshake) = &mut entry.phase else { return Ok(()) };
        if kind == REFUSE {
            let why = LinkFault::from_code(body.first().copied().unwrap_or_default());
            self.end(now, conn, LinkEnd::Refused(why), How::Close, out);
            return Ok(());
        }
        let Some(theirs) = handshake.proven() else {
            let mut words = BytesMut::new();
            let proven = handshake.heard(kind, body, &self.secret, &mut words)?;
            self.bytes_out += entry.send(conn, words.freeze(), out);
            if proven {
                self.proven(now, conn, out);
            }
            return Ok(());
        };
        let (life, ours) = (theirs.introduction.life, handshake.ours().life);
        let mut reader = Reader::new(body);
        let numbers = reader.number().zip(reader.number());
        match kind {
            OFFER if life < ours => {
                let (have, holds) = reader.end(numbers).flatten().ok_or(LinkFault::Malformed)?;
                self.offered(now, conn, life, have, holds, out)
            }
            READY if life > ours => {
                let (have, serial) = reader.end(numbers).flatten().ok_or(LinkFault::Malformed)?;
                if self.link(life).is_some_and(|link| link.serial >= serial) {
                    return Err(LinkFault::Superfluous);
                }
                self.bring_up(now, conn, life, serial, have, out)
            }
            _ => Err(LinkFault::OutOfTurn),
        }
    }

    /// The other end has proven itself: the lower life offers the connection.
    fn proven(&mut self, now: Time, conn: ConnId, out: &mut Actions) {
        let Some(entry) = self.conns.get(&conn) else { return };
        let Phase::Shaking(handshake) = &entry.phase else { return };
        let Some(theirs) = handshake.proven() else { return };
        let life = theirs.introduction.life;
        if life == self.introduction.life {
            // The end that dialed knows what for, and closes; the other waits for that.
            if entry.dial.is_some() {
                self.end(now, conn, LinkEnd::Fault(LinkFault::Oneself), How::Close, out);
            }
        } else if life > self.introduction.life {
            let have = self.have(life);
            let holds = self.link(life).map_or(0, |link| link.serial);
            let mut words = BytesMut::new();
            frame::put_numbers(&mut words, OFFER, &[have, holds]);
            self.send(conn, words.freeze(), out);
        }
    }

    /// The lower life offers a connection; it has mail up to `have`, and holds the link of that number (0: none).
    fn offered(
        &mut self,
        now: Time,
        conn: ConnId,
        life: Life,
        have: u64,
        holds: u64,
        out: &mut Actions,
    ) -> Result<(), LinkFault> {
        if let Some(link) = self.link(life)
            && (holds == link.serial || now.since(link.since) < CROSSING)
        {
            return Err(LinkFault::Superfluous);
        }
        self.last_serial += 1;
        let mut words = BytesMut::new();
        frame::put_numbers(&mut words, READY, &[self.have(life), self.last_serial]);
        let serial = self.last_serial;
        self.bring_up(now, conn, life, serial, have, out)?;
        // Before anything that the link itself says: that is queued by the next flush.
        self.send(conn, words.freeze(), out);
        Ok(())
    }

    /// A connection becomes the link; the one that was is closed.
    fn bring_up(
        &mut self,
        now: Time,
        conn: ConnId,
        life: Life,
        serial: u64,
        have: u64,
        out: &mut Actions,
    ) -> Result<(), LinkFault> {
        if self.peers.len() >= NODES_MAX && !self.peers.contains_key(&life) {
            return Err(LinkFault::Full);
        }
        if let Some(old) = self.link(life).map(|link| link.conn) {
            self.end(now, old, LinkEnd::Replaced, How::Close, out);
        }
        let Some(entry) = self.conns.get_mut(&conn) else { return Ok(()) };
        let Phase::Shaking(handshake) = &entry.phase else { return Ok(()) };
        let Some(theirs) = handshake.proven() else { return Err(LinkFault::OutOfTurn) };
        let limit = usize::try_from(theirs.frame_bytes_max).unwrap_or(usize::MAX).min(FRAME_BYTES_CAP);
        let mut link = Link::new(now, conn, entry.from, serial, theirs, limit.max(self.frame_bytes_max));
        link.muted = self.ended.holds(life);
        link.tell = *handshake.ours() != self.introduction;
        let (introduction, from, version) = (theirs.introduction.clone(), entry.from, link.version);
        let peer = self.peers.entry(life).or_default();
        peer.link = Some(link);
        if let Err(fault) = peer.resume(have) {
            peer.link = None;
            return Err(fault);
        }
        peer.introduction = Some(introduction.clone());
        if let Some(wanted) = &mut peer.wanted {
            self.timers.set(&mut wanted.timer, Wake::Dial(life), None);
        }
        entry.phase = Phase::Up(life);
        let dial = entry.dial.take();
        self.mark(life);
        self.report(Event::LinkUp { node: introduction.node, life, address: from, version }, out);
        self.heard.push_back(Heard::Up { life, introduction: introduction.clone(), from });
        self.made(now, dial, introduction, from);
        Ok(())
    }

    /// A dial has led to somebody that there is a link with.
    fn made(&mut self, now: Time, dial: Option<(DialId, Purpose)>, introduction: Introduction, from: SocketAddr) {
        let life = introduction.life;
        match dial {
            Some((dial, Purpose::Meet)) => self.heard.push_back(Heard::Met { dial, life, introduction, from }),
            Some((_, Purpose::Link(wanted))) => {
                self.failed(now, wanted);
                if wanted != life && self.link(life).is_some() {
                    self.heard.push_back(Heard::Succeeded { life: wanted, introduction, from });
                }
            }
            None => {}
        }
    }

    /// A connection has ended before it was a link.
    pub(super) fn unmade(&mut self, now: Time, entry: &Conn, why: LinkEnd) {
        let Phase::Shaking(handshake) = &entry.phase else { return };
        // No link came of it, but there is one, or none is needed.
        let known = matches!(
            why,
            LinkEnd::Fault(LinkFault::Superfluous | LinkFault::Oneself) | LinkEnd::Refused(LinkFault::Superfluous)
        );
        if let Some(theirs) = handshake.proven().filter(|_| known) {
            return self.made(now, entry.dial, theirs.introduction.clone(), entry.from);
        }
        match entry.dial {
            Some((dial, Purpose::Meet)) => self.heard.push_back(Heard::Unmet { dial, why }),
            Some((_, Purpose::Link(life))) => self.failed(now, life),
            None => {}
        }
    }

    /// An attempt to be linked with a life is over: another follows, if there is no link by now.
    pub(super) fn failed(&mut self, now: Time, life: Life) {
        self.set_busy(life, false);
        self.redial(now, life);
    }

    /// Dials a life again after a pause, if a link with it is wanted and nothing is under way.
    pub(super) fn redial(&mut self, now: Time, life: Life) {
        let Some(peer) = self.peers.get_mut(&life).filter(|peer| peer.link.is_none()) else { return };
        if let Some(wanted) = peer.wanted.as_mut().filter(|wanted| !wanted.busy) {
            let at = wanted.next_at(now, &mut self.random);
            self.timers.set(&mut wanted.timer, Wake::Dial(life), Some(at));
        }
    }

    /// Up to which number mail of a life was handed on.
    fn have(&self, life: Life) -> u64 {
        self.peers.get(&life).and_then(|peer| peer.mail.as_ref()).map_or(0, |mail| mail.inbox.have())
    }

    /// Notes whether an attempt to be linked with a life is under way.
    fn set_busy(&mut self, life: Life, busy: bool) {
        if let Some(wanted) = self.peers.get_mut(&life).and_then(|peer| peer.wanted.as_mut()) {
            wanted.busy = busy;
        }
    }
}

impl Conn {
    /// Whether the other end came by itself and has not proven who it is, or was refused.
    fn is_stranger(&self) -> bool {
        match &self.phase {
            Phase::Shaking(handshake) => self.dial.is_none() && handshake.proven().is_none(),
            Phase::Up(_) => false,
            Phase::Leaving => true,
        }
    }
}

//! What happens when nothing happens: deadlines, countdowns, the drain.

use std::time::Duration;

use super::surveys::Purpose;
use super::{Drain, Shard, Wake};
use crate::action::{Action, Actions};
use crate::event::Event;
use crate::id::{ChannelId, ConnId};
use crate::metrics::{Gauge, Limit};
use crate::session::Phase;
use crate::time::Time;
use crate::wire::frame::CloseCode;

/// How long after a deletion that the cluster did not make a channel's countdown is looked at again.
const EXPIRE_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Shard {
    /// Every waiter whose time has come, and those that it makes wait until no later than now.
    pub(super) fn time_is_up(&mut self, now: Time, out: &mut Actions) {
        self.control_timeout(now, out);
        while let Some(wake) = self.timers.pop_due(now) {
            match wake {
                Wake::Conn(conn) => self.session_is_due(now, conn, out),
                Wake::Channel(channel) => {
                    if let Some(home) = self.router.homes.get_mut(&channel) {
                        home.timer = None;
                    }
                    let active = self.tally(channel).active;
                    if self.count_down(now, channel, active) {
                        self.survey(Purpose::Expire(now), vec![channel], out);
                    }
                }
                Wake::Join(serial) => self.wait_is_over(now, serial, out),
                Wake::Drain => {
                    self.drain_timer = None;
                    self.drain_is_due(now, out);
                }
            }
        }
    }

    fn session_is_due(&mut self, now: Time, conn: ConnId, out: &mut Actions) {
        let Some(mut session) = self.sessions.take(conn) else { return };
        session.timer = None;
        if session.deadline(&self.config).is_none_or(|at| at > now) {
            return self.put_back(session);
        }
        if session.is_too_slow(now, &self.config) {
            self.limit_reached(now, Limit::KeepaliveTimeout, out);
            return self.drop_session(*session, true, out);
        }
        match &session.phase {
            Phase::Head { idle: false, .. } | Phase::Body(_) => {
                self.limit_reached(now, Limit::HandshakeTimeout, out);
                self.answer_late(now, &mut session, out);
                // The answer may never be written: a TLS handshake that has not ended takes none.
                if let Phase::Discarding(until) = &mut session.phase {
                    *until = Some(now + self.config.discard_timeout);
                }
            }
            Phase::Client(client) => {
                if client.resume.is_some_and(|at| at <= now) {
                    self.resume_rate(now, &mut session, out);
                }
                self.check_pulse(now, &mut session, out);
            }
            Phase::Asked => {}
            Phase::Head { idle: true, .. } | Phase::Listing(..) | Phase::Discarding(_) | Phase::Closing(_) => {
                return self.drop_session(*session, true, out);
            }
        }
        self.put_back(session);
    }

    /// Arms the countdown of a channel that has its home here now, from what this shard knows of its use.
    pub(super) fn start_countdown(&mut self, now: Time, channel: ChannelId) {
        let active = self.tally(channel).active;
        if self.count_down(now, channel, active)
            && let Some(home) = self.router.homes.get_mut(&channel)
        {
            self.timers.set(&mut home.timer, Wake::Channel(channel), Some(now));
        }
    }

    /// Whether a channel's countdown is at zero, if `active` is when it was last used; arms it anew if not.
    fn count_down(&mut self, now: Time, channel: ChannelId, active: Time) -> bool {
        let timeout = self.catalogue.get(channel).and_then(|entry| entry.channel.timeout_ms);
        let Some(timeout) = timeout else { return false };
        let at = active + Duration::from_millis(timeout);
        if at <= now {
            return true;
        }
        if let Some(home) = self.router.homes.get_mut(&channel) {
            self.timers.set(&mut home.timer, Wake::Channel(channel), Some(at).filter(|at| *at < Time::MAX));
        }
        false
    }

    /// All shards have said when a channel was last used, as of when they were `asked`. If its time was not over then, but is when
    /// the last answer comes, they are asked again: it may have been used in between.
    pub(super) fn expire(&mut self, asked: Time, channel: ChannelId, active: Time, out: &mut Actions) {
        if self.count_down(asked, channel, active) {
            self.propose_expiry(channel, out);
        }
    }

    /// The cluster could not delete a channel whose time is over: it is looked at again soon, if this is still its home.
    pub(super) fn expire_later(&mut self, now: Time, channel: ChannelId) {
        if let Some(home) = self.router.homes.get_mut(&channel)
            && !mutant!(ExpiresOnceOnly)
        {
            self.timers.set(&mut home.timer, Wake::Channel(channel), Some(now + EXPIRE_AGAIN_AFTER));
        }
    }

    /// The node is to stop. A second word changes nothing.
    pub(super) fn start_drain(&mut self, now: Time, out: &mut Actions) {
        if self.drain != Drain::No {
            return;
        }
        if self.here.0 == 0 {
            self.report(Event::Draining, out);
            self.router.metrics.set(Gauge::Draining, 1);
        }
        let until = now + self.config.drain_delay;
        self.drain = Drain::Announced(until);
        self.drain_is_due(now, out);
    }

    pub(super) fn drain_is_due(&mut self, now: Time, out: &mut Actions) {
        match self.drain {
            Drain::Announced(until) if until > now => {
                self.timers.set(&mut self.drain_timer, Wake::Drain, Some(until));
            }
            Drain::Announced(_) => {
                let until = now + self.config.drain_timeout;
                self.drain = Drain::Until(until);
                let last = until - self.config.discard_timeout.min(self.config.drain_timeout / 4);
                self.timers.set(&mut self.drain_timer, Wake::Drain, Some(last));
                out.push(Action::StopListening);
                self.let_go(now, out);
            }
            Drain::Until(until) if until <= now => {
                if !self.sessions.is_empty() {
                    self.report(Event::DrainTimedOut, out);
                }
                self.left = true;
                for conn in self.sessions.conns() {
                    if let Some(session) = self.sessions.take(conn) {
                        self.drop_session(*session, true, out);
                    }
                }
            }
            Drain::Until(until) => {
                // Who still waits for other nodes is answered while there is time to take the answer.
                self.wait_for_nobody(now, out);
                self.timers.set(&mut self.drain_timer, Wake::Drain, Some(until));
            }
            Drain::No | Drain::Done => {}
        }
    }

    /// Idle connections end at once, clients with a word; requests that run are answered and then end. Who waits for a seat is
    /// told to come again, elsewhere: it may be waiting for somebody who cannot be reached.
    fn let_go(&mut self, now: Time, out: &mut Actions) {
        let joining: Vec<u64> = self.joining.keys().copied().collect();
        for serial in joining {
            self.wait_is_over(now, serial, out);
        }
        for conn in self.sessions.conns() {
            let Some(mut session) = self.sessions.take(conn) else { continue };
            if session.is_idle() {
                self.drop_session(*session, true, out);
                continue;
            }
            self.close_client(now, &mut session, CloseCode::GOING_AWAY, "the node shuts down", out);
            self.put_back(session);
        }
    }

    /// Whether nothing new is taken any more.
    pub(super) fn is_draining(&self) -> bool {
        matches!(self.drain, Drain::Until(_) | Drain::Done)
    }

    /// The last connection has gone: this shard is done.
    pub(super) fn check_drained(&mut self, now: Time, out: &mut Actions) {
        if matches!(self.drain, Drain::Until(_)) && self.sessions.is_empty() && self.may_stop(now, out) {
            self.drain = Drain::Done;
            self.timers.set(&mut self.drain_timer, Wake::Drain, None);
            if self.here.0 == 0 {
                self.report(Event::Drained, out);
            }
            out.push(Action::Stop);
        }
    }
}

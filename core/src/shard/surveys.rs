//! Questions that other shards answer, and what is done with the answers.
//!
//! Each has a ticket, which comes back once from every shard that was asked. A connection that has gone meanwhile is no
//! longer answered, but what was asked is still done.

use std::collections::BTreeMap;

use http::StatusCode;

use super::Shard;
use super::operate::About;
use super::requests::RETRY_AFTER;
use crate::action::Actions;
use crate::catalogue::{Channel, Command, Outcome, Removal};
use crate::id::{ChannelId, ConnId, GATE, Life, ShardId};
use crate::metrics::Metrics;
use crate::peer::{PeerId, PeerMessage, Tally, Ticket};
use crate::rest::Problem;
use crate::time::Time;
use crate::wire::http::Terms;

/// A question that has not been answered in full.
#[derive(Debug)]
pub(super) enum Asked {
    /// A change of the catalogue.
    Change(Change),
    /// How many clients do channels have, and when were they last used?
    Survey(Survey),
    /// What the control plane was asked.
    Operation { conn: ConnId, terms: Terms, about: About },
    /// On shard 0: whose question the control plane is at.
    Operator(ShardId, Ticket),
    /// The figures of all shards.
    Measure { conn: ConnId, terms: Terms, sum: Box<Metrics>, left: usize },
}

/// A change of the catalogue that is under way.
#[derive(Debug)]
pub(super) enum Change {
    /// Somebody creates a channel; its token is told once.
    Create { conn: ConnId, terms: Terms, channel: Channel, id: ChannelId, token: String, attempts: u32 },
    /// Somebody deletes one.
    Delete { conn: ConnId, terms: Terms },
    /// Somebody deletes all.
    Reset { conn: ConnId, terms: Terms },
    /// Nobody used it.
    Expire(ChannelId),
}

impl Change {
    /// Who is told what became of it.
    pub(super) fn asker(&self) -> Option<(ConnId, Terms)> {
        match self {
            Change::Create { conn, terms, .. } | Change::Delete { conn, terms } | Change::Reset { conn, terms } => {
                Some((*conn, *terms))
            }
            Change::Expire(_) => None,
        }
    }
}

/// What a survey is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// `GET /channels/{id}`.
    Get { conn: ConnId, terms: Terms },
    /// A piece of `GET /channels`.
    List { conn: ConnId },
    /// The countdown of a channel is at zero as far as this shard knows, since this time.
    Expire(Time),
    /// A sibling asks about this node's gate and other nodes, or another node about this one.
    Peer { peer: PeerId, ticket: Ticket },
}

/// A survey under way.
#[derive(Debug)]
pub(super) struct Survey {
    purpose: Purpose,
    channels: Vec<ChannelId>,
    tallies: Vec<Tally>,
    /// Which channels each peer was asked about, as indexes.
    questions: BTreeMap<PeerId, Vec<usize>>,
}

impl Shard {
    /// What this shard itself knows of a channel.
    pub(super) fn tally(&self, channel: ChannelId) -> Tally {
        match (self.router.roster.get(channel), self.catalogue.get(channel)) {
            (Some(local), _) => Tally { clients: local.members.len() as u64, active: local.active },
            (None, Some(entry)) => Tally { clients: 0, active: entry.since },
            (None, None) => Tally { clients: 0, active: Time::ZERO },
        }
    }

    /// Asks everybody that has clients on these channels. The answer comes later, also where this shard knows it all:
    /// whoever asks may hold the session that is to be answered.
    pub(super) fn survey(&mut self, purpose: Purpose, channels: Vec<ChannelId>, out: &mut Actions) {
        let (siblings, nodes) = match purpose {
            Purpose::Peer { peer: PeerId::Shard(_), .. } => (false, true),
            Purpose::Peer { peer: PeerId::Node(_), .. } => (true, false),
            Purpose::Get { .. } | Purpose::List { .. } if mutant!(CountsOnlyHere) => (true, false),
            Purpose::Expire(_) if mutant!(ExpiresByOwnClockAlone) => (false, false),
            Purpose::Get { .. } | Purpose::List { .. } | Purpose::Expire(_) => (true, true),
        };
        // Who has left, or can go on no longer, may be counted out already and get no answer.
        let nodes = nodes && !self.left;
        let tallies = channels.iter().map(|channel| self.tally(*channel)).collect();
        let mut questions: BTreeMap<PeerId, Vec<usize>> = BTreeMap::new();
        for (index, channel) in channels.iter().enumerate() {
            let Some(local) = self.router.roster.get(*channel) else { continue };
            let mut ask = |peer| questions.entry(peer).or_default().push(index);
            if siblings {
                local.elsewhere.iter().for_each(|shard| ask(PeerId::Shard(*shard)));
            }
            match &local.nodes {
                _ if !nodes => {}
                Some(known) => known.interested.iter().for_each(|life| ask(PeerId::Node(*life))),
                None if local.abroad && !local.elsewhere.contains(&GATE) => ask(PeerId::Shard(GATE)),
                None => {}
            }
        }
        let survey = Survey { purpose, channels, tallies, questions };
        let asked: Vec<(PeerId, Vec<ChannelId>)> = survey
            .questions
            .iter()
            .map(|(peer, indexes)| {
                (*peer, indexes.iter().filter_map(|index| survey.channels.get(*index).copied()).collect())
            })
            .collect();
        let ticket = self.new_ticket(Asked::Survey(survey));
        if asked.is_empty() {
            self.say(self.here, PeerMessage::Surveyed(ticket, Vec::new()), out);
        }
        for (peer, channels) in asked {
            self.router.forward(peer, PeerMessage::Survey(ticket, channels), None, out);
        }
    }

    /// A peer asks: the gate answers a sibling for the other nodes too, and another node for its siblings too.
    pub(super) fn asked_for_tallies(
        &mut self,
        peer: PeerId,
        ticket: Ticket,
        channels: Vec<ChannelId>,
        out: &mut Actions,
    ) {
        if self.router.is_gate() {
            return self.survey(Purpose::Peer { peer, ticket }, channels, out);
        }
        let tallies = channels.into_iter().map(|channel| self.tally(channel)).collect();
        self.router.forward(peer, PeerMessage::Surveyed(ticket, tallies), None, out);
    }

    /// A peer has answered a survey.
    pub(super) fn surveyed(&mut self, now: Time, ticket: Ticket, from: PeerId, tallies: &[Tally], out: &mut Actions) {
        let Some(Asked::Survey(survey)) = self.asked.get_mut(&ticket) else { return };
        let indexes = survey.questions.remove(&from).unwrap_or_default();
        for (index, tally) in indexes.into_iter().zip(tallies) {
            if let Some(sum) = survey.tallies.get_mut(index) {
                sum.clients += tally.clients;
                sum.active = sum.active.max(tally.active);
            }
        }
        if survey.questions.is_empty()
            && let Some(Asked::Survey(survey)) = self.asked.remove(&ticket)
        {
            self.survey_done(now, survey, out);
        }
    }

    /// Nodes whose lives have ended answer no more, and have no clients.
    pub(super) fn forget_dead_surveyed(&mut self, now: Time, out: &mut Actions) {
        let members = self.router.members.clone();
        self.forget_surveyed(now, |life| members.node_of(life).is_none(), out);
    }

    /// Who answers no more: whom this node has asked, or all once its own life has ended.
    pub(super) fn forget_surveyed(&mut self, now: Time, is_dead: impl Fn(Life) -> bool, out: &mut Actions) {
        let mut silent: Vec<(Ticket, PeerId)> = Vec::new();
        for (ticket, asked) in &self.asked {
            if let Asked::Survey(survey) = asked {
                let dead = survey.questions.keys().filter(|peer| match peer {
                    PeerId::Node(life) => is_dead(*life),
                    PeerId::Shard(_) => false,
                });
                silent.extend(dead.map(|peer| (*ticket, *peer)));
            }
        }
        for (ticket, peer) in silent {
            self.surveyed(now, ticket, peer, &[], out);
        }
    }

    /// The node stops, and whom it has asked may never answer: who waits is told so while there is time to take it. A list that
    /// has begun breaks off with the connection, as a whole one would tell what is not known (RFC 9112, section 8).
    pub(super) fn wait_for_nobody(&mut self, now: Time, out: &mut Actions) {
        let waits = |(ticket, asked): (&Ticket, &Asked)| {
            let (conn, terms, changes) = match asked {
                Asked::Survey(Survey { purpose: Purpose::Get { conn, terms }, .. })
                | Asked::Measure { conn, terms, .. } => (*conn, *terms, false),
                Asked::Operation { conn, terms, about } => (*conn, *terms, *about == About::Done),
                Asked::Change(change) => change.asker().map(|(conn, terms)| (conn, terms, true))?,
                Asked::Survey(_) | Asked::Operator(..) => return None,
            };
            Some((*ticket, conn, terms, changes))
        };
        let waiting: Vec<_> = self.asked.iter().filter_map(waits).collect();
        for (ticket, conn, terms, changes) in waiting {
            self.asked.remove(&ticket);
            let problem = match changes {
                true => Problem::new(StatusCode::GATEWAY_TIMEOUT, "The node stops: it may have been done or not."),
                false => Problem::unavailable("The node is draining.", RETRY_AFTER),
            };
            self.answer_later(now, conn, terms, Err(problem), out);
        }
    }

    fn survey_done(&mut self, now: Time, survey: Survey, out: &mut Actions) {
        let Survey { purpose, channels, tallies, .. } = survey;
        match purpose {
            Purpose::Get { conn, terms } => {
                if let (Some(channel), Some(tally)) = (channels.first(), tallies.first()) {
                    self.answer_get(now, conn, terms, *channel, *tally, out);
                }
            }
            Purpose::List { conn } => self.list_piece(now, conn, &channels, &tallies, out),
            Purpose::Peer { peer, ticket } => {
                self.router.forward(peer, PeerMessage::Surveyed(ticket, tallies), None, out);
            }
            Purpose::Expire(asked) => {
                if let (Some(channel), Some(tally)) = (channels.first(), tallies.first()) {
                    self.expire(asked, *channel, tally.active, out);
                }
            }
        }
    }

    /// Proposes a change; shard 0 puts it in order.
    pub(super) fn propose(
        &mut self,
        change: Change,
        command: Command,
        from: Option<std::net::IpAddr>,
        out: &mut Actions,
    ) {
        let ticket = self.new_ticket(Asked::Change(change));
        self.say(GATE, PeerMessage::Propose(ticket, command, from), out);
    }

    /// Proposes the deletion of a channel that nobody used.
    pub(super) fn propose_expiry(&mut self, id: ChannelId, out: &mut Actions) {
        self.propose(Change::Expire(id), Command::Delete { id, why: Removal::TimedOut }, None, out);
    }

    /// A change is made, or certainly not, on every shard.
    pub(super) fn settled(&mut self, now: Time, ticket: Ticket, outcome: Outcome, out: &mut Actions) {
        match self.asked.remove(&ticket) {
            Some(Asked::Change(change)) => self.answer_change(now, change, outcome, out),
            Some(other) => drop(self.asked.insert(ticket, other)),
            None => {}
        }
    }

    /// Asks all shards for their figures, this one too.
    pub(super) fn measure(&mut self, conn: ConnId, terms: Terms, out: &mut Actions) {
        let left = usize::from(self.config.shards.max(1));
        let ticket = self.new_ticket(Asked::Measure { conn, terms, sum: Box::default(), left });
        self.say(self.here, PeerMessage::Measure(ticket), out);
        self.say_to_others(|| PeerMessage::Measure(ticket), out);
    }

    /// A shard has told its figures.
    pub(super) fn measured(&mut self, now: Time, ticket: Ticket, metrics: &Metrics, out: &mut Actions) {
        let Some(Asked::Measure { conn, terms, sum, left }) = self.asked.get_mut(&ticket) else { return };
        sum.merge(metrics);
        *left = left.saturating_sub(1);
        if *left == 0 {
            let (conn, terms, sum) = (*conn, *terms, std::mem::take(sum));
            self.asked.remove(&ticket);
            self.answer_metrics(now, conn, terms, &sum, out);
        }
    }
}

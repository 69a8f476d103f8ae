//! What operators ask of the cluster, and what becomes of the node when it cannot go on.

use std::time::Duration;

use ::http::StatusCode;

use super::requests::RETRY_AFTER;
use super::surveys::Asked;
use super::{Drain, Shard};
use crate::action::Actions;
use crate::cluster::{Done, NotReady, Refused};
use crate::id::{ConnId, NodeId, ShardId};
use crate::peer::{Operation, PeerMessage, Standing, Ticket};
use crate::rest::{Answer, Call, ClusterView, LinkView, NodeView, Problem};
use crate::time::Time;
use crate::wire::http::Terms;

/// What a request about the cluster is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum About {
    /// `GET /cluster`.
    Cluster,
    /// `GET /readyz`.
    Ready,
    /// Something was to be done.
    Done,
}

/// How long a request to join waits, once this node is a member, until it serves: a lease and an epoch are had within
/// heartbeats, unless the cluster is in trouble.
const SERVES_WITHIN: Duration = Duration::from_secs(10);

/// A request to join that is answered once this node serves in its new cluster.
#[derive(Debug)]
pub(super) struct Arrival {
    shard: ShardId,
    ticket: Ticket,
    since: Time,
}

impl Arrival {
    /// When it is answered at the latest.
    pub(super) fn deadline(&self) -> Time {
        self.since + SERVES_WITHIN
    }
}

impl Shard {
    /// Asks the control plane.
    pub(super) fn ask_control(&mut self, conn: ConnId, terms: Terms, about: About, what: Operation, out: &mut Actions) {
        let ticket = self.new_ticket(Asked::Operation { conn, terms, about });
        self.say(crate::id::GATE, PeerMessage::Operate(ticket, what), out);
    }

    /// What a request wants of the control plane.
    pub(super) fn operation(&self, call: &Call) -> Result<(About, Operation), Problem> {
        let unknown = || Problem::not_found("There is no such node.");
        Ok(match call {
            Call::Readyz if self.drain != Drain::No => {
                return Err(Problem::unavailable("The node is draining.", RETRY_AFTER));
            }
            Call::Readyz => (About::Ready, Operation::View),
            Call::Join { address, force } => (About::Done, Operation::Join { address: address.clone(), force: *force }),
            Call::RemoveNode(id) => {
                let node = u64::from_str_radix(id, 16).map_err(|_| unknown())?;
                (About::Done, Operation::Remove(NodeId(node)))
            }
            Call::Recover => (About::Done, Operation::Recover),
            _ => (About::Cluster, Operation::View),
        })
    }

    /// The control plane has answered.
    pub(super) fn answer_operation(
        &mut self,
        now: Time,
        ticket: Ticket,
        answer: Result<Box<Standing>, Refused>,
        out: &mut Actions,
    ) {
        let Some(Asked::Operation { conn, terms, about }) = self.asked.remove(&ticket) else { return };
        let answer = match (answer, about) {
            (Ok(standing), About::Cluster) => Ok(Answer::cluster(&standing.view)),
            (Ok(standing), About::Done) => Ok(Answer::message(&standing.done)),
            (Ok(standing), About::Ready) => match standing.not_ready {
                None => Ok(Answer::message("Success: the node takes traffic.")),
                Some(why) => Err(Problem::unavailable(format!("Not yet: {why}."), RETRY_AFTER)),
            },
            (Err(refused), _) => Err(problem(&refused)),
        };
        self.answer_later(now, conn, terms, answer, out);
    }

    /// On shard 0: a shard asks.
    pub(super) fn operate(
        &mut self,
        now: Time,
        from: ShardId,
        ticket: Ticket,
        operation: Operation,
        out: &mut Actions,
    ) {
        if operation == Operation::View {
            let answer = Ok(Box::new(self.standing(now, String::new())));
            return self.say(from, PeerMessage::Operated(ticket, answer), out);
        }
        let own = self.new_ticket(Asked::Operator(from, ticket));
        let Some(control) = &mut self.control else { return };
        control.stirred = true;
        match operation {
            Operation::View => {}
            Operation::Join { address, force } => control.cluster.join(now, own, address, force),
            Operation::Remove(node) => control.cluster.remove(now, own, node),
            Operation::Recover => control.cluster.recover(now, own),
        }
    }

    /// On shard 0: the control plane has an answer.
    pub(super) fn operated(&mut self, now: Time, ticket: Ticket, answer: Result<Done, Refused>, out: &mut Actions) {
        let Some(Asked::Operator(shard, ticket)) = self.asked.remove(&ticket) else { return };
        match (answer, &mut self.control) {
            (Ok(Done::Joined), Some(control)) => control.arrivals.push(Arrival { shard, ticket, since: now }),
            (answer, _) => self.answer_operator(now, shard, ticket, answer, out),
        }
    }

    /// On shard 0: whoever waits for this node to serve in the cluster that it has joined is answered once it does. False:
    /// nobody was.
    pub(super) fn answer_arrivals(&mut self, now: Time, out: &mut Actions) -> bool {
        let serves = self.is_serving_everywhere(now);
        let Some(control) = self.control.as_mut().filter(|control| !control.arrivals.is_empty()) else { return false };
        let is_due = |arrival: &mut Arrival| serves || arrival.deadline() <= now;
        let due: Vec<Arrival> = control.arrivals.extract_if(.., is_due).collect();
        let answer = if serves { Ok(Done::Joined) } else { Err(Refused::NotServing) };
        let any = !due.is_empty();
        for Arrival { shard, ticket, .. } in due {
            self.answer_operator(now, shard, ticket, answer.clone(), out);
        }
        any
    }

    fn answer_operator(
        &mut self,
        now: Time,
        shard: ShardId,
        ticket: Ticket,
        answer: Result<Done, Refused>,
        out: &mut Actions,
    ) {
        let answer = answer.map(|done| Box::new(self.standing(now, done.to_string())));
        self.say(shard, PeerMessage::Operated(ticket, answer), out);
    }

    fn standing(&self, now: Time, done: String) -> Standing {
        let Some(control) = &self.control else {
            return Standing { view: ClusterView::default(), not_ready: Some("starting".to_owned()), done };
        };
        let (cluster, gate) = (&control.cluster, &control.gate);
        let leader = cluster.leader();
        let nodes = cluster.members().iter().map(|(node, member)| NodeView {
            id: node.to_string(),
            address: Some(member.address.to_string()),
            role: cluster.role_of(node).as_str(),
            live: member.life.is_some(),
            version: member.version,
            applied: cluster.applied_of(node),
        });
        let links = gate.views().filter_map(|link| {
            let up = link.up.as_ref();
            Some(LinkView {
                node: link.node?.to_string(),
                address: up.map(|up| up.address.to_string()),
                up: up.is_some(),
                seconds: up.map(|up| now.since(up.since).as_secs()),
                round_trip_us: up.and_then(|up| u64::try_from(up.round_trip?.as_micros()).ok()),
                unacknowledged: link.unacknowledged as u64,
            })
        });
        let (committed, applied) = cluster.indexes();
        let not_ready = cluster.not_ready().or_else(|| (!self.is_serving_everywhere(now)).then_some(NotReady::Opening));
        let view = ClusterView {
            id: cluster.node().to_string(),
            cluster: cluster.cluster().map(|id| format!("{id:016x}")),
            role: cluster.part().as_str(),
            term: cluster.term(),
            leader: leader.map(|leader| leader.to_string()),
            epoch: cluster.members().epoch(),
            committed,
            applied,
            ready: not_ready.is_none(),
            version: cluster.version(),
            apart: cluster.apart(),
            nodes: nodes.collect(),
            links: links.collect(),
        };
        Standing { view, not_ready: not_ready.map(|why| why.to_string()), done }
    }

    /// The node can go on no longer: its clients are told to go to another, and it stops.
    pub(super) fn fail(&mut self, now: Time, out: &mut Actions) {
        self.left = true;
        self.let_all_clients_go(now, out);
        // The others may count it out without its hearing of that any more: what it asked them may never be answered, and it
        // asks them nothing more.
        self.forget_surveyed(now, |_| true, out);
        self.drain = Drain::Announced(now);
        self.drain_is_due(now, out);
    }
}

/// How a refusal is answered.
fn problem(refused: &Refused) -> Problem {
    let status = match refused {
        Refused::WouldLoseChannels | Refused::WouldLeaveCluster | Refused::Busy | Refused::HasLeader => {
            StatusCode::CONFLICT
        }
        Refused::Unreachable(_) | Refused::NotAccepted(_) => StatusCode::BAD_GATEWAY,
        Refused::TimedOut | Refused::NotServing => StatusCode::GATEWAY_TIMEOUT,
        Refused::NoSuchNode => StatusCode::NOT_FOUND,
        Refused::NoLeader => return Problem::unavailable(format!("Not done: {refused}."), RETRY_AFTER),
    };
    Problem::new(status, format!("Not done: {refused}."))
}

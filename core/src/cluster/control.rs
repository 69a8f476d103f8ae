//! The control plane of a node: it puts changes of the catalogue in order and says when all have applied them.
//!
//! It lives on shard 0. A node that stands alone agrees with itself at once; a change is numbered, applied on every shard
//! and answered when the last of them has said so, in the order of the numbers. It also counts the node's clients, so
//! that the node's limit is exact whichever shards they are on.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::admission::AddressCounts;
use crate::catalogue::Outcome;
use crate::id::ShardId;
use crate::peer::{Ticket, Verdict};

#[derive(Debug)]
struct Proposal {
    number: u64,
    from: ShardId,
    ticket: Ticket,
    outcome: Outcome,
}

/// The changes under way and the node's count of clients.
#[derive(Debug)]
pub struct Control {
    last: u64,
    /// Up to which number each other shard has applied.
    applied: Vec<u64>,
    waiting: VecDeque<Proposal>,
    clients: u64,
    clients_max: u64,
    /// Clients by address, where that is limited.
    addresses: AddressCounts,
}

impl Control {
    /// Control of a node with `others` further shards, at most `clients_max` clients and at most `per_address_max` of
    /// one address (0: any number).
    pub fn new(others: usize, clients_max: u64, per_address_max: u64) -> Self {
        Control {
            last: 0,
            applied: vec![0; others],
            waiting: VecDeque::new(),
            clients: 0,
            clients_max,
            addresses: AddressCounts::new(per_address_max),
        }
    }

    /// A change was applied here with this outcome: its number, which the other shards are to apply, or `None` where
    /// nothing changed. Either way the answer waits its turn, so that it is true everywhere when it is given.
    pub fn committed(&mut self, from: ShardId, ticket: Ticket, outcome: Outcome) -> Option<u64> {
        let changed = matches!(outcome, Outcome::Created | Outcome::Deleted | Outcome::Emptied);
        if changed {
            self.last += 1;
        }
        self.waiting.push_back(Proposal { number: self.last, from, ticket, outcome });
        changed.then_some(self.last)
    }

    /// A shard has applied everything up to `number`.
    pub fn applied(&mut self, shard: ShardId, number: u64) {
        if let Some(seen) = usize::from(shard.0).checked_sub(1).and_then(|other| self.applied.get_mut(other)) {
            *seen = number.max(*seen);
        }
    }

    /// The next answer that every shard agrees with: to whom, and what.
    pub fn settle(&mut self) -> Option<(ShardId, Ticket, Outcome)> {
        let everywhere = self.applied.iter().copied().min().unwrap_or(u64::MAX);
        let ready = self.waiting.pop_front_if(|proposal| proposal.number <= everywhere)?;
        Some((ready.from, ready.ticket, ready.outcome))
    }

    /// Counts one more client of an address, if the limits allow it.
    pub fn count(&mut self, from: IpAddr) -> Result<(), Verdict> {
        if self.clients >= self.clients_max {
            return Err(Verdict::NodeFull);
        }
        if !self.addresses.enter(from) {
            return Err(Verdict::AddressFull);
        }
        self.clients += 1;
        Ok(())
    }

    /// Counts one client less.
    pub fn uncount(&mut self, from: IpAddr) {
        self.clients = self.clients.saturating_sub(1);
        self.addresses.leave(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_waits_for_the_last_shard_and_for_its_turn() {
        let mut control = Control::new(2, 1, 0);
        assert_eq!(control.committed(ShardId(1), Ticket(7), Outcome::Created), Some(1));
        assert_eq!(control.committed(ShardId(0), Ticket(8), Outcome::Absent), None);
        control.applied(ShardId(1), 1);
        assert_eq!(control.settle(), None);
        control.applied(ShardId(2), 1);
        assert_eq!(control.settle(), Some((ShardId(1), Ticket(7), Outcome::Created)));
        assert_eq!(control.settle(), Some((ShardId(0), Ticket(8), Outcome::Absent)));
        assert_eq!(control.settle(), None);
    }

    #[test]
    fn a_single_shard_settles_at_once() {
        let mut control = Control::new(0, 1, 0);
        control.committed(ShardId(0), Ticket(1), Outcome::Created);
        assert_eq!(control.settle(), Some((ShardId(0), Ticket(1), Outcome::Created)));
    }

    #[test]
    fn the_limits_of_clients_are_exact() {
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let mut control = Control::new(0, 2, 1);
        assert_eq!(control.count(a), Ok(()));
        assert_eq!(control.count(a), Err(Verdict::AddressFull));
        assert_eq!(control.count(b), Ok(()));
        assert_eq!(control.count(IpAddr::from([127, 0, 0, 3])), Err(Verdict::NodeFull));
        control.uncount(a);
        assert_eq!(control.count(a), Ok(()));
    }
}

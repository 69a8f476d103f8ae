//! How many clients a node has, and how many of each address: exact, whichever shards they are on. It lives on shard 0.

use std::net::IpAddr;

use super::AddressCounts;
use crate::peer::Verdict;

/// The node's clients, those who wait for a seat included.
#[derive(Debug)]
pub struct Headcount {
    clients: u64,
    clients_max: u64,
    /// Clients by address, where that is limited.
    addresses: AddressCounts,
}

impl Headcount {
    /// At most `clients_max` clients, and at most `per_address_max` of one address (0: any number).
    pub fn new(clients_max: u64, per_address_max: u64) -> Self {
        Headcount { clients: 0, clients_max, addresses: AddressCounts::new(per_address_max) }
    }

    /// Counts one more client of an address, if the limits allow it.
    pub fn enter(&mut self, from: IpAddr) -> Result<(), Verdict> {
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
    pub fn leave(&mut self, from: IpAddr) {
        self.clients = self.clients.saturating_sub(1);
        self.addresses.leave(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_clients_are_exact() {
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let mut clients = Headcount::new(2, 1);
        assert_eq!(clients.enter(a), Ok(()));
        assert_eq!(clients.enter(a), Err(Verdict::AddressFull));
        assert_eq!(clients.enter(b), Ok(()));
        assert_eq!(clients.enter(IpAddr::from([127, 0, 0, 3])), Err(Verdict::NodeFull));
        clients.leave(a);
        assert_eq!(clients.enter(a), Ok(()));
    }
}

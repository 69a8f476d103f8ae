//! Which sockets of a shard have something to write, and when it is written.
//!
//! A write costs as much as tens of small messages, so what goes to one client gathers while the shard has more to read: until
//! it is 16 KiB, until a turn brought little, or for four turns. A shard that is not busy writes at the end of each turn, so
//! nobody waits for messages that may not come. What goes to other nodes is written every turn: somebody there waits for it
//! to go on.

use wrs_core::id::ConnId;

/// Inputs of one turn from which on more are to be expected at once.
const BUSY: usize = 8;
/// For how many turns, at most, clients wait for more. Not a time: a shard that waits for a core would spend it waiting.
const TURNS: u32 = 4;
/// Bytes for one client that are worth a write of their own, while they are still in the cache.
const FULL: u32 = 16 << 10;
/// Likewise for a link: what one of its writes takes.
const LINK_FULL: u32 = 64 << 10;

/// What a socket keeps for the outbox.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Whether there is something to try, and it is on a list for that.
    is_dirty: bool,
    /// Bytes that have gathered since the last try.
    bytes: u32,
}

impl Waiting {
    /// Whether a write is to be tried; it is the caller's to do so now.
    pub fn take(&mut self) -> bool {
        self.bytes = 0;
        std::mem::take(&mut self.is_dirty)
    }
}

/// The sockets of one shard that have something to write.
#[derive(Debug, Default)]
pub struct Outbox {
    links: Vec<ConnId>,
    clients: Vec<ConnId>,
    full: Vec<ConnId>,
    /// For how many turns the first of the clients has waited for more.
    turns: u32,
}

impl Outbox {
    /// Notes so many bytes more for a socket; none: that a write of what waits there may succeed now.
    pub fn add(&mut self, id: ConnId, waiting: &mut Waiting, bytes: usize, is_link: bool) {
        if !std::mem::replace(&mut waiting.is_dirty, true) {
            if is_link { &mut self.links } else { &mut self.clients }.push(id);
        }
        let (full, before) = (if is_link { LINK_FULL } else { FULL }, waiting.bytes);
        waiting.bytes = before.saturating_add(bytes.try_into().unwrap_or(u32::MAX));
        if before < full && waiting.bytes >= full {
            self.full.push(id);
        }
    }

    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty() && self.clients.is_empty()
    }

    /// How many sockets have so much that it is to be written before anything else is read.
    pub fn full(&self) -> usize {
        self.full.len()
    }

    /// Those sockets.
    pub fn take_full(&mut self, into: &mut Vec<ConnId>) {
        into.append(&mut self.full);
    }

    /// At the end of a turn of so many inputs: the sockets to be written now. Ask [`Waiting::take`] of each: some have been
    /// written meanwhile, because they were full.
    pub fn take_due(&mut self, inputs: usize, into: &mut Vec<ConnId>) {
        into.append(&mut self.full);
        into.append(&mut self.links);
        self.turns += 1;
        if self.clients.is_empty() || inputs < BUSY || self.turns >= TURNS {
            self.turns = 0;
            into.append(&mut self.clients);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(index: u32) -> ConnId {
        ConnId { index, generation: 0 }
    }

    fn due(outbox: &mut Outbox, inputs: usize) -> Vec<u32> {
        let mut due = Vec::new();
        outbox.take_due(inputs, &mut due);
        due.iter().map(|conn| conn.index).collect()
    }

    #[test]
    fn a_shard_that_is_not_busy_writes_at_the_end_of_its_turn() {
        let (mut outbox, mut waiting) = (Outbox::default(), Waiting::default());
        outbox.add(conn(1), &mut waiting, 10, false);
        outbox.add(conn(1), &mut waiting, 10, false);
        assert!(!outbox.is_empty());
        assert_eq!(due(&mut outbox, BUSY - 1), [1]);
        assert!(outbox.is_empty() && waiting.take() && !waiting.take());
    }

    #[test]
    fn a_busy_one_lets_clients_gather_for_a_while_and_links_never() {
        let (mut outbox, mut client, mut link) = (Outbox::default(), Waiting::default(), Waiting::default());
        for _ in 1..TURNS {
            outbox.add(conn(1), &mut client, 10, false);
            outbox.add(conn(2), &mut link, 10, true);
            assert_eq!(due(&mut outbox, BUSY), [2]);
            assert!(link.take());
        }
        assert_eq!(due(&mut outbox, BUSY), [1]);
        assert!(client.take() && outbox.is_empty());
        outbox.add(conn(1), &mut client, 10, false);
        assert!(due(&mut outbox, BUSY).is_empty(), "it begins anew");
        assert_eq!(due(&mut outbox, 0), [1], "nothing came");
    }

    #[test]
    fn what_is_full_is_written_before_the_end_of_the_turn_and_once() {
        let (mut outbox, mut waiting, mut full) = (Outbox::default(), Waiting::default(), Vec::new());
        outbox.add(conn(1), &mut waiting, FULL as usize - 1, false);
        assert_eq!(outbox.full(), 0);
        outbox.add(conn(1), &mut waiting, 1, false);
        outbox.add(conn(1), &mut waiting, FULL as usize, false);
        assert_eq!(outbox.full(), 1);
        outbox.take_full(&mut full);
        assert!(full == [conn(1)] && waiting.take());
        assert_eq!(due(&mut outbox, 0), [1]);
        assert!(!waiting.take(), "it has been written");
        outbox.add(conn(1), &mut waiting, FULL as usize, false);
        assert_eq!(due(&mut outbox, BUSY), [1], "full at the end of a turn");
    }

    #[test]
    fn room_in_a_socket_is_a_reason_to_write() {
        let (mut outbox, mut waiting) = (Outbox::default(), Waiting::default());
        outbox.add(conn(1), &mut waiting, 0, false);
        assert_eq!(due(&mut outbox, 1), [1]);
        assert!(waiting.take());
    }
}

//! The sockets of one shard: a slab of them. An index is used again, its generation never.

use wrs_core::id::ConnId;

use crate::deal::Load;

#[derive(Debug)]
struct Slot<C> {
    generation: u32,
    conn: Option<Box<C>>,
}

/// All sockets of a shard, each a `C`.
#[derive(Debug)]
pub struct Conns<C> {
    slots: Vec<Slot<C>>,
    free: Vec<u32>,
    load: Load,
}

impl<C> Conns<C> {
    /// No sockets yet; each that ends is subtracted from `load`, to which it was added when this shard was chosen for it.
    pub fn new(load: Load) -> Self {
        Conns { slots: Vec::new(), free: Vec::new(), load }
    }

    /// The id that the next socket will have.
    pub fn reserve(&mut self) -> ConnId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, conn: None });
            (self.slots.len() - 1) as u32
        });
        let generation = self.slots.get(index as usize).map_or(0, |slot| slot.generation);
        ConnId { index, generation }
    }

    /// Puts a socket where it was reserved.
    pub fn insert(&mut self, id: ConnId, conn: C) {
        self.give_back(id, Box::new(conn));
    }

    /// Takes a socket out for a moment; its place stays its own.
    pub fn take(&mut self, id: ConnId) -> Option<Box<C>> {
        self.slot(id)?.conn.take()
    }

    /// Puts back what was taken out.
    pub fn give_back(&mut self, id: ConnId, conn: Box<C>) {
        if let Some(slot) = self.slot(id) {
            slot.conn = Some(conn);
        }
    }

    /// Gives back a reservation or ends a socket.
    pub fn remove(&mut self, id: ConnId) {
        if let Some(slot) = self.slot(id) {
            slot.conn = None;
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(id.index);
            self.load.subtract();
        }
    }

    /// A socket, if it is still there.
    #[inline]
    pub fn get(&mut self, id: ConnId) -> Option<&mut C> {
        self.slot(id)?.conn.as_deref_mut()
    }

    /// The socket at an index, which is its key where the system tells what has happened.
    pub fn at(&self, index: usize) -> Option<ConnId> {
        let slot = self.slots.get(index)?;
        slot.conn.as_ref().map(|_| ConnId { index: index as u32, generation: slot.generation })
    }

    #[inline]
    fn slot(&mut self, id: ConnId) -> Option<&mut Slot<C>> {
        self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_used_again_and_its_next_socket_is_told_apart() {
        let load = Load::default();
        let mut conns = Conns::new(load.clone());
        load.add();
        let first = conns.reserve();
        conns.insert(first, "first");
        assert_eq!((conns.get(first).copied(), conns.at(0)), (Some("first"), Some(first)));
        conns.remove(first);
        assert_eq!((conns.get(first).copied(), conns.at(0), load.count()), (None, None, 0));
        load.add();
        let second = conns.reserve();
        assert_eq!((second.index, second.generation), (first.index, first.generation + 1));
        conns.insert(second, "second");
        // What comes late for the one that is gone.
        conns.remove(first);
        conns.give_back(first, Box::new("first again"));
        assert!(conns.take(first).is_none());
        assert_eq!((conns.get(second), load.count()), (Some(&mut "second"), 1));
    }

    #[test]
    fn a_socket_that_is_taken_out_keeps_its_place() {
        let mut conns = Conns::new(Load::default());
        let id = conns.reserve();
        conns.insert(id, 7);
        let conn = conns.take(id).unwrap();
        assert_eq!((conns.get(id).copied(), conns.at(0)), (None, None));
        assert_ne!(conns.reserve().index, id.index);
        conns.give_back(id, conn);
        assert_eq!(conns.get(id), Some(&mut 7));
    }

    #[test]
    fn a_reservation_that_is_given_back_leaves_no_trace() {
        let load = Load::default();
        let mut conns = Conns::<u8>::new(load.clone());
        load.add();
        let id = conns.reserve();
        conns.remove(id);
        assert_eq!((conns.at(0), load.count()), (None, 0));
    }
}

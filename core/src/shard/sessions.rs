//! The sessions of a shard, at the indexes that the adapter gave their sockets.

use crate::id::ConnId;
use crate::session::Session;

/// A table of sessions. One is taken out while it is worked on, so that the rest of the shard can be used beside it.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    slots: Vec<Option<Box<Session>>>,
    count: usize,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Takes a session out; `None` if it is gone, or if its index belongs to another by now.
    pub(super) fn take(&mut self, conn: ConnId) -> Option<Box<Session>> {
        let slot = self.slots.get_mut(conn.index as usize)?;
        let session = slot.take_if(|session| session.conn == conn)?;
        self.count -= 1;
        Some(session)
    }

    /// Puts one in, or back.
    pub(super) fn put(&mut self, session: Box<Session>) {
        let index = session.conn.index as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        if let Some(slot) = self.slots.get_mut(index)
            && slot.replace(session).is_none()
        {
            self.count += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Who is there, in order of index.
    pub(super) fn conns(&self) -> Vec<ConnId> {
        self.slots.iter().flatten().map(|session| session.conn).collect()
    }
}

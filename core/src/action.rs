//! What a shard wants done.
//!
//! Actions are imperative. They are in order: perform them front to back. None waits, none fails towards the shard; what
//! became of a socket comes back as an [`Input`](crate::input::Input).

use bytes::Bytes;

use crate::event::Event;
use crate::id::{ConnId, ShardId};
use crate::peer::PeerMessage;

/// One thing to do.
#[derive(Debug)]
pub enum Action {
    /// Queue bytes on a socket, to be written in order; try the write once per turn and report `Flushed`.
    Send {
        /// The socket.
        conn: ConnId,
        /// Plain bytes; shared between all receivers of a message.
        bytes: Bytes,
    },
    /// Drop what is queued on a socket behind the frame that is being written.
    Truncate {
        /// The socket.
        conn: ConnId,
    },
    /// Write what is queued, then end the sending side (FIN); go on reading.
    Finish {
        /// The socket.
        conn: ConnId,
    },
    /// End the socket now and forget it; what is queued is dropped. No `Closed` follows.
    Close {
        /// The socket.
        conn: ConnId,
    },
    /// Stop reading a socket.
    Pause {
        /// The socket.
        conn: ConnId,
    },
    /// Read it again.
    Resume {
        /// The socket.
        conn: ConnId,
    },
    /// Hand a message to a sibling shard. The queue between two shards needs no bound of its own: the shards count what
    /// is under way and pause its sources (`Config::peer_window_bytes`).
    Forward {
        /// To whom.
        peer: ShardId,
        /// What.
        message: PeerMessage,
    },
    /// Something happened that an operator may want to know.
    Report(Event),
    /// Accept no further connection.
    StopListening,
    /// This shard has drained: once every shard says so, the process may end.
    Stop,
}

/// A caller-owned, reusable list of actions in order.
#[derive(Debug, Default)]
pub struct Actions(Vec<Action>);

impl Actions {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one at the end.
    pub fn push(&mut self, action: Action) {
        self.0.push(action);
    }

    /// Takes all of them out, front to back, and keeps the memory for the next turn.
    pub fn drain(&mut self) -> impl Iterator<Item = Action> + '_ {
        self.0.drain(..)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

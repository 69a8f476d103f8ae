//! Connections: two ends, and a pipe in each direction with bytes under way.
//!
//! A pipe is a stream: nothing overtakes, and what is lost is lost with the connection. While a network does not carry, what
//! was sent waits, as TCP sends it again; whoever holds an end learns nothing. Ends are sockets of shards or programs.

use std::collections::VecDeque;

use wrs_core::id::ConnId;
use wrs_core::wire::line::Line;

/// A piece under way.
#[derive(Debug)]
pub enum Chunk {
    /// Bytes.
    Data(Vec<u8>),
    /// No more will come.
    Fin,
    /// The connection is broken.
    Reset,
}

/// One direction.
#[derive(Debug)]
pub struct Pipe {
    /// Under way, oldest first.
    pub flight: VecDeque<Chunk>,
    /// Bytes of it.
    pub flight_bytes: usize,
    /// How many of them have an arrival on the agenda: the oldest.
    pub scheduled: usize,
    /// Nothing arrives until the network carries again.
    pub stalled: bool,
    /// When the newest piece arrives, in true time.
    pub newest: u64,
    /// Bytes that may be under way and unread.
    pub window: usize,
}

impl Pipe {
    fn new(window: usize) -> Pipe {
        Pipe { flight: VecDeque::new(), flight_bytes: 0, scheduled: 0, stalled: false, newest: 0, window }
    }
}

/// A shard's end of a connection.
#[derive(Debug)]
pub struct Sock {
    /// The shard's name for it.
    pub id: ConnId,
    /// What the shard has queued.
    pub line: Line,
    /// Arrived and unread.
    pub inbox: VecDeque<u8>,
    /// The other end sends no more.
    pub fin: bool,
    /// The connection is broken.
    pub reset: bool,
    /// The shard was told of the end.
    pub end_told: bool,
    /// The shard wants it read.
    pub reads: bool,
    /// The last write did not take all.
    pub blocked: bool,
    /// On the list of what to flush.
    pub dirty: bool,
    /// On the list of what to read.
    pub listed: bool,
    /// Our FIN is out.
    pub fin_sent: bool,
}

impl Sock {
    /// A new one.
    pub fn new(id: ConnId) -> Sock {
        Sock {
            id,
            line: Line::plain(),
            inbox: VecDeque::new(),
            fin: false,
            reset: false,
            end_told: false,
            reads: true,
            blocked: false,
            dirty: false,
            listed: false,
            fin_sent: false,
        }
    }

    /// Whether a turn of the shard has something to read here.
    pub fn is_readable(&self) -> bool {
        self.reset || (self.reads && !self.end_told && (!self.inbox.is_empty() || self.fin))
    }
}

/// Who holds an end.
#[derive(Debug)]
pub enum End {
    /// A program: its number.
    Program(usize),
    /// A socket of a shard.
    Shard {
        /// The node's place.
        slot: usize,
        /// Which shard.
        shard: usize,
        /// The socket.
        sock: Box<Sock>,
    },
    /// Somebody who says something and listens to nothing.
    Stranger,
    /// Nobody any more: whoever sends there is told so.
    Gone,
    /// Nobody, and nobody says so: the machine is off.
    Dark,
}

impl End {
    /// The node's place and shard.
    pub fn place(&self) -> Option<(usize, usize)> {
        match self {
            End::Shard { slot, shard, .. } => Some((*slot, *shard)),
            _ => None,
        }
    }

    /// The socket.
    pub fn sock(&mut self) -> Option<&mut Sock> {
        match self {
            End::Shard { sock, .. } => Some(sock),
            _ => None,
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    /// The two ends. A dialing end is the first.
    pub ends: [End; 2],
    /// From the end of the same number to the other.
    pub pipes: [Pipe; 2],
    /// The places of both ends in the network between nodes; `None`: it has nothing to do with that.
    pub route: Option<(usize, usize)>,
}

impl Wire {
    /// A connection.
    pub fn new(ends: [End; 2], window: usize, route: Option<(usize, usize)>) -> Wire {
        Wire { ends, pipes: [Pipe::new(window), Pipe::new(window)], route }
    }

    /// How much may be written from `side` now.
    pub fn room(&mut self, side: usize) -> usize {
        let unread = self.ends[1 - side].sock().map_or(0, |sock| sock.inbox.len());
        let pipe = &self.pipes[side];
        pipe.window.saturating_sub(pipe.flight_bytes + unread)
    }
}

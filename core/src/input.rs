//! What the world tells a shard.
//!
//! Inputs are facts: past tense or nouns. An adapter hands them over in the order in which they happened on each
//! connection and from each peer; between those it may choose any order.

use std::net::{IpAddr, SocketAddr};

use crate::id::{ConnId, DialId, ShardId};
use crate::peer::PeerMessage;

/// One fact.
#[derive(Debug)]
pub enum Input<'a> {
    /// A socket was accepted. The adapter chose `conn` and keeps it until an [`Action::Close`](crate::action::Action)
    /// for it is performed or it has reported `Closed`.
    Opened {
        /// The socket.
        conn: ConnId,
        /// The other end's address.
        from: IpAddr,
    },
    /// Bytes arrived, decrypted if the line has TLS. They are scratch: frames are unmasked where they lie. Give at most
    /// [`Config::read_buffer_bytes`](crate::config::Config::read_buffer_bytes) at a time.
    Received {
        /// The socket.
        conn: ConnId,
        /// What arrived.
        bytes: &'a mut [u8],
    },
    /// A write was tried after one or more `Send`s. Give it once after every try.
    Flushed {
        /// The socket.
        conn: ConnId,
        /// Bytes that the adapter still holds for this socket.
        unsent: usize,
    },
    /// The other end has sent all that it will (end of file); it may still read.
    Ended {
        /// The socket.
        conn: ConnId,
    },
    /// The socket is gone. Not given after an `Action::Close`.
    Closed {
        /// The socket.
        conn: ConnId,
    },
    /// The other end broke TLS; the socket is gone.
    Broken {
        /// The socket.
        conn: ConnId,
        /// What was wrong.
        why: String,
    },
    /// The system gives no further connection for a while: it is out of files, say.
    AcceptPaused {
        /// Its reason.
        why: String,
    },
    /// Connections are accepted again.
    AcceptResumed,
    /// A sibling shard says something.
    Peer {
        /// Which.
        peer: ShardId,
        /// What.
        message: PeerMessage,
    },
    /// A connection of the cluster port was accepted, or a dial has succeeded. Shard 0's alone. Its bytes come and go as
    /// those of any other socket; where it has TLS the handshake is still to come, and `Broken` if it fails.
    Linked {
        /// The socket.
        conn: ConnId,
        /// The other end.
        from: SocketAddr,
        /// Which dial it is, if this node reached out.
        dial: Option<DialId>,
    },
    /// A dial has failed.
    DialFailed {
        /// Which.
        dial: DialId,
        /// Why.
        why: String,
    },
    /// The answer to [`Action::Resolve`](crate::action::Action::Resolve).
    Resolved {
        /// The name that was asked for.
        host: String,
        /// Its addresses, or why there are none.
        addresses: Result<Vec<IpAddr>, String>,
    },
    /// Everything that was stored up to this record is durable.
    Persisted {
        /// The record's number.
        record: u64,
    },
    /// Something could not be stored. Nothing that is stored after it counts; it is said once.
    PersistFailed {
        /// Why.
        why: String,
    },
    /// The node is to stop: finish what runs and let clients go. Give it to every shard.
    Drain,
    /// The deadline that [`Shard::deadline`](crate::shard::Shard::deadline) named has passed. Early or repeated ones do no
    /// harm.
    Timeout,
}

//! What arrives at a shard from within its process.

use std::net::SocketAddr;

use socket2::Socket;
use wrs_core::id::ShardId;
use wrs_core::peer::PeerMessage;

use crate::certificates::Certificates;
use crate::news::News;

/// One thing in a shard's inbox.
#[derive(Debug)]
pub enum Parcel {
    /// A sibling says something.
    Peer(ShardId, PeerMessage),
    /// A client's connection that shard 0 accepted.
    Connection(Socket, SocketAddr),
    /// What came of something that took its time. Shard 0's.
    News(News),
    /// New certificates for the connections to come.
    Certificates(Certificates),
    /// The node is to stop.
    Drain,
    /// A sibling has drained.
    Stopped,
}

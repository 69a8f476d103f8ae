//! What a shard wants done.
//!
//! Actions are imperative. They are in order: perform them front to back. None waits, none fails towards the shard; what
//! became of a socket comes back as an [`Input`](crate::input::Input).

use std::fmt;

use bytes::Bytes;

use crate::config::NodeAddress;
use crate::event::Event;
use crate::id::{ConnId, DialId, ShardId};
use crate::peer::PeerMessage;

/// One thing to do.
#[derive(Debug)]
pub enum Action {
    /// Queue bytes on a socket, to be written in order; try the write soon, once for all that has gathered, and report
    /// `Flushed`.
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
    /// Reach out to another node's cluster port, or to the API of this service; say `Linked` or `DialFailed` within
    /// [`Config::dial_timeout`](crate::config::Config::dial_timeout). Shard 0's alone.
    Dial {
        /// The attempt.
        dial: DialId,
        /// Where to; the port is given. A name is resolved, and its addresses tried in turn.
        address: NodeAddress,
        /// What is spoken there.
        over: Over,
    },
    /// Look up a name's addresses; say `Resolved`.
    Resolve {
        /// The name.
        host: String,
    },
    /// Keep something in the data directory. All of these are done in order.
    Store(Store),
    /// The node can go on no longer, and its process ends with this message and status 1 once every shard has said `Stop`.
    Fail {
        /// Why.
        why: String,
    },
    /// Something happened that an operator may want to know.
    Report(Event),
    /// Accept no further client. Links are still accepted: who leaves a cluster talks with it.
    StopListening,
    /// This shard has drained: once every shard says so, the process may end.
    Stop,
}

/// What is spoken on a connection that this node opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// The node links' own protocol; over TLS with the certificates of `WRS_NODE_SSL_CERT_PATH` where they are set.
    Link,
    /// HTTP, or HTTPS with whatever certificate the service shows, as `WRS_PUBLIC_SSL` says: nothing secret is sent there.
    Api,
}

/// A file of the data directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FileName {
    /// Who the node is: `node`.
    Identity,
    /// A piece of the log, by number: `log-…`, sixteen hexadecimal digits.
    Segment(u64),
    /// The state as of an index: `snapshot-…`.
    Snapshot(u64),
}

impl FileName {
    /// The file of this name; `None` if it is none of a data directory's.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "node" {
            return Some(FileName::Identity);
        }
        let (kind, digits) = name.split_once('-')?;
        let plain = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = u64::from_str_radix(digits, 16).ok().filter(|_| plain && digits.len() == 16)?;
        match kind {
            "log" => Some(FileName::Segment(number)),
            "snapshot" => Some(FileName::Snapshot(number)),
            _ => None,
        }
    }
}

impl fmt::Display for FileName {
    /// The name in the directory, which [`FileName::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Identity => f.write_str("node"),
            FileName::Segment(number) => write!(f, "log-{number:016x}"),
            FileName::Snapshot(number) => write!(f, "snapshot-{number:016x}"),
        }
    }
}

/// One thing to do in the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// Add bytes to the end of a file, which is made if there is none.
    Append {
        /// Which file.
        file: FileName,
        /// What.
        bytes: Bytes,
        /// If given: make it durable (several at once, if more wait), then say `Persisted` with this number.
        record: Option<u64>,
    },
    /// Put a whole file in place of what was there, so that a crash leaves the old one or the new one.
    Replace {
        /// Which file.
        file: FileName,
        /// What.
        bytes: Bytes,
        /// If given: say `Persisted` with this number when it is durable.
        record: Option<u64>,
    },
    /// Cut a file to a length, durably: what a crash left behind it.
    Truncate {
        /// Which file.
        file: FileName,
        /// Its new length in bytes.
        length: u64,
    },
    /// Delete a file if it is there.
    Remove {
        /// Which file.
        file: FileName,
    },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_reads_what_it_writes_and_nothing_else() {
        for file in [FileName::Identity, FileName::Segment(0), FileName::Segment(u64::MAX), FileName::Snapshot(0xAB)] {
            assert_eq!(FileName::parse(&file.to_string()), Some(file));
        }
        assert_eq!(FileName::Snapshot(0xAB).to_string(), "snapshot-00000000000000ab");
        for other in [
            "",
            "Node",
            "log",
            "log-",
            "log-1",
            "log-00000000000000AB",
            "log-+00000000000000a",
            "node-0000000000000001",
        ] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn files_stand_in_the_order_in_which_they_are_read() {
        let mut files = [FileName::Snapshot(1), FileName::Segment(2), FileName::Identity, FileName::Segment(1)];
        files.sort();
        assert_eq!(files, [FileName::Identity, FileName::Segment(1), FileName::Segment(2), FileName::Snapshot(1)]);
    }
}

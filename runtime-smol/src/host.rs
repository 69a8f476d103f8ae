//! This server's hands: performs the actions of one shard on its sockets and queues.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use wrs_core::action::{Over, Store};
use wrs_core::config::Config;
use wrs_core::config::NodeAddress;
use wrs_core::event::Event;
use wrs_core::host::Host;
use wrs_core::id::{ConnId, DialId, ShardId};
use wrs_core::peer::PeerMessage;

use crate::conn::Conns;
use crate::mesh::{Parcel, Way};

/// What one shard can do.
pub struct Hands {
    /// Its sockets.
    pub conns: Conns,
    /// Sockets with something to write.
    pub dirty: Vec<ConnId>,
    /// Whether connections are still accepted.
    pub listening: bool,
    /// How many shards have drained, as far as this one has heard.
    pub stopped: usize,
    here: ShardId,
    ways: Vec<Way>,
    /// Shards that have mail of this turn.
    mailed: Vec<bool>,
    log: Log,
}

impl Hands {
    /// The hands of shard `here`, with the ways to all shards.
    pub fn new(here: ShardId, ways: Vec<Way>, log: Log) -> Self {
        let mailed = vec![false; ways.len()];
        let load = ways.get(usize::from(here.0)).map(|way| way.load().clone()).unwrap_or_default();
        Hands { conns: Conns::new(load), dirty: Vec::new(), listening: true, stopped: 0, here, ways, mailed, log }
    }

    /// Whether every shard has drained.
    pub fn is_over(&self) -> bool {
        self.stopped >= self.ways.len()
    }

    /// Notes that a socket has something to write.
    pub fn mark(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get(id)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Gives a parcel to another shard; it is woken at the end of the turn.
    pub fn mail(&mut self, shard: usize, parcel: Parcel) {
        if let (Some(way), Some(mailed)) = (self.ways.get(shard), self.mailed.get_mut(shard)) {
            way.push(parcel);
            *mailed = true;
        }
    }

    /// The shard that the next connection goes to: of those with the fewest the one whose turn is next. `since` is the
    /// shard after the last one chosen.
    pub fn choose(&self, since: usize) -> usize {
        let shards = self.ways.len().max(1);
        let order = (0..shards).map(|step| (since + step) % shards);
        let chosen = order.min_by_key(|shard| self.ways.get(*shard).map_or(usize::MAX, |way| way.load().count()));
        let chosen = chosen.unwrap_or_default();
        if let Some(way) = self.ways.get(chosen) {
            way.load().add();
        }
        chosen
    }

    /// Wakes the shards that have mail.
    pub fn wake_mailed(&mut self) {
        for (way, mailed) in self.ways.iter().zip(&mut self.mailed) {
            if std::mem::take(mailed) {
                way.wake();
            }
        }
    }
}

impl Host for Hands {
    fn send(&mut self, id: ConnId, bytes: Bytes) {
        if let Some(conn) = self.conns.get(id) {
            conn.line.push(bytes);
            if !conn.dirty {
                conn.dirty = true;
                self.dirty.push(id);
            }
        }
    }

    fn truncate(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get(id) {
            conn.line.truncate();
        }
    }

    fn finish(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get(id) {
            conn.line.finish();
            self.mark(id);
        }
    }

    fn close(&mut self, id: ConnId) {
        self.conns.remove(id);
    }

    fn read(&mut self, id: ConnId, wanted: bool) {
        if let Some(conn) = self.conns.get(id) {
            conn.want_reads(wanted);
        }
    }

    fn forward(&mut self, peer: ShardId, message: PeerMessage) {
        self.mail(usize::from(peer.0), Parcel::Peer(self.here, message));
    }

    fn dial(&mut self, _: DialId, _: NodeAddress, _: Over) {}

    fn resolve(&mut self, _: String) {}

    fn store(&mut self, _: Store) {}

    fn fail(&mut self, _: String) {}

    fn report(&mut self, event: Event) {
        self.log.write(&event);
    }

    fn stop_listening(&mut self) {
        self.listening = false;
    }

    fn stop(&mut self) {
        // It goes on until all have: others may still ask it.
        self.stopped += 1;
        let here = usize::from(self.here.0);
        for shard in (0..self.ways.len()).filter(|shard| *shard != here) {
            self.mail(shard, Parcel::Stopped);
        }
    }
}

/// The log on standard output, one line an event.
#[derive(Clone)]
pub struct Log {
    config: Arc<Config>,
}

impl Log {
    /// A log as the configuration wants it.
    pub fn new(config: Arc<Config>) -> Self {
        Log { config }
    }

    /// Writes one line, unless the event is for a debug log that is off.
    pub fn write(&self, event: &Event) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Some(line) = event.line(&self.config, wall) {
            // A log that nobody reads any more must not end the service.
            let _ = writeln!(io::stdout().lock(), "{line}");
        }
    }
}

//! This server's hands: performs the actions of one shard on its sockets and queues.

use bytes::Bytes;
use wrs_core::action::{Over, Store};
use wrs_core::config::NodeAddress;
use wrs_core::event::Event;
use wrs_core::host::Host;
use wrs_core::id::{ConnId, DialId, ShardId};
use wrs_core::peer::PeerMessage;
use wrs_node::conns::Conns;
use wrs_node::deal::deal;
use wrs_node::log::Log;
use wrs_node::outbox::Outbox;
use wrs_node::outside::Outside;
use wrs_node::parcel::Parcel;

use crate::conn::Conn;
use crate::mesh::Way;

/// What one shard can do.
pub struct Hands {
    /// Its sockets.
    pub conns: Conns<Conn>,
    /// Those of them with something to write.
    pub outbox: Outbox,
    /// Sockets that are read again and have bytes that came before that.
    pub resumed: Vec<ConnId>,
    /// Whether clients are still accepted.
    pub listening: bool,
    /// How many shards have drained, as far as this one has heard.
    pub stopped: usize,
    /// Why the node can go on no longer, if so.
    pub failure: Option<String>,
    here: ShardId,
    ways: Vec<Way>,
    /// Shards that have mail of this turn.
    mailed: Vec<bool>,
    /// On shard 0.
    outside: Option<Outside>,
    log: Log,
}

impl Hands {
    /// The hands of shard `here`, with the ways to all shards; `outside` is shard 0's.
    pub fn new(here: ShardId, ways: Vec<Way>, outside: Option<Outside>, log: Log) -> Self {
        let mailed = vec![false; ways.len()];
        let load = ways.get(usize::from(here.0)).map(|way| way.load().clone()).unwrap_or_default();
        let (conns, outbox, resumed) = (Conns::new(load), Outbox::default(), Vec::new());
        Hands { conns, outbox, resumed, listening: true, stopped: 0, failure: None, here, ways, mailed, outside, log }
    }

    /// Whether every shard has drained.
    pub fn is_over(&self) -> bool {
        self.stopped >= self.ways.len()
    }

    /// Notes that a socket has something to write.
    pub fn mark(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get(id) {
            self.outbox.add(id, &mut conn.waiting, 0, conn.is_link);
        }
    }

    /// Gives a parcel to another shard; it is woken at the end of the turn.
    pub fn mail(&mut self, shard: usize, parcel: Parcel) {
        if let (Some(way), Some(mailed)) = (self.ways.get(shard), self.mailed.get_mut(shard)) {
            way.push(parcel);
            *mailed = true;
        }
    }

    /// The shard that the next connection goes to; `since` is the shard after the last one chosen.
    pub fn choose(&self, since: usize) -> usize {
        deal(self.ways.iter().map(Way::load), since)
    }

    /// The place of a connection that is this shard's from the start.
    pub fn reserve(&mut self) -> ConnId {
        if let Some(way) = self.ways.get(usize::from(self.here.0)) {
            way.load().add();
        }
        self.conns.reserve()
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
            self.outbox.add(id, &mut conn.waiting, bytes.len(), conn.is_link);
            conn.line.push(bytes);
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
        if let Some(conn) = self.conns.get(id)
            && conn.want_reads(wanted)
        {
            self.resumed.push(id);
        }
    }

    fn forward(&mut self, peer: ShardId, message: PeerMessage) {
        self.mail(usize::from(peer.0), Parcel::Peer(self.here, message));
    }

    fn dial(&mut self, dial: DialId, address: NodeAddress, over: Over) {
        if let Some(outside) = &self.outside {
            outside.dial(dial, address, over);
        }
    }

    fn resolve(&mut self, host: String) {
        if let Some(outside) = &self.outside {
            outside.resolve(host);
        }
    }

    fn store(&mut self, store: Store) {
        if let Some(outside) = &self.outside {
            outside.store(store);
        }
    }

    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

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

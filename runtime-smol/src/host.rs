//! This server's hands: performs the actions of one shard on its sockets and queues.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use wrs_core::config::{Config, LogFormat};
use wrs_core::event::{Event, Level};
use wrs_core::host::Host;
use wrs_core::id::{ConnId, ShardId};
use wrs_core::peer::PeerMessage;

use crate::conn::Conns;
use crate::mesh::{Parcel, Share, Way};

/// What one shard can do.
pub struct Hands {
    /// Its sockets.
    pub conns: Conns,
    /// Sockets with something to write.
    pub dirty: Vec<ConnId>,
    /// Whether connections are still accepted.
    pub listening: bool,
    /// Whether the shard has drained.
    pub stopped: bool,
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
        Hands { conns: Conns::default(), dirty: Vec::new(), listening: true, stopped: false, here, ways, mailed, log }
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

    /// The shard with the fewest connections, and one more share of its load. Of several the first from `next` on, so
    /// that equals have their turns.
    pub fn deal(&self, next: usize) -> (usize, Option<Share>) {
        let shards = self.ways.len().max(1);
        let turns = (0..shards).map(|turn| (next + turn) % shards);
        let shard = turns.min_by_key(|shard| self.ways.get(*shard).map(Way::connections)).unwrap_or(0);
        (shard, self.ways.get(shard).map(Way::share))
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

    fn report(&mut self, event: Event) {
        self.log.write(&event);
    }

    fn stop_listening(&mut self) {
        self.listening = false;
    }

    fn stop(&mut self) {
        self.stopped = true;
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
        if event.level() == Level::Debug && !self.config.debug {
            return;
        }
        let time = humantime(std::time::SystemTime::now());
        let mut out = io::stdout().lock();
        // A log that nobody reads any more must not end the service.
        let _ = match self.config.log_format {
            LogFormat::Text => writeln!(out, "{time} {}", event.text(self.config.id_length)),
            LogFormat::Json => writeln!(out, "{}", event.json(&time, self.config.id_length)),
        };
    }
}

/// RFC 3339 in UTC with milliseconds (the civil calendar from days: Hinnant, "chrono-compatible low-level date algorithms").
fn humantime(time: std::time::SystemTime) -> String {
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_says() {
        let at = |seconds: u64, millis: u64| humantime(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + millis));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400, 7), "2000-02-29T00:00:00.007Z");
        assert_eq!(at(1_795_240_799, 999), "2026-11-21T05:59:59.999Z");
    }
}

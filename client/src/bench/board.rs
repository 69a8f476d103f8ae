//! What publishers and receivers of a measurement share: counters, times and the stamp on a message.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use smol::channel::{Receiver, Sender, bounded};

use super::latency;
use crate::failure::Failure;

/// Bytes that every message begins with.
pub const STAMP_BYTES: usize = 4 + 8 + 8;

/// Who sent a message, which of its messages it is, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The publisher's index.
    pub publisher: u32,
    /// Counted from 1.
    pub number: u64,
    /// When it was sent, or due; since [`Board::epoch`].
    pub at: Duration,
}

impl Stamp {
    /// Writes it to the beginning of a message of at least [`STAMP_BYTES`].
    pub fn write(self, message: &mut [u8]) {
        let nanos = u64::try_from(self.at.as_nanos()).unwrap_or(u64::MAX);
        let fields =
            self.publisher.to_be_bytes().into_iter().chain(self.number.to_be_bytes()).chain(nanos.to_be_bytes());
        for (place, byte) in message.iter_mut().zip(fields) {
            *place = byte;
        }
    }

    /// Reads it back; `None` for a message that is too short.
    pub fn read(message: &[u8]) -> Option<Stamp> {
        let (publisher, rest) = message.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let nanos = rest.first_chunk()?;
        Some(Stamp {
            publisher: u32::from_be_bytes(*publisher),
            number: u64::from_be_bytes(*number),
            at: Duration::from_nanos(u64::from_be_bytes(*nanos)),
        })
    }
}

/// What concerns one publisher.
#[derive(Debug)]
pub struct Lane {
    /// Messages handed to its connection.
    pub sent: AtomicU64,
    /// Deliveries of its messages, of all receivers together.
    delivered: AtomicU64,
    wake: Sender<()>,
    woken: Receiver<()>,
}

impl Lane {
    /// Returns when something may have changed for this publisher.
    pub async fn woken(&self) {
        // The board keeps both ends, so that it never closes.
        let _ = self.woken.recv().await;
    }

    /// Tells the publisher. One that has not yet looked need not be told twice.
    fn wake(&self) {
        let _ = self.wake.try_send(());
    }
}

/// What all connections of a measurement share.
#[derive(Debug)]
pub struct Board {
    /// When it began.
    pub epoch: Instant,
    /// One for each publisher.
    pub lanes: Vec<Lane>,
    receivers: u64,
    stopping: AtomicBool,
    misplaced: AtomicU64,
    /// One for each thread, so that they seldom meet.
    times: Vec<Mutex<Histogram<u64>>>,
    fault: (Sender<Failure>, Receiver<Failure>),
}

impl Board {
    /// For so many publishers, each of whose messages reaches so many receivers.
    pub fn new(publishers: u32, receivers: u64, threads: usize) -> Result<Board, Failure> {
        let lane = |_| {
            let (wake, woken) = bounded(1);
            Lane { sent: AtomicU64::new(0), delivered: AtomicU64::new(0), wake, woken }
        };
        let times = (0..threads.max(1)).map(|_| latency::histogram().map(Mutex::new));
        Ok(Board {
            epoch: Instant::now(),
            lanes: (0..publishers).map(lane).collect(),
            receivers,
            stopping: AtomicBool::new(false),
            misplaced: AtomicU64::new(0),
            times: times.collect::<Result<_, _>>()?,
            fault: bounded(1),
        })
    }

    /// A message came to the connection `index` in its turn.
    pub fn deliver(&self, index: usize, stamp: Stamp) {
        let time = self.epoch.elapsed().saturating_sub(stamp.at);
        if let Some(times) = self.times.get(index % self.times.len().max(1)) {
            latency::record(&mut times.lock().unwrap_or_else(PoisonError::into_inner), time);
        }
        let Some(lane) = self.lanes.get(stamp.publisher as usize) else { return };
        let before = lane.delivered.fetch_add(1, Relaxed);
        if self.rounds(before) != self.rounds(before + 1) {
            lane.wake();
        }
    }

    /// A message came that is not one of ours, came before, or came behind a later one.
    pub fn misplace(&self) {
        self.misplaced.fetch_add(1, Relaxed);
    }

    /// How many messages so many deliveries are.
    fn rounds(&self, deliveries: u64) -> u64 {
        deliveries / self.receivers.max(1)
    }

    /// How many of a publisher's messages have arrived: their deliveries by the number of receivers.
    pub fn arrived(&self, lane: &Lane) -> u64 {
        self.rounds(lane.delivered.load(Relaxed))
    }

    /// Messages sent.
    pub fn sent(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.sent.load(Relaxed)).sum()
    }

    /// Deliveries that there are to be.
    pub fn expected(&self) -> u64 {
        self.sent().saturating_mul(self.receivers)
    }

    /// Deliveries.
    pub fn delivered(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.delivered.load(Relaxed)).sum()
    }

    /// Messages that came out of turn.
    pub fn misplaced(&self) -> u64 {
        self.misplaced.load(Relaxed)
    }

    /// All times up to now.
    pub fn times(&self) -> Option<Histogram<u64>> {
        let mut all: Option<Histogram<u64>> = None;
        for times in &self.times {
            let times = times.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut all {
                Some(all) => all.add(&*times).ok()?,
                None => all = Some(times.clone()),
            }
        }
        all
    }

    /// Ends the sending.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.lanes.iter().for_each(Lane::wake);
    }

    /// Whether it has ended.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// A connection ended; before the end of the sending that is a fault, the first of which is kept.
    pub fn fail(&self, why: Failure) {
        if !self.is_stopping() {
            let _ = self.fault.0.try_send(why);
        }
    }

    /// Returns at the first fault.
    pub async fn fault(&self) -> Failure {
        self.fault.1.recv().await.unwrap_or(Failure::Interrupted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp { publisher: 7, number: u64::MAX - 1, at: Duration::from_nanos(123_456_789) };
        let mut message = [0xFF; STAMP_BYTES + 3];
        stamp.write(&mut message);
        assert_eq!(Stamp::read(&message), Some(stamp));
        assert_eq!(message[STAMP_BYTES..], [0xFF; 3]);
        assert_eq!(Stamp::read(&message[..STAMP_BYTES - 1]), None);
    }

    #[test]
    fn a_message_has_arrived_when_it_has_reached_as_many_as_receive() {
        let board = Board::new(2, 3, 1).unwrap();
        let stamp = Stamp { publisher: 1, number: 1, at: Duration::ZERO };
        let lane = &board.lanes[1];
        lane.sent.store(2, Relaxed);
        for (deliveries, arrived) in [(1, 0), (2, 0), (3, 1), (4, 1)] {
            board.deliver(deliveries, stamp);
            assert_eq!((board.delivered(), board.arrived(lane)), (deliveries as u64, arrived));
        }
        smol::block_on(lane.woken());
        assert_eq!((board.sent(), board.expected(), board.times().unwrap().len()), (2, 6, 4));
    }

    #[test]
    fn the_first_fault_is_kept_and_none_after_the_end() {
        let board = Board::new(1, 1, 1).unwrap();
        board.fail(Failure::refused("first"));
        board.fail(Failure::refused("second"));
        assert_eq!(smol::block_on(board.fault()), Failure::refused("first"));
        board.stop();
        board.fail(Failure::refused("third"));
        assert!(board.fault.1.is_empty());
    }
}

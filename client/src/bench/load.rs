//! The two tasks of a connection: one sends, one receives.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use async_tungstenite::tungstenite::{Bytes, Message};
use async_tungstenite::{WebSocketReceiver, WebSocketSender};
use futures_util::SinkExt;
use smol::Timer;

use super::Plan;
use super::board::{Board, Lane, Stamp};
use crate::socket::{End, Received, receive};
use crate::stream::Stream;

/// After so long without an arrival what is outstanding counts as lost, and the window opens again.
const STALL: Duration = Duration::from_secs(1);
/// Messages that go out with one write at most.
const BURST_MAX: u64 = 256;

/// What a publisher knows of its own messages.
struct Pace<'p> {
    plan: &'p Plan,
    index: usize,
    /// Messages sent.
    sent: u64,
    /// Messages for which it waits no longer.
    given_up: u64,
}

impl Pace<'_> {
    /// How many messages the window has room for.
    fn room(&self, arrived: u64) -> u64 {
        let outstanding = self.sent.saturating_sub(arrived.max(self.given_up));
        self.plan.window.saturating_sub(outstanding)
    }

    /// When a message is due, counted from the beginning; `None` for at once. The publishers take turns.
    fn due(&self, number: u64) -> Option<Duration> {
        let turn = (number - 1) as f64 * f64::from(self.plan.publishers) + self.index as f64;
        (self.plan.rate > 0.0).then(|| Duration::try_from_secs_f64(turn / self.plan.rate).unwrap_or(Duration::MAX))
    }
}

/// Sends until the board says stop or the connection ends.
pub async fn publish(
    board: Arc<Board>,
    index: usize,
    mut sender: WebSocketSender<Stream>,
    plan: Plan,
) -> WebSocketSender<Stream> {
    let mut pace = Pace { plan: &plan, index, sent: 0, given_up: 0 };
    if let Some(lane) = board.lanes.get(index)
        && let Err(end) = send(&board, lane, &mut pace, &mut sender).await
    {
        board.fail(end.into());
    }
    sender
}

async fn send(
    board: &Board,
    lane: &Lane,
    pace: &mut Pace<'_>,
    sender: &mut WebSocketSender<Stream>,
) -> Result<(), End> {
    let mut message = vec![0; pace.plan.size];
    let mut waiting_since: Option<(Instant, u64)> = None;
    while !board.is_stopping() {
        let arrived = board.arrived(lane);
        let room = pace.room(arrived);
        if room == 0 {
            let (since, seen) = *waiting_since.get_or_insert((Instant::now(), arrived));
            if seen != arrived {
                waiting_since = None;
            } else if since.elapsed() >= STALL {
                pace.given_up = pace.sent;
            } else {
                wait(lane, STALL).await;
            }
            continue;
        }
        waiting_since = None;
        let mut burst = 0;
        while burst < room.min(BURST_MAX) {
            let now = board.epoch.elapsed();
            let at = match pace.due(pace.sent + 1) {
                Some(due) if due > now => break,
                due => due.unwrap_or(now),
            };
            pace.sent += 1;
            burst += 1;
            Stamp { publisher: pace.index as u32, number: pace.sent, at }.write(&mut message);
            // Before it can arrive, or more would arrive than was sent.
            lane.sent.store(pace.sent, Relaxed);
            SinkExt::feed(sender, Message::Binary(Bytes::copy_from_slice(&message))).await?;
        }
        if burst > 0 {
            SinkExt::flush(sender).await?;
        } else if let Some(due) = pace.due(pace.sent + 1) {
            wait(lane, due.saturating_sub(board.epoch.elapsed())).await;
        }
    }
    Ok(())
}

/// Until something has arrived or the time is over.
async fn wait(lane: &Lane, limit: Duration) {
    let late = async {
        Timer::after(limit).await;
    };
    smol::future::or(lane.woken(), late).await;
}

/// Receives until the connection ends. Per publisher the numbers rise, in every pattern: what a receiver gets is in the
/// order in which it was sent.
pub async fn listen(board: Arc<Board>, index: usize, mut receiver: WebSocketReceiver<Stream>) {
    let mut last = vec![0; board.lanes.len()];
    loop {
        let message = match receive(&mut receiver).await {
            Ok(message) => message,
            Err(end) => return board.fail(end.into()),
        };
        let stamp = match &message {
            Received::Binary(bytes) => Stamp::read(bytes),
            Received::Text(_) => None,
        };
        let seen = stamp.and_then(|stamp| last.get_mut(stamp.publisher as usize));
        match (stamp, seen) {
            (Some(stamp), Some(seen)) if stamp.number > *seen => {
                *seen = stamp.number;
                board.deliver(index, stamp);
            }
            _ => board.misplace(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Shape;

    fn plan(window: u64, rate: f64) -> Plan {
        let (publishers, subscribers) = (2, 1);
        Plan { shape: Shape::PubSub, publishers, subscribers, size: 64, window, rate, seconds: 1, json: false }
    }

    #[test]
    fn a_window_opens_as_messages_arrive_or_are_given_up() {
        let plan = plan(4, 0.0);
        let mut pace = Pace { plan: &plan, index: 0, sent: 10, given_up: 0 };
        assert_eq!([pace.room(6), pace.room(8), pace.room(10), pace.room(11)], [0, 2, 4, 4]);
        pace.given_up = 10;
        assert_eq!(pace.room(6), 4);
    }

    #[test]
    fn publishers_take_turns_at_the_rate() {
        let plan = plan(4, 1000.0);
        let due = |index, number| Pace { plan: &plan, index, sent: 0, given_up: 0 }.due(number);
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!([due(0, 1), due(1, 1), due(0, 2), due(1, 2)], [ms(0), ms(1), ms(2), ms(3)]);
        assert_eq!(
            Pace { plan: &super::super::Plan { rate: 0.0, ..plan.clone() }, index: 0, sent: 0, given_up: 0 }.due(1),
            None
        );
    }
}

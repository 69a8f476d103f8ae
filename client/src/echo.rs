//! `wrs echo`.

use std::time::{Duration, Instant};

use async_tungstenite::tungstenite::{Bytes, Message};
use hdrhistogram::Histogram;
use serde_json::json;
use smol::Timer;

use crate::arguments::{Arguments, Grammar, flag};
use crate::bench::latency::{self, milliseconds};
use crate::channel::Channel;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::node::Node;
use crate::socket::{End, Part, Received, Socket, close, meanwhile, receive};
use crate::stdio::{Input, Output};

/// The grammar of `echo`.
pub const GRAMMAR: Grammar = Grammar {
    usage: "echo [CHANNEL TOKEN | -] [--count N] [--size BYTES] [--interval MS] [--json]",
    about: "Measures round trips as ping does: on an echo channel of its own, which it deletes afterwards,\n\
            or on CHANNEL, which gives a client its own messages back. Exits with 1 if a message did not\n\
            come back.",
    flags: &[
        flag("--count", "N", "so many messages; 0: until Ctrl-C (default: 10)"),
        flag("--size", "BYTES", "bytes of a message, at least 16 (default: 64)"),
        flag("--interval", "MS", "from one message to the next (default: 200)"),
        flag("--timeout", "MS", "how long a message may be on its way (default: 1000)"),
        flag("--json", "", "print the summary alone, as JSON"),
    ],
    positionals: 0..=2,
};

/// Bytes of the nonce and of the number that a message begins with, each.
const FIELD_BYTES: usize = 8;

/// How messages are sent.
struct Plan {
    count: u64,
    size: usize,
    interval: Duration,
    timeout: Duration,
    json: bool,
}

/// What was measured so far.
struct Tally {
    sent: u64,
    round_trips: Histogram<u64>,
}

/// Measures round trips.
pub async fn run(mut arguments: Arguments, node: Node, interrupt: &Interrupt) -> Result<(), Failure> {
    let millis =
        |flag, default| arguments.number(flag, 0..=86_400_000).map(|ms| Duration::from_millis(ms.unwrap_or(default)));
    let plan = Plan {
        count: arguments.number("--count", 0..=u64::MAX)?.unwrap_or(10),
        size: arguments.number("--size", 2 * FIELD_BYTES..=MESSAGE_BYTES_MAX)?.unwrap_or(64),
        interval: millis("--interval", 200)?,
        timeout: millis("--timeout", 1000)?.max(Duration::from_millis(1)),
        json: arguments.has("--json"),
    };
    if arguments.remaining() == 0 {
        return node.with_channel("echo", |channel| measure(&node, channel, &plan, interrupt)).await;
    }
    let channel = Channel::take(&mut arguments, &mut Input::new()).await?;
    arguments.done()?;
    measure(&node, channel, &plan, interrupt).await
}

async fn measure(node: &Node, channel: Channel, plan: &Plan, interrupt: &Interrupt) -> Result<(), Failure> {
    let mut output = Output::new();
    let mut socket = interrupt.unless(node.join(&channel, Part::Whole)).await?;
    let mut tally = Tally { sent: 0, round_trips: latency::histogram()? };
    let interrupted = async {
        interrupt.heard().await;
        Ok(())
    };
    let ended = smol::future::or(trips(&mut socket, &mut output, plan, &mut tally), interrupted).await;
    tally.print(&mut output, plan).await?;
    ended?;
    close(socket).await?;
    match tally.lost() {
        0 => Ok(()),
        lost => Err(Failure::refused(format!("{lost} of {} messages did not come back", tally.sent))),
    }
}

async fn trips(socket: &mut Socket, output: &mut Output, plan: &Plan, tally: &mut Tally) -> Result<(), Failure> {
    let mut message = vec![0; plan.size];
    // Others may use the channel too: what does not begin with this is not ours.
    let random = message.get_mut(..FIELD_BYTES).unwrap_or_default();
    getrandom::fill(random).map_err(|error| Failure::refused(format!("the system gives no random bytes: {error}")))?;
    let mut number: u64 = 0;
    loop {
        number += 1;
        if let Some(field) = message.get_mut(FIELD_BYTES..2 * FIELD_BYTES) {
            field.copy_from_slice(&number.to_be_bytes());
        }
        let ours = Bytes::copy_from_slice(&message);
        let start = Instant::now();
        socket.send(Message::Binary(ours.clone())).await.map_err(|error| Failure::from(End::from(error)))?;
        tally.sent += 1;
        let line = match trip(socket, &ours, plan.timeout).await? {
            true => {
                let time = start.elapsed();
                latency::record(&mut tally.round_trips, time);
                format!("{} bytes: seq={number} time={} ms", plan.size, milliseconds(time.as_nanos()))
            }
            false => format!("seq={number} did not come back within {} ms", plan.timeout.as_millis()),
        };
        if !plan.json {
            output.line(line.as_bytes()).await?;
            output.flush().await?;
        }
        if number == plan.count {
            return Ok(());
        }
        let rest = plan.interval.saturating_sub(start.elapsed());
        let pause = async {
            Timer::after(rest).await;
            Ok(())
        };
        meanwhile(socket, pause).await?;
    }
}

/// Whether a message came back in time. One that comes later is passed over while the next is waited for.
async fn trip(socket: &mut Socket, ours: &Bytes, timeout: Duration) -> Result<bool, Failure> {
    let back = async {
        loop {
            if receive(socket).await? == Received::Binary(ours.clone()) {
                return Ok(true);
            }
        }
    };
    let late = async {
        Timer::after(timeout).await;
        Ok(false)
    };
    smol::future::or(back, late).await
}

impl Tally {
    fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.round_trips.len())
    }

    async fn print(&self, output: &mut Output, plan: &Plan) -> Result<(), Failure> {
        let (sent, received) = (self.sent, self.round_trips.len());
        let text = match plan.json {
            true => {
                let rtt = latency::json(&self.round_trips, &[("p50", 0.5), ("p99", 0.99)]);
                json!({"sent": sent, "received": received, "size": plan.size, "roundTripMs": rtt}).to_string()
            }
            false => {
                let lost = 100.0 * self.lost() as f64 / sent.max(1) as f64;
                let rtt = latency::text(&self.round_trips, &[("p50", 0.5), ("p99", 0.99)]);
                format!("{sent} sent, {received} received, {lost:.1} % lost\nround trip {rtt}")
            }
        };
        output.line(text.as_bytes()).await?;
        output.flush().await
    }
}

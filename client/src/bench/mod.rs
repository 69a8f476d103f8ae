//! `wrs bench`: publishers × subscribers on a channel of its own.
//!
//! Load and measurement are one program, so that a message's time is the difference of two readings of one clock. A
//! publisher keeps a window of messages outstanding: it goes on when its earlier messages have reached their receivers,
//! so that the figures say what the relay delivers and not how deep its buffers are. With a rate a message's time runs
//! from when it was due, so that a relay that stands still cannot hide what it kept waiting.

mod board;
pub mod latency;
mod load;
mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_tungstenite::WebSocketSender;
use futures_util::SinkExt;
use smol::channel::{Sender, bounded};
use smol::{Executor, Task, Timer};

use crate::arguments::{Arguments, Grammar, flag};
use crate::channel::Channel;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::limits::{CONNECT_TIMEOUT, MESSAGE_BYTES_MAX};
use crate::node::{Node, within};
use crate::socket::{Part, Socket, goodbye};
use crate::stdio::{Output, note};
use crate::stream::Stream;

use board::{Board, STAMP_BYTES};
use report::{Figures, Report};

/// The grammar of `bench`.
pub const GRAMMAR: Grammar = Grammar {
    usage: "bench [--pattern pub-sub|push-pull|echo] [--publishers P] [--subscribers S] [FLAGS]",
    about: "Measures what a node delivers: messages a second, their time from send to receipt, and loss, on\n\
            a channel of its own that it deletes afterwards. Progress is on standard error. In pub-sub each\n\
            message goes to the subscribers and to the other publishers, and all of these count; in push-\n\
            pull to one subscriber; in echo back to its publisher. Exits with 1 if a message was lost or a\n\
            connection closed.",
    flags: &[
        flag("--pattern", "PATTERN", "pub-sub, push-pull or echo (default: pub-sub)"),
        flag("--publishers", "P", "connections that send (default: 1; echo: 10)"),
        flag("--subscribers", "S", "connections that only receive (default: 10; echo: none)"),
        flag("--size", "BYTES", "bytes of a message, at least 20 (default: 64)"),
        flag("--window", "W", "messages that a publisher has outstanding (default: 32)"),
        flag("--rate", "R", "messages a second of all publishers together; 0: as many as go (default: 0)"),
        flag("--seconds", "T", "how long (default: 5)"),
        flag("--json", "", "print the result as JSON"),
    ],
    positionals: 0..=0,
};

/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How long nothing may arrive before what is missing counts as lost.
const QUIET: Duration = Duration::from_secs(2);
/// How often it is looked whether all has arrived.
const DRAIN_LOOK_INTERVAL: Duration = Duration::from_millis(5);
const PUBLISHERS_MAX: u32 = 256;
const SUBSCRIBERS_MAX: u32 = 20_000;

/// Which pattern is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Each message to all subscribers and the other publishers.
    PubSub,
    /// Each message to one subscriber.
    PushPull,
    /// Each message back to its publisher.
    Echo,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Shape::PubSub => "pub-sub",
            Shape::PushPull => "push-pull",
            Shape::Echo => "echo",
        }
    }
}

/// What is asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    shape: Shape,
    publishers: u32,
    subscribers: u32,
    /// Bytes of a message.
    size: usize,
    /// Messages outstanding, for each publisher.
    window: u64,
    /// Messages a second of all publishers; 0 for as many as go.
    rate: f64,
    seconds: u64,
    json: bool,
}

impl Plan {
    fn read(arguments: &Arguments) -> Result<Plan, Failure> {
        let shape = match arguments.text("--pattern") {
            None | Some("pub-sub") => Shape::PubSub,
            Some("push-pull") => Shape::PushPull,
            Some("echo") => Shape::Echo,
            Some(_) => return Err(Failure::usage("--pattern is pub-sub, push-pull or echo")),
        };
        let (publishers, subscribers) = if shape == Shape::Echo { (10, 0) } else { (1, 10) };
        let plan = Plan {
            shape,
            publishers: arguments.number("--publishers", 1..=PUBLISHERS_MAX)?.unwrap_or(publishers),
            subscribers: arguments.number("--subscribers", 0..=SUBSCRIBERS_MAX)?.unwrap_or(subscribers),
            size: arguments.number("--size", STAMP_BYTES..=MESSAGE_BYTES_MAX)?.unwrap_or(64),
            window: arguments.number("--window", 1..=1_000_000)?.unwrap_or(32),
            rate: arguments.number("--rate", 0.0..=1e9)?.unwrap_or(0.0),
            seconds: arguments.number("--seconds", 1..=86_400)?.unwrap_or(5),
            json: arguments.has("--json"),
        };
        match shape {
            Shape::Echo if plan.subscribers > 0 => Err(Failure::usage("in echo nobody subscribes")),
            _ if plan.receivers() == 0 => Err(Failure::usage("nobody would receive: --subscribers is 0")),
            _ => Ok(plan),
        }
    }

    /// How many connections a message reaches.
    fn receivers(&self) -> u64 {
        match self.shape {
            Shape::PubSub => u64::from(self.subscribers) + u64::from(self.publishers) - 1,
            Shape::PushPull => u64::from(self.subscribers.min(1)),
            Shape::Echo => 1,
        }
    }
}

/// Measures.
pub async fn run(arguments: Arguments, node: Node, interrupt: &Interrupt) -> Result<(), Failure> {
    let plan = Plan::read(&arguments)?;
    node.with_channel(plan.shape.name(), |channel| measure(&node, channel, &plan, interrupt)).await
}

async fn measure(node: &Node, channel: Channel, plan: &Plan, interrupt: &Interrupt) -> Result<(), Failure> {
    let (publishers, subscribers) = interrupt.unless(connect(node, &channel, plan)).await?;
    note(&format!("{} publishers and {} subscribers are connected", plan.publishers, plan.subscribers));
    let threads = Threads::start()?;
    let board = Arc::new(Board::new(plan.publishers, plan.receivers(), threads.count)?);
    let mut crew = Crew::start(&threads.executor, &board, plan, publishers, subscribers);
    let fault = watch(&board, plan, interrupt).await;
    let figures = Figures::take(&board);
    board.stop();
    let left = crew.drain(&board).await;
    let closed = crew.close().await;
    let report = Report { plan, figures, sent: board.sent(), delivered: board.delivered(), board: &board };
    report.print(Output::new()).await?;
    fault.map_or(Ok(()), Err)?;
    left?;
    closed?;
    match report.lost() + board.misplaced() {
        0 => Ok(()),
        _ => Err(Failure::refused("messages were lost or out of order")),
    }
}

/// The connections of publishers and of subscribers.
async fn connect(node: &Node, channel: &Channel, plan: &Plan) -> Result<(Vec<Socket>, Vec<Socket>), Failure> {
    // In echo a publisher is whom its messages come back to.
    let part = if plan.shape == Shape::Echo { Part::Whole } else { Part::Sender };
    let (mut publishers, mut subscribers) = (Vec::new(), Vec::new());
    for _ in 0..plan.subscribers {
        subscribers.push(node.join(channel, Part::Whole).await?);
    }
    for _ in 0..plan.publishers {
        publishers.push(node.join(channel, part).await?);
    }
    Ok((publishers, subscribers))
}

/// Shows progress until the time is over, Ctrl-C ends it or a connection does, which is the fault that comes back.
async fn watch(board: &Board, plan: &Plan, interrupt: &Interrupt) -> Option<Failure> {
    let end = board.epoch + Duration::from_secs(plan.seconds);
    let mut before = Figures::take(board);
    loop {
        let look = (Instant::now() + PROGRESS_INTERVAL).min(end);
        let tick = async {
            Timer::at(look).await;
            None
        };
        let interrupted = async {
            interrupt.heard().await;
            Some(None)
        };
        let ended = smol::future::or(interrupted, async { Some(Some(board.fault().await)) });
        if let Some(ended) = smol::future::or(tick, ended).await {
            return ended;
        }
        let now = Figures::take(board);
        note(&now.progress(&before, board));
        if look == end {
            return None;
        }
        before = now;
    }
}

/// Threads that run the connections' tasks: as many as the machine runs at once, or a relay with several shards would be
/// faster than what measures it.
struct Threads {
    executor: Arc<Executor<'static>>,
    count: usize,
    /// The threads end when this goes.
    _running: Sender<()>,
}

impl Threads {
    fn start() -> Result<Threads, Failure> {
        let executor = Arc::new(Executor::new());
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let (running, ended) = bounded::<()>(1);
        for index in 0..count {
            let (executor, ended) = (executor.clone(), ended.clone());
            std::thread::Builder::new()
                .name(format!("load-{index}"))
                .spawn(move || {
                    // The channel closes when the measurement is over.
                    let _ = smol::block_on(executor.run(ended.recv()));
                })
                .map_err(|error| Failure::refused(format!("cannot start a thread: {error}")))?;
        }
        Ok(Threads { executor, count, _running: running })
    }
}

/// The tasks of all connections.
struct Crew {
    publishing: Vec<Task<WebSocketSender<Stream>>>,
    receiving: Vec<Task<()>>,
    senders: Vec<WebSocketSender<Stream>>,
}

impl Crew {
    fn start(
        executor: &Executor<'static>,
        board: &Arc<Board>,
        plan: &Plan,
        publishers: Vec<Socket>,
        subscribers: Vec<Socket>,
    ) -> Crew {
        let mut crew = Crew { publishing: Vec::new(), receiving: Vec::new(), senders: Vec::new() };
        let mut publishing = Vec::new();
        for (index, socket) in publishers.into_iter().chain(subscribers).enumerate() {
            let (sender, receiver) = socket.split();
            crew.receiving.push(executor.spawn(load::listen(board.clone(), index, receiver)));
            // Publishers come first; a subscriber's sender is for its close frame alone.
            match index < plan.publishers as usize {
                true => publishing.push((index, sender)),
                false => crew.senders.push(sender),
            }
        }
        for (index, sender) in publishing {
            crew.publishing.push(executor.spawn(load::publish(board.clone(), index, sender, plan.clone())));
        }
        crew
    }

    /// Waits until the publishers have ended and all has arrived, or nothing does any more.
    async fn drain(&mut self, board: &Board) -> Result<(), Failure> {
        let publishing = std::mem::take(&mut self.publishing);
        let senders = &mut self.senders;
        let ended = async {
            for task in publishing {
                senders.push(task.await);
            }
            Ok(())
        };
        let ended = within(CONNECT_TIMEOUT, "stopping the publishers", ended).await;
        let (mut seen, mut since) = (board.delivered(), Instant::now());
        while seen < board.expected() && since.elapsed() < QUIET {
            Timer::after(DRAIN_LOOK_INTERVAL).await;
            let now = board.delivered();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
        ended
    }

    /// Closes every connection as the protocol has it.
    async fn close(self) -> Result<(), Failure> {
        let closing = async {
            for mut sender in self.senders {
                // One that is closed already was reported by its receiver.
                let _ = SinkExt::send(&mut sender, goodbye()).await;
            }
            for task in self.receiving {
                task.await;
            }
            Ok(())
        };
        within(CONNECT_TIMEOUT, "closing", closing).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Read;

    fn plan(line: &str) -> Result<Plan, Failure> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match GRAMMAR.read(&words)? {
            Read::Arguments(arguments) => Plan::read(&arguments),
            Read::Help(text) => panic!("{text}"),
        }
    }

    #[test]
    fn a_message_reaches_as_many_as_the_pattern_says() {
        for (line, receivers) in [
            ("", 10),
            ("--publishers 3 --subscribers 4", 6),
            ("--publishers 2 --subscribers 0", 1),
            ("--pattern push-pull --publishers 3", 1),
            ("--pattern echo", 1),
        ] {
            assert_eq!(plan(line).unwrap().receivers(), receivers, "{line}");
        }
    }

    #[test]
    fn a_plan_that_measures_nothing_is_refused() {
        for line in [
            "--subscribers 0",
            "--pattern push-pull --subscribers 0",
            "--pattern echo --subscribers 1",
            "--pattern req-repl",
            "--size 19",
            "--window 0",
            "--rate -1",
            "--rate NaN",
            "--seconds 0",
            "--publishers 257",
        ] {
            assert!(matches!(plan(line), Err(Failure::Usage(_))), "{line}");
        }
    }
}

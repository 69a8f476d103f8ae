//! A node's shards: one thread each, with glommio's executor and a ring of its own.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, Placement};
use wrs_core::boot::Boot;
use wrs_core::config::Config;
use wrs_core::host::Machine;
use wrs_core::id::ShardId;
use wrs_core::shard::Shard;
use wrs_node::certificates::Certificates;
use wrs_node::failure::Failure;
use wrs_node::log::Log;
use wrs_node::news::Tell;
use wrs_node::outside::Outside;
use wrs_node::parcel::Parcel;
use wrs_node::start::{Control, Node};
use wrs_node::threads;

use crate::bell::Bell;
use crate::host::Hands;
use crate::listen::{Doors, Listener};
use crate::mesh::{self, Way};
use crate::probe;
use crate::ring::Ring;
use crate::signals;
use crate::turn::{Parts, Turn};

/// Memory that each of glommio's rings keeps for files: the least that it takes, since there are none.
const RING_MEMORY: usize = 64 << 10;
/// Requests in each of glommio's rings: few, since no socket is there.
const RING_DEPTH: usize = 32;
/// How long a task of glommio's may run before its executor wants to look at others: a year, as long as never, since there is
/// one task. An executor that finds this time over before it has run anything takes its ready task for none and sleeps, with
/// nobody to wake it (ADR 10). With the tenth of a second that is the default, a thread had but to wait so long for a core.
const TASK_TURN: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Runs a node until it has drained.
pub fn serve(config: Config, warnings: &[String]) -> Result<(), Failure> {
    probe::check().map_err(Failure::bad_configuration)?;
    let node = Node::prepare(config, warnings)?;
    let (config, log) = (node.boot.config.clone(), node.log.clone());
    let signals = signals::take().map_err(Failure::cannot("cannot hear signals"))?;
    let shards = Shards::prepare(&config).map_err(Failure::cannot("cannot wake shards"))?;
    let greeting = node.greeting("glommio");
    let running = shards.start(node, Shard::new)?;
    signals::attend(signals, config, running.ways.clone(), log).map_err(Failure::cannot("cannot hear signals"))?;
    greeting.say();
    running.join()
}

/// The shards of this node before they run: what wakes each, and its inbox.
pub struct Shards {
    inboxes: Vec<(Arc<Bell>, Receiver<Parcel>)>,
    ways: Vec<Way>,
}

impl Shards {
    /// What they need of the system.
    pub fn prepare(config: &Config) -> io::Result<Self> {
        let mut shards = Shards { inboxes: Vec::new(), ways: Vec::new() };
        for _ in 0..config.shards.max(1) {
            let bell = Bell::new()?;
            let (way, inbox) = mesh::inbox(bell.clone());
            shards.inboxes.push((bell, inbox));
            shards.ways.push(way);
        }
        Ok(shards)
    }

    /// One thread for each shard; returns when all have what they need of the system, or with what the first lacks. `make`
    /// makes what each drives.
    pub fn start<M: Machine>(
        self,
        node: Node,
        make: impl Fn(ShardId, Boot) -> M + Clone + Send + 'static,
    ) -> Result<Running, Failure> {
        let for_sibling = node.boot.for_sibling();
        let mut for_first = Some((node.boot, node.control));
        let mut running = Running { threads: Vec::new(), ways: self.ways, held: Vec::new() };
        let (ready, readiness) = channel();
        for (index, (bell, inbox)) in self.inboxes.into_iter().enumerate() {
            let (boot, control) = match for_first.take() {
                Some((boot, control)) => (boot, Some(control)),
                None => (for_sibling.clone(), None),
            };
            let (hold, held) = channel();
            running.held.push(hold);
            let start = Start {
                here: ShardId(index as u16),
                boot,
                ways: running.ways.clone(),
                bell,
                inbox,
                control,
                certificates: node.certificates.clone(),
                log: node.log.clone(),
                ready: ready.clone(),
                held,
            };
            let (siblings, make) = (running.ways.clone(), make.clone());
            let run = move || start.run_or_stop(&siblings, make);
            let thread = std::thread::Builder::new().name(format!("shard-{index}")).spawn(run);
            running.threads.push(thread.map_err(Failure::cannot("cannot start a shard"))?);
        }
        drop(ready);
        for _ in &running.threads {
            let lacks = match readiness.recv() {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => probe::shortage(running.threads.len(), &error),
                Err(_) => "a shard panicked".to_owned(),
            };
            return Err(Failure::bad_configuration(lacks));
        }
        Ok(running)
    }
}

/// The shards of this node: each has what it needs, and waits.
pub struct Running {
    threads: Vec<JoinHandle<Result<(), Failure>>>,
    ways: Vec<Way>,
    /// Lets go each shard when it is dropped: what a node says of itself comes before what its shards say.
    held: Vec<Sender<Infallible>>,
}

impl Running {
    /// Lets them begin; returns when all have drained.
    pub fn join(self) -> Result<(), Failure> {
        drop(self.held);
        threads::join(self.threads)
    }
}

/// What one shard's thread starts from.
struct Start {
    here: ShardId,
    boot: Boot,
    ways: Vec<Way>,
    bell: Arc<Bell>,
    inbox: Receiver<Parcel>,
    /// On shard 0.
    control: Option<Control>,
    certificates: Certificates,
    log: Log,
    /// Hears whether it has what it needs.
    ready: Sender<io::Result<()>>,
    /// Ends when it may begin.
    held: Receiver<Infallible>,
}

impl Start {
    /// Runs the shard. If it fails, the node drains and ends: a channel may have its home there.
    fn run_or_stop<M: Machine>(self, siblings: &[Way], make: impl FnOnce(ShardId, Boot) -> M) -> Result<(), Failure> {
        threads::guard(
            || self.run(make),
            || {
                for way in siblings {
                    way.send(Parcel::Drain);
                    way.send(Parcel::Stopped);
                }
            },
        )
    }

    fn run<M: Machine>(self, make: impl FnOnce(ShardId, Boot) -> M) -> Result<(), Failure> {
        if self.boot.config.pin {
            threads::pin(self.here);
        }
        match executor(self.here) {
            // It is one task and never yields: the executor would have to give it its thread back, and may not (ADR 10).
            Ok(executor) => executor.run(async { self.turn(make) }),
            Err(error) => self.lacks(error),
        }
    }

    /// Tells what is lacking. Nobody waits for this shard then.
    fn lacks(&self, error: io::Error) -> Result<(), Failure> {
        let _ = self.ready.send(Err(error));
        Ok(())
    }

    fn turn<M: Machine>(mut self, make: impl FnOnce(ShardId, Boot) -> M) -> Result<(), Failure> {
        let config = self.boot.config.clone();
        let (ring, buffers) = match Ring::new(self.bell.clone()) {
            Ok(made) => made,
            Err(error) => return self.lacks(error),
        };
        let (mut doors, mut outside) = (Doors::default(), None);
        if let Some(control) = self.control.take() {
            match doors_and_outside(control, &config, &ring, &self.ways) {
                Ok((these, that)) => (doors, outside) = (these, Some(that)),
                Err(error) => return self.lacks(error),
            }
        }
        // An error means that another shard lacks something: the process is about to end.
        let _ = self.ready.send(Ok(()));
        let Err(RecvError) = self.held.recv();
        let turn = Turn::new(Parts {
            machine: make(self.here, self.boot),
            hands: Hands::new(self.here, self.ways, outside, self.log),
            ring,
            buffers,
            inbox: self.inbox,
            doors,
            certificates: self.certificates,
            read_buffer: config.read_buffer_bytes,
        });
        let failure = turn.run().map_err(Failure::cannot("a shard stopped"))?;
        failure.map_or(Ok(()), |why| Err(Failure::cannot_run(why)))
    }
}

/// The executor of a shard.
fn executor(here: ShardId) -> io::Result<LocalExecutor> {
    let builder = LocalExecutorBuilder::new(Placement::Unbound)
        .name(&format!("shard-{}", here.0))
        .io_memory(RING_MEMORY)
        .ring_depth(RING_DEPTH)
        .preempt_timer(TASK_TURN);
    builder.make().map_err(|error: GlommioError<()>| io::Error::from(error))
}

/// What shard 0 has beside its siblings.
fn doors_and_outside(control: Control, config: &Config, ring: &Ring, ways: &[Way]) -> io::Result<(Doors, Outside)> {
    let doors = Doors {
        clients: Some(Listener::new(control.clients, ring, Doors::CLIENTS)?),
        links: Some(Listener::new(control.links, ring, Doors::LINKS)?),
    };
    let way = ways.first().cloned().ok_or(io::ErrorKind::NotFound)?;
    let tell = Tell::new(move |news| way.send(Parcel::News(news)));
    Ok((doors, Outside::new(config, control.directory, tell)?))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use wrs_node::trial::Puppeteer;

    use super::*;

    fn run(node: Node, puppeteer: Puppeteer) -> Result<(), Failure> {
        let shards = Shards::prepare(&node.boot.config).unwrap();
        let ways = shards.ways.clone();
        puppeteer.reload_by(move |new| ways.iter().for_each(|way| way.send(Parcel::Certificates(new.clone()))));
        shards.start(node, move |here, boot| puppeteer.make(here, boot))?.join()
    }

    /// Many times as long as an executor of glommio's lets a task run by default.
    #[test]
    fn an_executor_whose_thread_is_held_up_does_not_take_its_task_for_none() {
        if let Err(why) = probe::check() {
            return eprintln!("SKIPPED: {why}");
        }
        executor(ShardId(0)).unwrap().run(async {
            thread::sleep(Duration::from_millis(500));
            assert!(!glommio::executor().need_preempt());
        });
    }

    wrs_node::trials!(run, probe::check);
}

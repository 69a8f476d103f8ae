//! A node's shards: one thread each, with a poller of its own.

use std::io;
use std::rc::Rc;
use std::sync::mpsc::Receiver;

use async_signal::Signals;
use smol::LocalExecutor;
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

use crate::host::Hands;
use crate::listen::{Doors, Listener};
use crate::mesh::{self, Way};
use crate::poll::Poll;
use crate::signals;
use crate::tasks::Tasks;
use crate::turn::{Parts, Turn};

/// Runs a node until it has drained.
pub fn serve(config: Config, warnings: &[String]) -> Result<(), Failure> {
    let node = Node::prepare(config, warnings)?;
    let signals = signals::take().map_err(Failure::cannot("cannot hear signals"))?;
    let shards = Shards::prepare(&node.boot.config).map_err(Failure::cannot("cannot poll sockets"))?;
    node.greeting("smol").say();
    shards.run(node, Some(signals), Shard::new)
}

/// The shards of this node before they run: where each sleeps, and its inbox.
pub struct Shards {
    polls: Vec<(Poll, Receiver<Parcel>)>,
    ways: Vec<Way>,
}

impl Shards {
    /// What they need of the system.
    pub fn prepare(config: &Config) -> io::Result<Self> {
        let mut shards = Shards { polls: Vec::new(), ways: Vec::new() };
        for _ in 0..config.shards.max(1) {
            let poll = Poll::new()?;
            let (way, inbox) = mesh::inbox(&poll);
            shards.polls.push((poll, inbox));
            shards.ways.push(way);
        }
        Ok(shards)
    }

    /// One thread for each shard; returns when all have drained. `make` makes what each drives.
    pub fn run<M: Machine>(
        self,
        node: Node,
        signals: Option<Signals>,
        make: impl Fn(ShardId, Boot) -> M + Clone + Send + 'static,
    ) -> Result<(), Failure> {
        let for_sibling = node.boot.for_sibling();
        let mut for_first = Some((node.boot, node.control, signals));
        let ways = self.ways;
        let mut running = Vec::new();
        for (index, (poll, inbox)) in self.polls.into_iter().enumerate() {
            let (boot, control, signals) = match for_first.take() {
                Some((boot, control, signals)) => (boot, Some(control), signals),
                None => (for_sibling.clone(), None, None),
            };
            let start = Start {
                here: ShardId(index as u16),
                boot,
                ways: ways.clone(),
                poll,
                inbox,
                control,
                signals,
                certificates: node.certificates.clone(),
                log: node.log.clone(),
            };
            let (siblings, make) = (ways.clone(), make.clone());
            let run = move || start.run_or_stop(&siblings, make);
            let thread = std::thread::Builder::new().name(format!("shard-{index}")).spawn(run);
            running.push(thread.map_err(Failure::cannot("cannot start a shard"))?);
        }
        threads::join(running)
    }
}

/// What one shard's thread starts from.
struct Start {
    here: ShardId,
    boot: Boot,
    ways: Vec<Way>,
    poll: Poll,
    inbox: Receiver<Parcel>,
    /// On shard 0.
    control: Option<Control>,
    /// On shard 0.
    signals: Option<Signals>,
    certificates: Certificates,
    log: Log,
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
        let config = self.boot.config.clone();
        if config.pin {
            threads::pin(self.here);
        }
        let executor = Rc::new(LocalExecutor::new());
        if let Some(signals) = self.signals {
            signals::attend(signals, &executor, config.clone(), self.ways.clone(), self.log.clone());
        }
        let (mut doors, mut outside) = (Doors::default(), None);
        if let Some(control) = self.control {
            let made = doors_and_outside(control, &config, &self.poll, &self.ways);
            let (these, that) = made.map_err(Failure::cannot("cannot start a shard"))?;
            (doors, outside) = (these, Some(that));
        }
        let tasks = Tasks::new(executor, &self.poll);
        let turn = Turn::new(Parts {
            machine: make(self.here, self.boot),
            hands: Hands::new(self.here, self.ways, outside, self.log),
            poll: self.poll,
            inbox: self.inbox,
            doors,
            tasks,
            certificates: self.certificates,
            read_buffer: config.read_buffer_bytes,
        });
        turn.run().map_err(Failure::cannot("a shard stopped"))?.map_or(Ok(()), |why| Err(Failure::cannot_run(why)))
    }
}

/// What shard 0 has beside its siblings.
fn doors_and_outside(control: Control, config: &Config, poll: &Poll, ways: &[Way]) -> io::Result<(Doors, Outside)> {
    let doors = Doors {
        clients: Some(Listener::new(control.clients, poll, Doors::CLIENTS)?),
        links: Some(Listener::new(control.links, poll, Doors::LINKS)?),
    };
    let way = ways.first().cloned().ok_or(io::ErrorKind::NotFound)?;
    let tell = Tell::new(move |news| way.send(Parcel::News(news)));
    Ok((doors, Outside::new(config, control.directory, tell)?))
}

#[cfg(test)]
mod tests {
    use wrs_node::trial::Puppeteer;

    use super::*;

    fn available() -> Result<(), String> {
        Ok(())
    }

    fn run(node: Node, puppeteer: Puppeteer) -> Result<(), Failure> {
        let shards = Shards::prepare(&node.boot.config).unwrap();
        let ways = shards.ways.clone();
        puppeteer.reload_by(move |new| ways.iter().for_each(|way| way.send(Parcel::Certificates(new.clone()))));
        shards.run(node, None, move |here, boot| puppeteer.make(here, boot))
    }

    wrs_node::trials!(run, available);
}

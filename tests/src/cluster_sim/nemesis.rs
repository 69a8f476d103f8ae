//! What goes wrong: nodes that die, stop, pause and come; links that cut, stall and carry one way; full disks; strangers.

use super::net::{Chunk, End, Wire};
use super::plan::Forming;
use super::state::{Event, Fact, Life, ip};
use super::world::World;
use crate::sim::{MILLI, Partition, SECOND};

/// How long a node that has come back takes to be one of the voters again, at most, in nanoseconds.
const SETTLING: u64 = 10 * SECOND;
/// How long a thread that goes on takes to hear what it has missed.
const WAKING: u64 = 50 * MILLI;

impl World {
    /// Whether the cluster has to do without the node in a place: it is dead, paused, leaving, or just back.
    fn is_away(&self, slot: usize) -> bool {
        let now = self.state.now();
        let node = &self.state.nodes[slot];
        match node.life {
            Life::Never => false,
            Life::Down => true,
            Life::Up => {
                let hangs = node.desks.first().is_some_and(|head| head.late_until > now);
                hangs
                    || node.paused.is_some()
                    || node.draining
                    || node.failed.is_some()
                    || now < node.started + SETTLING
            }
        }
    }

    /// How many the cluster has to do without.
    fn away(&self) -> usize {
        (0..self.state.nodes.len()).filter(|slot| self.is_away(*slot)).count()
    }

    /// Whether most of the seeds would have forgotten the cluster if this node came back with nothing in memory. They are let
    /// found one if they reach no other seed, and so there would be two.
    fn would_be_forgotten(&self, slot: usize) -> bool {
        let seeds = self.state.plan.nodes;
        let finds_others = match self.state.plan.forming {
            Forming::Given | Forming::Seeds => false,
            // The name leads to all that are there.
            Forming::Dns => seeds == 1,
            Forming::ByHand | Forming::Domain => true,
        };
        let away = (0..seeds).filter(|slot| self.is_away(*slot)).count();
        self.state.plan.memory && slot < seeds && !finds_others && away + 1 > seeds / 2
    }

    fn members_known(&self) -> usize {
        self.state.nodes.iter().filter(|node| node.life != Life::Never).count()
    }

    /// Whether one more node would be one too many for the cluster to do without.
    pub(super) fn one_too_many(&self) -> bool {
        self.away() + 1 > self.members_known().saturating_sub(1) / 2
    }

    /// Whether one more node may go away.
    pub(super) fn can_spare_one(&self) -> bool {
        self.state.plan.aim.harsh || !self.one_too_many()
    }

    /// Whether this one may end, and forget what it has in memory.
    pub(super) fn may_end(&self, slot: usize) -> bool {
        self.can_spare_one() && (self.state.plan.aim.harsh || !self.would_be_forgotten(slot))
    }

    pub(super) fn trouble(&mut self, slots: &[usize]) {
        let now = self.state.now();
        self.state.trouble = now;
        self.state.model.calm = None;
        for slot in slots {
            self.state.nodes[*slot].trouble = now;
        }
    }

    /// More voters have lost their memory than the cluster can do without: what it knew may be lost with them.
    fn memory_is_lost(&mut self) {
        self.state.model.loss = true;
        for channel in &mut self.state.model.channels {
            channel.vague = true;
        }
    }

    /// `kill -9`, or a power cut.
    pub fn kill(&mut self, slot: usize) {
        self.trouble(&[slot]);
        let power = self.state.random.below(3) == 0;
        let dark = power && self.state.random.coin();
        let too_many = self.one_too_many();
        self.stop(slot, power, dark);
        if self.state.plan.memory && too_many {
            self.memory_is_lost();
        }
        let stays_away = self.state.random.below(6) == 0;
        if !stays_away {
            let soon = self.state.plan.aim.rush && self.state.random.below(3) == 0;
            let after = if soon {
                self.state.random.below(50 * MILLI)
            } else {
                50 * MILLI + self.state.random.exponential(2 * SECOND)
            };
            self.state.agenda.after(after, Event::Start { slot });
        }
        self.state.rush_at_the_end_of_a_lease();
    }

    /// SIGTERM.
    pub fn drain(&mut self, slot: usize) {
        self.trouble(&[slot]);
        if self.state.plan.memory && self.one_too_many() {
            self.memory_is_lost();
        }
        self.state.nodes[slot].draining = true;
        self.open[slot] = false;
        for here in 0..self.state.nodes[slot].desks.len() {
            self.state.fact(slot, here, Fact::Drain);
        }
        let after = 3 * SECOND + self.state.random.exponential(6 * SECOND);
        self.state.agenda.after(after, Event::Start { slot });
    }

    fn pause(&mut self, slot: usize) {
        let most = *self.state.random.pick(&[200, 2_000, 8_000, 60_000]).unwrap_or(&200);
        let span = MILLI + self.state.random.below(most * MILLI);
        self.pause_for(slot, span);
        self.state.rush_at_the_end_of_a_lease();
    }

    /// SIGSTOP, and SIGCONT so much later.
    pub(super) fn pause_for(&mut self, slot: usize, span: u64) {
        self.trouble(&[slot]);
        let until = self.state.now() + span;
        self.freeze(slot, None, until);
        self.state.say(|| format!("node {slot} pauses until {:.3}", until as f64 / 1e9));
        let node = &mut self.state.nodes[slot];
        node.paused = Some(until);
        let run = node.run;
        self.state.agenda.at(until, Event::Resume { slot, run });
    }

    /// A shard's thread stands still, and the others of its node do not.
    fn hang(&mut self, slot: usize) {
        let shards = self.state.nodes[slot].desks.len();
        let shard = self.state.random.below(shards as u64) as usize;
        if shards < 2 || shard == 0 && !self.can_spare_one() {
            return;
        }
        self.trouble(&[slot]);
        let most = *self.state.random.pick(&[50, 1_000, 8_000]).unwrap_or(&50);
        self.state.rush_at_the_end_of_a_lease();
        let until = self.state.now() + self.state.random.below(most * MILLI);
        self.state.say(|| format!("shard {shard} of node {slot} hangs until {:.3}", until as f64 / 1e9));
        self.hang_until(slot, shard, until);
    }

    /// A shard's thread stands still.
    pub(super) fn hang_until(&mut self, slot: usize, shard: usize, until: u64) {
        self.state.nodes[slot].desks[shard].late_until = until;
        self.freeze(slot, Some(shard), until);
    }

    /// Nobody serves the clients of a node, or of one shard of it.
    fn freeze(&mut self, slot: usize, shard: Option<usize>, until: u64) {
        for client in self.state.model.clients.iter_mut().filter(|client| client.slot == slot && client.lasts()) {
            let place = self.state.wires[client.wire].ends[1].place();
            if shard.is_none_or(|shard| place == Some((slot, shard))) {
                client.frozen_until = until + WAKING;
            }
        }
    }

    fn partition(&mut self) {
        let slots = self.state.plan.slots;
        let random = &mut self.state.random;
        let place = random.below(slots as u64) as usize;
        let other = random.below(slots as u64) as usize;
        let sides: Vec<bool> = (0..slots).map(|_| random.coin()).collect();
        let partition = match random.below(7) {
            0 => Partition::Split(sides),
            1 | 2 => Partition::Isolate(place),
            3 => Partition::Mute(place),
            4 => Partition::Deafen(place),
            5 => Partition::Bridge { sides, through: place },
            _ if place != other => Partition::Link { from: place, to: other },
            _ => Partition::Isolate(place),
        };
        let most = *random.pick(&[300, 3_000, 10_000]).unwrap_or(&300);
        let span = random.below(most * MILLI);
        self.state.say(|| format!("{partition:?} for {} ms", span / MILLI));
        self.state.network.partition(&partition);
        self.state.rush_at_the_end_of_a_lease();
        let all: Vec<usize> = (0..slots).collect();
        self.trouble(&all);
        self.state.agenda.after(span, Event::Mend);
    }

    /// The network carries again, at first perhaps in one direction only.
    pub(super) fn mend_one_way(&mut self) {
        let slots = self.state.plan.slots;
        let (now, mut late) = (self.state.now(), Vec::new());
        for (from, to) in (0..slots * slots).map(|n| (n / slots, n % slots)) {
            if self.state.plan.aim.rush && self.state.network.is_broken(from, to) && self.state.random.below(4) == 0 {
                late.push((from, to, now + self.state.random.below(600 * MILLI)));
            }
        }
        self.state.network.mend();
        for (from, to, until) in late {
            self.state.network.clog(from, to, until);
        }
    }

    /// A connection between nodes breaks at any byte, perhaps after garbage.
    fn cut(&mut self) {
        let links: Vec<usize> = (0..self.state.wires.len())
            .filter(|wire| {
                let wire = &self.state.wires[*wire];
                wire.route.is_some() && wire.ends.iter().all(|end| end.place().is_some())
            })
            .collect();
        let Some(wire) = self.state.random.pick(&links).copied() else { return };
        let (a, b) = self.state.wires[wire].route.unwrap_or_default();
        self.trouble(&[a, b]);
        self.state.say(|| format!("wire {wire} is cut"));
        let side = self.state.random.below(2) as usize;
        for side in [side, 1 - side] {
            let all = self.state.wires[wire].pipes[side].flight_bytes;
            // Behind whole frames only: what a message holds is for TCP and TLS to guard.
            let whole = self.state.wires[wire].ends[side].sock().is_some_and(|sock| sock.line.unsent() == 0);
            let garbage = whole && self.state.random.below(3) == 0;
            let keep = if garbage { all } else { self.state.random.below(all as u64 + 1) as usize };
            let mut noise = vec![0; 1 + self.state.random.below(40) as usize];
            noise.iter_mut().for_each(|byte| *byte = self.state.random.bits() as u8);
            let pipe = &mut self.state.wires[wire].pipes[side];
            let mut left = keep;
            for chunk in &mut pipe.flight {
                if let Chunk::Data(bytes) = chunk {
                    bytes.truncate(left);
                    left -= bytes.len();
                }
            }
            pipe.flight_bytes = keep;
            if garbage {
                self.state.send(wire, side, Chunk::Data(noise));
            }
            self.state.send(wire, side, Chunk::Reset);
        }
    }

    fn stall(&mut self) {
        let slots = self.state.plan.slots as u64;
        let (from, to) = (self.state.random.below(slots) as usize, self.state.random.below(slots) as usize);
        let span = self.state.random.below(4 * SECOND);
        self.state.say(|| format!("from node {from} to {to} nothing comes for {} ms", span / MILLI));
        self.trouble(&[from, to]);
        let until = self.state.now() + span;
        self.state.network.clog(from, to, until);
    }

    /// Somebody who is no node dials the cluster port.
    fn stranger(&mut self) {
        let up = self.state.up();
        let Some(slot) = self.state.random.pick(&up).copied() else { return };
        let wire = self.state.wires.len();
        let (far, conn) = self.state.accept(slot, 0, wire, 1);
        self.state.wires.push(Wire::new([End::Stranger, far], 10_000, None));
        let from = std::net::SocketAddr::new(ip(200), 5_000);
        self.state.fact(slot, 0, Fact::Linked { conn, from, dial: None });
        let mut bytes = match self.state.random.below(3) {
            0 => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            1 => b"wrs-link".to_vec(),
            _ => Vec::new(),
        };
        for _ in 0..self.state.random.below(60) {
            bytes.push(self.state.random.bits() as u8);
        }
        self.state.send(wire, 0, Chunk::Data(bytes));
        if self.state.random.coin() {
            self.state.send(wire, 0, Chunk::Fin);
        }
    }
}

/// Something goes wrong, and the next fault comes some time later.
pub fn strike(world: &mut World) {
    let mean = world.state.plan.nemesis.mean_ms * MILLI;
    let next = mean / 10 + world.state.random.exponential(mean);
    world.state.agenda.after(next, Event::Fault);
    let n = world.state.plan.nemesis.clone();
    let weights = [n.crash, n.drain, n.pause, n.partition, n.cut, n.stall, n.stranger, n.newcomer, n.full, n.refuse];
    if weights.iter().all(|weight| *weight == 0) {
        return;
    }
    let up: Vec<usize> = world
        .state
        .up()
        .into_iter()
        .filter(|slot| !world.state.nodes[*slot].draining && world.state.nodes[*slot].paused.is_none())
        .collect();
    let Some(slot) = world.state.random.pick(&up).copied() else { return };
    if world.state.plan.aim.hang && world.state.random.below(3) == 0 {
        return world.hang(slot);
    }
    match world.state.random.weighted(&weights) {
        0 if world.may_end(slot) => world.kill(slot),
        1 if world.may_end(slot) => world.drain(slot),
        2 if world.can_spare_one() => world.pause(slot),
        3 => world.partition(),
        4 => world.cut(),
        5 => world.stall(),
        6 => world.stranger(),
        7 => {
            let new = (0..world.state.nodes.len()).find(|slot| world.state.nodes[*slot].life == Life::Never);
            if let Some(slot) = new.filter(|_| !world.somebody_looks_around()) {
                world.trouble(&[]);
                world.start(slot);
            }
        }
        8 if world.can_spare_one() => {
            world.trouble(&[slot]);
            world.state.say(|| format!("the disk of node {slot} is full"));
            world.state.nodes[slot].draining = true;
            world.open[slot] = false;
            if let Some(directory) = &mut world.state.nodes[slot].directory {
                directory.full = true;
            }
            let after = 3 * SECOND + world.state.random.exponential(5 * SECOND);
            world.state.agenda.after(after, Event::Room { slot });
            world.state.agenda.after(after + 8 * SECOND, Event::Start { slot });
        }
        9 => {
            world.trouble(&[]);
            world.state.refuse_until = world.state.now() + world.state.random.below(2 * SECOND);
        }
        _ => {}
    }
}

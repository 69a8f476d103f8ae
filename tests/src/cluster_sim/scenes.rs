//! States that chance alone hardly ever reaches, reached on purpose: some shards of a node are behind the others when a life
//! ends, its own or another's.

use wrs_core::pattern::Pattern;

use super::plan::{Aim, Forming};
use super::probes;
use super::state::Life;
use super::world::World;
use crate::sim::{MICRO, MILLI, SECOND};

/// Channels whose home is wanted on a certain shard: with so many, one has it there more often than not.
const CHANNELS: usize = 3;
/// Clients whose serial numbers are the same on two nodes.
const ALIKE: u64 = 8;
/// Clients in a queue beside which homes move, and clients that send to them.
const QUEUED: usize = 3;
const SENDERS: usize = 4;
/// Messages that are sent meanwhile, and how much time may lie between two.
const MARKS: usize = 400 * QUEUED;
const PACES: [u64; 3] = [80 * MICRO, 150 * MICRO, 300 * MICRO];
/// How long it is waited for.
const PATIENCE: u64 = 20 * SECOND;
/// Clients that may come and go to that end.
const ALIGNED_MAX: u64 = 150;

/// A node that was alone has clients on a channel when a newcomer comes, and the last of them leaves. Whoever is on that channel
/// at the newcomer then is alone, and is told so. False: this seed's cluster does not begin with one node, to which another comes
/// by hand.
///
/// # Errors
/// The first promise that was broken.
pub fn the_last_leaves_after_a_newcomer(seed: u64) -> Result<bool, String> {
    let mut world = World::new(seed, Aim::default());
    let plan = &world.state.plan;
    if plan.forming != Forming::ByHand || plan.nodes > 1 || plan.slots < 2 || !plan.memory {
        return Ok(false);
    }
    world.form();
    if let Some(at) = probes::create(&mut world, Pattern::ReqRepl, None, None)
        && let Some(number) = world.join(0, at, true, true, true)
        && probes::is_seated(&mut world, number)
    {
        world.start(1);
        world.become_whole(world.patience())?;
        world.state.say_goodbye(number);
        world.pass(SECOND);
        for shard in 0..world.state.nodes[1].desks.len() {
            probes::alone_at(&mut world, at, 1, shard);
        }
    }
    world.state.model.broken.map_or(Ok(true), Err)
}

impl World {
    /// The first shard of a node stands still until the node was counted out, while clients come to the others that nobody of
    /// that node has announced yet: what those say is heard in the next life, if it is heard at all.
    pub(super) fn head_hangs(&mut self) {
        let of: Vec<usize> =
            self.state.up().into_iter().filter(|slot| self.state.nodes[*slot].desks.len() > 1).collect();
        let Some(slot) = self.state.random.pick(&of).copied() else { return };
        let room = self.state.plan.config.channels_max > 100 && self.state.up().len() > 1;
        let wanted = if room { 3 + self.state.random.below(6) } else { 0 };
        let fresh: Vec<usize> =
            (0..wanted).filter_map(|_| probes::create(self, Pattern::ReqRepl, None, None)).collect();
        if self.is_broken() || fresh.is_empty() {
            return;
        }
        let out = self.state.plan.counted_out_after();
        let out_itself = self.state.plan.config.out_after().as_nanos() as u64;
        let span = out + *self.state.random.pick(&[100 * MILLI, out_itself]).unwrap_or(&0);
        self.trouble(&[slot]);
        self.state.say(|| format!("the head of node {slot} hangs for {} ms", span / MILLI));
        let until = self.state.now() + span;
        self.hang_until(slot, 0, until);
        let shards = self.state.nodes[slot].desks.len();
        for at in &fresh {
            let shard = 1 + self.state.random.below(shards as u64 - 1) as usize;
            if let Some(number) = self.connect_at(slot, shard, true) {
                self.ask_to_be_on(number, *at, true, true);
            }
        }
        self.pass(span + 100 * MILLI);
        if let Err(why) = self.become_whole(self.patience()) {
            return self.state.model.break_off(format!("the cluster does not heal after a head hung: {why}"));
        }
        self.pass(2 * SECOND + 2 * self.state.plan.config.election_timeout_max.as_nanos() as u64);
        for at in fresh {
            for shard in 0..shards {
                probes::alone_at(self, at, slot, shard);
            }
        }
    }

    /// A node comes, or comes back, so that homes move, while nobody comes to a queue or leaves it: each client there gets as much
    /// as the others. False: there is no such node.
    pub(super) fn homes_move_beside_a_queue(&mut self) -> bool {
        let never = (0..self.state.nodes.len()).find(|slot| self.state.nodes[*slot].life == Life::Never);
        let up = self.state.up();
        let goes = self.state.random.pick(&up).copied().filter(|_| self.can_spare_one() && up.len() > 2);
        let Some(comes) = never.or(goes).filter(|_| self.state.plan.config.channels_max > 100) else { return false };
        let pattern = if self.state.random.coin() { Pattern::PushPull } else { Pattern::FanInOut };
        let Some(at) = probes::create(self, pattern, None, None) else { return true };
        let others: Vec<usize> = up.into_iter().filter(|slot| *slot != comes).collect();
        let mut come = |pull| {
            let slot = *self.state.random.pick(&others)?;
            let number = self.join(slot, at, pull, true, true)?;
            probes::is_seated(self, number).then_some(number)
        };
        let queued: Vec<usize> = (0..QUEUED).filter_map(|_| come(true)).collect();
        let senders: Vec<usize> = (0..SENDERS).filter_map(|_| come(false)).collect();
        if queued.len() < QUEUED || senders.len() < SENDERS {
            return true;
        }
        self.state.say(|| format!("node {comes} comes beside a queue on channel {at}"));
        // It is a member, or knows that its life has ended, and will be live in a moment.
        if never.is_some() {
            let before = self.state.entered;
            self.start(comes);
            self.pass_until(PATIENCE, |world| world.state.entered > before);
        } else {
            let before = self.state.model.lives_over.len();
            self.open[comes] = false;
            self.pause_for(comes, self.state.plan.counted_out_after() + 200 * MILLI);
            self.pass_until(PATIENCE, |world| world.state.model.lives_over.len() > before);
        }
        let (pace, mut marks) = (self.state.random.pick(&PACES).copied().unwrap_or(MILLI), Vec::new());
        for sender in senders.iter().cycle().take(MARKS) {
            let mark = match pattern {
                Pattern::FanInOut => Some(self.state.send_request(*sender)),
                _ => probes::send_when_there_is_room(self, *sender),
            };
            marks.extend(mark);
            let pause = self.state.random.below(2 * pace);
            self.pass(pause);
        }
        if let Err(why) = self.become_whole(self.patience()) {
            self.state.model.break_off(format!("the cluster does not heal after a node has come: {why}"));
        }
        self.open[comes] = true;
        self.pass(2 * SECOND + 2 * self.state.plan.config.election_timeout_max.as_nanos() as u64);
        let whole =
            marks.len() == MARKS && queued.iter().chain(&senders).all(|n| self.state.model.clients[*n].is_there());
        let got = |number: &usize| {
            let got = |mark: &&usize| self.state.model.messages[**mark].got.iter().any(|(to, _)| to == number);
            marks.iter().filter(got).count()
        };
        let counts: Vec<usize> = queued.iter().map(got).collect();
        if whole && !self.is_broken() && counts.iter().any(|count| *count != marks.len() / QUEUED) {
            let what =
                format!("of {} messages on channel {at} while a node came {queued:?} got {counts:?}", marks.len());
            self.state.model.break_off(what);
        }
        true
    }

    /// A node is counted out while all shards of another but the first stand still: what they then decide for its clients, or
    /// answer them, is for nobody any more, though the other node has clients with the same numbers.
    pub(super) fn answers_come_late(&mut self) {
        let up = self.state.up();
        let behind = up.iter().copied().filter(|slot| self.state.nodes[*slot].desks.len() > 1).collect::<Vec<_>>();
        let Some(late) = self.state.random.pick(&behind).copied() else { return };
        let others: Vec<usize> = up.iter().copied().filter(|slot| *slot != late).collect();
        let Some(dies) = self.state.random.pick(&others).copied() else { return };
        if up.len() < 3 || self.state.plan.config.channels_max < 100 {
            return;
        }
        let Some(quiet) = probes::create(self, Pattern::PubSub, None, None) else { return };
        let of: Vec<usize> =
            (0..CHANNELS).filter_map(|_| probes::create(self, Pattern::FanInOut, None, None)).collect();
        let shards = self.state.nodes[late].desks.len();
        let gone: Vec<(usize, usize)> =
            of.iter().filter_map(|at| Some((*at, self.leaves(*at, late, shards)?))).collect();
        let Some(askers) = self.alike(quiet, late, &of, dies) else { return };
        let out = self.state.plan.counted_out_after();
        self.trouble(&[late, dies]);
        self.state.say(|| format!("node {dies} is cut off, and all of node {late} but its head is late"));
        let until = self.state.now() + out + 150 * MILLI;
        for shard in 1..shards {
            self.hang_until(late, shard, until);
        }
        for number in askers {
            let of_channel = |(at, _): &&(usize, usize)| self.state.model.clients[number].channel == Some(*at);
            // Behind a request it would wait for that one's turn.
            if let Some((_, left)) = gone.iter().find(of_channel).copied() {
                self.state.send_reply(number, left);
            }
            self.state.send_request(number);
        }
        self.pass(40 * MILLI);
        self.pause_for(dies, out + 400 * MILLI);
        self.pass(out + 500 * MILLI);
        if let Err(why) = self.become_whole(self.patience()) {
            return self.state.model.break_off(format!("the cluster does not heal after late answers: {why}"));
        }
        self.pass(2 * SECOND + 2 * self.state.plan.config.election_timeout_max.as_nanos() as u64);
    }

    /// A client comes to any shard of a node but the first, and leaves: only that shard knows, of what is said to it later.
    fn leaves(&mut self, at: usize, slot: usize, shards: usize) -> Option<usize> {
        let shard = 1 + self.state.random.below(shards as u64 - 1) as usize;
        let number = self.connect_at(slot, shard, true)?;
        self.ask_to_be_on(number, at, true, true);
        if !probes::is_seated(self, number) {
            return None;
        }
        self.state.say_goodbye(number);
        self.pass(20 * MILLI);
        Some(number)
    }

    /// Clients on the first shards of two nodes that have the same numbers there: those on the second node are on channels with
    /// nobody else in their queues, and are told.
    fn alike(&mut self, quiet: usize, first: usize, of: &[usize], second: usize) -> Option<Vec<usize>> {
        let (mut a, mut b) = (self.come_to(quiet, first)?, self.come_to(quiet, second)?);
        for _ in 0..ALIGNED_MAX {
            match a.0.cmp(&b.0) {
                std::cmp::Ordering::Equal => break,
                std::cmp::Ordering::Less => a = self.come_to(quiet, first)?,
                std::cmp::Ordering::Greater => b = self.come_to(quiet, second)?,
            }
            for number in [a.1, b.1] {
                if self.state.model.clients[number].lasts() && a.0 != b.0 {
                    self.state.say_goodbye(number);
                }
            }
        }
        let mut askers = Vec::new();
        for n in 0..ALIKE {
            self.come_to(quiet, first)?;
            let at = of.get(n as usize % of.len().max(1)).copied()?;
            askers.push(self.come_to(at, second)?.1);
        }
        (a.0 == b.0).then_some(askers)
    }

    /// A client that only sends comes to the first shard of a node: its serial number there, and its place in the model.
    fn come_to(&mut self, channel: usize, slot: usize) -> Option<(u64, usize)> {
        let number = self.connect_at(slot, 0, true)?;
        self.ask_to_be_on(number, channel, false, true);
        if !probes::is_seated(self, number) {
            return None;
        }
        let id = &self.state.model.clients[number].id;
        let serial = id.get(20..).and_then(|serial| u64::from_str_radix(serial, 16).ok())?;
        Some((serial, number))
    }
}

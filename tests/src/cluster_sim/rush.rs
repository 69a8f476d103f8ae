//! Many at once: clients that come, go and send on one channel at the moments that matter.
//!
//! What is hard is what crosses: a message under way when its home dies, a seat that is asked for while an epoch changes, a
//! client that leaves just then. At an even pace such things hardly ever meet. So with every fault, whenever a node's place
//! among the live ones changes, and when a dead node's lease is about to end, a rush begins on one channel.

use super::finish::reads_messages;
use super::state::{Event, State};
use super::world::World;
use crate::sim::{MICRO, MILLI};

/// How long a rush lasts at most, beside the lag of threads, in nanoseconds.
const SPAN: u64 = 8 * MILLI;
/// Between two acts, on an average.
const PACE: u64 = 200 * MICRO;
/// The same of one that waits for something.
const PACE_SLOW: u64 = 1_500 * MICRO;
/// Rushes of one run, and slow ones.
const RUSHES_MAX: u32 = 24;
/// Clients that come in rushes, beside the others.
const COMERS_MAX: usize = 12;

/// The present rush.
#[derive(Debug, Default)]
pub struct Rush {
    /// When it ends, in true time.
    until: u64,
    /// When a slow one ends.
    slow_until: u64,
    /// Whether somebody will act.
    runs: bool,
    /// How many there were.
    count: u32,
    /// There are no more.
    pub over: bool,
    /// Nobody leaves, so that nothing may be lost.
    pub nobody_leaves: bool,
    /// Whether few clients come and go on a channel, or many stay.
    thin: bool,
    /// The channel.
    pub focus: Option<usize>,
}

impl Rush {
    /// Another one may begin, on a channel of the caller's choice.
    pub fn anew(&mut self, focus: Option<usize>, nobody_leaves: bool) {
        *self = Rush { focus, nobody_leaves, runs: self.runs, ..Rush::default() };
    }
}

impl State {
    /// Something happens that many messages, comings and goings are to meet.
    pub fn rush(&mut self) {
        if !self.plan.aim.rush || self.rush.over || self.rush.count >= RUSHES_MAX {
            return;
        }
        let until = self.now() + self.random.below(SPAN + self.plan.aim.lag_us * MICRO / 4);
        self.rush.until = until.max(self.rush.until);
        self.begin_rush();
    }

    /// A node is cut off or has died: it will be counted out when its lease has ended.
    pub fn rush_at_the_end_of_a_lease(&mut self) {
        if !self.plan.aim.rush || self.rush.over {
            return;
        }
        let heartbeat = self.plan.config.heartbeat.as_nanos() as u64;
        let after = self.plan.counted_out_after();
        self.agenda.after(after.saturating_sub(heartbeat + 5 * MILLI), Event::Await(heartbeat + 60 * MILLI));
    }

    /// A slow rush for so long.
    pub(super) fn rush_slowly(&mut self, span: u64) {
        if self.plan.aim.rush && !self.rush.over && self.rush.count < RUSHES_MAX {
            self.rush.slow_until = self.rush.slow_until.max(self.now() + span);
            self.begin_rush();
        }
    }

    fn begin_rush(&mut self) {
        if std::mem::replace(&mut self.rush.runs, true) {
            return;
        }
        self.rush.count += 1;
        self.rush.thin = self.random.coin();
        if self.random.below(4) == 0 && !self.rush.nobody_leaves {
            self.rush.focus = None;
        }
        self.agenda.after(0, Event::Rush);
    }
}

/// Somebody does something, and the next act comes soon after, unless the rush is over.
pub fn act(world: &mut World) {
    let now = world.state.now();
    let rush = &mut world.state.rush;
    let (fast, slow) = (now <= rush.until, now <= rush.slow_until);
    if rush.over || !world.formed || !(fast || slow) {
        rush.runs = false;
        return;
    }
    let (thin, stay) = (rush.thin, rush.nobody_leaves);
    let next = 10 * MICRO + world.state.random.exponential(if fast { PACE } else { PACE_SLOW });
    world.state.agenda.after(next, Event::Rush);
    let Some(channel) = focus(world) else { return };
    let there: Vec<usize> = world.state.model.channels[channel]
        .clients
        .iter()
        .copied()
        .filter(|number| {
            let client = &world.state.model.clients[*number];
            client.is_there() && !client.done
        })
        .collect();
    let (comes, leaves) = if thin { (20, 20) } else { (20, 6) };
    match world.state.random.below(100) {
        n if n < comes => come(world, channel),
        n if n < comes + leaves && !there.is_empty() && !stay => {
            if let Some(number) = world.state.random.pick(&there).copied() {
                match world.state.random.coin() {
                    true => world.state.say_goodbye(number),
                    false => world.state.hang_up(number),
                }
            }
        }
        n => {
            let Some(number) = world.state.random.pick(&there).copied() else { return come(world, channel) };
            let pattern = world.state.model.channels[channel].pattern;
            let ever = &world.state.model.channels[channel].clients;
            // Somebody who may have gone long ago, or just now.
            let to = world.state.random.pick(ever).copied().filter(|_| n >= 85 && reads_messages(pattern));
            if let Some(to) = to {
                world.state.send_reply(number, to);
                return;
            }
            for _ in 0..1 + world.state.random.below(5) {
                if world.state.send_message(number).is_none() {
                    break;
                }
            }
        }
    }
}

/// The channel that rushes are on: one that needs a home rather than another.
fn focus(world: &mut World) -> Option<usize> {
    let channels = &world.state.model.channels;
    let stays = |at: &usize| channels[*at].gone.is_none() && channels[*at].timed_out.is_none();
    if world.state.rush.focus.filter(stays).is_none() {
        let all: Vec<usize> = (0..channels.len()).filter(stays).collect();
        let decided = |at: &usize| channels[*at].pattern.has_queue() || channels[*at].limit.is_some();
        let decided: Vec<usize> = all.iter().copied().filter(decided).collect();
        let of = if decided.is_empty() || world.state.random.coin() { all } else { decided };
        world.state.rush.focus = world.state.random.pick(&of).copied();
    }
    world.state.rush.focus
}

/// A client comes, wherever.
fn come(world: &mut World, channel: usize) {
    let places: Vec<usize> =
        (0..world.open.len()).filter(|slot| world.open[*slot] && world.state.is_up(*slot)).collect();
    let Some(slot) = world.state.random.pick(&places).copied() else { return };
    if world.members.len() >= world.state.plan.conns_max + COMERS_MAX {
        let clients = &world.state.model.clients;
        return world.members.retain(|number| clients[*number].lasts());
    }
    let (pull, echo) = (world.state.random.below(6) > 0, world.state.random.below(4) > 0);
    if let Some(number) = world.join(slot, channel, pull, echo, true) {
        world.members.push(number);
    }
}

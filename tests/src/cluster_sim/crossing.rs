//! When all is well again: one more change of the live nodes amid a rush, after which everything must be exact.
//!
//! While things go wrong all the time, much may be lost by right: who left, and whose node died, takes with it what was on its
//! way there. Here one thing happens, and where nobody leaves the channel of the rush, nothing may be lost on it.

use super::state::{Event, Life};
use super::world::World;
use crate::sim::{MILLI, SECOND};

impl World {
    /// A node comes, stands still or dies and comes back while clients of a channel on other nodes do a lot.
    pub(super) fn cross(&mut self) {
        if !self.state.plan.aim.rush || self.state.random.below(3) == 0 {
            return;
        }
        let now = self.state.now();
        self.state.model.settled.push(now);
        match self.state.random.below(12) {
            0 => return self.head_hangs(),
            1 | 2 => return self.answers_come_late(),
            3..7 if self.homes_move_beside_a_queue() => return,
            _ => {}
        }
        let up = self.state.up();
        let away = (0..self.state.nodes.len()).find(|slot| !self.state.is_up(*slot));
        let Some(victim) = self.state.random.pick(&up).copied() else { return };
        let channels = &self.state.model.channels;
        let apart = |at: &usize| {
            let is_there = |number: &usize| {
                let client = &self.state.model.clients[*number];
                client.is_there() && client.slot == victim
            };
            let channel = &channels[*at];
            channel.is_sure()
                && (channel.pattern.has_queue() || channel.limit.is_some())
                && !channel.clients.iter().any(is_there)
        };
        let of: Vec<usize> = (0..channels.len()).filter(apart).collect();
        let focus = self.state.random.pick(&of).copied();
        let stay = self.state.random.coin();
        self.state.rush.anew(focus, stay);
        let until_out = self.state.plan.counted_out_after();
        self.state.rush_slowly(20 * MILLI);
        self.pass(10 * MILLI);
        match (away, self.state.random.below(3)) {
            (Some(slot), 0 | 1) if self.state.nodes[slot].life == Life::Never || self.stays_away != Some(slot) => {
                self.state.say(|| format!("one more node comes: {slot}"));
                self.start(slot);
                self.state.rush_slowly(50 * MILLI);
            }
            (_, 0) if self.may_end(victim) && !self.one_too_many() => {
                self.open[victim] = false;
                self.trouble(&[victim]);
                self.stop(victim, false, false);
                let after = self.state.random.below(2 * until_out);
                self.state.agenda.after(after, Event::Start { slot: victim });
                self.state.rush_at_the_end_of_a_lease();
                self.pass(after + MILLI);
            }
            _ if up.len() > 1 => {
                self.open[victim] = false;
                let span = until_out + self.state.random.below(500 * MILLI);
                self.pause_for(victim, span);
                self.state.rush_at_the_end_of_a_lease();
                self.pass(until_out + 600 * MILLI);
            }
            _ => {}
        }
        if let Err(why) = self.become_whole(self.patience()) {
            return self.state.model.break_off(format!("the cluster does not heal after one change: {why}"));
        }
        self.open[victim] = true;
        self.state.rush.over = true;
        self.pass(2 * SECOND + 2 * self.state.plan.config.election_timeout_max.as_nanos() as u64);
    }
}

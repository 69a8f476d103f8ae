//! How a run begins and ends: the nodes form a cluster; and when everything has healed, everything must work.

use serde_json::Value;
use wrs_core::pattern::Pattern;

use super::model::Want;
use super::plan::{Forming, Plan};
use super::program;
use super::state::{Event, Life};
use super::world::World;
use crate::node_sim::wire::Response;
use crate::sim::{MILLI, SECOND};

/// What a node says of its cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Whom it takes for the leader.
    pub leader: String,
    /// The term.
    pub term: u64,
    /// The members' ids, in order.
    pub nodes: Vec<String>,
    /// Whether users may go there, as it says itself.
    pub ready: bool,
}

impl View {
    /// Reads the answer to `GET /cluster`.
    pub fn of(response: &Response) -> Option<View> {
        let all: Value = serde_json::from_slice(&response.body).ok()?;
        let data = all.get("data")?;
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut nodes: Vec<String> =
            data.get("nodes")?.as_array()?.iter().filter_map(|node| node.get("id").map(text)).collect();
        nodes.sort();
        let leader = data.get("leader").filter(|leader| !leader.is_null()).map(text).unwrap_or_default();
        let ready = data.get("ready").and_then(Value::as_bool).unwrap_or_default();
        Some(View { leader, term: data.get("term").and_then(Value::as_u64).unwrap_or_default(), nodes, ready })
    }
}

impl World {
    /// Lets so much time pass.
    pub fn pass(&mut self, span: u64) {
        let until = self.state.now() + span;
        while !self.is_broken() && self.state.agenda.next_at().is_some_and(|at| at <= until) {
            self.step();
        }
        // Time itself is moved by what happens in it.
        if !self.is_broken() && self.state.now() < until {
            self.state.agenda.at(until, Event::Unclog);
            while !self.is_broken() && self.state.now() < until && self.step() {}
        }
    }

    /// Lets time pass until `done` or for so long. Whether it is done.
    pub fn pass_until(&mut self, span: u64, mut done: impl FnMut(&World) -> bool) -> bool {
        let until = self.state.now() + span;
        while !self.is_broken() {
            if done(self) {
                return true;
            }
            if self.state.agenda.next_at().is_none_or(|at| at > until) || !self.step() {
                return done(self);
            }
        }
        false
    }

    /// Asks a node something and waits for the answer.
    pub fn ask_node(&mut self, slot: usize, method: &str, path: &str, want: Want) -> Option<Response> {
        let number = self.connect(slot, true)?;
        self.request(number, method, path, "", want);
        let at = number;
        self.pass_until(40 * SECOND, |world| {
            world.state.model.clients[at].answer.is_some() || !world.state.model.clients[at].lasts()
        });
        let answer = self.state.model.clients[number].answer.clone();
        if self.state.model.clients[number].lasts() {
            self.state.hang_up(number);
        }
        answer
    }

    /// What a node says of its cluster.
    pub fn view(&mut self, slot: usize) -> Option<View> {
        self.ask_node(slot, "GET", "/cluster", Want::Anything).as_ref().and_then(View::of)
    }

    /// Whether all nodes that run are ready, and of one mind.
    fn is_whole(&mut self) -> Result<(), String> {
        let up = self.state.up();
        let mut first: Option<(usize, View)> = None;
        for slot in up.clone() {
            let ready = self.ask_node(slot, "GET", "/readyz", Want::Anything).map(|answer| answer.status);
            if ready != Some(200) {
                return Err(format!("node {slot} is not ready ({ready:?})"));
            }
            // Nobody gives way to another cluster where the seeds are known, and nothing has gone wrong yet.
            if !self.formed && !matches!(self.state.plan.forming, Forming::Domain | Forming::ByHand) {
                self.knock_at_all_shards(slot);
            }
            let Some(view) = self.view(slot) else { return Err(format!("node {slot} does not tell its cluster")) };
            if view.leader.is_empty() {
                return Err(format!("node {slot} knows no leader"));
            }
            if view.nodes.len() < up.len() {
                return Err(format!("node {slot} knows {} nodes of {}", view.nodes.len(), up.len()));
            }
            match &first {
                None => first = Some((slot, view)),
                Some((_, other)) if *other == view => {}
                Some((at, other)) => return Err(format!("node {at} says {other:?}, node {slot} {view:?}")),
            }
        }
        Ok(())
    }

    /// Who says that it is ready serves, whichever of its shards is asked.
    fn knock_at_all_shards(&mut self, slot: usize) {
        let asked: Vec<usize> =
            (0..self.state.nodes[slot].desks.len()).filter_map(|shard| self.connect_at(slot, shard, true)).collect();
        for number in &asked {
            self.request(*number, "GET", "/channels?limit=1", "", Want::Anything);
        }
        for (shard, number) in asked.into_iter().enumerate() {
            self.pass_until(5 * SECOND, |world| world.state.model.clients[number].answer.is_some());
            let status = self.state.model.clients[number].answer.as_ref().map(|answer| answer.status);
            if status != Some(200) && !self.is_broken() {
                let why = format!("node {slot} is ready, and its shard {shard} answers {status:?}");
                self.state.model.break_off(why);
            }
            self.state.hang_up(number);
        }
    }

    /// Waits until all nodes are of one mind.
    pub(super) fn become_whole(&mut self, within: u64) -> Result<(), String> {
        let until = self.state.now() + within;
        loop {
            let told = self.is_whole();
            if told.is_ok() || self.is_broken() {
                return told;
            }
            if self.state.now() > until {
                return told.map_err(|why| format!("after {} s: {why}", within / SECOND));
            }
            if self.state.plan.forming == Forming::ByHand {
                self.join_by_hand();
            }
            self.pass(300 * MILLI);
        }
    }

    /// An operator tells nodes that stand alone to join one that does not, or the first.
    pub fn join_by_hand(&mut self) {
        let up = self.state.up();
        let mut sizes = Vec::new();
        for slot in up {
            sizes.push((self.view(slot).map_or(0, |view| view.nodes.len()), slot));
        }
        // Where everybody stands alone again, who has channels does not leave them.
        let apart = self.formed && sizes.iter().all(|(size, _)| *size <= 1);
        let holder = sizes.iter().map(|(_, slot)| *slot).find(|slot| apart && self.has_channels(*slot));
        let largest = sizes.iter().copied().max_by_key(|(size, slot)| (*size, usize::MAX - slot));
        let Some(first) = holder.or(largest.map(|(_, slot)| slot)) else { return };
        for (size, slot) in sizes {
            if slot != first && size <= 1 {
                self.ask_to_join(slot, first);
            }
        }
    }

    fn has_channels(&mut self, slot: usize) -> bool {
        let list = self.ask_node(slot, "GET", "/channels?limit=1", Want::Anything);
        list.is_some_and(|answer| answer.status == 200 && answer.body.windows(5).any(|part| part == b"\"id\":"))
    }

    fn ask_to_join(&mut self, slot: usize, first: usize) {
        if let Some(number) = self.connect(slot, true) {
            let path = format!("/cluster/join/{}", Plan::address(first));
            self.request(number, "POST", &path, "", Want::Anything);
        }
    }

    /// Starts the nodes and waits until they are one cluster.
    pub fn form(&mut self) {
        let bound = 30 * SECOND + 10 * self.state.plan.config.election_timeout_max.as_nanos() as u64;
        // Nodes that look for each other at once may be clusters of several by the time that they meet. These become one by and
        // by, as each has to ask until the load balancer shows it the other.
        let domain = self.state.plan.forming == Forming::Domain;
        let at_once = domain && self.state.random.coin();
        let bound = if domain { 4 * bound } else { bound };
        for slot in 0..self.state.plan.nodes {
            let after = self.state.random.below(300 * MILLI);
            self.state.agenda.after(after, Event::Start { slot });
            if domain && !at_once {
                self.pass(310 * MILLI);
                if let Err(why) = self.become_whole(bound) {
                    return self.state.model.break_off(format!("node {slot} finds no cluster: {why}"));
                }
            }
        }
        self.pass(310 * MILLI);
        if let Err(why) = self.become_whole(bound) {
            self.state.model.break_off(format!("no cluster is formed: {why}"));
        }
        self.formed = true;
        for slot in 0..self.state.plan.nodes {
            (self.open[slot], self.belongs[slot]) = (true, true);
        }
    }

    /// Looks at a node that has come: whether users may go there.
    pub fn look_at(&mut self, slot: usize, run: u64) {
        if !self.state.is_up(slot) || self.state.nodes[slot].run != run || self.open[slot] || self.quiet {
            return;
        }
        let seeds = matches!(self.state.plan.forming, Forming::Seeds | Forming::Dns);
        if seeds || !self.state.plan.memory && self.belongs[slot] {
            self.open[slot] = true;
            return;
        }
        self.state.agenda.after(700 * MILLI, Event::Look { slot, run });
        if self.state.nodes[slot].paused.is_some() {
            return;
        }
        // What was asked at the last look.
        let asked = self.looks[slot].take();
        let view = asked.and_then(|number| self.state.model.clients[number].answer.as_ref().and_then(View::of));
        // A member that is not ready may have a shard that has not heard of it, and answers for the cluster that the node has left.
        let found = view.as_ref().is_some_and(|view| view.nodes.len() > 1);
        if view.is_some_and(|view| found && view.ready) || self.state.up().len() == 1 {
            (self.open[slot], self.belongs[slot]) = (true, true);
            return;
        }
        if !found
            && self.state.plan.forming == Forming::ByHand
            && let Some(first) = (0..self.open.len()).find(|other| self.open[*other] && *other != slot)
        {
            self.ask_to_join(slot, first);
        }
        if let Some(number) = self.connect(slot, true) {
            self.request(number, "GET", "/cluster", "", Want::Anything);
            self.looks[slot] = Some(number);
        }
    }

    /// Nothing goes wrong any more, and all nodes come back but for some dead ones that nobody needs.
    pub fn heal(&mut self) {
        self.quiet = true;
        let now = self.state.now();
        self.state.say(|| "everything heals".to_owned());
        self.state.network.mend();
        self.state.release();
        self.state.refuse_until = 0;
        for slot in 0..self.state.nodes.len() {
            if self.state.nodes[slot].paused.is_some() {
                self.state.nodes[slot].paused = Some(now);
                let run = self.state.nodes[slot].run;
                self.state.agenda.at(now, Event::Resume { slot, run });
            }
        }
        // What hangs in a stalled link comes first, and what follows it waits: until then it does not carry.
        self.pass(self.state.network.newest_arrival().saturating_sub(now));
        let timeout = self.state.plan.config.drain_timeout.as_nanos() as u64 + 4 * SECOND;
        let stopped = |world: &World| {
            world.state.nodes.iter().all(|node| node.life != Life::Up || !node.draining || world.has_room(node))
        };
        if !self.pass_until(timeout, stopped) && !self.is_broken() {
            let slow: Vec<usize> =
                self.state.up().into_iter().filter(|slot| self.state.nodes[*slot].draining).collect();
            self.state.model.break_off(format!("nodes {slow:?} do not stop in time"));
        }
        let hangs = self.state.nodes.iter().flat_map(|node| &node.desks).map(|desk| desk.late_until).max().unwrap_or(0);
        self.pass(hangs.saturating_sub(self.state.now()));
        let spare = self.state.plan.memory && !self.state.model.loss && self.state.random.below(3) == 0;
        let known = self.state.nodes.iter().filter(|node| node.life != Life::Never).count();
        let mut may_stay = spare && known >= 3;
        if self.state.plan.forming == Forming::Domain {
            drop(self.become_whole(self.patience() / 3));
        }
        // Who has found nobody yet comes last: a node that is back could join it as well as the others, and two clusters of
        // several nodes do not join each other.
        let lone = self.seekers();
        lone.iter().for_each(|slot| self.stop(*slot, false, false));
        let known = (0..self.state.nodes.len()).filter(|slot| !lone.contains(slot));
        for slot in known.chain(lone.iter().copied()) {
            if let Some(directory) = &mut self.state.nodes[slot].directory {
                directory.full = false;
            }
            self.state.nodes[slot].draining &= self.state.is_up(slot) && self.state.nodes[slot].failed.is_some();
            if self.state.nodes[slot].life == Life::Down {
                if std::mem::take(&mut may_stay) {
                    self.stays_away = Some(slot);
                    continue;
                }
                self.start(slot);
                if self.state.plan.forming == Forming::Domain {
                    // Whether it has found the others is asked again when all are there.
                    drop(self.become_whole(self.patience() / 3));
                }
            }
        }
    }

    /// Nodes that look for a cluster behind the load balancer and are in none with others.
    fn seekers(&mut self) -> Vec<usize> {
        if self.state.plan.forming != Forming::Domain {
            return Vec::new();
        }
        let mut up = self.state.up();
        up.retain(|slot| {
            let node = &self.state.nodes[*slot];
            let seeks = !self.open[*slot] && !node.draining && node.failed.is_none();
            seeks && self.view(*slot).is_some_and(|view| view.nodes.len() <= 1)
        });
        up
    }

    /// How long it may take until everybody agrees.
    pub(super) fn patience(&self) -> u64 {
        40 * SECOND + 15 * self.state.plan.config.election_timeout_max.as_nanos() as u64
    }

    /// A node whose disk is full has not noticed it, as it stores nothing.
    fn has_room(&self, node: &super::state::Node) -> bool {
        node.directory.as_ref().is_some_and(|directory| directory.full) && node.failed.is_none()
    }

    /// After everything has healed: the promises that a whole cluster keeps.
    pub fn prove(&mut self) {
        if let Err(why) = self.become_whole(self.patience()) {
            return self.state.model.break_off(format!("the cluster does not heal: {why}"));
        }
        for slot in self.state.up() {
            (self.open[slot], self.belongs[slot]) = (true, true);
        }
        self.state.rush.over = true;
        // What was under way comes to its end: lives that linger, asks that were held, slow readers.
        self.pass(3 * SECOND + 3 * self.state.plan.config.election_timeout_max.as_nanos() as u64);
        let slow = self.state.model.clients.iter().any(|client| client.lasts() && !client.prompt);
        for client in &mut self.state.model.clients {
            client.prompt = true;
            self.state.wires[client.wire].pipes[1].window = program::WINDOW_PROMPT;
        }
        self.pass(if slow { 6 * SECOND } else { SECOND });
        self.cross();
        self.state.model.settled.push(self.state.now());
        self.state.model.calm = Some(self.state.now());
        let checks = [
            World::check_catalogues,
            World::check_answers,
            World::check_counts,
            super::probes::all,
            World::check_times,
            World::check_lives,
        ];
        for check in checks {
            if self.is_broken() {
                return;
            }
            check(self);
        }
    }

    /// The ids of the channels that a node lists.
    pub fn list(&mut self, slot: usize) -> Option<Vec<String>> {
        let Some(answer) = self.ask_node(slot, "GET", "/channels", Want::List) else {
            self.state.model.break_off(format!("node {slot} does not list its channels"));
            return None;
        };
        if answer.status != 200 {
            self.state.model.break_off(format!("node {slot} does not list its channels: {}", answer.status));
            return None;
        }
        let Ok(all) = serde_json::from_slice::<Value>(&answer.body) else {
            self.state.model.break_off(format!("node {slot} lists {}", answer.body.escape_ascii()));
            return None;
        };
        let list = all.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
        Some(list.iter().filter_map(|channel| Some(channel.get("id")?.as_str()?.to_owned())).collect())
    }

    /// Every node has the same channels: all that are sure, none that is gone.
    fn check_catalogues(&mut self) {
        let mut first: Option<Vec<String>> = None;
        for slot in self.state.up() {
            let Some(ids) = self.list(slot) else { return };
            for (at, channel) in self.state.model.channels.iter().enumerate() {
                let there = ids.contains(&channel.id);
                if channel.is_sure() && !there {
                    return self.state.model.break_off(format!("channel {at} is lost on node {slot}"));
                }
                if there && channel.gone.is_some() && !channel.vague {
                    return self.state.model.break_off(format!("channel {at} is back on node {slot}"));
                }
            }
            let known = |id: &&String| !self.state.model.channels.iter().any(|channel| channel.id == **id);
            let strangers = ids.iter().filter(known).count() as u64;
            if strangers > self.state.model.unknown_creations() && !self.state.model.loss {
                return self.state.model.break_off(format!("node {slot} has {strangers} channels that nobody made"));
            }
            let mortal = |id: &String| self.state.model.channels.iter().any(|c| c.id == *id && c.is_mortal());
            let lasting: Vec<String> = ids.iter().filter(|id| !mortal(id)).cloned().collect();
            match &first {
                None => first = Some(lasting),
                Some(other) if *other == lasting => {}
                Some(other) => {
                    let what = format!("node {slot} has the channels {lasting:?}, another {other:?}");
                    return self.state.model.break_off(what);
                }
            }
        }
        let gone = self.state.model.channels.iter().filter(|c| c.gone.is_some() && !c.vague).map(|c| c.id.clone());
        let gone: std::collections::BTreeSet<String> = gone.collect();
        let back = first.unwrap_or_default().into_iter().find(|id| gone.contains(id));
        if let Some(id) = back {
            self.state.model.break_off(format!("{id} is back"));
        }
    }

    /// Whoever asked has been answered, or its connection has ended.
    fn check_answers(&mut self) {
        let waits =
            |client: &super::model::Client| client.lasts() && client.asked.iter().any(|asked| asked.since.is_some());
        if let Some(number) = self.state.model.clients.iter().position(waits) {
            let client = &self.state.model.clients[number];
            let what = format!("conn {number} at node {} still has no answer to {:?}", client.slot, client.asked);
            self.state.model.break_off(what);
        }
    }

    /// Nothing is left of channels whose time was over long ago.
    fn check_times(&mut self) {
        let patience = 5 * SECOND + 2 * self.state.plan.config.election_timeout_max.as_nanos() as u64;
        let started = self.state.nodes.iter().map(|node| node.started).max().unwrap_or(0);
        let (now, since) = (self.state.now(), self.state.trouble.max(started));
        let is_over = |channel: &super::model::Channel| {
            let idle = now.saturating_sub(channel.active.max(channel.made.time).max(since) + patience) / MILLI;
            channel.is_mortal() && channel.timeout.is_some_and(|timeout| timeout < idle)
        };
        let over: Vec<usize> =
            (0..self.state.model.channels.len()).filter(|at| is_over(&self.state.model.channels[*at])).collect();
        if over.is_empty() {
            return;
        }
        for slot in self.state.up() {
            let Some(ids) = self.list(slot) else { return };
            if let Some(at) = over.iter().find(|at| ids.contains(&self.state.model.channels[**at].id)) {
                return self.state.model.break_off(format!("channel {at} should have timed out on node {slot}"));
            }
        }
    }

    /// What nodes say of a channel is exact.
    fn check_counts(&mut self) {
        for at in 0..self.state.model.channels.len() {
            let channel = &self.state.model.channels[at];
            if !channel.is_sure() {
                continue;
            }
            let id = channel.id.clone();
            for slot in self.state.up() {
                let clients = self.state.model.there(at) as i64;
                let answer = self.ask_node(slot, "GET", &format!("/channels/{id}"), Want::Get(at));
                let told = answer.as_ref().and_then(|answer| answer.number("clients"));
                if told != Some(clients) && !self.is_broken() {
                    let what = format!("channel {at} has {told:?} clients as node {slot} says, not {clients}");
                    return self.state.model.break_off(what);
                }
            }
        }
    }

    /// All clients of a node are of its present life: those of an earlier one were closed.
    fn check_lives(&mut self) {
        for slot in self.state.up() {
            let lives: std::collections::BTreeSet<&str> = self
                .state
                .model
                .clients
                .iter()
                .filter(|client| client.slot == slot && client.is_there())
                .filter_map(|client| client.id.get(..16))
                .collect();
            if lives.len() > 1 {
                let what = format!("node {slot} has clients of several lives: {lives:?}");
                return self.state.model.break_off(what);
            }
        }
    }
}

/// A pattern that reads messages.
pub fn reads_messages(pattern: Pattern) -> bool {
    matches!(pattern, Pattern::ReqRepl | Pattern::FanInOut)
}

//! What a whole cluster must do, tried out: every pattern across all nodes, exact turns, exact limits, deletion and time.

use std::collections::BTreeMap;

use wrs_core::pattern::Pattern;

use super::model::{Want, Why};
use super::world::World;
use crate::sim::{MILLI, SECOND};

/// How often a program that has much under way tries to send more.
const ROOM_TRIES: usize = 200;

/// All of it.
pub fn all(world: &mut World) {
    let old: Vec<usize> = (0..world.state.model.channels.len()).collect();
    for at in old {
        if world.is_broken() {
            return;
        }
        if world.state.model.channels[at].is_sure() {
            alone(world, at);
            old_channel(world, at);
        }
    }
    let short = world.state.plan.short;
    for pattern in Pattern::ALL {
        if world.is_broken() {
            return;
        }
        if !short || world.state.random.below(3) == 0 {
            new_channel(world, pattern);
        }
    }
    if !world.is_broken() && (!short || world.state.random.below(4) == 0) {
        time(world);
    }
}

/// Some node.
fn somewhere(world: &mut World) -> usize {
    let up = world.state.up();
    world.state.random.pick(&up).copied().unwrap_or(0)
}

/// Somebody joins, and is told at once.
fn seat(world: &mut World, slot: usize, at: usize, pull: bool) -> Option<usize> {
    let number = world.join(slot, at, pull, true, true)?;
    is_seated(world, number).then_some(number)
}

/// Whether a client that asked has its seat.
pub(super) fn is_seated(world: &mut World, number: usize) -> bool {
    world.pass_until(30 * SECOND, |world| world.state.model.clients[number].answer.is_some());
    let client = &world.state.model.clients[number];
    match client.answer.as_ref().map(|answer| answer.status) {
        Some(101) => true,
        Some(429) => false,
        other => {
            let what = format!("a probe on channel {:?} at node {} got {other:?}", client.channel, client.slot);
            world.state.model.break_off(what);
            false
        }
    }
}

fn leave(world: &mut World, number: usize) {
    if world.state.model.clients[number].lasts() {
        world.state.say_goodbye(number);
    }
}

/// A channel that has seen everything still has its seats and its turns.
fn old_channel(world: &mut World, at: usize) {
    let slot = somewhere(world);
    let full = |world: &World| {
        let channel = &world.state.model.channels[at];
        channel.limit.is_some_and(|limit| world.state.model.there(at) as u64 >= limit)
    };
    let is_full = full(world);
    let Some(number) = seat(world, slot, at, false) else {
        if !is_full && !world.is_broken() {
            let there = world.state.model.there(at);
            let what =
                format!("channel {at} has {there} clients of {:?}, and is full", world.state.model.channels[at].limit);
            world.state.model.break_off(what);
        }
        return;
    };
    if is_full {
        return world.state.model.break_off(format!("channel {at} was full, and conn {number} got a seat"));
    }
    turns(world, at, number);
    leave(world, number);
    world.pass(100 * MILLI);
}

/// Who is alone with a request is told so, wherever it is.
fn alone(world: &mut World, at: usize) {
    let slot = somewhere(world);
    let shard = world.state.random.below(world.state.nodes[slot].desks.len() as u64) as usize;
    alone_at(world, at, slot, shard);
}

/// The same at a shard of a node.
pub(super) fn alone_at(world: &mut World, at: usize, slot: usize, shard: usize) {
    let pattern = world.state.model.channels[at].pattern;
    if !super::finish::reads_messages(pattern) || world.state.model.there(at) > 0 || world.is_broken() {
        return;
    }
    let Some(number) = world.connect_at(slot, shard, true) else { return };
    world.ask_to_be_on(number, at, true, true);
    if !is_seated(world, number) {
        return;
    }
    let before = world.state.model.clients[number].errors[1];
    world.state.send_request(number);
    world.pass_until(2 * SECOND, |world| world.state.model.clients[number].errors[1] > before);
    let told = world.state.model.clients[number].errors[1] - before;
    if told != 1 && !world.is_broken() {
        return world
            .state
            .model
            .break_off(format!("conn {number} is alone on channel {at}, and was told so {told} times"));
    }
    leave(world, number);
    world.pass(100 * MILLI);
}

/// Each of n queued clients is given exactly k of k·n messages, in the same order again and again.
fn turns(world: &mut World, at: usize, sender: usize) {
    const ROUNDS: usize = 3;
    let pattern = world.state.model.channels[at].pattern;
    let queued: Vec<usize> = world.state.model.channels[at]
        .clients
        .iter()
        .copied()
        .filter(|number| world.state.model.clients[*number].is_there() && world.state.model.clients[*number].pull)
        .collect();
    if !pattern.has_queue() || queued.is_empty() {
        return;
    }
    let mut marks = Vec::new();
    for _ in 0..ROUNDS * queued.len() {
        let mark = match pattern {
            Pattern::FanInOut => Some(world.state.send_request(sender)),
            _ => send_when_there_is_room(world, sender),
        };
        marks.extend(mark);
        let pause = world.state.random.below(3 * MILLI);
        world.pass(pause);
    }
    let all = marks.clone();
    world.pass_until(2 * SECOND, |world| all.iter().all(|mark| !world.state.model.messages[*mark].got.is_empty()));
    world.pass(30 * MILLI);
    let mut order = Vec::new();
    let mut counts: BTreeMap<usize, usize> = queued.iter().map(|number| (*number, 0)).collect();
    for mark in &marks {
        for (receiver, _) in &world.state.model.messages[*mark].got {
            *counts.entry(*receiver).or_default() += 1;
            order.push(*receiver);
        }
    }
    let lasting = queued.iter().all(|number| world.state.model.clients[*number].is_there());
    let exact = counts.values().all(|count| *count == marks.len() / queued.len());
    let n = queued.len();
    let round = order.windows(n + 1).all(|window| window[0] == window[n]);
    if lasting && !(exact && round) && !world.is_broken() {
        world.state.model.break_off(format!("channel {at}: the turns of {queued:?} were {order:?}"));
    }
}

/// Sends a message, once what has piled up on its way is fewer bytes than a program leaves there.
pub fn send_when_there_is_room(world: &mut World, sender: usize) -> Option<usize> {
    for _ in 0..ROOM_TRIES {
        let mark = world.state.send_message(sender);
        if mark.is_some() || world.is_broken() {
            return mark;
        }
        world.pass(10 * MILLI);
    }
    None
}

/// Deletes channels if there are as many as may be, or more: nodes check that by themselves. Whether there is room.
fn make_room(world: &mut World, slot: usize) -> bool {
    let most = world.state.plan.config.channels_max;
    if most > 100 {
        return true;
    }
    let Some(ids) = world.list(slot) else { return true };
    let channels = &world.state.model.channels;
    let known: Vec<usize> =
        (0..channels.len()).filter(|at| channels[*at].is_sure() && ids.contains(&channels[*at].id)).collect();
    let excess = (ids.len() as u64 + 1).saturating_sub(most) as usize;
    if known.len() < excess {
        return false;
    }
    for at in known.into_iter().take(excess) {
        let path = format!("/channels/{}", world.state.model.channels[at].id);
        let status = world.ask_node(slot, "DELETE", &path, Want::Delete(at)).map(|answer| answer.status);
        if status != Some(200) && !world.is_broken() {
            world.state.model.break_off(format!("node {slot} does not delete channel {at}: {status:?}"));
        }
    }
    true
}

/// Creates a channel, wherever.
pub(super) fn create(world: &mut World, pattern: Pattern, limit: Option<u64>, timeout: Option<u64>) -> Option<usize> {
    let slot = somewhere(world);
    if !make_room(world, slot) {
        return None;
    }
    let number = world.connect(slot, true)?;
    world.create(number, pattern, limit, timeout);
    let before = world.state.model.channels.len();
    world.pass_until(30 * SECOND, |world| world.state.model.clients[number].answer.is_some());
    let status = world.state.model.clients[number].answer.as_ref().map(|answer| answer.status);
    world.state.hang_up(number);
    if world.state.model.channels.len() == before {
        if !world.is_broken() {
            world.state.model.break_off(format!("node {slot} does not create a channel: {status:?}"));
        }
        return None;
    }
    Some(before)
}

/// A new channel with a client on each node: everybody hears everybody, as the pattern has it.
fn new_channel(world: &mut World, pattern: Pattern) {
    let up = world.state.up();
    let limit = up.len() as u64 + 1;
    let Some(at) = create(world, pattern, Some(limit), None) else { return };
    let racing: Vec<usize> = (0..up.len() + 3)
        .filter_map(|n| {
            let slot = up[n % up.len()];
            world.join(slot, at, n >= up.len(), true, true)
        })
        .collect();
    let waiting = racing.clone();
    world.pass_until(30 * SECOND, |world| {
        waiting.iter().all(|number| world.state.model.clients[*number].answer.is_some())
    });
    let statuses: Vec<Option<u16>> =
        racing.iter().map(|number| world.state.model.clients[*number].answer.as_ref().map(|a| a.status)).collect();
    let seated: Vec<usize> =
        racing.into_iter().filter(|number| world.state.model.clients[*number].is_there()).collect();
    if seated.len() as u64 != limit {
        if !world.is_broken() {
            world.state.model.break_off(format!("channel {at} of limit {limit} gave {statuses:?}"));
        }
        return;
    }
    let mut marks = Vec::new();
    for number in &seated {
        for _ in 0..3 {
            let mark = match pattern {
                Pattern::ReqRepl | Pattern::FanInOut => Some(world.state.send_request(*number)),
                Pattern::Echo | Pattern::PubSub | Pattern::PushPull => world.state.send_message(*number),
            };
            marks.extend(mark);
            let pause = world.state.random.below(MILLI);
            world.pass(pause);
        }
    }
    arrive(world, &marks, pattern, &seated);
    if super::finish::reads_messages(pattern) {
        for mark in marks.clone() {
            for (receiver, _) in world.state.model.messages[mark].got.clone() {
                let origin = world.state.model.messages[mark].sender;
                marks.push(world.state.send_reply(receiver, origin));
            }
        }
        arrive(world, &marks, pattern, &seated);
    }
    for mark in marks {
        let expected = expected(world, mark, pattern, &seated);
        let message = &world.state.model.messages[mark];
        if message.got.len() != expected && !world.is_broken() {
            let what =
                format!("message {mark} on the new {pattern:?} channel {at} got to {:?}, not {expected}", message.got);
            return world.state.model.break_off(what);
        }
    }
    if world.state.random.coin() {
        delete(world, at, &seated);
    } else {
        seated.into_iter().for_each(|number| leave(world, number));
        world.pass(300 * MILLI);
    }
}

/// How many of the seated get a message.
fn expected(world: &World, mark: usize, pattern: Pattern, seated: &[usize]) -> usize {
    let message = &world.state.model.messages[mark];
    let others = seated.len() - 1;
    let pulling = seated.iter().filter(|number| world.state.model.clients[**number].pull);
    let pulling = pulling.filter(|number| **number != message.sender).count();
    match (pattern, message.verb) {
        (Pattern::PubSub, _) => others + 1,
        (Pattern::ReqRepl, super::model::Verb::Request) => others,
        (Pattern::FanInOut, super::model::Verb::Request) => usize::from(pulling > 0),
        _ => 1,
    }
}

/// Waits until everything is where it belongs, and a little more for what does not.
fn arrive(world: &mut World, marks: &[usize], pattern: Pattern, seated: &[usize]) {
    world.pass_until(2 * SECOND, |world| {
        let there =
            |mark: &usize| world.state.model.messages[*mark].got.len() >= expected(world, *mark, pattern, seated);
        marks.iter().all(there)
    });
    world.pass(30 * MILLI);
}

/// A channel that is deleted is gone everywhere, and its clients are told.
fn delete(world: &mut World, at: usize, seated: &[usize]) {
    let (slot, id) = (somewhere(world), world.state.model.channels[at].id.clone());
    let path = format!("/channels/{id}");
    let status = world.ask_node(slot, "DELETE", &path, Want::Delete(at)).map(|answer| answer.status);
    if status != Some(200) && !world.is_broken() {
        return world.state.model.break_off(format!("node {slot} does not delete channel {at}: {status:?}"));
    }
    for slot in world.state.up() {
        let status = world.ask_node(slot, "GET", &path, Want::Get(at)).map(|answer| answer.status);
        if status != Some(404) && !world.is_broken() {
            return world.state.model.break_off(format!("node {slot} has channel {at} still: {status:?}"));
        }
    }
    world.pass(SECOND);
    for number in seated {
        let ended = world.state.model.clients[*number].ended.map(|(_, why)| why);
        if ended != Some(Why::Closed(4404)) && !world.is_broken() {
            return world.state.model.break_off(format!("conn {number} on deleted channel {at}: {ended:?}"));
        }
    }
}

/// A channel that nobody uses ends when its time is over, and one that is used does not.
fn time(world: &mut World) {
    let Some(at) = create(world, Pattern::PubSub, None, Some(1_500)) else { return };
    let slot = somewhere(world);
    let Some(number) = seat(world, slot, at, true) else { return };
    for _ in 0..4 {
        world.pass(800 * MILLI);
        world.state.send_message(number);
    }
    world.pass(100 * MILLI);
    if !world.state.model.clients[number].is_there() && !world.is_broken() {
        return world.state.model.break_off(format!("channel {at} was used and timed out"));
    }
    world.pass(2_600 * MILLI);
    let ended = world.state.model.clients[number].ended.map(|(_, why)| why);
    if ended != Some(Why::Closed(4408)) && !world.is_broken() {
        world.state.model.break_off(format!("channel {at} should have timed out: {ended:?}"));
    }
}

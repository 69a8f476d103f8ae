//! One node, many shards, hostile clients: a deterministic simulation.
//!
//! Real [`Shard`](wrs_core::shard::Shard)s run in virtual time with simulated sockets and queues between them; chance
//! from one seed decides who does what and when. A model of the contract's promises stands beside them and is asked at
//! every step. A seed replays a run to the byte.
//!
//! | file | what it is |
//! |---|---|
//! | `plan` | what a seed decides beforehand |
//! | `wire` | the clients' side of HTTP and WebSocket, by its own hand |
//! | `socket` | bytes on the way, with windows, cuts and resets |
//! | `program` | who is at the other ends |
//! | `contract`, `settle` | the promises: at every step, and at rest |
//! | `state`, `world` | connections, queues and hands; time, turns and rests |

// A simulator that is wrong must stop at once: a panic here is a finding and no harm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod contract;
pub mod plan;
pub mod program;
pub mod settle;
pub mod socket;
pub mod state;
pub mod wire;
pub mod world;

use std::collections::BTreeMap;
use std::net::IpAddr;

use contract::Want;
use program::Program;
use state::Reading;
use world::World;

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Inputs that shards were given.
    pub events: u64,
    /// Messages queued on receivers.
    pub given: u64,
    /// Connections.
    pub conns: usize,
    /// Channels.
    pub channels: usize,
    /// Close codes that the node sent, and how often.
    pub codes: BTreeMap<u16, u64>,
    /// Of everything that happened.
    pub digest: u64,
}

/// Runs one seed.
///
/// # Errors
/// The first promise that was broken, and what is needed to see it again.
pub fn run(seed: u64) -> Result<Report, String> {
    let mut world = World::new(seed);
    let (rounds, steps) = (world.state.plan.rounds, world.state.plan.steps);
    for _ in 0..rounds {
        for _ in 0..steps {
            world.step();
            if world.is_broken() {
                break;
            }
        }
        world.rest();
        world.check();
        if !world.is_broken() {
            probe(&mut world);
        }
        if world.is_broken() {
            break;
        }
    }
    if !world.is_broken() && seed.is_multiple_of(2) {
        world.long_silence();
        world.check();
    }
    if !world.is_broken() {
        world.drain();
    }
    let state = &world.state;
    match &state.contract.broken {
        Some(broken) => Err(format!("seed {seed} at {:?}, event {}: {broken}", state.now, state.contract.tick)),
        None => Ok(Report {
            events: state.contract.tick,
            given: state.contract.given,
            conns: state.conns.len(),
            channels: state.contract.channels.len(),
            codes: state.contract.codes.clone(),
            digest: state.digest.0,
        }),
    }
}

/// At rest, asks some shards about the channels: what they say must be exact.
fn probe(world: &mut World) {
    for at in 0..world.state.contract.channels.len() {
        if world.state.contract.channels[at].gone || world.state.random.below(3) > 0 || world.is_broken() {
            continue;
        }
        let shard = world.state.random.below(world.shards() as u64) as usize;
        let from = IpAddr::from([10, 0, 0, 99]);
        let number = world.open(shard, from, 65_536, Reading::Prompt, Program::probe());
        let id = world.state.contract.channels[at].id.clone();
        let request = format!("GET /channels/{id} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        world.state.program_sends(number, request.as_bytes());
        world.state.program_asks(number, Want::Get(at));
        world.rest();
        let Some(answer) = world.state.conns[number].program.answer().cloned() else {
            return world.state.contract.break_off(format!("a probe of channel {id} on shard {shard} got no answer"));
        };
        if let Err(why) = check_probe(world, at, &answer) {
            return world.state.contract.break_off(format!("channel {id} as shard {shard} sees it: {why}"));
        }
        if world.state.random.below(2) == 0 {
            probe_seat(world, at, shard);
        } else if world.state.contract.channels[at].pattern.has_queue() {
            probe_turns(world, at, shard);
        }
    }
}

fn check_probe(world: &World, at: usize, answer: &wire::Response) -> Result<(), String> {
    let (contract, now) = (&world.state.contract, world.state.now);
    let channel = &contract.channels[at];
    if answer.status == 404 {
        return if channel.doomed { Ok(()) } else { Err("gone, and nobody knows why".to_owned()) };
    }
    let clients = contract.there(at).len() as i64;
    if answer.number("clients") != Some(clients) {
        return Err(format!("{:?} clients, not {clients}", answer.number("clients")));
    }
    let told = answer.number("countdown").ok_or("no countdown")?;
    match channel.timeout {
        None if told == -1 => Ok(()),
        Some(_) if channel.vague => Ok(()),
        Some(_) => {
            let least = channel.earliest.since(now).as_millis() as i64;
            let most = channel.latest.since(now).as_millis() as i64 + 1;
            match (least..=most).contains(&told) {
                true => Ok(()),
                false => Err(format!("{told} ms left, not {least} to {most}")),
            }
        }
        None => Err(format!("{told} ms left of no time")),
    }
}

/// At rest, a client gets a seat if and only if there is one.
fn probe_seat(world: &mut World, at: usize, shard: usize) {
    let contract = &world.state.contract;
    let (id, token) = (contract.channels[at].id.clone(), contract.channels[at].token.clone());
    let all = contract.clients.iter().filter(|client| client.is_there()).count() as u64;
    let full = contract.channels[at].limit.is_some_and(|limit| contract.there(at).len() as u64 >= limit);
    let expected = match (all >= contract.clients_max, full) {
        (true, _) => 503,
        (_, true) => 429,
        _ => 101,
    };
    let number = probe_joins(world, at, shard, true, &id, &token);
    let status = world.state.conns[number].program.answer().map(|answer| answer.status);
    let doomed = world.state.contract.channels[at].doomed;
    if status != Some(expected) && !(doomed && status == Some(404)) {
        let what = format!("a probe for a seat on {id} at shard {shard} got {status:?}, not {expected}");
        return world.state.contract.break_off(what);
    }
    world.state.conns[number].socket.reset = true;
    world.rest();
}

/// A probe asks for a seat.
fn probe_joins(world: &mut World, at: usize, shard: usize, pull: bool, id: &str, token: &str) -> usize {
    // Nobody else has this address.
    let from = IpAddr::from([10, 0, 0, 98]);
    let number = world.open(shard, from, 65_536, Reading::Prompt, Program::probe());
    let client = &mut world.state.contract.clients[number];
    (client.channel, client.pull, client.echo) = (at, pull, true);
    let query = if pull { "" } else { "&pull=false" };
    let request = program::handshake(id, query, false, 0, token);
    world.state.program_sends(number, request.as_bytes());
    world.state.program_asks(number, Want::Join);
    world.rest();
    number
}

/// Each of n queued clients is given exactly k of k·n messages, from one who is not queued, while nobody comes or goes.
fn probe_turns(world: &mut World, at: usize, shard: usize) {
    const ROUNDS: u64 = 3;
    if world.state.contract.rates {
        return;
    }
    let channel = &world.state.contract.channels[at];
    let (id, token, pattern) = (channel.id.clone(), channel.token.clone(), channel.pattern);
    let number = probe_joins(world, at, shard, false, &id, &token);
    let contract = &world.state.contract;
    if !contract.clients[number].is_there() {
        return;
    }
    let version = contract.channels[at].version;
    let queued: Vec<usize> = contract.there(at).into_iter().filter(|client| contract.clients[*client].pull).collect();
    let mut marks = Vec::new();
    for serial in 1..=ROUNDS * queued.len() as u64 {
        marks.push(program::send_from_probe(&mut world.state, number, pattern, serial));
    }
    world.rest();
    let contract = &world.state.contract;
    if contract.channels[at].version == version {
        let given = |client: &usize| {
            marks.iter().filter(|mark| contract.messages.get(mark).is_some_and(|m| m.got.contains(client))).count()
                as u64
        };
        let counts: Vec<u64> = queued.iter().map(given).collect();
        if counts.iter().any(|count| *count != ROUNDS) {
            let what = format!("channel {id}: turns of {queued:?} were {counts:?}, not {ROUNDS} each");
            return world.state.contract.break_off(what);
        }
    }
    world.state.conns[number].socket.reset = true;
    world.rest();
}

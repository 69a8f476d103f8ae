//! Work that a home hands out, push-pull and fan-in-out, while the set of nodes changes under load: no client of a node that
//! stays is closed for it, nothing is given twice, and nothing is lost but what a dead node's clients had.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wrs_tests::real::{Channel, Cluster, Got, Runtime, Server, Ws, attempt, until};

use crate::load::Load;

/// How long a load runs before and after what happens to it.
const WHILE: Duration = Duration::from_millis(700);
/// The same behind a death, whose last word is that the homes have moved: on a machine that is busy that takes a while.
const WHILE_AFTER_DEATH: Duration = Duration::from_secs(3);
/// More channels than nodes and shards, so that every node is home to some.
const CHANNELS: usize = 9;

/// Messages of each sender that are written at the end of a scene, long after the change: none of them is lost.
const SURE: u64 = 20;

/// Times for scenes in which nobody dies, so that nobody has to be missed: a machine that starves a node for some seconds costs it
/// nothing.
const PATIENT_TIMES: [&str; 3] =
    ["WRS_NODE_HEARTBEAT=300", "WRS_NODE_MIN_ELECTION_TIMEOUT=9000", "WRS_NODE_MAX_ELECTION_TIMEOUT=10000"];

/// Times for scenes in which somebody dies: longer than by default, for the same reason.
const STEADY_TIMES: [&str; 3] =
    ["WRS_NODE_HEARTBEAT=300", "WRS_NODE_MIN_ELECTION_TIMEOUT=4000", "WRS_NODE_MAX_ELECTION_TIMEOUT=5000"];

/// What happens to the cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// A node that does not lead is stopped by SIGTERM.
    Leaves,
    /// The leader is.
    LeaderLeaves,
    /// A node is killed that has no clients.
    Dies,
    /// One is that has clients which work.
    DiesWithClients,
    /// One more comes.
    Comes,
}

pub fn push_pull_goes_on_while_a_node_leaves(runtime: &Runtime) {
    push_pull(runtime, Change::Leaves);
}

pub fn push_pull_goes_on_while_the_leader_leaves(runtime: &Runtime) {
    push_pull(runtime, Change::LeaderLeaves);
}

pub fn push_pull_goes_on_while_a_node_dies(runtime: &Runtime) {
    push_pull(runtime, Change::Dies);
}

pub fn push_pull_goes_on_while_a_node_dies_with_its_clients(runtime: &Runtime) {
    push_pull(runtime, Change::DiesWithClients);
}

pub fn push_pull_goes_on_while_a_node_comes(runtime: &Runtime) {
    push_pull(runtime, Change::Comes);
}

pub fn fan_in_out_goes_on_while_a_node_leaves(runtime: &Runtime) {
    fan_in_out(runtime, Change::Leaves);
}

pub fn fan_in_out_goes_on_while_the_leader_leaves(runtime: &Runtime) {
    fan_in_out(runtime, Change::LeaderLeaves);
}

pub fn fan_in_out_goes_on_while_a_node_dies(runtime: &Runtime) {
    fan_in_out(runtime, Change::Dies);
}

pub fn fan_in_out_goes_on_while_a_node_dies_with_its_clients(runtime: &Runtime) {
    fan_in_out(runtime, Change::DiesWithClients);
}

pub fn fan_in_out_goes_on_while_a_node_comes(runtime: &Runtime) {
    fan_in_out(runtime, Change::Comes);
}

impl Change {
    fn times(self) -> [&'static str; 3] {
        match self {
            Change::Leaves | Change::LeaderLeaves | Change::Comes => PATIENT_TIMES,
            Change::Dies | Change::DiesWithClients => STEADY_TIMES,
        }
    }
}

/// A new channel, also of a node that has just no lease.
fn channel(server: &Server, pattern: &str) -> Channel {
    let body = json!({ "pattern": pattern }).to_string();
    let answer = until("there is a channel", || {
        attempt(server.port, "POST", "/channels", &body).filter(|answer| answer.status == 201)
    });
    let answer = answer.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Channel { id: text(&answer["data"]["id"]), token: text(&answer["token"]) }
}

/// A client, likewise.
fn join(server: &Server, channel: &Channel, more: &str) -> Ws {
    until("there is a seat", || {
        let asked = Instant::now();
        let seat = Ws::try_connect(server.stream(), server.port, &channel.path(more));
        // What a machine that is busy brings about is a 503; anything else is for whoever reads this to look into.
        seat.map_err(|status| println!("no seat but {status} after {:?}", asked.elapsed())).ok()
    })
}

/// Three nodes, and of which of them clients are to stay.
struct Scene {
    cluster: Cluster,
    change: Change,
    /// The node that goes.
    goes: Option<usize>,
    stays: Vec<usize>,
    channels: Vec<Channel>,
    loads: Vec<Load>,
}

impl Scene {
    fn new(runtime: &Runtime, pattern: &str, change: Change) -> Scene {
        let cluster = Cluster::of(runtime, 3, &change.times());
        let goes = match change {
            Change::Leaves | Change::Dies | Change::DiesWithClients => Some(cluster.follower()),
            Change::LeaderLeaves => Some(cluster.leader()),
            Change::Comes => None,
        };
        let stays = (0..3).filter(|index| Some(*index) != goes).collect();
        let channels: Vec<Channel> =
            (0..CHANNELS).map(|number| channel(cluster.node(number % 3), pattern)).collect();
        let loads = channels.iter().map(|_| Load::default()).collect();
        Scene { cluster, change, goes, stays, channels, loads }
    }

    /// Nodes that have clients which work; those of the nodes that stay come first.
    fn at_work(&self) -> Vec<usize> {
        let goes = self.goes.filter(|_| self.change == Change::DiesWithClients);
        self.stays.iter().copied().chain(goes).collect()
    }

    /// Lets it happen; how long until all are ready.
    fn happen(&mut self, runtime: &Runtime) -> Duration {
        thread::sleep(WHILE);
        let start = Instant::now();
        match (self.change, self.goes) {
            (Change::Leaves | Change::LeaderLeaves, Some(index)) => {
                let mut stopped = self.cluster.take(index);
                stopped.signal("TERM");
                assert_eq!(stopped.wait().code(), Some(0), "{:#?}", stopped.log());
            }
            (Change::Dies | Change::DiesWithClients, Some(index)) => self.cluster.kill(index),
            _ => {
                let seeds: Vec<String> = (0..3).map(|index| self.cluster.address(index)).collect();
                let [heartbeat, min, max] = self.change.times();
                let seeds = format!("WRS_SEEDS={}", seeds.join(" "));
                let fourth = self.cluster.add_place(runtime, &[heartbeat, min, max, &seeds]);
                self.cluster.start(fourth);
            }
        }
        self.cluster.ready();
        let took = start.elapsed();
        thread::sleep(match self.change {
            Change::Dies | Change::DiesWithClients => WHILE_AFTER_DEATH,
            Change::Leaves | Change::LeaderLeaves | Change::Comes => WHILE,
        });
        took
    }

    /// Ends one channel: what its workers had, each message once, and the longest time that one of a node that stays had to wait.
    fn had(&mut self, number: usize) -> (BTreeSet<(String, u64)>, Duration) {
        let (mut all, mut gap) = (BTreeSet::new(), Duration::ZERO);
        let server = self.cluster.node(self.stays[0]);
        for (at, heard) in self.loads[number].end(server, &self.channels[number]).into_iter().enumerate() {
            if at < self.stays.len() {
                assert_eq!(heard.code, Some(4404), "a worker of a node that stays was closed");
                gap = gap.max(heard.gap);
            }
            assert_eq!(heard.told, Vec::<String>::new(), "whoever asked is there still");
            heard.in_order();
            for message in heard.all() {
                assert!(all.insert(message.clone()), "{message:?} was given twice");
            }
        }
        (all, gap)
    }

    /// Checks that of so many messages of a client all are among `had`, but for those that a dead node's clients may have had: how
    /// many are missing.
    fn check(&self, name: &str, count: u64, had: &BTreeSet<(String, u64)>) -> u64 {
        let missing: Vec<u64> = (0..count).filter(|number| !had.contains(&(name.to_owned(), *number))).collect();
        let may_miss = self.change == Change::DiesWithClients;
        assert!(may_miss || missing.is_empty(), "of {count} from {name} miss {missing:?}");
        let after = count.saturating_sub(SURE);
        assert!(missing.iter().all(|number| *number < after), "of {count} from {name} miss {missing:?}");
        missing.len() as u64
    }
}

fn push_pull(runtime: &Runtime, change: Change) {
    let mut scene = Scene::new(runtime, "push-pull", change);
    let at_work = scene.at_work();
    for (load, channel) in scene.loads.iter_mut().zip(&scene.channels) {
        at_work.iter().for_each(|index| load.receiver(join(scene.cluster.node(*index), channel, "")));
        for index in &scene.stays {
            load.sender(&index.to_string(), join(scene.cluster.node(*index), channel, "&pull=false"));
        }
    }
    let took = scene.happen(runtime);
    scene.loads.iter().for_each(Load::halt);
    let (mut count, mut lost, mut gap) = (0, 0, Duration::ZERO);
    for number in 0..CHANNELS {
        let sent = scene.loads[number].stop();
        match change {
            Change::DiesWithClients => scene.loads[number].quiet(),
            _ => scene.loads[number].all_taken(&sent),
        }
        for sent in sent.values() {
            assert_eq!(sent.closed, None, "a sender of a node that stays was closed");
        }
        let (had, waited) = scene.had(number);
        gap = gap.max(waited);
        for (name, sent) in sent {
            count += sent.count;
            lost += scene.check(&name, sent.count, &had);
        }
    }
    println!("all were ready within {took:?}: {count} messages, {lost} lost with their receiver, largest gap {gap:?}");
}

fn fan_in_out(runtime: &Runtime, change: Change) {
    let mut scene = Scene::new(runtime, "fan-in-out", change);
    let at_work = scene.at_work();
    for (load, channel) in scene.loads.iter_mut().zip(&scene.channels) {
        at_work.iter().for_each(|index| load.answerer(join(scene.cluster.node(*index), channel, "")));
        for index in &scene.stays {
            load.asker(&index.to_string(), join(scene.cluster.node(*index), channel, "&pull=false"));
        }
    }
    let took = scene.happen(runtime);
    scene.loads.iter().for_each(Load::halt);
    let (mut count, mut lost, mut gap) = (0, 0, Duration::ZERO);
    for number in 0..CHANNELS {
        let asked = scene.loads[number].stop_asking();
        for asked in asked.values() {
            assert_eq!(asked.closed, None::<Got>, "one who asks at a node that stays was closed");
            assert_eq!(asked.told, Vec::<String>::new(), "somebody was there all the while");
        }
        let (had, waited) = scene.had(number);
        gap = gap.max(waited);
        for (name, asked) in asked {
            scene.check(&name, asked.count, &had);
            let mut answers = BTreeMap::<u64, u32>::new();
            asked.answered.iter().for_each(|number| *answers.entry(*number).or_default() += 1);
            assert!(answers.values().all(|times| *times == 1), "{name} was answered twice: {answers:?}");
            let answered = answers.keys().map(|number| (name.clone(), *number)).collect();
            count += asked.count;
            lost += scene.check(&name, asked.count, &answered);
        }
    }
    println!("all were ready within {took:?}: {count} requests, {lost} lost with who had them, largest gap {gap:?}");
}

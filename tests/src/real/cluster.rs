//! Several servers as one cluster, each behind a relay that can cut its links.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Channel, Links, PATIENCE, Runtime, Server, Ws, until};

/// The shortest silence before an election (`WRS_NODE_MIN_ELECTION_TIMEOUT`): short, so that faults are over soon, and
/// long beside what a busy machine lets a node wait for its turn.
pub const ELECTION_MIN: Duration = Duration::from_millis(800);
/// `WRS_NODE_MAX_ELECTION_TIMEOUT`.
pub const ELECTION_MAX: Duration = Duration::from_millis(1_200);
/// How many clusters run at once, whatever the number of test threads.
const AT_ONCE: usize = 4;

/// Who may have a cluster now.
static RUNNING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

struct Turn;

impl Turn {
    fn take() -> Turn {
        let mut running = RUNNING.0.lock().unwrap();
        while *running >= AT_ONCE {
            running = RUNNING.1.wait(running).unwrap();
        }
        *running += 1;
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.0.lock().unwrap() -= 1;
        RUNNING.1.notify_one();
    }
}

/// Nodes that are to be one service.
pub struct Cluster {
    /// The nodes that run, by their place in the list of seeds.
    pub nodes: Vec<Option<Server>>,
    /// What is between them.
    pub links: Links,
    runtimes: Vec<Runtime>,
    settings: Vec<Vec<String>>,
    _turn: Turn,
}

/// An answer, if any came.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// All of it.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        let body = self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// One request to a node that may be dead, dying or cut off; `None` if no whole answer came.
pub fn attempt(port: u16, method: &str, path: &str, body: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}");
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let status = text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer { status, text })
}

impl Cluster {
    /// Places for nodes, none of which runs; even ones with the runtime's shards, odd ones with a single one. `settings`
    /// go to all.
    pub fn places(runtime: &Runtime, count: usize, settings: &[&str]) -> Cluster {
        let turn = Turn::take();
        let links = Links::default();
        let mut cluster = Cluster { nodes: Vec::new(), links, runtimes: Vec::new(), settings: Vec::new(), _turn: turn };
        for _ in 0..count {
            cluster.add_place(runtime, settings);
        }
        cluster
    }

    /// One more place; its number.
    pub fn add_place(&mut self, runtime: &Runtime, settings: &[&str]) -> usize {
        let index = self.nodes.len();
        let port = self.links.add();
        let mut own = vec![
            format!("WRS_NODE_ADDRESS={}", super::links::address(port)),
            "WRS_NODE_HEARTBEAT=100".to_owned(),
            format!("WRS_NODE_MIN_ELECTION_TIMEOUT={}", ELECTION_MIN.as_millis()),
            format!("WRS_NODE_MAX_ELECTION_TIMEOUT={}", ELECTION_MAX.as_millis()),
            "WRS_MAX_STARTUP_DELAY=0".to_owned(),
        ];
        own.extend(settings.iter().map(|setting| (*setting).to_owned()));
        self.settings.push(own);
        let shards = if index.is_multiple_of(2) { runtime.shards } else { 1 };
        self.runtimes.push(Runtime { shards, ..*runtime });
        self.nodes.push(None);
        index
    }

    /// Gives one place a setting more.
    pub fn set(&mut self, index: usize, setting: &str) {
        self.settings[index].push(setting.to_owned());
    }

    /// Lets a place run another server.
    pub fn run_as(&mut self, index: usize, runtime: Runtime) {
        self.runtimes[index] = runtime;
    }

    /// Makes the first `count` places the seeds of all.
    pub fn seed(&mut self, count: usize) {
        let seeds: Vec<_> = (0..count).map(|index| self.address(index)).collect();
        let setting = format!("WRS_SEEDS={}", seeds.join(" "));
        (0..self.nodes.len()).for_each(|index| self.set(index, &setting));
    }

    /// A cluster of so many nodes, formed by its seeds and ready.
    pub fn of(runtime: &Runtime, count: usize, settings: &[&str]) -> Cluster {
        let mut cluster = Cluster::places(runtime, count, settings);
        cluster.seed(count);
        (0..count).for_each(|index| cluster.start(index));
        cluster.ready();
        cluster
    }

    /// Where others reach a node.
    pub fn address(&self, index: usize) -> String {
        super::links::address(self.links.port(index))
    }

    /// Starts a node, which may not be ready for long.
    pub fn start(&mut self, index: usize) {
        let settings: Vec<&str> = self.settings[index].iter().map(String::as_str).collect();
        let server = self.runtimes[index].start(&settings);
        self.links.place(index, Some(server.node_port));
        self.nodes[index] = Some(server);
    }

    /// Kills a node as `kill -9` does.
    pub fn kill(&mut self, index: usize) {
        let server = self.nodes[index].take();
        self.links.place(index, None);
        drop(server);
    }

    /// Takes a node out of the list, so that a scenario can watch its end.
    pub fn take(&mut self, index: usize) -> Server {
        self.links.place(index, None);
        self.nodes[index].take().unwrap()
    }

    /// A node that runs.
    #[track_caller]
    pub fn node(&self, index: usize) -> &Server {
        self.nodes[index].as_ref().expect("the node runs")
    }

    /// The nodes that run.
    pub fn running(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().flatten()
    }

    /// The places of the nodes that run.
    pub fn up(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|index| self.nodes[*index].is_some()).collect()
    }

    /// Waits until all that run are ready and agree on who they are, all of them live and nobody else.
    #[track_caller]
    pub fn ready(&self) {
        self.ready_within(PATIENCE);
    }

    /// Likewise, for as long as this.
    #[track_caller]
    pub fn ready_within(&self, patience: Duration) {
        let count = self.running().count();
        let start = Instant::now();
        loop {
            let views: Vec<Value> = self.running().map(view).collect();
            let agrees = |view: &Value| {
                let nodes = view["nodes"].as_array().unwrap();
                let live = nodes.iter().filter(|node| node["live"] == true).count();
                live == count && view["cluster"] == views[0]["cluster"] && view["leader"] == views[0]["leader"]
            };
            if views.iter().all(agrees) && self.running().all(|server| server.get("/readyz").status == 200) {
                return;
            }
            assert!(start.elapsed() < patience, "the nodes do not agree: {views:#?}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What all nodes have logged.
    pub fn logs(&self) -> String {
        let logs = self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(index, node)| Some(format!("-- {index}\n{}", node.as_ref()?.log().join("\n"))));
        logs.collect::<Vec<_>>().join("\n")
    }

    /// The place of the leader.
    pub fn leader(&self) -> usize {
        until("there is a leader", || self.up().into_iter().find(|index| view(self.node(*index))["role"] == "leader"))
    }

    /// A place that does not lead.
    pub fn follower(&self) -> usize {
        let leader = self.leader();
        self.up().into_iter().find(|index| *index != leader).unwrap()
    }

    /// Clients of a channel, dealt out over the nodes that run.
    #[track_caller]
    pub fn spread(&self, channel: &Channel, count: usize, more: &str) -> Vec<Ws> {
        let up = self.up();
        (0..count).map(|number| self.node(up[number % up.len()]).join_as(channel, more)).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        self.nodes.clear();
        self.links.end();
    }
}

/// What `GET /cluster` says on a node.
pub fn view(server: &Server) -> Value {
    let response = server.get("/cluster");
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["data"].clone()
}

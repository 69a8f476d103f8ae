//! Several nodes that are one service, each a process of this run.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::quota::Quota;
use super::server::Server;
use super::service::call;

/// How long nodes may take until they are one cluster and ready.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// How often that is asked.
const READY_INTERVAL: Duration = Duration::from_millis(20);

/// Nodes that are ready; they are killed when this is dropped.
pub struct Cluster {
    /// The first founded it, the others joined; or each is alone.
    pub nodes: Vec<Server>,
    /// Whether they are one service.
    pub joined: bool,
    /// Below the nodes: a group is removed when its process has ended.
    quotas: Vec<Quota>,
}

impl Cluster {
    /// Starts `count` nodes on one core, which join each other or stay alone; `environment` says what each is told beside its
    /// ports.
    ///
    /// # Errors
    /// One does not start, does not join, or is not ready in time.
    pub fn start(
        command: &str,
        core: Option<usize>,
        count: usize,
        joined: bool,
        environment: impl Fn(usize) -> Vec<(String, String)>,
    ) -> io::Result<Self> {
        let mut nodes: Vec<Server> = Vec::new();
        for number in 0..count.max(1) {
            let mut environment = environment(number);
            environment.push(("WRS_MAX_STARTUP_DELAY".to_owned(), "0".to_owned()));
            let node = Server::start(command, core, true, &environment)?;
            if let Some(first) = nodes.first().filter(|_| joined) {
                let path = format!("/cluster/join/127.0.0.1:{}", first.node_port);
                call(&mut TcpStream::connect(node.address)?, node.address, "POST", &path, "")?;
            }
            nodes.push(node);
        }
        nodes.iter().try_for_each(|node| wait_until_ready(node.address))?;
        Ok(Self { nodes, joined, quotas: Vec::new() })
    }

    /// Where each listens for clients.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// From now on each node gets `share` of a core's time and no more.
    ///
    /// # Errors
    /// The system does not allow it, or the share is too small: [`Quota::new`].
    pub fn limit(&mut self, share: f64) -> io::Result<()> {
        for node in &self.nodes {
            let quota = Quota::new(share)?;
            quota.limit(node.process())?;
            self.quotas.push(quota);
        }
        Ok(())
    }

    /// CPU time of each of them so far.
    ///
    /// # Errors
    /// One has ended.
    pub fn cpu(&self) -> io::Result<Vec<Duration>> {
        self.nodes.iter().map(|node| node.process().cpu()).collect()
    }
}

/// A voter that has just joined takes part a little later.
fn wait_until_ready(address: SocketAddr) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match call(&mut TcpStream::connect(address)?, address, "GET", "/readyz", "") {
            Ok(_) => return Ok(()),
            Err(error) if start.elapsed() > READY_TIMEOUT => return Err(error),
            Err(_) => thread::sleep(READY_INTERVAL),
        }
    }
}

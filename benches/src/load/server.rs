//! The process that is measured: how it is started, what CPU it has used, what memory it holds.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take until it accepts a connection.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How often that is tried.
const START_INTERVAL: Duration = Duration::from_millis(20);

/// A process by its id: CPU time and memory from `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

/// What a process holds in user space.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Bytes of anonymous memory (`RssAnon`).
    pub anonymous: u64,
    /// Bytes of all resident memory (`VmRSS`): with files and shared memory.
    pub resident: u64,
}

impl Process {
    /// CPU time of all its threads so far. A thread that has ended is not in it.
    ///
    /// # Errors
    /// The process has ended.
    pub fn cpu(self) -> io::Result<Duration> {
        let mut nanos = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.0))? {
            // A thread that ends between the listing and the look has no share in what is measured.
            let Ok(times) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            nanos += times.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Its memory now.
    ///
    /// # Errors
    /// The process has ended.
    pub fn memory(self) -> io::Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.and_then(|line| line.split_whitespace().next()).and_then(|text| text.parse().ok());
            kilobytes.map(|kilobytes: u64| kilobytes * 1024).ok_or_else(|| io::Error::other(format!("no {name}")))
        };
        Ok(Memory { anonymous: bytes("RssAnon:")?, resident: bytes("VmRSS:")? })
    }
}

/// A server that this run has started; it is killed when this is dropped.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where a relay listens for other nodes.
    pub node_port: u16,
}

impl Server {
    /// Starts a shell command in which `{port}` stands for a free port, on one core, and waits until it accepts.
    ///
    /// # Errors
    /// It does not start, ends, or does not accept in time.
    pub fn start(
        command: &str,
        core: Option<usize>,
        relay: bool,
        environment: &[(String, String)],
    ) -> io::Result<Self> {
        let [port, node_port] = free_ports()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut shell = Command::new("sh");
        // exec: the process that is measured is the server, not the shell.
        shell.arg("-c").arg(format!("exec {}", command.replace("{port}", &port.to_string())));
        shell.stdin(Stdio::null()).stdout(Stdio::null());
        if relay {
            shell.env("WRS_API_PORT", port.to_string()).env("WRS_NODE_PORT", node_port.to_string());
            shell.env("WRS_SHARDS", "1");
        }
        shell.envs(environment.iter().map(|(name, value)| (name, value)));
        let mut server = Self { child: spawn_on(core, shell)?, address, node_port };
        server.wait_until_it_accepts(command)?;
        Ok(server)
    }

    /// The process, to be measured.
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    fn wait_until_it_accepts(&mut self, command: &str) -> io::Result<()> {
        let start = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("{command}: ended at once, {status}")));
            }
            if start.elapsed() > START_TIMEOUT {
                return Err(io::Error::other(format!("{command}: does not listen on {}", self.address)));
            }
            thread::sleep(START_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two that are free. The first is held until the second is known, so that they are not the same.
fn free_ports() -> io::Result<[u16; 2]> {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let second = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok([first.local_addr()?.port(), second.local_addr()?.port()])
}

/// A child inherits the cores of the thread that starts it, so that no instant of it runs elsewhere.
fn spawn_on(core: Option<usize>, mut command: Command) -> io::Result<Child> {
    let starter = thread::spawn(move || {
        pin(core)?;
        command.spawn()
    });
    starter.join().map_err(|_| io::Error::other("the thread that starts the server ended"))?
}

/// Keeps this thread, and what it starts, on one core.
///
/// # Errors
/// There is no such core.
pub fn pin(core: Option<usize>) -> io::Result<()> {
    let Some(core) = core else { return Ok(()) };
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}

/// Lifts this process's file limit, and so that of the servers it starts, to what the system allows.
///
/// # Errors
/// The system refuses.
pub fn lift_file_limit() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_uses_cpu_and_holds_memory() {
        let own = Process(std::process::id());
        let before = own.cpu().unwrap();
        let held = vec![1_u8; 8 << 20];
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(50) {
            std::hint::black_box(&held);
        }
        assert!(own.cpu().unwrap() - before > Duration::from_millis(5));
        assert!(own.memory().unwrap().anonymous >= held.len() as u64);
        assert!(own.memory().unwrap().resident >= own.memory().unwrap().anonymous);
    }

    #[test]
    fn a_server_that_ends_at_once_is_an_error() {
        assert!(Server::start("true", None, false, &[]).is_err());
    }
}

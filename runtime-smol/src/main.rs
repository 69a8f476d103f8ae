//! The wrs server on smol: sockets, timers and signals for the core, on any host.
//!
//! `main` reads the configuration and starts one thread per shard; `turn` is a shard's loop; `poll`, `conn` and `listen`
//! are its sockets, `mesh` the queues between shards, `tasks` what it awaits beside its sockets, `host` its hands.

mod clock;
mod conn;
mod host;
mod listen;
mod mesh;
mod poll;
mod signals;
mod tasks;
mod turn;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use async_signal::Signals;
use rustls::ServerConfig;
use smol::LocalExecutor;
use socket2::Socket;
use wrs_core::boot::Boot;
use wrs_core::config::{Command, Config, HostFacts, LogFormat, Parsed, VERSION, help};
use wrs_core::event::Event;
use wrs_core::id::ShardId;
use wrs_core::shard::Shard;
use wrs_core::wire::tls;

use crate::host::{Hands, Log};
use crate::listen::Listener;
use crate::mesh::{Parcel, Way};
use crate::poll::Poll;
use crate::tasks::Tasks;
use crate::turn::{LISTENER, Parts, Turn};

/// A configuration that cannot work.
const BAD_CONFIGURATION: u8 = 2;
/// A port in use, a system that has no more to give.
const CANNOT_RUN: u8 = 1;

fn main() -> ExitCode {
    let host = HostFacts {
        parallelism: std::thread::available_parallelism().map_or(1, usize::from),
        open_files_limit: open_files_limit(),
    };
    let env =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    match Config::parse(std::env::args().skip(1), env, &host) {
        Err(error) => fail(BAD_CONFIGURATION, &error.to_string()),
        Ok(Parsed { command, config, warnings }) => match command {
            Command::Help => say(&help()),
            Command::Version => say(&format!("wrs {VERSION}")),
            Command::Client(command, arguments) => wrs_client::run(command, &arguments, &config),
            Command::Serve => serve(config, &warnings).unwrap_or_else(|(code, why)| fail(code, &why)),
        },
    }
}

fn say(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(CANNOT_RUN),
    }
}

fn fail(code: u8, why: &str) -> ExitCode {
    // Nobody is left to tell where standard error is closed.
    let _ = writeln!(io::stderr(), "wrs: {why}");
    ExitCode::from(code)
}

/// How many files this process may open; `None` where the system sets no limit that we know of.
fn open_files_limit() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    None
}

/// The certificates that the configuration names, read from their files.
fn certificates(config: &Config) -> Result<Option<Arc<ServerConfig>>, String> {
    let Some(paths) = &config.tls else { return Ok(None) };
    let read = |path: &std::path::Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let (cert, key) = (read(&paths.cert)?, read(&paths.key)?);
    tls::server_config(&cert, &key).map(Some).map_err(|error| error.to_string())
}

fn serve(config: Config, warnings: &[String]) -> Result<ExitCode, (u8, String)> {
    let config = Arc::new(config);
    let certificates = certificates(&config).map_err(|why| (BAD_CONFIGURATION, why))?;
    let readme = match &config.readme_path {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|error| (BAD_CONFIGURATION, format!("{}: {error}", path.display())))?,
        ),
        None => None,
    };
    let address = SocketAddr::new(config.bind, config.api_port);
    let cannot = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| (CANNOT_RUN, format!("{what}: {error}"))
    };
    let socket = listen::bind(address).map_err(cannot(&format!("cannot listen on {address}")))?;
    let port = socket.local_addr().ok().and_then(|address| address.as_socket()).map_or(0, |address| address.port());
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| (CANNOT_RUN, format!("the system gives no random bytes: {error}")))?;
    let boot = Boot::new(config.clone(), key, port, readme);
    let log = Log::new(config.clone());
    for warning in warnings.iter().cloned().chain(boot.warnings()) {
        log.write(&Event::ConfigDoubtful { why: warning });
    }
    let shards = Shards::prepare(&config).map_err(cannot("cannot poll sockets"))?;
    let signals = signals::take().map_err(cannot("cannot hear signals"))?;
    match config.log_format {
        LogFormat::Text => drop(say(&boot.greeting("smol", port))),
        LogFormat::Json => log.write(&Event::Listening {
            address: SocketAddr::new(config.bind, port),
            tls: config.tls.is_some(),
            shards: config.shards,
        }),
    }
    shards.run(boot, (socket, signals), certificates, &log).map_err(cannot("a shard stopped"))
}

/// The shards of this node before they run: where each sleeps, and its inbox.
struct Shards {
    polls: Vec<(Poll, Receiver<Parcel>)>,
    ways: Vec<Way>,
}

impl Shards {
    fn prepare(config: &Config) -> io::Result<Self> {
        let mut shards = Shards { polls: Vec::new(), ways: Vec::new() };
        for _ in 0..config.shards.max(1) {
            let poll = Poll::new()?;
            let (way, inbox) = mesh::inbox(&poll);
            shards.polls.push((poll, inbox));
            shards.ways.push(way);
        }
        Ok(shards)
    }

    /// One thread for each shard; returns when all have drained. `control` is shard 0's.
    fn run(
        self,
        boot: Boot,
        control: (Socket, Signals),
        certificates: Option<Arc<ServerConfig>>,
        log: &Log,
    ) -> io::Result<ExitCode> {
        let mut control = Some(control);
        let ways = self.ways;
        let mut threads = Vec::new();
        for (index, (poll, inbox)) in self.polls.into_iter().enumerate() {
            let here = ShardId(index as u16);
            let start = Start {
                here,
                boot: boot.clone(),
                ways: ways.clone(),
                poll,
                inbox,
                control: control.take(),
                certificates: certificates.clone(),
                log: log.clone(),
            };
            let siblings = ways.clone();
            let run = move || start.run_or_stop(&siblings);
            let thread = std::thread::Builder::new().name(format!("shard-{index}")).spawn(run)?;
            threads.push(thread);
        }
        let mut result = Ok(ExitCode::SUCCESS);
        for thread in threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => result = Err(error),
                Err(_) => result = Err(io::Error::other("a shard's thread ended")),
            }
        }
        result
    }
}

/// What one shard's thread starts from.
struct Start {
    here: ShardId,
    boot: Boot,
    ways: Vec<Way>,
    poll: Poll,
    inbox: Receiver<Parcel>,
    /// What comes to the node from outside, for shard 0: connections and signals.
    control: Option<(Socket, Signals)>,
    certificates: Option<Arc<ServerConfig>>,
    log: Log,
}

impl Start {
    /// Runs the shard. If it fails, the node drains and ends: a channel may have its home there.
    fn run_or_stop(self, siblings: &[Way]) -> io::Result<()> {
        let run = std::panic::AssertUnwindSafe(|| self.run());
        let result = std::panic::catch_unwind(run).unwrap_or_else(|_| Err(io::Error::other("a shard panicked")));
        if result.is_err() {
            for way in siblings {
                way.send(Parcel::Drain);
                way.send(Parcel::Stopped);
            }
        }
        result
    }

    fn run(self) -> io::Result<()> {
        let config = self.boot.config.clone();
        if config.pin {
            pin(self.here);
        }
        let executor = Rc::new(LocalExecutor::new());
        let listener = match self.control {
            Some((socket, signals)) => {
                signals::attend(signals, &executor, config.clone(), self.ways.clone(), self.log.clone());
                Some(Listener::new(socket, &self.poll, LISTENER)?)
            }
            None => None,
        };
        let tasks = Tasks::new(executor, &self.poll);
        Turn::new(Parts {
            shard: Shard::new(self.here, self.boot),
            hands: Hands::new(self.here, self.ways, self.log),
            poll: self.poll,
            inbox: self.inbox,
            listener,
            tasks,
            certificates: self.certificates,
            read_buffer: config.read_buffer_bytes,
        })
        .run()
    }
}

/// Keeps this thread on the core with the shard's number, of those that the process may use (`WRS_PIN`).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn pin(shard: ShardId) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    if let Some(core) = cores.get(usize::from(shard.0) % cores.len().max(1)) {
        let mut set = CpuSet::new();
        set.set(*core);
        // A thread that may not be pinned runs anywhere.
        let _ = sched_setaffinity(None, &set);
    }
}

/// This system has no call for it that we use.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn pin(_shard: ShardId) {}

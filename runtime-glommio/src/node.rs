//! What the command line asks for, and a node's shards: one thread each, with glommio's executor and a ring of its own.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use glommio::{GlommioError, LocalExecutorBuilder, Placement};
use rustls::ServerConfig;
use socket2::Socket;
use wrs_core::boot::Boot;
use wrs_core::config::{Command, Config, HostFacts, LogFormat, Parsed, VERSION, help};
use wrs_core::event::Event;
use wrs_core::id::ShardId;
use wrs_core::shard::Shard;
use wrs_core::wire::tls;

use crate::bell::Bell;
use crate::host::{Hands, Log};
use crate::listen::{self, Listener};
use crate::mesh::{self, Parcel, Way};
use crate::probe;
use crate::ring::Ring;
use crate::signals;
use crate::turn::{Parts, Turn};

/// Memory that each of glommio's rings keeps for files: the least that it takes, since there are none.
const RING_MEMORY: usize = 64 << 10;
/// Requests in each of glommio's rings: one to be woken and one to wake at a time.
const RING_DEPTH: usize = 32;
/// A configuration, or a system, that this server cannot work with.
const BAD_CONFIGURATION: u8 = 2;
/// A port in use, a system that has no more to give.
const CANNOT_RUN: u8 = 1;

/// What the command line asks for.
pub fn main() -> ExitCode {
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
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// The certificates that the configuration names, read from their files.
pub fn certificates(config: &Config) -> Result<Option<Arc<ServerConfig>>, String> {
    let Some(paths) = &config.tls else { return Ok(None) };
    let read = |path: &std::path::Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let (cert, key) = (read(&paths.cert)?, read(&paths.key)?);
    tls::server_config(&cert, &key).map(Some).map_err(|error| error.to_string())
}

fn serve(config: Config, warnings: &[String]) -> Result<ExitCode, (u8, String)> {
    probe::check().map_err(|why| (BAD_CONFIGURATION, why))?;
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
    let shards = Shards::prepare(&config).map_err(cannot("cannot wake shards"))?;
    let signals = signals::take().map_err(cannot("cannot hear signals"))?;
    let running = shards.start(&boot, socket, certificates, &log)?;
    signals::attend(signals, config.clone(), running.ways.clone(), log.clone())
        .map_err(cannot("cannot hear signals"))?;
    match config.log_format {
        LogFormat::Text => drop(say(&boot.greeting("glommio", port))),
        LogFormat::Json => log.write(&Event::Listening {
            address: SocketAddr::new(config.bind, port),
            tls: config.tls.is_some(),
            shards: config.shards,
        }),
    }
    running.join().map_err(cannot("a shard stopped"))
}

/// The shards of this node before they run: what wakes each, and its inbox.
struct Shards {
    inboxes: Vec<(Arc<Bell>, Receiver<Parcel>)>,
    ways: Vec<Way>,
}

impl Shards {
    fn prepare(config: &Config) -> io::Result<Self> {
        let mut shards = Shards { inboxes: Vec::new(), ways: Vec::new() };
        for _ in 0..config.shards.max(1) {
            let bell = Bell::new()?;
            let (way, inbox) = mesh::inbox(bell.clone());
            shards.inboxes.push((bell, inbox));
            shards.ways.push(way);
        }
        Ok(shards)
    }

    /// One thread for each shard; returns when all have what they need of the system, or with what the first lacks.
    fn start(
        self,
        boot: &Boot,
        socket: Socket,
        certificates: Option<Arc<ServerConfig>>,
        log: &Log,
    ) -> Result<Running, (u8, String)> {
        let mut listening = Some(socket);
        let mut running = Running { threads: Vec::new(), ways: self.ways };
        let (ready, readiness) = channel();
        for (index, (bell, inbox)) in self.inboxes.into_iter().enumerate() {
            let here = ShardId(index as u16);
            let start = Start {
                here,
                boot: boot.clone(),
                ways: running.ways.clone(),
                bell,
                inbox,
                socket: listening.take(),
                certificates: certificates.clone(),
                log: log.clone(),
                ready: ready.clone(),
            };
            let siblings = running.ways.clone();
            let run = move || start.run_or_stop(&siblings);
            let thread = std::thread::Builder::new().name(format!("shard-{index}")).spawn(run);
            running.threads.push(thread.map_err(|error| (CANNOT_RUN, format!("cannot start a shard: {error}")))?);
        }
        drop(ready);
        for _ in &running.threads {
            let lacks = match readiness.recv() {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => probe::shortage(running.threads.len(), &error),
                Err(_) => "a shard panicked".to_owned(),
            };
            return Err((BAD_CONFIGURATION, lacks));
        }
        Ok(running)
    }
}

/// The shards of this node while they run.
struct Running {
    threads: Vec<JoinHandle<io::Result<()>>>,
    ways: Vec<Way>,
}

impl Running {
    /// Returns when all have drained.
    fn join(self) -> io::Result<ExitCode> {
        let mut result = Ok(ExitCode::SUCCESS);
        for thread in self.threads {
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
    bell: Arc<Bell>,
    inbox: Receiver<Parcel>,
    socket: Option<Socket>,
    certificates: Option<Arc<ServerConfig>>,
    log: Log,
    /// Hears whether it has what it needs.
    ready: Sender<io::Result<()>>,
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
        if self.boot.config.pin {
            pin(self.here);
        }
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .name(&format!("shard-{}", self.here.0))
            .io_memory(RING_MEMORY)
            .ring_depth(RING_DEPTH)
            .make()
            .map_err(|error: GlommioError<()>| io::Error::from(error));
        match executor {
            Ok(executor) => executor.run(self.turn()),
            Err(error) => self.lacks(error),
        }
    }

    /// Tells what is lacking. Nobody waits for this shard then.
    fn lacks(&self, error: io::Error) -> io::Result<()> {
        let _ = self.ready.send(Err(error));
        Ok(())
    }

    async fn turn(mut self) -> io::Result<()> {
        let config = self.boot.config.clone();
        let (ring, buffers) = match Ring::new(self.bell.clone()) {
            Ok(made) => made,
            Err(error) => return self.lacks(error),
        };
        let listener = match self.socket.take().map(|socket| Listener::new(socket, ring.clone())).transpose() {
            Ok(listener) => listener,
            Err(error) => return self.lacks(error),
        };
        // An error means that another shard lacks something: the process is about to end.
        let _ = self.ready.send(Ok(()));
        Turn::new(Parts {
            shard: Shard::new(self.here, self.boot),
            hands: Hands::new(self.here, self.ways, self.log),
            ring,
            buffers,
            inbox: self.inbox,
            listener,
            certificates: self.certificates,
            read_buffer: config.read_buffer_bytes,
        })
        .run()
        .await
    }
}

/// Keeps this thread on the core with the shard's number, of those that the process may use (`WRS_PIN`).
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

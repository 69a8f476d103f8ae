//! The start of a server: what the command line asks for, and all that a node has before its shards run.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use socket2::Socket;
use wrs_core::boot::Boot;
use wrs_core::config::{Command, Config, HostFacts, LogFormat, Parsed, VERSION, help};
use wrs_core::event::Event;

use crate::certificates::Certificates;
use crate::disk::Directory;
use crate::failure::Failure;
use crate::listen;
use crate::log::Log;

/// Does what the command line asks for; `serve` runs a server with this configuration and these warnings, to its end.
pub fn main(serve: impl FnOnce(Config, &[String]) -> Result<(), Failure>) -> ExitCode {
    let host = HostFacts {
        parallelism: std::thread::available_parallelism().map_or(1, usize::from),
        open_files_limit: open_files_limit(),
    };
    let env =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let done = match Config::parse(std::env::args().skip(1), env, &host) {
        Err(error) => Err(Failure::bad_configuration(error.to_string())),
        Ok(Parsed { command, config, warnings }) => match command {
            Command::Help => say(&help()),
            Command::Version => say(&format!("wrs {VERSION}")),
            Command::Client(command, arguments) => return wrs_client::run(command, &arguments, &config),
            Command::Serve => serve(config, &warnings),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

fn say(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").map_err(Failure::cannot("cannot write to standard output"))
}

/// How many files this process may open; `None` where the system sets no limit that we know of.
fn open_files_limit() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    None
}

/// A node before its shards run.
#[derive(Debug)]
pub struct Node {
    /// What each shard starts from; shard 0 takes it as it is, the others [`Boot::for_sibling`].
    pub boot: Boot,
    /// What shard 0 alone has.
    pub control: Control,
    /// TLS for the connections to come.
    pub certificates: Certificates,
    /// Where events go.
    pub log: Log,
    port: u16,
}

/// What comes to a node from outside, and where it keeps its files.
#[derive(Debug)]
pub struct Control {
    /// Where clients connect.
    pub clients: Socket,
    /// Where other nodes connect: the cluster port.
    pub links: Socket,
    /// Its data directory, if it has one.
    pub directory: Option<Directory>,
}

impl Node {
    /// Reads the files that the configuration names and opens its ports. Warnings go to the log.
    ///
    /// # Errors
    /// A file that cannot be used, a port that is taken, a data directory that another process uses.
    pub fn prepare(config: Config, warnings: &[String]) -> Result<Self, Failure> {
        let config = Arc::new(of_another_version(config));
        let certificates = Certificates::read(&config).map_err(Failure::bad_configuration)?;
        let readme = config.readme_path.as_deref().map(read_text).transpose()?;
        let clients = open_port(SocketAddr::new(config.bind, config.api_port), "")?;
        let of_links = SocketAddr::new(config.node_bind(), config.node_port);
        let links = open_port(of_links, " for other nodes (WRS_NODE_PORT)")?;
        let mut key = [0; 32];
        getrandom::fill(&mut key)
            .map_err(|error| Failure::cannot_run(format!("the system gives no random bytes: {error}")))?;
        let port = listen::port(&clients);
        let mut boot = Boot::new(config.clone(), key, port, readme);
        boot.node_port = listen::port(&links);
        let log = Log::new(config.clone());
        let (mut directory, mut doubts) = (None, Vec::new());
        if let Some(path) = &config.data_dir {
            let opened = Directory::open(path).map_err(Failure::cannot_run)?;
            directory = Some(opened.directory);
            boot.stored = Some(opened.stored);
            doubts = opened.warnings;
        }
        for why in warnings.iter().cloned().chain(boot.warnings()).chain(doubts) {
            log.write(&Event::ConfigDoubtful { why });
        }
        Ok(Node { boot, control: Control { clients, links, directory }, certificates, log, port })
    }

    /// What the node says once it serves.
    pub fn greeting(&self, runtime: &str) -> Greeting {
        let config = &self.boot.config;
        match config.log_format {
            LogFormat::Text => Greeting::Person(self.boot.greeting(runtime, self.port)),
            LogFormat::Json => Greeting::Log(
                self.log.clone(),
                Event::Listening {
                    address: SocketAddr::new(config.bind, self.port),
                    cluster: self.boot.node_address(),
                    tls: config.tls.is_some(),
                    shards: config.shards,
                },
            ),
        }
    }
}

/// What a node says once it serves: to a person, or to whatever reads the log.
#[derive(Debug)]
pub enum Greeting {
    /// Text, on standard output.
    Person(String),
    /// An event.
    Log(Log, Event),
}

impl Greeting {
    /// Says it.
    pub fn say(self) {
        match self {
            // A node whose output is closed serves all the same.
            Greeting::Person(text) => drop(say(&text)),
            Greeting::Log(log, event) => log.write(&event),
        }
    }
}

fn read_text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::bad_configuration(format!("{}: {error}", path.display())))
}

fn open_port(address: SocketAddr, what_for: &str) -> Result<Socket, Failure> {
    listen::bind(address).map_err(Failure::cannot(format!("cannot listen on {address}{what_for}")))
}

/// In a debug build, for tests of an upgrade from node to node: a node that speaks the next version of the cluster's protocol as
/// well, as one of the next release will.
fn of_another_version(config: Config) -> Config {
    const TRIAL: &str = "WRS_TRIAL_NEXT_PROTOCOL";
    let next = cfg!(debug_assertions) && std::env::var_os(TRIAL).is_some();
    Config { protocol: config.protocol + u8::from(next), ..config }
}

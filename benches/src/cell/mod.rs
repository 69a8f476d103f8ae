//! What is measured: each cell opens its own clients against a running server, and says what it counted.

pub mod crossing;
pub mod echo;
pub mod fanout;
pub mod handshake;
pub mod hop;
pub mod idle;
pub mod latency;
pub mod push_pull;
pub mod rest;
pub mod span;

use crate::load::histogram::Histogram;
use crate::load::server::Process;
use crate::load::service::Service;
use span::Span;
use std::io;
use std::time::Duration;

/// One kind of load.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// One publisher to many.
    Fanout(fanout::Fanout),
    /// Each client its own messages.
    Echo(echo::Echo),
    /// One distributor to workers.
    PushPull(push_pull::PushPull),
    /// A steady rate.
    Latency(latency::Latency),
    /// Connections that do nothing.
    Idle(idle::Idle),
    /// Connections that come and go.
    Handshake(handshake::Handshake),
    /// Requests.
    Rest(rest::Rest),
}

/// How long a run takes.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Load that does not count.
    pub warm_up: Duration,
    /// Load that counts.
    pub length: Duration,
}

impl Work {
    /// Runs it once against a server that is listening, whose CPU time is that of `process`.
    ///
    /// # Errors
    /// The server refuses, ends, or cannot do it.
    pub fn run(&self, service: Service, process: Option<Process>, timing: Timing) -> io::Result<Outcome> {
        let span = Span::new(process, timing.warm_up, timing.length);
        match self {
            Self::Fanout(work) => work.run(service, span),
            Self::Echo(work) => work.run(service, span),
            Self::PushPull(work) => work.run(service, span),
            Self::Latency(work) => work.run(service, span),
            Self::Idle(work) => work.run(service, process),
            Self::Handshake(work) => work.run(service, span),
            Self::Rest(work) => work.run(service, span),
        }
    }

    /// What the figure counts.
    pub fn unit(&self) -> &'static str {
        match self {
            Self::Fanout(_) | Self::PushPull(_) | Self::Latency(_) => "deliveries per CPU-s",
            Self::Echo(_) => "echoes per CPU-s",
            Self::Idle(_) => "bytes per connection",
            Self::Handshake(_) => "connections per CPU-s",
            Self::Rest(_) => "requests per CPU-s",
        }
    }

    /// Whether only the relay can do it: a peer has neither REST nor push-pull nor a certificate.
    pub fn relay_only(&self) -> bool {
        matches!(self, Self::PushPull(_) | Self::Rest(_)) || self.tls()
    }

    /// Whether the server is to speak TLS.
    pub fn tls(&self) -> bool {
        matches!(self, Self::Idle(idle::Idle { tls: true, .. }))
    }
}

/// What one run of a cell has shown.
pub struct Outcome {
    /// The cell's figure: a count per CPU-second of the server, or bytes per connection.
    pub figure: f64,
    /// The same count per second of the clock; 0 for memory.
    pub per_second: f64,
    /// The share of a core that the server used; 0 where it was not measured.
    pub server_share: f64,
    /// Messages that did not arrive, arrived twice or out of order; answers that were errors.
    pub lost: u64,
    /// Times, as the cell defines them.
    pub times: Histogram,
    /// What else there is to say, in words.
    pub notes: Vec<String>,
}

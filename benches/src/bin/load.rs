//! `load`: one kind of load against a server that is already listening.
#![allow(clippy::print_stdout, reason = "what it found is the program's output")]

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("load needs Linux: it lives on epoll and /proc");
    std::process::exit(2);
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::process::ExitCode;
    use std::time::Duration;
    use wrs_benches::arguments::Arguments;
    use wrs_benches::cell::{Outcome, Timing, Work, echo, fanout, handshake, idle, latency, push_pull, rest};
    use wrs_benches::load::server::{Process, lift_file_limit, pin};
    use wrs_benches::load::service::Service;
    use wrs_benches::report::short;

    const USAGE: &str = "usage: load KIND --at http://ADDRESS:PORT (the relay) or ws://ADDRESS:PORT (a peer) [options]
  fanout     --subscribers 10 --size 64 --window 32
  echo       --clients 50 --size 64 --window 8
  push-pull  --workers 10 --size 64 --window 32
  latency    --subscribers 100 --size 64 --rate 1000 --stalled 0
  idle       --clients 9000 --tls false
  handshake  --clients 32 --abrupt false
  rest-get   --clients 8 --depth 1 --present 1
  rest-post  --clients 8 --depth 1 --present 0
all take     --seconds 2 --warm-up 0.3 --pid PID (figures per CPU-second of that process) --core N";

    const OPTIONS: &[&str] = &[
        "at",
        "pid",
        "core",
        "seconds",
        "warm-up",
        "subscribers",
        "clients",
        "workers",
        "size",
        "window",
        "rate",
        "stalled",
        "tls",
        "abrupt",
        "depth",
        "present",
    ];

    pub(super) fn main() -> ExitCode {
        let mut words = std::env::args().skip(1);
        let kind = words.next().unwrap_or_default();
        match run(&kind, words) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("{error}\n{USAGE}");
                ExitCode::from(2)
            }
        }
    }

    /// True if nothing was lost.
    fn run(kind: &str, words: impl Iterator<Item = String>) -> Result<bool, String> {
        let arguments = Arguments::parse(words, OPTIONS)?;
        let work = work(kind, &arguments)?;
        let at: Option<String> = arguments.get("at")?;
        let service = Service::parse(&at.ok_or("--at: where is the server?")?).map_err(|error| error.to_string())?;
        let process = arguments.get("pid")?.map(Process);
        let timing = Timing {
            warm_up: Duration::from_secs_f64(arguments.get_or("warm-up", 0.3)?),
            length: Duration::from_secs_f64(arguments.get_or("seconds", 2.0)?),
        };
        lift_file_limit()
            .and_then(|()| pin(arguments.get("core").ok().flatten()))
            .map_err(|error| error.to_string())?;
        let outcome = work.run(service, process, timing).map_err(|error| error.to_string())?;
        print(&work, process.is_some(), &outcome);
        Ok(outcome.lost == 0)
    }

    fn work(kind: &str, arguments: &Arguments) -> Result<Work, String> {
        let number = |name: &str, default: usize| arguments.get_or(name, default);
        let size = number("size", 64)?;
        let rest = |call, present| -> Result<Work, String> {
            let (clients, depth) = (number("clients", 8)?, number("depth", 1)?);
            Ok(Work::Rest(rest::Rest { call, clients, depth, present: number("present", present)? }))
        };
        Ok(match kind {
            "fanout" => {
                let (subscribers, window) = (number("subscribers", 10)?, number("window", 32)?);
                Work::Fanout(fanout::Fanout { subscribers, size, window })
            }
            "echo" => Work::Echo(echo::Echo { clients: number("clients", 50)?, size, window: number("window", 8)? }),
            "push-pull" => {
                let (workers, window) = (number("workers", 10)?, number("window", 32)?);
                Work::PushPull(push_pull::PushPull { workers, size, window })
            }
            "latency" => {
                let (subscribers, stalled) = (number("subscribers", 100)?, number("stalled", 0)?);
                Work::Latency(latency::Latency { subscribers, size, rate: arguments.get_or("rate", 1000)?, stalled })
            }
            "idle" => {
                Work::Idle(idle::Idle { clients: number("clients", 9000)?, tls: arguments.get_or("tls", false)? })
            }
            "handshake" => {
                let (clients, abrupt) = (number("clients", 32)?, arguments.get_or("abrupt", false)?);
                Work::Handshake(handshake::Handshake { clients, abrupt })
            }
            "rest-get" => rest(rest::Call::Get, 1)?,
            "rest-post" => rest(rest::Call::Create, 0)?,
            other => return Err(format!("{other:?} is no kind of load")),
        })
    }

    fn print(work: &Work, per_cpu: bool, outcome: &Outcome) {
        let unit = if per_cpu { work.unit().to_owned() } else { work.unit().replace("CPU-s", "s") };
        println!("{} {unit}", short(outcome.figure));
        if outcome.per_second > 0.0 {
            let share = outcome.server_share * 100.0;
            println!("{} per second of the clock, server at {share:.0} % of a core", short(outcome.per_second));
        }
        if outcome.times.total() > 0 {
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| outcome.times.percentile(share));
            println!("p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}");
        }
        println!("lost {}", outcome.lost);
        outcome.notes.iter().for_each(|note| println!("{note}"));
    }
}

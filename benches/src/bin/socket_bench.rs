//! `socket_bench`: wrs beside its peers, in alternating rounds. How to run it: the front page of this package.
#![allow(clippy::print_stdout, reason = "the table is the program's output")]

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("socket_bench needs Linux: it lives on epoll and /proc");
    std::process::exit(2);
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::path::{Path, PathBuf};
    use std::process::{Command, ExitCode, Stdio};
    use std::time::Duration;
    use wrs_benches::arguments::{Arguments, end};
    use wrs_benches::cell::{Outcome, Timing, Work, echo, fanout, handshake, idle, latency, push_pull, rest};
    use wrs_benches::load::server::{Server, lift_file_limit, pin};
    use wrs_benches::load::service::Service;
    use wrs_benches::report::{Row, Sheet, markdown, short};

    const OPTIONS: &[&str] = &[
        "server",
        "peer",
        "without",
        "cells",
        "rounds",
        "seconds",
        "warm-up",
        "server-core",
        "load-core",
        "cert",
        "key",
    ];
    /// Where the peers of this repository lie.
    const PEERS: &str = "benches/peers";
    /// Where `cargo run` puts the relay.
    const RELAY: &str = "target/release/wrs";

    /// A server that takes part.
    struct Entrant {
        name: String,
        command: String,
        relay: bool,
    }

    /// How a run is made.
    struct Plan {
        rounds: usize,
        timing: Timing,
        server_core: Option<usize>,
        load_core: Option<usize>,
        certificate: Option<(PathBuf, PathBuf)>,
    }

    pub(super) fn main() -> ExitCode {
        end(run())
    }

    /// True if nothing was lost and no run failed.
    fn run() -> Result<bool, String> {
        let arguments = Arguments::parse(std::env::args().skip(1), OPTIONS)?;
        let wanted: String = arguments.get_or("cells", "fanout,echo".to_owned())?;
        let cells = cells();
        if wanted == "list" {
            cells.iter().for_each(|(name, _)| println!("{name}"));
            return Ok(true);
        }
        let wanted: Vec<&str> = wanted.split(',').filter(|name| !name.is_empty()).collect();
        let cells: Vec<_> = cells.into_iter().filter(|(name, _)| wanted.iter().any(|w| name.starts_with(w))).collect();
        if cells.is_empty() {
            return Err("no such cell; --cells list shows all".into());
        }
        let entrants = entrants(&arguments)?;
        let plan = plan(&arguments, cells.iter().any(|(_, work)| work.tls()))?;
        lift_file_limit().and_then(|()| pin(plan.load_core)).map_err(|error| error.to_string())?;
        let mut sheets: Vec<Sheet> = cells.iter().map(|(name, work)| sheet(name, work, &entrants)).collect();
        for round in 0..plan.rounds {
            for ((_, work), sheet) in cells.iter().zip(&mut sheets) {
                measure(round, work, &entrants, &plan, sheet);
            }
        }
        let peers: Vec<String> =
            entrants.iter().filter(|entrant| !entrant.relay).map(|peer| peer.name.clone()).collect();
        print!("{}\n\n{}", machine(&plan), markdown(&sheets, &peers));
        Ok(sheets.iter().all(Sheet::is_sound))
    }

    fn cells() -> Vec<(String, Work)> {
        let mut cells = Vec::new();
        for size in [64, 1024] {
            for (subscribers, window) in [(10, 32), (100, 32), (1000, 8)] {
                let work = Work::Fanout(fanout::Fanout { subscribers, size, window });
                cells.push((format!("fanout-{subscribers}x{size}"), work));
            }
        }
        for size in [64, 1024] {
            cells.push((format!("echo-{size}"), Work::Echo(echo::Echo { clients: 50, size, window: 8 })));
        }
        cells.push((
            "push-pull-10x64".into(),
            Work::PushPull(push_pull::PushPull { workers: 10, size: 64, window: 32 }),
        ));
        for (subscribers, rate) in [(10, 10_000), (20, 1_000), (100, 1_000), (1000, 100)] {
            let work = Work::Latency(latency::Latency { subscribers, size: 64, rate, stalled: 0 });
            cells.push((format!("latency-{subscribers}x{rate}"), work));
        }
        // The same load twice: alone, and beside clients that never read and are to be cut off.
        for stalled in [0, 5] {
            let work = Work::Latency(latency::Latency { subscribers: 50, size: 16 * 1024, rate: 1_000, stalled });
            cells.push((format!("stalled-{stalled}"), work));
        }
        cells.push(("idle-plain".into(), Work::Idle(idle::Idle { clients: 9000, tls: false })));
        cells.push(("idle-tls".into(), Work::Idle(idle::Idle { clients: 9000, tls: true })));
        for (name, abrupt) in [("handshake-clean", false), ("handshake-abrupt", true)] {
            cells.push((name.into(), Work::Handshake(handshake::Handshake { clients: 32, abrupt })));
        }
        for (name, depth) in [("", 1), ("-pipelined", 16)] {
            for present in [1, 100_000] {
                for (verb, call) in [("get", rest::Call::Get), ("post", rest::Call::Create)] {
                    let work = Work::Rest(rest::Rest { call, clients: 8, depth, present });
                    cells.push((format!("rest-{verb}{name}-{present}"), work));
                }
            }
        }
        cells
    }

    fn entrants(arguments: &Arguments) -> Result<Vec<Entrant>, String> {
        let mut entrants = named(arguments, "server", true)?;
        if entrants.is_empty() && Path::new(RELAY).exists() {
            entrants.push(Entrant { name: "wrs".into(), command: RELAY.into(), relay: true });
        }
        let own = [
            ("bare", format!("{PEERS}/target/release/peer-bare"), "{}"),
            ("tungstenite", format!("{PEERS}/target/release/peer-tungstenite"), "{}"),
            ("ws", format!("{PEERS}/ws/node_modules/ws"), "node benches/peers/ws/server.js"),
        ];
        for (name, needs, command) in own {
            if arguments.all("without").any(|without| without == name) {
                continue;
            }
            if !Path::new(&needs).exists() {
                eprintln!("{name}: not built ({needs}), left out");
                continue;
            }
            let command = format!("{} {{port}}", command.replace("{}", &needs));
            entrants.push(Entrant { name: name.into(), command, relay: false });
        }
        entrants.extend(named(arguments, "peer", false)?);
        if entrants.is_empty() { Err("no server to measure: build one, or name one".into()) } else { Ok(entrants) }
    }

    fn named(arguments: &Arguments, option: &str, relay: bool) -> Result<Vec<Entrant>, String> {
        let split = |pair: &str| {
            let (name, command) = pair.split_once('=').ok_or_else(|| format!("--{option} {pair}: not NAME=COMMAND"))?;
            Ok(Entrant { name: name.into(), command: command.into(), relay })
        };
        arguments.all(option).map(split).collect()
    }

    fn plan(arguments: &Arguments, tls: bool) -> Result<Plan, String> {
        let core = |name, default: usize| match arguments.get::<String>(name)?.as_deref() {
            Some("none") => Ok(None),
            _ => arguments.get_or(name, default).map(Some),
        };
        let given = arguments.get::<PathBuf>("cert")?.zip(arguments.get::<PathBuf>("key")?);
        Ok(Plan {
            rounds: arguments.get_or("rounds", 5)?,
            timing: Timing {
                warm_up: Duration::from_secs_f64(arguments.get_or("warm-up", 0.3)?),
                length: Duration::from_secs_f64(arguments.get_or("seconds", 1.0)?),
            },
            server_core: core("server-core", 0)?,
            load_core: core("load-core", 1)?,
            certificate: if tls && given.is_none() { Some(make_certificate()?) } else { given },
        })
    }

    fn make_certificate() -> Result<(PathBuf, PathBuf), String> {
        let file = |name: &str| std::env::temp_dir().join(format!("wrs-bench-{}-{name}.pem", std::process::id()));
        let (certificate, key) = (file("cert"), file("key"));
        let mut command = Command::new("openssl");
        command.args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(' '));
        command.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]);
        command.arg("-out").arg(&certificate).arg("-keyout").arg(&key).stdout(Stdio::null()).stderr(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => Ok((certificate, key)),
            _ => Err("openssl makes no certificate here: give --cert and --key".into()),
        }
    }

    fn takes_part(entrant: &Entrant, work: &Work) -> bool {
        entrant.relay || !work.relay_only()
    }

    /// Who is measured in a cell; no round yet.
    fn sheet(name: &str, work: &Work, entrants: &[Entrant]) -> Sheet {
        let able = entrants.iter().filter(|entrant| takes_part(entrant, work));
        let row = |entrant: &Entrant| Row { server: entrant.name.clone(), peer: !entrant.relay, rounds: Vec::new() };
        Sheet { cell: name.to_owned(), unit: work.unit(), rows: able.map(row).collect() }
    }

    /// One round of one cell. The order turns with each round, so that nobody always runs first.
    fn measure(round: usize, work: &Work, entrants: &[Entrant], plan: &Plan, sheet: &mut Sheet) {
        let able: Vec<&Entrant> = entrants.iter().filter(|entrant| takes_part(entrant, work)).collect();
        for turn in 0..able.len() {
            let index = (turn + round) % able.len();
            let (Some(entrant), Some(row)) = (able.get(index), sheet.rows.get_mut(index)) else { continue };
            let outcome = run_once(work, entrant, plan);
            let shown = match &outcome {
                Ok(outcome) => short(outcome.figure),
                Err(error) => format!("FAILED: {error}"),
            };
            eprintln!("round {} {} {}: {shown}", round + 1, sheet.cell, entrant.name);
            row.rounds.push(outcome.ok());
        }
    }

    fn run_once(work: &Work, entrant: &Entrant, plan: &Plan) -> std::io::Result<Outcome> {
        let mut environment = Vec::new();
        if let (true, Some((certificate, key))) = (work.tls(), &plan.certificate) {
            environment.push(("WRS_SSL".to_owned(), "true".to_owned()));
            environment.push(("WRS_SSL_CERT_PATH".to_owned(), certificate.display().to_string()));
            environment.push(("WRS_SSL_KEY_PATH".to_owned(), key.display().to_string()));
        }
        let server = Server::start(&entrant.command, plan.server_core, entrant.relay, &environment)?;
        let service = if entrant.relay { Service::Relay(server.address) } else { Service::Peer(server.address) };
        work.run(service, Some(server.process()), plan.timing)
    }

    /// What the figures were made on.
    fn machine(plan: &Plan) -> String {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let (processor, kernel) = (read("/proc/cpuinfo"), read("/proc/sys/kernel/osrelease"));
        let model = processor.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split(':').nth(1)).unwrap_or("unknown processor").trim();
        let cores = processor.lines().filter(|line| line.starts_with("processor")).count();
        let load = read("/proc/loadavg");
        let load: Vec<&str> = load.split_whitespace().take(3).collect();
        let Timing { warm_up, length } = plan.timing;
        format!(
            "{} rounds of {length:?} after {warm_up:?}; Linux {}, {cores} cores, {model}; load average at the end {}",
            plan.rounds,
            kernel.trim(),
            load.join(" "),
        )
    }
}

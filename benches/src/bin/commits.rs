//! `commits`: how many changes of the catalogue a cluster of real nodes agrees on, per CPU-second of all of them together, and
//! per write that the disk has confirmed. How to run it: the front page of this package.
#![allow(clippy::print_stdout, reason = "the table is the program's output")]

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("commits needs Linux: it lives on epoll and /proc");
    std::process::exit(2);
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::net::{SocketAddr, TcpStream};
    use std::path::PathBuf;
    use std::process::ExitCode;
    use std::time::{Duration, Instant};
    use wrs_benches::arguments::{Arguments, end};
    use wrs_benches::cell::rest::{Call, Rest};
    use wrs_benches::load::cluster::Cluster;
    use wrs_benches::load::server::lift_file_limit;
    use wrs_benches::load::service::call;

    const OPTIONS: &[&str] =
        &["server", "nodes", "clients", "depth", "seconds", "warm-up", "rounds", "data-dir", "wait"];

    /// What is measured, and for how long.
    struct Plan {
        server: String,
        nodes: usize,
        load: Rest,
        warm_up: Duration,
        length: Duration,
        data_dir: Option<PathBuf>,
        /// How long the cluster stands idle first, so that a profiler can be attached.
        wait: Duration,
    }

    /// A state of all nodes.
    struct Reading {
        at: Instant,
        cpu: Duration,
        answered: u64,
        synced: u64,
    }

    pub(super) fn main() -> ExitCode {
        end(run())
    }

    /// True if every request was answered with 201.
    fn run() -> Result<bool, String> {
        let arguments = Arguments::parse(std::env::args().skip(1), OPTIONS)?;
        let clients = arguments.get_or("clients", 96)?;
        let seconds = |name: &str, default: f64| arguments.get_or(name, default).map(Duration::from_secs_f64);
        let plan = Plan {
            server: arguments.get_or("server", "target/release/wrs".to_owned())?,
            nodes: arguments.get_or("nodes", 3)?,
            load: Rest { call: Call::Create, clients, depth: arguments.get_or("depth", 1)?, present: 0 },
            warm_up: seconds("warm-up", 1.0)?,
            length: seconds("seconds", 3.0)?,
            data_dir: arguments.get("data-dir")?,
            wait: seconds("wait", 0.0)?,
        };
        lift_file_limit().map_err(|error| error.to_string())?;
        println!(
            "| nodes | clients | commits/s | commits per CPU-s of all nodes | per write confirmed by a disk | p50 | p99 | lost |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        let mut sound = true;
        for round in 0..arguments.get_or("rounds", 3)? {
            sound &= measure(&plan, round).map_err(|error| error.to_string())?;
        }
        Ok(sound)
    }

    fn start(plan: &Plan, round: usize) -> io::Result<Cluster> {
        Cluster::start(&plan.server, None, plan.nodes, true, |number| {
            let path = plan.data_dir.as_ref().map(|path| path.join(format!("{}-{round}-{number}", std::process::id())));
            path.map(|path| ("WRS_DATA_DIR".to_owned(), path.display().to_string())).into_iter().collect()
        })
    }

    /// A figure of `GET /metrics`.
    fn metric(address: SocketAddr, series: &str) -> io::Result<u64> {
        let text = call(&mut TcpStream::connect(address)?, address, "GET", "/metrics", "")?;
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        found.ok_or_else(|| io::Error::other(format!("no {series} in the metrics")))
    }

    fn read(cluster: &Cluster, answered: u64) -> io::Result<Reading> {
        // The busiest disk is the leader's, which every change has to pass.
        let synced = cluster.nodes.iter().map(|node| metric(node.address, "wrs_log_writes_total"));
        let synced = synced.collect::<io::Result<Vec<u64>>>()?.into_iter().max().unwrap_or(0);
        Ok(Reading { at: Instant::now(), cpu: cluster.cpu()?.iter().sum(), answered, synced })
    }

    fn measure(plan: &Plan, round: usize) -> io::Result<bool> {
        let cluster = start(plan, round)?;
        if !plan.wait.is_zero() {
            eprintln!("processes: {:?}", cluster.nodes.iter().map(|node| node.process().0).collect::<Vec<_>>());
            std::thread::sleep(plan.wait);
        }
        let addresses = cluster.addresses();
        let begin = Instant::now();
        let (mut first, mut last) = (None, None);
        let (lost, times) = plan.load.create_on(&addresses, &mut |_, answered| {
            if first.is_none() && begin.elapsed() >= plan.warm_up {
                first = Some(read(&cluster, answered)?);
            }
            if last.is_none() && begin.elapsed() >= plan.warm_up + plan.length {
                last = Some(read(&cluster, answered)?);
            }
            Ok(last.is_none())
        })?;
        let (Some(first), Some(last)) = (first, last) else { return Err(io::Error::other("the load ended early")) };
        let commits = (last.answered - first.answered) as f64;
        let (clock, cpu) = (last.at.duration_since(first.at).as_secs_f64(), (last.cpu - first.cpu).as_secs_f64());
        let writes = match last.synced - first.synced {
            0 => "none".to_owned(),
            count => format!("{:.1}", commits / count as f64),
        };
        println!(
            "| {} | {} | {:.0} | {:.0} | {writes} | {:?} | {:?} | {lost} |",
            cluster.nodes.len(),
            plan.load.clients,
            commits / clock,
            commits / cpu,
            times.percentile(0.5),
            times.percentile(0.99),
        );
        Ok(lost == 0)
    }
}

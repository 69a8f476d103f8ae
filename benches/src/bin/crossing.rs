//! `crossing`: what clusters of one, three and five real nodes deliver in each pattern, per CPU-second of all their nodes and per
//! second, each with the same share of a core if asked; or what a hop between nodes adds to a message's time. How to run it: the
//! front page of this package.
#![allow(clippy::print_stdout, reason = "the table is the program's output")]

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("crossing needs Linux: it lives on epoll and /proc");
    std::process::exit(2);
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::process::ExitCode;
    use std::time::Duration;
    use wrs_benches::arguments::{Arguments, end};
    use wrs_benches::cell::crossing::{Crossed, Crossing};
    use wrs_benches::cell::hop::{Hop, Hopped};
    use wrs_benches::load::cluster::Cluster;
    use wrs_benches::load::server::{lift_file_limit, pin};

    const OPTIONS: &[&str] = &[
        "server",
        "nodes",
        "patterns",
        "channels",
        "senders",
        "receivers",
        "size",
        "window",
        "batch",
        "seconds",
        "warm-up",
        "rounds",
        "share",
        "rate",
        "node-core",
        "load-core",
    ];

    pub(super) fn main() -> ExitCode {
        end(run())
    }

    /// True if nothing was lost.
    fn run() -> Result<bool, String> {
        let arguments = Arguments::parse(std::env::args().skip(1), OPTIONS)?;
        let seconds = |name: &str, default: f64| arguments.get_or(name, default).map(Duration::from_secs_f64);
        let list = |name: &str, default: &str| {
            let text = arguments.get_or(name, default.to_owned());
            text.map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>())
        };
        let server: String = arguments.get_or("server", "target/release/wrs".to_owned())?;
        let nodes = list("nodes", "1,3,5")?;
        let nodes: Vec<usize> = nodes.iter().map(|n| n.parse()).collect::<Result<_, _>>().map_err(|_| "--nodes 1,3")?;
        let (node_core, load_core) = (arguments.get_or("node-core", 0)?, arguments.get_or("load-core", 1)?);
        let (warm_up, length) = (seconds("warm-up", 0.5)?, seconds("seconds", 2.0)?);
        let rounds: usize = arguments.get_or("rounds", 3)?;
        let share: Option<f64> = arguments.get("share")?;
        if let Some(crowd) = nodes.iter().find(|nodes| **nodes as f64 * share.unwrap_or_default() > 1.0) {
            return Err(format!("--share: {crowd} nodes on one core cannot have so much each"));
        }
        lift_file_limit().and_then(|()| pin(Some(load_core))).map_err(|error| error.to_string())?;
        let patterns = list("patterns", "pub-sub,push-pull,fan-in-out,req-repl")?;
        if let Some(rate) = arguments.get("rate")? {
            let (channels, size) = (arguments.get_or("channels", 5)?, arguments.get_or("size", 64)?);
            let start = |count| Cluster::start(&server, Some(node_core), count, true, |_| Vec::new());
            let loads = patterns.into_iter().map(|pattern| Hop { pattern, channels, size, rate });
            let loads: Vec<Hop> = loads.collect();
            return hops(&nodes, &loads, rounds, |load, count| load.run(&start(count)?, warm_up, length));
        }
        println!(
            "| pattern | nodes | per CPU-s of all nodes | of one node's | per second | of one node's | {} | load | lost |",
            if share.is_some() { "share used" } else { "core of the nodes" },
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        let mut sound = true;
        for pattern in patterns {
            let (channels, senders, receivers, window) = match pattern.as_str() {
                "pub-sub" => (20, 1, 60, 128),
                "req-repl" => (6, 1, 10, 512),
                _ => (6, 5, 15, 512),
            };
            let window: usize = arguments.get_or("window", window)?;
            let batch = if pattern == "pub-sub" { window } else { window.div_ceil(2) };
            let load = Crossing {
                channels: arguments.get_or("channels", channels)?,
                senders: if pattern == "req-repl" { 1 } else { arguments.get_or("senders", senders)? },
                receivers: arguments.get_or("receivers", receivers)?,
                size: arguments.get_or("size", 64)?,
                window,
                batch: arguments.get_or("batch", batch)?.clamp(1, window.max(1)),
                share,
                pattern,
            };
            let cells: Vec<Cell> = nodes.iter().flat_map(|&nodes| Cell::of(nodes)).collect();
            let mut table: Vec<Vec<Crossed>> = vec![Vec::new(); cells.len()];
            for round in 0..rounds {
                for turn in 0..cells.len() {
                    let at = (round + turn) % cells.len();
                    let (Some(row), Some(cell)) = (table.get_mut(at), cells.get(at)) else { continue };
                    let cluster = Cluster::start(&server, Some(node_core), cell.nodes, cell.joined, |_| Vec::new());
                    let crossed = cluster.and_then(|cluster| load.run(cluster, warm_up, length));
                    row.push(crossed.map_err(|error| error.to_string())?);
                }
            }
            sound &= tell(&load.pattern, &cells, &table, share);
        }
        Ok(sound)
    }

    /// What a hop adds: medians of the rounds, in microseconds. True if nothing was lost.
    fn hops(
        nodes: &[usize],
        loads: &[Hop],
        rounds: usize,
        run: impl Fn(&Hop, usize) -> io::Result<Hopped>,
    ) -> Result<bool, String> {
        println!("| pattern | nodes | p50 near | far | added | p99 near | far | added | lost |");
        println!("|---|---|---|---|---|---|---|---|---|");
        let mut sound = true;
        for load in loads {
            for count in nodes.iter().copied().filter(|count| *count > 1) {
                let row: Result<Vec<Hopped>, _> = (0..rounds).map(|_| run(load, count)).collect();
                let row = row.map_err(|error| error.to_string())?;
                let lost: u64 = row.iter().map(|hopped| hopped.lost).sum();
                let figures = |share: f64| {
                    let micros = |time: Duration| time.as_secs_f64() * 1e6;
                    let each = row.iter().map(|hopped| hopped.percentiles(share));
                    let each: Vec<_> = each.map(|(near, far)| (micros(near), micros(far))).collect();
                    let middle = |figure: fn(&(f64, f64)) -> f64| median(each.iter().map(figure));
                    let added = each.iter().map(|(near, far)| far - near);
                    format!(
                        "{:.0} | {:.0} | {:.0} ({:.0}–{:.0})",
                        middle(|it| it.0),
                        middle(|it| it.1),
                        median(added.clone()),
                        added.clone().fold(f64::INFINITY, f64::min),
                        added.fold(f64::NEG_INFINITY, f64::max),
                    )
                };
                println!("| {} | {count} | {} | {} | {lost} |", load.pattern, figures(0.5), figures(0.99));
                sound &= lost == 0;
            }
        }
        Ok(sound)
    }

    /// So many nodes, and whether they are one service.
    #[derive(Clone, Copy, PartialEq)]
    struct Cell {
        nodes: usize,
        joined: bool,
    }

    impl Cell {
        /// Beside a cluster as many nodes that know nothing of each other: what sharing a core costs them.
        fn of(nodes: usize) -> Vec<Cell> {
            let both = [true, false].map(|joined| Cell { nodes, joined });
            both.into_iter().take(nodes.min(2)).collect()
        }
    }

    /// A row for each cell: medians, and the medians of the rounds' ratios to the first cell.
    fn tell(pattern: &str, cells: &[Cell], table: &[Vec<Crossed>], share: Option<f64>) -> bool {
        let one = table.first().map_or(&[][..], Vec::as_slice);
        let mut sound = true;
        for (cell, row) in cells.iter().zip(table) {
            let lost: u64 = row.iter().map(|crossed| crossed.lost).sum();
            let middle = |figure: fn(&Crossed) -> f64| median(row.iter().map(figure));
            let percent = |figure: fn(&Crossed) -> f64, whole: f64| format!("{:.0}", middle(figure) / whole * 100.0);
            let used = match share {
                Some(share) => format!("{}–{}", percent(|it| it.least, share), percent(|it| it.most, share)),
                None => percent(|it| it.nodes, 1.0),
            };
            println!(
                "| {pattern} | {}{} | {:.0} | {} | {:.0} | {} | {used} % | {} % | {lost} |",
                cell.nodes,
                if cell.joined { "" } else { " apart" },
                middle(|it| it.per_cpu),
                ratios(row, one, |it| it.per_cpu),
                middle(|it| it.per_second),
                ratios(row, one, |it| it.per_second),
                percent(|it| it.load, 1.0),
            );
            sound &= lost == 0;
        }
        sound
    }

    /// The median of the rounds' ratios, with the least and the most.
    fn ratios(row: &[Crossed], one: &[Crossed], figure: fn(&Crossed) -> f64) -> String {
        let ratios: Vec<f64> = row.iter().zip(one).map(|(it, one)| figure(it) / figure(one)).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        format!("{:.2} ({least:.2}–{most:.2})", median(ratios.iter().copied()))
    }

    fn median(values: impl Iterator<Item = f64>) -> f64 {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let [upper, lower] =
            [values.len(), values.len().saturating_sub(1)].map(|double| values.get(double / 2).copied());
        upper.zip(lower).map_or(f64::NAN, |(upper, lower)| f64::midpoint(upper, lower))
    }
}

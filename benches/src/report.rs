//! The socket bench's results, as Markdown.

use crate::cell::Outcome;
use std::fmt::Write as _;
use std::time::Duration;

/// All rounds of one server in one cell; `None` is a run that failed.
pub struct Row {
    /// The server's name.
    pub server: String,
    /// Whether others are compared with it.
    pub peer: bool,
    /// By round.
    pub rounds: Vec<Option<Outcome>>,
}

/// One cell: what was measured, and who.
pub struct Sheet {
    /// The cell's name.
    pub cell: String,
    /// What the figures count.
    pub unit: &'static str,
    /// One per server.
    pub rows: Vec<Row>,
}

impl Sheet {
    /// Whether every run of a server (not of a peer) came to its end without loss.
    pub fn is_sound(&self) -> bool {
        let mut ours = self.rows.iter().filter(|row| !row.peer).flat_map(|row| &row.rounds);
        ours.all(|round| round.as_ref().is_some_and(|outcome| outcome.lost == 0))
    }
}

/// One table for all cells, with a column of ratios per peer.
pub fn markdown(sheets: &[Sheet], peers: &[String]) -> String {
    let mut text = String::from("| cell | unit | server | median (min–max) |");
    for peer in peers {
        let _ = write!(text, " × {peer} |");
    }
    text.push_str(" per s | server's core | p50 / p99 / p99.9 µs | lost | note |\n|");
    text.push_str(&"---|".repeat(9 + peers.len()));
    text.push('\n');
    for sheet in sheets {
        for row in &sheet.rows {
            line(&mut text, sheet, row, peers);
        }
    }
    text
}

fn line(text: &mut String, sheet: &Sheet, row: &Row, peers: &[String]) {
    let runs: Vec<&Outcome> = row.rounds.iter().flatten().collect();
    let failed = row.rounds.len() - runs.len();
    let figures: Vec<f64> = runs.iter().map(|run| run.figure).collect();
    let spread = match (least(&figures), median(&figures), most(&figures)) {
        (Some(least), Some(median), Some(most)) => format!("{} ({}–{})", short(median), short(least), short(most)),
        _ => "failed".into(),
    };
    let _ = write!(text, "| {} | {} | {} | {spread} |", sheet.cell, sheet.unit, row.server);
    for peer in peers {
        let other = sheet.rows.iter().find(|other| other.server == *peer);
        let ratio = other.filter(|other| other.server != row.server).and_then(|other| ratio(row, other));
        let _ = write!(text, " {} |", ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")));
    }
    let middle = |value: fn(&Outcome) -> f64| {
        median(&runs.iter().map(|run| value(run)).collect::<Vec<_>>()).filter(|median| *median > 0.0)
    };
    let per_second = middle(|run| run.per_second).map_or_else(String::new, short);
    let share = middle(|run| run.server_share).map_or_else(String::new, |share| format!("{:.0} %", share * 100.0));
    let micros = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e6);
    let times = [0.5, 0.99, 0.999].map(|at| {
        let found = runs.iter().filter(|run| run.times.total() > 0).map(|run| run.times.percentile(at)).collect();
        middle_of(found).map_or_else(String::new, micros)
    });
    let lost: u64 = runs.iter().map(|run| run.lost).sum();
    let mut notes = runs.last().map(|run| run.notes.clone()).unwrap_or_default();
    if failed > 0 {
        notes.push(format!("{failed} runs failed"));
    }
    let notes = notes.join("; ");
    let _ = writeln!(text, " {per_second} | {share} | {} | {lost} | {notes} |", times.join(" / "));
}

/// The median of the rounds' own ratios: two runs that lie side by side share what disturbed them.
fn ratio(row: &Row, other: &Row) -> Option<f64> {
    let pairs = row.rounds.iter().zip(&other.rounds);
    let ratios = pairs.filter_map(|(one, other)| Some(one.as_ref()?.figure / other.as_ref()?.figure));
    median(&ratios.collect::<Vec<_>>())
}

fn middle_of(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get(values.len().saturating_sub(1) / 2)?;
    Some((upper + lower) / 2.0)
}

fn least(values: &[f64]) -> Option<f64> {
    values.iter().copied().min_by(f64::total_cmp)
}

fn most(values: &[f64]) -> Option<f64> {
    values.iter().copied().max_by(f64::total_cmp)
}

/// Three digits and a unit.
pub fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{:.2} M", value / 1e6),
        1e4.. => format!("{:.0} k", value / 1e3),
        1e3.. => format!("{:.1} k", value / 1e3),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::histogram::Histogram;

    fn row(server: &str, peer: bool, figures: &[f64], lost: u64) -> Row {
        let outcome = |figure: &f64| Outcome {
            figure: *figure,
            per_second: 0.0,
            server_share: 0.0,
            lost,
            times: Histogram::default(),
            notes: Vec::new(),
        };
        Row { server: server.into(), peer, rounds: figures.iter().map(|figure| Some(outcome(figure))).collect() }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_ratios() {
        let (one, other) = (row("one", false, &[2.0, 30.0, 4.0], 0), row("other", true, &[1.0, 10.0, 4.0], 0));
        assert_eq!(ratio(&one, &other), Some(2.0));
        let rows = vec![one, other];
        let text = markdown(&[Sheet { cell: "c".into(), unit: "u", rows }], &["other".into()]);
        assert!(text.contains("| c | u | one | 4 (2–30) | 2.00 |"), "{text}");
        assert!(text.contains("| c | u | other | 4 (1–10) |  |"), "{text}");
    }

    #[test]
    fn loss_and_failure_of_a_server_are_not_sound_those_of_a_peer_are_its_own() {
        let sheet = |rows| Sheet { cell: String::new(), unit: "", rows };
        assert!(sheet(vec![row("s", false, &[1.0], 0), row("p", true, &[1.0], 5)]).is_sound());
        assert!(!sheet(vec![row("s", false, &[1.0], 1)]).is_sound());
        assert!(!sheet(vec![Row { server: "s".into(), peer: false, rounds: vec![None] }]).is_sound());
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}

//! The micro-benches' results, as Markdown, with what breaks a budget.

use std::fmt::Write as _;

use super::memory::Holding;
use super::{Case, Cost, RATIOS};

/// A case and what was counted.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which.
    pub case: &'static Case,
    /// Its memory.
    pub cost: Cost,
    /// Its instructions, where they can be counted.
    pub instructions: Option<f64>,
}

/// The table of all cases.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| case | per | instructions | allocations | bytes allocated | budget |\n");
    text.push_str("|---|---|---:|---:|---:|---:|\n");
    for Row { case, cost, instructions } in rows {
        let instructions = instructions.map_or("–".into(), |count| format!("{count:.0}"));
        let (allocations, bytes, budget) = (cost.allocations, cost.bytes, case.allocations_max);
        let _ = writeln!(
            text,
            "| {} | {} | {instructions} | {} | {bytes:.0} | ≤ {budget} |",
            case.name,
            case.unit,
            rounded(allocations)
        );
    }
    text
}

/// The table of what things keep.
pub fn holdings(rows: &[(&Holding, i64)]) -> String {
    let mut text = String::from("| keeps | bytes | budget |\n|---|---:|---:|\n");
    for (holding, bytes) in rows {
        let _ = writeln!(text, "| {} | {bytes} | ≤ {} |", holding.name, holding.bytes_max);
    }
    text
}

fn rounded(count: f64) -> String {
    match count {
        0.0 => "0".into(),
        count if count < 0.1 => format!("{count:.4}"),
        count => format!("{count:.2}"),
    }
}

/// Ratios of instructions: case, the other, how much it is and may be.
pub fn ratios(rows: &[Row]) -> Vec<(&'static str, &'static str, f64, f64)> {
    let of = |name| rows.iter().find(|row| row.case.name == name).and_then(|row| row.instructions);
    let ratio = |&(case, other, most)| Some((case, other, of(case)? / of(other)?, most));
    RATIOS.iter().filter_map(ratio).collect()
}

/// What breaks a budget, in words.
pub fn broken(rows: &[Row], holdings: &[(&Holding, i64)]) -> Vec<String> {
    let memory = rows.iter().filter(|row| row.cost.allocations > row.case.allocations_max).map(|row| {
        let (made, most) = (row.cost.allocations, row.case.allocations_max);
        format!("{}: {made} allocations per {}, {most} allowed", row.case.name, row.case.unit)
    });
    let kept = holdings.iter().filter(|(holding, bytes)| *bytes > holding.bytes_max);
    let kept = kept.map(|(holding, bytes)| format!("{}: {bytes} bytes, {} allowed", holding.name, holding.bytes_max));
    let grown = ratios(rows).into_iter().filter(|(_, _, ratio, most)| ratio > most);
    let grown = grown.map(|(case, other, ratio, most)| format!("{case}: {ratio:.2} × {other}, {most} allowed"));
    memory.chain(kept).chain(grown).collect()
}

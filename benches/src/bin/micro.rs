//! The micro-bench: see the library's front page.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use wrs_benches::arguments::Arguments;
use wrs_benches::counting::Counting;
use wrs_benches::micro::report::{self, Row};
use wrs_benches::micro::{self, Case, instructions, memory};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    match start() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            let _ = writeln!(io::stderr(), "{fault}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every budget is kept.
fn start() -> Result<bool, String> {
    let arguments = Arguments::parse(std::env::args().skip(1), &["cases", "only", "turns"])?;
    if let Some(name) = arguments.get::<String>("only")? {
        let case = micro::cases().find(|case| case.name == name).ok_or(format!("{name}: no such case"))?;
        let mut turn = (case.prepare)()?;
        micro::run(case, &mut turn, arguments.get_or("turns", case.turns)?)?;
        return Ok(true);
    }
    let wanted = arguments.get::<String>("cases")?;
    let is_wanted = |name: &str| wanted.as_ref().is_none_or(|prefix| name.starts_with(prefix));
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let program = instructions::are_countable().then_some(program);
    let cases = micro::cases().filter(|case| is_wanted(case.name));
    let rows: Vec<Row> = cases.map(|case| measure(case, program.as_deref())).collect::<Result<_, _>>()?;
    let holdings = memory::HOLDINGS.iter().filter(|holding| is_wanted(holding.name));
    let holdings: Vec<_> = holdings.map(|one| Ok((one, (one.measure)()?))).collect::<Result<_, String>>()?;

    let mut text = report::markdown(&rows);
    if program.is_none() {
        text.push_str("\nNo valgrind here: instructions are not counted.\n");
    }
    for (case, other, ratio, most) in report::ratios(&rows) {
        text.push_str(&format!("\nInstructions, {case} ÷ {other}: {ratio:.3} (≤ {most})\n"));
    }
    text.push_str(&format!("\n{}", report::holdings(&holdings)));
    let broken = report::broken(&rows, &holdings);
    for line in &broken {
        text.push_str(&format!("\nBudget broken: {line}\n"));
    }
    io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(broken.is_empty())
}

fn measure(case: &'static Case, program: Option<&Path>) -> Result<Row, String> {
    // The table comes at the end; whoever waits for it sees that something happens.
    let _ = writeln!(io::stderr(), "{}", case.name);
    let cost = micro::cost(case)?;
    let instructions = program.map(|program| instructions::per_unit(program, case)).transpose()?;
    Ok(Row { case, cost, instructions })
}

//! Instructions, counted by valgrind: the program runs itself in it, once with N turns of a case and once with 3 N, so
//! that set-up and warm-up cancel out.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Case;
use super::node::Failure;

/// Whether there is a valgrind here.
pub fn are_countable() -> bool {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Instructions per unit of a case. `program` is the micro-bench; it does `turns` turns of one case and nothing else when
/// it is called with `--only NAME --turns N`.
///
/// # Errors
/// A run that failed, in its own words.
pub fn per_unit(program: &Path, case: &Case) -> Result<f64, Failure> {
    let few = in_run(program, case, case.turns)?;
    let many = in_run(program, case, 3 * case.turns)?;
    Ok(many.saturating_sub(few) as f64 / (2 * case.turns * case.units) as f64)
}

fn in_run(program: &Path, case: &Case, turns: u64) -> Result<u64, Failure> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    command.arg(program).args(["--only", case.name, "--turns", &turns.to_string()]);
    let output = command.output().map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| {
        let (name, value) = line.rsplit_once(':')?;
        let value: String = value.chars().filter(char::is_ascii_digit).collect();
        name.trim_end().ends_with("refs").then_some(value)?.parse().ok()
    });
    match count {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(format!("{}: {said}", case.name)),
    }
}

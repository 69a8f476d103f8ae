//! Micro-benches of the core, as counts: instructions and allocations for each unit of work.
//!
//! Counts do not depend on the machine's load, so that they can be budgets: each case has the most allocations that a
//! unit may make, and [`RATIOS`] says what may not grow with the number of channels. Nothing here takes time.

pub mod instructions;
pub mod memory;
pub mod node;
pub mod relay;
pub mod report;
pub mod rest;
mod tls;
pub mod wire;

use crate::counting::Tally;
use node::Failure;

/// What *many* channels are.
pub const MANY: u64 = 100_000;

/// One turn of a case: how many units came of it.
pub type Turn = Box<dyn FnMut() -> u64>;

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What is counted per.
    pub unit: &'static str,
    /// Units in a turn.
    pub units: u64,
    /// Turns that make a measurement.
    pub turns: u64,
    /// The most allocations a unit may make, on average.
    pub allocations_max: f64,
    /// Sets it up.
    pub prepare: fn() -> Result<Turn, Failure>,
}

impl Case {
    const fn of(prepare: fn() -> Result<Turn, Failure>) -> Self {
        Case { name: "", unit: "call", units: 1, turns: 1, allocations_max: 0.0, prepare }
    }
}

/// All cases, in the order of the table.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    wire::CASES.iter().chain(rest::CASES).chain(relay::CASES)
}

/// A case, the one that it is compared with, and the most that its instructions may be of the other's.
pub const RATIOS: &[(&str, &str, f64)] =
    &[(rest::GET_MANY, rest::GET_ONE, 1.10), (rest::POST_MANY, rest::POST_FEW, 1.10)];

/// What a unit of a case took in memory.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// How often memory was asked for.
    pub allocations: f64,
    /// Bytes that were asked for.
    pub bytes: f64,
}

/// Does `turns` turns of a case that is set up.
///
/// # Errors
/// A turn that did not do what it is counted as.
pub fn run(case: &Case, turn: &mut Turn, turns: u64) -> Result<(), Failure> {
    for _ in 0..turns {
        let units = turn();
        if units != case.units {
            return Err(format!("{}: {units} of {} came of a turn", case.name, case.units));
        }
    }
    Ok(())
}

/// Sets a case up, warms it up, and counts what its units take of memory. Only a program whose allocator is
/// [`Counting`](crate::counting::Counting) learns anything.
///
/// # Errors
/// A case that does not do what it is counted as.
pub fn cost(case: &Case) -> Result<Cost, Failure> {
    let mut turn = (case.prepare)()?;
    run(case, &mut turn, case.turns)?;
    let before = Tally::so_far();
    run(case, &mut turn, case.turns)?;
    let spent = Tally::so_far().since(before);
    let units = (case.turns * case.units) as f64;
    Ok(Cost { allocations: spent.allocations as f64 / units, bytes: spent.bytes as f64 / units })
}

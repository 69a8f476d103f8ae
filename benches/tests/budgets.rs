//! What must not regress, as counts: allocations per delivery, bytes of what is idle, instructions with many channels.

use std::io::{self, Write};

use wrs_benches::counting::{Counting, Tally};
use wrs_benches::micro::report::{self, Row};
use wrs_benches::micro::{self, Cost, RATIOS, instructions, memory};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_allocator_counts_what_is_made_grown_and_given_back() {
    let before = Tally::so_far();
    let mut list: Vec<u8> = Vec::with_capacity(100);
    list.reserve_exact(300);
    let made = Tally::so_far().since(before);
    assert_eq!(made, Tally { allocations: 2, bytes: 300, live: 300 });
    drop(list);
    assert_eq!(Tally::so_far().since(before).live, 0);
}

#[test]
fn no_case_allocates_more_than_it_may() {
    let row = |case| Row { case, cost: micro::cost(case).unwrap(), instructions: None };
    let rows: Vec<Row> = micro::cases().map(row).collect();
    assert!(rows.len() > 30);
    assert_eq!(report::broken(&rows, &[]), [""; 0]);
}

#[test]
fn what_is_idle_keeps_no_more_than_it_may() {
    let holdings: Vec<_> = memory::HOLDINGS.iter().map(|one| (one, (one.measure)().unwrap())).collect();
    assert!(holdings.iter().all(|(_, bytes)| *bytes > 0), "something was counted");
    assert_eq!(report::broken(&[], &holdings), [""; 0]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "instructions of a build without optimisation say nothing: --release")]
fn a_request_takes_no_more_instructions_with_many_channels() {
    if !instructions::are_countable() {
        // Past the harness, which shows nothing of a test that passes.
        writeln!(io::stderr(), "SKIPPED: no valgrind here, instructions were not counted").unwrap();
        return;
    }
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_micro"));
    let row = |name: &str| {
        let case = micro::cases().find(|case| case.name == name).unwrap();
        let instructions = instructions::per_unit(program, case).unwrap();
        Row { case, cost: Cost { allocations: 0.0, bytes: 0.0 }, instructions: Some(instructions) }
    };
    let rows: Vec<Row> = RATIOS.iter().flat_map(|(case, other, _)| [row(case), row(other)]).collect();
    assert_eq!(report::ratios(&rows).len(), RATIOS.len());
    assert_eq!(report::broken(&rows, &[]), [""; 0]);
}

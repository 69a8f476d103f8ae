//! Switches on one fault of the cluster after another and tells how soon the simulation notices it.
//!
//! `cluster_mutants [seeds at most] [first seed] [fault…]`, built with the feature `mutants`.

// What a command line says is for a person to see.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[cfg(feature = "mutants")]
fn main() {
    use wrs_core::mutant::{MUTANTS, switch_on};
    let number = |at: usize, default: u64| std::env::args().nth(at).map_or(default, |n| n.parse().expect("a number"));
    let (most, first) = (number(1, 300), number(2, 0));
    std::panic::set_hook(Box::new(|_| {}));
    let run = |seed: u64| {
        std::panic::catch_unwind(|| wrs_tests::cluster_sim::run(seed).err()).unwrap_or(Some("a panic".to_owned()))
    };
    println!("| fault | seeds | noticed as |\n|---|---|---|");
    let names: Vec<String> = std::env::args().skip(3).collect();
    let wanted = |mutant: &wrs_core::mutant::Mutant| names.is_empty() || names.contains(&format!("{mutant:?}"));
    let (mut missed, mut run_of) = (0, 0);
    for (mutant, what) in MUTANTS.iter().filter(|(mutant, _)| wanted(mutant)) {
        run_of += 1;
        let mut found = None;
        for seed in first..first + most {
            switch_on(Some(*mutant));
            let noticed = run(seed);
            switch_on(None);
            // A seed that fails without the fault proves nothing.
            if let Some(why) = noticed.filter(|_| run(seed).is_none()) {
                found = Some((seed - first + 1, why));
                break;
            }
        }
        let (seeds, why) = match found {
            Some((seeds, why)) => (seeds.to_string(), why),
            None => {
                missed += 1;
                (format!("> {most}"), "not noticed".to_owned())
            }
        };
        let why: String = why.split_once(": ").map_or(&*why, |(_, why)| why).chars().take(90).collect();
        println!("| {mutant:?}: {what} | {seeds} | {} |", why.replace(['|', '\n'], " "));
    }
    println!("\n{run_of} faults, {missed} not noticed");
    std::process::exit(i32::from(missed > 0));
}

#[cfg(not(feature = "mutants"))]
fn main() {
    println!("Build it with --features mutants.");
}

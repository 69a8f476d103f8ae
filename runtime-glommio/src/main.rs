//! The glommio server. Not built yet: the program says so and names the one that is.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("wrs-glommio is not built yet; run the smol server instead: cargo run --release");
    ExitCode::from(2)
}

//! The client commands of the wrs binaries.

use std::process::ExitCode;

use wrs_core::config::{ClientCommand, Config};

/// Runs a command.
pub fn run(_command: ClientCommand, _arguments: &[String], _config: &Config) -> ExitCode {
    ExitCode::from(2)
}

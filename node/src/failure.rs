//! Why a server does not run, or no longer: the one line that it says, and the code that it exits with.

use std::io::{self, Write};
use std::process::ExitCode;

/// A configuration, or a system, that the server cannot work with.
const BAD_CONFIGURATION: u8 = 2;
/// A port in use, a system that has no more to give, a node that can go on no longer.
const CANNOT_RUN: u8 = 1;

/// The end of a server that was not asked for.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    why: String,
}

impl Failure {
    /// What the operator has to change first: exit 2.
    pub fn bad_configuration(why: impl Into<String>) -> Self {
        Failure { code: BAD_CONFIGURATION, why: why.into() }
    }

    /// What may go by itself: exit 1.
    pub fn cannot_run(why: impl Into<String>) -> Self {
        Failure { code: CANNOT_RUN, why: why.into() }
    }

    /// Exit 1 for what the system has refused; `what` says what it was asked for.
    pub fn cannot(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Failure::cannot_run(format!("{what}: {error}"))
    }

    /// What was wrong.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Tells the operator.
    pub fn tell(&self) -> ExitCode {
        // Nobody is left to tell where standard error is closed.
        let _ = writeln!(io::stderr(), "wrs: {}", self.why);
        ExitCode::from(self.code)
    }
}

//! Why a command did not do what it was asked, and the exit code that follows.

use std::process::ExitCode;

use crate::interrupt::INTERRUPTED;
use crate::stdio::note;

/// Why a command ends early. No text here contains a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The command line cannot be read: whoever wrote it is at fault.
    Usage(String),
    /// The node refused, cannot be reached, or ended the connection; one line that says which.
    Refused(String),
    /// Ctrl-C before the command was done.
    Interrupted,
    /// Whoever reads standard output has had enough, which is no fault.
    OutputClosed,
}

impl Failure {
    /// Says what happened on standard error and gives the exit code.
    pub fn tell(self) -> ExitCode {
        match self {
            Failure::Usage(why) => {
                note(&format!("wrs: {why}"));
                ExitCode::from(2)
            }
            Failure::Refused(why) => {
                note(&format!("wrs: {why}"));
                ExitCode::from(1)
            }
            // What a shell says of a program that Ctrl-C ended.
            Failure::Interrupted => ExitCode::from(INTERRUPTED),
            Failure::OutputClosed => ExitCode::SUCCESS,
        }
    }

    /// The node or the network is at fault.
    pub fn refused(why: impl Into<String>) -> Failure {
        Failure::Refused(why.into())
    }

    /// The command line is at fault.
    pub fn usage(why: impl Into<String>) -> Failure {
        Failure::Usage(why.into())
    }
}

//! One-line faults that can be switched on, to see whether the tests notice them. Only with the feature `mutants`, which no
//! server has: without it each switch is the constant `false`.

#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutant::is_on($crate::mutant::Mutant::$name)
    };
}

#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}

#[cfg(feature = "mutants")]
pub use switch::*;

#[cfg(feature = "mutants")]
mod switch {
    use core::cell::Cell;

    std::thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Switches one fault on, for this thread, or all off.
    pub fn switch_on(mutant: Option<Mutant>) {
        ON.set(mutant);
    }

    pub(crate) fn is_on(mutant: Mutant) -> bool {
        ON.get() == Some(mutant)
    }

    macro_rules! mutants {
        ($($name:ident, $study:literal, $what:literal;)*) => {
            /// A fault.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum Mutant {
                $(#[doc = $what] $name,)*
            }

            /// Every fault, the id of the bug in the study that it stands for, and what it does.
            pub const MUTANTS: &[(Mutant, &str, &str)] = &[$((Mutant::$name, $study, $what),)*];
        };
    }

    mutants! {
        AsksBeforeDurable, "E6", "votes are asked for before the own one is durable";
        AcksBeforeDurable, "R8", "entries are acknowledged before they are durable";
        CountsStaleWords, "E7", "a grant of a pre-vote counts as a vote";
        DeafToLaterTermsInAnswers, "E8", "a leader does not heed a later term in an answer";
        JointVoteByIncoming, "M5", "in a joint configuration only the incoming half elects";
        TruncatesOnMatch, "R1", "what follows a matching append is cut although it does not conflict";
        JointCommitsByIncoming, "M5", "in a joint configuration only the incoming half commits";
        CutKeepsWritten, "R8", "what replaces cut entries is not written";
        WindowNeverFrees, "S2", "the window of a peer is never freed";
        NoEntryOfOwnTerm, "L1", "a new leader makes no entry of its term";
        NeverLeavesJoint, "M3", "a joint configuration is not left by itself";
        SnapshotHasNewestConf, "M5", "a snapshot carries the configuration in force, not that of its index";
        JumpsWithoutJoint, "M1", "several voters change in one step";
        LeaseTooLong, "L3", "a lease outlasts the promise that it rests on";
        FollowersReadAlone, "L1", "a follower serves a read without asking";
        FailedWriteCounts, "D3", "a failed write counts as done";
        CutMeansFailed, "figure 8", "a proposal that is cut is told to have failed";
        RestartForgetsChanges, "M2", "changes that are in force at the start hold up elections";
        ReadsMissShrinking, "L2", "reads are not looked at again when the configuration shrinks";
    }
}

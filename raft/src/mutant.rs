//! One-line faults that can be switched on, to see whether the tests notice them. Only with the feature `mutants`, which no
//! server has: without it each switch is the constant `false`. A few stand for faults of a driver or of an application, which the
//! simulator has in place of this crate.

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

    /// Whether a fault is switched on.
    #[must_use]
    pub fn is_on(mutant: Mutant) -> bool {
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
        CommitsOldTerms, "E1", "commits entries of earlier terms by counting";
        NeverChecksQuorum, "E5", "a leader without a quorum goes on leading";
        SilentToOldTerms, "E3", "words of an earlier term are not answered";
        PreVoteRefusalsHideTerm, "E4", "a refused pre-vote does not tell the later term";
        ForgetsVoteInTerm, "E6", "stepping down within a term forgets the vote";
        VotesBeforeDurable, "E6", "a vote leaves before it is durable";
        AsksBeforeDurable, "E6", "votes are asked for before the own one is durable";
        AcksBeforeDurable, "R8", "entries are acknowledged before they are durable";
        CountsStaleWords, "E7", "a grant of a pre-vote counts as a vote";
        KeepsWordsOfPreVote, "E7", "words of the pre-vote stay for the vote";
        DeafToLaterTermsInAnswers, "E8", "a leader does not heed a later term in an answer";
        VotesForShorterLogs, "E1", "a vote is given to a log that is behind";
        VotesTwice, "E6", "a vote is given twice in a term";
        ElectedByHalf, "R7", "half of the voters are taken for a majority";
        JointVoteByIncoming, "M5", "in a joint configuration only the incoming half elects";
        CampaignsInSameTerm, "E6", "a candidate does not raise the term";
        TruncatesOnMatch, "R1", "what follows a matching append is cut although it does not conflict";
        HeartbeatCommitsUnmatched, "R2", "a heartbeat carries the whole commit index";
        CommitsUnverified, "R3", "a follower commits what the append did not verify";
        IgnoresSessions, "R4", "answers from an earlier stay in the group count";
        HearsOtherIncarnations, "R5", "what another incarnation of a member promises counts";
        VotesKnowingNothing, "R5", "a node that begins anew votes before it knows anything";
        JoinsWithOldSnapshots, "R5", "a member that begins anew takes a snapshot from before its stay";
        NeverStepsBack, "R6", "after a refusal the leader does not step back";
        CommitsWithMinority, "R7", "one voter too few commits";
        JointCommitsByIncoming, "M5", "in a joint configuration only the incoming half commits";
        CutKeepsMarks, "R8", "a write under way marks entries as durable that were cut meanwhile";
        CutKeepsStable, "R8", "a cut leaves the durable mark where it was";
        CutKeepsWritten, "R8", "what replaces cut entries is not written";
        LeaderCountsUnwritten, "R9", "a leader counts its own entries before they are durable";
        SkipsPrevTerm, "R1", "an append is taken without a look at the term before it";
        KeepsConflicts, "R1", "an entry that is here under another term is taken for the same";
        WindowNeverFrees, "S2", "the window of a peer is never freed";
        ProbeStaysPaused, "R6", "an echo does not resume a paused probe";
        BelievesNext, "R4", "an acknowledgement is taken for everything that was sent";
        NoEntryOfOwnTerm, "L1", "a new leader makes no entry of its term";
        ChangesBeforeOwnTerm, "M1", "a new leader proposes a change before the one in its log is applied";
        CampaignsWithUnappliedChange, "M2", "a node campaigns although a committed change is unapplied";
        VolatileCommit, "M2", "the commit index is not written";
        NeverLeavesJoint, "M3", "a joint configuration is not left by itself";
        LearnersRefuseVotes, "M4", "a learner gives no vote";
        LearnersCampaign, "M4", "a learner campaigns";
        SnapshotHasNewestConf, "M5", "a snapshot carries the configuration in force, not that of its index";
        RestoreKeepsConf, "M5", "a received snapshot leaves the configuration as it was";
        RemovedLeaderStays, "M6", "a removed leader goes on leading";
        RemovalLocksGroup, "M6", "who refuses an election does not tell what is committed";
        TwoChangesAtOnce, "M1", "a change is proposed while another is not applied";
        JumpsWithoutJoint, "M1", "several voters change in one step";
        SnapshotKeepsTail, "S1", "a snapshot keeps a log that contradicts it";
        SnapshotNeverEnds, "S2", "a peer stays in the state of needing a snapshot";
        TakesStaleSnapshots, "S3", "a snapshot from before the commit index is taken";
        AppliesUnwritten, "D4", "entries are handed out before they are durable";
        CompactsUnapplied, "S3", "the log is compacted beyond what is applied";
        SnapshotAppliedEarly, "S3", "a snapshot counts as applied before it is durable";
        ReadsBeforeOwnTerm, "L1", "a leader serves reads before it has committed in its term";
        OldEchoesConfirmReads, "L2", "an echo of an earlier round confirms a read";
        LeaseFromReceipt, "L3", "a lease counts from the receipt of an echo";
        LeaseSurvivesTransfer, "L3", "a lease goes on after leadership is handed over";
        LeaseTooLong, "L3", "a lease outlasts the promise that it rests on";
        FollowersReadAlone, "L1", "a follower serves a read without asking";
        FailedWriteCounts, "D3", "a failed write counts as done";
        TermAfterEntries, "R8", "a record with entries leaves out the new term";
        CutMeansFailed, "figure 8", "a proposal that is cut is told to have failed";
        UncommittedNeverFalls, "", "the count of uncommitted bytes never falls";
        RestartForgetsChanges, "M2", "changes that are in force at the start hold up elections";
        ReadsMissShrinking, "L2", "reads are not looked at again when the configuration shrinks";
        SettlesEarly, "", "a proposal is told committed one entry early";
        CommitsBeforeAccepting, "", "a node alone in memory tells a proposal committed before it tells that it is in the log";
        ChunksUnchecked, "S3", "the checksum of a snapshot's chunk is not looked at";
        WholeUnchecked, "S3", "the checksum of a whole snapshot is not looked at";
        TakesAnyOffset, "S3", "a chunk of a snapshot is taken wherever it stands";
        ResumesTooFar, "S3", "after a restart one byte more of a snapshot counts as here than is";
        ResumeTrustsLength, "S3", "after a restart a torn part of full length counts as the snapshot";
        SenderNeverGoesBack, "S3", "the sender of a snapshot does not go back for a receiver that has started again";
        SenderDoneEarly, "S2", "the sender of a snapshot is done one chunk early";
        MemoryComesBack, "R5", "(driver) a node that keeps nothing starts again as the member that it was";
        ReadsServedEarly, "L1", "(driver) a read is served before its index is applied";
        RequestsRepeat, "", "(application) a request that is repeated takes effect again";
    }
}

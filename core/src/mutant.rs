//! One-line faults of the cluster that can be switched on, to see whether the simulation notices them. Only with the feature
//! `mutants`, which no server has: without it each switch is the constant `false`.

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
        ($($name:ident, $what:literal;)*) => {
            /// A fault.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum Mutant {
                $(#[doc = $what] $name,)*
            }

            /// Every fault, and what it does.
            pub const MUTANTS: &[(Mutant, &str)] = &[$((Mutant::$name, $what),)*];
        };
    }

    mutants! {
        DecidesInSealedEpoch, "a home decides before its epoch is open";
        SealsAtOnce, "a shard seals an epoch while others may still decide in it";
        ForgetsStamps, "reports leave out the places in the queue";
        ForgetsSeats, "reports leave out the seats";
        SpendsNoTurns, "turns that were given before homes move are not used";
        TurnsSeatNobody, "a message whose turn comes before word of its receiver's seat is dropped";
        RepliesOvertake, "a reply does not wait for its sender's earlier requests";
        AsksNothingAgain, "what is open is not asked again in a new epoch";
        OpensEarly, "an epoch is open when the first other node has reported";
        IgnoresLingering, "seats of lives that may still have clients are given away";
        ServesWithoutLease, "reads and decisions are made without a lease";
        HidesInterestFromNewcomers, "a new node is not told which channels have clients here";
        NotesInterestEarly, "a node says that it knows of an interest before its shards do";
        SeatsUnannounced, "a client gets its 101 before other nodes know of it";
        DropsLeave, "a home is not told that a client of another node has left";
        ForgetsTellAbroad, "a message is not carried to other nodes";
        AnswersBeforeEverywhere, "a change is answered when it is agreed on, not when it is applied everywhere";
        KeepsClientsWhenOut, "a node that was counted out keeps its clients";
        AppliesRepeats, "a change that is proposed again is applied again";
        DropsMailOnReconnect, "mail that was not acknowledged is not sent again";
        TakesMailTwice, "mail that is sent again is taken again";
        NeverExpires, "a home forgets its countdowns when homes move";
        ExpiresOnceOnly, "a channel whose deletion the cluster refused when its time was over is forgotten";
        ExpiresByOwnClockAlone, "a home asks nobody whether a channel was used";
        CountsOnlyHere, "the number of clients is that of one node";
        HearsEarlierLives, "what a sibling said before the node was counted out counts afterwards";
        AsksForSeatsTwice, "a seat that is asked for in an epoch is asked for again when it opens";
        TakesOldLifeForNew, "a node that has not heard of its end is taken for one that lives again";
        TrustsOldMeetings, "a voter counts as gone for good because of who was at its address before the leader was lost";
        ReadyEarly, "a node says that it is ready before all its shards serve";
        StaysClosed, "a shard that let its clients go for want of a lease opens no more when the lease goes on";
        AnswersForTheDead, "a gate takes what is for a shard of a node that has died for its own";
        ForgetsCredit, "a message from another node is never credited";
    }
}

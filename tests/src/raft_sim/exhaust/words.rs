//! Which of the messages on their way still matter, and how much of them.
//!
//! A message is looked at with what is known for good about who gets it and who sent it ([`View`]). One that can do nothing any more
//! is left out; one that can do no more than a plainer one is taken for the plainer one. Both hold whatever else happens, so that a
//! state stays what it was.

use wrs_raft::{Body, Entries, Index, Message, Role, Term};

use super::NODES;
use super::place::{FOUNDED, Place, place_of};

/// The first term that anybody asks for.
const FIRST_TERM: Term = 2;

/// What decides about messages from and to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct View {
    term: Term,
    /// The lowest term in which it may find itself again.
    floor: Term,
    role: Role,
    /// The commit index behind which it will not fall again.
    commit: Index,
    /// Whom it voted for in its term, if that is on its disk.
    vote: Option<usize>,
    /// On a leader, what it knows of the others.
    matched: [Index; NODES],
}

impl View {
    pub(super) fn of(place: &Place) -> View {
        let machine = &place.machine;
        let (hard, role) = (place.hard, machine.role());
        let floor = if place.mortal { hard.term } else { machine.term() };
        let commit = if place.mortal { hard.commit } else { machine.log().committed() };
        let kept = hard.term == machine.term() && hard.vote == machine.vote();
        let mut matched = [0; NODES];
        if role == Role::Leader {
            machine.progress().iter().for_each(|(node, peer)| matched[place_of(node)] = peer.matched);
        }
        View {
            term: machine.term(),
            floor,
            role,
            commit: commit.max(FOUNDED),
            vote: machine.vote().filter(|_| kept).map(place_of),
            matched,
        }
    }

    /// Whether it has reached `term` for good.
    fn reached(&self, term: Term) -> bool {
        self.term >= term && self.floor >= term
    }
}

/// `message` as far as it matters between these two, after whose terms there is none but up to `terms_max`. `None` if it does not.
pub(super) fn plain(message: &Message, from: &View, to: &View, terms_max: Term) -> Option<Message> {
    let (term, sender, receiver) = (message.term, place_of(message.from), place_of(message.to));
    let mut plain = message.clone();
    match &mut plain.body {
        // A candidate of this term waits for it; who is none will not be one again in this term.
        Body::VoteReply { .. } => {
            let waits = to.term == term && to.role == Role::Candidate;
            return (waits || !to.reached(term)).then_some(plain);
        }
        // Only who leads this term, or may come to, listens. What it tells is less than is known, and so ends no probe and is no
        // news, nor is a refusal from there.
        Body::Appended { index } | Body::Rejected { index, .. } => {
            let listens = to.term == term && (to.role == Role::Candidate || to.role == Role::Leader);
            let (leads, matched) = (to.term == term && to.role == Role::Leader, to.matched[sender]);
            if to.reached(term) && (!listens || (leads && *index < matched)) {
                return None;
            }
            // A leader steps back behind what it knows to match for nobody.
            if let (true, Body::Rejected { hint_index, hint_term, .. }) = (leads, &mut plain.body)
                && *hint_index <= matched
            {
                (*hint_index, *hint_term) = (FOUNDED, 0);
            }
        }
        // All that is left of it is an answer that tells a later term.
        Body::Vote { .. } | Body::Append { .. } if to.reached(term + 1) => {
            let vote = matches!(message.body, Body::Vote { .. });
            // There is none that the asker does not know.
            let known = from.reached(terms_max)
                && match from.role {
                    Role::Follower => true,
                    Role::Leader => vote || from.matched[receiver] > 0,
                    Role::Candidate | Role::PreCandidate => false,
                };
            if known {
                return None;
            }
            // The answer does not depend on what it says, nor on its term.
            plain.term = FIRST_TERM;
            match &mut plain.body {
                Body::Vote { last_index, last_term, committed, .. } => {
                    (*last_index, *last_term) = (FOUNDED, FOUNDED);
                    (committed.index, committed.term) = (FOUNDED, FOUNDED);
                }
                body => *body = nothing_new(),
            }
        }
        Body::Vote { last_index, last_term, committed, .. } => {
            if committed.index <= to.commit {
                (committed.index, committed.term) = (FOUNDED, FOUNDED);
            }
            // Who has voted for another in this term asks nothing of the log.
            if to.reached(term) && to.vote.is_some_and(|node| node != sender) {
                (*last_index, *last_term) = (FOUNDED, FOUNDED);
            }
        }
        Body::Append { prev_index, commit, entries, .. } => {
            let matched = *prev_index + entries.len() as Index;
            let leads = from.term == term && from.role == Role::Leader;
            let held = leads && to.term == term && to.reached(term) && matched < from.matched[receiver];
            let silent = (*commit).min(matched) <= to.commit;
            if *prev_index < to.commit || (held && silent) {
                // Answered with the commit index, whatever follows; or else with less than the leader knows.
                plain.body = nothing_new();
            } else if silent {
                *commit = FOUNDED;
            }
        }
        _ => {}
    }
    Some(plain)
}

fn nothing_new() -> Body {
    Body::Append { prev_index: FOUNDED, prev_term: FOUNDED, commit: FOUNDED, entries: Entries::none() }
}

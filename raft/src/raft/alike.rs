//! When two machines are alike: what a search of all states remembers them by.

use core::hash::{Hash, Hasher};

use super::{Raft, Role};

/// Two machines of one group that hash alike do alike until chance is drawn. So what decides nothing is left out: how many records
/// there were before those under way, how entries were grouped when they came, what a node that does not lead knows of its peers.
impl Hash for Raft {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // By name, so that a new field is not forgotten here.
        let Raft {
            config,
            random: _,
            now,
            log,
            term,
            vote,
            role,
            leader,
            votes,
            election_since,
            heartbeat_since,
            election_after,
            promised_until,
            conf,
            activated,
            progress,
            heard,
            session_seen,
            pending_conf_index,
            transferring_to,
            uncommitted_bytes,
            own_uncounted,
            snapshot,
            snapshot_wanted,
            confs,
            proposals,
            reads,
            sends,
            events,
            waiting,
            told_role,
            told_hard,
            next_record,
            fatal,
            fatal_told,
        } = self;
        (config, now, term, vote, role, leader, votes).hash(state);
        (election_since, heartbeat_since, election_after, promised_until).hash(state);
        (conf, activated, heard, session_seen, pending_conf_index, transferring_to).hash(state);
        (uncommitted_bytes, own_uncounted, snapshot, snapshot_wanted, confs).hash(state);
        (proposals, reads, sends, events, told_role, told_hard, fatal, fatal_told).hash(state);
        if *role == Role::Leader {
            progress.hash(state);
        } else {
            // All else is set anew when the role changes.
            progress.iter().for_each(|(node, peer)| (node, peer.learner, peer.session).hash(state));
        }
        waiting.iter().for_each(|(record, message)| (next_record.0.wrapping_sub(record.0), message).hash(state));
        log.hash_before(*next_record, state);
    }
}

//! Nodes by other names: what a run comes to does not depend on which of three like nodes is which.
//!
//! Messages and facts are renamed word by word. A machine cannot be: it is brought up anew under the other name, by the same things
//! happening to it under other names ([`super::search`]).

use bytes::Bytes;
use wrs_raft::{Body, Entries, Entry, Message, NodeId};

use super::NODES;
use super::facts::Facts;
use super::place::place_of;

/// Where each node goes.
pub(super) type Names = [usize; NODES];

/// All there are; the first leaves all as it is.
pub(super) const NAMES: [Names; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

fn renamed_node(node: NodeId, names: Names) -> NodeId {
    NodeId(names[place_of(node)] as u64 + 1)
}

/// A payload tells who made it (see [`super::place::proposal`]).
fn renamed_payload(payload: &Bytes, names: Names) -> Bytes {
    match payload.split_first() {
        Some((leader, rest)) => {
            let mut named = vec![names[usize::from(*leader) - 1] as u8 + 1];
            named.extend_from_slice(rest);
            Bytes::from(named)
        }
        None => Bytes::new(),
    }
}

pub(super) fn renamed_message(message: &Message, names: Names) -> Message {
    let mut message = message.clone();
    (message.from, message.to) = (renamed_node(message.from, names), renamed_node(message.to, names));
    if let Body::Append { entries, .. } = &mut message.body {
        let named: Entries = entries
            .iter()
            .map(|entry| Entry { payload: renamed_payload(&entry.payload, names), ..entry.clone() })
            .collect();
        *entries = named;
    }
    message
}

pub(super) fn renamed_facts(facts: &Facts, names: Names) -> Facts {
    let mut facts = facts.clone();
    facts.leaders.iter_mut().for_each(|leader| leader.node = names[leader.node]);
    facts.committed.iter_mut().for_each(|entry| entry.payload = renamed_payload(&entry.payload, names));
    facts
}

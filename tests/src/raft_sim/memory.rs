//! Nodes that keep nothing on disk: what such a machine holds counts as soon as it holds it, and is gone with its process.
//!
//! It writes no records, so the rules' two logs of it are made from the machine's own after each flush. Only a snapshot from another
//! node is a record: it counts once the application's state is replaced.

use wrs_raft::{Action, Entries, HardState, Record};

use super::history::Shadow;
use super::world::World;

impl World {
    /// Notes what a machine that writes nothing holds after a flush.
    pub(super) fn note_remembered(&mut self, slot: usize, actions: &[Action]) {
        let node = &self.nodes[slot];
        let Some(machine) = node.machine.as_ref().filter(|machine| machine.fatal().is_none()) else { return };
        if !node.config.in_memory {
            return;
        }
        let (term, vote, commit) = (machine.term(), machine.vote(), machine.log().committed());
        let written = self.unnoted(slot, &node.written);
        let waits = !node.unsynced.is_empty() || actions.iter().any(|action| matches!(action, Action::Persist(_)));
        self.nodes[slot].durable_hard = HardState { term, vote, commit };
        if let Some(record) = written {
            self.check_record(slot, &record);
        }
        if waits {
            return;
        }
        if let Some(record) = self.unnoted(slot, &self.nodes[slot].durable) {
            self.note_durable(slot, &record);
        }
    }

    /// The application's state is replaced by a snapshot's.
    pub(super) fn note_restored(&mut self, slot: usize, record: &Record) {
        let snapshot = Record { snapshot: record.snapshot.clone(), ..Record::default() };
        self.note_durable(slot, &snapshot);
    }

    /// What a machine's log holds that `known` does not, as if it were a record.
    fn unnoted(&self, slot: usize, known: &Shadow) -> Option<Record> {
        let log = self.nodes[slot].machine.as_ref()?.log();
        let mut same = known.last().min(log.last_index());
        // Logs with the same last entry are the same: the rule of log matching, which what is noted is held to.
        while same >= log.first_index() && known.at(same).map(|mark| mark.term) != log.term(same) {
            same -= 1;
        }
        if same == log.last_index() {
            return None;
        }
        let entries: Vec<_> = (same + 1..=log.last_index()).filter_map(|at| log.entry(at).cloned()).collect();
        Some(Record { entries: Entries::from(entries), ..Record::default() })
    }
}

//! Commits `batches` batches of `size` entries of 64 bytes on three nodes in one thread, for counting what an entry costs.
//!
//! `raft_count <size> <batches> [kept]`: in memory, or with `kept` through records and reports, like a node with a disk. Run it
//! under valgrind with two numbers of batches and divide the difference.

use bytes::Bytes;
use wrs_raft::{Action, Boot, Config, Input, NodeId, Raft, Role, Ticket, Time};

struct Node {
    raft: Raft,
    applied: u64,
    snapshot: u64,
    /// It was given something since its last turn.
    due: bool,
}

/// Three machines. What one sends, the other is given at once; each draws its actions in its turn.
struct Group {
    nodes: Vec<Node>,
    out: Vec<Action>,
}

impl Node {
    fn give(&mut self, input: Input) {
        self.due = true;
        let _ = self.raft.step(Time::ZERO, input);
    }

    fn apply(&mut self, index: u64) {
        self.applied = index;
        if !self.raft.config().apply_at_once {
            self.give(Input::Applied { index });
        }
        if index >= self.snapshot + 4096
            && let Some(meta) = self.raft.snapshot_meta(index)
        {
            self.snapshot = index;
            self.give(Input::SnapshotTaken { meta });
        }
    }
}

impl Group {
    fn new(kept: bool) -> Option<Group> {
        let ids = [NodeId(1), NodeId(2), NodeId(3)];
        let node = |id| {
            let config = Config { in_memory: !kept, apply_at_once: !kept, ..Config::new(id) };
            let raft = Raft::new(config, Boot::found(ids), Time::ZERO).ok()?;
            Some(Node { raft, applied: 0, snapshot: 0, due: false })
        };
        let nodes = ids.into_iter().map(node).collect::<Option<Vec<Node>>>()?;
        Some(Group { nodes, out: Vec::new() })
    }

    fn give(&mut self, at: usize, input: Input) {
        if let Some(node) = self.nodes.get_mut(at) {
            node.give(input);
        }
    }

    /// One turn of one node's loop: what must be done for all that it was given. Writes are done at once; entries are applied by
    /// counting them.
    fn turn(&mut self, at: usize) -> bool {
        let Some(node) = self.nodes.get_mut(at).filter(|node| node.due) else { return false };
        node.due = false;
        node.raft.flush(&mut self.out);
        for action in self.out.drain(..) {
            match action {
                Action::Send(message) => {
                    if let Some(peer) = self.nodes.get_mut(message.to.0 as usize - 1) {
                        peer.give(Input::Receive(message));
                    }
                }
                Action::Persist(record) if record.sync => {
                    if let Some(node) = self.nodes.get_mut(at) {
                        node.give(Input::Persisted { record: record.id });
                    }
                }
                Action::Apply(entries) => {
                    if let (Some(node), Some(newest)) = (self.nodes.get_mut(at), entries.last()) {
                        node.apply(newest.index);
                    }
                }
                _ => {}
            }
        }
        true
    }

    fn settle(&mut self) {
        while (0..3).fold(false, |busy, at| self.turn(at) | busy) {}
    }
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().unwrap_or(1));
    let (size, batches) = (args.next().unwrap_or(1), args.next().unwrap_or(1000));
    let Some(mut group) = Group::new(std::env::args().nth(3).is_some()) else { return };
    group.give(0, Input::Campaign);
    group.settle();
    let leads = group.nodes.first().is_some_and(|node| node.raft.status().role == Role::Leader);
    let payload = Bytes::from(vec![7; 64]);
    for batch in 0..batches {
        let ticket = Ticket(batch);
        let input = if size == 1 {
            Input::Propose { ticket, payload: payload.clone() }
        } else {
            Input::ProposeMany { ticket, payloads: vec![payload.clone(); size as usize] }
        };
        group.give(0, input);
        group.settle();
    }
    let applied: Vec<u64> = group.nodes.iter().map(|node| node.applied).collect();
    if !leads || applied != [2 + size * batches; 3] {
        std::process::exit(1);
    }
}

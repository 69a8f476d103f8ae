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
}

/// Three machines, and the inputs that wait for each.
struct Group {
    nodes: Vec<Node>,
    inputs: Vec<Vec<Input>>,
    out: Vec<Action>,
}

impl Group {
    fn new(kept: bool) -> Option<Group> {
        let ids = [NodeId(1), NodeId(2), NodeId(3)];
        let node = |id| {
            let config = Config { in_memory: !kept, apply_at_once: !kept, ..Config::new(id) };
            let raft = Raft::new(config, Boot::found(ids), Time::ZERO).ok()?;
            Some(Node { raft, applied: 0, snapshot: 0 })
        };
        let nodes = ids.into_iter().map(node).collect::<Option<Vec<Node>>>()?;
        Some(Group { nodes, inputs: vec![Vec::new(), Vec::new(), Vec::new()], out: Vec::new() })
    }

    fn give(&mut self, at: usize, input: Input) {
        if let Some(inputs) = self.inputs.get_mut(at) {
            inputs.push(input);
        }
    }

    /// One turn of one node's loop: all inputs that wait, then what must be done. Writes are done at once; entries are applied
    /// by counting them.
    fn turn(&mut self, at: usize, batch: &mut Vec<Input>) -> bool {
        let (Some(node), Some(inputs)) = (self.nodes.get_mut(at), self.inputs.get_mut(at)) else { return false };
        if inputs.is_empty() {
            return false;
        }
        core::mem::swap(batch, inputs);
        for input in batch.drain(..) {
            let _ = node.raft.step(Time::ZERO, input);
        }
        node.raft.flush(&mut self.out);
        for action in self.out.drain(..) {
            match action {
                Action::Send(message) => {
                    if let Some(inputs) = self.inputs.get_mut(message.to.0 as usize - 1) {
                        inputs.push(Input::Receive(message));
                    }
                }
                Action::Persist(record) if record.sync => {
                    if let Some(inputs) = self.inputs.get_mut(at) {
                        inputs.push(Input::Persisted { record: record.id });
                    }
                }
                Action::Apply(entries) => {
                    let Some(index) = entries.last().map(|entry| entry.index) else { continue };
                    node.applied = index;
                    if !node.raft.config().apply_at_once {
                        let _ = node.raft.step(Time::ZERO, Input::Applied { index });
                    }
                    if index >= node.snapshot + 4096
                        && let Some(meta) = node.raft.snapshot_meta(index)
                    {
                        node.snapshot = index;
                        let _ = node.raft.step(Time::ZERO, Input::SnapshotTaken { meta });
                    }
                }
                _ => {}
            }
        }
        true
    }

    fn settle(&mut self) {
        let mut batch = Vec::new();
        while (0..3).fold(false, |busy, at| self.turn(at, &mut batch) | busy) {}
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

//! Commits `batches` batches of `size` entries of 64 bytes on three nodes in one thread, for counting what an entry costs.
//!
//! `raft_count <size> <batches> [kept | bytes]`: in memory, or with `kept` through records and reports, like a node with a disk; with
//! `bytes` each record is encoded, too. All three apply at once, as our nodes do. Run it under valgrind with two numbers of batches
//! and divide the difference.

use bytes::{Bytes, BytesMut};
use wrs_raft::record::Segment;
use wrs_raft::{Action, Boot, Config, Input, NodeId, Raft, Record, RecordId, Role, Ticket, Time};

/// The bytes of a node's records are forgotten when there are so many: a segment is full.
const SEGMENT_BYTES_MAX: usize = 64 * 1024;

/// Where a node's records go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Nowhere,
    AsValues,
    AsBytes,
}

struct Node {
    raft: Raft,
    segment: Segment,
    file: BytesMut,
    durable: RecordId,
    applied: u64,
    snapshot: u64,
    /// It was given something since its last turn.
    due: bool,
}

/// Three machines. What one sends, the other is given at once; each draws its actions in its turn.
struct Group {
    nodes: Vec<Node>,
    out: Vec<Action>,
    kept: Kept,
}

impl Node {
    fn give(&mut self, input: Input) {
        self.due = true;
        let _ = self.raft.step(Time::ZERO, input);
    }

    /// The whole of a write: it is durable at once.
    fn write(&mut self, kept: Kept, record: &Record) {
        if kept == Kept::AsBytes {
            if self.file.len() > SEGMENT_BYTES_MAX {
                self.file.clear();
            }
            self.segment.encode_record(self.file.len() as u64, self.durable, record, &mut self.file);
        }
        if record.sync {
            self.durable = record.id;
            self.give(Input::Persisted { record: record.id });
        }
    }

    fn apply(&mut self, index: u64) {
        self.applied = index;
        if index >= self.snapshot + 4096
            && let Some(meta) = self.raft.snapshot_meta(index)
        {
            self.snapshot = index;
            self.give(Input::SnapshotTaken { meta });
        }
    }
}

impl Group {
    fn new(kept: Kept) -> Option<Group> {
        let ids = [NodeId(1), NodeId(2), NodeId(3)];
        let node = |id| {
            let config = Config { in_memory: kept == Kept::Nowhere, apply_at_once: true, ..Config::new(id) };
            let raft = Raft::new(config, Boot::found(ids), Time::ZERO).ok()?;
            let (segment, durable) = (Segment { node: id, salt: 7, ..Segment::default() }, RecordId(0));
            Some(Node { raft, segment, file: BytesMut::new(), durable, applied: 0, snapshot: 0, due: false })
        };
        let nodes = ids.into_iter().map(node).collect::<Option<Vec<Node>>>()?;
        Some(Group { nodes, out: Vec::new(), kept })
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
                Action::Persist(record) => {
                    if let Some(node) = self.nodes.get_mut(at) {
                        node.write(self.kept, &record);
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
    let kept = match std::env::args().nth(3).as_deref() {
        None => Kept::Nowhere,
        Some("bytes") => Kept::AsBytes,
        Some(_) => Kept::AsValues,
    };
    let Some(mut group) = Group::new(kept) else { return };
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

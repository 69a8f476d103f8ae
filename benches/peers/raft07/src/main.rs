//! Commits batches of entries of 64 bytes on three nodes of the crate `raft` 0.7 in one thread, messages moved by value.
//!
//! `raft07-count <size> <batches>`: the same load, and the same end (all three have applied), as `raft_count`.

use protobuf::Message as _;
use raft::eraftpb::{Entry, Message, MessageType};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};

struct Node {
    raft: RawNode<MemStorage>,
    applied: u64,
    compacted: u64,
}

struct Group {
    nodes: Vec<Node>,
    mail: Vec<Message>,
}

impl Group {
    fn new() -> Group {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = |id| {
            let storage = MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
            let config = Config {
                id,
                election_tick: 10,
                heartbeat_tick: 1,
                max_size_per_msg: 1 << 20,
                max_inflight_msgs: 256,
                ..Config::default()
            };
            Node { raft: RawNode::new(&config, storage, &logger).unwrap(), applied: 0, compacted: 0 }
        };
        Group { nodes: vec![node(1), node(2), node(3)], mail: Vec::new() }
    }

    /// Handles what each node has ready and delivers, until nothing moves.
    fn settle(&mut self) {
        loop {
            let mut busy = false;
            for node in &mut self.nodes {
                while node.raft.has_ready() {
                    busy = true;
                    node.ready(&mut self.mail);
                }
            }
            for message in std::mem::take(&mut self.mail) {
                busy = true;
                let to = message.to as usize - 1;
                self.nodes[to].raft.step(message).unwrap();
            }
            if !busy {
                return;
            }
        }
    }
}

impl Node {
    fn ready(&mut self, mail: &mut Vec<Message>) {
        let mut ready = self.raft.ready();
        mail.extend(ready.take_messages());
        self.apply(ready.take_committed_entries());
        let storage = self.raft.raft.raft_log.store.clone();
        if !ready.entries().is_empty() {
            storage.wl().append(ready.entries()).unwrap();
        }
        if let Some(hard) = ready.hs() {
            storage.wl().set_hardstate(hard.clone());
        }
        mail.extend(ready.take_persisted_messages());
        let mut light = self.raft.advance(ready);
        if let Some(commit) = light.commit_index() {
            storage.wl().mut_hard_state().set_commit(commit);
        }
        mail.extend(light.take_messages());
        self.apply(light.take_committed_entries());
        self.raft.advance_apply();
        if self.applied >= self.compacted + 4096 {
            storage.wl().compact(self.applied).unwrap();
            self.compacted = self.applied;
        }
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        if let Some(newest) = entries.last() {
            self.applied = newest.index;
        }
    }
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().unwrap());
    let (size, batches) = (args.next().unwrap_or(1), args.next().unwrap_or(1000));
    let mut group = Group::new();
    group.nodes[0].raft.campaign().unwrap();
    group.settle();
    assert_eq!(group.nodes[0].raft.raft.state, StateRole::Leader);
    let before = group.nodes[0].applied;
    let payload = bytes::Bytes::from(vec![7u8; 64]);
    for _ in 0..batches {
        let mut message = Message::new();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = 1;
        let entries = (0..size).map(|_| Entry { data: payload.clone(), ..Entry::default() });
        message.set_entries(entries.collect::<Vec<_>>().into());
        group.nodes[0].raft.step(message).unwrap();
        group.settle();
    }
    assert!(group.nodes.iter().all(|node| node.applied == before + size * batches));
    // Keeps the codec linked, as a node with a network has it.
    assert!(Entry::new().compute_size() == 0);
}

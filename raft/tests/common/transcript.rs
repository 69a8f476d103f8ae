//! Replays etcd's interaction transcripts against the machine.
//!
//! etcd's harness collects what several steps bring into one `Ready` and, without asynchronous writes, writes it at once and
//! feeds the node its own answers. Here a `Ready` is what one [`Raft::flush`] hands out after several [`Raft::step`]s; the
//! promises that etcd prints beside a write are those that the machine holds for that record. Lines are compared as printed;
//! those of etcd's logger are not part of the vectors.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use wrs_raft::*;

#[path = "describe.rs"]
mod describe;

use describe::*;

const TICK: Duration = Duration::from_secs(1);
const ELECTION_TICKS: u32 = 3;

/// A command of a transcript: `cmd positional key=value key=(a,b)`, and its input.
pub struct Command {
    pub name: String,
    pub args: Vec<(String, Vec<String>)>,
    pub input: String,
}

impl Command {
    pub fn parse(line: &str, input: &str) -> Command {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap().to_owned();
        let args = words.map(|word| match word.split_once('=') {
            None => (word.to_owned(), Vec::new()),
            Some((key, values)) => {
                let values = values.trim_matches(['(', ')']).split(',').filter(|v| !v.is_empty());
                (key.to_owned(), values.map(str::to_owned).collect())
            }
        });
        Command { name, args: args.collect(), input: input.to_owned() }
    }

    fn ids(&self) -> Vec<usize> {
        self.args.iter().filter(|(_, v)| v.is_empty()).filter_map(|(k, _)| k.parse().ok()).collect()
    }

    fn id(&self) -> usize {
        self.ids()[0]
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.args.iter().find(|(k, v)| k == key && !v.is_empty()).map(|(_, v)| v[0].as_str())
    }
}

/// What a delivery to a node itself does.
#[derive(Clone, Copy)]
enum Effect {
    Nothing,
    Persisted(RecordId),
    Applied(Index),
}

#[derive(Clone)]
enum Mail {
    Peer(Message),
    Own { to: usize, kind: &'static str, line: String, effect: Effect },
}

impl Mail {
    fn to(&self) -> usize {
        match self {
            Mail::Peer(message) => message.to.0 as usize,
            Mail::Own { to, .. } => *to,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Mail::Peer(message) => message.body.name(),
            Mail::Own { kind, .. } => kind,
        }
    }

    fn line(&self) -> String {
        match self {
            Mail::Peer(message) => describe(message),
            Mail::Own { line, .. } => line.clone(),
        }
    }
}

struct AppendWork {
    line: String,
    record: Option<Record>,
    answers: Vec<Mail>,
}

struct ApplyWork {
    line: String,
    entries: Entries,
    answer: Mail,
}

/// What a node has durably: enough to print its log.
#[derive(Default)]
struct Disk {
    base: Index,
    entries: Vec<Entry>,
}

impl Disk {
    fn write(&mut self, record: &Record) {
        if let Some(meta) = &record.snapshot {
            self.base = meta.index;
            self.entries.clear();
        }
        if let Some(first) = record.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            assert_eq!(first.index, self.base + self.entries.len() as u64 + 1, "a record leaves a gap");
            self.entries.extend(record.entries.iter().cloned());
        }
    }
}

/// What one `Ready` holds.
#[derive(Default)]
struct Ready {
    role: Option<RoleChange>,
    record: Option<Record>,
    must_sync: bool,
    applies: Entries,
    messages: Vec<Message>,
    /// Promises, those to the node itself too.
    after: Vec<Message>,
    /// Those of them that wait for a record.
    held: usize,
}

struct Node {
    raft: Raft,
    now: Time,
    asynchronous: bool,
    disk: Disk,
    hard: HardState,
    /// Promises that are in the mail already; the machine will hand them out too, once their record is durable.
    mailed: VecDeque<Message>,
    appends: VecDeque<AppendWork>,
    applies: VecDeque<ApplyWork>,
}

impl Node {
    fn step(&mut self, input: Input) -> Result<(), Ignored> {
        let result = self.raft.step(self.now, input);
        assert_eq!(self.raft.fatal(), None);
        result
    }

    fn ready(&mut self) -> Option<Ready> {
        let (mut ready, mut out) = (Ready::default(), Vec::new());
        let held = self.raft.held().count();
        self.raft.flush(&mut out);
        for action in out {
            match action {
                Action::Role(role) => ready.role = Some(role),
                Action::Send(message) => match self.mailed.iter().position(|mailed| *mailed == message) {
                    Some(at) => drop(self.mailed.remove(at)),
                    None if is_promise(&message) => ready.after.push(message),
                    None => ready.messages.push(message),
                },
                Action::SendSnapshot { message, .. } => ready.messages.push(message),
                Action::Persist(record) => ready.record = Some(record),
                Action::Apply(entries) => ready.applies = entries,
                Action::Fatal(fatal) => panic!("{fatal}"),
                _ => {}
            }
        }
        // The one deviation: the machine holds a request for votes until the candidate's own vote, and the log that it boasts
        // of, are durable. etcd sends it before. It is mailed here where etcd mails it, so that the rest of the transcript
        // can be compared; that the machine holds it is shown by `e6_a_candidate_asks_when_its_own_vote_is_durable`.
        let fresh = self.raft.held().skip(held).map(|(_, message)| message.clone());
        let (early, fresh): (Vec<Message>, Vec<Message>) = fresh.partition(|m| matches!(m.body, Body::Vote { .. }));
        self.mailed.extend(early.iter().cloned());
        ready.messages.extend(early);
        ready.held = fresh.len();
        ready.after.extend(fresh);
        if let Some(record) = &ready.record {
            let hard = record.hard.unwrap_or(self.hard);
            ready.must_sync = !record.entries.is_empty() || hard.term != self.hard.term || hard.vote != self.hard.vote;
            self.hard = hard;
        }
        let idle = ready.role.is_none()
            && ready.record.is_none()
            && ready.applies.is_empty()
            && ready.messages.is_empty()
            && ready.after.is_empty();
        (!idle).then_some(ready)
    }

    /// The application: membership changes take effect as they are reached.
    fn apply(&mut self, entries: &Entries) {
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Conf) {
            self.step(Input::Activate { index: entry.index }).unwrap();
        }
    }

    fn applied(&mut self, index: Index) {
        let _ = self.step(Input::Applied { index });
        let meta = self.raft.snapshot_meta(index).unwrap();
        let _ = self.step(Input::SnapshotTaken { meta });
    }
}

fn is_promise(message: &Message) -> bool {
    matches!(message.body.name(), "MsgAppResp" | "MsgVoteResp" | "MsgPreVoteResp")
}

#[derive(Default)]
pub struct World {
    nodes: Vec<Node>,
    mail: Vec<Mail>,
    out: Vec<String>,
    quiet: bool,
}

impl World {
    /// Runs a command and returns what it printed, as etcd's harness would.
    pub fn run(&mut self, command: &Command) -> Vec<String> {
        self.out.clear();
        match command.name.as_str() {
            "add-nodes" => self.add_nodes(command),
            "campaign" => drop(self.node(command.id()).step(Input::Campaign)),
            "compact" => self.compact(command.ids()[0], command.ids()[1] as u64),
            "deliver-msgs" => self.deliver(command),
            "process-ready" => self.each(command, "handling Ready", |world, id| world.process_ready(id)),
            "process-append-thread" => {
                self.each(command, "processing append thread", |world, id| world.process_append(id));
            }
            "process-apply-thread" => {
                self.each(command, "processing apply thread", |world, id| world.process_apply(id));
            }
            "log-level" => self.quiet = command.args[0].0.eq_ignore_ascii_case("none"),
            "raft-log" => self.raft_log(command.id()),
            "raft-state" => self.raft_state(),
            "set-randomized-election-timeout" => {
                let ticks: u32 = command.value("timeout").unwrap().parse().unwrap();
                self.node(command.id()).raft.set_election_timeout(TICK * ticks);
            }
            "stabilize" => {
                let quiet = self.quiet;
                self.quiet |= command.value("log-level") == Some("none");
                let ids = if command.ids().is_empty() { (1..=self.nodes.len()).collect() } else { command.ids() };
                self.stabilize(&ids);
                if self.quiet {
                    self.out.clear();
                }
                self.quiet = quiet;
            }
            "status" => self.status(command.id()),
            "tick-election" => self.tick(command.id(), ELECTION_TICKS),
            "tick-heartbeat" => self.tick(command.id(), 1),
            "transfer-leadership" => {
                let of = |key| command.value(key).unwrap().parse::<usize>().unwrap();
                let _ = self.node(of("from")).step(Input::TransferLeader { to: NodeId(of("to") as u64) });
            }
            "forget-leader" => drop(self.node(command.id()).step(Input::ForgetLeader)),
            "send-snapshot" => self.send_snapshot(command.ids()[0], command.ids()[1]),
            "propose" => {
                let payload = Bytes::from(command.args[1].0.clone());
                let result = self.node(command.id()).step(Input::Propose { ticket: Ticket(0), payload });
                self.refusal(result);
            }
            "propose-conf-change" => self.propose_conf(command),
            "report-unreachable" => {
                let peer = NodeId(command.ids()[1] as u64);
                let _ = self.node(command.id()).step(Input::Unreachable { peer });
            }
            name => panic!("unknown command {name}"),
        }
        if self.quiet {
            self.out.clear();
        }
        if self.out.is_empty() { vec!["ok".to_owned()] } else { self.out.clone() }
    }

    fn node(&mut self, id: usize) -> &mut Node {
        &mut self.nodes[id - 1]
    }

    fn say(&mut self, text: &str) {
        self.out.extend(text.lines().map(str::to_owned));
    }

    fn indented(&mut self, run: impl FnOnce(&mut World)) {
        let before = self.out.len();
        run(self);
        for line in &mut self.out[before..] {
            line.insert_str(0, "  ");
        }
    }

    fn each(&mut self, command: &Command, title: &str, run: impl Fn(&mut World, usize)) {
        let ids = command.ids();
        for id in &ids {
            if ids.len() > 1 {
                self.say(&format!("> {id} {title}"));
                self.indented(|world| run(world, *id));
            } else {
                run(self, *id);
            }
        }
    }

    fn add_nodes(&mut self, command: &Command) {
        let list = |key: &str| -> Vec<NodeId> {
            let values = command.args.iter().filter(|(k, _)| k == key).flat_map(|(_, v)| v);
            values.map(|id| NodeId(id.parse().unwrap())).collect()
        };
        let flag = |key: &str| command.value(key) == Some("true");
        let index = command.value("index").map_or(0, |v| v.parse().unwrap());
        let conf = Conf { voters: list("voters"), learners: list("learners"), ..Conf::default() };
        for _ in 0..command.id() {
            let id = NodeId(self.nodes.len() as u64 + 1);
            let lease = command.value("read-only") == Some("lease-based");
            let config = Config {
                seed: id.0,
                election_timeout: TICK * ELECTION_TICKS,
                heartbeat_interval: TICK,
                pre_vote: flag("prevote"),
                check_quorum: flag("checkquorum"),
                step_down_on_removal: flag("step-down-on-removal"),
                reads: if lease { ReadMode::Lease { drift_ppm_max: 0 } } else { ReadMode::Quorum },
                forward_proposals: true,
                apply_before_persisted: !flag("async-storage-writes"),
                skip_conf_validation: flag("disable-conf-change-validation"),
                append_bytes_max: u64::MAX,
                inflight_messages_max: command.value("inflight").map_or(usize::MAX, |v| v.parse().unwrap()),
                inflight_bytes_max: u64::MAX,
                uncommitted_bytes_max: u64::MAX,
                applying_bytes_max: command
                    .value("max-committed-size-per-ready")
                    .map_or(u64::MAX, |v| v.parse().unwrap()),
                log_tail_entries: u64::MAX,
                ..Config::new(id)
            };
            let term = u64::from(index > 0);
            let snapshot = SnapshotMeta { index, term, conf: conf.clone() };
            let hard = HardState { commit: index, ..HardState::default() };
            let boot = Boot { hard, snapshot, ..Boot::default() };
            // With leases a node that has just started elects no one: the transcript begins after that.
            let now = if lease { Time::ZERO + TICK * ELECTION_TICKS } else { Time::ZERO };
            let node = Node {
                raft: Raft::new(config, boot, Time::ZERO).unwrap(),
                now,
                asynchronous: flag("async-storage-writes"),
                disk: Disk { base: index, entries: Vec::new() },
                hard,
                mailed: VecDeque::new(),
                appends: VecDeque::new(),
                applies: VecDeque::new(),
            };
            self.nodes.push(node);
        }
    }

    fn compact(&mut self, id: usize, upto: Index) {
        let node = self.node(id);
        node.step(Input::Compact { upto }).unwrap();
        node.disk.entries.retain(|entry| entry.index > upto);
        node.disk.base = upto;
        self.raft_log(id);
    }

    fn deliver(&mut self, command: &Command) {
        let kind = command.value("type");
        let drops = command.args.iter().filter(|(k, _)| k == "drop").flat_map(|(_, v)| v);
        let drops: Vec<usize> = drops.map(|id| id.parse().unwrap()).collect();
        let mut count = 0;
        for (id, drop) in command.ids().into_iter().map(|id| (id, false)).chain(drops.into_iter().map(|id| (id, true)))
        {
            count += self.deliver_to(id, kind, drop);
        }
        if count == 0 {
            self.say("no messages");
        }
    }

    fn deliver_to(&mut self, id: usize, kind: Option<&str>, drop: bool) -> usize {
        let chosen = |mail: &Mail| {
            let own = matches!(mail, Mail::Own { .. });
            mail.to() == id && !(drop && own) && kind.is_none_or(|kind| mail.kind() == kind)
        };
        let (mine, rest): (Vec<Mail>, Vec<Mail>) = self.mail.drain(..).partition(chosen);
        self.mail = rest;
        let count = mine.len();
        for mail in mine {
            let prefix = if drop { "dropped: " } else { "" };
            self.say(&format!("{prefix}{}", mail.line()));
            if drop {
                continue;
            }
            match mail {
                Mail::Peer(message) => {
                    let result = self.node(id).step(Input::Receive(message));
                    self.refusal(result);
                }
                Mail::Own { effect, .. } => match effect {
                    Effect::Nothing => {}
                    Effect::Persisted(record) => self.node(id).step(Input::Persisted { record }).unwrap(),
                    Effect::Applied(index) => self.node(id).applied(index),
                },
            }
        }
        count
    }

    /// Prints what etcd returns as an error; it has none for the rest.
    fn refusal(&mut self, result: Result<(), Ignored>) {
        match result {
            Err(Ignored::Proposal(DropReason::Conf(_))) => {}
            Err(ignored @ (Ignored::Proposal(_) | Ignored::UnknownPeer)) => self.say(&ignored.to_string()),
            Err(ignored @ (Ignored::Malformed | Ignored::OtherSession | Ignored::OtherIncarnation)) => {
                panic!("{ignored} in a transcript")
            }
            _ => {}
        }
    }

    fn process_ready(&mut self, id: usize) {
        match self.node(id).ready() {
            Some(ready) => self.handle_ready(id, ready),
            None => self.say("<empty Ready>"),
        }
    }

    fn handle_ready(&mut self, id: usize, ready: Ready) {
        let node = self.node(id);
        let asynchronous = node.asynchronous;
        let mut work = Vec::new();
        if asynchronous {
            let status = node.raft.status();
            if ready.record.is_some() || !ready.after.is_empty() {
                work.push(append_work(id, &ready, &status));
            }
        }
        let mut text = format!("Ready MustSync={}:\n", ready.must_sync);
        if let Some(role) = ready.role {
            let _ = writeln!(text, "Lead:{} State:{}", role.leader.unwrap_or_default(), role_name(role.role));
        }
        if let Some(record) = &ready.record {
            if let Some(hard) = record.hard {
                let _ = writeln!(text, "HardState {}", describe_hard(&hard));
            }
            if !record.entries.is_empty() {
                let _ = writeln!(text, "Entries:\n{}", describe_all(&record.entries));
            }
            if let Some(meta) = &record.snapshot {
                let _ = writeln!(text, "Snapshot {}", describe_snapshot(meta));
            }
        }
        if !ready.applies.is_empty() {
            let _ = writeln!(text, "CommittedEntries:\n{}", describe_all(&ready.applies));
        }
        let others = ready.after.iter().filter(|message| message.to != message.from).cloned();
        let mut mail: Vec<Mail> = ready.messages.iter().cloned().map(Mail::Peer).collect();
        if !asynchronous {
            mail.extend(others.clone().map(Mail::Peer));
        }
        let mut lines: Vec<String> = mail.iter().map(Mail::line).collect();
        for append in &work {
            let answers: Vec<String> = append.answers.iter().map(Mail::line).collect();
            lines.push(with_responses(&append.line, &answers));
        }
        if asynchronous && !ready.applies.is_empty() {
            let apply = apply_work(id, ready.applies.clone());
            lines.push(with_responses(&apply.line, &[apply.answer.line()]));
            node.applies.push_back(apply);
        }
        if !lines.is_empty() {
            let _ = writeln!(text, "Messages:\n{}", lines.join("\n"));
        }
        // What the machine holds for a record it will hand out again: those are in the mail by then.
        let held = &ready.after[ready.after.len() - ready.held..];
        node.mailed.extend(held.iter().filter(|message| message.to != message.from).cloned());
        node.appends.extend(work);
        if !asynchronous {
            // Written and applied at once, and told to the machine in etcd's order: own promises, then what is applied.
            if let Some(record) = &ready.record {
                node.disk.write(record);
            }
            node.apply(&ready.applies);
            if let Some(record) = &ready.record {
                node.step(Input::Persisted { record: record.id }).unwrap();
                if let Some(meta) = &record.snapshot {
                    assert_eq!(node.raft.status().applied, meta.index);
                }
            }
            if let Some(newest) = ready.applies.last() {
                node.applied(newest.index);
            }
        }
        self.mail.extend(mail);
        self.say(&text);
    }

    fn process_append(&mut self, id: usize) {
        let node = self.node(id);
        let Some(work) = node.appends.pop_front() else { return self.say("no append work to perform") };
        if let Some(record) = &work.record {
            node.disk.write(record);
            if !work.answers.iter().any(|mail| matches!(mail, Mail::Own { effect: Effect::Persisted(_), .. })) {
                node.step(Input::Persisted { record: record.id }).unwrap();
            }
        }
        self.say("Processing:");
        self.say(&work.line);
        self.say("Responses:");
        for answer in &work.answers {
            self.say(&answer.line());
        }
        self.mail.extend(work.answers);
    }

    fn process_apply(&mut self, id: usize) {
        let node = self.node(id);
        let Some(work) = node.applies.pop_front() else { return self.say("no apply work to perform") };
        node.apply(&work.entries);
        self.say("Processing:");
        self.say(&work.line);
        self.say("Responses:");
        self.say(&work.answer.line());
        self.mail.push(work.answer);
    }

    fn stabilize(&mut self, ids: &[usize]) {
        loop {
            let mut done = true;
            for id in ids {
                if let Some(ready) = self.node(*id).ready() {
                    done = false;
                    self.say(&format!("> {id} handling Ready"));
                    self.indented(|world| world.handle_ready(*id, ready));
                }
            }
            for id in ids {
                if self.mail.iter().any(|mail| mail.to() == *id) {
                    done = false;
                    self.say(&format!("> {id} receiving messages"));
                    self.indented(|world| {
                        world.deliver_to(*id, None, false);
                    });
                }
            }
            for id in ids {
                if !self.node(*id).appends.is_empty() {
                    done = false;
                    self.say(&format!("> {id} processing append thread"));
                    while !self.node(*id).appends.is_empty() {
                        self.indented(|world| world.process_append(*id));
                    }
                }
            }
            for id in ids {
                if !self.node(*id).applies.is_empty() {
                    done = false;
                    self.say(&format!("> {id} processing apply thread"));
                    while !self.node(*id).applies.is_empty() {
                        self.indented(|world| world.process_apply(*id));
                    }
                }
            }
            if done {
                return;
            }
        }
    }

    fn raft_log(&mut self, id: usize) {
        let disk = &self.node(id).disk;
        let (first, last) = (disk.base + 1, disk.base + disk.entries.len() as u64);
        let text = if last < first {
            format!("log is empty: first index={first}, last index={last}")
        } else {
            describe_all(&disk.entries)
        };
        self.say(&text);
    }

    fn raft_state(&mut self) {
        for at in 0..self.nodes.len() {
            let status = self.nodes[at].raft.status();
            let voter = if status.conf.is_voter(status.id) { "Voter" } else { "Non-Voter" };
            let (role, term, lead) = (role_name(status.role), status.term, status.leader.unwrap_or_default());
            self.say(&format!("{}: {role} ({voter}) Term:{term} Lead:{lead}", status.id));
        }
    }

    fn status(&mut self, id: usize) {
        let raft = &self.node(id).raft;
        let limit = raft.config().inflight_messages_max;
        let lines: Vec<String> = raft
            .status()
            .progress
            .iter()
            .map(|(id, progress)| {
                let full = if progress.inflights.count() >= limit { "[full]" } else { "" };
                format!("{id}: {progress}{full}")
            })
            .collect();
        self.say(&lines.join("\n"));
    }

    fn tick(&mut self, id: usize, ticks: u32) {
        let node = self.node(id);
        for _ in 0..ticks {
            node.now = node.now + TICK;
            node.step(Input::Timeout).unwrap();
        }
    }

    fn send_snapshot(&mut self, from: usize, to: usize) {
        let status = self.node(from).raft.status();
        let meta = self.node(from).raft.snapshot_meta(status.applied).unwrap();
        let message = Message {
            cluster: ClusterId(0),
            from: status.id,
            incarnation: Incarnation(0),
            to: NodeId(to as u64),
            term: status.term,
            session: 0,
            body: Body::Snapshot { meta },
        };
        self.say(&describe(&message));
        self.mail.push(Mail::Peer(message));
    }

    fn propose_conf(&mut self, command: &Command) {
        let transition = match command.value("transition") {
            None | Some("auto") => Transition::Auto,
            Some("implicit") => Transition::JointImplicit,
            Some("explicit") => Transition::JointExplicit,
            Some(other) => panic!("unknown transition {other}"),
        };
        let changes = command.input.split_whitespace().map(crate::common::change);
        let v1 = command.value("v1") == Some("true");
        let context = if v1 { Bytes::from_static(V1) } else { Bytes::new() };
        let change = ConfChange { transition, changes: changes.collect(), context };
        let result = self.node(command.id()).step(Input::ProposeConf { ticket: Ticket(0), change });
        self.refusal(result);
    }
}

/// What etcd's append thread gets, and what it answers.
fn append_work(id: usize, ready: &Ready, status: &Status) -> AppendWork {
    let record = ready.record.clone();
    let hard = record.as_ref().and_then(|record| record.hard);
    let mut line = format!("{id}->AppendThread MsgStorageAppend Term:{} Log:0/0", hard.map_or(0, |hard| hard.term));
    if let Some(hard) = hard {
        if hard.commit > 0 {
            let _ = write!(line, " Commit:{}", hard.commit);
        }
        if let Some(vote) = hard.vote {
            let _ = write!(line, " Vote:{vote}");
        }
    }
    line += &describe_entries(record.as_ref().map_or(&[], |record| &record.entries));
    let mut effect = record.as_ref().map_or(Effect::Nothing, |record| Effect::Persisted(record.id));
    let mut own = |kind, line| {
        let effect = std::mem::replace(&mut effect, Effect::Nothing);
        Mail::Own { to: id, kind, line, effect }
    };
    let mut answers: Vec<Mail> = Vec::new();
    for message in &ready.after {
        answers.push(if message.to == message.from {
            own(message.body.name(), describe(message))
        } else {
            Mail::Peer(message.clone())
        });
    }
    if status.stable < status.last_index {
        let (term, last_term, last) = (status.term, status.last_term, status.last_index);
        let line = format!("AppendThread->{id} MsgStorageAppendResp Term:{term} Log:{last_term}/{last}");
        answers.push(own("MsgStorageAppendResp", line));
    }
    AppendWork { line, record, answers }
}

fn apply_work(id: usize, entries: Entries) -> ApplyWork {
    let text = describe_entries(&entries);
    let line = format!("ApplyThread->{id} MsgStorageApplyResp Term:0 Log:0/0{text}");
    let effect = Effect::Applied(entries.last().unwrap().index);
    let answer = Mail::Own { to: id, kind: "MsgStorageApplyResp", line, effect };
    ApplyWork { line: format!("{id}->ApplyThread MsgStorageApply Term:0 Log:0/0{text}"), entries, answer }
}

fn with_responses(line: &str, answers: &[String]) -> String {
    if answers.is_empty() {
        return line.to_owned();
    }
    let answers: Vec<String> =
        answers.iter().flat_map(|answer| answer.lines()).map(|line| format!("  {line}")).collect();
    format!("{line} Responses:[\n{}\n]", answers.join("\n"))
}

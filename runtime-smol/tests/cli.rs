//! The client commands as a shell runs them: real processes, real pipes, a real node.

// A test is wrong in one way: it panics.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest that anything here may take; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a condition.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until something is so.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// A program of ours with nothing of this test's environment but `env`.
fn wrs(env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wrs"));
    command.env_clear().envs(env.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A program that runs; it is killed when the test is over.
struct Running(Option<Child>);

impl Running {
    fn start(mut command: Command) -> Running {
        Running(Some(command.spawn().unwrap()))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    fn stdin(&mut self) -> ChildStdin {
        self.child().stdin.take().unwrap()
    }

    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.child().stdout.take().unwrap()).lines().map(Result::unwrap)
    }

    #[cfg(unix)]
    fn signal(&mut self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(self.child());
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Its exit code and what it wrote.
    fn finish(mut self) -> Finished {
        let child = self.0.take().unwrap();
        let mut guard = Running(Some(child));
        // Pipes are read while it runs: a full one would keep it from ending.
        let read = |pipe: Option<Box<dyn Read + Send>>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
                bytes
            })
        };
        let stdout = read(guard.child().stdout.take().map(|pipe| Box::new(pipe) as _));
        let stderr = read(guard.child().stderr.take().map(|pipe| Box::new(pipe) as _));
        let status = until("the end of a command", || guard.child().try_wait().unwrap());
        guard.0 = None;
        Finished::from(Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[derive(Debug)]
struct Finished {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Finished {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Finished { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Finished {
    /// What it wrote, if it did what it was asked.
    #[track_caller]
    fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// What it complained of, if it ended with this code.
    #[track_caller]
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.starts_with("wrs: ") || self.err.contains("\nwrs: "), "{self:?}");
        self.err
    }
}

/// A node and where it listens.
struct Node {
    running: Running,
    url: String,
}

impl Node {
    fn start(env: &[(&str, &str)]) -> Node {
        let mut command = wrs(env);
        command.args(["--port-api", "0", "--port-node", "0", "--shards", "2"]).stderr(Stdio::inherit());
        let mut running = Running::start(command);
        let mut lines = running.lines();
        let first = lines.next().unwrap();
        let url = first.split_once("listening on ").unwrap().1.to_owned();
        // Its log is read, or a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Node { running, url }
    }

    fn port(&self) -> &str {
        self.url.rsplit_once(':').unwrap().1
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = wrs(&[]);
        // Right behind the command's name: two dashes among the arguments end the flags.
        let (name, rest) = arguments.split_first().unwrap();
        command.arg(name).args(["--url", &self.url]).args(rest);
        command
    }

    /// Runs a command to its end with this standard input.
    fn run_with(&self, input: &[u8], arguments: &[&str]) -> Finished {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        let mut running = Running::start(command);
        let mut stdin = running.stdin();
        let input = input.to_vec();
        // It may end before it has read everything.
        let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let finished = running.finish();
        writing.join().unwrap();
        finished
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        Running::start(self.command(arguments)).finish()
    }

    fn start_command(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    /// A channel's id and token.
    fn create(&self, pattern: &str) -> [String; 2] {
        let line = self.run(&["create", pattern]).done();
        let (id, token) = line.trim_end().split_once(' ').unwrap();
        [id.to_owned(), token.to_owned()]
    }

    fn get(&self, path: &str) -> Value {
        let authority = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(authority).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {authority}\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    fn await_clients(&self, channel: &str, count: u64) {
        let path = format!("/channels/{channel}");
        until("the number of clients", || (self.get(&path)["data"]["clients"] == count).then_some(()));
    }
}

#[test]
fn what_is_published_by_arguments_and_lines_is_printed_line_by_line() {
    let node = Node::start(&[]);
    let [id, token] = node.create("pub-sub");
    let sub = node.start_command(&["sub", &id, &token, "--count", "6"]);
    node.await_clients(&id, 1);
    assert_eq!(node.run(&["pub", &id, &token, "one", "two words", "--", "--three"]).done(), "");
    assert_eq!(node.run_with("vier\r\n\nfünf".as_bytes(), &["pub", &id, &token]).done(), "");
    assert_eq!(sub.finish().done(), "one\ntwo words\n--three\nvier\n\nfünf\n");
    node.await_clients(&id, 0);
}

#[test]
fn a_message_is_printed_when_it_comes_and_not_later() {
    let node = Node::start(&[]);
    let [id, token] = node.create("pub-sub");
    let mut sub = node.start_command(&["sub", &id, &token]);
    let mut lines = sub.lines();
    node.await_clients(&id, 1);
    let mut command = node.command(&["pub", &id, &token]);
    command.stdin(Stdio::piped());
    let mut publisher = Running::start(command);
    let mut stdin = publisher.stdin();
    for message in ["a", "b"] {
        writeln!(stdin, "{message}").unwrap();
        assert_eq!(lines.next().as_deref(), Some(message));
    }
    drop(stdin);
    publisher.finish().done();
}

#[test]
fn a_dash_takes_the_channel_from_a_pipe() {
    let node = Node::start(&[]);
    let mut create = node.start_command(&["create", "pub-sub", "--client-limit", "1", "--timeout", "-1"]);
    let mut sub = node.command(&["sub", "-", "--count", "1"]);
    sub.stdin(create.child().stdout.take().unwrap());
    let sub = Running::start(sub);
    create.finish().done();
    let channel = until("a channel", || node.get("/channels")["data"].get(0).cloned());
    assert_eq!((&channel["clientLimit"], &channel["timeout"]), (&Value::from(1), &Value::from(-1)));
    node.await_clients(channel["id"].as_str().unwrap(), 1);
    node.run(&["reset", "--yes"]).done();
    assert!(sub.finish().failed(1).contains("4404: the channel was deleted"));

    let [id, token] = node.create("push-pull");
    let sub = node.start_command(&["sub", &id, &token, "--count", "2"]);
    node.await_clients(&id, 1);
    node.run_with(format!("{id} {token}\na\nb\n").as_bytes(), &["pub", "-"]).done();
    assert_eq!(sub.finish().done(), "a\nb\n");
    assert!(node.run_with(b"nothing\n", &["sub", "-"]).failed(1).contains("not CHANNEL TOKEN"));
}

#[test]
fn binary_messages_keep_their_type_and_bytes() {
    let node = Node::start(&[]);
    let [id, token] = node.create("pub-sub");
    let forms = [
        (vec!["--binary", "raw"], "\0\n\u{7f}text\n"),
        (vec!["--binary", "base64"], "AAp/\ntext\n"),
        (vec![], "000a7f\ntext\n"),
        (vec!["--json"], "{\"data\":\"AAp/\",\"type\":\"binary\"}\n{\"data\":\"text\",\"type\":\"text\"}\n"),
    ];
    let subs: Vec<(Running, &str)> = forms
        .iter()
        .map(|(flags, expected)| {
            let arguments = [&["sub", &id, &token, "--count", "2"], &flags[..]].concat();
            (node.start_command(&arguments), *expected)
        })
        .collect();
    node.await_clients(&id, subs.len() as u64);
    node.run_with(b"\0\n\x7f", &["pub", &id, &token, "--whole", "--binary"]).done();
    assert!(node.run_with(b"\xff\n", &["pub", &id, &token]).failed(1).contains("message 1 is not UTF-8"));
    node.run(&["pub", &id, &token, "text"]).done();
    for (sub, expected) in subs {
        assert_eq!(sub.finish().done(), expected);
    }
}

#[test]
fn many_messages_pass_a_pipe_whole_and_in_order() {
    let node = Node::start(&[]);
    let [id, token] = node.create("pub-sub");
    let sub = node.start_command(&["sub", &id, &token, "--count", "20000"]);
    node.await_clients(&id, 1);
    let lines: String = (0..20_000).map(|n| format!("message {n}\n")).collect();
    node.run_with(lines.as_bytes(), &["pub", &id, &token]).done();
    assert_eq!(sub.finish().done(), lines);
}

#[test]
fn a_reader_that_has_had_enough_is_no_fault() {
    let node = Node::start(&[]);
    let [id, token] = node.create("pub-sub");
    let mut sub = node.start_command(&["sub", &id, &token]);
    node.await_clients(&id, 1);
    let mut lines = sub.lines();
    node.run(&["pub", &id, &token, "one"]).done();
    assert_eq!(lines.next().as_deref(), Some("one"));
    drop(lines);
    // What meets the closed pipe may be the first message or, where it was still taken, the next.
    until("the end of sub", || {
        node.run(&["pub", &id, &token, "more"]).done();
        sub.child().try_wait().unwrap()
    });
    let finished = sub.finish();
    assert_eq!((finished.code, finished.err.as_str()), (Some(0), ""));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_what_has_no_end_and_interrupts_what_has_one() {
    use rustix::process::Signal;
    let node = Node::start(&[]);
    let [id, token] = node.create("req-repl");
    for command in ["sub", "reply"] {
        let mut running = node.start_command(&[command, &id, &token]);
        node.await_clients(&id, 1);
        running.signal(Signal::INT);
        let finished = running.finish();
        assert_eq!((finished.code, finished.err.as_str()), (Some(0), ""), "{command}");
        node.await_clients(&id, 0);
    }
    // A client that answers nothing.
    let _silent = node.start_command(&["sub", &id, &token]);
    node.await_clients(&id, 1);
    let mut request = node.start_command(&["req", &id, &token, "1"]);
    node.await_clients(&id, 2);
    request.signal(Signal::INT);
    assert_eq!(request.finish().code, Some(130));

    let mut echo = node.start_command(&["echo", "--count", "0", "--interval", "1"]);
    let mut lines = echo.lines();
    assert!(lines.next().unwrap().starts_with("64 bytes: seq=1 time="));
    echo.signal(Signal::INT);
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().any(|line| line.contains("0.0 % lost")), "{rest:?}");
    assert!(rest.last().unwrap().starts_with("round trip min "), "{rest:?}");
    assert_eq!(echo.finish().code, Some(0));
    assert_eq!(node.get("/channels")["data"].as_array().unwrap().len(), 1, "echo deletes its channel");
}

#[test]
fn requests_are_answered_with_their_own_data_or_other() {
    let node = Node::start(&[]);
    for pattern in ["req-repl", "fan-in-out"] {
        let [id, token] = node.create(pattern);
        let same = node.start_command(&["reply", &id, &token, "--count", "4"]);
        node.await_clients(&id, 1);
        assert_eq!(node.run(&["req", &id, &token, r#"{"b":1.0,"a":[]}"#]).done(), "{\"b\":1.0,\"a\":[]}\n");
        assert_eq!(node.run_with(b"5\nhello\n", &["req", &id, &token]).done(), "5\n\"hello\"\n");
        let whole = node.run(&["req", &id, &token, r#"{"type":"request","data":7}"#, "--json"]).done();
        let whole: Value = serde_json::from_str(&whole).unwrap();
        assert_eq!((&whole["type"], &whole["data"]), (&Value::from("reply"), &Value::from(7)));
        same.finish().done();
        node.await_clients(&id, 0);

        let fixed = node.start_command(&["reply", &id, &token, "--data", "no", "--count", "1"]);
        node.await_clients(&id, 1);
        assert_eq!(node.run(&["req", &id, &token, "really?"]).done(), "\"no\"\n");
        fixed.finish().done();
    }
}

#[test]
fn several_replies_are_waited_for_and_missing_ones_told() {
    let node = Node::start(&[]);
    let [id, token] = node.create("req-repl");
    assert!(node.run(&["req", &id, &token, "1"]).failed(1).contains("no-recipient"));
    let _replies: Vec<Running> =
        ["a", "b"].iter().map(|data| node.start_command(&["reply", &id, &token, "--data", data])).collect();
    node.await_clients(&id, 2);
    let both = node.run(&["req", &id, &token, "1", "--replies", "2"]).done();
    let mut both: Vec<&str> = both.lines().collect();
    both.sort_unstable();
    assert_eq!(both, ["\"a\"", "\"b\""]);
    let late = node.run(&["req", &id, &token, "1", "--replies", "3", "--timeout", "300"]);
    assert!(late.failed(1).contains("reply 3 of 3 did not come within 300 ms"));
    assert!(node.run(&["pub", &id, &token, "no JSON"]).failed(1).contains("malformed"));
}

#[test]
fn a_pipe_answers_requests() {
    let node = Node::start(&[]);
    let [id, token] = node.create("req-repl");
    let mut command = node.command(&["reply", &id, &token, "--pipe"]);
    command.stdin(Stdio::piped());
    let mut reply = Running::start(command);
    let (mut answers, mut questions) = (reply.stdin(), reply.lines());
    node.await_clients(&id, 1);
    // The second request comes while the first one waits for its answer.
    let first = node.start_command(&[
        "req",
        &id,
        &token,
        r#"{"n":
        1}"#,
    ]);
    assert_eq!(questions.next().as_deref(), Some(r#"{"n":1}"#));
    let second = node.start_command(&["req", &id, &token, "two"]);
    node.await_clients(&id, 3);
    writeln!(answers, "{{\"one\":1}}").unwrap();
    assert_eq!(first.finish().done(), "{\"one\":1}\n");
    assert_eq!(questions.next().as_deref(), Some("\"two\""));
    writeln!(answers, "zwei").unwrap();
    assert_eq!(second.finish().done(), "\"zwei\"\n");
    drop(answers);
    node.run(&["req", &id, &token, "three", "--timeout", "100"]).failed(1);
    assert_eq!(questions.next().as_deref(), Some("\"three\""));
    reply.finish().done();
}

#[test]
fn echo_measures_round_trips_on_a_channel_of_its_own_or_on_a_given_one() {
    let node = Node::start(&[]);
    let [id, token] = node.create("pub-sub");
    for channel in [vec![], vec![&id[..], &token]] {
        let flags = ["--count", "5", "--interval", "1", "--size", "1000", "--json"];
        let summary = node.run(&[&["echo"], &channel[..], &flags].concat()).done();
        let summary: Value = serde_json::from_str(&summary).unwrap();
        assert_eq!((&summary["sent"], &summary["received"]), (&Value::from(5), &Value::from(5)));
        let (min, max) = (summary["roundTripMs"]["min"].as_f64(), summary["roundTripMs"]["max"].as_f64());
        assert!(min > Some(0.0) && min <= max, "{summary}");
    }
    assert_eq!(node.get("/channels")["data"].as_array().unwrap().len(), 1);
    // Nobody gives this client its message back.
    let [id, token] = node.create("req-repl");
    let lost = node.run(&["echo", &id, &token, "--count", "1", "--timeout", "50"]).failed(1);
    assert!(lost.contains("1 of 1 messages did not come back"), "{lost}");
}

#[test]
fn bench_counts_every_delivery_and_leaves_nothing_behind() {
    let node = Node::start(&[]);
    for (arguments, receivers) in [
        (&["--publishers", "2", "--subscribers", "3"][..], 4),
        (&["--pattern", "push-pull", "--subscribers", "3", "--rate", "500"], 1),
        (&["--pattern", "echo", "--publishers", "3", "--window", "2", "--size", "2000"], 1),
    ] {
        let run = node.run(&[&["bench", "--seconds", "1", "--json"], arguments].concat());
        assert!(run.err.contains("are connected\n") && run.err.contains("/s   p99 "), "{run:?}");
        let result: Value = serde_json::from_str(&run.done()).unwrap();
        let (sent, delivered) = (result["sent"].as_u64().unwrap(), result["delivered"].as_u64().unwrap());
        assert!(sent > 0 && delivered == sent * receivers, "{result}");
        assert_eq!((&result["lost"], &result["outOfOrder"]), (&Value::from(0), &Value::from(0)));
        assert!(result["latencyMs"]["p50"].as_f64() <= result["latencyMs"]["p99.9"].as_f64(), "{result}");
        assert_ne!(result["deliveredPerSecond"], 0.0);
        if arguments.contains(&"--rate") {
            assert!(result["sentPerSecond"].as_f64() < Some(502.0), "{result}");
        }
    }
    assert_eq!(node.get("/channels")["data"].as_array().unwrap().len(), 0);
    let table = node.run(&["bench", "--seconds", "1"]).done();
    assert!(table.starts_with("pub-sub: 1 publishers, 10 subscribers, 64 bytes, window 32"), "{table}");
}

#[test]
fn an_operator_asks_a_node_without_a_shell() {
    let mut node = Node::start(&[]);
    assert!(node.run(&["health"]).done().ends_with(" is ready\n"));
    assert!(node.run(&["health", "--live"]).done().ends_with(" lives\n"));
    // The node of the same configuration needs no URL.
    let mut own = wrs(&[("WRS_API_PORT", node.port())]);
    own.arg("health");
    Running::start(own).finish().done();

    let text = node.run(&["cluster"]).done();
    let json: Value = serde_json::from_str(&node.run(&["cluster", "--json"]).done()).unwrap();
    assert_eq!(json["data"]["role"], "leader");
    let leader = json["data"]["leader"].as_str().unwrap();
    assert!(text.lines().any(|line| line.split_whitespace().eq(["leader", leader])), "{text}");
    assert!(node.run(&["cluster", "remove", "ff"]).failed(1).contains("404"));
    assert!(node.run(&["cluster", "join", "127.0.0.1:9"]).failed(1).contains("502"));
    assert!(node.run(&["cluster", "dance"]).failed(2).contains("join HOST:PORT"));

    node.create("echo");
    assert!(node.run(&["reset"]).failed(2).contains("--yes"));
    assert_eq!(node.get("/channels")["data"].as_array().unwrap().len(), 1);
    node.run(&["reset", "--yes"]).done();
    assert_eq!(node.get("/channels")["data"].as_array().unwrap().len(), 0);

    node.running.child().kill().unwrap();
    node.running.child().wait().unwrap();
    assert!(node.run(&["health"]).failed(1).contains("cannot reach http://127.0.0.1:"));
}

#[test]
fn delete_takes_what_create_prints() {
    let node = Node::start(&[]);
    let [one, _] = node.create("pub-sub");
    let [two, token] = node.create("echo");
    let piped = node.run(&["create", "echo"]).done();
    let sub = node.start_command(&["sub", &two, &token]);
    node.await_clients(&two, 1);
    assert!(node.run(&["delete", &one]).done().contains("deleted"));
    node.run(&["delete", &two, &token]).done();
    assert!(sub.finish().failed(1).contains("4404"));
    node.run_with(piped.as_bytes(), &["delete", "-"]).done();
    assert_eq!(node.get("/channels")["data"].as_array().unwrap().len(), 0);
    assert!(node.run(&["delete", &one]).failed(1).contains("404"));
    assert!(node.run_with(b"../reset\n", &["delete", "-"]).failed(1).contains("standard input is no CHANNEL"));
    assert!(node.run_with(piped.as_bytes(), &["delete", "-", "x"]).failed(2).contains("too many arguments"));
}

#[test]
fn what_cannot_be_read_is_named_without_its_value_and_exits_with_2() {
    for (arguments, part) in [
        (&["health", "--url", "s3cret"][..], "--url is"),
        (&["health", "--url", "http://user:s3cret@host"], "--url is"),
        (&["health", "--auht", "s3cret"], "unknown flag"),
        (&["health", "--auth", "s3cret\n"], "API token"),
        (&["health", "s3cret"], "too many arguments"),
        (&["sub", "D679-05F5"], "TOKEN is missing"),
        (&["sub", "s3cret!", "s3cret"], "CHANNEL"),
        (&["sub", "D679-05F5", "s3cret\n"], "TOKEN"),
        (&["sub", "D679-05F5", "s3cret", "--binary", "s3cret"], "--binary"),
        (&["reply", "D679-05F5", "s3cret", "--pipe", "--data", "s3cret"], "--pipe"),
        (&["delete", "../s3cret"], "CHANNEL"),
        (&["create"], "argument is missing"),
        (&["create", "echo", "--timeout", "s3cret"], "--timeout"),
        (&["health", "--url", "https://localhost", "--ca", "/nowhere"], "--ca /nowhere"),
    ] {
        let mut command = wrs(&[]);
        command.args(arguments);
        let why = Running::start(command).finish().failed(2);
        assert!(why.contains(part) && !why.contains("s3cret") && why.lines().count() == 1, "{arguments:?}: {why}");
    }
}

#[test]
fn help_of_a_command_needs_no_node() {
    let all = ["create", "delete", "sub", "pub", "req", "reply", "echo", "bench", "health", "cluster", "reset"];
    for name in all {
        for arguments in [[name, "--help"], ["help", name]] {
            // Nor a configuration that is right.
            let mut command = wrs(&[("WRS_API_PORT", "rubbish")]);
            command.args(arguments);
            let text = Running::start(command).finish().done();
            assert!(text.starts_with(&format!("usage: wrs {name} ")), "{arguments:?}: {text}");
        }
    }
    let mut command = wrs(&[]);
    command.args(["help", "sud"]);
    assert!(Running::start(command).finish().failed(2).contains("did you mean sub?"));
}

#[test]
fn no_refusal_shows_a_token() {
    let node = Node::start(&[("WRS_AUTH", "true"), ("WRS_AUTH_TOKEN", "0pen-api")]);
    assert!(node.run(&["create", "echo"]).failed(1).contains("401"));
    let wrong = node.run(&["create", "echo", "--auth", "s3cret"]).failed(1);
    assert!(wrong.contains("401") && !wrong.contains("s3cret"), "{wrong}");
    let line = node.run(&["create", "echo", "--auth", "0pen-api"]).done();
    let (id, token) = line.trim_end().split_once(' ').unwrap();
    let mut command = node.command(&["echo", id, token, "--count", "1"]);
    command.env("WRS_AUTH_TOKEN", "0pen-api");
    Running::start(command).finish().done();
    for (id, token) in [(id, "s3cret"), ("0000-0000", token)] {
        let why = node.run(&["sub", id, token, "--auth", "0pen-api"]).failed(1);
        assert!(why.contains("40") && ![token, "0pen-api"].iter().any(|secret| why.contains(secret)), "{why}");
    }
}

#[test]
fn why_the_node_closed_a_connection_is_told() {
    let node = Node::start(&[("WRS_MAX_MESSAGE_SIZE", "1KiB")]);
    let [id, token] = node.create("pub-sub");
    let long = "x".repeat(1025);
    assert!(node.run(&["pub", &id, &token, "fits", &long]).failed(1).contains("1009: a message longer than"));
    let timeout = node.run(&["create", "pub-sub", "--timeout", "300"]).done();
    let (id, token) = timeout.trim_end().split_once(' ').unwrap();
    assert!(node.run(&["sub", id, token]).failed(1).contains("4408: the channel timed out"));
}

#[cfg(unix)]
#[test]
fn a_node_that_goes_is_told_from_one_that_breaks() {
    use rustix::process::Signal;
    for (signal, part) in [(Signal::TERM, "1001: the node shuts down"), (Signal::KILL, "the connection broke")] {
        let mut node = Node::start(&[]);
        let [id, token] = node.create("pub-sub");
        let sub = node.start_command(&["sub", &id, &token]);
        let mut command = node.command(&["pub", &id, &token]);
        // Its standard input stays open: what ends it is the connection.
        command.stdin(Stdio::piped());
        let mut publisher = Running::start(command);
        let _stdin = publisher.stdin();
        node.await_clients(&id, 2);
        node.running.signal(signal);
        for running in [sub, publisher] {
            let why = running.finish().failed(1);
            assert!(why.contains(part), "{why}");
        }
    }
}

#[test]
fn what_is_no_node_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers = [(&b""[..], "cannot reach"), (b"SSH-2.0-x\r\n\r\n", "does not speak HTTP")];
    std::thread::spawn(move || {
        for (answer, _) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 1024];
            assert!(stream.read(&mut head).unwrap() > 0);
            stream.write_all(answer).unwrap();
        }
    });
    for (_, part) in answers {
        let mut command = wrs(&[]);
        command.args(["health", "--url", &url]);
        let why = Running::start(command).finish().failed(1);
        assert!(why.contains(part), "{why}");
    }
}

/// A self-signed certificate for `localhost` and its key, in files.
fn self_signed(authority: bool) -> [PathBuf; 2] {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    if authority {
        // As `openssl req -x509` makes them.
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }
    let cert = params.self_signed(&key).unwrap();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let names = [("cert", cert.pem()), ("key", key.serialize_pem())];
    names.map(|(what, pem)| {
        let path = folder.join(format!("cli-{}-{authority}-{what}.pem", std::process::id()));
        std::fs::write(&path, pem).unwrap();
        path
    })
}

#[test]
fn a_certificate_is_checked_unless_told_otherwise() {
    let certificates = [self_signed(false), self_signed(true)];
    for [cert, key] in &certificates {
        let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
        let tls = [("WRS_SSL", "true"), ("WRS_SSL_CERT_PATH", cert), ("WRS_SSL_KEY_PATH", key)];
        let mut node = Node::start(&tls);
        assert!(node.url.starts_with("https://127.0.0.1:"));
        node.url = format!("https://localhost:{}", node.port());
        assert!(node.run(&["health"]).failed(1).contains("certificate"));
        node.run(&["health", "--ca", cert]).done();
        node.run(&["health", "--insecure"]).done();
        let summary = node.run(&["echo", "--ca", cert, "--count", "3", "--interval", "1", "--size", "100000"]).done();
        assert!(summary.contains("3 sent, 3 received"), "{summary}");
        // The node of the same configuration is trusted, whatever its certificate names.
        let mut own = wrs(&tls);
        own.args(["--port-api", node.port(), "health"]);
        assert!(Running::start(own).finish().done().starts_with("https://127.0.0.1:"));
    }
    // Another certificate than the one that is trusted.
    let [[trusted, _], [cert, key]] = &certificates;
    let node = Node::start(&[
        ("WRS_SSL", "true"),
        ("WRS_SSL_CERT_PATH", cert.to_str().unwrap()),
        ("WRS_SSL_KEY_PATH", key.to_str().unwrap()),
    ]);
    assert!(node.run(&["health", "--ca", trusted.to_str().unwrap()]).failed(1).contains("certificate"));
}

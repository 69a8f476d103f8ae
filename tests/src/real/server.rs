//! A server as a child process: started on a port of the system's choice, killed when the scenario is over.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use serde_json::Value;

use super::{Http, PATIENCE, Response, Runtime, Stream, Ws, upgrade_request};

/// What a child has written so far.
#[derive(Default)]
struct Written {
    lines: Vec<String>,
    ended: bool,
}

/// The lines of one of a child's outputs, as they come.
#[derive(Clone, Default)]
struct Lines(Arc<(Mutex<Written>, Condvar)>);

impl Lines {
    fn follow(&self, from: impl Read + Send + 'static) {
        let lines = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                lines.0.0.lock().unwrap().lines.push(line);
                lines.0.1.notify_all();
            }
            lines.0.0.lock().unwrap().ended = true;
            lines.0.1.notify_all();
        });
    }

    fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.clone()
    }

    /// What `find` finds in the first line that has it; `None` when the child ends, or nothing comes in time.
    fn wait_for<T>(&self, find: impl Fn(&String) -> Option<T>) -> Option<T> {
        let start = Instant::now();
        let mut state = self.0.0.lock().unwrap();
        loop {
            if let Some(found) = state.lines.iter().find_map(&find) {
                return Some(found);
            }
            if state.ended || start.elapsed() > PATIENCE {
                return None;
            }
            state = self.0.1.wait_timeout(state, PATIENCE).unwrap().0;
        }
    }

    fn wait_for_end(&self) {
        let mut state = self.0.0.lock().unwrap();
        while !state.ended {
            state = self.0.1.wait(state).unwrap();
        }
    }
}

/// A channel as its creator knows it.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its id.
    pub id: String,
    /// Its token.
    pub token: String,
}

impl Channel {
    /// The path to connect to, token included; `more` is added to the query (`&echo=false`).
    pub fn path(&self, more: &str) -> String {
        format!("/channels/{}/connect?token={}{more}", self.id, self.token)
    }

    /// The path of the resource.
    pub fn resource(&self) -> String {
        format!("/channels/{}", self.id)
    }
}

/// A running server.
pub struct Server {
    /// Where it listens.
    pub port: u16,
    /// Where other nodes reach it.
    pub node_port: u16,
    /// What it runs as.
    pub runtime: Runtime,
    child: Child,
    out: Lines,
    err: Lines,
    tls: Option<Arc<rustls::ClientConfig>>,
}

fn command(runtime: Runtime, settings: &[&str]) -> Command {
    let wrap = settings.iter().find_map(|setting| setting.strip_prefix("sh:"));
    let binary = runtime.kind.binary();
    let mut command = match wrap {
        // What a shell sets before it becomes the server: `ulimit -n 64`.
        Some(before) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{before}; exec \"$0\" \"$@\"")]).arg(binary);
            shell
        }
        None => Command::new(binary),
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WRS_") {
            command.env_remove(name);
        }
    }
    command.env("WRS_SHARDS", runtime.shards.to_string());
    for setting in settings {
        match setting.split_once('=') {
            Some((name, value)) if name.starts_with("WRS_") => drop(command.env(name, value)),
            _ if setting.starts_with("sh:") => {}
            _ => drop(command.arg(setting)),
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program to its end: exit code, standard output, standard error.
pub fn exit_of(runtime: Runtime, settings: &[&str]) -> (Option<i32>, String, String) {
    let output = command(runtime, settings).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

impl Server {
    /// Starts a server; what it said, if it did not begin to listen.
    pub fn try_start(runtime: Runtime, settings: &[&str]) -> Result<Server, String> {
        let mut command = command(runtime, settings);
        command.args(["--port-api", "0", "--port-node", "0"]);
        let mut child = command.spawn().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
        let (out, err) = (Lines::default(), Lines::default());
        out.follow(child.stdout.take().unwrap());
        err.follow(child.stderr.take().unwrap());
        let mut server = Server { port: 0, node_port: 0, runtime, child, out, err, tls: None };
        let ports = [port_in, node_port_in].map(|find| server.out.wait_for(|line| find(line)));
        let [Some(port), Some(node_port)] = ports else {
            let status = server.child.try_wait().unwrap();
            return Err(format!("{status:?} {:?} {:?}", server.out.all(), server.err.all()));
        };
        (server.port, server.node_port) = (port, node_port);
        Ok(server)
    }

    /// The same server, spoken to by TLS from now on.
    #[must_use]
    pub fn trusting(mut self, certificate: &super::Certificate) -> Server {
        self.tls = Some(certificate.client());
        self
    }

    /// A new connection.
    pub fn stream(&self) -> Stream {
        match &self.tls {
            None => Stream::plain(self.port),
            Some(config) => Stream::encrypted(self.port, config.clone()).unwrap(),
        }
    }

    /// A new connection to speak HTTP on.
    pub fn http(&self) -> Http {
        Http::new(self.stream())
    }

    /// One request on a connection of its own, whose bytes are given whole.
    #[track_caller]
    pub fn raw(&self, bytes: impl AsRef<[u8]>) -> Response {
        let mut http = self.http();
        http.write(bytes);
        http.read()
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut http = self.http();
        http.send(method, path, headers, body);
        http.read_to(method)
    }

    /// GET.
    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], "")
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Response {
        self.send("DELETE", path, &[], "")
    }

    /// POST with a JSON body.
    pub fn post(&self, path: &str, body: &str) -> Response {
        self.send("POST", path, &[("Content-Type", "application/json")], body)
    }

    /// Creates a channel from a JSON body.
    #[track_caller]
    pub fn create(&self, body: &str) -> Channel {
        channel_of(&self.post("/channels", body))
    }

    /// Creates a channel of a pattern, with the defaults.
    #[track_caller]
    pub fn channel(&self, pattern: &str) -> Channel {
        self.create(&format!(r#"{{"pattern":"{pattern}"}}"#))
    }

    /// Joins a channel.
    #[track_caller]
    pub fn join(&self, channel: &Channel) -> Ws {
        self.join_as(channel, "")
    }

    /// Joins a channel with more in the query (`&echo=false`).
    #[track_caller]
    pub fn join_as(&self, channel: &Channel, more: &str) -> Ws {
        self.connect(&channel.path(more), &[])
    }

    /// Opens a WebSocket.
    #[track_caller]
    pub fn connect(&self, path: &str, headers: &[(&str, &str)]) -> Ws {
        Ws::connect(self.stream(), self.port, path, headers)
    }

    /// Asks for a WebSocket and hands out the answer, whatever it is.
    #[track_caller]
    pub fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.raw(upgrade_request(path, headers))
    }

    /// What `GET /channels/{id}` says of a channel; `None` if it has gone.
    #[track_caller]
    pub fn look(&self, channel: &Channel) -> Option<Value> {
        let response = self.get(&channel.resource());
        match response.status {
            200 => Some(response.json()["data"].clone()),
            404 => None,
            status => panic!("{status}: {}", response.text()),
        }
    }

    /// How many clients a channel has now.
    #[track_caller]
    pub fn clients(&self, channel: &Channel) -> u64 {
        self.look(channel).expect("the channel is there")["clients"].as_u64().unwrap()
    }

    /// A figure of `GET /metrics` by its series.
    #[track_caller]
    pub fn metric(&self, series: &str) -> u64 {
        let text = self.get("/metrics").text();
        let figure = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        figure.unwrap_or_else(|| panic!("no {series} in {text}"))
    }

    /// The first line of the log with `text`.
    #[track_caller]
    pub fn logged(&self, text: &str) -> String {
        let found = self.out.wait_for(|line| line.contains(text).then(|| line.clone()));
        found.unwrap_or_else(|| panic!("no {text:?} in {:?}", self.out.all()))
    }

    /// All that was logged so far.
    pub fn log(&self) -> Vec<String> {
        self.out.all()
    }

    /// All that was said to the operator so far, beside the log.
    pub fn said(&self) -> Vec<String> {
        self.err.all()
    }

    /// From now on no file of the process may grow: as if its disk were full. It must not die of being told so
    /// (`sh:trap '' XFSZ`).
    #[cfg(target_os = "linux")]
    pub fn fill_disk(&self) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let pid = Pid::from_raw(self.pid() as i32);
        prlimit(pid, Resource::Fsize, Rlimit { current: Some(1), maximum: Some(1) }).unwrap();
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        super::until("the server ends", || self.child.try_wait().unwrap())
    }

    /// Whether the process still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal by its name (`TERM`).
    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        use rustix::process::{Pid, Signal, kill_process};
        let signal = match name {
            "TERM" => Signal::TERM,
            "INT" => Signal::INT,
            "HUP" => Signal::HUP,
            "STOP" => Signal::STOP,
            "CONT" => Signal::CONT,
            _ => panic!("{name} is no signal that scenarios send"),
        };
        kill_process(Pid::from_raw(self.pid() as i32).unwrap(), signal).unwrap();
    }
}

/// The port in `… listening on http://127.0.0.1:8080`, or in the same as JSON.
fn port_in(line: &str) -> Option<u16> {
    let address = match serde_json::from_str::<Value>(line) {
        Ok(event) => event["address"].as_str()?.to_owned(),
        Err(_) => line.split("listening on http").nth(1)?.to_owned(),
    };
    address.rsplit(':').next()?.parse().ok()
}

/// The port in `… other nodes join at 127.0.0.1:4000; …`, or in the same as JSON.
fn node_port_in(line: &str) -> Option<u16> {
    let address = match serde_json::from_str::<Value>(line) {
        Ok(event) => event["cluster"].as_str()?.to_owned(),
        Err(_) => line.split("other nodes join at ").nth(1)?.split(';').next()?.to_owned(),
    };
    address.rsplit(':').next()?.parse().ok()
}

/// The channel that a 201 speaks of.
#[track_caller]
fn channel_of(response: &Response) -> Channel {
    assert_eq!(response.status, 201, "{}", response.text());
    let body = response.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Channel { id: text(&body["data"]["id"]), token: text(&body["token"]) }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.err.wait_for_end();
        let said = self.err.all().join("\n");
        if !std::thread::panicking() {
            assert!(!said.contains("panicked"), "the server panicked: {said}");
        } else if !said.is_empty() {
            eprintln!("the server said: {said}");
        }
    }
}

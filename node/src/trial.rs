//! What both servers run their loops through in their own tests: real sockets, real files, and a puppet in place of each
//! shard, which tells the test what it hears and does what the test says.
//!
//! A server's tests say [`trials!`](crate::trials) once; a scenario that only one server passes cannot exist.
// A trial fails by panicking, with what it saw.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wrs_core::action::{Action, Actions, FileName, Over, Store};
use wrs_core::boot::Boot;
use wrs_core::config::{Config, NodeAddress, Secret, TlsPaths};
use wrs_core::host::Machine;
use wrs_core::id::{ConnId, DialId, ShardId};
use wrs_core::input::Input;
use wrs_core::time::Time;

use crate::certificates::Certificates;
use crate::failure::Failure;
use crate::start::Node;

/// How long anything may take that should happen at once. Long, because tests share their machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a puppet looks for orders.
const LOOK: Duration = Duration::from_millis(2);
/// Shards of each node, so that there is one beside the one that matters.
const SHARDS: u16 = 2;
/// More than sockets hold between them.
const MUCH: usize = 16 << 20;

/// Runs a node with puppets for shards, until they have stopped.
pub type Serve = fn(Node, Puppeteer) -> Result<(), Failure>;

/// A test for each trial: `serve` runs a node (see [`Serve`](crate::trial::Serve)), `available` says why none can run here.
#[macro_export]
macro_rules! trials {
    ($serve:path, $available:path) => {
        $crate::trials! { $serve, $available,
            nodes_talk_over_a_link
            what_is_not_read_waits_and_nothing_is_lost
            an_end_and_a_close_are_told_apart
            nodes_with_one_certificate_talk_by_tls
            a_node_with_another_certificate_is_refused
            a_plain_link_is_refused_where_links_have_tls
            a_new_certificate_counts_for_new_links_and_old_ones_stay
            a_service_is_asked_by_http_and_by_https
            a_dial_that_fails_says_why
            names_are_looked_up
            the_cluster_port_is_beyond_loopback_only_with_a_secret
            links_are_accepted_when_clients_are_not
            records_are_told_in_order_and_found_again
            what_cannot_be_kept_is_told_once
            a_node_that_fails_says_why_when_all_shards_have_stopped
        }
    };
    ($serve:path, $available:path, $($name:ident)*) => {
        $(#[test]
        fn $name() {
            match $available() {
                Ok(()) => $crate::trial::$name($serve),
                Err(why) => eprintln!("SKIPPED: {why}"),
            }
        })*
    };
}

/// What a puppet hears.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the same as in `Input`")]
pub enum Heard {
    Made { node_port: u16, port: u16, stored: Option<Vec<(FileName, Bytes)>> },
    Opened { conn: ConnId },
    Linked { conn: ConnId, from: SocketAddr, dial: Option<DialId> },
    DialFailed { dial: DialId, why: String },
    Resolved { host: String, addresses: Result<Vec<IpAddr>, String> },
    Received { conn: ConnId, bytes: Vec<u8> },
    Flushed { conn: ConnId, unsent: usize },
    Ended { conn: ConnId },
    Closed { conn: ConnId },
    Broken { conn: ConnId },
    Persisted { record: u64 },
    PersistFailed { why: String },
    Drained,
}

/// Stands in for a shard.
#[derive(Debug)]
pub struct Puppet {
    heard: Sender<Heard>,
    orders: Receiver<Action>,
    next: Time,
}

impl Machine for Puppet {
    fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Actions) {
        let heard = match input {
            Input::Opened { conn, .. } => Heard::Opened { conn },
            Input::Linked { conn, from, dial } => Heard::Linked { conn, from, dial },
            Input::DialFailed { dial, why } => Heard::DialFailed { dial, why },
            Input::Resolved { host, addresses } => Heard::Resolved { host, addresses },
            Input::Received { conn, bytes } => Heard::Received { conn, bytes: bytes.to_vec() },
            Input::Flushed { conn, unsent } => Heard::Flushed { conn, unsent },
            Input::Ended { conn } => Heard::Ended { conn },
            Input::Closed { conn } => Heard::Closed { conn },
            Input::Broken { conn, .. } => Heard::Broken { conn },
            Input::Persisted { record } => Heard::Persisted { record },
            Input::PersistFailed { why } => Heard::PersistFailed { why },
            Input::Drain => Heard::Drained,
            Input::Timeout => {
                self.next = now + LOOK;
                self.orders.try_iter().for_each(|order| out.push(order));
                return;
            }
            Input::AcceptPaused { .. } | Input::AcceptResumed | Input::Peer { .. } => return,
        };
        // The test may be over.
        let _ = self.heard.send(heard);
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.next)
    }
}

/// Makes the puppets of a node.
#[derive(Clone)]
pub struct Puppeteer(Arc<Backstage>);

type Reload = Box<dyn Fn(Certificates) + Send>;

struct Backstage {
    puppets: Mutex<Vec<Option<Puppet>>>,
    reload: Mutex<Option<Reload>>,
}

impl Puppeteer {
    /// What gives new certificates to all shards, as a signal does.
    pub fn reload_by(&self, reload: impl Fn(Certificates) + Send + 'static) {
        *self.0.reload.lock().unwrap() = Some(Box::new(reload));
    }

    /// The puppet in place of a shard.
    pub fn make(&self, here: ShardId, boot: Boot) -> Puppet {
        let puppet = self.0.puppets.lock().unwrap()[usize::from(here.0)].take().unwrap();
        if here.0 > 0 {
            assert!(boot.stored.is_none(), "what is stored is for shard 0");
        }
        let (node_port, port) = (boot.node_port, boot.public_port);
        // Nobody listens to a sibling.
        let _ = puppet.heard.send(Heard::Made { node_port, port, stored: boot.stored });
        puppet
    }
}

/// A directory that goes with the test.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one.
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("wrs-trial-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A certificate of our own making and its key, in files.
    pub fn certificate(&self) -> TlsPaths {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let paths = TlsPaths { cert: self.0.join("cert.pem"), key: self.0.join("key.pem") };
        fs::write(&paths.cert, made.cert.pem()).unwrap();
        fs::write(&paths.key, made.signing_key.serialize_pem()).unwrap();
        paths
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind stands in a directory for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running node and the strings of its puppets.
struct Stage {
    orders: Vec<Sender<Action>>,
    heard: Receiver<Heard>,
    /// What was heard and not asked for yet.
    kept: VecDeque<Heard>,
    puppeteer: Puppeteer,
    thread: Option<JoinHandle<Result<(), Failure>>>,
    port: u16,
    node_port: u16,
    stored: Option<Vec<(FileName, Bytes)>>,
}

impl Stage {
    fn open(serve: Serve, config: Config) -> Stage {
        let (told, heard) = channel();
        let (mut orders, mut puppets) = (Vec::new(), Vec::new());
        for shard in 0..SHARDS {
            let (order, taken) = channel();
            orders.push(order);
            // What others hear is of no interest, but that they are there.
            let told = if shard == 0 { told.clone() } else { channel().0 };
            puppets.push(Some(Puppet { heard: told, orders: taken, next: Time::ZERO }));
        }
        let backstage = Backstage { puppets: Mutex::new(puppets), reload: Mutex::default() };
        let puppeteer = Puppeteer(Arc::new(backstage));
        let node = Node::prepare(config, &[]).unwrap();
        let of_node = puppeteer.clone();
        let thread = Some(thread::spawn(move || serve(node, of_node)));
        let kept = VecDeque::new();
        let mut stage = Stage { orders, heard, kept, puppeteer, thread, port: 0, node_port: 0, stored: None };
        (stage.port, stage.node_port, stage.stored) = stage.expect("the start", |heard| match heard {
            Heard::Made { node_port, port, stored } => Some((*port, *node_port, stored.clone())),
            _ => None,
        });
        stage
    }

    fn order(&self, action: Action) {
        self.orders[0].send(action).unwrap();
    }

    /// What `look` finds in the first thing heard that has it; the rest is kept.
    #[track_caller]
    fn expect<T>(&mut self, what: &str, look: impl Fn(&Heard) -> Option<T>) -> T {
        let start = Instant::now();
        let mut index = 0;
        loop {
            while let Some(heard) = self.kept.get(index) {
                if let Some(found) = look(heard) {
                    self.kept.remove(index);
                    return found;
                }
                index += 1;
            }
            match self.heard.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
                Ok(heard) => self.kept.push_back(heard),
                Err(_) => panic!("waited in vain for {what}: {:?}", self.kept),
            }
        }
    }

    /// Waits for exactly this.
    #[track_caller]
    fn hears(&mut self, expected: Heard) {
        self.expect(&format!("{expected:?}"), |heard| (*heard == expected).then_some(()));
    }

    /// So many bytes that arrive on a connection.
    #[track_caller]
    fn reads(&mut self, conn: ConnId, count: usize) -> Vec<u8> {
        let mut read = Vec::new();
        while read.len() < count {
            read.extend(self.expect("bytes", |heard| match heard {
                Heard::Received { conn: on, bytes } if *on == conn => Some(bytes.clone()),
                _ => None,
            }));
        }
        read
    }

    /// Has the node take the certificates that the files hold now.
    fn reload(&self, config: &Config) {
        self.puppeteer.0.reload.lock().unwrap().as_ref().unwrap()(Certificates::read(config).unwrap());
    }

    fn send(&self, conn: ConnId, bytes: impl Into<Bytes>) {
        self.order(Action::Send { conn, bytes: bytes.into() });
    }

    #[track_caller]
    fn dialed(&mut self, id: u64, port: u16, over: Over) -> ConnId {
        let address = NodeAddress { host: "localhost".to_owned(), port: Some(port) };
        self.order(Action::Dial { dial: DialId(id), address, over });
        self.expect("a connection", |heard| match heard {
            Heard::Linked { conn, dial: Some(DialId(dial)), from } if *dial == id => {
                assert_eq!(from.port(), port);
                Some(*conn)
            }
            Heard::DialFailed { why, .. } => panic!("{why}"),
            _ => None,
        })
    }

    #[track_caller]
    fn linked(&mut self) -> ConnId {
        self.expect("a link", |heard| match heard {
            Heard::Linked { conn, dial: None, from } => {
                assert!(from.ip().is_loopback());
                Some(*conn)
            }
            _ => None,
        })
    }

    #[track_caller]
    fn is_gone(&mut self, conn: ConnId) {
        self.expect("the end of a connection", |heard| match heard {
            Heard::Closed { conn: gone } | Heard::Broken { conn: gone } | Heard::Ended { conn: gone } => {
                (*gone == conn).then_some(())
            }
            _ => None,
        });
    }

    /// Has all shards stop: how the node ended.
    fn close(mut self) -> Result<(), Failure> {
        self.orders.iter().for_each(|orders| orders.send(Action::Stop).unwrap());
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.orders.iter().for_each(|orders| drop(orders.send(Action::Stop)));
            let ended = thread.join();
            assert!(thread::panicking() || matches!(ended, Ok(Ok(()))), "{ended:?}");
        }
    }
}

fn config() -> Config {
    Config { api_port: 0, node_port: 0, shards: SHARDS, ..Config::default() }
}

fn two(serve: Serve, config: &Config) -> (Stage, Stage) {
    (Stage::open(serve, config.clone()), Stage::open(serve, config.clone()))
}

/// A link between two nodes: the connection at each end.
#[track_caller]
fn link(from: &mut Stage, to: &mut Stage) -> (ConnId, ConnId) {
    let dialed = from.dialed(1, to.node_port, Over::Link);
    (dialed, to.linked())
}

/// Bytes that differ from place to place.
fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

#[track_caller]
fn talk(serve: Serve, config: &Config) {
    let (mut one, mut two) = two(serve, config);
    let (of_one, of_two) = link(&mut one, &mut two);
    one.send(of_one, "from one");
    assert_eq!(two.reads(of_two, 8), b"from one");
    two.send(of_two, "from two");
    assert_eq!(one.reads(of_one, 8), b"from two");
    two.hears(Heard::Flushed { conn: of_two, unsent: 0 });
    let much = pattern(MUCH);
    one.send(of_one, much.clone());
    assert!(two.reads(of_two, MUCH) == much);
    // A second link beside the first.
    let again = one.dialed(2, two.node_port, Over::Link);
    let of_again = two.linked();
    one.send(again, "and again");
    assert_eq!(two.reads(of_again, 9), b"and again");
}

#[allow(missing_docs, reason = "its name says what it shows")]
pub fn nodes_talk_over_a_link(serve: Serve) {
    talk(serve, &config());
}

#[allow(missing_docs, reason = "its name says what it shows")]
pub fn nodes_with_one_certificate_talk_by_tls(serve: Serve) {
    let scratch = Scratch::new();
    talk(serve, &Config { node_tls: Some(scratch.certificate()), ..config() });
}

#[allow(missing_docs, reason = "its name says what it shows")]
pub fn what_is_not_read_waits_and_nothing_is_lost(serve: Serve) {
    let (mut one, mut two) = two(serve, &config());
    let (of_one, of_two) = link(&mut one, &mut two);
    two.order(Action::Pause { conn: of_two });
    // Anything that comes of an order shows that those before it were done.
    two.send(of_two, "paused");
    one.reads(of_one, 6);
    let much = pattern(MUCH);
    one.send(of_one, much.clone());
    let unsent = one.expect("a write", |heard| match heard {
        Heard::Flushed { conn, unsent } if *conn == of_one && *unsent > 0 => Some(*unsent),
        _ => None,
    });
    assert!(unsent < MUCH, "what is sent is held by sockets");
    two.order(Action::Resume { conn: of_two });
    assert!(two.reads(of_two, MUCH) == much);
    one.hears(Heard::Flushed { conn: of_one, unsent: 0 });
}

#[allow(missing_docs, reason = "its name says what it shows")]
pub fn an_end_and_a_close_are_told_apart(serve: Serve) {
    let (mut one, mut two) = two(serve, &config());
    let (of_one, of_two) = link(&mut one, &mut two);
    one.send(of_one, "the last");
    one.order(Action::Finish { conn: of_one });
    assert_eq!(two.reads(of_two, 8), b"the last");
    two.hears(Heard::Ended { conn: of_two });
    two.send(of_two, "still heard");
    assert_eq!(one.reads(of_one, 11), b"still heard");
    two.order(Action::Close { conn: of_two });
    one.is_gone(of_one);
}

#[allow(missing_docs, reason = "its name says what it shows")]
pub fn a_node_with_another_certificate_is_refused(serve: Serve) {
    let (scratch, other) = (Scratch::new(), Scratch::new());
    let mut one = Stage::open(serve, Config { node_tls: Some(scratch.certificate()), ..config() });
    let mut two = Stage::open(serve, Config { node_tls: Some(other.certificate()), ..config() });
    let (of_one, of_two) = link(&mut one, &mut two);
    one.send(of_one, "a secret");
    one.hears(Heard::Broken { conn: of_one });
    two.is_gone(of_two);
    assert!(!two.kept.iter().any(|heard| matches!(heard, Heard::Received { .. })), "{:?}", two.kept);
}

#[allow(missing_docs, reason = "its name says what it shows")]
pub fn a_plain_link_is_refused_where_links_have_tls(serve: Serve) {
    let scratch = Scratch::new();
    let mut one = Stage::open(serve, config());
    let mut two = Stage::open(serve, Config { node_tls: Some(scratch.certificate()), ..config() });
    let (of_one, of_two) = link(&mut one, &mut two);
    one.send(of_one, "not a word of TLS");
    two.hears(Heard::Broken { conn: of_two });
    one.is_gone(of_one);
}

#[allow(missing_docs, reason = "its name says what it shows")]
pub fn a_new_certificate_counts_for_new_links_and_old_ones_stay(serve: Serve) {
    let scratch = Scratch::new();
    let config = Config { node_tls: Some(scratch.certificate()), ..config() };
    let (mut one, mut two) = two(serve, &config);
    let (of_one, of_two) = link(&mut one, &mut two);
    one.send(of_one, "before");
    assert_eq!(two.reads(of_two, 6), b"before");
    scratch.certificate();
    one.reload(&config);
    let refused = one.dialed(2, two.node_port, Over::Link);
    one.hears(Heard::Broken { conn: refused });
    let refused = two.linked();
    two.is_gone(refused);
    two.reload(&config);
    let renewed = one.dialed(3, two.node_port, Over::Link);
    let of_renewed = two.linked();
    one.send(renewed, "after");
    assert_eq!(two.reads(of_renewed, 5), b"after");
    two.send(of_two, "the old one goes on");
    assert_eq!(one.reads(of_one, 19), b"the old one goes on");
}

#[allow(missing_docs, reason = "its name says what it shows")]
pub fn a_service_is_asked_by_http_and_by_https(serve: Serve) {
    let scratch = Scratch::new();
    for tls in [None, Some(scratch.certificate())] {
        let config = Config { public_ssl: tls.is_some(), tls, ..config() };
        // Of two shards the first gets the first client.
        let (mut one, mut two) = two(serve, &config);
        let asks = one.dialed(5, two.port, Over::Api);
        let asked = two.expect("a client", |heard| match heard {
            Heard::Opened { conn } => Some(*conn),
            _ => None,
        });
        one.send(asks, "GET /cluster HTTP/1.1\r\n\r\n");
        assert_eq!(two.reads(asked, 25), b"GET /cluster HTTP/1.1\r\n\r\n");
        two.send(asked, "HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(one.reads(asks, 19), b"HTTP/1.1 200 OK\r\n\r\n");
    }
}

#[allow(missing_docs, reason = "its name says what it shows")]
pub fn a_dial_that_fails_says_why(serve: Serve) {
    let mut one = Stage::open(serve, config());
    let nobodys = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    for (id, host, port, word) in [
        (1, "127.0.0.1", Some(nobodys), "127.0.0.1"),
        (2, "no-such-host.invalid", Some(1), "no-such-host.invalid"),
        (3, "127.0.0.1", None, "port"),
    ] {
        let address = NodeAddress { host: host.to_owned(), port };
        one.order(Action::Dial { dial: DialId(id), address, over: Over::Link });
        let said = one.expect("a failure", |heard| match heard {
            Heard::DialFailed { dial, why } if *dial == DialId(id) => Some(why.clone()),
            _ => None,
        });
        assert!(said.contains(word), "{said}");
    }
}

#[allow(missing_docs, reason = "its name says what it shows")]
pub fn names_are_looked_up(serve: Serve) {
    let mut one = Stage::open(serve, config());
    let mut ask = |host: &str| {
        one.order(Action::Resolve { host: host.to_owned() });
        one.expect("an answer", |heard| match heard {
            Heard::Resolved { host: name, addresses } if name == host => Some(addresses.clone()),
            _ => None,
        })
    };
    assert!(ask("localhost").unwrap().iter().all(IpAddr::is_loopback));
    assert_eq!(ask("192.0.2.7").unwrap(), [IpAddr::from([192, 0, 2, 7])]);
    assert!(ask("no-such-host.invalid").is_err());
}

#[allow(missing_docs, reason = "its name says what it shows")]
pub fn the_cluster_port_is_beyond_loopback_only_with_a_secret(serve: Serve) {
    let everywhere = Config { bind: IpAddr::from([0, 0, 0, 0]), ..config() };
    let secret = Config { cluster_secret: Some(Secret::new("known to all nodes".to_owned())), ..everywhere.clone() };
    for (config, expected) in [(everywhere, "127.0.0.1"), (secret, "0.0.0.0")] {
        let node = Node::prepare(config, &[]).unwrap();
        let address = node.control.links.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(address.ip().to_string(), expected);
        let (control, boot) = (node.control, node.boot);
        drop(control);
        // The same ports again, as a node that was just stopped would have them.
        let again = Config { node_port: boot.node_port, ..boot.config.as_ref().clone() };
        drop(Stage::open(serve, again));
    }
}

#[allow(missing_docs, reason = "its name says what it shows")]
pub fn links_are_accepted_when_clients_are_not(serve: Serve) {
    let mut one = Stage::open(serve, config());
    one.order(Action::StopListening);
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", one.port)).is_ok() {
        assert!(start.elapsed() < PATIENCE, "clients are still accepted");
        thread::sleep(LOOK);
    }
    let mut socket = TcpStream::connect(("127.0.0.1", one.node_port)).unwrap();
    let conn = one.linked();
    socket.write_all(b"a word").unwrap();
    assert_eq!(one.reads(conn, 6), b"a word");
    one.send(conn, "an answer");
    let mut answer = [0; 9];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"an answer");
    drop(socket);
    one.hears(Heard::Ended { conn });
}

#[allow(missing_docs, reason = "its name says what it shows")]
pub fn records_are_told_in_order_and_found_again(serve: Serve) {
    const RECORDS: u64 = 200;
    let scratch = Scratch::new();
    let config = Config { data_dir: Some(scratch.path().join("deep/data")), ..config() };
    let (log, node) = (FileName::Segment(1), FileName::Identity);
    let mut one = Stage::open(serve, config.clone());
    assert_eq!(one.stored, Some(Vec::new()));
    let identity = Store::Replace { file: node, bytes: Bytes::from_static(b"who it is"), record: Some(1) };
    one.order(Action::Store(identity));
    for record in 2..=RECORDS {
        let bytes = Bytes::copy_from_slice(&record.to_le_bytes());
        one.order(Action::Store(Store::Append { file: log, bytes, record: Some(record) }));
    }
    let mut last = 0;
    while last < RECORDS {
        let next = one.expect("a record", |heard| match heard {
            Heard::Persisted { record } => Some(*record),
            _ => None,
        });
        assert!(next > last, "{next} after {last}");
        last = next;
    }
    // What nobody waits for is kept all the same before the node ends.
    one.order(Action::Store(Store::Truncate { file: log, length: 16 }));
    one.order(Action::Store(Store::Append { file: log, bytes: Bytes::from_static(b"end"), record: None }));
    one.close().unwrap();
    let two = Stage::open(serve, config);
    let expected = [&2u64.to_le_bytes()[..], &3u64.to_le_bytes(), b"end"].concat();
    assert_eq!(two.stored, Some(vec![(node, Bytes::from_static(b"who it is")), (log, expected.into())]));
}

#[allow(missing_docs, reason = "its name says what it shows")]
pub fn what_cannot_be_kept_is_told_once(serve: Serve) {
    let scratch = Scratch::new();
    let mut one = Stage::open(serve, Config { data_dir: Some(scratch.path().to_owned()), ..config() });
    let in_the_way = FileName::Segment(2);
    fs::create_dir(scratch.path().join(in_the_way.to_string())).unwrap();
    for record in 1..=5 {
        let file = if record == 3 { in_the_way } else { FileName::Segment(1) };
        let bytes = Bytes::from_static(b"x");
        one.order(Action::Store(Store::Append { file, bytes, record: Some(record) }));
    }
    let why = one.expect("a failure", |heard| match heard {
        Heard::PersistFailed { why } => Some(why.clone()),
        Heard::Persisted { record } => {
            assert!(*record < 3);
            None
        }
        _ => None,
    });
    assert!(why.contains(&in_the_way.to_string()), "{why}");
    one.order(Action::Store(Store::Remove { file: FileName::Segment(1) }));
    one.order(Action::Resolve { host: "127.0.0.1".to_owned() });
    one.expect("an answer", |heard| matches!(heard, Heard::Resolved { .. }).then_some(()));
    let told = |heard: &Heard| matches!(heard, Heard::PersistFailed { .. } | Heard::Persisted { record: 3.. });
    assert!(!one.kept.iter().any(told), "{:?}", one.kept);
    one.close().unwrap();
    assert_eq!(fs::read(scratch.path().join(FileName::Segment(1).to_string())).unwrap(), b"xx");
}

#[allow(missing_docs, reason = "its name says what it shows")]
pub fn a_node_that_fails_says_why_when_all_shards_have_stopped(serve: Serve) {
    let mut one = Stage::open(serve, config());
    one.order(Action::Fail { why: "the disk is gone".to_owned() });
    one.order(Action::Fail { why: "and so is all else".to_owned() });
    // It still does what it is asked.
    one.order(Action::Resolve { host: "127.0.0.1".to_owned() });
    one.expect("an answer", |heard| matches!(heard, Heard::Resolved { .. }).then_some(()));
    assert_eq!(one.close().unwrap_err().why(), "the disk is gone");
}

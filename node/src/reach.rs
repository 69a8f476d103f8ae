//! Reaching out: names are looked up and other nodes dialed on threads of their own, so that no shard waits for a resolver
//! or for a machine that does not answer.
//!
//! A node dials a handful of others, seldom; a thread for each attempt costs less than a second way to wait in each
//! runtime would. A resolver that hangs cannot be called off: the attempt ends in time all the same, its thread when the
//! resolver lets go, and there are [`ATTEMPTS_MAX`] at most.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use wrs_core::action::Over;
use wrs_core::config::NodeAddress;
use wrs_core::id::DialId;
use wrs_core::input::Input;

use crate::listen;
use crate::news::{Connected, News, Tell};

/// Threads that look up or dial at the same time; what is asked beyond that fails at once.
pub const ATTEMPTS_MAX: usize = 256;
/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 1_024;
/// Addresses of one name that are dialed.
const DIALED_MAX: usize = 8;

/// What reaches out for a node.
#[derive(Debug)]
pub struct Reach {
    tell: Tell,
    names: Names,
}

/// What looks up names, and how many threads do or dial.
#[derive(Clone, Debug)]
struct Names {
    attempts: Arc<AtomicUsize>,
    resolver: fn(&str) -> io::Result<Vec<IpAddr>>,
}

/// One of the threads that may run; it is given back when the thread ends.
struct Attempt(Arc<AtomicUsize>);

impl Attempt {
    fn take(attempts: &Arc<AtomicUsize>) -> Option<Self> {
        let attempt = Attempt(attempts.clone());
        (attempts.fetch_add(1, Ordering::Relaxed) < ATTEMPTS_MAX).then_some(attempt)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reach {
    /// Tells what comes of it to `tell`.
    pub fn new(tell: Tell) -> Self {
        Reach { tell, names: Names { attempts: Arc::default(), resolver: ask_the_system } }
    }

    /// Dials the addresses of a name in turn, all within the time.
    pub fn dial(&self, dial: DialId, address: NodeAddress, over: Over, within: Duration) {
        let (tell, names) = (self.tell.clone(), self.names.clone());
        let run = move || {
            let until = Instant::now() + within;
            match connect(&address, until, &names) {
                Ok((socket, from)) => {
                    tell.tell(News::Connected(Connected { dial, socket, from, host: address.host, over }));
                }
                Err(why) => tell.fact(Input::DialFailed { dial, why }),
            }
        };
        if let Err(why) = self.names.on_a_thread(run) {
            self.tell.fact(Input::DialFailed { dial, why });
        }
    }

    /// Looks up the addresses of a name.
    pub fn resolve(&self, host: String, within: Duration) {
        let (tell, names, name) = (self.tell.clone(), self.names.clone(), host.clone());
        let run = move || {
            let addresses = names.look_up(&name, Instant::now() + within);
            tell.fact(Input::Resolved { host: name, addresses });
        };
        if let Err(why) = self.names.on_a_thread(run) {
            self.tell.fact(Input::Resolved { host, addresses: Err(why) });
        }
    }
}

impl Names {
    /// Runs something on a thread of its own, or says why there is none.
    fn on_a_thread(&self, run: impl FnOnce() + Send + 'static) -> Result<(), String> {
        let attempt = Attempt::take(&self.attempts).ok_or_else(|| format!("{ATTEMPTS_MAX} attempts are under way"))?;
        let run = move || {
            run();
            drop(attempt);
        };
        thread::Builder::new().name("reach".to_owned()).spawn(run).map(drop).map_err(|error| error.to_string())
    }

    fn look_up(&self, host: &str, until: Instant) -> Result<Vec<IpAddr>, String> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let (answer, answered) = channel();
        let (resolver, name) = (self.resolver, host.to_owned());
        // Nobody waits for the answer any more if it took too long.
        self.on_a_thread(move || drop(answer.send(resolver(&name))))?;
        let mut addresses = match answered.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("the name was not looked up in time".to_owned()),
        };
        // A resolver names an address once for each kind of socket.
        addresses.dedup();
        if addresses.is_empty() { Err("the name has no address".to_owned()) } else { Ok(addresses) }
    }
}

fn ask_the_system(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.take(ADDRESSES_MAX).map(|found| found.ip()).collect())
}

fn connect(address: &NodeAddress, until: Instant, names: &Names) -> Result<(Socket, SocketAddr), String> {
    let port = address.port.ok_or("no port is given")?;
    let mut addresses = names.look_up(&address.host, until).map_err(|why| format!("{}: {why}", address.host))?;
    addresses.truncate(DIALED_MAX);
    let mut why = String::new();
    for (index, ip) in addresses.iter().enumerate() {
        // An address that does not answer leaves their share to those behind it.
        let left = (addresses.len() - index) as u32;
        let share = until.saturating_duration_since(Instant::now()) / left;
        let to = SocketAddr::new(*ip, port);
        match connect_to(to, share) {
            Ok(connected) => return Ok(connected),
            Err(error) => why = format!("{to}: {error}"),
        }
    }
    Err(why)
}

fn connect_to(to: SocketAddr, within: Duration) -> io::Result<(Socket, SocketAddr)> {
    if within.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let peer = SockAddr::from(to);
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.connect_timeout(&peer, within)?;
    if socket.local_addr()? == peer {
        // Nobody listens, and the port that the system chose for us was the one that we dialed: TCP then connects a
        // socket to itself.
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let from = listen::ready(&socket, &peer)?;
    Ok((socket, from))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc::Receiver;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(5);

    fn reach() -> (Reach, Receiver<News>) {
        let (sender, news) = channel();
        (Reach::new(Tell::new(move |news| drop(sender.send(news)))), news)
    }

    fn next(news: &Receiver<News>) -> News {
        news.recv_timeout(WITHIN * 4).unwrap()
    }

    fn address(host: &str, port: u16) -> NodeAddress {
        NodeAddress { host: host.to_owned(), port: Some(port) }
    }

    /// A port that lets nobody in and turns nobody away.
    #[cfg(target_os = "linux")]
    fn full_port(ip: [u8; 4]) -> (Vec<Socket>, u16) {
        let listening = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listening.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
        listening.listen(0).unwrap();
        let (to, port) = (listening.local_addr().unwrap(), listen::port(&listening));
        let mut sockets = vec![listening];
        loop {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            if socket.connect_timeout(&to, Duration::from_millis(200)).is_err() {
                return (sockets, port);
            }
            sockets.push(socket);
        }
    }

    #[test]
    fn a_node_that_listens_is_reached_by_name_and_by_address() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (reach, news) = reach();
        for (id, host) in [(1, "localhost"), (2, "127.0.0.1")] {
            reach.dial(DialId(id), address(host, port), Over::Link, WITHIN);
            let News::Connected(connected) = next(&news) else { panic!("{host}") };
            assert_eq!((connected.dial, connected.host.as_str()), (DialId(id), host));
            assert_eq!(connected.from, SocketAddr::from(([127, 0, 0, 1], port)));
            let (_, other_end) = listener.accept().unwrap();
            assert_eq!(Some(other_end), connected.socket.local_addr().unwrap().as_socket());
        }
    }

    #[test]
    fn a_port_that_nobody_listens_on_is_told_with_its_address() {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let (reach, news) = reach();
        reach.dial(DialId(7), address("127.0.0.1", port), Over::Api, WITHIN);
        match next(&news) {
            News::Fact(Input::DialFailed { dial: DialId(7), why }) => {
                assert!(why.starts_with(&format!("127.0.0.1:{port}: ")), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_that_has_no_address_is_told_in_time() {
        let (reach, news) = reach();
        reach.dial(DialId(1), address("no-such-host.invalid", 4000), Over::Link, WITHIN);
        match next(&news) {
            News::Fact(Input::DialFailed { why, .. }) => assert!(why.starts_with("no-such-host.invalid: "), "{why}"),
            other => panic!("{other:?}"),
        }
        reach.resolve("no-such-host.invalid".to_owned(), WITHIN);
        match next(&news) {
            News::Fact(Input::Resolved { host, addresses: Err(_) }) => assert_eq!(host, "no-such-host.invalid"),
            other => panic!("{other:?}"),
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_node_that_does_not_answer_is_given_up_in_time() {
        let (_sockets, port) = full_port([127, 0, 0, 1]);
        let (reach, news) = reach();
        let start = Instant::now();
        reach.dial(DialId(1), address("127.0.0.1", port), Over::Link, Duration::from_millis(300));
        assert!(matches!(next(&news), News::Fact(Input::DialFailed { .. })));
        assert!(start.elapsed() >= Duration::from_millis(250) && start.elapsed() < WITHIN);
    }

    #[test]
    fn a_resolver_that_hangs_is_not_waited_for() {
        let (mut reach, news) = reach();
        reach.names.resolver = |_| loop {
            thread::park();
        };
        let within = Duration::from_millis(50);
        reach.dial(DialId(1), address("node", 4000), Over::Link, within);
        assert!(matches!(next(&news), News::Fact(Input::DialFailed { why, .. }) if why.contains("in time")));
        reach.resolve("node".to_owned(), within);
        assert!(matches!(next(&news), News::Fact(Input::Resolved { addresses: Err(_), .. })));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn addresses_are_tried_in_turn_and_one_that_does_not_answer_leaves_time_for_the_next() {
        let (mut reach, news) = reach();
        reach.names.resolver = |_| Ok([3, 2, 1].map(|last| IpAddr::from([127, 0, 0, last])).to_vec());
        // Nobody listens at the third address, the second does not answer.
        let (sockets, port) = full_port([127, 0, 0, 2]);
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        reach.dial(DialId(1), address("node", port), Over::Link, Duration::from_secs(1));
        let News::Connected(connected) = next(&news) else { panic!("the first address is not reached") };
        assert_eq!(connected.from, listener.local_addr().unwrap());
        drop(listener);
        reach.dial(DialId(2), address("node", port), Over::Link, Duration::from_millis(300));
        assert!(matches!(next(&news), News::Fact(Input::DialFailed { why, .. }) if why.contains("127.0.0.1:")));
        drop(sockets);
    }

    #[test]
    fn addresses_are_looked_up() {
        let (reach, news) = reach();
        for (host, expected) in [("localhost", "127.0.0.1"), ("10.1.2.3", "10.1.2.3"), ("::1", "::1")] {
            reach.resolve(host.to_owned(), WITHIN);
            match next(&news) {
                News::Fact(Input::Resolved { addresses: Ok(addresses), .. }) => {
                    assert!(addresses.contains(&expected.parse().unwrap()), "{host}: {addresses:?}");
                }
                other => panic!("{host}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_goes_beyond_the_limit_fails_at_once_and_later_ones_do_not() {
        let (reach, news) = reach();
        reach.names.attempts.store(ATTEMPTS_MAX, Ordering::Relaxed);
        reach.dial(DialId(1), address("127.0.0.1", 1), Over::Link, WITHIN);
        assert!(matches!(next(&news), News::Fact(Input::DialFailed { why, .. }) if why.contains("under way")));
        reach.resolve("10.1.2.3".to_owned(), WITHIN);
        assert!(matches!(next(&news), News::Fact(Input::Resolved { addresses: Err(_), .. })));
        assert_eq!(reach.names.attempts.load(Ordering::Relaxed), ATTEMPTS_MAX, "what was refused is given back");
        reach.names.attempts.store(0, Ordering::Relaxed);
        reach.resolve("10.1.2.3".to_owned(), WITHIN);
        assert!(matches!(next(&news), News::Fact(Input::Resolved { addresses: Ok(_), .. })));
    }
}

//! The wires between the nodes of a cluster: each node is dialed through a relay here, which knows who dials and cuts
//! what a scenario wants cut.
//!
//! It changes no byte. Who dials stands in the hello that a link begins with, in the clear as long as links have no TLS: the
//! address at which the node wants to be dialed. Rule guarded: a cut is what a network does (an end, or silence), never a
//! word that a node could tell from one.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long a relay that carries nothing for now waits before it looks again.
const LOOK: Duration = Duration::from_millis(5);

/// How long one who dials may take to say who it is.
const HELLO: Duration = Duration::from_secs(5);

/// One relayed connection.
struct Wire {
    pair: (usize, usize),
    ends: [TcpStream; 2],
}

/// Where a node is behind its relay.
#[derive(Clone, Copy, Default)]
struct Place {
    relay: u16,
    node: Option<u16>,
}

#[derive(Default)]
struct State {
    places: Vec<Place>,
    severed: BTreeSet<(usize, usize)>,
    silent: BTreeSet<(usize, usize)>,
    wires: Vec<Wire>,
    over: bool,
}

/// All wires of one cluster.
#[derive(Clone, Default)]
pub struct Links(Arc<Mutex<State>>);

/// The address of a relay, as nodes are told it.
pub(super) fn address(relay: u16) -> String {
    format!("127.0.0.1:{relay}")
}

fn pair(one: usize, other: usize) -> (usize, usize) {
    (one.min(other), one.max(other))
}

impl Links {
    /// A relay for one more node; the port that others dial.
    pub(super) fn add(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let to = {
            let mut state = self.0.lock().unwrap();
            state.places.push(Place { relay: port, node: None });
            state.places.len() - 1
        };
        let links = self.clone();
        thread::spawn(move || {
            for incoming in listener.incoming().map_while(Result::ok) {
                if links.0.lock().unwrap().over {
                    return;
                }
                let links = links.clone();
                thread::spawn(move || links.carry(to, incoming));
            }
        });
        port
    }

    /// Says where a node listens; `None` once it has ended.
    pub(super) fn place(&self, index: usize, node: Option<u16>) {
        self.0.lock().unwrap().places[index].node = node;
    }

    /// The port at which others dial a node.
    pub fn port(&self, index: usize) -> u16 {
        self.0.lock().unwrap().places[index].relay
    }

    /// Resets what two nodes have between them, and refuses what they dial, until [`Links::heal`].
    pub fn cut(&self, one: usize, other: usize) {
        let mut state = self.0.lock().unwrap();
        state.severed.insert(pair(one, other));
        state.reset(pair(one, other));
    }

    /// Resets what two nodes have between them, once.
    pub fn flap(&self, one: usize, other: usize) {
        self.0.lock().unwrap().reset(pair(one, other));
    }

    /// Carries nothing more between two nodes, and ends nothing, until [`Links::heal`].
    pub fn silence(&self, one: usize, other: usize) {
        self.0.lock().unwrap().silent.insert(pair(one, other));
    }

    /// Cuts a node from all others.
    pub fn isolate(&self, index: usize) {
        let count = self.0.lock().unwrap().places.len();
        (0..count).filter(|other| *other != index).for_each(|other| self.cut(index, other));
    }

    /// Mends everything.
    pub fn heal(&self) {
        let mut state = self.0.lock().unwrap();
        state.severed.clear();
        state.silent.clear();
    }

    /// Connects what dialed a node to it, if the two may speak.
    fn carry(&self, to: usize, incoming: TcpStream) {
        let Some(from) = self.dialer(&incoming) else { return };
        let port = self.0.lock().unwrap().places[to].node;
        let Some(outgoing) = port.and_then(|port| TcpStream::connect(("127.0.0.1", port)).ok()) else { return };
        let pair = pair(from, to);
        let mut state = self.0.lock().unwrap();
        if state.severed.contains(&pair) {
            return;
        }
        for (source, sink) in [(&incoming, &outgoing), (&outgoing, &incoming)] {
            source.set_nodelay(true).unwrap();
            let (source, sink, links) = (source.try_clone().unwrap(), sink.try_clone().unwrap(), self.clone());
            thread::spawn(move || links.copy(pair, source, sink));
        }
        state.wires.push(Wire { pair, ends: [incoming, outgoing] });
    }

    fn copy(&self, pair: (usize, usize), mut source: TcpStream, mut sink: TcpStream) {
        let mut piece = vec![0; 64 << 10];
        while let Ok(count @ 1..) = source.read(&mut piece) {
            while self.0.lock().unwrap().silent.contains(&pair) {
                thread::sleep(LOOK);
            }
            if sink.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        // The other direction ends by the same word; either may have ended already.
        let _ = source.shutdown(Shutdown::Both);
        let _ = sink.shutdown(Shutdown::Both);
    }

    /// Which node opened a connection to a relay: the one whose address stands in its first words.
    fn dialer(&self, incoming: &TcpStream) -> Option<usize> {
        let relays: Vec<_> = self.0.lock().unwrap().places.iter().map(|place| address(place.relay)).collect();
        incoming.set_read_timeout(Some(HELLO)).ok()?;
        let start = Instant::now();
        let mut hello = [0; 1024];
        while start.elapsed() < HELLO {
            let count = incoming.peek(&mut hello).ok().filter(|count| *count > 0)?;
            let found =
                relays.iter().position(|relay| hello[..count].windows(relay.len()).any(|at| at == relay.as_bytes()));
            if found.is_some() {
                incoming.set_read_timeout(None).ok()?;
                return found;
            }
            thread::sleep(LOOK);
        }
        None
    }

    /// Ends every relay.
    pub(super) fn end(&self) {
        let ports: Vec<u16> = {
            let mut state = self.0.lock().unwrap();
            state.over = true;
            state.silent.clear();
            state.wires.drain(..).for_each(|wire| wire.end());
            state.places.iter().map(|place| place.relay).collect()
        };
        for port in ports {
            // It wakes the listener, which sees that all is over.
            let _ = TcpStream::connect(("127.0.0.1", port));
        }
    }
}

impl State {
    fn reset(&mut self, pair: (usize, usize)) {
        let (cut, kept) = std::mem::take(&mut self.wires).into_iter().partition(|wire| wire.pair == pair);
        self.wires = kept;
        let cut: Vec<Wire> = cut;
        cut.into_iter().for_each(|wire| wire.end());
    }
}

impl Wire {
    fn end(self) {
        for end in &self.ends {
            // It may have ended by itself.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

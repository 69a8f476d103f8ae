//! A load balancer before the API ports of several nodes: each connection goes to the next of those that are behind it.
//!
//! It changes no byte and remembers nobody, as one without stickiness does.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

#[derive(Default)]
struct State {
    behind: Vec<u16>,
    next: usize,
    over: bool,
}

/// The balancer; it ends with the scenario.
pub struct Balancer {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Balancer {
    /// One that has nobody behind it: it hangs up on everybody.
    pub fn start() -> Balancer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::spawn(move || {
            for incoming in listener.incoming().map_while(Result::ok) {
                let mut state = shared.lock().unwrap();
                if state.over {
                    return;
                }
                state.next += 1;
                let at = state.next.checked_rem(state.behind.len());
                if let Some(port) = at.map(|at| state.behind[at]) {
                    thread::spawn(move || carry(incoming, port));
                }
            }
        });
        Balancer { port, state }
    }

    /// Its own port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Puts nodes behind it, in place of those that were.
    pub fn put(&self, ports: Vec<u16>) {
        self.state.lock().unwrap().behind = ports;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.state.lock().unwrap().over = true;
        // It wakes the listener, which sees that all is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn carry(incoming: TcpStream, port: u16) {
    let Ok(outgoing) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let (source, sink) = (outgoing.try_clone().unwrap(), incoming.try_clone().unwrap());
    thread::spawn(move || copy(source, sink));
    copy(incoming, outgoing);
}

fn copy(mut source: TcpStream, mut sink: TcpStream) {
    let mut piece = vec![0; 16 << 10];
    while let Ok(count @ 1..) = source.read(&mut piece) {
        if sink.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    // The other direction may go on; either may have ended already.
    let _ = sink.shutdown(Shutdown::Write);
    let _ = source.shutdown(Shutdown::Read);
}

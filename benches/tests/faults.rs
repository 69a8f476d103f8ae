//! The load generator against servers that are wrong on purpose: a bench that overlooks loss measures nothing.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's server may fail with the test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use wrs_benches::cell::{Outcome, Timing, Work, echo::Echo, fanout::Fanout, latency::Latency};
use wrs_benches::load::service::Service;

/// Bytes of payload: a length that fits the shortest head.
const SIZE: usize = 64;
/// Every so many messages the fault happens.
const EVERY: u64 = 50;

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// A message is not sent.
    Drop,
    /// A message is sent twice.
    Double,
    /// A message is sent after the next one.
    Swap,
}

/// Serves both paths, and does wrong by the first client of a room.
fn serve(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let audience = Arc::new(Mutex::new(Vec::new()));
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (socket, audience) = (socket.unwrap(), audience.clone());
            thread::spawn(move || client(socket, fault, &audience));
        }
    });
    address
}

fn client(mut socket: TcpStream, fault: Fault, audience: &Mutex<Vec<TcpStream>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let echo = head.starts_with(b"GET /echo ");
    let own = Mutex::new(vec![socket.try_clone().unwrap()]);
    if !echo {
        audience.lock().unwrap().push(socket.try_clone().unwrap());
    }
    let accept = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    socket.write_all(accept.as_bytes()).unwrap();
    let (mut count, mut late) = (0, Vec::new());
    let mut frame = [0; 6 + SIZE];
    while socket.read_exact(&mut frame).is_ok() {
        let key = [frame[2], frame[3], frame[4], frame[5]];
        let payload = frame[6..].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
        let answer: Vec<u8> = [0x82, SIZE as u8].into_iter().chain(payload).collect();
        count += 1;
        let wrong = match fault {
            _ if count % EVERY != 0 => vec![std::mem::take(&mut late), answer.clone()],
            Fault::None => vec![answer.clone()],
            Fault::Drop => Vec::new(),
            Fault::Double => vec![answer.clone(), answer.clone()],
            Fault::Swap => {
                late = answer.clone();
                Vec::new()
            }
        };
        // What was held back goes behind its successor.
        let wrong = if fault == Fault::Swap { wrong.into_iter().rev().collect() } else { wrong };
        let receivers = if echo { own.lock() } else { audience.lock() };
        for (index, mut receiver) in receivers.unwrap().iter().enumerate() {
            let frames = if index == 0 { wrong.concat() } else { answer.clone() };
            // A client that has gone is the run's end.
            let _ = receiver.write_all(&frames);
        }
    }
}

/// Runs every kind of load at once: what is lost costs each of them the same wait.
fn run_all(fault: Fault) -> Vec<(Work, Outcome)> {
    let works = [
        Work::Fanout(Fanout { subscribers: 3, size: SIZE, window: 16 }),
        Work::Echo(Echo { clients: 3, size: SIZE, window: 16 }),
        Work::Latency(Latency { subscribers: 3, size: SIZE, rate: 2000, stalled: 0 }),
    ];
    let timing = Timing { warm_up: Duration::from_millis(50), length: Duration::from_millis(200) };
    let start = |work: Work| {
        let run = thread::spawn(move || work.run(Service::Peer(serve(fault)), None, timing).unwrap());
        (work, run)
    };
    works.map(start).into_iter().map(|(work, run)| (work, run.join().unwrap())).collect()
}

#[test]
fn a_right_server_loses_nothing_and_has_a_figure() {
    for (work, outcome) in run_all(Fault::None) {
        assert_eq!(outcome.lost, 0, "{work:?}");
        assert!(outcome.figure > 0.0 && outcome.times.total() > 0, "{work:?}");
    }
}

#[test]
fn a_message_that_does_not_arrive_is_lost() {
    for (work, outcome) in run_all(Fault::Drop) {
        assert!(outcome.lost > 0, "{work:?}");
    }
}

#[test]
fn a_message_that_arrives_twice_is_wrong() {
    for (work, outcome) in run_all(Fault::Double) {
        assert!(outcome.lost > 0, "{work:?}");
    }
}

#[test]
fn a_message_out_of_order_is_wrong() {
    for (work, outcome) in run_all(Fault::Swap) {
        assert!(outcome.lost > 0, "{work:?}");
    }
}

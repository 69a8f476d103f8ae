//! The ring with real sockets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use glommio::{LocalExecutorBuilder, Placement};

use super::*;

const ID: ConnId = ConnId { index: 7, generation: 3 };
const SOON: Option<Duration> = Some(Duration::from_secs(5));
/// Long enough that a shard waits by then.
const MOMENT: Duration = Duration::from_millis(10);

/// Runs a test on a ring, or says that there can be none.
fn with_ring<F: Future<Output = ()>>(test: impl FnOnce(Ring, Buffers, Arc<Bell>) -> F) {
    if let Err(error) = probe() {
        return eprintln!("SKIPPED: no io_uring here: {error}");
    }
    let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(1 << 16).ring_depth(32).make().unwrap();
    executor.run(async {
        let bell = Bell::new().unwrap();
        let (ring, buffers) = Ring::new(bell.clone()).unwrap();
        test(ring, buffers, bell).await;
    });
}

fn pair() -> (TcpStream, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let socket = Socket::from(listener.accept().unwrap().0);
    socket.set_nonblocking(true).unwrap();
    (client, socket)
}

fn next(ring: &Ring) -> Vec<Event> {
    let mut events = Vec::new();
    let start = Instant::now();
    while events.is_empty() && start.elapsed() < Duration::from_secs(5) {
        ring.wait(&mut events, SOON).unwrap();
    }
    events
}

#[test]
fn what_arrives_is_lent_and_the_request_stays_armed() {
    with_ring(|ring, mut buffers, _| async move {
        let (mut client, socket) = pair();
        let _watched = ring.watch(socket, ID).unwrap();
        // More often than there are buffers.
        for round in 0..u32::from(BUFFERS) * 2 {
            let sent = round.to_ne_bytes();
            client.write_all(&sent).unwrap();
            for mut event in next(&ring) {
                assert!(event.is_for(ID) && event.key() == 7);
                assert!(matches!(event.what, What::Received { more: true }), "round {round}");
                let lent = event.lent.take().unwrap();
                assert_eq!(buffers.bytes(&lent), sent);
                buffers.give_back(lent);
            }
        }
    });
}

#[test]
fn without_a_buffer_left_receiving_rests_and_goes_on_later() {
    with_ring(|ring, mut buffers, _| async move {
        let (mut client, socket) = pair();
        let mut watched = ring.watch(socket, ID).unwrap();
        let bytes = BUFFER * (usize::from(BUFFERS) + 8);
        let writer = thread::spawn(move || client.write_all(&vec![1; bytes]).map(|()| client));
        let (mut held, mut taken, mut rested) = (Vec::new(), 0, false);
        while taken < bytes {
            for mut event in next(&ring) {
                watched.heard(event.what);
                rested |= matches!(event.what, What::Rested);
                held.extend(event.lent.take());
            }
            // Only once all are lent.
            if rested || held.len() == usize::from(BUFFERS) {
                for lent in held.drain(..) {
                    taken += buffers.bytes(&lent).len();
                    buffers.give_back(lent);
                }
            }
            watched.want(true, false).unwrap();
            if taken + held.iter().map(|lent| lent.len).sum::<usize>() == bytes {
                break;
            }
        }
        assert!(writer.join().unwrap().is_ok());
    });
}

#[test]
fn the_end_of_the_other_side_is_heard_once() {
    with_ring(|ring, _, _| async move {
        let (client, socket) = pair();
        let mut watched = ring.watch(socket, ID).unwrap();
        drop(client);
        let events = next(&ring);
        assert!(matches!(events.first().map(|event| event.what), Some(What::Ended)));
        watched.heard(What::Ended);
        watched.want(false, false).unwrap();
        let mut events = Vec::new();
        ring.wait(&mut events, Some(Duration::from_millis(20))).unwrap();
        assert!(events.is_empty());
    });
}

#[test]
fn a_socket_that_nobody_reads_still_tells_its_death() {
    with_ring(|ring, _, _| async move {
        let (client, socket) = pair();
        let mut watched = ring.watch(socket, ID).unwrap();
        watched.want(false, false).unwrap();
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        let mut dead = false;
        while !dead {
            let events = next(&ring);
            assert!(!events.is_empty(), "nothing was heard");
            for event in events {
                dead |= matches!(event.what, What::Ready { dead: true } | What::Gone);
                watched.heard(event.what);
            }
            watched.want(false, false).unwrap();
        }
    });
}

#[test]
fn room_is_told_when_there_is_some_even_if_the_other_side_sends_no_more() {
    with_ring(|ring, _, _| async move {
        let (mut client, socket) = pair();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut watched = ring.watch(socket, ID).unwrap();
        assert!(matches!(next(&ring)[0].what, What::Ended));
        watched.heard(What::Ended);
        let huge = vec![3; 64 << 20];
        while ring.write(&[(watched.socket(), &huge)])[0] > 0 {}
        watched.want(false, true).unwrap();
        let mut events = Vec::new();
        ring.wait(&mut events, Some(Duration::from_millis(20))).unwrap();
        assert!(events.is_empty(), "there is no room yet");
        let reader = thread::spawn(move || client.read_exact(&mut vec![0; 1 << 20]).map(|()| client));
        assert!(matches!(next(&ring)[0].what, What::Ready { dead: false }));
        assert!(ring.write(&[(watched.socket(), &huge)])[0] > 0);
        assert!(reader.join().unwrap().is_ok());
    });
}

#[test]
fn many_sockets_are_written_with_one_call_and_a_full_one_takes_what_it_can() {
    with_ring(|ring, _, _| async move {
        let pairs: Vec<_> = (0..100).map(|_| pair()).collect();
        let huge = vec![2; 64 << 20];
        let texts: Vec<String> = (0..100).map(|number| format!("to {number}")).collect();
        let mut writes: Vec<(&Socket, &[u8])> =
            pairs.iter().zip(&texts).map(|((_, socket), text)| (socket, text.as_bytes())).collect();
        let (_reader, full) = pair();
        writes.push((&full, &huge));
        writes.push((&full, &huge));
        writes.push((&full, &[]));
        let taken = ring.write(&writes);
        assert!((1..huge.len()).contains(&taken[100]), "{}", taken[100]);
        assert!(taken[101] < huge.len());
        assert_eq!(taken[102], 0);
        for (((mut client, _), text), taken) in pairs.into_iter().zip(texts).zip(taken) {
            let mut read = vec![0; text.len()];
            client.read_exact(&mut read).unwrap();
            assert_eq!((read.as_slice(), taken), (text.as_bytes(), text.len()));
        }
    });
}

#[test]
fn a_bell_wakes_a_shard_that_waits_each_time() {
    with_ring(|ring, _, bell| async move {
        let mut late = 0;
        for _ in 0..20 {
            let from = bell.clone();
            let ringer = thread::spawn(move || {
                thread::sleep(MOMENT);
                from.ring();
            });
            let (start, mut events) = (Instant::now(), Vec::new());
            ring.wait(&mut events, SOON).unwrap();
            assert!(events.is_empty());
            late += u32::from(start.elapsed() >= WAIT_MAX);
            ringer.join().unwrap();
        }
        assert!(late < 10, "{late} of 20 waits went on to their end");
    });
}

#[test]
fn a_bell_that_was_rung_before_the_wait_ends_it() {
    with_ring(|ring, _, bell| async move {
        bell.ring();
        let (start, mut events) = (Instant::now(), Vec::new());
        ring.wait(&mut events, SOON).unwrap();
        assert!(start.elapsed() < WAIT_MAX);
    });
}

#[test]
fn a_wait_ends_in_time_and_has_a_longest_time() {
    with_ring(|ring, _, _| async move {
        let times = [0, 1, 30].map(Duration::from_millis).map(|wait| (Some(wait), wait));
        for (wait, least) in times.into_iter().chain([(SOON, WAIT_MAX), (None, WAIT_MAX)]) {
            let (start, mut events) = (Instant::now(), Vec::new());
            ring.wait(&mut events, wait).unwrap();
            assert!(events.is_empty() && start.elapsed() >= least && start.elapsed() < Duration::from_secs(4));
        }
    });
}

#[test]
fn a_socket_wakes_a_shard_that_waits() {
    with_ring(|ring, mut buffers, _| async move {
        let (mut client, socket) = pair();
        let _watched = ring.watch(socket, ID).unwrap();
        for _ in 0..5 {
            let writer = thread::spawn(move || {
                thread::sleep(MOMENT);
                client.write_all(b"awake").unwrap();
                client
            });
            let lent = next(&ring).pop().unwrap().lent.unwrap();
            assert_eq!(buffers.bytes(&lent), b"awake");
            buffers.give_back(lent);
            client = writer.join().unwrap();
        }
    });
}

#[test]
fn a_socket_that_ends_before_its_request_is_handed_over_takes_nothing_from_the_next() {
    const NEXT: ConnId = ConnId { generation: ID.generation + 1, ..ID };
    with_ring(|ring, mut buffers, _| async move {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let accept = || {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (client, Socket::from(listener.accept().unwrap().0))
        };
        // The next socket would get the number of the one that ends, unless another test is given it first.
        for round in 0..100 {
            let (_first, ended) = accept();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.write_all(b"first").unwrap();
            drop(ring.watch(ended, ID).unwrap());
            let _watched = ring.watch(Socket::from(listener.accept().unwrap().0), NEXT).unwrap();
            let mut read = Vec::new();
            while read.is_empty() {
                let events = next(&ring);
                assert!(!events.is_empty(), "round {round}: the next socket is not read");
                for mut event in events {
                    let Some(lent) = event.lent.take() else { continue };
                    assert!(event.is_for(NEXT), "round {round}: read for the one that ended");
                    read.extend_from_slice(buffers.bytes(&lent));
                    buffers.give_back(lent);
                }
            }
            assert_eq!(read, b"first");
        }
    });
}

#[test]
fn an_event_is_not_for_the_next_socket_in_its_place() {
    let event = Event { number: number(ID, RECEIVE), what: What::Ended, lent: None };
    assert!(event.is_for(ID));
    assert!(!event.is_for(ConnId { generation: ID.generation + 1, ..ID }));
    assert!(!event.is_for(ConnId { index: ID.index + 1, ..ID }));
}

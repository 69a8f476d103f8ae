//! Every limit: who is refused, how, and that there is room again afterwards.

use std::io::Read;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use wrs_tests::real::{Got, Http, Runtime, Stream, until, upgrade_request};

pub fn a_client_limit_is_exact_under_racing_joins(runtime: &Runtime) {
    const LIMIT: usize = 5;
    const RACERS: usize = 24;
    let server = runtime.start(&[]);
    let channel = server.create(&format!(r#"{{"pattern":"pub-sub","clientLimit":{LIMIT}}}"#));
    for _ in 0..3 {
        let barrier = Barrier::new(RACERS);
        let outcomes: Vec<(u16, Http)> = thread::scope(|scope| {
            let racers: Vec<_> = (0..RACERS)
                .map(|_| {
                    scope.spawn(|| {
                        let mut http = server.http();
                        barrier.wait();
                        http.write(upgrade_request(&channel.path(""), &[]));
                        (http.read().status, http)
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|(status, _)| *status == 101).count(), LIMIT);
        assert_eq!(outcomes.iter().filter(|(status, _)| *status == 429).count(), RACERS - LIMIT);
        assert_eq!(server.clients(&channel), LIMIT as u64);
        drop(outcomes);
        until("all have gone", || (server.clients(&channel) == 0).then_some(()));
    }
}

pub fn a_client_limit_of_0_lets_nobody_in(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.create(r#"{"pattern":"echo","clientLimit":0}"#);
    let refused = server.ask(&channel.path(""), &[]);
    refused.problem(429);
    assert!(refused.header("Retry-After").is_some());
}

/// "One that the relay closes leaves count, limit and queue when that is decided, not when its socket ends."
pub fn a_seat_is_free_once_a_close_is_answered(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.create(r#"{"pattern":"echo","clientLimit":1}"#);
    for _ in 0..30 {
        let client = server.join(&channel);
        assert_eq!(server.clients(&channel), 1, "counted before its 101");
        assert_eq!(client.leave(1000), 1000);
    }
    let mut stubborn = server.join(&channel);
    // Reserved bits: the server closes, and this socket stays open on this side.
    stubborn.write(b"\xf1\x80\0\0\0\0");
    assert_eq!(server_code(&mut stubborn.socket), 1002);
    assert_eq!(server.join(&channel).leave(1000), 1000);
}

/// The code of the next frame, which is a close frame; the socket stays as it is.
fn server_code(socket: &mut tungstenite::WebSocket<Stream>) -> u16 {
    let mut frame = [0; 4];
    socket.get_mut().read_exact(&mut frame).unwrap();
    assert_eq!(frame[0], 0x88);
    u16::from_be_bytes([frame[2], frame[3]])
}

pub fn a_node_takes_so_many_clients(runtime: &Runtime) {
    let server = runtime.start(&["WRS_MAX_CLIENTS=4"]);
    let (one, two) = (server.channel("echo"), server.channel("echo"));
    let mut clients: Vec<_> = (0..4).map(|n| server.join(if n % 2 == 0 { &one } else { &two })).collect();
    for _ in 0..3 {
        let refused = server.ask(&one.path(""), &[]);
        refused.problem(503);
        assert!(refused.header("Retry-After").is_some());
    }
    assert_eq!(server.get("/channels").status, 200, "REST goes on");
    assert_eq!(clients.pop().unwrap().leave(1000), 1000);
    assert_eq!(server.join(&one).leave(1000), 1000);
}

pub fn an_address_has_so_many_clients(runtime: &Runtime) {
    let server = runtime.start(&["WRS_MAX_CLIENTS_PER_ADDRESS=3"]);
    let channel = server.channel("echo");
    let mut clients: Vec<_> = (0..3).map(|_| server.join(&channel)).collect();
    server.ask(&channel.path(""), &[]).problem(429);
    // Who may set the header is for the operator to say; nobody may here.
    server.ask(&channel.path(""), &[("X-Forwarded-For", "192.0.2.7")]).problem(429);
    assert_eq!(clients.pop().unwrap().leave(1000), 1000);
    assert_eq!(server.join(&channel).leave(1000), 1000);
}

pub fn an_address_behind_a_trusted_proxy_is_its_own(runtime: &Runtime) {
    let server = runtime.start(&["WRS_MAX_CLIENTS_PER_ADDRESS=1", "WRS_TRUSTED_PROXIES=127.0.0.0/8"]);
    let channel = server.channel("echo");
    let _one = server.connect(&channel.path(""), &[("X-Forwarded-For", "192.0.2.7")]);
    let _two = server.connect(&channel.path(""), &[("X-Forwarded-For", "192.0.2.8")]);
    server.ask(&channel.path(""), &[("X-Forwarded-For", "192.0.2.7")]).problem(429);
    server.ask(&channel.path(""), &[("X-Forwarded-For", "198.51.100.1, 192.0.2.7")]).problem(429);
}

pub fn an_address_creates_so_many_channels(runtime: &Runtime) {
    let server = runtime.start(&["WRS_MAX_CREATE_RATE=5"]);
    let mut http = server.http();
    let mut created = 0;
    let refused = loop {
        let response = http.call("POST", "/channels", r#"{"pattern":"echo"}"#);
        match response.status {
            201 => created += 1,
            _ => break response,
        }
        assert!(created < 100, "nobody was ever refused");
    };
    refused.problem(429);
    assert!(refused.header("Retry-After").is_some());
    assert!(created >= 5, "{created}");
    until("the rate allows one more", || {
        (http.call("POST", "/channels", r#"{"pattern":"echo"}"#).status == 201).then_some(())
    });
}

pub fn a_client_that_sends_too_fast_is_paused_and_loses_nothing(runtime: &Runtime) {
    let server = runtime.start(&["WRS_MAX_MESSAGE_RATE=100"]);
    let channel = server.channel("echo");
    let (mut fast, mut calm) = (server.join(&channel), server.join(&channel));
    let start = Instant::now();
    for message in 0..220 {
        fast.send(&message.to_string());
    }
    calm.send("another client's share is its own");
    assert_eq!(calm.text(), "another client's share is its own");
    for message in 0..220 {
        assert_eq!(fast.text(), message.to_string());
    }
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(1_000), "220 messages at 100 a second, one second's worth at once: {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

pub fn there_are_so_many_channels(runtime: &Runtime) {
    let server = runtime.start(&["WRS_MAX_CHANNELS=3"]);
    let channels: Vec<_> = (0..3).map(|_| server.channel("echo")).collect();
    let refused = server.post("/channels", r#"{"pattern":"echo"}"#);
    refused.problem(503);
    assert!(refused.header("Retry-After").is_some());
    assert_eq!(server.delete(&channels[0].resource()).status, 200);
    server.channel("echo");
}

pub fn a_message_that_is_too_long_is_1009(runtime: &Runtime) {
    let server = runtime.start(&["WRS_MAX_MESSAGE_SIZE=1000"]);
    let channel = server.channel("echo");
    let mut client = server.join(&channel);
    client.send(&"x".repeat(1000));
    assert_eq!(client.text().len(), 1000);
    client.send(&"x".repeat(1001));
    assert_eq!(client.closed(), 1009);
    // Fragments count together, and a length alone is enough to refuse.
    let mut client = server.join(&channel);
    let fragment = [&b"\x01\xfe\x02\x00\0\0\0\0"[..], &[b'x'; 512]].concat();
    client.write(&fragment);
    client.write(b"\x80\xfe\x02\x00\0\0\0\0");
    assert_eq!(client.closed(), 1009);
    let mut client = server.join(&channel);
    client.write(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0");
    assert_eq!(client.closed(), 1009);
}

/// "On 1013 what is queued behind the frame in flight is discarded, the close frame follows."
pub fn a_slow_reader_is_1013_after_the_frame_in_flight(runtime: &Runtime) {
    const SIZE: usize = 200_000;
    let server = runtime.start(&["WRS_MAX_MESSAGE_SIZE=200KiB", "WRS_SEND_BUFFER=400KiB"]);
    let channel = server.channel("pub-sub");
    let mut slow = server.join(&channel);
    let mut sender = server.join_as(&channel, "&echo=false");
    let mut quick = server.join(&channel);
    let mut sent = 0;
    // The kernel's buffers come first; how large they are is the system's affair.
    while server.metric("wrs_slow_clients_total") == 0 {
        let mut message = vec![b'x'; SIZE];
        message[0] = sent;
        sender.send_binary(&message);
        assert!(quick.binary() == message, "others are not held up");
        sent = sent.checked_add(1).expect("a client that reads nothing is cut off");
    }
    assert_eq!(server.clients(&channel), 2, "it is out when that is decided");
    let mut whole = 0;
    let code = loop {
        match slow.recv() {
            Got::Binary(message) => {
                assert_eq!((message[0], message.len()), (whole, SIZE), "whole frames, none left out before the last");
                whole += 1;
            }
            Got::Closed(code, _) => break code,
            other => panic!("{other:?} after {whole} messages"),
        }
    };
    assert_eq!(code, 1013);
    assert!(whole < sent, "what was queued behind the frame in flight is discarded");
}

pub fn a_reader_of_a_byte_at_a_time_harms_nobody(runtime: &Runtime) {
    let server = runtime.start(&["WRS_MAX_MESSAGE_SIZE=64KiB", "WRS_SEND_BUFFER=128KiB"]);
    let channel = server.channel("pub-sub");
    let mut dripping = server.join(&channel);
    let mut sender = server.join_as(&channel, "&echo=false");
    let mut other = server.join(&channel);
    let message = vec![b'x'; 64 << 10];
    let mut byte = [0];
    let mut rounds = 0;
    while server.clients(&channel) == 3 {
        sender.send_binary(&message);
        assert_eq!(other.binary().len(), message.len());
        dripping.socket.get_mut().read_exact(&mut byte).unwrap();
        rounds += 1;
        assert!(rounds < 1_000, "reading a byte is not reading");
    }
    assert_eq!(server.metric("wrs_clients_closed_total{code=\"1013\"}"), 1);
}

/// An answer may take many times `WRS_KEEPALIVE_TIMEOUT`, as long as it moves.
pub fn an_answer_that_moves_is_not_cut_off(runtime: &Runtime) {
    const ANSWERS: usize = 30;
    let server = runtime.start(&["WRS_KEEPALIVE_TIMEOUT=1500", "WRS_SEND_BUFFER=64MiB"]);
    let asset = "/docs/swagger-ui-bundle.js";
    let size = server.get(asset).body.len();
    let mut http = server.http();
    http.write(format!("GET {asset} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(ANSWERS));
    let (start, mut taken) = (Instant::now(), 0);
    for _ in 0..ANSWERS {
        taken += http.read().body.len();
        thread::sleep(Duration::from_millis(150));
    }
    assert_eq!(taken, size * ANSWERS);
    assert!(start.elapsed() > Duration::from_millis(4_000), "{:?}", start.elapsed());
    assert_eq!(server.metric("wrs_limits_reached_total{limit=\"WRS_KEEPALIVE_TIMEOUT\"}"), 0);
}

/// "A client that reads a byte a second is cut off by the documented limit": whole answers and lists alike.
pub fn an_answer_that_drips_is_cut_off(runtime: &Runtime) {
    let server = runtime.start(&["WRS_KEEPALIVE_TIMEOUT=700"]);
    for _ in 0..500 {
        server.channel("echo");
    }
    for (path, times) in [("/channels", 300), ("/docs/swagger-ui-bundle.js", 12)] {
        let before = server.metric("wrs_limits_reached_total{limit=\"WRS_KEEPALIVE_TIMEOUT\"}");
        let mut http = server.http();
        http.write(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(times));
        let mut byte = [0];
        let start = Instant::now();
        until("it is cut off", || {
            http.stream.read_exact(&mut byte).unwrap();
            thread::sleep(Duration::from_millis(50));
            let now = server.metric("wrs_limits_reached_total{limit=\"WRS_KEEPALIVE_TIMEOUT\"}");
            (now > before).then_some(())
        });
        assert!(start.elapsed() >= Duration::from_millis(600), "{:?}", start.elapsed());
    }
}

/// At the limit on open files the node takes no connection, spins not, and goes on when there is room again.
#[cfg(unix)]
pub fn without_files_connections_wait_and_the_node_recovers(runtime: &Runtime) {
    // Each shard needs some files of its own.
    let limit = 64 + 10 * runtime.shards;
    let server = runtime.start(&[&format!("sh:ulimit -n {limit}"), "WRS_MAX_CLIENTS=1000"]);
    let channel = server.channel("echo");
    let mut first = server.join(&channel);
    let mut waiting: Vec<Http> = Vec::new();
    for _ in 0..limit + 40 {
        let mut http = server.http();
        http.write(upgrade_request(&channel.path(""), &[]));
        waiting.push(http);
    }
    server.logged("accept-paused");
    first.send("those that are here are served");
    assert_eq!(first.text(), "those that are here are served");
    let before = cpu_ticks(server.pid());
    thread::sleep(Duration::from_millis(300));
    let spent = cpu_ticks(server.pid()) - before;
    assert!(spent <= 15, "it spins: {spent} ticks of 10 ms in 300 ms");
    // As the first ones go, those that wait are let in, all of them in the end.
    for mut http in waiting {
        assert_eq!(http.read().status, 101);
    }
    assert_eq!(server.get("/readyz").status, 200);
    until("all but one have gone", || (server.clients(&channel) == 1).then_some(()));
}

#[cfg(not(unix))]
pub fn without_files_connections_wait_and_the_node_recovers(_runtime: &Runtime) {}

/// User and system time of a process, in ticks of 10 ms; 0 where nobody says.
fn cpu_ticks(pid: u32) -> u64 {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0 };
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

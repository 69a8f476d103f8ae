//! The end of a node: signals, what they do to whom, and the exit code.
#![cfg(unix)]

use std::time::{Duration, Instant};

use wrs_tests::real::{Runtime, Stream, until};

fn ends_in_order(runtime: &Runtime, signal: &str) {
    let mut server = runtime.start(&[]);
    let channel = server.channel("pub-sub");
    let mut clients: Vec<_> = (0..20).map(|_| server.join(&channel)).collect();
    clients[0].send("the last word");
    for client in &mut clients {
        assert_eq!(client.text(), "the last word");
    }
    let start = Instant::now();
    server.signal(signal);
    for client in &mut clients {
        assert_eq!(client.closed(), 1001);
    }
    assert_eq!(server.wait().code(), Some(0));
    // The clients, whose sockets are still open, have answered: nobody waits for them to hang up.
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(server.log().iter().any(|line| line.contains("draining")));
}

pub fn sigterm_closes_clients_with_1001_and_exits_0(runtime: &Runtime) {
    ends_in_order(runtime, "TERM");
    let mut idle = runtime.start(&[]);
    idle.signal("TERM");
    assert_eq!(idle.wait().code(), Some(0), "a node that nobody ever spoke to");
}

pub fn sigint_drains_too(runtime: &Runtime) {
    ends_in_order(runtime, "INT");
}

pub fn a_second_signal_exits_at_once(runtime: &Runtime) {
    let mut server = runtime.start(&["WRS_DRAIN_DELAY=60000"]);
    let channel = server.channel("echo");
    let _client = server.join(&channel);
    server.signal("TERM");
    server.logged("draining");
    assert!(server.runs());
    server.signal("TERM");
    server.wait();
}

pub fn a_node_that_will_drain_is_not_ready_but_serves(runtime: &Runtime) {
    let mut server = runtime.start(&["WRS_DRAIN_DELAY=1500"]);
    let channel = server.channel("pub-sub");
    let mut before = server.join(&channel);
    let start = Instant::now();
    server.signal("TERM");
    let refused = until("it is not ready", || Some(server.get("/readyz")).filter(|response| response.status != 200));
    refused.problem(503);
    assert_eq!(server.get("/healthz").status, 200, "it lives");
    let mut after = server.join(&channel);
    after.send("still served");
    assert_eq!((before.text(), after.text()), ("still served".to_owned(), "still served".to_owned()));
    assert_eq!(server.post("/channels", r#"{"pattern":"echo"}"#).status, 201);
    assert!(start.elapsed() < Duration::from_millis(1_500), "the machine is too slow for this scenario");
    assert_eq!((before.closed(), after.closed()), (1001, 1001));
    assert!(start.elapsed() >= Duration::from_millis(1_490));
    assert_eq!(server.wait().code(), Some(0));
}

pub fn idle_connections_end_at_once_and_none_is_taken(runtime: &Runtime) {
    // A client that never answers the close frame holds the drain up, so that there is time to look.
    let mut server = runtime.start(&["WRS_DRAIN_TIMEOUT=20000"]);
    let channel = server.channel("echo");
    let mut idle: Vec<_> = (0..5).map(|_| server.http()).collect();
    for http in &mut idle {
        assert_eq!(http.call("GET", "/healthz", "").status, 200);
    }
    let silent = server.stream();
    let mut holding = server.http();
    holding.write(wrs_tests::real::upgrade_request(&channel.path(""), &[]));
    assert_eq!(holding.read().status, 101);
    server.signal("TERM");
    for http in &mut idle {
        http.ends();
    }
    wrs_tests::real::Http::new(silent).ends();
    until("nobody listens", || std::net::TcpStream::connect(("127.0.0.1", server.port)).err());
    assert!(server.runs());
    assert_eq!(holding.rest()[2..4], 1001u16.to_be_bytes());
    drop(holding);
    assert_eq!(server.wait().code(), Some(0));
}

pub fn a_request_under_way_is_answered(runtime: &Runtime) {
    let mut server = runtime.start(&[]);
    let mut http = server.http();
    assert_eq!(http.call("GET", "/healthz", "").status, 200);
    http.write("GET /channels HTTP/1.1\r\nHost: a\r\n");
    // The half of a request is there once the server's answer to a later question is.
    assert_eq!(server.get("/healthz").status, 200);
    server.signal("TERM");
    server.logged("draining");
    http.write("\r\n");
    let response = http.read();
    assert_eq!((response.status, response.header("Connection")), (200, Some("close")));
    http.ends();
    assert_eq!(server.wait().code(), Some(0));
}

pub fn a_client_that_never_reads_cannot_hold_up_the_exit(runtime: &Runtime) {
    let mut server = runtime.start(&["WRS_DRAIN_TIMEOUT=500"]);
    let channel = server.channel("pub-sub");
    let mut sender = server.join_as(&channel, "&echo=false");
    let _deaf = server.join(&channel);
    let mut dripping = Stream::plain(server.port);
    std::io::Write::write_all(&mut dripping, b"POST /channels HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n").unwrap();
    // More than the kernel's buffers take, less than the node allows a client to owe.
    for _ in 0..4 {
        sender.send_binary(&vec![0; 1 << 20]);
    }
    let start = Instant::now();
    server.signal("TERM");
    let status = server.wait();
    assert_eq!(status.code(), Some(0));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

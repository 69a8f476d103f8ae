//! Timeouts and countdowns.

use std::time::{Duration, Instant};

use wrs_tests::real::{Channel, Runtime, Server, until};

fn with_timeout(server: &Server, timeout: impl std::fmt::Display) -> Channel {
    server.create(&format!(r#"{{"pattern":"req-repl","timeout":{timeout}}}"#))
}

fn countdown(server: &Server, channel: &Channel) -> i64 {
    server.look(channel).expect("the channel is there")["countdown"].as_i64().unwrap()
}

pub fn a_timeout_of_0_deletes_at_once_after_the_201(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let response = server.post("/channels", r#"{"pattern":"echo","timeout":0}"#);
    assert_eq!(response.status, 201);
    assert_eq!(response.json()["data"]["countdown"], 0);
    let path = response.header("Location").unwrap().to_owned();
    until("the channel has gone", || (server.get(&path).status == 404).then_some(()));
}

pub fn a_channel_ends_after_its_timeout(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let start = Instant::now();
    let channel = with_timeout(&server, 500);
    let mut clients: Vec<_> = (0..3).map(|_| server.join(&channel)).collect();
    assert!(server.look(&channel).is_some());
    for client in &mut clients {
        assert_eq!(client.closed(), 4408);
    }
    let lived = start.elapsed();
    assert!(lived >= Duration::from_millis(500) && lived < Duration::from_secs(5), "{lived:?}");
    assert!(server.look(&channel).is_none());
    server.ask(&channel.path(""), &[]).problem(404);
    assert_eq!(server.metric("wrs_channels_deleted_total{reason=\"timed_out\"}"), 1);
}

pub fn a_message_prolongs_a_channel(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = with_timeout(&server, 700);
    let (mut client, mut other) = (server.join(&channel), server.join(&channel));
    let mut last = Instant::now();
    // Twice its timeout, in steps that each reset the countdown.
    for _ in 0..7 {
        until("some of the countdown is over", || (countdown(&server, &channel) < 500).then_some(()));
        last = Instant::now();
        client.send(r#"{"type":"request"}"#);
        other.text();
    }
    assert_eq!(client.closed(), 4408);
    assert!(last.elapsed() >= Duration::from_millis(700), "{:?}", last.elapsed());
}

pub fn a_message_answered_with_an_error_prolongs_too(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = with_timeout(&server, 60_000);
    let mut client = server.join(&channel);
    until("some of the countdown is over", || (countdown(&server, &channel) < 59_900).then_some(()));
    let before = Instant::now();
    client.send("no envelope");
    assert_eq!(client.json()["code"], "malformed");
    let left = countdown(&server, &channel);
    assert!(left >= 60_000 - i64::try_from(before.elapsed().as_millis()).unwrap() - 1, "{left}");
}

pub fn a_client_that_says_nothing_prolongs_nothing(runtime: &Runtime) {
    let server = runtime.start(&["WRS_PING_INTERVAL=50"]);
    let channel = with_timeout(&server, 600);
    let start = Instant::now();
    let mut client = server.join(&channel);
    // Pongs are no messages, and neither are requests about the channel.
    assert!(server.look(&channel).is_some());
    assert_eq!(client.closed(), 4408);
    assert!(start.elapsed() < Duration::from_secs(5));
}

pub fn the_countdown_is_exact(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let before = Instant::now();
    let channel = with_timeout(&server, 10_000);
    let after = Instant::now();
    for _ in 0..5 {
        let asked = after.elapsed().as_millis() as i64;
        let left = countdown(&server, &channel);
        let answered = before.elapsed().as_millis() as i64;
        assert!((10_000 - answered - 1..=10_000 - asked + 1).contains(&left), "{left} after {asked} to {answered} ms");
        std::thread::yield_now();
    }
    let endless = with_timeout(&server, -1);
    assert_eq!(countdown(&server, &endless), -1);
}

pub fn times_saturate(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let most = 1i64 << 53;
    let channel = with_timeout(&server, most);
    let mut client = server.join(&channel);
    client.send(r#"{"type":"request"}"#);
    assert_eq!(client.json()["code"], "no-recipient");
    let left = countdown(&server, &channel);
    assert!(left > most - 60_000 && left <= most, "{left}");
}

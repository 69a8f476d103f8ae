//! How a WebSocket ends, and what keeps it alive.

use std::time::{Duration, Instant};

use tungstenite::Message;
use wrs_tests::real::{Channel, Got, Runtime, Server, Ws, until};

pub fn a_close_is_answered_with_its_code(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    for code in [1000, 1001, 1011, 3000, 4999] {
        assert_eq!(server.join(&channel).leave(code), code);
    }
    let mut client = server.join(&channel);
    client.send("before");
    client.write(b"\x88\x80\0\0\0\0");
    assert_eq!(client.text(), "before", "what was sent before is dealt with");
    assert_eq!(client.closed(), 1005, "no code is answered with none");
}

pub fn a_broken_frame_is_1002(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("pub-sub");
    let mut witness = server.join_as(&channel, "&echo=false");
    for bytes in [
        &b"\x81\x05Hello"[..],             // unmasked
        b"\xc1\x80\0\0\0\0",               // a reserved bit
        b"\x83\x80\0\0\0\0",               // an opcode that nobody knows
        b"\x8b\x80\0\0\0\0",               // a control frame that nobody knows
        b"\x09\x80\0\0\0\0",               // a ping in fragments
        b"\x89\xfe\x00\x7e\0\0\0\0",       // a ping of 126 bytes
        b"\x80\x80\0\0\0\0",               // a continuation of nothing
        b"\x01\x80\0\0\0\0\x81\x80\0\0\0\0", // a message within a message
        b"\x81\xfe\x00\x05\0\0\0\0Hello",  // a length that is too long for itself
        b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0", // a length with its highest bit
        b"\x88\x81\0\0\0\0x",              // a close with half a code
        b"\x88\x82\0\0\0\0\x03\xed",       // 1005 on the wire
        b"\x88\x82\0\0\0\0\x00\x00",
        b"\x88\x82\0\0\0\0\x13\x88",       // 5000
    ] {
        let mut client = server.join(&channel);
        client.write(bytes);
        assert_eq!(client.closed(), 1002, "{bytes:?}");
    }
    assert_eq!(server.clients(&channel), 1);
    let mut sender = server.join(&channel);
    sender.send("nothing of that went through");
    assert_eq!(witness.text(), "nothing of that went through");
}

pub fn text_that_is_not_utf_8_is_1007(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    for bytes in [
        &b"\x81\x81\0\0\0\0\xff"[..],
        b"\x81\x82\0\0\0\0\xc0\xaf",
        b"\x81\x83\0\0\0\0\xed\xa0\x80",
        b"\x81\x81\0\0\0\0\xe2",
        b"\x01\x81\0\0\0\0\xff",             // fails fast: the message has not ended
        b"\x01\x81\0\0\0\0\xe2\x80\x81\0\0\0\0\x28",
        b"\x88\x83\0\0\0\0\x03\xe8\xff",     // a reason that is no text
    ] {
        let mut client = server.join(&channel);
        client.write(bytes);
        assert_eq!(client.closed(), 1007, "{bytes:?}");
    }
}

pub fn a_deleted_channel_closes_with_4404(runtime: &Runtime) {
    let server = runtime.start(&[]);
    for pattern in ["echo", "pub-sub", "push-pull", "req-repl", "fan-in-out"] {
        let channel = server.channel(pattern);
        let mut clients: Vec<_> = (0..5).map(|_| server.join(&channel)).collect();
        assert_eq!(server.delete(&channel.resource()).status, 200);
        for client in &mut clients {
            assert!(matches!(client.recv(), Got::Closed(4404, reason) if !reason.is_empty()), "{pattern}");
        }
    }
    until("the figures follow", || (server.metric("wrs_clients") == 0).then_some(()));
    assert_eq!(server.metric("wrs_clients_closed_total{code=\"4404\"}"), 25);
}

pub fn pings_are_answered(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    let mut client = server.join(&channel);
    for payload in [&b""[..], b"ping", &[7; 125]] {
        client.socket.send(Message::Ping(payload.to_vec().into())).unwrap();
        assert_eq!(client.socket.read().unwrap(), Message::Pong(payload.to_vec().into()));
    }
    // Between the fragments of a message, too.
    client.write(b"\x01\x83\0\0\0\0one\x89\x81\0\0\0\0p\x80\x83\0\0\0\0two");
    assert_eq!(client.socket.read().unwrap(), Message::Pong(b"p".to_vec().into()));
    assert_eq!(client.text(), "onetwo");
}

pub fn an_idle_client_is_pinged(runtime: &Runtime) {
    let server = runtime.start(&["WRS_PING_INTERVAL=150"]);
    let channel = server.channel("echo");
    let start = Instant::now();
    let mut client = server.join(&channel);
    assert!(client.socket.read().unwrap().is_ping());
    assert!(start.elapsed() >= Duration::from_millis(140));
}

pub fn a_silent_client_is_dropped_with_1008(runtime: &Runtime) {
    let server = runtime.start(&["WRS_PING_INTERVAL=150"]);
    let channel = server.channel("echo");
    let start = Instant::now();
    let mut http = server.http();
    http.write(wrs_tests::real::upgrade_request(&channel.path(""), &[]));
    assert_eq!(http.read().status, 101);
    let rest = http.rest();
    let silent = start.elapsed();
    assert!(silent >= Duration::from_millis(290), "two intervals: {silent:?}");
    let close = rest.iter().position(|byte| *byte == 0x88).expect("a close frame");
    assert_eq!(rest[close + 2..close + 4], 1008u16.to_be_bytes());
    assert_eq!(server.clients(&channel), 0);
}

pub fn a_client_that_answers_pings_stays(runtime: &Runtime) {
    let server = runtime.start(&["WRS_PING_INTERVAL=100"]);
    let channel = server.channel("echo");
    let mut client = server.join(&channel);
    for _ in 0..8 {
        assert!(client.socket.read().unwrap().is_ping());
        client.socket.flush().unwrap();
    }
    client.send("still here");
    loop {
        match client.socket.read().unwrap() {
            Message::Ping(_) => {}
            other => break assert_eq!(other, Message::text("still here")),
        }
    }
}

pub fn a_lost_connection_frees_its_seat(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.create(r#"{"pattern":"push-pull","clientLimit":2}"#);
    let mut stays = server.join(&channel);
    drop(server.join(&channel));
    until("the seat is free", || (server.clients(&channel) == 1).then_some(()));
    stays.send("alone again");
    assert_eq!(stays.text(), "alone again");
    assert_eq!(server.join(&channel).leave(1000), 1000);
}

pub fn fragments_are_one_message(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("pub-sub");
    let (mut sender, mut receiver) = (server.join_as(&channel, "&echo=false"), server.join(&channel));
    sender.write(b"\x02\x81\0\0\0\0a\x00\x80\0\0\0\0\x00\x82\0\0\0\0bc\x80\x81\0\0\0\0d");
    assert_eq!(receiver.binary(), b"abcd");
    // "é" cut in two.
    sender.write(b"\x01\x81\0\0\0\0\xc3\x80\x81\0\0\0\0\xa9");
    assert_eq!(receiver.text(), "é");
    for byte in b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58" {
        sender.write(&[*byte]);
    }
    assert_eq!(receiver.text(), "Hello");
}

/// Sends messages and ends its side of the socket at once, while it could still read.
fn says_all_and_ends(server: &Server, channel: &Channel, messages: usize) -> Ws {
    let mut client = server.join_as(channel, "&echo=false");
    let mut bytes = Vec::new();
    for number in 0..messages {
        let text = format!("{number:06}");
        bytes.extend([0x81, 0x80 | text.len() as u8, 0, 0, 0, 0]);
        bytes.extend(text.as_bytes());
    }
    client.write(&bytes);
    client.socket.get_ref().finish();
    client
}

pub fn a_client_that_ends_its_side_is_gone_and_what_it_sent_is_not_lost(runtime: &Runtime) {
    // The second time it is paused while its end arrives.
    for settings in [&[][..], &["WRS_MAX_MESSAGE_RATE=200"]] {
        let server = runtime.start(settings);
        let channel = server.create(r#"{"pattern":"pub-sub","clientLimit":2}"#);
        let mut witness = server.join(&channel);
        let mut ended = says_all_and_ends(&server, &channel, 300);
        for number in 0..300 {
            assert_eq!(witness.text(), format!("{number:06}"));
        }
        until("its seat is free", || (server.clients(&channel) == 1).then_some(()));
        assert_eq!(ended.recv(), Got::Lost, "without a close frame: it has sent none");
        let mut next = server.join(&channel);
        next.send("in its seat");
        assert_eq!(witness.text(), "in its seat");
    }
}

pub fn a_close_is_answered_to_a_client_that_has_ended_its_side(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    let mut client = server.join(&channel);
    client.write(b"\x81\x82\0\0\0\0hi\x88\x82\0\0\0\0\x0f\xa0");
    client.socket.get_ref().finish();
    assert_eq!(client.text(), "hi", "what is owed to it is sent");
    assert_eq!(client.closed(), 4000);
    assert_eq!(server.clients(&channel), 0);
}

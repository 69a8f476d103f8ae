//! TLS: REST and WebSockets by it, certificates read again, and everything that is no TLS on its port.

use std::io::Write;
use std::time::Duration;

use wrs_tests::real::{Certificate, Got, Http, Runtime, Server, Stream, until};

fn encrypted(runtime: &Runtime, certificate: &Certificate, more: &[&str]) -> Server {
    let (cert, key) = (certificate.cert_setting(), certificate.key_setting());
    let settings = [&["--ssl", &cert, &key], more].concat();
    runtime.start(&settings).trusting(certificate)
}

pub fn rest_and_websockets_work_by_tls(runtime: &Runtime) {
    let certificate = Certificate::new();
    let server = encrypted(runtime, &certificate, &[]);
    assert!(server.log()[0].contains("https://127.0.0.1:"), "{:?}", server.log());
    assert_eq!(server.get("/channels").status, 200);
    let channel = server.channel("pub-sub");
    let mut clients: Vec<_> = (0..4).map(|_| server.join(&channel)).collect();
    clients[0].send("by wss");
    for client in &mut clients {
        assert_eq!(client.text(), "by wss");
    }
    assert!(server.get("/").text().contains("https://"), "links on pages use https");
    let mut http = server.http();
    for _ in 0..20 {
        assert_eq!(http.call("GET", &channel.resource(), "").status, 200);
    }
    assert_eq!(server.delete(&channel.resource()).status, 200);
    assert!(clients.iter_mut().all(|client| client.closed() == 4404));
}

#[cfg(unix)]
pub fn certificates_are_read_again_on_sighup(runtime: &Runtime) {
    let mut certificate = Certificate::new();
    let server = encrypted(runtime, &certificate, &[]);
    let channel = server.channel("echo");
    let mut old = server.join(&channel);
    certificate.replace();
    server.signal("HUP");
    server.logged("certificates-read");
    let server = server.trusting(&certificate);
    until("every shard has the new certificate", || {
        (0..runtime.shards).all(|_| Stream::encrypted(server.port, certificate.client()).is_ok()).then_some(())
    });
    assert_eq!(server.get("/channels").status, 200);
    old.send("the connection from before goes on");
    assert_eq!(old.text(), "the connection from before goes on");
}

#[cfg(unix)]
pub fn a_bad_certificate_leaves_the_old_one(runtime: &Runtime) {
    let certificate = Certificate::new();
    let server = encrypted(runtime, &certificate, &[]);
    std::fs::write(certificate.directory().join("cert.pem"), "no certificate").unwrap();
    server.signal("HUP");
    server.logged("certificates-refused");
    assert_eq!(server.get("/channels").status, 200);
}

#[cfg(not(unix))]
pub fn certificates_are_read_again_on_sighup(_runtime: &Runtime) {}

#[cfg(not(unix))]
pub fn a_bad_certificate_leaves_the_old_one(_runtime: &Runtime) {}

pub fn plain_http_on_the_tls_port_harms_nobody(runtime: &Runtime) {
    let certificate = Certificate::new();
    let server = encrypted(runtime, &certificate, &[]);
    let mut http = Http::new(Stream::plain(server.port));
    http.send("GET", "/channels", &[], "");
    let rest = http.rest();
    assert!(!rest.starts_with(b"HTTP/1.1 2"), "nothing is served without TLS: {rest:?}");
    assert_eq!(server.get("/channels").status, 200);
}

pub fn rubbish_on_the_tls_port_harms_nobody(runtime: &Runtime) {
    let certificate = Certificate::new();
    let server = encrypted(runtime, &certificate, &[]);
    let channel = server.channel("echo");
    let mut client = server.join(&channel);
    for bytes in [&b"\0\0\0\0\0\0\0\0"[..], b"\x16\x03\x01\x00\x05hello", b"\x17\x03\x03\xff\xff", &[0xff; 5000]] {
        let mut stream = Stream::plain(server.port);
        let _ = stream.write_all(bytes);
        stream.finish();
        Http::new(stream).rest();
    }
    client.send("still here");
    assert_eq!(client.text(), "still here");
    assert_eq!(server.get("/readyz").status, 200);
}

/// "A head that takes longer than `WRS_HANDSHAKE_TIMEOUT` from accept (TLS included)".
pub fn a_handshake_that_takes_too_long_is_cut_off(runtime: &Runtime) {
    let certificate = Certificate::new();
    let server = encrypted(runtime, &certificate, &["WRS_HANDSHAKE_TIMEOUT=300"]);
    let start = std::time::Instant::now();
    let mut stream = Stream::plain(server.port);
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00").unwrap();
    Http::new(stream).rest();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(5), "{took:?}");
    let mut shaken = server.http();
    shaken.write("GET /channels HTTP/1.1\r\nHost: a\r\n");
    shaken.read().problem(408);
}

pub fn large_messages_pass_by_tls(runtime: &Runtime) {
    let certificate = Certificate::new();
    let server = encrypted(runtime, &certificate, &[]);
    let channel = server.channel("pub-sub");
    let (mut sender, mut receiver) = (server.join_as(&channel, "&echo=false"), server.join(&channel));
    for size in [1, 16_384, 65_536, 1 << 20] {
        let bytes: Vec<u8> = (0..size).map(|place: u32| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        sender.send_binary(&bytes);
        assert!(receiver.binary() == bytes, "{size} bytes");
    }
}

#[cfg(unix)]
pub fn a_drain_by_tls_says_1001(runtime: &Runtime) {
    let certificate = Certificate::new();
    let mut server = encrypted(runtime, &certificate, &[]);
    let channel = server.channel("echo");
    let mut clients: Vec<_> = (0..4).map(|_| server.join(&channel)).collect();
    server.signal("TERM");
    assert!(clients.iter_mut().all(|client| client.closed() == 1001));
    assert_eq!(server.wait().code(), Some(0));
}

#[cfg(not(unix))]
pub fn a_drain_by_tls_says_1001(_runtime: &Runtime) {}

pub fn a_client_that_ends_its_side_by_tls_is_gone(runtime: &Runtime) {
    let certificate = Certificate::new();
    let server = encrypted(runtime, &certificate, &[]);
    let channel = server.channel("pub-sub");
    let mut witness = server.join(&channel);
    for notified in [true, false] {
        let mut client = server.join_as(&channel, "&echo=false");
        client.send("the last word");
        if let (Stream::Encrypted(stream), true) = (client.socket.get_mut(), notified) {
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
        client.socket.get_ref().finish();
        assert_eq!(witness.text(), "the last word");
        until("its seat is free", || (server.clients(&channel) == 1).then_some(()));
        assert_eq!(client.recv(), Got::Lost);
    }
}

//! HTTP/1.1 on the wire: connections, bodies, rubbish and patience.

use std::io::Write;
use std::time::{Duration, Instant};

use wrs_tests::real::{Http, Runtime, Server};

const ECHO: &str = r#"{"pattern":"echo"}"#;

/// After any abuse the server goes on as if nothing had happened.
fn is_well(server: &Server) {
    assert_eq!(server.get("/readyz").status, 200);
}

/// The connection has been ended by the server.
fn is_over(mut http: Http) {
    http.ends();
}

pub fn a_connection_carries_many_requests(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let mut http = server.http();
    for _ in 0..50 {
        let id = http.call("POST", "/channels", ECHO).json()["data"]["id"].as_str().unwrap().to_owned();
        assert_eq!(http.call("GET", &format!("/channels/{id}"), "").status, 200);
        assert_eq!(http.call("DELETE", &format!("/channels/{id}"), "").status, 200);
        http.call("GET", &format!("/channels/{id}"), "").problem(404);
    }
    assert_eq!(http.call("GET", "/channels", "").json()["data"].as_array().unwrap().len(), 0);
}

pub fn requests_are_answered_in_their_order(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    let mut http = server.http();
    let mut batch = String::new();
    for round in 0..40 {
        batch += "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
        batch += &format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", channel.resource());
        batch += "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n";
        batch += &format!("POST /channels HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{ECHO}", ECHO.len());
        batch += &format!("GET /channels?limit={} HTTP/1.1\r\nHost: a\r\n\r\n", round + 1);
        batch += "OPTIONS /channels HTTP/1.1\r\nHost: a\r\n\r\n";
    }
    http.write(&batch);
    for round in 0..40 {
        assert_eq!(http.read().status, 200);
        assert_eq!(http.read().json()["data"]["id"], channel.id.as_str());
        assert_eq!(http.read().status, 404);
        assert_eq!(http.read().status, 201);
        assert_eq!(http.read().json()["data"].as_array().unwrap().len(), round + 1);
        assert_eq!(http.read().status, 204);
    }
}

pub fn a_client_may_end_the_connection(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let mut http = server.http();
    http.send("GET", "/channels", &[("Connection", "close")], "");
    let response = http.read();
    assert_eq!((response.status, response.header("Connection")), (200, Some("close")));
    is_over(http);
}

pub fn http_1_0_ends_the_connection(runtime: &Runtime) {
    let server = runtime.start(&[]);
    for path in ["/healthz", "/channels"] {
        let mut http = server.http();
        http.write(format!("GET {path} HTTP/1.0\r\n\r\n"));
        let response = http.read();
        assert_eq!(response.status, 200);
        assert_eq!(response.header("Transfer-Encoding"), None, "HTTP/1.0 knows no chunks");
        is_over(http);
    }
    let mut http = server.http();
    http.write("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(http.read().status, 200);
    assert_eq!(http.call("GET", "/healthz", "").status, 200, "the client asked for more");
}

pub fn a_chunked_body_is_a_body(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let mut http = server.http();
    let head = "POST /channels HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "12\r\n{\"pattern\":\"echo\"}\r\n0\r\n\r\n",
        "1\r\n{\r\n10;name=value\r\n\"pattern\":\"echo\"\r\n1\r\n}\r\n000\r\nTrailer: x\r\n\r\n",
    ] {
        http.write(format!("{head}{body}"));
        assert_eq!(http.read().status, 201, "{body}");
    }
    for broken in ["x\r\n", "-1\r\n", "12\r\n{\"pattern\":\"echo\"}0\r\n\r\n", "ffffffffffffffffff\r\n", "12\n"] {
        let mut http = server.http();
        http.write(format!("{head}{broken}"));
        let response = http.read();
        assert!(matches!(response.status, 400 | 413), "{broken}: {}", response.status);
        is_over(http);
    }
    is_well(&server);
}

pub fn a_body_waits_for_100_continue(runtime: &Runtime) {
    let server = runtime.start(&["WRS_MAX_BODY_SIZE=100"]);
    let mut http = server.http();
    let head = |length: usize, expect: &str| {
        format!("POST /channels HTTP/1.1\r\nHost: a\r\nExpect: {expect}\r\nContent-Length: {length}\r\n\r\n")
    };
    http.write(head(ECHO.len(), "100-continue"));
    assert_eq!(http.read().status, 100);
    http.write(ECHO);
    assert_eq!(http.read().status, 201);
    http.write(head(ECHO.len(), "a-miracle"));
    http.read().problem(417);
    let mut large = server.http();
    large.write(head(101, "100-continue"));
    large.read().problem(413);
}

pub fn shapes_of_smuggling_are_refused(runtime: &Runtime) {
    let server = runtime.start(&[]);
    for fields in [
        "Host: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked",
        "Host: a\r\nContent-Length: 4\r\nContent-Length: 5",
        "Host: a\r\nContent-Length: 4, 4",
        "Host: a\r\nContent-Length: +4",
        "Host: a\r\nContent-Length: 0x4",
        "Host: a\r\nContent-Length: 99999999999999999999",
        "Host: a\r\nTransfer-Encoding: chunked, identity",
        "Host: a\r\nTransfer-Encoding: xchunked",
        "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Host: a\r\nTransfer-Encoding : chunked",
        "Host: a\r\nTransfer-Encoding:\x0bchunked",
        "Host: a\r\n Transfer-Encoding: chunked",
        "Host: a\r\nContent-Length: 4\nX: y",
        "Host: a\r\nHost: b",
        "Host: a b",
        "X: y",
        "Host: a\r\nX\x00: y",
    ] {
        let mut http = server.http();
        http.write(format!("POST /channels HTTP/1.1\r\n{fields}\r\n\r\nabcdGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = http.read();
        assert!(matches!(response.status, 400 | 413 | 501), "{fields:?}: {}", response.status);
        response.problem(response.status);
        assert_eq!(response.header("Connection"), Some("close"), "{fields:?}");
        is_over(http);
    }
    is_well(&server);
}

pub fn rubbish_is_refused_and_harms_nobody(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    let mut client = server.join(&channel);
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for (bytes, status) in [
        (&hello[..], 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"\0\0\0\0\0\0\0\0\r\n\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"hello, is there anybody in there?\r\n\r\n", 400),
    ] {
        let mut http = server.http();
        http.write(bytes);
        http.read().problem(status);
        is_over(http);
    }
    let mut noise = 1u32;
    for _ in 0..30 {
        let bytes: Vec<u8> = (0..500).map(|_| (noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223), (noise >> 24) as u8).1).collect();
        let mut http = server.http();
        let _ = http.stream.write_all(&bytes);
        http.stream.finish();
        http.rest();
    }
    client.send("still here");
    assert_eq!(client.text(), "still here");
    is_well(&server);
}

pub fn a_head_that_drips_is_cut_off(runtime: &Runtime) {
    let server = runtime.start(&["WRS_HANDSHAKE_TIMEOUT=400"]);
    let mut http = server.http();
    let start = Instant::now();
    http.write("GET /channels HTTP/1.1\r\nHost: a\r\n");
    // Bytes that keep coming do not prolong it; writing may fail once the server has had enough.
    while start.elapsed() < Duration::from_millis(1_200) {
        if http.stream.write_all(b"X: y\r\n").is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    http.read().problem(408);
    is_over(http);
    is_well(&server);
}

pub fn a_body_that_drips_is_cut_off(runtime: &Runtime) {
    let server = runtime.start(&["WRS_HANDSHAKE_TIMEOUT=400"]);
    let mut http = server.http();
    let start = Instant::now();
    http.write("POST /channels HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n");
    while start.elapsed() < Duration::from_millis(1_200) {
        if http.stream.write_all(b" ").is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    http.read().problem(408);
    is_over(http);
    is_well(&server);
}

pub fn a_connection_that_says_nothing_is_ended(runtime: &Runtime) {
    let server = runtime.start(&["WRS_HANDSHAKE_TIMEOUT=200"]);
    let start = Instant::now();
    let mut http = server.http();
    http.read().problem(408);
    is_over(http);
    assert!(start.elapsed() >= Duration::from_millis(190));
}

/// A connection that is reset has its number in the system given to the next: no byte of that one is taken for it.
pub fn resets_take_nothing_from_the_connections_that_follow(runtime: &Runtime) {
    let server = runtime.start(&["WRS_HANDSHAKE_TIMEOUT=2000"]);
    for _ in 0..500 {
        let mut resetting: Vec<_> = (0..3).map(|_| server.http()).collect();
        for http in &mut resetting {
            // An answer that is not read when the socket is closed makes a reset of its end.
            http.write("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
            assert!(http.stream.socket().peek(&mut [0]).unwrap() > 0);
        }
        drop(resetting);
        assert_eq!(server.get("/healthz").status, 200);
    }
}

pub fn an_idle_connection_is_ended(runtime: &Runtime) {
    let server = runtime.start(&["WRS_KEEPALIVE_TIMEOUT=300", "WRS_HANDSHAKE_TIMEOUT=5000"]);
    let mut http = server.http();
    assert_eq!(http.call("GET", "/healthz", "").status, 200);
    let start = Instant::now();
    is_over(http);
    let idle = start.elapsed();
    assert!(idle >= Duration::from_millis(290) && idle < Duration::from_secs(4), "{idle:?}");
}

/// "The node reads and discards for up to 1 s, so that the answer arrives": a socket that is closed with unread bytes is
/// reset, and the reset overtakes the answer.
pub fn an_answer_arrives_though_the_client_goes_on_sending(runtime: &Runtime) {
    let server = runtime.start(&[]);
    for _ in 0..5 {
        let mut http = server.http();
        http.write("POST /channels HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n");
        let piece = vec![b' '; 64 << 10];
        for _ in 0..20 {
            if http.stream.write_all(&piece).is_err() {
                break;
            }
        }
        http.read().problem(413);
    }
    is_well(&server);
}

pub fn a_client_that_has_said_all_gets_its_answer(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let mut http = server.http();
    http.send("POST", "/channels", &[], ECHO);
    http.send("GET", "/channels", &[], "");
    http.stream.finish();
    assert_eq!(http.read().status, 201);
    assert_eq!(http.read().json()["data"].as_array().unwrap().len(), 1);
    is_over(http);
}

pub fn a_request_cut_anywhere_is_the_same_request(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let mut http = server.http();
    let request = format!("\r\nPOST /channels HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{ECHO}", ECHO.len());
    for byte in request.as_bytes() {
        http.write([*byte]);
    }
    assert_eq!(http.read().status, 201);
    for cut in (1..request.len()).step_by(7) {
        let (front, back) = request.split_at(cut);
        http.write(front);
        http.write(back);
        assert_eq!(http.read().status, 201, "cut at {cut}");
    }
}

//! The way to a WebSocket: the handshake, its checks in their order, tokens, subprotocols, origins.

use std::collections::BTreeSet;

use wrs_tests::real::{Runtime, upgrade_request};

pub fn a_handshake_is_answered_as_rfc_6455_says(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    let response = server.ask(&channel.path(""), &[]);
    assert_eq!(response.status, 101);
    assert_eq!(response.header("Upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
    assert_eq!(response.header("Connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    // RFC 6455 section 1.3 has this key and this answer.
    assert_eq!(response.header("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for absent in ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Content-Length"] {
        assert_eq!(response.header(absent), None);
    }
    assert!(response.header("WRS-Client-Id").is_some_and(|id| !id.is_empty()));
    let spelt = [("Connection", "keep-alive, UPGRADE"), ("Upgrade", "WebSocket")];
    assert_eq!(server.ask(&channel.path(""), &spelt).status, 101);
}

pub fn every_client_has_a_name_of_its_own(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("pub-sub");
    let mut names = BTreeSet::new();
    for round in 0..40 {
        let client = server.join(&channel);
        assert!(names.insert(client.id()), "round {round}: a name was used again");
        assert_eq!(client.leave(1000), 1000);
    }
}

pub fn checks_come_in_the_contracts_order(runtime: &Runtime) {
    let settings = [
        "WRS_AUTH=true",
        "WRS_AUTH_TOKEN=api",
        "WRS_ALLOWED_ORIGINS=https://good.example",
        "WRS_MAX_CLIENTS=2",
        "WRS_MAX_CLIENTS_PER_ADDRESS=0",
    ];
    let server = runtime.start(&settings);
    let create = |body: &str| {
        let response = server.send("POST", "/channels", &[("Authorization", "Bearer api")], body);
        let answer = response.json();
        (answer["data"]["id"].as_str().unwrap().to_owned(), answer["token"].as_str().unwrap().to_owned())
    };
    let (id, token) = create(r#"{"pattern":"echo","clientLimit":1}"#);
    let (other, other_token) = create(r#"{"pattern":"echo"}"#);
    let path = |id: &str, query: &str| format!("/channels/{id}/connect?{query}");
    let good = format!("token={token}&auth=api");
    // Every request is wrong in all that comes later too, so that each answer shows who came first.
    let nothing = [("Upgrade", ""), ("Origin", "https://bad.example")];
    assert_eq!(server.ask(&path("0000-0000", ""), &nothing).status, 401, "API rule");
    assert_eq!(server.ask(&path("0000-0000", "auth=api"), &nothing).status, 404, "no such channel");
    assert_eq!(server.ask(&path(&id, "auth=api"), &nothing).status, 401, "no token");
    assert_eq!(server.ask(&path(&id, &format!("auth=api&token={other_token}")), &nothing).status, 401, "wrong token");
    assert_eq!(server.ask(&path(&id, &good), &nothing).status, 426, "no upgrade");
    let bad_key = [("Sec-WebSocket-Key", "short"), ("Origin", "https://bad.example")];
    assert_eq!(server.ask(&path(&id, &good), &bad_key).status, 400, "bad handshake");
    let first = server.connect(&path(&id, &good), &[]);
    let second = server.connect(&path(&other, &format!("token={other_token}&auth=api")), &[]);
    assert_eq!(server.ask(&path(&id, &good), &[("Origin", "https://bad.example")]).status, 403, "origin");
    let full = server.ask(&path(&id, &good), &[("Origin", "https://good.example")]);
    full.problem(503);
    assert!(full.header("Retry-After").is_some(), "node limit");
    assert_eq!(second.leave(1000), 1000);
    server.ask(&path(&id, &good), &[]).problem(429);
    assert_eq!(first.leave(1000), 1000);
    drop(server.connect(&path(&id, &good), &[]));
}

pub fn a_bad_handshake_is_400(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    for headers in [
        &[("Connection", "keep-alive")][..],
        &[("Connection", "")],
        &[("Sec-WebSocket-Version", "")],
        &[("Sec-WebSocket-Key", "")],
        &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZQ==")],
        &[("Sec-WebSocket-Key", "not base64 at all, not!!")],
        &[("Sec-WebSocket-Protocol", "two words")],
        &[("Sec-WebSocket-Protocol", "a\"b")],
        &[("Sec-WebSocket-Extensions", "x; y=\"")],
    ] {
        server.ask(&channel.path(""), headers).problem(400);
    }
    assert_eq!(server.clients(&channel), 0);
}

pub fn another_version_is_426_and_told_which(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    for version in ["8", "12", "14", "x"] {
        let response = server.ask(&channel.path(""), &[("Sec-WebSocket-Version", version)]);
        response.problem(426);
        assert_eq!(response.header("Sec-WebSocket-Version"), Some("13"), "{version}");
    }
    let plain = server.get(&channel.path(""));
    plain.problem(426);
    assert_eq!(plain.header("Upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
    assert_eq!(server.ask(&channel.path(""), &[("Upgrade", "h2c")]).status, 426);
    assert_eq!(server.send("HEAD", &channel.path(""), &[], "").status, 426);
}

pub fn the_token_may_stand_in_any_of_its_places(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    let bare = format!("{}/connect", channel.resource());
    let token = &channel.token;
    let status = |query: &str, headers: &[(&str, &str)]| server.ask(&format!("{bare}{query}"), headers).status;
    let bearer = format!("Bearer {token}");
    let protocol = format!("wrs.token.{token}");
    assert_eq!(status(&format!("?token={token}"), &[]), 101);
    assert_eq!(status("", &[("Authorization", &bearer)]), 101);
    assert_eq!(status("", &[("Authorization", &format!("bearer {token}"))]), 101, "a scheme has no case");
    assert_eq!(status("", &[("Sec-WebSocket-Protocol", &protocol)]), 101);
    assert_eq!(status("?token=wrong", &[("Sec-WebSocket-Protocol", &format!("chat, {protocol}"))]), 101, "one suffices");
    assert_eq!(status("", &[]), 401);
    assert_eq!(status("?token=", &[]), 401);
    assert_eq!(status("?token=wrong", &[]), 401);
    assert_eq!(status(&format!("?token={token}0"), &[]), 401);
    assert_eq!(status(&format!("?token={}", &token[1..]), &[]), 401);
    assert_eq!(status("", &[("Authorization", &format!("Basic {token}"))]), 401);
    assert_eq!(status(&format!("?auth={token}"), &[]), 401, "the API token's place");
    assert_eq!(status("", &[("Sec-WebSocket-Protocol", &format!("wrs.auth.{token}"))]), 401);
    let refused = server.ask(&bare, &[]);
    refused.problem(401);
    assert!(refused.header("WWW-Authenticate").is_some());
}

pub fn subprotocols_are_negotiated(runtime: &Runtime) {
    let server = runtime.start(&["WRS_AUTH=true", "WRS_AUTH_TOKEN=api", "WRS_AUTH_RESOURCES=GET:/channels"]);
    let channel = server.channel("echo");
    let bare = format!("{}/connect", channel.resource());
    let (token, auth) = (format!("wrs.token.{}", channel.token), "wrs.auth.api");
    for (offered, confirmed) in [
        (format!("{token}, {auth}, chat, mqtt"), "chat".to_owned()),
        (format!("mqtt,{token},{auth}"), "mqtt".to_owned()),
        (format!("{auth}, {token}"), token.clone()),
        (format!("{token}, {auth}"), token.clone()),
    ] {
        let response = server.ask(&bare, &[("Sec-WebSocket-Protocol", &offered)]);
        assert_eq!((response.status, response.header("Sec-WebSocket-Protocol")), (101, Some(confirmed.as_str())));
    }
    let rest = format!("{}&auth=api", channel.path(""));
    let response = server.ask(&rest, &[("Sec-WebSocket-Protocol", "v2, v1")]);
    assert_eq!(response.header("Sec-WebSocket-Protocol"), Some("v2"));
    let response = server.ask(&channel.path(""), &[("Sec-WebSocket-Protocol", auth)]);
    assert_eq!(response.header("Sec-WebSocket-Protocol"), Some(auth), "all are tokens");
    assert_eq!(server.ask(&rest, &[]).header("Sec-WebSocket-Protocol"), None);
}

pub fn origins_are_checked_for_pages_alone(runtime: &Runtime) {
    let server = runtime.start(&["WRS_ALLOWED_ORIGINS=https://a.example http://localhost:3000"]);
    let channel = server.channel("echo");
    let status = |headers: &[(&str, &str)]| server.ask(&channel.path(""), headers).status;
    assert_eq!(status(&[]), 101, "no page");
    assert_eq!(status(&[("Origin", "https://a.example")]), 101);
    assert_eq!(status(&[("Origin", "http://localhost:3000")]), 101);
    for bad in ["https://b.example", "http://a.example", "https://a.example.evil", "http://localhost", "null"] {
        assert_eq!(status(&[("Origin", bad)]), 403, "{bad}");
    }
    let open = runtime.start(&[]);
    let channel = open.channel("echo");
    assert_eq!(open.ask(&channel.path(""), &[("Origin", "null")]).status, 101);
}

pub fn messages_behind_the_handshake_are_not_lost(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    let mut http = server.http();
    let mut bytes = upgrade_request(&channel.path(""), &[]).into_bytes();
    // "Hello", masked (RFC 6455 section 5.7), and a masked close without a code.
    bytes.extend_from_slice(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    bytes.extend_from_slice(b"\x88\x80\x00\x00\x00\x00");
    http.write(bytes);
    assert_eq!(http.read().status, 101);
    assert_eq!(http.rest(), b"\x81\x05Hello\x88\x00");
}

pub fn a_refused_client_may_ask_again_on_the_same_connection(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.create(r#"{"pattern":"echo","clientLimit":1}"#);
    let first = server.join(&channel);
    let mut http = server.http();
    http.write(upgrade_request(&channel.path(""), &[]));
    http.read().problem(429);
    http.write(upgrade_request(&format!("{}x", channel.path("")), &[]));
    http.read().problem(401);
    assert_eq!(first.leave(1000), 1000);
    http.write(upgrade_request(&channel.path(""), &[]));
    assert_eq!(http.read().status, 101);
}

//! The REST API: every resource, status and header of the contract's table.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wrs_tests::real::{Runtime, Server};

const DAY_MS: u64 = 86_400_000;
const MOST: u64 = 1 << 53;

pub fn a_channel_is_created_as_its_creator_wants_it(runtime: &Runtime) {
    let server = runtime.start(&[]);
    for (body, timeout, limit) in [
        (json!({"pattern": "echo"}), json!(DAY_MS), json!(-1)),
        (json!({"pattern": "pub-sub", "timeout": 5_000, "clientLimit": 3}), json!(5_000), json!(3)),
        (json!({"pattern": "push-pull", "timeout": -1, "clientLimit": -1}), json!(-1), json!(-1)),
        (json!({"pattern": "req-repl", "timeout": null, "clientLimit": null}), json!(DAY_MS), json!(-1)),
        (json!({"pattern": "fan-in-out", "timeout": MOST, "clientLimit": MOST}), json!(MOST), json!(MOST)),
        (json!({"pattern": "echo", "clientLimit": 0, "unknown": {"a": [1]}, "auth": 5}), json!(DAY_MS), json!(0)),
    ] {
        let response = server.post("/channels", &body.to_string());
        assert_eq!(response.status, 201, "{body}: {}", response.text());
        assert_eq!(response.header("Content-Type"), Some("application/json; charset=utf-8"));
        let answer = response.json();
        let channel = &answer["data"];
        let id = channel["id"].as_str().unwrap();
        assert_eq!(response.header("Location"), Some(format!("/channels/{id}").as_str()));
        let groups: Vec<&str> = id.split('-').collect();
        let upper_hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
        assert!(groups.len() == 2 && groups.iter().all(|group| group.len() == 4 && upper_hex(group)), "{id}");
        let token = answer["token"].as_str().unwrap();
        assert!(token.len() == 16 && token.bytes().all(|b| b.is_ascii_hexdigit()), "the token has 16 hex digits");
        assert!(answer["message"].is_string());
        assert_eq!(answer.as_object().unwrap().len(), 3, "{answer}");
        let countdown = channel["countdown"].clone();
        match timeout.as_i64() {
            Some(-1) => assert_eq!(countdown, -1),
            _ => assert!(countdown.as_u64().unwrap() <= timeout.as_u64().unwrap(), "{channel}"),
        }
        let wanted = json!({
            "id": id, "port": server.port, "pattern": body["pattern"], "timeout": timeout, "countdown": countdown,
            "clientLimit": limit, "clients": 0,
        });
        assert_eq!(*channel, wanted);
    }
    let lengths = runtime.start(&["WRS_ID_LENGTH=6", "WRS_TOKEN_LENGTH=40", "WRS_PUBLIC_API_PORT=443"]);
    let answer = lengths.post("/channels", r#"{"pattern":"echo"}"#).json();
    assert_eq!(answer["data"]["id"].as_str().unwrap().len(), 13);
    assert_eq!(answer["token"].as_str().unwrap().len(), 40);
    assert_eq!(answer["data"]["port"], 443);
}

pub fn a_wrong_member_is_refused_and_named(runtime: &Runtime) {
    let server = runtime.start(&[]);
    for (body, name) in [
        ("", "pattern"),
        ("{}", "pattern"),
        (r#"{"pattern":"nope"}"#, "pattern"),
        (r#"{"pattern":null}"#, "pattern"),
        (r#"{"pattern":7}"#, "pattern"),
        (r#"{"pattern":"echo","timeout":-2}"#, "timeout"),
        (r#"{"pattern":"echo","timeout":1.0}"#, "timeout"),
        (r#"{"pattern":"echo","timeout":1e3}"#, "timeout"),
        (r#"{"pattern":"echo","timeout":"5"}"#, "timeout"),
        (r#"{"pattern":"echo","timeout":9007199254740993}"#, "timeout"),
        (r#"{"pattern":"echo","clientLimit":-2}"#, "clientLimit"),
        (r#"{"pattern":"echo","clientLimit":true}"#, "clientLimit"),
        (r#"{"pattern":"echo","clientLimit":9007199254740993}"#, "clientLimit"),
        ("{", "malformed"),
        ("[]", "object"),
        ("pattern=echo", "object"),
    ] {
        let detail = server.post("/channels", body).problem(400);
        assert!(detail.contains(name), "{body}: {detail}");
    }
    assert_eq!(server.get("/channels").json()["data"], json!([]), "bad input changes nothing");
}

pub fn a_body_of_another_type_is_refused(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let send = |given: &str| {
        let headers = [("Content-Type", given)];
        let kept = if given.is_empty() { &[][..] } else { &headers[..] };
        server.send("POST", "/channels", kept, r#"{"pattern":"echo"}"#)
    };
    for good in ["", "application/json", "Application/JSON; charset=utf-8", "application/x-www-form-urlencoded"] {
        assert_eq!(send(good).status, 201, "{good}");
    }
    for bad in ["text/plain", "application/xml", "multipart/form-data; boundary=x"] {
        send(bad).problem(415);
    }
}

pub fn both_spellings_name_one_resource(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let response = server.post("/channel", r#"{"pattern":"echo"}"#);
    assert_eq!(response.status, 201);
    let answer = response.json();
    let (id, token) = (answer["data"]["id"].as_str().unwrap(), answer["token"].as_str().unwrap());
    assert_eq!(response.header("Location"), Some(format!("/channels/{id}").as_str()));
    for path in ["/channel", "/channels", "//channels", "/%63hannels", "/x/../channels", "/channels/"] {
        assert_eq!(server.get(path).json()["data"][0]["id"], id, "{path}");
        assert_eq!(server.get(&format!("{path}/{id}")).json()["data"]["id"], id, "{path}");
    }
    let mut client = server.connect(&format!("/channel/{id}/connect?token={token}"), &[]);
    client.send("hello");
    assert_eq!(client.text(), "hello");
    assert_eq!(server.delete(&format!("/channel/{id}")).status, 200);
    assert_eq!(client.closed(), 4404);
    server.get(&format!("/channels/{id}")).problem(404);
}

pub fn a_channel_is_shown_and_deleted(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("pub-sub");
    let response = server.get(&channel.resource());
    assert_eq!((response.status, response.header("Content-Type")), (200, Some("application/json; charset=utf-8")));
    let answer = response.json();
    assert!(answer["message"].is_string());
    assert_eq!((&answer["data"]["id"], &answer["data"]["pattern"]), (&json!(channel.id), &json!("pub-sub")));
    let deleted = server.delete(&channel.resource());
    assert_eq!(deleted.status, 200);
    assert!(deleted.json()["message"].is_string());
    server.get(&channel.resource()).problem(404);
    server.delete(&channel.resource()).problem(404);
    for shape in ["/channels/AB", "/channels/ABCD-EFGH", "/channels/ABCDEF01", "/channels/ABCD-EF01-2345"] {
        server.get(shape).problem(404);
        server.delete(shape).problem(404);
    }
}

pub fn the_token_is_shown_once(runtime: &Runtime) {
    let server = runtime.start(&["WRS_DEBUG=true"]);
    let channel = server.channel("echo");
    drop(server.join(&channel));
    server.ask(&format!("{}/connect?token=wrong-{}", channel.resource(), channel.token), &[]).problem(401);
    server.raw(format!("GET {} HTTP/1.1 x\r\n\r\n", channel.path(""))).problem(400);
    for path in [&channel.resource(), "/channels", "/metrics", "/", "/client", "/cluster", "/openapi.json"] {
        assert!(!server.get(path).text().contains(&channel.token), "{path}");
    }
    server.logged("client-refused");
    let log = server.log();
    assert!(log.len() > 4 && !log.iter().any(|line| line.contains(&channel.token)), "{log:?}");
}

pub fn channels_are_listed_in_order_and_in_pages(runtime: &Runtime) {
    let server = runtime.start(&[]);
    assert_eq!(server.get("/channels").json()["data"], json!([]));
    let mut ids: Vec<String> = (0..25).map(|_| server.channel("echo").id).collect();
    ids.sort();
    let listed = |query: &str| -> Vec<String> {
        let response = server.get(&format!("/channels{query}"));
        assert_eq!(response.header("Content-Type"), Some("application/json; charset=utf-8"));
        let answer = response.json();
        assert!(answer["message"].is_string());
        let channels = answer["data"].as_array().unwrap();
        channels.iter().map(|channel| channel["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(""), ids);
    assert_eq!(listed("?limit=4"), ids[..4]);
    assert_eq!(listed("?limit=0"), [] as [&str; 0]);
    assert_eq!(listed("?limit=99999999999999"), ids);
    let mut paged = Vec::new();
    loop {
        let after = paged.last().map(|id| format!("&after={id}")).unwrap_or_default();
        let page = listed(&format!("?limit=10{after}"));
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, ids);
    // One that has gone is as good a place as any.
    server.delete(&format!("/channels/{}", ids[3]));
    assert_eq!(listed(&format!("?after={}&limit=2", ids[3])), ids[4..6]);
    for query in ["?limit=-1", "?limit=x", "?after=x"] {
        server.get(&format!("/channels{query}")).problem(400);
    }
}

pub fn a_long_list_goes_at_its_readers_pace(runtime: &Runtime) {
    const CHANNELS: usize = 4_000;
    let server = runtime.start(&[]);
    let mut http = server.http();
    for _ in 0..CHANNELS / 100 {
        let body = r#"{"pattern":"echo"}"#;
        let one = format!("POST /channels HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        http.write(one.repeat(100));
        for _ in 0..100 {
            assert_eq!(http.read().status, 201);
        }
    }
    let mut slow = server.http();
    slow.send("GET", "/channels", &[], "");
    let mut first = [0; 100];
    slow.stream.read_exact(&mut first).unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200 OK\r\n"));
    // While one reader has read a hundred bytes, others have their answers, a whole list too.
    assert_eq!(http.call("GET", "/healthz", "").status, 200);
    let list = http.call("GET", "/channels", "").json();
    assert_eq!(list["data"].as_array().unwrap().len(), CHANNELS);
    let rest = {
        slow.stream.finish();
        slow.rest()
    };
    let text = String::from_utf8(rest).unwrap();
    assert_eq!(text.matches("\"pattern\":\"echo\"").count(), CHANNELS, "the slow reader gets all of it in the end");
}

pub fn reset_deletes_every_channel(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channels: Vec<_> = (0..5).map(|_| server.channel("pub-sub")).collect();
    let mut clients: Vec<_> = channels.iter().map(|channel| server.join(channel)).collect();
    let response = server.delete("/reset");
    assert_eq!(response.status, 200);
    assert!(response.json()["message"].is_string());
    assert_eq!(server.get("/channels").json()["data"], json!([]));
    for client in &mut clients {
        assert_eq!(client.closed(), 4404);
    }
    assert_eq!(server.delete("/reset").status, 200, "nothing is left to delete");
}

pub fn one_node_is_a_cluster_of_its_own(runtime: &Runtime) {
    let server = runtime.start(&["WRS_MAX_STARTUP_DELAY=0"]);
    let answer = server.get("/cluster").json();
    let data = &answer["data"];
    assert!(answer["message"].is_string());
    assert_eq!((&data["role"], &data["ready"]), (&json!("leader"), &json!(true)));
    assert!(data["term"].as_u64() > Some(0), "{data}");
    assert_eq!(data["leader"], data["id"]);
    let nodes = data["nodes"].as_array().unwrap();
    assert_eq!((nodes.len(), &nodes[0]["id"]), (1, &data["id"]));
    let nobody = server.post("/cluster/join/127.0.0.1:1", "");
    assert!(matches!(nobody.status, 502 | 504), "{}", nobody.status);
    server.post("/cluster/join/not%20an%20address:x", "").problem(400);
    server.delete("/cluster/0123456789ABCDEF").problem(404);
}

pub fn pages_are_html(runtime: &Runtime) {
    let server = runtime.start(&[]);
    for path in ["/", "/readme", "/client", "/docs"] {
        let response = server.get(path);
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.header("Content-Type").unwrap().to_ascii_lowercase(), "text/html; charset=utf-8", "{path}");
        let text = response.text();
        assert!(text.starts_with("<!doctype html>") || text.starts_with("<!DOCTYPE html>"), "{path}");
        for source in text.split("src=\"").skip(1).chain(text.split("<link").skip(1)) {
            let source = source.split('"').next().unwrap();
            assert!(!source.contains("//"), "{path} loads from elsewhere: {source}");
        }
    }
    for asset in server.get("/docs").text().split(&['"', '\''][..]).filter(|text| text.starts_with("/docs/")) {
        assert_eq!(server.get(asset).status, 200, "{asset}");
    }
    server.get("/docs/no-such-file").problem(404);
    let readme = std::env::temp_dir().join(format!("wrs-scenario-readme-{}-{}.md", std::process::id(), server.port));
    std::fs::write(&readme, "# Our *own* guide\n\n<script>alert(1)</script>\n").unwrap();
    let text = runtime.start(&[&format!("WRS_README_PATH={}", readme.display())]).get("/readme").text();
    std::fs::remove_file(&readme).unwrap();
    assert!(text.contains("Our <em>own</em> guide") && !text.contains("<script>alert"), "{text}");
}

pub fn the_openapi_document_describes_every_resource(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let response = server.get("/openapi.json");
    assert!(response.header("Content-Type").unwrap().starts_with("application/json"));
    let document = response.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let paths = document["paths"].as_object().unwrap();
    for wanted in
        ["/channels", "/channels/{id}", "/channels/{id}/connect", "/reset", "/cluster", "/healthz", "/readyz", "/metrics"]
    {
        assert!(paths.contains_key(wanted), "{wanted}");
    }
    for path in paths.keys().filter(|path| !path.contains('{') && *path != "/channels/create") {
        assert_ne!(server.get(path).status, 404, "{path}");
    }
}

pub fn a_node_says_how_it_is(runtime: &Runtime) {
    let server = runtime.start(&["WRS_AUTH=true", "WRS_AUTH_TOKEN=secret"]);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path).status, 200, "{path} is never guarded");
        assert_eq!(server.send("HEAD", path, &[], "").status, 200, "{path}");
    }
    server.get("/metrics").problem(401);
}

pub fn metrics_are_prometheus_text(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    let mut client = server.join(&channel);
    client.send("hello");
    assert_eq!(client.text(), "hello");
    let response = server.get("/metrics");
    assert!(response.header("Content-Type").unwrap().starts_with("text/plain; version=0.0.4"));
    for line in response.text().lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    for (series, wanted) in [
        ("wrs_clients", 1),
        ("wrs_channels", 1),
        ("wrs_channels_created_total", 1),
        ("wrs_clients_joined_total", 1),
        ("wrs_messages_received_total{pattern=\"echo\"}", 1),
        ("wrs_messages_sent_total", 1),
        ("wrs_message_bytes_received_total", 5),
    ] {
        assert_eq!(server.metric(series), wanted, "{series}");
    }
}

pub fn head_answers_as_get_without_a_body(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    let mut http = server.http();
    for path in ["/channels", &channel.resource(), "/", "/readme", "/openapi.json", "/cluster", "/metrics", "/nothing"] {
        let got = http.call("GET", path, "");
        let head = http.call("HEAD", path, "");
        assert_eq!(head.status, got.status, "{path}");
        assert_eq!(head.header("Content-Type"), got.header("Content-Type"), "{path}");
        if let Some(length) = head.header("Content-Length").filter(|_| path != "/metrics" && path != "/channels") {
            assert!(length.parse::<usize>().unwrap().abs_diff(got.body.len()) <= 4, "{path}");
        }
    }
}

pub fn options_say_what_a_resource_has(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    for (path, wanted) in [
        ("/channels", "GET, HEAD, POST, OPTIONS"),
        (channel.resource().as_str(), "GET, HEAD, DELETE, OPTIONS"),
        ("/reset", "DELETE, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
        ("*", "GET, HEAD, POST, DELETE, OPTIONS"),
    ] {
        let response = server.send("OPTIONS", path, &[], "");
        assert_eq!((response.status, response.header("Allow")), (204, Some(wanted)), "{path}");
    }
    server.send("OPTIONS", "/nothing", &[], "").problem(404);
}

pub fn another_method_is_405_with_allow(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let channel = server.channel("echo");
    let connect = format!("{}/connect", channel.resource());
    for (method, path, wanted) in [
        ("PUT", "/channels", "GET, HEAD, POST, OPTIONS"),
        ("DELETE", "/channels", "GET, HEAD, POST, OPTIONS"),
        ("POST", &channel.resource(), "GET, HEAD, DELETE, OPTIONS"),
        ("PATCH", &channel.resource(), "GET, HEAD, DELETE, OPTIONS"),
        ("POST", &connect, "GET, HEAD, OPTIONS"),
        ("GET", "/reset", "DELETE, OPTIONS"),
        ("POST", "/cluster", "GET, HEAD, OPTIONS"),
        ("GET", "/cluster/join/127.0.0.1:4000", "POST, OPTIONS"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("DELETE", "/healthz", "GET, HEAD, OPTIONS"),
        ("BREW", "/metrics", "GET, HEAD, OPTIONS"),
    ] {
        let response = server.send(method, path, &[], "");
        response.problem(405);
        assert_eq!(response.header("Allow"), Some(wanted), "{method} {path}");
    }
}

pub fn what_is_no_resource_is_404(runtime: &Runtime) {
    let server = runtime.start(&[]);
    for path in ["/nothing", "/channels/0000-0000/nothing", "/channels/create?pattern=echo", "/Channels", "/readme/x"] {
        for method in ["GET", "POST", "DELETE", "PUT"] {
            server.send(method, path, &[], "").problem(404);
        }
    }
    let channel = server.channel("echo");
    server.get(&format!("{}/delete", channel.resource())).problem(404);
    assert!(server.look(&channel).is_some());
}

pub fn every_page_may_use_the_api_by_default(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let origin = ("Origin", "https://app.example");
    let allowed = |headers: &[(&str, &str)], method: &str, path: &str, body: &str| {
        let response = server.send(method, path, headers, body);
        (response.status, response.header("Access-Control-Allow-Origin").map(str::to_owned))
    };
    let any = Some("*".to_owned());
    assert_eq!(allowed(&[origin], "GET", "/channels", ""), (200, any.clone()));
    assert_eq!(allowed(&[], "GET", "/channels", ""), (200, any.clone()));
    assert_eq!(allowed(&[origin], "POST", "/channels", r#"{"pattern":"echo"}"#), (201, any.clone()));
    assert_eq!(allowed(&[origin], "GET", "/nothing", ""), (404, any.clone()), "a page may read why");
    let preflight = [
        origin,
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type,authorization"),
    ];
    let response = server.send("OPTIONS", "/channels", &preflight, "");
    assert_eq!((response.status, response.header("Access-Control-Allow-Origin")), (204, Some("*")));
    assert!(response.header("Access-Control-Allow-Methods").unwrap().contains("POST"));
    let fields = response.header("Access-Control-Allow-Headers").unwrap().to_ascii_lowercase();
    assert!(fields.contains("content-type") && fields.contains("authorization"), "{fields}");
}

pub fn a_list_of_origins_is_kept_to(runtime: &Runtime) {
    let server = runtime.start(&["WRS_CORS_ORIGINS=https://a.example https://b.example:8443"]);
    let (listed, foreign) = (("Origin", "https://b.example:8443"), ("Origin", "https://b.example"));
    let body = r#"{"pattern":"echo"}"#;
    let response = server.send("POST", "/channels", &[listed], body);
    assert_eq!(response.status, 201);
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some("https://b.example:8443"));
    assert_eq!(response.header("Vary"), Some("Origin"));
    let path = format!("/channels/{}", response.json()["data"]["id"].as_str().unwrap());
    for (method, path, body) in [("POST", "/channels", body), ("DELETE", &path, "")] {
        server.send(method, path, &[foreign], body).problem(403);
        server.send(method, path, &[("Origin", "null")], body).problem(403);
    }
    let read = server.send("GET", "/channels", &[foreign], "");
    assert_eq!((read.status, read.header("Access-Control-Allow-Origin")), (200, None), "read, but by no page");
    let preflight = [foreign, ("Access-Control-Request-Method", "POST")];
    assert_eq!(server.send("OPTIONS", "/channels", &preflight, "").header("Access-Control-Allow-Origin"), None);
    assert_eq!(server.post("/channels", body).status, 201, "no page at all");
}

pub fn the_operators_resources_answer_no_foreign_page(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let kept = server.channel("echo");
    let foreign = ("Origin", "https://app.example");
    for (method, path) in [("DELETE", "/reset"), ("GET", "/cluster"), ("POST", "/cluster/join/127.0.0.1:1")] {
        let refused = server.send(method, path, &[foreign], "");
        refused.problem(403);
        assert_eq!(refused.header("Access-Control-Allow-Origin"), None);
        let preflight = [foreign, ("Access-Control-Request-Method", method)];
        assert_eq!(server.send("OPTIONS", path, &preflight, "").status, 403, "{path}");
    }
    assert!(server.look(&kept).is_some());
    let own = [("Host", "relay.example:80"), ("Origin", "http://relay.example")];
    let response = server.send("GET", "/cluster", &own, "");
    assert_eq!((response.status, response.header("Access-Control-Allow-Origin")), (200, None));
    assert_eq!(server.send("DELETE", "/reset", &own, "").status, 200);
}

/// "Once it is sent every node answers accordingly": so every shard does, and connections are dealt to shards in turn.
pub fn a_change_is_seen_everywhere_once_it_is_answered(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let mut conns: Vec<_> = (0..runtime.shards * 2).map(|_| server.http()).collect();
    for round in 0..10 {
        let channel = server.channel("echo");
        for http in &mut conns {
            http.send("GET", &channel.resource(), &[], "");
        }
        assert!(conns.iter_mut().all(|http| http.read().status == 200), "created, round {round}");
        let path = channel.path("");
        assert_eq!(server.delete(&channel.resource()).status, 200);
        for http in &mut conns {
            http.send("GET", &channel.resource(), &[], "");
        }
        assert!(conns.iter_mut().all(|http| http.read().status == 404), "deleted, round {round}");
        server.ask(&path, &[]).problem(404);
    }
}

pub fn ids_never_collide_however_short(runtime: &Runtime) {
    let server = runtime.start(&["WRS_ID_LENGTH=1", "WRS_MAX_CHANNELS=100"]);
    let mut http = server.http();
    let mut ids = BTreeSet::new();
    for _ in 0..100 {
        let response = http.call("POST", "/channels", r#"{"pattern":"echo"}"#);
        assert_eq!(response.status, 201);
        assert!(ids.insert(response.json()["data"]["id"].to_string()), "an id of 256 was given twice");
    }
    let full = http.call("POST", "/channels", r#"{"pattern":"echo"}"#);
    full.problem(503);
    assert!(full.header("Retry-After").is_some());
    let gone = ids.first().unwrap().trim_matches('"').to_owned();
    assert_eq!(http.call("DELETE", &format!("/channels/{gone}"), "").status, 200);
    assert_eq!(http.call("POST", "/channels", r#"{"pattern":"echo"}"#).status, 201, "there is room again");
}

pub fn limits_of_size_have_their_statuses(runtime: &Runtime) {
    let server = runtime.start(&["WRS_MAX_HEADER_SIZE=2KiB", "WRS_MAX_BODY_SIZE=100"]);
    server.get(&format!("/channels?x={}", "x".repeat(3000))).problem(414);
    server.send("GET", "/channels", &[("X", &"x".repeat(3000))], "").problem(431);
    server.post("/channels", &format!(r#"{{"pattern":"echo","x":"{}"}}"#, "x".repeat(100))).problem(413);
    let chunked = "POST /channels HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n";
    server.raw(format!("{chunked}{}", " ".repeat(0x65))).problem(413);
    let start = Instant::now();
    still_serves(&server);
    assert!(start.elapsed() < Duration::from_secs(5));
}

fn still_serves(server: &Server) {
    let body: Value = server.get("/channels").json();
    assert_eq!(body["data"], json!([]));
}

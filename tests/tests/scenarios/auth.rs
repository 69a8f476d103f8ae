//! The API token: where it may stand, what it guards, and that it is never shown.

use wrs_tests::real::{Response, Runtime, Server};

const AUTH: &str = "WRS_AUTH=true";
const TOKEN: &str = "WRS_AUTH_TOKEN=s3cret-api";
const ECHO: &str = r#"{"pattern":"echo"}"#;

fn bearer(server: &Server, method: &str, path: &str, body: &str) -> Response {
    server.send(method, path, &[("Authorization", "Bearer s3cret-api")], body)
}

pub fn the_api_token_may_stand_in_any_of_its_places(runtime: &Runtime) {
    let server = runtime.start(&[AUTH, TOKEN]);
    let create = |query: &str, headers: &[(&str, &str)], body: &str| {
        server.send("POST", &format!("/channels{query}"), headers, body).status
    };
    assert_eq!(create("?auth=s3cret-api", &[], ECHO), 201);
    assert_eq!(create("", &[("Authorization", "Bearer s3cret-api")], ECHO), 201);
    assert_eq!(create("", &[("Authentification", "Bearer s3cret-api")], ECHO), 201);
    assert_eq!(create("", &[], r#"{"pattern":"echo","auth":"s3cret-api"}"#), 201);
    assert_eq!(create("?auth=wrong", &[("Authorization", "Bearer s3cret-api")], ECHO), 201, "one right one suffices");
    for (query, headers, body) in [
        ("", &[][..], ECHO),
        ("?auth=wrong", &[], ECHO),
        ("?auth=", &[], ECHO),
        ("?token=s3cret-api", &[], ECHO),
        ("", &[("Authorization", "Bearer wrong")], ECHO),
        ("", &[("Authorization", "Basic s3cret-api")], ECHO),
        ("", &[("Authentification", "Bearer wrong")], ECHO),
        ("", &[], r#"{"pattern":"echo","auth":"wrong"}"#),
        ("", &[], r#"{"pattern":"echo","auth":["s3cret-api"]}"#),
        ("", &[], r#"{"pattern":"echo","data":{"auth":"s3cret-api"}}"#),
    ] {
        assert_eq!(create(query, headers, body), 401, "{query} {headers:?} {body}");
    }
}

pub fn a_wrong_api_token_is_401_before_anything_else(runtime: &Runtime) {
    let server = runtime.start(&[AUTH, TOKEN]);
    for (method, path, body) in [
        ("POST", "/channels", "{ not json"),
        ("POST", "/channels", r#"{"pattern":"nope"}"#),
        ("GET", "/channels/0000-0000", ""),
        ("DELETE", "/channels/0000-0000", ""),
        ("GET", "/channels/0000-0000/connect?token=x", ""),
        ("GET", "/nothing/at/all", ""),
        ("PUT", "/channels", ""),
        ("DELETE", "/reset", ""),
        ("GET", "/cluster", ""),
        ("POST", "/cluster/join/127.0.0.1:1", ""),
        ("GET", "/", ""),
        ("GET", "/metrics", ""),
    ] {
        let refused = server.send(method, path, &[], body);
        refused.problem(401);
        assert!(refused.header("WWW-Authenticate").is_some_and(|value| value.starts_with("Bearer")), "{method} {path}");
    }
    bearer(&server, "POST", "/channels", "{ not json").problem(400);
    bearer(&server, "GET", "/channels/0000-0000", "").problem(404);
}

pub fn no_spelling_gets_round_a_rule(runtime: &Runtime) {
    for rules in ["GET:/channels", "GET:/channel", "*:/channels", "*/channels"] {
        let server = runtime.start(&[AUTH, TOKEN, &format!("WRS_AUTH_RESOURCES={rules}")]);
        for path in [
            "/channels",
            "/channel",
            "//channels",
            "/channels/",
            "/./channels",
            "/x/../channels",
            "/%63hannels",
            "/channel%73",
            "/%2e/channels",
            "/x/%2e%2e/channels",
            "/channels?x=y",
            "/channels/0000-0000",
            "/channel/0000-0000/connect?token=x",
            "http://localhost/channels",
        ] {
            assert_eq!(server.get(path).status, 401, "{rules} {path}");
            assert_eq!(server.send("HEAD", path, &[], "").status, 401, "{rules} HEAD {path}");
        }
        assert_eq!(server.get("/cluster").status, 200, "{rules}");
    }
}

pub fn rules_guard_what_they_name(runtime: &Runtime) {
    let server = runtime.start(&[AUTH, TOKEN, "WRS_AUTH_RESSOURCES=DELETE:/channels *:/reset GET:/met"]);
    let channel = server.channel("echo");
    assert_eq!(server.get("/channels").status, 200);
    assert_eq!(server.join(&channel).leave(1000), 1000);
    server.delete(&channel.resource()).problem(401);
    server.delete("/reset").problem(401);
    server.get("/metrics").problem(401);
    assert_eq!(bearer(&server, "DELETE", &channel.resource(), "").status, 200);
    assert_eq!(bearer(&server, "DELETE", "/reset", "").status, 200);
    for all in ["*:*", "GET:*", "*:/", ""] {
        let server = runtime.start(&[AUTH, TOKEN, &format!("WRS_AUTH_RESOURCES={all}")]);
        server.get("/").problem(401);
        server.get("/channels").problem(401);
    }
}

pub fn a_request_is_checked_as_all_that_it_does(runtime: &Runtime) {
    let rules = "WRS_AUTH_RESOURCES=POST:/channels DELETE:/channel";
    let server = runtime.start(&[AUTH, TOKEN, rules, "WRS_BROWSER_ONLY=true"]);
    server.get("/channels/create?pattern=echo").problem(401);
    server.get("/channel/create?pattern=echo").problem(401);
    let created = server.get("/channels/create?pattern=echo&auth=s3cret-api");
    assert_eq!(created.status, 201);
    let id = created.json()["data"]["id"].as_str().unwrap().to_owned();
    server.get(&format!("/channels/{id}/delete")).problem(401);
    assert_eq!(server.get(&format!("/channels/{id}")).status, 200);
    assert_eq!(server.get(&format!("/channels/{id}/delete?auth=s3cret-api")).status, 200);
}

pub fn a_bearer_counts_for_whichever_token_it_equals(runtime: &Runtime) {
    let server = runtime.start(&[AUTH, TOKEN]);
    let created = bearer(&server, "POST", "/channels", ECHO).json();
    let (id, token) = (created["data"]["id"].as_str().unwrap(), created["token"].as_str().unwrap());
    let path = format!("/channels/{id}/connect");
    let api = ("Authorization", "Bearer s3cret-api");
    let own = format!("Bearer {token}");
    assert_eq!(server.ask(&format!("{path}?token={token}"), &[api]).status, 101);
    assert_eq!(server.ask(&format!("{path}?auth=s3cret-api"), &[("Authorization", &own)]).status, 101);
    assert_eq!(server.ask(&path, &[("Authentification", api.1), ("Authorization", &own)]).status, 101, "one in each field");
    let protocols = format!("wrs.auth.s3cret-api, wrs.token.{token}");
    assert_eq!(server.ask(&path, &[("Sec-WebSocket-Protocol", &protocols)]).status, 101);
    assert_eq!(server.ask(&path, &[api]).status, 401, "the API token opens no channel");
    assert_eq!(server.ask(&path, &[("Authorization", &own)]).status, 401, "nor does a channel's token the API");
}

pub fn health_and_preflights_are_never_guarded(runtime: &Runtime) {
    let server = runtime.start(&[AUTH, TOKEN]);
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/readyz").status, 200);
    let preflight = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST")];
    assert_eq!(server.send("OPTIONS", "/channels", &preflight, "").status, 204);
    server.send("OPTIONS", "/channels", &[], "").problem(401);
    let refused = server.send("GET", "/channels", &preflight[..1], "");
    refused.problem(401);
    assert_eq!(refused.header("Access-Control-Allow-Origin"), Some("*"), "a page may read why");
}

pub fn no_token_is_ever_shown(runtime: &Runtime) {
    let server = runtime.start(&[AUTH, TOKEN, "WRS_DEBUG=true", "WRS_CLUSTER_SECRET=an0ther-secret-of-ours"]);
    bearer(&server, "POST", "/channels", ECHO);
    server.get("/channels?auth=s3cret-api-x").problem(401);
    server.raw("GET /channels?auth=s3cret-api HTTP/1.1\r\nbad header\r\n\r\n").problem(400);
    for path in ["/", "/client", "/docs", "/readme", "/openapi.json", "/cluster", "/metrics", "/channels"] {
        let text = bearer(&server, "GET", path, "").text();
        assert!(!text.contains("s3cret-api") && !text.contains("an0ther-secret"), "{path}");
    }
    server.logged("http-fault");
    assert!(!server.log().iter().any(|line| line.contains("s3cret-api") || line.contains("an0ther-secret")));
}

pub fn serving_beyond_loopback_without_auth_is_a_warning(runtime: &Runtime) {
    let open = runtime.start(&["WRS_BIND=0.0.0.0"]);
    assert!(open.log().iter().any(|line| line.contains("warn") && line.contains("WRS_AUTH")), "{:?}", open.log());
    assert!(open.get("/").text().contains("WRS_AUTH"), "the landing page says so");
    let closed = runtime.start(&["WRS_BIND=0.0.0.0", AUTH, TOKEN]);
    assert!(!closed.log().iter().any(|line| line.contains("without WRS_AUTH")), "{:?}", closed.log());
    let local = runtime.start(&[]);
    assert!(!local.log().iter().any(|line| line.contains("without WRS_AUTH")), "{:?}", local.log());
}

pub fn a_rule_that_covers_nothing_is_a_warning(runtime: &Runtime) {
    let server = runtime.start(&[AUTH, TOKEN, "WRS_AUTH_RESOURCES=GET:/chanels DELETE:/channels"]);
    let warnings: Vec<String> = server.log().into_iter().filter(|line| line.contains("warn")).collect();
    assert!(warnings.iter().any(|line| line.contains("GET:/chanels")), "{warnings:?}");
    assert!(!warnings.iter().any(|line| line.contains("DELETE:/channels")), "{warnings:?}");
}

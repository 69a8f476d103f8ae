//! The start of a node: what it says, and what it refuses to start with.

use std::net::TcpListener;

use wrs_tests::real::{Certificate, Runtime, exit_of};

pub fn the_node_says_where_it_listens(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let log = server.log();
    assert!(log[0].contains(&format!("listening on http://127.0.0.1:{}", server.port)), "{log:?}");
    server.logged("/channels");
    assert!(server.get("/").status == 200);
}

pub fn a_bad_value_is_one_line_and_exit_2(runtime: &Runtime) {
    let certificate = Certificate::new();
    let (cert, key) = (certificate.cert_setting(), certificate.key_setting());
    for settings in [
        &["WRS_API_PORT=http"][..],
        &["WRS_API_PORT=65536"],
        &["WRS_BIND=nowhere"],
        &["WRS_AUTH=true"],
        &["WRS_AUTH=perhaps"],
        &["WRS_AUTH=true", "WRS_AUTH_TOKEN=x", "WRS_AUTH_RESOURCES=GET:/("],
        &["WRS_SSL=true"],
        &["WRS_SSL=true", "WRS_SSL_CERT_PATH=/no/such/cert.pem", "WRS_SSL_KEY_PATH=/no/such/key.pem"],
        &["WRS_SSL=true", &cert.replace("cert.pem", "key.pem"), &key],
        &["WRS_SSL=true", &cert, &key.replace("key.pem", "cert.pem")],
        &["WRS_README_PATH=/no/such/readme.md"],
        &["WRS_SEND_BUFFER=100", "WRS_MAX_MESSAGE_SIZE=100"],
        &["WRS_MAX_MESSAGE_SIZE=-1"],
        &["WRS_NODE_HEARTBEAT=5000"],
        &["WRS_NODE_MIN_ELECTION_TIMEOUT=4000"],
        &["WRS_LOG_FORMAT=xml"],
        &["WRS_SHARDS=0"],
        &["WRS_TOKEN_LENGTH=1"],
        &["WRS_CORS_ORIGINS=not an origin"],
        &["--no-such-flag"],
        &["--port-api"],
        &["serve-me"],
    ] {
        let (code, out, err) = exit_of(*runtime, settings);
        assert_eq!(code, Some(2), "{settings:?}: {out}{err}");
        assert!(out.is_empty() && err.lines().count() == 1 && err.len() > 10, "{settings:?}: {out:?} {err:?}");
    }
    let (_, _, err) = exit_of(*runtime, &["WRS_AUTH_TOKEN=s3cret", "WRS_AUTH=s3cret"]);
    assert!(!err.contains("s3cret") || err.contains("WRS_AUTH=\"s3cret\""), "no token is shown: {err}");
}

pub fn a_port_in_use_is_exit_1(runtime: &Runtime) {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, out, err) = exit_of(*runtime, &["-p", &port, "-n", "0"]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.lines().count() == 1 && err.contains(&port), "{err}");
}

pub fn flags_override_variables(runtime: &Runtime) {
    let server = runtime.start(&["WRS_AUTH=false", "WRS_AUTH_TOKEN=variable", "--auth", "--token", "flag"]);
    server.get("/channels").problem(401);
    server.get("/channels?auth=variable").problem(401);
    assert_eq!(server.get("/channels?auth=flag").status, 200);
    let server = runtime.start(&["WRS_AUTH=true", "WRS_AUTH_TOKEN=x", "-a", "false"]);
    assert_eq!(server.get("/channels").status, 200);
    // `--ssl false`, as in the thesis.
    assert_eq!(runtime.start(&["WRS_SSL=true", "--ssl", "false"]).get("/channels").status, 200);
}

pub fn help_and_version_are_printed(runtime: &Runtime) {
    let (code, out, err) = exit_of(*runtime, &["--help"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for name in ["WRS_API_PORT", "--port-api", "8080", "WRS_AUTH_RESOURCES", "WRS_MAX_MESSAGE_SIZE", "WRS_DATA_DIR"] {
        assert!(out.contains(name), "{name}");
    }
    let (code, out, _) = exit_of(*runtime, &["--version"]);
    assert_eq!(code, Some(0));
    assert!(out.trim().split(' ').next_back().unwrap().starts_with(|c: char| c.is_ascii_digit()), "{out}");
}

pub fn an_unknown_variable_is_a_warning(runtime: &Runtime) {
    let server = runtime.start(&["WRS_MAX_CHANELS=5", "WRS_AUTH_TOKEN_X=s3cret"]);
    let log = server.log();
    assert!(log.iter().any(|line| line.contains("warn") && line.contains("WRS_MAX_CHANELS")), "{log:?}");
    assert!(!log.iter().any(|line| line.contains("s3cret")), "{log:?}");
}

pub fn the_theses_spellings_are_accepted(runtime: &Runtime) {
    let settings = ["WRS_AUTH_RESSOURCES=GET:/channel", "WRS_NODE_SNAPSHOT_LENGHT=100", "-a", "-t", "x"];
    let server = runtime.start(&settings);
    server.get("/channels").problem(401);
    assert!(!server.log().iter().any(|line| line.contains("warn")), "{:?}", server.log());
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    assert_eq!(exit_of(*runtime, &["--portAPI", &port, "--portNode", "0"]).0, Some(1), "both flags were understood");
}

pub fn the_log_can_be_json(runtime: &Runtime) {
    let server = runtime.start(&["WRS_LOG_FORMAT=json", "WRS_DEBUG=true"]);
    let channel = server.channel("echo");
    assert_eq!(server.join(&channel).leave(1000), 1000);
    let line = server.logged("client-left");
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&event["event"], &event["channel"]), (&"client-left".into(), &channel.id.as_str().into()));
    assert!(event["time"].is_string() && event["level"].is_string());
}

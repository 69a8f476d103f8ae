//! The start of a node: what it says, and what it refuses to start with.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

#[cfg(target_os = "linux")]
use wrs_tests::real::LateRing;
use wrs_tests::real::{Certificate, Runtime, exit_of};

pub fn the_node_says_where_it_listens(runtime: &Runtime) {
    let server = runtime.start(&[]);
    let log = server.log();
    assert!(log[0].contains(&format!("listening on http://127.0.0.1:{}", server.port)), "{log:?}");
    server.logged("/channels");
    assert!(server.get("/").status == 200);
}

/// On a machine with much more work than cores a thread may wait for one wherever it is, and long.
#[cfg(target_os = "linux")]
pub fn a_node_whose_rings_are_late_starts_and_serves(runtime: &Runtime) {
    let name = format!("wrs-late-{:?}-{}-{}", runtime.kind, runtime.shards, std::process::id());
    let late = match LateRing::new(&std::env::temp_dir().join(name)) {
        Ok(late) => late,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let server = runtime.start(&[&late.setting()]);
    if !late.is_in(&server) {
        return eprintln!("SKIPPED: the server is linked to no library of the system");
    }
    let mut client = server.join(&server.channel("echo"));
    for round in 0..5 {
        client.send(&round.to_string());
        assert_eq!(client.text(), round.to_string());
    }
}

/// There is no io_uring here.
#[cfg(not(target_os = "linux"))]
pub fn a_node_whose_rings_are_late_starts_and_serves(_: &Runtime) {}

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

pub fn the_cluster_port_in_use_is_exit_1(runtime: &Runtime) {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, out, err) = exit_of(*runtime, &["-p", "0", "-n", &port]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.lines().count() == 1 && err.contains(&port) && err.contains("WRS_NODE_PORT"), "{err}");
}

pub fn the_cluster_port_is_beyond_loopback_only_with_a_secret(runtime: &Runtime) {
    let beyond = ["WRS_BIND=0.0.0.0"];
    let server = runtime.start(&beyond);
    assert!(server.logged("other nodes join at").contains(&format!("127.0.0.1:{}", server.node_port)));
    drop(TcpStream::connect(("127.0.0.1", server.node_port)).unwrap());
    let server = runtime.start(&[beyond[0], "WRS_CLUSTER_SECRET=s3cret"]);
    assert!(server.logged("other nodes join at").contains(&format!("0.0.0.0:{}", server.node_port)));
    drop(TcpStream::connect(("127.0.0.1", server.node_port)).unwrap());
    assert!(!server.log().iter().any(|line| line.contains("s3cret")), "{:?}", server.log());
    // Whoever connects there without being a node harms nobody.
    let mut stranger = TcpStream::connect(("127.0.0.1", server.node_port)).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(server.get("/healthz").status, 200);
}

pub fn the_node_certificate_is_read_at_start_and_on_sighup(runtime: &Runtime) {
    let certificate = Certificate::new();
    let of_nodes = |setting: String| setting.replace("WRS_SSL_", "WRS_NODE_SSL_");
    let (cert, key) = (of_nodes(certificate.cert_setting()), of_nodes(certificate.key_setting()));
    let wrong = cert.replace("cert.pem", "no-such.pem");
    let (code, out, err) = exit_of(*runtime, &[&wrong, &key, "-p", "0", "-n", "0"]);
    assert_eq!(code, Some(2), "{out}{err}");
    assert!(err.lines().count() == 1 && err.contains("no-such.pem"), "{err}");
    #[cfg(unix)]
    {
        let server = runtime.start(&[&cert, &key]);
        server.signal("HUP");
        server.logged("certificates-read");
        std::fs::write(certificate.directory().join("cert.pem"), "nothing").unwrap();
        server.signal("HUP");
        server.logged("certificates-refused");
        assert_eq!(server.get("/healthz").status, 200);
    }
}

pub fn a_data_directory_is_used_by_one_process(runtime: &Runtime) {
    let scratch = Certificate::new();
    let path = scratch.directory().join("data");
    let setting = format!("WRS_DATA_DIR={}", path.display());
    let server = runtime.start(&[&setting]);
    assert!(path.is_dir());
    let (code, out, err) = exit_of(*runtime, &[&setting, "-p", "0", "-n", "0"]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.lines().count() == 1 && err.contains("another process"), "{err}");
    // Killed, not stopped: the lock goes with the process.
    drop(server);
    std::fs::write(path.join("notes.txt"), "not ours").unwrap();
    let server = runtime.start(&[&setting]);
    assert!(server.logged("notes.txt").contains("warn"), "{:?}", server.log());
    assert_eq!(std::fs::read(path.join("notes.txt")).unwrap(), b"not ours");
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

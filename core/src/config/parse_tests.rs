use super::*;
use crate::config::{AddressBlock, LogFormat, NodeAddress, Origins};
use proptest::prelude::*;
use std::net::IpAddr;
use std::time::Duration;

fn run(args: &[&str], env: &[(&str, &str)]) -> Result<Parsed, ConfigError> {
    let args = args.iter().map(|a| (*a).to_owned());
    let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    Config::parse(args, env, &HostFacts { parallelism: 4, open_files_limit: Some(10_000) })
}

fn config(args: &[&str], env: &[(&str, &str)]) -> Config {
    run(args, env).unwrap().config
}

fn refusal(args: &[&str], env: &[(&str, &str)]) -> String {
    let text = run(args, env).unwrap_err().to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

fn warnings(env: &[(&str, &str)]) -> Vec<String> {
    run(&[], env).unwrap().warnings
}

#[test]
fn nothing_set_serves_with_the_documented_defaults_and_no_warning() {
    let Parsed { command, config, warnings } = run(&[], &[]).unwrap();
    assert_eq!(command, Command::Serve);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((config.api_port, config.node_port), (8080, 4000));
    assert!(config.bind.is_loopback() && config.auth.is_none() && config.tls.is_none() && !config.is_open());
    assert_eq!((config.token_length, config.id_length), (16, 4));
    assert_eq!(config.shards, 4);
    assert_eq!(config.clients_max, 10_000 - 32 - 4 * 8 - 625);
    assert_eq!((config.message_bytes_max, config.send_buffer_bytes_max), (1 << 20, 4 << 20));
    assert_eq!(config.ping_interval, Some(Duration::from_secs(30)));
}

#[test]
fn every_variable_of_the_contract_arrives_in_its_field() {
    let config = config(
        &[],
        &[
            ("WRS_API_PORT", "0"),
            ("WRS_BIND", "::"),
            ("WRS_PUBLIC_API_PORT", "443"),
            ("WRS_DOMAIN", "relay.example"),
            ("WRS_TOKEN_LENGTH", "32"),
            ("WRS_ID_LENGTH", "8"),
            ("WRS_AUTH", "true"),
            ("WRS_AUTH_TOKEN", "hunter2"),
            ("WRS_AUTH_RESOURCES", "DELETE:/reset"),
            ("WRS_SSL", "true"),
            ("WRS_SSL_CERT_PATH", "/c.pem"),
            ("WRS_SSL_KEY_PATH", "/k.pem"),
            ("WRS_PUBLIC_SSL", "false"),
            ("WRS_BROWSER_ONLY", "1"),
            ("WRS_README_PATH", "/r.md"),
            ("WRS_NODE_PORT", "0"),
            ("WRS_NODE_HEARTBEAT", "10"),
            ("WRS_NODE_MIN_ELECTION_TIMEOUT", "20"),
            ("WRS_NODE_MAX_ELECTION_TIMEOUT", "20"),
            ("WRS_NODE_SNAPSHOT_LENGTH", "7"),
            ("WRS_NODE_ADDRESS", "n1:4001"),
            ("WRS_NODE_SSL_CERT_PATH", "/nc.pem"),
            ("WRS_NODE_SSL_KEY_PATH", "/nk.pem"),
            ("WRS_MAX_STARTUP_DELAY", "0"),
            ("WRS_DEBUG", "TRUE"),
            ("WRS_MAX_MESSAGE_SIZE", "16MiB"),
            ("WRS_MAX_BODY_SIZE", "1KiB"),
            ("WRS_SEND_BUFFER", "64MiB"),
            ("WRS_MAX_HEADER_SIZE", "2048"),
            ("WRS_MAX_CHANNELS", "5"),
            ("WRS_MAX_CLIENTS", "6"),
            ("WRS_MAX_MESSAGE_RATE", "7"),
            ("WRS_MAX_CREATE_RATE", "8"),
            ("WRS_MAX_CLIENTS_PER_ADDRESS", "9"),
            ("WRS_TRUSTED_PROXIES", "10.0.0.0/8 ::1"),
            ("WRS_PING_INTERVAL", "0"),
            ("WRS_HANDSHAKE_TIMEOUT", "11"),
            ("WRS_KEEPALIVE_TIMEOUT", "12"),
            ("WRS_DRAIN_DELAY", "13"),
            ("WRS_DRAIN_TIMEOUT", "14"),
            ("WRS_ALLOWED_ORIGINS", "https://a.example"),
            ("WRS_CORS_ORIGINS", "none"),
            ("WRS_DEFLATE", "true"),
            ("WRS_SHARDS", "3"),
            ("WRS_PIN", "true"),
            ("WRS_LOG_FORMAT", "json"),
            ("WRS_SEEDS", "nodes.example"),
            ("WRS_CLUSTER_SIZE", "3"),
            ("WRS_CLUSTER_SECRET", "shh"),
            ("WRS_DATA_DIR", "/data"),
        ],
    );
    let ms = Duration::from_millis;
    assert_eq!((config.api_port, config.public_api_port), (0, Some(443)));
    assert_eq!((config.bind, config.domain.as_str()), ("::".parse::<IpAddr>().unwrap(), "relay.example"));
    assert_eq!((config.token_length, config.id_length), (32, 8));
    let auth = config.auth.unwrap();
    assert!(auth.token.matches(b"hunter2") && auth.rules.guards("DELETE", "/reset") && !auth.rules.guards("GET", "/"));
    let tls = config.tls.unwrap();
    assert_eq!((tls.cert.to_str(), tls.key.to_str()), (Some("/c.pem"), Some("/k.pem")));
    assert!(!config.public_ssl && config.browser_only && config.debug && config.deflate && config.pin);
    assert_eq!(config.readme_path.unwrap().to_str(), Some("/r.md"));
    assert_eq!((config.node_port, config.snapshot_length), (0, 7));
    assert_eq!((config.heartbeat, config.election_timeout_min, config.election_timeout_max), (ms(10), ms(20), ms(20)));
    assert_eq!(config.node_address, NodeAddress::parse("n1:4001"));
    assert_eq!(config.node_tls.unwrap().key.to_str(), Some("/nk.pem"));
    assert_eq!(config.startup_delay_max, Duration::ZERO);
    assert_eq!((config.message_bytes_max, config.body_bytes_max, config.header_bytes_max), (16 << 20, 1 << 10, 2048));
    assert_eq!(config.send_buffer_bytes_max, 64 << 20);
    assert_eq!((config.channels_max, config.clients_max), (5, 6));
    assert_eq!((config.message_rate_max, config.create_rate_max, config.clients_per_address_max), (7, 8, 9));
    assert_eq!(config.trusted_proxies, ["10.0.0.0/8", "::1"].map(|b| AddressBlock::parse(b).unwrap()));
    assert_eq!(config.ping_interval, None);
    assert_eq!((config.handshake_timeout, config.keepalive_timeout), (ms(11), ms(12)));
    assert_eq!((config.drain_delay, config.drain_timeout), (ms(13), ms(14)));
    assert!(config.allowed_origins.allows("https://a.example") && !config.allowed_origins.allows("https://b.example"));
    assert_eq!(config.cors_origins, Origins::List(vec![]));
    assert_eq!((config.shards, config.log_format), (3, LogFormat::Json));
    assert_eq!((config.seeds.len(), config.cluster_size), (1, Some(3)));
    assert!(config.cluster_secret.unwrap().matches(b"shh"));
    assert_eq!(config.data_dir.unwrap().to_str(), Some("/data"));
}

#[test]
fn flags_win_over_variables_and_the_last_flag_over_the_first() {
    let env = [("WRS_API_PORT", "1000"), ("WRS_DEBUG", "true")];
    assert_eq!(config(&["-p", "2000"], &env).api_port, 2000);
    assert_eq!(config(&["-p", "2000", "--api-port=3000"], &env).api_port, 3000);
    assert!(!config(&["--debug", "false"], &env).debug);
    assert_eq!(config(&["--api-port="], &env).api_port, 8080, "an empty value counts as not set");
    assert_eq!(config(&[], &[("WRS_API_PORT", "")]).api_port, 8080);
}

#[test]
fn every_spelling_of_a_flag_works() {
    for spelling in
        [&["-p", "81"][..], &["-p81"], &["-p=81"], &["--port-api", "81"], &["--portAPI=81"], &["--api-port", "81"]]
    {
        assert_eq!(config(spelling, &[]).api_port, 81, "{spelling:?}");
    }
    assert_eq!(config(&["-n", "82"], &[]).node_port, 82);
    assert_eq!(config(&["--portNode", "82"], &[]).node_port, 82);
    assert_eq!(config(&["--max-message-size", "2KiB"], &[]).message_bytes_max, 2048);
    assert_eq!(config(&["serve", "--shards", "2"], &[]).shards, 2);
    let auth = config(&["-a", "-t", "abc", "--auth-ressources", "GET:/x"], &[]).auth.unwrap();
    assert!(auth.token.matches(b"abc") && auth.rules.guards("GET", "/x") && !auth.rules.guards("GET", "/"));
}

#[test]
fn a_boolean_flag_takes_an_optional_value() {
    let paths = ["--ssl-cert-path", "c", "--ssl-key-path", "k"];
    for (given, expected) in [
        (&["--ssl"][..], true),
        (&["--ssl", "true"], true),
        (&["--ssl", "false"], false),
        (&["--ssl=false"], false),
        (&["-s", "FALSE"], false),
        (&["-s=1"], true),
        (&["-s", "--pin"], true),
    ] {
        assert_eq!(config(&[given, &paths].concat(), &[]).tls.is_some(), expected, "{given:?}");
    }
}

#[test]
fn the_port_follows_tls_unless_it_is_set() {
    let tls = [("WRS_SSL", "true"), ("WRS_SSL_CERT_PATH", "c"), ("WRS_SSL_KEY_PATH", "k")];
    let config_tls = config(&[], &tls);
    assert_eq!(config_tls.api_port, 8443);
    assert!(config_tls.public_ssl, "links follow the service");
    assert_eq!(config(&["-p", "443"], &tls).api_port, 443);
    assert!(config(&["--public-ssl"], &[]).public_ssl, "a proxy may do the TLS");
}

#[test]
fn commands_are_read_and_their_arguments_are_left_alone() {
    let command = |args: &[&str]| run(args, &[]).unwrap().command;
    assert_eq!(command(&["serve"]), Command::Serve);
    let rest = vec!["--pattern".to_owned(), "echo".to_owned(), "--help".to_owned()];
    assert_eq!(command(&["create", "--pattern", "echo", "--help"]), Command::Client(ClientCommand::Create, rest));
    for (expected, name, _) in ClientCommand::ALL {
        assert_eq!(command(&[name]), Command::Client(expected, vec![]));
    }
    assert_eq!(config(&["-p", "9000", "health"], &[]).api_port, 9000, "flags before a command are the node's");
    for help in [&["--help"][..], &["-h"], &["help"], &["serve", "--help"], &["-p", "1", "--help"]] {
        assert_eq!(command(help), Command::Help, "{help:?}");
    }
    for version in [&["--version"][..], &["-V"], &["version"]] {
        assert_eq!(command(version), Command::Version, "{version:?}");
    }
    for help in [&["help", "serve"][..], &["help", "help"], &["help", "--help"]] {
        assert_eq!(command(help), Command::Help, "{help:?}");
    }
    let broken = [("WRS_API_PORT", "rubbish")];
    assert_eq!(run(&["--help"], &broken).unwrap().command, Command::Help, "the environment may be broken");
    for help in [&["help", "sub"][..], &["sub", "--help"]] {
        let asked = run(help, &broken).unwrap().command;
        assert_eq!(asked, Command::Client(ClientCommand::Sub, vec!["--help".to_owned()]), "{help:?}");
    }
    assert_eq!(refusal(&["help", "sud"], &[]), "argument 2 is no command; did you mean sub?");
}

#[test]
fn a_bad_value_is_named_with_what_is_allowed() {
    assert_eq!(
        refusal(&[], &[("WRS_API_PORT", "80a")]),
        r#"WRS_API_PORT="80a": must be a whole number from 0 to 65535"#
    );
    for (name, value) in [
        ("WRS_API_PORT", "65536"),
        ("WRS_BIND", "localhost"),
        ("WRS_PUBLIC_API_PORT", "0"),
        ("WRS_DOMAIN", "http://x"),
        ("WRS_TOKEN_LENGTH", "7"),
        ("WRS_TOKEN_LENGTH", "129"),
        ("WRS_ID_LENGTH", "0"),
        ("WRS_ID_LENGTH", "17"),
        ("WRS_AUTH", "yes please"),
        ("WRS_AUTH_RESOURCES", "GET:("),
        ("WRS_MAX_MESSAGE_SIZE", "0"),
        ("WRS_MAX_MESSAGE_SIZE", "1MB"),
        ("WRS_MAX_HEADER_SIZE", "1"),
        ("WRS_MAX_CLIENTS", "0"),
        ("WRS_PING_INTERVAL", "1"),
        ("WRS_HANDSHAKE_TIMEOUT", "0"),
        ("WRS_SHARDS", "0"),
        ("WRS_SHARDS", "1025"),
        ("WRS_LOG_FORMAT", "xml"),
        ("WRS_TRUSTED_PROXIES", "proxy"),
        ("WRS_ALLOWED_ORIGINS", "app.example"),
        ("WRS_SEEDS", "a:b"),
        ("WRS_NODE_ADDRESS", "::1"),
    ] {
        let text = refusal(&[], &[(name, value)]);
        assert!(text.starts_with(&format!("{name}={value:?}: ")), "{text}");
    }
    let long = "x".repeat(100_000);
    assert!(refusal(&[], &[("WRS_DOMAIN", &long)]).len() < 200);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    for (env, why) in [
        (&[("WRS_AUTH", "true")][..], "WRS_AUTH_TOKEN"),
        (&[("WRS_AUTH", "true"), ("WRS_AUTH_TOKEN", "")], "WRS_AUTH_TOKEN"),
        (&[("WRS_SSL", "true")], "WRS_SSL_CERT_PATH"),
        (&[("WRS_SSL", "true"), ("WRS_SSL_CERT_PATH", "c")], "WRS_SSL_KEY_PATH"),
        (&[("WRS_NODE_SSL_CERT_PATH", "c")], "WRS_NODE_SSL_KEY_PATH"),
        (&[("WRS_SEND_BUFFER", "2097151")], "WRS_SEND_BUFFER"),
        (&[("WRS_MAX_MESSAGE_SIZE", "4MiB"), ("WRS_SEND_BUFFER", "4MiB")], "WRS_SEND_BUFFER"),
        (&[("WRS_NODE_MIN_ELECTION_TIMEOUT", "3001")], "WRS_NODE_MIN_ELECTION_TIMEOUT"),
        (&[("WRS_NODE_HEARTBEAT", "2000")], "WRS_NODE_HEARTBEAT"),
        (&[("WRS_NODE_PORT", "8080")], "WRS_NODE_PORT"),
        (&[("WRS_SEEDS", "nodes.example")], "WRS_CLUSTER_SIZE"),
        (&[("WRS_SEEDS", "a:1 b:1"), ("WRS_CLUSTER_SIZE", "3")], "WRS_CLUSTER_SIZE"),
    ] {
        let text = refusal(&[], env);
        assert!(text.contains(why), "{text}");
    }
    assert_eq!(config(&[], &[("WRS_SEND_BUFFER", "2MiB")]).send_buffer_bytes_max, 2 << 20);
    assert_eq!(config(&[], &[("WRS_MAX_MESSAGE_SIZE", "16MiB")]).send_buffer_bytes_max, 64 << 20);
    assert_eq!(config(&[], &[("WRS_API_PORT", "0"), ("WRS_NODE_PORT", "0")]).node_port, 0);
}

#[test]
fn an_unknown_flag_or_command_is_refused_with_a_hint() {
    assert_eq!(refusal(&["--prot-api", "1"], &[]), r#"unknown flag "--prot-api"; did you mean --port-api?"#);
    assert_eq!(refusal(&["--frobnicate"], &[]), r#"unknown flag "--frobnicate"; see --help"#);
    assert_eq!(refusal(&["creat"], &[]), "argument 1 is no command; did you mean create?");
    assert_eq!(refusal(&["serve", "serve"], &[]), "argument 2 is no command; did you mean serve?");
    assert_eq!(refusal(&["--domain"], &[]), "--domain needs a value");
    assert_eq!(refusal(&["--domain", "--ssl"], &[]), "--domain needs a value");
    assert!(refusal(&["--"], &[]).contains("unknown flag"));
    assert!(refusal(&["-é"], &[]).contains("unknown flag"));
}

#[test]
fn an_unknown_variable_is_a_warning_with_a_hint() {
    assert_eq!(warnings(&[("WRS_API_PROT", "1")]), [r#"unknown variable "WRS_API_PROT"; did you mean WRS_API_PORT?"#]);
    assert_eq!(warnings(&[("WRS_FROBNICATE", "1"), ("PATH", "/bin")]), [r#"unknown variable "WRS_FROBNICATE""#]);
}

#[test]
fn kubernetes_service_links_are_no_warning() {
    let links = [
        ("WRS_SERVICE_HOST", "10.0.0.1"),
        ("WRS_SERVICE_PORT", "80"),
        ("WRS_SERVICE_PORT_API", "80"),
        ("WRS_PORT", "tcp://10.0.0.1:80"),
        ("WRS_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("WRS_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    assert_eq!(warnings(&links), Vec::<String>::new());
    assert_eq!(warnings(&[("WRS_PORT", "80")]).len(), 1);
}

#[test]
fn both_spellings_of_a_variable_work_and_the_right_one_wins() {
    assert_eq!(config(&[], &[("WRS_NODE_SNAPSHOT_LENGHT", "5")]).snapshot_length, 5);
    let both = [("WRS_NODE_SNAPSHOT_LENGHT", "5"), ("WRS_NODE_SNAPSHOT_LENGTH", "6")];
    assert_eq!(config(&[], &both).snapshot_length, 6);
    assert_eq!(warnings(&both), ["WRS_NODE_SNAPSHOT_LENGHT is ignored: WRS_NODE_SNAPSHOT_LENGTH is set too"]);
    let emptied = [("WRS_NODE_SNAPSHOT_LENGHT", "5"), ("WRS_NODE_SNAPSHOT_LENGTH", "")];
    assert_eq!(config(&[], &emptied).snapshot_length, 5);
    let rules = [("WRS_AUTH", "true"), ("WRS_AUTH_TOKEN", "x"), ("WRS_AUTH_RESSOURCES", "GET:/a")];
    assert!(!config(&[], &rules).auth.unwrap().rules.guards("GET", "/b"));
}

#[test]
fn what_is_legal_but_unwise_is_a_warning() {
    assert!(warnings(&[("WRS_BIND", "0.0.0.0")])[0].contains("without WRS_AUTH"));
    assert!(config(&["--bind", "0.0.0.0"], &[]).is_open() && !config(&["--bind", "::1"], &[]).is_open());
    let guarded = [("WRS_BIND", "0.0.0.0"), ("WRS_AUTH", "true"), ("WRS_AUTH_TOKEN", "x")];
    assert_eq!(warnings(&guarded), Vec::<String>::new());
    assert!(warnings(&[("WRS_AUTH_TOKEN", "x")])[0].contains("guards nothing"));
    assert!(warnings(&[("WRS_AUTH", "true"), ("WRS_AUTH_TOKEN", "a/b")])[0].contains("subprotocol"));
    assert!(warnings(&[("WRS_ID_LENGTH", "1")])[0].contains("WRS_MAX_CHANNELS"));
    assert!(warnings(&[("WRS_MAX_CLIENTS", "20000")])[0].contains("ulimit"));
    assert!(warnings(&[("WRS_CLUSTER_SIZE", "3")])[0].contains("WRS_SEEDS"));
}

#[test]
fn no_error_or_warning_shows_a_token() {
    let token = "s3cr3t t0ken";
    for (args, env) in [
        (&["-t", token][..], &[][..]),
        (&["--tokken", token], &[]),
        (&["--tokken=s3cr3t t0ken"], &[]),
        (&["-xs3cr3t t0ken"], &[]),
        (&["-a", token], &[]),
        (&[], &[("WRS_AUTH_TOKEN", token)]),
        (&[], &[("WRS_AUTH_TOKENS", token), ("WRS_SHARDS", "0")]),
        (&["--cluster-secret", "ok"], &[("WRS_SHARDS", "x")]),
    ] {
        let text = refusal(args, env);
        assert!(!text.contains("s3cr3t") && !text.contains("t0ken"), "{text}");
    }
    let parsed = run(&["-a", "-t", "s3cr3t", "--cluster-secret=s3cr3t"], &[("WRS_TOKEN", "s3cr3t")]).unwrap();
    assert!(!format!("{parsed:?}").contains("s3cr3t"));
}

#[test]
fn the_client_limit_leaves_files_for_the_node() {
    use crate::config::{CLIENTS_MAX_UNLIMITED, clients_max_by_open_files};
    assert_eq!(clients_max_by_open_files(Some(1024), 2), 1024 - 48 - 64);
    assert_eq!(clients_max_by_open_files(Some(0), 1024), 1, "never none");
    assert_eq!(clients_max_by_open_files(None, 2), CLIENTS_MAX_UNLIMITED);
    assert!(clients_max_by_open_files(Some(u64::MAX), 2) < u64::MAX);
}

proptest! {
    #[test]
    fn no_command_line_or_environment_panics(
        args in proptest::collection::vec("(-{0,2}[a-zA-Z=-]{0,8}|.{0,8})", 0..6),
        env in proptest::collection::vec(("WRS_[A-Z_]{0,12}", ".{0,12}"), 0..6),
        picks in proptest::collection::vec((any::<prop::sample::Index>(), "[0-9a-zA-Z:/*. ]{0,12}"), 0..6),
    ) {
        let rows: Vec<_> = table::rows().collect();
        let picked = picks.iter().map(|(row, text)| (row.get(&rows).name.to_owned(), text.clone()));
        let outcome = Config::parse(args, env.into_iter().chain(picked), &HostFacts::default());
        if let Err(error) = outcome {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn distance_is_symmetric_and_zero_for_equals_alone(a in "[ab]{0,6}", b in "[ab]{0,6}") {
        prop_assert_eq!(distance(&a, &b), distance(&b, &a));
        prop_assert_eq!(distance(&a, &b) == 0, a == b);
        prop_assert!(distance(&a, &b) <= a.len().max(b.len()));
    }
}

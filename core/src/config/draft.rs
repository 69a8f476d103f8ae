//! A configuration in the making: what the variables said, before defaults that depend on others and the checks that
//! take more than one variable.

use std::path::PathBuf;

use super::{Auth, Config, ConfigError, HostFacts, Rules, SHARDS_MAX, Secret, TlsPaths, clients_max_by_open_files};

/// Variables whose meaning depends on others wait here beside the rest.
#[derive(Debug)]
pub(super) struct Draft {
    pub config: Config,
    pub api_port: Option<u16>,
    pub auth: bool,
    pub auth_token: Option<Secret>,
    pub auth_rules: Option<Rules>,
    pub ssl: bool,
    pub ssl_cert: Option<PathBuf>,
    pub ssl_key: Option<PathBuf>,
    pub public_ssl: Option<bool>,
    pub node_cert: Option<PathBuf>,
    pub node_key: Option<PathBuf>,
    pub send_buffer: Option<usize>,
    pub clients_max: Option<u64>,
    pub shards: Option<u16>,
}

impl Draft {
    /// Nothing said yet.
    pub(super) fn new() -> Self {
        Draft {
            config: Config::default(),
            api_port: None,
            auth: false,
            auth_token: None,
            auth_rules: None,
            ssl: false,
            ssl_cert: None,
            ssl_key: None,
            public_ssl: None,
            node_cert: None,
            node_key: None,
            send_buffer: None,
            clients_max: None,
            shards: None,
        }
    }

    /// Fills in the defaults that depend on something and checks what takes more than one variable. Warnings are
    /// added to `warnings`.
    pub(super) fn finish(mut self, host: &HostFacts, warnings: &mut Vec<String>) -> Result<Config, ConfigError> {
        self.take_auth(warnings)?;
        self.take_tls()?;
        self.take_machine(host, warnings);
        self.take_limits(warnings)?;
        check_cluster(&self.config, warnings)?;
        let config = self.config;
        if config.api_port == config.node_port && config.api_port != 0 {
            return Err(conflict(format!("WRS_API_PORT and WRS_NODE_PORT are both {}", config.api_port)));
        }
        if config.is_open() {
            warnings.push(format!(
                "listening on {} without WRS_AUTH: whoever reaches this machine can create, list and delete channels",
                config.bind
            ));
        }
        Ok(config)
    }

    fn take_auth(&mut self, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
        match (self.auth, self.auth_token.take()) {
            (true, None) => return Err(conflict("WRS_AUTH=true needs WRS_AUTH_TOKEN")),
            (true, Some(token)) => {
                if !token.expose().iter().all(|&b| is_tchar(b)) {
                    warnings.push(
                        "WRS_AUTH_TOKEN has characters that no WebSocket subprotocol can carry: browsers cannot \
                         offer it as wrs.auth.<token>"
                            .to_owned(),
                    );
                }
                let rules = self.auth_rules.take().unwrap_or_default();
                self.config.auth = Some(Auth { token, rules });
            }
            (false, Some(_)) => {
                warnings.push("WRS_AUTH_TOKEN guards nothing: WRS_AUTH is not true".to_owned());
            }
            (false, None) => {}
        }
        Ok(())
    }

    fn take_tls(&mut self) -> Result<(), ConfigError> {
        self.config.tls = match (self.ssl, self.ssl_cert.take(), self.ssl_key.take()) {
            (true, Some(cert), Some(key)) => Some(TlsPaths { cert, key }),
            (true, _, _) => return Err(conflict("WRS_SSL=true needs WRS_SSL_CERT_PATH and WRS_SSL_KEY_PATH")),
            (false, _, _) => None,
        };
        self.config.node_tls = match (self.node_cert.take(), self.node_key.take()) {
            (Some(cert), Some(key)) => Some(TlsPaths { cert, key }),
            (None, None) => None,
            _ => return Err(conflict("WRS_NODE_SSL_CERT_PATH and WRS_NODE_SSL_KEY_PATH need each other")),
        };
        self.config.public_ssl = self.public_ssl.unwrap_or(self.ssl);
        self.config.api_port = self.api_port.unwrap_or(if self.ssl { 8443 } else { 8080 });
        Ok(())
    }

    fn take_machine(&mut self, host: &HostFacts, warnings: &mut Vec<String>) {
        let cores = u16::try_from(host.parallelism).unwrap_or(SHARDS_MAX);
        self.config.shards = self.shards.unwrap_or(cores.clamp(1, SHARDS_MAX));
        let by_files = clients_max_by_open_files(host.open_files_limit, self.config.shards);
        self.config.clients_max = self.clients_max.unwrap_or(by_files);
        if let Some(limit) = host.open_files_limit.filter(|_| self.config.clients_max > by_files) {
            warnings.push(format!(
                "WRS_MAX_CLIENTS is {} but {limit} open files (ulimit -n) leave room for {by_files}",
                self.config.clients_max
            ));
        }
    }

    fn take_limits(&mut self, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
        let config = &mut self.config;
        let message = config.message_bytes_max;
        config.send_buffer_bytes_max = self.send_buffer.unwrap_or(message.saturating_mul(4));
        if config.send_buffer_bytes_max < message.saturating_mul(2) {
            return Err(conflict(format!(
                "WRS_SEND_BUFFER is {} bytes but must be at least twice WRS_MAX_MESSAGE_SIZE, which is {message}",
                config.send_buffer_bytes_max
            )));
        }
        let id_bits = 8 * u32::try_from(config.id_length).unwrap_or(u32::MAX).min(16);
        if 1u128.checked_shl(id_bits).is_some_and(|ids| ids < u128::from(config.channels_max)) {
            warnings.push(format!(
                "WRS_ID_LENGTH={} gives fewer ids than WRS_MAX_CHANNELS, which is {}",
                config.id_length, config.channels_max
            ));
        }
        Ok(())
    }
}

fn check_cluster(config: &Config, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
    let (heartbeat, min, max) = (config.heartbeat, config.election_timeout_min, config.election_timeout_max);
    if min > max {
        return Err(conflict(format!(
            "WRS_NODE_MIN_ELECTION_TIMEOUT is {} ms, more than WRS_NODE_MAX_ELECTION_TIMEOUT, which is {} ms",
            min.as_millis(),
            max.as_millis()
        )));
    }
    if heartbeat >= min {
        return Err(conflict(format!(
            "WRS_NODE_HEARTBEAT is {} ms but must be less than WRS_NODE_MIN_ELECTION_TIMEOUT, which is {} ms",
            heartbeat.as_millis(),
            min.as_millis()
        )));
    }
    match (config.seeds.as_slice(), config.cluster_size) {
        ([seed], None) if seed.port.is_none() && seed.host.parse::<std::net::IpAddr>().is_err() => Err(conflict(
            "WRS_SEEDS is one name without a port: give WRS_CLUSTER_SIZE if it stands for all nodes, else a port",
        )),
        ([], Some(_)) => {
            warnings.push("WRS_CLUSTER_SIZE means nothing without WRS_SEEDS".to_owned());
            Ok(())
        }
        (seeds @ [_, _, ..], Some(size)) if seeds.len() != usize::from(size) => {
            Err(conflict(format!("WRS_CLUSTER_SIZE is {size} but WRS_SEEDS names {} nodes", seeds.len())))
        }
        _ => Ok(()),
    }
}

fn conflict(why: impl Into<String>) -> ConfigError {
    ConfigError::Conflict(why.into())
}

/// A character of an HTTP token (RFC 9110 section 5.6.2), which a subprotocol is.
fn is_tchar(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

//! The node that a command talks to: where it is, how to get there, what opens it.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, TcpStream};
use std::time::Duration;

use futures_rustls::TlsConnector;
use rustls::pki_types::ServerName;
use smol::{Async, Timer};
use wrs_core::config::Config;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::limits::CONNECT_TIMEOUT;
use crate::stream::Stream;
use crate::trust::Trust;

/// A node.
pub struct Node {
    /// A name or an address; an IPv6 address without brackets.
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
    /// The API token; a text that a header field can carry.
    auth: Option<String>,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Where a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    tls: bool,
    host: String,
    port: u16,
}

impl Node {
    /// The node that the arguments name, or else the one that `config` would run.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a URL, a token or a file that cannot be used.
    pub fn of(arguments: &Arguments, config: &Config) -> Result<Node, Failure> {
        let url = arguments.text("--url");
        let place = match url {
            Some(url) => Place::parse(url)?,
            None => Place::of(config),
        };
        let trust = match arguments.text("--ca") {
            _ if arguments.has("--insecure") => Trust::Anyone,
            Some(path) => Trust::File(path),
            // Its certificate names the public domain, and nobody stands between it and us.
            None if url.is_none() => Trust::Anyone,
            None => Trust::Machine,
        };
        let tls = if place.tls { Some(trust.connector()?) } else { None };
        Ok(Node { host: place.host, port: place.port, tls, auth: api_token(arguments, config)? })
    }

    /// Host and port as a URL and the field `Host` have them.
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    /// The API token.
    pub fn auth(&self) -> Option<&str> {
        self.auth.as_deref()
    }

    /// Opens a connection, within [`CONNECT_TIMEOUT`].
    pub async fn dial(&self) -> Result<Stream, Failure> {
        let dial = async { self.open().await.map_err(|error| self.unreachable(&error)) };
        within(CONNECT_TIMEOUT, &format!("connecting to {self}"), dial).await
    }

    async fn open(&self) -> io::Result<Stream> {
        let mut result = Err(io::Error::other("the name has no address"));
        for address in smol::net::resolve((self.host.as_str(), self.port)).await? {
            result = Async::<TcpStream>::connect(address).await;
            if result.is_ok() {
                break;
            }
        }
        let tcp = result?;
        tcp.get_ref().set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Stream::Plain(tcp)) };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(tls.connect(name, tcp).await?)))
    }

    /// That the node cannot be reached, or not any more.
    pub fn unreachable(&self, why: &dyn fmt::Display) -> Failure {
        Failure::refused(format!("cannot reach {self}: {why}"))
    }
}

/// Gives `work` a limit of time; `what` took longer, the failure then says.
pub async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let too_long = async {
        Timer::after(limit).await;
        Err(Failure::refused(format!("{what} took longer than {} s", limit.as_secs_f64())))
    };
    smol::future::or(work, too_long).await
}

fn authority(host: &str, port: u16) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    }
}

fn api_token(arguments: &Arguments, config: &Config) -> Result<Option<String>, Failure> {
    let of_config = || {
        let secret = config.auth.as_ref().map(|auth| String::from_utf8_lossy(auth.token.expose()).into_owned());
        // Without WRS_AUTH=true the configuration guards nothing and keeps no token; another node may want it.
        secret.or_else(|| std::env::var("WRS_AUTH_TOKEN").ok())
    };
    let token = arguments.text("--auth").map(str::to_owned).or_else(of_config).filter(|token| !token.is_empty());
    match token {
        Some(token) if !is_field_value(&token) => Err(Failure::usage("the API token is no token: see --auth")),
        token => Ok(token),
    }
}

/// Whether a header field can carry a token: visible ASCII.
pub fn is_field_value(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Place {
    /// Where a node of this configuration listens, as seen from its own machine.
    fn of(config: &Config) -> Place {
        let host = match config.bind {
            IpAddr::V4(address) if address.is_unspecified() => "127.0.0.1".to_owned(),
            IpAddr::V6(address) if address.is_unspecified() => "::1".to_owned(),
            address => address.to_string(),
        };
        Place { tls: config.tls.is_some(), host, port: config.api_port }
    }

    /// Reads `http(s)://HOST[:PORT][/]`. What is wrong is named, not shown: there may be a password in it.
    fn parse(url: &str) -> Result<Place, Failure> {
        let bad = |why: &str| Failure::usage(format!("--url is http://HOST[:PORT] or https://HOST[:PORT]: {why}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(bad("the scheme is neither")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(bad("it has a path"));
        }
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => (host, port.strip_prefix(':')),
            Some(_) => return Err(bad("between the brackets is no IPv6 address")),
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        if host.is_empty() || !host.bytes().all(of_name) {
            return Err(bad("it has no host"));
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| bad("the port is none"))?,
            None if tls => 443,
            None => 80,
        };
        Ok(Place { tls, host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Result<(bool, String, u16), Failure> {
        Place::parse(url).map(|place| (place.tls, place.host, place.port))
    }

    #[test]
    fn a_url_says_where_a_node_is() {
        assert_eq!(place("http://localhost"), Ok((false, "localhost".into(), 80)));
        assert_eq!(place("HTTPS://relay.example.org/"), Ok((true, "relay.example.org".into(), 443)));
        assert_eq!(place("https://[::1]:8443"), Ok((true, "::1".into(), 8443)));
        assert_eq!(place("http://10.0.0.1:8080"), Ok((false, "10.0.0.1".into(), 8080)));
    }

    #[test]
    fn what_is_no_url_of_a_node_is_named_and_not_shown() {
        for url in [
            "localhost:8080",
            "ws://h",
            "http://",
            "http://:80",
            "http://h:0",
            "http://h:99999",
            "http://h:",
            "http://h/x",
            "http://h?auth=s3cret",
            "http://u:s3cret@h",
            "http://[::1",
            "http://[h]:1",
            "http://h h",
            "http://h\r\nX: y",
        ] {
            let Err(Failure::Usage(why)) = place(url) else { panic!("{url}") };
            assert!(why.starts_with("--url is") && !why.contains("s3cret"), "{url}: {why}");
        }
    }

    #[test]
    fn the_configurations_own_node_is_met_on_this_machine() {
        let at = |bind: &str| {
            let place = Place::of(&Config { bind: bind.parse().unwrap(), ..Config::default() });
            authority(&place.host, place.port)
        };
        assert_eq!(at("0.0.0.0"), "127.0.0.1:8080");
        assert_eq!(at("::"), "[::1]:8080");
        assert_eq!(at("10.1.2.3"), "10.1.2.3:8080");
    }

    #[test]
    fn a_wait_has_an_end() {
        let never = within(Duration::from_millis(1), "waiting", smol::future::pending::<Result<(), Failure>>());
        assert_eq!(smol::block_on(never), Err(Failure::refused("waiting took longer than 0.001 s")));
    }
}

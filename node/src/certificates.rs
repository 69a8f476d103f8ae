//! The certificates of a node and what they make of a connection: read at start and again on SIGHUP.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use wrs_core::action::Over;
use wrs_core::config::{Config, TlsPaths};
use wrs_core::event::Event;
use wrs_core::wire::line::Line;
use wrs_core::wire::tls::{self, LinkTls, TlsError};

use crate::log::Log;

/// TLS for the connections to come, each where it is configured.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    clients: Option<Arc<ServerConfig>>,
    links: Option<LinkTls>,
    probe: Option<Arc<ClientConfig>>,
}

impl Certificates {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// A file that cannot be read or used, by its path; never what is in it.
    pub fn read(config: &Config) -> Result<Self, String> {
        Ok(Certificates {
            clients: config.tls.as_ref().map(|paths| pair(paths, tls::server_config)).transpose()?,
            links: config.node_tls.as_ref().map(|paths| pair(paths, LinkTls::new)).transpose()?,
            probe: config.public_ssl.then(tls::probe_config).transpose().map_err(|error| error.to_string())?,
        })
    }

    /// The files as they are now, which is told; `None` where there are none, or they cannot be used.
    pub fn read_again(config: &Config, log: &Log) -> Option<Self> {
        if config.tls.is_none() && config.node_tls.is_none() {
            return None;
        }
        match Certificates::read(config) {
            Ok(certificates) => {
                log.write(&Event::CertificatesRead);
                Some(certificates)
            }
            Err(why) => {
                log.write(&Event::CertificatesRefused { why });
                None
            }
        }
    }

    /// The line of a client's connection.
    ///
    /// # Errors
    /// As [`Line::encrypted`] has them.
    pub fn of_client(&self) -> Result<Line, TlsError> {
        self.clients.clone().map_or_else(|| Ok(Line::plain()), Line::encrypted)
    }

    /// The line of a link that another node has opened.
    ///
    /// # Errors
    /// As [`Line::encrypted`] has them.
    pub fn of_link(&self) -> Result<Line, TlsError> {
        self.links.as_ref().map_or_else(|| Ok(Line::plain()), |links| Line::encrypted(links.server.clone()))
    }

    /// The line of a connection that this node has opened to `host`.
    ///
    /// # Errors
    /// As [`Line::encrypted_client`] has them.
    pub fn of_dialed(&self, host: &str, over: Over) -> Result<Line, TlsError> {
        let config = match over {
            Over::Link => self.links.as_ref().map(|links| links.client.clone()),
            Over::Api => self.probe.clone(),
        };
        config.map_or_else(|| Ok(Line::plain()), |config| Line::encrypted_client(config, host))
    }
}

fn pair<T>(paths: &TlsPaths, make: impl FnOnce(&[u8], &[u8]) -> Result<T, TlsError>) -> Result<T, String> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let (certificate, key) = (read(&paths.cert)?, read(&paths.key)?);
    make(&certificate, &key).map_err(|error| format!("{} and {}: {error}", paths.cert.display(), paths.key.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::trial::Scratch;

    fn config(scratch: &Scratch) -> Config {
        let paths = Some(scratch.certificate());
        Config { tls: paths.clone(), node_tls: paths, public_ssl: true, ..Config::default() }
    }

    fn log(config: &Config) -> Log {
        Log::new(Arc::new(config.clone()))
    }

    #[test]
    fn each_kind_of_connection_has_tls_where_it_is_configured() {
        let scratch = Scratch::new();
        let all = config(&scratch);
        let none = Config { tls: None, node_tls: None, public_ssl: false, ..all.clone() };
        for (config, expected) in [
            (none.clone(), [false, false, false, false]),
            (Config { tls: all.tls.clone(), ..none.clone() }, [true, false, false, false]),
            (Config { node_tls: all.node_tls.clone(), ..none.clone() }, [false, true, true, false]),
            // Behind a proxy that has the certificate.
            (Config { public_ssl: true, ..none }, [false, false, false, true]),
            (all, [true, true, true, true]),
        ] {
            let certificates = Certificates::read(&config).unwrap();
            let lines = [
                certificates.of_client(),
                certificates.of_link(),
                certificates.of_dialed("node", Over::Link),
                certificates.of_dialed("api", Over::Api),
            ];
            assert_eq!(lines.map(|line| line.unwrap().is_encrypted()), expected);
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_named_and_change_nothing() {
        let scratch = Scratch::new();
        let config = config(&scratch);
        let key = fs::read_to_string(scratch.path().join("key.pem")).unwrap();
        assert!(Certificates::read_again(&config, &log(&config)).is_some());
        for spoilt in ["cert.pem", "key.pem"] {
            let whole = fs::read(scratch.path().join(spoilt)).unwrap();
            fs::write(scratch.path().join(spoilt), "nothing").unwrap();
            let why = Certificates::read(&config).unwrap_err();
            assert!(why.contains("cert.pem") && !key.lines().any(|line| why.contains(line)), "{why}");
            assert!(Certificates::read_again(&config, &log(&config)).is_none());
            fs::write(scratch.path().join(spoilt), whole).unwrap();
        }
        fs::remove_file(scratch.path().join("key.pem")).unwrap();
        let why = Certificates::read(&config).unwrap_err();
        assert!(why.contains("key.pem"), "{why}");
    }

    #[test]
    fn where_there_are_no_files_nothing_is_read_again() {
        let config = Config { public_ssl: true, ..Config::default() };
        assert!(Certificates::read_again(&config, &log(&config)).is_none());
    }
}

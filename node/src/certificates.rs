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
    make(&certificate, &key).map_err(|error| format!("{}: {error}", paths.cert.display()))
}

//! What every shard of a node starts from, and what the node says when it starts.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::action::FileName;
use crate::cluster::Founders;
use crate::config::{Config, VERSION};
use crate::pages::{PageContext, Pages};
use crate::rest::Resources;

/// What all shards of a node have in common when they start.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The node's configuration.
    pub config: Arc<Config>,
    /// What the pages and documents say; made once, shared.
    pub pages: Arc<Pages>,
    /// Thirty-two bytes from the operating system, or from a test's seed: the only chance there is.
    pub key: [u8; 32],
    /// The port that clients use, which is also what `CHANNEL.port` says.
    pub public_port: u16,
    /// The port that other nodes dial: `WRS_NODE_PORT`, or what the system chose in its place.
    pub node_port: u16,
    /// What the data directory holds, in the order of the names, for shard 0; `None` where there is no directory.
    pub stored: Option<Vec<(FileName, Bytes)>>,
    /// For simulations: a cluster that is there from the beginning.
    pub founders: Option<Founders>,
}

impl Boot {
    /// A node that listens on `port` and has stored nothing; `readme` is the text of `WRS_README_PATH` if there is one.
    pub fn new(config: Arc<Config>, key: [u8; 32], port: u16, readme: Option<String>) -> Self {
        let public_port = config.public_api_port.unwrap_or(port);
        let pages = Arc::new(Pages::new(&PageContext {
            tls: config.public_ssl,
            domain: config.domain.clone(),
            public_port,
            auth: config.auth.is_some(),
            exposed_without_auth: config.is_open(),
            browser_only: config.browser_only,
            readme_markdown: readme,
            version: VERSION,
        }));
        let node_port = config.node_port;
        Boot { config, pages, key, public_port, node_port, stored: None, founders: None }
    }

    /// The same for a shard that is not shard 0: what is stored is not its concern.
    pub fn for_sibling(&self) -> Self {
        let (config, pages, founders) = (self.config.clone(), self.pages.clone(), self.founders.clone());
        Boot { config, pages, stored: None, founders, ..*self }
    }

    /// Where other nodes reach this one, as far as it knows by itself.
    pub fn node_address(&self) -> SocketAddr {
        SocketAddr::new(self.config.node_bind(), self.node_port)
    }

    /// What a person who starts the node by hand reads first. `port` is the one that it listens on.
    pub fn greeting(&self, runtime: &str, port: u16) -> String {
        let scheme = if self.config.tls.is_some() { "https" } else { "http" };
        let host = match self.config.bind {
            address if address.is_unspecified() => "127.0.0.1".to_owned(),
            std::net::IpAddr::V6(address) => format!("[{address}]"),
            address => address.to_string(),
        };
        let base = format!("{scheme}://{host}:{port}");
        format!(
            "wrs {VERSION} ({runtime}, {} shards) listening on {base}\n\
             open {base}/client in a browser, or create a channel:\n  \
             curl -d '{{\"pattern\":\"pub-sub\"}}' {base}/channels\n\
             the API guide is at {base}/readme; other nodes join at {}; stop with Ctrl-C",
            self.config.shards,
            self.node_address()
        )
    }

    /// What an operator should know of the rules in `WRS_AUTH_RESOURCES`; one line each. The configuration's own warnings
    /// came with it.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(auth) = &self.config.auth {
            let resources = Resources { id_length: self.config.id_length, browser_only: self.config.browser_only };
            let examples = resources.examples();
            let routes: Vec<(&str, &str)> = examples.iter().map(|(method, path)| (*method, path.as_str())).collect();
            for rule in auth.rules.idle(&routes) {
                warnings.push(format!("WRS_AUTH_RESOURCES: the rule {} covers no route", rule.text()));
            }
        }
        warnings
    }
}

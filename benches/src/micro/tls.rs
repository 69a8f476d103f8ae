//! A line with TLS whose handshake is done. The certificate is none: no side looks at it, so that no key has to be made
//! or kept, and every run does the same.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{ClientConnection, Error, ServerConfig, SignatureAlgorithm, SignatureScheme};
use wrs_core::wire::line::{Incoming, Line};

use super::node::Failure;
use crate::tls_client;

const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
/// A handshake takes two round trips at most.
const ROUND_TRIPS: usize = 4;

/// The server's end of a connection on which data may flow.
pub fn open_line() -> Result<Line, Failure> {
    let mut line = Line::encrypted(server()?).map_err(|error| error.to_string())?;
    let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
    let config = tls_client::trusting_anyone().map_err(|error| error.to_string())?;
    let mut client = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
    let (mut scratch, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..ROUND_TRIPS {
        let mut said = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut said).map_err(|error| error.to_string())?;
        }
        if line.received(&said, &mut plain) != Incoming::Open {
            return Err("the line took the client's hello for a fault".into());
        }
        let piece = line.piece(&mut scratch);
        let (mut answer, count) = (piece, piece.len());
        while !answer.is_empty() {
            client.read_tls(&mut answer).map_err(|error| error.to_string())?;
            client.process_new_packets().map_err(|error| error.to_string())?;
        }
        line.wrote(count);
    }
    if client.is_handshaking() { Err("the handshake came to no end".into()) } else { Ok(line) }
}

fn server() -> Result<Arc<ServerConfig>, Failure> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_no_client_auth().with_cert_resolver(Arc::new(Nobody))))
}

/// Shows a certificate that is none and signs with nothing.
#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::new(CertifiedKey::new(vec![CertificateDer::from(vec![0; 64])], Arc::new(Nobody))))
    }
}

impl SigningKey for Nobody {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SCHEME).then(|| Box::new(Nobody) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Nobody {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(vec![0; 64])
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}

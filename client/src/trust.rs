//! Which certificates a command trusts.

use std::io;
use std::sync::Arc;

use futures_rustls::TlsConnector;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::failure::Failure;

/// Whom to trust.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trust<'a> {
    /// Whom this machine trusts.
    Machine,
    /// The certificates in a file, as authorities or as the node's own, and no others.
    File(&'a str),
    /// Anyone. The connection is encrypted, but who is at its other end is unknown.
    Anyone,
}

impl Trust<'_> {
    /// What makes TLS connections with this trust.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a file that cannot be read or holds no certificate.
    pub fn connector(self) -> Result<TlsConnector, Failure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (roots, listed) = self.certificates()?;
        let chain = match self {
            Trust::Anyone => None,
            Trust::Machine | Trust::File(_) => Some(
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .map_err(|error| Failure::refused(format!("no certificate to trust: {error}; see --ca")))?,
            ),
        };
        let verifier = Arc::new(Verifier { chain, listed, provider: provider.clone() });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::refused(format!("TLS: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// The authorities, and the certificates that may be the node's own.
    fn certificates(self) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), Failure> {
        let mut roots = RootCertStore::empty();
        match self {
            Trust::Anyone => Ok((roots, Vec::new())),
            Trust::Machine => {
                // A root that cannot be read is none; what then fails says which authority it misses.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                Ok((roots, Vec::new()))
            }
            Trust::File(path) => {
                let cannot = |why: &dyn std::fmt::Display| Failure::usage(format!("--ca {path}: {why}"));
                let pem = std::fs::read(path).map_err(|error: io::Error| cannot(&error))?;
                let listed = CertificateDer::pem_slice_iter(&pem)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| cannot(&error))?;
                let (usable, _) = roots.add_parsable_certificates(listed.iter().cloned());
                if usable == 0 {
                    return Err(cannot(&"holds no certificate"));
                }
                Ok((roots, listed))
            }
        }
    }
}

/// Checks a node's certificate. Whatever is trusted, the node has to prove that it holds the certificate's key.
#[derive(Debug)]
struct Verifier {
    /// Checks chain, name and dates; `None` checks nothing.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that are trusted as they are. A self-signed one, as `openssl req -x509` makes it, calls itself an
    /// authority, which no chain may end with.
    listed: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.chain {
            Some(chain) if !self.listed.iter().any(|listed| listed == end_entity) => {
                chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            Some(_) | None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

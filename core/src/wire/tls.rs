//! TLS as bytes to bytes: rustls over memory buffers.
//!
//! It never touches a socket: ciphertext goes in and plaintext comes out, and the other way round. The server's
//! configuration (certificates, versions) is made once by [`server_config`] and shared; a new one replaces it for the
//! connections that come after.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

/// Why certificates could not be used.
#[derive(Debug)]
pub enum TlsError {
    /// The PEM text of the certificate file holds no certificate.
    NoCertificate,
    /// The PEM text of the key file holds no private key.
    NoKey,
    /// Certificate and key are not fit for each other, or for use.
    Unfit(rustls::Error),
}

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TlsError::NoCertificate => f.write_str("the certificate file holds no PEM certificate"),
            TlsError::NoKey => f.write_str("the key file holds no PEM private key"),
            TlsError::Unfit(why) => write!(f, "certificate and key cannot be used: {why}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// A server configuration from PEM texts: TLS 1.2 and 1.3, HTTP/1.1 only.
pub fn server_config(certificates: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificates).filter_map(Result::ok).collect();
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The other end does not speak TLS as it should; an alert is ready to be sent.
#[derive(Debug)]
pub struct TlsFault(pub rustls::Error);

/// One connection's TLS.
#[derive(Debug)]
pub struct Tls(ServerConnection);

impl Tls {
    /// The server's side of a new connection.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        let mut connection = ServerConnection::new(config).map_err(TlsError::Unfit)?;
        // Plaintext waits in the line's own queue, which is counted; here it only passes through.
        connection.set_buffer_limit(None);
        Ok(Tls(connection))
    }

    /// Takes ciphertext from the socket and adds the plaintext in it to `plain`. True: the other end has said that it
    /// sends no more (close_notify).
    pub fn received(&mut self, mut cipher: &[u8], plain: &mut Vec<u8>) -> Result<bool, TlsFault> {
        let mut ended = false;
        while !cipher.is_empty() {
            let before = cipher.len();
            // Reading from a slice cannot fail but for a full buffer, and that is emptied in every round.
            let read = self.0.read_tls(&mut cipher).unwrap_or(0);
            let state = self.0.process_new_packets().map_err(TlsFault)?;
            ended |= state.peer_has_closed();
            if state.plaintext_bytes_to_read() > 0 {
                match self.0.reader().read_to_end(plain) {
                    Ok(_) => ended = true,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => ended = true,
                }
            }
            if read == 0 && cipher.len() == before {
                break;
            }
        }
        Ok(ended)
    }

    /// Encrypts `plain`; the ciphertext comes out of [`Tls::take`].
    pub fn encrypt(&mut self, plain: &[u8]) {
        // A write into memory without a limit takes everything.
        let _ = self.0.writer().write_all(plain);
    }

    /// Says to the other end that no more is sent.
    pub fn close(&mut self) {
        self.0.send_close_notify();
    }

    /// Adds to `cipher` what is to be written to the socket: handshake, alerts, data.
    pub fn take(&mut self, cipher: &mut Vec<u8>) {
        while self.0.wants_write() {
            if !matches!(self.0.write_tls(cipher), Ok(written) if written > 0) {
                break;
            }
        }
    }

    /// Whether the handshake is still under way.
    pub fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }
}

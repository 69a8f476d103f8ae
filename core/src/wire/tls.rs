//! TLS as bytes to bytes: rustls over memory buffers.
//!
//! It never touches a socket: ciphertext goes in and plaintext comes out, and the other way round. A configuration
//! (certificates, versions, whom to trust) is made once and shared; a new one replaces it for the connections that come
//! after. There are three: [`server_config`] for clients, [`LinkTls`] for both ends of a link between nodes, and
//! [`probe_config`] to ask the service who it is.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Connection, DigitallySignedStruct, DistinguishedName,
    ServerConfig, ServerConnection, SignatureScheme,
};

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
    let (chain, key) = read_pem(certificates, key)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_pem(certificates: &[u8], key: &[u8]) -> Result<Pair, TlsError> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificates).filter_map(Result::ok).collect();
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    Ok((chain, PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?))
}

/// TLS of the links between nodes: all of them have the same certificate and key, which is what admits them. Each end must
/// show exactly that certificate and prove that it holds its key; names, dates and authorities mean nothing here. TLS 1.3
/// only.
#[derive(Clone, Debug)]
pub struct LinkTls {
    /// For links that others open.
    pub server: Arc<ServerConfig>,
    /// For links that this node opens.
    pub client: Arc<ClientConfig>,
}

impl LinkTls {
    /// Both ends' configurations from PEM texts; the first certificate is the one that counts.
    ///
    /// # Errors
    /// No certificate, no key, or two that do not belong together.
    pub fn new(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let (chain, key) = read_pem(certificates, key)?;
        let ours = Arc::new(Trusted { only: chain.first().cloned(), provider: provider() });
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Unfit)?
            .with_client_cert_verifier(ours.clone())
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(TlsError::Unfit)?;
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Unfit)?
            .dangerous()
            .with_custom_certificate_verifier(ours)
            .with_client_auth_cert(chain, key)
            .map_err(TlsError::Unfit)?;
        // A ticket would let in who had the certificate once.
        client.resumption = Resumption::disabled();
        Ok(LinkTls { server: Arc::new(server), client: Arc::new(client) })
    }
}

/// A client's configuration that takes any certificate: whoever uses it sends nothing secret and believes the answer no
/// more than one that came without TLS. HTTP/1.1 only.
///
/// # Errors
/// rustls has none of the versions that we want: not with the provider that is built in.
pub fn probe_config() -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unfit)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusted { only: None, provider: provider() }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Whose certificate is taken. Whatever it is, the other end has to prove that it holds the certificate's key.
#[derive(Debug)]
struct Trusted {
    /// The one certificate; `None` takes any.
    only: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Trusted {
    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        match &self.only {
            Some(only) if only != shown => {
                Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_tls12(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, shown, signed, &self.provider.signature_verification_algorithms)
    }

    fn check_tls13(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, shown, signed, &self.provider.signature_verification_algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(shown).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_tls12(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_tls13(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Trusted {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(shown).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_tls12(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_tls13(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

/// The other end does not speak TLS as it should; an alert is ready to be sent.
#[derive(Debug)]
pub struct TlsFault(pub rustls::Error);

/// One connection's TLS.
#[derive(Debug)]
pub struct Tls(Connection);

impl Tls {
    /// The server's side of a new connection.
    ///
    /// # Errors
    /// The configuration is not fit for use; one that this module made is.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Tls::new(ServerConnection::new(config).map_err(TlsError::Unfit)?.into()))
    }

    /// The client's side of a new connection to `host`, a name or an address; its first bytes are ready in [`Tls::take`].
    ///
    /// # Errors
    /// As for [`Tls::server`]. A host that TLS cannot name is not one: it is not told then.
    pub fn client(config: Arc<ClientConfig>, host: &str) -> Result<Self, TlsError> {
        let unnamed = || ServerName::IpAddress(std::net::IpAddr::from([0; 4]).into());
        let name = ServerName::try_from(host.to_owned()).unwrap_or_else(|_| unnamed());
        Ok(Tls::new(ClientConnection::new(config, name).map_err(TlsError::Unfit)?.into()))
    }

    fn new(mut connection: Connection) -> Self {
        // Plaintext waits in the line's own queue, which is counted; here it only passes through.
        connection.set_buffer_limit(None);
        Tls(connection)
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::line::{Incoming, Line};

    fn pem() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["one-for-all".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn link_tls() -> LinkTls {
        let (certificate, key) = pem();
        LinkTls::new(certificate.as_bytes(), key.as_bytes()).unwrap()
    }

    /// Carries what one end has to say to the other: its plaintext, or what was wrong.
    fn carry(from: &mut Line, to: &mut Line) -> Result<Vec<u8>, String> {
        let (mut scratch, mut plain) = (Vec::new(), Vec::new());
        loop {
            let piece = from.piece(&mut scratch).to_vec();
            if piece.is_empty() {
                return Ok(plain);
            }
            from.wrote(piece.len());
            match to.received(&piece, &mut plain) {
                Incoming::Open | Incoming::Ended => {}
                Incoming::Broken(why) => return Err(why),
            }
        }
    }

    /// Has both ends greet each other: what each heard, or what the first to complain said.
    fn greet(mut client: Line, mut server: Line) -> Result<(Vec<u8>, Vec<u8>), String> {
        client.push(Bytes::from_static(b"from the client"));
        server.push(Bytes::from_static(b"from the server"));
        let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            to_server.extend(carry(&mut client, &mut server)?);
            to_client.extend(carry(&mut server, &mut client)?);
        }
        Ok((to_client, to_server))
    }

    fn both(to_client: &[u8], to_server: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
        Ok((to_client.to_vec(), to_server.to_vec()))
    }

    #[test]
    fn two_nodes_with_one_certificate_are_linked_whatever_each_is_called() {
        let tls = link_tls();
        for host in ["node-1.example", "10.0.0.1", "::1", "a_b", "-"] {
            let client = Line::encrypted_client(tls.client.clone(), host).unwrap();
            let server = Line::encrypted(tls.server.clone()).unwrap();
            assert_eq!(greet(client, server), both(b"from the server", b"from the client"), "{host}");
        }
    }

    #[test]
    fn a_node_with_another_certificate_is_refused_by_either_end() {
        let (ours, other) = (link_tls(), link_tls());
        let client = Line::encrypted_client(ours.client.clone(), "node").unwrap();
        let refused = greet(client, Line::encrypted(other.server.clone()).unwrap()).unwrap_err();
        assert!(refused.contains("certificate"), "{refused}");
        // One that dials with another certificate and believes whatever it is shown.
        let (certificate, key) = pem();
        let (chain, key) = read_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusted { only: None, provider: provider() }))
            .with_client_auth_cert(chain, key)
            .unwrap();
        let client = Line::encrypted_client(Arc::new(config), "node").unwrap();
        let refused = greet(client, Line::encrypted(ours.server.clone()).unwrap()).unwrap_err();
        assert!(refused.contains("certificate"), "{refused}");
    }

    #[test]
    fn who_shows_no_certificate_is_not_linked() {
        let client = Line::encrypted_client(probe_config().unwrap(), "node").unwrap();
        let refused = greet(client, Line::encrypted(link_tls().server).unwrap()).unwrap_err();
        assert!(refused.to_lowercase().contains("certificate"), "{refused}");
    }

    #[test]
    fn who_shows_the_certificate_without_its_key_is_not_linked() {
        // The certificate alone is no secret: everybody who dials is shown it.
        let ((certificate, _), (_, other_key)) = (pem(), pem());
        let tls = LinkTls::new(certificate.as_bytes(), other_key.as_bytes());
        assert!(matches!(tls, Err(TlsError::Unfit(_))), "not even made: {tls:?}");
    }

    #[test]
    fn a_probe_reaches_the_service_whatever_its_certificate() {
        let (certificate, key) = pem();
        let server = server_config(certificate.as_bytes(), key.as_bytes()).unwrap();
        let client = Line::encrypted_client(probe_config().unwrap(), "another.example").unwrap();
        assert_eq!(greet(client, Line::encrypted(server).unwrap()), both(b"from the server", b"from the client"));
    }

    #[test]
    fn rubbish_in_place_of_a_server_is_told_and_harms_nobody() {
        let mut client = Line::encrypted_client(link_tls().client, "node").unwrap();
        let mut plain = Vec::new();
        assert!(matches!(client.received(b"HTTP/1.1 400 Bad Request\r\n\r\n", &mut plain), Incoming::Broken(_)));
        assert!(plain.is_empty());
    }

    #[test]
    fn texts_that_hold_no_certificate_or_no_key_are_told_apart() {
        let (certificate, key) = pem();
        assert!(matches!(LinkTls::new(b"", key.as_bytes()), Err(TlsError::NoCertificate)));
        assert!(matches!(LinkTls::new(certificate.as_bytes(), b""), Err(TlsError::NoKey)));
        assert!(matches!(server_config(b"", key.as_bytes()), Err(TlsError::NoCertificate)));
    }
}

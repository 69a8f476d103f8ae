//! Certificates of our own making.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// A self-signed certificate for this machine, in files.
pub struct Certificate {
    directory: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// A new certificate in a directory of its own, which goes with it.
    pub fn new() -> Certificate {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("wrs-scenario-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let der = write(&directory);
        Certificate { directory, der }
    }

    /// Writes another certificate over this one's files, and is that one.
    pub fn replace(&mut self) {
        self.der = write(&self.directory);
    }

    /// The directory of the files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// `WRS_SSL_CERT_PATH=…`
    pub fn cert_setting(&self) -> String {
        format!("WRS_SSL_CERT_PATH={}", self.directory.join("cert.pem").display())
    }

    /// `WRS_SSL_KEY_PATH=…`
    pub fn key_setting(&self) -> String {
        format!("WRS_SSL_KEY_PATH={}", self.directory.join("key.pem").display())
    }

    /// A client that trusts this certificate alone.
    pub fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Certificate::new()
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // What stays behind stands in a directory for such things.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn write(directory: &Path) -> CertificateDer<'static> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

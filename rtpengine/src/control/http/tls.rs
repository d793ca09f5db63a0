//! Certificate and key of the HTTPS door, read again when their files change.
//!
//! The files are looked at when a connection comes in, so a renewed certificate needs no restart and no signal. New files that are not
//! usable leave the old certificate in use.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Why HTTPS is not possible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file cannot be read or is not PEM.
    #[error("cannot read a certificate from '{}' (--https-cert): {cause}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The file cannot be read or has no key.
    #[error("cannot read a private key from '{}' (--https-key): {cause}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The key cannot be used, or belongs to another certificate.
    #[error("cannot use the key in '{}' with the certificate in '{}': {cause}", key.display(), certificate.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        cause: rustls::Error,
    },
    /// The library has no usable settings.
    #[error("cannot set TLS up: {0}")]
    Setup(rustls::Error),
}

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM, the certificate first, then those that lead to the root.
    pub certificate: PathBuf,
    /// PEM; the first key counts. May be the same file.
    pub key: PathBuf,
}

/// The certificate in use.
#[derive(Debug)]
pub struct Certificate {
    files: CertificateFiles,
    provider: Arc<CryptoProvider>,
    /// Guards an `Arc` that is replaced whole.
    current: RwLock<Arc<CertifiedKey>>,
    /// State of the files at the last attempt to read them; held while they are read.
    seen: Mutex<[Option<Stamp>; 2]>,
}

/// Modification time, length and inode of a file.
type Stamp = (Option<SystemTime>, u64, u64);

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// When they do not give a certificate with its key.
    pub fn load(files: CertificateFiles) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let seen = Mutex::new(stamps(&files));
        let current = RwLock::new(Arc::new(read(&files, &provider)?));
        Ok(Arc::new(Certificate { files, provider, current, seen }))
    }

    /// Settings of a server that shows this certificate.
    ///
    /// # Errors
    /// [`TlsError::Setup`]
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let versions = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(self) as _;
        let mut config = versions.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Reads the files again if they have changed. Blocks for as long as reading takes; two status calls when nothing has changed.
    pub fn refresh(&self) {
        let now = stamps(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return;
        }
        *seen = now;
        match read(&self.files, &self.provider) {
            Ok(key) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                tracing::info!(certificate = %self.files.certificate.display(), "certificate of HTTPS read again");
            }
            Err(cause) => tracing::warn!(%cause, "changed certificate of HTTPS is not used"),
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let certificate = |cause: String| TlsError::Certificate { path: files.certificate.clone(), cause };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|cause| certificate(cause.to_string()))?;
    if chain.is_empty() {
        return Err(certificate("it contains none".into()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|cause| TlsError::Key { path: files.key.clone(), cause: cause.to_string() })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|cause| TlsError::Pair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        cause,
    })
}

fn stamps(files: &CertificateFiles) -> [Option<Stamp>; 2] {
    [stamp(&files.certificate).ok(), stamp(&files.key).ok()]
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.modified().ok(), metadata.len(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn mistakes_name_the_file_and_what_is_wrong() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).expect("written");
            path
        };
        let ((certificate, key), (_, other)) = (pair("localhost"), pair("localhost"));
        let certificate = path("cert.pem", &certificate);
        let (key, other, empty) = (path("key.pem", &key), path("other.pem", &other), path("empty.pem", ""));
        let cases = [
            (folder.path().join("none.pem"), key.clone(), "none.pem"),
            (empty.clone(), key.clone(), "empty.pem' (--https-cert): it contains none"),
            (certificate.clone(), empty, "empty.pem' (--https-key)"),
            (certificate.clone(), certificate.clone(), "cert.pem' (--https-key)"),
            (certificate.clone(), other, "cannot use the key in '"),
        ];
        for (certificate, key, expected) in cases {
            let error = Certificate::load(CertificateFiles { certificate, key }).expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(Certificate::load(CertificateFiles { certificate, key }).is_ok());
    }

    #[test]
    fn changed_files_are_used_if_they_are_good() {
        let folder = tempfile::tempdir().expect("a folder");
        let both = folder.path().join("both.pem");
        let write = |text: &str| std::fs::write(&both, text).expect("written");
        let (certificate, key) = pair("first.example");
        write(&(certificate + &key));
        let files = CertificateFiles { certificate: both.clone(), key: both.clone() };
        let loaded = Certificate::load(files).expect("certificate and key in one file");
        let in_use = || loaded.current.read().expect("no panic").cert[0].clone();
        let first = in_use();
        loaded.refresh();
        assert_eq!(in_use(), first);
        write("half written");
        loaded.refresh();
        assert_eq!(in_use(), first, "an unusable file changes nothing");
        let (certificate, key) = pair("second.example.with.another.length");
        write(&(certificate + &key));
        loaded.refresh();
        assert_ne!(in_use(), first);
    }
}

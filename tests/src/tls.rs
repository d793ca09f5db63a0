//! A certificate made for a test, and a TLS client that trusts it alone.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A self-signed certificate for `localhost`, with its files.
#[derive(Debug)]
pub struct Certificate {
    /// PEM of the certificate.
    pub path: PathBuf,
    /// PEM of the key.
    pub key: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Makes a new one and writes `cert.pem` and `key.pem` into a folder, over what is there.
    pub fn make(folder: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (path, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        // Renamed into place, as renewal programs do.
        for (path, text) in [(&key, made.signing_key.serialize_pem()), (&path, made.cert.pem())] {
            let new = path.with_extension("new");
            std::fs::write(&new, text).expect("the folder is writable");
            std::fs::rename(&new, path).expect("the folder is writable");
        }
        Self { path, key, der: made.cert.der().clone() }
    }

    /// A connection on which the handshake is done.
    ///
    /// # Errors
    /// When the server shows another certificate, or nothing.
    pub fn connect(&self, to: SocketAddr) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).map_err(|e| e.to_string())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").map_err(|e| e.to_string())?;
        let mut connection = ClientConnection::new(Arc::new(config), name).map_err(|e| e.to_string())?;
        let mut stream = TcpStream::connect(to).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(|e| e.to_string())?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(|e| e.to_string())?;
        }
        Ok(StreamOwned::new(connection, stream))
    }
}

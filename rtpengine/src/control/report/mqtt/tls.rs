//! TLS towards the broker, with certification authorities of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rumqttc::NetworkOptions;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::MqttTls;

/// Reads the files.
///
/// # Errors
/// Names the file that cannot be used, and why.
pub fn connector(files: &MqttTls) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for path in authorities(files)? {
        for certificate in certificates(&path)? {
            roots.add(certificate).map_err(|error| about(&path, error))?;
        }
    }
    if roots.is_empty() {
        return Err(io::Error::other("no certificate in the files of --mqtt-cafile and --mqtt-capath"));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let mut config = match &files.identity {
        Some((certificate, key)) => {
            let own = PrivateKeyDer::from_pem_file(key).map_err(|error| about(key, error))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, own)
                .map_err(|error| about(certificate, error))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols.extend(files.alpn.as_ref().map(|name| name.clone().into_bytes()));
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Connects and shakes hands.
pub async fn connect(
    connector: TlsConnector,
    host: String,
    address: String,
    _: NetworkOptions,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    connector.connect(name, stream).await
}

fn authorities(files: &MqttTls) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = files.ca_file.iter().cloned().collect();
    if let Some(directory) = &files.ca_path {
        let entries = std::fs::read_dir(directory).map_err(|error| about(directory, error))?;
        let is_certificate = |path: &PathBuf| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            path.is_file() && matches!(extension, Some("pem" | "crt" | "cer" | "0"))
        };
        paths.extend(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_certificate));
    }
    Ok(paths)
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| about(path, error))
}

fn about(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

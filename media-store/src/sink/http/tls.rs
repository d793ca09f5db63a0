//! TLS as a client: the system's certification authorities, or no questions asked.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whether the certificate of a server is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// It has to be valid for the name, and signed by an authority that the system trusts.
    Full,
    /// Anybody may answer.
    None,
}

/// Where systems keep the authorities that they trust; `SSL_CERT_FILE` comes first.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Shakes hands.
///
/// # Errors
/// When `host` is no name, the certificate is refused or the handshake fails.
pub async fn connect(
    host: &str,
    stream: TcpStream,
    verification: Verification,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(config(verification)?).connect(name, stream).await
}

fn config(verification: Verification) -> io::Result<Arc<ClientConfig>> {
    static FULL: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    static NONE: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let kept = match verification {
        Verification::Full => &FULL,
        Verification::None => &NONE,
    };
    if let Some(config) = kept.get() {
        return Ok(Arc::clone(config));
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = match verification {
        Verification::Full => builder.with_root_certificates(authorities()?).with_no_client_auth(),
        Verification::None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth(),
    };
    Ok(Arc::clone(kept.get_or_init(|| Arc::new(config))))
}

fn authorities() -> io::Result<RootCertStore> {
    let chosen = std::env::var_os("SSL_CERT_FILE");
    let file = chosen
        .as_deref()
        .map(Path::new)
        .into_iter()
        .chain(AUTHORITIES.map(Path::new))
        .find(|path| path.is_file());
    let file = file.ok_or_else(|| io::Error::other("no file of trusted certification authorities"))?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).map_err(io::Error::other)?;
    roots.add_parsable_certificates(certificates.flatten());
    Ok(roots)
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

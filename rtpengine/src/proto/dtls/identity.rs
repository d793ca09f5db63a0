//! Our certificate, and what all handshakes under it have in common.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::SystemTime;

use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslRef, SslSessionCacheMode,
    SslVerifyMode, SslVersion,
};
use openssl::x509::{X509StoreContext, X509StoreContextRef};

use super::certificate::{Certificate, CertificateError, CertificateOptions, fingerprint};
use super::keys::PROFILES;
use super::sys;
use crate::proto::sdp::model::{Fingerprint, FingerprintHash};

/// Options of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `dtls-cert-cipher`, `dtls-rsa-key-size`, `dtls-signature`
    pub certificate: CertificateOptions,
    /// `dtls-ciphers`: cipher list in OpenSSL's syntax.
    pub ciphers: String,
    /// `dtls-mtu`: longest packet with its IP and UDP headers.
    pub mtu: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            certificate: CertificateOptions::default(),
            ciphers: "DEFAULT:!NULL:!aNULL:!SHA256:!SHA384:!aECDH:!AESGCM+AES256:!aPSK".into(),
            mtu: 1200,
        }
    }
}

/// Octets of IPv6 and UDP headers.
const HEADERS: u16 = 48;
/// Octets of certificates that a peer may send: enough for a chain that nobody needs.
const MAX_CERTIFICATES: i64 = 16 << 10;
/// `X509_V_ERR_CERT_REJECTED`: the peer gets the alert `bad_certificate` (RFC 5763 §5).
pub(super) const REJECTED: i32 = 28;

/// A certificate that can shake hands.
pub struct Identity {
    certificate: Certificate,
    plain: SslContext,
    with_cookie: SslContext,
    mtu: u16,
}

/// The cryptographic library refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// There are no handshakes.
    #[error("cannot use the options of DTLS: {0}")]
    Options(#[from] ErrorStack),
}

/// What the callbacks of one association need.
pub(super) struct Peer {
    /// What the ClientHello has to bring, if the path is not validated.
    pub cookie: [u8; COOKIE],
    /// It did.
    pub proven: Arc<AtomicBool>,
    /// The peer's certificate, as signalled.
    pub fingerprint: OnceLock<Fingerprint>,
}

/// Octets of a cookie: short enough for a HelloVerifyRequest to be shorter than any ClientHello.
pub(super) const COOKIE: usize = 16;

static PEER: LazyLock<Result<Index<Ssl, Peer>, ErrorStack>> = LazyLock::new(Ssl::new_ex_index);

impl Identity {
    /// Makes a new certificate. Costs about 0.5 ms, with RSA a quarter of a second.
    ///
    /// # Errors
    /// When the library refuses the options.
    pub fn generate(settings: &Settings, common_name: &str, now: SystemTime) -> Result<Self, IdentityError> {
        Self::new(Certificate::generate(settings.certificate, common_name, now)?, settings)
    }

    /// Costs about 0.2 ms.
    ///
    /// # Errors
    /// When the library refuses, for example because no cipher of the list is known.
    pub fn new(certificate: Certificate, settings: &Settings) -> Result<Self, IdentityError> {
        let plain = context(&certificate, settings)?.build();
        let mut with_cookie = context(&certificate, settings)?;
        with_cookie.set_options(SslOptions::COOKIE_EXCHANGE);
        with_cookie.set_cookie_generate_cb(|ssl, buffer| {
            let (Some(peer), Some(cookie)) = (peer(ssl), buffer.get_mut(..COOKIE)) else { return Ok(0) };
            cookie.copy_from_slice(&peer.cookie);
            Ok(COOKIE)
        });
        with_cookie.set_cookie_verify_cb(|ssl, cookie| {
            let Some(peer) = peer(ssl) else { return false };
            let proven = cookie.len() == COOKIE && openssl::memcmp::eq(cookie, &peer.cookie);
            peer.proven.fetch_or(proven, Relaxed);
            proven
        });
        let mtu = settings.mtu.saturating_sub(HEADERS);
        Ok(Self { certificate, plain, with_cookie: with_cookie.build(), mtu })
    }

    /// Who we are.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// A new association, not begun yet.
    pub(super) fn association(&self, peer: Peer, cookie: Cookie) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(match cookie {
            Cookie::Demanded => &self.with_cookie,
            Cookie::NotNeeded => &self.plain,
        })?;
        ssl.set_ex_data(PEER.clone()?, peer);
        // Without it nothing is ever sent.
        ssl.set_mtu(u32::from(self.mtu))?;
        sys::set_timer(&mut ssl);
        Ok(ssl)
    }
}

/// Whether a client has to prove that it is where it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cookie {
    Demanded,
    NotNeeded,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        let id = |identity: &Self| identity.certificate.fingerprint(FingerprintHash::Sha256).clone();
        std::ptr::eq(self, other) || id(self) == id(other)
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.certificate)
    }
}

/// What belongs to an association.
pub(super) fn peer(ssl: &SslRef) -> Option<&Peer> {
    ssl.ex_data(*PEER.as_ref().ok()?)
}

fn context(certificate: &Certificate, settings: &Settings) -> Result<SslContextBuilder, ErrorStack> {
    let mut context = SslContextBuilder::new(SslMethod::dtls())?;
    context.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    // The fingerprint says whom to trust; RSA keys of 1024 bits are still found in telephones.
    context.set_security_level(1);
    context.set_options(SslOptions::NO_QUERY_MTU | SslOptions::NO_RENEGOTIATION | SslOptions::NO_TICKET);
    context.set_mode(SslMode::RELEASE_BUFFERS);
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    sys::set_max_certificates(&mut context, MAX_CERTIFICATES);
    sys::set_max_fragment(&mut context, i64::from(settings.mtu));
    context.set_cipher_list(&settings.ciphers)?;
    context.set_certificate(certificate.x509())?;
    context.set_private_key(certificate.private_key())?;
    let profiles: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
    context.set_tlsext_use_srtp(&profiles.join(":"))?;
    context.set_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, accepts);
    Ok(context)
}

/// Certificates are self-signed: no chain, no dates, only the fingerprint of the first one counts, if it is known already.
fn accepts(_: bool, chain: &mut X509StoreContextRef) -> bool {
    if chain.error_depth() != 0 {
        return true;
    }
    let expected = X509StoreContext::ssl_idx().ok().and_then(|index| {
        let ssl = chain.ex_data(index)?;
        peer(ssl)?.fingerprint.get()
    });
    let shown = expected.zip(chain.current_cert());
    let is_other = shown
        .is_some_and(|(expected, shown)| fingerprint(shown, expected.hash).ok().as_ref() != Some(expected));
    if is_other {
        chain.set_error(sys::verify_result(REJECTED));
    }
    !is_other
}

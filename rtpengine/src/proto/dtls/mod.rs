//! DTLS-SRTP (RFC 5763, RFC 5764).

pub mod certificate;

pub use certificate::{Certificate, CertificateError, CertificateKey, CertificateOptions, SignatureHash};

//! DTLS-SRTP (RFC 5763, RFC 5764): one end of a DTLS 1.2 association, whose only product are SRTP keys.
//!
//! An [`Identity`] is our certificate with everything that handshakes under it have in common. An [`Endpoint`] is one
//! association: datagrams and time go in, datagrams, the next deadline and at last [`SrtpKeys`] come out. It knows neither
//! sockets nor addresses. The work of the protocol is OpenSSL's; retransmission timers run on the wall clock for that reason.
//!
//! ```text
//! Handshaking → Unverified (the peer's fingerprint is not known yet) → Established → Ended
//!      └───────────────────────────────────────────────────────────────────↗ (time-out, wrong certificate, no profile)
//! ```
//!
//! * Whom we talk to is decided by the fingerprint of the SDP alone (RFC 5763 §5). Keys are handed out only after the comparison.
//! * Until a path is known to be the peer's ([`Path`]), no more octets leave than came in, and the first flight is a
//!   HelloVerifyRequest (RFC 6347 §4.2.1).
//! * Alerts and application data that are not encrypted could come from anybody: they are ignored. A handshake ends by time-out.

pub mod certificate;
mod endpoint;
mod identity;
mod keys;
pub mod record;
mod sys;
#[cfg(test)]
mod tests;
mod wire;

use serde::{Deserialize, Serialize};

pub use certificate::{Certificate, CertificateError, CertificateKey, CertificateOptions, SignatureHash};
pub use endpoint::{Endpoint, Event, Failure, Path, Refused};
pub use identity::{Identity, IdentityError, Settings};
pub use keys::{PROFILES, Profile, SrtpKeys};

/// Who sends the ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// We do.
    Active,
    /// The party does.
    Passive,
}

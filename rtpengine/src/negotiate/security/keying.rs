//! What negotiation tells the data plane about the packets of one party's media.

use std::sync::Arc;

use crate::proto::dtls::Identity;
pub use crate::proto::dtls::Role as DtlsRole;
use crate::proto::sdp::model::{Crypto, Fingerprint};

/// What to do with the packets from and to one party.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keying {
    /// RTP and RTCP in the clear.
    #[default]
    Plain,
    /// SRTP with keys from the SDP (RFC 4568).
    Sdes {
        /// The party encrypts with this key: packets from it are decrypted with it.
        receive: Box<Crypto>,
        /// Packets to the party are encrypted with this key.
        send: Box<Crypto>,
    },
    /// SRTP with keys from a DTLS handshake on the media path (RFC 5763).
    Dtls(DtlsKeying),
    /// SRTP without usable keys: nothing may pass, in either direction.
    Blocked,
}

/// A DTLS association with one party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtlsKeying {
    /// What we do.
    pub role: DtlsRole,
    /// The party's certificate. `None` before its answer: the handshake may go on (the party may be faster than its answer), but no
    /// media pass until the certificate could be compared.
    pub fingerprint: Option<Fingerprint>,
    /// A new number means a new association: keys and DTLS state are thrown away, the handshake starts over.
    pub association: u32,
    /// The certificate whose fingerprint the party was told.
    pub identity: Arc<Identity>,
}

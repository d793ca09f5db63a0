//! Keys for media: SDES, DTLS-SRTP signalling and opportunistic SRTP.

mod keying;

pub use keying::{DtlsKeying, DtlsRole, Keying};

/// What is known about the protection of one media with one party.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaSecurity {
    keying: Keying,
}

impl MediaSecurity {
    /// What to do with the packets from and to the party.
    pub fn keying(&self) -> &Keying {
        &self.keying
    }
}

//! MESSAGE-INTEGRITY (RFC 8489 §14.5) and FINGERPRINT (§14.7).

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Octets of an HMAC-SHA1.
pub(crate) const TAG_OCTETS: usize = 20;
/// "STUN", so that the sum differs from that of another protocol that also ends in a CRC-32.
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// A short-term password, expanded once for all messages.
#[derive(Clone)]
pub struct IntegrityKey(Hmac<Sha1>);

impl IntegrityKey {
    /// For a password as it stands in the SDP. (ICE passwords are ASCII, which SASLprep leaves alone.)
    pub fn new(password: &str) -> Self {
        Self(Hmac::new_from_slice(password.as_bytes()).expect("HMAC takes keys of any length"))
    }

    /// The tag of a message: its octets up to MESSAGE-INTEGRITY, with a header length that ends behind that.
    pub(crate) fn tag(&self, length: u16, message: &[u8]) -> [u8; TAG_OCTETS] {
        self.hash(length, message).finalize().into_bytes().into()
    }

    /// Compares in constant time.
    pub(crate) fn is_tag(&self, length: u16, message: &[u8], tag: &[u8]) -> bool {
        self.hash(length, message).verify_slice(tag).is_ok()
    }

    fn hash(&self, length: u16, message: &[u8]) -> Hmac<Sha1> {
        let mut hash = self.0.clone();
        let (before, after) = message.split_at(message.len().min(2));
        hash.update(before);
        hash.update(&length.to_be_bytes());
        hash.update(after.get(2..).unwrap_or_default());
        hash
    }
}

/// Not for logs.
impl std::fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IntegrityKey")
    }
}

/// The value of FINGERPRINT: of a message's octets up to it, the header length already counting it.
pub(crate) fn fingerprint(message: &[u8]) -> u32 {
    let sum =
        message.iter().fold(u32::MAX, |sum, octet| CRC_TABLE[usize::from((sum as u8) ^ octet)] ^ (sum >> 8));
    !sum ^ FINGERPRINT_XOR
}

/// CRC-32 of ISO 3309 (ITU V.42), least significant bit first.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut octet = 0;
    while octet < 256 {
        let mut sum = octet as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        table[octet] = sum;
        octet += 1;
    }
    table
};

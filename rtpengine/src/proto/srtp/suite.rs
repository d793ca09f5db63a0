//! The crypto suites of RFC 4568 §6.2, RFC 6188 §2 and RFC 7714 §12.

/// A crypto suite: cipher, key sizes and authentication tag.
#[derive(Debug, PartialEq, Eq)]
pub struct Suite {
    /// Registered name.
    pub name: &'static str,
    /// How packets are encrypted.
    pub cipher: CipherKind,
    /// Master (and session) key octets.
    pub key_octets: usize,
    /// Master (and session) salt octets.
    pub salt_octets: usize,
    /// Octets of the authentication tag of SRTP packets.
    pub rtp_tag_octets: usize,
    /// Octets of the authentication tag of SRTCP packets: never shortened (RFC 4568 §6.2, RFC 6188 §2).
    pub rtcp_tag_octets: usize,
}

/// Encryption transforms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherKind {
    /// None; packets are authenticated only.
    Null,
    /// AES in counter mode (RFC 3711 §4.1.1, RFC 6188), the key size tells which AES.
    CounterMode,
    /// AES-128 in f8 mode (RFC 3711 §4.1.2).
    F8,
    /// AES in Galois/counter mode (RFC 7714), which authenticates as well.
    Gcm,
}

impl Suite {
    /// The suite of that name, any case.
    pub fn by_name(name: &str) -> Option<&'static Suite> {
        SUITES.iter().find(|suite| suite.name.eq_ignore_ascii_case(name))
    }

    /// Octets of master key and master salt together.
    pub fn key_salt_octets(&self) -> usize {
        self.key_octets + self.salt_octets
    }
}

/// Most octets of a master key and salt together.
pub(super) const MAX_KEY_SALT: usize = 46;

const fn hmac(name: &'static str, cipher: CipherKind, key_octets: usize, rtp_tag_octets: usize) -> Suite {
    Suite { name, cipher, key_octets, salt_octets: 14, rtp_tag_octets, rtcp_tag_octets: 10 }
}

const fn gcm(name: &'static str, key_octets: usize) -> Suite {
    let cipher = CipherKind::Gcm;
    Suite { name, cipher, key_octets, salt_octets: 12, rtp_tag_octets: 16, rtcp_tag_octets: 16 }
}

/// All suites.
pub static SUITES: [Suite; 12] = [
    gcm("AEAD_AES_256_GCM", 32),
    gcm("AEAD_AES_128_GCM", 16),
    hmac("AES_256_CM_HMAC_SHA1_80", CipherKind::CounterMode, 32, 10),
    hmac("AES_256_CM_HMAC_SHA1_32", CipherKind::CounterMode, 32, 4),
    hmac("AES_192_CM_HMAC_SHA1_80", CipherKind::CounterMode, 24, 10),
    hmac("AES_192_CM_HMAC_SHA1_32", CipherKind::CounterMode, 24, 4),
    hmac("AES_CM_128_HMAC_SHA1_80", CipherKind::CounterMode, 16, 10),
    hmac("AES_CM_128_HMAC_SHA1_32", CipherKind::CounterMode, 16, 4),
    hmac("F8_128_HMAC_SHA1_80", CipherKind::F8, 16, 10),
    hmac("F8_128_HMAC_SHA1_32", CipherKind::F8, 16, 4),
    hmac("NULL_HMAC_SHA1_80", CipherKind::Null, 16, 10),
    hmac("NULL_HMAC_SHA1_32", CipherKind::Null, 16, 4),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::sdp;

    #[test]
    fn every_suite_that_signalling_knows_is_here() {
        for known in &sdp::SUITES {
            let suite = Suite::by_name(known.name).expect(known.name);
            assert_eq!(suite.key_octets, known.key_octets, "{}", known.name);
            assert_eq!(suite.salt_octets, known.salt_octets, "{}", known.name);
            assert!(suite.key_salt_octets() <= MAX_KEY_SALT);
        }
        assert!(Suite::by_name("aes_cm_128_hmac_sha1_80").is_some());
        assert!(Suite::by_name("AES_CM_128_HMAC_MD5").is_none());
    }
}

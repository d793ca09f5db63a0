//! `a=fingerprint:<hash> <hex octets>` (RFC 8122).

use serde::{Deserialize, Serialize};

use crate::proto::sdp::model::Fingerprint;

/// A hash function of a certificate fingerprint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FingerprintHash {
    /// `sha-1`
    Sha1,
    /// `sha-224`
    Sha224,
    /// `sha-256`
    #[default]
    Sha256,
    /// `sha-384`
    Sha384,
    /// `sha-512`
    Sha512,
}

impl FingerprintHash {
    /// All of them, shortest digest first.
    pub const ALL: [Self; 5] = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The hash of that name, any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.name().eq_ignore_ascii_case(name))
    }

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha-1",
            Self::Sha224 => "sha-224",
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    /// Length of a digest.
    pub fn octets(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// `None` for an unknown hash, bad hexadecimal or a digest of the wrong length.
pub(super) fn parse(text: &str) -> Option<Fingerprint> {
    let mut words = text.split_ascii_whitespace();
    let name = words.next()?;
    let hash = FingerprintHash::from_name(name)?;
    let length = hash.octets();
    let hex = words.next()?;
    // Two digits and a colon an octet: reject long junk before decoding it.
    if hex.len() != length * 3 - 1 {
        return None;
    }
    let digest: Vec<u8> = hex.split(':').map(octet).collect::<Option<_>>()?;
    (digest.len() == length).then_some(Fingerprint { hash, digest })
}

fn octet(pair: &str) -> Option<u8> {
    let is_hex = pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit());
    if is_hex { u8::from_str_radix(pair, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_must_fit_the_hash() {
        let hex = vec!["aB"; 20].join(":");
        let parsed = parse(&format!("SHA-1 {hex}")).unwrap();
        assert_eq!((parsed.hash, parsed.digest), (FingerprintHash::Sha1, vec![0xab; 20]));
        assert_eq!(parse(&format!("sha-256 {hex}")), None);
        assert_eq!(parse(&format!("md5 {hex}")), None);
        assert_eq!(parse(&format!("sha-1 {}", hex.replace("aB", "+B"))), None);
        assert_eq!(parse(&format!("sha-1 {hex}:ab")), None);
    }
}

//! `a=crypto:<tag> <suite> inline:<key>[|<lifetime>][|<mki>:<length>] [session parameters]` (RFC 4568).

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rand::RngCore;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;
use zeroize::Zeroizing;

use crate::proto::sdp::model::Crypto;

/// A crypto suite as far as signalling is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite {
    /// Registered name.
    pub name: &'static str,
    /// Master key octets.
    pub key_octets: usize,
    /// Master salt octets.
    pub salt_octets: usize,
    /// Largest key lifetime as a power of two of packets (RFC 3711 §9.2: the smaller of SRTP and SRTCP is
    /// enforced by the peers; 2^48 is the bound of the syntax).
    pub max_lifetime_log2: u32,
}

impl Suite {
    /// The suite of that name, any case.
    pub fn by_name(name: &str) -> Option<&'static Suite> {
        SUITES.iter().find(|suite| suite.name.eq_ignore_ascii_case(name))
    }

    /// Length of key and salt together.
    pub fn key_salt_octets(&self) -> usize {
        self.key_octets + self.salt_octets
    }
}

const fn suite(name: &'static str, key_octets: usize, salt_octets: usize) -> Suite {
    Suite { name, key_octets, salt_octets, max_lifetime_log2: 48 }
}

/// All suites in the order in which they are offered (RFC 4568, 6188, 7714).
pub const SUITES: [Suite; 12] = [
    suite("AEAD_AES_256_GCM", 32, 12),
    suite("AEAD_AES_128_GCM", 16, 12),
    suite("AES_256_CM_HMAC_SHA1_80", 32, 14),
    suite("AES_256_CM_HMAC_SHA1_32", 32, 14),
    suite("AES_192_CM_HMAC_SHA1_80", 24, 14),
    suite("AES_192_CM_HMAC_SHA1_32", 24, 14),
    suite("AES_CM_128_HMAC_SHA1_80", 16, 14),
    suite("AES_CM_128_HMAC_SHA1_32", 16, 14),
    suite("F8_128_HMAC_SHA1_80", 16, 14),
    suite("F8_128_HMAC_SHA1_32", 16, 14),
    suite("NULL_HMAC_SHA1_80", 16, 14),
    suite("NULL_HMAC_SHA1_32", 16, 14),
];

/// A master key with its salt behind it (RFC 3711 §3.2.1). Its `Debug` tells the length only, so that no key gets into a log; it is
/// overwritten when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySalt {
    octets: Zeroizing<[u8; MAX_KEY_SALT_OCTETS]>,
    length: u8,
}

/// Key and salt of the AES-256 counter mode suites.
const MAX_KEY_SALT_OCTETS: usize = 46;

impl KeySalt {
    /// Takes the octets; `None` when they are more than any suite has.
    pub fn new(octets: &[u8]) -> Option<Self> {
        let mut key_salt = Self {
            octets: Zeroizing::new([0; MAX_KEY_SALT_OCTETS]),
            length: u8::try_from(octets.len()).ok()?,
        };
        key_salt.octets.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(key_salt)
    }

    /// A new key for a suite.
    pub fn random(suite: &Suite, rng: &mut impl RngCore) -> Self {
        let length = suite.key_salt_octets().min(MAX_KEY_SALT_OCTETS);
        let mut octets = Zeroizing::new([0; MAX_KEY_SALT_OCTETS]);
        rng.fill_bytes(&mut octets[..length]);
        Self { octets, length: length as u8 }
    }

    /// Key and salt.
    pub fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }
}

impl fmt::Debug for KeySalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySalt({} octets)", self.length)
    }
}

/// Stored as base64.
impl Serialize for KeySalt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(LENIENT.encode(self.octets())))
    }
}

impl<'de> Deserialize<'de> for KeySalt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let octets = Zeroizing::new(LENIENT.decode(text.as_bytes()).map_err(D::Error::custom)?);
        Self::new(&octets).ok_or_else(|| D::Error::custom("key is too long"))
    }
}

/// A suite is stored by its name.
pub mod suite_name {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use smol_str::SmolStr;

    use super::Suite;

    pub fn serialize<S: Serializer>(suite: &&'static Suite, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(suite.name)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'static Suite, D::Error> {
        let name = SmolStr::deserialize(deserializer)?;
        Suite::by_name(&name).ok_or_else(|| D::Error::custom("unknown crypto suite"))
    }
}

/// Reads keys with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The largest MKI in octets.
const MAX_MKI_OCTETS: usize = 255;

/// `None` when any part is invalid. A lifetime is checked and dropped.
pub(super) fn parse(text: &str) -> Option<Crypto> {
    let mut words = text.split_ascii_whitespace();
    let tag = words.next()?.parse().ok()?;
    let suite = Suite::by_name(words.next()?)?;
    let key_parameters = words.next()?;
    let method = key_parameters.get(..7)?;
    if !method.eq_ignore_ascii_case("inline:") {
        return None;
    }
    let mut parts = key_parameters.get(7..)?.split('|');
    let encoded = parts.next()?;
    if encoded.len() > 128 {
        return None;
    }
    let key_salt = KeySalt::new(&Zeroizing::new(LENIENT.decode(encoded).ok()?))?;
    if key_salt.octets().len() != suite.key_salt_octets() {
        return None;
    }
    let mut mki = None;
    match (parts.next(), parts.next(), parts.next()) {
        (None, _, _) => {}
        (Some(part), None, _) if part.contains(':') => mki = Some(parse_mki(part)?),
        (Some(part), None, _) => check_lifetime(part, suite)?,
        (Some(lifetime), Some(part), None) => {
            check_lifetime(lifetime, suite)?;
            mki = Some(parse_mki(part)?);
        }
        (Some(_), Some(_), Some(_)) => return None,
    }
    let mut crypto = Crypto {
        tag,
        suite,
        key_salt,
        mki,
        unencrypted_srtp: false,
        unencrypted_srtcp: false,
        unauthenticated_srtp: false,
    };
    for parameter in words {
        match parameter {
            "UNENCRYPTED_SRTP" => crypto.unencrypted_srtp = true,
            "UNENCRYPTED_SRTCP" => crypto.unencrypted_srtcp = true,
            "UNAUTHENTICATED_SRTP" => crypto.unauthenticated_srtp = true,
            _ => {}
        }
    }
    Some(crypto)
}

/// `2^<n>` or a number of packets, from 2 to the suite's limit.
fn check_lifetime(text: &str, suite: &Suite) -> Option<()> {
    match text.strip_prefix("2^") {
        Some(exponent) => {
            let exponent: u32 = exponent.parse().ok()?;
            (1..=suite.max_lifetime_log2).contains(&exponent).then_some(())
        }
        None => {
            let packets: u64 = text.parse().ok()?;
            (1..=1_u64 << suite.max_lifetime_log2).contains(&packets).then_some(())
        }
    }
}

/// `<decimal>:<octets>`; the value must fit into the octets.
fn parse_mki(text: &str) -> Option<(Vec<u8>, u8)> {
    let (value, length) = text.split_once(':')?;
    let length: u8 = length.parse().ok().filter(|length| *length != 0)?;
    let mut octets = vec![0_u8; usize::from(length)];
    // 255 octets are 615 decimal digits; more would not fit (and would cost time).
    if value.is_empty() || value.len() > 3 * MAX_MKI_OCTETS {
        return None;
    }
    for digit in value.bytes() {
        let mut carry = char::from(digit).to_digit(10)?;
        for octet in octets.iter_mut().rev() {
            carry += u32::from(*octet) * 10;
            *octet = (carry & 0xff) as u8;
            carry >>= 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some((octets, length))
}

/// Big-endian octets as a decimal number.
fn decimal(octets: &[u8]) -> SmolStr {
    let mut number = octets.to_vec();
    let mut digits = Vec::new();
    loop {
        let mut remainder = 0_u32;
        for octet in &mut number {
            remainder = (remainder << 8) | u32::from(*octet);
            *octet = (remainder / 10) as u8;
            remainder %= 10;
        }
        digits.push(char::from_digit(remainder, 10).unwrap_or('0'));
        if number.iter().all(|octet| *octet == 0) {
            return digits.iter().rev().copied().collect();
        }
    }
}

/// How keys are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyStyle {
    /// Keep `=` padding.
    pub pad: bool,
    /// Add `|2^31`.
    pub lifetime: bool,
}

impl Crypto {
    /// The attribute value after the tag: `<suite> inline:…[ parameters]`.
    pub fn to_text(&self, style: KeyStyle) -> SmolStr {
        let key = Zeroizing::new(if style.pad {
            base64::engine::general_purpose::STANDARD.encode(self.key_salt.octets())
        } else {
            base64::engine::general_purpose::STANDARD_NO_PAD.encode(self.key_salt.octets())
        });
        let mut text = format!("{} inline:{}", self.suite.name, *key);
        if style.lifetime {
            text.push_str("|2^31");
        }
        if let Some((value, length)) = &self.mki {
            text.push_str(&format!("|{}:{length}", decimal(value)));
        }
        for (set, name) in [
            (self.unencrypted_srtp, " UNENCRYPTED_SRTP"),
            (self.unencrypted_srtcp, " UNENCRYPTED_SRTCP"),
            (self.unauthenticated_srtp, " UNAUTHENTICATED_SRTP"),
        ] {
            if set {
                text.push_str(name);
            }
        }
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "jjeYGAhR951M2RWe6res/0Ff67q69nEPm2n2RjtG";

    #[test]
    fn valid_lines_come_back_without_lifetime() {
        for (input, expected) in [
            (
                format!("1 aes_cm_128_hmac_sha1_80 INLINE:{KEY}"),
                format!("AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4"),
                format!("AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4"),
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|66051:16"),
                format!("AES_CM_128_HMAC_SHA1_80 inline:{KEY}|66051:16"),
            ),
            (
                format!(
                    "1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}|1048576 UNAUTHENTICATED_SRTP KDR=3 UNENCRYPTED_SRTP"
                ),
                format!("AES_CM_128_HMAC_SHA1_32 inline:{KEY} UNENCRYPTED_SRTP UNAUTHENTICATED_SRTP"),
            ),
        ] {
            let crypto = parse(&input).unwrap_or_else(|| panic!("{input}"));
            assert_eq!(crypto.to_text(KeyStyle::default()), expected);
        }
    }

    #[test]
    fn padding_and_lifetime_are_written_on_request() {
        let key = "KOFSJSPnr9f6D+T3VcjHV6AVPtxmyA/vMYFxlPztgHubdoo1RcssOiI9JF15/A";
        let crypto = parse(&format!("9 AES_256_CM_HMAC_SHA1_80 inline:{key}==")).unwrap();
        assert_eq!(crypto.tag, 9);
        let text = crypto.to_text(KeyStyle { pad: true, lifetime: true });
        assert_eq!(text, format!("AES_256_CM_HMAC_SHA1_80 inline:{key}==|2^31"));
    }

    #[test]
    fn keys_do_not_show_in_debug_output() {
        let crypto = parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")).unwrap();
        let shown = format!("{crypto:?}");
        assert!(shown.contains("KeySalt(30 octets)") && !shown.contains("octets: ["), "{shown}");
    }

    #[test]
    fn invalid_lines_are_refused() {
        for bad in [
            format!("x AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_MD5 inline:{KEY}"),
            format!("1 AES_256_CM_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 outline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^0"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^49"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|14"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:256"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|300:1"),
            "1 AES_CM_128_HMAC_SHA1_80".to_owned(),
            "1 AES_CM_128_HMAC_SHA1_80 inlin\u{e9}:x".to_owned(),
        ] {
            assert_eq!(parse(&bad), None, "{bad}");
        }
    }
}

//! What signalling agrees on for one direction.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use super::suite::{CipherKind, MAX_KEY_SALT, Suite};

/// Suite, master key and salt, key identifier and session parameters of one direction.
///
/// Key and salt are overwritten when the value goes, and `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    suite: &'static Suite,
    /// Key, then salt; zero behind them.
    key_salt: Zeroizing<[u8; MAX_KEY_SALT]>,
    mki: Box<[u8]>,
    parameters: SessionParameters,
}

/// RFC 4568 §6.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionParameters {
    /// `UNENCRYPTED_SRTP`
    pub unencrypted_srtp: bool,
    /// `UNENCRYPTED_SRTCP`
    pub unencrypted_srtcp: bool,
    /// `UNAUTHENTICATED_SRTP`
    pub unauthenticated_srtp: bool,
}

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Key and salt together do not have the length that the suite asks for.
    #[error("{suite} needs {expected} octets of key and salt, not {octets}")]
    Length {
        /// The suite.
        suite: &'static str,
        /// What it needs.
        expected: usize,
        /// What there was.
        octets: usize,
    },
    /// The master key identifier is longer than [`MAX_MKI`].
    #[error("a master key identifier has {MAX_MKI} octets at most, not {octets}")]
    Mki {
        /// Its length.
        octets: usize,
    },
    /// RFC 7714 §14.3: these suites cannot do without their tag.
    #[error("{suite} cannot be used without authentication")]
    Unauthenticated {
        /// The suite.
        suite: &'static str,
    },
}

/// Most octets of a master key identifier: what fits into the octet that signals its length.
pub const MAX_MKI: usize = 255;

impl MasterKey {
    /// `key_salt` is the master key followed by the master salt, as in SDES. An empty `mki` means none.
    ///
    /// # Errors
    /// [`KeyError`]: lengths that do not fit, or parameters that the suite does not allow.
    pub fn new(
        suite: &'static Suite,
        key_salt: &[u8],
        mki: &[u8],
        parameters: SessionParameters,
    ) -> Result<Self, KeyError> {
        let (expected, octets) = (suite.key_salt_octets(), key_salt.len());
        if octets != expected {
            return Err(KeyError::Length { suite: suite.name, expected, octets });
        }
        if mki.len() > MAX_MKI {
            return Err(KeyError::Mki { octets: mki.len() });
        }
        if suite.cipher == CipherKind::Gcm && parameters.unauthenticated_srtp {
            return Err(KeyError::Unauthenticated { suite: suite.name });
        }
        let mut own = Zeroizing::new([0; MAX_KEY_SALT]);
        own[..octets].copy_from_slice(key_salt);
        Ok(Self { suite, key_salt: own, mki: mki.into(), parameters })
    }

    /// The suite.
    pub fn suite(&self) -> &'static Suite {
        self.suite
    }

    /// Master key identifier, empty when there is none.
    pub fn mki(&self) -> &[u8] {
        &self.mki
    }

    /// The session parameters.
    pub fn parameters(&self) -> SessionParameters {
        self.parameters
    }

    /// Packets of one SSRC and index are encrypted alike under both keys, whatever else is agreed on.
    pub fn has_key_stream_of(&self, other: &Self) -> bool {
        self.key_salt == other.key_salt
    }

    /// Key, salt and key identifier as in SDES: the one way to print them.
    pub fn reveal(&self) -> impl fmt::Display {
        let mut text = Zeroizing::new(BASE64.encode(&self.key_salt[..self.suite.key_salt_octets()]));
        if !self.mki.is_empty() {
            text.push('|');
            self.mki.iter().for_each(|octet| text.push_str(&format!("{octet:02x}")));
        }
        Revealed(text)
    }

    /// Key, then salt: for another instance that goes on with them.
    pub fn key_salt(&self) -> &[u8] {
        &self.key_salt[..self.suite.key_salt_octets()]
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key_salt[..self.suite.key_octets]
    }

    pub(super) fn salt(&self) -> &[u8] {
        &self.key_salt[self.suite.key_octets..self.suite.key_salt_octets()]
    }
}

struct Revealed(Zeroizing<String>);

impl fmt::Display for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey")
            .field("suite", &self.suite.name)
            .field("mki_octets", &self.mki.len())
            .field("parameters", &self.parameters)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_parameters_are_checked_and_keys_are_not_shown() {
        let suite = Suite::by_name("AES_CM_128_HMAC_SHA1_80").unwrap();
        let none = SessionParameters::default();
        assert!(matches!(
            MasterKey::new(suite, &[7; 29], &[], none),
            Err(KeyError::Length { expected: 30, octets: 29, .. })
        ));
        assert!(matches!(
            MasterKey::new(suite, &[7; 30], &[0; 256], none),
            Err(KeyError::Mki { octets: 256 })
        ));
        let key = MasterKey::new(suite, &[0xa7; 30], &[1], none).unwrap();
        let shown = format!("{key:?}");
        assert!(shown.contains("AES_CM_128") && !shown.contains("167"), "{shown}");
        let gcm = Suite::by_name("AEAD_AES_128_GCM").unwrap();
        let bare = SessionParameters { unauthenticated_srtp: true, ..none };
        assert!(matches!(MasterKey::new(gcm, &[7; 28], &[], bare), Err(KeyError::Unauthenticated { .. })));
        assert!(MasterKey::new(suite, &[7; 30], &[], bare).is_ok());
    }
}

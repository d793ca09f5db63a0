//! SRTP keys from a finished handshake (RFC 5764 §4.2).

use std::sync::Arc;

use openssl::srtp::SrtpProfileId;
use openssl::ssl::SslRef;
use zeroize::Zeroizing;

use super::Role;
use crate::proto::srtp::{MasterKey, SessionParameters, Suite};

/// A protection profile (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Debug)]
pub struct Profile {
    /// As OpenSSL calls it.
    pub name: &'static str,
    id: SrtpProfileId,
    /// The name of the same thing in SDES.
    pub suite: &'static str,
}

/// What we offer and accept, the best first.
pub static PROFILES: [Profile; 4] = [
    Profile {
        name: "SRTP_AEAD_AES_256_GCM",
        id: SrtpProfileId::SRTP_AEAD_AES_256_GCM,
        suite: "AEAD_AES_256_GCM",
    },
    Profile {
        name: "SRTP_AEAD_AES_128_GCM",
        id: SrtpProfileId::SRTP_AEAD_AES_128_GCM,
        suite: "AEAD_AES_128_GCM",
    },
    Profile {
        name: "SRTP_AES128_CM_SHA1_80",
        id: SrtpProfileId::SRTP_AES128_CM_SHA1_80,
        suite: "AES_CM_128_HMAC_SHA1_80",
    },
    Profile {
        name: "SRTP_AES128_CM_SHA1_32",
        id: SrtpProfileId::SRTP_AES128_CM_SHA1_32,
        suite: "AES_CM_128_HMAC_SHA1_32",
    },
];

/// What a handshake is made for. Keys are overwritten when the value goes, and not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtpKeys {
    /// What the peer encrypts with.
    pub receive: Arc<MasterKey>,
    /// What we encrypt with.
    pub send: Arc<MasterKey>,
}

impl SrtpKeys {
    /// Of an association whose handshake is done; `None` when it agreed on no profile.
    pub(super) fn export(ssl: &SslRef, role: Role) -> Option<Self> {
        let selected = ssl.selected_srtp_profile()?.id().as_raw();
        let profile = PROFILES.iter().find(|profile| profile.id.as_raw() == selected)?;
        let suite = Suite::by_name(profile.suite)?;
        let (key, salt) = (suite.key_octets, suite.salt_octets);
        let mut material = Zeroizing::new(vec![0; 2 * (key + salt)]);
        ssl.export_keying_material(&mut material, "EXTRACTOR-dtls_srtp", None).ok()?;
        let (keys, salts) = material.split_at(2 * key);
        let master = |which: usize| {
            let octets =
                Zeroizing::new([&keys[which * key..][..key], &salts[which * salt..][..salt]].concat());
            MasterKey::new(suite, &octets, &[], SessionParameters::default()).ok().map(Arc::new)
        };
        let (client, server) = (master(0)?, master(1)?);
        Some(match role {
            Role::Active => Self { receive: server, send: client },
            Role::Passive => Self { receive: client, send: server },
        })
    }
}

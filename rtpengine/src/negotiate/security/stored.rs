//! The security of a media as another instance can go on with it.
//!
//! Certificates are not part of it: a call has one or two of them, which are stored once and found again by their fingerprints.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DtlsKeying, DtlsRole, Keying, MediaSecurity};
use crate::proto::dtls::Identity;
use crate::proto::sdp::model::{Crypto, Fingerprint};

/// A [`MediaSecurity`] without its certificates.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredSecurity {
    /// Everything but what is below.
    rest: MediaSecurity,
    /// The certificate that the party was told.
    told: Option<Fingerprint>,
    keying: StoredKeying,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum StoredKeying {
    Plain,
    Sdes { receive: Box<Crypto>, send: Box<Crypto> },
    Dtls { role: DtlsRole, fingerprint: Option<Fingerprint>, association: u32, ours: Fingerprint },
    Blocked,
}

impl StoredSecurity {
    /// Of a media, with the certificates that it refers to.
    pub fn new(security: &MediaSecurity, identities: &mut impl FnMut(&Arc<Identity>) -> Fingerprint) -> Self {
        let keying = match &security.keying {
            Keying::Plain => StoredKeying::Plain,
            Keying::Sdes { receive, send } => {
                StoredKeying::Sdes { receive: receive.clone(), send: send.clone() }
            }
            Keying::Dtls(keying) => StoredKeying::Dtls {
                role: keying.role,
                fingerprint: keying.fingerprint.clone(),
                association: keying.association,
                ours: identities(&keying.identity),
            },
            Keying::Blocked => StoredKeying::Blocked,
        };
        let told = security.dtls.identity().map(&mut *identities);
        Self { rest: security.clone(), told, keying }
    }

    /// Puts it together again. `None`: a certificate is missing.
    pub fn restore(self, find: impl Fn(&Fingerprint) -> Option<Arc<Identity>>) -> Option<MediaSecurity> {
        let Self { rest: mut security, told, keying } = self;
        if let Some(told) = told {
            security.dtls.set_identity(find(&told)?);
        }
        security.keying = match keying {
            StoredKeying::Plain => Keying::Plain,
            StoredKeying::Sdes { receive, send } => Keying::Sdes { receive, send },
            StoredKeying::Dtls { role, fingerprint, association, ours } => {
                Keying::Dtls(DtlsKeying { role, fingerprint, association, identity: find(&ours)? })
            }
            StoredKeying::Blocked => Keying::Blocked,
        };
        Some(security)
    }
}

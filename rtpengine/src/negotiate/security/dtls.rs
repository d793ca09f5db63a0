//! Signalling of DTLS-SRTP (RFC 5763, RFC 8842): roles, fingerprints, association identifiers.

use std::sync::Arc;

use rand::RngCore;
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use super::keying::{DtlsKeying, DtlsRole, Keying};
use crate::proto::dtls::Identity;
use crate::proto::sdp::model::{Fingerprint, FingerprintHash, Setup};

/// One party's side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dtls {
    /// DTLS is offered to the party, or in use with it.
    pub on: bool,
    /// What the party's own section said last.
    remote: Option<Remote>,
    /// Hash of our fingerprint; stays what it was at first.
    hash: Option<FingerprintHash>,
    fingerprint: Option<Fingerprint>,
    /// What has that fingerprint.
    #[serde(skip)]
    identity: Option<Arc<Identity>>,
    /// `a=tls-id` of ours.
    tls_id: Option<u128>,
    /// Wait for the party's ClientHello if it leaves us the choice.
    pub prefer_passive: bool,
    role: Option<DtlsRole>,
    association: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remote {
    setup: Setup,
    fingerprint: Fingerprint,
    tls_id: Option<SmolStr>,
}

/// What a section says about DTLS.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Described<'s> {
    pub setup: Option<Setup>,
    pub fingerprint: Option<&'s Fingerprint>,
    pub tls_id: Option<&'s str>,
}

impl Dtls {
    /// Reads the party's own section, offer or answer. Returns whether it starts a new association (RFC 8842 §4).
    fn receive(&mut self, described: Described<'_>) -> bool {
        let remote = match described {
            Described { setup: Some(setup), fingerprint: Some(fingerprint), tls_id }
                if setup != Setup::HoldConn =>
            {
                let tls_id = tls_id.map(SmolStr::new);
                Some(Remote { setup, fingerprint: fingerprint.clone(), tls_id })
            }
            _ => None,
        };
        self.on = remote.is_some();
        let Some(remote) = remote else {
            if self.remote.take().is_some() {
                self.association = self.association.wrapping_add(1);
            }
            return false;
        };
        self.hash.get_or_insert(remote.fingerprint.hash);
        let renewed = self
            .remote
            .as_ref()
            .is_some_and(|former| former.fingerprint != remote.fingerprint || former.tls_id != remote.tls_id);
        self.remote = Some(remote);
        if renewed {
            self.association = self.association.wrapping_add(1);
        }
        renewed
    }

    /// The party offers.
    pub fn receive_offer(&mut self, described: Described<'_>) {
        if self.receive(described) {
            // A new association has a new identifier on our side as well.
            self.tls_id = None;
        }
    }

    /// The party answers.
    pub fn receive_answer(&mut self, described: Described<'_>) {
        let offered = self.on;
        self.receive(described);
        self.on &= offered;
        if let Some(remote) = self.remote.as_ref().filter(|_| self.on) {
            // `actpass` is not allowed in an answer: whoever says it does not mind.
            let role = if remote.setup == Setup::Active { DtlsRole::Passive } else { DtlsRole::Active };
            self.take_role(role);
        }
    }

    /// Makes ready what an offer to the party says. `hash` is what the client wants if the party is new.
    pub fn prepare_offer(
        &mut self,
        hash: Option<FingerprintHash>,
        identity: &Arc<Identity>,
        rng: &mut impl RngCore,
    ) {
        if let Some(hash) = hash {
            self.hash.get_or_insert(hash);
        }
        self.prepare(identity, rng);
    }

    /// Makes ready what the answer to the party's offer says.
    pub fn prepare_answer(&mut self, identity: &Arc<Identity>, rng: &mut impl RngCore) {
        let role = match self.remote.as_ref().map(|remote| remote.setup) {
            Some(Setup::Active) => DtlsRole::Passive,
            Some(Setup::Passive) => DtlsRole::Active,
            // Roles stay what they were whatever is preferred now: changing them means a new association, which browsers refuse.
            _ => self.role.unwrap_or(if self.prefer_passive { DtlsRole::Passive } else { DtlsRole::Active }),
        };
        self.take_role(role);
        self.prepare(identity, rng);
    }

    /// `reset`: roles are chosen anew.
    pub fn forget_role(&mut self) {
        self.role = None;
    }

    pub fn role(&self) -> Option<DtlsRole> {
        self.role.filter(|_| self.on)
    }

    /// The certificate that the party was told.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// Goes on with a certificate that the party was told before.
    pub fn set_identity(&mut self, identity: Arc<Identity>) {
        self.identity = Some(identity);
    }

    pub fn fingerprint(&self) -> Option<&Fingerprint> {
        self.fingerprint.as_ref()
    }

    /// 32 hexadecimal digits.
    pub fn tls_id(&self) -> Option<SmolStr> {
        self.tls_id.map(|id| format_smolstr!("{id:032x}"))
    }

    /// For the data plane; before the party's answer as well, since it may be faster on the media path.
    pub fn keying(&self) -> Keying {
        // Without one the party was told nothing.
        let Some(identity) = &self.identity else { return Keying::Blocked };
        Keying::Dtls(DtlsKeying {
            role: self.role.unwrap_or(DtlsRole::Passive),
            fingerprint: self.remote.as_ref().map(|remote| remote.fingerprint.clone()),
            association: self.association,
            identity: Arc::clone(identity),
        })
    }

    fn take_role(&mut self, role: DtlsRole) {
        if self.role.replace(role).is_some_and(|former| former != role) {
            self.association = self.association.wrapping_add(1);
        }
    }

    fn prepare(&mut self, identity: &Arc<Identity>, rng: &mut impl RngCore) {
        let hash = *self.hash.get_or_insert_default();
        // A new association may show a new certificate; while one lasts it keeps what the party was told.
        let identity = match &mut self.identity {
            Some(present) if self.tls_id.is_some() => present,
            present => present.insert(Arc::clone(identity)),
        };
        let fingerprint = identity.certificate().fingerprint(hash);
        if self.fingerprint.as_ref() != Some(fingerprint) {
            self.fingerprint = Some(fingerprint.clone());
        }
        self.tls_id.get_or_insert_with(|| u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()));
    }
}

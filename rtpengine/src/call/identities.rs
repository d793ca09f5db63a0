//! Our DTLS certificate, and the next one.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::store::lock;
use crate::config::Config;
use crate::proto::dtls::{Certificate, Identity, Settings};
use crate::proto::sdp::model::{Fingerprint, FingerprintHash};

/// How long a certificate is shown to new parties. Those who know it are shown it for as long as their association lasts.
const LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// The certificate of new associations. The lock guards one pointer.
pub struct Identities {
    current: RwLock<(Arc<Identity>, Instant)>,
    /// Of calls that were taken over.
    restored: Mutex<Vec<(Fingerprint, Weak<Identity>)>>,
    settings: Settings,
}

impl Identities {
    pub fn new(identity: Identity, settings: Settings, now: Instant) -> Self {
        Self { current: RwLock::new((Arc::new(identity), now)), restored: Mutex::default(), settings }
    }

    /// For an exchange.
    pub fn current(&self) -> Arc<Identity> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// A certificate that another instance has shown, as DER, with its key. `None`: it is not one.
    pub fn restore(&self, certificate: &[u8], key: &[u8]) -> Option<Arc<Identity>> {
        let certificate = Certificate::from_der(certificate, key).ok()?;
        let fingerprint = certificate.fingerprint(FingerprintHash::Sha256).clone();
        let current = self.current();
        if *current.certificate().fingerprint(FingerprintHash::Sha256) == fingerprint {
            return Some(current);
        }
        // One certificate serves many calls, and is worth 50 kB.
        let mut restored = lock(&self.restored);
        restored.retain(|(_, identity)| identity.strong_count() > 0);
        let known = restored.iter().find(|(known, _)| *known == fingerprint);
        if let Some(identity) = known.and_then(|(_, identity)| identity.upgrade()) {
            return Some(identity);
        }
        let identity = Arc::new(Identity::new(certificate, &self.settings).ok()?);
        restored.push((fingerprint, Arc::downgrade(&identity)));
        Some(identity)
    }

    /// It is time for another one.
    pub fn is_due(&self, now: Instant) -> bool {
        let (_, since) = *self.current.read().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(since) >= LIFETIME
    }

    /// Makes another one. With an RSA key that takes a quarter of a second and more.
    pub fn renew(&self, config: &Config, now: Instant) {
        let made = Identity::generate(&config.dtls, &config.software_id, SystemTime::now());
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        match made {
            Ok(identity) => *current = (Arc::new(identity), now),
            Err(error) => {
                tracing::error!(%error, "the DTLS certificate is not renewed; the old one stays in use");
                current.1 = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_certificate_is_made_when_the_old_one_has_served_its_time() {
        let config = Config::for_address([127, 0, 0, 1].into(), [127, 0, 0, 1].into());
        let start = Instant::now();
        let first = Identity::generate(&config.dtls, "test", SystemTime::now()).expect("identity");
        let identities = Identities::new(first, config.dtls.clone(), start);
        let shown = identities.current();
        assert!(!identities.is_due(start + LIFETIME - Duration::from_secs(1)));
        assert!(identities.is_due(start + LIFETIME));
        identities.renew(&config, start + LIFETIME);
        assert_ne!(identities.current(), shown);
        assert!(!identities.is_due(start + LIFETIME));
    }
}

//! Our DTLS certificate, and the next one.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use crate::config::Config;
use crate::proto::dtls::Identity;

/// How long a certificate is shown to new parties. Those who know it are shown it for as long as their association lasts.
const LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// The certificate of new associations. The lock guards one pointer.
pub struct Identities {
    current: RwLock<(Arc<Identity>, Instant)>,
}

impl Identities {
    pub fn new(identity: Identity, now: Instant) -> Self {
        Self { current: RwLock::new((Arc::new(identity), now)) }
    }

    /// For an exchange.
    pub fn current(&self) -> Arc<Identity> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).0)
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
        let identities = Identities::new(first, start);
        let shown = identities.current();
        assert!(!identities.is_due(start + LIFETIME - Duration::from_secs(1)));
        assert!(identities.is_due(start + LIFETIME));
        identities.renew(&config, start + LIFETIME);
        assert_ne!(identities.current(), shown);
        assert!(!identities.is_due(start + LIFETIME));
    }
}

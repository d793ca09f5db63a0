//! The databases of other instances that are followed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A list that the operator may change.
pub struct Keyspaces {
    /// `None`: notifications are not configured.
    followed: Option<Mutex<Vec<i64>>>,
    changed: Notify,
}

impl Keyspaces {
    pub fn new(configured: Option<Vec<i64>>) -> Self {
        Self { followed: configured.map(Mutex::new), changed: Notify::new() }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Vec<i64>>> {
        Some(self.followed.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notifications are configured.
    pub fn is_configured(&self) -> bool {
        self.followed.is_some()
    }

    /// In the order in which they were added.
    pub fn list(&self) -> Vec<i64> {
        self.lock().map(|followed| followed.clone()).unwrap_or_default()
    }

    /// Follows one more; `false`: it was followed already.
    pub fn add(&self, keyspace: i64) -> bool {
        let Some(mut followed) = self.lock() else { return false };
        let is_new = !followed.contains(&keyspace);
        if is_new {
            followed.push(keyspace);
            self.changed.notify_one();
        }
        is_new
    }

    /// Follows one less; `false`: it was not followed.
    pub fn remove(&self, keyspace: i64) -> bool {
        let Some(mut followed) = self.lock() else { return false };
        let before = followed.len();
        followed.retain(|other| *other != keyspace);
        if followed.len() != before {
            self.changed.notify_one();
        }
        followed.len() != before
    }

    /// Waits for a change.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

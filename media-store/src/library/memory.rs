//! Media in memory.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::{Content, Kept};

/// Contents by name. The lock is held for a look-up only.
pub(super) struct Memory<K> {
    entries: Mutex<BTreeMap<K, Entry>>,
}

struct Entry {
    content: Content,
    loaded: Instant,
    used: Instant,
}

impl<K> Default for Memory<K> {
    fn default() -> Self {
        Self { entries: Mutex::default() }
    }
}

impl<K: Ord + Clone + Display> Memory<K> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a content in, or puts it in the place of another.
    pub fn keep(&self, key: K, content: &Content) {
        let now = Instant::now();
        let entry = Entry { content: content.clone(), loaded: now, used: now };
        self.lock().insert(key, entry);
    }

    /// Puts a content in the place of another, if that is still there; reading again is not playing.
    pub fn renew<Q: Ord + ?Sized>(&self, key: &Q, content: &Content)
    where
        K: Borrow<Q>,
    {
        if let Some(entry) = self.lock().get_mut(key) {
            entry.content = content.clone();
            entry.loaded = Instant::now();
        }
    }

    /// A content that is going to be played.
    pub fn play<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Content>
    where
        K: Borrow<Q>,
    {
        let mut entries = self.lock();
        let entry = entries.get_mut(key)?;
        entry.used = Instant::now();
        Some(entry.content.clone())
    }

    pub fn has<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.lock().contains_key(key)
    }

    /// When the file of a content had been changed last.
    pub fn modified<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Option<SystemTime>>
    where
        K: Borrow<Q>,
    {
        self.lock().get(key).map(|entry| entry.content.modified)
    }

    pub fn evict<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.lock().remove(key).is_some()
    }

    pub fn evict_all(&self) -> usize {
        std::mem::take(&mut *self.lock()).len()
    }

    /// Drops what was not played for this long; how many.
    pub fn expire(&self, age: Duration) -> usize {
        let mut entries = self.lock();
        let before = entries.len();
        entries.retain(|_, entry| entry.used.elapsed() < age);
        before - entries.len()
    }

    pub fn keys(&self) -> Vec<K> {
        self.lock().keys().cloned().collect()
    }

    pub fn list(&self) -> Vec<Kept> {
        let kept = |(key, entry): (&K, &Entry)| Kept {
            name: key.to_string(),
            loaded: entry.loaded.elapsed(),
            used: entry.used.elapsed(),
        };
        self.lock().iter().map(kept).collect()
    }

    pub fn octets(&self) -> u64 {
        self.lock().values().map(|entry| entry.content.octets.len() as u64).sum()
    }
}

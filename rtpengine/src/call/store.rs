//! All calls, by call-id.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use smol_str::SmolStr;

use super::model::Call;

/// Locks in the table: commands for different calls rarely meet.
const SHARDS: usize = 64;

/// A call behind its lock. The lock is held for one command at a time, never across a wait.
pub type CallHandle = Arc<Mutex<Call>>;

/// The table of calls.
pub struct CallStore {
    shards: Vec<Mutex<HashMap<Arc<str>, CallHandle>>>,
    hasher: RandomState,
    count: AtomicUsize,
}

impl Default for CallStore {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
        }
    }
}

impl CallStore {
    /// The call with this id.
    pub fn get(&self, id: &str) -> Option<CallHandle> {
        self.shard(id).get(id).cloned()
    }

    /// Puts a new call in, unless one of that id came in meanwhile: then that one is returned.
    pub fn insert(&self, id: &str, call: CallHandle) -> Result<(), CallHandle> {
        let mut shard = self.shard(id);
        if let Some(present) = shard.get(id) {
            return Err(present.clone());
        }
        shard.insert(id.into(), call);
        self.count.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Takes a call out, if it is still this one.
    pub fn remove(&self, id: &str, call: &CallHandle) -> bool {
        let mut shard = self.shard(id);
        if !shard.get(id).is_some_and(|present| Arc::ptr_eq(present, call)) {
            return false;
        }
        shard.remove(id);
        self.count.fetch_sub(1, Relaxed);
        true
    }

    /// Lets an id lead to another call; the call that it led to is none of its own any more.
    pub fn merge(&self, id: &str, into: &CallHandle) {
        self.shard(id).insert(id.into(), into.clone());
        self.count.fetch_sub(1, Relaxed);
    }

    /// Lets the id of a merged call follow it into another one.
    pub fn rename(&self, id: &str, into: &CallHandle) {
        self.shard(id).insert(id.into(), into.clone());
    }

    /// Takes the id of a merged call out.
    pub fn remove_alias(&self, id: &str, call: &CallHandle) {
        let mut shard = self.shard(id);
        if shard.get(id).is_some_and(|present| Arc::ptr_eq(present, call)) {
            shard.remove(id);
        }
    }

    /// Number of calls; merged ones count once.
    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// At most `limit` call-ids, in no particular order.
    pub fn ids(&self, limit: usize) -> Vec<SmolStr> {
        let mut ids = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            ids.extend(shard.keys().take(limit - ids.len()).map(SmolStr::new));
            if ids.len() >= limit {
                break;
            }
        }
        ids
    }

    /// Calls `visit` with every call of one shard after the other; the table is not locked meanwhile.
    pub fn for_each(&self, mut visit: impl FnMut(&CallHandle)) {
        let mut calls = Vec::new();
        for shard in &self.shards {
            calls.extend(lock(shard).values().cloned());
            for call in calls.drain(..) {
                visit(&call);
            }
        }
    }

    fn shard(&self, id: &str) -> MutexGuard<'_, HashMap<Arc<str>, CallHandle>> {
        let index = self.hasher.hash_one(id) as usize % SHARDS;
        lock(&self.shards[index])
    }
}

/// Locks; a panic in another command does not take the call with it, since commands work on copies.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ids of calls, streams, recordings and players: unique for the life of the process.
pub fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// Microseconds since the Unix epoch.
pub fn unix_us(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}

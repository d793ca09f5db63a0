//! Replies by cookie, so that a repeated request is answered, not executed, again.
//!
//! ```text
//! begin(cookie) ─ Fresh(ticket) ── ticket.complete(reply) → stored, and sent to everybody waiting
//!               ├ Stored(reply)        └ ticket dropped → forgotten; those waiting get no reply
//!               └ InProgress(wait)
//! ```
//!
//! Finished replies stand in two generations. A lookup 30 s or more after the last change of generations drops
//! the older one; so does a younger one that has grown to half of the cache's limits.
//!
//! Replies lie one behind the other in large pieces of memory ([`log`]): at thousands of calls a second a minute of them is
//! hundreds of megabytes, which as blocks of their own among the calls' would keep pages from being given back.

mod log;

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::sync::oneshot;

use log::{Log, Spare};

/// A whole reply message, cookie included.
pub type Reply = Vec<u8>;

/// Age at which the younger generation becomes the older one.
const GENERATION: Duration = Duration::from_secs(30);

/// Repetitions of one request that may wait for its reply; more get none.
const MAX_WAITING: usize = 64;

/// Bounds of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Stored replies.
    pub entries: usize,
    /// Octets of stored cookies and replies.
    pub octets: usize,
    /// Requests being worked on.
    pub in_progress: usize,
}

impl Default for Limits {
    /// A minute of some ten thousand requests a second.
    fn default() -> Self {
        Limits { entries: 1 << 20, octets: 512 << 20, in_progress: 1 << 16 }
    }
}

/// The cache. One serves all transports.
#[derive(Debug)]
pub struct CookieCache {
    limits: Limits,
    /// Cookies are known by their hashes, which nobody outside can predict.
    hashes: RandomState,
    /// Guards look-ups and a copy of the reply; what they throw out is freed outside.
    inner: Mutex<Inner>,
}

/// What is known about a cookie.
#[derive(Debug)]
pub enum Lookup {
    /// Never seen: execute the request.
    Fresh(Ticket),
    /// Answered before.
    Stored(Reply),
    /// Being worked on: the reply comes here, an error means that there is none.
    InProgress(oneshot::Receiver<Reply>),
    /// Too much is being worked on: no reply.
    Refused,
}

/// The duty to complete a request.
#[derive(Debug)]
pub struct Ticket {
    cache: Arc<CookieCache>,
    hash: u64,
    /// Empty once it is completed: there are no empty ones in messages.
    cookie: Cookie,
}

/// Those of Kamailio have some twenty octets.
type Cookie = SmallVec<[u8; 32]>;

#[derive(Debug)]
struct Inner {
    in_progress: HashMap<u64, Work, Hashed>,
    current: Log,
    previous: Log,
    spare: Spare,
    changed: Instant,
}

/// A request that is being worked on.
#[derive(Debug)]
struct Work {
    cookie: Cookie,
    waiting: Vec<oneshot::Sender<Reply>>,
}

/// Takes keys that are hashes as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Hashed(u64);

impl BuildHasher for Hashed {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        *self
    }
}

impl std::hash::Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        octets.iter().for_each(|octet| self.0 = self.0.rotate_left(8) ^ u64::from(*octet));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl CookieCache {
    /// An empty cache.
    pub fn new(limits: Limits, now: Instant) -> Arc<Self> {
        Arc::new(CookieCache {
            limits,
            hashes: RandomState::new(),
            inner: Mutex::new(Inner {
                in_progress: HashMap::default(),
                current: Log::default(),
                previous: Log::default(),
                spare: Spare::default(),
                changed: now,
            }),
        })
    }

    /// Looks a cookie up and, if it is new, takes it as being worked on.
    pub fn begin(self: &Arc<Self>, cookie: &[u8], now: Instant) -> Lookup {
        let hash = self.hashes.hash_one(cookie);
        let mut inner = self.lock();
        let expired = (now.saturating_duration_since(inner.changed) >= GENERATION)
            .then(|| inner.change_generation(now));
        let found = inner.look_up(hash, cookie, &self.limits);
        drop(inner);
        drop(expired);
        found
            .unwrap_or_else(|| Lookup::Fresh(Ticket { cache: Arc::clone(self), hash, cookie: cookie.into() }))
    }

    fn finish(&self, hash: u64, cookie: &[u8], reply: &[u8]) {
        let mut inner = self.lock();
        let work = inner.in_progress.remove(&hash);
        let full = inner.current.len() >= self.limits.entries / 2
            || inner.current.octets().saturating_add(cookie.len() + reply.len()) > self.limits.octets / 2;
        let expired = full.then(|| {
            let now = inner.changed;
            inner.change_generation(now)
        });
        let Inner { current, spare, .. } = &mut *inner;
        current.add(hash, cookie, reply, spare);
        drop(inner);
        drop(expired);
        for sender in work.into_iter().flat_map(|work| work.waiting) {
            // Whoever waited may have gone.
            let _ = sender.send(reply.to_vec());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Finds a cookie, or notes it as being worked on and returns `None`.
    fn look_up(&mut self, hash: u64, cookie: &[u8], limits: &Limits) -> Option<Lookup> {
        let stored = self.current.find(hash, cookie).or_else(|| self.previous.find(hash, cookie));
        if let Some(reply) = stored {
            return Some(Lookup::Stored(reply.to_vec()));
        }
        let many = self.in_progress.len() >= limits.in_progress;
        match self.in_progress.entry(hash) {
            Entry::Occupied(work) => {
                let Work { cookie: known, waiting } = work.into_mut();
                // Once in 2^64 another cookie has this hash; its client tries again.
                if waiting.len() >= MAX_WAITING || known[..] != *cookie {
                    return Some(Lookup::Refused);
                }
                let (sender, receiver) = oneshot::channel();
                waiting.push(sender);
                Some(Lookup::InProgress(receiver))
            }
            Entry::Vacant(_) if many => Some(Lookup::Refused),
            Entry::Vacant(place) => {
                place.insert(Work { cookie: cookie.into(), waiting: Vec::new() });
                None
            }
        }
    }

    /// Gives back the generation that has expired, without memory that is used again.
    fn change_generation(&mut self, now: Instant) -> Log {
        self.changed = now;
        let current = std::mem::take(&mut self.current);
        let mut expired = std::mem::replace(&mut self.previous, current);
        expired.recycle(&mut self.spare);
        expired
    }
}

impl Ticket {
    /// Stores the reply and gives it to everybody who repeated the request meanwhile.
    pub fn complete(mut self, reply: &[u8]) {
        let cookie = std::mem::take(&mut self.cookie);
        self.cache.finish(self.hash, &cookie, reply);
    }
}

impl Drop for Ticket {
    /// Forgets a request that was not completed.
    fn drop(&mut self) {
        if !self.cookie.is_empty() {
            let work = self.cache.lock().in_progress.remove(&self.hash);
            drop(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        text.as_bytes().to_vec()
    }

    fn fresh(cache: &Arc<CookieCache>, cookie: &str, now: Instant) -> Ticket {
        match cache.begin(cookie.as_bytes(), now) {
            Lookup::Fresh(ticket) => ticket,
            other => panic!("{cookie} is not fresh: {other:?}"),
        }
    }

    fn stored(cache: &Arc<CookieCache>, cookie: &str, now: Instant) -> Option<Reply> {
        match cache.begin(cookie.as_bytes(), now) {
            Lookup::Stored(reply) => Some(reply),
            _ => None,
        }
    }

    #[test]
    fn repeated_cookie_gets_the_stored_reply() {
        let now = Instant::now();
        let cache = CookieCache::new(Limits::default(), now);
        fresh(&cache, "c1", now).complete(&reply("c1 pong"));
        assert_eq!(stored(&cache, "c1", now), Some(reply("c1 pong")));
        drop(fresh(&cache, "c2", now));
    }

    #[test]
    fn entry_lives_through_one_change_of_generations() {
        let start = Instant::now();
        let cache = CookieCache::new(Limits::default(), start);
        let at = |seconds| start + Duration::from_secs(seconds);
        fresh(&cache, "c1", at(29)).complete(&reply("r"));
        assert!(stored(&cache, "c1", at(30)).is_some(), "now in the old generation");
        assert!(stored(&cache, "c1", at(59)).is_some());
        assert!(stored(&cache, "c1", at(60)).is_none(), "dropped with the old generation");
    }

    #[test]
    fn idle_cache_keeps_entries_until_the_second_lookup() {
        let start = Instant::now();
        let cache = CookieCache::new(Limits::default(), start);
        fresh(&cache, "c1", start).complete(&reply("r"));
        assert!(stored(&cache, "c1", start + Duration::from_secs(1000)).is_some());
        assert!(stored(&cache, "c1", start + Duration::from_secs(1030)).is_none());
    }

    #[tokio::test]
    async fn repetition_during_work_waits_for_the_same_reply() {
        let now = Instant::now();
        let cache = CookieCache::new(Limits::default(), now);
        let ticket = fresh(&cache, "c1", now);
        // However long it takes.
        let later = now + Duration::from_secs(600);
        let Lookup::InProgress(waiting) = cache.begin(b"c1", later) else { panic!("not in progress") };
        ticket.complete(&reply("c1 done"));
        assert_eq!(waiting.await, Ok(reply("c1 done")));
    }

    #[tokio::test]
    async fn abandoned_request_may_be_tried_again() {
        let now = Instant::now();
        let cache = CookieCache::new(Limits::default(), now);
        let ticket = fresh(&cache, "c1", now);
        let Lookup::InProgress(waiting) = cache.begin(b"c1", now) else { panic!("not in progress") };
        drop(ticket);
        assert!(waiting.await.is_err());
        drop(fresh(&cache, "c1", now));
    }

    #[test]
    fn limits_drop_the_oldest_generation() {
        let now = Instant::now();
        let by_entries = Limits { entries: 4, ..Limits::default() };
        let by_octets = Limits { octets: 44, ..Limits::default() };
        for limits in [by_entries, by_octets] {
            let cache = CookieCache::new(limits, now);
            for cookie in ["c1", "c2", "c3", "c4", "c5"] {
                fresh(&cache, cookie, now).complete(&reply("12345678"));
            }
            assert!(stored(&cache, "c1", now).is_none());
            for cookie in ["c3", "c4", "c5"] {
                assert!(stored(&cache, cookie, now).is_some(), "{cookie} with {limits:?}");
            }
        }
    }

    #[test]
    fn work_and_waiting_are_bounded() {
        let now = Instant::now();
        let cache = CookieCache::new(Limits { in_progress: 1, ..Limits::default() }, now);
        let ticket = fresh(&cache, "c1", now);
        assert!(matches!(cache.begin(b"c2", now), Lookup::Refused));
        let waiting: Vec<_> = (0..MAX_WAITING).map(|_| cache.begin(b"c1", now)).collect();
        assert!(waiting.iter().all(|lookup| matches!(lookup, Lookup::InProgress(_))));
        assert!(matches!(cache.begin(b"c1", now), Lookup::Refused));
        drop(ticket);
    }
}

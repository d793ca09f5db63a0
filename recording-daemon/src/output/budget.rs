//! How much audio may be in memory, all outputs together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The common budget. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget {
    used: Arc<AtomicU64>,
    limit: u64,
}

/// What one output has taken of it; given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    octets: u64,
}

impl Budget {
    /// So many octets at most.
    pub fn new(limit: u64) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// A share of nothing so far.
    pub fn share(&self) -> Share {
        Share { budget: self.clone(), octets: 0 }
    }
}

impl Share {
    /// Notes how much is in memory now.
    pub fn set(&mut self, octets: u64) {
        if octets >= self.octets {
            self.budget.used.fetch_add(octets - self.octets, Relaxed);
        } else {
            self.budget.used.fetch_sub(self.octets - octets, Relaxed);
        }
        self.octets = octets;
    }

    /// All together use more than they may.
    pub fn is_exceeded(&self) -> bool {
        self.budget.used.load(Relaxed) > self.budget.limit
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

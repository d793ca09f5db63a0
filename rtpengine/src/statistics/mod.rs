//! What happened since the start and what happens per second: the numbers behind every report.
//!
//! * Calls that ended are added here, once each, when they end ([`Statistics::call_ended`]).
//! * Packets are counted by the workers ([`crate::media::totals`]) and only read here.
//! * Once a second [`Statistics::tick`] takes the differences to the second before, and looks at the machine when a limit needs it.
//!
//! A command of the control path costs an atomic load for each limit that is set; a call that ends costs one short lock.

mod calls;
mod limits;
mod machine;
mod quality;
mod sample;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use calls::{CallTotals, EndClass, EndedCall};
pub use limits::Limit;
pub use quality::{MetricSums, Quality};
pub use sample::{ChainRate, MediaActivity, Rates};

use crate::config::{Live, Setting};
use crate::media::totals::PlaneTotals;
use machine::CpuMeter;
use sample::Sampler;

/// See the module.
#[derive(Debug)]
pub struct Statistics {
    started: Instant,
    ended: Mutex<CallTotals>,
    rejected: AtomicU64,
    sampler: Mutex<Sampler>,
    cpu: Mutex<CpuMeter>,
    now: Present,
}

/// What limits are compared with, as of the last tick.
#[derive(Debug, Default)]
struct Present {
    octets_per_second: AtomicU64,
    /// Hundredths of a percent.
    cpu: AtomicU64,
    /// Hundredths.
    load: AtomicU64,
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            ended: Mutex::default(),
            rejected: AtomicU64::new(0),
            sampler: Mutex::default(),
            cpu: Mutex::default(),
            now: Present::default(),
        }
    }
}

impl Statistics {
    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Adds a call that has ended.
    pub fn call_ended(&self, call: &EndedCall) {
        lock(&self.ended).add(call);
    }

    /// All calls that have ended.
    pub fn calls(&self) -> CallTotals {
        lock(&self.ended).clone()
    }

    /// Calls that were refused because there were too many.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Relaxed)
    }

    /// What the last second brought.
    pub fn rates(&self) -> Rates {
        lock(&self.sampler).rates().clone()
    }

    /// To be called once a second.
    pub fn tick(&self, now: Instant, plane: &PlaneTotals, media: MediaActivity, live: &Live) {
        {
            let mut sampler = lock(&self.sampler);
            sampler.sample(now, plane, media);
            self.now.octets_per_second.store(sampler.rates().total().octets, Relaxed);
        }
        if live.limit(Setting::MaxCpu).is_some() {
            self.now.cpu.store(lock(&self.cpu).sample(), Relaxed);
        }
        if live.limit(Setting::MaxLoad).is_some() {
            self.now.load.store(machine::load_average().unwrap_or(0), Relaxed);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain numbers: whatever panicked meanwhile has not left them half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The clock of a call: nanoseconds since the recording began, also across an interruption.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::timeline::CallTime;

/// Runs steadily, whatever happens to the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallClock {
    base: Instant,
    base_time: CallTime,
    epoch_unix_ns: i64,
}

impl CallClock {
    /// Begins now, or goes on with one that began at `epoch_unix_ns`.
    pub fn new(now: Instant, epoch_unix_ns: Option<i64>) -> Self {
        let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let unix_ns = i64::try_from(unix_ns).unwrap_or(i64::MAX);
        let epoch_unix_ns = epoch_unix_ns.unwrap_or(unix_ns);
        Self { base: now, base_time: unix_ns.saturating_sub(epoch_unix_ns), epoch_unix_ns }
    }

    /// Wall-clock time of its zero.
    pub fn epoch_unix_ns(&self) -> i64 {
        self.epoch_unix_ns
    }

    /// The time at an instant.
    pub fn at(&self, instant: Instant) -> CallTime {
        let nanoseconds = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        match instant.checked_duration_since(self.base) {
            Some(later) => self.base_time.saturating_add(nanoseconds(later)),
            None => self.base_time.saturating_sub(nanoseconds(self.base.duration_since(instant))),
        }
    }

    /// Wall-clock seconds since the epoch.
    pub fn unix_seconds(&self, time: CallTime) -> f64 {
        self.epoch_unix_ns.saturating_add(time) as f64 / 1e9
    }
}

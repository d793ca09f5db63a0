//! The clock of a call: nanoseconds since the recording began, also across an interruption.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::timeline::CallTime;

/// Arrival times that lie further in the future than this are not believed.
const MAX_AHEAD: i64 = 1_000_000_000;
/// The wall clock was set when it is off by more than this.
const STEP: i64 = 200_000_000;

/// What reading a clock takes at most, unless another process comes in between.
const SAME_TIME: Duration = Duration::from_millis(1);

/// Runs steadily, whatever happens to the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallClock {
    base: Instant,
    base_time: CallTime,
    epoch_unix_ns: i64,
    /// By how much the wall clock was set forward since the beginning.
    stepped: i64,
}

impl CallClock {
    /// Begins now, or goes on with one that began at `epoch_unix_ns`.
    pub fn new(now: Instant, epoch_unix_ns: Option<i64>) -> Self {
        let unix_ns = unix_ns(SystemTime::now());
        let epoch_unix_ns = epoch_unix_ns.unwrap_or(unix_ns);
        Self { base: now, base_time: unix_ns.saturating_sub(epoch_unix_ns), epoch_unix_ns, stepped: 0 }
    }

    /// Wall-clock time of its zero.
    pub fn epoch_unix_ns(&self) -> i64 {
        self.epoch_unix_ns
    }

    /// The time at an instant.
    pub fn at(&self, instant: Instant) -> CallTime {
        match instant.checked_duration_since(self.base) {
            Some(later) => self.base_time.saturating_add(nanoseconds(later)),
            None => self.base_time.saturating_sub(nanoseconds(self.base.duration_since(instant))),
        }
    }

    /// When a packet arrived that the relay daemon has stamped (microseconds since the epoch), and that was read now.
    pub fn arrival(&self, stamp_us: u64, read_at: Instant) -> Instant {
        let stamp = i64::try_from(stamp_us).unwrap_or(i64::MAX).saturating_mul(1000);
        let time = stamp.saturating_sub(self.epoch_unix_ns).saturating_sub(self.stepped);
        if time > self.at(read_at).saturating_add(MAX_AHEAD) {
            return read_at;
        }
        let distance = Duration::from_nanos((time - self.base_time).unsigned_abs());
        let instant = if time >= self.base_time {
            self.base.checked_add(distance)
        } else {
            self.base.checked_sub(distance)
        };
        instant.unwrap_or(read_at)
    }

    /// Notices that somebody has set the wall clock, which stamps go by.
    pub fn follow_wall_clock(&mut self) {
        let (before, wall) = (Instant::now(), SystemTime::now());
        // Both clocks must have been read at the same time.
        if before.elapsed() < SAME_TIME {
            self.compare(before, wall);
        }
    }

    fn compare(&mut self, now: Instant, wall: SystemTime) {
        let expected = self.epoch_unix_ns.saturating_add(self.at(now));
        let off = unix_ns(wall).saturating_sub(expected);
        if (off - self.stepped).abs() > STEP {
            tracing::warn!("The wall clock was set by {} ms", (off - self.stepped) / 1_000_000);
            self.stepped = off;
        }
    }

    /// Wall-clock seconds since the epoch.
    pub fn unix_seconds(&self, time: CallTime) -> f64 {
        self.epoch_unix_ns.saturating_add(time) as f64 / 1e9
    }

    /// The other way round.
    pub fn time_of(&self, unix_seconds: f64) -> CallTime {
        (unix_seconds * 1e9) as i64 - self.epoch_unix_ns
    }
}

fn unix_ns(time: SystemTime) -> i64 {
    nanoseconds(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn stamp(clock: &CallClock, time: CallTime) -> u64 {
        ((clock.epoch_unix_ns + time) / 1000).unsigned_abs()
    }

    #[test]
    fn stamps_tell_when_a_packet_arrived_also_before_the_beginning() {
        let now = Instant::now();
        let clock = CallClock::new(now, None);
        for time in [-5000 * MS, 0, 300 * MS] {
            let arrival = clock.at(clock.arrival(stamp(&clock, time), now));
            assert!((arrival - time).abs() < 1000, "{arrival}, not {time}");
        }
        assert_eq!(clock.arrival(stamp(&clock, 2000 * MS), now), now, "nothing comes from the future");
    }

    #[test]
    fn setting_the_wall_clock_moves_nothing() {
        let now = Instant::now();
        let mut clock = CallClock::new(now, None);
        let wall = SystemTime::now() + Duration::from_secs(3600);
        clock.compare(now, wall);
        let stamped = unix_ns(wall).unsigned_abs() / 1000;
        let time = clock.at(clock.arrival(stamped, now));
        assert!(time.abs() < 100 * MS, "{time}");
    }
}

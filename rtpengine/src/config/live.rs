//! Values that an operator may change while the daemon runs, each an atomic number.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use super::Config;

/// One such value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Own calls at once; negative = no limit.
    MaxSessions,
    /// Hundredths of a percent; 0 = no limit.
    MaxCpu,
    /// Hundredths; 0 = no limit.
    MaxLoad,
    /// Octets a second; 0 = no limit.
    MaxBandwidth,
    /// Microseconds, as all that follow.
    Timeout,
    SilentTimeout,
    /// 0 = never.
    FinalTimeout,
    OfferTimeout,
    DeleteDelay,
    /// TOS or traffic class of ng packets.
    ControlTos,
    /// Failures in a row until Redis is left alone; −1 = any number.
    RedisAllowedErrors,
    /// Microseconds.
    RedisDisableTime,
    /// Milliseconds; 0 = none.
    RedisCommandTimeout,
    /// Milliseconds.
    RedisConnectTimeout,
}

impl Setting {
    /// All of them.
    pub const ALL: [Setting; 14] = [
        Setting::MaxSessions,
        Setting::MaxCpu,
        Setting::MaxLoad,
        Setting::MaxBandwidth,
        Setting::Timeout,
        Setting::SilentTimeout,
        Setting::FinalTimeout,
        Setting::OfferTimeout,
        Setting::DeleteDelay,
        Setting::ControlTos,
        Setting::RedisAllowedErrors,
        Setting::RedisDisableTime,
        Setting::RedisCommandTimeout,
        Setting::RedisConnectTimeout,
    ];
}

/// The present values beside those of the start.
#[derive(Debug)]
pub struct Live {
    present: [AtomicI64; Setting::ALL.len()],
    start: [i64; Setting::ALL.len()],
}

impl Live {
    /// All as configured.
    pub fn new(config: &Config) -> Self {
        let microseconds = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let start = Setting::ALL.map(|setting| match setting {
            Setting::MaxSessions => {
                config.max_sessions.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
            }
            Setting::MaxCpu => hundredths(config.max_cpu),
            Setting::MaxLoad => hundredths(config.max_load),
            Setting::MaxBandwidth => i64::try_from(config.max_bandwidth).unwrap_or(i64::MAX),
            Setting::Timeout => microseconds(config.timeout),
            Setting::SilentTimeout => microseconds(config.silent_timeout),
            Setting::FinalTimeout => config.final_timeout.map_or(0, microseconds),
            Setting::OfferTimeout => microseconds(config.offer_timeout),
            Setting::DeleteDelay => microseconds(config.delete_delay),
            Setting::ControlTos => config.control.tos.into(),
            Setting::RedisAllowedErrors => config.redis_limits.allowed_errors,
            Setting::RedisDisableTime => config.redis_limits.disable_time_s.saturating_mul(1_000_000),
            Setting::RedisCommandTimeout => config.redis_limits.command_timeout_ms,
            Setting::RedisConnectTimeout => config.redis_limits.connect_timeout_ms,
        });
        Self { present: start.map(AtomicI64::new), start }
    }

    /// The present value.
    pub fn get(&self, setting: Setting) -> i64 {
        self.present[setting as usize].load(Relaxed)
    }

    /// The value of the start.
    pub fn at_start(&self, setting: Setting) -> i64 {
        self.start[setting as usize]
    }

    /// Changes a value.
    pub fn set(&self, setting: Setting, value: i64) {
        self.present[setting as usize].store(value, Relaxed);
    }

    /// Puts everything back to the values of the start.
    pub fn revert(&self) {
        for setting in Setting::ALL {
            self.set(setting, self.at_start(setting));
        }
    }

    /// A time.
    pub fn duration(&self, setting: Setting) -> Duration {
        Duration::from_micros(u64::try_from(self.get(setting)).unwrap_or(0))
    }

    /// A limit for which 0 means that there is none.
    pub fn limit(&self, setting: Setting) -> Option<u64> {
        u64::try_from(self.get(setting)).ok().filter(|limit| *limit > 0)
    }

    /// TOS or traffic class of ng packets.
    pub fn control_tos(&self) -> u8 {
        u8::try_from(self.get(Setting::ControlTos)).unwrap_or(0)
    }

    /// Own calls at once.
    pub fn max_sessions(&self) -> Option<u64> {
        u64::try_from(self.get(Setting::MaxSessions)).ok()
    }
}

/// A decimal number as hundredths, within what can be stored.
pub fn hundredths(value: f64) -> i64 {
    // Saturates, and turns NaN into 0.
    (value * 100.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_seen_and_reverted() {
        let loopback = [127, 0, 0, 1].into();
        let live = Live::new(&Config::for_address(loopback, loopback));
        assert_eq!(live.max_sessions(), None);
        assert_eq!(live.limit(Setting::MaxBandwidth), None);
        live.set(Setting::MaxSessions, 0);
        live.set(Setting::Timeout, 5_000_000);
        assert_eq!(live.max_sessions(), Some(0));
        assert_eq!(live.duration(Setting::Timeout), Duration::from_secs(5));
        assert_eq!(live.at_start(Setting::Timeout), 60_000_000);
        live.revert();
        assert!(Setting::ALL.iter().all(|setting| live.get(*setting) == live.at_start(*setting)));
    }

    #[test]
    fn hundredths_saturate() {
        let cases = [(50.0, 5000), (0.005, 1), (-1.0, -100), (f64::NAN, 0), (1e300, i64::MAX)];
        for (value, expected) in cases {
            assert_eq!(hundredths(value), expected, "{value}");
        }
    }
}

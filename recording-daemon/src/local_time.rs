//! Wall-clock time for file names and time stamps.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment in local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Year with century.
    pub year: i32,
    /// 1–12
    pub month: i32,
    /// 1–31
    pub day: i32,
    /// 0–23
    pub hour: i32,
    /// 0–59
    pub minute: i32,
    /// 0–60
    pub second: i32,
    /// 0–999 999
    pub microsecond: u32,
}

impl LocalTime {
    /// A system time in this machine's time zone.
    pub fn from_system(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = libc::time_t::try_from(since_epoch.as_secs()).unwrap_or(libc::time_t::MAX);
        // SAFETY: an all-zero tm is valid, it contains integers and one pointer that may be null.
        let mut parts: libc::tm = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are valid for the call; localtime_r keeps neither.
        unsafe { libc::localtime_r(&raw const seconds, &raw mut parts) };
        Self {
            year: parts.tm_year + 1900,
            month: parts.tm_mon + 1,
            day: parts.tm_mday,
            hour: parts.tm_hour,
            minute: parts.tm_min,
            second: parts.tm_sec,
            microsecond: since_epoch.subsec_micros(),
        }
    }
}

/// Seconds since the epoch.
pub fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

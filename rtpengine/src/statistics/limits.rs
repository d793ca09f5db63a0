//! Limits on new calls.

use std::sync::atomic::Ordering::Relaxed;

use super::Statistics;
use crate::config::{Live, Setting};

/// A limit that keeps a call from being set up. `Display` is what clients that understand limits are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    #[error("Parallel session limit reached")]
    Sessions,
    #[error("Load limit exceeded")]
    Load,
    #[error("CPU usage limit exceeded")]
    Cpu,
    #[error("Bandwidth limit exceeded")]
    Bandwidth,
}

impl Statistics {
    /// Refuses a new call when a limit is reached, says so in the log, and counts it.
    ///
    /// # Errors
    /// The first limit that is reached.
    pub fn admit(&self, live: &Live, own_sessions: impl FnOnce() -> u64) -> Result<(), Limit> {
        if let Some(limit) = live.max_sessions().filter(|limit| own_sessions() >= *limit) {
            self.rejected.fetch_add(1, Relaxed);
            tracing::error!(limit = true, "Parallel session limit reached ({limit})");
            return Err(Limit::Sessions);
        }
        let exceeded = |setting, present: u64| live.limit(setting).filter(|limit| present >= *limit);
        let load = self.now.load.load(Relaxed);
        if let Some(limit) = exceeded(Setting::MaxLoad, load) {
            let (load, limit) = (load as f64 / 100.0, limit as f64 / 100.0);
            tracing::warn!(limit = true, "Load limit exceeded ({load:.2} > {limit:.2})");
            return Err(Limit::Load);
        }
        let cpu = self.now.cpu.load(Relaxed);
        if let Some(limit) = exceeded(Setting::MaxCpu, cpu) {
            let (cpu, limit) = (cpu as f64 / 100.0, limit as f64 / 100.0);
            tracing::warn!(limit = true, "CPU usage limit exceeded ({cpu:.1}% > {limit:.1}%)");
            return Err(Limit::Cpu);
        }
        let octets = self.now.octets_per_second.load(Relaxed);
        if let Some(limit) = exceeded(Setting::MaxBandwidth, octets) {
            tracing::warn!(limit = true, "Bandwidth limit exceeded ({octets} > {limit})");
            return Err(Limit::Bandwidth);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_first_limit_that_is_reached_refuses_and_only_sessions_count() {
        let statistics = Statistics::default();
        let loopback = [127, 0, 0, 1].into();
        let live = Live::new(&Config::for_address(loopback, loopback));
        statistics.now.octets_per_second.store(1000, Relaxed);
        statistics.now.load.store(250, Relaxed);
        statistics.now.cpu.store(9000, Relaxed);
        assert_eq!(statistics.admit(&live, || u64::MAX), Ok(()), "no limits");
        let cases = [
            (Setting::MaxBandwidth, 1001, Ok(())),
            (Setting::MaxBandwidth, 1000, Err(Limit::Bandwidth)),
            (Setting::MaxCpu, 9001, Err(Limit::Bandwidth)),
            (Setting::MaxCpu, 9000, Err(Limit::Cpu)),
            (Setting::MaxLoad, 250, Err(Limit::Load)),
            (Setting::MaxSessions, 11, Err(Limit::Load)),
            (Setting::MaxSessions, 10, Err(Limit::Sessions)),
            (Setting::MaxSessions, 0, Err(Limit::Sessions)),
        ];
        for (setting, value, expected) in cases {
            live.set(setting, value);
            assert_eq!(statistics.admit(&live, || 10), expected, "{setting:?} = {value}");
        }
        assert_eq!(statistics.rejected(), 2);
    }
}

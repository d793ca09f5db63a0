//! How busy the machine is, from `/proc`.

use std::fs;

/// Measures the use of all processors between two looks.
#[derive(Debug, Default)]
pub struct CpuMeter {
    before: Option<CpuTimes>,
}

/// Ticks since the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    total: u64,
}

impl CpuMeter {
    /// Use since the last call, in hundredths of a percent; 0 at first, and where the system does not say.
    pub fn sample(&mut self) -> u64 {
        let now = fs::read_to_string("/proc/stat").ok().and_then(|text| CpuTimes::parse(&text));
        let before = std::mem::replace(&mut self.before, now);
        match (before, now) {
            (Some(before), Some(now)) => now.usage_since(before),
            _ => 0,
        }
    }
}

impl CpuTimes {
    /// First line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
    fn parse(text: &str) -> Option<Self> {
        let numbers = text.lines().next()?.strip_prefix("cpu ")?;
        let times: Vec<u64> = numbers.split_whitespace().take(8).map_while(|n| n.parse().ok()).collect();
        let total = times.iter().try_fold(0u64, |sum, n| sum.checked_add(*n))?;
        let idle = times.get(3)?.checked_add(times.get(4).copied().unwrap_or(0))?;
        Some(Self { busy: total.checked_sub(idle)?, total })
    }

    fn usage_since(self, before: Self) -> u64 {
        let total = self.total.saturating_sub(before.total);
        self.busy.saturating_sub(before.busy).saturating_mul(10_000).checked_div(total).unwrap_or(0)
    }
}

/// One-minute load average in hundredths.
pub fn load_average() -> Option<u64> {
    parse_load(&fs::read_to_string("/proc/loadavg").ok()?)
}

fn parse_load(text: &str) -> Option<u64> {
    let load: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some((load * 100.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_the_share_that_was_not_idle() {
        let before = CpuTimes::parse("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 1 1 1").expect("times");
        assert_eq!(before, CpuTimes { busy: 200, total: 1000 });
        let now = CpuTimes::parse("cpu  150 0 125 850 25 0 0 0").expect("times");
        assert_eq!(now.usage_since(before), 5000);
        assert_eq!(now.usage_since(now), 0, "no time has passed");
    }

    #[test]
    fn what_the_system_does_not_say_is_nothing() {
        for text in ["", "cpu", "intr 5", "cpu  x", "cpu  1 2 3"] {
            assert_eq!(CpuTimes::parse(text), None, "{text}");
        }
        assert_eq!(parse_load("1.25 0.5 0.1 2/300 4"), Some(125));
        assert_eq!(parse_load(""), None);
        assert!(load_average().is_some() && CpuMeter::default().sample() == 0);
    }
}

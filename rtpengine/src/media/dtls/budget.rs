//! How often something may happen.

use std::time::Instant;

/// A number of permits that fills up again with time.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Permits at most, and how many come back in a second.
    permits: u32,
    per_second: u32,
    left: u32,
    since: Instant,
}

impl Budget {
    /// Full.
    pub fn new(now: Instant, permits: u32, per_second: u32) -> Self {
        Self { permits, per_second, left: permits, since: now }
    }

    /// Takes one; false when there is none.
    pub fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.since).as_millis().min(60_000) as u64;
        let back = elapsed * u64::from(self.per_second) / 1000;
        if back > 0 {
            self.left = u32::try_from(back).unwrap_or(u32::MAX).saturating_add(self.left).min(self.permits);
            self.since = now;
        }
        let had = self.left > 0;
        self.left = self.left.saturating_sub(1);
        had
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn permits_come_back_with_time_and_do_not_pile_up() {
        let start = Instant::now();
        let mut budget = Budget::new(start, 3, 10);
        let mut taken = |ms: u64| (0..10).filter(|_| budget.take(start + Duration::from_millis(ms))).count();
        assert_eq!(taken(0), 3);
        assert_eq!(taken(50), 0);
        assert_eq!(taken(200), 2);
        assert_eq!(taken(60_000), 3);
    }
}

//! A bounded rate: so many at once, so many a second.

use std::time::Instant;

/// Tokens that fill up with time.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    capacity: u32,
    per_second: u32,
    left: u32,
    since: Instant,
}

impl Budget {
    /// A full one.
    pub fn new(now: Instant, capacity: u32, per_second: u32) -> Self {
        Self { capacity, per_second, left: capacity, since: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }

    /// Nothing is left.
    pub fn is_empty(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left == 0
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since).as_millis();
        let earned = elapsed * u128::from(self.per_second) / 1000;
        if earned > 0 {
            self.left = self.capacity.min(self.left.saturating_add(earned.min(u128::from(u32::MAX)) as u32));
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_spent_comes_back_with_time_up_to_the_capacity() {
        let start = Instant::now();
        let mut budget = Budget::new(start, 3, 10);
        assert_eq!((0..5).filter(|_| budget.take(start)).count(), 3);
        assert!(budget.is_empty(start));
        let later = start + Duration::from_millis(250);
        assert_eq!((0..5).filter(|_| budget.take(later)).count(), 2);
        let much_later = later + Duration::from_secs(60);
        assert_eq!((0..9).filter(|_| budget.take(much_later)).count(), 3);
    }
}

//! Suppression of lines that repeat.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// Remembers when a line was last written.
#[derive(Debug, Default)]
pub(super) struct RepeatFilter {
    seen: HashMap<u64, Seen>,
}

#[derive(Debug)]
struct Seen {
    written: Instant,
    suppressed: u64,
}

/// How long a line suppresses its repetitions.
const QUIET: Duration = Duration::from_secs(15);

/// So many different lines are remembered; then the memory starts anew, which bounds it.
const MOST_LINES: usize = 10_000;

impl RepeatFilter {
    /// `None` if the line is to be suppressed, else how many repetitions were since it was last written.
    pub fn pass(&mut self, prefix: &str, text: &str, now: Instant) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        (prefix, text).hash(&mut hasher);
        let key = hasher.finish();
        if let Some(seen) = self.seen.get_mut(&key) {
            if now.duration_since(seen.written) < QUIET {
                seen.suppressed += 1;
                return None;
            }
            seen.written = now;
            return Some(std::mem::take(&mut seen.suppressed));
        }
        if self.seen.len() >= MOST_LINES {
            self.seen.clear();
        }
        self.seen.insert(key, Seen { written: now, suppressed: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_quiet_for_fifteen_seconds_and_then_tells_the_count() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut filter = RepeatFilter::default();
        assert_eq!(filter.pass("p", "t", after(0)), Some(0));
        assert_eq!(filter.pass("p", "t", after(1)), None);
        assert_eq!(filter.pass("p", "t", after(14)), None);
        assert_eq!(filter.pass("q", "t", after(14)), Some(0));
        assert_eq!(filter.pass("p", "t", after(15)), Some(2));
        assert_eq!(filter.pass("p", "t", after(16)), None);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut filter = RepeatFilter::default();
        let now = Instant::now();
        for number in 0..MOST_LINES + 5 {
            filter.pass("p", &number.to_string(), now);
        }
        assert!(filter.seen.len() <= MOST_LINES);
    }
}

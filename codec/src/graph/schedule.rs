//! When a transcoded packet leaves: the first at once, later ones paced by their timestamps.

use std::time::{Duration, Instant};

/// Pacing of one outgoing stream.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    base: Option<(Instant, u32)>,
    last_send_at: Option<Instant>,
    early_in_a_row: u32,
}

const EARLY: Duration = Duration::from_millis(50);
const EARLY_LIMIT: u32 = 25;
const STEP_BACK: Duration = Duration::from_millis(10);

impl Schedule {
    /// When a packet with this timestamp is sent.
    pub(super) fn send_at(&mut self, now: Instant, timestamp: u32, clock_rate: u32) -> Instant {
        let send_at = self.scheduled(now, timestamp, clock_rate).unwrap_or_else(|| {
            self.base = Some((now, timestamp));
            self.early_in_a_row = 0;
            now
        });
        if send_at.duration_since(now) >= EARLY {
            self.early_in_a_row += 1;
        } else {
            self.early_in_a_row = 0;
        }
        if self.early_in_a_row >= EARLY_LIMIT {
            self.early_in_a_row = 0;
            if let Some((base, _)) = &mut self.base {
                *base = base.checked_sub(STEP_BACK).unwrap_or(*base);
            }
        }
        self.last_send_at = Some(send_at);
        send_at
    }

    /// At once, but not before a packet that was given out earlier: for packets whose timestamp stands still.
    pub(super) fn send_soon(&mut self, now: Instant) -> Instant {
        let send_at = self.last_send_at.map_or(now, |last| last.max(now));
        self.last_send_at = Some(send_at);
        send_at
    }

    /// `None` when there is no schedule, or the time lies in the past or more than a second ahead.
    fn scheduled(&self, now: Instant, timestamp: u32, clock_rate: u32) -> Option<Instant> {
        let (base, base_timestamp) = self.base?;
        let ticks = timestamp.wrapping_sub(base_timestamp);
        let micros = u64::from(ticks) * 1_000_000 / u64::from(clock_rate.max(1));
        let at = base.checked_add(Duration::from_micros(micros))?;
        (at >= now && at <= now + super::Transcoder::MAX_SCHEDULE).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn burst_is_spread_by_timestamps() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        let times: Vec<Instant> = (0..3).map(|n| schedule.send_at(now, n * 160, 8000)).collect();
        assert_eq!(times, [now, now + 20 * MS, now + 40 * MS]);
    }

    #[test]
    fn late_packet_leaves_at_once_and_moves_the_schedule() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        schedule.send_at(now, 0, 8000);
        assert_eq!(schedule.send_at(now + 30 * MS, 160, 8000), now + 30 * MS);
        assert_eq!(schedule.send_at(now + 40 * MS, 320, 8000), now + 50 * MS);
    }

    #[test]
    fn jump_of_more_than_a_second_starts_anew() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        schedule.send_at(now, 0, 8000);
        assert_eq!(schedule.send_at(now + 20 * MS, 9000, 8000), now + 20 * MS);
        assert_eq!(schedule.send_at(now + 40 * MS, 160, 8000), now + 40 * MS);
    }

    #[test]
    fn persistent_earliness_is_reduced_in_steps() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        schedule.send_at(now, 0, 8000);
        let early: Vec<Duration> = (3..40u32)
            .map(|n| {
                let arrival = now + (n - 3) * 20 * MS;
                schedule.send_at(arrival, n * 160, 8000) - arrival
            })
            .collect();
        assert_eq!(early[24], 60 * MS);
        assert_eq!(early[25], 50 * MS);
    }
}

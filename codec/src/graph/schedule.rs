//! When a transcoded packet leaves: paced by its timestamp, but never later than needed.
//!
//! The schedule is a line through time and timestamps. The first packet begins it, but may itself have come late, or much too early in
//! a burst; so over each window of packets the line is corrected by what all of them agree on: packets that all had to wait move it
//! back by the shortest wait, packets that were all late move it to the last of them. A single late packet leaves at once and
//! moves nothing, so that those behind it are not late as well.

use std::time::{Duration, Instant};

/// Pacing of one outgoing stream.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    base: Option<(Instant, u32)>,
    last_send_at: Option<Instant>,
    window: Window,
}

/// When a packet is sent, and when the one before it was to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Departure {
    pub(super) send_at: Instant,
    pub(super) follows: Instant,
}

/// What the last packets have in common.
#[derive(Debug, Default)]
struct Window {
    packets: u32,
    late: u32,
    /// How long each of them had to wait at least.
    least_wait: Duration,
    /// At least one window has been full.
    is_settled: bool,
}

/// Packets of the first window, so that a late first packet is made up for soon, and of all others.
const FIRST_WINDOW: u32 = 5;
const WINDOW: u32 = 25;

impl Schedule {
    /// When a packet with this timestamp is sent.
    pub(super) fn send_at(&mut self, now: Instant, timestamp: u32, clock_rate: u32) -> Departure {
        let Some(planned) = self.planned(now, timestamp, clock_rate) else {
            self.begin(now, timestamp);
            return self.send_soon(now);
        };
        self.correct(now, planned, timestamp);
        // A line that moved back must not let a packet overtake one that waits.
        self.depart(now, planned)
    }

    /// At once, but not before a packet that was given out earlier: for packets whose timestamp stands still.
    pub(super) fn send_soon(&mut self, now: Instant) -> Departure {
        self.depart(now, now)
    }

    /// The next packet begins a line of its own, as with timestamps of another clock; what waits still leaves before it.
    pub(super) fn forget_line(&mut self) {
        self.base = None;
    }

    fn depart(&mut self, now: Instant, planned: Instant) -> Departure {
        let follows = self.last_send_at.unwrap_or(now);
        let send_at = planned.max(follows).max(now);
        self.last_send_at = Some(send_at);
        Departure { send_at, follows }
    }

    fn begin(&mut self, now: Instant, timestamp: u32) {
        self.base = Some((now, timestamp));
        self.window = Window::default();
        // What waits further ahead than a packet may wait belongs to another time.
        self.last_send_at = self.last_send_at.filter(|last| *last <= now + super::Transcoder::MAX_SCHEDULE);
    }

    /// The time on the line; `None` when there is no line, or the packet is more than a second off it.
    fn planned(&self, now: Instant, timestamp: u32, clock_rate: u32) -> Option<Instant> {
        let (base, base_timestamp) = self.base?;
        let ticks = i64::from(timestamp.wrapping_sub(base_timestamp) as i32);
        let offset = Duration::from_micros(ticks.unsigned_abs() * 1_000_000 / u64::from(clock_rate.max(1)));
        let planned = if ticks < 0 { base.checked_sub(offset)? } else { base.checked_add(offset)? };
        let most = super::Transcoder::MAX_SCHEDULE;
        (planned <= now + most && now.saturating_duration_since(planned) <= most).then_some(planned)
    }

    fn correct(&mut self, now: Instant, planned: Instant, timestamp: u32) {
        let window = &mut self.window;
        let wait = planned.saturating_duration_since(now);
        window.least_wait = if window.packets == 0 { wait } else { window.least_wait.min(wait) };
        window.late += u32::from(planned < now);
        window.packets += 1;
        if window.packets < if window.is_settled { WINDOW } else { FIRST_WINDOW } {
            return;
        }
        if window.late == window.packets {
            self.base = Some((now, timestamp));
        } else if let Some((base, base_timestamp)) = self.base {
            // The base follows the stream, so that timestamps never go half way round from it.
            let ahead = base.checked_sub(window.least_wait).unwrap_or(base);
            let line = planned.checked_sub(window.least_wait).unwrap_or(planned);
            self.base = Some(if line >= ahead { (line, timestamp) } else { (ahead, base_timestamp) });
        }
        self.window = Window { is_settled: true, ..Window::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Milliseconds from arrival to departure of packets of 20 ms that arrive at these times.
    fn waits(arrivals: impl IntoIterator<Item = u32>) -> Vec<u128> {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        let wait = |(n, at): (usize, u32)| {
            let now = start + at * MS;
            (schedule.send_at(now, n as u32 * 160, 8000).send_at - now).as_millis()
        };
        arrivals.into_iter().enumerate().map(wait).collect()
    }

    #[test]
    fn burst_is_spread_by_timestamps() {
        assert_eq!(waits([0, 0, 0]), [0, 20, 40]);
    }

    #[test]
    fn late_packet_leaves_at_once_and_delays_nobody() {
        assert_eq!(waits([0, 50, 51, 60, 80]), [0, 0, 0, 0, 0]);
        assert_eq!(waits([0, 35, 36, 60, 75]), [0, 0, 4, 0, 5]);
    }

    #[test]
    fn stream_behind_a_late_first_packet_stops_waiting() {
        let waits = waits((0..40).map(|n| if n == 0 { 15 } else { n * 20 }));
        assert_eq!(waits[1..6], [15, 15, 15, 15, 15]);
        assert!(waits[6..].iter().all(|&wait| wait == 0), "{waits:?}");
    }

    #[test]
    fn stream_that_becomes_slower_gets_a_line_of_its_own() {
        let arrivals = (0..100).map(|n| if n < 30 { n * 20 } else { n * 20 + 70 - (n % 2) * 15 });
        let waits = waits(arrivals);
        assert!(waits[31..50].iter().all(|&wait| wait == 0), "{waits:?}");
        assert!(waits[90..].iter().all(|&wait| wait <= 15), "{waits:?}");
    }

    #[test]
    fn pairs_every_other_packet_time_stay_paced() {
        let waits = waits((0..100).map(|n| n / 2 * 40));
        assert!(waits.iter().enumerate().all(|(n, &wait)| wait == n as u128 % 2 * 20), "{waits:?}");
    }

    #[test]
    fn nothing_overtakes_when_the_line_moves_back() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        let mut last = start;
        for n in 0..200u32 {
            // Ten at once, then in time: the burst is 180 ms ahead, and stays so.
            let now = start + n.saturating_sub(9) * 20 * MS;
            let Departure { send_at, follows } = schedule.send_at(now, n * 160, 8000);
            assert!(n == 0 || follows == last, "packet {n}");
            assert!(send_at >= last, "packet {n}");
            last = send_at;
        }
        assert_eq!(last, start + 190 * 20 * MS, "no wait is left");
    }

    #[test]
    fn jump_of_more_than_a_second_starts_anew() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        schedule.send_at(now, 0, 8000);
        assert_eq!(schedule.send_at(now + 20 * MS, 9000, 8000).send_at, now + 20 * MS);
        assert_eq!(schedule.send_at(now + 40 * MS, 160, 8000).send_at, now + 40 * MS);
    }

    #[test]
    fn another_clock_begins_behind_what_waits() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        let waiting = [0, 160, 320].map(|timestamp| schedule.send_at(now, timestamp, 8000).send_at);
        schedule.forget_line();
        let first = schedule.send_at(now + MS, 77, 48_000);
        assert_eq!(first, Departure { send_at: waiting[2], follows: waiting[2] });
    }

    #[test]
    fn timestamps_may_go_round() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        let first = u32::MAX - 1000;
        for n in 0..1000u32 {
            let at = now + n * 20 * MS;
            let timestamp = first.wrapping_add(n.wrapping_mul(960 * 5000));
            assert_eq!(schedule.send_at(at, timestamp, 240_000_000).send_at, at);
        }
    }
}

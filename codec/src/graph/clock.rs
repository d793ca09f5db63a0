//! The source's clock: how much time lies between what was heard last and the next packet.

use std::time::Instant;

/// A gap in timestamps that is followed whatever the arrival of packets says.
const MAX_GAP_SECONDS: u32 = 5;
/// A stream that stays behind its own clock by more than this has moved, not jittered; one that was silent for longer has paused.
const MAX_JITTER_MS: u64 = 200;

/// Time in ticks of the source's format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    rate: u32,
    /// The timestamp that follows what was heard last; `None` before the first packet, and where the format has another clock now.
    expected: Option<u32>,
    /// When the last packet that was followed came.
    heard_at: Option<Instant>,
    /// Nobody knows how long that packet is: it was not decoded. `expected` is where it begins.
    is_open: bool,
}

impl Clock {
    pub(super) fn new(rate: u32) -> Self {
        Self { rate: rate.max(1), expected: None, heard_at: None, is_open: false }
    }

    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// Timestamps are those of a format with this clock from now on (RFC 7160 §4.1: they start anew where it differs).
    pub(super) fn set_rate(&mut self, rate: u32) {
        if rate.max(1) != self.rate {
            self.rate = rate.max(1);
            self.expected = None;
        }
    }

    pub(super) fn expected(&self) -> Option<u32> {
        self.expected
    }

    /// The first packet of all starts the clock.
    pub(super) fn start_at(&mut self, timestamp: u32, now: Instant) {
        if self.heard_at.is_none() {
            (self.expected, self.heard_at) = (Some(timestamp), Some(now));
        }
    }

    /// This much was heard.
    pub(super) fn advance(&mut self, ticks: u32) {
        self.expected = self.expected.map(|expected| expected.wrapping_add(ticks));
    }

    /// Ticks from the end of what was heard to a packet; 0 for a small step back. A pause of any length is one if time has passed as its
    /// sender says. Else its clock has jumped, and the pause was as long as nothing came: more than a packet of `packet_ticks`.
    pub(super) fn ahead(&self, timestamp: u32, now: Instant, packet_ticks: u32) -> u32 {
        let Some(heard_at) = self.heard_at else { return 0 };
        let silent = now.saturating_duration_since(heard_at).as_millis() as u64;
        let silent_ticks = silent.saturating_mul(u64::from(self.rate)) / 1000;
        if let Some(expected) = self.expected {
            let ahead = timestamp.wrapping_sub(expected);
            if !self.is_far(timestamp) {
                return if ahead <= self.max_gap() { ahead } else { 0 };
            }
            if ahead <= i32::MAX as u32 && u64::from(ahead) <= silent_ticks + u64::from(self.max_gap()) {
                return ahead;
            }
        }
        let owed = if self.is_open { packet_ticks } else { 0 };
        if silent <= MAX_JITTER_MS {
            return owed;
        }
        let pause = silent_ticks.saturating_sub(u64::from(packet_ticks)).min(i32::MAX as u64) as u32;
        pause.saturating_add(owed)
    }

    /// Moves to a packet and gives the gap before it.
    pub(super) fn follow(&mut self, timestamp: u32, now: Instant, packet_ticks: u32) -> u32 {
        let gap = self.ahead(timestamp, now, packet_ticks);
        // A small step back is kept as debt, so that later packets with right timestamps do not count twice.
        if gap > 0 || self.expected.is_none() || self.is_far(timestamp) {
            self.expected = Some(timestamp);
        }
        self.heard_at = Some(now);
        self.is_open = false;
        gap
    }

    /// What was followed last is not decoded.
    pub(super) fn leave_open(&mut self) {
        self.is_open = true;
    }

    /// Neither within a gap that is followed in any case nor a small step back.
    pub(super) fn is_far(&self, timestamp: u32) -> bool {
        let Some(expected) = self.expected else { return self.heard_at.is_some() };
        let behind = u64::from(expected.wrapping_sub(timestamp));
        timestamp.wrapping_sub(expected) > self.max_gap()
            && behind * 1000 > MAX_JITTER_MS * u64::from(self.rate)
    }

    fn max_gap(&self) -> u32 {
        self.rate.saturating_mul(MAX_GAP_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A clock of 8 kHz that has heard a packet of 20 ms at 1000.
    fn clock(now: Instant) -> Clock {
        let mut clock = Clock::new(8000);
        assert_eq!(clock.follow(1000, now, 160), 0);
        clock.advance(160);
        clock
    }

    #[test]
    fn pauses_are_as_long_as_their_sender_says() {
        let now = Instant::now();
        for seconds in [0, 1, 5, 6, 60, 7200] {
            let mut clock = clock(now);
            let gap = clock.follow(1160 + 8000 * seconds, now + Duration::from_secs(seconds.into()), 160);
            assert_eq!(gap, 8000 * seconds);
            assert_eq!(clock.expected(), Some(1160 + 8000 * seconds));
        }
    }

    #[test]
    fn a_clock_that_jumps_counts_as_long_as_nothing_came() {
        let now = Instant::now();
        for jump in [8000 * 3600, 0x8000_0000, 0xf000_0000_u32] {
            let mut clock = clock(now);
            let timestamp = 1160u32.wrapping_add(jump);
            let at_once = clock.follow(timestamp, now + Duration::from_millis(25), 160);
            assert_eq!((at_once, clock.expected()), (0, Some(timestamp)));
            let mut clock = self::clock(now);
            assert_eq!(clock.follow(timestamp, now + Duration::from_secs(3), 160), 24_000 - 160);
            assert_eq!(clock.expected(), Some(timestamp));
        }
    }

    #[test]
    fn another_clock_goes_on_where_the_former_stopped() {
        let now = Instant::now();
        let mut clock = clock(now);
        clock.set_rate(48_000);
        assert_eq!(clock.follow(77, now + Duration::from_millis(20), 960), 0);
        clock.leave_open();
        assert_eq!(clock.follow(77 + 960, now + Duration::from_millis(40), 960), 960);
        clock.leave_open();
        // The length of the last packet is owed.
        clock.set_rate(8000);
        assert_eq!(clock.follow(3, now + Duration::from_millis(60), 160), 160);
    }

    #[test]
    fn a_small_step_back_is_jitter() {
        let now = Instant::now();
        let mut clock = clock(now);
        assert_eq!(clock.follow(1100, now + Duration::from_secs(1), 160), 0);
        assert_eq!(clock.expected(), Some(1160));
    }
}

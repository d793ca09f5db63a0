//! Event packets (RFC 4733) heard as tones, by a sink that does not take them.

use crate::dtmf::Sines;

/// The event in progress.
#[derive(Debug, Default)]
pub(super) struct EventTones {
    timestamp: Option<u32>,
    /// What has been made of it, in units of its clock and in samples.
    ticks: u32,
    samples: u64,
    clock_rate: u32,
    rate: u32,
    sines: Sines,
    is_over: bool,
}

/// Time that one packet may add: a burst must not become minutes of tone. The three end packets add up.
const MOST_AT_ONCE_MS: u32 = 200;
/// Audio that comes so much later than what an event has lasted begins after it.
const PATIENCE_MS: u32 = 60;

impl EventTones {
    /// Takes note of a packet; whether it is the first of a digit.
    pub(super) fn begins(&mut self, timestamp: u32, payload: &[u8], clock_rate: u32, rate: u32) -> bool {
        let [code @ 0..=15, flags, ..] = *payload else { return false };
        if self.timestamp.is_some_and(|known| timestamp.wrapping_sub(known).wrapping_sub(1) >= 0x7fff_ffff) {
            // The same event, or a late packet of one that is over.
            return false;
        }
        *self = Self {
            timestamp: Some(timestamp),
            clock_rate: clock_rate.max(1),
            rate,
            sines: Sines::digit(rate, code, flags & 0x3f),
            ..Self::default()
        };
        true
    }

    /// Appends tones up to the duration that a packet tells; gives how much that was in units of the event's clock.
    pub(super) fn lengthen(
        &mut self,
        timestamp: u32,
        payload: &[u8],
        channels: u8,
        queue: &mut Vec<i16>,
    ) -> u32 {
        let [_, flags, high, low, ..] = *payload else { return 0 };
        if self.timestamp != Some(timestamp) {
            return 0;
        }
        let most = self.ticks.saturating_add(self.clock_rate / 1000 * MOST_AT_ONCE_MS);
        let until = u32::from(u16::from_be_bytes([high, low])).clamp(self.ticks, most);
        let added = until - self.ticks;
        self.ticks = until;
        let samples = u64::from(until) * u64::from(self.rate) / u64::from(self.clock_rate.max(1));
        for _ in self.samples..samples {
            queue.extend(std::iter::repeat_n(self.sines.sample(), usize::from(channels)));
        }
        self.samples = samples;
        self.is_over |= flags & 0x80 != 0;
        added
    }

    /// Audio of this time lies within the event.
    pub(super) fn replaces_audio(&mut self, timestamp: u32) -> bool {
        let Some(begin) = self.timestamp.filter(|_| !self.is_over) else { return false };
        let patience = self.ticks + self.clock_rate / 1000 * PATIENCE_MS;
        let within = timestamp.wrapping_sub(begin) < patience;
        self.is_over = !within && timestamp.wrapping_sub(begin) < 0x8000_0000;
        !self.is_over
    }
}

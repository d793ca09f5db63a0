//! Where the audio of one SSRC belongs on the clock of its call. Pure; times are nanoseconds on that clock.
//!
//! RTP timestamps say how frames lie to each other, arrival times say where they lie in the call. A packet is never early,
//! only late; so the packet that was least late tells the truth. After the first packet (and after each break) frames are
//! held for [`LEARNING`] while the least delay is found; this also places packets that had been queued before we read them.
//!
//! ```text
//! Learning ──(300 ms of arrivals)──▶ Anchored ──(timestamp jump > 5 s, clock rate change, place ≠ arrival)──▶ Learning
//! ```
//!
//! While anchored, [`Drift`] follows the sender's clock, so that the legs of a call stay together for hours.

mod drift;

use std::collections::VecDeque;

use drift::Drift;

/// Nanoseconds on the clock of a call.
pub type CallTime = i64;

const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MILLISECOND;

/// How long frames are held to find the least delay.
pub const LEARNING: i64 = 300 * MILLISECOND;
/// Frames held at most.
const MAX_HELD: usize = 4096;
/// A timestamp jump that is a break and not a pause.
const MAX_JUMP: i64 = 5 * SECOND;
/// Packets that come this much before their place show that the place is wrong.
const MAX_EARLY: i64 = 100 * MILLISECOND;
/// Packets that come this much after their place may show it too.
const MAX_LATE: i64 = 500 * MILLISECOND;
/// Differences below this are jitter, not another place.
const SAME_PLACE: i64 = 20 * MILLISECOND;

/// Ties RTP timestamps to the clock of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// An RTP timestamp,
    pub timestamp: u32,
    /// the clock rate it counts in,
    pub clock_rate: u32,
    /// its place,
    pub time: CallTime,
    /// and how much longer than it should be a tick is, in parts per thousand million.
    pub drift_ppb: i64,
}

impl Anchor {
    /// The place of a timestamp within 2³¹ of the anchor's.
    pub fn place(&self, timestamp: u32) -> CallTime {
        let ticks = i64::from(timestamp.wrapping_sub(self.timestamp).cast_signed());
        let nominal = ticks_to_nanoseconds(ticks, self.clock_rate);
        let drift = i128::from(nominal) * i128::from(self.drift_ppb) / 1_000_000_000;
        self.time.saturating_add(nominal).saturating_add(i64::try_from(drift).unwrap_or(0))
    }
}

/// Places frames of type `F`.
#[derive(Debug)]
pub struct Timeline<F> {
    anchor: Option<Anchor>,
    learning: Option<Learning>,
    held: VecDeque<(u32, F)>,
    last_timestamp: u32,
    /// A frame was placed since the beginning or the interruption.
    is_running: bool,
    drift: Drift,
}

#[derive(Clone, Copy, Debug)]
struct Learning {
    since: CallTime,
    /// Tentative: the first timestamp at the place that the least late packet gives it.
    anchor: Anchor,
}

impl<F> Timeline<F> {
    /// Nothing is known, or only where an interrupted recording had its anchor.
    pub fn new(anchor: Option<Anchor>) -> Self {
        Self {
            anchor,
            learning: None,
            held: VecDeque::new(),
            last_timestamp: anchor.map_or(0, |anchor| anchor.timestamp),
            is_running: false,
            drift: Drift::new(anchor.map_or(0, |anchor| anchor.drift_ppb)),
        }
    }

    /// Takes the next frame in sequence order; frames whose place is known come out, in order.
    pub fn push(
        &mut self,
        timestamp: u32,
        clock_rate: u32,
        arrival: CallTime,
        frame: F,
        out: &mut Vec<(CallTime, F)>,
    ) {
        let clock_rate = clock_rate.max(1);
        let jump = i64::from(timestamp.wrapping_sub(self.last_timestamp).cast_signed());
        let jumped = ticks_to_nanoseconds(jump, clock_rate).abs() > MAX_JUMP;
        self.last_timestamp = timestamp;
        if let Some(learning) = self.learning {
            if jumped || learning.anchor.clock_rate != clock_rate {
                self.settle(out);
                self.learn(timestamp, clock_rate, arrival);
            }
        } else {
            let fits = self.anchor.filter(|anchor| {
                let delay = arrival.saturating_sub(anchor.place(timestamp));
                anchor.clock_rate == clock_rate && (-MAX_EARLY..=MAX_LATE).contains(&delay)
            });
            // A resumed anchor is far from the first timestamp, that is no jump.
            if fits.is_none() || (jumped && self.is_running) {
                self.learn(timestamp, clock_rate, arrival);
            }
        }
        if let Some(learning) = &mut self.learning {
            let late = arrival.saturating_sub(learning.anchor.place(timestamp));
            learning.anchor.time = learning.anchor.time.saturating_add(late.min(0));
            let since = learning.since;
            self.held.push_back((timestamp, frame));
            if arrival.saturating_sub(since) >= LEARNING || self.held.len() >= MAX_HELD {
                self.settle(out);
            }
            return;
        }
        if let Some(anchor) = &mut self.anchor {
            let place = anchor.place(timestamp);
            let time = place.saturating_add(self.drift.step());
            self.drift.observe(arrival.saturating_sub(time), arrival);
            *anchor = Anchor { timestamp, time, clock_rate, drift_ppb: self.drift.ppb() };
            self.is_running = true;
            out.push((time, frame));
        }
    }

    /// Takes note of what the sender says about its clocks.
    pub fn sender_report(&mut self, ntp_ns: i64, timestamp: u32) {
        if let Some(anchor) = &mut self.anchor {
            self.drift.sender_report(ntp_ns, timestamp, anchor.clock_rate);
            anchor.drift_ppb = self.drift.ppb();
        }
    }

    /// Releases held frames when the time for learning is over. Call now and then, also when nothing arrives.
    pub fn poll(&mut self, now: CallTime, out: &mut Vec<(CallTime, F)>) {
        if self.learning.is_some_and(|learning| now.saturating_sub(learning.since) >= LEARNING) {
            self.settle(out);
        }
    }

    /// Releases everything.
    pub fn finish(&mut self, out: &mut Vec<(CallTime, F)>) {
        self.settle(out);
    }

    /// The present anchor, for whoever has to go on after an interruption.
    pub fn anchor(&self) -> Option<Anchor> {
        self.anchor
    }

    fn learn(&mut self, timestamp: u32, clock_rate: u32, arrival: CallTime) {
        let anchor = Anchor { timestamp, clock_rate, time: arrival, drift_ppb: self.drift.ppb() };
        self.learning = Some(Learning { since: arrival, anchor });
    }

    fn settle(&mut self, out: &mut Vec<(CallTime, F)>) {
        let Some(learning) = self.learning.take() else { return };
        let mut found = learning.anchor;
        if let Some(known) = self.anchor.filter(|known| known.clock_rate == found.clock_rate) {
            let place = known.place(found.timestamp);
            if place.saturating_sub(found.time).saturating_abs() < SAME_PLACE {
                found.time = place;
            }
        }
        for (timestamp, frame) in self.held.drain(..) {
            out.push((found.place(timestamp), frame));
        }
        // From the newest timestamp on, so that the distance never becomes too long.
        let time = found.place(self.last_timestamp);
        self.anchor = Some(Anchor { timestamp: self.last_timestamp, time, ..found });
        self.is_running = true;
        self.drift.begin();
    }
}

fn ticks_to_nanoseconds(ticks: i64, clock_rate: u32) -> i64 {
    let nanoseconds = i128::from(ticks) * i128::from(SECOND) / i128::from(clock_rate.max(1));
    i64::try_from(nanoseconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: i64 = 20 * MILLISECOND;

    /// Pushes frames of 20 ms at 8 kHz (number, timestamp, arrival) and gives their places in ms.
    fn places(frames: impl IntoIterator<Item = (u32, u32, i64)>) -> Vec<(u32, i64)> {
        let mut timeline = Timeline::new(None);
        let mut out = Vec::new();
        for (number, timestamp, arrival) in frames {
            timeline.push(timestamp, 8000, arrival, number, &mut out);
        }
        timeline.finish(&mut out);
        out.into_iter().map(|(time, number)| (number, time / MILLISECOND)).collect()
    }

    fn steady(count: u32, start: i64) -> impl Iterator<Item = (u32, u32, i64)> {
        (0..count).map(move |n| (n, 5000_u32.wrapping_add(n * 160), start + i64::from(n) * FRAME))
    }

    #[test]
    fn frames_lie_as_their_timestamps_say() {
        let expected: Vec<_> = (0..100).map(|n| (n, 1000 + i64::from(n) * 20)).collect();
        assert_eq!(places(steady(100, SECOND)), expected);
    }

    #[test]
    fn the_least_late_packet_tells_the_place() {
        // All but the seventh come 30 ms late.
        let frames = steady(50, 0).map(|(n, ts, at)| (n, ts, at + if n == 7 { 0 } else { 30 * MILLISECOND }));
        assert_eq!(places(frames)[0], (0, 0));
    }

    #[test]
    fn packets_queued_before_they_were_read_lie_in_the_past() {
        // Three seconds are read at once, then the stream goes on.
        let frames = steady(300, 0).map(|(n, ts, at)| (n, ts, at.max(149 * FRAME)));
        let placed = places(frames);
        assert_eq!((placed[0], placed[299]), ((0, 0), (299, 299 * 20)));
    }

    #[test]
    fn a_pause_is_kept_whether_timestamps_advance_or_not() {
        for advance in [0_u32, 8000 * 3, 8000 * 60] {
            let pause = if advance == 0 { 7 } else { i64::from(advance / 8000) };
            let frames = steady(100, 0).map(|(n, ts, at)| {
                if n < 50 { (n, ts, at) } else { (n, ts.wrapping_add(advance), at + pause * SECOND) }
            });
            let placed = places(frames);
            assert_eq!(placed[49].1, 49 * 20, "{advance}");
            assert_eq!(placed[50].1, 1000 + pause * 1000, "{advance}");
            assert_eq!(placed[99].1, 99 * 20 + pause * 1000, "{advance}");
        }
    }

    #[test]
    fn a_jump_without_a_pause_is_no_silence() {
        let frames =
            steady(100, 0).map(|(n, ts, at)| (n, if n < 50 { ts } else { ts.wrapping_add(1 << 30) }, at));
        assert_eq!(places(frames)[99], (99, 99 * 20));
    }

    #[test]
    fn a_stall_of_the_network_moves_nothing() {
        let frames =
            steady(300, 0).map(|(n, ts, at)| (n, ts, if (100..160).contains(&n) { 160 * FRAME } else { at }));
        let expected: Vec<_> = (0..300).map(|n| (n, i64::from(n) * 20)).collect();
        assert_eq!(places(frames), expected);
    }

    #[test]
    fn timestamps_wrap() {
        let frames = steady(100, 0).map(|(n, _, at)| (n, (u32::MAX - 4000).wrapping_add(n * 160), at));
        assert_eq!(places(frames)[99], (99, 99 * 20));
    }

    #[test]
    fn jitter_of_a_right_clock_moves_nothing() {
        let frames =
            steady(3000, 0).map(|(n, ts, at)| (n, ts, at + i64::from(n * 7919 % 37) * MILLISECOND / 2));
        let placed = places(frames);
        let first = placed[0].1;
        assert!(placed.iter().all(|(n, at)| (at - first) == i64::from(*n) * 20), "frames lie side by side");
    }

    /// Places in microseconds against the truth, of a sender whose clock is off; arrivals jitter.
    fn worst_error(parts_per_million: i64, frames: u32, from: u32, jitter: i64) -> i64 {
        let mut timeline = Timeline::new(None);
        let mut out = Vec::new();
        let truth = |n: u32| i64::from(n) * FRAME + i64::from(n) * FRAME / 1_000_000 * parts_per_million;
        for n in 0..frames {
            let arrival = truth(n) + i64::from(n.wrapping_mul(7919) % 41) * jitter / 40;
            timeline.push(n.wrapping_mul(160), 8000, arrival, n, &mut out);
        }
        let settled = out.into_iter().filter(|(_, n)| *n >= from);
        settled.map(|(time, n)| (time - truth(n)).abs() / 1000).max().unwrap_or(0)
    }

    #[test]
    fn a_clock_that_runs_wrong_stays_in_step_with_the_call() {
        for parts_per_million in [-3000, -300, 300, 3000] {
            let whole = worst_error(parts_per_million, 180_000, 0, 0);
            assert!(whole < 9000, "{parts_per_million}: {whole} µs");
            let settled = worst_error(parts_per_million, 180_000, 3000, 20 * MILLISECOND);
            assert!(settled < 5000, "{parts_per_million}, with jitter: {settled} µs");
        }
    }

    #[test]
    fn the_drift_is_known_across_a_hold() {
        let mut timeline = Timeline::new(None);
        let mut out = Vec::new();
        let truth = |n: u32| i64::from(n) * FRAME + i64::from(n) * FRAME / 1000 * 3;
        for n in (0..3000).chain(18_000..18_200_u32) {
            // During the first second after the hold the network is congested.
            let late = if (18_000..18_050).contains(&n) { 15 * MILLISECOND } else { 0 };
            timeline.push(n.wrapping_mul(160), 8000, truth(n) + late, n, &mut out);
        }
        timeline.finish(&mut out);
        let (time, n) = out.iter().find(|(_, n)| *n == 18_000).expect("the first frame after it");
        assert!((time - truth(*n)).abs() < 6 * MILLISECOND, "{} µs", (time - truth(*n)) / 1000);
    }

    #[test]
    fn an_interrupted_recording_keeps_its_anchor() {
        let anchor = Anchor { timestamp: 5000, clock_rate: 8000, time: SECOND, drift_ppb: 0 };
        let mut timeline = Timeline::new(Some(anchor));
        let mut out = Vec::new();
        // Read again 40 s later; 2 s had been queued. Jitter of 15 ms does not move the place.
        for n in 0..200_u32 {
            let place = SECOND + 40 * SECOND + i64::from(n) * FRAME;
            let arrival = place.max(43 * SECOND) + 15 * MILLISECOND;
            timeline.push(5000 + 40 * 8000 + n * 160, 8000, arrival, n, &mut out);
        }
        timeline.finish(&mut out);
        assert_eq!(out[0], (41 * SECOND, 0));
        assert_eq!(out.len(), 200);
    }

    proptest! {
        #[test]
        fn every_frame_comes_out_once_and_in_order(
                frames in proptest::collection::vec((any::<u32>(), 0i64..3_000_000_000, 0usize..3), 1..200)) {
            let mut timeline = Timeline::new(None);
            let (mut out, mut now) = (Vec::new(), 0);
            for (number, (timestamp, pause, rate)) in frames.iter().enumerate() {
                now += pause;
                timeline.push(*timestamp, [0, 8000, 48_000][*rate], now, number, &mut out);
            }
            timeline.finish(&mut out);
            let numbers: Vec<_> = out.iter().map(|(_, number)| *number).collect();
            prop_assert_eq!(numbers, (0..frames.len()).collect::<Vec<_>>());
        }
    }
}

//! How a sender's clock runs against the call, and what is done about it: a control loop on the least delay of each window.
//!
//! The difference between that delay and the place of the frames is removed in small steps, and teaches the rate. Delays of
//! jitter are positive and different for each packet, so the least one hardly moves – the third, to be exact: a packet or
//! two may be stamped wrongly by a sloppy sender. Seconds in which all packets are very late are left out. Below [`TOLERANCE`] nothing is done as long as the clock has not shown to be wrong, so that a right
//! clock leaves the samples as they are. Sender reports sharpen the rate when they agree with it: what the sender's wall
//! clock says is exact, but not always true.

const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MILLISECOND;

/// How long the least delay is observed.
const WINDOW: i64 = SECOND;
/// Packets that make a window meaningful.
const MIN_PACKETS: u32 = 8;
/// Differences that a right clock may show.
const TOLERANCE: i64 = 3 * MILLISECOND / 2;
/// More than this is a delay of the network, not of the clock.
const STALL: i64 = 15 * MILLISECOND;
/// After so many windows in a row it is the way of the packets that has become longer.
const MAX_STALLED: u32 = 5;
/// How fast the loop is: up to so many windows of that length, the parts of the error that are removed, and that teach the rate, in
/// hundredths. When a clock has shown to be wrong, little is known of its rate, which takes the legs apart by milliseconds each second.
const PHASES: [(u32, i64, i64, i64); 4] =
    [(6, ACQUISITION, 60, 30), (12, ACQUISITION, 50, 15), (40, WINDOW, 40, 8), (u32::MAX, WINDOW, 15, 1)];
/// See [`PHASES`].
const ACQUISITION: i64 = 400 * MILLISECOND;
/// Correction for each frame at most.
const MAX_STEP: i64 = MILLISECOND / 4;
/// Clocks are not worse than this, in parts per thousand million.
const MAX_PPB: i64 = 15_000_000;
/// Sender reports that differ more than this from what arrivals say are not believed, in parts per thousand million.
const AGREEMENT: i64 = 300_000;
/// Reports closer to each other say too little.
const MIN_REPORT_DISTANCE: i64 = 8 * SECOND;

const NONE: [i64; 3] = [i64::MAX; 3];

/// The loop.
#[derive(Debug)]
pub(super) struct Drift {
    ppb: i64,
    /// Left to be removed.
    slew: i64,
    /// The three least delays of the window, ascending.
    least: [i64; 3],
    packets: u32,
    window_end: Option<i64>,
    windows: u32,
    stalled: u32,
    is_active: bool,
    first_report: Option<(i64, u32)>,
}

impl Drift {
    pub fn new(ppb: i64) -> Self {
        Self {
            ppb,
            slew: 0,
            least: NONE,
            packets: 0,
            window_end: None,
            windows: 0,
            stalled: 0,
            is_active: ppb != 0,
            first_report: None,
        }
    }

    /// After a break: the rate is that of the sender's clock and stays.
    pub fn begin(&mut self) {
        *self = Self { windows: self.windows, ..Self::new(self.ppb) };
    }

    /// By how much longer a tick is than it should be.
    pub fn ppb(&self) -> i64 {
        self.ppb
    }

    /// What the next frame is moved by.
    pub fn step(&mut self) -> i64 {
        let step = self.slew.clamp(-MAX_STEP, MAX_STEP);
        self.slew -= step;
        step
    }

    /// A packet came so long after its place.
    pub fn observe(&mut self, delay: i64, arrival: i64) {
        let window = self.window();
        let end = *self.window_end.get_or_insert(arrival.saturating_add(window));
        let mut delay = delay;
        for least in &mut self.least {
            if delay < *least {
                std::mem::swap(&mut delay, least);
            }
        }
        self.packets += 1;
        // Long packets are few: their window is longer, within bounds.
        let is_short = self.packets < MIN_PACKETS && arrival < end.saturating_add(WINDOW);
        if arrival < end || is_short {
            return;
        }
        let ([.., least], packets) =
            (std::mem::replace(&mut self.least, NONE), std::mem::take(&mut self.packets));
        if packets >= MIN_PACKETS {
            self.correct(least);
        }
        self.window_end = Some(arrival.saturating_add(self.window()));
    }

    /// Jitter that comes in waves must not make a right clock look wrong.
    fn window(&self) -> i64 {
        if self.is_active { self.phase().1 } else { WINDOW }
    }

    /// The first phase that is not over.
    fn phase(&self) -> (u32, i64, i64, i64) {
        let [first, second, third, last] = PHASES;
        [first, second, third].into_iter().find(|phase| self.windows < phase.0).unwrap_or(last)
    }

    fn correct(&mut self, error: i64) {
        if error > STALL {
            self.stalled += 1;
            if self.stalled <= MAX_STALLED {
                return;
            }
            // A longer way: follow it, but do not take it for drift.
            self.slew = error;
            return;
        }
        self.stalled = 0;
        if !self.is_active && error.abs() < TOLERANCE {
            return;
        }
        self.is_active = true;
        self.windows = self.windows.saturating_add(1);
        // Proportional and integral parts; nanoseconds in a second are parts per thousand million.
        let (.., proportional, integral) = self.phase();
        self.slew = error * proportional / 100;
        self.ppb = (self.ppb + error * integral / 100).clamp(-MAX_PPB, MAX_PPB);
    }

    /// The sender's wall clock at a timestamp.
    pub fn sender_report(&mut self, ntp_ns: i64, timestamp: u32, clock_rate: u32) {
        let Some((first_ntp, first_timestamp)) = self.first_report else {
            self.first_report = Some((ntp_ns, timestamp));
            return;
        };
        let ticks = i64::from(timestamp.wrapping_sub(first_timestamp).cast_signed());
        let nominal = super::ticks_to_nanoseconds(ticks, clock_rate);
        let Some(real) =
            ntp_ns.checked_sub(first_ntp).filter(|real| *real >= MIN_REPORT_DISTANCE && nominal > 0)
        else {
            return;
        };
        if nominal > 3600 * SECOND {
            // Before the difference of timestamps wraps around.
            self.first_report = Some((ntp_ns, timestamp));
        }
        let said = i128::from(real - nominal) * i128::from(SECOND) / i128::from(nominal);
        let said = i64::try_from(said).unwrap_or(i64::MAX);
        if self.is_active && self.windows >= 10 && said.saturating_sub(self.ppb).saturating_abs() < AGREEMENT
        {
            self.ppb += (said - self.ppb) / 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(ppb: i64) -> Drift {
        Drift { is_active: true, windows: 20, ..Drift::new(ppb) }
    }

    #[test]
    fn sender_reports_sharpen_the_rate_only_when_they_agree() {
        for (start, said_ppm, expected) in [(2_900_000, 3000, 2_950_000), (0, 3000, 0)] {
            let mut drift = settled(start);
            drift.sender_report(0, 1000, 8000);
            let real = 10 * SECOND + 10 * SECOND / 1_000_000 * said_ppm;
            drift.sender_report(real, 1000 + 80_000, 8000);
            assert_eq!(drift.ppb(), expected);
        }
    }

    #[test]
    fn a_longer_way_is_followed_without_taking_it_for_drift() {
        let mut drift = settled(0);
        for _ in 0..=MAX_STALLED {
            drift.correct(200 * MILLISECOND);
        }
        assert_eq!((drift.ppb(), drift.slew), (0, 200 * MILLISECOND));
    }
}

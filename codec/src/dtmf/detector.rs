//! Finds digits in samples.
//!
//! The signal is cut into steps of 3.25 ms, of which the amplitude and phase at each of the eight frequencies are measured. Four steps
//! are a window; one window a step is looked at. A window speaks for a digit when one low and one high frequency have nearly all its
//! energy, at levels and in a proportion that a telephone makes. A digit begins with [`CONFIRM`] such windows in a row (29 ms) over which,
//! in addition, the phases advance as they do at the exact frequencies: a sine that is 2.5 % off, and anything whose pitch moves (speech,
//! singing), is refused. It ends after [`MISSES`] windows without it; shorter interruptions (20 ms and less) are bridged.

use super::{CODES, FULL_SCALE_CENTIBEL, HIGH, LOW};

/// Tones that are measured.
const TONES: usize = 8;
/// Steps of a window.
const WINDOW: usize = 4;
/// Samples of a step at 8 kHz.
const STEP_AT_8K: u32 = 26;
/// Windows in a row that make a digit.
const CONFIRM: u32 = 6;
/// Windows without the digit that end it.
const MISSES: u32 = 7;
/// Lowest level of a tone in dBm0.
const FAINTEST_DBM0: f64 = -37.0;
/// The other frequencies of the group are weaker than the one that counts by this factor of power.
const APART: f32 = 4.5;
/// Most that a high tone may be stronger than the low one, and weaker, in power (8 and 10 dB).
const TWIST: f32 = 6.3;
const REVERSE_TWIST: f32 = 10.0;
/// The part of a window's energy that the two tones have, before and after allowing for frequencies that are somewhat off.
const PURE: f32 = 0.55;
const PURE_CORRECTED: f32 = 0.9;
/// Tolerance of frequencies, relative: ITU-T Q.24 demands 1.5 % + 2 Hz and forbids 3.5 %.
const TOLERANCE: f32 = 0.023;
/// Phases advance evenly: 1 is perfect.
const STEADY: f32 = 0.97;
/// A window in which the tone is weaker than at its best by this factor of power is not the tone any more.
const FADED: f32 = 0.1;
/// Time without samples through which a digit is thought to last, in ms: lost packets.
const BRIDGED_MS: u64 = 65;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A digit has begun; told while it lasts.
    Began {
        /// Its code (RFC 4733).
        code: u8,
        /// Position of its first sample.
        at: u64,
    },
    /// It is over.
    Ended {
        /// Its code (RFC 4733).
        code: u8,
        /// Position behind its last sample.
        at: u64,
        /// How many samples it lasted.
        samples: u64,
        /// Mean level of the two tones in −dBm0, 0–63.
        level: u8,
    },
}

type Complex = [f32; 2];

/// A detector for one stream of samples. Positions count samples (per channel) from 0. Costs about 20 ns a sample; allocates when made.
pub struct Detector {
    rate: u32,
    /// Samples of a step.
    step: usize,
    /// Cosines and sines by sample of a step.
    waves: Vec<[[f32; TONES]; 2]>,
    /// What turns a measurement by one to three steps.
    turns: [[Complex; TONES]; WINDOW],
    /// Of the step that is being filled.
    filled: usize,
    sums: [[f32; TONES]; 2],
    energy: f32,
    /// Of the last steps, newest first.
    steps: [([[f32; TONES]; 2], f32); WINDOW],
    /// How many of them there are.
    known: usize,
    /// The window before, if there was one.
    before: Option<[Complex; TONES]>,
    position: u64,
    faintest: f32,
    candidate: Option<Candidate>,
    active: Option<Active>,
    found: [Option<Found>; 4],
}

/// Windows in a row that speak for a digit.
#[derive(Clone, Copy)]
struct Candidate {
    low: usize,
    high: usize,
    windows: u32,
    /// Where its first window ended, and the tones' power then.
    first_end: u64,
    first_power: f32,
    /// Sums over the windows.
    energy: f32,
    powers: [f32; 2],
    /// Advance from window to window: (sum, sum of magnitudes) for both tones.
    advance: [(Complex, f32); 2],
    peak: f32,
}

#[derive(Clone, Copy)]
struct Active {
    low: usize,
    high: usize,
    begin: u64,
    peak: f32,
    misses: u32,
    /// Where the last window with it ended, and the tones' power then.
    last_end: u64,
    last_power: f32,
    power_sum: f64,
    windows: u32,
}

/// One window.
struct Measured {
    values: [Complex; TONES],
    energy: f32,
    /// Strongest of each group.
    low: usize,
    high: usize,
    powers: [f32; 2],
    is_hit: bool,
}

impl Detector {
    /// For samples of this rate (Hz; at least 8000 for all digits to be found).
    pub fn new(rate: u32) -> Self {
        let rate = rate.max(1000);
        let step = ((rate * STEP_AT_8K + 4000) / 8000).max(1) as usize;
        let angle = |tone: usize| {
            let hertz = LOW.get(tone).or_else(|| HIGH.get(tone - LOW.len())).copied().unwrap_or(0);
            std::f64::consts::TAU * f64::from(hertz) / f64::from(rate)
        };
        let wave = |n: usize| {
            let mut values = [[0.0; TONES]; 2];
            let [re, im] = &mut values;
            for (tone, (re, im)) in re.iter_mut().zip(im).enumerate() {
                let (sin, cos) = (angle(tone) * n as f64).sin_cos();
                (*re, *im) = (cos as f32, -sin as f32);
            }
            values
        };
        let mut turns = [[[0.0; 2]; TONES]; WINDOW];
        for (steps, turns) in turns.iter_mut().enumerate() {
            for (tone, turn) in turns.iter_mut().enumerate() {
                let (sin, cos) = (angle(tone) * (steps * step) as f64).sin_cos();
                *turn = [cos as f32, sin as f32];
            }
        }
        let window = (step * WINDOW) as f64;
        // |W|² of a sine of amplitude A is (A · window / 2)².
        let faintest = (super::amplitude(FAINTEST_DBM0) * window / 2.0).powi(2) as f32;
        Self {
            rate,
            step,
            waves: (0..step).map(wave).collect(),
            turns,
            filled: 0,
            sums: Default::default(),
            energy: 0.0,
            steps: Default::default(),
            known: 0,
            before: None,
            position: 0,
            faintest,
            candidate: None,
            active: None,
            found: [None; 4],
        }
    }

    /// Samples that have to be kept back for a digit to be known before its first sample goes on, with a margin.
    pub fn lookahead(&self) -> usize {
        self.step * (WINDOW + CONFIRM as usize + 3)
    }

    /// Samples around a digit that may belong to it, too.
    pub fn margin(&self) -> u64 {
        3 * self.step as u64
    }

    /// Samples so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// A digit is going on.
    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// Mean level of the two tones of the digit that is going on, in −dBm0, 0–63.
    pub fn level(&self) -> u8 {
        self.active.as_ref().map_or(63, |active| self.level_of(active))
    }

    /// Takes samples; ask for [`Detector::next`] afterwards until it has nothing.
    pub fn push(&mut self, samples: impl Iterator<Item = i16>) {
        for sample in samples {
            let Some([cos, sin]) = self.waves.get(self.filled) else { continue };
            let x = f32::from(sample);
            let [re, im] = &mut self.sums;
            for tone in 0..TONES {
                re[tone] += x * cos[tone];
                im[tone] += x * sin[tone];
            }
            self.energy += x * x;
            self.position += 1;
            self.filled += 1;
            if self.filled == self.step {
                self.complete_step();
            }
        }
    }

    /// Time passes without samples. A digit is thought to go on over a short gap.
    pub fn skip(&mut self, samples: u64) {
        if samples * 1000 > BRIDGED_MS * u64::from(self.rate) {
            self.end_active();
        }
        self.candidate = None;
        self.before = None;
        self.known = 0;
        self.filled = 0;
        self.sums = Default::default();
        self.energy = 0.0;
        self.position += samples;
    }

    /// The next finding, in order.
    pub fn next_found(&mut self) -> Option<Found> {
        let first = self.found.first_mut()?.take();
        self.found.rotate_left(1);
        first
    }

    fn tell(&mut self, found: Found) {
        // There are at most two a window; whoever does not ask loses the newest.
        if let Some(free) = self.found.iter_mut().find(|place| place.is_none()) {
            *free = Some(found);
        }
    }

    fn complete_step(&mut self) {
        self.steps.rotate_right(1);
        self.steps[0] = (std::mem::take(&mut self.sums), std::mem::take(&mut self.energy));
        self.filled = 0;
        self.known = (self.known + 1).min(WINDOW);
        if self.known == WINDOW {
            let measured = self.measure();
            self.judge(&measured);
            self.before = Some(measured.values);
        }
    }

    fn measure(&self) -> Measured {
        let mut values = [[0.0; 2]; TONES];
        let mut energy = 0.0;
        for ((sums, step_energy), turns) in self.steps.iter().zip(&self.turns) {
            for tone in 0..TONES {
                let turned = multiply([sums[0][tone], sums[1][tone]], turns[tone]);
                values[tone][0] += turned[0];
                values[tone][1] += turned[1];
            }
            energy += step_energy;
        }
        let power = values.map(|[re, im]| re * re + im * im);
        let best = |group: std::ops::Range<usize>| {
            group.clone().fold(group.start, |best, tone| if power[tone] > power[best] { tone } else { best })
        };
        let (low, high) = (best(0..4), best(4..8));
        let alone = |group: std::ops::Range<usize>, best: usize| {
            group.into_iter().all(|tone| tone == best || power[tone] * APART < power[best])
        };
        let powers = [power[low], power[high]];
        // Energy of a sine is 2 |W|² / window.
        let window = (self.step * WINDOW) as f32;
        let is_hit = powers[0] > self.faintest
            && powers[1] > self.faintest
            && powers[1] < powers[0] * TWIST
            && powers[0] < powers[1] * REVERSE_TWIST
            && (powers[0] + powers[1]) * 2.0 > PURE * energy * window
            && alone(0..4, low)
            && alone(4..8, high);
        Measured { values, energy, low, high, powers, is_hit }
    }

    fn judge(&mut self, window: &Measured) {
        let power = window.powers[0] + window.powers[1];
        self.follow_active(window, power);
        if !window.is_hit {
            self.candidate = None;
            return;
        }
        let goes_on = self.active.is_some_and(|a| (a.low, a.high) == (window.low, window.high));
        let same = self.candidate.filter(|c| (c.low, c.high) == (window.low, window.high));
        if goes_on {
            self.candidate = None;
            return;
        }
        let mut candidate = same.unwrap_or(Candidate {
            low: window.low,
            high: window.high,
            windows: 0,
            first_end: self.position,
            first_power: power,
            energy: 0.0,
            powers: [0.0; 2],
            advance: [([0.0; 2], 0.0); 2],
            peak: 0.0,
        });
        candidate.windows += 1;
        candidate.energy += window.energy;
        candidate.peak = candidate.peak.max(power);
        let tones = [window.low, window.high];
        for (index, tone) in tones.into_iter().enumerate() {
            candidate.powers[index] += window.powers[index];
            if let (Some(before), true) = (&self.before, candidate.windows > 1) {
                let expected = multiply(before[tone], self.turns[1][tone]);
                let product = multiply(window.values[tone], [expected[0], -expected[1]]);
                let (sum, magnitude) = &mut candidate.advance[index];
                sum[0] += product[0];
                sum[1] += product[1];
                *magnitude += length(window.values[tone]) * length(expected);
            }
        }
        self.candidate = Some(candidate);
        if candidate.windows >= CONFIRM && self.is_digit(&candidate) {
            self.begin(candidate, window.powers);
        }
    }

    /// Frequencies are exact, steady, and all there is.
    fn is_digit(&self, candidate: &Candidate) -> bool {
        let window = (self.step * WINDOW) as f32;
        let mut explained = 0.0;
        for ((tone, power), (sum, magnitude)) in
            [candidate.low, candidate.high].into_iter().zip(candidate.powers).zip(candidate.advance)
        {
            let hertz =
                LOW.get(tone).or_else(|| HIGH.get(tone.wrapping_sub(LOW.len()))).copied().unwrap_or(1);
            let turns = sum[1].atan2(sum[0]) / std::f32::consts::TAU;
            let offset = turns * self.rate as f32 / self.step as f32;
            if offset.abs() > TOLERANCE * hertz as f32 || length(sum) < STEADY * magnitude {
                return false;
            }
            let x = std::f32::consts::PI * offset * window / self.rate as f32;
            let seen = if x.abs() < 1e-3 { 1.0 } else { (x.sin() / x).powi(2) };
            explained += power * 2.0 / (seen * window);
        }
        explained > PURE_CORRECTED * candidate.energy
    }

    fn begin(&mut self, candidate: Candidate, powers: [f32; 2]) {
        self.end_active();
        self.candidate = None;
        let filled = self.part_filled(candidate.first_power, candidate.peak);
        let begin = candidate.first_end.saturating_sub(filled);
        let power = powers[0] + powers[1];
        self.active = Some(Active {
            low: candidate.low,
            high: candidate.high,
            begin,
            peak: candidate.peak,
            misses: 0,
            last_end: self.position,
            last_power: power,
            power_sum: f64::from(power),
            windows: 1,
        });
        self.tell(Found::Began { code: CODES[candidate.low][candidate.high - LOW.len()], at: begin });
    }

    fn follow_active(&mut self, window: &Measured, power: f32) {
        let position = self.position;
        let Some(active) = &mut self.active else { return };
        let same = (active.low, active.high) == (window.low, window.high);
        if window.is_hit && same && power > FADED * active.peak {
            active.misses = 0;
            active.last_end = position;
            active.last_power = power;
            active.peak = active.peak.max(power);
            if power > 0.7 * active.peak {
                active.power_sum += f64::from(power);
                active.windows += 1;
            }
        } else {
            active.misses += 1;
            if active.misses >= MISSES {
                self.end_active();
            }
        }
    }

    fn end_active(&mut self) {
        let Some(active) = self.active.take() else { return };
        let window = (self.step * WINDOW) as u64;
        let filled = self.part_filled(active.last_power, active.peak);
        let end = (active.last_end + filled).saturating_sub(window).max(active.begin + 1);
        let level = self.level_of(&active);
        self.tell(Found::Ended {
            code: CODES[active.low][active.high - LOW.len()],
            at: end,
            samples: end - active.begin,
            level,
        });
    }

    fn level_of(&self, active: &Active) -> u8 {
        let mean = active.power_sum / f64::from(active.windows.max(1)) / 2.0;
        let amplitude = mean.sqrt() * 2.0 / (self.step * WINDOW) as f64;
        let dbm0 = 20.0 * (amplitude / f64::from(i16::MAX)).max(1e-6).log10()
            + f64::from(FULL_SCALE_CENTIBEL) / 100.0;
        (-dbm0).round().clamp(0.0, 63.0) as u8
    }

    /// Samples of a window that a tone fills: its amplitude there is as much smaller.
    fn part_filled(&self, power: f32, full: f32) -> u64 {
        let part = (power / full.max(f32::MIN_POSITIVE)).sqrt().clamp(0.0, 1.0);
        (part * (self.step * WINDOW) as f32).round() as u64
    }
}

fn multiply(a: Complex, b: Complex) -> Complex {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

fn length(a: Complex) -> f32 {
    a[0].hypot(a[1])
}

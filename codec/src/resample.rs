//! Sample rate conversion by a polyphase low-pass, and channel conversion.
//!
//! The filter is a Kaiser-windowed sinc with 40 taps at the lower of the two rates: flat (±0.02 dB) to 85 %
//! of half that rate (3.4 kHz at 8 kHz), 60 dB down above 103 %, delay 20 samples of the lower rate (2.5 ms
//! at 8 kHz).
//!
//! Lengths are exact at any time: after n input samples exactly ⌈n·out/in⌉ output samples exist, so a live
//! stream never waits for the filter; the signal itself is late by [`Resampler::delay`], and
//! [`Resampler::flush`] gives the tail. [`Resampler::new_aligned`] cuts the delay off the start instead.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// The rates cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot convert {from} Hz with {channels} channels to {to} Hz: needs 1000 to 384000 Hz, 1 to 16 channels"
)]
pub struct ResampleError {
    /// Input rate in Hz.
    pub from: u32,
    /// Output rate in Hz.
    pub to: u32,
    /// Channels.
    pub channels: u8,
}

/// Converts a stream of interleaved samples from one rate to another.
#[derive(Debug)]
pub struct Resampler {
    filter: Option<Arc<Filter>>,
    channels: usize,
    /// Last `taps − 1` input samples of each channel, and the new ones behind them while converting.
    history: Vec<Vec<f32>>,
    /// Every n-th sample of one channel's history, strand behind strand, while converting.
    strands: Vec<f32>,
    /// Where the next output sample lies behind the first history sample's filter window: whole input samples
    /// and a fraction in 1/`up`.
    offset: usize,
    fraction: u32,
    is_aligned: bool,
    /// Samples per channel in and out, for the length of the tail.
    consumed: u64,
    produced: u64,
}

const TAPS: usize = 40;
/// Passband edge plus half of the transition, relative to half of the lower rate.
const CUTOFF: f64 = 0.94;
/// Kaiser window for 60 dB.
const BETA: f64 = 5.65;
/// Odd rate pairs would need a phase per step of their least common multiple; beyond this the nearest of so
/// many phases is taken.
const MAX_PHASES: u32 = 1024;

#[derive(Debug)]
struct Filter {
    up: u32,
    down: u32,
    phases: u32,
    taps: usize,
    /// `[phase × tap]`, newest input sample last.
    coefficients: Vec<f32>,
    /// `[strand × tap]` going down by a whole number.
    strands: Vec<Vec<f32>>,
}

impl Resampler {
    /// A converter whose output starts at once, with the signal late by [`Resampler::delay`].
    pub fn new(from: u32, to: u32, channels: u8) -> Result<Self, ResampleError> {
        let range = 1000..=384_000;
        if !range.contains(&from) || !range.contains(&to) || !(1..=16).contains(&channels) {
            return Err(ResampleError { from, to, channels });
        }
        let filter = (from != to).then(|| Filter::shared(from, to));
        let keep = filter.as_ref().map_or(0, |f| f.taps - 1);
        let channels = usize::from(channels);
        Ok(Self {
            filter,
            channels,
            history: vec![vec![0.0; keep]; channels],
            strands: Vec::new(),
            offset: 0,
            fraction: 0,
            is_aligned: false,
            consumed: 0,
            produced: 0,
        })
    }

    /// A converter without delay in its output (recording, files): the first samples come late, and
    /// [`Resampler::flush`] completes the length to ⌈n·out/in⌉.
    pub fn new_aligned(from: u32, to: u32, channels: u8) -> Result<Self, ResampleError> {
        let mut resampler = Self::new(from, to, channels)?;
        resampler.is_aligned = true;
        // The centre of the window lies this far behind its newest sample.
        resampler.offset = resampler.filter.as_ref().map_or(0, |f| f.taps / 2);
        Ok(resampler)
    }

    /// How late the signal is, in output samples per channel.
    pub fn delay(&self) -> usize {
        self.filter.as_ref().map_or(0, |f| {
            // The window's centre lies taps/2 input samples behind the newest one.
            (f.taps as u64 / 2 * u64::from(f.up)).div_ceil(u64::from(f.down)) as usize
        })
    }

    /// Takes interleaved input, a whole number of samples per channel, and appends the interleaved output.
    /// Does not allocate once the buffers have grown to the size in use.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        let Some(filter) = &self.filter else {
            out.extend_from_slice(samples);
            return;
        };
        let filter = Arc::clone(filter);
        let frames = samples.len() / self.channels;
        for (channel, history) in self.history.iter_mut().enumerate() {
            history.extend(samples.chunks_exact(self.channels).map(|frame| f32::from(frame[channel])));
        }
        self.consumed += frames as u64;
        if filter.up == 1 || filter.down == 1 {
            self.convert_whole_ratio(&filter, frames, out);
        } else {
            self.convert_any_ratio(&filter, frames, out);
        }
        for history in &mut self.history {
            let used = history.len() - (filter.taps - 1);
            history.copy_within(used.., 0);
            history.truncate(filter.taps - 1);
        }
    }

    /// One output sample after the other.
    fn convert_any_ratio(&mut self, filter: &Filter, frames: usize, out: &mut Vec<i16>) {
        while self.offset < frames {
            let phase = filter.phase(self.fraction);
            for history in &self.history {
                out.push(to_i16(dot(&history[self.offset..self.offset + filter.taps], phase)));
            }
            self.produced += 1;
            let step = self.fraction + filter.down;
            self.offset += (step / filter.up) as usize;
            self.fraction = step % filter.up;
        }
        self.offset -= frames;
    }

    /// Up or down by a whole number: neighbouring output samples of one phase have the same coefficients, so that they are worked out
    /// side by side. Going down, input samples are sorted into as many strands as the ratio first, so that neighbours have neighbours.
    fn convert_whole_ratio(&mut self, filter: &Filter, frames: usize, out: &mut Vec<i16>) {
        let (up, down) = (filter.up as usize, filter.down as usize);
        let count = frames.saturating_sub(self.offset).div_ceil(down);
        let before = out.len();
        out.resize(before + count * up * self.channels, 0);
        let strand_length = (count + filter.taps.div_ceil(down)).next_multiple_of(LANES) + LANES;
        for (channel, history) in self.history.iter().enumerate() {
            let samples = history.get(self.offset..).unwrap_or_default();
            self.strands.clear();
            for strand in 0..down {
                let begin = self.strands.len();
                self.strands.extend(samples.iter().skip(strand).step_by(down).take(strand_length));
                self.strands.resize(begin + strand_length, 0.0);
            }
            for first in (0..count).step_by(LANES) {
                for phase in 0..up {
                    let mut sums = [0.0; LANES];
                    for strand in 0..down {
                        let from = strand * strand_length + first;
                        add_products(&mut sums, &self.strands[from..], filter.strand(phase, strand));
                    }
                    let places =
                        out[before..].iter_mut().skip((first * up + phase) * self.channels + channel);
                    places.step_by(up * self.channels).zip(sums).for_each(|(to, sum)| *to = to_i16(sum));
                }
            }
        }
        self.produced += (count * up) as u64;
        self.offset += count * down;
        self.offset -= frames;
    }

    /// Appends what the filter still holds: the signal's last [`Resampler::delay`] samples.
    pub fn flush(&mut self, out: &mut Vec<i16>) {
        let Some(filter) = self.filter.clone() else { return };
        let full = (self.consumed * u64::from(filter.up)).div_ceil(u64::from(filter.down));
        let target = if self.is_aligned { full } else { full + self.delay() as u64 };
        let missing = target.saturating_sub(self.produced) as usize;
        let wanted = out.len() + missing * self.channels;
        let zeros = vec![0; (filter.taps + 1) * self.channels];
        while out.len() < wanted {
            self.push(&zeros, out);
        }
        out.truncate(wanted);
    }
}

impl Filter {
    /// Filters are the same for every stream of a rate pair and cost a millisecond to make.
    fn shared(from: u32, to: u32) -> Arc<Filter> {
        type ByRates = HashMap<(u32, u32), Arc<Filter>>;
        static CACHE: LazyLock<Mutex<ByRates>> = LazyLock::new(Mutex::default);
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() > 256 {
            cache.clear();
        }
        Arc::clone(cache.entry((from, to)).or_insert_with(|| Arc::new(Filter::design(from, to))))
    }

    fn design(from: u32, to: u32) -> Filter {
        let divisor = gcd(from, to);
        let (up, down) = (to / divisor, from / divisor);
        let phases = up.min(MAX_PHASES);
        // Going down the filter works at the output's rate and so spans more input samples.
        let ratio = (f64::from(from) / f64::from(to)).max(1.0);
        let taps = ((TAPS as f64 * ratio).ceil() as usize).next_multiple_of(8);
        let cutoff = CUTOFF / ratio;
        let centre = taps as f64 / 2.0;
        let mut coefficients = Vec::with_capacity(phases as usize * taps);
        for phase in 0..phases {
            let shift = f64::from(phase) / f64::from(phases);
            let start = coefficients.len();
            for tap in 0..taps {
                // Distance of this input sample from the output sample, in input samples.
                let x = tap as f64 + 1.0 - centre - shift;
                coefficients.push((cutoff * sinc(cutoff * x) * kaiser(x / centre)) as f32);
            }
            // Every phase passes a constant unchanged, so that no tone appears at the phase rate.
            let sum: f32 = coefficients[start..].iter().sum();
            coefficients[start..].iter_mut().for_each(|c| *c /= sum);
        }
        let strand = |strand| coefficients.iter().skip(strand).step_by(down as usize).copied().collect();
        let strands = if up == 1 { (0..down as usize).map(strand).collect() } else { Vec::new() };
        Filter { up, down, phases, taps, coefficients, strands }
    }

    /// Coefficients of one strand of the input where the ratio is a whole number.
    fn strand(&self, phase: usize, strand: usize) -> &[f32] {
        match self.strands.get(strand) {
            Some(coefficients) => coefficients,
            None => &self.coefficients[phase * self.taps..(phase + 1) * self.taps],
        }
    }

    fn phase(&self, fraction: u32) -> &[f32] {
        let phase = if self.phases == self.up {
            fraction as usize
        } else {
            (u64::from(fraction) * u64::from(self.phases) / u64::from(self.up)) as usize
        };
        &self.coefficients[phase * self.taps..(phase + 1) * self.taps]
    }
}

/// Output samples that are worked out side by side.
const LANES: usize = 16;

/// To each sum, the products of coefficients and the samples from its place on, which the compiler turns into vector instructions.
fn add_products(sums: &mut [f32; LANES], samples: &[f32], coefficients: &[f32]) {
    for (window, coefficient) in samples.windows(LANES).zip(coefficients) {
        for (sum, sample) in sums.iter_mut().zip(window) {
            *sum += sample * coefficient;
        }
    }
}

/// Eight sums side by side, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    for (x, y) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    (sums[0] + sums[4]) + (sums[1] + sums[5]) + ((sums[2] + sums[6]) + (sums[3] + sums[7]))
}

fn to_i16(value: f32) -> i16 {
    // `as` saturates; adding half away from zero rounds without a library call.
    (value + 0.5f32.copysign(value)) as i16
}

fn sinc(x: f64) -> f64 {
    let angle = std::f64::consts::PI * x;
    if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle }
}

/// Kaiser window over −1 … 1.
fn kaiser(x: f64) -> f64 {
    if x.abs() > 1.0 { 0.0 } else { bessel_i0(BETA * (1.0 - x * x).sqrt()) / bessel_i0(BETA) }
}

fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..40 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Appends `samples` with another number of channels: stereo to mono averages, mono to stereo duplicates; in
/// general mono is the average of all, and more channels repeat the first ones.
pub fn convert_channels(samples: &[i16], from: u8, to: u8, out: &mut Vec<i16>) {
    let (from, to) = (usize::from(from.max(1)), usize::from(to.max(1)));
    let frames = samples.chunks_exact(from);
    match (from, to) {
        _ if from == to => out.extend_from_slice(samples),
        (_, 1) => {
            out.extend(frames.map(|f| (f.iter().map(|&s| i32::from(s)).sum::<i32>() / from as i32) as i16));
        }
        (1, 2) => samples.iter().for_each(|&s| out.extend_from_slice(&[s, s])),
        _ => frames.for_each(|f| out.extend(f.iter().cycle().take(to))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATES: [u32; 7] = [8000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000];

    fn sine(frequency: f64, rate: u32, count: usize) -> Vec<i16> {
        let step = std::f64::consts::TAU * frequency / f64::from(rate);
        (0..count).map(|n| ((n as f64 * step).sin() * 16_000.0) as i16).collect()
    }

    /// Level after conversion relative to the input, in dB, without the edges.
    fn gain_db(frequency: f64, from: u32, to: u32) -> f64 {
        let input = sine(frequency, from, from as usize);
        let mut output = Vec::new();
        let mut resampler = Resampler::new(from, to, 1).unwrap();
        for piece in input.chunks(from as usize / 50) {
            resampler.push(piece, &mut output);
        }
        let power = |s: &[i16]| s.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / s.len() as f64;
        let middle = &output[output.len() / 4..output.len() * 3 / 4];
        10.0 * (power(middle) / power(&input)).log10()
    }

    #[test]
    fn telephone_band_is_flat_for_every_rate_pair() {
        for from in RATES {
            for to in RATES {
                for frequency in [300.0, 1000.0, 3400.0] {
                    let gain = gain_db(frequency, from, to);
                    assert!(gain.abs() < 0.1, "{from} → {to} at {frequency} Hz: {gain:.3} dB");
                }
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_carry_is_suppressed() {
        for (from, to, frequency) in [
            (16_000, 8000, 4200.0),
            (48_000, 8000, 5000.0),
            (48_000, 16_000, 9000.0),
            (44_100, 8000, 10_000.0),
        ] {
            let gain = gain_db(frequency, from, to);
            assert!(gain < -50.0, "{from} → {to} at {frequency} Hz: {gain:.1} dB");
        }
    }

    #[test]
    fn delay_is_at_most_three_milliseconds() {
        for from in RATES {
            for to in RATES {
                let delay = Resampler::new(from, to, 1).unwrap().delay() as f64 / f64::from(to);
                assert!(delay <= 0.003, "{from} → {to}: {delay}");
            }
        }
    }

    #[test]
    fn aligned_output_has_the_signal_in_its_place() {
        for (from, to) in [(8000, 48_000), (48_000, 8000), (44_100, 16_000)] {
            let mut output = Vec::new();
            let mut resampler = Resampler::new_aligned(from, to, 1).unwrap();
            resampler.push(&sine(440.0, from, from as usize / 2), &mut output);
            resampler.flush(&mut output);
            assert_eq!(output.len(), to as usize / 2);
            let expected = sine(440.0, to, output.len());
            for n in output.len() / 8..output.len() * 7 / 8 {
                let error = (i32::from(output[n]) - i32::from(expected[n])).abs();
                assert!(error < 700, "{from} → {to} at {n}: {} for {}", output[n], expected[n]);
            }
        }
    }

    #[test]
    fn channels_stay_apart() {
        let mono = sine(1000.0, 8000, 1600);
        let stereo: Vec<i16> = mono.iter().flat_map(|&s| [s, 0]).collect();
        let (mut one, mut two) = (Vec::new(), Vec::new());
        Resampler::new(8000, 16_000, 1).unwrap().push(&mono, &mut one);
        Resampler::new(8000, 16_000, 2).unwrap().push(&stereo, &mut two);
        assert_eq!(two.iter().step_by(2).copied().collect::<Vec<_>>(), one);
        assert!(two.iter().skip(1).step_by(2).all(|&s| s == 0));
    }

    #[test]
    fn channel_conversion_averages_and_duplicates() {
        let cases: [(&[i16], u8, u8, &[i16]); 4] = [
            (&[100, 300, -32_768, -32_768], 2, 1, &[200, -32_768]),
            (&[1, 2], 1, 2, &[1, 1, 2, 2]),
            (&[1, 2], 2, 2, &[1, 2]),
            (&[1, 2], 2, 4, &[1, 2, 1, 2]),
        ];
        for (input, from, to, expected) in cases {
            let mut out = Vec::new();
            convert_channels(input, from, to, &mut out);
            assert_eq!(out, expected, "{from} → {to}");
        }
    }

    #[test]
    fn impossible_rates_are_refused() {
        assert!(Resampler::new(0, 8000, 1).is_err());
        assert!(Resampler::new(8000, 1_000_000, 1).is_err());
        assert!(Resampler::new(8000, 16_000, 0).is_err());
    }

    proptest! {
        #[test]
        fn output_length_is_exact_at_any_time(
            from in prop::sample::select(RATES.to_vec()),
            to in prop::sample::select(RATES.to_vec()),
            pieces in proptest::collection::vec(0usize..2000, 1..20),
        ) {
            let mut resampler = Resampler::new(from, to, 1).unwrap();
            let (mut n, mut out) = (0u64, Vec::new());
            for piece in pieces {
                n += piece as u64;
                resampler.push(&vec![1000; piece], &mut out);
                prop_assert_eq!(out.len() as u64, (n * u64::from(to)).div_ceil(u64::from(from)));
            }
            let before = out.len();
            resampler.flush(&mut out);
            prop_assert_eq!(out.len(), before + resampler.delay());
        }
    }
}

//! Stretches and squeezes audio by less than a percent, so that a sender whose clock runs wrong stays in step: interpolation
//! with a windowed sinc at any ratio.

use std::sync::LazyLock;

/// Input samples that one output sample is made of.
const TAPS: usize = 24;
/// Positions between two input samples.
const PHASES: usize = 512;
/// Kaiser window for 70 dB.
const BETA: f64 = 7.0;

static KERNEL: LazyLock<Vec<[f32; TAPS]>> = LazyLock::new(|| (0..=PHASES).map(phase).collect());

/// One stream of interleaved samples.
#[derive(Debug)]
pub struct Warp {
    channels: usize,
    /// Input that is still needed; half a kernel of silence comes first.
    input: Vec<i16>,
    /// Where the next output sample lies, in frames of `input`.
    position: f64,
}

impl Warp {
    /// Begins without delay, behind samples that went another way.
    pub fn new(channels: usize, before: &[i16]) -> Self {
        let channels = channels.max(1);
        let mut input = vec![0; TAPS / 2 * channels];
        let known = before.len().min(input.len());
        let at = input.len() - known;
        input[at..].copy_from_slice(&before[before.len() - known..]);
        Self { channels, input, position: (TAPS / 2) as f64 }
    }

    /// Takes samples and appends what can be made of them; `ratio` is output length by input length.
    pub fn push(&mut self, samples: &[i16], ratio: f64, out: &mut Vec<i16>) {
        self.input.extend_from_slice(samples);
        let step = 1.0 / ratio.clamp(0.5, 2.0);
        let frames = self.input.len() / self.channels;
        while (self.position + step / 2.0) as usize + TAPS / 2 < frames {
            self.interpolate(out);
            self.position += step;
        }
        let done = (self.position as usize).saturating_sub(TAPS / 2);
        self.input.drain(..done * self.channels);
        self.position -= done as f64;
    }

    /// Appends what is left; begin anew afterwards.
    pub fn flush(&mut self, out: &mut Vec<i16>) {
        let silence = vec![0; (TAPS / 2) * self.channels];
        self.push(&silence, 1.0, out);
    }

    fn interpolate(&self, out: &mut Vec<i16>) {
        let whole = self.position as usize;
        let kernel = &KERNEL[((self.position - whole as f64) * PHASES as f64).round() as usize];
        let first = (whole + 1 - TAPS / 2) * self.channels;
        for channel in 0..self.channels {
            let window = self.input.iter().skip(first + channel).step_by(self.channels);
            let sum: f32 = window.zip(kernel).map(|(sample, weight)| f32::from(*sample) * weight).sum();
            // Saturates.
            out.push(sum.round() as i16);
        }
    }
}

/// Weights for a place so many phases behind the sample in the middle.
fn phase(phase: usize) -> [f32; TAPS] {
    let fraction = phase as f64 / PHASES as f64;
    let mut weights = [0.0; TAPS];
    for (tap, weight) in weights.iter_mut().enumerate() {
        let distance = tap as f64 - (TAPS / 2 - 1) as f64 - fraction;
        *weight = sinc(distance) * kaiser(distance / (TAPS / 2) as f64);
    }
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| (weight / sum) as f32)
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x.abs() < 1e-9 { 1.0 } else { x.sin() / x }
}

fn kaiser(x: f64) -> f64 {
    bessel(BETA * (1.0 - x * x).max(0.0).sqrt()) / bessel(BETA)
}

/// Modified Bessel function of the first kind, order 0.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..30 {
        term *= (x / 2.0 / f64::from(n)).powi(2);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frames: usize, hertz: f64) -> Vec<i16> {
        (0..frames)
            .map(|n| ((n as f64 * hertz / 8000.0 * std::f64::consts::TAU).sin() * 12_000.0) as i16)
            .collect()
    }

    fn warped(samples: &[i16], channels: usize, ratio: f64) -> Vec<i16> {
        let (mut warp, mut out) = (Warp::new(channels, &[]), Vec::new());
        for packet in samples.chunks(160 * channels) {
            warp.push(packet, ratio, &mut out);
        }
        warp.flush(&mut out);
        out
    }

    #[test]
    fn nothing_changes_at_ratio_one() {
        let samples = tone(8000, 1000.0);
        assert!(warped(&samples, 1, 1.0) == samples);
        assert!(warped(&samples, 2, 1.0) == samples, "channels stay apart");
    }

    #[test]
    fn length_and_pitch_follow_the_ratio() {
        for (ratio, hertz) in [(1.003, 440.0), (0.997, 3000.0)] {
            let out = warped(&tone(80_000, hertz * ratio), 1, ratio);
            assert!((out.len() as f64 - 80_000.0 * ratio).abs() < 2.0, "{}", out.len());
            let expected = tone(out.len(), hertz);
            let error = out[100..79_000].iter().zip(&expected[100..]).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(error < Some(200), "{ratio}: {error:?}");
        }
    }
}

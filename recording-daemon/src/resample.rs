//! Sample rate conversion without delay: output sample *k* lies at the time of *k* × input rate ÷ output rate. Polyphase
//! windowed sinc.

/// Input samples on each side of an output sample, when the rate does not fall.
const HALF_TAPS: usize = 16;
/// Pass band as part of the lower of the two Nyquist frequencies.
const CUTOFF: f64 = 0.92;

/// Converts interleaved samples of one source. Keeps its history between calls.
pub struct Resampler {
    channels: usize,
    /// Output rate ÷ greatest common divisor: so many phases.
    up: usize,
    /// Input rate ÷ greatest common divisor.
    down: usize,
    half: usize,
    /// `2 × half` coefficients for each phase.
    kernels: Vec<f32>,
    /// Input frames not done with; the first is frame `first` of the input, counted from `half` frames of silence.
    history: Vec<i16>,
    /// Position of the next output sample in units of 1/`up` input frames, from the centre frame of `history`.
    position: usize,
}

impl Resampler {
    /// Rates in Hz.
    pub fn new(from: u32, to: u32, channels: usize) -> Self {
        let (from, to, channels) = (from.max(1) as usize, to.max(1) as usize, channels.max(1));
        let divisor = greatest_common_divisor(from, to);
        let (up, down) = (to / divisor, from / divisor);
        let stretch = (from as f64 / to as f64).max(1.0);
        let half = (HALF_TAPS as f64 * stretch).ceil() as usize;
        let bandwidth = CUTOFF / stretch;
        let kernels = (0..up).flat_map(|phase| kernel(phase as f64 / up as f64, half, bandwidth)).collect();
        Self { channels, up, down, half, kernels, history: vec![0; (half - 1) * channels], position: 0 }
    }

    /// Takes input and appends what it gives; `half` frames wait for what comes next.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        self.history.extend_from_slice(samples);
        let taps = 2 * self.half;
        let frames = self.history.len() / self.channels;
        loop {
            let (frame, phase) = (self.position / self.up, self.position % self.up);
            let Some(window) = self.history.get(frame * self.channels..(frame + taps) * self.channels) else {
                break;
            };
            let kernel = self.kernels.get(phase * taps..(phase + 1) * taps).unwrap_or_default();
            for channel in 0..self.channels {
                let inputs = window.iter().skip(channel).step_by(self.channels);
                let sum: f32 = inputs.zip(kernel).map(|(sample, weight)| f32::from(*sample) * weight).sum();
                out.push(sum.round() as i16);
            }
            self.position += self.down;
        }
        let done = (self.position / self.up).min(frames);
        self.history.drain(..done * self.channels);
        self.position -= done * self.up;
    }

    /// Appends what waits. Nothing may be pushed afterwards.
    pub fn flush(&mut self, out: &mut Vec<i16>) {
        let silence = vec![0; self.half * self.channels];
        self.push(&silence, out);
    }
}

/// Coefficients for an output sample `offset` of a frame behind the centre frame; their sum is 1.
fn kernel(offset: f64, half: usize, bandwidth: f64) -> Vec<f32> {
    let weights: Vec<f64> = (0..2 * half)
        .map(|tap| {
            let distance = tap as f64 - (half as f64 - 1.0) - offset;
            let x = distance / half as f64;
            let angle = std::f64::consts::PI * x;
            let window =
                if x.abs() >= 1.0 { 0.0 } else { 0.42 + 0.5 * angle.cos() + 0.08 * (2.0 * angle).cos() };
            let phase = std::f64::consts::PI * distance * bandwidth;
            let sinc = if phase.abs() < 1e-9 { 1.0 } else { phase.sin() / phase };
            sinc * window
        })
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| (weight / sum) as f32).collect()
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: u32, hertz: f64, frames: usize) -> Vec<i16> {
        let angle = |n: usize| n as f64 * hertz / f64::from(rate) * std::f64::consts::TAU;
        (0..frames).map(|n| (angle(n).sin() * 10_000.0) as i16).collect()
    }

    #[test]
    fn a_tone_keeps_its_level_length_and_place() {
        const CASES: &[(u32, u32, f64)] = &[
            (8000, 16_000, 1000.0),
            (16_000, 8000, 3000.0),
            (8000, 48_000, 3000.0),
            (48_000, 8000, 400.0),
            (44_100, 48_000, 5000.0),
            (8000, 11_025, 1000.0),
        ];
        for &(from, to, hertz) in CASES {
            let (mut resampler, mut out) = (Resampler::new(from, to, 1), Vec::new());
            for packet in tone(from, hertz, from as usize).chunks(from as usize / 50) {
                resampler.push(packet, &mut out);
            }
            resampler.flush(&mut out);
            assert!(out.len().abs_diff(to as usize) <= 1, "{from} to {to}: {} frames", out.len());
            let expected = tone(to, hertz, to as usize);
            let inner = to as usize / 10..to as usize * 9 / 10;
            let worst = inner.map(|n| (i32::from(out[n]) - i32::from(expected[n])).abs()).max();
            assert!(worst < Some(150), "{from} to {to}: off by {worst:?}");
        }
    }

    #[test]
    fn what_does_not_fit_into_the_lower_rate_is_filtered_out() {
        let (mut resampler, mut out) = (Resampler::new(16_000, 8000, 1), Vec::new());
        resampler.push(&tone(16_000, 5500.0, 16_000), &mut out);
        let peak = out[100..].iter().map(|sample| sample.unsigned_abs()).max();
        assert!(peak < Some(100), "{peak:?}");
    }

    #[test]
    fn channels_stay_apart() {
        let (mut resampler, mut out) = (Resampler::new(8000, 16_000, 2), Vec::new());
        let stereo: Vec<i16> = (0..400).flat_map(|_| [1000, -2000]).collect();
        resampler.push(&stereo, &mut out);
        assert_eq!(out[400..402], [1000, -2000]);
    }
}

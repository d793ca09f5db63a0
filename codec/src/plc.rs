//! Packet-loss concealment for codecs without their own, by repeating pitch periods (the method of ITU-T G.711 Appendix I, at any rate).
//!
//! Differs from the recommendation in that nothing is delayed: instead of fading into the first repetition, the step between the
//! signal and the repetition is taken out of the latter. Where the packet behind the loss is known, [`Concealment::bridge`] makes use of it.

mod bridge;

use std::ops::Range;

/// Remembers the end of a signal and goes on with it while packets are missing.
#[derive(Debug)]
pub struct Concealment {
    channels: usize,
    rate: usize,
    /// The last 48.75 ms that were heard or made up, interleaved.
    history: Vec<i16>,
    /// What is repeated; empty when nothing is missing.
    cycle: Vec<i16>,
    /// Where the repetition stands in `cycle`, in frames.
    phase: usize,
    pitch: usize,
    /// Frames made up since the last good one.
    erased: usize,
    /// Step at the beginning of the first repetition, for each channel.
    step: [i32; 2],
    scratch: Vec<i16>,
    /// The repetition while it is being joined with what follows.
    forward: Vec<i16>,
}

impl Concealment {
    /// For interleaved samples of one or two channels.
    pub fn new(rate: u32, channels: u8) -> Self {
        let (rate, channels) = (rate.max(8000) as usize, usize::from(channels.clamp(1, 2)));
        let values = rate * 39 / 800 * channels;
        Self {
            channels,
            rate,
            history: vec![0; values],
            cycle: Vec::with_capacity(values),
            phase: 0,
            pitch: 0,
            erased: 0,
            step: [0; 2],
            scratch: Vec::with_capacity(values),
            forward: Vec::with_capacity(rate / 8 * channels),
        }
    }

    /// Takes samples that were decoded; the first ones after a loss are faded into.
    pub fn heard(&mut self, samples: &mut [i16]) {
        if self.erased > 0 {
            // 4 ms, and 4 ms more for each 10 ms of loss, 10 ms at most.
            let overlap = (self.rate / 250 + self.erased * 2 / 5).min(self.rate / 100);
            let overlap = overlap.min(samples.len() / self.channels);
            let mut scratch = std::mem::take(&mut self.scratch);
            scratch.clear();
            self.repeat(overlap, Self::fading, &mut scratch);
            for (index, (sample, made_up)) in samples.iter_mut().zip(&scratch).enumerate() {
                let weight = (index / self.channels + 1) as i32;
                let all = overlap as i32 + 1;
                *sample = ((i32::from(*sample) * weight + i32::from(*made_up) * (all - weight)) / all) as i16;
            }
            self.scratch = scratch;
            self.erased = 0;
            self.cycle.clear();
        }
        self.remember(samples);
    }

    /// Appends `frames` samples per channel in place of lost ones; silence after 60 ms.
    pub fn conceal(&mut self, frames: usize, out: &mut Vec<i16>) {
        let start = out.len();
        self.go_on(frames, Self::fading, out);
        let made_up = out.get(start..).unwrap_or_default();
        // Borrowed apart: only history changes.
        remember(&mut self.history, made_up);
    }

    /// Repeats what was heard, in pieces that end where the repetition changes.
    fn go_on(&mut self, frames: usize, gain: fn(&Self) -> i32, out: &mut Vec<i16>) {
        let mut left = frames;
        while left > 0 {
            let piece = left.min(self.rate / 100 - self.erased % (self.rate / 100));
            self.prepare();
            self.repeat(piece, gain, out);
            left -= piece;
        }
    }

    fn remember(&mut self, samples: &[i16]) {
        remember(&mut self.history, samples);
    }

    /// One period in the first 10 ms, two in the second, three from then on, so that it does not sound like a machine.
    fn prepare(&mut self) {
        let block = self.rate / 100;
        let (first, periods) = (self.erased == 0, (self.erased / block + 1).min(3));
        if !first && (!self.erased.is_multiple_of(block) || self.erased > 2 * block) {
            return;
        }
        if first {
            self.pitch = self.find_pitch();
            self.phase = 0;
            // The signal that is repeated must not be lost while repetitions are remembered.
            self.scratch.clear();
            self.scratch.extend_from_slice(&self.history);
        }
        let (channels, pitch) = (self.channels, self.pitch);
        let end = self.scratch.len() / channels;
        let length = periods * pitch;
        let fade = pitch / 4;
        let sample = |frame: usize, channel: usize| {
            self.scratch.get(frame * channels + channel).copied().map_or(0, i32::from)
        };
        self.cycle.clear();
        for frame in 0..length {
            for channel in 0..channels {
                let from = end - length + frame;
                let value = sample(from, channel);
                // The end runs into what lies before the beginning.
                let into_fade = (frame + fade).checked_sub(length);
                let value = into_fade.map_or(value, |n| {
                    let weight = n as i32 + 1;
                    let all = fade as i32 + 1;
                    (value * (all - weight) + sample(from - length, channel) * weight) / all
                });
                self.cycle.push(value as i16);
            }
        }
        if first {
            for (channel, step) in self.step.iter_mut().enumerate().take(channels) {
                *step = sample(end - 1, channel) - sample(end - 1 - pitch, channel);
            }
        } else {
            // The same place in the last period of the longer cycle.
            self.phase = (length - pitch + self.phase % pitch) % length;
        }
    }

    /// Share (of 32 768) of a repetition that becomes ever softer from 10 ms on.
    fn fading(&self) -> i32 {
        let block = self.rate / 100;
        let softer = self.erased.saturating_sub(block).min(5 * block);
        32_768 - (softer * 32_768 / (5 * block)) as i32
    }

    /// Repeats the cycle.
    fn repeat(&mut self, frames: usize, gain: fn(&Self) -> i32, out: &mut Vec<i16>) {
        let length = (self.cycle.len() / self.channels).max(1);
        let fade = (self.pitch / 4).max(1);
        for _ in 0..frames {
            let gain = gain(self);
            for channel in 0..self.channels {
                let value =
                    self.cycle.get(self.phase * self.channels + channel).copied().map_or(0, i32::from);
                let rest = (fade.saturating_sub(self.erased)) as i32;
                let step = self.step.get(channel).map_or(0, |step| step * rest / (fade as i32));
                let value = ((i64::from(value + step) * i64::from(gain)) >> 15)
                    .clamp(i64::from(i16::MIN), i64::from(i16::MAX));
                out.push(value as i16);
            }
            self.phase = (self.phase + 1) % length;
            self.erased += 1;
        }
    }

    /// Period between 5 and 15 ms at which the last 20 ms are most like those before; first of every few samples, then exactly.
    fn find_pitch(&self) -> usize {
        let (least, most) = (self.rate / 200, self.rate * 3 / 200);
        let coarse = (self.rate / 4000).max(1);
        let best = self.most_alike((least..most + 1).step_by(coarse), coarse);
        let around = best.saturating_sub(coarse).max(least)..(best + coarse + 1).min(most + 1);
        self.most_alike(around, 1)
    }

    fn most_alike(&self, lags: impl Iterator<Item = usize>, stride: usize) -> usize {
        let frames = self.history.len() / self.channels;
        let window: Range<usize> = frames - self.rate / 50..frames;
        let sample = |frame: usize| self.history.get(frame * self.channels).copied().map_or(0.0, f32::from);
        let likeness = |lag: usize| {
            let (mut product, mut energy) = (0.0, 1.0);
            for frame in window.clone().step_by(stride) {
                let before = sample(frame - lag);
                product += sample(frame) * before;
                energy += before * before;
            }
            product / energy.sqrt()
        };
        let rated = lags.map(|lag| (lag, likeness(lag)));
        rated
            .reduce(|best, next| if next.1 > best.1 { next } else { best })
            .map_or(self.rate / 100, |best| best.0)
    }
}

/// The newest samples push out the oldest.
fn remember(history: &mut [i16], samples: &[i16]) {
    let keep = history.len().saturating_sub(samples.len());
    let newest = samples.get(samples.len().saturating_sub(history.len())..).unwrap_or_default();
    history.copy_within(history.len() - keep.., 0);
    if let Some(end) = history.get_mut(keep..) {
        end.copy_from_slice(newest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tone(rate: u32, frequency: f64, from: usize, count: usize) -> Vec<i16> {
        let step = std::f64::consts::TAU * frequency / f64::from(rate);
        (from..from + count).map(|n| ((n as f64 * step).sin() * 8000.0) as i16).collect()
    }

    fn power(samples: impl Iterator<Item = f64>) -> f64 {
        let (sum, count) = samples.fold((0.0, 0), |(sum, count), s| (sum + s * s, count + 1));
        sum / f64::from(count.max(1))
    }

    #[test]
    fn a_tone_goes_on_through_a_lost_packet() {
        for rate in [8000, 16_000, 48_000] {
            let frames = rate as usize / 50;
            let mut concealment = Concealment::new(rate, 1);
            concealment.heard(&mut tone(rate, 200.0, 0, 4 * frames));
            let mut made_up = Vec::new();
            concealment.conceal(frames, &mut made_up);
            assert_eq!(made_up.len(), frames);
            let missing = tone(rate, 200.0, 4 * frames, frames);
            let error = power(missing.iter().zip(&made_up).map(|(&a, &b)| f64::from(a) - f64::from(b)));
            let snr_db = 10.0 * (power(missing.iter().map(|&s| f64::from(s))) / error).log10();
            assert!(snr_db > 12.0, "{rate} Hz: {snr_db:.1} dB");
            // And back without a click.
            let mut next = tone(rate, 200.0, 5 * frames, frames);
            concealment.heard(&mut next);
            let all: Vec<i16> = made_up.into_iter().chain(next).collect();
            let steepest = all.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max().unwrap();
            assert!(steepest < 8000 * 2 * 1257 / rate as i32, "{rate} Hz: step of {steepest}");
        }
    }

    #[test]
    fn long_losses_become_silent_and_what_follows_is_heard() {
        let mut concealment = Concealment::new(8000, 2);
        let stereo: Vec<i16> = tone(8000, 300.0, 0, 800).into_iter().flat_map(|s| [s, s / 2]).collect();
        concealment.heard(&mut stereo.clone());
        let mut made_up = Vec::new();
        for _ in 0..5 {
            concealment.conceal(160, &mut made_up);
        }
        let level = |part: &[i16]| power(part.iter().step_by(2).map(|&s| f64::from(s))).sqrt();
        assert!(level(&made_up[..160]) > 4500.0);
        assert!(level(&made_up[640..800]) < 3000.0);
        assert!(made_up[2 * 480..].iter().all(|&s| s == 0));
        assert!(
            made_up.chunks(2).take(300).all(|f| (i32::from(f[0]) / 2 - i32::from(f[1])).abs() < 200),
            "channels"
        );
        let mut next = stereo[..320].to_vec();
        concealment.heard(&mut next);
        assert_eq!(next[200..], stereo[200..320]);
    }

    proptest! {
        #[test]
        fn any_order_of_losses_keeps_lengths(
            rate in prop::sample::select(vec![8000u32, 16_000, 24_000, 44_100, 48_000]),
            pieces in prop::collection::vec((any::<bool>(), 0usize..3000, any::<i16>()), 1..12),
        ) {
            let mut concealment = Concealment::new(rate, 1);
            for (lost, frames, value) in pieces {
                if lost {
                    let mut out = vec![7; 3];
                    concealment.conceal(frames, &mut out);
                    prop_assert_eq!(out.len(), 3 + frames);
                } else {
                    concealment.heard(&mut vec![value; frames]);
                }
            }
        }
    }
}

//! A loss whose end is known, because the packet behind it has come already (packets wait for those before them).
//!
//! The signal before the loss is repeated forwards and the one behind it backwards, each with its own period, and while the loss lasts the
//! first becomes the second. Aligning the phases of the two was tried and made no difference that PESQ hears.

use super::{Concealment, remember};

/// The repetition's level follows that of what comes next up to this factor: more would make noise of a pause before a word.
const MOST_GAIN: f32 = 1.5;

impl Concealment {
    /// Appends `frames` samples per channel in place of lost ones that `next` (interleaved) follows; [`Concealment::heard`] takes it
    /// afterwards. `next` of less than 15 ms says too little: then as [`Concealment::conceal`].
    pub fn bridge(&mut self, frames: usize, next: &[i16], out: &mut Vec<i16>) {
        let channels = self.channels;
        let window = self.rate * 3 / 200;
        if self.erased > 0 || frames == 0 || next.len() < window * channels {
            return self.conceal(frames, out);
        }
        let start = out.len();
        let mut forward = std::mem::take(&mut self.forward);
        forward.clear();
        self.go_on(frames + window, |_| 32_768, &mut forward);
        let arriving = level(forward.get(frames * channels..).unwrap_or_default());
        let gain = (level(&next[..window * channels]) / arriving.max(1.0)).min(MOST_GAIN);
        let backward = Backward::new(next, channels, self.rate);
        for (frame, values) in forward.chunks_exact(channels).take(frames).enumerate() {
            let share = (frame as f32 + 0.5) / frames as f32;
            let forward_share = (1.0 - share) * (1.0 + (gain - 1.0) * share);
            for (channel, &value) in values.iter().enumerate() {
                let before = backward.sample(channel, frames - frame);
                // Saturates.
                out.push((f32::from(value) * forward_share + before * share) as i16);
            }
        }
        self.forward = forward;
        self.erased = 0;
        self.cycle.clear();
        remember(&mut self.history, out.get(start..).unwrap_or_default());
    }
}

/// Root mean square.
fn level(samples: &[i16]) -> f32 {
    let energy: f32 = samples.iter().map(|&sample| f32::from(sample) * f32::from(sample)).sum();
    (energy / samples.len().max(1) as f32).sqrt()
}

/// What came before a signal if it was periodic.
struct Backward<'n> {
    next: &'n [i16],
    channels: usize,
    /// In frames, at most half of `next`.
    period: usize,
}

impl<'n> Backward<'n> {
    fn new(next: &'n [i16], channels: usize, rate: usize) -> Self {
        Self { next, channels, period: period(next, channels, rate) }
    }

    fn at(&self, channel: usize, frame: usize) -> f32 {
        self.next.get(frame * self.channels + channel).copied().map_or(0.0, f32::from)
    }

    /// The sample so many frames (1 and more) before the signal.
    fn sample(&self, channel: usize, back: usize) -> f32 {
        let (period, fade) = (self.period, (self.period / 4).max(1));
        let into = (period - back % period) % period;
        let value = self.at(channel, into);
        if back < fade {
            // The step from the end of a period to the beginning of the signal is taken out.
            let rest = 1.0 - back as f32 / fade as f32;
            return value + (self.at(channel, 0) - self.at(channel, period)) * rest;
        }
        if into < fade {
            // A period begins with what follows the one before.
            let weight = (into as f32 + 1.0) / (fade as f32 + 1.0);
            return value * weight + self.at(channel, into + period) * (1.0 - weight);
        }
        value
    }
}

/// Lag of 2.5 to 15 ms, and half the signal at most, at which the signal is most like itself; of its first channel.
fn period(next: &[i16], channels: usize, rate: usize) -> usize {
    let signal = |frame: usize| next.get(frame * channels).copied().map_or(0.0, f32::from);
    let frames = next.len() / channels;
    let stride = (rate / 8000).max(1);
    let likeness = |lag: usize| {
        let (mut product, mut energy, mut other) = (0.0, 1.0, 1.0);
        for frame in (0..frames - lag).step_by(stride) {
            let (now, later) = (signal(frame), signal(frame + lag));
            product += now * later;
            energy += now * now;
            other += later * later;
        }
        product / f32::sqrt(energy * other)
    };
    let (least, most) = (rate / 400, (frames / 2).min(rate * 3 / 200));
    let best_of = |lags: &mut dyn Iterator<Item = usize>| {
        let rated = lags.map(|lag| (lag, likeness(lag)));
        rated.reduce(|best, next| if next.1 > best.1 { next } else { best }).map_or(least, |best| best.0)
    };
    let coarse = best_of(&mut (least..=most).step_by(stride));
    best_of(&mut (coarse.saturating_sub(stride - 1).max(least)..=(coarse + stride - 1).min(most)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tone(rate: u32, frequency: f32, amplitude: f32, frames: std::ops::Range<usize>) -> Vec<i16> {
        let step = std::f32::consts::TAU * frequency / rate as f32;
        frames.map(|n| ((n as f32 * step).sin() * amplitude) as i16).collect()
    }

    /// What is made up between the two.
    fn between(rate: u32, mut before: Vec<i16>, next: &[i16]) -> Vec<i16> {
        let mut concealment = Concealment::new(rate, 1);
        concealment.heard(&mut before);
        let mut made_up = Vec::new();
        concealment.bridge(rate as usize / 50, next, &mut made_up);
        let mut heard = next.to_vec();
        concealment.heard(&mut heard);
        assert_eq!(heard, next, "nothing is left to fade");
        made_up
    }

    #[test]
    fn a_word_that_begins_in_the_loss_is_led_into() {
        for rate in [8000, 16_000, 48_000] {
            let frames = rate as usize / 50;
            let made_up = between(rate, vec![0; 4 * frames], &tone(rate, 220.0, 8000.0, 0..frames));
            let [first, last] = [&made_up[..frames / 4], &made_up[frames * 3 / 4..]].map(level);
            assert!(first < 1200.0 && last > 3500.0, "{rate} Hz: from {first} to {last}");
            let step = i32::from(made_up[frames - 1]).abs();
            // The tone itself has steps of 1382 at 8000 Hz.
            assert!(step < 1500, "{rate} Hz: a click of {step}");
        }
    }

    #[test]
    fn what_is_heard_becomes_what_follows() {
        let frames = 160;
        let made_up = between(8000, tone(8000, 150.0, 8000.0, 0..640), &tone(8000, 220.0, 2000.0, 0..frames));
        let [first, last] = [&made_up[..40], &made_up[120..]].map(level);
        assert!(first > 3500.0 && last < 2500.0, "from {first} to {last}");
    }

    proptest! {
        #[test]
        fn any_signal_is_bridged_to_its_length(
            rate in prop::sample::select(vec![8000u32, 16_000, 44_100, 48_000]),
            channels in 1u8..=2,
            before in prop::collection::vec(any::<i16>(), 0..2000),
            next in prop::collection::vec(any::<i16>(), 0..2000),
            frames in 0usize..6000,
        ) {
            let channels_used = usize::from(channels);
            let mut concealment = Concealment::new(rate, channels);
            let whole = |samples: Vec<i16>| samples[..samples.len() / channels_used * channels_used].to_vec();
            concealment.heard(&mut whole(before));
            let mut out = Vec::new();
            concealment.bridge(frames, &whole(next), &mut out);
            prop_assert_eq!(out.len(), frames * channels_used);
        }
    }
}

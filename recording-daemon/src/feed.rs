//! How one source gets to its input of a mix: converted, and stretched or squeezed a little where its place moves.

use crate::convert::Converter;
use crate::mix::Mixer;
use crate::mix_output::PlacedAudio;
use crate::output::AudioFormat;
use crate::warp::Warp;

/// Larger differences between the end of a frame and the beginning of the next one are gaps, in parts of a second.
const GAP: f64 = 1.0 / 200.0;
/// Audio is stretched or squeezed by this at most.
const MAX_STRETCH: f64 = 0.02;

/// State of one source on its way into one mix.
#[derive(Default)]
pub struct Feed {
    /// The source has lost its input to another one.
    pub is_refused: bool,
    converter: Option<Converter>,
    /// Set when the places of frames have moved.
    warp: Option<Warp>,
    /// Position of the next frame that is given to the mixer.
    next: i64,
    /// Position where the next frame of the source is expected.
    expected: f64,
    converted: Vec<i16>,
    /// The frame before.
    before: Vec<i16>,
    warped: Vec<i16>,
}

impl Feed {
    /// Gives audio to an input.
    pub fn push(&mut self, mixer: &mut Mixer, input: usize, audio: PlacedAudio<'_>) {
        let to = AudioFormat { sample_rate: mixer.sample_rate(), channels: mixer.input_channels() as u16 };
        let rate = f64::from(to.sample_rate);
        let position = audio.time as f64 * rate / 1e9;
        let continues = self.converter.as_ref().is_some_and(|converter| converter.from() == audio.format);
        if !continues || (position - self.expected).abs() > rate * GAP {
            self.flush(mixer, input);
            self.converter = Some(Converter::new(audio.format, to));
            self.next = position.round() as i64;
            self.expected = position;
        }
        let frames = audio.samples.len() as f64 / f64::from(audio.format.channels.max(1));
        let advance = frames * rate / f64::from(audio.format.sample_rate.max(1));
        let off = position - self.expected;
        // A clock that is right needs no correction, and its samples stay as they are.
        let is_moving = self.warp.is_some() || off.abs() >= 1.0;
        let stretch = if is_moving { off.clamp(-advance * MAX_STRETCH, advance * MAX_STRETCH) } else { 0.0 };
        self.expected += advance + stretch;
        std::mem::swap(&mut self.converted, &mut self.before);
        self.converted.clear();
        if let Some(converter) = &mut self.converter {
            converter.convert(audio.samples, &mut self.converted);
        }
        if !is_moving || advance <= 0.0 {
            return Self::give(mixer, input, &mut self.next, &self.converted);
        }
        self.warped.clear();
        let warp = self.warp.get_or_insert_with(|| Warp::new(mixer.input_channels(), &self.before));
        warp.push(&self.converted, (advance + stretch) / advance, &mut self.warped);
        Self::give(mixer, input, &mut self.next, &self.warped);
    }

    /// Gives what is held back; the next audio begins anew.
    pub fn flush(&mut self, mixer: &mut Mixer, input: usize) {
        self.converted.clear();
        if let Some(mut converter) = self.converter.take() {
            converter.flush(&mut self.converted);
        }
        match self.warp.take() {
            Some(mut warp) => {
                self.warped.clear();
                warp.push(&self.converted, 1.0, &mut self.warped);
                warp.flush(&mut self.warped);
                Self::give(mixer, input, &mut self.next, &self.warped);
            }
            None => Self::give(mixer, input, &mut self.next, &self.converted),
        }
    }

    fn give(mixer: &mut Mixer, input: usize, next: &mut i64, samples: &[i16]) {
        mixer.push(input, *next, samples);
        *next += (samples.len() / mixer.input_channels()) as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::MixMethod;

    const FORMAT: AudioFormat = AudioFormat { sample_rate: 8000, channels: 1 };

    fn samples(n: usize) -> Vec<i16> {
        (n * 160..(n + 1) * 160).map(|n| ((n as f64 * 0.2).sin() * 9000.0) as i16).collect()
    }

    /// The mix of frames whose places are `period` nanoseconds apart.
    fn mixed(frames: usize, period: i64) -> Vec<i16> {
        let mut mixer = Mixer::new(MixMethod::Direct, 1, 8000, 1);
        let mut feed = Feed::default();
        for n in 0..frames {
            let audio = PlacedAudio { time: n as i64 * period, format: FORMAT, samples: &samples(n) };
            feed.push(&mut mixer, 0, audio);
        }
        feed.flush(&mut mixer, 0);
        let mut all = vec![0; mixer.end().expect("an end") as usize];
        for block in mixer.take_blocks() {
            let at = block.start as usize;
            all[at..at + block.samples.len()].copy_from_slice(&block.samples);
        }
        all
    }

    #[test]
    fn a_right_clock_leaves_samples_as_they_are() {
        let sent: Vec<i16> = (0..100).flat_map(samples).collect();
        assert!(mixed(100, 20_000_000) == sent);
    }

    #[test]
    fn a_wrong_clock_is_stretched_without_steps() {
        for parts_per_thousand in [-3, 3] {
            let all = mixed(500, 20_000_000 + 20_000 * parts_per_thousand);
            let expected = 80_000 + 80 * parts_per_thousand;
            assert!((all.len() as i64 - expected).abs() <= 2, "{} samples", all.len());
            let largest = all[..all.len() - 20].windows(2).map(|pair| pair[0].abs_diff(pair[1])).max();
            assert!(largest < Some(2000), "no clicks: {largest:?}");
        }
    }
}

//! Brings audio into the format of an output: channels by copying or averaging, sample rates by resampling.

use codec::resample::{Resampler, convert_channels};

use crate::output::AudioFormat;

/// Converts one source's audio, without delay. Keeps the resampler's state between calls.
pub struct Converter {
    from: AudioFormat,
    to: AudioFormat,
    resampler: Option<Resampler>,
    mapped: Vec<i16>,
}

impl Converter {
    /// Rates and channel counts may be equal; then samples pass unchanged. Rates that cannot be converted are reported
    /// and give no audio.
    pub fn new(from: AudioFormat, to: AudioFormat) -> Self {
        let resampler = (from.sample_rate != to.sample_rate)
            .then(|| Resampler::new_aligned(from.sample_rate, to.sample_rate, narrow(to.channels)))
            .and_then(|made| made.inspect_err(|error| tracing::error!("Audio is lost: {error}")).ok());
        Self { from, to, resampler, mapped: Vec::new() }
    }

    /// What it takes.
    pub fn from(&self) -> AudioFormat {
        self.from
    }

    /// Appends converted samples to `out`.
    pub fn convert(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        let (from, to) = (narrow(self.from.channels), narrow(self.to.channels));
        if self.from.sample_rate == self.to.sample_rate {
            return convert_channels(samples, from, to, out);
        }
        self.mapped.clear();
        convert_channels(samples, from, to, &mut self.mapped);
        if let Some(resampler) = &mut self.resampler {
            resampler.push(&self.mapped, out);
        }
    }

    /// Appends what the resampler holds back.
    pub fn flush(&mut self, out: &mut Vec<i16>) {
        if let Some(resampler) = &mut self.resampler {
            resampler.flush(out);
        }
    }
}

fn narrow(channels: u16) -> u8 {
    u8::try_from(channels).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_channels_change_without_delay() {
        let from = AudioFormat { sample_rate: 8000, channels: 1 };
        let to = AudioFormat { sample_rate: 16_000, channels: 2 };
        let mut converter = Converter::new(from, to);
        let mut step = vec![0_i16; 400];
        step.extend([8000; 400]);
        let mut out = Vec::new();
        for packet in step.chunks(160) {
            converter.convert(packet, &mut out);
        }
        converter.flush(&mut out);
        assert_eq!(out.len(), 800 * 2 * 2);
        let edge = out.chunks(2).position(|frame| frame[0] > 4000).expect("the step");
        assert!(edge.abs_diff(800) <= 2, "the step is at {edge}");
        assert!(out.chunks(2).all(|frame| frame[0] == frame[1]));
    }
}

//! Brings audio into the format of an output: channels by copying or averaging, sample rates by resampling.

use crate::output::AudioFormat;
use crate::resample::Resampler;

/// Converts one source's audio. Keeps the resampler's state between calls.
pub struct Converter {
    from: AudioFormat,
    to: AudioFormat,
    resampler: Option<Resampler>,
    mapped: Vec<i16>,
}

impl Converter {
    /// Rates and channel counts may be equal; then samples pass unchanged.
    pub fn new(from: AudioFormat, to: AudioFormat) -> Self {
        let resampler = (from.sample_rate != to.sample_rate)
            .then(|| Resampler::new(from.sample_rate, to.sample_rate, usize::from(to.channels)));
        Self { from, to, resampler, mapped: Vec::new() }
    }

    /// What it takes.
    pub fn from(&self) -> AudioFormat {
        self.from
    }

    /// Appends converted samples to `out`.
    pub fn convert(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        let Some(resampler) = &mut self.resampler else {
            map_channels(samples, self.from.channels, self.to.channels, out);
            return;
        };
        self.mapped.clear();
        map_channels(samples, self.from.channels, self.to.channels, &mut self.mapped);
        resampler.push(&self.mapped, out);
    }

    /// Appends what the resampler holds back.
    pub fn flush(&mut self, out: &mut Vec<i16>) {
        if let Some(resampler) = &mut self.resampler {
            resampler.flush(out);
        }
    }
}

fn map_channels(samples: &[i16], from: u16, to: u16, out: &mut Vec<i16>) {
    match (from, to) {
        (from, to) if from == to => out.extend_from_slice(samples),
        (from, 1) => out.extend(samples.chunks_exact(usize::from(from.max(1))).map(|frame| {
            let sum: i32 = frame.iter().map(|&sample| i32::from(sample)).sum();
            (sum / i32::from(from.max(1))) as i16
        })),
        (from, to) => {
            for frame in samples.chunks_exact(usize::from(from.max(1))) {
                out.extend((0..usize::from(to)).map(|n| frame.get(n).or(frame.last()).copied().unwrap_or(0)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_copied_or_averaged() {
        const CASES: &[(u16, u16, &[i16], &[i16])] = &[
            (1, 1, &[1, 2], &[1, 2]),
            (1, 2, &[1, 2], &[1, 1, 2, 2]),
            (2, 1, &[i16::MAX, i16::MAX, 2, 4], &[i16::MAX, 3]),
            (2, 3, &[1, 2], &[1, 2, 2]),
        ];
        for (from, to, samples, expected) in CASES {
            let mut out = Vec::new();
            map_channels(samples, *from, *to, &mut out);
            assert_eq!(out, *expected, "{from} to {to}");
        }
    }
}

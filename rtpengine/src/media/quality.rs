//! What receivers report about an SSRC: samples with a mean opinion score, written by the worker, read by anybody.
//!
//! Kept only for SSRCs that somebody reports on: the first report makes room, nothing else allocates.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::stats::{Counter, SSRC_SLOTS};

/// Samples of the progression that are kept; a longer one is thinned out.
const PROGRESSION: usize = 32;

/// One report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Seconds since the Unix epoch.
    pub at_s: u32,
    /// Mean opinion score times ten.
    pub mos: u8,
    pub loss_percent: u8,
    pub jitter_ms: u16,
    /// Through the relay; 0 while it is not known.
    pub round_trip_us: u32,
    /// Between the relay and the receiver; 0 while it is not known.
    pub round_trip_leg_us: u32,
}

/// Quality of the SSRCs of a stream, in the order of its SSRC slots.
#[derive(Debug, Default)]
pub struct StreamQuality {
    pub ingress: [OnceLock<Box<SsrcQuality>>; SSRC_SLOTS],
    pub egress: [OnceLock<Box<SsrcQuality>>; SSRC_SLOTS],
}

/// A sample in two words: a reader may see a mixture of two samples, each number of which is right.
#[derive(Debug, Default)]
struct Packed([AtomicU64; 2]);

impl Packed {
    fn set(&self, sample: Sample) {
        let Sample { at_s, mos, loss_percent, jitter_ms, round_trip_us, round_trip_leg_us } = sample;
        let first = u64::from(at_s) << 32
            | u64::from(mos) << 24
            | u64::from(loss_percent) << 16
            | u64::from(jitter_ms);
        self.0[0].store(first, Relaxed);
        self.0[1].store(u64::from(round_trip_us) << 32 | u64::from(round_trip_leg_us), Relaxed);
    }

    fn get(&self) -> Sample {
        let [first, second] = [self.0[0].load(Relaxed), self.0[1].load(Relaxed)];
        Sample {
            at_s: (first >> 32) as u32,
            mos: (first >> 24) as u8,
            loss_percent: (first >> 16) as u8,
            jitter_ms: first as u16,
            round_trip_us: (second >> 32) as u32,
            round_trip_leg_us: second as u32,
        }
    }
}

/// All samples of one SSRC.
#[derive(Debug, Default)]
pub struct SsrcQuality {
    ssrc: AtomicU32,
    samples: Counter,
    /// Sums of the fields of all samples.
    mos: Counter,
    loss_percent: Counter,
    jitter_ms: Counter,
    round_trip_us: Counter,
    round_trip_leg_us: Counter,
    lowest: Packed,
    highest: Packed,
    /// Of `progression`, in seconds.
    interval_s: AtomicU32,
    length: AtomicU32,
    progression: [Packed; PROGRESSION],
}

/// Quality of an SSRC, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QualitySnapshot {
    pub samples: u64,
    /// Means; its time is of no meaning.
    pub average: Sample,
    pub lowest: Sample,
    pub highest: Sample,
    /// Least time between two samples of `progression`.
    pub interval_s: u32,
    /// Oldest first.
    pub progression: Vec<Sample>,
}

impl SsrcQuality {
    /// Adds a sample; only the owning worker may call this. Another SSRC than before starts anew.
    pub fn add(&self, ssrc: u32, sample: Sample) {
        if self.ssrc.load(Relaxed) != ssrc {
            self.clear();
            self.ssrc.store(ssrc, Relaxed);
        }
        let first = self.samples.get() == 0;
        if first || sample.mos < self.lowest.get().mos {
            self.lowest.set(sample);
        }
        if first || sample.mos > self.highest.get().mos {
            self.highest.set(sample);
        }
        self.mos.add(sample.mos.into());
        self.loss_percent.add(sample.loss_percent.into());
        self.jitter_ms.add(sample.jitter_ms.into());
        self.round_trip_us.add(sample.round_trip_us.into());
        self.round_trip_leg_us.add(sample.round_trip_leg_us.into());
        self.samples.add(1);
        self.remember(sample);
    }

    /// The samples of an SSRC, if it has any.
    pub fn read(&self, ssrc: u32) -> Option<QualitySnapshot> {
        let samples = self.samples.get();
        if samples == 0 || self.ssrc.load(Relaxed) != ssrc {
            return None;
        }
        let mean = |sum: &Counter| sum.get() / samples;
        let length = (self.length.load(Relaxed) as usize).min(PROGRESSION);
        Some(QualitySnapshot {
            samples,
            average: Sample {
                at_s: 0,
                mos: mean(&self.mos) as u8,
                loss_percent: mean(&self.loss_percent) as u8,
                jitter_ms: mean(&self.jitter_ms) as u16,
                round_trip_us: mean(&self.round_trip_us) as u32,
                round_trip_leg_us: mean(&self.round_trip_leg_us) as u32,
            },
            lowest: self.lowest.get(),
            highest: self.highest.get(),
            interval_s: self.interval_s.load(Relaxed),
            progression: self.progression.iter().take(length).map(Packed::get).collect(),
        })
    }

    fn clear(&self) {
        let sums = [
            &self.samples,
            &self.mos,
            &self.loss_percent,
            &self.jitter_ms,
            &self.round_trip_us,
            &self.round_trip_leg_us,
        ];
        sums.into_iter().for_each(|sum| sum.set(0));
        self.interval_s.store(1, Relaxed);
        self.length.store(0, Relaxed);
    }

    /// Adds to the progression unless the last one is too recent. When it is full, every other sample goes, and the rest is filled at
    /// half the pace.
    fn remember(&self, sample: Sample) {
        let mut length = self.length.load(Relaxed) as usize;
        let interval = self.interval_s.load(Relaxed);
        if let Some(last) = length.checked_sub(1).and_then(|last| self.progression.get(last))
            && sample.at_s.saturating_sub(last.get().at_s) < interval
        {
            return;
        }
        if length >= PROGRESSION {
            for (index, kept) in (0..PROGRESSION).step_by(2).enumerate() {
                self.progression[index].set(self.progression[kept].get());
            }
            length = PROGRESSION / 2;
            let span = sample.at_s.saturating_sub(self.progression[0].get().at_s);
            self.interval_s.store(interval.saturating_mul(2).max(span / length as u32), Relaxed);
        }
        self.progression[length].set(sample);
        self.length.store(length as u32 + 1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_s: u32, mos: u8) -> Sample {
        Sample {
            at_s,
            mos,
            loss_percent: 2,
            jitter_ms: 300,
            round_trip_us: 20_000_000,
            round_trip_leg_us: 10_000_000,
        }
    }

    #[test]
    fn mean_and_extremes_are_those_of_the_samples() {
        let quality = SsrcQuality::default();
        assert_eq!(quality.read(7), None);
        let samples = [(100, 43), (105, 31), (110, 44), (115, 31)].map(|(at, mos)| sample(at, mos));
        samples.iter().for_each(|sample| quality.add(7, *sample));
        let read = quality.read(7).expect("samples");
        assert_eq!((read.samples, read.average), (4, Sample { at_s: 0, mos: 37, ..samples[0] }));
        assert_eq!((read.lowest, read.highest), (samples[1], samples[2]), "the first of equals");
        assert_eq!(read.progression, samples);
        assert_eq!(quality.read(8), None, "another SSRC");
        quality.add(8, samples[0]);
        assert_eq!((quality.read(7), quality.read(8).map(|read| read.samples)), (None, Some(1)));
    }

    #[test]
    fn a_long_progression_is_thinned_out_evenly() {
        let quality = SsrcQuality::default();
        for at in (0..7200).step_by(5) {
            quality.add(7, sample(at, 40));
        }
        let read = quality.read(7).expect("samples");
        assert_eq!(read.samples, 1440);
        assert!((PROGRESSION / 2..=PROGRESSION).contains(&read.progression.len()));
        assert_eq!(read.progression[0].at_s, 0);
        let steps = read.progression.windows(2).map(|pair| pair[1].at_s - pair[0].at_s);
        let (least, most) = (steps.clone().min().unwrap(), steps.max().unwrap());
        assert!(least >= 120 && most <= 4 * least, "{least}..{most}");
    }
}

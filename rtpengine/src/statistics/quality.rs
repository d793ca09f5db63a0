//! Sums of quality measurements: mean opinion score, jitter, round-trip time, loss.
//!
//! The workers count them per local address ([`crate::media::totals::QualityTotals`]); here they get the units of reports.

use crate::media::totals::{MetricCount, QualityCount};

/// Sums of one kind of measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MetricSums {
    pub total: f64,
    /// Sum of squares.
    pub total2: f64,
    pub samples: u64,
}

/// All kinds of measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    pub mos: MetricSums,
    /// As reported by receivers, in milliseconds.
    pub jitter: MetricSums,
    /// Through the relay, in microseconds.
    pub rtt_end_to_end: MetricSums,
    /// Of one leg, in microseconds.
    pub rtt_leg: MetricSums,
    /// Percent.
    pub packet_loss: MetricSums,
    /// As seen here, in milliseconds.
    pub jitter_measured: MetricSums,
}

impl Quality {
    /// What came in since an earlier moment.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            mos: self.mos.since(&before.mos),
            jitter: self.jitter.since(&before.jitter),
            rtt_end_to_end: self.rtt_end_to_end.since(&before.rtt_end_to_end),
            rtt_leg: self.rtt_leg.since(&before.rtt_leg),
            packet_loss: self.packet_loss.since(&before.packet_loss),
            jitter_measured: self.jitter_measured.since(&before.jitter_measured),
        }
    }
}

impl From<&QualityCount> for Quality {
    fn from(count: &QualityCount) -> Self {
        Self {
            mos: MetricSums::new(count.mos, 10.0),
            jitter: MetricSums::new(count.jitter, 1.0),
            rtt_end_to_end: MetricSums::new(count.rtt_end_to_end, 1.0),
            rtt_leg: MetricSums::new(count.rtt_leg, 1.0),
            packet_loss: MetricSums::new(count.packet_loss, 1.0),
            jitter_measured: MetricSums::new(count.jitter_measured, 1.0),
        }
    }
}

impl MetricSums {
    /// What came in since an earlier moment.
    fn since(&self, before: &Self) -> Self {
        Self {
            total: self.total - before.total,
            total2: self.total2 - before.total2,
            samples: self.samples.saturating_sub(before.samples),
        }
    }

    fn new(count: MetricCount, scale: f64) -> Self {
        Self {
            total: count.total as f64 / scale,
            total2: count.total2 as f64 / (scale * scale),
            samples: count.samples,
        }
    }

    /// Mean of the samples; 0 when there are none.
    pub fn average(&self) -> f64 {
        if self.samples == 0 { 0.0 } else { self.total / self.samples as f64 }
    }

    /// Standard deviation of the samples; 0 when there are none.
    pub fn deviation(&self) -> f64 {
        if self.samples == 0 {
            return 0.0;
        }
        let mean = self.average();
        (self.total2 / self.samples as f64 - mean * mean).max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_counted_in_tenths() {
        let mos = MetricCount { total: 84, total2: 3530, samples: 2 };
        let quality = Quality::from(&QualityCount { mos, jitter: mos, ..QualityCount::default() });
        assert_eq!((quality.mos.average(), quality.mos.total2), (4.2, 35.3));
        assert_eq!(quality.jitter.average(), 42.0);
    }

    #[test]
    fn no_samples_have_average_and_deviation_zero() {
        let none = MetricSums::default();
        assert_eq!((none.average(), none.deviation()), (0.0, 0.0));
        let some = MetricSums { total: 12.0, total2: 80.0, samples: 2 };
        assert_eq!((some.average(), some.deviation()), (6.0, 2.0));
    }
}

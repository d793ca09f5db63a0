//! Sums of quality measurements: mean opinion score, jitter, round-trip time, loss.
//!
//! Quality is not measured yet, so these are the sums of no samples; reports have them because their readers expect the fields.

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

impl MetricSums {
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
    fn no_samples_have_average_and_deviation_zero() {
        let none = MetricSums::default();
        assert_eq!((none.average(), none.deviation()), (0.0, 0.0));
        let some = MetricSums { total: 12.0, total2: 80.0, samples: 2 };
        assert_eq!((some.average(), some.deviation()), (6.0, 2.0));
    }
}

//! Sums over calls that have ended.

use std::time::Duration;

/// The class in which an ended call counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndClass {
    Timeout,
    SilentTimeout,
    FinalTimeout,
    OfferTimeout,
    /// Deleted by signalling.
    Regular,
    /// By the operator, or because the daemon stops.
    Forced,
}

/// What is remembered of an ended call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedCall {
    pub class: EndClass,
    /// Of another instance: only `FinalTimeout` counts.
    pub foreign: bool,
    pub duration: Duration,
    /// Streams whose opposite direction had packets and that had none.
    pub one_way: u64,
    /// Streams that had no packets, and neither had the opposite direction.
    pub no_way: u64,
}

/// The sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallTotals {
    pub managed: u64,
    pub timeout: u64,
    pub silent_timeout: u64,
    pub final_timeout: u64,
    pub offer_timeout: u64,
    pub regular: u64,
    pub forced: u64,
    pub one_way: u64,
    pub no_way: u64,
    duration_us: u64,
    /// Square microseconds do not fit into 64 bits: a call of two hours would use them up.
    duration2_us2: u128,
}

impl CallTotals {
    pub fn add(&mut self, call: &EndedCall) {
        let class = match call.class {
            EndClass::FinalTimeout => &mut self.final_timeout,
            _ if call.foreign => return,
            EndClass::Timeout => &mut self.timeout,
            EndClass::SilentTimeout => &mut self.silent_timeout,
            EndClass::OfferTimeout => &mut self.offer_timeout,
            EndClass::Regular => &mut self.regular,
            EndClass::Forced => &mut self.forced,
        };
        *class += 1;
        if call.foreign {
            return;
        }
        let microseconds = u64::try_from(call.duration.as_micros()).unwrap_or(u64::MAX);
        self.managed += 1;
        self.one_way += call.one_way;
        self.no_way += call.no_way;
        self.duration_us = self.duration_us.saturating_add(microseconds);
        self.duration2_us2 =
            self.duration2_us2.saturating_add(u128::from(microseconds) * u128::from(microseconds));
    }

    /// Seconds of all calls together.
    pub fn total_duration(&self) -> f64 {
        self.duration_us as f64 / 1e6
    }

    /// Sum of the squares of the durations, in square seconds.
    pub fn total_duration2(&self) -> f64 {
        self.duration2_us2 as f64 / 1e12
    }

    /// Seconds of a call on average.
    pub fn average_duration(&self) -> f64 {
        if self.managed == 0 { 0.0 } else { self.total_duration() / self.managed as f64 }
    }

    /// Standard deviation of the durations in seconds.
    pub fn duration_deviation(&self) -> f64 {
        if self.managed == 0 {
            return 0.0;
        }
        let mean = self.average_duration();
        (self.total_duration2() / self.managed as f64 - mean * mean).max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(class: EndClass, seconds: u64) -> EndedCall {
        EndedCall { class, foreign: false, duration: Duration::from_secs(seconds), one_way: 0, no_way: 0 }
    }

    #[test]
    fn each_call_counts_in_one_class() {
        let mut totals = CallTotals::default();
        for class in [
            EndClass::Timeout,
            EndClass::SilentTimeout,
            EndClass::FinalTimeout,
            EndClass::OfferTimeout,
            EndClass::Regular,
            EndClass::Forced,
        ] {
            totals.add(&ended(class, 0));
        }
        let CallTotals {
            managed,
            timeout,
            silent_timeout,
            final_timeout,
            offer_timeout,
            regular,
            forced,
            ..
        } = totals;
        assert_eq!(managed, 6);
        let classes = [timeout, silent_timeout, final_timeout, offer_timeout, regular, forced];
        assert_eq!(classes, [1; 6]);
    }

    #[test]
    fn of_foreign_calls_only_the_final_time_out_counts() {
        let mut totals = CallTotals::default();
        for class in [EndClass::FinalTimeout, EndClass::Regular, EndClass::Forced] {
            totals.add(&EndedCall { foreign: true, one_way: 1, ..ended(class, 5) });
        }
        assert_eq!(totals, CallTotals { final_timeout: 1, ..CallTotals::default() });
    }

    #[test]
    fn durations_have_sum_squares_average_and_deviation() {
        let mut totals = CallTotals::default();
        assert_eq!((totals.average_duration(), totals.duration_deviation()), (0.0, 0.0));
        for seconds in [2, 4, 4, 4, 5, 5, 7, 9] {
            totals.add(&ended(EndClass::Regular, seconds));
        }
        assert_eq!((totals.total_duration(), totals.total_duration2()), (40.0, 232.0));
        assert_eq!((totals.average_duration(), totals.duration_deviation()), (5.0, 2.0));
    }
}

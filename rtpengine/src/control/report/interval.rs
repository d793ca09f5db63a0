//! What happened within one interval of Graphite.

use crate::control::ng::command::{COMMANDS, ClientCounters, Extremes};
use crate::control::statistics::Report;
use crate::media::stats::TrafficCount;
use crate::statistics::CallTotals;

/// Least, most and mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    pub min: f64,
    pub max: f64,
    pub average: f64,
}

/// The numbers of one interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IntervalReport {
    /// Seconds that a request took, by command.
    pub times: Vec<Spread>,
    /// Requests in a second, by command.
    pub rates: Vec<Spread>,
    /// Seconds of all calls together.
    pub call_seconds: f64,
    /// Seconds of the calls that ended, on average.
    pub average_call: f64,
    /// Own calls at once.
    pub sessions: (u64, u64),
    pub ended: EndedCalls,
    pub relayed: TrafficCount,
    pub kernel: TrafficCount,
    pub rejected: u64,
}

/// Calls and streams that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndedCalls {
    pub forced: u64,
    pub regular: u64,
    pub timeout: u64,
    pub silent_timeout: u64,
    pub final_timeout: u64,
    pub offer_timeout: u64,
    pub no_way: u64,
    pub one_way: u64,
}

/// Looks once a second, reports once an interval.
#[derive(Debug, Default)]
pub struct IntervalMeter {
    base: Option<Base>,
    /// Requests until the last second.
    last: ClientCounters,
    seconds: Vec<[u64; COMMANDS.len()]>,
    sessions: Option<(u64, u64)>,
    call_seconds: u64,
}

#[derive(Debug)]
struct Base {
    commands: ClientCounters,
    calls: CallTotals,
    relayed: TrafficCount,
    kernel: TrafficCount,
    rejected: u64,
}

impl IntervalMeter {
    /// A second has passed.
    pub fn second(&mut self, report: &Report) {
        self.base.get_or_insert_with(|| Base::of(report));
        let count = |index: usize| {
            let (now, before) = (&report.total.commands[index], &self.last.commands[index]);
            now.count.saturating_sub(before.count)
        };
        self.seconds.push(std::array::from_fn(count));
        self.last = report.total.clone();
        let own = report.gauges.sessions.own;
        let (least, most) = self.sessions.unwrap_or((own, own));
        self.sessions = Some((least.min(own), most.max(own)));
        self.call_seconds += own;
    }

    /// An interval has passed: what was in it. `extremes` are the shortest and longest times of its requests.
    pub fn interval(&mut self, report: &Report, extremes: &[Extremes]) -> IntervalReport {
        let base = self.base.replace(Base::of(report)).unwrap_or_else(|| Base::of(report));
        let seconds = std::mem::take(&mut self.seconds);
        let times = (0..COMMANDS.len()).map(|index| {
            let (now, before) = (&report.total.commands[index], &base.commands.commands[index]);
            let count = now.count.saturating_sub(before.count);
            if count == 0 {
                return Spread::default();
            }
            let extremes = extremes.get(index).copied().unwrap_or_default();
            let spent = now.duration.saturating_sub(before.duration).as_secs_f64();
            Spread {
                min: extremes.shortest.as_secs_f64(),
                max: extremes.longest.as_secs_f64(),
                average: spent / count as f64,
            }
        });
        let rates = (0..COMMANDS.len()).map(|index| {
            let counts = || seconds.iter().map(|second| second[index]);
            Spread {
                min: counts().min().unwrap_or(0) as f64,
                max: counts().max().unwrap_or(0) as f64,
                average: counts().sum::<u64>() as f64 / seconds.len().max(1) as f64,
            }
        });
        let (calls, before) = (&report.calls, &base.calls);
        let ended = calls.managed.saturating_sub(before.managed);
        IntervalReport {
            times: times.collect(),
            rates: rates.collect(),
            call_seconds: std::mem::take(&mut self.call_seconds) as f64,
            average_call: match ended {
                0 => 0.0,
                ended => (calls.total_duration() - before.total_duration()) / ended as f64,
            },
            sessions: self.sessions.take().unwrap_or_default(),
            ended: EndedCalls {
                forced: calls.forced.saturating_sub(before.forced),
                regular: calls.regular.saturating_sub(before.regular),
                timeout: calls.timeout.saturating_sub(before.timeout),
                silent_timeout: calls.silent_timeout.saturating_sub(before.silent_timeout),
                final_timeout: calls.final_timeout.saturating_sub(before.final_timeout),
                offer_timeout: calls.offer_timeout.saturating_sub(before.offer_timeout),
                no_way: calls.no_way.saturating_sub(before.no_way),
                one_way: calls.one_way.saturating_sub(before.one_way),
            },
            relayed: growth(report.relayed, base.relayed),
            kernel: growth(report.kernel, base.kernel),
            rejected: report.rejected.saturating_sub(base.rejected),
        }
    }
}

impl Base {
    fn of(report: &Report) -> Self {
        Self {
            commands: report.total.clone(),
            calls: report.calls.clone(),
            relayed: report.relayed,
            kernel: report.kernel,
            rejected: report.rejected,
        }
    }
}

fn growth(now: TrafficCount, before: TrafficCount) -> TrafficCount {
    TrafficCount {
        packets: now.packets.saturating_sub(before.packets),
        octets: now.octets.saturating_sub(before.octets),
        errors: now.errors.saturating_sub(before.errors),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_interval_has_what_happened_since_the_last_one() {
        let mut meter = IntervalMeter::default();
        let mut report = Report::default();
        meter.second(&report);
        meter.interval(&report, &[]);
        for (sessions, offers) in [(3, 10), (5, 10), (1, 40)] {
            report.gauges.sessions.own = sessions;
            report.total.commands[1].count += offers;
            report.total.commands[1].duration += Duration::from_millis(offers);
            report.rejected += 1;
            report.relayed.packets += 50;
            meter.second(&report);
        }
        let mut extremes = [Extremes::default(); COMMANDS.len()];
        extremes[1] = Extremes { shortest: Duration::from_micros(500), longest: Duration::from_millis(7) };
        let interval = meter.interval(&report, &extremes);
        assert_eq!(interval.rates[1], Spread { min: 10.0, max: 40.0, average: 20.0 });
        assert_eq!(interval.times[1], Spread { min: 0.0005, max: 0.007, average: 0.001 });
        assert_eq!((interval.sessions, interval.call_seconds), ((1, 5), 9.0));
        assert_eq!((interval.rejected, interval.relayed.packets), (3, 150));
        meter.second(&report);
        let quiet = meter.interval(&report, &extremes);
        assert_eq!(
            (quiet.times[1], quiet.rates[1], quiet.rejected),
            (Spread::default(), Spread::default(), 0)
        );
    }
}

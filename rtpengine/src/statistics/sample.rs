//! Rates: what the last second brought.

use std::collections::HashMap;
use std::time::Instant;

use crate::media::stats::TrafficCount;
use crate::media::totals::{ChainCount, PlaneTotals};

/// Per second, as of the last tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Packets, octets and errors relayed in user space.
    pub user: TrafficCount,
    /// Packets and octets forwarded by the kernel.
    pub kernel: TrafficCount,
    pub media: MediaActivity,
    /// Chains with traffic in the last second.
    pub chains: HashMap<String, ChainRate>,
}

/// Media sections by where their packets of the last second went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaActivity {
    pub user: u64,
    pub kernel: u64,
    pub mixed: u64,
}

impl Rates {
    /// User space and kernel together.
    pub fn total(&self) -> TrafficCount {
        let mut sum = self.user;
        sum += self.kernel;
        sum
    }
}

/// What a chain of codecs did in the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainRate {
    pub packets: u64,
    pub octets: u64,
    pub samples: u64,
}

/// Takes differences.
#[derive(Debug, Default)]
pub struct Sampler {
    before: Option<(Instant, [TrafficCount; 2], HashMap<String, ChainCount>)>,
    rates: Rates,
}

impl Sampler {
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Takes the present totals; the rates are those since the last call.
    pub fn sample(&mut self, now: Instant, plane: &PlaneTotals, media: MediaActivity) {
        let traffic = [plane.relayed(), plane.kernel()];
        let chains: HashMap<_, _> =
            plane.chains.iter().map(|chain| (chain.name.clone(), chain.clone())).collect();
        if let Some((at, before, chains_before)) = &self.before {
            let elapsed_us = now.saturating_duration_since(*at).as_micros().max(1);
            let rate = |before: u64, now: u64| {
                let scaled = u128::from(now.saturating_sub(before)) * 1_000_000 + elapsed_us / 2;
                u64::try_from(scaled / elapsed_us).unwrap_or(u64::MAX)
            };
            let traffic_rate = |before: &TrafficCount, now: &TrafficCount| TrafficCount {
                packets: rate(before.packets, now.packets),
                octets: rate(before.octets, now.octets),
                errors: rate(before.errors, now.errors),
            };
            self.rates.user = traffic_rate(&before[0], &traffic[0]);
            self.rates.kernel = traffic_rate(&before[1], &traffic[1]);
            let nothing = ChainCount::default();
            let chain_rate = |name: &String, now: &ChainCount| {
                let before = chains_before.get(name).unwrap_or(&nothing);
                ChainRate {
                    packets: rate(before.packets, now.packets),
                    octets: rate(before.octets, now.octets),
                    samples: rate(before.samples, now.samples),
                }
            };
            let rated = chains.iter().map(|(name, now)| (name.clone(), chain_rate(name, now)));
            self.rates.chains = rated.filter(|(_, rate)| *rate != ChainRate::default()).collect();
        }
        self.rates.media = media;
        self.before = Some((now, traffic, chains));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::totals::InterfaceCount;

    fn totals(packets: u64, chain_packets: u64) -> PlaneTotals {
        let ingress = TrafficCount { packets, octets: packets * 172, errors: 0 };
        let chain = ChainCount { name: "a -> b".into(), packets: chain_packets, ..ChainCount::default() };
        PlaneTotals {
            interfaces: vec![InterfaceCount { ingress, ..InterfaceCount::default() }],
            chains: vec![chain],
            ..PlaneTotals::default()
        }
    }

    #[test]
    fn rates_are_differences_by_the_time_that_has_passed() {
        let (mut sampler, start) = (Sampler::default(), Instant::now());
        sampler.sample(start, &totals(1000, 0), MediaActivity::default());
        assert_eq!(sampler.rates().user, TrafficCount::default(), "one look is no rate");
        let media = MediaActivity { user: 2, ..MediaActivity::default() };
        sampler.sample(start + Duration::from_secs(2), &totals(1100, 50), media);
        assert_eq!(sampler.rates().user, TrafficCount { packets: 50, octets: 8600, errors: 0 });
        assert_eq!(sampler.rates().chains["a -> b"].packets, 25);
        assert_eq!(sampler.rates().media, media);
        sampler.sample(start + Duration::from_secs(3), &totals(1100, 50), MediaActivity::default());
        assert_eq!(sampler.rates(), &Rates::default());
    }
}

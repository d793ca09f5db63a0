//! Estimates of the mean opinion score from loss, jitter and round-trip time.

use crate::config::{Mos, MosModel};

/// What a score is estimated from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Impairments {
    pub loss_percent: u8,
    pub jitter_ms: u16,
    /// From end to end; `None` while it is not known.
    pub round_trip_us: Option<u32>,
    /// Clock rate of the codec; 48 kHz is full band.
    pub clock_rate: u32,
}

/// The score in tenths, 10 to 50. `None`: conversational quality cannot be told without a round-trip time.
pub fn score(options: Mos, seen: Impairments) -> Option<u8> {
    let round_trip_us = if options.is_listening { 0 } else { seen.round_trip_us? };
    let (loss, jitter) = (seen.loss_percent, seen.jitter_ms);
    Some(match options.model {
        MosModel::Legacy => from_rating(rating_legacy(loss, jitter, round_trip_us)),
        MosModel::FullBand if seen.clock_rate == 48_000 => {
            from_rating(rating_full_band(loss, jitter, round_trip_us))
        }
        MosModel::Simplified | MosModel::FullBand => from_rating(rating(loss, jitter, round_trip_us)),
    })
}

/// Ratings R are times 100000. ITU-T G.107, simplified; in integers, because the last tenth depends on it.
fn rating(loss_percent: u8, jitter_ms: u16, round_trip_us: u32) -> i64 {
    let loss = i64::from(loss_percent);
    let r = if loss > 93 { 0 } else { 9320 - 100 * loss };
    let delay_us = i64::from(round_trip_us / 2) + 1000 * i64::from(jitter_ms);
    let mut delay = 24 * delay_us / 1000;
    if delay_us > 177_300 {
        delay += (delay_us - 177_300) * 11 / 100;
    }
    18 * r * r / 10 - 27_900 * r + 112_662_000 - 100 * delay
}

fn rating_legacy(loss_percent: u8, jitter_ms: u16, round_trip_us: u32) -> i64 {
    let effective = f64::from(round_trip_us) / 1000.0 + 2.0 * f64::from(jitter_ms) + 10.0;
    let delay = if effective < 160.0 { effective / 40.0 } else { (effective - 120.0) / 10.0 };
    scaled(93.2 - delay - 2.5 * f64::from(loss_percent))
}

/// ITU-T G.107.2.
fn rating_full_band(loss_percent: u8, jitter_ms: u16, round_trip_us: u32) -> i64 {
    let loss = f64::from(loss_percent);
    let delay_ms = f64::from(round_trip_us) / 2000.0 + f64::from(jitter_ms);
    let equipment = 10.2 + 121.8 * loss / (loss + 4.3);
    let delay = if delay_ms <= 100.0 {
        0.0
    } else {
        let x = (delay_ms / 100.0).log2();
        let sixth_root = |base: f64| (1.0 + base.powi(6)).powf(1.0 / 6.0);
        37.0 * (sixth_root(x) - 3.0 * sixth_root(x / 3.0) + 2.0)
    };
    scaled((148.0 - delay - equipment) / 1.48)
}

fn scaled(rating: f64) -> i64 {
    (rating * 100_000.0) as i64
}

fn from_rating(rating: i64) -> u8 {
    if rating < 0 {
        return 10;
    }
    if rating > 10_000_000 {
        return 45;
    }
    let x = rating / 100;
    let linear = 100 + 35 * x / 10_000;
    let cubic = (x - 60_000) * (100_000 - x) / 1000;
    let cubic = x * cubic / 1000 * 7 / 10_000_000;
    ((linear + cubic) / 10).clamp(10, 45) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_by_model_loss_jitter_and_round_trip() {
        use MosModel::{FullBand, Legacy, Simplified};
        const CASES: &[(MosModel, u32, u8, u16, u32, u8)] = &[
            (Simplified, 8000, 0, 0, 0, 43),
            (Simplified, 8000, 0, 0, 20_000, 43),
            (Simplified, 8000, 3, 10, 100_000, 37),
            (Simplified, 8000, 10, 0, 0, 26),
            (Simplified, 8000, 0, 0, 800_000, 28),
            (Simplified, 8000, 20, 50, 500_000, 15),
            (Legacy, 8000, 0, 0, 0, 44),
            (Legacy, 8000, 0, 20, 200_000, 40),
            (Legacy, 8000, 10, 0, 0, 34),
            (Legacy, 8000, 100, 0, 0, 10),
            (FullBand, 48_000, 0, 0, 0, 43),
            (FullBand, 48_000, 0, 0, 800_000, 35),
            (FullBand, 48_000, 5, 0, 0, 25),
            // Not a full-band codec.
            (FullBand, 8000, 10, 0, 0, 26),
        ];
        for &(model, clock_rate, loss_percent, jitter_ms, round_trip_us, expected) in CASES {
            let seen =
                Impairments { loss_percent, jitter_ms, round_trip_us: Some(round_trip_us), clock_rate };
            let scored = score(Mos { is_listening: false, model }, seen);
            assert_eq!(scored, Some(expected), "{model:?} {seen:?}");
        }
    }

    #[test]
    fn conversational_quality_needs_a_round_trip_time_and_listening_quality_ignores_it() {
        let seen =
            |round_trip_us| Impairments { loss_percent: 0, jitter_ms: 0, round_trip_us, clock_rate: 8000 };
        let listening = Mos { is_listening: true, ..Mos::default() };
        assert_eq!(score(Mos::default(), seen(None)), None);
        assert_eq!(score(listening, seen(None)), Some(43));
        assert_eq!(score(listening, seen(Some(5_000_000))), Some(43));
    }

    #[test]
    fn extreme_impairments_stay_on_the_scale() {
        for model in [MosModel::Simplified, MosModel::Legacy, MosModel::FullBand] {
            for loss_percent in 0..=100 {
                for (jitter_ms, rtt) in [(0, 0), (u16::MAX, u32::MAX)] {
                    let seen =
                        Impairments { loss_percent, jitter_ms, round_trip_us: Some(rtt), clock_rate: 48_000 };
                    let scored = score(Mos { is_listening: false, model }, seen).expect("a score");
                    assert!((10..=45).contains(&scored), "{model:?} {seen:?}: {scored}");
                }
            }
        }
    }
}

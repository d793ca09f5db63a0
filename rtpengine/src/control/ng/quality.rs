//! What receivers report about an SSRC, as members of its entry in `query`.

use crate::media::quality::{QualitySnapshot, Sample};
use crate::proto::value::{Dict, Value};

/// Adds the mean, the extremes and the progression.
pub fn push(entry: &mut Dict, quality: &QualitySnapshot) {
    let mut average = sample(&quality.average);
    average.push("samples", quality.samples);
    entry.push("average MOS", average);
    entry.push("lowest MOS", timed(&quality.lowest));
    entry.push("highest MOS", timed(&quality.highest));
    let mut progression = Dict::new();
    progression.push("interval", u64::from(quality.interval_s));
    let entries: Vec<Value> = quality.progression.iter().map(|sample| timed(sample).into()).collect();
    progression.push("entries", entries);
    entry.push("MOS progression", progression);
}

fn timed(of: &Sample) -> Dict {
    let mut dict = sample(of);
    dict.push("reported at", u64::from(of.at_s));
    dict
}

fn sample(sample: &Sample) -> Dict {
    let mut dict = Dict::with_capacity(6);
    dict.push("MOS", u64::from(sample.mos));
    dict.push("round-trip time", u64::from(sample.round_trip_us));
    dict.push("round-trip time leg", u64::from(sample.round_trip_leg_us));
    dict.push("jitter", u64::from(sample.jitter_ms));
    dict.push("packet loss", u64::from(sample.loss_percent));
    dict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_is_in_the_units_of_the_protocol() {
        let sample = Sample {
            at_s: 1_760_000_000,
            mos: 43,
            loss_percent: 1,
            jitter_ms: 2,
            round_trip_us: 12_100,
            round_trip_leg_us: 5000,
        };
        let quality = QualitySnapshot {
            samples: 7,
            average: sample,
            lowest: sample,
            highest: sample,
            interval_s: 4,
            progression: vec![sample],
        };
        let mut entry = Dict::new();
        push(&mut entry, &quality);
        let number = |dict: &Value, key: &str| match dict {
            Value::Dict(dict) => dict.get(key).and_then(Value::as_int),
            _ => None,
        };
        for (key, own, value) in [
            ("average MOS", "samples", 7),
            ("lowest MOS", "reported at", 1_760_000_000),
            ("highest MOS", "MOS", 43),
        ] {
            let dict = entry.get(key).expect(key);
            let numbers = ["MOS", "round-trip time", "round-trip time leg", "jitter", "packet loss"]
                .map(|key| number(dict, key));
            assert_eq!(numbers, [Some(43), Some(12_100), Some(5000), Some(2), Some(1)], "{key}");
            assert_eq!(number(dict, own), Some(value), "{key}");
        }
        assert_eq!(number(entry.get("MOS progression").expect("progression"), "interval"), Some(4));
    }
}

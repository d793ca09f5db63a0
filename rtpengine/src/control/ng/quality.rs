//! What receivers report about an SSRC, as members of its entry in `query`.

use crate::media::quality::{QualitySnapshot, Sample};
use crate::proto::value::TreeWriter;

/// Adds the mean, the extremes and the progression.
pub fn write(out: &mut impl TreeWriter, quality: &QualitySnapshot) {
    out.dict("average MOS", |out| {
        sample(out, &quality.average);
        out.number("samples", quality.samples);
    });
    out.dict("lowest MOS", |out| timed(out, &quality.lowest));
    out.dict("highest MOS", |out| timed(out, &quality.highest));
    out.dict("MOS progression", |out| {
        out.number("interval", u64::from(quality.interval_s));
        out.list("entries", &quality.progression, |out, sample| {
            out.begin_dict();
            timed(out, sample);
            out.end_dict();
        });
    });
}

fn timed(out: &mut impl TreeWriter, of: &Sample) {
    sample(out, of);
    out.number("reported at", u64::from(of.at_s));
}

fn sample(out: &mut impl TreeWriter, sample: &Sample) {
    out.number("MOS", u64::from(sample.mos));
    out.number("round-trip time", u64::from(sample.round_trip_us));
    out.number("round-trip time leg", u64::from(sample.round_trip_leg_us));
    out.number("jitter", u64::from(sample.jitter_ms));
    out.number("packet loss", u64::from(sample.loss_percent));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::bencode;
    use crate::proto::value::Value;

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
        let mut octets = b"d".to_vec();
        write(&mut bencode::Writer::new(&mut octets), &quality);
        octets.push(b'e');
        let entry = bencode::decode(&octets).expect("a dictionary");
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

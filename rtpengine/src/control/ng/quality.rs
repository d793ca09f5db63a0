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

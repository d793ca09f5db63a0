//! Silence detection on paths where audio would pass: it is decoded and encoded again towards a party that takes comfort noise from a
//! party that does not send it.

use std::sync::Arc;

use codec::def::Kind;
use codec::graph::{ComfortNoise, TranscodePlan};
use codec::{EncoderOptions, PayloadFormat};

use super::plan::{EdgePlan, Handling};

/// The plan with silence detection; `None` when nothing changes. `formats` are those of the source and of the sink.
pub fn detect_silence(plan: &EdgePlan, [from, to]: [&[PayloadFormat]; 2]) -> Option<EdgePlan> {
    let noise = |formats: &[PayloadFormat], clock_rate| {
        let found = formats.iter().find(|f| f.kind() == Kind::ComfortNoise && f.clock_rate == clock_rate);
        found.map(|f| f.payload_type)
    };
    let mut changed = None;
    for source in from.iter().filter(|source| source.kind() == Kind::Audio) {
        let listed = plan.by_payload_type.iter().find(|(pt, _)| *pt == source.payload_type);
        let handling = listed.map_or(&plan.default, |(_, handling)| handling);
        let Handling::Forward { payload_type } = handling else { continue };
        let payload_type = payload_type.unwrap_or(source.payload_type);
        let Some(sink) = to.iter().find(|f| f.payload_type == payload_type && f.same_codec(source)) else {
            continue;
        };
        let Some(noise_type) = noise(to, sink.clock_rate) else { continue };
        let is_possible = sink.def().is_some_and(|def| def.can_encode() && def.can_decode());
        if noise(from, source.clock_rate).is_some() || !is_possible {
            continue;
        }
        let noise = ComfortNoise { from: None, to: Some(noise_type) };
        let transcode = TranscodePlan {
            noise,
            ..TranscodePlan::new(source.clone(), sink.clone(), EncoderOptions::default())
        };
        let edge = changed.get_or_insert_with(|| plan.clone());
        edge.by_payload_type.retain(|(pt, _)| *pt != source.payload_type);
        edge.by_payload_type.push((source.payload_type, Handling::Transcode(Arc::new(transcode))));
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::plan::StreamId;

    #[test]
    fn only_towards_who_takes_noise_from_who_does_not_send_it() {
        let plan = EdgePlan::new(StreamId(1), StreamId(2));
        let pcma = PayloadFormat::new(8, "PCMA", 8000, 1);
        let noise = PayloadFormat::new(13, "CN", 8000, 1);
        let with = [pcma.clone(), noise.clone()];
        let without = [pcma];
        let detected = detect_silence(&plan, [&without, &with]).unwrap();
        let [(8, Handling::Transcode(transcode))] = detected.by_payload_type.as_slice() else {
            panic!("not transcoded")
        };
        assert_eq!(transcode.noise.to, Some(13));
        for formats in [[&with[..], &with[..]], [&with[..], &without[..]], [&without[..], &without[..]]] {
            assert!(detect_silence(&plan, formats).is_none());
        }
    }
}

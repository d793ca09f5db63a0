//! What the codecs of this machine are, for whoever prepares its use: implementation, licence, directions, and what a frame costs here.

use std::time::Instant;

use crate::coder::{DecoderOptions, EncoderOptions};
use crate::def::{self, CodecDef};
use crate::{packet_time_ms, self_test};

/// One codec.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The definition.
    pub def: &'static CodecDef,
    /// Packet time that was measured, in ms; 0 when nothing was.
    pub ptime_ms: u16,
    /// Nanoseconds that encoding a packet takes.
    pub encode_ns: Option<u64>,
    /// Nanoseconds that decoding it takes.
    pub decode_ns: Option<u64>,
}

impl PartialEq for CodecDef {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// All codecs in the order of the table, measured: takes up to a second.
pub fn measured() -> Vec<Entry> {
    def::all().iter().map(measure).collect()
}

/// Packets of a run, and runs of which the best counts.
const PACKETS: u32 = 8;
const RUNS: u32 = 4;

fn measure(def: &'static CodecDef) -> Entry {
    let mut entry = Entry { def, ptime_ms: 0, encode_ns: None, decode_ns: None };
    if def.kind.is_supplemental() || !def.can_decode() {
        return entry;
    }
    let format = self_test::sample_format(def);
    let options = EncoderOptions::default();
    entry.ptime_ms = packet_time_ms(&format, &options);
    let Ok(mut decoder) = def.family.new_decoder(&format, &DecoderOptions::default()) else { return entry };
    let mut samples = Vec::new();
    let mut payloads: Vec<Vec<u8>> = Vec::new();
    if let Ok(mut encoder) = def.family.new_encoder(&format, &options) {
        let rate = encoder.sample_rate() as usize;
        let frame_values = encoder.frame_samples() * usize::from(encoder.channels());
        let frames = (rate * usize::from(entry.ptime_ms) / 1000 / encoder.frame_samples().max(1)).max(1);
        let speech: Vec<i16> = (0..frame_values * frames)
            .map(|n| ((n as f64 * 0.13).sin() * 6000.0 + (n as f64 * 0.71).sin() * 2000.0) as i16)
            .collect();
        entry.encode_ns = best_of_runs(|_| {
            let mut payload = Vec::new();
            let fits = speech.chunks_exact(frame_values).all(|f| encoder.encode(f, &mut payload).is_ok());
            payloads.push(payload);
            fits
        });
        payloads.retain(|payload| !payload.is_empty());
    } else {
        payloads.extend(def.family.samples_of_payloads().first().map(|(payload, _)| payload.to_vec()));
    }
    if !payloads.is_empty() {
        entry.decode_ns = best_of_runs(|n| {
            samples.clear();
            payloads
                .get(n % payloads.len())
                .is_some_and(|payload| decoder.decode(payload, &mut samples).is_ok())
        });
    }
    entry
}

/// Nanoseconds of one call; `None` when one of them fails.
fn best_of_runs(mut run: impl FnMut(usize) -> bool) -> Option<u64> {
    let mut best = None;
    for _ in 0..RUNS {
        let start = Instant::now();
        if !(0..PACKETS as usize).all(&mut run) {
            return None;
        }
        let each = (start.elapsed() / PACKETS).as_nanos() as u64;
        best = Some(best.map_or(each, |best: u64| best.min(each)));
    }
    best
}

/// The entries as a JSON array, one line each.
pub fn json(entries: &[Entry]) -> String {
    let number = |n: Option<u64>| n.map_or_else(|| "null".to_owned(), |n| n.to_string());
    let line = |entry: &Entry| {
        let Entry { def, ptime_ms, encode_ns, decode_ns } = entry;
        let origin = def.origin();
        // None of these texts has characters that JSON writes otherwise.
        format!(
            r#"  {{"name":"{}","status":"{}","encode":{},"decode":{},"clock_rate":{},"channels":{},"implementation":"{}","licence":"{}","ptime_ms":{ptime_ms},"encode_ns":{},"decode_ns":{}}}"#,
            def.name,
            def.status(),
            def.can_encode(),
            def.can_decode(),
            def.clock_rate,
            def.channels,
            origin.implementation,
            origin.licence,
            number(*encode_ns),
            number(*decode_ns),
        )
    };
    let lines: Vec<String> = entries.iter().map(line).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_that_works_has_a_cost_and_an_origin() {
        let entries = measured();
        assert_eq!(entries.len(), def::all().len());
        for entry in entries.iter().filter(|entry| !entry.def.kind.is_supplemental()) {
            let name = entry.def.name;
            assert_eq!(entry.encode_ns.is_some(), entry.def.can_encode(), "{name}");
            assert_eq!(entry.decode_ns.is_some(), entry.def.can_decode(), "{name}");
            assert!(!entry.def.can_decode() || !entry.def.origin().licence.is_empty(), "{name}");
        }
        let text = json(&entries);
        assert_eq!(text.lines().count(), entries.len() + 2);
        assert!(text.contains(r#""name":"PCMU","status":"fully supported","encode":true"#), "{text}");
    }
}

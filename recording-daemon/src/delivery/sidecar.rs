//! The description beside each output: who spoke when, what was lost or paused, and the checksums of all outputs.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use media_store::sink::s3::hex;
use serde_json::{Value, json};

use crate::metadata::parse_metadata;
use crate::recording::{OutputState, Recording};

/// Writes the descriptions of all outputs, replacing older ones.
pub(super) fn write(recording: &Recording) -> io::Result<()> {
    for output in recording.outputs.iter().filter(|output| output.state == OutputState::Complete) {
        let mut text = serde_json::to_string_pretty(&description(recording, &output.name))?;
        text.push('\n');
        let path = output.sidecar();
        let mut new = path.clone().into_os_string();
        new.push(".new");
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(&new, text)?;
        std::fs::rename(new, path)?;
    }
    Ok(())
}

fn description(recording: &Recording, this: &str) -> Value {
    let parties: Vec<Value> = recording
        .parties
        .iter()
        .map(|party| {
            json!({"number": party.number, "tag": party.tag, "label": party.label, "metadata": party.metadata})
        })
        .collect();
    let outputs: Vec<Value> = recording
        .outputs
        .iter()
        .filter(|output| output.state == OutputState::Complete)
        .map(|output| {
            json!({
                "name": output.name,
                "kind": output.kind,
                "ssrc": output.ssrc,
                "party": output.party,
                "label": output.label,
                "format": output.format,
                "sample-rate": output.sample_rate,
                "channels": output.channels,
                "start": output.start,
                "end": output.end,
                "length": output.seconds(),
                "sha256": output.sha256,
                "delivered": output.delivered,
            })
        })
        .collect();
    let metadata: Vec<Value> = parse_metadata(&recording.metadata)
        .into_iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    json!({
        "recording": recording.id,
        "call-id": recording.call_id,
        "state": recording.end_state(),
        "reasons": recording.reasons(),
        "start": recording.start,
        "end": recording.end,
        "length": recording.end.map(|end| end - recording.start),
        "this": this,
        "metadata": metadata,
        "parties": parties,
        "sources": recording.sources,
        "pauses": recording.pauses,
        "outputs": outputs,
    })
}

/// Checksum of a file.
pub(super) fn sha256_of_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut buf = vec![0; 1 << 20];
    loop {
        let got = file.read(&mut buf)?;
        if got == 0 {
            return Ok(hex(context.finish().as_ref()));
        }
        context.update(buf.get(..got).unwrap_or_default());
    }
}

/// Checksum of octets.
pub(super) fn sha256(octets: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&SHA256, octets).as_ref())
}

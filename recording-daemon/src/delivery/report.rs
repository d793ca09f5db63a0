//! The one report about the end of each recording: a line in the log, and a line of JSON in the report file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::json;

use super::rows::Origin;
use crate::recording::{OutputState, Recording};

/// How far back a report is looked for that a process may have written right before it died.
const LOOK_BACK: u64 = 4 << 20;

/// Whether the report may have been made already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Earlier {
    Impossible,
    Possible,
}

impl From<Origin> for Earlier {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::New => Earlier::Impossible,
            Origin::Interrupted => Earlier::Possible,
        }
    }
}

/// Reports. With a file, a recording that is in it already is not reported again.
pub(super) fn report(recording: &Recording, file: Option<&Path>, earlier: Earlier) -> io::Result<()> {
    if let Some(path) = file {
        if earlier == Earlier::Possible && contains(path, &recording.id)? {
            return Ok(());
        }
        append(recording, path)?;
    }
    let outputs = recording.outputs.iter().filter(|output| output.state == OutputState::Complete).count();
    let (id, call_id, state) = (&recording.id, &recording.call_id, recording.end_state().as_str());
    let reasons = recording.reasons();
    if reasons.is_empty() {
        tracing::info!("Recording {id} of call '{call_id}' ended: {state} ({outputs} outputs)");
    } else {
        tracing::warn!(
            "Recording {id} of call '{call_id}' ended: {state} ({outputs} outputs): {}",
            reasons.join("; ")
        );
    }
    Ok(())
}

fn append(recording: &Recording, path: &Path) -> io::Result<()> {
    let outputs: Vec<_> = recording
        .outputs
        .iter()
        .filter(|output| output.state == OutputState::Complete)
        .map(|output| json!({"file": output.path, "length": output.seconds(), "sha256": output.sha256}))
        .collect();
    let mut line = json!({
        "recording": recording.id,
        "call-id": recording.call_id,
        "state": recording.end_state(),
        "reasons": recording.reasons(),
        "start": recording.start,
        "end": recording.end,
        "outputs": outputs,
    })
    .to_string();
    line.push('\n');
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let before = file.metadata()?.len();
    let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_data());
    if written.is_err() {
        // Half a line would be taken for a report.
        let _ = file.set_len(before);
    }
    written
}

fn contains(path: &Path, id: &str) -> io::Result<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOOK_BACK)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let wanted = format!("{{\"recording\":\"{id}\"");
    Ok(end.windows(wanted.len()).any(|part| part == wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_reported_once() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("ends");
        let recordings = [Recording::new("a", 1.0), Recording::new("b", 2.0)];
        for recording in &recordings {
            report(recording, Some(&path), Earlier::Possible).expect("report");
        }
        report(&recordings[0], Some(&path), Earlier::Possible).expect("report");
        let text = std::fs::read_to_string(&path).expect("read");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[1]["recording"], &lines[1]["state"]),
            (&json!(recordings[1].id), &json!("complete"))
        );
    }
}

//! The state of a recording as it is kept on disk: `<output-dir>/.state/<id>.json`.
//!
//! While the call goes on it is replaced whenever an output is opened or the timeline moves, so that the next run can go
//! on with the same outputs after this one was killed. When the call is over it says what has still to be delivered. It is
//! removed when the end has been reported.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::recording::Recording;

/// Directory of the states below the output directory.
const DIRECTORY: &str = ".state";

/// A recording that was interrupted, or whose outputs are being delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedState {
    /// What is known about it.
    pub recording: Recording,
    /// How to go on; unset when the call is over.
    pub progress: Option<Progress>,
}

/// Where an interrupted recording was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Wall-clock time of the zero of the call's clock, nanoseconds since the epoch.
    pub epoch_unix_ns: i64,
    /// The mixed output, if it was opened.
    pub mixed: Option<MixedState>,
    /// Single outputs.
    pub singles: Vec<SingleState>,
    /// Where the audio of each SSRC lies.
    pub anchors: Vec<AnchorState>,
}

/// A mixed output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixedState {
    /// Position among the recording's outputs.
    pub output: usize,
    /// Position of the first frame of the file.
    pub origin: i64,
    /// Position of the first audio of each input.
    pub active: Vec<Option<i64>>,
    /// SSRC that owns each input.
    pub owners: Vec<Option<u32>>,
}

/// A single output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SingleState {
    /// Synchronisation source.
    pub ssrc: u32,
    /// Number of the stream.
    pub stream: u32,
    /// Number of the participant who sends it.
    #[serde(default)]
    pub party: Option<u32>,
    /// Position among the recording's outputs.
    pub output: usize,
}

/// An anchor of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorState {
    /// Synchronisation source.
    pub ssrc: u32,
    /// Number of the stream.
    pub stream: u32,
    /// Number of the participant who sends it.
    #[serde(default)]
    pub party: Option<u32>,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Clock rate of the timestamp, in Hz.
    pub clock_rate: u32,
    /// Its place on the clock of the call, in nanoseconds.
    pub time: i64,
    /// How much longer than it should be a tick is, in parts per thousand million.
    #[serde(default)]
    pub drift_ppb: i64,
}

/// Where the state of a recording is kept.
pub fn path(output_dir: &Path, id: &str) -> PathBuf {
    output_dir.join(DIRECTORY).join(format!("{id}.json"))
}

/// Replaces the state of a recording; a reader finds the old or the new one.
pub fn save(output_dir: &Path, state: &SavedState) -> io::Result<()> {
    let path = path(output_dir, &state.recording.id);
    let new = path.with_extension("new");
    let text = serde_json::to_vec(state)?;
    match fs::write(&new, &text) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            use std::os::unix::fs::DirBuilderExt;
            fs::DirBuilder::new().recursive(true).mode(0o700).create(output_dir.join(DIRECTORY))?;
            fs::write(&new, &text)?;
        }
        other => other?,
    }
    fs::rename(new, path)
}

/// All states that earlier runs left. What cannot be read is reported and skipped.
pub fn load_all(output_dir: &Path) -> Vec<SavedState> {
    load_all_but(output_dir, &HashSet::new())
}

/// All states of recordings whose ids are not among `known`.
pub fn load_all_but(output_dir: &Path, known: &HashSet<String>) -> Vec<SavedState> {
    let Ok(entries) = fs::read_dir(output_dir.join(DIRECTORY)) else { return Vec::new() };
    let mut states = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "new") && known.is_empty() {
            // A process died while it wrote it.
            let _ = fs::remove_file(&path);
        }
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        if path.file_stem().and_then(|id| id.to_str()).is_some_and(|id| known.contains(id)) {
            continue;
        }
        match fs::read(&path).and_then(|text| Ok(serde_json::from_slice::<SavedState>(&text)?)) {
            Ok(state) => states.push(state),
            Err(error) => tracing::warn!("Ignoring the recording state '{}': {error}", path.display()),
        }
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_states_are_found_again() {
        let directory = tempfile::tempdir().expect("temporary directory");
        assert_eq!(load_all(directory.path()), []);
        let progress = Progress {
            epoch_unix_ns: 1_795_227_866_664_137_123,
            mixed: Some(MixedState {
                output: 0,
                origin: -17,
                active: vec![Some(-17), None],
                owners: vec![Some(1), None],
            }),
            singles: vec![SingleState { ssrc: 1, stream: 0, party: Some(0), output: 1 }],
            anchors: vec![],
        };
        let recording = Recording::new("call-9%40host-0011223344556677", 1_795_227_866.664_137);
        let mut state = SavedState { recording, progress: Some(progress) };
        save(directory.path(), &state).expect("save");
        state.progress = None;
        save(directory.path(), &state).expect("save again");
        fs::write(directory.path().join(".state/x.json"), "{").expect("damaged state");
        assert_eq!(load_all(directory.path()), [state]);
    }
}

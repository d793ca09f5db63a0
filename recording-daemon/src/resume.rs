//! The state of a running recording as it is kept on disk, so that the next run can go on with the same files after this
//! one was killed: `<output-dir>/.state/<prefix>.json`, replaced whenever an output is opened or the timeline moves,
//! removed when the recording is finished.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Directory of the states below the output directory.
const DIRECTORY: &str = ".state";

/// A recording that was interrupted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallState {
    /// Name of the metafile without `.meta`.
    pub prefix: String,
    /// Call-ID.
    pub call_id: String,
    /// Wall-clock time of the zero of the call's clock, nanoseconds since the epoch.
    pub epoch_unix_ns: i64,
    /// When the recording began, seconds since the epoch; identifies the database row.
    pub start_timestamp: f64,
    /// A database row was made.
    pub in_database: bool,
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
    /// The file.
    pub path: PathBuf,
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
    /// Label of the participant.
    pub label: String,
    /// The file.
    pub path: PathBuf,
}

/// An anchor of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorState {
    /// Synchronisation source.
    pub ssrc: u32,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Clock rate of the timestamp, in Hz.
    pub clock_rate: u32,
    /// Its place on the clock of the call, in nanoseconds.
    pub time: i64,
}

/// Where the state of a recording is kept.
pub fn path(output_dir: &Path, prefix: &str) -> PathBuf {
    output_dir.join(DIRECTORY).join(format!("{prefix}.json"))
}

/// Replaces the state of a recording; a reader finds the old or the new one.
pub fn save(output_dir: &Path, state: &CallState) -> io::Result<()> {
    let path = path(output_dir, &state.prefix);
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
pub fn load_all(output_dir: &Path) -> Vec<CallState> {
    let Ok(entries) = fs::read_dir(output_dir.join(DIRECTORY)) else { return Vec::new() };
    let mut states = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match fs::read(&path).and_then(|text| Ok(serde_json::from_slice::<CallState>(&text)?)) {
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
        let mut state = CallState {
            prefix: "call-9%40host-0011223344556677".into(),
            call_id: "call-9@host".into(),
            epoch_unix_ns: 1_795_227_866_664_137_123,
            start_timestamp: 1_795_227_866.664_137,
            in_database: true,
            mixed: Some(MixedState {
                path: "/out/mix.wav".into(),
                origin: -17,
                active: vec![Some(-17), None],
                owners: vec![Some(1), None],
            }),
            singles: vec![SingleState { ssrc: 1, stream: 0, label: "a".into(), path: "/out/1.wav".into() }],
            anchors: vec![],
        };
        save(directory.path(), &state).expect("save");
        state.anchors.push(AnchorState { ssrc: 1, timestamp: 160, clock_rate: 8000, time: -5 });
        save(directory.path(), &state).expect("save again");
        fs::write(directory.path().join(".state/x.json"), "{").expect("damaged state");
        assert_eq!(load_all(directory.path()), [state]);
    }
}

//! What is known about one recording: plain values that the worker changes, the delivery reads, the state file keeps and
//! the sidecar shows. A recording has one id for life and ends once, in one [`EndState`].

use std::path::{Path, PathBuf};

use media_store::sink::database::OutputKind;
use serde::{Deserialize, Serialize};

/// Why an output in memory is missing.
pub const LOST_IN_MEMORY: &str = "it was lost with the process that wrote it";

/// One recording of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// 32 hexadecimal digits; never used again.
    pub id: String,
    /// Name of the metafile without `.meta`.
    pub prefix: String,
    /// Call-ID.
    pub call_id: String,
    /// When it began, seconds since the epoch.
    pub start: f64,
    /// When it ended.
    pub end: Option<f64>,
    /// Rows are wanted.
    pub in_database: bool,
    /// The call's metadata as they came.
    pub metadata: String,
    /// Participants.
    pub parties: Vec<Party>,
    /// Outputs in the order of their opening; one that was dropped stays.
    pub outputs: Vec<Output>,
    /// Synchronisation sources.
    pub sources: Vec<SourceReport>,
    /// When nothing was to be recorded.
    pub pauses: Vec<Pause>,
    /// Why something is missing.
    pub faults: Vec<String>,
    /// Unset as long as it goes on.
    pub ending: Option<Ending>,
}

/// How a recording ended, as far as signalling is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// Outputs are kept.
    Kept,
    /// Nothing is to be left.
    Discarded,
}

/// The one word that is reported at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndState {
    /// Everything that arrived is in the outputs, and those are where they belong.
    Complete,
    /// Something is missing; the reasons say what.
    Partial,
    /// Thrown away as told.
    Discarded,
    /// There was audio, and no output has any of it.
    Failed,
}

impl EndState {
    /// As it is reported.
    pub fn as_str(self) -> &'static str {
        match self {
            EndState::Complete => "complete",
            EndState::Partial => "partial",
            EndState::Discarded => "discarded",
            EndState::Failed => "failed",
        }
    }
}

/// A participant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Number within the call.
    pub number: u32,
    /// SIP tag.
    pub tag: String,
    /// Label.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Metadata.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
}

/// One output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Whole path, also when it is not a file.
    pub path: PathBuf,
    /// Path below the output directory.
    pub name: String,
    /// Extension of the format.
    pub format: String,
    /// Mixed or single.
    pub kind: OutputKind,
    /// Synchronisation source; 0 for mixed.
    pub ssrc: u32,
    /// Number of the stream; 0 for mixed.
    pub stream: u32,
    /// Number of the participant.
    pub party: Option<u32>,
    /// Label of the participant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// When it was opened, seconds since the epoch.
    pub start: f64,
    /// When it was closed.
    pub end: Option<f64>,
    /// In Hz.
    pub sample_rate: u32,
    /// Interleaved.
    pub channels: u16,
    /// Samples per channel.
    pub frames: u64,
    /// What became of it.
    pub state: OutputState,
    /// Where the encoded audio is.
    pub medium: OutputMedium,
    /// Checksum of the whole output in hexadecimal, once it is known.
    pub sha256: Option<String>,
    /// Who has taken it over, with the address there.
    pub delivered: Vec<(Target, String)>,
    /// Who could not.
    pub refused: Vec<(Target, String)>,
}

/// What became of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputState {
    /// It grows.
    Open,
    /// It has audio and is closed.
    Complete,
    /// It had no audio, or was discarded.
    Dropped,
}

/// Where an output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputMedium {
    /// In a file.
    File,
    /// In memory.
    Memory,
    /// It was in a file or memory and is only elsewhere now.
    Gone,
}

/// Who takes outputs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The file that could not be written before.
    File,
    /// The database: its row, with the content if wanted.
    Database,
    /// HTTP.
    Notify,
    /// A program.
    Command,
    /// S3.
    S3,
    /// Google storage.
    Gcs,
}

impl Target {
    /// In log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Target::File => "file",
            Target::Database => "database",
            Target::Notify => "notification",
            Target::Command => "command",
            Target::S3 => "S3 upload",
            Target::Gcs => "GCS upload",
        }
    }
}

/// What a source sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Synchronisation source.
    pub ssrc: u32,
    /// Number of the stream.
    pub stream: u32,
    /// Number of the participant.
    pub party: Option<u32>,
    /// `NAME/RATE[/CHANNELS]` of everything that was decoded, and of what could not be.
    pub codecs: Vec<String>,
    /// Received.
    pub packets: u64,
    /// Never came.
    pub lost: u64,
    /// Came again, or too late.
    pub duplicates: u64,
    /// Seconds since the epoch.
    pub first: f64,
    /// Seconds since the epoch.
    pub last: f64,
}

/// A time without recording; a mixed output has silence of the same length at `position`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pause {
    /// Seconds since the epoch.
    pub from: f64,
    /// Unset as long as it lasts.
    pub to: Option<f64>,
    /// Seconds from the beginning of the mixed output, if there is one.
    pub position: Option<f64>,
}

impl Recording {
    /// A new recording.
    pub fn new(prefix: &str, start: f64) -> Self {
        let id = format!("{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>());
        Self { id, prefix: prefix.to_owned(), start, ..Self::default() }
    }

    /// The word for its end. Only right when it has ended and everything was delivered.
    pub fn end_state(&self) -> EndState {
        if self.ending == Some(Ending::Discarded) {
            return EndState::Discarded;
        }
        let has_output = self.outputs.iter().any(|output| output.state == OutputState::Complete);
        let is_whole = self.faults.is_empty() && self.outputs.iter().all(|output| output.refused.is_empty());
        match (is_whole, has_output) {
            (true, _) => EndState::Complete,
            (false, true) => EndState::Partial,
            (false, false) => EndState::Failed,
        }
    }

    /// Everything that speaks against [`EndState::Complete`].
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = self.faults.clone();
        for output in &self.outputs {
            for (target, error) in &output.refused {
                reasons.push(format!("{} of '{}' failed: {error}", target.as_str(), output.name));
            }
        }
        reasons
    }

    /// Notes why something is missing, once.
    pub fn add_fault(&mut self, fault: String) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// The process that had outputs in its memory is gone: what nobody has taken over by then is lost.
    pub fn forget_memory(&mut self) {
        for output in self.outputs.iter_mut().filter(|output| output.medium == OutputMedium::Memory) {
            output.medium = OutputMedium::Gone;
            if output.state != OutputState::Dropped && output.delivered.is_empty() {
                output.state = OutputState::Dropped;
                output.refused.push((Target::File, LOST_IN_MEMORY.into()));
            }
        }
    }

    /// The participant of that number.
    pub fn party(&self, number: u32) -> Option<&Party> {
        self.parties.iter().find(|party| party.number == number)
    }
}

impl Output {
    /// Whether a target is done with it, one way or the other.
    pub fn is_settled(&self, target: Target) -> bool {
        let settled = |list: &[(Target, String)]| list.iter().any(|(done, _)| *done == target);
        settled(&self.delivered) || settled(&self.refused)
    }

    /// Last component of its path.
    pub fn file_name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Where its description lies.
    pub fn sidecar(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".json");
        path.into()
    }

    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.frames as f64 / f64::from(self.sample_rate.max(1))
    }
}

/// Name of a path below a directory; the whole path if it is not below.
pub fn name_below(directory: &Path, path: &Path) -> String {
    path.strip_prefix(directory).unwrap_or(path).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(state: OutputState) -> Output {
        Output {
            path: "/out/a.wav".into(),
            name: "a.wav".into(),
            format: "wav".into(),
            kind: OutputKind::Mixed,
            ssrc: 0,
            stream: 0,
            party: None,
            label: String::new(),
            start: 1.0,
            end: None,
            sample_rate: 8000,
            channels: 1,
            frames: 12_000,
            state,
            medium: OutputMedium::File,
            sha256: None,
            delivered: Vec::new(),
            refused: Vec::new(),
        }
    }

    #[test]
    fn the_end_is_one_word_with_reasons() {
        let mut recording = Recording::new("p", 1.0);
        assert_ne!(recording.id, Recording::new("p", 1.0).id);
        recording.ending = Some(Ending::Kept);
        assert_eq!(recording.end_state(), EndState::Complete, "there was nothing to record");
        recording.outputs.push(output(OutputState::Complete));
        assert_eq!(recording.end_state(), EndState::Complete);
        recording.outputs[0].refused.push((Target::S3, "status 500".into()));
        assert_eq!(recording.end_state(), EndState::Partial);
        assert_eq!(recording.reasons(), ["S3 upload of 'a.wav' failed: status 500"]);
        recording.outputs[0] = output(OutputState::Dropped);
        recording.add_fault("disk full".into());
        recording.add_fault("disk full".into());
        assert_eq!((recording.end_state(), recording.reasons().len()), (EndState::Failed, 1));
        recording.ending = Some(Ending::Discarded);
        assert_eq!(recording.end_state(), EndState::Discarded);
    }

    #[test]
    fn memory_of_a_dead_process_is_lost_unless_somebody_has_taken_it_over() {
        let mut recording = Recording::new("p", 1.0);
        for medium in [OutputMedium::Memory, OutputMedium::Memory, OutputMedium::File] {
            recording.outputs.push(Output { medium, ..output(OutputState::Complete) });
        }
        recording.outputs[1].delivered.push((Target::Notify, String::new()));
        recording.forget_memory();
        let states: Vec<_> = recording.outputs.iter().map(|output| output.state).collect();
        assert_eq!(states, [OutputState::Dropped, OutputState::Complete, OutputState::Complete]);
        recording.outputs.truncate(1);
        assert_eq!(recording.end_state(), EndState::Failed);
    }

    #[test]
    fn a_state_survives_being_written() {
        let mut recording = Recording::new("p", 1_795_227_866.664_137);
        recording.outputs.push(output(OutputState::Open));
        recording.outputs[0].delivered.push((Target::Gcs, "x".into()));
        recording.pauses.push(Pause { from: 1.5, to: None, position: Some(0.5) });
        let text = serde_json::to_string(&recording).expect("text");
        assert_eq!(serde_json::from_str::<Recording>(&text).expect("recording"), recording);
        assert_eq!(recording.outputs[0].sidecar(), Path::new("/out/a.wav.json"));
    }
}

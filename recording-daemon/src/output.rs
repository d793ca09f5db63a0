//! One output file: opened when its first audio is there, playable at any moment, completed or removed at the end, and the
//! database row that follows it.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use media_store::container::wav::{WavError, WavFile};
use media_store::sink::file;
use media_store::sink::sqlite::{OutputKind, StreamRow};

use crate::local_time::{LocalTime, unix_seconds};
use crate::metadata::CallInfo;
use crate::pattern::{self, Values};
use crate::settings::OutputSettings;
use crate::store::{Job, Origin, RowToken, StoreHandle};

/// Extension of output files and content of `file_format`.
const FORMAT: &str = "wav";

/// The row of a call and the store that keeps it; `None` when the call is not entered.
pub type CallRow<'a> = Option<(RowToken, &'a StoreHandle)>;

/// What an output contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Mixed or single.
    pub kind: OutputKind,
    /// SSRC; 0 for mixed.
    pub ssrc: u32,
    /// Number of the stream; 0 for mixed.
    pub stream: u32,
    /// Label of the participant.
    pub label: String,
}

/// Sample rate and channels of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioFormat {
    /// In Hz.
    pub sample_rate: u32,
    /// Interleaved.
    pub channels: u16,
}

/// An open output file.
#[derive(Debug)]
pub struct OutputFile {
    wav: WavFile,
    path: PathBuf,
    row: Option<(RowToken, StoreHandle)>,
    pending: Vec<i16>,
    buffer_octets: usize,
    failed: bool,
}

impl OutputFile {
    /// Opens a new file, named after the call and what the file contains, and enters it in the database.
    pub fn create(
        settings: &OutputSettings,
        call: &CallInfo,
        contents: &Contents,
        format: AudioFormat,
        call_row: CallRow<'_>,
    ) -> io::Result<Self> {
        let now = SystemTime::now();
        let (directory, name, extension) = file_name(settings, call, contents, now);
        let (file, path, trouble) =
            file::create(&directory.join(&name), extension, &settings.ownership).map_err(io::Error::other)?;
        if let Some(error) = trouble {
            tracing::warn!("Cannot change mode or owner of '{}': {error}", path.display());
        }
        let wav = WavFile::create(file, format.sample_rate, format.channels)?;
        tracing::info!("Opened output media file '{}' for writing", path.display());
        let row = report_start(call_row, settings, &path, contents, format, Origin::New, unix_seconds(now));
        Ok(Self { wav, path, row, pending: Vec::new(), buffer_octets: settings.buffer_octets, failed: false })
    }

    /// Goes on with a file that an earlier run left.
    pub fn reopen(
        settings: &OutputSettings,
        path: &Path,
        contents: &Contents,
        call_row: CallRow<'_>,
    ) -> Result<Self, WavError> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let start = file.metadata()?.modified().unwrap_or_else(|_| SystemTime::now());
        let wav = WavFile::reopen(file)?;
        tracing::info!("Continuing output media file '{}'", path.display());
        let format = AudioFormat { sample_rate: wav.sample_rate(), channels: wav.channels() };
        let start = unix_seconds(start);
        let row = report_start(call_row, settings, path, contents, format, Origin::Interrupted, start);
        Ok(Self {
            wav,
            path: path.to_owned(),
            row,
            pending: Vec::new(),
            buffer_octets: settings.buffer_octets,
            failed: false,
        })
    }

    /// Appends samples in the file's format.
    pub fn append(&mut self, samples: &[i16]) {
        if self.failed {
            return;
        }
        self.pending.extend_from_slice(samples);
        if self.pending.len() * 2 >= self.buffer_octets {
            self.write_pending();
        }
    }

    /// Writes samples at a frame.
    pub fn write_at(&mut self, frame: u64, samples: &[i16]) {
        if !self.failed {
            let result = self.wav.write_at(frame, samples);
            self.check(result);
        }
    }

    /// Makes the file at least this long, with silence.
    pub fn extend_to(&mut self, frames: u64) {
        if !self.failed {
            let result = self.wav.extend_to(frames);
            self.check(result);
        }
    }

    /// Brings everything into the file, header included.
    pub fn flush(&mut self) {
        self.write_pending();
        if !self.failed {
            let result = self.wav.update_header();
            self.check(result);
        }
    }

    /// Reads written samples back.
    pub fn read_at(&mut self, frame: u64, frames: u64) -> io::Result<Vec<i16>> {
        self.wav.read_at(frame, frames)
    }

    /// Completes the file; removes it when it has no audio.
    pub fn finish(mut self, end: SystemTime) {
        if self.wav.frames() == 0 && self.pending.is_empty() {
            return self.discard();
        }
        self.flush();
        tracing::info!("Closing output media file '{}'", self.path.display());
        if let Some((stream, store)) = self.row {
            store.submit(Job::StreamCompleted { stream, end: unix_seconds(end) });
        }
    }

    /// Removes the file and its row.
    pub fn discard(self) {
        match std::fs::remove_file(&self.path) {
            Ok(()) => tracing::info!("Removed output media file '{}'", self.path.display()),
            Err(error) => {
                tracing::error!("Cannot remove output media file '{}': {error}", self.path.display());
            }
        }
        if let Some((stream, store)) = self.row {
            store.submit(Job::StreamDropped { stream });
        }
    }

    /// Sample rate and channels.
    pub fn format(&self) -> AudioFormat {
        AudioFormat { sample_rate: self.wav.sample_rate(), channels: self.wav.channels() }
    }

    /// Frames in the file, without what is still in memory.
    pub fn frames(&self) -> u64 {
        self.wav.frames()
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write_pending(&mut self) {
        if self.failed || self.pending.is_empty() {
            return;
        }
        let result = self.wav.append(&self.pending);
        self.pending.clear();
        self.check(result);
    }

    fn check(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            tracing::error!(
                "Writing '{}' failed, the rest of this output is lost: {error}",
                self.path.display()
            );
            self.failed = true;
        }
    }
}

fn report_start(
    call_row: CallRow<'_>,
    settings: &OutputSettings,
    path: &Path,
    contents: &Contents,
    format: AudioFormat,
    origin: Origin,
    start_timestamp: f64,
) -> Option<(RowToken, StoreHandle)> {
    let (call, store) = call_row?;
    let stream = store.token();
    let local = path.strip_prefix(&settings.directory).unwrap_or(path);
    store.submit(Job::StreamStarted {
        stream,
        call,
        row: StreamRow {
            local_filename: local.to_string_lossy().into_owned(),
            full_filename: path.to_string_lossy().into_owned(),
            file_format: FORMAT.into(),
            kind: contents.kind,
            stream_id: contents.stream,
            ssrc: contents.ssrc,
            tag_label: contents.label.clone(),
            start_timestamp,
        },
        channels: format.channels,
        sample_rate: format.sample_rate,
        origin,
    });
    Some((stream, store.clone()))
}

/// Directory, name and extension of an output: `RECORDING_FILE` wins, then pattern and directory of the call, then the
/// options.
fn file_name(
    settings: &OutputSettings,
    call: &CallInfo,
    contents: &Contents,
    now: SystemTime,
) -> (PathBuf, String, Option<&'static str>) {
    if let Some(file) = call.names.file.as_deref().filter(|file| !file.is_empty() && !file.contains('\0')) {
        let extension = if file.contains('/') { None } else { Some(FORMAT) };
        let file = if matches!(file, "." | "..") {
            spool::names::percent_encode(file).replace('.', "%2E")
        } else {
            file.into()
        };
        return (settings.directory.clone(), file, extension);
    }
    let stream_type = match contents.kind {
        OutputKind::Mixed => "mix".to_owned(),
        OutputKind::Single => format!("{:08x}", contents.ssrc),
    };
    let values = Values {
        call_id: &call.call_id,
        random_tag: call
            .random_tag
            .as_deref()
            .or_else(|| spool::names::random_tag(&call.parent))
            .unwrap_or_default(),
        stream_type: &stream_type,
        label: &contents.label,
        metadata: &call.metadata,
        time: LocalTime::from_system(now),
    };
    let (name, errors) = pattern::expand(call.names.pattern.as_deref().unwrap_or(&settings.pattern), &values);
    for error in errors {
        tracing::warn!("{error}");
    }
    let directory = call.names.directory.as_ref().map_or_else(|| settings.directory.clone(), PathBuf::from);
    (directory, name.trim_start_matches('/').to_owned(), Some(FORMAT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::MixMethod;

    fn settings(directory: &Path) -> OutputSettings {
        OutputSettings {
            directory: directory.to_owned(),
            pattern: "%c-%r-%t".into(),
            single: true,
            mixed: true,
            resample_to: None,
            mix_method: MixMethod::Direct,
            mix_inputs: 4,
            mix_input: crate::config::MixInput::ByAppearance,
            ownership: file::Ownership::default(),
            buffer_octets: 1000,
        }
    }

    fn contents() -> Contents {
        Contents { kind: OutputKind::Single, ssrc: 0xab, stream: 0, label: String::new() }
    }

    const FORMAT_8K: AudioFormat = AudioFormat { sample_rate: 8000, channels: 1 };

    #[test]
    fn names_asked_for_by_signalling_win() {
        type Asked<'a> = Option<&'a str>;
        let cases: &[(Asked<'_>, Asked<'_>, Asked<'_>, &str)] = &[
            (None, None, None, "/out/c%401-0011223344556677-000000ab.wav"),
            (None, None, Some("x/%t"), "/out/x/000000ab.wav"),
            (None, Some("/other"), None, "/other/c%401-0011223344556677-000000ab.wav"),
            (Some("name"), Some("/other"), Some("x"), "/out/name.wav"),
            (Some("/abs/name"), None, None, "/abs/name"),
            (None, None, Some("/../%t"), "/out/%2E%2E/000000ab.wav"),
        ];
        for (file, directory, pattern, expected) in cases {
            let mut call = CallInfo {
                call_id: "c@1".into(),
                parent: "c%401-0011223344556677".into(),
                ..CallInfo::default()
            };
            call.names.file = file.map(Into::into);
            call.names.directory = directory.map(Into::into);
            call.names.pattern = pattern.map(Into::into);
            let (directory, name, extension) =
                file_name(&settings("/out".as_ref()), &call, &contents(), SystemTime::now());
            let mut full = directory.join(name).into_os_string();
            if let Some(extension) = extension {
                full.push(".");
                full.push(extension);
            }
            assert_eq!(full, *expected);
        }
    }

    #[test]
    fn an_output_without_audio_leaves_no_file() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let call = CallInfo { call_id: "c".into(), ..CallInfo::default() };
        let output = OutputFile::create(&settings(directory.path()), &call, &contents(), FORMAT_8K, None)
            .expect("create");
        let path = output.path().to_owned();
        assert!(path.exists());
        output.finish(SystemTime::now());
        assert!(!path.exists());
    }

    #[test]
    fn an_interrupted_output_is_continued() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let settings = settings(directory.path());
        let call = CallInfo { call_id: "c".into(), ..CallInfo::default() };
        let mut output = OutputFile::create(&settings, &call, &contents(), FORMAT_8K, None).expect("create");
        output.append(&[1; 100]);
        output.flush();
        output.append(&[2; 100]);
        let path = output.path().to_owned();
        std::mem::forget(output);
        let mut again = OutputFile::reopen(&settings, &path, &contents(), None).expect("reopen");
        assert_eq!((again.frames(), again.format()), (100, FORMAT_8K));
        again.append(&[3; 10]);
        again.flush();
        assert_eq!(again.read_at(99, 2).expect("read"), [1, 3]);
    }
}

//! One output: opened when its first audio is there, playable at any moment, completed or removed at the end.
//!
//! Audio that cannot be written – no space, no directory – waits in memory, within a budget that all outputs share, and is
//! written as soon as that works. What exceeds the budget is lost and counted; on a timeline, silence takes its place.

mod budget;
mod name;

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use media_store::container::{AudioFile, ContainerError, Format, Medium};
use media_store::sink::database::OutputKind;
use media_store::sink::file::{self, CreateError, Ownership};

pub use budget::{Budget, Share};
use name::Name;

use crate::local_time::unix_seconds;
use crate::metadata::CallInfo;
use crate::recording::{Output, OutputMedium, OutputState, Recording, name_below};
use crate::settings::OutputSettings;

/// How often the making of a file is tried.
const RETRY: Duration = Duration::from_secs(1);
/// Silence is written in pieces of so many samples.
const SILENCE: [i16; 4096] = [0; 4096];

/// What an output contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Mixed or single.
    pub kind: OutputKind,
    /// SSRC; 0 for mixed.
    pub ssrc: u32,
    /// Number of the stream; 0 for mixed.
    pub stream: u32,
    /// Number of the participant.
    pub party: Option<u32>,
    /// Label of the participant.
    pub label: String,
}

/// Sample rate and channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioFormat {
    /// In Hz.
    pub sample_rate: u32,
    /// Interleaved.
    pub channels: u16,
}

/// An open output.
#[derive(Debug)]
pub struct OutputFile {
    audio: AudioFile,
    place: Place,
    path: PathBuf,
    /// Position among the recording's outputs.
    index: usize,
    ownership: Ownership,
    buffer_octets: usize,
    share: Share,
    /// Frames that are missing in front of the next ones on a timeline.
    owed: u64,
    lost: u64,
    ended: bool,
    /// Why nothing can be written at the moment; said once.
    trouble: Option<String>,
    failed: bool,
}

#[derive(Debug)]
enum Place {
    File,
    /// In memory until a file can be made.
    Waiting {
        name: Name,
        next_try: Instant,
    },
    /// In memory as told, until there is too much of it.
    Memory {
        name: Name,
    },
}

/// What became of an output that was finished.
#[derive(Debug)]
pub enum Finished {
    /// It is where it belongs, or gone.
    Settled,
    /// Its content, which is to be delivered from memory.
    InMemory(Vec<u8>),
    /// Something of it could not be written yet.
    Unwritten(Box<OutputFile>),
}

impl OutputFile {
    /// Begins an output, named after the call and what it contains, and enters it in the recording.
    ///
    /// # Errors
    /// When it can never be written: no encoder, all names are taken.
    pub fn create(
        settings: &OutputSettings,
        budget: &Budget,
        call: &CallInfo,
        recording: &mut Recording,
        contents: &Contents,
        format: AudioFormat,
    ) -> Result<Self, String> {
        let now = SystemTime::now();
        let name = name::of_output(settings, call, contents, now);
        let audio = AudioFile::create(
            settings.format,
            Medium::Memory(Vec::new()),
            format.sample_rate,
            format.channels,
        )
        .map_err(|error| error.to_string())?;
        let path = name.whole();
        let place = match settings.in_memory {
            true => Place::Memory { name },
            false => Place::Waiting { name, next_try: Instant::now() },
        };
        let mut output = Self::new(settings, budget, audio, place, path, recording.outputs.len());
        if matches!(output.place, Place::Memory { .. }) {
            tracing::info!("Opened output media file '{}' for writing (mem stream)", output.path.display());
        } else if let Err(error) = output.make_file() {
            match error {
                CreateError::Taken(_) => return Err(error.to_string()),
                other => output.note_trouble(&other.to_string()),
            }
        }
        recording.outputs.push(Output {
            path: output.path.clone(),
            name: name_below(&settings.directory, &output.path),
            format: settings.format.extension().to_owned(),
            kind: contents.kind,
            ssrc: contents.ssrc,
            stream: contents.stream,
            party: contents.party,
            label: contents.label.clone(),
            start: unix_seconds(now),
            end: None,
            sample_rate: format.sample_rate,
            channels: format.channels,
            frames: 0,
            state: OutputState::Open,
            medium: if settings.in_memory { OutputMedium::Memory } else { OutputMedium::File },
            sha256: None,
            delivered: Vec::new(),
            refused: Vec::new(),
        });
        Ok(output)
    }

    /// Goes on with an output that an earlier run left.
    ///
    /// # Errors
    /// When it is not there any more or not what it should be.
    pub fn reopen(
        settings: &OutputSettings,
        budget: &Budget,
        output: &Output,
        index: usize,
    ) -> Result<Self, ContainerError> {
        let format = match output.format.as_str() {
            "wav" => Format::Wav,
            extension if extension == settings.format.extension() => settings.format,
            _ => return Err(ContainerError::NotContinuable),
        };
        let file = OpenOptions::new().read(true).write(true).open(&output.path)?;
        let audio = AudioFile::reopen(format, Medium::File(file))?;
        tracing::info!("Continuing output media file '{}'", output.path.display());
        Ok(Self::new(settings, budget, audio, Place::File, output.path.clone(), index))
    }

    fn new(
        settings: &OutputSettings,
        budget: &Budget,
        audio: AudioFile,
        place: Place,
        path: PathBuf,
        index: usize,
    ) -> Self {
        Self {
            audio,
            place,
            path,
            index,
            ownership: settings.ownership.clone(),
            buffer_octets: settings.buffer_octets,
            share: budget.share(),
            owed: 0,
            lost: 0,
            ended: false,
            trouble: None,
            failed: false,
        }
    }

    /// Appends samples in the output's format.
    pub fn append(&mut self, samples: &[i16]) {
        let frames = samples.len() as u64 / u64::from(self.audio.channels().max(1));
        if !self.may_keep(samples.len()) {
            self.lost += frames;
            return;
        }
        self.pay();
        self.encode(samples);
        if self.audio.pending_octets() >= self.buffer_octets {
            self.flush();
        }
    }

    /// Appends samples on a timeline: what is lost is replaced by silence later.
    pub fn append_in_time(&mut self, samples: &[i16]) {
        let lost = self.lost;
        self.append(samples);
        self.owed += self.lost - lost;
    }

    /// Appends silence.
    pub fn append_silence(&mut self, frames: u64) {
        self.owed += frames;
        if self.may_keep(0) {
            self.pay();
        }
    }

    /// Writes samples at a frame, if the format allows that.
    pub fn write_at(&mut self, frame: u64, samples: &[i16]) {
        if !self.may_keep(samples.len()) {
            self.lost += samples.len() as u64 / u64::from(self.audio.channels().max(1));
        } else if let Some(wav) = self.audio.random_access() {
            wav.write_at(frame, samples);
        }
    }

    /// Makes the output at least this long, with silence.
    pub fn extend_to(&mut self, frames: u64) {
        match self.audio.random_access() {
            Some(wav) => wav.extend_to(frames),
            None => self.append_silence(frames.saturating_sub(self.frames())),
        }
    }

    /// Brings everything into the file, header included. `true` when the path has changed.
    pub fn flush(&mut self) -> bool {
        let path = self.path.clone();
        match self.try_flush() {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    tracing::info!("Writing '{}' works again", self.path.display());
                }
            }
            Err(error) => self.note_trouble(&error.to_string()),
        }
        let octets = self.audio.pending_octets() as u64 + self.memory_octets();
        self.share.set(octets);
        path != self.path
    }

    fn try_flush(&mut self) -> io::Result<()> {
        let must_leave_memory = matches!(self.place, Place::Memory { .. }) && self.share.is_exceeded();
        let is_due = match &mut self.place {
            Place::Waiting { next_try, .. } => {
                let now = Instant::now();
                let due = now >= *next_try;
                if due {
                    *next_try = now + RETRY;
                }
                due
            }
            _ => must_leave_memory,
        };
        self.audio.flush()?;
        if is_due {
            self.make_file().map_err(io::Error::other)?;
        }
        match (&self.place, &self.trouble) {
            (Place::Waiting { .. }, Some(trouble)) => Err(io::Error::other(trouble.clone())),
            _ => Ok(()),
        }
    }

    /// Reads written samples back; empty if the format does not allow that.
    pub fn read_at(&mut self, frame: u64, frames: u64) -> io::Result<Vec<i16>> {
        self.audio.random_access().map_or(Ok(Vec::new()), |wav| wav.read_at(frame, frames))
    }

    /// Completes the output; removes it when it has no audio.
    pub fn finish(mut self, recording: &mut Recording, end: SystemTime) -> Finished {
        if self.audio.frames() + self.lost == 0 {
            self.discard(recording);
            return Finished::Settled;
        }
        self.end_audio();
        if let Place::Waiting { next_try, .. } = &mut self.place {
            *next_try = Instant::now();
        }
        self.flush();
        tracing::info!("Closing output media file '{}'", self.path.display());
        self.describe(recording);
        let lost = self.lost as f64 / f64::from(self.audio.sample_rate().max(1));
        let trouble = self.trouble.clone().unwrap_or_default();
        if let Some(output) = recording.outputs.get_mut(self.index) {
            output.state = OutputState::Complete;
            output.end = Some(unix_seconds(end));
            if self.lost > 0 {
                let fault = format!("{lost:.3} s of '{}' could not be stored. {trouble}", output.name);
                recording.add_fault(fault.trim_end().to_owned());
            }
        }
        if self.is_unwritten() {
            return Finished::Unwritten(Box::new(self));
        }
        match self.place {
            Place::Memory { .. } => match self.audio.into_medium() {
                Medium::Memory(octets) => Finished::InMemory(octets),
                Medium::File(_) => Finished::Settled,
            },
            _ => Finished::Settled,
        }
    }

    /// Tries again to write what is left of a finished output; the path may be another one afterwards.
    ///
    /// # Errors
    /// When it still cannot be written.
    pub fn complete(&mut self) -> io::Result<&Path> {
        if let Place::Waiting { next_try, .. } = &mut self.place {
            *next_try = Instant::now();
        }
        self.try_flush()?;
        if self.is_unwritten() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(&self.path) }
    }

    /// Removes the output.
    pub fn discard(self, recording: &mut Recording) {
        if let Some(output) = recording.outputs.get_mut(self.index) {
            output.state = OutputState::Dropped;
            output.medium = OutputMedium::Gone;
        }
        if matches!(self.place, Place::File)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!("Cannot remove '{}': {error}", self.path.display());
        }
    }

    /// Brings the recording's entry up to date.
    pub fn describe(&self, recording: &mut Recording) {
        if let Some(output) = recording.outputs.get_mut(self.index) {
            if output.path != self.path {
                // The name below the output directory changes in its last component only.
                let parent = Path::new(&output.name).parent().unwrap_or(Path::new("")).to_owned();
                let is_whole = Path::new(&output.name).is_absolute();
                output.path.clone_from(&self.path);
                output.name = if is_whole {
                    self.path.to_string_lossy().into_owned()
                } else {
                    parent.join(output.file_name()).to_string_lossy().into_owned()
                };
            }
            output.frames = self.frames();
            output.medium = match self.place {
                Place::Memory { .. } => OutputMedium::Memory,
                _ => OutputMedium::File,
            };
        }
    }

    /// Position among the recording's outputs.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.audio.frames() + self.owed
    }

    /// What `append` takes.
    pub fn format(&self) -> AudioFormat {
        AudioFormat { sample_rate: self.audio.sample_rate(), channels: self.audio.channels() }
    }

    /// Audio can be written at any place, also later.
    pub fn is_random_access(&mut self) -> bool {
        self.audio.random_access().is_some()
    }

    fn encode(&mut self, samples: &[i16]) {
        if self.failed {
            return;
        }
        if let Err(error) = self.audio.append(samples) {
            tracing::error!("Encoding '{}' failed, the rest is lost: {error}", self.path.display());
            self.note_trouble(&error.to_string());
            self.failed = true;
        }
    }

    fn end_audio(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.pay();
        if let Err(error) = self.audio.end() {
            tracing::error!("Encoding the end of '{}' failed: {error}", self.path.display());
        }
    }

    /// Writes the silence that is owed.
    fn pay(&mut self) {
        let channels = usize::from(self.audio.channels().max(1));
        while self.owed > 0 {
            let frames = self.owed.min((SILENCE.len() / channels) as u64);
            self.owed -= frames;
            self.encode(&SILENCE[..frames as usize * channels]);
        }
    }

    fn is_unwritten(&self) -> bool {
        matches!(self.place, Place::Waiting { .. }) || self.audio.pending_octets() > 0
    }

    /// Whether more audio may wait in memory.
    fn may_keep(&mut self, samples: usize) -> bool {
        if self.trouble.is_none() {
            return !self.failed;
        }
        let octets = self.audio.pending_octets() as u64 + self.memory_octets() + samples as u64 * 2;
        self.share.set(octets);
        !self.failed && !self.share.is_exceeded()
    }

    fn memory_octets(&mut self) -> u64 {
        match self.audio.medium() {
            Medium::Memory(octets) => octets.len() as u64,
            Medium::File(_) => 0,
        }
    }

    fn make_file(&mut self) -> Result<(), CreateError> {
        let (Place::Waiting { name, .. } | Place::Memory { name }) = &self.place else { return Ok(()) };
        let (file, path, trouble) = file::create(&name.path, name.extension, &self.ownership)?;
        if let Err(source) = self.audio.medium().move_to(file) {
            let _ = std::fs::remove_file(&path);
            return Err(CreateError::Io { path, source });
        }
        if let Some(error) = trouble {
            tracing::warn!("Cannot change mode or owner of '{}': {error}", path.display());
        }
        tracing::info!("Opened output media file '{}' for writing", path.display());
        self.place = Place::File;
        self.path = path;
        Ok(())
    }

    fn note_trouble(&mut self, error: &str) {
        if self.trouble.is_none() {
            tracing::error!("Writing '{}' failed, its audio waits in memory: {error}", self.path.display());
        }
        self.trouble = Some(error.to_owned());
    }
}

#[cfg(test)]
mod tests;

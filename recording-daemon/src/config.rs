//! The recording daemon's configuration: options and config file → one typed, checked [`Config`].

mod options;
mod targets;

use std::ffi::OsString;
use std::path::PathBuf;

use media_store::container::Format;
use service::log::LogConfig;
use service::options::number::parse_int;
use service::options::{Loaded, OptionError, Settings};
use service::process::ProcessConfig;

pub use options::PROGRAM;
pub use targets::*;

use crate::mix::MixMethod;
use crate::pattern;

/// What the user started the program for.
#[derive(Debug)]
pub enum Command {
    /// To read this text.
    Help(String),
    /// To see the version.
    Version,
    /// To run the daemon.
    Run(Box<Startup>),
}

/// Everything needed to start.
#[derive(Debug)]
pub struct Startup {
    /// For the daemon's parts.
    pub config: Config,
    /// For the log.
    pub log: LogConfig,
    /// For the process.
    pub process: ProcessConfig,
    /// To be logged as warnings once the log works.
    pub notices: Vec<String>,
}

/// Everything that the daemon's parts may know about its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Kernel table of the relay daemon; `None` when it is negative.
    pub table: Option<u8>,
    /// Where the relay daemon writes metafiles.
    pub spool_dir: PathBuf,
    /// Worker threads, at least 1.
    pub num_threads: usize,
    /// Events fetched at a time.
    pub poller_events: usize,
    /// `evs-lib-path`: what codes EVS.
    pub evs_library: Option<PathBuf>,
    /// Audio files.
    pub output: OutputConfig,
    /// Where recordings go.
    pub targets: Targets,
}

/// Which audio files are written, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputConfig {
    /// Directory of the files.
    pub dir: PathBuf,
    /// Pattern of their names.
    pub pattern: String,
    /// One file for each SSRC.
    pub single: bool,
    /// One file for each call.
    pub mixed: bool,
    /// Sample rate in Hz; `None` keeps that of the audio.
    pub resample_to: Option<u32>,
    /// How inputs become one file.
    pub mix_method: MixMethod,
    /// How audio is stored.
    pub format: Format,
    /// Inputs of a mix, 1 to 32.
    pub mix_num_inputs: usize,
    /// What decides the input of a stream.
    pub mix_input: MixInput,
    /// Mode of files.
    pub file_mode: Option<u32>,
    /// Mode of directories that are made.
    pub dir_mode: u32,
    /// Owner of files.
    pub user: Option<u32>,
    /// Group of files.
    pub group: Option<u32>,
    /// Octets kept in memory before they are written; 0 = none.
    pub buffer_octets: usize,
    /// Write out after every packet.
    pub flush_packets: bool,
    /// Octets of recordings in memory, all together.
    pub memory_octets: u64,
    /// A JSON description beside each recording.
    pub sidecar: bool,
    /// Gets a line about the end of each recording.
    pub report_file: Option<PathBuf>,
}

/// `output-mixed-per-media`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixInput {
    /// Streams get inputs in the order in which they appear.
    ByAppearance,
    /// The number of the media description is the input.
    ByMedia,
}

/// Understands the words after the program's name.
///
/// # Errors
/// With everything that keeps the daemon from starting.
pub fn load(words: &[OsString]) -> Result<Command, OptionError> {
    let settings = match service::options::load(&PROGRAM, words)? {
        Loaded::Help => return Ok(Command::Help(PROGRAM.help())),
        Loaded::Settings(settings) => settings,
    };
    if settings.flag("version") {
        return Ok(Command::Version);
    }
    let log = LogConfig::from_settings(&settings)?;
    let process = ProcessConfig::from_settings(&settings);
    let mut notices = settings.notices();
    let output_dir = settings.path("output-dir").unwrap_or_default();
    let targets = Targets::load(&settings, &output_dir)?;
    let output = output(&settings, output_dir, &targets, &mut notices)?;
    if targets.notify.concurrency == 0 && (targets.notify.uri.is_some() || targets.notify.command.is_some()) {
        notices.push("notify-concurrency: jobs are switched off, nobody is notified".into());
    }
    let config = Config {
        targets,
        table: u8::try_from(settings.int("table")).ok(),
        poller_events: usize::try_from(settings.int("poller-size"))
            .ok()
            .filter(|size| *size > 0)
            .unwrap_or(128),
        spool_dir: settings.path("spool-dir").unwrap_or_default(),
        evs_library: settings.path("evs-lib-path"),
        num_threads: settings
            .int_if_set("num-threads")
            .and_then(|threads| usize::try_from(threads).ok())
            .filter(|threads| *threads > 0)
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(8, |cores| cores.get().max(8))),
        output,
    };
    if config.targets.storages.file && config.output.dir == config.spool_dir {
        return Err(OptionError::invalid(format!(
            "--output-dir and --spool-dir must not be the same directory ({})",
            config.spool_dir.display()
        )));
    }
    Ok(Command::Run(Box::new(Startup { config, log, process, notices })))
}

fn output(
    settings: &Settings,
    dir: PathBuf,
    targets: &Targets,
    notices: &mut Vec<String>,
) -> Result<OutputConfig, OptionError> {
    let enabled = targets.storages.any();
    let format = format(settings)?;
    let mix_method = match settings.text("mix-method").as_deref() {
        Some("channels") => MixMethod::Channels,
        _ => MixMethod::Direct,
    };
    let mut mix_num_inputs = usize::try_from(settings.positive_int("mix-num-inputs")).unwrap_or(1);
    let most = usize::from(format.max_channels());
    if mix_method == MixMethod::Channels && mix_num_inputs > most {
        let extension = format.extension();
        notices.push(format!(
            "{extension} files have {most} channels at most: mix-num-inputs is {most}, not {mix_num_inputs}"
        ));
        mix_num_inputs = most;
    }
    let pattern = settings.text("output-pattern").unwrap_or_default();
    pattern::check(&pattern).map_err(|error| OptionError::invalid(error.to_string()))?;
    let (single, mixed) = (settings.flag("output-single"), settings.flag("output-mixed"));
    Ok(OutputConfig {
        dir,
        pattern,
        format,
        single: enabled && (single || !mixed),
        mixed: enabled && (mixed || !single),
        resample_to: u32::try_from(settings.int("resample-to")).ok().filter(|rate| *rate > 0),
        mix_method,
        mix_num_inputs,
        mix_input: match settings.flag("output-mixed-per-media") {
            true => MixInput::ByMedia,
            false => MixInput::ByAppearance,
        },
        file_mode: mode(settings, "output-chmod")?,
        dir_mode: mode(settings, "output-chmod-dir")?.unwrap_or(0o700),
        user: owner(settings, "output-chown", |name| {
            nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
        })?,
        group: owner(settings, "output-chgrp", |name| {
            nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
        })?,
        buffer_octets: usize::try_from(settings.int("output-buffer")).unwrap_or(0),
        flush_packets: settings.flag("flush-packets"),
        memory_octets: u64::try_from(settings.int("output-memory-limit")).unwrap_or(0) << 20,
        sidecar: settings.flag("output-sidecar"),
        report_file: settings.path("report-file"),
    })
}

fn format(settings: &Settings) -> Result<Format, OptionError> {
    let bitrate = |option: &str| settings.int_if_set(option).and_then(|rate| u32::try_from(rate).ok());
    Ok(match settings.text("output-format").as_deref() {
        Some("mp3") => match bitrate("mp3-bitrate").filter(|rate| *rate > 0) {
            Some(bitrate_bps) => Format::Mp3 { bitrate_bps },
            None => return Err(OptionError::invalid("--output-format=mp3 needs --mp3-bitrate")),
        },
        Some("flac") => Format::Flac,
        Some("opus") => Format::Opus { bitrate_bps: settings.positive_int("opus-bitrate") },
        _ => Format::Wav,
    })
}

/// An octal mode, with or without leading zero.
fn mode(settings: &Settings, option: &str) -> Result<Option<u32>, OptionError> {
    let Some(text) = settings.text(option).filter(|text| !text.is_empty()) else { return Ok(None) };
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o77777 && !text.starts_with('+') => Ok(Some(mode)),
        _ => Err(OptionError::invalid(format!(
            "Invalid value '{text}' for --{option}: an octal mode is expected"
        ))),
    }
}

/// A number, −1 for none, or a name that the system knows.
fn owner(
    settings: &Settings,
    option: &str,
    by_name: impl FnOnce(&str) -> Option<u32>,
) -> Result<Option<u32>, OptionError> {
    let Some(text) = settings.text(option).filter(|text| !text.is_empty()) else { return Ok(None) };
    let found = match parse_int(&text) {
        Ok(-1) => return Ok(None),
        Ok(id) => u32::try_from(id).ok(),
        Err(_) => by_name(&text),
    };
    let unknown = || OptionError::invalid(format!("Unknown user or group '{text}' (--{option})"));
    found.map(Some).ok_or_else(unknown)
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;

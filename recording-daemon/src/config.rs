//! The recording daemon's configuration: options and config file → one typed, checked [`Config`].

mod options;

use std::ffi::OsString;
use std::path::PathBuf;

use service::log::LogConfig;
use service::options::number::parse_int;
use service::options::{Loaded, OptionError, Settings};
use service::process::ProcessConfig;

pub use options::PROGRAM;

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
    /// Audio files.
    pub output: OutputConfig,
    /// The embedded database, unless switched off.
    pub database: Option<PathBuf>,
}

/// Which audio files are written, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputConfig {
    /// Where finished audio goes.
    pub storage: Storage,
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
    /// Inputs of a mix, 1 to 4.
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
}

/// Where finished audio goes. Only files exist so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Files, with an entry in the database.
    File,
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
    let output = output(&settings, &mut notices)?;
    let config = Config {
        database: match settings.text("sqlite-db").as_deref() {
            Some("none") => None,
            Some(path) => Some(PathBuf::from(path)),
            None => Some(output.dir.join("recordings.sqlite3")),
        },
        table: u8::try_from(settings.int("table")).ok(),
        spool_dir: settings.path("spool-dir").unwrap_or_default(),
        num_threads: settings
            .int_if_set("num-threads")
            .and_then(|threads| usize::try_from(threads).ok())
            .filter(|threads| *threads > 0)
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(8, |cores| cores.get().max(8))),
        output,
    };
    if config.output.dir == config.spool_dir {
        return Err(OptionError::invalid(format!(
            "--output-dir and --spool-dir must not be the same directory ({})",
            config.spool_dir.display()
        )));
    }
    Ok(Command::Run(Box::new(Startup { config, log, process, notices })))
}

fn output(settings: &Settings, notices: &mut Vec<String>) -> Result<OutputConfig, OptionError> {
    let storage = storage(settings, notices)?;
    if settings.text("output-format").as_deref() == Some("mp3") {
        notices.push("output-format mp3: not implemented yet, WAV files are written".into());
    }
    let pattern = settings.text("output-pattern").unwrap_or_default();
    pattern::check(&pattern).map_err(|error| OptionError::invalid(error.to_string()))?;
    let (single, mixed) = (settings.flag("output-single"), settings.flag("output-mixed"));
    Ok(OutputConfig {
        storage,
        dir: settings.path("output-dir").unwrap_or_default(),
        pattern,
        single: single || !mixed,
        mixed: mixed || !single,
        resample_to: u32::try_from(settings.int("resample-to")).ok().filter(|rate| *rate > 0),
        mix_method: match settings.text("mix-method").as_deref() {
            Some("channels") => MixMethod::Channels,
            _ => MixMethod::Direct,
        },
        mix_num_inputs: usize::try_from(settings.positive_int("mix-num-inputs")).unwrap_or(1),
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
    })
}

/// Storages named by `output-storage` and its legacy relatives.
#[derive(Debug, Default, PartialEq, Eq)]
struct Storages {
    file: bool,
    db: bool,
    notify: bool,
    s3: bool,
    gcs: bool,
    memory: bool,
}

/// Checks everything about storages; what is not a file has no effect yet and is noticed.
fn storage(settings: &Settings, notices: &mut Vec<String>) -> Result<Storage, OptionError> {
    let fail = |text: &str| Err(OptionError::invalid(text));
    let mut wanted = Storages::default();
    let mut names = settings.list("output-storage");
    if settings.text("output-format").as_deref() == Some("none") {
        names = vec!["none".into()];
    }
    for name in &names {
        match name.as_str() {
            "file" => wanted.file = true,
            "db" => wanted.db = true,
            "both" => (wanted.file, wanted.db) = (true, true),
            "notify" => wanted.notify = true,
            "s3" => wanted.s3 = true,
            "gcs" => wanted.gcs = true,
            "memory" | "mem" => wanted.memory = true,
            "db-mem" => (wanted.db, wanted.memory) = (true, true),
            "none" => {}
            _ => return Err(OptionError::invalid(format!("Invalid 'output-storage' option '{name}'"))),
        }
    }
    wanted.notify |= settings.flag("notify-record");
    wanted.file &= !settings.flag("notify-purge");
    let disabled = wanted == Storages::default();
    if disabled && !names.iter().any(|name| name == "none") {
        return fail("No 'output-storage' is left: use 'none' to switch output off");
    }
    let forwards = ["forward-to", "tcp-send-to", "tls-send-to"].iter().any(|option| settings.is_set(option));
    if settings.is_set("tcp-send-to") && settings.is_set("tls-send-to") {
        return fail("Only one of --tcp-send-to and --tls-send-to can be used");
    }
    if disabled && (settings.flag("output-mixed") || settings.flag("output-single")) {
        return fail("Output is disabled, but --output-mixed or --output-single is given");
    }
    if disabled && !forwards {
        return fail("Both output and forwarding are disabled");
    }
    if wanted.memory && wanted.file {
        return fail("Storage 'memory' cannot be used together with 'file'");
    }
    let needs: &[(bool, &str, &[&str])] = &[
        (wanted.db, "db", &["mysql-host", "mysql-db"]),
        (wanted.notify, "notify", &["notify-uri"]),
        (wanted.s3, "s3", &["s3-host", "s3-access-key", "s3-secret-key", "s3-path", "s3-region"]),
        (wanted.gcs, "gcs", &["gcs-uri"]),
    ];
    for (_, storage, options) in needs.iter().filter(|(wanted, ..)| *wanted) {
        if let Some(missing) = options.iter().find(|option| !settings.is_set(option)) {
            return Err(OptionError::invalid(format!("Storage '{storage}' needs --{missing}")));
        }
    }
    if wanted.gcs && settings.is_set("gcs-key") == settings.is_set("gcs-service-account") {
        return fail("Storage 'gcs' needs either --gcs-key or --gcs-service-account");
    }
    if disabled || !wanted.file {
        return fail("output-storage without 'file': not implemented yet");
    }
    for (is_wanted, name) in
        [(wanted.db, "db"), (wanted.notify, "notify"), (wanted.s3, "s3"), (wanted.gcs, "gcs")]
    {
        if is_wanted {
            notices.push(format!("output-storage {name}: not implemented yet, no effect"));
        }
    }
    Ok(Storage::File)
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

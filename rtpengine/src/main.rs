//! The relay daemon: order of start and stop, nothing else.

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rtpengine::VERSION;
use rtpengine::config::{self, Command, NetfilterAction, Startup};
use rtpengine::doctor;
use rtpengine::netfilter::NetfilterConfig;
use rtpengine::services::{ServiceError, Services};
use service::log::{self, LogHandle};
use service::options::OptionError;
use service::process::{self, EXIT_FATAL, EXIT_HANGUP, ProcessError, Signal, Signals, notify};
use tracing::{error, info, warn};

/// What a command allocates on a control thread is often freed by a worker (plans, ports); the system's allocator takes a third of the
/// processor time of a call set-up for that, this one a tenth.
#[global_allocator]
static ALLOCATOR: rtpengine::allocator::Allocator = rtpengine::allocator::Allocator;

fn main() -> ExitCode {
    // One provider for all of TLS, chosen before anything can ask for one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let is_doctor_wanted = words.first().is_some_and(|word| word == "doctor");
    words.drain(..usize::from(is_doctor_wanted));
    match config::load(&words) {
        Ok(Command::Help(text)) => print!("{text}"),
        Ok(Command::Version) => eprintln!("Version: {VERSION}"),
        Ok(Command::CodecCatalogue(evs_library)) => {
            load_evs(evs_library.as_deref());
            print!("{}", codec::catalogue::json(&codec::catalogue::measured()));
        }
        Ok(Command::Codecs(evs_library)) => {
            load_evs(evs_library.as_deref());
            print!("{}", codec::def::listing());
        }
        Ok(Command::Netfilter { action, config, table }) => return netfilter(action, &config, table),
        Ok(Command::Check(notices)) => {
            notices.iter().for_each(|notice| eprintln!("Warning: {notice}"));
            println!("The configuration is valid.");
        }
        Ok(Command::Run(startup)) if is_doctor_wanted => return doctor::run(Ok(&startup)),
        Ok(Command::Run(startup)) => return daemon(*startup),
        Err(error) if is_doctor_wanted => return doctor::run(Err(error.to_string())),
        Err(error) => {
            eprintln!("Fatal error: {error}");
            return ExitCode::from(EXIT_FATAL as u8);
        }
    }
    ExitCode::SUCCESS
}

/// For commands without a log.
fn load_evs(library: Option<&Path>) {
    if let Some((library, Err(error))) = library.map(|library| (library, codec::evs::load(library))) {
        eprintln!("Warning: EVS library {} is not used: {error}", library.display());
    }
}

/// Makes, removes or checks the netfilter rules.
fn netfilter(action: NetfilterAction, rules: &NetfilterConfig, table: u8) -> ExitCode {
    let done = match action {
        NetfilterAction::Start => rules.start(table),
        NetfilterAction::Stop => rules.stop(),
        NetfilterAction::Status => {
            return match rules.check() {
                Ok(()) => {
                    println!("Netfilter rules check SUCCESSFUL");
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    println!("Netfilter rules check NOT successful: {error}");
                    ExitCode::FAILURE
                }
            };
        }
    };
    match done {
        Ok(()) => {
            println!("Success");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("Fatal error: {error}");
            ExitCode::from(EXIT_FATAL as u8)
        }
    }
}

/// Runs from the configuration to the exit status.
fn daemon(startup: Startup) -> ExitCode {
    let log = match log::init(&startup.log) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("Fatal error: {error}");
            return ExitCode::from(EXIT_FATAL as u8);
        }
    };
    let code = serve(startup, &log).unwrap_or_else(|error| {
        eprintln!("Fatal error: {error}");
        error!(severity = 2, "Fatal error: {error}");
        ExitCode::from(EXIT_FATAL as u8)
    });
    log.flush(Duration::from_secs(2));
    code
}

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Options(#[from] OptionError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("Failed to start a thread: {0}")]
    Thread(std::io::Error),
    #[error("Failed to create recording directory {}: {source}", path.display())]
    RecordingDirectory { path: std::path::PathBuf, source: std::io::Error },
}

fn serve(startup: Startup, log: &LogHandle) -> Result<ExitCode, StartError> {
    let Startup { config, process, notices, .. } = startup;
    for notice in notices {
        warn!("{notice}");
    }
    let signals = Signals::block()?;
    let open_files = process::raise_limits();
    // Before the first thread, because a fork keeps only the one that forks.
    let detached = if process.foreground { None } else { Some(process::daemonise()?) };
    log.start_writer().map_err(StartError::Thread)?;
    info!("Version {VERSION} initialising");
    info!(open_files, "resource limits raised");
    codec::evs::use_library(config.transcoding.evs_library.as_deref());

    if let Some(path) = &config.recording.dir {
        let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        created.map_err(|source| StartError::RecordingDirectory { path: path.clone(), source })?;
    }
    let mut services = Services::start(config, log.clone())?;

    if let Some(path) = &process.pidfile {
        process::write_pidfile(path)?;
    }
    info!("Startup complete, version {VERSION}");
    if let Some(detached) = detached {
        log.detach_from_stderr();
        detached.complete()?;
    }
    let told = if services.has_taken_over() { notify::main_process() } else { notify::ready() };
    if let Err(error) = told {
        warn!("cannot notify the service manager: {error}");
    }
    services.confirm_take_over();
    if wait_for_end(&signals, log)? == Signal::HangUp {
        return Ok(ExitCode::from(EXIT_HANGUP as u8));
    }
    if services.is_handed_over() {
        info!("Version {VERSION} has handed its calls over");
    } else {
        let _ = notify::stopping();
        info!("Version {VERSION} shutting down");
    }
    services.stop();
    Ok(ExitCode::SUCCESS)
}

/// Handles signals until one ends the daemon.
fn wait_for_end(signals: &Signals, log: &LogHandle) -> Result<Signal, ProcessError> {
    loop {
        match signals.wait()? {
            Signal::DecreaseLogLevels => log.decrease_levels(),
            Signal::IncreaseLogLevels => log.increase_levels(),
            end => return Ok(end),
        }
    }
}

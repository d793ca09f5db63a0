//! `rtpengine-recording`: turns what the relay daemon exposes into audio files.
//!
//! ```text
//! spool directory ─ spool_watch ─▶ daemon ─▶ worker (one of few; owns the call)
//!                                             ├ metafile_reader ─▶ metadata
//!                                             ├ packet_source ─▶ call ─▶ ssrc (sequence, decode) ─▶ single output
//!                                             │                    └▶ timeline ─▶ mix_output ─▶ mixed output
//!                                             └▶ delivery (rows, uploads, notifications, reports)
//! ```

mod call;
mod config;
mod convert;
mod daemon;
mod delivery;
mod feed;
mod forward;
mod local_time;
mod metadata;
mod metafile_reader;
mod mix;
mod mix_output;
mod output;
mod packet_source;
mod pattern;
mod recording;
mod resume;
mod rtcp;
mod settings;
mod spool_watch;
mod ssrc;
mod staging;
mod timeline;
mod warp;
mod worker;

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use service::process::{self, Signal, Signals};

use crate::config::{Command, Startup};
use crate::daemon::Daemon;
use crate::settings::Settings;

/// How long the last lines of the log are waited for.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let result = match config::load(&words) {
        Ok(Command::Help(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Ok(Command::Version) => {
            eprintln!("Version: {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Ok(Command::Run(startup)) => run(*startup),
        Err(error) => Err(error.into()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("Fatal error: {error}");
        ExitCode::from(process::EXIT_FATAL as u8)
    })
}

fn run(startup: Startup) -> Result<ExitCode, Box<dyn Error>> {
    let log = service::log::init(&startup.log)?;
    process::raise_limits();
    let signals = Signals::block()?;
    let detached = if startup.process.foreground { None } else { Some(process::daemonise()?) };
    log.start_writer()?;
    for notice in &startup.notices {
        tracing::warn!("{notice}");
    }
    codec::evs::use_library(startup.config.evs_library.as_deref());
    let daemon = Daemon::start(Settings::new(startup.config, startup.process.thread_stack))?;
    if let Some(path) = &startup.process.pidfile {
        process::write_pidfile(path)?;
    }
    if let Some(detached) = detached {
        log.detach_from_stderr();
        detached.complete()?;
    }
    // Without a service manager there is nobody to tell.
    let _ = process::notify::ready();
    tracing::info!("Startup complete, version {}", env!("CARGO_PKG_VERSION"));
    loop {
        match signals.wait()? {
            Signal::Stop => break,
            Signal::HangUp => return Ok(ExitCode::from(process::EXIT_HANGUP as u8)),
            Signal::DecreaseLogLevels => log.decrease_levels(),
            Signal::IncreaseLogLevels => log.increase_levels(),
        }
    }
    let _ = process::notify::stopping();
    tracing::info!("Shutdown signal received, completing all recordings");
    daemon.stop();
    if let Some(path) = &startup.process.pidfile {
        let _ = std::fs::remove_file(path);
    }
    log.flush(LOG_PATIENCE);
    Ok(ExitCode::SUCCESS)
}

//! The life of a daemon process: detaching, pid file, signals, limits, threads, service manager.
//!
//! Order in a `main`: [`raise_limits`], [`Signals::block`], [`daemonise`] (before any thread), then threads, sockets and
//! services, then [`Detached::complete`] and [`write_pidfile`], [`notify::ready`], [`Signals::wait`], [`notify::stopping`].

mod clock;
mod daemonise;
mod limits;
pub mod notify;
pub mod scheduling;
mod signals;
mod terminal;
pub mod threads;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use clock::clock_is_synchronised;
pub use daemonise::{Detached, daemonise};
pub use limits::{open_files, raise_limits, set_open_files};
pub use signals::{Signal, Signals};
pub use terminal::terminal_size;
pub use threads::ThreadStack;

use crate::options::Settings;

/// Exit status of a start that failed.
pub const EXIT_FATAL: i32 = 255;

/// Exit status after SIGHUP.
pub const EXIT_HANGUP: i32 = 42;

/// The options about the process itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessConfig {
    /// Stay in the foreground.
    pub foreground: bool,
    /// Where to write the process ID.
    pub pidfile: Option<PathBuf>,
    /// Stack of each thread.
    pub thread_stack: ThreadStack,
}

impl ProcessConfig {
    /// Takes `foreground`, `pidfile` and `thread-stack` out of the settings.
    pub fn from_settings(settings: &Settings) -> Self {
        ProcessConfig {
            foreground: settings.flag("foreground"),
            pidfile: settings.path("pidfile"),
            thread_stack: ThreadStack::from_option(settings.int("thread-stack")),
        }
    }
}

/// Why the process could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// Forking or what belongs to it failed.
    #[error("Failed to detach from the terminal ({step}): {source}")]
    Detach {
        /// System call.
        step: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Forking a process that has threads would lose them.
    #[error("Failed to detach from the terminal: {0} threads are running already")]
    ThreadsRunning(usize),
    /// The pid file cannot be written.
    #[error("Failed to create PID file ({}): {source}", path.display())]
    Pidfile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The signal mask cannot be set or a signal cannot be awaited.
    #[error("Failed to set up signals: {0}")]
    Signals(io::Error),
}

/// Writes the decimal process ID and a newline.
pub fn write_pidfile(path: &Path) -> Result<(), ProcessError> {
    let write = || std::fs::File::create(path)?.write_all(format!("{}\n", std::process::id()).as_bytes());
    write().map_err(|source| ProcessError::Pidfile { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_holds_the_process_id_and_a_newline() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("pid");
        std::fs::write(&path, "something longer than a number").expect("write");
        write_pidfile(&path).expect("pid file");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), format!("{}\n", std::process::id()));
        let error =
            write_pidfile(&directory.path().join("absent/pid")).expect_err("no directory").to_string();
        assert!(error.starts_with("Failed to create PID file (") && error.contains("absent/pid"), "{error}");
    }
}

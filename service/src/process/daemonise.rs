//! Detaching from the terminal.
//!
//! The process that the user started waits until the daemon says that it is up, and exits with 0 then or with 255 if
//! the daemon ended before. So sockets, threads and connections can be made after the fork and their failures are still
//! seen by the caller: on standard error, which stays open until then, and in the exit status.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;

use nix::sys::wait::waitpid;
use nix::unistd::{self, ForkResult, Pid};

use super::{EXIT_FATAL, ProcessError};

/// The daemon's side of a start in the background. Dropping it (with the process ending) reports failure.
#[derive(Debug)]
pub struct Detached {
    status: OwnedFd,
}

/// Goes to the background; returns in the daemon only.
///
/// Forks twice with a new session between, so that the daemon has no controlling terminal and cannot get one, and makes
/// it the leader of its own process group.
///
/// # Errors
/// When threads exist already (they would not survive) or a system call fails.
pub fn daemonise() -> Result<Detached, ProcessError> {
    let threads = std::fs::read_dir("/proc/self/task").map(|tasks| tasks.count()).unwrap_or(1);
    if threads != 1 {
        return Err(ProcessError::ThreadsRunning(threads));
    }
    let (parent_end, daemon_end) =
        unistd::pipe().map_err(|error| ProcessError::Detach { step: "pipe", source: error.into() })?;
    if let ForkResult::Parent { child } = fork_single_threaded()? {
        drop(daemon_end);
        exit_with_daemon(child, &parent_end);
    }
    drop(parent_end);
    unistd::setsid().map_err(|error| ProcessError::Detach { step: "setsid", source: error.into() })?;
    if let ForkResult::Parent { .. } = fork_single_threaded()? {
        std::process::exit(0);
    }
    let no_pid = Pid::from_raw(0);
    unistd::setpgid(no_pid, no_pid)
        .map_err(|error| ProcessError::Detach { step: "setpgid", source: error.into() })?;
    Ok(Detached { status: daemon_end })
}

impl Detached {
    /// Ends the start: gives up standard input, output and error, and lets the waiting process exit with 0.
    pub fn complete(self) -> Result<(), ProcessError> {
        let detach = || -> io::Result<()> {
            let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
            unistd::dup2_stdin(&null)?;
            unistd::dup2_stdout(&null)?;
            unistd::dup2_stderr(&null)?;
            // A caller that has gone away is no reason to stop.
            let _ = unistd::write(&self.status, &[0]);
            Ok(())
        };
        detach().map_err(|source| ProcessError::Detach { step: "redirect to /dev/null", source })
    }
}

/// What the started process does: wait for the daemon's word.
fn exit_with_daemon(child: Pid, status: &OwnedFd) -> ! {
    let _ = waitpid(child, None);
    let mut word = [EXIT_FATAL as u8];
    let code = loop {
        match unistd::read(status, &mut word) {
            Err(nix::errno::Errno::EINTR) => continue,
            Ok(1) => break i32::from(word[0]),
            _ => break EXIT_FATAL,
        }
    };
    std::process::exit(code)
}

fn fork_single_threaded() -> Result<ForkResult, ProcessError> {
    // SAFETY: the process has exactly one thread (checked by the only caller), so no lock can be held by a thread that
    // does not exist in the child.
    unsafe { unistd::fork() }.map_err(|error| ProcessError::Detach { step: "fork", source: error.into() })
}

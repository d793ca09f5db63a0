//! Signals: blocked in every thread, taken one by one by the main thread.

use nix::sys::signal::{SigSet, Signal as Number};

use super::ProcessError;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT or SIGTERM: orderly shutdown.
    Stop,
    /// SIGHUP: exit at once with [`super::EXIT_HANGUP`], no clean-up.
    HangUp,
    /// SIGUSR1: log less.
    DecreaseLogLevels,
    /// SIGUSR2: log more.
    IncreaseLogLevels,
}

/// The blocked signals.
#[derive(Debug)]
pub struct Signals {
    blocked: SigSet,
}

impl Signals {
    /// Blocks all signals but SIGABRT, SIGSEGV and SIGQUIT in this thread and in those it will start.
    ///
    /// Call it before the first thread. Programs started with [`std::process::Command`] do not inherit the mask.
    pub fn block() -> Result<Self, ProcessError> {
        let mut blocked = SigSet::all();
        for number in [Number::SIGABRT, Number::SIGSEGV, Number::SIGQUIT] {
            blocked.remove(number);
        }
        blocked.thread_block().map_err(|error| ProcessError::Signals(error.into()))?;
        Ok(Signals { blocked })
    }

    /// Waits for the next signal with a meaning; all others are taken and forgotten.
    pub fn wait(&self) -> Result<Signal, ProcessError> {
        loop {
            match self.blocked.wait() {
                Ok(Number::SIGINT | Number::SIGTERM) => return Ok(Signal::Stop),
                Ok(Number::SIGHUP) => return Ok(Signal::HangUp),
                Ok(Number::SIGUSR1) => return Ok(Signal::DecreaseLogLevels),
                Ok(Number::SIGUSR2) => return Ok(Signal::IncreaseLogLevels),
                // EINVAL: a real-time signal, which has no name here; it has been taken.
                Ok(_) | Err(nix::errno::Errno::EINTR | nix::errno::Errno::EINVAL) => {}
                Err(error) => return Err(ProcessError::Signals(error.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::pthread::{pthread_kill, pthread_self};

    use super::*;

    #[test]
    fn signals_are_taken_in_the_thread_that_waits() {
        let cases = [
            (Number::SIGTERM, Signal::Stop),
            (Number::SIGINT, Signal::Stop),
            (Number::SIGHUP, Signal::HangUp),
            (Number::SIGUSR1, Signal::DecreaseLogLevels),
            (Number::SIGUSR2, Signal::IncreaseLogLevels),
        ];
        let signals = Signals::block().expect("block");
        for (number, expected) in cases {
            pthread_kill(pthread_self(), Number::SIGPIPE).expect("pipe");
            pthread_kill(pthread_self(), number).expect("raise");
            assert_eq!(signals.wait().expect("wait"), expected, "{number}");
        }
    }
}

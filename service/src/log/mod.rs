//! Log: `tracing` events become lines `LEVEL: <context>[<subsystem>] text` in syslog or on standard error.
//!
//! * **Subsystem**: the event's target if it is the name of one (`target: "ice"`), else what its module belongs to.
//! * **Context**: the fields `call_id`, `tag`, `media`, `port`, `context`, `metafile`, `stream`, `ssrc` of the event and of
//!   its spans. All other fields of the event follow the text as `name=value`.
//! * **Severity**: from the level; a field `severity` with a syslog number (0–7) says it exactly (2 for CRIT).
//! * **Repetition**: with the field `limit = true` a line is written at most every 15 seconds, with a count.
//!
//! A caller never waits: once [`LogHandle::start_writer`] was called, lines go through a bounded queue to one thread, and
//! lines that do not fit are counted and reported. Before that (during start-up, before the fork) they are written at once.

mod config;
mod context;
mod debug_calls;
mod format;
mod layer;
mod levels;
mod output;
mod repeat;

use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt;

pub use config::{ContextStyle, Destination, Facility, LogConfig};
pub use levels::{Levels, Subsystem};

use self::debug_calls::DebugCalls;
use self::layer::LogLayer;
use self::output::{Output, Sink};
use crate::options::OptionError;

/// Control over the running log.
#[derive(Clone, Debug)]
pub struct LogHandle {
    levels: Arc<Levels>,
    debug_calls: Arc<DebugCalls>,
    sink: Arc<Sink>,
}

/// Makes the log that of the whole process.
///
/// # Errors
/// When the process already has one.
pub fn init(config: &LogConfig) -> Result<LogHandle, OptionError> {
    let output = Output::new(config, Box::new(std::io::stderr()));
    let (layer, handle) = LogLayer::new(config, output);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
        .map_err(|error| OptionError::invalid(format!("Failed to set up the log: {error}")))?;
    Ok(handle)
}

impl LogHandle {
    /// Starts the writer thread. To be called after daemonising: threads do not survive a fork.
    pub fn start_writer(&self) -> std::io::Result<()> {
        Sink::start_writer(&self.sink)
    }

    /// From now on nothing is written to standard error unless it is the only destination.
    pub fn detach_from_stderr(&self) {
        self.sink.detach_from_stderr();
    }

    /// Waits until what was logged so far is written, but not longer than `patience`.
    pub fn flush(&self, patience: Duration) {
        self.sink.flush(patience);
    }

    /// Writes a record of its own facility: to syslog, and to standard error if the log goes there. Severity 0–7 as in syslog.
    pub fn record(&self, facility: Facility, severity: u8, text: String) {
        self.sink.push(output::Message {
            severity,
            time: std::time::SystemTime::now(),
            prefix: String::new(),
            text,
            limit: false,
            facility: Some(facility),
        });
    }

    /// Levels of the subsystems, readable and changeable at any time.
    pub fn levels(&self) -> &Levels {
        &self.levels
    }

    /// Lines with this `call_id` are written up to debug level from now on, or no longer.
    pub fn debug_call(&self, call_id: &str, on: bool) {
        self.debug_calls.update(|ids| {
            if on {
                ids.insert(call_id.to_owned());
            } else {
                ids.remove(call_id);
            }
        });
    }

    /// Forgets the calls for which `exists` says no.
    pub fn retain_debugged_calls(&self, exists: impl Fn(&str) -> bool) {
        self.debug_calls.update(|ids| ids.retain(|call_id| exists(call_id)));
    }

    /// Lowers every level by one and says so (SIGUSR1).
    pub fn decrease_levels(&self) {
        self.shift(-1, "Decreased");
    }

    /// Raises every level by one and says so (SIGUSR2).
    pub fn increase_levels(&self) {
        self.shift(1, "Increased");
    }

    fn shift(&self, by: i32, verb: &str) {
        for subsystem in Subsystem::ALL {
            let level = self.levels.get(subsystem).saturating_add(by).clamp(-1, 8);
            self.levels.set(subsystem, level);
            tracing::error!(target: "core", "{verb} '{}' log level to {level}", subsystem.name());
        }
    }
}

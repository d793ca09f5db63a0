//! Reports for readers outside: the tree of the ng command `statistics`, the same as JSON, the text of `list totals`, Prometheus.
//!
//! ```text
//! engine, workers, command counters → Report (plain numbers of one moment) → tree → ng | JSON
//!                                                                         → text
//!                                                                         → Prometheus
//! ```

mod prometheus;
mod report;
mod text;
mod tree;

use std::sync::{Arc, Mutex, PoisonError};

use super::ng::command::{CommandCounters, Extremes};
use super::report::IntervalReport;
use crate::call::Engine;
use crate::proto::value::Dict;

pub(super) use report::{InterfaceReport, Report};
pub(super) use text::{interfaces, rates, transcoders};
pub(super) use tree::{Branch, Node, live_tree};

/// Makes reports.
pub struct Statistics {
    engine: Arc<Engine>,
    commands: Arc<CommandCounters>,
    /// What Graphite was told last.
    interval: Mutex<Option<Arc<IntervalReport>>>,
}

impl Statistics {
    /// `commands` are the counters of all doors of the ng protocol.
    pub fn new(engine: Arc<Engine>, commands: Arc<CommandCounters>) -> Self {
        Self { engine, commands, interval: Mutex::default() }
    }

    /// The metrics in Prometheus' text format (`GET /metrics`).
    pub fn metrics(&self) -> String {
        prometheus::metrics(&self.report())
    }

    /// What the ng command `statistics` answers with under `statistics`.
    pub fn dictionary(&self) -> Dict {
        tree::tree(&self.report()).into_dict()
    }

    /// The same tree as one line of JSON (`list jsonstats`).
    pub fn json(&self) -> String {
        tree::tree(&self.report()).to_json()
    }

    /// The text of `list totals`.
    pub fn totals(&self) -> String {
        text::totals(&self.report())
    }

    /// Whose calls they are about.
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The numbers of this moment.
    pub(super) fn report(&self) -> Report {
        let interval = self.interval.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Report { interval, ..Report::take(&self.engine, &self.commands) }
    }

    /// The times of requests are of interest from now on.
    pub(super) fn time_requests(&self) {
        self.commands.note_extremes();
    }

    /// See [`CommandCounters::take_extremes`].
    pub(super) fn take_extremes(&self) -> Vec<Extremes> {
        self.commands.take_extremes()
    }

    /// An interval was told to Graphite; reports show it from now on.
    pub(super) fn reported(&self, interval: IntervalReport) {
        *self.interval.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(interval));
    }
}

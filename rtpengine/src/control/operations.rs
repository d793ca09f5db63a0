//! What operators reach by every door: the command line and the reports.

use std::sync::Arc;

use service::log::LogHandle;

use super::cli::Cli;
use super::console::Console;
use super::ng::command::CommandCounters;
use super::statistics::Statistics;
use crate::call::Engine;
use crate::persist::Persistence;

/// One for all doors.
pub struct Operations {
    /// Command lines ([`Cli::execute`]).
    pub cli: Cli,
    /// Reports ([`Statistics::metrics`]).
    pub statistics: Arc<Statistics>,
    /// Counters of all doors of the ng protocol.
    pub commands: Arc<CommandCounters>,
}

impl Operations {
    /// Without a log, log levels cannot be seen or changed.
    pub fn new(engine: Arc<Engine>, log: Option<LogHandle>) -> Self {
        let commands = Arc::<CommandCounters>::default();
        let statistics = Arc::new(Statistics::new(engine.clone(), commands.clone()));
        Self { cli: Cli::new(engine, statistics.clone(), log), statistics, commands }
    }

    /// Calls are stored by this.
    pub fn with_persistence(mut self, persistence: Arc<Persistence>) -> Self {
        self.cli.persistence = Some(persistence);
        self
    }
}

impl Console for Operations {
    fn cli(&self, line: &str) -> String {
        self.cli.execute(line)
    }

    fn metrics(&self) -> String {
        self.statistics.metrics()
    }
}

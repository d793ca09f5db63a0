//! What every daemon of this project needs around its job.
//!
//! * [`options`]: one table of options per program → command line, config file, `--help`, manual page.
//! * [`address`]: host names, listen addresses, system interfaces.
//! * [`log`]: `tracing` events → syslog datagrams or standard error.
//! * [`process`]: daemonising, pid file, signals, resource limits, threads, service manager.
//!
//! Nothing here knows what the daemons do.

#![warn(missing_docs)]

pub mod address;
pub mod log;
pub mod options;
pub mod process;

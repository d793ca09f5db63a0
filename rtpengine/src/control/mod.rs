//! The doors through which commands come in.
pub mod cli;
pub mod cli_listener;
pub mod console;
pub mod dtmf_log;
pub mod http;
pub mod janus;
pub mod ng;
pub mod operations;
pub mod statistics;
mod tcp_listener;

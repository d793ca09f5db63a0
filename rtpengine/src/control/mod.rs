//! The doors through which commands come in.
pub mod cli_listener;
pub mod console;
pub mod http;
pub mod janus;
pub mod ng;
mod tcp_listener;

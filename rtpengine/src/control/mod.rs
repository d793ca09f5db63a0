//! The doors through which commands come in.
pub mod ng;
mod tcp_listener;

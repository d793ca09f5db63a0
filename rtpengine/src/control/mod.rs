//! The doors through which commands come in.
mod answer;
pub mod cli;
pub mod cli_listener;
pub mod console;
pub mod cookie_cache;
pub mod http;
pub mod janus;
pub mod legacy;
mod line;
pub mod ng;
pub mod operations;
pub mod report;
pub mod statistics;
mod tcp_listener;
mod udp_door;
#[allow(unsafe_code)]
mod udp_socket;

pub use answer::{Answer, Respond};
pub use udp_door::{Tos, UdpDoor, UdpListeners};

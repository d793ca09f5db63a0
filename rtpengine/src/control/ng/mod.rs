//! The ng protocol: messages of a cookie and a dictionary, answered with the same cookie.
//!
//! ```text
//! datagram or stream → udp_door, tcp → responder ─ cookie seen? → stored reply
//!                                          └ decode → NgRequest → Handler → reply dictionary → stored, sent
//! ```
//!
//! Every transport uses the same [`Responder`], hence the same cookie cache, counters and templates.

pub mod client;
pub mod command;
mod commands;
mod decode;
pub mod events;
mod explain;
pub mod framing;
mod handler;
mod quality;
mod query;
mod replies;
pub mod request;
mod responder;
pub mod tcp;

pub use commands::Commands;
pub use handler::{Handler, Outcome, error};
pub use request::{NgRequest, Templates};
pub use responder::{Format, Responder};
pub use tcp::TcpListeners;

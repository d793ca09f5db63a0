//! HTTP, HTTPS and WebSocket: one door, two kinds of listeners.
//!
//! ```text
//! connection → (TLS) → request → route ─ /ng, /ng-plain → Responder
//!                         │              /cli, /metrics → Console
//!                         │              /janus, /admin → Janus
//!                         └ upgrade → subprotocol → session, messages one after the other
//! ```
//!
//! The door has threads of its own (`http-threads`). Heads, bodies, messages, connections and the time that each may take are bounded
//! by [`Limits`].

mod answer;
mod door;
mod route;
mod server;
pub mod tls;
mod websocket;
mod write_timeout;

pub use door::HttpDoor;
pub use server::{HttpError, HttpListeners, Limits};
pub use tls::{Certificate, CertificateFiles};

use std::sync::Arc;

use super::console::Console;
use super::janus::Janus;
use super::ng::Responder;

/// What stands behind the door.
#[derive(Clone)]
pub struct Services {
    /// The ng protocol.
    pub responder: Arc<Responder>,
    /// Command lines and metrics; without it they do not exist.
    pub console: Option<Arc<dyn Console>>,
    /// The Janus interface.
    pub janus: Arc<Janus>,
}

//! What stands behind the doors.

use std::future::Future;
use std::pin::Pin;

use super::query::CallReport;
use super::request::NgRequest;
use crate::proto::value::Dict;

/// What executes requests.
pub trait Handler: Send + Sync + 'static {
    /// Executes a request. Called on a listener's own task: whatever may wait belongs into [`Outcome::Later`].
    fn handle(&self, request: NgRequest) -> Outcome;

    /// Called when a reply has been sent: does in advance what later requests will need.
    fn prepare(&self) {}
}

/// The whole reply, `result` included, now or later.
pub enum Outcome {
    /// The reply.
    Ready(Dict),
    /// The state of a call and `result: ok`.
    Report(Box<CallReport>),
    /// The reply needs something to happen first; other requests are served meanwhile.
    Later(Pin<Box<dyn Future<Output = Dict> + Send>>),
}

/// The general error reply.
pub fn error(reason: &str) -> Dict {
    let mut reply = Dict::new();
    reply.push("result", "error").push("error-reason", reason);
    reply
}

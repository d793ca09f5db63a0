//! What is told about a call that has ended.

use std::net::IpAddr;
use std::time::SystemTime;

use tokio::sync::mpsc::error::TrySendError;
use tracing::Level;

use super::dump::CallDump;
use super::engine::Engine;
use super::model::Call;
use super::snapshot::{CallSnapshot, SsrcSnapshot};
use super::timers::EndReason;

/// A call as it was when it ended.
#[derive(Clone, Debug)]
pub struct EndedReport {
    /// The call with its parties.
    pub call: CallDump,
    /// Why it ended.
    pub reason: EndReason,
    /// When.
    pub ended: SystemTime,
    /// `xmlrpc-callback`: who is called instead of the proxy that made the call.
    pub callback: Option<IpAddr>,
    /// What was received, with the quality that receivers reported.
    pub ssrcs: Vec<SsrcSnapshot>,
}

impl Engine {
    /// Tells whoever wants to know; if they do not keep up, they miss it. Foreign calls are the other instance's to tell.
    pub(super) fn tell_ended(&self, call: &Call, reason: EndReason) {
        let wanted =
            self.config.reporting.wants_ended_calls() || tracing::enabled!(target: "core", Level::INFO);
        let Some(ended) = self.ended.as_ref().filter(|_| wanted && !call.foreign) else { return };
        let report = EndedReport {
            call: CallDump::take(call),
            reason,
            ended: SystemTime::now(),
            callback: call.xmlrpc_callback,
            ssrcs: CallSnapshot::take(call, None).ssrcs,
        };
        // Nobody listens any more when the daemon is shutting down.
        if let Err(TrySendError::Full(_)) = ended.try_send(Box::new(report)) {
            tracing::error!(call_id = %call.id, limit = true, "too many calls end at once: no record of this one");
        }
    }
}

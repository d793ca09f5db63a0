//! Edges compiled for the packet path: sinks as slots, payload types as a table.

use std::sync::Arc;

use codec::graph::TranscodePlan;

use super::plan::{DropReason, EdgePlan, Handling, StreamId};
use super::transcode::Transcoding;

/// What to do with a packet; two octets, so that a table of all payload types is four cache lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Forward,
    Rewrite(u8),
    /// Index into [`Edge::plans`].
    Transcode(u8),
    Drop(DropReason),
}

/// One way out of a stream.
pub struct Edge {
    pub rtp_to: Option<u32>,
    pub rtcp_to: Option<u32>,
    default: Action,
    /// `None`: all payload types alike.
    table: Option<Box<[Action; 128]>>,
    /// SSRC and codec state; `None` on pass-through edges.
    pub transcoding: Option<Box<Transcoding>>,
    pub rtp_sink: Option<StreamId>,
}

impl Edge {
    /// Compiles a plan; a sink that the call does not have is no sink.
    pub fn compile(plan: &EdgePlan, slot_of: impl Fn(StreamId) -> Option<u32>) -> Self {
        let mut plans: Vec<Arc<TranscodePlan>> = Vec::new();
        let mut action = |handling: &Handling| match handling {
            Handling::Forward { payload_type: None } => Action::Forward,
            Handling::Forward { payload_type: Some(pt) } => Action::Rewrite(pt & 0x7f),
            Handling::Drop(reason) => Action::Drop(*reason),
            Handling::Transcode(plan) => match u8::try_from(plans.len()) {
                Ok(index) => {
                    plans.push(Arc::clone(plan));
                    Action::Transcode(index)
                }
                Err(_) => Action::Drop(DropReason::PayloadType),
            },
        };
        let default = action(&plan.default);
        let table = (!plan.by_payload_type.is_empty()).then(|| {
            let mut table = Box::new([default; 128]);
            for (payload_type, handling) in &plan.by_payload_type {
                table[usize::from(payload_type & 0x7f)] = action(handling);
            }
            table
        });
        let transcoding = (!plans.is_empty()).then(|| Box::new(Transcoding::new(plans)));
        Self {
            rtp_to: plan.rtp_to.and_then(&slot_of),
            rtcp_to: plan.rtcp_to.and_then(&slot_of),
            default,
            table,
            transcoding,
            rtp_sink: plan.rtp_to,
        }
    }

    /// What happens to a payload type.
    #[inline]
    pub fn action(&self, payload_type: u8) -> Action {
        match &self.table {
            None => self.default,
            Some(table) => table[usize::from(payload_type & 0x7f)],
        }
    }
}

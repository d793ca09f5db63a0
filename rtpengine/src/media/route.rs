//! Edges compiled for the packet path: sinks as slots, payload types as a table.

use std::sync::Arc;
use std::time::Instant;

use codec::PayloadFormat;
use codec::graph::{Settings, TranscodePlan};
use smol_str::SmolStr;

use super::apart::KeyUse;
use super::filter::Filter;
use super::listeners::Listener;
use super::plan::{DropReason, EdgePlan, Handling, StreamId};
use super::rtcp::RtcpRoute;
use super::silence::detect_silence;
use super::ssrc::Seen;
use super::transcode::{Source, Transcoding};
use super::treatment::Treatment;
use crate::prefetch::prefetch;

/// What to do with a packet; two octets, so that a table of all payload types is four cache lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Forward,
    Rewrite(u8),
    /// Index into the plans of [`Edge::transcoding`].
    Transcode(u8),
    Drop(DropReason),
}

/// One way out of a stream. What every packet touches is in front, in [`Edge::HOT_LINES`].
#[repr(C, align(64))]
pub struct Edge {
    pub rtp_to: Option<u32>,
    /// `None`: all payload types alike.
    table: Option<Box<[Action; 128]>>,
    /// SSRC and codec state; `None` on pass-through edges.
    pub transcoding: Option<Box<Transcoding>>,
    /// What commands ask for; `None` on edges without.
    pub filter: Option<Box<Filter>>,
    /// Changes SSRCs of packets that keep their payload; 0 leaves them.
    pub ssrc_mask: u32,
    /// Position of the edge that serves this one's sink.
    pub follows: Option<u16>,
    default: Action,
    section: Option<u8>,
    pub key_use: KeyUse,
    is_echo: bool,
    /// Headers change.
    rewrites: bool,
    /// Who else gets what goes to the RTP sink ([`super::listeners`]).
    pub also: Vec<Listener>,
    /// What the sink calls the section that its packets are for.
    pub mid: Option<SmolStr>,
    pub rtcp_to: Option<u32>,
    /// What RTCP on this edge may have to be mapped by; `None` lets it pass.
    pub rtcp: Option<Box<RtcpRoute>>,
    pub rtp_sink: Option<StreamId>,
    pub rtcp_sink: Option<StreamId>,
    /// The mask for the case that the source's SSRCs must not be used ([`super::apart`]).
    pub other_ssrc_mask: u32,
}

impl Edge {
    /// Cache lines that a packet which passes touches.
    pub const HOT_LINES: [usize; 2] = [0, 1];

    /// Asks for what a packet of a payload type will touch beyond them.
    #[inline]
    pub fn look_ahead(&self, payload_type: u8) {
        if let Some(table) = &self.table {
            prefetch(&table[usize::from(payload_type & 0x7f)], [0]);
        }
    }

    /// Compiles a plan; a sink that the call does not have is no sink. `formats` are those of the stream that the
    /// edge starts from, and of its RTP sink.
    pub fn compile(
        plan: &EdgePlan,
        formats: [&[PayloadFormat]; 2],
        slot_of: impl Fn(StreamId) -> Option<u32>,
        settings: &Settings,
    ) -> Self {
        let detecting = settings.silence.as_ref().and_then(|_| detect_silence(plan, formats));
        let plan = detecting.as_ref().unwrap_or(plan);
        let mut plans: Vec<Arc<TranscodePlan>> = Vec::new();
        let mut action = |handling: &Handling| match handling {
            Handling::Forward { payload_type: None } | Handling::Echo => Action::Forward,
            Handling::Forward { payload_type: Some(pt) } => Action::Rewrite(pt & 0x7f),
            Handling::Drop(reason) => Action::Drop(*reason),
            // Payload types that share a plan (an audio codec and its comfort noise) share the transcoder.
            Handling::Transcode(plan) => {
                let known = plans.iter().position(|other| other == plan);
                let index = known.unwrap_or(plans.len());
                if known.is_none() {
                    plans.push(Arc::clone(plan));
                }
                u8::try_from(index).map_or(Action::Drop(DropReason::PayloadType), Action::Transcode)
            }
        };
        let default = action(&plan.default);
        let table = (!plan.by_payload_type.is_empty()).then(|| {
            let mut table = Box::new([default; 128]);
            for (payload_type, handling) in &plan.by_payload_type {
                table[usize::from(payload_type & 0x7f)] = action(handling);
            }
            table
        });
        let transcoding = (!plans.is_empty()).then(|| {
            let transcoding = Transcoding::new(plans, passing(plan, formats), settings);
            Box::new(transcoding.with_dtmf(plan.dtmf.clone()))
        });
        let filter =
            (!plan.treatment.is_none()).then(|| Box::new(Filter::new(plan.treatment.clone(), formats[0])));
        let rewrites = plan.by_payload_type.iter().map(|(_, handling)| handling).chain([&plan.default]);
        let rewrites = rewrites.into_iter().any(|h| matches!(h, Handling::Forward { payload_type: Some(_) }));
        let is_echo = plan.default == Handling::Echo;
        Self {
            rtp_to: plan.rtp_to.and_then(&slot_of),
            rtcp_to: plan.rtcp_to.and_then(&slot_of),
            default,
            section: plan.section,
            mid: plan.mid.clone(),
            table,
            ssrc_mask: if is_echo { ssrc_mask(plan.from) } else { 0 },
            // One sink must not get what another one gets, either.
            other_ssrc_mask: ssrc_mask(plan.from) ^ plan.rtp_to.map_or(0, |to| ssrc_mask(to).rotate_left(16)),
            key_use: KeyUse::Own,
            is_echo,
            rewrites,
            transcoding,
            filter,
            rtcp: None,
            rtp_sink: plan.rtp_to,
            rtcp_sink: plan.rtcp_to,
            also: Vec::new(),
            follows: None,
        }
    }

    /// Goes to the same peer as an edge of an earlier plan. On hold an edge has no RTP sink but is still the same.
    pub fn continues(&self, old: &Edge) -> bool {
        let same_sink = match (self.rtp_sink, old.rtp_sink) {
            (Some(new), Some(old)) => new == old,
            _ => self.rtcp_sink == old.rtcp_sink,
        };
        same_sink && (self.section == old.section || self.section.is_none() || old.section.is_none())
    }

    /// The same packets get the same treatment on both.
    pub fn has_same_actions(&self, other: &Self) -> bool {
        self.default == other.default && self.table == other.table && self.section == other.section
    }

    /// The section whose packets it takes, if not all.
    pub fn section(&self) -> Option<u8> {
        self.section
    }

    /// A packet is of another section than those that this edge takes.
    #[inline]
    pub fn is_foreign(&self, seen: &Seen) -> bool {
        self.section.is_some() && self.section != seen.section
    }

    /// Packets are changed before they come to this edge.
    pub fn gets_changed_packets(&mut self) {
        self.rewrites = true;
    }

    /// Packets that keep their SSRC do not all leave as they came.
    pub fn changes_packets(&self) -> bool {
        self.rewrites || self.filter.is_some()
    }

    /// Keeps the SSRCs of an earlier plan's edge.
    pub fn adopt_ssrcs(&mut self, old: &Edge) {
        if !self.is_echo && !old.is_echo {
            self.ssrc_mask = old.ssrc_mask;
        }
    }

    /// What RTCP has to follow: SSRCs of packets that pass may be others on the far side.
    pub fn may_change_ssrcs(&self) -> bool {
        !self.is_echo && (self.ssrc_mask != 0 || self.key_use != KeyUse::Own)
    }

    /// Goes on where the filter of an earlier plan's edge stood.
    pub fn adopt_filter(&mut self, now: Instant, old: &Edge, formats: &[PayloadFormat]) {
        let Some(before) = &old.filter else { return };
        if self.filter.is_none() && before.must_stay(now) {
            self.filter = Some(Box::new(Filter::new(Treatment::default(), formats)));
        }
        if let Some(filter) = &mut self.filter {
            filter.adopt(before);
        }
    }

    /// The transcoder that numbers a packet which keeps its payload, if one does; see [`Transcoding::companion`].
    pub fn numbers_of(&mut self, now: Instant, seen: &Seen) -> Option<Result<&mut Source, DropReason>> {
        self.transcoding.as_mut()?.companion(now, seen.ssrc, seen.payload_type)
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

/// Differs between streams, and stays when a plan is installed again.
fn ssrc_mask(stream: StreamId) -> u32 {
    (stream.0 as u32).wrapping_mul(0x9e37_79b1) | 1
}

/// The formats of `from` that pass on this edge, as they come and as they leave.
fn passing<'a>(
    plan: &'a EdgePlan,
    [from, to]: [&'a [PayloadFormat]; 2],
) -> impl Iterator<Item = (PayloadFormat, PayloadFormat)> + 'a {
    from.iter().filter_map(move |source| {
        let listed = plan.by_payload_type.iter().find(|(pt, _)| *pt == source.payload_type);
        let Handling::Forward { payload_type } = listed.map_or(&plan.default, |(_, handling)| handling)
        else {
            return None;
        };
        let payload_type = payload_type.unwrap_or(source.payload_type);
        let sink = to.iter().find(|f| f.payload_type == payload_type && f.kind() == source.kind());
        let sink = sink.cloned().unwrap_or_else(|| PayloadFormat { payload_type, ..source.clone() });
        Some((source.clone(), sink))
    })
}

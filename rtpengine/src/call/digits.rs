//! Digits in audio: when an edge of the data plane has to find tones, or make them, and what it does about them.
//!
//! A party *takes* events when it was told of telephone-event and has it itself; only then it *sends* them, too. Where a sender has no
//! events and a hearer takes them, tones become events; the other way round events become tones. A DTMF security mode that replaces or
//! silences digits is for tones as well.

use std::sync::Arc;

use codec::def::Kind;
use codec::graph::{DtmfPlan, Instead, TonePlan};

use super::coding;
use super::model::Media;
use crate::media::plan::{EdgePlan, Handling};

/// What an edge is to know beyond the two media.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// What a security mode puts in the place of digits.
    pub instead: Option<Instead>,
    /// Digits come later: at first nothing of them is heard.
    pub delayed: bool,
    /// `dtmf-no-suppress`
    pub keeps_audio: bool,
}

/// Makes an edge find or make tones, if it has to. `decoded` is what happens to payload types when everything is decoded that can be.
pub fn arm(
    edge: &mut EdgePlan,
    from: &Media,
    to: &Media,
    wishes: Wishes,
    decoded: impl FnOnce() -> (Handling, Vec<(u8, Handling)>),
) {
    let Some(plan) = conversion(from, to, wishes) else { return };
    let (default, mut listed) = decoded();
    if !listed.iter().any(|(_, handling)| matches!(handling, Handling::Transcode(_))) {
        // Nobody can decode what comes.
        return;
    }
    if plan.events_become_tones {
        for format in from.remote.iter().flat_map(|remote| remote.formats.iter()) {
            if format.kind() == Kind::TelephoneEvent {
                listed.retain(|(payload_type, _)| *payload_type != format.payload_type);
                listed.push((format.payload_type, Handling::FORWARD));
            }
        }
    }
    (edge.default, edge.by_payload_type) = (default, listed);
    edge.dtmf = Some(Arc::new(plan));
}

fn conversion(from: &Media, to: &Media, wishes: Wishes) -> Option<DtmfPlan> {
    let is_audio = |media: &Media| media.is_rtp() && media.media_type == "audio" && media.remote.is_some();
    if !is_audio(from) || !is_audio(to) {
        return None;
    }
    let sends_events = coding::event_format(from).is_some();
    let taken = coding::event_format(to).map(|format| (format.payload_type, format.clock_rate));
    let Wishes { instead, delayed, keeps_audio } = wishes;
    let instead = match instead {
        _ if delayed => Some(Instead::Silence),
        // The events say it, in their own way.
        Some(_) if sends_events => Some(Instead::Silence),
        Some(instead) => Some(instead),
        None => (!sends_events && taken.is_some()).then_some(Instead::Same),
    };
    let plan = DtmfPlan {
        events_become_tones: sends_events && taken.is_none(),
        tones: instead.map(|instead| TonePlan { instead, events: taken, keeps_audio }),
    };
    (plan != DtmfPlan::default()).then_some(plan)
}

//! `explain`: why the media of an offer or answer are as they are. Worked out on demand from what the call keeps anyway.

use smol_str::SmolStr;

use super::coding::{self, Side};
use super::engine::Engine;
use super::model::{Call, Media, PartyId};
use super::store::lock;
use super::switches;
use crate::media::offload::{Place, Reason};
use crate::media::plan::Handling;
use crate::media::treatment::{DtmfTreatment, MediaTreatment};
use crate::negotiate::codecs::Registry;
use crate::negotiate::codecs::explain::{ExplainedCodec, answered, offered};
use crate::negotiate::signal::{CodecOptions, Signal};
use crate::proto::sdp::model::MediaFormat;

/// One media section.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedMedia {
    /// Position in the SDP, from 1; 0 for a section that the sender was not shown.
    pub index: usize,
    pub media_type: SmolStr,
    /// Codecs of the message's SDP, and those that were added to it.
    pub codecs: Vec<ExplainedCodec>,
    /// What is sent from the one to the other party, and back.
    pub streams: Vec<ExplainedStream>,
}

/// What one party sends to the other.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedStream {
    pub from_tag: Option<SmolStr>,
    pub to_tag: Option<SmolStr>,
    /// Why nothing, or not everything, gets through.
    pub restrictions: Vec<&'static str>,
    /// Payload types that the sender may use, and what happens to them.
    pub payload_types: Vec<(u8, SmolStr)>,
    /// Who forwards its packets, and if user space does, why.
    pub place: Place,
}

/// Whether the message was an offer or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    Offer,
    Answer,
}

/// A party and what its last message has led to.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedParty {
    pub tag: Option<SmolStr>,
    pub partner: Option<SmolStr>,
    pub media: Vec<ExplainedMedia>,
}

impl Engine {
    /// Explains what a message, which was `signal`, has led to. Nothing if its sender has no partner.
    pub fn explain(&self, signal: &Signal, message: Message) -> Vec<ExplainedMedia> {
        let Ok(handle) = self.selected_call(signal) else { return Vec::new() };
        let call = lock(&handle);
        let sender = match message {
            Message::Offer => &signal.identity.from_tag,
            Message::Answer => &signal.identity.to_tag,
        };
        let sender = sender.as_deref().and_then(|tag| call.by_tag(tag));
        sender.map_or_else(Vec::new, |sender| explain_party(&call, sender))
    }

    /// Explains a whole call: every party that has a partner, by its last message. `None` if there is no such call.
    pub fn explain_call(&self, call_id: &str) -> Option<Vec<ExplainedParty>> {
        let handle = self.store.get(call_id)?;
        let call = lock(&handle);
        let tag = |id: PartyId| call.party(id).tag.clone();
        let with_partner = (0..call.parties.len())
            .map(PartyId)
            .filter_map(|party| Some((party, call.party(party).partner?)))
            .map(|(party, partner)| ExplainedParty {
                tag: tag(party),
                partner: tag(partner),
                media: explain_party(&call, party),
            });
        (!call.ended).then(|| with_partner.collect())
    }
}

fn explain_party(call: &Call, sender: PartyId) -> Vec<ExplainedMedia> {
    let Some(receiver) = call.party(sender).partner else { return Vec::new() };
    let pairs = call.party(sender).media.iter().zip(&call.party(receiver).media);
    pairs.map(|(from, to)| explain(call, (sender, from), (receiver, to))).collect()
}

fn explain(call: &Call, from: (PartyId, &Media), to: (PartyId, &Media)) -> ExplainedMedia {
    let plain = |format: &codec::PayloadFormat| MediaFormat { format: format.clone(), feedback: Vec::new() };
    let received: Vec<MediaFormat> =
        from.1.remote.iter().flat_map(|remote| remote.formats.iter()).map(plain).collect();
    let negotiated = &from.1.coding.negotiated;
    let (side, state, registry) = (from.1.coding.side, &negotiated.codecs, &Registry::BUILD);
    let none = CodecOptions::default();
    let codecs = match side {
        Side::Offerer => {
            offered(&received, state, negotiated.offer_options.as_deref().unwrap_or(&none), registry)
        }
        Side::Answerer => {
            answered(&received, state, negotiated.answer_options.as_deref().unwrap_or(&none), registry)
        }
    };
    ExplainedMedia {
        index: from.1.index.unwrap_or(0),
        media_type: from.1.media_type.clone(),
        codecs,
        streams: vec![stream(call, from, to), stream(call, to, from)],
    }
}

fn stream(call: &Call, from: (PartyId, &Media), to: (PartyId, &Media)) -> ExplainedStream {
    let treatment = switches::treatment(call, from, to);
    let restrictions = [
        (call.drop_traffic, "drop-traffic: nothing passes"),
        (from.1.is_rejected() || to.1.is_rejected(), "a party has rejected the section"),
        (!from.1.may_send(), "the sender does not send (direction of its SDP)"),
        (!to.1.may_receive(), "the receiver does not receive (direction of its SDP)"),
        (treatment.media == MediaTreatment::Block, "block media"),
        (treatment.media == MediaTreatment::Silence, "silence media"),
        (treatment.dtmf == DtmfTreatment::Drop, "block DTMF: digits are dropped"),
        (treatment.dtmf_delayed, "DTMF-delay: digits come later"),
        (
            !matches!(treatment.dtmf, DtmfTreatment::Pass | DtmfTreatment::Drop),
            "block DTMF: digits are replaced",
        ),
    ];
    let tag = |id: PartyId| call.party(id).tag.clone();
    ExplainedStream {
        from_tag: tag(from.0),
        to_tag: tag(to.0),
        restrictions: restrictions.into_iter().filter_map(|(is_so, text)| is_so.then_some(text)).collect(),
        payload_types: payload_types(from.1, to.1),
        place: match from.1.streams[0].shared.place() {
            Place::UserSpace(_) if coding::is_transcoded(from.1, to.1) => {
                Place::UserSpace(Reason::Transcoded)
            }
            place => place,
        },
    }
}

fn payload_types(from: &Media, to: &Media) -> Vec<(u8, SmolStr)> {
    if !(from.is_rtp() && to.is_rtp()) {
        return Vec::new();
    }
    let (default, listed) = coding::handling(from, to);
    let formats = from.remote.iter().flat_map(|remote| remote.formats.iter());
    formats
        .map(|format| {
            let handling = listed.iter().find(|(number, _)| *number == format.payload_type);
            let text = match handling.map_or(&default, |(_, handling)| handling) {
                Handling::Forward { payload_type: None } => "passes: the receiver takes it".to_owned(),
                Handling::Forward { payload_type: Some(number) } => {
                    format!("passes as {number}: the receiver has it under this number")
                }
                Handling::Transcode(plan) if plan.source.same_codec(&plan.sink) => format!(
                    "is decoded and encoded again as {}: force-transcoding, or another packet time",
                    plan.sink.payload_type
                ),
                Handling::Transcode(plan) => format!(
                    "is transcoded to {} {}/{}: the receiver does not take it",
                    plan.sink.payload_type, plan.sink.name, plan.sink.clock_rate
                ),
                Handling::Drop(_) => "is dropped: the receiver has no use for it".to_owned(),
                Handling::Echo => "goes back to its sender".to_owned(),
            };
            (format.payload_type, text.into())
        })
        .collect()
}

//! `explain`: why the media of an offer or answer are as they are. Worked out on demand from what the call keeps anyway.

use std::sync::Arc;

use smol_str::SmolStr;

use super::coding::{self, Negotiated, Side};
use super::engine::Engine;
use super::model::{Call, Media, PartyId};
use super::store::lock;
use super::subscription::Subscription;
use super::switches;
use crate::media::offload::{Place, Reason};
use crate::media::plan::Handling;
use crate::media::treatment::{DtmfTreatment, MediaTreatment};
use crate::negotiate::codecs::Registry;
use crate::negotiate::codecs::explain::{ExplainedCodec, Fate, accepted, answered, joined, offered};
use crate::negotiate::signal::{CodecOptions, Signal};
use crate::proto::sdp::model::MediaFormat;

/// One media section.
#[derive(Clone, Debug, Default, PartialEq)]
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
    pub relation: Relation,
    pub media: Vec<ExplainedMedia>,
}

/// Whom a party has media with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    /// It exchanges media with this one (offer and answer, `connect`).
    Towards(Option<SmolStr>),
    /// It has offered media to the daemon alone (`publish`).
    Publishes,
    /// It hears this one (`subscribe request`, directional `connect`, `mesh`, `inject start`).
    Hears(Option<SmolStr>),
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

    /// Explains what a party has published. Nothing if there is no such party.
    pub fn explain_published(&self, call_id: &str, tag: &str) -> Vec<ExplainedMedia> {
        self.explain_of(call_id, tag, published)
    }

    /// Explains what a party hears by subscriptions: by what it was offered, or by what it answered.
    pub fn explain_subscriber(&self, call_id: &str, tag: &str, message: Message) -> Vec<ExplainedMedia> {
        self.explain_of(call_id, tag, |call, sink| {
            heard_by(call, sink).map(|subscription| subscribed(call, subscription, message)).collect()
        })
    }

    /// Explains what `connect` has led to for its `to-tag`: the exchange with its new partner, or what it hears.
    pub fn explain_connected(&self, signal: &Signal) -> Vec<ExplainedMedia> {
        let identity = &signal.identity;
        let (Some(call_id), Some(tag)) = (identity.call_id.as_deref(), identity.to_tag.as_deref()) else {
            return Vec::new();
        };
        if signal.flags.directional {
            return self.explain_subscriber(call_id, tag, Message::Offer);
        }
        self.explain_of(call_id, tag, |call, sink| {
            call.party(sink).partner.map_or_else(Vec::new, |source| explain_party(call, source))
        })
    }

    fn explain_of(
        &self,
        call_id: &str,
        tag: &str,
        explain: impl FnOnce(&Call, PartyId) -> Vec<ExplainedMedia>,
    ) -> Vec<ExplainedMedia> {
        let Some(handle) = self.store.get(call_id) else { return Vec::new() };
        let call = lock(&handle);
        call.by_tag(tag).map_or_else(Vec::new, |party| explain(&call, party))
    }

    /// Explains a whole call: every party by its last message, and by what it hears. `None` if there is no such call.
    pub fn explain_call(&self, call_id: &str) -> Option<Vec<ExplainedParty>> {
        let handle = self.store.get(call_id)?;
        let call = lock(&handle);
        let of = |party: PartyId| explain_relations(&call, party);
        (!call.ended).then(|| (0..call.parties.len()).map(PartyId).flat_map(of).collect())
    }
}

fn explain_relations(call: &Call, party: PartyId) -> Vec<ExplainedParty> {
    let tag = |id: PartyId| call.party(id).tag.clone();
    let with = |relation, media: Vec<ExplainedMedia>| ExplainedParty { tag: tag(party), relation, media };
    let mut relations = Vec::new();
    match call.party(party).partner {
        Some(partner) => relations.push(with(Relation::Towards(tag(partner)), explain_party(call, party))),
        None => relations.extend(
            Some(published(call, party)).filter(|m| !m.is_empty()).map(|m| with(Relation::Publishes, m)),
        ),
    }
    for source in call.sources_of(party) {
        let from = heard_by(call, party).filter(|subscription| subscription.source.party == source);
        let media: Vec<_> = from.map(|subscription| subscribed(call, subscription, Message::Offer)).collect();
        // What goes back on a subscription is told with it.
        if !media.is_empty() {
            relations.push(with(Relation::Hears(tag(source)), media));
        }
    }
    relations
}

/// The sections that a party has offered to the daemon alone.
fn published(call: &Call, party: PartyId) -> Vec<ExplainedMedia> {
    let party = call.party(party);
    let is_answered = |media: &&Media| {
        media.coding.side == Side::Offerer && !media.coding.negotiated.codecs.towards_offerer.is_empty()
    };
    let sections = party.media.iter().filter(|_| party.partner.is_none()).filter(is_answered);
    let none = CodecOptions::default();
    let explained = |media: &Media| {
        let negotiated = &media.coding.negotiated;
        let options = negotiated.answer_options.as_deref().unwrap_or(&none);
        let codecs = accepted(&received(media), &negotiated.codecs, options, &Registry::BUILD);
        ExplainedMedia { codecs, ..ExplainedMedia::about(media) }
    };
    sections.map(explained).collect()
}

/// Subscriptions of a party to others, without those that are the way back of one.
fn heard_by(call: &Call, sink: PartyId) -> impl Iterator<Item = &Subscription> {
    call.subscriptions.iter().filter(move |s| s.sink.party == sink && s.side == Side::Offerer)
}

/// What a section of a subscriber hears of one source.
fn subscribed(call: &Call, subscription: &Subscription, message: Message) -> ExplainedMedia {
    let Subscription { source, sink, negotiated, .. } = subscription;
    let (Some(from), Some(to)) = (call.media(*source), call.media(*sink)) else {
        return ExplainedMedia::default();
    };
    let (state, none) = (&negotiated.codecs, CodecOptions::default());
    let options = |options: &Option<Arc<CodecOptions>>| options.as_deref().unwrap_or(&none).clone();
    let codecs = match message {
        _ if negotiated.joined => both_ways(negotiated, Side::Offerer),
        Message::Offer => {
            let sent: Vec<MediaFormat> = state.offerer.iter().map(|f| f.format.clone()).collect();
            offered(&sent, state, &options(&negotiated.offer_options))
        }
        Message::Answer => {
            let mut codecs = answered(&received(to), state, &options(&negotiated.answer_options));
            // Nobody sends these.
            codecs.retain(|codec| codec.fate != Fate::Added);
            codecs
        }
    };
    let back = call.subscriptions.iter().find(|other| (other.source, other.sink) == (*sink, *source));
    let ways = [(Some(subscription), (source, from), (sink, to)), (back, (sink, to), (source, from))];
    let streams = ways.into_iter().filter_map(|(way, from, to)| {
        let way = way?;
        let negotiated = coding::followed(&way.negotiated, way.side, from.1);
        let handling = coding::subscribed_handling(&negotiated, way.side);
        Some(stream(call, (from.0.party, from.1), (to.0.party, to.1), &handling))
    });
    ExplainedMedia { codecs, streams: streams.collect(), ..ExplainedMedia::about(to) }
}

fn explain_party(call: &Call, sender: PartyId) -> Vec<ExplainedMedia> {
    let Some(receiver) = call.party(sender).partner else { return Vec::new() };
    let pairs = call.party(sender).signalled().zip(call.party(receiver).signalled());
    pairs.map(|(from, to)| explain(call, (sender, from), (receiver, to))).collect()
}

fn explain(call: &Call, from: (PartyId, &Media), to: (PartyId, &Media)) -> ExplainedMedia {
    let negotiated = &from.1.coding.negotiated;
    let (side, state) = (from.1.coding.side, &negotiated.codecs);
    let none = CodecOptions::default();
    let received = received(from.1);
    let codecs = match side {
        _ if negotiated.joined => both_ways(negotiated, side),
        Side::Offerer => offered(&received, state, negotiated.offer_options.as_deref().unwrap_or(&none)),
        Side::Answerer => answered(&received, state, negotiated.answer_options.as_deref().unwrap_or(&none)),
    };
    let streams = [(from, to), (to, from)]
        .map(|(from, to)| stream(call, from, to, &coding::handling(from.1, to.1)))
        .into();
    ExplainedMedia { codecs, streams, ..ExplainedMedia::about(from.1) }
}

/// Codecs of a party that was joined with another one without an exchange between them.
fn both_ways(negotiated: &Negotiated, side: Side) -> Vec<ExplainedCodec> {
    let state = &negotiated.codecs;
    let offerer: Vec<MediaFormat> = state.offerer.iter().map(|f| f.format.clone()).collect();
    match side {
        Side::Offerer => joined(&offerer, &state.answerer),
        Side::Answerer => joined(&state.answerer, &offerer),
    }
}

/// The codecs of a party's description.
fn received(media: &Media) -> Vec<MediaFormat> {
    let plain = |format: &codec::PayloadFormat| MediaFormat { format: format.clone(), feedback: Vec::new() };
    media.remote.iter().flat_map(|remote| remote.formats.iter()).map(plain).collect()
}

impl ExplainedMedia {
    /// A section with nothing said about it yet.
    fn about(media: &Media) -> Self {
        Self { index: media.index.unwrap_or(0), media_type: media.media_type.clone(), ..Self::default() }
    }
}

fn stream(
    call: &Call,
    from: (PartyId, &Media),
    to: (PartyId, &Media),
    handling: &(Handling, Vec<(u8, Handling)>),
) -> ExplainedStream {
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
        payload_types: payload_types(from.1, to.1, handling),
        place: match from.1.streams[0].shared.place() {
            Place::UserSpace(_) if is_transcoded(from.1, to.1, &handling.1) => {
                Place::UserSpace(Reason::Transcoded)
            }
            place => place,
        },
    }
}

/// Something that is sent from the one to the other, or between the two, is decoded and encoded.
fn is_transcoded(from: &Media, to: &Media, listed: &[(u8, Handling)]) -> bool {
    let shares = Arc::ptr_eq(&from.coding.negotiated, &to.coding.negotiated);
    let decodes = |(_, handling): &(u8, Handling)| matches!(handling, Handling::Transcode(_));
    if shares { coding::is_transcoded(from, to) } else { listed.iter().any(decodes) }
}

fn payload_types(
    from: &Media,
    to: &Media,
    (default, listed): &(Handling, Vec<(u8, Handling)>),
) -> Vec<(u8, SmolStr)> {
    if !(from.is_rtp() && to.is_rtp()) {
        return Vec::new();
    }
    let formats = from.remote.iter().flat_map(|remote| remote.formats.iter());
    formats
        .map(|format| {
            let handling = listed.iter().find(|(number, _)| *number == format.payload_type);
            let text = match handling.map_or(default, |(_, handling)| handling) {
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

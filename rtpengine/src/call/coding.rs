//! What the call model keeps of codec negotiation, and what the data plane is to do with each payload type.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use codec::PayloadFormat;
use codec::def::Kind;
use serde::{Deserialize, Serialize};

use super::model::Media;
use crate::config::TranscodePreference;
use crate::media::plan::{DropReason, Handling};
use crate::negotiate::codecs::{
    self, CodecState, Handler, OffererFormat, PacketTimes, PayloadHandler, Registry,
};
use crate::negotiate::ptime::{self, PtimeState};
use crate::negotiate::signal::{CodecOptions, CodecSpec, Signal};
use crate::negotiate::t38;
use crate::proto::sdp::model::{MediaDescription, MediaFormat};

/// The negotiation of one media between two parties; both point at the same one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Negotiated {
    pub codecs: CodecState,
    pub ptime: PtimeState,
    /// `a=ptime` for whoever is printed to next.
    pub printed_ptime_ms: Option<u16>,
    /// No codec is left and the section is to be printed as rejected.
    pub without_codecs: bool,
    /// Keys of the offer and of the answer that say something about codecs, for whoever asks why.
    pub offer_options: Option<Arc<CodecOptions>>,
    pub answer_options: Option<Arc<CodecOptions>>,
    /// The two were connected without an exchange between them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joined: bool,
    /// What happens to payload types whatever was negotiated (`transform`).
    pub fixed: Vec<PayloadHandler>,
    /// An offer that has not been answered: what holds for its offerer and its answerer until then. It may be refused, and nobody tells us
    /// (RFC 3264 §8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until_answered: Option<Box<[Coding; 2]>>,
    /// What comes of it for what the offerer and the answerer send, once somebody has asked.
    #[serde(skip)]
    ways: [OnceLock<Way>; 2],
}

/// What happens to what one party sends.
#[derive(Clone, Debug, PartialEq)]
struct Way {
    /// Of payload types that are not listed.
    default: Handling,
    listed: Vec<(u8, Handling)>,
    /// A payload type that the sender was shown, hence is expected to send, is decoded and encoded. (One that it offered but was not
    /// shown is converted all the same should it come.)
    transcodes: bool,
    /// Everything passes under its own number, or not at all.
    is_unchanged: bool,
}

impl Way {
    fn new(handlers: Vec<PayloadHandler>, shown: &[MediaFormat]) -> Self {
        let expected = |payload_type| shown.iter().any(|f| f.format.payload_type == payload_type);
        let transcodes =
            handlers.iter().any(|h| matches!(h.handler, Handler::Transcode(_)) && expected(h.payload_type));
        let keeps =
            |h: &PayloadHandler| matches!(h.handler, Handler::Pass { payload_type: None } | Handler::Drop);
        let is_unchanged = !transcodes && handlers.iter().all(keeps);
        let (default, listed) = actions(handlers, transcodes);
        Self { default, listed, transcodes, is_unchanged }
    }
}

impl Negotiated {
    /// Conversions that nobody negotiated.
    pub fn fixed(fixed: Vec<PayloadHandler>) -> Self {
        Self { fixed, ..Self::default() }
    }
}

/// A party's side of [`Negotiated`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coding {
    pub side: Side,
    pub negotiated: Arc<Negotiated>,
}

/// Which half of the last exchange a party was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    #[default]
    Offerer,
    Answerer,
}

impl Coding {
    fn ptime_as_offerer(&self) -> PtimeState {
        match self.side {
            Side::Offerer => self.negotiated.ptime,
            Side::Answerer => self.negotiated.ptime.swapped(),
        }
    }

    /// What holds now: the exchange before an offer that waits for its answer.
    pub fn in_force(&self) -> &Self {
        match (&self.negotiated.until_answered, self.side) {
            (None, _) => self,
            (Some(former), Side::Offerer) => &former[0],
            (Some(former), Side::Answerer) => &former[1],
        }
    }

    /// What a party sends as far as was negotiated, in its own preference.
    fn sent(&self) -> Vec<MediaFormat> {
        match self.side {
            Side::Offerer => self.negotiated.codecs.offerer_list(),
            Side::Answerer => self.negotiated.codecs.receiver_list().to_vec(),
        }
    }

    /// The list that this party was shown last.
    pub fn shown(&self) -> &[MediaFormat] {
        match self.side {
            Side::Offerer => &self.negotiated.codecs.towards_offerer,
            Side::Answerer => &self.negotiated.codecs.offered,
        }
    }

    /// The list from which the next offer to this party starts: what it answered, else what it was shown.
    fn list_so_far(&self) -> &[MediaFormat] {
        match self.side {
            Side::Offerer => &self.negotiated.codecs.towards_offerer,
            Side::Answerer => self.negotiated.codecs.receiver_list(),
        }
    }

    fn is_ptime_overridden(&self) -> bool {
        match self.side {
            Side::Offerer => self.negotiated.ptime.offerer_override_ms.is_some(),
            Side::Answerer => self.negotiated.ptime.answerer_override_ms.is_some(),
        }
    }
}

/// An offer: makes the list for `to`.
pub fn offer(
    from: &mut Media,
    to: &mut Media,
    described: &MediaDescription,
    signal: &Signal,
    preferences: &Arc<[TranscodePreference]>,
) {
    let options = &signal.codecs;
    let offered = codecs::offer(
        &described.formats,
        &described.media_type,
        Some(to.coding.list_so_far()).filter(|list| !list.is_empty()),
        options,
        &Registry::BUILD,
    );
    let previous = to.coding.ptime_as_offerer().swapped();
    let (printed_ptime_ms, ptime) =
        ptime::offer(previous, described.attributes.ptime_ms, options.ptime_ms, options.ptime_reverse_ms);
    let negotiated = Arc::new(Negotiated {
        codecs: CodecState { preferences: Arc::clone(preferences), ..offered.state },
        ptime,
        printed_ptime_ms,
        without_codecs: offered.rejected,
        offer_options: kept_options(options),
        until_answered: agreed(from, to),
        ..Negotiated::default()
    });
    from.coding = Coding { side: Side::Offerer, negotiated: negotiated.clone() };
    to.coding = Coding { side: Side::Answerer, negotiated };
}

/// What two parties have agreed on with each other.
fn agreed(from: &Media, to: &Media) -> Option<Box<[Coding; 2]>> {
    let former = [from, to].map(|media| media.coding.in_force());
    let [own, other] = former;
    let is_shared = own.side != other.side && own.negotiated == other.negotiated;
    let is_answered = !own.negotiated.codecs.answerer.is_empty() && own.negotiated.fixed.is_empty();
    (is_shared && is_answered).then(|| Box::new(former.map(Coding::clone)))
}

/// Remembers what a party that has published asked for, for whoever wants to know why.
pub fn note_published(media: &mut Media, options: &CodecOptions) {
    if let Some(options) = kept_options(options) {
        Arc::make_mut(&mut media.coding.negotiated).answer_options = Some(options);
    }
}

/// Most messages have no such keys: nothing to keep.
fn kept_options(options: &CodecOptions) -> Option<Arc<CodecOptions>> {
    (*options != CodecOptions::default()).then(|| Arc::new(options.clone()))
}

/// An offer of T.38 by `from` that becomes audio for `to`: what `to` spoke so far, else the codecs that the client wants, else G.711.
pub fn offer_for_fax(from: &mut Media, to: &mut Media, signal: &Signal) {
    let registry = &Registry::BUILD;
    let wanted = CodecOptions { transcode: signal.codecs.transcode.clone(), ..CodecOptions::default() };
    let spoken: Vec<MediaFormat> =
        to.coding.list_so_far().iter().filter(|f| registry.encodes(&f.format)).cloned().collect();
    let offer = |formats: &[MediaFormat], options: &CodecOptions| {
        let offered = codecs::offer(formats, "audio", None, options, registry);
        Some(offered.state).filter(|state| !state.offered.is_empty())
    };
    let codecs = offer(&spoken, &CodecOptions::default())
        .or_else(|| offer(&[], &wanted))
        .or_else(|| offer(&t38::default_audio(), &CodecOptions::default()))
        .unwrap_or_default();
    let previous = to.coding.ptime_as_offerer().swapped();
    let options = &signal.codecs;
    let (printed_ptime_ms, ptime) = ptime::offer(previous, None, options.ptime_ms, options.ptime_reverse_ms);
    let negotiated = Arc::new(Negotiated { codecs, ptime, printed_ptime_ms, ..Negotiated::default() });
    from.coding = Coding { side: Side::Offerer, negotiated: negotiated.clone() };
    to.coding = Coding { side: Side::Answerer, negotiated };
}

/// An answer of T.38 by `from` to an offer of audio: `to` gets the first of its codecs that we can speak.
pub fn answer_by_fax(from: &mut Media, to: &mut Media) {
    let registry = &Registry::BUILD;
    let mut negotiated = answered(&to.coding);
    let spoken = |f: &&MediaFormat| registry.encodes(&f.format) && registry.decodes(&f.format);
    let offered: Vec<MediaFormat> = negotiated.codecs.offerer.iter().map(|f| f.format.clone()).collect();
    let chosen: Vec<MediaFormat> = offered.iter().find(spoken).cloned().into_iter().collect();
    negotiated.codecs.towards_offerer.clone_from(&chosen);
    negotiated.codecs.answerer = chosen;
    (negotiated.printed_ptime_ms, negotiated.ptime) = ptime::answer(negotiated.ptime, None);
    negotiated.without_codecs = negotiated.codecs.towards_offerer.is_empty();
    let negotiated = Arc::new(negotiated);
    from.coding = Coding { side: Side::Answerer, negotiated: negotiated.clone() };
    to.coding = Coding { side: Side::Offerer, negotiated };
}

/// A negotiation to be completed.
fn answered(offered: &Coding) -> Negotiated {
    Negotiated { ways: Default::default(), until_answered: None, ..(*offered.negotiated).clone() }
}

/// An answer of `from`: makes the list for `to`, from what `from` was offered.
pub fn answer(from: &mut Media, to: &mut Media, described: &MediaDescription, signal: &Signal) {
    let before = if from.coding.side == Side::Answerer { &from.coding } else { &to.coding };
    let mut negotiated = answered(before);
    if negotiated.codecs.offered.is_empty() && !described.formats.is_empty() {
        // An answer to an offer that we never saw: it stands for itself.
        negotiated.codecs = codecs::offer(
            &described.formats,
            &described.media_type,
            None,
            &Default::default(),
            &Registry::BUILD,
        )
        .state;
    }
    let answered = codecs::answer(&negotiated.codecs, &described.formats, &signal.codecs, &Registry::BUILD);
    negotiated.codecs = answered.state;
    negotiated.answer_options = kept_options(&signal.codecs);
    (negotiated.printed_ptime_ms, negotiated.ptime) =
        ptime::answer(negotiated.ptime, described.attributes.ptime_ms);
    negotiated.without_codecs = false;
    let negotiated = Arc::new(negotiated);
    from.coding = Coding { side: Side::Answerer, negotiated: negotiated.clone() };
    to.coding = Coding { side: Side::Offerer, negotiated };
}

/// What a party sends as far as was negotiated, in its own preference.
pub fn sent_formats(media: &Media) -> Vec<MediaFormat> {
    media.coding.in_force().sent()
}

/// Codecs of two sides that have negotiated with others, as if the first had offered to the second: what both have passes, what the
/// second lacks is transcoded.
pub fn connected(offerer: &[MediaFormat], answerer: &[MediaFormat], media_type: &str) -> Arc<Negotiated> {
    let spec = |f: &MediaFormat| CodecSpec {
        name: f.format.name.text().clone(),
        clock_rate: Some(f.format.clock_rate),
        channels: Some(f.format.channels),
        fmtp: Some(f.format.fmtp.clone()).filter(|fmtp| !fmtp.is_empty()),
        ..CodecSpec::default()
    };
    let options = CodecOptions {
        transcode: answerer.iter().map(spec).collect(),
        allow_asymmetric_codecs: true,
        ..CodecOptions::default()
    };
    let offered = codecs::offer(offerer, media_type, Some(answerer), &options, &Registry::BUILD);
    let answered = codecs::answer(&offered.state, answerer, &options, &Registry::BUILD);
    Arc::new(Negotiated { codecs: answered.state, joined: true, ..Negotiated::default() })
}

/// Gives two media the codecs that they have with each other from now on.
pub fn connect(offerer: &mut Media, answerer: &mut Media) {
    let negotiated = connected(&sent_formats(offerer), &sent_formats(answerer), &offerer.media_type);
    offerer.coding = Coding { side: Side::Offerer, negotiated: negotiated.clone() };
    answerer.coding = Coding { side: Side::Answerer, negotiated };
}

/// The formats to print to a party.
pub fn printed(to: &Media) -> Vec<MediaFormat> {
    to.coding.shown().to_vec()
}

/// `a=ptime` to print to a party in the present exchange.
pub fn printed_ptime(to: &Media) -> Option<u16> {
    to.coding.negotiated.printed_ptime_ms
}

/// Flag `allow-no-codec-media` left nothing.
pub fn is_without_codecs(to: &Media) -> bool {
    to.coding.negotiated.without_codecs
}

/// `ptime` or `ptime-reverse` was given for this party.
pub fn is_ptime_overridden(media: &Media) -> bool {
    media.coding.is_ptime_overridden()
}

/// What happens to each payload type that `from` sends towards `to`.
pub fn handling(from: &Media, to: &Media) -> (Handling, Vec<(u8, Handling)>) {
    let way = way(from, to);
    (way.default.clone(), way.listed.clone())
}

/// What happens to each payload type that `from` sends towards `to` when everything is decoded that can be.
pub fn decoded_handling(from: &Media, to: &Media) -> (Handling, Vec<(u8, Handling)>) {
    let Way { default, listed, .. } = work_out(from, to, |negotiated| Cow::Owned(all_decoded(negotiated)));
    (default, listed)
}

/// The same on a subscription.
pub fn decoded_subscribed_handling(negotiated: &Negotiated, side: Side) -> (Handling, Vec<(u8, Handling)>) {
    let codecs = all_decoded(negotiated);
    let (ptime, fixed) = (negotiated.ptime, negotiated.fixed.clone());
    subscribed_handling(&Negotiated { codecs, ptime, fixed, ..Negotiated::default() }, side)
}

/// The codecs of a subscription now. A source may have agreed on others since the subscriber was told: what it sends then is converted
/// into what the subscriber takes, and what it sent before still goes the way it went.
pub fn followed<'n>(negotiated: &'n Negotiated, side: Side, source: &Media) -> Cow<'n, Negotiated> {
    let present = sent_formats(source);
    let told = &negotiated.codecs.offerer;
    let is_told = |sent: &MediaFormat| {
        let is_same = |f: &PayloadFormat| {
            f.payload_type == sent.format.payload_type && codecs::compatible(f, &sent.format)
        };
        sent.format.is_supplemental() || told.iter().any(|f| is_same(&f.format.format))
    };
    if side != Side::Offerer || !negotiated.fixed.is_empty() || present.iter().all(is_told) {
        return Cow::Borrowed(negotiated);
    }
    let is_free = |f: &MediaFormat| present.iter().all(|p| p.format.payload_type != f.format.payload_type);
    let former = told.iter().filter(|f| is_free(&f.format)).cloned();
    let offerer = present.iter().map(|f| OffererFormat { format: f.clone(), accepted: false }).chain(former);
    let codecs = CodecState {
        offerer: offerer.collect(),
        towards_offerer: present.clone(),
        ..negotiated.codecs.clone()
    };
    Cow::Owned(Negotiated { codecs, ptime: negotiated.ptime, ..Negotiated::default() })
}

fn all_decoded(negotiated: &Negotiated) -> CodecState {
    CodecState { force_transcoding: true, ..negotiated.codecs.clone() }
}

/// What happens to each payload type on a subscription whose source is `side` of `negotiated`.
pub fn subscribed_handling(negotiated: &Negotiated, side: Side) -> (Handling, Vec<(u8, Handling)>) {
    let (state, ptime) = (&negotiated.codecs, &negotiated.ptime);
    if !negotiated.fixed.is_empty() {
        return actions(negotiated.fixed.clone(), false);
    }
    let (handlers, shown) = match side {
        Side::Offerer => (
            state.handlers_from_offerer(times_from_offerer(ptime, false), &Registry::BUILD),
            &state.towards_offerer,
        ),
        Side::Answerer => (
            state.handlers_from_answerer(times_from_answerer(ptime, false), &Registry::BUILD),
            &state.offered,
        ),
    };
    let Way { default, listed, .. } = Way::new(handlers, shown);
    (default, listed)
}

fn actions(handlers: Vec<PayloadHandler>, transcodes: bool) -> (Handling, Vec<(u8, Handling)>) {
    let default = if transcodes { Handling::Drop(DropReason::PayloadType) } else { Handling::FORWARD };
    let mut listed: Vec<_> = handlers
        .into_iter()
        .map(|PayloadHandler { payload_type, handler }| {
            let handling = match handler {
                Handler::Pass { payload_type } => Handling::Forward { payload_type },
                Handler::Transcode(plan) => Handling::Transcode(Arc::new(plan)),
                Handler::Drop => Handling::Drop(DropReason::PayloadType),
            };
            (payload_type, handling)
        })
        .filter(|(_, handling)| *handling != default)
        .collect();
    // It has the room of the handlers, and is kept as long as the negotiation.
    listed.shrink_to_fit();
    (default, listed)
}

/// Whatever `from` sends reaches `to` as it is, or not at all.
pub fn passes_unchanged(from: &Media, to: &Media) -> bool {
    way(from, to).is_unchanged
}

/// Something that one of the two sends is decoded and encoded for the other.
pub fn is_transcoded(media: &Media, opposite: &Media) -> bool {
    way(media, opposite).transcodes || way(opposite, media).transcodes
}

/// Something that `from` sends is decoded and encoded for `to`.
pub fn is_decoded(from: &Media, to: &Media) -> bool {
    way(from, to).transcodes
}

/// Worked out once for two parties that share a negotiation: everything it depends on is in there.
fn way<'m>(from: &'m Media, to: &Media) -> Cow<'m, Way> {
    let work_out = || work_out(from, to, |negotiated| Cow::Borrowed(&negotiated.codecs));
    let shared = &from.coding.negotiated;
    let [of_offerer, of_answerer] = &shared.ways;
    match from.coding.side {
        _ if !Arc::ptr_eq(shared, &to.coding.negotiated) => Cow::Owned(work_out()),
        Side::Offerer => Cow::Borrowed(of_offerer.get_or_init(work_out)),
        Side::Answerer => Cow::Borrowed(of_answerer.get_or_init(work_out)),
    }
}

/// Until an offer is answered, payload types that were agreed on before go the way they went. Whoever accepts it may use new ones before we
/// see the answer.
fn work_out(from: &Media, to: &Media, codecs: impl Fn(&Negotiated) -> Cow<'_, CodecState>) -> Way {
    let handlers = |from: &Coding, to: &Coding| handlers(&codecs(&from.negotiated), from, to);
    let holding = from.coding.in_force();
    let mut all = handlers(holding, to.coding.in_force());
    if !std::ptr::eq(holding, &from.coding) {
        let mut new = handlers(&from.coding, &to.coding);
        new.retain(|new| all.iter().all(|held| held.payload_type != new.payload_type));
        all.extend(new);
    }
    Way::new(all, holding.shown())
}

/// The codec in which announcements for a party are encoded: the first that it takes and we can make.
pub fn player_format(media: &Media) -> Option<PayloadFormat> {
    let coding = media.coding.in_force();
    let state = &coding.negotiated.codecs;
    let own = media.remote.as_ref()?.formats.iter();
    let agreed = match coding.side {
        Side::Offerer if state.towards_offerer.is_empty() => Cow::default(),
        Side::Offerer => Cow::Owned(state.taken_by_offerer()),
        Side::Answerer => Cow::Borrowed(&state.answerer[..]),
    };
    agreed.iter().map(|f| &f.format).chain(own).find(|format| Registry::BUILD.encodes(format)).cloned()
}

/// How announcements in a format are encoded for a party: in its packet time, with what `codec-set` says in `specs` or said in the
/// negotiation.
pub fn player_options(
    media: &Media,
    format: &mut PayloadFormat,
    specs: &[CodecSpec],
) -> codec::EncoderOptions {
    let ptime_ms = media.remote.as_ref().and_then(|remote| remote.ptime_ms).or(Some(20));
    let mut options = codec::EncoderOptions { ptime_ms, ..Default::default() };
    let negotiated = &media.coding.in_force().negotiated.codecs.encoder_specs;
    for specs in [negotiated, specs] {
        codecs::configure(specs, format, &mut options);
    }
    options
}

/// What the packets of a party mean.
pub fn formats_sent(media: &Media) -> Arc<[PayloadFormat]> {
    let own = media.remote.as_ref().map(|remote| &remote.formats);
    let told = codecs::formats_sent(own, media.coding.shown());
    let holding = media.coding.in_force();
    if std::ptr::eq(holding, &media.coding) {
        return told;
    }
    let held: Vec<PayloadFormat> = holding.sent().into_iter().map(|f| f.format).collect();
    let is_new = |f: &&PayloadFormat| held.iter().all(|held| held.payload_type != f.payload_type);
    held.iter().chain(told.iter().filter(is_new)).cloned().collect()
}

/// telephone-event as a party takes it: it was told of it and has it itself.
pub fn event_format(to: &Media) -> Option<&PayloadFormat> {
    let holding = to.coding.in_force();
    let held = (!std::ptr::eq(holding, &to.coding)).then(|| holding.sent());
    let own = |format: &PayloadFormat| {
        let is_own = |f: &PayloadFormat| f.payload_type == format.payload_type && f.kind() == format.kind();
        match (&held, &to.remote) {
            (Some(held), _) => held.iter().any(|f| is_own(&f.format)),
            (None, Some(remote)) => remote.formats.iter().any(is_own),
            (None, None) => true,
        }
    };
    let shown = holding.shown().iter().map(|f| &f.format);
    shown.filter(|format| format.kind() == Kind::TelephoneEvent).find(|format| own(format))
}

/// The format in which `to` hears what `from` sends as this payload type, if we can encode it; else the first that it takes and we can
/// encode.
pub fn heard_as(from: &Media, to: &Media, payload_type: u8) -> Option<PayloadFormat> {
    let (default, listed) = handling(from, to);
    let handling = listed.into_iter().find(|(listed, _)| *listed == payload_type).map_or(default, |(_, h)| h);
    let heard = match handling {
        Handling::Transcode(plan) => Some(plan.sink.clone()),
        Handling::Forward { payload_type: to_type } => {
            let heard = to_type.unwrap_or(payload_type);
            let formats = to.remote.iter().flat_map(|remote| remote.formats.iter());
            formats
                .chain(to.coding.in_force().shown().iter().map(|f| &f.format))
                .find(|f| f.payload_type == heard)
                .cloned()
        }
        _ => None,
    };
    heard.filter(|format| Registry::BUILD.encodes(format)).or_else(|| player_format(to))
}

fn handlers(codecs: &CodecState, from: &Coding, to: &Coding) -> Vec<PayloadHandler> {
    let ptime = &from.negotiated.ptime;
    match from.side {
        Side::Offerer => {
            let times = times_from_offerer(ptime, to.is_ptime_overridden());
            codecs.handlers_from_offerer(times, &Registry::BUILD)
        }
        Side::Answerer => {
            let overridden = to.is_ptime_overridden() || from.is_ptime_overridden();
            codecs.handlers_from_answerer(times_from_answerer(ptime, overridden), &Registry::BUILD)
        }
    }
}

fn times_from_offerer(ptime: &PtimeState, overridden: bool) -> PacketTimes {
    PacketTimes {
        source_ms: ptime.offerer_ms,
        sink_ms: ptime.answerer_override_ms.or(ptime.answerer_ms).or(ptime.offerer_ms),
        overridden,
    }
}

fn times_from_answerer(ptime: &PtimeState, overridden: bool) -> PacketTimes {
    PacketTimes {
        source_ms: ptime.answerer_override_ms.or(ptime.answerer_ms).or(ptime.offerer_ms),
        sink_ms: ptime.offerer_override_ms.or(ptime.offerer_ms),
        overridden,
    }
}

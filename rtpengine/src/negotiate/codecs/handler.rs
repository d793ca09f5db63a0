//! What the data plane does with each payload type that a side may send.

use std::borrow::Cow;
use std::sync::Arc;

use codec::def::Kind;
use codec::graph::TranscodePlan;
use codec::{EncoderOptions, PayloadFormat};
use serde::{Deserialize, Serialize};

use super::answering::TargetFormat;
use super::compare::{compatible, matches};
use super::{CodecState, Registry};
use crate::negotiate::signal::CodecSpec;
use crate::proto::sdp::model::MediaFormat;

/// What to do with a packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Handler {
    /// Forward it; with another payload type if one is given.
    Pass {
        /// `None` keeps the number.
        payload_type: Option<u8>,
    },
    /// Decode and encode.
    Transcode(TranscodePlan),
    /// The sink has no use for it.
    Drop,
}

/// A payload type and what happens to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PayloadHandler {
    /// Number on the sending side.
    pub payload_type: u8,
    /// What happens.
    pub handler: Handler,
}

/// Packet times of a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketTimes {
    /// What the sender announced.
    pub source_ms: Option<u16>,
    /// What the sink is to get, as negotiated; used when transcoding.
    pub sink_ms: Option<u16>,
    /// `ptime`/`ptime-reverse` was given for the sink: repacketise when the times differ.
    pub overridden: bool,
}

impl PacketTimes {
    fn must_repacketise(&self) -> bool {
        self.overridden && self.sink_ms.is_some() && self.sink_ms != self.source_ms
    }
}

impl CodecState {
    /// For what the offerer sends to the answerer. Before the answer everything that was offered passes.
    pub fn handlers_from_offerer(&self, times: PacketTimes, registry: &Registry) -> Vec<PayloadHandler> {
        let sink = self.receiver_list();
        let own: Vec<_> = self.offerer.iter().map(|f| &f.format).collect();
        let sends = with_numbers_shown(own, &self.towards_offerer);
        let first = sink.iter().find(|f| registry.encodes(&f.format));
        let route = |sent: &MediaFormat| {
            let same = find_same(sink, &sent.format);
            match (same, first) {
                (Some(same), _) => Route::Same(same),
                (None, Some(first)) if registry.decodes(&sent.format) => Route::Other(Cow::Borrowed(first)),
                (None, _) => Route::Undecodable,
            }
        };
        self.handlers(&sends, sink, times, registry, &route)
    }

    /// For what the answerer sends to the offerer. Before it has answered that may be anything of what it was offered: early media, and
    /// what goes on while a running call is negotiated again.
    pub fn handlers_from_answerer(&self, times: PacketTimes, registry: &Registry) -> Vec<PayloadHandler> {
        let sends = with_numbers_shown(self.receiver_list().iter().collect(), &self.offered);
        let accepts = self.taken_by_offerer();
        let route = |sent: &MediaFormat| match self.target(&sent.format, registry) {
            TargetFormat::Same => find_same(&accepts, &sent.format).map_or(Route::Unchanged, Route::Same),
            TargetFormat::Other(target) => Route::Other(Cow::Owned(target)),
        };
        self.handlers(&sends, &accepts, times, registry, &route)
    }

    fn handlers<'s>(
        &self,
        sends: &[&MediaFormat],
        sink: &'s [MediaFormat],
        times: PacketTimes,
        registry: &Registry,
        route: &dyn Fn(&MediaFormat) -> Route<'s>,
    ) -> Vec<PayloadHandler> {
        let again = self.force_transcoding || times.must_repacketise();
        let same = |sent: &MediaFormat, same: &MediaFormat| {
            if again && registry.decodes(&sent.format) && registry.encodes(&same.format) {
                Handler::Transcode(self.plan(&sent.format, &same.format, times))
            } else {
                pass(&sent.format, &same.format)
            }
        };
        let ordinary = |sent: &MediaFormat| match route(sent) {
            Route::Same(accepted) => same(sent, accepted),
            Route::Unchanged => same(sent, sent),
            Route::Other(target) => Handler::Transcode(self.plan(&sent.format, &target.format, times)),
            Route::Undecodable => Handler::Pass { payload_type: None },
        };
        let is_supplemental = |f: &MediaFormat| f.format.is_supplemental();
        let ordinary = |sent: &&MediaFormat| (!is_supplemental(sent)).then(|| ordinary(sent));
        let mut handlers: Vec<Option<Handler>> = sends.iter().map(ordinary).collect();
        join_comfort_noise(&mut handlers, sends, sink);
        let made = handlers.iter().find_map(|handler| match handler {
            Some(Handler::Transcode(plan)) => Some(plan.sink.clock_rate),
            _ => None,
        });
        let companion = |sent: &MediaFormat| {
            let same = find_same(sink, &sent.format);
            let Some(clock_rate) = made else {
                return same
                    .map_or(Handler::Pass { payload_type: None }, |same| pass(&sent.format, &same.format));
            };
            let events = || find_events(sink, &sent.format, clock_rate);
            same.or_else(events).map_or(Handler::Drop, |taken| pass(&sent.format, &taken.format))
        };
        let with_type = |(sent, handler): (&&MediaFormat, Option<Handler>)| PayloadHandler {
            payload_type: sent.format.payload_type,
            handler: handler.unwrap_or_else(|| companion(sent)),
        };
        sends.iter().zip(handlers).map(with_type).collect()
    }

    fn plan(&self, source: &PayloadFormat, sink: &PayloadFormat, times: PacketTimes) -> TranscodePlan {
        let mut sink = sink.clone();
        let mut options = EncoderOptions { ptime_ms: times.sink_ms, ..EncoderOptions::default() };
        configure(&self.encoder_specs, &mut sink, &mut options);
        let factor = source.def().map_or(1, |def| def.sample_rate_factor.max(1));
        options.source_rate = source.clock_rate.checked_mul(factor);
        options.source_channels = Some(source.channels);
        TranscodePlan::new(source.clone(), sink, options)
    }
}

/// Applies the first of the entries of `codec-set` and the like that is about this format.
pub fn configure(specs: &[CodecSpec], sink: &mut PayloadFormat, options: &mut EncoderOptions) {
    let settings = specs.iter().find(|spec| {
        let without_fmtp = CodecSpec { fmtp: None, ..(*spec).clone() };
        matches(&without_fmtp, sink)
    });
    let Some(spec) = settings else { return };
    options.bitrate_bps = spec.bitrate_bps;
    options.ptime_ms = spec.ptime_ms.or(options.ptime_ms);
    options.options = spec.options.clone().unwrap_or_default().to_string();
    if let Some(fmtp) = &spec.fmtp {
        sink.fmtp.clone_from(fmtp);
    }
}

/// Comfort noise belongs to the codecs of its clock rate (RFC 3389 §4): if these are transcoded, it goes through their transcoder
/// where the sink does not take it, and may be made by it where the sink does.
fn join_comfort_noise(handlers: &mut [Option<Handler>], sends: &[&MediaFormat], sink: &[MediaFormat]) {
    let is_noise = |f: &PayloadFormat| f.kind() == Kind::ComfortNoise;
    for index in 0..handlers.len() {
        let Some(Handler::Transcode(plan)) = &mut handlers[index] else { continue };
        let beside = |f: &&MediaFormat, clock| is_noise(&f.format) && f.format.clock_rate == clock;
        let to = sink.iter().find(|f| beside(f, plan.sink.clock_rate));
        plan.noise.to = to.map(|f| f.format.payload_type);
        let from = sends.iter().position(|f| beside(f, plan.source.clock_rate));
        let lacks = |from: &usize| find_same(sink, &sends[*from].format).is_none();
        let Some(from) = from.filter(lacks) else { continue };
        plan.noise.from = Some(sends[from].format.payload_type);
        let plan = plan.clone();
        // One plan stands for all codecs of that clock rate.
        handlers[from].get_or_insert(Handler::Transcode(plan));
    }
}

/// The numbers under which a party may send: those under which it was shown the codecs that it has, which are the right ones (RFC 3264
/// §5.1), and else its own.
fn with_numbers_shown<'f>(own: Vec<&'f MediaFormat>, shown: &'f [MediaFormat]) -> Vec<&'f MediaFormat> {
    let has = |f: &MediaFormat| own.iter().any(|o| compatible(&o.format, &f.format));
    let known: Vec<_> = shown.iter().filter(|f| has(f)).collect();
    let is_under = |f: &MediaFormat, list: &[&MediaFormat]| {
        list.iter().any(|l| l.format.payload_type == f.format.payload_type)
    };
    let is_same = |f: &&MediaFormat| {
        let shown = known.iter().find(|s| s.format.payload_type == f.format.payload_type);
        shown.is_none_or(|shown| compatible(&shown.format, &f.format))
    };
    let mut sent: Vec<_> = own.iter().copied().filter(is_same).collect();
    let further: Vec<_> = known.iter().copied().filter(|f| !is_under(f, &sent)).collect();
    sent.extend(further);
    sent
}

/// What the packets of a party mean that has described itself with `own` (`None`: not yet) and was shown a list: the numbers that it may send
/// as above, then what else it was shown and has not said that it has.
pub fn formats_sent(own: Option<&Arc<[PayloadFormat]>>, shown: &[MediaFormat]) -> Arc<[PayloadFormat]> {
    if let Some(own) = own
        && shown.iter().all(|shown| own.contains(&shown.format))
    {
        return Arc::clone(own);
    }
    let plain = |format: &PayloadFormat| MediaFormat { format: format.clone(), feedback: Vec::new() };
    let own: Vec<_> = own.iter().flat_map(|own| own.iter()).map(plain).collect();
    let mut sent = with_numbers_shown(own.iter().collect(), shown);
    let is_free = |sent: &[&MediaFormat], f: &MediaFormat| {
        sent.iter().all(|sent| sent.format.payload_type != f.format.payload_type)
    };
    let further: Vec<_> = shown.iter().filter(|f| is_free(&sent, f)).collect();
    sent.extend(further);
    sent.into_iter().map(|f| f.format.clone()).collect()
}

/// Where an ordinary codec goes.
enum Route<'s> {
    /// The sink takes it, under this number.
    Same(&'s MediaFormat),
    /// The sink takes it as it is.
    Unchanged,
    /// The sink takes another one.
    Other(Cow<'s, MediaFormat>),
    /// Nobody can convert it.
    Undecodable,
}

/// The sink's entry for the same codec, best under the same number.
fn find_same<'s>(sink: &'s [MediaFormat], sent: &PayloadFormat) -> Option<&'s MediaFormat> {
    let fits = |f: &&MediaFormat| compatible(&f.format, sent);
    let same_number = sink.iter().find(|f| fits(f) && f.format.payload_type == sent.payload_type);
    same_number.or_else(|| sink.iter().find(fits))
}

/// The sink's entry for named events, which the transcoder gives another clock (RFC 4733 §2.1): best that of the audio beside it.
fn find_events<'s>(
    sink: &'s [MediaFormat],
    sent: &PayloadFormat,
    clock_rate: u32,
) -> Option<&'s MediaFormat> {
    let is_events = |format: &PayloadFormat| format.kind() == Kind::TelephoneEvent;
    let mut events = sink.iter().filter(|f| is_events(sent) && is_events(&f.format));
    let first = events.clone().next();
    events.find(|f| f.format.clock_rate == clock_rate).or(first)
}

fn pass(sent: &PayloadFormat, accepted: &PayloadFormat) -> Handler {
    let differs = sent.payload_type != accepted.payload_type;
    Handler::Pass { payload_type: differs.then_some(accepted.payload_type) }
}

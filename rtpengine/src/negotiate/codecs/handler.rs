//! What the data plane does with each payload type that a side may send.

use codec::graph::TranscodePlan;
use codec::{EncoderOptions, PayloadFormat};

use super::answering::TargetFormat;
use super::compare::{compatible, matches};
use super::{CodecState, Registry};
use crate::proto::sdp::model::MediaFormat;

/// What to do with a packet.
#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, Debug, PartialEq)]
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
        let sends: Vec<_> = self.offerer.iter().map(|f| &f.format).collect();
        let first = sink.iter().find(|f| registry.encodes(&f.format));
        let route = |sent: &MediaFormat| {
            let same = find_same(sink, &sent.format, registry);
            match (same, first) {
                (Some(same), _) => Route::Same(same),
                (None, Some(first)) if registry.decodes(&sent.format) => Route::Other(first.clone()),
                (None, _) => Route::Undecodable,
            }
        };
        self.handlers(&sends, sink, times, registry, &route)
    }

    /// For what the answerer sends to the offerer.
    pub fn handlers_from_answerer(&self, times: PacketTimes, registry: &Registry) -> Vec<PayloadHandler> {
        let sends: Vec<_> = self.answerer.iter().collect();
        let accepts = self.offerer_list();
        let route = |sent: &MediaFormat| match self.target(&sent.format, registry) {
            TargetFormat::Same => {
                let same = accepts.iter().find(|f| f.format.payload_type == sent.format.payload_type);
                Route::Same(same.unwrap_or(sent).clone())
            }
            TargetFormat::Other(target) => Route::Other(target),
        };
        self.handlers(&sends, &accepts, times, registry, &route)
    }

    fn handlers(
        &self,
        sends: &[&MediaFormat],
        sink: &[MediaFormat],
        times: PacketTimes,
        registry: &Registry,
        route: &dyn Fn(&MediaFormat) -> Route,
    ) -> Vec<PayloadHandler> {
        let again = self.force_transcoding || times.must_repacketise();
        let ordinary = |sent: &MediaFormat| match route(sent) {
            Route::Same(same)
                if again && registry.decodes(&sent.format) && registry.encodes(&same.format) =>
            {
                Handler::Transcode(self.plan(&sent.format, &same.format, times, registry))
            }
            Route::Same(same) => pass(&sent.format, &same.format),
            Route::Other(target) => {
                Handler::Transcode(self.plan(&sent.format, &target.format, times, registry))
            }
            Route::Undecodable => Handler::Pass { payload_type: None },
        };
        let is_supplemental = |f: &MediaFormat| registry.is_supplemental(&f.format);
        let transcoding = sends
            .iter()
            .filter(|f| !is_supplemental(f))
            .any(|sent| matches!(ordinary(sent), Handler::Transcode(_)));
        sends
            .iter()
            .map(|sent| {
                let handler = if is_supplemental(sent) {
                    match find_same(sink, &sent.format, registry) {
                        Some(same) => pass(&sent.format, &same.format),
                        None if transcoding => Handler::Drop,
                        None => Handler::Pass { payload_type: None },
                    }
                } else {
                    ordinary(sent)
                };
                PayloadHandler { payload_type: sent.format.payload_type, handler }
            })
            .collect()
    }

    fn plan(
        &self,
        source: &PayloadFormat,
        sink: &PayloadFormat,
        times: PacketTimes,
        registry: &Registry,
    ) -> TranscodePlan {
        let mut sink = sink.clone();
        let mut options = EncoderOptions { ptime_ms: times.sink_ms, ..EncoderOptions::default() };
        let settings = self.encoder_specs.iter().find(|spec| {
            let without_fmtp = crate::negotiate::signal::CodecSpec { fmtp: None, ..(*spec).clone() };
            matches(&without_fmtp, &sink, registry)
        });
        if let Some(spec) = settings {
            options.bitrate_bps = spec.bitrate_bps;
            options.ptime_ms = spec.ptime_ms.or(options.ptime_ms);
            options.options = spec.options.clone().unwrap_or_default().to_string();
            if let Some(fmtp) = &spec.fmtp {
                sink.fmtp.clone_from(fmtp);
            }
        }
        let factor = (registry.by_name)(&source.name).map_or(1, |def| def.sample_rate_factor.max(1));
        options.source_rate = source.clock_rate.checked_mul(factor);
        options.source_channels = Some(source.channels);
        TranscodePlan { source: source.clone(), sink, options }
    }
}

/// Where an ordinary codec goes.
enum Route {
    /// The sink takes it as it is.
    Same(MediaFormat),
    /// The sink takes another one.
    Other(MediaFormat),
    /// Nobody can convert it.
    Undecodable,
}

/// The sink's entry for the same codec, best under the same number.
fn find_same(sink: &[MediaFormat], sent: &PayloadFormat, registry: &Registry) -> Option<MediaFormat> {
    let fits = |f: &&MediaFormat| compatible(&f.format, sent, registry);
    let same_number = sink.iter().find(|f| fits(f) && f.format.payload_type == sent.payload_type);
    same_number.or_else(|| sink.iter().find(fits)).cloned()
}

fn pass(sent: &PayloadFormat, accepted: &PayloadFormat) -> Handler {
    let differs = sent.payload_type != accepted.payload_type;
    Handler::Pass { payload_type: differs.then_some(accepted.payload_type) }
}

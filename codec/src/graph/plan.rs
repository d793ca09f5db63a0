//! What a transcoder is to do, and what is the same for all of them.

use std::sync::Arc;

use super::DtxSettings;
use crate::{EncoderOptions, PayloadFormat};

/// What is to become of one ingress payload type that is not passed through.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct TranscodePlan {
    /// What arrives.
    pub source: PayloadFormat,
    /// What leaves.
    pub sink: PayloadFormat,
    /// Packet time, bit rate and the like of the sink.
    pub options: EncoderOptions,
    /// Payload types of comfort noise beside it.
    pub noise: ComfortNoise,
}

impl TranscodePlan {
    /// Without comfort noise.
    pub fn new(source: PayloadFormat, sink: PayloadFormat, options: EncoderOptions) -> Self {
        Self { source, sink, options, noise: ComfortNoise::default() }
    }
}

/// Payload types of RFC 3389 on both sides of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ComfortNoise {
    /// The source sends it and the sink does not take it: it is decoded.
    pub from: Option<u8>,
    /// The sink takes it in the clock of its codec: silence can be sent as that.
    pub to: Option<u8>,
}

/// What is the same for every plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Silence is sent as comfort noise to those who take it.
    pub silence: Option<SilenceDetection>,
    /// Packets are played out by a clock that fills in what was not sent.
    pub dtx: Option<DtxSettings>,
}

/// What silence is, and what is sent for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilenceDetection {
    /// Highest absolute sample value of silence.
    pub threshold: u16,
    /// Payload of RFC 3389.
    pub payload: Arc<[u8]>,
}

/// The encoder learns what it will be fed with, if the plan does not say.
pub(super) fn encoder_options(plan: &TranscodePlan) -> EncoderOptions {
    let mut options = plan.options.clone();
    let factor = plan.source.def().map_or(1, |def| def.sample_rate_factor);
    options.source_rate = options.source_rate.or(Some(plan.source.clock_rate.saturating_mul(factor)));
    // Opus is 2 channels in every rtpmap; whether it is stereo is up to its decoder.
    let is_opus = plan.source.name.eq_ignore_ascii_case("opus");
    let stereo = crate::fmtp::OpusFmtp::parse(&plan.source.fmtp).sprop_stereo == Some(true);
    let channels = if is_opus { 1 + u8::from(stereo) } else { plan.source.channels };
    options.source_channels = options.source_channels.or(Some(channels));
    options.discontinuous = true;
    options
}

//! EVS (3GPP TS 26.445) through a library that the operator brings ([`plugin`]); without it, it is passed on only.
//!
//! Everything about RTP is here: payloads, parameters, requests, silence. The encoder follows the requests of the party that it sends to.

mod parameters;
mod payload;
mod plugin;
mod rate;

pub use parameters::answer;
pub use plugin::{PluginError, load};

use std::path::Path;

use parameters::Parameters;
use payload::{Kind, Layout, MOST_FRAMES, NO_DATA, NO_REQUEST, SPEECH_LOST, pack, unpack};
use plugin::{DecoderState, EncoderState, Frame, plugin};
use rate::{Bandwidth, RateControl};

use crate::coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Family, Feedback, Origin, open_error,
    packet_time_ms, require_clock, unsupported_decoder, unsupported_encoder,
};
use crate::def::{CodecDef, FmtpRule};
use crate::format::PayloadFormat;

/// Loads the library, if one is wanted, and tells the log what came of it. To be called before anybody asks what EVS can do.
pub fn use_library(path: Option<&Path>) {
    let Some(path) = path else { return };
    match load(path) {
        Ok(name) => tracing::info!("EVS is coded by {name} ({})", path.display()),
        Err(error) => {
            tracing::error!("EVS is not transcoded: library {} is not used: {error}", path.display());
        }
    }
}

pub(crate) const EVS: CodecDef = CodecDef {
    name: "EVS",
    clock_rate: CLOCK_RATE,
    sample_rate_factor: 3,
    default_bitrate_bps: 16_400,
    default_fmtp: "dtx=0;dtx-recv=0",
    fmtp_rule: FmtpRule::Evs,
    family: &EvsFamily,
    ..CodecDef::NARROWBAND
};

/// Of RTP, whatever the audio has.
const CLOCK_RATE: u32 = 16_000;

#[derive(Debug)]
struct EvsFamily;

impl Family for EvsFamily {
    fn can_encode(&self) -> bool {
        plugin().is_some()
    }

    fn can_decode(&self) -> bool {
        plugin().is_some()
    }

    fn origin(&self) -> Origin {
        plugin()
            .map_or(Origin::NONE, |plugin| Origin { implementation: plugin.name, licence: plugin.licence })
    }

    fn new_decoder(
        &self,
        format: &PayloadFormat,
        options: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        require_clock(format, CLOCK_RATE)?;
        let party = Parameters::parse(&format.fmtp);
        // No more than there will be, nor than is wanted.
        let wanted = options.sink_rate.map_or(Bandwidth::Full, Bandwidth::of_rate);
        let sample_rate = wanted.min(*party.says.end()).sample_rate();
        let engine = DecoderState::open(sample_rate).ok_or_else(|| unsupported_decoder(format))?;
        Ok(Box::new(EvsDecoder {
            sample_rate,
            header_full_only: party.header_full_only,
            engine,
            feedback: Feedback::default(),
            is_silent: false,
        }))
    }

    fn new_encoder(
        &self,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        require_clock(format, CLOCK_RATE)?;
        let is_channel_aware = plugin().ok_or_else(|| unsupported_encoder(format))?.is_channel_aware;
        let party = Parameters::parse(&format.fmtp);
        if !party.takes_mono {
            return Err(open_error(format, "only mono is made, which ch-recv does not have"));
        }
        let layout = Layout { header_full_only: party.header_full_only, always_request: party.requests == 1 };
        let source_rate = options.source_rate.unwrap_or(Bandwidth::Full.sample_rate());
        let bit_rate_bps = options.bitrate_bps.unwrap_or(EVS.default_bitrate_bps);
        let rate = RateControl::new(party, source_rate, bit_rate_bps, is_channel_aware, &options.options)
            .map_err(|reason| open_error(format, reason))?;
        let discontinuous = options.discontinuous && rate.is_discontinuous();
        let engine = EncoderState::open(rate.sample_rate(), discontinuous)
            .ok_or_else(|| unsupported_encoder(format))?;
        Ok(Box::new(EvsEncoder {
            layout,
            packet_frames: usize::from(packet_time_ms(format, options) / 20).clamp(1, MOST_FRAMES),
            rate,
            engine,
            frames: Vec::with_capacity(MOST_FRAMES),
            has_speech: false,
        }))
    }
}

struct EvsDecoder {
    sample_rate: u32,
    header_full_only: bool,
    engine: DecoderState,
    feedback: Feedback,
    /// The last frame described silence or was not sent: what is missing now was not sent either.
    is_silent: bool,
}

impl EvsDecoder {
    fn missing(&self) -> Frame {
        Frame::empty(false, if self.is_silent { NO_DATA } else { SPEECH_LOST })
    }
}

impl Decoder for EvsDecoder {
    fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    fn channels(&self) -> u8 {
        1
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        let Self { engine, feedback, is_silent, .. } = self;
        let request = unpack(self.header_full_only, payload, |frame| {
            if let Some(kind) = Kind::of(frame) {
                if kind.is_speech() && frame.good == 1 {
                    feedback.mode = Some(rate::mode_number(kind));
                }
                *is_silent = kind.is_noise() || kind.frame_type == NO_DATA;
            }
            engine.decode(frame, None, out).is_some()
        });
        let request = request.ok_or(CodecError::InvalidPayload)?;
        if request != NO_REQUEST {
            feedback.mode_request = Some(request);
            feedback.requests = feedback.requests.wrapping_add(1);
        }
        Ok(())
    }

    fn conceal(&mut self, frames: usize, out: &mut Vec<i16>) {
        let missing = self.missing();
        for _ in 0..frames / (self.sample_rate as usize / 50) {
            self.engine.decode(&missing, None, out);
        }
    }

    fn recover(&mut self, next: &[u8], frames: usize, out: &mut Vec<i16>) {
        let mut later = None;
        if self.engine.uses_later {
            // All frames of the packet but the first are further away.
            unpack(self.header_full_only, next, |frame| {
                later.get_or_insert(*frame);
                true
            });
        }
        let missing = self.missing();
        for distance in (1..=frames as u32 / (self.sample_rate / 50)).rev() {
            self.engine.decode(&missing, later.as_ref().map(|later| (later, distance)), out);
        }
    }

    fn can_conceal(&self) -> bool {
        true
    }

    fn feedback(&self) -> Feedback {
        self.feedback
    }
}

/// Encodes a packet at a time, for its header stands in front of all frames.
struct EvsEncoder {
    layout: Layout,
    packet_frames: usize,
    rate: RateControl,
    engine: EncoderState,
    frames: Vec<Frame>,
    /// The last packet held a speech frame.
    has_speech: bool,
}

impl Encoder for EvsEncoder {
    fn sample_rate(&self) -> u32 {
        self.rate.sample_rate()
    }

    fn channels(&self) -> u8 {
        1
    }

    fn frame_samples(&self) -> usize {
        self.sample_rate() as usize / 50 * self.packet_frames
    }

    fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) -> Result<(), CodecError> {
        if samples.len() != self.frame_samples() {
            return Err(CodecError::EncodeFailed);
        }
        self.frames.clear();
        self.has_speech = false;
        // Frames that are not sent stay in the table only in front of others.
        let mut end = 0;
        for frame in samples.chunks_exact(samples.len() / self.packet_frames) {
            let mode = self.rate.next_mode();
            let frame = self.engine.encode(mode, frame).ok_or(CodecError::EncodeFailed)?;
            self.has_speech |= Kind::of(&frame).is_some_and(Kind::is_speech);
            self.frames.push(frame);
            if frame.frame_type != NO_DATA {
                end = self.frames.len();
            }
        }
        if end == 0 {
            return Ok(());
        }
        let request = self.rate.request();
        pack(self.layout, request, self.frames.get(..end).unwrap_or_default(), out)
            .ok_or(CodecError::EncodeFailed)
    }

    fn made_noise(&self) -> bool {
        !self.has_speech
    }

    fn follow(&mut self, party: Feedback) {
        self.rate.follow(party);
    }
}

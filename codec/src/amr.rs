//! AMR and AMR-WB (RFC 4867) through opencore-amr and vo-amrwbenc where they are installed; without them only decoders, those of libav.
//!
//! The encoder follows the mode requests of the party that it sends to ([`rate`]). With the codec option `dtx` it describes silence by noise
//! frames (SID) and sends nothing in between.

mod mode_set;
mod native;
mod payload;
mod rate;

pub(crate) use mode_set::ModeSet;
use native::{NativeDecoder, NativeEncoder};
pub(crate) use payload::{Band, bits_of, is_speech};
pub(crate) use rate::WIDE_BPS;

use payload::{Frame, Layout, is_no_data, is_speech_frame, pack, unpack};
use rate::RateControl;

use crate::coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Family, Feedback, Origin, open_error,
    packet_time_ms, require_clock, unsupported_encoder,
};
use crate::def::{CodecDef, FmtpRule};
use crate::format::PayloadFormat;
use crate::libav::{self, DecoderSetup, LibavDecoder};

pub(crate) const AMR: CodecDef = CodecDef {
    name: "AMR",
    min_ptime_ms: 20,
    default_bitrate_bps: 6700,
    default_fmtp: "octet-align=1;mode-change-capability=2",
    fmtp_rule: FmtpRule::Amr,
    family: &AmrFamily(Band::Narrow),
    ..CodecDef::NARROWBAND
};

pub(crate) const AMR_WB: CodecDef = CodecDef {
    name: "AMR-WB",
    clock_rate: 16_000,
    default_bitrate_bps: 14_250,
    family: &AmrFamily(Band::Wide),
    ..AMR
};

impl Band {
    fn rate(self) -> u32 {
        match self {
            Band::Narrow => 8000,
            Band::Wide => 16_000,
        }
    }

    fn frame_samples(self) -> usize {
        self.rate() as usize / 50
    }

    /// The decoder's name in libav.
    fn decoder(self) -> &'static str {
        match self {
            Band::Narrow => "amrnb",
            Band::Wide => "amrwb",
        }
    }

    fn default_bitrate_bps(self) -> u32 {
        match self {
            Band::Narrow => AMR.default_bitrate_bps,
            Band::Wide => AMR_WB.default_bitrate_bps,
        }
    }
}

#[derive(Debug)]
struct AmrFamily(Band);

impl AmrFamily {
    fn layout(&self, format: &PayloadFormat) -> Result<Layout, CodecError> {
        require_clock(format, self.0.rate())?;
        Ok(Layout::from_fmtp(&format.fmtp))
    }
}

impl Family for AmrFamily {
    fn can_encode(&self) -> bool {
        native::has_encoder(self.0)
    }

    fn can_decode(&self) -> bool {
        native::has_decoder(self.0) || libav::has_decoder(self.0.decoder())
    }

    fn origin(&self) -> Origin {
        let implementation = match (self.0, native::has_decoder(self.0)) {
            (Band::Narrow, true) => "opencore-amrnb",
            (Band::Wide, true) => "vo-amrwbenc, opencore-amrwb",
            (_, false) => "libavcodec",
        };
        Origin { implementation, licence: "Apache-2.0" }
    }

    /// So that it is tried out where only its decoder is installed: any bits are speech.
    fn samples_of_payloads(&self) -> &'static [(&'static [u8], usize)] {
        const fn speech<const N: usize>([first, second]: [u8; 2]) -> [u8; N] {
            let mut payload = [0; N];
            payload[0] = first;
            payload[1] = second;
            payload
        }
        // Octet-aligned: no mode request (15), one frame of good quality: 244 bits of mode 7, 253 of mode 2 (RFC 4867, 4.4).
        const NARROW: [u8; 33] = speech([0xf0, 0x3c]);
        const WIDE: [u8; 34] = speech([0xf0, 0x14]);
        match self.0 {
            Band::Narrow => &[(&NARROW, 160)],
            Band::Wide => &[(&WIDE, 320)],
        }
    }

    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        let layout = self.layout(format)?;
        let engine = match NativeDecoder::open(self.0) {
            Some(native) => Engine::Native(native),
            None => Engine::Libav(
                LibavDecoder::open(self.0.decoder(), DecoderSetup::new(self.0.rate()))
                    .map_err(|reason| open_error(format, reason))?,
            ),
        };
        Ok(Box::new(AmrDecoder { band: self.0, layout, engine, feedback: Feedback::default() }))
    }

    fn new_encoder(
        &self,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        let layout = self.layout(format)?;
        let band = self.0;
        let limit_bps = options.bitrate_bps.unwrap_or(band.default_bitrate_bps());
        let rate = RateControl::new(band, &format.fmtp, limit_bps, &options.options)
            .map_err(|reason| open_error(format, reason))?;
        let discontinuous = options.discontinuous && rate.is_discontinuous();
        let engine = NativeEncoder::open(band, discontinuous).ok_or_else(|| unsupported_encoder(format))?;
        Ok(Box::new(AmrEncoder {
            band,
            layout,
            rate,
            frames: usize::from(packet_time_ms(format, options) / 20).max(1),
            engine,
            packed: Vec::new(),
            has_speech: false,
        }))
    }
}

struct AmrDecoder {
    band: Band,
    layout: Layout,
    engine: Engine,
    feedback: Feedback,
}

enum Engine {
    Native(NativeDecoder),
    Libav(LibavDecoder),
}

impl Engine {
    fn decode(&mut self, band: Band, frame: &Frame<'_>, out: &mut Vec<i16>) -> bool {
        match self {
            Self::Native(native) => {
                native.decode(band, frame.storage, out);
                true
            }
            Self::Libav(libav) if frame.is_good_speech => libav.decode(frame.storage, out).is_ok(),
            Self::Libav(_) => {
                out.resize(out.len() + band.frame_samples(), 0);
                true
            }
        }
    }
}

impl Decoder for AmrDecoder {
    fn sample_rate(&self) -> u32 {
        self.band.rate()
    }

    fn channels(&self) -> u8 {
        1
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        let Self { band, layout, engine, feedback } = self;
        let request = unpack(*band, *layout, payload, |frame| {
            if frame.is_good_speech {
                feedback.mode = Some(frame.storage[0] >> 3 & 15);
            }
            engine.decode(*band, &frame, out)
        });
        let request = request.ok_or(CodecError::InvalidPayload)?;
        if rate::is_mode(*band, request) {
            feedback.mode_request = Some(request);
            feedback.requests = feedback.requests.wrapping_add(1);
        }
        Ok(())
    }

    fn conceal(&mut self, frames: usize, out: &mut Vec<i16>) {
        if let Engine::Native(native) = &mut self.engine {
            for _ in 0..frames / self.band.frame_samples() {
                native.decode(self.band, &payload::NO_DATA_FRAME, out);
            }
        }
    }

    fn can_conceal(&self) -> bool {
        matches!(self.engine, Engine::Native(_))
    }

    fn feedback(&self) -> Feedback {
        self.feedback
    }
}

/// Encodes a packet at a time, for its header stands in front of all frames.
struct AmrEncoder {
    band: Band,
    layout: Layout,
    rate: RateControl,
    frames: usize,
    engine: NativeEncoder,
    /// Frames in storage format.
    packed: Vec<u8>,
    /// The last packet held a speech frame.
    has_speech: bool,
}

impl Encoder for AmrEncoder {
    fn sample_rate(&self) -> u32 {
        self.band.rate()
    }

    fn channels(&self) -> u8 {
        1
    }

    fn frame_samples(&self) -> usize {
        self.band.frame_samples() * self.frames
    }

    fn encode(&mut self, frame: &[i16], out: &mut Vec<u8>) -> Result<(), CodecError> {
        if frame.len() != self.frame_samples() {
            return Err(CodecError::EncodeFailed);
        }
        self.packed.clear();
        self.has_speech = false;
        // Frames that are not sent stay in the table only in front of others.
        let mut end = 0;
        for samples in frame.chunks_exact(self.band.frame_samples()) {
            let start = self.packed.len();
            let mode = self.rate.next_mode();
            self.engine.encode(mode, samples, &mut self.packed).ok_or(CodecError::EncodeFailed)?;
            let first = self.packed.get(start).copied().ok_or(CodecError::EncodeFailed)?;
            self.has_speech |= is_speech_frame(self.band, first);
            if !is_no_data(first) {
                end = self.packed.len();
            }
        }
        if end == 0 {
            return Ok(());
        }
        let request = self.rate.request();
        pack(self.band, self.layout, request, self.packed.get(..end).unwrap_or_default(), out)
            .ok_or(CodecError::EncodeFailed)
    }

    fn made_noise(&self) -> bool {
        !self.has_speech
    }

    fn follow(&mut self, party: Feedback) {
        self.rate.follow(party);
    }
}

#[cfg(test)]
mod tests;

//! Speex at 8, 16 and 32 kHz (RFC 5574): frames of 20 ms, variable, the packet padded to octets.

use crate::coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Family, Origin, open_error, packet_time_ms,
    refuse_options, require_clock,
};
use crate::def::CodecDef;
use crate::format::PayloadFormat;
use crate::framed::{FramedDecoder, FramedEncoder, whole_payload};
use crate::libav::{DecoderSetup, EncoderSetup, has_decoder, has_encoder};

pub(crate) const SPEEX: CodecDef = CodecDef {
    name: "speex",
    clock_rate: 16_000,
    min_ptime_ms: 20,
    default_bitrate_bps: 11_000,
    family: &SpeexFamily,
    ..CodecDef::NARROWBAND
};

/// Of encoder and decoder in libav.
const NAME: &str = "libspeex";

#[derive(Debug)]
struct SpeexFamily;

impl Family for SpeexFamily {
    fn can_encode(&self) -> bool {
        has_encoder(NAME)
    }

    fn can_decode(&self) -> bool {
        has_decoder(NAME)
    }

    fn origin(&self) -> Origin {
        Origin { implementation: "libspeex by libavcodec", licence: "BSD-3-Clause" }
    }

    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        check(format)?;
        FramedDecoder::open(format, NAME, DecoderSetup::new(format.clock_rate), 0, whole_payload)
    }

    fn new_encoder(
        &self,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        check(format)?;
        refuse_options(format, options)?;
        let rate = format.clock_rate;
        let frames = u32::from(packet_time_ms(format, options) / 20).max(1);
        let setup = EncoderSetup::new(NAME, rate, rate as usize / 50);
        FramedEncoder::open(
            format,
            EncoderSetup {
                bitrate_bps: options.bitrate_bps.unwrap_or(SPEEX.default_bitrate_bps),
                // Frames of a packet share its last octets, so the library has to put them together.
                frames_per_packet: Some(frames),
                ..setup
            },
        )
    }
}

fn check(format: &PayloadFormat) -> Result<(), CodecError> {
    if ![8000, 16_000, 32_000].contains(&format.clock_rate) {
        return Err(open_error(format, format!("no Speex at {} Hz", format.clock_rate)));
    }
    require_clock(format, format.clock_rate)
}

//! G.722 at 64 kbit/s: 16 kHz audio with an RTP clock of 8000 (RFC 3551 §4.5.2).

use std::sync::LazyLock;

use crate::coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Family, open_error, packet_time_ms,
    refuse_options, require_clock,
};
use crate::def::{CodecDef, FmtpRule};
use crate::format::PayloadFormat;
use crate::libav::{DecoderSetup, EncoderSetup, LibavDecoder, LibavEncoder, has_decoder, has_encoder};

pub(crate) const G722: CodecDef = CodecDef {
    name: "G722",
    sample_rate_factor: 2,
    static_payload_type: Some(9),
    fmtp_rule: FmtpRule::Ignored,
    silence_octet: Some(0xfa),
    family: &Wideband,
    ..CodecDef::NARROWBAND
};

const SAMPLE_RATE: u32 = 16_000;
const ENGINE: &str = "g722";

static AVAILABLE: LazyLock<(bool, bool)> = LazyLock::new(|| (has_encoder(ENGINE), has_decoder(ENGINE)));

#[derive(Debug)]
struct Wideband;

impl Family for Wideband {
    fn can_encode(&self) -> bool {
        AVAILABLE.0
    }

    fn can_decode(&self) -> bool {
        AVAILABLE.1
    }

    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _options: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        require_clock(format, 8000)?;
        let engine = LibavDecoder::open(ENGINE, DecoderSetup::new(SAMPLE_RATE))
            .map_err(|reason| open_error(format, reason))?;
        Ok(Box::new(G722Decoder { engine }))
    }

    fn new_encoder(
        &self,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        require_clock(format, 8000)?;
        refuse_options(format, options)?;
        let frame_samples = SAMPLE_RATE as usize / 1000 * usize::from(packet_time_ms(format, options));
        let engine = LibavEncoder::open(EncoderSetup::new(ENGINE, SAMPLE_RATE, frame_samples))
            .map_err(|reason| open_error(format, reason))?;
        Ok(Box::new(G722Encoder { engine }))
    }
}

struct G722Decoder {
    engine: LibavDecoder,
}

impl Decoder for G722Decoder {
    fn sample_rate(&self) -> u32 {
        SAMPLE_RATE
    }

    fn channels(&self) -> u8 {
        1
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        self.engine.decode(payload, out).map_err(|_| CodecError::InvalidPayload)
    }
}

struct G722Encoder {
    engine: LibavEncoder,
}

impl Encoder for G722Encoder {
    fn sample_rate(&self) -> u32 {
        SAMPLE_RATE
    }

    fn channels(&self) -> u8 {
        1
    }

    fn frame_samples(&self) -> usize {
        self.engine.frame_samples()
    }

    fn encode(&mut self, frame: &[i16], out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.engine.encode(frame, out).map_err(|_| CodecError::EncodeFailed)
    }
}

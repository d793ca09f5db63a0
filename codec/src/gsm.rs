//! GSM 06.10 full rate: 33 octets for 20 ms (RFC 3551 §4.5.8.1).

use std::sync::LazyLock;

use crate::coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Family, open_error, refuse_options,
    require_clock,
};
use crate::def::CodecDef;
use crate::format::PayloadFormat;
use crate::libav::{DecoderSetup, EncoderSetup, LibavDecoder, LibavEncoder, has_decoder, has_encoder};

pub(crate) const GSM: CodecDef = CodecDef {
    name: "GSM",
    static_payload_type: Some(3),
    min_ptime_ms: 20,
    family: &FullRate,
    ..CodecDef::NARROWBAND
};

const FRAME_OCTETS: usize = 33;
const FRAME_SAMPLES: usize = 160;
const ENCODER: &str = "libgsm";
const DECODER: &str = "gsm";

static AVAILABLE: LazyLock<(bool, bool)> = LazyLock::new(|| (has_encoder(ENCODER), has_decoder(DECODER)));

#[derive(Debug)]
struct FullRate;

impl Family for FullRate {
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
        let engine = LibavDecoder::open(DECODER, DecoderSetup::new(8000))
            .map_err(|reason| open_error(format, reason))?;
        Ok(Box::new(GsmDecoder { engine }))
    }

    fn new_encoder(
        &self,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        require_clock(format, 8000)?;
        refuse_options(format, options)?;
        let engine = LibavEncoder::open(EncoderSetup::new(ENCODER, 8000, FRAME_SAMPLES))
            .map_err(|reason| open_error(format, reason))?;
        Ok(Box::new(GsmEncoder { engine }))
    }
}

struct GsmDecoder {
    engine: LibavDecoder,
}

impl Decoder for GsmDecoder {
    fn sample_rate(&self) -> u32 {
        8000
    }

    fn channels(&self) -> u8 {
        1
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        if payload.is_empty() || !payload.len().is_multiple_of(FRAME_OCTETS) {
            return Err(CodecError::InvalidPayload);
        }
        for frame in payload.chunks_exact(FRAME_OCTETS) {
            self.engine.decode(frame, out).map_err(|_| CodecError::InvalidPayload)?;
        }
        Ok(())
    }
}

struct GsmEncoder {
    engine: LibavEncoder,
}

impl Encoder for GsmEncoder {
    fn sample_rate(&self) -> u32 {
        8000
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

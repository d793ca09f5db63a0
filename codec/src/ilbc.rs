//! iLBC (RFC 3951, payload format RFC 3952): 38 octets for 20 ms or 50 for 30 ms. No library at hand encodes it.

use crate::coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Family, Origin, open_error, require_clock,
    unsupported_encoder,
};
use crate::def::CodecDef;
use crate::format::PayloadFormat;
use crate::libav::{DecoderSetup, LibavDecoder, has_decoder};

pub(crate) const ILBC: CodecDef = CodecDef {
    name: "iLBC",
    default_ptime_ms: 30,
    default_fmtp: "mode=30",
    family: &IlbcFamily,
    ..CodecDef::NARROWBAND
};

const NAME: &str = "ilbc";
/// Octets of a block of 20 ms and of one of 30 ms.
const SHORT: usize = 38;
const LONG: usize = 50;
/// Blocks of one payload: 240 ms at most.
const MOST_BLOCKS: usize = 12;

#[derive(Debug)]
struct IlbcFamily;

impl Family for IlbcFamily {
    fn can_encode(&self) -> bool {
        false
    }

    fn can_decode(&self) -> bool {
        has_decoder(NAME)
    }

    fn origin(&self) -> Origin {
        Origin::LIBAV
    }

    fn samples_of_payloads(&self) -> &'static [(&'static [u8], usize)] {
        &[(&[0x35; LONG], 240), (&[0x35; SHORT], 160), (&[0x35; 2 * SHORT], 320)]
    }

    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        require_clock(format, 8000)?;
        let of_block = |octets: usize| {
            let setup = DecoderSetup { block_octets: octets as u16, ..DecoderSetup::new(8000) };
            LibavDecoder::open(NAME, setup).map_err(|reason| open_error(format, reason))
        };
        Ok(Box::new(IlbcDecoder { short: of_block(SHORT)?, long: of_block(LONG)? }))
    }

    fn new_encoder(
        &self,
        format: &PayloadFormat,
        _: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        Err(unsupported_encoder(format))
    }
}

/// Follows the block size of each packet, whatever `mode` says.
struct IlbcDecoder {
    short: LibavDecoder,
    long: LibavDecoder,
}

impl Decoder for IlbcDecoder {
    fn sample_rate(&self) -> u32 {
        8000
    }

    fn channels(&self) -> u8 {
        1
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        let (engine, block) = match payload.len() {
            length if length == 0 || length > MOST_BLOCKS * LONG => return Err(CodecError::InvalidPayload),
            length if length.is_multiple_of(LONG) => (&mut self.long, LONG),
            length if length.is_multiple_of(SHORT) => (&mut self.short, SHORT),
            _ => return Err(CodecError::InvalidPayload),
        };
        payload
            .chunks_exact(block)
            .try_for_each(|frame| engine.decode(frame, out))
            .map_err(|_| CodecError::InvalidPayload)
    }
}

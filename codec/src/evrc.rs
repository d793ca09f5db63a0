//! EVRC (RFC 3558) and its header-free and fixed-rate forms EVRC0 and EVRC1 (RFC 3558 §4.2, RFC 4788 §4.2), for decoding.

use crate::coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Family, Origin, open_error,
    unsupported_encoder,
};
use crate::def::CodecDef;
use crate::format::PayloadFormat;
use crate::libav::{DecoderSetup, LibavDecoder, has_decoder};

pub(crate) const EVRC: CodecDef =
    CodecDef { name: "EVRC", default_ptime_ms: 20, family: &Packing::Bundled, ..CodecDef::NO_RTP };
pub(crate) const EVRC0: CodecDef =
    CodecDef { name: "EVRC0", channels: 0, family: &Packing::HeaderFree, ..CodecDef::NARROWBAND };
pub(crate) const EVRC1: CodecDef =
    CodecDef { name: "EVRC1", channels: 0, family: &Packing::FixedRate, ..CodecDef::NARROWBAND };

const NAME: &str = "evrc";
/// Octets of a frame without its rate octet: eighth, half and full rate.
const EIGHTH: usize = 2;
const HALF: usize = 10;
const FULL: usize = 22;
/// Frames that a bundle may have (RFC 3558 §6.1 leaves five bits).
const MOST_FRAMES: usize = 32;
const FRAME_SAMPLES: usize = 160;

/// How a payload holds frames.
#[derive(Clone, Copy, Debug)]
enum Packing {
    /// Header, table of contents, frames.
    Bundled,
    /// One frame.
    HeaderFree,
    /// Frames of the same length.
    FixedRate,
}

impl Family for Packing {
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
        match self {
            Self::Bundled => &[(&[0, 1, 0x11, 0x5a, 0x5a, 0x5a, 0x5a], 320)],
            Self::HeaderFree => &[(&[0x5a; EIGHTH], 160)],
            Self::FixedRate => &[(&[0x5a; 2 * HALF], 320)],
        }
    }

    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        if format.clock_rate != 8000 {
            return Err(open_error(format, format!("needs clock rate 8000, got {}", format.clock_rate)));
        }
        let engine =
            LibavDecoder::open(NAME, DecoderSetup::new(8000)).map_err(|reason| open_error(format, reason))?;
        Ok(Box::new(EvrcDecoder { packing: *self, engine }))
    }

    fn new_encoder(
        &self,
        format: &PayloadFormat,
        _: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        Err(unsupported_encoder(format))
    }
}

struct EvrcDecoder {
    packing: Packing,
    engine: LibavDecoder,
}

impl EvrcDecoder {
    /// RFC 3558 §5: reserved bits, interleaving, mode request, count; then four bits for each frame.
    fn bundled(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Option<()> {
        let (&[header, count], rest) = payload.split_first_chunk()?;
        let count = usize::from(count & 0x1f) + 1;
        // Interleaved frames would have to be put in order over several packets.
        if header & 0x38 != 0 {
            return None;
        }
        let (table, mut rest) = rest.split_at_checked(count.div_ceil(2))?;
        for index in 0..count {
            let entry = table.get(index / 2)?;
            let length = match if index % 2 == 0 { entry >> 4 } else { entry & 15 } {
                0 | 14 => 0,
                1 => EIGHTH,
                3 => HALF,
                4 => FULL,
                _ => return None,
            };
            let (frame, behind) = rest.split_at_checked(length)?;
            self.frame(frame, out)?;
            rest = behind;
        }
        Some(())
    }

    /// A blank or erased frame is silence.
    fn frame(&mut self, octets: &[u8], out: &mut Vec<i16>) -> Option<()> {
        if octets.is_empty() {
            out.resize(out.len() + FRAME_SAMPLES, 0);
            return Some(());
        }
        self.engine.decode(octets, out).ok()
    }
}

impl Decoder for EvrcDecoder {
    fn sample_rate(&self) -> u32 {
        8000
    }

    fn channels(&self) -> u8 {
        1
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        let decoded = match self.packing {
            Packing::Bundled => self.bundled(payload, out),
            Packing::HeaderFree => {
                if [EIGHTH, HALF, FULL].contains(&payload.len()) {
                    self.frame(payload, out)
                } else {
                    None
                }
            }
            Packing::FixedRate => {
                let mut lengths = [FULL, HALF].into_iter();
                let length = lengths.find(|&length| payload.len().is_multiple_of(length));
                length.filter(|length| !payload.is_empty() && payload.len() / length <= MOST_FRAMES).and_then(
                    |length| {
                        payload
                            .chunks_exact(length)
                            .try_for_each(|frame| self.frame(frame, out).ok_or(()))
                            .ok()
                    },
                )
            }
        };
        decoded.ok_or(CodecError::InvalidPayload)
    }
}

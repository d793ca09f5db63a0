//! G.722 at 64 kbit/s: 16 kHz audio with an RTP clock of 8000 (RFC 3551 §4.5.2).
//!
//! An octet stands for two samples: a pair of filters splits them into a lower and a higher band of 8000 samples a second each (ITU-T
//! G.722 §3), which are coded by adaptive differences with 6 and 2 bits. Everything is integer arithmetic, given bit by bit by the
//! recommendation.

mod band;
mod filter;
mod tables;

use crate::coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Family, packet_time_ms, refuse_options,
    require_clock,
};
use crate::def::{CodecDef, FmtpRule};
use crate::format::PayloadFormat;

use band::{HighBand, LowBand};
use filter::{Analysis, Synthesis};

pub(crate) const G722: CodecDef = CodecDef {
    name: "G722",
    sample_rate_factor: 2,
    static_payload_type: Some(9),
    fmtp_rule: FmtpRule::Ignored,
    silence_octet: Some(0xfa),
    family: &SubBands,
    ..CodecDef::NARROWBAND
};

const SAMPLE_RATE: u32 = 16_000;

#[derive(Debug)]
struct SubBands;

impl Family for SubBands {
    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        require_clock(format, 8000)?;
        Ok(Box::new(G722Decoder::default()))
    }

    fn new_encoder(
        &self,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        require_clock(format, 8000)?;
        refuse_options(format, options)?;
        let frame_samples = SAMPLE_RATE as usize / 1000 * usize::from(packet_time_ms(format, options));
        Ok(Box::new(G722Encoder { frame_samples, ..G722Encoder::default() }))
    }
}

/// Samples that both directions work on at once, per band; longer payloads take several turns.
const BLOCK: usize = 160;

#[derive(Default)]
struct G722Encoder {
    frame_samples: usize,
    analysis: Analysis,
    low: LowBand,
    high: HighBand,
}

impl Encoder for G722Encoder {
    fn sample_rate(&self) -> u32 {
        SAMPLE_RATE
    }

    fn channels(&self) -> u8 {
        1
    }

    fn frame_samples(&self) -> usize {
        self.frame_samples
    }

    fn encode(&mut self, frame: &[i16], out: &mut Vec<u8>) -> Result<(), CodecError> {
        if frame.len() != self.frame_samples {
            return Err(CodecError::EncodeFailed);
        }
        let (mut low, mut high) = ([0; BLOCK], [0; BLOCK]);
        for block in frame.chunks(2 * BLOCK) {
            let bands = self.analysis.split(block, &mut low, &mut high);
            out.extend(bands.map(|(low, high)| self.high.encode(high) << 6 | self.low.encode(low)));
        }
        Ok(())
    }
}

#[derive(Default)]
struct G722Decoder {
    synthesis: Synthesis,
    low: LowBand,
    high: HighBand,
}

impl Decoder for G722Decoder {
    fn sample_rate(&self) -> u32 {
        SAMPLE_RATE
    }

    fn channels(&self) -> u8 {
        1
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        if payload.is_empty() {
            return Err(CodecError::InvalidPayload);
        }
        for block in payload.chunks(BLOCK) {
            let bands = block.iter().map(|&code| (self.low.decode(code & 0x3f), self.high.decode(code >> 6)));
            self.synthesis.join(bands, out);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

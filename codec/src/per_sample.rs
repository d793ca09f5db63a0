//! Codecs that stand a fixed number of octets for each sample, at any rate: G.711 and linear samples.

use crate::coder::{CodecError, Decoder, Encoder, EncoderOptions, packet_time_ms, refuse_options};
use crate::format::PayloadFormat;

/// How samples are written. Whole payloads at a time, so that the loop over samples is the implementation's own.
pub(crate) trait Code: Copy + Send + 'static {
    /// Octets of a sample.
    const OCTETS: usize;

    /// Appends the samples of a payload, whose length is a multiple of `OCTETS`.
    fn expand(self, payload: &[u8], out: &mut Vec<i16>);

    /// Appends the octets of samples.
    fn compress(self, samples: &[i16], out: &mut Vec<u8>);
}

/// Decoder and encoder alike.
pub(crate) struct PerSample<C> {
    code: C,
    rate: u32,
    channels: u8,
    frame_samples: usize,
}

impl<C: Code> PerSample<C> {
    pub(crate) fn decoder(code: C, format: &PayloadFormat) -> Box<dyn Decoder> {
        Box::new(Self { code, rate: format.clock_rate, channels: format.channels, frame_samples: 0 })
    }

    /// A packet is one frame.
    pub(crate) fn encoder(
        code: C,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        refuse_options(format, options)?;
        let ptime = u64::from(packet_time_ms(format, options));
        let frame_samples = (u64::from(format.clock_rate) * ptime / 1000) as usize;
        Ok(Box::new(Self { code, rate: format.clock_rate, channels: format.channels, frame_samples }))
    }
}

impl<C: Code> Decoder for PerSample<C> {
    fn sample_rate(&self) -> u32 {
        self.rate
    }

    fn channels(&self) -> u8 {
        self.channels
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        if !payload.len().is_multiple_of(C::OCTETS * usize::from(self.channels)) {
            return Err(CodecError::InvalidPayload);
        }
        self.code.expand(payload, out);
        Ok(())
    }
}

impl<C: Code> Encoder for PerSample<C> {
    fn sample_rate(&self) -> u32 {
        self.rate
    }

    fn channels(&self) -> u8 {
        self.channels
    }

    fn frame_samples(&self) -> usize {
        self.frame_samples
    }

    fn encode(&mut self, frame: &[i16], out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.code.compress(frame, out);
        Ok(())
    }
}

//! Codecs that stand a fixed number of octets for each sample, at any rate: G.711 and linear samples.

use std::fmt;

use crate::coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Family, open_error, packet_time_ms,
    refuse_options,
};
use crate::format::PayloadFormat;

/// How samples are written. Whole payloads at a time, so that the loop over samples is the implementation's own.
pub(crate) trait Code: Copy + fmt::Debug + Send + Sync + 'static {
    /// Octets of a sample.
    const OCTETS: usize;

    /// Refuses clock rates and channels that it does not exist for.
    fn check(format: &PayloadFormat) -> Result<(), CodecError> {
        if (8000..=192_000).contains(&format.clock_rate) && (1..=2).contains(&format.channels) {
            return Ok(());
        }
        Err(open_error(format, format!("needs 8000 to 192000 Hz and 1 or 2 channels, got {format}")))
    }

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

impl<C: Code> Family for C {
    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        C::check(format)?;
        Ok(Box::new(PerSample::new(*self, format, 0)))
    }

    /// A packet is one frame.
    fn new_encoder(
        &self,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        C::check(format)?;
        refuse_options(format, options)?;
        let ptime = u64::from(packet_time_ms(format, options));
        let frame_samples = (u64::from(format.clock_rate) * ptime / 1000) as usize;
        Ok(Box::new(PerSample::new(*self, format, frame_samples)))
    }
}

impl<C> PerSample<C> {
    fn new(code: C, format: &PayloadFormat, frame_samples: usize) -> Self {
        Self { code, rate: format.clock_rate, channels: format.channels, frame_samples }
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

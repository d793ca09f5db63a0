//! Coders of libav whose payloads are frames one behind the other, as a value that a codec's file fills in.

use crate::coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Family, Origin, open_error, packet_time_ms,
    refuse_options, require_clock, unsupported_encoder,
};
use crate::format::PayloadFormat;
use crate::libav::{DecoderSetup, EncoderSetup, LibavDecoder, LibavEncoder, has_decoder, has_encoder};

/// A codec with one channel and no options.
#[derive(Debug)]
pub(crate) struct Framed {
    /// The encoder's name in libav; empty when there is none.
    pub(crate) encoder: &'static str,
    /// The decoder's.
    pub(crate) decoder: &'static str,
    pub(crate) origin: Origin,
    /// RTP clock; `None`: any, and samples have the same rate.
    pub(crate) clock_rate: Option<u32>,
    pub(crate) sample_rate: u32,
    /// Octets before the frames of a payload, and the length of the frame at the front; `None` when it is no frame.
    pub(crate) header_octets: usize,
    pub(crate) frame: fn(&[u8]) -> Option<usize>,
    /// Samples of an encoder frame; `None`: those of a packet.
    pub(crate) frame_samples: Option<usize>,
    /// 0: the encoder's own.
    pub(crate) bitrate_bps: u32,
    /// 0: does not matter. Codecs that code samples one by one take frames of any length.
    pub(crate) bits_per_sample: u8,
    /// See [`Family::samples_of_payloads`].
    pub(crate) samples_of_payloads: &'static [(&'static [u8], usize)],
}

impl Framed {
    /// Mono at 8000 Hz, payloads of one frame, for the definitions to start from.
    pub(crate) const NARROWBAND: Self = Self {
        encoder: "",
        decoder: "",
        origin: Origin::LIBAV,
        clock_rate: Some(8000),
        sample_rate: 8000,
        header_octets: 0,
        frame: whole_payload,
        frame_samples: None,
        bitrate_bps: 0,
        bits_per_sample: 0,
        samples_of_payloads: &[],
    };

    /// Rate of the samples.
    fn rate(&self, format: &PayloadFormat) -> Result<u32, CodecError> {
        match self.clock_rate {
            Some(clock_rate) => require_clock(format, clock_rate).map(|()| self.sample_rate),
            None if format.channels <= 1 && (8000..=96_000).contains(&format.clock_rate) => {
                Ok(format.clock_rate)
            }
            None => Err(open_error(format, "needs 8000 to 96000 Hz and 1 channel")),
        }
    }
}

impl Family for Framed {
    fn can_encode(&self) -> bool {
        !self.encoder.is_empty() && has_encoder(self.encoder)
    }

    fn can_decode(&self) -> bool {
        has_decoder(self.decoder)
    }

    fn origin(&self) -> Origin {
        self.origin
    }

    fn samples_of_payloads(&self) -> &'static [(&'static [u8], usize)] {
        self.samples_of_payloads
    }

    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        let sample_rate = self.rate(format)?;
        let setup = DecoderSetup { bits_per_sample: self.bits_per_sample, ..DecoderSetup::new(sample_rate) };
        FramedDecoder::open(format, self.decoder, setup, self.header_octets, self.frame)
    }

    fn new_encoder(
        &self,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        let sample_rate = self.rate(format)?;
        if self.encoder.is_empty() {
            return Err(unsupported_encoder(format));
        }
        refuse_options(format, options)?;
        let of_packet = || sample_rate as usize / 1000 * usize::from(packet_time_ms(format, options));
        let setup =
            EncoderSetup::new(self.encoder, sample_rate, self.frame_samples.unwrap_or_else(of_packet));
        let any_frame = self.bits_per_sample != 0;
        FramedEncoder::open(format, EncoderSetup { bitrate_bps: self.bitrate_bps, any_frame, ..setup })
    }
}

/// For codecs whose frames need no telling apart.
fn whole_payload(payload: &[u8]) -> Option<usize> {
    (!payload.is_empty()).then_some(payload.len())
}

/// Frames of one payload: more than a packet of [`crate::packet_time_ms`] can hold are not decoded.
const MOST_FRAMES: usize = 64;

struct FramedDecoder {
    engine: LibavDecoder,
    sample_rate: u32,
    header_octets: usize,
    /// Length of the frame at the front.
    frame: fn(&[u8]) -> Option<usize>,
}

impl FramedDecoder {
    fn open(
        format: &PayloadFormat,
        name: &str,
        setup: DecoderSetup,
        header_octets: usize,
        frame: fn(&[u8]) -> Option<usize>,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        let sample_rate = setup.sample_rate;
        let engine = LibavDecoder::open(name, setup).map_err(|reason| open_error(format, reason))?;
        Ok(Box::new(Self { engine, sample_rate, header_octets, frame }))
    }
}

impl Decoder for FramedDecoder {
    fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    fn channels(&self) -> u8 {
        1
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        let mut rest = payload.get(self.header_octets..).unwrap_or_default();
        if rest.is_empty() {
            return Err(CodecError::InvalidPayload);
        }
        for _ in 0..MOST_FRAMES {
            if rest.is_empty() {
                return Ok(());
            }
            let length = (self.frame)(rest).ok_or(CodecError::InvalidPayload)?;
            let (frame, behind) = rest.split_at_checked(length).ok_or(CodecError::InvalidPayload)?;
            self.engine.decode(frame, out).map_err(|_| CodecError::InvalidPayload)?;
            rest = behind;
        }
        Err(CodecError::InvalidPayload)
    }
}

struct FramedEncoder {
    engine: LibavEncoder,
    sample_rate: u32,
}

impl FramedEncoder {
    fn open(format: &PayloadFormat, setup: EncoderSetup) -> Result<Box<dyn Encoder>, CodecError> {
        let sample_rate = setup.sample_rate;
        let engine = LibavEncoder::open(setup).map_err(|reason| open_error(format, reason))?;
        Ok(Box::new(Self { engine, sample_rate }))
    }
}

impl Encoder for FramedEncoder {
    fn sample_rate(&self) -> u32 {
        self.sample_rate
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

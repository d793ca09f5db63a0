//! The two traits every codec family implements, and the factory.

use crate::PayloadFormat;

/// Why a codec could not be made or did not accept what it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// No implementation in this build or on this machine.
    #[error("no {direction} for {name} in this build")]
    Unsupported {
        /// Encoding name.
        name: String,
        /// "encoder" or "decoder".
        direction: &'static str,
    },
    /// The library behind the codec refused to open.
    #[error("{name}: {reason}")]
    Open {
        /// Encoding name.
        name: String,
        /// The library's words.
        reason: String,
    },
    /// The payload is not valid for this codec.
    #[error("invalid payload")]
    InvalidPayload,
    /// Encoding failed.
    #[error("encoder failed")]
    EncodeFailed,
}

/// Turns RTP payloads of one payload type into samples. One owner, one thread at a time.
pub trait Decoder: Send {
    /// Audio sample rate in Hz (16 000 for G722 although its RTP clock is 8000).
    fn sample_rate(&self) -> u32;
    /// Channels of the output, 1 or 2.
    fn channels(&self) -> u8;
    /// Decodes one payload and appends its samples (interleaved) to `out`.
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError>;
    /// Appends a replacement for `frames` lost samples per channel, when the codec has its own
    /// concealment; appends nothing otherwise.
    fn conceal(&mut self, _frames: usize, _out: &mut Vec<i16>) {}
}

/// Turns samples into RTP payloads. One owner, one thread at a time.
pub trait Encoder: Send {
    /// Sample rate that `encode` wants, in Hz.
    fn sample_rate(&self) -> u32;
    /// Channels that `encode` wants.
    fn channels(&self) -> u8;
    /// Samples per channel of one encoder frame; a packet holds a whole number of frames.
    fn frame_samples(&self) -> usize;
    /// Encodes exactly one frame (`frame_samples × channels` values) and appends the octets to `out`.
    /// Appending nothing means "nothing to send" (DTX).
    fn encode(&mut self, frame: &[i16], out: &mut Vec<u8>) -> Result<(), CodecError>;
}

/// What an encoder may be told beyond its payload format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EncoderOptions {
    /// Bit rate in bit/s; the codec's default when `None`.
    pub bitrate_bps: Option<u32>,
    /// Packet time in ms; the codec's default when `None`.
    pub ptime_ms: Option<u16>,
    /// Codec-specific options (`complexity=5`).
    pub options: String,
    /// Rate of the audio that will be encoded, as a hint for codecs with several internal rates (Opus).
    pub source_rate: Option<u32>,
    /// Channels of the audio that will be encoded.
    pub source_channels: Option<u8>,
}

/// A decoder for a payload format.
pub fn new_decoder(format: &PayloadFormat) -> Result<Box<dyn Decoder>, CodecError> {
    Err(CodecError::Unsupported { name: format.name.clone(), direction: "decoder" })
}

/// An encoder for a payload format.
pub fn new_encoder(
    format: &PayloadFormat,
    _options: &EncoderOptions,
) -> Result<Box<dyn Encoder>, CodecError> {
    Err(CodecError::Unsupported { name: format.name.clone(), direction: "encoder" })
}

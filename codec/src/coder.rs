//! The two traits every codec family implements, and the factory.
//!
//! A codec is one file with a type that implements [`Family`], a [`CodecDef`](crate::def::CodecDef)
//! constant beside it, and one line in the table of [`crate::def`].

use smol_str::SmolStr;

use std::fmt;

use crate::PayloadFormat;

/// Why a codec could not be made or did not accept what it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// No implementation in this build or on this machine.
    #[error("no {direction} for {name} in this build")]
    Unsupported {
        /// Encoding name.
        name: SmolStr,
        /// "encoder" or "decoder".
        direction: &'static str,
    },
    /// The format, an option, or the library behind the codec does not allow it.
    #[error("{name}: {reason}")]
    Open {
        /// Encoding name.
        name: SmolStr,
        /// The library's words, or what is wrong and what would be right.
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
    /// Like [`Decoder::conceal`], directly before `next` is decoded: a codec with in-band redundancy
    /// takes the end of the loss from there.
    fn recover(&mut self, _next: &[u8], frames: usize, out: &mut Vec<i16>) {
        self.conceal(frames, out);
    }
    /// [`Decoder::conceal`] does something.
    fn can_conceal(&self) -> bool {
        false
    }
    /// A loss whose end is known is heard less when the signal is bridged ([`crate::plc`]) than with [`Decoder::conceal`].
    fn is_better_bridged(&self) -> bool {
        false
    }
    /// What the payloads so far say to the encoder of the other direction.
    fn feedback(&self) -> Feedback {
        Feedback::default()
    }
}

/// What a party's payloads say about what it wants to be sent, in codecs that change their mode while a call goes on (AMR).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// The mode that was asked for last, with the frame that asked for one.
    pub mode_request: Option<u8>,
    /// Requests so far; goes round.
    pub requests: u32,
    /// Mode of the last speech frame.
    pub mode: Option<u8>,
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
    /// The octets appended last describe background noise: they end their packet and begin no talk spurt.
    fn made_noise(&self) -> bool {
        false
    }
    /// Takes note of what the party says that gets the payloads; cheap, may be called for every packet.
    fn follow(&mut self, _party: Feedback) {}
}

/// What an encoder may be told beyond its payload format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
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
    /// Silence may be left out, and described by noise frames, where format or options ask for it: the caller copes with
    /// [`Encoder::made_noise`] and with frames that make no octets.
    pub discontinuous: bool,
}

/// What a decoder may be told about whoever takes its samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DecoderOptions {
    /// Rate that the taker wants, as a hint for codecs with several internal rates (Opus).
    pub sink_rate: Option<u32>,
    /// Channels that the taker wants, as a hint for codecs that can fold down themselves (Opus).
    pub sink_channels: Option<u8>,
}

/// Where the implementation of a codec comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Library, or "built in".
    pub implementation: &'static str,
    /// SPDX expression.
    pub licence: &'static str,
}

impl Origin {
    /// Written for this project.
    pub(crate) const OWN: Self = Self { implementation: "built in", licence: "GPL-3.0-or-later" };
    /// FFmpeg's codec library.
    pub(crate) const LIBAV: Self =
        Self { implementation: "libavcodec", licence: "LGPL-2.1-or-later OR GPL-3.0-or-later" };
    /// Nobody's.
    pub(crate) const NONE: Self = Self { implementation: "none", licence: "" };
}

/// Makes the coders of one codec, and knows whether it can on this machine. Code of our own always can.
pub(crate) trait Family: fmt::Debug + Sync {
    /// What it stands on exists on this machine. May be slow: asked once, by the self-test.
    fn can_encode(&self) -> bool {
        true
    }
    /// See [`Family::can_encode`].
    fn can_decode(&self) -> bool {
        true
    }
    /// What it stands on.
    fn origin(&self) -> Origin {
        Origin::OWN
    }
    /// Payloads to try a decoder with that has no encoder beside it, and the samples that each of them stands for.
    fn samples_of_payloads(&self) -> &'static [(&'static [u8], usize)] {
        &[]
    }
    fn new_decoder(
        &self,
        format: &PayloadFormat,
        options: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError>;
    fn new_encoder(
        &self,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError>;
}

/// A decoder for a payload format.
///
/// Errors: [`CodecError::Unsupported`] for unknown, supplemental and video formats and for codecs that this
/// machine lacks; [`CodecError::Open`] when clock rate, channels or parameters are impossible.
pub fn new_decoder(format: &PayloadFormat) -> Result<Box<dyn Decoder>, CodecError> {
    new_decoder_for(format, &DecoderOptions::default())
}

/// A decoder for a payload format that knows who takes its samples; errors as [`new_decoder`].
pub fn new_decoder_for(
    format: &PayloadFormat,
    options: &DecoderOptions,
) -> Result<Box<dyn Decoder>, CodecError> {
    match format.def() {
        Some(def) if def.can_decode() => def.family.new_decoder(format, options),
        _ => Err(unsupported_decoder(format)),
    }
}

/// An encoder for a payload format; errors as [`new_decoder`], also for options it does not know.
pub fn new_encoder(format: &PayloadFormat, options: &EncoderOptions) -> Result<Box<dyn Encoder>, CodecError> {
    match format.def() {
        Some(def) if def.can_encode() => def.family.new_encoder(format, options),
        _ => Err(unsupported_encoder(format)),
    }
}

/// Packet time that an encoder for `format` uses: the wanted one or the codec's default, between the
/// codec's minimum and 200 ms (above that a packet would not fit a usual MTU in most codecs).
pub fn packet_time_ms(format: &PayloadFormat, options: &EncoderOptions) -> u16 {
    let (default, min) = format.def().map_or((20, 0), |d| (d.default_ptime_ms, d.min_ptime_ms));
    let default = if default == 0 { 20 } else { default };
    options.ptime_ms.filter(|&p| p > 0).unwrap_or(default).clamp(min.max(MIN_PTIME_MS), MAX_PTIME_MS)
}

const MIN_PTIME_MS: u16 = 5;
const MAX_PTIME_MS: u16 = 200;

pub(crate) fn unsupported_decoder(format: &PayloadFormat) -> CodecError {
    CodecError::Unsupported { name: format.name.text().clone(), direction: "decoder" }
}

pub(crate) fn unsupported_encoder(format: &PayloadFormat) -> CodecError {
    CodecError::Unsupported { name: format.name.text().clone(), direction: "encoder" }
}

pub(crate) fn open_error(format: &PayloadFormat, reason: impl Into<String>) -> CodecError {
    CodecError::Open { name: format.name.text().clone(), reason: reason.into() }
}

/// `key=value` pairs of codec options, in any case; `--` may stand for `=`, a key alone has an empty value.
pub(crate) fn codec_options(options: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts = options.split([';', ',', ' ']).map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').or_else(|| part.split_once("--")).unwrap_or((part, "")))
}

/// For codecs without options of their own and with one bit rate only.
pub(crate) fn refuse_options(format: &PayloadFormat, options: &EncoderOptions) -> Result<(), CodecError> {
    if options.options.is_empty() {
        return Ok(());
    }
    Err(open_error(format, format!("takes no codec options, got {:?}", options.options)))
}

/// For codecs that exist at one clock rate and one channel only.
pub(crate) fn require_clock(format: &PayloadFormat, clock_rate: u32) -> Result<(), CodecError> {
    if format.clock_rate != clock_rate || format.channels != 1 {
        let got = format!("{}/{}", format.clock_rate, format.channels);
        return Err(open_error(format, format!("needs clock rate {clock_rate} and 1 channel, got {got}")));
    }
    Ok(())
}

/// Family of codecs that negotiation knows but that no code here implements.
#[derive(Debug)]
pub(crate) struct Missing;

impl Family for Missing {
    fn can_encode(&self) -> bool {
        false
    }
    fn can_decode(&self) -> bool {
        false
    }
    fn origin(&self) -> Origin {
        Origin::NONE
    }
    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        Err(unsupported_decoder(format))
    }
    fn new_encoder(
        &self,
        format: &PayloadFormat,
        _: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        Err(unsupported_encoder(format))
    }
}

/// Family of the supplemental types: fully handled in the packet path, but never through samples.
#[derive(Debug)]
pub(crate) struct Supplemental;

impl Family for Supplemental {
    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        Err(unsupported_decoder(format))
    }
    fn new_encoder(
        &self,
        format: &PayloadFormat,
        _: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        Err(unsupported_encoder(format))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_time_follows_wish_default_and_minimum() {
        let cases = [
            ("PCMU", None, 20),
            ("PCMU", Some(10), 10),
            ("PCMU", Some(0), 20),
            ("GSM", Some(10), 20),
            ("G723", None, 30),
            ("PCMA", Some(60_000), 200),
            ("unknown", Some(30), 30),
        ];
        for (name, ptime_ms, expected) in cases {
            let format = PayloadFormat::new(96, name, 8000, 1);
            let options = EncoderOptions { ptime_ms, ..Default::default() };
            assert_eq!(packet_time_ms(&format, &options), expected, "{name} {ptime_ms:?}");
        }
    }

    #[test]
    fn unknown_and_supplemental_formats_have_no_coders() {
        for name in ["nonsense", "telephone-event", "CN", "red", "EVS"] {
            let format = PayloadFormat::new(96, name, 8000, 1);
            assert!(matches!(new_decoder(&format), Err(CodecError::Unsupported { .. })), "{name}");
            assert!(
                matches!(
                    new_encoder(&format, &EncoderOptions::default()),
                    Err(CodecError::Unsupported { .. })
                ),
                "{name}"
            );
        }
    }
}

//! Codecs of libav whose payloads are frames one behind the other: G.723.1, G.726, Speex, iLBC, and what GSM and G.722 are made of.

use std::sync::LazyLock;

use crate::coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Family, open_error, packet_time_ms,
    refuse_options, require_clock, unsupported_encoder,
};
use crate::def::CodecDef;
use crate::format::PayloadFormat;
use crate::libav::{DecoderSetup, EncoderSetup, LibavDecoder, LibavEncoder, has_decoder, has_encoder};

/// 24 octets for 30 ms at 6.3 kbit/s, 20 at 5.3 kbit/s, 4 of noise (RFC 3551 §4.5.3).
pub(crate) const G723: CodecDef = CodecDef {
    name: "G723",
    static_payload_type: Some(4),
    default_ptime_ms: 30,
    min_ptime_ms: 30,
    default_bitrate_bps: 6300,
    family: &G723_CODER,
    ..CodecDef::NARROWBAND
};

/// Variable, padded to octets (RFC 5574).
pub(crate) const SPEEX: CodecDef = CodecDef {
    name: "speex",
    clock_rate: 16_000,
    min_ptime_ms: 20,
    default_bitrate_bps: 11_000,
    family: &SpeexFamily,
    ..CodecDef::NARROWBAND
};

/// 38 octets for 20 ms or 50 for 30 ms (RFC 3952). No library at hand encodes it.
pub(crate) const ILBC: CodecDef = CodecDef {
    name: "iLBC",
    default_ptime_ms: 30,
    default_fmtp: "mode=30",
    family: &IlbcFamily,
    ..CodecDef::NARROWBAND
};

/// G.726 at 2 to 5 bits per sample, the first sample in the low bits (RFC 3551 §4.5.4).
pub(crate) const fn g726(name: &'static str, family: &'static Framed, bitrate_bps: u32) -> CodecDef {
    CodecDef { name, min_ptime_ms: 20, default_bitrate_bps: bitrate_bps, family, ..CodecDef::NARROWBAND }
}

/// A coder's names in libav, encoder first.
pub(crate) type Names = (&'static str, &'static str);

pub(crate) fn available((encoder, decoder): Names) -> (bool, bool) {
    (has_encoder(encoder), has_decoder(decoder))
}

/// A codec with an RTP clock of 8000 Hz, one channel and no options.
#[derive(Debug)]
pub(crate) struct Framed {
    pub(crate) names: Names,
    /// What of it this machine has.
    pub(crate) available: LazyLock<(bool, bool)>,
    pub(crate) sample_rate: u32,
    /// Length of the frame at the front of a payload.
    pub(crate) frame: fn(&[u8]) -> Option<usize>,
    /// Samples of an encoder frame; `None`: those of a packet.
    pub(crate) frame_samples: Option<usize>,
    /// 0: the encoder's own.
    pub(crate) bitrate_bps: u32,
    /// 0: does not matter. Codecs that code samples one by one take frames of any length.
    pub(crate) bits_per_sample: u8,
}

impl Family for Framed {
    fn can_encode(&self) -> bool {
        self.available.0
    }

    fn can_decode(&self) -> bool {
        self.available.1
    }

    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        require_clock(format, 8000)?;
        let setup =
            DecoderSetup { bits_per_sample: self.bits_per_sample, ..DecoderSetup::new(self.sample_rate) };
        FramedDecoder::open(format, self.names.1, setup, self.frame)
    }

    fn new_encoder(
        &self,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        require_clock(format, 8000)?;
        refuse_options(format, options)?;
        let of_packet = || self.sample_rate as usize / 1000 * usize::from(packet_time_ms(format, options));
        let setup =
            EncoderSetup::new(self.names.0, self.sample_rate, self.frame_samples.unwrap_or_else(of_packet));
        let any_frame = self.bits_per_sample != 0;
        FramedEncoder::open(format, EncoderSetup { bitrate_bps: self.bitrate_bps, any_frame, ..setup })
    }
}

const G723_NAMES: Names = ("g723_1", "g723_1");

static G723_CODER: Framed = Framed {
    names: G723_NAMES,
    available: LazyLock::new(|| available(G723_NAMES)),
    sample_rate: 8000,
    frame: g723_frame,
    frame_samples: Some(240),
    bitrate_bps: 6300,
    bits_per_sample: 0,
};

/// Length of the frame at the front, by its lowest bits.
fn g723_frame(payload: &[u8]) -> Option<usize> {
    Some([24, 20, 4, 1][usize::from(payload.first()? & 3)])
}

const G726_NAMES: Names = ("g726le", "g726le");

/// G.726 with 2, 3, 4 and 5 bits per sample.
pub(crate) static G726_CODERS: [Framed; 4] = [g726_coder(2), g726_coder(3), g726_coder(4), g726_coder(5)];

const fn g726_coder(bits: u8) -> Framed {
    Framed {
        names: G726_NAMES,
        available: LazyLock::new(|| available(G726_NAMES)),
        sample_rate: 8000,
        frame: whole_payload,
        // 80 samples are a whole number of octets at every rate.
        frame_samples: Some(80),
        bitrate_bps: bits as u32 * 8000,
        bits_per_sample: bits,
    }
}

pub(crate) fn whole_payload(payload: &[u8]) -> Option<usize> {
    (!payload.is_empty()).then_some(payload.len())
}

#[derive(Debug)]
struct SpeexFamily;

const SPEEX_NAMES: Names = ("libspeex", "libspeex");
static SPEEX_AVAILABLE: LazyLock<(bool, bool)> = LazyLock::new(|| available(SPEEX_NAMES));

impl Family for SpeexFamily {
    fn can_encode(&self) -> bool {
        SPEEX_AVAILABLE.0
    }

    fn can_decode(&self) -> bool {
        SPEEX_AVAILABLE.1
    }

    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        speex_rate(format)?;
        FramedDecoder::open(format, SPEEX_NAMES.1, DecoderSetup::new(format.clock_rate), whole_payload)
    }

    fn new_encoder(
        &self,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        let rate = speex_rate(format)?;
        refuse_options(format, options)?;
        let frames = u32::from(packet_time_ms(format, options) / 20).max(1);
        let setup = EncoderSetup::new(SPEEX_NAMES.0, rate, rate as usize / 50);
        FramedEncoder::open(
            format,
            EncoderSetup {
                bitrate_bps: options.bitrate_bps.unwrap_or(SPEEX.default_bitrate_bps),
                // Frames of a packet share its last octets, so the library has to put them together.
                frames_per_packet: Some(frames),
                ..setup
            },
        )
    }
}

fn speex_rate(format: &PayloadFormat) -> Result<u32, CodecError> {
    if ![8000, 16_000, 32_000].contains(&format.clock_rate) {
        return Err(open_error(format, format!("no Speex at {} Hz", format.clock_rate)));
    }
    require_clock(format, format.clock_rate)?;
    Ok(format.clock_rate)
}

#[derive(Debug)]
struct IlbcFamily;

const ILBC_DECODER: &str = "ilbc";
static ILBC_AVAILABLE: LazyLock<bool> = LazyLock::new(|| has_decoder(ILBC_DECODER));

impl Family for IlbcFamily {
    fn can_encode(&self) -> bool {
        false
    }

    fn can_decode(&self) -> bool {
        *ILBC_AVAILABLE
    }

    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        require_clock(format, 8000)?;
        let of_block = |octets: u16| {
            let setup = DecoderSetup { block_octets: octets, ..DecoderSetup::new(8000) };
            LibavDecoder::open(ILBC_DECODER, setup).map_err(|reason| open_error(format, reason))
        };
        Ok(Box::new(IlbcDecoder { short: of_block(38)?, long: of_block(50)? }))
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
            0 => return Err(CodecError::InvalidPayload),
            length if length.is_multiple_of(50) => (&mut self.long, 50),
            length if length.is_multiple_of(38) => (&mut self.short, 38),
            _ => return Err(CodecError::InvalidPayload),
        };
        payload
            .chunks_exact(block)
            .try_for_each(|frame| engine.decode(frame, out))
            .map_err(|_| CodecError::InvalidPayload)
    }
}

struct FramedDecoder {
    engine: LibavDecoder,
    sample_rate: u32,
    /// Length of the frame at the front.
    frame: fn(&[u8]) -> Option<usize>,
}

impl FramedDecoder {
    fn open(
        format: &PayloadFormat,
        name: &str,
        setup: DecoderSetup,
        frame: fn(&[u8]) -> Option<usize>,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        let sample_rate = setup.sample_rate;
        let engine = LibavDecoder::open(name, setup).map_err(|reason| open_error(format, reason))?;
        Ok(Box::new(Self { engine, sample_rate, frame }))
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
        if payload.is_empty() {
            return Err(CodecError::InvalidPayload);
        }
        let mut rest = payload;
        while let Some(length) = (self.frame)(rest) {
            let (frame, behind) = rest.split_at_checked(length).ok_or(CodecError::InvalidPayload)?;
            self.engine.decode(frame, out).map_err(|_| CodecError::InvalidPayload)?;
            rest = behind;
        }
        Ok(())
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

//! G.726 at 2 to 5 bits per sample, in both orders: the first sample in the low bits (RFC 3551 §4.5.4, `G726-…`) and in the high bits
//! (ITU-T I.366.2 Annex E, `AAL2-G726-…`).

use crate::def::CodecDef;
use crate::framed::Framed;

/// The eight definitions differ in rate and order only.
const fn definition(name: &'static str, family: &'static Framed, bitrate_bps: u32) -> CodecDef {
    CodecDef { name, min_ptime_ms: 20, default_bitrate_bps: bitrate_bps, family, ..CodecDef::NARROWBAND }
}

pub(crate) const G726_16: CodecDef = definition("G726-16", &LOW_FIRST[0], 16_000);
pub(crate) const G726_24: CodecDef = definition("G726-24", &LOW_FIRST[1], 24_000);
pub(crate) const G726_32: CodecDef = definition("G726-32", &LOW_FIRST[2], 32_000);
pub(crate) const G726_40: CodecDef = definition("G726-40", &LOW_FIRST[3], 40_000);
pub(crate) const AAL2_G726_16: CodecDef = definition("AAL2-G726-16", &HIGH_FIRST[0], 16_000);
pub(crate) const AAL2_G726_24: CodecDef = definition("AAL2-G726-24", &HIGH_FIRST[1], 24_000);
pub(crate) const AAL2_G726_32: CodecDef = definition("AAL2-G726-32", &HIGH_FIRST[2], 32_000);
pub(crate) const AAL2_G726_40: CodecDef = definition("AAL2-G726-40", &HIGH_FIRST[3], 40_000);

static LOW_FIRST: [Framed; 4] =
    [coder("g726le", 2), coder("g726le", 3), coder("g726le", 4), coder("g726le", 5)];

static HIGH_FIRST: [Framed; 4] = [coder("g726", 2), coder("g726", 3), coder("g726", 4), coder("g726", 5)];

const fn coder(name: &'static str, bits: u8) -> Framed {
    Framed {
        encoder: name,
        decoder: name,
        // 80 samples are a whole number of octets at every rate.
        frame_samples: Some(80),
        bitrate_bps: bits as u32 * 8000,
        bits_per_sample: bits,
        ..Framed::NARROWBAND
    }
}

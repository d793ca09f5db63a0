//! G.711 µ-law and A-law (PCMU, PCMA) by table.
//!
//! The encoder tables are indexed by the bits that matter: G.711 sees 14-bit (µ-law) and 13-bit (A-law)
//! samples, negative ones in one's complement, so 16 384 and 4096 octets decide every 16-bit input.

use crate::coder::{CodecError, require_clock};
use crate::def::{CodecDef, FmtpRule};
use crate::format::PayloadFormat;
use crate::per_sample::Code;

pub(crate) const PCMU: CodecDef = CodecDef {
    name: "PCMU",
    static_payload_type: Some(0),
    fmtp_rule: FmtpRule::Ignored,
    silence_octet: Some(0xff),
    family: &Law::Mu,
    ..CodecDef::NARROWBAND
};

pub(crate) const PCMA: CodecDef = CodecDef {
    name: "PCMA",
    static_payload_type: Some(8),
    fmtp_rule: FmtpRule::Ignored,
    silence_octet: Some(0xd5),
    family: &Law::A,
    ..CodecDef::NARROWBAND
};

/// A companding law of G.711.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// µ-law (PCMU).
    Mu,
    /// A-law (PCMA).
    A,
}

impl Law {
    /// The sample that an octet stands for.
    pub fn expand(self, octet: u8) -> i16 {
        match self {
            Law::Mu => MU_EXPAND[usize::from(octet)],
            Law::A => A_EXPAND[usize::from(octet)],
        }
    }

    /// The octet nearest to a sample.
    pub fn compress(self, sample: i16) -> u8 {
        match self {
            Law::Mu => MU_COMPRESS[usize::from(sample as u16 >> 2)],
            Law::A => A_COMPRESS[usize::from(sample as u16 >> 4)],
        }
    }
}

impl Code for Law {
    const OCTETS: usize = 1;

    /// G.711 is companding only: other clock rates (16 000 is seen in the wild) and stereo work alike.
    fn check(format: &PayloadFormat) -> Result<(), CodecError> {
        if (8000..=48_000).contains(&format.clock_rate) && (1..=2).contains(&format.channels) {
            return Ok(());
        }
        require_clock(format, 8000)
    }

    fn expand(self, payload: &[u8], out: &mut Vec<i16>) {
        let table = match self {
            Law::Mu => &MU_EXPAND,
            Law::A => &A_EXPAND,
        };
        out.extend(payload.iter().map(|&octet| table[usize::from(octet)]));
    }

    fn compress(self, samples: &[i16], out: &mut Vec<u8>) {
        match self {
            Law::Mu => out.extend(samples.iter().map(|&s| MU_COMPRESS[usize::from(s as u16 >> 2)])),
            Law::A => out.extend(samples.iter().map(|&s| A_COMPRESS[usize::from(s as u16 >> 4)])),
        }
    }
}

static MU_EXPAND: [i16; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = mu_expand(octet as u8);
        octet += 1;
    }
    table
};

static A_EXPAND: [i16; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = a_expand(octet as u8);
        octet += 1;
    }
    table
};

static MU_COMPRESS: [u8; 1 << 14] = {
    let mut table = [0; 1 << 14];
    let mut index = 0;
    while index < 1 << 14 {
        table[index] = mu_compress(((index << 2) as u16) as i16);
        index += 1;
    }
    table
};

static A_COMPRESS: [u8; 1 << 12] = {
    let mut table = [0; 1 << 12];
    let mut index = 0;
    while index < 1 << 12 {
        table[index] = a_compress(((index << 4) as u16) as i16);
        index += 1;
    }
    table
};

/// Segments start at 33·2ⁿ − 33 (14-bit scale); the octet is inverted on the line.
const fn mu_expand(octet: u8) -> i16 {
    let code = !octet;
    let biased = (((code & 0x0f) as i16) * 2 + 33) << ((code >> 4) & 7);
    let magnitude = (biased - 33) * 4;
    if code & 0x80 != 0 { -magnitude } else { magnitude }
}

const fn mu_compress(sample: i16) -> u8 {
    let magnitude = (if sample < 0 { !sample } else { sample }) >> 2;
    let biased = if magnitude > 8191 - 33 { 8191 } else { magnitude + 33 };
    // The highest set bit (5 … 12) gives the segment, the four bits below it the step.
    let segment = 15 - (biased as u16).leading_zeros() - 5;
    let step = (biased >> (segment + 1)) & 0x0f;
    let code = (segment as u8) << 4 | step as u8;
    if sample < 0 { !code & 0x7f } else { !code }
}

/// Even bits are inverted on the line (XOR 0x55); the sign bit is set for positive values.
const fn a_expand(octet: u8) -> i16 {
    let code = octet ^ 0x55;
    let step = (code & 0x0f) as i16;
    let segment = (code >> 4) & 7;
    let magnitude = match segment {
        0 => (step << 4) + 8,
        n => ((step << 4) + 0x108) << (n - 1),
    };
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

const fn a_compress(sample: i16) -> u8 {
    let magnitude = ((if sample < 0 { !sample } else { sample }) >> 4) as u16;
    let code = if magnitude < 32 {
        magnitude as u8
    } else {
        let segment = 15 - magnitude.leading_zeros() - 3;
        ((segment as u8) << 4) | ((magnitude >> (segment - 1)) & 0x0f) as u8
    };
    (if sample < 0 { code } else { code | 0x80 }) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EncoderOptions;

    #[test]
    fn known_octets_of_g711() {
        let cases = [
            (Law::Mu, 0xff, 0),
            (Law::Mu, 0x80, 32124),
            (Law::Mu, 0x00, -32124),
            (Law::Mu, 0xfe, 8),
            (Law::Mu, 0x7e, -8),
            (Law::Mu, 0xf0, 120),
            (Law::Mu, 0xef, 132),
            (Law::A, 0xd5, 8),
            (Law::A, 0x55, -8),
            (Law::A, 0xaa, 32256),
            (Law::A, 0x2a, -32256),
            (Law::A, 0xc5, 264),
        ];
        for (law, octet, sample) in cases {
            assert_eq!(law.expand(octet), sample, "{law:?} {octet:#04x}");
            assert_eq!(law.compress(sample), octet, "{law:?} {sample}");
        }
        assert_eq!(Law::Mu.compress(i16::MAX), 0x80);
        assert_eq!(Law::Mu.compress(i16::MIN), 0x00);
        assert_eq!(Law::A.compress(i16::MAX), 0xaa);
        assert_eq!(Law::A.compress(i16::MIN), 0x2a);
    }

    #[test]
    fn every_octet_survives_expansion_and_compression() {
        for octet in 0..=255u8 {
            assert_eq!(Law::A.compress(Law::A.expand(octet)), octet, "A {octet:#04x}");
            // Negative zero of µ-law is the same sample as positive zero.
            let expected = if octet == 0x7f { 0xff } else { octet };
            assert_eq!(Law::Mu.compress(Law::Mu.expand(octet)), expected, "µ {octet:#04x}");
        }
    }

    #[test]
    fn every_sample_is_within_half_a_step_and_monotonic() {
        for law in [Law::Mu, Law::A] {
            let mut previous = i16::MIN;
            for sample in i16::MIN..=i16::MAX {
                let coded = law.expand(law.compress(sample));
                assert!(coded >= previous, "{law:?} {sample}: {coded} after {previous}");
                previous = coded;
                let magnitude = i32::from(sample).abs();
                let limit = match law {
                    // Half of a step of the segment, and what lies above the last decision value.
                    Law::Mu => ((magnitude + 132) / 32 + 4).min(644),
                    Law::A => (magnitude / 32 + 9).min(512),
                };
                let error = (i32::from(coded) - i32::from(sample)).abs();
                assert!(error <= limit, "{law:?} {sample} → {coded}");
            }
        }
    }

    #[test]
    fn frame_is_one_packet() {
        let format = PayloadFormat::new(0, "PCMU", 8000, 1);
        let options = EncoderOptions { ptime_ms: Some(30), ..Default::default() };
        let mut encoder = crate::new_encoder(&format, &options).unwrap();
        assert_eq!((encoder.frame_samples(), encoder.sample_rate(), encoder.channels()), (240, 8000, 1));
        let mut octets = Vec::new();
        encoder.encode(&[0; 240], &mut octets).unwrap();
        assert_eq!(octets, vec![0xff; 240]);
    }
}

//! Linear 16-bit samples: L16 in network order (RFC 3551 §4.5.11), X-L16 in little-endian order.

use crate::def::CodecDef;
use crate::per_sample::Code;

pub(crate) const L16: CodecDef = CodecDef {
    name: "L16",
    clock_rate: 44_100,
    static_payload_type: Some(11),
    min_ptime_ms: 5,
    family: &ByteOrder::Network,
    ..CodecDef::NARROWBAND
};

pub(crate) const X_L16: CodecDef =
    CodecDef { name: "X-L16", static_payload_type: None, family: &ByteOrder::Little, ..L16 };

#[derive(Clone, Copy, Debug)]
enum ByteOrder {
    Network,
    Little,
}

impl Code for ByteOrder {
    const OCTETS: usize = 2;

    fn expand(self, payload: &[u8], out: &mut Vec<i16>) {
        let pairs = payload.chunks_exact(2);
        match self {
            ByteOrder::Network => out.extend(pairs.map(|p| i16::from_be_bytes([p[0], p[1]]))),
            ByteOrder::Little => out.extend(pairs.map(|p| i16::from_le_bytes([p[0], p[1]]))),
        }
    }

    fn compress(self, samples: &[i16], out: &mut Vec<u8>) {
        match self {
            ByteOrder::Network => out.extend(samples.iter().flat_map(|s| s.to_be_bytes())),
            ByteOrder::Little => out.extend(samples.iter().flat_map(|s| s.to_le_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{CodecError, EncoderOptions, PayloadFormat};

    #[test]
    fn samples_survive_in_either_byte_order() {
        for (name, first) in [("L16", [0x12, 0x34]), ("x-l16", [0x34, 0x12])] {
            let format = PayloadFormat::new(96, name, 16_000, 2);
            let samples: Vec<i16> =
                std::iter::once(0x1234).chain((1..640).map(|i| i * 51 - 16_000)).collect();
            let mut octets = Vec::new();
            let mut encoder = crate::new_encoder(&format, &EncoderOptions::default()).unwrap();
            assert_eq!(encoder.frame_samples(), 320);
            encoder.encode(&samples, &mut octets).unwrap();
            assert_eq!(octets[..2], first, "{name}");
            let mut decoded = Vec::new();
            let mut decoder = crate::new_decoder(&format).unwrap();
            decoder.decode(&octets, &mut decoded).unwrap();
            assert_eq!(decoded, samples);
            assert_eq!(decoder.decode(&octets[..5], &mut decoded), Err(CodecError::InvalidPayload));
        }
    }

    #[test]
    fn impossible_rates_and_channels_are_refused() {
        for (rate, channels) in [(0, 1), (8000, 0), (8000, 3), (1_000_000, 1)] {
            assert!(crate::new_decoder(&PayloadFormat::new(96, "L16", rate, channels)).is_err());
        }
    }
}

//! Linear 16-bit samples: L16 in network order (RFC 3551 §4.5.11), X-L16 in little-endian order.

use crate::coder::{
    CodecError, Decoder, DecoderOptions, Encoder, EncoderOptions, Family, open_error, packet_time_ms,
    refuse_options,
};
use crate::def::CodecDef;
use crate::format::PayloadFormat;

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

impl Family for ByteOrder {
    fn can_encode(&self) -> bool {
        true
    }

    fn can_decode(&self) -> bool {
        true
    }

    fn new_decoder(
        &self,
        format: &PayloadFormat,
        _options: &DecoderOptions,
    ) -> Result<Box<dyn Decoder>, CodecError> {
        check(format)?;
        Ok(Box::new(Linear {
            order: *self,
            rate: format.clock_rate,
            channels: format.channels,
            frame_samples: 0,
        }))
    }

    fn new_encoder(
        &self,
        format: &PayloadFormat,
        options: &EncoderOptions,
    ) -> Result<Box<dyn Encoder>, CodecError> {
        check(format)?;
        refuse_options(format, options)?;
        let ptime = u64::from(packet_time_ms(format, options));
        let frame_samples = (u64::from(format.clock_rate) * ptime / 1000) as usize;
        Ok(Box::new(Linear {
            order: *self,
            rate: format.clock_rate,
            channels: format.channels,
            frame_samples,
        }))
    }
}

fn check(format: &PayloadFormat) -> Result<(), CodecError> {
    if !(8000..=192_000).contains(&format.clock_rate) || !(1..=2).contains(&format.channels) {
        let got = format!("{}/{}", format.clock_rate, format.channels);
        return Err(open_error(format, format!("needs 8000 to 192000 Hz and 1 or 2 channels, got {got}")));
    }
    Ok(())
}

struct Linear {
    order: ByteOrder,
    rate: u32,
    channels: u8,
    frame_samples: usize,
}

impl Decoder for Linear {
    fn sample_rate(&self) -> u32 {
        self.rate
    }

    fn channels(&self) -> u8 {
        self.channels
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        if !payload.len().is_multiple_of(2 * usize::from(self.channels)) {
            return Err(CodecError::InvalidPayload);
        }
        let pairs = payload.chunks_exact(2);
        match self.order {
            ByteOrder::Network => out.extend(pairs.map(|p| i16::from_be_bytes([p[0], p[1]]))),
            ByteOrder::Little => out.extend(pairs.map(|p| i16::from_le_bytes([p[0], p[1]]))),
        }
        Ok(())
    }
}

impl Encoder for Linear {
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
        match self.order {
            ByteOrder::Network => out.extend(frame.iter().flat_map(|s| s.to_be_bytes())),
            ByteOrder::Little => out.extend(frame.iter().flat_map(|s| s.to_le_bytes())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

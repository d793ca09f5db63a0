//! Linear unsigned 8-bit samples (PCM-U8), for recordings and announcements.

use crate::def::CodecDef;
use crate::per_sample::Code;

pub(crate) const PCM_U8: CodecDef = CodecDef { name: "PCM-U8", family: &Unsigned, ..CodecDef::NO_RTP };

#[derive(Clone, Copy, Debug)]
struct Unsigned;

impl Code for Unsigned {
    const OCTETS: usize = 1;

    fn expand(self, payload: &[u8], out: &mut Vec<i16>) {
        out.extend(payload.iter().map(|&octet| (i16::from(octet) - 128) << 8));
    }

    fn compress(self, samples: &[i16], out: &mut Vec<u8>) {
        // Rounds; the highest samples stay at the highest octet.
        let octet = |&sample: &i16| (sample.saturating_add(0x80) >> 8) as i8 as u8 ^ 0x80;
        out.extend(samples.iter().map(octet));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_survive_and_silence_is_the_middle() {
        let octets: Vec<u8> = (0..=255).collect();
        let (mut samples, mut again) = (Vec::new(), Vec::new());
        Unsigned.expand(&octets, &mut samples);
        assert_eq!((samples[0], samples[128], samples[255]), (-32_768, 0, 32_512));
        Unsigned.compress(&samples, &mut again);
        assert_eq!(again, octets);
        again.clear();
        Unsigned.compress(&[i16::MAX, i16::MIN, 127, -128], &mut again);
        assert_eq!(again, [255, 0, 128, 128]);
    }
}

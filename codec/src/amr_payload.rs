//! The RTP payload of AMR and AMR-WB (RFC 4867 §4): mode request, table of contents, frames; both alignments.
//!
//! Frames go in and out in storage format (§5.3): an octet `0FFFFQ00` and the speech bits, padded.

use crate::fmtp::parameter;

/// Which of the two codecs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Band {
    Narrow = 0,
    Wide = 1,
}

/// How payloads are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    BandwidthEfficient,
    OctetAligned {
        /// An octet for each speech frame stands between table and frames.
        crc: bool,
    },
}

/// One frame of a payload: speech, noise, or nothing.
pub(crate) struct Frame<'a> {
    /// In storage format.
    pub(crate) storage: &'a [u8],
    /// Speech that arrived undamaged.
    pub(crate) is_good_speech: bool,
}

/// Speech bits of the modes.
const NARROW_BITS: [usize; 8] = [95, 103, 118, 134, 148, 159, 204, 244];
const WIDE_BITS: [usize; 9] = [132, 177, 253, 285, 317, 365, 397, 461, 477];
const NARROW_NOISE: (u8, usize) = (8, 39);
const WIDE_NOISE: (u8, usize) = (9, 40);
/// Speech lost (AMR-WB), and no data.
const EMPTY: [u8; 2] = [14, 15];
/// "No mode request".
const NO_REQUEST: u8 = 15;
/// Frames of one payload; more than 240 ms do not occur.
const MOST_FRAMES: usize = 12;
/// Octets of the longest frame in storage format.
const MOST_OCTETS: usize = 61;

impl Layout {
    /// From format parameters (RFC 4867 §8.1).
    ///
    /// # Errors
    /// Interleaving and robust sorting are not supported.
    pub(crate) fn from_fmtp(fmtp: &str) -> Result<Self, &'static str> {
        let on = |key| parameter(fmtp, key) == Some("1");
        if on("robust-sorting") || parameter(fmtp, "interleaving").is_some() {
            return Err("robust sorting and interleaving are not supported");
        }
        let crc = on("crc");
        Ok(if on("octet-align") || crc { Self::OctetAligned { crc } } else { Self::BandwidthEfficient })
    }
}

/// Bits of a frame type; `None` for types that are not defined.
fn bits_of(band: Band, frame_type: u8) -> Option<usize> {
    let (speech, noise): (&[usize], _) = match band {
        Band::Narrow => (&NARROW_BITS, NARROW_NOISE),
        Band::Wide => (&WIDE_BITS, WIDE_NOISE),
    };
    match frame_type {
        _ if EMPTY.contains(&frame_type) => Some(0),
        _ if frame_type == noise.0 => Some(noise.1),
        _ => speech.get(usize::from(frame_type)).copied(),
    }
}

fn is_speech(band: Band, frame_type: u8) -> bool {
    usize::from(frame_type) < if band == Band::Narrow { NARROW_BITS.len() } else { WIDE_BITS.len() }
}

/// Gives each frame of a payload to `take`, which says whether it could be used. `None` when the payload or a frame is not valid.
pub(crate) fn unpack(
    band: Band,
    layout: Layout,
    payload: &[u8],
    mut take: impl FnMut(Frame<'_>) -> bool,
) -> Option<()> {
    let mut reader = BitReader { octets: payload, position: 0 };
    reader.read(4)?;
    if layout != Layout::BandwidthEfficient {
        reader.align();
    }
    let mut types = [0; MOST_FRAMES];
    let mut count = 0;
    loop {
        let (more, frame_type, good) = (reader.read(1)?, reader.read(4)?, reader.read(1)?);
        if layout != Layout::BandwidthEfficient {
            reader.align();
        }
        bits_of(band, frame_type)?;
        *types.get_mut(count)? = frame_type << 1 | good;
        count += 1;
        if more == 0 {
            break;
        }
    }
    let types = types.get(..count)?;
    if layout == (Layout::OctetAligned { crc: true }) {
        let checked = types.iter().filter(|entry| bits_of(band, **entry >> 1) != Some(0)).count();
        reader.position += checked * 8;
    }
    for entry in types {
        let frame_type = entry >> 1;
        let mut storage = [0; MOST_OCTETS];
        storage[0] = entry << 2;
        let bits = bits_of(band, frame_type)?;
        let length = 1 + bits.div_ceil(8);
        for (index, octet) in storage.get_mut(1..length)?.iter_mut().enumerate() {
            let wanted = (bits - index * 8).min(8) as u32;
            *octet = reader.read(wanted)? << (8 - wanted);
        }
        if layout != Layout::BandwidthEfficient {
            reader.align();
        }
        let is_good_speech = entry & 1 == 1 && is_speech(band, frame_type);
        let frame = Frame { storage: storage.get(..length)?, is_good_speech };
        if !take(frame) {
            return None;
        }
    }
    Some(())
}

/// Appends the payload of these frames (storage format, one behind the other). `None` when they are not valid; then nothing is appended.
pub(crate) fn pack(band: Band, layout: Layout, frames: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let split = |rest: &mut &[u8]| -> Option<(u8, u8, usize)> {
        let (first, behind) = rest.split_first()?;
        let frame_type = first >> 3 & 15;
        let bits = bits_of(band, frame_type)?;
        *rest = behind.get(bits.div_ceil(8)..)?;
        Some((frame_type, first >> 2 & 1, bits))
    };
    let aligned = layout != Layout::BandwidthEfficient;
    let start = out.len();
    let mut writer = BitWriter { octets: out, free: 0 };
    writer.write(NO_REQUEST, 4);
    writer.align_if(aligned);
    let mut rest = frames;
    while !rest.is_empty() {
        let Some((frame_type, quality, _)) = split(&mut rest) else {
            out.truncate(start);
            return None;
        };
        writer.write(u8::from(!rest.is_empty()) << 5 | frame_type << 1 | quality, 6);
        writer.align_if(aligned);
    }
    let mut rest = frames;
    while let Some((_, octets)) = rest.split_first() {
        let (_, _, bits) = split(&mut rest)?;
        for (index, octet) in octets.iter().take(bits.div_ceil(8)).enumerate() {
            let wanted = (bits - index * 8).min(8) as u32;
            writer.write(octet >> (8 - wanted), wanted);
        }
        writer.align_if(aligned);
    }
    Some(())
}

struct BitReader<'a> {
    octets: &'a [u8],
    position: usize,
}

impl BitReader<'_> {
    /// Up to 8 bits.
    fn read(&mut self, count: u32) -> Option<u8> {
        let mut value = 0;
        for _ in 0..count {
            let octet = self.octets.get(self.position / 8)?;
            value = value << 1 | (octet >> (7 - self.position % 8) & 1);
            self.position += 1;
        }
        Some(value)
    }

    fn align(&mut self) {
        self.position = self.position.next_multiple_of(8);
    }
}

struct BitWriter<'a> {
    octets: &'a mut Vec<u8>,
    /// Bits of the last octet that are not used yet.
    free: u32,
}

impl BitWriter<'_> {
    /// The lowest `count` (up to 8) bits.
    fn write(&mut self, value: u8, count: u32) {
        for bit in (0..count).rev() {
            if self.free == 0 {
                self.octets.push(0);
                self.free = 8;
            }
            self.free -= 1;
            if let Some(last) = self.octets.last_mut() {
                *last |= (value >> bit & 1) << self.free;
            }
        }
    }

    fn align_if(&mut self, aligned: bool) {
        if aligned {
            self.free = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LAYOUTS: [Layout; 2] = [Layout::BandwidthEfficient, Layout::OctetAligned { crc: false }];

    fn frame(band: Band, frame_type: u8, fill: u8) -> Vec<u8> {
        let bits = bits_of(band, frame_type).unwrap();
        let mut octets = vec![fill; bits.div_ceil(8)];
        if let (Some(last), true) = (octets.last_mut(), !bits.is_multiple_of(8)) {
            *last &= 0xff << (8 - bits % 8);
        }
        [&[frame_type << 3 | 4], octets.as_slice()].concat()
    }

    fn unpacked(band: Band, layout: Layout, payload: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        unpack(band, layout, payload, |frame| {
            frames.push(if frame.is_good_speech { frame.storage.to_vec() } else { Vec::new() });
            true
        })?;
        Some(frames)
    }

    #[test]
    fn payloads_have_the_lengths_of_the_standard() {
        // RFC 4867 §4.3.5.1: one frame of 5.9 kbit/s, bandwidth-efficient: 4 + 6 + 118 bits.
        let cases = [
            (Band::Narrow, LAYOUTS[0], vec![2], 16),
            (Band::Narrow, LAYOUTS[1], vec![2], 17),
            (Band::Narrow, LAYOUTS[0], vec![7, 7], (4 + 12 + 488_usize).div_ceil(8)),
            (Band::Narrow, LAYOUTS[1], vec![7, 7], 1 + 2 + 62),
            (Band::Wide, LAYOUTS[0], vec![8], (4 + 6 + 477_usize).div_ceil(8)),
        ];
        for (band, layout, types, expected) in cases {
            let frames: Vec<Vec<u8>> = types.iter().map(|&t| frame(band, t, 0xa5)).collect();
            let mut out = vec![1, 2, 3];
            pack(band, layout, &frames.concat(), &mut out).unwrap();
            assert_eq!(out.len() - 3, expected, "{band:?} {layout:?} {types:?}");
            assert_eq!(out[3] >> 4, NO_REQUEST);
            assert_eq!(unpacked(band, layout, &out[3..]).unwrap(), frames);
        }
    }

    #[test]
    fn noise_lost_and_bad_frames_are_no_speech_and_check_sums_are_skipped() {
        let noise = [0xf0, 8 << 3 | 4, 1, 2, 3, 4, 5];
        assert_eq!(unpacked(Band::Narrow, LAYOUTS[1], &noise).unwrap(), [Vec::<u8>::new()]);
        assert_eq!(unpacked(Band::Wide, LAYOUTS[1], &[0xf0, 14 << 3 | 4]).unwrap(), [Vec::<u8>::new()]);
        let bad = [&[0xf0, 0][..], &[0; 12]].concat();
        assert_eq!(unpacked(Band::Narrow, LAYOUTS[1], &bad).unwrap(), [Vec::<u8>::new()]);
        let checked = [&[0xf0, 4, 0xee][..], &frame(Band::Narrow, 0, 0x33)[1..]].concat();
        let crc = Layout::from_fmtp("crc=1").unwrap();
        assert_eq!(unpacked(Band::Narrow, crc, &checked).unwrap(), [frame(Band::Narrow, 0, 0x33)]);
        assert!(Layout::from_fmtp("interleaving=20").is_err());
    }

    proptest! {
        #[test]
        fn frames_survive_both_layouts(wide: bool, aligned: bool, types in prop::collection::vec(0..8u8, 1..8), fill: u8) {
            let band = if wide { Band::Wide } else { Band::Narrow };
            let layout = LAYOUTS[usize::from(aligned)];
            let frames: Vec<Vec<u8>> = types.iter().map(|&t| frame(band, t, fill)).collect();
            let mut out = Vec::new();
            pack(band, layout, &frames.concat(), &mut out).unwrap();
            prop_assert_eq!(unpacked(band, layout, &out), Some(frames));
        }

        #[test]
        fn no_octets_panic(wide: bool, aligned: bool, octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let band = if wide { Band::Wide } else { Band::Narrow };
            let layout = LAYOUTS[usize::from(aligned)];
            let _ = unpacked(band, layout, &octets);
            let mut out = Vec::new();
            if pack(band, layout, &octets, &mut out).is_none() {
                prop_assert!(out.is_empty());
            }
        }
    }
}

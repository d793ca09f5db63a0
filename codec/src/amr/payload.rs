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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Header, table and frames begin with octets; bandwidth-efficient otherwise.
    pub(crate) aligned: bool,
    /// A check sum for each speech frame stands between table and frames.
    pub(crate) checked: bool,
    /// First octets of all frames, then the second ones, and so on.
    pub(crate) sorted: bool,
    /// The header has an octet for interleaving. We never interleave; payloads that do are refused.
    pub(crate) interleaved: bool,
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
pub(crate) const NO_REQUEST: u8 = 15;
/// Frames of one payload; more than 240 ms do not occur.
const MOST_FRAMES: usize = 12;
/// Octets of the longest frame in storage format.
const MOST_OCTETS: usize = 61;

impl Layout {
    /// From format parameters (RFC 4867 §8.1): all but the first imply octet alignment.
    pub(crate) fn from_fmtp(fmtp: &str) -> Self {
        let on = |key| parameter(fmtp, key) == Some("1");
        let (checked, sorted) = (on("crc"), on("robust-sorting"));
        let interleaved = parameter(fmtp, "interleaving").is_some();
        let aligned = on("octet-align") || checked || sorted || interleaved;
        Self { aligned, checked, sorted, interleaved }
    }
}

/// A frame that was not sent, in storage format.
pub(crate) const NO_DATA_FRAME: [u8; 1] = [15 << 3];

/// By the first octet of a frame in storage format.
pub(crate) fn is_no_data(first: u8) -> bool {
    first >> 3 & 15 == 15
}

/// By the first octet of a frame in storage format.
pub(crate) fn is_speech_frame(band: Band, first: u8) -> bool {
    is_speech(band, first >> 3 & 15)
}

/// Bits at the beginning of a frame that its check sum covers (RFC 4867 §4.4.2.1: class A).
fn checked_bits(band: Band, frame_type: u8) -> usize {
    let (speech, noise): (&[usize], _) = match band {
        Band::Narrow => (&[42, 49, 55, 58, 61, 75, 65, 81], 39),
        Band::Wide => (&[54, 64, 72, 72, 72, 72, 72, 72, 72], 40),
    };
    speech.get(usize::from(frame_type)).copied().unwrap_or(noise)
}

/// Of the first `bits`, with the polynomial 1 + x² + x³ + x⁴ + x⁸.
fn check_sum(octets: &[u8], bits: usize) -> u8 {
    let bit = |index: usize| octets.get(index / 8).map_or(0, |octet| octet >> (7 - index % 8) & 1);
    (0..bits).fold(0_u8, |sum, index| {
        let carry = sum >> 7 ^ bit(index);
        sum << 1 ^ if carry == 1 { 0x1d } else { 0 }
    })
}

/// Bits of a frame type; `None` for types that are not defined.
pub(crate) fn bits_of(band: Band, frame_type: u8) -> Option<usize> {
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

/// A type of speech frames.
pub(crate) fn is_speech(band: Band, frame_type: u8) -> bool {
    usize::from(frame_type) < if band == Band::Narrow { NARROW_BITS.len() } else { WIDE_BITS.len() }
}

/// Gives each frame of a payload to `take`, which says whether it could be used, and returns the mode request. `None` when the payload or
/// a frame is not valid.
pub(crate) fn unpack(
    band: Band,
    layout: Layout,
    payload: &[u8],
    mut take: impl FnMut(Frame<'_>) -> bool,
) -> Option<u8> {
    let mut reader = BitReader { octets: payload, position: 0 };
    let request = reader.read(4)?;
    reader.align_if(layout.aligned);
    if layout.interleaved && reader.read(4)? != 0 {
        return None;
    }
    reader.align_if(layout.aligned);
    let mut types = [0; MOST_FRAMES];
    let mut count = 0;
    loop {
        let (more, frame_type, good) = (reader.read(1)?, reader.read(4)?, reader.read(1)?);
        reader.align_if(layout.aligned);
        bits_of(band, frame_type)?;
        *types.get_mut(count)? = frame_type << 1 | good;
        count += 1;
        if more == 0 {
            break;
        }
    }
    let types = types.get(..count)?;
    let mut sums = [0; MOST_FRAMES];
    if layout.checked {
        for (sum, entry) in sums.iter_mut().zip(types) {
            if bits_of(band, entry >> 1) != Some(0) {
                *sum = reader.read(8)?;
            }
        }
    }
    let mut frames = [[0; MOST_OCTETS]; MOST_FRAMES];
    let octets_of = |entry: &u8| Some(bits_of(band, entry >> 1)?.div_ceil(8));
    if layout.sorted {
        for index in 0..MOST_OCTETS - 1 {
            for (frame, entry) in frames.iter_mut().zip(types) {
                if index < octets_of(entry)? {
                    *frame.get_mut(1 + index)? = reader.read(8)?;
                }
            }
        }
    } else {
        for (frame, entry) in frames.iter_mut().zip(types) {
            let bits = bits_of(band, entry >> 1)?;
            for (index, octet) in frame.get_mut(1..1 + bits.div_ceil(8))?.iter_mut().enumerate() {
                let wanted = (bits - index * 8).min(8) as u32;
                *octet = reader.read(wanted)? << (8 - wanted);
            }
            reader.align_if(layout.aligned);
        }
    }
    for ((frame, entry), sum) in frames.iter_mut().zip(types).zip(sums) {
        let frame_type = entry >> 1;
        let length = 1 + octets_of(entry)?;
        frame[0] = entry << 2;
        if layout.checked && length > 1 && check_sum(&frame[1..], checked_bits(band, frame_type)) != sum {
            // Damaged.
            frame[0] &= !4;
        }
        let is_good_speech = frame[0] & 4 != 0 && is_speech(band, frame_type);
        let frame = Frame { storage: frame.get(..length)?, is_good_speech };
        if !take(frame) {
            return None;
        }
    }
    Some(request)
}

/// Appends the payload of these frames (storage format, one behind the other). `None` when they are not valid; then nothing is appended.
pub(crate) fn pack(band: Band, layout: Layout, request: u8, frames: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut list: [&[u8]; MOST_FRAMES] = [&[]; MOST_FRAMES];
    let (mut count, mut rest) = (0, frames);
    while let Some(first) = rest.first() {
        let length = 1 + bits_of(band, first >> 3 & 15)?.div_ceil(8);
        let (frame, behind) = rest.split_at_checked(length)?;
        *list.get_mut(count)? = frame;
        count += 1;
        rest = behind;
    }
    let list = list.get(..count)?;
    let aligned = layout.aligned;
    let mut writer = BitWriter { octets: out, free: 0 };
    writer.write(request, 4);
    writer.align_if(aligned);
    if layout.interleaved {
        writer.write(0, 8);
    }
    for (index, frame) in list.iter().enumerate() {
        writer.write(u8::from(index + 1 < count) << 5 | (frame[0] >> 2 & 31), 6);
        writer.align_if(aligned);
    }
    if layout.checked {
        for frame in list.iter().filter(|frame| frame.len() > 1) {
            writer.write(check_sum(&frame[1..], checked_bits(band, frame[0] >> 3 & 15)), 8);
        }
    }
    if layout.sorted {
        for index in 1..MOST_OCTETS {
            list.iter().filter_map(|frame| frame.get(index)).for_each(|&octet| writer.write(octet, 8));
        }
        return Some(());
    }
    for frame in list {
        let bits = bits_of(band, frame[0] >> 3 & 15)?;
        for (index, octet) in frame[1..].iter().enumerate() {
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

    fn align_if(&mut self, aligned: bool) {
        if aligned {
            self.position = self.position.next_multiple_of(8);
        }
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

    const fn layout(aligned: bool, checked: bool, sorted: bool, interleaved: bool) -> Layout {
        Layout { aligned, checked, sorted, interleaved }
    }

    const LAYOUTS: [Layout; 5] = [
        layout(false, false, false, false),
        layout(true, false, false, false),
        layout(true, true, false, false),
        layout(true, true, true, false),
        layout(true, false, true, true),
    ];

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
            pack(band, layout, NO_REQUEST, &frames.concat(), &mut out).unwrap();
            assert_eq!(out.len() - 3, expected, "{band:?} {layout:?} {types:?}");
            assert_eq!(out[3] >> 4, NO_REQUEST);
            assert_eq!(unpacked(band, layout, &out[3..]).unwrap(), frames);
        }
    }

    #[test]
    fn noise_lost_bad_and_damaged_frames_are_no_speech() {
        let noise = [0xf0, 8 << 3 | 4, 1, 2, 3, 4, 5];
        assert_eq!(unpacked(Band::Narrow, LAYOUTS[1], &noise).unwrap(), [Vec::<u8>::new()]);
        assert_eq!(unpacked(Band::Wide, LAYOUTS[1], &[0xf0, 14 << 3 | 4]).unwrap(), [Vec::<u8>::new()]);
        let bad = [&[0xf0, 0][..], &[0; 12]].concat();
        assert_eq!(unpacked(Band::Narrow, LAYOUTS[1], &bad).unwrap(), [Vec::<u8>::new()]);
        // A wrong check sum makes a frame a bad one.
        let crc = Layout::from_fmtp("crc=1");
        let mut checked = Vec::new();
        pack(Band::Narrow, crc, 3, &frame(Band::Narrow, 0, 0x33), &mut checked).unwrap();
        assert_eq!(unpacked(Band::Narrow, crc, &checked).unwrap(), [frame(Band::Narrow, 0, 0x33)]);
        checked[2] ^= 1;
        assert_eq!(unpacked(Band::Narrow, crc, &checked).unwrap(), [Vec::<u8>::new()]);
        // Really interleaved payloads.
        let interleaved = Layout::from_fmtp("interleaving=20");
        assert!(unpacked(Band::Narrow, interleaved, &[0xf0, 0x10, 15 << 3 | 4]).is_none());
        assert!(unpacked(Band::Narrow, interleaved, &[0xf0, 0, 15 << 3 | 4]).is_some());
    }

    proptest! {
        #[test]
        fn frames_survive_every_layout(wide: bool, layout in 0..LAYOUTS.len(), request in 0..16u8, types in prop::collection::vec(0..8u8, 1..8), fill: u8) {
            let band = if wide { Band::Wide } else { Band::Narrow };
            let layout = LAYOUTS[layout];
            let frames: Vec<Vec<u8>> = types.iter().map(|&t| frame(band, t, fill)).collect();
            let mut out = Vec::new();
            pack(band, layout, request, &frames.concat(), &mut out).unwrap();
            prop_assert_eq!(unpack(band, layout, &out, |_| true), Some(request));
            prop_assert_eq!(unpacked(band, layout, &out), Some(frames));
        }

        #[test]
        fn no_octets_panic(wide: bool, layout in 0..LAYOUTS.len(), octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let band = if wide { Band::Wide } else { Band::Narrow };
            let layout = LAYOUTS[layout];
            let _ = unpacked(band, layout, &octets);
            let mut out = Vec::new();
            if pack(band, layout, NO_REQUEST, &octets, &mut out).is_none() {
                prop_assert!(out.is_empty());
            }
        }
    }
}

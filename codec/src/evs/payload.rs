//! The RTP payload of EVS (3GPP TS 26.445, annex A): compact and header-full format.
//!
//! A compact payload is one frame without any header: its size tells what it is. The sizes of these are protected, a header-full payload
//! (mode request, table of contents, frames) is padded when it has one of them by chance. One size stands for two things: of 56 bits, the
//! first one tells a primary frame of 2.8 kbit/s from a header-full noise frame of AMR-WB IO.

use super::plugin::Frame;
use crate::amr::{self, Band};

/// Frames of one payload; more than 240 ms do not occur.
pub(super) const MOST_FRAMES: usize = 12;
/// "No request" (table A.3).
pub(super) const NO_REQUEST: u8 = 0xff;
/// The first bit of a mode request tells it from an entry of the table of contents.
pub(super) const REQUEST: u8 = 0x80;
/// T field of requests for AMR-WB IO.
pub(super) const REQUEST_IO: u8 = REQUEST | 0x10;

pub(super) const SPEECH_LOST: u8 = 14;
pub(super) const NO_DATA: u8 = 15;
const PRIMARY_NOISE: u8 = 12;
const IO_NOISE: u8 = 9;

/// Bits of the primary speech frames by type (table A.4); AMR-WB IO has those of AMR-WB.
const PRIMARY_BITS: [u16; 12] = [56, 144, 160, 192, 264, 328, 488, 640, 960, 1280, 1920, 2560];

/// AMR-WB IO modes that the three bits of a compact payload can ask for (table A.2); 7 asks for nothing.
const SHORT_REQUESTS: [u8; 7] = [0, 1, 2, 4, 5, 7, 8];
const NO_SHORT_REQUEST: u8 = 7;
const SHORT_BITS: usize = 3;

/// Mode and type of a frame, as its entry in the table of contents has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// AMR-WB IO, primary otherwise.
    pub(super) is_io: bool,
    /// Frame type index, 0 to 15.
    pub(super) frame_type: u8,
}

impl Kind {
    pub(super) const fn primary(frame_type: u8) -> Self {
        Self { is_io: false, frame_type }
    }

    pub(super) const fn io(frame_type: u8) -> Self {
        Self { is_io: true, frame_type }
    }

    pub(super) fn of(frame: &Frame) -> Option<Self> {
        (frame.mode <= 1).then_some(Self { is_io: frame.mode == 1, frame_type: frame.frame_type })
    }

    /// `None` for types that are not defined.
    pub(super) fn bits(self) -> Option<u16> {
        match (self.is_io, self.frame_type) {
            (_, SPEECH_LOST | NO_DATA) => Some(0),
            (false, PRIMARY_NOISE) => Some(48),
            (false, speech) => PRIMARY_BITS.get(usize::from(speech)).copied(),
            (true, other) => amr::bits_of(Band::Wide, other).and_then(|bits| u16::try_from(bits).ok()),
        }
    }

    fn octets(self) -> Option<usize> {
        Some(usize::from(self.bits()?).div_ceil(8))
    }

    pub(super) fn is_noise(self) -> bool {
        self.frame_type == if self.is_io { IO_NOISE } else { PRIMARY_NOISE }
    }

    pub(super) fn is_speech(self) -> bool {
        match self.is_io {
            true => amr::is_speech(Band::Wide, self.frame_type),
            false => usize::from(self.frame_type) < PRIMARY_BITS.len(),
        }
    }

    /// What a compact payload of so many octets holds (table A.1). That of 7 octets is a matter of its first bit.
    fn of_compact(octets: usize) -> Option<Self> {
        let primary = (0..=PRIMARY_NOISE).map(Self::primary);
        let io = (0..IO_NOISE).map(Self::io);
        primary.chain(io).find(|kind| kind.compact_octets() == Some(octets))
    }

    /// Octets of the compact payload; `None` where there is none.
    fn compact_octets(self) -> Option<usize> {
        let bits = usize::from(self.bits()?);
        match self.is_io {
            _ if bits == 0 => None,
            true if self.is_noise() => None,
            true => Some((bits + SHORT_BITS).div_ceil(8)),
            false => Some(bits / 8),
        }
    }
}

/// A request for an AMR-WB IO mode, or none.
fn io_request(mode: Option<&u8>) -> u8 {
    mode.map_or(NO_REQUEST, |mode| REQUEST_IO | mode)
}

/// The three bits that ask for the same; `None` when they cannot.
fn short_request(request: u8) -> Option<u8> {
    if request == NO_REQUEST {
        return Some(NO_SHORT_REQUEST);
    }
    SHORT_REQUESTS.iter().position(|mode| REQUEST_IO | mode == request).map(|short| short as u8)
}

/// Gives each frame of a payload to `take`, which says whether it could be used, and returns the mode request ([`NO_REQUEST`] when there is
/// none). `None` when the payload or a frame is not valid.
pub(super) fn unpack(
    header_full_only: bool,
    payload: &[u8],
    mut take: impl FnMut(&Frame) -> bool,
) -> Option<u8> {
    if !header_full_only && let Some(kind) = Kind::of_compact(payload.len()) {
        let is_header_full = kind == Kind::primary(0) && payload.first()? & REQUEST != 0;
        if !is_header_full {
            return unpack_compact(kind, payload, take);
        }
    }
    let (request, mut rest) = match payload.split_first()? {
        (first, rest) if first & REQUEST != 0 => (*first, rest),
        _ => (NO_REQUEST, payload),
    };
    let mut entries = [0; MOST_FRAMES];
    let mut count = 0;
    loop {
        let (entry, behind) = rest.split_first()?;
        rest = behind;
        if entry & 0x80 != 0 {
            return None;
        }
        *entries.get_mut(count)? = *entry;
        count += 1;
        if entry & 0x40 == 0 {
            break;
        }
    }
    for entry in entries.get(..count)? {
        let kind = Kind { is_io: entry & 0x20 != 0, frame_type: entry & 15 };
        let (octets, behind) = rest.split_at_checked(kind.octets()?)?;
        rest = behind;
        let mut frame = Frame::empty(kind.is_io, kind.frame_type);
        frame.good = u8::from(!kind.is_io || entry & 0x10 != 0);
        frame.fill(kind.bits()?, octets)?;
        if !take(&frame) {
            return None;
        }
    }
    // What is behind the frames is padding.
    Some(request)
}

/// A primary frame as it is; of AMR-WB IO, a mode request and the bits with the first one behind all others.
fn unpack_compact(kind: Kind, payload: &[u8], mut take: impl FnMut(&Frame) -> bool) -> Option<u8> {
    let mut frame = Frame::empty(kind.is_io, kind.frame_type);
    let bits = kind.bits()?;
    if !kind.is_io {
        frame.fill(bits, payload)?;
        return take(&frame).then_some(NO_REQUEST);
    }
    let short = payload.first()? >> (8 - SHORT_BITS);
    frame.bits = u32::from(bits);
    let last = usize::from(bits) - 1;
    for index in 0..=last {
        let position = SHORT_BITS + if index == 0 { last } else { index - 1 };
        let bit = payload.get(position / 8)? >> (7 - position % 8) & 1;
        *frame.data.get_mut(index / 8)? |= bit << (7 - index % 8);
    }
    take(&frame).then(|| io_request(SHORT_REQUESTS.get(usize::from(short))))
}

/// How the party wants its payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// `hf-only=1`
    pub(super) header_full_only: bool,
    /// `cmr=1`: every payload has a mode request.
    pub(super) always_request: bool,
}

/// Appends the payload of these frames. `None` when they are not valid; then nothing is appended.
pub(super) fn pack(layout: Layout, request: u8, frames: &[Frame], out: &mut Vec<u8>) -> Option<()> {
    if frames.is_empty() || frames.len() > MOST_FRAMES {
        return None;
    }
    for frame in frames {
        Kind::of(frame)?.bits().filter(|bits| u32::from(*bits) == frame.bits)?;
    }
    if let [frame] = frames
        && !layout.header_full_only
        && pack_compact(layout, request, frame, out).is_some()
    {
        return Some(());
    }
    let begin = out.len();
    // The noise of AMR-WB IO always has a request in front, for its size would stand for a primary noise frame.
    let is_io_noise = |frame: &Frame| Kind::of(frame).is_some_and(|kind| kind.is_io && kind.is_noise());
    if request != NO_REQUEST || layout.always_request || frames.iter().any(is_io_noise) {
        out.push(REQUEST | request);
    }
    for (index, frame) in frames.iter().enumerate() {
        let more = u8::from(index + 1 < frames.len()) << 6;
        let quality = if frame.mode == 1 { 0x20 | (frame.good & 1) << 4 } else { 0 };
        out.push(more | quality | frame.frame_type);
    }
    frames.iter().for_each(|frame| out.extend_from_slice(frame.octets()));
    if !layout.header_full_only {
        pad(out, begin);
    }
    Some(())
}

/// No header-full payload looks like a compact one.
fn pad(out: &mut Vec<u8>, begin: usize) {
    while let Some(kind) = Kind::of_compact(out.len() - begin) {
        if kind == Kind::primary(0) && out.get(begin).is_some_and(|first| first & REQUEST != 0) {
            return;
        }
        out.push(0);
    }
}

fn pack_compact(layout: Layout, request: u8, frame: &Frame, out: &mut Vec<u8>) -> Option<()> {
    let kind = Kind::of(frame)?;
    let octets = kind.compact_octets()?;
    if !kind.is_io {
        // A request needs a header; and 2.8 kbit/s with the first bit set is not what the size says.
        let is_clear = request == NO_REQUEST && !layout.always_request;
        let is_told = kind.frame_type != 0 || frame.data[0] & 0x80 == 0;
        return (is_clear && is_told).then(|| out.extend_from_slice(frame.octets()));
    }
    if frame.good == 0 {
        return None;
    }
    let short = short_request(request)?;
    let begin = out.len();
    out.resize(begin + octets, 0);
    let payload = out.get_mut(begin..)?;
    *payload.first_mut()? = short << (8 - SHORT_BITS);
    let last = usize::from(kind.bits()?) - 1;
    for index in 0..=last {
        let position = SHORT_BITS + if index == 0 { last } else { index - 1 };
        let bit = frame.data.get(index / 8)? >> (7 - index % 8) & 1;
        *payload.get_mut(position / 8)? |= bit << (7 - position % 8);
    }
    Some(())
}

#[cfg(test)]
mod tests;

//! MPEG layer III of constant bit rate, encoded by LAME through libavcodec.
//!
//! The file begins with an information frame (the customary "Info" tag) that tells players the length and how much the
//! encoder added at both ends; it is brought up to date with each flush.

use std::io;

use ffmpeg_next as ffmpeg;

use ffmpeg::codec::{Context, packet};
use ffmpeg::format::Sample;
use ffmpeg::format::sample::Type;
use ffmpeg::util::frame::Audio;

use super::sequential::Sequential;
use super::{ContainerError, Medium};

/// Rates that MPEG 1, 2 and 2.5 have.
pub(super) const SAMPLE_RATES: [u32; 9] =
    [8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];
/// kbit/s by index; MPEG 1, then MPEG 2 and 2.5.
const BITRATES: [[u32; 15]; 2] = [
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
/// LAME's encoder delay, and that of every decoder.
const ENCODER_DELAY: u32 = 576;
const DECODER_DELAY: u64 = 529;

pub(super) struct Mp3File {
    out: Sequential,
    encoder: Encoder,
    header: Header,
    /// Octets of the information frame.
    info_octets: usize,
    waiting: Vec<i16>,
    /// MPEG frames in the file, the information frame apart.
    mpeg_frames: u64,
    frames: u64,
    announced: u64,
    ended: bool,
}

struct Encoder {
    encoder: ffmpeg::codec::encoder::Audio,
    frame: Audio,
    packet: packet::Packet,
    position: i64,
}

/// What a frame header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    sample_rate: u32,
    channels: u16,
    bitrate_kbps: u32,
    /// Octets of a frame without padding.
    octets: usize,
    padding: usize,
}

impl Mp3File {
    pub fn create(
        medium: Medium,
        sample_rate: u32,
        channels: u16,
        bitrate_bps: u32,
    ) -> Result<Self, ContainerError> {
        let header = Header::new(sample_rate, channels, nearest_bitrate(sample_rate, bitrate_bps))
            .ok_or_else(|| {
                ContainerError::Encoder(format!("MP3 has no {sample_rate} Hz, {channels} channels"))
            })?;
        let encoder = Encoder::open(header)?;
        let mut file = Self {
            out: Sequential::new(medium, 0),
            encoder,
            header,
            info_octets: 0,
            waiting: Vec::new(),
            mpeg_frames: 0,
            frames: 0,
            announced: 0,
            ended: false,
        };
        let info = file.info_frame();
        file.info_octets = info.len();
        file.out.pending().extend_from_slice(&info);
        file.out.flush()?;
        Ok(file)
    }

    pub fn reopen(mut medium: Medium) -> Result<Self, ContainerError> {
        let all = medium.read_all()?;
        let info = Header::parse(&all).ok_or(ContainerError::NotContinuable)?;
        let info_octets = info.octets + info.padding;
        let mut end = info_octets;
        let mut mpeg_frames = 0;
        let mut first = None;
        while let Some(header) = all.get(end..).and_then(Header::parse) {
            if all.len() < end + header.octets + header.padding {
                break;
            }
            end += header.octets + header.padding;
            mpeg_frames += 1;
            first.get_or_insert(header);
        }
        let header = first.ok_or(ContainerError::NotContinuable)?;
        medium.set_len(end as u64)?;
        Ok(Self {
            out: Sequential::new(medium, end as u64),
            encoder: Encoder::open(header)?,
            header,
            info_octets,
            waiting: Vec::new(),
            mpeg_frames,
            // The new encoder's delay takes the place of the old one's.
            frames: mpeg_frames * header.frame_samples() as u64,
            announced: u64::MAX,
            ended: false,
        })
    }

    pub fn append(&mut self, samples: &[i16]) -> Result<(), ContainerError> {
        self.frames += samples.len() as u64 / u64::from(self.header.channels);
        self.waiting.extend_from_slice(samples);
        let whole = self.header.frame_samples() * usize::from(self.header.channels);
        while self.waiting.len() >= whole {
            let rest = self.waiting.split_off(whole);
            let result = self.encoder.encode(&self.waiting, self.out.pending());
            self.waiting = rest;
            self.mpeg_frames += result?;
        }
        Ok(())
    }

    pub fn end(&mut self) -> Result<(), ContainerError> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let whole = self.header.frame_samples() * usize::from(self.header.channels);
        // Silence pushes the last audio through the delays.
        let needed = self.frames + u64::from(ENCODER_DELAY) + DECODER_DELAY;
        while self.mpeg_frames * (self.header.frame_samples() as u64) < needed {
            self.waiting.resize(whole, 0);
            let made = self.encoder.encode(&self.waiting, self.out.pending())?;
            self.mpeg_frames += made;
            self.waiting.clear();
            if self.encoder.position > (needed + 16 * whole as u64) as i64 {
                break;
            }
        }
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        if self.announced != self.mpeg_frames || self.ended {
            let info = self.info_frame();
            self.out.medium.write_all_at(&info, 0)?;
            self.announced = self.mpeg_frames;
        }
        Ok(())
    }

    pub fn pending_octets(&self) -> usize {
        self.out.pending_octets()
    }

    pub fn frames(&self) -> u64 {
        self.frames
    }

    pub fn sample_rate(&self) -> u32 {
        self.header.sample_rate
    }

    pub fn channels(&self) -> u16 {
        self.header.channels
    }

    pub fn medium(&mut self) -> &mut Medium {
        &mut self.out.medium
    }

    /// A frame that decodes to silence and carries the tag where its audio data would be.
    fn info_frame(&self) -> Vec<u8> {
        let side_information = match (self.header.is_mpeg1(), self.header.channels) {
            (true, 1) | (false, 2) => 17,
            (true, _) => 32,
            (false, _) => 9,
        };
        let tag_octets = 4 + 4 + 4 + 4 + 36;
        let rates = BITRATES[usize::from(!self.header.is_mpeg1())];
        let header = rates
            .into_iter()
            .skip(1)
            .filter_map(|rate| Header::new(self.header.sample_rate, self.header.channels, rate))
            .find(|header| header.octets >= 4 + side_information + tag_octets)
            .unwrap_or(self.header);
        let mut frame = Vec::with_capacity(header.octets);
        frame.extend_from_slice(&header.octets());
        frame.resize(4 + side_information, 0);
        frame.extend_from_slice(b"Info");
        frame.extend_from_slice(&3_u32.to_be_bytes());
        let clamp = |count: u64| u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes();
        frame.extend_from_slice(&clamp(self.mpeg_frames));
        frame.extend_from_slice(&clamp(self.out.end().max(header.octets as u64)));
        let mut lame = [0; 36];
        lame[..9].copy_from_slice(b"LAME3.100");
        // Tag revision 0, constant bit rate.
        lame[9] = 1;
        lame[20] = self.header.bitrate_kbps.min(255) as u8;
        let coded = self.mpeg_frames * self.header.frame_samples() as u64;
        let padding = coded.saturating_sub(self.frames + u64::from(ENCODER_DELAY)).min(0xfff) as u32;
        let delays = ENCODER_DELAY << 12 | padding;
        lame[21..24].copy_from_slice(&delays.to_be_bytes()[1..]);
        frame.extend_from_slice(&lame);
        frame.resize(header.octets.max(frame.len()), 0);
        frame
    }
}

impl std::fmt::Debug for Mp3File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mp3File")
            .field("header", &self.header)
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}

fn nearest_bitrate(sample_rate: u32, bitrate_bps: u32) -> u32 {
    let rates = &BITRATES[usize::from(sample_rate < 32_000)][1..];
    let kbps = bitrate_bps.div_ceil(1000);
    rates.iter().copied().min_by_key(|rate| rate.abs_diff(kbps)).unwrap_or(64)
}

impl Header {
    fn new(sample_rate: u32, channels: u16, bitrate_kbps: u32) -> Option<Self> {
        if !SAMPLE_RATES.contains(&sample_rate) || !(1..=2).contains(&channels) {
            return None;
        }
        let per_frame = if sample_rate >= 32_000 { 144_000 } else { 72_000 };
        let octets = (per_frame * bitrate_kbps / sample_rate) as usize;
        Some(Self { sample_rate, channels, bitrate_kbps, octets, padding: 0 })
    }

    fn parse(octets: &[u8]) -> Option<Self> {
        let &[sync, version, rates, mode, ..] = octets else { return None };
        if sync != 0xff || version & 0xe6 != 0xe2 {
            return None;
        }
        let (base, mpeg1) = match version >> 3 & 3 {
            3 => (6, true),
            2 => (3, false),
            0 => (0, false),
            _ => return None,
        };
        let bitrate =
            BITRATES[usize::from(!mpeg1)].get(usize::from(rates >> 4)).copied().filter(|&rate| rate > 0)?;
        let channels = if mode >> 6 == 3 { 1 } else { 2 };
        let sample_rate = *SAMPLE_RATES.get(rate_index(base, rates >> 2 & 3)?)?;
        let mut header = Self::new(sample_rate, channels, bitrate)?;
        header.padding = usize::from(rates >> 1 & 1);
        Some(header)
    }

    /// As the first four octets of a frame.
    fn octets(self) -> [u8; 4] {
        let at = SAMPLE_RATES.iter().position(|&rate| rate == self.sample_rate).unwrap_or(0);
        let version = [0, 2, 3][at / 3];
        let field = [2, 0, 1][at % 3];
        let rates = BITRATES[usize::from(!self.is_mpeg1())];
        let bitrate = rates.iter().position(|&rate| rate == self.bitrate_kbps).unwrap_or(0) as u8;
        let mode = if self.channels == 1 { 3 << 6 } else { 0 };
        [0xff, 0xe3 | version << 3, bitrate << 4 | field << 2, mode]
    }

    fn is_mpeg1(self) -> bool {
        self.sample_rate >= 32_000
    }

    fn frame_samples(self) -> usize {
        if self.is_mpeg1() { 1152 } else { 576 }
    }
}

/// Where a rate field (44.1, 48, 32 kHz and their halves) points in [`SAMPLE_RATES`], which ascends.
fn rate_index(base: usize, field: u8) -> Option<usize> {
    Some(
        base + match field {
            0 => 1,
            1 => 2,
            2 => 0,
            _ => return None,
        },
    )
}

impl Encoder {
    fn open(header: Header) -> Result<Self, ContainerError> {
        let fail = |error: &dyn std::fmt::Display| ContainerError::Encoder(format!("MP3 encoder: {error}"));
        // What it says goes to the log of nobody otherwise.
        ffmpeg::init().map_err(|error| fail(&error))?;
        ffmpeg::log::set_level(ffmpeg::log::Level::Quiet);
        let codec = ffmpeg::encoder::find_by_name("libmp3lame")
            .ok_or_else(|| fail(&"libavcodec has no libmp3lame"))?;
        let mut audio = Context::new_with_codec(codec).encoder().audio().map_err(|error| fail(&error))?;
        let layout =
            if header.channels == 1 { ffmpeg::ChannelLayout::MONO } else { ffmpeg::ChannelLayout::STEREO };
        let format = Sample::I16(Type::Planar);
        audio.set_rate(header.sample_rate as i32);
        audio.set_format(format);
        audio.set_channel_layout(layout);
        audio.set_time_base((1, header.sample_rate as i32));
        audio.set_bit_rate(header.bitrate_kbps as usize * 1000);
        let encoder = audio.open_as(codec).map_err(|error| fail(&error))?;
        let frame_samples = encoder.frame_size() as usize;
        if frame_samples != header.frame_samples() {
            return Err(fail(&format!("frames of {frame_samples} samples")));
        }
        let mut frame = Audio::new(format, frame_samples, layout);
        frame.set_rate(header.sample_rate);
        Ok(Self { encoder, frame, packet: packet::Packet::empty(), position: 0 })
    }

    /// Encodes one frame of interleaved samples; gives how many MPEG frames came out.
    fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) -> Result<u64, ContainerError> {
        let fail = |error: ffmpeg::Error| ContainerError::Encoder(format!("MP3 encoder: {error}"));
        // SAFETY: the frame was allocated with buffers; the library copies them only if it still holds a reference of its
        // own from the previous call.
        let writable = unsafe { ffmpeg::ffi::av_frame_make_writable(self.frame.as_mut_ptr()) };
        if writable < 0 {
            return Err(fail(ffmpeg::Error::from(writable)));
        }
        let channels = self.frame.planes();
        for channel in 0..channels {
            let plane = self.frame.plane_mut::<i16>(channel);
            plane
                .iter_mut()
                .zip(samples.iter().skip(channel).step_by(channels))
                .for_each(|(to, from)| *to = *from);
        }
        self.frame.set_pts(Some(self.position));
        self.position += (samples.len() / channels.max(1)) as i64;
        self.encoder.send_frame(&self.frame).map_err(fail)?;
        let mut made = 0;
        while self.encoder.receive_packet(&mut self.packet).is_ok() {
            if let Some(octets) = self.packet.data() {
                out.extend_from_slice(octets);
                made += 1;
            }
        }
        Ok(made)
    }
}

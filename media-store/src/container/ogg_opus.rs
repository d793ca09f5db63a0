//! Opus in Ogg (RFC 7845, RFC 3533): packets of 20 ms, a page at each flush.
//!
//! More than two channels are independent mono streams (channel mapping family 255).

use std::io;

use super::crc::crc32;
use super::sequential::Sequential;
use super::{ContainerError, Medium};

/// Rates that libopus encodes.
pub(super) const SAMPLE_RATES: [u32; 5] = [8000, 12_000, 16_000, 24_000, 48_000];
/// The clock of granule positions.
const CLOCK: u64 = 48_000;
const PACKETS_A_SECOND: u32 = 50;
/// Packets in a page at most.
const PAGE_PACKETS: usize = 50;
const FIRST: u8 = 2;
const LAST: u8 = 4;
/// Largest packet of one stream.
const MAX_PACKET: usize = 1500;

pub(super) struct OpusFile {
    out: Sequential,
    encoders: Vec<opus::Encoder>,
    sample_rate: u32,
    channels: u16,
    serial: u32,
    page: u32,
    pre_skip: u64,
    /// Packets that are in no page yet, with their lengths.
    packets: Vec<u8>,
    lengths: Vec<usize>,
    waiting: Vec<i16>,
    frames: u64,
    /// Granule position behind the last encoded packet.
    granule: u64,
    ended: bool,
}

impl OpusFile {
    pub fn create(
        medium: Medium,
        sample_rate: u32,
        channels: u16,
        bitrate_bps: u32,
    ) -> Result<Self, ContainerError> {
        let mut file = Self::new(medium, 0, sample_rate, channels, bitrate_bps)?;
        // Files are not multiplexed: any number will do that differs between concatenated ones.
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        file.serial = time.subsec_nanos() ^ time.as_secs() as u32;
        let head = file.head();
        file.write_page(FIRST, 0, &head, &[head.len()]);
        let tags = tags();
        file.write_page(0, 0, &tags, &[tags.len()]);
        file.out.flush()?;
        Ok(file)
    }

    pub fn reopen(mut medium: Medium, bitrate_bps: u32) -> Result<Self, ContainerError> {
        let all = medium.read_all()?;
        let pages = pages(&all);
        let (Some(first), Some(last)) = (pages.first(), pages.last().filter(|_| pages.len() >= 2)) else {
            return Err(ContainerError::NotContinuable);
        };
        let head =
            all.get(first.body.clone()).filter(|head| head.starts_with(b"OpusHead\x01") && head.len() >= 19);
        let head = head.ok_or(ContainerError::NotContinuable)?;
        if last.flags & LAST != 0 {
            return Err(ContainerError::NotContinuable);
        }
        let sample_rate = u32::from_le_bytes([head[12], head[13], head[14], head[15]]);
        let channels = u16::from(head[9]);
        let pre_skip = u64::from(u16::from_le_bytes([head[10], head[11]]));
        let (end, granule, serial, page) = (last.body.end, last.granule, first.serial, last.number + 1);
        medium.set_len(end as u64)?;
        let mut file = Self::new(medium, end as u64, sample_rate, channels, bitrate_bps)?;
        (file.serial, file.page, file.pre_skip, file.granule) = (serial, page, pre_skip, granule);
        // The new encoder's delay takes the place of the old one's.
        file.frames = granule * u64::from(sample_rate) / CLOCK;
        Ok(file)
    }

    fn new(
        medium: Medium,
        offset: u64,
        sample_rate: u32,
        channels: u16,
        bitrate_bps: u32,
    ) -> Result<Self, ContainerError> {
        let streams = match channels {
            0 => return Err(ContainerError::Encoder("Opus without channels".into())),
            1 | 2 => vec![channels],
            more => vec![1; usize::from(more.min(255))],
        };
        let mut encoders = Vec::with_capacity(streams.len());
        let mut delay = 0;
        for of_stream in streams {
            let layout = if of_stream == 2 { opus::Channels::Stereo } else { opus::Channels::Mono };
            let mut encoder =
                opus::Encoder::new(sample_rate, layout, opus::Application::Audio).map_err(encoder_error)?;
            let bitrate = i32::try_from(bitrate_bps).unwrap_or(i32::MAX).saturating_mul(i32::from(of_stream));
            encoder.set_bitrate(opus::Bitrate::Bits(bitrate)).map_err(encoder_error)?;
            // Recordings are made by the hundred at the same time.
            encoder.set_complexity(5).map_err(encoder_error)?;
            delay = encoder.get_lookahead().map_err(encoder_error)?.unsigned_abs();
            encoders.push(encoder);
        }
        Ok(Self {
            out: Sequential::new(medium, offset),
            encoders,
            sample_rate,
            channels,
            serial: 0,
            page: 0,
            pre_skip: u64::from(delay) * CLOCK / u64::from(sample_rate),
            packets: Vec::new(),
            lengths: Vec::new(),
            waiting: Vec::new(),
            frames: 0,
            granule: 0,
            ended: false,
        })
    }

    pub fn append(&mut self, samples: &[i16]) -> Result<(), ContainerError> {
        self.frames += samples.len() as u64 / u64::from(self.channels);
        self.waiting.extend_from_slice(samples);
        let whole = (self.sample_rate / PACKETS_A_SECOND) as usize * usize::from(self.channels);
        while self.waiting.len() >= whole {
            let rest = self.waiting.split_off(whole);
            let result = self.encode_waiting();
            self.waiting = rest;
            result?;
        }
        Ok(())
    }

    /// Encodes what is held back and closes the stream: the last granule position cuts the padding off.
    pub fn end(&mut self) -> Result<(), ContainerError> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let whole = (self.sample_rate / PACKETS_A_SECOND) as usize * usize::from(self.channels);
        let end = self.frames * CLOCK / u64::from(self.sample_rate) + self.pre_skip;
        while self.granule < end {
            self.waiting.resize(whole, 0);
            self.encode_waiting()?;
            self.waiting.clear();
        }
        self.granule = end;
        self.finish_page(LAST);
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        if !self.lengths.is_empty() {
            self.finish_page(0);
        }
        self.out.flush()
    }

    pub fn pending_octets(&self) -> usize {
        self.out.pending_octets()
    }

    pub fn frames(&self) -> u64 {
        self.frames
    }

    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    pub fn channels(&self) -> u16 {
        self.channels
    }

    pub fn medium(&mut self) -> &mut Medium {
        &mut self.out.medium
    }

    fn encode_waiting(&mut self) -> Result<(), ContainerError> {
        let mut buf = [0; MAX_PACKET];
        let before = self.packets.len();
        let streams = self.encoders.len();
        let mut one = Vec::new();
        for (number, encoder) in self.encoders.iter_mut().enumerate() {
            let samples = if streams == 1 {
                &self.waiting
            } else {
                one.clear();
                one.extend(self.waiting.iter().skip(number).step_by(streams));
                &one
            };
            let length = encoder.encode(samples, &mut buf).map_err(encoder_error)?;
            let packet = buf.get(..length).unwrap_or_default();
            if number + 1 == streams {
                self.packets.extend_from_slice(packet);
            } else {
                delimit(packet, &mut self.packets)?;
            }
        }
        self.lengths.push(self.packets.len() - before);
        self.granule += CLOCK / u64::from(PACKETS_A_SECOND);
        if self.lengths.len() >= PAGE_PACKETS || segments(&self.lengths) > 255 - 32 {
            self.finish_page(0);
        }
        Ok(())
    }

    fn finish_page(&mut self, flags: u8) {
        let (packets, lengths) = (std::mem::take(&mut self.packets), std::mem::take(&mut self.lengths));
        self.write_page(flags, self.granule, &packets, &lengths);
    }

    fn write_page(&mut self, flags: u8, granule: u64, body: &[u8], lengths: &[usize]) {
        let out = self.out.pending();
        let start = out.len();
        out.extend_from_slice(b"OggS\0");
        out.push(flags);
        out.extend_from_slice(&granule.to_le_bytes());
        out.extend_from_slice(&self.serial.to_le_bytes());
        out.extend_from_slice(&self.page.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.push(segments(lengths) as u8);
        for &length in lengths {
            out.extend(std::iter::repeat_n(255, length / 255));
            out.push((length % 255) as u8);
        }
        out.extend_from_slice(body);
        let check = crc32(&out[start..]);
        out[start + 22..start + 26].copy_from_slice(&check.to_le_bytes());
        self.page += 1;
    }

    /// RFC 7845 §5.1.
    fn head(&self) -> Vec<u8> {
        let mut head = b"OpusHead\x01".to_vec();
        head.push(self.channels as u8);
        head.extend_from_slice(&(self.pre_skip as u16).to_le_bytes());
        head.extend_from_slice(&self.sample_rate.to_le_bytes());
        head.extend_from_slice(&[0; 2]);
        if self.channels <= 2 {
            head.push(0);
        } else {
            head.extend_from_slice(&[255, self.channels as u8, 0]);
            head.extend(0..self.channels as u8);
        }
        head
    }
}

impl std::fmt::Debug for OpusFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpusFile")
            .field("channels", &self.channels)
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}

fn encoder_error(error: opus::Error) -> ContainerError {
    ContainerError::Encoder(format!("Opus encoder: {error}"))
}

/// RFC 7845 §5.2.
fn tags() -> Vec<u8> {
    let vendor = concat!("rtpengine-recording ", env!("CARGO_PKG_VERSION"));
    let mut tags = b"OpusTags".to_vec();
    tags.extend_from_slice(&(vendor.len() as u32).to_le_bytes());
    tags.extend_from_slice(vendor.as_bytes());
    tags.extend_from_slice(&[0; 4]);
    tags
}

fn segments(lengths: &[usize]) -> usize {
    lengths.iter().map(|length| length / 255 + 1).sum()
}

/// Makes a packet of one frame self-delimiting (RFC 6716 appendix B).
fn delimit(packet: &[u8], out: &mut Vec<u8>) -> Result<(), ContainerError> {
    let Some((&configuration, frame)) = packet.split_first().filter(|(first, _)| **first & 3 == 0) else {
        return Err(ContainerError::Encoder("Opus packet of several frames".into()));
    };
    out.push(configuration);
    if frame.len() < 252 {
        out.push(frame.len() as u8);
    } else {
        // §3.2.1: the second octet counts fours.
        let first = 252 + frame.len() % 4;
        out.push(first as u8);
        out.push(((frame.len() - first) / 4) as u8);
    }
    out.extend_from_slice(frame);
    Ok(())
}

struct Page {
    flags: u8,
    granule: u64,
    serial: u32,
    number: u32,
    body: std::ops::Range<usize>,
}

/// All pages up to the first that is incomplete or wrong.
fn pages(octets: &[u8]) -> Vec<Page> {
    let mut pages = Vec::new();
    let mut at = 0;
    while let Some(page) = parse_page(octets, at) {
        at = page.body.end;
        pages.push(page);
    }
    pages
}

fn parse_page(octets: &[u8], at: usize) -> Option<Page> {
    let head = octets.get(at..at + 27).filter(|head| head.starts_with(b"OggS\0"))?;
    let body_at = at + 27 + usize::from(head[26]);
    let length: usize = octets.get(at + 27..body_at)?.iter().map(|&segment| usize::from(segment)).sum();
    let mut whole = octets.get(at..body_at + length)?.to_vec();
    let check = u32::from_le_bytes([head[22], head[23], head[24], head[25]]);
    whole[22..26].fill(0);
    if crc32(&whole) != check {
        return None;
    }
    let mut granule = [0; 8];
    granule.copy_from_slice(&head[6..14]);
    Some(Page {
        flags: head[5],
        granule: u64::from_le_bytes(granule),
        serial: u32::from_le_bytes([head[14], head[15], head[16], head[17]]),
        number: u32::from_le_bytes([head[18], head[19], head[20], head[21]]),
        body: body_at..body_at + length,
    })
}

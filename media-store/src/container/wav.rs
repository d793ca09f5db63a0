//! RIFF/WAVE with 16-bit PCM, written so that the file is playable at any moment.
//!
//! Samples can be written anywhere, also before the end; what lies between two written places is silence. They wait in
//! memory until [`WavFile::flush`]; when that fails they go on waiting. The header carries the sizes as of the last flush;
//! samples always reach the file before the header that announces them, so that a process that dies in between leaves a
//! valid file.

use std::collections::VecDeque;
use std::io;

use super::{ContainerError, Medium};

/// Length of the header with a plain `fmt ` chunk (up to two channels).
const PLAIN_HEADER: u64 = 44;
/// Length of the header with an extensible `fmt ` chunk.
const EXTENSIBLE_HEADER: u64 = 68;
/// KSDATAFORMAT_SUBTYPE_PCM without its first two octets, which are the format tag.
const PCM_GUID_TAIL: [u8; 14] =
    [0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x80, 0x00, 0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71];

/// One WAV file being written. Samples are interleaved `[frame × channel]`.
#[derive(Debug)]
pub struct WavFile {
    medium: Medium,
    sample_rate: u32,
    channels: u16,
    frames: u64,
    announced_frames: u64,
    /// Octets that wait, with their places; neighbours are joined.
    pending: VecDeque<(u64, Vec<u8>)>,
    pending_octets: usize,
    /// The medium has to be made this long, even if nothing is written there.
    least_octets: u64,
    header: Vec<u8>,
}

impl WavFile {
    /// Begins a file: writes a header that announces no samples.
    pub fn create(medium: Medium, sample_rate: u32, channels: u16) -> io::Result<Self> {
        let mut wav = Self::new(medium, sample_rate, channels.max(1));
        wav.write_header()?;
        Ok(wav)
    }

    /// Goes on with a file that was left behind. The length of the file counts, not what its header announces; an
    /// incomplete frame at the end is cut off. The file must be open for reading and writing.
    pub fn reopen(medium: Medium) -> Result<Self, ContainerError> {
        let mut head = [0; EXTENSIBLE_HEADER as usize];
        medium
            .read_exact_at(&mut head[..PLAIN_HEADER as usize], 0)
            .map_err(|_| ContainerError::NotContinuable)?;
        let u16_at = |head: &[u8], at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let channels = u16_at(&head, 22);
        let sample_rate = u32::from_le_bytes([head[24], head[25], head[26], head[27]]);
        if &head[..4] != b"RIFF" || &head[8..16] != b"WAVEfmt " || channels == 0 || sample_rate == 0 {
            return Err(ContainerError::NotContinuable);
        }
        if u16_at(&head, 34) != 16 {
            return Err(ContainerError::NotContinuable);
        }
        let mut wav = Self::new(medium, sample_rate, channels);
        let header_len = wav.header_len();
        if header_len == EXTENSIBLE_HEADER {
            wav.medium.read_exact_at(&mut head, 0).map_err(|_| ContainerError::NotContinuable)?;
        }
        let data_at = header_len as usize - 8;
        if &head[data_at..data_at + 4] != b"data" {
            return Err(ContainerError::NotContinuable);
        }
        let octets = wav.medium.octets()?.saturating_sub(header_len);
        wav.frames = octets / wav.frame_octets();
        wav.medium.set_len(header_len + wav.frames * wav.frame_octets())?;
        wav.write_header()?;
        Ok(wav)
    }

    fn new(medium: Medium, sample_rate: u32, channels: u16) -> Self {
        Self {
            medium,
            sample_rate,
            channels,
            frames: 0,
            announced_frames: 0,
            pending: VecDeque::new(),
            pending_octets: 0,
            least_octets: 0,
            header: Vec::new(),
        }
    }

    /// Appends samples.
    pub fn append(&mut self, samples: &[i16]) {
        self.write_at(self.frames, samples);
    }

    /// Puts samples at a frame. Frames between the end of the file and `frame` become silence.
    pub fn write_at(&mut self, frame: u64, samples: &[i16]) {
        let offset = self.header_len() + frame * self.frame_octets();
        self.frames = self.frames.max(frame + samples.len() as u64 / u64::from(self.channels));
        self.pending_octets += samples.len() * 2;
        let octets = samples.iter().flat_map(|sample| sample.to_le_bytes());
        match self.pending.back_mut() {
            Some((at, last)) if *at + last.len() as u64 == offset => last.extend(octets),
            _ => self.pending.push_back((offset, octets.collect())),
        }
    }

    /// Makes the file at least this long, with silence.
    pub fn extend_to(&mut self, frames: u64) {
        if frames > self.frames {
            self.frames = frames;
            self.least_octets = self.header_len() + frames * self.frame_octets();
        }
    }

    /// Writes what waits, then the header if it does not announce everything yet. After an error it can be tried again.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some((offset, octets)) = self.pending.front() {
            self.medium.write_all_at(octets, *offset)?;
            self.pending_octets -= octets.len();
            self.pending.pop_front();
        }
        if self.least_octets > 0 {
            if self.medium.octets()? < self.least_octets {
                self.medium.set_len(self.least_octets)?;
            }
            self.least_octets = 0;
        }
        if self.announced_frames == self.frames { Ok(()) } else { self.write_header() }
    }

    /// Octets that wait to be written.
    pub fn pending_octets(&self) -> usize {
        self.pending_octets
    }

    /// Reads samples back, as many as there are, from a frame on. Flush first.
    pub fn read_at(&self, frame: u64, frames: u64) -> io::Result<Vec<i16>> {
        let frames = frames.min(self.frames.saturating_sub(frame));
        let mut octets = vec![0; (frames * self.frame_octets()) as usize];
        self.medium.read_exact_at(&mut octets, self.header_len() + frame * self.frame_octets())?;
        Ok(octets.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
    }

    /// Where the file is kept.
    pub fn medium(&mut self) -> &mut Medium {
        &mut self.medium
    }

    /// Gives the medium back.
    pub fn into_medium(self) -> Medium {
        self.medium
    }

    /// Frames (samples per channel) in the file.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Sample rate in Hz.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Interleaved channels.
    pub fn channels(&self) -> u16 {
        self.channels
    }

    fn header_len(&self) -> u64 {
        if self.channels > 2 { EXTENSIBLE_HEADER } else { PLAIN_HEADER }
    }

    fn frame_octets(&self) -> u64 {
        u64::from(self.channels) * 2
    }

    fn write_header(&mut self) -> io::Result<()> {
        let extensible = self.channels > 2;
        // Sizes are 32 bits wide; readers take the end of a longer file as its length.
        let data = u32::try_from(self.frames * self.frame_octets()).unwrap_or(u32::MAX);
        let head = &mut self.header;
        head.clear();
        head.extend_from_slice(b"RIFF");
        let riff = data.saturating_add(if extensible { EXTENSIBLE_HEADER } else { PLAIN_HEADER } as u32 - 8);
        head.extend_from_slice(&riff.to_le_bytes());
        head.extend_from_slice(b"WAVEfmt ");
        head.extend_from_slice(&(if extensible { 40_u32 } else { 16 }).to_le_bytes());
        head.extend_from_slice(&(if extensible { 0xfffe_u16 } else { 1 }).to_le_bytes());
        head.extend_from_slice(&self.channels.to_le_bytes());
        head.extend_from_slice(&self.sample_rate.to_le_bytes());
        let block = self.channels.saturating_mul(2);
        head.extend_from_slice(&self.sample_rate.saturating_mul(u32::from(block)).to_le_bytes());
        head.extend_from_slice(&block.to_le_bytes());
        head.extend_from_slice(&16_u16.to_le_bytes());
        if extensible {
            head.extend_from_slice(&22_u16.to_le_bytes());
            head.extend_from_slice(&16_u16.to_le_bytes());
            head.extend_from_slice(&channel_mask(self.channels).to_le_bytes());
            head.extend_from_slice(&1_u16.to_le_bytes());
            head.extend_from_slice(&PCM_GUID_TAIL);
        }
        head.extend_from_slice(b"data");
        head.extend_from_slice(&data.to_le_bytes());
        self.medium.write_all_at(head, 0)?;
        self.announced_frames = self.frames;
        Ok(())
    }
}

/// Speaker positions: front left, right, centre, then back centre; none for what has no customary layout.
fn channel_mask(channels: u16) -> u32 {
    match channels {
        3 => 0x007,
        4 => 0x107,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn medium() -> Medium {
        Medium::File(tempfile::tempfile().expect("temporary file"))
    }

    #[test]
    fn mono_header_is_the_plain_one() {
        let mut wav = WavFile::create(medium(), 8000, 1).expect("create");
        wav.append(&[1, -1]);
        wav.flush().expect("flush");
        let expected = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x04\0\0\0\x01\0\xff\xff";
        assert_eq!(wav.into_medium().read_all().expect("read"), expected);
    }

    #[test]
    fn four_channels_use_the_extensible_header() {
        let wav = WavFile::create(Medium::Memory(Vec::new()), 16_000, 4).expect("create");
        let all = wav.into_medium().read_all().expect("read");
        assert_eq!(all.len(), 68);
        assert_eq!(&all[16..22], b"\x28\0\0\0\xfe\xff");
        assert_eq!(&all[36..44], b"\x16\0\x10\0\x07\x01\0\0");
    }

    #[test]
    fn what_was_skipped_is_silence_and_can_be_filled_later() {
        let mut wav = WavFile::create(medium(), 8000, 1).expect("create");
        wav.write_at(3, &[7, 8]);
        wav.flush().expect("flush");
        assert_eq!(wav.read_at(0, 10).expect("read"), [0, 0, 0, 7, 8]);
        wav.write_at(1, &[5]);
        wav.extend_to(6);
        assert_eq!(wav.pending_octets(), 2);
        wav.flush().expect("flush");
        assert_eq!(wav.read_at(0, 10).expect("read"), [0, 5, 0, 7, 8, 0]);
    }

    #[test]
    fn a_file_left_behind_is_continued_after_its_last_whole_frame() {
        for channels in [1, 2, 4] {
            let mut wav = WavFile::create(medium(), 8000, channels).expect("create");
            let frame: Vec<i16> = (1..=channels.cast_signed()).collect();
            wav.append(&frame);
            wav.flush().expect("flush");
            let end = wav.header_len() + wav.frame_octets();
            wav.medium().write_all_at(&[9], end).expect("half a sample");
            let mut again = WavFile::reopen(wav.into_medium()).expect("reopen");
            assert_eq!((again.frames(), again.channels(), again.sample_rate()), (1, channels, 8000));
            again.append(&frame);
            again.flush().expect("flush");
            assert_eq!(again.read_at(0, 9).expect("read"), [&frame[..], &frame[..]].concat());
        }
    }

    #[test]
    fn other_files_are_not_continued() {
        let other = Medium::Memory(vec![b'x'; 100]);
        assert!(matches!(WavFile::reopen(other), Err(ContainerError::NotContinuable)));
        assert!(matches!(WavFile::reopen(medium()), Err(ContainerError::NotContinuable)));
    }

    #[test]
    fn what_the_medium_refuses_is_kept_and_tried_again() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("a.wav");
        let mut wav = WavFile::create(Medium::File(std::fs::File::create_new(&path).expect("file")), 8000, 1)
            .expect("create");
        let writable = std::mem::replace(
            wav.medium(),
            Medium::File(std::fs::File::open(&path).expect("a descriptor that cannot be written")),
        );
        wav.append(&[1, 2, 3]);
        assert!(wav.flush().is_err());
        assert_eq!(wav.pending_octets(), 6);
        *wav.medium() = writable;
        wav.flush().expect("flush");
        assert_eq!(std::fs::read(&path).expect("read").len(), 44 + 6);
    }
}

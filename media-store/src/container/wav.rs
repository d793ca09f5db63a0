//! RIFF/WAVE with 16-bit PCM, written so that the file is playable at any moment.
//!
//! Samples can be written anywhere, also before the end; what lies between two written places is silence. The header
//! carries the sizes as of the last [`WavFile::update_header`]; samples always reach the file before the header that
//! announces them, so that a process that dies in between leaves a valid file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Length of the header with a plain `fmt ` chunk (up to two channels).
const PLAIN_HEADER: u64 = 44;
/// Length of the header with an extensible `fmt ` chunk.
const EXTENSIBLE_HEADER: u64 = 68;
/// KSDATAFORMAT_SUBTYPE_PCM without its first two octets, which are the format tag.
const PCM_GUID_TAIL: [u8; 14] =
    [0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x80, 0x00, 0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71];

/// The file cannot be continued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WavError {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not a file that [`WavFile::create`] began.
    #[error("not a WAV file of this writer")]
    Format,
}

/// One WAV file being written. Samples are interleaved `[frame × channel]`.
#[derive(Debug)]
pub struct WavFile {
    file: File,
    sample_rate: u32,
    channels: u16,
    frames: u64,
    announced_frames: u64,
    octets: Vec<u8>,
}

impl WavFile {
    /// Begins a file: writes a header that announces no samples.
    pub fn create(file: File, sample_rate: u32, channels: u16) -> io::Result<Self> {
        let mut wav = Self {
            file,
            sample_rate,
            channels: channels.max(1),
            frames: 0,
            announced_frames: 0,
            octets: vec![],
        };
        wav.write_header()?;
        Ok(wav)
    }

    /// Goes on with a file that was left behind. The length of the file counts, not what its header announces; an
    /// incomplete frame at the end is cut off. The file must be open for reading and writing.
    pub fn reopen(file: File) -> Result<Self, WavError> {
        let mut head = [0; EXTENSIBLE_HEADER as usize];
        file.read_exact_at(&mut head[..PLAIN_HEADER as usize], 0).map_err(|_| WavError::Format)?;
        let u16_at = |head: &[u8], at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let channels = u16_at(&head, 22);
        let sample_rate = u32::from_le_bytes([head[24], head[25], head[26], head[27]]);
        if &head[..4] != b"RIFF" || &head[8..16] != b"WAVEfmt " || channels == 0 || sample_rate == 0 {
            return Err(WavError::Format);
        }
        if u16_at(&head, 34) != 16 {
            return Err(WavError::Format);
        }
        let mut wav =
            Self { file, sample_rate, channels, frames: 0, announced_frames: 0, octets: Vec::new() };
        let header_len = wav.header_len();
        if header_len == EXTENSIBLE_HEADER {
            wav.file.read_exact_at(&mut head, 0).map_err(|_| WavError::Format)?;
        }
        let data_at = header_len as usize - 8;
        if &head[data_at..data_at + 4] != b"data" {
            return Err(WavError::Format);
        }
        let octets = wav.file.metadata()?.len().saturating_sub(header_len);
        wav.frames = octets / wav.frame_octets();
        wav.file.set_len(header_len + wav.frames * wav.frame_octets())?;
        wav.write_header()?;
        Ok(wav)
    }

    /// Appends samples.
    pub fn append(&mut self, samples: &[i16]) -> io::Result<()> {
        self.write_at(self.frames, samples)
    }

    /// Writes samples beginning at a frame. Frames between the end of the file and `frame` become silence.
    pub fn write_at(&mut self, frame: u64, samples: &[i16]) -> io::Result<()> {
        self.octets.clear();
        self.octets.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        self.file.write_all_at(&self.octets, self.header_len() + frame * self.frame_octets())?;
        self.frames = self.frames.max(frame + samples.len() as u64 / u64::from(self.channels));
        Ok(())
    }

    /// Makes the file at least this long, with silence.
    pub fn extend_to(&mut self, frames: u64) -> io::Result<()> {
        if frames > self.frames {
            self.file.set_len(self.header_len() + frames * self.frame_octets())?;
            self.frames = frames;
        }
        Ok(())
    }

    /// Reads samples back, as many as there are, from a frame on.
    pub fn read_at(&mut self, frame: u64, frames: u64) -> io::Result<Vec<i16>> {
        let frames = frames.min(self.frames.saturating_sub(frame));
        self.octets.resize((frames * self.frame_octets()) as usize, 0);
        let offset = self.header_len() + frame * self.frame_octets();
        self.file.read_exact_at(&mut self.octets, offset)?;
        Ok(self.octets.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
    }

    /// Lets the header announce everything that was written. Does nothing when it already does.
    pub fn update_header(&mut self) -> io::Result<()> {
        if self.announced_frames == self.frames { Ok(()) } else { self.write_header() }
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
        let head = &mut self.octets;
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
        self.file.write_all_at(head, 0)?;
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

    fn file() -> File {
        tempfile::tempfile().expect("temporary file")
    }

    fn octets(wav: &WavFile) -> Vec<u8> {
        let mut all = vec![0; wav.file.metadata().expect("metadata").len() as usize];
        wav.file.read_exact_at(&mut all, 0).expect("read");
        all
    }

    #[test]
    fn mono_header_is_the_plain_one() {
        let mut wav = WavFile::create(file(), 8000, 1).expect("create");
        wav.append(&[1, -1]).expect("append");
        wav.update_header().expect("header");
        let expected = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x04\0\0\0\x01\0\xff\xff";
        assert_eq!(octets(&wav), expected);
    }

    #[test]
    fn four_channels_use_the_extensible_header() {
        let wav = WavFile::create(file(), 16_000, 4).expect("create");
        let all = octets(&wav);
        assert_eq!(all.len(), 68);
        assert_eq!(&all[16..22], b"\x28\0\0\0\xfe\xff");
        assert_eq!(&all[36..44], b"\x16\0\x10\0\x07\x01\0\0");
    }

    #[test]
    fn what_was_skipped_is_silence_and_can_be_filled_later() {
        let mut wav = WavFile::create(file(), 8000, 1).expect("create");
        wav.write_at(3, &[7, 8]).expect("write");
        assert_eq!(wav.read_at(0, 10).expect("read"), [0, 0, 0, 7, 8]);
        wav.write_at(1, &[5]).expect("write");
        wav.extend_to(6).expect("extend");
        assert_eq!(wav.read_at(0, 10).expect("read"), [0, 5, 0, 7, 8, 0]);
    }

    #[test]
    fn a_file_left_behind_is_continued_after_its_last_whole_frame() {
        for channels in [1, 2, 4] {
            let mut wav = WavFile::create(file(), 8000, channels).expect("create");
            let frame: Vec<i16> = (1..=channels.cast_signed()).collect();
            wav.append(&frame).expect("append");
            let end = wav.header_len() + wav.frame_octets();
            wav.file.write_all_at(&[9], end).expect("half a sample");
            let mut again = WavFile::reopen(wav.file).expect("reopen");
            assert_eq!((again.frames(), again.channels(), again.sample_rate()), (1, channels, 8000));
            again.append(&frame).expect("append");
            again.update_header().expect("header");
            assert_eq!(again.read_at(0, 9).expect("read"), [&frame[..], &frame[..]].concat());
        }
    }

    #[test]
    fn other_files_are_not_continued() {
        let other = file();
        other.write_all_at(&[b'x'; 100], 0).expect("write");
        assert!(matches!(WavFile::reopen(other), Err(WavError::Format)));
        assert!(matches!(WavFile::reopen(file()), Err(WavError::Format)));
    }
}

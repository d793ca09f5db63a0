//! File formats that audio is written in.
//!
//! [`AudioFile`] is any of them. What is appended is in the medium after the next [`AudioFile::flush`], but for what an
//! encoder still holds back; a file that a dead process left is playable up to there and can be continued
//! ([`AudioFile::reopen`]).

mod crc;
mod flac;
mod medium;
mod mp3;
mod ogg_opus;
mod sequential;
pub mod wav;

use std::io;

pub use medium::Medium;

use flac::FlacFile;
use mp3::Mp3File;
use ogg_opus::OpusFile;
use wav::WavFile;

/// How audio is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RIFF/WAVE, 16-bit PCM. The only one that can be written out of order.
    Wav,
    /// MPEG layer III of constant bit rate.
    Mp3 {
        /// In bits per second.
        bitrate_bps: u32,
    },
    /// Free Lossless Audio Codec.
    Flac,
    /// Opus in Ogg.
    Opus {
        /// In bits per second for each channel.
        bitrate_bps: u32,
    },
}

/// An audio file cannot be made or continued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not a file that this writer began, or damaged.
    #[error("not a file of this writer that could be continued")]
    NotContinuable,
    /// The encoder cannot be opened, or failed.
    #[error("{0}")]
    Encoder(String),
}

impl Format {
    /// File name extension, also what stands in databases.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Wav => "wav",
            Format::Mp3 { .. } => "mp3",
            Format::Flac => "flac",
            Format::Opus { .. } => "opus",
        }
    }

    /// The rate that audio of this rate is stored with: itself, or the next higher one that the format has.
    pub fn sample_rate_for(self, sample_rate: u32) -> u32 {
        let rates: &[u32] = match self {
            Format::Wav | Format::Flac => return sample_rate,
            Format::Mp3 { .. } => &mp3::SAMPLE_RATES,
            Format::Opus { .. } => &ogg_opus::SAMPLE_RATES,
        };
        let fitting = rates.iter().copied().find(|&rate| rate >= sample_rate);
        fitting.or(rates.last().copied()).unwrap_or(sample_rate)
    }

    /// Most channels.
    pub fn max_channels(self) -> u16 {
        match self {
            Format::Wav => 1024,
            Format::Mp3 { .. } => 2,
            Format::Flac => 8,
            Format::Opus { .. } => 255,
        }
    }

    /// Audio may be written at any place, also later.
    pub fn is_random_access(self) -> bool {
        self == Format::Wav
    }
}

/// A file being written. Samples are interleaved `[frame × channel]`.
#[derive(Debug)]
pub struct AudioFile(Kind);

#[derive(Debug)]
enum Kind {
    Wav(WavFile),
    Mp3(Box<Mp3File>),
    Flac(Box<FlacFile>),
    Opus(Box<OpusFile>),
}

impl AudioFile {
    /// Begins a file. Rate and channels must be among what the format has.
    ///
    /// # Errors
    /// When the beginning cannot be written or there is no encoder.
    pub fn create(
        format: Format,
        medium: Medium,
        sample_rate: u32,
        channels: u16,
    ) -> Result<Self, ContainerError> {
        Ok(Self(match format {
            Format::Wav => Kind::Wav(WavFile::create(medium, sample_rate, channels)?),
            Format::Mp3 { bitrate_bps } => {
                Kind::Mp3(Box::new(Mp3File::create(medium, sample_rate, channels, bitrate_bps)?))
            }
            Format::Flac => Kind::Flac(Box::new(FlacFile::create(medium, sample_rate, channels)?)),
            Format::Opus { bitrate_bps } => {
                Kind::Opus(Box::new(OpusFile::create(medium, sample_rate, channels, bitrate_bps)?))
            }
        }))
    }

    /// Goes on with a file that an earlier process left. What is incomplete at its end is cut off.
    ///
    /// # Errors
    /// When it is no such file.
    pub fn reopen(format: Format, medium: Medium) -> Result<Self, ContainerError> {
        Ok(Self(match format {
            Format::Wav => Kind::Wav(WavFile::reopen(medium)?),
            Format::Mp3 { .. } => Kind::Mp3(Box::new(Mp3File::reopen(medium)?)),
            Format::Flac => Kind::Flac(Box::new(FlacFile::reopen(medium)?)),
            Format::Opus { bitrate_bps } => Kind::Opus(Box::new(OpusFile::reopen(medium, bitrate_bps)?)),
        }))
    }

    /// Appends samples.
    ///
    /// # Errors
    /// When the encoder fails; the medium is not touched yet.
    pub fn append(&mut self, samples: &[i16]) -> Result<(), ContainerError> {
        match &mut self.0 {
            Kind::Wav(file) => {
                file.append(samples);
                Ok(())
            }
            Kind::Mp3(file) => file.append(samples),
            Kind::Flac(file) => {
                file.append(samples);
                Ok(())
            }
            Kind::Opus(file) => file.append(samples),
        }
    }

    /// The writer for any place, if the format has one.
    pub fn random_access(&mut self) -> Option<&mut WavFile> {
        match &mut self.0 {
            Kind::Wav(file) => Some(file),
            _ => None,
        }
    }

    /// Writes what waits. After an error it can be tried again; nothing is lost meanwhile.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Wav(file) => file.flush(),
            Kind::Mp3(file) => file.flush(),
            Kind::Flac(file) => file.flush(),
            Kind::Opus(file) => file.flush(),
        }
    }

    /// Encodes what is held back, once; [`AudioFile::flush`] afterwards completes the file.
    pub fn end(&mut self) -> Result<(), ContainerError> {
        match &mut self.0 {
            Kind::Wav(_) => Ok(()),
            Kind::Mp3(file) => file.end(),
            Kind::Flac(file) => {
                file.end();
                Ok(())
            }
            Kind::Opus(file) => file.end(),
        }
    }

    /// Octets that wait to be written.
    pub fn pending_octets(&self) -> usize {
        match &self.0 {
            Kind::Wav(file) => file.pending_octets(),
            Kind::Mp3(file) => file.pending_octets(),
            Kind::Flac(file) => file.pending_octets(),
            Kind::Opus(file) => file.pending_octets(),
        }
    }

    /// Frames (samples per channel) so far.
    pub fn frames(&self) -> u64 {
        match &self.0 {
            Kind::Wav(file) => file.frames(),
            Kind::Mp3(file) => file.frames(),
            Kind::Flac(file) => file.frames(),
            Kind::Opus(file) => file.frames(),
        }
    }

    /// Sample rate in Hz.
    pub fn sample_rate(&self) -> u32 {
        match &self.0 {
            Kind::Wav(file) => file.sample_rate(),
            Kind::Mp3(file) => file.sample_rate(),
            Kind::Flac(file) => file.sample_rate(),
            Kind::Opus(file) => file.sample_rate(),
        }
    }

    /// Interleaved channels.
    pub fn channels(&self) -> u16 {
        match &self.0 {
            Kind::Wav(file) => file.channels(),
            Kind::Mp3(file) => file.channels(),
            Kind::Flac(file) => file.channels(),
            Kind::Opus(file) => file.channels(),
        }
    }

    /// Where the file is kept.
    pub fn medium(&mut self) -> &mut Medium {
        match &mut self.0 {
            Kind::Wav(file) => file.medium(),
            Kind::Mp3(file) => file.medium(),
            Kind::Flac(file) => file.medium(),
            Kind::Opus(file) => file.medium(),
        }
    }

    /// Gives the medium back.
    pub fn into_medium(mut self) -> Medium {
        std::mem::replace(self.medium(), Medium::Memory(Vec::new()))
    }
}

#[cfg(test)]
mod tests;

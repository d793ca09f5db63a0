//! Reads WAV files, independently of the writer.

use std::path::Path;

/// A whole file.
#[derive(Debug)]
pub struct Wav {
    pub sample_rate: u32,
    pub channels: usize,
    /// Interleaved.
    pub samples: Vec<i16>,
}

impl Wav {
    /// What the header announces; it must be in the file.
    pub fn read(path: &Path) -> Self {
        let octets = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let u32_at =
            |at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().expect("four octets")) as usize;
        let u16_at = |at: usize| u16::from_le_bytes(octets[at..at + 2].try_into().expect("two octets"));
        assert_eq!((&octets[..4], &octets[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
        assert!(u32_at(4) + 8 <= octets.len(), "the RIFF chunk is longer than the file");
        let (mut at, mut sample_rate, mut channels) = (12, 0, 0);
        loop {
            let (name, length) = (&octets[at..at + 4], u32_at(at + 4));
            match name {
                b"fmt " => {
                    channels = usize::from(u16_at(at + 10));
                    sample_rate = u32_at(at + 12) as u32;
                    assert_eq!(u16_at(at + 22), 16, "bits per sample");
                }
                b"data" => {
                    let data =
                        octets.get(at + 8..at + 8 + length).expect("the data chunk is longer than the file");
                    let samples = data.chunks_exact(2).map(|s| i16::from_le_bytes([s[0], s[1]])).collect();
                    return Self { sample_rate, channels, samples };
                }
                _ => {}
            }
            at += 8 + length + length % 2;
        }
    }

    pub fn frames(&self) -> usize {
        self.samples.len() / self.channels
    }

    pub fn channel(&self, channel: usize) -> Vec<i16> {
        self.samples.iter().skip(channel).step_by(self.channels).copied().collect()
    }
}

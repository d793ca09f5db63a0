//! WAV files: PCM, 16 bit.

use std::path::Path;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wav {
    /// Samples per second and channel.
    pub rate: u32,
    /// Channels.
    pub channels: u16,
    /// Interleaved `[frame × channel]`.
    pub samples: Vec<i16>,
}

impl Wav {
    /// Duration in seconds.
    pub fn seconds(&self) -> f64 {
        self.frames() as f64 / f64::from(self.rate)
    }

    /// Samples per channel.
    pub fn frames(&self) -> usize {
        self.samples.len() / usize::from(self.channels.max(1))
    }

    /// The average of all channels.
    pub fn mono(&self) -> Vec<i16> {
        let channels = usize::from(self.channels.max(1));
        self.samples
            .chunks_exact(channels)
            .map(|frame| {
                (frame.iter().map(|&sample| i32::from(sample)).sum::<i32>() / channels as i32) as i16
            })
            .collect()
    }
}

/// The octets of a file.
pub fn encode(samples: &[i16], rate: u32, channels: u16) -> Vec<u8> {
    let data = samples.len() as u32 * 2;
    let mut out = Vec::with_capacity(44 + data as usize);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + data).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt ");
    out.extend_from_slice(&16u32.to_le_bytes());
    out.extend_from_slice(&1u16.to_le_bytes());
    out.extend_from_slice(&channels.to_le_bytes());
    out.extend_from_slice(&rate.to_le_bytes());
    out.extend_from_slice(&(rate * u32::from(channels) * 2).to_le_bytes());
    out.extend_from_slice(&(channels * 2).to_le_bytes());
    out.extend_from_slice(&16u16.to_le_bytes());
    out.extend_from_slice(b"data");
    out.extend_from_slice(&data.to_le_bytes());
    samples.iter().for_each(|sample| out.extend_from_slice(&sample.to_le_bytes()));
    out
}

/// Reads a file. Sizes in the header must fit the file: a recording whose header was never fixed up is an error.
pub fn read(path: &Path) -> Result<Wav, String> {
    let octets = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    parse(&octets).map_err(|e| format!("{}: {e}", path.display()))
}

fn parse(octets: &[u8]) -> Result<Wav, String> {
    let word = |at: usize| octets.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let half = |at: usize| octets.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    if octets.get(..4) != Some(b"RIFF") || octets.get(8..12) != Some(b"WAVE") {
        return Err("not a WAV file".into());
    }
    let riff = word(4).ok_or("no size")? as usize;
    if riff + 8 != octets.len() {
        return Err(format!("header says {} octets, file has {}", riff + 8, octets.len()));
    }
    let (mut at, mut format) = (12, None);
    while let (Some(id), Some(size)) = (octets.get(at..at + 4), word(at + 4)) {
        let body = at + 8;
        let size = size as usize;
        match id {
            b"fmt " => {
                let tag = half(body).ok_or("short fmt chunk")?;
                let bits = half(body + 14).ok_or("short fmt chunk")?;
                if !matches!(tag, 1 | 0xfffe) || bits != 16 {
                    return Err(format!("format 0x{tag:x} with {bits} bits is not 16-bit PCM"));
                }
                format = half(body + 2).zip(word(body + 4));
            }
            b"data" => {
                let (channels, rate) = format.ok_or("data before fmt")?;
                let data = octets.get(body..body + size).ok_or("data chunk is cut off")?;
                let samples = data.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
                return Ok(Wav { rate, channels, samples });
            }
            _ => {}
        }
        at = body + size + size % 2;
    }
    Err("no data chunk".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsing_reverses_encoding() {
        let wav = Wav { rate: 16_000, channels: 2, samples: vec![1, -2, 300, -32_768] };
        assert_eq!(parse(&encode(&wav.samples, wav.rate, wav.channels)), Ok(wav));
    }

    #[test]
    fn a_header_with_wrong_sizes_is_an_error() {
        let mut octets = encode(&[1, 2, 3], 8000, 1);
        octets.pop();
        assert!(parse(&octets).is_err());
    }
}

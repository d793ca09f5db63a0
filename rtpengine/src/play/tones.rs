//! Tones as encoded frames: digits for whoever has no telephone-event, and what replaces digits.

use std::f64::consts::TAU;
use std::time::Duration;

use codec::{CodecError, EncoderOptions, PayloadFormat, new_encoder};

use crate::media::treatment::ToneFrames;

/// Level of a full-scale sine in hundredths of dBm0 (ITU-T G.711, A-law).
const FULL_SCALE_CENTIBEL: i32 = 314;

/// Encodes the sum of sines of these frequencies (Hz), each at `level` (−dBm0), in packets of `ptime_ms`; the last one is complete.
///
/// # Errors
/// Those of the encoder.
pub fn encode(
    format: &PayloadFormat,
    ptime_ms: u16,
    frequencies: &[u32],
    level: u8,
    length: Duration,
) -> Result<ToneFrames, CodecError> {
    let options = EncoderOptions { ptime_ms: Some(ptime_ms), ..EncoderOptions::default() };
    let mut encoder = new_encoder(format, &options)?;
    let rate = encoder.sample_rate().max(1);
    let frame = encoder.frame_samples().max(1);
    let frames_per_packet = (rate as usize * usize::from(ptime_ms.max(1)) / 1000 / frame).max(1);
    let packet_samples = frame * frames_per_packet;
    let samples = (length.as_micros() * u128::from(rate) / 1_000_000) as usize;
    let packets = samples.div_ceil(packet_samples).max(1);
    let amplitude =
        f64::from(i16::MAX) * 10f64.powf(f64::from(-100 * i32::from(level) - FULL_SCALE_CENTIBEL) / 2000.0);
    let channels = usize::from(encoder.channels().max(1));
    let sample = |position: usize| {
        let seconds = position as f64 / f64::from(rate);
        let sum: f64 = frequencies.iter().map(|&hertz| (TAU * f64::from(hertz) * seconds).sin()).sum();
        // Saturates.
        (sum * amplitude) as i16
    };
    let mut frames = Vec::with_capacity(packets);
    let mut input = Vec::with_capacity(frame * channels);
    for packet in 0..packets {
        let mut payload = Vec::new();
        for part in 0..frames_per_packet {
            let first = packet * packet_samples + part * frame;
            input.clear();
            input.extend((first..first + frame).flat_map(|at| std::iter::repeat_n(sample(at), channels)));
            encoder.encode(&input, &mut payload)?;
        }
        frames.push(payload.into_boxed_slice());
    }
    let ticks = packet_samples as u64 * u64::from(format.clock_rate) / u64::from(rate);
    Ok(ToneFrames {
        payload_type: format.payload_type,
        clock_rate: format.clock_rate,
        frame_ticks: u32::try_from(ticks).unwrap_or(u32::MAX),
        frames,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Power of one frequency in the decoded frames, relative to the sum of all.
    fn share(frames: &ToneFrames, format: &PayloadFormat, hertz: f64) -> f64 {
        let mut decoder = codec::new_decoder(format).unwrap();
        let mut samples = Vec::new();
        for frame in &frames.frames {
            decoder.decode(frame, &mut samples).unwrap();
        }
        let rate = f64::from(decoder.sample_rate());
        let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
        for (n, &sample) in samples.iter().enumerate() {
            let (sin, cos) = (TAU * hertz * n as f64 / rate).sin_cos();
            re += f64::from(sample) * cos;
            im += f64::from(sample) * sin;
            all += f64::from(sample).powi(2);
        }
        2.0 * (re * re + im * im) / (all * samples.len() as f64)
    }

    #[test]
    fn digit_has_its_two_tones_in_every_codec() {
        let formats = [
            PayloadFormat::new(0, "PCMU", 8000, 1),
            PayloadFormat::new(8, "PCMA", 8000, 1),
            PayloadFormat::new(9, "G722", 8000, 1),
        ];
        for format in &formats {
            let tones = encode(format, 20, &[770, 1336], 8, Duration::from_millis(250)).unwrap();
            assert_eq!((tones.frames.len(), tones.frame_ticks), (13, 160), "{}", format.name);
            for hertz in [770.0, 1336.0] {
                let share = share(&tones, format, hertz);
                assert!((0.4..0.6).contains(&share), "{} {hertz}: {share}", format.name);
            }
        }
    }
}

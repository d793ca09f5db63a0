//! All formats: what was written is read back by another implementation.

use std::sync::Arc;

use super::*;
use crate::source::{AudioSource, Origin};

const ALL: [Format; 4] =
    [Format::Wav, Format::Mp3 { bitrate_bps: 64_000 }, Format::Flac, Format::Opus { bitrate_bps: 32_000 }];

/// Something like speech: a tone whose loudness and pitch change.
fn voice(frames: usize, sample_rate: u32, channels: usize) -> Vec<i16> {
    let mut phase = 0.0_f64;
    let mut samples = Vec::with_capacity(frames * channels);
    for n in 0..frames {
        let time = n as f64 / f64::from(sample_rate);
        phase += (400.0 + 200.0 * (time * 7.0).sin()) / f64::from(sample_rate);
        let level = 9000.0 * (0.6 + 0.4 * (time * 23.0).sin());
        for channel in 0..channels {
            samples.push(((phase * std::f64::consts::TAU + channel as f64).sin() * level) as i16);
        }
    }
    samples
}

fn decode(octets: Vec<u8>, sample_rate: u32, channels: u8) -> Vec<i16> {
    let mut source = AudioSource::open(Origin::Memory(Arc::from(octets)), sample_rate, channels)
        .expect("a file that can be read");
    let mut samples = Vec::new();
    while source.read(&mut samples).expect("audio") {}
    samples
}

/// By how many frames `found` is late, and how similar it is then (1 = the same).
fn compare(found: &[i16], sent: &[i16], from: usize, length: usize) -> (i64, f64) {
    let reference = &sent[from..from + length];
    let power = |part: &[i16]| part.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
    (-60_i64..=60)
        .filter_map(|lag| {
            let at = usize::try_from(from as i64 + lag).ok()?;
            let part = found.get(at..at + length)?;
            let dot: f64 = part.iter().zip(reference).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            Some((lag, dot / (power(part) * power(reference)).sqrt()))
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .expect("a place")
}

#[test]
fn every_format_gives_back_the_length_and_the_audio() {
    for format in ALL {
        for (rate, channels) in [(8000, 1_u8), (16_000, 2), (48_000, 1)] {
            let samples = voice(rate as usize * 2 + 77, rate, channels.into());
            let mut file =
                AudioFile::create(format, Medium::Memory(Vec::new()), rate, channels.into()).expect("create");
            for (n, part) in samples.chunks(320).enumerate() {
                file.append(part).expect("append");
                if n % 20 == 0 {
                    file.flush().expect("flush");
                }
            }
            file.end().expect("end");
            file.flush().expect("flush");
            assert_eq!((file.frames(), file.pending_octets()), (u64::from(rate) * 2 + 77, 0));
            let found = decode(file.into_medium().read_all().expect("octets"), rate, channels);
            let what = format!("{format:?}, {rate} Hz, {channels} channels");
            match format {
                Format::Wav | Format::Flac => assert!(found == samples, "{what}: samples differ"),
                _ => {
                    let frames = found.len() / usize::from(channels);
                    assert!(frames.abs_diff(rate as usize * 2 + 77) <= 1, "{what}: {frames} frames");
                    let (lag, likeness) = compare(&found, &samples, rate as usize, 4000);
                    assert!(
                        lag.abs() <= 2 * i64::from(channels) && likeness > 0.95,
                        "{what}: {lag}, {likeness}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_a_dead_process_left_is_playable_and_goes_on() {
    for format in ALL {
        let samples = voice(24_000, 8000, 1);
        let mut file = AudioFile::create(format, Medium::Memory(Vec::new()), 8000, 1).expect("create");
        file.append(&samples[..12_000]).expect("append");
        file.flush().expect("flush");
        let mut left = file.into_medium().read_all().expect("octets");
        let playable = decode(left.clone(), 8000, 1).len();
        assert!((9000..=12_000).contains(&playable), "{format:?}: {playable}");
        // The beginning of something that did not get through.
        left.extend_from_slice(&[0xff, 0xf8, 0x74, 0x08, 0x4f, 0x67, 0x67]);
        let mut again = AudioFile::reopen(format, Medium::Memory(left)).expect("reopen");
        let position = again.frames() as usize;
        assert!((9000..=12_003).contains(&position), "{format:?}: {position}");
        again.append(&samples[position..]).expect("append");
        again.end().expect("end");
        again.flush().expect("flush");
        let found = decode(again.into_medium().read_all().expect("octets"), 8000, 1);
        assert!(found.len().abs_diff(24_000) <= 4, "{format:?}: {}", found.len());
        for from in [3000, 20_000] {
            let (lag, likeness) = compare(&found, &samples, from, 3000);
            assert!(lag.abs() <= 4 && likeness > 0.9, "{format:?} at {from}: {lag}, {likeness}");
        }
    }
}

#[test]
fn channels_beyond_stereo_are_kept_apart() {
    for format in [Format::Wav, Format::Flac, Format::Opus { bitrate_bps: 24_000 }] {
        let samples = voice(8000, 8000, 6);
        let mut file = AudioFile::create(format, Medium::Memory(Vec::new()), 8000, 6).expect("create");
        file.append(&samples).expect("append");
        file.end().expect("end");
        file.flush().expect("flush");
        let octets = file.into_medium().read_all().expect("octets");
        let found = decode(octets, 8000, 2).len() / 2;
        assert!(found.abs_diff(8000) <= 1, "{format:?}: {found}");
    }
    for (format, channels) in [(Format::Mp3 { bitrate_bps: 1 }, 3), (Format::Flac, 9)] {
        assert!(AudioFile::create(format, Medium::Memory(Vec::new()), 8000, channels).is_err());
    }
}

#[test]
fn noise_and_extremes_survive_flac() {
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 48) as i16
    };
    let mut samples: Vec<i16> = (0..5000).map(|_| random()).collect();
    samples.extend((0..5000).map(|n| if n % 2 == 0 { i16::MIN } else { i16::MAX }));
    samples.extend([0; 3000]);
    samples.push(5);
    let mut file = AudioFile::create(Format::Flac, Medium::Memory(Vec::new()), 8000, 1).expect("create");
    // More frames than one octet of a frame number can count.
    for _ in 0..12 {
        file.append(&samples).expect("append");
    }
    file.end().expect("end");
    file.flush().expect("flush");
    assert!(decode(file.into_medium().read_all().expect("octets"), 8000, 1) == samples.repeat(12));
}

#[test]
fn rates_that_a_format_lacks_are_rounded_up() {
    let (mp3, opus) = (Format::Mp3 { bitrate_bps: 1 }, Format::Opus { bitrate_bps: 1 });
    assert_eq!(Format::Flac.sample_rate_for(44_100), 44_100);
    assert_eq!((opus.sample_rate_for(32_000), opus.sample_rate_for(96_000)), (48_000, 48_000));
    assert_eq!((mp3.sample_rate_for(8000), mp3.sample_rate_for(12_800)), (8000, 16_000));
}

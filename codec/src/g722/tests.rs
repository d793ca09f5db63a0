//! Against libavcodec, which passes the test sequences of ITU-T G.722 Appendix II.

use proptest::prelude::*;

use super::tables::{HIGH_STEPS, LOW_STEPS};
use super::*;
use crate::libav::{DecoderSetup, EncoderSetup, LibavDecoder, LibavEncoder};

const FRAME: usize = 320;

/// Codes and samples of both implementations, frame by frame.
fn compare(samples: &[i16]) {
    let format = PayloadFormat::new(9, "G722", 8000, 1);
    let mut ours = SubBands.new_encoder(&format, &EncoderOptions::default()).unwrap();
    let setup = EncoderSetup { any_frame: true, ..EncoderSetup::new("g722", 16_000, FRAME) };
    let mut theirs = LibavEncoder::open(setup).unwrap();
    let codes = samples.chunks_exact(FRAME).enumerate().flat_map(|(number, frame)| {
        let (mut code, mut expected) = (Vec::new(), Vec::new());
        ours.encode(frame, &mut code).unwrap();
        theirs.encode(frame, &mut expected).unwrap();
        assert_eq!(code, expected, "codes of frame {number}");
        code
    });
    compare_decoders(&codes.collect::<Vec<_>>());
}

fn compare_decoders(codes: &[u8]) {
    let format = PayloadFormat::new(9, "G722", 8000, 1);
    let mut ours = SubBands.new_decoder(&format, &DecoderOptions::default()).unwrap();
    let mut theirs = LibavDecoder::open("g722", DecoderSetup::new(16_000)).unwrap();
    for (number, payload) in codes.chunks(FRAME / 2).enumerate() {
        let (mut samples, mut expected) = (Vec::new(), Vec::new());
        ours.decode(payload, &mut samples).unwrap();
        theirs.decode(payload, &mut expected).unwrap();
        assert_eq!(samples, expected, "samples of frame {number}");
    }
}

/// Noise of changing loudness, from silence to beyond full scale, which no estimate follows.
fn noise(seed: u64, samples: usize) -> Vec<i16> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as i64 - (1 << 23)
    };
    let gain = |n: usize| 1_i64 << (n / 1600 % 18);
    (0..samples).map(|n| ((next() * gain(n)) >> 20).clamp(i16::MIN.into(), i16::MAX.into()) as i16).collect()
}

/// Vowels: a voice of 100 to 250 Hz with its harmonics under moving formants.
fn voice(seconds: usize) -> Vec<i16> {
    let time = |n: usize| n as f64 / 16_000.0;
    let sample = |n: usize| {
        let pitch = 170.0 + 80.0 * (time(n) * 2.1).sin();
        let formant = 900.0 + 700.0 * (time(n) * 3.3).sin();
        let harmonics = (1..24).map(|h| {
            let frequency = pitch * f64::from(h);
            let level = 1.0 / (1.0 + ((frequency - formant) / 300.0).powi(2));
            level * (std::f64::consts::TAU * frequency * time(n)).sin()
        });
        let loudness = (time(n) * 1.7).sin().max(0.0);
        (harmonics.sum::<f64>() * loudness * 9000.0) as i16
    };
    (0..seconds * 16_000).map(sample).collect()
}

#[test]
fn speech_is_coded_like_by_the_reference_implementation() {
    compare(&voice(30));
}

#[test]
fn noise_of_any_loudness_is_coded_like_by_the_reference_implementation() {
    compare(&noise(722, 60 * 16_000));
}

#[test]
fn full_scale_square_waves_and_silence_are_coded_like_by_the_reference_implementation() {
    for period in [2, 3, 4, 5, 7, 8, 16, 31, 64, 160, 1000] {
        let level = |n: usize| if (n / period).is_multiple_of(2) { i16::MAX } else { i16::MIN };
        let half = |n: usize| if (n / 6400).is_multiple_of(2) { level(n) } else { 0 };
        compare(&(0..5 * 16_000).map(half).collect::<Vec<_>>());
    }
}

#[test]
fn any_code_is_decoded_like_by_the_reference_implementation() {
    for octet in 0..=255 {
        compare_decoders(&[octet; 1600]);
    }
    let codes: Vec<u8> = noise(3, 60 * 8000).iter().map(|&sample| (sample >> 3) as u8).collect();
    compare_decoders(&codes);
}

#[test]
fn intervals_are_those_of_the_search_that_the_recommendation_describes() {
    for step in LOW_STEPS {
        for magnitude in (0..40).chain((0..=32_767).step_by(7)).chain([32_766, 32_767]) {
            let edges = super::tables::EDGES.map(|edge| (edge as i32 * step.size) >> 12);
            let interval = 1 + edges.iter().take_while(|&&edge| magnitude >= edge).count();
            assert_eq!(usize::from(step.interval(magnitude)), interval, "{magnitude} of {}", step.size);
        }
    }
    assert_eq!((LOW_STEPS[0].size, HIGH_STEPS[0].size), (32, 8));
}

#[test]
fn payloads_of_any_length_continue_each_other() {
    let samples = voice(1);
    let format = PayloadFormat::new(9, "G722", 8000, 1);
    let whole = |ptime_ms: u16| {
        let options = EncoderOptions { ptime_ms: Some(ptime_ms), ..EncoderOptions::default() };
        let mut encoder = SubBands.new_encoder(&format, &options).unwrap();
        let mut decoder = SubBands.new_decoder(&format, &DecoderOptions::default()).unwrap();
        let (mut codes, mut decoded) = (Vec::new(), Vec::new());
        for frame in samples.chunks_exact(encoder.frame_samples()) {
            let before = codes.len();
            encoder.encode(frame, &mut codes).unwrap();
            decoder.decode(&codes[before..], &mut decoded).unwrap();
        }
        (codes, decoded)
    };
    let expected = whole(10);
    for ptime_ms in [5, 20, 40, 50, 100, 200] {
        assert!(whole(ptime_ms) == expected, "{ptime_ms} ms");
    }
}

proptest! {
    #[test]
    fn any_samples_are_coded_like_by_the_reference_implementation(
        pieces in proptest::collection::vec((any::<u64>(), 0u32..17), 1..40),
    ) {
        let samples: Vec<i16> = pieces
            .iter()
            .flat_map(|&(seed, shift)| noise(seed, FRAME).into_iter().map(move |s| s.wrapping_shl(shift)))
            .collect();
        compare(&samples);
    }

    #[test]
    fn any_payload_is_decoded_like_by_the_reference_implementation(
        codes in proptest::collection::vec(any::<u8>(), 1..4000),
    ) {
        compare_decoders(&codes);
    }
}

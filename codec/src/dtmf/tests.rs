use std::f64::consts::TAU;

use super::*;

/// A small generator of noise, the same in each run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn below(&mut self, limit: f64) -> f64 {
        (self.next() + 1.0) / 2.0 * limit
    }
}

const RATE: u32 = 8000;

fn samples(ms: f64, rate: u32) -> usize {
    (ms * f64::from(rate) / 1000.0) as usize
}

fn digit(rate: u32, code: u8, level: u8, ms: f64) -> Vec<i16> {
    let mut sines = Sines::digit(rate, code, level);
    (0..samples(ms, rate)).map(|_| sines.sample()).collect()
}

/// Tones with frequencies that are off and levels of their own.
fn tones(code: u8, factor: f64, levels: [f64; 2], ms: f64) -> Vec<i16> {
    let [low, high] = frequencies(code).unwrap();
    let sine = |hertz: u32, level: f64, n: usize| {
        amplitude(level) * (TAU * f64::from(hertz) * factor * n as f64 / f64::from(RATE) + 0.4).sin()
    };
    (0..samples(ms, RATE)).map(|n| (sine(low, levels[0], n) + sine(high, levels[1], n)) as i16).collect()
}

fn find(rate: u32, audio: &[i16]) -> Vec<Found> {
    let mut detector = Detector::new(rate);
    let mut found = Vec::new();
    // Silence behind it ends what goes on.
    let silence = vec![0; samples(100.0, rate)];
    for part in audio.chunks(53).chain(silence.chunks(160)) {
        detector.push(part.iter().copied());
        found.extend(std::iter::from_fn(|| detector.next_found()));
    }
    found
}

/// (code, duration in ms, level)
fn ended(rate: u32, audio: &[i16]) -> Vec<(u8, f64, u8)> {
    let over = |found| match found {
        Found::Ended { code, samples, level, .. } => {
            Some((code, samples as f64 * 1000.0 / f64::from(rate), level))
        }
        Found::Began { .. } => None,
    };
    find(rate, audio).into_iter().filter_map(over).collect()
}

fn codes(audio: &[i16]) -> Vec<u8> {
    ended(RATE, audio).into_iter().map(|(code, ..)| code).collect()
}

fn joined(parts: &[&[i16]]) -> Vec<i16> {
    parts.concat()
}

#[test]
fn every_digit_is_found_once_at_every_level_duration_and_rate() {
    for rate in [8000, 16_000, 48_000] {
        for level in [3, 10, 25, 33] {
            for ms in [40.0, 50.0, 70.0, 100.0, 250.0, 1000.0] {
                for code in 0..16 {
                    for lead in [0.0, 13.7, 31.1] {
                        let silence = vec![0; samples(lead, rate)];
                        let audio = joined(&[&silence, &digit(rate, code, level, ms)]);
                        let found = ended(rate, &audio);
                        let name = format!("{rate} Hz, digit {code}, -{level} dBm0, {ms} ms after {lead} ms");
                        assert_eq!(found.len(), 1, "{name}: {found:?}");
                        let (got, length, volume) = found[0];
                        assert_eq!(got, code, "{name}");
                        assert!((length - ms).abs() < 5.0, "{name}: {length}");
                        assert!(volume.abs_diff(level) <= 1, "{name}: {volume}");
                    }
                }
            }
        }
    }
}

#[test]
fn beginning_and_end_are_where_the_tone_is() {
    let silence = vec![0; 1000];
    let audio = joined(&[&silence, &digit(RATE, 5, 10, 100.0)]);
    let found = find(RATE, &audio);
    let [Found::Began { code: 5, at: begin }, Found::Ended { code: 5, at: end, .. }] = found[..] else {
        panic!("{found:?}")
    };
    assert!(begin.abs_diff(1000) <= 20 && end.abs_diff(1800) <= 20, "{begin} {end}");
}

#[test]
fn digits_in_a_row_are_told_apart_and_interruptions_are_bridged() {
    let pause = |ms: f64| vec![0; samples(ms, RATE)];
    let row: Vec<Vec<i16>> =
        (0..16).map(|code| joined(&[&digit(RATE, code, 12, 40.0), &pause(40.0)])).collect();
    assert_eq!(codes(&row.concat()), (0..16).collect::<Vec<u8>>());
    let twice = |gap: f64| joined(&[&digit(RATE, 8, 12, 60.0), &pause(gap), &digit(RATE, 8, 12, 60.0)]);
    assert_eq!(codes(&twice(10.0)), [8]);
    assert_eq!(codes(&twice(30.0)), [8, 8]);
    let changed = joined(&[&digit(RATE, 1, 12, 60.0), &digit(RATE, 9, 12, 60.0)]);
    assert_eq!(codes(&changed), [1, 9]);
}

#[test]
fn tolerances_are_those_of_q_24() {
    for code in 0..16 {
        let level = |twist: f64| [-12.0, -12.0 + twist];
        for (factor, twist, is_digit) in [
            (1.015, 0.0, true),
            (0.985, 0.0, true),
            (1.0, 4.0, true),
            (1.0, -8.0, true),
            (1.015, -6.0, true),
            (1.035, 0.0, false),
            (0.965, 0.0, false),
            (1.0, 13.0, false),
            (1.0, -14.0, false),
        ] {
            let found = codes(&tones(code, factor, level(twist), 60.0));
            assert_eq!(found, vec![code; usize::from(is_digit)], "{code} × {factor}, twist {twist} dB");
        }
        // Too short, too faint, one tone only.
        assert_eq!(codes(&tones(code, 1.0, level(0.0), 20.0)), [], "{code}");
        assert_eq!(codes(&tones(code, 1.0, [-45.0, -45.0], 100.0)), [], "{code}");
        assert_eq!(codes(&tones(code, 1.0, [-10.0, -60.0], 100.0)), [], "{code}");
    }
}

#[test]
fn digits_are_found_in_noise() {
    let mut noise = Noise(7);
    let mut found = 0;
    for round in 0..20 {
        for code in 0..16u8 {
            let tone = tones(code, 1.0 + 0.01 * noise.next(), [-15.0, -15.0], 50.0);
            // Uniform noise 15 dB below the digit, before and after it as well.
            let level = amplitude(-15.0) * 10f64.powf(-15.0 / 20.0) * 3f64.sqrt();
            let lead = round * 11;
            let at = |n: usize| n.checked_sub(lead).and_then(|n| tone.get(n)).copied().unwrap_or(0);
            let audio: Vec<i16> =
                (0..lead + 1200).map(|n| (f64::from(at(n)) + level * noise.next()) as i16).collect();
            let got = codes(&audio);
            assert!(got.len() <= 1 && got.iter().all(|&c| c == code), "{code}: {got:?}");
            found += got.len();
        }
    }
    assert!(found >= 317, "{found} of 320");
}

#[test]
fn g_711_and_clipping_do_not_matter() {
    for name in ["PCMU", "PCMA"] {
        let format = crate::PayloadFormat::new(0, name, 8000, 1);
        let mut encoder = crate::new_encoder(&format, &Default::default()).unwrap();
        let mut decoder = crate::new_decoder(&format).unwrap();
        for (code, level) in (0..16).flat_map(|code| [(code, 0.0), (code, -30.0)]) {
            let audio = tones(code, 1.0, [level; 2], 60.0);
            let (mut payload, mut back) = (Vec::new(), Vec::new());
            for frame in audio.chunks_exact(encoder.frame_samples()) {
                encoder.encode(frame, &mut payload).unwrap();
            }
            decoder.decode(&payload, &mut back).unwrap();
            assert_eq!(codes(&back), [code], "{name} {level} dBm0");
        }
    }
}

#[test]
fn lost_packet_does_not_split_a_digit() {
    let tone = digit(RATE, 6, 10, 200.0);
    let mut detector = Detector::new(RATE);
    let mut found = Vec::new();
    for (number, packet) in tone.chunks(160).chain(std::iter::repeat_n(&[0; 160][..], 5)).enumerate() {
        if number == 4 {
            detector.skip(160);
        } else {
            detector.push(packet.iter().copied());
        }
        found.extend(std::iter::from_fn(|| detector.next_found()));
    }
    assert!(
        matches!(found[..], [Found::Began { code: 6, .. }, Found::Ended { code: 6, samples, .. }] if samples.abs_diff(1600) < 40),
        "{found:?}"
    );
}

/// Voiced and unvoiced sounds of several voices: pulses of a moving pitch through moving formants, with pauses.
fn speech(seconds: usize, seed: u64) -> impl Iterator<Item = i16> {
    let mut noise = Noise(seed);
    let (mut phase, mut pitch, mut target) = (0.0, 120.0, 140.0);
    let mut formants = [[0.0f64; 2]; 4];
    let mut centres = [500.0, 1200.0, 2400.0, 3300.0];
    let mut goals = centres;
    let (mut voiced, mut level, mut left) = (true, 3000.0, 0usize);
    (0..seconds * RATE as usize).map(move |_| {
        if left == 0 {
            left = samples(40.0 + noise.below(260.0), RATE);
            voiced = noise.below(1.0) < 0.7;
            level = if noise.below(1.0) < 0.15 { 0.0 } else { 500.0 + noise.below(9000.0) };
            target = 80.0 + noise.below(280.0);
            goals = [
                250.0 + noise.below(700.0),
                800.0 + noise.below(1500.0),
                2000.0 + noise.below(900.0),
                3200.0,
            ];
        }
        left -= 1;
        pitch += (target - pitch) * 0.0008;
        for (centre, goal) in centres.iter_mut().zip(goals) {
            *centre += (goal - *centre) * 0.002;
        }
        phase += pitch / f64::from(RATE);
        let mut pulse = noise.next() * 0.05;
        if phase >= 1.0 {
            phase -= 1.0;
            pulse += 4.0;
        }
        let source = if voiced { pulse } else { noise.next() * 0.6 };
        let mut sum = 0.0;
        for (index, (state, centre)) in formants.iter_mut().zip(centres).enumerate() {
            let width = 60.0 + 40.0 * index as f64;
            let r = (-std::f64::consts::PI * width / f64::from(RATE)).exp();
            let y = source + 2.0 * r * (TAU * centre / f64::from(RATE)).cos() * state[0] - r * r * state[1];
            *state = [y, state[0]];
            sum += y * (1.0 - r) * [1.0, 0.7, 0.35, 0.2][index];
        }
        (sum * level).clamp(-32_000.0, 32_000.0) as i16
    })
}

/// Chords of the tempered scale, from whistle-like to rich, with vibrato and decay.
fn music(seconds: usize, seed: u64) -> impl Iterator<Item = i16> {
    let mut noise = Noise(seed);
    let mut notes = [(0.0f64, 0.0f64, 0.0f64); 5];
    let (mut left, mut count, mut time, mut richness) = (0usize, 0, 0.0, 0.5);
    (0..seconds * RATE as usize).map(move |_| {
        if left == 0 {
            left = samples(80.0 + noise.below(700.0), RATE);
            count = 2 + noise.below(4.0) as usize;
            richness = 0.15 + noise.below(0.6);
            for note in &mut notes {
                let semitone = noise.below(40.0).floor();
                *note = (110.0 * 2f64.powf(semitone / 12.0), 0.0, 0.3 + noise.below(0.7));
            }
            time = 0.0;
        }
        left -= 1;
        time += 1.0 / f64::from(RATE);
        let vibrato = 1.0 + 0.004 * (TAU * 5.5 * time).sin();
        let mut sum = 0.0;
        for (hertz, phase, level) in notes.iter_mut().take(count) {
            *phase += *hertz * vibrato / f64::from(RATE);
            let mut part = *level * (-time * 2.0).exp();
            let mut harmonic = 1.0;
            while harmonic < 6.0 && *hertz * harmonic < 3600.0 {
                sum += part * (TAU * *phase * harmonic).sin();
                part *= richness;
                harmonic += 1.0;
            }
        }
        (sum * 5000.0).clamp(-32_000.0, 32_000.0) as i16
    })
}

#[test]
fn half_an_hour_of_speech_and_music_has_no_digit() {
    let mut detector = Detector::new(RATE);
    let mut found = Vec::new();
    for seed in 1..=6u64 {
        let mut signal = speech(150, seed * 7919).chain(music(150, seed * 104_729));
        loop {
            let before = detector.position();
            detector.push(signal.by_ref().take(160));
            found.extend(std::iter::from_fn(|| detector.next_found()));
            if detector.position() == before {
                break;
            }
        }
    }
    assert_eq!(detector.position(), 1800 * u64::from(RATE));
    assert_eq!(found, []);
}

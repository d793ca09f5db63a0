//! Every speech codec that this machine has: encode, put into packets, decode; what comes out is what went in.

use codec::{EncoderOptions, PayloadFormat, def, new_decoder, new_encoder, packet_time_ms};

/// (name, clock rate, fmtp, packet time, octets of a packet, least correlation)
const CASES: &[(&str, u32, &str, u16, usize, f64)] = &[
    ("AMR", 8000, "octet-align=1;mode-change-capability=2", 20, 1 + 1 + 17, 0.8),
    ("AMR", 8000, "mode-set=7", 20, 32, 0.9),
    ("AMR", 8000, "octet-align=1;mode-set=0", 60, 1 + 3 + 3 * 12, 0.7),
    ("AMR-WB", 16_000, "octet-align=1", 20, 1 + 1 + 36, 0.8),
    ("AMR-WB", 16_000, "", 40, 74, 0.8),
    ("G723", 8000, "", 30, 24, 0.8),
    ("G723", 8000, "", 60, 48, 0.8),
    ("G726-16", 8000, "", 20, 40, 0.85),
    ("G726-24", 8000, "", 20, 60, 0.95),
    ("G726-32", 8000, "", 20, 80, 0.98),
    ("G726-40", 8000, "", 30, 150, 0.99),
    ("G729", 8000, "annexb=yes", 20, 20, 0.8),
    ("G729a", 8000, "", 40, 40, 0.8),
    ("speex", 8000, "", 20, 28, 0.8),
    ("speex", 16_000, "", 20, 0, 0.7),
    ("speex", 16_000, "", 40, 0, 0.7),
    ("speex", 32_000, "", 20, 0, 0.7),
];

#[test]
fn what_is_encoded_is_heard_again() {
    let mut wrong = Vec::new();
    for &(name, clock_rate, fmtp, ptime_ms, octets, least) in CASES {
        let case = format!("{name}/{clock_rate} {fmtp} {ptime_ms} ms");
        let def = def::by_name(name).expect(name);
        if !def.can_encode() || !def.can_decode() {
            println!("{case}: not on this machine");
            continue;
        }
        let format = PayloadFormat::new(96, name, clock_rate, 1).with_fmtp(fmtp);
        let options = EncoderOptions { ptime_ms: Some(ptime_ms), ..Default::default() };
        let mut encoder = new_encoder(&format, &options).unwrap_or_else(|error| panic!("{case}: {error}"));
        let mut decoder = new_decoder(&format).unwrap_or_else(|error| panic!("{case}: {error}"));
        let rate = encoder.sample_rate();
        assert_eq!(decoder.sample_rate(), rate, "{case}");
        let spoken = voice(rate);
        let packet = rate as usize * usize::from(packet_time_ms(&format, &options)) / 1000;
        let mut heard = Vec::new();
        for samples in spoken.chunks_exact(packet) {
            let mut payload = Vec::new();
            for frame in samples.chunks_exact(encoder.frame_samples()) {
                encoder.encode(frame, &mut payload).unwrap_or_else(|error| panic!("{case}: {error}"));
            }
            assert!(octets == 0 || payload.len() == octets, "{case}: {} octets", payload.len());
            let before = heard.len();
            decoder.decode(&payload, &mut heard).unwrap_or_else(|error| panic!("{case}: {error}"));
            // The first packet of a codec with look-ahead may be shorter.
            assert!(before == 0 || heard.len() - before == packet, "{case}: {}", heard.len() - before);
        }
        let found = best_correlation(&spoken[rate as usize / 2..], &heard[rate as usize / 2..], rate);
        let change_db =
            20.0 * (level(&heard[rate as usize / 2..]) / level(&spoken[rate as usize / 2..])).log10();
        let verdict = format!("{case}: correlation {found:.3}, {change_db:.1} dB");
        println!("{verdict}");
        if found < least || change_db.abs() > 2.0 {
            wrong.push(verdict);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn payloads_that_are_no_frames_are_refused() {
    for (name, clock_rate, payloads) in [
        ("AMR", 8000, &[&[][..], &[0xf0], &[0xf0, 0x3c, 1]][..]),
        ("G723", 8000, &[&[], &[0; 23]]),
        ("G729", 8000, &[&[], &[0; 11], &[0; 9]]),
        ("iLBC", 8000, &[&[], &[0; 37], &[0; 51]]),
    ] {
        if !def::by_name(name).expect(name).can_decode() {
            continue;
        }
        let mut decoder = new_decoder(&PayloadFormat::new(96, name, clock_rate, 1)).expect(name);
        for payload in payloads {
            assert!(decoder.decode(payload, &mut Vec::new()).is_err(), "{name} {payload:?}");
        }
    }
}

#[test]
fn ilbc_follows_the_block_size() {
    if !def::by_name("iLBC").expect("iLBC").can_decode() {
        return;
    }
    let mut decoder = new_decoder(&PayloadFormat::new(96, "iLBC", 8000, 1)).expect("iLBC");
    for (octets, samples) in [(50, 240), (38, 160), (76, 320)] {
        let mut out = Vec::new();
        decoder.decode(&vec![0x35; octets], &mut out).expect("a block");
        assert_eq!(out.len(), samples);
    }
}

/// Two seconds of a vowel: a voice of 110 to 130 Hz with three formants, that swells and fades.
fn voice(rate: u32) -> Vec<i16> {
    let formant = |frequency: f64, at: f64, width: f64| 1.0 / (1.0 + ((frequency - at) / width).powi(2));
    (0..2 * rate)
        .map(|n| {
            let t = f64::from(n) / f64::from(rate);
            let phase = t * 120.0 + (t * 5.0).sin();
            let harmonic = |k: u32| {
                let f = 120.0 * f64::from(k);
                let gain = formant(f, 700.0, 90.0)
                    + 0.5 * formant(f, 1200.0, 110.0)
                    + 0.2 * formant(f, 2600.0, 160.0);
                gain * (phase * f64::from(k) * std::f64::consts::TAU + f64::from(k * k)).sin()
            };
            ((1..28).map(harmonic).sum::<f64>() * 3000.0 * (0.7 + 0.3 * (t * 3.0).sin())) as i16
        })
        .collect()
}

fn level(samples: &[i16]) -> f64 {
    let energy: f64 = samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
    (energy / samples.len() as f64).sqrt()
}

/// The greatest normalised correlation over delays of up to 60 ms.
fn best_correlation(spoken: &[i16], heard: &[i16], rate: u32) -> f64 {
    let window = rate as usize / 2;
    (0..rate as usize * 60 / 1000)
        .map(|delay| {
            let (a, b) = (&spoken[..window], &heard[delay..delay + window]);
            let dot: f64 = a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
            dot / (level(a) * level(b) * window as f64)
        })
        .fold(0.0, f64::max)
}

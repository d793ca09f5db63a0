//! What a thousand listeners of one announcement cost: encoders, and processor time beside an encoder for each.
//!
//! `cargo bench -p rtpengine --bench announcements`

use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::{EncoderOptions, PayloadFormat};
use media_store::library::{Library, LibrarySettings};
use rtpengine::negotiate::signal::MediaSource;
use rtpengine::play::encodings::Retention;
use rtpengine::play::{Form, Sources};

const LISTENERS: usize = 1000;
const SECONDS: u32 = 10;

fn main() {
    println!("announcement of {SECONDS} s, {LISTENERS} listeners that begin one after the other");
    println!("{:>8} {:>9} {:>14} {:>14} {:>7}", "codec", "encoders", "shared", "one each", "ratio");
    let formats = [
        PayloadFormat::new(8, "PCMA", 8000, 1),
        PayloadFormat::new(9, "G722", 8000, 1),
        PayloadFormat::new(96, "opus", 48_000, 2),
    ];
    for format in formats {
        let sources = Sources::new(
            Arc::new(Library::start(LibrarySettings::default()).expect("a library")),
            Retention::WhilePlayed,
        );
        let found = sources.find(&MediaSource::Blob(wav())).expect("found");
        let form = |start_pos| Form {
            format: format.clone(),
            options: EncoderOptions { ptime_ms: Some(20), ..EncoderOptions::default() },
            repeat_times: 1,
            repeat_duration: None,
            start_pos,
        };
        let listen = |listeners: usize, start_pos: Duration| {
            let began = Instant::now();
            let opened: Vec<_> =
                (0..listeners).map(|_| sources.open(&found, &form(start_pos)).expect("opened")).collect();
            let frames: usize = opened.into_iter().map(|opened| opened.drain()).sum();
            assert!(frames >= listeners * (SECONDS as usize * 50 - 1), "{frames} frames");
            began.elapsed()
        };
        let shared = listen(LISTENERS, Duration::ZERO);
        let encoders = sources.encodings().begun();
        // A listener that starts elsewhere has an encoder of its own.
        let own = listen(LISTENERS / 50, Duration::from_millis(1)) * 50;
        println!(
            "{:>8} {encoders:>9} {:>11.1} ms {:>11.1} ms {:>7.4}",
            format.name,
            shared.as_secs_f64() * 1000.0,
            own.as_secs_f64() * 1000.0,
            shared.as_secs_f64() / own.as_secs_f64()
        );
        assert_eq!(encoders, 1, "one encoder for all");
    }
}

/// A tone, 8 kHz, 16 bits.
fn wav() -> Vec<u8> {
    let samples = SECONDS * 8000;
    let mut out = Vec::new();
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + samples * 2).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
    out.extend_from_slice(&(samples * 2).to_le_bytes());
    for n in 0..samples {
        let sample = (f64::from(n) * 0.6).sin() * 8000.0;
        out.extend_from_slice(&(sample as i16).to_le_bytes());
    }
    out
}

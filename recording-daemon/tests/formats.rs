//! Other formats than WAV with the whole daemon: length, place, crash.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::relay::{FakeCall, talk};
use common::signal::{PACKET, Voice, lag, peak};
use common::{Bench, wait_for};

const START: Duration = Duration::ZERO;

/// Samples of a file as FFmpeg decodes them, one channel, 8 kHz.
fn decode(path: &Path) -> Vec<i16> {
    let output = std::process::Command::new("ffmpeg")
        .args(["-loglevel", "error", "-i"])
        .arg(path)
        .args(["-f", "s16le", "-ar", "8000", "-ac", "1", "-"])
        .output()
        .expect("ffmpeg");
    assert!(output.stderr.is_empty(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    output.stdout.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

const FORMATS: [(&str, &[&str]); 3] = [
    ("flac", &["--output-format=flac"]),
    ("opus", &["--output-format=opus", "--opus-bitrate=64000"]),
    ("mp3", &["--output-format=mp3", "--mp3-bitrate=64000"]),
];

#[test]
fn files_of_all_formats_are_as_long_as_the_call_and_in_step() {
    for (extension, options) in FORMATS {
        let bench = Bench::new();
        let report = bench.report_option();
        let _recorder = bench.start(&[options, &[report.as_str()]].concat());
        let (first, second) = (Voice::Noise { seed: 51 }, Voice::Noise { seed: 52 });
        let mut call = FakeCall::begin(&bench, "format", &[]);
        call.add_party("a");
        call.add_party("b");
        let mut packets = talk(0, 1, first, START, 200);
        packets.retain(|packet| !(100..140).contains(&packet.packet));
        packets.extend(talk(1, 2, second, Duration::from_millis(500), 60));
        call.speak(Instant::now(), packets);
        call.end();
        assert_eq!(bench.wait_for_report(), ("complete".into(), String::new()), "{extension}");
        let names = bench.names(|name| name.ends_with(extension));
        assert_eq!(names.len(), 3, "{names:?}");
        let mix = decode(&bench.file(&names[2]));
        assert!(mix.len().abs_diff(200 * PACKET) <= PACKET, "{extension}: {}", mix.len());
        assert!(lag(&mix, first, 40..80, 40 * PACKET).abs() <= 80, "{extension}");
        assert!(lag(&mix, first, 150..190, 150 * PACKET).abs() <= 80, "{extension}");
        assert!(lag(&mix, second, 10..50, 35 * PACKET).abs() <= 80, "{extension}");
        assert!(peak(&mix[105 * PACKET..135 * PACKET]) < 30, "{extension}: silence for what was not sent");
        let single = decode(&bench.file(&names[0]));
        assert!(single.len().abs_diff(160 * PACKET) <= PACKET, "{extension}: {}", single.len());
        assert_eq!(bench.query("SELECT DISTINCT file_format FROM recording_streams"), [extension]);
    }
}

#[test]
fn a_crash_costs_a_part_of_compressed_files_but_not_their_timeline() {
    for (extension, options) in FORMATS {
        let bench = Bench::new();
        let report = bench.report_option();
        let options = [options, &[report.as_str()]].concat();
        let recorder = bench.start(&options);
        let voice = Voice::Noise { seed: 53 };
        let mut call = FakeCall::begin(&bench, "crash", &[]);
        call.add_party("a");
        let packets = talk(0, 1, voice, START, 400);
        let start = Instant::now();
        call.speak(start, packets[..200].to_vec());
        wait_for("files", || bench.names(|name| name.ends_with(extension)).len() == 2);
        recorder.kill();
        call.speak(start, packets[200..230].to_vec());
        let _recorder = bench.start(&options);
        call.speak(start, packets[230..].to_vec());
        call.end();
        let (state, reasons) = bench.wait_for_report();
        assert_eq!((state.as_str(), reasons.as_str()), ("partial", "the recording daemon was interrupted"));
        let names = bench.names(|name| name.ends_with(extension));
        assert_eq!(names.len(), 2, "{names:?}");
        let mix = decode(&bench.file(&names[1]));
        assert!(mix.len().abs_diff(400 * PACKET) <= 2 * PACKET, "{extension}: {}", mix.len());
        for from in [20, 250, 350] {
            assert!(lag(&mix, voice, from..from + 40, from * PACKET).abs() <= 80, "{extension}: {from}");
        }
    }
}

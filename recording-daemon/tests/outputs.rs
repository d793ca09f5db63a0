//! What is in the files: lengths, places on the timeline, levels, rows.

mod common;

use std::time::{Duration, Instant};

use common::relay::{FakeCall, L16, Spoken, talk};
use common::signal::{PACKET, Voice, lag, peak};
use common::{Bench, wait_for};

const MS: Duration = Duration::from_millis(1);
const START: Duration = Duration::ZERO;
/// 10 ms in samples.
const EXACT: i64 = 80;
/// 20 ms in samples.
const LENGTH: usize = 160;

fn assert_length(frames: usize, expected: usize) {
    assert!(frames.abs_diff(expected) <= LENGTH, "{frames} frames instead of {expected}");
}

/// The call of the recording samples: 440 Hz with a pause, and 1000 Hz that joins later, with a swap and a loss.
fn sample_call() -> Vec<Spoken> {
    let first = Voice::Tone { hertz: 440.0, amplitude: 8000.0 };
    let second = Voice::Tone { hertz: 1000.0, amplitude: 8000.0 };
    let mut packets = talk(0, 0xaaaa_0001, first, START, 150);
    packets.retain(|packet| !(60..85).contains(&packet.packet));
    for packet in &mut packets[60..] {
        packet.sequence_number -= 25;
    }
    let mut other = talk(1, 0xbbbb_0002, second, 400 * MS, 130);
    let (a, b) = (other[50].at, other[51].at);
    (other[50].at, other[51].at) = (b, a);
    other.remove(70);
    packets.extend(other);
    packets
}

#[test]
fn sample_call_gives_the_documented_files_and_rows() {
    let bench = Bench::new();
    let recorder = bench.start(&[]);
    let mut call = FakeCall::begin(&bench, "call-9@host", &[("METADATA", "caller:alice|callee:bob")]);
    call.add_party("labA");
    call.add_party("labB");
    call.speak(Instant::now(), sample_call());
    call.end();
    bench.wait_until_finished();
    let expected = ["aaaa0001", "bbbb0002", "mix"].map(|t| format!("call-9%40host-0011223344556677-{t}.wav"));
    assert_eq!(bench.files(), expected);

    let first = bench.wav("aaaa0001.wav");
    assert_eq!((first.sample_rate, first.channels, first.frames()), (8000, 1, 20_000));
    assert_eq!(bench.wav("bbbb0002.wav").frames(), 20_640);
    assert!((7900..=8100).contains(&peak(&first.samples)));

    let mix = bench.wav("mix.wav");
    assert_eq!((mix.sample_rate, mix.channels), (8000, 1));
    assert_length(mix.frames(), 24_000);
    assert!(peak(&mix.samples[..3000]) > 7800, "a lone speaker is at full level");
    let alone_but_two_count = peak(&mix.samples[61 * PACKET + EXACT as usize..84 * PACKET]);
    assert!((3900..=4100).contains(&alone_but_two_count), "{alone_but_two_count}");
    let lost = (20 + 70) * PACKET;
    assert!(peak(&mix.samples[lost..lost + PACKET]) < 4200, "silence for the lost packet, 440 Hz goes on");

    wait_for("completed rows", || bench.query("SELECT status FROM recording_calls") == ["completed"]);
    let rows = bench.query(
        "SELECT s.local_filename || ' ' || s.output_type || ' ' || s.stream_id || ' ' || s.ssrc || ' ' || s.tag_label || \
         ' ' || s.sample_rate || ' ' || s.channels || ' ' || (s.end_timestamp > s.start_timestamp) || ' ' || \
         (c.end_timestamp >= s.end_timestamp) FROM recording_streams s JOIN recording_calls c ON c.id = s.call \
         ORDER BY s.local_filename",
    );
    assert_eq!(
        rows,
        [
            format!("{} single 0 2863267841 labA 8000 1 1 1", expected[0]),
            format!("{} single 1 3149594626 labB 8000 1 1 1", expected[1]),
            format!("{} mixed 0 0  8000 1 1 1", expected[2]),
        ]
    );
    let pairs = bench.query("SELECT \"key\" || '=' || value FROM recording_metakeys ORDER BY id");
    assert_eq!(pairs, ["caller=alice", "callee=bob"]);
    assert!(recorder.terminate().success());
}

#[test]
fn with_channels_each_speaker_has_one_at_full_level_and_the_rest_are_silent() {
    let bench = Bench::new();
    let recorder = bench.start(&["--mix-method=channels", "--output-mixed"]);
    let mut call = FakeCall::begin(&bench, "channels", &[]);
    call.add_party("labA");
    call.add_party("labB");
    call.speak(Instant::now(), sample_call());
    call.end();
    bench.wait_until_finished();
    let mix = bench.wav("mix.wav");
    assert_eq!((mix.sample_rate, mix.channels), (8000, 4));
    assert_length(mix.frames(), 24_000);
    let peaks: Vec<u16> = (0..4).map(|channel| peak(&mix.channel(channel))).collect();
    assert!(peaks[..2].iter().all(|peak| (7800..=8200).contains(peak)) && peaks[2..] == [0, 0], "{peaks:?}");
    let name = bench.files().remove(0);
    let header = std::fs::read(bench.file(&name)).expect("file");
    assert_eq!(header[20..22], 0xfffe_u16.to_le_bytes(), "the extensible form");
    assert_eq!(header[40..44], 0x107_u32.to_le_bytes(), "front left, right, centre, back centre");
    assert!(recorder.terminate().success());
}

#[test]
fn late_joiner_starts_late_in_the_mix() {
    let bench = Bench::new();
    let _recorder = bench.start(&[]);
    let (first, second) = (Voice::Noise { seed: 1 }, Voice::Noise { seed: 2 });
    let mut call = FakeCall::begin(&bench, "late", &[]);
    call.add_party("");
    let start = Instant::now();
    let both = |from: usize, to: usize| {
        let mut packets = talk(0, 1, first, START, 150)[from..to].to_vec();
        packets.extend(talk(1, 2, second, 1600 * MS, 70).into_iter().filter(|_| from > 0));
        packets
    };
    call.speak(start, both(0, 60));
    call.add_party("");
    call.speak(start, both(60, 150));
    call.end();
    bench.wait_until_finished();
    let mix = bench.wav("mix.wav");
    assert_length(mix.frames(), 24_000);
    assert!(lag(&mix.samples, first, 10..40, 10 * PACKET).abs() <= EXACT);
    assert!(lag(&mix.samples, first, 110..140, 110 * PACKET).abs() <= EXACT);
    assert!(lag(&mix.samples, second, 10..50, 90 * PACKET).abs() <= EXACT);
}

#[test]
fn sequence_wrap_and_new_ssrc_keep_the_timeline() {
    let bench = Bench::new();
    let _recorder = bench.start(&[]);
    let (first, second) = (Voice::Noise { seed: 3 }, Voice::Noise { seed: 4 });
    let mut call = FakeCall::begin(&bench, "wrap", &[]);
    call.add_party("a");
    let mut packets = talk(0, 1, first, START, 80);
    for (n, packet) in packets.iter_mut().enumerate() {
        packet.sequence_number = 65_500_u16.wrapping_add(n as u16);
        packet.timestamp = (u32::MAX - 6000).wrapping_add((n * PACKET) as u32);
    }
    packets.extend(talk(0, 2, second, 1800 * MS, 60));
    call.speak(Instant::now(), packets);
    call.end();
    bench.wait_until_finished();
    assert_eq!(bench.wav("00000001.wav").frames(), 80 * PACKET);
    assert_eq!(bench.wav("00000002.wav").frames(), 60 * PACKET);
    let mix = bench.wav("mix.wav");
    assert_length(mix.frames(), 150 * PACKET);
    assert!(lag(&mix.samples, first, 50..80, 50 * PACKET).abs() <= EXACT);
    assert!(lag(&mix.samples, second, 10..50, 100 * PACKET).abs() <= EXACT);
    assert_eq!(peak(&mix.samples[81 * PACKET + 80..89 * PACKET - 80]), 0, "silence where there was silence");
}

#[test]
fn another_codec_in_mid_call_goes_on_in_the_same_files() {
    let bench = Bench::new();
    let _recorder = bench.start(&[]);
    let voice = Voice::Noise { seed: 8 };
    let mut call = FakeCall::begin(&bench, "codec", &[]);
    call.add_party("a");
    let mut packets = talk(0, 1, voice, START, 130);
    for packet in &mut packets[50..100] {
        packet.payload_type = L16;
        packet.timestamp = 70_000 + 320 * packet.packet as u32;
    }
    call.speak(Instant::now(), packets);
    call.end();
    bench.wait_until_finished();
    let single = bench.wav("00000001.wav");
    assert_eq!((single.sample_rate, single.channels), (8000, 1));
    assert_length(single.frames(), 130 * PACKET);
    let mix = bench.wav("mix.wav");
    assert_length(mix.frames(), 130 * PACKET);
    for from in [10, 60, 110] {
        assert!(lag(&single.samples, voice, from..from + 20, from * PACKET).abs() <= EXACT, "single, {from}");
        assert!(lag(&mix.samples, voice, from..from + 20, from * PACKET).abs() <= EXACT, "mix, {from}");
    }
}

#[test]
fn a_pause_shortens_the_single_file_and_is_silence_in_the_mix() {
    let bench = Bench::new();
    let _recorder = bench.start(&["--mix-method=channels", "--resample-to=16000"]);
    let voice = Voice::Noise { seed: 5 };
    let mut call = FakeCall::begin(&bench, "pause", &[]);
    call.add_party("a");
    let packets = talk(0, 1, voice, START, 150);
    let start = Instant::now();
    call.speak(start, packets[..50].to_vec());
    call.write(&[("RECORDING 0", ""), ("FORWARDING 0", "")]);
    call.speak(start, packets[50..100].to_vec());
    call.write(&[("RECORDING 1", ""), ("FORWARDING 0", "")]);
    call.speak(start, packets[100..].to_vec());
    call.end();
    bench.wait_until_finished();
    let single = bench.wav("00000001.wav");
    assert_eq!(single.sample_rate, 16_000);
    assert_length(single.frames() / 2, 100 * PACKET);
    let mix = bench.wav("mix.wav");
    assert_eq!((mix.sample_rate, mix.channels), (16_000, 4));
    assert_length(mix.frames() / 2, 150 * PACKET);
    let channel: Vec<i16> = mix.channel(0).into_iter().step_by(2).collect();
    assert_eq!(peak(&channel[53 * PACKET..97 * PACKET]), 0);
    assert!(lag(&channel, voice, 110..140, 110 * PACKET).abs() <= EXACT);
    assert_eq!(peak(&mix.channel(1)), 0);
}

#[test]
fn a_discarded_call_leaves_nothing() {
    let bench = Bench::new();
    let recorder = bench.start(&[&bench.report_option()]);
    let mut call = FakeCall::begin(&bench, "discard", &[]);
    call.add_party("a");
    call.speak(Instant::now(), talk(0, 1, Voice::Noise { seed: 6 }, START, 60));
    wait_for("files", || bench.files().len() == 2);
    wait_for("rows", || bench.query("SELECT id FROM recording_streams").len() == 2);
    call.discard();
    wait_for("no files", || bench.files().is_empty());
    wait_for("no rows", || bench.query("SELECT COUNT(*) FROM recording_calls") == ["0"]);
    assert_eq!(bench.wait_for_report(), ("discarded".into(), String::new()));
    assert!(recorder.terminate().success());
}

#[test]
fn names_from_signalling_and_directories_are_used() {
    let bench = Bench::new();
    let _recorder = bench.start(&[
        "--output-pattern=%2/%c-%t",
        "--output-single",
        "--output-chmod=0640",
        "--output-chmod-dir=0750",
    ]);
    let mut plain = FakeCall::begin(&bench, "plain", &[]);
    plain.add_party("a");
    let mut named = FakeCall::begin(&bench, "named", &[("RECORDING_FILE", "as-told")]);
    named.add_party("a");
    let start = Instant::now();
    for packet in talk(0, 7, Voice::Noise { seed: 7 }, START, 20) {
        plain.speak(start, vec![packet]);
        named.send(&packet);
    }
    plain.end();
    named.end();
    bench.wait_until_finished();
    assert_eq!(bench.wav("as-told.wav").frames(), 20 * PACKET);
    let path = bench.file("pl/plain-00000007.wav");
    assert_eq!(common::wav::Wav::read(&path).frames(), 20 * PACKET);
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &std::path::Path| path.metadata().expect("metadata").permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(&bench.file("pl"))), (0o640, 0o750));
    assert_eq!(bench.files(), ["as-told.wav"], "no mixed files");
}

//! The recording daemon comes late, is killed or is stopped in the middle of a call.

mod common;

use std::time::{Duration, Instant};

use common::relay::{FakeCall, talk};
use common::signal::{PACKET, Voice, lag};
use common::{Bench, wait_for};

const MS: Duration = Duration::from_millis(1);
const START: Duration = Duration::ZERO;
const EXACT: i64 = 80;

#[test]
fn a_call_that_began_before_the_recorder_is_recorded_from_its_beginning() {
    let bench = Bench::new();
    let (first, second) = (Voice::Noise { seed: 11 }, Voice::Noise { seed: 12 });
    let mut call = FakeCall::begin(&bench, "early", &[]);
    call.without_stamps();
    call.add_party("a");
    call.add_party("b");
    let mut packets = talk(0, 1, first, START, 150);
    packets.extend(talk(1, 2, second, 600 * MS, 120));
    packets.sort_by_key(|packet| packet.at);
    let (before, after) = packets.split_at(packets.partition_point(|packet| packet.at < 1500 * MS));
    let start = Instant::now();
    call.speak(start, before.to_vec());
    let _recorder = bench.start(&[]);
    call.speak(start, after.to_vec());
    call.end();
    bench.wait_until_finished();
    assert_eq!(bench.wav("00000001.wav").frames(), 150 * PACKET);
    assert_eq!(bench.wav("00000002.wav").frames(), 120 * PACKET);
    let mix = bench.wav("mix.wav");
    assert!(mix.frames().abs_diff(150 * PACKET) <= PACKET, "{}", mix.frames());
    assert!(lag(&mix.samples, first, 10..40, 10 * PACKET).abs() <= EXACT);
    assert!(lag(&mix.samples, second, 10..40, 40 * PACKET).abs() <= EXACT);
}

#[test]
fn a_killed_recorder_goes_on_with_the_same_files() {
    let bench = Bench::new();
    let recorder = bench.start(&[]);
    let (first, second) = (Voice::Noise { seed: 13 }, Voice::Noise { seed: 14 });
    let mut call = FakeCall::begin(&bench, "killed", &[("METADATA", "k:v")]);
    call.add_party("a");
    call.add_party("b");
    let mut packets = talk(0, 1, first, START, 350);
    packets.extend(talk(1, 2, second, 200 * MS, 340));
    packets.sort_by_key(|packet| packet.at);
    let cut = |at: u32| packets.partition_point(|packet| packet.at < at * MS);
    let start = Instant::now();
    call.speak(start, packets[..cut(3000)].to_vec());
    recorder.kill();
    // What the dead one left can be played to its last second.
    for (ending, least) in [("00000001.wav", 100), ("00000002.wav", 90), ("mix.wav", 100)] {
        let frames = bench.wav(ending).frames();
        assert!(frames >= least * PACKET, "{ending}: {frames}");
    }
    call.speak(start, packets[cut(3000)..cut(4200)].to_vec());
    let recorder = bench.start(&[]);
    call.speak(start, packets[cut(4200)..].to_vec());
    call.end();
    bench.wait_until_finished();
    assert_eq!(bench.files().len(), 3, "{:?}", bench.files());
    let second_lost = 50 * PACKET;
    for (ending, packets) in [("00000001.wav", 350), ("00000002.wav", 340)] {
        let frames = bench.wav(ending).frames();
        assert!(frames + second_lost >= packets * PACKET && frames <= packets * PACKET, "{ending}: {frames}");
    }
    let mix = bench.wav("mix.wav");
    assert!(mix.frames().abs_diff(350 * PACKET) <= PACKET, "{}", mix.frames());
    for (voice, offset) in [(first, 0), (second, 10)] {
        for from in [20, 60, 160, 230, 300] {
            let lag = lag(&mix.samples, voice, from..from + 30, (from + offset) * PACKET);
            assert!(lag.abs() <= EXACT, "packet {from} lies {lag} samples off");
        }
    }
    let calls = bench.query("SELECT status FROM recording_calls");
    assert_eq!(calls, ["completed"]);
    let open = bench.query("SELECT COUNT(*) || ' ' || COUNT(end_timestamp) FROM recording_streams");
    assert_eq!(open, ["3 3"]);
    assert_eq!(bench.query("SELECT COUNT(*) FROM recording_metakeys"), ["1"]);
    assert!(recorder.terminate().success());
}

#[test]
fn a_recorder_that_is_killed_as_soon_as_a_file_is_there_goes_on_with_it() {
    let bench = Bench::new();
    let recorder = bench.start(&["--output-single"]);
    let mut call = FakeCall::begin(&bench, "at-once", &[]);
    call.add_party("a");
    let start = Instant::now();
    // Nine sources, one after the other.
    let one = |ssrc: u32| talk(0, ssrc, Voice::Noise { seed: 18 }, ssrc * 20 * MS, 1);
    call.speak(start, (1..=9).flat_map(one).collect());
    wait_for("the last file", || bench.files().len() == 9);
    recorder.kill();
    let recorder = bench.start(&["--output-single"]);
    // All of them but the last, which came to be in these microseconds, say more.
    call.speak(
        start,
        (1..=8).flat_map(|ssrc| talk(0, ssrc, Voice::Noise { seed: 19 }, 400 * MS, 1)).collect(),
    );
    call.end();
    bench.wait_until_finished();
    let files = bench.files();
    let of = |ssrc: u32| files.iter().filter(|file| file.contains(&format!("-{ssrc:08x}"))).count();
    assert!((1..=8).all(|ssrc| of(ssrc) == 1), "{files:?}");
    assert!(recorder.terminate().success());
}

/// Parties choose their SSRCs without knowing of each other (RFC 3550 section 8.2); some always have the same.
#[test]
fn parties_with_the_same_ssrc_are_two_speakers_also_after_an_interruption() {
    let bench = Bench::new();
    let recorder = bench.start(&["--mix-method=channels"]);
    let (first, second) = (Voice::Noise { seed: 21 }, Voice::Noise { seed: 22 });
    let mut call = FakeCall::begin(&bench, "same", &[("EXPOSED ONCE", "")]);
    call.add_party("a");
    call.add_party("b");
    let mut packets = talk(0, 7, first, START, 200);
    let other = talk(1, 7, second, 200 * MS, 190);
    // Other numbers, as those of another stream are.
    packets.extend(other.into_iter().map(|mut packet| {
        packet.sequence_number = packet.sequence_number.wrapping_add(30);
        packet.timestamp = packet.timestamp.wrapping_add(90_000);
        packet
    }));
    packets.sort_by_key(|packet| packet.at);
    let (before, after) = packets.split_at(packets.partition_point(|packet| packet.at < 2000 * MS));
    let start = Instant::now();
    call.speak(start, before.to_vec());
    recorder.kill();
    let recorder = bench.start(&["--mix-method=channels"]);
    call.speak(start, after.to_vec());
    call.end();
    bench.wait_until_finished();
    assert_eq!(bench.files().len(), 3, "{:?}", bench.files());
    let lost = 50 * PACKET;
    for (ending, packets) in [("00000007.wav", 200), ("00000007-1.wav", 190)] {
        let frames = bench.wav(ending).frames();
        assert!((packets * PACKET - lost..=packets * PACKET).contains(&frames), "{ending}: {frames}");
    }
    let mix = bench.wav("mix.wav");
    for (channel, voice, begins) in [(0, first, 0), (1, second, 10)] {
        for from in [20, 150] {
            let lag = lag(&mix.channel(channel), voice, from..from + 30, (from + begins) * PACKET);
            assert!(lag.abs() <= EXACT, "channel {channel}, packet {from} lies {lag} samples off");
        }
    }
    assert!(recorder.terminate().success());
}

#[test]
fn a_call_that_ends_while_the_recorder_is_dead_is_completed() {
    let bench = Bench::new();
    let recorder = bench.start(&[]);
    let mut call = FakeCall::begin(&bench, "orphan", &[]);
    call.add_party("a");
    call.speak(Instant::now(), talk(0, 1, Voice::Noise { seed: 15 }, START, 100));
    recorder.kill();
    call.abandon();
    assert_eq!(bench.query("SELECT status FROM recording_calls"), ["recording"]);
    let recorder = bench.start(&[]);
    bench.wait_until_finished();
    assert!(bench.wav("00000001.wav").frames() >= 50 * PACKET);
    assert!(bench.wav("mix.wav").frames() >= 50 * PACKET);
    assert_eq!(bench.query("SELECT status FROM recording_calls"), ["completed"]);
    assert_eq!(bench.query("SELECT COUNT(end_timestamp) FROM recording_streams"), ["2"]);
    assert!(recorder.terminate().success());
}

#[test]
fn a_stopped_recorder_completes_everything() {
    let bench = Bench::new();
    let recorder = bench.start(&[]);
    let mut call = FakeCall::begin(&bench, "stopped", &[]);
    call.add_party("a");
    call.speak(Instant::now(), talk(0, 1, Voice::Noise { seed: 16 }, START, 75));
    wait_for("the files", || bench.files().len() == 2);
    assert!(recorder.terminate().success());
    assert_eq!(bench.wav("00000001.wav").frames(), 75 * PACKET);
    assert!(bench.wav("mix.wav").frames().abs_diff(75 * PACKET) <= PACKET);
    assert_eq!(bench.query("SELECT status FROM recording_calls"), ["completed"]);
    call.abandon();
}

#[test]
fn a_database_that_cannot_be_written_costs_only_the_rows() {
    let bench = Bench::new();
    let recorder = bench.start(&["--sqlite-db=/proc/nowhere/recordings.sqlite3"]);
    let mut call = FakeCall::begin(&bench, "no-rows", &[]);
    call.add_party("a");
    call.speak(Instant::now(), talk(0, 1, Voice::Noise { seed: 17 }, START, 75));
    call.end();
    assert!(recorder.terminate().success());
    assert_eq!(bench.wav("00000001.wav").frames(), 75 * PACKET);
}

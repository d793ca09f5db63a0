//! The recording daemon behind the real recorder of the relay daemon: the contract of `docs/recording.md`, both sides.

mod common;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::Bench;
use common::signal::{PACKET, Voice, lag};
use common::wav::Wav;
use rtpengine::config::{PcapFormat, RecordDirection, RecordingConfig, RecordingMethod};
use rtpengine::media::tap::{self, Producer, TapDirection, TapRecord};
use rtpengine::record::{
    CallDescription, RecordedMedia, RecordedStream, RecordedTag, Recorder, Recording, RecordingDetails,
    RecordingEnd, RecordingFlags, RecordingStart,
};

const CALLS: u64 = 20;
const PACKETS: usize = 300;
const VOICES: [Voice; 2] = [Voice::Noise { seed: 21 }, Voice::Noise { seed: 22 }];

fn begin(recorder: &Recorder, number: u64) -> Recording {
    let start = RecordingStart {
        call_id: format!("relay-{number}"),
        created: SystemTime::now(),
        prefix: None,
        flags: RecordingFlags { recording: true, forwarding: false },
        details: RecordingDetails::default(),
    };
    let recording = recorder.begin(start).expect("a recording");
    let party = |n: u32| RecordedTag { number: n, tag: format!("t{n}"), label: None, metadata: None };
    let media = |n: u32| RecordedMedia { number: n + 1, ptime_ms: 20, formats: Vec::new() };
    let stream = |n: u32| RecordedStream {
        number: n,
        stream: number * 2 + u64::from(n),
        tag: n,
        media: n + 1,
        media_index: 1,
        component: 1,
        rtcp_only: false,
        flags: 0,
        slot: 1,
        slots: 1,
    };
    let both = [0, 1];
    recording.describe(CallDescription {
        tags: both.map(party).into(),
        media: both.map(media).into(),
        streams: both.map(stream).into(),
    });
    recording
}

fn send(tap: &mut Producer, recording: &Recording, number: u64, leg: u64, n: usize) {
    let mut packet = [0; 12 + PACKET];
    let mut header = [0; 12];
    codec::rtp::write_header(&mut header, n == 0, 0, n as u16, (n * PACKET) as u32, leg as u32 + 1);
    packet[..12].copy_from_slice(&header);
    packet[12..].copy_from_slice(&VOICES[leg as usize].payload(n));
    let pushed = tap.push(TapRecord {
        recording: recording.id(),
        stream: number * 2 + leg,
        direction: TapDirection::Ingress,
        time_us: SystemTime::now().duration_since(UNIX_EPOCH).expect("time").as_micros() as u64,
        source: "127.0.0.1:4000".parse().expect("address"),
        destination: "127.0.0.1:30000".parse().expect("address"),
        payload: &packet,
    });
    assert!(pushed, "the ring is full");
}

#[test]
fn a_recorder_killed_and_restarted_loses_less_than_a_second() {
    let bench = Bench::new();
    let (mut tap, consumer) = tap::ring(4 << 20);
    let config = RecordingConfig {
        dir: Some(bench.spool.path().into()),
        method: RecordingMethod::Proc,
        format: PcapFormat::Raw,
        direction: RecordDirection::Ingress,
        spill_octets: 64 << 20,
    };
    let relay = Recorder::start(&config, vec![consumer]).expect("relay");
    let mut recorder = Some(bench.start(&[]));
    let calls: Vec<Recording> = (0..CALLS).map(|number| begin(&relay, number)).collect();
    let start = Instant::now();
    for n in 0..PACKETS {
        std::thread::sleep(
            (start + Duration::from_millis(20) * n as u32).saturating_duration_since(Instant::now()),
        );
        for (number, recording) in (0..).zip(&calls) {
            for leg in 0..2 {
                send(&mut tap, recording, number, leg, n);
            }
        }
        match n {
            130 => recorder.take().expect("running").kill(),
            180 => recorder = Some(bench.start(&[])),
            _ => {}
        }
    }
    for recording in calls {
        recording.finish(RecordingEnd::Keep, SystemTime::now());
    }
    bench.wait_until_finished();
    assert_eq!(bench.files().len(), CALLS as usize * 3);
    let expected = PACKETS * PACKET;
    for name in bench.files() {
        let wav = Wav::read(&bench.file(&name));
        if name.ends_with("-mix.wav") {
            assert!(wav.frames().abs_diff(expected) <= PACKET, "{name}: {}", wav.frames());
            if name.contains("relay-0-") {
                for from in [20, 60, 150, 200, 250] {
                    for voice in VOICES {
                        let lag = lag(&wav.samples, voice, from..from + 25, from * PACKET);
                        assert!(lag.abs() <= 80, "packet {from} lies {lag} samples off");
                    }
                }
            }
        } else {
            assert!(wav.frames() + 50 * PACKET >= expected, "{name}: {}", wav.frames());
            assert!(wav.frames() <= expected + 5 * PACKET, "{name}: {}", wav.frames());
        }
    }
    assert_eq!(bench.query("SELECT DISTINCT status FROM recording_calls"), ["completed"]);
    assert!(recorder.expect("running").terminate().success());
    relay.shutdown();
}

//! Many calls at once. Takes long: `cargo nextest run -p recording-daemon --run-ignored only`.

mod common;

use std::time::{Duration, Instant};

use common::Bench;
use common::relay::{FakeCall, Spoken};
use common::signal::{PACKET, Voice};
use common::wav::Wav;

const CALLS: u32 = 200;
const PACKETS: usize = 1000;

#[test]
#[ignore = "takes half a minute and all processors"]
fn two_hundred_calls_are_complete_even_when_the_recorder_is_killed() {
    let bench = Bench::new();
    let mut recorder = bench.start(&[]);
    let mut calls: Vec<FakeCall> = (0..CALLS)
        .map(|n| {
            let mut call = FakeCall::begin(&bench, &format!("load-{n}"), &[]);
            call.add_party("a");
            call.add_party("b");
            call
        })
        .collect();
    let start = Instant::now();
    let payload = Voice::Noise { seed: 1 };
    for n in 0..PACKETS {
        let at = Duration::from_millis(20) * n as u32;
        std::thread::sleep((start + at).saturating_duration_since(Instant::now()));
        for (number, call) in calls.iter_mut().enumerate() {
            for stream in 0..2 {
                let ssrc = number as u32 * 2 + stream as u32 + 1;
                let timestamp = (n * PACKET) as u32;
                call.send(&Spoken {
                    stream,
                    ssrc,
                    voice: payload,
                    packet: n % 50,
                    sequence_number: n as u16,
                    timestamp,
                    payload_type: 0,
                    at,
                });
            }
        }
        if n == PACKETS / 2 {
            recorder.kill();
            recorder = bench.start(&[]);
        }
    }
    println!(
        "processor time of the second recorder for {} s: {:?}",
        PACKETS / 100,
        recorder.processor_time()
    );
    for call in calls {
        call.end();
    }
    bench.wait_until_finished();
    let second = 8000;
    for name in bench.files() {
        let frames = Wav::read(&bench.file(&name)).frames();
        let expected = PACKETS * PACKET;
        if name.ends_with("-mix.wav") {
            assert!(frames.abs_diff(expected) <= PACKET, "{name}: {frames}");
        } else {
            assert!(frames + second >= expected && frames <= expected, "{name}: {frames}");
        }
    }
    assert_eq!(bench.files().len(), CALLS as usize * 3);
    assert_eq!(
        bench.query("SELECT COUNT(*) FROM recording_calls WHERE status = 'completed'"),
        [CALLS.to_string()]
    );
    assert!(recorder.terminate().success());
}

//! Many calls at once. Takes long: `make load-recorder`, which sets how many calls (`LOAD_CALLS`), for how many seconds
//! (`LOAD_SECONDS`), and the optimised daemon (`RECORDER`).

mod common;

use std::time::{Duration, Instant};

use common::relay::{FakeCall, Spoken};
use common::signal::{PACKET, Voice};
use common::wav::Wav;
use common::{Bench, Recorder};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Samples of silence at the end of a mix whose call was ended late.
const LATE_END: usize = 15 * 8000;

struct Load {
    bench: Bench,
    calls: Vec<FakeCall>,
    packets: usize,
}

impl Load {
    fn new(packets: usize) -> Self {
        let bench = Bench::new();
        let calls = (0..number("LOAD_CALLS", 200))
            .map(|n| {
                let mut call = FakeCall::begin(&bench, &format!("load-{n}"), &[]);
                call.add_party("a");
                call.add_party("b");
                call.stamp_from(std::time::SystemTime::now());
                call
            })
            .collect();
        Self { bench, calls, packets }
    }

    /// Sends packets `from..to` at their times.
    fn speak(&mut self, start: Instant, from: usize, to: usize) {
        for n in from..to {
            let at = Duration::from_millis(20) * n as u32;
            std::thread::sleep((start + at).saturating_duration_since(Instant::now()));
            for (number, call) in self.calls.iter_mut().enumerate() {
                for stream in 0..2 {
                    call.send(&Spoken {
                        stream,
                        ssrc: (number * 2 + stream + 1) as u32,
                        voice: Voice::Noise { seed: 1 },
                        packet: n % 50,
                        sequence_number: n as u16,
                        timestamp: (n * PACKET) as u32,
                        payload_type: 0,
                        at,
                    });
                }
            }
        }
    }

    /// Ends all calls and checks all files; singles may miss so many packets.
    fn check(self, recorder: Recorder, missing: usize) {
        let count = self.calls.len();
        for call in self.calls {
            call.end();
        }
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.bench.reports().len() < count {
            assert!(Instant::now() < deadline, "{} of {count} reports", self.bench.reports().len());
            std::thread::sleep(Duration::from_millis(100));
        }
        let expected = self.packets * PACKET;
        let files = self.bench.files();
        for name in &files {
            let frames = Wav::read(&self.bench.file(name)).frames();
            if name.ends_with("-mix.wav") {
                // So many calls do not end at the same moment: what follows the audio is silence.
                assert!(frames + PACKET >= expected && frames <= expected + LATE_END, "{name}: {frames}");
            } else {
                assert!(frames + missing * PACKET >= expected && frames <= expected, "{name}: {frames}");
            }
        }
        assert_eq!(files.len(), count * 3);
        let completed = "SELECT COUNT(*) FROM recording_calls WHERE status = 'completed'";
        assert_eq!(self.bench.query(completed), [count.to_string()]);
        let state = if missing == 0 { "complete" } else { "partial" };
        assert!(self.bench.reports().iter().all(|(reported, _)| reported == state));
        assert!(recorder.terminate().success());
    }
}

#[test]
#[ignore = "takes a minute and all processors"]
fn all_packets_of_many_calls_are_recorded_with_constant_threads_and_descriptors() {
    let seconds = number("LOAD_SECONDS", 30).max(10);
    let mut load = Load::new(seconds * 50);
    let recorder = load.bench.start(&[&load.bench.report_option()]);
    let start = Instant::now();
    load.speak(start, 0, 300);
    let (before, busy) = (recorder.threads_and_descriptors(), recorder.processor_time());
    load.speak(start, 300, seconds * 50);
    let (after, busy) = (recorder.threads_and_descriptors(), recorder.processor_time() - busy);
    let calls = load.calls.len();
    let share = busy.as_secs_f64() / (seconds - 6) as f64 / calls as f64;
    println!(
        "{calls} calls: {:.3} % of a processor a call; (threads, descriptors) {before:?} → {after:?}",
        share * 100.0
    );
    assert_eq!(before, after);
    load.check(recorder, 0);
}

#[test]
#[ignore = "takes half a minute and all processors"]
fn many_calls_survive_a_recorder_that_is_killed() {
    let mut load = Load::new(1000);
    let options = [load.bench.report_option()];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let recorder = load.bench.start(&options);
    let start = Instant::now();
    load.speak(start, 0, 500);
    recorder.kill();
    let recorder = load.bench.start(&options);
    load.speak(start, 500, 1000);
    load.check(recorder, 50);
}

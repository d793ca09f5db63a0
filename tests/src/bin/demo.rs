//! One call, end to end, on loopback: two parties that speak, two codecs, an announcement, a recording.
//!
//! `demo [--output FOLDER]`. Exit status 1 when the call did not turn out as it should.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use e2e::call::{Call, Setup};
use e2e::daemon::{Recorder, Relay};
use e2e::files::Closed;
use e2e::rtp::{self, Quality, Received};
use e2e::speech::{self, Speaker};
use e2e::{sdp, signal, wav, waveform};
use serde_json::{Value, json};

const PCMU: &str = "0 PCMU/8000";
const OPUS: &str = "96 opus/48000/2 useinbandfec=1";
/// When each speaker begins, seconds after the first packet.
const CALLER_AT: f64 = 0.5;
const CALLEE_AT: f64 = 5.5;
const ANNOUNCEMENT_AT: f64 = 11.0;
const LENGTH: f64 = 15.0;

fn main() -> ExitCode {
    let started = Instant::now();
    let mut arguments = std::env::args().skip(1);
    let mut output = PathBuf::from("target/demo");
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--output", Some(folder)) => output = folder.into(),
            _ => {
                eprintln!("usage: demo [--output FOLDER]");
                return ExitCode::from(2);
            }
        }
    }
    let _ = std::fs::remove_dir_all(&output);
    std::fs::create_dir_all(&output).expect("the output folder can be made");
    let demo = run(&output);
    report(&demo, &output);
    let failed = demo.checks.iter().filter(|check| !check.passed).count();
    println!("\n{} checks, {failed} failed, {:.0} s", demo.checks.len(), started.elapsed().as_secs_f64());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Check {
    passed: bool,
    what: String,
}

/// What one party received.
struct Heard {
    who: &'static str,
    local: String,
    relay: String,
    codec: &'static str,
    quality: Quality,
    audio: Vec<i16>,
    rate: u32,
}

struct Demo {
    heard: [Heard; 2],
    query: Value,
    files: Vec<(PathBuf, wav::Wav)>,
    checks: Vec<Check>,
}

fn run(output: &Path) -> Demo {
    step("speech of caller, callee and announcer");
    let [caller, callee, announcer] = [Speaker::Caller, Speaker::Callee, Speaker::Announcer].map(|speaker| {
        let mut audio = speech::speak(speaker, 16_000);
        audio.truncate(16_000 * 9 / 2);
        audio
    });

    step("relay and recorder on loopback");
    let relay = Relay::start(&["--recording-dir={DIR}/spool", "--recording-method=proc"]);
    let recorder = Recorder::start(&relay, &["--output-mixed", "--output-single"]);
    let announcement = relay.path("announcement.wav");
    std::fs::write(&announcement, wav::encode(&announcer, 16_000, 1)).expect("written");
    let mut closed = Closed::watch(&recorder.output).expect("inotify");

    step("offer with PCMU, answer with Opus, recording on");
    let setup = Setup {
        a: &[PCMU],
        b: &[OPUS],
        offer: json!({"codec": {"transcode": ["opus"]}, "record-call": "yes", "metadata": "caller:Alice|callee:Bob"}),
        ..Setup::default()
    };
    let mut call = Call::establish(&relay, "demo", setup);
    let callee_codec = call.offered.format("opus").clone();

    step("the call: both speak, then an announcement");
    let (a_says, a_ticks) = speech::encode(&placed(&caller, CALLER_AT), 16_000, &sdp::format(PCMU));
    let (b_says, b_ticks) = speech::encode(&placed(&callee, CALLEE_AT), 16_000, &callee_codec);
    let (at_a, at_b) = (call.a.listen(), call.b.listen());
    let a_sends = call.a.send_paced(0, a_says, a_ticks, Duration::from_millis(20));
    let b_sends = call.b.send_paced(callee_codec.payload_type, b_says, b_ticks, Duration::from_millis(20));
    progress(ANNOUNCEMENT_AT);
    let playing = call.command("play media", &json!({"all": "all", "file": announcement}));
    progress(LENGTH - ANNOUNCEMENT_AT);
    a_sends.join().expect("sent");
    b_sends.join().expect("sent");
    std::thread::sleep(Duration::from_millis(200));
    let (by_a, by_b) = (at_a.stop(), at_b.stop());
    let query = call.query();

    step("hanging up, waiting for the recording");
    call.delete();
    let files = closed.wait(".wav", 3, Duration::from_secs(15));

    step("looking at what came out");
    let mut checks = Vec::new();
    let heard = [
        heard("caller", &call.a, &call.answered.rtp.to_string(), PCMU, &by_a),
        heard("callee", &call.b, &call.offered.rtp.to_string(), OPUS, &by_b),
    ];
    check_heard(&mut checks, &heard[0], &callee, "the callee", CALLEE_AT);
    check_heard(&mut checks, &heard[1], &caller, "the caller", CALLER_AT);
    for party in &heard {
        check_heard(&mut checks, party, &announcer, "the announcement", ANNOUNCEMENT_AT);
    }
    let duration = playing["duration"].as_f64().unwrap_or(0.0) / 1000.0;
    let expected = announcer.len() as f64 / 16_000.0;
    check(
        &mut checks,
        (duration - expected).abs() < 0.05,
        format!("play media said {duration:.2} s, it is {expected:.2} s"),
    );
    let files: Vec<(PathBuf, wav::Wav)> = files
        .iter()
        .filter_map(|file| match wav::read(file) {
            Ok(wav) => Some((file.clone(), wav)),
            Err(reason) => {
                check(&mut checks, false, reason);
                None
            }
        })
        .collect();
    check(&mut checks, files.len() == 3, format!("{} audio files: one of each party, one mix", files.len()));
    for (file, wav) in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let length = (wav.seconds() - LENGTH).abs();
        check(
            &mut checks,
            length < 0.06,
            format!("{name} is {:.2} s long, the call {LENGTH:.2} s", wav.seconds()),
        );
        if name.contains("-mix") {
            for (who, said, at) in [("the caller", &caller, CALLER_AT), ("the callee", &callee, CALLEE_AT)] {
                check_found(&mut checks, &wav.mono(), wav.rate, said, at, 0.1, &format!("{who} in the mix"));
            }
            let _ = waveform::write_png(&output.join("mix.png"), &wav.mono());
        }
        let _ = std::fs::copy(file, output.join(&name));
    }
    let status = relay_status(relay, recorder);
    check(&mut checks, status == [Some(0); 2], format!("both daemons end on SIGTERM with status {status:?}"));
    Demo { heard, query, files, checks }
}

fn heard(
    who: &'static str,
    party: &e2e::party::Party,
    relay: &str,
    codec: &'static str,
    packets: &[Received],
) -> Heard {
    let format = sdp::format(codec);
    let quality = rtp::quality(packets, format.clock_rate);
    let (audio, rate) = rtp::decode(packets, &format);
    Heard { who, local: party.local().to_string(), relay: relay.into(), codec, quality, audio, rate }
}

fn check_heard(checks: &mut Vec<Check>, party: &Heard, said: &[i16], what: &str, at: f64) {
    let name = format!("{what} at the {}'s ear", party.who);
    check_found(checks, &party.audio, party.rate, said, at, 0.4, &name);
}

fn check_found(
    checks: &mut Vec<Check>,
    hay: &[i16],
    rate: u32,
    said: &[i16],
    at: f64,
    slack: f64,
    name: &str,
) {
    let hay = signal::resample(hay, rate, 16_000);
    // Band limited like a telephone, so that both codecs' versions compare alike.
    let needle = signal::resample(&signal::resample(said, 16_000, 8000), 8000, 16_000);
    let found = signal::find(&needle, &hay, 16_000);
    let passed = found.correlation > 0.8 && (found.seconds - at).abs() < slack;
    check(
        checks,
        passed,
        format!(
            "{name}: found at {:.2} s (spoken at {at:.2} s), similarity {:.2}",
            found.seconds, found.correlation
        ),
    );
}

fn check(checks: &mut Vec<Check>, passed: bool, what: String) {
    checks.push(Check { passed, what });
}

fn relay_status(mut relay: Relay, mut recorder: Recorder) -> [Option<i32>; 2] {
    [relay.process.terminate().code(), recorder.process.terminate().code()]
}

/// The audio with silence around it, as long as the call.
fn placed(audio: &[i16], at: f64) -> Vec<i16> {
    let mut whole = vec![0; (LENGTH * 16_000.0) as usize];
    let at = (at * 16_000.0) as usize;
    whole[at..at + audio.len()].copy_from_slice(audio);
    whole
}

fn step(what: &str) {
    println!("… {what}");
}

/// Lets time pass, visibly.
fn progress(seconds: f64) {
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < seconds {
        print!(".");
        let _ = std::io::stdout().flush();
        std::thread::sleep(Duration::from_secs_f64(
            (seconds - start.elapsed().as_secs_f64()).clamp(0.0, 1.0),
        ));
    }
    println!();
}

fn report(demo: &Demo, output: &Path) {
    println!("\nMEDIA      local port        relay port        codec         received  lost  jitter ms");
    for party in &demo.heard {
        let Quality { received, lost, jitter_ms, .. } = party.quality;
        let codec = sdp::format(party.codec);
        let codec = format!("{}/{}", codec.name, codec.clock_rate);
        println!(
            "{:<10} {:<17} {:<17} {codec:<13} {received:>8} {lost:>5} {jitter_ms:>10.2}",
            party.who, party.local, party.relay
        );
    }
    let totals = &demo.query["totals"]["RTP"];
    println!(
        "relay      {} packets, {} octets, {} errors",
        totals["packets"], totals["bytes"], totals["errors"]
    );
    println!("\nRECORDING                                            seconds  rate   level dBFS");
    for (file, wav) in &demo.files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        println!(
            "{name:<52} {:>7.2} {:>6} {:>10.1}",
            wav.seconds(),
            wav.rate,
            signal::level_dbfs(&wav.samples)
        );
    }
    if let Some((_, mix)) = demo.files.iter().find(|(file, _)| file.to_string_lossy().contains("-mix")) {
        println!("\nmix: caller at {CALLER_AT} s, callee at {CALLEE_AT} s");
        waveform::terminal(&mix.mono(), 90, 5).iter().for_each(|line| println!("  {line}"));
        println!("  0 s{:>86.1} s", mix.seconds());
    }
    println!("\nfiles and mix.png are in {}\n", output.display());
    for check in &demo.checks {
        println!("{} {}", if check.passed { "  ok " } else { "FAIL " }, check.what);
    }
}

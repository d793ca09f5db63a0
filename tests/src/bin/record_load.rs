//! Many recorded calls at once, and what they cost: `record_load [--calls N] [--seconds S] [--reference-seconds R]`.
//!
//! N two-party calls (500) of S seconds (60) of PCMU through the relay, recorded by the recording daemon: mixed and single WAV, rows in
//! SQLite. Every packet must be relayed and must be in the files, the speakers must lie where they spoke, threads and descriptors must stay the
//! same. Then the same calls for R seconds (60) with pcap files, by this relay and by Debian's. Without its kernel module Debian's recording
//! daemon gets no packets, so that pcap files are all that the reference can make here. Ratios of one run count, absolute figures do not.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e::call::{Call, Setup};
use e2e::counting;
use e2e::daemon::{Process, Recorder, Relay, await_ping, files_below, relay_binary, wait_for};
use e2e::differential::run::reference;
use e2e::machine::{process_ns, raise_file_limit};
use e2e::ng::NgClient;
use e2e::ports::PortBlock;
use e2e::{pcap, wav};
use serde_json::{Value, json};

const PTIME: Duration = Duration::from_millis(20);
const SAMPLES: usize = 160;
/// Every so many packets one is loud, in turn from caller and callee.
const TURN: u64 = 250;
const FIRST_TURN: u64 = 100;
/// Legs may be apart by so many samples: 10 ms.
const SKEW: usize = 80;
/// Files that are open for a moment: states that are being written, the journal of the database.
const PASSING: usize = 16;
/// A recording that is wrong may be so because packets were sent later than this, not because of the recorder.
const LATE: Duration = Duration::from_millis(15);
/// A recording may be longer or shorter than its call by so many: 20 ms.
const LENGTH: usize = 160;

struct Options {
    calls: usize,
    seconds: u64,
    reference_seconds: u64,
}

fn main() -> ExitCode {
    let mut options = Options { calls: 500, seconds: 60, reference_seconds: 60 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = arguments.next().and_then(|text| text.parse::<u64>().ok());
        match (argument.as_str(), number) {
            ("--calls", Some(number)) => options.calls = number as usize,
            ("--seconds", Some(number)) => options.seconds = number.max(10),
            ("--reference-seconds", Some(number)) => options.reference_seconds = number,
            _ => {
                eprintln!("usage: record_load [--calls N] [--seconds S] [--reference-seconds R]");
                return ExitCode::from(2);
            }
        }
    }
    raise_file_limit();
    let mut problems = Vec::new();
    println!("{} calls of two parties, PCMU", options.calls);
    let ours = recorded(&options, &mut problems);
    println!("relay and recording daemon, WAV and SQLite: {ours}");
    if options.reference_seconds > 0 {
        let pcap = with_pcap(&relay_binary(), &options, &mut problems);
        println!("relay, pcap: {pcap}");
        match reference() {
            Some(program) => {
                let reference = with_pcap(&program, &options, &mut problems);
                println!("Debian's relay, pcap: {reference}");
                println!(
                    "a recorded call, of Debian's with pcap: {:.2} with WAV and SQLite, {:.2} with pcap",
                    ours.share() / reference.share(),
                    pcap.share() / reference.share()
                );
            }
            None => println!("rtpengine-daemon is not installed: no reference to compare with"),
        }
    }
    problems.iter().take(20).for_each(|problem| println!("FAIL {problem}"));
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Processor time of a run.
struct Cost {
    calls: usize,
    seconds: u64,
    relay_ns: u64,
    recorder_ns: u64,
}

impl Cost {
    /// Of one processor, for a call.
    fn share(&self) -> f64 {
        (self.relay_ns + self.recorder_ns) as f64 / 1e9 / self.seconds as f64 / self.calls as f64
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |ns: u64| ns as f64 / 1e9 / self.seconds as f64 / self.calls as f64 * 100.0;
        write!(out, "{:.3} % of a processor a call", self.share() * 100.0)?;
        if self.recorder_ns > 0 {
            write!(
                out,
                " (relay {:.3} %, recorder {:.3} %)",
                percent(self.relay_ns),
                percent(self.recorder_ns)
            )?;
        }
        Ok(())
    }
}

const PORTS: [&str; 3] = ["--port-min=10000", "--port-max=60000", "--log-level=4"];
/// Parties have other addresses, and so all ports.
const RELAY: &str = "127.0.0.2";

fn recorded(options: &Options, problems: &mut Vec<String>) -> Cost {
    let recording = ["--recording-dir={DIR}/spool", "--recording-method=proc"];
    let relay = Relay::start_with_ports(&[RELAY], &[&PORTS[..], &recording].concat());
    let report = relay.path("ends");
    let mut recorder = Recorder::start(
        &relay,
        &[
            "--output-single",
            "--output-mixed",
            "--log-level=4",
            &format!("--report-file={}", report.display()),
        ],
    );
    let calls = establish(&relay, options.calls);
    let packets = options.seconds * 50;
    let before = [process_ns(relay.process.id()), process_ns(recorder.process.id())];
    let mut counts = Vec::new();
    let Exchanged { lost, latest } = exchange(&calls, packets, |number| {
        // When all files are open, and then now and then.
        if number >= 300 && number % 250 == 0 {
            counts.push(threads_and_descriptors(&recorder.process));
        }
    });
    let after = [process_ns(relay.process.id()), process_ns(recorder.process.id())];
    let ssrcs: Vec<(String, [u32; 2])> =
        calls.iter().map(|call| (call.id.clone(), [call.a.ssrc, call.b.ssrc])).collect();
    calls.iter().for_each(|call| drop(call.delete()));
    drop(calls);
    println!(
        "{} packets sent, {lost} lost, the latest {:.1} ms late",
        packets * 2 * options.calls as u64,
        latest.as_secs_f64() * 1e3
    );
    if lost > 0 {
        problems.push(format!("{lost} packets were not relayed"));
    }
    if let (Some(first), Some(last)) = (counts.first(), counts.iter().max()) {
        println!(
            "recorder: {} threads, {} descriptors at first, at most {} and {}",
            first.0, first.1, last.0, last.1
        );
        if counts.iter().any(|count| count.0 != first.0 || count.1.abs_diff(first.1) > PASSING) {
            problems.push(format!("threads and descriptors vary: {counts:?}"));
        }
    }
    let reports = || std::fs::read_to_string(&report).unwrap_or_default();
    let all =
        wait_for(Duration::from_secs(180), || (reports().lines().count() >= options.calls).then_some(()));
    if all.is_none() {
        problems.push(format!("{} ends are reported", reports().lines().count()));
    }
    for line in reports().lines() {
        let end: Value = serde_json::from_str(line).unwrap_or_default();
        if end["state"] != "complete" {
            problems.push(line.to_owned());
        }
    }
    if recorder.process.terminate().code() != Some(0) {
        problems.push("the recorder does not end well".into());
    }
    check_files(&recorder.output, &ssrcs, packets, problems);
    if latest > LATE && !problems.is_empty() {
        problems.push("packets were sent late: the machine may be too busy to judge recordings".into());
    }
    Cost {
        calls: options.calls,
        seconds: options.seconds,
        relay_ns: after[0] - before[0],
        recorder_ns: after[1] - before[1],
    }
}

fn check_files(folder: &Path, ssrcs: &[(String, [u32; 2])], packets: u64, problems: &mut Vec<String>) {
    let files = files_below(folder, ".wav");
    if files.len() != ssrcs.len() * 3 {
        problems.push(format!("{} files", files.len()));
    }
    let expected = packets as usize * SAMPLES;
    let (mut worst_skew, mut worst_length) = (0, 0);
    for (id, ssrcs) in ssrcs {
        let named = |kind: &str| {
            files.iter().find(|file| {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with(&format!("{id}-")) && name.ends_with(&format!("-{kind}.wav"))
            })
        };
        for ssrc in ssrcs {
            let frames =
                named(&format!("{ssrc:08x}")).map_or(Err("is missing".into()), |file| wav::read(file));
            match frames {
                Ok(single) if single.frames() == expected => {}
                Ok(single) => {
                    problems.push(format!("{id} {ssrc:08x}: {} samples of {expected}", single.frames()))
                }
                Err(error) => problems.push(format!("{id} {ssrc:08x}: {error}")),
            }
        }
        match named("mix").map_or(Err("is missing".into()), |file| wav::read(file)) {
            Ok(mix) => {
                worst_length = worst_length.max(mix.frames().abs_diff(expected));
                match turns(&mix.samples, packets) {
                    Ok(skew) => worst_skew = worst_skew.max(skew),
                    Err(error) => problems.push(format!("{id} mix: {error}")),
                }
            }
            Err(error) => problems.push(format!("{id} mix: {error}")),
        }
    }
    println!(
        "{} files; mixes are off by at most {:.1} ms in length, legs by {:.1} ms",
        files.len(),
        worst_length as f64 / 8.0,
        worst_skew as f64 / 8.0
    );
    if worst_skew > SKEW || worst_length > LENGTH {
        problems.push("mixes are not aligned".into());
    }
}

/// By how much the loud packets of the two legs are apart from each other, in samples.
fn turns(samples: &[i16], packets: u64) -> Result<usize, String> {
    let loud = |sample: &i16| sample.unsigned_abs() > 4000;
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(next) = samples.get(at..).and_then(|rest| rest.iter().position(loud)) {
        found.push(at + next);
        at += next + 4 * SAMPLES;
    }
    let expected = (FIRST_TURN..packets).step_by(TURN as usize).count();
    if found.len() != expected {
        return Err(format!("{} of {expected} loud packets", found.len()));
    }
    let distance = TURN as usize * SAMPLES;
    Ok(found.windows(2).map(|pair| (pair[1] - pair[0]).abs_diff(distance)).max().unwrap_or(0))
}

fn with_pcap(program: &Path, options: &Options, problems: &mut Vec<String>) -> Cost {
    let relay = start(program);
    let calls = establish(&relay, options.calls);
    let packets = options.reference_seconds * 50;
    let before = process_ns(relay.process.id());
    let Exchanged { lost, .. } = exchange(&calls, packets, |_| {});
    let after = process_ns(relay.process.id());
    calls.iter().for_each(|call| drop(call.delete()));
    let name = program.display();
    if lost > 0 {
        problems.push(format!("{name}: {lost} packets were not relayed"));
    }
    let files: Vec<PathBuf> = files_below(&relay.path("spool"), ".pcap");
    let whole = files.iter().take(10).all(|file| {
        let count = || pcap::read(file).ok().filter(|packets_in| packets_in.len() as u64 == packets * 2);
        wait_for(Duration::from_secs(10), count).is_some()
    });
    if files.len() != options.calls || !whole {
        problems.push(format!("{name}: {} pcap files, or packets are missing in them", files.len()));
    }
    Cost {
        calls: options.calls,
        seconds: options.reference_seconds,
        relay_ns: after - before,
        recorder_ns: 0,
    }
}

/// A relay that writes pcap files; this one or Debian's.
fn start(program: &Path) -> Relay {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ports = PortBlock::take();
    let control = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.control()));
    let mut command = Command::new(program);
    command
        .args(["--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--timeout=3600"])
        .args(PORTS)
        .args(["--recording-method=pcap", "--recording-format=raw"])
        .arg(format!("--recording-dir={}", folder.path().join("spool").display()))
        .arg(format!("--interface={RELAY}"))
        .arg(format!("--listen-ng={control}"))
        .arg(format!("--pidfile={}", folder.path().join("pid").display()));
    let mut process = Process::start(command, &folder.path().join("log")).expect("the relay starts");
    let ng = NgClient::connect(control);
    if let Err(reason) = await_ping(&ng, &mut process, Duration::from_secs(10)) {
        panic!("{}: {reason}\n{}", program.display(), process.log());
    }
    Relay { process, ng, control, folder, ports }
}

fn establish(relay: &Relay, count: usize) -> Vec<Call<'_>> {
    let setup = || Setup { offer: json!({"record-call": "yes"}), ..Setup::default() };
    (0..count).map(|number| Call::establish(relay, &format!("load_{number}"), setup())).collect()
}

/// What came of sending.
struct Exchanged {
    /// Packets that did not arrive.
    lost: u64,
    /// How late the latest packet was sent.
    latest: Duration,
}

/// Sends all packets of all calls, each at its time. `each` is told the number before each round.
fn exchange(calls: &[Call<'_>], packets: u64, each: impl FnMut(u64) + Send) -> Exchanged {
    let (received, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let sockets: Vec<&UdpSocket> = calls.iter().flat_map(|call| [&*call.a.rtp, &*call.b.rtp]).collect();
    let latest = std::thread::scope(|scope| {
        scope.spawn(|| counting::receive_all(&sockets, &received, &done, PTIME));
        let latest = scope.spawn(|| send_all(calls, packets, each)).join().expect("sending does not panic");
        std::thread::sleep(Duration::from_millis(500));
        done.store(true, Ordering::Relaxed);
        latest
    });
    let sent = packets * 2 * calls.len() as u64;
    Exchanged { lost: sent - received.load(Ordering::Relaxed).min(sent), latest }
}

/// Each packet at its time, spread evenly over the 20 ms.
fn send_all(calls: &[Call<'_>], packets: u64, mut each: impl FnMut(u64)) -> Duration {
    let start = Instant::now();
    let streams: Vec<_> = calls
        .iter()
        .flat_map(|call| [(&call.a, call.answered.rtp, 0), (&call.b, call.offered.rtp, TURN)])
        .collect();
    let gap = PTIME / streams.len().max(1) as u32;
    let mut octets = [0_u8; 12 + SAMPLES];
    let mut latest = Duration::ZERO;
    for number in 0..packets {
        each(number);
        for (position, (party, to, turn)) in streams.iter().enumerate() {
            let due = start + PTIME * number as u32 + gap * position as u32;
            let now = Instant::now();
            let ahead = due.saturating_duration_since(now);
            latest = latest.max(now.saturating_duration_since(due));
            if ahead > Duration::from_millis(1) {
                std::thread::sleep(ahead);
            }
            octets[..2].copy_from_slice(&[0x80, 0]);
            octets[2..4].copy_from_slice(&(number as u16).to_be_bytes());
            octets[4..8].copy_from_slice(&(number as u32 * SAMPLES as u32).to_be_bytes());
            octets[8..12].copy_from_slice(&party.ssrc.to_be_bytes());
            let is_loud = number % (2 * TURN) == FIRST_TURN + turn;
            // µ-law: the largest values, or nearly nothing.
            octets[12..].fill(if is_loud { 0x80 } else { 0xf0 | (number as u8 & 0x0f) });
            let _ = party.rtp.send_to(&octets, to);
        }
    }
    latest
}

fn threads_and_descriptors(process: &Process) -> (usize, usize) {
    let count =
        |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", process.id())).map_or(0, Iterator::count);
    (count("task"), count("fd"))
}

//! Recorded calls in number: `load [--calls N] [--seconds S] [--no-kill]`.
//!
//! N two-party calls (200) of S seconds (60) of PCMU, all recorded by the recording daemon, which is killed with -9 in
//! the middle and restarted. Every packet must come out, every file must be complete, and what the kill cost is told.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e::call::{Call, Setup};
use e2e::counting;
use e2e::daemon::{Recorder, Relay, files_below, wait_for};
use e2e::machine::raise_file_limit;
use e2e::wav;
use serde_json::json;

fn main() -> ExitCode {
    let (mut calls, mut seconds, mut kill) = (200usize, 60u64, true);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse::<u64>().ok());
        match argument.as_str() {
            "--calls" => calls = number().expect("--calls N") as usize,
            "--seconds" => seconds = number().expect("--seconds S"),
            "--no-kill" => kill = false,
            _ => {
                eprintln!("usage: load [--calls N] [--seconds S] [--no-kill]");
                return ExitCode::from(2);
            }
        }
    }
    raise_file_limit();
    let ports = [
        "--port-min=33000",
        "--port-max=60000",
        "--recording-dir={DIR}/spool",
        "--recording-method=proc",
        "--log-level=5",
    ];
    let relay = Relay::start_with_ports(&["127.0.0.1"], &ports);
    let recorder_options = ["--output-single", "--output-mixed", "--log-level=5"];
    let mut recorder = Recorder::start(&relay, &recorder_options);

    println!("{calls} recorded calls of {seconds} s");
    let established: Vec<Call<'_>> = (0..calls)
        .map(|i| {
            Call::establish(
                &relay,
                &format!("load-{i}"),
                Setup { offer: json!({"record-call": "yes"}), ..Setup::default() },
            )
        })
        .collect();
    let packets = seconds * 50;
    let received = AtomicU64::new(0);
    let done = std::sync::atomic::AtomicBool::new(false);
    let sockets: Vec<&UdpSocket> = established.iter().flat_map(|call| [&*call.a.rtp, &*call.b.rtp]).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| counting::receive_all(&sockets, &received, &done, Duration::from_millis(2)));
        let sender = scope.spawn(|| send_all(&established, packets));
        if kill {
            std::thread::sleep(Duration::from_secs(seconds / 2));
            let killed = Instant::now();
            recorder.process.kill();
            recorder = Recorder::start(&relay, &recorder_options);
            println!("recorder killed and restarted within {:.2} s", killed.elapsed().as_secs_f64());
        }
        sender.join().expect("sending does not panic");
        std::thread::sleep(Duration::from_millis(500));
        done.store(true, Ordering::Relaxed);
    });
    let sent = packets * 2 * calls as u64;
    let lost = sent - received.load(Ordering::Relaxed).min(sent);
    println!("relay: {sent} packets sent, {lost} lost");
    established.iter().for_each(|call| drop(call.delete()));
    let gone = wait_for(Duration::from_secs(60), || {
        files_below(&relay.path("spool"), ".meta").is_empty().then_some(())
    });
    recorder.process.terminate();

    let (mut problems, mut worst, mut total): (Vec<String>, f64, usize) = (Vec::new(), 0.0, 0);
    if gone.is_none() {
        problems.push("metafiles are left".into());
    }
    let lengths = lengths(&recorder.output, &mut problems);
    for call in &established {
        for ssrc in [call.a.ssrc, call.b.ssrc] {
            let length = lengths.get(&format!("{}-{ssrc:08x}", call.id)).copied().unwrap_or(0.0);
            worst = worst.max((seconds as f64 - length).abs());
            total += 1;
            let allowed = if kill { 1.0 } else { 0.02 };
            if (seconds as f64 - length).abs() > allowed + 1e-6 {
                problems.push(format!("{} {ssrc:08x}: {length:.3} s recorded", call.id));
            }
        }
    }
    println!("recordings: {total} streams, largest deviation from {seconds} s: {worst:.3} s");
    problems.iter().take(20).for_each(|problem| println!("FAIL {problem}"));
    if lost == 0 && problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Seconds of audio by `call-ssrc`; a stream that was recorded in several files counts with their sum.
fn lengths(folder: &std::path::Path, problems: &mut Vec<String>) -> HashMap<String, f64> {
    let mut lengths = HashMap::new();
    let files: Vec<PathBuf> = files_below(folder, ".wav");
    println!("{} files", files.len());
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match wav::read(&file) {
            Ok(audio) => {
                // load-7-<random tag>-<ssrc>, maybe with a number behind it
                let parts: Vec<&str> = name.split('-').collect();
                if let [load, number, _, kind, ..] = parts[..] {
                    *lengths.entry(format!("{load}-{number}-{kind}")).or_insert(0.0) += audio.seconds();
                }
            }
            Err(reason) => problems.push(reason),
        }
    }
    lengths
}

/// All streams, each packet at its time, spread evenly over the 20 ms.
fn send_all(calls: &[Call<'_>], packets: u64) {
    let start = Instant::now();
    let mut streams: Vec<_> = calls
        .iter()
        .flat_map(|call| [(&call.a, call.answered.rtp), (&call.b, call.offered.rtp)])
        .map(|(party, to)| (&party.rtp, to, party.ssrc))
        .collect();
    let gap = Duration::from_millis(20) / streams.len() as u32;
    for number in 0..packets {
        for (i, (socket, to, ssrc)) in streams.iter_mut().enumerate() {
            let due = start + Duration::from_millis(20) * number as u32 + gap * i as u32;
            let ahead = due.saturating_duration_since(Instant::now());
            if ahead > Duration::from_millis(1) {
                std::thread::sleep(ahead);
            }
            let packet = e2e::rtp::Packet {
                marker: false,
                payload_type: 0,
                sequence: number as u16,
                timestamp: number as u32 * 160,
                ssrc: *ssrc,
                payload: vec![0x30 | (number as u8 & 0xf); 160],
            };
            let _ = socket.send_to(&packet.to_octets(), *to);
        }
    }
}

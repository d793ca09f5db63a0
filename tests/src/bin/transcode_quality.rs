//! How transcoded speech sounds: PESQ (ITU-T P.862, P.862.2) of this relay and of Debian's on the same speech with the same losses.
//!
//! Three speakers talk through each pair of codecs; none, 3 % or 10 % of the packets to the relay are lost. Two receivers listen: one
//! that conceals what is missing like a good phone, and one that plays silence. Scores come from `scripts/pesq`, a Python
//! program with the module of that name.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use codec::graph::{OutPacket, TranscodePlan, Transcoder};
use codec::rtp::RtpPacket;
use codec::{EncoderOptions, PayloadFormat};
use e2e::daemon::relay_binary;
use e2e::differential::run::reference;
use e2e::python::with_module;
use e2e::speech::{self, Speaker};
use e2e::transcoding::{Daemon, Leg};
use e2e::{sdp, signal, wav};

const PAIRS: [(&str, &str); 11] = [
    ("0 PCMU/8000", "8 PCMA/8000"),
    ("0 PCMU/8000", "9 G722/8000"),
    ("0 PCMU/8000", "18 G729/8000 annexb=no"),
    ("0 PCMU/8000", "3 GSM/8000"),
    ("0 PCMU/8000", "96 opus/48000/2 useinbandfec=1"),
    ("0 PCMU/8000", "97 AMR/8000 octet-align=1"),
    ("96 opus/48000/2 useinbandfec=1", "0 PCMU/8000"),
    ("18 G729/8000 annexb=no", "8 PCMA/8000"),
    ("97 AMR/8000 octet-align=1", "8 PCMA/8000"),
    ("96 opus/48000/2 useinbandfec=1", "97 AMR-WB/16000 octet-align=1"),
    ("9 G722/8000", "96 opus/48000/2 useinbandfec=1"),
];
const SPEAKERS: [Speaker; 3] = [Speaker::Caller, Speaker::Callee, Speaker::Announcer];
const LOSSES: [u32; 3] = [0, 3, 10];
const PACKET: Duration = Duration::from_millis(20);

/// One speaker in one call.
struct Talk {
    pair: usize,
    loss: u32,
    legs: [Leg; 2],
    payloads: Vec<Vec<u8>>,
    /// 16 kHz.
    said: Vec<i16>,
    heard: Vec<(Instant, Vec<u8>)>,
    speaker: u32,
}

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let peers = [Some(("ours", relay_binary())), reference().map(|program| ("reference", program))];
    let mut jobs = String::new();
    let mut order = Vec::new();
    for (peer, who) in peers.iter().enumerate() {
        let Some((name, program)) = who else { continue };
        for loss in LOSSES {
            let daemon = Daemon::start(name, program, peer as u8 + 1);
            let mut talks = talks(&daemon, loss);
            run(&mut talks);
            for talk in &talks {
                let format = sdp::format(PAIRS[talk.pair].1);
                let format = PayloadFormat { payload_type: talk.legs[1].payload_type(), ..format };
                for (receiver, audio) in
                    [concealed(&talk.heard, &format), silent(&talk.heard, &format)].into_iter().enumerate()
                {
                    jobs += &job(folder.path(), jobs.lines().count(), talk, &audio);
                    order.push((talk.pair, talk.loss, peer, receiver));
                }
            }
        }
    }
    let list = folder.path().join("jobs");
    std::fs::write(&list, jobs).expect("a list of jobs");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/pesq");
    let Some(python) = with_module("pesq") else {
        eprintln!(
            "no Python with the module pesq: `pip install pesq` into one that ICE_PYTHON or INTEROP_CACHE names"
        );
        return ExitCode::FAILURE;
    };
    let output = match Command::new(&python).arg(&script).arg(&list).output() {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
            return ExitCode::FAILURE;
        }
        Err(error) => {
            eprintln!("{}: {error}", python.display());
            return ExitCode::FAILURE;
        }
    };
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    let scores: Vec<f64> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.parse().unwrap_or(f64::NAN))
        .collect();
    print(&order, &scores);
    ExitCode::SUCCESS
}

/// The reference recording and what was heard of it, for the script.
fn job(folder: &Path, number: usize, talk: &Talk, heard: &[i16]) -> String {
    let wide = is_wide(PAIRS[talk.pair]);
    let rate = if wide { 16_000 } else { 8000 };
    let write = |name: &str, audio: &[i16]| {
        let path = folder.join(format!("{number}-{name}.wav"));
        std::fs::write(&path, wav::encode(&signal::resample(audio, 16_000, rate), rate, 1))
            .expect("a recording");
        path.display().to_string()
    };
    format!(
        "{} {} {} {rate}\n",
        write("said", &talk.said),
        write("heard", heard),
        if wide { "wb" } else { "nb" }
    )
}

fn is_wide((a, b): (&str, &str)) -> bool {
    [a, b].iter().all(|text| ["G722", "opus", "AMR-WB"].iter().any(|wide| text.contains(wide)))
}

fn talks(daemon: &Daemon, loss: u32) -> Vec<Talk> {
    let said = SPEAKERS.map(|speaker| {
        let sentence = speech::speak(speaker, 16_000);
        let pause = vec![0; 8000];
        [&sentence[..], &pause, &sentence, &pause, &sentence].concat()
    });
    let mut talks = Vec::new();
    for (pair, (a, b)) in PAIRS.into_iter().enumerate() {
        for (speaker, said) in said.iter().enumerate() {
            let Some(legs) = daemon.establish(talks.len() as u32, [a, b]) else { continue };
            let (payloads, _) = speech::encode(said, 16_000, &sdp::format(a));
            let said = said.clone();
            talks.push(Talk { pair, loss, legs, payloads, said, heard: Vec::new(), speaker: speaker as u32 });
        }
    }
    talks
}

fn run(talks: &mut [Talk]) {
    let begin = Instant::now();
    let packets = talks.iter().map(|talk| talk.payloads.len()).max().unwrap_or(0) as u32;
    let between = PACKET / talks.len().max(1) as u32;
    // Some more time for what is still under way.
    for n in 0..packets + 20 {
        for (index, talk) in talks.iter_mut().enumerate() {
            std::thread::sleep(
                (begin + PACKET * n + between * index as u32).saturating_duration_since(Instant::now()),
            );
            if let Some(payload) = talk.payloads.get(n as usize)
                && !is_lost(talk.speaker, n, talk.loss)
            {
                talk.legs[0].send(n, payload);
            }
            let heard = &mut talk.heard;
            talk.legs[1].receive(|octets| heard.push((Instant::now(), octets.to_vec())));
        }
    }
}

/// The same packets of a speaker in every run and for every pair; never one of the first ten.
fn is_lost(speaker: u32, packet: u32, percent: u32) -> bool {
    let mut value = speaker.wrapping_mul(0x9e37_79b9) ^ packet.wrapping_mul(0x85eb_ca6b) ^ 0x5bd1_e995;
    for shift in [16, 13, 16] {
        value = (value ^ (value >> shift)).wrapping_mul(0xc2b2_ae35);
    }
    packet >= 10 && value % 100 < percent
}

/// A receiver that replaces what is missing; 16 kHz.
fn concealed(heard: &[(Instant, Vec<u8>)], format: &PayloadFormat) -> Vec<i16> {
    let linear = PayloadFormat::new(100, "L16", 16_000, 1);
    let plan = TranscodePlan::new(format.clone(), linear, EncoderOptions::default());
    let mut receiver = Transcoder::new(&plan, 1, 1).expect("the codec has a decoder");
    let mut audio = Vec::new();
    let mut first = None;
    for (at, octets) in heard {
        let Ok(packet) = RtpPacket::parse(octets) else { continue };
        receiver.push(*at, packet, &mut |out: OutPacket<'_>| {
            let position = out.timestamp.wrapping_sub(*first.get_or_insert(out.timestamp)) as usize;
            put(
                &mut audio,
                position,
                out.payload.chunks_exact(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])),
            );
        });
    }
    audio
}

/// A receiver that plays silence where something is missing; 16 kHz.
fn silent(heard: &[(Instant, Vec<u8>)], format: &PayloadFormat) -> Vec<i16> {
    let mut decoder = codec::new_decoder(format).expect("the codec has a decoder");
    let (rate, channels) = (decoder.sample_rate(), usize::from(decoder.channels()));
    let mut audio = Vec::new();
    let mut first = None;
    for (_, octets) in heard {
        let Ok(packet) = RtpPacket::parse(octets) else { continue };
        let ticks = packet.timestamp().wrapping_sub(*first.get_or_insert(packet.timestamp()));
        let position = u64::from(ticks) * u64::from(rate) / u64::from(format.clock_rate);
        let mut samples = Vec::new();
        if packet.payload_type() == format.payload_type
            && decoder.decode(packet.payload(), &mut samples).is_ok()
        {
            put(&mut audio, position as usize, samples.chunks_exact(channels).map(|frame| frame[0]));
        }
    }
    signal::resample(&audio, rate, 16_000)
}

fn put(audio: &mut Vec<i16>, position: usize, samples: impl Iterator<Item = i16>) {
    // A minute at most: numbers that jump are not followed.
    if position < 60 * 48_000 {
        let samples: Vec<i16> = samples.collect();
        audio.resize(audio.len().max(position + samples.len()), 0);
        audio[position..][..samples.len()].copy_from_slice(&samples);
    }
}

/// Means over the speakers.
fn print(order: &[(usize, u32, usize, usize)], scores: &[f64]) {
    println!(
        "| MOS-LQO by PESQ | loss | concealing receiver: ours / reference | plain receiver: ours / reference |"
    );
    println!("| --- | ---: | --- | --- |");
    for (pair, (a, b)) in PAIRS.into_iter().enumerate() {
        let name = |text: &str| text.split([' ', '/']).nth(1).unwrap_or_default().to_owned();
        let band = if is_wide((a, b)) { "wide" } else { "narrow" };
        for loss in LOSSES {
            let mean = |peer, receiver| {
                let of = order.iter().zip(scores).filter(|(of, _)| **of == (pair, loss, peer, receiver));
                let scores: Vec<f64> = of.map(|(_, score)| *score).collect();
                let sum: f64 = scores.iter().sum();
                if scores.is_empty() { "–".to_owned() } else { format!("{:.2}", sum / scores.len() as f64) }
            };
            println!(
                "| {} → {} ({band}) | {loss} % | {} / {} | {} / {} |",
                name(a),
                name(b),
                mean(0, 0),
                mean(1, 0),
                mean(0, 1),
                mean(1, 1)
            );
        }
    }
}

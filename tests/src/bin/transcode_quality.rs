//! How transcoded speech sounds: PESQ (ITU-T P.862, P.862.2) of this relay and of Debian's on the same speech with the same losses.
//!
//! `transcode_quality [--talks N] [--only PAIR]`. N pieces of speech go through each pair of codecs, each with losses of its own: none, 3 % or
//! 10 % of the packets to the relay, the same ones for both relays. Two receivers listen: one that conceals what is missing like a good
//! phone (the codec's own means, else ITU-T G.711 Appendix I), and one that plays silence. What is printed beside each mean is half its
//! interval of confidence of 95 %; that of the difference is smaller, since both relays get the same talks. Speech is that of the Debian
//! packages `asterisk-core-sounds-*-g722` where they are installed (five voices), else synthetic. Scores come from `scripts/pesq`, a
//! Python program with the module of that name.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use codec::PayloadFormat;
use codec::plc::Concealment;
use codec::rtp::RtpPacket;
use e2e::daemon::relay_binary;
use e2e::differential::run::reference;
use e2e::python::with_module;
use e2e::speech;
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
const SECONDS: usize = 8;
const LOSSES: [u32; 3] = [0, 3, 10];
const PACKET: Duration = Duration::from_millis(20);

/// One piece of speech in one call.
struct Talk {
    pair: usize,
    loss: u32,
    legs: [Leg; 2],
    payloads: Vec<Vec<u8>>,
    /// 16 kHz.
    said: Vec<i16>,
    heard: Vec<(Instant, Vec<u8>)>,
    number: u32,
}

/// What a score is of.
#[derive(Clone, Copy, PartialEq)]
struct Cell {
    pair: usize,
    loss: u32,
    /// Ours or the reference.
    peer: usize,
    receiver: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1))
    };
    let talks = text("--talks").map_or(30, |number| number.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let peers = [Some(("ours", relay_binary())), reference().map(|program| ("reference", program))];
    let speech = speech::pieces(talks, SECONDS);
    let mut jobs = String::new();
    let mut order = Vec::new();
    for (pair, formats) in PAIRS.into_iter().enumerate() {
        if text("--only").is_some_and(|only| !pair_name(formats).contains(only.as_str())) {
            continue;
        }
        let runs = peers.iter().enumerate().flat_map(|peer| LOSSES.map(|loss| (peer, loss)));
        for ((peer, who), loss) in runs {
            let Some((name, program)) = who else { continue };
            let daemon = Daemon::start(name, program, peer as u8 + 1);
            let mut talks = self::talks(&daemon, pair, loss, &speech);
            run(&mut talks);
            for talk in &talks {
                let format = sdp::format(PAIRS[talk.pair].1);
                let format = PayloadFormat { payload_type: talk.legs[1].payload_type(), ..format };
                for (receiver, audio) in
                    [concealed(&talk.heard, &format), silent(&talk.heard, &format)].into_iter().enumerate()
                {
                    jobs += &job(folder.path(), jobs.lines().count(), talk, &audio);
                    order.push((Cell { pair, loss, peer, receiver }, talk.number));
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

fn talks(daemon: &Daemon, pair: usize, loss: u32, speech: &[Vec<i16>]) -> Vec<Talk> {
    let (a, b) = PAIRS[pair];
    if codec::new_encoder(&sdp::format(a), &codec::EncoderOptions::default()).is_err() {
        return Vec::new();
    }
    let numbered = (0..).zip(speech);
    let talk = |(number, said): (u32, &Vec<i16>)| {
        let legs = daemon.establish(number, [a, b])?;
        let (payloads, _) = speech::encode(said, 16_000, &sdp::format(a));
        Some(Talk { pair, loss, legs, payloads, said: said.clone(), heard: Vec::new(), number })
    };
    numbered.filter_map(talk).collect()
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
                && !is_lost(talk.number, n, talk.loss)
            {
                talk.legs[0].send(n, payload);
            }
            let heard = &mut talk.heard;
            talk.legs[1].receive(|octets| heard.push((Instant::now(), octets.to_vec())));
        }
    }
}

/// The same packets of a talk in every run and for every pair; never one of the first ten.
fn is_lost(talk: u32, packet: u32, percent: u32) -> bool {
    let mut value = talk.wrapping_mul(0x9e37_79b9) ^ packet.wrapping_mul(0x85eb_ca6b) ^ 0x5bd1_e995;
    for shift in [16, 13, 16] {
        value = (value ^ (value >> shift)).wrapping_mul(0xc2b2_ae35);
    }
    packet >= 10 && value % 100 < percent
}

/// A receiver that replaces what is missing without looking ahead; 16 kHz.
fn concealed(heard: &[(Instant, Vec<u8>)], format: &PayloadFormat) -> Vec<i16> {
    let mut decoder = codec::new_decoder(format).expect("the codec has a decoder");
    let (rate, channels) = (decoder.sample_rate(), decoder.channels());
    let mut concealment = Concealment::new(rate, channels);
    let frames = |ticks: u32| (u64::from(ticks) * u64::from(rate) / u64::from(format.clock_rate)) as usize;
    let mut audio: Vec<i16> = Vec::new();
    let mut first = None;
    for (_, octets) in heard {
        let Ok(packet) = RtpPacket::parse(octets) else { continue };
        let position = frames(packet.timestamp().wrapping_sub(*first.get_or_insert(packet.timestamp())));
        let end = audio.len() / usize::from(channels);
        if packet.payload_type() != format.payload_type || !(end..60 * 48_000).contains(&position) {
            continue;
        }
        let mut samples = Vec::new();
        let missing = (position - end).min(rate as usize / 8);
        if decoder.can_conceal() && missing > 0 {
            decoder.recover(packet.payload(), missing, &mut audio);
        } else if missing > 0 {
            concealment.conceal(missing, &mut audio);
        }
        audio.resize(position * usize::from(channels), 0);
        if decoder.decode(packet.payload(), &mut samples).is_ok() {
            if !decoder.can_conceal() {
                concealment.heard(&mut samples);
            }
            audio.append(&mut samples);
        }
    }
    let mono: Vec<i16> = audio.chunks_exact(usize::from(channels)).map(|frame| frame[0]).collect();
    signal::resample(&mono, rate, 16_000)
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

fn pair_name((a, b): (&str, &str)) -> String {
    let [a, b] = [a, b].map(|text| text.split([' ', '/']).nth(1).unwrap_or_default());
    format!("{a} → {b}")
}

/// Means over the talks, and of the differences between the two relays.
fn print(order: &[(Cell, u32)], scores: &[f64]) {
    println!(
        "| MOS-LQO by PESQ | loss | concealing receiver: ours / reference | difference | plain receiver: ours / reference | difference |"
    );
    println!("| --- | ---: | --- | ---: | --- | ---: |");
    for (pair, formats) in PAIRS.into_iter().enumerate() {
        let band = if is_wide(formats) { "wide" } else { "narrow" };
        for loss in LOSSES {
            let of = |peer, receiver| -> Vec<(u32, f64)> {
                let cell = Cell { pair, loss, peer, receiver };
                let scored =
                    order.iter().zip(scores).filter(|((of, _), score)| *of == cell && !score.is_nan());
                scored.map(|((_, number), score)| (*number, *score)).collect()
            };
            if of(0, 0).is_empty() && of(1, 0).is_empty() {
                continue;
            }
            let columns = [0, 1].map(|receiver| {
                let [ours, theirs] = [0, 1].map(|peer| of(peer, receiver));
                let of_same = |(number, own): &(u32, f64)| {
                    theirs.iter().find(|(other, _)| other == number).map(|(_, score)| own - score)
                };
                let differences: Vec<f64> = ours.iter().filter_map(of_same).collect();
                let [ours, theirs] = [&ours, &theirs].map(|talks| {
                    Estimate::of(&talks.iter().map(|(_, score)| *score).collect::<Vec<_>>()).show(false)
                });
                format!("{ours} / {theirs} | {}", Estimate::of(&differences).show(true))
            });
            println!("| {} ({band}) | {loss} % | {} |", pair_name(formats), columns.join(" | "));
        }
    }
}

/// A mean, and half of its interval of confidence of 95 %.
struct Estimate(Option<(f64, f64)>);

impl Estimate {
    fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self((!values.is_empty()).then(|| (mean, 1.96 * (squares / (count - 1.0).max(1.0) / count).sqrt())))
    }

    fn show(&self, signed: bool) -> String {
        match self.0 {
            None => "–".to_owned(),
            Some((mean, half)) if signed => format!("{mean:+.2} ± {half:.2}"),
            Some((mean, half)) => format!("{mean:.2} ± {half:.2}"),
        }
    }
}

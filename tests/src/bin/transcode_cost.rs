//! What a transcoded packet costs: processor time of this relay and of Debian's in one run, both ways of a pair of codecs, speech.
//!
//! `transcode_cost [--calls N] [--seconds N] [--rounds N] [--only PAIR]`. Ratios of one run count, absolute figures do not. The daemons
//! have their turns one after the other, round by round; of the rounds, the median counts.
//!
//! `transcode_cost --capacity [--most N] [--seconds N] [--only PAIR]`: how many calls a daemon on one processor transcodes before more than
//! a thousandth of the frames comes more than 20 ms late or not at all. Each number of calls has a daemon of its own.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use e2e::daemon::relay_binary;
use e2e::differential::run::reference;
use e2e::transcoding::{Daemon, Leg, Spoken, capacity, spoken};

/// Of the caller, of the callee, and the ratio that is aimed at.
const PAIRS: [(&str, &str, f64); 5] = [
    ("0 PCMU/8000", "8 PCMA/8000", 0.35),
    ("0 PCMU/8000", "9 G722/8000", 0.6),
    ("0 PCMU/8000", "96 opus/48000/2 useinbandfec=1", 0.5),
    ("0 PCMU/8000", "18 G729/8000 annexb=no", 0.7),
    ("96 opus/48000/2 useinbandfec=1", "97 AMR-WB/16000 octet-align=1", 0.7),
];
const PACKET: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1))
    };
    let number =
        |name: &str, default: u32| text(name).map_or(default, |text| text.parse().expect("a number"));
    let (calls, seconds, rounds) = (number("--calls", 25), number("--seconds", 6), number("--rounds", 3));
    let peers = [Some(("ours", relay_binary())), reference().map(|program| ("reference", program))];
    if arguments.iter().any(|argument| argument == "--capacity") {
        let limits = (number("--seconds", 4), number("--most", 2000));
        return show_capacities(&peers, text("--only").map(String::as_str), limits);
    }
    println!("| µs a packet | ours | reference | ours/ref | wanted | packets lost, ours/ref |");
    println!("| --- | ---: | ---: | ---: | --- | --- |");
    for (a, b, wanted) in PAIRS {
        let pair = pair_name([a, b]);
        if text("--only").is_some_and(|only| !pair.contains(only.as_str())) {
            continue;
        }
        let mut figures: [Vec<Figures>; 2] = Default::default();
        for _ in 0..rounds {
            for (peer, figures) in peers.iter().zip(&mut figures) {
                let measured = peer.as_ref().and_then(|peer| measure(peer, [a, b], calls, seconds));
                figures.extend(measured);
            }
        }
        let cost = figures.each_ref().map(|figures| median(figures));
        let lost = figures.each_ref().map(|figures| figures.iter().map(|f| f.lost).sum::<u64>());
        let show = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2}"));
        let ratio = cost[0].zip(cost[1]).map(|(ours, theirs)| ours / theirs);
        let [ours, theirs] = cost.map(show);
        println!("| {pair} | {ours} | {theirs} | {} | ≤ {wanted} | {} / {} |", show(ratio), lost[0], lost[1]);
    }
    ExitCode::SUCCESS
}

fn pair_name(formats: [&str; 2]) -> String {
    let [a, b] = formats.map(|text| text.split([' ', '/']).nth(1).unwrap_or_default());
    format!("{a} ↔ {b}")
}

fn show_capacities(
    peers: &[Option<(&'static str, PathBuf)>; 2],
    only: Option<&str>,
    limits: (u32, u32),
) -> ExitCode {
    println!("| calls on one processor | ours | reference | ours/ref | µs a packet there | others used |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (a, b, _) in PAIRS {
        let pair = pair_name([a, b]);
        if only.is_some_and(|only| !pair.contains(only)) {
            continue;
        }
        let Some(spoken) = spoken([a, b]) else { continue };
        let found = peers.each_ref().map(|peer| {
            let (name, program) = peer.as_ref()?;
            capacity::search(name, program, [a, b], &spoken, limits)
        });
        let show = |value: &dyn Fn(capacity::Capacity) -> String| found.map(|f| f.map_or("–".into(), value));
        let [ours, theirs] = show(&|f| format!("{}{}", if f.is_lower_bound { "≥ " } else { "" }, f.calls));
        let ratio = found[0].zip(found[1]).map(|(own, other)| f64::from(own.calls) / f64::from(other.calls));
        let costs = show(&|f| format!("{:.1}", f.cpu_us_per_packet)).join(" / ");
        let others = show(&|f| format!("{:.0} %", f.others_percent)).join(" / ");
        let ratio = ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"));
        println!("| {pair} | {ours} | {theirs} | {ratio} | {costs} | {others} |");
    }
    ExitCode::SUCCESS
}

struct Figures {
    cpu_us_per_packet: f64,
    /// Packets that should have come and did not.
    lost: u64,
}

fn median(figures: &[Figures]) -> Option<f64> {
    let mut costs: Vec<f64> = figures.iter().map(|f| f.cpu_us_per_packet).collect();
    costs.sort_by(f64::total_cmp);
    costs.get(costs.len() / 2).copied()
}

/// `None` when the daemon cannot transcode the pair.
fn measure(
    (name, program): &(&str, PathBuf),
    formats: [&str; 2],
    calls: u32,
    seconds: u32,
) -> Option<Figures> {
    let payloads = spoken(formats)?;
    let daemon = Daemon::start(name, program, if *name == "ours" { 1 } else { 2 });
    let legs: Option<Vec<_>> = (0..calls).map(|call| daemon.establish(call, formats)).collect();
    let legs = legs?;
    // One second for codecs to be opened, then what counts.
    run(&legs, &payloads, 0, 50);
    let before = daemon.cpu_ns();
    let received = run(&legs, &payloads, 50, 50 * seconds);
    let cpu = daemon.cpu_ns() - before;
    let sent = u64::from(calls) * 2 * 50 * u64::from(seconds);
    // A pair that is not transcoded at all is no measurement.
    (received > sent / 2).then(|| Figures {
        cpu_us_per_packet: cpu as f64 / 1000.0 / sent as f64,
        lost: sent.saturating_sub(received),
    })
}

/// `first` and so many more packets of both parties of all calls, 20 ms apart, the calls spread over that time; gives back how many came.
fn run(legs: &[[Leg; 2]], payloads: &Spoken, first: u32, packets: u32) -> u64 {
    let begin = Instant::now();
    let between = PACKET / legs.len().max(1) as u32;
    let mut received = 0;
    for n in 0..packets {
        for (call, pair) in legs.iter().enumerate() {
            let due = begin + PACKET * n + between * call as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            for (leg, spoken) in pair.iter().zip(payloads) {
                let number = first + n;
                leg.send(number, &spoken[number as usize % spoken.len()]);
                leg.receive(|_| received += 1);
            }
        }
    }
    std::thread::sleep(Duration::from_millis(200));
    legs.iter().flatten().for_each(|leg| leg.receive(|_| received += 1));
    received
}

//! What a transcoded packet costs: processor time of this relay and of Debian's in one run, both ways of a pair of codecs, speech.
//!
//! `transcode_cost [--calls N] [--seconds N]`. Ratios of one run count, absolute figures do not.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use e2e::bencode;
use e2e::daemon::{Process, await_ping, relay_binary};
use e2e::differential::run::reference;
use e2e::ng::{NgClient, parse_body};
use e2e::ports::PortBlock;
use e2e::rtp::Packet;
use e2e::sdp;
use e2e::speech::{self, Speaker};
use serde_json::{Value, json};

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
    let number = |name: &str, default: u32| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).map_or(default, |text| text.parse().expect("a number"))
    };
    let (calls, seconds) = (number("--calls", 25), number("--seconds", 6));
    let peers = [Some(("ours", relay_binary())), reference().map(|program| ("reference", program))];
    println!(
        "| {:<24} | {:>9} | {:>9} | {:>8} | {:<6} | lost, ours/ref |",
        "us a packet", "ours", "reference", "ours/ref", "wanted"
    );
    println!("| --- | ---: | ---: | ---: | --- | --- |");
    for (a, b, wanted) in PAIRS {
        let name = |text: &str| text.split([' ', '/']).nth(1).unwrap_or_default().to_owned();
        let figures: Vec<Option<Figures>> = peers
            .iter()
            .map(|peer| {
                peer.as_ref().and_then(|(who, program)| measure(who, program, [a, b], calls, seconds))
            })
            .collect();
        let cost = |index: usize| figures[index].as_ref().map(|f| f.cpu_us_per_packet);
        let show = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
        let lost = |index: usize| figures[index].as_ref().map_or("-".into(), |f| f.lost.to_string());
        let ratio = cost(0).zip(cost(1)).map(|(ours, theirs)| ours / theirs);
        println!(
            "| {:<24} | {:>9} | {:>9} | {:>8} | {wanted:<6} | {} / {} |",
            format!("{} <-> {}", name(a), name(b)),
            show(cost(0)),
            show(cost(1)),
            show(ratio),
            lost(0),
            lost(1),
        );
    }
    ExitCode::SUCCESS
}

struct Figures {
    cpu_us_per_packet: f64,
    /// Packets that should have come and did not.
    lost: u64,
}

/// One party of a call: what it sends, where to.
struct Leg {
    socket: UdpSocket,
    to: SocketAddr,
    payload_type: u8,
    ticks: u32,
    received: u64,
}

/// `None` when the daemon cannot transcode the pair.
fn measure(name: &str, program: &Path, formats: [&str; 2], calls: u32, seconds: u32) -> Option<Figures> {
    let ports = PortBlock::take();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let control = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.control()));
    let mut command = Command::new(program);
    command.args(["--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=3"]);
    command.args([
        "--delete-delay=0",
        "--timeout=3600",
        "--num-threads=1",
        "--port-min=10000",
        "--port-max=59999",
    ]);
    let address = format!("127.{}.8.{}", 1 + std::process::id() % 250, if name == "ours" { 1 } else { 2 });
    command.arg(format!("--interface={address}")).arg(format!("--listen-ng={control}"));
    command.arg(format!("--pidfile={}/pid", folder.path().display()));
    let mut process = Process::start(command, &folder.path().join("log")).expect("the daemon starts");
    let ng = NgClient::connect(control);
    if let Err(reason) = await_ping(&ng, &mut process, Duration::from_secs(10)) {
        panic!("{name}: {reason}\n{}", process.log());
    }
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a client socket");
    client.connect(control).expect("connecting UDP sends nothing");
    client.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout above zero");
    let payloads = formats.map(|text| {
        let format = sdp::format(text);
        let encoder = codec::new_encoder(&format, &codec::EncoderOptions::default()).ok()?;
        let audio = speech::speak(Speaker::Caller, encoder.sample_rate());
        Some(speech::encode(&audio, encoder.sample_rate(), &format))
    });
    let [Some(at_a), Some(at_b)] = payloads else { return None };
    let payloads = [at_a.0, at_b.0];
    let mut legs = Vec::new();
    for call in 0..calls {
        legs.push(establish(&client, call, formats)?);
    }
    // One second for codecs to be opened, then what counts.
    run(&mut legs, &payloads, 0, 50);
    let (before, received) = (cpu_ns(&process), received(&legs));
    run(&mut legs, &payloads, 50, 50 * seconds);
    let cpu = cpu_ns(&process) - before;
    let got = self::received(&legs) - received;
    let sent = u64::from(calls) * 2 * 50 * u64::from(seconds);
    // A pair that is not transcoded at all is no measurement.
    (got > sent / 2).then(|| Figures {
        cpu_us_per_packet: cpu as f64 / 1000.0 / sent as f64,
        lost: sent.saturating_sub(got),
    })
}

fn establish(client: &UdpSocket, call: u32, formats: [&str; 2]) -> Option<[Leg; 2]> {
    let sockets = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a media socket"));
    let local = |index: usize| sockets[index].local_addr().expect("bound");
    let codec = formats[1].split_once(' ').map_or(formats[1], |(_, codec)| codec);
    let codec = codec.split('/').next().unwrap_or_default();
    let offer = json!({
        "command": "offer", "call-id": format!("transcode-{call}"), "from-tag": "a", "ICE": "remove",
        "sdp": sdp::audio(local(0), &formats[..1], &["sendrecv", "ptime:20"]),
        "codec": {"mask": ["all"], "transcode": [codec]},
    });
    let offered = exchange(client, "offer", call, &offer);
    let shown = sdp::media(offered["sdp"].as_str()?);
    // The number that the relay gave the codec.
    let format = shown.formats.iter().find(|f| f.name.eq_ignore_ascii_case(codec))?;
    let number = format.payload_type;
    let text = format!("{number} {}", formats[1].split_once(' ').map_or("", |(_, rest)| rest));
    let answer = json!({
        "command": "answer", "call-id": format!("transcode-{call}"), "from-tag": "a", "to-tag": "b", "ICE": "remove",
        "sdp": sdp::audio(local(1), &[&text], &["sendrecv", "ptime:20"]),
    });
    let answered = exchange(client, "answer", call, &answer);
    let back = sdp::media(answered["sdp"].as_str()?);
    let [a, b] = sockets;
    let leg = |socket: UdpSocket, to, text: &str| {
        socket.set_nonblocking(true).expect("a socket");
        let format = sdp::format(text);
        Leg { socket, to, payload_type: format.payload_type, ticks: format.clock_rate / 50, received: 0 }
    };
    Some([leg(a, back.rtp, formats[0]), leg(b, shown.rtp, &text)])
}

fn exchange(client: &UdpSocket, command: &str, call: u32, request: &Value) -> Value {
    let message = [format!("{command}{call} ").as_bytes(), &bencode::encode(request)].concat();
    client.send(&message).expect("loopback takes it");
    let mut buffer = vec![0; 65_536];
    let length = client.recv(&mut buffer).expect("a reply within 5 s");
    let blank = buffer.iter().position(|&octet| octet == b' ').expect("a cookie") + 1;
    parse_body(&buffer[blank..length]).expect("a reply that can be read")
}

/// Packets `first` and so many more of both parties of all calls, 20 ms apart, the calls spread over that time.
fn run(legs: &mut [[Leg; 2]], payloads: &[Vec<Vec<u8>>; 2], first: u32, packets: u32) {
    let begin = Instant::now();
    let between = PACKET / legs.len().max(1) as u32;
    for n in 0..packets {
        for (call, pair) in legs.iter_mut().enumerate() {
            let due = begin + PACKET * n + between * call as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            for (side, leg) in pair.iter_mut().enumerate() {
                let number = first + n;
                let spoken = &payloads[side];
                let packet = Packet {
                    marker: number == 0,
                    payload_type: leg.payload_type,
                    sequence: number as u16,
                    timestamp: number * leg.ticks,
                    ssrc: (call * 2 + side + 1) as u32,
                    payload: spoken[number as usize % spoken.len()].clone(),
                };
                let _ = leg.socket.send_to(&packet.to_octets(), leg.to);
                leg.take();
            }
        }
    }
    std::thread::sleep(Duration::from_millis(200));
    legs.iter_mut().flatten().for_each(Leg::take);
}

impl Leg {
    fn take(&mut self) {
        let mut buffer = [0; 2048];
        while self.socket.recv(&mut buffer).is_ok() {
            // RTCP is not counted.
            self.received += u64::from(!(200..=207).contains(&buffer[1]));
        }
    }
}

fn received(legs: &[[Leg; 2]]) -> u64 {
    legs.iter().flatten().map(|leg| leg.received).sum()
}

/// Processor time of all threads.
fn cpu_ns(process: &Process) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id())).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

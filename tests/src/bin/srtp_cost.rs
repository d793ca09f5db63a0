//! What SRTP costs in forwarding: processor time a packet of this relay and of Debian's, in turns, in one run.
//!
//! `srtp_cost [--calls N] [--seconds N] [--runs N]`. The parties protect by libsrtp and check every packet that they are sent. Ratios of
//! one run count, absolute figures do not.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use e2e::daemon::relay_binary;
use e2e::differential::run::reference;
use e2e::measured::{Kind, Measured};
use e2e::sdp::{self, Media};
use e2e::srtp::{Endpoint, Key};
use serde_json::{Value, json};

const CM80: &str = "AES_CM_128_HMAC_SHA1_80";
const CM32: &str = "AES_CM_128_HMAC_SHA1_32";
const GCM: &str = "AEAD_AES_128_GCM";
/// What the two sides of the calls speak. Sides with the same suite could pass packets as they are.
const BRIDGES: [(&str, [Option<&str>; 2]); 4] = [
    ("RTP to RTP", [None, None]),
    ("RTP to AES_CM_128_HMAC_SHA1_80", [None, Some(CM80)]),
    ("AES_CM_128_HMAC_SHA1_80 to _32", [Some(CM80), Some(CM32)]),
    ("AES_CM_128_HMAC_SHA1_80 to AEAD_AES_128_GCM", [Some(CM80), Some(GCM)]),
];
const PTIME: Duration = Duration::from_millis(20);
/// The packets of one ptime leave in as many groups.
const GROUPS: usize = 20;

struct Options {
    calls: usize,
    seconds: u32,
    runs: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut options = Options { calls: 250, seconds: 5, runs: 3 };
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { return usage() };
        let Ok(number) = value.parse::<u32>() else { return usage() };
        match name.as_str() {
            "--calls" => options.calls = number as usize,
            "--seconds" => options.seconds = number,
            "--runs" => options.runs = number as usize,
            _ => return usage(),
        }
    }
    let theirs = reference();
    if theirs.is_none() {
        println!("srtp_cost: rtpengine-daemon is not installed: no reference to compare with");
    }
    println!("| {:<44} | ours, us a packet | reference | ratio | lost, ours | lost, reference |", "");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (name, suites) in BRIDGES {
        let (mut own, mut other) = (Vec::new(), Vec::new());
        for _ in 0..options.runs {
            own.push(measure(Kind::Ours, &relay_binary(), suites, &options));
            other.extend(
                theirs.as_ref().map(|program: &PathBuf| measure(Kind::Reference, program, suites, &options)),
            );
        }
        let (own, other) = (median(own), (!other.is_empty()).then(|| median(other)));
        let theirs =
            |show: fn(f64, Figures) -> String| other.map_or("-".into(), |other| show(own.cpu_us, other));
        println!(
            "| {name:<44} | {:.2} | {} | {} | {:.3} % | {} |",
            own.cpu_us,
            theirs(|_, other| format!("{:.2}", other.cpu_us)),
            theirs(|own, other| format!("{:.2}", own / other.cpu_us)),
            own.lost,
            theirs(|_, other| format!("{:.3} %", other.lost)),
        );
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: srtp_cost [--calls N] [--seconds N] [--runs N]");
    ExitCode::FAILURE
}

#[derive(Clone, Copy)]
struct Figures {
    cpu_us: f64,
    /// Per cent.
    lost: f64,
}

/// The run of median cost.
fn median(mut runs: Vec<Figures>) -> Figures {
    runs.sort_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us));
    runs[runs.len() / 2]
}

fn measure(kind: Kind, program: &Path, suites: [Option<&str>; 2], options: &Options) -> Figures {
    let daemon = Measured::start(kind, program);
    let mut streams: Vec<_> =
        (0..options.calls).flat_map(|number| establish(&daemon, &format!("cost-{number}"), suites)).collect();
    // Sources are learned, caches warm.
    run(&mut streams, 50);
    let before = daemon.cpu_ns();
    let rounds = options.seconds * 50;
    let (sent, received) = run(&mut streams, rounds);
    let cpu_ns = daemon.cpu_ns() - before;
    Figures {
        cpu_us: cpu_ns as f64 / 1_000.0 / received as f64,
        lost: 100.0 * (sent - received.min(sent)) as f64 / sent as f64,
    }
}

/// One party of a call.
struct Stream {
    socket: UdpSocket,
    remote: SocketAddr,
    security: Option<Endpoint>,
    number: u32,
}

fn establish(daemon: &Measured, id: &str, suites: [Option<&str>; 2]) -> [Stream; 2] {
    let sockets = [(); 2].map(|()| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.set_nonblocking(true).expect("a flag");
        socket
    });
    let keys = suites.map(|suite| suite.map(Key::random));
    let transport = |key: &Option<Key>| if key.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
    let description = |index: usize, tag: u32| {
        let crypto = keys[index].as_ref().map(|key| format!("crypto:{}", key.to_line(tag)));
        let lines: Vec<&str> = crypto.iter().map(String::as_str).collect();
        let sdp = sdp::audio(sockets[index].local_addr().expect("bound"), &["0 PCMU/8000"], &lines);
        sdp.replace("RTP/AVP", transport(&keys[index]))
    };
    let offer = json!({"command": "offer", "call-id": id, "from-tag": "a", "sdp": description(0, 1), "ICE": "remove",
        "DTLS": "off", "transport-protocol": transport(&keys[1]), "replace": ["origin", "session-connection"]});
    let offered = media_of(&daemon.ng.ok(offer));
    let tag = keys[1].as_ref().map_or(1, |key| line_of(&offered, &key.suite).0);
    let answer = json!({"command": "answer", "call-id": id, "from-tag": "a", "to-tag": "b", "sdp": description(1, tag),
        "ICE": "remove", "DTLS": "off", "replace": ["origin", "session-connection"]});
    let answered = media_of(&daemon.ng.ok(answer));
    let mut told = [answered, offered].into_iter().zip(keys);
    sockets.map(|socket| {
        let (media, key) = told.next().expect("two sides");
        let security = key.map(|key| {
            let receive = line_of(&media, &key.suite).1;
            Endpoint::new(key, receive)
        });
        Stream { socket, remote: media.rtp, security, number: 1_000 }
    })
}

fn media_of(reply: &Value) -> Media {
    sdp::media(reply["sdp"].as_str().unwrap_or_else(|| panic!("no sdp in {reply}")))
}

/// Tag and key of the line with this suite.
fn line_of(media: &Media, suite: &str) -> (u32, Key) {
    let mut lines = media.attributes.iter().filter_map(|line| line.strip_prefix("crypto:"));
    let line = lines.find(|line| line.split(' ').nth(1) == Some(suite)).expect("a line with the suite");
    (line.split(' ').next().and_then(|tag| tag.parse().ok()).expect("a tag"), Key::parse(line))
}

/// So many packets of every stream, one each ptime; how many were sent and came.
fn run(streams: &mut [Stream], rounds: u32) -> (u64, u64) {
    let begin = Instant::now();
    let group = streams.len().div_ceil(GROUPS);
    let mut received = 0;
    for round in 0..rounds {
        for (position, from) in (0..streams.len()).step_by(group).enumerate() {
            let due = begin + PTIME * round + PTIME / GROUPS as u32 * position as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let end = (from + group).min(streams.len());
            streams[from..end].iter_mut().for_each(Stream::send);
            // What others have been sent meanwhile: half a ptime later than it left.
            let other = (from + streams.len() / 2) % streams.len();
            let end = (other + group).min(streams.len());
            received += streams[other..end].iter_mut().map(Stream::drain).sum::<u64>();
        }
    }
    let sent = u64::from(rounds) * streams.len() as u64;
    let end = Instant::now() + Duration::from_millis(200);
    while received < sent && Instant::now() < end {
        received += streams.iter_mut().map(Stream::drain).sum::<u64>();
        std::thread::sleep(Duration::from_millis(1));
    }
    (sent, received)
}

impl Stream {
    fn send(&mut self) {
        self.number += 1;
        let mut packet = [0xd5; 172];
        packet[..2].copy_from_slice(&[0x80, 0]);
        packet[2..4].copy_from_slice(&(self.number as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&(160 * self.number).to_be_bytes());
        packet[8..12].copy_from_slice(&[0, 0, 0, 9]);
        let result = match &mut self.security {
            Some(security) => self.socket.send_to(&security.protect(&packet), self.remote),
            None => self.socket.send_to(&packet, self.remote),
        };
        result.expect("loopback takes it");
    }

    /// Packets that have come; each is what the other party sent.
    fn drain(&mut self) -> u64 {
        let (mut count, mut buffer) = (0, [0; 2048]);
        loop {
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return count,
                Err(error) => panic!("receiving: {error}"),
            };
            let clear = match &mut self.security {
                Some(security) => security.unprotect(&buffer[..length]).expect("an authentic packet"),
                None => buffer[..length].to_vec(),
            };
            assert_eq!(clear[12..], [0xd5; 160]);
            count += 1;
        }
    }
}

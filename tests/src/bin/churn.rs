//! Calls that come and go: `churn [--calls N] [--first N] [--live N] [--calls-only]`.
//!
//! N calls (200 000) of several kinds are set up, exchange a few packets and are torn down, in another order than that in which they came,
//! while LIVE others (256) stay. After the first FIRST (20 000) and at the end all calls are ended, the daemon has time to forget the replies
//! that it keeps for a minute, and its memory, descriptors and threads are looked at: those at the end must be those of the first look,
//! memory within 2 %. Looks in between are told only: they show the replies of the last minute. `--calls-only` looks at nothing.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use e2e::daemon::relay_binary;
use e2e::measured::{Kind, Measured};
use e2e::sdp::{self, Media};
use e2e::srtp::{Endpoint, Key};
use serde_json::{Value, json};

/// Growth of resident memory that is still none, in per cent.
const TOLERANCE: f64 = 2.0;
const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
/// How long a generation of replies lasts at least.
const GENERATION: Duration = Duration::from_secs(31);
/// Calls after which memory that is free has been given back.
const SETTLING: u32 = 500;
/// Packets that each party sends.
const PACKETS: u16 = 3;

fn main() -> ExitCode {
    let (mut calls, mut first, mut live) = (200_000u32, 20_000u32, 256usize);
    let mut calls_only = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--calls-only" {
            calls_only = true;
            continue;
        }
        let number = arguments.next().and_then(|text| text.parse::<u32>().ok()).filter(|number| *number > 0);
        match (argument.as_str(), number) {
            ("--calls", Some(number)) => calls = number,
            ("--first", Some(number)) => first = number,
            ("--live", Some(number)) => live = number as usize,
            _ => {
                eprintln!("usage: churn [--calls N] [--first N] [--live N] [--calls-only]");
                return ExitCode::from(2);
            }
        }
    }
    let mut churn = Churn::start(live);
    if calls_only {
        (0..calls).for_each(|number| churn.call(number));
        churn.end_all();
        return ExitCode::SUCCESS;
    }
    println!("| {:>7} | memory, kB | settled, kB | descriptors | threads | calls a second |", "calls");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut settled = Vec::new();
    let mut done = 0;
    while done < calls {
        let begin = Instant::now();
        let end = (done + first).min(calls);
        (done..end).for_each(|number| churn.call(number));
        churn.end_all();
        let rate = f64::from(end - done) / begin.elapsed().as_secs_f64();
        done = end;
        let memory = churn.look().resident_kb;
        if done == first || done == calls {
            churn.settle(calls + done);
            settled.push(churn.look());
        }
        let look = churn.look();
        let rest = if done == first || done == calls { look.resident_kb.to_string() } else { "-".into() };
        println!("| {done:>7} | {memory} | {rest} | {} | {} | {rate:.0} |", look.descriptors, look.threads);
    }
    let (Some(before), Some(after)) = (settled.first(), settled.last()) else { return ExitCode::from(2) };
    let growth = 100.0 * (after.resident_kb as f64 / before.resident_kb as f64 - 1.0);
    println!("memory has grown by {growth:.2} % (at most {TOLERANCE} %) since the first {first} calls");
    let same = (before.descriptors, before.threads) == (after.descriptors, after.threads);
    if !same {
        println!("descriptors or threads have leaked");
    }
    if growth <= TOLERANCE && same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The daemon without a call.
struct Look {
    resident_kb: u64,
    descriptors: usize,
    threads: usize,
}

struct Churn {
    daemon: Measured,
    /// Of the two parties of all calls.
    parties: [UdpSocket; 2],
    live: Vec<u32>,
    most: usize,
}

impl Churn {
    fn start(most: usize) -> Self {
        let daemon = Measured::start(Kind::Ours, &relay_binary());
        let parties = [(); 2].map(|()| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            socket.set_nonblocking(true).expect("a flag");
            socket
        });
        Self { daemon, parties, live: Vec::with_capacity(most + 1), most }
    }

    /// One call more; when there are enough, another one ends.
    fn call(&mut self, number: u32) {
        let id = format!("churn-{number}");
        let is_transcoded = number % 16 == 3;
        let key = (number % 8 == 5).then(|| Key::random(SUITE));
        let transport = if key.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
        let mut offer = json!({"command": "offer", "call-id": id, "from-tag": "a", "sdp": self.description(0, false, None),
            "replace": ["origin", "session-connection"], "transport-protocol": transport, "DTLS": "off",
            "ICE": if number % 12 == 7 { "force" } else { "remove" }});
        if is_transcoded {
            offer["codec"] = json!({"transcode": ["PCMA"], "mask": ["PCMU"]});
        }
        let offered = media_of(&self.daemon.ng.ok(offer.clone()));
        let receive = key.as_ref().map(|_| offered_key(&offered));
        let answer = json!({"command": "answer", "call-id": id, "from-tag": "a", "to-tag": "b",
            "sdp": self.description(1, is_transcoded, key.as_ref()), "ICE": "remove", "DTLS": "off",
            "replace": ["origin", "session-connection"]});
        let answered = media_of(&self.daemon.ng.ok(answer.clone()));
        let mut security = key.zip(receive).map(|(send, receive)| Endpoint::new(send, receive));
        for sequence_number in 0..PACKETS {
            for (party, (media, payload_type)) in
                [(&answered, 0), (&offered, if is_transcoded { 8 } else { 0 })].into_iter().enumerate()
            {
                let packet = rtp(payload_type, sequence_number, number);
                let packet = match &mut security {
                    Some(security) if party == 1 => security.protect(&packet),
                    _ => packet,
                };
                // What does not fit into a buffer is lost, as ever.
                let _ = self.parties[party].send_to(&packet, media.rtp);
            }
        }
        let _ = self.parties[0].send_to(&sender_report(number), answered.rtcp);
        if number % 10 == 9 {
            offer["to-tag"] = "b".into();
            self.daemon.ng.ok(offer);
            self.daemon.ng.ok(answer);
        }
        self.drain();
        self.live.push(number);
        if self.live.len() > self.most {
            // Neither the oldest nor the newest.
            let ended = self.live.swap_remove(number.wrapping_mul(0x9e37_79b1) as usize % self.most);
            self.end(ended);
        }
    }

    fn end(&self, number: u32) {
        self.daemon.ng.ok(json!({"command": "delete", "call-id": format!("churn-{number}")}));
    }

    fn end_all(&mut self) {
        std::mem::take(&mut self.live).into_iter().for_each(|number| self.end(number));
    }

    /// Waits until the replies that are kept for repeated requests are gone: there are two generations of them, which change with a request.
    /// The allocator gives memory back when it is asked for some.
    fn settle(&mut self, next: u32) {
        for _ in 0..3 {
            let _ = self.daemon.ng.request(&json!({"command": "ping"}));
            std::thread::sleep(GENERATION);
        }
        (next..next + SETTLING).for_each(|number| self.call(number));
        self.end_all();
    }

    fn look(&self) -> Look {
        // Workers let go of a call within milliseconds, the allocator's pages follow within a second.
        std::thread::sleep(Duration::from_millis(1500));
        let entries = |folder: &str| {
            let path = format!("/proc/{}/{folder}", self.daemon.process.id());
            std::fs::read_dir(path).map_or(0, Iterator::count)
        };
        Look { resident_kb: self.daemon.resident_kb(), descriptors: entries("fd"), threads: entries("task") }
    }

    fn drain(&self) {
        let mut buffer = [0; 2048];
        for socket in &self.parties {
            while socket.recv(&mut buffer).is_ok() {}
        }
    }

    fn description(&self, party: usize, is_transcoded: bool, key: Option<&Key>) -> String {
        let at: SocketAddr = self.parties[party].local_addr().expect("bound");
        let crypto = key.map(|key| format!("crypto:{}", key.to_line(1)));
        let lines: Vec<&str> = ["sendrecv", "ptime:20"].into_iter().chain(crypto.as_deref()).collect();
        let formats: &[&str] = match is_transcoded {
            true => &["8 PCMA/8000", "101 telephone-event/8000 0-15"],
            false => &["0 PCMU/8000", "101 telephone-event/8000 0-15"],
        };
        let sdp = sdp::audio(at, formats, &lines);
        if key.is_some() { sdp.replace("RTP/AVP", "RTP/SAVP") } else { sdp }
    }
}

fn media_of(reply: &Value) -> Media {
    sdp::media(reply["sdp"].as_str().unwrap_or_else(|| panic!("no sdp in {reply}")))
}

fn offered_key(media: &Media) -> Key {
    let mut lines = media.attributes.iter().filter_map(|line| line.strip_prefix("crypto:"));
    Key::parse(lines.find(|line| line.split(' ').nth(1) == Some(SUITE)).expect("a line with the suite"))
}

fn rtp(payload_type: u8, sequence_number: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0xd5; 172];
    packet[..2].copy_from_slice(&[0x80, payload_type]);
    packet[2..4].copy_from_slice(&sequence_number.to_be_bytes());
    packet[4..8].copy_from_slice(&(160 * u32::from(sequence_number)).to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    packet
}

/// RFC 3550 §6.4.1, without report blocks.
fn sender_report(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0; 28];
    packet[..4].copy_from_slice(&[0x80, 200, 0, 6]);
    packet[4..8].copy_from_slice(&ssrc.to_be_bytes());
    packet
}

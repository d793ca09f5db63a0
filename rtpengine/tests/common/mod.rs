//! A data plane and parties with sockets of their own, for the tests of the data plane.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use codec::PayloadFormat;
use codec::rtp::{RtpPacket, write_header};
use rtpengine::config::{Config, LocalAddress};
use rtpengine::media::event::MediaEvent;
use rtpengine::media::plan::*;
use rtpengine::media::port_pool::{LocalPort, PortPool};
use rtpengine::media::{MediaPlane, WorkerId, tap};
use tokio::sync::mpsc;

/// Source of numbers that no two things of a program share.
pub static NEXT: AtomicU64 = AtomicU64::new(1);
pub const WORKER: WorkerId = WorkerId(0);
pub const FORWARD: Handling = Handling::FORWARD;

/// A running data plane, its ports, and what it tells.
pub struct Relay {
    pub plane: MediaPlane,
    pub pool: Arc<PortPool>,
    pub v4: LocalAddress,
    pub v6: LocalAddress,
    pub events: mpsc::Receiver<MediaEvent>,
    pub tap: tap::Consumer,
}

/// Programs that run at the same time have different ports.
pub fn relay(ports: (u16, u16)) -> Relay {
    relay_with(ports, |_| ())
}

/// A relay with other options.
pub fn relay_with(ports: (u16, u16), change: impl FnOnce(&mut Config)) -> Relay {
    let address = |ip: &str| {
        let address: IpAddr = ip.parse().unwrap();
        LocalAddress { address, advertised: address, ports: None }
    };
    let (v4, v6) = (address("127.0.0.1"), address("::1"));
    let mut config = Config::for_address(v4.address, v4.address);
    config.interfaces[0].addresses.push(v6);
    change(&mut config);
    let pool = PortPool::new(&config.interfaces, ports, 0, &[]);
    let (producer, tap) = tap::ring(1 << 20);
    let (sender, events) = mpsc::channel(64);
    let plane = MediaPlane::start(&config, vec![producer], sender).unwrap();
    Relay { plane, pool, v4, v6, events, tap }
}

/// A party: its socket, and the stream that faces it.
pub struct Party {
    pub socket: UdpSocket,
    pub stream: StreamPlan,
}

pub fn stream(socket: Arc<LocalPort>, peer: SocketAddr) -> StreamPlan {
    let formats = Arc::from([format(0, "PCMU"), format(8, "PCMA")]);
    StreamPlan { formats, ..StreamPlan::new(StreamId(NEXT.fetch_add(1, Relaxed)), Expect::Rtp, socket, peer) }
}

pub fn party(relay: &Relay, local: &LocalAddress) -> Party {
    let socket = UdpSocket::bind((local.address, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let port = relay.pool.allocate(local, 2).unwrap().remove(0);
    let stream = stream(port, socket.local_addr().unwrap());
    Party { socket, stream }
}

/// Adds the socket and stream for RTCP behind a party's RTP stream.
pub fn rtcp_party(relay: &Relay, rtp: &Party) -> Party {
    let mut party = party(relay, &relay.v4);
    party.stream.expect = Expect::Rtcp;
    party.stream.formats = rtp.stream.formats.clone();
    party
}

pub fn format(payload_type: u8, name: &str) -> PayloadFormat {
    PayloadFormat::new(payload_type, name, 8000, 1)
}

pub fn edge(from: &Party, to: &Party, default: Handling) -> EdgePlan {
    EdgePlan { default, ..EdgePlan::new(from.stream.id, to.stream.id) }
}

pub fn call(a: &Party, b: &Party, edges: Vec<EdgePlan>) -> CallPlan {
    let streams = vec![a.stream.clone(), b.stream.clone()];
    CallPlan { key: CallKey(NEXT.fetch_add(1, Relaxed)), streams, edges, gateways: Vec::new(), tap: None }
}

/// 20 ms of PCMA.
pub fn rtp(payload_type: u8, sequence_number: u16) -> Vec<u8> {
    let mut header = [0; 12];
    let timestamp = u32::from(sequence_number) * 160;
    write_header(&mut header, false, payload_type, sequence_number, timestamp, 0xabcd);
    [&header[..], &[0xd5; 160]].concat()
}

impl Party {
    pub fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.stream.socket.local).unwrap();
    }

    pub fn receive(&self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let (length, from) = self.socket.recv_from(&mut buffer).unwrap();
        assert_eq!(from, self.stream.socket.local);
        buffer[..length].to_vec()
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.stream.shared.drops[reason as usize].get()
    }
}

/// Waits for what other threads do.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::yield_now();
    }
}

/// SSRC, sequence number and timestamp.
pub fn numbers(packet: &[u8]) -> (u32, u16, u32) {
    let packet = RtpPacket::parse(packet).unwrap();
    (packet.ssrc(), packet.sequence_number(), packet.timestamp())
}

pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

pub fn to_words(octets: &[u8]) -> Vec<u32> {
    octets.chunks_exact(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect()
}

/// A player of PCMA, and what it is fed through.
pub fn player(target: &Party, block_egress: bool) -> (rtrb::Producer<PlayerFrame>, PlayerPlan) {
    let (producer, frames) = rtrb::RingBuffer::new(64);
    let plan = PlayerPlan {
        id: PlayerId(5),
        target: target.stream.id,
        payload_type: 8,
        ssrc: 99,
        first_sequence: 10,
        first_timestamp: 1000,
        clock_rate: 8000,
        frames,
        block_egress,
    };
    (producer, plan)
}

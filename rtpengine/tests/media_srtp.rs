//! SRTP through the data plane, read and written by another implementation on the parties' side.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use codec::graph::TranscodePlan;
use codec::rtp::{RtpPacket, write_header};
use e2e::srtp::{Endpoint, Key, is_rtcp};
use rtpengine::config::EndpointLearning;
use rtpengine::media::plan::*;
use rtpengine::proto::srtp::{MasterKey, SessionParameters, Suite};

mod common;
use common::{FORWARD, NEXT, Relay, WORKER, format, until};

const KEY: CallKey = CallKey(1);

const CM80: &str = "AES_CM_128_HMAC_SHA1_80";
const SUITES: &[&str] = &[
    "AEAD_AES_256_GCM",
    "AEAD_AES_128_GCM",
    "AES_256_CM_HMAC_SHA1_80",
    "AES_256_CM_HMAC_SHA1_32",
    "AES_192_CM_HMAC_SHA1_80",
    "AES_192_CM_HMAC_SHA1_32",
    CM80,
    "AES_CM_128_HMAC_SHA1_32",
    "F8_128_HMAC_SHA1_80",
    "F8_128_HMAC_SHA1_32",
];

fn relay() -> Relay {
    common::relay((34_000, 39_999))
}

/// One direction's key, for us and for the party.
fn keys(suite: &str, seed: u8, mki: &[u8]) -> (Arc<MasterKey>, Key) {
    let suite = Suite::by_name(suite).unwrap();
    let octets: Vec<u8> = (0..suite.key_salt_octets()).map(|i| seed ^ i as u8).collect();
    let key = MasterKey::new(suite, &octets, mki, SessionParameters::default()).unwrap();
    (Arc::new(key), Key { mki: mki.to_vec(), ..Key::new(suite.name, &octets) })
}

struct Party {
    socket: UdpSocket,
    stream: StreamPlan,
    other: Option<Endpoint>,
}

fn party(relay: &Relay) -> Party {
    let socket = UdpSocket::bind((relay.v4.address, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let id = StreamId(NEXT.fetch_add(1, Relaxed));
    let port = relay.pool.allocate(&relay.v4, 2).unwrap().remove(0);
    let peer = socket.local_addr().unwrap();
    let stream = StreamPlan {
        formats: Arc::from([format(0, "PCMU"), format(8, "PCMA")]),
        recorded: true,
        ..StreamPlan::new(id, Expect::RtpAndRtcp, port, peer)
    };
    Party { socket, stream, other: None }
}

fn secured(relay: &Relay, suite: &str, mki: &[u8]) -> Party {
    let mut party = party(relay);
    party.rekey(suite, NEXT.fetch_add(2, Relaxed) as u8, mki);
    party
}

impl Party {
    /// New keys on both sides, derived from `seed`.
    fn rekey(&mut self, suite: &str, seed: u8, mki: &[u8]) {
        let (receive, theirs) = keys(suite, seed, mki);
        let (send, ours) = keys(suite, seed.wrapping_add(101), mki);
        self.stream.security = StreamSecurity::Srtp { receive: Some(receive), send: Some(send) };
        self.other = Some(Endpoint::new(theirs, ours));
    }

    fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        match &mut self.other {
            Some(other) => other.protect(packet),
            None => packet.to_vec(),
        }
    }

    fn send(&mut self, packet: &[u8]) {
        let sealed = self.seal(packet);
        self.socket.send_to(&sealed, self.stream.socket.local).unwrap();
    }

    fn receive_raw(&self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let (length, from) = self.socket.recv_from(&mut buffer).unwrap();
        assert_eq!(from, self.stream.socket.local);
        buffer[..length].to_vec()
    }

    /// The next packet, decrypted; on a secured stream nothing of the payload may be readable on the wire.
    fn receive(&mut self) -> Vec<u8> {
        let raw = self.receive_raw();
        let Some(other) = &mut self.other else { return raw };
        let clear = other.unprotect(&raw).expect("authentic");
        let body = if is_rtcp(&clear) { 8 } else { 12 };
        for window in clear[body..].windows(8) {
            assert!(!raw.windows(8).any(|octets| octets == window), "clear octets on the wire");
        }
        clear
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.stream.shared.drops[reason as usize].get()
    }
}

fn edge(from: &Party, to: &Party, default: Handling) -> EdgePlan {
    EdgePlan { default, ..EdgePlan::new(from.stream.id, to.stream.id) }
}

fn install(relay: &Relay, [a, b]: [&Party; 2], edges: Vec<EdgePlan>, recording: Option<u64>) {
    let streams = vec![a.stream.clone(), b.stream.clone()];
    let tap = recording.map(|recording| TapPlan { recording, ingress: true, egress: true });
    relay.plane.install(WORKER, CallPlan { key: KEY, streams, edges, gateways: Vec::new(), tap });
}

fn forward_both_ways(relay: &Relay, a: &Party, b: &Party) {
    install(relay, [a, b], vec![edge(a, b, FORWARD), edge(b, a, FORWARD)], None);
}

/// A packet whose payload is not the same at any two places.
fn rtp(ssrc: u32, sequence_number: u16) -> Vec<u8> {
    let mut header = [0; 12];
    write_header(&mut header, false, 0, sequence_number, u32::from(sequence_number) * 160, ssrc);
    let payload = (0..160_u32).map(|i| (i * i / 7 + i + u32::from(sequence_number)) as u8);
    header.into_iter().chain(payload).collect()
}

fn report(ssrc: u32) -> Vec<u8> {
    let mut report = vec![0x81, 201, 0, 7];
    report.extend(ssrc.to_be_bytes());
    report.extend((0..24_u32).map(|i| (i * 37) as u8));
    report
}

fn pass(from: &mut Party, to: &mut Party, ssrc: u32, sequence_numbers: impl Iterator<Item = u16>) {
    for sequence_number in sequence_numbers {
        let packet = rtp(ssrc, sequence_number);
        from.send(&packet);
        assert_eq!(to.receive(), packet, "{sequence_number}");
    }
}

#[test]
fn every_pair_of_suites_is_bridged_both_ways_with_rtcp() {
    let relay = relay();
    let sides: Vec<Option<&str>> =
        std::iter::once(None).chain(SUITES.iter().map(|suite| Some(*suite))).collect();
    for left in &sides {
        for right in &sides {
            let side = |suite: &Option<&str>| match suite {
                None => party(&relay),
                Some(suite) => secured(&relay, suite, &[]),
            };
            let (mut a, mut b) = (side(left), side(right));
            forward_both_ways(&relay, &a, &b);
            pass(&mut a, &mut b, 7, (65_530..=65_535).chain(0..6));
            pass(&mut b, &mut a, 8, 100..106);
            for _ in 0..3 {
                a.send(&report(7));
                assert_eq!(b.receive(), report(7), "{left:?} to {right:?}");
                b.send(&report(8));
                assert_eq!(a.receive(), report(8), "{right:?} to {left:?}");
            }
        }
    }
}

#[test]
fn many_packets_at_once_are_all_protected() {
    let relay = relay();
    let (mut a, mut b) = (party(&relay), secured(&relay, CM80, &[]));
    forward_both_ways(&relay, &a, &b);
    for sequence_number in 0..100 {
        a.send(&rtp(7, sequence_number));
    }
    for sequence_number in 0..100 {
        assert_eq!(b.receive(), rtp(7, sequence_number));
    }
}

#[test]
fn key_identifiers_are_written_and_read() {
    let relay = relay();
    for suite in SUITES {
        let (mut a, mut b) = (secured(&relay, suite, &[0, 0, 0, 1]), secured(&relay, CM80, &[9; 16]));
        forward_both_ways(&relay, &a, &b);
        pass(&mut a, &mut b, 7, 0..5);
        pass(&mut b, &mut a, 8, 0..5);
    }
}

#[test]
fn transcoding_happens_between_clear_packets() {
    let relay = relay();
    let (mut a, mut b) = (secured(&relay, "AEAD_AES_256_GCM", &[]), secured(&relay, CM80, &[]));
    let plan = TranscodePlan::new(format(0, "PCMU"), format(8, "PCMA"), Default::default());
    let edges = vec![edge(&a, &b, Handling::Transcode(Arc::new(plan))), edge(&b, &a, FORWARD)];
    install(&relay, [&a, &b], edges, None);
    for sequence_number in 0..10 {
        a.send(&rtp(7, sequence_number));
        let heard = b.receive();
        let heard = RtpPacket::parse(&heard).unwrap();
        assert_eq!((heard.payload_type(), heard.payload().len()), (8, 160));
        assert_ne!(heard.ssrc(), 7);
    }
}

#[test]
fn recorder_gets_clear_packets() {
    let mut relay = relay();
    let (mut a, mut b) = (secured(&relay, CM80, &[]), secured(&relay, "AEAD_AES_128_GCM", &[]));
    install(&relay, [&a, &b], vec![edge(&a, &b, FORWARD)], Some(5));
    pass(&mut a, &mut b, 7, 0..3);
    let mut recorded = Vec::new();
    until("recording", || {
        relay.tap.drain(&mut |record| recorded.push(record.payload.to_vec()));
        recorded.len() == 6
    });
    let expected: Vec<_> = (0..3).flat_map(|sequence| [rtp(7, sequence), rtp(7, sequence)]).collect();
    assert_eq!(recorded, expected);
}

#[test]
fn plan_with_the_same_keys_keeps_roll_over_and_replay_list() {
    let relay = relay();
    let (mut a, mut b) = (secured(&relay, CM80, &[]), secured(&relay, "AEAD_AES_128_GCM", &[]));
    forward_both_ways(&relay, &a, &b);
    pass(&mut a, &mut b, 7, 65_534..=65_535);
    let packet = rtp(7, 0);
    let sealed = a.seal(&packet);
    a.socket.send_to(&sealed, a.stream.socket.local).unwrap();
    assert_eq!(b.receive(), packet);
    // The same keys, and b on another of our ports.
    b.stream.socket = relay.pool.allocate(&relay.v4, 2).unwrap().remove(0);
    forward_both_ways(&relay, &a, &b);
    pass(&mut a, &mut b, 7, 1..4);
    a.socket.send_to(&sealed, a.stream.socket.local).unwrap();
    until("refusal", || a.drops(DropReason::Replayed) == 1);
    pass(&mut b, &mut a, 8, 1..4);
}

#[test]
fn new_keys_take_over_without_a_gap() {
    let relay = relay();
    let (mut a, mut b) = (secured(&relay, CM80, &[]), secured(&relay, CM80, &[]));
    forward_both_ways(&relay, &a, &b);
    pass(&mut a, &mut b, 7, 0..4);
    let still_old = a.seal(&rtp(7, 4));
    for (party, seed) in [(&mut a, 201), (&mut b, 15)] {
        party.rekey("AES_256_CM_HMAC_SHA1_80", seed, &[]);
    }
    forward_both_ways(&relay, &a, &b);
    a.socket.send_to(&still_old, a.stream.socket.local).unwrap();
    assert_eq!(b.receive(), rtp(7, 4));
    pass(&mut a, &mut b, 7, 5..9);
    pass(&mut b, &mut a, 8, 5..9);
    a.socket.send_to(&still_old, a.stream.socket.local).unwrap();
    until("refusal", || a.drops(DropReason::NotAuthentic) == 1);
}

#[test]
fn clear_and_forged_packets_neither_pass_nor_teach_a_source() {
    let relay = relay();
    let (mut a, mut b) = (secured(&relay, CM80, &[]), party(&relay));
    // Whatever comes first would be learned.
    a.stream.learning = EndpointLearning::Immediate;
    forward_both_ways(&relay, &a, &b);
    let mut stranger = secured(&relay, CM80, &[]);
    let forged = stranger.seal(&rtp(7, 1));
    for packet in [rtp(7, 1), forged, report(7)] {
        stranger.socket.send_to(&packet, a.stream.socket.local).unwrap();
    }
    let refused = || a.drops(DropReason::NotAuthentic) + a.drops(DropReason::Malformed);
    until("refusal", || refused() == 3);
    assert_eq!(a.stream.shared.ingress.errors.get(), 3);
    assert_eq!(a.stream.shared.ingress.packets.get(), 0);
    pass(&mut b, &mut a, 8, 0..3);
    pass(&mut a, &mut b, 7, 1..4);
}

#[test]
fn stream_without_keys_is_silent() {
    let relay = relay();
    let (mut a, mut b) = (party(&relay), party(&relay));
    b.stream.security = StreamSecurity::Srtp { receive: None, send: None };
    forward_both_ways(&relay, &a, &b);
    a.send(&rtp(7, 1));
    b.send(&rtp(8, 1));
    until("refusal", || a.drops(DropReason::NoKey) == 1 && b.drops(DropReason::NoKey) == 1);
    assert_eq!((a.stream.shared.egress.packets.get(), b.stream.shared.egress.packets.get()), (0, 0));
    // The keys come.
    b.rekey(CM80, 99, &[]);
    forward_both_ways(&relay, &a, &b);
    pass(&mut a, &mut b, 7, 2..5);
    pass(&mut b, &mut a, 8, 2..5);
}

#[test]
fn reports_of_players_are_protected() {
    let relay = relay();
    let (a, mut b) = (party(&relay), secured(&relay, CM80, &[]));
    forward_both_ways(&relay, &a, &b);
    let (mut producer, frames) = rtrb::RingBuffer::new(8);
    for octet in 0..5_u8 {
        let payload = (0..160_u32).map(|i| (i * i / 3) as u8 ^ octet).collect();
        producer.push(PlayerFrame { payload, duration: 160 }).unwrap();
    }
    let player = PlayerPlan {
        id: PlayerId(1),
        target: b.stream.id,
        payload_type: 0,
        ssrc: 55,
        first_sequence: 65_534,
        first_timestamp: 0,
        clock_rate: 8000,
        frames,
        block_egress: true,
    };
    relay.plane.start_player(WORKER, KEY, player);
    for sequence_number in [65_534, 65_535, 0, 1, 2] {
        let heard = b.receive();
        assert_eq!(RtpPacket::parse(&heard).unwrap().sequence_number(), sequence_number);
    }
}

//! The data plane on loopback sockets: what goes in, what comes out, what is counted.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use codec::PayloadFormat;
use codec::graph::TranscodePlan;
use codec::rtp::{RtpPacket, write_header};
use rtpengine::config::{Config, EndpointLearning, LocalAddress};
use rtpengine::media::event::MediaEvent;
use rtpengine::media::plan::*;
use rtpengine::media::port_pool::{LocalPort, PortPool};
use rtpengine::media::stats::StreamShared;
use rtpengine::media::{MediaPlane, WorkerId, tap};
use tokio::sync::mpsc;

static NEXT: AtomicU64 = AtomicU64::new(1);
const WORKER: WorkerId = WorkerId(0);
const FORWARD: Handling = Handling::Forward { payload_type: None };

struct Relay {
    plane: MediaPlane,
    pool: Arc<PortPool>,
    v4: LocalAddress,
    v6: LocalAddress,
    events: mpsc::Receiver<MediaEvent>,
    tap: tap::Consumer,
}

fn relay() -> Relay {
    let address = |ip: &str| {
        let address: IpAddr = ip.parse().unwrap();
        LocalAddress { address, advertised: address, ports: None }
    };
    let (v4, v6) = (address("127.0.0.1"), address("::1"));
    let mut config = Config::for_address(v4.address, v4.address);
    config.interfaces[0].addresses.push(v6);
    let pool = PortPool::new(&config.interfaces, (42_000, 48_999), 0, &[]);
    let (producer, tap) = tap::ring(1 << 20);
    let (sender, events) = mpsc::channel(64);
    let plane = MediaPlane::start(&config, vec![producer], sender).unwrap();
    Relay { plane, pool, v4, v6, events, tap }
}

/// A party: its socket, and the stream that faces it.
struct Party {
    socket: UdpSocket,
    stream: StreamPlan,
}

fn stream(socket: Arc<LocalPort>, peer: SocketAddr) -> StreamPlan {
    StreamPlan {
        id: StreamId(NEXT.fetch_add(1, Relaxed)),
        expect: Expect::Rtp,
        socket,
        interface: Default::default(),
        peer: Some(peer),
        learning: EndpointLearning::Heuristic,
        learning_epoch: 0,
        strict_source: false,
        media_handover: false,
        unheard: Default::default(),
        block_short: false,
        formats: Arc::from([format(0, "PCMU"), format(8, "PCMA")]),
        shared: Arc::new(StreamShared::default()),
        recorded: false,
        security: StreamSecurity::Plain,
    }
}

fn party(relay: &Relay, local: &LocalAddress) -> Party {
    let socket = UdpSocket::bind((local.address, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let port = relay.pool.allocate(local, 2).unwrap().remove(0);
    let stream = stream(port, socket.local_addr().unwrap());
    Party { socket, stream }
}

fn format(payload_type: u8, name: &str) -> PayloadFormat {
    PayloadFormat { payload_type, name: name.into(), clock_rate: 8000, channels: 1, fmtp: String::new() }
}

fn edge(from: &Party, to: &Party, default: Handling) -> EdgePlan {
    let to = Some(to.stream.id);
    EdgePlan {
        from: from.stream.id,
        rtp_to: to,
        rtcp_to: to,
        default,
        by_payload_type: Vec::new(),
        treatment: Default::default(),
    }
}

fn call(a: &Party, b: &Party, edges: Vec<EdgePlan>) -> CallPlan {
    let streams = vec![a.stream.clone(), b.stream.clone()];
    CallPlan { key: CallKey(NEXT.fetch_add(1, Relaxed)), streams, edges, tap: None }
}

fn rtp(payload_type: u8, sequence_number: u16) -> Vec<u8> {
    let mut header = [0; 12];
    let timestamp = u32::from(sequence_number) * 160;
    write_header(&mut header, false, payload_type, sequence_number, timestamp, 0xabcd);
    [&header[..], &[0xd5; 160]].concat()
}

impl Party {
    fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.stream.socket.local).unwrap();
    }

    fn receive(&self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let (length, from) = self.socket.recv_from(&mut buffer).unwrap();
        assert_eq!(from, self.stream.socket.local);
        buffer[..length].to_vec()
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.stream.shared.drops[reason as usize].get()
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::yield_now();
    }
}

#[test]
fn packets_pass_unchanged_between_all_address_families() {
    let relay = relay();
    for (left, right) in [(relay.v4, relay.v4), (relay.v6, relay.v6), (relay.v4, relay.v6)] {
        let (a, b) = (party(&relay, &left), party(&relay, &right));
        let plan = call(&a, &b, vec![edge(&a, &b, FORWARD), edge(&b, &a, FORWARD)]);
        relay.plane.install(relay.plane.assign(), plan);
        for sequence_number in 0..200 {
            let packet = rtp(0, sequence_number);
            a.send(&packet);
            assert_eq!(b.receive(), packet);
            b.send(&packet);
            assert_eq!(a.receive(), packet);
        }
        let shared = &a.stream.shared;
        until("counting", || shared.egress_ssrc[0].packets.get() == 200);
        assert_eq!((shared.ingress.packets.get(), shared.ingress.octets.get()), (200, 200 * 172));
        assert_eq!((shared.egress.packets.get(), shared.egress.octets.get()), (200, 200 * 172));
        assert_eq!(shared.ingress_ssrc[0].packets.get(), 200);
        assert_eq!(shared.ingress_ssrc[0].ssrc.load(Relaxed), 0xabcd);
    }
    relay.plane.shutdown();
}

#[test]
fn payload_types_are_rewritten_and_filtered() {
    let relay = relay();
    let (a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    let mut edge = edge(&a, &b, Handling::Drop(DropReason::PayloadType));
    edge.by_payload_type.push((0, Handling::Forward { payload_type: Some(100) }));
    relay.plane.install(WORKER, call(&a, &b, vec![edge]));
    a.send(&rtp(8, 1));
    a.send(&rtp(0, 2));
    assert_eq!(b.receive(), rtp(100, 2));
    until("drop", || a.drops(DropReason::PayloadType) == 1);
}

#[test]
fn stranger_cannot_inject_once_the_peer_is_confirmed() {
    let relay = relay();
    let (a, b, stranger) = (party(&relay, &relay.v4), party(&relay, &relay.v4), party(&relay, &relay.v4));
    relay.plane.install(WORKER, call(&a, &b, vec![edge(&a, &b, FORWARD)]));
    a.send(&rtp(0, 1));
    b.receive();
    stranger.socket.send_to(&rtp(0, 9), a.stream.socket.local).unwrap();
    until("refusal", || a.drops(DropReason::WrongSource) == 1);
    a.send(&rtp(0, 2));
    assert_eq!(b.receive(), rtp(0, 2));
}

#[test]
fn immediate_learning_moves_the_peer_and_survives_a_new_plan() {
    let mut relay = relay();
    let (mut a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    a.stream.learning = EndpointLearning::Immediate;
    a.stream.peer = Some("127.0.0.1:9".parse().unwrap());
    let plan = call(&a, &b, vec![edge(&a, &b, FORWARD), edge(&b, &a, FORWARD)]);
    relay.plane.install(WORKER, plan.clone());
    a.send(&rtp(0, 1));
    b.receive();
    let peer = a.socket.local_addr().unwrap();
    let learned = MediaEvent::EndpointLearned { call: plan.key, stream: a.stream.id, peer };
    assert_eq!(relay.events.blocking_recv(), Some(learned));
    relay.plane.install(WORKER, plan);
    b.send(&rtp(0, 7));
    assert_eq!(a.receive(), rtp(0, 7));
}

#[test]
fn multiplexed_rtcp_goes_to_its_own_sink() {
    let relay = relay();
    let (mut a, b, mut c) = (party(&relay, &relay.v4), party(&relay, &relay.v4), party(&relay, &relay.v4));
    a.stream.expect = Expect::RtpAndRtcp;
    c.stream.expect = Expect::Rtcp;
    let mut edge = edge(&a, &b, FORWARD);
    edge.rtcp_to = Some(c.stream.id);
    let mut plan = call(&a, &b, vec![edge]);
    plan.streams.push(c.stream.clone());
    relay.plane.install(WORKER, plan);
    let report = [0x80, 201, 0, 1, 0, 0, 0, 5];
    a.send(&report);
    a.send(&rtp(0, 1));
    assert_eq!(c.receive(), report);
    assert_eq!(b.receive(), rtp(0, 1));
    assert_eq!(a.stream.shared.rtcp_ingress.packets.get(), 1);
    b.send(&report);
    until("refusal", || b.drops(DropReason::Unexpected) == 1);
}

#[test]
fn player_paces_its_frames_mutes_others_and_reports_its_end() {
    let mut relay = relay();
    let (a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    let plan = call(&a, &b, vec![edge(&a, &b, FORWARD)]);
    relay.plane.install(WORKER, plan.clone());
    let (mut frames, consumer) = rtrb::RingBuffer::new(16);
    for _ in 0..10 {
        frames.push(PlayerFrame { payload: Arc::from([0x55; 160]), duration: 160 }).unwrap();
    }
    drop(frames);
    let player = PlayerPlan {
        id: PlayerId(5),
        target: b.stream.id,
        payload_type: 8,
        ssrc: 99,
        first_sequence: 10,
        first_timestamp: 1000,
        clock_rate: 8000,
        frames: consumer,
        block_egress: true,
    };
    let start = Instant::now();
    relay.plane.start_player(WORKER, plan.key, player);
    for index in 0..10u16 {
        let packet = b.receive();
        if index == 0 {
            a.send(&rtp(0, 1));
        }
        let packet = RtpPacket::parse(&packet).unwrap();
        assert_eq!((packet.ssrc(), packet.sequence_number()), (99, 10 + index));
        let timestamp = 1000 + 160 * u32::from(index);
        assert_eq!((packet.timestamp(), packet.marker()), (timestamp, index == 0));
    }
    assert!(start.elapsed() >= Duration::from_millis(175), "{:?}", start.elapsed());
    let finished = MediaEvent::PlayerFinished {
        call: plan.key,
        player: PlayerId(5),
        frames_played: 10,
        next_sequence: 20,
        next_timestamp: 2600,
    };
    assert_eq!(relay.events.blocking_recv(), Some(finished));
    assert_eq!(a.drops(DropReason::Blocked), 1);
    a.send(&rtp(0, 2));
    assert_eq!(b.receive(), rtp(0, 2));
}

#[test]
fn recorded_streams_reach_the_tap() {
    let mut relay = relay();
    let (mut a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    a.stream.recorded = true;
    let mut plan = call(&a, &b, vec![edge(&a, &b, FORWARD), edge(&b, &a, FORWARD)]);
    plan.tap = Some(TapPlan { recording: 7, ingress: true, egress: true });
    relay.plane.install(WORKER, plan);
    a.send(&rtp(0, 1));
    b.receive();
    b.send(&rtp(0, 2));
    a.receive();
    let mut seen = Vec::new();
    relay.tap.drain(&mut |r| seen.push((r.recording, r.stream, r.direction, r.payload.to_vec())));
    let (id, ingress, egress) = (a.stream.id.0, tap::TapDirection::Ingress, tap::TapDirection::Egress);
    assert_eq!(seen, [(7, id, ingress, rtp(0, 1)), (7, id, egress, rtp(0, 2))]);
}

#[test]
fn ten_thousand_calls_leave_nothing_behind() {
    let relay = relay();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for _ in 0..10_000 {
        let ports = relay.pool.allocate(&relay.v4, 2).unwrap();
        let peer = "127.0.0.1:9".parse().unwrap();
        let key = CallKey(NEXT.fetch_add(1, Relaxed));
        let streams = ports.into_iter().map(|port| stream(port, peer)).collect();
        relay.plane.install(WORKER, CallPlan { key, streams, edges: Vec::new(), tap: None });
        relay.plane.remove(WORKER, key);
        until("room", || relay.pool.usage(&relay.v4).1 < 500);
    }
    until("closing", || relay.pool.usage(&relay.v4).1 == 0);
    assert!(descriptors() <= before, "{} {before}", descriptors());
}

#[test]
fn transcoded_stream_has_its_own_ssrc_and_continuous_numbers() {
    let relay = relay();
    let (a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    let options = codec::EncoderOptions::default();
    let plan = TranscodePlan { source: format(0, "PCMU"), sink: format(8, "PCMA"), options };
    let mut edge = edge(&a, &b, Handling::Drop(DropReason::PayloadType));
    edge.by_payload_type.push((0, Handling::Transcode(Arc::new(plan))));
    relay.plane.install(WORKER, call(&a, &b, vec![edge]));
    let mut last = None;
    for sequence_number in 0..5 {
        a.send(&rtp(0, sequence_number));
        let packet = b.receive();
        let packet = RtpPacket::parse(&packet).unwrap();
        assert_eq!((packet.payload_type(), packet.payload().len()), (8, 160));
        assert_ne!(packet.ssrc(), 0xabcd);
        let this = (packet.ssrc(), packet.sequence_number());
        if let Some((ssrc, sequence)) = last {
            assert_eq!(this, (ssrc, u16::wrapping_add(sequence, 1)));
        }
        last = Some(this);
    }
}

fn transcode(source: PayloadFormat, sink: PayloadFormat) -> Handling {
    Handling::Transcode(Arc::new(TranscodePlan { source, sink, options: Default::default() }))
}

/// PCMU becomes PCMA, telephone events pass.
fn transcoding_edge(from: &Party, to: &Party) -> EdgePlan {
    let mut edge = edge(from, to, Handling::Drop(DropReason::PayloadType));
    edge.by_payload_type.push((0, transcode(format(0, "PCMU"), format(8, "PCMA"))));
    edge.by_payload_type.push((101, FORWARD));
    edge
}

/// SSRC, sequence number and timestamp.
fn numbers(packet: &[u8]) -> (u32, u16, u32) {
    let packet = RtpPacket::parse(packet).unwrap();
    (packet.ssrc(), packet.sequence_number(), packet.timestamp())
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn to_words(octets: &[u8]) -> Vec<u32> {
    octets.chunks_exact(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect()
}

/// Adds the socket and stream for RTCP behind a party's RTP stream.
fn rtcp_party(relay: &Relay, rtp: &Party) -> Party {
    let mut party = party(relay, &relay.v4);
    party.stream.expect = Expect::Rtcp;
    party.stream.formats = rtp.stream.formats.clone();
    party
}

#[test]
fn datagrams_and_rtcp_pass_unchanged_on_sockets_of_their_own() {
    let relay = relay();
    let (mut a, mut b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    (a.stream.expect, b.stream.expect) = (Expect::Datagrams, Expect::Datagrams);
    relay.plane.install(WORKER, call(&a, &b, vec![edge(&a, &b, FORWARD)]));
    for datagram in [&b"\x00\x01\x06T.38"[..], &rtp(0, 1), &[0x80, 200, 0, 1, 0, 0, 0, 5], b"x"] {
        a.send(datagram);
        assert_eq!(b.receive(), datagram);
    }
    let (a, b) = (rtcp_party(&relay, &a), rtcp_party(&relay, &b));
    let mut edge = edge(&a, &b, FORWARD);
    edge.rtp_to = None;
    relay.plane.install(WORKER, call(&a, &b, vec![edge]));
    let report = words(&[0x81c9_0007, 0xabcd, 0x66, 1, 2, 3, 4, 5]);
    a.send(&rtp(0, 1));
    a.send(&report);
    assert_eq!(b.receive(), report);
    assert_eq!((a.drops(DropReason::Unexpected), a.stream.shared.rtcp_ingress.packets.get()), (1, 1));
}

/// Audio in both directions, then reports in both directions, over `to_a` and `to_b`.
fn check_mapped_reports(relay: &Relay, a: &Party, b: &Party, rtcp: [&Party; 2], plan: CallPlan) {
    let [a_rtcp, b_rtcp] = rtcp;
    relay.plane.install(WORKER, plan);
    let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
    for sequence_number in 100..103 {
        a.send(&rtp(0, sequence_number));
        at_b = b.receive();
        b.send(&rtp(0, sequence_number + 1000));
        at_a = a.receive();
    }
    let (ssrc_at_a, last_at_a, _) = numbers(&at_a);
    let (ssrc_at_b, _, timestamp_at_b) = numbers(&at_b);
    assert!(ssrc_at_a != 0xabcd && ssrc_at_b != 0xabcd && ssrc_at_a != ssrc_at_b);
    // A reports on what it got, on a stranger, and on its own stream: 102 × 160 was sent 80 ticks ago.
    let report = [
        0x82c8_0012,
        0xabcd,
        0x0102_0304,
        0x0506_0708,
        102 * 160 + 80,
        900,
        90_000,
        0x7777,
        1,
        2,
        3,
        4,
        5,
        ssrc_at_a,
        0x40ff_fffe,
        u32::from(last_at_a),
        33,
        0xaaaa_bbbb,
        0x0001_0000,
    ];
    let description = [0x81ca_0002, 0xabcd, 0x0101_6100];
    a_rtcp.send(&words(&[&report[..], &description].concat()));
    assert_eq!(
        to_words(&b_rtcp.receive()),
        [
            0x81c8_000c,
            ssrc_at_b,
            0x0102_0304,
            0x0506_0708,
            timestamp_at_b + 80,
            3,
            480,
            0xabcd,
            0x40ff_fffe,
            1102,
            33,
            0xaaaa_bbbb,
            0x0001_0000,
            0x81ca_0002,
            ssrc_at_b,
            0x0101_6100
        ]
    );
    // B leaves.
    b_rtcp.send(&words(&[0x80c9_0001, 0xabcd, 0x81cb_0001, 0xabcd]));
    assert_eq!(to_words(&a_rtcp.receive()), [0x80c9_0001, ssrc_at_a, 0x81cb_0001, ssrc_at_a]);
    a_rtcp.send(&words(&[0x80c9_0001, 0xabcd, 0x81ca_0002, 1, 0x0109_6100]));
    until("refusal", || a_rtcp.drops(DropReason::Malformed) == 1);
}

#[test]
fn reports_of_transcoded_streams_are_mapped_on_multiplexed_sockets() {
    let relay = relay();
    let (mut a, mut b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    (a.stream.expect, b.stream.expect) = (Expect::RtpAndRtcp, Expect::RtpAndRtcp);
    let plan = call(&a, &b, vec![transcoding_edge(&a, &b), transcoding_edge(&b, &a)]);
    check_mapped_reports(&relay, &a, &b, [&a, &b], plan);
}

#[test]
fn reports_of_transcoded_streams_are_mapped_on_sockets_of_their_own() {
    let relay = relay();
    let (a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    let (a_rtcp, b_rtcp) = (rtcp_party(&relay, &a), rtcp_party(&relay, &b));
    let (to_a, to_b) = (Some(a_rtcp.stream.id), Some(b_rtcp.stream.id));
    let reports = |from: &Party, rtcp_to| EdgePlan { rtp_to: None, rtcp_to, ..edge(from, from, FORWARD) };
    let edges = vec![
        EdgePlan { rtcp_to: to_b, ..transcoding_edge(&a, &b) },
        reports(&a_rtcp, to_b),
        EdgePlan { rtcp_to: to_a, ..transcoding_edge(&b, &a) },
        reports(&b_rtcp, to_a),
    ];
    let mut plan = call(&a, &b, edges);
    plan.streams = [&a, &a_rtcp, &b, &b_rtcp].map(|party| party.stream.clone()).to_vec();
    check_mapped_reports(&relay, &a, &b, [&a_rtcp, &b_rtcp], plan);
}

#[test]
fn event_before_the_first_audio_gets_the_numbers_of_the_transcoder() {
    let relay = relay();
    let (mut a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    a.stream.formats = Arc::from([format(0, "PCMU"), format(101, "telephone-event")]);
    relay.plane.install(WORKER, call(&a, &b, vec![transcoding_edge(&a, &b)]));
    let mut received = Vec::new();
    for sequence_number in 0..8 {
        let mut packet = rtp(if sequence_number < 4 { 101 } else { 0 }, sequence_number);
        if sequence_number < 4 {
            packet.truncate(16);
            // The event began with the first packet.
            packet[4..8].fill(0);
        }
        a.send(&packet);
        received.push(numbers(&b.receive()));
    }
    let (ssrc, first, start) = received[0];
    assert_ne!(ssrc, 0xabcd);
    let expected: Vec<_> = (0..8u16)
        .map(|n| (ssrc, first.wrapping_add(n), if n < 4 { start } else { start + u32::from(n) * 160 }))
        .collect();
    assert_eq!(received, expected);
}

#[test]
fn re_offer_with_another_codec_and_hold_keep_ssrc_and_numbers() {
    let relay = relay();
    let (a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    let mut plan = call(&a, &b, vec![transcoding_edge(&a, &b)]);
    let mut next = 0;
    let mut pass = |payload_types: (u8, u8)| -> Vec<(u32, u16, u32)> {
        let packets = (0..5).map(|_| {
            a.send(&rtp(payload_types.0, next));
            next += 1;
            let packet = b.receive();
            assert_eq!(packet[1] & 0x7f, payload_types.1);
            numbers(&packet)
        });
        packets.collect()
    };
    relay.plane.install(WORKER, plan.clone());
    let mut received = pass((0, 8));
    plan.edges[0].rtp_to = None;
    relay.plane.install(WORKER, plan.clone());
    a.send(&rtp(0, 5));
    until("hold", || a.drops(DropReason::NoSink) == 1);
    plan.edges[0] = edge(&a, &b, Handling::Drop(DropReason::PayloadType));
    plan.edges[0].by_payload_type.push((0, transcode(format(0, "PCMU"), format(0, "PCMU"))));
    plan.edges[0].by_payload_type.push((8, transcode(format(8, "PCMA"), format(0, "PCMU"))));
    relay.plane.install(WORKER, plan);
    received.extend(pass((8, 0)));
    received.extend(pass((0, 0)));
    let (ssrc, first, start) = received[0];
    let expected: Vec<_> =
        (0..15u16).map(|n| (ssrc, first.wrapping_add(n), start + u32::from(n) * 160)).collect();
    assert_eq!(received, expected);
}

#[test]
fn more_ssrcs_than_slots_replace_the_oldest_and_do_not_get_transcoders_at_once() {
    let relay = relay();
    let (a, b, c) = (party(&relay, &relay.v4), party(&relay, &relay.v4), party(&relay, &relay.v4));
    let mut plan = call(&a, &b, vec![edge(&a, &b, FORWARD), transcoding_edge(&a, &c)]);
    plan.streams.push(c.stream.clone());
    relay.plane.install(WORKER, plan);
    let mut transcoded = Vec::new();
    for ssrc in 1..=6u32 {
        let mut packet = rtp(0, 1);
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        a.send(&packet);
        assert_eq!(b.receive(), packet);
        if ssrc <= 4 {
            transcoded.push(numbers(&c.receive()).0);
        }
    }
    until("refusal", || a.drops(DropReason::Codec) == 2);
    for slots in [&a.stream.shared.ingress_ssrc, &b.stream.shared.egress_ssrc] {
        let slots: Vec<_> = slots.iter().map(|s| (s.ssrc.load(Relaxed), s.packets.get())).collect();
        assert_eq!(slots, [(5, 1), (6, 1), (3, 1), (4, 1)]);
    }
    transcoded.sort_unstable();
    transcoded.dedup();
    assert_eq!(transcoded.len(), 4);
}

#[test]
fn packets_that_are_muted_while_they_wait_are_counted() {
    let relay = relay();
    let (a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    let plan = call(&a, &b, vec![transcoding_edge(&a, &b)]);
    relay.plane.install(WORKER, plan.clone());
    // Nearly a second's worth at once, which is spread over that second.
    for sequence_number in 0..45 {
        a.send(&rtp(0, sequence_number));
    }
    b.receive();
    let (_frames, player) = player(&b, true);
    relay.plane.start_player(WORKER, plan.key, player);
    until("muting", || {
        let sent = b.stream.shared.egress.packets.get();
        let blocked = a.drops(DropReason::Blocked);
        blocked > 0 && sent + blocked == 45
    });
}

fn player(target: &Party, block_egress: bool) -> (rtrb::Producer<PlayerFrame>, PlayerPlan) {
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

#[test]
fn player_sends_reports_every_five_to_seven_seconds() {
    let relay = relay();
    let (a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    let b_rtcp = rtcp_party(&relay, &b);
    let mut plan = call(&a, &b, Vec::new());
    plan.streams.push(b_rtcp.stream.clone());
    relay.plane.install(WORKER, plan.clone());
    let (mut frames, player) = player(&b, false);
    for _ in 0..40 {
        frames.push(PlayerFrame { payload: Arc::from([0x55; 160]), duration: 1600 }).unwrap();
    }
    b_rtcp.socket.set_read_timeout(Some(Duration::from_secs(9))).unwrap();
    let start = Instant::now();
    relay.plane.start_player(WORKER, plan.key, player);
    let report = to_words(&b_rtcp.receive());
    let elapsed = start.elapsed();
    assert!((4900..7800).contains(&elapsed.as_millis()), "{elapsed:?}");
    assert_eq!((report[0], report[1], report[7], report[8]), (0x80c8_0006, 99, 0x81ca_0006, 99));
    let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(u64::from(report[2]).abs_diff(since_1970 + 2_208_988_800) <= 2, "{report:?}");
    let played = report[4] - 1000;
    assert!(u64::from(played).abs_diff(elapsed.as_millis() as u64 * 8) < 4000, "{played} {elapsed:?}");
    assert!((20..40).contains(&report[5]), "{report:?}");
    assert_eq!(report[6], report[5] * 160);
}

#[test]
fn socket_that_cannot_be_registered_is_counted() {
    let relay = relay();
    let (a, mut b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    // The system refuses a socket that is registered already.
    b.stream.socket = a.stream.socket.clone();
    relay.plane.install(WORKER, call(&a, &b, vec![edge(&a, &b, FORWARD)]));
    until("failure", || relay.plane.deaf_streams() == 1);
    a.send(&rtp(0, 1));
    until("drop", || a.drops(DropReason::NoSink) == 1);
}

//! The data plane on loopback sockets: what goes in, what comes out, what is counted.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use codec::rtp::RtpPacket;
use rtpengine::config::EndpointLearning;
use rtpengine::media::event::MediaEvent;
use rtpengine::media::plan::*;
use rtpengine::media::{Work, WorkerId, tap};

mod common;
use common::*;

fn relay() -> Relay {
    common::relay((42_000, 48_999))
}

#[test]
fn packets_pass_unchanged_between_all_address_families() {
    let relay = relay();
    for (left, right) in [(relay.v4, relay.v4), (relay.v6, relay.v6), (relay.v4, relay.v6)] {
        let (a, b) = (party(&relay, &left), party(&relay, &right));
        let plan = call(&a, &b, vec![edge(&a, &b, FORWARD), edge(&b, &a, FORWARD)]);
        relay.plane.install(relay.plane.assign(Work::Forwarding), plan);
        for sequence_number in 0..200 {
            let packet = rtp(0, sequence_number);
            a.send(&packet);
            assert_eq!(b.receive(), packet);
            b.send(&packet);
            assert_eq!(a.receive(), packet);
        }
        let shared = &a.stream.shared;
        until("counting", || shared.egress_ssrc.get(0).unwrap().packets.get() == 200);
        assert_eq!((shared.ingress.packets.get(), shared.ingress.octets.get()), (200, 200 * 172));
        assert_eq!((shared.egress.packets.get(), shared.egress.octets.get()), (200, 200 * 172));
        assert_eq!(shared.ingress_ssrc.get(0).unwrap().packets.get(), 200);
        assert_eq!(shared.ingress_ssrc.get(0).unwrap().ssrc.load(Relaxed), 0xabcd);
    }
    relay.plane.shutdown();
}

#[test]
fn calls_that_transcode_have_workers_of_their_own_when_asked() {
    let relay = common::relay_with((8_000, 8_199), |config| config.codec_threads = 1);
    let (forwarding, transcoding) = (WorkerId(0), WorkerId(1));
    for _ in 0..3 {
        assert_eq!(relay.plane.assign(Work::Transcoding), transcoding);
        let (a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
        relay.plane.install(transcoding, call(&a, &b, vec![edge(&a, &b, FORWARD)]));
        a.send(&rtp(0, 1));
        assert_eq!(b.receive(), rtp(0, 1));
        assert_eq!(relay.plane.assign(Work::Forwarding), forwarding);
    }
    relay.plane.shutdown();
    let alone = common::relay((8_200, 8_299));
    assert_eq!(alone.plane.assign(Work::Transcoding), forwarding);
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
    let mut other_ssrc = rtp(0, 9);
    other_ssrc[8] ^= 1;
    stranger.socket.send_to(&other_ssrc, a.stream.socket.local).unwrap();
    until("refusal", || a.drops(DropReason::WrongSource) == 1);
    a.send(&rtp(0, 2));
    assert_eq!(b.receive(), rtp(0, 2));
}

#[test]
fn party_whose_address_changes_is_followed_when_it_was_silent_for_a_moment() {
    let relay = relay();
    let (a, b, moved) = (party(&relay, &relay.v4), party(&relay, &relay.v4), party(&relay, &relay.v4));
    relay.plane.install(WORKER, call(&a, &b, vec![edge(&a, &b, FORWARD), edge(&b, &a, FORWARD)]));
    a.send(&rtp(0, 1));
    b.receive();
    moved.socket.send_to(&rtp(0, 2), a.stream.socket.local).unwrap();
    until("doubt", || a.drops(DropReason::Unproven) == 1);
    let mut next = 3;
    b.socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut buffer = [0; 2048];
    let heard = loop {
        moved.socket.send_to(&rtp(0, next), a.stream.socket.local).unwrap();
        next += 1;
        if let Ok(length) = b.socket.recv(&mut buffer) {
            break buffer[..length].to_vec();
        }
        assert!(next < 1000, "followed");
    };
    assert_eq!(heard, rtp(0, next - 1));
    b.send(&rtp(0, 7));
    let (length, from) = moved.socket.recv_from(&mut buffer).unwrap();
    assert_eq!((from, &buffer[..length]), (a.stream.socket.local, &rtp(0, 7)[..]));
    a.send(&rtp(0, 1));
    until("refusal", || a.drops(DropReason::WrongSource) == 1);
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
    let (mut frames, player) = player(&b, true);
    for _ in 0..10 {
        frames.push(PlayerFrame { payload: Arc::from([0x55; 160]), duration: 160 }).unwrap();
    }
    drop(frames);
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
        relay
            .plane
            .install(WORKER, CallPlan { key, streams, edges: Vec::new(), gateways: Vec::new(), tap: None });
        relay.plane.remove(WORKER, key);
        until("room", || relay.pool.usage(&relay.v4).1 < 500);
    }
    until("closing", || relay.pool.usage(&relay.v4).1 == 0);
    assert!(descriptors() <= before, "{} {before}", descriptors());
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

/// An RTP packet with one header extension element in the one-byte form.
fn extended(payload_type: u8, ssrc: u32, id: u8, data: [u8; 3]) -> Vec<u8> {
    let mut packet = rtp(payload_type, 1);
    packet[0] |= 0x10;
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    packet.splice(12..12, [&[0xbe, 0xde, 0, 1, id << 4 | 2][..], &data].concat());
    packet
}

#[test]
fn sections_on_one_port_go_to_their_own_sinks() {
    let relay = relay();
    let (mut a, audio, video) =
        (party(&relay, &relay.v4), party(&relay, &relay.v4), party(&relay, &relay.v4));
    let section = |section, mid: &str, ssrcs: &[u32], payload_type| SectionPlan {
        section,
        mid: Some(mid.into()),
        ssrcs: ssrcs.into(),
        payload_types: [payload_type].into(),
    };
    let sections = vec![section(0, "aud", &[], 0), section(1, "vid", &[0x77], 96)];
    a.stream.bundle = Some(Arc::new(BundlePlan { mid_extension: Some(4), sections }));
    let edges = [(0, &audio), (1, &video)]
        .map(|(section, to)| EdgePlan { section: Some(section), ..edge(&a, to, FORWARD) });
    let mut plan = call(&a, &audio, edges.to_vec());
    plan.streams.push(video.stream.clone());
    relay.plane.install(WORKER, plan);
    let ssrc = |ssrc: u32, payload_type| {
        let mut packet = rtp(payload_type, 1);
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        packet
    };
    for (name, packet, to) in [
        ("by payload type", rtp(96, 1), &video),
        ("by payload type, the other", ssrc(5, 0), &audio),
        ("by signalled SSRC", ssrc(0x77, 0), &video),
        ("by mid", extended(0, 9, 4, *b"vid"), &video),
        ("by what the mid told before", ssrc(9, 0), &video),
    ] {
        a.send(&packet);
        assert_eq!(to.receive(), packet, "{name}");
    }
    a.send(&extended(0, 9, 4, *b"xxx"));
    a.send(&ssrc(10, 50));
    until("refusal", || a.drops(DropReason::PayloadType) == 2);
}

#[test]
fn hidden_header_extensions_do_not_leave() {
    let relay = relay();
    let (mut a, b) = (party(&relay, &relay.v4), party(&relay, &relay.v4));
    a.stream.hidden_extensions = [4].into_iter().collect();
    relay.plane.install(WORKER, call(&a, &b, vec![edge(&a, &b, FORWARD), edge(&b, &a, FORWARD)]));
    a.send(&extended(0, 9, 3, *b"abc"));
    assert_eq!(b.receive(), extended(0, 9, 3, *b"abc"));
    let secret = extended(0, 9, 4, *b"abc");
    a.send(&secret);
    let mut expected = secret.clone();
    expected[16..20].fill(0);
    assert_eq!(b.receive(), expected);
    b.send(&secret);
    assert_eq!(a.receive(), secret, "what others send is not touched");
}
